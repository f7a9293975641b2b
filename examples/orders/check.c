#include "check.h"

#include "json.h"

#include <stele/saga.h>

#include <search.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define KEY_SIZE (NAME_SIZE_MAX + 16) /* A name, perhaps with its category. */

/* ---- What is counted ---- */

/* What can happen to an order, each with how often it did and how much it was. The undoing follows what
 * it undoes. */
enum effect {
    CHARGED,
    REFUNDED,
    DEBITED,
    CREDITED,
    RESERVED,
    RELEASED,
    TAKEN,
    RETURNED,
    SCHEDULED,
    UNSCHEDULED,
    EFFECTS
};

struct sum {
    int count;
    int64_t amount;
};

struct record {
    char id[KEY_SIZE]; /* First, because it is what is searched by. */
    int is_placed, is_confirmed, is_cancelled;
    int saga; /* STELE_SAGA_… */
    int64_t amount, quantity;
    char customer[NAME_SIZE_MAX + 1];
    char item[NAME_SIZE_MAX + 1];
    struct sum effects[EFFECTS];
};

/* A wallet or an item. */
struct account {
    char name[KEY_SIZE]; /* The stream's; first, too. */
    int64_t came_in, balance;
    int64_t owed; /* To the orders. */
};

struct check {
    struct stele_memory *memory;
    void *records;  /* tsearch() */
    void *accounts; /* tsearch() */
    int wrong, confirmed, cancelled, parked, unfinished;
};

static void accuse(struct check *check, const char *who, const char *what)
{
    check->wrong++;
    (void)printf("wrong: %s: %s\n", who, what);
}

static int compare(const void *a, const void *b)
{
    return strcmp(a, b);
}

/* What has this name, made if there is none. size is that of a struct that begins with its name. */
static void *find(struct check *check, void **tree, const char *name, size_t size)
{
    void *const *const found = tfind(name, tree, compare);
    if (found != NULL) {
        return *found;
    }
    char *const made = stele_memory_allocate(check->memory, size);
    if (made == NULL) {
        abort();
    }
    memset(made, 0, size);
    (void)snprintf(made, KEY_SIZE, "%s", name);
    if (tsearch(made, tree, compare) == NULL) {
        abort();
    }
    return made;
}

static struct record *record_of(struct check *check, const char *id)
{
    return find(check, &check->records, id, sizeof(struct record));
}

static struct account *account_of(struct check *check, const char *stream)
{
    return find(check, &check->accounts, stream, sizeof(struct account));
}

/* ---- Reading ---- */

typedef void (*on_event)(struct check *check, struct stele *store, const struct stele_event *event,
                         const char *stream);

static int read_store(struct check *check, struct stele *store, on_event handle,
                      struct stele_error *err)
{
    const struct stele_filter filter = {.exclude_system = 1};
    struct stele_read_options options = STELE_READ_OPTIONS_INIT;
    struct stele_iterator *iterator = NULL;
    options.filter = &filter;
    int outcome = stele_read_all(store, &options, &iterator, err);
    while (outcome == STELE_OK) {
        const struct stele_event *events = NULL;
        size_t count = 0;
        outcome = stele_iterator_next(iterator, &events, &count, err);
        for (size_t i = 0; outcome == STELE_OK && i < count; i++) {
            const char *const stream =
                stele_memory_copy(check->memory, events[i].stream.data, events[i].stream.size);
            if (stream == NULL) {
                abort();
            }
            handle(check, store, &events[i], stream);
        }
    }
    stele_iterator_destroy(iterator);
    return outcome == STELE_END ? STELE_OK : outcome;
}

/* What stands behind the category, or NULL: it is another one. */
static const char *behind(const char *stream, const char *category)
{
    const size_t size = strlen(category);
    return strncmp(stream, category, size) == 0 && stream[size] == '-' ? stream + size + 1 : NULL;
}

static void note_order(struct check *check, struct stele *store, const struct stele_event *event,
                       const char *stream)
{
    const char *const id = behind(stream, "order");
    const struct stele_text data = event_data(event);
    const char *customer = NULL;
    const char *item = NULL;
    (void)store;
    if (id == NULL) {
        return;
    }
    struct record *const record = record_of(check, id);
    if (is_type(event->type, "OrderPlaced")) {
        if (!json_name(data, "customer", check->memory, &customer) ||
            !json_name(data, "item", check->memory, &item) ||
            !json_amount(data, "amount", &record->amount) ||
            !json_amount(data, "quantity", &record->quantity)) {
            accuse(check, stream, "the order cannot be read");
            return;
        }
        (void)snprintf(record->customer, sizeof record->customer, "%s", customer);
        (void)snprintf(record->item, sizeof record->item, "%s", item);
        record->is_placed++;
    }
    record->is_confirmed += is_type(event->type, "OrderConfirmed");
    record->is_cancelled += is_type(event->type, "OrderCancelled");
}

/* The saga itself is folded by the library, which refuses events that do not follow each other. */
static void note_saga(struct check *check, struct stele *store, const struct stele_event *event,
                      const char *stream)
{
    const char *const id = behind(stream, "saga.order");
    struct stele_saga_plan plan;
    struct stele_saga saga;
    struct stele_error err;
    if (id == NULL || event->revision != 0) {
        return;
    }
    if (stele_saga_load(store, "order", id, &plan, &saga, &err) == STELE_OK) {
        record_of(check, id)->saga = saga.state;
    } else {
        accuse(check, stream, err.message);
    }
}

/* Which event is which effect; whether it comes in or goes out, where it is one of a wallet or an item. */
static const struct {
    const char *category;
    const char *type;
    int effect; /* EFFECTS: none, it comes from outside. */
    int sign;
} meanings[] = {
    {"payment", "PaymentCharged", CHARGED, 0},
    {"payment", "PaymentRefunded", REFUNDED, 0},
    {"wallet", "Deposited", EFFECTS, 1},
    {"wallet", "Debited", DEBITED, -1},
    {"wallet", "Credited", CREDITED, 1},
    {"reservation", "StockReserved", RESERVED, 0},
    {"reservation", "StockReleased", RELEASED, 0},
    {"reservation", "ShipmentScheduled", SCHEDULED, 0},
    {"reservation", "ShipmentCancelled", UNSCHEDULED, 0},
    {"item", "Delivered", EFFECTS, 1},
    {"item", "Taken", TAKEN, -1},
    {"item", "Returned", RETURNED, 1},
};

static void note_balance(struct check *check, const char *stream, int is_from_outside,
                         int64_t amount)
{
    struct account *const account = account_of(check, stream);
    account->balance += amount;
    account->came_in += is_from_outside ? amount : 0;
    if (account->balance < 0) {
        accuse(check, stream, "was below zero");
    }
}

static void note_effect(struct check *check, struct stele *store, const struct stele_event *event,
                        const char *stream)
{
    const struct stele_text data = event_data(event);
    (void)store;
    for (size_t i = 0; i < sizeof meanings / sizeof meanings[0]; i++) {
        const char *id = behind(stream, meanings[i].category);
        int64_t amount = 0;
        if (id == NULL || !is_type(event->type, meanings[i].type)) {
            continue;
        }
        if (!json_amount(data, "amount", &amount)) {
            (void)json_amount(data, "quantity", &amount);
        }
        if (meanings[i].sign != 0) {
            note_balance(check, stream, meanings[i].effect == EFFECTS, meanings[i].sign * amount);
        }
        if (meanings[i].effect == EFFECTS) {
            return;
        }
        if (meanings[i].sign != 0 && !json_name(data, "order", check->memory, &id)) {
            accuse(check, stream, "an event names no order");
            return;
        }
        struct sum *const sum = &record_of(check, id)->effects[meanings[i].effect];
        sum->count++;
        sum->amount += amount;
        return;
    }
}

/* ---- Judging ---- */

static void judge_effects(struct check *check, const struct record *record)
{
    static const char *const names[EFFECTS] = {"charged",   "refunded",   "debited", "credited",
                                               "reserved",  "released",   "taken",   "returned",
                                               "scheduled", "unscheduled"};
    for (int i = 0; i < EFFECTS; i++) {
        char words[64];
        if (record->effects[i].count > 1) {
            (void)snprintf(words, sizeof words, "%s %d times", names[i], record->effects[i].count);
            accuse(check, record->id, words);
        }
        if (record->effects[i].count > 0 && i != SCHEDULED && i != UNSCHEDULED &&
            record->effects[i].amount !=
                record->effects[i].count * (i < RESERVED ? record->amount : record->quantity)) {
            (void)snprintf(words, sizeof words, "%s of another amount", names[i]);
            accuse(check, record->id, words);
        }
    }
    static const enum effect pairs[][2] = {
        {CHARGED, DEBITED}, {REFUNDED, CREDITED}, {RESERVED, TAKEN}, {RELEASED, RETURNED}};
    for (size_t i = 0; i < sizeof pairs / sizeof pairs[0]; i++) {
        if (record->effects[pairs[i][0]].count != record->effects[pairs[i][1]].count) {
            accuse(check, record->id, "one half of an append is missing");
        }
    }
}

static void judge_confirmed(struct check *check, const struct record *record)
{
    const struct sum *const effects = record->effects;
    check->confirmed++;
    if (effects[CHARGED].count == 0 || effects[RESERVED].count == 0 ||
        effects[SCHEDULED].count == 0) {
        accuse(check, record->id, "confirmed without payment, stock or shipment");
    }
    if (effects[REFUNDED].count + effects[RELEASED].count + effects[UNSCHEDULED].count > 0) {
        accuse(check, record->id, "confirmed, and undone in part");
    }
    if (!record->is_confirmed || record->is_cancelled) {
        accuse(check, record->id, "the saga says completed, the order does not");
    }
}

static void judge_cancelled(struct check *check, const struct record *record)
{
    const struct sum *const effects = record->effects;
    check->cancelled++;
    if (effects[CHARGED].count != effects[REFUNDED].count) {
        accuse(check, record->id, "cancelled, and its money was kept");
    }
    if (effects[RESERVED].count != effects[RELEASED].count) {
        accuse(check, record->id, "cancelled, and its stock is reserved");
    }
    if (effects[SCHEDULED].count != effects[UNSCHEDULED].count) {
        accuse(check, record->id, "cancelled, and it is shipped");
    }
    if (record->is_confirmed && !record->is_cancelled) {
        accuse(check, record->id, "the saga says compensated, the order does not");
    }
}

static void judge(const void *node, VISIT visit, void *context)
{
    struct check *const check = context;
    const struct record *const record = *(const struct record *const *)node;
    char stream[STELE_STREAM_NAME_SIZE_MAX];
    if (visit != postorder && visit != leaf) {
        return;
    }
    if (record->is_placed != 1) {
        accuse(check, record->id, "paid, reserved or shipped without an order");
    }
    judge_effects(check, record);
    switch (record->saga) {
    case STELE_SAGA_COMPLETED:
        judge_confirmed(check, record);
        break;
    case STELE_SAGA_COMPENSATED:
        judge_cancelled(check, record);
        break;
    case STELE_SAGA_PARKED:
    case STELE_SAGA_ABANDONED:
        check->parked++;
        break;
    default:
        check->unfinished += record->is_placed;
    }
    /* What an order that did not end as confirmed or cancelled holds is for a person to judge. */
    const int is_right = record->saga == STELE_SAGA_COMPLETED;
    const int is_open = !is_right && record->saga != STELE_SAGA_COMPENSATED;
    const struct sum *const effects = record->effects;
    (void)snprintf(stream, sizeof stream, "wallet-%s", record->customer);
    account_of(check, stream)->owed += is_open ? effects[DEBITED].amount - effects[CREDITED].amount
                                       : is_right ? record->amount
                                                  : 0;
    (void)snprintf(stream, sizeof stream, "item-%s", record->item);
    account_of(check, stream)->owed += is_open    ? effects[TAKEN].amount - effects[RETURNED].amount
                                       : is_right ? record->quantity
                                                  : 0;
}

static void judge_account(const void *node, VISIT visit, void *context)
{
    struct check *const check = context;
    const struct account *const account = *(const struct account *const *)node;
    char words[160];
    if ((visit == postorder || visit == leaf) &&
        account->balance != account->came_in - account->owed) {
        (void)snprintf(words, sizeof words, "%lld are left of %lld, and the orders took %lld",
                       (long long)account->balance, (long long)account->came_in,
                       (long long)account->owed);
        accuse(check, account->name, words);
    }
}

/* ---- All of it ---- */

static void keep(void *node)
{
    (void)node; /* It is the memory's. */
}

static int read_all(struct check *check, const char *const paths[3], struct stele *stores[3])
{
    /* Sagas first: what ended before that has left everything behind that the others are asked for
     * afterwards. Orders last: then there is none that the others know and it does not. */
    static const struct {
        int store;
        on_event handle;
    } turns[] = {{0, note_saga}, {1, note_effect}, {2, note_effect}, {0, note_order}};
    struct stele_options options = STELE_OPTIONS_INIT;
    struct stele_error err;
    options.create = 0;
    options.read_only = 1;
    for (size_t i = 0; i < 3; i++) {
        if (stele_open(paths[i], &options, &stores[i], &err) != STELE_OK) {
            (void)fprintf(stderr, "orders: %s: %s\n", paths[i], err.message);
            return 0;
        }
    }
    for (size_t i = 0; i < sizeof turns / sizeof turns[0]; i++) {
        const int store = turns[i].store;
        if (read_store(check, stores[store], turns[i].handle, &err) != STELE_OK) {
            (void)fprintf(stderr, "orders: %s: %s\n", paths[store], err.message);
            return 0;
        }
    }
    return 1;
}

int check_stores(const char *orders, const char *payments, const char *inventory)
{
    const char *const paths[] = {orders, payments, inventory};
    struct stele *stores[3] = {NULL, NULL, NULL};
    struct check check = {.memory = stele_memory_create()};
    int code = 2;
    if (check.memory != NULL && read_all(&check, paths, stores)) {
        twalk_r(check.records, judge, &check);
        if (check.unfinished == 0) {
            twalk_r(check.accounts, judge_account, &check);
        }
        (void)printf("%d confirmed, %d cancelled, %d parked, %d not ended: %s\n", check.confirmed,
                     check.cancelled, check.parked, check.unfinished,
                     check.wrong > 0        ? "something is wrong"
                     : check.unfinished > 0 ? "nothing is wrong so far"
                                            : "everything is right");
        code = check.wrong > 0 ? 1 : check.unfinished > 0 ? 3 : 0;
    }
    for (size_t i = 0; i < 3; i++) {
        (void)stele_close(stores[i]);
    }
    tdestroy(check.records, keep);
    tdestroy(check.accounts, keep);
    stele_memory_destroy(check.memory);
    return code;
}
