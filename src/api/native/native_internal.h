/* What the files of the native service share. */
#ifndef STELE_API_NATIVE_NATIVE_INTERNAL_H
#define STELE_API_NATIVE_NATIVE_INTERNAL_H

#include "api/member/linear.h"
#include "api/native/native.h"
#include "pb/pb.h"
#include "subs/group.h"

/* A message of a read is sent at about this size. */
#define STELE_NATIVE__MESSAGE_SIZE ((size_t)48 * 1024)

extern const struct stele_method stele_native__append;
extern const struct stele_method stele_native__append_events;
extern const struct stele_method stele_native__read;
extern const struct stele_method stele_native__read_many;
extern const struct stele_method stele_native__subscribe_to_stream;
extern const struct stele_method stele_native__subscribe_to_all;
extern const struct stele_method stele_native__conditions;
extern const struct stele_method stele_native__streams;
extern const struct stele_method stele_native__meta;
extern const struct stele_method stele_native__groups;
extern const struct stele_method stele_native__change_group;
extern const struct stele_method stele_native__consume;
extern const struct stele_method stele_native__admin;
extern const struct stele_method stele_native__health_check;
extern const struct stele_method stele_native__health_watch;
extern const struct stele_method stele_native__reflection_v1;
extern const struct stele_method stele_native__reflection_v1alpha;

/* ---- In a cluster: native.c ---- */

/* In start: a call with the header "linearizable: true" waits until this node has seen what was
 * acknowledged before. */
void stele_native__linearize(struct stele_linear *linear, struct stele_call *call);
/* Groups are on the node that leads: says where that is. */
void stele_native__fail_elsewhere(struct stele_call *call);

/* ---- Decoding: decode.c ---- */

/* Memory of one decoded request; everything is released at once. */
struct stele_native__room {
    struct stele_arena arena;
    struct stele_alloc *alloc;
};

struct stele_native__append_request {
    uint64_t correlation;
    struct stele_append *streams;
    size_t streams_count;
    struct stele_condition *conditions;
    size_t conditions_count;
};

/* STELE_OK; STELE_E_INVALID: err names the field; STELE_E_LIMIT; STELE_E_NO_MEMORY. What comes out
 * points into the room and into message. */
STELE_MUST_USE
int stele_native__decode_append(struct stele_bytes message, struct stele_native__room *room,
                                struct stele_native__append_request *out_request,
                                struct stele_error *err);
STELE_MUST_USE
int stele_native__decode_conditions(struct stele_bytes message, uint32_t number,
                                    struct stele_native__room *room,
                                    struct stele_condition **out_conditions, size_t *out_count,
                                    struct stele_error *err);
STELE_MUST_USE
int stele_native__decode_filter(struct stele_bytes message, struct stele_native__room *room,
                                struct stele_filter *out_filter, struct stele_error *err);

struct stele_native__read_request {
    const char *stream; /* NULL: all events. */
    struct stele_read_options options;
    struct stele_filter filter;
};
STELE_MUST_USE
int stele_native__decode_read(struct stele_bytes message, struct stele_native__room *room,
                              struct stele_native__read_request *out_request,
                              struct stele_error *err);

/* A copy with a zero behind it. NULL and err set: no memory, or a zero byte inside. */
char *stele_native__text(struct stele_native__room *room, struct stele_bytes bytes,
                         const char *what, struct stele_error *err);
uint64_t stele_native__expected(uint64_t expectation, uint64_t revision);

/* ---- Encoding: encode.c ---- */

/* What is zero or empty is left out, as proto3 does: one message has one spelling. */
static inline size_t stele_native__number_size(uint32_t number, uint64_t value)
{
    return value == 0 ? 0 : stele_pb_size_varint(number, value);
}

static inline size_t stele_native__bytes_size(uint32_t number, size_t size)
{
    return size == 0 ? 0 : stele_pb_size_bytes(number, size);
}

static inline uint8_t *stele_native__put_number(uint8_t *to, uint32_t number, uint64_t value)
{
    return value == 0 ? to : stele_pb_put_u64(to, number, value);
}

static inline uint8_t *stele_native__put_bytes(uint8_t *to, uint32_t number, const void *data,
                                               size_t size)
{
    return size == 0 ? to : stele_pb_put_bytes(to, number, data, size);
}

/* Bytes of an event's message without its tag and length. */
size_t stele_native__event_size(const struct stele_event *event, uint64_t ordinal_plus_1);
uint8_t *stele_native__put_event(uint8_t *to, const struct stele_event *event,
                                 uint64_t ordinal_plus_1);
/* Appends field `number` with an event. false: no memory. */
bool stele_native__add_event(struct stele_buf *buf, struct stele_alloc *alloc, uint32_t number,
                             const struct stele_event *event, uint64_t ordinal_plus_1);
/* Appends an AppendResponse (without tag). revisions may be NULL. */
bool stele_native__add_append_response(struct stele_buf *buf, struct stele_alloc *alloc,
                                       uint64_t correlation, int outcome,
                                       const struct stele_append_result *result,
                                       const uint64_t *revisions, size_t revisions_count,
                                       const char *message);
/* Appends field 2 of a ConsumeResponse: a delivery, without the event itself if it is not for the
 * consumer's eyes. */
bool stele_native__add_delivery(struct stele_buf *buf, struct stele_alloc *alloc,
                                const struct stele_group_event *event, bool sees, uint32_t retries);
/* The Outcome enum's value. */
uint32_t stele_native__outcome(int outcome);

/* ---- What the services look like: describe.c ---- */

/* A google.protobuf.FileDescriptorSet of all files beneath proto/, made when this was built. */
extern const uint8_t stele_native__descriptors[];
extern const size_t stele_native__descriptors_size;

#define STELE_NATIVE__FILES_MAX 64

/* Files of the set, each a FileDescriptorProto. */
struct stele_native__files {
    struct stele_bytes at[STELE_NATIVE__FILES_MAX];
    uint32_t count;
};

/* A file, then everything that it imports. All find nothing as count 0. */
void stele_native__file_named(struct stele_bytes name, struct stele_native__files *out_files);
/* The file that defines a message, a field, an enum or its value, a service or its method. */
void stele_native__file_with_symbol(struct stele_bytes symbol,
                                    struct stele_native__files *out_files);
/* "package.Service" of an RPC's path. */
struct stele_bytes stele_native__service_of(enum stele_rpc rpc);
/* Is there a message of that name? */
bool stele_native__is_message(struct stele_bytes name);

/* ---- Calls ---- */

/* Ends the call with the status that belongs to an outcome, its words, and the trailer
 * "stele-outcome". */
void stele_native__fail(struct stele_call *call, int outcome, const struct stele_error *err);
/* The same with these words. */
void stele_native__refuse(struct stele_call *call, int outcome, const char *words);
/* "$all" for NULL. false: the call was ended with PERMISSION_DENIED. */
bool stele_native__allow(struct stele_call *call, const char *stream, enum stele_right right);

#endif
