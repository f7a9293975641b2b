/* Replicated data types end up the same everywhere, and say what their definitions say.
 *
 * Method: each rule by hand. Then generated histories of every type: regions that write events of
 * several operations, exchange them in any causal order and twice, and merge whole states. At the end
 * all states are the same bytes, and every value is the one that the definition gives from the set of
 * all events ("an element is in the set if some event inserted it that no erasing event had seen"),
 * which is computed without any of the code under test. */
#include "lib/check.h"
#include "lib/golden.h"
#include "lib/rng.h"

#include <stele/crdt.h>

#define CAPACITY 262144

/* ---- Places and operations, easily written ---- */

struct target {
    int type;
    size_t keys_count;
    struct stele_text keys[2];
};

static struct stele_text text_of(const char *text)
{
    return (struct stele_text){.data = text, .size = strlen(text)};
}

static struct target at(int type, const char *one, const char *two)
{
    struct target target = {.type = type};
    if (one != NULL) {
        target.keys[target.keys_count++] = text_of(one);
    }
    if (two != NULL) {
        target.keys[target.keys_count++] = text_of(two);
    }
    return target;
}

static struct stele_crdt_place place_of(const struct target *target)
{
    return (struct stele_crdt_place){
        .type = target->type, .keys = target->keys, .keys_count = target->keys_count};
}

struct op {
    int action;
    struct target target;
    int64_t amount;
    const char *value;
};

#define OPS_MAX 4

struct event {
    uint64_t node;
    uint64_t position;
    struct stele_clock clock;
    struct op ops[OPS_MAX];
    size_t count;
};

struct region {
    uint64_t node;
    struct stele_clock clock;
    struct stele_crdt crdt;
    uint8_t buffer[CAPACITY];
};

static void open_region(struct region *region, uint64_t node, int type)
{
    region->node = node;
    region->clock = (struct stele_clock){.count = 0};
    CHECK_EQ(stele_crdt_init(&region->crdt, type, region->buffer, CAPACITY), STELE_OK);
}

/* Half of the operations go through their bytes. */
static void receive(struct region *region, const struct event *event)
{
    struct stele_crdt_op ops[OPS_MAX];
    for (size_t i = 0; i < event->count; i++) {
        const struct op *const op = &event->ops[i];
        ops[i] = (struct stele_crdt_op){
            .action = op->action,
            .place = place_of(&op->target),
            .amount = op->amount,
            .value = text_of(op->value != NULL ? op->value : ""),
        };
    }
    const struct stele_stamp stamp = {
        .node = event->node, .position = event->position, .clock = &event->clock};
    struct stele_error err;
    static struct stele_crdt_ops decoded;
    const struct stele_crdt_op *applied = ops;
    uint8_t bytes[1024];
    if (event->position % 2 == 0) {
        CHECK_OK(stele_crdt_ops_encode(ops, event->count, bytes, sizeof bytes, &err), err);
        const size_t size = stele_crdt_ops_size(ops, event->count);
        CHECK_OK(stele_crdt_ops_decode(bytes, size, &decoded, &err), err);
        CHECK_EQ(decoded.count, event->count);
        applied = decoded.ops;
    }
    CHECK_OK(stele_crdt_apply(&region->crdt, applied, event->count, &stamp, &err), err);
    CHECK_EQ(stele_clock_merge(&region->clock, &event->clock), STELE_OK);
}

static struct event write_event(struct region *region, uint64_t position, const struct op *ops,
                                size_t count)
{
    CHECK_EQ(stele_clock_tick(&region->clock, region->node), STELE_OK);
    struct event event = {
        .node = region->node, .position = position, .clock = region->clock, .count = count};
    memcpy(event.ops, ops, count * sizeof *ops);
    receive(region, &event);
    return event;
}

static struct event write_one(struct region *region, uint64_t position, struct op op)
{
    return write_event(region, position, &op, 1);
}

static struct region a;
static struct region b;

static void open_both(int type)
{
    open_region(&a, 1, type);
    open_region(&b, 2, type);
}

static int64_t counter(const struct region *region, struct target target)
{
    const struct stele_crdt_place place = place_of(&target);
    int64_t value = 0;
    CHECK_EQ(stele_crdt_counter(&region->crdt, &place, &value), STELE_OK);
    return value;
}

static bool has(const struct region *region, struct target target, const char *element)
{
    const struct stele_crdt_place place = place_of(&target);
    return stele_crdt_has(&region->crdt, &place, text_of(element)) == 1;
}

static void check_register(const struct region *region, struct target target, size_t index,
                           const char *want)
{
    const struct stele_crdt_place place = place_of(&target);
    struct stele_text value = {.data = "", .size = 0};
    const int outcome = stele_crdt_register(&region->crdt, &place, index, &value);
    CHECK_EQ(outcome, want != NULL ? STELE_OK : STELE_NOT_FOUND);
    if (want != NULL) {
        CHECK_SLICE_EQ(value, want);
    }
}

static void check_same(void)
{
    CHECK_EQ(a.crdt.size, b.crdt.size);
    CHECK_BYTES_EQ(a.buffer, b.buffer, a.crdt.size);
}

#define ROOT(type) at(type, NULL, NULL)
#define ADD(target, amount) ((struct op){STELE_CRDT_ADD, target, amount, NULL})
#define ASSIGN(target, value) ((struct op){STELE_CRDT_ASSIGN, target, 0, value})
#define INSERT(target, value) ((struct op){STELE_CRDT_INSERT, target, 0, value})
#define ERASE(target, value) ((struct op){STELE_CRDT_ERASE, target, 0, value})
#define CLEAR(target) ((struct op){STELE_CRDT_CLEAR, target, 0, NULL})

/* ---- By hand ---- */

TEST(everything_that_is_added_counts_once)
{
    open_both(STELE_CRDT_COUNTER);
    const struct target root = ROOT(STELE_CRDT_COUNTER);
    CHECK_EQ(counter(&a, root), 0);
    const struct event one = write_one(&a, 1, ADD(root, 5));
    const struct event two = write_one(&b, 2, ADD(root, -7));
    receive(&a, &two);
    receive(&a, &two);
    receive(&b, &one);
    CHECK_EQ(counter(&a, root), -2);
    const struct event three = write_one(&a, 3, ADD(root, 100));
    receive(&b, &three);
    CHECK_EQ(counter(&b, root), 98);
    check_same();
}

TEST(a_sum_that_does_not_fit_says_so)
{
    open_both(STELE_CRDT_COUNTER);
    const struct target root = ROOT(STELE_CRDT_COUNTER);
    const struct stele_crdt_place place = place_of(&root);
    (void)write_one(&a, 1, ADD(root, INT64_MAX));
    CHECK_EQ(counter(&a, root), INT64_MAX);
    (void)write_one(&a, 2, ADD(root, 1));
    int64_t value = 0;
    CHECK_EQ(stele_crdt_counter(&a.crdt, &place, &value), STELE_E_LIMIT);
    (void)write_one(&a, 3, ADD(root, INT64_MIN));
    CHECK_EQ(counter(&a, root), 0);
    for (uint64_t i = 4; i < 8; i++) {
        (void)write_one(&a, i, ADD(root, INT64_MAX));
    }
    CHECK_EQ(stele_crdt_counter(&a.crdt, &place, &value), STELE_E_LIMIT);
}

TEST(the_last_writer_wins_unless_the_other_had_seen_it)
{
    open_both(STELE_CRDT_LWW);
    const struct target root = ROOT(STELE_CRDT_LWW);
    check_register(&a, root, 0, NULL);
    const struct event one = write_one(&a, 30, ASSIGN(root, "late"));
    const struct event two = write_one(&b, 20, ASSIGN(root, "early"));
    receive(&a, &two);
    receive(&b, &one);
    check_register(&a, root, 0, "late");
    check_register(&b, root, 0, "late");
    check_register(&b, root, 1, NULL);
    /* The clock of b is behind; what it writes knowing of the other one replaces it all the same. */
    const struct event three = write_one(&b, 21, ASSIGN(root, "knew"));
    receive(&a, &three);
    check_register(&a, root, 0, "knew");
    check_same();
    const struct event four = write_one(&a, 40, CLEAR(root));
    receive(&b, &four);
    check_register(&b, root, 0, NULL);
}

TEST(equal_positions_are_decided_by_the_node)
{
    open_both(STELE_CRDT_LWW);
    const struct target root = ROOT(STELE_CRDT_LWW);
    const struct event one = write_one(&a, 30, ASSIGN(root, "one"));
    const struct event two = write_one(&b, 30, ASSIGN(root, "two"));
    receive(&a, &two);
    receive(&b, &one);
    check_register(&a, root, 0, "two");
    check_register(&b, root, 0, "two");
}

TEST(concurrent_values_are_all_kept_until_one_has_seen_them)
{
    open_both(STELE_CRDT_MV);
    const struct target root = ROOT(STELE_CRDT_MV);
    const struct event one = write_one(&a, 30, ASSIGN(root, "mine"));
    const struct event two = write_one(&b, 20, ASSIGN(root, "yours"));
    receive(&a, &two);
    receive(&b, &one);
    check_register(&a, root, 0, "mine");
    check_register(&a, root, 1, "yours");
    check_register(&a, root, 2, NULL);
    const struct event three = write_one(&b, 21, ASSIGN(root, "ours"));
    receive(&a, &three);
    check_register(&a, root, 0, "ours");
    check_register(&a, root, 1, NULL);
    check_same();
}

TEST(adding_wins_over_a_removal_that_had_not_seen_it)
{
    open_both(STELE_CRDT_SET);
    const struct target root = ROOT(STELE_CRDT_SET);
    const struct event one = write_one(&a, 1, INSERT(root, "milk"));
    receive(&b, &one);
    const struct event again = write_one(&a, 2, INSERT(root, "milk"));
    const struct event gone = write_one(&b, 3, ERASE(root, "milk"));
    CHECK(!has(&b, root, "milk"));
    receive(&a, &gone);
    receive(&b, &again);
    CHECK(has(&a, root, "milk"));
    CHECK(has(&b, root, "milk"));
    const struct event known = write_one(&b, 4, ERASE(root, "milk"));
    receive(&a, &known);
    CHECK(!has(&a, root, "milk"));
    check_same();
}

TEST(elements_and_names_are_walked_in_order_and_once)
{
    open_both(STELE_CRDT_MAP);
    const struct target set = at(STELE_CRDT_SET, "cart", NULL);
    const struct event one = write_one(&a, 1, INSERT(set, "b"));
    const struct event two = write_one(&b, 2, INSERT(set, "b"));
    receive(&a, &two);
    receive(&b, &one);
    (void)write_one(&a, 3, INSERT(set, "a"));
    (void)write_one(&a, 4, ADD(at(STELE_CRDT_COUNTER, "n", NULL), 1));
    (void)write_one(&a, 5, ADD(at(STELE_CRDT_COUNTER, "cart", NULL), 1));
    (void)write_one(&a, 6, ASSIGN(at(STELE_CRDT_MV, "cart", "x"), "v"));
    (void)write_one(&a, 7, ASSIGN(at(STELE_CRDT_MV, "cart", "y"), "v"));

    const struct stele_crdt_place place = place_of(&set);
    size_t cursor = 0;
    struct stele_text text;
    CHECK_EQ(stele_crdt_element(&a.crdt, &place, &cursor, &text), STELE_OK);
    CHECK_SLICE_EQ(text, "a");
    CHECK_EQ(stele_crdt_element(&a.crdt, &place, &cursor, &text), STELE_OK);
    CHECK_SLICE_EQ(text, "b");
    CHECK_EQ(stele_crdt_element(&a.crdt, &place, &cursor, &text), STELE_END);
    CHECK_EQ(stele_crdt_element(&a.crdt, &place, &cursor, &text), STELE_END);

    const struct target root = ROOT(STELE_CRDT_MAP);
    const struct stele_crdt_place top = place_of(&root);
    static const struct {
        const char *name;
        int type;
    } want[] = {{"n", STELE_CRDT_COUNTER},
                {"cart", STELE_CRDT_COUNTER},
                {"cart", STELE_CRDT_SET},
                {"cart", STELE_CRDT_MAP}};
    cursor = 0;
    int type = 0;
    for (size_t i = 0; i < 4; i++) {
        CHECK_EQ(stele_crdt_key(&a.crdt, &top, &cursor, &text, &type), STELE_OK);
        CHECK_SLICE_EQ(text, want[i].name);
        CHECK_EQ(type, want[i].type);
    }
    CHECK_EQ(stele_crdt_key(&a.crdt, &top, &cursor, &text, &type), STELE_END);
    const struct target inner = at(STELE_CRDT_MAP, "cart", NULL);
    const struct stele_crdt_place below = place_of(&inner);
    cursor = 0;
    CHECK_EQ(stele_crdt_key(&a.crdt, &below, &cursor, &text, &type), STELE_OK);
    CHECK_SLICE_EQ(text, "x");
    CHECK_EQ(stele_crdt_key(&a.crdt, &below, &cursor, &text, &type), STELE_OK);
    CHECK_SLICE_EQ(text, "y");
    CHECK_EQ(stele_crdt_key(&a.crdt, &below, &cursor, &text, &type), STELE_END);
}

/* A cart: what somebody puts in while somebody else takes the article out stays, what was in it
 * before does not. */
TEST(removing_a_name_takes_away_exactly_what_was_seen)
{
    open_both(STELE_CRDT_MAP);
    const struct target milk = at(STELE_CRDT_COUNTER, "milk", NULL);
    const struct event three = write_one(&a, 1, ADD(milk, 3));
    receive(&b, &three);
    const struct event two = write_one(&a, 2, ADD(milk, 2));
    const struct event out = write_one(&b, 3, CLEAR(at(0, "milk", NULL)));
    CHECK_EQ(counter(&b, milk), 0);
    receive(&a, &out);
    receive(&b, &two);
    CHECK_EQ(counter(&a, milk), 2);
    CHECK_EQ(counter(&b, milk), 2);
    check_same();
}

TEST(operations_of_one_event_follow_each_other)
{
    open_both(STELE_CRDT_MAP);
    const struct target n = at(STELE_CRDT_COUNTER, "n", NULL);
    const struct target m = at(STELE_CRDT_COUNTER, "m", NULL);
    const struct op ops[] = {ADD(n, 1), ADD(n, 2), CLEAR(m), ADD(m, 4)};
    const struct event one = write_event(&a, 1, ops, 4);
    receive(&b, &one);
    CHECK_EQ(counter(&b, n), 3);
    CHECK_EQ(counter(&b, m), 4);
    const struct op more[] = {ADD(n, 5), CLEAR(n), ASSIGN(at(STELE_CRDT_MV, "r", NULL), "x"),
                              ASSIGN(at(STELE_CRDT_MV, "r", NULL), "y")};
    (void)write_event(&b, 3, more, 4);
    CHECK_EQ(counter(&b, n), 0);
    check_register(&b, at(STELE_CRDT_MV, "r", NULL), 0, "y");
    check_register(&b, at(STELE_CRDT_MV, "r", NULL), 1, NULL);
}

static void check_refused(struct op op, int want, const char *words)
{
    const struct stele_crdt_op given = {
        .action = op.action,
        .place = place_of(&op.target),
        .value = text_of(op.value != NULL ? op.value : ""),
    };
    struct stele_clock clock = a.clock;
    CHECK_EQ(stele_clock_tick(&clock, 1), STELE_OK);
    const struct stele_stamp stamp = {.node = 1, .position = 1, .clock = &clock};
    static uint8_t before[CAPACITY];
    memcpy(before, a.buffer, a.crdt.size);
    const size_t size = a.crdt.size;
    struct stele_error err = {.outcome = STELE_OK};
    CHECK_OUTCOME(stele_crdt_apply(&a.crdt, &given, 1, &stamp, &err), want, err);
    CHECK_TEXT_HAS(err.message, words);
    CHECK_EQ(a.crdt.size, size);
    CHECK_BYTES_EQ(a.buffer, before, size);
}

TEST(what_does_not_fit_is_refused_with_words_and_changes_nothing)
{
    open_both(STELE_CRDT_COUNTER);
    const struct target root = ROOT(STELE_CRDT_COUNTER);
    (void)write_one(&a, 1, ADD(root, 1));
    check_refused(CLEAR(root), STELE_E_INVALID, "subtract its value");
    check_refused(INSERT(ROOT(STELE_CRDT_SET), "x"), STELE_E_INVALID,
                  "for a set, and the state is a c");
    check_refused(INSERT(root, "x"), STELE_E_INVALID, "action 3 is not one of a counter");
    check_refused(ADD(ROOT(9), 1), STELE_E_INVALID, "no type 9");
    check_refused(CLEAR(ROOT(0)), STELE_E_INVALID, "no type 0");
    check_refused(ADD(at(STELE_CRDT_COUNTER, "k", NULL), 1), STELE_E_INVALID, "a place in a map");
    open_both(STELE_CRDT_SET);
    static char large[STELE_CRDT_ELEMENT_SIZE_MAX + 2];
    memset(large, 'x', sizeof large - 1);
    check_refused(INSERT(ROOT(STELE_CRDT_SET), large), STELE_E_LIMIT, "4097 bytes; at most 4096");
    open_both(STELE_CRDT_MAP);
    large[STELE_CRDT_KEY_SIZE_MAX + 1] = '\0';
    check_refused(ADD(at(STELE_CRDT_COUNTER, large, NULL), 1), STELE_E_LIMIT, "1025 bytes");

    struct stele_clock clock = {.count = 0};
    const struct stele_stamp none = {.node = 5, .position = 1, .clock = &clock};
    struct stele_error err;
    CHECK_OUTCOME(stele_crdt_apply(&a.crdt, NULL, 0, &none, &err), STELE_E_INVALID, err);
    CHECK_TEXT_HAS(err.message, "node 5");
    CHECK_EQ(stele_crdt_init(&a.crdt, 6, a.buffer, CAPACITY), STELE_E_INVALID);
    CHECK_EQ(stele_crdt_init(&a.crdt, 1, a.buffer, 9), STELE_E_LIMIT);
    open_both(STELE_CRDT_MAP);
    open_region(&b, 2, STELE_CRDT_SET);
    static uint8_t out[CAPACITY];
    struct stele_crdt merged = {.data = out, .capacity = CAPACITY};
    CHECK_OUTCOME(stele_crdt_merge(&a.crdt, &b.crdt, &merged, &err), STELE_E_INVALID, err);
}

TEST(a_full_buffer_changes_nothing)
{
    open_both(STELE_CRDT_SET);
    (void)write_one(&a, 1, INSERT(ROOT(STELE_CRDT_SET), "x"));
    const struct target root = ROOT(STELE_CRDT_SET);
    const struct stele_crdt_op op = {
        .action = STELE_CRDT_INSERT, .place = place_of(&root), .value = text_of("yyy")};
    struct stele_clock clock = a.clock;
    CHECK_EQ(stele_clock_tick(&clock, 2), STELE_OK);
    const struct stele_stamp stamp = {.node = 2, .position = 1, .clock = &clock};
    const size_t room = stele_crdt_room(&op, 1, &stamp);
    const size_t size = a.crdt.size;
    struct stele_error err;
    for (size_t left = 0; left < room; left++) {
        a.crdt.capacity = size + left;
        CHECK_OUTCOME(stele_crdt_apply(&a.crdt, &op, 1, &stamp, &err), STELE_E_LIMIT, err);
        CHECK_EQ(a.crdt.size, size);
    }
    a.crdt.capacity = size + room;
    CHECK_OK(stele_crdt_apply(&a.crdt, &op, 1, &stamp, &err), err);
}

/* ---- Generated histories ---- */

#define REGIONS 4
#define EVENTS 36

struct history {
    int type;
    struct region regions[REGIONS];
    struct event events[EVENTS];
    size_t count;
    uint8_t has[REGIONS][EVENTS];
};

static const char *const words[] = {"", "x", "yy"};

static const int leaves[] = {STELE_CRDT_COUNTER, STELE_CRDT_LWW, STELE_CRDT_MV, STELE_CRDT_SET};

/* Every place that histories of this type use, one after the other. */
static bool place_number(int type, size_t number, struct target *out)
{
    if (type != STELE_CRDT_MAP) {
        *out = ROOT(type);
        return number == 0;
    }
    static const char *const names[] = {"a", "bb"};
    if (number >= 16) {
        return false;
    }
    if (number < 8) {
        *out = at(leaves[number % 4], names[number / 4], NULL);
    } else {
        *out = at(leaves[number % 4], names[number / 4 - 2], "a");
    }
    return true;
}

static struct op draw_op(struct rng *rng, int type)
{
    struct target target;
    CHECK(place_number(type, rng_below(rng, type == STELE_CRDT_MAP ? 16 : 1), &target));
    const char *const word = words[rng_below(rng, 3)];
    if (rng_percent(rng, 15) && type != STELE_CRDT_COUNTER) {
        /* Something around the place. */
        const uint64_t wider = type == STELE_CRDT_MAP ? rng_below(rng, 8) : 7;
        if (wider == 0) {
            return CLEAR(ROOT(STELE_CRDT_MAP));
        }
        if (wider <= 3) {
            target.type = target.keys_count == 2 && wider == 1 ? STELE_CRDT_MAP : 0;
            target.keys_count = wider == 1 ? 1 : target.keys_count;
        }
        return CLEAR(target);
    }
    switch (target.type) {
    case STELE_CRDT_COUNTER:
        return ADD(target, (int64_t)rng_below(rng, 21) - 10);
    case STELE_CRDT_SET:
        return rng_percent(rng, 60) ? INSERT(target, word) : ERASE(target, word);
    default:
        return ASSIGN(target, word);
    }
}

/* Does an operation replace or take away what was at a place (of a set: that element) before? */
static bool same_keys(const struct target *one, const struct target *two, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (one->keys[i].size != two->keys[i].size ||
            memcmp(one->keys[i].data, two->keys[i].data, one->keys[i].size) != 0) {
            return false;
        }
    }
    return true;
}

static bool takes_away(const struct op *op, const struct op *what)
{
    const struct target *const mine = &op->target;
    const struct target *const its = &what->target;
    if (mine->keys_count > its->keys_count || !same_keys(mine, its, mine->keys_count)) {
        return false;
    }
    if (op->action != STELE_CRDT_CLEAR) {
        return op->action != STELE_CRDT_ADD && mine->keys_count == its->keys_count &&
               mine->type == its->type &&
               (mine->type != STELE_CRDT_SET || strcmp(op->value, what->value) == 0);
    }
    return mine->type == 0 || (mine->keys_count == its->keys_count ? mine->type == its->type
                                                                   : mine->type == STELE_CRDT_MAP);
}

/* Is operation j of event i in force, when all events are known? */
static bool in_force(const struct history *history, size_t i, size_t j)
{
    const struct event *const event = &history->events[i];
    for (size_t k = 0; k < history->count; k++) {
        const struct event *const other = &history->events[k];
        const bool later = stele_clock_compare(&event->clock, &other->clock) == STELE_CLOCK_BEFORE;
        for (size_t l = 0; l < other->count; l++) {
            if ((later || (i == k && j < l)) && takes_away(&other->ops[l], &event->ops[j])) {
                return false;
            }
        }
    }
    return true;
}

/* The operations in force at a place, by node and time (events are generated in order of each node's
 * time, so a stable choice by node is enough). */
struct found {
    const struct event *event;
    const struct op *op;
};

static size_t find(const struct history *history, const struct target *target,
                   struct found found[EVENTS * OPS_MAX])
{
    size_t count = 0;
    for (uint64_t node = 1; node <= REGIONS; node++) {
        for (size_t i = 0; i < history->count; i++) {
            const struct event *const event = &history->events[i];
            for (size_t j = 0; event->node == node && j < event->count; j++) {
                const struct op *const op = &event->ops[j];
                if (op->action >= STELE_CRDT_ADD && op->action <= STELE_CRDT_INSERT &&
                    op->target.type == target->type &&
                    op->target.keys_count == target->keys_count &&
                    same_keys(&op->target, target, target->keys_count) && in_force(history, i, j)) {
                    found[count++] = (struct found){event, op};
                }
            }
        }
    }
    return count;
}

static void check_place(const struct history *history, const struct region *region,
                        const struct target *target)
{
    static struct found found[EVENTS * OPS_MAX];
    const size_t count = find(history, target, found);
    const struct stele_crdt_place place = place_of(target);
    int64_t sum = 0;
    const struct found *last = NULL;
    for (size_t i = 0; i < count; i++) {
        sum += found[i].op->amount;
        if (last == NULL || found[i].event->position >= last->event->position) {
            last = &found[i]; /* Equal ones are by node, then time, already. */
        }
    }
    if (target->type == STELE_CRDT_COUNTER) {
        CHECK_EQ(counter(region, *target), sum);
    } else if (target->type == STELE_CRDT_LWW) {
        check_register(region, *target, 0, last != NULL ? last->op->value : NULL);
    } else if (target->type == STELE_CRDT_MV) {
        for (size_t i = 0; i < count; i++) {
            check_register(region, *target, i, found[i].op->value);
        }
        check_register(region, *target, count, NULL);
    } else {
        size_t elements = 0;
        for (size_t word = 0; word < 3; word++) {
            bool want = false;
            for (size_t i = 0; i < count; i++) {
                want |= strcmp(found[i].op->value, words[word]) == 0;
            }
            CHECK_EQ(has(region, *target, words[word]), want);
            elements += want;
        }
        size_t cursor = 0;
        struct stele_text element;
        while (stele_crdt_element(&region->crdt, &place, &cursor, &element) == STELE_OK) {
            CHECK(elements > 0);
            elements--;
        }
        CHECK_EQ(elements, 0);
    }
}

static bool deliver(struct history *history, size_t region, size_t index)
{
    const struct event *const event = &history->events[index];
    if (history->has[region][index]) {
        return false;
    }
    for (size_t i = 0; i < history->count; i++) {
        if (!history->has[region][i] &&
            stele_clock_compare(&history->events[i].clock, &event->clock) == STELE_CLOCK_BEFORE) {
            return false;
        }
    }
    receive(&history->regions[region], event);
    history->has[region][index] = 1;
    return true;
}

static void merge_into(struct stele_crdt *into, const struct stele_crdt *other)
{
    static uint8_t buffer[CAPACITY];
    struct stele_crdt out = {.data = buffer, .capacity = CAPACITY};
    CHECK_EQ(stele_crdt_merge(into, other, &out, NULL), STELE_OK);
    memcpy(into->data, buffer, out.size);
    into->size = out.size;
}

static void merge_regions(struct history *history, size_t to, size_t from)
{
    merge_into(&history->regions[to].crdt, &history->regions[from].crdt);
    CHECK_EQ(stele_clock_merge(&history->regions[to].clock, &history->regions[from].clock),
             STELE_OK);
    for (size_t i = 0; i < EVENTS; i++) {
        history->has[to][i] |= history->has[from][i];
    }
}

static bool same_state(const struct stele_crdt *one, const struct stele_crdt *two)
{
    return one->size == two->size && memcmp(one->data, two->data, one->size) == 0;
}

/* Of any three states on the way. */
static void check_laws(const struct history *history)
{
    static uint8_t buffers[4][CAPACITY];
    struct stele_crdt work[4];
    const struct stele_crdt *const x = &history->regions[0].crdt;
    const struct stele_crdt *const y = &history->regions[1].crdt;
    const struct stele_crdt *const z = &history->regions[2].crdt;
    const struct stele_crdt *const from[4] = {x, y, y, x};
    for (size_t i = 0; i < 4; i++) {
        memcpy(buffers[i], from[i]->data, from[i]->size);
        work[i] = (struct stele_crdt){buffers[i], from[i]->size, CAPACITY};
    }
    merge_into(&work[0], y); /* x + y */
    merge_into(&work[1], x); /* y + x */
    CHECK(same_state(&work[0], &work[1]));
    merge_into(&work[0], z); /* (x + y) + z */
    merge_into(&work[2], z);
    memcpy(work[1].data, x->data, x->size);
    work[1].size = x->size;
    merge_into(&work[1], &work[2]); /* x + (y + z) */
    CHECK(same_state(&work[0], &work[1]));
    merge_into(&work[3], x); /* x + x */
    CHECK(same_state(&work[3], x));
    merge_into(&work[0], x); /* x + y + z + x */
    CHECK(same_state(&work[0], &work[1]));
    struct stele_crdt opened;
    struct stele_error err;
    CHECK_OK(stele_crdt_open(&opened, work[0].data, work[0].size, CAPACITY, &err), err);
}

static struct history history;

static void run_history(int type, uint64_t seed)
{
    struct rng rng;
    rng_init(&rng, seed, (uint64_t)type);
    history.type = type;
    history.count = 0;
    memset(history.has, 0, sizeof history.has);
    for (size_t i = 0; i < REGIONS; i++) {
        open_region(&history.regions[i], i + 1, type);
    }
    while (history.count < EVENTS) {
        const size_t region = rng_below(&rng, REGIONS);
        if (rng_percent(&rng, 40)) {
            struct op ops[OPS_MAX];
            const size_t count = rng_between(&rng, 1, OPS_MAX);
            for (size_t i = 0; i < count; i++) {
                ops[i] = draw_op(&rng, type);
            }
            history.has[region][history.count] = 1;
            history.events[history.count] =
                write_event(&history.regions[region], rng_below(&rng, 30), ops, count);
            history.count++;
        } else if (history.count > 0 && rng_percent(&rng, 85)) {
            const size_t index = rng_below(&rng, history.count);
            if (history.has[region][index]) {
                receive(&history.regions[region], &history.events[index]);
            } else {
                (void)deliver(&history, region, index);
            }
        } else {
            merge_regions(&history, region, (region + rng_between(&rng, 1, 3)) % REGIONS);
        }
        if (history.count == EVENTS / 2) {
            check_laws(&history);
        }
    }
    check_laws(&history);
    for (size_t i = 0; i < REGIONS; i++) {
        for (bool more = true; more;) {
            more = false;
            const size_t start = rng_below(&rng, EVENTS);
            for (size_t j = 0; j < EVENTS; j++) {
                more |= deliver(&history, i, (start + j) % EVENTS);
            }
        }
        CHECK(same_state(&history.regions[i].crdt, &history.regions[0].crdt));
    }
    struct target target;
    for (size_t i = 0; place_number(type, i, &target); i++) {
        check_place(&history, &history.regions[0], &target);
    }
}

static void run_histories(int type)
{
    for (uint64_t seed = 1; seed <= 150; seed++) {
        run_history(type, seed);
    }
}

TEST(counters_of_all_histories_agree_with_the_definition)
{
    run_histories(STELE_CRDT_COUNTER);
}

TEST(lww_registers_of_all_histories_agree_with_the_definition)
{
    run_histories(STELE_CRDT_LWW);
}

TEST(mv_registers_of_all_histories_agree_with_the_definition)
{
    run_histories(STELE_CRDT_MV);
}

TEST(sets_of_all_histories_agree_with_the_definition)
{
    run_histories(STELE_CRDT_SET);
}

TEST(maps_of_all_histories_agree_with_the_definition)
{
    run_histories(STELE_CRDT_MAP);
}

/* ---- Bytes ---- */

TEST(states_and_operations_are_the_bytes_that_are_kept)
{
    static const char *const names[] = {"", "crdt-counter", "crdt-lww", "crdt-mv", "crdt-set"};
    for (int type = STELE_CRDT_COUNTER; type <= STELE_CRDT_SET; type++) {
        open_both(type);
        const struct target root = ROOT(type);
        const struct op one = type == STELE_CRDT_COUNTER ? ADD(root, 258)
                              : type == STELE_CRDT_SET   ? INSERT(root, "one")
                                                         : ASSIGN(root, "one");
        const struct op two = type == STELE_CRDT_COUNTER ? ADD(root, -3)
                              : type == STELE_CRDT_SET   ? INSERT(root, "two")
                                                         : ASSIGN(root, "two");
        (void)write_one(&a, 100, one);
        const struct event event = write_one(&b, 99, two);
        receive(&a, &event);
        check_golden(names[type], a.buffer, a.crdt.size);
    }
    open_both(STELE_CRDT_MAP);
    const struct op ops[] = {
        ADD(at(STELE_CRDT_COUNTER, "n", NULL), -1), INSERT(at(STELE_CRDT_SET, "tags", NULL), "red"),
        ASSIGN(at(STELE_CRDT_LWW, "who", "name"), "Ada"), CLEAR(at(0, "gone", NULL))};
    (void)write_event(&a, 100, ops, 4);
    check_golden("crdt-map", a.buffer, a.crdt.size);
    struct stele_crdt_op given[4];
    for (size_t i = 0; i < 4; i++) {
        given[i] = (struct stele_crdt_op){
            .action = ops[i].action,
            .place = place_of(&ops[i].target),
            .amount = ops[i].amount,
            .value = text_of(ops[i].value != NULL ? ops[i].value : ""),
        };
    }
    uint8_t bytes[256];
    CHECK_EQ(stele_crdt_ops_encode(given, 4, bytes, sizeof bytes, NULL), STELE_OK);
    check_golden("crdt-ops", bytes, stele_crdt_ops_size(given, 4));
}

static void walk(const struct stele_crdt *crdt)
{
    for (int type = STELE_CRDT_COUNTER; type <= STELE_CRDT_MAP; type++) {
        const struct stele_crdt_place place = {.type = type};
        int64_t value = 0;
        size_t cursor = 0;
        struct stele_text text;
        int found = 0;
        (void)stele_crdt_counter(crdt, &place, &value);
        (void)stele_crdt_register(crdt, &place, 0, &text);
        (void)stele_crdt_register(crdt, &place, 1, &text);
        while (stele_crdt_element(crdt, &place, &cursor, &text) == STELE_OK) {
        }
        while (stele_crdt_key(crdt, &place, &cursor, &text, &found) == STELE_OK) {
        }
    }
}

TEST(every_changed_byte_of_a_state_is_refused_or_harmless)
{
    for (int type = STELE_CRDT_COUNTER; type <= STELE_CRDT_MAP; type++) {
        run_history(type, 99);
        const struct stele_crdt *const state = &history.regions[0].crdt;
        static uint8_t changed[CAPACITY];
        struct stele_crdt opened;
        for (size_t size = 0; size < state->size; size++) {
            memcpy(changed, state->data, size);
            CHECK(stele_crdt_open(&opened, changed, size, CAPACITY, NULL) != STELE_OK);
        }
        for (size_t i = 0; i < state->size; i++) {
            for (unsigned bit = 0; bit < 8; bit++) {
                memcpy(changed, state->data, state->size);
                changed[i] = (uint8_t)(changed[i] ^ 1u << bit);
                if (stele_crdt_open(&opened, changed, state->size, CAPACITY, NULL) == STELE_OK) {
                    walk(&opened);
                    if (stele_crdt_type(&opened) == type) {
                        merge_into(&opened, state);
                    }
                }
            }
        }
    }
}

TEST(operations_that_are_cut_or_changed_are_refused_or_others)
{
    const struct target n = at(STELE_CRDT_COUNTER, "n", NULL);
    const struct target set = at(STELE_CRDT_SET, "tags", "more");
    const struct stele_crdt_op ops[] = {
        {.action = STELE_CRDT_ADD, .place = place_of(&n), .amount = -5},
        {.action = STELE_CRDT_INSERT, .place = place_of(&set), .value = text_of("red")},
    };
    uint8_t bytes[128];
    struct stele_error err;
    CHECK_OK(stele_crdt_ops_encode(ops, 2, bytes, sizeof bytes, &err), err);
    const size_t size = stele_crdt_ops_size(ops, 2);
    static struct stele_crdt_ops out;
    for (size_t cut = 0; cut < size; cut++) {
        CHECK(stele_crdt_ops_decode(bytes, cut, &out, &err) != STELE_OK);
        CHECK_EQ(stele_crdt_ops_encode(ops, 2, (uint8_t[128]){0}, cut, &err), STELE_E_LIMIT);
    }
    CHECK_OUTCOME(stele_crdt_ops_decode(bytes, size + 1, &out, &err), STELE_E_CORRUPT, err);
    CHECK_TEXT_HAS(err.message, "1 bytes follow");
    for (size_t i = 0; i < size; i++) {
        for (unsigned value = 0; value < 256; value++) {
            uint8_t changed[128];
            memcpy(changed, bytes, size);
            changed[i] = (uint8_t)value;
            if (stele_crdt_ops_decode(changed, size, &out, &err) == STELE_OK) {
                uint8_t again[128];
                CHECK_OK(stele_crdt_ops_encode(out.ops, out.count, again, sizeof again, &err), err);
                CHECK_EQ(stele_crdt_ops_size(out.ops, out.count), size);
                CHECK_BYTES_EQ(again, changed, size);
            }
        }
    }
}
