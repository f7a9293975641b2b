/* A keyring in use. */
#include "client/keyring.h"

#include <errno.h>
#include <fcntl.h>
#include <sodium.h>
#include <stdio.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define LIVE_SIZE 4096
#define LIVE_RETRY_US ((int64_t)1000000)
#define LOCK_TRIES 1000
#define LOCK_PAUSE_MS 10
#define POLICY_FILE "policy.json"
#define POLICY_FILE_NEW "policy.json.new"

static int64_t now_us(const struct stele_keyring *keyring)
{
    return keyring->io->ops->now_us(keyring->io);
}

/* ---- Master keys ---- */

int stele_client__keyring_secret(const struct stele_master *master,
                                 struct stele_ring_secret *out_secret, struct stele_error *err)
{
    *out_secret = (struct stele_ring_secret){.key = NULL};
    if (master == NULL || (master->key == NULL) == (master->passphrase == NULL)) {
        return stele_fail(err, STELE_E_INVALID, 0,
                          "keyring: give either a master key or a passphrase");
    }
    if (master->key != NULL) {
        out_secret->key = master->key;
        return STELE_OK;
    }
    if (master->passphrase_size < 8 || master->passphrase_size > 1024) {
        return stele_fail(err, STELE_E_INVALID, 0,
                          "keyring: a passphrase has to have 8 to 1024 bytes");
    }
    out_secret->passphrase =
        (struct stele_bytes){(const uint8_t *)master->passphrase, master->passphrase_size};
    return STELE_OK;
}

/* ---- Reading anew ---- */

static void map_live(struct stele_keyring *keyring)
{
    void *memory = NULL;
    if (stele_linux_io_share(keyring->io, false, LIVE_SIZE, &memory, NULL) == STELE_OK) {
        keyring->live = memory;
    }
}

/* Under the lock. */
static void apply_condemned(struct stele_keyring *keyring)
{
    for (size_t i = 0; i < keyring->condemned_count; i++) {
        (void)stele_ring_erase(&keyring->ring, keyring->condemned[i].id,
                               keyring->condemned[i].erased_us);
    }
}

/* Under the lock. */
static int read_ring(struct stele_keyring *keyring, struct stele_io *io, struct stele_error *err)
{
    struct stele_ring next = {.alloc = keyring->alloc};
    const struct stele_ring_secret secret = {.known = &keyring->ring};
    int outcome = stele_ring_load(io, &secret, keyring->alloc, &next, err);
    if (outcome == STELE_OK && memcmp(next.id, keyring->ring.id, 16) != 0) {
        outcome = stele_fail(err, STELE_E_KEY, 0, "keyring %s: another keyring lies there now",
                             keyring->path);
        stele_ring_deinit(&next);
    }
    if (outcome == STELE_OK) {
        stele_ring_deinit(&keyring->ring);
        keyring->ring = next;
        apply_condemned(keyring);
    }
    return outcome;
}

static bool is_stale(const struct stele_keyring *keyring)
{
    const uint64_t now = keyring->live == NULL ? 0 : atomic_load(&keyring->live->generation);
    return now != 0 && now != keyring->ring.generation;
}

/* Takes the lock for reading, with the ring as the file is. */
static int lock_fresh(struct stele_keyring *keyring, struct stele_error *err)
{
    (void)pthread_rwlock_rdlock(&keyring->lock);
    if (keyring->live != NULL && !is_stale(keyring) && keyring->broken == STELE_OK) {
        return STELE_OK;
    }
    (void)pthread_rwlock_unlock(&keyring->lock);
    (void)pthread_rwlock_wrlock(&keyring->lock);
    int outcome = STELE_OK;
    const int64_t now = now_us(keyring);
    if (keyring->live == NULL &&
        (now < keyring->live_tried_at_us || now - keyring->live_tried_at_us >= LIVE_RETRY_US)) {
        keyring->live_tried_at_us = now;
        map_live(keyring);
    }
    if (is_stale(keyring) || keyring->broken != STELE_OK) {
        outcome = read_ring(keyring, keyring->io, err);
        keyring->broken = outcome;
    }
    if (outcome != STELE_OK) {
        (void)pthread_rwlock_unlock(&keyring->lock);
        if (outcome == STELE_NOT_FOUND) {
            outcome = stele_fail(err, STELE_E_KEY, 0, "keyring %s: it is not there any more",
                                 keyring->path);
        }
        return outcome;
    }
    return STELE_OK; /* Held for writing, which is as good. */
}

/* ---- Changing ---- */

/* The lock of a directory is held for one change only: whoever else has it is soon done. */
int stele_client__keyring_lock(const char *path, struct stele_alloc *alloc,
                               struct stele_io **out_io, struct stele_error *err)
{
    struct stele_io *io = NULL;
    int outcome = stele_linux_io_open(path, false, false, alloc, &io, err);
    if (outcome != STELE_OK) {
        return outcome;
    }
    outcome = stele_linux_io_lock(io, err);
    for (int i = 0; outcome == STELE_E_LOCKED && i < LOCK_TRIES; i++) {
        const struct timespec pause = {.tv_nsec = LOCK_PAUSE_MS * 1000000L};
        (void)nanosleep(&pause, NULL);
        outcome = stele_linux_io_lock(io, err);
    }
    if (outcome != STELE_OK) {
        stele_linux_io_close(io);
        return outcome;
    }
    *out_io = io;
    return STELE_OK;
}

/* Takes both locks, and reads what is there. */
static int begin_change(struct stele_keyring *keyring, struct stele_io **out_io,
                        struct stele_error *err)
{
    if (keyring->read_only) {
        return stele_fail(err, STELE_E_READ_ONLY, 0, "keyring %s: it was opened for reading only",
                          keyring->path);
    }
    struct stele_io *io = NULL;
    int outcome = stele_client__keyring_lock(keyring->path, keyring->alloc, &io, err);
    if (outcome != STELE_OK) {
        return outcome;
    }
    (void)pthread_rwlock_wrlock(&keyring->lock);
    outcome = read_ring(keyring, io, err);
    if (outcome != STELE_OK) {
        (void)pthread_rwlock_unlock(&keyring->lock);
        stele_linux_io_close(io);
        return outcome;
    }
    keyring->broken = STELE_OK;
    *out_io = io;
    return STELE_OK;
}

int stele_client__keyring_write(struct stele_ring *ring, struct stele_io *io,
                                struct stele_error *err)
{
    bool replaced = false;
    void *memory = NULL;
    int outcome = stele_linux_io_share(io, true, LIVE_SIZE, &memory, err);
    if (outcome != STELE_OK) {
        return outcome;
    }
    /* Now the page says 0: whoever looks goes on with what it has, and looks again. */
    outcome = stele_ring_save(ring, io, &replaced, err);
    /* A file that may have been replaced is read again by everybody. */
    const uint64_t tell = outcome == STELE_OK || replaced ? ring->generation : ring->generation - 1;
    atomic_store(&((struct keyring_live *)memory)->generation, tell);
    return outcome;
}

/* Writes the ring if outcome is STELE_OK; whatever fails, what is in memory afterwards is what is in the
 * file. Releases both locks. */
static int end_change(struct stele_keyring *keyring, struct stele_io *io, int outcome,
                      struct stele_error *err)
{
    if (outcome == STELE_OK) {
        outcome = stele_client__keyring_write(&keyring->ring, io, err);
    }
    if (outcome != STELE_OK) {
        keyring->broken = read_ring(keyring, io, NULL);
    }
    (void)pthread_rwlock_unlock(&keyring->lock);
    stele_linux_io_close(io);
    return outcome;
}

/* ---- Opening ---- */

static int init(const char *path, bool read_only, struct stele_keyring **out_keyring,
                struct stele_error *err)
{
    struct stele_alloc *alloc = stele_linux_alloc();
    if (path == NULL || out_keyring == NULL || strlen(path) >= sizeof(*out_keyring)->path) {
        return stele_fail(err, STELE_E_INVALID, 0, "keyring: no path, or one that is too long");
    }
    struct stele_keyring *keyring = stele_allocate_zeroed(alloc, sizeof *keyring);
    if (keyring == NULL) {
        return stele_fail(err, STELE_E_NO_MEMORY, 0, "keyring: no memory");
    }
    keyring->alloc = alloc;
    keyring->ring.alloc = alloc;
    keyring->read_only = read_only;
    memcpy(keyring->path, path, strlen(path) + 1);
    const int failed = pthread_rwlock_init(&keyring->lock, NULL);
    const int outcome = failed == 0
                            ? stele_linux_io_open(path, false, read_only, alloc, &keyring->io, err)
                            : stele_fail(err, STELE_E_NO_MEMORY, failed, "keyring: no lock");
    if (outcome != STELE_OK) {
        stele_release(alloc, keyring, sizeof *keyring);
        return outcome;
    }
    *out_keyring = keyring;
    return STELE_OK;
}

void stele_keyring_close(struct stele_keyring *keyring)
{
    if (keyring == NULL) {
        return;
    }
    struct keyring_policies *policies = atomic_load(&keyring->policies);
    while (policies != NULL) {
        struct keyring_policies *older = policies->older;
        stele_policy_destroy(policies->policy);
        stele_release(keyring->alloc, policies, sizeof *policies);
        policies = older;
    }
    stele_release(keyring->alloc, keyring->condemned,
                  keyring->condemned_capacity * sizeof *keyring->condemned);
    stele_ring_deinit(&keyring->ring);
    stele_linux_io_close(keyring->io);
    (void)pthread_rwlock_destroy(&keyring->lock);
    stele_release(keyring->alloc, keyring, sizeof *keyring);
}

int stele_keyring_create(const char *path, const struct stele_master *master,
                         struct stele_keyring **out_keyring, struct stele_error *err)
{
    if (out_keyring == NULL) {
        return stele_fail(err, STELE_E_INVALID, 0, "stele_keyring_create: an argument is NULL");
    }
    struct stele_ring_secret secret;
    struct stele_keyring *keyring = NULL;
    struct stele_file *file = NULL;
    int outcome = stele_client__keyring_secret(master, &secret, err);
    if (outcome == STELE_OK && path == NULL) {
        outcome = stele_fail(err, STELE_E_INVALID, 0, "keyring: no path");
    }
    if (outcome != STELE_OK) {
        return outcome;
    }
    if (mkdir(path, 0700) != 0 && errno != EEXIST) {
        return stele_fail(err, errno == EACCES ? STELE_E_PERMISSION : STELE_E_IO, errno,
                          "keyring %.300s: the directory cannot be made", path);
    }
    outcome = init(path, false, &keyring, err);
    if (outcome != STELE_OK) {
        return outcome;
    }
    struct stele_io *io = NULL;
    uint8_t random[128];
    outcome = stele_client__keyring_lock(path, keyring->alloc, &io, err);
    if (outcome == STELE_OK) {
        outcome = io->ops->open(io, STELE_RING_FILE, false, &file, err);
        if (outcome == STELE_OK) {
            io->ops->close(file);
            outcome = stele_fail(err, STELE_E_INVALID, 0,
                                 "keyring %.300s: there is one already; nothing was changed", path);
        } else if (outcome == STELE_NOT_FOUND) {
            io->ops->random(io, random, sizeof random);
            outcome = stele_ring_init(&keyring->ring, keyring->alloc, &secret, random, err);
            sodium_memzero(random, sizeof random);
        }
        (void)pthread_rwlock_wrlock(&keyring->lock);
        outcome = end_change(keyring, io, outcome, err);
    }
    if (outcome != STELE_OK) {
        stele_keyring_close(keyring);
        return outcome;
    }
    map_live(keyring);
    *out_keyring = keyring;
    return STELE_OK;
}

static int read_policy(struct stele_keyring *keyring, struct stele_error *err)
{
    struct stele_file *file = NULL;
    struct stele_io *io = keyring->io;
    uint64_t size = 0;
    size_t got = 0;
    int outcome = io->ops->open(io, POLICY_FILE, false, &file, err);
    if (outcome != STELE_OK) {
        return outcome == STELE_NOT_FOUND ? STELE_OK : outcome;
    }
    char *json = NULL;
    outcome = io->ops->size(file, &size, err);
    if (outcome == STELE_OK && size > STELE_POLICY_SIZE_MAX) {
        outcome = stele_fail(err, STELE_E_INVALID, 0, "policy: larger than %zu bytes",
                             STELE_POLICY_SIZE_MAX);
    }
    if (outcome == STELE_OK) {
        json = stele_allocate(keyring->alloc, (size_t)size + 1);
        outcome = json != NULL ? io->ops->read(file, 0, json, (size_t)size, false, &got, err)
                               : stele_fail(err, STELE_E_NO_MEMORY, 0, "policy: no memory");
    }
    io->ops->close(file);
    if (outcome == STELE_OK) {
        outcome = stele_keyring_set_policy(keyring, json, got, err);
    }
    stele_release(keyring->alloc, json, (size_t)size + 1);
    return outcome;
}

int stele_keyring_open(const char *path, const struct stele_master *master, int read_only,
                       struct stele_keyring **out_keyring, struct stele_error *err)
{
    struct stele_ring_secret secret;
    struct stele_keyring *keyring = NULL;
    int outcome = stele_client__keyring_secret(master, &secret, err);
    if (outcome == STELE_OK) {
        outcome = init(path, read_only != 0, &keyring, err);
    }
    if (outcome != STELE_OK) {
        return outcome;
    }
    /* Mapped before reading: a change that comes between is seen as one. */
    map_live(keyring);
    keyring->live_tried_at_us = now_us(keyring);
    outcome = stele_ring_load(keyring->io, &secret, keyring->alloc, &keyring->ring, err);
    if (outcome == STELE_NOT_FOUND) {
        (void)stele_fail(err, outcome, 0,
                         "keyring %.300s: there is none; `stele keys init` makes one", path);
    }
    if (outcome == STELE_OK) {
        outcome = read_policy(keyring, err);
    }
    if (outcome != STELE_OK) {
        stele_keyring_close(keyring);
        return outcome;
    }
    *out_keyring = keyring;
    return STELE_OK;
}

static int check(const struct stele_keyring *keyring, struct stele_error *err)
{
    return keyring != NULL ? STELE_OK : stele_fail(err, STELE_E_INVALID, 0, "the keyring is NULL");
}

int stele_keyring_info(struct stele_keyring *keyring, struct stele_keyring_info *out_info,
                       struct stele_error *err)
{
    if (out_info == NULL) {
        return stele_fail(err, STELE_E_INVALID, 0, "stele_keyring_info: an argument is NULL");
    }
    int outcome = check(keyring, err);
    if (outcome == STELE_OK) {
        outcome = lock_fresh(keyring, err);
    }
    if (outcome != STELE_OK) {
        return outcome;
    }
    const struct stele_ring *ring = &keyring->ring;
    *out_info = (struct stele_keyring_info){
        .generation = ring->generation,
        .written_us = ring->written_us,
        .live = ring->live,
        .erased = ring->count - ring->live,
        .passphrase = ring->derivation == STELE_RING_PASSPHRASE,
    };
    memcpy(out_info->id, ring->id, 16);
    memcpy(out_info->public_key, ring->public_key, 32);
    (void)pthread_rwlock_unlock(&keyring->lock);
    return STELE_OK;
}

int stele_keyring_list(struct stele_keyring *keyring, stele_subject_callback on_subject,
                       void *context, struct stele_error *err)
{
    int outcome = check(keyring, err);
    if (outcome == STELE_OK) {
        outcome = lock_fresh(keyring, err);
    }
    if (outcome != STELE_OK) {
        return outcome;
    }
    for (uint32_t i = 0; i < keyring->ring.count; i++) {
        const struct stele_ring_entry *entry = &keyring->ring.entries[i];
        struct stele_subject subject = {
            .name = {entry->name, entry->name_size},
            .created_us = entry->created_us,
            .erased_us = entry->erased_us,
        };
        memcpy(subject.key_id, entry->id, 16);
        if (on_subject(context, &subject) != 0) {
            break;
        }
    }
    (void)pthread_rwlock_unlock(&keyring->lock);
    return STELE_OK;
}

/* ---- Keys ---- */

int stele_client__keyring_key(struct stele_keyring *keyring, const uint8_t id[16],
                              uint8_t out_key[32], enum keyring_find *out_find,
                              struct stele_error *err)
{
    const int outcome = lock_fresh(keyring, err);
    if (outcome != STELE_OK) {
        return outcome;
    }
    const struct stele_ring_entry *entry = stele_ring_by_id(&keyring->ring, id);
    *out_find = entry == NULL ? KEYRING_MISSING : entry->is_erased ? KEYRING_ERASED : KEYRING_LIVE;
    if (*out_find == KEYRING_LIVE) {
        memcpy(out_key, entry->key, 32);
    }
    (void)pthread_rwlock_unlock(&keyring->lock);
    return STELE_OK;
}

static int fail_shredded(struct stele_error *err)
{
    return stele_fail(err, STELE_E_KEY, 0,
                      "the subject was shredded, and nothing can be sealed for it; if it is a new "
                      "one, give it another name");
}

int stele_client__keyring_subject(struct stele_keyring *keyring, const char *subject,
                                  uint8_t out_id[16], uint8_t out_key[32], struct stele_error *err)
{
    int outcome = lock_fresh(keyring, err);
    if (outcome != STELE_OK) {
        return outcome;
    }
    const struct stele_ring_entry *entry = stele_ring_find(&keyring->ring, subject);
    if (entry == NULL) {
        outcome = STELE_NOT_FOUND;
    } else if (entry->is_erased) {
        outcome = fail_shredded(err);
    } else {
        memcpy(out_id, entry->id, 16);
        memcpy(out_key, entry->key, 32);
    }
    (void)pthread_rwlock_unlock(&keyring->lock);
    return outcome;
}

/* Under the locks of a change. */
static int add_one(struct stele_keyring *keyring, const char *subject, struct stele_error *err)
{
    uint8_t random[48];
    const struct stele_ring_entry *entry =
        stele_ring_is_name(subject) ? stele_ring_find(&keyring->ring, subject) : NULL;
    if (entry != NULL) {
        return entry->is_erased ? fail_shredded(err) : STELE_OK;
    }
    keyring->io->ops->random(keyring->io, random, sizeof random);
    const int outcome = stele_ring_add(&keyring->ring, subject, now_us(keyring), random, err);
    sodium_memzero(random, sizeof random);
    return outcome;
}

int stele_keyring_add(struct stele_keyring *keyring, const char *const *subjects, size_t count,
                      struct stele_error *err)
{
    struct stele_io *io = NULL;
    int outcome = check(keyring, err);
    for (size_t i = 0; i < count && outcome == STELE_OK; i++) {
        if (subjects == NULL || subjects[i] == NULL) {
            outcome = stele_fail(err, STELE_E_INVALID, 0, "keyring: a subject is NULL");
        }
    }
    if (outcome == STELE_OK) {
        outcome = begin_change(keyring, &io, err);
    }
    if (outcome != STELE_OK) {
        return outcome;
    }
    const uint32_t before = keyring->ring.count;
    for (size_t i = 0; i < count && outcome == STELE_OK; i++) {
        outcome = add_one(keyring, subjects[i], err);
    }
    if (outcome == STELE_OK && keyring->ring.count == before) {
        (void)pthread_rwlock_unlock(&keyring->lock);
        stele_linux_io_close(io);
        return STELE_OK;
    }
    return end_change(keyring, io, outcome, err);
}

int stele_keyring_rewrap(struct stele_keyring *keyring, const struct stele_master *master,
                         struct stele_error *err)
{
    struct stele_ring_secret secret;
    struct stele_io *io = NULL;
    uint8_t random[16];
    int outcome = check(keyring, err);
    if (outcome == STELE_OK) {
        outcome = stele_client__keyring_secret(master, &secret, err);
    }
    if (outcome == STELE_OK) {
        outcome = begin_change(keyring, &io, err);
    }
    if (outcome != STELE_OK) {
        return outcome;
    }
    STELE_ASSERT(
        io != NULL); /* begin_change() has said so; compilers that optimise much cannot see it. */
    io->ops->random(io, random, sizeof random);
    outcome = stele_ring_rewrap(&keyring->ring, &secret, random, err);
    return end_change(keyring, io, outcome, err);
}

/* Under the lock. */
static int remember_condemned(struct stele_keyring *keyring,
                              const struct stele_erasure_record *record)
{
    if (keyring->condemned_count == keyring->condemned_capacity) {
        const size_t size = sizeof *keyring->condemned;
        const size_t capacity =
            keyring->condemned_capacity == 0 ? 16 : keyring->condemned_capacity * 2;
        struct keyring_condemned *grown =
            keyring->alloc->reallocate(keyring->alloc, keyring->condemned,
                                       keyring->condemned_capacity * size, capacity * size);
        if (grown == NULL) {
            return STELE_E_NO_MEMORY;
        }
        keyring->condemned = grown;
        keyring->condemned_capacity = capacity;
    }
    struct keyring_condemned *last = &keyring->condemned[keyring->condemned_count++];
    memcpy(last->id, record->key_id, 16);
    last->erased_us = record->erased_us;
    return STELE_OK;
}

int stele_client__keyring_condemn(struct stele_keyring *keyring,
                                  const struct stele_erasure_record *records, size_t count,
                                  uint32_t *out_erased, struct stele_error *err)
{
    uint32_t erased = 0;
    int outcome = lock_fresh(keyring, err);
    if (outcome != STELE_OK) {
        return outcome;
    }
    (void)pthread_rwlock_unlock(&keyring->lock);
    (void)pthread_rwlock_wrlock(&keyring->lock);
    for (size_t i = 0; i < count && outcome == STELE_OK; i++) {
        const struct stele_ring_entry *entry = stele_ring_by_id(&keyring->ring, records[i].key_id);
        const bool ours = sodium_memcmp(records[i].keyring_id, keyring->ring.id, 16) == 0 &&
                          stele_erasure_is_valid(&records[i], keyring->ring.public_key);
        if (!ours || entry == NULL || entry->is_erased) {
            continue;
        }
        outcome = remember_condemned(keyring, &records[i]);
        erased += stele_ring_erase(&keyring->ring, records[i].key_id, records[i].erased_us) ? 1 : 0;
    }
    (void)pthread_rwlock_unlock(&keyring->lock);
    if (outcome != STELE_OK) {
        return stele_fail(err, outcome, 0, "keyring: no memory for erasure records");
    }
    *out_erased += erased;
    if (erased > 0 && !keyring->read_only) {
        /* Erased for this process already; in the file as well, if it can be. What is read there is erased
         * as a part of reading. */
        struct stele_io *io = NULL;
        outcome = begin_change(keyring, &io, err);
        if (outcome == STELE_OK) {
            outcome = end_change(keyring, io, STELE_OK, err);
        }
    }
    return outcome;
}

int stele_client__keyring_shred(struct stele_keyring *keyring, const char *subject,
                                struct stele_erasure_record *out_record, bool *out_repeated,
                                struct stele_error *err)
{
    struct stele_io *io = NULL;
    int outcome = begin_change(keyring, &io, err);
    if (outcome != STELE_OK) {
        return outcome;
    }
    const struct stele_ring_entry *entry = stele_ring_find(&keyring->ring, subject);
    *out_repeated = entry != NULL && entry->is_erased;
    if (entry == NULL || entry->is_erased) {
        outcome = entry != NULL ? STELE_OK
                                : stele_fail(err, STELE_NOT_FOUND, 0,
                                             "the keyring never had this subject; `stele keys "
                                             "list` shows whom it has");
    } else {
        (void)stele_ring_erase(&keyring->ring, entry->id, now_us(keyring));
    }
    if (outcome == STELE_OK) {
        *out_record = (struct stele_erasure_record){.erased_us = entry->erased_us};
        memcpy(out_record->keyring_id, keyring->ring.id, 16);
        memcpy(out_record->key_id, entry->id, 16);
        memcpy(out_record->subject_hash, entry->hash, 32);
        stele_erasure_sign(out_record, keyring->ring.seed);
    }
    if (outcome != STELE_OK || *out_repeated) {
        (void)pthread_rwlock_unlock(&keyring->lock);
        stele_linux_io_close(io);
        return outcome;
    }
    return end_change(keyring, io, STELE_OK, err);
}

/* ---- Policies ---- */

const struct stele_policy_rule *stele_client__keyring_rule(struct stele_keyring *keyring,
                                                           const char *type)
{
    const struct keyring_policies *policies = atomic_load(&keyring->policies);
    return policies == NULL || type == NULL
               ? NULL
               : stele_policy_find(policies->policy, stele_bytes_of_text(type));
}

int stele_keyring_set_policy(struct stele_keyring *keyring, const char *json, size_t size,
                             struct stele_error *err)
{
    struct stele_policy *policy = NULL;
    int outcome = check(keyring, err);
    if (outcome == STELE_OK && json == NULL) {
        outcome = stele_fail(err, STELE_E_INVALID, 0, "policy: it is NULL");
    }
    if (outcome == STELE_OK) {
        outcome = stele_policy_create((struct stele_bytes){(const uint8_t *)json, size},
                                      keyring->alloc, &policy, err);
    }
    if (outcome != STELE_OK) {
        return outcome;
    }
    struct keyring_policies *policies = stele_allocate(keyring->alloc, sizeof *policies);
    if (policies == NULL) {
        stele_policy_destroy(policy);
        return stele_fail(err, STELE_E_NO_MEMORY, 0, "policy: no memory");
    }
    policies->policy = policy;
    policies->older = atomic_load(&keyring->policies);
    while (!atomic_compare_exchange_weak(&keyring->policies, &policies->older, policies)) {
    }
    return STELE_OK;
}

static int write_policy(struct stele_io *io, struct stele_bytes json, struct stele_error *err)
{
    struct stele_file *file = NULL;
    int outcome = io->ops->create(io, POLICY_FILE_NEW, json.size, false, &file, err);
    if (outcome != STELE_OK) {
        return outcome;
    }
    outcome = io->ops->write(file, 0, json, err);
    if (outcome == STELE_OK) {
        outcome = io->ops->sync(file, err);
    }
    io->ops->close(file);
    if (outcome == STELE_OK) {
        outcome = io->ops->rename(io, POLICY_FILE_NEW, POLICY_FILE, err);
    }
    return outcome == STELE_OK ? io->ops->sync_names(io, err) : outcome;
}

int stele_keyring_save_policy(struct stele_keyring *keyring, const char *json, size_t size,
                              struct stele_error *err)
{
    struct stele_policy *policy = NULL;
    struct stele_io *io = NULL;
    int outcome = check(keyring, err);
    if (outcome != STELE_OK) {
        return outcome;
    }
    const struct stele_bytes bytes = {(const uint8_t *)json, json == NULL ? 0 : size};
    outcome = stele_policy_create(bytes, keyring->alloc, &policy, err);
    stele_policy_destroy(policy);
    if (outcome == STELE_OK) {
        outcome = stele_client__keyring_lock(keyring->path, keyring->alloc, &io, err);
    }
    if (outcome == STELE_OK) {
        outcome = write_policy(io, bytes, err);
        stele_linux_io_close(io);
    }
    return outcome == STELE_OK ? stele_keyring_set_policy(keyring, json, size, err) : outcome;
}
