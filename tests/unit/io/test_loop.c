/* The loop of a process: tasks run once, in order, from any thread; timers fall due in order; what
 * one socket sends the other receives whole, however slowly it reads; ends and losses are told once.
 *
 * Method: real sockets on 127.0.0.1, both ends on one loop, with a deadline that fails the test. */
#include "io/linux.h"
#include "io/linux_loop.h"
#include "lib/check.h"
#include "lib/ports.h"
#include "lib/testalloc.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <pthread.h>
#include <sys/socket.h>
#include <unistd.h>

static struct stele_alloc *alloc;
static struct stele_linux_loop *loop;
static struct stele_loop *base;
static struct stele_timer hang;

static void on_hang(struct stele_timer *timer)
{
    (void)timer;
    CHECK(0 && "the test hangs");
}

static void set_up(void)
{
    struct stele_error err = {0};
    alloc = stele_linux_alloc_create();
    CHECK(alloc != NULL);
    CHECK_OK(stele_linux_loop_create(alloc, &loop, &err), err);
    base = stele_linux_loop_base(loop);
    hang = (struct stele_timer){.on_due = on_hang};
    base->ops->timer_start(base, &hang, stele_loop_now_us(base) + INT64_C(300000000));
}

static void tear_down(void)
{
    base->ops->timer_stop(base, &hang);
    stele_linux_loop_destroy(loop);
    CHECK_EQ(stele_linux_alloc_used(alloc), 0);
    stele_linux_alloc_destroy(alloc);
}

/* ---- Tasks ---- */

#define THREADS 4
#define TASKS 20000

struct numbered {
    struct stele_task task;
    uint32_t thread, number;
};

static struct numbered numbered[THREADS][TASKS];
static uint32_t next_of[THREADS];
static uint32_t done;

static void run_numbered(struct stele_task *task)
{
    const struct numbered *const n = (const struct numbered *)(const void *)task;
    CHECK_EQ(n->number, next_of[n->thread]);
    next_of[n->thread]++;
    if (++done == THREADS * TASKS) {
        stele_linux_loop_stop(loop);
    }
}

static void *post_all(void *context)
{
    struct numbered *const mine = context;
    for (uint32_t i = 0; i < TASKS; i++) {
        stele_loop_post(base, &mine[i].task);
        if (i % 1000 == 0) {
            (void)usleep(100); /* So that the loop falls asleep now and then. */
        }
    }
    return NULL;
}

TEST(tasks_of_many_threads_run_once_and_in_order)
{
    set_up();
    pthread_t threads[THREADS];
    done = 0;
    for (uint32_t t = 0; t < THREADS; t++) {
        next_of[t] = 0;
        for (uint32_t i = 0; i < TASKS; i++) {
            numbered[t][i] =
                (struct numbered){.task = {.run = run_numbered}, .thread = t, .number = i};
        }
        CHECK_EQ(pthread_create(&threads[t], NULL, post_all, numbered[t]), 0);
    }
    stele_linux_loop_run(loop);
    for (uint32_t t = 0; t < THREADS; t++) {
        CHECK_EQ(pthread_join(threads[t], NULL), 0);
        CHECK_EQ(next_of[t], TASKS);
    }
    tear_down();
}

static uint32_t reposted;

static void repost(struct stele_task *task)
{
    if (++reposted < 1000) {
        stele_loop_post(base, task);
    } else {
        stele_linux_loop_stop(loop);
    }
}

TEST(a_task_that_posts_itself_lets_the_loop_turn)
{
    set_up();
    struct stele_task task = {.run = repost};
    reposted = 0;
    stele_loop_post(base, &task);
    stele_linux_loop_run(loop);
    CHECK_EQ(reposted, 1000);
    CHECK(stele_linux_loop_turns(loop) >= 999);
    tear_down();
}

/* ---- Timers ---- */

#define TIMERS 500

static struct stele_timer timers[TIMERS];
static int64_t last_due_us;
static uint32_t fired;

static void on_due(struct stele_timer *timer)
{
    CHECK(timer->due_us >= last_due_us);
    CHECK(timer->due_us <= stele_loop_now_us(base));
    CHECK_EQ(timer->place, 0);
    last_due_us = timer->due_us;
    if (++fired == TIMERS / 2) {
        stele_linux_loop_stop(loop);
    }
}

TEST(timers_fall_due_in_order_and_stopped_ones_never)
{
    set_up();
    const int64_t now_us = stele_loop_now_us(base);
    struct rng rng;
    rng_init(&rng, 7, 0);
    last_due_us = 0;
    fired = 0;
    for (int i = 0; i < TIMERS; i++) {
        timers[i] = (struct stele_timer){.on_due = on_due};
        base->ops->timer_start(base, &timers[i], now_us + (int64_t)rng_below(&rng, 20000));
    }
    for (int i = 0; i < TIMERS; i++) { /* Moved, and every second one stopped. */
        base->ops->timer_start(base, &timers[i], now_us + (int64_t)rng_below(&rng, 20000));
        if (i % 2 == 0) {
            base->ops->timer_stop(base, &timers[i]);
            base->ops->timer_stop(base, &timers[i]);
        }
    }
    stele_linux_loop_run(loop);
    CHECK_EQ(fired, TIMERS / 2);
    tear_down();
}

/* ---- Sleeping ---- */

static uint32_t beats;
static uint64_t cpu_before_us, cpu_after_us;

static uint64_t thread_cpu_us(void)
{
    struct timespec used = {.tv_sec = 0};
    (void)clock_gettime(CLOCK_THREAD_CPUTIME_ID, &used);
    return (uint64_t)used.tv_sec * 1000000 + (uint64_t)used.tv_nsec / 1000;
}

/* Busy at first: something every 20 us, for which it pays to stay awake. Then nothing for long. */
static void on_beat(struct stele_timer *timer)
{
    const int64_t now_us = stele_loop_now_us(base);
    if (++beats < 500) {
        base->ops->timer_start(base, timer, now_us + 20);
    } else if (beats == 500) {
        cpu_before_us = thread_cpu_us();
        base->ops->timer_start(base, timer, now_us + 200000);
    } else {
        cpu_after_us = thread_cpu_us();
        stele_linux_loop_stop(loop);
    }
}

TEST(a_loop_that_was_busy_sleeps_when_nothing_comes)
{
    set_up();
    struct stele_timer beat = {.on_due = on_beat};
    beats = 0;
    base->ops->timer_start(base, &beat, stele_loop_now_us(base));
    stele_linux_loop_run(loop);
    CHECK_EQ(beats, 501);
    CHECK(cpu_after_us - cpu_before_us < 20000);
    tear_down();
}

/* ---- Sockets ---- */

struct end {
    struct stele_socket *socket;
    uint64_t to_send; /* Bytes still to be produced. */
    uint64_t sent, received;
    uint32_t connected, eofs, losses, pieces;
    bool close_when_sent;
    bool mirror; /* Sends as much as it received. */
    bool paused;
    uint64_t unsent_max;
};

static struct end server, client;
static struct stele_listener *listener;
static uint64_t expected;

static void on_connected(void *context)
{
    struct end *const end = context;
    end->connected++;
}

static void on_bytes(void *context, struct stele_bytes bytes)
{
    struct end *const end = context;
    for (size_t i = 0; i < bytes.size; i += 101) {
        CHECK_EQ(bytes.data[i], (uint8_t)((end->received + i) * 31));
    }
    end->received += bytes.size;
    end->pieces++;
    if (end->mirror) {
        end->to_send += bytes.size;
        stele_socket_want_flush(end->socket);
    }
    if (end == &client && end->received == expected) {
        stele_socket_close(end->socket);
        end->socket = NULL;
    }
}

static void on_eof(void *context)
{
    struct end *const end = context;
    end->eofs++;
    if (end == &server) {
        stele_socket_close(end->socket);
        end->socket = NULL;
        stele_linux_loop_stop(loop);
    }
}

static void on_flush(void *context, struct stele_buf *out, size_t max)
{
    struct end *const end = context;
    const size_t size = end->to_send < max ? (size_t)end->to_send : max;
    CHECK_EQ(stele_buf_reserve(out, alloc, size), STELE_OK);
    for (size_t i = 0; i < size; i++) {
        out->data[out->size++] = (uint8_t)((end->sent + i) * 31);
    }
    end->sent += size;
    end->to_send -= size;
    CHECK_EQ(stele_socket_unsent(end->socket), 0);
}

static void on_lost(void *context, int os_errno)
{
    struct end *const end = context;
    CHECK(os_errno != 0);
    end->losses++;
    end->socket = NULL;
    stele_linux_loop_stop(loop);
}

static const struct stele_socket_events events = {.on_connected = on_connected,
                                                  .on_bytes = on_bytes,
                                                  .on_eof = on_eof,
                                                  .on_flush = on_flush,
                                                  .on_lost = on_lost};

static bool on_accept(void *context, struct stele_socket *socket, const char *address,
                      bool is_loopback, const struct stele_socket_events **out_events,
                      void **out_context)
{
    (void)context;
    CHECK(is_loopback);
    CHECK_TEXT_HAS(address, "127.0.0.1:");
    server.socket = socket;
    stele_socket_want_flush(socket);
    *out_events = &events;
    *out_context = &server;
    return true;
}

static const struct stele_listener_events accepting = {.on_accept = on_accept};

static struct sockaddr_in local(uint16_t port)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return address;
}

static void open_pair(void)
{
    struct stele_error err = {0};
    memset(&server, 0, sizeof server);
    memset(&client, 0, sizeof client);
    const struct sockaddr_in any = local(0);
    CHECK_OK(stele_listener_open(loop, (const struct sockaddr *)&any, sizeof any, &accepting, NULL,
                                 &listener, &err),
             err);
    const struct sockaddr_in to = local(stele_listener_port(listener));
    CHECK_OK(stele_socket_connect(loop, (const struct sockaddr *)&to, sizeof to, &events, &client,
                                  &client.socket, &err),
             err);
}

TEST(everything_arrives_in_order_and_the_end_is_told_once)
{
    set_up();
    open_pair();
    server.mirror = true;
    client.to_send = 20000000;
    expected = 20000000;
    stele_linux_loop_run(loop);
    CHECK_EQ(client.connected, 1);
    CHECK_EQ(client.received, expected);
    CHECK_EQ(server.received, expected);
    CHECK_EQ(server.eofs, 1);
    CHECK_EQ(server.losses + client.losses, 0);
    CHECK(client.pieces < 5000);
    stele_listener_close(listener);
    tear_down();
}

static uint64_t sent_before;

static void on_resume(struct stele_timer *timer)
{
    CHECK_EQ(client.received, 0);
    /* Nothing more since the last look, so nothing more can be sent. */
    if (server.sent == 0 || server.sent != sent_before) {
        sent_before = server.sent;
        base->ops->timer_start(base, timer, stele_loop_now_us(base) + 100000);
        return;
    }
    /* The kernel's buffers are full and no more is produced than one write. */
    CHECK(server.to_send > 0);
    CHECK(stele_socket_unsent(server.socket) > 0);
    CHECK(stele_linux_alloc_used(alloc) < 4000000);
    client.unsent_max = server.sent;
    stele_socket_resume(client.socket);
}

TEST(a_peer_that_does_not_read_holds_up_its_sender)
{
    set_up();
    open_pair();
    struct stele_timer timer = {.on_due = on_resume};
    stele_socket_pause(client.socket);
    client.to_send = 1;
    server.to_send = 40000000;
    expected = 40000000;
    sent_before = 0;
    base->ops->timer_start(base, &timer, stele_loop_now_us(base) + 100000);
    stele_linux_loop_run(loop);
    CHECK_EQ(client.received, expected);
    CHECK(client.unsent_max < 30000000);
    stele_listener_close(listener);
    tear_down();
}

static void on_cut(struct stele_timer *timer)
{
    if (server.received == 0) {
        base->ops->timer_start(base, timer, stele_loop_now_us(base) + 10000);
        return;
    }
    stele_socket_abort(client.socket);
}

TEST(a_lost_connection_is_told_once)
{
    set_up();
    open_pair();
    struct stele_timer timer = {.on_due = on_cut};
    stele_socket_pause(client.socket);
    client.to_send = 1;
    server.to_send = 40000000;
    base->ops->timer_start(base, &timer, stele_loop_now_us(base) + 100000);
    stele_linux_loop_run(loop);
    CHECK_EQ(server.losses, 1);
    stele_listener_close(listener);
    tear_down();
}

TEST(a_refused_connection_is_told)
{
    set_up();
    struct stele_error err = {0};
    memset(&client, 0, sizeof client);
    const struct sockaddr_in to = local((uint16_t)ports_keep_one()); /* Nobody listens there. */
    const int outcome = stele_socket_connect(loop, (const struct sockaddr *)&to, sizeof to, &events,
                                             &client, &client.socket, &err);
    if (outcome == STELE_OK) {
        stele_linux_loop_run(loop);
        CHECK_EQ(client.losses, 1);
        CHECK_EQ(client.connected, 0);
    }
    tear_down();
}

TEST(an_address_in_use_is_found_out_and_shared_only_on_purpose)
{
    set_up();
    struct stele_error err = {0};
    struct stele_listener *second = NULL;
    struct sockaddr_in address = local(0);
    CHECK_OK(stele_listener_open(loop, (const struct sockaddr *)&address, sizeof address,
                                 &accepting, NULL, &listener, &err),
             err);
    address = local(stele_listener_port(listener));
    CHECK_EQ(stele_listener_probe((const struct sockaddr *)&address, sizeof address, &err),
             STELE_E_IO);
    CHECK_TEXT_HAS(err.message, "another program listens there");
    CHECK_OK(stele_listener_open(loop, (const struct sockaddr *)&address, sizeof address,
                                 &accepting, NULL, &second, &err),
             err);
    stele_listener_close(listener);
    stele_listener_close(second);
    CHECK_OK(stele_listener_probe((const struct sockaddr *)&address, sizeof address, &err), err);
    tear_down();
}
