/* An engine in one thread: the real store core on a disk in memory. Appends are decided when they
 * are asked for and answered by a task, after a task has made them durable; readings are the core's.
 * For tests of everything that knows a store only as struct stele_engine.
 *
 *     struct memengine *mem = memengine_create(&loop, alloc, seed);
 *     … memengine_put(mem, "order-1", "Placed", "{}");       appends at once, durable and visible
 *     … hub or service on &mem->engine, miniloop_run(&loop)
 *     memengine_destroy(mem); */
#ifndef STELE_TESTS_LIB_MEMENGINE_H
#define STELE_TESTS_LIB_MEMENGINE_H

#include "api/engine.h"
#include "memio.h"
#include "store/store.h"

struct memengine_append; /* One that waits. */

struct memengine {
    struct stele_engine engine;
    struct stele_loop *loop; /* Where its own work is done. */
    struct stele_alloc *alloc;
    struct memio disk;
    struct stele_store_options options;
    struct stele_store *store;
    struct stele_task commit;
    bool posted;
    bool hold; /* Nothing becomes durable until memengine_commit(). */
    struct memengine_append *first, **last;
    struct stele_watch *watches;
    uint64_t told; /* The position that the watches know of. */
    uint64_t next_id;
    bool lose_appends; /* Every append ends with STELE_E_UNKNOWN and is not stored. */
    uint32_t readings; /* Open. */
    uint32_t readings_max;
    uint64_t opened;     /* Readings ever. */
    uint32_t fail_reads; /* So many read_open and read_next answer STELE_E_NO_MEMORY. */
    uint32_t
        fail_appends; /* So many appends end with STELE_E_UNKNOWN: every other one is stored. */
};

struct memengine *memengine_create(struct stele_loop *loop, struct stele_alloc *alloc,
                                   uint64_t seed);
/* Readings have been closed. */
void memengine_destroy(struct memengine *mem);
/* Power cut: appends that were not answered are forgotten, perhaps stored. Watches are gone. */
void memengine_crash(struct memengine *mem, int keep);

/* Makes durable what is staged, and answers. */
void memengine_commit(struct memengine *mem);
/* Background work until there is none. */
void memengine_work(struct memengine *mem);

/* One event, durable and visible when it returns. data may be NULL. Returns its position. */
uint64_t memengine_put(struct memengine *mem, const char *stream, const char *type,
                       const char *data);
/* As above with everything; returns the outcome. */
int memengine_append(struct memengine *mem, const char *stream, uint64_t expected,
                     const struct stele_event_draft *events, size_t count,
                     struct stele_append_result *out_result);
int memengine_tombstone(struct memengine *mem, const char *stream);
int memengine_delete(struct memengine *mem, const char *stream);
int memengine_set_metadata(struct memengine *mem, const char *stream, const char *json);

#endif
