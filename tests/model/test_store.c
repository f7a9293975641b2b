/* The store and the naive model give the same answers to the same random questions.
 *
 * Method: no faults and no time, unlike in the simulator: one request after the other, each durable
 * before the next, on a disk in memory. Appends of all kinds, deletes and tombstones, reads of all
 * kinds, background work and reopening come in random order; every outcome, every number of a
 * result and every byte of an event is compared. A failure names its seed and its step. */
#include "../unit/store/world.h"
#include "base/position.h"
#include "lib/model.h"
#include "lib/workload.h"

#define STEPS 4000

struct run {
    struct world *world;
    struct model model;
    struct workload workload;
    struct rng rng;
    uint64_t seed;
    uint64_t step;
    uint64_t appended, refused, repeated, read;
};

#define SAME(run, got, want)                                                                       \
    do {                                                                                           \
        const int64_t got_ = (int64_t)(got);                                                       \
        const int64_t want_ = (int64_t)(want);                                                     \
        if (got_ != want_) {                                                                       \
            check_failed(__FILE__, __LINE__, "seed %llu, step %llu: %s is %lld instead of %lld",   \
                         (unsigned long long)(run)->seed, (unsigned long long)(run)->step, #got,   \
                         (long long)got_, (long long)want_);                                       \
        }                                                                                          \
    } while (false)

static void accept(struct run *run, const struct workload_request *request, int64_t now_us,
                   const struct stele_append_result *got, uint64_t place)
{
    struct model *model = &run->model;
    const uint32_t first = model->count;
    (void)model_apply(model, request->streams, request->streams_count,
                      request->kind == WORKLOAD_TOMBSTONE, now_us, got->position_first, place, 0);
    model_durable(model, UINT64_MAX);
    SAME(run, got->idempotent, 0);
    SAME(run, got->position_first, model->events[first].position);
    SAME(run, got->position_last, model->events[model->count - 1].position);
    CHECK(first == 0 || model->events[first].position > model->events[first - 1].position);
    run->appended += model->count - first;
}

static void compare_result(struct run *run, const struct stele_append_result *got,
                           const struct model_decision *want)
{
    if (want->outcome == STELE_OK) {
        SAME(run, got->idempotent, 1);
        SAME(run, got->position_first, want->result.position_first);
        SAME(run, got->position_last, want->result.position_last);
        SAME(run, got->revision_first, want->result.revision_first);
        SAME(run, got->revision_last, want->result.revision_last);
        run->repeated++;
        return;
    }
    run->refused++;
    if (want->outcome != STELE_E_ID_CONFLICT) {
        SAME(run, got->failed, want->result.failed);
    }
    if (want->outcome == STELE_WRONG_REVISION) {
        SAME(run, got->revision_last, want->result.revision_last);
    }
}

static void append(struct run *run, const struct workload_request *request)
{
    struct world *world = run->world;
    struct stele_prepared *prepared = NULL;
    struct model_decision want;
    struct stele_append_result got;
    struct stele_ticket ticket = {.place = 0};
    const int64_t now_us = world->disk.now_us += 1 + (int64_t)rng_below(&run->rng, 5000000);
    CHECK_OK(stele_prepared_create(world->store, &prepared, &world->err), world->err);
    int outcome =
        request->kind == WORKLOAD_TOMBSTONE
            ? stele_prepare_tombstone(prepared, request->streams[0].stream,
                                      request->streams[0].expected, now_us, &world->err)
            : stele_prepare(prepared, request->streams, request->streams_count, request->conditions,
                            request->conditions_count, now_us, &world->err);
    CHECK_OK(outcome, world->err);
    model_decide(&run->model, request->streams, request->streams_count, request->conditions,
                 request->conditions_count, &want);
    outcome = STELE_STORE_ROLL;
    while (outcome == STELE_STORE_ROLL) {
        ticket = (struct stele_ticket){.place = 0};
        outcome =
            stele_store_append(world->store, prepared, now_us, &ticket, NULL, &got, &world->err);
        if (outcome == STELE_STORE_ROLL) {
            CHECK_OK(stele_store_roll(world->store, ticket.roll_size, &world->err), world->err);
        }
    }
    world_commit(world);
    stele_prepared_destroy(prepared);
    SAME(run, outcome, want.outcome);
    if (want.may == MODEL_MAY_APPEND) {
        accept(run, request, now_us, &got, ticket.place);
        if (rng_percent(&run->rng, 50)) {
            workload_remember(&run->workload, request);
        }
    } else {
        compare_result(run, &got, &want);
    }
}

/* A soft delete is an append of metadata that the store composes. */
static void delete (struct run *run, const struct workload_request *request)
{
    struct world *world = run->world;
    const struct stele_append *target = &request->streams[0];
    struct stele_buf json = {.data = NULL};
    struct stele_append_result result;
    uint64_t expected = 0;
    uint64_t before = 0;
    uint64_t want_expected = 0;
    const int want =
        model_delete(&run->model, target->stream, target->expected, &before, &want_expected);
    const int outcome = stele_store_delete_metadata(world->store, target->stream, target->expected,
                                                    &json, &expected, &result, &world->err);
    SAME(run, outcome, want);
    if (outcome == STELE_OK) {
        SAME(run, expected, want_expected);
        struct workload_request *metadata =
            workload_metadata(&run->workload, target->stream, expected, json.data, json.size);
        append(run, metadata);
        workload_free(metadata);
    }
    stele_buf_deinit(&json, &world->alloc.base);
}

static void read(struct run *run)
{
    struct world *world = run->world;
    struct workload_query query;
    struct model_reader model;
    struct stele_read *read = NULL;
    workload_query(&run->workload, &run->model, false, &query);
    const char *name = query.is_all ? NULL : query.stream;
    const int64_t now_us = world->disk.now_us;
    const int want = model_read_begin(&model, &run->model, name, &query.options, false, now_us);
    int outcome =
        stele_read_begin(world->store, name, &query.options, false, now_us, &read, &world->err);
    SAME(run, outcome, want);
    while (outcome == STELE_OK) {
        const struct stele_event *events = NULL;
        size_t count = 0;
        outcome = stele_read_next(read, &events, &count, &world->err);
        if (outcome == STELE_INCOMPLETE) {
            outcome = stele_read_refill(world->store, read, &world->err);
            model_read_refill(&model);
            continue;
        }
        for (size_t i = 0; outcome == STELE_OK && i < count; i++) {
            if (!model_read_event(&model, &events[i])) {
                check_failed(__FILE__, __LINE__, "seed %llu, step %llu, read of %s: %s",
                             (unsigned long long)run->seed, (unsigned long long)run->step,
                             name == NULL ? "$all" : name, model.problem);
            }
            run->read++;
        }
    }
    if (want == STELE_OK) {
        SAME(run, outcome, STELE_END);
        SAME(run, model_read_at_end(&model), true);
        model_read_end(&model);
        stele_read_end(world->store, read);
    }
}

static void step(struct run *run)
{
    const uint64_t what = rng_below(&run->rng, 100);
    if (what < 30) {
        read(run);
    } else if (what < 33) {
        CHECK_EQ(world_work(run->world, rng_percent(&run->rng, 20)), STELE_OK);
    } else if (what < 34) {
        world_close(run->world);
        world_open(run->world);
    } else {
        struct workload_request *request = workload_request(&run->workload, &run->model);
        if (request->kind == WORKLOAD_DELETE) {
            delete (run, request);
        } else {
            append(run, request);
        }
        workload_free(request);
    }
    const struct model *model = &run->model;
    SAME(run, stele_store_position(run->world->store),
         model->count == 0 ? 0 : model->events[model->count - 1].position);
}

TEST(the_store_answers_as_the_model_does)
{
    for (uint64_t seed = 1; seed <= 4; seed++) {
        struct run run = {.world = world_create(), .seed = seed};
        rng_init(&run.rng, seed, 1);
        run.world->options.public.partitions = (uint32_t)rng_between(&run.rng, 1, 16);
        world_open(run.world);
        model_init(&run.model, run.world->options.public.partitions,
                   run.world->options.public.partition_key);
        workload_init(&run.workload, &run.rng);
        for (run.step = 0; run.step < STEPS; run.step++) {
            step(&run);
        }
        CHECK(run.appended > STEPS);
        CHECK(run.refused > STEPS / 100);
        CHECK(run.repeated > STEPS / 200);
        CHECK(run.read > STEPS);
        workload_deinit(&run.workload);
        model_deinit(&run.model);
        world_destroy(run.world);
    }
}
