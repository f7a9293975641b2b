/* The Linux implementation does what io/io.h says.
 *
 * Method: the suite that every implementation has to pass, on a real directory. */
#include "io/linux.h"
#include "lib/check.h"
#include "lib/io_conformance.h"
#include "lib/scratch.h"

static void run_in(const char *path)
{
    struct stele_error err;
    struct stele_alloc *alloc = stele_linux_alloc_create();
    CHECK(alloc != NULL);
    const size_t descriptors = scratch_count_descriptors();
    struct stele_io *io = NULL;
    CHECK_OK(stele_linux_io_open(path, true, false, alloc, &io, &err), err);
    io_conformance(io);
    stele_linux_io_close(io);
    CHECK_EQ(scratch_count_descriptors(), descriptors);
    CHECK_EQ(stele_linux_alloc_used(alloc), 0);
    stele_linux_alloc_destroy(alloc);
}

TEST(linux_conforms)
{
    struct scratch scratch;
    scratch_make(&scratch);
    run_in(scratch.path);
    scratch_remove(&scratch);
}

/* On a file system in memory, which may know neither O_DIRECT nor blocks. */
TEST(linux_conforms_in_memory)
{
    char path[64];
    (void)snprintf(path, sizeof path, "/dev/shm/stele-scratch-%ld", (long)getpid());
    if (mkdir(path, 0700) != 0) {
        (void)printf("# no /dev/shm\n");
        return;
    }
    run_in(path);
    CHECK(rmdir(path) == 0);
}
