/* Clocks, versions, replicated states and operations: any bytes are refused with words, or are what
 * encoding would have written, and can be used.
 *
 * The first byte chooses what the rest is. */
#include "base/assert.h"

#include <stele/crdt.h>
#include <stele/versions.h>

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define CAPACITY (1u << 18)

static void try_clock(const uint8_t *data, size_t size)
{
    struct stele_clock clock;
    size_t used = 0;
    struct stele_error err = {.outcome = STELE_OK};
    if (stele_clock_decode(data, size, &clock, &used, &err) != STELE_OK) {
        STELE_ASSERT(err.message[0] != '\0');
        return;
    }
    uint8_t again[STELE_CLOCK_ENCODED_SIZE_MAX];
    STELE_ASSERT(used <= size && stele_clock_encode(&clock, again) == used);
    STELE_ASSERT(memcmp(again, data, used) == 0);
    STELE_ASSERT(stele_clock_compare(&clock, &clock) == STELE_CLOCK_SAME);
    struct stele_clock later = clock;
    if (stele_clock_tick(&later, 1) == STELE_OK) {
        STELE_ASSERT(stele_clock_compare(&clock, &later) == STELE_CLOCK_BEFORE);
    }
}

static void walk(const struct stele_crdt *crdt, const struct stele_crdt_place *place)
{
    int64_t value = 0;
    size_t cursor = 0;
    struct stele_text text;
    int found = 0;
    (void)stele_crdt_counter(crdt, place, &value);
    (void)stele_crdt_register(crdt, place, 0, &text);
    while (stele_crdt_element(crdt, place, &cursor, &text) == STELE_OK) {
        STELE_ASSERT(stele_crdt_has(crdt, place, text) == 1);
    }
    cursor = 0;
    while (stele_crdt_key(crdt, place, &cursor, &text, &found) == STELE_OK) {
        const struct stele_crdt_place below = {.type = found, .keys = &text, .keys_count = 1};
        if (place->keys_count == 0) {
            walk(crdt, &below);
        }
    }
}

static void try_state(const uint8_t *data, size_t size)
{
    static uint8_t buffer[CAPACITY];
    static uint8_t out[CAPACITY];
    if (size > CAPACITY / 2) {
        return;
    }
    memcpy(buffer, data, size);
    struct stele_crdt crdt;
    struct stele_error err = {.outcome = STELE_OK};
    if (stele_crdt_open(&crdt, buffer, size, CAPACITY, &err) != STELE_OK) {
        STELE_ASSERT(err.message[0] != '\0');
        return;
    }
    const struct stele_crdt_place root = {.type = stele_crdt_type(&crdt)};
    walk(&crdt, &root);
    struct stele_crdt merged = {.data = out, .capacity = CAPACITY};
    STELE_ASSERT(stele_crdt_merge(&crdt, &crdt, &merged, &err) == STELE_OK);
    STELE_ASSERT(merged.size == size && memcmp(out, data, size) == 0);
}

static void try_ops(const uint8_t *data, size_t size)
{
    static struct stele_crdt_ops ops;
    static uint8_t buffer[CAPACITY];
    struct stele_error err = {.outcome = STELE_OK};
    if (stele_crdt_ops_decode(data, size, &ops, &err) != STELE_OK) {
        STELE_ASSERT(err.message[0] != '\0');
        return;
    }
    STELE_ASSERT(stele_crdt_ops_size(ops.ops, ops.count) == size);
    struct stele_clock clock = {.count = 0};
    struct stele_crdt crdt;
    for (int type = STELE_CRDT_COUNTER; type <= STELE_CRDT_MAP; type++) {
        STELE_ASSERT(stele_crdt_init(&crdt, type, buffer, CAPACITY) == STELE_OK);
        for (int i = 0; i < 2; i++) {
            STELE_ASSERT(stele_clock_tick(&clock, 1) == STELE_OK);
            const struct stele_stamp stamp = {.node = 1, .position = 5, .clock = &clock};
            (void)stele_crdt_apply(&crdt, ops.ops, ops.count, &stamp, &err);
        }
        STELE_ASSERT(stele_crdt_open(&crdt, buffer, crdt.size, CAPACITY, &err) == STELE_OK);
    }
}

static void try_versions(const uint8_t *data, size_t size)
{
    static uint8_t buffer[CAPACITY];
    static uint8_t out[CAPACITY];
    if (size > CAPACITY / 2) {
        return;
    }
    memcpy(buffer, data, size);
    struct stele_versions versions;
    struct stele_error err = {.outcome = STELE_OK};
    if (stele_versions_open(&versions, buffer, size, CAPACITY, &err) != STELE_OK) {
        STELE_ASSERT(err.message[0] != '\0');
        return;
    }
    struct stele_versions merged = {.data = out, .capacity = CAPACITY};
    STELE_ASSERT(stele_versions_merge(&versions, &versions, &merged, &err) == STELE_OK);
    STELE_ASSERT(merged.size == size && memcmp(out, data, size) == 0);
    const size_t count = stele_versions_count(&versions);
    struct stele_version version;
    STELE_ASSERT((stele_versions_value(&versions, NULL, NULL, &version) == STELE_OK) ==
                 (count > 0));
    if (count > 0) {
        struct stele_clock clock = version.clock;
        if (stele_clock_tick(&clock, 1) == STELE_OK) {
            const struct stele_stamp stamp = {.node = 1, .position = 5, .clock = &clock};
            (void)stele_versions_resolve(&versions, &stamp, version.node, version.time, &err);
        }
        stele_versions_prune(&versions, &clock);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0) {
        return 0;
    }
    switch (data[0] % 4) {
    case 0:
        try_clock(data + 1, size - 1);
        break;
    case 1:
        try_state(data + 1, size - 1);
        break;
    case 2:
        try_ops(data + 1, size - 1);
        break;
    default:
        try_versions(data + 1, size - 1);
        break;
    }
    return 0;
}
