/* An engine (api/engine.h) over libstele: what the services of a server work on. */
#ifndef STELE_SERVER_ENGINE_H
#define STELE_SERVER_ENGINE_H

#include "api/engine.h"

/* The store stays the caller's and must be closed after stele_engine_destroy(). Starts one thread,
 * for what cannot be asked for without waiting (deletes). */
STELE_MUST_USE
int stele_engine_create(struct stele *store, struct stele_alloc *alloc,
                        struct stele_engine **out_engine, struct stele_error *err);

/* Every append must have been answered, every reading closed and every watch stopped; the loops must
 * still be able to run tasks. NULL is fine. */
void stele_engine_destroy(struct stele_engine *engine);

#endif
