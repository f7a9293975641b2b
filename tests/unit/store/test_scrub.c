/* Whatever rots at rest is found within the period, also by programs that never run for so long.
 *
 * Method: one bit in each of some places all over a sealed log is flipped; then time passes in steps
 * of ten minutes, in one opening or in many short ones. */
#include "world.h"

#define HOUR_US (3600 * INT64_C(1000000))

static struct world *make(void)
{
    struct world *world = world_create();
    static uint8_t data[60000];
    struct stele_event_draft draft = {
        .type = "T", .data = data, .data_size = sizeof data, .content_type = "x/y"};
    const struct stele_append append = {
        .stream = "s", .expected = STELE_EXPECT_ANY, .events = &draft, .count = 1};
    world->options.public.segment_size_max = 1024 * 1024;
    world->options.public.scrub_days = 7;
    world_open(world);
    for (int i = 0; i < 500; i++) { /* 30 MB: eight pieces. */
        memcpy(draft.id, &(uint64_t){(uint64_t)i + 1}, 8);
        CHECK_OK(world_append_these(world, &append, NULL), world->err);
    }
    CHECK_EQ(world_work(world, true), STELE_OK);
    world_close(world);
    return world;
}

static uint64_t scrubs;

/* Background work for so long; returns whether it found the damage. */
static bool run_for(struct world *world, int64_t us)
{
    for (const int64_t end = world->disk.now_us + us; world->disk.now_us < end;) {
        world->disk.now_us += HOUR_US / 6;
        struct stele_work *work = NULL;
        while (stele_work_begin(world->store, world->disk.now_us, false, &work, NULL) == STELE_OK) {
            scrubs += stele_work_kind(work) == STELE_WORK_SCRUB;
            int outcome = stele_work_run(work, &world->err);
            outcome = stele_work_end(world->store, work, outcome, NULL);
            CHECK_EQ(outcome, STELE_OK);
        }
    }
    struct stele_stats stats;
    stele_store_stats(world->store, &stats);
    return stats.damage > 0;
}

static char damaged_file[STELE_FILE_NAME_MAX];
static uint64_t damaged_offset;

static void on_damage(void *context, const struct stele_damage *damage)
{
    (void)context;
    (void)snprintf(damaged_file, sizeof damaged_file, "%s", damage->file);
    damaged_offset = damage->offset;
}

/* The name of the segment number index, counted around. */
static const char *segment_name(struct world *world, uint32_t index)
{
    const char *names[64];
    uint32_t count = 0;
    for (uint32_t i = 0; i < world->disk.names.count; i++) {
        const char *name = world->disk.names.entries[i].name;
        if (strstr(name, ".seg") != NULL && strcmp(name, "spare.seg") != 0) {
            names[count++] = name;
        }
    }
    CHECK(count > 16);
    return names[index % (count - 2)]; /* Sealed ones. */
}

TEST(a_flipped_bit_is_found_within_the_period_with_its_place)
{
    for (uint32_t segment = 0; segment < 25; segment += 6) {
        struct world *world = make();
        char name[STELE_FILE_NAME_MAX];
        (void)snprintf(name, sizeof name, "%s", segment_name(world, segment));
        memio_damage(&world->disk, name, 300000, 0x40);
        world_open(world);
        scrubs = 0;
        CHECK(run_for(world, 8 * 24 * HOUR_US));
        CHECK(scrubs >= 8 && scrubs <= 12); /* And not faster than was asked for. */
        CHECK_OK(stele_store_damages(world->store, on_damage, NULL), world->err);
        CHECK_TEXT_EQ(damaged_file, name);
        CHECK(damaged_offset <= 300000);
        CHECK(damaged_offset > 300000 - 70000);
        world_destroy(world);
    }
}

TEST(a_log_without_damage_is_scrubbed_without_a_word_wherever_it_begins)
{
    struct world *world = make();
    for (int opening = 0; opening < 30; opening++) {
        world_open(world);
        CHECK(!run_for(world, 25 * HOUR_US));
        world_close(world);
    }
    world_destroy(world);
}

/* A program of office hours: nine hours a day. */
TEST(a_flipped_bit_is_found_by_openings_that_are_shorter_than_the_period)
{
    for (uint32_t segment = 0; segment < 25; segment += 8) {
        struct world *world = make();
        memio_damage(&world->disk, segment_name(world, segment), 300000, 0x40);
        bool found = false;
        int days = 0;
        for (; days < 60 && !found; days++) {
            world_open(world);
            found = run_for(world, 9 * HOUR_US);
            world_close(world);
            world->disk.now_us += 15 * HOUR_US;
        }
        CHECK(found);
        world_destroy(world);
    }
}
