/* A read hands out every event that it should, once, in order, and no other.
 *
 * Method: a store whose content is a simple function of a number, so that what a read must give can
 * be computed; every combination of direction, start, limit and bound; while memory, runs, merged
 * runs and packed segments all hold a part of it. */
#include "fixture.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

#define EVENTS 3000
#define STREAMS 7

static uint64_t positions[EVENTS];

/* Event number n: stream "cat<n mod 3>-<n mod 7>", type "T<n mod 5>", tag "t<n mod 11>". */
static void fill(void)
{
    for (uint64_t n = 0; n < EVENTS; n++) {
        char stream[32];
        char type[8];
        char tag[8];
        char data[64];
        (void)snprintf(stream, sizeof stream, "cat%d-%d", (int)(n % STREAMS % 3),
                       (int)(n % STREAMS));
        (void)snprintf(type, sizeof type, "T%d", (int)(n % 5));
        (void)snprintf(tag, sizeof tag, "t%d", (int)(n % 11));
        (void)snprintf(data, sizeof data, "{\"number\":%d}", (int)n);
        const char *const tags[] = {tag, "all"};
        struct stele_event_draft draft = fixture_draft(n + 1, data);
        draft.type = type;
        draft.tags = tags;
        draft.tags_count = 2;
        struct stele_append_result result;
        CHECK_OK(stele_append(store, stream, STELE_EXPECT_ANY, &draft, 1, &result, &err), err);
        positions[n] = result.position_last;
    }
}

static uint64_t number_of(const struct stele_event *event)
{
    return strtoull((const char *)event->data + strlen("{\"number\":"), NULL, 10);
}

/* Reads and compares with all numbers n for which wanted(n) is true, in order. */
static void expect(const char *stream, struct stele_read_options options,
                   bool (*wanted)(uint64_t n, uint64_t of), uint64_t of)
{
    struct stele_iterator *iterator = NULL;
    CHECK_OK(stele_read_stream(store, stream, &options, &iterator, &err), err);
    const struct stele_event *events = NULL;
    size_t count = 0;
    size_t at = 0;
    uint64_t given = 0;
    for (uint64_t i = 0; i < EVENTS; i++) {
        const uint64_t n = options.backwards ? EVENTS - 1 - i : i;
        if (!wanted(n, of) || (options.limit != 0 && given == options.limit) ||
            (options.as_of != 0 && positions[n] > options.as_of)) {
            continue;
        }
        if (at == count) {
            CHECK_OK(stele_iterator_next(iterator, &events, &count, &err), err);
            CHECK(count > 0);
            at = 0;
        }
        CHECK_EQ(number_of(&events[at]), n);
        CHECK_EQ(events[at].position, positions[n]);
        at++;
        given++;
    }
    CHECK_EQ(at, count);
    CHECK_OUTCOME(stele_iterator_next(iterator, &events, &count, &err), STELE_END, err);
    CHECK_OUTCOME(stele_iterator_next(iterator, &events, &count, &err), STELE_END, err);
    stele_iterator_destroy(iterator);
}

static bool any(uint64_t n, uint64_t of)
{
    (void)n;
    (void)of;
    return true;
}

static bool in_stream(uint64_t n, uint64_t of)
{
    return n % STREAMS == of;
}

static bool in_category(uint64_t n, uint64_t of)
{
    return n % STREAMS % 3 == of;
}

static bool of_type(uint64_t n, uint64_t of)
{
    return n % 5 == of;
}

static bool of_tag(uint64_t n, uint64_t of)
{
    return n % 11 == of;
}

static bool at_or_after(uint64_t n, uint64_t of)
{
    return n >= of;
}

static bool at_or_before(uint64_t n, uint64_t of)
{
    return n <= of;
}

static bool of_type_at_or_after(uint64_t n, uint64_t of)
{
    return n >= of && n % 5 == 3;
}

static bool of_type_at_or_before(uint64_t n, uint64_t of)
{
    return n <= of && n % 5 == 3;
}

static bool regex_and_prefix(uint64_t n, uint64_t of)
{
    (void)of;
    return (n % 5 == 1 || n % 5 == 2) && n % STREAMS % 3 == 1;
}

static bool nothing(uint64_t n, uint64_t of)
{
    (void)n;
    (void)of;
    return false;
}

static void read_everything(void)
{
    for (int backwards = 0; backwards < 2; backwards++) {
        struct stele_read_options options = STELE_READ_OPTIONS_INIT;
        options.backwards = backwards;
        options.from = backwards ? STELE_FROM_END : STELE_FROM_START;
        const uint64_t limits[] = {0, 1, 2, 255, 256, 257, 1000};
        const uint64_t bounds[] = {0,
                                   positions[0],
                                   positions[1] - 1,
                                   positions[EVENTS / 2],
                                   positions[EVENTS - 1],
                                   positions[EVENTS - 1] + 5};
        for (size_t l = 0; l < sizeof limits / sizeof limits[0]; l++) {
            for (size_t b = 0; b < sizeof bounds / sizeof bounds[0]; b++) {
                options.limit = limits[l];
                options.as_of = bounds[b];
                expect("$all", options, any, 0);
                expect("cat1-4", options, in_stream, 4);
                expect("$ce-cat2", options, in_category, 2);
                expect("$et-T3", options, of_type, 3);
            }
        }
        options.limit = 0;
        options.as_of = 0;
        for (uint64_t n = 0; n < EVENTS; n += 97) {
            options.from = positions[n];
            expect("$all", options, backwards ? at_or_before : at_or_after, n);
            expect("$et-T3", options, backwards ? of_type_at_or_before : of_type_at_or_after, n);
            options.from = positions[n] + (backwards ? 1 : (uint64_t)-1);
            expect("$all", options, backwards ? at_or_before : at_or_after, n);
        }
    }
}

static void read_filtered(void)
{
    for (int backwards = 0; backwards < 2; backwards++) {
        struct stele_read_options options = STELE_READ_OPTIONS_INIT;
        options.backwards = backwards;
        options.from = backwards ? STELE_FROM_END : STELE_FROM_START;
        const char *const tags[] = {"t7", "all"};
        const char *const prefixes[] = {"cat1"};
        const char *const types[] = {"T3"};
        const char *const none[] = {"nowhere"};
        struct stele_filter filter = {.tags = tags, .tags_count = 2};
        options.filter = &filter;
        expect("$all", options, of_tag, 7);
        filter = (struct stele_filter){.types = types, .types_count = 1};
        expect("$all", options, of_type, 3);
        filter = (struct stele_filter){.type_regex = "^T[12]$",
                                       .stream_prefixes = prefixes,
                                       .stream_prefixes_count = 1,
                                       .exclude_system = 1};
        expect("$all", options, regex_and_prefix, 0);
        filter = (struct stele_filter){.streams = none, .streams_count = 1};
        expect("$all", options, nothing, 0);
        filter = (struct stele_filter){.categories = none, .categories_count = 1};
        expect("$all", options, nothing, 0);
    }
}

TEST(every_read_gives_exactly_what_it_should)
{
    fixture_begin();
    fill();
    read_everything();
    read_filtered();
    fixture_reopen();
    read_everything();
    read_filtered();
    fixture_end();
}

TEST(revisions_bound_reads_of_a_stream)
{
    fixture_begin();
    for (uint64_t i = 0; i < 600; i++) {
        CHECK_OK(fixture_append("s", STELE_EXPECT_ANY, i + 1, "{}", NULL), err);
    }
    for (uint64_t from = 0; from < 602; from += 43) {
        struct stele_read_options options = STELE_READ_OPTIONS_INIT;
        options.from = from;
        CHECK_EQ(fixture_count("s", options), from > 600 ? 0 : 600 - from);
        options.backwards = 1;
        CHECK_EQ(fixture_count("s", options), from >= 600 ? 600 : from + 1);
    }
    fixture_end();
}

TEST(a_bad_filter_is_told_with_its_place)
{
    fixture_begin();
    struct stele_filter filter = {.type_regex = "a(b"};
    struct stele_read_options options = STELE_READ_OPTIONS_INIT;
    options.filter = &filter;
    struct stele_iterator *iterator = NULL;
    CHECK_OUTCOME(stele_read_all(store, &options, &iterator, &err), STELE_E_INVALID, err);
    CHECK_TEXT_HAS(err.message, "character");
    options.filter = NULL;
    options.token = "s1-7fffffffffffffff";
    CHECK_OUTCOME(stele_read_all(store, &options, &iterator, &err), STELE_E_INVALID, err);
    options.token = "nonsense";
    CHECK_OUTCOME(stele_read_all(store, &options, &iterator, &err), STELE_E_INVALID, err);
    fixture_end();
}

TEST(an_iterator_at_the_end_goes_on_after_further_appends)
{
    fixture_begin();
    struct stele_iterator *all = NULL;
    CHECK_OK(stele_read_all(store, NULL, &all, &err), err);
    const struct stele_event *events = NULL;
    size_t count = 0;
    CHECK_OUTCOME(stele_iterator_next(all, &events, &count, &err), STELE_END, err);
    for (uint64_t i = 0; i < 1000; i++) {
        CHECK_OK(fixture_append("s", STELE_EXPECT_ANY, i + 1, "{}", NULL), err);
        CHECK_OK(stele_iterator_next(all, &events, &count, &err), err);
        CHECK_EQ(count, 1);
        CHECK_EQ(events[0].revision, i);
        CHECK_OUTCOME(stele_iterator_next(all, &events, &count, &err), STELE_END, err);
        CHECK_EQ(stele_iterator_position(all), stele_last_position(store));
    }
    stele_iterator_destroy(all);
    fixture_end();
}

/* ---- Subscriptions ---- */

struct seen {
    _Atomic uint64_t count;
    uint64_t next;
    uint64_t checkpoint;
    _Atomic int wrong;
    _Atomic int caught_up;
};

static int on_events(void *context, const struct stele_event *events, size_t count,
                     uint64_t checkpoint)
{
    struct seen *seen = context;
    for (size_t i = 0; i < count; i++) {
        const uint64_t n = number_of(&events[i]);
        if (n != seen->next || events[i].position <= seen->checkpoint) {
            atomic_store(&seen->wrong, 1);
        }
        seen->next = n + 1;
        seen->checkpoint = events[i].position;
    }
    if (checkpoint < seen->checkpoint) {
        atomic_store(&seen->wrong, 1);
    }
    atomic_fetch_add(&seen->caught_up, count == 0 ? 1 : 0);
    atomic_fetch_add(&seen->count, count);
    return 0;
}

static void *append_numbers(void *context)
{
    (void)context;
    for (uint64_t n = 0; n < EVENTS; n++) {
        struct stele_error mine = {.outcome = 0};
        char data[64];
        (void)snprintf(data, sizeof data, "{\"number\":%d}", (int)n);
        const struct stele_event_draft draft = fixture_draft(n + 1, data);
        CHECK_OK(stele_append(store, "feed", STELE_EXPECT_ANY, &draft, 1, NULL, &mine), mine);
    }
    return NULL;
}

TEST(subscriptions_skip_nothing_and_repeat_nothing)
{
    fixture_begin();
    pthread_t thread;
    CHECK_EQ(pthread_create(&thread, NULL, append_numbers, NULL), 0);
    struct seen seen[8];
    struct stele_subscription *subscriptions[8];
    memset(seen, 0, sizeof seen);
    for (size_t i = 0; i < 8; i++) {
        (void)usleep((useconds_t)(i * 5000)); /* Each begins at another moment of the history. */
        CHECK_OK(stele_subscribe(store, i % 2 == 0 ? NULL : "feed", NULL, on_events, NULL, &seen[i],
                                 &subscriptions[i], &err),
                 err);
    }
    CHECK_EQ(pthread_join(thread, NULL), 0);
    for (size_t i = 0; i < 8; i++) {
        while (atomic_load(&seen[i].count) < EVENTS || atomic_load(&seen[i].caught_up) == 0) {
            CHECK_EQ(atomic_load(&seen[i].wrong), 0);
            (void)usleep(1000);
        }
        stele_unsubscribe(subscriptions[i]);
        CHECK_EQ(atomic_load(&seen[i].wrong), 0);
        CHECK_EQ(atomic_load(&seen[i].count), EVENTS);
        CHECK(atomic_load(&seen[i].caught_up) > 0);
    }
    fixture_end();
}

TEST(a_subscription_refuses_what_makes_no_sense)
{
    fixture_begin();
    struct stele_subscription *subscription = NULL;
    struct stele_read_options options = STELE_READ_OPTIONS_INIT;
    options.backwards = 1;
    CHECK_OUTCOME(stele_subscribe(store, "s", &options, on_events, NULL, NULL, &subscription, &err),
                  STELE_E_INVALID, err);
    options.backwards = 0;
    CHECK_OUTCOME(stele_subscribe(store, "s", &options, NULL, NULL, NULL, &subscription, &err),
                  STELE_E_INVALID, err);
    stele_unsubscribe(NULL);
    stele_iterator_destroy(NULL);
    fixture_end();
}

TEST(waiting_ends_with_an_event_or_with_the_time)
{
    fixture_begin();
    CHECK_OUTCOME(stele_wait(store, 0, 20, &err), STELE_TIMED_OUT, err);
    CHECK_OK(fixture_append("s", STELE_EXPECT_ANY, 1, "{}", NULL), err);
    CHECK_OK(stele_wait(store, 0, 0, &err), err);
    CHECK_OUTCOME(stele_wait(store, stele_last_position(store), 0, &err), STELE_TIMED_OUT, err);
    fixture_end();
}

/* ---- By ordinal, with bounded work, told of what is new ---- */

/* The numbers n with n mod 5 == 3 are the type T3: its ordinal k is the number 5k + 3. */
static void expect_ordinals(uint64_t from, int backwards, uint64_t scan_max)
{
    struct stele_read_options options = STELE_READ_OPTIONS_INIT;
    options.from = from;
    options.backwards = backwards;
    options.by_ordinal = 1;
    options.scan_max = scan_max;
    struct stele_iterator *iterator = NULL;
    CHECK_OK(stele_read_stream(store, "$et-T3", &options, &iterator, &err), err);
    const uint64_t total = EVENTS / 5;
    uint64_t next = backwards ? (from < total ? from : total - 1) : from;
    uint64_t left = backwards ? next + 1 : (from < total ? total - from : 0);
    for (;;) {
        const struct stele_event *events = NULL;
        size_t count = 0;
        const int outcome = stele_iterator_next(iterator, &events, &count, &err);
        if (outcome == STELE_END) {
            break;
        }
        CHECK_OK(outcome, err);
        for (size_t i = 0; i < count; i++, left--) {
            CHECK(left > 0);
            CHECK_EQ(stele_iterator_ordinal(iterator, i), next);
            CHECK_EQ(number_of(&events[i]), 5 * next + 3);
            next += backwards ? UINT64_MAX : 1;
        }
    }
    CHECK_EQ(left, 0);
    stele_iterator_destroy(iterator);
}

static void expect_all_ordinals(void)
{
    const uint64_t froms[] = {0, 1, 255, 256, 300, EVENTS / 5 - 1, EVENTS / 5, 100000};
    for (size_t i = 0; i < sizeof froms / sizeof froms[0]; i++) {
        expect_ordinals(froms[i], 0, 0);
        expect_ordinals(froms[i], 0, 7);
        expect_ordinals(froms[i], 1, 0);
        expect_ordinals(froms[i], 1, 7);
    }
    expect_ordinals(UINT64_MAX, 1, 0);
}

TEST(types_can_be_read_by_ordinal_also_while_the_index_is_missing)
{
    fixture_begin();
    fill();
    expect_all_ordinals();
    CHECK_EQ(stele_close(store), STELE_OK);
    char command[128];
    (void)snprintf(command, sizeof command, "rm -f %s/*.run", fixture_path);
    CHECK_EQ(system(command), 0);
    fixture_open_with(fixture_options());
    expect_all_ordinals();
    struct stele_read_options options = STELE_READ_OPTIONS_INIT;
    options.by_ordinal = 1;
    struct stele_iterator *iterator = NULL;
    CHECK_OUTCOME(stele_read_stream(store, "cat0-0", &options, &iterator, &err), STELE_E_INVALID,
                  err);
    CHECK_OUTCOME(stele_read_all(store, &options, &iterator, &err), STELE_E_INVALID, err);
    fixture_end();
}

TEST(a_read_that_finds_nothing_comes_back_after_scan_max_events)
{
    FIXTURE_EMBEDDED_ONLY();
    fixture_begin();
    fill();
    const char *const prefixes[] = {"nobody"};
    const struct stele_filter filter = {.stream_prefixes = prefixes, .stream_prefixes_count = 1};
    for (int backwards = 0; backwards < 2; backwards++) {
        struct stele_read_options options = STELE_READ_OPTIONS_INIT;
        options.filter = &filter;
        options.scan_max = 100;
        options.backwards = backwards;
        options.from = backwards ? UINT64_MAX : 0;
        struct stele_iterator *iterator = NULL;
        CHECK_OK(stele_read_all(store, &options, &iterator, &err), err);
        int outcome = STELE_OK;
        uint64_t calls = 0;
        for (;; calls++) {
            const struct stele_event *events = NULL;
            size_t count = 1;
            const uint64_t scanned = stele_iterator_scanned(iterator);
            outcome = stele_iterator_next(iterator, &events, &count, &err);
            CHECK(stele_iterator_scanned(iterator) - scanned <= 100);
            if (outcome == STELE_END) {
                break;
            }
            CHECK_OK(outcome, err);
            CHECK_EQ(count, 0);
        }
        CHECK(calls >= EVENTS / 100 - 1);
        CHECK_EQ(stele_iterator_scanned(iterator), EVENTS);
        stele_iterator_destroy(iterator);
    }
    fixture_end();
}

static void count_up(void *context)
{
    (void)atomic_fetch_add((_Atomic int *)context, 1);
}

TEST(whoever_asked_is_told_of_what_has_become_visible)
{
    FIXTURE_EMBEDDED_ONLY();
    static _Atomic int told;
    fixture_begin();
    stele_on_visible(store, count_up, &told);
    for (uint64_t n = 1; n <= 10; n++) {
        const int before = atomic_load(&told);
        CHECK_OK(fixture_append("s", STELE_EXPECT_ANY, n, "{}", NULL), err);
        CHECK(atomic_load(&told) > before);
    }
    stele_on_visible(store, NULL, NULL);
    const int before = atomic_load(&told);
    CHECK_OK(fixture_append("s", STELE_EXPECT_ANY, 11, "{}", NULL), err);
    CHECK_EQ(atomic_load(&told), before);
    fixture_end();
}
