/* Random requests: appends, reads, filters, conditions, metadata.
 *
 * A generator that knows the model asks for what is interesting: mostly right expectations,
 * sometimes wrong by one, ids that were used before, conditions about events of a moment ago. */
#ifndef STELE_TESTS_LIB_WORKLOAD_H
#define STELE_TESTS_LIB_WORKLOAD_H

#include "model.h"
#include "rng.h"

#define WORKLOAD_STREAMS_MAX 6 /* Of one append. */
#define WORKLOAD_EVENTS_MAX 32 /* Of one append. */
#define WORKLOAD_CONDITIONS_MAX 2
#define WORKLOAD_RECENT 32

struct workload {
    struct rng *rng;
    uint32_t streams;       /* Names to choose from, … */
    uint64_t streams_first; /* … which move on. */
    uint32_t types;
    uint32_t tags;
    uint32_t data_size;    /* Most events are smaller; */
    uint32_t large_one_in; /* one in so many is up to large_size. 0: none. */
    uint32_t large_size;
    uint32_t batch; /* Most events of one append. */
    uint32_t tombstone_one_in;
    uint32_t delete_one_in;
    uint32_t metadata_one_in;
    uint32_t multi_percent; /* Appends to several streams. */
    uint32_t condition_percent;
    uint32_t retry_percent;    /* With ids of an earlier append. */
    uint32_t nameless_percent; /* Events without an id. */
    uint32_t wrong_percent;    /* Expectations that do not hold. */
    uint64_t next_id;
    /* Appends of a while ago, to be repeated. */
    struct workload_request *recent[WORKLOAD_RECENT];
    uint32_t recent_next;
};

enum workload_kind { WORKLOAD_APPEND, WORKLOAD_TOMBSTONE, WORKLOAD_DELETE };

/* All of it is owned by the request. */
struct workload_request {
    enum workload_kind kind;
    struct stele_append streams[WORKLOAD_STREAMS_MAX];
    size_t streams_count;
    struct stele_event_draft drafts[WORKLOAD_EVENTS_MAX];
    size_t drafts_count;
    struct stele_condition conditions[WORKLOAD_CONDITIONS_MAX];
    size_t conditions_count;
    void **blocks; /* What the pointers above point to. */
    size_t blocks_count, blocks_capacity;
};

/* Default weights; change them afterwards. */
void workload_init(struct workload *workload, struct rng *rng);
void workload_deinit(struct workload *workload);

struct workload_request *workload_request(struct workload *workload, const struct model *model);
/* The same request again, with other expectations if so. */
struct workload_request *workload_copy(const struct workload_request *request);
void workload_free(struct workload_request *request);
/* Somebody else's request, copied. At most what the arrays above hold. */
struct workload_request *workload_of(const struct stele_append *streams, size_t streams_count,
                                     const struct stele_condition *conditions,
                                     size_t conditions_count);
/* The append that writes metadata of a stream: json is copied. */
struct workload_request *workload_metadata(struct workload *workload, const char *stream,
                                           uint64_t expected, const void *json, size_t size);
/* Makes it possible that later requests repeat this one. Copies. */
void workload_remember(struct workload *workload, const struct workload_request *request);

/* A read and everything its options point to. */
struct workload_query {
    char stream[64]; /* "" for $all. */
    bool is_all;
    struct stele_read_options options;
    struct stele_filter filter;
    char texts[8][64];
    const char *lists[8];
    uint32_t texts_count;
};
/* follow: for a subscription. Must not be moved afterwards. */
void workload_query(struct workload *workload, const struct model *model, bool follow,
                    struct workload_query *out);

/* A stream's name, mostly one that exists. */
void workload_stream_name(struct workload *workload, char name[64]);

#endif
