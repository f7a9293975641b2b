/* Commands are executed in the order of their stamps and answered when they are durable; what they
 * make is a matter of the commands alone; nobody else appends to the store of a node; and one store
 * can be copied to another while it goes on.
 *
 * Method: the runtime with its real threads, one command after the other without waiting, on two
 * stores with different options; the answers are compared. */
#include "base/position.h"
#include "client/client.h"
#include "fixture.h"

#define MS(n) ((uint64_t)(n) << (STELE_POSITION_PARTITION_BITS + STELE_POSITION_COUNTER_BITS))
#define BEGIN MS(200000000000)
#define COMMANDS 2000

struct answers {
    struct stele_append_result results[COMMANDS];
    int outcomes[COMMANDS];
    size_t count;
    pthread_mutex_t lock;
    pthread_cond_t done;
};

static void on_answer(void *context, int outcome, const struct stele_append_result *result)
{
    struct answers *answers = context;
    (void)pthread_mutex_lock(&answers->lock);
    CHECK(answers->count < COMMANDS);
    answers->outcomes[answers->count] = outcome;
    answers->results[answers->count] = *result;
    answers->count++;
    (void)pthread_cond_signal(&answers->done);
    (void)pthread_mutex_unlock(&answers->lock);
}

static struct answers *answers_create(void)
{
    struct answers *answers = calloc(1, sizeof *answers);
    STELE_ASSERT(answers != NULL);
    (void)pthread_mutex_init(&answers->lock, NULL);
    (void)pthread_cond_init(&answers->done, NULL);
    return answers;
}

static void answers_wait(struct answers *answers, size_t count)
{
    (void)pthread_mutex_lock(&answers->lock);
    while (answers->count < count) {
        (void)pthread_cond_wait(&answers->done, &answers->lock);
    }
    (void)pthread_mutex_unlock(&answers->lock);
}

static void open_ordered(uint64_t segment_size_max, uint64_t index_memory)
{
    struct stele_options options = STELE_OPTIONS_INIT;
    options.partitions = 8;
    options.segment_size_max = segment_size_max;
    options.index_memory = index_memory;
    CHECK_OK(stele_client_open_ordered(fixture_path, &options, &store, &err), err);
}

static void begin(uint64_t segment_size_max, uint64_t index_memory)
{
    fixture_begin();
    CHECK_EQ(stele_close(store), STELE_OK);
    open_ordered(segment_size_max, index_memory);
}

static uint64_t seen(void)
{
    struct stele_client_ordered ordered;
    stele_client_ordered(store, &ordered);
    return ordered.position;
}

/* Kinds, expectations and streams in turns, so that some are refused. */
static void execute_number(uint64_t number, struct answers *answers)
{
    static const uint8_t data[700];
    char name[32];
    (void)snprintf(name, sizeof name, "s-%llu", (unsigned long long)(number * 7 % 41));
    struct stele_event_draft drafts[3] = {0};
    for (size_t i = 0; i < 3; i++) {
        const uint64_t id = (number % 97 == 96 ? number - 1 : number) * 8 + i + 1;
        drafts[i] = (struct stele_event_draft){
            .type = "Happened", .data = data, .data_size = sizeof data, .content_type = "x/y"};
        memcpy(drafts[i].id, &id, sizeof id);
    }
    struct stele_append streams[2] = {
        {.stream = name, .expected = STELE_EXPECT_ANY, .events = drafts, .count = 2},
        {.stream = "both", .expected = STELE_EXPECT_ANY, .events = drafts + 2, .count = 1},
    };
    struct stele_client_command command = {
        .kind = STELE_CLIENT_APPEND,
        .order = {.stamp = BEGIN + MS(number / 3) + number, .seen = seen()},
        .streams = streams,
        .streams_count = 1 + number % 2,
    };
    command.id[0] = (uint8_t)number;
    command.id[1] = (uint8_t)(number >> 8);
    if (number % 13 == 0) {
        streams[0].expected = number / 41;
    } else if (number % 101 == 100 || number % 199 == 198) {
        command.kind = number % 101 == 100 ? STELE_CLIENT_DELETE : STELE_CLIENT_TOMBSTONE;
        command.streams_count = 1;
        streams[0].count = 0;
    }
    CHECK_OK(stele_client_execute_stage(store, &command, NULL, NULL, on_answer, answers, &err),
             err);
    if (number % 16 == 0) {
        stele_client_flush(store, false);
    }
}

static struct answers *execute_all(bool reopen)
{
    struct answers *answers = answers_create();
    for (uint64_t number = 0; number < COMMANDS; number++) {
        execute_number(number, answers);
        if (reopen && number % 500 == 250) {
            CHECK_EQ(stele_close(store), STELE_OK);
            open_ordered(1024 * 1024, 4096);
        }
    }
    stele_client_flush(store, false);
    answers_wait(answers, COMMANDS);
    return answers;
}

TEST(two_stores_answer_the_same_commands_alike_and_in_order)
{
    FIXTURE_EMBEDDED_ONLY();
    begin(64 * 1024, 16 * 1024);
    struct answers *first = execute_all(false);
    struct stele_client_ordered ordered;
    stele_client_ordered(store, &ordered);
    const uint64_t last = ordered.position;
    CHECK_EQ(ordered.position_durable, last);
    CHECK_EQ(ordered.stamp_durable, ordered.stamp);
    CHECK(ordered.stamp > BEGIN + MS(COMMANDS / 3 - 10));
    CHECK_EQ(stele_close(store), STELE_OK);
    open_ordered(64 * 1024, 16 * 1024);
    const uint64_t stamp = ordered.stamp;
    stele_client_ordered(store, &ordered);
    CHECK_EQ(ordered.stamp, stamp);
    CHECK_EQ(ordered.position, last);
    struct stele_verify_result verified;
    CHECK_OK(stele_verify(store, NULL, &verified, &err), err);
    fixture_end();

    begin(1024 * 1024, 4096);
    struct answers *second = execute_all(true);
    CHECK_EQ(seen(), last);
    fixture_end();
    size_t refused = 0;
    uint64_t before = 0;
    for (size_t i = 0; i < COMMANDS; i++) {
        CHECK_EQ(first->outcomes[i], second->outcomes[i]);
        refused += first->outcomes[i] != STELE_OK ? 1 : 0;
        if (first->outcomes[i] == STELE_OK) {
            CHECK_EQ(first->results[i].position_first, second->results[i].position_first);
            CHECK_EQ(first->results[i].position_last, second->results[i].position_last);
            CHECK_EQ(first->results[i].revision_first, second->results[i].revision_first);
            CHECK_EQ(first->results[i].idempotent, second->results[i].idempotent);
            CHECK(first->results[i].position_first > before || first->results[i].idempotent);
            before = first->results[i].position_last;
        }
    }
    CHECK(refused > 50);
    CHECK(refused < COMMANDS / 2);
    free(first);
    free(second);
}

TEST(a_command_that_is_no_request_is_refused_everywhere_and_in_its_turn)
{
    FIXTURE_EMBEDDED_ONLY();
    begin(64 * 1024, 16 * 1024);
    struct answers *answers = answers_create();
    execute_number(1, answers);
    const struct stele_event_draft nameless = {.type = "T"};
    const struct stele_append append = {
        .stream = "s", .expected = STELE_EXPECT_ANY, .events = &nameless, .count = 1};
    const struct stele_client_command command = {.kind = STELE_CLIENT_APPEND,
                                                 .order = {.stamp = BEGIN + MS(2)},
                                                 .streams = &append,
                                                 .streams_count = 1};
    struct stele_error words = {.outcome = STELE_OK};
    CHECK_OK(stele_client_execute_stage(store, &command, NULL, &words, on_answer, answers, &err),
             err);
    stele_client_flush(store, true);
    answers_wait(answers, 2);
    CHECK_EQ(answers->outcomes[0], STELE_OK);
    CHECK_EQ(answers->outcomes[1], STELE_E_INVALID);
    CHECK_EQ(words.outcome, STELE_E_INVALID);
    free(answers);
    fixture_end();
}

TEST(looking_back_finds_what_was_appended_and_what_can_never_be)
{
    FIXTURE_EMBEDDED_ONLY();
    begin(64 * 1024, 16 * 1024);
    struct answers *answers = answers_create();
    const uint64_t before = seen();
    execute_number(1, answers);
    stele_client_flush(store, true);
    answers_wait(answers, 1);
    CHECK_EQ(answers->outcomes[0], STELE_OK);
    const uint64_t id = 9;
    struct stele_event_draft draft = {.type = "Happened"};
    memcpy(draft.id, &id, sizeof id);
    struct stele_append append = {
        .stream = "s-7", .expected = STELE_EXPECT_ANY, .events = &draft, .count = 1};
    uint64_t looked = 0;
    CHECK_OK(stele_client_look_back(store, &append, 1, NULL, 0, &looked, NULL, NULL, on_answer,
                                    answers, &err),
             err);
    stele_client_flush(store, true);
    answers_wait(answers, 2);
    CHECK_EQ(answers->outcomes[1], STELE_OK);
    CHECK_EQ(answers->results[1].idempotent, 1);
    CHECK_EQ(answers->results[1].position_first, answers->results[0].position_first);

    draft.id[8] = 1;
    CHECK_OUTCOME(stele_client_look_back(store, &append, 1, NULL, 0, &looked, NULL, NULL, on_answer,
                                         answers, &err),
                  STELE_NOT_FOUND, err);
    CHECK_EQ(looked, seen());

    memset(draft.id, 0, sizeof draft.id); /* It gets one with the command. */
    CHECK_OUTCOME(stele_client_look_back(store, &append, 1, NULL, 0, &looked, NULL, NULL, on_answer,
                                         answers, &err),
                  STELE_NOT_FOUND, err);

    const char *const type = "Happened";
    const struct stele_query_item item = {.types = &type, .types_count = 1};
    struct stele_condition condition = {.items = &item, .items_count = 1, .after = before};
    CHECK_OK(stele_client_look_back(store, &append, 1, &condition, 1, &looked, NULL, NULL,
                                    on_answer, answers, &err),
             err);
    stele_client_flush(store, true);
    answers_wait(answers, 3);
    CHECK_EQ(answers->outcomes[2], STELE_CONDITION_FAILED);
    free(answers);
    fixture_end();
}

TEST(nobody_but_a_node_appends_to_its_store)
{
    FIXTURE_EMBEDDED_ONLY();
    begin(64 * 1024, 16 * 1024);
    struct answers *answers = answers_create();
    execute_number(1, answers);
    stele_client_flush(store, true);
    answers_wait(answers, 1);
    CHECK_OUTCOME(fixture_append("s", STELE_EXPECT_ANY, 1, "{}", NULL), STELE_E_READ_ONLY, err);
    CHECK_EQ(stele_close(store), STELE_OK);
    CHECK_OK(stele_open(fixture_path, NULL, &store, &err), err);
    CHECK_OUTCOME(fixture_append("s", STELE_EXPECT_ANY, 1, "{}", NULL), STELE_E_READ_ONLY, err);
    CHECK(strstr(err.message, "cluster") != NULL);
    CHECK_OUTCOME(stele_tombstone(store, "s-7", STELE_EXPECT_ANY, NULL, &err), STELE_E_READ_ONLY,
                  err);
    CHECK_OUTCOME(stele_delete(store, "s-7", STELE_EXPECT_ANY, NULL, &err), STELE_E_READ_ONLY, err);
    CHECK_EQ(fixture_count("s-7", (struct stele_read_options)STELE_READ_OPTIONS_INIT), 2);
    CHECK_OK(stele_verify(store, NULL, NULL, &err), err);
    free(answers);
    fixture_end();
}

static uint64_t copy_from(struct stele *source, size_t chunk_size, bool complete)
{
    struct stele_client_ordered ordered;
    struct stele_export *export = NULL;
    struct stele_client_copy *copy = NULL;
    struct stele_bytes chunk;
    uint64_t chunks = 0;
    stele_client_ordered(store, &ordered);
    CHECK_OK(stele_client_export_begin(source, ordered.stamp, ordered.position, &export, &err),
             err);
    CHECK_OK(stele_client_copy_begin(store, &copy, &err), err);
    int outcome = STELE_OK;
    while (outcome == STELE_OK && (complete || chunks < 3)) {
        outcome = stele_export_next(export, chunk_size, &chunk, &err);
        if (outcome == STELE_OK) {
            chunks++;
            CHECK_OK(stele_client_copy_append(copy, chunk, &err), err);
        }
    }
    CHECK_OK(stele_client_copy_end(copy, complete, &err), err);
    stele_client_export_end(source, export);
    return chunks;
}

static uint64_t hash_of_all(struct stele *of)
{
    struct stele_iterator *iterator = NULL;
    uint64_t hash = 0;
    CHECK_OK(stele_read_all(of, NULL, &iterator, &err), err);
    for (;;) {
        const struct stele_event *events = NULL;
        size_t count = 0;
        const int outcome = stele_iterator_next(iterator, &events, &count, &err);
        if (outcome != STELE_OK) {
            CHECK_EQ(outcome, STELE_END);
            break;
        }
        for (size_t i = 0; i < count; i++) {
            hash = (hash ^ events[i].position ^ events[i].revision << 20 ^
                    (uint64_t)events[i].created_us) *
                   UINT64_C(0x9e3779b97f4a7c15);
        }
    }
    stele_iterator_destroy(iterator);
    return hash;
}

TEST(a_store_is_copied_while_it_goes_on_and_then_both_go_on_alike)
{
    FIXTURE_EMBEDDED_ONLY();
    begin(256 * 1024, 16 * 1024);
    struct answers *first = answers_create();
    for (uint64_t number = 0; number < COMMANDS / 2; number++) {
        execute_number(number, first);
    }
    stele_client_flush(store, false);
    answers_wait(first, COMMANDS / 2);
    struct stele *source = store;
    char source_path[sizeof fixture_path];
    memcpy(source_path, fixture_path, sizeof source_path);

    begin(64 * 1024, 4096);
    struct stele_client_ordered ordered;
    CHECK_EQ(copy_from(source, 1000, false), 3);
    stele_client_ordered(store, &ordered);
    CHECK(ordered.is_catching_up);
    CHECK(ordered.stamp > 0);
    struct answers *second = answers_create();
    const struct stele_append append = {.stream = "s", .expected = STELE_EXPECT_ANY};
    const struct stele_client_command command = {.kind = STELE_CLIENT_TOMBSTONE,
                                                 .order = {.stamp = ordered.stamp + 1},
                                                 .streams = &append,
                                                 .streams_count = 1,
                                                 .id = {1}};
    CHECK_OUTCOME(stele_client_execute_stage(store, &command, NULL, NULL, on_answer, second, &err),
                  STELE_E_UNSUPPORTED, err);
    CHECK_EQ(second->count, 0);
    CHECK(copy_from(source, 50000, true) > 3);

    /* What it needs now is in commands; the source has them first. */
    struct stele *const target = store;
    for (uint64_t number = COMMANDS / 2; number < COMMANDS; number++) {
        store = source;
        execute_number(number, first);
        stele_client_flush(store, false);
        store = target;
        execute_number(number, second);
    }
    stele_client_flush(target, false);
    answers_wait(first, COMMANDS);
    answers_wait(second, COMMANDS / 2);
    for (size_t i = 0; i < COMMANDS / 2; i++) {
        CHECK_EQ(first->outcomes[COMMANDS / 2 + i], second->outcomes[i]);
        CHECK_EQ(first->results[COMMANDS / 2 + i].position_last, second->results[i].position_last);
    }
    CHECK_EQ(hash_of_all(source), hash_of_all(target));
    CHECK_OK(stele_verify(target, NULL, NULL, &err), err);
    free(first);
    free(second);
    fixture_end();
    memcpy(fixture_path, source_path, sizeof source_path);
    store = source;
    fixture_end();
}
