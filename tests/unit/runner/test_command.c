/* A command is done once, on what was true when it was done, or not at all.
 *
 * Method: single cases; random commands against plain arithmetic, by two runners that know nothing of
 * each other; many threads on one stream and on few accounts. Run embedded and against a server. */
#include "deciders.h"
#include "lib/rng.h"

#include <pthread.h>
#include <stdatomic.h>

static const struct stele_runner_options defaults = STELE_RUNNER_OPTIONS_INIT;

static void metadata_of(const char *stream, uint64_t revision, char *out, size_t size)
{
    struct stele_read_options options = STELE_READ_OPTIONS_INIT;
    struct stele_iterator *iterator = NULL;
    const struct stele_event *events = NULL;
    size_t count = 0;
    options.from = revision;
    options.limit = 1;
    CHECK_OK(stele_read_stream(store, stream, &options, &iterator, &err), err);
    CHECK_OK(stele_iterator_next(iterator, &events, &count, &err), err);
    (void)snprintf(out, size, "%.*s", (int)events[0].metadata_size,
                   (const char *)events[0].metadata);
    stele_iterator_destroy(iterator);
}

TEST(a_command_appends_what_was_decided)
{
    fixture_begin();
    struct stele_runner *runner = bank_runner(defaults);
    struct stele_command_result result;
    CHECK_OK(
        bank_execute(runner, "Deposit", "account-1", (struct order){.amount = 10}, &result, &err),
        err);
    CHECK_EQ(result.events, 1);
    CHECK_EQ(result.attempts, 1);
    CHECK_EQ(result.append.revision_last, 0);
    CHECK_OK(
        bank_execute(runner, "Withdraw", "account-1", (struct order){.amount = 4}, &result, &err),
        err);
    CHECK_EQ(result.append.revision_last, 1);
    CHECK_EQ(bank_read("account-1").balance, 6);
    CHECK_OUTCOME(
        bank_execute(runner, "Withdraw", "account-1", (struct order){.amount = 7}, &result, &err),
        STELE_REJECTED, err);
    CHECK_TEXT_EQ(err.message, "account-1 has 6, not 7");
    CHECK_OK(
        bank_execute(runner, "Withdraw", "account-1", (struct order){.amount = 0}, &result, &err),
        err);
    CHECK_EQ(result.events, 0);
    CHECK_OK(bank_execute(runner, "Transfer", "account-1",
                          (struct order){.amount = 6, .to = "account-2"}, &result, &err),
             err);
    CHECK_EQ(result.events, 2);
    CHECK_EQ(bank_read("account-1").balance, 0);
    CHECK_EQ(bank_read("account-2").balance, 6);
    struct stele_runner_stats stats;
    stele_runner_stats(runner, &stats);
    CHECK_EQ(stats.commands, 5);
    CHECK_EQ(stats.commands_ok, 4);
    CHECK_EQ(stats.commands_rejected, 1);
    CHECK_EQ(stats.events_appended, 4);
    stele_runner_destroy(runner);
    fixture_end();
}

/* ---- Against plain arithmetic ---- */

#define ACCOUNTS 5

TEST(random_commands_do_what_plain_arithmetic_does)
{
    struct rng rng;
    int64_t balances[ACCOUNTS] = {0};
    rng_init(&rng, 5, 0);
    fixture_begin();
    struct stele_runner_options options = defaults;
    options.snapshot_events = 7;
    options.states_max = 2; /* States come and go. */
    struct stele_runner *runners[] = {bank_runner(options), bank_runner(defaults)};
    for (int i = 0; i < 600; i++) {
        char from[20];
        char to[20];
        const size_t a = rng_below(&rng, ACCOUNTS);
        const size_t b = rng_below(&rng, ACCOUNTS);
        const int64_t amount = (int64_t)rng_below(&rng, 20);
        struct stele_runner *runner = runners[rng_below(&rng, 2)];
        (void)snprintf(from, sizeof from, "account-%zu", a);
        (void)snprintf(to, sizeof to, "account-%zu", b);
        int outcome;
        int want = STELE_OK;
        switch (rng_below(&rng, 8)) {
        case 0:
            /* A stream that was deleted begins again from nothing. */
            if (rng_below(&rng, 4) == 0) {
                (void)stele_delete(store, from, STELE_EXPECT_ANY, NULL, NULL);
                balances[a] = 0;
                continue;
            }
            __attribute__((fallthrough));
        case 1:
        case 2: {
            const struct order order = {.amount = amount, .events = (unsigned)rng_below(&rng, 4)};
            outcome = bank_execute(runner, "Deposit", from, order, NULL, &err);
            balances[a] += amount;
            break;
        }
        case 3:
        case 4:
            outcome = bank_execute(runner, "Withdraw", from, (struct order){.amount = amount}, NULL,
                                   &err);
            want = balances[a] < amount ? STELE_REJECTED : STELE_OK;
            balances[a] -= want == STELE_OK ? amount : 0;
            break;
        default:
            outcome = bank_execute(runner, "Transfer", from,
                                   (struct order){.amount = amount, .to = to}, NULL, &err);
            want = balances[a] < amount ? STELE_REJECTED : STELE_OK;
            balances[a] -= want == STELE_OK ? amount : 0;
            balances[b] += want == STELE_OK ? amount : 0;
            break;
        }
        CHECK_OUTCOME(outcome, want, err);
        CHECK_EQ(bank_read(from).balance, balances[a]);
        CHECK_EQ(bank_read(to).balance, balances[b]);
    }
    stele_runner_destroy(runners[0]);
    stele_runner_destroy(runners[1]);
    fixture_end();
}

/* ---- Threads ---- */

#define THREADS 8

static struct stele_runner *thread_runners[2];
static _Atomic uint64_t done_events;
static _Atomic int64_t done_amount;

static void *deposit_many(void *context)
{
    const size_t number = (size_t)context;
    struct stele_error mine;
    for (unsigned i = 0; i < 60; i++) {
        struct stele_command_result result;
        const int outcome =
            bank_execute(thread_runners[number % 2], "Deposit", "account-hot",
                         (struct order){.amount = i, .events = 1 + i % 3}, &result, &mine);
        CHECK_OK(outcome, mine);
        atomic_fetch_add(&done_events, result.events);
        atomic_fetch_add(&done_amount, i);
    }
    return NULL;
}

static void *transfer_many(void *context)
{
    const size_t number = (size_t)context;
    struct rng rng;
    struct stele_error mine;
    rng_init(&rng, 77, number);
    for (unsigned i = 0; i < 60; i++) {
        char from[20];
        char to[20];
        (void)snprintf(from, sizeof from, "account-%u", (unsigned)rng_below(&rng, 4));
        (void)snprintf(to, sizeof to, "account-%u", (unsigned)rng_below(&rng, 4));
        const int outcome = bank_execute(
            thread_runners[number % 2], "Transfer", from,
            (struct order){.amount = (int64_t)rng_below(&rng, 50), .to = to}, NULL, &mine);
        if (outcome != STELE_REJECTED) {
            CHECK_OK(outcome, mine);
        }
    }
    return NULL;
}

static void run_threads(void *(*work)(void *))
{
    pthread_t threads[THREADS];
    thread_runners[0] = bank_runner(defaults);
    thread_runners[1] = bank_runner(defaults);
    for (size_t i = 0; i < THREADS; i++) {
        CHECK_EQ(pthread_create(&threads[i], NULL, work, (void *)i), 0);
    }
    for (size_t i = 0; i < THREADS; i++) {
        CHECK_EQ(pthread_join(threads[i], NULL), 0);
    }
    stele_runner_destroy(thread_runners[0]);
    stele_runner_destroy(thread_runners[1]);
}

TEST(of_many_threads_on_one_stream_none_is_lost_and_none_counts_twice)
{
    fixture_begin();
    run_threads(deposit_many);
    const struct account account = bank_read("account-hot");
    CHECK_EQ(account.events, atomic_load(&done_events));
    CHECK_EQ(account.balance, atomic_load(&done_amount));
    fixture_end();
}

TEST(transfers_between_few_accounts_lose_no_money_and_overdraw_none)
{
    fixture_begin();
    struct stele_runner *runner = bank_runner(defaults);
    for (unsigned i = 0; i < 4; i++) {
        char stream[20];
        (void)snprintf(stream, sizeof stream, "account-%u", i);
        CHECK_OK(bank_execute(runner, "Deposit", stream, (struct order){.amount = 100}, NULL, &err),
                 err);
    }
    stele_runner_destroy(runner);
    run_threads(transfer_many);
    int64_t sum = 0;
    for (unsigned i = 0; i < 4; i++) {
        char stream[20];
        (void)snprintf(stream, sizeof stream, "account-%u", i);
        const struct account account = bank_read(stream);
        CHECK(account.balance >= 0);
        sum += account.balance;
    }
    CHECK_EQ(sum, 400);
    fixture_end();
}

/* ---- Queries ---- */

struct taken {
    int64_t taken;
};

static int taken_evolve(void *context, void *state, const struct stele_event *event,
                        const void *fact, struct stele_memory *memory)
{
    (void)context, (void)fact, (void)memory;
    ((struct taken *)state)->taken = text_is(event->type, "UserRegistered");
    return STELE_OK;
}

static const struct stele_fold taken_fold = {.struct_size = sizeof(struct stele_fold),
                                             .name = "taken",
                                             .state_size = sizeof(struct taken),
                                             .evolve = taken_evolve};

static int register_decide(void *context, const struct stele_command *command,
                           struct stele_decision *decision)
{
    (void)context;
    const char *const tags[] = {command->data};
    const char *const types[] = {"UserRegistered", "UserLeft"};
    /* Two items that overlap: each event counts once all the same. */
    const struct stele_query_item items[] = {
        {.types = types, .types_count = 2, .tags = tags, .tags_count = 1},
        {.types = types + 1, .types_count = 1, .tags = tags, .tags_count = 1}};
    const struct taken *taken = stele_decision_query(decision, items, 2, &taken_fold);
    if (taken == NULL) {
        return STELE_INCOMPLETE;
    }
    const bool leaves = strcmp(command->type, "Leave") == 0;
    if (taken->taken != 0 && !leaves) {
        return stele_decision_reject(decision, "%s is taken", (const char *)command->data);
    }
    const struct stele_event_draft draft = {.type = leaves ? "UserLeft" : "UserRegistered",
                                            .data = "{}",
                                            .data_size = 2,
                                            .tags = tags,
                                            .tags_count = 1};
    return stele_decision_emit(decision, command->stream, &draft);
}

static const struct stele_decider registering = {
    .struct_size = sizeof(struct stele_decider), .name = "register", .decide = register_decide};

static _Atomic uint32_t registered;

static void *register_one(void *context)
{
    const size_t number = (size_t)context;
    for (unsigned i = 0; i < 10; i++) {
        char stream[30];
        char address[30];
        struct stele_error mine;
        (void)snprintf(stream, sizeof stream, "user-%zu-%u", number, i);
        (void)snprintf(address, sizeof address, "email:%u@example.org", i);
        const struct stele_command command = {
            .struct_size = sizeof command, .type = "Register", .stream = stream, .data = address};
        const int outcome = stele_runner_execute(thread_runners[number % 2], &registering, &command,
                                                 NULL, NULL, &mine);
        if (outcome != STELE_REJECTED) {
            CHECK_OK(outcome, mine);
            atomic_fetch_add(&registered, 1);
        }
    }
    return NULL;
}

TEST(of_all_who_want_an_address_one_gets_it)
{
    fixture_begin();
    run_threads(register_one);
    CHECK_EQ(atomic_load(&registered), 10);
    const struct stele_read_options options = STELE_READ_OPTIONS_INIT;
    CHECK_EQ(fixture_count("$et-UserRegistered", options), 10);
    /* And it is free again when its owner has left. */
    struct stele_runner *runner = bank_runner(defaults);
    struct stele_command command = {.struct_size = sizeof command,
                                    .type = "Leave",
                                    .stream = "user-x",
                                    .data = "email:1@example.org"};
    CHECK_OK(stele_runner_execute(runner, &registering, &command, NULL, NULL, &err), err);
    command.type = "Register";
    CHECK_OK(stele_runner_execute(runner, &registering, &command, NULL, NULL, &err), err);
    CHECK_OUTCOME(stele_runner_execute(runner, &registering, &command, NULL, NULL, &err),
                  STELE_REJECTED, err);
    stele_runner_destroy(runner);
    fixture_end();
}

/* ---- Streams that are found while deciding ---- */

static int chain_decide(void *context, const struct stele_command *command,
                        struct stele_decision *decision)
{
    (*(uint32_t *)context)++;
    /* The balance of one account names the next one, until it is 0. */
    int64_t number = 1;
    int64_t sum = 0;
    while (number != 0) {
        char stream[20];
        (void)snprintf(stream, sizeof stream, "account-%d", (int)number);
        const struct account *account = stele_decision_state(decision, stream, &account_fold);
        if (account == NULL) {
            return STELE_INCOMPLETE;
        }
        sum += number;
        number = account->balance;
    }
    return bank_emit(decision, command->stream, "Summed", sum);
}

TEST(streams_are_found_while_deciding_and_all_of_them_are_checked)
{
    fixture_begin();
    uint32_t calls = 0;
    const struct stele_decider chain = {
        .struct_size = sizeof chain, .name = "chain", .context = &calls, .decide = chain_decide};
    struct stele_runner *runner = bank_runner(defaults);
    CHECK_OK(bank_execute(runner, "Deposit", "account-1", (struct order){.amount = 7}, NULL, &err),
             err);
    CHECK_OK(bank_execute(runner, "Deposit", "account-7", (struct order){.amount = 3}, NULL, &err),
             err);
    const struct stele_command command = {
        .struct_size = sizeof command, .type = "Sum", .stream = "sum-1"};
    struct stele_runner_stats before;
    struct stele_runner_stats after;
    stele_runner_stats(runner, &before);
    CHECK_OK(stele_runner_execute(runner, &chain, &command, NULL, NULL, &err), err);
    stele_runner_stats(runner, &after);
    CHECK_EQ(bank_read("sum-1").balance, 1 + 7 + 3);
    CHECK_EQ(calls, 4);
    /* Each stream was read once: of account-1 and -7 only what is new since their deposits. */
    CHECK_EQ(after.events_folded - before.events_folded, 2);
    stele_runner_destroy(runner);
    fixture_end();
}

static int meddling_decide(void *context, const struct stele_command *command,
                           struct stele_decision *decision)
{
    uint32_t *meddle = context;
    const struct account *read = stele_decision_state(decision, "account-read", &account_fold);
    if (read == NULL) {
        return STELE_INCOMPLETE;
    }
    if (*meddle > 0) {
        static uint64_t number = 1000;
        --*meddle;
        CHECK_EQ(fixture_append("account-read", STELE_EXPECT_ANY, number++, "{\"amount\":1}", NULL),
                 STELE_OK);
    }
    return bank_emit(decision, command->stream, "Copied", read->balance);
}

TEST(a_stream_that_was_only_read_must_not_have_changed_either)
{
    fixture_begin();
    uint32_t meddle = 5;
    const struct stele_decider meddling = {.struct_size = sizeof meddling,
                                           .name = "meddling",
                                           .context = &meddle,
                                           .decide = meddling_decide};
    const struct stele_command command = {
        .struct_size = sizeof command, .type = "Copy", .stream = "copy-1"};
    struct stele_runner_options options = defaults;
    struct stele_command_result result;
    struct stele_runner *runner = bank_runner(options);
    CHECK_OK(stele_runner_execute(runner, &meddling, &command, NULL, &result, &err), err);
    CHECK_EQ(result.attempts, 6);
    CHECK_EQ(bank_read("copy-1").balance, 5);
    CHECK_EQ(bank_read("copy-1").events, 1);
    stele_runner_destroy(runner);
    /* There is a bound. */
    meddle = 3;
    options.attempts_max = 3;
    runner = bank_runner(options);
    CHECK_OUTCOME(stele_runner_execute(runner, &meddling, &command, NULL, &result, &err),
                  STELE_WRONG_REVISION, err);
    CHECK_TEXT_HAS(err.message, "3 times in a row");
    CHECK_EQ(bank_read("copy-1").events, 1);
    stele_runner_destroy(runner);
    fixture_end();
}

TEST(a_stream_whose_events_are_all_hidden_can_be_written)
{
    fixture_begin();
    struct stele_runner *runner = bank_runner(defaults);
    CHECK_OK(bank_execute(runner, "Deposit", "account-1", (struct order){.amount = 7, .events = 3},
                          NULL, &err),
             err);
    CHECK_OK(stele_set_metadata(store, "account-1", STELE_EXPECT_ANY, "{\"$tb\":3}", 9, NULL, &err),
             err);
    struct stele_runner *other = bank_runner(defaults);
    CHECK_OUTCOME(
        bank_execute(other, "Withdraw", "account-1", (struct order){.amount = 7}, NULL, &err),
        STELE_REJECTED, err);
    CHECK_OK(bank_execute(other, "Deposit", "account-1", (struct order){.amount = 1}, NULL, &err),
             err);
    CHECK_EQ(bank_read("account-1").balance, 1);
    CHECK_OK(bank_execute(other, "Withdraw", "account-1", (struct order){.amount = 1}, NULL, &err),
             err);
    stele_runner_destroy(other);
    stele_runner_destroy(runner);
    fixture_end();
}

/* An event that was imported may be older than the one before it, and so be hidden by $maxAge although the
 * one before it is not. */
TEST(a_stream_whose_last_event_alone_is_hidden_can_be_written)
{
    fixture_begin();
    struct stele_runner *runner = bank_runner(defaults);
    struct stele_command_result result;
    CHECK_OK(bank_execute(runner, "Deposit", "account-1", (struct order){.amount = 7}, NULL, &err),
             err);
    CHECK_OK(stele_set_metadata(store, "account-1", STELE_EXPECT_ANY, "{\"$maxAge\":900000}", 18,
                                NULL, &err),
             err);
    for (unsigned round = 0; round < 3; round++) {
        const struct stele_event_draft old = {.type = "Deposited",
                                              .data = "{\"amount\":100}",
                                              .data_size = 14,
                                              .created_us = 1000000};
        CHECK_OK(stele_append(store, "account-1", STELE_EXPECT_ANY, &old, 1, NULL, &err), err);
        CHECK_EQ(bank_read("account-1").balance, 7 - 2 * (int64_t)round);
        /* One that has the state, and one that begins. */
        struct stele_runner *other = bank_runner(defaults);
        CHECK_OUTCOME(
            bank_execute(other, "Withdraw", "account-1", (struct order){.amount = 8}, NULL, &err),
            STELE_REJECTED, err);
        CHECK_OK(bank_execute(runner, "Withdraw", "account-1", (struct order){.amount = 1}, &result,
                              &err),
                 err);
        CHECK_EQ(result.attempts, 2);
        CHECK_OK(stele_append(store, "account-1", STELE_EXPECT_ANY, &old, 1, NULL, &err), err);
        CHECK_OK(bank_execute(other, "Withdraw", "account-1", (struct order){.amount = 1}, &result,
                              &err),
                 err);
        CHECK_EQ(result.attempts, 2);
        stele_runner_destroy(other);
    }
    CHECK_EQ(bank_read("account-1").balance, 1);
    stele_runner_destroy(runner);
    fixture_end();
}

/* ---- Origins ---- */

TEST(events_carry_where_they_come_from)
{
    fixture_begin();
    char text[1000];
    struct stele_runner *runner = bank_runner(defaults);
    const struct order order = {.amount = 1};
    struct stele_command command = {.struct_size = sizeof command,
                                    .type = "Deposit",
                                    .stream = "account-1",
                                    .data = &order,
                                    .id = {0xab}};
    struct stele_origin origin = {.struct_size = sizeof origin,
                                  .correlation_id = "conversation \"1\"",
                                  .traceparent =
                                      "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
                                  .tracestate = "a=b",
                                  .metadata = "{\"user\":\"ann\",\"$causationId\":\"not this\"}"};
    CHECK_OK(stele_runner_execute(runner, &bank, &command, &origin, NULL, &err), err);
    metadata_of("account-1", 0, text, sizeof text);
    CHECK_TEXT_HAS(text, "\"$correlationId\":\"conversation \\\"1\\\"\"");
    CHECK_TEXT_HAS(text, "\"$causationId\":\"ab000000-0000-0000-0000-000000000000\"");
    CHECK_TEXT_HAS(text, "\"traceparent\":\"00-0af7651916cd43dd8448eb211c80319c-");
    CHECK(strstr(text, "b7ad6b7169203331") == NULL);
    CHECK_TEXT_HAS(text, "\"tracestate\":\"a=b\"");
    CHECK_TEXT_HAS(text, "\"user\":\"ann\"");
    /* A reaction goes on with what its event says. */
    struct stele_memory *memory = stele_memory_create();
    const struct stele_event event = {
        .id = {0xcd}, .metadata = text, .metadata_size = strlen(text)};
    CHECK_EQ(stele_origin_of_event(&event, memory, &origin), STELE_OK);
    CHECK_TEXT_EQ(origin.correlation_id, "conversation \"1\"");
    CHECK_TEXT_EQ(origin.causation_id, "cd000000-0000-0000-0000-000000000000");
    CHECK_TEXT_HAS(origin.traceparent, "00-0af7651916cd43dd8448eb211c80319c-");
    stele_memory_destroy(memory);
    /* A malformed trace is passed over, malformed metadata are not. */
    static const char *const wrong[] = {
        "", "00-0AF7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        "00-00000000000000000000000000000000-b7ad6b7169203331-01",
        "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-x"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        origin = (struct stele_origin){.struct_size = sizeof origin, .traceparent = wrong[i]};
        stele_new_id(command.id);
        CHECK_OK(stele_runner_execute(runner, &bank, &command, &origin, NULL, &err), err);
        metadata_of("account-1", i + 1, text, sizeof text);
        CHECK(strstr(text, "traceparent") == NULL);
    }
    origin = (struct stele_origin){.struct_size = sizeof origin, .metadata = "[1]"};
    stele_new_id(command.id);
    CHECK_OUTCOME(stele_runner_execute(runner, &bank, &command, &origin, NULL, &err),
                  STELE_E_INVALID, err);
    stele_runner_destroy(runner);
    fixture_end();
}

TEST(a_command_that_may_have_been_done_is_done_once)
{
    fixture_begin();
    struct stele_runner *runner = bank_runner(defaults);
    const struct order order = {.amount = 3, .events = 3};
    const struct stele_command command = {.struct_size = sizeof command,
                                          .type = "Deposit",
                                          .stream = "account-1",
                                          .data = &order,
                                          .id = {7}};
    const struct stele_origin origin = {.struct_size = sizeof origin, .again = 1};
    struct stele_command_result result;
    /* Not done before: done now. Then: known. */
    CHECK_OK(stele_runner_execute(runner, &bank, &command, &origin, &result, &err), err);
    CHECK_EQ(result.repeated, 0);
    CHECK_EQ(result.events, 3);
    CHECK_OK(bank_execute(runner, "Deposit", "account-1", (struct order){.amount = 1}, NULL, &err),
             err);
    CHECK_OK(stele_runner_execute(runner, &bank, &command, &origin, &result, &err), err);
    CHECK_EQ(result.repeated, 1);
    CHECK_EQ(result.events, 0);
    CHECK_EQ(bank_read("account-1").balance, 4);
    CHECK_EQ(bank_read("account-1").events, 4);
    stele_runner_destroy(runner);
    fixture_end();
}

/* ---- Figures ---- */

static uint32_t spans;

static void on_command(void *context, const struct stele_command_span *span)
{
    CHECK_TEXT_EQ(context, "mine");
    CHECK_TEXT_EQ(span->decider, "bank");
    CHECK_EQ(span->outcome, spans == 0 ? STELE_OK : STELE_REJECTED);
    CHECK_TEXT_EQ(span->message, spans == 0 ? "" : "account-1 has 1, not 7");
    CHECK_TEXT_EQ(span->stream, "account-1");
    spans++;
}

TEST(commands_are_counted_and_told_of)
{
    static char context[] = "mine";
    char text[40000];
    size_t size = 0;
    fixture_begin();
    struct stele_runner_options options = defaults;
    options.on_command = on_command;
    options.context = context;
    struct stele_runner *runner = bank_runner(options);
    CHECK_OK(bank_execute(runner, "Deposit", "account-1", (struct order){.amount = 1}, NULL, &err),
             err);
    CHECK_OUTCOME(
        bank_execute(runner, "Withdraw", "account-1", (struct order){.amount = 7}, NULL, &err),
        STELE_REJECTED, err);
    CHECK_EQ(spans, 2);
    CHECK_EQ(stele_runner_metrics(runner, text, sizeof text - 1, &size), STELE_OK);
    CHECK(size < sizeof text);
    text[size] = '\0';
    CHECK_TEXT_HAS(text, "eventcore_commands_total{command_type=\"Deposit\"} 1\n");
    CHECK_TEXT_HAS(text, "eventcore_command_errors_total{command_type=\"Withdraw\"} 1\n");
    CHECK_TEXT_HAS(text, "eventcore_command_errors_total{command_type=\"Deposit\"} 0\n");
    CHECK_TEXT_HAS(text, "eventcore_command_duration_seconds_count{command_type=\"Deposit\"} 1\n");
    CHECK_TEXT_HAS(text, "eventcore_events_published_total{event_type=\"Deposited\"} 1\n");
    CHECK_TEXT_HAS(text, "eventstore_append_duration_bucket{stream=\"account\",success=\"true\","
                         "le=\"+Inf\"} 1\n");
    CHECK_TEXT_HAS(text, "eventstore_append_success_total{stream=\"account\"} 1\n");
    size_t again = 0;
    CHECK_EQ(stele_runner_metrics(runner, text, 10, &again), STELE_OK);
    CHECK_EQ(again, size);
    stele_runner_destroy(runner);
    fixture_end();
}

TEST(options_that_make_no_sense_are_refused_in_words)
{
    fixture_begin();
    struct stele_runner *runner = NULL;
    struct stele_runner_options options = defaults;
    options.attempts_max = 0;
    CHECK_OUTCOME(stele_runner_create(store, &options, &runner, &err), STELE_E_INVALID, err);
    options = defaults;
    options.snapshots_kept = 101;
    CHECK_OUTCOME(stele_runner_create(store, &options, &runner, &err), STELE_E_INVALID, err);
    options = defaults;
    options.snapshot_prefix = "";
    CHECK_OUTCOME(stele_runner_create(store, &options, &runner, &err), STELE_E_INVALID, err);
    options = defaults;
    options.snapshot_directory = "/dev/null";
    CHECK_OUTCOME(stele_runner_create(store, &options, &runner, &err), STELE_E_INVALID, err);
    CHECK_TEXT_HAS(err.message, "/dev/null");
    options = defaults;
    options.struct_size = 1;
    CHECK_OUTCOME(stele_runner_create(store, &options, &runner, &err), STELE_E_INVALID, err);
    CHECK(runner == NULL);
    stele_runner_destroy(NULL);
    fixture_end();
}
