/* A keyring that is lost, damaged, old, or another one gives an error of its own, and never anybody's data;
 * whatever happens to it, the erasure records of the store win.
 *
 * Method: files are damaged, exchanged, restored; random histories are compared with a naive model. */
#include "keys_fixture.h"
#include "lib/rng.h"

#include <fcntl.h>

TEST(a_restored_backup_of_the_keyring_revives_nobody)
{
    char backup[96];
    char other[96];
    uint32_t erased = 0;
    begin();
    (void)snprintf(backup, sizeof backup, "%s.backup", keyring_path);
    (void)snprintf(other, sizeof other, "%s.other", keyring_path);
    CHECK_OK(append_for("a", STELE_EXPECT_ANY, 1, "of ada", "ada", NULL), err);
    CHECK_OK(stele_keyring_backup(keyring, backup, &err), err);
    CHECK_OK(append_for("a", STELE_EXPECT_ANY, 2, "of bob", "bob", NULL), err);
    CHECK_OK(stele_shred(store, "ada", 0, NULL, &err), err);
    CHECK_EQ(stele_close(store), STELE_OK);
    stele_keyring_close(keyring);
    /* The keyring is lost, and comes from a backup from before the shredding: the store knows better. */
    const struct stele_master master = key_master();
    CHECK_OK(stele_keyring_restore(other, backup, &master, &erased, &err), err);
    CHECK_EQ(erased, 0);
    CHECK_OK(stele_keyring_open(other, &master, 0, &keyring, &err), err);
    fixture_open_with(fixture_options());
    CHECK_OK(stele_use_keyring(store, keyring, &erased, &err), err);
    CHECK_EQ(erased, 1);
    read_at("a", 0);
    CHECK_TEXT_EQ(got.data, "null");
    CHECK((got.flags & STELE_EVENT_SHREDDED) != 0);
    /* Bob came later: his key is in none of it. */
    read_at("a", 1);
    CHECK_EQ(got.outcome, STELE_E_KEY);
    CHECK_TEXT_HAS(err.message, "no key for it");
    /* And it is in the file, for those who ask no store. */
    struct stele_keyring_info info;
    stele_keyring_close(keyring);
    CHECK_OK(stele_keyring_open(other, &master, 1, &keyring, &err), err);
    CHECK_OK(stele_keyring_info(keyring, &info, &err), err);
    CHECK_EQ(info.live, 0);
    CHECK_EQ(info.erased, 1);
    /* Restored over the keyring that is there, both keep what they know better. */
    CHECK_OK(stele_keyring_restore(keyring_path, backup, &master, &erased, &err), err);
    CHECK_EQ(erased, 1);
    CHECK_EQ(stele_close(store), STELE_OK);
    stele_keyring_close(keyring);
    open_keyring(0);
    fixture_open_with(fixture_options());
    CHECK_OK(stele_use_keyring(store, keyring, &erased, &err), err);
    read_at("a", 1);
    CHECK_TEXT_EQ(got.data, "of bob");
    remove_directory(backup);
    remove_directory(other);
    end();
}

TEST(the_wrong_keyring_and_the_wrong_master_key_are_told_apart)
{
    char other_path[96];
    struct stele_keyring *other = NULL;
    struct stele_keyring *again = NULL;
    uint8_t wrong[32] = {1};
    begin();
    CHECK_OK(append_for("a", STELE_EXPECT_ANY, 1, "of ada", "ada", NULL), err);
    const struct stele_master bad = {.key = wrong};
    CHECK_OUTCOME(stele_keyring_open(keyring_path, &bad, 0, &again, &err), STELE_E_KEY, err);
    CHECK_TEXT_HAS(err.message, "master key is not the one");
    const struct stele_master phrase = {.passphrase = "passphrase", .passphrase_size = 10};
    CHECK_OUTCOME(stele_keyring_open(keyring_path, &phrase, 0, &again, &err), STELE_E_KEY, err);
    CHECK_TEXT_HAS(err.message, "opened by a key file");
    (void)snprintf(other_path, sizeof other_path, "%s.other", keyring_path);
    const struct stele_master master = key_master();
    CHECK_OUTCOME(stele_keyring_open(other_path, &master, 0, &again, &err), STELE_NOT_FOUND, err);
    CHECK_OK(stele_keyring_create(other_path, &master, &other, &err), err);
    CHECK_OUTCOME(stele_keyring_create(other_path, &master, &again, &err), STELE_E_INVALID, err);
    CHECK_OK(stele_use_keyring(store, other, NULL, &err), err);
    read_at("a", 0);
    CHECK_EQ(got.outcome, STELE_E_KEY);
    CHECK_OK(stele_use_keyring(store, keyring, NULL, &err), err);
    read_at("a", 0);
    CHECK_TEXT_EQ(got.data, "of ada");
    CHECK_OUTCOME(stele_keyring_restore(keyring_path, other_path, &master, NULL, &err),
                  STELE_E_INVALID, err);
    CHECK_OUTCOME(stele_keyring_backup(keyring, other_path, &err), STELE_E_INVALID, err);
    stele_keyring_close(other);
    remove_directory(other_path);
    end();
}

TEST(a_damaged_keyring_says_so_and_a_backup_mends_it)
{
    char backup[96];
    char file[96];
    struct stele_keyring *again = NULL;
    const struct stele_master master = key_master();
    begin();
    (void)snprintf(backup, sizeof backup, "%s.backup", keyring_path);
    (void)snprintf(file, sizeof file, "%s/keyring", keyring_path);
    CHECK_OK(append_for("a", STELE_EXPECT_ANY, 1, "of ada", "ada", NULL), err);
    CHECK_OK(stele_keyring_backup(keyring, backup, &err), err);
    const int fd = open(file, O_RDWR | O_CLOEXEC);
    uint8_t byte = 0;
    CHECK_EQ(pread(fd, &byte, 1, 300), 1);
    byte ^= 1;
    CHECK_EQ(pwrite(fd, &byte, 1, 300), 1);
    CHECK_OUTCOME(stele_keyring_open(keyring_path, &master, 0, &again, &err), STELE_E_CORRUPT, err);
    CHECK_TEXT_HAS(err.message, "checksum");
    CHECK_EQ(ftruncate(fd, 20), 0);
    CHECK_OUTCOME(stele_keyring_open(keyring_path, &master, 0, &again, &err), STELE_E_CORRUPT, err);
    CHECK_EQ(ftruncate(fd, 0), 0);
    CHECK_OUTCOME(stele_keyring_open(keyring_path, &master, 0, &again, &err), STELE_E_FORMAT, err);
    CHECK_EQ(close(fd), 0);
    CHECK_OK(stele_keyring_restore(keyring_path, backup, &master, NULL, &err), err);
    reopen();
    read_at("a", 0);
    CHECK_TEXT_EQ(got.data, "of ada");
    remove_directory(backup);
    end();
}

TEST(a_passphrase_opens_a_keyring_and_rewrapping_shuts_out_the_old_master_key)
{
    struct stele_keyring *again = NULL;
    char backup[96];
    begin();
    (void)snprintf(backup, sizeof backup, "%s.backup", keyring_path);
    CHECK_OK(append_for("a", STELE_EXPECT_ANY, 1, "of ada", "ada", NULL), err);
    struct stele_keyring *reader = NULL;
    const struct stele_master master = key_master();
    CHECK_OK(stele_keyring_open(keyring_path, &master, 1, &reader, &err), err);
    const struct stele_master phrase = {.passphrase = "correct horse", .passphrase_size = 13};
    CHECK_OK(stele_keyring_rewrap(keyring, &phrase, &err), err);
    CHECK_OUTCOME(stele_keyring_open(keyring_path, &master, 0, &again, &err), STELE_E_KEY, err);
    CHECK_TEXT_HAS(err.message, "opened by a passphrase");
    const struct stele_master wrong = {.passphrase = "correct house", .passphrase_size = 13};
    CHECK_OUTCOME(stele_keyring_open(keyring_path, &wrong, 0, &again, &err), STELE_E_KEY, err);
    CHECK_OK(stele_keyring_open(keyring_path, &phrase, 0, &again, &err), err);
    CHECK_OK(stele_keyring_backup(again, backup, &err), err);
    CHECK_OK(stele_keyring_backup(again, backup, &err), err);
    stele_keyring_close(again);
    /* Who has it open goes on; who only reads, and has the old master key, learns that it is no more. */
    CHECK_OK(append_for("a", STELE_EXPECT_ANY, 2, "more", "ada", NULL), err);
    struct stele_keyring_info info;
    CHECK_OUTCOME(stele_keyring_info(reader, &info, &err), STELE_E_KEY, err);
    stele_keyring_close(reader);
    const struct stele_master none = {.key = NULL};
    const struct stele_master small = {.passphrase = "short", .passphrase_size = 5};
    CHECK_OUTCOME(stele_keyring_rewrap(keyring, &none, &err), STELE_E_INVALID, err);
    CHECK_OUTCOME(stele_keyring_rewrap(keyring, &small, &err), STELE_E_INVALID, err);
    remove_directory(backup);
    end();
}

static int name_of_first(void *context, const struct stele_subject *subject)
{
    (void)snprintf(context, 64, "%.*s", (int)subject->name.size, subject->name.data);
    return 1;
}

TEST(processes_that_share_a_keyring_see_each_other_s_subjects_and_shredding)
{
    char first[64] = "";
    begin();
    const struct stele_master master = key_master();
    struct stele_keyring *other = NULL;
    CHECK_OK(stele_keyring_open(keyring_path, &master, 0, &other, &err), err);
    static const char *const bob[] = {"bob", "bob", "eve"};
    CHECK_OK(stele_keyring_add(other, bob, 3, &err), err);
    CHECK_OK(append_for("a", STELE_EXPECT_ANY, 1, "of ada", "ada", NULL), err);
    CHECK_OK(append_for("a", STELE_EXPECT_ANY, 2, "of bob", "bob", NULL), err);
    struct stele_keyring_info info;
    CHECK_OK(stele_keyring_info(other, &info, &err), err);
    CHECK_EQ(info.live, 3);
    CHECK_OK(stele_keyring_list(other, name_of_first, first, &err), err);
    CHECK_TEXT_EQ(first, "bob");
    CHECK_OK(stele_use_keyring(store, other, NULL, &err), err);
    read_at("a", 0);
    CHECK_TEXT_EQ(got.data, "of ada");
    CHECK_OK(stele_use_keyring(store, keyring, NULL, &err), err);
    CHECK_OK(stele_shred(store, "ada", 0, NULL, &err), err);
    /* The other handle has read the key before: it must not use it any more. */
    CHECK_OK(stele_use_keyring(store, other, NULL, &err), err);
    read_at("a", 0);
    CHECK_TEXT_EQ(got.data, "null");
    static const char *const ada[] = {"new", "ada"};
    CHECK_OUTCOME(stele_keyring_add(other, ada, 2, &err), STELE_E_KEY, err);
    CHECK_OK(stele_keyring_info(keyring, &info, &err), err);
    CHECK_EQ(info.live, 2);
    CHECK_OK(stele_use_keyring(store, keyring, NULL, &err), err);
    stele_keyring_close(other);
    end();
}

TEST(a_keyring_for_reading_opens_events_and_changes_nothing)
{
    begin();
    CHECK_OK(append_for("a", STELE_EXPECT_ANY, 1, "of ada", "ada", NULL), err);
    CHECK_OK(stele_use_keyring(store, NULL, NULL, &err), err);
    stele_keyring_close(keyring);
    open_keyring(1);
    CHECK_OK(stele_use_keyring(store, keyring, NULL, &err), err);
    read_at("a", 0);
    CHECK_TEXT_EQ(got.data, "of ada");
    CHECK_OK(append_for("a", STELE_EXPECT_ANY, 2, "more", "ada", NULL), err);
    CHECK_OUTCOME(append_for("a", STELE_EXPECT_ANY, 3, "more", "new", NULL), STELE_E_KEY, err);
    CHECK_OUTCOME(stele_shred(store, "ada", 0, NULL, &err), STELE_E_READ_ONLY, err);
    end();
}

TEST(files_of_a_keyring_are_for_its_owner_and_hold_no_name_in_the_clear)
{
    char file[96];
    char bytes[8192];
    struct stat status;
    begin();
    static const char *const subjects[] = {CANARY};
    CHECK_OK(stele_keyring_add(keyring, subjects, 1, &err), err);
    CHECK_EQ(stat(keyring_path, &status), 0);
    CHECK_EQ(status.st_mode & 0777, 0700);
    (void)snprintf(file, sizeof file, "%s/keyring", keyring_path);
    const int fd = open(file, O_RDONLY | O_CLOEXEC);
    const ssize_t size = pread(fd, bytes, sizeof bytes, 0);
    CHECK(size > 0);
    CHECK(memmem(bytes, (size_t)size, CANARY, strlen(CANARY)) == NULL);
    CHECK(memmem(bytes, (size_t)size, master_key, 32) == NULL);
    end();
}

TEST(shredding_overwrites_the_file_before_also_where_it_has_another_name)
{
    char file[96];
    char other[96];
    char bytes[8192];
    begin();
    CHECK_OK(append_for("a", STELE_EXPECT_ANY, 1, "of ada", "ada", NULL), err);
    (void)snprintf(file, sizeof file, "%s/keyring", keyring_path);
    (void)snprintf(other, sizeof other, "%s/linked", keyring_path);
    CHECK_EQ(link(file, other), 0);
    CHECK_OK(stele_shred(store, "ada", 0, NULL, &err), err);
    const int fd = open(other, O_RDONLY | O_CLOEXEC);
    const ssize_t size = pread(fd, bytes, sizeof bytes, 0);
    CHECK(size > 200);
    for (ssize_t i = 0; i < size; i++) {
        CHECK_EQ(bytes[i], 0);
    }
    CHECK_EQ(close(fd), 0);
    end();
}

TEST(a_policy_file_is_taken_when_the_keyring_is_opened_and_mistakes_in_it_are_told)
{
    static const char policy[] = "{\"seal\":[{\"types\":[\"Noted\"],\"subject\":\"$stream\"}]}";
    static const struct {
        const char *json;
        const char *message;
    } bad[] = {
        {"{", "line 1"},
        {"[]", "has to be"},
        {"{\"seal\":[],\"more\":1}", "has to be"},
        {"{\"seal\":[1]}", "rule 1: it has to be an object"},
        {"{\"seal\":[{\"types\":[\"A\"],\"subject\":\"/a\",\"field\":[\"/b\"]}]}", "field"},
        {"{\"seal\":[{\"types\":[\"A\"]}]}", "subject is missing"},
        {"{\"seal\":[{\"subject\":\"/a\"}]}", "types is missing"},
        {"{\"seal\":[{\"types\":[],\"subject\":\"/a\"}]}", "types"},
        {"{\"seal\":[{\"types\":[\"\"],\"subject\":\"/a\"}]}", "not empty"},
        {"{\"seal\":[{\"types\":[\"A\"],\"subject\":\"a\"}]}", "JSON pointer"},
        {"{\"seal\":[{\"types\":[\"A\"],\"subject\":\"$other\"}]}", "$stream"},
        {"{\"seal\":[{\"types\":[\"A\"],\"subject\":\"/a\",\"fields\":[\"/~2\"]}]}",
         "JSON pointer"},
        {"{\"seal\":[{\"types\":[\"A\"],\"subject\":\"/a\",\"metadata\":1}]}", "metadata"},
    };
    begin();
    CHECK_OK(stele_keyring_save_policy(keyring, policy, strlen(policy), &err), err);
    reopen();
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        CHECK_OUTCOME(stele_keyring_save_policy(keyring, bad[i].json, strlen(bad[i].json), &err),
                      STELE_E_INVALID, err);
        CHECK_TEXT_HAS(err.message, bad[i].message);
    }
    const struct stele_event_draft draft = draft_of(1, "Noted", CANARY);
    CHECK_OK(stele_append(store, "a", STELE_EXPECT_ANY, &draft, 1, NULL, &err), err);
    CHECK_EQ(files_with_canary(), 0);
    end();
}

/* ---- Model ---- */

#define SUBJECTS 6
#define STREAMS 4
#define STEPS 400

struct modelled {
    char data[128];
    int subject; /* -1: not sealed. */
    bool fields;
};

static struct modelled model[STREAMS][STEPS];
static size_t model_count[STREAMS];
static bool model_shredded[SUBJECTS];

static void model_append(struct rng *rng, uint64_t number)
{
    static const char *const fields[] = {"/secret"};
    const size_t stream = rng_below(rng, STREAMS);
    const int subject = (int)rng_below(rng, SUBJECTS + 1) - 1;
    struct modelled *event = &model[stream][model_count[stream]];
    char stream_name[16];
    char subject_name[16];
    event->subject = subject;
    event->fields = rng_below(rng, 2) == 0;
    (void)snprintf(stream_name, sizeof stream_name, "model-%zu", stream);
    (void)snprintf(subject_name, sizeof subject_name, "subject-%d", subject);
    (void)snprintf(event->data, sizeof event->data, "{\"n\":%llu,\"secret\":\"%s-%llu\"}",
                   (unsigned long long)number, CANARY, (unsigned long long)number);
    if (subject < 0) {
        (void)snprintf(event->data, sizeof event->data, "{\"n\":%llu}", (unsigned long long)number);
    }
    const struct stele_event_draft draft = draft_of(number, "Modelled", event->data);
    const uint64_t exact =
        model_count[stream] == 0 ? STELE_EXPECT_NO_STREAM : model_count[stream] - 1;
    const struct stele_append one = {stream_name, rng_below(rng, 2) == 0 ? STELE_EXPECT_ANY : exact,
                                     &draft, 1};
    const struct stele_seal seal = {.subject = subject < 0 ? NULL : subject_name,
                                    .fields = event->fields ? fields : NULL,
                                    .fields_count = event->fields ? 1 : 0};
    const struct stele_seal *const seals[] = {&seal};
    const int outcome = stele_append_sealed(store, &one, seals, 1, NULL, 0, NULL, NULL, &err);
    const bool gone = subject >= 0 && model_shredded[subject];
    CHECK_OUTCOME(outcome, gone ? STELE_E_KEY : STELE_OK, err);
    model_count[stream] += gone ? 0 : 1;
}

static void model_check(void)
{
    for (size_t s = 0; s < STREAMS; s++) {
        char name[16];
        (void)snprintf(name, sizeof name, "model-%zu", s);
        for (size_t i = 0; i < model_count[s]; i++) {
            const struct modelled *event = &model[s][i];
            const bool gone = event->subject >= 0 && model_shredded[event->subject];
            char want[128];
            (void)snprintf(want, sizeof want, "%s", event->data);
            if (gone && event->fields) {
                (void)snprintf(strstr(want, "\"secret\":") + 9, 8, "null}");
            } else if (gone) {
                (void)snprintf(want, sizeof want, "null");
            }
            read_at(name, i);
            CHECK_OK(got.outcome, err);
            CHECK_TEXT_EQ(got.data, want);
            CHECK_EQ((got.flags & STELE_EVENT_SHREDDED) != 0, gone);
        }
    }
}

TEST(random_appends_and_shredding_read_as_a_naive_model_says)
{
    struct rng rng;
    begin();
    rng_init(&rng, 20260101, 0);
    memset(model_count, 0, sizeof model_count);
    memset(model_shredded, 0, sizeof model_shredded);
    for (uint64_t step = 0; step < STEPS; step++) {
        const uint64_t dice = rng_below(&rng, 100);
        if (dice < 2) {
            const size_t subject = rng_below(&rng, SUBJECTS);
            char name[16];
            (void)snprintf(name, sizeof name, "subject-%zu", subject);
            const int outcome = stele_shred(store, name, 0, NULL, &err);
            CHECK(outcome == STELE_OK || outcome == STELE_NOT_FOUND);
            model_shredded[subject] = model_shredded[subject] || outcome == STELE_OK;
        } else if (dice < 4) {
            model_check();
        } else if (dice < 5 && !fixture_is_remote()) {
            reopen();
        } else {
            model_append(&rng, step + 1);
        }
    }
    model_check();
    CHECK_EQ(files_with_canary(), 0);
    end();
}

/* ---- Packed and scavenged ---- */

TEST(no_file_of_a_compressed_and_scavenged_store_has_the_plaintext)
{
    FIXTURE_EMBEDDED_ONLY();
    static char data[2048];
    begin();
    CHECK_EQ(stele_close(store), STELE_OK);
    struct stele_options options = fixture_options();
    options.compress = 1;
    options.segment_size_max = 64 * 1024;
    CHECK_OK(stele_open(fixture_path, &options, &store, &err), err);
    CHECK_OK(stele_use_keyring(store, keyring, NULL, &err), err);
    for (uint64_t i = 0; i < 400; i++) {
        char stream[32];
        (void)snprintf(stream, sizeof stream, "bulk-%llu", (unsigned long long)(i % 7));
        (void)snprintf(data, sizeof data, "{\"text\":\"%0*d" CANARY "%0*d\"}", 400, 0, 400, 0);
        CHECK_OK(
            append_for(stream, STELE_EXPECT_ANY, i + 1, data, i % 2 == 0 ? "ada" : "bob", NULL),
            err);
    }
    CHECK_OK(stele_shred(store, "ada", 0, NULL, &err), err);
    CHECK_OK(stele_delete(store, "bulk-3", STELE_EXPECT_ANY, NULL, &err), err);
    struct stele_scavenge_result result;
    CHECK_OK(stele_scavenge(store, NULL, &result, &err), err);
    CHECK(result.events_removed > 0);
    CHECK_EQ(files_with_canary(), 0);
    CHECK_EQ(stele_close(store), STELE_OK);
    CHECK_OK(stele_open(fixture_path, &options, &store, &err), err);
    CHECK_EQ(files_with_canary(), 0);
    CHECK_OK(stele_use_keyring(store, keyring, NULL, &err), err);
    read_at("bulk-0", 0);
    CHECK_TEXT_EQ(got.data, "null");
    read_at("bulk-0", 1);
    CHECK_TEXT_HAS(got.data, CANARY);
    end();
}
