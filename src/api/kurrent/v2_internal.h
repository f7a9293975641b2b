/* Inside the files of the newer StreamsService: v2.c, v2_collect.c, v2_answer.c and value.c. */
#ifndef STELE_API_KURRENT_V2_INTERNAL_H
#define STELE_API_KURRENT_V2_INTERNAL_H

#include "api/kurrent/kurrent_internal.h"

#define V2_ERRORS "kurrentdb.protocol.v2.streams.errors."

/* States of a stream as this protocol counts them; what is not negative is a revision. */
#define V2_STATE_NO_STREAM INT64_C(-1)
#define V2_STATE_ANY INT64_C(-2)
#define V2_STATE_EXISTS INT64_C(-4)
#define V2_STATE_SOFT_DELETED INT64_C(-5)
#define V2_STATE_TOMBSTONED INT64_C(-6)

/* A stream of the append: written, checked, or both. */
struct v2_target {
    size_t name_at; /* In texts. */
    int64_t expected;
    size_t check_index;   /* Of AppendRecords; SIZE_MAX: none. */
    size_t records_count; /* Written by so many. */
    size_t drafts_at;
};

/* An event of the append. */
struct v2_record {
    uint8_t id[16];
    uint32_t target;
    uint32_t format;
    size_t type_at, data_at, data_size, metadata_at, metadata_size; /* In texts. */
};

/* A call, until its append is answered. */
struct v2_session {
    struct stele_appending appending; /* First: on_done finds the rest. */
    struct stele_call *call;
    bool is_session; /* AppendSession. */
    bool started;
    struct stele_buf texts;
    struct stele_buf targets;
    struct stele_buf records;
    struct stele_buf revisions; /* What the engine fills. */
    struct stele_buf order;     /* Of the engine's streams: the target's index. */
    uint64_t size;
};

static inline struct v2_session *v2_session_of(struct stele_call *call)
{
    return stele_call_state(call);
}

static inline struct v2_target *v2_targets_of(const struct v2_session *session)
{
    return (struct v2_target *)(void *)session->targets.data;
}

static inline size_t v2_targets_count(const struct v2_session *session)
{
    return session->targets.size / sizeof(struct v2_target);
}

static inline struct v2_record *v2_records_of(const struct v2_session *session)
{
    return (struct v2_record *)(void *)session->records.data;
}

static inline size_t v2_records_count(const struct v2_session *session)
{
    return session->records.size / sizeof(struct v2_record);
}

static inline const char *v2_name_of(const struct v2_session *session,
                                     const struct v2_target *target)
{
    return (const char *)session->texts.data + target->name_at;
}

static inline struct stele_alloc *v2_alloc_of(const struct v2_session *session)
{
    return stele_call_loop(session->call)->alloc;
}

/* ---- v2_collect.c: those that return false have failed the call ---- */

/* AppendRecord, borrowed. */
struct v2_draft {
    struct stele_bytes id, schema_name, schema_id, data, stream, whole;
    uint64_t format;
    bool has_properties;
};

/* The target of that name, in whatever case; v2_targets_count(): none. */
size_t stele_kurrent__v2_find_target(const struct v2_session *session, const char *name);
bool stele_kurrent__v2_add_target(struct v2_session *session, const char *name, int64_t expected,
                                  size_t check_index);

bool stele_kurrent__v2_check_rights(struct v2_session *session, const char *stream,
                                    enum stele_right right);

/* false: malformed, and nobody was told. */
bool stele_kurrent__v2_get_record(struct stele_bytes message, struct v2_draft *out);
/* Copies a record to the end of the target's. */
bool stele_kurrent__v2_add_record(struct v2_session *session, const struct v2_draft *draft,
                                  size_t target);

/* ---- v2_answer.c ---- */

/* Each finishes the call. */
void stele_kurrent__v2_fail_request(struct v2_session *session, const char *field,
                                    const char *description);
void stele_kurrent__v2_fail_access(struct v2_session *session);
void stele_kurrent__v2_fail_stream(struct v2_session *session, enum stele_grpc_code code,
                                   const char *what, const char *type, const char *stream);
void stele_kurrent__v2_fail_record_size(struct v2_session *session, const char *stream,
                                        const uint8_t id[16], uint64_t size);
void stele_kurrent__v2_fail_transaction_size(struct v2_session *session);
void stele_kurrent__v2_fail_memory(struct v2_session *session);

/* What a stream is at this moment. */
int64_t stele_kurrent__v2_state(struct v2_session *session, const char *stream);
/* Whether what is expected of a target is true of a stream in that state. */
bool stele_kurrent__v2_holds(struct v2_session *session, const struct v2_target *target,
                             int64_t actual);
/* Everything that does not hold now. failed: what the engine found, and is told if all holds by
 * now. */
void stele_kurrent__v2_fail_checks(struct v2_session *session, size_t failed);

/* Finishes the call with what its append ended with. */
void stele_kurrent__v2_answer(struct v2_session *session);

/* ---- value.c ---- */

/* STELE_OK, STELE_E_NO_MEMORY. */
STELE_MUST_USE
int stele_kurrent__put_json_string(struct stele_buf *to, struct stele_alloc *alloc,
                                   struct stele_bytes text);
/* An entry of map<string, google.protobuf.Value> as "key":value. STELE_E_INVALID: an empty key, a
 * value without a kind, nested too deeply, malformed. */
STELE_MUST_USE
int stele_kurrent__put_json_member(struct stele_buf *to, struct stele_alloc *alloc,
                                   struct stele_bytes entry, int depth);

#endif
