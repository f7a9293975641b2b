/* The calls of the interface, with the faults that they may have. */
#include "base/checksum.h"
#include "simdisk_internal.h"

#include <errno.h>
#include <stdlib.h>

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

void simdisk__fold(struct simdisk *disk, uint64_t value)
{
    disk->hash = (disk->hash ^ value) * UINT64_C(0x9ddfea08eb382d69);
    disk->hash ^= disk->hash >> 29;
}

static void fold_call(struct simdisk *disk, enum simdisk_call call, const char *name, uint64_t a,
                      uint64_t b)
{
    simdisk__fold(disk, (uint64_t)call << 56 ^ a << 20 ^ b);
    if (name != NULL) {
        simdisk__fold(disk, stele_hash64(stele_bytes_of_text(name), 0));
    }
}

/* ---- Entering a call ---- */

enum simdisk_entering {
    ENTER_GO,
    ENTER_FAIL, /* With an error; the effect may be partly there. */
    ENTER_DIE,  /* As above, and the process is dead from here on. */
    ENTER_DEAD, /* Nothing happens. */
};

static enum simdisk_entering enter(struct simdisk *disk, uint32_t error_one_in, bool changes)
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

/* ---- The calls ---- */

static struct stele_file *handle(struct simdisk *disk, const char *name,
                                 struct simdisk_inode *inode, bool writable)
{
    struct simdisk_file *file = simdisk__must(calloc(1, sizeof *file));
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
    const enum simdisk_entering entry = enter(disk, disk->faults.name_error, true);
    fold_call(disk, CALL_CREATE, name, size, entry);
    if (entry == ENTER_DEAD) {
        return fail_io(err, name, "create");
    }
    if (entry == ENTER_GO && simdisk__is_full(disk, size)) {
        /* What was made is either left behind, too short, or removed again. */
        if (rng_percent(&disk->rng, 50)) {
            simdisk__name_op(disk, name,
                             simdisk__inode_create(disk, rng_below(&disk->rng, size + 1)), "");
        }
        return stele_fail(err, STELE_E_NO_SPACE, ENOSPC, "%s: create failed", name);
    }
    if (entry != ENTER_GO) {
        if (rng_percent(&disk->rng, 50)) {
            simdisk__name_op(disk, name,
                             simdisk__inode_create(disk, rng_below(&disk->rng, size + 1)), "");
        }
        return fail_io(err, name, "create");
    }
    struct simdisk_inode *inode = simdisk__inode_create(disk, size);
    simdisk__name_op(disk, name, inode, "");
    *out_file = handle(disk, name, inode, true);
    return STELE_OK;
}

static int simdisk_io_open(struct stele_io *io, const char *name, bool writable,
                           struct stele_file **out_file, struct stele_error *err)
{
    struct simdisk *disk = disk_of(io);
    const enum simdisk_entering entry = enter(disk, disk->faults.name_error, false);
    fold_call(disk, CALL_OPEN, name, writable, entry);
    if (entry != ENTER_GO) {
        return fail_io(err, name, "open");
    }
    STELE_ASSERT(!(writable && disk->read_only));
    const struct simdisk_entry *found = simdisk__entry_find(disk, name);
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
    simdisk__inode_make_room(inode, offset + bytes.size);
    memcpy(inode->cache + offset, bytes.data, bytes.size);
    const size_t last = (offset + bytes.size - 1) / SIMDISK_SECTOR;
    for (size_t sector = offset / SIMDISK_SECTOR; sector <= last; sector++) {
        simdisk__mark_dirty(disk, inode, sector);
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
    const enum simdisk_entering entry = enter(disk, disk->faults.write_error, true);
    fold_call(disk, CALL_WRITE, base->name, offset, bytes.size);
    if (entry == ENTER_DEAD) {
        return fail_io(err, base->name, "write");
    }
    STELE_ASSERT(file->writable);
    simdisk__fold(disk, stele_hash64(bytes, entry));
    disk->counts.writes++;
    disk->counts.bytes_written += bytes.size;
    const uint64_t end = offset + bytes.size;
    const uint64_t more = end > file->inode->size ? end - file->inode->size : 0;
    const bool full = entry == ENTER_GO && simdisk__is_full(disk, more);
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
    struct simdisk_sync *sync = simdisk__must(calloc(1, sizeof *sync));
    sync->disk = disk_of(base->io);
    sync->inode = inode;
    STELE_ASSERT(offset + size <= inode->size);
    sync->size = offset + size;
    sync->sectors = simdisk__must(malloc(inode->dirty_count * sizeof *sync->sectors + 1));
    sync->sequences = simdisk__must(malloc(inode->dirty_count * sizeof *sync->sequences + 1));
    sync->copies = simdisk__must(malloc(inode->dirty_count * SIMDISK_SECTOR + 1));
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
            simdisk__settle(inode, sync->sectors[i], sync->sequences[i],
                            sync->copies + i * SIMDISK_SECTOR);
        } else if (forget) {
            simdisk__lose(disk, inode, sync->sectors[i]);
        }
    }
    simdisk__forget_clean(inode);
}

static void sync_all(struct simdisk_sync *sync)
{
    struct simdisk *disk = sync->disk;
    struct simdisk_inode *inode = sync->inode;
    for (size_t i = 0; i < sync->count; i++) {
        const size_t sector = sync->sectors[i];
        if (inode->written[sector] > sync->sequences[i] && rng_percent(&disk->rng, 50)) {
            simdisk__settle_newest(inode, sector);
        } else {
            simdisk__settle(inode, sector, sync->sequences[i], sync->copies + i * SIMDISK_SECTOR);
        }
    }
    simdisk__forget_clean(inode);
    if (sync->size > inode->size_durable) {
        inode->size_durable = sync->size;
    }
}

int simdisk_sync_end(struct simdisk_sync *sync, struct stele_error *err)
{
    struct simdisk *disk = sync->disk;
    struct simdisk_inode *inode = sync->inode;
    const enum simdisk_entering entry = enter(disk, disk->faults.sync_error, true);
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
    const enum simdisk_entering entry = enter(disk, disk->faults.read_error, false);
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
            simdisk__settle_newest(inode, sector);
        }
        simdisk__forget_clean(inode);
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
    const enum simdisk_entering entry = enter(disk, disk->faults.map_error, false);
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
    simdisk__evict(((struct simdisk_file *)base)->inode);
}

static int simdisk_io_rename(struct stele_io *io, const char *from, const char *to,
                             struct stele_error *err)
{
    struct simdisk *disk = disk_of(io);
    const enum simdisk_entering entry = enter(disk, disk->faults.name_error, true);
    fold_call(disk, CALL_RENAME, to, 0, entry);
    if (entry == ENTER_DEAD) {
        return fail_io(err, from, "rename");
    }
    const struct simdisk_entry *found = simdisk__entry_find(disk, from);
    if (found == NULL || found->inode == NULL) {
        return stele_fail(err, STELE_NOT_FOUND, ENOENT, "%s: rename failed", from);
    }
    if (entry == ENTER_GO || (entry == ENTER_DIE && rng_percent(&disk->rng, 50))) {
        simdisk__name_op(disk, to, found->inode, from);
    }
    return entry == ENTER_GO ? STELE_OK : fail_io(err, from, "rename");
}

static int simdisk_io_remove(struct stele_io *io, const char *name, struct stele_error *err)
{
    struct simdisk *disk = disk_of(io);
    const enum simdisk_entering entry = enter(disk, disk->faults.name_error, true);
    fold_call(disk, CALL_REMOVE, name, 0, entry);
    if (entry == ENTER_DEAD) {
        return fail_io(err, name, "remove");
    }
    const struct simdisk_entry *found = simdisk__entry_find(disk, name);
    if (found == NULL || found->inode == NULL) {
        return stele_fail(err, STELE_NOT_FOUND, ENOENT, "%s: remove failed", name);
    }
    if (entry == ENTER_GO || (entry == ENTER_DIE && rng_percent(&disk->rng, 50))) {
        simdisk__name_op(disk, name, NULL, "");
    }
    return entry == ENTER_GO ? STELE_OK : fail_io(err, name, "remove");
}

static int simdisk_io_sync_names(struct stele_io *io, struct stele_error *err)
{
    struct simdisk *disk = disk_of(io);
    const enum simdisk_entering entry = enter(disk, disk->faults.name_error, true);
    fold_call(disk, CALL_SYNC_NAMES, NULL, disk->name_ops_count, entry);
    if (entry == ENTER_DEAD) {
        return fail_io(err, ".", "sync");
    }
    disk->counts.name_syncs++;
    if (entry != ENTER_GO) {
        simdisk__name_ops_settle(disk, rng_below(&disk->rng, disk->name_ops_count + 1));
        return fail_io(err, ".", "sync");
    }
    simdisk__name_ops_settle(disk, disk->name_ops_count);
    simdisk__entries_trim(disk);
    simdisk__collect(disk);
    return STELE_OK;
}

static int simdisk_io_list(struct stele_io *io, stele_io_name_callback on_name, void *context,
                           struct stele_error *err)
{
    struct simdisk *disk = disk_of(io);
    const enum simdisk_entering entry = enter(disk, disk->faults.name_error, false);
    fold_call(disk, CALL_LIST, NULL, disk->entries_count, entry);
    if (entry != ENTER_GO) {
        return fail_io(err, ".", "list");
    }
    /* The callback may create and remove: look at the names as they were. */
    const size_t count = disk->entries_count;
    struct simdisk_entry *entries = simdisk__must(malloc((count + 1) * sizeof *entries));
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

const struct stele_io_ops simdisk__ops = {
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
