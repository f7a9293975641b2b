#include "io/linux_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <linux/openat2.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/vfs.h>
#include <unistd.h>

/* Others than owner and group have no business with the events of a store; the umask may take
 * away more. */
#define FILE_MODE 0640
/* Of one write of zeros. The syncs of others wait for the write that is under way: 1 MiB made them
 * take 1 ms instead of 0.1, 64 KiB makes the whole take too long. */
#define ZEROS_SIZE ((size_t)1 << 18)

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

int stele_io__fail_errno(const struct linux_io *io, const char *name, const char *step,
                         struct stele_error *err)
{
    const int number = errno;
    char words[128];
    /* The GNU variant, which returns the words, and unlike strerror() may be called by threads. */
    const char *why = strerror_r(number, words, sizeof words);
    return stele_fail(err, outcome_of_errno(number), number, "%s%s%s: %s: %s", io->path,
                      *name != '\0' ? "/" : "", name, step, why);
}

int stele_io__fail_or_not_found(const struct linux_io *io, const char *name, const char *step,
                                struct stele_error *err)
{
    const bool missing = errno == ENOENT;
    const int outcome = stele_io__fail_errno(io, name, step, err);
    if (!missing) {
        return outcome;
    }
    if (err != NULL) {
        err->outcome = STELE_NOT_FOUND;
    }
    return STELE_NOT_FOUND;
}

int stele_io__fail_no_memory(const struct linux_io *io, const char *name, struct stele_error *err)
{
    return stele_fail(err, STELE_E_NO_MEMORY, ENOMEM, "%s/%s: no memory", io->path, name);
}

int stele_io__refuse(const struct linux_io *io, const char *name, const char *step,
                     struct stele_error *err)
{
    return stele_fail(err, STELE_E_READ_ONLY, 0, "%s/%s: %s: opened for reading only", io->path,
                      name, step);
}

/* Names are checked although the kernel is told to stay beneath the directory: names may come
 * from a file that somebody else has written, and not every kernel knows openat2(). */
int stele_io__check_name(const struct linux_io *io, const char *name, struct stele_error *err)
{
    const size_t size = strnlen(name, STELE_FILE_NAME_MAX);
    if (size == 0 || size == STELE_FILE_NAME_MAX || strchr(name, '/') != NULL ||
        strcmp(name, ".") == 0 || strcmp(name, "..") == 0) {
        return stele_fail(err, STELE_E_INVALID, 0, "%s: \"%.*s\" is not a name for a file",
                          io->path, STELE_FILE_NAME_MAX, name);
    }
    return STELE_OK;
}

/* ---- Opening beneath the directory -------------------------------------------------------- */

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

int stele_io__open_regular(const struct linux_io *io, const char *name, int flags)
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

/* ---- All of it, or an error --------------------------------------------------------------- */

int stele_io__write_all(int fd, const uint8_t *data, size_t size, uint64_t offset)
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

int stele_io__write_all_durable(int fd, const uint8_t *data, size_t size, uint64_t offset)
{
    while (size > 0) {
        /* By way of an integer because an iovec is for reading, too. */
        const struct iovec piece = {.iov_base = (void *)(uintptr_t)data, .iov_len = size};
        const ssize_t written = pwritev2(fd, &piece, 1, (off_t)offset, RWF_DSYNC);
        if (written <= 0) {
            errno = written < 0 ? errno : EIO;
            return -1;
        }
        data += written;
        size -= (size_t)written;
        offset += (uint64_t)written;
    }
    return 0;
}

bool stele_io__syncs_ranges(int directory)
{
    /* Others may take the flag and do nothing about it, as some kernels do for FUSE. What it means
     * on these two was read in their source: the range, what the file needs to be read back, and
     * a flush of the disk. */
    struct statfs found;
    return fstatfs(directory, &found) == 0 &&
           (found.f_type == EXT4_SUPER_MAGIC || found.f_type == XFS_SUPER_MAGIC);
}

int stele_io__write_zeros(int fd, uint64_t begin, uint64_t end)
{
    /* Never written to, so it takes no room in the program, and in memory one page of zeros. */
    static _Alignas(STELE_IO__DIRECT_ALIGN) uint8_t zeros[ZEROS_SIZE];

    for (uint64_t offset = begin; offset < end;) {
        const uint64_t left = end - offset;
        const size_t piece = left < ZEROS_SIZE ? (size_t)left : ZEROS_SIZE;
        if (stele_io__write_all(fd, zeros, piece, offset) != 0) {
            return -1;
        }
        offset += piece;
    }
    return 0;
}

ssize_t stele_io__read_all(int fd, uint8_t *data, size_t size, uint64_t offset)
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
