/* Commands that are submitted end once each, as executed ones do, and never from inside of the call.
 *
 * Method: hundreds of them under way on few accounts, by two runners that know nothing of each other and
 * beside threads that execute, so that states are busy, stale and fought for; then the sums are held
 * against what the callbacks were told. Run embedded and against a server. */
#include "deciders.h"
#include "lib/rng.h"

#include <pthread.h>
#include <stdatomic.h>

static const struct stele_runner_options defaults = STELE_RUNNER_OPTIONS_INIT;

struct one {
    struct order order;
    char stream[20];
    char to[20];
    struct stele_command command;
    _Atomic int called;
    int outcome;
    size_t events;
    uint32_t attempts;
    char words[80];
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static size_t ended;
static _Thread_local bool inside; /* Of stele_runner_submit(). */

static void on_end(void *context, int outcome, const struct stele_command_result *result,
                   const struct stele_error *words)
{
    struct one *one = context;
    CHECK(!inside);
    CHECK_EQ(atomic_fetch_add(&one->called, 1), 0);
    one->outcome = outcome;
    one->events = result->events;
    one->attempts = result->attempts;
    if (outcome != STELE_OK) {
        (void)snprintf(one->words, sizeof one->words, "%.79s", words->message);
    }
    CHECK_EQ(pthread_mutex_lock(&lock), 0);
    ended++;
    CHECK_EQ(pthread_cond_broadcast(&changed), 0);
    CHECK_EQ(pthread_mutex_unlock(&lock), 0);
}

static void wait_for(size_t count)
{
    CHECK_EQ(pthread_mutex_lock(&lock), 0);
    while (ended < count) {
        CHECK_EQ(pthread_cond_wait(&changed, &lock), 0);
    }
    ended -= count;
    CHECK_EQ(pthread_mutex_unlock(&lock), 0);
}

static void submit(struct stele_runner *runner, struct one *one, const char *type,
                   const struct stele_origin *origin)
{
    one->command.struct_size = sizeof one->command;
    one->command.type = type;
    one->command.stream = one->stream;
    one->command.data = &one->order;
    inside = true;
    const int outcome =
        stele_runner_submit(runner, &bank, &one->command, origin, on_end, one, &err);
    inside = false;
    CHECK_OK(outcome, err);
}

static struct one single(const char *stream, int64_t amount)
{
    struct one one = {.order = {.amount = amount}};
    (void)snprintf(one.stream, sizeof one.stream, "%s", stream);
    return one;
}

TEST(a_submitted_command_ends_as_an_executed_one_does)
{
    fixture_begin();
    struct stele_runner *runner = bank_runner(defaults);
    for (int round = 0; round < 3; round++) {
        struct one deposit = single("account-1", 10);
        submit(runner, &deposit, "Deposit", NULL);
        wait_for(1);
        CHECK_EQ(deposit.outcome, STELE_OK);
        CHECK_EQ(deposit.events, 1);
        CHECK_EQ(deposit.attempts, 1);
        struct one nothing = single("account-1", 0);
        submit(runner, &nothing, "Withdraw", NULL);
        wait_for(1);
        CHECK_EQ(nothing.outcome, STELE_OK);
        CHECK_EQ(nothing.events, 0);
        struct one refused = single("account-1", 1000);
        submit(runner, &refused, "Withdraw", NULL);
        wait_for(1);
        CHECK_EQ(refused.outcome, STELE_REJECTED);
        char want[60];
        (void)snprintf(want, sizeof want, "account-1 has %d, not 1000", 10 * (round + 1));
        CHECK_TEXT_EQ(refused.words, want);
    }
    struct stele_runner_stats stats;
    stele_runner_stats(runner, &stats);
    CHECK_EQ(stats.commands, 9);
    CHECK_EQ(stats.commands_ok, 6);
    CHECK_EQ(stats.commands_rejected, 3);
    CHECK_EQ(stats.events_appended, 3);
    stele_runner_destroy(runner);
    fixture_end();
}

TEST(a_submitted_command_that_may_have_been_done_is_done_once)
{
    fixture_begin();
    struct stele_runner *runner = bank_runner(defaults);
    const struct stele_origin origin = {.struct_size = sizeof origin, .again = 1};
    for (int round = 0; round < 3; round++) {
        struct one deposit = single("account-1", 10);
        fixture_id(7, deposit.command.id);
        submit(runner, &deposit, "Deposit", &origin);
        wait_for(1);
        CHECK_EQ(deposit.outcome, STELE_OK);
    }
    CHECK_EQ(bank_read("account-1").balance, 10);
    stele_runner_destroy(runner);
    fixture_end();
}

TEST(what_cannot_be_submitted_is_refused_in_words_and_calls_nobody)
{
    fixture_begin();
    struct stele_runner *runner = bank_runner(defaults);
    struct one one = single("account-1", 10);
    one.command = (struct stele_command){.struct_size = 1};
    CHECK_OUTCOME(stele_runner_submit(runner, &bank, &one.command, NULL, on_end, &one, &err),
                  STELE_E_INVALID, err);
    CHECK_TEXT_EQ(err.message, "a command needs its struct_size");
    CHECK_OUTCOME(stele_runner_submit(runner, &bank, &one.command, NULL, NULL, &one, &err),
                  STELE_E_INVALID, err);
    stele_runner_destroy(runner);
    CHECK_EQ(atomic_load(&one.called), 0);
    fixture_end();
}

/* ---- Many --------------------------------------------------------------------------------- */

#define MANY 600
#define ACCOUNTS 4
#define THREADS 3

static struct one many[MANY];
static struct stele_runner *runners[2];
static _Atomic int64_t deposited;

static void *execute_some(void *context)
{
    struct rng rng;
    struct stele_error mine;
    rng_init(&rng, 41, (size_t)context);
    for (int i = 0; i < 40; i++) {
        char stream[20];
        (void)snprintf(stream, sizeof stream, "account-%u", (unsigned)rng_below(&rng, ACCOUNTS));
        const int64_t amount = (int64_t)rng_below(&rng, 9);
        CHECK_OK(bank_execute(runners[rng_below(&rng, 2)], "Deposit", stream,
                              (struct order){.amount = amount}, NULL, &mine),
                 mine);
        atomic_fetch_add(&deposited, amount);
    }
    return NULL;
}

TEST(of_many_that_are_under_way_each_ends_once_and_no_money_is_lost)
{
    struct rng rng;
    pthread_t threads[THREADS];
    rng_init(&rng, 43, 0);
    fixture_begin();
    struct stele_runner_options options = defaults;
    options.states_max = 3; /* Of one shard: states come and go. */
    runners[0] = bank_runner(defaults);
    runners[1] = bank_runner(options);
    memset(many, 0, sizeof many);
    for (size_t i = 0; i < THREADS; i++) {
        CHECK_EQ(pthread_create(&threads[i], NULL, execute_some, (void *)i), 0);
    }
    for (size_t i = 0; i < MANY; i++) {
        struct one *one = &many[i];
        (void)snprintf(one->stream, sizeof one->stream, "account-%u",
                       (unsigned)rng_below(&rng, ACCOUNTS));
        (void)snprintf(one->to, sizeof one->to, "account-%u", (unsigned)rng_below(&rng, ACCOUNTS));
        one->order.amount = (int64_t)rng_below(&rng, 20);
        const bool transfers = i % 3 != 0;
        one->order.to = transfers ? one->to : NULL;
        submit(runners[i % 2], one, transfers ? "Transfer" : "Deposit", NULL);
    }
    for (size_t i = 0; i < THREADS; i++) {
        CHECK_EQ(pthread_join(threads[i], NULL), 0);
    }
    /* Destroying waits for them. */
    stele_runner_destroy(runners[0]);
    stele_runner_destroy(runners[1]);
    wait_for(MANY);
    int64_t want = atomic_load(&deposited);
    for (size_t i = 0; i < MANY; i++) {
        CHECK_EQ(atomic_load(&many[i].called), 1);
        CHECK(many[i].outcome == STELE_OK || (many[i].outcome == STELE_REJECTED && i % 3 != 0));
        want += i % 3 == 0 ? many[i].order.amount : 0;
    }
    int64_t sum = 0;
    for (unsigned i = 0; i < ACCOUNTS; i++) {
        char stream[20];
        (void)snprintf(stream, sizeof stream, "account-%u", i);
        const struct account account = bank_read(stream);
        CHECK(account.balance >= 0);
        sum += account.balance;
    }
    CHECK_EQ(sum, want);
    fixture_end();
}

/* ---- Chains ------------------------------------------------------------------------------- */

#define CHAINS 16
#define LENGTH 40

struct chain {
    struct one one;
    struct stele_runner *runner;
    unsigned left;
};

static void go_on(void *context, int outcome, const struct stele_command_result *result,
                  const struct stele_error *words)
{
    (void)result;
    struct chain *chain = context;
    CHECK_OK(outcome, *words);
    if (--chain->left > 0) {
        struct stele_error mine;
        CHECK_OK(stele_runner_submit(chain->runner, &bank, &chain->one.command, NULL, go_on, chain,
                                     &mine),
                 mine);
        return;
    }
    CHECK_EQ(pthread_mutex_lock(&lock), 0);
    ended++;
    CHECK_EQ(pthread_cond_broadcast(&changed), 0);
    CHECK_EQ(pthread_mutex_unlock(&lock), 0);
}

TEST(a_callback_submits_the_next_command)
{
    static struct chain chains[CHAINS];
    fixture_begin();
    struct stele_runner *runner = bank_runner(defaults);
    for (unsigned i = 0; i < CHAINS; i++) {
        struct chain *chain = &chains[i];
        *chain = (struct chain){.runner = runner, .left = LENGTH, .one = {.order = {.amount = 1}}};
        /* Half of them on streams of their own, half on one stream. */
        (void)snprintf(chain->one.stream, sizeof chain->one.stream, "account-%u", i % 2 * i);
        chain->one.command = (struct stele_command){.struct_size = sizeof chain->one.command,
                                                    .type = "Deposit",
                                                    .stream = chain->one.stream,
                                                    .data = &chain->one.order};
        CHECK_OK(stele_runner_submit(runner, &bank, &chain->one.command, NULL, go_on, chain, &err),
                 err);
    }
    wait_for(CHAINS);
    stele_runner_destroy(runner);
    CHECK_EQ(bank_read("account-0").balance, CHAINS / 2 * LENGTH);
    CHECK_EQ(bank_read("account-1").balance, LENGTH);
    fixture_end();
}
