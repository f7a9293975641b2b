/* A server that is killed and started again loses no acknowledged append, stores none twice, and a
 * subscription goes on without skip and repeat; and what nobody answers ends in time.
 *
 * Method: kill -9 at moments that come from a clock nobody controls, while threads append one event
 * after the other and a subscription follows; then the streams are read and held against what was
 * acknowledged. */
#include "fixture.h"
#include "lib/ports.h"

#include <netinet/in.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/socket.h>
#include <time.h>

#define WRITERS 3
#define KILLS 4

static _Atomic bool enough;
static _Atomic uint64_t acknowledged[WRITERS];
static _Atomic uint64_t seen, seen_last[WRITERS];
static _Atomic bool out_of_order;

static void sleep_ms(long ms)
{
    const struct timespec moment = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000};
    (void)nanosleep(&moment, NULL);
}

static void *run_writer(void *context)
{
    const size_t writer = (size_t)context;
    char stream[16];
    (void)snprintf(stream, sizeof stream, "w-%zu", writer);
    for (uint64_t n = 0; !atomic_load(&enough); n++) {
        char data[32];
        (void)snprintf(data, sizeof data, "%llu", (unsigned long long)n);
        const struct stele_event_draft draft = fixture_draft(writer << 32 | (n + 1), data);
        int outcome = STELE_E_UNKNOWN;
        struct stele_error mine;
        /* Unknown and timed out: the same again. */
        while (outcome == STELE_E_UNKNOWN || outcome == STELE_TIMED_OUT) {
            outcome = stele_append(store, stream, n == 0 ? STELE_EXPECT_NO_STREAM : n - 1, &draft,
                                   1, NULL, &mine);
        }
        CHECK_OK(outcome, mine);
        atomic_store(&acknowledged[writer], n + 1);
    }
    return NULL;
}

static int on_events(void *context, const struct stele_event *events, size_t count,
                     uint64_t checkpoint)
{
    (void)context;
    (void)checkpoint;
    for (size_t i = 0; i < count; i++) {
        const size_t writer = (size_t)(events[i].stream.data[2] - '0');
        if (events[i].revision != atomic_load(&seen_last[writer])) {
            atomic_store(&out_of_order, true);
        }
        atomic_fetch_add(&seen_last[writer], 1);
        atomic_fetch_add(&seen, 1);
    }
    return 0;
}

static void kill_server(void)
{
    CHECK_EQ(kill(fixture_server, SIGKILL), 0);
    CHECK_EQ(waitpid(fixture_server, NULL, 0), fixture_server);
    fixture_server = 0;
}

/* A busy machine may need a while until each has done something since. */
static void wait_for_progress(void)
{
    for (size_t i = 0; i < WRITERS; i++) {
        const uint64_t before = atomic_load(&acknowledged[i]);
        while (atomic_load(&acknowledged[i]) == before) {
            sleep_ms(1);
        }
    }
}

TEST(a_killed_server_loses_nothing_and_doubles_nothing)
{
    struct stele_subscription *subscription = NULL;
    pthread_t writers[WRITERS];
    fixture_begin();
    /* From now on always the same port, so that the client finds the next server. */
    CHECK_EQ(stele_close(store), STELE_OK);
    fixture_port = ports_keep_one();
    CHECK_EQ(fixture_start_server(), fixture_port);
    char address[80];
    (void)snprintf(address, sizeof address, "stele://127.0.0.1:%d?timeout=300000", fixture_port);
    CHECK_OK(stele_open(address, NULL, &store, &err), err);
    const struct stele_read_options options = STELE_READ_OPTIONS_INIT;
    CHECK_OK(stele_subscribe(store, NULL, &options, on_events, NULL, NULL, &subscription, &err),
             err);
    for (size_t i = 0; i < WRITERS; i++) {
        CHECK_EQ(pthread_create(&writers[i], NULL, run_writer, (void *)i), 0);
    }
    for (int round = 0; round < KILLS; round++) {
        wait_for_progress();
        sleep_ms(150 + round * 37);
        kill_server();
        sleep_ms(30);
        (void)fixture_start_server();
    }
    wait_for_progress();
    atomic_store(&enough, true);
    uint64_t total = 0;
    for (size_t i = 0; i < WRITERS; i++) {
        CHECK_EQ(pthread_join(writers[i], NULL), 0);
        total += atomic_load(&acknowledged[i]);
    }
    CHECK(total > 0);
    while (atomic_load(&seen) < total) {
        CHECK(!atomic_load(&out_of_order));
        sleep_ms(10);
    }
    stele_unsubscribe(subscription);
    CHECK(!atomic_load(&out_of_order));
    CHECK_EQ(atomic_load(&seen), total);
    for (size_t i = 0; i < WRITERS; i++) {
        char stream[16];
        (void)snprintf(stream, sizeof stream, "w-%zu", i);
        CHECK_EQ(fixture_count(stream, options), atomic_load(&acknowledged[i]));
    }
    fixture_port = 0;
    fixture_end();
}

TEST(a_server_that_does_not_answer_is_given_up_in_time)
{
    const int fd = socket(AF_INET, SOCK_STREAM, 0);
    const int port = ports_keep_one(); /* It stays nobody else's when nobody listens any more. */
    const struct sockaddr_in name = {.sin_family = AF_INET,
                                     .sin_port = htons((uint16_t)port),
                                     .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    CHECK_EQ(bind(fd, (const struct sockaddr *)&name, sizeof name), 0);
    CHECK_EQ(listen(fd, 8), 0);
    char address[80];
    (void)snprintf(address, sizeof address, "stele://127.0.0.1:%d?timeout=300", port);
    /* It can be connected to, and says nothing for ever. */
    CHECK_OK(stele_open(address, NULL, &store, &err), err);
    CHECK_OUTCOME(fixture_append("s", STELE_EXPECT_ANY, 1, "{}", NULL), STELE_E_UNKNOWN, err);
    struct stele_stream_info info;
    CHECK_OUTCOME(stele_stream_info(store, "s", &info, &err), STELE_E_IO, err);
    CHECK_OUTCOME(stele_delete(store, "s", STELE_EXPECT_ANY, NULL, &err), STELE_E_UNKNOWN, err);
    CHECK_EQ(stele_close(store), STELE_OK);
    CHECK_EQ(close(fd), 0);
    /* Nobody listens: nothing can have happened. */
    CHECK_OUTCOME(stele_open(address, NULL, &store, &err), STELE_E_IO, err);
}

TEST(a_bad_address_is_refused_by_what_is_wrong_with_it)
{
    static const struct {
        const char *address, *word;
    } bad[] = {
        {"stele://", "host"},
        {"stele://host:0", "port"},
        {"stele://host:65536", "port"},
        {"stele://host:1x", "port"},
        {"stele://[::1", "]"},
        {"stele://h?tls=maybe", "tls"},
        {"stele://h?timeout=soon", "timeout"},
        {"stele://h?tls", "value"},
        {"stele://h?colour=red", "colour"},
        {"stele://h/path", "path"},
        {"stele://h?tlsCAFile=/nowhere.pem", "nowhere"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        CHECK_OUTCOME(stele_open(bad[i].address, NULL, &store, &err), STELE_E_INVALID, err);
        CHECK(strstr(err.message, bad[i].word) != NULL);
    }
}
