/* The keyring as bytes. */
#include "base/checksum.h"
#include "base/text.h"
#include "keys/ring.h"

#include <stele/keys.h>

#include <sodium.h>

#define VERSION 1
#define CHECKSUM_AT 12
#define CHECKED_AT 16
#define ID_AT 16
#define GENERATION_AT 32
#define WRITTEN_AT 40
#define DERIVATION_AT 48
#define PASSES_AT 52
#define MEMORY_AT 56
#define SALT_AT 64
#define PUBLIC_AT 80
#define ROOT_NONCE_AT 112
#define ROOT_AT 136
#define BODY_NONCE_AT 184
#define BODY_SIZE_AT 208

#define ROOT_SIZE 48
#define TAG_SIZE 16
#define BODY_HEAD_SIZE 72
#define ENTRY_SIZE 104
#define LIVE 1
#define ERASED 2
#define PASSES_MAX 64
#define MEMORY_MAX ((uint64_t)1 << 30)

_Static_assert(ROOT_AT + ROOT_SIZE == BODY_NONCE_AT, "layout");
_Static_assert(BODY_SIZE_AT + 8 == STELE_RING_HEADER_SIZE, "layout");
_Static_assert(STELE_SUBJECTS_MAX <= (STELE_RING_SIZE_MAX - 1024) / (ENTRY_SIZE + 255), "bound");

static const char magic[8] = {'S', 'T', 'E', 'L', 'E', 'K', 'E', 'Y'};

static bool apply_cipher(bool encrypts, const uint8_t *header, size_t header_size,
                         const uint8_t *key, const uint8_t *nonce, const uint8_t *from, size_t size,
                         uint8_t *to)
{
    /* The checksum covers what is encrypted, so it cannot be a part of this. */
    uint8_t associated[STELE_RING_HEADER_SIZE];
    memcpy(associated, header, CHECKSUM_AT);
    memcpy(associated + CHECKSUM_AT, header + CHECKED_AT, header_size - CHECKED_AT);
    const size_t associated_size = header_size - (CHECKED_AT - CHECKSUM_AT);
    return (encrypts
                ? crypto_aead_xchacha20poly1305_ietf_encrypt(to, NULL, from, size, associated,
                                                             associated_size, NULL, nonce, key)
                : crypto_aead_xchacha20poly1305_ietf_decrypt(to, NULL, NULL, from, size, associated,
                                                             associated_size, nonce, key)) == 0;
}

/* ---- Out ---- */

static size_t body_size(const struct stele_ring *ring)
{
    size_t size = BODY_HEAD_SIZE;
    for (uint32_t i = 0; i < ring->count; i++) {
        size += ENTRY_SIZE + ring->entries[i].name_size;
    }
    return size;
}

static void put_body(const struct stele_ring *ring, uint8_t *to)
{
    memcpy(to, ring->seed, 32);
    memcpy(to + 32, ring->hash_key, 32);
    stele_store_u64le(to + 64, ring->count);
    to += BODY_HEAD_SIZE;
    for (uint32_t i = 0; i < ring->count; i++) {
        const struct stele_ring_entry *entry = &ring->entries[i];
        memset(to, 0, ENTRY_SIZE);
        to[0] = entry->is_erased ? ERASED : LIVE;
        to[1] = entry->name_size;
        memcpy(to + 8, entry->id, 16);
        stele_store_u64le(to + 24, (uint64_t)entry->created_us);
        stele_store_u64le(to + 32, (uint64_t)entry->erased_us);
        memcpy(to + 40, entry->hash, 32);
        memcpy(to + 72, entry->key, 32);
        memcpy(to + ENTRY_SIZE, entry->name, entry->name_size);
        to += ENTRY_SIZE + entry->name_size;
    }
}

static void put_header(const struct stele_ring *ring, const struct stele_ring_fresh *fresh,
                       size_t sealed_size, uint8_t *to)
{
    memset(to, 0, STELE_RING_HEADER_SIZE);
    memcpy(to, magic, sizeof magic);
    stele_store_u32le(to + 8, VERSION);
    memcpy(to + ID_AT, ring->id, 16);
    stele_store_u64le(to + GENERATION_AT, ring->generation);
    stele_store_u64le(to + WRITTEN_AT, (uint64_t)ring->written_us);
    stele_store_u32le(to + DERIVATION_AT, ring->derivation);
    stele_store_u32le(to + PASSES_AT, ring->passes);
    stele_store_u64le(to + MEMORY_AT, ring->memory);
    memcpy(to + SALT_AT, ring->salt, 16);
    memcpy(to + PUBLIC_AT, ring->public_key, 32);
    memcpy(to + ROOT_NONCE_AT, fresh->root_nonce, 24);
    memcpy(to + BODY_NONCE_AT, fresh->body_nonce, 24);
    stele_store_u64le(to + BODY_SIZE_AT, sealed_size);
}

int stele_ring_encode(const struct stele_ring *ring, const struct stele_ring_fresh *fresh,
                      struct stele_buf *out, struct stele_error *err)
{
    const size_t plain_size = body_size(ring);
    const size_t size = STELE_RING_HEADER_SIZE + plain_size + TAG_SIZE;
    uint8_t *plain = stele_allocate(ring->alloc, plain_size);
    if (plain == NULL || stele_buf_reserve(out, ring->alloc, size) != STELE_OK) {
        stele_release(ring->alloc, plain, plain_size);
        return stele_fail(err, STELE_E_NO_MEMORY, 0, "keyring: no memory to write it");
    }
    uint8_t *to = out->data + out->size;
    put_body(ring, plain);
    put_header(ring, fresh, plain_size + TAG_SIZE, to);
    bool done = apply_cipher(true, to, ROOT_NONCE_AT, ring->master, fresh->root_nonce, fresh->root,
                             32, to + ROOT_AT);
    done = done && apply_cipher(true, to, STELE_RING_HEADER_SIZE, fresh->root, fresh->body_nonce,
                                plain, plain_size, to + STELE_RING_HEADER_SIZE);
    STELE_ASSERT(done);
    sodium_memzero(plain, plain_size);
    stele_release(ring->alloc, plain, plain_size);
    const struct stele_bytes checked = {to + CHECKED_AT, size - CHECKED_AT};
    stele_store_u32le(to + CHECKSUM_AT, stele_crc32c(checked));
    out->size += size;
    return STELE_OK;
}

/* ---- In ---- */

static int corrupt(struct stele_error *err, const char *what, size_t offset)
{
    return stele_fail(err, STELE_E_CORRUPT, 0,
                      "keyring: %s at offset %zu; restore a backup (`stele keys restore`)", what,
                      offset);
}

static int check_header(struct stele_bytes bytes, struct stele_error *err)
{
    if (bytes.size < sizeof magic + 4 || memcmp(bytes.data, magic, sizeof magic) != 0) {
        return stele_fail(err, STELE_E_FORMAT, 0,
                          "keyring: the file is no keyring, or its beginning is damaged; restore a "
                          "backup (`stele keys restore`)");
    }
    if (stele_load_u32le(bytes.data + 8) != VERSION) {
        return stele_fail(err, STELE_E_FORMAT, 0,
                          "keyring: it has version %u, this program knows version %d; use a newer "
                          "program",
                          stele_load_u32le(bytes.data + 8), VERSION);
    }
    if (bytes.size < STELE_RING_HEADER_SIZE + BODY_HEAD_SIZE + TAG_SIZE) {
        return corrupt(err, "the file ends too early,", bytes.size);
    }
    const struct stele_bytes checked =
        stele_bytes_slice(bytes, CHECKED_AT, bytes.size - CHECKED_AT);
    if (stele_crc32c(checked) != stele_load_u32le(bytes.data + CHECKSUM_AT)) {
        return corrupt(err, "the checksum is wrong,", CHECKSUM_AT);
    }
    if (stele_load_u64le(bytes.data + BODY_SIZE_AT) != bytes.size - STELE_RING_HEADER_SIZE) {
        return corrupt(err, "the size is wrong,", BODY_SIZE_AT);
    }
    return STELE_OK;
}

static int get_master(const uint8_t *bytes, const struct stele_ring_secret *secret,
                      struct stele_ring *ring, struct stele_error *err)
{
    ring->derivation = stele_load_u32le(bytes + DERIVATION_AT);
    ring->passes = stele_load_u32le(bytes + PASSES_AT);
    ring->memory = stele_load_u64le(bytes + MEMORY_AT);
    memcpy(ring->salt, bytes + SALT_AT, 16);
    if (ring->derivation > STELE_RING_PASSPHRASE) {
        return stele_fail(err, STELE_E_FORMAT, 0, "keyring: derivation %u is not known",
                          ring->derivation);
    }
    if (secret->known != NULL) {
        const struct stele_ring *known = secret->known;
        if (known->derivation != ring->derivation || known->passes != ring->passes ||
            known->memory != ring->memory || memcmp(known->salt, ring->salt, 16) != 0) {
            return stele_fail(err, STELE_E_KEY, 0,
                              "keyring: it has got another master key meanwhile; open it again");
        }
        memcpy(ring->master, known->master, 32);
        return STELE_OK;
    }
    if ((ring->derivation == STELE_RING_KEY) != (secret->key != NULL)) {
        return stele_fail(err, STELE_E_KEY, 0, "keyring: it is opened by a %s, which was not given",
                          ring->derivation == STELE_RING_KEY ? "key file" : "passphrase");
    }
    if (ring->derivation == STELE_RING_KEY) {
        memcpy(ring->master, secret->key, 32);
        return STELE_OK;
    }
    /* Checked, or a file from elsewhere could ask for all memory there is. */
    if (ring->passes < 1 || ring->passes > PASSES_MAX ||
        ring->memory < crypto_pwhash_MEMLIMIT_MIN || ring->memory > MEMORY_MAX) {
        return corrupt(err, "the parameters of Argon2id are out of bounds,", PASSES_AT);
    }
    if (crypto_pwhash(ring->master, 32, (const char *)secret->passphrase.data,
                      secret->passphrase.size, ring->salt, ring->passes, (size_t)ring->memory,
                      crypto_pwhash_ALG_ARGON2ID13) != 0) {
        return stele_fail(err, STELE_E_NO_MEMORY, 0,
                          "keyring: no memory to derive the key from the passphrase");
    }
    return STELE_OK;
}

static bool is_zero(const uint8_t *bytes, size_t size)
{
    return sodium_is_zero(bytes, size) == 1;
}

/* The size of the entry at the start of bytes; 0: it is none. */
static size_t get_entry(struct stele_bytes bytes, struct stele_ring_entry *entry)
{
    if (bytes.size < ENTRY_SIZE || bytes.size - ENTRY_SIZE < bytes.data[1]) {
        return 0;
    }
    const uint8_t *from = bytes.data;
    const bool erased = from[0] == ERASED;
    memset(entry, 0, sizeof *entry);
    entry->is_erased = erased;
    entry->name_size = from[1];
    memcpy(entry->id, from + 8, 16);
    entry->created_us = (int64_t)stele_load_u64le(from + 24);
    entry->erased_us = (int64_t)stele_load_u64le(from + 32);
    memcpy(entry->hash, from + 40, 32);
    memcpy(entry->key, from + 72, 32);
    memcpy(entry->name, from + ENTRY_SIZE, entry->name_size);
    const bool known = erased || from[0] == LIVE;
    const bool fits = erased == (entry->name_size == 0) && erased == (entry->erased_us != 0) &&
                      erased == is_zero(entry->key, 32) && is_zero(from + 2, 6);
    const struct stele_bytes name = {(const uint8_t *)entry->name, entry->name_size};
    const bool named =
        memchr(entry->name, 0, entry->name_size) == NULL && stele_utf8_is_valid(name);
    return known && fits && named ? (size_t)ENTRY_SIZE + entry->name_size : 0;
}

static int get_body(struct stele_bytes body, struct stele_ring *ring, struct stele_error *err)
{
    uint8_t secret_key[crypto_sign_SECRETKEYBYTES];
    uint8_t public_key[crypto_sign_PUBLICKEYBYTES];
    memcpy(ring->seed, body.data, 32);
    memcpy(ring->hash_key, body.data + 32, 32);
    (void)crypto_sign_seed_keypair(public_key, secret_key, ring->seed);
    sodium_memzero(secret_key, sizeof secret_key);
    if (sodium_memcmp(public_key, ring->public_key, 32) != 0) {
        return corrupt(err, "the public key does not belong to the signing key,", PUBLIC_AT);
    }
    const uint64_t count = stele_load_u64le(body.data + 64);
    size_t at = BODY_HEAD_SIZE;
    struct stele_ring_entry entry;
    int outcome = STELE_OK;
    for (uint64_t i = 0; i < count && outcome == STELE_OK; i++) {
        const size_t size = get_entry(stele_bytes_slice(body, at, body.size - at), &entry);
        if (size == 0 || stele_ring_by_id(ring, entry.id) != NULL) {
            outcome = corrupt(err, "an entry is not one,", STELE_RING_HEADER_SIZE + at);
        } else {
            outcome = stele_ring_adopt(ring, &entry, err);
        }
        at += size;
    }
    sodium_memzero(&entry, sizeof entry);
    if (outcome == STELE_OK && at != body.size) {
        outcome = corrupt(err, "something follows the entries,", STELE_RING_HEADER_SIZE + at);
    }
    return outcome;
}

static int open_body(struct stele_bytes bytes, struct stele_ring *ring, struct stele_error *err)
{
    uint8_t root[32];
    const uint8_t *header = bytes.data;
    if (!apply_cipher(false, header, ROOT_NONCE_AT, ring->master, header + ROOT_NONCE_AT,
                      header + ROOT_AT, ROOT_SIZE, root)) {
        return stele_fail(err, STELE_E_KEY, 0, "keyring: the %s is not the one it is opened by",
                          ring->derivation == STELE_RING_KEY ? "master key" : "passphrase");
    }
    const struct stele_bytes sealed =
        stele_bytes_slice(bytes, STELE_RING_HEADER_SIZE, bytes.size - STELE_RING_HEADER_SIZE);
    const size_t plain_size = sealed.size - TAG_SIZE;
    uint8_t *plain = stele_allocate(ring->alloc, plain_size);
    int outcome = STELE_OK;
    if (plain == NULL) {
        outcome = stele_fail(err, STELE_E_NO_MEMORY, 0, "keyring: no memory to read it");
    } else if (!apply_cipher(false, header, STELE_RING_HEADER_SIZE, root, header + BODY_NONCE_AT,
                             sealed.data, sealed.size, plain)) {
        outcome =
            corrupt(err, "the entries are not those that were written,", STELE_RING_HEADER_SIZE);
    } else {
        outcome = get_body((struct stele_bytes){plain, plain_size}, ring, err);
    }
    if (plain != NULL) {
        sodium_memzero(plain, plain_size);
    }
    stele_release(ring->alloc, plain, plain_size);
    sodium_memzero(root, sizeof root);
    return outcome;
}

int stele_ring_decode(struct stele_bytes bytes, const struct stele_ring_secret *secret,
                      struct stele_alloc *alloc, struct stele_ring *ring, struct stele_error *err)
{
    struct stele_ring next = {.alloc = alloc};
    if (sodium_init() < 0) {
        return stele_fail(err, STELE_E_UNSUPPORTED, 0, "libsodium cannot be used on this system");
    }
    int outcome = check_header(bytes, err);
    if (outcome == STELE_OK) {
        memcpy(next.id, bytes.data + ID_AT, 16);
        memcpy(next.public_key, bytes.data + PUBLIC_AT, 32);
        next.generation = stele_load_u64le(bytes.data + GENERATION_AT);
        next.written_us = (int64_t)stele_load_u64le(bytes.data + WRITTEN_AT);
        outcome = get_master(bytes.data, secret, &next, err);
    }
    if (outcome == STELE_OK) {
        outcome = open_body(bytes, &next, err);
    }
    if (outcome != STELE_OK) {
        stele_ring_deinit(&next);
        return outcome;
    }
    *ring = next;
    return STELE_OK;
}
