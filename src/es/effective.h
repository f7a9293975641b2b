/* The order in which events count, for whatever folds or projects them.
 *
 * Events say when they count in their metadata, or a callback says it: see struct stele_effective. */
#ifndef STELE_ES_EFFECTIVE_H
#define STELE_ES_EFFECTIVE_H

#include "es/memory.h"

/* Who asks when events count. */
struct stele_effective_reader {
    /* NULL: the metadata say it. */
    int (*effective)(void *context, const struct stele_event *event, struct stele_effective *out);
    void *context;
    const char *what; /* "fold" or "projection", and its name, for messages. */
    const char *name;
};

/* A *slot* is a place in the order. A correction takes over the slot of what it corrects. */
struct stele_effective_slot {
    int64_t effective_us;
    size_t order;                    /* Index of the event that opened it. */
    const struct stele_event *event; /* What counts in it now; NULL: it was cancelled. */
};

/* What the event says of itself; effective_us is 0 if it says no time. Memory is only used for short,
 * and may be emptied afterwards. STELE_OK; STELE_E_INVALID with words; STELE_E_NO_MEMORY */
STELE_MUST_USE
int stele_effective_ask(const struct stele_effective_reader *reader,
                        const struct stele_event *event, struct stele_memory *scratch,
                        struct stele_effective *out, struct stele_error *err);

/* The slots of events that are given in stored order, sorted by when they count; those of the same
 * time in stored order. *out_slots is made in memory and points to the events. scratch is another
 * memory, and is emptied again and again. STELE_OK; STELE_E_INVALID with words; STELE_E_NO_MEMORY */
STELE_MUST_USE
int stele_effective_sort(const struct stele_effective_reader *reader,
                         const struct stele_event *events, size_t count,
                         struct stele_memory *memory, struct stele_memory *scratch,
                         const struct stele_effective_slot **out_slots, size_t *out_count,
                         struct stele_error *err);

#endif
