/* What the writer and its judge agree upon.
 *
 * Everything about an append follows from its name (round, thread, sequence): streams, events, ids,
 * payloads. So the judge can tell from one stored event which others have to be there, a later
 * writer can send an append again that its predecessor may or may not have finished, and the file
 * in which appends are noted stays small.
 *
 * Kinds of streams:
 *   own     one thread's, appended to with exact revisions    ┐
 *   shared  everybody's, appended to without expectation      ┘ kept: nothing may be missing
 *   trash   keeps its last events only ($maxCount), so that scavenging has work
 *   gone    deleted now and then
 */
#ifndef STELE_TESTS_STRESS_STRESS_H
#define STELE_TESTS_STRESS_STRESS_H

#include "lib/rng.h"

#include <stele/stele.h>

#include <stdio.h>
#include <string.h>

#define STRESS_THREADS 4 /* The last one appends asynchronously. */
#define STRESS_OWN 4     /* Streams of each thread. */
#define STRESS_SHARED 8
#define STRESS_TRASH 4
#define STRESS_TRASH_KEPT 10
#define STRESS_GONE 2
#define STRESS_PARTS_MAX 6
#define STRESS_EVENTS_MAX 8 /* Of one part. */
#define STRESS_NAME_SIZE 24

enum stress_kind { STRESS_IS_KEPT = 1, STRESS_IS_TRASH, STRESS_IS_GONE };

/* The id of an event is this, byte for byte. */
struct stress_id {
    uint32_t round;
    uint32_t sequence;
    uint16_t thread;
    uint16_t index; /* Among the events of its append. */
    uint16_t kept;  /* Events of its append in streams that are kept: indexes 0 … kept - 1. */
    uint16_t kind;
};
_Static_assert(sizeof(struct stress_id) == 16, "fits an event id");

struct stress_part {
    char stream[STRESS_NAME_SIZE];
    int own; /* Which one of the thread's own streams, or -1. */
    enum stress_kind kind;
    size_t count;
};

struct stress_plan {
    struct stress_id name; /* index 0, kind 0 */
    size_t parts_count;
    struct stress_part parts[STRESS_PARTS_MAX]; /* Those that are kept come first. */
    uint16_t trash;                             /* 1 + number of its trash stream, or 0. */
    int has_hidden;                             /* 1: parts that are not kept. */
};

/* A line of the notes. What is noted survives kill -9, since it is in the page cache, which is
 * another disk's when the power of the store's disk goes. */
enum stress_note_kind {
    STRESS_STORED = 1, /* STELE_OK was returned. */
    STRESS_REFUSED,    /* An outcome that promises that nothing happened. */
    STRESS_AGAIN,      /* About to be sent once more: a refusal says nothing any longer. */
};
struct stress_note {
    struct stress_id name;
    uint16_t kind;
    uint16_t trash;
    uint32_t reserved;
    uint64_t position_first;
    uint64_t position_last;
};
_Static_assert(sizeof(struct stress_note) == 40, "no padding");

/* What a follower has seen. */
struct stress_seen {
    uint64_t position;
    struct stress_id id;
};

static inline void stress_add_part(struct stress_plan *plan, enum stress_kind kind,
                                   const char *what, size_t number, size_t count)
{
    struct stress_part *part = &plan->parts[plan->parts_count++];
    part->own = -1;
    part->kind = kind;
    part->count = count;
    (void)snprintf(part->stream, sizeof part->stream, "%s-%zu", what, number);
    if (kind == STRESS_IS_KEPT) {
        plan->name.kept = (uint16_t)(plan->name.kept + count);
    } else {
        plan->has_hidden = 1;
    }
    if (kind == STRESS_IS_TRASH) {
        plan->trash = (uint16_t)(number + 1);
    }
}

static inline void stress_add_own(struct stress_plan *plan, struct rng *rng)
{
    char what[16];
    (void)snprintf(what, sizeof what, "own%u", plan->name.thread);
    const size_t number = rng_below(rng, STRESS_OWN);
    stress_add_part(plan, STRESS_IS_KEPT, what, number, rng_between(rng, 1, 4));
    plan->parts[plan->parts_count - 1].own = (int)number;
}

static inline void stress_make_plan(uint32_t round, uint16_t thread, uint32_t sequence,
                                    struct stress_plan *plan)
{
    struct rng rng;
    rng_init(&rng, round, (uint64_t)thread << 32 | sequence);
    memset(plan, 0, sizeof *plan);
    plan->name = (struct stress_id){.round = round, .thread = thread, .sequence = sequence};
    const uint64_t dice = rng_below(&rng, 100);
    if (dice < 55) {
        stress_add_own(plan, &rng);
    } else if (dice < 70) {
        stress_add_part(plan, STRESS_IS_KEPT, "shared", rng_below(&rng, STRESS_SHARED),
                        rng_between(&rng, 1, STRESS_EVENTS_MAX));
    } else if (dice < 88) {
        const size_t first = rng_below(&rng, STRESS_SHARED);
        const size_t count = rng_between(&rng, 1, 4);
        for (size_t i = 0; i < count; i++) {
            stress_add_part(plan, STRESS_IS_KEPT, "shared", (first + i) % STRESS_SHARED,
                            rng_between(&rng, 1, 4));
        }
        stress_add_own(plan, &rng);
        if (rng_percent(&rng, 40)) {
            stress_add_part(plan, STRESS_IS_TRASH, "trash", rng_below(&rng, STRESS_TRASH), 2);
        }
    } else if (dice < 96) {
        stress_add_part(plan, STRESS_IS_TRASH, "trash", rng_below(&rng, STRESS_TRASH),
                        rng_between(&rng, 1, STRESS_EVENTS_MAX));
    } else {
        stress_add_part(plan, STRESS_IS_GONE, "gone", rng_below(&rng, STRESS_GONE),
                        rng_between(&rng, 1, STRESS_EVENTS_MAX));
    }
}

#define STRESS_PAYLOAD_MAX 20000

/* What an event of this id holds. Mostly small, now and then some pages. */
static inline size_t stress_payload(const struct stress_id *id, uint8_t payload[STRESS_PAYLOAD_MAX])
{
    struct rng rng;
    rng_init(&rng, (uint64_t)id->round << 32 | id->sequence,
             (uint64_t)id->thread << 16 | id->index);
    const size_t size =
        rng_one_in(&rng, 100) ? rng_below(&rng, STRESS_PAYLOAD_MAX) : rng_below(&rng, 600);
    for (size_t i = 0; i < size; i += 8) {
        const uint64_t word = rng_next(&rng);
        memcpy(payload + i, &word, size - i < 8 ? size - i : 8);
    }
    return size;
}

#endif
