/* On a real file system, with writes by several threads: what a process was told to be durable is
 * there after it was killed.
 *
 * Method: a process puts numbered records, trims, and reports through a pipe how far the log was
 * durable and what it has let go of. It is killed at any moment. The next one finds all numbers in
 * between, each with its own bytes, and goes on. */
#include "io/linux.h"
#include "lib/rng.h"
#include "lib/scratch.h"
#include "raft/wal.h"

#include <pthread.h>
#include <signal.h>
#include <sys/wait.h>

#define WRITERS 3
#define SIZE_MAX_PUT 20000

struct report {
    uint64_t durable; /* Numbers up to this one are. */
    uint64_t gone;    /* Numbers up to this one need not be there. */
};

struct life {
    struct stele_wal *wal;
    struct report known;
    uint64_t first, last; /* Told by opening. */
    uint64_t next;
    uint8_t *payload;

    /* Between the threads, under the lock. */
    pthread_mutex_t lock;
    pthread_cond_t changed;
    struct stele_wal_group groups[4];
    size_t groups_count;
    struct {
        uint64_t id;
        int outcome;
    } ended[4];
    size_t ended_count;
};

static size_t size_of(uint64_t number)
{
    return number % 97 == 0 ? SIZE_MAX_PUT : (size_t)(number * 131 % 700);
}

static struct stele_wal_record record_of(uint64_t number, uint8_t *payload)
{
    const size_t size = size_of(number);
    for (size_t at = 0; at < size; at++) {
        payload[at] = (uint8_t)(number + at * 13);
    }
    return (struct stele_wal_record){.kind = STELE_WAL_ENTRY,
                                     .group = (uint16_t)number,
                                     .index = number,
                                     .term = number / 10,
                                     .payload = {.data = payload, .size = size}};
}

static int on_record(void *context, const struct stele_wal_record *record, uint64_t place)
{
    struct life *const life = context;
    (void)place;
    if (life->first == 0) {
        life->first = record->index;
    } else {
        CHECK_EQ(record->index, life->last + 1);
    }
    life->last = record->index;
    const struct stele_wal_record want = record_of(record->index, life->payload);
    CHECK_EQ(record->group, want.group);
    CHECK_EQ(record->term, want.term);
    CHECK(stele_bytes_equal(record->payload, want.payload));
    return STELE_OK;
}

static void *write_groups(void *context)
{
    struct life *const life = context;
    (void)pthread_mutex_lock(&life->lock);
    for (;;) {
        while (life->groups_count == 0) {
            (void)pthread_cond_wait(&life->changed, &life->lock);
        }
        const struct stele_wal_group group = life->groups[--life->groups_count];
        (void)pthread_mutex_unlock(&life->lock);
        const int outcome =
            group.file->io->ops->write_durable(group.file, group.offset, group.bytes, NULL);
        (void)pthread_mutex_lock(&life->lock);
        life->ended[life->ended_count].id = group.id;
        life->ended[life->ended_count++].outcome = outcome;
        (void)pthread_cond_broadcast(&life->changed);
    }
    return NULL;
}

/* Places of the numbers that may not be durable yet, and of some that may be let go of. */
#define PLACES 4096
static uint64_t places[PLACES];

static void hand_out(struct life *life, bool wait)
{
    (void)pthread_mutex_lock(&life->lock);
    struct stele_wal_group group;
    while (stele_wal_take(life->wal, &group)) {
        life->groups[life->groups_count++] = group;
        (void)pthread_cond_broadcast(&life->changed);
    }
    while (wait && life->ended_count == 0) {
        (void)pthread_cond_wait(&life->changed, &life->lock);
    }
    while (life->ended_count > 0) {
        life->ended_count--;
        CHECK_EQ(life->ended[life->ended_count].outcome, STELE_OK);
        stele_wal_done(life->wal, life->ended[life->ended_count].id, STELE_OK);
    }
    (void)pthread_mutex_unlock(&life->lock);
    while (life->known.durable + 1 < life->next &&
           places[(life->known.durable + 1) % PLACES] < stele_wal_durable(life->wal)) {
        life->known.durable++;
    }
}

static void work(struct life *life, int out, uint64_t seed)
{
    struct rng rng;
    rng_init(&rng, seed, 1);
    struct stele_error err;
    for (;;) {
        const uint64_t count = rng_between(&rng, 1, 200);
        for (uint64_t i = 0; i < count && life->next - life->known.durable < PLACES / 2; i++) {
            const struct stele_wal_record record = record_of(life->next, life->payload);
            CHECK_OK(stele_wal_put(life->wal, &record, &places[life->next % PLACES], &err), err);
            life->next++;
        }
        if (rng_percent(&rng, 20)) {
            stele_wal_mark(life->wal);
        }
        hand_out(life, life->next - life->known.durable > PLACES / 4);
        if (rng_percent(&rng, 10) && life->known.durable > life->known.gone + 600) {
            /* Said before it is done: a report that came too late would look like a loss. */
            life->known.gone = life->known.durable - 500;
            CHECK_EQ(write(out, &life->known, sizeof life->known), sizeof life->known);
            CHECK_OK(stele_wal_trim(life->wal, places[(life->known.gone + 1) % PLACES], &err), err);
        }
        stele_wal_check(life->wal);
        CHECK_EQ(write(out, &life->known, sizeof life->known), sizeof life->known);
    }
}

static _Noreturn void live(const char *path, struct report known, int out, uint64_t seed)
{
    static struct life life = {.lock = PTHREAD_MUTEX_INITIALIZER,
                               .changed = PTHREAD_COND_INITIALIZER};
    struct stele_error err;
    struct stele_io *io = NULL;
    life.known = known;
    life.payload = malloc(SIZE_MAX_PUT);
    CHECK(life.payload != NULL);
    CHECK_OK(stele_linux_io_open(path, false, false, stele_linux_alloc(), &io, &err), err);
    const struct stele_wal_options options = {
        .owner_id = {1}, .secret = 99, .segment_size = 256 * 1024, .spares_max = 3};
    CHECK_OK(stele_wal_open(io, &options, on_record, &life, &life.wal, &err), err);
    CHECK(known.durable == 0 || life.first > 0);
    CHECK(known.durable == 0 || life.first <= known.gone + 1);
    CHECK(life.last >= known.durable);
    life.next = life.last + 1;
    life.known.durable = life.last;
    for (int i = 0; i < WRITERS; i++) {
        pthread_t thread;
        CHECK_EQ(pthread_create(&thread, NULL, write_groups, &life), 0);
    }
    work(&life, out, seed);
    abort();
}

TEST(what_is_durable_survives_the_death_of_its_process)
{
    struct scratch scratch;
    scratch_make(&scratch);
    struct rng rng;
    rng_init(&rng, 1, 2);
    struct report known = {0, 0};
    for (uint64_t round = 0; round < 25; round++) {
        int ends[2];
        CHECK_EQ(pipe(ends), 0);
        const pid_t child = fork();
        CHECK(child >= 0);
        if (child == 0) {
            (void)close(ends[0]);
            live(scratch.path, known, ends[1], round);
        }
        (void)close(ends[1]);
        uint64_t reports = rng_between(&rng, 1, 150);
        struct report report;
        while (reports-- > 0) {
            CHECK_EQ(read(ends[0], &report, sizeof report), sizeof report); /* 0: it has failed. */
            known = report;
        }
        CHECK_EQ(kill(child, SIGKILL), 0);
        while (read(ends[0], &report, sizeof report) == sizeof report) {
            known = report;
        }
        (void)close(ends[0]);
        int status = 0;
        CHECK_EQ(waitpid(child, &status, 0), child);
        CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    }
    CHECK(known.durable > 10000);
    CHECK(known.gone > 5000);
    scratch_remove(&scratch);
}
