/* What is on the disk: files with their two images, and the names that lead to them. */
#include "simdisk_internal.h"

#include <stdlib.h>

void *simdisk__must(void *memory)
{
    STELE_ASSERT(memory != NULL);
    return memory;
}

void *simdisk__grown(void *items, size_t count, size_t *capacity, size_t item_size)
{
    if (count < *capacity) {
        return items;
    }
    *capacity = *capacity == 0 ? 16 : *capacity * 2;
    return simdisk__must(realloc(items, *capacity * item_size));
}

/* ---- Inodes ---- */

void simdisk__inode_make_room(struct simdisk_inode *inode, uint64_t size)
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
    uint8_t *cache = simdisk__must(calloc(1, capacity));
    uint8_t *device = simdisk__must(calloc(1, capacity));
    uint64_t *written = simdisk__must(calloc(sectors, sizeof *written));
    uint64_t *settled = simdisk__must(calloc(sectors, sizeof *settled));
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

struct simdisk_inode *simdisk__inode_create(struct simdisk *disk, uint64_t size)
{
    struct simdisk_inode *inode = simdisk__must(calloc(1, sizeof *inode));
    inode->number = ++disk->sequence;
    inode->size = size;
    simdisk__inode_make_room(inode, size == 0 ? SIMDISK_SECTOR : size);
    inode->next = disk->inodes;
    disk->inodes = inode;
    return inode;
}

void simdisk__inode_destroy(struct simdisk_inode *inode)
{
    free(inode->cache);
    free(inode->device);
    free(inode->written);
    free(inode->settled);
    free(inode->dirty);
    free(inode->lost);
    free(inode);
}

struct simdisk_inode *simdisk__inode_of_number(const struct simdisk *disk, uint64_t number)
{
    struct simdisk_inode *inode = disk->inodes;
    while (inode != NULL && inode->number != number) {
        inode = inode->next;
    }
    return inode;
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

void simdisk__collect(struct simdisk *disk)
{
    struct simdisk_inode **at = &disk->inodes;
    while (*at != NULL) {
        struct simdisk_inode *inode = *at;
        if (inode_is_reachable(disk, inode)) {
            at = &inode->next;
        } else {
            *at = inode->next;
            simdisk__inode_destroy(inode);
        }
    }
}

void simdisk__mark_dirty(struct simdisk *disk, struct simdisk_inode *inode, size_t sector)
{
    if (inode->written[sector] == 0) {
        inode->dirty = simdisk__grown(inode->dirty, inode->dirty_count, &inode->dirty_capacity,
                                      sizeof *inode->dirty);
        inode->dirty[inode->dirty_count++] = (uint32_t)sector;
    }
    inode->written[sector] = ++disk->sequence;
}

void simdisk__settle(struct simdisk_inode *inode, size_t sector, uint64_t sequence,
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

void simdisk__settle_newest(struct simdisk_inode *inode, size_t sector)
{
    if (inode->written[sector] != 0) {
        simdisk__settle(inode, sector, inode->written[sector],
                        inode->cache + sector * SIMDISK_SECTOR);
    }
}

void simdisk__lose(struct simdisk *disk, struct simdisk_inode *inode, size_t sector)
{
    if (inode->written[sector] == 0) {
        return;
    }
    inode->written[sector] = 0;
    inode->lost =
        simdisk__grown(inode->lost, inode->lost_count, &inode->lost_capacity, sizeof *inode->lost);
    inode->lost[inode->lost_count++] = (uint32_t)sector;
    disk->counts.sectors_lost++;
}

void simdisk__forget_clean(struct simdisk_inode *inode)
{
    size_t count = 0;
    for (size_t i = 0; i < inode->dirty_count; i++) {
        if (inode->written[inode->dirty[i]] != 0) {
            inode->dirty[count++] = inode->dirty[i];
        }
    }
    inode->dirty_count = count;
}

void simdisk__evict(struct simdisk_inode *inode)
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

struct simdisk_entry *simdisk__entry_find(const struct simdisk *disk, const char *name)
{
    bool found = false;
    const size_t at = entry_at(disk, name, &found);
    return found ? &disk->entries[at] : NULL;
}

struct simdisk_entry *simdisk__entry_make(struct simdisk *disk, const char *name)
{
    bool found = false;
    const size_t at = entry_at(disk, name, &found);
    if (!found) {
        STELE_ASSERT(strlen(name) < STELE_FILE_NAME_MAX && strchr(name, '/') == NULL);
        disk->entries = simdisk__grown(disk->entries, disk->entries_count, &disk->entries_capacity,
                                       sizeof *disk->entries);
        memmove(disk->entries + at + 1, disk->entries + at,
                (disk->entries_count - at) * sizeof *disk->entries);
        disk->entries_count++;
        memset(&disk->entries[at], 0, sizeof disk->entries[at]);
        strcpy(disk->entries[at].name, name);
    }
    return &disk->entries[at];
}

void simdisk__entries_trim(struct simdisk *disk)
{
    size_t count = 0;
    for (size_t i = 0; i < disk->entries_count; i++) {
        if (disk->entries[i].inode != NULL || disk->entries[i].durable != NULL) {
            disk->entries[count++] = disk->entries[i];
        }
    }
    disk->entries_count = count;
}

void simdisk__name_op(struct simdisk *disk, const char *name, struct simdisk_inode *inode,
                      const char *from)
{
    disk->name_ops = simdisk__grown(disk->name_ops, disk->name_ops_count, &disk->name_ops_capacity,
                                    sizeof *disk->name_ops);
    struct simdisk_name_op *op = &disk->name_ops[disk->name_ops_count++];
    memset(op, 0, sizeof *op);
    strcpy(op->name, name);
    strcpy(op->from, from);
    op->inode = inode;
    if (from[0] != '\0') {
        simdisk__entry_make(disk, from)->inode = NULL;
    }
    simdisk__entry_make(disk, name)->inode = inode;
}

void simdisk__name_op_settle(struct simdisk *disk, const struct simdisk_name_op *op)
{
    if (op->from[0] != '\0') {
        simdisk__entry_make(disk, op->from)->durable = NULL;
    }
    simdisk__entry_make(disk, op->name)->durable = op->inode;
}

void simdisk__name_ops_settle(struct simdisk *disk, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        simdisk__name_op_settle(disk, &disk->name_ops[i]);
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

bool simdisk__is_full(struct simdisk *disk, uint64_t more)
{
    bool full = rng_one_in(&disk->rng, disk->faults.no_space);
    if (!full && disk->faults.capacity != 0 && more > 0) {
        simdisk__collect(disk);
        full = simdisk_used(disk) + more > disk->faults.capacity;
    }
    disk->counts.no_space += full;
    return full;
}
