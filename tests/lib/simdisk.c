#include "simdisk.h"

#include "base/checksum.h"

#include <errno.h>
#include <stdlib.h>

struct simdisk_inode {
    struct simdisk_inode *next;
    uint64_t number;
    uint32_t handles;
    uint32_t syncs; /* Begun, not ended. */
    bool mapped;
    bool error;            /* A write-back failed: the next sync says so, once. */
    uint64_t size;         /* As the system knows it … */
    uint64_t size_durable; /* … and the device. */
    uint64_t capacity;     /* Of the images, a multiple of the sector. */
    uint8_t *cache;
    uint8_t *device;
    uint64_t *written; /* For each sector the sequence of its newest write, 0 when it is clean. */
    uint64_t *settled; /* And of the write that the device has. */
    uint32_t *dirty;   /* Sectors that are not clean, each once. */
    size_t dirty_count, dirty_capacity;
    uint32_t *lost; /* Clean sectors that the device does not have. May repeat. */
    size_t lost_count, lost_capacity;
};

struct simdisk_entry {
    char name[STELE_FILE_NAME_MAX];
    struct simdisk_inode *inode;   /* NULL: no such name. */
    struct simdisk_inode *durable; /* After a power cut. */
};

struct simdisk_name_op {
    char name[STELE_FILE_NAME_MAX];
    struct simdisk_inode *inode;    /* NULL: removed. */
    char from[STELE_FILE_NAME_MAX]; /* Of a rename; "" otherwise. */
};

struct simdisk_sync {
    struct simdisk *disk;
    struct simdisk_inode *inode;
    uint64_t size;
    uint64_t calls; /* disk->generation at begin. */
    size_t count;
    uint32_t *sectors;
    uint64_t *sequences;
    uint8_t *copies;
};

struct simdisk_damage_record {
    uint64_t inode;
    uint64_t sector;
    uint8_t before[SIMDISK_SECTOR];
    uint8_t after[SIMDISK_SECTOR];
};

struct simdisk_file {
    struct stele_file base;
    struct simdisk_inode *inode;
    bool writable;
};

enum simdisk_call {
    CALL_CREATE = 1,
    CALL_OPEN,
    CALL_WRITE,
    CALL_SYNC,
    CALL_READ,
    CALL_MAP,
    CALL_RENAME,
    CALL_REMOVE,
    CALL_SYNC_NAMES,
    CALL_LIST,
};

static struct simdisk *disk_of(struct stele_io *io)
{
    return (struct simdisk *)io;
}

static void *must(void *memory)
{
    STELE_ASSERT(memory != NULL);
    return memory;
}

static void *grown(void *items, size_t count, size_t *capacity, size_t item_size)
{
    if (count < *capacity) {
        return items;
    }
    *capacity = *capacity == 0 ? 16 : *capacity * 2;
    return must(realloc(items, *capacity * item_size));
}

static void fold(struct simdisk *disk, uint64_t value)
{
    disk->hash = (disk->hash ^ value) * UINT64_C(0x9ddfea08eb382d69);
    disk->hash ^= disk->hash >> 29;
}

static void fold_call(struct simdisk *disk, enum simdisk_call call, const char *name, uint64_t a,
                      uint64_t b)
{
    fold(disk, (uint64_t)call << 56 ^ a << 20 ^ b);
    if (name != NULL) {
        fold(disk, stele_hash64(stele_bytes_of_text(name), 0));
    }
}

/* ---- Entering a call ---- */

enum entry {
    ENTER_GO,
    ENTER_FAIL, /* With an error; the effect may be partly there. */
    ENTER_DIE,  /* As above, and the process is dead from here on. */
    ENTER_DEAD, /* Nothing happens. */
};

static enum entry enter(struct simdisk *disk, uint32_t error_one_in, bool changes)
{
    if (disk->dead) {
        return ENTER_DEAD;
    }
    STELE_ASSERT(!(changes && disk->read_only));
    disk->counts.calls++;
    if (disk->die_after > 0 && --disk->die_after == 0) {
        disk->dead = true;
        return ENTER_DIE;
    }
    if (rng_one_in(&disk->rng, disk->faults.writeback)) {
        simdisk_writeback(disk);
    }
    if (disk->broken && changes) {
        disk->counts.errors++;
        return ENTER_FAIL;
    }
    if (rng_one_in(&disk->rng, error_one_in)) {
        disk->counts.errors++;
        disk->broken = changes && rng_one_in(&disk->rng, disk->faults.sticky);
        return ENTER_FAIL;
    }
    return ENTER_GO;
}

static int fail_io(struct stele_error *err, const char *name, const char *step)
{
    return stele_fail(err, STELE_E_IO, EIO, "%s: %s failed", name, step);
}

/* ---- Inodes ---- */

static void inode_make_room(struct simdisk_inode *inode, uint64_t size)
{
    uint64_t capacity = stele_align_up(size, SIMDISK_SECTOR);
    if (capacity <= inode->capacity) {
        return;
    }
    STELE_ASSERT(!inode->mapped);
    if (capacity < inode->capacity * 2) {
        capacity = inode->capacity * 2;
    }
    const size_t old = inode->capacity;
    const size_t sectors_old = old / SIMDISK_SECTOR;
    const size_t sectors = capacity / SIMDISK_SECTOR;
    uint8_t *cache = must(calloc(1, capacity));
    uint8_t *device = must(calloc(1, capacity));
    uint64_t *written = must(calloc(sectors, sizeof *written));
    uint64_t *settled = must(calloc(sectors, sizeof *settled));
    if (old > 0) {
        memcpy(cache, inode->cache, old);
        memcpy(device, inode->device, old);
        memcpy(written, inode->written, sectors_old * sizeof *written);
        memcpy(settled, inode->settled, sectors_old * sizeof *settled);
    }
    free(inode->cache);
    free(inode->device);
    free(inode->written);
    free(inode->settled);
    inode->cache = cache;
    inode->device = device;
    inode->written = written;
    inode->settled = settled;
    inode->capacity = capacity;
}

static struct simdisk_inode *inode_create(struct simdisk *disk, uint64_t size)
{
    struct simdisk_inode *inode = must(calloc(1, sizeof *inode));
    inode->number = ++disk->sequence;
    inode->size = size;
    inode_make_room(inode, size == 0 ? SIMDISK_SECTOR : size);
    inode->next = disk->inodes;
    disk->inodes = inode;
    return inode;
}

static void inode_destroy(struct simdisk_inode *inode)
{
    free(inode->cache);
    free(inode->device);
    free(inode->written);
    free(inode->settled);
    free(inode->dirty);
    free(inode->lost);
    free(inode);
}

static bool inode_is_reachable(const struct simdisk *disk, const struct simdisk_inode *inode)
{
    if (inode->handles > 0 || inode->syncs > 0) {
        return true;
    }
    for (size_t i = 0; i < disk->entries_count; i++) {
        if (disk->entries[i].inode == inode || disk->entries[i].durable == inode) {
            return true;
        }
    }
    for (size_t i = 0; i < disk->name_ops_count; i++) {
        if (disk->name_ops[i].inode == inode) {
            return true;
        }
    }
    return false;
}

static void collect(struct simdisk *disk)
{
    struct simdisk_inode **at = &disk->inodes;
    while (*at != NULL) {
        struct simdisk_inode *inode = *at;
        if (inode_is_reachable(disk, inode)) {
            at = &inode->next;
        } else {
            *at = inode->next;
            inode_destroy(inode);
        }
    }
}

static void mark_dirty(struct simdisk *disk, struct simdisk_inode *inode, size_t sector)
{
    if (inode->written[sector] == 0) {
        inode->dirty =
            grown(inode->dirty, inode->dirty_count, &inode->dirty_capacity, sizeof *inode->dirty);
        inode->dirty[inode->dirty_count++] = (uint32_t)sector;
    }
    inode->written[sector] = ++disk->sequence;
}

/* Brings a sector to the device, as it was at a sequence. */
static void settle(struct simdisk_inode *inode, size_t sector, uint64_t sequence,
                   const uint8_t *content)
{
    if (sequence > inode->settled[sector]) {
        memcpy(inode->device + sector * SIMDISK_SECTOR, content, SIMDISK_SECTOR);
        inode->settled[sector] = sequence;
    }
    if (inode->written[sector] <= inode->settled[sector]) {
        inode->written[sector] = 0;
    }
}

static void settle_newest(struct simdisk_inode *inode, size_t sector)
{
    if (inode->written[sector] != 0) {
        settle(inode, sector, inode->written[sector], inode->cache + sector * SIMDISK_SECTOR);
    }
}

/* The system believes that it wrote this one, and the device does not have it. */
static void lose(struct simdisk *disk, struct simdisk_inode *inode, size_t sector)
{
    if (inode->written[sector] == 0) {
        return;
    }
    inode->written[sector] = 0;
    inode->lost = grown(inode->lost, inode->lost_count, &inode->lost_capacity, sizeof *inode->lost);
    inode->lost[inode->lost_count++] = (uint32_t)sector;
    disk->counts.sectors_lost++;
}

static void forget_clean(struct simdisk_inode *inode)
{
    size_t count = 0;
    for (size_t i = 0; i < inode->dirty_count; i++) {
        if (inode->written[inode->dirty[i]] != 0) {
            inode->dirty[count++] = inode->dirty[i];
        }
    }
    inode->dirty_count = count;
}

/* Pages that lie to the cache leave it. */
static void evict(struct simdisk_inode *inode)
{
    for (size_t i = 0; i < inode->lost_count; i++) {
        const size_t sector = inode->lost[i];
        if (inode->written[sector] == 0) {
            memcpy(inode->cache + sector * SIMDISK_SECTOR, inode->device + sector * SIMDISK_SECTOR,
                   SIMDISK_SECTOR);
        }
    }
    inode->lost_count = 0;
}

/* ---- Names ---- */

static size_t entry_at(const struct simdisk *disk, const char *name, bool *out_found)
{
    size_t lo = 0;
    size_t hi = disk->entries_count;
    while (lo < hi) {
        const size_t middle = (lo + hi) / 2;
        const int order = strcmp(disk->entries[middle].name, name);
        if (order == 0) {
            *out_found = true;
            return middle;
        }
        if (order < 0) {
            lo = middle + 1;
        } else {
            hi = middle;
        }
    }
    *out_found = false;
    return lo;
}

static struct simdisk_entry *entry_find(const struct simdisk *disk, const char *name)
{
    bool found = false;
    const size_t at = entry_at(disk, name, &found);
    return found ? &disk->entries[at] : NULL;
}

static struct simdisk_entry *entry_make(struct simdisk *disk, const char *name)
{
    bool found = false;
    const size_t at = entry_at(disk, name, &found);
    if (!found) {
        STELE_ASSERT(strlen(name) < STELE_FILE_NAME_MAX && strchr(name, '/') == NULL);
        disk->entries = grown(disk->entries, disk->entries_count, &disk->entries_capacity,
                              sizeof *disk->entries);
        memmove(disk->entries + at + 1, disk->entries + at,
                (disk->entries_count - at) * sizeof *disk->entries);
        disk->entries_count++;
        memset(&disk->entries[at], 0, sizeof disk->entries[at]);
        strcpy(disk->entries[at].name, name);
    }
    return &disk->entries[at];
}

static void entries_trim(struct simdisk *disk)
{
    size_t count = 0;
    for (size_t i = 0; i < disk->entries_count; i++) {
        if (disk->entries[i].inode != NULL || disk->entries[i].durable != NULL) {
            disk->entries[count++] = disk->entries[i];
        }
    }
    disk->entries_count = count;
}

static void name_op(struct simdisk *disk, const char *name, struct simdisk_inode *inode,
                    const char *from)
{
    disk->name_ops = grown(disk->name_ops, disk->name_ops_count, &disk->name_ops_capacity,
                           sizeof *disk->name_ops);
    struct simdisk_name_op *op = &disk->name_ops[disk->name_ops_count++];
    memset(op, 0, sizeof *op);
    strcpy(op->name, name);
    strcpy(op->from, from);
    op->inode = inode;
    if (from[0] != '\0') {
        entry_make(disk, from)->inode = NULL;
    }
    entry_make(disk, name)->inode = inode;
}

static void name_op_settle(struct simdisk *disk, const struct simdisk_name_op *op)
{
    if (op->from[0] != '\0') {
        entry_make(disk, op->from)->durable = NULL;
    }
    entry_make(disk, op->name)->durable = op->inode;
}

static void name_ops_settle(struct simdisk *disk, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        name_op_settle(disk, &disk->name_ops[i]);
    }
    disk->name_ops_count -= count;
    if (disk->name_ops_count > 0) {
        memmove(disk->name_ops, disk->name_ops + count,
                disk->name_ops_count * sizeof *disk->name_ops);
    }
}

uint64_t simdisk_used(const struct simdisk *disk)
{
    uint64_t used = 0;
    for (const struct simdisk_inode *inode = disk->inodes; inode != NULL; inode = inode->next) {
        used += inode->size;
    }
    return used;
}

/* Would this many bytes more be too many, or shall it look like that? */
static bool is_full(struct simdisk *disk, uint64_t more)
{
    bool full = rng_one_in(&disk->rng, disk->faults.no_space);
    if (!full && disk->faults.capacity != 0 && more > 0) {
        collect(disk);
        full = simdisk_used(disk) + more > disk->faults.capacity;
    }
    disk->counts.no_space += full;
    return full;
}

/* ---- The calls ---- */

static struct stele_file *handle(struct simdisk *disk, const char *name,
                                 struct simdisk_inode *inode, bool writable)
{
    struct simdisk_file *file = must(calloc(1, sizeof *file));
    file->base.io = &disk->io;
    strcpy(file->base.name, name);
    file->inode = inode;
    file->writable = writable;
    inode->handles++;
    disk->open_files++;
    return &file->base;
}

static int simdisk_io_create(struct stele_io *io, const char *name, uint64_t size, bool prepare,
                             struct stele_file **out_file, struct stele_error *err)
{
    (void)prepare;
    struct simdisk *disk = disk_of(io);
    const enum entry entry = enter(disk, disk->faults.name_error, true);
    fold_call(disk, CALL_CREATE, name, size, entry);
    if (entry == ENTER_DEAD) {
        return fail_io(err, name, "create");
    }
    if (entry == ENTER_GO && is_full(disk, size)) {
        /* What was made is either left behind, too short, or removed again. */
        if (rng_percent(&disk->rng, 50)) {
            name_op(disk, name, inode_create(disk, rng_below(&disk->rng, size + 1)), "");
        }
        return stele_fail(err, STELE_E_NO_SPACE, ENOSPC, "%s: create failed", name);
    }
    if (entry != ENTER_GO) {
        if (rng_percent(&disk->rng, 50)) {
            name_op(disk, name, inode_create(disk, rng_below(&disk->rng, size + 1)), "");
        }
        return fail_io(err, name, "create");
    }
    struct simdisk_inode *inode = inode_create(disk, size);
    name_op(disk, name, inode, "");
    *out_file = handle(disk, name, inode, true);
    return STELE_OK;
}

static int simdisk_io_open(struct stele_io *io, const char *name, bool writable,
                           struct stele_file **out_file, struct stele_error *err)
{
    struct simdisk *disk = disk_of(io);
    const enum entry entry = enter(disk, disk->faults.name_error, false);
    fold_call(disk, CALL_OPEN, name, writable, entry);
    if (entry != ENTER_GO) {
        return fail_io(err, name, "open");
    }
    STELE_ASSERT(!(writable && disk->read_only));
    const struct simdisk_entry *found = entry_find(disk, name);
    if (found == NULL || found->inode == NULL) {
        return stele_fail(err, STELE_NOT_FOUND, ENOENT, "%s: open failed", name);
    }
    *out_file = handle(disk, name, found->inode, writable);
    return STELE_OK;
}

static void simdisk_io_close(struct stele_file *base)
{
    struct simdisk_file *file = (struct simdisk_file *)base;
    struct simdisk *disk = disk_of(base->io);
    STELE_ASSERT(file->inode->handles > 0 && disk->open_files > 0);
    file->inode->handles--;
    disk->open_files--;
    if (file->inode->handles == 0) {
        file->inode->mapped = false;
    }
    free(file);
}

static int simdisk_io_size(struct stele_file *base, uint64_t *out_size, struct stele_error *err)
{
    const struct simdisk_file *file = (const struct simdisk_file *)base;
    if (disk_of(base->io)->dead) {
        return fail_io(err, base->name, "stat");
    }
    *out_size = file->inode->size;
    return STELE_OK;
}

static void put(struct simdisk *disk, struct simdisk_inode *inode, uint64_t offset,
                struct stele_bytes bytes)
{
    if (bytes.size == 0) {
        return;
    }
    inode_make_room(inode, offset + bytes.size);
    memcpy(inode->cache + offset, bytes.data, bytes.size);
    const size_t last = (offset + bytes.size - 1) / SIMDISK_SECTOR;
    for (size_t sector = offset / SIMDISK_SECTOR; sector <= last; sector++) {
        mark_dirty(disk, inode, sector);
    }
    if (offset + bytes.size > inode->size) {
        inode->size = offset + bytes.size;
    }
}

static int simdisk_io_write(struct stele_file *base, uint64_t offset, struct stele_bytes bytes,
                            struct stele_error *err)
{
    const struct simdisk_file *file = (const struct simdisk_file *)base;
    struct simdisk *disk = disk_of(base->io);
    const enum entry entry = enter(disk, disk->faults.write_error, true);
    fold_call(disk, CALL_WRITE, base->name, offset, bytes.size);
    if (entry == ENTER_DEAD) {
        return fail_io(err, base->name, "write");
    }
    STELE_ASSERT(file->writable);
    fold(disk, stele_hash64(bytes, entry));
    disk->counts.writes++;
    disk->counts.bytes_written += bytes.size;
    const uint64_t end = offset + bytes.size;
    const uint64_t more = end > file->inode->size ? end - file->inode->size : 0;
    const bool full = entry == ENTER_GO && is_full(disk, more);
    if (entry != ENTER_GO || full) {
        const size_t part = rng_below(&disk->rng, bytes.size + 1);
        put(disk, file->inode, offset, stele_bytes_slice(bytes, 0, part));
        return full ? stele_fail(err, STELE_E_NO_SPACE, ENOSPC, "%s: write failed", base->name)
                    : fail_io(err, base->name, "write");
    }
    put(disk, file->inode, offset, bytes);
    return STELE_OK;
}

struct simdisk_sync *simdisk_sync_begin(struct stele_file *base)
{
    return simdisk_sync_range_begin(base, 0, ((struct simdisk_file *)base)->inode->size);
}

struct simdisk_sync *simdisk_sync_range_begin(struct stele_file *base, uint64_t offset,
                                              uint64_t size)
{
    struct simdisk_inode *inode = ((struct simdisk_file *)base)->inode;
    struct simdisk_sync *sync = must(calloc(1, sizeof *sync));
    sync->disk = disk_of(base->io);
    sync->inode = inode;
    STELE_ASSERT(offset + size <= inode->size);
    sync->size = offset + size;
    sync->sectors = must(malloc(inode->dirty_count * sizeof *sync->sectors + 1));
    sync->sequences = must(malloc(inode->dirty_count * sizeof *sync->sequences + 1));
    sync->copies = must(malloc(inode->dirty_count * SIMDISK_SECTOR + 1));
    for (size_t i = 0; i < inode->dirty_count; i++) {
        const size_t sector = inode->dirty[i];
        if ((sector + 1) * SIMDISK_SECTOR <= offset || sector * SIMDISK_SECTOR >= sync->size) {
            continue;
        }
        const size_t at = sync->count++;
        sync->sectors[at] = (uint32_t)sector;
        sync->sequences[at] = inode->written[sector];
        memcpy(sync->copies + at * SIMDISK_SECTOR, inode->cache + sector * SIMDISK_SECTOR,
               SIMDISK_SECTOR);
    }
    inode->syncs++;
    return sync;
}

/* A sync that failed, or that the end of the process cut short: some of it has been done. */
static void sync_part(struct simdisk_sync *sync, bool forget)
{
    struct simdisk *disk = sync->disk;
    struct simdisk_inode *inode = sync->inode;
    const uint64_t percent = rng_below(&disk->rng, 101);
    for (size_t i = 0; i < sync->count; i++) {
        if (rng_percent(&disk->rng, percent)) {
            settle(inode, sync->sectors[i], sync->sequences[i], sync->copies + i * SIMDISK_SECTOR);
        } else if (forget) {
            lose(disk, inode, sync->sectors[i]);
        }
    }
    forget_clean(inode);
}

static void sync_all(struct simdisk_sync *sync)
{
    struct simdisk *disk = sync->disk;
    struct simdisk_inode *inode = sync->inode;
    for (size_t i = 0; i < sync->count; i++) {
        const size_t sector = sync->sectors[i];
        if (inode->written[sector] > sync->sequences[i] && rng_percent(&disk->rng, 50)) {
            settle_newest(inode, sector);
        } else {
            settle(inode, sector, sync->sequences[i], sync->copies + i * SIMDISK_SECTOR);
        }
    }
    forget_clean(inode);
    if (sync->size > inode->size_durable) {
        inode->size_durable = sync->size;
    }
}

int simdisk_sync_end(struct simdisk_sync *sync, struct stele_error *err)
{
    struct simdisk *disk = sync->disk;
    struct simdisk_inode *inode = sync->inode;
    const enum entry entry = enter(disk, disk->faults.sync_error, true);
    fold_call(disk, CALL_SYNC, NULL, inode->number, entry);
    int outcome = STELE_OK;
    disk->counts.syncs += entry != ENTER_DEAD;
    if (entry == ENTER_GO && !inode->error) {
        sync_all(sync);
    } else {
        if (entry == ENTER_DIE) {
            sync_part(sync, false);
        } else if (entry != ENTER_DEAD) {
            disk->counts.errors += entry == ENTER_GO;
            sync_part(sync, true);
            inode->error = false;
        }
        outcome = fail_io(err, "file", "sync");
    }
    inode->syncs--;
    free(sync->sectors);
    free(sync->sequences);
    free(sync->copies);
    free(sync);
    return outcome;
}

static int simdisk_io_sync(struct stele_file *base, struct stele_error *err)
{
    return simdisk_sync_end(simdisk_sync_begin(base), err);
}

static int simdisk_io_write_durable(struct stele_file *base, uint64_t offset,
                                    struct stele_bytes bytes, struct stele_error *err)
{
    int outcome = simdisk_io_write(base, offset, bytes, err);
    if (outcome == STELE_OK) {
        outcome = simdisk_sync_end(simdisk_sync_range_begin(base, offset, bytes.size), err);
    }
    if (outcome != STELE_OK && err != NULL) {
        err->outcome = STELE_E_IO;
    }
    return outcome == STELE_OK ? STELE_OK : STELE_E_IO;
}

static int simdisk_io_read(struct stele_file *base, uint64_t offset, void *buffer, size_t size,
                           bool direct, size_t *out_size, struct stele_error *err)
{
    const struct simdisk_file *file = (const struct simdisk_file *)base;
    struct simdisk_inode *inode = file->inode;
    struct simdisk *disk = disk_of(base->io);
    const enum entry entry = enter(disk, disk->faults.read_error, false);
    fold_call(disk, CALL_READ, base->name, offset, size);
    if (entry != ENTER_GO) {
        return fail_io(err, base->name, "read");
    }
    const uint64_t left = offset < inode->size ? inode->size - offset : 0;
    const size_t got = size < left ? size : (size_t)left;
    if (got > 0 && direct) {
        /* Linux writes what is dirty in the range before it asks the device. */
        const size_t last = (offset + got - 1) / SIMDISK_SECTOR;
        for (size_t sector = offset / SIMDISK_SECTOR; sector <= last; sector++) {
            settle_newest(inode, sector);
        }
        forget_clean(inode);
    }
    if (got > 0) {
        memcpy(buffer, (direct ? inode->device : inode->cache) + offset, got);
    }
    *out_size = got;
    return STELE_OK;
}

static int simdisk_io_map(struct stele_file *base, uint64_t size, const uint8_t **out_data,
                          struct stele_error *err)
{
    const struct simdisk_file *file = (const struct simdisk_file *)base;
    struct simdisk *disk = disk_of(base->io);
    const enum entry entry = enter(disk, disk->faults.map_error, false);
    fold_call(disk, CALL_MAP, base->name, size, entry);
    if (entry != ENTER_GO) {
        return fail_io(err, base->name, "map");
    }
    STELE_ASSERT(size <= file->inode->size);
    file->inode->mapped = true;
    *out_data = file->inode->cache;
    return STELE_OK;
}

static void simdisk_io_drop_cache(struct stele_file *base)
{
    evict(((struct simdisk_file *)base)->inode);
}

static int simdisk_io_rename(struct stele_io *io, const char *from, const char *to,
                             struct stele_error *err)
{
    struct simdisk *disk = disk_of(io);
    const enum entry entry = enter(disk, disk->faults.name_error, true);
    fold_call(disk, CALL_RENAME, to, 0, entry);
    if (entry == ENTER_DEAD) {
        return fail_io(err, from, "rename");
    }
    const struct simdisk_entry *found = entry_find(disk, from);
    if (found == NULL || found->inode == NULL) {
        return stele_fail(err, STELE_NOT_FOUND, ENOENT, "%s: rename failed", from);
    }
    if (entry == ENTER_GO || (entry == ENTER_DIE && rng_percent(&disk->rng, 50))) {
        name_op(disk, to, found->inode, from);
    }
    return entry == ENTER_GO ? STELE_OK : fail_io(err, from, "rename");
}

static int simdisk_io_remove(struct stele_io *io, const char *name, struct stele_error *err)
{
    struct simdisk *disk = disk_of(io);
    const enum entry entry = enter(disk, disk->faults.name_error, true);
    fold_call(disk, CALL_REMOVE, name, 0, entry);
    if (entry == ENTER_DEAD) {
        return fail_io(err, name, "remove");
    }
    const struct simdisk_entry *found = entry_find(disk, name);
    if (found == NULL || found->inode == NULL) {
        return stele_fail(err, STELE_NOT_FOUND, ENOENT, "%s: remove failed", name);
    }
    if (entry == ENTER_GO || (entry == ENTER_DIE && rng_percent(&disk->rng, 50))) {
        name_op(disk, name, NULL, "");
    }
    return entry == ENTER_GO ? STELE_OK : fail_io(err, name, "remove");
}

static int simdisk_io_sync_names(struct stele_io *io, struct stele_error *err)
{
    struct simdisk *disk = disk_of(io);
    const enum entry entry = enter(disk, disk->faults.name_error, true);
    fold_call(disk, CALL_SYNC_NAMES, NULL, disk->name_ops_count, entry);
    if (entry == ENTER_DEAD) {
        return fail_io(err, ".", "sync");
    }
    disk->counts.name_syncs++;
    if (entry != ENTER_GO) {
        name_ops_settle(disk, rng_below(&disk->rng, disk->name_ops_count + 1));
        return fail_io(err, ".", "sync");
    }
    name_ops_settle(disk, disk->name_ops_count);
    entries_trim(disk);
    collect(disk);
    return STELE_OK;
}

static int simdisk_io_list(struct stele_io *io, stele_io_name_callback on_name, void *context,
                           struct stele_error *err)
{
    struct simdisk *disk = disk_of(io);
    const enum entry entry = enter(disk, disk->faults.name_error, false);
    fold_call(disk, CALL_LIST, NULL, disk->entries_count, entry);
    if (entry != ENTER_GO) {
        return fail_io(err, ".", "list");
    }
    /* The callback may create and remove: look at the names as they were. */
    const size_t count = disk->entries_count;
    struct simdisk_entry *entries = must(malloc((count + 1) * sizeof *entries));
    if (count > 0) {
        memcpy(entries, disk->entries, count * sizeof *entries);
    }
    int outcome = STELE_OK;
    for (size_t i = 0; i < count && outcome == STELE_OK; i++) {
        if (entries[i].inode != NULL) {
            outcome = on_name(context, entries[i].name, entries[i].inode->size);
        }
    }
    free(entries);
    return outcome;
}

static int64_t simdisk_io_now(struct stele_io *io)
{
    return disk_of(io)->now_us;
}

static void simdisk_io_random(struct stele_io *io, void *buffer, size_t size)
{
    uint8_t *bytes = buffer;
    for (size_t i = 0; i < size; i++) {
        bytes[i] = (uint8_t)rng_next(&disk_of(io)->rng);
    }
}

static const struct stele_io_ops simdisk_ops = {
    .create = simdisk_io_create,
    .open = simdisk_io_open,
    .close = simdisk_io_close,
    .size = simdisk_io_size,
    .write = simdisk_io_write,
    .sync = simdisk_io_sync,
    .write_durable = simdisk_io_write_durable,
    .read = simdisk_io_read,
    .map = simdisk_io_map,
    .drop_cache = simdisk_io_drop_cache,
    .rename = simdisk_io_rename,
    .remove = simdisk_io_remove,
    .sync_names = simdisk_io_sync_names,
    .list = simdisk_io_list,
    .now_us = simdisk_io_now,
    .random = simdisk_io_random,
};

/* ---- Life and death ---- */

void simdisk_init(struct simdisk *disk, uint64_t seed, struct stele_alloc *alloc)
{
    *disk = (struct simdisk){.io = {.ops = &simdisk_ops, .alloc = alloc}};
    rng_init(&disk->rng, seed, 1);
}

void simdisk_deinit(struct simdisk *disk)
{
    STELE_ASSERT(disk->open_files == 0);
    while (disk->inodes != NULL) {
        struct simdisk_inode *inode = disk->inodes;
        disk->inodes = inode->next;
        inode_destroy(inode);
    }
    free(disk->entries);
    free(disk->name_ops);
    free(disk->damages);
    *disk = (struct simdisk){.dead = true};
}

static void *duplicate(const void *items, size_t size)
{
    void *copy = must(malloc(size + 1));
    if (size > 0) {
        memcpy(copy, items, size);
    }
    return copy;
}

static struct simdisk_inode *inode_copy(const struct simdisk_inode *from)
{
    struct simdisk_inode *inode = must(malloc(sizeof *inode));
    const size_t sectors = from->capacity / SIMDISK_SECTOR;
    *inode = *from;
    inode->next = NULL;
    inode->handles = 0;
    inode->syncs = 0;
    inode->mapped = false;
    inode->cache = duplicate(from->cache, from->capacity);
    inode->device = duplicate(from->device, from->capacity);
    inode->written = duplicate(from->written, sectors * sizeof *from->written);
    inode->settled = duplicate(from->settled, sectors * sizeof *from->settled);
    inode->dirty = duplicate(from->dirty, from->dirty_count * sizeof *from->dirty);
    inode->dirty_capacity = from->dirty_count;
    inode->lost = duplicate(from->lost, from->lost_count * sizeof *from->lost);
    inode->lost_capacity = from->lost_count;
    return inode;
}

static struct simdisk_inode *inode_of_number(const struct simdisk *disk, uint64_t number)
{
    struct simdisk_inode *inode = disk->inodes;
    while (inode != NULL && inode->number != number) {
        inode = inode->next;
    }
    return inode;
}

static struct simdisk_inode *inode_same(const struct simdisk *disk,
                                        const struct simdisk_inode *inode)
{
    return inode == NULL ? NULL : inode_of_number(disk, inode->number);
}

void simdisk_copy(struct simdisk *to, const struct simdisk *from, struct stele_alloc *alloc)
{
    *to = *from;
    to->io.alloc = alloc;
    to->open_files = 0;
    to->inodes = NULL;
    struct simdisk_inode **last = &to->inodes;
    for (const struct simdisk_inode *inode = from->inodes; inode != NULL; inode = inode->next) {
        *last = inode_copy(inode);
        last = &(*last)->next;
    }
    to->entries = duplicate(from->entries, from->entries_count * sizeof *from->entries);
    to->entries_capacity = from->entries_count;
    for (size_t i = 0; i < to->entries_count; i++) {
        to->entries[i].inode = inode_same(to, from->entries[i].inode);
        to->entries[i].durable = inode_same(to, from->entries[i].durable);
    }
    to->name_ops = duplicate(from->name_ops, from->name_ops_count * sizeof *from->name_ops);
    to->name_ops_capacity = from->name_ops_count;
    for (size_t i = 0; i < to->name_ops_count; i++) {
        to->name_ops[i].inode = inode_same(to, from->name_ops[i].inode);
    }
    to->damages = duplicate(from->damages, from->damages_count * sizeof *from->damages);
    to->damages_capacity = from->damages_count;
}

void simdisk_restart(struct simdisk *disk)
{
    STELE_ASSERT(disk->open_files == 0);
    disk->dead = false;
    disk->die_after = 0;
    collect(disk);
}

static int compare_u64(const void *a, const void *b)
{
    const uint64_t left = *(const uint64_t *)a;
    const uint64_t right = *(const uint64_t *)b;
    return left < right ? -1 : left > right;
}

/* The write that splits what is kept from what is lost: everything below it is kept (prefix), or
 * everything from it on (suffix). */
static uint64_t pick_split(struct simdisk *disk)
{
    uint64_t *sequences = NULL;
    size_t count = 0;
    size_t capacity = 0;
    for (const struct simdisk_inode *inode = disk->inodes; inode != NULL; inode = inode->next) {
        for (size_t i = 0; i < inode->dirty_count; i++) {
            sequences = grown(sequences, count, &capacity, sizeof *sequences);
            sequences[count++] = inode->written[inode->dirty[i]];
        }
    }
    uint64_t split = 0;
    if (count > 0) {
        qsort(sequences, count, sizeof *sequences, compare_u64);
        split = sequences[rng_below(&disk->rng, count)];
    }
    free(sequences);
    return split;
}

static bool is_kept(struct simdisk *disk, enum simdisk_keep keep, uint64_t percent, uint64_t split,
                    uint64_t sequence)
{
    switch (keep) {
    case SIMDISK_KEEP_ALL:
        return true;
    case SIMDISK_KEEP_SECTORS:
        return rng_percent(&disk->rng, percent);
    case SIMDISK_KEEP_PREFIX:
        return sequence < split;
    case SIMDISK_KEEP_SUFFIX:
        return sequence >= split;
    default:
        return false;
    }
}

static void cut_inode(struct simdisk *disk, struct simdisk_inode *inode, enum simdisk_keep keep,
                      uint64_t percent, uint64_t split)
{
    size_t kept = 0;
    size_t lost = 0;
    for (size_t i = 0; i < inode->dirty_count; i++) {
        const size_t sector = inode->dirty[i];
        if (is_kept(disk, keep, percent, split, inode->written[sector])) {
            settle_newest(inode, sector);
            kept++;
        } else {
            inode->written[sector] = 0;
            lost++;
            memcpy(inode->cache + sector * SIMDISK_SECTOR, inode->device + sector * SIMDISK_SECTOR,
                   SIMDISK_SECTOR);
        }
    }
    disk->counts.sectors_lost += lost;
    disk->counts.sectors_torn += lost > 0 ? kept : 0;
    inode->dirty_count = 0;
    evict(inode);
    inode->error = false;
    /* The size is metadata of its own. What lies behind it is gone; a file that got longer without
     * its bytes shows zeros. */
    if (inode->size != inode->size_durable) {
        const bool all = keep == SIMDISK_KEEP_ALL || rng_percent(&disk->rng, 50);
        if (keep == SIMDISK_KEEP_NOTHING || !all) {
            inode->size = keep == SIMDISK_KEEP_NOTHING
                              ? inode->size_durable
                              : rng_between(&disk->rng, inode->size_durable, inode->size);
        }
        memset(inode->device + inode->size, 0, inode->capacity - inode->size);
        memset(inode->cache + inode->size, 0, inode->capacity - inode->size);
        inode->size_durable = inode->size;
    }
}

/* Names that were not synced: a journal keeps a prefix of the changes, other systems any of them. */
static void cut_names(struct simdisk *disk, enum simdisk_keep keep)
{
    const bool prefix = rng_percent(&disk->rng, 60);
    size_t count = rng_below(&disk->rng, disk->name_ops_count + 1);
    if (keep == SIMDISK_KEEP_NOTHING || keep == SIMDISK_KEEP_ALL) {
        count = keep == SIMDISK_KEEP_ALL ? disk->name_ops_count : 0;
    }
    for (size_t i = 0; i < disk->name_ops_count; i++) {
        const bool kept = prefix || keep == SIMDISK_KEEP_NOTHING || keep == SIMDISK_KEEP_ALL
                              ? i < count
                              : rng_percent(&disk->rng, 50);
        if (kept) {
            name_op_settle(disk, &disk->name_ops[i]);
        } else {
            disk->counts.names_lost++;
        }
    }
    disk->name_ops_count = 0;
    for (size_t i = 0; i < disk->entries_count; i++) {
        disk->entries[i].inode = disk->entries[i].durable;
    }
    entries_trim(disk);
}

void simdisk_power_cut(struct simdisk *disk, enum simdisk_keep keep)
{
    STELE_ASSERT(disk->open_files == 0);
    disk->counts.power_cuts++;
    const uint64_t split = pick_split(disk);
    const uint64_t percent = rng_below(&disk->rng, 101);
    cut_names(disk, keep);
    for (struct simdisk_inode *inode = disk->inodes; inode != NULL; inode = inode->next) {
        cut_inode(disk, inode, keep, percent, split);
    }
    simdisk_restart(disk);
}

void simdisk_writeback(struct simdisk *disk)
{
    for (struct simdisk_inode *inode = disk->inodes; inode != NULL; inode = inode->next) {
        if (inode->dirty_count > 0 && rng_percent(&disk->rng, 30)) {
            const uint64_t percent = rng_below(&disk->rng, 101);
            const bool fails = rng_one_in(&disk->rng, disk->faults.sync_error);
            for (size_t i = 0; i < inode->dirty_count; i++) {
                if (!rng_percent(&disk->rng, percent)) {
                    continue;
                }
                if (fails) {
                    lose(disk, inode, inode->dirty[i]);
                    inode->error = true;
                } else {
                    settle_newest(inode, inode->dirty[i]);
                }
            }
            forget_clean(inode);
        }
        if (inode->lost_count > 0 && rng_percent(&disk->rng, 20)) {
            evict(inode);
        }
    }
    if (rng_percent(&disk->rng, 20)) {
        name_ops_settle(disk, rng_below(&disk->rng, disk->name_ops_count + 1));
    }
}

/* ---- Looking at the device ---- */

static const struct simdisk_inode *durable_inode(const struct simdisk *disk, const char *name)
{
    const struct simdisk_entry *entry = entry_find(disk, name);
    return entry == NULL ? NULL : entry->durable;
}

static bool inode_has(const struct simdisk_inode *inode, uint64_t offset, struct stele_bytes bytes)
{
    return inode != NULL && offset + bytes.size <= inode->size_durable &&
           memcmp(inode->device + offset, bytes.data, bytes.size) == 0;
}

bool simdisk_is_durable(const struct simdisk *disk, const char *name, uint64_t offset,
                        struct stele_bytes bytes)
{
    return inode_has(durable_inode(disk, name), offset, bytes);
}

uint64_t simdisk_inode_number(const struct stele_file *file)
{
    return ((const struct simdisk_file *)file)->inode->number;
}

bool simdisk_is_durable_inode(const struct simdisk *disk, uint64_t number, uint64_t offset,
                              struct stele_bytes bytes)
{
    for (size_t i = 0; i < disk->entries_count; i++) {
        const struct simdisk_inode *inode = disk->entries[i].durable;
        if (inode != NULL && inode->number == number) {
            return inode_has(inode, offset, bytes);
        }
    }
    return false;
}

bool simdisk_is_settled(const struct simdisk *disk, const char *name)
{
    const struct simdisk_entry *entry = entry_find(disk, name);
    return entry != NULL && entry->inode != NULL && entry->inode == entry->durable &&
           entry->inode->size == entry->inode->size_durable &&
           memcmp(entry->inode->cache, entry->inode->device, entry->inode->size) == 0;
}

bool simdisk_cache_lies(const struct simdisk *disk)
{
    for (const struct simdisk_inode *inode = disk->inodes; inode != NULL; inode = inode->next) {
        if (inode->lost_count > 0) {
            return true;
        }
    }
    return false;
}

bool simdisk_size(const struct simdisk *disk, const char *name, uint64_t *out_size)
{
    const struct simdisk_inode *inode = durable_inode(disk, name);
    if (inode != NULL) {
        *out_size = inode->size_durable;
    }
    return inode != NULL;
}

bool simdisk_peek(const struct simdisk *disk, const char *name, uint64_t offset, void *buffer,
                  size_t size)
{
    const struct simdisk_inode *inode = durable_inode(disk, name);
    if (inode == NULL || offset + size > inode->size_durable) {
        return false;
    }
    memcpy(buffer, inode->device + offset, size);
    return true;
}

size_t simdisk_files(const struct simdisk *disk)
{
    return disk->entries_count;
}

const char *simdisk_file_name(const struct simdisk *disk, size_t index)
{
    STELE_ASSERT(index < disk->entries_count);
    return disk->entries[index].name;
}

/* ---- Damage at rest ---- */

static void damaged_content(struct simdisk *disk, const struct simdisk_inode *inode, size_t sector,
                            size_t at, enum simdisk_damage_kind kind, uint8_t *content)
{
    switch (kind) {
    case SIMDISK_BIT:
        content[at] ^= (uint8_t)(1U << rng_below(&disk->rng, 8));
        break;
    case SIMDISK_BYTES: {
        const size_t size = rng_between(&disk->rng, 1, 16);
        for (size_t i = at; i < at + size && i < SIMDISK_SECTOR; i++) {
            content[i] = (uint8_t)rng_next(&disk->rng);
        }
        break;
    }
    case SIMDISK_ZERO_SECTOR:
        memset(content, 0, SIMDISK_SECTOR);
        break;
    default: {
        const size_t other = rng_below(&disk->rng, inode->size_durable / SIMDISK_SECTOR + 1);
        if (other != sector && other * SIMDISK_SECTOR < inode->capacity) {
            memcpy(content, inode->device + other * SIMDISK_SECTOR, SIMDISK_SECTOR);
        }
        break;
    }
    }
}

bool simdisk_damage(struct simdisk *disk, const char *name, uint64_t offset,
                    enum simdisk_damage_kind kind)
{
    const struct simdisk_entry *entry = entry_find(disk, name);
    if (entry == NULL || entry->inode == NULL || entry->inode != entry->durable ||
        offset >= entry->inode->size_durable) {
        return false;
    }
    struct simdisk_inode *inode = entry->inode;
    const size_t sector = offset / SIMDISK_SECTOR;
    if (inode->written[sector] != 0) {
        return false;
    }
    uint8_t *device = inode->device + sector * SIMDISK_SECTOR;
    struct simdisk_damage_record record = {.inode = inode->number, .sector = sector};
    memcpy(record.before, device, SIMDISK_SECTOR);
    memcpy(record.after, device, SIMDISK_SECTOR);
    damaged_content(disk, inode, sector, offset % SIMDISK_SECTOR, kind, record.after);
    if (memcmp(record.before, record.after, SIMDISK_SECTOR) == 0) {
        return false;
    }
    memcpy(device, record.after, SIMDISK_SECTOR);
    memcpy(inode->cache + sector * SIMDISK_SECTOR, record.after, SIMDISK_SECTOR);
    disk->damages =
        grown(disk->damages, disk->damages_count, &disk->damages_capacity, sizeof *disk->damages);
    disk->damages[disk->damages_count++] = record;
    disk->counts.rotten++;
    fold(disk, stele_hash64((struct stele_bytes){record.after, SIMDISK_SECTOR}, sector));
    return true;
}

void simdisk_heal(struct simdisk *disk)
{
    /* Newest first, since a sector may have been damaged twice. */
    while (disk->damages_count > 0) {
        const struct simdisk_damage_record *record = &disk->damages[--disk->damages_count];
        struct simdisk_inode *inode = inode_of_number(disk, record->inode);
        if (inode == NULL) {
            continue;
        }
        uint8_t *device = inode->device + record->sector * SIMDISK_SECTOR;
        uint8_t *cache = inode->cache + record->sector * SIMDISK_SECTOR;
        if (memcmp(device, record->after, SIMDISK_SECTOR) == 0) {
            memcpy(device, record->before, SIMDISK_SECTOR);
        }
        if (memcmp(cache, record->after, SIMDISK_SECTOR) == 0) {
            memcpy(cache, record->before, SIMDISK_SECTOR);
        }
    }
}

bool simdisk_is_damaged(const struct simdisk *disk)
{
    for (size_t i = 0; i < disk->damages_count; i++) {
        const struct simdisk_damage_record *record = &disk->damages[i];
        const struct simdisk_inode *inode = inode_of_number(disk, record->inode);
        if (inode != NULL && memcmp(inode->device + record->sector * SIMDISK_SECTOR, record->after,
                                    SIMDISK_SECTOR) == 0) {
            return true;
        }
    }
    return false;
}
