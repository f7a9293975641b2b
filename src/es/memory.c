#include "es/memory.h"

#include "base/text.h"

#include <stdarg.h>
#include <stdio.h>

struct kept {
    struct kept *next;
    stele_memory_release release;
    void *thing;
};

struct stele_memory {
    struct stele_alloc *alloc;
    struct stele_arena arena;
    struct kept *kept; /* Newest first: released in the reverse order of making. */
};

struct stele_memory *stele_memory_create_in(struct stele_alloc *alloc, size_t block_size)
{
    struct stele_memory *memory = stele_allocate_zeroed(alloc, sizeof *memory);
    if (memory == NULL) {
        return NULL;
    }
    memory->alloc = alloc;
    memory->arena.block_size = block_size;
    return memory;
}

static void release_kept(struct stele_memory *memory)
{
    struct kept *kept = memory->kept;
    memory->kept = NULL;
    for (; kept != NULL; kept = kept->next) {
        kept->release(kept->thing);
    }
}

void stele_memory_destroy(struct stele_memory *memory)
{
    if (memory == NULL) {
        return;
    }
    release_kept(memory);
    stele_arena_deinit(&memory->arena, memory->alloc);
    stele_release(memory->alloc, memory, sizeof *memory);
}

void stele_memory_reset(struct stele_memory *memory)
{
    STELE_ASSERT(memory->kept == NULL);
    stele_arena_reset(&memory->arena, memory->alloc);
}

struct stele_alloc *stele_memory_source(struct stele_memory *memory)
{
    return memory->alloc;
}

void *stele_memory_allocate(struct stele_memory *memory, size_t size)
{
    if (memory == NULL) {
        return NULL;
    }
    return stele_arena_allocate(&memory->arena, memory->alloc, size);
}

void *stele_memory_allocate_zeroed(struct stele_memory *memory, size_t size)
{
    void *bytes = stele_memory_allocate(memory, size);
    if (bytes != NULL) {
        memset(bytes, 0, size);
    }
    return bytes;
}

void *stele_memory_copy(struct stele_memory *memory, const void *data, size_t size)
{
    if (memory == NULL || (data == NULL && size > 0)) {
        return NULL;
    }
    if (size == SIZE_MAX) {
        return NULL;
    }
    uint8_t *copy = stele_memory_allocate(memory, size + 1);
    if (copy == NULL) {
        return NULL;
    }
    if (size > 0) {
        memcpy(copy, data, size);
    }
    copy[size] = 0;
    return copy;
}

size_t stele_memory_size(const struct stele_memory *memory)
{
    if (memory == NULL) {
        return 0;
    }
    return memory->arena.allocated;
}

int stele_memory_keep(struct stele_memory *memory, stele_memory_release release, void *thing)
{
    struct kept *kept = stele_memory_allocate(memory, sizeof *kept);
    if (kept == NULL) {
        return STELE_E_NO_MEMORY;
    }
    *kept = (struct kept){.next = memory->kept, .release = release, .thing = thing};
    memory->kept = kept;
    return STELE_OK;
}

static void release_child(void *child)
{
    stele_memory_destroy(child);
}

struct stele_memory *stele_memory_child(struct stele_memory *memory)
{
    struct stele_memory *child = stele_memory_create_in(memory->alloc, memory->arena.block_size);
    if (child == NULL || stele_memory_keep(memory, release_child, child) != STELE_OK) {
        stele_memory_destroy(child);
        return NULL;
    }
    return child;
}

void *stele_memory_grow(struct stele_memory *memory, void *array, size_t *capacity, size_t count,
                        size_t element_size)
{
    if (count <= *capacity) {
        return array;
    }
    size_t wanted = *capacity > 0 ? *capacity : 4;
    while (wanted < count) {
        wanted *= 2;
    }
    if (wanted > SIZE_MAX / 2 / element_size) {
        return NULL;
    }
    void *moved = stele_memory_allocate(memory, wanted * element_size);
    if (moved == NULL) {
        return NULL;
    }
    if (*capacity > 0) {
        memcpy(moved, array, *capacity * element_size);
    }
    *capacity = wanted;
    return moved;
}

/* ---- Outputs ------------------------------------------------------------------------------ */

void stele_output_init(struct stele_output *output, struct stele_alloc *alloc)
{
    *output = (struct stele_output){.alloc = alloc};
}

void stele_output_deinit(struct stele_output *output)
{
    stele_buf_deinit(&output->buf, output->alloc);
}

void stele_output_clear(struct stele_output *output)
{
    output->buf.size = 0;
    output->failed = STELE_OK;
}

int stele_output_write(struct stele_output *output, const void *data, size_t size)
{
    if (output == NULL || (data == NULL && size > 0)) {
        return STELE_E_INVALID;
    }
    if (output->failed == STELE_OK) {
        output->failed = stele_buf_append(
            &output->buf, output->alloc,
            (struct stele_bytes){.data = size > 0 ? data : (const uint8_t *)"", .size = size});
    }
    return output->failed;
}

int stele_output_printf(struct stele_output *output, const char *format, ...)
{
    if (output == NULL || format == NULL) {
        return STELE_E_INVALID;
    }
    char text[256];
    va_list args;
    va_start(args, format);
    const int size = vsnprintf(text, sizeof text, format, args);
    va_end(args);
    if (size < 0) {
        output->failed = output->failed != STELE_OK ? output->failed : STELE_E_INVALID;
        return output->failed;
    }
    if ((size_t)size < sizeof text) {
        return stele_output_write(output, text, (size_t)size);
    }
    if (output->failed != STELE_OK) {
        return output->failed;
    }
    output->failed = stele_buf_reserve(&output->buf, output->alloc, (size_t)size + 1);
    if (output->failed != STELE_OK) {
        return output->failed;
    }
    va_start(args, format);
    (void)vsnprintf((char *)output->buf.data + output->buf.size, (size_t)size + 1, format, args);
    va_end(args);
    output->buf.size += (size_t)size;
    return STELE_OK;
}

static void write_escape(struct stele_output *output, uint8_t byte)
{
    static const char short_forms[] = "\"\"\\\\\bb\ff\nn\rr\tt";
    for (size_t i = 0; i + 1 < sizeof short_forms; i += 2) {
        if ((uint8_t)short_forms[i] == byte) {
            const char text[2] = {'\\', short_forms[i + 1]};
            (void)stele_output_write(output, text, sizeof text);
            return;
        }
    }
    (void)stele_output_printf(output, "\\u%04x", byte);
}

int stele_output_json_string(struct stele_output *output, const char *text, size_t size)
{
    if (output == NULL || (text == NULL && size > 0)) {
        return STELE_E_INVALID;
    }
    (void)stele_output_write(output, "\"", 1);
    size_t at = 0;
    size_t plain = 0; /* Where the run of characters that stand for themselves began. */
    while (at < size) {
        const uint8_t byte = (uint8_t)text[at];
        uint32_t code_point;
        const size_t width =
            byte < 0x80 ? 1
                        : stele_utf8_decode((struct stele_bytes){.data = (const uint8_t *)text + at,
                                                                 .size = size - at},
                                            &code_point);
        const bool stands = width > 0 && byte >= 0x20 && byte != '"' && byte != '\\';
        if (!stands) {
            (void)stele_output_write(output, text + plain, at - plain);
            if (width == 0) {
                (void)stele_output_write(output, "\xef\xbf\xbd", 3);
            } else {
                write_escape(output, byte);
            }
        }
        at += width > 0 ? width : 1;
        plain = stands ? plain : at;
    }
    (void)stele_output_write(output, text + plain, size - plain);
    return stele_output_write(output, "\"", 1);
}
