/* What the device has, as tests may know it, and bits that rot there. */
#include "base/checksum.h"
#include "simdisk_internal.h"

/* ---- Looking at the device ---- */

static const struct simdisk_inode *durable_inode(const struct simdisk *disk, const char *name)
{
    const struct simdisk_entry *entry = simdisk__entry_find(disk, name);
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
    const struct simdisk_entry *entry = simdisk__entry_find(disk, name);
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
    const struct simdisk_entry *entry = simdisk__entry_find(disk, name);
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
    disk->damages = simdisk__grown(disk->damages, disk->damages_count, &disk->damages_capacity,
                                   sizeof *disk->damages);
    disk->damages[disk->damages_count++] = record;
    disk->counts.rotten++;
    simdisk__fold(disk, stele_hash64((struct stele_bytes){record.after, SIMDISK_SECTOR}, sector));
    return true;
}

void simdisk_heal(struct simdisk *disk)
{
    /* Newest first, since a sector may have been damaged twice. */
    while (disk->damages_count > 0) {
        const struct simdisk_damage_record *record = &disk->damages[--disk->damages_count];
        struct simdisk_inode *inode = simdisk__inode_of_number(disk, record->inode);
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
        const struct simdisk_inode *inode = simdisk__inode_of_number(disk, record->inode);
        if (inode != NULL && memcmp(inode->device + record->sector * SIMDISK_SECTOR, record->after,
                                    SIMDISK_SECTOR) == 0) {
            return true;
        }
    }
    return false;
}
