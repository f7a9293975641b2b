/* In the sandbox what a server needs works, and nothing else does.
 *
 * Method: a child process goes into it and tries. Where the kernel has no such thing the child says
 * so, and the test claims nothing. */
#include "lib/check.h"
#include "lib/scratch.h"
#include "server/sandbox.h"

#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>

enum { UNSUPPORTED = 77 };

/* 0: everything as it should be; a line number where it was not. */
static int in_child(int (*run)(const struct scratch *scratch), const struct scratch *scratch)
{
    const pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        _exit(run(scratch));
    }
    int status = 0;
    CHECK_EQ(waitpid(child, &status, 0), child);
    CHECK(WIFEXITED(status));
    return WEXITSTATUS(status) == UNSUPPORTED ? 0 : WEXITSTATUS(status);
}

/* Exit codes have 8 bits: claims are numbered. */
#define CLAIM(number, condition)                                                                   \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            return number;                                                                         \
        }                                                                                          \
    } while (0)

static bool denied(int result, int with)
{
    return result < 0 && errno == with;
}

static int try_files(const struct scratch *scratch)
{
    struct stele_error err = {0};
    char inside[300];
    char outside[300];
    const char *const write[] = {scratch->path};
    const char *const read[] = {"/proc", "/no/such/place"};
    const struct stele_sandbox_paths paths = {
        .write = write, .write_count = 1, .read = read, .read_count = 2};
    (void)snprintf(outside, sizeof outside, "%s-outside", scratch->path);
    const int outcome = stele_sandbox_files(&paths, &err);
    if (outcome == STELE_E_UNSUPPORTED) {
        return UNSUPPORTED;
    }
    CLAIM(1, outcome == STELE_OK);
    (void)snprintf(inside, sizeof inside, "%s/file", scratch->path);
    const int fd = open(inside, O_RDWR | O_CREAT, 0600);
    CLAIM(2, fd >= 0);
    CLAIM(3, ftruncate(fd, 4096) == 0);
    CLAIM(4, open("/proc/self/status", O_RDONLY) >= 0);
    CLAIM(5, denied(open("/etc/passwd", O_RDONLY), EACCES));
    CLAIM(6, denied(open(outside, O_RDWR | O_CREAT, 0600), EACCES));
    CLAIM(7, denied(mkdir(outside, 0700), EACCES));
    CLAIM(8, denied(open("/proc/self/comm", O_WRONLY), EACCES));
    (void)snprintf(outside, sizeof outside, "%s/link", scratch->path);
    CLAIM(9, denied(symlink("/etc/passwd", outside), EACCES));
    char program[] = "/bin/true";
    char *const arguments[] = {program, NULL};
    CLAIM(10, denied(execv(program, arguments), EACCES));
    CLAIM(11, unlink(inside) == 0);
    return 0;
}

static void *try_in_thread(void *context)
{
    char program[] = "/bin/true";
    char *const arguments[] = {program, NULL};
    pthread_barrier_t *const barrier = context;
    (void)pthread_barrier_wait(barrier);
    (void)pthread_barrier_wait(barrier);
    return denied(execv(program, arguments), EPERM) ? barrier : NULL;
}

static int try_calls(const struct scratch *scratch)
{
    struct stele_error err = {0};
    char path[300];
    pthread_barrier_t barrier;
    pthread_t thread;
    (void)snprintf(path, sizeof path, "%s/file", scratch->path);
    CLAIM(1, pthread_barrier_init(&barrier, NULL, 2) == 0);
    CLAIM(2, pthread_create(&thread, NULL, try_in_thread, &barrier) == 0);
    (void)pthread_barrier_wait(&barrier);
    const int outcome = stele_sandbox_calls(&err);
    if (outcome == STELE_E_UNSUPPORTED) {
        return UNSUPPORTED;
    }
    CLAIM(3, outcome == STELE_OK);
    (void)pthread_barrier_wait(&barrier);
    void *result = NULL;
    CLAIM(4, pthread_join(thread, &result) == 0);
    CLAIM(5, result != NULL); /* A thread that was there before is bound as well. */
    char program[] = "/bin/true";
    char *const arguments[] = {program, NULL};
    CLAIM(6, denied(execv(program, arguments), EPERM));
    CLAIM(7, denied((int)ptrace(PTRACE_TRACEME, 0, NULL, NULL), EPERM));
    CLAIM(8, denied(chroot("/"), EPERM));
    const int fd = open(path, O_RDWR | O_CREAT, 0600);
    CLAIM(9, fd >= 0);
    CLAIM(10, pwrite(fd, "x", 1, 0) == 1);
    CLAIM(11, fdatasync(fd) == 0);
    CLAIM(12, socket(AF_INET, SOCK_STREAM, 0) >= 0);
    CLAIM(13, unlink(path) == 0);
    CLAIM(14, pthread_create(&thread, NULL, try_in_thread, &barrier) == 0);
    return 0;
}

TEST(files_outside_of_the_store_do_not_exist)
{
    struct scratch scratch;
    scratch_make(&scratch);
    CHECK_EQ(in_child(try_files, &scratch), 0);
    scratch_remove(&scratch);
}

TEST(system_calls_that_a_server_does_not_make_fail_in_every_thread)
{
    struct scratch scratch;
    scratch_make(&scratch);
    CHECK_EQ(in_child(try_calls, &scratch), 0);
    scratch_remove(&scratch);
}
