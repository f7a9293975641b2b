/* Views are asked from several threads at once while the index goes on. Run it under
 * ThreadSanitizer to see that only the bits of verified pages are shared. */
#include "world.h"

#include <pthread.h>

#define THREADS 3
#define ROUNDS 40

static struct world world;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

/* One question to a view that was taken under the lock. */
static void ask(struct rng *rng, struct stele_index_view *view)
{
    char buffer[64];
    const uint32_t number = (uint32_t)rng_below(rng, WORLD_STREAMS);
    const struct stele_index_key key =
        stele_index_key(world.options.seed, 0, world_name(0, number, buffer));
    const char *damaged = NULL;
    struct stele_index_state state;
    uint64_t places[8];
    size_t count = 0;
    CHECK_EQ(stele_index_view_state(view, &key, &state, &damaged), STELE_OK);
    CHECK_EQ(stele_index_view_places(view, &key, 0, 8, places, &count, &damaged), STELE_OK);
    CHECK(count == (state.next < 8 ? state.next : 8));
    for (size_t i = 0; i < count; i++) {
        uint64_t ordinal = 0;
        CHECK_EQ(stele_index_view_lower_bound(view, &key, places[i], &ordinal, &damaged), STELE_OK);
        CHECK_EQ(ordinal, i);
    }
}

static void *read_views(void *context)
{
    struct rng *rng = context;
    for (int i = 0; i < ROUNDS * 10; i++) {
        (void)pthread_mutex_lock(&lock);
        struct stele_index_view *view = stele_index_view_acquire(world.index);
        (void)pthread_mutex_unlock(&lock);
        ask(rng, view);
        (void)pthread_mutex_lock(&lock);
        stele_index_view_release(view);
        (void)pthread_mutex_unlock(&lock);
    }
    return NULL;
}

/* The seam for tests has one thread, so jobs run under the lock too. */
static void write_runs(void)
{
    for (int i = 0; i < ROUNDS; i++) {
        (void)pthread_mutex_lock(&lock);
        for (int k = 0; k < 20; k++) {
            CHECK_EQ(world_index_event(&world, world_new_event(&world)), STELE_OK);
        }
        CHECK_EQ(world_flush(&world), STELE_OK);
        CHECK(world_merge(&world) <= STELE_NOT_FOUND);
        (void)pthread_mutex_unlock(&lock);
    }
}

TEST(views_are_asked_from_any_thread)
{
    world_init(&world, 3, UINT64_MAX);
    CHECK_EQ(world_open_index(&world, false), STELE_OK);
    pthread_t threads[THREADS];
    struct rng rngs[THREADS];
    for (uint64_t i = 0; i < THREADS; i++) {
        rng_init(&rngs[i], 3, i + 10);
        CHECK_EQ(pthread_create(&threads[i], NULL, read_views, &rngs[i]), 0);
    }
    write_runs();
    for (int i = 0; i < THREADS; i++) {
        CHECK_EQ(pthread_join(threads[i], NULL), 0);
    }
    world_check(&world);
    world_deinit(&world);
}
