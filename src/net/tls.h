/* TLS as a machine: bytes of the wire in, plain bytes out, and the other way round. OpenSSL does the
 * work; its input is the caller's buffer and its output goes behind what is to be sent, so that it
 * holds no bytes but those of records that are not whole.
 *
 *     feed(wire) ──▶ on_plain(plain)        write(plain) ──▶ out (wire)
 *         └──▶ handshake, alerts ──▶ take() ──▶ out
 *
 * TLS 1.2 and 1.3, forward secrecy and authenticated ciphers only, no compression, no renegotiation,
 * no tickets: a stolen ticket key would open every session of its time.
 *
 * A context is shared by all loops and may be reloaded while connections live: those that exist keep
 * what they have. A machine belongs to one loop. */
#ifndef STELE_NET_TLS_H
#define STELE_NET_TLS_H

#include "base/alloc.h"
#include "base/status.h"

struct stele_tls_context;
struct stele_tls;

/* PEM files, for a server. */
struct stele_tls_files {
    const char *certificate; /* With those between it and the root. */
    const char *key;
    const char *client_ca; /* Who signs client certificates; NULL: none are asked for. */
    bool client_required;  /* Who has none is refused. */
};

/* STELE_OK; STELE_E_INVALID: the files cannot be read, or do not belong together. */
STELE_MUST_USE
int stele_tls_context_create(const struct stele_tls_files *files,
                             struct stele_tls_context **out_context, struct stele_error *err);
/* For a client. ca NULL: the system's. verify false: whoever answers is believed. certificate, key:
 * NULL without. */
STELE_MUST_USE
int stele_tls_context_create_client(const char *ca, bool verify, const char *certificate,
                                    const char *key, struct stele_tls_context **out_context,
                                    struct stele_error *err);
/* Reads the files again. On failure the old ones stay in use. Any thread. */
STELE_MUST_USE
int stele_tls_context_reload(struct stele_tls_context *context, struct stele_error *err);
/* Seconds since 1970 at which the certificate ends. */
int64_t stele_tls_context_expires(struct stele_tls_context *context);
/* Machines that it made may live on. NULL is fine. */
void stele_tls_context_destroy(struct stele_tls_context *context);

/* host: of a client, what the certificate has to be for; NULL for a server. */
STELE_MUST_USE
int stele_tls_create(struct stele_tls_context *context, const char *host, struct stele_alloc *alloc,
                     struct stele_tls **out_tls);
void stele_tls_destroy(struct stele_tls *tls);

typedef void (*stele_tls_on_plain)(void *user, struct stele_bytes plain);
/* false: the connection is to be closed, once take() has given the alert. */
bool stele_tls_feed(struct stele_tls *tls, struct stele_bytes wire, stele_tls_on_plain on_plain,
                    void *user);
/* Encrypts to the end of out. false: the connection is broken. Only once the handshake is done. */
bool stele_tls_write(struct stele_tls *tls, struct stele_bytes plain, struct stele_buf *out);
/* Moves what the machine has to say by itself to the end of out. */
void stele_tls_take(struct stele_tls *tls, struct stele_buf *out);
/* A client begins. */
bool stele_tls_start(struct stele_tls *tls);
bool stele_tls_is_ready(const struct stele_tls *tls);  /* The handshake is done. */
bool stele_tls_speaks_h2(const struct stele_tls *tls); /* Both have agreed on it. */
bool stele_tls_has_output(const struct stele_tls *tls);
/* "This is the end", so that a cut connection is not taken for a short answer. */
void stele_tls_close(struct stele_tls *tls, struct stele_buf *out);
/* Common name of the peer's verified certificate; NULL if there is none. */
const char *stele_tls_peer_cn(const struct stele_tls *tls);
/* Is the peer's verified certificate for this name or address (common name, or alternative names)? */
bool stele_tls_peer_is(const struct stele_tls *tls, const char *name);
/* In words, after a failure: "certificate verify failed". */
const char *stele_tls_failure(const struct stele_tls *tls);

#endif
