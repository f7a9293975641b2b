/* A disk in memory behind struct stele_io: for tests that fail calls, cut the power and look at
 * what is left. One thread. Its own memory is malloc()'s, so that the allocator under test is not
 * disturbed.
 *
 * What a file holds is kept twice: what write(), read() and map() show (the page cache), and what
 * a power cut leaves for sure (the disk). In between lie the writes since the last sync(), in
 * order. Names are kept twice in the same way: the directory, and the directory as of the last
 * sync_names(), with the changes in between.
 *
 *     write ──▶ cache ──sync──▶ disk          create, rename, remove ──▶ names ──sync_names──▶ disk
 *                 └── memio_crash: any subset of unsynced 512-byte pieces and of changes
 *
 * A sync() that fails behaves as Linux does: the unsynced writes stay visible in the cache, count
 * as clean, and never reach the disk; drop_cache() or a crash shows the truth.
 *
 *     struct memio disk;
 *     memio_init(&disk, alloc, seed);
 *     … disk.fail_at = 7;                     the 7th call from here on fails, see fail_outcome
 *     … memio_crash(&disk, MEMIO_KEEP_RANDOM);  power cut: close nothing, open everything anew
 *     memio_deinit(&disk); */
#ifndef STELE_TESTS_LIB_MEMIO_H
#define STELE_TESTS_LIB_MEMIO_H

#include "io/io.h"
#include "rng.h"

#define MEMIO_FILES_MAX 512
#define MEMIO_SECTOR 512

/* Which calls count for fail_at and may fail. Or them together. */
#define MEMIO_CREATE 1U
#define MEMIO_OPEN 2U
#define MEMIO_SIZE 4U
#define MEMIO_WRITE 8U
#define MEMIO_SYNC 16U
#define MEMIO_READ 32U
#define MEMIO_MAP 64U
#define MEMIO_RENAME 128U
#define MEMIO_REMOVE 256U
#define MEMIO_SYNC_NAMES 512U
#define MEMIO_LIST 1024U
#define MEMIO_ALL 2047U

/* What a crash keeps of what was not synced. */
#define MEMIO_KEEP_NONE 0
#define MEMIO_KEEP_ALL 1
#define MEMIO_KEEP_RANDOM 2 /* Any 512-byte pieces of writes; any, or the first, of names. */

struct memio_write { /* Not yet on the disk. */
    uint64_t offset;
    uint64_t size;
    uint8_t *data;
    struct memio_write *next;
};

struct memio_inode {
    uint8_t *cache; /* Never moves while mapped. */
    uint8_t *disk;
    uint64_t size;
    uint64_t size_disk;
    uint64_t capacity;          /* Of both. */
    struct memio_write *writes; /* Oldest first. */
    struct memio_write **writes_end;
    uint32_t refs; /* Names and open files. */
    bool mapped;
};

struct memio_name {
    char name[STELE_FILE_NAME_MAX];
    struct memio_inode *inode;
};

struct memio_names {
    struct memio_name entries[MEMIO_FILES_MAX]; /* In byte order. */
    uint32_t count;
};

/* A change of names that is not durable yet. */
struct memio_change {
    char from[STELE_FILE_NAME_MAX]; /* Empty: none. */
    char to[STELE_FILE_NAME_MAX];   /* Empty: none (a removal). */
    struct memio_inode *inode;      /* What was created; counted. */
    struct memio_change *next;
};

struct memio {
    struct stele_io io; /* Hand this to the code under test. */
    struct rng rng;
    struct memio_names names;
    struct memio_names names_disk;
    struct memio_change *changes;
    struct memio_change **changes_end;
    struct memio_open *open_files;

    /* Faults. */
    uint64_t calls;        /* That matched fail_mask since it was last set to 0. */
    uint64_t fail_at;      /* Call number fail_at fails; 0: none. */
    bool fail_sticky;      /* And every later one that matches. */
    uint32_t fail_mask;    /* MEMIO_…; memio_init() sets MEMIO_ALL. */
    int fail_outcome;      /* memio_init() sets STELE_E_IO. */
    const char *fail_name; /* Only calls for files whose name contains this count; NULL: all. */
    uint64_t failures;     /* Calls that failed so. */
    uint64_t space;        /* Bytes of all files together; more is STELE_E_NO_SPACE. */
    bool drop_is_idle;     /* drop_cache() does nothing, as on file systems that cannot. */
    int64_t now_us;        /* What the clock says; each look adds 1. */
    uint32_t open_count;   /* Open files: 0 at the end of a test that leaks none. */
    uint64_t written;      /* Bytes ever written, and … */
    uint64_t syncs;        /* … syncs that succeeded: for tests that count. */
};

void memio_init(struct memio *disk, struct stele_alloc *alloc, uint64_t seed);
/* Files that are still open are closed. */
void memio_deinit(struct memio *disk);

/* Power cut. Open files become useless but can still be closed; the disk goes on with what was
 * kept. Faults stay as they are set. */
void memio_crash(struct memio *disk, int keep);

/* The process ends, the machine lives: all open files are closed, the cache stays. */
void memio_kill(struct memio *disk);

/* The state of the whole disk as a copy (no open files in it), so that one crash can be tried in
 * many ways. The copy is a memio of its own. */
void memio_copy(const struct memio *disk, struct memio *out_copy);

/* The content of a file for looking at or damaging, cache and disk alike; NULL if there is none. */
struct memio_inode *memio_find(struct memio *disk, const char *name);
/* Changes bytes in cache and disk, as rot does. */
void memio_damage(struct memio *disk, const char *name, uint64_t offset, uint8_t xor_with);
/* Puts a file of these bytes there, durable. */
void memio_put(struct memio *disk, const char *name, struct stele_bytes bytes);
/* Removes a name durably. */
void memio_drop(struct memio *disk, const char *name);

#endif
