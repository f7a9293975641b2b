/* Stele: processors, which read events of one store and write what follows from them into another
 * one, or into the same: each event's consequences once, whatever is killed when.
 *
 * A processor has a handler, which is given one event after the other in the order of the source and
 * emits none, one or many. What a batch of events has led to is appended in one atomic append together
 * with the place up to which the source was read. So the place and the consequences are never apart,
 * and a processor that is killed goes on behind the last event whose consequences are there.
 *
 * The place is kept in the target, in a stream of its own ("$processor-" and the name). Streams whose
 * name begins so are not given to handlers. What is emitted says where it comes from: "$correlationId",
 * "$causationId" and the trace of the event that caused it, and "$hops", one more than that event's, so
 * that processors which feed each other in a circle are noticed.
 *
 * This is how to
 *  - react to events with further events (source and target are the same store),
 *  - derive a log from a log: filtered, enriched, split, renamed, cleaned of what others may not see,
 *  - pass events on to other stores by rules (<stele/route.h>).
 * For other databases there are projections (<stele/project.h>), for calls to other services sagas.
 *
 * Example: examples/processor.c */
#ifndef STELE_PROCESS_H
#define STELE_PROCESS_H

#include <stele/es.h>

#ifdef __cplusplus
extern "C" {
#endif

#define STELE_PROCESSOR_NAME_SIZE_MAX 100u /* Bytes. */

/* Where a handler writes. Lives as long as the handler's call. */
struct stele_process;

/* Has an event appended to a stream of the target. What the draft points to is copied. An id of zeros
 * is made from the event that is handled, the processor's name and the number of the emission: an
 * event that is handled again leads to the same ids. Metadata have to be a JSON object or nothing; they
 * get what they lack. created_us of 0 stays 0: the time is that of the append.
 *
 * STELE_OK; STELE_E_INVALID, STELE_E_LIMIT, STELE_E_NO_MEMORY: the run ends with it, whatever the
 * handler returns. */
STELE_API int stele_process_emit(struct stele_process *process, const char *stream,
                                 const struct stele_event_draft *draft);
/* Memory that lives as long as the handler's call. */
STELE_API struct stele_memory *stele_process_memory(struct stele_process *process);
/* Words for the run's error. Returns STELE_REJECTED, with which the handler may end the run. */
STELE_API int stele_process_reject(struct stele_process *process, const char *format, ...)
#if defined(__GNUC__)
    __attribute__((format(printf, 2, 3)))
#endif
    ;

struct stele_processor {
    size_t struct_size;
    const char *name; /* Not empty, at most STELE_PROCESSOR_NAME_SIZE_MAX bytes. */
    void *context;
    /* state: of the fold below, with this event; NULL without a fold. STELE_OK; anything else ends the
     * run with it, and nothing of this event is written: it is the first one of the next run. */
    int (*handle)(void *context, const struct stele_event *event, const void *state,
                  struct stele_process *process);
    /* What it reads. NULL: every event of the source, except types and streams that begin with "$". */
    const struct stele_filter *filter;
    uint64_t from; /* The position at which its first run begins. */
    /* For a processor that remembers: the state is folded from the events that it is given, and kept
     * beside the place, as bytes of the fold's codec (at most STELE_EVENT_SIZE_MAX). After a change of
     * the fold's version it is folded again from the source. */
    const struct stele_fold *fold;
};

struct stele_processor_progress {
    uint64_t position; /* Everything of the source up to here has its consequences in the target. */
    uint64_t handled;  /* Events that the handler was given, ever. */
    uint64_t emitted;  /* Events that it led to, ever. */
};

struct stele_processor_options {
    size_t struct_size;
    int follow;         /* 1: goes on with what comes until it is stopped. 0 (default): ends when
                           * everything that was there at the beginning is done. */
    uint32_t batch_max; /* Events of the source of one append, default 512. */
    uint32_t
        hops_max; /* "$hops" of what is emitted, default 32. More: STELE_E_LIMIT, with words. */
    uint32_t unknown_ms; /* How long an append whose outcome is unknown is sent again, with the same
                           * ids. Default 5000. */
    /* Asked after every append, and five times a second while a run that follows waits. Anything but 0
     * returned ends the run. May be NULL. */
    int (*on_progress)(void *context, const struct stele_processor_progress *progress);
    void *context;
};
#define STELE_PROCESSOR_OPTIONS_INIT                                                               \
    {                                                                                              \
        sizeof(struct stele_processor_options), 0, 512, 32, 5000, NULL, NULL                       \
    }

/* Runs a processor on the thread that calls. source and target may be the same store; options and
 * out_progress may be NULL. out_progress is written whatever the outcome.
 *
 * STELE_OK                Everything is done, or on_progress ended it.
 * STELE_WRONG_REVISION    Another run of a processor of this name writes to the target. Nothing was
 *                         written twice.
 * STELE_CONDITION_FAILED  The processor has read another store up to now, or its place was deleted.
 * STELE_E_UNKNOWN         Nobody knows what became of the last append. Run it again: it goes on from
 *                         whichever place it finds.
 * STELE_E_LIMIT           hops_max, or one event led to more than an append may hold.
 * STELE_E_INVALID         The processor or its options are not right, or what it emits is not.
 * and what the handler, reading and appending can end with. What was appended stays. */
STELE_API int stele_processor_run(struct stele *source, struct stele *target,
                                  const struct stele_processor *processor,
                                  const struct stele_processor_options *options,
                                  struct stele_processor_progress *out_progress,
                                  struct stele_error *err);

/* How far a processor has come. STELE_OK, STELE_NOT_FOUND (no such processor has run), … */
STELE_API int stele_processor_load(struct stele *target, const char *name,
                                   struct stele_processor_progress *out_progress,
                                   struct stele_error *err);

#ifdef __cplusplus
}
#endif

#endif
