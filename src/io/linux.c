#include "io/linux_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/* As for files, see linux_call.c. */
#define DIRECTORY_MODE 0750

/* ---- Clock and random numbers ------------------------------------------------------------- */

static int64_t linux_now_us(struct stele_io *io)
{
    (void)io;
    struct timespec now;
    const int result = clock_gettime(CLOCK_REALTIME, &now);
    STELE_ASSERT(result == 0);
    return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

static void linux_random(struct stele_io *io, void *buffer, size_t size)
{
    (void)io;
    uint8_t *at = buffer;
    while (size > 0) {
        const ssize_t got = getrandom(at, size, 0);
        /* Apart from signals it cannot fail, and without random numbers ids are not unique. */
        STELE_ASSERT(got > 0 || errno == EINTR);
        if (got > 0) {
            at += got;
            size -= (size_t)got;
        }
    }
}

static const struct stele_io_ops linux_ops = {
    .create = stele_io__create,
    .open = stele_io__open,
    .close = stele_io__close,
    .size = stele_io__size,
    .write = stele_io__write,
    .sync = stele_io__sync,
    .write_durable = stele_io__write_durable,
    .read = stele_io__read,
    .map = stele_io__map,
    .drop_cache = stele_io__drop_cache,
    .rename = stele_io__rename,
    .remove = stele_io__remove,
    .sync_names = stele_io__sync_names,
    .list = stele_io__list,
    .now_us = linux_now_us,
    .random = linux_random,
};

/* ---- Opening the directory ---------------------------------------------------------------- */

/* Makes the name of the open directory durable, which stands in its parent. -1 with errno. */
static int sync_parent_of(int directory)
{
    const int parent = openat(directory, "..", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (parent < 0) {
        /* One may be allowed to make names in a directory but not to read it. Syncing everything
         * includes it, and takes longer. */
        return errno == EACCES ? syncfs(directory) : -1;
    }
    const int result = fsync(parent);
    const int number = errno;
    (void)close(parent);
    errno = number;
    return result;
}

/* Makes one directory, durably. An existing one is fine. -1 with errno. */
static int make_directory(const char *path)
{
    if (mkdir(path, DIRECTORY_MODE) != 0) {
        return errno == EEXIST ? 0 : -1;
    }
    const int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) {
        return -1;
    }
    const int result = sync_parent_of(fd);
    const int number = errno;
    (void)close(fd);
    errno = number;
    return result;
}

/* Makes the directory and those above it that are missing. path is changed meanwhile. */
static int make_directories(char *path)
{
    for (char *at = path + 1; *at != '\0'; at++) {
        if (*at != '/') {
            continue;
        }
        *at = '\0';
        const int result = make_directory(path);
        *at = '/';
        if (result != 0) {
            return -1;
        }
    }
    return make_directory(path);
}

static int stop_at_first(void *context, const char *name, uint64_t size)
{
    (void)context;
    (void)name;
    (void)size;
    return STELE_END;
}

static int fail_directory(const struct linux_io *io, const char *step, struct stele_error *err)
{
    if (errno == ENOTDIR) {
        return stele_fail(err, STELE_E_NOT_A_STORE, errno, "%s: not a directory", io->path);
    }
    return stele_io__fail_or_not_found(io, "", step, err);
}

static int open_directory(struct linux_io *io, bool create, struct stele_error *err)
{
    const int flags = O_RDONLY | O_DIRECTORY | O_CLOEXEC;
    io->directory = open(io->path, flags);
    if (io->directory < 0 && errno == ENOENT && create && io->path[0] != '\0') {
        if (make_directories(io->path) != 0) {
            return fail_directory(io, "making the directory", err);
        }
        io->directory = open(io->path, flags);
    }
    if (io->directory < 0) {
        return fail_directory(io, "opening the directory", err);
    }
    if (!create) {
        return STELE_OK;
    }
    /* A directory without files may have been made by a process that was killed before it could
     * sync the name, and all that is ever synced in it would be lost together with that name. */
    const int listed = stele_io__list(&io->base, stop_at_first, NULL, err);
    if (listed == STELE_OK && sync_parent_of(io->directory) != 0) {
        return fail_directory(io, "syncing the name of the directory", err);
    }
    return listed == STELE_END ? STELE_OK : listed;
}

int stele_linux_io_open(const char *path, bool create, bool read_only, struct stele_alloc *alloc,
                        struct stele_io **out_io, struct stele_error *err)
{
    STELE_ASSERT(path != NULL);
    STELE_ASSERT(alloc != NULL);

    const size_t path_size = strlen(path) + 1;
    struct linux_io *io = stele_allocate_zeroed(alloc, sizeof *io + path_size);
    if (io == NULL) {
        return stele_fail(err, STELE_E_NO_MEMORY, ENOMEM, "%s: no memory", path);
    }
    io->base.ops = &linux_ops;
    io->base.alloc = alloc;
    io->read_only = read_only;
    io->directory = -1;
    io->lock = -1;
    io->path_size = path_size;
    memcpy(io->path, path, path_size);

    const int outcome = open_directory(io, create && !read_only, err);
    if (outcome != STELE_OK) {
        stele_linux_io_close(&io->base);
        return outcome;
    }
    io->ranges = stele_io__syncs_ranges(io->directory);
    *out_io = &io->base;
    return STELE_OK;
}

void stele_linux_io_close(struct stele_io *base)
{
    if (base == NULL) {
        return;
    }
    struct linux_io *io = stele_io__linux_of(base);
    if (io->shared != NULL) {
        (void)munmap(io->shared, io->shared_size);
    }
    if (io->lock >= 0) {
        /* A child of fork() shares the lock. When it closes its copy, the parent must keep it;
         * when the parent closes, the child that lives on must not. */
        if (io->lock_holder == getpid()) {
            const struct flock unlock = {.l_type = F_UNLCK, .l_whence = SEEK_SET};
            (void)fcntl(io->lock, F_OFD_SETLK, &unlock);
        }
        (void)close(io->lock);
    }
    if (io->directory >= 0) {
        (void)close(io->directory);
    }
    stele_release(io->base.alloc, io, sizeof *io + io->path_size);
}
