/* Replicated data types: values that several places change at once and that end up the same.
 *
 * Each type says what concurrent changes mean, so that there is never a conflict to resolve:
 *
 *     counter  adding and subtracting; everything counts
 *     lww      a register: the last writer wins, by position and node, among those that did not know
 *              of each other; who had seen the other's value always wins over it
 *     mv       a register that keeps all concurrent values, until a write that has seen them
 *     set      adding wins over a removal that had not seen it
 *     map      names of any of these, maps too; removing a name takes away what its remover had seen
 *
 * An event carries *operations* (stele_crdt_ops_encode(), or whatever the application makes them
 * from) and a stamp; a fold applies them. That is enough for regions that exchange events, and small.
 * States can be merged too: a region that starts from another one's snapshot, or gets back a branch
 * that was written apart, joins the two, and events that are in both count once. Both ways give the
 * same bytes.
 *
 * Why both: operations alone are right only if each comes once and after those its writer had seen,
 * which a store's log promises for events and nothing promises for snapshots. States alone would be
 * sent whole. So an operation is defined as the small state that it makes, and applying as joining.
 *
 * Read these first:
 *  - Events of one node come in their order, and each after those its writer had seen, as logs have
 *    them. One that was applied before is passed over.
 *  - An event's clock says what its writer had seen. Clocks of a log are right if the append expected
 *    a revision; otherwise it may have had in its log what the writer had not looked at.
 *  - The state is the bytes in your buffer, a snapshot as they stand. An operation walks all of it:
 *    meant for thousands of elements, not for millions.
 *  - In a map a counter keeps one record for each change since it was last removed, because a removal
 *    takes away exactly what its remover had seen.
 *
 * All functions are pure; one thread at a time may use a struct stele_crdt. */
#ifndef STELE_CRDT_H
#define STELE_CRDT_H

#include <stele/clock.h>
#include <stele/stele.h>

#ifdef __cplusplus
extern "C" {
#endif

#define STELE_CRDT_COUNTER 1
#define STELE_CRDT_LWW 2
#define STELE_CRDT_MV 3
#define STELE_CRDT_SET 4
#define STELE_CRDT_MAP 5

#define STELE_CRDT_KEYS_MAX 8u                          /* Maps within maps. */
#define STELE_CRDT_KEY_SIZE_MAX 1024u                   /* Bytes of a name in a map. */
#define STELE_CRDT_ELEMENT_SIZE_MAX 4096u               /* Bytes of an element of a set. */
#define STELE_CRDT_VALUE_SIZE_MAX (16u * 1024u * 1024u) /* Bytes of the value of a register. */
#define STELE_CRDT_OPS_MAX 64u                          /* Operations of one event. */

/* The buffer is the caller's; when it is full, copy data into a larger one, and set data and
 * capacity. data need not be aligned. */
struct stele_crdt {
    uint8_t *data;
    size_t size;     /* Bytes in use: the state. */
    size_t capacity; /* Bytes there are. */
};

/* Where in a state: nothing but its type, or in a map the names on the way down, and the type of what
 * stands there. One name may stand for things of several types, which then know nothing of each
 * other; so two regions may disagree about the type, and neither loses anything. */
struct stele_crdt_place {
    int type;
    const struct stele_text *keys;
    size_t keys_count; /* 0 unless the state is a map; then at least 1, but for STELE_CRDT_CLEAR. */
};

#define STELE_CRDT_ADD 1    /* To a counter: amount, which may be below 0. */
#define STELE_CRDT_ASSIGN 2 /* To a register: value. */
#define STELE_CRDT_INSERT 3 /* Into a set: value. */
#define STELE_CRDT_ERASE 4  /* From a set: value. */
#define STELE_CRDT_CLEAR                                                                           \
    5 /* Everything at the place; with type 0 in a map, of all types. Not a
                             * counter that stands alone: what regions still send would be lost. */

struct stele_crdt_op {
    int action; /* STELE_CRDT_ADD … */
    struct stele_crdt_place place;
    int64_t amount;
    struct stele_text value;
};

/* ---- State ------------------------------------------------------------------------------- */

/* The initial value: 0, no value, empty. STELE_OK, STELE_E_INVALID: no such type, STELE_E_LIMIT:
 * fewer than 10 bytes. */
STELE_API int stele_crdt_init(struct stele_crdt *crdt, int type, void *buffer, size_t capacity);

/* Takes the size bytes at the start of buffer for a state, after checking all of them; any bytes are
 * safe. STELE_OK, STELE_E_FORMAT, STELE_E_CORRUPT (err names the byte). */
STELE_API int stele_crdt_open(struct stele_crdt *crdt, void *buffer, size_t size, size_t capacity,
                              struct stele_error *err);

STELE_API int stele_crdt_type(const struct stele_crdt *crdt);

/* Room that applying these may need: have capacity - size at least that. */
STELE_API size_t stele_crdt_room(const struct stele_crdt_op *ops, size_t count,
                                 const struct stele_stamp *stamp);

/* Applies the operations of one event, all or none, in their order.
 *
 * STELE_OK         Done, or the event was applied before.
 * STELE_E_INVALID  An operation does not fit its place; the stamp's clock has no entry for its node.
 * STELE_E_LIMIT    No room, or a size is above its limit, or there are too many nodes. */
STELE_API int stele_crdt_apply(struct stele_crdt *crdt, const struct stele_crdt_op *ops,
                               size_t count, const struct stele_stamp *stamp,
                               struct stele_error *err);

/* out, with a buffer of its own, becomes what both say together; a->size + b->size is room enough.
 * STELE_OK, STELE_E_INVALID: they are of different types, STELE_E_LIMIT. */
STELE_API int stele_crdt_merge(const struct stele_crdt *a, const struct stele_crdt *b,
                               struct stele_crdt *out, struct stele_error *err);

/* ---- Values ------------------------------------------------------------------------------ */

/* The sum; 0 if nothing was ever added. STELE_OK, STELE_E_LIMIT: it does not fit. */
STELE_API int stele_crdt_counter(const struct stele_crdt *crdt,
                                 const struct stele_crdt_place *place, int64_t *out_value);

/* The value of a register, borrowed until the state changes. An lww register has the index 0 alone;
 * an mv register has its concurrent values by node and time. STELE_OK, STELE_NOT_FOUND. */
STELE_API int stele_crdt_register(const struct stele_crdt *crdt,
                                  const struct stele_crdt_place *place, size_t index,
                                  struct stele_text *out_value);

/* 1: the set at the place has the element. */
STELE_API int stele_crdt_has(const struct stele_crdt *crdt, const struct stele_crdt_place *place,
                             struct stele_text element);

/* Walks the elements of a set in byte order. *cursor is 0 at first; the state must not change
 * between. STELE_OK, STELE_END. */
STELE_API int stele_crdt_element(const struct stele_crdt *crdt,
                                 const struct stele_crdt_place *place, size_t *cursor,
                                 struct stele_text *out_element);

/* Walks the names in a map, short ones first, then in byte order: once for each type of what it
 * stands for. keys_count 0 is the outermost map. STELE_OK, STELE_END. */
STELE_API int stele_crdt_key(const struct stele_crdt *crdt, const struct stele_crdt_place *place,
                             size_t *cursor, struct stele_text *out_key, int *out_type);

/* ---- Bytes ------------------------------------------------------------------------------- */

/* A state. Equal states are equal bytes. Integers are little-endian:
 *
 *     offset  size  field
 *          0     1  version  1
 *          1     1  type     STELE_CRDT_COUNTER … STELE_CRDT_MAP
 *          2     2           0
 *          4     4  count    of records
 *          8     n  seen     a vector clock (stele/clock.h): every event that was applied
 *      8 + n        records  by path, node, time, each:
 *                      2  size of path
 *                      4  size of payload
 *                      8  node
 *                      8  time, not 0, among what was seen
 *                         path     for each name on the way: its size (2, big-endian, so that
 *                                  sorting keeps names together), its bytes, the type it
 *                                  stands for (1); behind a set, the element
 *                         payload  counter: sum of what was added (8), sum of what was
 *                                  subtracted (8): of all the node's changes if it stands alone,
 *                                  in a map of this one. lww: position (8), value. mv: value.
 *                                  set: nothing
 *
 * Operations of one event:
 *
 *     offset  size  field
 *          0     1  version  1
 *          1     1  count    1 .. STELE_CRDT_OPS_MAX
 *          2        each:
 *                      1  action
 *                      1  type of the place
 *                      1  count of names, then each: size (2), bytes
 *                      8  amount, of STELE_CRDT_ADD only
 *                      4  size of the value, then the value: of ASSIGN, INSERT, ERASE only */
#define STELE_CRDT_VERSION 1

/* What encoding them takes. */
STELE_API size_t stele_crdt_ops_size(const struct stele_crdt_op *ops, size_t count);

/* Writes stele_crdt_ops_size() bytes, if they are operations that stele_crdt_ops_decode() would give
 * back. STELE_OK, STELE_E_INVALID, STELE_E_LIMIT. */
STELE_API int stele_crdt_ops_encode(const struct stele_crdt_op *ops, size_t count, void *to,
                                    size_t capacity, struct stele_error *err);

/* Decoded operations. It points into itself and into the bytes: do not copy it. */
struct stele_crdt_ops {
    size_t count;
    struct stele_crdt_op ops[STELE_CRDT_OPS_MAX];
    struct stele_text keys[STELE_CRDT_OPS_MAX * STELE_CRDT_KEYS_MAX];
};

/* Any bytes are safe. STELE_OK, STELE_E_FORMAT, STELE_E_CORRUPT. */
STELE_API int stele_crdt_ops_decode(const void *bytes, size_t size, struct stele_crdt_ops *out,
                                    struct stele_error *err);

#ifdef __cplusplus
}
#endif

#endif
