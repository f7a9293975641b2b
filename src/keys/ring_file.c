/* The keyring in a directory: written anew as a whole, then the one before is overwritten.
 *
 *     keyring.new: create, write, sync ─▶ rename to keyring ─▶ sync of names ─▶ zeros over the old file, sync
 *
 * A crash before the rename leaves the old file, after it the new one. Between the rename and the zeros the old
 * file has no name, and only its blocks on the device are left; it is encrypted. A keyring.new that a crash
 * left behind is overwritten with zeros before the next one is made. */
#include "keys/ring.h"

#include <sodium.h>

#define ZEROS_SIZE ((size_t)64 * 1024)

int stele_ring_read(struct stele_io *io, struct stele_alloc *alloc, struct stele_buf *out,
                    struct stele_error *err)
{
    struct stele_file *file = NULL;
    uint64_t size = 0;
    size_t got = 0;
    int outcome = io->ops->open(io, STELE_RING_FILE, false, &file, err);
    if (outcome != STELE_OK) {
        return outcome;
    }
    outcome = io->ops->size(file, &size, err);
    if (outcome == STELE_OK && size > STELE_RING_SIZE_MAX) {
        outcome =
            stele_fail(err, STELE_E_FORMAT, 0, "keyring: the file has %llu bytes and is no keyring",
                       (unsigned long long)size);
    }
    if (outcome == STELE_OK && stele_buf_reserve(out, alloc, (size_t)size + 1) != STELE_OK) {
        outcome = stele_fail(err, STELE_E_NO_MEMORY, 0, "keyring: no memory to read it");
    }
    if (outcome == STELE_OK) {
        outcome = io->ops->read(file, 0, out->data + out->size, (size_t)size, false, &got, err);
        out->size += outcome == STELE_OK ? got : 0;
    }
    io->ops->close(file);
    return outcome;
}

int stele_ring_load(struct stele_io *io, const struct stele_ring_secret *secret,
                    struct stele_alloc *alloc, struct stele_ring *ring, struct stele_error *err)
{
    struct stele_buf bytes = {.size = 0};
    int outcome = stele_ring_read(io, alloc, &bytes, err);
    if (outcome == STELE_OK) {
        outcome = stele_ring_decode((struct stele_bytes){bytes.data, bytes.size}, secret, alloc,
                                    ring, err);
    }
    stele_buf_deinit(&bytes, alloc);
    return outcome;
}

/* Best effort on disks that do not overwrite; an error is one all the same. */
static int overwrite(struct stele_file *file, struct stele_error *err)
{
    static const uint8_t zeros[ZEROS_SIZE];
    struct stele_io *io = file->io;
    uint64_t size = 0;
    int outcome = io->ops->size(file, &size, err);
    for (uint64_t at = 0; outcome == STELE_OK && at < size; at += ZEROS_SIZE) {
        const uint64_t left = size - at;
        outcome = io->ops->write(
            file, at, (struct stele_bytes){zeros, left < ZEROS_SIZE ? (size_t)left : ZEROS_SIZE},
            err);
    }
    return outcome == STELE_OK ? io->ops->sync(file, err) : outcome;
}

static int overwrite_name(struct stele_io *io, const char *name, struct stele_error *err)
{
    struct stele_file *file = NULL;
    int outcome = io->ops->open(io, name, true, &file, err);
    if (outcome == STELE_NOT_FOUND) {
        return STELE_OK;
    }
    if (outcome == STELE_OK) {
        outcome = overwrite(file, err);
        io->ops->close(file);
    }
    return outcome;
}

static int write_new(struct stele_io *io, struct stele_bytes bytes, struct stele_error *err)
{
    struct stele_file *file = NULL;
    int outcome = overwrite_name(io, STELE_RING_FILE_NEW, err);
    if (outcome == STELE_OK) {
        outcome = io->ops->create(io, STELE_RING_FILE_NEW, bytes.size, false, &file, err);
    }
    if (outcome != STELE_OK) {
        return outcome;
    }
    outcome = io->ops->write(file, 0, bytes, err);
    if (outcome == STELE_OK) {
        outcome = io->ops->sync(file, err);
    }
    io->ops->close(file);
    return outcome;
}

static int replace(struct stele_io *io, struct stele_bytes bytes, bool *out_replaced,
                   struct stele_error *err)
{
    struct stele_file *old = NULL;
    int outcome = write_new(io, bytes, err);
    if (outcome == STELE_OK) {
        outcome = io->ops->open(io, STELE_RING_FILE, true, &old, err);
        outcome = outcome == STELE_NOT_FOUND ? STELE_OK : outcome;
    }
    if (outcome == STELE_OK) {
        /* A rename that is said to have failed may have happened. */
        *out_replaced = true;
        outcome = io->ops->rename(io, STELE_RING_FILE_NEW, STELE_RING_FILE, err);
    }
    if (outcome == STELE_OK) {
        outcome = io->ops->sync_names(io, err);
    }
    if (outcome == STELE_OK && old != NULL) {
        outcome = overwrite(old, err);
    }
    if (old != NULL) {
        io->ops->close(old);
    }
    return outcome;
}

int stele_ring_write(struct stele_io *io, struct stele_bytes bytes, struct stele_error *err)
{
    bool replaced = false;
    return replace(io, bytes, &replaced, err);
}

int stele_ring_save(struct stele_ring *ring, struct stele_io *io, bool *out_replaced,
                    struct stele_error *err)
{
    struct stele_ring_fresh fresh;
    struct stele_buf bytes = {.size = 0};
    *out_replaced = false;
    io->ops->random(io, &fresh, sizeof fresh);
    ring->generation++;
    ring->written_us = io->ops->now_us(io);
    int outcome = stele_ring_encode(ring, &fresh, &bytes, err);
    sodium_memzero(&fresh, sizeof fresh);
    if (outcome == STELE_OK) {
        outcome = replace(io, (struct stele_bytes){bytes.data, bytes.size}, out_replaced, err);
    }
    stele_buf_deinit(&bytes, ring->alloc);
    return outcome;
}
