/* Commands and entries as bytes: what travels from origin to leader, and what stands in the Raft logs.
 *
 * An entry, little-endian:
 *
 *     offset size
 *          0    1  version: 1
 *          1    1  kind: 1 command, 2 tick, 3 meta
 *          2    6  0
 *          8    8  stamp (0 in the meta group)
 *         16    8  origin: number of the node            ┐
 *         24    8  boot of the origin                    │ not in a tick
 *         32    8  id: the origin's, unique in its boot  │
 *         40    …  the command, or what meta.h says      ┘
 *
 * A command:
 *
 *          0    1  version: 1
 *          1    1  kind: 1 append, 2 tombstone, 3 soft delete, 4 nothing (a reader wants to be told)
 *          2    2  streams      4  2  conditions      6  2  0
 *          8    8  seen: events up to this position were looked at by the origin
 *         16       streams, then conditions
 *
 *     stream: expected (8), events (4), name (2 + bytes + 0)
 *     event:  id (16), created (8), data (4 + bytes), metadata (4 + bytes), type (2 + bytes + 0),
 *             content type (2 + bytes + 0; nothing: JSON), tags (1), each 2 + bytes + 0
 *     condition: after (8), items (2); item: types (2), tags (2), each 2 + bytes + 0
 *
 * Everything that decides is in these bytes: decoding them anywhere gives the same request. */
#ifndef STELE_CLUSTER_COMMAND_H
#define STELE_CLUSTER_COMMAND_H

#include "base/alloc.h"
#include "base/status.h"

#include <stele/stele.h>

#define STELE_ENTRY_HEADER_SIZE 40
#define STELE_ENTRY_TICK_SIZE 16

enum stele_entry_kind { STELE_ENTRY_COMMAND = 1, STELE_ENTRY_TICK = 2, STELE_ENTRY_META = 3 };

struct stele_entry {
    enum stele_entry_kind kind;
    uint64_t stamp;
    uint64_t origin, boot, id;
    struct stele_bytes body; /* Borrowed. */
};

/* Size of what encode() writes. */
static inline size_t stele_entry_size(const struct stele_entry *entry)
{
    return entry->kind == STELE_ENTRY_TICK ? STELE_ENTRY_TICK_SIZE
                                           : STELE_ENTRY_HEADER_SIZE + entry->body.size;
}
void stele_entry_encode(const struct stele_entry *entry, uint8_t *to);
/* STELE_OK, STELE_E_FORMAT (a newer version), STELE_E_INVALID. */
STELE_MUST_USE
int stele_entry_decode(struct stele_bytes bytes, struct stele_entry *out_entry);

enum stele_command_kind {
    STELE_COMMAND_APPEND = 1,
    STELE_COMMAND_TOMBSTONE =
        2, /* One stream, one event without data: its id is the tombstone's. */
    STELE_COMMAND_SOFT_DELETE =
        3, /* The same; the id is that of the metadata that hides the stream. */
    STELE_COMMAND_NOTHING = 4,
};

struct stele_command {
    enum stele_command_kind kind;
    uint64_t seen;
    const struct stele_append *streams;
    size_t streams_count;
    const struct stele_condition *conditions;
    size_t conditions_count;
    /* Encoding only: for events without a time, and without an id. */
    int64_t now_us;
    void (*make_id)(uint8_t id[16]);
};

/* Appends the bytes to out; every event has an id and a time in them.
 * STELE_OK, STELE_E_NO_MEMORY, STELE_E_LIMIT (larger than any append may be). */
STELE_MUST_USE
int stele_command_encode(const struct stele_command *command, struct stele_alloc *alloc,
                         struct stele_buf *out, struct stele_error *err);
/* Everything that is handed out points into bytes or arena.
 * STELE_OK, STELE_E_NO_MEMORY, STELE_E_FORMAT (a newer version), STELE_E_INVALID. */
STELE_MUST_USE
int stele_command_decode(struct stele_bytes bytes, struct stele_arena *arena,
                         struct stele_alloc *alloc, struct stele_command *out_command,
                         struct stele_error *err);
/* The name of the first stream, which says to which partition a command belongs; size 0 if it has none. */
struct stele_bytes stele_command_first_stream(struct stele_bytes bytes);

#endif
