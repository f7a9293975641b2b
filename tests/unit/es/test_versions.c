/* Concurrent versions are all kept, everywhere the same, and end when somebody says so.
 *
 * Method: histories by hand for each rule. Then generated ones: places that write, exchange events in
 * any causal order, twice, and merge whole states; at the end every state has the same bytes, and its
 * leaves are those that the definition gives, from the set of all events. */
#include "lib/check.h"
#include "lib/golden.h"
#include "lib/rng.h"

#include <stele/versions.h>

#define CAPACITY 65536

struct place {
    uint64_t node;
    struct stele_clock clock;
    struct stele_versions versions;
    uint8_t buffer[CAPACITY];
};

static void open_place(struct place *place, uint64_t node)
{
    memset(place, 0, sizeof *place);
    place->node = node;
    CHECK_EQ(stele_versions_init(&place->versions, place->buffer, CAPACITY), STELE_OK);
}

/* What travels. */
struct write {
    uint64_t node;
    uint64_t position;
    struct stele_clock clock;
    const char *value;
};

static struct stele_stamp stamp_of(const struct write *write)
{
    return (struct stele_stamp){
        .node = write->node, .position = write->position, .clock = &write->clock};
}

static void receive(struct place *place, const struct write *write)
{
    const struct stele_stamp stamp = stamp_of(write);
    struct stele_error err;
    CHECK_OK(stele_versions_put(&place->versions, &stamp, write->value, strlen(write->value), &err),
             err);
    CHECK_EQ(stele_clock_merge(&place->clock, &write->clock), STELE_OK);
}

static struct write make(struct place *place, uint64_t position, const char *value)
{
    CHECK_EQ(stele_clock_tick(&place->clock, place->node), STELE_OK);
    const struct write write = {
        .node = place->node, .position = position, .clock = place->clock, .value = value};
    receive(place, &write);
    return write;
}

static void check_leaf(const struct place *place, size_t index, const char *want)
{
    struct stele_version version;
    CHECK_EQ(stele_versions_leaf(&place->versions, index, &version), STELE_OK);
    CHECK_EQ(version.value_size, strlen(want));
    CHECK_BYTES_EQ(version.value, want, version.value_size);
}

static void check_value(const struct place *place, stele_versions_rule rule, const char *want)
{
    struct stele_version version;
    CHECK_EQ(stele_versions_value(&place->versions, rule, NULL, &version), STELE_OK);
    CHECK_EQ(version.value_size, strlen(want));
    CHECK_BYTES_EQ(version.value, want, version.value_size);
}

static struct place a;
static struct place b;

static void open_both(void)
{
    open_place(&a, 1);
    open_place(&b, 2);
}

TEST(what_was_seen_is_replaced)
{
    open_both();
    struct stele_version version;
    CHECK_EQ(stele_versions_count(&a.versions), 0);
    CHECK_EQ(stele_versions_value(&a.versions, NULL, NULL, &version), STELE_NOT_FOUND);
    const struct write one = make(&a, 10, "one");
    receive(&b, &one);
    const struct write two = make(&b, 20, "two");
    receive(&a, &two);
    CHECK_EQ(stele_versions_count(&a.versions), 1);
    check_leaf(&a, 0, "two");
    CHECK_EQ(stele_versions_leaf(&a.versions, 1, &version), STELE_NOT_FOUND);
    CHECK_EQ(a.versions.size, b.versions.size);
    CHECK_BYTES_EQ(a.buffer, b.buffer, a.versions.size);
}

TEST(what_was_not_seen_is_a_conflict_and_both_are_kept)
{
    open_both();
    const struct write one = make(&a, 30, "mine");
    const struct write two = make(&b, 20, "yours");
    receive(&a, &two);
    receive(&b, &one);
    CHECK_EQ(stele_versions_count(&a.versions), 2);
    check_leaf(&a, 0, "mine");
    check_leaf(&a, 1, "yours");
    CHECK_BYTES_EQ(a.buffer, b.buffer, a.versions.size);
    check_value(&b, NULL, "mine"); /* The later position, not who came last. */
    const size_t size = a.versions.size;
    receive(&a, &two); /* Again. */
    CHECK_EQ(a.versions.size, size);
}

TEST(positions_that_are_equal_are_decided_by_the_node)
{
    open_both();
    const struct write one = make(&a, 30, "low");
    const struct write two = make(&b, 30, "high");
    receive(&a, &two);
    receive(&b, &one);
    check_value(&a, NULL, "high");
    check_value(&b, NULL, "high");
}

static int by_bytes(void *context, const struct stele_version *one, const struct stele_version *two)
{
    (void)context;
    return strncmp(one->value, two->value, 1);
}

TEST(a_rule_of_ones_own)
{
    open_both();
    const struct write one = make(&a, 30, "x");
    const struct write two = make(&b, 20, "y");
    receive(&a, &two);
    receive(&b, &one);
    check_value(&a, by_bytes, "y");
    check_value(&b, by_bytes, "y");
}

/* Of partial updates each has to land on what its writer had before it: last-writer rules on whole
 * values lose one of them, and versions do not. */
TEST(a_change_is_made_to_what_its_writer_had_seen)
{
    open_both();
    const struct write root = make(&a, 10, "title,author");
    receive(&b, &root);
    (void)make(&a, 20, "TITLE,author");
    CHECK_EQ(stele_clock_tick(&b.clock, b.node), STELE_OK);
    const struct stele_stamp stamp = {.node = 2, .position = 15, .clock = &b.clock};
    struct stele_version base;
    /* At a, where something newer is, the base is still the root. */
    CHECK_EQ(stele_versions_base(&a.versions, &stamp, NULL, NULL, &base), STELE_OK);
    CHECK_EQ(base.value_size, strlen("title,author"));
    CHECK_BYTES_EQ(base.value, "title,author", base.value_size);
    CHECK_EQ(base.position, 10);
    const struct stele_clock nothing = {.count = 1, .entries = {{.node = 9, .time = 1}}};
    const struct stele_stamp fresh = {.node = 9, .position = 15, .clock = &nothing};
    CHECK_EQ(stele_versions_base(&a.versions, &fresh, NULL, NULL, &base), STELE_NOT_FOUND);
}

TEST(a_choice_is_an_event_and_ends_the_conflict_everywhere)
{
    open_both();
    const struct write one = make(&a, 30, "mine");
    const struct write two = make(&b, 20, "yours");
    receive(&a, &two);
    receive(&b, &one);
    struct stele_version loser;
    CHECK_EQ(stele_versions_leaf(&a.versions, 1, &loser), STELE_OK);
    CHECK_EQ(stele_clock_tick(&a.clock, 1), STELE_OK);
    const struct stele_stamp stamp = {.node = 1, .position = 40, .clock = &a.clock};
    struct stele_error err;
    CHECK_OK(stele_versions_resolve(&a.versions, &stamp, loser.node, loser.time, &err), err);
    CHECK_OK(stele_versions_resolve(&b.versions, &stamp, loser.node, loser.time, &err), err);
    CHECK_OK(stele_versions_resolve(&b.versions, &stamp, loser.node, loser.time, &err), err);
    CHECK_EQ(stele_versions_count(&a.versions), 1);
    check_leaf(&a, 0, "yours");
    CHECK_EQ(a.versions.size, b.versions.size);
    CHECK_BYTES_EQ(a.buffer, b.buffer, a.versions.size);
}

TEST(a_choice_that_did_not_know_of_a_write_leaves_it_in_conflict)
{
    open_both();
    const struct write one = make(&a, 30, "mine");
    const struct write two = make(&b, 20, "yours");
    receive(&a, &two);
    receive(&b, &one);
    const struct write late = make(&b, 35, "late");
    CHECK_EQ(stele_clock_tick(&a.clock, 1), STELE_OK);
    const struct stele_stamp stamp = {.node = 1, .position = 40, .clock = &a.clock};
    struct stele_error err;
    CHECK_OK(stele_versions_resolve(&a.versions, &stamp, 2, 1, &err), err);
    receive(&a, &late);
    CHECK_EQ(stele_versions_count(&a.versions), 2);
    check_leaf(&a, 0, "yours");
    check_leaf(&a, 1, "late");
}

TEST(a_choice_of_what_is_not_there_is_refused)
{
    open_both();
    (void)make(&a, 30, "mine");
    const struct write two = make(&b, 20, "yours");
    struct stele_clock clock = a.clock;
    CHECK_EQ(stele_clock_tick(&clock, 1), STELE_OK);
    const struct stele_stamp stamp = {.node = 1, .position = 40, .clock = &clock};
    struct stele_error err;
    const size_t size = a.versions.size;
    CHECK_OUTCOME(stele_versions_resolve(&a.versions, &stamp, 2, 1, &err), STELE_NOT_FOUND, err);
    CHECK_TEXT_HAS(err.message, "node 2 wrote at 1");
    receive(&a, &two); /* Now it is there, and still not among what the choice had seen. */
    CHECK_OUTCOME(stele_versions_resolve(&a.versions, &stamp, 2, 1, &err), STELE_NOT_FOUND, err);
    CHECK(a.versions.size > size);
}

TEST(the_creator_is_the_same_everywhere)
{
    open_both();
    const struct write one = make(&b, 5, "created");
    receive(&a, &one);
    const struct write two = make(&a, 7, "changed");
    receive(&b, &two);
    struct stele_version version;
    CHECK_EQ(stele_versions_leaf(&a.versions, 0, &version), STELE_OK);
    CHECK_EQ(version.creator, 2);
    struct stele_clock all = a.clock;
    stele_versions_prune(&a.versions, &all);
    CHECK_EQ(stele_versions_leaf(&a.versions, 0, &version), STELE_OK);
    CHECK_EQ(version.creator, 2);
}

TEST(without_room_nothing_changes)
{
    open_both();
    (void)make(&a, 30, "mine");
    struct stele_clock clock = a.clock;
    CHECK_EQ(stele_clock_tick(&clock, 1), STELE_OK);
    const struct stele_stamp stamp = {.node = 1, .position = 40, .clock = &clock};
    uint8_t before[CAPACITY];
    memcpy(before, a.buffer, CAPACITY);
    const size_t need = stele_versions_room(&stamp, 5);
    struct stele_error err;
    for (size_t room = 0; room < need; room++) {
        a.versions.capacity = a.versions.size + room;
        CHECK_OUTCOME(stele_versions_put(&a.versions, &stamp, "12345", 5, &err), STELE_E_LIMIT,
                      err);
        CHECK_BYTES_EQ(a.buffer, before, CAPACITY);
    }
    a.versions.capacity = a.versions.size + need;
    CHECK_OK(stele_versions_put(&a.versions, &stamp, "12345", 5, &err), err);
    const struct stele_stamp none = {.node = 77, .position = 40, .clock = &clock};
    CHECK_OUTCOME(stele_versions_put(&a.versions, &none, "1", 1, &err), STELE_E_INVALID, err);
    CHECK_TEXT_HAS(err.message, "node 77");
    uint8_t tiny[9];
    CHECK_EQ(stele_versions_init(&a.versions, tiny, sizeof tiny), STELE_E_LIMIT);
}

TEST(there_is_a_most_and_pruning_makes_room)
{
    static uint8_t buffer[4u << 20];
    struct stele_versions versions;
    CHECK_EQ(stele_versions_init(&versions, buffer, sizeof buffer), STELE_OK);
    struct stele_clock clock = {.count = 0};
    struct stele_error err;
    for (uint32_t i = 0; i < STELE_VERSIONS_MAX; i++) {
        CHECK_EQ(stele_clock_tick(&clock, 1), STELE_OK);
        const struct stele_stamp stamp = {.node = 1, .position = i, .clock = &clock};
        CHECK_OK(stele_versions_put(&versions, &stamp, &i, sizeof i, &err), err);
    }
    struct stele_clock next = clock;
    CHECK_EQ(stele_clock_tick(&next, 1), STELE_OK);
    const struct stele_stamp stamp = {.node = 1, .position = 1, .clock = &next};
    CHECK_OUTCOME(stele_versions_put(&versions, &stamp, "x", 1, &err), STELE_E_LIMIT, err);
    CHECK_TEXT_HAS(err.message, "prune");
    stele_versions_prune(&versions, &clock);
    CHECK_EQ(stele_versions_count(&versions), 1);
    CHECK_OK(stele_versions_put(&versions, &stamp, "x", 1, &err), err);
    CHECK_EQ(stele_versions_count(&versions), 1);
}

/* ---- Generated histories ---- */

#define PLACES 4
#define WRITES 40

struct history {
    struct place places[PLACES];
    struct write writes[WRITES];
    size_t count;
    uint8_t has[PLACES][WRITES];
};

static bool may_receive(const struct history *history, size_t place, size_t index)
{
    /* All that the writer had seen has to be there; its own write is the last entry of its node. */
    for (size_t i = 0; i < history->count; i++) {
        const struct write *const other = &history->writes[i];
        const uint64_t time = stele_clock_time(&other->clock, other->node);
        if (i != index && !history->has[place][i] &&
            stele_clock_covers(&history->writes[index].clock, other->node, time)) {
            return false;
        }
    }
    return true;
}

static bool deliver(struct history *history, size_t place, size_t index)
{
    if (history->has[place][index] || !may_receive(history, place, index)) {
        return false;
    }
    receive(&history->places[place], &history->writes[index]);
    history->has[place][index] = 1;
    return true;
}

static void deliver_all(struct history *history, struct rng *rng, size_t place)
{
    for (bool more = true; more;) {
        more = false;
        const size_t start = rng_below(rng, history->count);
        for (size_t i = 0; i < history->count; i++) {
            more |= deliver(history, place, (start + i) % history->count);
        }
    }
}

static void merge_places(struct history *history, size_t to, size_t from)
{
    static uint8_t buffer[CAPACITY];
    struct stele_versions out = {.data = buffer, .capacity = CAPACITY};
    struct place *const place = &history->places[to];
    CHECK_EQ(stele_versions_merge(&place->versions, &history->places[from].versions, &out, NULL),
             STELE_OK);
    memcpy(place->buffer, buffer, out.size);
    place->versions.size = out.size;
    CHECK_EQ(stele_clock_merge(&place->clock, &history->places[from].clock), STELE_OK);
    for (size_t i = 0; i < WRITES; i++) {
        history->has[to][i] |= history->has[from][i];
    }
}

/* Is there a write that has seen this one? */
static bool is_seen(const struct history *history, size_t index)
{
    for (size_t i = 0; i < history->count; i++) {
        if (stele_clock_compare(&history->writes[index].clock, &history->writes[i].clock) ==
            STELE_CLOCK_BEFORE) {
            return true;
        }
    }
    return false;
}

static void run_history(uint64_t seed)
{
    static struct history history;
    static const char *const values[] = {"", "a", "bb", "ccc", "dddd"};
    struct rng rng;
    rng_init(&rng, seed, 0);
    history.count = 0;
    memset(history.has, 0, sizeof history.has);
    for (size_t i = 0; i < PLACES; i++) {
        open_place(&history.places[i], i + 1);
    }
    while (history.count < WRITES) {
        const size_t place = rng_below(&rng, PLACES);
        if (rng_percent(&rng, 40)) {
            history.has[place][history.count] = 1;
            history.writes[history.count] =
                make(&history.places[place], rng_below(&rng, 50), values[rng_below(&rng, 5)]);
            history.count++;
        } else if (history.count > 0 && rng_percent(&rng, 80)) {
            (void)deliver(&history, place, rng_below(&rng, history.count));
        } else if (rng_percent(&rng, 30)) {
            merge_places(&history, place,
                         rng_below(&rng, PLACES - 1) + place < PLACES - 1 ? (place + 1) % PLACES
                                                                          : (place + 2) % PLACES);
        }
    }
    size_t leaves = 0;
    for (size_t i = 0; i < history.count; i++) {
        leaves += !is_seen(&history, i);
    }
    for (size_t i = 0; i < PLACES; i++) {
        deliver_all(&history, &rng, i);
        const struct stele_versions *const versions = &history.places[i].versions;
        CHECK_EQ(versions->size, history.places[0].versions.size);
        CHECK_BYTES_EQ(versions->data, history.places[0].versions.data, versions->size);
        CHECK_EQ(stele_versions_count(versions), leaves);
    }
    /* All is seen everywhere: what is left is the leaves, and merging brings nothing back. */
    struct stele_clock stable = history.places[0].clock;
    stele_versions_prune(&history.places[0].versions, &stable);
    CHECK_EQ(stele_versions_count(&history.places[0].versions), leaves);
    merge_places(&history, 1, 0);
    CHECK_EQ(history.places[1].versions.size, history.places[0].versions.size);
    CHECK_BYTES_EQ(history.places[1].buffer, history.places[0].buffer,
                   history.places[1].versions.size);
}

TEST(every_causal_order_ends_with_the_same_versions)
{
    for (uint64_t seed = 1; seed <= 300; seed++) {
        run_history(seed);
    }
}

/* ---- Bytes ---- */

TEST(the_state_is_the_bytes_that_are_kept)
{
    open_both();
    const struct write one = make(&a, 30, "mine");
    const struct write two = make(&b, 20, "yours");
    receive(&a, &two);
    receive(&b, &one);
    (void)make(&a, 50, "ours");
    check_golden("versions", a.buffer, a.versions.size);
    struct stele_versions opened;
    struct stele_error err;
    CHECK_OK(stele_versions_open(&opened, a.buffer, a.versions.size, CAPACITY, &err), err);
    CHECK_EQ(stele_versions_count(&opened), 1);
    for (size_t size = 0; size < a.versions.size; size++) {
        CHECK_OUTCOME(stele_versions_open(&opened, a.buffer, size, CAPACITY, &err), STELE_E_CORRUPT,
                      err);
    }
}

TEST(every_changed_byte_is_refused_or_harmless)
{
    open_both();
    const struct write one = make(&a, 30, "mine");
    const struct write two = make(&b, 20, "yours");
    receive(&a, &two);
    receive(&b, &one);
    static uint8_t changed[CAPACITY];
    for (size_t at = 0; at < a.versions.size; at++) {
        for (unsigned value = 0; value < 256; value++) {
            memcpy(changed, a.buffer, a.versions.size);
            changed[at] = (uint8_t)value;
            struct stele_versions opened;
            if (stele_versions_open(&opened, changed, a.versions.size, CAPACITY, NULL) !=
                STELE_OK) {
                continue;
            }
            const size_t count = stele_versions_count(&opened);
            struct stele_version version;
            for (size_t i = 0; i < count; i++) {
                CHECK_EQ(stele_versions_leaf(&opened, i, &version), STELE_OK);
            }
        }
    }
}
