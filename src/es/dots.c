#include "es/dots.h"

#include "base/status.h"

#include <inttypes.h>

#define TYPE_AT 1
#define COUNT_AT 4
#define CLOCK_AT STELE_DOTS_HEADER_SIZE
#define CLOCK_HEADER_SIZE 2
#define CLOCK_ENTRY_SIZE 16

/* ---- The parts of a store ---- */

static uint32_t nodes_of(const struct stele_dots *dots)
{
    return dots->data[CLOCK_AT + 1];
}

static size_t records_at(const struct stele_dots *dots)
{
    return CLOCK_AT + CLOCK_HEADER_SIZE + (size_t)CLOCK_ENTRY_SIZE * nodes_of(dots);
}

uint8_t stele_dots_type(const struct stele_dots *dots)
{
    return dots->data[TYPE_AT];
}

uint32_t stele_dots_count(const struct stele_dots *dots)
{
    return stele_load_u32le(dots->data + COUNT_AT);
}

static void set_count(struct stele_dots *dots, uint32_t count)
{
    stele_store_u32le(dots->data + COUNT_AT, count);
}

/* The clock is searched where it lies: it is asked for every record of another store. */
bool stele_dots_has_seen(const struct stele_dots *dots, uint64_t node, uint64_t time)
{
    const uint8_t *const entries = dots->data + CLOCK_AT + CLOCK_HEADER_SIZE;
    uint32_t low = 0;
    uint32_t high = nodes_of(dots);
    while (low < high) {
        const uint32_t middle = low + (high - low) / 2;
        const uint8_t *const entry = entries + (size_t)CLOCK_ENTRY_SIZE * middle;
        const uint64_t found = stele_load_u64le(entry);
        if (found == node) {
            return stele_load_u64le(entry + 8) >= time;
        }
        if (found < node) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return time == 0;
}

void stele_dots_seen(const struct stele_dots *dots, struct stele_clock *out_clock)
{
    size_t used = 0;
    const int outcome =
        stele_clock_decode(dots->data + CLOCK_AT, dots->size - CLOCK_AT, out_clock, &used, NULL);
    STELE_ASSERT(outcome == STELE_OK);
}

size_t stele_dots_record_size(const struct stele_dots_record *record)
{
    return STELE_DOTS_RECORD_SIZE + record->path.size + record->payload.size;
}

static struct stele_dots_record record_at(const uint8_t *at)
{
    const size_t path_size = stele_load_u16le(at);
    return (struct stele_dots_record){
        .path = {.data = at + STELE_DOTS_RECORD_SIZE, .size = path_size},
        .payload = {.data = at + STELE_DOTS_RECORD_SIZE + path_size,
                    .size = stele_load_u32le(at + 2)},
        .node = stele_load_u64le(at + 6),
        .time = stele_load_u64le(at + 14),
    };
}

static size_t write_record(uint8_t *to, const struct stele_dots_record *record)
{
    STELE_ASSERT(record->path.size <= STELE_DOTS_PATH_SIZE_MAX);
    STELE_ASSERT(record->payload.size <= STELE_DOTS_PAYLOAD_SIZE_MAX);
    stele_store_u16le(to, (uint16_t)record->path.size);
    stele_store_u32le(to + 2, (uint32_t)record->payload.size);
    stele_store_u64le(to + 6, record->node);
    stele_store_u64le(to + 14, record->time);
    uint8_t *const path = to + STELE_DOTS_RECORD_SIZE;
    if (record->path.size > 0) {
        memcpy(path, record->path.data, record->path.size);
    }
    if (record->payload.size > 0) {
        memcpy(path + record->path.size, record->payload.data, record->payload.size);
    }
    return stele_dots_record_size(record);
}

bool stele_dots_next(const struct stele_dots *dots, size_t *cursor,
                     struct stele_dots_record *out_record)
{
    const size_t at = *cursor == 0 ? records_at(dots) : *cursor;
    STELE_ASSERT(at <= dots->size);
    if (at == dots->size) {
        return false;
    }
    *out_record = record_at(dots->data + at);
    *cursor = at + stele_dots_record_size(out_record);
    return true;
}

static int compare(const struct stele_dots_record *a, const struct stele_dots_record *b)
{
    const int paths = stele_bytes_compare(a->path, b->path);
    if (paths != 0) {
        return paths;
    }
    if (a->node != b->node) {
        return a->node < b->node ? -1 : 1;
    }
    return a->time < b->time ? -1 : a->time > b->time;
}

/* ---- Opening ---- */

int stele_dots_init(struct stele_dots *dots, void *buffer, size_t capacity, uint8_t type)
{
    const size_t size = STELE_DOTS_HEADER_SIZE + CLOCK_HEADER_SIZE;
    if (capacity < size) {
        return STELE_E_LIMIT;
    }
    uint8_t *const data = (uint8_t *)buffer;
    memset(data, 0, size);
    data[0] = STELE_DOTS_VERSION;
    data[TYPE_AT] = type;
    data[CLOCK_AT] = STELE_CLOCK_VERSION;
    *dots = (struct stele_dots){.data = data, .size = size, .capacity = capacity};
    return STELE_OK;
}

/* Looks at the record at a place. Sets *out_record when its size is right. */
static int check_record(const struct stele_dots *dots, size_t at,
                        const struct stele_dots_record *before, stele_dots_record_check check,
                        struct stele_dots_record *out_record, struct stele_error *err)
{
    const size_t left = dots->size - at;
    if (left < STELE_DOTS_RECORD_SIZE) {
        return stele_fail(err, STELE_E_CORRUPT, 0, "the record at byte %zu is cut off", at);
    }
    const size_t size = STELE_DOTS_RECORD_SIZE + (size_t)stele_load_u16le(dots->data + at) +
                        stele_load_u32le(dots->data + at + 2);
    if (size > left || stele_load_u32le(dots->data + at + 2) > STELE_DOTS_PAYLOAD_SIZE_MAX) {
        return stele_fail(err, STELE_E_CORRUPT, 0,
                          "the record at byte %zu says that it has %zu bytes, and there are %zu",
                          at, size, left);
    }
    const struct stele_dots_record record = record_at(dots->data + at);
    if (before != NULL && compare(before, &record) >= 0) {
        return stele_fail(err, STELE_E_CORRUPT, 0, "the record at byte %zu is out of order", at);
    }
    if (record.time == 0 || !stele_dots_has_seen(dots, record.node, record.time)) {
        return stele_fail(err, STELE_E_CORRUPT, 0,
                          "the record at byte %zu was written by node %" PRIu64 " at %" PRIu64
                          ", which the clock has not seen",
                          at, record.node, record.time);
    }
    struct stele_error why = {.outcome = STELE_OK};
    if (check(stele_dots_type(dots), &record, &why) != STELE_OK) {
        return stele_fail(err, STELE_E_CORRUPT, 0, "the record at byte %zu: %s", at, why.message);
    }
    *out_record = record;
    return STELE_OK;
}

int stele_dots_open(struct stele_dots *dots, void *buffer, size_t size, size_t capacity,
                    stele_dots_record_check check, struct stele_error *err)
{
    uint8_t *const data = (uint8_t *)buffer;
    if (size > capacity || size < STELE_DOTS_HEADER_SIZE + CLOCK_HEADER_SIZE) {
        return stele_fail(err, STELE_E_CORRUPT, 0, "%zu bytes are too few for a state", size);
    }
    if (data[0] != STELE_DOTS_VERSION) {
        return stele_fail(err, STELE_E_FORMAT, 0,
                          "byte 0 says version %u, and only %d is known; if a newer library wrote "
                          "it, read it with that",
                          data[0], STELE_DOTS_VERSION);
    }
    if (data[2] != 0 || data[3] != 0) {
        return stele_fail(err, STELE_E_CORRUPT, 0, "bytes 2 and 3 are not 0");
    }
    struct stele_clock seen;
    size_t used = 0;
    struct stele_error why = {.outcome = STELE_OK};
    if (stele_clock_decode(data + CLOCK_AT, size - CLOCK_AT, &seen, &used, &why) != STELE_OK) {
        return stele_fail(err, STELE_E_CORRUPT, 0, "at byte %d: %s", CLOCK_AT, why.message);
    }
    const struct stele_dots found = {.data = data, .size = size, .capacity = capacity};
    const uint32_t count = stele_dots_count(&found);
    size_t at = records_at(&found);
    struct stele_dots_record before;
    for (uint32_t i = 0; i < count; i++) {
        struct stele_dots_record record = {.time = 0};
        const int outcome = check_record(&found, at, i > 0 ? &before : NULL, check, &record, err);
        if (outcome != STELE_OK) {
            return outcome;
        }
        at += stele_dots_record_size(&record);
        before = record;
    }
    if (at != size) {
        return stele_fail(err, STELE_E_CORRUPT, 0, "%zu bytes follow its %" PRIu32 " records",
                          size - at, count);
    }
    *dots = found;
    return STELE_OK;
}

/* ---- Changing ---- */

/* Where the record stands or would stand. */
static size_t place_of(const struct stele_dots *dots, const struct stele_dots_record *record,
                       bool *out_is_there, size_t *out_size)
{
    size_t cursor = 0;
    size_t place = records_at(dots);
    struct stele_dots_record other;
    while (stele_dots_next(dots, &cursor, &other)) {
        const int order = compare(&other, record);
        if (order >= 0) {
            *out_is_there = order == 0;
            *out_size = order == 0 ? cursor - place : 0;
            return place;
        }
        place = cursor;
    }
    *out_is_there = false;
    *out_size = 0;
    return place;
}

void stele_dots_put(struct stele_dots *dots, const struct stele_dots_record *record)
{
    bool is_there = false;
    size_t old_size = 0;
    const size_t place = place_of(dots, record, &is_there, &old_size);
    const size_t size = stele_dots_record_size(record);
    STELE_ASSERT(dots->size - old_size + size <= dots->capacity);
    memmove(dots->data + place + size, dots->data + place + old_size,
            dots->size - place - old_size);
    (void)write_record(dots->data + place, record);
    dots->size = dots->size - old_size + size;
    if (!is_there) {
        set_count(dots, stele_dots_count(dots) + 1);
    }
}

static void reverse(uint8_t *bytes, size_t size)
{
    for (size_t i = 0; i < size / 2; i++) {
        const uint8_t other = bytes[size - 1 - i];
        bytes[size - 1 - i] = bytes[i];
        bytes[i] = other;
    }
}

void stele_dots_put_parts(struct stele_dots *dots, const struct stele_dots_record *record,
                          struct stele_bytes more)
{
    bool is_there = false;
    size_t old_size = 0;
    const size_t place = place_of(dots, record, &is_there, &old_size);
    STELE_ASSERT(!is_there);
    /* Written behind the store, where nothing is overwritten, and then turned into its place, which
     * needs no memory: a, b backwards is b, a with both backwards. */
    uint8_t *const end = dots->data + dots->size;
    size_t size = stele_dots_record_size(record);
    STELE_ASSERT(size + more.size <= dots->capacity - dots->size);
    (void)write_record(end, record);
    if (more.size > 0) {
        memcpy(end + size, more.data, more.size);
    }
    size += more.size;
    stele_store_u32le(end + 2, (uint32_t)(record->payload.size + more.size));
    const size_t behind = dots->size - place;
    reverse(dots->data + place, behind + size);
    reverse(dots->data + place, size);
    reverse(dots->data + place + size, behind);
    dots->size += size;
    set_count(dots, stele_dots_count(dots) + 1);
}

void stele_dots_remove(struct stele_dots *dots, stele_dots_choice is_removed, const void *context)
{
    size_t cursor = 0;
    size_t from = records_at(dots);
    size_t to = from;
    uint32_t count = 0;
    struct stele_dots_record record;
    while (stele_dots_next(dots, &cursor, &record)) {
        if (!is_removed(context, &record)) {
            /* What is kept moves down at once; behind it nothing has changed yet. */
            memmove(dots->data + to, dots->data + from, cursor - from);
            to += cursor - from;
            count++;
        }
        from = cursor;
    }
    dots->size = to;
    set_count(dots, count);
}

size_t stele_dots_see_room(const struct stele_clock *clock)
{
    return (size_t)CLOCK_ENTRY_SIZE * clock->count;
}

int stele_dots_see(struct stele_dots *dots, const struct stele_clock *clock)
{
    struct stele_clock seen;
    stele_dots_seen(dots, &seen);
    const int outcome = stele_clock_merge(&seen, clock);
    if (outcome != STELE_OK) {
        return outcome;
    }
    const size_t old = records_at(dots);
    const size_t now = CLOCK_AT + stele_clock_encoded_size(&seen);
    STELE_ASSERT(dots->size - old + now <= dots->capacity);
    memmove(dots->data + now, dots->data + old, dots->size - old);
    (void)stele_clock_encode(&seen, dots->data + CLOCK_AT);
    dots->size = dots->size - old + now;
    return STELE_OK;
}

/* ---- Joining ---- */

/* What one of two stores says about a record that only the other one has. */
static bool is_gone(const struct stele_dots *dots, const struct stele_dots_record *record)
{
    return stele_dots_has_seen(dots, record->node, record->time);
}

struct walk {
    const struct stele_dots *dots;
    size_t cursor;
    bool more;
    struct stele_dots_record record;
};

static void step(struct walk *walk)
{
    walk->more = stele_dots_next(walk->dots, &walk->cursor, &walk->record);
}

/* The next record of the union of both, if it stays; NULL if it goes. */
static const struct stele_dots_record *choose(struct walk *a, struct walk *b,
                                              struct stele_dots_record *out)
{
    const int order = !a->more ? 1 : !b->more ? -1 : compare(&a->record, &b->record);
    if (order == 0) {
        /* One dot wrote one thing. Should it not be so, the joined store must at least not depend
         * on which one came first. */
        *out =
            stele_bytes_compare(a->record.payload, b->record.payload) >= 0 ? a->record : b->record;
        step(a);
        step(b);
        return out;
    }
    struct walk *const one = order < 0 ? a : b;
    const struct stele_dots *const other = order < 0 ? b->dots : a->dots;
    *out = one->record;
    step(one);
    return is_gone(other, out) ? NULL : out;
}

int stele_dots_join(const struct stele_dots *a, const struct stele_dots *b, struct stele_dots *out,
                    struct stele_error *err)
{
    if (stele_dots_type(a) != stele_dots_type(b)) {
        return stele_fail(err, STELE_E_INVALID, 0, "states of types %u and %u cannot be merged",
                          stele_dots_type(a), stele_dots_type(b));
    }
    struct stele_clock seen;
    struct stele_clock others;
    stele_dots_seen(a, &seen);
    stele_dots_seen(b, &others);
    if (stele_clock_merge(&seen, &others) != STELE_OK) {
        return stele_fail(err, STELE_E_LIMIT, 0, "together they know more than %d nodes",
                          STELE_CLOCK_ENTRIES_MAX);
    }
    if (out->capacity < a->size + b->size) {
        return stele_fail(err, STELE_E_LIMIT, 0,
                          "the merged state may need %zu bytes, and there is room for %zu",
                          a->size + b->size, out->capacity);
    }
    STELE_ASSERT(out->data != a->data && out->data != b->data);
    int outcome = stele_dots_init(out, out->data, out->capacity, stele_dots_type(a));
    STELE_ASSERT(outcome == STELE_OK);
    outcome = stele_dots_see(out, &seen);
    STELE_ASSERT(outcome == STELE_OK);

    uint32_t count = 0;
    struct walk one = {.dots = a};
    struct walk two = {.dots = b};
    step(&one);
    step(&two);
    while (one.more || two.more) {
        struct stele_dots_record record;
        const struct stele_dots_record *const kept = choose(&one, &two, &record);
        if (kept != NULL) {
            out->size += write_record(out->data + out->size, kept);
            count++;
        }
    }
    set_count(out, count);
    STELE_ASSERT(out->size <= out->capacity);
    return STELE_OK;
}
