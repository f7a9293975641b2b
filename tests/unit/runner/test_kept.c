/* A state that is kept between commands is the one that a read would give, whatever was done to its
 * stream in between, by whom, and when.
 *
 * Method: one runner keeps the state; then the stream is deleted, cut off, tombstoned, given a greatest
 * age, written to by another runner and without any, before the next command and while one decides.
 * A fold that sums up every field of every event is compared with what a new runner loads. Counters
 * tell that nothing was read where nothing needs to be. Run embedded and against a server, where
 * everything is read. */
#include "deciders.h"
#include "lib/rng.h"
#include "unit/client/keys_fixture.h"

#include <pthread.h>

static const struct stele_runner_options defaults = STELE_RUNNER_OPTIONS_INIT;

static uint64_t current_count(struct stele_runner *runner)
{
    struct stele_runner_stats stats;
    stele_runner_stats(runner, &stats);
    return stats.states_current;
}

static int deposit(struct stele_runner *runner, int64_t amount)
{
    return bank_execute(runner, "Deposit", "account-1", (struct order){.amount = amount}, NULL,
                        &err);
}

static int withdraw(struct stele_runner *runner, int64_t amount)
{
    return bank_execute(runner, "Withdraw", "account-1", (struct order){.amount = amount}, NULL,
                        &err);
}

static void check_balance(struct stele_runner *runner, int64_t want)
{
    CHECK_OUTCOME(withdraw(runner, 1000000), STELE_REJECTED, err);
    char words[80];
    (void)snprintf(words, sizeof words, "account-1 has %lld, not 1000000", (long long)want);
    CHECK_TEXT_EQ(err.message, words);
}

static void set_metadata(const char *json)
{
    CHECK_OK(
        stele_set_metadata(store, "account-1", STELE_EXPECT_ANY, json, strlen(json), NULL, &err),
        err);
}

TEST(a_state_that_only_its_own_commands_have_changed_is_not_read_again)
{
    FIXTURE_EMBEDDED_ONLY();
    fixture_begin();
    struct stele_runner *runner = bank_runner(defaults);
    for (int i = 0; i < 20; i++) {
        CHECK_OK(deposit(runner, 1), err);
    }
    /* The first finds no stream, the second reads what the first one wrote. */
    CHECK_EQ(current_count(runner), 18);
    check_balance(runner, 20);
    CHECK_OK(bank_execute(runner, "Transfer", "account-1",
                          (struct order){.amount = 5, .to = "account-2"}, NULL, &err),
             err);
    check_balance(runner, 15);
    CHECK_EQ(current_count(runner), 21);
    CHECK_EQ(bank_read("account-2").balance, 5);
    stele_runner_destroy(runner);
    fixture_end();
}

TEST(what_others_append_is_seen_before_a_command_is_refused)
{
    fixture_begin();
    struct stele_runner *a = bank_runner(defaults);
    struct stele_runner *b = bank_runner(defaults);
    int64_t want = 0;
    for (int i = 0; i < 10; i++) {
        CHECK_OK(deposit(i % 2 == 0 ? a : b, 3), err);
        want += 3;
        const struct stele_event_draft draft = {
            .type = "Deposited", .data = "{\"amount\":4}", .data_size = 12};
        if (i % 3 == 0) {
            CHECK_OK(stele_append(store, "account-1", STELE_EXPECT_ANY, &draft, 1, NULL, &err),
                     err);
            want += 4;
        }
        check_balance(a, want);
        check_balance(b, want);
    }
    stele_runner_destroy(a);
    stele_runner_destroy(b);
    fixture_end();
}

TEST(a_stream_that_was_deleted_begins_again_from_nothing)
{
    fixture_begin();
    struct stele_runner *runner = bank_runner(defaults);
    for (int round = 0; round < 4; round++) {
        for (int i = 0; i < 3; i++) {
            CHECK_OK(deposit(runner, 10), err);
        }
        check_balance(runner, 30);
        CHECK_OK(stele_delete(store, "account-1", STELE_EXPECT_ANY, NULL, &err), err);
        check_balance(runner, 0);
        CHECK_OK(deposit(runner, 1), err);
        CHECK_OK(deposit(runner, 1), err);
        check_balance(runner, 2);
        CHECK_OK(stele_delete(store, "account-1", STELE_EXPECT_ANY, NULL, &err), err);
    }
    stele_runner_destroy(runner);
    fixture_end();
}

TEST(a_stream_that_is_closed_for_ever_takes_no_command)
{
    fixture_begin();
    struct stele_runner *runner = bank_runner(defaults);
    for (int i = 0; i < 3; i++) {
        CHECK_OK(deposit(runner, 10), err);
    }
    CHECK_OK(stele_tombstone(store, "account-1", STELE_EXPECT_ANY, NULL, &err), err);
    CHECK_OUTCOME(deposit(runner, 1), STELE_STREAM_DELETED, err);
    CHECK_OUTCOME(withdraw(runner, 1000000), STELE_STREAM_DELETED, err);
    stele_runner_destroy(runner);
    fixture_end();
}

TEST(a_stream_that_was_cut_off_behind_the_state_begins_again)
{
    fixture_begin();
    struct stele_runner *runner = bank_runner(defaults);
    for (int i = 0; i < 3; i++) {
        CHECK_OK(deposit(runner, 10), err);
    }
    set_metadata("{\"$tb\":3}");
    check_balance(runner, 0);
    CHECK_OK(deposit(runner, 7), err);
    check_balance(runner, 7);
    stele_runner_destroy(runner);
    fixture_end();
}

/* Deposits 10, an hour ago. */
static int decide_old(void *context, const struct stele_command *command,
                      struct stele_decision *decision)
{
    (void)context;
    if (stele_decision_state(decision, command->stream, &account_fold) == NULL) {
        return STELE_INCOMPLETE;
    }
    const struct stele_event_draft draft = {.type = "Deposited",
                                            .data = "{\"amount\":10}",
                                            .data_size = 13,
                                            .created_us =
                                                command->time_us - (int64_t)3600 * 1000000};
    return stele_decision_emit(decision, command->stream, &draft);
}

TEST(of_a_stream_whose_events_grow_too_old_no_state_is_trusted)
{
    static const struct stele_decider old = {
        .struct_size = sizeof old, .name = "old", .decide = decide_old};
    const struct stele_command command = {
        .struct_size = sizeof command, .type = "Deposit", .stream = "account-1"};
    fixture_begin();
    struct stele_runner *runner = bank_runner(defaults);
    for (int i = 0; i < 3; i++) {
        CHECK_OK(stele_runner_execute(runner, &old, &command, NULL, NULL, &err), err);
    }
    check_balance(runner, 30);
    set_metadata("{\"$maxAge\":60}");
    check_balance(runner, 0);
    /* Each of these is too old already; a state that went on with them would count them. */
    for (int i = 0; i < 3; i++) {
        CHECK_OK(stele_runner_execute(runner, &old, &command, NULL, NULL, &err), err);
        check_balance(runner, 0);
    }
    CHECK_OK(deposit(runner, 1), err);
    check_balance(runner, 1);
    CHECK_OK(stele_runner_execute(runner, &old, &command, NULL, NULL, &err), err);
    check_balance(runner, 1);
    stele_runner_destroy(runner);
    fixture_end();
}

/* ---- While a command decides ---- */

struct meddling {
    int what;
    int times;
};

#define DELETE 1
#define APPEND 2

static int decide_meddled(void *context, const struct stele_command *command,
                          struct stele_decision *decision)
{
    struct meddling *meddling = context;
    if (stele_decision_state(decision, command->stream, &account_fold) == NULL) {
        return STELE_INCOMPLETE;
    }
    if (meddling->times > 0 && meddling->what == DELETE) {
        meddling->times--;
        CHECK_OK(stele_delete(store, command->stream, STELE_EXPECT_ANY, NULL, &err), err);
    } else if (meddling->times > 0) {
        meddling->times--;
        const struct stele_event_draft draft = {
            .type = "Deposited", .data = "{\"amount\":4}", .data_size = 12};
        CHECK_OK(stele_append(store, command->stream, STELE_EXPECT_ANY, &draft, 1, NULL, &err),
                 err);
    }
    return bank_emit(decision, command->stream, "Deposited", 1);
}

TEST(what_is_done_to_a_stream_while_a_command_decides_is_not_forgotten)
{
    fixture_begin();
    struct meddling meddling = {.what = DELETE};
    const struct stele_decider meddled = {.struct_size = sizeof meddled,
                                          .name = "meddled",
                                          .context = &meddling,
                                          .fold = &account_fold,
                                          .decide = decide_meddled};
    const struct stele_command command = {
        .struct_size = sizeof command, .type = "Deposit", .stream = "account-1"};
    struct stele_command_result result;
    struct stele_runner *runner = bank_runner(defaults);
    for (int i = 0; i < 3; i++) {
        CHECK_OK(deposit(runner, 10), err);
    }
    meddling.times = 1;
    CHECK_OK(stele_runner_execute(runner, &meddled, &command, NULL, &result, &err), err);
    /* The stream began again with that event. */
    CHECK_EQ(bank_read("account-1").balance, 1);
    check_balance(runner, 1);
    CHECK_OK(deposit(runner, 10), err);
    check_balance(runner, 11);
    meddling = (struct meddling){.what = APPEND, .times = 2};
    CHECK_OK(stele_runner_execute(runner, &meddled, &command, NULL, &result, &err), err);
    CHECK_EQ(result.attempts, 3);
    check_balance(runner, 20);
    stele_runner_destroy(runner);
    fixture_end();
}

/* ---- Every field ---- */

struct summed {
    uint64_t sum;
    uint64_t events;
};

static uint64_t mix(uint64_t sum, const void *data, size_t size)
{
    const uint8_t *bytes = data;
    sum = (sum ^ size) * 0x100000001b3u;
    for (size_t i = 0; i < size; i++) {
        sum = (sum ^ bytes[i]) * 0x100000001b3u;
    }
    return sum;
}

static int sum_evolve(void *context, void *state, const struct stele_event *event, const void *fact,
                      struct stele_memory *memory)
{
    (void)context, (void)fact, (void)memory;
    struct summed *summed = state;
    uint64_t sum = mix(summed->sum, &event->position, sizeof event->position);
    sum = mix(sum, &event->revision, sizeof event->revision);
    sum = mix(sum, event->id, sizeof event->id);
    sum = mix(sum, &event->created_us, sizeof event->created_us);
    sum = mix(sum, event->stream.data, event->stream.size);
    sum = mix(sum, event->type.data, event->type.size);
    sum = mix(sum, event->content_type.data, event->content_type.size);
    sum = mix(sum, event->data, event->data_size);
    sum = mix(sum, event->metadata, event->metadata_size);
    for (uint32_t i = 0; i < event->tags_count; i++) {
        const struct stele_text tag = stele_event_tag(event, i);
        sum = mix(sum, tag.data, tag.size);
    }
    summed->sum = mix(sum, &event->flags, sizeof event->flags);
    summed->events++;
    return STELE_OK;
}

static int twice(void *context, const struct stele_event *event, struct stele_upcast *upcast)
{
    (void)context;
    struct stele_event copy = *event;
    copy.type = (struct stele_text){"Renamed", 7};
    const int outcome = stele_upcast_emit(upcast, &copy, 2);
    return outcome == STELE_OK ? stele_upcast_emit(upcast, &copy, 2) : outcome;
}

static const struct stele_fold sum_fold = {.struct_size = sizeof(struct stele_fold),
                                           .name = "sum",
                                           .state_size = sizeof(struct summed),
                                           .evolve = sum_evolve};

struct looked {
    struct stele_fold folds[2]; /* Of two versions; the second with upcasters. */
    struct rng rng;
    struct summed seen[2];
    uint64_t at; /* The revision that was seen. */
    const char *streams[3];
};

static int decide_looked(void *context, const struct stele_command *command,
                         struct stele_decision *decision)
{
    struct looked *looked = context;
    const char *const tags[] = {"red", "green:1"};
    const void *states[2];
    for (size_t i = 0; i < 2; i++) {
        states[i] = stele_decision_state(decision, command->stream, &looked->folds[i]);
        if (states[i] == NULL) {
            return STELE_INCOMPLETE;
        }
        memcpy(&looked->seen[i], states[i], sizeof looked->seen[i]);
    }
    looked->at = stele_decision_revision(decision, command->stream);
    const bool peeks = strcmp(command->type, "Peek") == 0;
    const uint64_t events = peeks ? 0 : rng_below(&looked->rng, 5);
    for (uint64_t i = 0; i < events; i++) {
        char data[50];
        memset(data, 'x', sizeof data);
        const bool bare = rng_below(&looked->rng, 2) == 0;
        const struct stele_event_draft draft = {
            .type = i % 2 == 0 ? "Old" : "New",
            .content_type = bare ? NULL : "text/plain",
            .data = data,
            .data_size = rng_below(&looked->rng, sizeof data),
            .metadata = bare ? NULL : "{\"a\":1}",
            .metadata_size = bare ? 0 : 7,
            .tags = tags,
            .tags_count = rng_below(&looked->rng, 3),
            .created_us = rng_below(&looked->rng, 2) == 0 ? 0 : 1234567890,
        };
        const char *stream = looked->streams[rng_below(&looked->rng, 3)];
        const int outcome = stele_decision_emit(decision, stream, &draft);
        if (outcome != STELE_OK) {
            return outcome;
        }
    }
    return STELE_OK;
}

/* A new runner loads what the decider saw. */
static void check_seen(struct looked *looked, const char *stream)
{
    struct stele_runner_options options = defaults;
    options.snapshot_events = 0;
    options.snapshot_hours = 0;
    struct stele_runner *runner = bank_runner(options);
    for (size_t i = 0; i < 2; i++) {
        struct stele_memory *memory = stele_memory_create();
        struct stele_state *state = NULL;
        CHECK_OK(stele_runner_load(runner, &looked->folds[i], stream, 0, memory, &state, &err),
                 err);
        CHECK_EQ(stele_state_revision(state), looked->at);
        const struct summed *loaded = stele_state_value(state);
        CHECK_EQ(loaded->events, looked->seen[i].events);
        CHECK_EQ(loaded->sum, looked->seen[i].sum);
        stele_memory_destroy(memory);
    }
    stele_runner_destroy(runner);
}

TEST(a_state_that_goes_on_has_seen_every_field_as_it_is_read)
{
    static const struct stele_upcaster renames = {
        .struct_size = sizeof renames, .type = "Old", .version = 1, .upcast = twice};
    fixture_begin();
    struct stele_memory *memory = stele_memory_create();
    struct stele_upcasters *upcasters = NULL;
    CHECK_OK(stele_upcasters_create(memory, &renames, 1, &upcasters, &err), err);
    struct looked looked = {.folds = {sum_fold, sum_fold},
                            .streams = {"sum-1", "sum-2", "other-1"}};
    looked.folds[1].version = 2;
    looked.folds[1].upcasters = upcasters;
    rng_init(&looked.rng, 9, 0);
    const struct stele_decider looking = {.struct_size = sizeof looking,
                                          .name = "looking",
                                          .context = &looked,
                                          .decide = decide_looked};
    struct stele_runner *runner = bank_runner(defaults);
    for (int i = 0; i < 150; i++) {
        const char *stream = looked.streams[rng_below(&looked.rng, 2)];
        struct stele_command command = {
            .struct_size = sizeof command, .type = "Emit", .stream = stream};
        CHECK_OK(stele_runner_execute(runner, &looking, &command, NULL, NULL, &err), err);
        command.type = "Peek";
        CHECK_OK(stele_runner_execute(runner, &looking, &command, NULL, NULL, &err), err);
        check_seen(&looked, stream);
    }
    CHECK(fixture_is_remote() || current_count(runner) > 300);
    stele_runner_destroy(runner);
    stele_memory_destroy(memory);
    fixture_end();
}

/* ---- Whose failure it is ---- */

static int decide_broken(void *context, const struct stele_command *command,
                         struct stele_decision *decision)
{
    (void)context;
    return stele_decision_state(decision, command->stream, &account_fold) != NULL
               ? bank_emit(decision, command->stream, "Broken", 1)
               : STELE_INCOMPLETE;
}

TEST(an_event_that_cannot_be_folded_is_stored_and_fails_the_next_command)
{
    static const struct stele_decider breaking = {
        .struct_size = sizeof breaking, .name = "breaking", .decide = decide_broken};
    const struct stele_command command = {
        .struct_size = sizeof command, .type = "Break", .stream = "account-1"};
    fixture_begin();
    struct stele_runner *runner = bank_runner(defaults);
    for (int i = 0; i < 3; i++) {
        CHECK_OK(deposit(runner, 10), err);
    }
    CHECK_OK(stele_runner_execute(runner, &breaking, &command, NULL, NULL, &err), err);
    CHECK_OUTCOME(deposit(runner, 10), STELE_E_CORRUPT, err);
    CHECK(strstr(err.message, "Broken at revision 3 of account-1") != NULL);
    stele_runner_destroy(runner);
    fixture_end();
}

/* ---- Keyrings ---- */

TEST(what_a_keyring_seals_is_folded_as_it_is_read_and_nothing_of_it_once_it_is_shredded)
{
    FIXTURE_EMBEDDED_ONLY();
    begin();
    struct stele_runner *runner = bank_runner(defaults);
    struct stele_append_result result;
    CHECK_OK(append_for("account-1", STELE_EXPECT_NO_STREAM, 1, "{\"amount\":30}", "ada", &result),
             err);
    CHECK_OK(deposit(runner, 1), err);
    check_balance(runner, 31);
    CHECK_EQ(current_count(runner), 0);
    CHECK_OK(stele_shred(store, "ada", 0, NULL, &err), err);
    struct stele_runner *later = bank_runner(defaults);
    check_balance(later, 1);
    CHECK_OK(deposit(later, 1), err);
    check_balance(later, 2);
    stele_runner_destroy(later);
    stele_runner_destroy(runner);
    end();
}

TEST(a_keyring_that_comes_later_makes_every_command_read)
{
    FIXTURE_EMBEDDED_ONLY();
    fixture_begin();
    struct stele_runner *runner = bank_runner(defaults);
    for (int i = 0; i < 3; i++) {
        CHECK_OK(deposit(runner, 10), err);
    }
    CHECK_EQ(current_count(runner), 1);
    (void)snprintf(keyring_path, sizeof keyring_path, "%s.keys", fixture_path);
    const struct stele_master master = key_master();
    CHECK_OK(stele_keyring_create(keyring_path, &master, &keyring, &err), err);
    CHECK_OK(stele_use_keyring(store, keyring, NULL, &err), err);
    for (int i = 0; i < 3; i++) {
        CHECK_OK(deposit(runner, 10), err);
    }
    check_balance(runner, 60);
    CHECK_EQ(current_count(runner), 1);
    stele_runner_destroy(runner);
    end();
}

/* ---- Threads ---- */

#define THREADS 6

static struct stele_runner *thread_runners[2];

/* Every withdrawal that is refused must have been right to be: nobody but this thread takes from its
 * account, and what it has put there was acknowledged. */
static void *work(void *context)
{
    const size_t number = (size_t)context;
    struct rng rng;
    struct stele_error mine;
    char own[20];
    int64_t least = 0;
    rng_init(&rng, 31, number);
    (void)snprintf(own, sizeof own, "account-%zu", number);
    for (unsigned i = 0; i < 80; i++) {
        struct stele_runner *runner = thread_runners[rng_below(&rng, 2)];
        const int64_t amount = (int64_t)rng_below(&rng, 10);
        char other[20];
        (void)snprintf(other, sizeof other, "account-%u", (unsigned)rng_below(&rng, THREADS));
        if (rng_below(&rng, 2) == 0) {
            const struct order order = {.amount = amount};
            CHECK_OK(bank_execute(runner, "Deposit", own, order, NULL, &mine), mine);
            least += amount;
        } else {
            const struct order order = {.amount = amount, .to = other};
            const int outcome = bank_execute(runner, "Transfer", own, order, NULL, &mine);
            CHECK(outcome == STELE_OK || outcome == STELE_REJECTED);
            CHECK(outcome == STELE_OK || amount > least);
            least -= outcome == STELE_OK && strcmp(own, other) != 0 ? amount : 0;
            least = least < 0 ? 0 : least; /* Others have put something there. */
        }
    }
    return NULL;
}

TEST(no_command_is_refused_because_of_a_state_that_was_out_of_date)
{
    fixture_begin();
    pthread_t threads[THREADS];
    thread_runners[0] = bank_runner(defaults);
    thread_runners[1] = bank_runner(defaults);
    for (size_t i = 0; i < THREADS; i++) {
        CHECK_EQ(pthread_create(&threads[i], NULL, work, (void *)i), 0);
    }
    for (size_t i = 0; i < THREADS; i++) {
        CHECK_EQ(pthread_join(threads[i], NULL), 0);
    }
    stele_runner_destroy(thread_runners[0]);
    stele_runner_destroy(thread_runners[1]);
    fixture_end();
}
