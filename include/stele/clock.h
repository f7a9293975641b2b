/* Vector clocks: which of two things happened first, where no wall clock can say.
 *
 * A clock has an entry (node, time) for every node that it knows something of; a node without an
 * entry is at time 0. A node is whatever gives its events an order of its own: a region, a log, a
 * device. Times of one node only grow. They may be counts (stele_clock_tick()), or positions
 * (stele_clock_advance()), as in a log that knows where it is.
 *
 * Read these first:
 *  - "Before" is strict: no clock is before itself, nor before one with the same entries. Two clocks
 *    of which neither is before the other, nor the same, are concurrent: nobody knew of both.
 *  - Clocks per log do not see concurrency inside of one log. There, expected revisions do.
 *  - When a node receives something it merges the other's clock and then ticks its own entry
 *    (stele_clock_receive()). Merging alone is right only where just writes are events, as in a log
 *    that ticks when it writes (stele_clock_merge()).
 *
 * All functions are pure: any thread, no memory but what they are given. A struct stele_clock that
 * was not made by them is not checked again: bytes from elsewhere come in by stele_clock_decode().
 *
 * Example: the test tests/unit/es/test_clock.c */
#ifndef STELE_CLOCK_H
#define STELE_CLOCK_H

#include <stele/outcome.h>

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define STELE_CLOCK_ENTRIES_MAX 64

struct stele_clock_entry {
    uint64_t node;
    uint64_t time; /* Not 0. */
};

/* Zero-initialised is the clock of who knows nothing. Copy it as a value. */
struct stele_clock {
    uint32_t count;
    struct stele_clock_entry entries[STELE_CLOCK_ENTRIES_MAX]; /* Nodes ascending. */
};

/* ---- Comparing --------------------------------------------------------------------------- */

#define STELE_CLOCK_SAME 0       /* Every entry is equal. */
#define STELE_CLOCK_BEFORE 1     /* No entry of a is above that of b, and one is below. */
#define STELE_CLOCK_AFTER 2      /* The other way round. */
#define STELE_CLOCK_CONCURRENT 3 /* One entry is above, and another one below. */

/* How a stands to b: one of the four. */
STELE_API int stele_clock_compare(const struct stele_clock *a, const struct stele_clock *b);

/* What a node is known to have reached; 0: nothing is known of it. */
STELE_API uint64_t stele_clock_time(const struct stele_clock *clock, uint64_t node);

/* 1: whoever has this clock had seen what node wrote at time. That is the cheap test for things
 * with a stamp: a happened before b if b's clock covers a's (node, time) and they are not the same
 * thing. */
STELE_API int stele_clock_covers(const struct stele_clock *clock, uint64_t node, uint64_t time);

/* ---- Going on ---------------------------------------------------------------------------- */

/* All of these answer STELE_OK, or change nothing and answer STELE_E_LIMIT: there would be more than
 * STELE_CLOCK_ENTRIES_MAX nodes, or a time would pass UINT64_MAX. */

/* Something happens at node: its time grows by one. */
STELE_API int stele_clock_tick(struct stele_clock *clock, uint64_t node);

/* Something happens at node, at a time that the node's log gave out. STELE_E_INVALID, and nothing
 * changed: the clock is already there or further. */
STELE_API int stele_clock_advance(struct stele_clock *clock, uint64_t node, uint64_t time);

/* Knows from now on what other knows: of every entry, the higher time. */
STELE_API int stele_clock_merge(struct stele_clock *clock, const struct stele_clock *other);

/* Node receives something that carries the clock other, and the receiving is an event too: a merge,
 * and then a tick. */
STELE_API int stele_clock_receive(struct stele_clock *clock, uint64_t node,
                                  const struct stele_clock *other);

/* ---- Stamps ------------------------------------------------------------------------------ */

/* Who wrote something, and when: what an event has to carry for <stele/versions.h> and
 * <stele/crdt.h>. The clock is the node's as it was when the thing was written, with the write itself
 * in it: its entry for node is the time of the write, and no other write has that (node, time). */
struct stele_stamp {
    uint64_t node;
    uint64_t position; /* In the node's log, for the rules by which the last writer wins: a hybrid
                        * time that is above everything the writer had seen. */
    const struct stele_clock *clock;
};

/* ---- Bytes ------------------------------------------------------------------------------- */

/* One clock has one encoding, so that equal clocks are equal bytes. Integers are little-endian:
 *
 *     offset  size  field
 *          0     1  version  1
 *          1     1  count    of entries, 0 .. STELE_CLOCK_ENTRIES_MAX
 *          2     8  node     of the first entry; nodes ascend from entry to entry
 *         10     8  time     of the first entry; not 0, since that is a node left out
 *          …    16           the next entries */
#define STELE_CLOCK_VERSION 1
#define STELE_CLOCK_ENCODED_SIZE_MAX (2 + 16 * STELE_CLOCK_ENTRIES_MAX)

/* What encoding this clock takes. */
STELE_API size_t stele_clock_encoded_size(const struct stele_clock *clock);

/* Writes stele_clock_encoded_size() bytes, which there has to be room for, and returns how many. */
STELE_API size_t stele_clock_encode(const struct stele_clock *clock, void *to);

/* Reads a clock from the start of size bytes, of which *out_used are its own (more may follow). Any
 * bytes whatever are safe to pass.
 *
 * STELE_OK          *out_clock and *out_used are set.
 * STELE_INCOMPLETE  These bytes are only the beginning of a clock.
 * STELE_E_FORMAT    A version that this library does not know.
 * STELE_E_CORRUPT   No clock: too many entries, nodes out of order, a time of 0. */
STELE_API int stele_clock_decode(const void *bytes, size_t size, struct stele_clock *out_clock,
                                 size_t *out_used, struct stele_error *err);

/* For people: "{1:5, 7:2}", as much as fits in size bytes with the zero behind it. Returns the
 * length that the whole text has. */
STELE_API size_t stele_clock_format(const struct stele_clock *clock, char *to, size_t size);

#ifdef __cplusplus
}
#endif

#endif
