/* Metadata hides exactly what it says, deletes hide and bring back, scavenging removes exactly what
 * is hidden, listings are sorted and complete, verify and digest notice any change. */
#include "fixture.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdbool.h>

static const struct stele_read_options defaults = STELE_READ_OPTIONS_INIT;

static void append_many(const char *stream, uint64_t first, uint64_t count)
{
    char data[200];
    memset(data, 'x', sizeof data - 1);
    data[sizeof data - 1] = '\0';
    for (uint64_t i = 0; i < count; i++) {
        CHECK_OK(fixture_append(stream, STELE_EXPECT_ANY, first + i, data, NULL), err);
    }
}

static void set_metadata(const char *stream, const char *json)
{
    CHECK_OK(stele_set_metadata(store, stream, STELE_EXPECT_ANY, json, strlen(json), NULL, &err),
             err);
}

TEST(metadata_is_kept_and_checked)
{
    fixture_begin();
    char buffer[256];
    size_t size = 0;
    uint64_t revision = 0;
    CHECK_OUTCOME(stele_get_metadata(store, "s", buffer, sizeof buffer, &size, &revision, &err),
                  STELE_NOT_FOUND, err);
    set_metadata("s", "{\"$maxCount\":3,\"mine\":[1]}");
    set_metadata("s", "{\"$maxCount\":4}");
    CHECK_OK(stele_get_metadata(store, "s", buffer, sizeof buffer, &size, &revision, &err), err);
    CHECK_EQ(revision, 1);
    CHECK_EQ(size, strlen("{\"$maxCount\":4}"));
    CHECK_BYTES_EQ(buffer, "{\"$maxCount\":4}", size);
    const char *const bad[] = {"",
                               "[]",
                               "{",
                               "{\"$maxCount\":0}",
                               "{\"$maxCount\":\"3\"}",
                               "{\"$maxAge\":-1}",
                               "{\"$tb\":-1}",
                               "{\"$acl\":[]}",
                               "{\"$acl\":{\"$r\":3}}",
                               "{\"a\":1,\"a\":2}",
                               "{\"$maxCount\":99999999999999999999}"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        CHECK_OUTCOME(
            stele_set_metadata(store, "s", STELE_EXPECT_ANY, bad[i], strlen(bad[i]), NULL, &err),
            STELE_E_INVALID, err);
        CHECK_TEXT_HAS(err.message, "metadata");
    }
    CHECK_OUTCOME(stele_set_metadata(store, "$$s", STELE_EXPECT_ANY, "{}", 2, NULL, &err),
                  STELE_E_INVALID, err);
    /* What is outside of a range says which. */
    static const char old[] = "{\"$maxAge\":4000000000}";
    static const char negative[] = "{\"$tb\":-1}";
    CHECK_OUTCOME(stele_set_metadata(store, "s", STELE_EXPECT_ANY, old, strlen(old), NULL, &err),
                  STELE_E_INVALID, err);
    CHECK_TEXT_HAS(err.message,
                   "$maxAge is 4000000000, but has to be from 1 to 3162240000 seconds");
    CHECK_OUTCOME(
        stele_set_metadata(store, "s", STELE_EXPECT_ANY, negative, strlen(negative), NULL, &err),
        STELE_E_INVALID, err);
    CHECK_TEXT_HAS(err.message, "$tb is -1, but has to be from 0 to 9223372036854775807");
    fixture_end();
}

TEST(limits_hide_the_oldest_events)
{
    fixture_begin();
    append_many("s", 1, 100);
    set_metadata("s", "{\"$maxCount\":10}");
    CHECK_EQ(fixture_count("s", defaults), 10);
    append_many("s", 1000, 5);
    CHECK_EQ(fixture_count("s", defaults), 10);
    struct stele_read_options options = STELE_READ_OPTIONS_INIT;
    options.ignore_limits = 1;
    CHECK_EQ(fixture_count("s", options), 105);
    options.backwards = 1;
    options.from = STELE_FROM_END;
    CHECK_EQ(fixture_count("s", options), 105);
    options.ignore_limits = 0;
    CHECK_EQ(fixture_count("s", options), 10);
    set_metadata("s", "{\"$tb\":103}");
    CHECK_EQ(fixture_count("s", defaults), 2);
    struct stele_stream_info info;
    CHECK_OK(stele_stream_info(store, "s", &info, &err), err);
    CHECK_EQ(info.revision_first, 103);
    CHECK_EQ(info.revision_last, 104);

    struct stele_event_draft old = fixture_draft(5000, "{}");
    old.created_us = 1000000; /* 1970. */
    CHECK_OK(stele_append(store, "aged", STELE_EXPECT_ANY, &old, 1, NULL, &err), err);
    append_many("aged", 5001, 1);
    CHECK_EQ(fixture_count("aged", defaults), 2);
    set_metadata("aged", "{\"$maxAge\":3600}");
    CHECK_EQ(fixture_count("aged", defaults), 1);
    fixture_end();
}

TEST(a_deleted_stream_is_gone_until_it_is_appended_to)
{
    fixture_begin();
    CHECK_OUTCOME(stele_delete(store, "s", STELE_EXPECT_ANY, NULL, &err), STELE_NO_STREAM, err);
    append_many("s", 1, 10);
    CHECK_OUTCOME(stele_delete(store, "s", 3, NULL, &err), STELE_WRONG_REVISION, err);
    CHECK_OK(stele_delete(store, "s", 9, NULL, &err), err);
    struct stele_iterator *iterator = NULL;
    CHECK_OUTCOME(stele_read_stream(store, "s", NULL, &iterator, &err), STELE_NO_STREAM, err);
    CHECK_OUTCOME(stele_delete(store, "s", STELE_EXPECT_ANY, NULL, &err), STELE_NO_STREAM, err);
    struct stele_append_result result;
    CHECK_OUTCOME(fixture_append("s", STELE_EXPECT_EXISTS, 90, "{}", &result), STELE_WRONG_REVISION,
                  err);
    fixture_reopen();
    CHECK_OK(fixture_append("s", STELE_EXPECT_NO_STREAM, 100, "{}", &result), err);
    CHECK_EQ(result.revision_first, 10);
    CHECK_OK(fixture_append("s", STELE_EXPECT_NO_STREAM, 100, "{}", &result), err);
    CHECK_EQ(result.idempotent, 1);
    CHECK_EQ(fixture_count("s", defaults), 1);
    fixture_end();
}

TEST(a_tombstone_closes_a_stream_for_ever)
{
    fixture_begin();
    append_many("s", 1, 10);
    CHECK_OK(stele_tombstone(store, "s", 9, NULL, &err), err);
    for (int round = 0; round < 2; round++) {
        struct stele_iterator *iterator = NULL;
        CHECK_OUTCOME(stele_read_stream(store, "s", NULL, &iterator, &err), STELE_STREAM_DELETED,
                      err);
        CHECK_OUTCOME(fixture_append("s", STELE_EXPECT_ANY, 50, "{}", NULL), STELE_STREAM_DELETED,
                      err);
        CHECK_OUTCOME(stele_delete(store, "s", STELE_EXPECT_ANY, NULL, &err), STELE_STREAM_DELETED,
                      err);
        struct stele_stream_info info;
        CHECK_OK(stele_stream_info(store, "s", &info, &err), err);
        CHECK_EQ(info.tombstoned, 1);
        append_many("filler", 1000 + (uint64_t)round * 1000, 600);
        fixture_reopen();
    }
    fixture_end();
}

struct listed {
    char names[64][16];
    uint64_t counts[64];
    size_t count;
};

static int on_name(void *context, struct stele_text name, uint64_t count)
{
    struct listed *listed = context;
    CHECK(listed->count < 64 && name.size < 16);
    memcpy(listed->names[listed->count], name.data, name.size);
    listed->names[listed->count][name.size] = '\0';
    listed->counts[listed->count++] = count;
    return 0;
}

TEST(listings_are_sorted_and_bounded)
{
    fixture_begin();
    for (uint64_t i = 0; i < 2000; i++) {
        char stream[16];
        (void)snprintf(stream, sizeof stream, "%c-%02d", 'a' + (int)(i % 3), (int)(i % 30));
        CHECK_OK(fixture_append(stream, STELE_EXPECT_ANY, i + 1, "{\"some\":\"data\"}", NULL), err);
    }
    for (int round = 0; round < 2; round++) {
        struct listed listed = {.count = 0};
        CHECK_OK(stele_list(store, STELE_LIST_STREAMS, "", NULL, 0, on_name, &listed, &err), err);
        CHECK_EQ(listed.count, 30);
        uint64_t sum = 0;
        for (size_t i = 0; i < listed.count; i++) {
            CHECK(i == 0 || strcmp(listed.names[i - 1], listed.names[i]) < 0);
            sum += listed.counts[i];
        }
        CHECK_EQ(sum, 2000);
        listed.count = 0;
        CHECK_OK(stele_list(store, STELE_LIST_STREAMS, "b-", "b-10", 3, on_name, &listed, &err),
                 err);
        CHECK_EQ(listed.count, 3);
        CHECK_TEXT_EQ(listed.names[0], "b-13");
        listed.count = 0;
        CHECK_OK(stele_list(store, STELE_LIST_CATEGORIES, "", NULL, 0, on_name, &listed, &err),
                 err);
        CHECK_EQ(listed.count, 3);
        CHECK_TEXT_EQ(listed.names[2], "c");
        listed.count = 0;
        CHECK_OK(stele_list(store, STELE_LIST_TYPES, "", NULL, 0, on_name, &listed, &err), err);
        CHECK_EQ(listed.count, 1);
        CHECK_EQ(listed.counts[0], 2000);
        fixture_reopen();
    }
    fixture_end();
}

TEST(scavenging_removes_what_is_hidden_and_nothing_else)
{
    FIXTURE_EMBEDDED_ONLY();
    fixture_begin();
    append_many("kept", 1, 2000);
    append_many("short", 10000, 2000);
    append_many("deleted", 20000, 2000);
    append_many("closed", 30000, 2000);
    append_many("kept", 40000, 500);
    set_metadata("short", "{\"$maxCount\":5}");
    CHECK_OK(stele_delete(store, "deleted", STELE_EXPECT_ANY, NULL, &err), err);
    CHECK_OK(stele_tombstone(store, "closed", STELE_EXPECT_ANY, NULL, &err), err);
    append_many("kept", 50000, 2000);
    char digest[STELE_DIGEST_SIZE];
    CHECK_OK(stele_digest(store, digest, &err), err);
    struct stele_stats before;
    struct stele_stats after;
    CHECK_OK(stele_stats(store, &before, &err), err);
    struct stele_scavenge_result result;
    CHECK_OK(stele_scavenge(store, NULL, &result, &err), err);
    CHECK(result.segments_rewritten > 0);
    CHECK(result.events_removed > 4000);
    CHECK(result.bytes_after < result.bytes_before);
    CHECK_OK(stele_stats(store, &after, &err), err);
    CHECK(after.disk_size < before.disk_size);
    for (int round = 0; round < 3; round++) {
        CHECK_EQ(fixture_count("kept", defaults), 4500);
        CHECK_EQ(fixture_count("short", defaults), 5);
        struct stele_append_result appended;
        CHECK_OUTCOME(fixture_append("closed", STELE_EXPECT_ANY, 60000, "{}", NULL),
                      STELE_STREAM_DELETED, err);
        CHECK_OK(
            fixture_append("deleted", STELE_EXPECT_ANY, 61000 + (uint64_t)round, "{}", &appended),
            err);
        CHECK_EQ(appended.revision_first, 2000 + (uint64_t)round);
        struct stele_verify_options options = STELE_VERIFY_OPTIONS_INIT;
        options.against = digest;
        struct stele_verify_result verified;
        CHECK_OK(stele_verify(store, &options, &verified, &err), err);
        /* Again with what is left, then with an index that was made from what is left. */
        CHECK_OK(stele_scavenge(store, NULL, &result, &err), err);
        if (round == 1) {
            CHECK_EQ(stele_close(store), STELE_OK);
            DIR *directory = opendir(fixture_path);
            CHECK(directory != NULL);
            for (struct dirent *entry; (entry = readdir(directory)) != NULL;) {
                if (strstr(entry->d_name, ".run") != NULL) {
                    CHECK_EQ(unlinkat(dirfd(directory), entry->d_name, 0), 0);
                }
            }
            CHECK_EQ(closedir(directory), 0);
            fixture_open_with(fixture_options());
        } else {
            fixture_reopen();
        }
    }
    fixture_end();
}

static int damages;

static void on_damage(void *context, const struct stele_damage *damage)
{
    (void)context;
    (void)damage;
    damages++;
}

/* Changes one byte of the first file whose name ends so, at an offset; in_data: at the next place
 * from there that holds an event's data. */
static void damage_file(const char *suffix, off_t offset, bool in_data)
{
    DIR *directory = opendir(fixture_path);
    CHECK(directory != NULL);
    char name[256] = "";
    for (struct dirent *entry; (entry = readdir(directory)) != NULL;) {
        const size_t size = strlen(entry->d_name);
        if (size > strlen(suffix) && strcmp(entry->d_name + size - strlen(suffix), suffix) == 0 &&
            strcmp(entry->d_name, "spare.seg") != 0 &&
            (name[0] == '\0' || strcmp(entry->d_name, name) < 0)) {
            (void)snprintf(name, sizeof name, "%s", entry->d_name);
        }
    }
    CHECK(name[0] != '\0');
    const int fd = openat(dirfd(directory), name, O_RDWR);
    CHECK(fd >= 0);
    unsigned char byte = 0;
    while (in_data) {
        char bytes[8];
        CHECK_EQ(pread(fd, bytes, sizeof bytes, offset), sizeof bytes);
        if (memcmp(bytes, "xxxxxxxx", sizeof bytes) == 0) {
            break;
        }
        offset++;
    }
    CHECK_EQ(pread(fd, &byte, 1, offset), 1);
    byte ^= 0x10;
    CHECK_EQ(pwrite(fd, &byte, 1, offset), 1);
    CHECK_EQ(close(fd), 0);
    CHECK_EQ(closedir(directory), 0);
}

TEST(damage_is_reported_and_the_rest_is_served)
{
    FIXTURE_EMBEDDED_ONLY();
    fixture_begin();
    append_many("s", 1, 4000);
    char digest[STELE_DIGEST_SIZE];
    CHECK_OK(stele_digest(store, digest, &err), err);
    CHECK_EQ(stele_close(store), STELE_OK);
    damage_file(".seg", 70000, true); /* Of the first, sealed segment. */
    fixture_open_with(fixture_options());
    struct stele_verify_options options = STELE_VERIFY_OPTIONS_INIT;
    options.against = digest;
    options.on_damage = on_damage;
    damages = 0;
    CHECK_OUTCOME(stele_verify(store, &options, NULL, &err), STELE_E_CORRUPT, err);
    CHECK(damages >= 2); /* The place itself, and the history that is not that of the digest. */
    struct stele_iterator *iterator = NULL;
    CHECK_OK(stele_read_stream(store, "s", NULL, &iterator, &err), err);
    size_t good = 0;
    size_t bad = 0;
    for (;;) {
        const struct stele_event *events = NULL;
        size_t count = 0;
        const int outcome = stele_iterator_next(iterator, &events, &count, &err);
        if (outcome == STELE_END) {
            break;
        }
        CHECK(outcome == STELE_OK || outcome == STELE_E_CORRUPT);
        if (outcome == STELE_E_CORRUPT) {
            CHECK_TEXT_HAS(err.message, ".seg");
            CHECK_TEXT_HAS(err.message, "offset");
            bad++;
        } else {
            good += count;
        }
    }
    stele_iterator_destroy(iterator);
    CHECK_EQ(bad, 1);
    CHECK_EQ(good, 3999);
    damages = 0;
    CHECK_EQ(stele_damages(store, on_damage, NULL), STELE_OK);
    CHECK(damages >= 1);
    fixture_end();
}

TEST(an_index_that_is_lost_is_rebuilt)
{
    FIXTURE_EMBEDDED_ONLY();
    fixture_begin();
    append_many("s", 1, 3000);
    append_many("t", 10000, 10);
    CHECK_EQ(stele_close(store), STELE_OK);
    damage_file(".run", 200, false);
    fixture_open_with(fixture_options());
    CHECK_EQ(fixture_count("s", defaults), 3000);
    struct stele_append_result result;
    CHECK_OK(fixture_append("s", 2999, 99999, "{}", &result), err);
    CHECK_EQ(result.revision_first, 3000);
    CHECK_OK(stele_verify(store, NULL, NULL, &err), err);
    fixture_end();
}

TEST(a_digest_in_the_wrong_form_is_refused)
{
    fixture_begin();
    const char *const bad[] = {"",
                               "stele1:", "stele2:0000000000000000:0000000000000000:", "stele1:zz"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct stele_verify_options options = STELE_VERIFY_OPTIONS_INIT;
        options.against = bad[i];
        CHECK_OUTCOME(stele_verify(store, &options, NULL, &err), STELE_E_INVALID, err);
    }
    fixture_end();
}

/* Words that something went around on the way belong to nobody who was told that all is well. */
#define SILENT(call)                                                                               \
    do {                                                                                           \
        err = (struct stele_error){.outcome = 77, .message = "untouched"};                         \
        const int silent_outcome = (call);                                                         \
        if (silent_outcome != STELE_OK || err.outcome != 77 ||                                     \
            strcmp(err.message, "untouched") != 0) {                                               \
            check_failed(__FILE__, __LINE__, "%s: %d, \"%s\"", #call, silent_outcome,              \
                         err.message);                                                             \
        }                                                                                          \
    } while (0)

static int ignore_name(void *context, struct stele_text name, uint64_t count)
{
    (void)context;
    (void)name;
    (void)count;
    return 0;
}

TEST(words_are_written_only_on_failure)
{
    fixture_begin();
    const struct stele_event_draft draft = fixture_draft(1, "{}");
    const struct stele_read_options options = STELE_READ_OPTIONS_INIT;
    for (int life = 0; life < 2; life++) {
        struct stele_iterator *iterator = NULL;
        const struct stele_event *events = NULL;
        struct stele_stream_info info;
        struct stele_stats stats;
        struct stele_scavenge_result scavenged;
        struct stele_verify_result verified;
        char digest[STELE_DIGEST_SIZE];
        size_t count = 0;
        uint64_t revision = 0;
        /* The second time all of these find their events stored before. */
        SILENT(stele_append(store, "s", STELE_EXPECT_ANY, &draft, 1, NULL, &err));
        SILENT(
            stele_set_metadata(store, "s", STELE_EXPECT_ANY, "{\"$maxCount\":5}", 15, NULL, &err));
        SILENT(stele_get_metadata(store, "s", digest, sizeof digest, &count, &revision, &err));
        SILENT(stele_stream_info(store, "s", &info, &err));
        SILENT(stele_list(store, STELE_LIST_STREAMS, "", NULL, 0, ignore_name, NULL, &err));
        SILENT(stele_read_stream(store, "s", &options, &iterator, &err));
        SILENT(stele_iterator_next(iterator, &events, &count, &err));
        stele_iterator_destroy(iterator);
        SILENT(stele_read_all(store, &options, &iterator, &err));
        SILENT(stele_iterator_next(iterator, &events, &count, &err));
        stele_iterator_destroy(iterator);
        SILENT(stele_wait(store, 0, 1000, &err));
        SILENT(stele_stats(store, &stats, &err));
        SILENT(stele_digest(store, digest, &err));
        SILENT(stele_verify(store, NULL, &verified, &err));
        SILENT(stele_scavenge(store, NULL, &scavenged, &err));
        SILENT(stele_delete(store, "s", STELE_EXPECT_ANY, NULL, &err));
        SILENT(stele_append(store, "t", STELE_EXPECT_ANY,
                            &(struct stele_event_draft){.type = "T", .id = {9, (uint8_t)life}}, 1,
                            NULL, &err));
        SILENT(stele_tombstone(store, life == 0 ? "u" : "v", STELE_EXPECT_ANY, NULL, &err));
        if (life == 0) {
            fixture_reopen();
        }
    }
    fixture_end();
}
