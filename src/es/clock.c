/* Entries stand in the order of their nodes, so that comparing and merging walk two clocks side by
 * side, and a clock has one encoding. */
#include "base/bytes.h"
#include "base/status.h"

#include <stele/clock.h>

#include <inttypes.h>
#include <stdio.h>

#define ENTRY_SIZE 16
#define HEADER_SIZE 2

/* The index of node's entry, or of the place where it would stand. */
static uint32_t place_of(const struct stele_clock *clock, uint64_t node)
{
    STELE_ASSERT(clock->count <= STELE_CLOCK_ENTRIES_MAX);
    uint32_t low = 0;
    uint32_t high = clock->count;
    while (low < high) {
        const uint32_t middle = low + (high - low) / 2;
        if (clock->entries[middle].node < node) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

static bool is_at(const struct stele_clock *clock, uint32_t place, uint64_t node)
{
    return place < clock->count && clock->entries[place].node == node;
}

uint64_t stele_clock_time(const struct stele_clock *clock, uint64_t node)
{
    const uint32_t place = place_of(clock, node);
    return is_at(clock, place, node) ? clock->entries[place].time : 0;
}

int stele_clock_covers(const struct stele_clock *clock, uint64_t node, uint64_t time)
{
    return stele_clock_time(clock, node) >= time;
}

int stele_clock_compare(const struct stele_clock *a, const struct stele_clock *b)
{
    STELE_ASSERT(a->count <= STELE_CLOCK_ENTRIES_MAX);
    STELE_ASSERT(b->count <= STELE_CLOCK_ENTRIES_MAX);
    bool below = false;
    bool above = false;
    uint32_t i = 0;
    uint32_t j = 0;
    while (i < a->count || j < b->count) {
        /* A node that only one of them knows is at 0 for the other one. */
        if (j == b->count || (i < a->count && a->entries[i].node < b->entries[j].node)) {
            above = true;
            i++;
        } else if (i == a->count || b->entries[j].node < a->entries[i].node) {
            below = true;
            j++;
        } else {
            above |= a->entries[i].time > b->entries[j].time;
            below |= a->entries[i].time < b->entries[j].time;
            i++;
            j++;
        }
    }
    if (above) {
        return below ? STELE_CLOCK_CONCURRENT : STELE_CLOCK_AFTER;
    }
    return below ? STELE_CLOCK_BEFORE : STELE_CLOCK_SAME;
}

/* Sets the time of node. false, and nothing changed: there is no room for one more entry. */
static bool set(struct stele_clock *clock, uint64_t node, uint64_t time)
{
    STELE_ASSERT(time > 0);
    const uint32_t place = place_of(clock, node);
    if (is_at(clock, place, node)) {
        clock->entries[place].time = time;
        return true;
    }
    if (clock->count == STELE_CLOCK_ENTRIES_MAX) {
        return false;
    }
    memmove(&clock->entries[place + 1], &clock->entries[place],
            (clock->count - place) * sizeof clock->entries[0]);
    clock->entries[place] = (struct stele_clock_entry){.node = node, .time = time};
    clock->count++;
    return true;
}

int stele_clock_tick(struct stele_clock *clock, uint64_t node)
{
    const uint64_t time = stele_clock_time(clock, node);
    if (time == UINT64_MAX) {
        return STELE_E_LIMIT;
    }
    return set(clock, node, time + 1) ? STELE_OK : STELE_E_LIMIT;
}

int stele_clock_advance(struct stele_clock *clock, uint64_t node, uint64_t time)
{
    if (time <= stele_clock_time(clock, node)) {
        return STELE_E_INVALID;
    }
    return set(clock, node, time) ? STELE_OK : STELE_E_LIMIT;
}

int stele_clock_merge(struct stele_clock *clock, const struct stele_clock *other)
{
    STELE_ASSERT(other->count <= STELE_CLOCK_ENTRIES_MAX);
    /* Made beside the old one, because a merge that does not fit must change nothing. */
    struct stele_clock merged = *clock;
    for (uint32_t i = 0; i < other->count; i++) {
        const struct stele_clock_entry *const entry = &other->entries[i];
        if (entry->time > stele_clock_time(&merged, entry->node) &&
            !set(&merged, entry->node, entry->time)) {
            return STELE_E_LIMIT;
        }
    }
    *clock = merged;
    return STELE_OK;
}

int stele_clock_receive(struct stele_clock *clock, uint64_t node, const struct stele_clock *other)
{
    struct stele_clock received = *clock;
    int outcome = stele_clock_merge(&received, other);
    if (outcome == STELE_OK) {
        outcome = stele_clock_tick(&received, node);
    }
    if (outcome == STELE_OK) {
        *clock = received;
    }
    return outcome;
}

size_t stele_clock_encoded_size(const struct stele_clock *clock)
{
    return HEADER_SIZE + (size_t)ENTRY_SIZE * clock->count;
}

size_t stele_clock_encode(const struct stele_clock *clock, void *to)
{
    STELE_ASSERT(clock->count <= STELE_CLOCK_ENTRIES_MAX);
    uint8_t *at = (uint8_t *)to;
    *at++ = STELE_CLOCK_VERSION;
    *at++ = (uint8_t)clock->count;
    for (uint32_t i = 0; i < clock->count; i++) {
        stele_store_u64le(at, clock->entries[i].node);
        stele_store_u64le(at + 8, clock->entries[i].time);
        at += ENTRY_SIZE;
    }
    return (size_t)(at - (uint8_t *)to);
}

int stele_clock_decode(const void *bytes, size_t size, struct stele_clock *out_clock,
                       size_t *out_used, struct stele_error *err)
{
    const uint8_t *const from = (const uint8_t *)bytes;
    if (size < 1) {
        return stele_fail(err, STELE_INCOMPLETE, 0, "vector clock: there are no bytes");
    }
    if (from[0] != STELE_CLOCK_VERSION) {
        return stele_fail(err, STELE_E_FORMAT, 0,
                          "vector clock: byte 0 says version %u, and only %d is known; if a newer "
                          "library wrote it, read it with that",
                          from[0], STELE_CLOCK_VERSION);
    }
    if (size < HEADER_SIZE) {
        return stele_fail(err, STELE_INCOMPLETE, 0, "vector clock: it ends after its version");
    }
    const uint32_t count = from[1];
    if (count > STELE_CLOCK_ENTRIES_MAX) {
        return stele_fail(err, STELE_E_CORRUPT, 0,
                          "vector clock: byte 1 says %" PRIu32 " entries, and at most %d are "
                          "allowed",
                          count, STELE_CLOCK_ENTRIES_MAX);
    }
    if (size < HEADER_SIZE + (size_t)ENTRY_SIZE * count) {
        return stele_fail(err, STELE_INCOMPLETE, 0,
                          "vector clock: %" PRIu32 " entries need %zu bytes, and there are %zu",
                          count, HEADER_SIZE + (size_t)ENTRY_SIZE * count, size);
    }
    struct stele_clock clock = {.count = count};
    for (uint32_t i = 0; i < count; i++) {
        const size_t at = HEADER_SIZE + (size_t)ENTRY_SIZE * i;
        const struct stele_clock_entry entry = {.node = stele_load_u64le(from + at),
                                                .time = stele_load_u64le(from + at + 8)};
        if (entry.time == 0 || (i > 0 && entry.node <= clock.entries[i - 1].node)) {
            return stele_fail(err, STELE_E_CORRUPT, 0, "vector clock: the entry at byte %zu %s", at,
                              entry.time == 0 ? "has time 0" : "is out of order");
        }
        clock.entries[i] = entry;
    }
    *out_clock = clock;
    *out_used = HEADER_SIZE + (size_t)ENTRY_SIZE * count;
    return STELE_OK;
}

/* Appends text to what length bytes there are; only what fits is written. */
static size_t append(char *to, size_t size, size_t length, const char *text)
{
    const size_t text_size = strlen(text);
    for (size_t i = 0; i < text_size && length + i + 1 < size; i++) {
        to[length + i] = text[i];
        to[length + i + 1] = '\0';
    }
    return length + text_size;
}

size_t stele_clock_format(const struct stele_clock *clock, char *to, size_t size)
{
    STELE_ASSERT(clock->count <= STELE_CLOCK_ENTRIES_MAX);
    size_t length = append(to, size, 0, "{");
    for (uint32_t i = 0; i < clock->count; i++) {
        char text[48];
        (void)snprintf(text, sizeof text, "%s%" PRIu64 ":%" PRIu64, i > 0 ? ", " : "",
                       clock->entries[i].node, clock->entries[i].time);
        length = append(to, size, length, text);
    }
    return append(to, size, length, "}");
}
