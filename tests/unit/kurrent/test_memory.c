/* Whatever allocation of a call fails, the call ends with a status, what it took is given back, and the
 * next call works.
 *
 * Method: each kind of call again and again, with the first allocation failing, then the second, until
 * none does. The store has memory of its own. */
#include "bench.h"
#include "lib/check.h"

static struct bench bench;
static struct stele_exchange exchange;
static bool done; /* Nothing failed. */

static void begin(uint64_t n)
{
    bench.of_loop.failures = 0;
    bench.of_loop.fail_at = bench.of_loop.calls + n;
}

static void end(void)
{
    done = bench.of_loop.failures == 0;
    bench.of_loop.fail_at = 0;
    fake_close(bench.grpc, &exchange);
    bench_rest(&bench);
}

/* A message as bytes, so that the test's own allocations are not counted. */
struct bytes {
    uint8_t data[512];
    size_t size;
};

static void add(struct bytes *to, const char *data, size_t size)
{
    CHECK(size <= sizeof to->data - to->size);
    memcpy(to->data + to->size, data, size);
    to->size += size;
}
#define ADD(to, literal) add(to, literal, sizeof(literal) - 1)

#define EVENT                                                                                      \
    "\x0a\x06\x0a\x04\x08\x01\x10\x02\x12\x09\x0a\x04type\x12\x01t"                                \
    "\x12\x20\x0a\x0c"                                                                             \
    "content-type\x12\x10"                                                                         \
    "application/json"                                                                             \
    "\x22\x02{}"

static void send(const struct bytes *message)
{
    fake_send(bench.grpc, &exchange, message->data, message->size);
}

static void call(const char *path)
{
    bench_call(&bench, &exchange, path, "slow");
}

static void append(void)
{
    struct bytes options = {.size = 0};
    struct bytes event = {.size = 0};
    ADD(&options, "\x0a\x07\x0a\x03\x1a\x01\x61\x22\x00");
    ADD(&event, "\x12\x39" EVENT);
    call(STREAMS "Append");
    send(&options);
    send(&event);
    bench_end(&bench, &exchange);
    (void)bench_status(&bench, &exchange);
}

static void batch(void)
{
    struct bytes first = {.size = 0};
    struct bytes last = {.size = 0};
    ADD(&first, "\x0a\x04\x0a\x02\x08\x05\x12\x07\x0a\x03\x1a\x01\x62\x22\x00");
    ADD(&last, "\x0a\x04\x0a\x02\x08\x05\x1a\x39" EVENT "\x20\x01");
    call(STREAMS "BatchAppend");
    send(&first);
    send(&last);
    bench_end(&bench, &exchange);
    (void)bench_status(&bench, &exchange);
}

static void read_filtered(void)
{
    struct bytes message = {.size = 0};
    ADD(&message, "\x0a\x1b\x12\x02\x12\x00\x28\x64\x30\x00");
    message.size -= 2;
    message.data[1] = 0x19;
    ADD(&message, "\x3a\x0c\x12\x08\x12\x01s\x12\x03typ\x28\x01");
    message.data[1] = (uint8_t)(message.size - 2);
    ADD(&message, "\x4a\x02\x0a\x00");
    message.data[1] = (uint8_t)(message.size - 2);
    call(STREAMS "Read");
    send(&message);
    (void)bench_status(&bench, &exchange);
}

static void read_links(void)
{
    struct bytes message = {.size = 0};
    ADD(&message, "\x0a\x00\x0a\x09\x0a\x05\x1a\x03$ce\x1a\x00");
    message.size = 0;
    ADD(&message, "\x0a\x00\x0a\x0c\x0a\x08\x1a\x06$ce-st\x1a\x00\x20\x01\x28\x64\x42\x00"
                  "\x4a\x02\x0a\x00");
    message.data[1] = (uint8_t)(message.size - 2);
    call(STREAMS "Read");
    send(&message);
    (void)bench_status(&bench, &exchange);
}

static void subscribe(void)
{
    struct bytes message = {.size = 0};
    ADD(&message, "\x0a\x00\x12\x02\x12\x00\x32\x00\x42\x00\x4a\x02\x12\x00");
    message.data[1] = (uint8_t)(message.size - 2);
    call(STREAMS "Read");
    send(&message);
    bench_rest(&bench);
}

static void delete (void)
{
    struct bytes message = {.size = 0};
    ADD(&message, "\x0a\x07\x0a\x03\x1a\x01\x61\x22\x00");
    call(STREAMS "Delete");
    send(&message);
    (void)bench_status(&bench, &exchange);
}

static void session(void)
{
    struct bytes message = {.size = 0};
    /* stream, one record: properties {"k": true}, schema, data. */
    ADD(&message, "\x0a\x01z\x12\x1d\x12\x07\x0a\x01k\x12\x02\x20\x01\x1a\x0c\x08\x02\x12\x04name"
                  "\x1a\x02id\x22\x04"
                  "data\x18\x03");
    call(V2 "AppendSession");
    send(&message);
    bench_end(&bench, &exchange);
    (void)bench_status(&bench, &exchange);
}

static void records(void)
{
    struct bytes message = {.size = 0};
    ADD(&message, "\x0a\x1a\x12\x07\x0a\x01k\x12\x02\x20\x01\x1a\x08\x08\x01\x12\x04name\x22\x02"
                  "da\x2a\x01y\x12\x07\x0a\x05\x0a\x01q\x10\x01");
    call(V2 "AppendRecords");
    send(&message);
    (void)bench_status(&bench, &exchange);
}

static void features(void)
{
    const struct bytes message = {.size = 0};
    call("/event_store.client.server_features.ServerFeatures/GetSupportedMethods");
    send(&message);
    (void)bench_status(&bench, &exchange);
}

static void sweep(void (*deed)(void), bool ends)
{
    done = false;
    for (uint64_t n = 1; !done; n++) {
        CHECK(n < 200);
        begin(n);
        deed();
        const int status = fake_status(&exchange);
        CHECK(bench.of_loop.failures == 0 || !ends || status >= 0);
        CHECK(bench.of_loop.failures > 0 || !ends || status == 0);
        end();
    }
}

TEST(every_kind_of_call_survives_every_lack_of_memory)
{
    static const struct {
        void (*deed)(void);
        bool ends;
    } cases[] = {{append, true}, {batch, true},   {read_filtered, true}, {read_links, true},
                 {delete, true}, {session, true}, {records, true},       {features, true}};
    for (size_t i = 0; i < STELE_COUNT_OF(cases); i++) {
        bench_open(&bench);
        (void)bench_append(&bench, "st-1", STELE_EXPECT_ANY, 100, 3);
        (void)bench_append(&bench, "a", STELE_EXPECT_ANY, 200, 3);
        sweep(cases[i].deed, cases[i].ends);
        bench_close(&bench);
    }
}

TEST(a_subscription_without_memory_ends_or_works)
{
    done = false;
    for (uint64_t n = 1; !done; n++) {
        CHECK(n < 200);
        bench_open(&bench);
        (void)bench_append(&bench, "a", STELE_EXPECT_ANY, 200, 3);
        begin(n);
        subscribe();
        const bool failed = bench.of_loop.failures > 0;
        size_t events = 0;
        struct stele_bytes message;
        while (fake_next(&exchange, &message)) {
            events += message.size > 0 && message.data[0] == 0x0a ? 1 : 0;
        }
        CHECK(events == 3 || (failed && fake_status(&exchange) > 0));
        end();
        bench_close(&bench);
    }
}
