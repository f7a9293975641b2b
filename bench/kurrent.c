/* How fast a server answers KurrentDB's protocol: one connection, one call, as fast as it goes.
 *
 *     kurrent-load PORT append IN_FLIGHT EVENTS_EACH SECONDS [DATA_SIZE]
 *     kurrent-load PORT read COUNT           all events, forwards, at most COUNT
 *
 * Speaks just enough HTTP/2 by itself to be faster than what it measures: frames are built by hand,
 * answers are counted, not kept. One line of result: events/s, and latency of answers. */
#include "pb/pb.h"

#include <stele/stele.h>

#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#define WINDOW 0x7fffffff
#define IN_FLIGHT_MAX 65536

static int fd;
static uint8_t in[1 << 20];
static size_t in_size;
static int64_t window_conn = 65535, window_stream = 65535;
static uint64_t consumed;

static uint8_t message[32 << 20]; /* What is left of one gRPC message across DATA frames. */
static size_t message_size;
static uint64_t answers, refusals, events, bytes_read;
static bool ended;
static int64_t sent_at[IN_FLIGHT_MAX];
static uint32_t in_flight_max = 1;
static uint64_t latencies[100000]; /* In microseconds, the last ones for all above. */

static int64_t now_us(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

static void fail(const char *what)
{
    (void)fprintf(stderr, "kurrent-load: %s\n", what);
    exit(1);
}

static void send_all(const uint8_t *data, size_t size)
{
    while (size > 0) {
        const ssize_t done = write(fd, data, size);
        if (done <= 0) {
            fail("the server is gone");
        }
        data += done;
        size -= (size_t)done;
    }
}

static void put_u32be(uint8_t *to, uint32_t value)
{
    to[0] = (uint8_t)(value >> 24);
    to[1] = (uint8_t)(value >> 16);
    to[2] = (uint8_t)(value >> 8);
    to[3] = (uint8_t)value;
}

static uint32_t get_u32be(const uint8_t *from)
{
    return (uint32_t)from[0] << 24 | (uint32_t)from[1] << 16 | (uint32_t)from[2] << 8 | from[3];
}

static uint8_t *put_frame(uint8_t *to, uint32_t size, uint8_t type, uint8_t flags, uint32_t stream)
{
    put_u32be(to, size << 8 | type);
    to[4] = flags;
    put_u32be(to + 5, stream);
    return to + 9;
}

static uint8_t *put_header(uint8_t *to, const char *name, const char *value)
{
    *to++ = 0; /* A literal that is not remembered: RFC 7541 section 6.2.2. */
    *to++ = (uint8_t)strlen(name);
    memcpy(to, name, strlen(name));
    to += strlen(name);
    *to++ = (uint8_t)strlen(value);
    memcpy(to, value, strlen(value));
    return to + strlen(value);
}

static void open_call(uint16_t port, const char *path)
{
    uint8_t out[1024];
    const struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    const int one = 1;
    fd = socket(AF_INET, SOCK_STREAM, 0);
    if (connect(fd, (const struct sockaddr *)&address, sizeof address) != 0) {
        fail("nobody listens there");
    }
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    memcpy(out, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 24);
    uint8_t *to = put_frame(out + 24, 6, 4, 0, 0);
    to[0] = 0;
    to[1] = 4;
    put_u32be(to + 2, WINDOW);
    to = put_frame(to + 6, 4, 8, 0, 0);
    put_u32be(to, WINDOW - 65535);
    to += 4;
    uint8_t *const headers = to;
    to = put_header(to + 9, ":method", "POST");
    to = put_header(to, ":scheme", "http");
    to = put_header(to, ":path", path);
    to = put_header(to, ":authority", "localhost");
    to = put_header(to, "content-type", "application/grpc");
    to = put_header(to, "te", "trailers");
    (void)put_frame(headers, (uint32_t)(to - headers - 9), 1, 4, 1);
    send_all(out, (size_t)(to - out));
}

static void count_message(const uint8_t *data, size_t size)
{
    struct stele_pb_reader reader =
        stele_pb_reader((struct stele_bytes){.data = data, .size = size});
    struct stele_pb_field field;
    uint64_t id = 0;
    bool refused = false;
    bytes_read += size;
    if (size > 0 && data[0] == 0x0a && sent_at[0] == 0) {
        events++; /* ReadResp.event. */
        return;
    }
    while (stele_pb_next(&reader, &field)) {
        /* The correlation id: {1: {2: number}}, of which the number is what counts. */
        if (field.number == 1 && field.wire == STELE_PB_BYTES) {
            struct stele_pb_reader inner = stele_pb_reader(field.bytes);
            struct stele_pb_field half;
            if (stele_pb_next(&inner, &half)) {
                inner = stele_pb_reader(half.bytes);
                while (stele_pb_next(&inner, &half)) {
                    id = half.number == 2 ? half.value : id;
                }
            }
        }
        refused = refused || field.number == 2;
    }
    answers++;
    refusals += refused ? 1 : 0;
    const int64_t took = now_us() - sent_at[id % in_flight_max];
    latencies[took < 99999 ? took : 99999]++;
}

static void take_data(const uint8_t *data, size_t size)
{
    while (size > 0) {
        if (message_size == 0) {
            /* Whole messages are counted where they lie. */
            while (size >= 5 && size - 5 >= get_u32be(data + 1)) {
                const size_t whole = get_u32be(data + 1);
                count_message(data + 5, whole);
                data += 5 + whole;
                size -= 5 + whole;
            }
        }
        const size_t want =
            message_size < 5 ? 5 - message_size : 5 + get_u32be(message + 1) - message_size;
        const size_t part = want < size ? want : size;
        memcpy(message + message_size, data, part);
        message_size += part;
        data += part;
        size -= part;
        if (message_size >= 5 && message_size == 5 + (size_t)get_u32be(message + 1)) {
            count_message(message + 5, message_size - 5);
            message_size = 0;
        }
    }
}

static void take_frame(uint8_t type, uint8_t flags, uint32_t stream, const uint8_t *data,
                       size_t size)
{
    uint8_t out[32];
    switch (type) {
    case 0:
        take_data(data, size);
        consumed += size;
        if (consumed >= 64u << 20) {
            for (uint32_t i = 0; i < 2; i++) {
                put_u32be(put_frame(out, 4, 8, 0, i), (uint32_t)consumed);
                send_all(out, 13);
            }
            consumed = 0;
        }
        ended = ended || (flags & 1) != 0;
        break;
    case 1:
        ended = ended || (flags & 1) != 0;
        break;
    case 3:
    case 7:
        fail("the server ended the call");
        break;
    case 4:
        for (size_t at = 0; (flags & 1) == 0 && at + 6 <= size; at += 6) {
            if (data[at + 1] == 4) {
                window_stream += (int64_t)get_u32be(data + at + 2) - 65535;
            }
        }
        if ((flags & 1) == 0) {
            (void)put_frame(out, 0, 4, 1, 0);
            send_all(out, 9);
        }
        break;
    case 6:
        if ((flags & 1) == 0) {
            memcpy(put_frame(out, 8, 6, 1, 0), data, 8);
            send_all(out, 17);
        }
        break;
    case 8:
        *(stream == 0 ? &window_conn : &window_stream) += get_u32be(data);
        break;
    default:
        break;
    }
}

static void receive(void)
{
    const ssize_t got = read(fd, in + in_size, sizeof in - in_size);
    if (got <= 0) {
        fail("the server is gone");
    }
    in_size += (size_t)got;
    size_t at = 0;
    while (in_size - at >= 9) {
        const size_t size = get_u32be(in + at) >> 8;
        if (in_size - at < 9 + size) {
            break;
        }
        take_frame(in[at + 3], in[at + 4], get_u32be(in + at + 5), in + at + 9, size);
        at += 9 + size;
    }
    memmove(in, in + at, in_size - at);
    in_size -= at;
}

/* ---- Appending ---- */

static uint64_t random_state;

static uint64_t next_random(void)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return random_state;
}

static uint8_t *put_id(uint8_t *to, uint64_t high, uint64_t low)
{
    const size_t size = stele_pb_size_varint(1, high) + stele_pb_size_varint(2, low);
    to = stele_pb_put_message(to, 1, size + 2);
    to = stele_pb_put_message(to, 1, size);
    to = stele_pb_put_u64(to, 1, high);
    return stele_pb_put_u64(to, 2, low);
}

static size_t make_batch(uint8_t *to, uint64_t number, uint32_t count, size_t data_size)
{
    static const char metadata[] = "\x12\x0e\x0a\x04type\x12\x06placed"
                                   "\x12\x20\x0a\x0c"
                                   "content-type\x12\x10"
                                   "application/json";
    static uint8_t data[65536];
    uint8_t *const begin = to;
    char stream[32];
    memset(data, 'x', sizeof data);
    (void)snprintf(stream, sizeof stream, "order-%llu", (unsigned long long)(number % 1000));
    to = put_id(to + 5, 1, number + 1);
    const size_t name = strlen(stream);
    to = stele_pb_put_message(to, 2, stele_pb_size_bytes(1, stele_pb_size_bytes(3, name)) + 2);
    to = stele_pb_put_message(to, 1, stele_pb_size_bytes(3, name));
    to = stele_pb_put_bytes(to, 3, stream, name);
    to = stele_pb_put_message(to, 4, 0);
    for (uint32_t i = 0; i < count; i++) {
        uint8_t id[64];
        const size_t id_size = (size_t)(put_id(id, next_random() | 1, next_random() | 1) - id);
        to = stele_pb_put_message(
            to, 3, id_size + sizeof metadata - 1 + stele_pb_size_bytes(4, data_size));
        memcpy(to, id, id_size);
        to += id_size;
        memcpy(to, metadata, sizeof metadata - 1);
        to = stele_pb_put_bytes(to + sizeof metadata - 1, 4, data, data_size);
    }
    to = stele_pb_put_u64(to, 4, 1);
    const size_t size = (size_t)(to - begin);
    begin[0] = 0;
    put_u32be(begin + 1, (uint32_t)size - 5);
    return size;
}

static void run_append(uint16_t port, uint32_t in_flight, uint32_t count, double seconds,
                       size_t data_size)
{
    static uint8_t batch[1 << 20];
    static uint8_t out[1 << 20];
    uint64_t number = 0;
    in_flight_max = in_flight;
    random_state = (uint64_t)now_us() * 88172645463325252u | 1;
    open_call(port, "/event_store.client.streams.Streams/BatchAppend");
    const int64_t begin = now_us();
    const int64_t end = begin + (int64_t)(seconds * 1e6);
    size_t out_size = 0;
    while (now_us() < end) {
        while (number - answers < in_flight) {
            const size_t size = make_batch(batch, number, count, data_size);
            while (window_conn < (int64_t)size || window_stream < (int64_t)size) {
                send_all(out, out_size);
                out_size = 0;
                receive();
            }
            window_conn -= (int64_t)size;
            window_stream -= (int64_t)size;
            sent_at[number % in_flight] = now_us();
            number++;
            for (size_t at = 0; at < size; at += 16384) {
                const size_t part = size - at < 16384 ? size - at : 16384;
                if (sizeof out - out_size < part + 9) {
                    send_all(out, out_size);
                    out_size = 0;
                }
                memcpy(put_frame(out + out_size, (uint32_t)part, 0, 0, 1), batch + at, part);
                out_size += part + 9;
            }
        }
        send_all(out, out_size);
        out_size = 0;
        receive();
    }
    const double took = (double)(now_us() - begin) / 1e6;
    uint64_t seen = 0;
    int p50 = 0;
    int p99 = 0;
    for (int i = 0; i < 100000; i++) {
        seen += latencies[i];
        p50 = seen * 2 <= answers ? i : p50;
        p99 = seen * 100 <= answers * 99 ? i : p99;
    }
    (void)printf("append: %.0f events/s (%.0f answers/s, %llu refused), p50 %d us, p99 %d us\n",
                 (double)answers * count / took, (double)answers / took,
                 (unsigned long long)refusals, p50, p99);
}

static void run_read(uint16_t port, uint64_t count)
{
    uint8_t request[64];
    uint8_t options[48];
    uint8_t out[128];
    open_call(port, "/event_store.client.streams.Streams/Read");
    uint8_t *to = stele_pb_put_message(options, 2, 2); /* All, from the start. */
    to = stele_pb_put_message(to, 2, 0);
    to = stele_pb_put_u64(to, 5, count);
    to = stele_pb_put_message(to, 8, 0);
    to = stele_pb_put_message(to, 9, 2); /* Structured ids. */
    to = stele_pb_put_message(to, 1, 0);
    const uint8_t *end = stele_pb_put_bytes(request, 1, options, (size_t)(to - options));
    const size_t size = (size_t)(end - request);
    uint8_t *body = put_frame(out, (uint32_t)size + 5, 0, 1, 1);
    body[0] = 0;
    put_u32be(body + 1, (uint32_t)size);
    memcpy(body + 5, request, size);
    const int64_t begin = now_us();
    send_all(out, size + 14);
    while (!ended) {
        receive();
    }
    const double took = (double)(now_us() - begin) / 1e6;
    (void)printf("read: %.0f events/s, %.0f MB/s, %llu events\n", (double)events / took,
                 (double)bytes_read / took / 1e6, (unsigned long long)events);
}

int main(int argc, char **argv)
{
    if (argc >= 6 && strcmp(argv[2], "append") == 0) {
        const uint32_t in_flight = (uint32_t)strtoul(argv[3], NULL, 10);
        run_append((uint16_t)strtoul(argv[1], NULL, 10),
                   in_flight < IN_FLIGHT_MAX ? in_flight : IN_FLIGHT_MAX,
                   (uint32_t)strtoul(argv[4], NULL, 10), strtod(argv[5], NULL),
                   argc > 6 ? strtoul(argv[6], NULL, 10) % 65536 : 100);
    } else if (argc == 4 && strcmp(argv[2], "read") == 0) {
        run_read((uint16_t)strtoul(argv[1], NULL, 10), strtoull(argv[3], NULL, 10));
    } else {
        (void)fprintf(stderr, "usage: kurrent-load PORT append IN_FLIGHT EVENTS_EACH SECONDS "
                              "[DATA_SIZE] | PORT read COUNT\n");
        return 2;
    }
    (void)close(fd);
    return 0;
}
