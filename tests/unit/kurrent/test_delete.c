/* Streams.Delete and Tombstone: what they refuse, in the words that clients look for.
 *
 * Method: states of a stream against expectations, trailers compared as text. */
#include "bench.h"
#include "lib/check.h"

static struct bench bench;
static struct stele_exchange exchange;

static int try_delete(const char *method, const char *stream, uint64_t expected)
{
    return bench_delete(&bench, &exchange, method, stream, expected);
}

static void done(void)
{
    fake_close(bench.grpc, &exchange);
}

TEST(a_delete_answers_a_position)
{
    bench_open(&bench);
    (void)bench_append(&bench, "a", STELE_EXPECT_ANY, 0, 3);
    CHECK_EQ(try_delete("Delete", "a", 2), 0);
    DeleteResp *response =
        bench_next(&bench, &exchange, &event_store__client__streams__delete_resp__descriptor);
    CHECK_EQ(response->position_option_case,
             EVENT_STORE__CLIENT__STREAMS__DELETE_RESP__POSITION_OPTION_POSITION);
    CHECK(response->position->commit_position > 0);
    CHECK_EQ(response->position->commit_position, response->position->prepare_position);
    bench_free(response);
    done();
    bench_close(&bench);
}

TEST(a_wrong_expectation_is_told_with_both_revisions)
{
    bench_open(&bench);
    (void)bench_append(&bench, "a", STELE_EXPECT_ANY, 0, 3);
    static const char *const methods[] = {"Delete", "Tombstone"};
    for (size_t i = 0; i < 2; i++) {
        CHECK_EQ(try_delete(methods[i], "a", 7), 9);
        CHECK_TEXT_EQ(fake_answer(&exchange, "grpc-message"),
                      "Delete failed due to WrongExpectedVersion. Stream: a, Expected version: 7, "
                      "Actual version: 2");
        CHECK_TEXT_EQ(fake_answer(&exchange, "exception"), "wrong-expected-version");
        CHECK_TEXT_EQ(fake_answer(&exchange, "stream-name"), "a");
        CHECK_TEXT_EQ(fake_answer(&exchange, "expected-version"), "7");
        CHECK_TEXT_EQ(fake_answer(&exchange, "actual-version"), "2");
        done();
        CHECK_EQ(try_delete(methods[i], "a", STELE_EXPECT_NO_STREAM), 9);
        CHECK_TEXT_EQ(fake_answer(&exchange, "expected-version"), "-1");
        done();
    }
    bench_close(&bench);
}

TEST(a_stream_that_never_was_cannot_be_deleted_but_tombstoned)
{
    bench_open(&bench);
    CHECK_EQ(try_delete("Delete", "a", STELE_EXPECT_ANY), 9);
    CHECK_TEXT_EQ(fake_answer(&exchange, "actual-version"), "-1");
    done();
    CHECK_EQ(try_delete("Delete", "a", STELE_EXPECT_EXISTS), 9);
    CHECK_TEXT_EQ(fake_answer(&exchange, "actual-version"), "-1");
    done();
    CHECK_EQ(try_delete("Tombstone", "a", STELE_EXPECT_EXISTS), 9);
    done();
    CHECK_EQ(try_delete("Tombstone", "a", STELE_EXPECT_NO_STREAM), 0);
    done();
    CHECK_EQ(try_delete("Tombstone", "b", STELE_EXPECT_ANY), 0);
    done();
    bench_close(&bench);
}

TEST(deleting_twice_is_no_mistake_unless_the_stream_has_to_exist)
{
    bench_open(&bench);
    (void)bench_append(&bench, "a", STELE_EXPECT_ANY, 0, 3);
    CHECK_EQ(try_delete("Delete", "a", STELE_EXPECT_EXISTS), 0);
    done();
    CHECK_EQ(try_delete("Delete", "a", STELE_EXPECT_ANY), 0);
    done();
    CHECK_EQ(try_delete("Delete", "a", 2), 0);
    done();
    CHECK_EQ(try_delete("Delete", "a", 1), 9);
    CHECK_TEXT_EQ(fake_answer(&exchange, "exception"), "wrong-expected-version");
    done();
    CHECK_EQ(try_delete("Delete", "a", STELE_EXPECT_EXISTS), 9);
    CHECK_TEXT_EQ(fake_answer(&exchange, "exception"), "stream-deleted");
    done();
    bench_close(&bench);
}

TEST(a_tombstoned_stream_is_deleted_to_everybody)
{
    bench_open(&bench);
    (void)bench_append(&bench, "a", STELE_EXPECT_ANY, 0, 3);
    CHECK_EQ(try_delete("Tombstone", "a", STELE_EXPECT_ANY), 0);
    done();
    static const char *const methods[] = {"Delete", "Tombstone"};
    for (size_t i = 0; i < 2; i++) {
        CHECK_EQ(try_delete(methods[i], "a", STELE_EXPECT_ANY), 9);
        CHECK_TEXT_EQ(fake_answer(&exchange, "exception"), "stream-deleted");
        CHECK_TEXT_EQ(fake_answer(&exchange, "grpc-message"), "Event stream 'a' is deleted.");
        done();
    }
    /* Its metadata can still be written. */
    (void)bench_append_one(&bench, "$$a", 50, "$metadata", "{\"x\":1}", "", true);
    bench_close(&bench);
}

TEST(metadata_and_all_events_cannot_be_deleted)
{
    bench_open(&bench);
    CHECK_EQ(try_delete("Delete", "$$a", STELE_EXPECT_ANY), 7);
    done();
    CHECK_EQ(try_delete("Tombstone", "$all", STELE_EXPECT_ANY), 7);
    done();
    bench_close(&bench);
}

TEST(metadata_that_is_written_afterwards_does_not_bring_events_back)
{
    struct bench_read read;
    bench_open(&bench);
    (void)bench_append(&bench, "a", STELE_EXPECT_ANY, 0, 3);
    CHECK_EQ(try_delete("Delete", "a", 2), 0);
    done();
    (void)bench_append_one(&bench, "$$a", 50, "$metadata", "{\"x\":1}", "", true);
    bench_read(&read, "a");
    CHECK_TEXT_EQ(bench_said(&bench, &read, ""), "not-found(a) end(0)");
    (void)bench_append(&bench, "a", 2, 10, 1);
    CHECK_TEXT_EQ(bench_said(&bench, &read, ""), "3@a end(0)");
    bench_close(&bench);
}

TEST(a_stream_that_has_only_metadata_can_be_deleted)
{
    bench_open(&bench);
    (void)bench_append_one(&bench, "$$a", 50, "$metadata", "{\"x\":1}", "", true);
    CHECK_EQ(try_delete("Delete", "a", STELE_EXPECT_NO_STREAM), 0);
    done();
    CHECK_EQ(try_delete("Delete", "a", STELE_EXPECT_ANY), 0);
    done();
    bench_close(&bench);
}
