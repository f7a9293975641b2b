/* Inside src/api/kurrent: what its services share. */
#ifndef STELE_API_KURRENT_KURRENT_INTERNAL_H
#define STELE_API_KURRENT_KURRENT_INTERNAL_H

#include "api/kurrent/kurrent.h"
#include "api/member/linear.h"
#include "api/server.h"
#include "base/status.h"
#include "pb/pb.h"

#define STELE_KURRENT__NAME_SIZE (STELE_STREAM_NAME_SIZE_MAX + 3) /* "$$", the name, 0. */
#define STELE_KURRENT__MESSAGE_MAX (32u * 1024u * 1024u)          /* Of requests with events. */
/* The revision of an event that closes its stream: the greatest there is for signed clients. */
#define STELE_KURRENT__REVISION_TOMBSTONE ((uint64_t)INT64_MAX)

static inline struct stele_bytes stele_kurrent__bytes(struct stele_text text)
{
    return (struct stele_bytes){.data = (const uint8_t *)text.data, .size = text.size};
}

static inline struct stele_text stele_kurrent__text(struct stele_bytes bytes)
{
    return (struct stele_text){.data = (const char *)bytes.data, .size = bytes.size};
}

static inline struct stele_text stele_kurrent__text_of(const char *text)
{
    return (struct stele_text){.data = text, .size = strlen(text)};
}

static inline bool stele_kurrent__starts(struct stele_text text, const char *prefix)
{
    const size_t size = strlen(prefix);
    return text.size >= size && memcmp(text.data, prefix, size) == 0;
}

static inline bool stele_kurrent__is(struct stele_text text, const char *other)
{
    return text.size == strlen(other) && memcmp(text.data, other, text.size) == 0;
}

/* ---- error.c: statuses with the texts and trailers that clients look at ---- */

void stele_kurrent__fail_access(struct stele_call *call);
void stele_kurrent__fail_invalid(struct stele_call *call, const char *message);
void stele_kurrent__fail_deleted(struct stele_call *call, struct stele_text stream);
/* A delete or tombstone; expected: STELE_EXPECT_… or a revision; actual: a revision, or
 * STELE_EXPECT_NO_STREAM. */
void stele_kurrent__fail_expected(struct stele_call *call, struct stele_text stream,
                                  uint64_t expected, uint64_t actual);
void stele_kurrent__fail_append_size(struct stele_call *call, uint32_t size_max);
void stele_kurrent__fail_event_size(struct stele_call *call, const uint8_t id[16], uint64_t size,
                                    uint32_t size_max);
void stele_kurrent__fail_metadata(struct stele_call *call, const char *property);
/* Operating errors and whatever else has no form of its own. */
void stele_kurrent__fail_outcome(struct stele_call *call, int outcome, const char *message);
/* A google.rpc.Status with one detail, in grpc-status-details-bin: a message of that type. */
void stele_kurrent__fail_detailed(struct stele_call *call, enum stele_grpc_code code,
                                  const char *message, const char *type, const uint8_t *value,
                                  size_t value_size);
/* -1 no stream, -2 any, -4 exists, else the revision: how expectations are counted. */
int64_t stele_kurrent__expected_number(uint64_t expected);

/* ---- leader.c: which node of a cluster a call is for ---- */

/* It said so (requires-leader). */
bool stele_kurrent__wants_leader(const struct stele_call *call);
/* Tells the client where the leader is, or that there is none at this moment. */
void stele_kurrent__fail_not_leader(struct stele_call *call);
/* For struct stele_method: refused elsewhere than on the leader if the client wants that; _leader: in
 * any case. */
void stele_kurrent__admit(struct stele_call *call);
void stele_kurrent__admit_leader(struct stele_call *call);
void stele_kurrent__admit_v2(struct stele_call *call);

/* ---- codec.c: messages that several services have ---- */

enum stele_kurrent__uuid { UUID_STRUCTURED, UUID_STRING };

/* event_store.client.UUID, either form. */
bool stele_kurrent__get_uuid(struct stele_bytes message, uint8_t id[16]);
/* event_store.client.StreamIdentifier. */
bool stele_kurrent__get_stream(struct stele_bytes message, struct stele_text *out_name);
/* A name with its terminating zero. false: empty, too long, or a zero inside. */
/* Of the options of Append and BatchAppend: revision (2), no_stream (3), any (4), stream_exists (5).
 * false: a revision that is none. */
bool stele_kurrent__take_expected(const struct stele_pb_field *field, uint64_t *out_expected);
bool stele_kurrent__copy_name(struct stele_text name, char to[STELE_KURRENT__NAME_SIZE]);

size_t stele_kurrent__uuid_size(const uint8_t id[16], enum stele_kurrent__uuid form);
uint8_t *stele_kurrent__put_uuid(uint8_t *to, const uint8_t id[16], enum stele_kurrent__uuid form);
/* {1: position, 2: position}: every message that has a commit and a prepare position. */
static inline size_t stele_kurrent__position_size(uint64_t position)
{
    return position == 0 ? 0 : 2 * stele_pb_size_varint(1, position);
}
uint8_t *stele_kurrent__put_position(uint8_t *to, uint32_t field, uint64_t position);
/* StreamIdentifier as a field, with tag. */
static inline size_t stele_kurrent__stream_size(size_t name_size)
{
    return stele_pb_size_bytes(1, stele_pb_size_bytes(3, name_size));
}
uint8_t *stele_kurrent__put_stream(uint8_t *to, uint32_t field, struct stele_text name);
/* google.protobuf.Timestamp as a field, with tag; at most 20 bytes. */
uint8_t *stele_kurrent__put_timestamp(uint8_t *to, uint32_t field, int64_t wall_us);
#define STELE_KURRENT__TIMESTAMP_SIZE 20

/* RecordedEvent: how large its parts will be, then the bytes. The same message is that of reads and
 * of persistent subscriptions. */
struct stele_kurrent__shape {
    const struct stele_event *event;
    struct stele_text type;
    uint64_t revision;
    enum stele_kurrent__uuid form;
    uint32_t uuid, stream, type_entry, created_entry;
    uint32_t created_size;
    char created[20];
    size_t size; /* Of the message. */
};
void stele_kurrent__shape(struct stele_kurrent__shape *shape, const struct stele_event *event,
                          enum stele_kurrent__uuid form);
uint8_t *stele_kurrent__put_event(uint8_t *to, const struct stele_kurrent__shape *shape);
/* ReadResp of streams with a ReadEvent: event or link may be NULL; appended to buf. */
STELE_MUST_USE
int stele_kurrent__put_read_event(struct stele_buf *buf, struct stele_alloc *alloc,
                                  const struct stele_event *event, const struct stele_event *link,
                                  enum stele_kurrent__uuid form);

/* A decimal number, without zero; returns its size. */
uint32_t stele_kurrent__decimal(uint64_t value, char to[20]);

/* ---- proposed.c: events that clients propose ---- */

/* What one ProposedMessage says (Append, BatchAppend). Borrowed. */
struct stele_kurrent__proposed {
    uint8_t id[16];
    struct stele_text type;
    struct stele_text content_type;
    struct stele_bytes metadata;
    struct stele_bytes data;
    bool has_id, has_type, has_content_type;
};
bool stele_kurrent__get_proposed(struct stele_bytes message, struct stele_kurrent__proposed *out);
/* Bytes that count against the limit of one event. */
uint64_t stele_kurrent__event_size(struct stele_text type, size_t data_size, size_t metadata_size);

/* Events of one append on their way to the engine. Zero-initialise; may be used again after clear. */
struct stele_kurrent__batch {
    struct stele_buf items; /* struct stele_kurrent__item … */
    struct stele_buf bytes; /* Texts with their zeros; payloads that had to be copied. */
    struct stele_buf drafts;
    uint64_t size; /* Of all events as they count against the limit. */
};
enum stele_kurrent__refusal {
    REFUSAL_NONE,
    REFUSAL_NO_MEMORY,
    REFUSAL_NO_TYPE,
    REFUSAL_NO_CONTENT_TYPE,
    REFUSAL_INVALID,
    REFUSAL_EVENT_SIZE,
    REFUSAL_APPEND_SIZE,
};
/* copy: data and metadata are copied; otherwise they are borrowed until clear. */
enum stele_kurrent__refusal stele_kurrent__batch_add(struct stele_kurrent__batch *batch,
                                                     struct stele_alloc *alloc,
                                                     const struct stele_server *server,
                                                     const struct stele_kurrent__proposed *event,
                                                     bool copy);
size_t stele_kurrent__batch_count(const struct stele_kurrent__batch *batch);
/* NULL: no memory. Valid until the batch changes. count has to be > 0. */
const struct stele_event_draft *stele_kurrent__batch_drafts(struct stele_kurrent__batch *batch,
                                                            struct stele_alloc *alloc);
/* Appending to "$$x" replaces the metadata of x. If x is soft-deleted, that must not bring its events
 * back: the new metadata, too, says that they are gone. */
STELE_MUST_USE
int stele_kurrent__batch_keep_deleted(struct stele_kurrent__batch *batch, struct stele_alloc *alloc,
                                      struct stele_engine *engine, const char *stream);
void stele_kurrent__batch_clear(struct stele_kurrent__batch *batch);
void stele_kurrent__batch_deinit(struct stele_kurrent__batch *batch, struct stele_alloc *alloc);

/* What an append ended with, in the words of the protocol. */
enum stele_kurrent__ending { ENDING_OK, ENDING_EXPECTED, ENDING_DELETED, ENDING_OTHER };
/* current: the revision that the stream is at, or STELE_EXPECT_NO_STREAM; set unless OTHER. */
enum stele_kurrent__ending stele_kurrent__ending(struct stele_engine *engine, const char *stream,
                                                 uint64_t expected,
                                                 const struct stele_appending *appending,
                                                 uint64_t *out_current);
/* An append without events: what it ends with, from what the stream is now. */
enum stele_kurrent__ending stele_kurrent__check_only(struct stele_engine *engine,
                                                     const char *stream, uint64_t expected,
                                                     uint64_t *out_current);
/* "Exists" also holds for a stream that has only metadata, which the engine does not know: gives
 * the expectation that is to be used instead. */
uint64_t stele_kurrent__expectation(struct stele_engine *engine, const char *stream,
                                    uint64_t expected);

/* ---- link.c: links and the streams of system projections ---- */

/* "rev@stream". */
bool stele_kurrent__get_link(struct stele_bytes data, uint64_t *out_revision,
                             struct stele_text *out_stream);

/* The event that a link names: found by its own read, which is closed by stele_kurrent__target_close
 * (also if nothing was found). */
struct stele_kurrent__target {
    struct stele_reading *reading;
    const struct stele_event *event; /* NULL: deleted, scavenged, not for this caller. */
};
void stele_kurrent__target_open(struct stele_call *call, const struct stele_event *link,
                                struct stele_kurrent__target *out_target);
void stele_kurrent__target_close(struct stele_call *call, struct stele_kurrent__target *target);

/* Streams that projections would write, made up while they are read. */
enum stele_kurrent__view {
    VIEW_NONE,        /* A stream like any other. */
    VIEW_CATEGORY,    /* $ce-NAME */
    VIEW_TYPE,        /* $et-TYPE */
    VIEW_STREAMS,     /* $streams: the first event of every stream */
    VIEW_BY_CATEGORY, /* $category-NAME: the streams of a category */
    VIEW_CORRELATION, /* $bc-ID: events whose metadata has this $correlationId */
};
enum stele_kurrent__view stele_kurrent__view(struct stele_text stream);
/* Does the event belong to it? Only for views that are scanned: STREAMS, BY_CATEGORY, CORRELATION. */
bool stele_kurrent__view_has(enum stele_kurrent__view view, struct stele_text stream,
                             const struct stele_event *event);
static inline bool stele_kurrent__view_is_scanned(enum stele_kurrent__view view)
{
    return view >= VIEW_STREAMS;
}

/* The link at revision ordinal of the view that stands for an event. Its texts point into the
 * struct, into view_name and into the event. */
struct stele_kurrent__link {
    struct stele_event event;
    char data[STELE_KURRENT__NAME_SIZE + 24];
};
void stele_kurrent__link(struct stele_kurrent__link *out, enum stele_kurrent__view view,
                         struct stele_text view_name, uint64_t ordinal,
                         const struct stele_event *event);
/* Events that nobody sees in $all. */
bool stele_kurrent__is_hidden(const struct stele_event *event);

/* ---- read.c, subscribe.c ---- */

enum stele_kurrent__from { FROM_UNSET, FROM_PLACE, FROM_START, FROM_END };
enum stele_kurrent__count { COUNT_UNSET, COUNT_NUMBER, COUNT_SUBSCRIPTION };

/* ReadReq.Options, taken apart. Texts are borrowed from the message. */
struct stele_kurrent__read_options {
    bool has_stream, has_all, backwards, resolve_links, has_filter, has_no_filter;
    bool has_uuid, is_bad_direction;
    struct stele_text stream;
    enum stele_kurrent__from from;
    uint64_t revision, commit, prepare;
    enum stele_kurrent__count counting;
    uint64_t count;
    enum stele_kurrent__uuid uuid;
    uint32_t compatibility;
    struct stele_bytes filter; /* FilterOptions. */
};
bool stele_kurrent__get_read(struct stele_bytes message, struct stele_kurrent__read_options *out);

/* FilterOptions. prefixes are counted first, then taken out of expression one by one. */
struct stele_kurrent__filter {
    bool is_stream, is_type, has_window;
    struct stele_bytes expression;
    struct stele_text regex;
    size_t prefixes;
    uint32_t window;     /* Events looked at at once. */
    uint32_t multiplier; /* Windows between two checkpoints. */
};
bool stele_kurrent__get_filter(struct stele_bytes message, struct stele_kurrent__filter *out);

struct stele_follow;

/* The state of a call of Streams.Read. */
struct stele_kurrent__read {
    struct stele_call *call;
    struct stele_server *server;
    struct stele_linear linear;
    struct stele_arena arena;
    char *name; /* NULL: $all. */
    struct stele_text view_name;
    enum stele_kurrent__view view;
    enum stele_kurrent__uuid uuid;
    bool started;
    bool backwards;
    bool resolve_links;
    bool sees_secrets; /* An administrator, or nobody asks who is calling. */
    bool filtered;
    uint32_t compatibility;
    struct stele_filter filter;

    /* Counted reads. */
    struct stele_reading *reading;
    const struct stele_event *events;
    size_t events_count, events_at;
    uint64_t from;  /* As given to the engine. */
    uint64_t limit; /* Events still to be sent; UINT64_MAX: all. */
    uint64_t sent;
    uint64_t hidden; /* Events of this reading that were not for anybody. */
    uint64_t last_position;
    uint64_t ordinal; /* Of scanned views: the next one's. */
    uint64_t as_of;   /* Of scanned views, backwards: where they ended when they were measured. */
    bool measuring;   /* Counting what a scanned view has, before it is read backwards. */
    struct stele_task task;
    bool posted;

    /* Subscriptions. */
    struct stele_follow *follow;
    uint64_t generation; /* Of the rights that were looked at. */
    uint64_t scanned;    /* Since the last checkpoint. */
    uint64_t checkpoint_every;
    uint64_t last_revision; /* STELE_EXPECT_NO_STREAM: none yet. */
    uint64_t after;         /* Scanned views: ordinals before (backwards: behind) are not sent. */
    bool only_new;
    bool full;
};
/* Is the event not for this caller, or for nobody? Only where many streams are read at once. */
bool stele_kurrent__hides(const struct stele_kurrent__read *read, const struct stele_event *event);
/* One event, as itself or as a link of the view. false: no memory, the call was failed. */
bool stele_kurrent__send_event(struct stele_kurrent__read *read, const struct stele_event *event,
                               uint64_t ordinal);
void stele_kurrent__subscribe(struct stele_kurrent__read *read,
                              const struct stele_kurrent__read_options *options);
void stele_kurrent__subscription_writable(struct stele_kurrent__read *read);

extern const struct stele_method stele_kurrent__read_method;
extern const struct stele_method stele_kurrent__append_method;
extern const struct stele_method stele_kurrent__batch_append_method;
extern const struct stele_method stele_kurrent__delete_method;
extern const struct stele_method stele_kurrent__tombstone_method;

#endif
