/* Three nodes, each with a loop and a thread of its own, which stop and begin again in the middle of it: what
 * arrives comes in order, without a gap while a connection lasts, and nobody hears of a life that is over.
 *
 * Method: every frame says which life of its sender it is of, and a number; chance decides who stops when. Made
 * for the thread sanitizer, too. */
#include "io/linux.h"
#include "io/linux_loop.h"
#include "lib/check.h"
#include "lib/ports.h"
#include "lib/rng.h"
#include "peers/peers.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdatomic.h>
#include <unistd.h>

#define NODES 3
#define LIVES 8
#define HANG_US INT64_C(300000000)
#define FRAME_MAX 20000

struct node {
    uint64_t number;
    struct stele_alloc *alloc;
    struct stele_linux_loop *loop;
    struct stele_loop *base;
    struct stele_peers *peers;
    struct rng rng;
    struct stele_timer turn;
    int64_t begin_us;
    uint64_t life;                   /* Grows. */
    uint64_t next_out[NODES + 1][2]; /* Number of the next frame. */
    /* Of what comes in. */
    uint64_t life_in[NODES + 1][2], next_in[NODES + 1][2];
    bool fresh[NODES + 1][2]; /* A new connection: numbers may jump. */
    bool up[NODES + 1][2];
    uint64_t frames_in;
};
static struct node nodes[NODES + 1];
static uint16_t ports[NODES + 1];
static char names[NODES + 1][8];
static atomic_uint finished; /* Nodes that stop no more. */
static atomic_uint content;  /* Nodes that have heard everybody since then. */

static enum stele_peers_refusal on_hello(void *context, const struct stele_peers_hello *hello,
                                         bool incoming, const char *address, char *words,
                                         size_t words_size)
{
    const struct node *const node = context;
    (void)incoming;
    (void)address;
    (void)words;
    (void)words_size;
    CHECK(hello->number != node->number);
    return STELE_PEERS_ACCEPT;
}

static void on_frame(void *context, uint64_t from, enum stele_peers_lane lane,
                     struct stele_bytes bytes)
{
    struct node *const node = context;
    CHECK(bytes.size >= 16);
    const uint64_t life = stele_load_u64le(bytes.data);
    const uint64_t number = stele_load_u64le(bytes.data + 8);
    if (node->fresh[from][lane]) {
        CHECK(life >= node->life_in[from][lane]);
        CHECK(life > node->life_in[from][lane] || number >= node->next_in[from][lane]);
        node->fresh[from][lane] = false;
    } else {
        CHECK_EQ(life, node->life_in[from][lane]);
        CHECK_EQ(number, node->next_in[from][lane]);
    }
    node->life_in[from][lane] = life;
    node->next_in[from][lane] = number + 1;
    for (size_t i = 16; i < bytes.size; i++) {
        CHECK(bytes.data[i] == (uint8_t)(number + i));
    }
    node->frames_in++;
}

static void on_up(void *context, uint64_t to, enum stele_peers_lane lane)
{
    struct node *const node = context;
    CHECK(!node->up[to][lane]);
    node->up[to][lane] = true;
}

static void on_down(void *context, uint64_t to, enum stele_peers_lane lane,
                    const struct stele_peers_why *why)
{
    struct node *const node = context;
    CHECK_EQ(node->up[to][lane], why->was_up);
    CHECK(why->cause != STELE_PEERS_REFUSING);
    node->up[to][lane] = false;
}

static void on_inbound(void *context, uint64_t from, enum stele_peers_lane lane, bool is_up)
{
    struct node *const node = context;
    node->fresh[from][lane] = node->fresh[from][lane] || is_up;
}

static void on_room(void *context, uint64_t to, enum stele_peers_lane lane)
{
    (void)context;
    (void)to;
    (void)lane;
}

static void on_join(void *context, uint64_t request, const struct stele_peers_hello *hello,
                    struct stele_bytes bytes)
{
    (void)context;
    (void)request;
    (void)hello;
    (void)bytes;
    CHECK(0 && "nobody asks");
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

static void begin_life(struct node *node)
{
    struct stele_error err = {0};
    struct stele_peers_options options = stele_peers_options_default();
    options.name = names[node->number];
    options.number = node->number;
    options.bulk_window = 100000;
    CHECK_OK(stele_peers_create(node->loop, &options, &events, node, &node->peers, &err), err);
    const struct sockaddr_in address = {.sin_family = AF_INET,
                                        .sin_port = htons(ports[node->number]),
                                        .sin_addr = {.s_addr = htonl(INADDR_LOOPBACK)}};
    CHECK_OK(stele_peers_listen(node->peers, (const struct sockaddr *)(const void *)&address,
                                sizeof address, NULL, &err),
             err);
    struct stele_peers_node table[NODES];
    for (uint64_t i = 0; i < NODES; i++) {
        table[i] = (struct stele_peers_node){
            .number = i + 1, .name = names[i + 1], .host = "127.0.0.1", .port = ports[i + 1]};
    }
    CHECK_OK(stele_peers_set(node->peers, table, NODES, &err), err);
    node->life++;
    memset(node->up, 0, sizeof node->up);
    memset(node->next_out, 0, sizeof node->next_out);
    memset(node->fresh, 1, sizeof node->fresh);
}

static void send_some(struct node *node)
{
    uint8_t bytes[FRAME_MAX];
    for (uint64_t to = 1; to <= NODES; to++) {
        for (int lane = 0; lane < 2 && to != node->number; lane++) {
            uint64_t *const next = &node->next_out[to][lane];
            for (uint64_t left = rng_below(&node->rng, 5); left > 0; left--) {
                const size_t size =
                    16 + (size_t)rng_below(&node->rng, lane == 0 ? 200 : FRAME_MAX - 16);
                stele_store_u64le(bytes, node->life);
                stele_store_u64le(bytes + 8, *next);
                for (size_t i = 16; i < size; i++) {
                    bytes[i] = (uint8_t)(*next + i);
                }
                const int outcome =
                    stele_peers_send(node->peers, to, (enum stele_peers_lane)lane,
                                     (struct stele_bytes){.data = bytes, .size = size});
                CHECK_EQ(outcome == STELE_E_CLOSED, !node->up[to][lane]);
                CHECK(outcome == STELE_OK || outcome == STELE_E_CLOSED ||
                      (lane == STELE_PEERS_BULK && outcome == STELE_E_OVERLOADED));
                *next += outcome == STELE_OK;
            }
        }
    }
}

static bool all_up(const struct node *node)
{
    for (uint64_t to = 1; to <= NODES; to++) {
        if (to != node->number && (!node->up[to][0] || !node->up[to][1])) {
            return false;
        }
    }
    return true;
}

static void on_turn(struct stele_timer *timer)
{
    struct node *const node =
        (struct node *)(void *)((uint8_t *)timer - offsetof(struct node, turn));
    const int64_t age_us = stele_loop_now_us(node->base) - node->begin_us;
    CHECK(age_us < HANG_US);
    if (node->life < LIVES && rng_one_in(&node->rng, 60)) {
        stele_peers_destroy(node->peers);
        begin_life(node);
        if (node->life == LIVES) {
            node->frames_in = 0;
            (void)atomic_fetch_add(&finished, 1);
        }
    }
    send_some(node);
    static _Thread_local bool is_content;
    if (!is_content && atomic_load(&finished) == NODES && all_up(node) && node->frames_in > 0) {
        is_content = true;
        (void)atomic_fetch_add(&content, 1);
    }
    if (atomic_load(&content) == NODES) {
        stele_linux_loop_stop(node->loop);
        return;
    }
    node->base->ops->timer_start(node->base, timer, stele_loop_now_us(node->base) + 1000);
}

static void *live(void *context)
{
    struct node *const node = context;
    struct stele_error err = {0};
    node->alloc = stele_linux_alloc_create();
    CHECK(node->alloc != NULL);
    CHECK_OK(stele_linux_loop_create(node->alloc, &node->loop, &err), err);
    node->base = stele_linux_loop_base(node->loop);
    node->begin_us = stele_loop_now_us(node->base);
    node->turn.on_due = on_turn;
    begin_life(node);
    node->base->ops->timer_start(node->base, &node->turn, node->begin_us);
    stele_linux_loop_run(node->loop);
    stele_peers_destroy(node->peers);
    stele_linux_loop_destroy(node->loop);
    CHECK_EQ(stele_linux_alloc_used(node->alloc), 0);
    stele_linux_alloc_destroy(node->alloc);
    return NULL;
}

static void choose_ports(void)
{
    for (int i = 1; i <= NODES; i++) {
        ports[i] = (uint16_t)ports_keep_one();
    }
}

TEST(nodes_that_stop_and_begin_again_find_each_other_and_mix_up_nothing)
{
    pthread_t threads[NODES + 1];
    choose_ports();
    for (uint64_t i = 1; i <= NODES; i++) {
        (void)snprintf(names[i], sizeof names[i], "node-%u", (unsigned)i);
        nodes[i].number = i;
        rng_init(&nodes[i].rng, 1, i);
    }
    for (uint64_t i = 1; i <= NODES; i++) {
        CHECK_EQ(pthread_create(&threads[i], NULL, live, &nodes[i]), 0);
    }
    for (uint64_t i = 1; i <= NODES; i++) {
        CHECK_EQ(pthread_join(threads[i], NULL), 0);
        CHECK_EQ(nodes[i].life, LIVES);
    }
}
