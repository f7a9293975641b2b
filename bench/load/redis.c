/* Redis Streams under the same workloads. An event is an entry of the stream of that name, with the
 * explicit id 0-(revision + 1): XADD refuses one that is not above the last, which is the check of
 * the expected revision. A batch is one MULTI. For reading everything in one order there is one more
 * stream that holds full copies, made while filling; appends that are measured do not write to it,
 * so Redis has it easier: it keeps no order of all events. */
#include "load.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#define ALL "fill-all"
#define LINE_MAX_SIZE 64
#define IN_FLIGHT_MAX 4096

struct slot {
    uint32_t stream;
    uint64_t started_ns;
};

struct conn {
    struct client *client;
    int fd;
    char *out;
    size_t out_size, out_capacity;
    /* The reply that is being read: lines, and texts that are skipped over. */
    char line[LINE_MAX_SIZE];
    size_t line_size;
    uint64_t skip;
    uint64_t items; /* That are missing of it. */
    bool bad;
    uint32_t replies; /* Left of the operation. */
    uint64_t texts;
    /* Operations are answered in their order. */
    struct slot slots[IN_FLIGHT_MAX];
    uint32_t first, under_way;
    uint32_t number;
    void (*on_done)(struct conn *conn, bool good);
};

struct client {
    const struct load_options *options;
    struct load_run run;
    struct load_shape shape;
    struct conn *conns;
    int epoll_fd;
    uint64_t *revisions;
    uint64_t random_state;
    struct bench_pool pool;
    uint32_t busy;
};

static __attribute__((noreturn)) void fail(const char *what)
{
    (void)fprintf(stderr, "load-redis: %s: %s\n", what, strerror(errno));
    exit(1);
}

/* ---- Commands ------------------------------------------------------------------------------------ */

static void put(struct conn *conn, const void *data, size_t size)
{
    if (conn->out_capacity - conn->out_size < size) {
        conn->out_capacity = (conn->out_size + size) * 2;
        conn->out = realloc(conn->out, conn->out_capacity);
        if (conn->out == NULL) {
            fail("memory");
        }
    }
    memcpy(conn->out + conn->out_size, data, size);
    conn->out_size += size;
}

static void put_count(struct conn *conn, char kind, uint64_t count)
{
    char prefix[2] = {kind, '\0'};
    char text[32];
    put(conn, text, load_name(text, prefix, count));
    put(conn, "\r\n", 2);
}

static void put_argument(struct conn *conn, const void *data, size_t size)
{
    put_count(conn, '$', size);
    put(conn, data, size);
    put(conn, "\r\n", 2);
}

static void put_text(struct conn *conn, const char *text)
{
    put_argument(conn, text, strlen(text));
}

static void put_entry(struct conn *conn, const char *stream, uint64_t revision,
                      const uint8_t id[16], const char *data)
{
    const struct client *const client = conn->client;
    char entry[32];
    (void)load_name(entry, "0-", revision + 1);
    put_count(conn, '*', 9);
    put_text(conn, "XADD");
    put_text(conn, stream);
    put_text(conn, entry);
    put_text(conn, "id");
    put_argument(conn, id, 16);
    put_text(conn, "type");
    put_text(conn, BENCH_TYPE);
    put_text(conn, "data");
    put_argument(conn, data, client->pool.size);
}

static void put_event(struct conn *conn, const char *stream, uint64_t revision)
{
    struct client *const client = conn->client;
    uint8_t id[16];
    bench_random_id(&client->random_state, id);
    put_entry(conn, stream, revision, id, bench_pool_pick(&client->pool, &client->random_state));
}

static void put_word(struct conn *conn, const char *word)
{
    put_count(conn, '*', 1);
    put_text(conn, word);
}

static void flush(struct conn *conn)
{
    for (size_t at = 0; at < conn->out_size;) {
        const ssize_t sent = send(conn->fd, conn->out + at, conn->out_size - at, MSG_NOSIGNAL);
        if (sent <= 0) {
            fail("send");
        }
        at += (size_t)sent;
    }
    conn->out_size = 0;
}

/* ---- Replies ------------------------------------------------------------------------------------- */

static void end_item(struct conn *conn)
{
    if (--conn->items == 0 && --conn->replies == 0) {
        conn->on_done(conn, !conn->bad);
        conn->bad = false;
    }
}

static void take_line(struct conn *conn)
{
    const char kind = conn->line[0];
    const long long count = strtoll(conn->line + 1, NULL, 10);
    conn->items = conn->items == 0 ? 1 : conn->items;
    if (kind == '-') {
        conn->line[conn->line_size] = '\0';
        (void)fprintf(stderr, "load-redis: %s", conn->line);
        conn->bad = true;
    } else if (kind == '$' && count >= 0) {
        conn->skip = (uint64_t)count + 2;
        return;
    } else if (kind == '*' && count > 0) {
        conn->items += (uint64_t)count;
    }
    end_item(conn);
}

static void take_bytes(struct conn *conn, const char *data, size_t size)
{
    while (size > 0) {
        if (conn->skip > 0) {
            const size_t part = size < conn->skip ? size : conn->skip;
            conn->skip -= part;
            data += part;
            size -= part;
            if (conn->skip == 0) {
                conn->texts++;
                end_item(conn);
            }
            continue;
        }
        const char c = *data++;
        size--;
        if (conn->line_size < LINE_MAX_SIZE - 1) {
            conn->line[conn->line_size++] = c;
        }
        if (c == '\n') {
            take_line(conn);
            conn->line_size = 0;
        }
    }
}

static void receive(struct conn *conn)
{
    static char in[256 << 10];
    const ssize_t got = recv(conn->fd, in, sizeof in, 0);
    if (got <= 0) {
        fail("the server is gone");
    }
    take_bytes(conn, in, (size_t)got);
}

static void turn(struct client *client)
{
    struct epoll_event events[1024];
    for (uint32_t i = 0; i < client->shape.connections; i++) {
        if (client->conns[i].out_size > 0) {
            flush(&client->conns[i]);
        }
    }
    if (client->shape.connections == 1) {
        receive(&client->conns[0]);
        return;
    }
    const int count = epoll_wait(client->epoll_fd, events, 1024, -1);
    for (int i = 0; i < count; i++) {
        receive(events[i].data.ptr);
    }
}

static void open_all(struct client *client, const struct load_options *options,
                     struct load_shape shape)
{
    *client = (struct client){.options = options, .shape = shape};
    client->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    client->random_state = bench_seed();
    bench_pool_init(&client->pool, options->data_size);
    client->conns = bench_alloc(shape.connections, sizeof *client->conns);
    client->revisions = bench_alloc((size_t)options->streams + 4096, sizeof(uint64_t));
    load_renew_prefix();
    for (uint32_t i = 0; i < shape.connections; i++) {
        const struct sockaddr_in address = {.sin_family = AF_INET,
                                            .sin_port = htons(options->port),
                                            .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
        const int one = 1;
        struct conn *const conn = &client->conns[i];
        conn->client = client;
        conn->number = i;
        conn->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (connect(conn->fd, (const struct sockaddr *)&address, sizeof address) != 0) {
            fail("connect");
        }
        (void)setsockopt(conn->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        struct epoll_event event = {.events = EPOLLIN, .data = {.ptr = conn}};
        (void)epoll_ctl(client->epoll_fd, EPOLL_CTL_ADD, conn->fd, &event);
    }
}

static int close_all(struct client *client)
{
    for (uint32_t i = 0; i < client->shape.connections; i++) {
        (void)close(client->conns[i].fd);
        free(client->conns[i].out);
    }
    (void)close(client->epoll_fd);
    bench_pool_deinit(&client->pool);
    free(client->conns);
    free(client->revisions);
    return load_report(&client->run);
}

/* ---- Appending ----------------------------------------------------------------------------------- */

static void start(struct conn *conn)
{
    struct client *const client = conn->client;
    const uint32_t batch = client->shape.batch;
    const uint32_t each = client->options->streams / client->shape.connections;
    struct slot *const slot =
        &conn->slots[(conn->first + conn->under_way) % client->shape.in_flight];
    char name[32];
    conn->under_way++;
    conn->replies = conn->under_way == 1 ? (batch > 1 ? batch + 2 : 1) : conn->replies;
    slot->stream =
        bench_random_below(&client->random_state, each) * client->shape.connections + conn->number;
    (void)load_name(name, load_run_prefix(), slot->stream);
    if (batch > 1) {
        put_word(conn, "MULTI");
    }
    for (uint32_t i = 0; i < batch; i++) {
        put_event(conn, name, client->revisions[slot->stream]++);
    }
    if (batch > 1) {
        put_word(conn, "EXEC");
    }
    slot->started_ns = bench_now_ns();
    client->busy++;
}

static void on_appended(struct conn *conn, bool good)
{
    struct client *const client = conn->client;
    const uint64_t now_ns = bench_now_ns();
    load_done(&client->run, conn->slots[conn->first].started_ns, now_ns, client->shape.batch, good);
    conn->first = (conn->first + 1) % client->shape.in_flight;
    conn->under_way--;
    client->busy--;
    conn->replies = client->shape.batch > 1 ? client->shape.batch + 2 : 1;
    if (now_ns < client->run.end_ns) {
        start(conn);
    }
}

static int run_append(const struct load_options *options, const char *workload,
                      struct load_shape shape)
{
    static struct client client;
    open_all(&client, options, shape);
    load_begin(&client.run, options, workload);
    for (uint32_t i = 0; i < shape.connections; i++) {
        client.conns[i].on_done = on_appended;
        for (uint32_t j = 0; j < shape.in_flight; j++) {
            start(&client.conns[i]);
        }
    }
    while (client.busy > 0) {
        turn(&client);
    }
    load_end(&client.run);
    return close_all(&client);
}

/* ---- The rest: one connection, one operation at a time ------------------------------------------- */

static void on_reply(struct conn *conn, bool good)
{
    conn->client->busy--;
    conn->client->run.result.errors += good ? 0 : 1;
}

static void wait_for(struct conn *conn, uint32_t replies)
{
    conn->on_done = on_reply;
    conn->replies = replies;
    conn->texts = 0;
    conn->client->busy++;
    while (conn->client->busy > 0) {
        turn(conn->client);
    }
}

static int run_fill(const struct load_options *options)
{
    static struct client client;
    uint32_t *const order = load_fill_order(options);
    open_all(&client, options, (struct load_shape){1, 1, 1});
    struct conn *const conn = &client.conns[0];
    load_begin_now(&client.run, options, "fill");
    for (uint64_t i = 0; i < options->events;) {
        uint32_t replies = 0;
        for (; replies < 2000 && i < options->events; replies += 2) {
            char name[32];
            uint8_t id[16];
            const char *const data = bench_pool_pick(&client.pool, &client.random_state);
            bench_random_id(&client.random_state, id);
            (void)load_name(name, "fill-", order[i]);
            put_entry(conn, name, client.revisions[order[i]]++, id, data);
            put_entry(conn, ALL, i++, id, data);
        }
        wait_for(conn, replies);
    }
    client.run.result.events = options->events;
    load_end(&client.run);
    free(order);
    return close_all(&client);
}

/* An entry of XRANGE and XREAD is its id and six texts. */
#define TEXTS_EACH 7

static int run_readstream(const struct load_options *options)
{
    static struct client client;
    open_all(&client, options, (struct load_shape){1, 1, 1});
    struct conn *const conn = &client.conns[0];
    const uint64_t each = options->events / options->streams;
    load_begin(&client.run, options, "readstream");
    for (uint64_t now_ns = 0; now_ns < client.run.end_ns;) {
        char name[32];
        (void)load_name(name, "fill-", bench_random_below(&client.random_state, options->streams));
        const uint64_t started_ns = bench_now_ns();
        put_count(conn, '*', 4);
        put_text(conn, "XRANGE");
        put_text(conn, name);
        put_text(conn, "-");
        put_text(conn, "+");
        wait_for(conn, 1);
        now_ns = bench_now_ns();
        load_done(&client.run, started_ns, now_ns, each, conn->texts == each * TEXTS_EACH);
    }
    load_end(&client.run);
    return close_all(&client);
}

static int run_readall(const struct load_options *options)
{
    static struct client client;
    open_all(&client, options, (struct load_shape){1, 1, 1});
    struct conn *const conn = &client.conns[0];
    load_begin_now(&client.run, options, "readall");
    uint64_t events = 0;
    while (events < options->events) {
        char from[32];
        (void)load_name(from, "0-", events);
        put_count(conn, '*', 6);
        put_text(conn, "XREAD");
        put_text(conn, "COUNT");
        put_text(conn, "1000");
        put_text(conn, "STREAMS");
        put_text(conn, ALL);
        put_text(conn, from);
        wait_for(conn, 1);
        if (conn->texts < TEXTS_EACH) {
            client.run.result.errors++; /* The end, too early. */
            break;
        }
        events += (conn->texts - 1) / TEXTS_EACH;
    }
    client.run.result.events = events;
    client.run.result.operations = 1;
    load_end(&client.run);
    return close_all(&client);
}

static int run_live(const struct load_options *options)
{
    static struct client client;
    open_all(&client, options, (struct load_shape){2, 1, 1});
    struct conn *const reads = &client.conns[0];
    struct conn *const appends = &client.conns[1];
    char name[32];
    (void)load_name(name, load_run_prefix(), 0);
    load_begin(&client.run, options, "live");
    reads->on_done = on_reply;
    appends->on_done = on_reply;
    for (uint64_t count = 0; bench_now_ns() < client.run.end_ns; count++) {
        char from[32];
        (void)load_name(from, "0-", count);
        put_count(reads, '*', 6);
        put_text(reads, "XREAD");
        put_text(reads, "BLOCK");
        put_text(reads, "5000");
        put_text(reads, "STREAMS");
        put_text(reads, name);
        put_text(reads, from);
        flush(reads);
        reads->replies = 1;
        reads->texts = 0;
        client.busy = 2;
        bench_sleep_ns(500000);
        const uint64_t started_ns = bench_now_ns();
        put_event(appends, name, count);
        appends->replies = 1;
        uint64_t held_ns = 0;
        while (client.busy > 0) {
            turn(&client);
            held_ns = held_ns == 0 && reads->replies == 0 ? bench_now_ns() : held_ns;
        }
        load_done(&client.run, started_ns, held_ns, 1, reads->texts == 1 + TEXTS_EACH);
    }
    load_end(&client.run);
    return close_all(&client);
}

int main(int argc, char **argv)
{
    static const struct load_workloads workloads = {.append = run_append,
                                                    .fill = run_fill,
                                                    .readall = run_readall,
                                                    .readstream = run_readstream,
                                                    .live = run_live};
    return load_main("redis", &workloads, argc, argv);
}
