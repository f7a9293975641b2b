/* Shared by the files of src/store. Nobody else includes it. */
#ifndef STELE_STORE_STORE_INTERNAL_H
#define STELE_STORE_STORE_INTERNAL_H

#include "base/checksum.h"
#include "base/limits.h"
#include "base/position.h"
#include "store/store.h"

/* What the file "stele.store" says, written once when the store is created. */
struct stele_superblock {
    uint8_t store_id[16];
    uint64_t secret; /* Keeps payloads from looking like frames; see log/frame.h. */
    uint64_t seed;   /* Of the index's hashes. */
    uint32_t partitions;
    uint32_t partition_key;
    int64_t created_us;
    bool ordered; /* A node's of a cluster: appends come with a stamp or not at all. */
    bool copied;  /* From another store: revisions may be missing in the log. */
};

#define STELE_SUPERBLOCK_NAME "stele.store"

/* Reads it. STELE_NOT_FOUND: there is none and nothing else either (but leftovers of a creation);
 * STELE_E_NOT_A_STORE: other files lie there. */
STELE_MUST_USE
int stele_store__superblock_read(struct stele_io *io, struct stele_superblock *out,
                                 struct stele_error *err);
/* Makes it durable. */
STELE_MUST_USE
int stele_store__superblock_write(struct stele_io *io, const struct stele_superblock *superblock,
                                  struct stele_error *err);

#define STELE_DAMAGES_KEPT 64

struct stele_store__watch;

struct stele_store {
    struct stele_io *io;
    struct stele_alloc *alloc;
    struct stele_store_options options;
    struct stele_superblock superblock;
    bool read_only;
    uint64_t live_end; /* Read-only beside a writer: what may be seen ends here. */

    struct stele_log *log;
    struct stele_index *index;
    struct stele_hlc clock;

    /* The memtable holds everything from the runs' end to the log's end. False while holes that
     * were found at opening are being filled: base ordinals of the tail are unknown until then. */
    bool index_ready;
    uint64_t tail_at; /* The memtable has every event below this place that no run has. */

    /* Reads single records under the lock; its view follows the log. */
    struct stele_log_reader reader;
    bool reader_stale;

    /* One of each may be under way. */
    bool spare_running, index_job_running, pack_running;
    bool no_space; /* The last spare could not be made; try again after a pause. */
    int64_t retry_at_us;

    uint64_t mark_place; /* What the mark file says. */
    int64_t mark_at_us;

    struct stele_index_job *flush; /* Frozen, waiting for the log to be durable up to flush_to. */
    uint64_t flush_to;

    bool copying;          /* What was copied from another store is not complete; see replay.c. */
    uint64_t copying_from; /* The last position when copying began; 0: unknown. */

    uint64_t pack_next;  /* The base from which compression goes on. */
    int64_t scrub_at_us; /* When the next piece is due. */
    bool scrub_begun;    /* scrub_chain is where this opening begins. */
    struct stele_log_chain scrub_chain;
    struct stele_scavenge *scavenge; /* What one scavenging knows; NULL between them. */

    /* Filling a hole met damage: revisions are unknown, so nothing can be appended. */
    bool index_unsure;
    /* Events that the index should know may be missing from it because of damage: a read that meets
     * such a gap looks at the log itself, and reports what it finds there. */
    bool gaps;

    struct stele_log_damage damages[STELE_DAMAGES_KEPT];
    uint64_t damages_count;

    struct stele_store__watch *watch; /* NULL: nobody asks. */
};

/* What the index answers for an ordinal whose event it has never seen, although it knows later ones:
 * scavenged before the index was rebuilt, or damaged. */
#define STELE_STORE__NO_PLACE UINT64_MAX

/* ---- names.c ---- */

/* Is it UTF-8 (RFC 3629) without control characters? */
bool stele_store__text_is_clean(struct stele_bytes text);
/* Up to the first '-', or everything. */
struct stele_bytes stele_store__category(struct stele_bytes stream);
uint32_t stele_store__partition(const struct stele_store *store, struct stele_bytes stream);
/* The name of the metadata stream of a stream, "$$" + name, in buffer; empty if name is one itself. */
struct stele_bytes stele_store__metastream(struct stele_bytes stream,
                                           uint8_t buffer[STELE_STREAM_NAME_SIZE_MAX + 2]);

static inline bool stele_store__is_system(struct stele_bytes name)
{
    return name.size > 0 && name.data[0] == '$';
}

static inline bool stele_store__is_metastream(struct stele_bytes name)
{
    return name.size > 2 && name.data[0] == '$' && name.data[1] == '$';
}

static inline struct stele_bytes stele_store__bytes(struct stele_text text)
{
    return (struct stele_bytes){.data = (const uint8_t *)text.data, .size = text.size};
}

/* ---- prepare.c ---- */

struct stele_prepared_record {
    size_t offset; /* In bytes. */
    size_t size;
    uint32_t body_checksum;
    uint32_t tags_count;
    size_t tags_first; /* In tags. */
    uint64_t id_hash;
    uint64_t position; /* Once it is staged. */
    struct stele_index_key type;
    struct stele_index_entry *type_entry; /* While staging. */
};

struct stele_prepared_stream {
    struct stele_index_key key;
    struct stele_index_key category;
    uint32_t partition;
    uint64_t expected;
    size_t records_first;
    size_t records_count;
    size_t payload_size;
    bool tombstone;
    /* While deciding: */
    uint64_t next;
    uint32_t flags;
    struct stele_index_entry *entry;
    struct stele_index_entry *category_entry;
};

struct stele_prepared_item {
    size_t types_first, types_count; /* In condition_keys. */
    size_t tags_first, tags_count;
};

struct stele_prepared_condition {
    size_t items_first, items_count;
    uint64_t after;
};

struct stele_prepared {
    const struct stele_store *store;
    struct stele_alloc *alloc;
    struct stele_buf bytes; /* The records, one behind the other. */
    struct stele_arena arena;
    struct stele_prepared_stream *streams;
    size_t streams_count, streams_capacity;
    struct stele_prepared_record *records;
    size_t records_count, records_capacity;
    struct stele_index_key *tags;
    struct stele_index_entry **tag_entries;
    size_t tags_count, tags_capacity;
    struct stele_prepared_condition *conditions;
    size_t conditions_count, conditions_capacity;
    struct stele_prepared_item *items;
    size_t items_count, items_capacity;
    struct stele_index_key *condition_keys;
    size_t condition_keys_count, condition_keys_capacity;
    bool ordered; /* Of a command: nothing in it was made up here. */
};

/* As stele_prepare(). ordered: refuses what every node would make other records of (an event without
 * an id), and takes any size that the format allows, whatever this node's options say. */
STELE_MUST_USE
int stele_store__prepare(struct stele_prepared *prepared, const struct stele_append *streams,
                         size_t streams_count, const struct stele_condition *conditions,
                         size_t conditions_count, bool ordered, int64_t now_us,
                         struct stele_error *err);

/* ---- lookup.c: under the lock, memory and runs together ---- */

/* What is known of a name. STELE_NOT_FOUND: never seen. STELE_INCOMPLETE: a hole hides it. */
STELE_MUST_USE
int stele_store__state(struct stele_store *store, const struct stele_index_key *key,
                       struct stele_index_state *out_state, struct stele_error *err);
/* Where what may be seen ends: a place. */
uint64_t stele_store__visible_end(const struct stele_store *store);
/* Takes what is staged and not durable out of a state. */
void stele_store__only_visible(const struct stele_store *store, const struct stele_index_key *key,
                               struct stele_index_state *state);
/* Places of the ordinals lo … lo + max - 1, as far as there are, staged ones included. */
STELE_MUST_USE
int stele_store__places(struct stele_store *store, const struct stele_index_key *key, uint64_t lo,
                        size_t max, uint64_t *places, size_t *out_count, struct stele_error *err);
/* The lowest ordinal whose place is at or above place; UINT64_MAX if none. */
STELE_MUST_USE
int stele_store__lower_bound(struct stele_store *store, const struct stele_index_key *key,
                             uint64_t place, uint64_t *out_ordinal, struct stele_error *err);
/* The event at a place, staged or stored. Good until the next call. */
STELE_MUST_USE
int stele_store__event(struct stele_store *store, uint64_t place, struct stele_event *out_event,
                       struct stele_error *err);
/* A damaged run was met: makes it a hole. Returns STELE_INCOMPLETE. */
int stele_store__run_damaged(struct stele_store *store, const char *name);
void stele_store__note_damage(struct stele_store *store, const struct stele_log_damage *damage);
/* STELE_E_CORRUPT with file and offset in words. */
int stele_store__fail_damage(struct stele_error *err, const struct stele_log_damage *damage);

/* Adds a stored event to the memtable: at opening and when following. STELE_INCOMPLETE: a hole hides
 * what comes before it. */
STELE_MUST_USE
int stele_store__index_event(struct stele_store *store, uint64_t place,
                             const struct stele_event *event, struct stele_error *err);

/* Adds the log from `from` to `to` to the memtable, as far as it is not there yet. A run that turns
 * out to be damaged makes the index not ready again: once the hole is filled this goes on. */
STELE_MUST_USE
int stele_store__load_tail(struct stele_store *store, uint64_t from, uint64_t to,
                           struct stele_error *err);
bool stele_store__has_holes(struct stele_store *store);

/* ---- scavenge.c ---- */

struct stele_scavenge;
void stele_store__scavenge_destroy(struct stele_store *store);
/* Which events may go. Called without the lock. */
bool stele_store__scavenge_keeps(void *scavenge, const struct stele_event *event);

/* ---- work.c ---- */

struct stele_work {
    int kind;
    struct stele_store *store; /* Only its io, alloc and superblock are used without the lock. */
    struct stele_index_job *job;
    uint64_t from, to; /* Of the log; for a spare: `to` is its file size. */
    struct stele_log_reader reader;
    bool has_reader;
    struct stele_log_mark mark;
    struct stele_log_chain chain;
    struct stele_index_view *view; /* Scrub of the index at the end of a round. */
    bool damage_found;
    struct stele_log_damage damage;
    /* Packing. */
    struct stele_scavenge *scavenge;   /* NULL: compression only. */
    struct stele_index_lister *lister; /* Gathering names for scavenging. */
    bool compress;
    int (*on_bytes)(void *context, uint64_t bytes);
    void *context;
    struct stele_log_pack_result packed;
};

/* A zeroed work, with a reader of the whole log if with_reader. */
STELE_MUST_USE
int stele_store__work_create(struct stele_store *store, int kind, bool with_reader,
                             struct stele_work **out_work);
void stele_store__work_destroy(struct stele_work *work);
/* The run of scavenging. */
STELE_MUST_USE
int stele_store__scavenge_run(struct stele_work *work, struct stele_error *err);

/* ---- append.c ---- */

/* STELE_OK, or why nothing at all can be appended. */
STELE_MUST_USE
int stele_store__check_writable(const struct stele_store *store, struct stele_error *err);

/* ---- chunk.c ---- */

#define STELE_STORE__GROUP_HEAD_SIZE 24

/* What is left of one append. */
struct stele_store__group {
    const uint8_t *head; /* Decoded. */
    uint64_t stamp;
    uint32_t events;
    uint32_t frames;            /* Rows of frames, also of those without records. */
    uint32_t size;              /* Of the whole group. */
    struct stele_bytes records; /* Decoded. */
};

static inline size_t stele_store__group_head_size(uint32_t frames)
{
    return STELE_STORE__GROUP_HEAD_SIZE + 8 * (size_t)frames;
}

/* Completes the head, when all rows have been put. */
void stele_store__group_encode(uint8_t *head, const struct stele_store__group *group);
void stele_store__group_put_frame(uint8_t *head, uint32_t frame, uint16_t partition, uint32_t size);
/* The group at the start of bytes; any bytes are safe. Does not look into the records. STELE_OK,
 * STELE_E_CORRUPT. */
STELE_MUST_USE
int stele_store__group_decode(struct stele_bytes bytes, struct stele_store__group *out);
void stele_store__group_frame(const struct stele_store__group *group, uint32_t frame,
                              uint16_t *out_partition, uint32_t *out_size);

/* ---- replay.c ---- */

STELE_MUST_USE
int stele_store__load_copying(struct stele_store *store, struct stele_error *err);

/* ---- order.c ---- */

/* Whether the store may execute commands at all. */
STELE_MUST_USE
int stele_store__check_order(const struct stele_store *store, struct stele_error *err);
/* STELE_OK, or STELE_STORE_STALE: what came after order->seen may be incomplete somewhere. */
STELE_MUST_USE
int stele_store__check_seen(const struct stele_store *store, const struct stele_order *order,
                            struct stele_error *err);

/* ---- condition.c ---- */

/* STELE_OK: no event above seen forbids it. STELE_CONDITION_FAILED: *out_failed, *out_position. */
STELE_MUST_USE
int stele_store__check_conditions(struct stele_store *store, const struct stele_prepared *prepared,
                                  uint64_t seen, size_t *out_failed, uint64_t *out_position,
                                  struct stele_error *err);

/* ---- watch.c ---- */

/* Under the lock: what was staged ends at this position. */
void stele_store__watch_note(struct stele_store *store, const struct stele_prepared *prepared,
                             uint64_t position);
void stele_store__watch_destroy(struct stele_store *store);

/* ---- metadata.c ---- */

struct stele_stream_limits {
    bool found;               /* There is metadata. */
    uint64_t revision;        /* Of the metadata. */
    int64_t max_age_us;       /* 0: none. */
    uint64_t max_count;       /* 0: none. */
    uint64_t truncate_before; /* 0: none. */
};
STELE_MUST_USE
int stele_store__limits_parse(struct stele_bytes json, struct stele_stream_limits *out,
                              struct stele_error *err);
/* The limits of a stream as its newest metadata has them; with staged ones if staged. */
STELE_MUST_USE
int stele_store__limits(struct stele_store *store, struct stele_bytes stream, bool staged,
                        struct stele_stream_limits *out, struct stele_error *err);
/* The first revision that a read hands out, $maxAge aside. */
uint64_t stele_store__first_revision(const struct stele_stream_limits *limits, uint64_t next);

/* ---- filter.c ---- */

struct stele_filter_program;
STELE_MUST_USE
int stele_store__filter_create(struct stele_alloc *alloc, const struct stele_filter *filter,
                               struct stele_filter_program **out_program, struct stele_error *err);
void stele_store__filter_destroy(struct stele_alloc *alloc, struct stele_filter_program *program);
bool stele_store__filter_matches(struct stele_filter_program *program,
                                 const struct stele_event *event);
/* Did the last answers come from a lack of memory? Forgets it. */
bool stele_store__filter_had_no_memory(struct stele_filter_program *program);
bool stele_store__event_has_tag(const struct stele_event *event, struct stele_bytes tag);

/* Grows an array of items of item_size to hold at least count. */
STELE_MUST_USE
int stele_store__grow(struct stele_alloc *alloc, void **items, size_t *capacity, size_t item_size,
                      size_t count);

void stele_store__token(uint64_t position, char token[STELE_TOKEN_SIZE]);

#endif
