/* Subscriptions: how late one hears of an event, how many can hear of it, what many that are idle
 * cost. */
#include "workloads.h"

#include <dirent.h>

#define PAUSE_NS UINT64_C(500000)
#define CALLS_EACH 1000u /* Subscriptions on one connection. */
#define FAN_EACH 100u    /* The same, of one stream. */
#define FAN_WINDOW 32u   /* Events that not everybody has. */
#define SILENCE_MS 500   /* All is quiet. */
#define PATIENCE_MS 20000

struct subscriber {
    struct live *live;
    struct h2_call call;
    uint64_t events;
};

struct live {
    const struct load_options *options;
    const struct protocol *protocol;
    struct load_run run;
    struct h2_loop *loop;
    struct h2_conn *appends_conn;
    struct h2_call appends; /* Or one append, if that is unary. */
    bool appended, good;
    struct subscriber *subscribers;
    uint32_t count;
    uint64_t told; /* Messages of any kind. */
    uint64_t delivered;
    uint64_t delivered_ns; /* The last one. */
    uint64_t appended_ns;
    uint8_t *message;
    /* fan: when each was sent, and of how many all events are known by everybody. */
    uint64_t sent_ns[4096];
    uint64_t sent;
    uint32_t *holders; /* Of each event, mod 4096. */
    uint64_t complete;
};

static void on_event(struct h2_call *call, const uint8_t *data, size_t size)
{
    struct subscriber *const subscriber = call->owner;
    struct live *const live = subscriber->live;
    const struct protocol *const protocol = live->protocol;
    const struct found found =
        (protocol->get_live != NULL ? protocol->get_live : protocol->get_found)(data, size);
    live->told++;
    if (found.events == 0) {
        return;
    }
    live->delivered += found.events;
    live->delivered_ns = h2_received_ns(live->loop);
    if (live->holders == NULL) {
        subscriber->events += found.events;
        return;
    }
    for (uint64_t i = 0; i < found.events; i++) {
        const uint64_t at = subscriber->events++ % 4096;
        load_done(&live->run, live->sent_ns[at], live->delivered_ns, 1, true);
        if (++live->holders[at] == live->count) {
            live->holders[at] = 0;
            live->complete++;
        }
    }
}

static void on_subscription_end(struct h2_call *call)
{
    (void)call;
    h2_fail("the server has ended a subscription");
}

static void on_answer(struct h2_call *call, const uint8_t *data, size_t size)
{
    struct live *const live = call->owner;
    live->good = live->protocol->get_answer(data, size).good;
    live->appended = true;
    live->appended_ns = h2_received_ns(live->loop);
}

static void open(struct live *live, const struct load_options *options,
                 const struct protocol *protocol, uint32_t count)
{
    *live = (struct live){.options = options, .protocol = protocol, .count = count};
    load_renew_prefix();
    live->loop = h2_loop_create(options->tls, options->authorization);
    live->message = bench_alloc(1, proposal_room(options, 1));
    live->appends_conn = h2_connect(live->loop, options->port);
    live->appends = (struct h2_call){.on_message = on_answer, .owner = live};
    if (!protocol->append_is_unary) {
        h2_call_start(live->appends_conn, &live->appends, protocol->append_path);
    }
    (void)h2_turn(live->loop, 1000);
    live->subscribers = bench_alloc(count, sizeof *live->subscribers);
}

static void close_all(struct live *live)
{
    h2_loop_destroy(live->loop);
    for (uint32_t i = 0; i < live->count; i++) {
        free(live->subscribers[i].call.partial);
    }
    free(live->subscribers);
    free(live->holders);
    free(live->message);
}

/* All of them: each on a connection of so many. stream: the name's number, or one for all. */
static void subscribe(struct live *live, uint32_t each, bool one_stream)
{
    struct h2_conn *conn = NULL;
    for (uint32_t i = 0; i < live->count; i++) {
        struct subscriber *const subscriber = &live->subscribers[i];
        uint8_t request[256];
        char name[32];
        if (i % each == 0) {
            conn = h2_connect(live->loop, live->options->port);
            (void)h2_turn(live->loop, 1000);
        }
        (void)load_name(name, load_run_prefix(), one_stream ? 0 : i);
        subscriber->live = live;
        subscriber->call = (struct h2_call){
            .on_message = on_event, .on_end = on_subscription_end, .owner = subscriber};
        const uint8_t *const end = live->protocol->put_subscribe(request, name);
        h2_call_start(conn, &subscriber->call, live->protocol->subscribe_path);
        h2_call_send(&subscriber->call, request, (size_t)(end - request),
                     !live->protocol->subscription_stays_open);
        if (i % 100 == 99) {
            (void)h2_turn(live->loop, 0);
        }
    }
    /* Everybody has heard that it began. */
    while (live->told < live->count) {
        if (!h2_turn(live->loop, PATIENCE_MS)) {
            h2_fail("%" PRIu64 " of %u subscriptions have begun", live->told, live->count);
        }
    }
    while (h2_turn(live->loop, 20)) {
    }
}

static void append(struct live *live, uint64_t stream, uint64_t events_before)
{
    char name[32];
    (void)load_name(name, load_run_prefix(), stream);
    const struct proposal proposal = {.stream = name, .events_before = events_before, .count = 1};
    if (live->protocol->append_is_unary) {
        h2_call_start(live->appends_conn, &live->appends, live->protocol->append_path);
    }
    const uint8_t *const end = live->protocol->put_append(live->message, &proposal);
    live->appended = false;
    h2_call_send(&live->appends, live->message, (size_t)(end - live->message),
                 live->protocol->append_is_unary);
}

int run_live(const struct load_options *options, const struct protocol *protocol)
{
    static struct live live;
    static struct bench_histogram appends;
    open(&live, options, protocol, 1);
    subscribe(&live, 1, true);
    load_begin(&live.run, options, "live");
    memset(&appends, 0, sizeof appends);
    for (uint64_t count = 0; bench_now_ns() < live.run.end_ns; count++) {
        bench_sleep_ns(PAUSE_NS);
        const uint64_t started_ns = bench_now_ns();
        append(&live, 0, count);
        while (!live.appended || live.delivered <= count) {
            if (!h2_turn(live.loop, PATIENCE_MS)) {
                h2_fail("an event was not delivered");
            }
        }
        load_done(&live.run, started_ns, live.delivered_ns, 1,
                  live.good && live.delivered == count + 1);
        if (started_ns >= live.run.begin_ns) {
            bench_histogram_add(&appends, live.appended_ns - started_ns);
        }
    }
    load_end(&live.run);
    bench_result_add(&live.run.result, "append_p50_us",
                     bench_us(bench_histogram_percentile(&appends, 0.5)));
    bench_result_add(&live.run.result, "append_p99_us",
                     bench_us(bench_histogram_percentile(&appends, 0.99)));
    close_all(&live);
    return load_report(&live.run);
}

int run_fan(const struct load_options *options, const struct protocol *protocol)
{
    static struct live live;
    const uint32_t count = options->subscriptions > 0 ? options->subscriptions : 1000;
    open(&live, options, protocol, count);
    live.holders = bench_alloc(4096, sizeof *live.holders);
    subscribe(&live, FAN_EACH, true);
    load_begin(&live.run, options, "fan");
    live.appended = true;
    live.good = true;
    for (;;) {
        const bool goes_on = bench_now_ns() < live.run.end_ns;
        if (!goes_on && live.appended && live.complete == live.sent) {
            break;
        }
        if (goes_on && live.appended && live.sent - live.complete < FAN_WINDOW) {
            live.run.result.errors += live.good ? 0 : 1;
            live.sent_ns[live.sent % 4096] = bench_now_ns();
            append(&live, 0, live.sent);
            live.sent++;
        }
        if (!h2_turn(live.loop, PATIENCE_MS)) {
            h2_fail("events were not delivered");
        }
    }
    load_end(&live.run);
    live.run.result.errors += live.delivered == live.sent * count ? 0 : 1;
    bench_result_add(&live.run.result, "subscribers", count);
    close_all(&live);
    return load_report(&live.run);
}

/* Processor time of the server's threads, in seconds, finer than ticks. */
static double server_ran_s(long pid)
{
    char path[64];
    uint64_t all_ns = 0;
    (void)snprintf(path, sizeof path, "/proc/%ld/task", pid);
    DIR *const tasks = pid > 0 ? opendir(path) : NULL;
    if (tasks == NULL) {
        return 0;
    }
    for (const struct dirent *task = readdir(tasks); task != NULL; task = readdir(tasks)) {
        char file[96];
        uint64_t ns = 0;
        (void)snprintf(file, sizeof file, "%s/%.20s/schedstat", path, task->d_name);
        FILE *const stat = fopen(file, "re");
        if (stat != NULL) {
            all_ns += fscanf(stat, "%" SCNu64, &ns) == 1 ? ns : 0;
            (void)fclose(stat);
        }
    }
    (void)closedir(tasks);
    return (double)all_ns / 1e9;
}

static double server_mib(long pid)
{
    char path[64];
    (void)snprintf(path, sizeof path, "/proc/%ld/status", pid);
    return (double)bench_proc_number(path, "\nVmRSS:") / 1024;
}

int run_idle(const struct load_options *options, const struct protocol *protocol)
{
    static struct live live;
    const uint32_t count = options->subscriptions > 0 ? options->subscriptions : 10000;
    open(&live, options, protocol, count);
    const double before_mib = server_mib(options->pid);
    const uint64_t begin_ns = bench_now_ns();
    subscribe(&live, CALLS_EACH, false);
    const double took_s = (double)(bench_now_ns() - begin_ns) / 1e9;
    while (h2_turn(live.loop, SILENCE_MS)) {
    }
    load_begin_now(&live.run, options, "idle");
    const uint64_t quiet_until_ns = bench_now_ns() + bench_ns(options->seconds);
    const double ran_s = server_ran_s(options->pid);
    for (uint64_t now_ns = 0; now_ns < quiet_until_ns; now_ns = bench_now_ns()) {
        (void)h2_turn(live.loop, 100);
    }
    const double cpu_s = server_ran_s(options->pid) - ran_s;
    const double after_mib = server_mib(options->pid);
    load_end(&live.run);
    /* They are alive: what is appended comes, and to nobody else. */
    const uint64_t delivered = live.delivered;
    for (uint32_t i = 0; i < count; i += 10) {
        append(&live, i, 0);
        while (!live.appended || live.subscribers[i].events == 0) {
            if (!h2_turn(live.loop, PATIENCE_MS)) {
                h2_fail("an event was not delivered");
            }
        }
        live.run.result.operations++;
        live.run.result.errors += live.good && live.subscribers[i].events == 1 ? 0 : 1;
    }
    live.run.result.errors += live.delivered - delivered == live.run.result.operations ? 0 : 1;
    bench_result_add(&live.run.result, "subscriptions", count);
    bench_result_add(&live.run.result, "subscribe_s", took_s);
    bench_result_add(&live.run.result, "resident_before_mib", before_mib);
    bench_result_add(&live.run.result, "resident_mib", after_mib);
    bench_result_add(&live.run.result, "cpu_percent", cpu_s / live.run.result.seconds * 100);
    close_all(&live);
    return load_report(&live.run);
}
