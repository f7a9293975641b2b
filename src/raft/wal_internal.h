/* What the files of the WAL share. Nobody else includes it, but tests.
 *
 *     mark                two slots: how far the log was durable, and the first segment that counts
 *     <number>.wal        segments, numbered without gaps: a header, then records back to back
 *     <number>.spare      was a segment, waits to be one again
 *     <number>.new        becomes a segment; removed by opening
 *
 * Places are offsets in the sequence of all records ever put; the first is STELE_WAL__FIRST. A
 * segment ends where the next one begins: places have no gaps. */
#ifndef STELE_RAFT_WAL_INTERNAL_H
#define STELE_RAFT_WAL_INTERNAL_H

#include "raft/wal.h"

#define STELE_WAL__ALIGN 8
#define STELE_WAL__FIRST ((uint64_t)4096) /* So that 0 is no place. */
#define STELE_WAL__SEGMENT_HEADER ((uint64_t)4096)
#define STELE_WAL__RECORD_HEADER ((uint64_t)48)
#define STELE_WAL__FACTS_SIZE 512 /* Of a segment's header; the rest of it is zeros. */
#define STELE_WAL__MARK_SLOT 512
#define STELE_WAL__MARK_STEP ((uint64_t)4096) /* From slot to slot. */
#define STELE_WAL__MARK_SIZE (2 * STELE_WAL__MARK_STEP)
#define STELE_WAL__IN_FLIGHT_MAX 4
#define STELE_WAL__SPARES_MAX 1024
#define STELE_WAL__MARK "mark"
#define STELE_WAL__MARK_NEW "mark.new"

/* ---- Format: wal_format.c ---- */

struct stele_wal__facts { /* Of a segment. */
    uint8_t owner_id[16];
    uint32_t secret_check;
    uint64_t salt;
    uint64_t number, base, capacity;
    uint64_t durable; /* Everything below this place was, when the segment was made. */
};

void stele_wal__facts_encode(uint8_t buffer[STELE_WAL__FACTS_SIZE],
                             const struct stele_wal__facts *facts);
/* STELE_OK, STELE_E_CORRUPT, STELE_E_FORMAT. Nothing is promised of the values. */
int stele_wal__facts_decode(const uint8_t buffer[STELE_WAL__FACTS_SIZE],
                            struct stele_wal__facts *out_facts);

struct stele_wal__mark {
    uint8_t owner_id[16];
    uint64_t sequence; /* 1, 2, …; the slot is sequence mod 2. */
    uint64_t durable;
    uint64_t start; /* Number of the first segment that counts. */
};

void stele_wal__mark_encode(uint8_t buffer[STELE_WAL__MARK_SLOT],
                            const struct stele_wal__mark *mark);
int stele_wal__mark_decode(const uint8_t buffer[STELE_WAL__MARK_SLOT],
                           struct stele_wal__mark *out_mark);

/* What the checksums of a segment's records begin with. secret: the owner's, with the log's salt (by
 * exclusive or), so that one that is known to others does no harm. Different for any two numbers, so that what
 * a file held under another number never verifies (W5). */
uint32_t stele_wal__seed(uint64_t secret, uint64_t number);
uint32_t stele_wal__secret_check(uint64_t secret);

struct stele_wal__header { /* Of a record. */
    uint64_t place, durable, index, term;
    uint32_t size, payload_checksum;
    uint16_t group;
    uint8_t kind, type;
};

/* payload_checksum is computed from payload. */
void stele_wal__header_encode(uint8_t buffer[STELE_WAL__RECORD_HEADER], uint32_t seed,
                              uint64_t place, uint64_t durable,
                              const struct stele_wal_record *record);
/* Is there the header of a record that was put at this place? */
bool stele_wal__header_decode(const uint8_t *buffer, uint32_t seed, uint64_t place,
                              struct stele_wal__header *out_header);
bool stele_wal__payload_is_intact(uint32_t seed, const struct stele_wal__header *header,
                                  struct stele_bytes payload);
struct stele_wal_record stele_wal__record_of(const struct stele_wal__header *header,
                                             struct stele_bytes payload);

static inline uint64_t stele_wal__record_size(uint64_t payload_size)
{
    return stele_align_up(STELE_WAL__RECORD_HEADER + payload_size, STELE_WAL__ALIGN);
}

void stele_wal__name(char name[STELE_FILE_NAME_MAX], uint64_t number, const char *suffix);
bool stele_wal__parse_name(const char *name, const char *suffix, uint64_t *out_number);

/* ---- The log ---- */

struct stele_wal__segment {
    uint64_t number, base;
    uint64_t limit; /* Base and capacity. It ends earlier if the next one's base is lower. */
    uint32_t seed;
    struct stele_file *file;
};

/* Bytes of one segment that are written as one. */
struct stele_wal__batch {
    struct stele_wal__batch *next;
    uint64_t id; /* 0: not taken yet. */
    uint64_t place;
    uint64_t segment_base;
    struct stele_file *file;
    bool finished;
    struct stele_buf bytes;
};

struct stele_wal {
    struct stele_io *io;
    struct stele_alloc *alloc;
    struct stele_wal_options options;
    uint64_t salt; /* Random, drawn when the log was made. */

    struct stele_wal__segment *segments; /* Ascending; the last one is written. */
    size_t segments_count, segments_capacity;
    uint64_t *spares; /* Their numbers; room for spares_max. */
    size_t spares_count;

    /* From the oldest that is not durable to the newest, back to back: those that were taken, then
     * those that were not. The last one gathers, if it was not taken. */
    struct stele_wal__batch *first, *last;
    struct stele_wal__batch *free; /* With their buffers. */
    size_t taken;                  /* Of the batches. */
    uint64_t next_id;

    uint64_t durable, end;
    bool fenced;

    struct stele_file *mark_file;
    uint64_t mark_sequence;
    uint64_t said;      /* A place that the disk says to have been durable. */
    bool mark_wanted;   /* By stele_wal_mark(). */
    uint64_t mark_id;   /* Of the mark that is out; 0: none. */
    uint64_t mark_said; /* What it says. */
    uint8_t mark_bytes[STELE_WAL__MARK_SLOT];
};

static inline struct stele_wal__segment *stele_wal__last(const struct stele_wal *wal)
{
    return &wal->segments[wal->segments_count - 1];
}

/* wal_roll.c */

/* Room for one more in wal->segments. */
STELE_MUST_USE
int stele_wal__segments_reserve(struct stele_wal *wal);
/* Makes the segment behind the last one (or the first one), for a record of this size. STELE_OK, or nothing has
 * changed, or the log is fenced. */
STELE_MUST_USE
int stele_wal__segment_make(struct stele_wal *wal, uint64_t size, struct stele_error *err);
/* Writes the next mark to its slot and waits. Fences on failure. */
STELE_MUST_USE
int stele_wal__mark_write(struct stele_wal *wal, uint64_t start, struct stele_error *err);
void stele_wal__mark_next(struct stele_wal *wal, uint64_t start, uint8_t *buffer,
                          uint64_t *out_offset);

/* wal_open.c */
STELE_MUST_USE
int stele_wal__open(struct stele_wal *wal, stele_wal_record_callback on_record, void *context,
                    struct stele_error *err);

#endif
