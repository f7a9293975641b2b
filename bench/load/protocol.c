#include "protocol.h"

#include "pb/pb.h"

static struct bench_pool pool;
static uint64_t random_state;

void protocol_init(const struct load_options *options)
{
    random_state = bench_seed();
    bench_pool_init(&pool, options->data_size);
}

size_t proposal_room(const struct load_options *options, uint32_t count)
{
    return 512 + (size_t)count * (options->data_size + 256);
}

/* ---- KurrentDB: one BatchAppend call for all appends ------------------------------------------- */

/* UUID with two halves. */
static uint8_t *put_uuid(uint8_t *to, uint64_t high, uint64_t low)
{
    const size_t size = stele_pb_size_varint(1, high) + stele_pb_size_varint(2, low);
    to = stele_pb_put_message(to, 1, size + 2);
    to = stele_pb_put_message(to, 1, size);
    to = stele_pb_put_u64(to, 1, high);
    return stele_pb_put_u64(to, 2, low);
}

/* The name, in a StreamIdentifier. */
static uint8_t *put_stream(uint8_t *to, uint32_t number, const char *stream)
{
    const size_t size = strlen(stream);
    to = stele_pb_put_message(to, number, stele_pb_size_bytes(3, size));
    return stele_pb_put_bytes(to, 3, stream, size);
}

static uint8_t *put_options(uint8_t *to, const struct proposal *proposal)
{
    to = put_stream(to, 1, proposal->stream);
    if (proposal->events_before == EXPECT_NOTHING) {
        return stele_pb_put_message(to, 4, 0);
    }
    return proposal->events_before == 0 ? stele_pb_put_message(to, 3, 0)
                                        : stele_pb_put_u64(to, 2, proposal->events_before - 1);
}

/* An event that is new. */
static uint8_t *put_proposed(uint8_t *to, uint32_t number)
{
    static const char metadata[] = "\x12\x13\x0a\x04type\x12\x0bOrderPlaced"
                                   "\x12\x20\x0a\x0c"
                                   "content-type\x12\x10"
                                   "application/json";
    uint8_t id[32];
    const uint64_t high = bench_random(&random_state);
    const size_t id_size = (size_t)(put_uuid(id, high, bench_random(&random_state)) - id);
    to = stele_pb_put_message(to, number,
                              id_size + sizeof metadata - 1 + stele_pb_size_bytes(4, pool.size));
    memcpy(to, id, id_size);
    to += id_size;
    memcpy(to, metadata, sizeof metadata - 1);
    return stele_pb_put_bytes(to + sizeof metadata - 1, 4, bench_pool_pick(&pool, &random_state),
                              pool.size);
}

static uint8_t *kurrent_put_append(uint8_t *to, const struct proposal *proposal)
{
    uint8_t options[128];
    const uint8_t *const end = put_options(options, proposal);
    uint8_t *const begin = to;
    to = put_uuid(to + 5, 1, proposal->number + 1);
    to = stele_pb_put_bytes(to, 2, options, (size_t)(end - options));
    for (uint32_t i = 0; i < proposal->count; i++) {
        to = put_proposed(to, 3);
    }
    to = stele_pb_put_u64(to, 4, 1);
    (void)h2_put_prefix(begin, (size_t)(to - begin) - 5);
    return to;
}

static struct answer kurrent_get_answer(const uint8_t *data, size_t size)
{
    struct answer answer = {.good = false};
    struct stele_pb_reader reader = stele_pb_reader((struct stele_bytes){data, size});
    struct stele_pb_field field;
    while (stele_pb_next(&reader, &field)) {
        if (field.number == 3) {
            answer.good = true; /* Success. */
        } else if (field.number == 1 && field.wire == STELE_PB_BYTES) {
            struct stele_pb_reader inner = stele_pb_reader(field.bytes);
            if (stele_pb_next(&inner, &field)) {
                inner = stele_pb_reader(field.bytes);
                while (stele_pb_next(&inner, &field)) {
                    answer.number = field.number == 2 ? field.value - 1 : answer.number;
                }
            }
        }
    }
    return answer;
}

static uint8_t *kurrent_put_request(uint8_t *to, const char *stream, uint64_t limit)
{
    uint8_t options[160];
    uint8_t inner[128];
    uint8_t *end = stream == NULL ? inner : put_stream(inner, 1, stream);
    end = stele_pb_put_message(end, stream == NULL ? 2 : 3, 0); /* From the start. */
    uint8_t *at = stele_pb_put_bytes(options, stream == NULL ? 2 : 1, inner, (size_t)(end - inner));
    at = limit == 0 ? stele_pb_put_message(at, 6, 0) : stele_pb_put_u64(at, 5, limit);
    at = stele_pb_put_message(at, 8, 0);
    at = stele_pb_put_message(at, 9, 2); /* Ids as two halves. */
    at = stele_pb_put_message(at, 1, 0);
    const uint8_t *const whole = stele_pb_put_bytes(to + 5, 1, options, (size_t)(at - options));
    (void)h2_put_prefix(to, (size_t)(whole - to) - 5);
    return to + (whole - to);
}

static uint8_t *kurrent_put_subscribe(uint8_t *to, const char *stream)
{
    return kurrent_put_request(to, stream, 0);
}

static struct found kurrent_get_found(const uint8_t *data, size_t size)
{
    /* ReadResp is one of several: 1 is an event, 4 says that there is no such stream. */
    return (struct found){.events = size > 0 && data[0] == 0x0a,
                          .bad = size > 0 && data[0] == 0x22};
}

/* KurrentDB's other way: a call for each append. */
static uint8_t *unary_put_append(uint8_t *to, const struct proposal *proposal)
{
    uint8_t options[128];
    const uint8_t *const end = put_options(options, proposal);
    uint8_t *begin = to;
    to = stele_pb_put_bytes(to + 5, 1, options, (size_t)(end - options));
    (void)h2_put_prefix(begin, (size_t)(to - begin) - 5);
    for (uint32_t i = 0; i < proposal->count; i++) {
        begin = to;
        to = put_proposed(to + 5, 2);
        (void)h2_put_prefix(begin, (size_t)(to - begin) - 5);
    }
    return to;
}

static struct answer unary_get_answer(const uint8_t *data, size_t size)
{
    return (struct answer){.good = size > 0 && data[0] == 0x0a}; /* Success. */
}

/* ---- Stele's own service ------------------------------------------------------------------------ */

static uint8_t *native_put_append(uint8_t *to, const struct proposal *proposal)
{
    const size_t name_size = strlen(proposal->stream);
    const size_t draft = stele_pb_size_bytes(1, 16) + stele_pb_size_bytes(2, strlen(BENCH_TYPE)) +
                         stele_pb_size_bytes(3, pool.size);
    const bool any = proposal->events_before == EXPECT_NOTHING;
    const uint64_t expectation = any ? 0 : proposal->events_before == 0 ? 1 : 3;
    size_t size = stele_pb_size_bytes(1, name_size) + stele_pb_size_varint(2, expectation) +
                  proposal->count * stele_pb_size_bytes(4, draft);
    size += expectation == 3 ? stele_pb_size_varint(3, proposal->events_before - 1) : 0;
    uint8_t *const begin = to;
    to = stele_pb_put_u64(to + 5, 1, proposal->number);
    to = stele_pb_put_message(to, 2, size);
    to = stele_pb_put_bytes(to, 1, proposal->stream, name_size);
    to = stele_pb_put_u64(to, 2, expectation);
    to = expectation == 3 ? stele_pb_put_u64(to, 3, proposal->events_before - 1) : to;
    for (uint32_t i = 0; i < proposal->count; i++) {
        uint8_t id[16];
        bench_random_id(&random_state, id);
        to = stele_pb_put_message(to, 4, draft);
        to = stele_pb_put_bytes(to, 1, id, sizeof id);
        to = stele_pb_put_bytes(to, 2, BENCH_TYPE, strlen(BENCH_TYPE));
        to = stele_pb_put_bytes(to, 3, bench_pool_pick(&pool, &random_state), pool.size);
    }
    (void)h2_put_prefix(begin, (size_t)(to - begin) - 5);
    return to;
}

static struct answer native_get_answer(const uint8_t *data, size_t size)
{
    struct answer answer = {.good = true};
    struct stele_pb_reader reader = stele_pb_reader((struct stele_bytes){data, size});
    struct stele_pb_field field;
    while (stele_pb_next(&reader, &field)) {
        if (field.number == 1) {
            answer.number = field.value;
        } else if (field.number == 2) {
            answer.good = false; /* An outcome that is not 0. */
        } else {
            break;
        }
    }
    return answer;
}

static uint8_t *native_put_read(uint8_t *to, const char *stream, uint64_t limit)
{
    uint8_t *end = to + 5;
    end = stream == NULL ? end : stele_pb_put_bytes(end, 1, stream, strlen(stream));
    end = stele_pb_put_u64(end, 4, limit);
    (void)h2_put_prefix(to, (size_t)(end - to) - 5);
    return end;
}

static uint8_t *native_put_subscribe(uint8_t *to, const char *stream)
{
    const size_t size = strlen(stream);
    uint8_t *end = stele_pb_put_message(to + 5, 1, stele_pb_size_bytes(1, size));
    end = stele_pb_put_bytes(end, 1, stream, size);
    (void)h2_put_prefix(to, (size_t)(end - to) - 5);
    return end;
}

static struct found count_fields(const uint8_t *data, size_t size, uint32_t number)
{
    struct found found = {.bad = false};
    struct stele_pb_reader reader = stele_pb_reader((struct stele_bytes){data, size});
    struct stele_pb_field field;
    while (stele_pb_next(&reader, &field)) {
        found.events += field.number == number;
    }
    found.bad = reader.bad;
    return found;
}

static struct found native_get_found(const uint8_t *data, size_t size)
{
    return count_fields(data, size, 2);
}

static struct found native_get_live(const uint8_t *data, size_t size)
{
    return count_fields(data, size, 1);
}

/* ---- etcd: an event is a key "/s/<stream>/<revision>"; its creation revision 0 is the check ---- */

static size_t etcd_key(char *to, const char *stream, uint64_t revision)
{
    return (size_t)snprintf(to, 64, "/s/%s/%08" PRIu64, stream, revision);
}

static uint8_t *etcd_put_append(uint8_t *to, const struct proposal *proposal)
{
    const uint64_t before = proposal->events_before == EXPECT_NOTHING ? 0 : proposal->events_before;
    char key[64];
    uint8_t *const begin = to;
    size_t key_size = etcd_key(key, proposal->stream, before);
    to = stele_pb_put_message(to + 5, 1, 4 + stele_pb_size_bytes(3, key_size));
    to = stele_pb_put_u64(to, 2, 1); /* CREATE */
    to = stele_pb_put_bytes(to, 3, key, key_size);
    to = stele_pb_put_u64(to, 5, 0);
    for (uint32_t i = 0; i < proposal->count; i++) {
        /* Id and type in front of the data. */
        uint8_t value[256];
        bench_random_id(&random_state, value);
        memcpy(value + 16, BENCH_TYPE, sizeof BENCH_TYPE - 1);
        const size_t head = 16 + sizeof BENCH_TYPE - 1;
        key_size = etcd_key(key, proposal->stream, before + i);
        const size_t put =
            stele_pb_size_bytes(1, key_size) + stele_pb_size_bytes(2, head + pool.size);
        to = stele_pb_put_message(to, 2, stele_pb_size_bytes(2, put));
        to = stele_pb_put_message(to, 2, put);
        to = stele_pb_put_bytes(to, 1, key, key_size);
        to = stele_pb_put_message(to, 2, head + pool.size);
        memcpy(to, value, head);
        memcpy(to + head, bench_pool_pick(&pool, &random_state), pool.size);
        to += head + pool.size;
    }
    (void)h2_put_prefix(begin, (size_t)(to - begin) - 5);
    return to;
}

static struct answer etcd_get_answer(const uint8_t *data, size_t size)
{
    struct answer answer = {.good = false};
    struct stele_pb_reader reader = stele_pb_reader((struct stele_bytes){data, size});
    struct stele_pb_field field;
    while (stele_pb_next(&reader, &field)) {
        answer.good = answer.good || (field.number == 2 && field.value == 1); /* succeeded */
    }
    return answer;
}

/* A range of keys; of all streams it is a Watch from the first revision. */
static uint8_t *etcd_put_range(uint8_t *to, const char *stream)
{
    char from[64];
    char until[64];
    const int from_size = snprintf(from, sizeof from, "/s/%s/", stream);
    const int until_size = snprintf(until, sizeof until, "/s/%s0", stream);
    to = stele_pb_put_bytes(to, 1, from, (size_t)from_size);
    return stele_pb_put_bytes(to, 2, until, (size_t)until_size);
}

static uint8_t *etcd_put_read(uint8_t *to, const char *stream, uint64_t limit)
{
    (void)limit;
    uint8_t *end = to + 5;
    if (stream == NULL) {
        uint8_t create[64];
        uint8_t *at = stele_pb_put_bytes(create, 1, "/s/fill-", 8);
        at = stele_pb_put_bytes(at, 2, "/s/fill.", 8);
        at = stele_pb_put_u64(at, 3, 1);
        end = stele_pb_put_bytes(end, 1, create, (size_t)(at - create));
    } else {
        end = etcd_put_range(end, stream);
    }
    (void)h2_put_prefix(to, (size_t)(end - to) - 5);
    return end;
}

static uint8_t *etcd_put_subscribe(uint8_t *to, const char *stream)
{
    uint8_t create[160];
    const uint8_t *const at = etcd_put_range(create, stream);
    uint8_t *const end = stele_pb_put_bytes(to + 5, 1, create, (size_t)(at - create));
    (void)h2_put_prefix(to, (size_t)(end - to) - 5);
    return end;
}

/* RangeResponse has its pairs in 2, WatchResponse its events in 11; neither has the other's. */
static struct found etcd_get_found(const uint8_t *data, size_t size)
{
    struct found found = {.bad = false};
    struct stele_pb_reader reader = stele_pb_reader((struct stele_bytes){data, size});
    struct stele_pb_field field;
    while (stele_pb_next(&reader, &field)) {
        found.events += field.number == 11 || (field.number == 2 && field.wire == STELE_PB_BYTES);
    }
    return found;
}

/* ---- The bare echo: the same bytes as an append, 32 bytes back ----------------------------------- */

static struct answer echo_get_answer(const uint8_t *data, size_t size)
{
    (void)data;
    return (struct answer){.good = size == 32};
}

static const struct protocol protocols[] = {
    {
        .program = "stele",
        .append_path = "/event_store.client.streams.Streams/BatchAppend",
        .put_append = kurrent_put_append,
        .get_answer = kurrent_get_answer,
        .read_path = "/event_store.client.streams.Streams/Read",
        .read_all_path = "/event_store.client.streams.Streams/Read",
        .subscribe_path = "/event_store.client.streams.Streams/Read",
        .put_read = kurrent_put_request,
        .put_subscribe = kurrent_put_subscribe,
        .get_found = kurrent_get_found,
    },
    {
        .program = "unary",
        .append_path = "/event_store.client.streams.Streams/Append",
        .append_is_unary = true,
        .put_append = unary_put_append,
        .get_answer = unary_get_answer,
        .read_path = "/event_store.client.streams.Streams/Read",
        .read_all_path = "/event_store.client.streams.Streams/Read",
        .subscribe_path = "/event_store.client.streams.Streams/Read",
        .put_read = kurrent_put_request,
        .put_subscribe = kurrent_put_subscribe,
        .get_found = kurrent_get_found,
    },
    {
        .program = "native",
        .append_path = "/stele.v1.EventStore/AppendEvents",
        .put_append = native_put_append,
        .get_answer = native_get_answer,
        .read_path = "/stele.v1.EventStore/Read",
        .read_all_path = "/stele.v1.EventStore/Read",
        .subscribe_path = "/stele.v1.EventStore/SubscribeToStream",
        .put_read = native_put_read,
        .put_subscribe = native_put_subscribe,
        .get_found = native_get_found,
        .get_live = native_get_live,
        .subscription_stays_open = true,
    },
    {
        .program = "etcd",
        .append_path = "/etcdserverpb.KV/Txn",
        .append_is_unary = true,
        .put_append = etcd_put_append,
        .get_answer = etcd_get_answer,
        .read_path = "/etcdserverpb.KV/Range",
        .read_all_path = "/etcdserverpb.Watch/Watch",
        .subscribe_path = "/etcdserverpb.Watch/Watch",
        .put_read = etcd_put_read,
        .put_subscribe = etcd_put_subscribe,
        .get_found = etcd_get_found,
        .subscription_stays_open = true,
        .read_all_stays_open = true,
    },
    {
        .program = "echo",
        .append_path = "/echo",
        .append_is_unary = true,
        .put_append = native_put_append,
        .get_answer = echo_get_answer,
    },
};

const struct protocol *protocol_of(const char *program)
{
    for (size_t i = 0; i < STELE_COUNT_OF(protocols); i++) {
        if (strcmp(protocols[i].program, program) == 0) {
            return &protocols[i];
        }
    }
    return NULL;
}
