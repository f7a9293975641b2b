/* What a store has to do, written as naively as possible: arrays, linear searches, nothing shared
 * with src/store. The tests run the store and this side by side and compare every outcome and
 * every event.
 *
 * The model holds the decided history: all events in the order of the log, durable or not. A
 * prefix of it is visible. An append is first decided, which changes nothing, and then applied if
 * the store did it too. After a crash the model is cut to what the store still has.
 *
 * Where the rules allow more than one answer, it says so: events that a scavenge was allowed to
 * remove are "optional" and may be missing in reads. */
#ifndef STELE_TESTS_LIB_MODEL_H
#define STELE_TESTS_LIB_MODEL_H

#include "base/bytes.h"

#include <stele/stele.h>

#define MODEL_NONE UINT32_MAX

struct model_event {
    uint64_t position;
    uint64_t revision;
    int64_t created_us;
    uint8_t id[16];
    bool id_known; /* false: the library made it, and nobody has seen it yet. */
    bool optional; /* A scavenge was allowed to remove it. */
    uint32_t stream;
    uint32_t type;
    uint32_t append;
    uint32_t tags_count;
    uint32_t flags; /* As in struct stele_event. */
    uint32_t *tags; /* Of model->tags. */
    char *content_type;
    uint8_t *data;
    size_t data_size;
    uint8_t *metadata;
    size_t metadata_size;
};

struct model_stream {
    uint32_t *events; /* Indexes into model->events; the index here is the revision. */
    uint32_t count, capacity;
    uint32_t category;
    uint32_t partition;
    uint32_t metastream; /* Its metadata's stream, MODEL_NONE until there is one. */
};

/* Names in order of appearance. */
struct model_names {
    char **names;
    uint64_t *hashes;
    uint32_t count, capacity;
};

struct model_append {
    uint32_t first, count; /* Events. */
    uint64_t place;        /* Visible once the log is durable up to here. */
    uint64_t durable;      /* How far it was when this was staged: the frame on disk says so. */
};

struct model {
    uint32_t partitions;
    uint32_t partition_key;
    struct model_event *events;
    uint32_t count, capacity;
    uint32_t visible; /* The first so many are durable. */
    struct model_append *appends;
    uint32_t appends_count, appends_capacity;
    uint32_t appends_visible;
    struct model_names streams, types, tags, categories;
    struct model_stream *stream_of; /* Beside streams. */
    uint32_t stream_of_capacity;
};

void model_init(struct model *model, uint32_t partitions, uint32_t partition_key);
void model_deinit(struct model *model);

/* ---- Appending ---- */

#define MODEL_MAY_APPEND 1u
#define MODEL_MAY_REPEAT 2u /* Idempotent. */
#define MODEL_MAY_FAIL_REVISION 4u
#define MODEL_MAY_FAIL_DELETED 8u
#define MODEL_MAY_FAIL_CONDITION 16u
#define MODEL_MAY_FAIL_ID 32u

struct model_decision {
    int outcome;
    struct stele_append_result result; /* position_… only if idempotent. */
    size_t failed_last; /* Conditions: result.failed is the first that may be violated, this the
                         * first that is whatever was scavenged (or SIZE_MAX). */
    uint32_t earlier;   /* Idempotent: the last append that it repeats. */
    uint32_t may; /* MODEL_MAY_…: every outcome that is right. More than one when events that it
                   * rests on may have been scavenged; outcome is the one if none was. */
};

/* Which of MODEL_MAY_… an outcome is; 0: none of them. */
uint32_t model_may_of(int outcome, int idempotent);
/* What an append must end with, staged events counted. */
void model_decide(const struct model *model, const struct stele_append *streams,
                  size_t streams_count, const struct stele_condition *conditions,
                  size_t conditions_count, struct model_decision *out);
/* Does an event that matches condition exist at this position, after condition->after? */
bool model_conflicts(const struct model *model, const struct stele_condition *condition,
                     uint64_t position);
/* Adds the events; those of one partition stand together, partitions in order of the request.
 * tombstone: the one event closes its stream. Returns the number of the append. */
uint32_t model_apply(struct model *model, const struct stele_append *streams, size_t streams_count,
                     bool tombstone, int64_t now_us, uint64_t position_first, uint64_t place,
                     uint64_t durable);

/* Everything below this place has become durable. */
void model_durable(struct model *model, uint64_t place);
/* Forgets all but the first events. Must be the end of an append, or *out_whole is set to false. */
void model_cut(struct model *model, uint32_t events, bool *out_whole);

/* ---- Streams ---- */

struct model_limits {
    bool found;
    uint64_t revision;
    uint64_t max_count;
    uint64_t truncate_before;
    int64_t max_age_us;
};

uint32_t model_stream(const struct model *model, const char *name); /* Or MODEL_NONE. */
uint64_t model_next(const struct model *model, uint32_t stream, bool staged);
struct model_limits model_limits(const struct model *model, uint32_t stream, bool staged);
bool model_is_tombstoned(const struct model *model, uint32_t stream, bool staged);
/* What stele_store_delete_metadata() must end with. */
int model_delete(const struct model *model, const char *stream, uint64_t expected,
                 uint64_t *out_truncate_before, uint64_t *out_expected);
/* A scavenge begins with this clock: what it may remove becomes optional. */
void model_scavenge(struct model *model, int64_t now_us);
/* The same for one stream, or all (MODEL_NONE), and for events before this position. */
void model_scavenge_before(struct model *model, uint32_t stream, int64_t now_us,
                           uint64_t position_min);

/* What a listing says of a name. */
struct model_listed {
    const char *name;
    uint64_t visible; /* Events ever, of those that are durable … */
    uint64_t staged;  /* … and of all. */
    bool deleted;     /* A stream that is soft-deleted or tombstoned. */
    bool tombstoned;  /* A durable tombstone: must not be listed. */
};
/* All names of STELE_LIST_… in byte order, names without events included; to be released with
 * free(). */
struct model_listed *model_list(const struct model *model, int what, size_t *out_count);

/* ---- Reading ---- */

enum model_kind { MODEL_ALL, MODEL_STREAM, MODEL_CATEGORY, MODEL_TYPE };

/* A read that is compared event by event. */
struct model_reader {
    struct model *model;
    struct stele_read_options options; /* filter must outlive the reader. */
    enum model_kind kind;
    uint32_t name;    /* Of its kind. */
    bool name_is_new; /* It may appear later. */
    char *text;       /* The name, while it is new. */
    uint64_t revision_min;
    int64_t created_min;
    uint32_t visible; /* Events at begin (backwards) or at the last refill. */
    uint32_t next;    /* The next candidate: index into events or the stream's list. */
    uint64_t handed_out;
    uint64_t position_last; /* Handed out. */
    uint64_t revision_last;
    bool damaged;        /* An error was told: what comes next may have been skipped. */
    const char *problem; /* In words, after a check said false. */
    uint32_t problem_event;
};

/* What stele_read_begin() must end with; on STELE_OK the reader is ready. */
int model_read_begin(struct model_reader *reader, struct model *model, const char *stream,
                     const struct stele_read_options *options, bool wait, int64_t now_us);
void model_read_refill(struct model_reader *reader);
/* Is this what comes next? */
bool model_read_event(struct model_reader *reader, const struct stele_event *event);
/* Is it right to say that there is nothing more? */
bool model_read_at_end(struct model_reader *reader);
/* Forward: may the store say that everything up to this position was handed out or does not
 * belong here? */
bool model_read_passed(struct model_reader *reader, uint64_t position);
void model_read_end(struct model_reader *reader);

/* NULL if all fields are equal, otherwise which is not. Learns an id that was not known. */
const char *model_compare(struct model *model, uint32_t index, const struct stele_event *event);

bool model_filter_matches(const struct model *model, const struct stele_filter *filter,
                          uint32_t index);

/* A hash over the first events: position, revision, id, of each. */
uint64_t model_prefix_hash(const struct model *model, uint32_t events);

#endif
