/* Loaded before the C library (LD_PRELOAD): a disk that is about to die, or that lies.
 *
 *     ILL_CALL=sync|write   which calls fail, with EIO; a write leaves half of its bytes behind. A
 *                           pwritev2() with RWF_DSYNC is one of either kind
 *     ILL_AT=N              the N-th of them
 *     ILL_ONCE=1            only that one; otherwise every one from then on
 *     ILL_LIES=1            syncs do nothing and say that all is well: the tests have to notice */
#include <dlfcn.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

#define EXPORT __attribute__((visibility("default")))

/* Under a name of our own where glibc has two for one call. */
EXPORT ssize_t ill_pwrite64(int fd, const void *data, size_t size,
                            off_t offset) __asm__("pwrite64");
EXPORT ssize_t ill_pwritev64v2(int fd, const struct iovec *pieces, int count, off_t offset,
                               int flags) __asm__("pwritev64v2");

static int is_set(const char *name)
{
    const char *value = getenv(name);
    return value != NULL && strcmp(value, "1") == 0;
}

static int fails(const char *call)
{
    static atomic_long count;
    const char *chosen = getenv("ILL_CALL");
    const char *at = getenv("ILL_AT");
    if (chosen == NULL || at == NULL || strcmp(chosen, call) != 0) {
        return 0;
    }
    const long number = atomic_fetch_add(&count, 1) + 1;
    const long wanted = strtol(at, NULL, 10);
    if (number < wanted || (number > wanted && is_set("ILL_ONCE"))) {
        return 0;
    }
    if (number == wanted) {
        (void)fprintf(stderr, "ill: %s number %ld\n", call, number);
    }
    return 1;
}

static int sync_with(const char *name, int fd)
{
    int (*real)(int);
    if (fails("sync")) {
        errno = EIO;
        return -1;
    }
    *(void **)&real = dlsym(RTLD_NEXT, name);
    return is_set("ILL_LIES") ? 0 : real(fd);
}

EXPORT int fdatasync(int fd)
{
    return sync_with("fdatasync", fd);
}

EXPORT int fsync(int fd)
{
    return sync_with("fsync", fd);
}

ssize_t ill_pwrite64(int fd, const void *data, size_t size, off_t offset)
{
    ssize_t (*real)(int, const void *, size_t, off_t);
    *(void **)&real = dlsym(RTLD_NEXT, "pwrite64");
    if (fails("write")) {
        (void)real(fd, data, size / 2, offset);
        errno = EIO;
        return -1;
    }
    return real(fd, data, size, offset);
}

ssize_t ill_pwritev64v2(int fd, const struct iovec *pieces, int count, off_t offset, int flags)
{
    ssize_t (*real)(int, const struct iovec *, int, off_t, int);
    *(void **)&real = dlsym(RTLD_NEXT, "pwritev64v2");
    const int syncs = (flags & RWF_DSYNC) != 0;
    if (fails("write")) {
        struct iovec half = pieces[0];
        half.iov_len /= 2;
        (void)real(fd, &half, 1, offset, flags & ~RWF_DSYNC);
        errno = EIO;
        return -1;
    }
    if (syncs && fails("sync")) {
        (void)real(fd, pieces, count, offset, flags & ~RWF_DSYNC);
        errno = EIO;
        return -1;
    }
    return real(fd, pieces, count, offset, is_set("ILL_LIES") ? flags & ~RWF_DSYNC : flags);
}
