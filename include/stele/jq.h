/* Stele: upcasters written in jq, for people who write no C. Part of libstele-run.
 *
 * A program gets an event as
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

#ifdef __cplusplus
}
#endif

#endif
