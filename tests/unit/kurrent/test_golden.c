/* What official clients sent once is understood for ever.
 *
 * Method: tests/golden/kurrent has their messages as they were on the wire; they are replayed in order
 * against one store, and what comes back is compared in words. */
#include "bench.h"
#include "lib/check.h"

static struct bench bench;

static int digit(char c)
{
    return c <= '9' ? c - '0' : c - 'a' + 10;
}

static void send_hex(struct stele_exchange *exchange, const char *hex)
{
    static uint8_t bytes[4096];
    size_t size = 0;
    for (; hex[0] > ' '; hex += 2) {
        CHECK(size < sizeof bytes);
        bytes[size++] = (uint8_t)(digit(hex[0]) << 4 | digit(hex[1]));
    }
    fake_send(bench.grpc, exchange, bytes, size);
}

/* An answer of Append or BatchAppend: "success:REVISION", "error:MESSAGE". */
static void say_append(struct stele_exchange *exchange, bool is_batch, char *said, size_t size)
{
    if (!is_batch) {
        AppendResp *response =
            bench_next(&bench, exchange, &event_store__client__streams__append_resp__descriptor);
        CHECK(response != NULL);
        (void)snprintf(said, size, "success:%llu",
                       (unsigned long long)response->success->current_revision);
        bench_free(response);
        return;
    }
    BatchResp *response =
        bench_next(&bench, exchange, &event_store__client__streams__batch_append_resp__descriptor);
    CHECK(response != NULL);
    if (response->result_case == EVENT_STORE__CLIENT__STREAMS__BATCH_APPEND_RESP__RESULT_ERROR) {
        (void)snprintf(said, size, "error:%s", response->error->message);
    } else {
        (void)snprintf(said, size, "success:%llu",
                       (unsigned long long)response->success->current_revision);
    }
    bench_free(response);
}

static void compare(struct stele_exchange *exchange, const char *path, const char *want)
{
    char said[512] = "";
    const char *method = strrchr(path, '/') + 1;
    if (strcmp(method, "Read") == 0) {
        /* As many messages as are expected: subscriptions do not end. Checkpoints come when they
         * come. */
        while (strlen(said) < strlen(want)) {
            const char *told = bench_told(&bench, exchange);
            if (strcmp(told, "checkpoint") != 0) {
                const size_t size = strlen(said);
                (void)snprintf(said + size, sizeof said - size, "%s%s", size > 0 ? " " : "", told);
            }
        }
    } else if (strcmp(method, "Append") == 0 || strcmp(method, "BatchAppend") == 0) {
        bench_end(&bench, exchange);
        say_append(exchange, method[0] == 'B', said, sizeof said);
    } else {
        bench_end(&bench, exchange);
        (void)snprintf(said, sizeof said, "end(%d)", bench_status(&bench, exchange));
    }
    CHECK_TEXT_EQ(said, want);
}

TEST(requests_of_the_node_client_are_answered_as_they_were)
{
    static char line[8192];
    static char path[8192];
    struct stele_exchange exchange;
    int requests = 0;
    FILE *file = fopen(GOLDEN_DIR "/node-client.txt", "r");
    CHECK(file != NULL);
    bench_open(&bench);
    bench.server.append_size_max = 1u << 20;
    while (fgets(line, sizeof line, file) != NULL) {
        line[strcspn(line, "\n")] = '\0';
        if (line[0] == '/') {
            memcpy(path, line, sizeof path);
            bench_call(&bench, &exchange, path, "");
        } else if (line[0] == '=') {
            compare(&exchange, path, line + 2);
            fake_close(bench.grpc, &exchange);
            requests++;
        } else if (line[0] != '#' && line[0] != '\0') {
            send_hex(&exchange, line);
        }
    }
    CHECK_EQ(requests, 11);
    CHECK_EQ(fclose(file), 0);
    bench_close(&bench);
}
