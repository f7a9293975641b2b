/* Processors: from events of one store to events of another, each event's consequences once.
 *
 * What a run is about to append is a *batch*: drafts in the order in which they were emitted. It is appended
 * together with the next event of the processor's own stream, whose metadata say up to which position the
 * source has its consequences, at the exact revision that the run knows: so of two runs one stops, and of a
 * batch that is sent twice one is stored. */
#include "base/checksum.h"
#include "base/text.h"
#include "io/linux.h"
#include "runner/command_internal.h"
#include "runner/run.h"

#include <stele/process.h>

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#define STREAM_PREFIX "$processor-"
#define BATCH_EVENTS_MAX 1000u    /* Of the target, so that their streams are few enough. */
#define BATCH_SIZE_MAX (4u << 20) /* Bytes. */
#define SAVE_EVENTS 4096u         /* Handled without a consequence, and the place is kept anyway. */
#define STATE_SLACK (8u << 20)    /* Bytes of a state's memory before it is made anew. */
#define WAIT_MS 200
#define RETRY_MS 20

struct emitted {
    const char *stream;
    size_t number; /* In the order of emission. */
    struct stele_event_draft draft;
};

struct run {
    struct stele *source;
    struct stele *target;
    const struct stele_processor *processor;
    struct stele_processor_options options;
    char stream[sizeof STREAM_PREFIX + STELE_PROCESSOR_NAME_SIZE_MAX];
    uint8_t source_id[16];
    uint64_t revision; /* Of the own stream; STELE_EXPECT_NO_STREAM if there is none yet. */
    uint64_t saved;    /* Handled events at the last append. */
    struct stele_processor_progress progress;
    struct stele_memory *memory; /* Of the batch. */
    struct emitted *batch;
    size_t count;
    size_t capacity;
    size_t size;
    size_t kept; /* Emitted by events that are done; what is behind belongs to the one at work. */
    size_t kept_size;
    struct stele_memory *state_memory;
    struct stele_state *state;
    bool is_ahead; /* The state has seen an event that was not handled: it goes with no place. */
};

struct stele_process {
    struct run *run;
    const struct stele_event *event;
    struct stele_memory *memory; /* Of the call. */
    struct stele_bytes origin; /* Members that what is emitted gets; made at the first emission. */
    uint32_t emitted;
    int failed; /* The first emission that was. */
    char words[sizeof((struct stele_error *)0)->message];
};

/* ---- What handlers call ---- */

struct stele_memory *stele_process_memory(struct stele_process *process)
{
    return process->memory;
}

int stele_process_reject(struct stele_process *process, const char *format, ...)
{
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
    static const uint8_t zeros[16];
    struct run *const run = process->run;
    if (process->failed != STELE_OK) {
        return process->failed;
    }
    if (stream == NULL || stream[0] == '\0' || draft->type == NULL || draft->type[0] == '\0' ||
        draft->tags_count > STELE_TAGS_MAX) {
        return fail_emit(process, STELE_E_INVALID,
                         "what is emitted needs a stream and a type, and may have 32 tags");
    }
    if (strncmp(stream, STREAM_PREFIX, sizeof STREAM_PREFIX - 1) == 0) {
        return fail_emit(process, STELE_E_INVALID,
                         "streams that begin with " STREAM_PREFIX " are for places alone");
    }
    struct emitted *const batch =
        stele_memory_grow(run->memory, run->batch, &run->capacity, run->count + 1, sizeof *batch);
    struct emitted it = {
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

/* ---- The place ---- */

static int fail_run(const struct run *run, struct stele_error *err, int outcome, const char *words)
{
    return stele_fail(err, outcome, 0, "processor %s: %s", run->processor->name, words);
}

static void name_stream(const char *name, char *out, size_t size)
{
    (void)snprintf(out, size, "%s%s", STREAM_PREFIX, name);
}

static int read_place(const char *name, const struct stele_event *event,
                      struct stele_processor_progress *out, char source[37], int64_t *out_fold,
                      struct stele_memory *memory, struct stele_error *err)
{
    int64_t position = -1;
    int64_t handled = -1;
    int64_t emitted = -1;
    struct stele_text id = {NULL, 0};
    const void *const json = event->metadata;
    const size_t size = event->metadata_size;
    (void)stele_json_integer(json, size, "position", &position);
    (void)stele_json_integer(json, size, "handled", &handled);
    (void)stele_json_integer(json, size, "emitted", &emitted);
    (void)stele_json_string(json, size, "source", memory, &id);
    *out_fold = 0;
    (void)stele_json_integer(json, size, "fold", out_fold);
    if (position < 0 || handled < 0 || emitted < 0 || id.size != 36) {
        return stele_fail(err, STELE_E_CORRUPT, 0,
                          "processor %s: revision %llu of its stream is no place", name,
                          (unsigned long long)event->revision);
    }
    memcpy(source, id.data, 37);
    *out = (struct stele_processor_progress){
        .position = (uint64_t)position,
        .handled = (uint64_t)handled,
        .emitted = (uint64_t)emitted,
    };
    return STELE_OK;
}

/* The last event of the processor's stream. STELE_NO_STREAM, or as reading says. */
static int find_place(struct stele *target, const char *stream, struct stele_iterator **out,
                      const struct stele_event **out_event, struct stele_error *err)
{
    struct stele_read_options options = STELE_READ_OPTIONS_INIT;
    options.from = STELE_FROM_END;
    options.backwards = 1;
    options.limit = 1;
    size_t count = 0;
    int outcome = stele_read_stream(target, stream, &options, out, err);
    if (outcome == STELE_OK) {
        outcome = stele_iterator_next(*out, out_event, &count, err);
    }
    return outcome == STELE_END ? STELE_NO_STREAM : outcome;
}

int stele_processor_load(struct stele *target, const char *name,
                         struct stele_processor_progress *out_progress, struct stele_error *err)
{
    char stream[sizeof STREAM_PREFIX + STELE_PROCESSOR_NAME_SIZE_MAX];
    char source[37];
    int64_t fold;
    struct stele_iterator *iterator = NULL;
    const struct stele_event *event;
    if (name == NULL || name[0] == '\0' || strlen(name) > STELE_PROCESSOR_NAME_SIZE_MAX) {
        return stele_fail(err, STELE_E_INVALID, 0, "a processor's name has 1 to %u bytes",
                          STELE_PROCESSOR_NAME_SIZE_MAX);
    }
    struct stele_memory *const memory = stele_memory_create();
    if (memory == NULL) {
        return stele_fail(err, STELE_E_NO_MEMORY, 0, "processor %s: no memory", name);
    }
    name_stream(name, stream, sizeof stream);
    int outcome = find_place(target, stream, &iterator, &event, err);
    if (outcome == STELE_OK) {
        outcome = read_place(name, event, out_progress, source, &fold, memory, err);
    } else if (outcome == STELE_NO_STREAM) {
        outcome = stele_fail(err, STELE_NOT_FOUND, 0, "no processor %s has run here", name);
    }
    stele_iterator_destroy(iterator);
    stele_memory_destroy(memory);
    return outcome;
}

static struct stele_read_options reading(const struct run *run, uint64_t from)
{
    struct stele_read_options options = STELE_READ_OPTIONS_INIT;
    static const struct stele_filter ordinary = {.exclude_system = 1};
    options.from = from;
    options.filter = run->processor->filter;
    if (options.filter == NULL) {
        options.filter = &ordinary;
    }
    return options;
}

static int begin_reading(const struct run *run, uint64_t from, uint64_t as_of,
                         struct stele_iterator **out, struct stele_error *err)
{
    struct stele_read_options options = reading(run, from);
    options.as_of = as_of;
    return stele_read_all(run->source, &options, out, err);
}

static bool is_place(const struct stele_event *event)
{
    const size_t size = sizeof STREAM_PREFIX - 1;
    return event->stream.size >= size && memcmp(event->stream.data, STREAM_PREFIX, size) == 0;
}

/* The state of a fold that is new, or of another version than the one that was kept. */
static int fold_again(struct run *run, struct stele_error *err)
{
    struct stele_iterator *iterator = NULL;
    int outcome = stele_state_create(run->state_memory, run->processor->fold, &run->state, err);
    if (outcome != STELE_OK || run->progress.position == 0) {
        return outcome;
    }
    outcome = begin_reading(run, run->processor->from, run->progress.position, &iterator, err);
    while (outcome == STELE_OK) {
        const struct stele_event *events;
        size_t count = 0;
        outcome = stele_iterator_next(iterator, &events, &count, err);
        for (size_t i = 0; outcome == STELE_OK && i < count; i++) {
            if (!is_place(&events[i])) {
                outcome = stele_state_apply(run->state, &events[i], 1, err);
            }
        }
    }
    stele_iterator_destroy(iterator);
    return outcome == STELE_END ? STELE_OK : outcome;
}

static int load_state(struct run *run, const struct stele_event *event, int64_t kept_fold,
                      struct stele_error *err)
{
    const struct stele_fold *const fold = run->processor->fold;
    if (fold == NULL) {
        return STELE_OK;
    }
    run->state_memory = stele_memory_create();
    if (run->state_memory == NULL) {
        return fail_run(run, err, STELE_E_NO_MEMORY, "no memory");
    }
    if (event == NULL || kept_fold != (int64_t)(stele_fold_fingerprint(fold) >> 1)) {
        return fold_again(run, err);
    }
    return stele_state_decode(run->state_memory, fold, event->data, event->data_size,
                              run->progress.handled, STELE_EXPECT_NO_STREAM, run->progress.position,
                              &run->state, err);
}

static int load_place(struct run *run, struct stele_error *err)
{
    struct stele_iterator *iterator = NULL;
    const struct stele_event *event = NULL;
    char source[37];
    char here[37];
    int64_t fold = 0;
    int outcome = find_place(run->target, run->stream, &iterator, &event, err);
    run->revision = STELE_EXPECT_NO_STREAM;
    if (outcome == STELE_NO_STREAM) {
        struct stele_stream_info info;
        if (stele_stream_info(run->target, run->stream, &info, NULL) == STELE_OK) {
            return stele_fail(err, STELE_CONDITION_FAILED, 0,
                              "processor %s: its place is gone (%s was deleted), but not what it "
                              "emitted: a processor of another name begins anew",
                              run->processor->name, run->stream);
        }
        run->progress.position = run->processor->from > 0 ? run->processor->from - 1 : 0;
        outcome = load_state(run, NULL, 0, err);
    } else if (outcome == STELE_OK) {
        run->revision = event->revision;
        outcome = read_place(run->processor->name, event, &run->progress, source, &fold,
                             run->memory, err);
        stele_id_to_text(run->source_id, here);
        if (outcome == STELE_OK && strcmp(source, here) != 0) {
            outcome =
                stele_fail(err, STELE_CONDITION_FAILED, 0,
                           "processor %s: it has read the store %s up to now, and this one is "
                           "%s: give it another name",
                           run->processor->name, source, here);
        }
        if (outcome == STELE_OK) {
            outcome = load_state(run, event, fold, err);
        }
    }
    stele_iterator_destroy(iterator);
    run->saved = run->progress.handled;
    return outcome;
}

/* ---- Appending ---- */

static int compare_emitted(const void *a, const void *b)
{
    const struct emitted *const left = a;
    const struct emitted *const right = b;
    const int order = strcmp(left->stream, right->stream);
    return order != 0 ? order : (left->number > right->number) - (left->number < right->number);
}

/* What is done, stream by stream, each in the order of emission. */
static int group_batch(struct run *run, struct stele_append *appends, size_t *out_count,
                       struct stele_error *err)
{
    struct stele_event_draft *const drafts =
        stele_memory_allocate(run->memory, run->kept * sizeof *drafts);
    if (drafts == NULL) {
        return fail_run(run, err, STELE_E_NO_MEMORY, "no memory");
    }
    if (run->kept > 1) {
        qsort(run->batch, run->kept, sizeof *run->batch, compare_emitted);
    }
    size_t count = 0;
    for (size_t i = 0; i < run->kept; i++) {
        drafts[i] = run->batch[i].draft;
        if (i == 0 || strcmp(run->batch[i].stream, run->batch[i - 1].stream) != 0) {
            appends[count++] = (struct stele_append){
                .stream = run->batch[i].stream, .expected = STELE_EXPECT_ANY, .events = &drafts[i]};
        }
        appends[count - 1].count++;
    }
    *out_count = count;
    return STELE_OK;
}

static int send(struct run *run, const struct stele_append *appends, size_t count,
                struct stele_error *err)
{
    const int64_t begun_ms = stele_runner__now_ms();
    for (;;) {
        const int outcome =
            stele_append_many(run->target, appends, count, NULL, 0, NULL, NULL, err);
        const bool may_pass = outcome == STELE_E_UNKNOWN || outcome == STELE_E_OVERLOADED;
        if (!may_pass || stele_runner__now_ms() - begun_ms > (int64_t)run->options.unknown_ms) {
            return outcome;
        }
        stele_runner__pause(RETRY_MS);
    }
}

/* A state's memory only grows: now and then it is made anew from its own bytes. */
static int renew_state(struct run *run, struct stele_text bytes, struct stele_error *err)
{
    if (stele_memory_size(run->state_memory) < STATE_SLACK + 4 * bytes.size) {
        return STELE_OK;
    }
    struct stele_memory *const memory = stele_memory_create();
    struct stele_state *state = NULL;
    if (memory == NULL) {
        return STELE_OK; /* Then it goes on growing. */
    }
    const int outcome = stele_state_decode(memory, run->processor->fold, bytes.data, bytes.size,
                                           run->progress.handled, STELE_EXPECT_NO_STREAM,
                                           run->progress.position, &state, err);
    if (outcome != STELE_OK) {
        stele_memory_destroy(memory);
        return outcome;
    }
    stele_memory_destroy(run->state_memory);
    run->state_memory = memory;
    run->state = state;
    return STELE_OK;
}

/* One event of the own stream is enough; where it cannot be said, the others are only in the way. */
static void keep_one(struct run *run)
{
    static const char one[] = "{\"$maxCount\":1}";
    (void)stele_set_metadata(run->target, run->stream, STELE_EXPECT_NO_STREAM, one, sizeof one - 1,
                             NULL, NULL);
}

/* Appends what is done, and the place. What belongs to an event at work stays. */
static int commit(struct run *run, struct stele_error *err)
{
    char source[37];
    char metadata[256];
    struct stele_text state = {"{}", 2};
    stele_id_to_text(run->source_id, source);
    int outcome = run->state != NULL ? stele_state_encode(run->state, &state, err) : STELE_OK;
    struct stele_append *const appends =
        stele_memory_allocate(run->memory, (run->kept + 1) * sizeof *appends);
    if (outcome != STELE_OK || appends == NULL) {
        return outcome != STELE_OK ? outcome : fail_run(run, err, STELE_E_NO_MEMORY, "no memory");
    }
    const uint64_t emitted = run->progress.emitted + run->kept;
    const uint64_t fold =
        run->state != NULL ? stele_fold_fingerprint(run->processor->fold) >> 1 : 0;
    const int size = snprintf(metadata, sizeof metadata,
                              "{\"position\":%llu,\"handled\":%llu,\"emitted\":%llu,"
                              "\"source\":\"%s\",\"fold\":%llu}",
                              (unsigned long long)run->progress.position,
                              (unsigned long long)run->progress.handled,
                              (unsigned long long)emitted, source, (unsigned long long)fold);
    struct stele_event_draft place = {
        .type = "$processed",
        .data = state.data,
        .data_size = state.size,
        .metadata = metadata,
        .metadata_size = (size_t)size,
        .content_type = run->state != NULL ? "application/octet-stream" : NULL,
    };
    stele_new_id(place.id);
    size_t count = 0;
    outcome = group_batch(run, appends, &count, err);
    if (outcome != STELE_OK) {
        return outcome;
    }
    appends[count] = (struct stele_append){
        .stream = run->stream, .expected = run->revision, .events = &place, .count = 1};
    struct stele_error why = {.outcome = STELE_OK};
    outcome = send(run, appends, count + 1, &why);
    if (outcome == STELE_WRONG_REVISION) {
        return fail_run(run, err, outcome, "another run of it writes to the same target");
    }
    if (outcome != STELE_OK) {
        return fail_run(run, err, outcome,
                        why.outcome == outcome ? why.message : stele_outcome_name(outcome));
    }
    if (run->revision == STELE_EXPECT_NO_STREAM) {
        keep_one(run);
    }
    run->revision = run->revision == STELE_EXPECT_NO_STREAM ? 0 : run->revision + 1;
    run->progress.emitted = emitted;
    run->saved = run->progress.handled;
    return run->state != NULL ? renew_state(run, state, err) : STELE_OK;
}

/* ---- Events ---- */

/* After what was done is appended: what the event at work has emitted moves to the front. */
static void forget_kept(struct run *run)
{
    run->count -= run->kept;
    run->size -= run->kept_size;
    if (run->count > 0) {
        memmove(run->batch, run->batch + run->kept, run->count * sizeof *run->batch);
    }
    for (size_t i = 0; i < run->count; i++) {
        run->batch[i].number = i;
    }
    run->kept = 0;
    run->kept_size = 0;
    if (run->count == 0) {
        stele_memory_reset(run->memory);
        run->batch = NULL;
        run->capacity = 0;
    }
}

static int commit_and_forget(struct run *run, struct stele_error *err)
{
    const int outcome = commit(run, err);
    if (outcome == STELE_OK) {
        forget_kept(run);
    }
    return outcome;
}

static bool has_much(const struct run *run)
{
    return run->count > BATCH_EVENTS_MAX || run->size > BATCH_SIZE_MAX;
}

/* The handler's say on one event. The state has seen it afterwards, whatever the outcome. */
static int call_handler(struct run *run, const struct stele_event *event, struct stele_error *err)
{
    struct stele_process process = {.run = run, .event = event, .memory = stele_memory_create()};
    int outcome =
        process.memory != NULL ? STELE_OK : fail_run(run, err, STELE_E_NO_MEMORY, "no memory");
    if (outcome == STELE_OK && run->state != NULL) {
        outcome = stele_state_apply(run->state, event, 1, err);
    }
    if (outcome != STELE_OK) {
        stele_memory_destroy(process.memory);
        return outcome;
    }
    outcome =
        run->processor->handle(run->processor->context, event,
                               run->state != NULL ? stele_state_value(run->state) : NULL, &process);
    outcome = process.failed != STELE_OK ? process.failed : outcome;
    stele_memory_destroy(process.memory);
    if (outcome == STELE_OK) {
        return STELE_OK;
    }
    return stele_fail(
        err, outcome, 0, "processor %s: %.*s at position %llu, revision %llu of %.*s: %s",
        run->processor->name, (int)event->type.size, event->type.data,
        (unsigned long long)event->position, (unsigned long long)event->revision,
        (int)(event->stream.size < 100 ? event->stream.size : 100), event->stream.data,
        process.words[0] != '\0' ? process.words : stele_outcome_name(outcome));
}

/* What the events before have led to is appended first where both together would be too much. The state
 * has to be that of the place, so a run with a fold appends before it looks at the event. */
static int handle(struct run *run, const struct stele_event *event, struct stele_error *err)
{
    int outcome = STELE_OK;
    if (run->state != NULL &&
        (run->kept > BATCH_EVENTS_MAX / 2 || run->kept_size > BATCH_SIZE_MAX / 2)) {
        outcome = commit_and_forget(run, err);
    }
    if (outcome == STELE_OK) {
        outcome = call_handler(run, event, err);
    }
    if (outcome != STELE_OK) {
        run->is_ahead = run->state != NULL;
        run->count = run->kept;
        run->size = run->kept_size;
        return outcome;
    }
    if (has_much(run) && run->kept > 0 && run->state == NULL) {
        outcome = commit_and_forget(run, err);
    }
    run->kept = run->count;
    run->kept_size = run->size;
    run->progress.position = event->position;
    run->progress.handled++;
    return outcome;
}

static bool is_stopped(struct run *run)
{
    return run->options.on_progress != NULL &&
           run->options.on_progress(run->options.context, &run->progress) != 0;
}

/* Everything that is at hand, in appends of batch_max events. */
static int take_events(struct run *run, const struct stele_event *events, size_t count,
                       bool *out_stop, struct stele_error *err)
{
    int outcome = STELE_OK;
    for (size_t i = 0; outcome == STELE_OK && !*out_stop && i < count; i++) {
        if (is_place(&events[i])) {
            continue;
        }
        outcome = handle(run, &events[i], err);
        const uint64_t unsaved = run->progress.handled - run->saved;
        const bool is_due =
            run->kept > 0 ? unsaved >= run->options.batch_max : unsaved >= SAVE_EVENTS;
        if (outcome == STELE_OK && is_due) {
            outcome = commit_and_forget(run, err);
            *out_stop = outcome == STELE_OK && is_stopped(run);
        }
    }
    return outcome;
}

/* At the end of what there is: what was done is appended, and the place if it is far from the last one. */
static int settle(struct run *run, const struct stele_iterator *iterator, bool is_last,
                  struct stele_error *err)
{
    const uint64_t position = stele_iterator_position(iterator);
    run->progress.position = position > run->progress.position ? position : run->progress.position;
    const uint64_t unsaved = run->progress.handled - run->saved;
    const bool is_worth_it = unsaved >= (is_last ? 1 : SAVE_EVENTS);
    return run->kept > 0 || is_worth_it ? commit_and_forget(run, err) : STELE_OK;
}

static int work(struct run *run, uint64_t until, struct stele_error *err)
{
    struct stele_iterator *iterator = NULL;
    bool stop = false;
    int outcome = begin_reading(run, run->progress.position + 1, until, &iterator, err);
    while (outcome == STELE_OK && !stop) {
        const struct stele_event *events;
        size_t count = 0;
        outcome = stele_iterator_next(iterator, &events, &count, err);
        if (outcome == STELE_OK) {
            outcome = take_events(run, events, count, &stop, err);
        } else if (outcome == STELE_END) {
            outcome = settle(run, iterator, !run->options.follow, err);
            stop = outcome == STELE_OK && (!run->options.follow || is_stopped(run));
            if (outcome == STELE_OK && !stop) {
                outcome = stele_wait(run->source, stele_iterator_position(iterator), WAIT_MS, err);
                outcome = outcome == STELE_TIMED_OUT ? STELE_OK : outcome;
                stop = outcome == STELE_OK && is_stopped(run);
            }
        }
    }
    /* What is done stays done, also when what came next was not. */
    struct stele_error later = {.outcome = STELE_OK};
    const bool is_lost = outcome == STELE_WRONG_REVISION || outcome == STELE_E_UNKNOWN;
    if (!is_lost && !run->is_ahead && run->progress.handled > run->saved) {
        const int committed = commit_and_forget(run, &later);
        if (outcome == STELE_OK && committed != STELE_OK) {
            outcome = committed;
            *err = later;
        }
    }
    stele_iterator_destroy(iterator);
    return outcome;
}

/* ---- Runs ---- */

static int check(const struct stele_processor *processor,
                 const struct stele_processor_options *options, struct stele_error *err)
{
    if (processor == NULL || processor->struct_size != sizeof *processor ||
        processor->handle == NULL || processor->name == NULL || processor->name[0] == '\0' ||
        strlen(processor->name) > STELE_PROCESSOR_NAME_SIZE_MAX) {
        return stele_fail(err, STELE_E_INVALID, 0,
                          "a processor needs its struct_size, a handler, and a name of 1 to %u "
                          "bytes",
                          STELE_PROCESSOR_NAME_SIZE_MAX);
    }
    if (options->struct_size != sizeof *options || options->batch_max == 0) {
        return stele_fail(
            err, STELE_E_INVALID, 0,
            "processor %s: its options need struct_size and a batch_max of at least 1",
            processor->name);
    }
    return STELE_OK;
}

static int run_all(struct run *run, struct stele_error *err)
{
    struct stele_stats stats;
    run->memory = stele_memory_create();
    int outcome = run->memory != NULL ? stele_stats(run->source, &stats, err)
                                      : fail_run(run, err, STELE_E_NO_MEMORY, "no memory");
    if (outcome == STELE_OK) {
        memcpy(run->source_id, stats.store_id, sizeof run->source_id);
        outcome = load_place(run, err);
    }
    if (outcome == STELE_OK) {
        const uint64_t until = run->options.follow ? 0 : stele_last_position(run->source);
        outcome = run->options.follow || until > run->progress.position ? work(run, until, err)
                                                                        : STELE_OK;
    }
    stele_memory_destroy(run->state_memory);
    stele_memory_destroy(run->memory);
    return outcome;
}

int stele_processor_run(struct stele *source, struct stele *target,
                        const struct stele_processor *processor,
                        const struct stele_processor_options *options,
                        struct stele_processor_progress *out_progress, struct stele_error *err)
{
    static const struct stele_processor_options usual = STELE_PROCESSOR_OPTIONS_INIT;
    struct stele_error unused = {.outcome = STELE_OK};
    err = err != NULL ? err : &unused;
    options = options != NULL ? options : &usual;
    struct run run = {
        .source = source, .target = target, .processor = processor, .options = *options};
    int outcome = check(processor, options, err);
    if (outcome == STELE_OK) {
        name_stream(processor->name, run.stream, sizeof run.stream);
        outcome = run_all(&run, err);
    }
    if (out_progress != NULL) {
        *out_progress = run.progress;
    }
    return outcome;
}
