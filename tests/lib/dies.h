/* Claims that something is stopped by an assertion. The statement runs in a child of its own, so
 * whatever it does to memory is gone afterwards. For programs with one thread. */
#ifndef STELE_TESTS_LIB_DIES_H
#define STELE_TESTS_LIB_DIES_H

#include "lib/check.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

/* The child of check_dies(): no words on the terminal, no core file. */
static inline void check_be_quiet(void)
{
    const struct rlimit none = {0, 0};
    (void)setrlimit(RLIMIT_CORE, &none);
    const int null = open("/dev/null", O_WRONLY);
    if (null >= 0) {
        (void)dup2(null, STDOUT_FILENO);
        (void)dup2(null, STDERR_FILENO);
    }
}

#define CHECK_DIES(statement)                                                                      \
    do {                                                                                           \
        (void)fflush(stdout);                                                                      \
        const pid_t check_child = fork();                                                          \
        if (check_child == 0) {                                                                    \
            check_be_quiet();                                                                      \
            statement;                                                                             \
            _exit(0);                                                                              \
        }                                                                                          \
        int check_status = 0;                                                                      \
        CHECK(check_child > 0);                                                                    \
        CHECK_EQ(waitpid(check_child, &check_status, 0), check_child);                             \
        if (!WIFSIGNALED(check_status) || WTERMSIG(check_status) != SIGABRT) {                     \
            check_failed(__FILE__, __LINE__, "%s: went through", #statement);                      \
        }                                                                                          \
    } while (0)

#endif
