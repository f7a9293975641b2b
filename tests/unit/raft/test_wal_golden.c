/* Yesterday's bytes: what every version so far has written is still read, and what is written now
 * is byte for byte what docs/internals/wal-format.md says. A change here is a change of the format.
 *
 * tests/golden/wal holds the bytes; see lib/golden.h. */
#include "lib/golden.h"
#include "lib/memio.h"
#include "wal_world.h"

static struct memio disk;

TEST(a_record_has_the_bytes_it_always_had)
{
    const struct stele_wal_record record = {
        .kind = STELE_WAL_SNAPSHOT,
        .type = 5,
        .group = 0x0123,
        .index = UINT64_C(0x1122334455667788),
        .term = UINT64_C(0x99aabbccddeeff00),
        .payload = stele_bytes_of_text("hello"),
    };
    uint8_t bytes[STELE_WAL__RECORD_HEADER];
    stele_wal__header_encode(bytes, stele_wal__seed(WORLD_SECRET, 7), 0x1000, 0xff8, &record);
    check_golden("record", bytes, sizeof bytes);
    struct stele_wal__header header;
    CHECK(stele_wal__header_decode(bytes, stele_wal__seed(WORLD_SECRET, 7), 0x1000, &header));
    CHECK_EQ(header.durable, 0xff8);
    CHECK_EQ(header.index, record.index);
    CHECK_EQ(header.term, record.term);
    CHECK_EQ(header.size, 5);
    CHECK_EQ(header.group, record.group);
    CHECK_EQ(header.kind, record.kind);
    CHECK_EQ(header.type, record.type);
    CHECK(stele_wal__payload_is_intact(stele_wal__seed(WORLD_SECRET, 7), &header, record.payload));
}

/* A log with a record of every kind, one that has a segment of its own, and a trimmed segment. */
static struct world *golden_world(void)
{
    memio_init(&disk, NULL, 1);
    struct world *const world = world_create(&disk.io, 65536);
    world_open(world);
    world_fill(world, 1, 65000);
    for (uint32_t index = 0; index < 5; index++) {
        world_fill(world, 2, index * 20);
    }
    CHECK_EQ(world->wal->segments_count, 2);
    CHECK_OK(stele_wal_trim(world->wal, world->records[world->count - 1].place, &world->err),
             world->err);
    CHECK_OK(world_put(world, 3), world->err);
    CHECK_OK(world_put(world, 5), world->err);
    CHECK_OK(world_flush(world), world->err);
    stele_wal_mark(world->wal);
    CHECK_OK(world_flush(world), world->err);
    return world;
}

static void end(struct world *world)
{
    world_destroy(world);
    memio_deinit(&disk);
}

TEST(a_log_has_the_bytes_it_always_had)
{
    struct world *const world = golden_world();
    static const char *const names[][2] = {
        {"0000000000000002.wal", "segment"},
        {"mark", "mark"},
    };
    for (size_t index = 0; index < STELE_COUNT_OF(names); index++) {
        const struct memio_inode *const inode = memio_find(&disk, names[index][0]);
        CHECK(inode != NULL);
        check_golden(names[index][1], inode->disk, inode->size_disk);
    }
    CHECK(memio_find(&disk, "0000000000000001.spare") != NULL);
    CHECK(memio_find(&disk, "0000000000000001.wal") == NULL);
    end(world);
}

TEST(yesterdays_log_is_read)
{
    struct world *const world = golden_world();
    world_close(world);
    memio_deinit(&disk);
    memio_init(&disk, &world->alloc.base, 1);
    static uint8_t segment[4096 + 65536];
    static uint8_t mark[8192];
    char path[512];
    golden_path(path, sizeof path, "segment");
    CHECK_EQ(read_golden(path, segment, sizeof segment), sizeof segment);
    golden_path(path, sizeof path, "mark");
    CHECK_EQ(read_golden(path, mark, sizeof mark), sizeof mark);
    memio_put(&disk, "0000000000000002.wal", (struct stele_bytes){segment, sizeof segment});
    memio_put(&disk, "mark", (struct stele_bytes){mark, sizeof mark});
    world_open(world);
    CHECK_EQ(world->told_first + world->told, world->count);
    CHECK(world->told >= 5);
    world_check_reads(world);
    world_fill(world, 10, 30000);
    world_close(world);
    world_open(world);
    end(world);
}
