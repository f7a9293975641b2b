/* What every node has to have done: one sequence of commands, their outcomes, and the events that the
 * reference model makes of them. */
#include "world.h"

#include <stdlib.h>

static uint64_t hash_of(struct stele_bytes bytes)
{
    uint64_t hash = bytes.size;
    for (size_t i = 0; i < bytes.size; i++) {
        hash = (hash ^ bytes.data[i]) * UINT64_C(0x100000001b3);
    }
    return hash;
}

size_t truth_after(const struct world *world, uint64_t stamp)
{
    size_t low = 0;
    size_t high = world->truth_count;
    while (low < high) {
        const size_t middle = low + (high - low) / 2;
        if (world->truth[middle].stamp <= stamp) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

static bool has_changed(const struct truth *truth)
{
    return truth->outcome == STELE_OK && truth->result.idempotent == 0;
}

/* What a node need not execute again before this stamp. */
static size_t pass(const struct world *world, const struct node *node, uint64_t stamp)
{
    size_t cursor = node->cursor;
    while (cursor < node->high && world->truth[cursor].stamp < stamp &&
           !has_changed(&world->truth[cursor])) {
        cursor++;
    }
    return cursor;
}

bool truth_is_done(const struct world *world, const struct node *node)
{
    return pass(world, node, UINT64_MAX) == world->truth_count;
}

/* ---- Against what others did ---- */

static void compare(struct world *world, const struct node *node, const struct truth *want,
                    const struct truth *got)
{
    if (got->origin != want->origin || got->boot != want->boot || got->id != want->id ||
        got->hash != want->hash) {
        fail(world,
             "K2: node %u executes at %llx the command %llu of node %llu (boot %llu), others %llu "
             "of node %llu (boot %llu)",
             node->index + 1, (unsigned long long)got->stamp, (unsigned long long)got->id,
             (unsigned long long)got->origin, (unsigned long long)got->boot,
             (unsigned long long)want->id, (unsigned long long)want->origin,
             (unsigned long long)want->boot);
    }
    const struct stele_append_result *a = &got->result;
    const struct stele_append_result *b = &want->result;
    if (got->outcome != want->outcome || a->idempotent != b->idempotent ||
        a->position_first != b->position_first || a->position_last != b->position_last ||
        a->revision_first != b->revision_first || a->revision_last != b->revision_last ||
        a->failed != b->failed || a->conflict_position != b->conflict_position) {
        fail(
            world,
            "node %u executes %llx with %s (positions %llx to %llx, revisions %llu to %llu, failed "
            "%zu, conflict %llx), others with %s (%llx to %llx, %llu to %llu, %zu, %llx)",
            node->index + 1, (unsigned long long)got->stamp, stele_outcome_name(got->outcome),
            (unsigned long long)a->position_first, (unsigned long long)a->position_last,
            (unsigned long long)a->revision_first, (unsigned long long)a->revision_last, a->failed,
            (unsigned long long)a->conflict_position, stele_outcome_name(want->outcome),
            (unsigned long long)b->position_first, (unsigned long long)b->position_last,
            (unsigned long long)b->revision_first, (unsigned long long)b->revision_last, b->failed,
            (unsigned long long)b->conflict_position);
    }
}

/* ---- Against the model ---- */

static uint64_t last_position(const struct world *world)
{
    const struct model *model = &world->model;
    return model->count == 0 ? 0 : model->events[model->count - 1].position;
}

static bool is_stale(const struct world *world, uint64_t seen)
{
    const uint64_t last = stele_position_tick(last_position(world));
    const uint64_t looked = stele_position_tick(seen);
    return last > looked && (last - looked) >> STELE_POSITION_COUNTER_BITS > STELE_SEEN_AGE_MS;
}

static void apply(struct world *world, const struct stele_append *streams, size_t count,
                  bool tombstone, const struct truth *got)
{
    const uint64_t stamp = stele_position_tick(got->stamp);
    const uint64_t last = stele_position_tick(last_position(world));
    const uint64_t tick = stamp > last ? stamp : last + 1;
    if (stele_position_tick(got->result.position_first) != tick) {
        fail(world, "the command at %llx has its first event at %llx instead of the tick %llx",
             (unsigned long long)got->stamp, (unsigned long long)got->result.position_first,
             (unsigned long long)tick);
    }
    for (size_t i = 0; i < count; i++) {
        if (strncmp(streams[i].stream, "$$", 2) == 0) {
            scavenge_mark(world, streams[i].stream);
        }
    }
    (void)model_apply(&world->model, streams, count, tombstone, stele_order_time_us(got->stamp),
                      got->result.position_first, world->model.count + 1, 0);
    model_durable(&world->model, UINT64_MAX);
    if (last_position(world) != got->result.position_last) {
        fail(world, "the command at %llx ends at %llx instead of %llx",
             (unsigned long long)got->stamp, (unsigned long long)got->result.position_last,
             (unsigned long long)last_position(world));
    }
}

static void apply_delete(struct world *world, const struct deciding *deciding,
                         const struct truth *got)
{
    const struct stele_append *first = deciding->command.streams;
    uint64_t truncate_before = 0;
    uint64_t expected = 0;
    const int want =
        model_delete(&world->model, first->stream, first->expected, &truncate_before, &expected);
    if (got->outcome != want) {
        fail(world, "deleting %s at %llx ends with %s instead of %s", first->stream,
             (unsigned long long)got->stamp, stele_outcome_name(got->outcome),
             stele_outcome_name(want));
    }
    if (want != STELE_OK) {
        return;
    }
    if (deciding->json_outcome != STELE_OK || deciding->json_expected != expected) {
        fail(world, "deleting %s at %llx: metadata at %llu instead of %llu", first->stream,
             (unsigned long long)got->stamp, (unsigned long long)deciding->json_expected,
             (unsigned long long)expected);
    }
    struct workload_request *request = workload_metadata(&world->workload, first->stream, expected,
                                                         deciding->json.data, deciding->json.size);
    memcpy(request->drafts[0].id, first->events[0].id, 16);
    request->drafts[0].created_us = 0;
    apply(world, request->streams, request->streams_count, false, got);
    workload_free(request);
}

static void apply_append(struct world *world, struct attempt *attempt,
                         const struct deciding *deciding, const struct truth *got)
{
    const struct stele_command *command = &deciding->command;
    const bool tombstone = command->kind == STELE_COMMAND_TOMBSTONE;
    struct stele_event_draft draft = {.type = "$tombstone"};
    struct stele_append stream = command->streams[0];
    const struct stele_append *streams = tombstone ? &stream : command->streams;
    if (tombstone) {
        memcpy(draft.id, stream.events[0].id, 16);
        stream.events = &draft;
    }
    struct model_decision decision;
    model_decide(&world->model, streams, command->streams_count, command->conditions,
                 command->conditions_count, &decision);
    const uint32_t may = model_may_of(got->outcome, got->result.idempotent);
    const bool stale = is_stale(world, command->seen);
    if (got->outcome == STELE_STORE_STALE) {
        if (!stale) {
            fail(world, "the command at %llx is called stale", (unsigned long long)got->stamp);
        }
        return;
    }
    /* Events that the origin had looked at do not count. It would have found them, unless the stream was at the
     * revision that is expected then: what uses old ids anew is no repetition. */
    const bool excused =
        decision.outcome == STELE_E_ID_CONFLICT ||
        (decision.result.idempotent != 0 && decision.result.position_first <= command->seen);
    if ((may & decision.may) == 0 && !excused) {
        fail(world, "the command at %llx ends with %s%s; the model says %s%s (%x)",
             (unsigned long long)got->stamp, stele_outcome_name(got->outcome),
             got->result.idempotent ? ", again" : "", stele_outcome_name(decision.outcome),
             decision.result.idempotent ? ", again" : "", decision.may);
    }
    if (got->outcome == STELE_OK && got->result.idempotent == 0) {
        if (decision.result.idempotent != 0 && (decision.may & MODEL_MAY_APPEND) != 0) {
            /* What it repeats may be gone everywhere: after hours nobody can know. */
            attempt->operation->times = 0;
            world->stats.forgotten++;
        }
        apply(world, streams, command->streams_count, tombstone, got);
    }
}

/* Deleting again deletes what was appended in between, and "there is no such stream" holds again after a deletion:
 * that is no repetition. */
static bool may_repeat(const struct world *world, const struct stele_command *command)
{
    for (size_t i = 0; i < command->streams_count; i++) {
        const uint32_t stream = model_stream(&world->model, command->streams[i].stream);
        if (command->streams[i].expected == STELE_EXPECT_NO_STREAM &&
            model_limits(&world->model, stream, true).truncate_before > 0) {
            return true;
        }
    }
    return command->kind == STELE_COMMAND_SOFT_DELETE;
}

static void extend(struct world *world, const struct node *node, const struct deciding *deciding,
                   struct truth *got)
{
    const uint64_t last = world->truth_count == 0 ? 0 : world->truth[world->truth_count - 1].stamp;
    if (got->stamp <= last) {
        fail(world, "K1: node %u executes %llx, which the others have passed at %llx",
             node->index + 1, (unsigned long long)got->stamp, (unsigned long long)last);
    }
    struct attempt *attempt = client_find(world, got->origin, got->boot, got->id);
    if (attempt == NULL || attempt->executed) {
        fail(world, "node %u executes command %llu of node %llu (boot %llu) at %llx %s",
             node->index + 1, (unsigned long long)got->id, (unsigned long long)got->origin,
             (unsigned long long)got->boot, (unsigned long long)got->stamp,
             attempt == NULL ? "that nobody gave" : "a second time");
    }
    if (attempt->never) {
        fail(world, "K5: node %u executes at %llx what was said to be in no log", node->index + 1,
             (unsigned long long)got->stamp);
    }
    if (got->stamp <= attempt->floor) {
        fail(world, "K3: the command at %llx was given after that at %llx had been answered",
             (unsigned long long)got->stamp, (unsigned long long)attempt->floor);
    }
    attempt->executed = true;
    if (deciding->command.kind == STELE_COMMAND_SOFT_DELETE) {
        apply_delete(world, deciding, got);
    } else {
        apply_append(world, attempt, deciding, got);
    }
    if (has_changed(got) && ++attempt->operation->times > 1 &&
        !may_repeat(world, &deciding->command)) {
        const struct stele_append *first = deciding->command.streams;
        fail(world,
             "P5: a request took effect twice, again at %llx (kind %d, %zu streams, %s expecting "
             "%llx, "
             "%zu events, %zu conditions, seen %llx)",
             (unsigned long long)got->stamp, (int)deciding->command.kind,
             deciding->command.streams_count, first->stream, (unsigned long long)first->expected,
             first->count, deciding->command.conditions_count,
             (unsigned long long)deciding->command.seen);
    }
    got->events = world->model.count;
    if (world->truth_count == world->truth_capacity) {
        world->truth_capacity = world->truth_capacity * 2 + 1024;
        world->truth = realloc(world->truth, world->truth_capacity * sizeof *world->truth);
        STELE_ASSERT(world->truth != NULL);
    }
    world->truth[world->truth_count++] = *got;
    world->stats.executed_first++;
    world->stats.stale += got->outcome == STELE_STORE_STALE;
}

void truth_executed(struct world *world, struct node *node, const struct deciding *deciding,
                    int outcome, const struct stele_append_result *result)
{
    const struct stele_ordered *ordered = deciding->ordered;
    struct truth got = {.stamp = ordered->stamp,
                        .origin = ordered->origin,
                        .boot = ordered->boot,
                        .id = ordered->id,
                        .hash = hash_of(deciding->body),
                        .outcome = outcome,
                        .result = *result};
    world->stats.executed++;
    trace(world, node, "execute: stamp, outcome, position", got.stamp, (uint64_t)outcome,
          result->position_last);
    node->cursor = pass(world, node, got.stamp);
    if (node->cursor == world->truth_count) {
        extend(world, node, deciding, &got);
    } else {
        const struct truth *want = &world->truth[node->cursor];
        if (want->stamp != got.stamp) {
            fail(world, "K2: node %u executes %llx, but the next one is %llx", node->index + 1,
                 (unsigned long long)got.stamp, (unsigned long long)want->stamp);
        }
        compare(world, node, want, &got);
    }
    node->cursor++;
    node->high = node->cursor > node->high ? node->cursor : node->high;
}

/* ---- What a node's readers see ---- */

/* Between the last one that was read and this one: may it be missing because it was scavenged, here or where
 * this store was copied from? */
static bool is_missing(struct world *world, uint32_t at, const struct stele_event *event)
{
    const struct model_event *want = &world->model.events[at];
    const bool missing = want->position < event->position && want->optional;
    world->stats.missing += missing;
    return missing;
}

static void read_from(struct world *world, struct node *node, uint32_t from)
{
    struct model *model = &world->model;
    struct stele_read_options options = STELE_READ_OPTIONS_INIT;
    struct stele_read *read = NULL;
    struct stele_error err = {.outcome = 0};
    options.from = from == 0 ? 0 : model->events[from - 1].position + 1;
    int outcome =
        stele_read_begin(node->store, NULL, &options, false, (int64_t)world->now_us, &read, &err);
    if (outcome != STELE_OK) {
        fail(world, "reading on node %u: %s", node->index + 1, err.message);
    }
    uint32_t at = from;
    while (outcome != STELE_END) {
        const struct stele_event *events = NULL;
        size_t count = 0;
        outcome = stele_read_next(read, &events, &count, &err);
        if (outcome == STELE_INCOMPLETE) {
            outcome = stele_read_refill(node->store, read, &err);
            count = 0;
        }
        if (outcome == STELE_E_CORRUPT && node->damaged) {
            stele_read_end(node->store, read);
            node_failed(world, node, outcome, "reading", &err);
            return;
        }
        if (outcome != STELE_OK && outcome != STELE_END) {
            fail(world, "reading on node %u: %s", node->index + 1, err.message);
        }
        for (size_t i = 0; outcome == STELE_OK && i < count; i++, at++) {
            while (at < model->count && is_missing(world, at, &events[i])) {
                at++;
            }
            const char *wrong =
                at == model->count ? "there is none" : model_compare(model, at, &events[i]);
            if (wrong != NULL) {
                fail(world, "P4: node %u shows event %u of $all at %llx: %s", node->index + 1, at,
                     (unsigned long long)events[i].position, wrong);
            }
        }
    }
    stele_read_end(node->store, read);
    const uint64_t position = at == 0 ? 0 : model->events[at - 1].position;
    if (position != stele_store_position(node->store)) {
        fail(world, "P4: node %u shows events up to %llx, and its last position is %llx",
             node->index + 1, (unsigned long long)position,
             (unsigned long long)stele_store_position(node->store));
    }
    if (at < node->read) {
        fail(world, "P1: node %u had shown %u events, and now has %u", node->index + 1, node->read,
             at);
    }
    node->read = at;
    world->stats.reads++;
}

void truth_read(struct world *world, struct node *node)
{
    read_from(world, node, node->read);
}

static void read_stream(struct world *world, struct node *node, uint32_t stream)
{
    struct model *model = &world->model;
    const char *name = model->streams.names[stream];
    struct stele_read_options options = STELE_READ_OPTIONS_INIT;
    struct stele_read *read = NULL;
    struct stele_error err = {.outcome = 0};
    const struct model_stream *s = &model->stream_of[stream];
    options.ignore_limits = 1;
    int outcome =
        stele_read_begin(node->store, name, &options, true, (int64_t)world->now_us, &read, &err);
    if (outcome == STELE_STREAM_DELETED && model_is_tombstoned(model, stream, false)) {
        return;
    }
    if (outcome != STELE_OK) {
        fail(world, "reading %s on node %u: %s", name, node->index + 1,
             stele_outcome_name(outcome));
    }
    uint32_t at = 0;
    while (outcome != STELE_END) {
        const struct stele_event *events = NULL;
        size_t count = 0;
        outcome = stele_read_next(read, &events, &count, &err);
        if (outcome == STELE_INCOMPLETE) {
            outcome = stele_read_refill(node->store, read, &err);
            count = 0;
        }
        for (size_t i = 0; outcome == STELE_OK && i < count; i++, at++) {
            while (at < s->count && is_missing(world, s->events[at], &events[i])) {
                at++;
            }
            const char *wrong =
                at == s->count ? "there is none" : model_compare(model, s->events[at], &events[i]);
            if (wrong != NULL) {
                fail(world, "node %u shows event %u of %s: %s", node->index + 1, at, name, wrong);
            }
        }
    }
    stele_read_end(node->store, read);
    if (at != s->count) {
        fail(world, "node %u shows %u events of %s instead of %u", node->index + 1, at, name,
             s->count);
    }
}

void truth_read_all(struct world *world, struct node *node)
{
    node->read = 0;
    read_from(world, node, 0);
    if (node->read != world->model.count) {
        fail(world, "node %u has %u of %u events at the end", node->index + 1, node->read,
             world->model.count);
    }
    for (uint32_t i = 0; i < world->model.streams.count; i++) {
        read_stream(world, node, i);
    }
}
