/* The shared log of all Raft groups of a node: what has to be durable before a message that relies on
 * it may leave. One sequence of records, one group commit for all groups.
 *
 * A record is an entry of a group, its term and vote, or the metadata of its snapshot. Nothing is
 * ever overwritten: an entry at an index that the group already has takes back that one and
 * everything behind it, the newest term and vote count, and so does the newest snapshot. Who opens the
 * log is told all records in order and keeps (index → place) himself.
 *
 * It is kept in segments "<number>.wal" of one directory (struct stele_io). Segments are dropped, or
 * used again, once trim() has said that nothing in them is needed; what is still needed of a group that is hardly
 * ever written (its term and vote, its snapshot) the owner puts again before he trims.
 *
 * Recovery tells a torn tail (cut) from damage (STELE_E_CORRUPT with file and offset): a record that does not verify
 * is a tail only if nothing behind it says that it had been durable.
 *
 * Sans-I/O where it counts, like the log of a store: put() stages in memory, take() hands out bytes,
 * whoever owns a thread writes them (file->io->ops->write_durable), done() tells the end. Everything else uses
 * struct stele_io synchronously. One thread at a time, but stele_wal_read(), see there.
 *
 * Invariants: W1 what was durable is never cut. W2 durable grows over the finished prefix only, after a failed write
 * never again. W3 records are told in the order in which they were put, each once. W4 what lies at a place that
 * put() gave out is read back as it was, or as damage, until it is trimmed. W5 bytes of an earlier use of a
 * segment's file are never taken for records. */
#ifndef STELE_RAFT_WAL_H
#define STELE_RAFT_WAL_H

#include "io/io.h"

#define STELE_WAL_PAYLOAD_MAX ((uint64_t)128 * 1024 * 1024) /* Of one record. */
#define STELE_WAL_SEGMENT_SIZE_MIN ((uint64_t)64 * 1024)
#define STELE_WAL_SEGMENT_SIZE_MAX ((uint64_t)1024 * 1024 * 1024)

struct stele_wal;

enum stele_wal_kind {
    STELE_WAL_ENTRY = 1, /* group, index, term, type, payload. */
    STELE_WAL_HARD = 2,  /* group, term, vote in index (0: none). */
    STELE_WAL_SNAPSHOT =
        3,              /* group, index, term, payload: whatever the owner wants to know of it. */
    STELE_WAL_NOTE = 4, /* group, payload: the owner's; the newest of each group counts. */
};

struct stele_wal_record {
    uint8_t kind;
    uint8_t type; /* Of an entry; the owner's. */
    uint16_t group;
    uint64_t index;
    uint64_t term;
    struct stele_bytes payload;
};

struct stele_wal_options {
    uint8_t owner_id[16];  /* Of the node's incarnation: another's files are refused. */
    uint64_t secret;       /* Keeps payloads from looking like records. */
    uint64_t segment_size; /* 64 KiB … 1 GiB; a larger record gets a segment of its own. */
    uint32_t spares_max;   /* Trimmed files that are kept to be used again. */
};

/* Anything but STELE_OK ends the opening with that outcome. The record is valid during the call. */
typedef int (*stele_wal_record_callback)(void *context, const struct stele_wal_record *record,
                                         uint64_t place);

/* Opens the log in the directory that io reaches, or makes a new one where there is none.
 *
 * STELE_OK, STELE_E_CORRUPT, STELE_E_NOT_A_STORE (another owner's, or other files), STELE_E_IO, STELE_E_NO_SPACE,
 * STELE_E_NO_MEMORY, or what on_record returned. */
STELE_MUST_USE
int stele_wal_open(struct stele_io *io, const struct stele_wal_options *options,
                   stele_wal_record_callback on_record, void *context, struct stele_wal **out_wal,
                   struct stele_error *err);
/* Releases it; writes nothing. NULL is fine. */
void stele_wal_close(struct stele_wal *wal);

/* Stages one record; the payload is copied. *out_place: where it begins, for stele_wal_read(); it is durable once
 * stele_wal_durable() > place. A new segment is made here when the last one is full (waits for the disk).
 *
 * STELE_OK, STELE_E_NO_MEMORY, STELE_E_NO_SPACE, STELE_E_IO, STELE_E_FENCED, STELE_E_PERMISSION, STELE_E_READ_ONLY.
 * Nothing was staged then; what was put before goes on. */
STELE_MUST_USE
int stele_wal_put(struct stele_wal *wal, const struct stele_wal_record *record, uint64_t *out_place,
                  struct stele_error *err);

/* Bytes to be made durable, in one file. Several groups may be out at once (at most 4). */
struct stele_wal_group {
    uint64_t id; /* 1, 2, … */
    struct stele_file *file;
    uint64_t offset;
    struct stele_bytes bytes; /* Valid until stele_wal_done(). */
};
/* Takes what is staged, up to the end of a segment. false: nothing, or too many are out. */
bool stele_wal_take(struct stele_wal *wal, struct stele_wal_group *out_group);
/* In any order. Any outcome but STELE_OK fences the log for good. */
void stele_wal_done(struct stele_wal *wal, uint64_t id, int outcome);

/* Call it when nothing has been put for a while (some 10 ms), and before the end: if nothing on the disk says yet that
 * the last records were durable, the next take() that finds nothing else hands out a few bytes that say so. Until then
 * records that rot just before the process ends cannot be told from records that were never written. */
void stele_wal_mark(struct stele_wal *wal);

uint64_t stele_wal_durable(const struct stele_wal *wal); /* Everything below this place is. */
uint64_t stele_wal_end(const struct stele_wal *wal);     /* Place of the next record. */
uint64_t stele_wal_start(const struct stele_wal *wal);   /* Nothing below can be read. */
uint64_t stele_wal_size(const struct stele_wal *wal);    /* Bytes from start to end. */
bool stele_wal_is_fenced(const struct stele_wal *wal);
bool stele_wal_has_staged(const struct stele_wal *wal); /* take() has something to hand out. */

/* The record at a place that put() or opening gave, staged ones included: checked, payload appended to
 * *out_payload (the caller's, from wal's allocator, kept as it was on failure); out_record->payload is there, until it
 * grows. Under the same exclusion as everything else.
 *
 * STELE_OK, STELE_NOT_FOUND (trimmed), STELE_E_CORRUPT, STELE_E_IO, STELE_E_NO_MEMORY */
STELE_MUST_USE
int stele_wal_read(struct stele_wal *wal, uint64_t place, struct stele_wal_record *out_record,
                   struct stele_buf *out_payload, struct stele_error *err);

/* Nothing below place is needed any more, and whoever needs something of it has put it again and it is durable.
 * Whole segments below it are dropped or kept as spares. */
STELE_MUST_USE
int stele_wal_trim(struct stele_wal *wal, uint64_t place, struct stele_error *err);

/* Debug and simulator builds: asserts every invariant that can be seen in memory. */
void stele_wal_check(const struct stele_wal *wal);

#endif
