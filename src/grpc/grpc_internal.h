/* Inside src/grpc: what a call is made of, and the small arts it needs (texts of headers, unzipping). */
#ifndef STELE_GRPC_GRPC_INTERNAL_H
#define STELE_GRPC_GRPC_INTERNAL_H

#include "grpc/call.h"

#define STELE_GRPC__PREFIX_SIZE 5 /* Flag and length in front of every message. */
#define STELE_GRPC__MESSAGE_MAX_DEFAULT (4u * 1024u * 1024u)
#define STELE_GRPC__TRAILERS_MAX 16
#define STELE_GRPC__SLOTS 256 /* Of paths; a power of two, more than twice the methods. */
_Static_assert(STELE_RPC_COUNT * 2 < STELE_GRPC__SLOTS, "paths are to be found in few steps");

struct stele_grpc {
    struct stele_server *server;
    struct stele_auth *auth;
    struct stele_alloc *alloc;
    struct stele_grpc_table table;
    uint16_t slots[STELE_GRPC__SLOTS]; /* By hash of the path: rpc + 1; 0 is free. */
};

enum stele_grpc__coding { CODING_IDENTITY, CODING_DEFLATE, CODING_GZIP };

/* States of a call, in the order in which it goes through them; ASKING and STARTED may be skipped.
 *
 *     ASKING   who is calling is not known yet; what comes is kept, bounded by the window
 *     STARTED  the method has it; not over
 *     OVER     closed() was called, or never has to be; the exchange may still be there
 */
enum stele_grpc__state { CALL_ASKING, CALL_STARTED, CALL_OVER };

struct stele_call {
    struct stele_grpc *grpc;
    struct stele_loop *loop;
    struct stele_exchange *exchange; /* NULL: it is gone. */
    const struct stele_method *method;
    struct stele_principal *principal;
    struct stele_auth_question question;
    struct stele_timer timer;
    int64_t deadline_us;
    size_t size; /* Of this object with the method's state. */
    uint32_t refs;
    uint32_t message_max;
    enum stele_grpc__state state;
    enum stele_grpc__coding coding;
    bool entered; /* It counts in the quota of its user. */
    bool paused;
    bool delivering;  /* Messages are being handed out further up the stack. */
    bool ended;       /* The client sends no more. */
    bool half_closed; /* And the method knows. */

    struct stele_buf in; /* Bytes of messages that are not whole yet, or wait for resume(). */
    size_t in_at;        /* What is before was handed out. */
    size_t owed;         /* Bytes that the client may not send again yet. */
    size_t kept;         /* Bytes of `in` and `unzipped` that the user's quota knows of. */
    uint32_t messages;   /* That were handed out. */
    struct stele_buf unzipped;

    struct stele_buf *message; /* Between begin and end: where, */
    size_t message_at;         /* and from where. */
    struct stele_buf nowhere;  /* For messages that nobody will see. */

    struct stele_buf trailers; /* name, 0, value, 0 … */
    struct stele_buf proof;    /* Copies of what the question borrows. */
    _Alignas(16) uint8_t user[];
};

/* ---- grpc.c ---- */

/* NULL: nobody answers to that path. */
const struct stele_method *stele_grpc__find(const struct stele_grpc *grpc, struct stele_text path);

/* ---- text.c ---- */

/* "100m" and so on: microseconds, rounded up; INT64_MAX if text is none. At most 8 digits. */
int64_t stele_grpc__timeout(struct stele_text text);
/* Appends; outcomes of stele_buf_append(). percent: '%' itself is encoded too. */
STELE_MUST_USE
int stele_grpc__put_text(struct stele_buf *buf, struct stele_alloc *alloc, struct stele_bytes text,
                         bool percent);
STELE_MUST_USE
int stele_grpc__put_base64(struct stele_buf *buf, struct stele_alloc *alloc,
                           struct stele_bytes bytes);

/* ---- unzip.c ---- */

/* Replaces what is in out. STELE_E_LIMIT: more than max bytes; STELE_E_CORRUPT; STELE_E_NO_MEMORY. */
STELE_MUST_USE
int stele_grpc__unzip(enum stele_grpc__coding coding, struct stele_bytes zipped, size_t max,
                      struct stele_alloc *alloc, struct stele_buf *out);

#endif
