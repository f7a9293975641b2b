/* What is Redis's own: scripts that take back what they did, servers that refuse, die, forget and lose
 * answers. Whatever happens, the read model is what its events say, each counted once.
 *
 * Method: a real server (tests/lib/with-redis), killed and told to refuse; a proxy before it that loses
 * the n-th answer, for every n. What test_model.c claims of SQL is claimed of Redis there. */
#include "unit/sinks/world.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/socket.h>
#include <sys/un.h>

/* Everything in the read models, in an order that does not depend on how Redis keeps it. */
static char *dump(void)
{
    static const char script[] =
        "local out = {}\n"
        "for _, key in ipairs(redis.call('KEYS', '{totals}:*:*')) do\n"
        "  local kind, rows = redis.call('TYPE', key).ok, {}\n"
        "  if kind == 'string' then rows = {redis.sha1hex(redis.call('GET', key))}\n"
        "  elseif kind == 'hash' then local all = redis.call('HGETALL', key)\n"
        "    for i = 1, #all, 2 do rows[#rows + 1] = all[i] .. '=' .. all[i + 1] end\n"
        "    table.sort(rows)\n"
        "  elseif kind == 'set' then rows = redis.call('SMEMBERS', key) table.sort(rows)\n"
        "  elseif kind == 'zset' then rows = redis.call('ZRANGE', key, 0, -1, 'WITHSCORES')\n"
        "  elseif kind == 'list' then rows = redis.call('LRANGE', key, 0, -1)\n"
        "  else rows = {tostring(redis.call('XLEN', key))} end\n"
        "  out[#out + 1] = key .. ' ' .. table.concat(rows, ',')\n"
        "end\n"
        "table.sort(out)\n"
        "return table.concat(out, ' ; ')\n";
    return WORLD_REDIS("EVAL", script, "0");
}

static int run_lua(struct world *world, const char *text,
                   const struct stele_project_options *options,
                   struct stele_project_progress *out_progress, struct stele_error *err)
{
    return world_run_text(world, "totals.lua", text, options, out_progress, err);
}

/* ---- All or nothing ---- */

#define HEAD(version) "-- @projection totals\n-- @version " version "\n-- @language lua\n"

/* Every way to write, on keys that are there and on keys that are not. */
#define EVERY_WRITE                                                                                \
    "local function all(k)\n"                                                                      \
    "call('SET', k .. 's', 'x') call('SETNX', k .. 'n', 1) call('APPEND', k .. 's', 'yz')\n"       \
    "call('SETRANGE', k .. 's', 1, 'q') call('GETSET', k .. 's', 'w') call('INCR', k .. 'i')\n"    \
    "call('INCRBY', k .. 'i', 4) call('INCRBYFLOAT', k .. 'f', '0.5') call('DECR', k .. 'i')\n"    \
    "call('DECRBY', k .. 'i', 2) call('SETBIT', k .. 'b', 7, 1) call('GETDEL', k .. 'n')\n"        \
    "call('HSET', k .. 'h', 'a', 1, 'b', 2) call('HMSET', k .. 'h', 'c', 3)\n"                     \
    "call('HSETNX', k .. 'h', 'd', 4) call('HINCRBY', k .. 'h', 'a', 5)\n"                         \
    "call('HINCRBYFLOAT', k .. 'h', 'e', '1.5') call('HDEL', k .. 'h', 'b', 'nothing')\n"          \
    "call('SADD', k .. 'set', 'a', 'b') call('SREM', k .. 'set', 'b')\n"                           \
    "call('ZADD', k .. 'z', 'NX', 1, 'a', 2, 'b') call('ZADD', k .. 'z', 3, 'a')\n"                \
    "call('ZINCRBY', k .. 'z', 2, 'c') call('ZREM', k .. 'z', 'b')\n"                              \
    "call('ZREMRANGEBYSCORE', k .. 'z2', 1, 2) call('ZREMRANGEBYRANK', k .. 'z2', 0, 0)\n"         \
    "call('LPUSH', k .. 'l', 1, 2) call('RPUSH', k .. 'l', 3, 4) call('LPOP', k .. 'l')\n"         \
    "call('RPOP', k .. 'l') call('LSET', k .. 'l', 0, 9) call('LINSERT', k .. 'l', 'BEFORE', 9, "  \
    "8)\n"                                                                                         \
    "call('LREM', k .. 'l', 0, 8) call('LTRIM', k .. 'l', 0, 5) call('RPUSH', k .. 'l', 7)\n"      \
    "call('PFADD', k .. 'p', 'a') local id = call('XADD', k .. 'x', '*', 'a', 'b')\n"              \
    "call('XADD', k .. 'x', '*', 'c', 'd') call('XDEL', k .. 'x', id) call('XTRIM', k .. 'x', "    \
    "'MAXLEN', 5)\n"                                                                               \
    "call('UNLINK', k .. 'b', k .. 'none') call('DEL', k .. 'set')\n"                              \
    "call('SADD', k .. 'set', 'z') call('HSET', k .. 'h', 'b', 'again')\n"                         \
    "end\n"

TEST(an_event_that_is_refused_takes_back_whatever_it_wrote)
{
    struct world world;
    world_open(&world, 1);
    const char *const text =
        HEAD("1") "-- @on Fill, Refuse, Wrong\n" EVERY_WRITE "if event.type == 'Fill' then\n"
                  "all('a')\ncall('ZADD', 'az2', 1, 'x', 5, 'y')\n"
                  "elseif event.type == 'Refuse' then\n"
                  "all('a') all('b')\nrefuse('no')\n"
                  "else all('b')\nall('a')\ncall('HSET', 'as', 'f', 1)\n"
                  "end\n";
    struct stele_project_progress progress = {0};
    struct stele_error err = {0};
    world_append(&world, "s-1", "Fill", "{}");
    CHECK_OK(run_lua(&world, text, NULL, &progress, &err), err);
    CHECK_EQ(progress.events, 1);
    char *const before = dump();
    CHECK(strstr(before, "ah a=6,b=again") != NULL);
    world_append(&world, "s-2", "Refuse", "{}");
    world_append(&world, "s-3", "Wrong", "{}");
    CHECK_OK(run_lua(&world, text, NULL, &progress, &err), err);
    CHECK_EQ(progress.parked, 2);
    char *const after = dump();
    CHECK_TEXT_EQ(after, before);
    world_check_parked(&world, "s-2@0 Refuse 1 refused\ns-3@0 Wrong 1 refused\n");
    free(before);
    free(after);
    world_close(&world);
}

static void check_reason(const char *section, const char *want)
{
    struct world world;
    struct stele_error err = {0};
    char text[500];
    world_open(&world, 2);
    (void)snprintf(text, sizeof text, HEAD("1") "-- @on A\n\n%s\n", section);
    world_append(&world, "s-1", "A", "{\"n\": null}");
    CHECK_OK(run_lua(&world, text, NULL, NULL, &err), err);
    const struct world_reason reason = world_parked_reason(&world);
    CHECK(strncmp(reason.text, want, strlen(want)) == 0);
    world_close(&world);
}

TEST(a_refusal_says_the_line_of_the_file)
{
    check_reason("refuse('not enough')", "not enough");
    check_reason("local x = 1\ncall('HSET', 'a', 'b', event.data.c)",
                 "totals.lua:7: argument 3 of HSET is nil");
    check_reason("call('SET', 'a', event.data.n)", "totals.lua:6: argument 2 of SET is null");
    check_reason("local x = event.data.c.d", "totals.lua:6: attempt to index");
    check_reason("call('FLUSHALL')",
                 "totals.lua:6: FLUSHALL is no command that a projection may use");
    check_reason("call('SET', 'a', 1, 'EX', 5)", "totals.lua:6: SET takes a key and a value");
    check_reason("call('SADD', 'a', 1)\ncall('INCR', 'a')", "totals.lua:7: WRONGTYPE");
    check_reason("redis.call('FLUSHALL')", "totals.lua:6: attempt to call field 'call'");
}

TEST(a_file_that_is_not_right_changes_nothing)
{
    static const struct {
        const char *text, *want;
    } files[] = {
        {HEAD("1") "-- @on A\nlocal x = = 1\n", "totals.lua:5: unexpected symbol near '='"},
        {HEAD("1") "-- @tables\ncall('SET', 'a', 1)\n-- @on A\nlocal x\n",
         "totals.lua:5: there are no tables to be made in Redis"},
        {"-- @projection totals\n-- @version 1\n-- @on A\nSELECT 1;\n",
         "totals.lua:1: Redis takes a projection in Lua: `-- @language lua` says so"},
    };
    struct world world;
    world_open(&world, 3);
    for (size_t i = 0; i < STELE_COUNT_OF(files); i++) {
        struct stele_error err = {0};
        CHECK_EQ(run_lua(&world, files[i].text, NULL, NULL, &err), STELE_E_INVALID);
        CHECK_TEXT_EQ(err.message, files[i].want);
    }
    struct stele_project_options options = STELE_PROJECT_OPTIONS_INIT;
    struct stele_error err = {0};
    options.lanes = 2;
    CHECK_OUTCOME(run_lua(&world, WORLD_TOTALS_LUA("1"), &options, NULL, &err), STELE_E_LIMIT, err);
    WORLD_REDIS_CHECK("0", "DBSIZE");
    world_close(&world);
}

/* ---- Parked, effects, versions ---- */

static struct stele_project_retried retry(struct world *world, const char *stream, int skip)
{
    struct stele_projection *const projection = world_totals(1);
    struct stele_sink *const sink = world_sink(world);
    struct stele_project_retried retried = {0};
    struct stele_error err = {0};
    CHECK_OK(stele_project_retry(world->store, projection, sink, stream, skip, &retried, &err),
             err);
    stele_sink_close(sink);
    stele_projection_destroy(projection);
    return retried;
}

TEST(parked_events_are_retried_and_skipped_in_order)
{
    struct world world;
    world_open(&world, 4);
    world_append(&world, "account-1", "Withdrawn", "{\"cents\":5}");
    world_append(&world, "account-1", "Deposited", "{\"cents\":9}");
    world_append(&world, "account-1", "Withdrawn", "{\"cents\":10}");
    world_append(&world, "account-2", "Deposited", "{\"cents\":1}");
    (void)world_run(&world, 1, NULL);
    world_check_accounts(&world, "account-2|1|1|0\n");
    world_check_parked(&world, "account-1@0 Withdrawn 1 refused\naccount-1@1 Deposited 0 waits\n"
                               "account-1@2 Withdrawn 0 waits\n");
    struct stele_project_retried retried = retry(&world, NULL, 0);
    CHECK_EQ(retried.applied, 0);
    CHECK_EQ(retried.left, 3);
    world_check_parked(&world, "account-1@0 Withdrawn 2 refused\naccount-1@1 Deposited 0 waits\n"
                               "account-1@2 Withdrawn 0 waits\n");
    retried = retry(&world, "account-1", 1);
    CHECK_EQ(retried.skipped, 1);
    CHECK_EQ(retried.applied, 1);
    CHECK_EQ(retried.left, 1);
    world_check_accounts(&world, "account-1|9|1|1\naccount-2|1|1|0\n");
    world_append(&world, "account-1", "Deposited", "{\"cents\":2}");
    (void)world_run(&world, 1, NULL);
    world_check_parked(&world, "account-1@2 Withdrawn 1 refused\naccount-1@3 Deposited 0 waits\n");
    (void)retry(&world, "account-1", 1);
    world_check_accounts(&world, "account-1|11|2|3\naccount-2|1|1|0\n");
    world_check_parked(&world, "");
    world_close(&world);
}

TEST(side_effects_happen_once_and_not_while_rebuilding)
{
    struct world world;
    struct stele_project_options options = STELE_PROJECT_OPTIONS_INIT;
    world_open(&world, 5);
    world_append(&world, "account-1", "Deposited", "{\"cents\":1}");
    (void)world_run(&world, 1, NULL);
    WORLD_REDIS_CHECK("", "LRANGE", "{totals}:1:outbox", "0", "-1");
    world_append(&world, "account-1", "Deposited", "{\"cents\":1}");
    (void)world_run(&world, 1, NULL);
    WORLD_REDIS_CHECK("1", "LRANGE", "{totals}:1:outbox", "0", "-1");
    options.rebuild = 1;
    (void)world_run(&world, 2, &options);
    WORLD_REDIS_CHECK("2", "GET", "{totals}:live");
    WORLD_REDIS_CHECK("", "LRANGE", "{totals}:2:outbox", "0", "-1");
    world_append(&world, "account-1", "Deposited", "{\"cents\":1}");
    (void)world_run(&world, 2, NULL);
    WORLD_REDIS_CHECK("2", "LRANGE", "{totals}:2:outbox", "0", "-1");
    world_check_accounts(&world, "account-1|3|3|2\n");
    /* Readers that asked before the switch have some time. */
    char *const left = WORLD_REDIS("TTL", "{totals}:1:account:account-1");
    CHECK(atoi(left) > 0);
    CHECK(atoi(left) <= 60);
    free(left);
    world_close(&world);
}

TEST(versions_and_stores_are_not_mixed)
{
    struct world world;
    struct stele_error err = {0};
    world_open(&world, 6);
    world_append(&world, "account-1", "Deposited", "{\"cents\":1}");
    (void)world_run(&world, 1, NULL);
    CHECK_OUTCOME(run_lua(&world, WORLD_TOTALS_LUA("2"), NULL, NULL, &err), STELE_CONDITION_FAILED,
                  err);
    CHECK_OUTCOME(run_lua(&world, WORLD_TOTALS_LUA("1") "-- more\n", NULL, NULL, &err),
                  STELE_CONDITION_FAILED, err);
    struct stele_sink *sink = NULL;
    CHECK_OUTCOME(stele_sink_open(world.db, STELE_SINK_NEW, &sink, &err), STELE_CONDITION_FAILED,
                  err);
    struct stele *const store = world.store;
    char other[320];
    (void)snprintf(other, sizeof other, "%s-other", world.store_path);
    CHECK_OK(stele_open(other, NULL, &world.store, &err), err);
    CHECK_OUTCOME(run_lua(&world, WORLD_TOTALS_LUA("1"), NULL, NULL, &err), STELE_CONDITION_FAILED,
                  err);
    CHECK_EQ(stele_close(world.store), STELE_OK);
    world.store = store;
    world_close(&world);
}

TEST(what_is_dropped_leaves_a_number_so_that_no_build_meets_anothers_keys)
{
    struct world world;
    struct stele_error err = {0};
    world_open(&world, 7);
    world_append(&world, "account-1", "Deposited", "{\"cents\":1}");
    (void)world_run(&world, 1, NULL);
    struct stele_projection *const projection = world_totals(1);
    struct stele_sink *const sink = world_sink(&world);
    CHECK_OK(stele_project_drop(sink, projection, &err), err);
    CHECK_OUTCOME(stele_project_drop(sink, projection, &err), STELE_NOT_FOUND, err);
    WORLD_REDIS_CHECK("{totals}:stele", "KEYS", "*");
    WORLD_REDIS_CHECK("builds|1", "HGETALL", "{totals}:stele");
    stele_sink_close(sink);
    stele_projection_destroy(projection);
    CHECK_EQ(world_run(&world, 1, NULL).build, 2);
    world_check_accounts(&world, "account-1|1|1|0\n");
    world_close(&world);
}

/* ---- A server that refuses ---- */

TEST(without_memory_nothing_is_applied_and_the_run_says_so)
{
    struct world world;
    struct stele_error err = {0};
    world_open(&world, 8);
    (void)world_run(&world, 1, NULL);
    world_append_some(&world, 30);
    WORLD_REDIS_CHECK("OK", "CONFIG", "SET", "maxmemory", "1");
    CHECK_OUTCOME(run_lua(&world, WORLD_TOTALS_LUA("1"), NULL, NULL, &err), STELE_E_NO_SPACE, err);
    WORLD_REDIS_CHECK("OK", "CONFIG", "SET", "maxmemory-policy", "allkeys-lru");
    struct stele_sink *sink = NULL;
    CHECK_OUTCOME(stele_sink_open(world.db, 0, &sink, &err), STELE_CONDITION_FAILED, err);
    WORLD_REDIS_CHECK("OK", "CONFIG", "SET", "maxmemory", "0");
    WORLD_REDIS_CHECK("OK", "CONFIG", "SET", "maxmemory-policy", "noeviction");
    world_check_accounts(&world, "");
    (void)world_run(&world, 1, NULL);
    world_check_totals(&world);
    world_check_parked(&world, "");
    world_close(&world);
}

TEST(a_replica_is_refused)
{
    struct world world;
    struct stele_error err = {0};
    world_open(&world, 9);
    (void)world_run(&world, 1, NULL);
    world_append_some(&world, 10);
    WORLD_REDIS_CHECK("OK", "REPLICAOF", "127.0.0.1", "1");
    CHECK_OUTCOME(run_lua(&world, WORLD_TOTALS_LUA("1"), NULL, NULL, &err), STELE_E_READ_ONLY, err);
    WORLD_REDIS_CHECK("OK", "REPLICAOF", "NO", "ONE");
    (void)world_run(&world, 1, NULL);
    world_check_totals(&world);
    world_close(&world);
}

TEST(an_address_that_is_none_is_told)
{
    static const char *const bad[] = {"redis://",       "redis://h:70000", "redis://h/x",
                                      "redis+unix://x", "redis://u@h",     "redis://[::1"};
    struct stele_error err = {0};
    struct stele_sink *sink = NULL;
    for (size_t i = 0; i < STELE_COUNT_OF(bad); i++) {
        CHECK_OUTCOME(stele_sink_open(bad[i], 0, &sink, &err), STELE_E_INVALID, err);
    }
    CHECK_OUTCOME(stele_sink_open("redis+unix://:secret@/nowhere/at-all", 0, &sink, &err),
                  STELE_E_IO, err);
    CHECK(strstr(err.message, "/nowhere/at-all") != NULL);
    CHECK(strstr(err.message, "secret") == NULL);
}

TEST(a_login_is_used_and_a_wrong_one_told)
{
    struct world world;
    struct stele_error err = {0};
    struct stele_sink *sink = NULL;
    char address[400];
    world_open(&world, 10);
    WORLD_REDIS_CHECK("OK", "ACL", "SETUSER", "reader", "on", ">p%40ss", "~*", "+@all");
    (void)snprintf(address, sizeof address, "redis+unix://reader:p%%2540ss@%s?db=3",
                   world_redis() + strlen("redis+unix://"));
    CHECK_OK(stele_sink_open(address, 0, &sink, &err), err);
    stele_sink_close(sink);
    (void)snprintf(address, sizeof address, "redis+unix://reader:wrong@%s",
                   world_redis() + strlen("redis+unix://"));
    CHECK_OUTCOME(stele_sink_open(address, 0, &sink, &err), STELE_E_PERMISSION, err);
    WORLD_REDIS_CHECK("1", "ACL", "DELUSER", "reader");
    world_close(&world);
}

/* ---- A server that goes away ---- */

struct trouble {
    unsigned commits;
    bool dies;
    bool forgets; /* What was written since the first commit. */
};

static void kill_server(void)
{
    char text[32] = "";
    FILE *const file = fopen(getenv("STELE_TEST_REDIS_PID"), "re");
    CHECK(file != NULL);
    CHECK(fgets(text, sizeof text, file) != NULL);
    (void)fclose(file);
    CHECK_EQ(kill((pid_t)atoi(text), SIGKILL), 0);
}

static int make_trouble(void *context, const struct stele_project_progress *progress)
{
    struct trouble *const trouble = context;
    if (progress->commits == trouble->commits) {
        return 0;
    }
    trouble->commits = (unsigned)progress->commits;
    if (trouble->forgets && trouble->commits == 2) {
        WORLD_REDIS_CHECK("OK", "CONFIG", "SET", "appendonly", "no");
    } else if (trouble->dies && trouble->commits % 5 == 4) {
        kill_server();
    } else if (!trouble->dies) {
        WORLD_REDIS_CHECK("OK", "SCRIPT", "FLUSH");
        free(WORLD_REDIS("CLIENT", "KILL", "TYPE", "normal"));
    }
    return 0;
}

static void run_in_trouble(struct trouble *trouble, uint64_t seed)
{
    struct world world;
    struct stele_project_options options = STELE_PROJECT_OPTIONS_INIT;
    world_open(&world, seed);
    world_append_some(&world, 60);
    options.batch_max = 4;
    options.on_progress = make_trouble;
    options.context = trouble;
    (void)world_run(&world, 1, &options);
    CHECK(trouble->commits > 9);
    world_check_totals(&world);
    world_check_parked(&world, "");
    world_close(&world);
}

TEST(a_lost_connection_and_a_lost_script_do_no_harm)
{
    struct trouble trouble = {.dies = false};
    run_in_trouble(&trouble, 11);
}

TEST(a_server_that_is_killed_goes_on_when_it_is_back)
{
    struct trouble trouble = {.dies = true};
    run_in_trouble(&trouble, 12);
}

TEST(what_a_server_has_forgotten_it_is_told_again)
{
    struct trouble trouble = {.dies = true, .forgets = true};
    run_in_trouble(&trouble, 13);
}

/* ---- Answers that are lost ---- */

struct proxy {
    char path[300];
    int listener;
    atomic_uint left;   /* Requests until one is lost; 0: none is. */
    atomic_bool before; /* The request is lost, and not its answer only. */
    atomic_bool happened;
    pthread_t thread;
};

/* Hands on until one side ends, or what was planned happens. */
static void hand_on(struct proxy *proxy, int client, int server)
{
    char bytes[65536];
    fd_set set;
    for (;;) {
        FD_ZERO(&set);
        FD_SET(client, &set);
        FD_SET(server, &set);
        CHECK(select((client > server ? client : server) + 1, &set, NULL, NULL, NULL) > 0);
        const bool asks = FD_ISSET(client, &set);
        const ssize_t size = recv(asks ? client : server, bytes, sizeof bytes, 0);
        if (size <= 0) {
            return;
        }
        const bool due =
            asks && atomic_load(&proxy->left) > 0 && atomic_fetch_sub(&proxy->left, 1) == 1;
        if (due) {
            atomic_store(&proxy->happened, true);
        }
        if (due && atomic_load(&proxy->before)) {
            return;
        }
        if (send(asks ? server : client, bytes, (size_t)size, MSG_NOSIGNAL) != size) {
            return;
        }
        if (due) {
            /* It is answered, and nobody hears it. */
            CHECK(recv(server, bytes, sizeof bytes, 0) > 0);
            return;
        }
    }
}

static int to_socket(const char *path, bool listens)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CHECK(fd >= 0);
    (void)snprintf(address.sun_path, sizeof address.sun_path, "%s", path);
    if (listens) {
        CHECK_EQ(bind(fd, (struct sockaddr *)&address, sizeof address), 0);
        CHECK_EQ(listen(fd, 10), 0);
    } else {
        CHECK_EQ(connect(fd, (struct sockaddr *)&address, sizeof address), 0);
    }
    return fd;
}

static void *proxy_main(void *context)
{
    struct proxy *const proxy = context;
    for (;;) {
        const int client = accept(proxy->listener, NULL, NULL);
        if (client < 0) {
            return NULL;
        }
        const int server = to_socket(world_redis() + strlen("redis+unix://"), false);
        hand_on(proxy, client, server);
        (void)close(client);
        (void)close(server);
    }
}

TEST(an_answer_or_a_request_lost_at_any_call_counts_no_event_twice)
{
    struct world world;
    struct proxy proxy = {.listener = -1};
    struct stele_project_options options = STELE_PROJECT_OPTIONS_INIT;
    world_open(&world, 14);
    world_append_some(&world, 12);
    world_append(&world, "account-8", "Deposited", "no JSON");
    unsigned events = 0;
    for (unsigned i = 0; i < ACCOUNTS; i++) {
        events += world.entries[i];
    }
    (void)snprintf(proxy.path, sizeof proxy.path, "%s/proxy", world.scratch.path);
    proxy.listener = to_socket(proxy.path, true);
    CHECK_EQ(pthread_create(&proxy.thread, NULL, proxy_main, &proxy), 0);
    options.batch_max = 3;
    for (int before = 0; before < 2; before++) {
        bool well = false;
        for (unsigned n = 4; !well; n++) {
            struct stele_project_progress progress = {0};
            struct stele_error err = {0};
            world_fresh_db(&world, "model");
            (void)snprintf(world.db, sizeof world.db, "redis+unix://%s", proxy.path);
            atomic_store(&proxy.happened, false);
            atomic_store(&proxy.before, before == 1);
            atomic_store(&proxy.left, n);
            CHECK_OK(run_lua(&world, WORLD_TOTALS_LUA("1"), &options, &progress, &err), err);
            well = !atomic_load(&proxy.happened);
            atomic_store(&proxy.left, 0);
            CHECK(!well || n > 10);
            CHECK_EQ(progress.events, events);
            CHECK_EQ(progress.parked, 1);
            world_check_totals(&world);
        }
    }
    CHECK_EQ(shutdown(proxy.listener, SHUT_RDWR), 0);
    CHECK_EQ(pthread_join(proxy.thread, NULL), 0);
    (void)close(proxy.listener);
    world_close(&world);
}
