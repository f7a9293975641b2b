/* Damage is never taken for a torn tail, nor for data: whatever rots, all that was durable is told,
 * or none of it is.
 *
 * Method: small logs, damaged in every way of a kind (every bit, every sector, every length, every
 * file), are opened anew. What no record, segment or mark says to have been durable may be cut; it
 * cannot be told from what was never written. */
#include "base/checksum.h"
#include "lib/memio.h"
#include "wal_world.h"

#define FILES_MAX 8

static struct memio disk;

/* The files of a log as they lie on the disk. */
struct image {
    struct {
        char name[STELE_FILE_NAME_MAX];
        uint8_t *data;
        size_t size;
    } files[FILES_MAX];
    size_t count;
};

static struct world *begin(void)
{
    memio_init(&disk, NULL, 1);
    struct world *const world = world_create(&disk.io, 65536);
    world_open(world);
    return world;
}

static void end(struct world *world)
{
    world_destroy(world);
    memio_deinit(&disk);
}

static void save(struct image *image)
{
    image->count = 0;
    for (uint32_t index = 0; index < disk.names.count; index++) {
        const struct memio_name *const entry = &disk.names.entries[index];
        CHECK(image->count < FILES_MAX);
        memcpy(image->files[image->count].name, entry->name, sizeof entry->name);
        image->files[image->count].size = entry->inode->size;
        image->files[image->count].data = malloc(entry->inode->size + 1);
        CHECK(image->files[image->count].data != NULL);
        memcpy(image->files[image->count].data, entry->inode->cache, entry->inode->size);
        image->count++;
    }
}

static void drop(struct image *image)
{
    for (size_t index = 0; index < image->count; index++) {
        free(image->files[index].data);
    }
}

static void restore(const struct image *image, struct world *world)
{
    memio_deinit(&disk);
    memio_init(&disk, &world->alloc.base, 1);
    for (size_t index = 0; index < image->count; index++) {
        memio_put(&disk, image->files[index].name,
                  (struct stele_bytes){image->files[index].data, image->files[index].size});
    }
}

static size_t file_at(const struct image *image, const char *name)
{
    size_t index = 0;
    while (strcmp(image->files[index].name, name) != 0) {
        index++;
        CHECK(index < image->count);
    }
    return index;
}

/* Opens the damaged log. true: it opened, and told at least the first `known` records. */
static bool try_open(struct world *world, size_t known)
{
    const size_t count = world->count;
    const int outcome = world_try_open(world);
    if (outcome != STELE_OK) {
        CHECK_OUTCOME(outcome, STELE_E_CORRUPT, world->err);
        CHECK_EQ(world->alloc.bytes, 0);
        CHECK_EQ(disk.open_count, 0);
        return false;
    }
    CHECK(world->told >= known);
    CHECK(world->told == 0 || world->told_first == 0);
    world->count = world->told;
    world_check_reads(world);
    world->count = count;
    world_close(world);
    return true;
}

/* Three segments, the last of which has a few small records. */
static void fill_three(struct world *world)
{
    world_fill(world, 2, 30);
    world_fill(world, 1, 65000);
    world_fill(world, 1, 300);
    world_fill(world, 1, 65000);
    for (int index = 0; index < 6; index++) {
        world_fill(world, 1, (uint32_t)index * 37);
    }
    CHECK_EQ(world->wal->segments_count, 3);
}

static void flip_every_bit(struct world *world, const struct image *image, const char *name,
                           size_t from, size_t to, size_t step, size_t known, uint64_t *opened,
                           uint64_t *refused)
{
    uint8_t *const data = image->files[file_at(image, name)].data;
    for (size_t at = from; at < to; at += step) {
        for (int bit = 0; bit < 8; bit++) {
            data[at] ^= (uint8_t)(1 << bit);
            restore(image, world);
            const bool is_open = try_open(world, known);
            *opened += is_open ? 1 : 0;
            *refused += is_open ? 0 : 1;
            data[at] ^= (uint8_t)(1 << bit);
        }
    }
}

TEST(no_flipped_bit_takes_back_what_a_mark_knows)
{
    struct world *const world = begin();
    fill_three(world);
    stele_wal_mark(world->wal);
    CHECK_OK(world_flush(world), world->err);
    const size_t used = (size_t)(4096 + stele_wal_end(world->wal) - world->wal->segments[2].base);
    world_close(world);
    struct image image;
    save(&image);
    uint64_t opened = 0;
    uint64_t refused = 0;
    /* One slot of the mark is enough. */
    flip_every_bit(world, &image, "mark", 0, 512, 1, world->count, &opened, &refused);
    flip_every_bit(world, &image, "mark", 4096, 4608, 1, world->count, &opened, &refused);
    CHECK_EQ(refused, 0);
    opened = 0;
    for (int number = 1; number <= 3; number++) {
        char name[STELE_FILE_NAME_MAX];
        stele_wal__name(name, (uint64_t)number, "wal");
        flip_every_bit(world, &image, name, 0, 512, 1, world->count, &opened, &refused);
    }
    CHECK_EQ(opened, 0);
    flip_every_bit(world, &image, "0000000000000003.wal", 4096, used, 1, world->count, &opened,
                   &refused);
    /* Only bits of padding do no harm. */
    CHECK(opened <= 7 * 7 * 8);
    opened = 0;
    flip_every_bit(world, &image, "0000000000000001.wal", 4096, 4096 + 300, 1, world->count,
                   &opened, &refused);
    flip_every_bit(world, &image, "0000000000000002.wal", 4096, 4096 + 300, 1, world->count,
                   &opened, &refused);
    CHECK(opened <= 2 * 7 * 8);
    flip_every_bit(world, &image, "0000000000000002.wal", 5000, 65536, 997, world->count, &opened,
                   &refused);
    drop(&image);
    end(world);
}

TEST(without_a_mark_only_what_no_later_record_knows_is_cut)
{
    struct world *const world = begin();
    fill_three(world);
    const size_t used = (size_t)(4096 + stele_wal_end(world->wal) - world->wal->segments[2].base);
    CHECK(stele_wal__last(world->wal)->base < world->records[world->count - 3].place);
    const size_t last =
        (size_t)(4096 + world->records[world->count - 1].place - world->wal->segments[2].base);
    world_close(world);
    struct image image;
    save(&image);
    uint64_t opened = 0;
    uint64_t refused = 0;
    /* Each was put when those before it were durable. */
    flip_every_bit(world, &image, "0000000000000003.wal", 4096, last, 1, world->count, &opened,
                   &refused);
    CHECK(opened <= 6 * 7 * 8);
    opened = 0;
    refused = 0;
    flip_every_bit(world, &image, "0000000000000003.wal", last, used, 1, world->count - 1, &opened,
                   &refused);
    CHECK_EQ(refused, 0);
    drop(&image);
    end(world);
}

TEST(no_bad_sector_takes_back_what_a_mark_knows)
{
    struct world *const world = begin();
    fill_three(world);
    stele_wal_mark(world->wal);
    CHECK_OK(world_flush(world), world->err);
    world_close(world);
    struct image image;
    save(&image);
    for (size_t file = 0; file < image.count; file++) {
        uint8_t *const data = image.files[file].data;
        for (size_t at = 0; at < image.files[file].size; at += 512) {
            uint8_t kept[512];
            memcpy(kept, data + at, 512);
            memset(data + at, 0, 512);
            restore(&image, world);
            (void)try_open(world, world->count);
            memset(data + at, 0xa5, 512);
            restore(&image, world);
            (void)try_open(world, world->count);
            /* A sector that belongs elsewhere, in this file and in the next. */
            memcpy(data + at, data + (at + 512) % image.files[file].size, 512);
            restore(&image, world);
            (void)try_open(world, world->count);
            const size_t next = (file + 1) % image.count;
            if (at + 512 <= image.files[next].size) {
                memcpy(data + at, image.files[next].data + at, 512);
                restore(&image, world);
                (void)try_open(world, world->count);
            }
            memcpy(data + at, kept, 512);
        }
    }
    drop(&image);
    end(world);
}

TEST(a_file_that_is_missing_cut_off_or_another_is_noticed)
{
    struct world *const world = begin();
    fill_three(world);
    stele_wal_mark(world->wal);
    CHECK_OK(world_flush(world), world->err);
    world_close(world);
    struct image image;
    save(&image);
    CHECK_EQ(image.count, 4);
    for (size_t file = 0; file < image.count; file++) {
        restore(&image, world);
        memio_drop(&disk, image.files[file].name);
        CHECK(!try_open(world, world->count));
        const size_t size = image.files[file].size;
        for (size_t cut = 0; cut < size; cut += cut < 5120 ? 64 : 4096) {
            image.files[file].size = cut;
            restore(&image, world);
            const bool is_mark = strcmp(image.files[file].name, "mark") == 0;
            const bool opened = try_open(world, world->count);
            CHECK(!opened || (is_mark && cut >= 512));
        }
        image.files[file].size = size;
        for (size_t other = 0; other < image.count; other++) {
            if (other != file) {
                restore(&image, world);
                memio_put(&disk, image.files[file].name,
                          (struct stele_bytes){image.files[other].data, image.files[other].size});
                CHECK(!try_open(world, world->count));
            }
        }
    }
    drop(&image);
    end(world);
}

/* ---- Each thing that says that the log was durable, alone ---- */

static void damage_record(struct world *world, const struct image *image, size_t index)
{
    const struct world_record *const record = &world->records[index];
    size_t segment = world->wal->segments_count;
    while (world->wal->segments[--segment].base > record->place) {
    }
    char name[STELE_FILE_NAME_MAX];
    stele_wal__name(name, world->wal->segments[segment].number, "wal");
    const uint64_t offset = 4096 + record->place - world->wal->segments[segment].base;
    image->files[file_at(image, name)].data[offset + 48] ^= 1; /* Its payload. */
}

static void put_in_flight(struct world *world, uint32_t size, struct stele_wal_group *group)
{
    CHECK_OK(world_put(world, size), world->err);
    CHECK(stele_wal_take(world->wal, group));
}

static void finish(struct world *world, const struct stele_wal_group *group)
{
    stele_wal_done(world->wal, group->id, world_write(group));
}

static bool opens_after_damage_of(struct world *world, size_t index, size_t known)
{
    struct image image;
    save(&image);
    damage_record(world, &image, index);
    world_close(world);
    restore(&image, world);
    const bool opened = try_open(world, known);
    drop(&image);
    return opened;
}

TEST(a_record_put_in_flight_says_nothing)
{
    struct world *const world = begin();
    struct stele_wal_group groups[2];
    put_in_flight(world, 100, &groups[0]);
    put_in_flight(world, 100, &groups[1]);
    finish(world, &groups[0]);
    finish(world, &groups[1]);
    CHECK(opens_after_damage_of(world, 0, 0));
    end(world);
}

TEST(a_later_record_says_what_was_durable)
{
    struct world *const world = begin();
    world_fill(world, 1, 100);
    world_fill(world, 1, 100);
    CHECK(!opens_after_damage_of(world, 0, 1));
    end(world);
}

/* Its payload may never have reached the disk; the header counts. */
TEST(a_later_torn_record_says_what_was_durable)
{
    struct world *const world = begin();
    world_fill(world, 1, 100);
    world_fill(world, 1, 100);
    struct image image;
    save(&image);
    damage_record(world, &image, 0);
    damage_record(world, &image, 1);
    world_close(world);
    restore(&image, world);
    CHECK(!try_open(world, 1));
    drop(&image);
    end(world);
}

TEST(a_record_of_a_later_segment_says_what_was_durable)
{
    struct world *const world = begin();
    struct stele_wal_group groups[2];
    put_in_flight(world, 100, &groups[0]);
    put_in_flight(world, 65400, &groups[1]); /* Makes the segment: its header says nothing. */
    finish(world, &groups[0]);
    finish(world, &groups[1]);
    CHECK_EQ(world->wal->segments_count, 2);
    world_fill(world, 1, 8);
    CHECK_EQ(world->wal->segments_count, 2);
    CHECK(!opens_after_damage_of(world, 0, 2));
    end(world);
}

TEST(the_header_of_a_later_segment_says_what_was_durable)
{
    struct world *const world = begin();
    world_fill(world, 1, 100);
    CHECK_OK(world_put(world, 65400), world->err);
    CHECK_EQ(world->wal->segments_count, 2);
    CHECK(!opens_after_damage_of(world, 0, 1));
    end(world);
}

TEST(a_mark_says_what_was_durable)
{
    struct world *const world = begin();
    struct stele_wal_group groups[2];
    put_in_flight(world, 100, &groups[0]);
    put_in_flight(world, 100, &groups[1]);
    finish(world, &groups[0]);
    finish(world, &groups[1]);
    stele_wal_mark(world->wal);
    CHECK_OK(world_flush(world), world->err);
    CHECK(!opens_after_damage_of(world, 0, 2));
    end(world);
}

/* Trimming writes a mark too, in both slots. */
TEST(a_trim_says_what_was_durable)
{
    struct world *const world = begin();
    struct stele_wal_group groups[3];
    put_in_flight(world, 65000, &groups[0]);
    put_in_flight(world, 1000, &groups[1]);
    put_in_flight(world, 1000, &groups[2]);
    for (int index = 0; index < 3; index++) {
        finish(world, &groups[index]);
    }
    CHECK_OK(stele_wal_trim(world->wal, world->records[1].place, &world->err), world->err);
    CHECK_EQ(world->wal->segments_count, 1);
    CHECK(!opens_after_damage_of(world, 1, 2));
    end(world);
}

/* ---- What is behind a cut ---- */

/* Two groups were in flight, the second is on the disk, the first is not. What is put then ends
 * where the second begins. */
TEST(what_was_cut_does_not_come_back_behind_new_records)
{
    static const uint32_t sizes[][2] = {{100, 100}, {30000, 30000}, {30000, 40000}, {100, 65400}};
    for (size_t index = 0; index < STELE_COUNT_OF(sizes); index++) {
        struct world *const world = begin();
        world_fill(world, 1, 50);
        struct stele_wal_group groups[2];
        put_in_flight(world, sizes[index][0], &groups[0]);
        put_in_flight(world, sizes[index][1], &groups[1]);
        CHECK_EQ(world_write(&groups[1]), STELE_OK);
        world_close(world);
        memio_crash(&disk, MEMIO_KEEP_NONE);
        world_open(world);
        CHECK_EQ(world->told, 1);
        world_forget(world);
        CHECK_OK(world_put(world, sizes[index][0]), world->err);
        CHECK_OK(world_flush(world), world->err);
        CHECK_EQ(stele_wal_end(world->wal),
                 world->records[1].place + stele_wal__record_size(sizes[index][0]));
        world_close(world);
        memio_crash(&disk, MEMIO_KEEP_NONE);
        world_open(world);
        CHECK_EQ(world->told, 2);
        world_fill(world, 5, 30000);
        world_close(world);
        world_open(world);
        CHECK_EQ(world->told, 7);
        end(world);
    }
}

/* A payload is full of records as they would look under any seed but the right one. */
TEST(payloads_that_look_like_records_are_none)
{
    struct world *const world = begin();
    world_fill(world, 1, 50);
    uint8_t payload[4800];
    const uint64_t place = stele_wal_end(world->wal);
    const struct stele_wal_record fake = {.kind = STELE_WAL_ENTRY, .group = 9};
    for (size_t at = 0; at < sizeof payload; at += 48) {
        stele_wal__header_encode(payload + at, stele_wal__seed(WORLD_SECRET + 1, 1),
                                 place + 48 + at, place + 48, &fake);
    }
    const struct stele_wal_record record = {.kind = STELE_WAL_ENTRY,
                                            .payload = {.data = payload, .size = sizeof payload}};
    uint64_t at = 0;
    CHECK_OK(stele_wal_put(world->wal, &record, &at, &world->err), world->err);
    CHECK_OK(world_flush(world), world->err);
    struct image image;
    save(&image);
    image.files[0].data[4096 + at - world->wal->segments[0].base] ^= 1; /* Torn. */
    world_close(world);
    restore(&image, world);
    CHECK(try_open(world, 1));
    drop(&image);
    end(world);
}

/* Nor if the owner's secret is known. */
TEST(every_log_has_a_salt_of_its_own)
{
    struct world *const world = begin();
    const uint64_t salt = world->wal->salt;
    CHECK(salt != 0);
    world_fill(world, 10, 30000);
    world_close(world);
    world_open(world);
    CHECK_EQ(world->wal->salt, salt);
    world_close(world);
    memio_deinit(&disk);
    memio_init(&disk, &world->alloc.base, 2);
    world->count = 0;
    world_open(world);
    CHECK(world->wal->salt != salt);
    end(world);
}

/* ---- Files that are used again ---- */

TEST(a_record_verifies_in_its_own_segment_and_place_only)
{
    uint8_t buffer[48];
    struct stele_wal__header header;
    const struct stele_wal_record record = {.kind = STELE_WAL_HARD, .index = 3, .term = 4};
    for (uint64_t number = 1; number < 2000; number++) {
        stele_wal__header_encode(buffer, stele_wal__seed(7, number), 4096, 4096, &record);
        CHECK(stele_wal__header_decode(buffer, stele_wal__seed(7, number), 4096, &header));
        CHECK(!stele_wal__header_decode(buffer, stele_wal__seed(7, number + 1), 4096, &header));
        CHECK(!stele_wal__header_decode(buffer, stele_wal__seed(7, number + 512), 4096, &header));
        CHECK(!stele_wal__header_decode(buffer, stele_wal__seed(8, number), 4096, &header));
        CHECK(!stele_wal__header_decode(buffer, stele_wal__seed(7, number), 4104, &header));
    }
}

/* The bytes of an earlier use are made to lie at the very places where they would be expected, as
 * if they had been written for this use, but for the number. */
TEST(bytes_of_an_earlier_use_are_not_taken_for_records)
{
    struct world *const world = begin();
    world_fill(world, 10, 30000);
    CHECK_OK(stele_wal_trim(world->wal, UINT64_MAX, &world->err), world->err);
    while (world->wal->spares_count > 0) {
        world_fill(world, 1, 30000);
    }
    const struct stele_wal__segment last = *stele_wal__last(world->wal);
    const uint64_t place = stele_wal_end(world->wal);
    CHECK(place < last.limit - 4096);
    world_fill(world, 1, 8);
    /* It is lost in a power cut, and an old record of the same place is there instead. */
    struct image image;
    save(&image);
    char name[STELE_FILE_NAME_MAX];
    stele_wal__name(name, last.number, "wal");
    uint8_t *const at = image.files[file_at(&image, name)].data + 4096 + place - last.base;
    const struct stele_wal_record old = {.kind = STELE_WAL_ENTRY, .group = 77};
    const uint64_t secret = WORLD_SECRET ^ world->wal->salt;
    for (uint64_t back = 1; back < last.number; back++) {
        stele_wal__header_encode(at, stele_wal__seed(secret, last.number - back), place, place,
                                 &old);
        if (back == 1) {
            world_close(world);
            world->count--;
        }
        restore(&image, world);
        world_open(world);
        CHECK_EQ(stele_wal_end(world->wal), place);
        world_close(world);
    }
    drop(&image);
    end(world);
}

/* ---- Reading ---- */

TEST(a_record_that_rots_while_the_log_is_open_is_not_served)
{
    struct world *const world = begin();
    static const uint32_t sizes[] = {0, 5, 100, 5000};
    for (size_t index = 0; index < STELE_COUNT_OF(sizes); index++) {
        world_fill(world, 1, sizes[index]);
    }
    for (size_t index = 0; index < STELE_COUNT_OF(sizes); index++) {
        const struct world_record *const record = &world->records[index];
        const uint64_t offset = 4096 + record->place - world->wal->segments[0].base;
        const uint64_t size = 48 + record->size;
        for (uint64_t at = 0; at < size; at++) {
            for (int bit = 0; bit < 8; bit++) {
                memio_damage(&disk, "0000000000000001.wal", offset + at, (uint8_t)(1 << bit));
                CHECK_OUTCOME(world_read(world, record), STELE_E_CORRUPT, world->err);
                memio_damage(&disk, "0000000000000001.wal", offset + at, (uint8_t)(1 << bit));
            }
        }
        CHECK_OK(world_read(world, record), world->err);
    }
    end(world);
}

TEST(a_place_that_is_no_records_is_noticed)
{
    struct world *const world = begin();
    world_fill(world, 5, 100);
    CHECK_OK(world_put(world, 100), world->err);
    for (uint64_t place = stele_wal_start(world->wal); place < stele_wal_end(world->wal); place++) {
        size_t index = 0;
        while (index < world->count && world->records[index].place != place) {
            index++;
        }
        if (index == world->count) {
            struct stele_buf payload = {0};
            struct stele_wal_record record;
            CHECK_EQ(stele_wal_read(world->wal, place, &record, &payload, &world->err),
                     STELE_E_CORRUPT);
            CHECK_EQ(payload.size, 0);
            stele_buf_deinit(&payload, &world->alloc.base);
        }
    }
    end(world);
}

/* What a failed sync has left in the cache is not on the disk: such a log is not opened. */
TEST(what_only_the_cache_holds_is_not_trusted)
{
    int lost[2] = {0, 0};
    for (uint64_t seed = 1; seed <= 16; seed++) {
        const int idle = (int)(seed % 2);
        struct world *const world = begin();
        world_fill(world, 3, 100);
        CHECK_OK(world_put(world, 100), world->err);
        rng_init(&disk.rng, seed, 1);
        disk.fail_mask = MEMIO_SYNC;
        disk.fail_at = 1;
        disk.calls = 0;
        struct stele_wal_group group;
        CHECK(stele_wal_take(world->wal, &group));
        const int outcome = world_write(&group);
        CHECK_EQ(outcome, STELE_E_IO);
        stele_wal_done(world->wal, group.id, outcome);
        disk.fail_at = 0;
        world_close(world);
        disk.drop_is_idle = idle == 1;
        const int opened = world_try_open(world);
        if (opened == STELE_OK) {
            /* What failed may be there all the same. */
            CHECK(world->told == 3 || world->told == 4);
            CHECK(idle == 0 || world->told == 4);
            lost[0] += world->told == 3 ? 1 : 0;
        } else {
            CHECK_EQ(opened, STELE_E_IO);
            CHECK_EQ(idle, 1);
            CHECK_TEXT_HAS(world->err.message, "page cache");
            lost[1]++;
        }
        end(world);
    }
    CHECK(lost[0] > 0);
    CHECK(lost[1] > 0);
}

/* ---- Whose files these are ---- */

/* After a trim both slots of the mark ask for the same segments. */
TEST(a_slot_of_the_mark_that_rots_after_a_trim_does_no_harm)
{
    struct world *const world = begin();
    for (int round = 0; round < 3; round++) {
        world_fill(world, 5, 30000);
        CHECK_OK(stele_wal_trim(world->wal, UINT64_MAX, &world->err), world->err);
        stele_wal_mark(world->wal);
        CHECK_OK(world_flush(world), world->err);
        world_close(world);
        for (uint64_t slot = 0; slot < 2; slot++) {
            memio_damage(&disk, "mark", slot * 4096 + 40, 1);
            world_open(world);
            CHECK_EQ(world->told_first + world->told, world->count);
            world_close(world);
            memio_damage(&disk, "mark", slot * 4096 + 40, 1);
        }
        memio_damage(&disk, "mark", 40, 1);
        memio_damage(&disk, "mark", 4096 + 40, 1);
        CHECK_EQ(world_try_open(world), STELE_E_CORRUPT);
        CHECK_TEXT_HAS(world->err.message, "mark");
        memio_damage(&disk, "mark", 40, 1);
        memio_damage(&disk, "mark", 4096 + 40, 1);
        world_open(world);
    }
    end(world);
}

/* A power cut may undo the first of the two renames that make a spare a segment, and keep the
 * second: then the segment has two names. */
TEST(a_spare_that_holds_what_counts_is_no_spare)
{
    struct world *const world = begin();
    world_fill(world, 5, 30000);
    CHECK_OK(stele_wal_trim(world->wal, UINT64_MAX, &world->err), world->err);
    CHECK_EQ(world->wal->spares_count, 2);
    char name[STELE_FILE_NAME_MAX];
    stele_wal__name(name, stele_wal__last(world->wal)->number, "wal");
    const struct memio_inode *const inode = memio_find(&disk, name);
    memio_put(&disk, "0000000000000001.spare",
              (struct stele_bytes){.data = inode->cache, .size = inode->size});
    world_close(world);
    world_open(world);
    CHECK_EQ(world->wal->spares_count, 1);
    CHECK(memio_find(&disk, "0000000000000001.spare") == NULL);
    end(world);
}

/* Changes a segment's facts, and makes them verify. */
static int open_with_facts(struct world *world, struct image *image,
                           const struct stele_wal__facts *facts)
{
    char name[STELE_FILE_NAME_MAX];
    stele_wal__name(name, 2, "wal");
    uint8_t *const data = image->files[file_at(image, name)].data;
    uint8_t kept[STELE_WAL__FACTS_SIZE];
    memcpy(kept, data, sizeof kept);
    stele_wal__facts_encode(data, facts);
    restore(image, world);
    memcpy(data, kept, sizeof kept);
    const int outcome = world_try_open(world);
    world_close(world);
    return outcome;
}

TEST(a_segment_of_another_log_is_refused)
{
    struct world *const world = begin();
    fill_three(world);
    world_close(world);
    struct image image;
    save(&image);
    struct stele_wal__facts facts;
    CHECK_EQ(
        stele_wal__facts_decode(image.files[file_at(&image, "0000000000000002.wal")].data, &facts),
        STELE_OK);
    CHECK_EQ(open_with_facts(world, &image, &facts), STELE_OK);
    struct stele_wal__facts other = facts;
    other.owner_id[15] ^= 1;
    CHECK_EQ(open_with_facts(world, &image, &other), STELE_E_NOT_A_STORE);
    other = facts;
    other.secret_check ^= 1;
    CHECK_EQ(open_with_facts(world, &image, &other), STELE_E_NOT_A_STORE);
    static const uint64_t bases[] = {0, 8, 4097, 4096 + 65536 + 8, UINT64_MAX - 7};
    for (size_t index = 0; index < STELE_COUNT_OF(bases); index++) {
        other = facts;
        other.base = bases[index];
        other.durable = 0;
        CHECK_EQ(open_with_facts(world, &image, &other), STELE_E_CORRUPT);
        CHECK_TEXT_HAS(world->err.message, "0000000000000002.wal, offset 0");
    }
    other = facts;
    other.salt ^= 1;
    CHECK_EQ(open_with_facts(world, &image, &other), STELE_E_CORRUPT);
    other = facts;
    other.durable = facts.base + 8;
    CHECK_EQ(open_with_facts(world, &image, &other), STELE_E_CORRUPT);
    other = facts;
    other.capacity = 65537;
    CHECK_EQ(open_with_facts(world, &image, &other), STELE_E_CORRUPT);
    other.capacity = UINT64_MAX - 7;
    CHECK_EQ(open_with_facts(world, &image, &other), STELE_E_CORRUPT);
    drop(&image);
    end(world);
}

TEST(what_a_newer_version_wrote_is_said_to_be_so)
{
    struct world *const world = begin();
    world_fill(world, 1, 10);
    world_close(world);
    struct image image;
    save(&image);
    for (size_t file = 0; file < image.count; file++) {
        uint8_t kept[512];
        uint8_t *const data = image.files[file].data;
        memcpy(kept, data, sizeof kept);
        data[4] = 2;
        stele_store_u32le(data, stele_crc32c((struct stele_bytes){data + 4, 508}));
        restore(&image, world);
        CHECK_EQ(world_try_open(world), STELE_E_FORMAT);
        CHECK_TEXT_HAS(world->err.message, "newer version");
        memcpy(data, kept, sizeof kept);
    }
    drop(&image);
    end(world);
}
