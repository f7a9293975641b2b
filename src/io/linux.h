/* The real world: files below one directory, Linux's clock and random numbers. */
#ifndef STELE_IO_LINUX_H
#define STELE_IO_LINUX_H

#include "io/io.h"

/* malloc() behind the interface, counting bytes. Lives as long as the process. */
struct stele_alloc *stele_linux_alloc(void);

/* An allocator with its own counter, for one store. */
struct stele_alloc *stele_linux_alloc_create(void);
uint64_t stele_linux_alloc_used(const struct stele_alloc *alloc);
void stele_linux_alloc_destroy(struct stele_alloc *alloc);

/* Opens the directory at path; create: makes it (and its parents) if it is missing, and makes the
 * name durable. All names given to the io are reached beneath it without following links
 * (openat2, RESOLVE_BENEATH). read_only refuses every call that writes with STELE_E_READ_ONLY.
 *
 * STELE_OK, STELE_NOT_FOUND, STELE_E_NOT_A_STORE (the path is not a directory),
 * STELE_E_PERMISSION, STELE_E_READ_ONLY, STELE_E_IO, STELE_E_NO_SPACE, STELE_E_NO_MEMORY */
STELE_MUST_USE
int stele_linux_io_open(const char *path, bool create, bool read_only, struct stele_alloc *alloc,
                        struct stele_io **out_io, struct stele_error *err);
void stele_linux_io_close(struct stele_io *io);

/* Is there nothing in the directory that list() leaves out: directories, links, pipes, names too
 * long for a store? Asked before a store is made in it. "lost+found" is the file system's own.
 * STELE_OK; STELE_E_NOT_A_STORE names what is there; STELE_E_IO, STELE_E_PERMISSION */
STELE_MUST_USE
int stele_linux_io_check_bare(struct stele_io *io, struct stele_error *err);

/* Takes the store's write lock: an open-file-description lock on the file "lock", which holds pid
 * and host of its owner in words. STELE_OK; STELE_E_LOCKED with a message that names the owner. Held until
 * stele_linux_io_close(), or the end of the process however it ends. */
STELE_MUST_USE
int stele_linux_io_lock(struct stele_io *io, struct stele_error *err);

/* Is some process holding the write lock? For read-only openings. */
bool stele_linux_io_is_locked(struct stele_io *io);

/* Maps the first size bytes of the file "live", shared with every process that has the store
 * open; writable: creates it with that size, zeroed. NULL with err on failure, STELE_NOT_FOUND if
 * there is none and it is not writable. Unmapped by stele_linux_io_close(). */
STELE_MUST_USE
int stele_linux_io_share(struct stele_io *io, bool writable, size_t size, void **out_memory,
                         struct stele_error *err);

#endif
