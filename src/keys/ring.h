/* The keyring: data subjects, their keys, and what was erased; in memory and as a file.
 *
 *     offset  size  field
 *          0     8  "STELEKEY"
 *          8     4  version        1
 *         12     4  checksum       CRC-32C of everything after this field
 *         16    16  keyring id     random, made once
 *         32     8  generation     grows with every change
 *         40     8  written        microseconds since 1970
 *         48     4  derivation     0: the master key is 32 random bytes; 1: Argon2id of a passphrase
 *         52     4  passes         of Argon2id, else 0
 *         56     8  memory         of Argon2id, bytes, else 0
 *         64    16  salt           of Argon2id, else 0
 *         80    32  public key     Ed25519, verifies erasure records
 *        112    24  nonce
 *        136    48  root key       encrypted with the master key; 0-11 and 16-111 are associated data
 *        184    24  nonce
 *        208     8  size           of the body
 *        216        body           encrypted with the root key, tag at its end; 0-11 and 16-215 associated
 *
 *     body:   0  32  seed of the signing key
 *            32  32  key of the subjects' hashes
 *            64   8  count of entries
 *     entry:  0   1  state: 1 live, 2 erased
 *             1   1  size of the subject's name; 0 if erased
 *             2   6  zeros
 *             8  16  key id
 *            24   8  created, microseconds since 1970
 *            32   8  erased, the same; 0 if live
 *            40  32  hash of the subject's name: BLAKE2b, keyed
 *            72  32  key; zeros if erased
 *           104      name
 *
 * The checksum comes first because the tag of the encryption cannot tell damage from a wrong master key. The
 * public key is in the clear to verify erasures without opening. Root key and nonces are new in every file, so
 * an old file is opened by its own master key and by nothing else.
 *
 * One thread at a time may change a ring; any number may look things up meanwhile nobody does. */
#ifndef STELE_KEYS_RING_H
#define STELE_KEYS_RING_H

#include "base/alloc.h"
#include "base/status.h"
#include "io/io.h"

#define STELE_RING_FILE "keyring"
#define STELE_RING_FILE_NEW "keyring.new"
#define STELE_RING_HEADER_SIZE 216
#define STELE_RING_SIZE_MAX ((size_t)512 * 1024 * 1024)
#define STELE_RING_PASSES 3
#define STELE_RING_MEMORY ((uint64_t)64 * 1024 * 1024)

struct stele_ring_entry {
    bool is_erased;
    uint8_t name_size;
    uint8_t id[16];
    int64_t created_us;
    int64_t erased_us;
    uint8_t hash[32];
    uint8_t key[32];
    char name[256]; /* With its zero. */
};

struct stele_ring {
    struct stele_alloc *alloc;
    uint8_t id[16];
    uint64_t generation;
    int64_t written_us;
    uint32_t derivation; /* STELE_RING_KEY, STELE_RING_PASSPHRASE */
    uint32_t passes;
    uint64_t memory;
    uint8_t salt[16];
    uint8_t master[32]; /* Of the derivation. */
    uint8_t public_key[32];
    uint8_t seed[32];
    uint8_t hash_key[32];
    struct stele_ring_entry *entries; /* In order of creation. */
    uint32_t count, capacity;
    uint32_t live;
    uint32_t *by_id;   /* Hash tables of index + 1, by key id and … */
    uint32_t *by_hash; /* … by hash of the name. Where several have one, the newest counts. */
    uint32_t slots;    /* Of each; a power of two, or 0. */
};

#define STELE_RING_KEY 0
#define STELE_RING_PASSPHRASE 1

/* One of the three is set. */
struct stele_ring_secret {
    const uint8_t *key; /* 32 bytes */
    struct stele_bytes passphrase;
    const struct stele_ring *known; /* A ring that was opened before, by the same master key. */
};

/* What has to be new in every file. */
struct stele_ring_fresh {
    uint8_t root[32];
    uint8_t root_nonce[24];
    uint8_t body_nonce[24];
};

/* An empty ring with new keys, all from random. Argon2id takes some 0.1 s. */
STELE_MUST_USE
int stele_ring_init(struct stele_ring *ring, struct stele_alloc *alloc,
                    const struct stele_ring_secret *secret, const uint8_t random[128],
                    struct stele_error *err);
/* Wipes. A ring that was never initialised has to be zeroed. */
void stele_ring_deinit(struct stele_ring *ring);
/* Another master key. random: 16 bytes, for the salt. */
STELE_MUST_USE
int stele_ring_rewrap(struct stele_ring *ring, const struct stele_ring_secret *secret,
                      const uint8_t random[16], struct stele_error *err);

/* ---- Subjects ---- */

/* NULL: never had. Valid until the ring changes. */
const struct stele_ring_entry *stele_ring_find(const struct stele_ring *ring, const char *subject);
const struct stele_ring_entry *stele_ring_by_id(const struct stele_ring *ring,
                                                const uint8_t id[16]);
/* A subject that the ring does not have. random: 48 bytes, id and key.
 * STELE_OK, STELE_E_INVALID (the name), STELE_E_LIMIT, STELE_E_NO_MEMORY */
STELE_MUST_USE
int stele_ring_add(struct stele_ring *ring, const char *subject, int64_t now_us,
                   const uint8_t random[48], struct stele_error *err);
/* Takes over a whole entry, also an erased one, whose id the ring does not have. */
STELE_MUST_USE
int stele_ring_adopt(struct stele_ring *ring, const struct stele_ring_entry *entry,
                     struct stele_error *err);
/* Takes back the entries from count on. */
void stele_ring_truncate(struct stele_ring *ring, uint32_t count);
/* Destroys a key, in memory; its entry stays as a mark. false: there is no live key of that id. */
bool stele_ring_erase(struct stele_ring *ring, const uint8_t id[16], int64_t erased_us);
void stele_ring_hash(const struct stele_ring *ring, struct stele_bytes subject, uint8_t hash[32]);
/* A name that a subject can have: 1 to 255 bytes of UTF-8. */
bool stele_ring_is_name(const char *subject);

/* ---- As bytes ---- */

/* Appends the file of this ring to out. STELE_OK, STELE_E_LIMIT, STELE_E_NO_MEMORY */
STELE_MUST_USE
int stele_ring_encode(const struct stele_ring *ring, const struct stele_ring_fresh *fresh,
                      struct stele_buf *out, struct stele_error *err);
/* Any bytes are safe. *ring is written on STELE_OK only.
 * STELE_E_FORMAT   No keyring, or a newer version.
 * STELE_E_CORRUPT  The checksum is wrong, or what is inside contradicts itself.
 * STELE_E_KEY      Another master key, or one of the other kind.
 * STELE_E_NO_MEMORY */
STELE_MUST_USE
int stele_ring_decode(struct stele_bytes bytes, const struct stele_ring_secret *secret,
                      struct stele_alloc *alloc, struct stele_ring *ring, struct stele_error *err);

/* ---- In a directory ---- */

/* As stele_ring_decode(); STELE_NOT_FOUND, and what reading ends with. */
STELE_MUST_USE
int stele_ring_load(struct stele_io *io, const struct stele_ring_secret *secret,
                    struct stele_alloc *alloc, struct stele_ring *ring, struct stele_error *err);
/* Appends the file as it is to out. */
STELE_MUST_USE
int stele_ring_read(struct stele_io *io, struct stele_alloc *alloc, struct stele_buf *out,
                    struct stele_error *err);
/* Writes bytes as the file of the directory, which has none. Durable with STELE_OK. */
STELE_MUST_USE
int stele_ring_write(struct stele_io *io, struct stele_bytes bytes, struct stele_error *err);
/* Writes the next generation in place of the one before, which is overwritten with zeros. On failure the file
 * is the old one or the new one, whole; *out_replaced: it may be the new one. */
STELE_MUST_USE
int stele_ring_save(struct stele_ring *ring, struct stele_io *io, bool *out_replaced,
                    struct stele_error *err);

#endif
