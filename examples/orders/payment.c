#include "payment.h"

#include "json.h"

#include <stdio.h>
#include <string.h>

#define PREFIX_SIZE 8 /* Of "payment-". */

struct payment {
    int is_charged;
    int is_closed; /* Refunded, or voided: nothing is charged any more. */
    int64_t amount;
    char customer[NAME_SIZE_MAX + 1];
};

/* ---- What events mean ---- */

static int evolve_payment(void *context, void *state, const struct stele_event *event,
                          const void *fact, struct stele_memory *memory)
{
    struct payment *const payment = state;
    const char *customer = NULL;
    (void)context;
    (void)fact;
    if (is_type(event->type, "PaymentCharged")) {
        if (!json_name(event_data(event), "customer", memory, &customer) ||
            !json_amount(event_data(event), "amount", &payment->amount)) {
            return STELE_E_CORRUPT;
        }
        (void)snprintf(payment->customer, sizeof payment->customer, "%s", customer);
        payment->is_charged = 1;
    } else if (is_type(event->type, "PaymentRefunded") || is_type(event->type, "PaymentVoided")) {
        payment->is_closed = 1;
    }
    return STELE_OK;
}

static const struct stele_fold payment_fold = {
    .struct_size = sizeof(struct stele_fold),
    .name = "payment",
    .version = 1,
    .state_size = sizeof(struct payment),
    .evolve = evolve_payment,
};

static int evolve_wallet(void *context, void *state, const struct stele_event *event,
                         const void *fact, struct stele_memory *memory)
{
    struct wallet *const wallet = state;
    int64_t amount = 0;
    (void)context;
    (void)fact;
    (void)memory;
    if (!json_amount(event_data(event), "amount", &amount)) {
        return STELE_E_CORRUPT;
    }
    wallet->balance += is_type(event->type, "Debited") ? -amount : amount;
    return STELE_OK;
}

const struct stele_fold wallet_fold = {
    .struct_size = sizeof(struct stele_fold),
    .name = "wallet",
    .version = 1,
    .state_size = sizeof(struct wallet),
    .evolve = evolve_wallet,
};

/* ---- Which commands are allowed ---- */

static const struct wallet *wallet_of(struct stele_decision *decision, const char *customer,
                                      char stream[STELE_STREAM_NAME_SIZE_MAX])
{
    (void)snprintf(stream, STELE_STREAM_NAME_SIZE_MAX, "wallet-%s", customer);
    return stele_decision_state(decision, stream, &wallet_fold);
}

static int decide_deposit(const struct stele_command *command, struct stele_decision *decision)
{
    const struct wallet *const wallet =
        stele_decision_state(decision, command->stream, &wallet_fold);
    const struct stele_text data = {command->data, command->data_size};
    int64_t amount = 0;
    if (wallet == NULL) {
        return STELE_INCOMPLETE;
    }
    if (!json_amount(data, "amount", &amount) || amount > INT64_MAX - wallet->balance) {
        return stele_decision_reject(decision, "a deposit has an \"amount\" in cents");
    }
    return emit(decision, command->stream, "Deposited", "{\"amount\":%lld}", (long long)amount);
}

/* It is not asked here whether this payment was charged before: a request that comes again has the same
 * key, and ends before this is called (service_execute). */
static int decide_charge(const struct stele_command *command, struct stele_decision *decision,
                         const struct payment *payment)
{
    char stream[STELE_STREAM_NAME_SIZE_MAX];
    const struct stele_text data = {command->data, command->data_size};
    const char *customer = NULL;
    int64_t amount = 0;
    if (payment->is_closed) {
        return stele_decision_reject(decision, "%s was called off", command->stream);
    }
    if (!json_name(data, "customer", stele_decision_memory(decision), &customer) ||
        !json_amount(data, "amount", &amount)) {
        return stele_decision_reject(decision, "a payment has a \"customer\" and an \"amount\"");
    }
    const struct wallet *const wallet = wallet_of(decision, customer, stream);
    if (wallet == NULL) {
        return STELE_INCOMPLETE;
    }
    if (amount > wallet->balance) {
        return stele_decision_reject(decision, "%s has only %lld cents", customer,
                                     (long long)wallet->balance);
    }
    const int outcome = emit(decision, command->stream, "PaymentCharged",
                             "{\"customer\":\"%s\",\"amount\":%lld}", customer, (long long)amount);
    return outcome != STELE_OK
               ? outcome
               : emit(decision, stream, "Debited", "{\"order\":\"%s\",\"amount\":%lld}",
                      command->stream + PREFIX_SIZE, (long long)amount);
}

/* The refund of what never came is remembered: it may still be on its way. */
static int decide_refund(const struct stele_command *command, struct stele_decision *decision,
                         const struct payment *payment)
{
    char stream[STELE_STREAM_NAME_SIZE_MAX];
    if (payment->is_closed) {
        return STELE_OK;
    }
    if (!payment->is_charged) {
        return emit(decision, command->stream, "PaymentVoided", "{}");
    }
    if (wallet_of(decision, payment->customer, stream) == NULL) {
        return STELE_INCOMPLETE;
    }
    const int outcome =
        emit(decision, command->stream, "PaymentRefunded", "{\"customer\":\"%s\",\"amount\":%lld}",
             payment->customer, (long long)payment->amount);
    return outcome != STELE_OK
               ? outcome
               : emit(decision, stream, "Credited", "{\"order\":\"%s\",\"amount\":%lld}",
                      command->stream + PREFIX_SIZE, (long long)payment->amount);
}

static int decide(void *context, const struct stele_command *command,
                  struct stele_decision *decision)
{
    (void)context;
    if (strcmp(command->type, "Deposit") == 0) {
        return decide_deposit(command, decision);
    }
    const struct payment *const payment =
        stele_decision_state(decision, command->stream, &payment_fold);
    if (payment == NULL) {
        return STELE_INCOMPLETE;
    }
    return strcmp(command->type, "Charge") == 0 ? decide_charge(command, decision, payment)
                                                : decide_refund(command, decision, payment);
}

const struct stele_decider payment_decider = {
    .struct_size = sizeof(struct stele_decider),
    .name = "payment",
    .decide = decide,
};
