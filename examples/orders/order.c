#include "order.h"

#include "json.h"

#include <string.h>

static int evolve(void *context, void *state, const struct stele_event *event, const void *fact,
                  struct stele_memory *memory)
{
    struct order *const order = state;
    (void)context;
    (void)fact;
    (void)memory;
    if (is_type(event->type, "OrderPlaced")) {
        order->is_placed = 1;
    } else if (is_type(event->type, "OrderCancelled")) {
        order->is_cancelled = 1;
    }
    return STELE_OK;
}

const struct stele_fold order_fold = {
    .struct_size = sizeof(struct stele_fold),
    .name = "order",
    .version = 1,
    .state_size = sizeof(struct order),
    .evolve = evolve,
};

static int decide_place(const struct stele_command *command, struct stele_decision *decision,
                        const struct order *order)
{
    const struct stele_text data = {command->data, command->data_size};
    struct stele_memory *const memory = stele_decision_memory(decision);
    const char *customer = NULL;
    const char *item = NULL;
    const char *to = NULL;
    int64_t quantity = 0;
    int64_t amount = 0;
    if (order->is_placed) {
        return stele_decision_reject(decision, "%s was placed before", command->stream);
    }
    if (!json_name(data, "customer", memory, &customer) ||
        !json_name(data, "item", memory, &item) || !json_amount(data, "quantity", &quantity) ||
        !json_amount(data, "amount", &amount) || !json_plain(data, "to", memory, &to)) {
        return stele_decision_reject(
            decision, "an order has a customer, an item, a quantity, an amount in cents, and to");
    }
    return emit(decision, command->stream, "OrderPlaced",
                "{\"customer\":\"%s\",\"item\":\"%s\",\"quantity\":%lld,\"amount\":%lld,"
                "\"to\":\"%s\"}",
                customer, item, (long long)quantity, (long long)amount, to);
}

static int decide(void *context, const struct stele_command *command,
                  struct stele_decision *decision)
{
    (void)context;
    const struct order *const order = stele_decision_state(decision, command->stream, &order_fold);
    if (order == NULL) {
        return STELE_INCOMPLETE;
    }
    if (strcmp(command->type, "Place") == 0) {
        return decide_place(command, decision, order);
    }
    if (strcmp(command->type, "CancelOrder") == 0) {
        return order->is_cancelled ? STELE_OK
                                   : emit(decision, command->stream, "OrderCancelled", "{}");
    }
    if (order->is_cancelled || !order->is_placed) {
        return stele_decision_reject(decision, "%s is %s", command->stream,
                                     order->is_cancelled ? "cancelled" : "not placed");
    }
    return emit(decision, command->stream,
                strcmp(command->type, "AcceptOrder") == 0 ? "OrderAccepted" : "OrderConfirmed",
                "{}");
}

const struct stele_decider order_decider = {
    .struct_size = sizeof(struct stele_decider),
    .name = "order",
    .decide = decide,
};
