/* What a database has to do to keep events, so that one driver can measure several.
 *
 * Each keeps the same events with the same two indexes, global position to event and (stream,
 * revision) to position, and checks the expected revision of every append. Streams are plain
 * numbers where the database does not care, which spares them the names that Stele keeps. */
#ifndef BENCH_PEERS_PEER_H
#define BENCH_PEERS_PEER_H

#include "cli/bench_kit.h"

struct peer_event {
    uint32_t stream;
    uint32_t revision;
    uint8_t id[16];
    const char *data;
    size_t data_size;
};

struct peer {
    const char *name;
    bool many_writers; /* Appends may come from several threads at once. */

    /* Opens or makes the database. durable: an append has returned only when it is on stable
     * storage. Filling a data set does without. Ends the program on errors, as all of these do. */
    void (*open)(const char *directory, bool durable);
    void (*close)(void);
    /* All or none, in one durable commit. Every event's revision is the one that its stream must
     * get. Returns false if that is not so. */
    bool (*append)(const struct peer_event *events, uint32_t count);
    /* Reads a stream from its start, looks at a byte of every event's data, and returns how many
     * there were. */
    uint64_t (*read_stream)(uint32_t stream);
    /* The same for all events in global order. */
    uint64_t (*read_all)(void);
};

/* The one that the program was linked with. */
extern const struct peer peer;

/* Where a byte of each event's data goes, so that no compiler can leave the reading out. */
extern volatile uint64_t peer_sink;

__attribute__((noreturn)) STELE_PRINTF(2, 3)
void peer_die(const char *what, const char *format, ...);

/* An event as the key-value stores keep it: stream, revision, id, type, data. */
#define PEER_RECORD_HEAD 24u
#define PEER_RECORD_DATA_AT (PEER_RECORD_HEAD + 1u + (uint32_t)(sizeof BENCH_TYPE - 1))

static inline size_t peer_record_size(const struct peer_event *event)
{
    return PEER_RECORD_DATA_AT + event->data_size;
}

static inline void peer_record_encode(const struct peer_event *event, uint8_t *to)
{
    memcpy(to, &event->stream, 4);
    memcpy(to + 4, &event->revision, 4);
    memcpy(to + 8, event->id, 16);
    to[PEER_RECORD_HEAD] = sizeof BENCH_TYPE - 1;
    memcpy(to + PEER_RECORD_HEAD + 1, BENCH_TYPE, sizeof BENCH_TYPE - 1);
    memcpy(to + PEER_RECORD_DATA_AT, event->data, event->data_size);
}

/* Keys sort as bytes, so numbers in them are big-endian. */
static inline void peer_put_u32be(uint8_t *to, uint32_t value)
{
    const uint32_t swapped = __builtin_bswap32(value);
    memcpy(to, &swapped, 4);
}

static inline void peer_put_u64be(uint8_t *to, uint64_t value)
{
    const uint64_t swapped = __builtin_bswap64(value);
    memcpy(to, &swapped, 8);
}

#endif
