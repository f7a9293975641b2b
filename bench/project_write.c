/* The writer: a steady rate, whatever the projections do. Appends are asynchronous, so that a slow disk
 * makes them later and not fewer. */
#include "project.h"

#define TICK_NS UINT64_C(1000000) /* So often it looks what is due. */
#define GROUP_MAX 1000u

struct writer {
    const struct plan *plan;
    struct shared *shared;
    struct stele *store;
    pthread_mutex_t lock; /* Of the marks and the latency: callbacks may be several threads'. */
    struct bench_histogram *latency;
    atomic_size_t under_way;
};

/* One append under way. */
struct started {
    struct writer *writer;
    uint64_t at_ns;
};

static void on_durable(void *context, int outcome, const struct stele_append_result *result)
{
    struct started *const started = context;
    struct writer *const writer = started->writer;
    struct shared *const shared = writer->shared;
    const uint64_t now = bench_now_ns();
    if (outcome != STELE_OK) {
        struct stele_error err = {.outcome = outcome};
        project_die(shared, stele_outcome_name(outcome), &err);
    }
    (void)pthread_mutex_lock(&writer->lock);
    const size_t at = atomic_load(&shared->marks_count);
    uint64_t position = result->position_last;
    /* Those of different partitions may be told in another order than theirs: a mark is passed when
     * everything that was told before it is. */
    if (at > 0 && shared->marks[at - 1].position > position) {
        position = shared->marks[at - 1].position;
    }
    shared->marks[at] = (struct mark){.position = position, .at_ns = now};
    atomic_store(&shared->marks_count, at + 1);
    bench_histogram_add(writer->latency, now - started->at_ns);
    (void)pthread_mutex_unlock(&writer->lock);
    atomic_fetch_sub(&writer->under_way, 1);
}

static void append(struct writer *writer, struct started *started, uint64_t *random)
{
    static const char data[] =
        "{\"cents\":5,\"currency\":\"EUR\",\"note\":\"some words about it\"}";
    struct stele_event_draft drafts[GROUP_MAX];
    char stream[BENCH_STREAM_NAME_SIZE];
    struct stele_error err = {0};
    (void)bench_stream_name(stream, bench_random_below(random, ACCOUNTS));
    for (unsigned i = 0; i < writer->plan->group; i++) {
        drafts[i] = (struct stele_event_draft){
            .type = bench_random_below(random, RARE_EVERY) == 0 ? "Withdrawn" : "Deposited",
            .data = data,
            .data_size = sizeof data - 1};
        bench_random_id(random, drafts[i].id);
    }
    const struct stele_append one = {.stream = stream,
                                     .expected = STELE_EXPECT_ANY,
                                     .events = drafts,
                                     .count = writer->plan->group};
    *started = (struct started){.writer = writer, .at_ns = bench_now_ns()};
    atomic_fetch_add(&writer->under_way, 1);
    int outcome = STELE_E_OVERLOADED;
    while ((outcome = stele_append_async(writer->store, &one, 1, NULL, 0, on_durable, started,
                                         &err)) == STELE_E_OVERLOADED) {
        bench_sleep_ns(TICK_NS);
    }
    if (outcome != STELE_OK) {
        project_die(writer->shared, "append", &err);
    }
}

static void note_behind(const struct plan *plan, struct shared *shared, size_t *behind)
{
    const size_t count = atomic_load(&shared->marks_count);
    for (unsigned i = 0; i < plan->projections; i++) {
        const size_t seen = atomic_load(&shared->followers[i].seen);
        behind[i] = count > seen ? count - seen : 0;
    }
}

void project_write(const struct plan *plan, struct shared *shared, struct stele *store,
                   struct written *out_written)
{
    struct writer writer = {
        .plan = plan, .shared = shared, .store = store, .latency = &out_written->latency};
    const size_t total = shared->marks_max;
    struct started *const started = bench_alloc(total, sizeof *started);
    uint64_t random = bench_seed();
    bool half = false;
    (void)pthread_mutex_init(&writer.lock, NULL);
    const double cpu_s = project_thread_cpu();
    const uint64_t began = bench_now_ns();
    for (size_t done = 0; done < total && !atomic_load(&shared->failed);) {
        const double passed = (double)(bench_now_ns() - began) / 1e9;
        size_t due = (size_t)(passed * plan->rate / plan->group);
        due = due < total ? due : total;
        while (done < due) {
            append(&writer, &started[done++], &random);
        }
        if (!half && done >= total / 2) {
            half = true;
            note_behind(plan, shared, out_written->behind_half);
        }
        bench_sleep_ns(TICK_NS);
    }
    out_written->seconds = (double)(bench_now_ns() - began) / 1e9;
    while (atomic_load(&writer.under_way) > 0) {
        bench_sleep_ns(TICK_NS / 10);
    }
    out_written->ended_ns = bench_now_ns();
    note_behind(plan, shared, out_written->behind_end);
    out_written->cpu_s = project_thread_cpu() - cpu_s;
    (void)pthread_mutex_destroy(&writer.lock);
    free(started);
}
