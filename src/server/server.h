/* The server as a whole: store, engine, loops, services, and the ways up and down.
 *
 *     main thread                       loop threads (one of them is home)
 *     open store, engine, loops  ──▶    hubs, nets
 *     wait for a signal                 connections ─▶ exchanges ─▶ services ─▶ engine
 *     drain: GOAWAY; calls that are under way end; what is left is told UNAVAILABLE; cut
 *     stop loops, close the store
 *
 * stele_server_run() returns when the server has ended. It takes SIGTERM, SIGINT (graceful end) and
 * SIGHUP (certificates are read again), which it blocks in all threads. */
#ifndef STELE_SERVER_SERVER_H
#define STELE_SERVER_SERVER_H

#include "auth/auth.h"
#include "base/status.h"
#include "http/http.h"

#define STELE_SERVER_ADDRESSES_MAX 8
#define STELE_SERVER_PORT_DEFAULT 2113

/* host: a name or a number; "" for every address of the machine; "unix:/path" for a local socket. */
struct stele_server_address {
    char host[256];
    uint16_t port; /* 0: the system chooses. */
};

enum stele_server_log {
    STELE_SERVER_DEBUG,
    STELE_SERVER_INFO,
    STELE_SERVER_WARNING,
    STELE_SERVER_ERROR,
};

/* Texts are borrowed while the server runs. NULL and 0 are the defaults. */
struct stele_config; /* ops/config.h */

struct stele_server_config {
    const char *store_path;
    const struct stele_options *store_options; /* NULL: the usual ones. */

    struct stele_server_address addresses[STELE_SERVER_ADDRESSES_MAX];
    size_t addresses_count;      /* 0: "localhost", the usual port. */
    const char *advertised_host; /* What clients are told; NULL: the first address. */
    uint16_t advertised_port;    /* 0: the port that was bound. */

    const char *tls_certificate; /* PEM; NULL: plain text, which off loopback needs insecure. */
    const char *tls_key;
    const char *tls_client_ca;
    bool tls_client_required;
    const char *cluster_certificate, *cluster_key,
        *cluster_ca;                                    /* Between nodes; NULL: plain text. */
    uint32_t cluster_election_ms, cluster_heartbeat_ms; /* 0: as usual. */
    const char *cluster_listen; /* For other nodes; NULL: at the node's address. */
    uint32_t cluster_features;  /* The first ones that it says to know; 64: all. */
    bool insecure;              /* No authentication, plain text on every address. */

    uint32_t threads; /* Loops. 0: one less than there are processors, at least one. */
    uint32_t connections_max;
    uint32_t handshake_ms;
    uint32_t drain_ms;             /* From the signal until what is left is cut. */
    struct stele_http_limits http; /* But for its memory. */
    uint64_t output_memory;        /* Of answers that clients do not take. */
    uint32_t append_size_max;
    uint32_t event_size_max;

    /* insecure, keys and callbacks are set by the server. */
    struct stele_auth_options auth;
    const char *jwt_keys; /* A file; NULL: no bearer tokens. SIGHUP reads it again. */
    bool sandbox;         /* From the start on, only what a server needs: system calls, files. */

    const char *notify_socket; /* Where systemd waits to hear; NULL: nobody does. */

    const struct stele_config *settings; /* Where all this came from, for showing; or NULL. */

    void *context;
    /* Any thread. */
    void (*on_log)(void *context, enum stele_server_log level, const char *message);
    /* Once, on the calling thread. addresses: "127.0.0.1:2113 [::1]:2113". */
    void (*on_ready)(void *context, const char *addresses, bool tls);
    /* Once for each user that the first start made. */
    void (*on_first_password)(void *context, const char *login, const char *password);
};
#define STELE_SERVER_CONFIG_INIT                                                                   \
    {                                                                                              \
        .connections_max = 10000, .handshake_ms = 10000, .drain_ms = 10000,                        \
        .http = STELE_HTTP_LIMITS_INIT, .output_memory = 256u << 20, .append_size_max = 64u << 20, \
        .event_size_max = STELE_EVENT_SIZE_MAX                                                     \
    }

/* STELE_OK: it ran and ended as asked. Otherwise it could not start, or closing the store failed;
 * outcomes of stele_open(), STELE_E_INVALID (configuration), STELE_E_IO (addresses). */
STELE_MUST_USE
int stele_server_run(const struct stele_server_config *config, struct stele_error *err);

#endif
