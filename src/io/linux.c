#include "io/linux.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

/* Others than owner and group have no business with the events of a store; the umask may take
 * away more. */
#define DIRECTORY_MODE 0750
#define FILE_MODE 0640

/* These two files belong to this implementation, not to the store: list() leaves them out. */
#define LOCK_NAME "lock"
#define LIVE_NAME "live"

/* What O_DIRECT asks of addresses, offsets and sizes: at most this on every disk in use. Where it
 * is more, the kernel says EINVAL and the page cache is used. */
#define DIRECT_ALIGN 4096
#define BOUNCE_SIZE_MAX ((size_t)1 << 20)
#define ZEROS_SIZE ((size_t)1 << 20)

struct linux_io {
    struct stele_io base;
    int directory; /* The store's. */
    bool read_only;
    int lock;          /* The file "lock", -1 if the lock is not held. */
    pid_t lock_holder; /* Who took it. After a fork() there are two that could give it back. */
    void *shared;      /* The file "live", NULL if it is not mapped. */
    size_t shared_size;
    size_t path_size; /* Of path, with its zero. */
    char path[];      /* For messages. */
};

struct linux_file {
    struct stele_file base;
    int fd;
    bool writable;
    pthread_mutex_t mutex; /* Guards what follows. */
    int direct;            /* The same file with O_DIRECT; -1: not yet, -2: it cannot. */
    void *map;
    size_t map_size;
};

static struct linux_io *linux_io_of(struct stele_io *io)
{
    return (struct linux_io *)io;
}

static struct linux_file *linux_file_of(struct stele_file *file)
{
    return (struct linux_file *)file;
}

/* ---- Errors ------------------------------------------------------------------------------- */

static int outcome_of_errno(int number)
{
    switch (number) {
    case ENOSPC:
    case EDQUOT:
        return STELE_E_NO_SPACE;
    case EACCES:
    case EPERM:
    case ELOOP: /* A symbolic link, which we have told the kernel not to follow, ... */
    case EXDEV: /* ... or a way out of the directory. */
        return STELE_E_PERMISSION;
    case EROFS:
        return STELE_E_READ_ONLY;
    case ENOMEM:
        return STELE_E_NO_MEMORY;
    default:
        return STELE_E_IO;
    }
}

/* Reports that step failed with errno on the file called name, "" for the directory itself. */
static int fail_errno(const struct linux_io *io, const char *name, const char *step,
                      struct stele_error *err)
{
    const int number = errno;
    char words[128];
    /* The GNU variant, which returns the words, and unlike strerror() may be called by threads. */
    const char *why = strerror_r(number, words, sizeof words);
    return stele_fail(err, outcome_of_errno(number), number, "%s%s%s: %s: %s", io->path,
                      *name != '\0' ? "/" : "", name, step, why);
}

/* The same for the steps by which a missing file is something to expect. */
static int fail_or_not_found(const struct linux_io *io, const char *name, const char *step,
                             struct stele_error *err)
{
    const bool missing = errno == ENOENT;
    const int outcome = fail_errno(io, name, step, err);
    if (!missing) {
        return outcome;
    }
    if (err != NULL) {
        err->outcome = STELE_NOT_FOUND;
    }
    return STELE_NOT_FOUND;
}

static int fail_file(const struct linux_file *file, const char *step, struct stele_error *err)
{
    return fail_errno(linux_io_of(file->base.io), file->base.name, step, err);
}

static int fail_no_memory(const struct linux_io *io, const char *name, struct stele_error *err)
{
    return stele_fail(err, STELE_E_NO_MEMORY, ENOMEM, "%s/%s: no memory", io->path, name);
}

static int refuse_read_only(const struct linux_io *io, const char *name, const char *step,
                            struct stele_error *err)
{
    return stele_fail(err, STELE_E_READ_ONLY, 0, "%s/%s: %s: opened for reading only", io->path,
                      name, step);
}

/* Names are checked although the kernel is told to stay beneath the directory: names may come
 * from a file that somebody else has written, and not every kernel knows openat2(). */
static int check_name(const struct linux_io *io, const char *name, struct stele_error *err)
{
    const size_t size = strnlen(name, STELE_FILE_NAME_MAX);
    if (size == 0 || size == STELE_FILE_NAME_MAX || strchr(name, '/') != NULL ||
        strcmp(name, ".") == 0 || strcmp(name, "..") == 0) {
        return stele_fail(err, STELE_E_INVALID, 0, "%s: \"%.*s\" is not a name for a file",
                          io->path, STELE_FILE_NAME_MAX, name);
    }
    return STELE_OK;
}

/* ---- Opening files ------------------------------------------------------------------------ */

/* Like openat(), but what it opens certainly lies in the directory: links are refused. Nor does it
 * wait when the name is that of a pipe. */
static int open_beneath(const struct linux_io *io, const char *name, int flags)
{
    flags |= O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK;
    const struct open_how how = {
        .flags = (uint64_t)(unsigned)flags,
        .mode = (flags & O_CREAT) ? FILE_MODE : 0,
        .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS,
    };
    int fd;
    do {
        fd = (int)syscall(SYS_openat2, io->directory, name, &how, sizeof how);
    } while (fd < 0 && errno == EINTR);
    if (fd >= 0 || (errno != ENOSYS && errno != EPERM)) {
        return fd;
    }
    /* A kernel before 5.6, or a sandbox that does not know the call and says EPERM. A name without
     * '/' that is not followed stays in the directory by itself. */
    do {
        fd = openat(io->directory, name, flags, FILE_MODE);
    } while (fd < 0 && errno == EINTR);
    return fd;
}

/* Opens a file, refusing what is none: a directory, a pipe, a device. -1 with errno. */
static int open_regular(const struct linux_io *io, const char *name, int flags)
{
    const int fd = open_beneath(io, name, flags);
    if (fd < 0) {
        return -1;
    }
    struct stat stat;
    int number = 0;
    if (fstat(fd, &stat) != 0) {
        number = errno;
    } else if (!S_ISREG(stat.st_mode)) {
        number = S_ISDIR(stat.st_mode) ? EISDIR : EINVAL;
    }
    if (number != 0) {
        (void)close(fd);
        errno = number;
        return -1;
    }
    return fd;
}

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

static void linux_close(struct stele_file *base)
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

static int linux_open(struct stele_io *base, const char *name, bool writable,
                      struct stele_file **out_file, struct stele_error *err)
{
    struct linux_io *io = linux_io_of(base);
    const int outcome = check_name(io, name, err);
    if (outcome != STELE_OK) {
        return outcome;
    }
    if (writable && io->read_only) {
        return refuse_read_only(io, name, "opening for writing", err);
    }
    struct linux_file *file = new_file(io, name, writable);
    if (file == NULL) {
        return fail_no_memory(io, name, err);
    }
    file->fd = open_regular(io, name, writable ? O_RDWR : O_RDONLY);
    if (file->fd < 0) {
        const int failed = fail_or_not_found(io, name, "opening", err);
        linux_close(&file->base);
        return failed;
    }
    *out_file = &file->base;
    return STELE_OK;
}

static int linux_size(struct stele_file *base, uint64_t *out_size, struct stele_error *err)
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

/* All of data. -1 with errno. */
static int write_all(int fd, const uint8_t *data, size_t size, uint64_t offset)
{
    while (size > 0) {
        const ssize_t written = pwrite(fd, data, size, (off_t)offset);
        if (written < 0 && errno == EINTR) {
            continue;
        }
        if (written <= 0) {
            /* 0 must not happen; going on would be a loop without end. */
            errno = written < 0 ? errno : EIO;
            return -1;
        }
        data += written;
        size -= (size_t)written;
        offset += (uint64_t)written;
    }
    return 0;
}

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

/* Past the page cache if on, so that a big file of zeros does not push out what is in use. Best
 * effort: a file system that cannot is written through the cache. */
static bool set_direct(int fd, bool on)
{
    const int flags = fcntl(fd, F_GETFL);
    return flags >= 0 && fcntl(fd, F_SETFL, on ? flags | O_DIRECT : flags & ~O_DIRECT) == 0;
}

/* Writes zeros over the bytes from begin to end. -1 with errno. */
static int write_zeros(int fd, uint64_t begin, uint64_t end)
{
    /* Never written to, so it takes no room in the program, and in memory one page of zeros. */
    static _Alignas(DIRECT_ALIGN) uint8_t zeros[ZEROS_SIZE];

    for (uint64_t offset = begin; offset < end;) {
        const uint64_t left = end - offset;
        const size_t piece = left < ZEROS_SIZE ? (size_t)left : ZEROS_SIZE;
        if (write_all(fd, zeros, piece, offset) != 0) {
            return -1;
        }
        offset += piece;
    }
    return 0;
}

/* The same for a whole file, past the page cache as far as the file system can. -1 with errno. */
static int write_zeros_direct(int fd, uint64_t size)
{
    uint64_t done = 0;
    if (set_direct(fd, true)) {
        const uint64_t aligned = size / DIRECT_ALIGN * DIRECT_ALIGN;
        const int result = write_zeros(fd, 0, aligned);
        if (result != 0 && errno != EINVAL) {
            return -1;
        }
        /* EINVAL: the disk wants a greater alignment. Then all of it goes by way of the cache. */
        done = result == 0 ? aligned : 0;
        if (!set_direct(fd, false)) {
            return -1;
        }
    }
    return write_zeros(fd, done, size);
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
    return NULL;
}

static int linux_create(struct stele_io *base, const char *name, uint64_t size, bool prepare,
                        struct stele_file **out_file, struct stele_error *err)
{
    struct linux_io *io = linux_io_of(base);
    int outcome = check_name(io, name, err);
    if (outcome != STELE_OK) {
        return outcome;
    }
    if (io->read_only) {
        return refuse_read_only(io, name, "creating", err);
    }
    struct linux_file *file = new_file(io, name, true);
    if (file == NULL) {
        return fail_no_memory(io, name, err);
    }
    /* Removed rather than truncated: whoever has the old file mapped goes on seeing it, and a link
     * of that name is replaced instead of followed. */
    if (unlinkat(io->directory, name, 0) != 0 && errno != ENOENT) {
        outcome = fail_errno(io, name, "replacing", err);
        goto fail;
    }
    file->fd = open_regular(io, name, O_RDWR | O_CREAT | O_EXCL);
    if (file->fd < 0) {
        outcome = fail_errno(io, name, "creating", err);
        goto fail;
    }
    const char *failed = fill(file->fd, size, prepare);
    if (failed != NULL) {
        outcome = fail_errno(io, name, failed, err);
        /* Best effort: a file that is left behind is space lost, not a wrong answer. */
        (void)unlinkat(io->directory, name, 0);
        goto fail;
    }
    *out_file = &file->base;
    return STELE_OK;
fail:
    linux_close(&file->base);
    return outcome;
}

static int linux_write(struct stele_file *base, uint64_t offset, struct stele_bytes bytes,
                       struct stele_error *err)
{
    struct linux_file *file = linux_file_of(base);
    if (!file->writable) {
        return refuse_read_only(linux_io_of(base->io), base->name, "writing", err);
    }
    if (write_all(file->fd, bytes.data, bytes.size, offset) != 0) {
        return fail_file(file, "writing", err);
    }
    return STELE_OK;
}

static int linux_sync(struct stele_file *base, struct stele_error *err)
{
    struct linux_file *file = linux_file_of(base);
    if (!file->writable) {
        return refuse_read_only(linux_io_of(base->io), base->name, "syncing", err);
    }
    /* Once, also for EINTR: after a failure the kernel may have dropped the dirty pages, and the
     * next call would report success for data that is nowhere. */
    if (fdatasync(file->fd) != 0) {
        (void)fail_file(file, "syncing", err);
        /* Also when the disk is full: STELE_E_NO_SPACE would say that nothing has happened and
         * trying again is fine. */
        if (err != NULL) {
            err->outcome = STELE_E_IO;
        }
        return STELE_E_IO;
    }
    return STELE_OK;
}

/* ---- Reading ------------------------------------------------------------------------------ */

/* Up to size bytes, less only at the end of the file. -1 with errno. */
static ssize_t read_all(int fd, uint8_t *data, size_t size, uint64_t offset)
{
    size_t done = 0;
    while (done < size) {
        const ssize_t got = pread(fd, data + done, size - done, (off_t)(offset + done));
        if (got < 0 && errno == EINTR) {
            continue;
        }
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

/* The file opened once more, for reading past the page cache. -1 if it cannot be. */
static int direct_of(struct linux_file *file)
{
    (void)pthread_mutex_lock(&file->mutex);
    if (file->direct == -1) {
        /* By its descriptor, because meanwhile the name may be another file's. */
        char path[sizeof "/proc/self/fd/" + 3 * sizeof(int)];
        (void)snprintf(path, sizeof path, "/proc/self/fd/%d", file->fd);
        const int fd = open(path, O_RDONLY | O_DIRECT | O_CLOEXEC);
        file->direct = fd >= 0 ? fd : -2;
    }
    const int direct = file->direct;
    (void)pthread_mutex_unlock(&file->mutex);
    return direct >= 0 ? direct : -1;
}

/* One piece of a direct read: at most BOUNCE_SIZE_MAX with the ends cut to what is aligned. bounce
 * is aligned. Returns the bytes copied to data, 0 at the end of the file, -1 with errno. */
static ssize_t read_direct_piece(int fd, uint8_t *bounce, uint8_t *data, size_t size,
                                 uint64_t offset)
{
    const size_t skip = (size_t)(offset % DIRECT_ALIGN);
    const size_t most = BOUNCE_SIZE_MAX - skip;
    const size_t wanted = size < most ? size : most;
    const size_t covered = (size_t)stele_align_up(skip + wanted, DIRECT_ALIGN);
    STELE_ASSERT(covered <= BOUNCE_SIZE_MAX);

    ssize_t got;
    do {
        got = pread(fd, bounce, covered, (off_t)(offset - skip));
    } while (got < 0 && errno == EINTR);
    if (got < 0) {
        return -1;
    }
    if ((size_t)got <= skip) {
        return 0;
    }
    const size_t useful = (size_t)got - skip;
    const size_t copied = useful < wanted ? useful : wanted;
    memcpy(data, bounce + skip, copied);
    return (ssize_t)copied;
}

/* Like read_all(), past the page cache. -1 with errno; EINVAL: this file system cannot. */
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
    const size_t needed = (size_t)stele_align_up(size, DIRECT_ALIGN) + DIRECT_ALIGN;
    const size_t bounce_size = needed < BOUNCE_SIZE_MAX ? needed : BOUNCE_SIZE_MAX;
    /* The allocator aligns less than the disk wants; what it gives is aligned by hand. */
    const size_t memory_size = bounce_size + DIRECT_ALIGN;
    struct stele_alloc *alloc = file->base.io->alloc;
    void *memory = stele_allocate(alloc, memory_size);
    if (memory == NULL) {
        return fail_no_memory(linux_io_of(file->base.io), file->base.name, err);
    }
    uint8_t *bounce = (uint8_t *)memory + (-(uintptr_t)memory & (DIRECT_ALIGN - 1));
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

static void linux_drop_cache(struct stele_file *base)
{
    (void)posix_fadvise(linux_file_of(base)->fd, 0, 0, POSIX_FADV_DONTNEED);
}

static int linux_read(struct stele_file *base, uint64_t offset, void *buffer, size_t size,
                      bool direct, size_t *out_size, struct stele_error *err)
{
    struct linux_file *file = linux_file_of(base);
    if (direct) {
        const int outcome = read_direct(file, offset, buffer, size, out_size, err);
        if (outcome != STELE_E_UNSUPPORTED) {
            return outcome;
        }
        linux_drop_cache(base); /* The next best thing. */
    }
    const ssize_t got = read_all(file->fd, buffer, size, offset);
    if (got < 0) {
        return fail_file(file, "reading", err);
    }
    *out_size = (size_t)got;
    return STELE_OK;
}

static int map_first(struct linux_file *file, uint64_t size, struct stele_error *err)
{
    uint64_t file_size;
    const int outcome = linux_size(&file->base, &file_size, err);
    if (outcome != STELE_OK) {
        return outcome;
    }
    /* Touching a mapping behind the end of the file kills the process. */
    if (size > file_size) {
        return stele_fail(err, STELE_E_IO, 0, "%s/%s: mapping %ju bytes of a file of %ju",
                          linux_io_of(file->base.io)->path, file->base.name, (uintmax_t)size,
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

static int linux_map(struct stele_file *base, uint64_t size, const uint8_t **out_data,
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

/* ---- Names -------------------------------------------------------------------------------- */

static int linux_rename(struct stele_io *base, const char *from, const char *to,
                        struct stele_error *err)
{
    struct linux_io *io = linux_io_of(base);
    int outcome = check_name(io, from, err);
    if (outcome == STELE_OK) {
        outcome = check_name(io, to, err);
    }
    if (outcome != STELE_OK) {
        return outcome;
    }
    if (io->read_only) {
        return refuse_read_only(io, from, "renaming", err);
    }
    if (renameat(io->directory, from, io->directory, to) != 0) {
        return fail_or_not_found(io, from, "renaming", err);
    }
    return STELE_OK;
}

static int linux_remove(struct stele_io *base, const char *name, struct stele_error *err)
{
    struct linux_io *io = linux_io_of(base);
    const int outcome = check_name(io, name, err);
    if (outcome != STELE_OK) {
        return outcome;
    }
    if (io->read_only) {
        return refuse_read_only(io, name, "removing", err);
    }
    if (unlinkat(io->directory, name, 0) != 0) {
        return fail_or_not_found(io, name, "removing", err);
    }
    return STELE_OK;
}

static int linux_sync_names(struct stele_io *base, struct stele_error *err)
{
    struct linux_io *io = linux_io_of(base);
    if (io->read_only) {
        return refuse_read_only(io, ".", "syncing names", err);
    }
    if (fsync(io->directory) != 0) {
        return fail_errno(io, "", "syncing names", err);
    }
    return STELE_OK;
}

struct listed {
    char name[STELE_FILE_NAME_MAX];
    uint64_t size;
};

static int compare_listed(const void *a, const void *b)
{
    return strcmp(((const struct listed *)a)->name, ((const struct listed *)b)->name);
}

/* Adds the entry called name to names if it is a file that a store could have made. */
static int list_add(struct linux_io *io, struct stele_buf *names, const char *name,
                    struct stele_error *err)
{
    if (strlen(name) >= STELE_FILE_NAME_MAX || strcmp(name, LOCK_NAME) == 0 ||
        strcmp(name, LIVE_NAME) == 0) {
        return STELE_OK;
    }
    struct stat stat;
    if (fstatat(io->directory, name, &stat, AT_SYMLINK_NOFOLLOW) != 0) {
        /* Removed since the directory was read: then there is nothing to list. */
        return errno == ENOENT ? STELE_OK : fail_errno(io, name, "listing", err);
    }
    if (!S_ISREG(stat.st_mode)) {
        return STELE_OK;
    }
    struct listed listed = {.size = (uint64_t)stat.st_size};
    memcpy(listed.name, name, strlen(name) + 1);
    const struct stele_bytes bytes = {.data = (const uint8_t *)&listed, .size = sizeof listed};
    if (stele_buf_append(names, io->base.alloc, bytes) != STELE_OK) {
        return fail_no_memory(io, name, err);
    }
    return STELE_OK;
}

static int list_collect(struct linux_io *io, struct stele_buf *names, struct stele_error *err)
{
    /* Opened anew, because two descriptors made by dup() would share one place in the list. */
    const int fd = openat(io->directory, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) {
        return fail_errno(io, "", "listing", err);
    }
    DIR *directory = fdopendir(fd);
    if (directory == NULL) {
        const int failed = fail_errno(io, "", "listing", err);
        (void)close(fd);
        return failed;
    }
    int outcome = STELE_OK;
    while (outcome == STELE_OK) {
        errno = 0; /* The only way to tell the end from an error. */
        const struct dirent *entry = readdir(directory);
        if (entry == NULL) {
            outcome = errno == 0 ? STELE_OK : fail_errno(io, "", "listing", err);
            break;
        }
        outcome = list_add(io, names, entry->d_name, err);
    }
    (void)closedir(directory);
    return outcome;
}

static int linux_list(struct stele_io *base, stele_io_name_callback on_name, void *context,
                      struct stele_error *err)
{
    struct linux_io *io = linux_io_of(base);
    struct stele_buf names = {0};
    int outcome = list_collect(io, &names, err);
    if (outcome == STELE_OK && names.size > 0) {
        /* Sizes are multiples of a struct, and the allocator aligns for any. */
        struct listed *listed = (struct listed *)(void *)names.data;
        const size_t count = names.size / sizeof *listed;
        qsort(listed, count, sizeof *listed, compare_listed);
        for (size_t i = 0; i < count && outcome == STELE_OK; i++) {
            outcome = on_name(context, listed[i].name, listed[i].size);
        }
    }
    stele_buf_deinit(&names, io->base.alloc);
    return outcome;
}

/* ---- The rest of the world ---------------------------------------------------------------- */

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
    .create = linux_create,
    .open = linux_open,
    .close = linux_close,
    .size = linux_size,
    .write = linux_write,
    .sync = linux_sync,
    .read = linux_read,
    .map = linux_map,
    .drop_cache = linux_drop_cache,
    .rename = linux_rename,
    .remove = linux_remove,
    .sync_names = linux_sync_names,
    .list = linux_list,
    .now_us = linux_now_us,
    .random = linux_random,
};

/* ---- Opening the store's directory -------------------------------------------------------- */

/* Makes the name of the open directory durable, which stands in its parent. -1 with errno. */
static int sync_parent_of(int directory)
{
    const int parent = openat(directory, "..", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (parent < 0) {
        return -1;
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
        if (*at != '/' || at[-1] == '/') {
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

static int open_directory(struct linux_io *io, bool create)
{
    const int flags = O_RDONLY | O_DIRECTORY | O_CLOEXEC;
    io->directory = open(io->path, flags);
    if (io->directory < 0 && errno == ENOENT && create) {
        if (make_directories(io->path) != 0) {
            return -1;
        }
        io->directory = open(io->path, flags);
    }
    return io->directory < 0 ? -1 : 0;
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

    if (open_directory(io, create && !read_only) != 0) {
        const int number = errno;
        int outcome = fail_or_not_found(io, "", "opening the directory", err);
        if (number == ENOTDIR) {
            outcome = stele_fail(err, STELE_E_NOT_A_STORE, number, "%s: not a directory", path);
        }
        stele_linux_io_close(&io->base);
        return outcome;
    }
    *out_io = &io->base;
    return STELE_OK;
}

void stele_linux_io_close(struct stele_io *base)
{
    if (base == NULL) {
        return;
    }
    struct linux_io *io = linux_io_of(base);
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

/* ---- The write lock ----------------------------------------------------------------------- */

#define OWNER_SIZE_MAX 512

/* Writes down who we are, for whoever comes while we hold the lock. Best effort: a store on a full
 * disk has to open, be it to make room. */
static void write_owner(struct linux_io *io)
{
    char host[256] = "";
    if (gethostname(host, sizeof host - 1) != 0) {
        (void)snprintf(host, sizeof host, "unknown");
    }
    const time_t now = (time_t)(linux_now_us(&io->base) / 1000000);
    struct tm tm;
    char since[32] = "";
    if (gmtime_r(&now, &tm) != NULL) {
        (void)strftime(since, sizeof since, "%Y-%m-%dT%H:%M:%SZ", &tm);
    }
    char owner[OWNER_SIZE_MAX];
    const int size = snprintf(owner, sizeof owner, "process %ld on host %s since %s\n",
                              (long)getpid(), host, since);
    STELE_ASSERT(size > 0 && (size_t)size < sizeof owner);
    /* Written, then cut: the other way round there would be a moment without an owner. */
    if (write_all(io->lock, (const uint8_t *)owner, (size_t)size, 0) == 0) {
        (void)!ftruncate(io->lock, size);
    }
}

/* What write_owner() wrote, without the end of the line. */
static void read_owner(int fd, char *owner, size_t size)
{
    const ssize_t got = read_all(fd, (uint8_t *)owner, size - 1, 0);
    owner[got > 0 ? got : 0] = '\0';
    owner[strcspn(owner, "\n")] = '\0';
    /* It goes into a message, and anybody could have written it. */
    for (char *at = owner; *at != '\0'; at++) {
        if (*at < ' ' || *at > '~') {
            *at = '?';
        }
    }
}

int stele_linux_io_lock(struct stele_io *base, struct stele_error *err)
{
    struct linux_io *io = linux_io_of(base);
    STELE_ASSERT(io->lock < 0);

    if (io->read_only) {
        return refuse_read_only(io, LOCK_NAME, "locking", err);
    }
    const int fd = open_regular(io, LOCK_NAME, O_RDWR | O_CREAT);
    if (fd < 0) {
        return fail_errno(io, LOCK_NAME, "opening", err);
    }
    /* Of the open file, not of the process: a process that opens the store twice is refused, too,
     * and closing some other descriptor of this file does not give the lock away. */
    const struct flock whole = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    if (fcntl(fd, F_OFD_SETLK, &whole) != 0) {
        int outcome;
        if (errno == EAGAIN || errno == EACCES) {
            char owner[OWNER_SIZE_MAX];
            read_owner(fd, owner, sizeof owner);
            outcome = stele_fail(err, STELE_E_LOCKED, errno,
                                 "%s: open for writing already, by %s; close it there, or open it "
                                 "here for reading only",
                                 io->path, *owner != '\0' ? owner : "another process");
        } else {
            outcome = fail_errno(io, LOCK_NAME, "locking", err);
        }
        (void)close(fd);
        return outcome;
    }
    io->lock = fd;
    io->lock_holder = getpid();
    write_owner(io);
    return STELE_OK;
}

bool stele_linux_io_is_locked(struct stele_io *base)
{
    struct linux_io *io = linux_io_of(base);
    const int fd = open_regular(io, LOCK_NAME, O_RDONLY);
    if (fd < 0) {
        return false;
    }
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    const bool locked = fcntl(fd, F_OFD_GETLK, &lock) == 0 && lock.l_type != F_UNLCK;
    (void)close(fd);
    return locked;
}

/* ---- The shared page ---------------------------------------------------------------------- */

static int share_fd(struct linux_io *io, int fd, bool writable, size_t size,
                    struct stele_error *err)
{
    /* Written rather than cleared in memory: on a full disk this fails, where touching the mapping
     * would kill the process. Nor is the file ever cut, because others have it mapped. */
    if (writable && write_zeros(fd, 0, size) != 0) {
        return fail_errno(io, LIVE_NAME, "writing zeros", err);
    }
    struct stat stat;
    if (fstat(fd, &stat) != 0) {
        return fail_errno(io, LIVE_NAME, "asking for the size", err);
    }
    if ((uint64_t)stat.st_size < size) {
        return stele_fail(err, STELE_NOT_FOUND, 0, "%s/" LIVE_NAME ": not written yet", io->path);
    }
    const int protection = writable ? PROT_READ | PROT_WRITE : PROT_READ;
    void *memory = mmap(NULL, size, protection, MAP_SHARED, fd, 0);
    if (memory == MAP_FAILED) {
        return fail_errno(io, LIVE_NAME, "mapping", err);
    }
    io->shared = memory;
    io->shared_size = size;
    return STELE_OK;
}

int stele_linux_io_share(struct stele_io *base, bool writable, size_t size, void **out_memory,
                         struct stele_error *err)
{
    struct linux_io *io = linux_io_of(base);
    STELE_ASSERT(size > 0);
    STELE_ASSERT(io->shared == NULL);

    if (writable && io->read_only) {
        return refuse_read_only(io, LIVE_NAME, "sharing", err);
    }
    const int fd = open_regular(io, LIVE_NAME, writable ? O_RDWR | O_CREAT : O_RDONLY);
    if (fd < 0) {
        return fail_or_not_found(io, LIVE_NAME, "opening", err);
    }
    const int outcome = share_fd(io, fd, writable, size, err);
    (void)close(fd); /* The mapping stays. */
    if (outcome == STELE_OK) {
        *out_memory = io->shared;
    }
    return outcome;
}
