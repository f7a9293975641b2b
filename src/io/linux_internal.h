/* What the files of the Linux implementation share. Nobody else includes it. */
#ifndef STELE_IO_LINUX_INTERNAL_H
#define STELE_IO_LINUX_INTERNAL_H

#include "io/linux.h"

#include <sys/types.h>

/* These two files belong to this implementation, not to the store: list() leaves them out. */
#define STELE_IO__LOCK_NAME "lock"
#define STELE_IO__LIVE_NAME "live"

/* What O_DIRECT asks of addresses, offsets and sizes: at most this on every disk in use. Where it
 * is more, the kernel says EINVAL and the page cache is used. */
#define STELE_IO__DIRECT_ALIGN 4096

struct linux_io {
    struct stele_io base;
    int directory; /* The store's. */
    bool read_only;
    bool ranges;       /* Can the file system make a part of a file durable? */
    int lock;          /* The file "lock", -1 if the lock is not held. */
    pid_t lock_holder; /* Who took it. After a fork() there are two that could give it back. */
    void *shared;      /* The file "live", NULL if it is not mapped. */
    size_t shared_size;
    size_t path_size; /* Of path, with its zero. */
    char path[];      /* For messages. */
};

static inline struct linux_io *stele_io__linux_of(struct stele_io *io)
{
    return (struct linux_io *)io;
}

/* ---- linux_call.c: system calls, and what they say ---------------------------------------- */

/* Reports that step failed with errno on the file called name, "" for the directory itself. */
int stele_io__fail_errno(const struct linux_io *io, const char *name, const char *step,
                         struct stele_error *err);
/* The same for the steps by which a missing file is something to expect: STELE_NOT_FOUND. */
int stele_io__fail_or_not_found(const struct linux_io *io, const char *name, const char *step,
                                struct stele_error *err);
int stele_io__fail_no_memory(const struct linux_io *io, const char *name, struct stele_error *err);
/* STELE_E_READ_ONLY. */
int stele_io__refuse(const struct linux_io *io, const char *name, const char *step,
                     struct stele_error *err);

/* STELE_OK, or STELE_E_INVALID if name cannot be that of a file in the directory. */
STELE_MUST_USE
int stele_io__check_name(const struct linux_io *io, const char *name, struct stele_error *err);

/* Opens a file that certainly lies in the directory and is a regular one: links, directories,
 * pipes and devices are refused. flags as for open(). -1 with errno. */
int stele_io__open_regular(const struct linux_io *io, const char *name, int flags);

/* Writes all of data. -1 with errno; then any part may have been written. */
int stele_io__write_all(int fd, const uint8_t *data, size_t size, uint64_t offset);
/* The same, and they are durable on return. Never tried again, also not for EINTR. */
int stele_io__write_all_durable(int fd, const uint8_t *data, size_t size, uint64_t offset);
/* Is that known to work on the file system of this directory? */
bool stele_io__syncs_ranges(int directory);
/* Writes zeros over the bytes from begin to end. -1 with errno. */
int stele_io__write_zeros(int fd, uint64_t begin, uint64_t end);
/* Reads up to size bytes, less only at the end of the file. -1 with errno. */
ssize_t stele_io__read_all(int fd, uint8_t *data, size_t size, uint64_t offset);

/* ---- The operations, as io.h describes them ------------------------------------------------ */

/* linux_file.c */
int stele_io__create(struct stele_io *io, const char *name, uint64_t size, bool prepare,
                     struct stele_file **out_file, struct stele_error *err);
int stele_io__open(struct stele_io *io, const char *name, bool writable,
                   struct stele_file **out_file, struct stele_error *err);
void stele_io__close(struct stele_file *file);
int stele_io__size(struct stele_file *file, uint64_t *out_size, struct stele_error *err);
int stele_io__write(struct stele_file *file, uint64_t offset, struct stele_bytes bytes,
                    struct stele_error *err);
int stele_io__sync(struct stele_file *file, struct stele_error *err);
int stele_io__write_durable(struct stele_file *file, uint64_t offset, struct stele_bytes bytes,
                            struct stele_error *err);
int stele_io__read(struct stele_file *file, uint64_t offset, void *buffer, size_t size, bool direct,
                   size_t *out_size, struct stele_error *err);
int stele_io__map(struct stele_file *file, uint64_t size, const uint8_t **out_data,
                  struct stele_error *err);
void stele_io__drop_cache(struct stele_file *file);

/* linux_names.c */
int stele_io__rename(struct stele_io *io, const char *from, const char *to,
                     struct stele_error *err);
int stele_io__remove(struct stele_io *io, const char *name, struct stele_error *err);
int stele_io__sync_names(struct stele_io *io, struct stele_error *err);
int stele_io__list(struct stele_io *io, stele_io_name_callback on_name, void *context,
                   struct stele_error *err);

#endif
