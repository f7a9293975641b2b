/* The log: the only place where events live. Everything else can be rebuilt from it.
 *
 * It is a sequence of frames at ever-growing places (logical byte offsets), kept in segment files:
 *
 *     0000000000000000.seg   plain: a header, then frames; written front to back, then sealed
 *     0000000000400000.pak   packed: a sealed segment rewritten by scavenging or compression;
 *                            what remains keeps its place
 *     spare.seg              a prepared file for the next segment
 *     mark                   how far the log was known to be durable (two slots)
 *
 * A segment is made only when everything before it is durable: all but the last are sealed, and a
 * sealed one is never torn, only damaged.
 *
 * Sans-I/O where it counts: the writer stages frames in memory (stele_log_reserve), hands out the
 * bytes as a group to whoever owns a thread (stele_log_take), and is told of the end
 * (stele_log_done). Several groups may be in flight; they become durable in order. Everything else
 * uses struct stele_io synchronously and is called where waiting is allowed.
 *
 * Threads: one at a time for everything that takes struct stele_log. A struct stele_log_view is an
 * immutable, counted snapshot of the segments: get and release it under the same exclusion as the
 * log, use it (through a reader of your own) from any thread. */
#ifndef STELE_LOG_LOG_H
#define STELE_LOG_LOG_H

#include "io/io.h"
#include "log/frame.h"

struct stele_log;
struct stele_log_view;

struct stele_log_options {
    uint8_t store_id[16];
    uint64_t secret;
    uint32_t partitions;
    uint64_t segment_size_first; /* Of a new log; each next segment is twice as large … */
    uint64_t segment_size_max; /* … up to this. A frame that is larger gets a segment of its own. */
    bool read_only;            /* Nothing is written: no cut, no temporary files removed. */
    bool syncs_later;          /* See stele_log_sync_begin(). */
};

/* What one partition's last frame says. */
struct stele_log_partition {
    uint64_t term; /* The last stamp that was not 0. */
    uint64_t index;
};

/* Called for each intact event of the last segment during open, in order. Anything but STELE_OK
 * ends the opening with that outcome. place: of the record. */
typedef int (*stele_log_event_callback)(void *context, const struct stele_frame *frame,
                                        uint64_t place, const struct stele_event *event);

/* Opens the log, or makes a new one when there are no segments.
 *
 * Recovery reads the last segment (from the device, not from the page cache), verifies every
 * frame, tells on_event of each event with a place at or above events_from, cuts a torn tail (also
 * an incomplete group of frames) and zeroes what lies behind the cut.
 *
 * Damage of acknowledged frames in the last segment at or above events_from: STELE_E_CORRUPT,
 * because the revisions that followed from them are unknown; with read_only it is passed over and
 * reported to readers. Below events_from it is left to readers in both cases, unless a frame's
 * header is damaged: whoever writes on must know how many frames there were.
 *
 * live_end, read_only beside a living writer: nothing at or above this place is looked at, unless
 * the writer has sealed and packed that segment since, and then all of it; otherwise UINT64_MAX. */
STELE_MUST_USE
int stele_log_open(struct stele_io *io, const struct stele_log_options *options,
                   uint64_t events_from, uint64_t live_end, stele_log_event_callback on_event,
                   void *context, struct stele_log **out_log, struct stele_error *err);

/* Releases it. Every view must have been released. Does not write. NULL is fine. */
void stele_log_close(struct stele_log *log);

/* Read-only beside a living writer: takes up what was written up to live_end since, new segments
 * included. The same callback as in open; should it fail, events of the frame it failed in are told
 * again by the next call. Damage is passed over, readers are told of it. The end may stay below
 * live_end if files are not found yet: the next call goes on there. */
STELE_MUST_USE
int stele_log_follow(struct stele_log *log, uint64_t live_end, stele_log_event_callback on_event,
                     void *context, struct stele_error *err);

/* ---- Facts ---- */
uint64_t stele_log_start(const struct stele_log *log); /* Place of the first frame ever. */
uint64_t
stele_log_end(const struct stele_log *log); /* Place of the next frame, staged ones counted. */
uint64_t stele_log_durable(const struct stele_log *log);  /* All below is durable. */
uint64_t stele_log_position(const struct stele_log *log); /* Last position staged; 0 if none. */
uint64_t stele_log_position_durable(const struct stele_log *log); /* Last position below durable. */
uint64_t stele_log_events(const struct stele_log *log); /* Events ever, staged ones counted. */
/* The stamp (term) of the last frame that has one, staged ones counted; 0: none. */
uint64_t stele_log_stamp(const struct stele_log *log);
uint64_t stele_log_stamp_durable(const struct stele_log *log); /* The last one below durable. */
const struct stele_log_partition *stele_log_partition(const struct stele_log *log,
                                                      uint32_t partition);
uint32_t stele_log_segments(const struct stele_log *log);
uint64_t stele_log_disk_size(const struct stele_log *log); /* Bytes of its files. */
bool stele_log_is_fenced(const struct stele_log *log);

/* ---- Writing ---- */

/* Reserves size bytes (a multiple of 8) for the frames of one atomic append at the log's end.
 * The caller fills them completely before the next call to any function of the log and then calls
 * stele_log_commit().
 *
 * STELE_OK           *out_bytes, *out_place are set.
 * STELE_INCOMPLETE   The segment is full: finish all groups, stele_log_roll(), and try again.
 * STELE_E_LIMIT      More than STELE_FRAME_SIZE_MAX.
 * STELE_E_NO_MEMORY
 * STELE_E_FENCED */
STELE_MUST_USE
int stele_log_reserve(struct stele_log *log, uint64_t size, uint8_t **out_bytes,
                      uint64_t *out_place);

/* The frames that the caller writes go through this: fills place, durable, previous, index (next
 * of its partition) into *frame, encodes it at buffer, keeps the chain. Its term is the caller's: 0,
 * or a stamp that is not below the last one. Call once per frame, in order, between reserve and
 * commit. */
void stele_log_put_frame(struct stele_log *log, uint8_t *buffer, struct stele_frame *frame);

/* The reserved bytes are complete; position_last is that of their last event. */
void stele_log_commit(struct stele_log *log, uint64_t position_last, uint64_t events);

/* The bytes from place to the end of what is staged or in flight there: for looking at a record
 * that is not durable yet. place must lie at a record between durable and end. Good until the next
 * reserve or done. */
struct stele_bytes stele_log_staged(const struct stele_log *log, uint64_t place);

/* The first position above this one of those that are staged or in flight; 0: there is none. */
uint64_t stele_log_staged_after(const struct stele_log *log, uint64_t position);

/* Are there staged bytes that no group holds? */
bool stele_log_has_staged(const struct stele_log *log);
uint64_t stele_log_staged_size(const struct stele_log *log);
uint32_t stele_log_in_flight(const struct stele_log *log);

/* Bytes to be made durable: file->io->ops->write_durable(file, offset, bytes). */
struct stele_log_group {
    uint64_t id; /* 1, 2, … */
    uint64_t place_end;
    struct stele_file *file;
    uint64_t offset;
    struct stele_bytes bytes;
};

/* Takes all staged bytes as a group. false: nothing staged, or STELE_COMMITS_IN_FLIGHT_MAX groups
 * are out. The bytes stay valid until stele_log_done() for this group. */
bool stele_log_take(struct stele_log *log, struct stele_log_group *out_group);

/* A group has been written and synced, or not. Outcomes may arrive in any order; durable grows
 * over the finished groups without a gap. Any outcome but STELE_OK fences the log for good:
 * durable does not grow any more, reserve answers STELE_E_FENCED. */
void stele_log_done(struct stele_log *log, uint64_t id, int outcome);

/* With options.syncs_later, groups are only written (file->io->ops->write()), and whoever keeps what they come from
 * somewhere else syncs now and then, before he lets go of it. "Durable" above then means: a process that dies loses
 * nothing of it. A power cut may, and leaves what is synced; nothing else is claimed to have been durable by frames, the
 * mark, the next segment. Without the option everything is synced when it is durable.
 *
 * begin says what has to be synced (file->io->ops->sync(), without the log's exclusion), false: nothing. One at a time,
 * and no roll meanwhile. Any outcome but STELE_OK fences the log for good. */
struct stele_log_sync {
    struct stele_file *file;
    uint64_t place, stamp;
    uint32_t checksum;
};
bool stele_log_sync_begin(struct stele_log *log, struct stele_log_sync *out_sync);
void stele_log_sync_end(struct stele_log *log, const struct stele_log_sync *sync, int outcome);
/* Both, here and now. */
STELE_MUST_USE
int stele_log_sync(struct stele_log *log, struct stele_error *err);
uint64_t stele_log_synced(const struct stele_log *log);       /* All below survives a power cut. */
uint64_t stele_log_stamp_synced(const struct stele_log *log); /* The last one below synced. */

/* Makes the next segment, large enough for a frame group of size bytes. Nothing may be staged or
 * in flight; what is not synced will be. Uses the spare if it fits. STELE_E_NO_SPACE leaves everything as it was; any other
 * failure too, but is STELE_E_IO. */
STELE_MUST_USE
int stele_log_roll(struct stele_log *log, uint64_t size, struct stele_error *err);

/* Should a spare be prepared now, and of which file size? false: there is one, or it is too early. */
bool stele_log_wants_spare(const struct stele_log *log, uint64_t *out_file_size);
/* Prepares it. Touches the disk only, not *log: may run beside everything else, on any thread. */
STELE_MUST_USE
int stele_log_make_spare(struct stele_io *io, uint64_t file_size, struct stele_error *err);
/* Tells the log that a spare of this file size is there. */
void stele_log_have_spare(struct stele_log *log, uint64_t file_size);

/* Writes how far the log is synced to "mark", so that recovery can tell damage from a torn tail
 * there too. Called on close and when idle. Encodes under the log's exclusion … */
struct stele_log_mark {
    uint8_t bytes[512];
    uint64_t slot_offset;
};
void stele_log_get_mark(struct stele_log *log, struct stele_log_mark *out_mark);
/* … and is written without it. */
STELE_MUST_USE
int stele_log_put_mark(struct stele_io *io, const struct stele_log_mark *mark,
                       struct stele_error *err);

/* ---- Reading ---- */

struct stele_log_view *stele_log_view_acquire(struct stele_log *log);
void stele_log_view_release(struct stele_log_view *view);

/* Where damage was found. */
struct stele_log_damage {
    char file[STELE_FILE_NAME_MAX];
    uint64_t offset;  /* In the file. */
    uint64_t place;   /* In the log; UINT64_MAX if unknown. */
    const char *what; /* Constant text. */
};

struct stele_log__loaded;
#define STELE_LOG_READER_FRAMES 64

/* Reads through a view. One thread at a time. What it hands out is valid until the next call or
 * deinit. `end` bounds everything it sees: normally stele_log_durable() at the time of acquire. */
struct stele_log_reader {
    struct stele_log_view *view;
    struct stele_alloc *alloc;
    uint64_t end;
    /* A block of a packed segment: which one, its entries, and where the last one found lies. */
    const void *block_segment;
    uint64_t block_index;
    struct stele_bytes entries;
    size_t entry_at;
    struct stele_buf block;           /* Holds the entries if they were compressed. */
    void *unpacker;                   /* A ZSTD_DCtx. */
    struct stele_log__loaded *loaded; /* A whole frame. */
    /* Places of frames that follow each other, for stele_log_frame_before(). */
    uint64_t frames[STELE_LOG_READER_FRAMES];
    uint32_t frames_count;
    struct stele_log_damage damage; /* Of the last STELE_E_CORRUPT. */
};
void stele_log_reader_init(struct stele_log_reader *reader, struct stele_log_view *view,
                           struct stele_alloc *alloc, uint64_t end);
void stele_log_reader_deinit(struct stele_log_reader *reader);

/* The event whose record lies at place, checksum verified.
 *
 * STELE_OK, STELE_NOT_FOUND (scavenged), STELE_E_CORRUPT (reader->damage says where),
 * STELE_E_NO_MEMORY */
STELE_MUST_USE
int stele_log_read(struct stele_log_reader *reader, uint64_t place, struct stele_event *out_event);

/* Does this memory, which a read or a scan handed out, last as long as the view, rather than only
 * until the reader's next call? */
bool stele_log_is_lasting(const struct stele_log_reader *reader, const void *memory);

/* Says that the record at place will be read soon. Called for several places before they are read
 * one by one, it lets their cache misses overlap. Any place is fine. */
void stele_log_prefetch(const struct stele_log_reader *reader, uint64_t place);

/* Where a scan stands. */
struct stele_log_cursor {
    uint64_t place;           /* The next frame, or the next record inside the frame below. */
    uint64_t frame_end;       /* 0: place is a frame's. Otherwise records go on up to here. */
    struct stele_frame frame; /* The frame of the last record. */
    uint64_t arrived;         /* The base of the segment whose header has been told as damaged. */
};

/* The cursor at the first frame that may hold an event with a position at or above this one: the
 * scan begins at most a few frames too early, never too late. Bisects the segments. */
STELE_MUST_USE
int stele_log_seek(struct stele_log_reader *reader, uint64_t position,
                   struct stele_log_cursor *out_cursor);

/* The cursor at the first frame at or after place (which is a frame's, or a segment's start). */
void stele_log_cursor_at(struct stele_log_cursor *cursor, uint64_t place);

/* Decodes the next events in log order, verified, at most max; places, if not NULL, gets their
 * records' places. They stay valid until the next call on this reader.
 *
 * STELE_OK         *out_count >= 1.
 * STELE_END        The reader's end.
 * STELE_E_CORRUPT  Damage right here (reader->damage); the cursor has been moved behind it, to the
 *                  next record or frame that verifies. */
STELE_MUST_USE
int stele_log_scan(struct stele_log_reader *reader, struct stele_log_cursor *cursor,
                   struct stele_event *events, uint64_t *places, size_t max, size_t *out_count);

/* What is left of a frame: its records, one behind the other as they were written. */
struct stele_log_remains {
    struct stele_frame frame;   /* As it was written: count and size are of before. */
    struct stele_bytes records; /* Valid until the next call on the reader. */
    size_t count;
};

/* The next frame of events as a whole, everything verified. The cursor stands between frames: it comes
 * from stele_log_seek(), stele_log_cursor_at(), or this function. Outcomes as stele_log_scan(). */
STELE_MUST_USE
int stele_log_scan_frame(struct stele_log_reader *reader, struct stele_log_cursor *cursor,
                         struct stele_log_remains *out_remains);

/* The frame that lies right before the frame at place (also across segments), or before the
 * reader's end. For scans backward. Bisects forward from known frames.
 *
 * STELE_OK         Its place.
 * STELE_END        There is none: place is the log's start.
 * STELE_E_CORRUPT  Damage in between (reader->damage). *out_place is set: going on from there
 *                  passes over it.
 * STELE_E_NO_MEMORY */
STELE_MUST_USE
int stele_log_frame_before(struct stele_log_reader *reader, uint64_t place, uint64_t *out_place);

/* ---- Packing: scavenging and compression of sealed segments ---- */

/* Keep this event? Called once per event of the segment, in order. */
typedef bool (*stele_log_keep_callback)(void *context, const struct stele_event *event);

struct stele_log_pack_result {
    uint64_t base; /* Of the segment. */
    uint64_t events_removed;
    uint64_t bytes_before;
    uint64_t bytes_after;
    bool changed; /* false: nothing to gain, the segment stays as it is. */
};

/* The base of the first sealed segment at or after base; STELE_END when there is none. */
STELE_MUST_USE
int stele_log_sealed_next(const struct stele_log_view *view, uint64_t base, uint64_t *out_base,
                          uint64_t *out_file_size);

/* Writes the packed form of the sealed segment at base into "<base>.tmp" and syncs it, without
 * touching the log: may run on any thread, reading through the reader. keep NULL keeps all;
 * compress uses zstd. A frame that loses events keeps its header, the checksums of its records
 * and the SHA-256 of what it was, so that the hash chain can still be verified.
 * on_bytes, if not NULL, is called with each number of bytes written, for throttling; anything but
 * 0 returned stops with STELE_E_CLOSED. */
STELE_MUST_USE
int stele_log_pack(struct stele_log_reader *reader, uint64_t base, stele_log_keep_callback keep,
                   void *keep_context, bool compress,
                   int (*on_bytes)(void *context, uint64_t bytes), void *on_bytes_context,
                   struct stele_log_pack_result *out_result, struct stele_error *err);

/* Puts the packed file in the segment's place: rename, sync names, remove the plain one. Readers
 * with older views go on reading the old one. On failure either file may be the one that is read,
 * and the next opening keeps one of them. */
STELE_MUST_USE
int stele_log_install_packed(struct stele_log *log, uint64_t base, struct stele_error *err);

/* ---- Verifying ---- */

/* The hash chain: chain(n) = SHA-256(chain(n-1) || SHA-256(frame n as it was written)), from 32
 * zero bytes. */
struct stele_log_chain {
    uint8_t hash[32];
    uint64_t place;    /* Frames below this place are in it. */
    uint64_t position; /* Last position of them. */
    uint64_t frames;
    uint64_t events;
    uint64_t bytes;     /* Read for it. */
    uint64_t scavenged; /* Frames of which only the hash is left. */
    uint64_t stamp;     /* The highest term of them. */
    uint32_t previous;  /* header_checksum of the last frame. */
    bool begins_within; /* It began at the base of a segment in the middle: what is before it is
                         * not known, and the hash is that of no history. */
};
typedef void (*stele_log_damage_callback)(void *context, const struct stele_log_damage *damage);

/* Goes on with the chain up to limit (a place) or for about max_bytes, verifying everything on the
 * way: headers, records, payload checksums, `previous`, places, positions that grow, stamps that grow,
 * indexes that grow by 1 in each partition (kept in indexes, an array of `partitions`, may be NULL). Each damage
 * is told and passed over. on_event, if not NULL, sees every intact event.
 * STELE_OK: more to do. STELE_END: limit reached. */
STELE_MUST_USE
int stele_log_chain_extend(struct stele_log_reader *reader, struct stele_log_chain *chain,
                           uint64_t limit, uint64_t max_bytes, uint64_t *indexes,
                           uint32_t partitions, stele_log_event_callback on_event,
                           stele_log_damage_callback on_damage, void *context,
                           struct stele_error *err);

/* Debug and simulator builds: asserts every invariant that can be seen in memory. */
void stele_log_check(const struct stele_log *log);

#endif
