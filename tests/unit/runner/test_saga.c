/* Sagas on a real store: handlers, threads, people, other tables, damage, and processes that are killed.
 *
 * Method: an embedded store in a directory of its own; handlers that write down what they were asked.
 * test_saga_sim.c has the deaths at every single operation. */
#include "lib/check.h"
#include "lib/rng.h"
#include "lib/scratch.h"

#include <stele/saga.h>

#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <sys/wait.h>

static const struct stele_saga_step STEPS[] = {
    {.name = "payment",
     .after = "",
     .request = "ReservePayment",
     .compensation = "ReleasePayment",
     .retry = {3, 1, 10}},
    {.name = "stock", .after = "", .compensation = "ReleaseStock", .retry = {3, 1, 10}},
    {.name = "shipping", .after = "payment stock", .retry = {3, 1, 10}},
};
static const struct stele_saga_table TABLE = {"order", STEPS, 3, 0};
static const char *const TRIGGERS[] = {"OrderPlaced"};

struct shop {
    struct scratch scratch;
    struct stele *store;
    struct stele_saga_runner *runner;
    struct stele_saga_definition definition;
    struct stele_error err;
    char log[4096]; /* What was asked for. */
    char problems[1024];
    const char *refuse; /* This step is refused. */
    const char *fail;   /* This one fails. */
    bool thread;        /* Answers come from another thread. */
    pthread_t answering;
    char key[STELE_SAGA_KEY_SIZE_MAX];
    uint32_t attempt;
};

static void *answer_later(void *context)
{
    struct shop *const shop = context;
    struct stele_saga_reply reply;
    memset(&reply, 0, sizeof reply);
    reply.result = (struct stele_text){"\"later\"", 7};
    CHECK_EQ(
        stele_saga_runner_answer(shop->runner, shop->key, shop->attempt, STELE_SAGA_DONE, &reply),
        STELE_OK);
    return NULL;
}

static int handle(void *context, const struct stele_saga_call *call, struct stele_saga_reply *reply)
{
    struct shop *const shop = context;
    const size_t size = strlen(shop->log);
    (void)snprintf(shop->log + size, sizeof shop->log - size, "%s %s %.*s|", call->command,
                   call->id, (int)call->input.size,
                   call->input.data != NULL ? call->input.data : "");
    if (shop->refuse != NULL && strcmp(shop->refuse, call->command) == 0) {
        (void)snprintf(reply->reason, sizeof reply->reason, "sold out");
        return STELE_SAGA_REFUSED;
    }
    if (shop->fail != NULL && strcmp(shop->fail, call->command) == 0) {
        return STELE_SAGA_NOT_DONE;
    }
    if (strcmp(call->step, "shipping") == 0) {
        CHECK_SLICE_EQ(stele_saga_call_result(call, "payment"), "{\"n\":7}");
        CHECK_EQ(stele_saga_call_result(call, "nothing").size, 0);
    }
    if (shop->thread && strcmp(call->step, "stock") == 0) {
        (void)snprintf(shop->key, sizeof shop->key, "%s", call->key);
        shop->attempt = call->attempt;
        CHECK_EQ(pthread_create(&shop->answering, NULL, answer_later, shop), 0);
        return STELE_SAGA_LATER;
    }
    reply->result = (struct stele_text){"{\"n\": 7}", 8};
    return STELE_SAGA_DONE;
}

static void on_problem(void *context, const char *id, const char *words)
{
    struct shop *const shop = context;
    (void)snprintf(shop->problems, sizeof shop->problems, "%s: %s", id, words);
}

static void open_shop(struct shop *shop)
{
    memset(shop, 0, sizeof *shop);
    scratch_make(&shop->scratch);
    CHECK_OK(stele_open(shop->scratch.path, NULL, &shop->store, &shop->err), shop->err);
    shop->definition =
        (struct stele_saga_definition){&TABLE, TRIGGERS, 1, NULL, handle, shop, NULL};
}

static struct stele_saga_runner_options options_of(struct shop *shop)
{
    struct stele_saga_runner_options options = STELE_SAGA_RUNNER_OPTIONS_INIT;
    options.on_problem = on_problem;
    options.context = shop;
    return options;
}

static void begin(struct shop *shop)
{
    const struct stele_saga_runner_options options = options_of(shop);
    CHECK_OK(stele_saga_runner_create(shop->store, &shop->definition, &options, &shop->runner,
                                      &shop->err),
             shop->err);
}

static void end(struct shop *shop)
{
    stele_saga_runner_destroy(shop->runner);
    shop->runner = NULL;
}

static void close_shop(struct shop *shop)
{
    end(shop);
    CHECK_EQ(stele_close(shop->store), STELE_OK);
    scratch_remove(&shop->scratch);
}

static void append(struct shop *shop, const char *stream, const char *type, const char *data,
                   const char *metadata)
{
    struct stele_event_draft draft;
    memset(&draft, 0, sizeof draft);
    draft.type = type;
    draft.data = data;
    draft.data_size = strlen(data);
    draft.metadata = metadata;
    draft.metadata_size = metadata != NULL ? strlen(metadata) : 0;
    CHECK_OK(stele_append(shop->store, stream, STELE_EXPECT_ANY, &draft, 1, NULL, &shop->err),
             shop->err);
}

static void place(struct shop *shop, const char *id)
{
    char stream[64];
    (void)snprintf(stream, sizeof stream, "shop-%s", id);
    append(shop, stream, "OrderPlaced", "{\"items\":3}", NULL);
}

/* Turns until only time could bring more. */
static void turn(struct shop *shop)
{
    for (int i = 0; i < 100; i++) {
        int64_t due_us = 0;
        CHECK_OK(stele_saga_runner_turn(shop->runner, &due_us, &shop->err), shop->err);
        if (due_us != 0) {
            return;
        }
    }
    check_failed(__FILE__, __LINE__, "the runner does not come to rest");
}

/* Turns until a saga is there, through waits that are real and short. */
static void turn_until(struct shop *shop, const char *id, int state)
{
    for (;;) {
        turn(shop);
        struct stele_saga_plan plan;
        struct stele_saga saga;
        if (stele_saga_load(shop->store, "order", id, &plan, &saga, &shop->err) == STELE_OK &&
            saga.state == state) {
            return;
        }
        (void)stele_wait(shop->store, stele_last_position(shop->store), 1, NULL);
    }
}

static const char *types_of(struct shop *shop, const char *stream)
{
    static char words[2048];
    size_t size = 0;
    words[0] = '\0';
    struct stele_iterator *iterator = NULL;
    if (stele_read_stream(shop->store, stream, NULL, &iterator, &shop->err) != STELE_OK) {
        return "";
    }
    const struct stele_event *events = NULL;
    size_t count = 0;
    while (stele_iterator_next(iterator, &events, &count, &shop->err) == STELE_OK) {
        for (size_t i = 0; i < count; i++) {
            size +=
                (size_t)snprintf(words + size, sizeof words - size, "%s%.*s", size > 0 ? " " : "",
                                 (int)events[i].type.size, events[i].type.data);
        }
    }
    stele_iterator_destroy(iterator);
    return words;
}

TEST(an_event_starts_a_saga_and_handlers_bring_it_to_its_end)
{
    struct shop shop;
    open_shop(&shop);
    begin(&shop);
    place(&shop, "17");
    turn(&shop);
    CHECK_TEXT_EQ(shop.log, "ReservePayment 17 {\"items\":3}|stock 17 {\"items\":3}|"
                            "shipping 17 {\"items\":3}|");
    CHECK_TEXT_EQ(types_of(&shop, "saga.order-17"),
                  "SagaStarted SagaStepRequested SagaStepRequested SagaStepDone SagaStepDone "
                  "SagaStepRequested SagaStepDone SagaCompleted");
    struct stele_saga_runner_stats stats;
    stele_saga_runner_stats(shop.runner, &stats);
    CHECK_EQ(stats.started, 1);
    CHECK_EQ(stats.ended, 1);
    CHECK_EQ(stats.calls, 3);
    close_shop(&shop);
}

TEST(a_refusal_undoes_and_says_why)
{
    struct shop shop;
    open_shop(&shop);
    shop.refuse = "shipping";
    begin(&shop);
    place(&shop, "18");
    turn(&shop);
    struct stele_saga_plan plan;
    struct stele_saga saga;
    CHECK_OK(stele_saga_load(shop.store, "order", "18", &plan, &saga, &shop.err), shop.err);
    CHECK_EQ(saga.state, STELE_SAGA_COMPENSATED);
    CHECK_TEXT_EQ(saga.reason, "sold out");
    CHECK_TEXT_EQ(plan.steps[saga.cause].name, "shipping");
    CHECK_TEXT_HAS(shop.log, "ReleaseStock 18 {\"items\":3}|ReleasePayment 18 {\"items\":3}|");
    close_shop(&shop);
}

TEST(ids_and_traces_go_from_event_to_event)
{
    struct shop shop;
    open_shop(&shop);
    begin(&shop);
    append(&shop, "shop-5", "OrderPlaced", "{}",
           "{\"$correlationId\":\"c-1\",\"traceparent\":\"00-abc-def-01\"}");
    turn(&shop);
    struct stele_iterator *iterator = NULL;
    const struct stele_event *events = NULL;
    size_t count = 0;
    CHECK_OK(stele_read_stream(shop.store, "saga.order-5", NULL, &iterator, &shop.err), shop.err);
    CHECK_OK(stele_iterator_next(iterator, &events, &count, &shop.err), shop.err);
    for (size_t i = 0; i < count; i++) {
        char metadata[512];
        (void)snprintf(metadata, sizeof metadata, "%.*s", (int)events[i].metadata_size,
                       (const char *)events[i].metadata);
        CHECK_TEXT_HAS(metadata, "\"$correlationId\":\"c-1\"");
        CHECK_TEXT_HAS(metadata, "\"$causationId\":\"");
        CHECK_TEXT_HAS(metadata, "\"traceparent\":\"00-abc-def-01\"");
    }
    stele_iterator_destroy(iterator);
    close_shop(&shop);
}

TEST(a_kind_that_never_ran_leaves_old_events_alone_unless_asked)
{
    struct shop shop;
    open_shop(&shop);
    place(&shop, "1");
    begin(&shop);
    turn(&shop);
    CHECK_TEXT_EQ(shop.log, "");
    end(&shop);
    place(&shop, "2"); /* While nobody runs: the checkpoint knows where to go on. */
    begin(&shop);
    turn(&shop);
    CHECK_TEXT_HAS(shop.log, "ReservePayment 2");
    close_shop(&shop);

    open_shop(&shop);
    place(&shop, "1");
    struct stele_saga_runner_options options = options_of(&shop);
    options.from = 0;
    CHECK_OK(
        stele_saga_runner_create(shop.store, &shop.definition, &options, &shop.runner, &shop.err),
        shop.err);
    CHECK_TEXT_EQ(shop.log, ""); /* Nothing is asked for before the first turn. */
    turn(&shop);
    CHECK_TEXT_HAS(shop.log, "ReservePayment 1");
    close_shop(&shop);
}

TEST(an_answer_from_another_thread_goes_on_with_the_saga)
{
    struct shop shop;
    open_shop(&shop);
    shop.thread = true;
    begin(&shop);
    place(&shop, "a/b");
    turn(&shop);
    CHECK_EQ(pthread_join(shop.answering, NULL), 0);
    turn_until(&shop, "a/b", STELE_SAGA_COMPLETED);
    CHECK_EQ(stele_saga_runner_answer(shop.runner, "other/1/stock", 1, STELE_SAGA_DONE, NULL),
             STELE_E_INVALID);
    CHECK_EQ(stele_saga_runner_answer(shop.runner, "order/stock", 1, STELE_SAGA_DONE, NULL),
             STELE_E_INVALID);
    CHECK_EQ(stele_saga_runner_answer(shop.runner, "order/9/stock", 1, STELE_SAGA_DONE, NULL),
             STELE_OK); /* There is no such saga, which nobody can know here. */
    turn(&shop);
    close_shop(&shop);
}

static void *stop_when_done(void *context)
{
    struct shop *const shop = context;
    struct stele_saga_plan plan;
    struct stele_saga saga;
    memset(&saga, 0, sizeof saga);
    while (saga.state != STELE_SAGA_COMPLETED) {
        (void)stele_saga_load(shop->store, "order", "1", &plan, &saga, NULL);
        (void)stele_wait(shop->store, stele_last_position(shop->store), 1, NULL);
    }
    stele_saga_runner_stop(shop->runner);
    return NULL;
}

TEST(run_waits_for_events_and_stops_when_told)
{
    struct shop shop;
    open_shop(&shop);
    begin(&shop);
    place(&shop, "1");
    pthread_t thread;
    CHECK_EQ(pthread_create(&thread, NULL, stop_when_done, &shop), 0);
    CHECK_OK(stele_saga_runner_run(shop.runner, &shop.err), shop.err);
    CHECK_EQ(pthread_join(thread, NULL), 0);
    close_shop(&shop);
}

TEST(people_park_resume_skip_and_cancel)
{
    struct shop shop;
    open_shop(&shop);
    shop.fail = "stock";
    begin(&shop);
    place(&shop, "1");
    turn(&shop);
    CHECK_OK(stele_saga_operate(shop.store, "order", "1", STELE_SAGA_INPUT_PARK, NULL, "look at it",
                                &shop.err),
             shop.err);
    CHECK_EQ(
        stele_saga_operate(shop.store, "order", "1", STELE_SAGA_INPUT_PARK, NULL, NULL, &shop.err),
        STELE_CONDITION_FAILED);
    CHECK_TEXT_HAS(shop.err.message, "the saga is parked");
    turn(&shop);
    CHECK_OUTCOME(stele_saga_operate(shop.store, "order", "1", STELE_SAGA_INPUT_SKIP, "nope", NULL,
                                     &shop.err),
                  STELE_NOT_FOUND, shop.err);
    CHECK_OK(stele_saga_operate(shop.store, "order", "1", STELE_SAGA_INPUT_SKIP, "stock", "by hand",
                                &shop.err),
             shop.err);
    turn_until(&shop, "1", STELE_SAGA_COMPLETED);
    place(&shop, "2");
    turn(&shop);
    CHECK_OK(stele_saga_operate(shop.store, "order", "2", STELE_SAGA_INPUT_CANCEL, NULL, "no",
                                &shop.err),
             shop.err);
    turn_until(&shop, "2", STELE_SAGA_COMPENSATED);
    CHECK_OUTCOME(
        stele_saga_operate(shop.store, "order", "3", STELE_SAGA_INPUT_PARK, NULL, NULL, &shop.err),
        STELE_NO_STREAM, shop.err);
    CHECK_OUTCOME(
        stele_saga_operate(shop.store, "order", "1", STELE_SAGA_INPUT_TICK, NULL, NULL, &shop.err),
        STELE_E_INVALID, shop.err);
    close_shop(&shop);
}

/* Leaves a saga behind whose stock is still to be asked for again. */
static void leave_one_behind(struct shop *shop)
{
    static const struct stele_saga_step patient[] = {
        {.name = "payment", .after = "", .compensation = "ReleasePayment"},
        {.name = "stock", .after = "", .compensation = "ReleaseStock", .retry = {9, 10, 10}}};
    static const struct stele_saga_table table = {"order", patient, 2, 0};
    shop->definition.table = &table;
    shop->fail = "stock";
    begin(shop);
    place(shop, "1");
    turn(shop);
    end(shop);
    shop->fail = NULL;
    shop->log[0] = '\0';
}

/* Says nothing, ever. */
static int handle_silently(void *context, const struct stele_saga_call *call,
                           struct stele_saga_reply *reply)
{
    struct shop *const shop = context;
    (void)reply;
    (void)snprintf(shop->log, sizeof shop->log, "%s %u", call->key, call->attempt);
    return STELE_SAGA_LATER;
}

TEST(what_a_runner_had_begun_is_asked_for_again_at_once_by_the_next_of_its_name)
{
    static const struct stele_saga_step patient[] = {{.name = "payment", .timeout_ms = 3600000}};
    static const struct stele_saga_table table = {"order", patient, 1, 0};
    struct shop shop;
    open_shop(&shop);
    shop.definition.table = &table;
    shop.definition.handle = handle_silently;
    begin(&shop);
    place(&shop, "1");
    turn(&shop);
    CHECK_TEXT_EQ(shop.log, "order/1/payment 1");
    end(&shop);
    struct stele_saga_runner_options options = options_of(&shop);
    options.name = "other";
    CHECK_OK(
        stele_saga_runner_create(shop.store, &shop.definition, &options, &shop.runner, &shop.err),
        shop.err);
    turn(&shop);
    CHECK_TEXT_EQ(shop.log, "order/1/payment 1"); /* Somebody else may be at work on it. */
    end(&shop);
    begin(&shop);
    turn(&shop);
    CHECK_TEXT_EQ(shop.log, "order/1/payment 2");
    close_shop(&shop);
}

TEST(a_saga_ends_by_the_table_it_was_started_with)
{
    struct shop shop;
    open_shop(&shop);
    leave_one_behind(&shop);
    shop.definition.table = &TABLE; /* With a third step, which the saga does not have. */
    begin(&shop);
    turn_until(&shop, "1", STELE_SAGA_COMPLETED);
    CHECK_TEXT_EQ(shop.log, "stock 1 {\"items\":3}|");
    close_shop(&shop);
}

TEST(a_step_that_the_program_no_longer_knows_parks_the_saga)
{
    static const struct stele_saga_step other[] = {{.name = "payment"}};
    static const struct stele_saga_table table = {"order", other, 1, 0};
    struct shop shop;
    open_shop(&shop);
    leave_one_behind(&shop);
    shop.definition.table = &table;
    begin(&shop);
    turn_until(&shop, "1", STELE_SAGA_PARKED);
    struct stele_saga_plan plan;
    struct stele_saga saga;
    CHECK_OK(stele_saga_load(shop.store, "order", "1", &plan, &saga, &shop.err), shop.err);
    CHECK_TEXT_HAS(saga.reason, "no such step");
    close_shop(&shop);
}

TEST(sagas_at_work_are_found_without_a_checkpoint)
{
    struct shop shop;
    open_shop(&shop);
    leave_one_behind(&shop);
    CHECK_OK(
        stele_tombstone(shop.store, "saga.order.checkpoint", STELE_EXPECT_ANY, NULL, &shop.err),
        shop.err);
    shop.definition.table = &TABLE;
    struct stele_saga_runner_options options = options_of(&shop);
    options.rebuild = 1;
    /* Nothing can be written there any more; that is told, not passed over. */
    CHECK_EQ(
        stele_saga_runner_create(shop.store, &shop.definition, &options, &shop.runner, &shop.err),
        STELE_STREAM_DELETED);
    close_shop(&shop);

    open_shop(&shop);
    leave_one_behind(&shop);
    options.context = &shop;
    CHECK_OK(
        stele_saga_runner_create(shop.store, &shop.definition, &options, &shop.runner, &shop.err),
        shop.err);
    turn_until(&shop, "1", STELE_SAGA_COMPLETED);
    close_shop(&shop);
}

TEST(a_saga_that_cannot_be_read_is_told_of_and_keeps_nobody_up)
{
    struct shop shop;
    open_shop(&shop);
    begin(&shop);
    append(&shop, "saga.order-bad", "SagaStarted", "{\"kind\":\"order\"}", NULL);
    append(&shop, "saga.order-worse", "SagaStepDone", "no JSON", NULL);
    place(&shop, "1");
    turn_until(&shop, "1", STELE_SAGA_COMPLETED);
    CHECK_TEXT_HAS(shop.problems, "worse: ");
    append(&shop, "saga.order-1", "SagaStepDone", "{\"step\":\"nothing\"}", NULL);
    turn(&shop);
    CHECK_TEXT_HAS(shop.problems, "1: SagaStepDone is about \"nothing\"");
    place(&shop, "2");
    turn_until(&shop, "2", STELE_SAGA_COMPLETED);
    close_shop(&shop);
}

TEST(an_open_circuit_keeps_calls_back)
{
    struct shop shop;
    open_shop(&shop);
    struct stele_saga_runner_options options = options_of(&shop);
    options.breaker.calls_min = 2;
    shop.fail = "stock";
    CHECK_OK(
        stele_saga_runner_create(shop.store, &shop.definition, &options, &shop.runner, &shop.err),
        shop.err);
    for (int i = 0; i < 5; i++) {
        char id[8];
        (void)snprintf(id, sizeof id, "%d", i);
        place(&shop, id);
    }
    turn(&shop);
    struct stele_saga_runner_stats stats;
    stele_saga_runner_stats(shop.runner, &stats);
    CHECK_EQ(stats.calls, 5 + 2); /* The payments, and two tries. */
    CHECK(stats.not_tried >= 3);  /* The two are tried again soon, too. */
    CHECK_EQ(stats.active, 5);
    close_shop(&shop);
}

TEST(no_more_sagas_than_allowed_are_at_work_at_once)
{
    struct shop shop;
    open_shop(&shop);
    struct stele_saga_runner_options options = options_of(&shop);
    options.active_max = 2;
    CHECK_OK(
        stele_saga_runner_create(shop.store, &shop.definition, &options, &shop.runner, &shop.err),
        shop.err);
    for (int i = 0; i < 20; i++) {
        char id[8];
        (void)snprintf(id, sizeof id, "%d", i);
        place(&shop, id);
    }
    turn_until(&shop, "19", STELE_SAGA_COMPLETED);
    struct stele_saga_runner_stats stats;
    stele_saga_runner_stats(shop.runner, &stats);
    CHECK_EQ(stats.ended, 20);
    close_shop(&shop);
}

TEST(bad_definitions_are_refused_and_write_nothing)
{
    static const struct stele_saga_step circle[] = {{.name = "a", .after = "b"},
                                                    {.name = "b", .after = "a"}};
    static const struct stele_saga_table table = {"order", circle, 2, 0};
    struct shop shop;
    open_shop(&shop);
    shop.definition.table = &table;
    struct stele_saga_runner_options options = options_of(&shop);
    CHECK_OUTCOME(
        stele_saga_runner_create(shop.store, &shop.definition, &options, &shop.runner, &shop.err),
        STELE_E_INVALID, shop.err);
    CHECK_TEXT_HAS(shop.err.message, "a -> b -> a");
    shop.definition.table = &TABLE;
    options.struct_size = 3;
    CHECK_EQ(
        stele_saga_runner_create(shop.store, &shop.definition, &options, &shop.runner, &shop.err),
        STELE_E_INVALID);
    options = options_of(&shop);
    shop.definition.handle = NULL;
    CHECK_EQ(
        stele_saga_runner_create(shop.store, &shop.definition, &options, &shop.runner, &shop.err),
        STELE_E_INVALID);
    CHECK_EQ(stele_last_position(shop.store), 0);
    close_shop(&shop);
}

/* ---- Processes that are killed -------------------------------------------------------------- */

#define ORDERS 12

/* The participants keep their promises by the ids of their events alone. */
struct killed {
    struct stele *store;
    uint64_t calls;
    uint64_t die_at;
    bool after;
};

static int handle_or_die(void *context, const struct stele_saga_call *call,
                         struct stele_saga_reply *reply)
{
    struct killed *const k = context;
    (void)reply;
    const bool dies = ++k->calls == k->die_at;
    if (dies && !k->after) {
        (void)kill(getpid(), SIGKILL);
    }
    struct stele_event_draft draft;
    struct stele_error err = {0};
    memset(&draft, 0, sizeof draft);
    stele_saga_event_id(call->key, 0, draft.id);
    draft.type = call->command;
    char stream[STELE_SAGA_KEY_SIZE_MAX];
    (void)snprintf(stream, sizeof stream, "effects-%s", call->id);
    CHECK_OK(stele_append(k->store, stream, STELE_EXPECT_ANY, &draft, 1, NULL, &err), err);
    if (dies) {
        (void)kill(getpid(), SIGKILL);
    }
    return strcmp(call->step, "shipping") == 0 && call->id[0] % 2 == 0 ? STELE_SAGA_REFUSED
                                                                       : STELE_SAGA_DONE;
}

static void live(const char *path, uint64_t die_at, bool after)
{
    struct killed k = {.die_at = die_at, .after = after};
    struct stele_error err = {0};
    CHECK_OK(stele_open(path, NULL, &k.store, &err), err);
    const struct stele_saga_definition definition = {&TABLE,        TRIGGERS, 1,   NULL,
                                                     handle_or_die, &k,       NULL};
    struct stele_saga_runner *runner = NULL;
    CHECK_OK(stele_saga_runner_create(k.store, &definition, NULL, &runner, &err), err);
    for (char i = 0; i < ORDERS; i++) {
        char stream[16];
        (void)snprintf(stream, sizeof stream, "shop-%c", 'a' + i);
        struct stele_event_draft draft;
        memset(&draft, 0, sizeof draft);
        stele_saga_event_id(stream, 0, draft.id);
        draft.type = "OrderPlaced";
        CHECK_OK(stele_append(k.store, stream, STELE_EXPECT_ANY, &draft, 1, NULL, &err), err);
    }
    int64_t due_us = 0;
    while (due_us != STELE_SAGA_NEVER) {
        CHECK_OK(stele_saga_runner_turn(runner, &due_us, &err), err);
    }
    stele_saga_runner_destroy(runner);
    (void)stele_close(k.store);
    _exit(0);
}

TEST(processes_that_are_killed_leave_sagas_that_end_as_they_should)
{
    struct scratch scratch;
    struct shop shop;
    scratch_make(&scratch);
    struct rng rng;
    rng_init(&rng, 1, 0);
    int status = 1;
    int deaths = 0;
    for (int life = 0; life < 200 && status != 0; life++) {
        const pid_t child = fork();
        CHECK(child >= 0);
        if (child == 0) {
            live(scratch.path, life < 30 ? rng_below(&rng, 4) + 1 : 0, rng_one_in(&rng, 2));
        }
        (void)rng_next(&rng);
        CHECK_EQ(waitpid(child, &status, 0), child);
        CHECK(WIFEXITED(status) ? WEXITSTATUS(status) == 0 : WTERMSIG(status) == SIGKILL);
        deaths += status != 0;
    }
    CHECK(deaths > 10);
    memset(&shop, 0, sizeof shop);
    CHECK_OK(stele_open(scratch.path, NULL, &shop.store, &shop.err), shop.err);
    for (char i = 0; i < ORDERS; i++) {
        char id[2] = {(char)('a' + i), '\0'};
        char stream[32];
        (void)snprintf(stream, sizeof stream, "effects-%s", id);
        const char *const effects = types_of(&shop, stream);
        const bool even = id[0] % 2 == 0;
        CHECK_TEXT_HAS(effects, "ReservePayment");
        CHECK_EQ(strlen(effects), strlen("ReservePayment stock shipping") +
                                      (even ? strlen(" ReleaseStock ReleasePayment") : 0));
        struct stele_saga_plan plan;
        struct stele_saga saga;
        CHECK_OK(stele_saga_load(shop.store, "order", id, &plan, &saga, &shop.err), shop.err);
        CHECK_EQ(saga.state, even ? STELE_SAGA_COMPENSATED : STELE_SAGA_COMPLETED);
    }
    (void)stele_close(shop.store);
    scratch_remove(&scratch);
}
