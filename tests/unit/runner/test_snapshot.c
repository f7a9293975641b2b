/* A snapshot changes how long a state takes and never what it is.
 *
 * Method: streams with snapshots in the store and beside it; then snapshots that are of another
 * version, damaged, of another history, too new for the time asked about. */
#include "deciders.h"

#include <dirent.h>

static struct stele_runner_options options_of(uint32_t events, bool beside)
{
    static char directory[100];
    struct stele_runner_options options = STELE_RUNNER_OPTIONS_INIT;
    options.snapshot_events = events;
    if (beside) {
        (void)snprintf(directory, sizeof directory, "%s-snapshots", fixture_path);
        options.snapshot_directory = directory;
    }
    return options;
}

static void remove_beside(void)
{
    char directory[100];
    (void)snprintf(directory, sizeof directory, "%s-snapshots", fixture_path);
    (void)nftw(directory, fixture_remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

static void deposit(struct stele_runner *runner, const char *stream, int64_t amount,
                    unsigned events)
{
    CHECK_OK(bank_execute(runner, "Deposit", stream,
                          (struct order){.amount = amount, .events = events}, NULL, &err),
             err);
}

static struct account load(struct stele_runner *runner, const struct stele_fold *fold,
                           const char *stream, uint64_t as_of)
{
    struct stele_memory *memory = stele_memory_create();
    struct stele_state *state = NULL;
    CHECK_OK(stele_runner_load(runner, fold, stream, as_of, memory, &state, &err), err);
    const struct account account = *(const struct account *)stele_state_value(state);
    stele_memory_destroy(memory);
    return account;
}

static struct stele_runner_stats stats_of(struct stele_runner *runner)
{
    struct stele_runner_stats stats;
    stele_runner_flush(runner);
    stele_runner_stats(runner, &stats);
    return stats;
}

static void check_used(bool beside)
{
    fixture_begin();
    struct stele_runner *runner = bank_runner(options_of(10, beside));
    for (int i = 0; i < 35; i++) {
        deposit(runner, "account-1", i, 3);
    }
    /* 105 events in steps of three: every boundary of ten is stepped over, none is missed. */
    CHECK_EQ(stats_of(runner).snapshots_written, 8);
    CHECK_EQ(stats_of(runner).snapshots_failed, 0);
    stele_runner_destroy(runner);
    fixture_reopen();
    runner = bank_runner(options_of(10, beside));
    CHECK_EQ(load(runner, &account_fold, "account-1", 0).balance, 34 * 35 / 2);
    const struct stele_runner_stats stats = stats_of(runner);
    CHECK_EQ(stats.snapshots_used, 1);
    CHECK(stats.events_folded < 15);
    deposit(runner, "account-1", 5, 1);
    CHECK_EQ(bank_read("account-1").balance, 600);
    stele_runner_destroy(runner);
    remove_beside();
    fixture_end();
}

TEST(states_begin_from_snapshots_in_the_store)
{
    check_used(false);
}

TEST(states_begin_from_snapshots_beside_the_store)
{
    check_used(true);
}

TEST(only_the_last_few_are_kept)
{
    fixture_begin();
    struct stele_runner_options options = options_of(2, false);
    options.snapshots_kept = 2;
    struct stele_runner *runner = bank_runner(options);
    for (int i = 0; i < 20; i++) {
        deposit(runner, "account-1", 1, 1);
        stele_runner_flush(runner);
    }
    const struct stele_read_options read = STELE_READ_OPTIONS_INIT;
    CHECK_EQ(fixture_count("$snapshot-account-account-1", read), 2);
    stele_runner_destroy(runner);
    fixture_end();
}

TEST(a_snapshot_of_another_version_is_not_used)
{
    for (int beside = 0; beside < 2; beside++) {
        fixture_begin();
        struct stele_runner *runner = bank_runner(options_of(10, beside != 0));
        deposit(runner, "account-1", 10, 50);
        CHECK_EQ(load(runner, &account_fold, "account-1", 0).balance, 10);
        CHECK_EQ(stats_of(runner).snapshots_written, 1);
        struct stele_fold newer = account_fold;
        newer.version = 2;
        struct stele_runner *other = bank_runner(options_of(1000, beside != 0));
        CHECK_EQ(load(other, &newer, "account-1", 0).balance, 10);
        const struct stele_runner_stats stats = stats_of(other);
        CHECK_EQ(stats.snapshots_used, 0);
        CHECK_EQ(stats.snapshots_unusable, 1);
        CHECK_EQ(stats.events_folded, 50);
        stele_runner_destroy(other);
        stele_runner_destroy(runner);
        remove_beside();
        fixture_end();
    }
}

TEST(a_snapshot_of_a_history_that_is_gone_is_not_used)
{
    for (int beside = 0; beside < 2; beside++) {
        fixture_begin();
        struct stele_runner *runner = bank_runner(options_of(10, beside != 0));
        deposit(runner, "account-1", 10, 50);
        CHECK_EQ(load(runner, &account_fold, "account-1", 0).balance, 10);
        stele_runner_flush(runner);
        CHECK_EQ(stele_delete(store, "account-1", STELE_EXPECT_ANY, NULL, &err), STELE_OK);
        CHECK_EQ(load(runner, &account_fold, "account-1", 0).balance, 0);
        CHECK_OUTCOME(
            bank_execute(runner, "Withdraw", "account-1", (struct order){.amount = 1}, NULL, &err),
            STELE_REJECTED, err);
        CHECK_EQ(fixture_append("account-1", STELE_EXPECT_ANY, 1, "{\"amount\":2}", NULL),
                 STELE_OK);
        CHECK_EQ(fixture_append("account-1", STELE_EXPECT_ANY, 2, "{\"amount\":2}", NULL),
                 STELE_OK);
        deposit(runner, "account-1", 1, 1);
        CHECK_EQ(load(runner, &account_fold, "account-1", 0).balance,
                 bank_read("account-1").balance);
        stele_runner_destroy(runner);
        remove_beside();
        fixture_end();
    }
}

TEST(a_state_is_that_of_the_events_that_can_be_seen)
{
    fixture_begin();
    struct stele_runner *runner = bank_runner(options_of(10, false));
    deposit(runner, "account-1", 10, 50);
    CHECK_EQ(load(runner, &account_fold, "account-1", 0).balance, 10);
    CHECK_EQ(stats_of(runner).snapshots_written, 1);
    CHECK_EQ(
        stele_set_metadata(store, "account-1", STELE_EXPECT_ANY, "{\"$tb\":50}", 10, NULL, &err),
        STELE_OK);
    CHECK_EQ(load(runner, &account_fold, "account-1", 0).balance, 0);
    deposit(runner, "account-1", 5, 1);
    CHECK_EQ(load(runner, &account_fold, "account-1", 0).balance, 5);
    stele_runner_destroy(runner);
    fixture_end();
}

TEST(a_state_as_of_a_time_is_what_it_was_then)
{
    for (int beside = 0; beside < 2; beside++) {
        fixture_begin();
        struct stele_runner *runner = bank_runner(options_of(4, beside != 0));
        uint64_t positions[30];
        for (int i = 0; i < 30; i++) {
            struct stele_command_result result;
            CHECK_OK(bank_execute(runner, "Deposit", "account-1", (struct order){.amount = 1},
                                  &result, &err),
                     err);
            positions[i] = result.append.position_last;
            stele_runner_flush(runner);
        }
        for (int i = 0; i < 30; i++) {
            CHECK_EQ(load(runner, &account_fold, "account-1", positions[i]).balance, i + 1);
            CHECK_EQ(load(runner, &account_fold, "account-1", positions[i] - 1).balance, i);
        }
        stele_runner_destroy(runner);
        remove_beside();
        fixture_end();
    }
}

TEST(an_old_snapshot_is_made_anew_after_hours)
{
    fixture_begin();
    struct stele_runner_options options = options_of(0, false);
    options.snapshot_hours = 1;
    struct stele_runner *runner = bank_runner(options);
    deposit(runner, "account-1", 1, 5);
    CHECK_EQ(load(runner, &account_fold, "account-1", 0).balance, 1);
    CHECK_EQ(stats_of(runner).snapshots_written, 0);
    /* One that somebody made two hours ago. */
    char metadata[200];
    struct stele_stream_info info;
    CHECK_OK(stele_stream_info(store, "account-1", &info, &err), err);
    const int size =
        snprintf(metadata, sizeof metadata,
                 "{\"fingerprint\":\"%016llx\",\"revision\":%llu,\"position\":%llu,\"count\":5}",
                 (unsigned long long)stele_fold_fingerprint(&account_fold),
                 (unsigned long long)info.revision_last, (unsigned long long)info.position_last);
    const struct account account = bank_read("account-1");
    struct stele_event_draft draft = fixture_draft(9, "");
    draft.data = &account;
    draft.data_size = sizeof account;
    draft.metadata = metadata;
    draft.metadata_size = (size_t)size;
    draft.content_type = "application/octet-stream";
    draft.created_us =
        stele_position_time(stele_last_position(store)) - 2 * 3600 * INT64_C(1000000);
    CHECK_OK(
        stele_append(store, "$snapshot-account-account-1", STELE_EXPECT_ANY, &draft, 1, NULL, &err),
        err);
    CHECK_EQ(load(runner, &account_fold, "account-1", 0).balance, 1);
    CHECK_EQ(stats_of(runner).snapshots_used, 1);
    CHECK_EQ(stats_of(runner).snapshots_written, 0);
    deposit(runner, "account-1", 1, 1);
    CHECK_EQ(load(runner, &account_fold, "account-1", 0).balance, 2);
    CHECK_EQ(stats_of(runner).snapshots_written, 1);
    stele_runner_destroy(runner);
    fixture_end();
}

TEST(a_snapshot_that_cannot_be_written_fails_nothing)
{
    FIXTURE_EMBEDDED_ONLY();
    fixture_begin();
    struct stele_runner *runner = bank_runner(options_of(2, true));
    remove_beside(); /* Its directory is gone, and a file is in its place. */
    char directory[100];
    (void)snprintf(directory, sizeof directory, "%s-snapshots", fixture_path);
    FILE *file = fopen(directory, "w");
    CHECK(file != NULL);
    (void)fclose(file);
    for (int i = 0; i < 10; i++) {
        deposit(runner, "account-1", 1, 1);
    }
    CHECK(stats_of(runner).snapshots_failed > 0);
    CHECK_EQ(stats_of(runner).snapshots_written, 0);
    CHECK_EQ(bank_read("account-1").balance, 10);
    stele_runner_destroy(runner);
    CHECK_EQ(remove(directory), 0);
    fixture_end();
}

/* Every byte of the only snapshot file, turned over. */
static char snapshot_file[200];

static int find_file(const char *path, const struct stat *status, int flag, struct FTW *walk)
{
    (void)status, (void)walk;
    if (flag == FTW_F) {
        (void)snprintf(snapshot_file, sizeof snapshot_file, "%s", path);
    }
    return 0;
}

TEST(a_damaged_file_is_not_used)
{
    FIXTURE_EMBEDDED_ONLY();
    fixture_begin();
    struct stele_runner *runner = bank_runner(options_of(10, true));
    deposit(runner, "account-1", 10, 20);
    CHECK_EQ(load(runner, &account_fold, "account-1", 0).balance, 10);
    CHECK_EQ(stats_of(runner).snapshots_written, 1);
    stele_runner_destroy(runner);
    char directory[100];
    (void)snprintf(directory, sizeof directory, "%s-snapshots", fixture_path);
    CHECK_EQ(nftw(directory, find_file, 8, FTW_PHYS), 0);
    runner = bank_runner(options_of(1000, true));
    FILE *file = fopen(snapshot_file, "r+");
    CHECK(file != NULL);
    (void)fseek(file, 0, SEEK_END);
    const long size = ftell(file);
    CHECK(size > 56);
    for (long at = 0; at < size; at++) {
        CHECK_EQ(fseek(file, at, SEEK_SET), 0);
        const int byte = fgetc(file);
        CHECK_EQ(fseek(file, at, SEEK_SET), 0);
        CHECK(fputc(byte ^ 0x10, file) >= 0);
        (void)fflush(file);
        CHECK_EQ(load(runner, &account_fold, "account-1", 0).balance, 10);
        CHECK_EQ(fseek(file, at, SEEK_SET), 0);
        CHECK(fputc(byte, file) >= 0);
        (void)fflush(file);
    }
    struct stele_runner_stats stats = stats_of(runner);
    CHECK_EQ(stats.snapshots_used, 0);
    CHECK_EQ(stats.snapshots_unusable, size);
    for (long cut = 0; cut < size; cut++) {
        CHECK_EQ(ftruncate(fileno(file), size - 1 - cut), 0);
        CHECK_EQ(load(runner, &account_fold, "account-1", 0).balance, 10);
    }
    stats = stats_of(runner);
    CHECK_EQ(stats.snapshots_used, 0);
    (void)fclose(file);
    stele_runner_destroy(runner);
    remove_beside();
    fixture_end();
}

TEST(effective_order_is_folded_from_the_store)
{
    fixture_begin();
    struct stele_runner *runner = bank_runner(options_of(2, false));
    struct stele_event_draft drafts[3];
    static const char *const datas[] = {"{\"amount\":1}", "{\"amount\":2}", "{\"amount\":5}"};
    char correction[100];
    for (size_t i = 0; i < 3; i++) {
        drafts[i] = fixture_draft(i + 1, datas[i]);
    }
    char id[37];
    stele_id_to_text(drafts[1].id, id);
    drafts[1].metadata = "{\"effective\":\"2020-03-01T00:00:00Z\"}";
    drafts[1].metadata_size = strlen(drafts[1].metadata);
    drafts[2].metadata = correction;
    drafts[2].metadata_size =
        (size_t)snprintf(correction, sizeof correction, "{\"corrects\":\"%s\"}", id);
    uint64_t positions[3];
    for (size_t i = 0; i < 3; i++) {
        struct stele_append_result result;
        CHECK_OK(stele_append(store, "account-1", STELE_EXPECT_ANY, &drafts[i], 1, &result, &err),
                 err);
        positions[i] = result.position_last;
    }
    struct stele_memory *memory = stele_memory_create();
    struct stele_state *state = NULL;
    const struct {
        uint64_t known_at;
        int64_t until_us;
        int64_t order;
    } cases[] = {{0, 0, 51},
                 {positions[1], 0, 21},
                 {positions[0], 0, 1},
                 {0, INT64_C(1583020800000000), 5},
                 {positions[1], INT64_C(1583020800000000), 2}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        CHECK_OK(stele_runner_load_effective(runner, &account_fold, "account-1", cases[i].known_at,
                                             cases[i].until_us, memory, &state, &err),
                 err);
        CHECK_EQ(((const struct account *)stele_state_value(state))->order, cases[i].order);
    }
    CHECK_OK(stele_runner_load_effective(runner, &account_fold, "account-none", 0, 0, memory,
                                         &state, &err),
             err);
    CHECK_EQ(stele_state_count(state), 0);
    stele_memory_destroy(memory);
    stele_runner_destroy(runner);
    fixture_end();
}
