/* Packed segments: what stays is the same event at the same place, what went is known to be gone,
 * the hash chain does not change, and nothing that happens on the way loses an event. */
#include "base/checksum.h"
#include "world.h"

#define NAME "0000000000000000"

/* Which events of the model go. */
struct choice {
    struct world *world;
    uint64_t seed;
    int percent; /* That go; 100: all. */
    size_t asked;
    size_t next;
    bool decided[WORLD_EVENTS_MAX];
};

static bool goes(const struct choice *choice, uint64_t revision)
{
    struct rng rng;
    rng_init(&rng, choice->seed, revision);
    return rng_percent(&rng, (uint64_t)choice->percent);
}

static bool keep(void *context, const struct stele_event *event)
{
    struct choice *const choice = context;
    CHECK(choice->asked == 0 || event->revision >= choice->next);
    choice->next = (size_t)event->revision + 1;
    choice->asked++;
    return !goes(choice, event->revision);
}

static void note_gone(const struct choice *choice, uint64_t from, uint64_t to)
{
    for (size_t index = 0; index < choice->world->count; index++) {
        struct world_event *const event = &choice->world->events[index];
        if (event->place >= from && event->place < to && goes(choice, event->revision)) {
            event->gone = true;
        }
    }
}

static struct world *full_world(uint64_t seed, int rounds)
{
    struct world *const world = world_create(65536, 262144);
    struct rng rng;
    rng_init(&rng, seed, 2);
    world_open(world);
    for (int round = 0; round < rounds; round++) {
        const uint32_t size = rng_one_in(&rng, 40) ? 90000 : (uint32_t)rng_below(&rng, 500);
        world_append(world, (uint16_t)rng_between(&rng, 1, 3), (uint32_t)rng_between(&rng, 1, 12),
                     size);
    }
    return world;
}

static struct stele_log_pack_result pack(struct world *world, uint64_t base, struct choice *choice,
                                         bool compress)
{
    struct stele_log_reader reader;
    world_reader(world, &reader);
    struct stele_log_pack_result result;
    CHECK_OK(stele_log_pack(&reader, base, choice == NULL ? NULL : keep, choice, compress, NULL,
                            NULL, &result, &world->err),
             world->err);
    world_reader_end(&reader);
    CHECK_EQ(result.base, base);
    if (result.changed) {
        CHECK_OK(stele_log_install_packed(world->log, base, &world->err), world->err);
        stele_log_check(world->log);
    }
    return result;
}

/* Packs every sealed segment. */
static void pack_all(struct world *world, struct choice *choice, bool compress)
{
    uint64_t base = 0;
    uint64_t size = 0;
    for (uint64_t from = 0;; from = base + 1) {
        struct stele_log_view *const view = stele_log_view_acquire(world->log);
        const int outcome = stele_log_sealed_next(view, from, &base, &size);
        const uint32_t index = stele_log__view_find(view, base);
        const uint64_t to = index + 1 < view->count ? view->bases[index + 1] : 0;
        stele_log_view_release(view);
        if (outcome == STELE_END) {
            return;
        }
        if (choice != NULL) {
            choice->asked = 0;
        }
        const struct stele_log_pack_result result = pack(world, base, choice, compress);
        CHECK_EQ(result.bytes_before, size);
        CHECK(result.changed || result.bytes_after == result.bytes_before);
        if (choice != NULL) {
            note_gone(choice, base, to);
        }
    }
}

static void on_damage(void *context, const struct stele_log_damage *damage)
{
    size_t *const count = context;
    ++*count;
    (void)printf("# damage: %s %llu %s\n", damage->file, (unsigned long long)damage->offset,
                 damage->what);
}

static struct stele_log_chain chain_of(struct world *world)
{
    struct stele_log_chain chain = {0};
    uint64_t indexes[4] = {0};
    size_t damages = 0;
    struct stele_log_reader reader;
    world_reader(world, &reader);
    int outcome = STELE_OK;
    while (outcome == STELE_OK) {
        outcome = stele_log_chain_extend(&reader, &chain, reader.end, 10000, indexes, 4, NULL,
                                         on_damage, &damages, &world->err);
    }
    CHECK_EQ(outcome, STELE_END);
    CHECK_EQ(damages, 0);
    world_reader_end(&reader);
    return chain;
}

static void check_frames_backward(struct world *world)
{
    struct stele_log_reader reader;
    world_reader(world, &reader);
    uint64_t place = UINT64_MAX;
    for (size_t index = world->frames_count; index > 0; index--) {
        CHECK_EQ(stele_log_frame_before(&reader, place, &place), STELE_OK);
        CHECK_EQ(place, world->frames[index - 1]);
    }
    CHECK_EQ(stele_log_frame_before(&reader, place, &place), STELE_END);
    world_reader_end(&reader);
}

static void check_seeks(struct world *world)
{
    struct stele_log_reader reader;
    world_reader(world, &reader);
    for (size_t index = 0; index < world->count; index += 7) {
        struct stele_log_cursor cursor;
        CHECK_EQ(stele_log_seek(&reader, world->events[index].position, &cursor), STELE_OK);
        size_t want = index;
        while (want < world->count && world->events[want].gone) {
            want++;
        }
        CHECK(want == world->count || cursor.place <= world->events[want].frame);
        struct stele_event events[32];
        size_t count = 0;
        bool found = want == world->count;
        int outcome = STELE_OK;
        while (!found &&
               (outcome = stele_log_scan(&reader, &cursor, events, NULL, 32, &count)) == STELE_OK) {
            for (size_t at = 0; at < count && !found; at++) {
                if (events[at].position >= world->events[index].position) {
                    world_check_event(&world->events[want], &events[at]);
                    found = true;
                }
            }
        }
        CHECK(found);
    }
    world_reader_end(&reader);
}

static void check_everything(struct world *world)
{
    for (size_t batch = 1; batch <= 64; batch += 9) {
        world_check_scan(world, world->count, batch);
    }
    world_check_reads(world, world->count);
    check_frames_backward(world);
    check_seeks(world);
}

TEST(packing_keeps_every_event_at_its_place_and_the_chain_as_it_was)
{
    static const int percents[] = {0, 1, 30, 70, 97, 100};
    for (int compress = 0; compress < 2; compress++) {
        for (size_t index = 0; index < STELE_COUNT_OF(percents); index++) {
            struct world *const world = full_world(index + 1, 120);
            CHECK(stele_log_segments(world->log) > 2);
            const struct stele_log_chain before = chain_of(world);
            CHECK_EQ(before.events, world->count);
            CHECK_EQ(before.frames, world->frames_count);
            CHECK_EQ(before.scavenged, 0);
            struct choice *const choice = calloc(1, sizeof *choice);
            choice->world = world;
            choice->seed = index;
            choice->percent = percents[index];
            pack_all(world, choice, compress == 1);
            check_everything(world);
            const struct stele_log_chain after = chain_of(world);
            CHECK_BYTES_EQ(after.hash, before.hash, sizeof after.hash);
            CHECK_EQ(after.frames, before.frames);
            CHECK_EQ(after.place, before.place);
            CHECK_EQ(after.position, before.position);
            CHECK_EQ(after.scavenged > 0, percents[index] > 0);
            /* Again, with more of them gone, over what is packed already. */
            choice->seed += 100;
            choice->percent = 50;
            pack_all(world, choice, compress == 0);
            check_everything(world);
            CHECK_BYTES_EQ(chain_of(world).hash, before.hash, sizeof before.hash);
            world_close(world);
            world_open(world);
            check_everything(world);
            world_append(world, 2, 2, 100);
            check_everything(world);
            free(choice);
            world_destroy(world);
        }
    }
}

TEST(nothing_to_gain_changes_nothing)
{
    struct world *const world = full_world(3, 60);
    const uint64_t written = world->disk.written;
    const struct stele_log_pack_result result = pack(world, 0, NULL, false);
    CHECK(!result.changed);
    CHECK_EQ(result.events_removed, 0);
    CHECK_EQ(world->disk.written, written);
    CHECK(memio_find(&world->disk, NAME ".tmp") == NULL);
    /* Random bytes: zstd cannot make them smaller, and the file is full. */
    struct choice *const choice = calloc(1, sizeof *choice);
    choice->world = world;
    CHECK(!pack(world, 0, choice, false).changed);
    CHECK(choice->asked > 0);
    free(choice);
    CHECK(pack(world, 0, NULL, true).changed);
    const struct stele_log_pack_result again = pack(world, 0, NULL, true);
    CHECK(!again.changed);
    CHECK(memio_find(&world->disk, NAME ".tmp") == NULL);
    check_everything(world);
    world_destroy(world);
}

TEST(what_went_is_gone_from_the_disk)
{
    struct world *const world = full_world(5, 60);
    struct choice *const choice = calloc(1, sizeof *choice);
    choice->world = world;
    choice->percent = 100;
    CHECK(memio_find(&world->disk, NAME ".seg") != NULL);
    const uint64_t before = stele_log_disk_size(world->log);
    pack_all(world, choice, false);
    CHECK(memio_find(&world->disk, NAME ".seg") == NULL);
    CHECK(memio_find(&world->disk, NAME ".tmp") == NULL);
    const struct memio_inode *const packed = memio_find(&world->disk, NAME ".pak");
    CHECK(packed != NULL);
    CHECK(packed->size < 16384);
    CHECK(stele_log_disk_size(world->log) < before);
    for (size_t at = 0; at + 9 <= packed->size; at++) {
        CHECK(memcmp(packed->cache + at, "account-1", 9) != 0);
    }
    free(choice);
    world_destroy(world);
}

TEST(text_shrinks_well)
{
    struct world *const world = world_create(1 << 20, 1 << 20);
    world_open(world);
    char json[600];
    for (int round = 0;; round++) {
        const int size = snprintf(
            json, sizeof json,
            "{\"orderId\":\"%08x\",\"customer\":\"customer-%d\",\"amount\":%d,"
            "\"currency\":\"EUR\",\"lines\":[{\"sku\":\"A-%d\",\"quantity\":%d}]}",
            (unsigned)round * 2654435U, round % 1000, round * 17 % 10007, round % 77, round % 9);
        static const uint8_t id[16] = {1};
        const struct stele_record_draft draft = {
            .position = (uint64_t)(round + 1) << 10,
            .revision = (uint64_t)round,
            .id = id,
            .stream = stele_bytes_of_text("order-1"),
            .type = stele_bytes_of_text("OrderPlaced"),
            .data = {.data = (const uint8_t *)json, .size = (size_t)size},
        };
        uint8_t *bytes = NULL;
        uint64_t place = 0;
        const size_t record_size = stele_record_size(&draft);
        if (stele_log_reserve(world->log, 64 + record_size, &bytes, &place) != STELE_OK) {
            break;
        }
        struct stele_frame frame = {.kind = STELE_FRAME_EVENTS,
                                    .count = 1,
                                    .group_count = 1,
                                    .size = (uint32_t)record_size};
        frame.payload_checksum = stele_frame_extend(0, stele_record_encode(bytes + 64, &draft));
        stele_log_put_frame(world->log, bytes, &frame);
        stele_log_commit(world->log, draft.position, 1);
        CHECK_EQ(world_flush(world), STELE_OK);
    }
    CHECK_EQ(stele_log_roll(world->log, 100, &world->err), STELE_OK);
    const struct stele_log_chain before = chain_of(world);
    const struct stele_log_pack_result result = pack(world, 0, NULL, true);
    CHECK(result.changed);
    (void)printf("# %llu bytes became %llu\n", (unsigned long long)result.bytes_before,
                 (unsigned long long)result.bytes_after);
    CHECK(result.bytes_after * 2 < result.bytes_before);
    CHECK_BYTES_EQ(chain_of(world).hash, before.hash, sizeof before.hash);
    world_destroy(world);
}

TEST(an_old_view_reads_the_plain_segment_after_it_is_gone)
{
    struct world *const world = full_world(6, 60);
    struct stele_log_reader old;
    world_reader(world, &old);
    struct choice *const choice = calloc(1, sizeof *choice);
    choice->world = world;
    choice->percent = 100;
    pack_all(world, choice, true);
    for (size_t index = 0; index < world->count; index++) {
        struct stele_event event;
        CHECK_EQ(stele_log_read(&old, world->events[index].place, &event), STELE_OK);
        world_check_event(&world->events[index], &event);
    }
    world_reader_end(&old);
    check_everything(world);
    free(choice);
    world_destroy(world);
}

static int stop_after(void *context, uint64_t bytes)
{
    uint64_t *const left = context;
    if (*left < bytes) {
        return 1;
    }
    *left -= bytes;
    return 0;
}

TEST(packing_can_be_stopped_at_every_write)
{
    struct world *const world = full_world(7, 60);
    struct choice *const choice = calloc(1, sizeof *choice);
    choice->world = world;
    choice->percent = 20;
    int stopped = 0;
    for (uint64_t allowed = 0;; allowed += 20000) {
        uint64_t left = allowed;
        struct stele_log_pack_result result = {.base = 77};
        struct stele_log_reader reader;
        world_reader(world, &reader);
        choice->asked = 0;
        const int outcome = stele_log_pack(&reader, 0, keep, choice, false, stop_after, &left,
                                           &result, &world->err);
        world_reader_end(&reader);
        if (outcome == STELE_OK) {
            break;
        }
        CHECK_EQ(outcome, STELE_E_CLOSED);
        CHECK_EQ(result.base, 77);
        CHECK(memio_find(&world->disk, NAME ".tmp") == NULL);
        stopped++;
    }
    CHECK(stopped >= 2);
    check_everything(world);
    free(choice);
    world_destroy(world);
}

TEST(damage_is_never_packed)
{
    struct world *const world = full_world(8, 40);
    for (size_t index = 0; index < 50; index += 7) {
        const uint64_t offset = 4096 + world->events[index].place + 66;
        memio_damage(&world->disk, NAME ".seg", offset, 4);
        struct stele_log_reader reader;
        world_reader(world, &reader);
        struct stele_log_pack_result result;
        CHECK_EQ(stele_log_pack(&reader, 0, NULL, NULL, true, NULL, NULL, &result, &world->err),
                 STELE_E_CORRUPT);
        CHECK_TEXT_HAS(world->err.message, NAME ".seg");
        world_reader_end(&reader);
        memio_damage(&world->disk, NAME ".seg", offset, 4);
    }
    CHECK(pack(world, 0, NULL, true).changed);
    world_destroy(world);
}

/* ---- Damage of packed files ---- */

static struct world *small_packed(bool compress, int percent)
{
    struct world *const world = world_create(8192, 16384);
    world_open(world);
    world_append(world, 1, 3, 14);
    world_append(world, 2, 2, 6);
    world_append(world, 1, 1, 0);
    world_append(world, 1, 2, 300);
    CHECK_EQ(stele_log_roll(world->log, 100, &world->err), STELE_OK);
    world_append(world, 1, 2, 6);
    struct choice *const choice = calloc(1, sizeof *choice);
    choice->world = world;
    choice->percent = percent;
    pack_all(world, choice, compress);
    free(choice);
    CHECK(memio_find(&world->disk, NAME ".pak") != NULL);
    return world;
}

static void count_damage(void *context, const struct stele_log_damage *damage)
{
    (void)damage;
    size_t *const count = context;
    ++*count;
}

/* Everything that is read must be right, and the verification must find something. */
static void check_damaged(struct world *world)
{
    struct stele_log_reader reader;
    world_reader(world, &reader);
    for (size_t index = 0; index < world->count; index++) {
        struct stele_event event;
        const int outcome = stele_log_read(&reader, world->events[index].place, &event);
        if (outcome == STELE_OK) {
            CHECK(!world->events[index].gone);
            world_check_event(&world->events[index], &event);
        } else if (outcome == STELE_NOT_FOUND) {
            CHECK(world->events[index].gone);
        } else {
            CHECK_EQ(outcome, STELE_E_CORRUPT);
        }
    }
    struct stele_log_cursor cursor;
    stele_log_cursor_at(&cursor, 0);
    size_t next = 0;
    size_t damages = 0;
    for (;;) {
        struct stele_event events[4];
        uint64_t places[4];
        size_t count = 0;
        const int outcome = stele_log_scan(&reader, &cursor, events, places, 4, &count);
        if (outcome == STELE_END) {
            break;
        }
        if (outcome == STELE_E_CORRUPT) {
            damages++;
            CHECK(damages < 50);
            continue;
        }
        CHECK_EQ(outcome, STELE_OK);
        for (size_t index = 0; index < count; index++) {
            while (next < world->count && world->events[next].place != places[index]) {
                next++;
            }
            CHECK(next < world->count);
            CHECK(!world->events[next].gone);
            world_check_event(&world->events[next++], &events[index]);
        }
    }
    struct stele_log_chain chain = {0};
    damages = 0;
    CHECK_EQ(stele_log_chain_extend(&reader, &chain, reader.end, UINT64_MAX, NULL, 0, NULL,
                                    count_damage, &damages, &world->err),
             STELE_END);
    CHECK(damages >= 1);
    uint64_t place = UINT64_MAX;
    for (int steps = 0; stele_log_frame_before(&reader, place, &place) != STELE_END; steps++) {
        CHECK(steps < WORLD_EVENTS_MAX);
    }
    for (size_t index = 0; index < world->count; index++) {
        CHECK_EQ(stele_log_seek(&reader, world->events[index].position, &cursor), STELE_OK);
    }
    world_reader_end(&reader);
}

TEST(every_flipped_bit_of_a_packed_segment_is_noticed)
{
    static const int percents[] = {0, 40};
    for (int compress = 0; compress < 2; compress++) {
        for (size_t index = 0; index < STELE_COUNT_OF(percents); index++) {
            if (compress == 0 && percents[index] == 0) {
                continue; /* Nothing to pack. */
            }
            struct world *const world = small_packed(compress == 1, percents[index]);
            const uint64_t size = memio_find(&world->disk, NAME ".pak")->size;
            world_close(world);
            for (uint64_t bit = 0; bit < size * 8; bit++) {
                if (bit / 8 < 4096 && bit % 8 != bit / 8 % 8) {
                    continue;
                }
                memio_damage(&world->disk, NAME ".pak", bit / 8, (uint8_t)(1U << bit % 8));
                world_open(world); /* Anew, because what has been verified once is trusted. */
                check_damaged(world);
                world_close(world);
                memio_damage(&world->disk, NAME ".pak", bit / 8, (uint8_t)(1U << bit % 8));
            }
            world_open(world);
            check_everything(world);
            world_destroy(world);
        }
    }
}

/* Changes a record in a packed file of one block, and makes every checksum around it right; its own
 * if it is to be sealed. */
static void forge(struct world *world, uint64_t place, bool sealed)
{
    struct memio_inode *const inode = memio_find(&world->disk, NAME ".pak");
    const uint32_t seed = stele_log__seed(WORLD_SECRET);
    uint8_t *const block = inode->cache + 4096;
    const uint32_t stored_size = stele_load_u32le(block + 4);
    uint8_t *const entries = block + STELE_LOG__BLOCK_HEADER_SIZE;
    size_t at = 0;
    for (;;) {
        CHECK(at < stored_size);
        const uint64_t from = stele_load_u64le(entries + at);
        const uint32_t size = stele_load_u32le(entries + at + 8);
        if (entries[at + 12] == STELE_LOG__ENTRY_BYTES && from <= place && place < from + size) {
            at += STELE_LOG__ENTRY_HEADER_SIZE + (size_t)(place - from);
            break;
        }
        at += STELE_LOG__ENTRY_HEADER_SIZE + size;
    }
    uint8_t *const record = entries + at;
    const uint32_t record_size = stele_load_u32le(record + 4);
    record[70] ^= 1;
    const uint32_t body =
        stele_crc32c((struct stele_bytes){.data = record + 64, .size = record_size - 64});
    if (sealed) {
        (void)stele_record_seal(record, body, stele_load_u64le(record + 8),
                                stele_load_u64le(record + 16));
    }
    const uint32_t checksum =
        stele_log__block_encode(block, seed, stele_load_u64le(block + 16), stored_size,
                                stele_load_u32le(block + 8), block[12]);
    uint8_t *const footer = inode->cache + inode->size - STELE_LOG__FOOTER_SIZE;
    CHECK_EQ(stele_load_u64le(footer + 32), 1);
    uint8_t *const table = footer - STELE_LOG__TABLE_ENTRY_SIZE;
    stele_store_u32le(table + 32, checksum);
    uint32_t crc = stele_crc32c_extend(
        seed, (struct stele_bytes){.data = table, .size = STELE_LOG__TABLE_ENTRY_SIZE});
    crc = stele_crc32c_extend(
        crc, (struct stele_bytes){.data = footer + 4, .size = STELE_LOG__FOOTER_SIZE - 4});
    stele_store_u32le(footer, crc);
    memcpy(inode->disk, inode->cache, inode->size);
}

TEST(a_record_that_was_changed_while_packing_does_not_belong_to_its_frame)
{
    size_t forged = 0;
    struct world *world = small_packed(false, 40);
    const size_t count = world->count - 2; /* Those in the packed segment. */
    world_destroy(world);
    for (size_t index = 0; index < count; index++) {
        world = small_packed(false, 40);
        if (!world->events[index].gone) {
            world_close(world);
            forge(world, world->events[index].place, true);
            world_open(world);
            struct stele_log_chain chain = {0};
            size_t damages = 0;
            struct stele_log_reader reader;
            world_reader(world, &reader);
            CHECK_EQ(stele_log_chain_extend(&reader, &chain, reader.end, UINT64_MAX, NULL, 0, NULL,
                                            count_damage, &damages, &world->err),
                     STELE_END);
            CHECK_EQ(damages, 1);
            world_reader_end(&reader);
            forged++;
        }
        world_destroy(world);
    }
    CHECK(forged > 2);
}

TEST(every_cut_off_length_of_a_packed_segment_is_noticed)
{
    struct world *const world = small_packed(true, 40);
    struct memio_inode *const inode = memio_find(&world->disk, NAME ".pak");
    const uint64_t whole = inode->size;
    world_close(world);
    for (uint64_t size = 0; size < whole; size += size < 4000 ? 333 : 1) {
        inode->size = inode->size_disk = size;
        world_open(world);
        check_damaged(world);
        world_close(world);
    }
    inode->size = inode->size_disk = whole;
    world_open(world);
    check_everything(world);
    world_destroy(world);
}

TEST(one_bad_block_costs_only_its_frames)
{
    struct world *const world = full_world(9, 120);
    struct choice *const choice = calloc(1, sizeof *choice);
    choice->world = world;
    choice->percent = 10;
    pack_all(world, choice, true);
    free(choice);
    world_close(world);
    struct memio_inode *const inode = memio_find(&world->disk, NAME ".pak");
    memio_damage(&world->disk, NAME ".pak", inode->size / 2, 1);
    world_open(world);
    size_t left = 0;
    struct stele_log_reader reader;
    world_reader(world, &reader);
    for (size_t index = 0; index < world->count; index++) {
        struct stele_event event;
        left += stele_log_read(&reader, world->events[index].place, &event) == STELE_OK ? 1 : 0;
    }
    CHECK(left > world->count / 2);
    world_reader_end(&reader);
    check_damaged(world);
    world_destroy(world);
}

/* Reads every event; each that is damaged has to be told at this offset of the packed file. */
static size_t count_damaged_at(struct world *world, uint64_t offset)
{
    size_t damaged = 0;
    struct stele_log_reader reader;
    world_reader(world, &reader);
    for (size_t index = 0; index < world->count; index++) {
        struct stele_event event;
        if (stele_log_read(&reader, world->events[index].place, &event) == STELE_E_CORRUPT) {
            CHECK_TEXT_EQ(reader.damage.file, NAME ".pak");
            CHECK_EQ(reader.damage.offset, offset);
            CHECK_EQ(reader.damage.place, world->events[index].place);
            damaged++;
        }
    }
    world_reader_end(&reader);
    return damaged;
}

TEST(damage_in_a_packed_segment_is_told_at_its_block)
{
    struct world *world = world_create(262144, 262144);
    world_open(world);
    for (int round = 0; round < 400; round++) {
        world_append(world, 1, 3, 250);
    }
    pack_all(world, NULL, true);
    world_close(world);
    const struct memio_inode *const inode = memio_find(&world->disk, NAME ".pak");
    const uint8_t *const footer = inode->cache + inode->size - STELE_LOG__FOOTER_SIZE;
    const uint64_t blocks = stele_load_u64le(footer + 32);
    const uint8_t *const table = inode->cache + stele_load_u64le(footer + 40);
    CHECK(blocks > 1);
    size_t told = 0;
    for (uint64_t block = 0; block < blocks; block++) {
        const uint64_t offset = stele_load_u64le(table + block * STELE_LOG__TABLE_ENTRY_SIZE + 8);
        memio_damage(&world->disk, NAME ".pak", offset + STELE_LOG__BLOCK_HEADER_SIZE + 9, 4);
        world_open(world);
        told += count_damaged_at(world, offset);
        world_close(world);
        memio_damage(&world->disk, NAME ".pak", offset + STELE_LOG__BLOCK_HEADER_SIZE + 9, 4);
    }
    CHECK(told >= blocks);
    world_destroy(world);
}

TEST(a_record_that_does_not_verify_in_a_block_that_does_is_told_at_that_block)
{
    struct world *world = small_packed(false, 40);
    const size_t count = world->count - 2; /* Those in the packed segment. */
    world_destroy(world);
    size_t told = 0;
    for (size_t index = 0; index < count; index++) {
        world = small_packed(false, 40);
        if (!world->events[index].gone) {
            world_close(world);
            forge(world, world->events[index].place, false);
            world_open(world);
            told += count_damaged_at(world, 4096);
        }
        world_destroy(world);
    }
    CHECK(told > 2);
}

/* ---- Failures and power cuts ---- */

static int pack_and_install(struct world *world, struct choice *choice)
{
    struct stele_log_reader reader;
    world_reader(world, &reader);
    struct stele_log_pack_result result;
    choice->asked = 0;
    int outcome = stele_log_pack(&reader, 0, keep, choice, true, NULL, NULL, &result, &world->err);
    world_reader_end(&reader);
    if (outcome == STELE_OK) {
        CHECK(result.changed);
        outcome = stele_log_install_packed(world->log, 0, &world->err);
    }
    return outcome;
}

/* Gone or there, the packed state or the plain one, but nothing in between. */
static void check_either(struct world *world, const struct choice *choice)
{
    struct stele_log_reader reader;
    world_reader(world, &reader);
    struct stele_event event;
    size_t first = 0;
    while (!goes(choice, first)) {
        first++;
    }
    const bool packed =
        stele_log_read(&reader, world->events[first].place, &event) == STELE_NOT_FOUND;
    world_reader_end(&reader);
    const uint64_t to = world->log->view->count > 1 ? world->log->view->bases[1] : 0;
    for (size_t index = 0; index < world->count; index++) {
        world->events[index].gone = false;
    }
    if (packed) {
        note_gone(choice, 0, to);
    }
    world_check_scan(world, world->count, 10);
    world_check_reads(world, world->count);
}

TEST(no_failing_call_or_power_cut_while_packing_loses_anything)
{
    for (int keep_mode = 0; keep_mode < 16; keep_mode++) { /* The last ones are random. */
        for (int sticky = 0; sticky < 2; sticky++) {
            uint64_t failures = 1;
            for (uint64_t at = 1; failures > 0; at++) {
                struct world *const world = world_create(16384, 16384);
                world_open(world);
                for (int round = 0; round < 50; round++) {
                    world_append(world, 1, 2, 120);
                }
                struct choice *const choice = calloc(1, sizeof *choice);
                choice->world = world;
                choice->percent = 50;
                world->disk.calls = 0;
                world->disk.fail_at = at;
                world->disk.fail_sticky = sticky == 1;
                rng_init(&world->disk.rng, at * 2 + (uint64_t)sticky, (uint64_t)keep_mode);
                const int outcome = pack_and_install(world, choice);
                failures = world->disk.failures;
                CHECK(outcome == STELE_OK || failures > 0);
                world->disk.fail_at = 0;
                check_either(world, choice);
                world_append(world, 1, 1, 10);
                world_close(world);
                memio_crash(&world->disk,
                            keep_mode < MEMIO_KEEP_RANDOM ? keep_mode : MEMIO_KEEP_RANDOM);
                world_open(world);
                check_either(world, choice);
                CHECK((memio_find(&world->disk, NAME ".seg") == NULL) !=
                      (memio_find(&world->disk, NAME ".pak") == NULL));
                CHECK(memio_find(&world->disk, NAME ".tmp") == NULL);
                free(choice);
                world_destroy(world);
            }
        }
    }
}

TEST(no_failing_allocation_while_packing_changes_anything)
{
    for (int sticky = 0; sticky < 2; sticky++) {
        bool failed = true;
        for (uint64_t at = 1; failed; at++) {
            struct world *const world = world_create(16384, 16384);
            world_open(world);
            for (int round = 0; round < 40; round++) {
                world_append(world, 1, 2, 120);
            }
            struct choice *const choice = calloc(1, sizeof *choice);
            choice->world = world;
            choice->percent = 50;
            world->alloc.fail_at = world->alloc.calls + at;
            world->alloc.fail_sticky = sticky == 1;
            const int outcome = pack_and_install(world, choice);
            failed = world->alloc.failures > 0;
            CHECK_EQ(outcome, failed ? STELE_E_NO_MEMORY : STELE_OK);
            world->alloc.fail_at = 0;
            check_either(world, choice);
            free(choice);
            world_destroy(world);
        }
    }
}

TEST(of_two_files_of_one_segment_the_whole_one_counts)
{
    for (int damaged = 0; damaged < 2; damaged++) {
        struct world *const world = full_world(10, 60);
        struct memio_inode *const plain = memio_find(&world->disk, NAME ".seg");
        uint8_t *const bytes = malloc(plain->size);
        memcpy(bytes, plain->cache, plain->size);
        const size_t plain_size = plain->size;
        CHECK(pack(world, 0, NULL, true).changed);
        world_close(world);
        memio_put(&world->disk, NAME ".seg",
                  (struct stele_bytes){.data = bytes, .size = plain_size});
        if (damaged == 1) {
            memio_damage(&world->disk, NAME ".pak", memio_find(&world->disk, NAME ".pak")->size / 2,
                         1);
        }
        world->options.read_only = true;
        world_open(world);
        check_everything(world);
        world_close(world);
        CHECK(memio_find(&world->disk, NAME ".seg") != NULL);
        CHECK(memio_find(&world->disk, NAME ".pak") != NULL);
        world->options.read_only = false;
        world_open(world);
        CHECK_EQ(memio_find(&world->disk, NAME ".seg") != NULL, damaged == 1);
        CHECK_EQ(memio_find(&world->disk, NAME ".pak") != NULL, damaged == 0);
        check_everything(world);
        free(bytes);
        world_destroy(world);
    }
}
