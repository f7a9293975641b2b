/* Folding in effective order is folding the list of what counts, in the order in which it counts.
 *
 * Method: cases by hand with a known order, then random histories of events, corrections and
 * cancellations against an oracle that works on a plain list. */
#include "bank.h"
#include "lib/check.h"
#include "lib/rng.h"

static char texts[64][160];

/* An event of amount n; effective: second of 1970, 0 for none; refers: revision + 1, or 0. */
static struct stele_event deposit(size_t at, unsigned amount, unsigned effective, const char *how,
                                  size_t refers)
{
    static char datas[64][32];
    size_t size = 0;
    char *text = texts[at];
    (void)snprintf(datas[at], sizeof datas[at], "{\"amount\":%u}", amount);
    size += (size_t)snprintf(text, sizeof texts[at], "{\"x\":1");
    if (effective > 0) {
        size += (size_t)snprintf(text + size, sizeof texts[at] - size,
                                 ",\"effective\":\"1970-01-01T00:%02u:%02uZ\"", effective / 60,
                                 effective % 60);
    }
    if (refers > 0) {
        size +=
            (size_t)snprintf(text + size, sizeof texts[at] - size,
                             ",\"%s\":\"%02zx000000-0000-0000-0000-000000000000\"", how, refers);
    }
    (void)snprintf(text + size, sizeof texts[at] - size, "}");
    return event_of("Deposited", datas[at], text, at);
}

static struct account fold(const struct stele_event *events, size_t count, uint64_t known_at,
                           int64_t until_s)
{
    struct stele_memory *memory = stele_memory_create();
    struct stele_state *state = NULL;
    struct stele_error err = {0};
    CHECK_EQ(stele_state_create(memory, &account_fold, &state, NULL), STELE_OK);
    const int outcome =
        stele_state_apply_effective(state, events, count, known_at, until_s * 1000000, &err);
    CHECK_TEXT_EQ(err.message, "");
    CHECK_EQ(outcome, STELE_OK);
    const struct account account = *(const struct account *)stele_state_value(state);
    stele_memory_destroy(memory);
    return account;
}

TEST(a_backdated_event_counts_where_it_belongs)
{
    /* Stored at seconds 1, 2, 3. */
    const struct stele_event events[] = {deposit(0, 1, 0, "", 0), deposit(1, 2, 10, "", 0),
                                         deposit(2, 3, 5, "", 0), deposit(3, 4, 0, "", 0)};
    CHECK_EQ(fold(events, 4, 0, 0).order, 1432);
    CHECK_EQ(fold(events, 4, 0, 5).balance, 1 + 3 + 4);
    CHECK_EQ(fold(events, 4, 0, 1).balance, 1);
    /* As known before the third was stored. */
    CHECK_EQ(fold(events, 4, 1001, 0).order, 12);
}

TEST(a_correction_takes_the_place_of_what_it_corrects)
{
    const struct stele_event events[] = {deposit(0, 1, 0, "", 0), deposit(1, 2, 0, "", 0),
                                         deposit(2, 3, 0, "", 0), deposit(3, 7, 0, "corrects", 2)};
    CHECK_EQ(fold(events, 4, 0, 0).order, 173);
    CHECK_EQ(fold(events, 3, 0, 0).order, 123);
    /* Known then, known now: the same day, two balances. */
    CHECK_EQ(fold(events, 4, 1002, 2).balance, 3);
    CHECK_EQ(fold(events, 4, 0, 2).balance, 8);
}

TEST(corrections_of_corrections_and_cancellations_count)
{
    const struct stele_event events[] = {
        deposit(0, 1, 0, "", 0), deposit(1, 2, 0, "corrects", 1), deposit(2, 3, 9, "corrects", 2),
        deposit(3, 4, 0, "", 0), deposit(4, 9, 0, "cancels", 4),  deposit(5, 5, 0, "corrects", 4),
    };
    CHECK_EQ(fold(events, 3, 0, 0).order, 3);
    CHECK_EQ(fold(events, 4, 0, 0).order, 43);
    CHECK_EQ(fold(events, 5, 0, 0).order, 3);
    CHECK_EQ(fold(events, 6, 0, 0).order, 53);
}

TEST(a_correction_of_what_is_not_there_counts_itself)
{
    const struct stele_event events[] = {deposit(0, 1, 0, "corrects", 60),
                                         deposit(1, 2, 0, "cancels", 61),
                                         deposit(2, 3, 0, "corrects", 3)};
    CHECK_EQ(fold(events, 3, 0, 0).order, 13);
}

TEST(what_cannot_be_read_is_an_error_and_not_passed_over)
{
    static const char *const wrong[] = {"{\"effective\":\"yesterday\"}", "{\"corrects\":\"me\"}",
                                        "{\"cancels\":\"\"}"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        struct stele_memory *memory = stele_memory_create();
        struct stele_state *state = NULL;
        struct stele_error err = {0};
        const struct stele_event event = event_of("Deposited", "{}", wrong[i], 0);
        CHECK_EQ(stele_state_create(memory, &account_fold, &state, NULL), STELE_OK);
        CHECK_EQ(stele_state_apply_effective(state, &event, 1, 0, 0, &err), STELE_E_INVALID);
        CHECK_TEXT_HAS(err.message, "revision 0 of account-1");
        CHECK(stele_state_value(state) == NULL);
        stele_memory_destroy(memory);
    }
}

/* ---- Random histories --------------------------------------------------------------------- */

struct counted {
    unsigned amount, effective, order;
    int gone;
};

TEST(random_histories_are_folded_as_a_plain_list_would_be)
{
    struct rng rng;
    rng_init(&rng, 20260314, 0);
    for (int round = 0; round < 2000; round++) {
        struct stele_event events[20];
        struct counted list[20];
        size_t slot_of[20];
        const size_t count = 1 + rng_below(&rng, 20);
        size_t slots = 0;
        for (size_t i = 0; i < count; i++) {
            const unsigned amount = (unsigned)rng_below(&rng, 10);
            const unsigned effective =
                rng_below(&rng, 2) == 0 ? 0 : 1 + (unsigned)rng_below(&rng, 30);
            const size_t target = rng_below(&rng, 3) == 0 ? rng_below(&rng, i + 1) : i;
            const int cancels = rng_below(&rng, 4) == 0;
            events[i] = deposit(i, amount, effective, cancels ? "cancels" : "corrects",
                                target < i ? target + 1 : 0);
            slot_of[i] = SIZE_MAX;
            if (target < i && slot_of[target] != SIZE_MAX) {
                struct counted *counted = &list[slot_of[i] = slot_of[target]];
                counted->gone = cancels;
                counted->amount = amount;
                counted->effective = effective > 0 && !cancels ? effective : counted->effective;
            } else if (target >= i || !cancels) {
                slot_of[i] = slots;
                list[slots++] = (struct counted){
                    amount, effective > 0 ? effective : (unsigned)i + 1, (unsigned)i, 0};
            }
        }
        struct account want = {0};
        for (unsigned second = 0; second < 40; second++) {
            for (size_t i = 0; i < slots; i++) {
                if (list[i].effective == second && !list[i].gone) {
                    want.balance += list[i].amount;
                    want.events++;
                    want.order = (int64_t)((uint64_t)want.order * 10 + list[i].amount);
                }
            }
        }
        const struct account got = fold(events, count, 0, 0);
        CHECK_EQ(got.balance, want.balance);
        CHECK_EQ(got.events, want.events);
    }
}
