/* What the kernel says is passed on as it is meant: errors as outcomes, once; interruptions and
 * short transfers not at all; and nothing leaks on the way.
 *
 * Method: the linker puts the functions below between the implementation and the C library
 * (--wrap). They fail the n-th call of a kind, for every kind and n = 1, 2, … until none fails. */
#include "io/linux.h"
#include "lib/check.h"
#include "lib/scratch.h"
#include "lib/testalloc.h"

#include <errno.h>
#include <linux/magic.h>
#include <stdarg.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <sys/vfs.h>

/* ---- Between the implementation and the kernel -------------------------------------------- */

enum call {
    CALL_FALLOCATE,
    CALL_FCNTL,
    CALL_FDATASYNC,
    CALL_FDOPENDIR,
    CALL_FSTAT,
    CALL_FSTATAT,
    CALL_FSTATFS,
    CALL_FSYNC,
    CALL_FTRUNCATE,
    CALL_MKDIR,
    CALL_MMAP,
    CALL_OPEN,
    CALL_OPENAT,
    CALL_OPENAT2,
    CALL_PREAD,
    CALL_PWRITE,
    CALL_PWRITEV2,
    CALL_READDIR,
    CALL_RENAMEAT,
    CALL_SYNCFS,
    CALL_UNLINKAT,
    CALLS
};

static const char *const NAMES[CALLS] = {
    [CALL_FALLOCATE] = "fallocate", [CALL_FCNTL] = "fcntl",         [CALL_FDATASYNC] = "fdatasync",
    [CALL_FDOPENDIR] = "fdopendir", [CALL_FSTAT] = "fstat",         [CALL_FSTATAT] = "fstatat",
    [CALL_FSYNC] = "fsync",         [CALL_FTRUNCATE] = "ftruncate", [CALL_MKDIR] = "mkdir",
    [CALL_MMAP] = "mmap",           [CALL_OPEN] = "open",           [CALL_OPENAT] = "openat",
    [CALL_OPENAT2] = "openat2",     [CALL_PREAD] = "pread",         [CALL_PWRITE] = "pwrite",
    [CALL_READDIR] = "readdir",     [CALL_RENAMEAT] = "renameat",   [CALL_SYNCFS] = "syncfs",
    [CALL_UNLINKAT] = "unlinkat",   [CALL_FSTATFS] = "fstatfs",     [CALL_PWRITEV2] = "pwritev2",
};

static struct {
    enum call call; /* Of this kind … */
    uint64_t at;    /* … the call with this number, from 1, fails. 0: none. */
    bool sticky;    /* And all after it. */
    int number;     /* With this errno; 0: it moves no bytes and says so. */
    size_t most;    /* Bytes that one transfer moves; 0: all. */
    uint64_t counts[CALLS];
    uint64_t failures;
    bool every_open;   /* All ways to open a file fail, not only that kind of call. */
    bool direct;       /* A file is being read past the page cache. */
    bool while_direct; /* The failure came then. */
    uint64_t bytes_written;
    bool no_ranges; /* It is another file system than those known to sync ranges. */
} plan;

static void plan_nothing(void)
{
    memset(&plan, 0, sizeof plan);
}

static void plan_failure(enum call call, uint64_t at, int number, bool sticky)
{
    plan_nothing();
    plan.call = call;
    plan.at = at;
    plan.number = number;
    plan.sticky = sticky;
}

static bool fails(enum call call)
{
    const uint64_t count = ++plan.counts[call];
    const bool planned = plan.call == call || (plan.every_open && call == CALL_OPEN);
    if (plan.at == 0 || !planned || count < plan.at || (count > plan.at && !plan.sticky)) {
        return false;
    }
    plan.failures++;
    plan.while_direct = plan.direct;
    errno = plan.number;
    return true;
}

static size_t shortened(size_t size)
{
    return plan.most != 0 && size > plan.most ? plan.most : size;
}

/* The linker asks for these names.
 * NOLINTBEGIN(bugprone-reserved-identifier,cert-dcl37-c,cert-dcl51-cpp) */
#define WRAP_INT(name, call, parameters, arguments)                                                \
    int __real_##name parameters;                                                                  \
    int __wrap_##name parameters;                                                                  \
    int __wrap_##name parameters                                                                   \
    {                                                                                              \
        return fails(call) ? -1 : __real_##name arguments;                                         \
    }

WRAP_INT(fallocate64, CALL_FALLOCATE, (int fd, int mode, off_t offset, off_t size),
         (fd, mode, offset, size))
WRAP_INT(fdatasync, CALL_FDATASYNC, (int fd), (fd))
WRAP_INT(fstat64, CALL_FSTAT, (int fd, struct stat *stat), (fd, stat))
WRAP_INT(fstatat64, CALL_FSTATAT, (int fd, const char *path, struct stat *stat, int flags),
         (fd, path, stat, flags))
WRAP_INT(fsync, CALL_FSYNC, (int fd), (fd))
WRAP_INT(ftruncate64, CALL_FTRUNCATE, (int fd, off_t size), (fd, size))
WRAP_INT(mkdir, CALL_MKDIR, (const char *path, mode_t mode), (path, mode))
WRAP_INT(renameat, CALL_RENAMEAT, (int a, const char *from, int b, const char *to),
         (a, from, b, to))
WRAP_INT(syncfs, CALL_SYNCFS, (int fd), (fd))
WRAP_INT(unlinkat, CALL_UNLINKAT, (int fd, const char *path, int flags), (fd, path, flags))

int __real_fcntl64(int fd, int command, ...);
int __wrap_fcntl64(int fd, int command, ...);
int __wrap_fcntl64(int fd, int command, ...)
{
    va_list args;
    va_start(args, command);
    void *argument = va_arg(args, void *); /* Wide enough for the integers, too. */
    va_end(args);
    return fails(CALL_FCNTL) ? -1 : __real_fcntl64(fd, command, argument);
}

int __real_open64(const char *path, int flags, ...);
int __wrap_open64(const char *path, int flags, ...);
int __wrap_open64(const char *path, int flags, ...)
{
    CHECK((flags & O_CREAT) == 0);
    return fails(CALL_OPEN) ? -1 : __real_open64(path, flags);
}

int __real_openat64(int fd, const char *path, int flags, ...);
int __wrap_openat64(int fd, const char *path, int flags, ...);
int __wrap_openat64(int fd, const char *path, int flags, ...)
{
    mode_t mode = 0;
    if (flags & O_CREAT) {
        va_list args;
        va_start(args, flags);
        mode = va_arg(args, mode_t);
        va_end(args);
    }
    return fails(CALL_OPENAT) ? -1 : __real_openat64(fd, path, flags, mode);
}

/* The implementation's only use of it is openat2(). */
long __real_syscall(long number, ...);
long __wrap_syscall(long number, ...);
long __wrap_syscall(long number, ...)
{
    va_list args;
    va_start(args, number);
    const long a = va_arg(args, long);
    const long b = va_arg(args, long);
    const long c = va_arg(args, long);
    const long d = va_arg(args, long);
    va_end(args);
    return fails(CALL_OPENAT2) ? -1 : __real_syscall(number, a, b, c, d);
}

ssize_t __real_pread64(int fd, void *buffer, size_t size, off_t offset);
ssize_t __wrap_pread64(int fd, void *buffer, size_t size, off_t offset);
ssize_t __wrap_pread64(int fd, void *buffer, size_t size, off_t offset)
{
    if (fails(CALL_PREAD)) {
        return plan.number == 0 ? 0 : -1;
    }
    return __real_pread64(fd, buffer, shortened(size), offset);
}

ssize_t __real_pwrite64(int fd, const void *buffer, size_t size, off_t offset);
ssize_t __wrap_pwrite64(int fd, const void *buffer, size_t size, off_t offset);
ssize_t __wrap_pwrite64(int fd, const void *buffer, size_t size, off_t offset)
{
    if (fails(CALL_PWRITE)) {
        return plan.number == 0 ? 0 : -1;
    }
    const ssize_t written = __real_pwrite64(fd, buffer, shortened(size), offset);
    plan.bytes_written += written > 0 ? (uint64_t)written : 0;
    return written;
}

/* Whatever file system the tests run on, it says that it is one that syncs ranges. */
int __wrap_fstatfs64(int fd, struct statfs *found);
int __wrap_fstatfs64(int fd, struct statfs *found)
{
    (void)fd;
    memset(found, 0, sizeof *found);
    found->f_type = plan.no_ranges ? TMPFS_MAGIC : EXT4_SUPER_MAGIC;
    return fails(CALL_FSTATFS) ? -1 : 0;
}

ssize_t __real_pwritev64v2(int fd, const struct iovec *pieces, int count, off_t offset, int flags);
ssize_t __wrap_pwritev64v2(int fd, const struct iovec *pieces, int count, off_t offset, int flags);
ssize_t __wrap_pwritev64v2(int fd, const struct iovec *pieces, int count, off_t offset, int flags)
{
    CHECK_EQ(flags, RWF_DSYNC);
    CHECK_EQ(count, 1);
    if (fails(CALL_PWRITEV2)) {
        return plan.number == 0 ? 0 : -1;
    }
    const struct iovec piece = {.iov_base = pieces[0].iov_base,
                                .iov_len = shortened(pieces[0].iov_len)};
    const ssize_t written = __real_pwritev64v2(fd, &piece, 1, offset, flags);
    plan.bytes_written += written > 0 ? (uint64_t)written : 0;
    return written;
}

void *__real_mmap64(void *at, size_t size, int protection, int flags, int fd, off_t offset);
void *__wrap_mmap64(void *at, size_t size, int protection, int flags, int fd, off_t offset);
void *__wrap_mmap64(void *at, size_t size, int protection, int flags, int fd, off_t offset)
{
    return fails(CALL_MMAP) ? MAP_FAILED : __real_mmap64(at, size, protection, flags, fd, offset);
}

DIR *__real_fdopendir(int fd);
DIR *__wrap_fdopendir(int fd);
DIR *__wrap_fdopendir(int fd)
{
    return fails(CALL_FDOPENDIR) ? NULL : __real_fdopendir(fd);
}

struct dirent *__real_readdir64(DIR *directory);
struct dirent *__wrap_readdir64(DIR *directory);
struct dirent *__wrap_readdir64(DIR *directory)
{
    return fails(CALL_READDIR) ? NULL : __real_readdir64(directory);
}

/* NOLINTEND(bugprone-reserved-identifier,cert-dcl37-c,cert-dcl51-cpp) */

/* ---- What is done through them ------------------------------------------------------------ */

static struct stele_error err;

static const uint8_t TEXT[] = "some bytes";
#define TEXT_SIZE (sizeof TEXT - 1)
#define FILE_SIZE 10000
#define TEXT_AT 4093 /* So that it lies over the edge of a page. */

struct world {
    struct scratch scratch;
    struct testalloc alloc;
    struct stele_io *io;
    struct stele_file *file;
};

static void world_init_ranges(struct world *world, bool ranges)
{
    plan_nothing();
    plan.no_ranges = !ranges;
    memset(world, 0, sizeof *world);
    scratch_make(&world->scratch);
    testalloc_init(&world->alloc, 1);
    CHECK_OK(
        stele_linux_io_open(world->scratch.path, true, false, &world->alloc.base, &world->io, &err),
        err);
    CHECK_OK(world->io->ops->create(world->io, "file", FILE_SIZE, false, &world->file, &err), err);
    plan_nothing();
}

static void world_init(struct world *world)
{
    world_init_ranges(world, true);
}

static void world_deinit(struct world *world)
{
    plan_nothing();
    world->io->ops->close(world->file);
    stele_linux_io_close(world->io);
    CHECK_EQ(world->alloc.bytes, 0);
    scratch_remove(&world->scratch);
}

static int write_text(struct stele_file *file)
{
    return file->io->ops->write(file, TEXT_AT,
                                (struct stele_bytes){.data = TEXT, .size = TEXT_SIZE}, &err);
}

static int write_text_durable(struct stele_file *file)
{
    return file->io->ops->write_durable(
        file, TEXT_AT, (struct stele_bytes){.data = TEXT, .size = TEXT_SIZE}, &err);
}

/* The file is zeros around the text. */
static int check_content(struct stele_file *file, bool direct)
{
    static uint8_t got[FILE_SIZE + 1];
    memset(got, '?', sizeof got);
    size_t size = 0;
    plan.direct = direct;
    const int outcome = file->io->ops->read(file, 0, got, sizeof got, direct, &size, &err);
    plan.direct = false;
    if (outcome == STELE_OK) {
        CHECK_EQ(size, FILE_SIZE);
        CHECK_BYTES_EQ(got + TEXT_AT, TEXT, TEXT_SIZE);
        for (size_t i = 0; i < FILE_SIZE; i++) {
            CHECK(got[i] == 0 || (i >= TEXT_AT && i < TEXT_AT + TEXT_SIZE));
        }
    }
    return outcome;
}

static int on_name(void *context, const char *name, uint64_t size)
{
    (void)name;
    (void)size;
    ++*(int *)context;
    return STELE_OK;
}

/* Uses a file in every way. */
static int use_file(struct stele_file *file)
{
    struct stele_io *io = file->io;
    const uint8_t *data = NULL;
    uint64_t size = 0;
    int outcome = write_text(file);
    outcome = outcome == STELE_OK ? io->ops->sync(file, &err) : outcome;
    outcome = outcome == STELE_OK ? write_text_durable(file) : outcome;
    outcome = outcome == STELE_OK ? check_content(file, false) : outcome;
    outcome = outcome == STELE_OK ? check_content(file, true) : outcome;
    outcome = outcome == STELE_OK ? io->ops->size(file, &size, &err) : outcome;
    outcome = outcome == STELE_OK ? io->ops->map(file, FILE_SIZE, &data, &err) : outcome;
    if (outcome == STELE_OK) {
        CHECK_EQ(size, FILE_SIZE);
        CHECK_BYTES_EQ(data + TEXT_AT, TEXT, TEXT_SIZE);
    }
    return outcome;
}

/* Every operation once. Stops at the first that fails. */
static int use_store(struct stele_io *io, bool prepare)
{
    struct stele_file *file = NULL;
    int outcome = io->ops->create(io, "a", FILE_SIZE, prepare, &file, &err);
    if (outcome != STELE_OK) {
        CHECK(file == NULL);
        return outcome;
    }
    outcome = use_file(file);
    io->ops->close(file);
    file = NULL;
    outcome = outcome == STELE_OK ? io->ops->rename(io, "a", "b", &err) : outcome;
    outcome = outcome == STELE_OK ? io->ops->sync_names(io, &err) : outcome;
    outcome = outcome == STELE_OK ? io->ops->open(io, "b", true, &file, &err) : outcome;
    if (outcome == STELE_OK) {
        io->ops->close(file);
    } else {
        CHECK(file == NULL);
    }
    int count = 0;
    outcome = outcome == STELE_OK ? io->ops->list(io, on_name, &count, &err) : outcome;
    CHECK(outcome != STELE_OK || count == 1);
    outcome = outcome == STELE_OK ? io->ops->remove(io, "b", &err) : outcome;
    void *page = NULL;
    outcome = outcome == STELE_OK ? stele_linux_io_lock(io, &err) : outcome;
    return outcome == STELE_OK ? stele_linux_io_share(io, true, 4096, &page, &err) : outcome;
}

static int use_all(const char *path, struct stele_alloc *alloc, bool prepare)
{
    struct stele_io *io = NULL;
    int outcome = stele_linux_io_open(path, true, false, alloc, &io, &err);
    if (outcome != STELE_OK) {
        CHECK(io == NULL);
        return outcome;
    }
    outcome = use_store(io, prepare);
    stele_linux_io_close(io);
    return outcome;
}

/* Does everything in a store that does not exist before, with the plan as it is. */
static int use_all_with_plan(bool prepare)
{
    const uint64_t at = plan.at;
    plan.at = 0; /* Not for what the test itself does. */
    const size_t descriptors = scratch_count_descriptors();
    struct testalloc alloc;
    struct scratch scratch;
    char path[sizeof scratch.path + 8];
    scratch_make(&scratch);
    testalloc_init(&alloc, 1);
    (void)snprintf(path, sizeof path, "%s/x/y", scratch.path);
    memset(plan.counts, 0, sizeof plan.counts);
    plan.at = at;
    const int outcome = use_all(path, &alloc.base, prepare);
    plan.at = 0;
    CHECK_EQ(alloc.bytes, 0);
    scratch_remove(&scratch);
    CHECK_EQ(scratch_count_descriptors(), descriptors);
    return outcome;
}

/* ---- Errors ------------------------------------------------------------------------------- */

/* Some failures of these are worked around: there is another way to the same end, or it is only
 * about the words in the lock file. */
static bool is_tolerated(enum call call)
{
    return call == CALL_FCNTL || call == CALL_OPEN || call == CALL_PWRITE ||
           call == CALL_FTRUNCATE || call == CALL_FSTATFS;
}

TEST(any_failed_call_is_an_error_or_worked_around_and_leaks_nothing)
{
    for (enum call call = 0; call < CALLS; call++) {
        for (int prepare = 0; prepare <= 1; prepare++) {
            uint64_t errors = 0;
            bool failed = true;
            for (uint64_t n = 1; failed; n++) {
                plan_failure(call, n, EIO, false);
                memset(&err, 0, sizeof err);
                const int outcome = use_all_with_plan(prepare != 0);
                failed = plan.failures > 0;
                if (outcome == STELE_OK) {
                    /* A file that cannot be opened once more is read through the page cache. */
                    const bool around =
                        plan.while_direct &&
                        (call == CALL_FSTAT || call == CALL_OPENAT || call == CALL_OPENAT2);
                    CHECK(!failed || is_tolerated(call) || around);
                    continue;
                }
                CHECK(failed);
                CHECK_OUTCOME(outcome, STELE_E_IO, err);
                CHECK_EQ(err.outcome, STELE_E_IO);
                CHECK_EQ(err.os_errno, EIO);
                CHECK_TEXT_HAS(err.message, "/x/y");
                CHECK_TEXT_HAS(err.message, strerror(EIO));
                errors++;
            }
            (void)printf("# %s, prepare %d: %ju errors\n", NAMES[call], prepare, (uintmax_t)errors);
            /* syncfs() is itself a way around. fallocate() is for preparing, ftruncate() is not. */
            CHECK(errors > 0 || call == CALL_SYNCFS || call == CALL_FSTATFS ||
                  call == (prepare != 0 ? CALL_FTRUNCATE : CALL_FALLOCATE));
        }
    }
}

TEST(every_error_of_the_kernel_has_its_outcome)
{
    static const struct {
        int number;
        int outcome;
    } ERRORS[] = {
        {ENOSPC, STELE_E_NO_SPACE},  {EDQUOT, STELE_E_NO_SPACE}, {EACCES, STELE_E_PERMISSION},
        {EPERM, STELE_E_PERMISSION}, {EROFS, STELE_E_READ_ONLY}, {ENOMEM, STELE_E_NO_MEMORY},
        {EIO, STELE_E_IO},           {EFBIG, STELE_E_IO},        {EINVAL, STELE_E_IO},
        {EBADF, STELE_E_IO},         {ENOENT, STELE_E_IO},       {EAGAIN, STELE_E_IO},
        {ENXIO, STELE_E_IO},         {ETIMEDOUT, STELE_E_IO},    {ESTALE, STELE_E_IO},
    };
    struct world world;
    world_init(&world);
    for (size_t i = 0; i < STELE_COUNT_OF(ERRORS); i++) {
        plan_failure(CALL_PWRITE, 1, ERRORS[i].number, false);
        CHECK_OUTCOME(write_text(world.file), ERRORS[i].outcome, err);
        CHECK_EQ(plan.counts[CALL_PWRITE], 1); /* Tried once. */
        CHECK_EQ(err.outcome, ERRORS[i].outcome);
        CHECK_EQ(err.os_errno, ERRORS[i].number);
        CHECK_TEXT_HAS(err.message, "/file: writing: ");
        CHECK_TEXT_HAS(err.message, world.scratch.path);
        CHECK_TEXT_HAS(err.message, strerror(ERRORS[i].number));

        char got[4];
        size_t size = 99;
        plan_failure(CALL_PREAD, 1, ERRORS[i].number, false);
        CHECK_OUTCOME(world.io->ops->read(world.file, 0, got, 4, false, &size, &err),
                      ERRORS[i].outcome, err);
        CHECK_EQ(plan.counts[CALL_PREAD], 1);
        CHECK_EQ(size, 99);
    }
    world_deinit(&world);
}

TEST(a_missing_name_is_not_found_only_where_that_is_an_answer)
{
    struct world world;
    world_init(&world);
    struct stele_io *io = world.io;
    struct stele_file *file = NULL;
    int count = 0;
    plan_failure(CALL_OPENAT2, 1, ENOENT, false);
    CHECK_OUTCOME(io->ops->open(io, "file", false, &file, &err), STELE_NOT_FOUND, err);
    CHECK_EQ(err.outcome, STELE_NOT_FOUND);
    /* The directory itself is gone. */
    plan_failure(CALL_OPENAT2, 1, ENOENT, false);
    CHECK_OUTCOME(io->ops->create(io, "new", 1, false, &file, &err), STELE_E_IO, err);
    plan_failure(CALL_OPENAT, 1, ENOENT, false);
    CHECK_OUTCOME(io->ops->list(io, on_name, &count, &err), STELE_E_IO, err);
    CHECK(file == NULL);
    world_deinit(&world);
}

/* SPEC: after a failed sync the kernel may have dropped what was dirty, so trying again proves
 * nothing, and a full disk is no milder than a broken one. */
TEST(a_failed_sync_is_final_and_tried_once)
{
    static const int NUMBERS[] = {EIO, ENOSPC, EDQUOT, EINTR, EAGAIN, EROFS, ENOMEM, EACCES};
    struct world world;
    world_init(&world);
    for (size_t i = 0; i < STELE_COUNT_OF(NUMBERS); i++) {
        plan_failure(CALL_FDATASYNC, 1, NUMBERS[i], false);
        CHECK_OUTCOME(world.io->ops->sync(world.file, &err), STELE_E_IO, err);
        CHECK_EQ(plan.counts[CALL_FDATASYNC], 1);
        CHECK_EQ(err.outcome, STELE_E_IO);
        CHECK_EQ(err.os_errno, NUMBERS[i]);
        plan_failure(CALL_FDATASYNC, 1, NUMBERS[i], false);
        CHECK_EQ(world.io->ops->sync(world.file, NULL), STELE_E_IO);
    }
    world_deinit(&world);
}

TEST(a_failed_durable_write_is_final_and_tried_once)
{
    static const int NUMBERS[] = {EIO, ENOSPC, EDQUOT, EINTR, EAGAIN, EROFS, ENOMEM, EOPNOTSUPP};
    static const enum call CALLS_TRIED[] = {CALL_PWRITEV2, CALL_PWRITE, CALL_FDATASYNC};
    for (size_t c = 0; c < STELE_COUNT_OF(CALLS_TRIED); c++) {
        for (size_t i = 0; i < STELE_COUNT_OF(NUMBERS); i++) {
            if (CALLS_TRIED[c] == CALL_PWRITE && NUMBERS[i] == EINTR) {
                continue; /* Nothing was synced yet: tried again. */
            }
            struct world world;
            world_init_ranges(&world, CALLS_TRIED[c] == CALL_PWRITEV2);
            plan_failure(CALLS_TRIED[c], 1, NUMBERS[i], false);
            CHECK_OUTCOME(write_text_durable(world.file), STELE_E_IO, err);
            CHECK_EQ(plan.counts[CALLS_TRIED[c]], 1);
            CHECK_EQ(err.outcome, STELE_E_IO);
            CHECK_EQ(err.os_errno, NUMBERS[i]);
            world_deinit(&world);
        }
    }
}

TEST(a_durable_write_syncs_every_byte_however_short_the_transfers)
{
    for (int ranges = 0; ranges <= 1; ranges++) {
        for (size_t most = 1; most <= TEXT_SIZE; most++) {
            struct world world;
            world_init_ranges(&world, ranges != 0);
            plan.most = most;
            CHECK_OK(write_text_durable(world.file), err);
            CHECK_EQ(plan.bytes_written, TEXT_SIZE);
            CHECK_EQ(plan.counts[ranges != 0 ? CALL_PWRITEV2 : CALL_PWRITE],
                     (TEXT_SIZE + most - 1) / most);
            CHECK_EQ(plan.counts[CALL_FDATASYNC], ranges != 0 ? 0 : 1);
            plan_nothing();
            CHECK_OK(check_content(world.file, true), err);
            world_deinit(&world);
        }
    }
}

TEST(a_file_system_that_does_not_say_what_it_is_gets_whole_syncs)
{
    struct world world;
    world_init_ranges(&world, false);
    CHECK_OK(write_text_durable(world.file), err);
    CHECK_EQ(plan.counts[CALL_PWRITEV2], 0);
    CHECK_EQ(plan.counts[CALL_FDATASYNC], 1);
    world_deinit(&world);
}

TEST(a_write_that_moves_nothing_is_an_error_and_no_endless_loop)
{
    struct world world;
    world_init(&world);
    plan_failure(CALL_PWRITE, 1, 0, true);
    CHECK_OUTCOME(write_text(world.file), STELE_E_IO, err);
    CHECK_EQ(plan.counts[CALL_PWRITE], 1);
    plan_failure(CALL_PWRITEV2, 1, 0, true);
    CHECK_OUTCOME(write_text_durable(world.file), STELE_E_IO, err);
    CHECK_EQ(plan.counts[CALL_PWRITEV2], 1);
    world_deinit(&world);
}

TEST(a_file_that_could_not_be_made_is_not_left_behind)
{
    static const enum call KINDS[] = {CALL_FALLOCATE, CALL_PWRITE, CALL_FDATASYNC};
    struct world world;
    world_init(&world);
    for (size_t i = 0; i < STELE_COUNT_OF(KINDS); i++) {
        struct stele_file *file = NULL;
        plan_failure(KINDS[i], 1, ENOSPC, true);
        CHECK_OUTCOME(world.io->ops->create(world.io, "new", 5 << 20, true, &file, &err),
                      STELE_E_NO_SPACE, err);
        CHECK_EQ(err.os_errno, ENOSPC);
        CHECK(file == NULL);
        plan_nothing();
        CHECK_OUTCOME(world.io->ops->open(world.io, "new", false, &file, &err), STELE_NOT_FOUND,
                      err);
    }
    world_deinit(&world);
}

TEST(a_full_disk_does_not_keep_a_store_from_being_locked)
{
    struct world world;
    world_init(&world);
    plan_failure(CALL_PWRITE, 1, ENOSPC, true);
    CHECK_OK(stele_linux_io_lock(world.io, &err), err);
    CHECK(stele_linux_io_is_locked(world.io));
    /* The shared page needs room, and says so instead of being a trap in memory. */
    void *page = NULL;
    CHECK_OUTCOME(stele_linux_io_share(world.io, true, 4096, &page, &err), STELE_E_NO_SPACE, err);
    CHECK(page == NULL);
    world_deinit(&world);
}

TEST(a_file_system_without_locks_says_so)
{
    struct world world;
    world_init(&world);
    plan_failure(CALL_FCNTL, 1, ENOLCK, false);
    CHECK_OUTCOME(stele_linux_io_lock(world.io, &err), STELE_E_IO, err);
    CHECK_TEXT_HAS(err.message, "/lock: locking: ");
    CHECK_OK(stele_linux_io_lock(world.io, &err), err);
    world_deinit(&world);
}

/* ---- What is no error --------------------------------------------------------------------- */

TEST(interrupted_calls_are_repeated)
{
    static const enum call KINDS[] = {CALL_PWRITE, CALL_PREAD, CALL_FALLOCATE, CALL_OPENAT2};
    for (size_t i = 0; i < STELE_COUNT_OF(KINDS); i++) {
        bool failed = true;
        uint64_t n = 1;
        for (; failed; n++) {
            plan_failure(KINDS[i], n, EINTR, false);
            CHECK_OK(use_all_with_plan(true), err);
            failed = plan.failures > 0;
        }
        CHECK(n > 2);
    }
}

TEST(short_transfers_are_continued)
{
    static const size_t MOST[] = {1, 2, 7, 512, 4095, 4096, 4097, 8192};
    for (size_t i = 0; i < STELE_COUNT_OF(MOST); i++) {
        for (int prepare = 0; prepare <= 1; prepare++) {
            plan_nothing();
            plan.most = MOST[i];
            CHECK_OK(use_all_with_plan(prepare != 0), err);
        }
    }
}

TEST(preparing_really_writes_every_byte)
{
    static const uint64_t SIZES[] = {1, 4095, 4096, 4097, 1 << 20, (1 << 20) + 1, (5 << 20) + 77};
    struct world world;
    world_init(&world);
    for (size_t i = 0; i < STELE_COUNT_OF(SIZES); i++) {
        struct stele_file *file = NULL;
        plan_nothing();
        CHECK_OK(world.io->ops->create(world.io, "new", SIZES[i], true, &file, &err), err);
        CHECK_EQ(plan.bytes_written, SIZES[i]);
        CHECK_EQ(plan.counts[CALL_FDATASYNC], 1);
        world.io->ops->close(file);

        plan_nothing();
        CHECK_OK(world.io->ops->create(world.io, "new", SIZES[i], false, &file, &err), err);
        CHECK_EQ(plan.bytes_written, 0);
        world.io->ops->close(file);
    }
    world_deinit(&world);
}

/* Everything works although the kernel or the file system has never heard of these. */
TEST(what_the_system_cannot_do_is_done_otherwise)
{
    static const struct {
        enum call call;
        int number;
        bool sticky;
    } MISSING[] = {
        {CALL_FALLOCATE, EOPNOTSUPP, true}, /* NFS before 4.2. */
        {CALL_FALLOCATE, ENOSYS, true},     /* FUSE. */
        {CALL_OPENAT2, ENOSYS, true},       /* Linux before 5.6. */
        {CALL_OPENAT2, EPERM, true},        /* A sandbox. */
        {CALL_FCNTL, EINVAL, false},        /* No O_DIRECT for writing. */
        {CALL_PWRITE, EINVAL, false},       /* O_DIRECT, with a greater alignment. */
    };
    for (size_t i = 0; i < STELE_COUNT_OF(MISSING); i++) {
        plan_failure(MISSING[i].call, 1, MISSING[i].number, MISSING[i].sticky);
        CHECK_OK(use_all_with_plan(true), err);
        CHECK(plan.failures > 0);
    }
}

TEST(reading_directly_falls_back_to_the_page_cache)
{
    static const struct {
        enum call call;
        int number;
        bool every_open;
        uint64_t failures;
    } MISSING[] = {
        {CALL_OPENAT2, EINVAL, true, 2},  /* No O_DIRECT, by the name and through /proc. */
        {CALL_OPENAT2, ENOENT, true, 2},  /* Another name by now, and no /proc. */
        {CALL_OPENAT2, ENOENT, false, 1}, /* Another name by now. */
        {CALL_PREAD, EINVAL, false, 1},   /* A greater alignment. */
    };
    for (size_t i = 0; i < STELE_COUNT_OF(MISSING); i++) {
        struct world world;
        world_init(&world);
        CHECK_OK(write_text(world.file), err);
        CHECK_OK(world.io->ops->sync(world.file, &err), err);
        plan_failure(MISSING[i].call, 1, MISSING[i].number, false);
        plan.every_open = MISSING[i].every_open;
        CHECK_OK(check_content(world.file, true), err);
        CHECK_EQ(plan.failures, MISSING[i].failures);
        CHECK_OK(check_content(world.file, true), err);
        world_deinit(&world);
    }
}

TEST(an_error_of_the_device_does_not_fall_back_to_the_page_cache)
{
    struct world world;
    world_init(&world);
    CHECK_OK(write_text(world.file), err);
    plan_failure(CALL_PREAD, 1, EIO, false);
    CHECK_OUTCOME(check_content(world.file, true), STELE_E_IO, err);
    CHECK_EQ(plan.counts[CALL_PREAD], 1);
    world_deinit(&world);
}

TEST(without_openat2_links_are_refused_all_the_same)
{
    struct world world;
    world_init(&world);
    char path[sizeof world.scratch.path + 8];
    (void)snprintf(path, sizeof path, "%s/link", world.scratch.path);
    CHECK(symlink("file", path) == 0);
    struct stele_file *file = NULL;
    plan_failure(CALL_OPENAT2, 1, ENOSYS, true);
    CHECK_OUTCOME(world.io->ops->open(world.io, "link", true, &file, &err), STELE_E_PERMISSION,
                  err);
    CHECK_EQ(plan.failures, 1);
    CHECK(file == NULL);
    world_deinit(&world);
}

TEST(each_sync_is_one_sync)
{
    struct world world;
    world_init(&world);
    CHECK_OK(world.io->ops->sync(world.file, &err), err);
    CHECK_EQ(plan.counts[CALL_FDATASYNC], 1);
    CHECK_OK(world.io->ops->sync_names(world.io, &err), err);
    CHECK_EQ(plan.counts[CALL_FSYNC], 1);
    world_deinit(&world);
}

/* ---- The name of the directory ------------------------------------------------------------ */

TEST(the_name_of_a_directory_without_files_is_synced)
{
    struct scratch scratch;
    struct stele_io *io = NULL;
    struct stele_file *file = NULL;
    scratch_make(&scratch);
    for (int i = 0; i < 2; i++) { /* However often it was opened. */
        plan_nothing();
        CHECK_OK(stele_linux_io_open(scratch.path, true, false, stele_linux_alloc(), &io, &err),
                 err);
        CHECK_EQ(plan.counts[CALL_FSYNC], 1);
        stele_linux_io_close(io);
    }
    plan_nothing();
    CHECK_OK(stele_linux_io_open(scratch.path, false, false, stele_linux_alloc(), &io, &err), err);
    CHECK_EQ(plan.counts[CALL_FSYNC], 0);
    CHECK_OK(io->ops->create(io, "a", 0, false, &file, &err), err);
    io->ops->close(file);
    stele_linux_io_close(io);

    plan_nothing();
    CHECK_OK(stele_linux_io_open(scratch.path, true, false, stele_linux_alloc(), &io, &err), err);
    CHECK_EQ(plan.counts[CALL_FSYNC], 0);
    stele_linux_io_close(io);
    scratch_remove(&scratch);
}

TEST(a_parent_that_cannot_be_read_is_synced_with_everything_else)
{
    struct scratch scratch;
    struct stele_io *io = NULL;
    scratch_make(&scratch);
    plan_failure(CALL_OPENAT, 2, EACCES, false); /* The first is for listing. */
    CHECK_OK(stele_linux_io_open(scratch.path, true, false, stele_linux_alloc(), &io, &err), err);
    CHECK_EQ(plan.failures, 1);
    CHECK_EQ(plan.counts[CALL_SYNCFS], 1);
    stele_linux_io_close(io);
    plan_nothing();
    scratch_remove(&scratch);
}
