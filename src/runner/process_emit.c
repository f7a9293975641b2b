/* What the handler of a processor emits: an event of its batch, with where it comes from. */
#include "base/checksum.h"
#include "runner/process_internal.h"

#include <stdarg.h>
#include <stdio.h>

struct stele_memory *stele_process_memory(struct stele_process *process)
{
    if (process == NULL) {
        return NULL;
    }
    return process->memory;
}

int stele_process_reject(struct stele_process *process, const char *format, ...)
{
    if (process == NULL || format == NULL) {
        return STELE_REJECTED;
    }
    va_list args;
    va_start(args, format);
    (void)vsnprintf(process->words, sizeof process->words, format, args);
    va_end(args);
    return STELE_REJECTED;
}

static int fail_emit(struct stele_process *process, int outcome, const char *words)
{
    if (process->failed == STELE_OK) {
        process->failed = outcome;
        (void)snprintf(process->words, sizeof process->words, "%s", words);
    }
    return outcome;
}

/* Where an event that this one leads to says that it comes from. */
static int make_origin(struct stele_process *process)
{
    const struct stele_event *const event = process->event;
    int64_t hops = 0;
    (void)stele_json_integer(event->metadata, event->metadata_size, "$hops", &hops);
    if (hops < 0 || hops >= (int64_t)process->run->options.hops_max) {
        char words[160];
        (void)snprintf(words, sizeof words,
                       "the event went through %lld processors: do they feed each other in a "
                       "circle?",
                       (long long)hops);
        return fail_emit(process, STELE_E_LIMIT, words);
    }
    struct stele_origin origin;
    if (stele_origin_of_event(event, process->memory, &origin) != STELE_OK) {
        return fail_emit(process, STELE_E_NO_MEMORY, "no memory");
    }
    char traceparent[STELE_TRACEPARENT_SIZE];
    struct stele_output output;
    struct stele_output with_hops;
    stele_output_init(&output, stele_memory_source(process->memory));
    stele_output_init(&with_hops, stele_memory_source(process->memory));
    char number[24];
    const int size = snprintf(number, sizeof number, "%lld", (long long)hops + 1);
    int outcome = stele_trace__metadata(&origin, event->id, traceparent, &output, NULL);
    if (outcome == STELE_OK) {
        outcome =
            stele_json_set((struct stele_bytes){output.buf.data, output.buf.size}, "$hops",
                           (struct stele_bytes){(const uint8_t *)number, (size_t)size}, &with_hops);
    }
    if (outcome == STELE_OK) {
        process->origin = (struct stele_bytes){
            stele_memory_copy(process->memory, with_hops.buf.data, with_hops.buf.size),
            with_hops.buf.size};
    }
    stele_output_deinit(&output);
    stele_output_deinit(&with_hops);
    return process->origin.data != NULL ? STELE_OK
                                        : fail_emit(process, STELE_E_NO_MEMORY, "no memory");
}

static int make_metadata(struct stele_process *process, struct stele_event_draft *draft)
{
    struct stele_memory *const memory = process->run->memory;
    if (process->origin.data == NULL) {
        const int outcome = make_origin(process);
        if (outcome != STELE_OK) {
            return outcome;
        }
    }
    struct stele_text hops;
    struct stele_output counted;
    struct stele_output whole;
    stele_output_init(&counted, stele_memory_source(memory));
    stele_output_init(&whole, stele_memory_source(memory));
    (void)stele_json_member(process->origin.data, process->origin.size, "$hops", &hops);
    int outcome =
        stele_json_set((struct stele_bytes){draft->metadata, draft->metadata_size}, "$hops",
                       (struct stele_bytes){(const uint8_t *)hops.data, hops.size}, &counted);
    if (outcome == STELE_OK) {
        outcome = stele_json_add_missing((struct stele_bytes){counted.buf.data, counted.buf.size},
                                         process->origin, &whole);
    }
    if (outcome == STELE_OK) {
        draft->metadata = stele_memory_copy(memory, whole.buf.data, whole.buf.size);
        draft->metadata_size = whole.buf.size;
    }
    stele_output_deinit(&counted);
    stele_output_deinit(&whole);
    if (outcome == STELE_E_INVALID) {
        return fail_emit(process, outcome, "the metadata of what is emitted are no JSON object");
    }
    return outcome == STELE_OK && draft->metadata != NULL
               ? STELE_OK
               : fail_emit(process, STELE_E_NO_MEMORY, "no memory");
}

/* RFC 9562, section 5.8: version 8 is for ids that are made in a way of one's own. */
static void make_id(struct stele_process *process, uint8_t id[16])
{
    uint8_t from[16 + STELE_PROCESSOR_NAME_SIZE_MAX];
    const char *const name = process->run->processor->name;
    const size_t size = strlen(name);
    memcpy(from, process->event->id, 16);
    memcpy(from + 16, name, size);
    const struct stele_bytes bytes = {from, 16 + size};
    const uint64_t number = process->emitted;
    stele_store_u64le(id, stele_hash64(bytes, number << 1));
    stele_store_u64le(id + 8, stele_hash64(bytes, (number << 1) + 1));
    id[6] = (uint8_t)((id[6] & 0x0f) | 0x80);
    id[8] = (uint8_t)((id[8] & 0x3f) | 0x80);
}

static bool copy_tags(struct stele_memory *memory, struct stele_event_draft *draft)
{
    if (draft->tags_count == 0) {
        draft->tags = NULL;
        return true;
    }
    const char **const tags = stele_memory_allocate(memory, draft->tags_count * sizeof *tags);
    for (size_t i = 0; tags != NULL && i < draft->tags_count; i++) {
        tags[i] = stele_memory_copy(memory, draft->tags[i], strlen(draft->tags[i]));
        if (tags[i] == NULL) {
            return false;
        }
    }
    draft->tags = tags;
    return tags != NULL;
}

static bool copy_draft(struct stele_memory *memory, struct stele_event_draft *draft)
{
    draft->type = stele_memory_copy(memory, draft->type, strlen(draft->type));
    draft->data =
        stele_memory_copy(memory, draft->data_size > 0 ? draft->data : "", draft->data_size);
    if (draft->content_type != NULL) {
        draft->content_type =
            stele_memory_copy(memory, draft->content_type, strlen(draft->content_type));
        if (draft->content_type == NULL) {
            return false;
        }
    }
    return draft->type != NULL && draft->data != NULL && copy_tags(memory, draft);
}

int stele_process_emit(struct stele_process *process, const char *stream,
                       const struct stele_event_draft *draft)
{
    if (process == NULL) {
        return STELE_E_INVALID;
    }
    static const uint8_t zeros[16];
    struct process_run *const run = process->run;
    if (process->failed != STELE_OK) {
        return process->failed;
    }
    if (stream == NULL || stream[0] == '\0' || draft == NULL || draft->type == NULL ||
        draft->type[0] == '\0' || draft->tags_count > STELE_TAGS_MAX) {
        return fail_emit(process, STELE_E_INVALID,
                         "what is emitted needs a stream and a type, and may have 32 tags");
    }
    if (strncmp(stream, PROCESS_STREAM_PREFIX, sizeof PROCESS_STREAM_PREFIX - 1) == 0) {
        return fail_emit(process, STELE_E_INVALID,
                         "streams that begin with " PROCESS_STREAM_PREFIX " are for places alone");
    }
    struct process_emitted *const batch =
        stele_memory_grow(run->memory, run->batch, &run->capacity, run->count + 1, sizeof *batch);
    struct process_emitted it = {
        .stream = stele_memory_copy(run->memory, stream, strlen(stream)),
        .number = run->count,
        .draft = *draft,
    };
    if (batch == NULL || it.stream == NULL || !copy_draft(run->memory, &it.draft)) {
        return fail_emit(process, STELE_E_NO_MEMORY, "no memory");
    }
    run->batch = batch;
    const int outcome = make_metadata(process, &it.draft);
    if (outcome != STELE_OK) {
        return outcome;
    }
    if (memcmp(it.draft.id, zeros, 16) == 0) {
        make_id(process, it.draft.id);
    }
    process->emitted++;
    run->batch[run->count++] = it;
    run->size += it.draft.data_size + it.draft.metadata_size + strlen(stream) + 64;
    return STELE_OK;
}
