/* What a command does is the same on stores that could not be more different, and what is copied from
 * one store to another is what was sent, or nothing.
 *
 * Method: the cases that random commands meet too rarely, one by one, on two stores of which one
 * has scavenged or written its index to disk; chunks with every bit flipped, cut anywhere, forged
 * with right checksums, sent twice; a copy with every allocation and every call of the disk failing. */
#include "base/position.h"
#include "store/store_internal.h"
#include "world.h"

#define MS_SHIFT (STELE_POSITION_PARTITION_BITS + STELE_POSITION_COUNTER_BITS)
#define MINUTE ((uint64_t)60000 << MS_SHIFT)
#define BEGIN ((uint64_t)170000000000 << MS_SHIFT)

static struct world *ordered_world(uint64_t index_memory)
{
    struct world *world = world_create();
    world->options.ordered = true;
    world->options.public.index_memory = index_memory;
    world_open(world);
    return world;
}

static int append_at(struct world *world, const struct stele_append *append,
                     const struct stele_condition *condition, uint64_t stamp, uint64_t seen,
                     struct stele_append_result *result)
{
    struct stele_prepared *prepared = NULL;
    const struct stele_order order = {.stamp = stamp, .seen = seen};
    CHECK_OK(stele_prepared_create(world->store, &prepared, &world->err), world->err);
    int outcome = stele_prepare_at(prepared, append, 1, condition, condition != NULL ? 1 : 0, stamp,
                                   &world->err);
    bool again = outcome == STELE_OK;
    while (again) {
        struct stele_ticket ticket = {.place = 0};
        outcome = stele_store_append_at(world->store, prepared, &order, &ticket, NULL, result,
                                        &world->err);
        world_commit(world);
        again = outcome == STELE_STORE_ROLL;
        if (again) {
            CHECK_OK(stele_store_roll(world->store, ticket.roll_size, &world->err), world->err);
        }
    }
    stele_prepared_destroy(prepared);
    return outcome;
}

static struct stele_event_draft draft_of(uint64_t id)
{
    static const uint8_t data[100] = {1};
    struct stele_event_draft draft = {
        .type = "Happened", .data = data, .data_size = sizeof data, .content_type = "x/y"};
    memcpy(draft.id, &id, sizeof id);
    return draft;
}

/* One event, with a tag if so. */
static int append_one(struct world *world, const char *stream, uint64_t expected, uint64_t id,
                      const char *tag, uint64_t stamp, uint64_t seen,
                      struct stele_append_result *result)
{
    struct stele_append_result unused;
    struct stele_event_draft draft = draft_of(id);
    draft.tags = &tag;
    draft.tags_count = tag != NULL ? 1 : 0;
    const struct stele_append append = {
        .stream = stream, .expected = expected, .events = &draft, .count = 1};
    return append_at(world, &append, NULL, stamp, seen, result == NULL ? &unused : result);
}

static int tombstone(struct world *world, const char *stream, uint64_t stamp)
{
    static const uint8_t id[16] = {0xdd};
    struct stele_prepared *prepared = NULL;
    struct stele_append_result result;
    struct stele_ticket ticket;
    const struct stele_order order = {.stamp = stamp, .seen = stamp};
    CHECK_OK(stele_prepared_create(world->store, &prepared, &world->err), world->err);
    CHECK_OK(stele_prepare_tombstone_at(prepared, stream, STELE_EXPECT_ANY, id, stamp, &world->err),
             world->err);
    const int outcome =
        stele_store_append_at(world->store, prepared, &order, &ticket, NULL, &result, &world->err);
    world_commit(world);
    stele_prepared_destroy(prepared);
    return outcome;
}

static uint64_t scavenge(struct world *world)
{
    uint64_t removed = 0;
    uint64_t base = 0;
    struct stele_work *work = NULL;
    while (stele_scavenge_begin(world->store, base, false, world->disk.now_us, NULL, NULL, &work,
                                &world->err) == STELE_OK) {
        struct stele_log_pack_result packed;
        const int outcome = stele_work_run(work, &world->err);
        CHECK_OK(stele_scavenge_end(world->store, work, outcome, &base, &packed, &world->err),
                 world->err);
        removed += packed.changed ? packed.events_removed : 0;
    }
    return removed;
}

/* So much that the segments before are sealed. */
static void append_filler(struct world *world, uint64_t stamp)
{
    for (uint64_t i = 0; i < 1000; i++) {
        CHECK_OK(append_one(world, "filler", STELE_EXPECT_ANY, 0x100000 + stamp + i, NULL,
                            stamp + (i << STELE_POSITION_PARTITION_BITS), stamp, NULL),
                 world->err);
    }
}

TEST(what_one_node_has_scavenged_decides_nothing)
{
    struct world *whole = ordered_world(1 << 20);
    struct world *scavenged = ordered_world(4096);
    struct world *const worlds[] = {whole, scavenged};
    for (size_t i = 0; i < 2; i++) {
        CHECK_OK(append_one(worlds[i], "gone", STELE_EXPECT_NO_STREAM, 1, "rare", BEGIN, 0, NULL),
                 worlds[i]->err);
        CHECK_OK(tombstone(worlds[i], "gone", BEGIN + MINUTE), worlds[i]->err);
        append_filler(worlds[i], BEGIN + 200 * MINUTE);
    }
    CHECK_EQ(world_work(scavenged, true), STELE_OK);
    CHECK_EQ(scavenge(scavenged), 1);

    /* The one that has it knows the answer; the other one makes a command of it. */
    const struct stele_event_draft draft = draft_of(2);
    const char *const tag = "rare";
    const struct stele_query_item item = {.tags = &tag, .tags_count = 1};
    const struct stele_condition condition = {.items = &item, .items_count = 1, .after = 0};
    const struct stele_append append = {
        .stream = "s", .expected = STELE_EXPECT_ANY, .events = &draft, .count = 1};
    uint64_t seen[2] = {0};
    for (size_t i = 0; i < 2; i++) {
        struct stele_prepared *prepared = NULL;
        struct stele_append_result result;
        struct stele_ticket ticket;
        CHECK_OK(stele_prepared_create(worlds[i]->store, &prepared, &worlds[i]->err),
                 worlds[i]->err);
        CHECK_OK(stele_prepare_at(prepared, &append, 1, &condition, 1, 0, &worlds[i]->err),
                 worlds[i]->err);
        CHECK_EQ(stele_store_look_back(worlds[i]->store, prepared, &seen[i], &ticket, NULL, &result,
                                       &worlds[i]->err),
                 i == 0 ? STELE_CONDITION_FAILED : STELE_NOT_FOUND);
        stele_prepared_destroy(prepared);
    }
    for (size_t i = 0; i < 2; i++) {
        struct stele_append_result result;
        CHECK_OK(append_at(worlds[i], &append, &condition, BEGIN + 201 * MINUTE, seen[1], &result),
                 worlds[i]->err);
        CHECK_EQ(result.idempotent, 0);
        CHECK_EQ(append_one(worlds[i], "gone", STELE_EXPECT_ANY, 1, NULL, BEGIN + 202 * MINUTE,
                            seen[1], NULL),
                 STELE_STREAM_DELETED);
        world_destroy(worlds[i]);
    }
}

TEST(scavenging_goes_by_the_time_of_the_log_and_leaves_the_last_two_hours_alone)
{
    struct world *world = ordered_world(1 << 20);
    const char *const json = "{\"$maxAge\":14400}"; /* Four hours. */
    struct stele_event_draft metadata = {
        .type = "$metadata", .data = json, .data_size = strlen(json), .id = {7}};
    const struct stele_append append = {
        .stream = "$$s", .expected = STELE_EXPECT_ANY, .events = &metadata, .count = 1};
    struct stele_append_result result;
    world->disk.now_us += (int64_t)1000 * 86400 * 1000000; /* This node's clock is years ahead. */
    CHECK_OK(append_at(world, &append, NULL, BEGIN, 0, &result), world->err);
    for (uint64_t i = 0; i < 6; i++) {
        CHECK_OK(append_one(world, "s", STELE_EXPECT_ANY, 100 + i, NULL, BEGIN + (i + 1) * MINUTE,
                            BEGIN, NULL),
                 world->err);
        CHECK_OK(append_one(world, "t", STELE_EXPECT_ANY, 200 + i, NULL,
                            BEGIN + (i + 1) * MINUTE + 1, BEGIN, NULL),
                 world->err);
    }
    CHECK_OK(tombstone(world, "t", BEGIN + 7 * MINUTE), world->err);
    append_filler(world, BEGIN + 100 * MINUTE);
    CHECK_EQ(scavenge(world), 0); /* Too young, by whatever rule. */
    append_filler(world, BEGIN + 124 * MINUTE);
    /* "t" up to the fourth minute, but not the newest event before the last two hours; "s" is not four
     * hours old. */
    CHECK_EQ(scavenge(world), 3);
    append_filler(world, BEGIN + 243 * MINUTE);
    CHECK_EQ(scavenge(world), 3 + 2); /* The rest of "t"; "s" up to the second minute. */
    world_destroy(world);
}

TEST(a_command_is_stale_only_if_its_answer_rests_on_what_came_long_ago)
{
    struct world *world = ordered_world(1 << 20);
    CHECK_OK(append_one(world, "s", STELE_EXPECT_ANY, 1, NULL, BEGIN, 0, NULL), world->err);
    const uint64_t seen = stele_store_position(world->store);
    /* Hours without any event between are nothing that anybody could have missed. */
    for (uint64_t i = 0; i < 3; i++) {
        CHECK_OK(append_one(world, "t", STELE_EXPECT_ANY, 2 + i, NULL, BEGIN + (300 + i) * MINUTE,
                            seen, NULL),
                 world->err);
    }
    CHECK_OK(append_one(world, "t", STELE_EXPECT_ANY, 5, NULL, BEGIN + 361 * MINUTE, seen, NULL),
             world->err);
    CHECK_EQ(append_one(world, "t", STELE_EXPECT_ANY, 6, NULL, BEGIN + 362 * MINUTE, seen, NULL),
             STELE_STORE_STALE);
    CHECK_EQ(append_one(world, "t", 7, 6, NULL, BEGIN + 363 * MINUTE, seen, NULL),
             STELE_STORE_STALE);
    CHECK_OK(append_one(world, "t", 3, 7, NULL, BEGIN + 364 * MINUTE, seen, NULL), world->err);
    CHECK_EQ(stele_store_ordered(world->store), BEGIN + 364 * MINUTE);
    world_destroy(world);
}

TEST(what_makes_a_command_stale_is_the_same_whether_it_is_durable_staged_or_nearly_scavenged)
{
    /* 0: durable; 1: staged; 2: in the store of a node that has scavenged all that it may. */
    for (int kind = 0; kind < 3; kind++) {
        struct world *world = ordered_world(1 << 20);
        struct stele_prepared *prepared = NULL;
        CHECK_OK(stele_prepared_create(world->store, &prepared, &world->err), world->err);
        const uint64_t minutes[] = {0, 10, 20, 300, 301};
        for (size_t i = 0; i < STELE_COUNT_OF(minutes); i++) {
            const struct stele_event_draft draft = draft_of(i + 1);
            const struct stele_append append = {
                .stream = "gone", .expected = STELE_EXPECT_ANY, .events = &draft, .count = 1};
            struct stele_append_result result;
            struct stele_ticket ticket;
            const uint64_t stamp = BEGIN + minutes[i] * MINUTE;
            const struct stele_order order = {.stamp = stamp, .seen = stamp};
            CHECK_OK(stele_prepare_at(prepared, &append, 1, NULL, 0, stamp, &world->err),
                     world->err);
            CHECK_OK(stele_store_append_at(world->store, prepared, &order, &ticket, NULL, &result,
                                           &world->err),
                     world->err);
            if (kind != 1) {
                world_commit(world);
            }
        }
        if (kind == 2) {
            CHECK_OK(tombstone(world, "gone", BEGIN + 302 * MINUTE), world->err);
            append_filler(world, BEGIN + 303 * MINUTE);
            CHECK_EQ(scavenge(world), 2); /* Not that of minute 20. */
        }
        const struct stele_order unseen = {.seen = BEGIN + 15 * MINUTE};
        const struct stele_order seen = {.seen = BEGIN + 25 * MINUTE};
        CHECK_EQ(stele_store__check_seen(world->store, &unseen, &world->err), STELE_STORE_STALE);
        CHECK_OK(stele_store__check_seen(world->store, &seen, &world->err), world->err);
        stele_prepared_destroy(prepared);
        world_commit(world);
        world_destroy(world);
    }
}

TEST(an_id_is_found_however_many_events_have_it_and_wherever_they_are)
{
    for (int flushed = 0; flushed < 2; flushed++) {
        struct world *world = ordered_world(1 << 24);
        uint64_t stamp = BEGIN;
        struct stele_append_result first;
        struct stele_append_result result;
        CHECK_OK(append_one(world, "wanted", STELE_EXPECT_NO_STREAM, 1, NULL, stamp, 0, &first),
                 world->err);
        for (uint64_t i = 0; i < 3000; i++) {
            stamp += 1024;
            const uint64_t expected = i == 0 ? STELE_EXPECT_NO_STREAM : i - 1;
            CHECK_OK(append_one(world, "many", expected, 1, NULL, stamp, 0, NULL), world->err);
        }
        if (flushed != 0) {
            CHECK_EQ(world_work(world, true), STELE_OK);
        }
        CHECK_OK(append_one(world, "wanted", STELE_EXPECT_ANY, 1, NULL, stamp + 1024, BEGIN - 1,
                            &result),
                 world->err);
        CHECK_EQ(result.idempotent, 1);
        CHECK_EQ(result.position_first, first.position_first);
        /* The newest counts: it is the only one that everybody has. */
        CHECK_OK(
            append_one(world, "many", STELE_EXPECT_ANY, 1, NULL, stamp + 2048, BEGIN - 1, &result),
            world->err);
        CHECK_EQ(result.revision_first, 2999);
        /* With all of them seen and answered for, it is a new event. */
        CHECK_OK(append_one(world, "wanted", STELE_EXPECT_ANY, 1, NULL, stamp + 3072,
                            stele_store_position(world->store), &result),
                 world->err);
        CHECK_EQ(result.idempotent, 0);
        CHECK_EQ(result.revision_first, 1);
        world_destroy(world);
    }
}

TEST(the_store_of_a_node_takes_no_other_appends_whoever_opens_it)
{
    struct world *world = world_create();
    world_open(world);
    CHECK_OK(world_append(world, "s", STELE_EXPECT_ANY, NULL), world->err);
    world_close(world);
    world->options.ordered = true;
    world_open(world);
    CHECK_EQ(world_append(world, "s", STELE_EXPECT_ANY, NULL), STELE_E_READ_ONLY);
    CHECK_OK(append_one(world, "s", 0, 77, NULL, BEGIN, 0, NULL), world->err);
    world->options.ordered = false;
    world_close(world);
    world_open(world);
    CHECK_EQ(stele_store_ordered(world->store), BEGIN);
    CHECK_EQ(world_append(world, "s", STELE_EXPECT_ANY, NULL), STELE_E_READ_ONLY);
    int outcome = STELE_OK;
    CHECK_EQ(world_count(world->store, "s", &outcome), 2);
    world_close(world);
    /* A flag that this version does not know: an event store that it must not touch. */
    for (uint64_t copy = 0; copy < 2; copy++) {
        struct stele_file *file = NULL;
        uint8_t bytes[68];
        size_t size = 0;
        struct stele_io *io = &world->disk.io;
        CHECK_OK(io->ops->open(io, "stele.store", true, &file, &world->err), world->err);
        CHECK_OK(io->ops->read(file, copy * 4096, bytes, sizeof bytes, false, &size, &world->err),
                 world->err);
        bytes[20] |= 0x80;
        stele_store_u32le(bytes + 64,
                          stele_crc32c((struct stele_bytes){.data = bytes, .size = 64}));
        CHECK_OK(io->ops->write(file, copy * 4096,
                                (struct stele_bytes){.data = bytes, .size = sizeof bytes},
                                &world->err),
                 world->err);
        io->ops->close(file);
    }
    CHECK_EQ(world_try_open(world), STELE_E_FORMAT);
    world_destroy(world);
}

/* ---- Copies ---- */

static int replay_all(struct world *world, struct stele_bytes chunk)
{
    struct stele_replay *replaying = NULL;
    int outcome = stele_replay_create(world->store, &replaying, &world->err);
    if (outcome == STELE_OK) {
        outcome = stele_replay_decode(replaying, chunk, &world->err);
    }
    while (outcome == STELE_OK) {
        struct stele_ticket ticket = {.place = 0};
        outcome = stele_store_replay(world->store, replaying, &ticket, &world->err);
        if (outcome == STELE_STORE_ROLL) {
            world_commit(world);
            outcome = stele_store_roll(world->store, ticket.roll_size, &world->err);
        }
    }
    world_commit(world);
    stele_replay_destroy(replaying);
    return outcome;
}

/* A store with appends of one event, of several streams and partitions, with tags and metadata. */
static struct world *some_source(void)
{
    struct world *world = ordered_world(1 << 20);
    for (uint64_t i = 0; i < 5; i++) {
        const char *const tags[] = {"one", "two"};
        struct stele_event_draft drafts[3] = {draft_of(i * 4 + 1), draft_of(i * 4 + 2),
                                              draft_of(i * 4 + 3)};
        drafts[0].tags = tags;
        drafts[0].tags_count = i % 3;
        char names[3][16];
        struct stele_append streams[3];
        for (size_t k = 0; k < 3; k++) {
            (void)snprintf(names[k], sizeof names[k], "s%zu-%d", k, (int)i);
            streams[k] = (struct stele_append){
                .stream = names[k], .expected = STELE_EXPECT_ANY, .events = &drafts[k], .count = 1};
        }
        struct stele_prepared *prepared = NULL;
        struct stele_append_result result;
        struct stele_ticket ticket;
        const struct stele_order order = {.stamp = BEGIN + i * MINUTE, .seen = BEGIN};
        CHECK_OK(stele_prepared_create(world->store, &prepared, &world->err), world->err);
        CHECK_OK(stele_prepare_at(prepared, streams, 1 + i % 3, NULL, 0, order.stamp, &world->err),
                 world->err);
        CHECK_OK(stele_store_append_at(world->store, prepared, &order, &ticket, NULL, &result,
                                       &world->err),
                 world->err);
        stele_prepared_destroy(prepared);
        world_commit(world);
    }
    return world;
}

/* Everything in one chunk; released with free(). */
static struct stele_bytes export_all(struct world *world)
{
    struct stele_export *export = NULL;
    struct stele_bytes chunk;
    struct stele_bytes rest;
    CHECK_OK(stele_export_begin(world->store, 0, 0, &export, &world->err), world->err);
    CHECK_OK(stele_export_next(export, SIZE_MAX, &chunk, &world->err), world->err);
    uint8_t *copy = malloc(chunk.size);
    STELE_ASSERT(copy != NULL);
    memcpy(copy, chunk.data, chunk.size);
    chunk.data = copy;
    CHECK_EQ(stele_export_next(export, 1, &rest, &world->err), STELE_END);
    stele_export_end(world->store, export);
    return chunk;
}

static uint64_t end_of(struct world *world)
{
    return stele_store_end(world->store);
}

TEST(a_chunk_with_any_bit_changed_or_any_byte_missing_is_refused_whole)
{
    struct world *source = some_source();
    struct world *target = ordered_world(1 << 20);
    const struct stele_bytes chunk = export_all(source);
    uint8_t *bytes = malloc(chunk.size);
    struct stele_replay *replaying = NULL;
    STELE_ASSERT(bytes != NULL);
    CHECK_OK(stele_replay_create(target->store, &replaying, &target->err), target->err);
    memcpy(bytes, chunk.data, chunk.size);
    for (size_t bit = 0; bit < chunk.size * 8; bit++) {
        bytes[bit / 8] ^= (uint8_t)(1U << bit % 8);
        CHECK_EQ(stele_replay_decode(replaying,
                                     (struct stele_bytes){.data = bytes, .size = chunk.size},
                                     &target->err),
                 STELE_E_CORRUPT);
        bytes[bit / 8] ^= (uint8_t)(1U << bit % 8);
    }
    size_t whole = 0;
    for (size_t size = 1; size < chunk.size; size++) {
        uint8_t *cut = malloc(size); /* So that nothing behind its end is read unnoticed. */
        STELE_ASSERT(cut != NULL);
        memcpy(cut, bytes, size);
        const int outcome = stele_replay_decode(
            replaying, (struct stele_bytes){.data = cut, .size = size}, &target->err);
        CHECK(outcome == STELE_OK || outcome == STELE_E_CORRUPT);
        whole += outcome == STELE_OK ? 1 : 0;
        free(cut);
    }
    CHECK_EQ(whole, 4); /* Between two groups. */
    stele_replay_destroy(replaying);
    free(bytes);
    free((void *)(uintptr_t)chunk.data);
    world_destroy(source);
    world_destroy(target);
}

static void seal(uint8_t *group)
{
    const size_t head = stele_store__group_head_size(stele_load_u16le(group + 20));
    stele_store_u32le(group,
                      stele_crc32c((struct stele_bytes){.data = group + 4, .size = head - 4}));
}

TEST(a_forged_group_with_right_checksums_is_refused)
{
    static const struct {
        size_t at;
        uint8_t size;
        uint64_t value;
    } forgeries[] = {
        {4, 4, 0},
        {4, 4, 24},
        {4, 4, 0xfffffff8},
        {4, 4, 36},
        {16, 4, 0},
        {16, 4, 2},
        {16, 4, UINT32_MAX},
        {20, 2, 0},
        {20, 2, 2},
        {20, 2, 0xffff},
        {24, 2, 0xffff},
        {24, 2, 4},
        {28, 4, 0},
        {28, 4, 0xfffffff8},
        {28, 4, 4},
        /* A stamp that is later than the position it led to. */
        {8, 8, BEGIN + MINUTE},
    };
    struct world *source = some_source();
    struct world *target = ordered_world(1 << 20);
    const struct stele_bytes chunk = export_all(source);
    struct stele_replay *replaying = NULL;
    CHECK_OK(stele_replay_create(target->store, &replaying, &target->err), target->err);
    const uint32_t size = stele_load_u32le(chunk.data + 4);
    for (size_t i = 0; i < STELE_COUNT_OF(forgeries); i++) {
        uint8_t *bytes = malloc(size);
        STELE_ASSERT(bytes != NULL);
        memcpy(bytes, chunk.data, size);
        for (uint32_t k = 0; k < forgeries[i].size; k++) {
            bytes[forgeries[i].at + k] = (uint8_t)(forgeries[i].value >> 8 * k);
        }
        if (stele_store__group_head_size(stele_load_u16le(bytes + 20)) <= size) {
            seal(bytes);
        }
        CHECK_EQ(stele_replay_decode(replaying, (struct stele_bytes){.data = bytes, .size = size},
                                     &target->err),
                 STELE_E_CORRUPT);
        free(bytes);
    }
    stele_replay_destroy(replaying);
    free((void *)(uintptr_t)chunk.data);
    world_destroy(source);
    world_destroy(target);
}

TEST(what_does_not_continue_the_store_changes_nothing)
{
    struct world *source = some_source();
    struct world *target = ordered_world(1 << 20);
    const struct stele_bytes chunk = export_all(source);
    const uint32_t first = stele_load_u32le(chunk.data + 4);
    CHECK_EQ(replay_all(target, stele_bytes_slice(chunk, 0, first)), STELE_END);
    const uint64_t end = end_of(target);
    CHECK_EQ(replay_all(target, stele_bytes_slice(chunk, 0, first)), STELE_E_CORRUPT);
    CHECK_EQ(end_of(target), end);
    CHECK_EQ(replay_all(target, stele_bytes_slice(chunk, first, chunk.size - first)), STELE_END);
    CHECK_EQ(stele_store_ordered(target->store), stele_store_ordered(source->store));
    CHECK_EQ(stele_store_position(target->store), stele_store_position(source->store));

    /* A store that has something else cannot have come from there. */
    struct world *other = ordered_world(1 << 20);
    CHECK_OK(append_one(other, "s0-0", STELE_EXPECT_ANY, 99, NULL, BEGIN - MINUTE, 0, NULL),
             other->err);
    CHECK_EQ(replay_all(other, chunk), STELE_E_CORRUPT);
    CHECK_EQ(stele_store_ordered(other->store), BEGIN - MINUTE);
    free((void *)(uintptr_t)chunk.data);
    world_destroy(source);
    world_destroy(target);
    world_destroy(other);
}

/* A stream in that partition. */
static void name_in(struct world *world, const char *prefix, uint32_t partition, char name[16])
{
    int i = 0;
    do {
        (void)snprintf(name, 16, "%s%d", prefix, i++);
    } while (stele_store_partition(world->store, stele_bytes_of_text(name)) != partition);
}

/* One event for each of three partitions, the frames in their order; that of `gone` is going to be removed. Returns the
 * position of the last one. */
static uint64_t append_to_three(struct world *world, uint64_t i, uint32_t gone)
{
    char names[3][16];
    struct stele_event_draft drafts[3];
    struct stele_append streams[3];
    for (uint32_t k = 0; k < 3; k++) {
        name_in(world, k == gone ? "gone" : "kept", k, names[k]);
        drafts[k] = draft_of(i * 3 + k + 1);
        streams[k] = (struct stele_append){
            .stream = names[k], .expected = STELE_EXPECT_ANY, .events = &drafts[k], .count = 1};
    }
    struct stele_prepared *prepared = NULL;
    struct stele_append_result result;
    struct stele_ticket ticket;
    const uint64_t stamp = BEGIN + i * MINUTE;
    const struct stele_order order = {.stamp = stamp, .seen = stamp};
    CHECK_OK(stele_prepared_create(world->store, &prepared, &world->err), world->err);
    CHECK_OK(stele_prepare_at(prepared, streams, 3, NULL, 0, stamp, &world->err), world->err);
    CHECK_OK(
        stele_store_append_at(world->store, prepared, &order, &ticket, NULL, &result, &world->err),
        world->err);
    stele_prepared_destroy(prepared);
    world_commit(world);
    return result.position_last;
}

/* A frame that is empty does not tell whether it is known. Once, the first one of a known append and those in the middle of
 * known ones behind it were taken together for one append with more frames than it has. */
TEST(what_scavenging_has_emptied_is_known_where_its_append_is_known)
{
    enum { APPENDS = 8 };
    struct world *world = ordered_world(1 << 20);
    uint64_t known[APPENDS];
    for (uint64_t i = 0; i < APPENDS; i++) {
        known[i] = append_to_three(world, i, i == 0 ? 0 : 1);
    }
    for (uint32_t k = 0; k < 2; k++) {
        char name[16];
        name_in(world, "gone", k, name);
        CHECK_OK(tombstone(world, name, BEGIN + (APPENDS + k) * MINUTE), world->err);
    }
    append_filler(world, BEGIN + 300 * MINUTE);
    CHECK_EQ(world_work(world, true), STELE_OK);
    CHECK_EQ(scavenge(world), APPENDS);

    const struct stele_bytes whole = export_all(world);
    size_t before = whole.size;
    for (size_t i = 0; i < APPENDS; i++) {
        struct stele_export *export = NULL;
        struct stele_bytes chunk;
        CHECK_OK(stele_export_begin(world->store, 0, known[i], &export, &world->err), world->err);
        CHECK_OK(stele_export_next(export, SIZE_MAX, &chunk, &world->err), world->err);
        CHECK(chunk.size < before);
        before = chunk.size;
        CHECK_BYTES_EQ(chunk.data, whole.data + whole.size - chunk.size, chunk.size);
        stele_export_end(world->store, export);
    }
    free((void *)(uintptr_t)whole.data);
    world_destroy(world);
}

TEST(a_store_in_the_middle_of_a_copy_executes_nothing)
{
    struct world *source = some_source();
    struct world *target = ordered_world(1 << 20);
    const struct stele_bytes chunk = export_all(source);
    const uint32_t first = stele_load_u32le(chunk.data + 4);
    CHECK_OK(stele_replay_begin(target->store, &target->err), target->err);
    CHECK_EQ(replay_all(target, stele_bytes_slice(chunk, 0, first)), STELE_END);
    CHECK_OK(stele_replay_end(target->store, false, &target->err), target->err);
    for (int life = 0; life < 2; life++) {
        CHECK(stele_store_is_catching_up(target->store));
        CHECK_EQ(append_one(target, "s", STELE_EXPECT_ANY, 1, NULL, BEGIN + 30 * MINUTE, 0, NULL),
                 STELE_E_UNSUPPORTED);
        stele_store_close(target->store);
        target->store = NULL;
        memio_crash(&target->disk, MEMIO_KEEP_NONE);
        world_open(target);
    }
    CHECK_OK(stele_replay_begin(target->store, &target->err), target->err);
    CHECK_EQ(replay_all(target, stele_bytes_slice(chunk, first, chunk.size - first)), STELE_END);
    CHECK_OK(stele_replay_end(target->store, true, &target->err), target->err);
    stele_store_close(target->store);
    target->store = NULL;
    memio_crash(&target->disk, MEMIO_KEEP_NONE);
    world_open(target);
    CHECK(!stele_store_is_catching_up(target->store));
    CHECK_OK(append_one(target, "s", STELE_EXPECT_ANY, 101, NULL, BEGIN + 30 * MINUTE, BEGIN, NULL),
             target->err);
    free((void *)(uintptr_t)chunk.data);
    world_destroy(source);
    world_destroy(target);
}

/* One go at copying; what fails leaves the store as it was or further. */
static int try_copy(struct world *target, struct stele_bytes chunk)
{
    int outcome = stele_replay_begin(target->store, &target->err);
    while (outcome == STELE_OK) {
        /* What the store has of it already is not sent again. */
        struct stele_bytes rest = chunk;
        while (rest.size > 0 &&
               stele_load_u64le(rest.data + 8) <= stele_store_ordered(target->store)) {
            const uint32_t size = stele_load_u32le(rest.data + 4);
            rest = stele_bytes_slice(rest, size, rest.size - size);
        }
        outcome = rest.size == 0 ? STELE_END : replay_all(target, rest);
    }
    if (stele_store_is_fenced(target->store)) {
        return STELE_E_FENCED;
    }
    return outcome == STELE_END ? stele_replay_end(target->store, true, &target->err) : outcome;
}

TEST(a_copy_that_fails_anywhere_can_be_gone_on_with)
{
    struct world *source = some_source();
    const struct stele_bytes chunk = export_all(source);
    for (int kind = 0; kind < 2; kind++) {
        bool failed = true;
        for (uint64_t n = 1; failed; n++) {
            struct world *target = ordered_world(4096);
            const uint64_t calls = target->alloc.calls;
            if (kind == 0) {
                target->alloc.fail_at = calls + n;
            } else {
                target->disk.fail_at = target->disk.calls + n;
            }
            int outcome = try_copy(target, chunk);
            failed = outcome != STELE_OK;
            target->alloc.fail_at = 0;
            target->disk.fail_at = 0;
            if (stele_store_is_fenced(target->store)) {
                stele_store_close(target->store);
                target->store = NULL;
                memio_crash(&target->disk, MEMIO_KEEP_NONE);
                world_open(target);
            }
            stele_store_check(target->store);
            CHECK_OK(try_copy(target, chunk), target->err);
            CHECK(!stele_store_is_catching_up(target->store));
            CHECK_EQ(stele_store_position(target->store), stele_store_position(source->store));
            const struct stele_bytes again = export_all(target);
            CHECK_BYTES_EQ(again.data, chunk.data, chunk.size);
            CHECK_EQ(again.size, chunk.size);
            free((void *)(uintptr_t)again.data);
            world_destroy(target);
            CHECK(n > 4 || failed);
        }
    }
    free((void *)(uintptr_t)chunk.data);
    world_destroy(source);
}
