#include "io/linux_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define BOUNCE_SIZE_MAX ((size_t)1 << 20)
#define READ_AHEAD_STEP ((uint64_t)256 * 1024)
#define READ_AHEAD_SIZE (2 * READ_AHEAD_STEP)

struct linux_file {
    struct stele_file base;
    int fd;
    bool writable;
    pthread_mutex_t mutex; /* Guards what follows. */
    int direct;            /* The same file with O_DIRECT; -1: not yet, -2: it cannot. */
    void *map;
    size_t map_size;
};

static struct linux_file *linux_file_of(struct stele_file *file)
{
    return (struct linux_file *)file;
}

static int fail_file(const struct linux_file *file, const char *step, struct stele_error *err)
{
    return stele_io__fail_errno(stele_io__linux_of(file->base.io), file->base.name, step, err);
}

/* ---- Opening ------------------------------------------------------------------------------ */

static struct linux_file *new_file(struct linux_io *io, const char *name, bool writable)
{
    struct linux_file *file = stele_allocate_zeroed(io->base.alloc, sizeof *file);
    if (file == NULL) {
        return NULL;
    }
    if (pthread_mutex_init(&file->mutex, NULL) != 0) {
        stele_release(io->base.alloc, file, sizeof *file);
        return NULL;
    }
    file->base.io = &io->base;
    memcpy(file->base.name, name, strlen(name) + 1);
    file->fd = -1;
    file->direct = -1;
    file->writable = writable;
    return file;
}

void stele_io__close(struct stele_file *base)
{
    struct linux_file *file = linux_file_of(base);
    if (file->map != NULL) {
        (void)munmap(file->map, file->map_size);
    }
    if (file->direct >= 0) {
        (void)close(file->direct);
    }
    /* The result says nothing: whoever wanted to know has called sync(). */
    if (file->fd >= 0) {
        (void)close(file->fd);
    }
    (void)pthread_mutex_destroy(&file->mutex);
    stele_release(base->io->alloc, file, sizeof *file);
}

int stele_io__open(struct stele_io *base, const char *name, bool writable,
                   struct stele_file **out_file, struct stele_error *err)
{
    struct linux_io *io = stele_io__linux_of(base);
    const int outcome = stele_io__check_name(io, name, err);
    if (outcome != STELE_OK) {
        return outcome;
    }
    if (writable && io->read_only) {
        return stele_io__refuse(io, name, "opening for writing", err);
    }
    struct linux_file *file = new_file(io, name, writable);
    if (file == NULL) {
        return stele_io__fail_no_memory(io, name, err);
    }
    file->fd = stele_io__open_regular(io, name, writable ? O_RDWR : O_RDONLY);
    if (file->fd < 0) {
        const int failed = stele_io__fail_or_not_found(io, name, "opening", err);
        stele_io__close(&file->base);
        return failed;
    }
    *out_file = &file->base;
    return STELE_OK;
}

int stele_io__size(struct stele_file *base, uint64_t *out_size, struct stele_error *err)
{
    struct linux_file *file = linux_file_of(base);
    struct stat stat;
    if (fstat(file->fd, &stat) != 0) {
        return fail_file(file, "asking for the size", err);
    }
    *out_size = (uint64_t)stat.st_size;
    return STELE_OK;
}

/* ---- Writing ------------------------------------------------------------------------------ */

/* Reserves the space. -1 with errno. */
static int reserve(int fd, uint64_t size)
{
    int result;
    do {
        result = fallocate(fd, 0, 0, (off_t)size);
    } while (result != 0 && errno == EINTR);
    /* Some file systems cannot. Writing the zeros does it, too, only later. */
    return result != 0 && errno != EOPNOTSUPP && errno != ENOSYS ? -1 : 0;
}

/* Past the page cache if on: new blocks are written several times faster that way. Best effort: a
 * file system that cannot is written through the cache. */
static bool set_direct(int fd, bool on)
{
    const int flags = fcntl(fd, F_GETFL);
    return flags >= 0 && fcntl(fd, F_SETFL, on ? flags | O_DIRECT : flags & ~O_DIRECT) == 0;
}

/* The same for a whole file, past the page cache as far as the file system can. -1 with errno. */
static int write_zeros_direct(int fd, uint64_t size)
{
    uint64_t done = 0;
    if (set_direct(fd, true)) {
        const uint64_t aligned = size / STELE_IO__DIRECT_ALIGN * STELE_IO__DIRECT_ALIGN;
        const int result = stele_io__write_zeros(fd, 0, aligned);
        if (result != 0 && errno != EINVAL) {
            return -1;
        }
        /* EINVAL: the disk wants a greater alignment. Then all of it goes by way of the cache. */
        done = result == 0 ? aligned : 0;
        if (!set_direct(fd, false)) {
            return -1;
        }
    }
    return stele_io__write_zeros(fd, done, size);
}

/* Gives a new, empty file its size. NULL, or the step that failed, with errno. */
static const char *fill(int fd, uint64_t size, bool prepare)
{
    if (!prepare) {
        return ftruncate(fd, (off_t)size) != 0 ? "setting the size" : NULL;
    }
    if (size == 0) {
        return NULL;
    }
    /* Reserving first makes the file one run of blocks, and a full disk is known at once rather
     * than after having written half of it. Alone it would not do: blocks that were only reserved
     * are marked as unwritten, and taking that mark away is a change of metadata in every later
     * sync. */
    if (reserve(fd, size) != 0) {
        return "reserving space";
    }
    if (write_zeros_direct(fd, size) != 0) {
        return "writing zeros";
    }
    if (fdatasync(fd) != 0) {
        return "syncing zeros";
    }
    /* The pages are wanted in the cache all the same. Of a large file that is but the beginning;
     * read_ahead_of_writes() sees to the rest. */
    (void)posix_fadvise(fd, 0, (off_t)size, POSIX_FADV_WILLNEED);
    return NULL;
}

int stele_io__create(struct stele_io *base, const char *name, uint64_t size, bool prepare,
                     struct stele_file **out_file, struct stele_error *err)
{
    struct linux_io *io = stele_io__linux_of(base);
    int outcome = stele_io__check_name(io, name, err);
    if (outcome != STELE_OK) {
        return outcome;
    }
    if (io->read_only) {
        return stele_io__refuse(io, name, "creating", err);
    }
    struct linux_file *file = new_file(io, name, true);
    if (file == NULL) {
        return stele_io__fail_no_memory(io, name, err);
    }
    /* Removed rather than truncated: whoever has the old file mapped goes on seeing it, and a link
     * of that name is replaced instead of followed. */
    if (unlinkat(io->directory, name, 0) != 0 && errno != ENOENT) {
        outcome = stele_io__fail_errno(io, name, "replacing", err);
        goto fail;
    }
    file->fd = stele_io__open_regular(io, name, O_RDWR | O_CREAT | O_EXCL);
    if (file->fd < 0) {
        outcome = stele_io__fail_errno(io, name, "creating", err);
        goto fail;
    }
    const char *failed = fill(file->fd, size, prepare);
    if (failed != NULL) {
        outcome = stele_io__fail_errno(io, name, failed, err);
        /* Best effort: a file that is left behind is space lost, not a wrong answer. */
        (void)unlinkat(io->directory, name, 0);
        goto fail;
    }
    *out_file = &file->base;
    return STELE_OK;
fail:
    stele_io__close(&file->base);
    return outcome;
}

/* A write of a few hundred bytes into a page that is not in the cache has to read it from the disk
 * first, which costs as much as the sync that follows. Whoever writes a file from front to back
 * finds its pages there: each step asks for the two after it, the second time for most of them,
 * since the system is free to read less than it was asked for. Best effort. */
static void read_ahead_of_writes(const struct linux_file *file, uint64_t begin, uint64_t end)
{
    if (begin / READ_AHEAD_STEP != end / READ_AHEAD_STEP) {
        (void)posix_fadvise(file->fd, (off_t)end, (off_t)READ_AHEAD_SIZE, POSIX_FADV_WILLNEED);
    }
}

int stele_io__write(struct stele_file *base, uint64_t offset, struct stele_bytes bytes,
                    struct stele_error *err)
{
    struct linux_file *file = linux_file_of(base);
    if (!file->writable) {
        return stele_io__refuse(stele_io__linux_of(base->io), base->name, "writing", err);
    }
    if (stele_io__write_all(file->fd, bytes.data, bytes.size, offset) != 0) {
        return fail_file(file, "writing", err);
    }
    read_ahead_of_writes(file, offset, offset + bytes.size);
    return STELE_OK;
}

/* Also when the disk is full: STELE_E_NO_SPACE would say that nothing has happened and trying again
 * is fine. */
static int fail_sync(const struct linux_file *file, const char *step, struct stele_error *err)
{
    (void)fail_file(file, step, err);
    if (err != NULL) {
        err->outcome = STELE_E_IO;
    }
    return STELE_E_IO;
}

int stele_io__sync(struct stele_file *base, struct stele_error *err)
{
    struct linux_file *file = linux_file_of(base);
    if (!file->writable) {
        return stele_io__refuse(stele_io__linux_of(base->io), base->name, "syncing", err);
    }
    /* Once, also for EINTR: after a failure the kernel may have dropped the dirty pages, and the
     * next call would report success for data that is nowhere. */
    return fdatasync(file->fd) != 0 ? fail_sync(file, "syncing", err) : STELE_OK;
}

int stele_io__write_durable(struct stele_file *base, uint64_t offset, struct stele_bytes bytes,
                            struct stele_error *err)
{
    struct linux_file *file = linux_file_of(base);
    if (!file->writable) {
        return stele_io__refuse(stele_io__linux_of(base->io), base->name, "writing", err);
    }
    if (stele_io__linux_of(base->io)->ranges) {
        if (stele_io__write_all_durable(file->fd, bytes.data, bytes.size, offset) != 0) {
            return fail_sync(file, "writing durably", err);
        }
    } else {
        if (stele_io__write_all(file->fd, bytes.data, bytes.size, offset) != 0) {
            return fail_sync(file, "writing", err);
        }
        if (fdatasync(file->fd) != 0) {
            return fail_sync(file, "syncing", err);
        }
    }
    read_ahead_of_writes(file, offset, offset + bytes.size);
    return STELE_OK;
}

/* ---- Reading ------------------------------------------------------------------------------ */

static bool is_same(int fd, int other)
{
    struct stat stat;
    struct stat other_stat;
    return fstat(fd, &stat) == 0 && fstat(other, &other_stat) == 0 &&
           stat.st_dev == other_stat.st_dev && stat.st_ino == other_stat.st_ino;
}

/* By its name, which may be another file's by now; then by its descriptor. The other way round would
 * do but for processes that may not be dumped: their /proc/self/fd belongs to root. */
static int open_again(const struct linux_file *file)
{
    const int by_name = stele_io__open_regular(stele_io__linux_of(file->base.io), file->base.name,
                                               O_RDONLY | O_DIRECT);
    if (by_name >= 0 && is_same(by_name, file->fd)) {
        return by_name;
    }
    if (by_name >= 0) {
        (void)close(by_name);
    }
    char path[sizeof "/proc/self/fd/" + 3 * sizeof(int)];
    (void)snprintf(path, sizeof path, "/proc/self/fd/%d", file->fd);
    return open(path, O_RDONLY | O_DIRECT | O_CLOEXEC);
}

/* The file opened once more, for reading past the page cache. -1 if it cannot be. */
static int direct_of(struct linux_file *file)
{
    (void)pthread_mutex_lock(&file->mutex);
    if (file->direct == -1) {
        const int fd = open_again(file);
        file->direct = fd >= 0 ? fd : -2;
    }
    const int direct = file->direct;
    (void)pthread_mutex_unlock(&file->mutex);
    return direct >= 0 ? direct : -1;
}

/* What a direct read means that stopped at offset without a byte of use: 0 if the file ends there,
 * otherwise -1 with errno, EINVAL because going on would take an offset that is not aligned. */
static ssize_t direct_end(int fd, uint64_t offset)
{
    struct stat stat;
    if (fstat(fd, &stat) != 0) {
        return -1;
    }
    if ((uint64_t)stat.st_size > offset) {
        errno = EINVAL;
        return -1;
    }
    return 0;
}

/* One piece of a direct read: at most BOUNCE_SIZE_MAX with the ends cut to what is aligned. bounce
 * is aligned. Returns the bytes copied to data, 0 at the end of the file, -1 with errno. */
static ssize_t read_direct_piece(int fd, uint8_t *bounce, uint8_t *data, size_t size,
                                 uint64_t offset)
{
    const size_t skip = (size_t)(offset % STELE_IO__DIRECT_ALIGN);
    const size_t most = BOUNCE_SIZE_MAX - skip;
    const size_t wanted = size < most ? size : most;
    const size_t covered = (size_t)stele_align_up(skip + wanted, STELE_IO__DIRECT_ALIGN);
    STELE_ASSERT(covered <= BOUNCE_SIZE_MAX);

    ssize_t got;
    do {
        got = pread(fd, bounce, covered, (off_t)(offset - skip));
    } while (got < 0 && errno == EINTR);
    if (got < 0) {
        return -1;
    }
    if ((size_t)got <= skip) {
        return direct_end(fd, offset - skip + (uint64_t)got);
    }
    const size_t useful = (size_t)got - skip;
    const size_t copied = useful < wanted ? useful : wanted;
    memcpy(data, bounce + skip, copied);
    return (ssize_t)copied;
}

/* Like stele_io__read_all(), past the page cache. -1 with errno; EINVAL: this file system cannot. */
static ssize_t read_all_direct(int fd, uint8_t *bounce, uint8_t *data, size_t size, uint64_t offset)
{
    size_t done = 0;
    while (done < size) {
        /* A piece that is cut short by something else than the end of the file is followed by
         * one that begins where it stopped. */
        const ssize_t got = read_direct_piece(fd, bounce, data + done, size - done, offset + done);
        if (got < 0) {
            return -1;
        }
        if (got == 0) {
            break;
        }
        done += (size_t)got;
    }
    return (ssize_t)done;
}

/* STELE_E_UNSUPPORTED, which the caller keeps to itself: the file system cannot. */
static int read_direct(struct linux_file *file, uint64_t offset, uint8_t *data, size_t size,
                       size_t *out_size, struct stele_error *err)
{
    const int fd = direct_of(file);
    if (fd < 0) {
        return STELE_E_UNSUPPORTED;
    }
    const size_t needed =
        (size_t)stele_align_up(size, STELE_IO__DIRECT_ALIGN) + STELE_IO__DIRECT_ALIGN;
    const size_t bounce_size = needed < BOUNCE_SIZE_MAX ? needed : BOUNCE_SIZE_MAX;
    /* The allocator aligns less than the disk wants; what it gives is aligned by hand. */
    const size_t memory_size = bounce_size + STELE_IO__DIRECT_ALIGN;
    struct stele_alloc *alloc = file->base.io->alloc;
    void *memory = stele_allocate(alloc, memory_size);
    if (memory == NULL) {
        return stele_io__fail_no_memory(stele_io__linux_of(file->base.io), file->base.name, err);
    }
    uint8_t *bounce = (uint8_t *)memory + (-(uintptr_t)memory & (STELE_IO__DIRECT_ALIGN - 1));
    int outcome = STELE_OK;
    const ssize_t got = read_all_direct(fd, bounce, data, size, offset);
    if (got >= 0) {
        *out_size = (size_t)got;
    } else if (errno == EINVAL) {
        outcome = STELE_E_UNSUPPORTED;
    } else {
        outcome = fail_file(file, "reading from the device", err);
    }
    stele_release(alloc, memory, memory_size);
    return outcome;
}

void stele_io__drop_cache(struct stele_file *base)
{
    (void)posix_fadvise(linux_file_of(base)->fd, 0, 0, POSIX_FADV_DONTNEED);
}

int stele_io__read(struct stele_file *base, uint64_t offset, void *buffer, size_t size, bool direct,
                   size_t *out_size, struct stele_error *err)
{
    struct linux_file *file = linux_file_of(base);
    if (direct) {
        const int outcome = read_direct(file, offset, buffer, size, out_size, err);
        if (outcome != STELE_E_UNSUPPORTED) {
            return outcome;
        }
        stele_io__drop_cache(base); /* The next best thing. */
    }
    const ssize_t got = stele_io__read_all(file->fd, buffer, size, offset);
    if (got < 0) {
        return fail_file(file, "reading", err);
    }
    *out_size = (size_t)got;
    return STELE_OK;
}

static int map_first(struct linux_file *file, uint64_t size, struct stele_error *err)
{
    uint64_t file_size = 0;
    const int outcome = stele_io__size(&file->base, &file_size, err);
    if (outcome != STELE_OK) {
        return outcome;
    }
    /* Touching a mapping behind the end of the file kills the process. */
    if (size > file_size) {
        return stele_fail(err, STELE_E_IO, 0, "%s/%s: mapping %ju bytes of a file of %ju",
                          stele_io__linux_of(file->base.io)->path, file->base.name, (uintmax_t)size,
                          (uintmax_t)file_size);
    }
    void *map = mmap(NULL, (size_t)size, PROT_READ, MAP_SHARED, file->fd, 0);
    if (map == MAP_FAILED) {
        return fail_file(file, "mapping", err);
    }
    file->map = map;
    file->map_size = (size_t)size;
    return STELE_OK;
}

int stele_io__map(struct stele_file *base, uint64_t size, const uint8_t **out_data,
                  struct stele_error *err)
{
    struct linux_file *file = linux_file_of(base);
    STELE_ASSERT(size > 0);

    int outcome = STELE_OK;
    (void)pthread_mutex_lock(&file->mutex);
    if (file->map == NULL) {
        outcome = map_first(file, size, err);
    }
    const uint8_t *data = file->map;
    const size_t mapped = file->map_size;
    (void)pthread_mutex_unlock(&file->mutex);

    if (outcome != STELE_OK) {
        return outcome;
    }
    STELE_ASSERT(size <= mapped);
    *out_data = data;
    return STELE_OK;
}
