/* Events of a stream, copied into memory until all of them are there. */
#include "runner/history.h"

#include "base/status.h"

static bool copy_bytes(struct stele_memory *memory, const void **data, size_t size)
{
    *data = stele_memory_copy(memory, *data, size);
    return *data != NULL;
}

static bool copy_text(struct stele_memory *memory, struct stele_text *text)
{
    text->data = stele_memory_copy(memory, text->data, text->size);
    return text->data != NULL;
}

static int keep(struct stele_history *history, const struct stele_event *event)
{
    struct stele_event *all = stele_memory_grow(
        history->memory, history->events, &history->capacity, history->count + 1, sizeof *all);
    if (all == NULL) {
        return STELE_E_NO_MEMORY;
    }
    history->events = all;
    struct stele_event *copy = &all[history->count];
    *copy = *event;
    size_t tags_size = 0;
    for (uint32_t i = 0; i < event->tags_count; i++) {
        tags_size += 1 + (size_t)event->tags[tags_size];
    }
    const void *tags = event->tags;
    struct stele_memory *memory = history->memory;
    if (!copy_text(memory, &copy->stream) || !copy_text(memory, &copy->type) ||
        !copy_text(memory, &copy->content_type) ||
        !copy_bytes(memory, &copy->data, copy->data_size) ||
        !copy_bytes(memory, &copy->metadata, copy->metadata_size) ||
        !copy_bytes(memory, &tags, tags_size)) {
        return STELE_E_NO_MEMORY;
    }
    copy->tags = tags;
    history->count++;
    return STELE_OK;
}

int stele_history__read(struct stele *store, const char *stream, uint64_t known_at, bool hidden_too,
                        struct stele_history *history, struct stele_error *err)
{
    struct stele_read_options options = STELE_READ_OPTIONS_INIT;
    options.as_of = known_at;
    options.ignore_limits = hidden_too ? 1 : 0;
    struct stele_iterator *iterator;
    int outcome = stele_read_stream(store, stream, &options, &iterator, err);
    if (outcome != STELE_OK) {
        return outcome == STELE_NO_STREAM ? STELE_OK : outcome;
    }
    const struct stele_event *events;
    size_t count;
    while ((outcome = stele_iterator_next(iterator, &events, &count, err)) == STELE_OK) {
        for (size_t i = 0; i < count && outcome == STELE_OK; i++) {
            outcome = keep(history, &events[i]);
        }
        if (outcome != STELE_OK) {
            (void)stele_fail(err, outcome, 0, "no memory for all events of %s at once", stream);
            break;
        }
    }
    stele_iterator_destroy(iterator);
    return outcome == STELE_END ? STELE_OK : outcome;
}
