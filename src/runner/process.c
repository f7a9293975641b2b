/* Processors: from events of one store to events of another, each event's consequences once.
 *
 * What a run is about to append is a *batch*: drafts in the order in which they were emitted. It is appended
 * together with the next event of the processor's own stream, whose metadata say up to which position the
 * source has its consequences, at the exact revision that the run knows: so of two runs one stops, and of a
 * batch that is sent twice one is stored. */
#include "runner/process_internal.h"
#include "runner/run.h"

#include <stdio.h>
#include <stdlib.h>

#define BATCH_EVENTS_MAX 1000u    /* Of the target, so that their streams are few enough. */
#define BATCH_SIZE_MAX (4u << 20) /* Bytes. */
#define SAVE_EVENTS 4096u         /* Handled without a consequence, and the place is kept anyway. */
#define STATE_SLACK (8u << 20)    /* Bytes of a state's memory before it is made anew. */
#define WAIT_MS 200
#define RETRY_MS 20

/* ---- Appending ---- */

static int compare_emitted(const void *a, const void *b)
{
    const struct process_emitted *const left = a;
    const struct process_emitted *const right = b;
    const int order = strcmp(left->stream, right->stream);
    return order != 0 ? order : (left->number > right->number) - (left->number < right->number);
}

/* What is done, stream by stream, each in the order of emission. */
static int group_batch(struct process_run *run, struct stele_append *appends, size_t *out_count,
                       struct stele_error *err)
{
    struct stele_event_draft *const drafts =
        stele_memory_allocate(run->memory, run->kept * sizeof *drafts);
    if (drafts == NULL) {
        return stele_process__fail(run, err, STELE_E_NO_MEMORY, "no memory");
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

static int send(struct process_run *run, const struct stele_append *appends, size_t count,
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
static int renew_state(struct process_run *run, struct stele_text bytes, struct stele_error *err)
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
static void keep_one(struct process_run *run)
{
    static const char one[] = "{\"$maxCount\":1}";
    (void)stele_set_metadata(run->target, run->stream, STELE_EXPECT_NO_STREAM, one, sizeof one - 1,
                             NULL, NULL);
}

/* Appends what is done, and the place. What belongs to an event at work stays. */
static int commit(struct process_run *run, struct stele_error *err)
{
    char source[37];
    char metadata[256];
    struct stele_text state = {"{}", 2};
    stele_id_to_text(run->source_id, source);
    int outcome = run->state != NULL ? stele_state_encode(run->state, &state, err) : STELE_OK;
    struct stele_append *const appends =
        stele_memory_allocate(run->memory, (run->kept + 1) * sizeof *appends);
    if (outcome != STELE_OK || appends == NULL) {
        return outcome != STELE_OK ? outcome
                                   : stele_process__fail(run, err, STELE_E_NO_MEMORY, "no memory");
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
        return stele_process__fail(run, err, outcome,
                                   "another run of it writes to the same target");
    }
    if (outcome != STELE_OK) {
        return stele_process__fail(
            run, err, outcome, why.outcome == outcome ? why.message : stele_outcome_name(outcome));
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
static void forget_kept(struct process_run *run)
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

static int commit_and_forget(struct process_run *run, struct stele_error *err)
{
    const int outcome = commit(run, err);
    if (outcome == STELE_OK) {
        forget_kept(run);
    }
    return outcome;
}

static bool has_much(const struct process_run *run)
{
    return run->count > BATCH_EVENTS_MAX || run->size > BATCH_SIZE_MAX;
}

/* The handler's say on one event. The state has seen it afterwards, whatever the outcome. */
static int call_handler(struct process_run *run, const struct stele_event *event,
                        struct stele_error *err)
{
    struct stele_process process = {.run = run, .event = event, .memory = stele_memory_create()};
    int outcome = process.memory != NULL
                      ? STELE_OK
                      : stele_process__fail(run, err, STELE_E_NO_MEMORY, "no memory");
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
static int handle(struct process_run *run, const struct stele_event *event, struct stele_error *err)
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

static bool is_stopped(struct process_run *run)
{
    return run->options.on_progress != NULL &&
           run->options.on_progress(run->options.context, &run->progress) != 0;
}

/* Everything that is at hand, in appends of batch_max events. */
static int take_events(struct process_run *run, const struct stele_event *events, size_t count,
                       bool *out_stop, struct stele_error *err)
{
    int outcome = STELE_OK;
    for (size_t i = 0; outcome == STELE_OK && !*out_stop && i < count; i++) {
        if (stele_process__is_place(&events[i])) {
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
static int settle(struct process_run *run, const struct stele_iterator *iterator, bool is_last,
                  struct stele_error *err)
{
    const uint64_t position = stele_iterator_position(iterator);
    run->progress.position = position > run->progress.position ? position : run->progress.position;
    const uint64_t unsaved = run->progress.handled - run->saved;
    const bool is_worth_it = unsaved >= (is_last ? 1 : SAVE_EVENTS);
    return run->kept > 0 || is_worth_it ? commit_and_forget(run, err) : STELE_OK;
}

static int work(struct process_run *run, uint64_t until, struct stele_error *err)
{
    struct stele_iterator *iterator = NULL;
    bool stop = false;
    int outcome =
        stele_process__begin_reading(run, run->progress.position + 1, until, &iterator, err);
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

static int run_all(struct process_run *run, struct stele_error *err)
{
    struct stele_stats stats;
    run->memory = stele_memory_create();
    int outcome = run->memory != NULL
                      ? stele_stats(run->source, &stats, err)
                      : stele_process__fail(run, err, STELE_E_NO_MEMORY, "no memory");
    if (outcome == STELE_OK) {
        memcpy(run->source_id, stats.store_id, sizeof run->source_id);
        outcome = stele_process__load_place(run, err);
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
    struct process_run run = {
        .source = source, .target = target, .processor = processor, .options = *options};
    int outcome = check(processor, options, err);
    if (outcome == STELE_OK) {
        stele_process__name_stream(processor->name, run.stream, sizeof run.stream);
        outcome = run_all(&run, err);
    }
    if (out_progress != NULL) {
        *out_progress = run.progress;
    }
    return outcome;
}
