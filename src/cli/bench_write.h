/* What the workloads that append share: what they append, the store that they begin with, threads
 * that wait for each append, and one thread that waits for none. */
#ifndef STELE_CLI_BENCH_WRITE_H
#define STELE_CLI_BENCH_WRITE_H

#include "cli/bench.h"

#include <pthread.h>
#include <stdatomic.h>

/* More failures than this and the rest of the run says nothing any more. */
#define BENCH_ERRORS_MAX 1000u

/* ---- bench_source.c ---- */

/* Streams, what revision each is at, and the next batch for them. */
struct bench_source {
    struct bench *bench;
    struct bench_streams streams;
    uint32_t first, step; /* Only streams whose number modulo step is first. */
    uint32_t *revisions;  /* The next one of each stream; shared by sources with other streams. */
    uint32_t *batches;    /* The last batch that each stream was in, to take none twice. */
    uint32_t batch_now;
    uint64_t random;
    uint32_t batch;
    bool spread;

    /* The batch. */
    struct stele_append appends[STELE_CLI_BENCH_BATCH_MAX];
    struct stele_event_draft drafts[STELE_CLI_BENCH_BATCH_MAX];
    char names[STELE_CLI_BENCH_BATCH_MAX][BENCH_STREAM_NAME_SIZE];
    size_t appends_count;
};

/* Sources of one store share its revisions, which the caller sets; each needs streams of its own. */
struct bench_source *bench_source_create(struct bench *bench, uint32_t batch, bool spread);
void bench_source_destroy(struct bench_source *source);

/* For a thread of several: its own part of the streams and other random numbers. */
void bench_source_take_part(struct bench_source *source, uint32_t first, uint32_t step);

/* Fills drafts with the next batch's events. */
void bench_source_make_drafts(struct bench_source *source);
/* Fills appends with the next batch, and counts the revisions on. */
void bench_source_make_batch(struct bench_source *source);

/* What an append expects of a stream whose next revision is this one. */
uint64_t bench_expected_of(uint32_t next_revision);

/* An empty store for a workload, or streams that nobody has in the one of a server. */
struct bench_fresh {
    char path[STELE_CLI_BENCH_PATH_SIZE]; /* "": nothing to remove. */
    struct stele *store;
    uint32_t *revisions;
};

/* Both return an exit code, and have told why. fresh has to be zeros, and is closed whatever
 * opening it returned; code: how the workload went until then. */
int bench_fresh_open(struct bench *bench, const struct bench_workload *workload,
                     struct bench_fresh *fresh);
int bench_fresh_close(struct bench *bench, struct bench_fresh *fresh, int code);

/* ---- bench_write.c ---- */

/* A thread that appends and waits. */
struct bench_writer {
    pthread_t thread;
    struct stele *store;
    struct bench_source *source;
    uint64_t measure_ns, end_ns;

    uint64_t events, errors, last_ns;
    uint64_t acknowledged; /* Events, with those before measure_ns. */
    struct stele_error first_error;
    struct bench_histogram latency;
};

struct bench_writer *bench_writer_create(struct bench *bench, struct bench_fresh *fresh,
                                         uint32_t batch, bool spread);
void bench_writer_destroy(struct bench_writer *writer);

/* Appends the next batch and waits for it; counts how it went. */
void bench_writer_append(struct bench_writer *writer);

/* Starts threads that append; returns how many there are. */
uint32_t bench_writers_start(struct bench_writer **writers, uint32_t count, uint64_t measure_ns,
                             uint64_t end_ns);
/* Waits for them and adds up; returns when the last append ended. */
uint64_t bench_writers_join(struct bench_writer **writers, uint32_t count,
                            struct bench_result *result, struct stele_error *out_first_error);

/* What follows from the events and latencies of a result. */
void bench_finish_appends(struct bench *bench, struct bench_result *result, uint64_t measure_ns,
                          uint64_t last_ns);

/* ---- bench_async.c ---- */

/* An append under way, or idle. */
struct bench_flight {
    struct bench_async *async;
    struct bench_flight *next;
    uint64_t begin_ns, end_ns;
    uint64_t revision; /* That the first event must get. */
    uint32_t events;
    int outcome;
};

/* One thread that submits, and what comes back to it. */
struct bench_async {
    struct stele *store;
    struct bench_source *source;
    struct bench_flight *flights;
    struct bench_flight *idle;
    uint32_t under_way;

    _Atomic(struct bench_flight *) done;
    _Atomic bool asleep;
    pthread_mutex_t lock;
    pthread_cond_t woken;

    uint64_t measure_ns; /* Appends submitted from then on are counted. */
    uint64_t events, acknowledged, errors, last_ns;
    struct stele_error first_error;
    struct bench_histogram latency;
};

/* revisions: of the source's streams, or NULL if only streams of the caller's are appended to. */
struct bench_async *bench_async_create(struct bench *bench, struct stele *store,
                                       uint32_t *revisions, uint32_t in_flight, uint32_t batch,
                                       bool spread);
/* Nothing may be under way. */
void bench_async_destroy(struct bench_async *async);

/* Makes sure that there is an idle flight. */
void bench_async_wait_for_idle(struct bench_async *async);
/* Submits what the source has made. There must be an idle flight. */
bool bench_async_submit(struct bench_async *async);
/* Waits until nothing is under way. */
void bench_async_drain(struct bench_async *async);
/* Neither too many errors nor interrupted. */
bool bench_async_may_go_on(const struct bench_async *async);

#endif
