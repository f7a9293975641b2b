/* Loaded before the C library (LD_PRELOAD): makes calls of the system fail that tests cannot make
 * fail otherwise.
 *
 *     FAULT_fdatasync=N   the N-th fdatasync() and every one after it fails with EIO
 *     FAULT_pwrite=N      the N-th pwrite() and every one after it fails with ENOSPC
 *     FAULT_fallocate=N   likewise fallocate()
 *     FAULT_slow_ms=N     every fdatasync() takes so many milliseconds longer
 *
 * A pwritev2() with RWF_DSYNC is a write and a sync. */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

static int should_fail(const char *variable, atomic_long *count)
{
    const char *value = getenv(variable);
    return value != NULL && atomic_fetch_add(count, 1) + 1 >= strtol(value, NULL, 10);
}

/* What a sync has to bear besides itself. */
static int sync_fails(void)
{
    static atomic_long count;
    const char *slow = getenv("FAULT_slow_ms");
    if (slow != NULL) {
        const long ms = strtol(slow, NULL, 10);
        const struct timespec pause = {ms / 1000, ms % 1000 * 1000000};
        (void)nanosleep(&pause, NULL);
    }
    if (should_fail("FAULT_fdatasync", &count)) {
        errno = EIO;
        return 1;
    }
    return 0;
}

static int write_fails(void)
{
    static atomic_long count;
    if (should_fail("FAULT_pwrite", &count)) {
        errno = ENOSPC;
        return 1;
    }
    return 0;
}

__attribute__((visibility("default"))) int fdatasync(int fd)
{
    static int (*real)(int);
    if (sync_fails()) {
        return -1;
    }
    if (real == NULL) {
        *(void **)&real = dlsym(RTLD_NEXT, "fdatasync");
    }
    return real(fd);
}

/* The program was compiled for files of any size, and so is this: the names are pwrite64(),
 * pwritev64v2() and fallocate64() in fact. */
__attribute__((visibility("default"))) ssize_t pwrite(int fd, const void *data, size_t size,
                                                      off_t offset)
{
    static ssize_t (*real)(int, const void *, size_t, off_t);
    if (write_fails()) {
        return -1;
    }
    if (real == NULL) {
        *(void **)&real = dlsym(RTLD_NEXT, "pwrite64");
    }
    return real(fd, data, size, offset);
}

__attribute__((visibility("default"))) ssize_t pwritev2(int fd, const struct iovec *pieces,
                                                        int count, off_t offset, int flags)
{
    static ssize_t (*real)(int, const struct iovec *, int, off_t, int);
    if (write_fails() || ((flags & RWF_DSYNC) != 0 && sync_fails())) {
        return -1;
    }
    if (real == NULL) {
        *(void **)&real = dlsym(RTLD_NEXT, "pwritev64v2");
    }
    return real(fd, pieces, count, offset, flags);
}

__attribute__((visibility("default"))) int fallocate(int fd, int mode, off_t offset, off_t size)
{
    static atomic_long count;
    static int (*real)(int, int, off_t, off_t);
    if (should_fail("FAULT_fallocate", &count)) {
        errno = ENOSPC;
        return -1;
    }
    if (real == NULL) {
        *(void **)&real = dlsym(RTLD_NEXT, "fallocate64");
    }
    return real(fd, mode, offset, size);
}
