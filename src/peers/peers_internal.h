/* Shared by the files of src/peers. Nobody else includes it.
 *
 *     peers.c      the owner's face
 *     table.c      the nodes that there are
 *     hello.c      what is said first, and who is let in
 *     way.c        dialling: a lane to a node, a question
 *     conn.c       one connection: TLS, frames, what waits to be sent, keep-alive
 *     resolve.c    names of hosts
 *     wire.c       bytes */
#ifndef STELE_PEERS_PEERS_INTERNAL_H
#define STELE_PEERS_PEERS_INTERNAL_H

#include "net/tls.h"
#include "peers/wire.h"

#include <netinet/in.h>

/* ---- Names of hosts ---- */

#define STELE_PEERS__ADDRESSES_MAX 8

struct stele_peers__addresses {
    struct sockaddr_storage list[STELE_PEERS__ADDRESSES_MAX];
    socklen_t sizes[STELE_PEERS__ADDRESSES_MAX];
    uint32_t count;
};
struct stele_peers__job;

/* An address that is written as numbers needs nobody to be asked. */
bool stele_peers__resolve_numeric(const char *host, uint16_t port,
                                  struct stele_peers__addresses *out);
/* Asks on a thread of its own; NULL: there is none to be had. */
struct stele_peers__job *stele_peers__resolve_begin(const char *host, uint16_t port);
/* true: it is over, and the job gone; words is empty, or says why there are none. */
bool stele_peers__resolve_poll(struct stele_peers__job *job, struct stele_peers__addresses *out,
                               char *words, size_t words_size);
void stele_peers__resolve_abandon(struct stele_peers__job *job); /* NULL is fine. */

/* A host and a port, and where they are. */
struct stele_peers__target {
    struct stele_peers *peers;
    char host[STELE_PEERS_HOST_MAX + 1];
    uint16_t port;
    struct stele_peers__addresses addresses;
    uint32_t next; /* To be tried. */
    uint32_t left; /* Before the name is looked up again. */
    struct stele_peers__job *job;
    struct stele_timer poll;
    /* words: empty if there are addresses now. */
    void (*on_resolved)(struct stele_peers__target *target, const char *words);
};
/* An address to be tried; NULL: on_resolved() comes later. */
const struct sockaddr *stele_peers__target_pick(struct stele_peers__target *target,
                                                socklen_t *out_size, uint32_t *out_index);
void stele_peers__target_failed(struct stele_peers__target *target, uint32_t index);
void stele_peers__target_worked(struct stele_peers__target *target);
void stele_peers__target_deinit(struct stele_peers__target *target);

/* ---- A connection ---- */

enum stele_peers__state {
    STELE_PEERS__DIALLING, /* Until TCP stands. */
    STELE_PEERS__SHAKING,  /* Until TLS stands. */
    STELE_PEERS__GREETING, /* Until the hello is answered. */
    STELE_PEERS__OPEN,
    STELE_PEERS__ENDING, /* Nobody's any more; its last words are being sent. */
    STELE_PEERS__GONE,   /* Released once nobody can be inside of it. */
};

struct stele_peers__packet {
    struct stele_peers__packet *next;
    uint32_t size; /* Of data: header and payload. */
    uint8_t data[];
};

struct stele_peers__conn {
    struct stele_peers *peers;
    struct stele_peers__conn *next, *previous;
    struct stele_socket *socket; /* NULL: gone. */
    struct stele_tls *tls;
    enum stele_peers__state state;
    bool incoming;
    bool in_feed;               /* Being given bytes: it must not be released. */
    enum stele_peers_lane lane; /* Incoming: once greeted. */
    uint64_t serial;            /* Grows: the smallest is the oldest. */
    /* Whose it is. Incoming: node is set once greeted, but for JOIN. Outgoing: one of them. */
    struct stele_peers__node *node;
    struct stele_peers__ask *ask;
    uint64_t request;               /* JOIN, incoming: the question that is open. */
    struct stele_peers_hello hello; /* What the other side said. */
    struct stele_timer tick;
    int64_t since_us;
    /* Ticks in a row without a byte. Not time: a loop that was kept waiting would take its own
     * silence for that of the others. */
    uint32_t quiet;
    bool heard;
    bool paused;
    struct stele_buf in;       /* A frame that is not whole. */
    struct stele_buf greeting; /* Hello, welcome or refusal: before everything else. */
    struct stele_peers__packet *first, *last;
    size_t first_at; /* Bytes of the first one that are out. */
    size_t queued;   /* Bytes of all, without what is out. */
    bool ping_due, pong_due, credit_due;
    uint64_t pong_stamp;
    /* BULK: payload bytes since the beginning. */
    uint64_t offered, acknowledged; /* Outgoing. */
    uint64_t taken, credited;       /* Incoming. */
    char address[80];
};

/* NULL: no memory. */
struct stele_peers__conn *stele_peers__conn_create(struct stele_peers *peers, bool incoming);
/* false: *out_errno. */
bool stele_peers__conn_dial(struct stele_peers__conn *conn, const struct sockaddr *address,
                            socklen_t size, int *out_errno);
bool stele_peers__conn_accepted(struct stele_peers__conn *conn, struct stele_socket *socket,
                                const struct stele_socket_events **out_events);
/* The hello has been answered; frames may come and go. */
void stele_peers__conn_open(struct stele_peers__conn *conn);
/* false: no memory, and nothing has changed. */
bool stele_peers__conn_greet(struct stele_peers__conn *conn, uint8_t kind,
                             struct stele_bytes payload);
/* data_max and windows are the caller's. */
STELE_MUST_USE
int stele_peers__conn_put(struct stele_peers__conn *conn, uint8_t kind,
                          const struct stele_bytes *parts, size_t count);
/* Drops the oldest packet that has not begun. false: there is none. */
bool stele_peers__conn_drop_oldest(struct stele_peers__conn *conn);
void stele_peers__conn_pause(struct stele_peers__conn *conn, bool paused);
/* Says so to the other side, then closes. No event. */
void stele_peers__conn_refuse(struct stele_peers__conn *conn, enum stele_peers_refusal refusal,
                              const char *words);
/* At once. No event. */
void stele_peers__conn_cut(struct stele_peers__conn *conn);
/* It ends by itself, politely or at once: tells on_end(), as the last thing. */
void stele_peers__conn_fail(struct stele_peers__conn *conn, bool politely,
                            struct stele_peers_why why);
/* Releases what is gone; all: everything. */
void stele_peers__conns_reap(struct stele_peers *peers, bool all);

/* ---- What happens to a connection: peers.c, hello.c. They may cut and refuse it, and call the owner. ---- */

/* TLS stands, or there is none. */
void stele_peers__on_ready(struct stele_peers__conn *conn);
/* A whole frame that may come here. */
void stele_peers__on_frame(struct stele_peers__conn *conn, const struct stele_peers_frame *frame,
                           struct stele_bytes payload);
/* It ended by itself, and was node's or ask's (or nobody's yet). */
void stele_peers__on_end(struct stele_peers__conn *conn, struct stele_peers__node *node,
                         struct stele_peers__ask *ask, struct stele_peers_why *why);

/* ---- Dialling ---- */

struct stele_peers__way {
    struct stele_peers__node *node;
    enum stele_peers_lane lane;
    struct stele_peers__conn *conn; /* NULL: it waits for retry, or for the name. */
    uint32_t address_index;         /* Of the target, that conn is made to. */
    struct stele_timer retry;
    int64_t dialled_us;
    uint32_t backoff_ms;
    bool wants_room;
    bool moved;                       /* on_down() has to be called before the next attempt. */
    struct stele_peers_status status; /* Also of what comes in. */
};

struct stele_peers__node {
    struct stele_peers__node *next;
    struct stele_peers *peers;
    uint64_t number;
    char name[STELE_PEERS_NAME_MAX + 1];
    struct stele_peers__target target;
    struct stele_peers__way ways[STELE_PEERS_LANES];
    struct stele_peers__conn *inbound[STELE_PEERS_LANES];
    bool paused[STELE_PEERS_LANES];
    bool kept;    /* While the table is replaced. */
    bool removed; /* Released with what is gone. */
};

struct stele_peers__ask {
    struct stele_peers *peers;
    struct stele_peers__target target;
    struct stele_peers__conn *conn;
    uint32_t address_index;
    struct stele_timer deadline; /* The first time, of the beginning. */
    bool begun;
    struct stele_buf question;
    stele_peers_on_answer on_answer;
    void *context;
};

void stele_peers__way_init(struct stele_peers__way *way, struct stele_peers__node *node,
                           enum stele_peers_lane lane);
/* Dials in the next turn, unless it is up or being dialled right now. */
void stele_peers__way_kick(struct stele_peers__way *way);
/* The table has a new address; what was up is told in the next turn. */
void stele_peers__way_move(struct stele_peers__way *way);
void stele_peers__way_welcome(struct stele_peers__way *way);
/* Its connection is gone. */
void stele_peers__way_lost(struct stele_peers__way *way, struct stele_peers_why *why);
void stele_peers__way_deinit(struct stele_peers__way *way);
void stele_peers__node_resolved(struct stele_peers__target *target, const char *words);
void stele_peers__ask_begin(struct stele_peers__ask *ask);
void stele_peers__ask_lost(struct stele_peers__ask *ask, bool was_open,
                           struct stele_peers_why *why);
/* why NULL: with an answer. */
void stele_peers__ask_end(struct stele_peers__ask *ask, const struct stele_peers_why *why,
                          struct stele_bytes answer);
void stele_peers__ask_release(struct stele_peers__ask *ask);

/* ---- All ---- */

struct stele_peers {
    struct stele_linux_loop *loop;
    struct stele_loop *base;
    struct stele_alloc *alloc;
    struct stele_peers_options options;
    char name[STELE_PEERS_NAME_MAX + 1];
    char host[STELE_PEERS_HOST_MAX + 1];
    struct stele_peers_events events;
    void *context;
    struct stele_tls_context *server, *client;
    struct stele_listener *listeners[STELE_PEERS_LISTENERS_MAX];
    size_t listeners_count;
    uint64_t boot;
    uint64_t attempts;
    uint64_t serials;
    uint64_t requests;
    struct stele_peers__node *nodes;
    struct stele_peers__node *removed;
    struct stele_peers__conn *conns;
    struct stele_peers__ask *ask;
    struct stele_timer reaper;
    struct stele_peers_counts counts;
    struct stele_buf plain; /* What is to be encrypted. */
};

static inline int64_t stele_peers__now(const struct stele_peers *peers)
{
    return stele_loop_now_us(peers->base);
}

static inline void stele_peers__timer(struct stele_peers *peers, struct stele_timer *timer,
                                      int64_t after_us)
{
    peers->base->ops->timer_start(peers->base, timer, stele_peers__now(peers) + after_us);
}

static inline void stele_peers__timer_stop(struct stele_peers *peers, struct stele_timer *timer)
{
    peers->base->ops->timer_stop(peers->base, timer);
}

/* Is it one that plain text may be spoken to? */
bool stele_peers__is_loopback(const struct sockaddr *address);

/* ---- The table: table.c ---- */

/* NULL: the table has none of that number. */
struct stele_peers__node *stele_peers__node_find(const struct stele_peers *peers, uint64_t number);
struct stele_peers__way *stele_peers__way_find(const struct stele_peers *peers, uint64_t number,
                                               enum stele_peers_lane lane);
/* Takes out of the table what is not kept; it is released in the next turn. */
void stele_peers__nodes_remove_others(struct stele_peers *peers);
/* Releases a list of nodes at once. */
void stele_peers__nodes_release(struct stele_peers *peers, struct stele_peers__node *node);
/* The reaper's: releases nodes and connections that are gone. */
void stele_peers__on_reap(struct stele_timer *timer);
bool stele_peers__is_host(const char *host);

/* ---- Who is let in: hello.c ---- */

void stele_peers__hello_own(struct stele_peers *peers, enum stele_peers_lane lane, uint64_t to,
                            struct stele_peers_hello *out_hello);
/* The first frame of who dialled, and the first of who was. */
void stele_peers__on_hello(struct stele_peers__conn *conn, struct stele_bytes payload);
void stele_peers__on_welcome(struct stele_peers__conn *conn, struct stele_bytes payload);

#endif
