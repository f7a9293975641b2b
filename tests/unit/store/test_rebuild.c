/* An index that has to be built again from a damaged log never passes for a whole one.
 *
 * Method: a store of several segments loses its oldest run while one frame in the middle is damaged. It
 * is opened, told to rebuild, and closed; again; and once more after the damage was repaired, as
 * from a backup. At no time may a stream give out a revision twice or skip an event silently. */
#include "world.h"

#define STREAMS 7

static void name_of(uint64_t number, char name[32])
{
    (void)snprintf(name, 32, "account-%d", (int)(number % STREAMS));
}

static void append_many(struct world *world, uint64_t from, uint64_t to)
{
    for (uint64_t i = from; i < to; i++) {
        char name[32];
        struct stele_append_result result;
        name_of(i, name);
        CHECK_OK(world_append(world, name, STELE_EXPECT_ANY, &result), world->err);
        CHECK_EQ(result.revision_last, i / STREAMS);
    }
}

/* Loses the oldest run; true if another one is left. */
static bool lose_first_run(struct world *world)
{
    uint32_t runs = 0;
    char name[STELE_FILE_NAME_MAX] = "";
    for (uint32_t i = world->disk.names.count; i > 0; i--) {
        if (strstr(world->disk.names.entries[i - 1].name, ".run") != NULL) {
            memcpy(name, world->disk.names.entries[i - 1].name, sizeof name);
            runs++;
        }
    }
    CHECK(runs > 0);
    memio_drop(&world->disk, name);
    return runs > 1;
}

#define FIRST_SEGMENT "0000000000000000.seg"

TEST(damage_that_hides_events_from_the_index_is_not_forgotten)
{
    struct world *world = world_create();
    world_open(world);
    const uint64_t events = 1400;
    append_many(world, 0, 700);
    (void)world_work(world, false);
    append_many(world, 700, events);
    (void)world_work(world, false);
    world_close(world);
    CHECK(lose_first_run(world));
    memio_damage(&world->disk, FIRST_SEGMENT, 20000, 0x10);

    for (int life = 0; life < 3; life++) {
        world_open(world); /* The tail is intact. */
        (void)world_work(world, false);
        for (uint64_t i = 0; i < STREAMS; i++) {
            char name[32];
            struct stele_append_result result;
            name_of(i, name);
            const int outcome = world_append(world, name, STELE_EXPECT_ANY, &result);
            CHECK(outcome == STELE_E_CORRUPT || outcome == STELE_STORE_INDEX);
        }
        /* What can be read is right, and the damage is told by whoever passes it. */
        int outcome = STELE_OK;
        CHECK(world_count(world->store, "$ce-account", &outcome) < events);
        CHECK_EQ(outcome, STELE_E_CORRUPT);
        (void)world_work(world, true);
        world_close(world);
    }

    memio_damage(&world->disk, FIRST_SEGMENT, 20000, 0x10); /* Once more: repaired. */
    world_open(world);
    CHECK_EQ(world_work(world, false), STELE_OK);
    uint64_t total = 0;
    for (uint64_t i = 0; i < STREAMS; i++) {
        char name[32];
        int outcome = STELE_OK;
        name_of(i, name);
        total += world_count(world->store, name, &outcome);
        CHECK_EQ(outcome, STELE_END);
    }
    CHECK_EQ(total, events);
    struct stele_append_result result;
    CHECK_OK(world_append(world, "account-0", STELE_EXPECT_ANY, &result), world->err);
    CHECK_EQ(result.revision_last, events / STREAMS);
    world_destroy(world);
}

/* A run that turns out to be damaged while an append asks for its names says nothing about the
 * log: the append waits until the run is built again. */
TEST(a_damaged_run_delays_an_append_and_never_refuses_it)
{
    uint32_t delayed = 0;
    for (uint64_t page = 0; page < 12; page++) {
        struct world *world = world_create();
        world_open(world);
        append_many(world, 0, 400);
        (void)world_work(world, false);
        (void)world_work(world, true);
        world_close(world);
        const char *run = NULL;
        for (uint32_t i = 0; i < world->disk.names.count; i++) {
            run = strstr(world->disk.names.entries[i].name, ".run") != NULL
                      ? world->disk.names.entries[i].name
                      : run;
        }
        CHECK(run != NULL);
        if (memio_find(&world->disk, run)->size > page * 4096 + 64) {
            memio_damage(&world->disk, run, page * 4096 + 64, 0xff);
        }
        world_open(world);
        struct stele_append_result result;
        int outcome = STELE_STORE_INDEX;
        for (int tries = 0; outcome == STELE_STORE_INDEX && tries < 10; tries++) {
            outcome = world_append(world, "account-new", STELE_EXPECT_NO_STREAM, &result);
            if (outcome == STELE_STORE_INDEX) {
                delayed++;
                (void)world_work(world, false);
            }
        }
        CHECK_OK(outcome, world->err);
        CHECK_EQ(result.revision_last, 0);
        world_destroy(world);
    }
    CHECK(delayed > 0);
}

/* Which page of a run is damaged is found out in the middle of a read, which goes on in the log. */
TEST(a_run_found_damaged_while_reading_costs_no_event_and_gives_none_twice)
{
    struct world *world = world_create();
    world->options.public.index_memory = 1024 * 1024;
    world_open(world);
    const uint64_t events = 4000;
    append_many(world, 0, events);
    world_close(world);
    world->options.public.index_memory = 16 * 1024;
    world_open(world);
    CHECK_EQ(world_work(world, false), STELE_OK);
    char run[STELE_FILE_NAME_MAX] = "";
    for (uint32_t i = 0; i < world->disk.names.count; i++) {
        if (strstr(world->disk.names.entries[i].name, ".run") != NULL) {
            memcpy(run, world->disk.names.entries[i].name, sizeof run);
        }
    }
    const uint64_t size = memio_find(&world->disk, run)->size;
    for (uint64_t at = 4096; at + 100 < size; at += 4096) {
        static const char *const names[] = {"$ce-account", "$et-Happened", "account-3"};
        for (size_t i = 0; i < STELE_COUNT_OF(names); i++) {
            struct memio copy;
            memio_copy(&world->disk, &copy);
            memio_damage(&copy, run, at + 100, 0x40);
            struct stele_store *store = NULL;
            CHECK_OK(stele_store_open(&copy.io, &world->options, &store, &world->err), world->err);
            int outcome = STELE_OK;
            const uint64_t want = i == 2 ? (events - 3 + STREAMS - 1) / STREAMS : events;
            CHECK_EQ(world_count(store, names[i], &outcome), want);
            CHECK_EQ(outcome, STELE_END);
            stele_store_close(store);
            memio_deinit(&copy);
        }
    }
    world_destroy(world);
}

/* The newest metadata lies in the run that is lost, the newest events do not. */
TEST(facts_of_a_stream_do_not_depend_on_the_index)
{
    struct world *world = world_create();
    world_open(world);
    static const char json[] = "{\"$tb\":5}";
    struct stele_event_draft draft = {
        .type = "$metadata", .data = json, .data_size = sizeof json - 1};
    draft.id[0] = 0xee;
    const struct stele_append metadata = {
        .stream = "$$account-1", .expected = STELE_EXPECT_NO_STREAM, .events = &draft, .count = 1};
    CHECK_OK(world_append_these(world, &metadata, NULL), world->err);
    append_many(world, 0, 700);
    (void)world_work(world, false);
    append_many(world, 700, 1400);
    (void)world_work(world, false);
    world_close(world);
    CHECK(lose_first_run(world));
    world_open(world);
    struct stele_stream_info info;
    CHECK_OK(stele_store_stream_info(world->store, "account-1", 0, &info, &world->err), world->err);
    CHECK_EQ(info.revision_last, 199);
    CHECK_EQ(info.revision_first, 5);
    CHECK_OK(stele_store_stream_info(world->store, "account-2", 0, &info, &world->err), world->err);
    CHECK_EQ(info.revision_first, 0);
    world_destroy(world);
}
