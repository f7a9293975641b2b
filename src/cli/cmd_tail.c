/* Follows a stream or the store and prints what comes.
 *
 * The library calls back on a thread of its own, which prints; the main thread waits for the end:
 * a signal, the time running out, the reader of standard output going away, the limit. Only one of
 * them writes to standard output at any time: the main thread does so after stele_unsubscribe(). */
#include "cli/cli.h"
#include "cli/commands.h"
#include "cli/options.h"
#include "cli/out.h"
#include "cli/select.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <time.h>
#include <unistd.h>

const struct stele_cli_command stele_cli_tail_command = {
    .name = "tail",
    .usage = "tail STREAM [options]",
    .summary = "Follow a stream, or all streams, as events come",
    .text =
        "STREAM is what `stele read` takes; '$all' follows the whole store. Prints what is "
        "appended\n"
        "from now on, also by other processes, each event at once; with --from, first what there\n"
        "is. A stream that does not exist yet is waited for.\n"
        "\n"
        "Ends with Ctrl-C (exit code 0), after --limit events (0), or when no event has come for\n"
        "--timeout (looking through older events does not count): 0, or 15 if --limit events were\n"
        "asked for and did not come.",
    .examples =
        "stele tail '$all'\n"
        "stele tail order-1 --from start\n"
        "stele tail '$ce-order' --type OrderPlaced --json | while read -r event; do …; done\n"
        "stele tail order-1 --limit 1 --timeout 30s   # wait for the next event",
    .run = stele_cli_tail,
};

struct follower {
    enum stele_cli_form form;
    struct stele_cli_columns columns;
    uint64_t limit; /* 0: none. */
    uint64_t events;
    uint64_t present;        /* The last position when it began. */
    bool caught_up;          /* Everything up to there has been looked at. */
    _Atomic int64_t last_ms; /* When something came, for the timeout. */
    int ended_fd;            /* An eventfd. */
    int outcome;             /* STELE_OK, or what the subscription ended with. */
    struct stele_error err;
};

static int64_t now_ms(void)
{
    struct timespec now = {0};
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static void wake_main(const struct follower *follower)
{
    const uint64_t one = 1;
    const ssize_t written = write(follower->ended_fd, &one, sizeof one);
    (void)written;
}

static int on_events(void *context, const struct stele_event *events, size_t count,
                     uint64_t checkpoint)
{
    struct follower *const follower = context;
    if (count == 0) {
        /* Looking through what there was may take long without a match, and is no time in which
         * nothing came. */
        if (!follower->caught_up) {
            follower->caught_up = checkpoint >= follower->present;
            atomic_store(&follower->last_ms, now_ms());
        }
        return 0;
    }
    stele_cli_columns_fit(&follower->columns, events, count);
    for (size_t i = 0; i < count; i++) {
        stele_cli_event_out(&events[i], follower->form, &follower->columns);
        follower->events++;
        if (follower->events == follower->limit) {
            break;
        }
    }
    stele_cli_out_flush();
    atomic_store(&follower->last_ms, now_ms());
    return follower->events == follower->limit || !stele_cli_out_ok();
}

static void on_end(void *context, int outcome, const struct stele_error *err)
{
    struct follower *const follower = context;
    follower->outcome = outcome;
    if (err != NULL) {
        follower->err = *err;
    }
    wake_main(follower);
}

enum wait_result { WAIT_ENDED, WAIT_SIGNAL, WAIT_TIMEOUT, WAIT_NO_READER };

static int timeout_left(const struct follower *follower, int64_t timeout_ms)
{
    if (timeout_ms == 0) {
        return -1;
    }
    const int64_t left = atomic_load(&follower->last_ms) + timeout_ms - now_ms();
    return left <= 0 ? 0 : (left > 3600000 ? 3600000 : (int)left);
}

static enum wait_result wait_for_end(const struct follower *follower, int signal_fd,
                                     int64_t timeout_ms)
{
    for (;;) {
        /* No events of standard output are asked for: only that its reader went away is told. */
        struct pollfd fds[] = {{.fd = follower->ended_fd, .events = POLLIN},
                               {.fd = signal_fd, .events = POLLIN},
                               {.fd = STDOUT_FILENO, .events = 0}};
        const int left = timeout_left(follower, timeout_ms);
        if (left == 0) {
            return WAIT_TIMEOUT;
        }
        const int ready = poll(fds, 3, left);
        if (ready > 0 && fds[0].revents != 0) {
            return WAIT_ENDED;
        }
        if (ready > 0 && fds[1].revents != 0) {
            return WAIT_SIGNAL;
        }
        if (ready > 0 && (fds[2].revents & (POLLERR | POLLHUP | POLLNVAL)) != 0) {
            return WAIT_NO_READER;
        }
    }
}

/* Before the store is opened: its threads must not take these signals either. */
static int open_signals(void)
{
    sigset_t signals;
    (void)sigemptyset(&signals);
    (void)sigaddset(&signals, SIGINT);
    (void)sigaddset(&signals, SIGTERM);
    (void)sigaddset(&signals, SIGHUP);
    (void)pthread_sigmask(SIG_BLOCK, &signals, NULL);
    return signalfd(-1, &signals, SFD_CLOEXEC);
}

static int finish(const struct follower *follower, enum wait_result result, const char *stream)
{
    if (result == WAIT_NO_READER) {
        return STELE_CLI_CLOSED;
    }
    if (result == WAIT_SIGNAL || !stele_cli_out_ok()) {
        return STELE_CLI_OK;
    }
    /* The last one may have come in the moment in which the time was over. */
    if (follower->limit > 0 && follower->events >= follower->limit) {
        return STELE_CLI_OK;
    }
    if (result == WAIT_ENDED && follower->outcome != STELE_OK) {
        return stele_cli_fail_outcome(follower->outcome, &follower->err, "tail");
    }
    if (result == WAIT_TIMEOUT && follower->limit > 0) {
        return stele_cli_fail(STELE_CLI_TIMED_OUT, "timed-out",
                              "tail %s: %llu of %llu events came before the time was over; wait "
                              "longer, or look with `stele read`",
                              stream, (unsigned long long)follower->events,
                              (unsigned long long)follower->limit);
    }
    return STELE_CLI_OK;
}

static int follow(const char *stream, const struct stele_cli_select *select,
                  struct follower *follower, uint64_t timeout_s)
{
    const int signal_fd = open_signals();
    follower->ended_fd = eventfd(0, EFD_CLOEXEC);
    if (signal_fd < 0 || follower->ended_fd < 0) {
        return stele_cli_fail(STELE_CLI_IO, "io", "tail: %s; close some files", strerror(errno));
    }
    struct stele *store = NULL;
    int code = stele_cli_open(STELE_CLI_READ, &store);
    if (code != STELE_CLI_OK) {
        return code;
    }
    follower->present = stele_last_position(store);
    atomic_store(&follower->last_ms, now_ms());
    struct stele_read_options options = select->options;
    options.scan_max = 64; /* So often it is told that it is still looking. */
    struct stele_subscription *subscription = NULL;
    struct stele_error err = {0};
    const int outcome = stele_subscribe(store, strcmp(stream, "$all") == 0 ? NULL : stream,
                                        &options, on_events, on_end, follower, &subscription, &err);
    if (outcome == STELE_OK) {
        /* More than a month is for ever. */
        const int64_t timeout_ms = timeout_s > 4000000 ? 0 : (int64_t)timeout_s * 1000;
        const enum wait_result result = wait_for_end(follower, signal_fd, timeout_ms);
        stele_unsubscribe(subscription);
        code = finish(follower, result, stream);
    } else {
        char what[STELE_STREAM_NAME_SIZE_MAX + 16];
        (void)snprintf(what, sizeof what, "tail %s", stream);
        code = stele_cli_fail_outcome(outcome, &err, what);
    }
    code = stele_cli_close(store, code);
    (void)close(signal_fd);
    (void)close(follower->ended_fd);
    return code;
}

int stele_cli_tail(int argc, char **argv)
{
    struct stele_cli_select select = {.from = "end"};
    struct follower follower = {.limit = 0};
    uint64_t timeout_s = UINT64_MAX; /* None. */
    bool cloudevents = false;
    bool long_form = false;
    const char *arguments[1];
    size_t count = 0;
    const struct stele_cli_option options[] = {
        {"from", "N|POSITION|TIME",
         "begin at this revision of a stream; at this position or time of\n"
         "$all, $ce-…, $et-…; or at \"start\" (default: \"end\")",
         STELE_CLI_TEXT, &select.from},
        {"limit", "N", "end after so many events", STELE_CLI_POSITIVE, &follower.limit},
        {"timeout", "DURATION", "end when nothing has come for so long: 30s, 5m",
         STELE_CLI_DURATION, &timeout_s},
        STELE_CLI_FILTER_OPTIONS(&select),
        STELE_CLI_IGNORE_LIMITS_OPTION(&select),
        {"long", NULL, "everything about every event", STELE_CLI_FLAG, &long_form},
        {"cloudevents", NULL, "CloudEvents 1.0, one JSON object a line", STELE_CLI_FLAG,
         &cloudevents},
    };
    int code = stele_cli_parse(&stele_cli_tail_command, options, STELE_COUNT_OF(options), argc,
                               argv, arguments, 1, 1, &count);
    if (code == STELE_CLI_GO_ON && long_form && (cloudevents || stele_cli_globals.json)) {
        code = stele_cli_usage_error(&stele_cli_tail_command,
                                     "--long, --json and --cloudevents exclude each other");
    }
    if (code == STELE_CLI_GO_ON && timeout_s == 0) {
        code = stele_cli_usage_error(&stele_cli_tail_command, "--timeout is from 1s on");
    }
    if (code == STELE_CLI_GO_ON) {
        code = stele_cli_select(&stele_cli_tail_command, arguments[0], &select);
    }
    if (code != STELE_CLI_GO_ON) {
        return code;
    }
    follower.columns.all = stele_cli_counts_positions(arguments[0]);
    follower.form = cloudevents              ? STELE_CLI_CLOUDEVENTS
                    : long_form              ? STELE_CLI_LONG
                    : stele_cli_globals.json ? STELE_CLI_JSON
                                             : STELE_CLI_HUMAN;
    return follow(arguments[0], &select, &follower, timeout_s);
}
