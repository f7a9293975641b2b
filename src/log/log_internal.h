/* Shared by the files of src/log. Nobody else includes it, but for its tests. */
#ifndef STELE_LOG_LOG_INTERNAL_H
#define STELE_LOG_LOG_INTERNAL_H

#include "base/limits.h"
#include "log/log.h"

#include <stdatomic.h>

/* ---- Frames and records, with the secret already digested (frame.c) ---- */

#define STELE_LOG__FRAME_PLACE_AT 16
#define STELE_LOG__FRAME_SIZE_AT 8
#define STELE_LOG__RECORD_SIZE_AT 4
#define STELE_LOG__RECORD_POSITION_AT 8

/* The checksum of the secret: every header's checksum goes on from it. */
uint32_t stele_log__seed(uint64_t secret);
uint32_t stele_log__frame_encode(uint8_t *buffer, uint32_t seed, const struct stele_frame *frame);
STELE_MUST_USE
int stele_log__frame_decode(struct stele_bytes bytes, uint32_t seed, uint64_t place,
                            struct stele_frame *out_frame);

/* Does the payload (frame->size bytes) belong to the header, as far as can be told without looking
 * into the bodies of its records? Afterwards the sizes of the records are safe, and each record's
 * checksum field is the one that was written. */
bool stele_log__frame_fits(const struct stele_frame *frame, struct stele_bytes payload);
/* Does the payload consist of records, each of which verifies? */
bool stele_log__records_are_intact(struct stele_bytes payload);

/* ---- Headers of segments (segment.c); offsets in docs/internals/log-format.md ---- */

#define STELE_LOG__HEADER_UNIT 4096
#define STELE_LOG__HEADER_PARTITIONS_AT 80
#define STELE_LOG__HEADER_VERSION 1

/* What a header says, but for the partitions. */
struct stele_log__facts {
    uint64_t base;
    uint64_t capacity;
    uint64_t previous_end;
    uint64_t position_before;
    uint64_t events_before;
    uint32_t previous;
    uint32_t partitions;
};

uint32_t stele_log__header_size(uint32_t partitions);

/* What all headers of one store have in common. */
struct stele_log__identity {
    uint8_t store_id[16];
    uint32_t seed;
    uint32_t partitions;
    uint32_t header_size;
};

/* Writes identity->header_size bytes. */
void stele_log__header_encode(uint8_t *buffer, const struct stele_log__identity *identity,
                              const struct stele_log__facts *facts,
                              const struct stele_log_partition *partitions, bool packed);

/* STELE_OK, STELE_E_FORMAT (a newer version), STELE_E_CORRUPT with *out_what. */
STELE_MUST_USE
int stele_log__header_decode(struct stele_bytes bytes, const struct stele_log__identity *identity,
                             uint64_t base, bool packed, struct stele_log__facts *out_facts,
                             const char **out_what);
void stele_log__header_partition(const uint8_t *header, uint32_t partition,
                                 struct stele_log_partition *out_partition);

/* ---- Names ---- */

#define STELE_LOG__SPARE "spare.seg"
#define STELE_LOG__SPARE_TMP "spare.tmp"
#define STELE_LOG__MARK "mark"

/* suffix: "seg", "pak", "tmp" (being packed), "new" (a segment being made). */
void stele_log__name(char name[STELE_FILE_NAME_MAX], uint64_t base, const char *suffix);
/* The base in "<16 hexadecimal digits>.<suffix>"; false if it is no such name. */
bool stele_log__parse_name(const char *name, const char *suffix, uint64_t *out_base);

/* ---- Segments and views (segment.c) ---- */

/* Not looked at yet, fine, damaged. Several readers may look at once; each finds the same. */
#define STELE_LOG__UNKNOWN 0
#define STELE_LOG__INTACT 1
#define STELE_LOG__DAMAGED 2

/* One open, mapped file. Immutable but for what is atomic, and the reference count, which changes
 * under the log's exclusion only. */
struct stele_log_segment {
    uint32_t refs;
    bool packed;
    struct stele_file *file;
    const uint8_t *data;
    uint64_t size; /* Of the file. */
    uint64_t base;
    /* Plain: first place behind it (base + capacity), known from its size. Packed: UINT64_MAX,
     * the header has to be asked. */
    uint64_t limit;
    _Atomic uint32_t header_state;
    _Atomic uint32_t table_state; /* Packed: of footer and block table. */
    /* Packed: blocks whose checksum was right once, one bit each, so that reading blocks that are
     * not compressed costs the checksum only once. */
    _Atomic uint64_t *blocks_seen;
    uint64_t blocks_seen_words;
};

struct stele_log_view {
    uint32_t refs;
    uint32_t count;
    struct stele_io *io;
    struct stele_log__identity identity;
    /* At least one; ascending by base. The bases lie apart, because looking for the segment of a
     * place is part of every random read and should touch little memory. */
    uint64_t *bases;
    struct stele_log_segment *segments[];
};

/* Opens and maps "<base>.seg" or "<base>.pak". writable: for appending. */
STELE_MUST_USE
int stele_log__segment_open(struct stele_io *io, const struct stele_log__identity *identity,
                            uint64_t base, bool packed, bool writable,
                            struct stele_log_segment **out_segment, struct stele_error *err);
void stele_log__segment_unref(struct stele_io *io, struct stele_log_segment *segment);

/* A view with room for count segments, referenced once; NULL: no memory. Its segments are still to
 * be put in, each with a reference that the view takes over. */
struct stele_log_view *stele_log__view_create(struct stele_io *io,
                                              const struct stele_log__identity *identity,
                                              uint32_t count);
void stele_log__view_put(struct stele_log_view *view, uint32_t index,
                         struct stele_log_segment *take_segment);

/* The number of the segment whose places include place: the last one whose base is not above it,
 * or the first if there is none. */
uint32_t stele_log__view_find(const struct stele_log_view *view, uint64_t place);

/* Decodes the header, verifying it the first time. STELE_OK, STELE_E_CORRUPT, STELE_E_FORMAT. */
STELE_MUST_USE
int stele_log__segment_facts(const struct stele_log_view *view, struct stele_log_segment *segment,
                             struct stele_log__facts *out_facts, const char **out_what);

/* Where the places of the view's segment number index end, by its own account. */
uint64_t stele_log__limit_of(const struct stele_log_view *view, uint32_t index);

/* Where the frames of the view's segment number index end, as far as it is known: what the next
 * header says; otherwise the reader's end or the end of the segment. *out_exact: nothing but
 * frames lies before it. */
uint64_t stele_log__segment_end(const struct stele_log_view *view, uint32_t index, uint64_t end,
                                bool *out_exact);

/* ---- Damage ---- */

int stele_log__damage(struct stele_log_reader *reader, const struct stele_log_segment *segment,
                      uint64_t offset, uint64_t place, const char *what);

/* ---- Looking for frames in plain bytes (search.c) ---- */

/* The place of the first valid frame header in [from, to), both multiples of 8; UINT64_MAX if
 * there is none. data holds the bytes of the log from data_place on, up to at least to. Only frames
 * whose durable is at least durable_min count. */
uint64_t stele_log__search(const uint8_t *data, uint64_t data_place, uint64_t from, uint64_t to,
                           uint32_t seed, uint64_t durable_min, struct stele_frame *out_frame);

/* ---- Packed segments (packed.c) ---- */

/* One entry of a block, as found for a place. */
struct stele_log__piece {
    bool reduced;             /* A frame that lost events; otherwise bytes of the log. */
    uint64_t place;           /* Of the first byte. */
    struct stele_bytes bytes; /* From there to the end of the entry. Reduced: the whole entry. */
    uint64_t offset;          /* Of its block in the file, for messages. */
};

/* The entry that holds place, or else the first one behind it; if that lies in another block, only
 * its place is told (bytes empty), so that the block at hand stays. STELE_OK; STELE_END: none;
 * STELE_E_CORRUPT (reader->damage; *out_resume, if not NULL, gets the first place behind the
 * damage that may be tried), STELE_E_NO_MEMORY. */
STELE_MUST_USE
int stele_log__packed_find(struct stele_log_reader *reader, struct stele_log_segment *segment,
                           uint64_t place, struct stele_log__piece *out_piece,
                           uint64_t *out_resume);

/* Releases what the reader keeps for packed segments. */
void stele_log__packed_deinit(struct stele_log_reader *reader);

/* Parts of the format that writing and reading share; offsets in docs/internals/log-format.md. */
#define STELE_LOG__BLOCK_HEADER_SIZE 24
#define STELE_LOG__BLOCK_RAW 0
#define STELE_LOG__BLOCK_ZSTD 1
#define STELE_LOG__BLOCK_SIZE_MAX ((uint64_t)128 * 1024 * 1024) /* Unpacked. */
#define STELE_LOG__ENTRY_HEADER_SIZE 16
#define STELE_LOG__ENTRY_BYTES 1
#define STELE_LOG__ENTRY_REDUCED 2

struct stele_log__block {
    uint64_t place;           /* Of its first entry. */
    uint64_t offset;          /* In the file. */
    uint64_t frame_place;     /* Of the frame that its first entry belongs to. */
    uint64_t position_before; /* Last position before this block. */
    uint32_t checksum;
    uint32_t stored_size;
};
#define STELE_LOG__TABLE_ENTRY_SIZE 40

struct stele_log__footer {
    uint64_t base;
    uint64_t end; /* Of the frames. */
    uint64_t blocks;
    uint64_t table_offset;
    uint64_t events_kept;
    uint64_t events_removed;
};
#define STELE_LOG__FOOTER_SIZE 64

/* Fills in a block's header in front of its stored bytes (padded to 8 with zeros); returns the
 * checksum. */
uint32_t stele_log__block_encode(uint8_t *block, uint32_t seed, uint64_t place,
                                 uint32_t stored_size, uint32_t raw_size, uint8_t codec);
void stele_log__table_entry_encode(uint8_t *buffer, const struct stele_log__block *block);
/* table: as it lies in front of the footer. */
void stele_log__footer_encode(uint8_t *buffer, uint32_t seed, struct stele_bytes table,
                              const struct stele_log__footer *footer);
void stele_log__entry_encode(uint8_t *buffer, uint64_t place, uint32_t size, uint8_t kind);

/* The parts of a reduced frame. */
#define STELE_LOG__REDUCED_HASH_AT STELE_FRAME_HEADER_SIZE
#define STELE_LOG__REDUCED_CHECKSUMS_AT (STELE_FRAME_HEADER_SIZE + 32)

/* Where the frames of a packed segment end. STELE_OK or STELE_E_CORRUPT with *out_what. */
STELE_MUST_USE
int stele_log__packed_end(const struct stele_log_view *view, struct stele_log_segment *segment,
                          uint64_t *out_end, const char **out_what);

/* The place of a frame from which walking forward reaches the first event above position (is_place
 * false), or the last frame that begins below the place (is_place true). STELE_OK,
 * STELE_E_CORRUPT. */
STELE_MUST_USE
int stele_log__packed_bisect(struct stele_log_reader *reader, struct stele_log_segment *segment,
                             uint64_t key, bool is_place, uint64_t *out_place);

/* Does every byte of this file verify? For deciding between two files of one segment. */
bool stele_log__packed_is_whole(const struct stele_log_view *view,
                                struct stele_log_segment *segment);

/* Is the block that holds place the one that the reader has at hand? */
bool stele_log__packed_is_at_hand(const struct stele_log_reader *reader,
                                  struct stele_log_segment *segment, uint64_t place);

/* ---- Walking over frames (walk.c) ---- */

/* Where a walk is. */
struct stele_log__spot {
    uint64_t place;
    uint32_t index; /* Of the segment in the view. */
    struct stele_log_segment *segment;
    uint64_t end; /* Of its frames, as far as the reader may look. */
    bool exact;   /* Everything below end is frames; otherwise zeros end it too. */
};

/* No base: the argument `arrived` of a walk that has arrived nowhere yet. */
#define STELE_LOG__NOWHERE UINT64_MAX

/* Finds the segment of a place where a frame begins or the segment's frames end; in the latter
 * case goes on to the next segment. Arriving at a base checks that segment's header, unless
 * arrived is that base: then its damage has been told.
 *
 * STELE_OK         *out_spot is where to read a frame.
 * STELE_END        The reader's end.
 * STELE_E_CORRUPT  A segment is missing or a header is damaged: reader->damage; out_spot->place,
 *                  a base, is where to go on and what to pass as arrived. */
STELE_MUST_USE
int stele_log__enter(struct stele_log_reader *reader, uint64_t place, uint64_t arrived,
                     struct stele_log__spot *out_spot);

/* The header of the frame at the spot. STELE_OK; STELE_END: the segment's frames end here although
 * spot->end is further (only if it is not exact); STELE_E_CORRUPT with reader->damage and
 * *out_resume, the next frame that verifies or the end of the segment; STELE_E_NO_MEMORY. */
STELE_MUST_USE
int stele_log__frame_at(struct stele_log_reader *reader, const struct stele_log__spot *spot,
                        struct stele_frame *out_frame, uint64_t *out_resume);

static inline uint64_t stele_log__frame_end(const struct stele_frame *frame)
{
    return frame->place + STELE_FRAME_HEADER_SIZE + frame->size;
}

/* The bytes of the log from place to end in a plain segment. */
static inline struct stele_bytes stele_log__plain_bytes(const struct stele_log_view *view,
                                                        const struct stele_log_segment *segment,
                                                        uint64_t place, uint64_t end)
{
    STELE_ASSERT(place >= segment->base);
    STELE_ASSERT(place <= end);
    STELE_ASSERT(end <= segment->limit);
    return (struct stele_bytes){.data = segment->data + view->identity.header_size +
                                        (place - segment->base),
                                .size = (size_t)(end - place)};
}

/* A record in a loaded frame. */
struct stele_log__span {
    uint64_t place;
    size_t offset; /* In bytes of the loaded frame. */
    size_t size;
};

/* A frame as a whole, every checksum verified: what is left of it. */
struct stele_log__loaded {
    const struct stele_log_segment *segment; /* NULL: nothing is loaded. */
    struct stele_frame frame;
    uint8_t header[STELE_FRAME_HEADER_SIZE];
    bool reduced;               /* Events are gone; then … */
    uint8_t hash[32];           /* … the SHA-256 of the frame as it was, and … */
    struct stele_buf checksums; /* … the checksums of all its records. */
    struct stele_bytes bytes;   /* The payload; reduced: what is left, one after the other. */
    bool is_copied;             /* bytes lie in buffer. */
    struct stele_buf buffer;
    struct stele_buf spans; /* Of struct stele_log__span. */
    size_t spans_count;
};
static inline const struct stele_log__span *
stele_log__loaded_spans(const struct stele_log__loaded *loaded)
{
    return (const struct stele_log__span *)(const void *)loaded->spans.data;
}

/* Loads the frame at the spot into reader->loaded. Outcomes as stele_log__frame_at(). */
STELE_MUST_USE
int stele_log__load(struct stele_log_reader *reader, const struct stele_log__spot *spot,
                    uint64_t *out_resume);

/* ---- SHA-256 (digest.c) ---- */

struct stele_log__sha {
    void *algorithm; /* An EVP_MD. */
    void *context;   /* An EVP_MD_CTX. */
};
/* false: no memory. */
STELE_MUST_USE
bool stele_log__sha_init(struct stele_log__sha *sha);
void stele_log__sha_deinit(struct stele_log__sha *sha);
/* The hash of one after the other. out_hash may be a part of the input. */
STELE_MUST_USE
bool stele_log__sha_frame(struct stele_log__sha *sha, struct stele_bytes header,
                          struct stele_bytes payload, uint8_t out_hash[32]);

/* ---- The log (log.c, roll.c, open.c, recover.c) ---- */

#define STELE_LOG__BUFFERS (STELE_COMMITS_IN_FLIGHT_MAX + 1)

/* Bytes on their way to the disk. */
struct stele_log__group {
    uint64_t id;
    uint64_t place;
    uint64_t place_end;
    uint64_t position_last;
    uint32_t checksum_last; /* Of the last frame's header. */
    uint64_t stamp_last;
    bool finished;
    struct stele_buf bytes;
};

struct stele_log {
    struct stele_io *io;
    struct stele_alloc *alloc;
    struct stele_log_options options;
    struct stele_log__identity identity;
    struct stele_log_view *view;

    uint64_t end;
    uint64_t durable;
    uint64_t position;
    uint64_t position_durable;
    uint64_t events;
    uint64_t stamp; /* The highest term of any frame: they grow. */
    uint64_t stamp_durable;
    uint32_t checksum_last;    /* Of the header of the last frame staged … */
    uint32_t checksum_durable; /* … and of the last durable one. */
    uint64_t synced;           /* Equal to durable, unless syncs come later. */
    uint64_t stamp_synced;
    uint32_t checksum_synced;
    struct stele_log_partition *partitions;
    bool fenced;

    /* A ring: groups[first … first + in_flight - 1] are out, oldest first; the one behind them
     * gathers. */
    struct stele_log__group groups[STELE_LOG__BUFFERS];
    uint32_t first;
    uint32_t in_flight;
    uint64_t next_id;
    uint64_t reserved;     /* Bytes reserved and not yet committed. */
    uint64_t frames_place; /* Where the next stele_log_put_frame() belongs. */

    uint64_t spare_size; /* Of spare.seg; 0: there is none. */
    uint64_t mark_sequence;
};

static inline struct stele_log_segment *stele_log__last(const struct stele_log_view *view)
{
    return view->segments[view->count - 1];
}

/* Everything that is durable is synced, too. */
static inline void stele_log__all_synced(struct stele_log *log)
{
    log->synced = log->durable;
    log->stamp_synced = log->stamp_durable;
    log->checksum_synced = log->checksum_durable;
}

/* A frame is the last one of the log now: what its partition and the chain go on from. */
static inline void stele_log__take_up(struct stele_log *log, const struct stele_frame *frame)
{
    struct stele_log_partition *const partition = &log->partitions[frame->partition];
    partition->index = frame->index;
    partition->term = frame->term != 0 ? frame->term : partition->term;
    log->stamp = frame->term > log->stamp ? frame->term : log->stamp;
    log->checksum_last = frame->header_checksum;
}

/* The file size of the segment after the last one, for frames of size bytes. */
uint64_t stele_log__next_file_size(const struct stele_log *log, uint64_t size);

/* Makes "<facts->base>.seg" durable, with a header and nothing else, and opens it. spare: from
 * spare.seg. *out_undone: on failure, is it certain that no file of that name can appear? */
STELE_MUST_USE
int stele_log__segment_make(struct stele_io *io, const struct stele_log__identity *identity,
                            const struct stele_log__facts *facts,
                            const struct stele_log_partition *partitions, bool spare,
                            struct stele_log_segment **out_segment, bool *out_undone,
                            struct stele_error *err);

/* The mark file: how far the log is known to have been durable. */
struct stele_log__mark {
    uint64_t sequence; /* 0: none. */
    uint64_t durable;
    uint32_t checksum; /* Of the header of the last frame below. */
};
#define STELE_LOG__MARK_SLOT_SIZE 512
void stele_log__mark_encode(uint8_t *buffer, uint32_t seed, const struct stele_log__mark *mark);
/* The newer of the slots that verify; sequence 0 if none does. */
void stele_log__mark_decode(struct stele_bytes bytes, uint32_t seed,
                            struct stele_log__mark *out_mark);
STELE_MUST_USE
int stele_log__mark_read(struct stele_io *io, uint32_t seed, struct stele_log__mark *out_mark,
                         struct stele_error *err);

#endif
