/* Whoever follows a living writer sees exactly what is durable, and skips nothing: also when segments
 * are made, packed and removed between its looks at the directory.
 *
 * Method: a second log on the writer's disk, and listings of that disk that are of no moment at all. */
#include "world.h"

/* A second look at the writer's disk: same files, its own log. */
struct follower {
    struct stele_log *log;
    size_t told; /* The events below this revision have been told, or lie in sealed segments. */
    bool is_open;
};

static int on_followed(void *context, const struct stele_frame *frame, uint64_t place,
                       const struct stele_event *event)
{
    struct follower *const follower = context;
    CHECK(!follower->is_open || event->revision == follower->told);
    CHECK(place > frame->place);
    follower->told = (size_t)event->revision + 1;
    return STELE_OK;
}

TEST(a_follower_sees_exactly_what_is_durable)
{
    for (uint64_t seed = 0; seed < 10; seed++) {
        struct world *const world = world_create(16384, 32768);
        struct rng rng;
        rng_init(&rng, seed, 9);
        world_open(world);
        const uint64_t before = rng_below(&rng, 40);
        for (uint64_t round = 0; round < before; round++) {
            world_append(world, 2, 2, 300);
        }
        struct stele_log_options options = world->options;
        options.read_only = true;
        struct follower follower = {0};
        CHECK_EQ(stele_log_open(&world->disk.io, &options, 0, stele_log_durable(world->log),
                                on_followed, &follower, &follower.log, &world->err),
                 STELE_OK);
        const size_t segments_before = stele_log_segments(follower.log);
        follower.is_open = true;
        follower.told = (size_t)stele_log_events(follower.log);
        CHECK_EQ(follower.told, world->count);
        for (int round = 0; round < 60; round++) {
            world_append(world, (uint16_t)rng_between(&rng, 1, 3), 2,
                         (uint32_t)rng_below(&rng, 900));
            /* Staged, even written, but not durable. */
            struct stele_log_group group;
            CHECK(world_stage(world, 1, 1, 10) == STELE_OK ||
                  stele_log_roll(world->log, 100, &world->err) == STELE_OK);
            if (stele_log_take(world->log, &group)) {
                CHECK_EQ(world->disk.io.ops->write(group.file, group.offset, group.bytes, NULL),
                         STELE_OK);
                const size_t visible = world_events_below(world, stele_log_durable(world->log));
                CHECK_EQ(stele_log_follow(follower.log, stele_log_durable(world->log), on_followed,
                                          &follower, &world->err),
                         STELE_OK);
                CHECK_EQ(follower.told, visible);
                CHECK_EQ(stele_log_durable(follower.log), stele_log_durable(world->log));
                CHECK_EQ(stele_log_position(follower.log), world->events[visible - 1].position);
                CHECK_EQ(world_write(world, &group), STELE_OK);
                stele_log_done(world->log, group.id, STELE_OK);
            } else {
                CHECK_EQ(stele_log_follow(follower.log, stele_log_durable(world->log), on_followed,
                                          &follower, &world->err),
                         STELE_OK);
                CHECK_EQ(follower.told, world->count);
            }
        }
        CHECK_EQ(stele_log_follow(follower.log, stele_log_durable(world->log), on_followed,
                                  &follower, &world->err),
                 STELE_OK);
        CHECK_EQ(follower.told, world->count);
        CHECK(stele_log_segments(follower.log) > segments_before);
        stele_log_check(follower.log);
        /* The follower's own readers see the same. */
        struct stele_log *const writer = world->log;
        world->log = follower.log;
        world_check_scan(world, world->count, 20);
        world_check_reads(world, world->count);
        world->log = writer;
        stele_log_close(follower.log);
        world_destroy(world);
    }
}

/* A listing of a directory that changes meanwhile: one segment is in none of its forms in it, as
 * when it is packed while the names are read one after the other. */
static struct {
    const struct stele_io_ops *ops; /* The real ones. */
    uint64_t hidden;                /* Base of the segment. */
    int times;                      /* In so many listings. */
    stele_io_name_callback on_name;
    void *context;
} torn;

static int on_torn_name(void *context, const char *name, uint64_t size)
{
    (void)context;
    char hidden[32];
    (void)snprintf(hidden, sizeof hidden, "%016llx.", (unsigned long long)torn.hidden);
    return strncmp(name, hidden, strlen(hidden)) == 0 ? STELE_OK
                                                      : torn.on_name(torn.context, name, size);
}

static int torn_list(struct stele_io *io, stele_io_name_callback on_name, void *context,
                     struct stele_error *error)
{
    if (torn.times == 0) {
        return torn.ops->list(io, on_name, context, error);
    }
    torn.times--;
    torn.on_name = on_name;
    torn.context = context;
    return torn.ops->list(io, on_torn_name, NULL, error);
}

/* Each segment in turn is missing from the follower's listing: of its opening, or of the first
 * following. times: in so many listings. Returns how often not all events were seen. */
static size_t follow_torn(int times)
{
    size_t lost = 0;
    for (int opening = 0; opening <= 1; opening++) {
        for (uint32_t hidden = 0; hidden < 100; hidden++) {
            struct world *const world = world_create(8192, 8192);
            world_open(world);
            world_append(world, 1, 1, 10);
            struct stele_log_options options = world->options;
            options.read_only = true;
            struct follower follower = {0};
            if (opening == 0) {
                CHECK_EQ(stele_log_open(&world->disk.io, &options, 0, stele_log_durable(world->log),
                                        on_followed, &follower, &follower.log, &world->err),
                         STELE_OK);
            }
            while (stele_log_segments(world->log) < 6) {
                world_append(world, 1, 2, 300);
            }
            struct stele_log_view *const view = stele_log_view_acquire(world->log);
            const bool is_last = hidden + 1 == view->count;
            torn.hidden = view->bases[hidden];
            stele_log_view_release(view);
            torn.ops = world->disk.io.ops;
            torn.times = times;
            struct stele_io_ops ops = *torn.ops;
            ops.list = torn_list;
            world->disk.io.ops = &ops;
            const uint64_t live_end = stele_log_durable(world->log);
            if (opening == 1) {
                CHECK_EQ(stele_log_open(&world->disk.io, &options, 0, live_end, on_followed,
                                        &follower, &follower.log, &world->err),
                         STELE_OK);
            } else {
                CHECK_EQ(
                    stele_log_follow(follower.log, live_end, on_followed, &follower, &world->err),
                    STELE_OK);
            }
            /* Whatever was missing at the end comes with the next look. */
            torn.times = is_last ? 0 : torn.times;
            CHECK_EQ(stele_log_follow(follower.log, live_end, on_followed, &follower, &world->err),
                     STELE_OK);
            struct stele_log *const writer = world->log;
            world->log = follower.log;
            struct stele_log_reader reader;
            world_reader(world, &reader);
            size_t seen = 0;
            for (size_t index = 0; index < world->count; index++) {
                struct stele_event event;
                seen += stele_log_read(&reader, world->events[index].place, &event) == STELE_OK;
            }
            lost += seen < world->count;
            world_reader_end(&reader);
            if (times < 8) {
                world_check_scan(world, world->count, 20);
            }
            world->log = writer;
            world->disk.io.ops = torn.ops;
            stele_log_close(follower.log);
            world_destroy(world);
            if (is_last) {
                break;
            }
        }
    }
    return lost;
}

TEST(a_follower_looks_again_when_a_listing_lacks_a_segment)
{
    CHECK_EQ(follow_torn(1), 0);
    CHECK_EQ(follow_torn(3), 0);
}

TEST(a_follower_that_finds_a_segment_missing_for_good_does_not_look_for_ever)
{
    CHECK(follow_torn(1000) > 0);
}

TEST(a_follower_opened_at_any_durable_place_starts_there)
{
    struct world *const world = world_create(16384, 16384);
    world_open(world);
    for (int round = 0; round < 30; round++) {
        world_append(world, 1, 1, 500);
        struct stele_log_options options = world->options;
        options.read_only = true;
        struct follower follower = {.told = 0};
        const uint64_t live_end = stele_log_durable(world->log);
        world->told = 0;
        CHECK_EQ(stele_log_open(&world->disk.io, &options, UINT64_MAX, live_end, on_followed,
                                &follower, &follower.log, &world->err),
                 STELE_OK);
        CHECK_EQ(stele_log_end(follower.log), live_end);
        CHECK_EQ(stele_log_position(follower.log), world->position);
        CHECK_EQ(stele_log_events(follower.log), world->count);
        stele_log_close(follower.log);
    }
    CHECK(stele_log_segments(world->log) > 1);
    world_destroy(world);
}

static void pack_sealed(struct world *world)
{
    uint64_t base = 0;
    uint64_t next = 0;
    uint64_t size = 0;
    struct stele_log_reader reader;
    world_reader(world, &reader);
    while (stele_log_sealed_next(reader.view, next, &base, &size) == STELE_OK) {
        struct stele_log_pack_result result;
        CHECK_OK(stele_log_pack(&reader, base, NULL, NULL, true, NULL, NULL, &result, &world->err),
                 world->err);
        if (result.changed) {
            CHECK_OK(stele_log_install_packed(world->log, base, &world->err), world->err);
        }
        next = base + 1;
    }
    world_reader_end(&reader);
}

static void check_follows(struct world *world, struct follower *follower, uint64_t live_end)
{
    CHECK_OK(stele_log_follow(follower->log, live_end, on_followed, follower, &world->err),
             world->err);
}

/* Between the writer's telling where it is and the follower's looking, any number of segments may
 * be sealed and packed. */
TEST(a_follower_that_was_told_an_old_end_loses_nothing)
{
    for (int rounds = 1; rounds < 120; rounds += 3) {
        struct world *const world = world_create(16384, 16384);
        world_open(world);
        for (int round = 0; round < 20; round++) {
            world_append(world, 1, 1, 500);
        }
        struct stele_log_options options = world->options;
        options.read_only = true;
        struct follower early = {.told = 0};
        const uint64_t first_end = stele_log_durable(world->log);
        CHECK_OK(stele_log_open(&world->disk.io, &options, 0, first_end, on_followed, &early,
                                &early.log, &world->err),
                 world->err);
        early.told = (size_t)stele_log_events(early.log);
        CHECK_EQ(early.told, world->count);
        early.is_open = true;
        for (int round = 0; round < rounds; round++) {
            world_append(world, 1, 1, 500);
        }
        const uint64_t old_end = stele_log_durable(world->log);
        const size_t old_count = world->count;
        for (int round = 0; round < 90; round++) {
            world_append(world, 1, 1, 500);
        }
        pack_sealed(world);
        struct follower late = {.told = 0};
        CHECK_OK(stele_log_open(&world->disk.io, &options, 0, old_end, on_followed, &late,
                                &late.log, &world->err),
                 world->err);
        CHECK(stele_log_end(late.log) >= old_end);
        late.told = (size_t)stele_log_events(late.log);
        CHECK(late.told >= old_count);
        late.is_open = true;
        check_follows(world, &early, old_end);
        CHECK_EQ(early.told, old_count);
        check_follows(world, &early, stele_log_durable(world->log));
        CHECK_EQ(early.told, world->count);
        check_follows(world, &late, stele_log_durable(world->log));
        CHECK_EQ(late.told, world->count);
        stele_log_close(early.log);
        stele_log_close(late.log);
        world_destroy(world);
    }
}
