/* Links: what a client and the server have between them. Bytes arrive in order, in pieces of any
 * size, after any time; or both are told that the link is lost, each at another moment; or one is
 * not told at all. */
#include "server.h"

#include <stdio.h>
#include <stdlib.h>

#define READ_MAX 65536 /* Bytes that the server's end takes from a connection at a time. */

static void on_carry_up(struct sim *sim, void *object, uint64_t number);
static void on_carry_down(struct sim *sim, void *object, uint64_t number);

static uint64_t delay(struct sim *sim)
{
    struct srv *srv = srv_of(sim);
    return srv->config.delay_us / 8 + rng_exponential(&srv->rng_net, srv->config.delay_us);
}

/* ---- Pipes ---- */

static void push(struct srv_pipe *pipe, struct stele_bytes bytes)
{
    if (pipe->size + bytes.size > pipe->capacity) {
        pipe->capacity = (pipe->size + bytes.size) * 2;
        pipe->bytes = realloc(pipe->bytes, pipe->capacity);
        STELE_ASSERT(pipe->bytes != NULL);
    }
    if (bytes.size > 0) {
        memcpy(pipe->bytes + pipe->size, bytes.data, bytes.size);
    }
    pipe->size += bytes.size;
}

/* What arrives now. Copied out, because the receiver may make more of it. */
static uint8_t *pull(struct sim *sim, struct srv_pipe *pipe, size_t *out_size)
{
    struct srv *srv = srv_of(sim);
    size_t size = rng_percent(&srv->rng_net, srv->config.tiny_percent)
                      ? rng_between(&srv->rng_net, 1, 12)
                      : rng_log(&srv->rng_net, 1, srv->config.piece_max);
    size = rng_percent(&srv->rng_net, 30) ? srv->config.piece_max : size;
    size = size < pipe->size ? size : pipe->size;
    uint8_t *bytes = malloc(size + 1);
    STELE_ASSERT(bytes != NULL);
    memcpy(bytes, pipe->bytes, size);
    memmove(pipe->bytes, pipe->bytes + size, pipe->size - size);
    pipe->size -= size;
    *out_size = size;
    srv_count(sim, SRV_PIECES, 1);
    srv_count(sim, SRV_BYTES, size);
    return bytes;
}

static void carry(struct sim *sim, struct srv_link *link, bool up)
{
    struct srv_pipe *pipe = up ? &link->up : &link->down;
    if (pipe->carrying || link->cut || (pipe->size == 0 && !pipe->ended)) {
        return;
    }
    pipe->carrying = true;
    uint64_t after = delay(sim);
    if (sim->now_us + after < link->stalled_until_us) {
        after = link->stalled_until_us - sim->now_us;
    }
    sim_after_always(sim, after, up ? on_carry_up : on_carry_down, link, link->number);
}

static void release(struct srv_link *link)
{
    if (link->conn == NULL && link->peer == NULL) {
        free(link->up.bytes);
        free(link->down.bytes);
        *link = (struct srv_link){.used = false};
    }
}

/* ---- The server's end ---- */

static void close_server_end(struct sim *sim, struct srv_link *link)
{
    struct stele_http_conn *conn = link->conn;
    if (conn != NULL) {
        (void)srv_host_enter(sim, link->loop);
        stele_http_conn_destroy(conn);
        link->conn = NULL;
        link->flushing = false;
    }
}

void srv_link_flush(struct sim *sim, struct srv_link *link)
{
    struct srv *srv = srv_of(sim);
    struct stele_buf out = {.data = NULL};
    struct stele_alloc *alloc = srv_host_enter(sim, link->loop)->base.alloc;
    link->flushing = false;
    while (link->down.size < srv->config.pipe_size &&
           stele_http_conn_take(link->conn, &out, srv->config.pipe_size - link->down.size)) {
        push(&link->down, (struct stele_bytes){.data = out.data, .size = out.size});
        out.size = 0;
    }
    stele_buf_deinit(&out, alloc);
    if (stele_http_conn_is_over(link->conn)) {
        close_server_end(sim, link);
        link->down.ended = true;
        link->up.size = 0;
    }
    carry(sim, link, false);
    if (link->conn != NULL && stele_http_conn_wants_input(link->conn)) {
        carry(sim, link, true);
    }
    release(link);
}

static void on_carry_up(struct sim *sim, void *object, uint64_t number)
{
    struct srv_link *link = object;
    if (!link->used || link->number != number) {
        return;
    }
    link->up.carrying = false;
    if (link->cut || link->conn == NULL) {
        return;
    }
    (void)srv_host_enter(sim, link->loop);
    if (link->up.size > 0) {
        if (!stele_http_conn_wants_input(link->conn)) {
            return; /* Asked again after a flush. */
        }
        size_t size = 0;
        uint8_t *bytes = pull(sim, &link->up, &size);
        (void)stele_http_conn_feed(link->conn, (struct stele_bytes){.data = bytes, .size = size});
        free(bytes);
    } else if (link->up.ended) {
        link->up.ended = false;
        stele_http_conn_eof(link->conn);
    }
    srv_link_flush(sim, link);
    if (link->used && link->number == number && link->peer != NULL) {
        srv_peer_flush(sim, link->peer);
    }
}

static void on_lost_by_server(struct sim *sim, void *object, uint64_t number)
{
    struct srv_link *link = object;
    if (link->used && link->number == number) {
        close_server_end(sim, link);
        release(link);
    }
}

static void on_lost_by_client(struct sim *sim, void *object, uint64_t number)
{
    struct srv_link *link = object;
    if (link->used && link->number == number && link->peer != NULL) {
        struct srv_peer *peer = link->peer;
        link->peer = NULL;
        srv_peer_lost(sim, peer);
        release(link);
    }
}

/* A client that hears nothing gives up in the end; a server asks by PING. */
static void lose_client_end(struct sim *sim, struct srv_link *link, uint64_t mean_us)
{
    sim_after_always(sim, rng_exponential(&srv_of(sim)->rng_net, mean_us), on_lost_by_client, link,
                     link->number);
}

void srv_net_server_died(struct sim *sim)
{
    struct srv *srv = srv_of(sim);
    for (size_t i = 0; i < SRV_LINKS_MAX; i++) {
        struct srv_link *link = &srv->links[i];
        if (link->used && link->conn != NULL) {
            close_server_end(sim, link);
            link->cut = true;
            if (link->peer != NULL) {
                lose_client_end(sim, link,
                                rng_percent(&srv->rng_net, 70) ? SIM_SECOND / 2 : 20 * SIM_SECOND);
            }
            release(link);
        }
    }
}

bool srv_net_is_empty(const struct sim *sim)
{
    const struct srv *srv = srv_of(sim);
    for (size_t i = 0; i < SRV_LINKS_MAX; i++) {
        if (srv->links[i].used && srv->links[i].conn != NULL) {
            return false;
        }
    }
    return true;
}

/* ---- The client's end ---- */

static void on_carry_down(struct sim *sim, void *object, uint64_t number)
{
    struct srv_link *link = object;
    if (!link->used || link->number != number) {
        return;
    }
    link->down.carrying = false;
    if (link->cut) {
        return;
    }
    if (link->peer == NULL) {
        link->down.size = 0;
        if (link->conn != NULL) {
            srv_link_flush(sim, link);
        }
        return;
    }
    if (link->down.size == 0) {
        if (link->down.ended) {
            on_lost_by_client(sim, link, number);
        }
        return;
    }
    size_t size = 0;
    uint8_t *bytes = pull(sim, &link->down, &size);
    srv_peer_feed(sim, link->peer, (struct stele_bytes){.data = bytes, .size = size});
    free(bytes);
    if (!link->used || link->number != number) {
        return; /* The client hung up. */
    }
    carry(sim, link, false);
    if (link->conn != NULL) {
        srv_link_flush(sim, link);
    }
}

static void on_connect(struct sim *sim, void *object, uint64_t number)
{
    struct srv_link *link = object;
    struct srv *srv = srv_of(sim);
    if (!link->used || link->number != number) {
        return;
    }
    if (link->peer == NULL) {
        release(link);
        return;
    }
    const bool refused = !srv->host.up || srv->host.closing != SRV_OPEN;
    char address[32];
    (void)snprintf(address, sizeof address, "10.0.0.%u:%u", link->peer->number + 1,
                   1024 + link->number % 60000);
    const struct stele_http_peer peer = {.address = address, .owner = link};
    link->loop = (uint32_t)rng_below(&srv->rng_net, srv->config.loops);
    if (refused ||
        stele_http_conn_create(&srv_host_enter(sim, link->loop)->base, &srv->config.limits,
                               &srv->host.events, &srv->host, &peer, &link->conn) != STELE_OK) {
        on_lost_by_client(sim, link, number);
        return;
    }
    srv_count(sim, SRV_LINKS, 1);
    sim_trace(sim, "connected: link, peer, loop", link->number, link->peer->number, link->loop);
    srv_peer_connected(sim, link->peer);
}

struct srv_link *srv_link_open(struct sim *sim, struct srv_peer *peer)
{
    struct srv *srv = srv_of(sim);
    for (size_t i = 0; i < SRV_LINKS_MAX; i++) {
        struct srv_link *link = &srv->links[i];
        if (!link->used) {
            *link = (struct srv_link){.used = true, .number = ++srv->links_made, .peer = peer};
            sim_after_always(sim, delay(sim), on_connect, link, link->number);
            return link;
        }
    }
    return NULL;
}

void srv_link_close(struct sim *sim, struct srv_link *link)
{
    link->peer = NULL;
    if (link->conn == NULL) {
        /* Connecting, or the server's end has gone before. */
        if (link->down.ended || link->cut) {
            release(link);
        }
        return;
    }
    if (rng_percent(&srv_of(sim)->rng_net, 50)) {
        link->up.ended = true; /* Behind what was sent. */
        carry(sim, link, true);
    } else {
        link->cut = true;
        sim_after_always(sim, delay(sim), on_lost_by_server, link, link->number);
    }
}

size_t srv_link_room(const struct sim *sim, const struct srv_link *link)
{
    const size_t size = srv_of(sim)->config.pipe_size;
    return link->up.size < size ? size - link->up.size : 0;
}

void srv_link_send(struct sim *sim, struct srv_link *link, struct stele_bytes bytes)
{
    push(&link->up, bytes);
    carry(sim, link, true);
}

/* ---- What goes wrong ---- */

static struct srv_link *pick(struct sim *sim)
{
    struct srv *srv = srv_of(sim);
    struct srv_link *picked = NULL;
    uint64_t seen = 0;
    for (size_t i = 0; i < SRV_LINKS_MAX; i++) {
        struct srv_link *link = &srv->links[i];
        if (link->used && link->conn != NULL && !link->cut &&
            rng_below(&srv->rng_net, ++seen) == 0) {
            picked = link;
        }
    }
    return picked;
}

static void on_reset(struct sim *sim, void *object, uint64_t number)
{
    (void)object;
    (void)number;
    struct srv *srv = srv_of(sim);
    if (sim->calm) {
        return;
    }
    sim_after_always(sim, rng_exponential(&srv->rng_net, srv->config.reset_us), on_reset, NULL, 0);
    struct srv_link *link = pick(sim);
    if (link == NULL) {
        return;
    }
    link->cut = true;
    const bool half_open = rng_percent(&srv->rng_net, srv->config.half_open_percent);
    srv_count(sim, half_open ? SRV_HALF_OPEN : SRV_RESETS, 1);
    sim_trace(sim, "link cut: number, half open", link->number, half_open, 0);
    if (!half_open || rng_percent(&srv->rng_net, 30)) {
        sim_after_always(sim, delay(sim), on_lost_by_server, link, link->number);
    }
    lose_client_end(sim, link, half_open ? 20 * SIM_SECOND : srv->config.delay_us);
}

static void on_stall(struct sim *sim, void *object, uint64_t number)
{
    (void)object;
    (void)number;
    struct srv *srv = srv_of(sim);
    if (sim->calm) {
        return;
    }
    sim_after_always(sim, rng_exponential(&srv->rng_net, srv->config.stall_us), on_stall, NULL, 0);
    struct srv_link *link = pick(sim);
    if (link != NULL) {
        link->stalled_until_us = sim->now_us + rng_log(&srv->rng_net, SIM_MS, 15 * SIM_SECOND);
        srv_count(sim, SRV_STALLS, 1);
    }
}

void srv_net_start(struct sim *sim)
{
    struct srv *srv = srv_of(sim);
    if (srv->config.reset_us != 0) {
        sim_after_always(sim, rng_exponential(&srv->rng_net, srv->config.reset_us), on_reset, NULL,
                         0);
    }
    if (srv->config.stall_us != 0) {
        sim_after_always(sim, rng_exponential(&srv->rng_net, srv->config.stall_us), on_stall, NULL,
                         0);
    }
}

void srv_net_end(struct sim *sim)
{
    struct srv *srv = srv_of(sim);
    for (size_t i = 0; i < SRV_LINKS_MAX; i++) {
        STELE_ASSERT(srv->links[i].conn == NULL);
        free(srv->links[i].up.bytes);
        free(srv->links[i].down.bytes);
    }
}
