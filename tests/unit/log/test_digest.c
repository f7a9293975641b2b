/* The hash chain is what its definition says, does not depend on how it is computed, and with it
 * comes a verification that misses nothing. */
#include "world.h"

#include <openssl/sha.h>

static struct world *some_world(int rounds)
{
    struct world *const world = world_create(8192, 16384);
    world_open(world);
    for (int round = 0; round < rounds; round++) {
        world_append(world, (uint16_t)(1 + round % 3), 1 + (uint32_t)round % 3,
                     (uint32_t)(round * 37 % 200));
    }
    return world;
}

struct damages {
    size_t count;
    struct stele_log_damage last;
    size_t events;
    uint64_t revision;
};

static void on_damage(void *context, const struct stele_log_damage *damage)
{
    struct damages *const damages = context;
    damages->count++;
    damages->last = *damage;
}

static int on_event(void *context, const struct stele_frame *frame, uint64_t place,
                    const struct stele_event *event)
{
    struct damages *const damages = context;
    CHECK(place >= frame->place + STELE_FRAME_HEADER_SIZE);
    damages->events++;
    damages->revision = event->revision;
    return STELE_OK;
}

static int extend(struct world *world, struct stele_log_chain *chain, uint64_t limit,
                  uint64_t max_bytes, uint64_t *indexes, struct damages *damages)
{
    struct stele_log_reader reader;
    world_reader(world, &reader);
    const int outcome = stele_log_chain_extend(&reader, chain, limit, max_bytes, indexes, 4,
                                               on_event, on_damage, damages, &world->err);
    world_reader_end(&reader);
    return outcome;
}

TEST(the_chain_is_what_its_definition_says)
{
    struct world *const world = some_world(60);
    CHECK(stele_log_segments(world->log) > 2);
    /* By hand, from the bytes of the files. */
    uint8_t hash[32] = {0};
    for (size_t index = 0; index < world->frames_count; index++) {
        const uint64_t place = world->frames[index];
        const struct stele_log_segment *const segment =
            world->log->view->segments[stele_log__view_find(world->log->view, place)];
        const uint8_t *const frame = segment->data + 4096 + (place - segment->base);
        uint8_t both[64];
        memcpy(both, hash, 32);
        (void)SHA256(frame, 64 + stele_load_u32le(frame + 8), both + 32);
        (void)SHA256(both, sizeof both, hash);
    }
    struct stele_log_chain chain = {0};
    struct damages damages = {0};
    CHECK_EQ(extend(world, &chain, UINT64_MAX, UINT64_MAX, NULL, &damages), STELE_END);
    CHECK_BYTES_EQ(chain.hash, hash, sizeof hash);
    CHECK_EQ(chain.frames, world->frames_count);
    CHECK_EQ(chain.events, world->count);
    CHECK_EQ(chain.position, world->position);
    CHECK_EQ(chain.place, stele_log_end(world->log));
    CHECK_EQ(damages.count, 0);
    CHECK_EQ(damages.events, world->count);
    world_destroy(world);
}

TEST(it_does_not_matter_in_how_many_steps_it_is_computed)
{
    struct world *const world = some_world(40);
    struct stele_log_chain whole = {0};
    struct damages damages = {0};
    CHECK_EQ(extend(world, &whole, UINT64_MAX, UINT64_MAX, NULL, &damages), STELE_END);
    for (uint64_t step = 1; step < 5000; step = step * 3 + 1) {
        struct stele_log_chain chain = {0};
        uint64_t indexes[4] = {0};
        int outcome = STELE_OK;
        while ((outcome = extend(world, &chain, UINT64_MAX, step, indexes, &damages)) == STELE_OK) {
        }
        CHECK_EQ(outcome, STELE_END);
        CHECK_BYTES_EQ(chain.hash, whole.hash, sizeof whole.hash);
        CHECK_EQ(chain.bytes, whole.bytes);
        for (uint32_t partition = 0; partition < 4; partition++) {
            CHECK_EQ(indexes[partition], stele_log_partition(world->log, partition)->index);
        }
    }
    /* Up to every frame, and on from there. */
    for (size_t index = 0; index < world->frames_count; index++) {
        struct stele_log_chain chain = {0};
        CHECK_EQ(extend(world, &chain, world->frames[index], UINT64_MAX, NULL, &damages),
                 STELE_END);
        CHECK_EQ(chain.frames, index);
        CHECK_EQ(extend(world, &chain, UINT64_MAX, UINT64_MAX, NULL, &damages), STELE_END);
        CHECK_BYTES_EQ(chain.hash, whole.hash, sizeof whole.hash);
    }
    CHECK_EQ(damages.count, 0);
    world_destroy(world);
}

TEST(every_flipped_bit_of_frames_and_headers_is_told_with_its_file)
{
    struct world *const world = some_world(16);
    CHECK(stele_log_segments(world->log) >= 2);
    const char *const name = "0000000000000000.seg";
    struct stele_log__facts facts;
    const char *what = NULL;
    CHECK_EQ(
        stele_log__segment_facts(world->log->view, world->log->view->segments[1], &facts, &what),
        STELE_OK);
    world_close(world);
    for (uint64_t bit = 0; bit < (4096 + facts.previous_end) * 8; bit++) {
        if (bit % 8 != bit / 8 % 8 && (bit / 8 < 4096 || bit % 3 != 0)) {
            continue;
        }
        memio_damage(&world->disk, name, bit / 8, (uint8_t)(1U << bit % 8));
        world_open(world);
        struct stele_log_chain chain = {0};
        uint64_t indexes[4] = {0};
        struct damages damages = {0};
        CHECK_EQ(extend(world, &chain, UINT64_MAX, 1000, indexes, &damages), STELE_OK);
        int outcome = STELE_OK;
        while (outcome == STELE_OK) {
            outcome = extend(world, &chain, UINT64_MAX, 1000, indexes, &damages);
        }
        CHECK_EQ(damages.count, 1);
        CHECK_TEXT_EQ(damages.last.file, name);
        CHECK(damages.last.offset <= bit / 8);
        CHECK(bit / 8 < 4096 ? damages.events == world->count : damages.events < world->count);
        CHECK_EQ(damages.revision, world->count - 1);
        world_close(world);
        memio_damage(&world->disk, name, bit / 8, (uint8_t)(1U << bit % 8));
    }
    world_destroy(world);
}

/* Writes a frame as somebody would who has the secret. */
static void forge(struct world *world, size_t frame_index, size_t at, uint64_t value)
{
    struct memio_inode *const inode = memio_find(&world->disk, "0000000000000000.seg");
    uint8_t *const header = inode->cache + 4096 + world->frames[frame_index];
    struct stele_frame frame;
    CHECK_EQ(stele_frame_decode((struct stele_bytes){.data = header, .size = 64}, WORLD_SECRET,
                                world->frames[frame_index], &frame),
             STELE_OK);
    if (at == 0) {
        frame.index = value;
    } else {
        frame.previous = (uint32_t)value;
    }
    (void)stele_frame_encode(header, WORLD_SECRET, &frame);
}

TEST(frames_that_verify_but_do_not_follow_are_told)
{
    for (size_t at = 0; at < 2; at++) {
        struct world *const world = some_world(10);
        forge(world, 1, at, 99);
        struct stele_log_chain chain = {0};
        uint64_t indexes[4] = {0};
        struct damages damages = {0};
        CHECK_EQ(extend(world, &chain, UINT64_MAX, UINT64_MAX, indexes, &damages), STELE_END);
        CHECK(damages.count >= 2); /* It does not follow, and the next does not follow it. */
        world_destroy(world);
    }
}

TEST(positions_that_do_not_grow_are_told)
{
    struct world *const world = world_create(16384, 16384);
    world_open(world);
    world_append(world, 1, 1, 5);
    /* The log leaves positions to the store; this one forgot to count. */
    world->position -= 1024;
    CHECK_EQ(world_stage(world, 1, 2, 5), STELE_OK);
    CHECK_EQ(world_flush(world), STELE_OK);
    struct stele_log_chain chain = {0};
    struct damages damages = {0};
    CHECK_EQ(extend(world, &chain, UINT64_MAX, UINT64_MAX, NULL, &damages), STELE_END);
    CHECK_EQ(damages.count, 1);
    CHECK_TEXT_HAS(damages.last.what, "position");
    world_destroy(world);
}

static int stop(void *context, const struct stele_frame *frame, uint64_t place,
                const struct stele_event *event)
{
    (void)context;
    (void)frame;
    (void)place;
    return event->revision == 5 ? STELE_E_CLOSED : STELE_OK;
}

TEST(the_callback_can_stop_it)
{
    struct world *const world = some_world(20);
    struct stele_log_reader reader;
    world_reader(world, &reader);
    struct stele_log_chain chain = {0};
    struct damages damages = {0};
    CHECK_EQ(stele_log_chain_extend(&reader, &chain, UINT64_MAX, UINT64_MAX, NULL, 0, stop,
                                    on_damage, &damages, &world->err),
             STELE_E_CLOSED);
    world_reader_end(&reader);
    world_destroy(world);
}

TEST(stamps_that_do_not_grow_are_told)
{
    struct world *const world = world_create(8192, 16384);
    world_open(world);
    static const struct {
        uint64_t stamp;
        size_t damages;
    } cases[] = {{0, 0}, {5, 0}, {6, 0}, {0, 0}, {6, 1}, {4, 2}, {9, 2}};
    for (size_t i = 0; i < STELE_COUNT_OF(cases); i++) {
        world->stamp = cases[i].stamp;
        world->log->stamp = 0; /* Only what looks at it later is tested here. */
        world_append(world, (uint16_t)(1 + i % 3), 1, 50);
        struct stele_log_chain chain = {0};
        struct damages damages = {0};
        CHECK_EQ(extend(world, &chain, UINT64_MAX, UINT64_MAX, NULL, &damages), STELE_END);
        /* Of an append with several frames, each but the first may say it again. */
        CHECK(damages.count >= cases[i].damages);
        CHECK_EQ(damages.count == 0, cases[i].damages == 0);
    }
    world_destroy(world);
}

TEST(the_last_stamp_is_known_after_rolling_reopening_and_a_torn_write)
{
    struct world *const world = world_create(8192, 16384);
    world_open(world);
    for (uint64_t stamp = 1; stamp <= 200; stamp++) {
        /* Appends without a stamp between do not make it forgotten. */
        world->stamp = stamp % 3 == 0 ? 0 : stamp * 1000;
        const uint64_t want = (stamp % 3 == 0 ? stamp - 1 : stamp) * 1000;
        world_append(world, (uint16_t)(1 + stamp % 4), 1, 300);
        CHECK_EQ(stele_log_stamp(world->log), want);
        CHECK_EQ(stele_log_stamp_durable(world->log), want);
        if (stamp % 7 == 0) {
            world->stamp = want + 500;
            if (world_stage(world, 2, 1, 50) == STELE_OK) {
                CHECK_EQ(stele_log_stamp(world->log), want + 500);
                CHECK_EQ(stele_log_stamp_durable(world->log), want);
            }
        }
        world_close(world);
        world_open(world);
        CHECK_EQ(stele_log_stamp(world->log), want);
        CHECK_EQ(stele_log_stamp_durable(world->log), want);
    }
    CHECK(stele_log_segments(world->log) > 4);
    world_destroy(world);
}
