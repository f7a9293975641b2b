/* No argument breaks a public call: it is refused with an outcome and words, and nothing changes.
 *
 * Method: every call of <stele/stele.h> with each of its pointers NULL, with names, numbers and
 * sizes that are none, and with options whose size is not theirs. Afterwards the store is what it
 * was. */
#include "fixture.h"

static struct stele_append_result result;
static struct stele_event_draft good;

static const char *const bad_names[] = {
    "",     "a\nb",  "\x7f",  "\xff\xfe",     "\xc0\xaf", "\xed\xa0\x80",
    "$all", "$ce-a", "$et-a", "\xf4\x90\x80", "\xc2\x85", "\xe2\x82",
};
#define BAD_NAMES (sizeof bad_names / sizeof bad_names[0])

/* One byte longer than any name. */
static const char *long_name(size_t size_max)
{
    static char name[STELE_STREAM_NAME_SIZE_MAX + 2];
    memset(name, 'n', size_max + 1);
    name[size_max + 1] = '\0';
    return name;
}

#define REFUSED(call)                                                                              \
    do {                                                                                           \
        err.message[0] = '\0';                                                                     \
        CHECK_OUTCOME(call, STELE_E_INVALID, err);                                                 \
        CHECK(err.message[0] != '\0');                                                             \
    } while (0)

static void begin(void)
{
    fixture_begin();
    good = fixture_draft(1, "{}");
    CHECK_OK(stele_append(store, "a", STELE_EXPECT_NO_STREAM, &good, 1, NULL, &err), err);
    good = fixture_draft(2, "{}");
}

static void end(void)
{
    struct stele_stats stats;
    CHECK_OK(stele_stats(store, &stats, &err), err);
    CHECK_EQ(stats.events, 1);
    CHECK_EQ(fixture_count("a", (struct stele_read_options)STELE_READ_OPTIONS_INIT), 1);
    CHECK_OK(stele_verify(store, NULL, NULL, &err), err);
    fixture_end();
}

static int on_name(void *context, struct stele_text name, uint64_t count)
{
    (void)context;
    (void)name;
    (void)count;
    return 0;
}

static int on_events(void *context, const struct stele_event *events, size_t count,
                     uint64_t checkpoint)
{
    (void)context;
    (void)events;
    (void)count;
    (void)checkpoint;
    return 0;
}

static void on_appended(void *context, int outcome, const struct stele_append_result *appended)
{
    (void)context;
    (void)outcome;
    (void)appended;
    CHECK(0);
}

TEST(a_store_that_is_null_is_refused_by_every_call)
{
    const struct stele_append part = {.stream = "a", .expected = STELE_EXPECT_ANY};
    struct stele_iterator *iterator = NULL;
    struct stele_subscription *subscription = NULL;
    struct stele_stream_info info;
    struct stele_stats stats;
    char digest[STELE_DIGEST_SIZE];
    size_t size = 0;
    good = fixture_draft(1, "{}");
    REFUSED(stele_append(NULL, "a", STELE_EXPECT_ANY, &good, 1, NULL, &err));
    REFUSED(stele_append_many(NULL, &part, 1, NULL, 0, NULL, NULL, &err));
    REFUSED(stele_append_async(NULL, &part, 1, NULL, 0, on_appended, NULL, &err));
    REFUSED(stele_read_stream(NULL, "a", NULL, &iterator, &err));
    REFUSED(stele_read_all(NULL, NULL, &iterator, &err));
    REFUSED(stele_wait(NULL, 0, 0, &err));
    REFUSED(stele_subscribe(NULL, "a", NULL, on_events, NULL, NULL, &subscription, &err));
    REFUSED(stele_stream_info(NULL, "a", &info, &err));
    REFUSED(stele_list(NULL, STELE_LIST_STREAMS, "", NULL, 0, on_name, NULL, &err));
    REFUSED(stele_set_metadata(NULL, "a", STELE_EXPECT_ANY, "{}", 2, NULL, &err));
    REFUSED(stele_get_metadata(NULL, "a", NULL, 0, &size, NULL, &err));
    REFUSED(stele_delete(NULL, "a", STELE_EXPECT_ANY, NULL, &err));
    REFUSED(stele_tombstone(NULL, "a", STELE_EXPECT_ANY, NULL, &err));
    REFUSED(stele_stats(NULL, &stats, &err));
    REFUSED(stele_scavenge(NULL, NULL, NULL, &err));
    REFUSED(stele_verify(NULL, NULL, NULL, &err));
    REFUSED(stele_digest(NULL, digest, &err));
    CHECK_EQ(stele_damages(NULL, NULL, NULL), STELE_E_INVALID);
    CHECK_EQ(stele_last_position(NULL), 0);
    CHECK_EQ(stele_close(NULL), STELE_OK);
    stele_iterator_destroy(NULL);
    stele_unsubscribe(NULL);
}

TEST(a_place_for_the_result_that_is_null_is_refused)
{
    begin();
    const struct stele_event *events = NULL;
    struct stele_iterator *iterator = NULL;
    size_t count = 0;
    REFUSED(stele_open(fixture_path, NULL, NULL, &err));
    REFUSED(stele_read_stream(store, "a", NULL, NULL, &err));
    REFUSED(stele_read_all(store, NULL, NULL, &err));
    REFUSED(stele_iterator_next(NULL, &events, &count, &err));
    CHECK_OK(stele_read_all(store, NULL, &iterator, &err), err);
    REFUSED(stele_iterator_next(iterator, NULL, &count, &err));
    REFUSED(stele_iterator_next(iterator, &events, NULL, &err));
    CHECK_OK(stele_iterator_next(iterator, &events, &count, &err), err);
    CHECK_EQ(count, 1); /* The refused calls have taken nothing. */
    stele_iterator_destroy(iterator);
    CHECK_EQ(stele_iterator_position(NULL), 0);
    REFUSED(stele_subscribe(store, "a", NULL, on_events, NULL, NULL, NULL, &err));
    REFUSED(stele_stream_info(store, "a", NULL, &err));
    REFUSED(stele_list(store, STELE_LIST_STREAMS, "", NULL, 0, NULL, NULL, &err));
    REFUSED(stele_get_metadata(store, "a", NULL, 0, NULL, NULL, &err));
    REFUSED(stele_get_metadata(store, "a", NULL, 1, &count, NULL, &err));
    REFUSED(stele_stats(store, NULL, &err));
    REFUSED(stele_digest(store, NULL, &err));
    CHECK_EQ(stele_damages(store, NULL, NULL), STELE_E_INVALID);
    CHECK_EQ(stele_token_position(NULL, NULL), STELE_E_INVALID);
    CHECK_EQ(stele_id_from_text(NULL, NULL), STELE_E_INVALID);
    end();
}

TEST(words_are_not_needed)
{
    begin();
    CHECK_EQ(stele_append(store, "", STELE_EXPECT_ANY, &good, 1, NULL, NULL), STELE_E_INVALID);
    CHECK_EQ(stele_append(store, "a", 7, &good, 1, NULL, NULL), STELE_WRONG_REVISION);
    CHECK_EQ(stele_open("", NULL, &store, NULL), STELE_E_INVALID);
    CHECK_EQ(stele_open(fixture_path, NULL, &store, NULL), STELE_E_LOCKED);
    end();
}

TEST(names_that_are_none_are_refused_by_every_call)
{
    begin();
    struct stele_stream_info info;
    for (size_t i = 0; i <= BAD_NAMES; i++) {
        const char *name = i < BAD_NAMES ? bad_names[i] : NULL;
        const struct stele_append parts[] = {
            {.stream = "b", .expected = STELE_EXPECT_ANY, .events = &good, .count = 1},
            {.stream = name, .expected = STELE_EXPECT_ANY},
        };
        REFUSED(stele_append(store, name, STELE_EXPECT_ANY, &good, 1, NULL, &err));
        REFUSED(stele_append_many(store, parts, 2, NULL, 0, NULL, NULL, &err));
        REFUSED(stele_append_async(store, parts, 2, NULL, 0, on_appended, NULL, &err));
        if (name == NULL || name[0] != '$') { /* "$all" has metadata: who may read it. */
            REFUSED(stele_set_metadata(store, name, STELE_EXPECT_ANY, "{}", 2, NULL, &err));
        }
        REFUSED(stele_tombstone(store, name, STELE_EXPECT_ANY, NULL, &err));
        CHECK(stele_delete(store, name, STELE_EXPECT_ANY, NULL, &err) != STELE_OK);
        CHECK(stele_stream_info(store, name, &info, &err) != STELE_OK);
    }
    CHECK_OUTCOME(stele_append(store, long_name(STELE_STREAM_NAME_SIZE_MAX), STELE_EXPECT_ANY,
                               &good, 1, NULL, &err),
                  STELE_E_LIMIT, err);
    CHECK_OUTCOME(stele_set_metadata(store, long_name(STELE_STREAM_NAME_SIZE_MAX), STELE_EXPECT_ANY,
                                     "{}", 2, NULL, &err),
                  STELE_E_LIMIT, err);
    CHECK_OUTCOME(
        stele_tombstone(store, long_name(STELE_STREAM_NAME_SIZE_MAX), STELE_EXPECT_ANY, NULL, &err),
        STELE_E_LIMIT, err);
    end();
}

static int append_draft(const struct stele_event_draft *draft)
{
    return stele_append(store, "b", STELE_EXPECT_ANY, draft, 1, &result, &err);
}

TEST(drafts_that_are_none_are_refused)
{
    begin();
    struct stele_event_draft draft = good;
    draft.type = NULL;
    REFUSED(append_draft(&draft));
    for (size_t i = 0; i < BAD_NAMES; i++) {
        if (bad_names[i][0] != '$') {
            draft.type = bad_names[i];
            REFUSED(append_draft(&draft));
            const char *tag = bad_names[i];
            draft = good;
            draft.tags = &tag;
            draft.tags_count = 1;
            REFUSED(append_draft(&draft));
            draft = good;
        }
    }
    draft.type = long_name(STELE_TYPE_SIZE_MAX);
    CHECK_OUTCOME(append_draft(&draft), STELE_E_LIMIT, err);
    draft = good;
    draft.content_type = long_name(STELE_CONTENT_TYPE_SIZE_MAX);
    CHECK_OUTCOME(append_draft(&draft), STELE_E_LIMIT, err);
    draft.content_type = "text/\xe9";
    REFUSED(append_draft(&draft));
    draft = good;
    draft.data = NULL;
    REFUSED(append_draft(&draft));
    draft = good;
    draft.metadata_size = 1;
    REFUSED(append_draft(&draft));
    draft = good;
    draft.tags_count = 1;
    REFUSED(append_draft(&draft));
    const char *tags[STELE_TAGS_MAX + 1];
    for (size_t i = 0; i <= STELE_TAGS_MAX; i++) {
        tags[i] = "t";
    }
    draft.tags = tags;
    draft.tags_count = STELE_TAGS_MAX + 1;
    CHECK_OUTCOME(append_draft(&draft), STELE_E_LIMIT, err);
    draft.tags_count = SIZE_MAX;
    CHECK_OUTCOME(append_draft(&draft), STELE_E_LIMIT, err);
    tags[0] = NULL;
    draft.tags_count = 1;
    REFUSED(append_draft(&draft));
    tags[0] = long_name(STELE_TAG_SIZE_MAX);
    CHECK_OUTCOME(append_draft(&draft), STELE_E_LIMIT, err);
    draft = good;
    draft.data_size = SIZE_MAX;
    CHECK_OUTCOME(append_draft(&draft), STELE_E_LIMIT, err);
    draft.data_size = SIZE_MAX - 1;
    draft.metadata = "{}";
    draft.metadata_size = 2;
    CHECK_OUTCOME(append_draft(&draft), STELE_E_LIMIT, err);
    end();
}

TEST(requests_that_are_none_are_refused)
{
    begin();
    const struct stele_append part = {
        .stream = "b", .expected = STELE_EXPECT_ANY, .events = &good, .count = 1};
    struct stele_append bad = part;
    REFUSED(stele_append_many(store, NULL, 1, NULL, 0, NULL, NULL, &err));
    REFUSED(stele_append_many(store, &part, 0, NULL, 0, NULL, NULL, &err));
    REFUSED(stele_append_many(store, &part, 1, NULL, 1, NULL, NULL, &err));
    CHECK_OUTCOME(stele_append_many(store, &part, SIZE_MAX, NULL, 0, NULL, NULL, &err),
                  STELE_E_LIMIT, err);
    CHECK_OUTCOME(stele_append_many(store, &part, 1, NULL, SIZE_MAX, NULL, NULL, &err),
                  STELE_E_LIMIT, err);
    REFUSED(stele_append(store, "b", STELE_EXPECT_ANY, NULL, 1, NULL, &err));
    REFUSED(stele_append(store, "b", STELE_EXPECT_ANY, &good, 0, NULL, &err));
    CHECK_OUTCOME(stele_append(store, "b", STELE_EXPECT_ANY, &good, SIZE_MAX, NULL, &err),
                  STELE_E_LIMIT, err);
    REFUSED(stele_append_async(store, &part, 1, NULL, 0, NULL, NULL, &err));
    const struct stele_append twice[] = {part, part};
    REFUSED(stele_append_many(store, twice, 2, NULL, 0, NULL, NULL, &err));
    /* Between the greatest revision and the expectations. */
    for (uint64_t expected = STELE_REVISION_MAX; expected < STELE_EXPECT_EXISTS; expected++) {
        bad.expected = expected;
        const int outcome = stele_append_many(store, &bad, 1, NULL, 0, NULL, NULL, &err);
        CHECK(outcome == STELE_E_INVALID ||
              (expected == STELE_REVISION_MAX && outcome == STELE_WRONG_REVISION));
    }
    struct stele_query_item item = {.types_count = 1};
    struct stele_condition condition = {.items = &item, .items_count = 1};
    REFUSED(stele_append_many(store, &part, 1, &condition, 1, NULL, NULL, &err));
    item = (struct stele_query_item){.tags_count = 1};
    REFUSED(stele_append_many(store, &part, 1, &condition, 1, NULL, NULL, &err));
    const char *none = NULL;
    item = (struct stele_query_item){.tags = &none, .tags_count = 1};
    REFUSED(stele_append_many(store, &part, 1, &condition, 1, NULL, NULL, &err));
    item = (struct stele_query_item){.types = &none, .types_count = 1};
    REFUSED(stele_append_many(store, &part, 1, &condition, 1, NULL, NULL, &err));
    condition.items_count = 0;
    REFUSED(stele_append_many(store, &part, 1, &condition, 1, NULL, NULL, &err));
    condition = (struct stele_condition){.items_count = 1};
    REFUSED(stele_append_many(store, &part, 1, &condition, 1, NULL, NULL, &err));
    end();
}

/* A filter that has a count, but nothing to count. */
static void refuse_filter(const struct stele_filter *filter)
{
    struct stele_read_options options = STELE_READ_OPTIONS_INIT;
    struct stele_iterator *iterator = NULL;
    struct stele_subscription *subscription = NULL;
    options.filter = filter;
    REFUSED(stele_read_all(store, &options, &iterator, &err));
    REFUSED(stele_subscribe(store, NULL, &options, on_events, NULL, NULL, &subscription, &err));
}

TEST(reads_that_are_none_are_refused)
{
    begin();
    struct stele_iterator *iterator = NULL;
    struct stele_read_options options = STELE_READ_OPTIONS_INIT;
    REFUSED(stele_read_stream(store, NULL, NULL, &iterator, &err));
    options.struct_size = 0;
    REFUSED(stele_read_all(store, &options, &iterator, &err));
    options.struct_size = sizeof options + 1;
    REFUSED(stele_read_all(store, &options, &iterator, &err));
    options = (struct stele_read_options)STELE_READ_OPTIONS_INIT;
    options.token = "no token";
    REFUSED(stele_read_all(store, &options, &iterator, &err));
    const char *none = NULL;
    refuse_filter(&(struct stele_filter){.types_count = 1});
    refuse_filter(&(struct stele_filter){.type_prefixes_count = 1});
    refuse_filter(&(struct stele_filter){.streams_count = 1});
    refuse_filter(&(struct stele_filter){.stream_prefixes_count = 1});
    refuse_filter(&(struct stele_filter){.categories_count = 1});
    refuse_filter(&(struct stele_filter){.tags_count = 1});
    refuse_filter(&(struct stele_filter){.types = &none, .types_count = 1});
    refuse_filter(&(struct stele_filter){.type_prefixes = &none, .type_prefixes_count = 1});
    refuse_filter(&(struct stele_filter){.streams = &none, .streams_count = 1});
    refuse_filter(&(struct stele_filter){.stream_prefixes = &none, .stream_prefixes_count = 1});
    refuse_filter(&(struct stele_filter){.categories = &none, .categories_count = 1});
    refuse_filter(&(struct stele_filter){.tags = &none, .tags_count = 1});
    refuse_filter(&(struct stele_filter){.type_regex = "("});
    refuse_filter(&(struct stele_filter){.stream_regex = "[z-a]"});
    end();
}

TEST(edges_of_revisions_and_positions_are_answered)
{
    begin();
    const uint64_t edges[] = {0,
                              1,
                              UINT32_MAX,
                              STELE_POSITION_MAX,
                              STELE_POSITION_MAX + 1,
                              STELE_REVISION_MAX,
                              UINT64_MAX - 1,
                              UINT64_MAX};
    const char *const names[] = {"a", "$all", "$ce-a", "$et-Happened"};
    for (size_t i = 0; i < 4 * 8 * 8 * 8 * 2; i++) {
        struct stele_read_options options = STELE_READ_OPTIONS_INIT;
        options.from = edges[i / 4 % 8];
        options.limit = edges[i / 32 % 8];
        options.as_of = edges[i / 256 % 8];
        options.backwards = (int)(i / 2048);
        struct stele_iterator *iterator = NULL;
        const int outcome = stele_read_stream(store, names[i % 4], &options, &iterator, &err);
        CHECK(outcome == STELE_OK || outcome == STELE_E_INVALID);
        if (outcome == STELE_OK) {
            const struct stele_event *events = NULL;
            size_t count = 0;
            const int next = stele_iterator_next(iterator, &events, &count, &err);
            CHECK(next == STELE_END || (next == STELE_OK && count == 1));
            if (options.from == 0 && options.as_of == 0 && !options.backwards) {
                CHECK_EQ(next, STELE_OK);
            }
        }
        stele_iterator_destroy(iterator);
    }
    for (size_t i = 0; i < 8; i++) {
        const int64_t time_us = stele_position_time(edges[i]);
        CHECK(stele_position_at(time_us) <= STELE_POSITION_MAX);
        CHECK(stele_position_at((int64_t)edges[i]) <= STELE_POSITION_MAX);
        const int outcome = stele_wait(store, edges[i], 0, &err);
        CHECK(outcome == (edges[i] < stele_last_position(store) ? STELE_OK : STELE_TIMED_OUT));
    }
    end();
}

TEST(options_of_the_wrong_size_are_refused)
{
    begin();
    struct stele_scavenge_options scavenge = STELE_SCAVENGE_OPTIONS_INIT;
    struct stele_verify_options verify = STELE_VERIFY_OPTIONS_INIT;
    const size_t sizes[] = {0, 1, sizeof(size_t) - 1, sizeof scavenge + 1, SIZE_MAX};
    for (size_t i = 0; i < 5; i++) {
        scavenge.struct_size = sizes[i];
        REFUSED(stele_scavenge(store, &scavenge, NULL, &err));
        verify.struct_size = sizes[i] == sizeof scavenge + 1 ? sizeof verify + 1 : sizes[i];
        REFUSED(stele_verify(store, &verify, NULL, &err));
    }
    verify = (struct stele_verify_options)STELE_VERIFY_OPTIONS_INIT;
    verify.against = "";
    REFUSED(stele_verify(store, &verify, NULL, &err));
    end();
}

TEST(metadata_that_is_none_is_refused)
{
    begin();
    const char *const bad[] = {
        "",
        "1",
        "[]",
        "{",
        "{}}",
        "{\"$maxCount\":-1}",
        "{\"$maxCount\":1.5}",
        "{\"$maxCount\":\"1\"}",
        "{\"$maxAge\":99999999999999999999999}",
        "{\"$tb\":[]}",
        "{\"$acl\":1}",
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        REFUSED(
            stele_set_metadata(store, "a", STELE_EXPECT_ANY, bad[i], strlen(bad[i]), NULL, &err));
    }
    REFUSED(stele_set_metadata(store, "a", STELE_EXPECT_ANY, NULL, 2, NULL, &err));
    CHECK_OUTCOME(stele_set_metadata(store, "a", STELE_EXPECT_ANY, "{}", SIZE_MAX, NULL, &err),
                  STELE_E_LIMIT, err);
    REFUSED(stele_set_metadata(store, "$$a", STELE_EXPECT_ANY, "{}", 2, NULL, &err));
    REFUSED(stele_list(store, 4, "", NULL, 0, on_name, NULL, &err));
    REFUSED(stele_list(store, -1, "", NULL, 0, on_name, NULL, &err));
    end();
}
