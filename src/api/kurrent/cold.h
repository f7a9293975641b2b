/* Messages that are seldom: written field by field into a buffer that grows, read into structs of
 * borrowed texts. */
#ifndef STELE_API_KURRENT_COLD_H
#define STELE_API_KURRENT_COLD_H

#include "api/kurrent/kurrent_internal.h"
#include "subs/groups.h"

/* A message that is being written. failed: no memory; nothing more is written. */
struct stele_kurrent__out {
    struct stele_buf buf;
    struct stele_alloc *alloc;
    bool failed;
};
/* Fields of their zero value are left out, as proto3 does; _always is for members of a oneof. */
void stele_kurrent__out_number(struct stele_kurrent__out *out, uint32_t field, uint64_t value);
void stele_kurrent__out_number_always(struct stele_kurrent__out *out, uint32_t field,
                                      uint64_t value);
void stele_kurrent__out_bytes(struct stele_kurrent__out *out, uint32_t field, const void *data,
                              size_t size);
void stele_kurrent__out_text(struct stele_kurrent__out *out, uint32_t field, const char *text);
void stele_kurrent__out_float(struct stele_kurrent__out *out, uint32_t field, float value);
/* Nested messages: begin and end with the same mark. */
size_t stele_kurrent__out_begin(struct stele_kurrent__out *out, uint32_t field);
void stele_kurrent__out_end(struct stele_kurrent__out *out, size_t mark);
/* Sends what was written as one message and empties the buffer; false: no memory, the call failed. */
bool stele_kurrent__out_send(struct stele_kurrent__out *out, struct stele_call *call);
void stele_kurrent__out_deinit(struct stele_kurrent__out *out);

/* google.protobuf.Empty, event_store.client.Empty and every response without fields. */
void stele_kurrent__answer_empty(struct stele_call *call);
/* A copy with its zero in memory that is released with the call's state; NULL: no memory. */
char *stele_kurrent__copy_text(struct stele_arena *arena, struct stele_alloc *alloc,
                               struct stele_text text);

/* ---- persistent_codec.c ---- */

/* The options of every request about a group, in one form. */
struct stele_kurrent__group_options {
    struct stele_text stream; /* size 0: none was named. */
    bool is_all;
    struct stele_text group;
    struct stele_group_settings settings; /* CREATE, UPDATE. */
    struct stele_text strategy;           /* As it was named; size 0: by number. */
    uint64_t strategy_number;
    struct stele_bytes filter; /* CREATE of $all: FilterOptions, data NULL if none. */
    bool all_streams;          /* LIST. */
    uint64_t stop_at;          /* REPLAY, TRUNCATE. */
    uint32_t buffer_size;      /* READ. */
    bool has_uuid;
    enum stele_kurrent__uuid uuid;
};
/* message: the request. */
bool stele_kurrent__get_group_request(enum stele_groups_what what, struct stele_bytes message,
                                      struct stele_kurrent__group_options *out);
/* ReadReq: which of its members is set. */
enum stele_kurrent__ps_message { PS_BAD, PS_OPTIONS, PS_ACK, PS_NACK };
/* An Ack or a Nack: the ids are written to ids, as many as there is room for. */
struct stele_kurrent__ack {
    uint8_t ids[2048][16];
    size_t count;
    enum stele_group_nack action;
    struct stele_text reason;
};
enum stele_kurrent__ps_message
stele_kurrent__get_ps_read(struct stele_bytes message, struct stele_kurrent__group_options *options,
                           struct stele_kurrent__ack *ack);
/* FilterOptions of a group, all borrowed but the arrays. false: malformed or no memory. */
bool stele_kurrent__get_group_filter(struct stele_bytes message, struct stele_arena *arena,
                                     struct stele_alloc *alloc, struct stele_filter *out);
/* SubscriptionInfo as field 1 of the response. */
void stele_kurrent__put_group_info(struct stele_kurrent__out *out,
                                   const struct stele_group_info *info);
/* ReadResp with an event, appended to buf. with_event false: only the link, as if what it points to
 * were gone. */
STELE_MUST_USE
int stele_kurrent__put_group_event(struct stele_buf *buf, struct stele_alloc *alloc,
                                   const struct stele_group_event *event, bool with_event,
                                   uint32_t retries, enum stele_kurrent__uuid form);

#endif
