/* Opening either works or says what is wrong, and changes nothing then. */
#include "fixture.h"

#include <dirent.h>
#include <fcntl.h>

TEST(a_store_is_made_once_and_opened_again)
{
    fixture_begin();
    struct stele_stats first;
    struct stele_stats second;
    CHECK_OK(stele_stats(store, &first, &err), err);
    fixture_reopen();
    CHECK_OK(stele_stats(store, &second, &err), err);
    CHECK_BYTES_EQ(first.store_id, second.store_id, 16);
    CHECK_EQ(second.partitions, 128);
    fixture_end();
}

TEST(a_second_opening_names_the_owner)
{
    fixture_begin();
    struct stele *second = NULL;
    CHECK_OUTCOME(stele_open(fixture_path, NULL, &second, &err), STELE_E_LOCKED, err);
    char pid[32];
    (void)snprintf(pid, sizeof pid, "%d", (int)getpid());
    CHECK_TEXT_HAS(err.message, pid);
    fixture_end();
}

TEST(what_is_no_store_is_left_alone)
{
    char path[] = "/tmp/stele-test-XXXXXX";
    CHECK(mkdtemp(path) != NULL);
    struct stele *none = NULL;
    struct stele_options options = STELE_OPTIONS_INIT;
    options.create = 0;
    CHECK_OUTCOME(stele_open(path, &options, &none, &err), STELE_E_NOT_A_STORE, err);
    CHECK_EQ(rmdir(path), 0); /* Nothing was left in it. */
    CHECK_EQ(mkdir(path, 0700), 0);
    options.create = 1;
    char file[128];
    (void)snprintf(file, sizeof file, "%s/thesis.txt", path);
    const int fd = open(file, O_CREAT | O_WRONLY, 0600);
    CHECK(fd >= 0);
    CHECK_EQ(close(fd), 0);
    CHECK_OUTCOME(stele_open(path, &options, &none, &err), STELE_E_NOT_A_STORE, err);
    CHECK_OUTCOME(stele_open(file, &options, &none, &err), STELE_E_NOT_A_STORE, err);
    CHECK_EQ(unlink(file), 0);
    CHECK_EQ(rmdir(path), 0);
    options.read_only = 1;
    CHECK_OUTCOME(stele_open("/tmp/stele-there-is-no-such-directory", &options, &none, &err),
                  STELE_E_NOT_A_STORE, err);
    CHECK_OUTCOME(stele_open("", NULL, &none, &err), STELE_E_INVALID, err);
    CHECK_OUTCOME(stele_open(NULL, NULL, &none, &err), STELE_E_INVALID, err);
}

/* Is the store made beside this? The path is emptied again. */
static bool is_made_beside(const char *path, const char *name, mode_t kind)
{
    char other[256];
    (void)snprintf(other, sizeof other, "%s/%s", path, name);
    if (S_ISDIR(kind)) {
        CHECK_EQ(mkdir(other, 0700), 0);
    } else if (S_ISLNK(kind)) {
        CHECK_EQ(symlink("elsewhere", other), 0);
    } else {
        CHECK_EQ(mknod(other, kind | 0600, 0), 0);
    }
    struct stele *made = NULL;
    const int outcome = stele_open(path, NULL, &made, &err);
    if (outcome == STELE_OK) {
        CHECK_EQ(stele_close(made), STELE_OK);
    } else {
        CHECK_EQ(outcome, STELE_E_NOT_A_STORE);
        CHECK_TEXT_HAS(err.message, "choose an empty");
        CHECK_EQ(remove(other), 0); /* And that was all there was. */
        CHECK_EQ(rmdir(path), 0);
        return false;
    }
    /* A store may get company later. */
    CHECK_OK(stele_open(path, NULL, &made, &err), err);
    CHECK_EQ(stele_close(made), STELE_OK);
    (void)nftw(path, fixture_remove_one, 8, FTW_DEPTH | FTW_PHYS);
    return true;
}

TEST(no_store_is_made_beside_anything_else)
{
    static const struct {
        const char *name;
        mode_t kind;
        bool is_made;
    } others[] = {
        {"photos", S_IFDIR, false},
        {"lost+found", S_IFDIR, true}, /* The root of a file system that was just made. */
        {"lost+found", S_IFREG, false},
        {"photos", S_IFLNK, false},
        {"socket", S_IFIFO, false},
        {"a-name-that-is-much-longer-than-that-of-any-file-that-a-store-would-make", S_IFREG,
         false},
        {"0000000000000000.seg", S_IFREG, false},
        {"lock", S_IFREG, true}, /* Left behind by an opening that was cut short. */
        {"live", S_IFREG, true},
        {"stele.tmp", S_IFREG, true},
    };
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++) {
        char path[] = "/tmp/stele-test-XXXXXX";
        CHECK(mkdtemp(path) != NULL);
        if (is_made_beside(path, others[i].name, others[i].kind) != others[i].is_made) {
            check_failed(__FILE__, __LINE__, "beside %s", others[i].name);
        }
    }
}

TEST(words_are_written_only_when_opening_fails)
{
    fixture_begin();
    CHECK_OK(fixture_append("s", STELE_EXPECT_ANY, 1, "{}", NULL), err);
    CHECK_EQ(stele_close(store), STELE_OK);
    char file[128];
    (void)snprintf(file, sizeof file, "%s/mark", fixture_path);
    const struct stele_error before = {.outcome = 77, .message = "untouched"};
    for (int read_only = 0; read_only <= 1; read_only++) {
        CHECK_EQ(remove(file), 0); /* Not every file is there at every opening. */
        struct stele_options options = STELE_OPTIONS_INIT;
        options.read_only = read_only;
        err = before;
        CHECK_EQ(stele_open(fixture_path, &options, &store, &err), STELE_OK);
        CHECK_EQ(err.outcome, 77);
        CHECK_TEXT_EQ(err.message, "untouched");
        CHECK_EQ(stele_close(store), STELE_OK);
        if (read_only == 0) {
            CHECK_EQ(access(file, F_OK), 0);
        }
    }
    (void)nftw(fixture_path, fixture_remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

TEST(options_are_checked_by_name)
{
    char path[] = "/tmp/stele-test-XXXXXX";
    CHECK(mkdtemp(path) != NULL);
    struct stele *none = NULL;
    const struct stele_options good = STELE_OPTIONS_INIT;
    struct stele_options bad[6] = {good, good, good, good, good, good};
    bad[0].partitions = 0;
    bad[1].partitions = 1025;
    bad[2].segment_size_max = 1;
    bad[3].event_size_max = STELE_EVENT_SIZE_MAX + 1;
    bad[4].struct_size = 1000000;
    bad[5].struct_size = 0;
    for (size_t i = 0; i < 6; i++) {
        CHECK_OUTCOME(stele_open(path, &bad[i], &none, &err), STELE_E_INVALID, err);
    }
    strcpy(fixture_path, path);
    (void)nftw(fixture_path, fixture_remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

/* Overwrites bytes of both copies of the superblock. */
static void patch_superblock(off_t at, const void *bytes, size_t size)
{
    char file[128];
    (void)snprintf(file, sizeof file, "%s/stele.store", fixture_path);
    const int fd = open(file, O_RDWR);
    CHECK(fd >= 0);
    CHECK_EQ(pwrite(fd, bytes, size, at), size);
    CHECK_EQ(pwrite(fd, bytes, size, 4096 + at), size);
    CHECK_EQ(close(fd), 0);
}

TEST(a_damaged_superblock_is_told_and_one_copy_is_enough)
{
    fixture_begin();
    CHECK_OK(fixture_append("s", STELE_EXPECT_ANY, 1, "{}", NULL), err);
    CHECK_EQ(stele_close(store), STELE_OK);
    char file[128];
    (void)snprintf(file, sizeof file, "%s/stele.store", fixture_path);
    const int fd = open(file, O_RDWR);
    CHECK(fd >= 0);
    CHECK_EQ(pwrite(fd, "XXXX", 4, 20), 4);
    CHECK_EQ(close(fd), 0);
    fixture_open_with(fixture_options());
    CHECK_EQ(fixture_count("s", (struct stele_read_options)STELE_READ_OPTIONS_INIT), 1);
    CHECK_EQ(stele_close(store), STELE_OK);
    patch_superblock(40, "XXXXXXXX", 8);
    CHECK_OUTCOME(stele_open(fixture_path, NULL, &store, &err), STELE_E_CORRUPT, err);
    CHECK_TEXT_HAS(err.message, "stele.store");
    (void)nftw(fixture_path, fixture_remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

/* CRC-32C bit by bit: the test must not share code with what it tests. */
static uint32_t crc32c(const uint8_t *bytes, size_t size)
{
    uint32_t crc = UINT32_MAX;
    for (size_t i = 0; i < size; i++) {
        crc ^= bytes[i];
        for (int bit = 0; bit < 8; bit++) {
            crc = crc >> 1 ^ ((crc & 1U) != 0 ? 0x82f63b78U : 0U);
        }
    }
    return ~crc;
}

TEST(a_store_of_a_newer_format_is_refused_as_such)
{
    fixture_begin();
    CHECK_EQ(stele_close(store), STELE_OK);
    char file[128];
    uint8_t block[68];
    (void)snprintf(file, sizeof file, "%s/stele.store", fixture_path);
    const int fd = open(file, O_RDWR);
    CHECK(fd >= 0);
    CHECK_EQ(pread(fd, block, sizeof block, 0), sizeof block);
    CHECK_EQ(close(fd), 0);
    block[8] = 2;
    const uint32_t crc = crc32c(block, 64);
    for (int i = 0; i < 4; i++) {
        block[64 + i] = (uint8_t)(crc >> (8 * i));
    }
    patch_superblock(0, block, sizeof block);
    CHECK_OUTCOME(stele_open(fixture_path, NULL, &store, &err), STELE_E_FORMAT, err);
    CHECK_TEXT_HAS(err.message, "newer");
    (void)nftw(fixture_path, fixture_remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

/* ---- Damage ---- */

static unsigned count_runs(char first[64])
{
    unsigned count = 0;
    DIR *dir = opendir(fixture_path);
    CHECK(dir != NULL);
    for (const struct dirent *entry = readdir(dir); entry != NULL; entry = readdir(dir)) {
        if (strstr(entry->d_name, ".run") != NULL) {
            count++;
            if (first[0] == '\0' || strcmp(entry->d_name, first) < 0) {
                (void)snprintf(first, 64, "%.60s", entry->d_name);
            }
        }
    }
    CHECK_EQ(closedir(dir), 0);
    return count;
}

static int on_name(void *context, struct stele_text name, uint64_t count)
{
    (void)context;
    (void)name;
    (void)count;
    return 0;
}

/* A part of the index is lost, and the log from which it would be built again is damaged. */
TEST(what_the_index_cannot_know_is_refused_and_not_waited_for)
{
    fixture_begin();
    struct stele_append_result result;
    char first[64] = "";
    uint64_t events = 0;
    while (count_runs(first) < 2 && events < 200000) {
        for (int i = 0; i < 500; i++) {
            CHECK_OK(fixture_append("account-1", STELE_EXPECT_ANY, ++events, "some data", &result),
                     err);
        }
        first[0] = '\0';
    }
    CHECK_EQ(stele_close(store), STELE_OK);
    first[0] = '\0';
    CHECK(count_runs(first) >= 2);
    char path[160];
    (void)snprintf(path, sizeof path, "%s/%s", fixture_path, first);
    CHECK_EQ(unlink(path), 0);
    (void)snprintf(path, sizeof path, "%s/0000000000000000.seg", fixture_path);
    const int fd = open(path, O_RDWR | O_CLOEXEC);
    CHECK(fd >= 0);
    uint8_t byte = 0;
    CHECK_EQ(pread(fd, &byte, 1, 20000), 1);
    byte ^= 1;
    CHECK_EQ(pwrite(fd, &byte, 1, 20000), 1);
    CHECK_EQ(close(fd), 0);

    fixture_open_with(fixture_options());
    CHECK_EQ(fixture_append("account-1", STELE_EXPECT_ANY, ++events, "x", &result),
             STELE_E_CORRUPT);
    CHECK_EQ(stele_list(store, STELE_LIST_STREAMS, "", NULL, 0, on_name, NULL, &err),
             STELE_E_CORRUPT);
    fixture_end();
}
