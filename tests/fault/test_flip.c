/* Whichever bit of a store rots, what is read is right, or is refused as damaged; it is never wrong.
 *
 * Method: a small closed store; each bit of each of its files in turn is flipped; the store is
 * opened, everything is read in every way, and the bit is put back. A stream may end early only if
 * something said so: opening, the read, or an index that is being rebuilt. */
#include "life.h"

#include <inttypes.h>

#define STREAMS 3
#define EVENTS 24

static struct memio disk;
static struct testalloc alloc;
static struct stele_error err;
static uint64_t outcomes[3]; /* Right, reported, refused to open. */
static char flipped[128];    /* For messages. */

static struct stele_store *open_store(bool read_only)
{
    const struct stele_options public = STELE_OPTIONS_INIT;
    struct stele_store_options options = {
        .public = public, .read_only = read_only, .live_end = UINT64_MAX};
    options.public.segment_size_max = 64 * 1024;
    options.public.index_memory = 4096;
    options.public.partitions = 1;
    struct stele_store *store = NULL;
    return stele_store_open(&disk.io, &options, &store, &err) == STELE_OK ? store : NULL;
}

static void work(struct stele_store *store, bool closing)
{
    struct stele_work *piece = NULL;
    while (stele_work_begin(store, disk.now_us += 2000000, closing, &piece, &err) == STELE_OK) {
        const int outcome = stele_work_run(piece, &err);
        if (stele_work_end(store, piece, outcome, &err) != STELE_OK) {
            break;
        }
    }
}

static void append_one(struct stele_store *store, uint64_t number)
{
    char name[16];
    char data[32];
    (void)snprintf(name, sizeof name, "flip-%d", (int)(number % STREAMS));
    (void)snprintf(data, sizeof data, "{\"number\":%d}", (int)number);
    struct stele_event_draft draft = {.type = "T", .data = data, .data_size = strlen(data)};
    draft.id[0] = (uint8_t)(number + 1);
    const struct stele_append part = {
        .stream = name, .expected = STELE_EXPECT_ANY, .events = &draft, .count = 1};
    struct stele_prepared *prepared = NULL;
    struct stele_ticket ticket;
    struct stele_append_result result;
    struct stele_log_group group;
    CHECK_OK(stele_prepared_create(store, &prepared, &err), err);
    CHECK_OK(stele_prepare(prepared, &part, 1, NULL, 0, disk.now_us, &err), err);
    CHECK_OK(stele_store_append(store, prepared, disk.now_us, &ticket, NULL, &result, &err), err);
    CHECK(stele_store_take(store, &group));
    CHECK_OK(disk.io.ops->write_durable(group.file, group.offset, group.bytes, &err), err);
    stele_store_done(store, group.id, STELE_OK);
    stele_prepared_destroy(prepared);
}

static void make_store(void)
{
    testalloc_init(&alloc, 1);
    memio_init(&disk, &alloc.base, 1);
    disk.now_us = INT64_C(1800000000000000);
    struct stele_store *store = open_store(false);
    CHECK(store != NULL);
    for (uint64_t number = 0; number < EVENTS; number++) {
        append_one(store, number);
        if (number == EVENTS / 2) {
            work(store, false);
        }
    }
    work(store, true);
    stele_store_close(store);
}

static uint64_t number_of(const struct stele_event *event)
{
    return (uint64_t)event->id[0] - 1;
}

/* Reads one way; true: everything was handed out, and right. */
static bool read_one(struct stele_store *store, const char *stream, uint64_t residue,
                     bool backwards)
{
    struct stele_read_options options = STELE_READ_OPTIONS_INIT;
    options.backwards = backwards;
    options.from = backwards ? STELE_FROM_END : 0;
    struct stele_read *read = NULL;
    const int begun = stele_read_begin(store, stream, &options, false, disk.now_us, &read, &err);
    if (begun != STELE_OK) {
        CHECK_OUTCOME(begun, STELE_E_CORRUPT, err);
        return false;
    }
    const bool is_all = residue == STREAMS;
    uint64_t given = 0;
    bool damaged = false;
    uint64_t before = 0;
    for (int calls = 0; calls < 1000; calls++) {
        const struct stele_event *events = NULL;
        size_t count = 0;
        const int outcome = stele_read_next(read, &events, &count, &err);
        if (outcome == STELE_INCOMPLETE) {
            CHECK_OK(stele_read_refill(store, read, &err), err);
            continue;
        }
        if (outcome == STELE_END) {
            break;
        }
        if (outcome != STELE_OK) {
            CHECK_OUTCOME(outcome, STELE_E_CORRUPT, err);
            damaged = true;
            continue;
        }
        for (size_t i = 0; i < count; i++, given++) {
            const uint64_t number = number_of(&events[i]);
            char data[32];
            (void)snprintf(data, sizeof data, "{\"number\":%d}", (int)number);
            CHECK(number < EVENTS);
            CHECK(is_all || number % STREAMS == residue);
            CHECK_EQ(events[i].data_size, strlen(data));
            CHECK_BYTES_EQ(events[i].data, data, strlen(data));
            CHECK_EQ(events[i].revision, number / STREAMS);
            CHECK(given == 0 || (number > before) != backwards);
            before = number;
        }
    }
    stele_read_end(store, read);
    const bool complete = given == (is_all ? EVENTS : EVENTS / STREAMS);
    if (!complete && !damaged) {
        check_failed(__FILE__, __LINE__, "%s, %s: %d events are missing in silence after %s",
                     stream, backwards ? "backward" : "forward",
                     (int)((is_all ? EVENTS : EVENTS / STREAMS) - given), flipped);
    }
    return complete && !damaged;
}

static bool read_everything(struct stele_store *store)
{
    bool right = true;
    for (int backwards = 0; backwards < 2; backwards++) {
        for (uint64_t residue = 0; residue <= STREAMS; residue++) {
            char name[16] = "$all";
            if (residue < STREAMS) {
                (void)snprintf(name, sizeof name, "flip-%d", (int)residue);
            }
            right = read_one(store, name, residue, backwards) && right;
        }
        right = read_one(store, "$ce-flip", STREAMS, backwards) && right;
        right = read_one(store, "$et-T", STREAMS, backwards) && right;
    }
    return right;
}

static void flip_one(const char *name, uint64_t offset, int bit, bool read_only)
{
    struct memio copy;
    const uint64_t blocks = alloc.blocks;
    if (!read_only) {
        memio_copy(&disk, &copy); /* Opening for writing mends what it can. */
    }
    (void)snprintf(flipped, sizeof flipped, "bit %d of byte %d of %s", bit, (int)offset, name);
    memio_damage(&disk, name, offset, (uint8_t)(1U << bit));
    struct stele_store *store = open_store(read_only);
    if (store == NULL) {
        CHECK(err.message[0] != '\0');
        outcomes[2]++;
    } else {
        outcomes[read_everything(store) ? 0 : 1]++;
        stele_store_close(store);
    }
    CHECK_EQ(alloc.blocks, blocks);
    if (read_only) {
        memio_damage(&disk, name, offset, (uint8_t)(1U << bit));
    } else {
        memio_deinit(&disk);
        disk = copy;
        disk.io.alloc = &alloc.base;
    }
}

struct files {
    char names[16][STELE_FILE_NAME_MAX];
    uint64_t sizes[16];
    size_t count;
};

static int on_file(void *context, const char *name, uint64_t size)
{
    struct files *files = context;
    CHECK(files->count < 16);
    (void)snprintf(files->names[files->count], STELE_FILE_NAME_MAX, "%s", name);
    files->sizes[files->count++] = size;
    return STELE_OK;
}

/* The bytes of a file up to the last that is not zero, and some beyond: flipping bits in a hundred
 * thousand zeros that nothing was ever written to is the same test again and again. */
static uint64_t interesting_size(const char *name, uint64_t size)
{
    const struct memio_inode *inode = memio_find(&disk, name);
    while (size > 0 && inode->cache[size - 1] == 0) {
        size--;
    }
    const uint64_t beyond = size + 256;
    return beyond < inode->size ? beyond : inode->size;
}

static void flip_all(bool read_only, uint64_t step)
{
    make_store();
    struct files files = {.count = 0};
    CHECK_OK(disk.io.ops->list(&disk.io, on_file, &files, &err), err);
    memset(outcomes, 0, sizeof outcomes);
    for (size_t f = 0; f < files.count; f++) {
        if (strncmp(files.names[f], "spare", 5) == 0) {
            continue;
        }
        const uint64_t bits = interesting_size(files.names[f], files.sizes[f]) * 8;
        for (uint64_t bit = f % step; bit < bits; bit += step) {
            flip_one(files.names[f], bit / 8, (int)(bit % 8), read_only);
        }
    }
    (void)printf("# %" PRIu64 " right, %" PRIu64 " reported, %" PRIu64 " refused\n", outcomes[0],
                 outcomes[1], outcomes[2]);
    CHECK(outcomes[0] > 0);
    CHECK(outcomes[1] + outcomes[2] > 0);
    memio_deinit(&disk);
}

TEST(every_flipped_bit_is_read_right_or_reported)
{
    flip_all(true, 1);
}

TEST(a_store_that_is_opened_for_writing_never_makes_it_worse)
{
    flip_all(false, 13);
}
