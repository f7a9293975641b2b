/* Memory that is given back all at once: what one batch of events consists of. */
#ifndef STELE_CLI_ARENA_H
#define STELE_CLI_ARENA_H

#include <stddef.h>

struct stele_cli_arena_block;

/* All zeros is an empty arena. */
struct stele_cli_arena {
    struct stele_cli_arena_block *blocks;
    size_t size; /* Bytes handed out since the last reset. */
};

/* Uninitialised, aligned for anything, valid until the reset. */
void *stele_cli_arena_alloc(struct stele_cli_arena *arena, size_t size);
/* A copy with a zero behind it. */
char *stele_cli_arena_copy(struct stele_cli_arena *arena, const void *data, size_t size);
void stele_cli_arena_reset(struct stele_cli_arena *arena);
/* As above, and keeps no memory for the next time. */
void stele_cli_arena_free(struct stele_cli_arena *arena);

#endif
