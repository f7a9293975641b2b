/* What happens beside the straight way: parked events, side effects, versions, lanes, projections in C,
 * files that a database refuses.
 *
 * Method: one small world each; the read model and the books are compared with what they have to be. */
#include "unit/sinks/world.h"

/* ---- Parked events ---- */

static struct stele_project_retried retry(const struct world *world, const char *stream, int skip,
                                          int want)
{
    struct stele_project_retried done = {0};
    struct stele_error err = {0};
    struct stele_projection *const projection = world_totals(1);
    struct stele_sink *const sink = world_sink(world);
    CHECK_OUTCOME(stele_project_retry(world->store, projection, sink, stream, skip, &done, &err),
                  want, err);
    stele_sink_close(sink);
    stele_projection_destroy(projection);
    return done;
}

#define ACCOUNTS_SQL "SELECT account, cents, entries, last FROM accounts ORDER BY account"

TEST(a_refused_event_parks_its_stream_in_order_and_no_other)
{
    struct world world;
    world_open(&world, 11);
    world_append(&world, "account-a", "Deposited", "{\"cents\":10}");
    world_append(&world, "account-b", "Deposited", "{\"cents\":20}");
    world_append(&world, "account-a", "Withdrawn", "{\"cents\":11}");
    world_append(&world, "account-b", "Withdrawn", "{\"cents\":1}");
    world_append(&world, "account-a", "Deposited", "{\"cents\":1}");
    struct stele_project_progress progress = world_run(&world, 1, NULL);
    CHECK_EQ(progress.events, 3);
    CHECK_EQ(progress.parked, 2);
    world_append(&world, "account-a", "Deposited", "{\"cents\":2}");
    world_append(&world, "account-b", "Deposited", "{\"cents\":3}");
    progress = world_run(&world, 1, NULL);
    CHECK_EQ(progress.events, 1);
    CHECK_EQ(progress.parked, 1);
    world_check(&world, ACCOUNTS_SQL, "account-a|10|1|0\naccount-b|22|3|2\n");
    world_check_parked(&world, "account-a@1 Withdrawn 1 refused\naccount-a@2 Deposited 0 waits\n"
                               "account-a@3 Deposited 0 waits\n");

    /* Refused again: nothing moves, the attempt is counted. */
    struct stele_project_retried done = retry(&world, NULL, 0, STELE_OK);
    CHECK_EQ(done.applied, 0);
    CHECK_EQ(done.left, 3);
    world_check_parked(&world, "account-a@1 Withdrawn 2 refused\naccount-a@2 Deposited 0 waits\n"
                               "account-a@3 Deposited 0 waits\n");
    (void)retry(&world, "account-b", 0, STELE_NOT_FOUND);

    /* Without the one in front the others are applied, and the stream goes on. */
    done = retry(&world, "account-a", 1, STELE_OK);
    CHECK_EQ(done.skipped, 1);
    CHECK_EQ(done.applied, 2);
    CHECK_EQ(done.left, 0);
    world_append(&world, "account-a", "Withdrawn", "{\"cents\":13}");
    CHECK_EQ(world_run(&world, 1, NULL).events, 1);
    world_check(&world, ACCOUNTS_SQL, "account-a|0|4|4\naccount-b|22|3|2\n");
    world_close(&world);
}

TEST(parked_events_are_applied_when_the_reason_is_gone)
{
    struct world world;
    world_open(&world, 12);
    world_append(&world, "account-a", "Deposited", "{\"cents\":10}");
    world_append(&world, "account-a", "Withdrawn", "{\"cents\":11}");
    world_append(&world, "account-a", "Deposited", "{\"cents\":5}");
    (void)world_run(&world, 1, NULL);
    struct stele_error err = {0};
    void *db = NULL;
    CHECK_OK(world.driver->connect(world.db, 0, &db, &err), err);
    CHECK_OK(world.driver->execute(db, "UPDATE accounts__1 SET cents = 100", NULL, &err), err);
    world.driver->disconnect(db, true);
    const struct stele_project_retried done = retry(&world, NULL, 0, STELE_OK);
    CHECK_EQ(done.applied, 2);
    world_check(&world, ACCOUNTS_SQL, "account-a|94|3|2\n");
    world_check_parked(&world, "");
    world_close(&world);
}

TEST(a_projection_that_refuses_everything_ends)
{
    struct world world;
    world_open(&world, 13);
    for (int i = 0; i < 20; i++) {
        char stream[32];
        (void)snprintf(stream, sizeof stream, "account-%d", i);
        world_append(&world, stream, "Deposited", "[]");
    }
    struct stele_project_options options = STELE_PROJECT_OPTIONS_INIT;
    struct stele_error err = {0};
    struct stele_projection *const projection = world_totals(1);
    struct stele_sink *const sink = world_sink(&world);
    options.parked_max = 10;
    CHECK_OUTCOME(stele_project_run(world.store, projection, sink, &options, NULL, &err),
                  STELE_E_LIMIT, err);
    stele_sink_close(sink);
    stele_projection_destroy(projection);
    world_check(&world, "SELECT count(*) FROM stele_parked", "11\n");
    world_close(&world);
}

/* ---- Side effects ---- */

TEST(side_effects_run_once_and_not_for_the_past)
{
    struct world world;
    world_open(&world, 14);
    world_append(&world, "account-a", "Deposited", "{\"cents\":1}");
    (void)world_run(&world, 1, NULL);
    world_check(&world, "SELECT count(*) FROM outbox", "0\n");
    world_append(&world, "account-a", "Deposited", "{\"cents\":1}");
    (void)world_run(&world, 1, NULL);
    world_check(&world, "SELECT revision FROM outbox ORDER BY revision", "1\n");

    /* Not seen by the old build yet: the new one does it after the switch. */
    world_append(&world, "account-a", "Deposited", "{\"cents\":1}");
    struct stele_project_options options = STELE_PROJECT_OPTIONS_INIT;
    options.rebuild = 1;
    (void)world_run(&world, 1, &options);
    world_check(&world, "SELECT count(*) FROM outbox", "0\n");
    world_check(&world, "SELECT cents FROM accounts", "2\n");
    (void)world_run(&world, 1, NULL);
    world_check(&world, "SELECT revision FROM outbox ORDER BY revision", "2\n");
    world_check(&world, "SELECT cents FROM accounts", "3\n");
    world_close(&world);
}

TEST(side_effects_of_the_past_run_when_asked_for)
{
    struct world world;
    world_open(&world, 15);
    world_append(&world, "account-a", "Deposited", "{\"cents\":1}");
    struct stele_project_options options = STELE_PROJECT_OPTIONS_INIT;
    options.effects_of_past = 1;
    (void)world_run(&world, 1, &options);
    world_check(&world, "SELECT revision FROM outbox", "0\n");
    world_close(&world);
}

/* ---- Versions ---- */

static int run_as(struct world *world, unsigned version, int rebuild, struct stele_error *err)
{
    struct stele_project_options options = STELE_PROJECT_OPTIONS_INIT;
    struct stele_projection *const projection = world_totals(version);
    struct stele_sink *const sink = world_sink(world);
    options.rebuild = rebuild;
    const int outcome = stele_project_run(world->store, projection, sink, &options, NULL, err);
    stele_sink_close(sink);
    stele_projection_destroy(projection);
    return outcome;
}

TEST(a_new_version_takes_the_place_of_the_old_one)
{
    struct world world;
    struct stele_error err = {0};
    world_open(&world, 16);
    world_append_some(&world, 30);
    (void)world_run(&world, 1, NULL);
    CHECK_OUTCOME(run_as(&world, 2, 0, &err), STELE_CONDITION_FAILED, err);
    CHECK_TEXT_EQ(
        err.message,
        "totals.sql: this is version 2 of projection totals, the database has version 1; a "
        "rebuild makes the new one beside it and switches over");
    CHECK_OK(run_as(&world, 2, 1, &err), err);
    world_check_totals(&world);
    world_check(&world, "SELECT min(more), max(more) FROM accounts", "5|5\n");
    world_check(&world, "SELECT build, version, state FROM stele_builds", "2|2|live\n");
    CHECK_OUTCOME(run_as(&world, 1, 0, &err), STELE_CONDITION_FAILED, err);
    world_close(&world);
}

TEST(a_database_is_of_one_store)
{
    struct world world;
    struct stele_error err = {0};
    char path[400];
    world_open(&world, 17);
    (void)world_run(&world, 1, NULL);
    CHECK_EQ(stele_close(world.store), STELE_OK);
    (void)snprintf(path, sizeof path, "%s/other", world.scratch.path);
    CHECK_OK(stele_open(path, NULL, &world.store, &err), err);
    CHECK_OUTCOME(run_as(&world, 1, 0, &err), STELE_CONDITION_FAILED, err);
    CHECK_TEXT_HAS(err.message, "was made of another store");
    world_close(&world);
}

TEST(what_is_dropped_leaves_nothing)
{
    struct world world;
    struct stele_error err = {0};
    world_open(&world, 18);
    world_append_some(&world, 5);
    (void)world_run(&world, 1, NULL);
    struct stele_projection *const projection = world_totals(1);
    struct stele_sink *const sink = world_sink(&world);
    CHECK_OK(stele_project_drop(sink, projection, &err), err);
    CHECK_OUTCOME(stele_project_drop(sink, projection, &err), STELE_NOT_FOUND, err);
    CHECK_OUTCOME(stele_project_wait(sink, "totals", 1, 0, &err), STELE_NOT_FOUND, err);
    stele_sink_close(sink);
    stele_projection_destroy(projection);
    world_check(&world, "SELECT count(*) FROM stele_lanes", "0\n");
    CHECK(world_run(&world, 1, NULL).events > 0);
    world_check_totals(&world);
    world_close(&world);
}

/* ---- Lanes ---- */

TEST(lanes_keep_streams_in_order_and_count_every_event_once)
{
    struct world world;
    struct stele_project_options options = STELE_PROJECT_OPTIONS_INIT;
    struct stele_error err = {0};
    world_open(&world, 19);
    options.lanes = 3;
    options.batch_max = 7;
    if (world_postgres() == NULL) {
        struct stele_projection *const projection = world_totals(1);
        struct stele_sink *const sink = world_sink(&world);
        CHECK_OUTCOME(stele_project_run(world.store, projection, sink, &options, NULL, &err),
                      STELE_E_LIMIT, err);
        CHECK_TEXT_EQ(err.message, "projection totals: 3 lanes; SQLite has 1 writer at a time");
        stele_sink_close(sink);
        stele_projection_destroy(projection);
        world_close(&world);
        return;
    }
    for (int round = 0; round < 6; round++) {
        options.lanes = round % 2 == 0 ? 3 : 0;
        options.rebuild = round == 3;
        world_append_some(&world, 60);
        (void)world_run(&world, 1, &options);
        if (round == 3) {
            options.rebuild = 0;
            (void)world_run(&world, 1, &options);
        }
        world_check_totals(&world);
        world_check(&world, "SELECT lanes FROM stele_builds", "3\n");
    }
    options.rebuild = 0;
    options.lanes = 2;
    world_append_some(&world, 60);
    (void)world_run(&world, 1, &options);
    world_check_totals(&world);
    world_check(&world, "SELECT count(*) FROM stele_lanes", "2\n");
    world_close(&world);
}

/* ---- In C ---- */

struct in_c {
    const struct world *world;
    unsigned replayed, live;
};

static int create_in_c(void *context, const struct stele_project_step *step,
                       struct stele_error *err)
{
    const struct in_c *const in_c = context;
    CHECK(step->handle != NULL);
    CHECK_TEXT_EQ(step->suffix, "__1");
    (void)in_c;
    (void)err;
    return STELE_OK;
}

static int apply_in_c(void *context, const struct stele_project_step *step,
                      const struct stele_event *event, struct stele_error *err)
{
    struct in_c *const in_c = context;
    if (event->data_size == 2) {
        return stele_fail(err, STELE_E_INVALID, 0, "there is nothing in it");
    }
    in_c->replayed += step->replay != 0 ? 1 : 0;
    in_c->live += step->replay != 0 ? 0 : 1;
    return STELE_OK;
}

TEST(a_projection_in_c_gets_every_event_once)
{
    struct world world;
    struct in_c in_c = {.world = &world};
    struct stele_projection_options options = STELE_PROJECTION_OPTIONS_INIT;
    struct stele_projection *projection = NULL;
    struct stele_error err = {0};
    static const char *const types[] = {"Deposited"};
    const struct stele_filter filter = {.types = types, .types_count = 1};
    world_open(&world, 20);
    options.name = "totals";
    options.filter = &filter;
    options.create = create_in_c;
    options.apply = apply_in_c;
    options.context = &in_c;
    CHECK_OK(stele_projection_create(&options, &projection, &err), err);
    world_append(&world, "account-a", "Deposited", "{\"cents\":1}");
    world_append(&world, "account-a", "Withdrawn", "{\"cents\":1}");
    struct stele_sink *const sink = world_sink(&world);
    CHECK_OK(stele_project_run(world.store, projection, sink, NULL, NULL, &err), err);
    world_append(&world, "account-a", "Deposited", "{\"cents\":1}");
    world_append(&world, "account-b", "Deposited", "{}");
    struct stele_project_progress progress = {0};
    CHECK_OK(stele_project_run(world.store, projection, sink, NULL, &progress, &err), err);
    CHECK_EQ(progress.parked, 1);
    CHECK_EQ(in_c.replayed, 1);
    CHECK(in_c.live >= 1); /* Once more for the transaction that was spoilt. */
    stele_sink_close(sink);
    world_check(&world, "SELECT sum(events) FROM stele_lanes", "2\n");
    world_check_parked(&world, "account-b@0 Deposited 1 refused\n");
    stele_projection_destroy(projection);
    options.version = 0;
    CHECK_OUTCOME(stele_projection_create(&options, &projection, &err), STELE_E_INVALID, err);
    world_close(&world);
}

/* ---- Refused files ---- */

#define BAD(text) "-- @projection p\n-- @version 1\n" text

static const struct {
    const char *text;
    const char *sqlite;
    const char *postgres;
} refused[] = {
    {BAD("-- @tables\nCREATE TABLE t (a INT);\nCREATE TABLE u (\n  a INT,\n  a INT);\n-- @on A\n"
         "SELECT 1;\n"),
     "p.sql:5: duplicate column name: a", "p.sql:5: column \"a\" specified more than once"},
    {BAD("-- @tables\nCREATE TABLE t (a INT);\n-- @on A\nINSERT INTO t\nVALUES (1, 2);\n"),
     "p.sql:6: table t__1 has 1 columns but 2 values were supplied",
     "p.sql:7: INSERT has more expressions than target columns"},
    {BAD("-- @tables\nCREATE TABLE t (a INT);\n-- @on A\n\nINSERT INTO u VALUES (1);\n"),
     "p.sql:7: no such table: u", "p.sql:7: relation \"u\" does not exist"},
    {BAD("-- @tables\nCREATE TABLE t (a INT);\n-- @on A\nUPDATE t\nSET a = 1\nWHERE b = 2;\n"),
     "p.sql:8: no such column: b", "p.sql:8: column \"b\" does not exist"},
    {BAD("-- @tables\nCREATE TABLE t (a INT);\n-- @on A\nINSERT INTO t\nVALUES (1,);\n"),
     "p.sql:7: near \")\": syntax error", "p.sql:7: syntax error at or near \")\""},
    {BAD("-- @tables\nCREATE TABLE stele_x (a INT);\nCREATE VIEW t AS SELECT b FROM stele_x;\n-- "
         "@on "
         "A\nSELECT b FROM t;\n"),
     "p.sql:7: no such column: b", "p.sql:5: column \"b\" does not exist"},
};

TEST(a_file_that_the_database_refuses_changes_nothing)
{
    struct world world;
    world_open(&world, 21);
    world_append_some(&world, 3);
    for (size_t i = 0; i < STELE_COUNT_OF(refused); i++) {
        struct stele_projection *projection = NULL;
        struct stele_error err = {0};
        const bool postgres = world_postgres() != NULL;
        CHECK_OK(stele_projection_parse("p.sql", refused[i].text, strlen(refused[i].text),
                                        &projection, &err),
                 err);
        struct stele_sink *const sink = world_sink(&world);
        CHECK_OUTCOME(stele_project_run(world.store, projection, sink, NULL, NULL, &err),
                      STELE_E_INVALID, err);
        CHECK_TEXT_EQ(err.message, postgres ? refused[i].postgres : refused[i].sqlite);
        stele_sink_close(sink);
        stele_projection_destroy(projection);
        if (!postgres) {
            CHECK(access(world.db, F_OK) != 0);
        } else {
            world_check(&world,
                        "SELECT count(*) FROM pg_class c JOIN pg_namespace n ON n.oid = "
                        "c.relnamespace WHERE n.nspname = 'model'",
                        "0\n");
        }
    }
    world_close(&world);
}

TEST(a_table_that_is_in_the_way_is_told)
{
    struct world world;
    struct stele_error err = {0};
    world_open(&world, 22);
    struct stele_sink *sink = world_sink(&world);
    stele_sink_close(sink);
    void *db = NULL;
    CHECK_OK(world.driver->connect(world.db, STELE_SINK_CREATE, &db, &err), err);
    CHECK_OK(world.driver->execute(db, "CREATE TABLE accounts (a INT)", NULL, &err), err);
    world.driver->disconnect(db, true);
    CHECK_OUTCOME(run_as(&world, 1, 0, &err), STELE_E_INVALID, err);
    CHECK_TEXT_EQ(err.message, world_postgres() != NULL
                                   ? "totals.sql:5: relation \"accounts\" already exists"
                                   : "totals.sql:5: table accounts already exists");
    world_close(&world);
}
