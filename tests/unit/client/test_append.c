/* An append is stored whole under the next revisions, or refused with the right reason and nothing
 * left behind; the same append again is the first one.
 *
 * Method: each kind of expectation against each state of a stream; each limit at, and just above
 * its edge; many threads at once, with the result counted. */
#include "fixture.h"

#include <pthread.h>
#include <stdatomic.h>

TEST(revisions_count_from_zero_and_positions_grow)
{
    fixture_begin();
    uint64_t before = 0;
    for (uint64_t i = 0; i < 100; i++) {
        struct stele_append_result result;
        CHECK_OK(fixture_append("s-1", STELE_EXPECT_ANY, i + 1, "{}", &result), err);
        CHECK_EQ(result.revision_first, i);
        CHECK_EQ(result.revision_last, i);
        CHECK(result.position_last > before);
        CHECK_EQ(result.idempotent, 0);
        uint64_t position = 0;
        CHECK_EQ(stele_token_position(result.token, &position), STELE_OK);
        CHECK_EQ(position, result.position_last);
        before = result.position_last;
    }
    CHECK_EQ(stele_last_position(store), before);
    fixture_end();
}

TEST(every_expectation_holds_or_fails_by_the_state_of_the_stream)
{
    fixture_begin();
    struct stele_append_result result;
    CHECK_OUTCOME(fixture_append("s", STELE_EXPECT_EXISTS, 1, "{}", &result), STELE_WRONG_REVISION,
                  err);
    CHECK_EQ(result.revision_last, STELE_EXPECT_NO_STREAM);
    CHECK_OUTCOME(fixture_append("s", 0, 2, "{}", &result), STELE_WRONG_REVISION, err);
    CHECK_OK(fixture_append("s", STELE_EXPECT_NO_STREAM, 3, "{}", &result), err);
    CHECK_OUTCOME(fixture_append("s", STELE_EXPECT_NO_STREAM, 4, "{}", &result),
                  STELE_WRONG_REVISION, err);
    CHECK_EQ(result.revision_last, 0);
    CHECK_OK(fixture_append("s", 0, 5, "{}", &result), err);
    CHECK_OUTCOME(fixture_append("s", 0, 6, "{}", &result), STELE_WRONG_REVISION, err);
    CHECK_OUTCOME(fixture_append("s", 2, 7, "{}", &result), STELE_WRONG_REVISION, err);
    CHECK_OUTCOME(fixture_append("s", STELE_REVISION_MAX, 8, "{}", &result), STELE_WRONG_REVISION,
                  err);
    CHECK_OUTCOME(fixture_append("s", STELE_REVISION_MAX + 1, 9, "{}", &result), STELE_E_INVALID,
                  err);
    CHECK_OK(fixture_append("s", STELE_EXPECT_EXISTS, 10, "{}", &result), err);
    CHECK_EQ(result.revision_last, 2);
    CHECK_EQ(fixture_count("s", (struct stele_read_options)STELE_READ_OPTIONS_INIT), 3);
    fixture_end();
}

TEST(the_same_append_again_gives_the_first_result_also_after_reopening)
{
    fixture_begin();
    struct stele_event_draft drafts[3];
    for (uint64_t i = 0; i < 3; i++) {
        drafts[i] = fixture_draft(i + 1, "{}");
    }
    struct stele_append_result first;
    CHECK_OK(fixture_append("s", STELE_EXPECT_NO_STREAM, 100, "{}", &first), err);
    CHECK_OK(stele_append(store, "s", 0, drafts, 3, &first, &err), err);
    for (int round = 0; round < 3; round++) {
        const uint64_t expectations[] = {0, STELE_EXPECT_ANY, STELE_EXPECT_EXISTS};
        for (size_t i = 0; i < 3; i++) {
            struct stele_append_result again;
            CHECK_OK(stele_append(store, "s", expectations[i], drafts, 3, &again, &err), err);
            CHECK_EQ(again.idempotent, 1);
            CHECK_EQ(again.revision_first, first.revision_first);
            CHECK_EQ(again.revision_last, first.revision_last);
            CHECK_EQ(again.position_first, first.position_first);
            CHECK_EQ(again.position_last, first.position_last);
            CHECK_TEXT_EQ(again.token, first.token);
        }
        for (uint64_t i = 0; i < 500; i++) { /* Pushes the ids into runs. */
            CHECK_OK(fixture_append("other", STELE_EXPECT_ANY, 10000 + (uint64_t)round * 1000 + i,
                                    "{\"n\":1}", NULL),
                     err);
        }
        fixture_reopen();
    }
    drafts[1] = fixture_draft(77, "{}");
    CHECK_OUTCOME(stele_append(store, "s", STELE_EXPECT_ANY, drafts, 3, NULL, &err),
                  STELE_E_ID_CONFLICT, err);
    CHECK_EQ(fixture_count("s", (struct stele_read_options)STELE_READ_OPTIONS_INIT), 4);
    fixture_end();
}

TEST(several_streams_are_appended_to_together_or_not_at_all)
{
    fixture_begin();
    const struct stele_event_draft a[] = {fixture_draft(1, "{}"), fixture_draft(2, "{}")};
    const struct stele_event_draft b[] = {fixture_draft(3, "{}")};
    struct stele_append parts[] = {
        {.stream = "account-1", .expected = STELE_EXPECT_NO_STREAM, .events = a, .count = 2},
        {.stream = "account-2", .expected = STELE_EXPECT_NO_STREAM, .events = b, .count = 1},
        {.stream = "limit-1", .expected = STELE_EXPECT_NO_STREAM},
    };
    uint64_t last[3];
    struct stele_append_result result;
    CHECK_OK(stele_append_many(store, parts, 3, NULL, 0, last, &result, &err), err);
    CHECK_EQ(last[0], 1);
    CHECK_EQ(last[1], 0);
    CHECK_EQ(last[2], STELE_EXPECT_NO_STREAM);

    /* Now the stream that is only read is not as expected. */
    CHECK_OK(fixture_append("limit-1", STELE_EXPECT_NO_STREAM, 9, "{}", NULL), err);
    const struct stele_event_draft c[] = {fixture_draft(4, "{}")};
    const struct stele_event_draft d[] = {fixture_draft(5, "{}")};
    parts[0] = (struct stele_append){.stream = "account-1", .expected = 1, .events = c, .count = 1};
    parts[1] = (struct stele_append){.stream = "account-2", .expected = 0, .events = d, .count = 1};
    CHECK_OUTCOME(stele_append_many(store, parts, 3, NULL, 0, last, &result, &err),
                  STELE_WRONG_REVISION, err);
    CHECK_EQ(result.failed, 2);
    CHECK_EQ(result.revision_last, 0);
    CHECK_TEXT_HAS(err.message, "limit-1");
    CHECK_EQ(fixture_count("account-1", (struct stele_read_options)STELE_READ_OPTIONS_INIT), 2);
    CHECK_EQ(fixture_count("account-2", (struct stele_read_options)STELE_READ_OPTIONS_INIT), 1);

    parts[1].stream = "account-1";
    CHECK_OUTCOME(stele_append_many(store, parts, 3, NULL, 0, last, &result, &err), STELE_E_INVALID,
                  err);
    CHECK_TEXT_HAS(err.message, "twice");
    fixture_end();
}

TEST(a_condition_fails_exactly_when_a_matching_event_stands_after_its_position)
{
    fixture_begin();
    const char *const tags_a[] = {"user:a", "plan:pro"};
    struct stele_event_draft draft = fixture_draft(1, "{}");
    draft.type = "Registered";
    draft.tags = tags_a;
    draft.tags_count = 2;
    struct stele_append_result first;
    CHECK_OK(stele_append(store, "r-1", STELE_EXPECT_ANY, &draft, 1, &first, &err), err);

    const char *const types[] = {"Other", "Registered"};
    const char *const tags[] = {"plan:pro", "user:a"};
    const char *const strange[] = {"user:b"};
    const struct {
        struct stele_query_item item;
        uint64_t after;
        int outcome;
    } cases[] = {
        {{.types = types, .types_count = 2, .tags = tags, .tags_count = 2},
         0,
         STELE_CONDITION_FAILED},
        {{.types = types, .types_count = 1, .tags = tags, .tags_count = 2}, 0, STELE_OK},
        {{.types = types, .types_count = 2}, 0, STELE_CONDITION_FAILED},
        {{.tags = tags, .tags_count = 1}, 0, STELE_CONDITION_FAILED},
        {{.tags = strange, .tags_count = 1}, 0, STELE_OK},
        {{.types = types, .types_count = 2, .tags = tags, .tags_count = 2},
         first.position_last,
         STELE_OK},
        {{.types = types, .types_count = 2, .tags = tags, .tags_count = 2},
         first.position_last - 1,
         STELE_CONDITION_FAILED},
        {{.types = NULL}, first.position_last - 1, STELE_CONDITION_FAILED},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const struct stele_event_draft next = fixture_draft(100 + i, "{}");
        const struct stele_append append = {
            .stream = "r-2", .expected = STELE_EXPECT_ANY, .events = &next, .count = 1};
        const struct stele_condition condition = {
            .items = &cases[i].item, .items_count = 1, .after = cases[i].after};
        struct stele_append_result result;
        CHECK_OUTCOME(stele_append_many(store, &append, 1, &condition, 1, NULL, &result, &err),
                      cases[i].outcome, err);
        if (cases[i].outcome == STELE_CONDITION_FAILED && cases[i].item.types_count > 0) {
            CHECK_EQ(result.conflict_position, first.position_last);
        }
    }
    fixture_end();
}

TEST(every_limit_is_refused_by_name)
{
    fixture_begin();
    char name[STELE_STREAM_NAME_SIZE_MAX + 2];
    memset(name, 'n', sizeof name);
    name[STELE_STREAM_NAME_SIZE_MAX] = '\0';
    CHECK_OK(fixture_append(name, STELE_EXPECT_ANY, 1, "{}", NULL), err);
    name[STELE_STREAM_NAME_SIZE_MAX] = 'n';
    name[STELE_STREAM_NAME_SIZE_MAX + 1] = '\0';
    CHECK_OUTCOME(fixture_append(name, STELE_EXPECT_ANY, 2, "{}", NULL), STELE_E_LIMIT, err);
    const char *const bad[] = {"",     "a\nb",  "a\x7f", "\xff\xfe", "\xc0\xaf", "\xed\xa0\x80",
                               "$all", "$ce-a", "$et-a", "$$",       "\xc2\x85"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        CHECK_OUTCOME(fixture_append(bad[i], STELE_EXPECT_ANY, 3, "{}", NULL), STELE_E_INVALID,
                      err);
        CHECK(err.message[0] != '\0');
    }
    CHECK_OK(fixture_append("\xc3\xa4\xe2\x82\xac\xf0\x9f\x92\xb6 / \\ '\" ;", STELE_EXPECT_ANY, 4,
                            "{}", NULL),
             err);

    struct stele_event_draft draft = fixture_draft(5, "");
    CHECK_OK(stele_append(store, "empty", STELE_EXPECT_ANY, &draft, 1, NULL, &err), err);
    char *large = calloc(1, STELE_EVENT_SIZE_MAX + 1);
    CHECK(large != NULL);
    draft = fixture_draft(6, "");
    draft.content_type = "application/octet-stream";
    draft.data = large;
    draft.data_size = STELE_EVENT_SIZE_MAX;
    CHECK_OK(stele_append(store, "large", STELE_EXPECT_ANY, &draft, 1, NULL, &err), err);
    draft.metadata = large;
    draft.metadata_size = 1;
    CHECK_OUTCOME(stele_append(store, "large", STELE_EXPECT_ANY, &draft, 1, NULL, &err),
                  STELE_E_LIMIT, err);
    draft.metadata_size = SIZE_MAX;
    CHECK_OUTCOME(stele_append(store, "large", STELE_EXPECT_ANY, &draft, 1, NULL, &err),
                  STELE_E_LIMIT, err);
    free(large);

    const size_t many = 1000000;
    struct stele_event_draft *drafts = calloc(many, sizeof *drafts);
    CHECK(drafts != NULL);
    for (size_t i = 0; i < many; i++) {
        drafts[i] = fixture_draft(1000 + i, "{}");
    }
    CHECK_OUTCOME(stele_append(store, "many", STELE_EXPECT_ANY, drafts, many, NULL, &err),
                  STELE_E_LIMIT, err);
    CHECK_OK(
        stele_append(store, "many", STELE_EXPECT_ANY, drafts, STELE_APPEND_EVENTS_MAX, NULL, &err),
        err);
    free(drafts);
    CHECK_OUTCOME(stele_append(store, "none", STELE_EXPECT_ANY, NULL, 0, NULL, &err),
                  STELE_E_INVALID, err);
    CHECK_EQ(fixture_count("many", (struct stele_read_options)STELE_READ_OPTIONS_INIT),
             STELE_APPEND_EVENTS_MAX);
    CHECK_EQ(fixture_count("large", (struct stele_read_options)STELE_READ_OPTIONS_INIT), 1);
    fixture_end();
}

#define THREADS 16
#define EACH 200

static void *append_in_thread(void *context)
{
    const uint64_t thread = (uint64_t)(uintptr_t)context;
    for (uint64_t i = 0; i < EACH; i++) {
        struct stele_error mine = {.outcome = 0};
        const struct stele_event_draft draft = fixture_draft(1 + thread * EACH + i, "{\"n\":1}");
        /* Everybody wants the same stream: all of them must get a revision of their own. */
        CHECK_OK(stele_append(store, "shared", STELE_EXPECT_ANY, &draft, 1, NULL, &mine), mine);
    }
    return NULL;
}

TEST(many_threads_get_each_revision_once)
{
    fixture_begin();
    pthread_t threads[THREADS];
    for (uintptr_t i = 0; i < THREADS; i++) {
        CHECK_EQ(pthread_create(&threads[i], NULL, append_in_thread, (void *)i), 0);
    }
    for (size_t i = 0; i < THREADS; i++) {
        CHECK_EQ(pthread_join(threads[i], NULL), 0);
    }
    struct stele_stream_info info;
    CHECK_OK(stele_stream_info(store, "shared", &info, &err), err);
    CHECK_EQ(info.revision_last, THREADS * EACH - 1);
    CHECK_EQ(fixture_count("shared", (struct stele_read_options)STELE_READ_OPTIONS_INIT),
             THREADS * EACH);
    fixture_end();
}

static _Atomic int winners;

static void *race_in_thread(void *context)
{
    const uint64_t thread = (uint64_t)(uintptr_t)context;
    for (uint64_t i = 0; i < EACH; i++) {
        struct stele_error mine = {.outcome = 0};
        const struct stele_event_draft draft = fixture_draft(1 + thread * EACH + i, "{}");
        const uint64_t expected = i == 0 ? STELE_EXPECT_NO_STREAM : i - 1;
        const int outcome = stele_append(store, "race", expected, &draft, 1, NULL, &mine);
        CHECK(outcome == STELE_OK || outcome == STELE_WRONG_REVISION);
        atomic_fetch_add(&winners, outcome == STELE_OK ? 1 : 0);
    }
    return NULL;
}

TEST(of_those_who_expect_the_same_revision_one_wins)
{
    fixture_begin();
    atomic_store(&winners, 0);
    pthread_t threads[THREADS];
    for (uintptr_t i = 0; i < THREADS; i++) {
        CHECK_EQ(pthread_create(&threads[i], NULL, race_in_thread, (void *)i), 0);
    }
    for (size_t i = 0; i < THREADS; i++) {
        CHECK_EQ(pthread_join(threads[i], NULL), 0);
    }
    CHECK_EQ(fixture_count("race", (struct stele_read_options)STELE_READ_OPTIONS_INIT),
             (size_t)atomic_load(&winners));
    fixture_end();
}

struct async_count {
    _Atomic uint64_t done;
    _Atomic uint64_t failed;
    uint64_t position;
    int order_broken;
};

static void on_async(void *context, int outcome, const struct stele_append_result *result)
{
    struct async_count *count = context;
    if (outcome == STELE_OK) {
        count->order_broken |= result->position_last <= count->position;
        count->position = result->position_last;
    } else {
        atomic_fetch_add(&count->failed, 1);
    }
    atomic_fetch_add(&count->done, 1);
}

TEST(asynchronous_appends_end_once_each_in_order)
{
    fixture_begin();
    struct async_count count = {.position = 0};
    const uint64_t total = 20000;
    for (uint64_t i = 0; i < total; i++) {
        const struct stele_event_draft draft = fixture_draft(i + 1, "{\"n\":12345}");
        char stream[32];
        (void)snprintf(stream, sizeof stream, "s-%llu", (unsigned long long)(i % 100));
        const struct stele_append append = {
            .stream = stream, .expected = STELE_EXPECT_ANY, .events = &draft, .count = 1};
        int outcome = STELE_E_OVERLOADED;
        while (outcome == STELE_E_OVERLOADED) {
            outcome = stele_append_async(store, &append, 1, NULL, 0, on_async, &count, &err);
        }
        CHECK_OK(outcome, err);
    }
    /* One that must fail, behind all of the others. */
    const struct stele_event_draft draft = fixture_draft(total + 1, "{}");
    const struct stele_append wrong = {
        .stream = "s-1", .expected = 100000, .events = &draft, .count = 1};
    CHECK_OK(stele_append_async(store, &wrong, 1, NULL, 0, on_async, &count, &err), err);
    while (atomic_load(&count.done) < total + 1) {
        (void)usleep(1000);
    }
    CHECK_EQ(atomic_load(&count.failed), 1);
    CHECK_EQ(count.order_broken, 0);
    fixture_reopen();
    CHECK_EQ(fixture_count("s-7", (struct stele_read_options)STELE_READ_OPTIONS_INIT), total / 100);
    fixture_end();
}
