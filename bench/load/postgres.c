/* PostgreSQL under the same workloads: one table of events, the stream and the revision are a unique
 * key, which is the check of the expected revision. Prepared statements, asynchronous calls of libpq,
 * one connection for each append under way (a connection commits one after the other). The order of
 * all events is that of a sequence, which is not the order of commits: a reader could skip some. */
#include "load.h"

#include <libpq-fe.h>
#include <sys/epoll.h>

#define TABLE                                                                                      \
    "create table if not exists events(position bigserial primary key, stream text not null, "     \
    "revision bigint not null, id uuid not null, type text not null, data jsonb not null, "        \
    "created timestamptz not null default now(), unique(stream, revision))"
#define COLUMNS "events(stream, revision, id, type, data)"
#define INSERT "insert into " COLUMNS " values ($1, $2, $3, $4, $5)"

struct slot {
    struct client *client;
    PGconn *conn;
    uint32_t number, stream;
    uint64_t started_ns;
    bool bad;
};

/* The text of an event's values. */
struct values {
    char stream[32], revision[32], id[40];
    const char *data;
};

struct client {
    const struct load_options *options;
    struct load_run run;
    struct load_shape shape;
    struct slot *slots;
    uint32_t slots_count;
    int epoll_fd;
    uint64_t *revisions;
    uint64_t random_state;
    struct bench_pool pool;
    uint32_t busy;
    struct values *values;
    const char **arguments;
};

static void check(PGconn *conn, const PGresult *result, const char *what)
{
    switch (PQresultStatus(result)) {
    case PGRES_COMMAND_OK:
    case PGRES_TUPLES_OK:
    case PGRES_COPY_IN:
    case PGRES_COPY_OUT:
        return;
    default:
        (void)fprintf(stderr, "load-postgres: %.100s: %s", what, PQerrorMessage(conn));
        exit(1);
    }
}

static void execute(PGconn *conn, const char *query)
{
    PGresult *const result = PQexec(conn, query);
    check(conn, result, query);
    PQclear(result);
}

static void prepare(PGconn *conn, const char *name, const char *query)
{
    PGresult *const result = PQprepare(conn, name, query, 0, NULL);
    check(conn, result, query);
    PQclear(result);
}

static PGconn *dial(const struct load_options *options)
{
    char where[128];
    (void)snprintf(where, sizeof where, "host=127.0.0.1 port=%u user=postgres dbname=postgres",
                   options->port);
    PGconn *const conn = PQconnectdb(where);
    if (PQstatus(conn) != CONNECTION_OK) {
        (void)fprintf(stderr, "load-postgres: %s", PQerrorMessage(conn));
        exit(1);
    }
    execute(conn, "set client_min_messages = warning");
    return conn;
}

static void open_all(struct client *client, const struct load_options *options,
                     struct load_shape shape)
{
    *client = (struct client){.options = options, .shape = shape};
    client->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    client->random_state = bench_seed();
    bench_pool_init(&client->pool, options->data_size);
    client->slots_count = shape.connections * shape.in_flight;
    client->slots = bench_alloc(client->slots_count, sizeof *client->slots);
    client->revisions = bench_alloc((size_t)options->streams + 4096, sizeof(uint64_t));
    client->values = bench_alloc(shape.batch, sizeof *client->values);
    client->arguments = bench_alloc((size_t)shape.batch * 5, sizeof(char *));
    load_renew_prefix();
    for (uint32_t i = 0; i < client->slots_count; i++) {
        struct slot *const slot = &client->slots[i];
        slot->client = client;
        slot->number = i;
        slot->conn = dial(options);
        if (i == 0) {
            execute(slot->conn, TABLE);
        }
        struct epoll_event event = {.events = EPOLLIN, .data = {.ptr = slot}};
        (void)epoll_ctl(client->epoll_fd, EPOLL_CTL_ADD, PQsocket(slot->conn), &event);
    }
}

static int close_all(struct client *client)
{
    for (uint32_t i = 0; i < client->slots_count; i++) {
        PQfinish(client->slots[i].conn);
    }
    (void)close(client->epoll_fd);
    bench_pool_deinit(&client->pool);
    free(client->slots);
    free(client->revisions);
    free(client->values);
    free((void *)client->arguments);
    return load_report(&client->run);
}

static void id_text(uint64_t *state, char to[37])
{
    static const char digits[] = "0123456789abcdef";
    uint8_t id[16];
    char *at = to;
    bench_random_id(state, id);
    for (uint32_t i = 0; i < 16; i++) {
        if (i == 4 || i == 6 || i == 8 || i == 10) {
            *at++ = '-';
        }
        *at++ = digits[id[i] >> 4];
        *at++ = digits[id[i] & 15];
    }
    *at = '\0';
}

static void make_values(struct client *client, struct values *values, uint64_t revision)
{
    (void)load_name(values->revision, "", revision);
    id_text(&client->random_state, values->id);
    values->data = bench_pool_pick(&client->pool, &client->random_state);
}

/* ---- Appending ----------------------------------------------------------------------------------- */

static char *many_values(uint32_t count)
{
    static const char *const types[] = {"text", "bigint", "uuid", "text", "jsonb"};
    const size_t size = 128 + (size_t)count * 128;
    char *const query = bench_alloc(1, size);
    size_t used = (size_t)snprintf(query, size, "insert into " COLUMNS " values ");
    for (uint32_t i = 0; i < count * 5; i++) {
        used += (size_t)snprintf(query + used, size - used, "%s$%u::%s%s",
                                 i % 5 > 0 ? ", " : (i > 0 ? ", (" : "("), i + 1, types[i % 5],
                                 i % 5 == 4 ? ")" : "");
    }
    return query;
}

/* Texts of the pool have no end of their own; those that are sent do. */
static const char *data_text(struct client *client, const char *data, uint32_t index)
{
    static char texts[1000][BENCH_DATA_SIZE_MIN + 65536];
    memcpy(texts[index], data, client->pool.size);
    texts[index][client->pool.size] = '\0';
    return texts[index];
}

static void start(struct slot *slot)
{
    struct client *const client = slot->client;
    const uint32_t each = client->options->streams / client->slots_count;
    slot->stream =
        bench_random_below(&client->random_state, each) * client->slots_count + slot->number;
    for (uint32_t i = 0; i < client->shape.batch; i++) {
        struct values *const values = &client->values[i];
        const char **const arguments = client->arguments + (size_t)i * 5;
        (void)load_name(values->stream, load_run_prefix(), slot->stream);
        make_values(client, values, client->revisions[slot->stream]++);
        arguments[0] = values->stream;
        arguments[1] = values->revision;
        arguments[2] = values->id;
        arguments[3] = BENCH_TYPE;
        arguments[4] = data_text(client, values->data, i);
    }
    slot->started_ns = bench_now_ns();
    slot->bad = false;
    client->busy++;
    if (PQsendQueryPrepared(slot->conn, "append", (int)client->shape.batch * 5, client->arguments,
                            NULL, NULL, 0) != 1) {
        check(slot->conn, NULL, "append");
    }
    while (PQflush(slot->conn) > 0) {
    }
}

static void take(struct slot *slot)
{
    struct client *const client = slot->client;
    (void)PQconsumeInput(slot->conn);
    while (PQisBusy(slot->conn) == 0) {
        PGresult *const result = PQgetResult(slot->conn);
        if (result == NULL) {
            const uint64_t now_ns = bench_now_ns();
            load_done(&client->run, slot->started_ns, now_ns, client->shape.batch, !slot->bad);
            client->busy--;
            if (now_ns < client->run.end_ns) {
                start(slot);
            }
            return;
        }
        slot->bad = slot->bad || PQresultStatus(result) != PGRES_COMMAND_OK;
        PQclear(result);
    }
}

static int run_append(const struct load_options *options, const char *workload,
                      struct load_shape shape)
{
    static struct client client;
    open_all(&client, options, shape);
    char *const query = many_values(shape.batch);
    for (uint32_t i = 0; i < client.slots_count; i++) {
        prepare(client.slots[i].conn, "append", query);
    }
    free(query);
    load_begin(&client.run, options, workload);
    for (uint32_t i = 0; i < client.slots_count; i++) {
        start(&client.slots[i]);
    }
    while (client.busy > 0) {
        struct epoll_event events[1024];
        const int count = epoll_wait(client.epoll_fd, events, 1024, -1);
        for (int i = 0; i < count; i++) {
            take(events[i].data.ptr);
        }
    }
    load_end(&client.run);
    return close_all(&client);
}

/* ---- The rest ------------------------------------------------------------------------------------ */

static int run_fill(const struct load_options *options)
{
    static struct client client;
    uint32_t *const order = load_fill_order(options);
    open_all(&client, options, (struct load_shape){1, 1, 1});
    PGconn *const conn = client.slots[0].conn;
    load_begin_now(&client.run, options, "fill");
    execute(conn, "truncate events restart identity");
    execute(conn, "copy " COLUMNS " from stdin");
    for (uint64_t i = 0; i < options->events; i++) {
        char row[BENCH_DATA_SIZE_MIN + 65536 + 256];
        struct values values;
        make_values(&client, &values, client.revisions[order[i]]++);
        const int size =
            snprintf(row, sizeof row, "fill-%u\t%s\t%s\t" BENCH_TYPE "\t%.*s\n", order[i],
                     values.revision, values.id, (int)client.pool.size, values.data);
        if (PQputCopyData(conn, row, size) != 1) {
            check(conn, NULL, "copy");
        }
    }
    (void)PQputCopyEnd(conn, NULL);
    for (PGresult *result = PQgetResult(conn); result != NULL; result = PQgetResult(conn)) {
        check(conn, result, "copy");
        PQclear(result);
    }
    execute(conn, "vacuum analyze events");
    client.run.result.events = options->events;
    load_end(&client.run);
    free(order);
    return close_all(&client);
}

static int run_readstream(const struct load_options *options)
{
    static struct client client;
    open_all(&client, options, (struct load_shape){1, 1, 1});
    PGconn *const conn = client.slots[0].conn;
    const uint64_t each = options->events / options->streams;
    prepare(conn, "read",
            "select position, stream, revision, id, type, data, created from events where "
            "stream = $1 order by revision");
    load_begin(&client.run, options, "readstream");
    for (uint64_t now_ns = 0; now_ns < client.run.end_ns;) {
        char name[32];
        const char *const arguments[] = {name};
        (void)load_name(name, "fill-", bench_random_below(&client.random_state, options->streams));
        const uint64_t started_ns = bench_now_ns();
        PGresult *const result = PQexecPrepared(conn, "read", 1, arguments, NULL, NULL, 1);
        check(conn, result, "read");
        now_ns = bench_now_ns();
        load_done(&client.run, started_ns, now_ns, each, (uint64_t)PQntuples(result) == each);
        PQclear(result);
    }
    load_end(&client.run);
    return close_all(&client);
}

static int run_readall(const struct load_options *options)
{
    static struct client client;
    open_all(&client, options, (struct load_shape){1, 1, 1});
    PGconn *const conn = client.slots[0].conn;
    char query[128];
    char *row = NULL;
    (void)snprintf(query, sizeof query,
                   "copy (select * from events order by position limit %llu) to stdout "
                   "(format binary)",
                   (unsigned long long)options->events);
    load_begin_now(&client.run, options, "readall");
    execute(conn, query);
    while (PQgetCopyData(conn, &row, 0) > 0) {
        client.run.result.events++;
        PQfreemem(row);
    }
    client.run.result.events -= client.run.result.events > 0 ? 1 : 0; /* The end is one more. */
    client.run.result.operations = 1;
    client.run.result.errors += client.run.result.events == options->events ? 0 : 1;
    load_end(&client.run);
    return close_all(&client);
}

/* Hears by NOTIFY that there is something, and reads it. */
static int run_live(const struct load_options *options)
{
    static struct client client;
    open_all(&client, options, (struct load_shape){2, 1, 1});
    PGconn *const appends = client.slots[0].conn;
    PGconn *const reads = client.slots[1].conn;
    prepare(appends, "append", "with new as (" INSERT ") select pg_notify('events', '')");
    prepare(reads, "read",
            "select position, stream, revision, id, type, data, created from events where "
            "stream = $1 and revision >= $2::bigint order by revision");
    execute(reads, "listen events");
    load_begin(&client.run, options, "live");
    for (uint64_t count = 0; bench_now_ns() < client.run.end_ns; count++) {
        struct values values;
        (void)load_name(values.stream, load_run_prefix(), 0);
        make_values(&client, &values, count);
        const char *const arguments[] = {values.stream, values.revision, values.id, BENCH_TYPE,
                                         data_text(&client, values.data, 0)};
        bench_sleep_ns(500000);
        const uint64_t started_ns = bench_now_ns();
        (void)PQsendQueryPrepared(appends, "append", 5, arguments, NULL, NULL, 0);
        (void)PQflush(appends);
        PGnotify *notify = NULL;
        while ((notify = PQnotifies(reads)) == NULL) {
            struct epoll_event event;
            (void)epoll_wait(client.epoll_fd, &event, 1, 1000);
            (void)PQconsumeInput(event.data.ptr == &client.slots[0] ? appends : reads);
        }
        PQfreemem(notify);
        PGresult *const found = PQexecPrepared(reads, "read", 2, arguments, NULL, NULL, 1);
        check(reads, found, "read");
        load_done(&client.run, started_ns, bench_now_ns(), 1, PQntuples(found) == 1);
        PQclear(found);
        for (PGresult *result = PQgetResult(appends); result != NULL;
             result = PQgetResult(appends)) {
            check(appends, result, "append");
            PQclear(result);
        }
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
    return load_main("postgres", &workloads, argc, argv);
}
