/* An order is created, paid, and taken from stock: whole, or not at all. docs/sagas.md explains it.
 *
 *     order-saga STORE sequential|parallel ORDER [STEP]
 *
 * places the order, runs its saga to the end, and refuses the step, if one is named. */
#include <stele/saga.h>

#include <stdio.h>
#include <string.h>

/* ---- The table ---- */

/* Three attempts, 0.1 to 1 second apart. */
#define RETRY                                                                                      \
    {                                                                                              \
        3, 100, 1000                                                                               \
    }

static const struct stele_saga_step one_after_the_other[] = {
    {.name = "order",
     .request = "CreateOrder",
     .compensation = "CancelOrder",
     .timeout_ms = 2000,
     .retry = RETRY},
    {.name = "payment",
     .request = "ReservePayment",
     .compensation = "ReleasePayment",
     .timeout_ms = 5000,
     .retry = RETRY},
    {.name = "stock",
     .request = "ReserveStock",
     .compensation = "ReleaseStock",
     .timeout_ms = 2000,
     .retry = RETRY},
};

/* payment and stock wait for the order alone, so they are asked for at the same time. */
static const struct stele_saga_step side_by_side[] = {
    {.name = "order",
     .request = "CreateOrder",
     .compensation = "CancelOrder",
     .timeout_ms = 2000,
     .retry = RETRY},
    {.name = "payment",
     .after = "order",
     .request = "ReservePayment",
     .compensation = "ReleasePayment",
     .timeout_ms = 5000,
     .retry = RETRY},
    {.name = "stock",
     .after = "order",
     .request = "ReserveStock",
     .compensation = "ReleaseStock",
     .timeout_ms = 2000,
     .retry = RETRY},
};

/* ---- The participants ---- */

struct shop {
    struct stele *store;
    const char *refused; /* A step, or NULL. */
};

/* Orders, payments and stock are streams here. The id of the event follows from the key of the call: so
 * whoever is asked twice does it once. */
static int handle(void *context, const struct stele_saga_call *call, struct stele_saga_reply *reply)
{
    struct shop *shop = (struct shop *)context;
    struct stele_event_draft draft;
    struct stele_error err;
    char stream[300];
    int outcome;
    if (shop->refused != NULL && strcmp(shop->refused, call->step) == 0 && !call->compensation) {
        (void)snprintf(reply->reason, sizeof reply->reason, "not for this customer");
        return STELE_SAGA_REFUSED;
    }
    memset(&draft, 0, sizeof draft);
    stele_saga_event_id(call->key, 0, draft.id);
    draft.type = call->command;
    draft.data = call->input.data;
    draft.data_size = call->input.size;
    (void)snprintf(stream, sizeof stream, "%s-%s", call->step, call->id);
    outcome = stele_append(shop->store, stream, STELE_EXPECT_ANY, &draft, 1, NULL, &err);
    if (outcome == STELE_OK) {
        printf("%s\n", call->command);
        return STELE_SAGA_DONE;
    }
    (void)snprintf(reply->reason, sizeof reply->reason, "%.200s", err.message);
    return outcome == STELE_E_UNKNOWN ? STELE_SAGA_UNKNOWN : STELE_SAGA_NOT_DONE;
}

/* ---- The runner ---- */

static int place(struct stele *store, const char *order, struct stele_error *err)
{
    struct stele_event_draft draft;
    char stream[300];
    memset(&draft, 0, sizeof draft);
    draft.type = "OrderPlaced";
    draft.data = "{\"item\":\"lamp\",\"price\":30}";
    draft.data_size = strlen((const char *)draft.data);
    (void)snprintf(stream, sizeof stream, "shop-%s", order);
    return stele_append(store, stream, STELE_EXPECT_NO_STREAM, &draft, 1, NULL, err);
}

/* Turns until the saga has ended. A service would call stele_saga_runner_run() instead. */
static int run(struct stele_saga_runner *runner, struct stele *store, const char *order,
               struct stele_error *err)
{
    for (;;) {
        struct stele_saga_plan plan;
        struct stele_saga saga;
        int64_t due_us = 0;
        int outcome = stele_saga_runner_turn(runner, &due_us, err);
        if (outcome != STELE_OK) {
            return outcome;
        }
        outcome = stele_saga_load(store, "order", order, &plan, &saga, err);
        if (outcome != STELE_OK || stele_saga_has_ended(&saga)) {
            if (outcome == STELE_OK) {
                printf("order %s: %s\n", order, stele_saga_state_name(saga.state));
            }
            return outcome;
        }
        (void)stele_wait(store, stele_last_position(store), 10, NULL);
    }
}

int main(int argc, char **argv)
{
    static const char *const triggers[] = {"OrderPlaced"};
    struct stele_saga_table table = {"order", one_after_the_other, 3, 600000};
    struct stele_saga_definition definition = {0};
    struct stele_saga_runner *runner = NULL;
    struct stele_error err = {0};
    struct shop shop = {NULL, NULL};
    int outcome;
    if (argc < 4) {
        fprintf(stderr, "order-saga STORE sequential|parallel ORDER [STEP]\n");
        return 2;
    }
    if (strcmp(argv[2], "parallel") == 0) {
        table.steps = side_by_side;
    }
    shop.refused = argc > 4 ? argv[4] : NULL;
    definition.table = &table;
    definition.triggers = triggers;
    definition.triggers_count = 1;
    definition.handle = handle;
    definition.context = &shop;
    outcome = stele_open(argv[1], NULL, &shop.store, &err);
    if (outcome == STELE_OK) {
        outcome = stele_saga_runner_create(shop.store, &definition, NULL, &runner, &err);
    }
    if (outcome == STELE_OK) {
        outcome = place(shop.store, argv[3], &err);
    }
    if (outcome == STELE_OK) {
        outcome = run(runner, shop.store, argv[3], &err);
    }
    if (outcome != STELE_OK) {
        fprintf(stderr, "order-saga: %s\n", err.message);
    }
    stele_saga_runner_destroy(runner);
    (void)stele_close(shop.store);
    return outcome == STELE_OK ? 0 : 1;
}
