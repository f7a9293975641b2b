/* A disk in memory that treats what it is given as badly as the contract of io/io.h allows.
 *
 * Each file has two images: what the page cache shows and what the device has. write() changes
 * the first, sync() carries it to the second. A power cut keeps any subset of the 512-byte sectors
 * and of the names that were not synced; the death of the process alone keeps the cache, and with
 * it bytes that are not durable and do not look it. After a failed sync the cache shows what the
 * device never got, and the next sync reports success (what Linux does, and has been called
 * fsyncgate).
 *
 * Every decision comes from the seed. One thread. Its own memory is plain malloc(): the allocator
 * in io.alloc is for what is tested. */
#ifndef STELE_TESTS_LIB_SIMDISK_H
#define STELE_TESTS_LIB_SIMDISK_H

#include "io/io.h"
#include "rng.h"

#define SIMDISK_SECTOR 512

/* Faults of calls: "one in n calls", 0 for never. */
struct simdisk_faults {
    uint32_t write_error; /* EIO, with any part written. */
    uint32_t sync_error;  /* EIO, with any part durable and the rest forgotten by the cache. */
    uint32_t read_error;  /* EIO. */
    uint32_t map_error;
    uint32_t name_error; /* create, open, rename, remove, sync_names, list. */
    uint32_t no_space;   /* create and write answer STELE_E_NO_SPACE, part written. */
    uint32_t sticky;     /* Of the errors above, one in n stays until the disk is repaired. */
    uint32_t writeback;  /* One in n calls lets the system write something back by itself. */
    uint64_t capacity;   /* Bytes of all files; 0: no bound. */
};

/* What a power cut keeps of what was not synced. */
enum simdisk_keep {
    SIMDISK_KEEP_NOTHING,
    SIMDISK_KEEP_ALL,
    SIMDISK_KEEP_SECTORS, /* Each sector with a probability that is drawn per cut. */
    SIMDISK_KEEP_PREFIX,  /* In the order of writing, up to one point. */
    SIMDISK_KEEP_SUFFIX,  /* Only the newest. */
    SIMDISK_KEEPS
};

struct simdisk_counts {
    uint64_t calls; /* That change or read the disk. */
    uint64_t writes, syncs, name_syncs, bytes_written;
    uint64_t errors;   /* EIO given. */
    uint64_t no_space; /* ENOSPC given. */
    uint64_t power_cuts;
    uint64_t sectors_lost; /* By power cuts and failed syncs. */
    uint64_t sectors_torn; /* Kept, by a cut that lost others of the same file. */
    uint64_t names_lost;
    uint64_t rotten; /* Sectors that simdisk_damage() changed. */
};

struct simdisk_inode;
struct simdisk_entry;
struct simdisk_name_op;
struct simdisk_sync;
struct simdisk_damage_record;

struct simdisk {
    struct stele_io io;
    struct rng rng;
    struct simdisk_faults faults;
    struct simdisk_counts counts;
    int64_t now_us; /* Wall clock that the core sees. */
    uint64_t hash;  /* Of every call and its outcome. */
    uint64_t
        die_after;  /* The process dies inside the call that brings this to 0; 0: not planned. */
    bool dead;      /* Every call fails and changes nothing, until simdisk_restart(). */
    bool read_only; /* Asserts that nothing is changed. */
    bool broken;    /* A sticky error: all writes and syncs fail. */
    /* Inside. */
    struct simdisk_entry *entries; /* Sorted by name. */
    size_t entries_count, entries_capacity;
    struct simdisk_inode *inodes;     /* All that are alive. */
    struct simdisk_name_op *name_ops; /* Not durable yet, in order. */
    size_t name_ops_count, name_ops_capacity;
    struct simdisk_damage_record *damages;
    size_t damages_count, damages_capacity;
    uint64_t sequence; /* Of writes. */
    uint64_t open_files;
};

void simdisk_init(struct simdisk *disk, uint64_t seed, struct stele_alloc *alloc);
void simdisk_deinit(struct simdisk *disk);
/* Another disk with the same state of the world (same random state too). No files may be open on
 * the copy's source that the copy would need: handles stay with the source. */
void simdisk_copy(struct simdisk *to, const struct simdisk *from, struct stele_alloc *alloc);

/* The process is gone. All its handles must be closed (closing is allowed while dead). */
void simdisk_restart(struct simdisk *disk);
/* As above, and the power was cut. */
void simdisk_power_cut(struct simdisk *disk, enum simdisk_keep keep);

/* A sync in two halves, for time to pass in between: what was written before begin is durable
 * after an end with STELE_OK. A token is released by end, also when the disk is dead. */
struct simdisk_sync *simdisk_sync_begin(struct stele_file *file);
/* Of these bytes only, as the second half of write_durable(). */
struct simdisk_sync *simdisk_sync_range_begin(struct stele_file *file, uint64_t offset,
                                              uint64_t size);
int simdisk_sync_end(struct simdisk_sync *sync, struct stele_error *err);

/* Writes back some of what is dirty, as a system does when it likes. */
void simdisk_writeback(struct simdisk *disk);

/* Does the device have these bytes there, under this name, come what may? */
bool simdisk_is_durable(const struct simdisk *disk, const char *name, uint64_t offset,
                        struct stele_bytes bytes);
/* The inode behind an open file, to recognise it when its name changes. */
uint64_t simdisk_inode_number(const struct stele_file *file);
bool simdisk_is_durable_inode(const struct simdisk *disk, uint64_t inode, uint64_t offset,
                              struct stele_bytes bytes);
/* Is all that the cache shows of a file on the device too, under this name? */
bool simdisk_is_settled(const struct simdisk *disk, const char *name);
/* Does the cache of any file show what the device does not have and the system will not write? */
bool simdisk_cache_lies(const struct simdisk *disk);
/* Size that the device knows for a name; false if there is no such name. */
bool simdisk_size(const struct simdisk *disk, const char *name, uint64_t *out_size);
/* Copies what the device has. */
bool simdisk_peek(const struct simdisk *disk, const char *name, uint64_t offset, void *buffer,
                  size_t size);
size_t simdisk_files(const struct simdisk *disk);
const char *simdisk_file_name(const struct simdisk *disk, size_t index);
uint64_t simdisk_used(const struct simdisk *disk);

/* Damage at rest, remembered so that it can be undone. */
enum simdisk_damage_kind {
    SIMDISK_BIT,         /* One bit. */
    SIMDISK_BYTES,       /* Some bytes. */
    SIMDISK_ZERO_SECTOR, /* A sector of zeros. */
    SIMDISK_MISDIRECTED, /* A sector that belongs elsewhere in the same file. */
    SIMDISK_DAMAGES
};
/* Damages the sector of a file that offset lies in, on the device and in the cache. false: nothing
 * was changed (the bytes are the same, or there is no such place). */
bool simdisk_damage(struct simdisk *disk, const char *name, uint64_t offset,
                    enum simdisk_damage_kind kind);
/* Undoes all damage that was not overwritten meanwhile. */
void simdisk_heal(struct simdisk *disk);
/* Is any damage left of which nothing was overwritten or removed? */
bool simdisk_is_damaged(const struct simdisk *disk);

#endif
