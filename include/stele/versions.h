/* Versions of a value that several places may change at the same time.
 *
 * When two regions write without knowing of each other, both writes are facts and stay in the log.
 * What the value is then, is for the application to say. This keeps the versions apart and says which
 * there are; it never drops one because of a time. The newest versions, those that no other version
 * has seen, are the *leaves*. One leaf: all is well. Several: a conflict, which ends
 *
 *  - *automatically*: stele_versions_value() picks one by a rule (the last writer, or your own);
 *  - *by merging*: walk the leaves, make one value of them, put it as a new version;
 *  - *interactively*: somebody chooses, the choice is appended as an event, and folding that event
 *    calls stele_versions_resolve(). So a replay needs nobody. A choice may itself be concurrent to a
 *    write, or to another choice: then there is a conflict still.
 *
 * A fold over events uses it so: for an event that *replaces* the value, stele_versions_put() what
 * it says. For one that *changes* it, first ask stele_versions_base() for the version that the
 * writer had before it, change a copy of that, and put the result. Which version descends from which
 * is decided by vector clocks alone, so every region that has the same events has the same bytes, in
 * whichever (causal) order they came.
 *
 * Read these first:
 *  - An event must come after those that its writer had seen, and those of one node in their order.
 *    That is the order in which a store's log has them.
 *  - Interactive resolution is best left to one region, or two may choose differently; the version's
 *    `creator`, the node that wrote the first version of all, is the same everywhere.
 *  - The state is the bytes in your buffer: data, size are a snapshot as they stand.
 *
 * All functions are pure; one thread at a time may use a struct stele_versions. */
#ifndef STELE_VERSIONS_H
#define STELE_VERSIONS_H

#include <stele/clock.h>

#ifdef __cplusplus
extern "C" {
#endif

#define STELE_VERSIONS_MAX 1024u /* Versions in one tree, old ones too. */
#define STELE_VERSIONS_VALUE_SIZE_MAX (16u * 1024u * 1024u) /* Bytes of one value. */

/* The buffer is the caller's; when it is full, copy data into a larger one, and set data and
 * capacity. data need not be aligned. */
struct stele_versions {
    uint8_t *data;
    size_t size;     /* Bytes in use: the state. */
    size_t capacity; /* Bytes there are. */
};

/* One version. value is borrowed until the versions are changed. */
struct stele_version {
    uint64_t node; /* Who wrote it, when, and where in that node's log. */
    uint64_t time;
    uint64_t position;
    uint64_t creator; /* The node that wrote the first version of all that this one came from. */
    const void *value;
    size_t value_size;
    struct stele_clock clock;
};

/* No version at all. STELE_OK, STELE_E_LIMIT: fewer than 10 bytes. */
STELE_API int stele_versions_init(struct stele_versions *versions, void *buffer, size_t capacity);

/* Takes the size bytes at the start of buffer for a state, after checking all of them; any bytes are
 * safe. STELE_OK, STELE_E_FORMAT, STELE_E_CORRUPT (err names the byte). */
STELE_API int stele_versions_open(struct stele_versions *versions, void *buffer, size_t size,
                                  size_t capacity, struct stele_error *err);

/* ---- Rules ------------------------------------------------------------------------------- */

/* Which of two versions is preferred: above 0 for a, below 0 for b. It must depend on nothing but the
 * two; 0 prefers the one with the smaller (node, time). NULL wherever a rule is asked for is
 * stele_versions_last_writer. */
typedef int (*stele_versions_rule)(void *context, const struct stele_version *a,
                                   const struct stele_version *b);

/* The higher position, then the higher node. Right only where losing the other write is; for
 * versions that are changes of parts of a value it mostly is not. */
STELE_API int stele_versions_last_writer(void *context, const struct stele_version *a,
                                         const struct stele_version *b);

/* ---- Reading ----------------------------------------------------------------------------- */

/* How many leaves there are; above 1 is a conflict. */
STELE_API size_t stele_versions_count(const struct stele_versions *versions);

/* The leaf of this index, by (node, time). STELE_OK, STELE_NOT_FOUND past the last. */
STELE_API int stele_versions_leaf(const struct stele_versions *versions, size_t index,
                                  struct stele_version *out_version);

/* The leaf that the rule prefers to all others. STELE_OK, STELE_NOT_FOUND: there is none. */
STELE_API int stele_versions_value(const struct stele_versions *versions, stele_versions_rule rule,
                                   void *context, struct stele_version *out_version);

/* The version that a change with this stamp was made to: the newest that its writer had seen; of
 * several (it wrote into a conflict) the one that the rule prefers.
 * STELE_OK, STELE_NOT_FOUND: it had seen none. */
STELE_API int stele_versions_base(const struct stele_versions *versions,
                                  const struct stele_stamp *stamp, stele_versions_rule rule,
                                  void *context, struct stele_version *out_version);

/* ---- Changing ---------------------------------------------------------------------------- */

/* Room that putting a value of this size may need: have capacity - size at least that. */
STELE_API size_t stele_versions_room(const struct stele_stamp *stamp, size_t value_size);

/* Adds a version. It descends from all that its clock covers. One that was put before is passed over.
 *
 * STELE_OK
 * STELE_E_INVALID  The stamp's clock has no entry for its node.
 * STELE_E_LIMIT    No room; or more than STELE_VERSIONS_MAX versions (see stele_versions_prune), or
 *                  too many nodes. Nothing was changed. */
STELE_API int stele_versions_put(struct stele_versions *versions, const struct stele_stamp *stamp,
                                 const void *value, size_t value_size, struct stele_error *err);

/* Adds a version with the value of another one, which (node, time) names: it was chosen by whoever
 * wrote with this stamp. As stele_versions_put(), and STELE_NOT_FOUND: there is no such version, or
 * the stamp's clock does not cover it. */
STELE_API int stele_versions_resolve(struct stele_versions *versions,
                                     const struct stele_stamp *stamp, uint64_t node, uint64_t time,
                                     struct stele_error *err);

/* Forgets versions that nothing can descend from any more, given a clock that everything still to
 * come covers (what every node is known to have seen). Leaves are never forgotten. */
STELE_API void stele_versions_prune(struct stele_versions *versions,
                                    const struct stele_clock *stable);

/* out, with a buffer of its own, becomes the versions of both; a->size + b->size is room enough.
 * STELE_OK, STELE_E_LIMIT. */
STELE_API int stele_versions_merge(const struct stele_versions *a, const struct stele_versions *b,
                                   struct stele_versions *out, struct stele_error *err);

/* ---- Bytes ------------------------------------------------------------------------------- */

/* Equal states are equal bytes. Integers are little-endian:
 *
 *     offset  size  field
 *          0     1  version  1
 *          1     1  type     6
 *          2     2           0
 *          4     4  count    of versions
 *          8     n  seen     a vector clock (stele/clock.h): every write that was put
 *      8 + n        the versions by (node, time), each:
 *                      2  0
 *                      4  size of what follows after time
 *                      8  node
 *                      8  time, not 0, among what was seen
 *                      8  position
 *                      8  creator
 *                      n  clock, whose entry for node is time
 *                         value */
#define STELE_VERSIONS_TYPE 6

#ifdef __cplusplus
}
#endif

#endif
