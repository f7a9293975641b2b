/* Opens a store, appends to a stream, reads it back, follows it. */
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <stele.h>

static void check(int outcome, const struct stele_error *err)
{
    if (outcome != STELE_OK) {
        fprintf(stderr, "%s: %s\n", stele_outcome_name(outcome), err->message);
        exit(1);
    }
}

/* On a thread of the library. No events: that was all, for now. */
static int on_events(void *context, const struct stele_event *events, size_t count, uint64_t upto)
{
    for (size_t i = 0; i < count; i++) {
        printf("followed %.*s\n", (int)events[i].type.size, events[i].type.data);
    }
    (void)upto;
    return count == 0 ? sem_post(context) : 0;
}

int main(int argc, char **argv)
{
    struct stele *store;
    struct stele_error err;
    check(stele_open(argc > 1 ? argv[1] : "hello-data", NULL, &store, &err), &err);

    /* An account is opened once: the append is refused if the stream has events already. */
    const struct stele_event_draft opened = {
        .type = "AccountOpened", .data = "{\"owner\":\"Ada\"}", .data_size = 15};
    const int outcome =
        stele_append(store, "account-1", STELE_EXPECT_NO_STREAM, &opened, 1, NULL, &err);
    if (outcome == STELE_WRONG_REVISION) {
        printf("account-1 is open already\n");
    } else {
        check(outcome, &err); /* STELE_OK: it is on stable storage. */
    }

    struct stele_iterator *iterator;
    const struct stele_event *event;
    size_t count;
    check(stele_read_stream(store, "account-1", NULL, &iterator, &err), &err);
    while (stele_iterator_next(iterator, &event, &count, &err) == STELE_OK) {
        for (; count > 0; count--, event++) {
            printf("read %.*s\n", (int)event->data_size, (const char *)event->data);
        }
    }
    stele_iterator_destroy(iterator);

    sem_t caught_up;
    struct stele_subscription *following;
    sem_init(&caught_up, 0, 0);
    check(stele_subscribe(store, NULL, NULL, on_events, NULL, &caught_up, &following, &err), &err);
    sem_wait(&caught_up);
    stele_unsubscribe(following);
    return stele_close(store) == STELE_OK ? 0 : 1;
}
