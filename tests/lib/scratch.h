/* A directory for one test, in $TMPDIR or /tmp, gone afterwards. */
#ifndef STELE_TESTS_LIB_SCRATCH_H
#define STELE_TESTS_LIB_SCRATCH_H

#include "lib/check.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

struct scratch {
    char path[256];
};

static inline void scratch_make(struct scratch *scratch)
{
    const char *parent = getenv("TMPDIR");
    (void)snprintf(scratch->path, sizeof scratch->path, "%s/stele-scratch-XXXXXX",
                   parent != NULL && *parent != '\0' ? parent : "/tmp");
    CHECK(mkdtemp(scratch->path) != NULL);
}

/* Everything beneath the directory, through its descriptor, which is closed. */
static inline void scratch_empty(int fd)
{
    DIR *directory = fdopendir(fd);
    CHECK(directory != NULL);
    for (const struct dirent *entry; (entry = readdir(directory)) != NULL;) {
        const char *name = entry->d_name;
        if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0) {
            continue;
        }
        if (unlinkat(dirfd(directory), name, 0) == 0) {
            continue;
        }
        const int below = openat(dirfd(directory), name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
        CHECK(below >= 0);
        scratch_empty(below);
        CHECK(unlinkat(dirfd(directory), name, AT_REMOVEDIR) == 0);
    }
    (void)closedir(directory);
}

static inline void scratch_remove(struct scratch *scratch)
{
    const int fd = open(scratch->path, O_RDONLY | O_DIRECTORY);
    CHECK(fd >= 0);
    scratch_empty(fd);
    CHECK(rmdir(scratch->path) == 0);
}

/* Open descriptors of this process: the same before and after, or something leaks. */
static inline size_t scratch_count_descriptors(void)
{
    DIR *directory = opendir("/proc/self/fd");
    CHECK(directory != NULL);
    size_t count = 0;
    while (readdir(directory) != NULL) {
        count++;
    }
    (void)closedir(directory);
    return count;
}

#endif
