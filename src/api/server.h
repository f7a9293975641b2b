/* What services and routes can reach: one struct stele_server for the process, filled by
 * src/server before the first connection and constant afterwards (what it points to is not). */
#ifndef STELE_API_SERVER_H
#define STELE_API_SERVER_H

#include "api/engine.h"
#include "auth/auth.h"

struct stele_cluster; /* api/cluster.h. */
struct stele_groups;  /* subs/groups.h: persistent subscriptions. */
struct stele_hub;     /* subs/follow.h: live events. */
struct stele_metrics; /* api/metrics.h. */
struct stele_gate;    /* net/net.h: what the loops count together. */
struct stele_config;  /* ops/config.h. */

/* One hub for each loop. */
#define STELE_LOOPS_MAX 64
struct stele_hubs {
    uint32_t count;
    struct {
        const struct stele_loop *loop;
        struct stele_hub *hub;
    } at[STELE_LOOPS_MAX];
};

/* The hub of the loop that a call or an exchange lives on. */
static inline struct stele_hub *stele_hub_of(const struct stele_hubs *hubs,
                                             const struct stele_loop *loop)
{
    for (uint32_t i = 0; i < hubs->count; i++) {
        if (hubs->at[i].loop == loop) {
            return hubs->at[i].hub;
        }
    }
    return NULL;
}

/* Those it listens on, the one it advertises, the machine's. */
#define STELE_SERVER_NAMES_MAX 10

struct stele_server {
    struct stele_alloc *alloc;
    struct stele_engine *engine;
    struct stele_cluster *cluster; /* One of its own, if the server stands alone. */
    struct stele_auth *auth;
    struct stele_hubs *hubs;
    struct stele_groups *groups;
    struct stele_metrics *metrics;
    const struct stele_gate *gate; /* NULL: no network (tests, simulator). */
    struct stele_loop *home; /* The loop that owns what exists once: groups, users, background. */

    uint8_t instance_id[16];
    uint8_t store_id[16];
    char advertised_host[256]; /* What gossip and /info tell clients. */
    uint16_t advertised_port;
    bool insecure;
    /* Names of this machine, besides localhost, under which a server without users may be asked by who
     * sits at it. */
    const char *names[STELE_SERVER_NAMES_MAX];
    size_t names_count;
    const struct stele_config *settings; /* For showing; NULL: there are none. */
    int64_t started_wall_us;
    uint32_t append_size_max; /* Bytes of one append. */
    uint32_t event_size_max;  /* Of one event. */

    /* From any thread: ends the server gracefully, as SIGTERM does. */
    void (*shut_down)(struct stele_server *server);
    /* Starts and stops scavenging; id is copied. STELE_OK, STELE_E_OVERLOADED (one is running),
     * STELE_NOT_FOUND. */
    int (*scavenge_start)(struct stele_server *server, char out_id[37]);
    int (*scavenge_stop)(struct stele_server *server, const char *id);
};

#endif
