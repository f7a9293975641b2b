/* Processes beside each other: a reader follows a live writer, a fork is noticed, and a writer that
 * is killed at any moment loses nothing that it was told to be stored. */
#include "fixture.h"

#include <signal.h>
#include <stdbool.h>
#include <sys/wait.h>

static const struct stele_read_options defaults = STELE_READ_OPTIONS_INIT;

TEST(a_child_of_fork_cannot_use_the_handle)
{
    fixture_begin();
    const pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        const bool refused =
            fixture_append("s", STELE_EXPECT_ANY, 1, "{}", NULL) == STELE_E_FORKED &&
            stele_last_position(store) == 0 && stele_close(store) == STELE_E_FORKED;
        _exit(refused ? 0 : 1);
    }
    int status = 0;
    CHECK_EQ(waitpid(child, &status, 0), child);
    CHECK_EQ(status, 0);
    CHECK_OK(fixture_append("s", STELE_EXPECT_ANY, 1, "{}", NULL), err);
    fixture_end();
}

/* In a child: follows the store until it has seen so many events of the stream "s". */
static int follow_in_child(uint64_t wanted)
{
    struct stele_options options = fixture_options();
    options.read_only = 1;
    struct stele *reader = NULL;
    if (stele_open(fixture_path, &options, &reader, &err) != STELE_OK) {
        return 2;
    }
    const struct stele_event_draft draft = fixture_draft(1, "{}");
    if (stele_append(reader, "s", STELE_EXPECT_ANY, &draft, 1, NULL, &err) != STELE_E_READ_ONLY) {
        return 3;
    }
    struct stele_iterator *iterator = NULL;
    if (stele_read_all(reader, NULL, &iterator, &err) != STELE_OK) {
        return 4;
    }
    uint64_t seen = 0;
    while (seen < wanted) {
        const struct stele_event *events = NULL;
        size_t count = 0;
        const int outcome = stele_iterator_next(iterator, &events, &count, &err);
        if (outcome == STELE_END) {
            const int waited = stele_wait(reader, stele_iterator_position(iterator), 300000, &err);
            if (waited != STELE_OK) {
                return 5;
            }
            continue;
        }
        if (outcome != STELE_OK) {
            return 6;
        }
        for (size_t i = 0; i < count; i++) {
            if (events[i].revision != seen++) {
                return 7;
            }
        }
    }
    struct stele_stream_info info;
    if (stele_stream_info(reader, "s", &info, &err) != STELE_OK ||
        info.revision_last + 1 < wanted) {
        return 8;
    }
    stele_iterator_destroy(iterator);
    return stele_close(reader) == STELE_OK ? 0 : 9;
}

TEST(a_reader_in_another_process_follows_the_writer)
{
    fixture_begin();
    for (uint64_t i = 0; i < 500; i++) {
        CHECK_OK(fixture_append("s", STELE_EXPECT_ANY, i + 1, "{\"some\":\"data\"}", NULL), err);
    }
    const pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        _exit(follow_in_child(4000));
    }
    for (uint64_t i = 500; i < 4000; i++) { /* Over several segments and runs. */
        CHECK_OK(fixture_append("s", STELE_EXPECT_ANY, i + 1, "{\"some\":\"data\"}", NULL), err);
    }
    int status = 0;
    CHECK_EQ(waitpid(child, &status, 0), child);
    CHECK_EQ(status, 0);
    fixture_end();
}

TEST(a_reader_without_a_writer_changes_nothing)
{
    fixture_begin();
    for (uint64_t i = 0; i < 100; i++) {
        CHECK_OK(fixture_append("s", STELE_EXPECT_ANY, i + 1, "{}", NULL), err);
    }
    CHECK_EQ(stele_close(store), STELE_OK);
    struct stele_options options = fixture_options();
    options.read_only = 1;
    fixture_open_with(options);
    CHECK_EQ(fixture_count("s", defaults), 100);
    CHECK_OUTCOME(stele_scavenge(store, NULL, NULL, &err), STELE_E_READ_ONLY, err);
    CHECK_OK(stele_verify(store, NULL, NULL, &err), err);
    fixture_end();
}

/* In a child: appends until it is killed, telling each acknowledged number through the pipe. */
static void append_until_killed(int out)
{
    fixture_open_with(fixture_options());
    struct stele_stream_info info = {.revision_last = 0};
    const int known = stele_stream_info(store, "s", &info, &err);
    uint64_t next = known == STELE_OK ? info.revision_last + 1 : 0;
    for (;; next++) {
        const uint64_t expected = next == 0 ? STELE_EXPECT_NO_STREAM : next - 1;
        if (fixture_append("s", expected, next + 1, "{\"some\":\"data\"}", NULL) != STELE_OK ||
            write(out, &next, sizeof next) != sizeof next) {
            _exit(1);
        }
    }
}

TEST(a_killed_writer_loses_nothing_that_was_acknowledged)
{
    fixture_begin();
    CHECK_EQ(stele_close(store), STELE_OK);
    uint64_t acknowledged = 0; /* Number of events. */
    for (int round = 0; round < 15; round++) {
        int ends[2];
        CHECK_EQ(pipe(ends), 0);
        const pid_t child = fork();
        CHECK(child >= 0);
        if (child == 0) {
            (void)close(ends[0]);
            append_until_killed(ends[1]);
        }
        (void)close(ends[1]);
        uint64_t number = 0;
        if (round % 2 == 0) { /* Otherwise opening may be what is interrupted. */
            CHECK_EQ(read(ends[0], &number, sizeof number), sizeof number);
            acknowledged = number + 1;
        }
        (void)usleep((useconds_t)(5000 + round * 7000));
        CHECK_EQ(kill(child, SIGKILL), 0);
        CHECK_EQ(waitpid(child, NULL, 0), child);
        while (read(ends[0], &number, sizeof number) == sizeof number) {
            acknowledged = number + 1;
        }
        (void)close(ends[0]);
        fixture_open_with(fixture_options());
        const size_t found = fixture_count("s", defaults);
        CHECK(found >= acknowledged);
        CHECK(found <= acknowledged + 1);
        /* One more than was told may be stored in each round: from here on it is known. */
        acknowledged = found;
        CHECK_OK(stele_verify(store, NULL, NULL, &err), err);
        CHECK_EQ(stele_close(store), STELE_OK);
    }
    CHECK(acknowledged > 0);
    fixture_open_with(fixture_options());
    fixture_end();
}
