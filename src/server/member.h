/* A server's part in a cluster: threads and connections around the pure parts (cluster/, raft/).
 *
 *     front loops ──append──▶ inbox ──▶ member thread: replica, peers, timers ──▶ executor ──▶ store
 *        ▲                                 │  ▲                                      │
 *        │                             WAL bytes done                                │
 *        │                                 ▼  │                                      │
 *        │                               writer thread                               │
 *        └───────────────── on_done, when durable ◀──────────────────────────────────┘
 *
 * The member thread runs one loop: what came in is collected, one turn of the replica follows, then everything
 * that has to be sent leaves at once. Only it touches the replica, the peers and the table of nodes. The
 * executor gives commands to libstele in their order, the writer writes and syncs the WAL.
 *
 * Which cluster, which node: the file "cluster/node" in the store's directory, made by `stele cluster
 * init` or `join`. Where it is, `stele serve` serves a node. */
#ifndef STELE_SERVER_MEMBER_H
#define STELE_SERVER_MEMBER_H

#include "api/cluster.h"
#include "api/engine.h"
#include "cluster/meta.h"
#include "server/identity.h"
#include "server/server.h"

struct stele_member;

struct stele_member_config {
    const char *store_path;
    const char *tls_certificate, *tls_key, *tls_ca; /* Between nodes; NULL: plain text. */
    bool insecure;                                  /* Plain text also off loopback. */
    uint32_t election_ms, heartbeat_ms;             /* 0: as usual. */
    const char *listen; /* For other nodes, "host:port"; NULL: the address of the identity. */
    uint64_t features;  /* Of STELE_META_FEATURES, what it says that it knows. */
    void *context;
    void (*on_log)(void *context, enum stele_server_log level, const char *message);
};

/* Asks the seeds of an identity without number for one, and writes it down. Waits, for as long as it
 * takes or until *stop. */
STELE_MUST_USE
int stele_member_join(const struct stele_member_config *config, struct stele_identity *identity,
                      struct stele_alloc *alloc, struct stele_error *err);

/* store: opened for a cluster (stele_client_open_ordered()); embedded: the engine over it, for reads. Both stay the
 * caller's. Opens the WAL and listens; nothing runs yet. */
STELE_MUST_USE
int stele_member_create(const struct stele_member_config *config,
                        const struct stele_identity *identity, struct stele *store,
                        struct stele_engine *embedded, struct stele_alloc *alloc,
                        struct stele_member **out_member, struct stele_error *err);
/* client_address: where clients find this server, "host:port". */
STELE_MUST_USE
int stele_member_start(struct stele_member *member, const char *client_address,
                       struct stele_error *err);
/* Hands over what it leads (at most a second), answers everything that is under way, ends the threads. */
void stele_member_stop(struct stele_member *member);
void stele_member_destroy(struct stele_member *member); /* NULL is fine. */

struct stele_engine *stele_member_engine(struct stele_member *member);
struct stele_cluster *stele_member_cluster(struct stele_member *member);
/* Certificates between nodes. Any thread. */
STELE_MUST_USE
int stele_member_reload(struct stele_member *member, struct stele_error *err);

#endif
