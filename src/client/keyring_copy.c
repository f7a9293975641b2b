/* Backup and restore of a keyring. */
#include "client/keyring.h"

#include <errno.h>
#include <sys/stat.h>

#define STRANGER_SIZE 32 /* Of a keyring's file, to tell whose it is: up to the end of its id. */

static int make_directory(const char *path, struct stele_error *err)
{
    if (mkdir(path, 0700) == 0 || errno == EEXIST) {
        return STELE_OK;
    }
    return stele_fail(err, errno == EACCES ? STELE_E_PERMISSION : STELE_E_IO, errno,
                      "keyring %.300s: the directory cannot be made", path);
}

/* What lies there already has to be a copy of the same keyring. */
static int check_target(struct stele_io *io, const char *path, struct stele_bytes bytes,
                        struct stele_error *err)
{
    struct stele_buf there = {.size = 0};
    int outcome = stele_ring_read(io, io->alloc, &there, err);
    if (outcome == STELE_NOT_FOUND) {
        return STELE_OK;
    }
    if (outcome == STELE_OK &&
        (there.size < STRANGER_SIZE || memcmp(there.data + 16, bytes.data + 16, 16) != 0)) {
        outcome =
            stele_fail(err, STELE_E_INVALID, 0,
                       "keyring %.300s: another keyring lies there; nothing was written", path);
    }
    stele_buf_deinit(&there, io->alloc);
    return outcome;
}

static int write_copy(const char *path, struct stele_alloc *alloc, struct stele_bytes bytes,
                      struct stele_error *err)
{
    struct stele_io *io = NULL;
    int outcome = make_directory(path, err);
    if (outcome == STELE_OK) {
        outcome = stele_client__keyring_lock(path, alloc, &io, err);
    }
    if (outcome != STELE_OK) {
        return outcome;
    }
    outcome = check_target(io, path, bytes, err);
    if (outcome == STELE_OK) {
        outcome = stele_ring_write(io, bytes, err);
    }
    stele_linux_io_close(io);
    return outcome;
}

int stele_keyring_backup(struct stele_keyring *keyring, const char *path, struct stele_error *err)
{
    struct stele_buf bytes = {.size = 0};
    struct stele_io *io = NULL;
    if (keyring == NULL || path == NULL) {
        return stele_fail(err, STELE_E_INVALID, 0, "keyring: nothing to copy, or no path");
    }
    /* Under the lock, because a change overwrites the file before it. */
    int outcome = keyring->read_only
                      ? STELE_OK
                      : stele_client__keyring_lock(keyring->path, keyring->alloc, &io, err);
    if (outcome == STELE_OK) {
        outcome = stele_ring_read(keyring->io, keyring->alloc, &bytes, err);
    }
    if (io != NULL) {
        stele_linux_io_close(io);
    }
    const struct stele_bytes read = {bytes.data, bytes.size};
    if (outcome == STELE_OK) {
        struct stele_ring copy = {.alloc = keyring->alloc};
        (void)pthread_rwlock_rdlock(&keyring->lock);
        const struct stele_ring_secret secret = {.known = &keyring->ring};
        outcome = stele_ring_decode(read, &secret, keyring->alloc, &copy, err);
        (void)pthread_rwlock_unlock(&keyring->lock);
        stele_ring_deinit(&copy);
    }
    if (outcome == STELE_OK) {
        outcome = write_copy(path, keyring->alloc, read, err);
    }
    stele_buf_deinit(&bytes, keyring->alloc);
    return outcome;
}

/* What the keyring that is there knows better: what it erased, and subjects that came later. */
static int merge(struct stele_ring *ring, const struct stele_ring *there, uint32_t *erased,
                 struct stele_error *err)
{
    int outcome = STELE_OK;
    for (uint32_t i = 0; i < there->count && outcome == STELE_OK; i++) {
        const struct stele_ring_entry *entry = &there->entries[i];
        const struct stele_ring_entry *own = stele_ring_by_id(ring, entry->id);
        if (own == NULL) {
            outcome = stele_ring_adopt(ring, entry, err);
        } else if (entry->is_erased && stele_ring_erase(ring, entry->id, entry->erased_us)) {
            (*erased)++;
        }
    }
    ring->generation = there->generation > ring->generation ? there->generation : ring->generation;
    return outcome;
}

static int restore_into(struct stele_io *io, const char *path,
                        const struct stele_ring_secret *secret, struct stele_ring *ring,
                        uint32_t *erased, struct stele_error *err)
{
    struct stele_ring there = {.alloc = ring->alloc};
    int outcome = stele_ring_load(io, secret, ring->alloc, &there, err);
    if (outcome == STELE_OK && memcmp(there.id, ring->id, 16) != 0) {
        outcome =
            stele_fail(err, STELE_E_INVALID, 0,
                       "keyring %.300s: another keyring lies there; nothing was changed", path);
    } else if (outcome == STELE_OK) {
        outcome = merge(ring, &there, erased, err);
    } else if (outcome == STELE_NOT_FOUND || outcome == STELE_E_CORRUPT ||
               outcome == STELE_E_FORMAT) {
        outcome = STELE_OK; /* That is what backups are for. */
    }
    stele_ring_deinit(&there);
    return outcome == STELE_OK ? stele_client__keyring_write(ring, io, err) : outcome;
}

int stele_keyring_restore(const char *path, const char *backup, const struct stele_master *master,
                          uint32_t *out_erased, struct stele_error *err)
{
    struct stele_alloc *alloc = stele_linux_alloc();
    struct stele_ring_secret secret;
    struct stele_ring ring = {.alloc = alloc};
    struct stele_io *io = NULL;
    uint32_t erased = 0;
    int outcome = stele_client__keyring_secret(master, &secret, err);
    if (outcome == STELE_OK && (path == NULL || backup == NULL)) {
        outcome = stele_fail(err, STELE_E_INVALID, 0, "keyring: no path");
    }
    if (outcome == STELE_OK) {
        outcome = stele_linux_io_open(backup, false, true, alloc, &io, err);
    }
    if (outcome == STELE_OK) {
        outcome = stele_ring_load(io, &secret, alloc, &ring, err);
        stele_linux_io_close(io);
        io = NULL;
        if (outcome == STELE_NOT_FOUND) {
            outcome = stele_fail(err, outcome, 0, "keyring: there is no backup in %.300s", backup);
        }
    }
    if (outcome == STELE_OK) {
        outcome = make_directory(path, err);
    }
    if (outcome == STELE_OK) {
        outcome = stele_client__keyring_lock(path, alloc, &io, err);
    }
    if (outcome == STELE_OK) {
        outcome = restore_into(io, path, &secret, &ring, &erased, err);
        stele_linux_io_close(io);
    }
    stele_ring_deinit(&ring);
    if (outcome == STELE_OK && out_erased != NULL) {
        *out_erased = erased;
    }
    return outcome;
}
