/* An e-mail address belongs to one user at most, however many register at the same time.
 *
 * Every user has a stream, so no revision of a stream can guard what holds across all of them. An
 * append condition can: "fail if an event with this tag exists after the position that I have
 * seen". No stream of addresses, no lock, no second system. (https://dcb.events)
 *
 *     dcb STORE USER ADDRESS     exit code 0: registered, 3: the address is taken */
#include <stdio.h>
#include <stdlib.h>
#include <stele.h>
#include <string.h>

static void check(int outcome, const struct stele_error *err)
{
    if (outcome != STELE_OK) {
        fprintf(stderr, "%s: %s\n", stele_outcome_name(outcome), err->message);
        exit(1);
    }
}

/* Is the address taken, as far as the store knows now? An address is taken by the event that has
 * it as a tag, and free again after a UserLeft with the same tag. */
static int is_taken(struct stele *store, const struct stele_filter *of_address)
{
    struct stele_error err = {0};
    struct stele_read_options options = STELE_READ_OPTIONS_INIT;
    struct stele_iterator *iterator = NULL;
    const struct stele_event *events = NULL;
    size_t count = 0;
    int taken = 0;
    options.filter = of_address;
    check(stele_read_all(store, &options, &iterator, &err), &err);
    while (stele_iterator_next(iterator, &events, &count, &err) == STELE_OK) {
        const struct stele_text type = events[count - 1].type;
        taken = type.size == strlen("UserRegistered") &&
                memcmp(type.data, "UserRegistered", type.size) == 0;
    }
    stele_iterator_destroy(iterator);
    return taken;
}

int main(int argc, char **argv)
{
    if (argc != 4) {
        fprintf(stderr, "dcb STORE USER ADDRESS\n");
        return 2;
    }
    const char *const user = argv[2];
    const char *const address = argv[3];
    char stream[256];
    char tag[256];
    char data[600];
    snprintf(stream, sizeof stream, "user-%s", user);
    snprintf(tag, sizeof tag, "email:%s", address);
    snprintf(data, sizeof data, "{\"user\":\"%s\"}", user);

    struct stele *store = NULL;
    struct stele_error err = {0};
    check(stele_open(argv[1], NULL, &store, &err), &err);

    const char *const tags[] = {tag};
    const struct stele_filter of_address = {.tags = tags, .tags_count = 1};

    struct stele_event_draft registered = {.type = "UserRegistered",
                                           .data = data,
                                           .data_size = strlen(data),
                                           .tags = tags,
                                           .tags_count = 1};
    stele_new_id(registered.id); /* Sent again after a doubt, it is stored once. */
    const struct stele_append append = {stream, STELE_EXPECT_NO_STREAM, &registered, 1};

    int outcome = STELE_CONDITION_FAILED;
    while (outcome == STELE_CONDITION_FAILED) {
        /* First the position, then the question: whatever comes in between fails the condition. */
        const uint64_t seen = stele_last_position(store);
        if (is_taken(store, &of_address)) {
            printf("%s is taken\n", address);
            stele_close(store);
            return 3;
        }
        const struct stele_query_item item = {NULL, 0, tags, 1};
        const struct stele_condition nobody_else = {&item, 1, seen};
        outcome = stele_append_many(store, &append, 1, &nobody_else, 1, NULL, NULL, &err);
        /* Somebody else was faster. Perhaps the address is still free: look again. */
    }
    if (outcome == STELE_WRONG_REVISION) {
        printf("there is a user %s already\n", user);
        stele_close(store);
        return 3;
    }
    check(outcome, &err);
    printf("%s has registered with %s\n", user, address);
    return stele_close(store) == STELE_OK ? 0 : 1;
}
