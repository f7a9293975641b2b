/* All events of one stream at once, as folding in effective order needs them. */
#ifndef STELE_RUNNER_HISTORY_H
#define STELE_RUNNER_HISTORY_H

#include "es/memory.h"

/* Made in memory, which the caller releases. */
struct stele_history {
    struct stele_memory *memory;
    struct stele_event *events; /* In stored order. */
    size_t count;
    size_t capacity;
};

/* Reads the stream up to the position known_at (0: all) and adds its events: those that can be seen, or
 * all that were not scavenged. A stream that is not there has none. */
STELE_MUST_USE
int stele_history__read(struct stele *store, const char *stream, uint64_t known_at, bool hidden_too,
                        struct stele_history *history, struct stele_error *err);

#endif
