/* A fold of the same events is the same state, however they were handed in, and a snapshot in
 * between changes nothing; a fold that failed is never used; every failing allocation is told. */
#include "bank.h"
#include "es/memory.h"
#include "lib/check.h"
#include "lib/testalloc.h"

#define EVENTS 1000

static struct stele_event events[EVENTS];
static char data[EVENTS][32];

static void make_events(void)
{
    for (size_t i = 0; i < EVENTS; i++) {
        (void)snprintf(data[i], sizeof data[i], "{\"amount\":%zu}", i % 7);
        events[i] = event_of(i % 3 == 2 ? "Withdrawn" : "Deposited", data[i], "{}", i);
    }
}

static struct account fold_all(size_t step)
{
    struct stele_memory *memory = stele_memory_create();
    struct stele_state *state = NULL;
    CHECK_EQ(stele_state_create(memory, &account_fold, &state, NULL), STELE_OK);
    for (size_t at = 0; at < EVENTS; at += step) {
        const size_t count = EVENTS - at < step ? EVENTS - at : step;
        CHECK_EQ(stele_state_apply(state, events + at, count, NULL), STELE_OK);
    }
    CHECK_EQ(stele_state_count(state), EVENTS);
    CHECK_EQ(stele_state_revision(state), EVENTS - 1);
    CHECK_EQ(stele_state_position(state), 1000 + EVENTS - 1);
    const struct account account = *(const struct account *)stele_state_value(state);
    stele_memory_destroy(memory);
    return account;
}

TEST(a_fold_does_not_depend_on_how_events_are_handed_in)
{
    make_events();
    const struct account whole = fold_all(EVENTS);
    CHECK_EQ(whole.events, EVENTS);
    for (size_t step = 1; step < 50; step++) {
        const struct account other = fold_all(step);
        CHECK(memcmp(&other, &whole, sizeof whole) == 0);
    }
}

TEST(a_state_goes_on_from_its_bytes)
{
    make_events();
    const struct account whole = fold_all(EVENTS);
    for (size_t cut = 0; cut <= EVENTS; cut += 91) {
        struct stele_memory *memory = stele_memory_create();
        struct stele_state *first = NULL;
        struct stele_state *second = NULL;
        struct stele_text bytes;
        CHECK_EQ(stele_state_create(memory, &account_fold, &first, NULL), STELE_OK);
        CHECK_EQ(stele_state_apply(first, events, cut, NULL), STELE_OK);
        CHECK_EQ(stele_state_encode(first, &bytes, NULL), STELE_OK);
        CHECK_EQ(stele_state_decode(memory, &account_fold, bytes.data, bytes.size,
                                    stele_state_count(first), stele_state_revision(first),
                                    stele_state_position(first), &second, NULL),
                 STELE_OK);
        CHECK_EQ(stele_state_apply(second, events + cut, EVENTS - cut, NULL), STELE_OK);
        CHECK_EQ(stele_state_count(second), EVENTS);
        CHECK(memcmp(stele_state_value(second), &whole, sizeof whole) == 0);
        CHECK_EQ(stele_state_decode(memory, &account_fold, bytes.data, bytes.size - 1, 0, 0, 0,
                                    &second, NULL),
                 STELE_E_FORMAT);
        stele_memory_destroy(memory);
    }
}

TEST(a_state_whose_fold_failed_is_not_handed_out)
{
    make_events();
    struct stele_memory *memory = stele_memory_create();
    struct stele_state *state = NULL;
    struct stele_error err = {0};
    struct stele_text bytes;
    CHECK_EQ(stele_state_create(memory, &account_fold, &state, NULL), STELE_OK);
    events[5] = event_of("Broken", "{}", "{}", 5);
    CHECK_EQ(stele_state_apply(state, events, 10, &err), STELE_E_CORRUPT);
    CHECK_TEXT_HAS(err.message, "Broken at revision 5 of account-1");
    CHECK(stele_state_value(state) == NULL);
    CHECK_EQ(stele_state_apply(state, events, 1, &err), STELE_E_CORRUPT);
    CHECK_EQ(stele_state_encode(state, &bytes, &err), STELE_E_CORRUPT);
    CHECK_EQ(stele_state_count(state), 0);
    stele_memory_destroy(memory);
}

TEST(the_fingerprint_changes_with_all_that_a_state_depends_on)
{
    struct stele_fold other = account_fold;
    const uint64_t fingerprint = stele_fold_fingerprint(&account_fold);
    CHECK(stele_fold_fingerprint(&other) == fingerprint);
    other.version = 2;
    CHECK(stele_fold_fingerprint(&other) != fingerprint);
    other = account_fold;
    other.name = "accounts";
    CHECK(stele_fold_fingerprint(&other) != fingerprint);
    other = account_fold;
    other.state_size++;
    CHECK(stele_fold_fingerprint(&other) != fingerprint);
    other = account_fold;
    other.shape = "v";
    CHECK(stele_fold_fingerprint(&other) != fingerprint);
}

TEST(an_incomplete_fold_is_refused_in_words)
{
    struct stele_memory *memory = stele_memory_create();
    struct stele_state *state = NULL;
    struct stele_error err = {0};
    struct stele_fold other = account_fold;
    other.evolve = NULL;
    CHECK_EQ(stele_state_create(memory, &other, &state, &err), STELE_E_INVALID);
    CHECK_TEXT_HAS(err.message, "account needs evolve");
    other = account_fold;
    other.struct_size = 3;
    CHECK_EQ(stele_state_create(memory, &other, &state, &err), STELE_E_INVALID);
    CHECK(state == NULL);
    stele_memory_destroy(memory);
}

/* ---- Codecs and memory -------------------------------------------------------------------- */

struct deposit {
    int64_t amount;
    const char *by;
};

static int decode_deposit(void *context, const struct stele_event *event, void *fact,
                          struct stele_memory *memory)
{
    (void)context;
    struct deposit *deposit = fact;
    struct stele_text by;
    const int outcome = stele_json_string(event->data, event->data_size, "by", memory, &by);
    if (outcome != STELE_OK) {
        return outcome;
    }
    deposit->by = by.data;
    return stele_json_integer(event->data, event->data_size, "amount", &deposit->amount);
}

struct ledger {
    int64_t balance;
    const char *last;
};

static int ledger_evolve(void *context, void *state, const struct stele_event *event,
                         const void *fact, struct stele_memory *memory)
{
    (void)context, (void)event;
    struct ledger *ledger = state;
    const struct deposit *deposit = fact;
    if (deposit != NULL) {
        ledger->balance += deposit->amount;
        if (ledger->last == NULL || strcmp(ledger->last, deposit->by) != 0) {
            ledger->last = stele_memory_copy(memory, deposit->by, strlen(deposit->by));
            return ledger->last != NULL ? STELE_OK : STELE_E_NO_MEMORY;
        }
    }
    return STELE_OK;
}

static int fold_ledger(struct stele_alloc *alloc)
{
    static const struct stele_event_type types[] = {{.struct_size = sizeof(struct stele_event_type),
                                                     .type = "Deposited",
                                                     .fact_size = sizeof(struct deposit),
                                                     .decode = decode_deposit}};
    struct stele_fold fold = {.struct_size = sizeof fold,
                              .name = "ledger",
                              .state_size = sizeof(struct ledger),
                              .evolve = ledger_evolve};
    struct stele_memory *memory = stele_memory_create_in(alloc, 512);
    struct stele_registry *registry = NULL;
    struct stele_state *state = NULL;
    int outcome = memory != NULL ? stele_registry_create(memory, types, 1, 0, &registry, NULL)
                                 : STELE_E_NO_MEMORY;
    fold.registry = registry;
    if (outcome == STELE_OK) {
        outcome = stele_state_create(memory, &fold, &state, NULL);
    }
    for (uint64_t i = 0; outcome == STELE_OK && i < 100; i++) {
        const struct stele_event event = event_of(
            i % 10 == 9 ? "Unknown" : "Deposited",
            i % 2 == 0 ? "{\"amount\":2,\"by\":\"Ann\"}" : "{\"amount\":1,\"by\":\"Bo\"}", "{}", i);
        outcome = stele_state_apply(state, &event, 1, NULL);
    }
    if (outcome == STELE_OK) {
        const struct ledger *ledger = stele_state_value(state);
        CHECK_EQ(ledger->balance, 50 * 2 + 40);
        CHECK_TEXT_EQ(ledger->last, "Ann");
    }
    stele_memory_destroy(memory);
    return outcome;
}

TEST(facts_are_made_by_codecs_and_every_failing_allocation_is_told)
{
    struct testalloc alloc;
    for (uint64_t n = 1;; n++) {
        testalloc_init(&alloc, n);
        alloc.fail_at = n;
        const int outcome = fold_ledger(&alloc.base);
        CHECK_EQ(alloc.blocks, 0);
        if (outcome == STELE_OK) {
            CHECK(n > 5);
            break;
        }
        CHECK_EQ(outcome, STELE_E_NO_MEMORY);
    }
}

TEST(a_fold_of_many_events_allocates_almost_nothing)
{
    make_events();
    struct stele_memory *memory = stele_memory_create();
    struct stele_state *state = NULL;
    CHECK_EQ(stele_state_create(memory, &account_fold, &state, NULL), STELE_OK);
    const size_t before = stele_memory_size(memory);
    for (int i = 0; i < 10; i++) {
        CHECK_EQ(stele_state_apply(state, events, EVENTS, NULL), STELE_OK);
    }
    CHECK_EQ(stele_memory_size(memory), before);
    stele_memory_destroy(memory);
}
