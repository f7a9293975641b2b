/* A run has the same bytes for ever: those of run-1.txt, byte by byte, and they can be read.
 *
 * run-1.txt holds what is not zero of the file, 16 bytes a line. When the format changes on purpose
 * there will be a run-2.txt beside it, and run-1.txt stays readable. GOLDEN_WRITE=path in the
 * environment writes what the code makes now. */
#include "base/compiler.h"
#include "index/index_internal.h"
#include "lib/check.h"
#include "lib/memio.h"
#include "lib/testalloc.h"

#define SEED UINT64_C(0x0123456789abcdef)
#define LINE 16
#define FILE_SIZE_MAX 65536
#define RUN "0000000000001000-0000000000002000.run"

struct golden_event {
    uint64_t place;
    uint64_t revision;
    const char *stream;
    const char *category;
    const char *type;
    const char *tag; /* NULL: none. */
    uint32_t flags;
};

static const struct golden_event events[] = {
    {0x1040, 0, "account-1", "account", "opened", "vip", 0},
    {0x10c0, 1, "account-1", "account", "deposited", NULL, 0},
    {0x1140, 0, "account-2", "account", "opened", NULL, 0},
    {0x1200, 7, "order-\xc3\xa9", "order", "placed", "vip", 0}, /* 0 to 6 were scavenged. */
    {0x1280, 9, "order-\xc3\xa9", "order", "placed", NULL, 0},  /* So was 8. */
    {0x1f00, 2, "account-1", "account", "closed", NULL, STELE_INDEX_TOMBSTONED},
};

static struct testalloc alloc;
static struct memio disk;
static struct stele_index_options options;

static void begin(void)
{
    testalloc_init(&alloc, 1);
    memio_init(&disk, &alloc.base, 1);
    options = (struct stele_index_options){.seed = SEED};
    for (uint8_t i = 0; i < sizeof options.store_id; i++) {
        options.store_id[i] = (uint8_t)(0xf0 + i);
    }
}

static void end(struct stele_index *index)
{
    stele_index_close(index);
    memio_deinit(&disk);
    CHECK_EQ(alloc.bytes, 0);
}

static void fill(struct stele_index *index)
{
    struct stele_index_job *job = NULL;
    uint64_t from = 0;
    uint64_t to = 0;
    stele_index_add_hole(index, 0x2000);
    CHECK_EQ(stele_index_fill_begin(index, UINT64_MAX, &from, &to, &job), STELE_OK);
    for (size_t i = 0; i < STELE_COUNT_OF(events); i++) {
        const struct golden_event *event = &events[i];
        uint8_t id[16] = {(uint8_t)i};
        uint8_t tags[16] = {0};
        if (event->tag != NULL) {
            tags[0] = (uint8_t)strlen(event->tag);
            memcpy(tags + 1, event->tag, strlen(event->tag));
        }
        CHECK_EQ(stele_index_fill_add(
                     job, event->place, id, event->revision, stele_bytes_of_text(event->stream),
                     stele_bytes_of_text(event->category), stele_bytes_of_text(event->type), tags,
                     event->tag != NULL, event->flags),
                 STELE_OK);
    }
    stele_index_fill_set_end(job, to);
    CHECK_EQ(stele_index_job_run(job, NULL, NULL, NULL), STELE_OK);
    CHECK_EQ(stele_index_job_end(index, job, STELE_OK, NULL), STELE_OK);
}

static void write_text(const char *path, const struct memio_inode *inode)
{
    FILE *file = fopen(path, "w");
    CHECK(file != NULL);
    (void)fprintf(file, "size %llu\n", (unsigned long long)inode->size);
    for (uint64_t at = 0; at < inode->size; at += LINE) {
        static const uint8_t zeros[LINE];
        const size_t size = inode->size - at < LINE ? (size_t)(inode->size - at) : LINE;
        if (memcmp(inode->cache + at, zeros, size) != 0) {
            (void)fprintf(file, "%06llx ", (unsigned long long)at);
            for (size_t i = 0; i < size; i++) {
                (void)fprintf(file, " %02x", inode->cache[at + i]);
            }
            (void)fprintf(file, "\n");
        }
    }
    CHECK_EQ(fclose(file), 0);
}

static struct stele_bytes read_text(void)
{
    static uint8_t bytes[FILE_SIZE_MAX];
    FILE *file = fopen(GOLDEN_DIR "/run-1.txt", "r");
    CHECK(file != NULL);
    unsigned long long size = 0;
    unsigned long long at = 0;
    CHECK_EQ(fscanf(file, "size %llu", &size), 1);
    CHECK(size <= sizeof bytes);
    memset(bytes, 0, sizeof bytes);
    while (fscanf(file, "%6llx", &at) == 1) {
        CHECK(at < size);
        const size_t count = size - at < LINE ? (size_t)(size - at) : LINE;
        for (size_t i = 0; i < count; i++) {
            unsigned value = 0;
            CHECK_EQ(fscanf(file, " %2x", &value), 1);
            bytes[at + i] = (uint8_t)value;
        }
    }
    CHECK_EQ(fclose(file), 0);
    return (struct stele_bytes){.data = bytes, .size = (size_t)size};
}

TEST(a_run_is_written_as_ever)
{
    begin();
    struct stele_index *index = NULL;
    CHECK_EQ(stele_index_open(&disk.io, &options, 0x1000, 0x2000, &index, NULL), STELE_OK);
    fill(index);
    const struct memio_inode *inode = memio_find(&disk, RUN);
    CHECK(inode != NULL);
    const char *path = getenv("GOLDEN_WRITE");
    if (path != NULL) {
        write_text(path, inode);
    }
    const struct stele_bytes wanted = read_text();
    CHECK_EQ(inode->size, wanted.size);
    CHECK_BYTES_EQ(inode->cache, wanted.data, wanted.size);
    end(index);
}

static void check_places(struct stele_index_view *view, uint8_t space, const char *name,
                         const uint64_t *wanted, size_t wanted_count)
{
    const struct stele_index_key key = stele_index_key(SEED, space, stele_bytes_of_text(name));
    uint64_t places[16];
    size_t count = 0;
    const char *damaged = NULL;
    CHECK_EQ(stele_index_view_places(view, &key, 0, 16, places, &count, &damaged), STELE_OK);
    CHECK_EQ(count, wanted_count);
    CHECK_BYTES_EQ(places, wanted, count * sizeof *places);
}

#define GONE UINT64_MAX
#define CHECK_PLACES(view, space, name, ...)                                                       \
    do {                                                                                           \
        const uint64_t wanted[] = {__VA_ARGS__};                                                   \
        check_places((view), (space), (name), wanted, STELE_COUNT_OF(wanted));                     \
    } while (0)

TEST(the_bytes_of_version_1_are_understood)
{
    begin();
    memio_put(&disk, RUN, read_text());
    struct stele_index *index = NULL;
    CHECK_EQ(stele_index_open(&disk.io, &options, 0x1000, 0x2000, &index, NULL), STELE_OK);
    CHECK_EQ(stele_index_runs(index), 1);
    CHECK_EQ(stele_index_names(index, STELE_SPACE_STREAM), 2); /* The third begins at 7. */
    CHECK_EQ(stele_index_names(index, STELE_SPACE_TYPE), 4);
    struct stele_index_view *view = stele_index_view_acquire(index);
    uint64_t entries = 0;
    CHECK_EQ(stele_index_verify(view, NULL, NULL, &entries, NULL), STELE_OK);
    CHECK_EQ(entries, 21);
    CHECK_PLACES(view, STELE_SPACE_STREAM, "account-1", 0x1040, 0x10c0, 0x1f00);
    CHECK_PLACES(view, STELE_SPACE_STREAM, "account-2", 0x1140);
    CHECK_PLACES(view, STELE_SPACE_STREAM, "order-\xc3\xa9", GONE, GONE, GONE, GONE, GONE, GONE,
                 GONE, 0x1200, GONE, 0x1280);
    CHECK_PLACES(view, STELE_SPACE_CATEGORY, "account", 0x1040, 0x10c0, 0x1140, 0x1f00);
    CHECK_PLACES(view, STELE_SPACE_TYPE, "placed", 0x1200, 0x1280);
    CHECK_PLACES(view, STELE_SPACE_TAG, "vip", 0x1040, 0x1200);
    stele_index_view_release(view);
    end(index);
}
