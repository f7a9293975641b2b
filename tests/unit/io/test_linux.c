/* What is Linux's own: the directory, what may lie in it, reading only, the lock, the shared page.
 *
 * Method: real directories, links, pipes and processes. */
#include "io/linux.h"
#include "lib/check.h"
#include "lib/dies.h"
#include "lib/scratch.h"
#include "lib/testalloc.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>

static struct stele_error err;

static struct stele_io *open_io(const char *path, bool read_only)
{
    struct stele_io *io = NULL;
    CHECK_OK(stele_linux_io_open(path, true, read_only, stele_linux_alloc(), &io, &err), err);
    return io;
}

static void put(struct stele_io *io, const char *name, const char *text)
{
    struct stele_file *file = NULL;
    CHECK_OK(io->ops->create(io, name, 0, false, &file, &err), err);
    CHECK_OK(io->ops->write(file, 0, stele_bytes_of_text(text), &err), err);
    io->ops->close(file);
}

/* A path beneath the scratch directory. The text is valid until the next call. */
static const char *below(const struct scratch *scratch, const char *rest)
{
    static char path[512];
    (void)snprintf(path, sizeof path, "%s/%s", scratch->path, rest);
    return path;
}

/* ---- The directory ------------------------------------------------------------------------ */

TEST(a_missing_directory_is_made_with_its_parents)
{
    static const char *const PATHS[] = {"a", "b/", "c/d/e", "f//g///", "./h/../i"};
    struct scratch scratch;
    scratch_make(&scratch);
    for (size_t i = 0; i < STELE_COUNT_OF(PATHS); i++) {
        const size_t descriptors = scratch_count_descriptors();
        struct stele_io *io = open_io(below(&scratch, PATHS[i]), false);
        put(io, "file", "x");
        stele_linux_io_close(io);
        CHECK_EQ(scratch_count_descriptors(), descriptors);
        io = open_io(below(&scratch, PATHS[i]), true);
        stele_linux_io_close(io);
    }
    struct stat stat_of_c;
    CHECK(stat(below(&scratch, "c/d/e"), &stat_of_c) == 0);
    CHECK_EQ(stat_of_c.st_mode & 07, 0); /* Not for others. */
    scratch_remove(&scratch);
}

TEST(a_missing_directory_is_not_made_unasked)
{
    struct scratch scratch;
    scratch_make(&scratch);
    struct stele_io *io = NULL;
    struct stele_alloc *alloc = stele_linux_alloc();
    CHECK_OUTCOME(stele_linux_io_open(below(&scratch, "a"), false, false, alloc, &io, &err),
                  STELE_NOT_FOUND, err);
    CHECK_EQ(err.outcome, STELE_NOT_FOUND);
    CHECK_TEXT_HAS(err.message, scratch.path);
    CHECK_OUTCOME(stele_linux_io_open(below(&scratch, "a"), true, true, alloc, &io, &err),
                  STELE_NOT_FOUND, err);
    CHECK_OUTCOME(stele_linux_io_open("", true, false, alloc, &io, &err), STELE_NOT_FOUND, err);
    CHECK(io == NULL);
    CHECK(access(below(&scratch, "a"), F_OK) != 0);
    scratch_remove(&scratch);
}

TEST(a_path_that_is_no_directory_is_not_a_store)
{
    struct scratch scratch;
    scratch_make(&scratch);
    struct stele_io *io = open_io(scratch.path, false);
    put(io, "file", "x");
    stele_linux_io_close(io);
    io = NULL;
    static const char *const PATHS[] = {"file", "file/", "file/beneath"};
    for (size_t i = 0; i < STELE_COUNT_OF(PATHS); i++) {
        for (int create = 0; create <= 1; create++) {
            CHECK_OUTCOME(stele_linux_io_open(below(&scratch, PATHS[i]), create != 0, false,
                                              stele_linux_alloc(), &io, &err),
                          STELE_E_NOT_A_STORE, err);
        }
    }
    CHECK(io == NULL);
    scratch_remove(&scratch);
}

TEST(a_link_to_the_directory_itself_is_followed)
{
    struct scratch scratch;
    scratch_make(&scratch);
    CHECK(mkdir(below(&scratch, "real"), 0700) == 0);
    CHECK(symlink("real", below(&scratch, "link")) == 0);
    struct stele_io *io = open_io(below(&scratch, "link"), false);
    put(io, "file", "x");
    stele_linux_io_close(io);
    CHECK(access(below(&scratch, "real/file"), F_OK) == 0);
    scratch_remove(&scratch);
}

TEST(denied_access_is_said)
{
    if (geteuid() == 0) {
        (void)printf("# root is denied nothing\n");
        return;
    }
    struct scratch scratch;
    scratch_make(&scratch);
    CHECK(mkdir(below(&scratch, "closed"), 0) == 0);
    struct stele_io *io = NULL;
    CHECK_OUTCOME(
        stele_linux_io_open(below(&scratch, "closed"), true, false, stele_linux_alloc(), &io, &err),
        STELE_E_PERMISSION, err);
    CHECK(chmod(below(&scratch, "closed"), 0700) == 0);
    scratch_remove(&scratch);
}

/* ---- What may lie in it ------------------------------------------------------------------- */

TEST(names_that_lead_elsewhere_are_refused_by_every_call)
{
    char long_name[STELE_FILE_NAME_MAX + 1];
    memset(long_name, 'a', sizeof long_name - 1);
    long_name[sizeof long_name - 1] = '\0';
    const char *const NAMES[] = {"",  ".",    "..",   "../secret", "/etc/passwd", "a/b",
                                 "/", "a/..", "a/./", "./a",       long_name};

    struct scratch scratch;
    scratch_make(&scratch);
    CHECK(mkdir(below(&scratch, "store"), 0700) == 0);
    struct stele_io *outside = open_io(scratch.path, false);
    put(outside, "secret", "x");
    struct stele_io *io = open_io(below(&scratch, "store"), false);
    put(io, "good", "x");
    for (size_t i = 0; i < STELE_COUNT_OF(NAMES); i++) {
        struct stele_file *file = NULL;
        const char *bad = NAMES[i];
        CHECK_OUTCOME(io->ops->create(io, bad, 1, false, &file, &err), STELE_E_INVALID, err);
        CHECK_OUTCOME(io->ops->open(io, bad, false, &file, &err), STELE_E_INVALID, err);
        CHECK_OUTCOME(io->ops->open(io, bad, true, &file, &err), STELE_E_INVALID, err);
        CHECK_OUTCOME(io->ops->rename(io, bad, "other", &err), STELE_E_INVALID, err);
        CHECK_OUTCOME(io->ops->rename(io, "good", bad, &err), STELE_E_INVALID, err);
        CHECK_OUTCOME(io->ops->remove(io, bad, &err), STELE_E_INVALID, err);
        CHECK(file == NULL);
    }
    CHECK(access(below(&scratch, "secret"), F_OK) == 0);
    CHECK(access(below(&scratch, "store/good"), F_OK) == 0);
    stele_linux_io_close(io);
    stele_linux_io_close(outside);
    scratch_remove(&scratch);
}

TEST(links_are_not_followed)
{
    struct scratch scratch;
    scratch_make(&scratch);
    CHECK(mkdir(below(&scratch, "store"), 0700) == 0);
    struct stele_io *outside = open_io(scratch.path, false);
    put(outside, "secret", "content");
    struct stele_io *io = open_io(below(&scratch, "store"), false);
    put(io, "good", "x");
    static const char *const TARGETS[] = {"../secret", "good", "nothing", "/etc/passwd"};
    for (size_t i = 0; i < STELE_COUNT_OF(TARGETS); i++) {
        CHECK(symlink(TARGETS[i], below(&scratch, "store/link")) == 0);
        struct stele_file *file = NULL;
        CHECK_OUTCOME(io->ops->open(io, "link", false, &file, &err), STELE_E_PERMISSION, err);
        CHECK_OUTCOME(io->ops->open(io, "link", true, &file, &err), STELE_E_PERMISSION, err);
        CHECK(file == NULL);
        /* Creating puts a file in the place of the link; what it points to stays. */
        put(io, "link", "mine");
        struct stat stat_of_link;
        CHECK(lstat(below(&scratch, "store/link"), &stat_of_link) == 0);
        CHECK(S_ISREG(stat_of_link.st_mode));
        CHECK_OK(io->ops->remove(io, "link", &err), err);
    }
    struct stat stat_of_secret;
    CHECK(stat(below(&scratch, "secret"), &stat_of_secret) == 0);
    CHECK_EQ(stat_of_secret.st_size, 7);
    stele_linux_io_close(io);
    stele_linux_io_close(outside);
    scratch_remove(&scratch);
}

static int count_name(void *context, const char *name, uint64_t size)
{
    (void)name;
    (void)size;
    ++*(int *)context;
    return STELE_OK;
}

TEST(what_is_no_file_is_neither_opened_nor_listed)
{
    struct scratch scratch;
    scratch_make(&scratch);
    struct stele_io *io = open_io(scratch.path, false);
    CHECK(mkdir(below(&scratch, "directory"), 0700) == 0);
    CHECK(mkfifo(below(&scratch, "pipe"), 0600) == 0);
    CHECK(symlink("/etc/passwd", below(&scratch, "link")) == 0);
    static const char *const NAMES[] = {"directory", "pipe"};
    for (size_t i = 0; i < STELE_COUNT_OF(NAMES); i++) {
        for (int writable = 0; writable <= 1; writable++) {
            struct stele_file *file = NULL;
            CHECK_OUTCOME(io->ops->open(io, NAMES[i], writable != 0, &file, &err), STELE_E_IO, err);
            CHECK(file == NULL);
        }
    }
    struct stele_file *file = NULL;
    CHECK_OUTCOME(io->ops->create(io, "directory", 1, false, &file, &err), STELE_E_IO, err);
    int count = 0;
    CHECK_OK(io->ops->list(io, count_name, &count, &err), err);
    CHECK_EQ(count, 0);
    stele_linux_io_close(io);
    scratch_remove(&scratch);
}

static int stop_at_second(void *context, const char *name, uint64_t size)
{
    (void)name;
    (void)size;
    return ++*(int *)context == 2 ? 77 : STELE_OK;
}

TEST(a_listing_can_be_stopped)
{
    struct scratch scratch;
    scratch_make(&scratch);
    struct stele_io *io = open_io(scratch.path, false);
    put(io, "a", "");
    put(io, "b", "");
    put(io, "c", "");
    int count = 0;
    CHECK_EQ(io->ops->list(io, stop_at_second, &count, &err), 77);
    CHECK_EQ(count, 2);
    stele_linux_io_close(io);
    scratch_remove(&scratch);
}

TEST(names_too_long_for_a_store_are_not_listed)
{
    struct scratch scratch;
    scratch_make(&scratch);
    struct stele_io *io = open_io(scratch.path, false);
    char name[STELE_FILE_NAME_MAX + 1];
    memset(name, 'a', sizeof name - 1);
    name[sizeof name - 1] = '\0';
    CHECK(close(open(below(&scratch, name), O_CREAT | O_WRONLY, 0600)) == 0);
    int count = 0;
    CHECK_OK(io->ops->list(io, count_name, &count, &err), err);
    CHECK_EQ(count, 0);
    stele_linux_io_close(io);
    scratch_remove(&scratch);
}

TEST(what_a_listing_leaves_out_is_found_before_a_store_is_made)
{
    struct scratch scratch;
    scratch_make(&scratch);
    struct stele_io *io = open_io(scratch.path, false);
    const size_t descriptors = scratch_count_descriptors();
    CHECK_OK(stele_linux_io_check_bare(io, &err), err);
    put(io, "file", "x");
    CHECK_EQ(mkdir(below(&scratch, "lost+found"), 0700), 0);
    CHECK_OK(stele_linux_io_check_bare(io, &err), err);
    CHECK_EQ(mkdir(below(&scratch, "photos"), 0700), 0);
    CHECK_OUTCOME(stele_linux_io_check_bare(io, &err), STELE_E_NOT_A_STORE, err);
    CHECK_TEXT_HAS(err.message, "photos");
    CHECK_EQ(rmdir(below(&scratch, "photos")), 0);
    CHECK_EQ(symlink("file", below(&scratch, "link")), 0);
    CHECK_OUTCOME(stele_linux_io_check_bare(io, &err), STELE_E_NOT_A_STORE, err);
    CHECK_TEXT_HAS(err.message, "link");
    CHECK_EQ(scratch_count_descriptors(), descriptors);
    stele_linux_io_close(io);
    scratch_remove(&scratch);
}

TEST(mapping_behind_the_end_is_an_error_rather_than_a_signal)
{
    struct scratch scratch;
    scratch_make(&scratch);
    struct stele_io *io = open_io(scratch.path, false);
    struct stele_file *file = NULL;
    const uint8_t *data = NULL;
    CHECK_OK(io->ops->create(io, "a", 100, false, &file, &err), err);
    CHECK_OUTCOME(io->ops->map(file, 101, &data, &err), STELE_E_IO, err);
    CHECK_TEXT_HAS(err.message, "101");
    CHECK(data == NULL);
    CHECK_OK(io->ops->map(file, 100, &data, &err), err);
    CHECK_DIES((void)io->ops->map(file, 101, &data, &err));
    CHECK_DIES((void)io->ops->map(file, 0, &data, &err));
    io->ops->close(file);
    stele_linux_io_close(io);
    scratch_remove(&scratch);
}

/* Readers of a file may come from any thread; the first ones race for the mapping and for the
 * second descriptor. */
static _Atomic int ready;

static void *read_in_thread(void *context)
{
    struct stele_file *file = context;
    (void)atomic_fetch_add(&ready, 1);
    while (atomic_load(&ready) < 4) {
    }
    const uint8_t *data = NULL;
    struct stele_error own;
    CHECK_OK(file->io->ops->map(file, 8192, &data, &own), own);
    for (int i = 0; i < 50; i++) {
        char got[16];
        size_t size = 0;
        CHECK_OK(file->io->ops->read(file, 8190, got, sizeof got, i % 2 == 0, &size, &own), own);
        CHECK_EQ(size, 2);
        CHECK_BYTES_EQ(got, "yz", 2);
        CHECK_BYTES_EQ(data + 8190, "yz", 2);
    }
    return NULL;
}

TEST(threads_may_read_and_map_the_same_file)
{
    struct scratch scratch;
    scratch_make(&scratch);
    struct stele_io *io = open_io(scratch.path, false);
    for (int round = 0; round < 10; round++) {
        struct stele_file *file = NULL;
        CHECK_OK(io->ops->create(io, "a", 8192, false, &file, &err), err);
        CHECK_OK(io->ops->write(file, 8190, stele_bytes_of_text("yz"), &err), err);
        atomic_store(&ready, 0);
        pthread_t threads[4];
        for (size_t i = 0; i < 4; i++) {
            CHECK_EQ(pthread_create(&threads[i], NULL, read_in_thread, file), 0);
        }
        for (size_t i = 0; i < 4; i++) {
            CHECK_EQ(pthread_join(threads[i], NULL), 0);
        }
        io->ops->close(file);
    }
    stele_linux_io_close(io);
    scratch_remove(&scratch);
}

/* ---- Reading only ------------------------------------------------------------------------- */

TEST(reading_only_refuses_every_call_that_writes)
{
    struct scratch scratch;
    scratch_make(&scratch);
    struct stele_io *io = open_io(scratch.path, false);
    put(io, "a", "content");
    stele_linux_io_close(io);

    io = open_io(scratch.path, true);
    struct stele_file *file = NULL;
    void *memory = NULL;
    CHECK_OUTCOME(io->ops->create(io, "b", 1, false, &file, &err), STELE_E_READ_ONLY, err);
    CHECK_OUTCOME(io->ops->create(io, "a", 1, true, &file, &err), STELE_E_READ_ONLY, err);
    CHECK_OUTCOME(io->ops->open(io, "a", true, &file, &err), STELE_E_READ_ONLY, err);
    CHECK_OUTCOME(io->ops->rename(io, "a", "b", &err), STELE_E_READ_ONLY, err);
    CHECK_OUTCOME(io->ops->remove(io, "a", &err), STELE_E_READ_ONLY, err);
    CHECK_OUTCOME(io->ops->sync_names(io, &err), STELE_E_READ_ONLY, err);
    CHECK_OUTCOME(stele_linux_io_lock(io, &err), STELE_E_READ_ONLY, err);
    CHECK_OUTCOME(stele_linux_io_share(io, true, 4096, &memory, &err), STELE_E_READ_ONLY, err);
    CHECK(file == NULL);
    CHECK(memory == NULL);

    CHECK_OK(io->ops->open(io, "a", false, &file, &err), err);
    CHECK_OUTCOME(io->ops->write(file, 0, stele_bytes_of_text("x"), &err), STELE_E_READ_ONLY, err);
    CHECK_OUTCOME(io->ops->sync(file, &err), STELE_E_READ_ONLY, err);
    char got[16];
    size_t size = 0;
    CHECK_OK(io->ops->read(file, 0, got, sizeof got, false, &size, &err), err);
    CHECK_EQ(size, 7);
    CHECK_BYTES_EQ(got, "content", 7);
    io->ops->close(file);
    stele_linux_io_close(io);

    int count = 0;
    io = open_io(scratch.path, false);
    CHECK_OK(io->ops->list(io, count_name, &count, &err), err);
    CHECK_EQ(count, 1);
    stele_linux_io_close(io);
    scratch_remove(&scratch);
}

/* ---- The lock ----------------------------------------------------------------------------- */

struct locker {
    pid_t pid;
    int done; /* Closing it lets the process end as it should. */
};

/* A process that has the store locked. */
static void start_locker(struct locker *locker, const char *path)
{
    int ready_pipe[2];
    int done_pipe[2];
    CHECK(pipe(ready_pipe) == 0 && pipe(done_pipe) == 0);
    (void)fflush(stdout);
    locker->pid = fork();
    CHECK(locker->pid >= 0);
    if (locker->pid == 0) {
        (void)close(done_pipe[1]);
        struct stele_io *io = NULL;
        char answer = 'n';
        if (stele_linux_io_open(path, true, false, stele_linux_alloc(), &io, NULL) == STELE_OK &&
            stele_linux_io_lock(io, NULL) == STELE_OK) {
            answer = 'y';
        }
        if (write(ready_pipe[1], &answer, 1) == 1) {
            (void)!read(done_pipe[0], &answer, 1);
        }
        stele_linux_io_close(io);
        _exit(0);
    }
    char answer = '?';
    CHECK(read(ready_pipe[0], &answer, 1) == 1);
    CHECK_EQ(answer, 'y');
    (void)close(ready_pipe[0]);
    (void)close(ready_pipe[1]);
    (void)close(done_pipe[0]);
    locker->done = done_pipe[1];
}

static void end_locker(struct locker *locker)
{
    (void)close(locker->done);
    CHECK_EQ(waitpid(locker->pid, NULL, 0), locker->pid);
}

static void check_locks(struct stele_io *io)
{
    CHECK(!stele_linux_io_is_locked(io));
    CHECK_OK(stele_linux_io_lock(io, &err), err);
    CHECK(stele_linux_io_is_locked(io));
}

TEST(a_second_process_is_refused_and_told_who_is_first)
{
    struct scratch scratch;
    scratch_make(&scratch);
    struct locker locker;
    start_locker(&locker, scratch.path);
    struct stele_io *io = open_io(scratch.path, false);
    CHECK(stele_linux_io_is_locked(io));
    CHECK_OUTCOME(stele_linux_io_lock(io, &err), STELE_E_LOCKED, err);
    char words[64];
    (void)snprintf(words, sizeof words, "process %ld ", (long)locker.pid);
    CHECK_TEXT_HAS(err.message, words);
    char host[256] = "";
    CHECK(gethostname(host, sizeof host - 1) == 0);
    CHECK_TEXT_HAS(err.message, host);
    CHECK_TEXT_HAS(err.message, scratch.path);
    end_locker(&locker);
    check_locks(io);
    stele_linux_io_close(io);
    scratch_remove(&scratch);
}

TEST(the_lock_of_a_killed_process_is_free)
{
    struct scratch scratch;
    scratch_make(&scratch);
    struct locker locker;
    start_locker(&locker, scratch.path);
    struct stele_io *io = open_io(scratch.path, false);
    CHECK_OUTCOME(stele_linux_io_lock(io, &err), STELE_E_LOCKED, err);
    CHECK(kill(locker.pid, SIGKILL) == 0);
    end_locker(&locker);
    check_locks(io);
    stele_linux_io_close(io);
    scratch_remove(&scratch);
}

TEST(the_same_process_cannot_lock_twice)
{
    struct scratch scratch;
    scratch_make(&scratch);
    struct stele_io *first = open_io(scratch.path, false);
    struct stele_io *second = open_io(scratch.path, false);
    check_locks(first);
    CHECK_OUTCOME(stele_linux_io_lock(second, &err), STELE_E_LOCKED, err);
    CHECK_DIES((void)!stele_linux_io_lock(first, &err));
    stele_linux_io_close(first);
    check_locks(second);
    stele_linux_io_close(second);
    scratch_remove(&scratch);
}

TEST(a_child_that_closes_its_copy_does_not_unlock)
{
    struct scratch scratch;
    scratch_make(&scratch);
    struct stele_io *io = open_io(scratch.path, false);
    check_locks(io);
    const pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        stele_linux_io_close(io);
        _exit(0);
    }
    CHECK_EQ(waitpid(child, NULL, 0), child);
    struct stele_io *other = open_io(scratch.path, false);
    CHECK_OUTCOME(stele_linux_io_lock(other, &err), STELE_E_LOCKED, err);
    stele_linux_io_close(io);
    stele_linux_io_close(other);
    scratch_remove(&scratch);
}

TEST(closing_unlocks_although_a_child_lives_on)
{
    struct scratch scratch;
    scratch_make(&scratch);
    struct stele_io *io = open_io(scratch.path, false);
    check_locks(io);
    int done[2];
    CHECK(pipe(done) == 0);
    const pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        (void)close(done[1]);
        char byte;
        (void)!read(done[0], &byte, 1);
        _exit(0);
    }
    stele_linux_io_close(io);
    io = open_io(scratch.path, false);
    check_locks(io);
    (void)close(done[0]);
    (void)close(done[1]);
    CHECK_EQ(waitpid(child, NULL, 0), child);
    stele_linux_io_close(io);
    scratch_remove(&scratch);
}

TEST(a_store_nobody_ever_locked_is_not_locked)
{
    struct scratch scratch;
    scratch_make(&scratch);
    struct stele_io *io = open_io(scratch.path, true);
    CHECK(!stele_linux_io_is_locked(io));
    CHECK(access(below(&scratch, "lock"), F_OK) != 0);
    stele_linux_io_close(io);
    scratch_remove(&scratch);
}

TEST(what_stands_in_the_lock_file_is_not_believed)
{
    struct scratch scratch;
    scratch_make(&scratch);
    struct stele_io *first = open_io(scratch.path, false);
    struct stele_io *second = open_io(scratch.path, false);
    check_locks(first);
    const int fd = open(below(&scratch, "lock"), O_WRONLY | O_TRUNC);
    CHECK(fd >= 0);
    CHECK_OUTCOME(stele_linux_io_lock(second, &err), STELE_E_LOCKED, err);
    CHECK_TEXT_HAS(err.message, "another process");
    char rubbish[2000];
    memset(rubbish, '\033', sizeof rubbish);
    CHECK_EQ(write(fd, rubbish, sizeof rubbish), sizeof rubbish);
    CHECK_OUTCOME(stele_linux_io_lock(second, &err), STELE_E_LOCKED, err);
    CHECK(strchr(err.message, '\033') == NULL);
    (void)close(fd);
    stele_linux_io_close(first);
    stele_linux_io_close(second);
    scratch_remove(&scratch);
}

/* ---- The shared page ---------------------------------------------------------------------- */

TEST(the_shared_page_is_the_same_in_every_process)
{
    struct scratch scratch;
    scratch_make(&scratch);
    struct stele_io *reader = open_io(scratch.path, true);
    void *seen = NULL;
    CHECK_OUTCOME(stele_linux_io_share(reader, false, 4096, &seen, &err), STELE_NOT_FOUND, err);
    CHECK(seen == NULL);

    struct stele_io *writer = open_io(scratch.path, false);
    void *page = NULL;
    CHECK_OK(stele_linux_io_share(writer, true, 4096, &page, &err), err);
    CHECK_OK(stele_linux_io_share(reader, false, 4096, &seen, &err), err);
    (void)fflush(stdout);
    const pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        atomic_store((_Atomic uint64_t *)page, 42);
        _exit(0);
    }
    CHECK_EQ(waitpid(child, NULL, 0), child);
    CHECK_EQ(atomic_load((_Atomic uint64_t *)seen), 42);
    stele_linux_io_close(writer);

    /* A new writer begins with zeros, and those who have the page mapped see it. */
    writer = open_io(scratch.path, false);
    CHECK_OK(stele_linux_io_share(writer, true, 4096, &page, &err), err);
    CHECK_EQ(atomic_load((_Atomic uint64_t *)page), 0);
    CHECK_EQ(atomic_load((_Atomic uint64_t *)seen), 0);
    atomic_store((_Atomic uint64_t *)page, 7);
    CHECK_EQ(atomic_load((_Atomic uint64_t *)seen), 7);
    stele_linux_io_close(writer);
    stele_linux_io_close(reader);
    scratch_remove(&scratch);
}

TEST(a_page_that_is_not_written_yet_is_not_there)
{
    struct scratch scratch;
    scratch_make(&scratch);
    struct stele_io *io = open_io(scratch.path, true);
    const int fd = open(below(&scratch, "live"), O_CREAT | O_WRONLY, 0600);
    CHECK(fd >= 0 && ftruncate(fd, 4095) == 0);
    (void)close(fd);
    void *page = NULL;
    CHECK_OUTCOME(stele_linux_io_share(io, false, 4096, &page, &err), STELE_NOT_FOUND, err);
    CHECK(page == NULL);
    stele_linux_io_close(io);
    scratch_remove(&scratch);
}

TEST(lock_and_page_are_not_files_of_the_store)
{
    struct scratch scratch;
    scratch_make(&scratch);
    struct stele_io *io = open_io(scratch.path, false);
    void *page = NULL;
    check_locks(io);
    CHECK_OK(stele_linux_io_share(io, true, 64, &page, &err), err);
    int count = 0;
    CHECK_OK(io->ops->list(io, count_name, &count, &err), err);
    CHECK_EQ(count, 0);
    stele_linux_io_close(io);
    scratch_remove(&scratch);
}

/* ---- Memory ------------------------------------------------------------------------------- */

static int use_everything(const char *path, struct stele_alloc *alloc)
{
    struct stele_io *io = NULL;
    int outcome = stele_linux_io_open(path, true, false, alloc, &io, &err);
    if (outcome != STELE_OK) {
        CHECK(io == NULL);
        return outcome;
    }
    struct stele_file *file = NULL;
    char got[8];
    size_t size = 0;
    int count = 0;
    outcome = io->ops->create(io, "a", 5000, true, &file, &err);
    if (outcome == STELE_OK) {
        outcome = io->ops->read(file, 4999, got, sizeof got, true, &size, &err);
        io->ops->close(file);
    }
    if (outcome == STELE_OK) {
        outcome = io->ops->open(io, "a", false, &file, &err);
        if (outcome == STELE_OK) {
            io->ops->close(file);
        }
    }
    if (outcome == STELE_OK) {
        outcome = io->ops->list(io, count_name, &count, &err);
    }
    stele_linux_io_close(io);
    return outcome;
}

TEST(any_failed_allocation_is_said_and_leaks_nothing)
{
    struct scratch scratch;
    scratch_make(&scratch);
    const size_t descriptors = scratch_count_descriptors();
    bool failed = true;
    for (uint64_t n = 1; failed; n++) {
        struct testalloc alloc;
        testalloc_init(&alloc, 1);
        alloc.fail_at = n;
        const int outcome = use_everything(scratch.path, &alloc.base);
        failed = alloc.failures > 0;
        CHECK_OUTCOME(outcome, failed ? STELE_E_NO_MEMORY : STELE_OK, err);
        CHECK(!failed || err.outcome == STELE_E_NO_MEMORY);
        CHECK(failed || n > 5);
        CHECK_EQ(alloc.bytes, 0);
        CHECK_EQ(scratch_count_descriptors(), descriptors);
    }
    scratch_remove(&scratch);
}

/* ---- Reading past the page cache ------------------------------------------------------------- */

/* Descriptors of this process that go past the page cache. */
static int count_direct(void)
{
    int count = 0;
    for (int fd = 3; fd < 256; fd++) {
        const int flags = fcntl(fd, F_GETFL);
        count += flags >= 0 && (flags & O_DIRECT) != 0;
    }
    return count;
}

static void read_direct(struct stele_file *file, const char *want)
{
    char text[32] = "";
    size_t size = 0;
    CHECK_OK(file->io->ops->read(file, 0, text, sizeof text, true, &size, &err), err);
    CHECK_EQ(size, strlen(want));
    CHECK_BYTES_EQ(text, want, size);
}

static bool can_direct(const char *path)
{
    const int fd = open(path, O_RDONLY | O_DIRECT);
    if (fd >= 0) {
        (void)close(fd);
    }
    return fd >= 0;
}

/* A server runs so: its /proc/self/fd belongs to root, and cannot be used to open a file again. */
TEST(a_process_that_may_not_be_dumped_reads_past_the_page_cache)
{
    struct scratch scratch;
    scratch_make(&scratch);
    struct stele_io *io = open_io(below(&scratch, "store"), false);
    put(io, "file", "text");
    stele_linux_io_close(io);
    const bool can = can_direct(below(&scratch, "store/file"));
    CHECK_EQ(chmod(scratch.path, 0777), 0);
    CHECK_EQ(chmod(below(&scratch, "store"), 0777), 0);
    CHECK_EQ(chmod(below(&scratch, "store/file"), 0666), 0);
    (void)fflush(stdout);
    const pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        if (getuid() == 0) {
            CHECK_EQ(setgid(65534), 0);
            CHECK_EQ(setuid(65534), 0);
        }
        if (access(below(&scratch, "store/file"), R_OK) != 0) {
            _exit(0); /* The tests lie where only root may look. */
        }
        CHECK_EQ(prctl(PR_SET_DUMPABLE, 0, 0, 0, 0), 0);
        struct stele_io *again = open_io(below(&scratch, "store"), true);
        struct stele_file *file = NULL;
        CHECK_OK(again->ops->open(again, "file", false, &file, &err), err);
        read_direct(file, "text");
        CHECK_EQ(count_direct(), can ? 1 : 0);
        _exit(0);
    }
    int status = 0;
    CHECK_EQ(waitpid(child, &status, 0), child);
    CHECK_EQ(status, 0);
    scratch_remove(&scratch);
}

TEST(a_name_that_became_another_files_is_not_read_past_the_page_cache)
{
    struct scratch scratch;
    scratch_make(&scratch);
    struct stele_io *io = open_io(scratch.path, false);
    put(io, "file", "old");
    struct stele_file *file = NULL;
    CHECK_OK(io->ops->open(io, "file", false, &file, &err), err);
    put(io, "other", "new");
    CHECK_EQ(rename(below(&scratch, "other"), below(&scratch, "file")), 0);
    read_direct(file, "old");
    io->ops->close(file);
    stele_linux_io_close(io);
    scratch_remove(&scratch);
}
