/* A store in a directory of its own for each test, with small segments and a small index so that
 * every test crosses their bounds.
 *
 * With STELE_SERVE=<path of the command stele> in the environment the same tests run against a
 * server on that directory: libstele's remote stores have to behave as embedded ones do. Tests about
 * files and handles of this process say FIXTURE_EMBEDDED_ONLY(). */
#ifndef STELE_TESTS_UNIT_CLIENT_FIXTURE_H
#define STELE_TESTS_UNIT_CLIENT_FIXTURE_H

#include "lib/check.h"

#include <ftw.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <stele.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static char fixture_path[64];
static struct stele *store;
static struct stele_error err;

static inline int fixture_remove_one(const char *path, const struct stat *status, int flag,
                                     struct FTW *walk)
{
    (void)status;
    (void)flag;
    (void)walk;
    return remove(path);
}

static pid_t fixture_server;

static inline bool fixture_is_remote(void)
{
    return getenv("STELE_SERVE") != NULL;
}

#define FIXTURE_EMBEDDED_ONLY()                                                                    \
    do {                                                                                           \
        if (fixture_is_remote()) {                                                                 \
            return;                                                                                \
        }                                                                                          \
    } while (0)

static inline void fixture_stop_server(void)
{
    int status = 0;
    if (fixture_server == 0) {
        return;
    }
    CHECK_EQ(kill(fixture_server, SIGTERM), 0);
    CHECK_EQ(waitpid(fixture_server, &status, 0), fixture_server);
    CHECK(WIFEXITED(status));
    CHECK_EQ(WEXITSTATUS(status), 0);
    fixture_server = 0;
}

static int fixture_port; /* 0: the system chooses. */

/* Starts a server on the directory; its port is in what it says when it is ready. */
static inline int fixture_start_server(void)
{
    int fds[2];
    char wanted[16];
    (void)snprintf(wanted, sizeof wanted, "%d", fixture_port);
    fixture_stop_server();
    CHECK_EQ(pipe(fds), 0);
    fixture_server = fork();
    if (fixture_server == 0) {
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
        (void)dup2(fds[1], STDOUT_FILENO);
        (void)close(fds[0]);
        (void)close(fds[1]);
        /* No sandbox: it would not let LeakSanitizer look. */
        execl(getenv("STELE_SERVE"), "stele", "serve", "--insecure", "--no-sandbox", "--port",
              wanted, "--store", fixture_path, (char *)NULL);
        _exit(127);
    }
    (void)close(fds[1]);
    FILE *said = fdopen(fds[0], "r");
    char line[1024];
    int port = 0;
    while (port == 0 && fgets(line, sizeof line, said) != NULL) {
        const char *at = strstr(line, "127.0.0.1:");
        port = at == NULL ? 0 : (int)strtol(at + 10, NULL, 10);
    }
    (void)fclose(said);
    CHECK(port != 0);
    return port;
}

static inline void fixture_open_with(struct stele_options options)
{
    if (fixture_is_remote()) {
        char address[64];
        /* Sanitizers on a busy machine need more than the usual ten seconds for a million events. */
        (void)snprintf(address, sizeof address, "stele://127.0.0.1:%d?timeout=300000",
                       fixture_start_server());
        CHECK_OK(stele_open(address, &options, &store, &err), err);
        return;
    }
    CHECK_OK(stele_open(fixture_path, &options, &store, &err), err);
}

static inline struct stele_options fixture_options(void)
{
    struct stele_options options = STELE_OPTIONS_INIT;
    options.segment_size_max = 256 * 1024;
    options.index_memory = 64 * 1024;
    return options;
}

static inline void fixture_begin(void)
{
    strcpy(fixture_path, "/tmp/stele-test-XXXXXX");
    CHECK(mkdtemp(fixture_path) != NULL);
    fixture_open_with(fixture_options());
}

static inline void fixture_reopen(void)
{
    CHECK_EQ(stele_close(store), STELE_OK);
    fixture_open_with(fixture_options());
}

static inline void fixture_end(void)
{
    CHECK_EQ(stele_close(store), STELE_OK);
    fixture_stop_server();
    (void)nftw(fixture_path, fixture_remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

/* An id that is a function of a number. */
static inline void fixture_id(uint64_t number, uint8_t id[16])
{
    memset(id, 0, 16);
    id[15] = 1;
    memcpy(id, &number, sizeof number);
}

static inline struct stele_event_draft fixture_draft(uint64_t number, const char *data)
{
    struct stele_event_draft draft = {.type = "Happened", .data = data, .data_size = strlen(data)};
    fixture_id(number, draft.id);
    return draft;
}

/* Appends one event and returns its outcome. */
static inline int fixture_append(const char *stream, uint64_t expected, uint64_t number,
                                 const char *data, struct stele_append_result *result)
{
    const struct stele_event_draft draft = fixture_draft(number, data);
    return stele_append(store, stream, expected, &draft, 1, result, &err);
}

/* How many events a read hands out; checks that positions go one way. */
static inline size_t fixture_count(const char *stream, struct stele_read_options options)
{
    struct stele_iterator *iterator = NULL;
    const int begun = stele_read_stream(store, stream, &options, &iterator, &err);
    if (begun == STELE_NO_STREAM) {
        return 0;
    }
    CHECK_OK(begun, err);
    size_t total = 0;
    uint64_t before = 0;
    for (;;) {
        const struct stele_event *events = NULL;
        size_t count = 0;
        const int outcome = stele_iterator_next(iterator, &events, &count, &err);
        if (outcome == STELE_END) {
            break;
        }
        CHECK_OK(outcome, err);
        for (size_t i = 0; i < count; i++) {
            CHECK(total + i == 0 || (events[i].position > before) != (options.backwards != 0));
            before = events[i].position;
        }
        total += count;
    }
    stele_iterator_destroy(iterator);
    return total;
}

#endif
