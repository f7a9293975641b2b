/* What the files of the test kit share. */
#ifndef STELE_ES_TESTING_INTERNAL_H
#define STELE_ES_TESTING_INTERNAL_H

#include "base/status.h"
#include "es/memory.h"

#include <stele/testing.h>

/* Places of a story, far apart enough for their milliseconds to differ. */
#define STELE_TESTING__POSITION_STEP ((uint64_t)1 << 22)

struct stele_testing__event {
    const char *stream;
    const char *type;
    struct stele_text data;
};

struct stele_testing__list {
    struct stele_testing__event *events;
    size_t count;
    size_t capacity;
};

struct stele_testing {
    struct stele_memory *memory;
    int64_t now_us;

    struct stele_event *given;
    size_t given_count;
    size_t given_capacity;

    /* Of the present scenario. */
    struct stele_testing__list expected;
    struct stele_testing__list came;
    const char *command;      /* NULL: none was decided. */
    const char *rejected_for; /* Why it was; NULL: it was not. */
    const char *rejection;    /* Words that are expected; NULL: none. */
    struct stele_output report;
    bool differs;
    struct stele_error failure; /* The first call that failed. */

    const struct stele_saga_plan *plan;
    const char *saga_stream;
    struct stele_saga saga;
};

/* Keeps the first failure for the report. */
STELE_PRINTF(2, 3)
void stele_testing__fail(struct stele_testing *story, const char *format, ...);

char *stele_testing__copy(struct stele_testing *story, const char *text);
void stele_testing__add(struct stele_testing *story, struct stele_testing__list *list,
                        const char *stream, const char *type, struct stele_text data);

/* Are they the same? If not, *where gets the path and both values, in words. */
#define STELE_TESTING__WHERE_SIZE 600
bool stele_testing__same_data(struct stele_text expected, struct stele_text actual,
                              char where[STELE_TESTING__WHERE_SIZE]);

/* Writes both lists side by side if they differ. true: they are the same. */
bool stele_testing__compare(struct stele_output *report, const struct stele_testing__list *expected,
                            const struct stele_testing__list *came);

#endif
