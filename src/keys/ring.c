/* Subjects and their keys in memory. */
#include "keys/ring.h"

#include "base/text.h"

#include <stele/keys.h>

#include <sodium.h>

#define SLOTS_MIN 64

_Static_assert(sizeof(uint32_t) == 4, "slots hold index + 1");

bool stele_ring_is_name(const char *subject)
{
    if (subject == NULL) {
        return false;
    }
    const size_t size = strnlen(subject, STELE_SUBJECT_SIZE_MAX + 1);
    return size > 0 && size <= STELE_SUBJECT_SIZE_MAX &&
           stele_utf8_is_valid((struct stele_bytes){(const uint8_t *)subject, size});
}

static int derive(struct stele_ring *ring, const struct stele_ring_secret *secret,
                  struct stele_error *err)
{
    if (ring->derivation == STELE_RING_KEY) {
        memcpy(ring->master, secret->key, 32);
        return STELE_OK;
    }
    const int failed = crypto_pwhash(ring->master, 32, (const char *)secret->passphrase.data,
                                     secret->passphrase.size, ring->salt, ring->passes,
                                     (size_t)ring->memory, crypto_pwhash_ALG_ARGON2ID13);
    return failed == 0 ? STELE_OK
                       : stele_fail(err, STELE_E_NO_MEMORY, 0,
                                    "keyring: no memory to derive the key from the passphrase");
}

static int set_secret(struct stele_ring *ring, const struct stele_ring_secret *secret,
                      const uint8_t random[16], struct stele_error *err)
{
    struct stele_ring next = {.derivation = STELE_RING_KEY};
    if (secret->key == NULL) {
        next.derivation = STELE_RING_PASSPHRASE;
        next.passes = STELE_RING_PASSES;
        next.memory = STELE_RING_MEMORY;
        memcpy(next.salt, random, 16);
    }
    const int outcome = derive(&next, secret, err);
    if (outcome == STELE_OK) {
        ring->derivation = next.derivation;
        ring->passes = next.passes;
        ring->memory = next.memory;
        memcpy(ring->salt, next.salt, 16);
        memcpy(ring->master, next.master, 32);
    }
    sodium_memzero(&next, sizeof next);
    return outcome;
}

int stele_ring_init(struct stele_ring *ring, struct stele_alloc *alloc,
                    const struct stele_ring_secret *secret, const uint8_t random[128],
                    struct stele_error *err)
{
    uint8_t secret_key[crypto_sign_SECRETKEYBYTES];
    memset(ring, 0, sizeof *ring);
    if (sodium_init() < 0) {
        return stele_fail(err, STELE_E_UNSUPPORTED, 0, "libsodium cannot be used on this system");
    }
    ring->alloc = alloc;
    memcpy(ring->id, random, 16);
    memcpy(ring->seed, random + 32, 32);
    memcpy(ring->hash_key, random + 64, 32);
    (void)crypto_sign_seed_keypair(ring->public_key, secret_key, ring->seed);
    sodium_memzero(secret_key, sizeof secret_key);
    return set_secret(ring, secret, random + 16, err);
}

int stele_ring_rewrap(struct stele_ring *ring, const struct stele_ring_secret *secret,
                      const uint8_t random[16], struct stele_error *err)
{
    return set_secret(ring, secret, random, err);
}

void stele_ring_deinit(struct stele_ring *ring)
{
    if (ring->entries != NULL) {
        sodium_memzero(ring->entries, ring->capacity * sizeof *ring->entries);
        stele_release(ring->alloc, ring->entries, ring->capacity * sizeof *ring->entries);
    }
    if (ring->slots > 0) {
        stele_release(ring->alloc, ring->by_id, ring->slots * sizeof *ring->by_id);
        stele_release(ring->alloc, ring->by_hash, ring->slots * sizeof *ring->by_hash);
    }
    sodium_memzero(ring, sizeof *ring);
}

/* ---- Lookup ---- */

void stele_ring_hash(const struct stele_ring *ring, struct stele_bytes subject, uint8_t hash[32])
{
    (void)crypto_generichash(hash, 32, subject.data, subject.size, ring->hash_key, 32);
}

static struct stele_ring_entry *lookup(const struct stele_ring *ring, const uint32_t *table,
                                       const uint8_t *wanted, bool by_id)
{
    if (ring->slots == 0) {
        return NULL;
    }
    /* Ids are random, hashes are keyed: nobody can choose where they fall. */
    for (uint32_t slot = stele_load_u32le(wanted);; slot++) {
        const uint32_t index = table[slot & (ring->slots - 1)];
        if (index == 0) {
            return NULL;
        }
        struct stele_ring_entry *entry = &ring->entries[index - 1];
        const bool same = by_id ? sodium_memcmp(entry->id, wanted, 16) == 0
                                : sodium_memcmp(entry->hash, wanted, 32) == 0;
        if (same) {
            return entry;
        }
    }
}

const struct stele_ring_entry *stele_ring_find(const struct stele_ring *ring, const char *subject)
{
    uint8_t hash[32];
    stele_ring_hash(ring, stele_bytes_of_text(subject), hash);
    return lookup(ring, ring->by_hash, hash, false);
}

const struct stele_ring_entry *stele_ring_by_id(const struct stele_ring *ring, const uint8_t id[16])
{
    return lookup(ring, ring->by_id, id, true);
}

static void enter(struct stele_ring *ring, uint32_t index)
{
    const struct stele_ring_entry *entry = &ring->entries[index];
    uint32_t slot = stele_load_u32le(entry->id);
    while (ring->by_id[slot & (ring->slots - 1)] != 0) {
        slot++;
    }
    ring->by_id[slot & (ring->slots - 1)] = index + 1;
    for (slot = stele_load_u32le(entry->hash);; slot++) {
        uint32_t *at = &ring->by_hash[slot & (ring->slots - 1)];
        if (*at == 0 || sodium_memcmp(ring->entries[*at - 1].hash, entry->hash, 32) == 0) {
            *at = index + 1;
            return;
        }
    }
}

static void enter_all(struct stele_ring *ring)
{
    memset(ring->by_id, 0, ring->slots * sizeof *ring->by_id);
    memset(ring->by_hash, 0, ring->slots * sizeof *ring->by_hash);
    for (uint32_t i = 0; i < ring->count; i++) {
        enter(ring, i);
    }
}

static int grow_entries(struct stele_ring *ring)
{
    const uint32_t capacity = ring->capacity == 0 ? 16 : ring->capacity * 2;
    struct stele_ring_entry *entries =
        stele_allocate_zeroed(ring->alloc, capacity * sizeof *entries);
    if (entries == NULL) {
        return STELE_E_NO_MEMORY;
    }
    if (ring->entries != NULL) {
        memcpy(entries, ring->entries, ring->count * sizeof *entries);
        sodium_memzero(ring->entries, ring->capacity * sizeof *entries);
        stele_release(ring->alloc, ring->entries, ring->capacity * sizeof *entries);
    }
    ring->entries = entries;
    ring->capacity = capacity;
    return STELE_OK;
}

static int grow_tables(struct stele_ring *ring)
{
    const uint32_t slots = ring->slots == 0 ? SLOTS_MIN : ring->slots * 2;
    uint32_t *by_id = stele_allocate(ring->alloc, slots * sizeof *by_id);
    uint32_t *by_hash = stele_allocate(ring->alloc, slots * sizeof *by_hash);
    if (by_id == NULL || by_hash == NULL) {
        stele_release(ring->alloc, by_id, slots * sizeof *by_id);
        stele_release(ring->alloc, by_hash, slots * sizeof *by_hash);
        return STELE_E_NO_MEMORY;
    }
    if (ring->slots > 0) {
        stele_release(ring->alloc, ring->by_id, ring->slots * sizeof *by_id);
        stele_release(ring->alloc, ring->by_hash, ring->slots * sizeof *by_hash);
    }
    ring->by_id = by_id;
    ring->by_hash = by_hash;
    ring->slots = slots;
    enter_all(ring);
    return STELE_OK;
}

int stele_ring_adopt(struct stele_ring *ring, const struct stele_ring_entry *entry,
                     struct stele_error *err)
{
    int outcome = STELE_OK;
    if (ring->count >= STELE_SUBJECTS_MAX) {
        return stele_fail(err, STELE_E_LIMIT, 0,
                          "keyring: it has %u subjects, which is the most; use a second one",
                          ring->count);
    }
    if (ring->count == ring->capacity) {
        outcome = grow_entries(ring);
    }
    if (outcome == STELE_OK && ring->slots < (ring->count + 1) * 2) {
        outcome = grow_tables(ring);
    }
    if (outcome != STELE_OK) {
        return stele_fail(err, outcome, 0, "keyring: no memory for one more subject");
    }
    STELE_ASSERT(stele_ring_by_id(ring, entry->id) == NULL);
    ring->entries[ring->count] = *entry;
    enter(ring, ring->count++);
    ring->live += entry->is_erased ? 0 : 1;
    return STELE_OK;
}

int stele_ring_add(struct stele_ring *ring, const char *subject, int64_t now_us,
                   const uint8_t random[48], struct stele_error *err)
{
    if (!stele_ring_is_name(subject)) {
        return stele_fail(err, STELE_E_INVALID, 0,
                          "the name of a data subject has to be 1 to %d bytes of UTF-8",
                          STELE_SUBJECT_SIZE_MAX);
    }
    STELE_ASSERT(stele_ring_find(ring, subject) == NULL);
    struct stele_ring_entry entry = {.name_size = (uint8_t)strlen(subject), .created_us = now_us};
    memcpy(entry.id, random, 16);
    memcpy(entry.key, random + 16, 32);
    memcpy(entry.name, subject, entry.name_size);
    stele_ring_hash(ring, stele_bytes_of_text(subject), entry.hash);
    const int outcome = stele_ring_adopt(ring, &entry, err);
    sodium_memzero(&entry, sizeof entry);
    return outcome;
}

void stele_ring_truncate(struct stele_ring *ring, uint32_t count)
{
    STELE_ASSERT(count <= ring->count);
    if (count == ring->count) {
        return;
    }
    for (uint32_t i = count; i < ring->count; i++) {
        ring->live -= ring->entries[i].is_erased ? 0 : 1;
    }
    sodium_memzero(&ring->entries[count], (ring->count - count) * sizeof *ring->entries);
    ring->count = count;
    enter_all(ring);
}

bool stele_ring_erase(struct stele_ring *ring, const uint8_t id[16], int64_t erased_us)
{
    struct stele_ring_entry *entry = lookup(ring, ring->by_id, id, true);
    if (entry == NULL || entry->is_erased) {
        return false;
    }
    sodium_memzero(entry->key, sizeof entry->key);
    sodium_memzero(entry->name, sizeof entry->name);
    entry->name_size = 0;
    entry->is_erased = true;
    entry->erased_us = erased_us > 0 ? erased_us : 1;
    ring->live--;
    return true;
}
