/* Shared by the files of src/server. Nobody else includes it. */
#ifndef STELE_SERVER_SERVER_INTERNAL_H
#define STELE_SERVER_SERVER_INTERNAL_H

#include "api/member/alone.h"
#include "api/server.h"
#include "grpc/call.h"
#include "io/linux_loop.h"
#include "net/net.h"
#include "server/identity.h"
#include "server/server.h"

#include <pthread.h>

struct stele_member;
struct stele_net;
struct stele_tls_context;

#define STELE_SERVER__RESOLVED_MAX 32

struct stele_server__resolved {
    struct sockaddr_storage address;
    socklen_t size;
};

/* One loop with its thread. */
struct stele_server__worker {
    struct stele_server__process *process;
    struct stele_alloc *alloc;
    struct stele_linux_loop *loop;
    struct stele_loop *base;
    struct stele_net *net;
    struct stele_hub *hub;
    pthread_t thread;
    bool has_thread;
};

struct stele_server__scavenge {
    pthread_mutex_t mutex;
    pthread_t thread;
    bool has_thread; /* To be joined. */
    bool running;
    bool stop;
    char id[37];
};

struct stele_server__process {
    struct stele_server server; /* First: what services get is this. */
    const struct stele_server_config *config;
    struct stele *store;
    struct stele_alone alone;      /* The cluster, if there is none. */
    struct stele_engine *embedded; /* Over the store; what services get is this or the member's. */
    bool is_node;                  /* Of a cluster: */
    struct stele_identity identity;
    struct stele_member *member;
    struct stele_gate gate;
    struct stele_grpc *grpc;
    struct stele_web *web;
    struct stele_hubs hubs;
    struct stele_server__worker workers[STELE_LOOPS_MAX];
    uint32_t workers_count;
    struct stele_server__resolved resolved[STELE_SERVER__RESOLVED_MAX];
    size_t resolved_count;
    struct stele_server__scavenge scavenge;
    int signal_fd;
    int stop_fd; /* An eventfd: shut_down() was called. */
    char addresses[512];
    char machine[256]; /* Its name. */
};

STELE_PRINTF(3, 4)
void stele_server__log(const struct stele_server__process *process, enum stele_server_log level,
                       const char *format, ...);

/* ---- addresses.c ---- */

/* Names into addresses; refuses what is in use, and plain text for strangers. */
STELE_MUST_USE
int stele_server__resolve(struct stele_server__process *process, struct stele_error *err);
/* Every worker listens on every address. Before the threads start. */
STELE_MUST_USE
int stele_server__listen(struct stele_server__process *process, struct stele_error *err);

/* ---- confine.c ---- */

/* Gives up what the server will not need, if it is configured to; says so if it cannot. Files:
 * before the first thread. Calls: after the last one. */
void stele_server__confine_files(struct stele_server__process *process);
void stele_server__confine_calls(struct stele_server__process *process);

/* ---- worker.c ---- */

STELE_MUST_USE
int stele_server__workers_create(struct stele_server__process *process, struct stele_error *err);
STELE_MUST_USE
int stele_server__workers_start(struct stele_server__process *process, struct stele_error *err);
/* Runs work on every worker's thread, or in this one before the start; waits until all have. */
void stele_server__workers_do(struct stele_server__process *process,
                              void (*work)(struct stele_server__worker *worker));
/* Stops the threads; the loops are still there. */
void stele_server__workers_stop(struct stele_server__process *process);
void stele_server__workers_destroy(struct stele_server__process *process);
/* Ends everything that clients have open; returns when it has, or after drain_ms. */
void stele_server__workers_drain(struct stele_server__process *process);

/* ---- services.c ---- */

void stele_server__register(struct stele_grpc_table *table);
/* The switch from connections to services; the context is the worker. */
extern const struct stele_http_events stele_server__events;

/* ---- scavenge.c ---- */

void stele_server__scavenge_init(struct stele_server__process *process);
void stele_server__scavenge_deinit(struct stele_server__process *process);

#endif
