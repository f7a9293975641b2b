/* Dots: what versions and replicated data types are made of.
 *
 * A dot is one write, named by its (node, time). A *dot store* is a set of records, each of them
 * written by a dot to a path, and a vector clock of all that has been *seen*. So a record that is
 * seen and not there was taken away, and one that is not seen has yet to come: two stores can be
 * joined without knowing how they came about, and no grave stays behind of what was removed.
 *
 * That reading of the clock holds because writes of one node are seen in order, and every write after
 * those that its writer had seen (causal delivery). Almeida, Shoker, Baquero, "Delta State Replicated
 * Data Types", 2016, has the proof; section 7 its stores.
 *
 * A store is its bytes, in a buffer of the caller. Equal stores are equal bytes:
 *
 *     offset  size  field
 *          0     1  version  1
 *          1     1  type     what the records mean: STELE_CRDT_… in stele/crdt.h, or versions
 *          2     2           0
 *          4     4  count    of records
 *          8     n  seen     a vector clock, as in stele/clock.h
 *      8 + n        records  in the order of path, node, time; none twice
 *
 *     a record:
 *          0     2  path size
 *          2     4  payload size
 *          6     8  node     of the dot, which is among what was seen
 *         14     8  time     of the dot
 *         22        path
 *                   payload
 *
 * Operations walk all records: stores are meant for thousands, not for millions of them. */
#ifndef STELE_ES_DOTS_H
#define STELE_ES_DOTS_H

#include "base/bytes.h"
#include "base/compiler.h"

#include <stele/clock.h>

#define STELE_DOTS_VERSION 1
#define STELE_DOTS_HEADER_SIZE 8
#define STELE_DOTS_RECORD_SIZE 22
#define STELE_DOTS_PATH_SIZE_MAX UINT16_MAX
#define STELE_DOTS_PAYLOAD_SIZE_MAX (UINT32_C(1) << 30)

struct stele_dots {
    uint8_t *data; /* The caller's. */
    size_t size;
    size_t capacity;
};

/* One record. Borrowed from the store until that is changed. */
struct stele_dots_record {
    struct stele_bytes path;
    struct stele_bytes payload;
    uint64_t node;
    uint64_t time;
};

/* Fails unless this is how such a record may look. err gets words. */
typedef int (*stele_dots_record_check)(uint8_t type, const struct stele_dots_record *record,
                                       struct stele_error *err);

/* An empty store. STELE_OK, STELE_E_LIMIT: no room for it. */
STELE_MUST_USE
int stele_dots_init(struct stele_dots *dots, void *buffer, size_t capacity, uint8_t type);

/* Takes the size bytes in buffer for a store, after looking at all of them. Any bytes are safe.
 * STELE_OK, STELE_E_FORMAT, STELE_E_CORRUPT. */
STELE_MUST_USE
int stele_dots_open(struct stele_dots *dots, void *buffer, size_t size, size_t capacity,
                    stele_dots_record_check check, struct stele_error *err);

uint8_t stele_dots_type(const struct stele_dots *dots);
uint32_t stele_dots_count(const struct stele_dots *dots);
bool stele_dots_has_seen(const struct stele_dots *dots, uint64_t node, uint64_t time);
void stele_dots_seen(const struct stele_dots *dots, struct stele_clock *out_clock);

/* Walks the records: *cursor is 0 at first. false: that was the last one. */
bool stele_dots_next(const struct stele_dots *dots, size_t *cursor,
                     struct stele_dots_record *out_record);

/* Bytes that a record takes. */
size_t stele_dots_record_size(const struct stele_dots_record *record);

/* Puts a record in; one with the same path and dot is replaced. There has to be room. */
void stele_dots_put(struct stele_dots *dots, const struct stele_dots_record *record);

/* The same for a record that is not there yet and whose payload goes on with more. Both parts may lie
 * in the store itself. */
void stele_dots_put_parts(struct stele_dots *dots, const struct stele_dots_record *record,
                          struct stele_bytes more);

/* Takes out the records that the function says yes to. */
typedef bool (*stele_dots_choice)(const void *context, const struct stele_dots_record *record);
void stele_dots_remove(struct stele_dots *dots, stele_dots_choice is_removed, const void *context);

/* Room that stele_dots_see() may need. */
size_t stele_dots_see_room(const struct stele_clock *clock);
/* Everything in the clock has been seen. There has to be room. STELE_OK; STELE_E_LIMIT, and nothing
 * changed: too many nodes. */
STELE_MUST_USE
int stele_dots_see(struct stele_dots *dots, const struct stele_clock *clock);

/* out becomes what both say together: records of both, and those of one that the other has not seen.
 * out has a buffer of its own. STELE_OK; STELE_E_INVALID: different types; STELE_E_LIMIT: no room, or
 * too many nodes. a->size + b->size is always room enough. */
STELE_MUST_USE
int stele_dots_join(const struct stele_dots *a, const struct stele_dots *b, struct stele_dots *out,
                    struct stele_error *err);

/* Is the dot among what this clock covers? */
static inline bool stele_dots_is_covered(const struct stele_dots_record *record,
                                         const struct stele_clock *clock)
{
    return stele_clock_covers(clock, record->node, record->time) != 0;
}

#endif
