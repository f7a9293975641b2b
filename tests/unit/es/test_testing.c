/* A story that holds passes, one that does not says where it differs.
 *
 * Method: an account as an aggregate, and an order as a saga. Stories that hold; and the reports of
 * those that do not, word for word, because a report is what the kit is for. */
#include "lib/check.h"

#include <stele/testing.h>

/* ---- An account ---- */

struct account {
    int64_t balance;
    int is_open;
};

static int evolve(void *context, void *state, const struct stele_event *event, const void *fact,
                  struct stele_memory *memory)
{
    struct account *const account = state;
    (void)context, (void)fact, (void)memory;
    int64_t amount = 0;
    (void)stele_json_integer(event->data, event->data_size, "amount", &amount);
    const struct stele_text type = event->type;
    if (type.size == 6 && memcmp(type.data, "Opened", 6) == 0) {
        account->is_open = 1;
    } else if (type.size == 9 && memcmp(type.data, "Withdrawn", 9) == 0) {
        account->balance -= amount;
    } else if (type.size == 9 && memcmp(type.data, "Deposited", 9) == 0) {
        account->balance += amount;
    } else if (type.size == 6 && memcmp(type.data, "Broken", 6) == 0) {
        return STELE_E_CORRUPT;
    }
    return STELE_OK;
}

static int encode(void *context, const void *state, struct stele_output *output)
{
    const struct account *const account = state;
    (void)context;
    return stele_output_printf(output, "{\"open\":%s,\"balance\":%lld}",
                               account->is_open ? "true" : "false", (long long)account->balance);
}

static int decode(void *context, void *state, const void *data, size_t size,
                  struct stele_memory *memory)
{
    (void)context, (void)state, (void)data, (void)size, (void)memory;
    return STELE_E_UNSUPPORTED;
}

static const struct stele_fold account_fold = {
    .struct_size = sizeof(struct stele_fold),
    .name = "account",
    .version = 1,
    .state_size = sizeof(struct account),
    .evolve = evolve,
    .encode = encode,
    .decode = decode,
};

/* Withdraw: data is an int64_t. Move: the same, to account-2. */
static int decide(void *context, const struct stele_command *command,
                  struct stele_decision *decision)
{
    (void)context;
    const struct account *const account =
        stele_decision_state(decision, command->stream, &account_fold);
    if (account == NULL) {
        return STELE_INCOMPLETE;
    }
    int64_t amount = 0;
    memcpy(&amount, command->data, sizeof amount);
    if (!account->is_open) {
        return stele_decision_reject(decision, "%s is not open", command->stream);
    }
    if (account->balance < amount) {
        return stele_decision_reject(decision, "only %lld there", (long long)account->balance);
    }
    char data[64];
    const int size = snprintf(data, sizeof data, "{ \"amount\" : %lld }", (long long)amount);
    int outcome =
        stele_decision_emit_data(decision, command->stream, "Withdrawn", data, (size_t)size);
    if (strcmp(command->type, "Move") != 0 || outcome != STELE_OK) {
        return outcome;
    }
    if (stele_decision_state(decision, "account-2", &account_fold) == NULL) {
        return STELE_INCOMPLETE;
    }
    return stele_decision_emit_data(decision, "account-2", "Deposited", data, (size_t)size);
}

static const struct stele_decider account = {
    .struct_size = sizeof(struct stele_decider),
    .name = "account",
    .fold = &account_fold,
    .decide = decide,
};

static const int64_t ten = 10;

static struct stele_command command_of(const char *type)
{
    return (struct stele_command){
        .struct_size = sizeof(struct stele_command),
        .type = type,
        .stream = "account-1",
        .data = &ten,
        .data_size = sizeof ten,
    };
}

static struct stele_testing *begin(void)
{
    struct stele_testing *const story = stele_testing_create();
    CHECK(story != NULL);
    return story;
}

static void check_holds(struct stele_testing *story)
{
    const char *report = "";
    if (stele_testing_check(story, &report) != STELE_OK) {
        check_failed(__FILE__, __LINE__, "%s", report);
    }
    CHECK_TEXT_EQ(report, "");
}

static void check_report(struct stele_testing *story, const char *want)
{
    const char *report = "";
    CHECK_EQ(stele_testing_check(story, &report), STELE_CONDITION_FAILED);
    CHECK_TEXT_EQ(report, want);
}

/* ---- Aggregates ---- */

TEST(a_story_of_an_aggregate_goes_on)
{
    struct stele_testing *const story = begin();
    const struct stele_command withdraw = command_of("Withdraw");
    stele_testing_when(story, &account, &withdraw);
    stele_testing_then_rejected(story, "not open");
    check_holds(story);

    stele_testing_given(story, "account-1", "Opened", NULL);
    stele_testing_given(story, "account-1", "Deposited", "{\"amount\":15}");
    stele_testing_when(story, &account, &withdraw);
    stele_testing_then(story, "account-1", "Withdrawn", "{\"amount\":10}");
    stele_testing_then_state(story, &account_fold, "account-1", "{\"balance\":5, \"open\":true}");
    check_holds(story);

    stele_testing_when(story, &account, &withdraw);
    stele_testing_then_rejected(story, "only 5 there");
    check_holds(story);
    check_holds(story); /* Nothing happened, nothing was expected. */
    stele_testing_destroy(story);
}

TEST(several_streams_and_their_order)
{
    struct stele_testing *const story = begin();
    stele_testing_given(story, "account-1", "Opened", "{}");
    stele_testing_given(story, "account-1", "Deposited", "{\"amount\":15}");
    const struct stele_command move = command_of("Move");
    stele_testing_when(story, &account, &move);
    stele_testing_then(story, "account-1", "Withdrawn", "{\"amount\":10}");
    stele_testing_then(story, "account-2", "Deposited", "{\"amount\":10}");
    stele_testing_then_state(story, &account_fold, "account-2", "{\"balance\":10,\"open\":false}");
    check_holds(story);
    size_t count = 0;
    const struct stele_event *const events = stele_testing_events(story, &count);
    CHECK_EQ(count, 4);
    CHECK_EQ(events[2].revision, 2);
    CHECK_EQ(events[3].revision, 0);
    CHECK(events[3].position > events[2].position);
    stele_testing_destroy(story);
}

static int decide_by_query(void *context, const struct stele_command *command,
                           struct stele_decision *decision)
{
    (void)context;
    const char *const tags[] = {"mail:ada@example.org"};
    const struct stele_query_item item = {.tags = tags, .tags_count = 1};
    static const struct stele_fold count = {
        .struct_size = sizeof(struct stele_fold),
        .name = "count",
        .state_size = sizeof(struct account),
        .evolve = evolve,
    };
    const struct account *const found = stele_decision_query(decision, &item, 1, &count);
    if (found == NULL) {
        return STELE_INCOMPLETE;
    }
    if (found->is_open) {
        return stele_decision_reject(decision, "the address is taken");
    }
    const struct stele_event_draft draft = {.type = "Opened", .tags = tags, .tags_count = 1};
    return stele_decision_emit(decision, command->stream, &draft);
}

TEST(queries_see_the_tags_of_what_came_before)
{
    static const struct stele_decider users = {
        .struct_size = sizeof(struct stele_decider), .name = "users", .decide = decide_by_query};
    struct stele_testing *const story = begin();
    const struct stele_command open = command_of("Open");
    stele_testing_when(story, &users, &open);
    stele_testing_then(story, "account-1", "Opened", NULL);
    check_holds(story);
    stele_testing_when(story, &users, &open);
    stele_testing_then_rejected(story, "taken");
    check_holds(story);
    stele_testing_destroy(story);
}

/* ---- Reports ---- */

TEST(the_report_shows_both_sides_and_the_first_path_that_differs)
{
    struct stele_testing *const story = begin();
    stele_testing_given(story, "account-1", "Opened", "{}");
    stele_testing_given(story, "account-1", "Deposited", "{\"amount\":15}");
    const struct stele_command move = command_of("Move");
    stele_testing_when(story, &account, &move);
    stele_testing_then(story, "account-1", "Withdrawn", "{\"amount\":10}");
    stele_testing_then(story, "account-2", "Deposited", "{\"amount\":11}");
    stele_testing_then(story, "account-2", "Thanked", "{}");
    check_report(story, "3 events expected, 2 came:\n"
                        "    expected                                       came\n"
                        "  = account-1 Withdrawn {\"amount\":10}              "
                        "account-1 Withdrawn { \"amount\" : 10 }\n"
                        "  ! account-2 Deposited {\"amount\":11}              "
                        "account-2 Deposited { \"amount\" : 10 }\n"
                        "      $.amount: expected 11, came 10\n"
                        "      expected {\"amount\":11}\n"
                        "      came     { \"amount\" : 10 }\n"
                        "  - account-2 Thanked {}                           "
                        "(nothing)\n");
    check_holds(story); /* The report is over; the events stay given. */
    stele_testing_destroy(story);
}

TEST(events_that_nobody_expected_are_shown)
{
    struct stele_testing *const story = begin();
    stele_testing_given(story, "account-1", "Opened", "{}");
    stele_testing_given(story, "account-1", "Deposited", "{\"amount\":15}");
    const struct stele_command withdraw = command_of("Withdraw");
    stele_testing_when(story, &account, &withdraw);
    check_report(story, "0 events expected, 1 came:\n"
                        "    expected                                       came\n"
                        "  + (nothing)                                      "
                        "account-1 Withdrawn { \"amount\" : 10 }\n"
                        "      it was not expected\n"
                        "      came     { \"amount\" : 10 }\n");
    stele_testing_destroy(story);
}

TEST(rejections_that_differ_are_told_in_words)
{
    struct stele_testing *const story = begin();
    const struct stele_command withdraw = command_of("Withdraw");
    stele_testing_when(story, &account, &withdraw);
    stele_testing_then_rejected(story, "only 0");
    check_report(story, "Withdraw: rejected for another reason\n"
                        "      expected \"only 0\" in it\n"
                        "      came     account-1 is not open\n");
    stele_testing_when(story, &account, &withdraw);
    check_report(story,
                 "Withdraw: expected to be accepted, and it was rejected: account-1 is not open\n");
    stele_testing_given(story, "account-1", "Opened", "{}");
    stele_testing_given(story, "account-1", "Deposited", "{\"amount\":15}");
    stele_testing_when(story, &account, &withdraw);
    stele_testing_then(story, "account-1", "Withdrawn", "{\"amount\":10}");
    stele_testing_then_rejected(story, "no");
    check_report(story, "Withdraw: expected to be rejected (\"no\"), and it was accepted\n");
    stele_testing_destroy(story);
}

TEST(states_that_differ_name_the_path)
{
    struct stele_testing *const story = begin();
    stele_testing_given(story, "account-1", "Opened", "{}");
    stele_testing_then_state(story, &account_fold, "account-1", "{\"open\":true,\"balance\":1}");
    check_report(story, "the state of account-1: $.balance: expected 1, came 0\n"
                        "      expected {\"open\":true,\"balance\":1}\n"
                        "      came     {\"open\":true,\"balance\":0}\n");
    stele_testing_destroy(story);
}

static void check_path(const char *expected, const char *actual, const char *want)
{
    struct stele_testing *const story = begin();
    stele_testing_then_json(story, "rows", expected, actual);
    const char *report = "";
    const int outcome = stele_testing_check(story, &report);
    CHECK_EQ(outcome, want == NULL ? STELE_OK : STELE_CONDITION_FAILED);
    if (want != NULL) {
        CHECK_TEXT_HAS(report, want);
    }
    stele_testing_destroy(story);
}

TEST(the_path_leads_to_the_first_difference)
{
    check_path("[1,{\"a\":[true,null]}]", "[ 1, {\"a\" :[true,null ]}]", NULL);
    check_path("{\"a\":1,\"b\":2}", "{\"b\":2,\"a\":1}", NULL);
    check_path("[1,{\"a\":[true,null]}]", "[1,{\"a\":[true,0]}]",
               "rows: $[1].a[1]: expected null, came 0\n");
    check_path("{\"a\":1}", "{\"a\":1,\"b\":[2]}", "$.b: expected nothing, came [2]\n");
    check_path("{\"a\":1,\"b\":[2]}", "{\"a\":1}", "$.b: expected [2], came nothing\n");
    check_path("[1,2]", "[1]", "$[1]: expected 2, came nothing\n");
    check_path("1", "\"1\"", "$: expected 1, came \"1\"\n");
    check_path("1", "1.0", "$: expected 1, came 1.0\n");
    check_path("words", "words", NULL);
    check_path("words", "worse words", "byte 3: expected 5 bytes in all, came 11\n");
    check_path("{\"a\":1}", "{\"a\":1", "byte 6: expected 7 bytes in all, came 6\n");
}

TEST(values_that_are_long_are_cut_in_columns_and_whole_below)
{
    struct stele_testing *const story = begin();
    char data[400] = "{\"words\":\"";
    memset(data + 10, 'x', 380);
    memcpy(data + 390, "\"}", 3);
    stele_testing_then(story, "account-1", "Said", data);
    const char *report = "";
    CHECK_EQ(stele_testing_check(story, &report), STELE_CONDITION_FAILED);
    CHECK_TEXT_HAS(report, "  - account-1 Said {\"words\":\"xxxxxxxxxxxxxxxxxxxx~ (nothing)");
    CHECK_TEXT_HAS(report, data);
    stele_testing_destroy(story);
}

TEST(what_fails_inside_is_told_by_the_check)
{
    struct stele_testing *const story = begin();
    stele_testing_given(story, "account-1", "Broken", "{}");
    const struct stele_command withdraw = command_of("Withdraw");
    stele_testing_when(story, &account, &withdraw);
    const char *report = "";
    CHECK_EQ(stele_testing_check(story, &report), STELE_CONDITION_FAILED);
    CHECK_TEXT_HAS(report, "the story could not go on: ");
    CHECK_TEXT_HAS(report, "Broken");
    stele_testing_destroy(story);
    stele_testing_destroy(NULL);
}

/* ---- Sagas ---- */

static const struct stele_saga_step order_steps[] = {
    {.name = "stock", .compensation = "release", .timeout_ms = 1000, .retry = {2, 100, 0}},
    {.name = "payment", .compensation = "refund", .timeout_ms = 1000, .retry = {2, 100, 0}},
};
static const struct stele_saga_table order_table = {
    .kind = "order", .steps = order_steps, .steps_count = 2};

static struct stele_saga_plan order_plan(void)
{
    struct stele_saga_plan plan;
    struct stele_error err;
    CHECK_OK(stele_saga_plan_init(&plan, &order_table, &err), err);
    return plan;
}

#define STREAM "saga.order-7"

TEST(a_saga_that_goes_well)
{
    const struct stele_saga_plan plan = order_plan();
    struct stele_testing *const story = begin();
    stele_testing_saga(story, &plan, "7");
    stele_testing_then(story, STREAM, "SagaStarted", "{}");
    stele_testing_then(story, STREAM, "SagaStepRequested", "{\"step\":\"stock\",\"attempt\":1}");
    check_holds(story);
    stele_testing_answer(story, "stock", STELE_SAGA_DONE, NULL);
    stele_testing_then(story, STREAM, "SagaStepDone", "{\"step\":\"stock\",\"attempt\":1}");
    stele_testing_then(story, STREAM, "SagaStepRequested", "{\"step\":\"payment\",\"attempt\":1}");
    check_holds(story);
    stele_testing_answer(story, "payment", STELE_SAGA_DONE, NULL);
    stele_testing_then(story, STREAM, "SagaStepDone", "{\"step\":\"payment\",\"attempt\":1}");
    stele_testing_then(story, STREAM, "SagaCompleted", "{}");
    check_holds(story);
    stele_testing_destroy(story);
}

TEST(a_saga_whose_timers_fire_as_the_clock_of_the_story_goes)
{
    const struct stele_saga_plan plan = order_plan();
    struct stele_testing *const story = begin();
    const int64_t begun_us = stele_testing_now(story);
    stele_testing_saga(story, &plan, "7");
    stele_testing_answer(story, "stock", STELE_SAGA_DONE, NULL);
    const char *report = "";
    (void)stele_testing_check(story, &report);
    stele_testing_wait(story, 999);
    check_holds(story);
    stele_testing_wait(story, 10000); /* It gives up waiting, asks again, gives up, undoes. */
    CHECK_EQ(stele_testing_now(story) - begun_us, 10999 * 1000);
    CHECK_EQ(stele_testing_check(story, &report), STELE_CONDITION_FAILED);
    CHECK_TEXT_HAS(report, "SagaStepWillRetry {\"step\"");
    CHECK_TEXT_HAS(report, "SagaStepRequested {\"step\"");
    CHECK_TEXT_HAS(report, "SagaStepFailed {\"step\":\"p");
    CHECK_TEXT_HAS(report, "SagaCompensationRequested");
    stele_testing_destroy(story);
}

TEST(a_saga_that_is_refused_undoes_what_was_done)
{
    const struct stele_saga_plan plan = order_plan();
    struct stele_testing *const story = begin();
    stele_testing_saga(story, &plan, "7");
    stele_testing_answer(story, "stock", STELE_SAGA_DONE, NULL);
    const char *report = "";
    (void)stele_testing_check(story, &report);
    stele_testing_answer(story, "payment", STELE_SAGA_REFUSED, "no money");
    stele_testing_answer(story, "stock", STELE_SAGA_DONE, NULL);
    CHECK_EQ(stele_testing_check(story, &report), STELE_CONDITION_FAILED);
    CHECK_TEXT_HAS(report, "\"reason\":\"no money\"");
    CHECK_TEXT_HAS(report, "SagaStepCompensated {\"step");
    CHECK_TEXT_HAS(report, "SagaCompensated {}");
    stele_testing_answer(story, "delivery", STELE_SAGA_DONE, NULL);
    CHECK_EQ(stele_testing_check(story, &report), STELE_CONDITION_FAILED);
    CHECK_TEXT_HAS(report, "there is no step \"delivery\"");
    stele_testing_destroy(story);
}
