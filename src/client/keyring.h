/* Keyrings in use: the lock around src/keys/ring.h, several processes, and the handle that seals and opens.
 *
 *     append ─▶ sealed.c: who, what ─▶ keyring.c: keys ─▶ envelopes ─▶ append as usual
 *     read as usual ─▶ opened.c: envelopes ─▶ keyring.c: keys ─▶ events as they were appended
 *
 * A change of the keyring is made under the lock of its directory, on the file as it is then: other processes
 * may have changed it. They learn of a change from the shared page, before they use the next key. */
#ifndef STELE_CLIENT_KEYRING_H
#define STELE_CLIENT_KEYRING_H

#include "client/client.h"
#include "keys/envelope.h"
#include "keys/erasure.h"
#include "keys/policy.h"
#include "keys/ring.h"

#include <stele/keys.h>

/* In the shared page of the keyring's directory. */
struct keyring_live {
    _Atomic uint64_t generation; /* Of the file; 0: being changed. */
};

struct keyring_policies {
    struct stele_policy *policy;
    struct keyring_policies *older; /* Kept until the end: a rule may be in use. */
};

/* A key that an erasure record of a store named. */
struct keyring_condemned {
    uint8_t id[16];
    int64_t erased_us;
};

struct stele_keyring {
    struct stele_alloc *alloc;
    struct stele_io *io;
    char path[4096];
    bool read_only;
    struct keyring_live *live;
    int64_t live_tried_at_us;
    _Atomic(struct keyring_policies *) policies;
    pthread_rwlock_t lock; /* What follows. */
    struct stele_ring ring;
    int broken; /* Not STELE_OK: what a failed write left behind could not be read. */
    struct keyring_condemned *condemned; /* Erased after each reading. */
    size_t condemned_count, condemned_capacity;
};

/* A store's use of a keyring. */
struct sealer {
    struct stele *store;
    struct stele_keyring *keyring;
    pthread_mutex_t lock; /* What follows. */
    uint64_t next;        /* Revision of the next erasure record to read. */
    int64_t looked_at_us;
};

/* Waits for the lock of a keyring's directory and takes it; stele_linux_io_close() gives it back. */
int stele_client__keyring_lock(const char *path, struct stele_alloc *alloc,
                               struct stele_io **out_io, struct stele_error *err);
int stele_client__keyring_secret(const struct stele_master *master,
                                 struct stele_ring_secret *out_secret, struct stele_error *err);
/* Writes the ring of a locked directory, and tells other processes. */
int stele_client__keyring_write(struct stele_ring *ring, struct stele_io *io,
                                struct stele_error *err);

enum keyring_find { KEYRING_LIVE, KEYRING_ERASED, KEYRING_MISSING };

/* Copies the key of an id. STELE_OK, with *out_find; STELE_E_KEY: the keyring cannot be used any more. */
int stele_client__keyring_key(struct stele_keyring *keyring, const uint8_t id[16],
                              uint8_t out_key[32], enum keyring_find *out_find,
                              struct stele_error *err);
/* Copies id and key of a live subject. STELE_OK, STELE_NOT_FOUND, STELE_E_KEY (shredded). */
int stele_client__keyring_subject(struct stele_keyring *keyring, const char *subject,
                                  uint8_t out_id[16], uint8_t out_key[32], struct stele_error *err);
/* The rule for a type, or NULL. */
const struct stele_policy_rule *stele_client__keyring_rule(struct stele_keyring *keyring,
                                                           const char *type);
/* Erases keys because records of a store say so; count of those that were live. */
int stele_client__keyring_condemn(struct stele_keyring *keyring,
                                  const struct stele_erasure_record *records, size_t count,
                                  uint32_t *out_erased, struct stele_error *err);
/* Destroys the key of a subject, unless it is already. STELE_OK: *out_record is signed. STELE_NOT_FOUND. */
int stele_client__keyring_shred(struct stele_keyring *keyring, const char *subject,
                                struct stele_erasure_record *out_record, bool *out_repeated,
                                struct stele_error *err);

/* Reads what erasure records are new, at most once a second unless `now`. */
int stele_client__sealer_look(struct sealer *sealer, bool now, uint32_t *out_erased,
                              struct stele_error *err);
void stele_client__sealer_destroy(struct sealer *sealer);

/* Appending through a handle that uses a keyring. seals may be NULL. callback NULL: synchronous. */
int stele_client__append_sealed(struct stele *store, const struct stele_append *streams,
                                const struct stele_seal *const *seals, size_t streams_count,
                                const struct stele_condition *conditions, size_t conditions_count,
                                uint64_t *revisions_last, struct stele_append_result *out_result,
                                stele_append_callback callback, void *context,
                                struct stele_error *err);

/* ---- Opening events ---- */

/* Events of one batch as they were before sealing. */
struct opener {
    struct sealer *sealer;
    struct stele_event *events; /* A copy of the batch, when one of it is sealed. */
    size_t capacity;
    struct stele_arena arena;
    /* Of the batch that was given last. */
    const struct stele_event *raw;
    size_t raw_count;
    size_t raw_at;    /* Handed out or failed so far. */
    size_t raw_first; /* Where the last batch that was handed out begins. */
};

int stele_client__opener_create(struct sealer *sealer, struct opener **out_opener,
                                struct stele_error *err);
void stele_client__opener_destroy(struct opener *opener);
static inline bool stele_client__opener_has_more(const struct opener *opener)
{
    return opener->raw_at < opener->raw_count;
}
/* Takes a batch; it must last until all of it was handed out. */
void stele_client__opener_give(struct opener *opener, const struct stele_event *events,
                               size_t count);
/* Hands out as many as can be opened; at least one, or the error of the next one, which is behind it then. */
int stele_client__opener_next(struct opener *opener, const struct stele_event **out_events,
                              size_t *out_count, struct stele_error *err);

#endif
