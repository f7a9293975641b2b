/* All types are views of one thing, a dot store (es/dots.h), and all operations are two steps:
 * take away the records at a place that the writer had seen, and put one in that it wrote.
 *
 *     assign  what it had seen of the register; its value
 *     insert  what it had seen of the element; the element
 *     erase   what it had seen of the element; nothing
 *     clear   what it had seen of everything below; nothing
 *     add     in a map nothing, alone its own earlier sum; the amount, or the new sum
 *
 * What it had not seen stays: so concurrent values stand beside each other, and additions win. */
#include "es/crdt_internal.h"

#include <inttypes.h>

static void give_back(struct stele_crdt *crdt, const struct stele_dots *dots)
{
    *crdt = (struct stele_crdt){.data = dots->data, .size = dots->size, .capacity = dots->capacity};
}

int stele_crdt_init(struct stele_crdt *crdt, int type, void *buffer, size_t capacity)
{
    if (!stele_crdt__is_type(type)) {
        return STELE_E_INVALID;
    }
    struct stele_dots dots;
    const int outcome = stele_dots_init(&dots, buffer, capacity, (uint8_t)type);
    if (outcome == STELE_OK) {
        give_back(crdt, &dots);
    }
    return outcome;
}

/* A counter that stands alone has one sum of each node. */
static int check_sums(const struct stele_dots *dots, struct stele_error *err)
{
    if (stele_dots_type(dots) != STELE_CRDT_COUNTER) {
        return STELE_OK;
    }
    size_t cursor = 0;
    struct stele_dots_record record;
    for (uint64_t node = 0, i = 0; stele_dots_next(dots, &cursor, &record); i++) {
        if (i > 0 && record.node == node) {
            return stele_fail(err, STELE_E_CORRUPT, 0, "node %" PRIu64 " has two sums", node);
        }
        node = record.node;
    }
    return STELE_OK;
}

int stele_crdt_open(struct stele_crdt *crdt, void *buffer, size_t size, size_t capacity,
                    struct stele_error *err)
{
    struct stele_dots dots;
    struct stele_error why = {.outcome = STELE_OK};
    int outcome = stele_dots_open(&dots, buffer, size, capacity, stele_crdt__check_record, &why);
    if (outcome == STELE_OK && !stele_crdt__is_type(stele_dots_type(&dots))) {
        outcome =
            stele_fail(&why, STELE_E_CORRUPT, 0, "there is no type %u", stele_dots_type(&dots));
    }
    if (outcome == STELE_OK) {
        outcome = check_sums(&dots, &why);
    }
    if (outcome != STELE_OK) {
        return stele_fail(err, outcome, 0, "replicated state: %s", why.message);
    }
    give_back(crdt, &dots);
    return STELE_OK;
}

int stele_crdt_type(const struct stele_crdt *crdt)
{
    const struct stele_dots dots = stele_crdt__dots(crdt);
    return stele_dots_type(&dots);
}

/* ---- Applying ---- */

/* What an operation takes away: what the writer had seen, at a path, or below it. */
struct removal {
    const struct stele_clock *seen;
    struct stele_bytes path;
    bool below;
};

static bool is_removed(const void *context, const struct stele_dots_record *record)
{
    const struct removal *const removal = context;
    const bool is_there = removal->below ? stele_bytes_has_prefix(record->path, removal->path)
                                         : stele_bytes_equal(record->path, removal->path);
    return is_there && stele_dots_is_covered(record, removal->seen);
}

static uint64_t plus(uint64_t sum, uint64_t amount)
{
    /* Stays at the top rather than wrap: every region gets there at the same event, and the value
     * says that it does not fit. */
    return amount > UINT64_MAX - sum ? UINT64_MAX : sum + amount;
}

static void add_amount(uint8_t sums[STELE_CRDT__COUNTER_SIZE], int64_t amount)
{
    uint8_t *const sum = amount < 0 ? sums + 8 : sums;
    const uint64_t size = amount < 0 ? -(uint64_t)amount : (uint64_t)amount;
    stele_store_u64le(sum, plus(stele_load_u64le(sum), size));
}

/* The record at the path that an addition goes on from: alone the node's last sum, in a map what the
 * same event has added before. */
static bool find_sum(const struct stele_dots *dots, struct stele_bytes path, uint64_t node,
                     uint64_t time, bool is_alone, struct stele_dots_record *out_record)
{
    size_t cursor = 0;
    struct stele_dots_record record;
    while (stele_dots_next(dots, &cursor, &record)) {
        if (record.node == node && (is_alone || record.time == time) &&
            stele_bytes_equal(record.path, path)) {
            *out_record = record;
            return true;
        }
    }
    return false;
}

struct write {
    const struct stele_stamp *stamp;
    uint64_t time;
};

static bool is_of_node(const void *context, const struct stele_dots_record *record)
{
    return record->node == *(const uint64_t *)context;
}

static void apply_add(struct stele_dots *dots, const struct write *write, struct stele_bytes path,
                      int64_t amount)
{
    const bool is_alone = stele_dots_type(dots) == STELE_CRDT_COUNTER;
    uint8_t sums[STELE_CRDT__COUNTER_SIZE] = {0};
    struct stele_dots_record before;
    if (find_sum(dots, path, write->stamp->node, write->time, is_alone, &before)) {
        memcpy(sums, before.payload.data, sizeof sums);
    }
    add_amount(sums, amount);
    if (is_alone) {
        stele_dots_remove(dots, is_of_node, &write->stamp->node);
    }
    const struct stele_dots_record record = {
        .path = path,
        .payload = {.data = sums, .size = sizeof sums},
        .node = write->stamp->node,
        .time = write->time,
    };
    stele_dots_put(dots, &record);
}

static void apply_assign(struct stele_dots *dots, const struct write *write,
                         struct stele_bytes path, const struct stele_crdt_op *op)
{
    uint8_t position[STELE_CRDT__POSITION_SIZE];
    stele_store_u64le(position, write->stamp->position);
    const bool is_lww = op->place.type == STELE_CRDT_LWW;
    const struct stele_dots_record record = {
        .path = path,
        .payload = {.data = position, .size = is_lww ? sizeof position : 0},
        .node = write->stamp->node,
        .time = write->time,
    };
    const struct stele_bytes value = {.data = (const uint8_t *)op->value.data,
                                      .size = op->value.size};
    stele_dots_put_parts(dots, &record, value);
}

static void apply_op(struct stele_dots *dots, const struct write *write,
                     const struct stele_crdt_op *op)
{
    struct stele_crdt__path path;
    stele_crdt__path_of(&op->place, &path);
    const bool is_element = op->action == STELE_CRDT_INSERT || op->action == STELE_CRDT_ERASE;
    if (is_element && op->value.size > 0) {
        memcpy(path.bytes + path.size, op->value.data, op->value.size);
    }
    path.size += is_element ? op->value.size : 0;
    const struct stele_bytes bytes = {.data = path.bytes, .size = path.size};
    if (op->action == STELE_CRDT_ADD) {
        apply_add(dots, write, bytes, op->amount);
        return;
    }
    const struct removal removal = {
        .seen = write->stamp->clock,
        .path = bytes,
        .below = op->action == STELE_CRDT_CLEAR,
    };
    stele_dots_remove(dots, is_removed, &removal);
    if (op->action == STELE_CRDT_ASSIGN) {
        apply_assign(dots, write, bytes, op);
    } else if (op->action == STELE_CRDT_INSERT) {
        const struct stele_dots_record record = {
            .path = bytes, .node = write->stamp->node, .time = write->time};
        stele_dots_put(dots, &record);
    }
}

size_t stele_crdt_room(const struct stele_crdt_op *ops, size_t count,
                       const struct stele_stamp *stamp)
{
    size_t room = stele_dots_see_room(stamp->clock);
    for (size_t i = 0; i < count; i++) {
        room += STELE_DOTS_RECORD_SIZE + STELE_CRDT__COUNTER_SIZE + ops[i].value.size;
        for (size_t j = 0; j < ops[i].place.keys_count; j++) {
            room += ops[i].place.keys[j].size + 3;
        }
    }
    return room;
}

static int check_apply(const struct stele_dots *dots, const struct stele_crdt_op *ops, size_t count,
                       const struct stele_stamp *stamp, struct stele_error *err)
{
    if (count > STELE_CRDT_OPS_MAX) {
        return stele_fail(err, STELE_E_LIMIT, 0, "%zu operations; at most %u are allowed", count,
                          STELE_CRDT_OPS_MAX);
    }
    for (size_t i = 0; i < count; i++) {
        const int outcome = stele_crdt__check_op(stele_dots_type(dots), &ops[i], i, err);
        if (outcome != STELE_OK) {
            return outcome;
        }
    }
    const size_t room = stele_crdt_room(ops, count, stamp);
    if (dots->capacity - dots->size < room) {
        return stele_fail(err, STELE_E_LIMIT, 0,
                          "%zu more bytes may be needed, and there is room for %zu", room,
                          dots->capacity - dots->size);
    }
    struct stele_clock seen;
    stele_dots_seen(dots, &seen);
    if (stele_clock_merge(&seen, stamp->clock) != STELE_OK) {
        return stele_fail(err, STELE_E_LIMIT, 0, "more than %d nodes", STELE_CLOCK_ENTRIES_MAX);
    }
    return STELE_OK;
}

int stele_crdt_apply(struct stele_crdt *crdt, const struct stele_crdt_op *ops, size_t count,
                     const struct stele_stamp *stamp, struct stele_error *err)
{
    struct stele_dots dots = stele_crdt__dots(crdt);
    const struct write write = {.stamp = stamp,
                                .time = stele_clock_time(stamp->clock, stamp->node)};
    if (write.time == 0) {
        return stele_fail(err, STELE_E_INVALID, 0,
                          "replicated state: the stamp's clock has no entry for its node %" PRIu64
                          "; the write itself belongs into it",
                          stamp->node);
    }
    if (stele_dots_has_seen(&dots, stamp->node, write.time)) {
        return STELE_OK;
    }
    struct stele_error why = {.outcome = STELE_OK};
    int outcome = check_apply(&dots, ops, count, stamp, &why);
    if (outcome != STELE_OK) {
        return stele_fail(err, outcome, 0, "replicated state: %s", why.message);
    }
    for (size_t i = 0; i < count; i++) {
        apply_op(&dots, &write, &ops[i]);
    }
    outcome = stele_dots_see(&dots, stamp->clock);
    STELE_ASSERT(outcome == STELE_OK);
    give_back(crdt, &dots);
    return STELE_OK;
}

int stele_crdt_merge(const struct stele_crdt *a, const struct stele_crdt *b, struct stele_crdt *out,
                     struct stele_error *err)
{
    const struct stele_dots one = stele_crdt__dots(a);
    const struct stele_dots two = stele_crdt__dots(b);
    struct stele_dots joined = stele_crdt__dots(out);
    struct stele_error why = {.outcome = STELE_OK};
    const int outcome = stele_dots_join(&one, &two, &joined, &why);
    if (outcome != STELE_OK) {
        return stele_fail(err, outcome, 0, "replicated state: %s", why.message);
    }
    give_back(out, &joined);
    return STELE_OK;
}
