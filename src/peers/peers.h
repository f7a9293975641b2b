/* Connections between the nodes of a cluster: who dials, sends.
 *
 *     node 1                                    node 2
 *       dials ──── CONTROL: frames ───────────▶ accepts
 *       dials ──── BULK: frames, with credits ▶ accepts
 *     accepts ◀─────────────────────── CONTROL  dials
 *     accepts ◀─────────────────────── BULK     dials
 *
 * Each lane to each node is a connection of its own, made again for ever: what is large never stands
 * before what is urgent. Frames of a lane arrive in the order of sending, whole and unchanged, or not
 * at all; what was on its way when a connection was lost is gone, and the owner is told. The third lane,
 * JOIN, carries one question and its answer, for those that have no number yet.
 *
 * A connection begins with a hello in both directions: versions, cluster, number, incarnation, name.
 * The owner decides; a refusal is typed and has words. With TLS both sides show a certificate of the
 * cluster's authority, and it has to be for the node's name or host.
 *
 * Everything is on the thread of one loop, and the owner's functions are called from it only when something
 * comes or falls due: never from within a call of the owner. From them everything may be called but
 * stele_peers_destroy(). Only the names of hosts are looked up on threads of their own. */
#ifndef STELE_PEERS_PEERS_H
#define STELE_PEERS_PEERS_H

#include "io/linux_loop.h"

#define STELE_PEERS_PORT_DEFAULT 1112
#define STELE_PEERS_VERSION 1
#define STELE_PEERS_NAME_MAX 255
#define STELE_PEERS_HOST_MAX 255
#define STELE_PEERS_NODES_MAX 256
#define STELE_PEERS_LISTENERS_MAX 8
/* An append of STELE_APPEND_SIZE_MAX fits with what is put around it, as into a frame of the log. */
#define STELE_PEERS_FRAME_SIZE_MAX ((uint32_t)96 * 1024 * 1024)
#define STELE_PEERS_JOIN_SIZE_MAX ((uint32_t)1024 * 1024)

struct stele_peers;

enum stele_peers_lane {
    STELE_PEERS_CONTROL = 0,
    STELE_PEERS_BULK = 1,
    STELE_PEERS_JOIN = 2,
};
#define STELE_PEERS_LANES 2 /* To each node. */

/* Numbers are part of the protocol. */
enum stele_peers_refusal {
    STELE_PEERS_ACCEPT = 0,
    STELE_PEERS_WRONG_CLUSTER = 1,
    STELE_PEERS_UNKNOWN_NODE = 2,
    STELE_PEERS_REMOVED_NODE = 3,
    STELE_PEERS_WRONG_INCARNATION = 4, /* An older or a copied disk. */
    STELE_PEERS_WRONG_VERSION = 5,
    STELE_PEERS_NAME_TWICE = 6,
    STELE_PEERS_WRONG_NODE = 7,   /* The node that was meant is another one. */
    STELE_PEERS_WRONG_NAME = 8,   /* Not that of the certificate. */
    STELE_PEERS_STALE = 9,        /* A newer connection of the same process is there. */
    STELE_PEERS_NOT_NOW = 10,     /* Try again: starting, stopping, too many. */
    STELE_PEERS_MALFORMED = 11,   /* Bytes that are no frame, or none that may come here. */
    STELE_PEERS_TOO_LARGE = 12,   /* A frame above the limit. */
    STELE_PEERS_DAMAGED = 13,     /* A checksum does not match. */
    STELE_PEERS_NOT_ALLOWED = 14, /* Whatever else the owner has against it. */
};

struct stele_peers_hello {
    uint16_t version_min, version_max;
    enum stele_peers_lane lane;
    uint8_t cluster_id[16];
    uint64_t number; /* 0: none yet. */
    uint8_t incarnation[16];
    uint64_t boot, attempt;
    uint64_t to;
    uint32_t window;
    char name[STELE_PEERS_NAME_MAX + 1];
    /* Where it says that others find it; port 0: it does not say. Nobody has checked it. */
    char host[STELE_PEERS_HOST_MAX + 1];
    uint16_t port;
};

/* Why a lane is down. */
enum stele_peers_cause {
    STELE_PEERS_LOST = 1,   /* The connection broke, or could not be made: os_errno. */
    STELE_PEERS_ENDED,      /* The peer closed it. */
    STELE_PEERS_SILENT,     /* Nothing came for dead_ms, or no answer to the hello. */
    STELE_PEERS_REFUSED,    /* By the peer: refusal, words. */
    STELE_PEERS_REFUSING,   /* By this side: refusal, words. */
    STELE_PEERS_UNRESOLVED, /* The host's name says nothing. */
    STELE_PEERS_TLS,        /* The handshake failed, or the certificate is for somebody else. */
    STELE_PEERS_MOVED,      /* The table has another address now. */
    STELE_PEERS_NO_MEMORY,
};
struct stele_peers_why {
    enum stele_peers_cause cause;
    enum stele_peers_refusal refusal;
    int os_errno;
    bool was_up;       /* on_up() had been called; otherwise this was one more attempt. */
    const char *words; /* For a person. Valid during the call. */
};

struct stele_peers_events {
    /* A hello of somebody who dialled (incoming), or the answer of whom we dialled. STELE_PEERS_ACCEPT, or why
     * not; words may be left empty. Version, the node that is meant, the certificate's name and, for
     * answers, number and cluster were looked at before. A node that is accepted and not in the table is
     * refused afterwards: who wants to hear a node that it does not know yet puts it there from here, with
     * the host and port of the hello. address: text, of the other end. */
    enum stele_peers_refusal (*on_hello)(void *context, const struct stele_peers_hello *hello,
                                         bool incoming, const char *address, char *words,
                                         size_t words_size);
    /* Borrowed. lane: CONTROL or BULK. */
    void (*on_frame)(void *context, uint64_t node, enum stele_peers_lane lane,
                     struct stele_bytes bytes);
    /* What is sent from now on may arrive. */
    void (*on_up)(void *context, uint64_t node, enum stele_peers_lane lane);
    /* It may not any more; what was sent and not taken is gone. Also after each attempt that failed. */
    void (*on_down)(void *context, uint64_t node, enum stele_peers_lane lane,
                    const struct stele_peers_why *why);
    /* A lane of the node to us stands (is_up), also instead of an older one: frames from now on come from the
     * new connection. Or it is lost. May be NULL. */
    void (*on_inbound)(void *context, uint64_t node, enum stele_peers_lane lane, bool is_up);
    /* BULK: less than half of the window is on its way, after send() had said STELE_E_OVERLOADED. */
    void (*on_room)(void *context, uint64_t node, enum stele_peers_lane lane);
    /* A question on the lane JOIN; stele_peers_answer() with its id, now or later. bytes: borrowed. */
    void (*on_join)(void *context, uint64_t request, const struct stele_peers_hello *hello,
                    struct stele_bytes bytes);
};

/* PEM files. */
struct stele_peers_tls_files {
    const char *certificate; /* For both directions: no extended usage, or server and client. */
    const char *key;
    const char *ca; /* Signs the nodes of this cluster, and nobody else. */
};

struct stele_peers_options {
    uint8_t cluster_id[16];
    uint64_t number; /* 0: none yet, see stele_peers_identify(); nothing but JOIN works. */
    uint8_t incarnation[16];
    const char *name;
    const char *
        host; /* With port: where others find this node, for those that have no table. NULL: not said. */
    uint16_t port;
    uint16_t version_min, version_max;
    /* NULL: plain text, and only over loopback addresses unless insecure. */
    const struct stele_peers_tls_files *tls;
    bool insecure;
    bool any_name; /* A certificate of the authority is enough, whomever it is for. */
    uint32_t frame_size_max;
    uint32_t control_queue_size; /* Bytes to one node that wait, on the lane CONTROL. */
    uint32_t bulk_window;        /* Bytes to one node that it has not taken, on the lane BULK. */
    uint32_t strangers_max;      /* Connections that are not (yet) those of a node. */
    uint32_t ping_ms, dead_ms;
    uint32_t connect_ms; /* Until the hello is answered, both sides. */
    uint32_t retry_ms_min, retry_ms_max;
    uint32_t join_ms; /* For question and answer. */
};
/* Versions, limits and times; no identity. */
struct stele_peers_options stele_peers_options_default(void);

/* The loop must outlive it. STELE_OK, STELE_E_INVALID (name, TLS files), STELE_E_NO_MEMORY. */
STELE_MUST_USE
int stele_peers_create(struct stele_linux_loop *loop, const struct stele_peers_options *options,
                       const struct stele_peers_events *events, void *context,
                       struct stele_peers **out_peers, struct stele_error *err);
/* Cuts everything; no events. On the loop's thread, or once the loop has stopped. NULL is fine. */
void stele_peers_destroy(struct stele_peers *peers);
/* Port 0: any; *out_port (may be NULL) is what it became. As stele_listener_open(); STELE_E_INVALID: plain text
 * on an address that is no loopback, and not insecure. Nobody else may listen there: STELE_E_IO. */
STELE_MUST_USE
int stele_peers_listen(struct stele_peers *peers, const struct sockaddr *address,
                       socklen_t address_size, uint16_t *out_port, struct stele_error *err);
/* The node has been given its number. Dialling begins. */
void stele_peers_identify(struct stele_peers *peers, const uint8_t cluster_id[16], uint64_t number,
                          const uint8_t incarnation[16]);
/* Reads the TLS files again, for new connections; on failure the old ones stay in use. Any thread. */
STELE_MUST_USE
int stele_peers_reload(struct stele_peers *peers, struct stele_error *err);

struct stele_peers_node {
    uint64_t number; /* Not 0. The own one is skipped. */
    const char *name;
    const char *host; /* Name or address, without brackets. */
    uint16_t port;
};
/* The nodes there are, instead of those before: removed ones are cut (without events), new ones dialled, those
 * with another address dialled anew. The texts are copied.
 *
 * STELE_OK; STELE_E_INVALID (a number twice, a name or host that is none), STELE_E_LIMIT, STELE_E_NO_MEMORY: nothing
 * was changed. */
STELE_MUST_USE
int stele_peers_set(struct stele_peers *peers, const struct stele_peers_node *nodes, size_t count,
                    struct stele_error *err);

/* Sends one frame that consists of the parts, copied; everything of one turn of the loop leaves together.
 *
 * STELE_OK             On its way, which promises nothing. CONTROL: older frames may have been dropped for it.
 * STELE_NOT_FOUND      There is no such node.
 * STELE_E_CLOSED       The lane is down.
 * STELE_E_OVERLOADED   BULK only: the window is full; on_room() will tell.
 * STELE_E_LIMIT        It is larger than frame_size_max.
 * STELE_E_NO_MEMORY */
STELE_MUST_USE
int stele_peers_send_parts(struct stele_peers *peers, uint64_t node, enum stele_peers_lane lane,
                           const struct stele_bytes *parts, size_t count);
STELE_MUST_USE
int stele_peers_send(struct stele_peers *peers, uint64_t node, enum stele_peers_lane lane,
                     struct stele_bytes bytes);
bool stele_peers_is_up(const struct stele_peers *peers, uint64_t node, enum stele_peers_lane lane);

/* Reads no more of what the node sends on that lane, or goes on. What was read already (64 KiB) still comes. */
void stele_peers_pause(struct stele_peers *peers, uint64_t node, enum stele_peers_lane lane,
                       bool paused);

/* STELE_OK; STELE_NOT_FOUND: who asked is gone. STELE_E_LIMIT, STELE_E_NO_MEMORY. */
STELE_MUST_USE
int stele_peers_answer(struct stele_peers *peers, uint64_t request, struct stele_bytes bytes);

/* why: NULL with an answer, which is borrowed then. Once, later, from the loop. */
typedef void (*stele_peers_on_answer)(void *context, const struct stele_peers_why *why,
                                      struct stele_bytes answer);
/* Asks whoever listens there. One question at a time: STELE_E_OVERLOADED. STELE_E_INVALID: the host.
 * STELE_E_LIMIT, STELE_E_NO_MEMORY. */
STELE_MUST_USE
int stele_peers_ask(struct stele_peers *peers, const char *host, uint16_t port,
                    struct stele_bytes question, stele_peers_on_answer on_answer, void *context,
                    struct stele_error *err);

/* ---- Facts: on the loop's thread ---- */

struct stele_peers_status {
    bool up;          /* From here to the node. */
    int64_t since_us; /* Of stele_loop_now_us(): up, or down. */
    uint64_t attempts, connects, frames_out, bytes_out, frames_dropped;
    uint64_t queued; /* Bytes: that wait (CONTROL), that were not taken (BULK). */
    uint32_t rtt_us; /* 0: not known yet. */
    bool inbound;    /* From the node to here. */
    int64_t inbound_since_us;
    uint64_t inbound_connects, frames_in, bytes_in;
    enum stele_peers_cause cause; /* Of the last failure; 0: none yet. */
    enum stele_peers_refusal refusal;
    char words[160];
    char address[80]; /* That it is connected to, or that was tried last. */
};
/* false: there is no such node. */
bool stele_peers_status(const struct stele_peers *peers, uint64_t node, enum stele_peers_lane lane,
                        struct stele_peers_status *out_status);
struct stele_peers_counts {
    uint64_t accepted;  /* Connections that came in. */
    uint64_t refused;   /* With a refusal. */
    uint64_t malformed; /* Of those, for what no node says. */
    uint64_t unshaken;  /* TLS failed, or no hello in time. */
    uint64_t evicted;   /* For newer strangers. */
    uint64_t strangers; /* Now. */
};
void stele_peers_counts(const struct stele_peers *peers, struct stele_peers_counts *out_counts);
const char *stele_peers_refusal_name(enum stele_peers_refusal refusal); /* "wrong-cluster" */
/* Seconds since 1970 at which the own certificate ends; INT64_MAX without. */
int64_t stele_peers_tls_expires(const struct stele_peers *peers);

#endif
