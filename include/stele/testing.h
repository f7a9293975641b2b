/* Tests that read as stories: given these events, when this is asked for, then this happens.
 *
 *     struct stele_testing *story = stele_testing_create();
 *     stele_testing_given(story, "account-1", "AccountOpened", "{\"currency\":\"EUR\"}");
 *     stele_testing_when(story, &account, &withdraw_ten);
 *     stele_testing_then_rejected(story, "only 0 EUR");
 *     STELE_TESTING_CHECK(story);
 *     stele_testing_destroy(story);
 *
 * Nothing runs but your deciders, folds and saga tables: no store, no thread, no clock but the one of
 * the story. What happened and what was expected are compared when the story is checked; if they
 * differ, the report has them side by side, with the JSON path at which they first do. What happened
 * is then given, and the story can go on with the next "when".
 *
 * A failed call inside (no memory, a fold that ends with an error) is kept and reported by the check,
 * so that a story needs no other one. One thread at a time.
 *
 * Example: tests/unit/es/test_testing.c */
#ifndef STELE_TESTING_H
#define STELE_TESTING_H

#include <stele/es.h>
#include <stele/saga.h>

#ifdef __cplusplus
extern "C" {
#endif

struct stele_testing;

/* NULL when there is no memory. The clock stands at 2026-01-01T00:00:00Z. */
STELE_API struct stele_testing *stele_testing_create(void);
/* NULL is fine. */
STELE_API void stele_testing_destroy(struct stele_testing *story);

/* ---- Given ------------------------------------------------------------------------------- */

/* An event that is there already. data is text, mostly JSON; NULL is none. Everything is copied. */
STELE_API void stele_testing_given(struct stele_testing *story, const char *stream,
                                   const char *type, const char *data);
/* The same with metadata, tags, a time, an id of its own. Zeros are filled in. */
STELE_API void stele_testing_given_draft(struct stele_testing *story, const char *stream,
                                         const struct stele_event_draft *draft);
/* Sets the clock, in microseconds since 1970; it is in the events and commands from now on. */
STELE_API void stele_testing_at(struct stele_testing *story, int64_t time_us);
STELE_API int64_t stele_testing_now(const struct stele_testing *story);

/* All events that are given, in order; borrowed until the next call. For code of your own, such as a
 * projection's apply(). */
STELE_API const struct stele_event *stele_testing_events(struct stele_testing *story,
                                                         size_t *out_count);

/* ---- When -------------------------------------------------------------------------------- */

/* Decides a command on the given events. States that the decider asks for are folded from them;
 * queries see those that match. */
STELE_API void stele_testing_when(struct stele_testing *story, const struct stele_decider *decider,
                                  const struct stele_command *command);

/* Starts a saga: its events are those of the stream "saga.KIND-ID", as "SagaStepRequested" and so on
 * with {"step","attempt","reason","result"}, each if it has one. The plan must outlive the story. */
STELE_API void stele_testing_saga(struct stele_testing *story, const struct stele_saga_plan *plan,
                                  const char *id);
/* A participant answers what it was asked last of this step: STELE_SAGA_DONE, STELE_SAGA_REFUSED, … reason
 * may be NULL. If the step is being undone, it is the undoing that is answered. */
STELE_API void stele_testing_answer(struct stele_testing *story, const char *step, int answer,
                                    const char *reason);
/* What else a saga can be told: by a person, for example. */
STELE_API void stele_testing_tell(struct stele_testing *story,
                                  const struct stele_saga_input *input);
/* The clock goes on by so much; a saga's timers fire when they are due on the way. Backoffs are
 * without jitter's luck: half of their most. */
STELE_API void stele_testing_wait(struct stele_testing *story, uint64_t ms);

/* ---- Then -------------------------------------------------------------------------------- */

/* This event has come, after those that were expected before. data is compared as JSON where both
 * are (order of members and spaces mean nothing), otherwise byte by byte. */
STELE_API void stele_testing_then(struct stele_testing *story, const char *stream, const char *type,
                                  const char *data);
/* The command was refused, for a reason that has these words in it. No event has come. */
STELE_API void stele_testing_then_rejected(struct stele_testing *story, const char *words);
/* The stream's events, those that have just come included, fold to a state whose bytes (the fold's
 * encode) are this JSON. */
STELE_API void stele_testing_then_state(struct stele_testing *story, const struct stele_fold *fold,
                                        const char *stream, const char *json);
/* Anything else: two pieces of JSON that have to be the same, say the rows of a read model. */
STELE_API void stele_testing_then_json(struct stele_testing *story, const char *what,
                                       const char *expected, const char *actual);

/* Compares. With no "then" nothing must have happened.
 *
 * STELE_OK                What happened becomes given; expectations are empty again.
 * STELE_CONDITION_FAILED  *out_report says what differs; it is borrowed until the next call.
 * STELE_E_INVALID         story is NULL: there was no memory for one. */
STELE_API int stele_testing_check(struct stele_testing *story, const char **out_report);

/* Prints the report and ends the program, for tests that end that way. Needs <stdio.h>, <stdlib.h>. */
#define STELE_TESTING_CHECK(story)                                                                 \
    do {                                                                                           \
        const char *stele_testing_report = "";                                                     \
        if (stele_testing_check((story), &stele_testing_report) != STELE_OK) {                     \
            (void)fprintf(stderr, "%s:%d:\n%s", __FILE__, __LINE__, stele_testing_report);         \
            abort();                                                                               \
        }                                                                                          \
    } while (0)

#ifdef __cplusplus
}
#endif

#endif
