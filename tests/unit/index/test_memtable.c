/* The memtable gives back what was added, adds without fail what was reserved, and stays small. */
#include "index/memtable.h"
#include "lib/check.h"
#include "lib/testalloc.h"

#define SEED 5

static struct stele_index__entry *get(struct stele_index__memtable *table, uint8_t space,
                                      const char *name)
{
    const struct stele_index_key key = stele_index_key(SEED, space, stele_bytes_of_text(name));
    struct stele_index__entry *entry = stele_index__memtable_find(table, &key);
    if (entry == NULL) {
        const struct stele_index_state state = {.next = 0};
        entry = stele_index__memtable_insert(table, &key, &state, UINT64_MAX);
    }
    return entry;
}

static void add(struct stele_index__memtable *table, struct stele_index__entry *entry,
                uint64_t place)
{
    stele_index__memtable_begin(table, place, place * 31);
    stele_index__memtable_add(table, entry, place);
}

/* Places further apart than 4 bytes can tell make a new chunk, as does a gap in ordinals. */
static uint64_t place_of(uint64_t ordinal)
{
    return 64 + ordinal * 24 + ordinal / 1000 * (UINT64_C(40) << 30);
}

static uint64_t ordinal_of(uint64_t i)
{
    return 7 + i + i / 700 * 3;
}

TEST(places_come_back_from_any_ordinal_on)
{
    enum { EVENTS = 5000, PIECE = 97 };
    struct testalloc alloc;
    testalloc_init(&alloc, 1);
    struct stele_index__memtable *table = stele_index__memtable_create(&alloc.base, 64);
    struct stele_index__entry *entry = get(table, 0, "s");
    for (uint64_t i = 0; i < EVENTS; i++) {
        CHECK_EQ(stele_index__memtable_reserve(table, 1, 1), STELE_OK);
        entry->head.next = ordinal_of(i);
        add(table, entry, place_of(ordinal_of(i)));
    }
    stele_index__memtable_check(table);
    CHECK_EQ(entry->first, 7);
    CHECK_EQ(entry->end, ordinal_of(EVENTS - 1) + 1);
    uint64_t places[PIECE];
    for (uint64_t lo = 7; lo < entry->end; lo += 13) {
        const size_t count = stele_index__entry_places(entry, lo, PIECE, places);
        CHECK_EQ(count, entry->end - lo < PIECE ? entry->end - lo : PIECE);
        for (size_t i = 0; i < count; i++) {
            CHECK(places[i] == place_of(lo + i) || places[i] == UINT64_MAX);
        }
    }
    for (uint64_t i = 0; i < EVENTS; i++) {
        const uint64_t ordinal = ordinal_of(i);
        CHECK_EQ(stele_index__entry_places(entry, ordinal, 1, places), 1);
        CHECK_EQ(places[0], place_of(ordinal));
        CHECK_EQ(stele_index__entry_lower_bound(entry, place_of(ordinal)), ordinal);
        CHECK_EQ(stele_index__entry_lower_bound(entry, place_of(ordinal) - 8), ordinal);
    }
    CHECK_EQ(stele_index__entry_lower_bound(entry, place_of(entry->end)), UINT64_MAX);
    CHECK_EQ(stele_index__entry_places(entry, 707, 1, places), 1);
    CHECK_EQ(places[0], UINT64_MAX); /* In the gap. */
    stele_index__memtable_destroy(table);
    CHECK_EQ(alloc.bytes, 0);
}

TEST(what_was_reserved_is_added_without_memory)
{
    enum { NAMES = 300, ROUNDS = 40 };
    struct testalloc alloc;
    testalloc_init(&alloc, 1);
    struct stele_index__memtable *table = stele_index__memtable_create(&alloc.base, 0);
    struct stele_index__entry *entries[NAMES];
    for (int i = 0; i < NAMES; i++) {
        char name[16];
        (void)snprintf(name, sizeof name, "n%d", i);
        entries[i] = get(table, STELE_SPACE_TAG, name);
    }
    uint64_t place = 0;
    for (int round = 0; round < ROUNDS; round++) {
        CHECK_EQ(stele_index__memtable_reserve(table, NAMES, NAMES * 3), STELE_OK);
        /* New names take nothing from what was reserved. */
        char name[16];
        (void)snprintf(name, sizeof name, "late%d", round);
        CHECK(get(table, 0, name) != NULL);
        alloc.fail_at = alloc.calls + 1;
        alloc.fail_sticky = true;
        for (int i = 0; i < NAMES; i++) {
            stele_index__memtable_begin(table, place, 0);
            for (int k = 0; k < 3; k++) {
                stele_index__memtable_add(table, entries[(i * 7 + k * 5) % NAMES], place);
            }
            place += 8;
        }
        alloc.fail_at = 0;
        alloc.fail_sticky = false;
        stele_index__memtable_check(table);
    }
    for (int i = 0; i < NAMES; i++) {
        CHECK_EQ(entries[i]->end, ROUNDS * 3);
    }
    stele_index__memtable_destroy(table);
    CHECK_EQ(alloc.bytes, 0);
}

TEST(a_failed_allocation_changes_nothing)
{
    for (uint64_t fail = 1;; fail++) {
        struct testalloc alloc;
        testalloc_init(&alloc, 1);
        struct stele_index__memtable *table = stele_index__memtable_create(&alloc.base, 0);
        alloc.fail_at = alloc.calls + fail;
        bool failed = false;
        for (uint64_t i = 0; i < 300; i++) {
            char name[16];
            (void)snprintf(name, sizeof name, "n%d", (int)(i % 150));
            struct stele_index__entry *entry = get(table, 0, name);
            if (entry == NULL || stele_index__memtable_reserve(table, 1, 1) != STELE_OK) {
                failed = true;
                stele_index__memtable_check(table);
                entry = get(table, 0, name); /* The second try succeeds. */
                CHECK(entry != NULL);
                CHECK_EQ(stele_index__memtable_reserve(table, 1, 1), STELE_OK);
            }
            add(table, entry, i * 8);
        }
        stele_index__memtable_check(table);
        CHECK_EQ(table->events, 300);
        stele_index__memtable_destroy(table);
        CHECK_EQ(alloc.bytes, 0);
        if (!failed) {
            CHECK(fail > 5);
            break;
        }
    }
}

TEST(a_tag_given_twice_is_one_posting)
{
    struct testalloc alloc;
    testalloc_init(&alloc, 1);
    struct stele_index__memtable *table = stele_index__memtable_create(&alloc.base, 0);
    struct stele_index__entry *entry = get(table, STELE_SPACE_TAG, "t");
    CHECK_EQ(stele_index__memtable_reserve(table, 1, 2), STELE_OK);
    add(table, entry, 16);
    stele_index__memtable_add(table, entry, 16);
    CHECK_EQ(entry->head.next, 1);
    stele_index__memtable_destroy(table);
}

TEST(a_stream_per_event_takes_at_most_256_bytes)
{
    enum { EVENTS = 160000 };
    struct testalloc alloc;
    testalloc_init(&alloc, 1);
    struct stele_index__memtable *table = stele_index__memtable_create(&alloc.base, 0);
    for (uint64_t i = 0; i < EVENTS; i++) {
        char name[32];
        (void)snprintf(name, sizeof name, "account-%012d", (int)i);
        CHECK_EQ(stele_index__memtable_reserve(table, 1, 3), STELE_OK);
        stele_index__memtable_begin(table, i * 304, i * UINT64_C(0x9e3779b97f4a7c15));
        stele_index__memtable_add(table, get(table, STELE_SPACE_STREAM, name), i * 304);
        stele_index__memtable_add(table, get(table, STELE_SPACE_CATEGORY, "account"), i * 304);
        stele_index__memtable_add(table, get(table, STELE_SPACE_TYPE, "deposited"), i * 304);
    }
    CHECK_EQ(table->memory, alloc.bytes);
    CHECK(alloc.bytes_max <= (uint64_t)EVENTS * 256);
    stele_index__memtable_destroy(table);
    CHECK_EQ(alloc.bytes, 0);
}

TEST(the_rest_above_a_place_is_what_a_new_memtable_would_have)
{
    enum { EVENTS = 400, NAMES = 9 };
    struct testalloc alloc;
    testalloc_init(&alloc, 1);
    for (uint64_t cut = 0; cut <= EVENTS * 16; cut += 16 * 37) {
        struct stele_index__memtable *table = stele_index__memtable_create(&alloc.base, 0);
        for (uint64_t i = 0; i < EVENTS; i++) {
            char name[16];
            (void)snprintf(name, sizeof name, "n%d", (int)(i * i % NAMES));
            CHECK_EQ(stele_index__memtable_reserve(table, 1, 1), STELE_OK);
            add(table, get(table, 0, name), i * 16);
        }
        struct stele_index__memtable *rest = stele_index__memtable_rest(table, cut, NULL, NULL);
        stele_index__memtable_check(rest);
        CHECK_EQ(rest->events, EVENTS - cut / 16);
        for (int i = 0; i < NAMES; i++) {
            char name[16];
            (void)snprintf(name, sizeof name, "n%d", i);
            const struct stele_index_key key = stele_index_key(SEED, 0, stele_bytes_of_text(name));
            const struct stele_index__entry *old = stele_index__memtable_find(table, &key);
            const struct stele_index__entry *new = stele_index__memtable_find(rest, &key);
            const uint64_t lo = old == NULL ? UINT64_MAX : stele_index__entry_lower_bound(old, cut);
            CHECK_EQ(new == NULL, lo == UINT64_MAX);
            if (new != NULL) {
                CHECK_EQ(new->first, lo);
                CHECK_EQ(new->head.next, old->head.next);
                CHECK_EQ(new->head.place_last, old->head.place_last);
                uint64_t a[EVENTS];
                uint64_t b[EVENTS];
                const size_t count = stele_index__entry_places(old, lo, EVENTS, a);
                CHECK_EQ(stele_index__entry_places(new, lo, EVENTS, b), count);
                CHECK_BYTES_EQ(a, b, count * sizeof *a);
            }
        }
        stele_index__memtable_destroy(rest);
        stele_index__memtable_destroy(table);
        CHECK_EQ(alloc.bytes, 0);
    }
}
