/* Connections of a server: sockets tied to HTTP, with TLS between them where it is configured.
 *
 *     socket ──▶ tls ──▶ http ──▶ the handler's events
 *     socket ◀── tls ◀── http         (once a turn of the loop, everything that came up)
 *
 * A *gate* is what all loops share: TLS, limits, counters. A *net* is one loop's part: its listeners
 * and connections; one thread, the loop's. */
#ifndef STELE_NET_NET_H
#define STELE_NET_NET_H

#include "http/http.h"
#include "io/linux_loop.h"

#include <stdatomic.h>

struct stele_net;
struct stele_tls_context;

/* Shared by the loops; constant but for the counters. */
struct stele_gate {
    struct stele_tls_context *tls; /* NULL: plain text. */
    struct stele_http_limits limits;
    struct stele_http_memory memory;
    uint32_t connections_max;     /* Of all loops. */
    uint32_t handshake_ms;        /* Until TLS stands. */
    _Atomic uint32_t connections; /* Open now. */
    _Atomic uint64_t accepted;
    _Atomic uint64_t refused; /* Above connections_max. */
    _Atomic uint64_t failed_handshakes;
    _Atomic uint64_t bytes_in;
    _Atomic uint64_t bytes_out;
};

/* events: on_output may be NULL, it is not called. context goes to all of them. */
STELE_MUST_USE
int stele_net_create(struct stele_linux_loop *loop, struct stele_gate *gate,
                     const struct stele_http_events *events, void *context,
                     struct stele_net **out_net);
STELE_MUST_USE
int stele_net_listen(struct stele_net *net, const struct sockaddr *address, socklen_t address_size,
                     uint16_t *out_port, struct stele_error *err);
/* Listens no more and drains every connection. on_empty (once) when there is none left, perhaps
 * before this returns. */
void stele_net_drain(struct stele_net *net, void (*on_empty)(void *context), void *context);
/* Every open exchange; see stele_http_conn_visit(). */
void stele_net_visit(struct stele_net *net,
                     void (*visit)(void *context, struct stele_exchange *exchange), void *context);
uint32_t stele_net_connections(const struct stele_net *net);
/* Cuts what is left. The loop has to turn once more before it is destroyed. */
void stele_net_destroy(struct stele_net *net);

#endif
