/* Whatever bytes a peer sends, a connection neither crashes nor leaks, and closes each exchange that
 * it has opened exactly once.
 *
 * The first byte of the input says how the rest is cut into reads, and for HTTP/2 (FUZZ_HTTP2) the
 * preface comes before it, so that the fuzzer need not find it. Time passes between the reads. */
#define CHECK_NO_MAIN
#include "../unit/http/handler.h"
#include "lib/simloop.h"
#include "lib/testalloc.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void take(struct stele_http_conn *conn, struct stele_alloc *alloc)
{
    struct stele_buf out = {.data = NULL};
    while (stele_http_conn_take(conn, &out, 16384)) {
        out.size = 0;
    }
    stele_buf_deinit(&out, alloc);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct stele_http_limits limits = {.exchanges_max = 20,
                                                    .header_size_max = 4096,
                                                    .idle_ms = 20000,
                                                    .headers_ms = 10000,
                                                    .keepalive_ms = 10000,
                                                    .keepalive_timeout_ms = 10000,
                                                    .frames_per_s = 400,
                                                    .resets_per_s = 40,
                                                    .window = 65536,
                                                    .output_high = 20000,
                                                    .output_low = 5000,
                                                    .conn_output_high = 50000};
    static struct testalloc alloc;
    static struct simloop loop;
    const struct stele_http_peer peer = {.address = "192.0.2.1:1"};
    struct handler handler = {.big_max = 100000};
    struct stele_http_conn *conn = NULL;
    if (size == 0) {
        return 0;
    }
    testalloc_init(&alloc, 1);
    simloop_init(&loop, &alloc.base, 1);
    CHECK_EQ(stele_http_conn_create(&loop.base, &limits, &handler_events, &handler, &peer, &conn),
             STELE_OK);
#ifdef FUZZ_HTTP2
    (void)stele_http_conn_feed(conn, stele_bytes_of_text("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"));
#endif
    const size_t step = data[0] == 0 ? size : data[0];
    for (size_t at = 1; at < size; at += step) {
        const size_t count = size - at < step ? size - at : step;
        /* A copy of its own, so that reading beyond it is seen. */
        uint8_t *const piece = malloc(count);
        CHECK(piece != NULL);
        memcpy(piece, data + at, count);
        (void)stele_http_conn_feed(conn, (struct stele_bytes){.data = piece, .size = count});
        free(piece);
        if (data[0] % 2 == 0) {
            take(conn, &alloc.base);
        }
        if (data[0] % 8 == 7) {
            simloop_advance(&loop, 3000000);
        }
    }
    if (data[0] % 4 == 3) {
        stele_http_conn_eof(conn);
    }
    take(conn, &alloc.base);
    simloop_advance(&loop, 1000000);
    stele_http_conn_drain(conn);
    take(conn, &alloc.base);
    stele_http_conn_destroy(conn);
    CHECK_EQ(handler.open, 0);
    CHECK_EQ(handler.requests, handler.closes);
    simloop_deinit(&loop);
    CHECK_EQ(alloc.bytes, 0);
    return 0;
}
