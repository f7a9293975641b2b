/* gRPC on the server: calls, messages, deadlines, statuses (github.com/grpc/grpc PROTOCOL-HTTP2).
 *
 * A service registers its methods in a table. For each call it gets start, messages, the end of the
 * client's messages, and exactly one `closed` at the end. It answers with messages and one finish.
 * A call lives on one loop; every function here is called on that loop's thread.
 *
 *     start ─▶ message* ─▶ half_closed ─▶ … ─▶ stele_call_finish ─▶ closed
 *
 * Cancelled, past its deadline, or its connection lost: `closed` comes early, and what the service
 * still does with the call (from a completion that was under way) has no effect, as long as it holds
 * it: stele_call_hold() … stele_call_release().
 *
 * Flow control: messages of the client are taken in only as fast as the service consumes them. While
 * stele_call_pause() is in force no message is delivered and the client's window fills.
 *
 * Authentication and authorization happen before start (see auth/auth.h): the table's row says what
 * is needed; what depends on a stream's ACL the service checks itself with stele_call_principal(). */
#ifndef STELE_GRPC_CALL_H
#define STELE_GRPC_CALL_H

#include "auth/auth.h"
#include "http/http.h"

/* google.golang.org/grpc/codes and every other implementation: statuscodes.md. */
enum stele_grpc_code {
    STELE_GRPC_OK = 0,
    STELE_GRPC_CANCELLED = 1,
    STELE_GRPC_UNKNOWN = 2,
    STELE_GRPC_INVALID_ARGUMENT = 3,
    STELE_GRPC_DEADLINE_EXCEEDED = 4,
    STELE_GRPC_NOT_FOUND = 5,
    STELE_GRPC_ALREADY_EXISTS = 6,
    STELE_GRPC_PERMISSION_DENIED = 7,
    STELE_GRPC_RESOURCE_EXHAUSTED = 8,
    STELE_GRPC_FAILED_PRECONDITION = 9,
    STELE_GRPC_ABORTED = 10,
    STELE_GRPC_OUT_OF_RANGE = 11,
    STELE_GRPC_UNIMPLEMENTED = 12,
    STELE_GRPC_INTERNAL = 13,
    STELE_GRPC_UNAVAILABLE = 14,
    STELE_GRPC_DATA_LOSS = 15,
    STELE_GRPC_UNAUTHENTICATED = 16,
};

struct stele_call;
struct stele_server; /* What services work on: server/server.h. */

/* One method of one service. All functions may be NULL. */
struct stele_method {
    enum stele_rpc rpc;   /* Its row in the authorization table, which has its path. */
    size_t state_size;    /* Bytes of zeroed state that a call of it gets. */
    uint32_t message_max; /* Bytes of one message; 0: 4 MiB. Larger: RESOURCE_EXHAUSTED. */
    /* Is this the server for it? Called before start; if it finishes the call, nothing else of the
     * method is called, not even closed. */
    void (*admit)(struct stele_call *call);
    void (*start)(struct stele_call *call);
    /* One whole message, unzipped. Borrowed for the call. */
    void (*message)(struct stele_call *call, struct stele_bytes message);
    void (*half_closed)(struct stele_call *call);
    /* The output was full and is not any more. */
    void (*writable)(struct stele_call *call);
    /* The call is over: release what the state owns. reason: how it ended. */
    void (*closed)(struct stele_call *call, enum stele_grpc_code reason);
};

void *stele_call_state(struct stele_call *call);
struct stele_server *stele_call_server(struct stele_call *call);
struct stele_loop *stele_call_loop(struct stele_call *call);
const struct stele_method *stele_call_method(const struct stele_call *call);
const struct stele_principal *stele_call_principal(const struct stele_call *call);
/* Is there a method for it in the server's table? */
bool stele_call_knows(const struct stele_call *call, enum stele_rpc rpc);
/* A header that the client sent ("requires-leader"), data NULL if none. */
struct stele_text stele_call_metadata(const struct stele_call *call, const char *name);
/* See stele_exchange_is_first(). */
bool stele_call_is_first(const struct stele_call *call);
const char *stele_call_peer(const struct stele_call *call);
/* On the loop's clock; INT64_MAX without a deadline. */
int64_t stele_call_deadline_us(const struct stele_call *call);

/* Keeps the memory of the call (and its state) over `closed`. */
void stele_call_hold(struct stele_call *call);
void stele_call_release(struct stele_call *call);
/* `closed` was called, or finish was. Answers have no effect any more. */
bool stele_call_is_over(const struct stele_call *call);

void stele_call_pause(struct stele_call *call);
void stele_call_resume(struct stele_call *call); /* May deliver messages before it returns. */

/* Answers. begin gives the connection's own buffer with five bytes of prefix taken: append the
 * message to it (allocator: stele_call_loop()->alloc), then end. Between them nothing else of the
 * call may be called. cancel instead of end takes it back. */
struct stele_buf *stele_call_message_begin(struct stele_call *call);
void stele_call_message_end(struct stele_call *call);
void stele_call_message_cancel(struct stele_call *call);
void stele_call_send(struct stele_call *call, struct stele_bytes message);
bool stele_call_is_full(const struct stele_call *call);

/* Trailers must be added before finish. value: bytes outside of 0x20..0x7e are percent-encoded;
 * a name that ends in "-bin" is base64-encoded. Copied. */
void stele_call_trailer(struct stele_call *call, const char *name, struct stele_bytes value);
/* message is copied and percent-encoded as the specification says (only what is outside of
 * 0x20..0x7e, and '%'). Without a message before it this is a trailers-only response. `closed`
 * comes, perhaps before this returns. */
void stele_call_finish(struct stele_call *call, enum stele_grpc_code code, const char *message);
STELE_PRINTF(3, 4)
void stele_call_fail(struct stele_call *call, enum stele_grpc_code code, const char *format, ...);

/* All methods of all services, by enum stele_rpc; the server fills it at start. */
struct stele_grpc_table {
    const struct stele_method *methods[STELE_RPC_COUNT]; /* NULL: UNIMPLEMENTED. */
};

/* The http side: what the server hands exchanges with content-type application/grpc to. */
struct stele_grpc;
STELE_MUST_USE
int stele_grpc_create(struct stele_server *server, struct stele_auth *auth,
                      const struct stele_grpc_table *table, struct stele_alloc *alloc,
                      struct stele_grpc **out_grpc);
void stele_grpc_destroy(struct stele_grpc *grpc);
bool stele_grpc_wants(const struct stele_exchange *exchange);
void stele_grpc_on_request(struct stele_grpc *grpc, struct stele_exchange *exchange);
void stele_grpc_on_body(struct stele_grpc *grpc, struct stele_exchange *exchange,
                        struct stele_bytes bytes);
void stele_grpc_on_end(struct stele_grpc *grpc, struct stele_exchange *exchange);
void stele_grpc_on_writable(struct stele_grpc *grpc, struct stele_exchange *exchange);
void stele_grpc_on_close(struct stele_grpc *grpc, struct stele_exchange *exchange, bool finished);

#endif
