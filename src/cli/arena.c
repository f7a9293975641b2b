#include "cli/arena.h"

#include "cli/cli.h"

#include <stdlib.h>
#include <string.h>

#define BLOCK_SIZE ((size_t)16 * 1024)

struct stele_cli_arena_block {
    struct stele_cli_arena_block *next;
    size_t size;
    size_t used;
    _Alignas(max_align_t) char memory[];
};

void *stele_cli_arena_alloc(struct stele_cli_arena *arena, size_t size)
{
    const size_t align = _Alignof(max_align_t);
    const size_t wanted = (size + align - 1) / align * align;
    struct stele_cli_arena_block *block = arena->blocks;
    if (block == NULL || block->size - block->used < wanted) {
        const size_t block_size = wanted > BLOCK_SIZE ? wanted : BLOCK_SIZE;
        block = stele_cli_alloc(sizeof *block + block_size);
        block->size = block_size;
        block->used = 0;
        block->next = arena->blocks;
        arena->blocks = block;
    }
    void *const memory = block->memory + block->used;
    block->used += wanted;
    arena->size += size;
    return memory;
}

char *stele_cli_arena_copy(struct stele_cli_arena *arena, const void *data, size_t size)
{
    char *const copy = stele_cli_arena_alloc(arena, size + 1);
    if (size > 0) {
        memcpy(copy, data, size);
    }
    copy[size] = '\0';
    return copy;
}

void stele_cli_arena_reset(struct stele_cli_arena *arena)
{
    /* One ordinary block stays, because the next batch needs one too. */
    struct stele_cli_arena_block *kept = NULL;
    while (arena->blocks != NULL) {
        struct stele_cli_arena_block *const block = arena->blocks;
        arena->blocks = block->next;
        if (kept == NULL && block->size == BLOCK_SIZE) {
            kept = block;
        } else {
            free(block);
        }
    }
    if (kept != NULL) {
        kept->next = NULL;
        kept->used = 0;
    }
    arena->blocks = kept;
    arena->size = 0;
}

void stele_cli_arena_free(struct stele_cli_arena *arena)
{
    stele_cli_arena_reset(arena);
    free(arena->blocks);
    arena->blocks = NULL;
}
