/* Yesterday's bytes: what was written by every version so far is still read, and what is written
 * now is byte for byte what the format says. A change here is a change of the format on disk.
 *
 * tests/golden/log holds the bytes; see lib/golden.h. */
#include "lib/golden.h"
#include "world.h"

TEST(a_record_has_the_bytes_it_always_had)
{
    static const uint8_t id[16] = {0x01, 0x8f, 3,  4,  5,  6,  0x77, 8,
                                   0x99, 10,   11, 12, 13, 14, 15,   16};
    static const uint8_t tags[] = {3, 'v', 'i', 'p', 5, 'o', 'r', 'd', 'e', 'r'};
    const struct stele_record_draft draft = {
        .position = UINT64_C(0x0123456789abcdef),
        .revision = 42,
        .id = id,
        .created_us = INT64_C(1700000000123456),
        .stream = stele_bytes_of_text("order-7"),
        .type = stele_bytes_of_text("OrderPlaced"),
        .content_type = stele_bytes_of_text("text/plain"),
        .tags = {.data = tags, .size = sizeof tags},
        .tags_count = 2,
        .flags = STELE_RECORD_TOMBSTONE,
        .metadata = stele_bytes_of_text("{\"who\":\"me\"}"),
        .data = stele_bytes_of_text("hello"),
    };
    uint8_t bytes[256];
    const size_t size = stele_record_size(&draft);
    (void)stele_record_encode(bytes, &draft);
    check_golden("record", bytes, size);
}

TEST(a_frame_header_has_the_bytes_it_always_had)
{
    const struct stele_frame frame = {
        .place = 0x1000,
        .durable = 0xff8,
        .term = 7,
        .index = 99,
        .payload_checksum = 0xcafebabe,
        .size = 320,
        .previous = 0xdeadbeef,
        .count = 3,
        .partition = 512,
        .group_count = 2,
        .group_index = 1,
        .kind = STELE_FRAME_EVENTS,
    };
    uint8_t bytes[STELE_FRAME_HEADER_SIZE];
    (void)stele_frame_encode(bytes, WORLD_SECRET, &frame);
    check_golden("frame", bytes, sizeof bytes);
}

static bool keep_even(void *context, const struct stele_event *event)
{
    (void)context;
    return event->revision % 2 == 0;
}

/* One log with everything in it. */
static struct world *golden_world(void)
{
    struct world *const world = world_create(8192, 8192);
    world_open(world);
    world_append(world, 1, 3, 14);
    world_append(world, 3, 2, 6);
    world_append(world, 1, 1, 0);
    CHECK_EQ(stele_log_roll(world->log, 100, &world->err), STELE_OK);
    world_append(world, 2, 1, 33);
    struct stele_log_mark mark;
    stele_log_get_mark(world->log, &mark);
    CHECK_EQ(stele_log_put_mark(&world->disk.io, &mark, NULL), STELE_OK);
    return world;
}

static void check_file(struct world *world, const char *file, const char *golden)
{
    const struct memio_inode *const inode = memio_find(&world->disk, file);
    CHECK(inode != NULL);
    check_golden(golden, inode->cache, inode->size);
}

TEST(a_log_has_the_bytes_it_always_had)
{
    struct world *const world = golden_world();
    check_file(world, "0000000000000000.seg", "segment-first");
    check_file(world, "0000000000001000.seg", "segment-second");
    check_file(world, "mark", "mark");
    world_destroy(world);
}

TEST(a_packed_segment_has_the_bytes_it_always_had)
{
    struct world *const world = golden_world();
    struct stele_log_reader reader;
    world_reader(world, &reader);
    struct stele_log_pack_result result;
    CHECK_EQ(stele_log_pack(&reader, 0, keep_even, NULL, false, NULL, NULL, &result, &world->err),
             STELE_OK);
    world_reader_end(&reader);
    CHECK_EQ(stele_log_install_packed(world->log, 0, &world->err), STELE_OK);
    check_file(world, "0000000000000000.pak", "packed");
    world_destroy(world);
}

/* Compressed bytes may differ from one version of zstd to the next, so these are only read. */
static void check_reads_back(const char *first_golden, const char *first_file, bool even_only)
{
    struct world *const world = golden_world();
    world_close(world);
    static const char *const rest[][2] = {{"segment-second", "0000000000001000.seg"},
                                          {"mark", "mark"}};
    static uint8_t bytes[65536];
    char path[512];
    memio_drop(&world->disk, "0000000000000000.seg");
    golden_path(path, sizeof path, first_golden);
    memio_put(&world->disk, first_file,
              (struct stele_bytes){.data = bytes, .size = read_golden(path, bytes, sizeof bytes)});
    for (size_t index = 0; index < STELE_COUNT_OF(rest); index++) {
        golden_path(path, sizeof path, rest[index][0]);
        memio_drop(&world->disk, rest[index][1]);
        memio_put(
            &world->disk, rest[index][1],
            (struct stele_bytes){.data = bytes, .size = read_golden(path, bytes, sizeof bytes)});
    }
    for (size_t index = 0; index < 10; index++) {
        world->events[index].gone = even_only && index % 2 == 1;
    }
    world_open(world);
    CHECK_EQ(stele_log_events(world->log), world->count);
    world_check_scan(world, world->count, 5);
    world_check_reads(world, world->count);
    world_append(world, 1, 1, 10);
    world_check_scan(world, world->count, 5);
    world_destroy(world);
}

TEST(yesterdays_log_is_read)
{
    check_reads_back("segment-first", "0000000000000000.seg", false);
    check_reads_back("packed", "0000000000000000.pak", true);
    check_reads_back("packed-zstd", "0000000000000000.pak", true);
}

TEST(a_compressed_segment_can_be_written_for_tomorrow)
{
    struct world *const world = golden_world();
    struct stele_log_reader reader;
    world_reader(world, &reader);
    struct stele_log_pack_result result;
    CHECK_EQ(stele_log_pack(&reader, 0, keep_even, NULL, true, NULL, NULL, &result, &world->err),
             STELE_OK);
    world_reader_end(&reader);
    const char *const mode = getenv("STELE_GOLDEN");
    if (mode != NULL && strcmp(mode, "write") == 0) {
        const struct memio_inode *const inode = memio_find(&world->disk, "0000000000000000.tmp");
        char path[512];
        golden_path(path, sizeof path, "packed-zstd");
        write_golden(path, inode->cache, inode->size);
    }
    world_destroy(world);
}
