/* A run holds what it was made of, whatever its size: without any events, with places that need 8
 * bytes, merged from runs of both kinds. */
#include "index/merge.h"
#include "world.h"

TEST(names_of_files_are_read_back_and_no_others)
{
    char name[STELE_FILE_NAME_MAX];
    uint64_t from = 0;
    uint64_t to = 0;
    stele_index__file_name(name, 0x1234, UINT64_C(0xfedcba9876543210), ".run");
    CHECK_TEXT_EQ(name, "0000000000001234-fedcba9876543210.run");
    CHECK(stele_index__file_name_parse(name, ".run", &from, &to));
    CHECK_EQ(from, 0x1234);
    CHECK_EQ(to, UINT64_C(0xfedcba9876543210));
    static const char *const others[] = {
        "",
        "0000000000001234-fedcba9876543210.ru",
        "0000000000001234-fedcba9876543210.runs",
        "0000000000001234_fedcba9876543210.run",
        "0000000000001234-FEDCBA9876543210.run",
        "000000000001234-fedcba9876543210.run",
        "0000000000001234-fedcba987654321g.run",
        "0000000000001234.seg",
    };
    for (size_t i = 0; i < STELE_COUNT_OF(others); i++) {
        CHECK(!stele_index__file_name_parse(others[i], ".run", &from, &to));
    }
}

TEST(filters_know_what_is_there_and_nearly_all_that_is_not)
{
    enum { HASHES = 20000, BLOCKS = HASHES * 10 / 512 };
    static uint8_t blocks[BLOCKS][STELE_INDEX__FILTER_BLOCK];
    struct rng rng;
    memset(blocks, 0, sizeof blocks);
    rng_init(&rng, 1, 0);
    for (int i = 0; i < HASHES; i++) {
        const uint64_t hash = rng_next(&rng);
        stele_index__filter_add(blocks[stele_index__filter_block(hash, BLOCKS)], hash);
    }
    rng_init(&rng, 1, 0);
    for (int i = 0; i < HASHES; i++) {
        const uint64_t hash = rng_next(&rng);
        CHECK(stele_index__filter_has(blocks[stele_index__filter_block(hash, BLOCKS)], hash));
    }
    int wrong = 0;
    for (int i = 0; i < HASHES; i++) {
        const uint64_t hash = rng_next(&rng);
        wrong += stele_index__filter_has(blocks[stele_index__filter_block(hash, BLOCKS)], hash);
    }
    CHECK(wrong * 100 <= HASHES * 2);
}

TEST(a_run_without_events_covers_its_range)
{
    static struct world world;
    world_init(&world, 1, UINT64_MAX);
    CHECK_EQ(world_open_index(&world, false), STELE_OK);
    world.end += 800;
    CHECK_EQ(world_flush(&world), STELE_OK);
    CHECK_EQ(stele_index_runs(world.index), 1);
    CHECK_EQ(stele_index_runs_end(world.index), world.end);
    world_check(&world);
    world_close(&world);
    CHECK_EQ(world_open_index(&world, false), STELE_OK);
    CHECK_EQ(stele_index_runs_end(world.index), world.end);
    world_check(&world);
    CHECK_EQ(world_flush(&world), STELE_NOT_FOUND);
    world_deinit(&world);
}

/* Appends events with a wide stretch of nothing in between. */
static void append_wide(struct world *world, int events, uint64_t stretch)
{
    for (int i = 0; i < events; i++) {
        CHECK_EQ(world_index_event(world, world_new_event(world)), STELE_OK);
    }
    world->end += stretch;
}

TEST(places_far_apart_are_kept_in_8_bytes)
{
    static struct world world;
    world_init(&world, 2, UINT64_MAX);
    CHECK_EQ(world_open_index(&world, false), STELE_OK);
    append_wide(&world, 50, UINT64_C(40) << 30);
    append_wide(&world, 50, 0);
    world_check(&world);
    CHECK_EQ(world_flush(&world), STELE_OK);
    CHECK_EQ(world.index->view->runs[0]->layout.place_size, 8);
    world_check(&world);
    /* Narrow ones that together are wide. */
    for (int i = 0; i < 4; i++) {
        append_wide(&world, 100, UINT64_C(20) << 30);
        CHECK_EQ(world_flush(&world), STELE_OK);
        CHECK_EQ(world.index->view->runs[1 + i]->layout.place_size, 4);
    }
    CHECK_EQ(world_merge(&world), STELE_OK);
    CHECK_EQ(stele_index_runs(world.index), 2);
    for (int i = 0; i < 2; i++) {
        const struct stele_index__run *run = world.index->view->runs[i];
        const bool wide = run->header.to - run->header.from > STELE_INDEX__NARROW_SPAN_MAX;
        CHECK_EQ(run->layout.place_size, wide ? 8 : 4);
    }
    world_check(&world);
    world_deinit(&world);
}

TEST(the_narrow_span_is_used_to_its_end)
{
    struct stele_index__header header = {.from = 8, .to = 8 + STELE_INDEX__NARROW_SPAN_MAX};
    struct stele_index__layout layout;
    stele_index__layout(&header, &layout);
    CHECK_EQ(layout.place_size, 4);
    header.to += 8;
    stele_index__layout(&header, &layout);
    CHECK_EQ(layout.place_size, 8);
}

TEST(a_merge_takes_runs_of_like_size_and_leaves_the_log_of_sizes)
{
    static struct world world;
    world_init(&world, 3, UINT64_MAX);
    CHECK_EQ(world_open_index(&world, false), STELE_OK);
    uint64_t flushes = 0;
    uint64_t merges = 0;
    while (world.count < WORLD_EVENTS_MAX - 20) {
        append_wide(&world, 20, 0);
        CHECK_EQ(world_flush(&world), STELE_OK);
        flushes++;
        while (world_merge(&world) == STELE_OK) {
            merges++;
        }
    }
    /* Each merge takes four to eight; the runs that remain are few. */
    CHECK(merges >= flushes / 7 - 4);
    CHECK(merges <= flushes / 3 + 1);
    CHECK(stele_index_runs(world.index) <= 3 + 12);
    world_check(&world);
    world_deinit(&world);
}

static int count_bytes(void *context, uint64_t bytes)
{
    uint64_t *left = context;
    if (bytes > *left) {
        return 1;
    }
    *left -= bytes;
    return 0;
}

TEST(a_job_can_be_stopped_and_started_again)
{
    static struct world world;
    world_init(&world, 4, UINT64_MAX);
    CHECK_EQ(world_open_index(&world, false), STELE_OK);
    append_wide(&world, 50, 0);
    struct stele_index_job *job = NULL;
    CHECK_EQ(stele_index_flush_begin(world.index, world.end, &job), STELE_OK);
    append_wide(&world, 50, 0); /* Memory goes on while the job runs. */
    struct stele_index_job *second = NULL;
    CHECK_EQ(stele_index_flush_begin(world.index, world.end, &second), STELE_NOT_FOUND);
    uint64_t left = 10000;
    const int outcome = stele_index_job_run(job, count_bytes, &left, NULL);
    CHECK_EQ(outcome, STELE_E_CLOSED);
    CHECK_EQ(stele_index_job_end(world.index, job, outcome, NULL), STELE_E_CLOSED);
    CHECK_EQ(world.disk.names.count, 0);
    world_check(&world);
    /* The frozen memtable first, then the active one. */
    CHECK_EQ(world_flush(&world), STELE_OK);
    CHECK(stele_index_runs_end(world.index) < world.end);
    CHECK_EQ(world_flush(&world), STELE_OK);
    CHECK_EQ(stele_index_runs_end(world.index), world.end);
    world_check(&world);
    world_deinit(&world);
}

TEST(a_view_goes_on_reading_runs_that_were_merged)
{
    static struct world world;
    world_init(&world, 5, UINT64_MAX);
    CHECK_EQ(world_open_index(&world, false), STELE_OK);
    for (int i = 0; i < 4; i++) {
        append_wide(&world, 30, 0);
        CHECK_EQ(world_flush(&world), STELE_OK);
    }
    struct stele_index_view *view = stele_index_view_acquire(world.index);
    CHECK_EQ(world_merge(&world), STELE_OK);
    CHECK_EQ(world.disk.names.count, 1);
    CHECK_EQ(world.disk.open_count, 5);
    char buffer[64];
    const struct stele_index_key key = world_key(&world, 0, world_name(0, 0, buffer));
    struct stele_index_state state;
    const char *damaged = NULL;
    CHECK_EQ(stele_index_view_state(view, &key, &state, &damaged), STELE_OK);
    CHECK_EQ(state.next, world.next_revision[0]);
    stele_index_view_release(view);
    CHECK_EQ(world.disk.open_count, 1);
    world_deinit(&world);
}

TEST(names_are_counted_once)
{
    static struct world world;
    world_init(&world, 6, UINT64_MAX);
    CHECK_EQ(world_open_index(&world, false), STELE_OK);
    for (int i = 0; i < 9; i++) {
        append_wide(&world, 60, 0);
        CHECK_EQ(world_flush(&world), STELE_OK);
        (void)world_merge(&world);
    }
    append_wide(&world, 30, 0);
    for (uint8_t space = 0; space < STELE_SPACES; space++) {
        uint64_t names = 0;
        for (uint32_t i = 0; i < world_names(space); i++) {
            bool used = false;
            for (uint32_t k = 0; k < world.count && !used; k++) {
                used = world_has(&world.events[k], space, i);
            }
            names += used;
        }
        CHECK_EQ(stele_index_names(world.index, space), names);
    }
    world_deinit(&world);
}

/* Of a merge's cost what matters is that it does not grow with the runs. */
TEST(merging_takes_little_memory)
{
    enum { EVENTS = 40000, RUNS = 4 };
    struct testalloc alloc;
    static struct memio disk;
    testalloc_init(&alloc, 1);
    memio_init(&disk, &alloc.base, 1);
    const struct stele_index_options options = {.seed = 9};
    struct stele_index *index = NULL;
    CHECK_EQ(stele_index_open(&disk.io, &options, 0, 0, &index, NULL), STELE_OK);
    uint64_t place = 0;
    struct stele_index_job *job = NULL;
    for (int run = 0; run < RUNS; run++) {
        for (int i = 0; i < EVENTS; i++) {
            char name[32];
            (void)snprintf(name, sizeof name, "s%llu", (unsigned long long)place);
            const struct stele_index_key key = stele_index_key(9, 0, stele_bytes_of_text(name));
            const struct stele_index_key other = stele_index_key(9, 1, stele_bytes_of_text("s"));
            struct stele_index_entry *entry = NULL;
            struct stele_index_entry *all = NULL;
            CHECK_EQ(stele_index_reserve(index, 1, 3), STELE_OK);
            CHECK_EQ(stele_index_entry(index, &key, &entry, NULL), STELE_OK);
            CHECK_EQ(stele_index_entry(index, &other, &all, NULL), STELE_OK);
            stele_index_add(index, place, place * 77, entry, all, all, NULL, 0);
            place += 80;
        }
        CHECK_EQ(stele_index_flush_begin(index, place, &job), STELE_OK);
        const int outcome = stele_index_job_run(job, NULL, NULL, NULL);
        CHECK_EQ(stele_index_job_end(index, job, outcome, NULL), STELE_OK);
    }
    const uint64_t before = alloc.bytes;
    alloc.bytes_max = alloc.bytes;
    CHECK_EQ(stele_index_merge_begin(index, &job), STELE_OK);
    CHECK_EQ(stele_index_job_run(job, NULL, NULL, NULL), STELE_OK);
    CHECK(alloc.bytes_max - before <= 1400 * 1024 + 5 * (uint64_t)EVENTS * RUNS);
    CHECK_EQ(stele_index_job_end(index, job, STELE_OK, NULL), STELE_OK);
    CHECK_EQ(stele_index_runs(index), 1);
    CHECK_EQ(stele_index_names(index, 0), EVENTS * RUNS);
    stele_index_close(index);
    memio_deinit(&disk);
    CHECK_EQ(alloc.bytes, 0);
}

TEST(a_merge_of_a_run_that_was_dropped_is_forgotten)
{
    static struct world world;
    world_init(&world, 7, UINT64_MAX);
    CHECK_EQ(world_open_index(&world, false), STELE_OK);
    for (int i = 0; i < 4; i++) {
        append_wide(&world, 30, 0);
        CHECK_EQ(world_flush(&world), STELE_OK);
    }
    struct stele_index_job *job = NULL;
    struct stele_index_job *second = NULL;
    CHECK_EQ(stele_index_merge_begin(world.index, &job), STELE_OK);
    CHECK_EQ(stele_index_merge_begin(world.index, &second), STELE_NOT_FOUND); /* All are busy. */
    CHECK_EQ(stele_index_job_run(job, NULL, NULL, NULL), STELE_OK);
    stele_index_drop_run(world.index, world.index->view->runs[2]->name);
    CHECK_EQ(stele_index_job_end(world.index, job, STELE_OK, NULL), STELE_NOT_FOUND);
    CHECK_EQ(stele_index_runs(world.index), 3);
    CHECK_EQ(world.disk.names.count, 3);
    CHECK(world_has_holes(&world));
    CHECK_EQ(world_fill(&world, UINT64_MAX), STELE_OK);
    CHECK_EQ(world_merge(&world), STELE_OK);
    CHECK_EQ(world.disk.names.count, 1);
    world_check(&world);
    world_deinit(&world);
}

TEST(a_revision_that_was_there_is_refused)
{
    static struct world world;
    world_init(&world, 8, UINT64_MAX);
    CHECK_EQ(world_open_index(&world, false), STELE_OK);
    append_wide(&world, 60, 0);
    CHECK_EQ(world_flush(&world), STELE_OK);
    append_wide(&world, 60, 0);
    CHECK_EQ(world_flush(&world), STELE_OK);
    stele_index_drop_run(world.index, world.index->view->runs[1]->name);
    struct world_event *event = &world.events[60];
    while (event->revision == 0) {
        event++;
    }
    event->revision--;
    CHECK_EQ(world_fill(&world, UINT64_MAX), STELE_E_CORRUPT);
    event->revision++;
    CHECK_EQ(stele_index_runs(world.index), 1);
    CHECK_EQ(world_fill(&world, UINT64_MAX), STELE_OK);
    world_check(&world);
    world_deinit(&world);
}

TEST(a_revision_further_ahead_than_the_log_has_room_for_is_refused)
{
    static struct world world;
    world_init(&world, 8, UINT64_MAX);
    CHECK_EQ(world_open_index(&world, false), STELE_OK);
    append_wide(&world, 60, 0);
    CHECK_EQ(world_flush(&world), STELE_OK);
    stele_index_drop_run(world.index, world.index->view->runs[0]->name);
    struct world_event *event = &world.events[0];
    while (event->revision == 0) {
        event++;
    }
    event->revision += UINT64_C(1) << 40;
    CHECK_EQ(world_fill(&world, UINT64_MAX), STELE_E_CORRUPT);
    event->revision -= UINT64_C(1) << 40;
    CHECK_EQ(world_fill(&world, UINT64_MAX), STELE_OK);
    world_check(&world);
    world_deinit(&world);
}

TEST(the_newest_place_is_known_while_memory_has_it)
{
    static struct world world;
    world_init(&world, 9, UINT64_MAX);
    CHECK_EQ(world_open_index(&world, false), STELE_OK);
    append_wide(&world, 20, 0);
    char buffer[64];
    const struct world_event *last = &world.events[world.count - 1];
    const struct stele_index_key key = world_key(&world, 0, world_name(0, last->name[0], buffer));
    struct stele_index_entry *entry = NULL;
    CHECK_EQ(stele_index_entry(world.index, &key, &entry, NULL), STELE_OK);
    CHECK_EQ(entry->place_last, last->place);
    struct stele_index_job *job = NULL;
    CHECK_EQ(stele_index_flush_begin(world.index, world.end, &job), STELE_OK);
    CHECK_EQ(stele_index_entry(world.index, &key, &entry, NULL), STELE_OK);
    CHECK_EQ(entry->place_last, last->place);
    CHECK_EQ(entry->next, last->revision + 1);
    CHECK_EQ(world_end_job(&world, job), STELE_OK);
    world_close(&world);
    CHECK_EQ(world_open_index(&world, false), STELE_OK);
    CHECK_EQ(stele_index_entry(world.index, &key, &entry, NULL), STELE_OK);
    CHECK_EQ(entry->place_last, UINT64_MAX);
    CHECK_EQ(entry->next, last->revision + 1);
    world_deinit(&world);
}

TEST(a_mark_alone_reaches_the_runs)
{
    static struct world world;
    world_init(&world, 10, UINT64_MAX);
    CHECK_EQ(world_open_index(&world, false), STELE_OK);
    const struct stele_index_key key = world_key(&world, 0, stele_bytes_of_text("s0"));
    for (int run = 0; run < 4; run++) {
        append_wide(&world, 30, 0);
        if (run == 1) {
            CHECK_EQ(world_flush(&world), STELE_OK);
            struct stele_index_entry *entry = NULL;
            CHECK_EQ(stele_index_entry(world.index, &key, &entry, NULL), STELE_OK);
            stele_index_mark(entry, STELE_INDEX_TOMBSTONED);
            world.end += 8;
        }
        CHECK_EQ(world_flush(&world), STELE_OK);
    }
    for (int merged = 0; merged < 2; merged++) {
        struct stele_index_state state;
        CHECK_EQ(world_state(&world, &key, &state), STELE_OK);
        CHECK_EQ(state.flags, STELE_INDEX_TOMBSTONED);
        CHECK_EQ(state.next, world.next_revision[0]);
        world_check(&world);
        CHECK_EQ(world_merge(&world), merged == 0 ? STELE_OK : STELE_NOT_FOUND);
    }
    world_deinit(&world);
}

TEST(the_sizes_of_files_are_told)
{
    static struct world world;
    world_init(&world, 11, UINT64_MAX);
    CHECK_EQ(world_open_index(&world, false), STELE_OK);
    uint64_t size = 0;
    for (int run = 0; run < 3; run++) {
        append_wide(&world, 30, 0);
        CHECK_EQ(world_flush(&world), STELE_OK);
        size += memio_find(&world.disk, world.index->view->runs[run]->name)->size;
    }
    CHECK_EQ(stele_index_disk_size(world.index), size);
    world_deinit(&world);
}

/* Runs of these sizes, one behind the other. */
static uint32_t pick(const uint64_t *sizes, uint32_t count, int busy, uint32_t *out_first)
{
    enum { RUNS = 64 };
    static struct stele_index__run runs[RUNS];
    static uint64_t memory[8 + RUNS];
    struct stele_index_view *view = (struct stele_index_view *)memory;
    CHECK(count <= RUNS);
    CHECK(sizeof *view + RUNS * sizeof *view->runs <= sizeof memory);
    memset(runs, 0, sizeof runs);
    *view = (struct stele_index_view){.to = (uint64_t)count * 8, .refs = 1, .count = count};
    for (uint32_t i = 0; i < count; i++) {
        runs[i].header.from = (uint64_t)i * 8;
        runs[i].header.to = (uint64_t)i * 8 + 8;
        runs[i].layout.file_size = sizes[i];
        runs[i].busy = (int)i == busy;
        view->runs[i] = &runs[i];
    }
    return stele_index__merge_pick(view, out_first);
}

TEST(like_runs_are_merged_and_unlike_ones_only_when_there_are_many)
{
    uint32_t first = 0;
    const uint64_t few[] = {100, 100, 100};
    CHECK_EQ(pick(few, 3, -1, &first), 0);
    const uint64_t alike[] = {1000, 100, 110, 90, 100};
    CHECK_EQ(pick(alike, 5, -1, &first), 4);
    CHECK_EQ(first, 1);
    CHECK_EQ(pick(alike, 5, 2, &first), 0);
    const uint64_t falling[] = {64000, 16000, 4000, 1000, 250, 60};
    CHECK_EQ(pick(falling, 6, -1, &first), 0);
    /* A store's life of unlike runs: each one outweighs its neighbours. */
    uint64_t unlike[48];
    for (uint32_t i = 0; i < 48; i++) {
        unlike[i] = i % 4 == 3 ? UINT64_C(1000000) << i % 3 * 8 : 1 + i;
    }
    CHECK_EQ(pick(unlike, 32, -1, &first), 0);
    CHECK(pick(unlike, 48, -1, &first) >= STELE_INDEX__FAN_IN_MIN);
    const uint64_t same[12] = {5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5};
    const uint32_t count = pick(same, 12, -1, &first);
    CHECK(count >= STELE_INDEX__FAN_IN_MIN);
    CHECK(count <= STELE_INDEX__FAN_IN_MAX);
}
