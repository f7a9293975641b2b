/* What is Elasticsearch's own: items of a bulk request that are refused or put off, answers that are lost,
 * versions that keep the latest. Whatever happens, the documents are those of a run without trouble.
 *
 * Method: a small server (tests/lib/with-elastic) that is told what to do wrong at the n-th request, for
 * every n. What test_model.c claims of SQL is claimed of Elasticsearch there. */
#include "unit/sinks/world.h"

static int run_jq(struct world *world, const char *text,
                  const struct stele_project_options *options,
                  struct stele_project_progress *out_progress, struct stele_error *err)
{
    return world_run_text(world, "totals.jq", text, options, out_progress, err);
}

#define HEAD(version) "# @projection totals\n# @version " version "\n# @language jq\n"

TEST(a_document_is_that_of_its_latest_event_and_a_deletion_counts)
{
    struct world world;
    struct stele_error err = {0};
    world_open(&world, 1);
    world_append(&world, "page-1", "Written", "{\"text\":\"a\"}");
    world_append(&world, "page-2", "Written", "{\"text\":\"b\"}");
    world_append(&world, "page-1", "Written", "{\"text\":\"c\"}");
    world_append(&world, "page-2", "Removed", "{}");
    CHECK_OK(run_jq(&world,
                    HEAD("1") "# @on Written\n{id: .stream, doc: {text: .data.text, at: .position, "
                              "made: .created, event: .id, kind: .type}}\n"
                              "# @on Removed\n{id: .stream, delete: true}\n",
                    NULL, NULL, &err),
             err);
    json_t *const answer = world_elastic_ask("POST", "totals/_search", "{}");
    const json_t *const hits = json_object_get(json_object_get(answer, "hits"), "hits");
    CHECK_EQ(json_array_size(hits), 1);
    const json_t *const doc = json_object_get(json_array_get(hits, 0), "_source");
    CHECK_TEXT_EQ(json_string_value(json_object_get(doc, "text")), "c");
    CHECK_TEXT_EQ(json_string_value(json_object_get(doc, "kind")), "Written");
    json_decref(answer);
    world_close(&world);
}

static void check_refused_file(const char *text, const char *want)
{
    struct world world;
    struct stele_error err = {0};
    world_open(&world, 2);
    world_append(&world, "a-1", "A", "{}");
    CHECK_EQ(run_jq(&world, text, NULL, NULL, &err), STELE_E_INVALID);
    if (strstr(err.message, want) == NULL) {
        CHECK_TEXT_EQ(err.message, want);
    }
    world_check_builds(&world, "");
    world_close(&world);
}

TEST(a_file_that_is_not_right_changes_nothing)
{
    check_refused_file(HEAD("1") "# @on A\n\n{id: .stream,, doc: .}\n",
                       "totals.jq:6: syntax error");
    check_refused_file(HEAD("1") "# @tables\n{nonsense: 1}\n# @on A\n{id: \"a\", doc: {}}\n",
                       "unknown key nonsense");
    check_refused_file(HEAD("1") "# @tables\n[1]\n# @on A\n{id: \"a\", doc: {}}\n",
                       "totals.jq:5: behind @tables stands one object");
    check_refused_file("# @projection Totals\n# @version 1\n# @language jq\n# @on A\n.\n",
                       "small letters");
    check_refused_file("-- @projection totals\n-- @version 1\n-- @on A\nSELECT 1;\n",
                       "Elasticsearch takes a projection in jq");
}

static void check_reason(const char *section, const char *want)
{
    struct world world;
    struct stele_error err = {0};
    char text[700];
    world_open(&world, 3);
    (void)snprintf(text, sizeof text,
                   HEAD("1") "# @tables\n{mappings: {properties: {n: {type: \"long\"}}}}\n# @on "
                             "A\n%s\n",
                   section);
    world_append(&world, "s-1", "A", "{\"n\": \"x\"}");
    CHECK_OK(run_jq(&world, text, NULL, NULL, &err), err);
    const struct world_reason reason = world_parked_reason(&world);
    CHECK_TEXT_EQ(reason.text, want);
    world_close(&world);
}

TEST(an_event_is_parked_for_what_jq_or_the_server_says)
{
    check_reason("{id: .stream, doc: {n: .data.n}}", "failed to parse field [n]");
    check_reason("if .data.n == \"x\" then error(\"no x, please\") else empty end",
                 "totals.jq:7: no x, please");
    check_reason(
        "{id: \"\", doc: {}}",
        "totals.jq:7: a section gives {\"id\": …, \"doc\": {…}} or {\"id\": …, \"delete\": "
        "true}; an id is a text of 1 to 512 bytes");
    check_reason(".data.n", "totals.jq:7: a section gives {\"id\": …, \"doc\": {…}} or {\"id\": …, "
                            "\"delete\": true}; an id is a text of 1 to 512 bytes");
}

TEST(parked_events_are_retried_and_skipped_in_order)
{
    struct world world;
    struct stele_error err = {0};
    struct stele_project_retried retried = {0};
    world_open(&world, 4);
    world_append(&world, "account-1", "Deposited", "{\"cents\":\"many\"}");
    world_append(&world, "account-1", "Deposited", "{\"cents\":9}");
    world_append(&world, "account-2", "Deposited", "{\"cents\":1}");
    (void)world_run(&world, 1, NULL);
    world_check_parked(&world, "account-1@0 Deposited 1 refused\naccount-1@1 Deposited 0 waits\n");
    struct stele_projection *const projection = world_totals(1);
    struct stele_sink *const sink = world_sink(&world);
    CHECK_OK(stele_project_retry(world.store, projection, sink, NULL, 0, &retried, &err), err);
    CHECK_EQ(retried.left, 2);
    world_check_parked(&world, "account-1@0 Deposited 2 refused\naccount-1@1 Deposited 0 waits\n");
    CHECK_OK(stele_project_retry(world.store, projection, sink, "account-1", 1, &retried, &err),
             err);
    CHECK_EQ(retried.skipped, 1);
    CHECK_EQ(retried.applied, 1);
    CHECK_EQ(retried.left, 0);
    world_check_accounts(&world, "account-1|9|1|1\naccount-2|1|1|0\n");
    CHECK_OK(stele_project_drop(sink, projection, &err), err);
    CHECK_OUTCOME(stele_project_drop(sink, projection, &err), STELE_NOT_FOUND, err);
    world_check_builds(&world, "");
    stele_sink_close(sink);
    stele_projection_destroy(projection);
    world_close(&world);
}

TEST(versions_are_not_mixed)
{
    struct world world;
    struct stele_error err = {0};
    world_open(&world, 5);
    world_append(&world, "account-1", "Deposited", "{\"cents\":1}");
    (void)world_run(&world, 1, NULL);
    CHECK_OUTCOME(run_jq(&world, WORLD_TOTALS_JQ("2"), NULL, NULL, &err), STELE_CONDITION_FAILED,
                  err);
    CHECK_OUTCOME(run_jq(&world, WORLD_TOTALS_JQ("1") "# more\n", NULL, NULL, &err),
                  STELE_CONDITION_FAILED, err);
    world_close(&world);
}

TEST(what_is_too_large_for_one_request_goes_in_several)
{
    struct world world;
    world_open(&world, 6);
    world_append_some(&world, 60);
    world_elastic_plan("{\"size_max\": 2000}");
    (void)world_run(&world, 1, NULL);
    world_elastic_plan("{\"size_max\": 100000000}");
    world_check_totals(&world);
    world_check_parked(&world, "");
    world_close(&world);
}

TEST(a_login_is_sent_and_a_wrong_one_told)
{
    struct world world;
    struct stele_error err = {0};
    world_open(&world, 7);
    world_append_some(&world, 3);
    const char *const host = strstr(world_elastic(), "://") + 3;
    world_elastic_plan("{\"login\": \"ada:p@ss\"}");
    CHECK_OUTCOME(run_jq(&world, WORLD_TOTALS_JQ("1"), NULL, NULL, &err), STELE_E_PERMISSION, err);
    (void)snprintf(world.db, sizeof world.db, "elasticsearch+http://ada:p%%40ss@%s", host);
    CHECK_OK(run_jq(&world, WORLD_TOTALS_JQ("1"), NULL, NULL, &err), err);
    world_elastic_plan("{\"login\": \"\"}");
    world_check_totals(&world);
    world_close(&world);
}

/* ---- Trouble at every request ---- */

/* step 1: at every request; more: at every second, third …, which takes less time. */
static void trouble_at(const char *kind, bool rebuild, unsigned step)
{
    struct world world;
    struct stele_project_options options = STELE_PROJECT_OPTIONS_INIT;
    bool well = false;
    world_open(&world, 8);
    world_append_some(&world, 6);
    options.batch_max = 3;
    for (unsigned n = 1; !well; n += step) {
        char plan[100];
        struct stele_project_progress progress = {0};
        struct stele_error err = {0};
        world_fresh_db(&world, "model");
        if (rebuild) {
            (void)world_run(&world, 1, NULL);
            options.rebuild = 1;
        }
        (void)snprintf(plan, sizeof plan, "{\"kind\": \"%s\", \"left\": %u}", kind, n);
        world_elastic_plan(plan);
        CHECK_OK(run_jq(&world, WORLD_TOTALS_JQ("1"), &options, &progress, &err), err);
        well = !world_elastic_happened();
        world_elastic_plan("{\"kind\": \"none\", \"left\": 0}");
        CHECK(!well || n > 6);
        CHECK(progress.events > 0);
        world_check_totals(&world);
        world_check_parked(&world, "");
    }
    world_close(&world);
}

TEST(a_request_lost_at_any_place_is_made_again)
{
    trouble_at("cut-before", false, 3);
}

TEST(an_answer_lost_at_any_place_does_no_harm)
{
    trouble_at("cut-after", false, 1);
}

TEST(an_answer_lost_at_any_place_of_a_rebuild_does_no_harm)
{
    trouble_at("cut-after", true, 2);
}

TEST(a_server_that_is_busy_is_asked_again)
{
    trouble_at("unavailable", false, 3);
    trouble_at("busy-items", false, 2);
}
