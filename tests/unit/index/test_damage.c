/* A run that was changed by a single bit answers rightly or says that it is damaged, never
 * wrongly; dropping it and filling the hole brings everything back.
 *
 * Method: every bit of the used part of a small run, and one bit of every byte of the padding. All
 * is asked after each flip; the world's checks tell a wrong answer. Then files that are cut,
 * extended, exchanged, empty. */
#include "world.h"

#define EVENTS 60

static void make(struct world *world)
{
    world_init(world, 11, UINT64_MAX);
    CHECK_EQ(world_open_index(world, false), STELE_OK);
    for (int run = 0; run < 2; run++) {
        for (int i = 0; i < EVENTS; i++) {
            CHECK_EQ(world_index_event(world, world_new_event(world)), STELE_OK);
        }
        CHECK_EQ(world_flush(world), STELE_OK);
    }
}

/* Asks, and where damage was met, fills and asks again: now there is nothing left to say. */
static void ask_and_heal(struct world *world)
{
    world_check(world);
    while (world_has_holes(world)) {
        CHECK_EQ(world_fill(world, UINT64_MAX), STELE_OK);
    }
    world_check(world);
    CHECK(!world_has_holes(world));
    CHECK_EQ(stele_index_runs_end(world->index), world->end);
}

/* One name from each space and two ids are enough to meet most pages; the listing reads all keys
 * and names. */
static void ask_little(struct world *world)
{
    for (uint8_t space = 0; space < STELE_SPACES; space++) {
        world_check_list(world, space, "", NULL);
        for (uint32_t i = 0; i < world_names(space); i += 3) {
            world_check_name(world, space, i);
        }
    }
    world_check_ids(world, world->events[3].id);
    world_check_ids(world, world->events[EVENTS + 3].id);
}

/* Is this byte of the file content, not padding? */
static bool is_used(const struct stele_index__layout *layout, uint64_t offset)
{
    if (offset < 136 || (offset >= STELE_INDEX__PAGE - 4 && offset < STELE_INDEX__PAGE)) {
        return true;
    }
    for (int section = 0; section < STELE_INDEX__SECTIONS; section++) {
        if (offset >= layout->offset[section] &&
            offset < layout->offset[section] + layout->size[section]) {
            return section != STELE_INDEX__CHECKSUMS ||
                   offset < layout->offset[section] + layout->pages * 4;
        }
    }
    return false;
}

/* Opens an index whose second run has one bit changed, and asks. */
static void flip_and_ask(struct world *world, const struct stele_index__layout *layout,
                         const char *name, uint64_t offset, uint8_t bit)
{
    const bool seen_on_opening =
        offset < STELE_INDEX__PAGE || offset >= layout->offset[STELE_INDEX__FOOTER];
    memio_damage(&world->disk, name, offset, bit);
    CHECK_EQ(world_open_index(world, true), STELE_OK);
    CHECK_EQ(stele_index_runs(world->index), seen_on_opening ? 1 : 2);
    if (!seen_on_opening) {
        ask_little(world);
        /* What was asked may not have touched it. Whoever reads everything finds it. */
        if (!world_has_holes(world)) {
            uint64_t entries = 0;
            struct stele_index_view *view = stele_index_view_acquire(world->index);
            CHECK_EQ(stele_index_verify(view, NULL, NULL, &entries, NULL), STELE_E_CORRUPT);
            stele_index_view_release(view);
        }
    } else {
        CHECK(world_has_holes(world));
    }
    world_close(world);
    memio_damage(&world->disk, name, offset, bit);
}

TEST(no_flipped_bit_goes_unnoticed_or_unhealed)
{
    static struct world world;
    make(&world);
    const struct stele_index__layout layout = world.index->view->runs[1]->layout;
    char name[STELE_FILE_NAME_MAX];
    memcpy(name, world.index->view->runs[1]->name, sizeof name);
    world_close(&world);
    for (uint64_t offset = 0; offset < layout.file_size; offset++) {
        for (unsigned bit = 0; bit < 8 && is_used(&layout, offset); bit++) {
            flip_and_ask(&world, &layout, name, offset, (uint8_t)(1U << bit));
        }
        if (!is_used(&layout, offset) && offset % 61 == 0) {
            flip_and_ask(&world, &layout, name, offset, (uint8_t)(1U << offset % 8));
        }
    }
    CHECK_EQ(world_open_index(&world, false), STELE_OK);
    CHECK_EQ(stele_index_runs(world.index), 2);
    ask_and_heal(&world);
    world_deinit(&world);
}

TEST(damage_is_healed_by_filling)
{
    for (uint64_t offset = 8; offset < 60000; offset += 997) {
        static struct world world;
        make(&world);
        char name[STELE_FILE_NAME_MAX];
        const uint64_t size = world.index->view->runs[1]->layout.file_size;
        memcpy(name, world.index->view->runs[1]->name, sizeof name);
        if (offset % 2 == 0) {
            world_close(&world); /* Else it rots while it is open. */
        }
        memio_damage(&world.disk, name, offset % size, 0x10);
        if (offset % 2 == 0) {
            CHECK_EQ(world_open_index(&world, false), STELE_OK);
        }
        ask_and_heal(&world);
        world_deinit(&world);
    }
}

TEST(a_merge_does_not_pass_damage_on)
{
    for (uint64_t offset = STELE_INDEX__PAGE; offset < 50000; offset += 499) {
        static struct world world;
        make(&world);
        for (int run = 0; run < 2; run++) {
            for (int i = 0; i < EVENTS; i++) {
                CHECK_EQ(world_index_event(&world, world_new_event(&world)), STELE_OK);
            }
            CHECK_EQ(world_flush(&world), STELE_OK);
        }
        world_check(&world); /* All pages verified: the damage comes afterwards. */
        const struct stele_index__run *run = world.index->view->runs[2];
        const bool inside = offset < run->layout.offset[STELE_INDEX__FOOTER];
        memio_damage(&world.disk, run->name, offset % run->layout.file_size, 4);
        const int outcome = world_merge(&world);
        CHECK_EQ(outcome, inside ? STELE_E_CORRUPT : outcome);
        CHECK(!inside || world_has_holes(&world));
        while (world_has_holes(&world)) {
            CHECK_EQ(world_fill(&world, UINT64_MAX), STELE_OK);
        }
        world_check(&world);
        world_deinit(&world);
    }
}

static void replace(struct world *world, const char *name, size_t size, const char *from)
{
    const struct memio_inode *inode = memio_find(&world->disk, from);
    CHECK(inode != NULL);
    static uint8_t bytes[1 << 17];
    CHECK(inode->size <= sizeof bytes);
    memset(bytes, 0, sizeof bytes);
    memcpy(bytes, inode->cache, (size_t)inode->size);
    memio_put(&world->disk, name, (struct stele_bytes){.data = bytes, .size = size});
}

TEST(files_of_another_size_or_range_are_holes)
{
    static struct world world;
    make(&world);
    char names[2][STELE_FILE_NAME_MAX];
    memcpy(names[0], world.index->view->runs[0]->name, sizeof names[0]);
    memcpy(names[1], world.index->view->runs[1]->name, sizeof names[1]);
    const uint64_t size = world.index->view->runs[1]->layout.file_size;
    const uint64_t sizes[] = {0,        1,        8,        4095,     4096,       4097,
                              size / 2, size - 4, size - 1, size + 1, size + 4096};
    for (size_t i = 0; i <= STELE_COUNT_OF(sizes); i++) {
        world_close(&world);
        if (i < STELE_COUNT_OF(sizes)) {
            replace(&world, names[1], (size_t)sizes[i], names[1]);
        } else {
            const struct memio_inode *other = memio_find(&world.disk, names[0]);
            replace(&world, names[1], (size_t)other->size, names[0]);
        }
        CHECK_EQ(world_open_index(&world, false), STELE_OK);
        CHECK_EQ(stele_index_runs(world.index), 1);
        CHECK_EQ(stele_index_runs_end(world.index), world.end);
        ask_and_heal(&world);
        CHECK_EQ(stele_index_runs(world.index), 2);
    }
    world_deinit(&world);
}

TEST(damage_that_an_append_meets_becomes_a_hole)
{
    static struct world world;
    make(&world);
    world_close(&world);
    CHECK_EQ(world_open_index(&world, false), STELE_OK);
    const struct stele_index__run *run = world.index->view->runs[1];
    memio_damage(&world.disk, run->name, run->layout.offset[STELE_INDEX__KEYS], 1);
    char name[STELE_FILE_NAME_MAX];
    memcpy(name, run->name, sizeof name);
    struct stele_error err = {.outcome = 0};
    struct stele_index_entry *entry = NULL;
    const struct stele_index_key key = world_key(&world, 0, stele_bytes_of_text("s0"));
    CHECK_EQ(stele_index_entry(world.index, &key, &entry, &err), STELE_E_CORRUPT);
    CHECK_TEXT_HAS(err.message, name);
    CHECK_EQ(stele_index_entry(world.index, &key, &entry, &err), STELE_INCOMPLETE);
    CHECK_EQ(world_fill(&world, UINT64_MAX), STELE_OK);
    CHECK_EQ(stele_index_entry(world.index, &key, &entry, &err), STELE_OK);
    CHECK_EQ(entry->next, world.next_revision[0]);
    world_deinit(&world);
}

struct told {
    char file[STELE_FILE_NAME_MAX];
    uint64_t offset;
    int count;
};

static void on_damage(void *context, const char *file, uint64_t offset, const char *what)
{
    struct told *told = context;
    memcpy(told->file, file, strlen(file) + 1);
    told->offset = offset;
    told->count++;
    CHECK(what != NULL);
}

TEST(verifying_tells_file_and_page)
{
    static struct world world;
    make(&world);
    const struct stele_index__run *run = world.index->view->runs[1];
    for (uint64_t offset = 0; offset < run->layout.offset[STELE_INDEX__CHECKSUMS];
         offset += STELE_INDEX__PAGE) {
        struct told told = {.count = 0};
        uint64_t entries = 0;
        struct stele_error err;
        struct stele_index_view *view = stele_index_view_acquire(world.index);
        memio_damage(&world.disk, run->name, offset + 100, 2);
        CHECK_EQ(stele_index_verify(view, on_damage, &told, &entries, &err), STELE_E_CORRUPT);
        CHECK_TEXT_EQ(told.file, run->name);
        CHECK_EQ(told.offset, offset);
        CHECK_EQ(told.count, 1);
        memio_damage(&world.disk, run->name, offset + 100, 2);
        CHECK_EQ(stele_index_verify(view, on_damage, &told, &entries, &err), STELE_OK);
        CHECK_EQ(told.count, 1);
        stele_index_view_release(view);
    }
    world_deinit(&world);
}
