/* Stele: running commands on a store, embedded or remote alike.
 *
 * The command runner loads every stream that a decider asks for, folds it from its latest snapshot,
 * decides, and appends what was decided in one atomic append that succeeds only if no stream and no
 * query that was read has changed. Where one has, it reads what is new and decides again.
 *
 * Read these first:
 *  - STELE_OK means that the events are on stable storage (or that there was nothing to do).
 *  - STELE_E_UNKNOWN means that nobody knows, after the runner itself has asked again for a while.
 *    Execute the same command (same id) again with again = 1: it is done once.
 *  - A decider may be called several times for one command. It must be pure, see <stele/es.h>.
 *  - Snapshots are derived data: one that is missing, old, damaged or of another version costs time
 *    and nothing else.
 *
 * Every function may be called from any thread unless it says otherwise.
 *
 * Example: examples/aggregate.c */
#ifndef STELE_RUN_H
#define STELE_RUN_H

#include <stele/es.h>

#ifdef __cplusplus
extern "C" {
#endif

struct stele_runner;

/* What became of one command, for tracing: an OpenTelemetry span, whoever exports it. Texts are
 * borrowed for the call. */
struct stele_command_span {
    const char *command_type;
    const char *decider;
    const char *stream;  /* Of the command; NULL if it has none. */
    const uint8_t *id;   /* Of the command, 16 bytes. */
    int outcome;         /* What stele_runner_execute() returns. */
    const char *message; /* In words, unless the outcome is STELE_OK. */
    int64_t start_us;    /* Microseconds since 1970. */
    uint64_t duration_ns;
    size_t events_written;
    uint32_t attempts;       /* Decisions that were tried to append, at least 1 after a decision. */
    const char *traceparent; /* The span's own, "" if the command has no trace. */
    const char *parent;      /* The traceparent that the caller gave, "" for none. */
};

struct stele_runner_options {
    size_t struct_size;
    uint32_t attempts_max; /* Appends of one command that may conflict before it ends with
                               * STELE_WRONG_REVISION or STELE_CONDITION_FAILED. Default 100. */
    uint32_t unknown_ms;   /* How long an append whose outcome is unknown is asked about, sent
                               * again with the same ids. Default 5000. */
    uint32_t states_max;   /* States that are kept between commands, default 4096. A command reads
                            * what is new in its streams first; of a store of this process' own,
                            * without a keyring, only if something is. 0: none. */
    uint32_t
        snapshot_events;     /* A snapshot is made when so many events, or more, have come since the
                               * last one. Default 100; 0: not for that reason. */
    uint32_t snapshot_hours; /* Or when the last one is so old and there are new events. Default 24;
                               * 0: not for that reason. */
    uint32_t snapshots_kept; /* Of each state, 1 … 100. Default 3. */
    const char *snapshot_directory; /* NULL: in the store, in streams named snapshot_prefix, name of
                                     * the fold, "-", name of the stream. Otherwise beside it: a
                                     * directory for nothing else, which may be deleted. */
    const char *snapshot_prefix;    /* Default "$snapshot-". */
    /* Called after each command, on its thread; must be quick. May be NULL. */
    void (*on_command)(void *context, const struct stele_command_span *span);
    void *context;
};
#define STELE_RUNNER_OPTIONS_INIT                                                                  \
    {                                                                                              \
        sizeof(struct stele_runner_options), 100, 5000, 4096, 100, 24, 3, NULL, NULL, NULL, NULL   \
    }

/* The store is borrowed and must stay open until the runner is destroyed. options may be NULL.
 * STELE_OK, STELE_E_INVALID, STELE_E_NO_MEMORY, STELE_E_IO (the directory) */
STELE_API int stele_runner_create(struct stele *store, const struct stele_runner_options *options,
                                  struct stele_runner **out_runner, struct stele_error *err);
/* Waits until commands that were submitted have ended, and writes the snapshots that are under way. No
 * call may be running. NULL is fine. */
STELE_API void stele_runner_destroy(struct stele_runner *runner);

/* ---- Commands ---------------------------------------------------------------------------- */

/* Where a command comes from. All texts may be NULL. */
struct stele_origin {
    size_t struct_size;
    const char
        *correlation_id; /* Becomes "$correlationId" of its events; default: the command's id. */
    const char *causation_id; /* Becomes "$causationId"; default: the command's id. */
    const char *traceparent; /* W3C Trace Context. Its events get one with the same trace and a span
                                 * of their own. One that is malformed is passed over, as the
                                 * recommendation has it. */
    const char *tracestate;  /* Handed on unchanged. */
    const char *metadata;    /* A JSON object whose members every event gets that lacks them. */
    int again; /* 1: this command (its id) may have been executed before. Then the store
                                 * is asked first, and if the command's first event is in its stream,
                                 * nothing is done. The first event has to go to command->stream. */
};

/* Takes the origin of a reaction from the event that it reacts to: the same correlation, the event as
 * the cause, its trace. Texts are made in memory.
 * STELE_OK or STELE_E_NO_MEMORY; metadata that are no JSON say nothing. */
STELE_API int stele_origin_of_event(const struct stele_event *event, struct stele_memory *memory,
                                    struct stele_origin *out_origin);

struct stele_command_result {
    struct stele_append_result append; /* Zeros if there were no events. */
    size_t events;                     /* Appended. */
    uint32_t attempts;                 /* Appends tried: 1 without a conflict. */
    int repeated; /* 1: with again: it had been executed before, and nothing was done. */
};

/* Executes a command. origin and out_result may be NULL.
 *
 * STELE_OK                Done, or nothing to do (out_result->events is 0).
 * STELE_REJECTED          The decider refused it; the reason is in err. It was decided on what was in
 *                         the store when this call began, or later.
 * STELE_WRONG_REVISION,   attempts_max conflicts in a row. Nothing was done.
 * STELE_CONDITION_FAILED
 * STELE_STREAM_DELETED    A stream is closed for ever.
 * STELE_E_UNKNOWN         See above.
 * STELE_E_ID_CONFLICT     Another command had this id.
 * Anything else           Nothing was done; err has the words. */
STELE_API int stele_runner_execute(struct stele_runner *runner, const struct stele_decider *decider,
                                   const struct stele_command *command,
                                   const struct stele_origin *origin,
                                   struct stele_command_result *out_result,
                                   struct stele_error *err);

/* Called once for each command that was submitted, on a thread of the library, with what
 * stele_runner_execute() would have answered. result and err are valid during the call. It must not
 * block, and must not destroy the runner; it may submit further commands. */
typedef void (*stele_command_callback)(void *context, int outcome,
                                       const struct stele_command_result *result,
                                       const struct stele_error *err);

/* Starts a command and returns, so that one thread keeps many under way. command, origin, and all that
 * they and the decider point to have to stay until the callback is called; the structs themselves are
 * copied. Commands on one stream are done one after the other, in no order that is promised. decide and
 * evolve are called on this thread or on threads of the library. What is in memory is decided here and
 * now; where a stream has to be read, or another command be waited for, a thread of the runner does it.
 *
 * STELE_OK: the callback will be called exactly once, never from inside of this call. Anything else: it
 * never will. STELE_E_OVERLOADED: 65,536 commands are under way. */
STELE_API int stele_runner_submit(struct stele_runner *runner, const struct stele_decider *decider,
                                  const struct stele_command *command,
                                  const struct stele_origin *origin,
                                  stele_command_callback callback, void *context,
                                  struct stele_error *err);

/* ---- States ------------------------------------------------------------------------------ */

/* The state of a stream as of a position (0: now), from the latest snapshot that serves. A stream
 * that does not exist has the initial state. Made in memory. */
STELE_API int stele_runner_load(struct stele_runner *runner, const struct stele_fold *fold,
                                const char *stream, uint64_t as_of, struct stele_memory *memory,
                                struct stele_state **out_state, struct stele_error *err);

/* The same in effective order, see stele_state_apply_effective(); without snapshots, and with all
 * events of the stream in memory at once. */
STELE_API int stele_runner_load_effective(struct stele_runner *runner,
                                          const struct stele_fold *fold, const char *stream,
                                          uint64_t known_at, int64_t until_us,
                                          struct stele_memory *memory,
                                          struct stele_state **out_state, struct stele_error *err);

/* Waits until the snapshots that are under way have been written, or given up. */
STELE_API void stele_runner_flush(struct stele_runner *runner);

/* ---- Figures ----------------------------------------------------------------------------- */

struct stele_runner_stats {
    uint64_t commands;          /* Ended, however. */
    uint64_t commands_ok;       /* Ended with STELE_OK. */
    uint64_t commands_rejected; /* By a decider. */
    uint64_t conflicts;         /* Appends that came too late and were decided again. */
    uint64_t asked_again;       /* Appends with an unknown outcome that were sent again. */
    uint64_t events_appended;
    uint64_t events_folded;      /* Read and folded, also for stele_runner_load(). */
    uint64_t snapshots_written;  /* … */
    uint64_t snapshots_used;     /* A state began from one. */
    uint64_t snapshots_unusable; /* Of another version, damaged, or not of this history. */
    uint64_t snapshots_failed;   /* Could not be written, or there were too many at once. */
    uint64_t states_kept;        /* At this moment. */
    uint64_t states_current;     /* Kept states that a command took without reading, because nothing
                                  * had been appended to their streams but by commands before it. */
};
STELE_API void stele_runner_stats(struct stele_runner *runner,
                                  struct stele_runner_stats *out_stats);

/* The same and more in Prometheus' text format: eventcore_commands_total,
 * eventcore_command_duration_seconds, eventcore_command_errors_total,
 * eventcore_events_published_total, eventstore_append_duration (milliseconds),
 * eventstore_append_success_total, eventstore_append_failure_total, … Copies as much as fits (no
 * terminator); *out_size is the full size. STELE_OK or STELE_E_NO_MEMORY. */
STELE_API int stele_runner_metrics(struct stele_runner *runner, char *buffer, size_t buffer_size,
                                   size_t *out_size);

#ifdef __cplusplus
}
#endif

#endif
