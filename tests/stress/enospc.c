/* A full disk refuses appends, and does nothing worse.
 *
 *     enospc DIRECTORY ROUNDS SEED
 *
 * DIRECTORY is a small file system. In each round a neighbour's file fills it up to some KiB, appends
 * go on until they are refused, everything is read, the neighbour goes, and the same handle appends
 * again. A subscription runs all the time. */
#include "lib/rng.h"

#define CHECK_NO_MAIN
#include "lib/check.h"

#include <stele/stele.h>

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <unistd.h>

#define STREAM "orders-1"
#define DATA_MAX 40000
#define AGAIN_MS 5000

static struct stele *store;
static struct rng rng;
static uint64_t next_number;
static uint64_t *stored; /* Numbers of the events that were acknowledged, in order. */
static size_t stored_count;
static _Atomic size_t followed;

static int on_events(void *context, const struct stele_event *events, size_t count,
                     uint64_t checkpoint)
{
    (void)context;
    (void)events;
    (void)checkpoint;
    (void)atomic_fetch_add(&followed, count);
    return 0;
}

/* One append of one event, whose number is its first bytes. */
static int append_one(void)
{
    static uint8_t data[DATA_MAX];
    struct stele_error err = {.outcome = STELE_OK};
    const uint64_t number = next_number++;
    memcpy(data, &number, sizeof number);
    const struct stele_event_draft draft = {
        .type = "Placed",
        .data = data,
        .data_size = (size_t)rng_between(&rng, sizeof number, DATA_MAX),
        .content_type = "application/octet-stream",
    };
    const int outcome = stele_append(store, STREAM, STELE_EXPECT_ANY, &draft, 1, NULL, &err);
    if (outcome == STELE_OK) {
        stored = realloc(stored, (stored_count + 1) * sizeof *stored);
        CHECK(stored != NULL);
        stored[stored_count++] = number;
    } else {
        CHECK_OUTCOME(outcome, STELE_E_NO_SPACE, err);
        CHECK(err.message[0] != '\0');
    }
    return outcome;
}

static void check_all(void)
{
    struct stele_error err = {.outcome = STELE_OK};
    struct stele_iterator *iterator;
    const struct stele_event *events;
    size_t count;
    size_t at = 0;
    CHECK_OK(stele_read_stream(store, STREAM, NULL, &iterator, &err), err);
    int outcome;
    while ((outcome = stele_iterator_next(iterator, &events, &count, &err)) == STELE_OK) {
        for (size_t i = 0; i < count; i++, at++) {
            CHECK(at < stored_count);
            CHECK_EQ(events[i].revision, at);
            CHECK_BYTES_EQ(events[i].data, &stored[at], sizeof stored[at]);
        }
    }
    CHECK_OUTCOME(outcome, STELE_END, err);
    CHECK_EQ(at, stored_count);
    stele_iterator_destroy(iterator);
}

/* Leaves so many bytes free. */
static void fill(const char *path, uint64_t left)
{
    const int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0644);
    CHECK(fd >= 0);
    off_t size = 0;
    for (off_t piece = (off_t)1 << 28; piece >= 512; piece /= 2) {
        while (fallocate(fd, 0, size, piece) == 0) {
            size += piece;
        }
        CHECK(errno == ENOSPC);
    }
    CHECK(ftruncate(fd, size > (off_t)left ? size - (off_t)left : 0) == 0);
    CHECK(fsync(fd) == 0);
    (void)close(fd);
}

static void one_round(const char *neighbour)
{
    struct stele_error err = {.outcome = STELE_OK};
    struct stele_stats stats;
    const uint64_t before = rng_between(&rng, 1, 40);
    for (uint64_t i = 0; i < before; i++) {
        CHECK(append_one() == STELE_OK);
    }
    fill(neighbour, rng_below(&rng, 3) == 0 ? 0 : rng_below(&rng, (uint64_t)1 << 20));
    while (append_one() == STELE_OK) {
        CHECK(stored_count < 10000000);
    }
    /* Small ones may still fit, large ones not; background work meets the full disk as well. */
    for (int i = 0; i < 20; i++) {
        (void)append_one();
        (void)usleep(1000);
    }
    check_all();
    CHECK_OK(stele_stats(store, &stats, &err), err);
    CHECK(!stats.fenced);

    CHECK(unlink(neighbour) == 0);
    int waited = 0;
    while (append_one() != STELE_OK && waited < AGAIN_MS) {
        (void)usleep(1000);
        waited++;
    }
    CHECK(waited < AGAIN_MS);
    check_all();
}

static void open_store(const char *path)
{
    struct stele_options options = STELE_OPTIONS_INIT;
    struct stele_error err = {.outcome = STELE_OK};
    options.segment_size_max = (uint64_t)256 * 1024;
    options.index_memory = 65536;
    CHECK_OK(stele_open(path, &options, &store, &err), err);
}

static void start_again(const char *path)
{
    char command[600];
    (void)snprintf(command, sizeof command, "rm -rf '%s'", path);
    CHECK(system(command) == 0);
    open_store(path);
    stored_count = 0;
    atomic_store(&followed, 0);
}

/* One store is used until it has taken half of the disk. */
static uint64_t one_store(const char *path, const char *neighbour, uint64_t rounds)
{
    struct stele_error err = {.outcome = STELE_OK};
    struct stele_subscription *subscription;
    struct stele_stats stats = {.disk_size = 0};
    uint64_t done = 0;
    start_again(path);
    CHECK_OK(stele_subscribe(store, STREAM, NULL, on_events, NULL, NULL, &subscription, &err), err);
    while (done < rounds && stats.disk_size < (uint64_t)24 << 20) {
        one_round(neighbour);
        done++;
        CHECK_OK(stele_stats(store, &stats, &err), err);
    }
    for (int i = 0; i < AGAIN_MS && atomic_load(&followed) < stored_count; i++) {
        (void)usleep(1000);
    }
    CHECK_EQ(atomic_load(&followed), stored_count);
    stele_unsubscribe(subscription);
    CHECK_OK(stele_verify(store, NULL, NULL, &err), err);
    CHECK(stele_close(store) == STELE_OK);
    open_store(path);
    check_all();
    CHECK_OK(stele_verify(store, NULL, NULL, &err), err);
    CHECK(stele_close(store) == STELE_OK);
    return done;
}

int main(int argc, char **argv)
{
    char path[512];
    char neighbour[512];
    CHECK(argc == 4);
    (void)snprintf(path, sizeof path, "%s/store", argv[1]);
    (void)snprintf(neighbour, sizeof neighbour, "%s/neighbour", argv[1]);
    uint64_t rounds = strtoull(argv[2], NULL, 10);
    rng_init(&rng, strtoull(argv[3], NULL, 10), 0);
    while (rounds > 0) {
        rounds -= one_store(path, neighbour, rounds);
    }
    free(stored);
    return EXIT_SUCCESS;
}
