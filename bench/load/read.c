/* Reading over one connection: everything once, or stream after stream. */
#include "workloads.h"

struct reader {
    const struct protocol *protocol;
    uint64_t events;
    bool bad;
    bool ended;
};

static void on_message(struct h2_call *call, const uint8_t *data, size_t size)
{
    struct reader *const reader = call->owner;
    const struct found found = reader->protocol->get_found(data, size);
    reader->events += found.events;
    reader->bad = reader->bad || found.bad;
}

static void on_end(struct h2_call *call)
{
    struct reader *const reader = call->owner;
    reader->ended = true;
}

static void ask(struct h2_conn *conn, struct h2_call *call, const char *path,
                const struct protocol *protocol, const char *stream, uint64_t limit, bool end)
{
    uint8_t request[256];
    const uint8_t *const request_end = protocol->put_read(request, stream, limit);
    h2_call_start(conn, call, path);
    h2_call_send(call, request, (size_t)(request_end - request), end);
}

int run_readall(const struct load_options *options, const struct protocol *protocol)
{
    struct h2_loop *const loop = h2_loop_create(options->tls, options->authorization);
    struct h2_conn *const conn = h2_connect(loop, options->port);
    (void)h2_turn(loop, 1000);
    struct reader reader = {.protocol = protocol};
    struct h2_call call = {.on_message = on_message, .on_end = on_end, .owner = &reader};
    struct load_run run;
    load_begin_now(&run, options, "readall");
    ask(conn, &call, protocol->read_all_path, protocol, NULL, options->events,
        !protocol->read_all_stays_open);
    while (!reader.ended && !(protocol->read_all_stays_open && reader.events >= options->events)) {
        (void)h2_turn(loop, -1);
    }
    run.result.operations = 1;
    run.result.events = reader.events;
    run.result.errors = reader.bad || reader.events < options->events ? 1 : 0;
    load_end(&run);
    h2_loop_destroy(loop);
    free(call.partial);
    return load_report(&run);
}

int run_readstream(const struct load_options *options, const struct protocol *protocol)
{
    struct h2_loop *const loop = h2_loop_create(options->tls, options->authorization);
    struct h2_conn *const conn = h2_connect(loop, options->port);
    (void)h2_turn(loop, 1000);
    const uint64_t each = options->events / options->streams;
    uint64_t state = bench_seed();
    struct h2_call call = {.on_message = on_message, .on_end = on_end};
    struct load_run run;
    load_begin(&run, options, "readstream");
    for (uint64_t now_ns = 0; now_ns < run.end_ns;) {
        struct reader reader = {.protocol = protocol};
        char name[32];
        (void)load_name(name, "fill-", bench_random_below(&state, options->streams));
        call.owner = &reader;
        const uint64_t started_ns = bench_now_ns();
        ask(conn, &call, protocol->read_path, protocol, name, 1000000, true);
        while (!reader.ended) {
            (void)h2_turn(loop, -1);
        }
        now_ns = bench_now_ns();
        load_done(&run, started_ns, now_ns, reader.events, !reader.bad && reader.events == each);
    }
    load_end(&run);
    h2_loop_destroy(loop);
    free(call.partial);
    return load_report(&run);
}
