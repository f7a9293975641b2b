/* Without memory a call of a service ends with a status that says so, or with what it would have
 * ended with anyway; nothing leaks, nothing breaks, and the next call is served.
 *
 * Method: the calls of tests/golden/wire, each of them with its first allocation failing, its second,
 * and so on until none fails; then again with all that follow failing as well. */
#include "api/kurrent/kurrent.h"
#include "api/native/native.h"
#include "lib/check.h"
#include "lib/memserver.h"

#include <stdio.h>
#include <stdlib.h>

#define LINES_MAX 2000
#define LINE_SIZE ((size_t)16 * 1024)
#define FAILURES_MAX 3000 /* In one call. */

static char *lines[LINES_MAX];
static size_t lines_count;

static void load(const char *name)
{
    static char line[LINE_SIZE];
    char path[512];
    (void)snprintf(path, sizeof path, "%s/%s", GOLDEN_DIR, name);
    FILE *file = fopen(path, "r");
    CHECK(file != NULL);
    lines_count = 0;
    while (fgets(line, sizeof line, file) != NULL) {
        line[strcspn(line, "\n")] = '\0';
        CHECK(lines_count < LINES_MAX);
        if (strchr("/>~.x=", line[0]) != NULL && line[0] != '\0') {
            lines[lines_count] = strdup(line);
            CHECK(lines[lines_count] != NULL);
            lines_count++;
        }
    }
    CHECK_EQ(fclose(file), 0);
}

static void unload(void)
{
    for (size_t i = 0; i < lines_count; i++) {
        free(lines[i]);
    }
}

static uint8_t nibble(char c)
{
    return (uint8_t)(c <= '9' ? c - '0' : c - 'a' + 10);
}

static struct stele_bytes from_hex(const char *hex)
{
    static uint8_t bytes[LINE_SIZE / 2];
    size_t size = 0;
    for (; hex[0] != '\0'; hex += 2) {
        bytes[size++] = (uint8_t)(nibble(hex[0]) << 4 | nibble(hex[1]));
    }
    return (struct stele_bytes){.data = bytes, .size = size};
}

/* How a call ended. */
struct ending {
    int status; /* -1: with nothing, which only a client that goes away may get. */
    bool reset;
    bool went; /* The client did. */
};

/* Replays the call that begins at a line. Returns the line behind it. */
static size_t replay(struct memserver *server, size_t at, struct ending *ending)
{
    struct stele_exchange exchange;
    memserver_call(server, &exchange, lines[at++], "");
    bool open = true;
    for (; open; at++) {
        CHECK(at < lines_count);
        switch (lines[at][0]) {
        case '>':
            if (!exchange.ended && exchange.reset == 0) {
                memserver_send(server, &exchange, from_hex(lines[at] + 2));
            }
            break;
        case '~':
            memserver_pass(server, strtoll(lines[at] + 2, NULL, 10) * 1000);
            break;
        default:
            if (lines[at][0] == '.' && !exchange.ended && exchange.reset == 0) {
                memserver_end(server, &exchange);
            }
            *ending = (struct ending){.status = fake_status(&exchange),
                                      .reset = exchange.reset != 0,
                                      .went = lines[at][0] == 'x'};
            open = false;
        }
    }
    server->weak.fail_at = 0;
    server->weak.fail_sticky = false;
    fake_close(server->grpc, &exchange);
    memserver_pass(server, 0);
    return at < lines_count && lines[at][0] == '=' ? at + 1 : at;
}

/* Statuses that a call may end with: its own, no memory, that it was done and there is no memory to say so
 * (DEADLINE_EXCEEDED: unknown), that a part of the server is not there, and, because the call is repeated
 * while it changes things, that they are as it wants them already. */
static bool is_typed(const struct ending *ending, int usual)
{
    return ending->reset || ending->went || ending->status == usual ||
           ending->status == STELE_GRPC_RESOURCE_EXHAUSTED ||
           ending->status == STELE_GRPC_DEADLINE_EXCEEDED ||
           ending->status == STELE_GRPC_UNAVAILABLE || ending->status == STELE_GRPC_NOT_FOUND ||
           ending->status == STELE_GRPC_ALREADY_EXISTS || ending->status == STELE_GRPC_OK ||
           ending->status == STELE_GRPC_FAILED_PRECONDITION;
}

static void sweep_call(struct memserver *server, size_t at, bool sticky, uint64_t *failures)
{
    for (uint64_t n = 1;; n++) {
        struct ending ending;
        const uint64_t before = server->weak.failures;
        CHECK(n < FAILURES_MAX);
        server->weak.fail_at = server->weak.calls + n;
        server->weak.fail_sticky = sticky;
        const size_t behind = replay(server, at, &ending);
        const int usual = lines[behind - 1][0] == '=' ? atoi(lines[behind - 1] + 2) : -1;
        if (!is_typed(&ending, usual)) {
            printf("# %s, allocation %llu%s: status %d instead of %d\n", lines[at],
                   (unsigned long long)n, sticky ? " and all after it" : "", ending.status, usual);
        }
        CHECK(is_typed(&ending, usual));
        *failures += server->weak.failures - before;
        if (server->weak.failures == before) {
            return;
        }
    }
}

static void sweep(const char *name, void (*enter)(struct stele_grpc_table *table), bool sticky)
{
    static struct memserver server;
    uint64_t failures = 0;
    load(name);
    memserver_open(&server, enter);
    for (size_t at = 0; at < lines_count;) {
        struct ending ending;
        sweep_call(&server, at, sticky, &failures);
        at = replay(&server, at, &ending); /* Served again. */
        CHECK(ending.went || (!ending.reset && ending.status >= 0));
    }
    memserver_close(&server); /* Claims that nothing leaked. */
    unload();
    CHECK(failures > 100);
    printf("# %llu allocations failed\n", (unsigned long long)failures);
}

static void enter_kurrent(struct stele_grpc_table *table)
{
    stele_kurrent_streams_register(table);
    stele_kurrent_v2_register(table);
    stele_kurrent_persistent_register(table);
}

TEST(each_failing_allocation_of_the_native_service_has_a_status)
{
    sweep("native.txt", stele_native_register, false);
}

TEST(no_memory_at_all_for_the_native_service_has_a_status)
{
    sweep("native.txt", stele_native_register, true);
}

TEST(each_failing_allocation_of_the_services_of_kurrentdb_has_a_status)
{
    sweep("kurrent.txt", enter_kurrent, false);
}

TEST(no_memory_at_all_for_the_services_of_kurrentdb_has_a_status)
{
    sweep("kurrent.txt", enter_kurrent, true);
}
