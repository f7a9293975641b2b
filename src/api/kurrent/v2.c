/* The newer StreamsService: appends to several streams, all or none.
 *
 * AppendSession gets one request for each stream; AppendRecords one request whose records name their
 * streams, and checks of streams that need not be written. Both become one append of the engine. */
#include "api/kurrent/v2_internal.h"

static void release(struct v2_session *session)
{
    struct stele_alloc *alloc = v2_alloc_of(session);
    stele_buf_deinit(&session->texts, alloc);
    stele_buf_deinit(&session->targets, alloc);
    stele_buf_deinit(&session->records, alloc);
    stele_buf_deinit(&session->revisions, alloc);
    stele_buf_deinit(&session->order, alloc);
}

static void on_done(struct stele_appending *appending)
{
    struct v2_session *session = (struct v2_session *)(void *)appending;
    struct stele_call *call = session->call;
    appending->on_done = NULL;
    if (stele_call_is_over(call)) {
        release(session);
    } else {
        stele_kurrent__v2_answer(session);
    }
    stele_call_release(call);
}

/* ---- Storing ----------------------------------------------------------------------------------- */

/* The engine's expectation of a target. false: it has none to be told (check-only, and holds). */
static bool expectation_of(struct v2_session *session, const struct v2_target *target,
                           uint64_t *out_expected)
{
    struct stele_engine *engine = stele_call_server(session->call)->engine;
    const char *stream = v2_name_of(session, target);
    struct stele_stream_info info;
    const bool known = engine->ops->stream_info(engine, stream, &info, NULL) == STELE_OK;
    const bool written = target->records_count > 0;
    if (known && info.tombstoned && !written) {
        return false; /* For ever: what holds of it now always will. */
    }
    switch (target->expected) {
    case V2_STATE_ANY:
        *out_expected = STELE_EXPECT_ANY;
        return written;
    case V2_STATE_NO_STREAM:
        *out_expected = STELE_EXPECT_NO_STREAM;
        return true;
    case V2_STATE_EXISTS:
        *out_expected = stele_kurrent__expectation(engine, stream, STELE_EXPECT_EXISTS);
        return true;
    case V2_STATE_SOFT_DELETED:
    case V2_STATE_TOMBSTONED:
        /* Held a moment ago (see check_now): at this revision it still does. */
        *out_expected = known ? info.revision_last : STELE_EXPECT_NO_STREAM;
        return true;
    default:
        *out_expected = (uint64_t)target->expected;
        return true;
    }
}

/* Checks that the engine has no word for, before it is asked. false: the call was failed. */
static bool check_now(struct v2_session *session)
{
    const struct v2_target *targets = v2_targets_of(session);
    for (size_t i = 0; i < v2_targets_count(session) && !session->is_session; i++) {
        const bool special = targets[i].expected == V2_STATE_SOFT_DELETED ||
                             targets[i].expected == V2_STATE_TOMBSTONED;
        const int64_t actual = stele_kurrent__v2_state(session, v2_name_of(session, &targets[i]));
        const bool closed = actual == V2_STATE_TOMBSTONED && targets[i].records_count == 0;
        if ((special || closed) && !stele_kurrent__v2_holds(session, &targets[i], actual)) {
            stele_kurrent__v2_fail_checks(session, i);
            return false;
        }
    }
    return true;
}

static bool reserve(struct v2_session *session, struct stele_buf *buf, size_t count, size_t size)
{
    return stele_buf_reserve(buf, v2_alloc_of(session), (count + 1) * size) == STELE_OK;
}

/* Drafts stand stream by stream, in the order in which each stream's records came. */
static void make_drafts(struct v2_session *session, struct stele_event_draft *drafts)
{
    struct v2_target *targets = v2_targets_of(session);
    const struct v2_record *records = v2_records_of(session);
    const uint8_t *texts = session->texts.data;
    size_t at = 0;
    for (size_t i = 0; i < v2_targets_count(session); i++) {
        targets[i].drafts_at = at;
        at += targets[i].records_count;
        targets[i].records_count = 0;
    }
    for (size_t i = 0; i < v2_records_count(session); i++) {
        const struct v2_record *record = &records[i];
        struct v2_target *target = &targets[record->target];
        struct stele_event_draft *draft = &drafts[target->drafts_at + target->records_count++];
        *draft = (struct stele_event_draft){
            .type = (const char *)texts + record->type_at,
            .data = texts + record->data_at,
            .data_size = record->data_size,
            .metadata = texts + record->metadata_at,
            .metadata_size = record->metadata_size,
            .content_type = record->format == 1 ? NULL : "application/octet-stream",
        };
        memcpy(draft->id, record->id, sizeof draft->id);
    }
}

static void store(struct v2_session *session)
{
    struct stele_call *call = session->call;
    struct stele_engine *engine = stele_call_server(call)->engine;
    struct stele_alloc *alloc = v2_alloc_of(session);
    struct stele_error err = {.outcome = STELE_OK};
    struct stele_buf drafts_buf = {0};
    struct stele_buf streams_buf = {0};
    const size_t count = v2_targets_count(session);
    if (!check_now(session)) {
        return;
    }
    int outcome = STELE_E_NO_MEMORY;
    if (reserve(session, &drafts_buf, v2_records_count(session),
                sizeof(struct stele_event_draft)) &&
        reserve(session, &streams_buf, count, sizeof(struct stele_append)) &&
        reserve(session, &session->revisions, count, sizeof(uint64_t)) &&
        reserve(session, &session->order, count, sizeof(uint32_t))) {
        struct stele_event_draft *drafts = (struct stele_event_draft *)(void *)drafts_buf.data;
        struct stele_append *streams = (struct stele_append *)(void *)streams_buf.data;
        uint32_t *order = (uint32_t *)(void *)session->order.data;
        size_t streams_count = 0;
        make_drafts(session, drafts);
        for (size_t i = 0; i < count; i++) {
            const struct v2_target *target = &v2_targets_of(session)[i];
            struct stele_append *stream = &streams[streams_count];
            if (expectation_of(session, target, &stream->expected)) {
                stream->stream = v2_name_of(session, target);
                stream->events = drafts + target->drafts_at;
                stream->count = target->records_count;
                order[streams_count++] = (uint32_t)i;
            }
        }
        session->order.size = streams_count * sizeof *order;
        session->appending.loop = stele_call_loop(call);
        session->appending.on_done = on_done;
        session->appending.revisions_last = (uint64_t *)(void *)session->revisions.data;
        stele_call_hold(call);
        outcome =
            engine->ops->append(engine, &session->appending, streams, streams_count, NULL, 0, &err);
        if (outcome != STELE_OK) {
            session->appending.on_done = NULL;
            session->appending.outcome = outcome;
            session->appending.err = err;
            stele_kurrent__v2_answer(session);
            stele_call_release(call);
        }
    } else {
        stele_kurrent__v2_fail_memory(session);
    }
    stele_buf_deinit(&drafts_buf, alloc);
    stele_buf_deinit(&streams_buf, alloc);
}

/* ---- AppendSession ----------------------------------------------------------------------------- */

static bool begin_stream(struct v2_session *session, struct stele_bytes message)
{
    struct stele_pb_reader reader = stele_pb_reader(message);
    struct stele_pb_field field;
    struct stele_text name = {.data = "", .size = 0};
    int64_t expected = V2_STATE_ANY;
    char stream[STELE_KURRENT__NAME_SIZE];
    while (stele_pb_next(&reader, &field)) {
        if (field.number == 1 && field.wire == STELE_PB_BYTES) {
            name = stele_kurrent__text(field.bytes);
        } else if (field.number == 3 && field.wire == STELE_PB_VARINT) {
            expected = stele_pb_zigzag(field.value);
        }
    }
    if (reader.bad || !stele_kurrent__copy_name(name, stream)) {
        stele_kurrent__v2_fail_request(session, "stream",
                                       "The stream's name is empty or not allowed.");
        return false;
    }
    if (expected < 0 && expected != V2_STATE_ANY && expected != V2_STATE_NO_STREAM &&
        expected != V2_STATE_EXISTS) {
        stele_kurrent__v2_fail_request(session, "expected_revision",
                                       "The expected revision is not allowed.");
        return false;
    }
    if (stele_kurrent__v2_find_target(session, stream) < v2_targets_count(session)) {
        stele_kurrent__v2_fail_stream(session, STELE_GRPC_ABORTED,
                                      "is in this append session already",
                                      V2_ERRORS "StreamAlreadyInAppendSessionErrorDetails", stream);
        return false;
    }
    return stele_kurrent__v2_check_rights(session, stream, STELE_RIGHT_WRITE) &&
           stele_kurrent__v2_add_target(session, stream, expected, SIZE_MAX);
}

static void take_session_request(struct v2_session *session, struct stele_bytes message)
{
    struct stele_pb_reader reader = stele_pb_reader(message);
    struct stele_pb_field field;
    if (!begin_stream(session, message)) {
        return;
    }
    const size_t target = v2_targets_count(session) - 1;
    while (stele_pb_next(&reader, &field)) {
        struct v2_draft draft;
        if (field.number != 2 || field.wire != STELE_PB_BYTES) {
            continue;
        }
        if (!stele_kurrent__v2_get_record(field.bytes, &draft)) {
            stele_kurrent__v2_fail_request(session, "records", "A record is malformed.");
            return;
        }
        if (!stele_kurrent__v2_add_record(session, &draft, target)) {
            return;
        }
    }
    if (v2_targets_of(session)[target].records_count == 0) {
        stele_kurrent__v2_fail_request(session, "records",
                                       "A request without records is not allowed.");
    }
}

/* ---- AppendRecords ----------------------------------------------------------------------------- */

static bool take_check(struct v2_session *session, struct stele_bytes message, size_t check_index)
{
    struct stele_pb_reader outer = stele_pb_reader(message);
    struct stele_pb_field field;
    struct stele_text name = {.data = "", .size = 0};
    int64_t expected = 0;
    bool found = false;
    bool bad = false;
    while (stele_pb_next(&outer, &field)) {
        if (field.number != 1 || field.wire != STELE_PB_BYTES) {
            continue;
        }
        struct stele_pb_reader reader = stele_pb_reader(field.bytes);
        struct stele_pb_field part;
        found = true;
        while (stele_pb_next(&reader, &part)) {
            if (part.number == 1 && part.wire == STELE_PB_BYTES) {
                name = stele_kurrent__text(part.bytes);
            } else if (part.number == 2 && part.wire == STELE_PB_VARINT) {
                expected = stele_pb_zigzag(part.value);
            }
        }
        bad = bad || reader.bad;
    }
    char stream[STELE_KURRENT__NAME_SIZE];
    if (!found || bad || outer.bad || !stele_kurrent__copy_name(name, stream)) {
        stele_kurrent__v2_fail_request(session, "checks", "A check is malformed.");
        return false;
    }
    if (expected < V2_STATE_TOMBSTONED || expected == V2_STATE_ANY || expected == -3) {
        stele_kurrent__v2_fail_request(session, "checks", "The expected state is not allowed.");
        return false;
    }
    const size_t target = stele_kurrent__v2_find_target(session, stream);
    if (target == v2_targets_count(session)) {
        return stele_kurrent__v2_check_rights(session, stream, STELE_RIGHT_READ) &&
               stele_kurrent__v2_add_target(session, stream, expected, check_index);
    }
    if (v2_targets_of(session)[target].check_index != SIZE_MAX) {
        stele_kurrent__v2_fail_request(session, "checks", "A stream is checked twice.");
        return false;
    }
    v2_targets_of(session)[target].expected = expected;
    v2_targets_of(session)[target].check_index = check_index;
    return true;
}

static bool take_record(struct v2_session *session, struct stele_bytes message)
{
    struct v2_draft draft;
    char stream[STELE_KURRENT__NAME_SIZE];
    if (!stele_kurrent__v2_get_record(message, &draft) ||
        !stele_kurrent__copy_name(stele_kurrent__text(draft.stream), stream)) {
        stele_kurrent__v2_fail_request(session, "records",
                                       "A record is malformed, or names no stream.");
        return false;
    }
    const size_t target = stele_kurrent__v2_find_target(session, stream);
    if (target == v2_targets_count(session) &&
        (!stele_kurrent__v2_check_rights(session, stream, STELE_RIGHT_WRITE) ||
         !stele_kurrent__v2_add_target(session, stream, V2_STATE_ANY, SIZE_MAX))) {
        return false;
    }
    return stele_kurrent__v2_add_record(session, &draft, target);
}

static void take_records_request(struct v2_session *session, struct stele_bytes message)
{
    size_t checks = 0;
    for (uint32_t part = 1; part <= 2; part++) {
        struct stele_pb_reader reader = stele_pb_reader(message);
        struct stele_pb_field field;
        while (stele_pb_next(&reader, &field)) {
            if (field.number != part || field.wire != STELE_PB_BYTES) {
                continue;
            }
            if (!(part == 1 ? take_record(session, field.bytes)
                            : take_check(session, field.bytes, checks++))) {
                return;
            }
        }
        if (reader.bad) {
            stele_kurrent__v2_fail_request(session, "records", "The request is malformed.");
            return;
        }
    }
    if (v2_records_count(session) == 0) {
        stele_kurrent__v2_fail_request(session, "records",
                                       "A request without records is not allowed.");
        return;
    }
    store(session);
}

/* ---- The methods ------------------------------------------------------------------------------- */

static void on_start(struct stele_call *call)
{
    struct v2_session *session = v2_session_of(call);
    session->call = call;
    session->is_session = stele_call_method(call)->rpc == STELE_RPC_KURRENT_V2_APPEND_SESSION;
}

static void on_message(struct stele_call *call, struct stele_bytes message)
{
    struct v2_session *session = v2_session_of(call);
    if (session->is_session) {
        take_session_request(session, message);
    } else if (!session->started) {
        session->started = true;
        take_records_request(session, message);
    } else {
        stele_kurrent__v2_fail_request(session, "records", "Only one request is expected.");
    }
}

static void on_half_closed(struct stele_call *call)
{
    struct v2_session *session = v2_session_of(call);
    if (session->is_session && v2_targets_count(session) == 0) {
        stele_call_finish(call, STELE_GRPC_FAILED_PRECONDITION,
                          "The append session has no requests.");
    } else if (session->is_session) {
        store(session);
    } else if (!session->started) {
        stele_kurrent__v2_fail_request(session, "records", "The request is missing.");
    }
}

static void on_closed(struct stele_call *call, enum stele_grpc_code reason)
{
    (void)reason;
    struct v2_session *session = v2_session_of(call);
    /* While the engine works on it, it writes to revisions: then on_done releases. */
    if (session->appending.on_done == NULL) {
        release(session);
    }
}

void stele_kurrent_v2_register(struct stele_grpc_table *table)
{
    static const struct stele_method append_session = {
        .rpc = STELE_RPC_KURRENT_V2_APPEND_SESSION,
        .state_size = sizeof(struct v2_session),
        .message_max = STELE_KURRENT__MESSAGE_MAX,
        .admit = stele_kurrent__admit_v2,
        .start = on_start,
        .message = on_message,
        .half_closed = on_half_closed,
        .closed = on_closed,
    };
    static const struct stele_method append_records = {
        .rpc = STELE_RPC_KURRENT_V2_APPEND_RECORDS,
        .state_size = sizeof(struct v2_session),
        .message_max = STELE_KURRENT__MESSAGE_MAX,
        .admit = stele_kurrent__admit_v2,
        .start = on_start,
        .message = on_message,
        .half_closed = on_half_closed,
        .closed = on_closed,
    };
    table->methods[append_session.rpc] = &append_session;
    table->methods[append_records.rpc] = &append_records;
}
