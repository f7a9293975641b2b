#include "io/linux_internal.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

int stele_io__rename(struct stele_io *base, const char *from, const char *to,
                     struct stele_error *err)
{
    struct linux_io *io = stele_io__linux_of(base);
    int outcome = stele_io__check_name(io, from, err);
    if (outcome == STELE_OK) {
        outcome = stele_io__check_name(io, to, err);
    }
    if (outcome != STELE_OK) {
        return outcome;
    }
    if (io->read_only) {
        return stele_io__refuse(io, from, "renaming", err);
    }
    if (renameat(io->directory, from, io->directory, to) != 0) {
        return stele_io__fail_or_not_found(io, from, "renaming", err);
    }
    return STELE_OK;
}

int stele_io__remove(struct stele_io *base, const char *name, struct stele_error *err)
{
    struct linux_io *io = stele_io__linux_of(base);
    const int outcome = stele_io__check_name(io, name, err);
    if (outcome != STELE_OK) {
        return outcome;
    }
    if (io->read_only) {
        return stele_io__refuse(io, name, "removing", err);
    }
    if (unlinkat(io->directory, name, 0) != 0) {
        return stele_io__fail_or_not_found(io, name, "removing", err);
    }
    return STELE_OK;
}

int stele_io__sync_names(struct stele_io *base, struct stele_error *err)
{
    struct linux_io *io = stele_io__linux_of(base);
    if (io->read_only) {
        return stele_io__refuse(io, ".", "syncing names", err);
    }
    if (fsync(io->directory) != 0) {
        return stele_io__fail_errno(io, "", "syncing names", err);
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

/* Calls on_entry for everything in the directory but "." and "..", with what it is. */
static int walk(struct linux_io *io,
                int (*on_entry)(struct linux_io *io, void *context, const char *name,
                                const struct stat *stat, struct stele_error *err),
                void *context, struct stele_error *err)
{
    /* Opened anew, because two descriptors made by dup() would share one place in the list. */
    const int fd = openat(io->directory, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) {
        return stele_io__fail_errno(io, "", "listing", err);
    }
    DIR *directory = fdopendir(fd);
    if (directory == NULL) {
        const int failed = stele_io__fail_errno(io, "", "listing", err);
        (void)close(fd);
        return failed;
    }
    int outcome = STELE_OK;
    while (outcome == STELE_OK) {
        errno = 0; /* The only way to tell the end from an error. */
        const struct dirent *entry = readdir(directory);
        if (entry == NULL) {
            outcome = errno == 0 ? STELE_OK : stele_io__fail_errno(io, "", "listing", err);
            break;
        }
        const char *const name = entry->d_name;
        struct stat stat;
        if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0) {
            continue;
        }
        if (fstatat(io->directory, name, &stat, AT_SYMLINK_NOFOLLOW) == 0) {
            outcome = on_entry(io, context, name, &stat, err);
        } else if (errno != ENOENT) { /* Else it was removed since: then it is not there. */
            outcome = stele_io__fail_errno(io, name, "listing", err);
        }
    }
    (void)closedir(directory);
    return outcome;
}

/* Files that a store could have made. */
static bool is_listed(const char *name, const struct stat *stat)
{
    return strlen(name) < STELE_FILE_NAME_MAX && S_ISREG(stat->st_mode);
}

static bool is_own(const char *name)
{
    return strcmp(name, STELE_IO__LOCK_NAME) == 0 || strcmp(name, STELE_IO__LIVE_NAME) == 0;
}

static int list_add(struct linux_io *io, void *context, const char *name, const struct stat *stat,
                    struct stele_error *err)
{
    struct stele_buf *const names = context;
    if (!is_listed(name, stat) || is_own(name)) {
        return STELE_OK;
    }
    struct listed listed = {.size = (uint64_t)stat->st_size};
    memcpy(listed.name, name, strlen(name) + 1);
    const struct stele_bytes bytes = {.data = (const uint8_t *)&listed, .size = sizeof listed};
    if (stele_buf_append(names, io->base.alloc, bytes) != STELE_OK) {
        return stele_io__fail_no_memory(io, name, err);
    }
    return STELE_OK;
}

int stele_io__list(struct stele_io *base, stele_io_name_callback on_name, void *context,
                   struct stele_error *err)
{
    struct linux_io *io = stele_io__linux_of(base);
    struct stele_buf names = {0};
    int outcome = walk(io, list_add, &names, err);
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

static int refuse_foreign(struct linux_io *io, void *context, const char *name,
                          const struct stat *stat, struct stele_error *err)
{
    (void)context;
    if (is_listed(name, stat) || (S_ISDIR(stat->st_mode) && strcmp(name, "lost+found") == 0)) {
        return STELE_OK;
    }
    return stele_fail(
        err, STELE_E_NOT_A_STORE, 0,
        "%s is not empty (there is %.64s) and no Stele store; choose an empty or a new "
        "directory",
        io->path, name);
}

int stele_linux_io_check_bare(struct stele_io *base, struct stele_error *err)
{
    return walk(stele_io__linux_of(base), refuse_foreign, NULL, err);
}
