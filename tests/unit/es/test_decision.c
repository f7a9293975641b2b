/* A decision is made on all that it asked for, and what it causes is whole or nothing.
 *
 * Method: a transfer between two accounts, run by hand as a runner would; then deciders that do
 * wrong what can be done wrong. */
#include "bank.h"
#include "lib/check.h"

struct transfer {
    const char *to;
    int64_t amount;
};

static int transfer_decide(void *context, const struct stele_command *command,
                           struct stele_decision *decision)
{
    (void)context;
    const struct transfer *transfer = command->data;
    const struct account *from = stele_decision_state(decision, command->stream, &account_fold);
    const struct account *to = stele_decision_state(decision, transfer->to, &account_fold);
    if (from == NULL || to == NULL) {
        return STELE_INCOMPLETE;
    }
    if (from->balance < transfer->amount) {
        return stele_decision_reject(decision, "%s has %d", command->stream, (int)from->balance);
    }
    char data[40];
    const int size = snprintf(data, sizeof data, "{\"amount\":%d}", (int)transfer->amount);
    (void)stele_decision_emit_data(decision, command->stream, "Withdrawn", data, (size_t)size);
    return stele_decision_emit_data(decision, transfer->to, "Deposited", data, (size_t)size);
}

static const struct stele_decider transferring = {.struct_size = sizeof transferring,
                                                  .name = "transfer",
                                                  .fold = &account_fold,
                                                  .decide = transfer_decide};

static struct stele_state *state_of(struct stele_memory *memory, const char *data)
{
    struct stele_state *state = NULL;
    CHECK_EQ(stele_state_create(memory, &account_fold, &state, NULL), STELE_OK);
    if (data != NULL) {
        const struct stele_event event = event_of("Deposited", data, "{}", 0);
        CHECK_EQ(stele_state_apply(state, &event, 1, NULL), STELE_OK);
    }
    return state;
}

/* Runs to the end; each stream that is wanted gets a balance of 10, account-2 none. */
static int run(struct stele_memory *memory, const struct stele_decider *decider,
               const struct stele_command *command, struct stele_decision **out,
               struct stele_error *err)
{
    int outcome = stele_decision_create(memory, decider, command, out, err);
    if (outcome != STELE_OK) {
        return outcome;
    }
    while ((outcome = stele_decision_run(*out, err)) == STELE_INCOMPLETE) {
        struct stele_wanted wanted;
        for (size_t i = 0; stele_decision_wanted(*out, i, &wanted) == STELE_OK; i++) {
            if (wanted.state == NULL) {
                const int empty = wanted.stream != NULL && strcmp(wanted.stream, "account-2") == 0;
                struct stele_state *state = state_of(memory, empty ? NULL : "{\"amount\":10}");
                CHECK_EQ(stele_decision_supply(*out, i, state, 5), STELE_OK);
            }
        }
    }
    return outcome;
}

TEST(a_decision_asks_for_what_it_needs_and_then_decides)
{
    struct stele_memory *memory = stele_memory_create();
    struct stele_decision *decision = NULL;
    struct stele_error err = {0};
    const struct transfer transfer = {"account-2", 7};
    const struct stele_command command = {.struct_size = sizeof command,
                                          .type = "Transfer",
                                          .stream = "account-1",
                                          .data = &transfer,
                                          .id = {1}};
    CHECK_EQ(stele_decision_create(memory, &transferring, &command, &decision, &err), STELE_OK);
    struct stele_wanted wanted;
    CHECK_EQ(stele_decision_run(decision, &err), STELE_INCOMPLETE);
    CHECK_EQ(stele_decision_wanted(decision, 0, &wanted), STELE_OK);
    CHECK_TEXT_EQ(wanted.stream, "account-1");
    CHECK_EQ(stele_decision_wanted(decision, 1, &wanted), STELE_NOT_FOUND);
    CHECK_EQ(stele_decision_supply(decision, 0, state_of(memory, "{\"amount\":10}"), 0), STELE_OK);
    CHECK_EQ(stele_decision_run(decision, &err), STELE_INCOMPLETE);
    CHECK_EQ(stele_decision_wanted(decision, 1, &wanted), STELE_OK);
    CHECK_TEXT_EQ(wanted.stream, "account-2");
    CHECK(stele_decision_revision(decision, "account-2") == STELE_EXPECT_NO_STREAM);
    CHECK_EQ(stele_decision_supply(decision, 1, state_of(memory, NULL), 0), STELE_OK);
    CHECK_EQ(stele_decision_run(decision, &err), STELE_OK);
    size_t count;
    const struct stele_emitted *emitted = stele_decision_events(decision, &count);
    CHECK_EQ(count, 2);
    CHECK_TEXT_EQ(emitted[0].stream, "account-1");
    CHECK_TEXT_EQ(emitted[1].draft.type, "Deposited");
    CHECK_EQ(stele_decision_revision(decision, "account-1"), 0);
    /* Again: the same events with the same ids, and not twice as many. */
    uint8_t ids[2][16];
    memcpy(ids[0], emitted[0].draft.id, 16);
    memcpy(ids[1], emitted[1].draft.id, 16);
    CHECK(memcmp(ids[0], ids[1], 16) != 0);
    CHECK_EQ(stele_decision_run(decision, &err), STELE_OK);
    emitted = stele_decision_events(decision, &count);
    CHECK_EQ(count, 2);
    CHECK(memcmp(ids[0], emitted[0].draft.id, 16) == 0);
    CHECK(memcmp(ids[1], emitted[1].draft.id, 16) == 0);
    stele_memory_destroy(memory);
}

TEST(a_refused_command_says_why)
{
    struct stele_memory *memory = stele_memory_create();
    struct stele_decision *decision = NULL;
    struct stele_error err = {0};
    const struct transfer transfer = {"account-2", 70};
    const struct stele_command command = {.struct_size = sizeof command,
                                          .type = "Transfer",
                                          .stream = "account-1",
                                          .data = &transfer};
    CHECK_EQ(run(memory, &transferring, &command, &decision, &err), STELE_REJECTED);
    CHECK_TEXT_EQ(stele_decision_reason(decision), "account-1 has 10");
    CHECK_TEXT_EQ(err.message, "account-1 has 10");
    stele_memory_destroy(memory);
}

/* ---- Deciders that do wrong --------------------------------------------------------------- */

static const struct stele_query_item item = {.types = (const char *const[]){"Deposited"},
                                             .types_count = 1};

static int wrong_decide(void *context, const struct stele_command *command,
                        struct stele_decision *decision)
{
    const char *how = context;
    if (strcmp(how, "waits") == 0) {
        return STELE_INCOMPLETE;
    }
    if (strcmp(how, "nameless") == 0) {
        (void)stele_decision_emit_data(decision, command->stream, "", "", 0);
        return STELE_OK;
    }
    if (strcmp(how, "strange") == 0) {
        return STELE_E_CORRUPT;
    }
    if (strcmp(how, "greedy") == 0) {
        for (unsigned i = 0; i <= STELE_APPEND_EVENTS_MAX; i++) {
            (void)stele_decision_emit_data(decision, command->stream, "A", "", 0);
        }
        return STELE_OK;
    }
    if (strcmp(how, "unknown") == 0) {
        (void)stele_decision_emit_fact(decision, command->stream, "A", "");
        return STELE_OK;
    }
    /* Decides although what it asked for is not there yet; its first answer does not count. */
    const struct account *sum = stele_decision_query(decision, &item, 1, &account_fold);
    return sum == NULL ? stele_decision_emit_data(decision, "x", "Early", "", 0)
                       : stele_decision_emit_data(decision, "x", "Late", "", 0);
}

static char how[20];
static const struct stele_decider wrong = {
    .struct_size = sizeof wrong, .name = "wrong", .context = how, .decide = wrong_decide};
static const struct stele_command plain = {
    .struct_size = sizeof plain, .type = "Do", .stream = "account-1"};

TEST(a_decider_that_does_wrong_is_told_in_words)
{
    static const struct {
        const char *how;
        int outcome;
        const char *words;
    } cases[] = {
        {"waits", STELE_E_INVALID, "answered \"incomplete\""},
        {"nameless", STELE_E_INVALID, "needs a stream and a type"},
        {"strange", STELE_E_CORRUPT, "ended with \"corrupt\""},
        {"greedy", STELE_E_LIMIT, "more events than an append may have"},
        {"unknown", STELE_E_INVALID, "no encode for A"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct stele_memory *memory = stele_memory_create();
        struct stele_decision *decision = NULL;
        struct stele_error err = {0};
        (void)snprintf(how, sizeof how, "%s", cases[i].how);
        CHECK_EQ(run(memory, &wrong, &plain, &decision, &err), cases[i].outcome);
        CHECK_TEXT_HAS(err.message, cases[i].words);
        stele_memory_destroy(memory);
    }
}

TEST(a_decision_counts_only_when_all_that_it_asked_for_was_there)
{
    struct stele_memory *memory = stele_memory_create();
    struct stele_decision *decision = NULL;
    struct stele_error err = {0};
    how[0] = '\0';
    CHECK_EQ(run(memory, &wrong, &plain, &decision, &err), STELE_OK);
    size_t count;
    const struct stele_emitted *emitted = stele_decision_events(decision, &count);
    CHECK_EQ(count, 1);
    CHECK_TEXT_EQ(emitted[0].draft.type, "Late");
    struct stele_wanted wanted;
    CHECK_EQ(stele_decision_wanted(decision, 0, &wanted), STELE_OK);
    CHECK(wanted.stream == NULL);
    CHECK_EQ(wanted.items_count, 1);
    CHECK_TEXT_EQ(wanted.items[0].types[0], "Deposited");
    CHECK_EQ(wanted.after, 5);
    stele_memory_destroy(memory);
}

TEST(a_command_without_a_type_is_refused)
{
    struct stele_memory *memory = stele_memory_create();
    struct stele_decision *decision = NULL;
    struct stele_error err = {0};
    const struct stele_command nothing = {.struct_size = sizeof nothing};
    CHECK_EQ(stele_decision_create(memory, &wrong, &nothing, &decision, &err), STELE_E_INVALID);
    CHECK_TEXT_HAS(err.message, "a command needs");
    CHECK(decision == NULL);
    stele_memory_destroy(memory);
}

/* ---- Registry ----------------------------------------------------------------------------- */

static int encode_amount(void *context, const void *fact, struct stele_output *data)
{
    (void)context;
    return stele_output_printf(data, "{\"amount\":%d}", *(const int *)fact);
}

static const struct stele_event_type typed[] = {
    {.struct_size = sizeof(struct stele_event_type),
     .type = "Deposited",
     .version = 3,
     .schema = "{\"properties\":{\"amount\":{\"minimum\":1}}}",
     .encode = encode_amount},
};

static int typed_decide(void *context, const struct stele_command *command,
                        struct stele_decision *decision)
{
    (void)context;
    return stele_decision_emit_fact(decision, "a", "Deposited", command->data);
}

TEST(what_is_emitted_fits_its_schema_and_carries_its_version)
{
    for (int amount = 0; amount < 2; amount++) {
        struct stele_memory *memory = stele_memory_create();
        struct stele_decision *decision = NULL;
        struct stele_registry *registry = NULL;
        struct stele_error err = {0};
        struct stele_command command = plain;
        command.data = &amount;
        CHECK_EQ(stele_registry_create(memory, typed, 1, 0, &registry, &err), STELE_OK);
        const struct stele_decider decider = {.struct_size = sizeof decider,
                                              .name = "typed",
                                              .decide = typed_decide,
                                              .registry = registry};
        const int outcome = run(memory, &decider, &command, &decision, &err);
        CHECK_EQ(outcome, amount == 0 ? STELE_E_INVALID : STELE_OK);
        if (amount == 0) {
            CHECK_TEXT_HAS(err.message, "event Deposited: $.amount is below the minimum of 1");
        } else {
            size_t count;
            const struct stele_emitted *emitted = stele_decision_events(decision, &count);
            CHECK_TEXT_EQ((const char *)emitted[0].draft.metadata, "{\"version\":3}");
            CHECK_TEXT_EQ((const char *)emitted[0].draft.data, "{\"amount\":1}");
        }
        stele_memory_destroy(memory);
    }
}
