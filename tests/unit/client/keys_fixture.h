/* A store with a keyring beside it; searching the store's files. */
#ifndef STELE_TESTS_UNIT_CLIENT_KEYS_FIXTURE_H
#define STELE_TESTS_UNIT_CLIENT_KEYS_FIXTURE_H

#include "fixture.h"

#include <stele/keys.h>

#define CANARY "canary-7f3a"

static char keyring_path[80];
static struct stele_keyring *keyring;
static uint8_t master_key[32];

static inline struct stele_master key_master(void)
{
    return (struct stele_master){.key = master_key};
}

static inline void begin(void)
{
    fixture_begin();
    (void)snprintf(keyring_path, sizeof keyring_path, "%s.keys", fixture_path);
    memset(master_key, 7, sizeof master_key);
    const struct stele_master master = key_master();
    CHECK_OK(stele_keyring_create(keyring_path, &master, &keyring, &err), err);
    CHECK_OK(stele_use_keyring(store, keyring, NULL, &err), err);
}

static inline void remove_directory(const char *path)
{
    (void)nftw(path, fixture_remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

static inline void end(void)
{
    fixture_end();
    stele_keyring_close(keyring);
    remove_directory(keyring_path);
}

static inline void open_keyring(int read_only)
{
    const struct stele_master master = key_master();
    CHECK_OK(stele_keyring_open(keyring_path, &master, read_only, &keyring, &err), err);
}

/* Opens store and keyring anew. */
static inline void reopen(void)
{
    CHECK_EQ(stele_close(store), STELE_OK);
    stele_keyring_close(keyring);
    open_keyring(0);
    fixture_open_with(fixture_options());
    CHECK_OK(stele_use_keyring(store, keyring, NULL, &err), err);
}

static inline void set_policy(const char *json)
{
    CHECK_OK(stele_keyring_set_policy(keyring, json, strlen(json), &err), err);
}

static inline struct stele_event_draft draft_of(uint64_t number, const char *type, const char *data)
{
    struct stele_event_draft draft = fixture_draft(number, data);
    draft.type = type;
    return draft;
}

/* Whole payload for one subject. */
static inline int append_for(const char *stream, uint64_t expected, uint64_t number,
                             const char *data, const char *subject,
                             struct stele_append_result *result)
{
    const struct stele_event_draft draft = draft_of(number, "Noted", data);
    const struct stele_append one = {stream, expected, &draft, 1};
    const struct stele_seal seal = {.subject = subject};
    const struct stele_seal *const seals[] = {&seal};
    return stele_append_sealed(store, &one, seals, 1, NULL, 0, NULL, result, &err);
}

/* ---- Reading one event ---- */

static struct {
    int outcome;
    char data[4096];
    char metadata[1024];
    char content_type[128];
    uint32_t flags;
    uint64_t revision;
} got;

static inline void read_at(const char *stream, uint64_t revision)
{
    struct stele_read_options options = STELE_READ_OPTIONS_INIT;
    struct stele_iterator *iterator = NULL;
    const struct stele_event *events = NULL;
    size_t count = 0;
    options.from = revision;
    options.limit = 1;
    CHECK_OK(stele_read_stream(store, stream, &options, &iterator, &err), err);
    got.outcome = stele_iterator_next(iterator, &events, &count, &err);
    (void)snprintf(got.data, sizeof got.data, "(%s: %.400s)", stele_outcome_name(got.outcome),
                   err.message);
    if (got.outcome == STELE_OK) {
        CHECK_EQ(count, 1);
        (void)snprintf(got.data, sizeof got.data, "%.*s", (int)events->data_size,
                       events->data_size > 0 ? (const char *)events->data : "");
        (void)snprintf(got.metadata, sizeof got.metadata, "%.*s", (int)events->metadata_size,
                       events->metadata_size > 0 ? (const char *)events->metadata : "");
        (void)snprintf(got.content_type, sizeof got.content_type, "%.*s",
                       (int)events->content_type.size, events->content_type.data);
        got.flags = events->flags;
        got.revision = events->revision;
    }
    stele_iterator_destroy(iterator);
}

/* ---- Searching files ---- */

static size_t found_in_files;

static inline int search_one(const char *path, const struct stat *status, int flag,
                             struct FTW *walk)
{
    (void)walk;
    if (flag != FTW_F || status->st_size == 0) {
        return 0;
    }
    char *bytes = malloc((size_t)status->st_size);
    FILE *const file = fopen(path, "rb");
    CHECK(bytes != NULL && file != NULL);
    const size_t size = fread(bytes, 1, (size_t)status->st_size, file);
    (void)fclose(file);
    found_in_files += memmem(bytes, size, CANARY, strlen(CANARY)) != NULL ? 1 : 0;
    free(bytes);
    return 0;
}

static inline size_t files_with_canary(void)
{
    found_in_files = 0;
    CHECK_EQ(nftw(fixture_path, search_one, 8, FTW_PHYS), 0);
    return found_in_files;
}

#endif
