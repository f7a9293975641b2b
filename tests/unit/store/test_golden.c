/* Yesterday's store is read as it was written, whoever wrote it.
 *
 * Method: tests/golden/store holds the files of a small store in which there is something of
 * everything (tags, data that is no JSON, limits, a deleted stream, a tombstone, a segment that was
 * scavenged and compressed, one that was not, runs of the index), and in events.txt what reading
 * it gives: every member of every event, metadata, the digest. The files are put on a disk in memory
 * and read; with their index, and without. Only the superblock is also compared byte for byte when
 * it is written: the other files have tests of their own, and how a store divides its log is no
 * matter of formats.
 *
 * STELE_GOLDEN=write writes files and text anew: then they are those of another store, and the ones
 * that went have to be kept under another name if any version was published with them. */
#include "lib/golden.h"
#include "store/store_internal.h"
#include "world.h"

#include <dirent.h>
#include <stdarg.h>

TEST(a_superblock_has_the_bytes_it_always_had)
{
    struct world *world = world_create();
    struct stele_superblock superblock = {
        .partitions = 1000,
        .partition_key = STELE_KEY_CATEGORY,
        .secret = UINT64_C(0x1122334455667788),
        .seed = UINT64_C(0x99aabbccddeeff00),
        .created_us = INT64_C(1750000000123456),
    };
    for (size_t i = 0; i < sizeof superblock.store_id; i++) {
        superblock.store_id[i] = (uint8_t)(i * 16 + 1);
    }
    CHECK_OK(stele_store__superblock_write(&world->disk.io, &superblock, &world->err), world->err);
    const struct memio_inode *inode = memio_find(&world->disk, "stele.store");
    CHECK(inode != NULL);
    check_golden("superblock", inode->cache, inode->size);

    struct stele_superblock back;
    CHECK_OK(stele_store__superblock_read(&world->disk.io, &back, &world->err), world->err);
    CHECK_EQ(back.partitions, superblock.partitions);
    CHECK_EQ(back.partition_key, superblock.partition_key);
    CHECK_EQ(back.secret, superblock.secret);
    CHECK_EQ(back.seed, superblock.seed);
    CHECK_EQ(back.created_us, superblock.created_us);
    CHECK_BYTES_EQ(back.store_id, superblock.store_id, 16);
    memio_kill(&world->disk);
    world_destroy(world);
}

/* ---- What a store says of itself ---- */

static char shown[1 << 20];
static size_t shown_size;

__attribute__((format(printf, 1, 2))) static void show(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    const int size = vsnprintf(shown + shown_size, sizeof shown - shown_size, format, arguments);
    va_end(arguments);
    CHECK(size >= 0 && (size_t)size < sizeof shown - shown_size);
    shown_size += (size_t)size;
}

static void show_bytes(const char *name, const void *data, size_t size)
{
    const uint8_t *bytes = data;
    show(" %s=", name);
    for (size_t i = 0; i < size; i++) {
        if (bytes[i] > ' ' && bytes[i] < 0x7f && bytes[i] != '\\') {
            show("%c", bytes[i]);
        } else {
            show("\\%02x", bytes[i]);
        }
    }
}

static void show_event(const struct stele_event *event)
{
    char id[37] = "";
    for (size_t i = 0; i < 16; i++) {
        (void)snprintf(id + 2 * i, 3, "%02x", event->id[i]);
    }
    show("%llu %s", (unsigned long long)event->position, id);
    show_bytes("stream", event->stream.data, event->stream.size);
    show("@%llu", (unsigned long long)event->revision);
    show_bytes("type", event->type.data, event->type.size);
    show_bytes("content", event->content_type.data, event->content_type.size);
    show(" created=%lld flags=%u", (long long)event->created_us, event->flags);
    show_bytes("data", event->data, event->data_size);
    show_bytes("metadata", event->metadata, event->metadata_size);
    for (uint32_t i = 0, at = 0; i < event->tags_count; i++) {
        show_bytes("tag", event->tags + at + 1, event->tags[at]);
        at += 1u + event->tags[at];
    }
    show("\n");
}

static void show_read(struct world *world, const char *name)
{
    const struct stele_read_options options = STELE_READ_OPTIONS_INIT;
    struct stele_read *read = NULL;
    int outcome = stele_read_begin(world->store, name, &options, false, world->disk.now_us, &read,
                                   &world->err);
    show("%s:\n", name);
    while (outcome == STELE_OK || outcome == STELE_INCOMPLETE) {
        const struct stele_event *events = NULL;
        size_t count = 0;
        outcome = stele_read_next(read, &events, &count, &world->err);
        if (outcome == STELE_INCOMPLETE) {
            CHECK_OK(stele_read_refill(world->store, read, &world->err), world->err);
        }
        for (size_t i = 0; outcome == STELE_OK && i < count; i++) {
            show_event(&events[i]);
        }
    }
    show("%s\n", stele_outcome_name(outcome));
    stele_read_end(world->store, read);
}

static void on_damage(void *context, const struct stele_damage *damage)
{
    (void)context;
    check_failed(__FILE__, __LINE__, "%s: %s", damage->file, damage->what);
}

static void show_digest(struct world *world)
{
    struct stele_verify *verify = NULL;
    struct stele_verify_result result;
    uint64_t done = 0;
    uint64_t total = 0;
    CHECK_OK(stele_verify_begin(world->store, NULL, on_damage, NULL, false, &verify, &world->err),
             world->err);
    int outcome = STELE_OK;
    while (outcome == STELE_OK) {
        outcome = stele_verify_step(verify, &done, &total, &result, &world->err);
    }
    CHECK_EQ(outcome, STELE_END);
    stele_verify_end(world->store, verify);
    CHECK_EQ(result.damages, 0);
    show("%llu events, %s\n", (unsigned long long)result.events, result.digest);
}

static void show_store(struct world *world)
{
    static const char *const names[] = {"$all",     "order-1",   "order-2",    "gone-1",
                                        "closed-1", "$ce-order", "$et-Placed", "$et-$metadata"};
    shown_size = 0;
    for (size_t i = 0; i < STELE_COUNT_OF(names); i++) {
        show_read(world, names[i]);
    }
    show_digest(world);
}

/* ---- The store ---- */

static void append(struct world *world, const char *stream, const char *type, const char *data,
                   const char *content_type, const char *const *tags, size_t tags_count)
{
    struct stele_event_draft draft = {.type = type,
                                      .data = data,
                                      .data_size = strlen(data),
                                      .content_type = content_type,
                                      .metadata = tags_count == 0 ? NULL : "{\"by\":\"ada\"}",
                                      .metadata_size = tags_count == 0 ? 0 : 12,
                                      .tags = tags,
                                      .tags_count = tags_count};
    const uint64_t id = ++world->next_id;
    memcpy(draft.id, &id, sizeof id);
    const struct stele_append part = {
        .stream = stream, .expected = STELE_EXPECT_ANY, .events = &draft, .count = 1};
    CHECK_OK(world_append_these(world, &part, NULL), world->err);
}

static void close_stream(struct world *world, const char *stream)
{
    struct stele_prepared *prepared = NULL;
    struct stele_ticket ticket;
    struct stele_append_result result;
    CHECK_OK(stele_prepared_create(world->store, &prepared, &world->err), world->err);
    CHECK_OK(stele_prepare_tombstone(prepared, stream, STELE_EXPECT_ANY, world->disk.now_us,
                                     &world->err),
             world->err);
    CHECK_OK(stele_store_append(world->store, prepared, world->disk.now_us, &ticket, NULL, &result,
                                &world->err),
             world->err);
    world_commit(world);
    stele_prepared_destroy(prepared);
}

static void scavenge(struct world *world)
{
    uint64_t base = 0;
    uint64_t removed = 0;
    struct stele_work *piece = NULL;
    while (stele_scavenge_begin(world->store, base, true, world->disk.now_us, NULL, NULL, &piece,
                                &world->err) == STELE_OK) {
        struct stele_log_pack_result packed;
        const int outcome = stele_work_run(piece, &world->err);
        CHECK_OK(stele_scavenge_end(world->store, piece, outcome, &base, &packed, &world->err),
                 world->err);
        removed += packed.events_removed;
    }
    CHECK(removed > 0);
}

static void make_store(struct world *world)
{
    static const char *const tags[] = {"customer:7", "region:\xc3\xb6st"};
    world_open(world);
    append(world, "order-1", "Placed", "{\"total\": 12.50}", NULL, tags, 2);
    append(world, "order-2", "Placed", "{}", NULL, NULL, 0);
    for (int i = 0; i < 8; i++) {
        append(world, "order-2", "Counted", "1", "application/json", NULL, 0);
    }
    append(world, "gone-1", "Placed", "plain text", "text/plain", tags, 1);
    append(world, "closed-1", "Placed", "", NULL, NULL, 0);
    append(world, "$$order-2", "$metadata", "{\"$maxCount\":3,\"own\":[1]}", NULL, NULL, 0);
    append(world, "$$gone-1", "$metadata", "{\"$tb\":1}", NULL, NULL, 0);
    close_stream(world, "closed-1");
    (void)world_work(world, false);
    CHECK_OK(stele_store_roll(world->store, 1, &world->err), world->err);
    append(world, "order-1", "Paid", "\xff\x01", "application/octet-stream", NULL, 0);
    scavenge(world);
    (void)world_work(world, true);
    append(world, "order-1", "Sent", "null", NULL, tags, 2); /* Of no run yet. */
    world_close(world);
}

static void write_store(struct world *world)
{
    for (uint32_t i = 0; i < world->disk.names.count; i++) {
        const struct memio_name *name = &world->disk.names.entries[i];
        char path[512];
        golden_path(path, sizeof path, name->name);
        write_golden(path, name->inode->cache, name->inode->size);
    }
    world_open(world);
    show_store(world);
    world_close(world);
    FILE *const file = fopen(GOLDEN_DIR "/events.txt", "w");
    CHECK(file != NULL);
    CHECK_EQ(fwrite(shown, 1, shown_size, file), shown_size);
    CHECK_EQ(fclose(file), 0);
}

/* Returns how many files have a name that ends so; with_index: or that are the index's. */
static size_t put_store(struct world *world, bool with_index, const char *end)
{
    static uint8_t bytes[1 << 20];
    size_t counted = 0;
    DIR *const directory = opendir(GOLDEN_DIR);
    CHECK(directory != NULL);
    for (const struct dirent *entry; (entry = readdir(directory)) != NULL;) {
        char name[STELE_FILE_NAME_MAX];
        const char *const hex = strstr(entry->d_name, ".hex");
        const bool is_run = strstr(entry->d_name, ".run") != NULL;
        if (hex == NULL || strcmp(entry->d_name, "superblock.hex") == 0 ||
            (is_run && !with_index)) {
            continue;
        }
        (void)snprintf(name, sizeof name, "%.*s", (int)(hex - entry->d_name), entry->d_name);
        counted += strstr(name, end) != NULL;
        char path[512];
        golden_path(path, sizeof path, name);
        const size_t size = read_golden(path, bytes, sizeof bytes);
        memio_put(&world->disk, name, (struct stele_bytes){.data = bytes, .size = size});
    }
    CHECK_EQ(closedir(directory), 0);
    return counted;
}

static void check_shown(struct world *world)
{
    static char want[sizeof shown];
    FILE *const file = fopen(GOLDEN_DIR "/events.txt", "r");
    CHECK(file != NULL);
    const size_t size = fread(want, 1, sizeof want - 1, file);
    (void)fclose(file);
    want[size] = '\0';
    show_store(world);
    CHECK_TEXT_EQ(shown, want);
}

TEST(yesterdays_store_is_read_as_it_was_written)
{
    if (golden_is_written()) {
        struct world *world = world_create();
        make_store(world);
        write_store(world);
        world_destroy(world);
    }
    for (int kind = 0; kind < 3; kind++) {
        struct world *world = world_create();
        world->disk.now_us += 86400 * INT64_C(1000000);
        world->options.read_only = kind == 0;
        CHECK_EQ(put_store(world, kind != 2, ".pak"), 1);
        world_open(world);
        (void)world_work(world, false); /* Builds the index again where it is missing. */
        check_shown(world);
        if (kind > 0) {
            append(world, "order-1", "Returned", "{}", NULL, NULL, 0); /* And it goes on. */
        }
        world_destroy(world);
    }
}
