/* A command whose answer nobody got is done once, however often its process or its server is killed.
 *
 * Method: kill -9 at moments that come from a clock nobody controls. Embedded, a child executes
 * commands and tells its parent of each answer; the next child begins with the command after the last
 * one that was told of, and says that it may have been done. Remote, the server is killed, and the
 * runner's caller goes on in the same way. Then the stream is held against the commands. */
#include "deciders.h"
#include "lib/ports.h"

#include <pthread.h>
#include <stdatomic.h>
#include <time.h>

#define KILLS 6

static void sleep_ms(long ms)
{
    const struct timespec moment = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000};
    (void)nanosleep(&moment, NULL);
}

/* The command number n deposits n in 1 to 3 events. */
static int execute(struct stele_runner *runner, uint64_t n, int again)
{
    const struct order order = {.amount = (int64_t)n, .events = 1 + (unsigned)(n % 3)};
    struct stele_command command = {
        .struct_size = sizeof command, .type = "Deposit", .stream = "account-1", .data = &order};
    const struct stele_origin origin = {.struct_size = sizeof origin, .again = again};
    fixture_id(n, command.id);
    return stele_runner_execute(runner, &bank, &command, &origin, NULL, &err);
}

static void check_all_once(uint64_t last)
{
    int64_t events = 0;
    for (uint64_t n = 1; n <= last; n++) {
        events += 1 + (int64_t)(n % 3);
    }
    const struct account account = bank_read("account-1");
    CHECK_EQ(account.events, events);
    CHECK_EQ(account.balance, (int64_t)(last * (last + 1) / 2));
}

static void be_child(int answers, uint64_t first)
{
    struct stele_runner_options options = STELE_RUNNER_OPTIONS_INIT;
    options.snapshot_events = 10;
    if (stele_open(fixture_path, NULL, &store, &err) != STELE_OK) {
        _exit(1);
    }
    struct stele_runner *runner = bank_runner(options);
    for (uint64_t n = first;; n++) {
        if (execute(runner, n, n == first) != STELE_OK ||
            write(answers, &n, sizeof n) != sizeof n) {
            _exit(2);
        }
    }
}

TEST(of_a_process_that_is_killed_every_command_is_done_once)
{
    FIXTURE_EMBEDDED_ONLY();
    uint64_t last = 0;
    fixture_begin();
    for (int round = 0; round < KILLS; round++) {
        int fds[2];
        CHECK_EQ(stele_close(store), STELE_OK);
        CHECK_EQ(pipe(fds), 0);
        (void)fflush(stdout);
        const pid_t child = fork();
        if (child == 0) {
            (void)close(fds[0]);
            be_child(fds[1], last + 1);
        }
        (void)close(fds[1]);
        /* It has to have begun: a slow machine may need a while for that. */
        CHECK_EQ(read(fds[0], &last, sizeof last), sizeof last);
        sleep_ms(5 + round * 7);
        CHECK_EQ(kill(child, SIGKILL), 0);
        CHECK_EQ(waitpid(child, NULL, 0), child);
        while (read(fds[0], &last, sizeof last) == sizeof last) {
        }
        (void)close(fds[0]);
        CHECK_OK(stele_open(fixture_path, NULL, &store, &err), err);
    }
    struct stele_runner *runner =
        bank_runner((struct stele_runner_options)STELE_RUNNER_OPTIONS_INIT);
    CHECK_OK(execute(runner, last + 1, 1), err);
    stele_runner_destroy(runner);
    check_all_once(last + 1);
    fixture_end();
}

static _Atomic bool enough;
static _Atomic uint64_t executed;

static void *execute_many(void *context)
{
    struct stele_runner *runner = context;
    for (uint64_t n = 1; !atomic_load(&enough); n++) {
        int again = 0;
        while (execute(runner, n, again) != STELE_OK) {
            again = 1;
        }
        atomic_store(&executed, n);
    }
    return NULL;
}

TEST(of_a_server_that_is_killed_every_command_is_done_once)
{
    if (!fixture_is_remote()) {
        return;
    }
    fixture_begin();
    CHECK_EQ(stele_close(store), STELE_OK);
    fixture_port = ports_keep_one();
    CHECK_EQ(fixture_start_server(), fixture_port);
    char address[80];
    (void)snprintf(address, sizeof address, "stele://127.0.0.1:%d?timeout=300000", fixture_port);
    CHECK_OK(stele_open(address, NULL, &store, &err), err);
    struct stele_runner_options options = STELE_RUNNER_OPTIONS_INIT;
    options.snapshot_events = 10;
    struct stele_runner *runner = bank_runner(options);
    pthread_t thread;
    CHECK_EQ(pthread_create(&thread, NULL, execute_many, runner), 0);
    for (int round = 0; round < KILLS; round++) {
        const uint64_t before = atomic_load(&executed);
        while (atomic_load(&executed) == before) {
            sleep_ms(1);
        }
        sleep_ms(20 + round * 13);
        CHECK_EQ(kill(fixture_server, SIGKILL), 0);
        CHECK_EQ(waitpid(fixture_server, NULL, 0), fixture_server);
        fixture_server = 0;
        (void)fixture_start_server();
    }
    atomic_store(&enough, true);
    CHECK_EQ(pthread_join(thread, NULL), 0);
    stele_runner_destroy(runner);
    check_all_once(atomic_load(&executed));
    fixture_port = 0;
    fixture_end();
}
