/* A jq program reads older events as newer ones, and what it does wrong is told.
 *
 * Method: programs for one to one, one to many and many to none, in chains with versions; then
 * programs that do not compile, that fail on an event, and that give what is no event. */
#include "lib/check.h"
#include "unit/es/bank.h"

#include <stele/jq.h>

static char seen[500];

static int see(void *context, const struct stele_event *event, uint32_t version)
{
    (void)context;
    const size_t size = strlen(seen);
    (void)snprintf(seen + size, sizeof seen - size, "%.*s/%u %.*s;", (int)event->type.size,
                   event->type.data, version, (int)event->data_size, (const char *)event->data);
    return STELE_OK;
}

static int apply(const char *program, uint32_t version, const char *data, char words[200])
{
    struct stele_memory *memory = stele_memory_create();
    struct stele_jq *jq = NULL;
    struct stele_upcaster upcasters[2];
    struct stele_upcasters *all = NULL;
    struct stele_error err = {0};
    const struct stele_event event = event_of("A", data, "{\"who\":1}", 4);
    seen[0] = '\0';
    CHECK_OK(stele_jq_create("a.jq", program, &jq, &err), err);
    CHECK_EQ(stele_jq_upcaster(jq, "A", version, &upcasters[0]), STELE_OK);
    CHECK_EQ(stele_jq_upcaster(jq, "A", version + 1, &upcasters[1]), STELE_OK);
    CHECK_OK(stele_upcasters_create(memory, upcasters, version > 0 ? 2 : 1, &all, &err), err);
    const int outcome = stele_upcasters_apply(all, &event, memory, see, NULL, &err);
    stele_jq_last_error(jq, words, 200);
    stele_memory_destroy(memory);
    stele_jq_destroy(jq);
    return outcome;
}

TEST(programs_make_one_many_and_none)
{
    char words[200];
    CHECK_EQ(apply(".type = \"B\" | .data |= (.first = (.name | split(\" \")[0]) | del(.name))", 0,
                   "{\"name\":\"Ada Lovelace\"}", words),
             STELE_OK);
    CHECK_TEXT_EQ(seen, "B/0 {\"first\":\"Ada\"};");
    CHECK_EQ(apply(".data.items[] as $i | {type: \"Item\", data: $i}", 0,
                   "{\"items\":[1,\"\xc3\xa9\"]}", words),
             STELE_OK);
    CHECK_TEXT_EQ(seen, "Item/0 1;Item/0 \"\xc3\xa9\";");
    CHECK_EQ(apply("empty", 0, "{}", words), STELE_OK);
    CHECK_TEXT_EQ(seen, "");
    CHECK_EQ(apply("{type: \"B\"}", 0, "no json", words), STELE_OK);
    CHECK_TEXT_EQ(seen, "B/0 no json;");
}

TEST(chains_go_on_from_version_to_version)
{
    char words[200];
    CHECK_EQ(apply(".data.v = (.data.v // []) + [.version]", 1, "{}", words), STELE_OK);
    CHECK_TEXT_EQ(seen, "A/3 {\"v\":[1,2]};");
}

TEST(a_malformed_program_is_told_with_its_line)
{
    struct stele_jq *jq = NULL;
    struct stele_error err = {0};
    CHECK_EQ(stele_jq_create("a.jq", ".type = \"B\"\n| .data |= (", &jq, &err), STELE_E_INVALID);
    CHECK_TEXT_HAS(err.message, "a.jq:2: syntax error");
    CHECK_EQ(stele_jq_create("a.jq", "nothing_of_that_name", &jq, &err), STELE_E_INVALID);
    CHECK_TEXT_HAS(err.message, "a.jq:1: nothing_of_that_name/0 is not defined");
    CHECK_EQ(stele_jq_open("/nowhere/a.jq", &jq, &err), STELE_NOT_FOUND);
    CHECK_EQ(stele_jq_open("/", &jq, &err), STELE_E_IO);
    CHECK(jq == NULL);
    stele_jq_destroy(NULL);
}

TEST(what_goes_wrong_on_an_event_ends_its_fold)
{
    char words[200];
    CHECK_EQ(apply(".data.a.b", 0, "{\"a\":1}", words), STELE_E_INVALID);
    CHECK_TEXT_HAS(words, "a.jq: Cannot index number");
    CHECK_EQ(apply("1", 0, "{}", words), STELE_E_INVALID);
    CHECK_TEXT_HAS(words, "no object");
    CHECK_EQ(apply(".type = 1", 0, "{}", words), STELE_E_INVALID);
    CHECK_TEXT_HAS(words, "no text");
    CHECK_EQ(apply("{type: \"B\"}, error(\"stop\")", 0, "{}", words), STELE_E_INVALID);
    CHECK_TEXT_HAS(words, "a.jq: stop");
    CHECK_TEXT_EQ(seen, "");
}

static const char *fold_of(const char *program, const char *initial, int outcome)
{
    static char shown[600];
    struct stele_memory *memory = stele_memory_create();
    struct stele_jq_fold *fold = NULL;
    struct stele_state *state = NULL;
    struct stele_error err = {0};
    struct stele_text json = {.size = 0};
    struct stele_event events[] = {event_of("A", "{\"n\":1}", "{}", 0),
                                   event_of("B", "no json", "{}", 1),
                                   event_of("A", "{\"n\":5,\"o\":{\"p\":1}}", "{}", 2)};
    for (size_t i = 0; i < 3; i++) {
        events[i].stream = (struct stele_text){"s-1", 3};
    }
    CHECK_OK(stele_jq_fold_create("f.jq", program, initial, &fold, &err), err);
    CHECK_OK(stele_state_create(memory, stele_jq_fold_of(fold), &state, &err), err);
    CHECK_EQ(stele_state_apply(state, events, 3, &err), outcome);
    CHECK_EQ(stele_jq_fold_value(fold, 0, memory, &json), STELE_OK);
    (void)snprintf(shown, sizeof shown, "%.*s",
                   outcome == STELE_OK ? (int)json.size : (int)sizeof shown - 1,
                   outcome == STELE_OK ? json.data : stele_jq_fold_last_error(fold));
    stele_memory_destroy(memory);
    stele_jq_fold_destroy(fold);
    return shown;
}

TEST(a_program_folds_events_into_a_value)
{
    CHECK_TEXT_EQ(fold_of(".n += ($event.data.n // 10)", NULL, STELE_OK), "{\"n\":16}");
    CHECK_TEXT_EQ(fold_of("def f: . + [$event.revision]; f", "[7]", STELE_OK), "[7,0,1,2]");
    CHECK_TEXT_EQ(fold_of("empty", "{\"a\":1}", STELE_OK), "{\"a\":1}");
    CHECK_TEXT_EQ(fold_of(NULL, NULL, STELE_OK), "{\"n\":5,\"o\":{\"p\":1}}");
    CHECK_TEXT_EQ(fold_of("# nothing\nnull", "3", STELE_OK), "null");
}

TEST(a_fold_that_fails_names_the_event)
{
    CHECK_TEXT_EQ(
        fold_of("if $event.revision == 1 then error(\"no\") else 1 end", NULL, STELE_E_INVALID),
        "f.jq: s-1@1 (B): no");
    CHECK_TEXT_EQ(fold_of("1, 2", NULL, STELE_E_INVALID),
                  "f.jq: s-1@0 (A): it gives more than one state");
    CHECK_TEXT_EQ(fold_of("1, error({a: 1})", NULL, STELE_E_INVALID), "f.jq: s-1@0 (A): {\"a\":1}");
    struct stele_jq_fold *fold = NULL;
    struct stele_error err = {0};
    CHECK_EQ(stele_jq_fold_create("f.jq", ".\n| (", NULL, &fold, &err), STELE_E_INVALID);
    CHECK_TEXT_HAS(err.message, "f.jq:2: syntax error");
    CHECK_EQ(stele_jq_fold_create("f.jq", ".", "{\"a\":", &fold, &err), STELE_E_INVALID);
    CHECK_TEXT_HAS(err.message, "the initial state is no JSON");
    CHECK_EQ(stele_jq_fold_create("f.jq", ".", "", &fold, &err), STELE_E_INVALID);
    CHECK_EQ(stele_jq_fold_open("/nowhere/f.jq", NULL, &fold, &err), STELE_NOT_FOUND);
    CHECK(fold == NULL);
    stele_jq_fold_destroy(NULL);
}

static int add(void *context, const char *json, size_t size)
{
    (void)snprintf((char *)context + strlen(context), 20, "%.*s;", (int)size, json);
    return STELE_OK;
}

TEST(a_program_runs_on_json)
{
    struct stele_jq *jq = NULL;
    struct stele_error err = {0};
    char results[60] = "";
    CHECK_OK(
        stele_jq_create("r.jq", ".[] | if . == 3 then error(\"three\") else . * 2 end", &jq, &err),
        err);
    CHECK_OK(stele_jq_run(jq, "[1,2]", 5, add, results, &err), err);
    CHECK_TEXT_EQ(results, "2;4;");
    CHECK_EQ(stele_jq_run(jq, "[1,3]", 5, add, results, &err), STELE_E_INVALID);
    CHECK_TEXT_EQ(err.message, "r.jq: three");
    CHECK_EQ(stele_jq_run(jq, "[1,", 3, add, results, &err), STELE_E_INVALID);
    CHECK_TEXT_EQ(err.message, "r.jq: what it is given is no JSON");
    CHECK_EQ(stele_jq_run(jq, "5", 1, add, results, &err), STELE_E_INVALID);
    stele_jq_destroy(jq);
}
