/* Which memory outlives the reader's next call. */
#include "log/log_internal.h"

static bool lies_in(const struct stele_buf *buffer, const void *memory)
{
    const uintptr_t at = (uintptr_t)memory;
    const uintptr_t begin = (uintptr_t)buffer->data;
    return buffer->data != NULL && at >= begin && at < begin + buffer->capacity;
}

bool stele_log_is_lasting(const struct stele_log_reader *reader, const void *memory)
{
    return !lies_in(&reader->block, memory) &&
           (reader->loaded == NULL || !lies_in(&reader->loaded->buffer, memory));
}
