/* The seam between Stele and the outside world.
 *
 * Nothing above this header calls the operating system. A process gets the Linux implementation
 * (io/linux.h); the simulator and the tests get one with a seeded clock and a disk that loses,
 * tears, reorders and rots what was not synced. That is what lets a failing run be replayed from
 * its seed.
 *
 * The semantics are a disk's, not a programmer's dream (RELIABILITY rules R2, R11):
 *  - Written bytes are volatile until sync() of that file, or write_durable() of these bytes, has
 *    returned STELE_OK. A crash keeps any part of them, in any order, torn at 512 bytes.
 *  - A name made by create(), rename() or remove() is volatile until sync_names().
 *  - After either fails, what the page cache says about that file proves nothing.
 *  - map() shows what write() wrote, whether it is durable or not.
 *
 * Calls never call back. They may be made from several threads at once for different files, and
 * read(), map() for the same file.
 *
 * Outcomes: STELE_OK, STELE_E_IO, STELE_E_NO_SPACE, STELE_E_NO_MEMORY, STELE_E_PERMISSION,
 * STELE_E_READ_ONLY, and where it is said STELE_NOT_FOUND. err gets file, step and errno. */
#ifndef STELE_IO_IO_H
#define STELE_IO_IO_H

#include "base/alloc.h"
#include "base/bytes.h"
#include "base/status.h"

#define STELE_FILE_NAME_MAX 64 /* Bytes of a name inside the store, with its zero. */

struct stele_file; /* An open file. Its implementation embeds struct stele_file_base first. */

struct stele_io;

struct stele_file {
    struct stele_io *io;
    char name[STELE_FILE_NAME_MAX];
};

typedef int (*stele_io_name_callback)(void *context, const char *name, uint64_t size);

struct stele_io_ops {
    /* Makes a new file of exactly size bytes, all zeros, and opens it. An existing file of that
     * name is replaced. prepare: the space is really written, so that later writes change no
     * metadata (a file written before is 2 to 10 times faster to sync); this may take long. */
    int (*create)(struct stele_io *io, const char *name, uint64_t size, bool prepare,
                  struct stele_file **out_file, struct stele_error *err);
    /* STELE_NOT_FOUND if there is none. writable: write() and sync() will be called. */
    int (*open)(struct stele_io *io, const char *name, bool writable, struct stele_file **out_file,
                struct stele_error *err);
    void (*close)(struct stele_file *file);
    int (*size)(struct stele_file *file, uint64_t *out_size, struct stele_error *err);
    /* Writes all of bytes or fails; on failure any part may have been written. May extend. */
    int (*write)(struct stele_file *file, uint64_t offset, struct stele_bytes bytes,
                 struct stele_error *err);
    /* Makes all earlier writes to this file durable. Never retried by anyone. */
    int (*sync)(struct stele_file *file, struct stele_error *err);
    /* write() that returns STELE_OK when these bytes are durable. It promises nothing of any other
     * bytes, and so need not wait for those that others are writing meanwhile. A failure is one of
     * sync(), also on a full disk: STELE_E_IO, any part is durable, and it is never retried. */
    int (*write_durable)(struct stele_file *file, uint64_t offset, struct stele_bytes bytes,
                         struct stele_error *err);
    /* Reads up to size bytes; *out_size is less only at the end of the file. direct: from the
     * device, not from the page cache, as far as the file system can. */
    int (*read)(struct stele_file *file, uint64_t offset, void *buffer, size_t size, bool direct,
                size_t *out_size, struct stele_error *err);
    /* Maps the first size bytes of the file for reading, until close(). The same address each
     * time; a later call may ask for at most the size of the first. */
    int (*map)(struct stele_file *file, uint64_t size, const uint8_t **out_data,
               struct stele_error *err);
    /* Forgets clean cached pages of the file, so that reads see the device. Best effort. */
    void (*drop_cache)(struct stele_file *file);
    /* Replaces an existing `to`. STELE_NOT_FOUND if there is no `from`. Open files stay open. */
    int (*rename)(struct stele_io *io, const char *from, const char *to, struct stele_error *err);
    /* STELE_NOT_FOUND if there is none. Open and mapped files live on until closed. */
    int (*remove)(struct stele_io *io, const char *name, struct stele_error *err);
    /* Makes the names in the store durable. */
    int (*sync_names)(struct stele_io *io, struct stele_error *err);
    /* Calls on_name for each file, in byte order of names. Names never contain '/'. */
    int (*list)(struct stele_io *io, stele_io_name_callback on_name, void *context,
                struct stele_error *err);
    /* Wall clock, microseconds since 1970. May jump in any direction. */
    int64_t (*now_us)(struct stele_io *io);
    /* Random bytes. Seeded in the simulator. */
    void (*random)(struct stele_io *io, void *buffer, size_t size);
};

/* One store directory and the world it lives in. */
struct stele_io {
    const struct stele_io_ops *ops;
    struct stele_alloc *alloc;
};

#endif
