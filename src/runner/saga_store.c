/* The real world behind a saga runner: a store, its clock, the system's random numbers. */
#include "runner/saga_internal.h"

#include <errno.h>
#include <sys/random.h>
#include <time.h>

#define SCAN_MAX 10000u /* Events looked at in one turn. */

struct store_port {
    struct saga_port port;
    struct stele_alloc *alloc;
    struct stele *store;
    struct stele_iterator *iterator; /* What follow() goes on with, if it is still there: */
    uint64_t at;
    const char *const *types;
};

static struct store_port *of(struct saga_port *port)
{
    return (struct store_port *)port;
}

static int port_append(struct saga_port *port, const char *stream, uint64_t expected,
                       const struct stele_event_draft *events, size_t count, uint64_t *out_position,
                       struct stele_error *err)
{
    struct stele_append_result result;
    const int outcome =
        stele_append(of(port)->store, stream, expected, events, count, &result, err);
    if (outcome == STELE_OK) {
        *out_position = result.position_last;
    }
    return outcome;
}

/* Hands out what an iterator has. *position (may be NULL) follows. */
static int hand_out(struct stele_iterator *iterator, uint64_t *position, saga_on_event on_event,
                    void *context, struct stele_error *err)
{
    const struct stele_event *events = NULL;
    size_t count = 0;
    int outcome = stele_iterator_next(iterator, &events, &count, err);
    for (size_t i = 0; i < count && outcome == STELE_OK; i++) {
        outcome = on_event(context, &events[i]);
        if (outcome == STELE_OK && position != NULL) {
            *position = events[i].position;
        }
    }
    return outcome;
}

static int read_with(struct store_port *p, const char *stream,
                     const struct stele_read_options *options, saga_on_event on_event,
                     void *context, struct stele_error *err)
{
    struct stele_iterator *iterator = NULL;
    int outcome = stele_read_stream(p->store, stream, options, &iterator, err);
    while (outcome == STELE_OK) {
        outcome = hand_out(iterator, NULL, on_event, context, err);
    }
    stele_iterator_destroy(iterator);
    return outcome == STELE_END || outcome == STELE_NO_STREAM ? STELE_OK : outcome;
}

static int port_read(struct saga_port *port, const char *stream, uint64_t from,
                     saga_on_event on_event, void *context, struct stele_error *err)
{
    struct stele_read_options options = STELE_READ_OPTIONS_INIT;
    options.from = from;
    return read_with(of(port), stream, &options, on_event, context, err);
}

static int port_read_last(struct saga_port *port, const char *stream, saga_on_event on_event,
                          void *context, struct stele_error *err)
{
    struct stele_read_options options = STELE_READ_OPTIONS_INIT;
    options.from = STELE_FROM_END;
    options.backwards = 1;
    options.limit = 1;
    return read_with(of(port), stream, &options, on_event, context, err);
}

static int open_follow(struct store_port *p, const char *const *types, size_t types_count,
                       uint64_t position, struct stele_error *err)
{
    stele_iterator_destroy(p->iterator);
    p->iterator = NULL;
    struct stele_filter filter;
    memset(&filter, 0, sizeof filter);
    filter.types = types;
    filter.types_count = types_count;
    struct stele_read_options options = STELE_READ_OPTIONS_INIT;
    options.from = position + 1;
    options.filter = &filter;
    options.scan_max = SCAN_MAX;
    return stele_read_all(p->store, &options, &p->iterator, err);
}

static int port_follow(struct saga_port *port, const char *const *types, size_t types_count,
                       uint64_t *position, saga_on_event on_event, void *context,
                       struct stele_error *err)
{
    struct store_port *const p = of(port);
    if (p->iterator == NULL || p->at != *position) {
        const int outcome = open_follow(p, types, types_count, *position, err);
        if (outcome != STELE_OK) {
            return outcome;
        }
    }
    const int outcome = hand_out(p->iterator, position, on_event, context, err);
    if (outcome == STELE_OK || outcome == STELE_END) {
        const uint64_t seen = stele_iterator_position(p->iterator);
        *position = seen > *position ? seen : *position;
        p->at = *position;
    } else {
        /* What was handed out and not taken has to come again. */
        stele_iterator_destroy(p->iterator);
        p->iterator = NULL;
    }
    return outcome;
}

static int port_list(struct saga_port *port, const char *prefix, stele_name_callback on_name,
                     void *context, struct stele_error *err)
{
    return stele_list(of(port)->store, STELE_LIST_STREAMS, prefix, NULL, 0, on_name, context, err);
}

static void port_keep_newest(struct saga_port *port, const char *stream)
{
    static const char JSON[] = "{\"$maxCount\":2}";
    /* Fails when it was done before, and whenever it may: the stream is then longer than it need be. */
    (void)stele_set_metadata(of(port)->store, stream, STELE_EXPECT_NO_STREAM, JSON, sizeof JSON - 1,
                             NULL, NULL);
}

static uint64_t port_last_position(struct saga_port *port)
{
    return stele_last_position(of(port)->store);
}

static int64_t port_now_us(struct saga_port *port)
{
    (void)port;
    struct timespec now;
    (void)clock_gettime(CLOCK_REALTIME, &now);
    return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

static void port_random(struct saga_port *port, void *buffer, size_t size)
{
    (void)port;
    uint8_t *at = buffer;
    while (size > 0) {
        const ssize_t got = getrandom(at, size, 0);
        STELE_ASSERT(got > 0 || errno == EINTR);
        at += got > 0 ? got : 0;
        size -= got > 0 ? (size_t)got : 0;
    }
}

static void port_wait(struct saga_port *port, uint64_t after, int timeout_ms)
{
    (void)stele_wait(of(port)->store, after, timeout_ms, NULL);
}

static void port_destroy(struct saga_port *port)
{
    struct store_port *const p = of(port);
    stele_iterator_destroy(p->iterator);
    stele_release(p->alloc, p, sizeof *p);
}

int stele_runner__saga_store_port(struct stele *store, struct stele_alloc *alloc,
                                  struct saga_port **out_port, struct stele_error *err)
{
    static const struct saga_port_ops OPS = {
        port_append,        port_read,   port_read_last, port_follow, port_list,   port_keep_newest,
        port_last_position, port_now_us, port_random,    port_wait,   port_destroy};
    struct store_port *const p = stele_allocate_zeroed(alloc, sizeof *p);
    if (p == NULL) {
        return stele_fail(err, STELE_E_NO_MEMORY, 0, "no memory for a saga runner");
    }
    p->port.ops = &OPS;
    p->alloc = alloc;
    p->store = store;
    *out_port = &p->port;
    return STELE_OK;
}
