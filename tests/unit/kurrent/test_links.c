/* Links, and the streams that projections would write: made up while they are read, and equal to what
 * they would be.
 *
 * Method: events of two categories and a few types; pages and subscriptions of every view. */
#include "bench.h"
#include "lib/check.h"

static struct bench bench;
static struct stele_exchange exchange;

static void fill(void)
{
    bench_open(&bench);
    (void)bench_append_one(&bench, "cat-1", 0, "born", "{}", "{\"$correlationId\":\"c1\"}", true);
    (void)bench_append_one(&bench, "dog-1", 1, "born", "{}", "", true);
    (void)bench_append_one(&bench, "cat-1", 2, "fed", "{}", "{\"$correlationId\":\"c2\"}", true);
    (void)bench_append_one(&bench, "cat-2", 3, "born", "{}", "{\"note\":\"c1\"}", true);
    (void)bench_append_one(&bench, "dog-1", 4, "fed", "{}", "{\"$correlationId\":\"c1\"}", true);
}

static const char *said(const char *stream, bool resolve)
{
    struct bench_read read;
    bench_read(&read, stream);
    read.options.resolve_links = resolve;
    return bench_said(&bench, &read, "");
}

TEST(a_category_is_read_as_links_with_revisions_of_their_own)
{
    fill();
    CHECK_TEXT_EQ(said("$ce-cat", true),
                  "0@$ce-cat->0@cat-1 1@$ce-cat->1@cat-1 2@$ce-cat->0@cat-2 end(0)");
    CHECK_TEXT_EQ(said("$ce-cat", false), "0@$ce-cat 1@$ce-cat 2@$ce-cat end(0)");
    CHECK_TEXT_EQ(said("$ce-cow", true), "not-found($ce-cow) end(0)");
    struct bench_read read;
    bench_read(&read, "$ce-cat");
    read.options.resolve_links = true;
    bench_read_from(&read, 1);
    read.options.count = 1;
    CHECK_TEXT_EQ(bench_said(&bench, &read, ""), "1@$ce-cat->1@cat-1 end(0)");
    bench_read_from(&read, 3);
    CHECK_TEXT_EQ(bench_said(&bench, &read, ""), "end(0)");
    bench_read_backwards(&read);
    bench_read_from_end(&read);
    CHECK_TEXT_EQ(bench_said(&bench, &read, ""), "2@$ce-cat->0@cat-2 end(0)");
    read.options.count = 5;
    bench_read_from(&read, 1);
    CHECK_TEXT_EQ(bench_said(&bench, &read, ""), "1@$ce-cat->1@cat-1 0@$ce-cat->0@cat-1 end(0)");
    bench_close(&bench);
}

TEST(a_type_is_read_as_links_too)
{
    fill();
    CHECK_TEXT_EQ(said("$et-born", true),
                  "0@$et-born->0@cat-1 1@$et-born->0@dog-1 2@$et-born->0@cat-2 end(0)");
    bench_close(&bench);
}

TEST(a_made_up_link_is_an_event_of_type_link)
{
    fill();
    struct bench_read read;
    bench_read(&read, "$ce-cat");
    bench_call(&bench, &exchange, STREAMS "Read", "");
    bench_send(&bench, &exchange, &read.request);
    uint64_t before = 0;
    for (int i = 0; i < 3; i++) {
        ReadResp *response = NEXT_READ(&bench, &exchange);
        const EventStore__Client__Streams__ReadResp__ReadEvent__RecordedEvent *link =
            response->event->event;
        static const char *const data[] = {"0@cat-1", "1@cat-1", "0@cat-2"};
        CHECK_TEXT_EQ(link->metadata[0]->value, "$>");
        CHECK_EQ(link->data.len, 7);
        CHECK_BYTES_EQ(link->data.data, data[i], 7);
        const uint64_t id = (uint64_t)link->id->structured->most_significant_bits;
        CHECK(id != before);
        before = id;
        CHECK_EQ(response->event->commit_position, link->commit_position);
        bench_free(response);
    }
    fake_close(bench.grpc, &exchange);
    bench_close(&bench);
}

TEST(streams_categories_and_correlations_are_found_by_looking_at_all)
{
    fill();
    CHECK_TEXT_EQ(said("$streams", true),
                  "0@$streams->0@cat-1 1@$streams->0@dog-1 2@$streams->0@cat-2 end(0)");
    CHECK_TEXT_EQ(said("$category-cat", false), "0@$category-cat 1@$category-cat end(0)");
    CHECK_TEXT_EQ(said("$bc-c1", true), "0@$bc-c1->0@cat-1 1@$bc-c1->1@dog-1 end(0)");
    CHECK_TEXT_EQ(said("$bc-c3", true), "not-found($bc-c3) end(0)");
    struct bench_read read;
    bench_read(&read, "$streams");
    read.options.resolve_links = true;
    bench_read_from(&read, 1);
    read.options.count = 1;
    CHECK_TEXT_EQ(bench_said(&bench, &read, ""), "1@$streams->0@dog-1 end(0)");
    bench_read_backwards(&read);
    bench_read_from_end(&read);
    CHECK_TEXT_EQ(bench_said(&bench, &read, ""), "2@$streams->0@cat-2 end(0)");
    read.options.count = 5;
    bench_read_from(&read, 1);
    CHECK_TEXT_EQ(bench_said(&bench, &read, ""), "1@$streams->0@dog-1 0@$streams->0@cat-1 end(0)");
    bench_close(&bench);
}

TEST(links_that_users_wrote_are_resolved_or_left_alone)
{
    struct stele_exchange other;
    fill();
    (void)bench_append_one(&bench, "secret-1", 50, "t", "{}", "", true);
    static const char *const targets[] = {"1@cat-1",    "0@nobody", "9@cat-1", "nonsense",
                                          "0@secret-1", "0@links",  "0@dead"};
    (void)bench_append(&bench, "dead", STELE_EXPECT_ANY, 60, 1);
    CHECK_EQ(bench_delete(&bench, &other, "Tombstone", "dead", 0), 0);
    fake_close(bench.grpc, &other);
    for (uint32_t i = 0; i < STELE_COUNT_OF(targets); i++) {
        (void)bench_append_one(&bench, "links", 100 + i, "$>", targets[i], "", false);
    }
    struct bench_read read;
    bench_read(&read, "links");
    read.options.resolve_links = true;
    CHECK_TEXT_EQ(bench_said(&bench, &read, "somebody"),
                  "0@links->1@cat-1 1@links-> 2@links-> 3@links-> 4@links-> 5@links->0@links "
                  "6@links-> end(0)");
    read.options.resolve_links = false;
    read.options.count = 1;
    CHECK_TEXT_EQ(bench_said(&bench, &read, "somebody"), "0@links end(0)");
    bench_close(&bench);
}

#define TOLD(text) CHECK_TEXT_EQ(bench_told(&bench, &exchange), text)

TEST(views_can_be_subscribed_to)
{
    static const struct {
        const char *view;
        bool from_revision;
        const char *first[2];
        const char *later;
    } cases[] = {
        {"$ce-cat", false, {"0@$ce-cat->0@cat-1", "1@$ce-cat->1@cat-1"}, "3@$ce-cat->0@cat-3"},
        {"$ce-cat", true, {"2@$ce-cat->0@cat-2", NULL}, "3@$ce-cat->0@cat-3"},
        {"$et-born", true, {"2@$et-born->0@cat-2", NULL}, "3@$et-born->0@cat-3"},
        {"$streams", true, {"2@$streams->0@cat-2", NULL}, "3@$streams->0@cat-3"},
    };
    for (size_t i = 0; i < STELE_COUNT_OF(cases); i++) {
        struct bench_read read;
        fill();
        bench_read(&read, cases[i].view);
        bench_read_subscribe(&read);
        read.options.resolve_links = true;
        if (cases[i].from_revision) {
            bench_read_from(&read, 1);
        }
        bench_call(&bench, &exchange, STREAMS "Read", "");
        bench_send(&bench, &exchange, &read.request);
        TOLD("confirmed");
        TOLD(cases[i].first[0]);
        if (cases[i].first[1] != NULL) {
            TOLD(cases[i].first[1]);
            (void)bench_told(&bench, &exchange);
        }
        TOLD("caught-up(2)");
        (void)bench_append_one(&bench, "cat-3", 70, "born", "{}", "", true);
        TOLD(cases[i].later);
        fake_close(bench.grpc, &exchange);
        bench_close(&bench);
    }
}

TEST(a_subscription_to_what_comes_begins_behind_what_there_is)
{
    static const char *const views[] = {"$ce-cat", "$et-born", "$streams"};
    for (size_t i = 0; i < STELE_COUNT_OF(views); i++) {
        struct bench_read read;
        char want[64];
        fill();
        bench_read(&read, views[i]);
        bench_read_subscribe(&read);
        bench_read_from_end(&read);
        bench_call(&bench, &exchange, STREAMS "Read", "");
        bench_send(&bench, &exchange, &read.request);
        TOLD("confirmed");
        TOLD("caught-up");
        (void)bench_append_one(&bench, "cat-3", 70, "born", "{}", "", true);
        (void)snprintf(want, sizeof want, "3@%s", views[i]);
        TOLD(want);
        fake_close(bench.grpc, &exchange);
        bench_close(&bench);
    }
}

TEST(links_name_a_revision_and_a_stream)
{
    static const struct {
        const char *text;
        bool is_link;
        uint64_t revision;
        const char *stream;
    } cases[] = {
        {"0@a", true, 0, "a"},  {"123@a-b@c", true, 123, "a-b@c"},
        {"", false, 0, ""},     {"@a", false, 0, ""},
        {"1", false, 0, ""},    {"1@", false, 0, ""},
        {"-1@a", false, 0, ""}, {"99999999999999999999999@a", false, 0, ""},
    };
    for (size_t i = 0; i < STELE_COUNT_OF(cases); i++) {
        uint64_t revision = 0;
        struct stele_text stream = {.data = "", .size = 0};
        CHECK_EQ(stele_kurrent__get_link(stele_bytes_of_text(cases[i].text), &revision, &stream),
                 cases[i].is_link);
        if (cases[i].is_link) {
            CHECK_EQ(revision, cases[i].revision);
            CHECK_SLICE_EQ(stream, cases[i].stream);
        }
    }
}
