/* An account: commands decided on a state that is folded from events.
 *
 *     aggregate STORE open NAME OWNER            exit code 0: done
 *     aggregate STORE deposit NAME CENTS                   3: refused, with the reason
 *     aggregate STORE withdraw NAME CENTS
 *     aggregate STORE transfer NAME CENTS TO
 *     aggregate STORE show NAME [TIME]           TIME: seconds since 1970
 *
 * STORE is a directory or stele://HOST. docs/aggregates.md explains it piece by piece. */
#include <stele/run.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- The state, and how events change it ---- */

struct account {
    int open;
    int64_t cents;
    const char *owner;
};

static int is(struct stele_text type, const char *name)
{
    return type.size == strlen(name) && memcmp(type.data, name, type.size) == 0;
}

static int account_evolve(void *context, void *state, const struct stele_event *event,
                          const void *fact, struct stele_memory *memory)
{
    struct account *account = state;
    struct stele_text owner;
    int64_t cents = 0;
    int outcome = STELE_OK;
    (void)context;
    (void)fact;
    if (is(event->type, "AccountOpened")) {
        outcome = stele_json_string(event->data, event->data_size, "owner", memory, &owner);
        account->open = 1;
        account->owner = outcome == STELE_OK ? owner.data : NULL;
    } else if (is(event->type, "Deposited")) {
        outcome = stele_json_integer(event->data, event->data_size, "cents", &cents);
        account->cents += cents;
    } else if (is(event->type, "Withdrawn")) {
        outcome = stele_json_integer(event->data, event->data_size, "cents", &cents);
        account->cents -= cents;
    }
    return outcome;
}

/* ---- Snapshots: the state points to a text, so its bytes alone are not enough ---- */

static int account_encode(void *context, const void *state, struct stele_output *output)
{
    const struct account *account = state;
    (void)context;
    stele_output_printf(output, "{\"open\":%d,\"cents\":%lld,\"owner\":", account->open,
                        (long long)account->cents);
    stele_output_json_string(output, account->owner != NULL ? account->owner : "",
                             account->owner != NULL ? strlen(account->owner) : 0);
    return stele_output_printf(output, "}");
}

static int account_decode(void *context, void *state, const void *data, size_t size,
                          struct stele_memory *memory)
{
    struct account *account = state;
    struct stele_text owner;
    int64_t is_open = 0;
    int outcome = stele_json_integer(data, size, "open", &is_open);
    (void)context;
    account->open = is_open != 0;
    if (outcome == STELE_OK) {
        outcome = stele_json_integer(data, size, "cents", &account->cents);
    }
    if (outcome == STELE_OK) {
        outcome = stele_json_string(data, size, "owner", memory, &owner);
        account->owner = outcome == STELE_OK ? owner.data : NULL;
    }
    return outcome;
}

static const struct stele_fold account_fold = {
    .struct_size = sizeof(struct stele_fold),
    .name = "account",
    .version = 1,
    .state_size = sizeof(struct account),
    .evolve = account_evolve,
    .encode = account_encode,
    .decode = account_decode,
};

/* ---- What is written: types, and what their data have to look like ---- */

#define CENTS                                                                                      \
    "{\"type\":\"object\",\"required\":[\"cents\"],"                                               \
    "\"properties\":{\"cents\":{\"type\":\"integer\",\"minimum\":1}}}"

/* Texts of others need quoting: the library does it. */
static int encode_opened(void *context, const void *fact, struct stele_output *data)
{
    const char *owner = fact;
    (void)context;
    stele_output_printf(data, "{\"owner\":");
    stele_output_json_string(data, owner, strlen(owner));
    return stele_output_printf(data, "}");
}

static const struct stele_event_type types[] = {
    {.struct_size = sizeof(struct stele_event_type),
     .type = "AccountOpened",
     .encode = encode_opened},
    {.struct_size = sizeof(struct stele_event_type), .type = "Deposited", .schema = CENTS},
    {.struct_size = sizeof(struct stele_event_type), .type = "Withdrawn", .schema = CENTS},
};

/* ---- Commands ---- */

struct order {
    const char *owner;
    const char *to;
    int64_t cents;
};

static int emit_cents(struct stele_decision *decision, const char *stream, const char *type,
                      int64_t cents)
{
    char data[64];
    int size = snprintf(data, sizeof data, "{\"cents\":%lld}", (long long)cents);
    return stele_decision_emit_data(decision, stream, type, data, (size_t)size);
}

static int account_decide(void *context, const struct stele_command *command,
                          struct stele_decision *decision)
{
    const struct order *order = command->data;
    const struct account *account = stele_decision_state(decision, command->stream, &account_fold);
    (void)context;
    if (account == NULL) {
        return STELE_INCOMPLETE; /* Not loaded yet: called again when it is. */
    }
    if (strcmp(command->type, "OpenAccount") == 0) {
        return account->open ? stele_decision_reject(decision, "it is open already")
                             : stele_decision_emit_fact(decision, command->stream, "AccountOpened",
                                                        order->owner);
    }
    if (!account->open) {
        return stele_decision_reject(decision, "there is no such account");
    }
    if (strcmp(command->type, "Deposit") == 0) {
        return emit_cents(decision, command->stream, "Deposited", order->cents);
    }
    if (account->cents < order->cents) {
        return stele_decision_reject(decision, "it has %lld cents only", (long long)account->cents);
    }
    if (order->to != NULL) {
        const struct account *to = stele_decision_state(decision, order->to, &account_fold);
        if (to == NULL) {
            return STELE_INCOMPLETE;
        }
        if (!to->open) {
            return stele_decision_reject(decision, "there is no account %s", order->to);
        }
        emit_cents(decision, order->to, "Deposited", order->cents);
    }
    return emit_cents(decision, command->stream, "Withdrawn", order->cents);
}

/* ---- Running them ---- */

static int fail(int outcome, const struct stele_error *err)
{
    fprintf(stderr, "%s: %s\n", stele_outcome_name(outcome), err->message);
    return outcome == STELE_REJECTED ? 3 : 1;
}

static int execute(struct stele_runner *runner, const char *type, const char *stream,
                   const struct order *order)
{
    struct stele_error err = {0};
    struct stele_memory *memory = stele_memory_create();
    struct stele_registry *registry = NULL;
    struct stele_decider decider = {.struct_size = sizeof decider,
                                    .name = "account",
                                    .fold = &account_fold,
                                    .decide = account_decide};
    struct stele_command command = {.struct_size = sizeof command,
                                    .type = type,
                                    .stream = stream,
                                    .data = order,
                                    .data_size = sizeof *order};
    struct stele_command_result result;
    int outcome = stele_registry_create(memory, types, 3, STELE_REGISTRY_STRICT, &registry, &err);
    decider.registry = registry;
    if (outcome == STELE_OK) {
        outcome = stele_runner_execute(runner, &decider, &command, NULL, &result, &err);
    }
    if (outcome == STELE_OK) {
        printf("%s: %u event(s)\n", type, (unsigned)result.events);
    }
    stele_memory_destroy(memory);
    return outcome == STELE_OK ? 0 : fail(outcome, &err);
}

static int show(struct stele_runner *runner, const char *stream, uint64_t as_of)
{
    struct stele_error err = {0};
    struct stele_memory *memory = stele_memory_create();
    struct stele_state *state = NULL;
    int outcome = stele_runner_load(runner, &account_fold, stream, as_of, memory, &state, &err);
    if (outcome == STELE_OK) {
        const struct account *account = stele_state_value(state);
        printf("%s: %lld cents, owner %s\n", stream, (long long)account->cents,
               account->owner != NULL ? account->owner : "nobody");
    }
    stele_memory_destroy(memory);
    return outcome == STELE_OK ? 0 : fail(outcome, &err);
}

static int run(struct stele_runner *runner, int argc, char **argv)
{
    struct order order = {0};
    char stream[200];
    char to[200];
    snprintf(stream, sizeof stream, "account-%s", argv[3]);
    if (strcmp(argv[2], "show") == 0) {
        return show(runner, stream,
                    argc > 4 ? stele_position_at(strtoll(argv[4], NULL, 10) * 1000000) : 0);
    }
    if (strcmp(argv[2], "open") == 0 && argc == 5) {
        order.owner = argv[4];
        return execute(runner, "OpenAccount", stream, &order);
    }
    order.cents = argc > 4 ? strtoll(argv[4], NULL, 10) : 0;
    if (strcmp(argv[2], "deposit") == 0 && argc == 5) {
        return execute(runner, "Deposit", stream, &order);
    }
    if (strcmp(argv[2], "withdraw") == 0 && argc == 5) {
        return execute(runner, "Withdraw", stream, &order);
    }
    if (strcmp(argv[2], "transfer") == 0 && argc == 6) {
        snprintf(to, sizeof to, "account-%s", argv[5]);
        order.to = to;
        return execute(runner, "Transfer", stream, &order);
    }
    fprintf(stderr, "aggregate STORE open|deposit|withdraw|transfer|show NAME …\n");
    return 2;
}

int main(int argc, char **argv)
{
    struct stele_error err = {0};
    struct stele *store = NULL;
    struct stele_runner *runner = NULL;
    int outcome;
    int code;
    if (argc < 4) {
        fprintf(stderr, "aggregate STORE open|deposit|withdraw|transfer|show NAME …\n");
        return 2;
    }
    outcome = stele_open(argv[1], NULL, &store, &err);
    if (outcome != STELE_OK) {
        return fail(outcome, &err);
    }
    outcome = stele_runner_create(store, NULL, &runner, &err);
    code = outcome == STELE_OK ? run(runner, argc, argv) : fail(outcome, &err);
    stele_runner_destroy(runner);
    stele_close(store);
    return code;
}
