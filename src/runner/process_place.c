/* How far a processor is: its place in the source, and the state that it has folded until there. */
#include "runner/process_internal.h"

#include <stdio.h>

int stele_process__fail(const struct process_run *run, struct stele_error *err, int outcome,
                        const char *words)
{
    return stele_fail(err, outcome, 0, "processor %s: %s", run->processor->name, words);
}

void stele_process__name_stream(const char *name, char *out, size_t size)
{
    (void)snprintf(out, size, "%s%s", PROCESS_STREAM_PREFIX, name);
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
    char stream[sizeof PROCESS_STREAM_PREFIX + STELE_PROCESSOR_NAME_SIZE_MAX];
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
    stele_process__name_stream(name, stream, sizeof stream);
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

static struct stele_read_options reading(const struct process_run *run, uint64_t from)
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

int stele_process__begin_reading(const struct process_run *run, uint64_t from, uint64_t as_of,
                                 struct stele_iterator **out, struct stele_error *err)
{
    struct stele_read_options options = reading(run, from);
    options.as_of = as_of;
    return stele_read_all(run->source, &options, out, err);
}

bool stele_process__is_place(const struct stele_event *event)
{
    const size_t size = sizeof PROCESS_STREAM_PREFIX - 1;
    return event->stream.size >= size &&
           memcmp(event->stream.data, PROCESS_STREAM_PREFIX, size) == 0;
}

/* The state of a fold that is new, or of another version than the one that was kept. */
static int fold_again(struct process_run *run, struct stele_error *err)
{
    struct stele_iterator *iterator = NULL;
    int outcome = stele_state_create(run->state_memory, run->processor->fold, &run->state, err);
    if (outcome != STELE_OK || run->progress.position == 0) {
        return outcome;
    }
    outcome = stele_process__begin_reading(run, run->processor->from, run->progress.position,
                                           &iterator, err);
    while (outcome == STELE_OK) {
        const struct stele_event *events;
        size_t count = 0;
        outcome = stele_iterator_next(iterator, &events, &count, err);
        for (size_t i = 0; outcome == STELE_OK && i < count; i++) {
            if (!stele_process__is_place(&events[i])) {
                outcome = stele_state_apply(run->state, &events[i], 1, err);
            }
        }
    }
    stele_iterator_destroy(iterator);
    return outcome == STELE_END ? STELE_OK : outcome;
}

static int load_state(struct process_run *run, const struct stele_event *event, int64_t kept_fold,
                      struct stele_error *err)
{
    const struct stele_fold *const fold = run->processor->fold;
    if (fold == NULL) {
        return STELE_OK;
    }
    run->state_memory = stele_memory_create();
    if (run->state_memory == NULL) {
        return stele_process__fail(run, err, STELE_E_NO_MEMORY, "no memory");
    }
    if (event == NULL || kept_fold != (int64_t)(stele_fold_fingerprint(fold) >> 1)) {
        return fold_again(run, err);
    }
    return stele_state_decode(run->state_memory, fold, event->data, event->data_size,
                              run->progress.handled, STELE_EXPECT_NO_STREAM, run->progress.position,
                              &run->state, err);
}

int stele_process__load_place(struct process_run *run, struct stele_error *err)
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
