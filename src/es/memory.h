/* Memory that is released at once: what <stele/es.h> hands to callbacks and makes its objects in. */
#ifndef STELE_ES_MEMORY_H
#define STELE_ES_MEMORY_H

#include "base/alloc.h"

#include <stele/es.h>

/* Called when the memory is destroyed, for what a library that has its own allocation has made. */
typedef void (*stele_memory_release)(void *thing);

/* A memory from a given source. NULL when there is none. block_size: bytes that are taken at a time,
 * 0 for the default. Destroyed by stele_memory_destroy(). */
struct stele_memory *stele_memory_create_in(struct stele_alloc *alloc, size_t block_size);

struct stele_alloc *stele_memory_source(struct stele_memory *memory);

/* Zeroed. */
void *stele_memory_allocate_zeroed(struct stele_memory *memory, size_t size);

/* Releases all that was made in it but keeps a block, so that using it again costs no allocation.
 * Nothing that stele_memory_keep() was told of may live in it. */
void stele_memory_reset(struct stele_memory *memory);

/* Has release(thing) called when the memory is destroyed. STELE_OK or STELE_E_NO_MEMORY (then the
 * caller releases it). */
STELE_MUST_USE
int stele_memory_keep(struct stele_memory *memory, stele_memory_release release, void *thing);

/* A further memory that is destroyed with this one, for what is shorter-lived. NULL: none left. */
struct stele_memory *stele_memory_child(struct stele_memory *memory);

/* Room for count elements of a growing array: the array, perhaps moved (the old one stays until the
 * memory goes), or NULL. *capacity is updated. */
void *stele_memory_grow(struct stele_memory *memory, void *array, size_t *capacity, size_t count,
                        size_t element_size);

/* Where callbacks write bytes. It belongs to whoever made it. */
struct stele_output {
    struct stele_alloc *alloc;
    struct stele_buf buf;
    int failed; /* The first outcome that was not STELE_OK: nobody needs to look at each write. */
};

void stele_output_init(struct stele_output *output, struct stele_alloc *alloc);
void stele_output_deinit(struct stele_output *output);
void stele_output_clear(struct stele_output *output);

#endif
