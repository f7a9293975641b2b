/* Commands on a node's store: decided one after the other, durable later; answers when they are. */
#include "world.h"

#include <stdlib.h>

static void on_execute(struct world *world, struct node *node, void *object, uint64_t number);

static void kick(struct world *world, struct node *node)
{
    if (!node->executing && node->first != NULL) {
        node->executing = true;
        after(world, node, rng_exponential(&world->rng_schedule, world->config.execute_us),
              on_execute, NULL, NULL, 0);
    }
}

void execute_push(struct world *world, struct node *node, struct stele_ordered *command)
{
    if (node->fetching) {
        fail(world, "node %u is given a command while it fetches", node->index + 1);
    }
    command->next = NULL;
    *node->last = command;
    node->last = &command->next;
    kick(world, node);
}

/* ---- Answers ---- */

static void put_answer(struct node *node, const struct answer *answer)
{
    if (node->answers_count == node->answers_capacity) {
        node->answers_capacity = node->answers_capacity * 2 + 64;
        node->answers = realloc(node->answers, node->answers_capacity * sizeof *node->answers);
        STELE_ASSERT(node->answers != NULL);
    }
    node->answers[node->answers_count++] = *answer;
}

void execute_synced(struct node *node, uint64_t stamp, uint64_t effect)
{
    stele_replica_executed(node->replica, stamp);
    node->promised = effect > node->promised ? effect : node->promised;
}

void execute_durable(struct world *world, struct node *node)
{
    const uint64_t durable = stele_store_durable(node->store);
    size_t kept = 0;
    bool held = false; /* A command waits: those behind it do, too. */
    const size_t count = node->answers_count;
    for (size_t i = 0; i < count; i++) {
        const struct answer answer = node->answers[i];
        if (answer.place > durable || (answer.stamp != 0 && held)) {
            held = held || answer.stamp != 0;
            node->answers[kept++] = answer;
            continue;
        }
        if (answer.stamp != 0) {
            node->visible = answer.stamp;
            stele_hashes_add(&node->hashes, answer.stamp, answer.hash, answer.outcome,
                             &answer.result);
        }
        if (answer.stamp != 0 && answer.outcome == STELE_OK && answer.result.idempotent == 0) {
            node->effect = answer.stamp; /* It has left something in the store. */
        }
        if (answer.attempt != NULL) {
            world->answered = answer.stamp > world->answered ? answer.stamp : world->answered;
            client_told(world, answer.attempt, answer.outcome, &answer.result);
        }
    }
    node->answers_count = kept;
    if (stele_store_syncs_later(node->store)) {
        disks_sync_soon(world, node);
    } else {
        execute_synced(node, node->visible, node->effect);
    }
    node_kick(world, node);
}

/* ---- Executing ---- */

/* Whatever the body says, on this store. */
static int decide(struct world *world, struct node *node, struct deciding *deciding,
                  struct stele_ticket *ticket, struct stele_append_result *result,
                  struct stele_error *err)
{
    const struct stele_command *command = &deciding->command;
    const struct stele_order order = {.stamp = deciding->ordered->stamp, .seen = command->seen};
    const struct stele_append *first = command->streams;
    int outcome = STELE_OK;
    if (command->kind == STELE_COMMAND_SOFT_DELETE) {
        struct stele_append_result ignored;
        deciding->json.size = 0;
        deciding->json_outcome =
            stele_store_delete_metadata(node->store, first->stream, first->expected,
                                        &deciding->json, &deciding->json_expected, &ignored, err);
        return stele_store_delete_at(node->store, node->prepared, first->stream, first->expected,
                                     first->events[0].id, &order, ticket, result, err);
    }
    if (command->kind == STELE_COMMAND_TOMBSTONE) {
        outcome = stele_prepare_tombstone_at(node->prepared, first->stream, first->expected,
                                             first->events[0].id, order.stamp, err);
    } else {
        outcome =
            stele_prepare_at(node->prepared, command->streams, command->streams_count,
                             command->conditions, command->conditions_count, order.stamp, err);
    }
    if (outcome != STELE_OK) {
        fail(world, "a command cannot be prepared: %s", err->message);
    }
    return stele_store_append_at(node->store, node->prepared, &order, ticket, NULL, result, err);
}

/* false: not now. */
static bool execute(struct world *world, struct node *node, struct stele_ordered *ordered)
{
    struct stele_arena arena = {.block_size = 0};
    struct stele_error err = {.outcome = 0};
    struct deciding deciding = {.ordered = ordered,
                                .body = {.data = ordered->bytes, .size = ordered->size}};
    if (stele_command_decode(deciding.body, &arena, &node->alloc.base, &deciding.command, &err) !=
        STELE_OK) {
        fail(world, "a command that cannot be read: %s", err.message);
    }
    struct stele_ticket ticket = {.place = 0};
    struct stele_append_result result = {.failed = 0};
    const int outcome = decide(world, node, &deciding, &ticket, &result, &err);
    const bool decided = stele_order_is_decision(outcome);
    if (decided) {
        truth_executed(world, node, &deciding, outcome, &result);
        put_answer(node, &(struct answer){.stamp = ordered->stamp,
                                          .place = ticket.place,
                                          .attempt = ordered->own,
                                          .outcome = outcome,
                                          .result = result,
                                          .hash = stele_hash64(deciding.body, ordered->stamp)});
    }
    stele_buf_deinit(&deciding.json, &node->alloc.base);
    stele_arena_deinit(&arena, &node->alloc.base);
    if (outcome == STELE_STORE_ROLL) {
        node->rolling = true;
        node->roll_size = ticket.roll_size;
    } else if (!decided && outcome != STELE_STORE_INDEX) {
        node_failed(world, node, outcome, "executing", &err);
    }
    return decided;
}

static void on_execute(struct world *world, struct node *node, void *object, uint64_t number)
{
    (void)object;
    (void)number;
    const uint64_t batch = rng_log(&world->rng_schedule, 1, 64);
    node->executing = false;
    for (uint64_t i = 0; i < batch && node->first != NULL; i++) {
        struct stele_ordered *ordered = node->first;
        if (node->rolling || !execute(world, node, ordered)) {
            break;
        }
        node->first = ordered->next;
        node->last = node->first == NULL ? &node->first : node->last;
        stele_ordered_release(&node->alloc.base, ordered);
    }
    if (node->up) {
        disks_pump(world, node);
    }
    if (node->up) {
        execute_durable(world, node);
        kick(world, node);
    }
}

/* ---- The end ---- */

void execute_crashed(struct world *world, struct node *node)
{
    while (node->first != NULL) {
        struct stele_ordered *ordered = node->first;
        node->first = ordered->next;
        if (ordered->own != NULL) {
            client_told(world, ordered->own, STELE_E_UNKNOWN, NULL);
        }
        stele_ordered_release(&node->alloc.base, ordered);
    }
    node->last = &node->first;
    for (size_t i = 0; i < node->answers_count; i++) {
        if (node->answers[i].attempt != NULL) {
            client_told(world, node->answers[i].attempt, STELE_E_UNKNOWN, NULL);
        }
    }
    node->answers_count = 0;
    node->executing = false;
    node->fetching = false;
}

/* ---- Asking ---- */

/* The bytes of the command that an operation becomes here. */
static void encode(struct world *world, struct attempt *attempt, uint64_t seen)
{
    const struct workload_request *request = attempt->operation->request;
    struct testalloc alloc;
    struct stele_buf buf = {.data = NULL};
    struct stele_error err;
    testalloc_init(&alloc, 0);
    const struct stele_command command = {
        .kind = request->kind == WORKLOAD_APPEND      ? STELE_COMMAND_APPEND
                : request->kind == WORKLOAD_TOMBSTONE ? STELE_COMMAND_TOMBSTONE
                                                      : STELE_COMMAND_SOFT_DELETE,
        .seen = seen,
        .streams = request->streams,
        .streams_count = request->streams_count,
        .conditions = request->conditions,
        .conditions_count = request->conditions_count,
        .now_us = (int64_t)world->now_us + 1,
    };
    if (stele_command_encode(&command, &alloc.base, &buf, &err) != STELE_OK) {
        fail(world, "a request cannot be encoded: %s", err.message);
    }
    attempt->bytes = malloc(buf.size);
    STELE_ASSERT(attempt->bytes != NULL);
    memcpy(attempt->bytes, buf.data, buf.size);
    attempt->proposal.bytes = (struct stele_bytes){.data = attempt->bytes, .size = buf.size};
    stele_buf_deinit(&buf, &alloc.base);
}

static void propose(struct world *world, struct node *node, struct attempt *attempt, uint64_t seen)
{
    struct stele_error err = {.outcome = 0};
    encode(world, attempt, seen);
    const struct stele_bytes name = stele_command_first_stream(attempt->proposal.bytes);
    attempt->proposal.group = stele_murmur3(name) % world->config.partitions;
    attempt->floor = world->answered;
    attempt->origin = node_number(node);
    attempt->boot = node->boot;
    const int outcome =
        stele_replica_propose(node->replica, &attempt->proposal, node_now(world, node), &err);
    if (outcome == STELE_OK) {
        attempt->id = attempt->proposal.id;
        client_proposed(world, attempt);
        node_kick(world, node);
        return;
    }
    if (outcome != STELE_E_OVERLOADED && outcome != STELE_E_FENCED) {
        fail(world, "proposing ends with %s: %s", stele_outcome_name(outcome), err.message);
    }
    attempt->never = true;
    world->stats.overloaded++;
    client_told(world, attempt, STELE_E_OVERLOADED, NULL);
}

void execute_ask(struct world *world, struct node *node, struct attempt *attempt)
{
    const struct workload_request *request = attempt->operation->request;
    struct stele_error err = {.outcome = 0};
    uint64_t seen = stele_store_position_staged(node->store);
    if (request->kind != WORKLOAD_APPEND) {
        propose(world, node, attempt, seen);
        return;
    }
    struct stele_ticket ticket = {.place = 0};
    struct stele_append_result result = {.failed = 0};
    if (stele_prepare_at(node->prepared, request->streams, request->streams_count,
                         request->conditions, request->conditions_count, 0, &err) != STELE_OK) {
        fail(world, "a request cannot be prepared: %s", err.message);
    }
    const int outcome =
        stele_store_look_back(node->store, node->prepared, &seen, &ticket, NULL, &result, &err);
    if (outcome == STELE_NOT_FOUND) {
        propose(world, node, attempt, seen);
    } else if (outcome == STELE_STORE_INDEX || outcome == STELE_E_UNSUPPORTED) {
        client_told(world, attempt, STELE_E_OVERLOADED, NULL);
    } else if (stele_order_is_decision(outcome)) {
        world->stats.look_backs++;
        put_answer(node, &(struct answer){.place = ticket.place,
                                          .attempt = attempt,
                                          .outcome = outcome,
                                          .result = result});
        execute_durable(world, node);
    } else {
        client_told(world, attempt, STELE_E_OVERLOADED, NULL);
        node_failed(world, node, outcome, "looking back", &err);
    }
}
