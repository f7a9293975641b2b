/* Appending: connections × in flight slots, each of which has one append under way.
 *
 * A slot has streams of its own, so that it knows the revision that it expects. */
#include "workloads.h"

struct slot {
    struct appender *appender;
    struct h2_call unary; /* If the protocol has a call for each append. */
    struct h2_call *call;
    uint32_t number;
    uint32_t stream; /* Of what is under way. */
    uint64_t started_ns;
    bool answered; /* Of a unary call: it had a good answer. */
    bool waits;    /* For room in the server's window. */
};

struct appender {
    const struct load_options *options;
    const struct protocol *protocol;
    struct load_run run;
    struct load_shape shape;
    struct h2_loop *loop;
    struct h2_conn **conns;
    struct h2_call *calls; /* One a connection, unless calls are unary. */
    struct slot *slots;
    uint32_t slots_count;
    uint32_t busy;
    uint32_t waiting;
    uint64_t *revisions; /* Events of each stream of this run. */
    uint64_t random_state;
    uint8_t *message;
    const uint32_t *order; /* Of streams, when filling. */
    uint64_t next;         /* Of order. */
};

static void send_append(struct slot *slot)
{
    struct appender *const appender = slot->appender;
    const struct protocol *const protocol = appender->protocol;
    char name[32];
    (void)load_name(name, appender->order != NULL ? "fill-" : load_run_prefix(), slot->stream);
    const struct proposal proposal = {.number = slot->number,
                                      .stream = name,
                                      .events_before = appender->revisions[slot->stream],
                                      .count = appender->shape.batch};
    const uint8_t *const end = protocol->put_append(appender->message, &proposal);
    const size_t size = (size_t)(end - appender->message);
    slot->waits = !h2_call_has_room(slot->call, size);
    if (slot->waits) {
        appender->waiting++;
    } else {
        h2_call_send(slot->call, appender->message, size, protocol->append_is_unary);
    }
}

static void start(struct slot *slot)
{
    struct appender *const appender = slot->appender;
    if (appender->order != NULL) {
        /* A stream may be twice under way: the server keeps the order of one connection. */
        slot->stream = appender->order[appender->next];
        appender->next += appender->shape.batch;
    } else {
        const uint32_t each = appender->options->streams / appender->slots_count;
        slot->stream = bench_random_below(&appender->random_state, each == 0 ? 1 : each) *
                           appender->slots_count +
                       slot->number;
    }
    appender->busy++;
    if (appender->protocol->append_is_unary) {
        slot->answered = false;
        h2_call_start(appender->conns[slot->number / appender->shape.in_flight], &slot->unary,
                      appender->protocol->append_path);
    }
    slot->started_ns = bench_now_ns();
    send_append(slot);
    if (appender->order != NULL) {
        appender->revisions[slot->stream] += appender->shape.batch;
    }
}

static bool goes_on(const struct appender *appender, uint64_t now_ns)
{
    return appender->order != NULL ? appender->next < appender->options->events
                                   : now_ns < appender->run.end_ns;
}

static void finish(struct slot *slot, bool good)
{
    struct appender *const appender = slot->appender;
    const uint64_t now_ns = bench_now_ns();
    if (good && appender->order == NULL) {
        appender->revisions[slot->stream] += appender->shape.batch;
    }
    load_done(&appender->run, slot->started_ns, now_ns, appender->shape.batch, good);
    appender->busy--;
    if (goes_on(appender, now_ns)) {
        start(slot);
    }
}

static void on_unary_message(struct h2_call *call, const uint8_t *data, size_t size)
{
    struct slot *const slot = call->owner;
    slot->answered = slot->appender->protocol->get_answer(data, size).good;
}

static void on_unary_end(struct h2_call *call)
{
    struct slot *const slot = call->owner;
    finish(slot, slot->answered);
}

static void on_message(struct h2_call *call, const uint8_t *data, size_t size)
{
    struct appender *const appender = call->owner;
    const struct answer answer = appender->protocol->get_answer(data, size);
    if (answer.number >= appender->slots_count || appender->slots[answer.number].call != call) {
        h2_fail("an answer to append %" PRIu64 ", which nobody asked", answer.number);
    }
    finish(&appender->slots[answer.number], answer.good);
}

static void on_end(struct h2_call *call)
{
    const struct appender *const appender = call->owner;
    if (appender->busy > 0) {
        h2_fail("the server has ended the call of appends");
    }
}

static void connect_all(struct appender *appender)
{
    const struct load_shape shape = appender->shape;
    const struct protocol *const protocol = appender->protocol;
    appender->conns = bench_alloc(shape.connections, sizeof(struct h2_conn *));
    appender->calls = bench_alloc(shape.connections, sizeof *appender->calls);
    appender->slots_count = shape.connections * shape.in_flight;
    appender->slots = bench_alloc(appender->slots_count, sizeof *appender->slots);
    for (uint32_t i = 0; i < shape.connections; i++) {
        appender->conns[i] = h2_connect(appender->loop, appender->options->port);
        appender->calls[i] =
            (struct h2_call){.on_message = on_message, .on_end = on_end, .owner = appender};
        if (!protocol->append_is_unary) {
            h2_call_start(appender->conns[i], &appender->calls[i], protocol->append_path);
        }
        /* What the server allows is known before it counts. */
        (void)h2_turn(appender->loop, 1000);
    }
    for (uint32_t i = 0; i < appender->slots_count; i++) {
        struct slot *const slot = &appender->slots[i];
        slot->appender = appender;
        slot->number = i;
        slot->unary =
            (struct h2_call){.on_message = on_unary_message, .on_end = on_unary_end, .owner = slot};
        slot->call =
            protocol->append_is_unary ? &slot->unary : &appender->calls[i / shape.in_flight];
    }
}

static void send_waiting(struct appender *appender)
{
    for (uint32_t i = 0; i < appender->slots_count && appender->waiting > 0; i++) {
        if (appender->slots[i].waits) {
            appender->waiting--;
            send_append(&appender->slots[i]);
            if (appender->slots[i].waits) {
                return;
            }
        }
    }
}

static int run(struct appender *appender, const char *workload)
{
    const struct load_options *const options = appender->options;
    load_renew_prefix();
    appender->loop = h2_loop_create(options->tls, options->authorization);
    appender->random_state = bench_seed();
    appender->message = bench_alloc(1, proposal_room(options, appender->shape.batch));
    connect_all(appender);
    appender->revisions =
        bench_alloc((size_t)options->streams + appender->slots_count, sizeof(uint64_t));
    if (appender->order != NULL) {
        load_begin_now(&appender->run, options, workload);
    } else {
        load_begin(&appender->run, options, workload);
    }
    for (uint32_t i = 0; i < appender->slots_count; i++) {
        if (goes_on(appender, bench_now_ns())) {
            start(&appender->slots[i]);
        }
    }
    while (appender->busy > 0) {
        (void)h2_turn(appender->loop, -1);
        send_waiting(appender);
    }
    load_end(&appender->run);
    h2_loop_destroy(appender->loop);
    free((void *)appender->conns);
    free(appender->calls);
    free(appender->slots);
    free(appender->revisions);
    free(appender->message);
    return load_report(&appender->run);
}

int run_append(const struct load_options *options, const struct protocol *protocol,
               const char *workload, struct load_shape shape)
{
    struct appender appender = {.options = options, .protocol = protocol, .shape = shape};
    return run(&appender, workload);
}

/* Where an append is a call, 100 are under way, and whole streams come in one: etcd takes minutes
 * otherwise. */
int run_fill(const struct load_options *options, const struct protocol *protocol)
{
    uint32_t *const order = load_fill_order(options);
    struct appender appender = {
        .options = options, .protocol = protocol, .shape = {1, 1000, 1}, .order = order};
    if (protocol->append_is_unary) {
        appender.shape = (struct load_shape){1, 50, 100};
        for (uint64_t i = 0; i < options->events; i++) {
            order[i] = (uint32_t)(i / 100 % options->streams);
        }
    }
    const int code = run(&appender, "fill");
    free(order);
    return code;
}
