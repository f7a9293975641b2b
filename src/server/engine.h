/* An engine (api/engine.h) over libstele: what the services of a server work on. */
#ifndef STELE_SERVER_ENGINE_H
#define STELE_SERVER_ENGINE_H

#include "api/engine.h"

/* The store stays the caller's and must be closed after stele_engine_destroy(). Starts one thread,
 * for what cannot be asked for without waiting (deletes). */
STELE_MUST_USE
int stele_engine_create(struct stele *store, struct stele_alloc *alloc,
                        struct stele_engine **out_engine, struct stele_error *err);

/* From the first call on, watches are told of nothing new. Returns how many tasks of this engine the
 * loops have yet to run: answers of appends, deletes and chores (also those that nobody waits for any
 * more), and what they need before. Call it until it is 0, while the loops run and nobody asks for more;
 * then no loop knows the engine. From any thread. */
uint64_t stele_engine_wind_down(struct stele_engine *engine);

/* stele_engine_wind_down() must have returned 0 (or nothing was ever asked for), every reading must be
 * closed and every watch stopped. NULL is fine. */
void stele_engine_destroy(struct stele_engine *engine);

/* Its functions: readings of it are read by them, whoever opened them. */
extern const struct stele_engine_ops *const stele_engine_embedded;

#endif
