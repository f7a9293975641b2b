#include "io/linux_internal.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static int share_fd(struct linux_io *io, int fd, bool writable, size_t size,
                    struct stele_error *err)
{
    /* Written rather than cleared in memory: on a full disk this fails, where touching the mapping
     * would kill the process. Nor is the file ever cut, because others have it mapped. */
    if (writable && stele_io__write_zeros(fd, 0, size) != 0) {
        return stele_io__fail_errno(io, STELE_IO__LIVE_NAME, "writing zeros", err);
    }
    struct stat stat;
    if (fstat(fd, &stat) != 0) {
        return stele_io__fail_errno(io, STELE_IO__LIVE_NAME, "asking for the size", err);
    }
    if ((uint64_t)stat.st_size < size) {
        return stele_fail(err, STELE_NOT_FOUND, 0, "%s/" STELE_IO__LIVE_NAME ": not written yet",
                          io->path);
    }
    const int protection = writable ? PROT_READ | PROT_WRITE : PROT_READ;
    void *memory = mmap(NULL, size, protection, MAP_SHARED, fd, 0);
    if (memory == MAP_FAILED) {
        return stele_io__fail_errno(io, STELE_IO__LIVE_NAME, "mapping", err);
    }
    io->shared = memory;
    io->shared_size = size;
    return STELE_OK;
}

int stele_linux_io_share(struct stele_io *base, bool writable, size_t size, void **out_memory,
                         struct stele_error *err)
{
    struct linux_io *io = stele_io__linux_of(base);
    STELE_ASSERT(size > 0);
    STELE_ASSERT(io->shared == NULL);

    if (writable && io->read_only) {
        return stele_io__refuse(io, STELE_IO__LIVE_NAME, "sharing", err);
    }
    const int fd =
        stele_io__open_regular(io, STELE_IO__LIVE_NAME, writable ? O_RDWR | O_CREAT : O_RDONLY);
    if (fd < 0) {
        return stele_io__fail_or_not_found(io, STELE_IO__LIVE_NAME, "opening", err);
    }
    const int outcome = share_fd(io, fd, writable, size, err);
    (void)close(fd); /* The mapping stays. */
    if (outcome == STELE_OK) {
        *out_memory = io->shared;
    }
    return outcome;
}
