/* A store in a directory of its own for each test, with small segments and a small index so that
 * every test crosses their bounds. */
#ifndef STELE_TESTS_UNIT_CLIENT_FIXTURE_H
#define STELE_TESTS_UNIT_CLIENT_FIXTURE_H

#include "lib/check.h"

#include <ftw.h>
#include <stele.h>
#include <sys/stat.h>
#include <unistd.h>

static char fixture_path[64];
static struct stele *store;
static struct stele_error err;

static inline int fixture_remove_one(const char *path, const struct stat *status, int flag,
                                     struct FTW *walk)
{
    (void)status;
    (void)flag;
    (void)walk;
    return remove(path);
}

static inline void fixture_open_with(struct stele_options options)
{
    CHECK_OK(stele_open(fixture_path, &options, &store, &err), err);
}

static inline struct stele_options fixture_options(void)
{
    struct stele_options options = STELE_OPTIONS_INIT;
    options.segment_size_max = 256 * 1024;
    options.index_memory = 64 * 1024;
    return options;
}

static inline void fixture_begin(void)
{
    strcpy(fixture_path, "/tmp/stele-test-XXXXXX");
    CHECK(mkdtemp(fixture_path) != NULL);
    fixture_open_with(fixture_options());
}

static inline void fixture_reopen(void)
{
    CHECK_EQ(stele_close(store), STELE_OK);
    fixture_open_with(fixture_options());
}

static inline void fixture_end(void)
{
    CHECK_EQ(stele_close(store), STELE_OK);
    (void)nftw(fixture_path, fixture_remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

/* An id that is a function of a number. */
static inline void fixture_id(uint64_t number, uint8_t id[16])
{
    memset(id, 0, 16);
    id[15] = 1;
    memcpy(id, &number, sizeof number);
}

static inline struct stele_event_draft fixture_draft(uint64_t number, const char *data)
{
    struct stele_event_draft draft = {.type = "Happened", .data = data, .data_size = strlen(data)};
    fixture_id(number, draft.id);
    return draft;
}

/* Appends one event and returns its outcome. */
static inline int fixture_append(const char *stream, uint64_t expected, uint64_t number,
                                 const char *data, struct stele_append_result *result)
{
    const struct stele_event_draft draft = fixture_draft(number, data);
    return stele_append(store, stream, expected, &draft, 1, result, &err);
}

/* How many events a read hands out; checks that positions go one way. */
static inline size_t fixture_count(const char *stream, struct stele_read_options options)
{
    struct stele_iterator *iterator = NULL;
    const int begun = stele_read_stream(store, stream, &options, &iterator, &err);
    if (begun == STELE_NO_STREAM) {
        return 0;
    }
    CHECK_OK(begun, err);
    size_t total = 0;
    uint64_t before = 0;
    for (;;) {
        const struct stele_event *events = NULL;
        size_t count = 0;
        const int outcome = stele_iterator_next(iterator, &events, &count, &err);
        if (outcome == STELE_END) {
            break;
        }
        CHECK_OK(outcome, err);
        for (size_t i = 0; i < count; i++) {
            CHECK(total + i == 0 || (events[i].position > before) != (options.backwards != 0));
            before = events[i].position;
        }
        total += count;
    }
    stele_iterator_destroy(iterator);
    return total;
}

#endif
