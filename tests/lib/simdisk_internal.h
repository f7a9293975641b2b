/* Inside simdisk.c, simdisk_inodes.c, simdisk_power.c and simdisk_damage.c. */
#ifndef STELE_TESTS_LIB_SIMDISK_INTERNAL_H
#define STELE_TESTS_LIB_SIMDISK_INTERNAL_H

#include "simdisk.h"

/* A file: what the page cache shows, and what the device has. */
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

/* A name. */
struct simdisk_entry {
    char name[STELE_FILE_NAME_MAX];
    struct simdisk_inode *inode;   /* NULL: no such name. */
    struct simdisk_inode *durable; /* After a power cut. */
};

/* A change of the names that is not durable yet. */
struct simdisk_name_op {
    char name[STELE_FILE_NAME_MAX];
    struct simdisk_inode *inode;    /* NULL: removed. */
    char from[STELE_FILE_NAME_MAX]; /* Of a rename; "" otherwise. */
};

/* A sync under way: what it copies when it begins. */
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

/* A sector that rotted. */
struct simdisk_damage_record {
    uint64_t inode;
    uint64_t sector;
    uint8_t before[SIMDISK_SECTOR];
    uint8_t after[SIMDISK_SECTOR];
};

/* An open file. */
struct simdisk_file {
    struct stele_file base;
    struct simdisk_inode *inode;
    bool writable;
};

/* ---- simdisk.c ---- */

extern const struct stele_io_ops simdisk__ops;

/* Into the hash of everything that happens. */
void simdisk__fold(struct simdisk *disk, uint64_t value);

/* ---- simdisk_inodes.c ---- */

/* The disk's own memory: there is always some. */
void *simdisk__must(void *memory);
/* Room for one item more. */
void *simdisk__grown(void *items, size_t count, size_t *capacity, size_t item_size);

struct simdisk_inode *simdisk__inode_create(struct simdisk *disk, uint64_t size);
void simdisk__inode_destroy(struct simdisk_inode *inode);
/* NULL: there is none any more. */
struct simdisk_inode *simdisk__inode_of_number(const struct simdisk *disk, uint64_t number);
void simdisk__inode_make_room(struct simdisk_inode *inode, uint64_t size);
/* Destroys the files that nothing leads to any more. */
void simdisk__collect(struct simdisk *disk);

/* A sector was written. */
void simdisk__mark_dirty(struct simdisk *disk, struct simdisk_inode *inode, size_t sector);
/* Brings a sector to the device, as it was at a sequence. */
void simdisk__settle(struct simdisk_inode *inode, size_t sector, uint64_t sequence,
                     const uint8_t *content);
/* As it is. */
void simdisk__settle_newest(struct simdisk_inode *inode, size_t sector);
/* The system believes that it wrote this one, and the device does not have it. */
void simdisk__lose(struct simdisk *disk, struct simdisk_inode *inode, size_t sector);
/* Takes sectors that are clean out of the list of dirty ones. */
void simdisk__forget_clean(struct simdisk_inode *inode);
/* Pages that lie to the cache leave it. */
void simdisk__evict(struct simdisk_inode *inode);

struct simdisk_entry *simdisk__entry_find(const struct simdisk *disk, const char *name);
struct simdisk_entry *simdisk__entry_make(struct simdisk *disk, const char *name);
/* Forgets names that are nobody's, now and after a power cut. */
void simdisk__entries_trim(struct simdisk *disk);

/* A name leads to a file from now on (NULL: it is removed); from: that it had before, or "". */
void simdisk__name_op(struct simdisk *disk, const char *name, struct simdisk_inode *inode,
                      const char *from);
/* Makes one change of the names durable, or the oldest ones. */
void simdisk__name_op_settle(struct simdisk *disk, const struct simdisk_name_op *op);
void simdisk__name_ops_settle(struct simdisk *disk, size_t count);

/* Would this many bytes more be too many, or shall it look like that? */
bool simdisk__is_full(struct simdisk *disk, uint64_t more);

#endif
