/* What is about a person is sealed before it is stored, opened when it is read, and gone once it is shredded.
 *
 * Method: canaries, texts that stand nowhere else, go into the payload, fields and metadata of events; files
 * are searched for them, byte by byte; reads are compared with what was appended. The same tests run against a
 * server, which has no keyring. */
#include "keys_fixture.h"

#include <pthread.h>

TEST(a_sealed_payload_is_read_as_it_was_appended_and_stands_in_no_file)
{
    begin();
    CHECK_OK(
        append_for("note-1", STELE_EXPECT_NO_STREAM, 1, "{\"text\":\"" CANARY "\"}", "ada", NULL),
        err);
    read_at("note-1", 0);
    CHECK_OK(got.outcome, err);
    CHECK_TEXT_EQ(got.data, "{\"text\":\"" CANARY "\"}");
    CHECK_TEXT_EQ(got.content_type, "application/json");
    CHECK_EQ(got.flags, STELE_EVENT_JSON);
    CHECK_EQ(files_with_canary(), 0);
    reopen();
    read_at("note-1", 0);
    CHECK_TEXT_EQ(got.data, "{\"text\":\"" CANARY "\"}");
    /* Without a keyring it is handed out as it is stored. */
    CHECK_OK(stele_use_keyring(store, NULL, NULL, &err), err);
    read_at("note-1", 0);
    CHECK_TEXT_EQ(got.content_type, STELE_SEALED_TYPE);
    end();
}

TEST(marked_fields_are_sealed_and_every_other_byte_stays)
{
    static const char data[] = "{ \"id\" : 7, \"name\":\"" CANARY
                               "\", \"lines\":[{\"note\":{\"a\":[1,2]}},{\"note\":null}],\n"
                               "\"n\\u0061me2\": 1.50, \"rest\": [] }";
    begin();
    set_policy("{\"seal\":[{\"types\":[\"Customer*\"],\"subject\":\"/id\","
               "\"fields\":[\"/name\",\"/lines/*/note\",\"/name2\",\"/absent\"]}]}");
    const struct stele_event_draft draft = draft_of(1, "CustomerRegistered", data);
    CHECK_OK(stele_append(store, "customer-7", STELE_EXPECT_ANY, &draft, 1, NULL, &err), err);
    read_at("customer-7", 0);
    CHECK_TEXT_EQ(got.data, data);
    CHECK_TEXT_EQ(got.content_type, "application/json");
    CHECK_EQ(files_with_canary(), 0);
    CHECK_OK(stele_use_keyring(store, NULL, NULL, &err), err);
    read_at("customer-7", 0);
    CHECK_TEXT_EQ(got.content_type, STELE_SEALED_JSON_TYPE);
    CHECK_TEXT_HAS(got.data, "{ \"id\" : 7, \"name\":{\"$sealed\":\"");
    CHECK_TEXT_HAS(got.data, "\"lines\":[{\"note\":{\"$sealed\":\"");
    CHECK_TEXT_HAS(got.data, "\"n\\u0061me2\": {\"$sealed\":\"");
    CHECK_TEXT_HAS(got.data, "\"}, \"rest\": [] }");
    CHECK_OK(stele_use_keyring(store, keyring, NULL, &err), err);
    CHECK_OK(stele_shred(store, "7", 0, NULL, &err), err);
    read_at("customer-7", 0);
    CHECK_OK(got.outcome, err);
    CHECK_TEXT_EQ(got.data,
                  "{ \"id\" : 7, \"name\":null, \"lines\":[{\"note\":null},{\"note\":null}],\n"
                  "\"n\\u0061me2\": null, \"rest\": [] }");
    CHECK_EQ(got.flags, STELE_EVENT_JSON | STELE_EVENT_SHREDDED);
    end();
}

TEST(metadata_is_sealed_on_demand_and_says_when_it_was_shredded)
{
    begin();
    set_policy("{\"seal\":[{\"types\":[\"Noted\"],\"subject\":\"$stream\",\"metadata\":true}]}");
    struct stele_event_draft draft = draft_of(1, "Noted", "not JSON at all");
    draft.content_type = "text/plain";
    draft.metadata = "{\"ip\":\"" CANARY "\"}";
    draft.metadata_size = strlen(draft.metadata);
    CHECK_OK(stele_append(store, "note-1", STELE_EXPECT_ANY, &draft, 1, NULL, &err), err);
    CHECK_EQ(files_with_canary(), 0);
    read_at("note-1", 0);
    CHECK_TEXT_EQ(got.data, "not JSON at all");
    CHECK_TEXT_EQ(got.content_type, "text/plain");
    CHECK_TEXT_EQ(got.metadata, "{\"ip\":\"" CANARY "\"}");
    CHECK_EQ(got.flags, 0);
    CHECK_OK(stele_shred(store, "note-1", 0, NULL, &err), err);
    read_at("note-1", 0);
    CHECK_TEXT_EQ(got.data, "null");
    CHECK_TEXT_EQ(got.content_type, "application/json");
    CHECK_TEXT_EQ(got.metadata, "{\"$shredded\":true}");
    CHECK_EQ(got.flags, STELE_EVENT_JSON | STELE_EVENT_SHREDDED);
    end();
}

TEST(a_shredded_subject_is_gone_for_good_and_others_are_not)
{
    struct stele_shred_result result;
    begin();
    CHECK_OK(append_for("a", STELE_EXPECT_ANY, 1, "of ada", "ada", NULL), err);
    CHECK_OK(append_for("a", STELE_EXPECT_ANY, 2, "of bob", "bob", NULL), err);
    CHECK_OK(stele_shred(store, "ada", 0, &result, &err), err);
    CHECK_EQ(result.repeated, 0);
    for (int i = 0; i < 2; i++) {
        read_at("a", 0);
        CHECK_OK(got.outcome, err);
        CHECK_TEXT_EQ(got.data, "null");
        CHECK((got.flags & STELE_EVENT_SHREDDED) != 0);
        read_at("a", 1);
        CHECK_TEXT_EQ(got.data, "of bob");
        reopen();
    }
    /* Nothing can be sealed for her any more, and nothing was appended. */
    CHECK_OUTCOME(append_for("a", STELE_EXPECT_ANY, 3, "again", "ada", NULL), STELE_E_KEY, err);
    CHECK_TEXT_HAS(err.message, "was shredded");
    CHECK_EQ(fixture_count("a", (struct stele_read_options)STELE_READ_OPTIONS_INIT), 2);
    end();
}

TEST(shredding_appends_one_record_and_one_redaction_however_often_it_is_repeated)
{
    struct stele_shred_result first;
    struct stele_shred_result second;
    begin();
    CHECK_OK(append_for("a", STELE_EXPECT_ANY, 1, "x", "ada \"the\" first", NULL), err);
    CHECK_OK(stele_shred(store, "ada \"the\" first", 0, &first, &err), err);
    reopen();
    CHECK_OK(stele_shred(store, "ada \"the\" first", 0, &second, &err), err);
    CHECK_EQ(second.repeated, 1);
    CHECK_EQ(first.erased_us, second.erased_us);
    CHECK_EQ(first.erasure_position, second.erasure_position);
    CHECK_EQ(first.redaction_position, second.redaction_position);
    const struct stele_read_options all = STELE_READ_OPTIONS_INIT;
    CHECK_EQ(fixture_count(STELE_ERASURES_STREAM, all), 1);
    CHECK_EQ(fixture_count(STELE_REDACTIONS_STREAM, all), 1);
    read_at(STELE_REDACTIONS_STREAM, 0);
    CHECK_TEXT_HAS(got.data, "{\"subject\":\"ada \\u0022the\\u0022 first\",\"key\":\"");
    CHECK_OUTCOME(stele_shred(store, "nobody", 0, NULL, &err), STELE_NOT_FOUND, err);
    CHECK_OUTCOME(stele_shred(store, "", 0, NULL, &err), STELE_E_INVALID, err);
    end();
}

TEST(an_anonymous_redaction_does_not_name_the_subject)
{
    begin();
    CHECK_OK(append_for("a", STELE_EXPECT_ANY, 1, "x", CANARY, NULL), err);
    CHECK_OK(stele_shred(store, CANARY, 1, NULL, &err), err);
    read_at(STELE_REDACTIONS_STREAM, 0);
    CHECK_TEXT_HAS(got.data, "{\"key\":\"");
    CHECK_EQ(files_with_canary(), 0);
    end();
}

static int count_valid(void *context, const struct stele_erasure *erasure)
{
    uint32_t *counts = context;
    counts[erasure->valid ? 0 : 1]++;
    CHECK((erasure->valid != 0) == (erasure->why == NULL));
    return 0;
}

TEST(erasure_records_are_verified_with_the_public_key_alone)
{
    struct stele_keyring_info info;
    uint32_t counts[2] = {0, 0};
    begin();
    CHECK_OK(stele_keyring_info(keyring, &info, &err), err);
    CHECK_OK(stele_verify_erasures(store, info.public_key, count_valid, counts, &err), err);
    CHECK_OK(append_for("a", STELE_EXPECT_ANY, 1, "x", "ada", NULL), err);
    CHECK_OK(stele_shred(store, "ada", 0, NULL, &err), err);
    CHECK_OK(stele_use_keyring(store, NULL, NULL, &err), err);
    CHECK_OK(stele_verify_erasures(store, info.public_key, count_valid, counts, &err), err);
    CHECK_EQ(counts[0], 1);
    /* What somebody else appends there is told, and counts for nothing. */
    read_at(STELE_ERASURES_STREAM, 0);
    char *digit = strstr(got.data, "\"signature\":\"") + 13;
    *digit = *digit == '0' ? '1' : '0';
    const struct stele_event_draft forged = draft_of(99, "SubjectErased", got.data);
    CHECK_OK(stele_append(store, STELE_ERASURES_STREAM, STELE_EXPECT_ANY, &forged, 1, NULL, &err),
             err);
    counts[0] = 0;
    CHECK_OUTCOME(stele_verify_erasures(store, info.public_key, count_valid, counts, &err),
                  STELE_E_CORRUPT, err);
    CHECK_EQ(counts[0], 1);
    CHECK_EQ(counts[1], 1);
    end();
}

TEST(a_forged_erasure_record_erases_nothing)
{
    begin();
    CHECK_OK(append_for("a", STELE_EXPECT_ANY, 1, "of ada", "ada", NULL), err);
    CHECK_OK(append_for("a", STELE_EXPECT_ANY, 2, "of bob", "bob", NULL), err);
    CHECK_OK(stele_shred(store, "ada", 0, NULL, &err), err);
    read_at(STELE_ERASURES_STREAM, 0);
    /* Bob's key id in Ada's record. */
    char own[4096];
    memcpy(own, got.data, sizeof own);
    CHECK_OK(stele_use_keyring(store, NULL, NULL, &err), err);
    read_at("a", 1);
    char *at = strstr(own, "\"key\":\"") + 7;
    for (int i = 0; i < 16; i++) {
        char hex[3];
        (void)snprintf(hex, sizeof hex, "%02x", (unsigned char)got.data[4 + i]);
        memcpy(at + 2 * i, hex, 2);
    }
    const struct stele_event_draft forged = draft_of(99, "SubjectErased", own);
    CHECK_OK(stele_append(store, STELE_ERASURES_STREAM, STELE_EXPECT_ANY, &forged, 1, NULL, &err),
             err);
    uint32_t erased = 9;
    CHECK_OK(stele_use_keyring(store, keyring, &erased, &err), err);
    CHECK_EQ(erased, 0);
    read_at("a", 1);
    CHECK_TEXT_EQ(got.data, "of bob");
    end();
}

TEST(retries_with_the_same_ids_store_once_whatever_is_expected)
{
    static const uint64_t expectations[] = {STELE_EXPECT_ANY, STELE_EXPECT_EXISTS, 0};
    struct stele_append_result first;
    struct stele_append_result again;
    begin();
    CHECK_OK(append_for("a", STELE_EXPECT_NO_STREAM, 1, "0", "ada", &first), err);
    CHECK_OK(append_for("a", STELE_EXPECT_NO_STREAM, 1, "0", "ada", &again), err);
    CHECK_EQ(again.idempotent, 1);
    CHECK_EQ(again.position_last, first.position_last);
    for (size_t i = 0; i < 3; i++) {
        char stream[16];
        (void)snprintf(stream, sizeof stream, "s-%zu", i);
        CHECK_OK(append_for(stream, STELE_EXPECT_ANY, 10, "0", "ada", NULL), err);
        CHECK_OK(append_for(stream, expectations[i], 11, "1", "ada", &first), err);
        CHECK_EQ(first.idempotent, 0);
        CHECK_OK(append_for(stream, STELE_EXPECT_ANY, 12, "2", "ada", NULL), err);
        CHECK_OK(append_for(stream, expectations[i], 11, "1", "ada", &again), err);
        CHECK_EQ(again.idempotent, 1);
        CHECK_EQ(again.revision_last, 1);
        CHECK_EQ(again.position_last, first.position_last);
        CHECK_EQ(fixture_count(stream, (struct stele_read_options)STELE_READ_OPTIONS_INIT), 3);
        read_at(stream, 2);
        CHECK_TEXT_EQ(got.data, "2");
    }
    CHECK_OUTCOME(append_for("none", STELE_EXPECT_EXISTS, 20, "x", "ada", NULL),
                  STELE_WRONG_REVISION, err);
    CHECK_OUTCOME(append_for("a", 7, 21, "x", "ada", &again), STELE_WRONG_REVISION, err);
    CHECK_EQ(again.revision_last, 0);
    end();
}

TEST(a_stream_that_was_deleted_goes_on_sealed)
{
    begin();
    for (uint64_t i = 0; i < 3; i++) {
        const uint64_t expected = i == 1 ? STELE_EXPECT_NO_STREAM : STELE_EXPECT_ANY;
        CHECK_OK(append_for("a", expected, 10 + i, "text", "ada", NULL), err);
        read_at("a", i);
        CHECK_EQ(got.revision, i);
        CHECK_TEXT_EQ(got.data, "text");
        CHECK_OK(stele_delete(store, "a", STELE_EXPECT_ANY, NULL, &err), err);
    }
    CHECK_OUTCOME(append_for("a", STELE_EXPECT_EXISTS, 20, "text", "ada", NULL),
                  STELE_WRONG_REVISION, err);
    CHECK_OK(stele_tombstone(store, "a", STELE_EXPECT_ANY, NULL, &err), err);
    CHECK_OUTCOME(append_for("a", STELE_EXPECT_ANY, 21, "text", "ada", NULL), STELE_STREAM_DELETED,
                  err);
    end();
}

#define THREADS 4
#define EACH 25

static void *append_many_times(void *context)
{
    const int thread = *(const int *)context;
    for (int i = 0; i < EACH; i++) {
        char data[32];
        (void)snprintf(data, sizeof data, "%d-%d", thread, i);
        struct stele_event_draft draft = draft_of((uint64_t)(1000 * thread + i), "Noted", data);
        const struct stele_append one = {"hot", STELE_EXPECT_ANY, &draft, 1};
        const struct stele_seal seal = {.subject = thread % 2 == 0 ? "ada" : "bob"};
        const struct stele_seal *const seals[] = {&seal};
        struct stele_error own = {.outcome = STELE_OK};
        const int outcome = stele_append_sealed(store, &one, seals, 1, NULL, 0, NULL, NULL, &own);
        CHECK(outcome == STELE_OK || outcome == STELE_E_OVERLOADED);
        i -= outcome == STELE_OK ? 0 : 1;
    }
    return NULL;
}

TEST(threads_that_append_to_one_stream_at_any_revision_all_can_be_read)
{
    pthread_t threads[THREADS];
    int numbers[THREADS];
    begin();
    for (int i = 0; i < THREADS; i++) {
        numbers[i] = i;
        CHECK_EQ(pthread_create(&threads[i], NULL, append_many_times, &numbers[i]), 0);
    }
    for (int i = 0; i < THREADS; i++) {
        CHECK_EQ(pthread_join(threads[i], NULL), 0);
    }
    int next[THREADS] = {0};
    for (uint64_t i = 0; i < THREADS * EACH; i++) {
        int thread = 0;
        int number = 0;
        read_at("hot", i);
        CHECK_OK(got.outcome, err);
        CHECK_EQ(sscanf(got.data, "%d-%d", &thread, &number), 2);
        CHECK_EQ(number, next[thread]);
        next[thread]++;
    }
    end();
}

TEST(several_streams_with_and_without_seals_are_one_append)
{
    begin();
    const struct stele_event_draft drafts[3] = {draft_of(1, "A", "{\"n\":1}"),
                                                draft_of(2, "B", "{\"n\":2}"),
                                                draft_of(3, "C", "{\"n\":3}")};
    const struct stele_append streams[2] = {{"x", STELE_EXPECT_ANY, drafts, 2},
                                            {"y", STELE_EXPECT_NO_STREAM, drafts + 2, 1}};
    const struct stele_seal seals_x[2] = {{.subject = NULL}, {.subject = "ada"}};
    const struct stele_seal *const seals[2] = {seals_x, NULL};
    CHECK_OK(stele_append_sealed(store, streams, seals, 2, NULL, 0, NULL, NULL, &err), err);
    CHECK_OK(stele_shred(store, "ada", 0, NULL, &err), err);
    read_at("x", 0);
    CHECK_TEXT_EQ(got.data, "{\"n\":1}");
    read_at("x", 1);
    CHECK_TEXT_EQ(got.data, "null");
    read_at("y", 0);
    CHECK_TEXT_EQ(got.data, "{\"n\":3}");
    end();
}

TEST(what_cannot_be_sealed_is_refused_before_anything_is_stored)
{
    static const char *const name[] = {"/name"};
    static const char *const no_pointer[] = {"name"};
    begin();
    set_policy("{\"seal\":[{\"types\":[\"T\"],\"subject\":\"/id\",\"fields\":[\"/name\"]}]}");
    static const struct {
        const char *data;
        const char *message;
    } bad[] = {
        {"{\"name\":\"x\"}", "nothing"},
        {"{\"id\":{}}", "neither a text nor an integer"},
        {"{\"id\":1,\"id\":2}", "several values"},
        {"{\"id\":\"\"}", "empty"},
        {"{\"id\":1", "no JSON"},
        {"", "no JSON"},
        {"{\"id\":1,\"x\":{\"$sealed\":\"y\"}}", "$sealed"},
        {"{\"id\":1,\"x\":{\"$\\u0073ealed\":\"y\"}}", "$sealed"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        const struct stele_event_draft draft = draft_of(i + 1, "T", bad[i].data);
        CHECK_OUTCOME(stele_append(store, "a", STELE_EXPECT_ANY, &draft, 1, NULL, &err),
                      STELE_E_INVALID, err);
        CHECK_TEXT_HAS(err.message, bad[i].message);
    }
    struct stele_event_draft draft = draft_of(50, "U", "text");
    draft.content_type = "text/plain";
    const struct stele_append one = {"a", STELE_EXPECT_ANY, &draft, 1};
    const struct stele_seal fields = {.subject = "ada", .fields = name, .fields_count = 1};
    const struct stele_seal pointers = {.subject = "ada", .fields = no_pointer, .fields_count = 1};
    const struct stele_seal nobody = {.subject = ""};
    const struct stele_seal *all[] = {&fields, &pointers, &nobody};
    for (size_t i = 0; i < 3; i++) {
        const struct stele_seal *const seals[] = {all[i]};
        CHECK_OUTCOME(stele_append_sealed(store, &one, seals, 1, NULL, 0, NULL, NULL, &err),
                      STELE_E_INVALID, err);
    }
    CHECK_OUTCOME(append_for("$system", STELE_EXPECT_ANY, 60, "x", "ada", NULL), STELE_E_INVALID,
                  err);
    CHECK_OK(stele_use_keyring(store, NULL, NULL, &err), err);
    CHECK_OUTCOME(append_for("a", STELE_EXPECT_ANY, 61, "x", "ada", NULL), STELE_E_KEY, err);
    struct stele_stream_info info;
    CHECK_EQ(stele_stream_info(store, "a", &info, &err), STELE_NO_STREAM);
    end();
}

/* ---- Moved and altered ---- */

TEST(an_envelope_opens_at_its_own_place_only)
{
    begin();
    CHECK_OK(append_for("a", STELE_EXPECT_ANY, 1, "of ada", "ada", NULL), err);
    CHECK_OK(stele_use_keyring(store, NULL, NULL, &err), err);
    struct stele_iterator *iterator = NULL;
    const struct stele_event *events = NULL;
    size_t count = 0;
    CHECK_OK(stele_read_stream(store, "a", NULL, &iterator, &err), err);
    CHECK_OK(stele_iterator_next(iterator, &events, &count, &err), err);
    uint8_t bytes[256];
    const size_t size = events->data_size;
    CHECK(size < sizeof bytes);
    memcpy(bytes, events->data, size);
    stele_iterator_destroy(iterator);
    struct stele_event_draft copy = {
        .type = "Noted", .data = bytes, .data_size = size, .content_type = STELE_SEALED_TYPE};
    fixture_id(1, copy.id);
    /* Another stream at the same revision with the same id; another revision; another id. */
    CHECK_OK(stele_append(store, "b", STELE_EXPECT_ANY, &copy, 1, NULL, &err), err);
    fixture_id(2, copy.id);
    CHECK_OK(stele_append(store, "a", STELE_EXPECT_ANY, &copy, 1, NULL, &err), err);
    CHECK_OK(stele_append(store, "c", STELE_EXPECT_ANY, &copy, 1, NULL, &err), err);
    /* Altered in every byte, at its own place in a store of its own. */
    fixture_id(1, copy.id);
    CHECK_OK(stele_use_keyring(store, keyring, NULL, &err), err);
    static const char *const streams[] = {"b", "a", "c"};
    for (size_t i = 0; i < 3; i++) {
        read_at(streams[i], i == 1 ? 1 : 0);
        CHECK_EQ(got.outcome, STELE_E_CORRUPT);
    }
    /* The read goes on behind what does not open. */
    CHECK_OK(append_for("a", STELE_EXPECT_ANY, 3, "later", "ada", NULL), err);
    CHECK_OK(stele_read_stream(store, "a", NULL, &iterator, &err), err);
    CHECK_OK(stele_iterator_next(iterator, &events, &count, &err), err);
    CHECK_EQ(count, 1);
    const uint64_t position = stele_iterator_position(iterator);
    CHECK(position >= events[0].position);
    CHECK_OUTCOME(stele_iterator_next(iterator, &events, &count, &err), STELE_E_CORRUPT, err);
    CHECK_OK(stele_iterator_next(iterator, &events, &count, &err), err);
    CHECK_EQ(count, 1);
    CHECK_EQ(events[0].revision, 2);
    CHECK(position < events[0].position);
    stele_iterator_destroy(iterator);
    end();
}

/* ---- Following ---- */

struct followed {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    size_t count;
    size_t shredded;
    int outcome;
    bool ended;
    char last[64];
};

static int on_followed(void *context, const struct stele_event *events, size_t count,
                       uint64_t checkpoint)
{
    struct followed *followed = context;
    (void)checkpoint;
    (void)pthread_mutex_lock(&followed->lock);
    for (size_t i = 0; i < count; i++) {
        followed->count++;
        followed->shredded += (events[i].flags & STELE_EVENT_SHREDDED) != 0 ? 1 : 0;
        (void)snprintf(followed->last, sizeof followed->last, "%.*s", (int)events[i].data_size,
                       (const char *)events[i].data);
    }
    (void)pthread_cond_broadcast(&followed->changed);
    (void)pthread_mutex_unlock(&followed->lock);
    return 0;
}

static void on_followed_end(void *context, int outcome, const struct stele_error *words)
{
    struct followed *followed = context;
    (void)words;
    (void)pthread_mutex_lock(&followed->lock);
    followed->outcome = outcome;
    followed->ended = true;
    (void)pthread_cond_broadcast(&followed->changed);
    (void)pthread_mutex_unlock(&followed->lock);
}

static void wait_for_events(struct followed *followed, size_t count)
{
    (void)pthread_mutex_lock(&followed->lock);
    while (followed->count < count && !followed->ended) {
        (void)pthread_cond_wait(&followed->changed, &followed->lock);
    }
    (void)pthread_mutex_unlock(&followed->lock);
}

TEST(subscriptions_open_what_they_hand_out_and_end_at_what_does_not_open)
{
    struct followed followed = {.lock = PTHREAD_MUTEX_INITIALIZER,
                                .changed = PTHREAD_COND_INITIALIZER};
    struct stele_subscription *subscription = NULL;
    begin();
    CHECK_OK(append_for("a", STELE_EXPECT_ANY, 1, "zero", "ada", NULL), err);
    CHECK_OK(append_for("a", STELE_EXPECT_ANY, 2, "one", "bob", NULL), err);
    CHECK_OK(stele_shred(store, "ada", 0, NULL, &err), err);
    CHECK_OK(stele_subscribe(store, "a", NULL, on_followed, on_followed_end, &followed,
                             &subscription, &err),
             err);
    wait_for_events(&followed, 2);
    CHECK_EQ(followed.shredded, 1);
    CHECK_TEXT_EQ(followed.last, "one");
    CHECK_OK(append_for("a", STELE_EXPECT_ANY, 3, "two", "bob", NULL), err);
    wait_for_events(&followed, 3);
    CHECK_TEXT_EQ(followed.last, "two");
    const struct stele_event_draft bad = {
        .type = "Noted", .data = "x", .data_size = 1, .content_type = STELE_SEALED_TYPE};
    CHECK_OK(stele_append(store, "a", STELE_EXPECT_ANY, &bad, 1, NULL, &err), err);
    wait_for_events(&followed, 4);
    CHECK(followed.ended);
    CHECK_EQ(followed.outcome, STELE_E_CORRUPT);
    stele_unsubscribe(subscription);
    end();
}

/* ---- Asynchronous ---- */

struct awaited {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    int done;
};

static void on_done(void *context, int outcome, const struct stele_append_result *result)
{
    struct awaited *awaited = context;
    CHECK_EQ(outcome, STELE_OK);
    CHECK_EQ(result->idempotent, 0);
    (void)pthread_mutex_lock(&awaited->lock);
    awaited->done++;
    (void)pthread_cond_broadcast(&awaited->changed);
    (void)pthread_mutex_unlock(&awaited->lock);
}

TEST(asynchronous_appends_are_sealed_when_their_revision_is_known)
{
    struct awaited awaited = {.lock = PTHREAD_MUTEX_INITIALIZER,
                              .changed = PTHREAD_COND_INITIALIZER};
    begin();
    set_policy("{\"seal\":[{\"types\":[\"Noted\"],\"subject\":\"$stream\"}]}");
    for (uint64_t i = 0; i < 10; i++) {
        const struct stele_event_draft draft = draft_of(i, "Noted", CANARY);
        const struct stele_append one = {"a", i == 0 ? STELE_EXPECT_NO_STREAM : i - 1, &draft, 1};
        CHECK_OK(stele_append_async(store, &one, 1, NULL, 0, on_done, &awaited, &err), err);
    }
    (void)pthread_mutex_lock(&awaited.lock);
    while (awaited.done < 10) {
        (void)pthread_cond_wait(&awaited.changed, &awaited.lock);
    }
    (void)pthread_mutex_unlock(&awaited.lock);
    const struct stele_event_draft draft = draft_of(99, "Noted", CANARY);
    const struct stele_append loose = {"a", STELE_EXPECT_ANY, &draft, 1};
    CHECK_OUTCOME(stele_append_async(store, &loose, 1, NULL, 0, on_done, &awaited, &err),
                  STELE_E_INVALID, err);
    read_at("a", 9);
    CHECK_TEXT_EQ(got.data, CANARY);
    CHECK_EQ(files_with_canary(), 0);
    end();
}
