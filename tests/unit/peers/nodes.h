/* Nodes for tests of src/peers: some on one loop, whose thread is the test's own. Each keeps what it was
 * told; a test runs the loop until something is true, and a deadline fails it if that never comes. */
#ifndef STELE_TESTS_UNIT_PEERS_NODES_H
#define STELE_TESTS_UNIT_PEERS_NODES_H

#include "io/linux.h"
#include "io/linux_loop.h"
#include "lib/check.h"
#include "lib/ports.h"
#include "peers/peers.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#define NODES 4 /* Numbers 1 … NODES - 1. */
#define HANG_US INT64_C(300000000)

static struct stele_alloc *alloc;
static struct stele_linux_loop *loop;
static struct stele_loop *base;

enum event {
    NEVER,
    HELLO_IN,
    HELLO_OUT,
    FRAME,
    UP,
    DOWN,
    INBOUND_UP,
    INBOUND_DOWN,
    ROOM,
    JOINING,
    EVENTS_END,
};

struct node {
    struct stele_peers *peers;
    struct stele_peers_options options;
    uint64_t number;
    uint16_t port;
    char name[16];
    /* What it was told, by the other's number and the lane. */
    uint32_t ups[NODES + 1][2], downs[NODES + 1][2], failures[NODES + 1][2], rooms[NODES + 1][2];
    uint32_t inbound_ups[NODES + 1][2], inbound_downs[NODES + 1][2];
    uint64_t frames[NODES + 1][2];
    struct stele_buf last[NODES + 1][2]; /* The last frame. */
    bool in_order;                       /* Frames begin with a number, which grows by one. */
    uint64_t next[NODES + 1][2];
    struct stele_peers_why why; /* The last one; its words: */
    char words[512];
    enum stele_peers_refusal verdict; /* Of incoming hellos. */
    enum stele_peers_refusal verdict_of_answer;
    struct stele_peers_hello hello; /* The last one that came in. */
    uint32_t hellos;
    uint64_t request;
    struct stele_buf question;
    bool befriend; /* Who says hello comes into the table. */
    bool echo;     /* Questions are answered at once. */
    void (*hook)(struct node *node, uint64_t from, enum stele_peers_lane lane);
    /* What it is told then makes it forget all nodes; from then on it is told of none. */
    enum event forget_at;
    bool has_forgotten;
};
static struct node nodes[NODES];

/* ---- The loop ---- */

static bool (*wanted)(void);
static struct stele_timer look, hang;

static inline void on_hang(struct stele_timer *timer)
{
    (void)timer;
    CHECK(0 && "what the test waits for does not come");
}

static inline void on_look(struct stele_timer *timer)
{
    if (wanted()) {
        stele_linux_loop_stop(loop);
    } else {
        base->ops->timer_start(base, timer, stele_loop_now_us(base) + 500);
    }
}

static inline void run_until(bool (*what)(void))
{
    wanted = what;
    look = (struct stele_timer){.on_due = on_look};
    hang = (struct stele_timer){.on_due = on_hang};
    base->ops->timer_start(base, &look, stele_loop_now_us(base));
    base->ops->timer_start(base, &hang, stele_loop_now_us(base) + HANG_US);
    stele_linux_loop_run(loop);
    base->ops->timer_stop(base, &hang);
}

static int64_t until_us, looks_left;
static inline bool is_late(void)
{
    return --looks_left < 0 && stele_loop_now_us(base) >= until_us;
}
/* What is claimed not to happen gets the time to; and a loop that was kept waiting meanwhile gets its turns. */
static inline void run_for(int64_t us)
{
    until_us = stele_loop_now_us(base) + us;
    looks_left = us / 1000;
    run_until(is_late);
}

static inline void set_up(void)
{
    struct stele_error err = {0};
    alloc = stele_linux_alloc_create();
    CHECK(alloc != NULL);
    CHECK_OK(stele_linux_loop_create(alloc, &loop, &err), err);
    base = stele_linux_loop_base(loop);
    memset(nodes, 0, sizeof nodes);
}

static inline void stop_node(struct node *node)
{
    stele_peers_destroy(node->peers);
    node->peers = NULL;
}

static inline void tear_down(void)
{
    for (int i = 0; i < NODES; i++) {
        stop_node(&nodes[i]);
        stele_buf_deinit(&nodes[i].question, alloc);
        for (int from = 0; from <= NODES; from++) {
            stele_buf_deinit(&nodes[i].last[from][0], alloc);
            stele_buf_deinit(&nodes[i].last[from][1], alloc);
        }
    }
    stele_linux_loop_destroy(loop);
    CHECK_EQ(stele_linux_alloc_used(alloc), 0);
    stele_linux_alloc_destroy(alloc);
}

/* ---- What nodes are told ---- */

static inline void note_event(struct node *node, enum event event)
{
    CHECK(!node->has_forgotten || event == HELLO_IN || event == JOINING);
    if (node->forget_at == event && event != NEVER) {
        CHECK_EQ(stele_peers_set(node->peers, NULL, 0, NULL), STELE_OK);
        node->has_forgotten = true;
        node->forget_at = NEVER;
    }
}

static inline enum stele_peers_refusal on_hello(void *context,
                                                const struct stele_peers_hello *hello,
                                                bool incoming, const char *address, char *words,
                                                size_t words_size)
{
    struct node *const node = context;
    CHECK(strstr(address, "127.0.0.1:") == address);
    CHECK(words_size > 100);
    note_event(node, incoming ? HELLO_IN : HELLO_OUT);
    if (!incoming) {
        return node->verdict_of_answer;
    }
    node->hello = *hello;
    node->hellos++;
    if (node->befriend) {
        const struct stele_peers_node friend = {
            .number = hello->number, .name = hello->name, .host = hello->host, .port = hello->port};
        CHECK_EQ(stele_peers_set(node->peers, &friend, 1, NULL), STELE_OK);
        node->befriend = false;
    }
    if (node->verdict == STELE_PEERS_WRONG_INCARNATION) {
        (void)snprintf(words, words_size, "this is an older disk of %s", hello->name);
    }
    return node->verdict;
}

static inline void on_frame(void *context, uint64_t from, enum stele_peers_lane lane,
                            struct stele_bytes bytes)
{
    struct node *const node = context;
    node->frames[from][lane]++;
    if (node->in_order) {
        CHECK(bytes.size >= 8);
        CHECK_EQ(stele_load_u64le(bytes.data), node->next[from][lane]);
        node->next[from][lane]++;
    }
    node->last[from][lane].size = 0;
    CHECK_EQ(stele_buf_append(&node->last[from][lane], alloc, bytes), STELE_OK);
    note_event(node, FRAME);
    if (node->hook != NULL) {
        node->hook(node, from, lane);
    }
}

static inline void on_up(void *context, uint64_t to, enum stele_peers_lane lane)
{
    struct node *const node = context;
    CHECK(stele_peers_is_up(node->peers, to, lane));
    CHECK_EQ(node->ups[to][lane], node->downs[to][lane]);
    node->ups[to][lane]++;
    note_event(node, UP);
}

static inline void on_down(void *context, uint64_t to, enum stele_peers_lane lane,
                           const struct stele_peers_why *why)
{
    struct node *const node = context;
    CHECK(!stele_peers_is_up(node->peers, to, lane));
    CHECK(why->words != NULL);
    CHECK(why->words[0] != '\0');
    node->why = *why;
    (void)snprintf(node->words, sizeof node->words, "%s", why->words);
    if (why->was_up) {
        node->downs[to][lane]++;
        CHECK_EQ(node->ups[to][lane], node->downs[to][lane]);
    } else {
        node->failures[to][lane]++;
    }
    note_event(node, DOWN);
}

static inline void on_inbound(void *context, uint64_t from, enum stele_peers_lane lane, bool is_up)
{
    struct node *const node = context;
    (is_up ? node->inbound_ups : node->inbound_downs)[from][lane]++;
    note_event(node, is_up ? INBOUND_UP : INBOUND_DOWN);
}

static inline void on_room(void *context, uint64_t to, enum stele_peers_lane lane)
{
    struct node *const node = context;
    CHECK_EQ(lane, STELE_PEERS_BULK);
    node->rooms[to][lane]++;
    note_event(node, ROOM);
}

static inline void on_join(void *context, uint64_t request, const struct stele_peers_hello *hello,
                           struct stele_bytes bytes)
{
    struct node *const node = context;
    node->hello = *hello;
    node->request = request;
    node->question.size = 0;
    CHECK_EQ(stele_buf_append(&node->question, alloc, bytes), STELE_OK);
    note_event(node, JOINING);
    if (node->echo) {
        CHECK_EQ(stele_peers_answer(node->peers, request, bytes), STELE_OK);
    }
}

static const struct stele_peers_events events = {
    .on_hello = on_hello,
    .on_frame = on_frame,
    .on_up = on_up,
    .on_down = on_down,
    .on_inbound = on_inbound,
    .on_room = on_room,
    .on_join = on_join,
};

/* ---- Nodes ---- */

static inline struct stele_peers_options usual_options(struct node *node, uint64_t number)
{
    struct stele_peers_options options = stele_peers_options_default();
    memcpy(options.cluster_id, "the same cluster", 16);
    memset(options.incarnation, (int)number, 16);
    (void)snprintf(node->name, sizeof node->name, "node-%u", (unsigned)number);
    options.name = node->name;
    options.number = number;
    return options;
}

static inline struct sockaddr_in loopback(uint16_t port)
{
    return (struct sockaddr_in){.sin_family = AF_INET,
                                .sin_port = htons(port),
                                .sin_addr = {.s_addr = htonl(INADDR_LOOPBACK)}};
}

static inline void listen_node(struct node *node)
{
    /* It may stop and begin again at its port, which has to be nobody else's meanwhile; or at another one. */
    static uint16_t kept[NODES][2];
    static bool second[NODES];
    struct stele_error err = {0};
    if (node->port == 0) {
        uint16_t *const port = &kept[node->number][second[node->number]];
        *port = *port != 0 ? *port : (uint16_t)ports_keep_one();
        node->port = *port;
        second[node->number] = !second[node->number];
    }
    const struct sockaddr_in address = loopback(node->port);
    CHECK_OK(stele_peers_listen(node->peers, (const struct sockaddr *)(const void *)&address,
                                sizeof address, &node->port, &err),
             err);
}

static inline struct node *start_with(uint64_t number, struct stele_peers_options options)
{
    struct stele_error err = {0};
    struct node *const node = &nodes[number];
    node->number = number;
    node->options = options;
    /* Destroying told nothing. */
    memset(node->ups, 0, sizeof node->ups);
    memset(node->downs, 0, sizeof node->downs);
    node->has_forgotten = false;
    CHECK_OK(stele_peers_create(loop, &options, &events, node, &node->peers, &err), err);
    listen_node(node);
    return node;
}

static inline struct node *start(uint64_t number)
{
    return start_with(number, usual_options(&nodes[number], number));
}

/* Every node that is there gets to know all of them. */
static inline void introduce(void)
{
    struct stele_peers_node table[NODES];
    struct stele_error err = {0};
    size_t count = 0;
    for (int i = 1; i < NODES; i++) {
        if (nodes[i].port != 0) {
            table[count++] = (struct stele_peers_node){.number = (uint64_t)i,
                                                       .name = nodes[i].name,
                                                       .host = "127.0.0.1",
                                                       .port = nodes[i].port};
        }
    }
    for (int i = 1; i < NODES; i++) {
        if (nodes[i].peers != NULL) {
            CHECK_OK(stele_peers_set(nodes[i].peers, table, count, &err), err);
        }
    }
}

static inline bool all_up(void)
{
    for (uint64_t i = 1; i < NODES; i++) {
        for (uint64_t j = 1; j < NODES; j++) {
            if (i != j && nodes[i].peers != NULL && nodes[j].peers != NULL &&
                (!stele_peers_is_up(nodes[i].peers, j, STELE_PEERS_CONTROL) ||
                 !stele_peers_is_up(nodes[i].peers, j, STELE_PEERS_BULK))) {
                return false;
            }
        }
    }
    return true;
}

static inline struct stele_peers_status status_of(const struct node *node, uint64_t to,
                                                  enum stele_peers_lane lane)
{
    struct stele_peers_status status = {.up = false};
    CHECK(stele_peers_status(node->peers, to, lane, &status));
    return status;
}

#endif
