#include "server/sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/landlock.h>
#include <seccomp.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

/* ---- Files ---- */

/* Headers may be older than the kernel. */
#ifndef LANDLOCK_ACCESS_FS_REFER
#define LANDLOCK_ACCESS_FS_REFER (UINT64_C(1) << 13)
#endif
#ifndef LANDLOCK_ACCESS_FS_TRUNCATE
#define LANDLOCK_ACCESS_FS_TRUNCATE (UINT64_C(1) << 14)
#endif

#define READ_FILE LANDLOCK_ACCESS_FS_READ_FILE
#define READ (READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR)
#define WRITE_FILE (LANDLOCK_ACCESS_FS_WRITE_FILE)
#define WRITE                                                                                      \
    (READ | WRITE_FILE | LANDLOCK_ACCESS_FS_REMOVE_DIR | LANDLOCK_ACCESS_FS_REMOVE_FILE |          \
     LANDLOCK_ACCESS_FS_MAKE_DIR | LANDLOCK_ACCESS_FS_MAKE_REG | LANDLOCK_ACCESS_FS_MAKE_SOCK)
/* What is bounded at all, of the first version. */
#define HANDLED                                                                                    \
    (WRITE | LANDLOCK_ACCESS_FS_EXECUTE | LANDLOCK_ACCESS_FS_MAKE_CHAR |                           \
     LANDLOCK_ACCESS_FS_MAKE_FIFO | LANDLOCK_ACCESS_FS_MAKE_BLOCK | LANDLOCK_ACCESS_FS_MAKE_SYM)

static int landlock_version(void)
{
    const long version =
        syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);
    return (int)version;
}

static int add_path(int ruleset, const char *path, uint64_t access, struct stele_error *err)
{
    struct stat stat;
    const int fd = open(path, O_PATH | O_CLOEXEC);
    if (fd < 0 && errno == ENOENT) {
        return STELE_OK;
    }
    if (fd < 0 || fstat(fd, &stat) != 0) {
        const int os_errno = errno;
        if (fd >= 0) {
            (void)close(fd);
        }
        return stele_fail(err, STELE_E_IO, os_errno, "sandbox: %.300s cannot be opened", path);
    }
    if (!S_ISDIR(stat.st_mode)) {
        access &= READ_FILE | WRITE_FILE | LANDLOCK_ACCESS_FS_TRUNCATE;
    }
    const struct landlock_path_beneath_attr rule = {.allowed_access = access, .parent_fd = fd};
    const long added =
        syscall(SYS_landlock_add_rule, ruleset, LANDLOCK_RULE_PATH_BENEATH, &rule, 0);
    const int os_errno = errno;
    (void)close(fd);
    return added == 0 ? STELE_OK : stele_fail(err, STELE_E_IO, os_errno, "sandbox: %.300s", path);
}

static int add_paths(int ruleset, const struct stele_sandbox_paths *paths, uint64_t more,
                     struct stele_error *err)
{
    int outcome = STELE_OK;
    for (size_t i = 0; i < paths->write_count && outcome == STELE_OK; i++) {
        outcome = add_path(ruleset, paths->write[i], WRITE | more, err);
    }
    for (size_t i = 0; i < paths->read_count && outcome == STELE_OK; i++) {
        outcome = add_path(ruleset, paths->read[i], READ, err);
    }
    return outcome;
}

static int give_up_privileges(struct stele_error *err)
{
    const struct rlimit none = {.rlim_cur = 0, .rlim_max = 0};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 || prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) != 0) {
        return stele_fail(err, STELE_E_UNSUPPORTED, errno, "sandbox: prctl");
    }
    /* What may not be dumped is not. This is for who looks at the limits, and may be forbidden. */
    (void)setrlimit(RLIMIT_CORE, &none);
    return STELE_OK;
}

int stele_sandbox_files(const struct stele_sandbox_paths *paths, struct stele_error *err)
{
    /* Also where the kernel has no Landlock. */
    int outcome = give_up_privileges(err);
    const int version = landlock_version();
    if (outcome != STELE_OK) {
        return outcome;
    }
    if (version < 1) {
        return stele_fail(err, STELE_E_UNSUPPORTED, errno, "sandbox: the kernel has no Landlock");
    }
    const uint64_t more = (version >= 2 ? LANDLOCK_ACCESS_FS_REFER : 0) |
                          (version >= 3 ? LANDLOCK_ACCESS_FS_TRUNCATE : 0);
    const struct landlock_ruleset_attr attr = {.handled_access_fs = HANDLED | more};
    const int ruleset = (int)syscall(SYS_landlock_create_ruleset, &attr, sizeof attr, 0);
    if (ruleset < 0) {
        return stele_fail(err, STELE_E_UNSUPPORTED, errno, "sandbox: no Landlock rules");
    }
    outcome = add_paths(ruleset, paths, more, err);
    if (outcome == STELE_OK && syscall(SYS_landlock_restrict_self, ruleset, 0) != 0) {
        outcome = stele_fail(err, STELE_E_UNSUPPORTED, errno, "sandbox: Landlock refuses");
    }
    (void)close(ruleset);
    return outcome;
}

/* ---- System calls ---- */

/* What libstele, the loops, OpenSSL and the C library's threads, memory and clocks need. Names that
 * this machine's libseccomp or processor does not know are passed over. */
static const char *const calls[] = {
    /* Files. */
    "read",
    "write",
    "readv",
    "writev",
    "pread64",
    "pwrite64",
    "preadv",
    "pwritev",
    "preadv2",
    "pwritev2",
    "open",
    "openat",
    "openat2",
    "close",
    "close_range",
    "fstat",
    "stat",
    "lstat",
    "newfstatat",
    "statx",
    "statfs",
    "fstatfs",
    "lseek",
    "access",
    "faccessat",
    "faccessat2",
    "fsync",
    "fdatasync",
    "sync_file_range",
    "fallocate",
    "ftruncate",
    "fadvise64",
    "readahead",
    "rename",
    "renameat",
    "renameat2",
    "unlink",
    "unlinkat",
    "rmdir",
    "mkdir",
    "mkdirat",
    "getdents64",
    "fcntl",
    "flock",
    "dup",
    "dup2",
    "dup3",
    "readlink",
    "readlinkat",
    "getcwd",
    "copy_file_range",
    "umask",
    "fchmod",
    "fchmodat",
    "ioctl",
    "pipe2",
    /* Memory. */
    "mmap",
    "munmap",
    "mremap",
    "mprotect",
    "madvise",
    "msync",
    "mincore",
    "brk",
    "membarrier",
    /* Threads, signals, time. */
    "futex",
    "futex_waitv",
    "clone",
    "clone3",
    "set_robust_list",
    "get_robust_list",
    "rseq",
    "set_tid_address",
    "gettid",
    "getpid",
    "getppid",
    "tgkill",
    "exit",
    "exit_group",
    "rt_sigaction",
    "rt_sigprocmask",
    "rt_sigreturn",
    "rt_sigpending",
    "rt_sigtimedwait",
    "sigaltstack",
    "signalfd4",
    "restart_syscall",
    "sched_yield",
    "sched_getaffinity",
    "sched_setaffinity",
    "sched_getparam",
    "sched_getscheduler",
    "setpriority",
    "getpriority",
    "nanosleep",
    "clock_nanosleep",
    "clock_gettime",
    "clock_getres",
    "gettimeofday",
    "time",
    "timerfd_create",
    "timerfd_settime",
    "timerfd_gettime",
    "getrandom",
    "prctl",
    "arch_prctl",
    "getrusage",
    "prlimit64",
    "getrlimit",
    "sysinfo",
    "uname",
    "getcpu",
    "times",
    "getuid",
    "geteuid",
    "getgid",
    "getegid",
    "getresuid",
    "getresgid",
    /* Waiting and the network. */
    "poll",
    "ppoll",
    "select",
    "pselect6",
    "epoll_create1",
    "epoll_ctl",
    "epoll_wait",
    "epoll_pwait",
    "epoll_pwait2",
    "eventfd2",
    "socket",
    "socketpair",
    "bind",
    "listen",
    "accept",
    "accept4",
    "connect",
    "shutdown",
    "getsockname",
    "getpeername",
    "getsockopt",
    "setsockopt",
    "sendto",
    "sendmsg",
    "sendmmsg",
    "recvfrom",
    "recvmsg",
    "recvmmsg",
};

int stele_sandbox_calls(struct stele_error *err)
{
    scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ERRNO(EPERM));
    int failed = filter == NULL ? -ENOMEM : 0;
    for (size_t i = 0; i < STELE_COUNT_OF(calls) && failed == 0; i++) {
        const int number = seccomp_syscall_resolve_name(calls[i]);
        if (number != __NR_SCMP_ERROR && number >= 0) {
            failed = seccomp_rule_add(filter, SCMP_ACT_ALLOW, number, 0);
        }
    }
    if (failed == 0) {
        failed = seccomp_attr_set(filter, SCMP_FLTATR_CTL_TSYNC, 1);
    }
    if (failed == 0) {
        failed = seccomp_load(filter);
    }
    seccomp_release(filter);
    return failed == 0 ? STELE_OK
                       : stele_fail(err, STELE_E_UNSUPPORTED, -failed,
                                    "sandbox: the kernel takes no filter of system calls");
}
