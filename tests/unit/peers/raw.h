/* The other end of a connection, by hand: says whatever a test wants it to, and reads when it is told to. */
#ifndef STELE_TESTS_UNIT_PEERS_RAW_H
#define STELE_TESTS_UNIT_PEERS_RAW_H

#include "nodes.h"
#include "peers/wire.h"

#include <netinet/tcp.h>

struct raw {
    int fd;
    int listen_fd;
    uint16_t port;
    uint8_t in[1 << 20];
    size_t size;
    bool ended;
    /* The last frame that raw_frame() took, and its bytes. */
    size_t taken;
    struct stele_peers_frame frame;
    struct stele_bytes payload;
};
static struct raw raw;

static inline void raw_open(uint16_t port)
{
    const struct sockaddr_in address = loopback(port);
    raw = (struct raw){.listen_fd = -1};
    raw.fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CHECK(raw.fd >= 0);
    CHECK_EQ(connect(raw.fd, (const struct sockaddr *)(const void *)&address, sizeof address), 0);
    /* Bytes that a test sends one by one come one by one, and at once. */
    const int on = 1;
    CHECK_EQ(setsockopt(raw.fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on), 0);
}

/* To be dialled. */
static inline void raw_listen(void)
{
    const struct sockaddr_in address = loopback(0);
    struct sockaddr_in bound;
    socklen_t size = sizeof bound;
    raw = (struct raw){.fd = -1};
    raw.listen_fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    CHECK(raw.listen_fd >= 0);
    CHECK_EQ(bind(raw.listen_fd, (const struct sockaddr *)(const void *)&address, sizeof address),
             0);
    CHECK_EQ(listen(raw.listen_fd, 16), 0);
    CHECK_EQ(getsockname(raw.listen_fd, (struct sockaddr *)(void *)&bound, &size), 0);
    raw.port = ntohs(bound.sin_port);
}

static inline void raw_close(void)
{
    if (raw.fd >= 0) {
        CHECK_EQ(close(raw.fd), 0);
    }
    if (raw.listen_fd >= 0) {
        CHECK_EQ(close(raw.listen_fd), 0);
    }
    raw.fd = raw.listen_fd = -1;
}

static inline void raw_send(const void *data, size_t size)
{
    /* Little enough for any socket's buffer; whoever has closed already need not hear it. */
    (void)send(raw.fd, data, size, MSG_NOSIGNAL);
}

static inline size_t frame_of(uint8_t *to, uint8_t kind, uint8_t lane, const void *payload,
                              size_t size)
{
    const struct stele_bytes part = {.data = payload, .size = size};
    stele_peers_frame_encode(to, kind, lane, &part, 1);
    if (size > 0) {
        memcpy(to + STELE_PEERS_HEADER_SIZE, payload, size);
    }
    return STELE_PEERS_HEADER_SIZE + size;
}

static inline void raw_frame_out(uint8_t kind, uint8_t lane, const void *payload, size_t size)
{
    uint8_t bytes[2048];
    raw_send(bytes, frame_of(bytes, kind, lane, payload, size));
}

static inline void raw_number_out(uint8_t kind, uint8_t lane, uint64_t number)
{
    uint8_t bytes[8];
    stele_store_u64le(bytes, number);
    raw_frame_out(kind, lane, bytes, sizeof bytes);
}

/* The hello of node 3 to node 1. */
static inline struct stele_peers_hello raw_hello(enum stele_peers_lane lane, uint64_t attempt)
{
    struct stele_peers_hello hello = {.version_min = STELE_PEERS_VERSION,
                                      .version_max = STELE_PEERS_VERSION,
                                      .lane = lane,
                                      .number = 3,
                                      .boot = 77,
                                      .attempt = attempt,
                                      .to = 1,
                                      .window = 1 << 20,
                                      .name = "node-3"};
    memcpy(hello.cluster_id, "the same cluster", 16);
    return hello;
}

static inline size_t hello_frame(uint8_t to[2048], uint8_t kind,
                                 const struct stele_peers_hello *hello)
{
    uint8_t payload[STELE_PEERS_HELLO_SIZE_MAX];
    return frame_of(to, kind, (uint8_t)hello->lane, payload,
                    stele_peers_hello_encode(hello, payload));
}

static inline void raw_hello_out(uint8_t kind, const struct stele_peers_hello *hello)
{
    uint8_t bytes[2048];
    raw_send(bytes, hello_frame(bytes, kind, hello));
}

/* Reads what is there. */
static inline void raw_read(void)
{
    const ssize_t got =
        raw.ended ? -1 : recv(raw.fd, raw.in + raw.size, sizeof raw.in - raw.size, MSG_DONTWAIT);
    if (got > 0) {
        raw.size += (size_t)got;
    }
    raw.ended = raw.ended || got == 0 || (got < 0 && errno == ECONNRESET);
}

/* Takes the next frame off what came. */
static inline bool raw_frame(void)
{
    memmove(raw.in, raw.in + raw.taken, raw.size - raw.taken);
    raw.size -= raw.taken;
    raw.taken = 0;
    raw_read();
    const struct stele_bytes bytes = {.data = raw.in, .size = raw.size};
    const int outcome = stele_peers_frame_decode(bytes, sizeof raw.in, &raw.frame);
    CHECK(outcome == STELE_OK || outcome == STELE_INCOMPLETE);
    if (outcome != STELE_OK || raw.size < STELE_PEERS_HEADER_SIZE + raw.frame.size) {
        return false;
    }
    raw.payload = stele_bytes_slice(bytes, STELE_PEERS_HEADER_SIZE, raw.frame.size);
    raw.taken = STELE_PEERS_HEADER_SIZE + raw.frame.size;
    return true;
}

static uint8_t kind_wanted;
static inline bool raw_has_frame(void)
{
    while (raw_frame()) {
        if (raw.frame.kind == kind_wanted) {
            return true;
        }
    }
    return false;
}

static inline void raw_expect(uint8_t kind)
{
    kind_wanted = kind;
    run_until(raw_has_frame);
}

static inline bool raw_has_ended(void)
{
    while (raw_frame()) {
    }
    return raw.ended;
}

static inline enum stele_peers_refusal raw_expect_refusal(void)
{
    uint16_t code = 0;
    char words[STELE_PEERS_WORDS_MAX + 1];
    raw_expect(STELE_PEERS_REFUSE);
    CHECK_EQ(stele_peers_refuse_decode(raw.payload, &code, words), STELE_OK);
    CHECK(words[0] != '\0');
    run_until(raw_has_ended);
    return (enum stele_peers_refusal)code;
}

static inline bool raw_is_dialled(void)
{
    raw.fd = accept4(raw.listen_fd, NULL, NULL, SOCK_CLOEXEC);
    return raw.fd >= 0;
}

/* Node 1 knows node 3, which is this end. */
static inline void know_raw(uint16_t port)
{
    struct stele_error err = {0};
    const struct stele_peers_node table[] = {
        {.number = 3, .name = "node-3", .host = "127.0.0.1", .port = port}};
    CHECK_OK(stele_peers_set(nodes[1].peers, table, 1, &err), err);
}

#endif
