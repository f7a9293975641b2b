/* Commands of a small bank, for the tests of the command runner: deposit, withdraw, transfer. */
#ifndef STELE_TESTS_UNIT_RUNNER_DECIDERS_H
#define STELE_TESTS_UNIT_RUNNER_DECIDERS_H

#include "unit/client/fixture.h"
#include "unit/es/bank.h"

#include <stele/run.h>

struct order {
    int64_t amount;
    const char *to;  /* Of a transfer. */
    unsigned events; /* Of a deposit: the amount in so many events; 0 is 1. */
};

static inline int bank_emit(struct stele_decision *decision, const char *stream, const char *type,
                            int64_t amount)
{
    char data[40];
    const int size = snprintf(data, sizeof data, "{\"amount\":%lld}", (long long)amount);
    return stele_decision_emit_data(decision, stream, type, data, (size_t)size);
}

static inline int bank_decide(void *context, const struct stele_command *command,
                              struct stele_decision *decision)
{
    (void)context;
    const struct order *order = command->data;
    const struct account *account = stele_decision_state(decision, command->stream, &account_fold);
    if (account == NULL) {
        return STELE_INCOMPLETE;
    }
    if (strcmp(command->type, "Deposit") == 0) {
        for (unsigned i = 0; i + 1 < order->events; i++) {
            (void)bank_emit(decision, command->stream, "Deposited", 0);
        }
        return bank_emit(decision, command->stream, "Deposited", order->amount);
    }
    if (account->balance < order->amount) {
        return stele_decision_reject(decision, "%s has %lld, not %lld", command->stream,
                                     (long long)account->balance, (long long)order->amount);
    }
    if (order->amount == 0) {
        return STELE_OK; /* Nothing to do. */
    }
    if (order->to != NULL) {
        const struct account *to = stele_decision_state(decision, order->to, &account_fold);
        if (to == NULL) {
            return STELE_INCOMPLETE;
        }
        (void)bank_emit(decision, order->to, "Deposited", order->amount);
    }
    return bank_emit(decision, command->stream, "Withdrawn", order->amount);
}

static const struct stele_decider bank = {.struct_size = sizeof(struct stele_decider),
                                          .name = "bank",
                                          .fold = &account_fold,
                                          .decide = bank_decide};

static inline int bank_execute(struct stele_runner *runner, const char *type, const char *stream,
                               struct order order, struct stele_command_result *result,
                               struct stele_error *error)
{
    const struct stele_command command = {
        .struct_size = sizeof command, .type = type, .stream = stream, .data = &order};
    return stele_runner_execute(runner, &bank, &command, NULL, result, error);
}

/* Folded from what stands in the store, without a runner. */
static inline struct account bank_read(const char *stream)
{
    struct account account = {0};
    struct stele_iterator *iterator = NULL;
    const struct stele_event *events = NULL;
    size_t count = 0;
    const int outcome = stele_read_stream(store, stream, NULL, &iterator, &err);
    if (outcome == STELE_NO_STREAM) {
        return account;
    }
    CHECK_OK(outcome, err);
    while (stele_iterator_next(iterator, &events, &count, &err) == STELE_OK) {
        for (size_t i = 0; i < count; i++) {
            CHECK_EQ(account_evolve(NULL, &account, &events[i], NULL, NULL), STELE_OK);
        }
    }
    stele_iterator_destroy(iterator);
    return account;
}

static inline struct stele_runner *bank_runner(struct stele_runner_options options)
{
    struct stele_runner *runner = NULL;
    CHECK_OK(stele_runner_create(store, &options, &runner, &err), err);
    return runner;
}

#endif
