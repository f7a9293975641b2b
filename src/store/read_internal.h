/* What the files of reads share: the state of a read, and the steps that more than one of them takes.
 *
 * All of these functions but take_snapshot() and list_refill() work on the read's snapshot alone and
 * need no lock. */
#ifndef STELE_STORE_READ_INTERNAL_H
#define STELE_STORE_READ_INTERNAL_H

#include "store/store_internal.h"

/* Events that one call of next() hands out at most, and places that a list has at hand. */
#define STELE_READ__BATCH 256

struct stele_read {
    struct stele_alloc *alloc;
    bool backwards;
    bool is_list;
    bool is_stream; /* The name is a stream: ordinals are revisions, and limits apply. */
    bool by_name;   /* Only events of key: always true for lists, and for scans that replace one. */
    bool fresh;     /* The snapshot was taken after the last answer STELE_END. */
    bool memory_end; /* The last refill got everything that memory has. */
    bool gaps;       /* Of the store, when the snapshot was taken. */
    bool over;       /* Nothing can come any more: bound, limit, or start of the log. */
    bool by_ordinal; /* Of a category or type: from counts the events of the name. */

    struct stele_index_key key;
    uint8_t *name; /* What key.name points to. */
    size_t name_size;

    uint64_t from; /* Revision (streams) or position. */
    uint64_t as_of;
    uint64_t left; /* Events still to be handed out at most. */
    uint64_t revision_min;
    int64_t created_min;
    struct stele_filter_program *filter;
    uint64_t scan_max; /* Most events that one call of next() looks at. */
    uint64_t scanned;  /* Looked at so far. */

    /* The snapshot. */
    struct stele_log_reader reader;
    struct stele_index_view *view;
    uint64_t end;
    uint64_t end_position;
    uint64_t numbering; /* Of the index: what ordinals mean. */
    uint64_t position;  /* Handed out or filtered away up to here. */

    /* A list: forward, the next ordinal; backward, one above the next. */
    uint64_t ordinal;      /* Scans by ordinal count with it, too. */
    uint64_t ordinals_end; /* By ordinal: how many events the name had when the read began. */
    uint64_t memory_lo;    /* Ordinals below are the view's. */
    uint64_t places_first; /* The ordinal of places[0]. */
    size_t places_count;
    bool places_of_memory; /* They came from the last refill, not from the view. */

    /* A scan: forward, the cursor; backward, the frame before which to go on. */
    struct stele_log_cursor cursor;
    uint64_t after; /* Forward, instead of a list: events up to this position were passed. */
    uint64_t before;
    struct stele_event *stack; /* Backward: events of the frames at hand, oldest first. */
    size_t stack_count, stack_capacity;

    struct stele_arena copies; /* Events that lay in an unpacked block. */

    bool damage_pending; /* For the store to take note of. */
    bool damage_first;   /* Met while beginning: the first call of next() tells. */
    struct stele_log_damage damage;
    char damaged_run[STELE_FILE_NAME_MAX];

    /* Not cleared when a read begins: it would take longer than many a read. */
    uint64_t places[STELE_READ__BATCH];
    uint64_t ordinals[STELE_READ__BATCH]; /* By ordinal: those of events. */
    struct stele_event events[STELE_READ__BATCH];
};

/* Whether the event is one of those that read->key names, whatever the index says. Here, because every
 * event of a list passes it twice. */
static inline bool stele_read__is_of_name(const struct stele_read *read,
                                          const struct stele_event *event)
{
    const struct stele_bytes stream = stele_store__bytes(event->stream);
    switch (read->key.space) {
    case STELE_SPACE_STREAM:
        return stele_bytes_equal(stream, read->key.name);
    case STELE_SPACE_CATEGORY:
        return stele_bytes_equal(stele_store__category(stream), read->key.name);
    case STELE_SPACE_TYPE:
        return stele_bytes_equal(stele_store__bytes(event->type), read->key.name);
    default:
        return stele_store__event_has_tag(event, read->key.name);
    }
}

/* ---- read.c ---- */

/* Lets go of the old snapshot and takes one of now. A list goes on with its ordinal. */
void stele_read__take_snapshot(struct stele_store *store, struct stele_read *read);

/* Keeps the damage that the reader met for the store to take note of, and returns STELE_E_CORRUPT
 * with its words. */
int stele_read__fail_damage(struct stele_read *read, struct stele_error *err);

/* Puts an event on the stack of a backward scan, with bytes that stay. STELE_OK, or
 * STELE_E_NO_MEMORY. */
int stele_read__push(struct stele_read *read, const struct stele_event *event);

/* ---- read_list.c ---- */

/* The memory part of a list from its ordinal on, as far as it is durable. */
void stele_read__list_refill(struct stele_store *store, struct stele_read *read);

/* The next event of the list, as the log has it.
 *
 * STELE_OK          *event is of the name, and read->ordinal is behind it.
 * STELE_NOT_FOUND   This snapshot has no more, or none within the read's limits (read->over).
 * STELE_INCOMPLETE  The index has a hole here or is wrong: turn_into_scan() goes on.
 * STELE_E_…         Reading failed; damage is passed over by the next call. */
int stele_read__list_next(struct stele_read *read, struct stele_event *event,
                          struct stele_error *err);

/* The index cannot be asked: looks for the same events in the log, from where the list stood. If this
 * fails, the read is still the list that it was. */
int stele_read__turn_into_scan(struct stele_read *read);

#endif
