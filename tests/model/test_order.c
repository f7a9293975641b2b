/* Stores that execute the same commands are the same, whatever else happens to each of them.
 *
 * Method: random commands, made as a cluster makes them: some node looks back, and some commands later
 * the one is executed, by each node when its turn comes. Nodes have different options; one scavenges
 * all the time, one is killed or loses power at any moment, two execute some commands only and copy
 * what they missed from another. Every outcome and every number of every result is compared with
 * the first node's, and with the model's; then everything that can be read. That the comparison sees
 * anything is tested by planting a difference in one node. A failure names its seed and its step. */
#include "../unit/store/world.h"
#include "base/position.h"
#include "lib/model.h"
#include "lib/workload.h"
#include "store/store_internal.h"

#define SEEDS 10
#define STEPS 1500
#define NODES 5
#define PENDING_MAX 6
#define FLAG_SCAVENGES 1U
#define FLAG_DIES 2U
#define FLAG_COPIES 4U
#define MS_SHIFT (STELE_POSITION_PARTITION_BITS + STELE_POSITION_COUNTER_BITS)

enum plant { PLANT_NOTHING, PLANT_STAMP, PLANT_SKIP, PLANT_ID };

struct command {
    struct workload_request *request;
    struct stele_order order;
    uint8_t id[16];
    bool forgetful; /* Made by a node that had scavenged, or copied from one that had. */
    /* What the first node answered. */
    int outcome;
    struct stele_append_result result;
};

struct node {
    struct world *world;
    uint32_t flags;
    size_t next; /* Command. */
    uint64_t copies, deaths;
};

struct run {
    struct node nodes[NODES];
    struct command *commands;
    size_t count;
    struct command pending[PENDING_MAX];
    size_t pending_count;
    struct model model;
    struct workload workload;
    struct rng rng;
    uint64_t seed;
    uint64_t step;
    uint64_t ms;
    uint64_t next_id;
    enum plant plant;
    uint64_t differences; /* Seen, with a plant; otherwise one is the end. */
    uint64_t appended, refused, repeated, stale, answered;
};

static void differ(struct run *run, const char *what, int64_t got, int64_t want)
{
    run->differences++;
    if (run->plant == PLANT_NOTHING) {
        check_failed(__FILE__, __LINE__, "seed %llu, step %llu: %s is %lld instead of %lld",
                     (unsigned long long)run->seed, (unsigned long long)run->step, what,
                     (long long)got, (long long)want);
    }
}

#define SAME(run, got, want)                                                                       \
    do {                                                                                           \
        if ((int64_t)(got) != (int64_t)(want)) {                                                   \
            differ((run), #got, (int64_t)(got), (int64_t)(want));                                  \
        }                                                                                          \
    } while (false)

/* ---- Executing ---- */

static int execute_once(struct run *run, struct node *node, const struct command *command,
                        struct stele_prepared *prepared, struct stele_ticket *ticket,
                        struct stele_append_result *result)
{
    struct world *world = node->world;
    const struct workload_request *request = command->request;
    struct stele_order order = command->order;
    uint8_t id[16];
    memcpy(id, command->id, sizeof id);
    const bool planted =
        node == &run->nodes[NODES - 1] && rng_one_in(&run->rng, run->plant == PLANT_ID ? 2 : 40);
    order.stamp += planted && run->plant == PLANT_STAMP ? UINT64_C(1) << MS_SHIFT : 0;
    id[0] ^= planted && run->plant == PLANT_ID ? 1 : 0;
    const struct stele_append *target = &request->streams[0];
    if (request->kind == WORKLOAD_DELETE) {
        return stele_store_delete_at(world->store, prepared, target->stream, target->expected, id,
                                     &order, ticket, result, &world->err);
    }
    int outcome = request->kind == WORKLOAD_TOMBSTONE
                      ? stele_prepare_tombstone_at(prepared, target->stream, target->expected, id,
                                                   order.stamp, &world->err)
                      : stele_prepare_at(prepared, request->streams, request->streams_count,
                                         request->conditions, request->conditions_count,
                                         order.stamp, &world->err);
    CHECK_OK(outcome, world->err);
    return stele_store_append_at(world->store, prepared, &order, ticket, NULL, result, &world->err);
}

static int execute(struct run *run, struct node *node, const struct command *command,
                   struct stele_append_result *result)
{
    struct world *world = node->world;
    struct stele_prepared *prepared = NULL;
    int outcome = STELE_STORE_ROLL;
    CHECK_OK(stele_prepared_create(world->store, &prepared, &world->err), world->err);
    while (outcome == STELE_STORE_ROLL || outcome == STELE_STORE_INDEX) {
        struct stele_ticket ticket = {.place = 0};
        outcome = execute_once(run, node, command, prepared, &ticket, result);
        if (outcome == STELE_STORE_ROLL) {
            world_commit(world);
            CHECK_OK(stele_store_roll(world->store, ticket.roll_size, &world->err), world->err);
        } else if (outcome == STELE_STORE_INDEX) {
            CHECK_EQ(world_work(world, false), STELE_OK);
        }
    }
    stele_prepared_destroy(prepared);
    CHECK(stele_order_is_decision(outcome));
    return outcome;
}

static void compare_with_first(struct run *run, const struct command *command, int outcome,
                               const struct stele_append_result *result)
{
    SAME(run, outcome, command->outcome);
    if (outcome == STELE_OK) {
        SAME(run, result->idempotent, command->result.idempotent);
        SAME(run, result->position_first, command->result.position_first);
        SAME(run, result->position_last, command->result.position_last);
        SAME(run, result->revision_first, command->result.revision_first);
    }
    if (outcome == STELE_OK || outcome == STELE_WRONG_REVISION) {
        SAME(run, result->revision_last, command->result.revision_last);
    }
    if (outcome != STELE_OK && outcome != STELE_E_ID_CONFLICT && outcome != STELE_STORE_STALE) {
        SAME(run, result->failed, command->result.failed);
        SAME(run, result->conflict_position, command->result.conflict_position);
    }
}

/* A node executes what it has not executed yet, up to some command. */
static void catch_up(struct run *run, struct node *node, size_t to)
{
    while (node->next < to) {
        struct stele_append_result result = {.failed = 0};
        const struct command *command = &run->commands[node->next++];
        if (run->plant == PLANT_SKIP && node == &run->nodes[NODES - 1] &&
            rng_one_in(&run->rng, 100)) {
            continue;
        }
        const int outcome = execute(run, node, command, &result);
        compare_with_first(run, command, outcome, &result);
        if (rng_one_in(&run->rng, 3)) {
            world_commit(node->world);
        }
    }
}

/* ---- The first node, and the model ---- */

static uint32_t may_of(int outcome, bool idempotent)
{
    switch (outcome) {
    case STELE_OK:
        return idempotent ? MODEL_MAY_REPEAT : MODEL_MAY_APPEND;
    case STELE_WRONG_REVISION:
        return MODEL_MAY_FAIL_REVISION;
    case STELE_STREAM_DELETED:
        return MODEL_MAY_FAIL_DELETED;
    case STELE_CONDITION_FAILED:
        return MODEL_MAY_FAIL_CONDITION;
    default:
        return outcome == STELE_E_ID_CONFLICT ? MODEL_MAY_FAIL_ID : 0;
    }
}

/* The metadata that a soft delete appends: composed by the first node, whose state it is. */
static struct workload_request *deletion(struct run *run, const struct command *command,
                                         int *out_want)
{
    struct world *world = run->nodes[0].world;
    const struct stele_append *target = &command->request->streams[0];
    struct stele_buf json = {.data = NULL};
    struct stele_append_result result;
    uint64_t expected = 0;
    uint64_t before = 0;
    uint64_t want_expected = 0;
    *out_want =
        model_delete(&run->model, target->stream, target->expected, &before, &want_expected);
    const int outcome = stele_store_delete_metadata(world->store, target->stream, target->expected,
                                                    &json, &expected, &result, &world->err);
    SAME(run, outcome, *out_want);
    struct workload_request *metadata = NULL;
    if (outcome == STELE_OK) {
        SAME(run, expected, want_expected);
        metadata =
            workload_metadata(&run->workload, target->stream, expected, json.data, json.size);
        memcpy(metadata->drafts[0].id, command->id, 16);
    }
    stele_buf_deinit(&json, &world->alloc.base);
    return metadata;
}

static void apply(struct run *run, const struct command *command,
                  const struct workload_request *request)
{
    struct model *model = &run->model;
    const uint32_t first = model->count;
    (void)model_apply(
        model, request->streams, request->streams_count, request->kind == WORKLOAD_TOMBSTONE,
        stele_order_time_us(command->order.stamp), command->result.position_first, 0, 0);
    model_durable(model, UINT64_MAX);
    if (request->kind == WORKLOAD_TOMBSTONE) {
        memcpy(model->events[first].id, command->id, 16);
        model->events[first].id_known = true;
    }
    SAME(run, command->result.position_last, model->events[model->count - 1].position);
    CHECK(first == 0 || model->events[first].position > model->events[first - 1].position);
    CHECK(stele_position_tick(model->events[first].position) >=
          stele_position_tick(command->order.stamp));
    run->appended += model->count - first;
}

/* May the model's answer rest on events that whoever looked did not have any more? */
static bool is_forgotten(const struct command *command, const struct model_decision *want)
{
    if (!command->forgetful) {
        return false;
    }
    if ((want->may & MODEL_MAY_REPEAT) != 0) {
        return want->result.position_first <= command->order.seen;
    }
    return (want->may & (MODEL_MAY_FAIL_ID | MODEL_MAY_FAIL_CONDITION)) != 0;
}

static void execute_first(struct run *run, struct command *command)
{
    struct workload_request *metadata = NULL;
    const struct workload_request *request = command->request;
    struct model_decision want = {.outcome = STELE_OK};
    if (request->kind == WORKLOAD_DELETE) {
        metadata = deletion(run, command, &want.outcome);
        request = metadata;
    } else {
        model_decide(&run->model, request->streams, request->streams_count, request->conditions,
                     request->conditions_count, &want);
    }
    command->result = (struct stele_append_result){.failed = 0};
    command->outcome = execute(run, &run->nodes[0], command, &command->result);
    world_commit(run->nodes[0].world);
    run->nodes[0].next++;
    run->commands[run->count++] = *command;
    if (command->outcome == STELE_STORE_STALE) {
        run->stale++;
    } else if (command->request->kind == WORKLOAD_DELETE) {
        SAME(run, command->outcome, want.outcome);
    } else if ((may_of(command->outcome, command->result.idempotent != 0) & want.may) == 0 &&
               !is_forgotten(command, &want)) {
        differ(run, "the outcome", command->outcome, want.outcome);
    }
    if (command->outcome == STELE_OK && command->result.idempotent == 0) {
        apply(run, command, request);
        if (command->request->kind == WORKLOAD_APPEND && rng_percent(&run->rng, 50)) {
            workload_remember(&run->workload, command->request);
        }
    } else if (command->outcome == STELE_OK) {
        run->repeated++;
    } else {
        run->refused++;
    }
    workload_free(metadata);
}

/* ---- Making commands ---- */

static const struct model_event *event_at(const struct run *run, uint64_t position)
{
    for (uint32_t i = run->model.count; i > 0; i--) {
        if (run->model.events[i - 1].position == position) {
            return &run->model.events[i - 1];
        }
    }
    return NULL;
}

/* false: it was answered by looking. */
static bool look(struct run *run, struct node *origin, struct command *command)
{
    struct world *world = origin->world;
    const struct workload_request *request = command->request;
    if (request->kind != WORKLOAD_APPEND) {
        command->order.seen = stele_store_position_staged(world->store);
        return true;
    }
    struct stele_prepared *prepared = NULL;
    struct stele_append_result result = {.failed = 0};
    struct stele_ticket ticket;
    int outcome = STELE_STORE_INDEX;
    CHECK_OK(stele_prepared_create(world->store, &prepared, &world->err), world->err);
    CHECK_OK(stele_prepare_at(prepared, request->streams, request->streams_count,
                              request->conditions, request->conditions_count, 0, &world->err),
             world->err);
    while (outcome == STELE_STORE_INDEX) {
        outcome = stele_store_look_back(world->store, prepared, &command->order.seen, &ticket, NULL,
                                        &result, &world->err);
        if (outcome == STELE_STORE_INDEX) {
            CHECK_EQ(world_work(world, false), STELE_OK);
        }
    }
    stele_prepared_destroy(prepared);
    if (outcome == STELE_NOT_FOUND) {
        CHECK_EQ(command->order.seen, stele_store_position_staged(world->store));
        return true;
    }
    run->answered++;
    if (outcome == STELE_OK) {
        const struct model_event *event = event_at(run, result.position_first);
        CHECK_EQ(result.idempotent, 1);
        CHECK(event != NULL);
    } else if (outcome == STELE_CONDITION_FAILED) {
        CHECK(model_conflicts(&run->model, &request->conditions[result.failed],
                              result.conflict_position));
    } else {
        CHECK_EQ(outcome, STELE_E_ID_CONFLICT);
    }
    return false;
}

/* An append of any time before, once more: some nodes have scavenged what it appended, others have
 * not. The same for conditions that look back to the beginning. */
static struct workload_request *old_request(struct run *run)
{
    const struct command *old = &run->commands[rng_below(&run->rng, run->count)];
    if (old->request->kind != WORKLOAD_APPEND) {
        return workload_request(&run->workload, &run->model);
    }
    struct workload_request *request = workload_copy(old->request);
    if (rng_percent(&run->rng, 30)) {
        request->streams[0].expected = STELE_EXPECT_ANY;
        request->drafts[0].id[14] ^= (uint8_t)rng_below(&run->rng, 2);
    }
    if (request->conditions_count > 0 && rng_percent(&run->rng, 50)) {
        request->conditions[0].after = 0;
    }
    return request;
}

static void make_command(struct run *run)
{
    struct node *origin = &run->nodes[rng_below(&run->rng, NODES)];
    struct command command = {.request = run->count > 100 && rng_percent(&run->rng, 10)
                                             ? old_request(run)
                                             : workload_request(&run->workload, &run->model)};
    const uint64_t id = ++run->next_id;
    memcpy(command.id, &id, sizeof id);
    command.id[15] = 0xc0;
    command.forgetful = (origin->flags & (FLAG_SCAVENGES | FLAG_COPIES)) != 0;
    if (look(run, origin, &command)) {
        run->pending[run->pending_count++] = command;
    } else {
        workload_free(command.request);
    }
}

/* Any of the pending ones may come first. Now and then hours pass before it comes. */
static void order_one(struct run *run)
{
    const size_t which = (size_t)rng_below(&run->rng, run->pending_count);
    struct command command = run->pending[which];
    run->pending[which] = run->pending[--run->pending_count];
    run->ms += rng_one_in(&run->rng, 100) ? rng_below(&run->rng, 3 * STELE_SEEN_AGE_MS)
                                          : rng_below(&run->rng, 20000);
    const uint64_t before = run->count == 0 ? 0 : run->commands[run->count - 1].order.stamp;
    command.order.stamp = run->ms << MS_SHIFT | rng_below(&run->rng, 1024);
    if (command.order.stamp <= before) {
        command.order.stamp = before + 1;
    }
    execute_first(run, &command);
}

/* ---- What happens to nodes ---- */

static void scavenge(struct node *node, bool compress)
{
    struct world *world = node->world;
    uint64_t base = 0;
    for (;;) {
        struct stele_work *work = NULL;
        struct stele_log_pack_result packed;
        int outcome = stele_scavenge_begin(world->store, base, compress, world->disk.now_us, NULL,
                                           NULL, &work, &world->err);
        if (outcome == STELE_STORE_INDEX) {
            CHECK_EQ(world_work(world, false), STELE_OK);
            continue;
        }
        if (outcome != STELE_OK) {
            CHECK_EQ(outcome, STELE_NOT_FOUND);
            return;
        }
        outcome = stele_work_run(work, &world->err);
        CHECK_OK(stele_scavenge_end(world->store, work, outcome, &base, &packed, &world->err),
                 world->err);
    }
}

static void go_on_after(struct run *run, struct node *node, uint64_t stamp)
{
    node->next = 0;
    while (node->next < run->count && run->commands[node->next].order.stamp <= stamp) {
        node->next++;
    }
}

static void die(struct run *run, struct node *node)
{
    node->deaths++;
    if (rng_percent(&run->rng, 50)) {
        stele_store_close(node->world->store);
        node->world->store = NULL;
        memio_crash(&node->world->disk, MEMIO_KEEP_RANDOM);
    } else {
        world_close(node->world);
    }
    world_open(node->world);
    CHECK(stele_store_is_ordered(node->world->store));
    go_on_after(run, node, stele_store_ordered(node->world->store));
}

static void replay(struct world *world, struct stele_replay *replaying, struct stele_bytes chunk)
{
    CHECK_OK(stele_replay_decode(replaying, chunk, &world->err), world->err);
    int outcome = STELE_OK;
    while (outcome != STELE_END) {
        struct stele_ticket ticket = {.place = 0};
        outcome = stele_store_replay(world->store, replaying, &ticket, &world->err);
        if (outcome == STELE_STORE_ROLL) {
            world_commit(world);
            CHECK_OK(stele_store_roll(world->store, ticket.roll_size, &world->err), world->err);
        } else if (outcome == STELE_STORE_INDEX) {
            CHECK_EQ(world_work(world, false), STELE_OK);
        } else if (outcome != STELE_END) {
            CHECK_OK(outcome, world->err);
        }
    }
    world_commit(world);
}

/* In pieces, with the end of the process between them now and then. */
static void copy(struct run *run, struct node *to, struct node *from)
{
    bool complete = false;
    world_commit(from->world);
    world_commit(to->world);
    const uint64_t begin = stele_store_position(to->world->store);
    if (stele_store_ordered(from->world->store) < stele_store_ordered(to->world->store)) {
        return;
    }
    while (!complete) {
        struct stele_export *export = NULL;
        struct stele_replay *replaying = NULL;
        CHECK_OK(stele_replay_begin(to->world->store, &to->world->err), to->world->err);
        CHECK(stele_store_is_catching_up(to->world->store));
        CHECK_OK(stele_export_begin(from->world->store, stele_store_ordered(to->world->store),
                                    stele_store_position(to->world->store), &export,
                                    &from->world->err),
                 from->world->err);
        CHECK_OK(stele_replay_create(to->world->store, &replaying, &to->world->err),
                 to->world->err);
        int outcome = STELE_OK;
        while (outcome == STELE_OK && !(to->flags != 0 && rng_one_in(&run->rng, 50))) {
            struct stele_bytes chunk;
            outcome = stele_export_next(export, (size_t)rng_below(&run->rng, 20000), &chunk,
                                        &from->world->err);
            if (outcome == STELE_OK) {
                replay(to->world, replaying, chunk);
            }
        }
        complete = outcome == STELE_END;
        stele_replay_destroy(replaying);
        stele_export_end(from->world->store, export);
        CHECK_OK(stele_replay_end(to->world->store, complete, &to->world->err), to->world->err);
        if (!complete) {
            world_close(to->world);
            world_open(to->world);
            CHECK(stele_store_is_catching_up(to->world->store) ||
                  stele_store_position(to->world->store) == begin);
        }
    }
    CHECK(!stele_store_is_catching_up(to->world->store));
    SAME(run, stele_store_ordered(to->world->store), stele_store_ordered(from->world->store));
    SAME(run, stele_store_position(to->world->store), stele_store_position(from->world->store));
    to->next = from->next;
    to->copies++;
}

static void befall(struct run *run, struct node *node)
{
    const uint64_t what = rng_below(&run->rng, 100);
    if (what < 10) {
        CHECK_EQ(world_work(node->world, rng_percent(&run->rng, 20)), STELE_OK);
    } else if (what < 20 && (node->flags & FLAG_SCAVENGES) != 0) {
        scavenge(node, rng_percent(&run->rng, 50));
    } else if (what < 25 && (node->flags & FLAG_DIES) != 0) {
        die(run, node);
    } else if (what < 35 && (node->flags & FLAG_COPIES) != 0) {
        struct node *from = &run->nodes[rng_below(&run->rng, NODES)];
        if (from != node && from->next > node->next) {
            copy(run, node, from);
        }
    } else if (what < 60) {
        catch_up(run, node, node->next + (size_t)rng_below(&run->rng, run->count - node->next + 1));
    }
}

/* ---- Comparing what can be read ---- */

/* Reads $all: each event is the model's. Returns how many there are. */
static uint64_t compare_events(struct run *run, struct node *node)
{
    struct world *world = node->world;
    const struct stele_read_options options = STELE_READ_OPTIONS_INIT;
    struct stele_read *read = NULL;
    uint32_t at = 0;
    uint64_t total = 0;
    int outcome = stele_read_begin(world->store, NULL, &options, false, 0, &read, &world->err);
    while (outcome == STELE_OK) {
        const struct stele_event *events = NULL;
        size_t count = 0;
        outcome = stele_read_next(read, &events, &count, &world->err);
        if (outcome == STELE_INCOMPLETE) {
            outcome = stele_read_refill(world->store, read, &world->err);
            continue;
        }
        for (size_t i = 0; outcome == STELE_OK && i < count; i++, total++) {
            while (at < run->model.count && run->model.events[at].position < events[i].position) {
                at++;
            }
            const char *problem = at == run->model.count
                                      ? "no event of the model"
                                      : model_compare(&run->model, at, &events[i]);
            if (problem != NULL) {
                differ(run, problem, (int64_t)events[i].position, 0);
            }
        }
    }
    CHECK_EQ(outcome, STELE_END);
    stele_read_end(world->store, read);
    return total;
}

static void compare_streams(struct run *run, struct node *node)
{
    struct world *first = run->nodes[0].world;
    struct world *world = node->world;
    for (uint32_t i = 0; i < run->model.streams.count; i++) {
        const char *name = run->model.streams.names[i];
        struct stele_stream_info want = {.revision_first = 0};
        struct stele_stream_info got = {.revision_first = 0};
        const int64_t now_us = (int64_t)1 << 50;
        const int wanted = stele_store_stream_info(first->store, name, now_us, &want, &first->err);
        SAME(run, stele_store_stream_info(world->store, name, now_us, &got, &world->err), wanted);
        if (wanted == STELE_OK) {
            SAME(run, got.revision_last, want.revision_last);
            SAME(run, got.position_last, want.position_last);
            SAME(run, got.partition, want.partition);
            SAME(run, got.deleted, want.deleted);
            SAME(run, got.tombstoned, want.tombstoned);
        }
        struct stele_buf want_json = {.data = NULL};
        struct stele_buf got_json = {.data = NULL};
        uint64_t want_revision = 0;
        uint64_t got_revision = 0;
        const int metadata =
            stele_store_metadata(first->store, name, &want_json, &want_revision, &first->err);
        SAME(run, stele_store_metadata(world->store, name, &got_json, &got_revision, &world->err),
             metadata);
        SAME(run, got_revision, want_revision);
        SAME(run, got_json.size, want_json.size);
        if (got_json.size == want_json.size && got_json.size > 0) {
            SAME(run, memcmp(got_json.data, want_json.data, got_json.size), 0);
        }
        stele_buf_deinit(&want_json, &first->alloc.base);
        stele_buf_deinit(&got_json, &world->alloc.base);
    }
}

static void on_damage(void *context, const struct stele_damage *damage)
{
    check_failed(__FILE__, __LINE__, "node %d: %s, offset %llu: %s", *(const int *)context,
                 damage->file, (unsigned long long)damage->offset, damage->what);
}

static void verify(struct node *node, int number)
{
    struct world *world = node->world;
    struct stele_verify *verify = NULL;
    struct stele_verify_result result;
    uint64_t done = 0;
    uint64_t total = 0;
    CHECK_OK(
        stele_verify_begin(world->store, NULL, on_damage, &number, false, &verify, &world->err),
        world->err);
    int outcome = STELE_OK;
    while (outcome == STELE_OK) {
        outcome = stele_verify_step(verify, &done, &total, &result, &world->err);
    }
    CHECK_EQ(outcome, STELE_END);
    stele_verify_end(world->store, verify);
}

/* Everything that is left on the node, and nothing else, is in a copy of it. */
static void compare_copy(struct run *run, struct node *node)
{
    struct node fresh = {.world = world_create()};
    fresh.world->options.public.partitions = node->world->options.public.partitions;
    fresh.world->options.ordered = true;
    world_open(fresh.world);
    copy(run, &fresh, node);
    SAME(run, compare_events(run, &fresh), compare_events(run, node));
    compare_streams(run, &fresh);
    verify(&fresh, -1);
    world_close(fresh.world);
    world_open(fresh.world);
    SAME(run, stele_store_ordered(fresh.world->store), stele_store_ordered(node->world->store));
    SAME(run, compare_events(run, &fresh), compare_events(run, node));
    world_destroy(fresh.world);
}

/* ---- Runs ---- */

static void run_begin(struct run *run, uint64_t seed, enum plant plant)
{
    static const uint32_t flags[NODES] = {0, FLAG_SCAVENGES, FLAG_DIES,
                                          FLAG_COPIES | FLAG_SCAVENGES, FLAG_COPIES | FLAG_DIES};
    *run = (struct run){.seed = seed, .plant = plant, .ms = UINT64_C(170000000000)};
    rng_init(&run->rng, seed, 2);
    const uint32_t partitions = (uint32_t)rng_between(&run->rng, 1, 16);
    for (size_t i = 0; i < NODES; i++) {
        struct world *world = world_create();
        world->disk.now_us += (int64_t)i * 1000000007; /* Clocks that have nothing to do … */
        world->options.public.partitions = partitions;
        world->options.public.segment_size_max = (uint64_t)64 * 1024 << i % 3;
        world->options.public.index_memory = (uint64_t)4096 << i;
        world->options.public.event_size_max = i == 2 ? 1 : STELE_EVENT_SIZE_MAX;
        world->options.ordered = true;
        run->nodes[i] = (struct node){.world = world, .flags = plant == 0 ? flags[i] : 0};
        world_open(world);
    }
    run->commands = calloc(STEPS + PENDING_MAX, sizeof *run->commands);
    STELE_ASSERT(run->commands != NULL);
    model_init(&run->model, partitions, STELE_KEY_STREAM);
    workload_init(&run->workload, &run->rng);
    run->workload.nameless_percent = 0;
    run->workload.retry_percent = 15;
    run->workload.delete_one_in = 25;
}

static void run_end(struct run *run)
{
    for (size_t i = 0; i < run->count; i++) {
        workload_free(run->commands[i].request);
    }
    for (size_t i = 0; i < run->pending_count; i++) {
        workload_free(run->pending[i].request);
    }
    free(run->commands);
    workload_deinit(&run->workload);
    model_deinit(&run->model);
    for (size_t i = 0; i < NODES; i++) {
        world_destroy(run->nodes[i].world);
    }
}

static void run_steps(struct run *run, uint64_t steps)
{
    for (run->step = 0; run->step < steps && run->differences == 0; run->step++) {
        while (run->pending_count < PENDING_MAX && rng_percent(&run->rng, 60)) {
            make_command(run);
        }
        if (run->pending_count > 0) {
            order_one(run);
        }
        befall(run, &run->nodes[1 + rng_below(&run->rng, NODES - 1)]);
        befall(run, &run->nodes[1 + rng_below(&run->rng, NODES - 1)]);
    }
    for (size_t i = 1; i < NODES && run->differences == 0; i++) {
        catch_up(run, &run->nodes[i], run->count);
        world_commit(run->nodes[i].world);
    }
    for (size_t i = 0; i < NODES && run->differences == 0; i++) {
        (void)compare_events(run, &run->nodes[i]);
        compare_streams(run, &run->nodes[i]);
    }
}

TEST(stores_that_execute_the_same_commands_are_the_same)
{
    struct run sum = {.seed = 0};
    uint64_t deaths = 0;
    uint64_t copies = 0;
    uint64_t scavenged = 0;
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        struct run run;
        run_begin(&run, seed, PLANT_NOTHING);
        run_steps(&run, STEPS);
        CHECK_EQ(compare_events(&run, &run.nodes[0]), run.model.count);
        CHECK_EQ(compare_events(&run, &run.nodes[2]), run.model.count);
        scavenged += run.model.count - compare_events(&run, &run.nodes[1]);
        for (size_t i = 0; i < NODES; i++) {
            verify(&run.nodes[i], (int)i);
            compare_copy(&run, &run.nodes[i]);
        }
        sum.appended += run.appended;
        sum.refused += run.refused;
        sum.repeated += run.repeated;
        sum.answered += run.answered;
        sum.stale += run.stale;
        deaths += run.nodes[2].deaths;
        copies += run.nodes[3].copies + run.nodes[4].copies;
        run_end(&run);
    }
    CHECK(sum.appended > SEEDS * STEPS);
    CHECK(sum.refused > SEEDS * STEPS / 50);
    CHECK(sum.repeated > SEEDS * 5);
    CHECK(sum.answered > SEEDS * STEPS / 50);
    CHECK(sum.stale > SEEDS);
    CHECK(deaths > SEEDS * 5);
    CHECK(copies > SEEDS * 10);
    CHECK(scavenged > SEEDS * 100);
}

TEST(a_difference_between_two_stores_is_seen)
{
    for (enum plant plant = PLANT_STAMP; plant <= PLANT_ID; plant++) {
        struct run run;
        run_begin(&run, 9, plant);
        run_steps(&run, STEPS / 3);
        CHECK(run.differences > 0);
        run_end(&run);
    }
}
