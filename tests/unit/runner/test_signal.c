/* Who waits for a run of the same process is woken by it, and does not ask the database meanwhile.
 *
 * Method: a sink that is nothing but a position and counts how often it is asked; the runner's own calls
 * stand for a run. A wait that times out has certainly seen time pass, so its count says whether it
 * polled. */
#include "lib/check.h"
#include "runner/run.h"

#include <stdatomic.h>

struct place {
    struct stele_sink base;
    atomic_ullong position;
    atomic_uint asked;
    /* Whoever wants to know that somebody has begun to wait. */
    pthread_mutex_t lock;
    pthread_cond_t was_asked;
};

static int position_of(struct stele_sink *sink, const char *name, uint64_t *out_position,
                       struct stele_error *err)
{
    struct place *const place = (struct place *)(void *)sink;
    (void)name;
    (void)err;
    *out_position = atomic_load(&place->position);
    (void)pthread_mutex_lock(&place->lock);
    (void)atomic_fetch_add(&place->asked, 1);
    (void)pthread_cond_broadcast(&place->was_asked);
    (void)pthread_mutex_unlock(&place->lock);
    return STELE_OK;
}

static const struct stele_sink_ops ops = {.position = position_of};

static void place_init(struct place *place)
{
    memset(place, 0, sizeof *place);
    place->base.ops = &ops;
    (void)pthread_mutex_init(&place->lock, NULL);
    (void)pthread_cond_init(&place->was_asked, NULL);
}

static void until_asked(struct place *place, unsigned times)
{
    (void)pthread_mutex_lock(&place->lock);
    while (atomic_load(&place->asked) < times) {
        (void)pthread_cond_wait(&place->was_asked, &place->lock);
    }
    (void)pthread_mutex_unlock(&place->lock);
}

struct waiter {
    struct place place;
    struct stele_project_signal *signal;
    uint64_t wanted;
    int outcome;
    pthread_t thread;
};

static void *wait_main(void *context)
{
    struct waiter *const waiter = context;
    waiter->outcome = stele_project_wait_signal(waiter->signal, &waiter->place.base, "p",
                                                waiter->wanted, -1, NULL);
    return NULL;
}

static void start(struct waiter *waiter, struct stele_project_signal *signal, uint64_t wanted)
{
    place_init(&waiter->place);
    waiter->signal = signal;
    waiter->wanted = wanted;
    CHECK_EQ(pthread_create(&waiter->thread, NULL, wait_main, waiter), 0);
    until_asked(&waiter->place, 1);
}

TEST(while_a_run_goes_on_the_database_is_not_asked)
{
    struct stele_project_signal *signal = NULL;
    struct stele_run_told told = {.name = "p"};
    struct place place;
    place_init(&place);
    CHECK_EQ(stele_project_signal_create(&signal, NULL), STELE_OK);
    stele_runner__signal_begin(signal, &told);
    CHECK_EQ(stele_project_wait_signal(signal, &place.base, "p", 10, 150, NULL), STELE_TIMED_OUT);
    CHECK_EQ(atomic_load(&place.asked), 2);
    stele_runner__signal_end(signal, &told);
    /* Without one it is, and says the same. */
    atomic_store(&place.asked, 0);
    CHECK_EQ(stele_project_wait_signal(signal, &place.base, "p", 10, 150, NULL), STELE_TIMED_OUT);
    CHECK(atomic_load(&place.asked) > 2);
    /* A run of another projection is none. */
    struct stele_run_told other = {.name = "q", .position = 5};
    stele_runner__signal_begin(signal, &other);
    atomic_store(&place.position, 10);
    CHECK_EQ(stele_project_wait_signal(signal, &place.base, "p", 10, -1, NULL), STELE_OK);
    stele_runner__signal_end(signal, &other);
    stele_project_signal_destroy(signal);
    stele_project_signal_destroy(NULL);
}

TEST(a_run_wakes_those_who_wait_when_it_has_come_so_far)
{
    struct stele_project_signal *signal = NULL;
    struct stele_run_told told = {.name = "p"};
    static struct waiter waiters[4];
    CHECK_EQ(stele_project_signal_create(&signal, NULL), STELE_OK);
    stele_runner__signal_begin(signal, &told);
    for (unsigned i = 0; i < 4; i++) {
        start(&waiters[i], signal, 1000 + i);
    }
    for (uint64_t position = 1; position <= 1003; position++) {
        for (unsigned i = 0; i < 4; i++) {
            atomic_store(&waiters[i].place.position, position);
        }
        stele_runner__signal_tell(signal, &told, position);
    }
    for (unsigned i = 0; i < 4; i++) {
        CHECK_EQ(pthread_join(waiters[i].thread, NULL), 0);
        CHECK_EQ(waiters[i].outcome, STELE_OK);
        CHECK_EQ(atomic_load(&waiters[i].place.asked), 2);
    }
    stele_runner__signal_end(signal, &told);
    stele_project_signal_destroy(signal);
}

TEST(when_the_run_ends_the_database_is_asked_again)
{
    struct stele_project_signal *signal = NULL;
    struct stele_run_told told = {.name = "p"};
    static struct waiter waiter;
    CHECK_EQ(stele_project_signal_create(&signal, NULL), STELE_OK);
    stele_runner__signal_begin(signal, &told);
    start(&waiter, signal, 7);
    stele_runner__signal_end(signal, &told);
    until_asked(&waiter.place, 2);
    /* Another process goes on with it. */
    atomic_store(&waiter.place.position, 7);
    CHECK_EQ(pthread_join(waiter.thread, NULL), 0);
    CHECK_EQ(waiter.outcome, STELE_OK);
    stele_project_signal_destroy(signal);
}

TEST(a_run_that_is_ahead_of_what_is_read_is_not_believed)
{
    struct stele_project_signal *signal = NULL;
    struct stele_run_told told = {.name = "p"};
    static struct waiter waiter;
    CHECK_EQ(stele_project_signal_create(&signal, NULL), STELE_OK);
    stele_runner__signal_begin(signal, &told);
    start(&waiter, signal, 7);
    stele_runner__signal_tell(signal, &told, 9); /* A rebuild: nobody reads it yet. */
    until_asked(&waiter.place, 3);
    atomic_store(&waiter.place.position, 9);
    CHECK_EQ(pthread_join(waiter.thread, NULL), 0);
    CHECK_EQ(waiter.outcome, STELE_OK);
    stele_runner__signal_end(signal, &told);
    stele_project_signal_destroy(signal);
}
