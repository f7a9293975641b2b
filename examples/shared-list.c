/* A shopping list on two phones that meet now and then: both write at any time, and end up the same.
 *
 *     cc shared-list.c $(pkg-config --cflags --libs stele) -o shared-list && ./shared-list
 *
 * What a phone does is an event: operations, and a stamp that says what the phone had seen. Here
 * events are handed over in memory; in an application they are appended to a stream. */
#include <stele/crdt.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct phone {
    uint64_t number;
    struct stele_clock clock; /* What it has seen. */
    struct stele_crdt list;   /* A map: the number of each article, a counter. */
    unsigned char buffer[4096];
};

struct event {
    uint64_t phone;
    struct stele_clock clock;
    unsigned char ops[256];
    size_t size;
};

static void check(int outcome, const struct stele_error *err)
{
    if (outcome != STELE_OK) {
        fprintf(stderr, "%s: %s\n", stele_outcome_name(outcome), err->message);
        exit(EXIT_FAILURE);
    }
}

static void receive(struct phone *phone, const struct event *event)
{
    struct stele_error err = {0, 0, ""};
    struct stele_stamp stamp;
    static struct stele_crdt_ops ops;
    stamp.node = event->phone;
    stamp.position = 0; /* Only registers in which the last writer wins look at it. */
    stamp.clock = &event->clock;
    check(stele_crdt_ops_decode(event->ops, event->size, &ops, &err), &err);
    check(stele_crdt_apply(&phone->list, ops.ops, ops.count, &stamp, &err), &err);
    check(stele_clock_merge(&phone->clock, &event->clock), &err);
}

/* Amount 0 takes the article off the list. */
static struct event write(struct phone *phone, const char *article, int amount)
{
    struct stele_error err = {0, 0, ""};
    struct stele_text key;
    struct stele_crdt_op op;
    struct event event;
    memset(&op, 0, sizeof op);
    key.data = article;
    key.size = strlen(article);
    op.action = amount != 0 ? STELE_CRDT_ADD : STELE_CRDT_CLEAR;
    op.place.type = STELE_CRDT_COUNTER;
    op.place.keys = &key;
    op.place.keys_count = 1;
    op.amount = amount;
    check(stele_clock_tick(&phone->clock, phone->number), &err);
    event.phone = phone->number;
    event.clock = phone->clock;
    event.size = stele_crdt_ops_size(&op, 1);
    check(stele_crdt_ops_encode(&op, 1, event.ops, sizeof event.ops, &err), &err);
    receive(phone, &event);
    return event;
}

static void print(const struct phone *phone)
{
    struct stele_crdt_place map = {STELE_CRDT_MAP, NULL, 0};
    struct stele_text article;
    size_t cursor = 0;
    int type = 0;
    printf("phone %d:", (int)phone->number);
    while (stele_crdt_key(&phone->list, &map, &cursor, &article, &type) == STELE_OK) {
        struct stele_crdt_place place = {STELE_CRDT_COUNTER, NULL, 1};
        int64_t amount = 0;
        place.keys = &article;
        if (stele_crdt_counter(&phone->list, &place, &amount) == STELE_OK) {
            printf(" %d %.*s", (int)amount, (int)article.size, article.data);
        }
    }
    printf("\n");
}

static struct phone one, two;

int main(void)
{
    struct stele_error err = {0, 0, ""};
    struct event milk, more, out, eggs;
    one.number = 1;
    two.number = 2;
    check(stele_crdt_init(&one.list, STELE_CRDT_MAP, one.buffer, sizeof one.buffer), &err);
    check(stele_crdt_init(&two.list, STELE_CRDT_MAP, two.buffer, sizeof two.buffer), &err);

    milk = write(&one, "milk", 3);
    receive(&two, &milk);

    /* Apart: one wants two more, the other one takes milk off the list and eggs on it. */
    more = write(&one, "milk", 2);
    out = write(&two, "milk", 0);
    eggs = write(&two, "eggs", 6);
    print(&one);
    print(&two);

    /* They meet. What was wanted without knowing of the removal stays. */
    receive(&one, &out);
    receive(&one, &eggs);
    receive(&two, &more);
    receive(&two, &more); /* Twice is once. */
    print(&one);
    print(&two);
    return one.list.size == two.list.size && memcmp(one.buffer, two.buffer, one.list.size) == 0
               ? EXIT_SUCCESS
               : EXIT_FAILURE;
}
