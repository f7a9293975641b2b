#include "memio.h"

#include <stdlib.h>

struct memio_open {
    struct stele_file file;
    struct memio_inode *inode;
    bool writable;
    struct memio_open *next;
};

static struct memio *memio_of(struct stele_io *io)
{
    return (struct memio *)io;
}

static struct memio_open *open_of(struct stele_file *file)
{
    return (struct memio_open *)file;
}

static void *take(size_t size)
{
    void *memory = calloc(1, size == 0 ? 1 : size);
    STELE_ASSERT(memory != NULL);
    return memory;
}

/* ---- Inodes ---- */

static struct memio_inode *inode_create(uint64_t size)
{
    struct memio_inode *inode = take(sizeof *inode);
    inode->capacity = size;
    inode->size = size;
    inode->size_disk = size;
    inode->cache = take(size);
    inode->disk = take(size);
    inode->writes_end = &inode->writes;
    inode->refs = 1;
    return inode;
}

static void writes_drop(struct memio_inode *inode)
{
    while (inode->writes != NULL) {
        struct memio_write *const write = inode->writes;
        inode->writes = write->next;
        free(write->data);
        free(write);
    }
    inode->writes_end = &inode->writes;
}

static void inode_unref(struct memio_inode *inode)
{
    STELE_ASSERT(inode->refs > 0);
    if (--inode->refs > 0) {
        return;
    }
    writes_drop(inode);
    free(inode->cache);
    free(inode->disk);
    free(inode);
}

static void inode_grow(struct memio_inode *inode, uint64_t size)
{
    if (size <= inode->capacity) {
        return;
    }
    STELE_ASSERT(!inode->mapped); /* A mapping never moves. */
    const uint64_t capacity = size * 2;
    uint8_t *const cache = take(capacity);
    uint8_t *const disk = take(capacity);
    memcpy(cache, inode->cache, inode->capacity);
    memcpy(disk, inode->disk, inode->capacity);
    free(inode->cache);
    free(inode->disk);
    inode->cache = cache;
    inode->disk = disk;
    inode->capacity = capacity;
}

static void apply_to_disk(struct memio_inode *inode, const struct memio_write *write,
                          uint64_t offset, uint64_t size)
{
    memcpy(inode->disk + offset, write->data + (offset - write->offset), size);
    if (offset + size > inode->size_disk) {
        inode->size_disk = offset + size;
    }
}

static void inode_sync(struct memio_inode *inode)
{
    for (struct memio_write *write = inode->writes; write != NULL; write = write->next) {
        apply_to_disk(inode, write, write->offset, write->size);
    }
    writes_drop(inode);
}

/* The power is gone: of each unsynced write, what keep says reaches the disk; the cache is empty. */
static void inode_crash(struct memio_inode *inode, int keep, struct rng *rng)
{
    for (struct memio_write *write = inode->writes; write != NULL; write = write->next) {
        const uint64_t write_end = write->offset + write->size;
        /* Some writes are kept or lost as a whole, others piece by piece. */
        const uint64_t mood = keep == MEMIO_KEEP_RANDOM ? rng_below(rng, 4) : 0;
        uint64_t at = write->offset;
        while (at < write_end) {
            uint64_t end = (at / MEMIO_SECTOR + 1) * MEMIO_SECTOR;
            end = end > write_end ? write_end : end;
            const bool kept =
                keep == MEMIO_KEEP_ALL ||
                (keep == MEMIO_KEEP_RANDOM && (mood == 0 || (mood > 1 && rng_one_in(rng, 2))));
            if (kept) {
                apply_to_disk(inode, write, at, end - at);
            }
            at = end;
        }
    }
    writes_drop(inode);
    memcpy(inode->cache, inode->disk, inode->capacity);
    inode->size = inode->size_disk;
    inode->mapped = false;
}

/* ---- Names ---- */

static struct memio_name *names_find(struct memio_names *names, const char *name)
{
    for (uint32_t index = 0; index < names->count; index++) {
        if (strcmp(names->entries[index].name, name) == 0) {
            return &names->entries[index];
        }
    }
    return NULL;
}

static void names_remove(struct memio_names *names, const char *name)
{
    struct memio_name *const entry = names_find(names, name);
    if (entry == NULL) {
        return;
    }
    inode_unref(entry->inode);
    const size_t index = (size_t)(entry - names->entries);
    names->count--;
    memmove(entry, entry + 1, (names->count - index) * sizeof *entry);
}

/* Takes over one reference to inode. */
static void names_set(struct memio_names *names, const char *name, struct memio_inode *inode)
{
    names_remove(names, name);
    STELE_ASSERT(names->count < MEMIO_FILES_MAX);
    uint32_t index = names->count;
    while (index > 0 && strcmp(names->entries[index - 1].name, name) > 0) {
        names->entries[index] = names->entries[index - 1];
        index--;
    }
    names->count++;
    struct memio_name *const entry = &names->entries[index];
    STELE_ASSERT(strlen(name) < sizeof entry->name);
    memset(entry->name, 0, sizeof entry->name);
    memcpy(entry->name, name, strlen(name));
    entry->inode = inode;
}

static void names_clear(struct memio_names *names)
{
    while (names->count > 0) {
        names_remove(names, names->entries[names->count - 1].name);
    }
}

static void names_copy(struct memio_names *to, const struct memio_names *from)
{
    names_clear(to);
    for (uint32_t index = 0; index < from->count; index++) {
        from->entries[index].inode->refs++;
        names_set(to, from->entries[index].name, from->entries[index].inode);
    }
}

static void change_apply(struct memio_names *names, const struct memio_change *change)
{
    struct memio_inode *inode = change->inode;
    if (change->from[0] != '\0') {
        struct memio_name *const entry = names_find(names, change->from);
        inode = entry == NULL ? NULL : entry->inode;
    }
    if (inode != NULL) {
        inode->refs++;
    }
    if (change->from[0] != '\0') {
        names_remove(names, change->from);
    }
    if (inode != NULL && change->to[0] != '\0') {
        names_set(names, change->to, inode);
    } else if (inode != NULL) {
        inode_unref(inode);
    }
}

static void changes_drop(struct memio *disk)
{
    while (disk->changes != NULL) {
        struct memio_change *const change = disk->changes;
        disk->changes = change->next;
        if (change->inode != NULL) {
            inode_unref(change->inode);
        }
        free(change);
    }
    disk->changes_end = &disk->changes;
}

static void change_add(struct memio *disk, const char *from, const char *to,
                       struct memio_inode *inode)
{
    struct memio_change *const change = take(sizeof *change);
    memcpy(change->from, from, strlen(from));
    memcpy(change->to, to, strlen(to));
    change->inode = inode;
    if (inode != NULL) {
        inode->refs++;
    }
    *disk->changes_end = change;
    disk->changes_end = &change->next;
    change_apply(&disk->names, change);
}

static uint64_t space_used(const struct memio *disk)
{
    uint64_t used = 0;
    for (uint32_t index = 0; index < disk->names.count; index++) {
        used += disk->names.entries[index].inode->size;
    }
    return used;
}

/* ---- Faults ---- */

static int fault(struct memio *disk, uint32_t kind, const char *name, const char *step,
                 struct stele_error *err)
{
    if ((disk->fail_mask & kind) == 0 ||
        (disk->fail_name != NULL && strstr(name, disk->fail_name) == NULL)) {
        return STELE_OK;
    }
    disk->calls++;
    const bool fails = disk->fail_at != 0 && (disk->calls == disk->fail_at ||
                                              (disk->fail_sticky && disk->calls > disk->fail_at));
    if (!fails) {
        return STELE_OK;
    }
    disk->failures++;
    return stele_fail(err, disk->fail_outcome, 5, "%s: %s failed, as planned", name, step);
}

/* ---- The operations ---- */

static struct stele_file *file_open(struct memio *disk, const char *name, bool writable,
                                    struct memio_inode *inode)
{
    struct memio_open *const open = take(sizeof *open);
    open->file.io = &disk->io;
    memcpy(open->file.name, name, strlen(name));
    open->inode = inode;
    open->writable = writable;
    open->next = disk->open_files;
    disk->open_files = open;
    disk->open_count++;
    inode->refs++;
    return &open->file;
}

static int memio_create(struct stele_io *io, const char *name, uint64_t size, bool prepare,
                        struct stele_file **out_file, struct stele_error *err)
{
    (void)prepare;
    struct memio *const disk = memio_of(io);
    STELE_ASSERT(strlen(name) < STELE_FILE_NAME_MAX);
    const int outcome = fault(disk, MEMIO_CREATE, name, "create", err);
    if (outcome != STELE_OK) {
        return outcome;
    }
    if (space_used(disk) + size > disk->space) {
        return stele_fail(err, STELE_E_NO_SPACE, 28, "%s: no space", name);
    }
    struct memio_inode *const inode = inode_create(size);
    change_add(disk, "", name, inode);
    *out_file = file_open(disk, name, true, inode);
    inode_unref(inode);
    return STELE_OK;
}

static int memio_open_file(struct stele_io *io, const char *name, bool writable,
                           struct stele_file **out_file, struct stele_error *err)
{
    struct memio *const disk = memio_of(io);
    const int outcome = fault(disk, MEMIO_OPEN, name, "open", err);
    if (outcome != STELE_OK) {
        return outcome;
    }
    const struct memio_name *const entry = names_find(&disk->names, name);
    if (entry == NULL) {
        return stele_fail(err, STELE_NOT_FOUND, 2, "%s: no such file", name);
    }
    *out_file = file_open(disk, name, writable, entry->inode);
    return STELE_OK;
}

static void memio_close(struct stele_file *file)
{
    struct memio *const disk = memio_of(file->io);
    struct memio_open *const open = open_of(file);
    struct memio_open **link = &disk->open_files;
    while (*link != open) {
        STELE_ASSERT(*link != NULL);
        link = &(*link)->next;
    }
    *link = open->next;
    disk->open_count--;
    inode_unref(open->inode);
    free(open);
}

static int memio_size(struct stele_file *file, uint64_t *out_size, struct stele_error *err)
{
    const int outcome = fault(memio_of(file->io), MEMIO_SIZE, file->name, "size", err);
    if (outcome == STELE_OK) {
        *out_size = open_of(file)->inode->size;
    }
    return outcome;
}

/* The bytes of the write from begin to end wait for the next sync. */
static void queue_write(struct memio_inode *inode, const struct memio_write *write, uint64_t begin,
                        uint64_t end)
{
    if (begin == end) {
        return;
    }
    struct memio_write *const queued = take(sizeof *queued);
    queued->offset = begin;
    queued->size = end - begin;
    queued->data = take(queued->size);
    memcpy(queued->data, write->data + (begin - write->offset), queued->size);
    *inode->writes_end = queued;
    inode->writes_end = &queued->next;
}

static void write_bytes(struct memio_inode *inode, uint64_t offset, struct stele_bytes bytes)
{
    inode_grow(inode, offset + bytes.size);
    if (bytes.size == 0) {
        return;
    }
    memcpy(inode->cache + offset, bytes.data, bytes.size);
    if (offset + bytes.size > inode->size) {
        inode->size = offset + bytes.size;
    }
    const struct memio_write write = {
        .offset = offset, .size = bytes.size, .data = (uint8_t *)(uintptr_t)bytes.data};
    queue_write(inode, &write, offset, offset + bytes.size);
}

static int memio_write_file(struct stele_file *file, uint64_t offset, struct stele_bytes bytes,
                            struct stele_error *err)
{
    struct memio *const disk = memio_of(file->io);
    struct memio_inode *const inode = open_of(file)->inode;
    STELE_ASSERT(open_of(file)->writable);
    const int outcome = fault(disk, MEMIO_WRITE, file->name, "write", err);
    if (outcome != STELE_OK) {
        /* A part of it was written, who knows how much. */
        const uint64_t part = rng_below(&disk->rng, bytes.size + 1);
        write_bytes(inode, offset, stele_bytes_slice(bytes, 0, part));
        return outcome;
    }
    if (offset + bytes.size > inode->size &&
        space_used(disk) + (offset + bytes.size - inode->size) > disk->space) {
        return stele_fail(err, STELE_E_NO_SPACE, 28, "%s: no space", file->name);
    }
    write_bytes(inode, offset, bytes);
    disk->written += bytes.size;
    return STELE_OK;
}

static int memio_sync(struct stele_file *file, struct stele_error *err)
{
    struct memio *const disk = memio_of(file->io);
    struct memio_inode *const inode = open_of(file)->inode;
    const int outcome = fault(disk, MEMIO_SYNC, file->name, "sync", err);
    if (outcome != STELE_OK) {
        /* Any part of it reached the disk; the rest is clean in the cache and lost. */
        for (struct memio_write *write = inode->writes; write != NULL; write = write->next) {
            if (rng_one_in(&disk->rng, 3)) {
                apply_to_disk(inode, write, write->offset, write->size);
            }
        }
        writes_drop(inode);
        return outcome;
    }
    inode_sync(inode);
    disk->syncs++;
    return STELE_OK;
}

/* Ends the wait of the bytes from begin to end. all: they are on the disk; otherwise any of them
 * are, and the others clean in the cache and lost. What waits of other bytes goes on waiting. */
static void sync_range(struct memio *disk, struct memio_inode *inode, uint64_t begin, uint64_t end,
                       bool all)
{
    struct memio_write *next = NULL;
    struct memio_write *write = inode->writes;
    inode->writes = NULL;
    inode->writes_end = &inode->writes;
    for (; write != NULL; write = next) {
        next = write->next;
        const uint64_t write_end = write->offset + write->size;
        const uint64_t from = begin > write->offset ? begin : write->offset;
        const uint64_t to = end < write_end ? end : write_end;
        if (from >= to) {
            queue_write(inode, write, write->offset, write_end);
        } else {
            if (all || rng_one_in(&disk->rng, 3)) {
                apply_to_disk(inode, write, from, to - from);
            }
            queue_write(inode, write, write->offset, from);
            queue_write(inode, write, to, write_end);
        }
        free(write->data);
        free(write);
    }
}

static int memio_write_durable(struct stele_file *file, uint64_t offset, struct stele_bytes bytes,
                               struct stele_error *err)
{
    struct memio *const disk = memio_of(file->io);
    int outcome = memio_write_file(file, offset, bytes, err);
    if (outcome == STELE_OK) {
        outcome = fault(disk, MEMIO_SYNC, file->name, "sync", err);
        sync_range(disk, open_of(file)->inode, offset, offset + bytes.size, outcome == STELE_OK);
        disk->syncs += outcome == STELE_OK ? 1 : 0;
    }
    if (outcome != STELE_OK && err != NULL) {
        err->outcome = STELE_E_IO;
    }
    return outcome == STELE_OK ? STELE_OK : STELE_E_IO;
}

static int memio_read(struct stele_file *file, uint64_t offset, void *buffer, size_t size,
                      bool direct, size_t *out_size, struct stele_error *err)
{
    struct memio_inode *const inode = open_of(file)->inode;
    const int outcome = fault(memio_of(file->io), MEMIO_READ, file->name, "read", err);
    if (outcome != STELE_OK) {
        return outcome;
    }
    if (direct) {
        /* The kernel writes dirty pages back before it reads past the cache. That makes them no
         * more durable: the writes stay on the list. */
        uint64_t end = inode->size_disk;
        for (struct memio_write *write = inode->writes; write != NULL; write = write->next) {
            end = write->offset + write->size > end ? write->offset + write->size : end;
        }
        const uint64_t rest = offset < end ? end - offset : 0;
        *out_size = rest < size ? (size_t)rest : size;
        memcpy(buffer, inode->disk + (*out_size > 0 ? offset : 0), *out_size);
        for (struct memio_write *write = inode->writes; write != NULL; write = write->next) {
            const uint64_t from = write->offset > offset ? write->offset : offset;
            const uint64_t write_end = write->offset + write->size;
            const uint64_t to = write_end < offset + *out_size ? write_end : offset + *out_size;
            if (from < to) {
                memcpy((uint8_t *)buffer + (from - offset), write->data + (from - write->offset),
                       to - from);
            }
        }
        return STELE_OK;
    }
    const uint64_t rest = offset < inode->size ? inode->size - offset : 0;
    *out_size = rest < size ? (size_t)rest : size;
    memcpy(buffer, inode->cache + (*out_size > 0 ? offset : 0), *out_size);
    return STELE_OK;
}

static int memio_map(struct stele_file *file, uint64_t size, const uint8_t **out_data,
                     struct stele_error *err)
{
    struct memio_inode *const inode = open_of(file)->inode;
    const int outcome = fault(memio_of(file->io), MEMIO_MAP, file->name, "map", err);
    if (outcome != STELE_OK) {
        return outcome;
    }
    STELE_ASSERT(size <= inode->size);
    inode->mapped = true;
    *out_data = inode->cache;
    return STELE_OK;
}

static void memio_drop_cache(struct stele_file *file)
{
    struct memio_inode *const inode = open_of(file)->inode;
    if (memio_of(file->io)->drop_is_idle) {
        return;
    }
    memcpy(inode->cache, inode->disk, inode->capacity);
    inode->size = inode->size_disk;
    for (struct memio_write *write = inode->writes; write != NULL; write = write->next) {
        memcpy(inode->cache + write->offset, write->data, write->size); /* Dirty pages stay. */
        if (write->offset + write->size > inode->size) {
            inode->size = write->offset + write->size;
        }
    }
}

static int memio_rename(struct stele_io *io, const char *from, const char *to,
                        struct stele_error *err)
{
    struct memio *const disk = memio_of(io);
    const int outcome = fault(disk, MEMIO_RENAME, from, "rename", err);
    if (outcome != STELE_OK) {
        return outcome;
    }
    if (names_find(&disk->names, from) == NULL) {
        return stele_fail(err, STELE_NOT_FOUND, 2, "%s: no such file", from);
    }
    change_add(disk, from, to, NULL);
    return STELE_OK;
}

static int memio_remove(struct stele_io *io, const char *name, struct stele_error *err)
{
    struct memio *const disk = memio_of(io);
    const int outcome = fault(disk, MEMIO_REMOVE, name, "remove", err);
    if (outcome != STELE_OK) {
        return outcome;
    }
    if (names_find(&disk->names, name) == NULL) {
        return stele_fail(err, STELE_NOT_FOUND, 2, "%s: no such file", name);
    }
    change_add(disk, name, "", NULL);
    return STELE_OK;
}

static int memio_sync_names(struct stele_io *io, struct stele_error *err)
{
    struct memio *const disk = memio_of(io);
    const int outcome = fault(disk, MEMIO_SYNC_NAMES, "directory", "sync", err);
    if (outcome != STELE_OK) {
        return outcome;
    }
    names_copy(&disk->names_disk, &disk->names);
    changes_drop(disk);
    return STELE_OK;
}

static int memio_list(struct stele_io *io, stele_io_name_callback on_name, void *context,
                      struct stele_error *err)
{
    struct memio *const disk = memio_of(io);
    int outcome = fault(disk, MEMIO_LIST, "directory", "list", err);
    for (uint32_t index = 0; outcome == STELE_OK && index < disk->names.count; index++) {
        const struct memio_name *const entry = &disk->names.entries[index];
        outcome = on_name(context, entry->name, entry->inode->size);
    }
    return outcome;
}

static int64_t memio_now_us(struct stele_io *io)
{
    return memio_of(io)->now_us++;
}

static void memio_random(struct stele_io *io, void *buffer, size_t size)
{
    uint8_t *const bytes = buffer;
    for (size_t index = 0; index < size; index++) {
        bytes[index] = (uint8_t)rng_next(&memio_of(io)->rng);
    }
}

static const struct stele_io_ops memio_ops = {
    .create = memio_create,
    .open = memio_open_file,
    .close = memio_close,
    .size = memio_size,
    .write = memio_write_file,
    .sync = memio_sync,
    .write_durable = memio_write_durable,
    .read = memio_read,
    .map = memio_map,
    .drop_cache = memio_drop_cache,
    .rename = memio_rename,
    .remove = memio_remove,
    .sync_names = memio_sync_names,
    .list = memio_list,
    .now_us = memio_now_us,
    .random = memio_random,
};

/* ---- Life, death and looking inside ---- */

void memio_init(struct memio *disk, struct stele_alloc *alloc, uint64_t seed)
{
    memset(disk, 0, sizeof *disk);
    disk->io.ops = &memio_ops;
    disk->io.alloc = alloc;
    disk->changes_end = &disk->changes;
    disk->fail_mask = MEMIO_ALL;
    disk->fail_outcome = STELE_E_IO;
    disk->space = UINT64_MAX / 2;
    disk->now_us = INT64_C(1750000000000000);
    rng_init(&disk->rng, seed, 77);
}

void memio_kill(struct memio *disk)
{
    while (disk->open_files != NULL) {
        disk->open_files->inode->mapped = false;
        memio_close(&disk->open_files->file);
    }
}

void memio_deinit(struct memio *disk)
{
    memio_kill(disk);
    changes_drop(disk);
    names_clear(&disk->names);
    names_clear(&disk->names_disk);
}

/* Changes of names reach the disk in order on most file systems, and nothing promises it. */
static void keep_names(struct memio *disk, int keep)
{
    const bool in_order = keep != MEMIO_KEEP_RANDOM || rng_one_in(&disk->rng, 2);
    bool stopped = keep == MEMIO_KEEP_NONE;
    for (const struct memio_change *change = disk->changes; change != NULL; change = change->next) {
        bool kept = keep != MEMIO_KEEP_RANDOM || rng_below(&disk->rng, 3) > 0;
        stopped = stopped || (in_order && !kept);
        kept = in_order ? !stopped : kept;
        if (kept) {
            change_apply(&disk->names_disk, change);
        }
    }
}

void memio_crash(struct memio *disk, int keep)
{
    keep_names(disk, keep);
    changes_drop(disk);
    /* Files that are still open keep the inodes they had; the survivors are copies, so that a
     * mapping that somebody still holds does not change under it. */
    names_clear(&disk->names);
    for (uint32_t index = 0; index < disk->names_disk.count; index++) {
        struct memio_name *const entry = &disk->names_disk.entries[index];
        struct memio_inode *const old = entry->inode;
        struct memio_inode *const inode = inode_create(old->capacity);
        inode->size_disk = old->size_disk;
        memcpy(inode->disk, old->disk, old->capacity);
        for (const struct memio_write *write = old->writes; write != NULL; write = write->next) {
            write_bytes(inode, write->offset,
                        (struct stele_bytes){.data = write->data, .size = write->size});
        }
        inode_crash(inode, keep, &disk->rng);
        inode_unref(old);
        entry->inode = inode;
    }
    names_copy(&disk->names, &disk->names_disk);
}

static struct memio_inode *inode_copy(const struct memio_inode *inode)
{
    struct memio_inode *const copy = inode_create(inode->capacity);
    memcpy(copy->cache, inode->cache, inode->capacity);
    memcpy(copy->disk, inode->disk, inode->capacity);
    for (const struct memio_write *write = inode->writes; write != NULL; write = write->next) {
        write_bytes(copy, write->offset,
                    (struct stele_bytes){.data = write->data, .size = write->size});
    }
    /* The list was replayed over the cache, which may hold what a failed sync has lost. */
    memcpy(copy->cache, inode->cache, inode->capacity);
    copy->size = inode->size;
    copy->size_disk = inode->size_disk;
    return copy;
}

/* Copies of one inode must be one inode again: looks the original up among what was copied. */
struct memio_twins {
    const struct memio_inode *from[3 * MEMIO_FILES_MAX];
    struct memio_inode *to[3 * MEMIO_FILES_MAX];
    uint32_t count;
};

/* A counted reference to the copy. */
static struct memio_inode *twin(struct memio_twins *twins, const struct memio_inode *inode)
{
    for (uint32_t index = 0; index < twins->count; index++) {
        if (twins->from[index] == inode) {
            twins->to[index]->refs++;
            return twins->to[index];
        }
    }
    STELE_ASSERT(twins->count < 3 * MEMIO_FILES_MAX);
    twins->from[twins->count] = inode;
    twins->to[twins->count] = inode_copy(inode);
    return twins->to[twins->count++];
}

static void names_twin(struct memio_names *to, const struct memio_names *from,
                       struct memio_twins *twins)
{
    to->count = 0;
    for (uint32_t index = 0; index < from->count; index++) {
        names_set(to, from->entries[index].name, twin(twins, from->entries[index].inode));
    }
}

void memio_copy(const struct memio *disk, struct memio *out_copy)
{
    struct memio_twins *const twins = take(sizeof *twins);
    *out_copy = *disk;
    out_copy->open_files = NULL;
    out_copy->open_count = 0;
    names_twin(&out_copy->names, &disk->names, twins);
    names_twin(&out_copy->names_disk, &disk->names_disk, twins);
    out_copy->changes = NULL;
    out_copy->changes_end = &out_copy->changes;
    for (const struct memio_change *change = disk->changes; change != NULL; change = change->next) {
        struct memio_change *const copy = take(sizeof *copy);
        *copy = *change;
        copy->next = NULL;
        copy->inode = change->inode == NULL ? NULL : twin(twins, change->inode);
        *out_copy->changes_end = copy;
        out_copy->changes_end = &copy->next;
    }
    free(twins);
}

struct memio_inode *memio_find(struct memio *disk, const char *name)
{
    struct memio_name *const entry = names_find(&disk->names, name);
    return entry == NULL ? NULL : entry->inode;
}

void memio_damage(struct memio *disk, const char *name, uint64_t offset, uint8_t xor_with)
{
    struct memio_inode *const inode = memio_find(disk, name);
    STELE_ASSERT(inode != NULL);
    STELE_ASSERT(offset < inode->size);
    inode->cache[offset] ^= xor_with;
    inode->disk[offset] ^= xor_with;
}

void memio_put(struct memio *disk, const char *name, struct stele_bytes bytes)
{
    struct memio_inode *const inode = inode_create(bytes.size);
    if (bytes.size > 0) {
        memcpy(inode->cache, bytes.data, bytes.size);
        memcpy(inode->disk, bytes.data, bytes.size);
    }
    inode->refs++;
    names_set(&disk->names, name, inode);
    names_set(&disk->names_disk, name, inode);
}

void memio_drop(struct memio *disk, const char *name)
{
    names_remove(&disk->names, name);
    names_remove(&disk->names_disk, name);
}
