/* Follows a store of another process, for reading only, and notes what it sees.
 *
 *     follower STORE SEEN
 *
 * Goes on after the last event in SEEN. Ends when it is killed or the subscription ends. */
#define CHECK_NO_MAIN
#include "lib/check.h"
#include "stress.h"

#include <fcntl.h>
#include <semaphore.h>
#include <unistd.h>

static sem_t ended;

static int on_events(void *context, const struct stele_event *events, size_t count,
                     uint64_t checkpoint)
{
    const int seen = *(int *)context;
    (void)checkpoint;
    for (size_t i = 0; i < count; i++) {
        struct stress_seen line = {.position = events[i].position};
        memcpy(&line.id, events[i].id, sizeof line.id);
        if (events[i].stream.data[0] != '$' && line.id.kind == STRESS_IS_KEPT) {
            CHECK(write(seen, &line, sizeof line) == (ssize_t)sizeof line);
        }
    }
    return 0;
}

static void on_end(void *context, int outcome, const struct stele_error *err)
{
    (void)context;
    (void)fprintf(stderr, "the subscription ended: %s: %s\n", stele_outcome_name(outcome),
                  err->message);
    CHECK(sem_post(&ended) == 0);
}

int main(int argc, char **argv)
{
    struct stele_options options = STELE_OPTIONS_INIT;
    struct stele_read_options from = STELE_READ_OPTIONS_INIT;
    struct stele_error err = {.outcome = STELE_OK};
    struct stele_subscription *subscription;
    struct stele *store;
    struct stress_seen last = {.position = 0};
    CHECK(argc == 3);
    int seen = open(argv[2], O_RDWR | O_CREAT | O_APPEND, 0644);
    CHECK(seen >= 0);
    const off_t size = lseek(seen, 0, SEEK_END);
    if (size > 0) {
        CHECK(pread(seen, &last, sizeof last, size - (off_t)sizeof last) == (ssize_t)sizeof last);
        from.from = last.position + 1;
    }
    options.create = 0;
    options.read_only = 1;
    /* The writer may not have made the store yet. */
    int outcome = STELE_E_NOT_A_STORE;
    for (int i = 0; i < 1000 && outcome == STELE_E_NOT_A_STORE; i++) {
        outcome = stele_open(argv[1], &options, &store, &err);
        (void)usleep(5000);
    }
    CHECK_OK(outcome, err);
    CHECK(sem_init(&ended, 0, 0) == 0);
    CHECK_OK(stele_subscribe(store, NULL, &from, on_events, on_end, &seen, &subscription, &err),
             err);
    while (sem_wait(&ended) != 0) {
    }
    return EXIT_FAILURE;
}
