#include "io/linux_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#define OWNER_SIZE_MAX 512

/* Writes down who we are, for whoever comes while we hold the lock. Best effort: a store on a full
 * disk has to open, be it to make room. */
static void write_owner(struct linux_io *io)
{
    char host[256] = "";
    if (gethostname(host, sizeof host - 1) != 0) {
        (void)snprintf(host, sizeof host, "unknown");
    }
    const time_t now = (time_t)(io->base.ops->now_us(&io->base) / 1000000);
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
    if (stele_io__write_all(io->lock, (const uint8_t *)owner, (size_t)size, 0) == 0) {
        (void)!ftruncate(io->lock, size);
    }
}

/* What write_owner() wrote, without the end of the line. */
static void read_owner(int fd, char *owner, size_t size)
{
    const ssize_t got = stele_io__read_all(fd, (uint8_t *)owner, size - 1, 0);
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
    struct linux_io *io = stele_io__linux_of(base);
    STELE_ASSERT(io->lock < 0);

    if (io->read_only) {
        return stele_io__refuse(io, STELE_IO__LOCK_NAME, "locking", err);
    }
    const int fd = stele_io__open_regular(io, STELE_IO__LOCK_NAME, O_RDWR | O_CREAT);
    if (fd < 0) {
        return stele_io__fail_errno(io, STELE_IO__LOCK_NAME, "opening", err);
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
            outcome = stele_io__fail_errno(io, STELE_IO__LOCK_NAME, "locking", err);
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
    struct linux_io *io = stele_io__linux_of(base);
    const int fd = stele_io__open_regular(io, STELE_IO__LOCK_NAME, O_RDONLY);
    if (fd < 0) {
        return false;
    }
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    const bool locked = fcntl(fd, F_OFD_GETLK, &lock) == 0 && lock.l_type != F_UNLCK;
    (void)close(fd);
    return locked;
}
