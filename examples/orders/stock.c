#include "stock.h"

#include "json.h"

#include <stdio.h>
#include <string.h>

#define PREFIX_SIZE 12 /* Of "reservation-". */

struct reservation {
    int is_reserved;
    int is_closed; /* Released, or voided. */
    int is_scheduled;
    int is_shipment_closed; /* Cancelled, or voided. */
    int64_t quantity;
    char item[NAME_SIZE_MAX + 1];
};

/* ---- What events mean ---- */

static int evolve_reservation(void *context, void *state, const struct stele_event *event,
                              const void *fact, struct stele_memory *memory)
{
    struct reservation *const reservation = state;
    const char *item = NULL;
    (void)context;
    (void)fact;
    if (is_type(event->type, "StockReserved")) {
        if (!json_name(event_data(event), "item", memory, &item) ||
            !json_amount(event_data(event), "quantity", &reservation->quantity)) {
            return STELE_E_CORRUPT;
        }
        (void)snprintf(reservation->item, sizeof reservation->item, "%s", item);
        reservation->is_reserved = 1;
    } else if (is_type(event->type, "StockReleased") || is_type(event->type, "ReservationVoided")) {
        reservation->is_closed = 1;
    } else if (is_type(event->type, "ShipmentScheduled")) {
        reservation->is_scheduled = 1;
    } else if (is_type(event->type, "ShipmentCancelled") ||
               is_type(event->type, "ShipmentVoided")) {
        reservation->is_shipment_closed = 1;
    }
    return STELE_OK;
}

static const struct stele_fold reservation_fold = {
    .struct_size = sizeof(struct stele_fold),
    .name = "reservation",
    .version = 1,
    .state_size = sizeof(struct reservation),
    .evolve = evolve_reservation,
};

static int evolve_item(void *context, void *state, const struct stele_event *event,
                       const void *fact, struct stele_memory *memory)
{
    struct item *const item = state;
    int64_t quantity = 0;
    (void)context;
    (void)fact;
    (void)memory;
    if (!json_amount(event_data(event), "quantity", &quantity)) {
        return STELE_E_CORRUPT;
    }
    item->quantity += is_type(event->type, "Taken") ? -quantity : quantity;
    return STELE_OK;
}

const struct stele_fold item_fold = {
    .struct_size = sizeof(struct stele_fold),
    .name = "item",
    .version = 1,
    .state_size = sizeof(struct item),
    .evolve = evolve_item,
};

/* ---- Which commands are allowed ---- */

static const struct item *item_of(struct stele_decision *decision, const char *name,
                                  char stream[STELE_STREAM_NAME_SIZE_MAX])
{
    (void)snprintf(stream, STELE_STREAM_NAME_SIZE_MAX, "item-%s", name);
    return stele_decision_state(decision, stream, &item_fold);
}

static int decide_delivery(const struct stele_command *command, struct stele_decision *decision)
{
    const struct item *const item = stele_decision_state(decision, command->stream, &item_fold);
    const struct stele_text data = {command->data, command->data_size};
    int64_t quantity = 0;
    if (item == NULL) {
        return STELE_INCOMPLETE;
    }
    if (!json_amount(data, "quantity", &quantity) || quantity > INT64_MAX - item->quantity) {
        return stele_decision_reject(decision, "a delivery has a \"quantity\"");
    }
    return emit(decision, command->stream, "Delivered", "{\"quantity\":%lld}", (long long)quantity);
}

/* Emits to the reservation and to its item. */
static int emit_both(struct stele_decision *decision, const char *reservation, const char *type,
                     const char *item, const char *item_type, int64_t quantity)
{
    char stream[STELE_STREAM_NAME_SIZE_MAX];
    if (item_of(decision, item, stream) == NULL) {
        return STELE_INCOMPLETE;
    }
    const int outcome = emit(decision, reservation, type, "{\"item\":\"%s\",\"quantity\":%lld}",
                             item, (long long)quantity);
    return outcome != STELE_OK
               ? outcome
               : emit(decision, stream, item_type, "{\"order\":\"%s\",\"quantity\":%lld}",
                      reservation + PREFIX_SIZE, (long long)quantity);
}

static int decide_reserve(const struct stele_command *command, struct stele_decision *decision,
                          const struct reservation *reservation)
{
    char stream[STELE_STREAM_NAME_SIZE_MAX];
    const struct stele_text data = {command->data, command->data_size};
    const char *name = NULL;
    int64_t quantity = 0;
    if (reservation->is_closed) {
        return stele_decision_reject(decision, "%s was called off", command->stream);
    }
    if (!json_name(data, "item", stele_decision_memory(decision), &name) ||
        !json_amount(data, "quantity", &quantity)) {
        return stele_decision_reject(decision, "a reservation has an \"item\" and a \"quantity\"");
    }
    const struct item *const item = item_of(decision, name, stream);
    if (item == NULL) {
        return STELE_INCOMPLETE;
    }
    if (quantity > item->quantity) {
        return stele_decision_reject(decision, "only %lld of %s are left",
                                     (long long)item->quantity, name);
    }
    return emit_both(decision, command->stream, "StockReserved", name, "Taken", quantity);
}

/* The release of what was never reserved is remembered: the reservation may still be on its way. */
static int decide_release(const struct stele_command *command, struct stele_decision *decision,
                          const struct reservation *reservation)
{
    if (reservation->is_closed) {
        return STELE_OK;
    }
    return reservation->is_reserved
               ? emit_both(decision, command->stream, "StockReleased", reservation->item,
                           "Returned", reservation->quantity)
               : emit(decision, command->stream, "ReservationVoided", "{}");
}

static int decide_ship(const struct stele_command *command, struct stele_decision *decision,
                       const struct reservation *reservation)
{
    const struct stele_text data = {command->data, command->data_size};
    const char *to = NULL;
    if (reservation->is_shipment_closed || reservation->is_closed || !reservation->is_reserved) {
        return stele_decision_reject(decision, "%s has nothing to ship", command->stream);
    }
    if (!json_plain(data, "to", stele_decision_memory(decision), &to) ||
        strncmp(to, "PO box", 6) == 0) {
        return stele_decision_reject(decision, "nobody delivers to a PO box");
    }
    return emit(decision, command->stream, "ShipmentScheduled", "{\"to\":\"%s\"}", to);
}

static int decide_cancel(const struct stele_command *command, struct stele_decision *decision,
                         const struct reservation *reservation)
{
    if (reservation->is_shipment_closed) {
        return STELE_OK;
    }
    return emit(decision, command->stream,
                reservation->is_scheduled ? "ShipmentCancelled" : "ShipmentVoided", "{}");
}

static int decide(void *context, const struct stele_command *command,
                  struct stele_decision *decision)
{
    static const struct {
        const char *type;
        int (*decide)(const struct stele_command *command, struct stele_decision *decision,
                      const struct reservation *reservation);
    } commands[] = {{"Reserve", decide_reserve},
                    {"Release", decide_release},
                    {"Ship", decide_ship},
                    {"CancelShipment", decide_cancel}};
    (void)context;
    if (strcmp(command->type, "Deliver") == 0) {
        return decide_delivery(command, decision);
    }
    const struct reservation *const reservation =
        stele_decision_state(decision, command->stream, &reservation_fold);
    if (reservation == NULL) {
        return STELE_INCOMPLETE;
    }
    for (size_t i = 0; i < sizeof commands / sizeof commands[0]; i++) {
        if (strcmp(command->type, commands[i].type) == 0) {
            return commands[i].decide(command, decision, reservation);
        }
    }
    return stele_decision_reject(decision, "there is no command %s", command->type);
}

const struct stele_decider stock_decider = {
    .struct_size = sizeof(struct stele_decider),
    .name = "stock",
    .decide = decide,
};
