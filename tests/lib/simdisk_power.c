/* A disk from its first moment on: what a power cut keeps of it, and what the system writes back. */
#include "simdisk_internal.h"

#include <stdlib.h>

void simdisk_init(struct simdisk *disk, uint64_t seed, struct stele_alloc *alloc)
{
    *disk = (struct simdisk){.io = {.ops = &simdisk__ops, .alloc = alloc}};
    rng_init(&disk->rng, seed, 1);
}

void simdisk_deinit(struct simdisk *disk)
{
    STELE_ASSERT(disk->open_files == 0);
    while (disk->inodes != NULL) {
        struct simdisk_inode *inode = disk->inodes;
        disk->inodes = inode->next;
        simdisk__inode_destroy(inode);
    }
    free(disk->entries);
    free(disk->name_ops);
    free(disk->damages);
    *disk = (struct simdisk){.dead = true};
}

static void *duplicate(const void *items, size_t size)
{
    void *copy = simdisk__must(malloc(size + 1));
    if (size > 0) {
        memcpy(copy, items, size);
    }
    return copy;
}

static struct simdisk_inode *inode_copy(const struct simdisk_inode *from)
{
    struct simdisk_inode *inode = simdisk__must(malloc(sizeof *inode));
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

static struct simdisk_inode *inode_same(const struct simdisk *disk,
                                        const struct simdisk_inode *inode)
{
    return inode == NULL ? NULL : simdisk__inode_of_number(disk, inode->number);
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
    simdisk__collect(disk);
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
            sequences = simdisk__grown(sequences, count, &capacity, sizeof *sequences);
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
            simdisk__settle_newest(inode, sector);
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
    simdisk__evict(inode);
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
            simdisk__name_op_settle(disk, &disk->name_ops[i]);
        } else {
            disk->counts.names_lost++;
        }
    }
    disk->name_ops_count = 0;
    for (size_t i = 0; i < disk->entries_count; i++) {
        disk->entries[i].inode = disk->entries[i].durable;
    }
    simdisk__entries_trim(disk);
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
                    simdisk__lose(disk, inode, inode->dirty[i]);
                    inode->error = true;
                } else {
                    simdisk__settle_newest(inode, inode->dirty[i]);
                }
            }
            simdisk__forget_clean(inode);
        }
        if (inode->lost_count > 0 && rng_percent(&disk->rng, 20)) {
            simdisk__evict(inode);
        }
    }
    if (rng_percent(&disk->rng, 20)) {
        simdisk__name_ops_settle(disk, rng_below(&disk->rng, disk->name_ops_count + 1));
    }
}
