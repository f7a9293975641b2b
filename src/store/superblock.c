/* The file "stele.store": what a store is, written once. Two equal copies, at 0 and at 4096:
 *
 *     offset  size  field
 *          0     8  magic "STELESTO"
 *          8     4  version        1
 *         12     4  partitions     1 … 1024
 *         16     4  partition_key  STELE_KEY_…
 *         20     4  flags          1: the store is a node's of a cluster; 2: events were copied from
 *                                  another store, what that one had scavenged is missing
 *         24    16  store id
 *         40     8  secret         see log/frame.h
 *         48     8  seed           of the index's hashes
 *         56     8  created_us
 *         64     4  checksum       CRC-32C of bytes 0 … 63
 *
 * Two copies, because nothing can be read without it. Version and checksum stand at
 * the same place in every version, so that an old program can say that a store is newer than
 * itself. */
#include "store/store_internal.h"

#define COPY_SIZE 68
#define COPY_STRIDE 4096
#define FILE_SIZE (2 * COPY_STRIDE)
#define VERSION 1
#define FLAG_ORDERED 1U
#define FLAG_COPIED 2U
#define TEMPORARY_NAME "stele.tmp"

static const uint8_t magic[8] = {'S', 'T', 'E', 'L', 'E', 'S', 'T', 'O'};

static void encode(uint8_t bytes[COPY_SIZE], const struct stele_superblock *from)
{
    memset(bytes, 0, COPY_SIZE);
    memcpy(bytes, magic, sizeof magic);
    stele_store_u32le(bytes + 8, VERSION);
    stele_store_u32le(bytes + 12, from->partitions);
    stele_store_u32le(bytes + 16, from->partition_key);
    stele_store_u32le(bytes + 20,
                      (from->ordered ? FLAG_ORDERED : 0) | (from->copied ? FLAG_COPIED : 0));
    memcpy(bytes + 24, from->store_id, 16);
    stele_store_u64le(bytes + 40, from->secret);
    stele_store_u64le(bytes + 48, from->seed);
    stele_store_u64le(bytes + 56, (uint64_t)from->created_us);
    stele_store_u32le(bytes + 64, stele_crc32c((struct stele_bytes){.data = bytes, .size = 64}));
}

static int decode(const uint8_t bytes[COPY_SIZE], struct stele_superblock *out)
{
    if (memcmp(bytes, magic, sizeof magic) != 0) {
        return STELE_E_CORRUPT;
    }
    if (stele_load_u32le(bytes + 64) !=
        stele_crc32c((struct stele_bytes){.data = bytes, .size = 64})) {
        return STELE_E_CORRUPT;
    }
    const uint32_t flags = stele_load_u32le(bytes + 20);
    if (stele_load_u32le(bytes + 8) != VERSION || (flags & ~(FLAG_ORDERED | FLAG_COPIED)) != 0) {
        return STELE_E_FORMAT;
    }
    *out = (struct stele_superblock){
        .partitions = stele_load_u32le(bytes + 12),
        .partition_key = stele_load_u32le(bytes + 16),
        .ordered = (flags & FLAG_ORDERED) != 0,
        .copied = (flags & FLAG_COPIED) != 0,
        .secret = stele_load_u64le(bytes + 40),
        .seed = stele_load_u64le(bytes + 48),
        .created_us = (int64_t)stele_load_u64le(bytes + 56),
    };
    memcpy(out->store_id, bytes + 24, 16);
    const bool sound = out->partitions >= 1 && out->partitions <= STELE_PARTITIONS_MAX &&
                       out->partition_key <= STELE_KEY_CATEGORY;
    return sound ? STELE_OK : STELE_E_CORRUPT;
}

/* Is this one of the files that a creation that was cut short may leave behind? */
static int on_foreign_name(void *context, const char *name, uint64_t size)
{
    (void)size;
    bool *foreign = context;
    *foreign = *foreign || (strcmp(name, TEMPORARY_NAME) != 0 && strcmp(name, "lock") != 0 &&
                            strcmp(name, "live") != 0);
    return STELE_OK;
}

static int check_empty(struct stele_io *io, struct stele_error *err)
{
    bool foreign = false;
    const int outcome = io->ops->list(io, on_foreign_name, &foreign, err);
    if (outcome != STELE_OK) {
        return outcome;
    }
    if (foreign) {
        return stele_fail(err, STELE_E_NOT_A_STORE, 0,
                          "the directory has files but no %s: it is not a Stele store; "
                          "choose an empty or a new directory",
                          STELE_SUPERBLOCK_NAME);
    }
    return STELE_NOT_FOUND;
}

int stele_store__superblock_read(struct stele_io *io, struct stele_superblock *out,
                                 struct stele_error *err)
{
    struct stele_file *file = NULL;
    int outcome = io->ops->open(io, STELE_SUPERBLOCK_NAME, false, &file, err);
    if (outcome == STELE_NOT_FOUND) {
        const int empty = check_empty(io, err);
        if (empty != STELE_E_NOT_A_STORE) {
            return empty;
        }
        /* Another process may be making the store: its other files come after this one. */
        struct stele_error words = {.outcome = STELE_OK};
        outcome = io->ops->open(io, STELE_SUPERBLOCK_NAME, false, &file, &words);
        if (outcome == STELE_NOT_FOUND) {
            return empty;
        }
        if (outcome != STELE_OK && err != NULL) {
            *err = words;
        }
    }
    if (outcome != STELE_OK) {
        return outcome;
    }
    int best = STELE_E_CORRUPT;
    for (uint64_t copy = 0; copy < 2 && best != STELE_OK; copy++) {
        uint8_t bytes[COPY_SIZE];
        size_t size = 0;
        const int read =
            io->ops->read(file, copy * COPY_STRIDE, bytes, sizeof bytes, false, &size, err);
        if (read != STELE_OK) {
            best = best == STELE_E_FORMAT ? best : read;
            continue;
        }
        const int decoded = size == sizeof bytes ? decode(bytes, out) : STELE_E_CORRUPT;
        best = decoded == STELE_E_CORRUPT ? best : decoded;
    }
    io->ops->close(file);
    if (best == STELE_E_CORRUPT) {
        return stele_fail(err, best, 0,
                          "%s: neither of its two copies is intact; restore this one file from a "
                          "backup, the events are not touched",
                          STELE_SUPERBLOCK_NAME);
    }
    if (best == STELE_E_FORMAT) {
        return stele_fail(err, best, 0,
                          "%s: written by a newer version of Stele; open it with that version",
                          STELE_SUPERBLOCK_NAME);
    }
    return best;
}

int stele_store__superblock_write(struct stele_io *io, const struct stele_superblock *superblock,
                                  struct stele_error *err)
{
    uint8_t bytes[COPY_SIZE];
    encode(bytes, superblock);
    struct stele_file *file = NULL;
    int outcome = io->ops->create(io, TEMPORARY_NAME, FILE_SIZE, true, &file, err);
    if (outcome != STELE_OK) {
        return outcome;
    }
    const struct stele_bytes copy = {.data = bytes, .size = sizeof bytes};
    outcome = io->ops->write(file, 0, copy, err);
    if (outcome == STELE_OK) {
        outcome = io->ops->write(file, COPY_STRIDE, copy, err);
    }
    /* The content has to be durable before the name is: the name says that there is a store. */
    if (outcome == STELE_OK) {
        outcome = io->ops->sync(file, err);
    }
    io->ops->close(file);
    if (outcome == STELE_OK) {
        outcome = io->ops->rename(io, TEMPORARY_NAME, STELE_SUPERBLOCK_NAME, err);
    }
    if (outcome == STELE_OK) {
        outcome = io->ops->sync_names(io, err);
    }
    return outcome;
}
