/* What the tests of sinks share: a store with accounts, projections of it, databases looked into.
 *
 * The same tests run on SQLite (a file in the test's directory), when STELE_TEST_POSTGRES holds an
 * address on PostgreSQL, when STELE_TEST_REDIS does on Redis, and when STELE_TEST_ELASTIC does on what speaks
 * for Elasticsearch. */
#ifndef STELE_TESTS_SINKS_WORLD_H
#define STELE_TESTS_SINKS_WORLD_H

#include "lib/check.h"
#include "lib/rng.h"
#include "lib/scratch.h"
#include "runner/sink.h"
#include "sinks/driver.h"
#include "sinks/elastic.h"
#include "sinks/redis_link.h"

#include <stele/sinks.h>

#include <stdbool.h>
#include <time.h>

#define ACCOUNTS 7

struct world {
    struct scratch scratch;
    char store_path[300];
    char db[400];
    const struct stele_sinks_driver *driver;
    struct stele *store;
    struct rng rng;
    /* What the model says. */
    int64_t cents[ACCOUNTS];
    unsigned entries[ACCOUNTS];
    unsigned appended;
};

static inline const char *world_postgres(void)
{
    return getenv("STELE_TEST_POSTGRES");
}

static inline const char *world_redis(void)
{
    return getenv("STELE_TEST_REDIS");
}

/* What a command of Redis says: its elements as a line, with | between them. The caller frees it. */
static inline char *world_redis_ask(const char *const *words)
{
    struct stele_sinks_redis_link link;
    struct stele_error err = {0};
    redisReply *reply = NULL;
    /* One that was killed is started again, and needs a moment to be there. */
    int outcome = stele_sinks_redis_link_open(&link, world_redis(), &err);
    for (int i = 0; i < 6000 && outcome == STELE_E_IO; i++) {
        const struct timespec moment = {.tv_nsec = 10000000};
        stele_sinks_redis_link_close(&link);
        (void)nanosleep(&moment, NULL);
        outcome = stele_sinks_redis_link_open(&link, world_redis(), &err);
    }
    CHECK_OK(outcome, err);
    CHECK_OK(stele_sinks_redis_tell(&link, words, &reply, &err), err);
    char *text = calloc(1, 32);
    CHECK(text != NULL);
    size_t size = 0;
    if (reply->type == REDIS_REPLY_INTEGER) {
        (void)snprintf(text, 32, "%lld", reply->integer);
    }
    const size_t count = reply->type == REDIS_REPLY_ARRAY ? reply->elements : 1;
    for (size_t i = 0; i < count; i++) {
        const redisReply *const at = reply->type == REDIS_REPLY_ARRAY ? reply->element[i] : reply;
        if (at->str == NULL) {
            continue;
        }
        text = realloc(text, size + at->len + 2);
        CHECK(text != NULL);
        size += (size_t)snprintf(text + size, at->len + 2, "%s%s", size > 0 ? "|" : "", at->str);
    }
    freeReplyObject(reply);
    stele_sinks_redis_link_close(&link);
    return text;
}
#define WORLD_REDIS(...) world_redis_ask((const char *const[]){__VA_ARGS__, NULL})
#define WORLD_REDIS_CHECK(want, ...)                                                               \
    do {                                                                                           \
        char *const got_ = WORLD_REDIS(__VA_ARGS__);                                               \
        CHECK_TEXT_EQ(got_, want);                                                                 \
        free(got_);                                                                                \
    } while (0)

static inline const char *world_elastic(void)
{
    return getenv("STELE_TEST_ELASTIC");
}

/* What it answers; json_decref() it. */
static inline json_t *world_elastic_ask(const char *method, const char *path, const char *body)
{
    struct stele_sinks_elastic_link link;
    struct stele_error err = {0};
    json_t *answer = NULL;
    long status = 0;
    CHECK_OK(stele_sinks__elastic_open(&link, world_elastic(), &err), err);
    CHECK_OK(
        stele_sinks__elastic_ask(&link, method, path, body, strlen(body), &status, &answer, &err),
        err);
    stele_sinks__elastic_close(&link);
    return answer;
}

static inline void world_elastic_plan(const char *plan)
{
    json_decref(world_elastic_ask("POST", "-/fault", plan));
}

static inline bool world_elastic_happened(void)
{
    json_t *const answer = world_elastic_ask("POST", "-/fault", "{}");
    const bool happened = json_is_true(json_object_get(answer, "happened"));
    json_decref(answer);
    return happened;
}

/* A database of its own for a test, without anything in it. */
static inline void world_fresh_db(struct world *world, const char *name)
{
    if (world_elastic() != NULL) {
        world_elastic_plan("{\"reset\": true}");
        (void)snprintf(world->db, sizeof world->db, "%s", world_elastic());
        return;
    }
    if (world_redis() != NULL) {
        WORLD_REDIS_CHECK("OK", "FLUSHALL");
        (void)snprintf(world->db, sizeof world->db, "%s", world_redis());
        return;
    }
    if (world_postgres() == NULL) {
        (void)snprintf(world->db, sizeof world->db, "%s/%s.db", world->scratch.path, name);
        (void)unlink(world->db);
        char side[420];
        (void)snprintf(side, sizeof side, "%s-wal", world->db);
        (void)unlink(side);
        (void)snprintf(side, sizeof side, "%s-shm", world->db);
        (void)unlink(side);
        return;
    }
    char sql[200];
    void *db = NULL;
    struct stele_error err = {0};
    CHECK_OK(world->driver->connect(world_postgres(), 0, &db, &err), err);
    (void)snprintf(sql, sizeof sql, "DROP SCHEMA IF EXISTS %s CASCADE", name);
    CHECK_OK(world->driver->execute(db, sql, NULL, &err), err);
    (void)snprintf(sql, sizeof sql, "CREATE SCHEMA %s", name);
    CHECK_OK(world->driver->execute(db, sql, NULL, &err), err);
    world->driver->disconnect(db, true);
    (void)snprintf(world->db, sizeof world->db, "%s%coptions=-csearch_path%%3D%s", world_postgres(),
                   strchr(world_postgres(), '?') != NULL ? '&' : '?', name);
}

static inline void world_open(struct world *world, uint64_t seed)
{
    struct stele_error err = {0};
    memset(world, 0, sizeof *world);
    world->driver = world_postgres() != NULL ? &stele_sinks_postgres : &stele_sinks_sqlite;
    rng_init(&world->rng, seed, 0);
    scratch_make(&world->scratch);
    (void)snprintf(world->store_path, sizeof world->store_path, "%s/store", world->scratch.path);
    CHECK_OK(stele_open(world->store_path, NULL, &world->store, &err), err);
    world_fresh_db(world, "model");
}

static inline void world_close(struct world *world)
{
    CHECK_EQ(stele_close(world->store), STELE_OK);
    scratch_remove(&world->scratch);
}

static inline void world_append(struct world *world, const char *stream, const char *type,
                                const char *data)
{
    struct stele_error err = {0};
    const struct stele_event_draft draft = {.type = type, .data = data, .data_size = strlen(data)};
    CHECK_OK(stele_append(world->store, stream, STELE_EXPECT_ANY, &draft, 1, NULL, &err), err);
    world->appended++;
}

/* Deposits and withdrawals, never below 0, and now and then an event that nobody asked for. */
static inline void world_append_some(struct world *world, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        const unsigned account = (unsigned)rng_below(&world->rng, ACCOUNTS);
        const int64_t cents = (int64_t)rng_below(&world->rng, 1000) + 1;
        char stream[32];
        char data[64];
        (void)snprintf(stream, sizeof stream, "account-%u", account);
        (void)snprintf(data, sizeof data, "{\"cents\":%lld}", (long long)cents);
        if (rng_below(&world->rng, 8) == 0) {
            world_append(world, "other-1", "Deposited", data);
        } else if (cents <= world->cents[account]) {
            world_append(world, stream, "Withdrawn", data);
            world->cents[account] -= cents;
            world->entries[account]++;
        } else {
            world_append(world, stream, "Deposited", data);
            world->cents[account] += cents;
            world->entries[account]++;
        }
    }
}

/* The projection of accounts. Every deposit is also put into an outbox. */
#define WORLD_TOTALS(version, data, extra)                                                         \
    "-- @projection totals\n-- @version " version                                                  \
    "\n-- @category account\n-- @tables\nCREATE TABLE accounts (account TEXT PRIMARY KEY, cents "  \
    "BIGINT NOT NULL CHECK (cents >= 0), entries BIGINT NOT NULL, last BIGINT NOT NULL" extra      \
    ");\nCREATE TABLE outbox (revision BIGINT, account TEXT);\n-- @on Deposited\nINSERT INTO "     \
    "accounts (account, cents, entries, last) VALUES (:stream, " data ", 1, :revision) ON "        \
    "CONFLICT (account) DO UPDATE SET cents = accounts.cents + excluded.cents, entries = "         \
    "accounts.entries + 1, last = excluded.last;\n-- @on Withdrawn\nUPDATE accounts SET cents = "  \
    "cents - " data ", entries = entries + 1, last = :revision WHERE account = :stream;\n-- "      \
    "@effect Deposited\nINSERT INTO outbox VALUES (:revision, :stream);\n"

#define WORLD_TOTALS_LUA(version)                                                                  \
    "-- @projection totals\n-- @version " version                                                  \
    "\n-- @language lua\n-- @category account\n-- @on Deposited\n"                                 \
    "local key = 'account:' .. event.stream\n"                                                     \
    "call('HINCRBY', key, 'cents', event.data.cents)\n"                                            \
    "call('HINCRBY', key, 'entries', 1)\n"                                                         \
    "call('HSET', key, 'last', event.revision)\n-- @on Withdrawn\n"                                \
    "local key = 'account:' .. event.stream\n"                                                     \
    "call('HSET', key, 'last', event.revision)\n"                                                  \
    "call('HINCRBY', key, 'entries', 1)\n"                                                         \
    "if call('HINCRBY', key, 'cents', -event.data.cents) < 0 then refuse('too much') end\n"        \
    "-- @effect Deposited\ncall('RPUSH', 'outbox', event.revision)\n"

/* A document for every entry, and one for the latest of an account. */
#define WORLD_TOTALS_JQ(version)                                                                   \
    "# @projection totals\n# @version " version                                                    \
    "\n# @language jq\n# @category account\n# @tables\n"                                           \
    "{mappings: {properties: {cents: {type: \"long\"}}}}\n# @on Deposited\n"                       \
    "{id: \"\\(.stream)@\\(.revision)\", doc: {account: .stream, cents: .data.cents}},\n"          \
    "{id: .stream, doc: {latest: .revision}}\n# @on Withdrawn\n"                                   \
    "{id: \"\\(.stream)@\\(.revision)\", doc: {account: .stream, cents: (-.data.cents)}},\n"       \
    "{id: .stream, doc: {latest: .revision}}\n"

static inline struct stele_projection *world_parse(const char *file, const char *text)
{
    struct stele_projection *projection = NULL;
    struct stele_error err = {0};
    CHECK_OK(stele_projection_parse(file, text, strlen(text), &projection, &err), err);
    return projection;
}

static inline struct stele_projection *world_totals(unsigned version)
{
    if (world_elastic() != NULL) {
        return world_parse("totals.jq", version == 1 ? WORLD_TOTALS_JQ("1") : WORLD_TOTALS_JQ("2"));
    }
    if (world_redis() != NULL) {
        return world_parse("totals.lua",
                           version == 1 ? WORLD_TOTALS_LUA("1") : WORLD_TOTALS_LUA("2"));
    }
    struct stele_projection *projection = NULL;
    struct stele_error err = {0};
    const char *const one = world_postgres() != NULL
                                ? WORLD_TOTALS("1", "(:data->>'cents')::bigint", "")
                                : WORLD_TOTALS("1", "(:data->>'$.cents')", "");
    const char *const two =
        world_postgres() != NULL
            ? WORLD_TOTALS("2", "(:data->>'cents')::bigint", ", more BIGINT DEFAULT 5")
            : WORLD_TOTALS("2", "(:data->>'$.cents')", ", more BIGINT DEFAULT 5");
    const char *const text = version == 1 ? one : two;
    CHECK_OK(stele_projection_parse("totals.sql", text, strlen(text), &projection, &err), err);
    return projection;
}

static inline struct stele_sink *world_sink(const struct world *world)
{
    struct stele_sink *sink = NULL;
    struct stele_error err = {0};
    CHECK_OK(stele_sink_open(world->db, STELE_SINK_CREATE, &sink, &err), err);
    return sink;
}

/* Runs a projection that is written out; its outcome. */
static inline int world_run_text(const struct world *world, const char *file, const char *text,
                                 const struct stele_project_options *options,
                                 struct stele_project_progress *out_progress,
                                 struct stele_error *err)
{
    struct stele_projection *const projection = world_parse(file, text);
    struct stele_sink *const sink = world_sink(world);
    const int outcome =
        stele_project_run(world->store, projection, sink, options, out_progress, err);
    stele_sink_close(sink);
    stele_projection_destroy(projection);
    return outcome;
}

/* A run to the end of what there is. */
static inline struct stele_project_progress world_run(struct world *world, unsigned version,
                                                      const struct stele_project_options *options)
{
    struct stele_project_progress progress = {0};
    struct stele_error err = {0};
    struct stele_projection *const projection = world_totals(version);
    struct stele_sink *const sink = world_sink(world);
    CHECK_OK(stele_project_run(world->store, projection, sink, options, &progress, &err), err);
    stele_sink_close(sink);
    stele_projection_destroy(projection);
    return progress;
}

/* What a query says: rows as lines, columns with | between them. The caller frees it. */
struct world_dump {
    char *text;
    size_t size;
};

static inline int world_on_row(void *context, const struct stele_text *columns, size_t count)
{
    struct world_dump *const dump = context;
    for (size_t i = 0; i < count; i++) {
        dump->text = realloc(dump->text, dump->size + columns[i].size + 2);
        CHECK(dump->text != NULL);
        memcpy(dump->text + dump->size, columns[i].data, columns[i].size);
        dump->size += columns[i].size;
        dump->text[dump->size++] = i + 1 < count ? '|' : '\n';
        dump->text[dump->size] = '\0';
    }
    return STELE_OK;
}

static inline char *world_ask(const struct world *world, const char *sql)
{
    struct world_dump dump = {.text = calloc(1, 1)};
    struct stele_error err = {0};
    void *db = NULL;
    CHECK_OK(world->driver->connect(world->db, 0, &db, &err), err);
    CHECK_OK(world->driver->query(db, sql, NULL, 0, world_on_row, &dump, NULL, &err), err);
    world->driver->disconnect(db, true);
    return dump.text;
}

static inline void world_check(const struct world *world, const char *sql, const char *want)
{
    char *const got = world_ask(world, sql);
    CHECK_TEXT_EQ(got, want);
    free(got);
}

/* The same of documents, added up here. */
static inline char *world_elastic_accounts(void)
{
    json_t *const answer = world_elastic_ask("POST", "totals/_search", "{\"size\":10000}");
    const json_t *const hits = json_object_get(json_object_get(answer, "hits"), "hits");
    char *const text = calloc(10, 100);
    CHECK(text != NULL);
    size_t size = 0;
    for (unsigned i = 0; i < 10; i++) {
        char account[32];
        long long cents = 0;
        long long last = 0;
        unsigned entries = 0;
        (void)snprintf(account, sizeof account, "account-%u", i);
        for (size_t j = 0; j < json_array_size(hits); j++) {
            const json_t *const hit = json_array_get(hits, j);
            const json_t *const doc = json_object_get(hit, "_source");
            const char *const of = json_string_value(json_object_get(doc, "account"));
            if (of != NULL && strcmp(of, account) == 0) {
                cents += json_integer_value(json_object_get(doc, "cents"));
                entries++;
            } else if (strcmp(json_string_value(json_object_get(hit, "_id")), account) == 0) {
                last = json_integer_value(json_object_get(doc, "latest"));
            }
        }
        if (entries > 0) {
            size += (size_t)snprintf(text + size, 100, "%s|%lld|%u|%lld\n", account, cents, entries,
                                     last);
        }
    }
    json_decref(answer);
    return text;
}

/* One line for each account: name, cents, entries, last. The caller frees it. */
static inline char *world_accounts(const struct world *world)
{
    if (world_elastic() != NULL) {
        return world_elastic_accounts();
    }
    if (world_redis() == NULL) {
        return world_ask(world,
                         "SELECT account, cents, entries, last FROM accounts ORDER BY account");
    }
    char *text = calloc(1, 1);
    size_t size = 0;
    char *const build = WORLD_REDIS("GET", "{totals}:live");
    for (unsigned i = 0; i < 10; i++) {
        char key[64];
        (void)snprintf(key, sizeof key, "{totals}:%s:account:account-%u", build, i);
        char *const row = WORLD_REDIS("HMGET", key, "cents", "entries", "last");
        text = realloc(text, size + strlen(row) + 32);
        CHECK(text != NULL);
        if (row[0] != '\0') {
            size += (size_t)snprintf(text + size, strlen(row) + 32, "account-%u|%s\n", i, row);
        }
        free(row);
    }
    free(build);
    return text;
}

static inline void world_check_accounts(const struct world *world, const char *want)
{
    char *const got = world_accounts(world);
    CHECK_TEXT_EQ(got, want);
    free(got);
}

static inline int world_on_parked(void *context, const struct stele_project_parked *parked)
{
    struct world_dump *const dump = context;
    char line[700];
    const int size = snprintf(line, sizeof line, "%s@%llu %s %llu %s", parked->stream,
                              (unsigned long long)parked->revision, parked->type,
                              (unsigned long long)parked->attempts,
                              parked->reason[0] != '\0' ? "refused" : "waits");
    const struct stele_text column = {.data = line, .size = (size_t)size};
    return world_on_row(dump, &column, 1);
}

/* One line for each parked event. The caller frees it. */
static inline char *world_parked(const struct world *world)
{
    struct world_dump dump = {.text = calloc(1, 1)};
    struct stele_error err = {0};
    struct stele_sink *const sink = world_sink(world);
    CHECK_OK(stele_project_parked(sink, NULL, world_on_parked, &dump, &err), err);
    stele_sink_close(sink);
    return dump.text;
}

static inline void world_check_parked(const struct world *world, const char *want)
{
    char *const got = world_parked(world);
    CHECK_TEXT_EQ(got, want);
    free(got);
}

struct world_reason {
    char text[500];
};

static inline int world_on_reason(void *context, const struct stele_project_parked *parked)
{
    struct world_reason *const reason = context;
    (void)snprintf(reason->text, sizeof reason->text, "%s", parked->reason);
    return 0;
}

/* Why the last one of the parked events was refused; "": there is none. */
static inline struct world_reason world_parked_reason(const struct world *world)
{
    struct world_reason reason = {.text = ""};
    struct stele_error err = {0};
    struct stele_sink *const sink = world_sink(world);
    CHECK_OK(stele_project_parked(sink, "totals", world_on_reason, &reason, &err), err);
    stele_sink_close(sink);
    return reason;
}

static inline int world_on_build(void *context, const struct stele_project_info *info)
{
    struct world_dump *const dump = context;
    char line[100];
    const int size =
        snprintf(line, sizeof line, "%llu|%llu|%s", (unsigned long long)info->build,
                 (unsigned long long)info->version, info->building != 0 ? "building" : "live");
    const struct stele_text column = {.data = line, .size = (size_t)size};
    return world_on_row(dump, &column, 1);
}

/* One line for each build: number, version, state. The caller frees it. */
static inline char *world_builds(const struct world *world)
{
    struct world_dump dump = {.text = calloc(1, 1)};
    struct stele_error err = {0};
    struct stele_sink *const sink = world_sink(world);
    CHECK_OK(stele_project_list(sink, world_on_build, &dump, &err), err);
    stele_sink_close(sink);
    return dump.text;
}

static inline void world_check_builds(const struct world *world, const char *want)
{
    char *const got = world_builds(world);
    CHECK_TEXT_EQ(got, want);
    free(got);
}

/* The read model is what the model says. */
static inline void world_check_totals(const struct world *world)
{
    struct world_dump want = {.text = calloc(1, 1)};
    for (unsigned i = 0; i < ACCOUNTS; i++) {
        char line[100];
        if (world->entries[i] == 0) {
            continue;
        }
        const int size =
            snprintf(line, sizeof line, "account-%u|%lld|%u|%u", i, (long long)world->cents[i],
                     world->entries[i], world->entries[i] - 1);
        const struct stele_text column = {.data = line, .size = (size_t)size};
        (void)world_on_row(&want, &column, 1);
    }
    world_check_accounts(world, want.text);
    free(want.text);
}

#endif
