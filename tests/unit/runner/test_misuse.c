/* A call that is given NULL where it needs something refuses, in words where it has a place for them,
 * and does nothing: memory that could not be had is a NULL that programs pass on.
 *
 * Method: every call of the toolkit's headers, with NULL in each place that has to be filled. */
#include "lib/check.h"

#include <stele/process.h>
#include <stele/project.h>
#include <stele/route.h>
#include <stele/run.h>
#include <stele/testing.h>

static struct stele_error err;
static uint8_t room[512];

static int count_up(void *context, void *state, const struct stele_event *event, const void *fact,
                    struct stele_memory *memory)
{
    (void)context;
    (void)event;
    (void)fact;
    (void)memory;
    ++*(uint64_t *)state;
    return STELE_OK;
}

static const struct stele_fold fold = {
    .struct_size = sizeof fold, .name = "count", .state_size = 8, .evolve = count_up};

/* What each attempt of a decider does wrong. */
static int wrong;

static int decide(void *context, const struct stele_command *command,
                  struct stele_decision *decision)
{
    (void)context;
    (void)command;
    switch (wrong) {
    case 0:
        (void)stele_decision_emit(decision, "a-1", NULL);
        break;
    case 1:
        (void)stele_decision_emit_data(decision, NULL, "T", NULL, 0);
        break;
    case 2:
        (void)stele_decision_condition(decision, NULL);
        break;
    case 3:
        (void)stele_decision_query(decision, NULL, 1, &fold);
        break;
    default:
        (void)stele_decision_emit_data(decision, "a-1", NULL, NULL, 0);
        break;
    }
    return STELE_OK; /* It does not look at what it was told. */
}

static const struct stele_decider decider = {
    .struct_size = sizeof decider, .name = "wrong", .decide = decide};
static const struct stele_command command = {.struct_size = sizeof command, .type = "Do"};

/* The call refuses and says which one it was. */
#define CHECK_SAYS(call, words)                                                                    \
    do {                                                                                           \
        err = (struct stele_error){.outcome = STELE_OK};                                           \
        CHECK_EQ((call), STELE_E_INVALID);                                                         \
        CHECK_EQ(err.outcome, STELE_E_INVALID);                                                    \
        CHECK(strstr(err.message, (words)) != NULL);                                               \
    } while (0)

TEST(memory_that_is_null_gives_null)
{
    struct stele_text text;
    CHECK(stele_memory_allocate(NULL, 1) == NULL);
    CHECK(stele_memory_copy(NULL, "a", 1) == NULL);
    CHECK_EQ(stele_memory_size(NULL), 0);
    CHECK_EQ(stele_output_write(NULL, "a", 1), STELE_E_INVALID);
    CHECK_EQ(stele_output_printf(NULL, "a"), STELE_E_INVALID);
    CHECK_EQ(stele_output_json_string(NULL, "a", 1), STELE_E_INVALID);
    CHECK_EQ(stele_json_member("{}", 2, NULL, &text), STELE_E_INVALID);
    stele_new_id(NULL);
    stele_id_to_text(NULL, (char *)room);
}

TEST(folds_registries_and_upcasters_that_are_null_are_refused)
{
    struct stele_memory *const memory = stele_memory_create();
    struct stele_state *state = NULL;
    struct stele_registry *registry = NULL;
    struct stele_upcasters *upcasters = NULL;
    const struct stele_fold nameless = {.struct_size = sizeof nameless};
    CHECK_SAYS(stele_state_create(NULL, &fold, &state, &err), "stele_state_create");
    CHECK_SAYS(stele_state_create(memory, &fold, NULL, &err), "stele_state_create");
    CHECK_EQ(stele_state_create(memory, NULL, &state, NULL), STELE_E_INVALID);
    CHECK_EQ(stele_fold_fingerprint(NULL), 0);
    CHECK_EQ(stele_fold_fingerprint(&nameless), 0);
    CHECK_EQ(stele_state_create(memory, &fold, &state, &err), STELE_OK);
    CHECK_SAYS(stele_state_apply(state, NULL, 1, &err), "stele_state_apply");
    CHECK_SAYS(stele_state_apply(NULL, NULL, 0, &err), "stele_state_apply");
    CHECK_EQ(*(const uint64_t *)stele_state_value(state), 0); /* It was not spoilt. */
    CHECK(stele_state_value(NULL) == NULL);
    CHECK_EQ(stele_state_count(NULL), 0);
    CHECK_EQ(stele_state_revision(NULL), STELE_EXPECT_NO_STREAM);
    CHECK_SAYS(stele_state_encode(state, NULL, &err), "stele_state_encode");
    CHECK_SAYS(stele_registry_create(memory, NULL, 1, 0, &registry, &err), "stele_registry_create");
    CHECK_SAYS(stele_registry_check(NULL, "T", "{}", 2, &err), "stele_registry_check");
    CHECK_SAYS(stele_upcasters_create(NULL, NULL, 0, &upcasters, &err), "stele_upcasters_create");
    CHECK_SAYS(stele_upcasters_apply(NULL, NULL, NULL, NULL, NULL, &err), "stele_upcasters_apply");
    CHECK_EQ(stele_upcast_emit(NULL, NULL, 0), STELE_E_INVALID);
    stele_memory_destroy(memory);
}

TEST(what_a_decider_does_wrong_ends_the_command_although_it_does_not_look)
{
    struct stele_memory *const memory = stele_memory_create();
    for (wrong = 0; wrong < 5; wrong++) {
        struct stele_decision *decision = NULL;
        CHECK_EQ(stele_decision_create(memory, &decider, &command, &decision, &err), STELE_OK);
        CHECK_EQ(stele_decision_run(decision, &err), STELE_E_INVALID);
        CHECK(err.message[0] != '\0');
    }
    struct stele_decision *decision = NULL;
    CHECK_SAYS(stele_decision_create(NULL, &decider, &command, &decision, &err), "create");
    CHECK_SAYS(stele_decision_run(NULL, &err), "stele_decision_run");
    CHECK(stele_decision_state(NULL, "a-1", &fold) == NULL);
    CHECK_EQ(stele_decision_emit_data(NULL, "a-1", "T", NULL, 0), STELE_E_INVALID);
    CHECK_EQ(stele_decision_reject(NULL, "no"), STELE_REJECTED);
    CHECK(stele_decision_events(NULL, NULL) == NULL);
    stele_memory_destroy(memory);
}

TEST(runners_and_processors_that_are_null_are_refused)
{
    struct stele_runner *runner = NULL;
    struct stele_runner_stats stats = {.commands = 7};
    struct stele_processor_progress progress;
    struct stele_routes *routes = NULL;
    CHECK_EQ(stele_runner_create(NULL, NULL, &runner, &err), STELE_E_INVALID);
    CHECK_SAYS(stele_runner_execute(NULL, &decider, &command, NULL, NULL, &err), "execute");
    CHECK_SAYS(stele_runner_submit(NULL, &decider, &command, NULL, NULL, NULL, &err), "submit");
    CHECK_SAYS(stele_runner_load(NULL, &fold, "a-1", 0, NULL, NULL, &err), "stele_runner_load");
    stele_runner_flush(NULL);
    stele_runner_stats(NULL, &stats);
    CHECK_EQ(stats.commands, 7);
    CHECK_EQ(stele_runner_metrics(NULL, (char *)room, sizeof room, NULL), STELE_E_INVALID);
    CHECK_EQ(stele_processor_run(NULL, NULL, NULL, NULL, &progress, &err), STELE_E_INVALID);
    CHECK_EQ(stele_process_emit(NULL, "a-1", NULL), STELE_E_INVALID);
    CHECK_SAYS(stele_routes_create(NULL, NULL, 0, NULL, 0, &routes, &err), "stele_routes_create");
    CHECK_SAYS(stele_routes_apply(NULL, "me", NULL, NULL, NULL, NULL, NULL, &err), "routes_apply");
    CHECK_EQ(stele_route_handle(NULL, NULL, NULL, NULL), STELE_E_INVALID);
    CHECK_SAYS(stele_project_list(NULL, NULL, NULL, &err), "stele_project_list");
    CHECK_SAYS(stele_project_drop(NULL, NULL, &err), "stele_project_drop");
    CHECK_SAYS(stele_project_wait(NULL, "p", 0, 0, &err), "stele_project_wait");
    CHECK(stele_projection_name(NULL) == NULL);
}

TEST(sagas_that_are_null_are_refused)
{
    struct stele_saga_plan plan;
    struct stele_saga saga = {.state = STELE_SAGA_NONE};
    struct stele_saga_event events[STELE_SAGA_EVENTS_MAX];
    struct stele_saga_runner *runner = NULL;
    int64_t due_us = 7;
    size_t count = 0;
    CHECK_SAYS(stele_saga_plan_init(&plan, NULL, &err), "stele_saga_plan_init");
    CHECK_SAYS(stele_saga_plan_check(NULL, &err), "stele_saga_plan_check");
    CHECK_SAYS(stele_saga_evolve(NULL, &saga, NULL, &err), "stele_saga_evolve");
    CHECK_SAYS(stele_saga_decide(NULL, &saga, 0, NULL, events, &count, &err), "saga_decide");
    CHECK_EQ(stele_saga_due(NULL, NULL), STELE_SAGA_NEVER);
    CHECK_EQ(stele_saga_key("k", "1", "s", 0, NULL), 0);
    CHECK_SAYS(stele_saga_runner_create(NULL, NULL, NULL, &runner, &err), "saga_runner_create");
    CHECK_SAYS(stele_saga_runner_turn(NULL, &due_us, &err), "stele_saga_runner_turn");
    CHECK_EQ(due_us, 7);
    stele_saga_runner_stop(NULL);
    CHECK_EQ(stele_breaker_permit(NULL, 0, NULL, NULL), STELE_E_INVALID);
}

/* A test that expects nothing because of a mistake must not end well. */
TEST(a_story_that_is_told_wrong_does_not_end_well)
{
    const char *report = NULL;
    for (int i = 0; i < 9; i++) {
        struct stele_testing *const story = stele_testing_create();
        switch (i) {
        case 0:
            stele_testing_given(story, NULL, "T", "{}");
            break;
        case 1:
            stele_testing_given_draft(story, "a-1", NULL);
            break;
        case 2:
            stele_testing_when(story, NULL, &command);
            break;
        case 3:
            stele_testing_then(story, "a-1", NULL, NULL);
            break;
        case 4:
            stele_testing_then_rejected(story, NULL);
            break;
        case 5:
            stele_testing_then_state(story, NULL, "a-1", "0");
            break;
        case 6:
            stele_testing_then_json(story, "rows", "1", NULL);
            break;
        case 7:
            stele_testing_saga(story, NULL, "1");
            break;
        default:
            stele_testing_answer(story, NULL, STELE_SAGA_DONE, NULL);
            break;
        }
        CHECK_EQ(stele_testing_check(story, &report), STELE_CONDITION_FAILED);
        CHECK(strstr(report, "the story could not go on") != NULL);
        stele_testing_destroy(story);
    }
    stele_testing_then(NULL, "a-1", "T", NULL);
    stele_testing_wait(NULL, 1);
    report = NULL;
    CHECK_EQ(stele_testing_check(NULL, &report), STELE_E_INVALID);
    CHECK(strstr(report, "no memory") != NULL);
}
