/* Stele: upcasters and folds written in jq, for people who write no C. Part of libstele-run.
 *
 * As an upcaster a program gets an event as
 *
 *     {"type": …, "version": …, "stream": …, "revision": …, "data": …, "metadata": …}
 *
 * and gives any number of such objects, none to leave the event out. What it does not mention stays:
 * type, data, metadata. data that are no JSON are given as null and cannot be changed. Example, for
 * events that had a name in one piece:
 *
 *     .data |= (.first = (.name | split(" ")[0]) | .last = (.name | split(" ")[1]) | del(.name))
 *
 * A program is compiled once and may be used by any number of threads; they take turns. It must end:
 * nothing bounds how long it runs. Modules ("import") are not found. */
#ifndef STELE_JQ_H
#define STELE_JQ_H

#include <stele/es.h>

#ifndef STELE_RUN_API
#define STELE_RUN_API __attribute__((visibility("default")))
#endif

#ifdef __cplusplus
extern "C" {
#endif

struct stele_jq;

/* Compiles a program. name: what errors call it, for example its file.
 * STELE_OK; STELE_E_INVALID: the message has name, line and what jq says; STELE_E_NO_MEMORY. */
STELE_RUN_API int stele_jq_create(const char *name, const char *program, struct stele_jq **out_jq,
                                  struct stele_error *err);
/* The same for a file, of at most 1 MiB. Also STELE_NOT_FOUND, STELE_E_IO, STELE_E_LIMIT. */
STELE_RUN_API int stele_jq_open(const char *path, struct stele_jq **out_jq,
                                struct stele_error *err);
/* NULL is fine. No upcaster of it may be in use any more. */
STELE_RUN_API void stele_jq_destroy(struct stele_jq *jq);

/* Fills *out_upcaster, for stele_upcasters_create(). version as in struct stele_upcaster; if the
 * program gives the same type without a higher version, that of the upcaster plus 1 is meant. type is
 * borrowed. What goes wrong in the program on one event ends its fold with STELE_E_INVALID, and
 * stele_jq_last_error() says what. STELE_OK or STELE_E_NO_MEMORY. */
STELE_RUN_API int stele_jq_upcaster(struct stele_jq *jq, const char *type, uint32_t version,
                                    struct stele_upcaster *out_upcaster);
/* What the program last failed with, as much as fits with a zero behind it; "" for nothing. */
STELE_RUN_API void stele_jq_last_error(struct stele_jq *jq, char *buffer, size_t size);

/* ---- On JSON ------------------------------------------------------------------------------ */

/* Called for each result, as JSON without line ends. Anything but STELE_OK ends the run. */
typedef int (*stele_jq_callback)(void *context, const char *json, size_t size);
/* Runs a program on a JSON text. STELE_OK; STELE_E_INVALID: it is no JSON, or the program failed: the
 * message has its name and what it says; what the callback returned. */
STELE_RUN_API int stele_jq_run(struct stele_jq *jq, const void *json, size_t size,
                               stele_jq_callback on_result, void *context, struct stele_error *err);

/* The same on an event, as folds get it (below). */
STELE_RUN_API int stele_jq_run_event(struct stele_jq *jq, const struct stele_event *event,
                                     stele_jq_callback on_result, void *context,
                                     struct stele_error *err);

/* ---- Folds -------------------------------------------------------------------------------- */

/* A state that is a JSON value, and a program that says what an event makes of it: "." is the state,
 * $event the event,
 *
 *     {"id": …, "type": …, "stream": …, "revision": …, "position": "…", "created": "…", "data": …,
 *      "metadata": …, "tags": […]}
 *
 * (data and metadata that are no JSON are null; numbers have 53 bits), and what it gives is the next
 * state. A program that gives nothing leaves the state as it is. Example:
 *
 *     if $event.type == "Deposited" then .cents += $event.data.cents else . end
 *
 * One thread at a time. */
struct stele_jq_fold;

/* program: NULL merges the data of the events, as far as they are objects, one over the other (jq's "*").
 * initial: the state before the first event, as JSON; NULL: null.
 * STELE_OK; STELE_E_INVALID: the message has name, line and what is wrong; STELE_E_NO_MEMORY. */
STELE_RUN_API int stele_jq_fold_create(const char *name, const char *program, const char *initial,
                                       struct stele_jq_fold **out_fold, struct stele_error *err);
/* The same for a file; see stele_jq_open(). */
STELE_RUN_API int stele_jq_fold_open(const char *path, const char *initial,
                                     struct stele_jq_fold **out_fold, struct stele_error *err);
/* NULL is fine. */
STELE_RUN_API void stele_jq_fold_destroy(struct stele_jq_fold *fold);

/* The fold, for stele_state_create() and stele_state_apply_effective(). It serves one state at a time, the
 * one that was created last, and is borrowed from fold. An event that the program fails on ends the
 * folding with STELE_E_INVALID; stele_jq_fold_last_error() says which and why. */
STELE_RUN_API const struct stele_fold *stele_jq_fold_of(struct stele_jq_fold *fold);
/* The state as JSON; indented: with line ends, for people. Made in memory. STELE_OK or STELE_E_NO_MEMORY. */
STELE_RUN_API int stele_jq_fold_value(const struct stele_jq_fold *fold, int indented,
                                      struct stele_memory *memory, struct stele_text *out_json);
/* "FILE: stream@revision (type): words"; "" for nothing. Valid until the next event. */
STELE_RUN_API const char *stele_jq_fold_last_error(const struct stele_jq_fold *fold);

#ifdef __cplusplus
}
#endif

#endif
