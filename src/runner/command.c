/* Executing a command: load, decide, append, and again as long as something came in between. */
#include "runner/execution.h"

#include <errno.h>
#include <stdio.h>
#include <time.h>

#define PAUSE_AFTER 3                      /* Conflicts that are decided again at once. */
#define PAUSE_NS_MIN ((uint64_t)50 * 1000) /* Then this, doubled each time, … */
#define PAUSE_NS_MAX ((uint64_t)10 * 1000000)
#define ASK_NS_MIN ((uint64_t)5 * 1000000) /* The same for asking again. */
#define ASK_NS_MAX ((uint64_t)500 * 1000000)
#define MEMORY_BLOCK_SIZE ((size_t)8 * 1024)
/* Nobody writes to it, so that "it exists" never holds. */
#define NOWHERE "$stele-nowhere"

/* ---- What all files of the runner use ------------------------------------------------------- */

int64_t stele_command__now_us(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_REALTIME, &now);
    return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

uint64_t stele_command__ticks_ns(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

void stele_command__pause(uint64_t ns)
{
    struct timespec left = {.tv_sec = (time_t)(ns / 1000000000),
                            .tv_nsec = (long)(ns % 1000000000)};
    while (nanosleep(&left, &left) != 0 && errno == EINTR) {
    }
}

char *stele_command__text(struct stele_alloc *alloc, const char *text)
{
    const size_t size = strlen(text) + 1;
    char *copy = stele_allocate(alloc, size);
    if (copy != NULL) {
        memcpy(copy, text, size);
    }
    return copy;
}

/* ---- States ------------------------------------------------------------------------------- */

static int fail_memory(const struct stele_execution *execution, struct stele_error *err)
{
    return stele_fail(err, STELE_E_NO_MEMORY, 0, "command %s: no memory", execution->command.type);
}

static struct stele_held *add_held(struct stele_execution *execution)
{
    struct stele_held *all =
        stele_memory_grow(execution->memory, execution->held, &execution->held_capacity,
                          execution->held_count + 1, sizeof *all);
    if (all == NULL) {
        return NULL;
    }
    execution->held = all;
    struct stele_held *held = &all[execution->held_count++];
    *held = (struct stele_held){.position = 0};
    return held;
}

static int load_stream(struct stele_execution *execution, const struct stele_wanted *wanted,
                       struct stele_held *held, struct stele_error *err)
{
    if (held->kept == NULL) {
        bool busy = false;
        held->kept = stele_kept__take(execution->runner, wanted->fold, wanted->stream,
                                      execution->held_above, execution->never_waits, &busy);
        if (held->kept == NULL) {
            return busy ? STELE_EXECUTION_WAITS : fail_memory(execution, err);
        }
        if (held->kept->hash > execution->held_above) {
            execution->held_above = held->kept->hash;
        }
    }
    if (execution->never_waits && !stele_load__is_current(execution->runner, held->kept)) {
        return STELE_EXECUTION_WAITS;
    }
    const int outcome = stele_load__refresh(execution->runner, held->kept, err);
    held->state = outcome == STELE_OK ? held->kept->state : NULL;
    return outcome;
}

static int load_query(struct stele_execution *execution, const struct stele_wanted *wanted,
                      struct stele_held *held, struct stele_error *err)
{
    if (execution->never_waits) {
        return STELE_EXECUTION_WAITS;
    }
    if (held->memory == NULL) {
        held->memory = stele_memory_create_in(execution->runner->alloc, MEMORY_BLOCK_SIZE);
        if (held->memory == NULL) {
            return fail_memory(execution, err);
        }
        const int outcome = stele_state_create(held->memory, wanted->fold, &held->state, err);
        if (outcome != STELE_OK) {
            return outcome;
        }
    }
    return stele_query__read(execution->runner, wanted->items, wanted->items_count, held->state,
                             &held->position, err);
}

/* Loads what is wanted: all of it, or what is not there yet. */
static int load(struct stele_execution *execution, bool all, struct stele_error *err)
{
    struct stele_wanted wanted;
    for (size_t i = 0; stele_decision_wanted(execution->decision, i, &wanted) == STELE_OK; i++) {
        if (wanted.state != NULL && !all) {
            continue;
        }
        struct stele_held *held =
            i < execution->held_count ? &execution->held[i] : add_held(execution);
        if (held == NULL) {
            return fail_memory(execution, err);
        }
        const int outcome = wanted.stream != NULL ? load_stream(execution, &wanted, held, err)
                                                  : load_query(execution, &wanted, held, err);
        if (outcome != STELE_OK) {
            return outcome;
        }
        const int supplied =
            stele_decision_supply(execution->decision, i, held->state, held->position);
        STELE_ASSERT(supplied == STELE_OK);
    }
    return STELE_OK;
}

static int decide(struct stele_execution *execution, struct stele_error *err)
{
    int outcome;
    while ((outcome = stele_decision_run(execution->decision, err)) == STELE_INCOMPLETE) {
        outcome = load(execution, false, err);
        if (outcome != STELE_OK) {
            return outcome;
        }
    }
    return outcome;
}

/* ---- The append --------------------------------------------------------------------------- */

static struct stele_append *find_stream(const struct stele_request *request, const char *stream)
{
    for (size_t i = 0; i < request->streams_count; i++) {
        if (strcmp(request->streams[i].stream, stream) == 0) {
            return &request->streams[i];
        }
    }
    return NULL;
}

/* Does the stream end with events that cannot be seen? The state ends before them. */
static bool ends_hidden(const struct stele_kept *kept)
{
    const uint64_t revision = stele_state_revision(kept->state);
    return kept->hidden != STELE_EXPECT_NO_STREAM &&
           (revision == STELE_EXPECT_NO_STREAM || kept->hidden > revision);
}

static uint64_t expectation(const struct stele_held *held)
{
    return ends_hidden(held->kept) ? held->kept->hidden : stele_state_revision(held->state);
}

/* Every stream and every query that was read joins the check. STELE_WRONG_REVISION: one stream was
 * read twice, by two folds, and something came in between. */
static int add_checks(struct stele_execution *execution, struct stele_request *request)
{
    struct stele_wanted wanted;
    for (size_t i = 0; stele_decision_wanted(execution->decision, i, &wanted) == STELE_OK; i++) {
        const struct stele_held *held = &execution->held[i];
        if (wanted.stream == NULL) {
            request->conditions[request->conditions_count++] = (struct stele_condition){
                .items = wanted.items, .items_count = wanted.items_count, .after = wanted.after};
            continue;
        }
        const struct stele_append *same = find_stream(request, wanted.stream);
        if (same == NULL) {
            request->streams[request->streams_count++] =
                (struct stele_append){.stream = wanted.stream, .expected = expectation(held)};
        } else if (same->expected != expectation(held)) {
            return STELE_WRONG_REVISION;
        }
    }
    return STELE_OK;
}

static int add_metadata(struct stele_execution *execution, struct stele_event_draft *draft,
                        struct stele_output *output, struct stele_error *err)
{
    const struct stele_bytes own = {.data = draft->metadata, .size = draft->metadata_size};
    const struct stele_bytes common = {.data = execution->metadata.buf.data,
                                       .size = execution->metadata.buf.size};
    if (own.size == 0) {
        draft->metadata = common.data;
        draft->metadata_size = common.size;
        return STELE_OK;
    }
    stele_output_clear(output);
    int outcome = stele_json_add_missing(own, common, output);
    if (outcome != STELE_OK) {
        return stele_fail(
            err, outcome, 0,
            "command %s: the metadata of event %s are no JSON object, to which ids of "
            "cause and correlation could be added",
            execution->command.type, draft->type);
    }
    draft->metadata = stele_memory_copy(execution->memory, output->buf.data, output->buf.size);
    draft->metadata_size = output->buf.size;
    return draft->metadata != NULL ? STELE_OK : fail_memory(execution, err);
}

/* The events of one stream have to stand together: a stream is named once in an append. */
static int add_events(struct stele_execution *execution, struct stele_request *request,
                      const struct stele_emitted *emitted, struct stele_event_draft *drafts,
                      struct stele_error *err)
{
    struct stele_output output;
    stele_output_init(&output, execution->runner->alloc);
    for (size_t i = 0; i < request->events; i++) {
        if (find_stream(request, emitted[i].stream) == NULL) {
            request->streams[request->streams_count++] =
                (struct stele_append){.stream = emitted[i].stream, .expected = STELE_EXPECT_ANY};
        }
    }
    int outcome = STELE_OK;
    size_t next = 0;
    for (size_t s = 0; s < request->streams_count; s++) {
        struct stele_append *stream = &request->streams[s];
        stream->events = drafts + next;
        for (size_t i = 0; i < request->events && outcome == STELE_OK; i++) {
            if (strcmp(emitted[i].stream, stream->stream) == 0) {
                drafts[next] = emitted[i].draft;
                outcome = add_metadata(execution, &drafts[next], &output, err);
                next++;
                stream->count++;
            }
        }
    }
    stele_output_deinit(&output);
    return outcome;
}

/* STELE_OK with no events: there is nothing to append. */
static int make_request(struct stele_execution *execution, struct stele_request *request,
                        struct stele_error *err)
{
    size_t explicit_count;
    const struct stele_condition *conditions =
        stele_decision_conditions(execution->decision, &explicit_count);
    *request = (struct stele_request){.streams_count = 0};
    const struct stele_emitted *emitted =
        stele_decision_events(execution->decision, &request->events);
    if (request->events == 0) {
        return STELE_OK;
    }
    struct stele_memory *memory = execution->memory;
    const size_t wanted = execution->held_count;
    request->streams =
        stele_memory_allocate(memory, (wanted + request->events) * sizeof *request->streams);
    request->conditions =
        stele_memory_allocate(memory, (wanted + explicit_count) * sizeof *request->conditions);
    struct stele_event_draft *drafts =
        stele_memory_allocate(memory, request->events * sizeof *drafts);
    if (request->streams == NULL || request->conditions == NULL || drafts == NULL) {
        return fail_memory(execution, err);
    }
    for (size_t i = 0; i < explicit_count; i++) {
        request->conditions[request->conditions_count++] = conditions[i];
    }
    const int outcome = add_checks(execution, request);
    return outcome == STELE_OK ? add_events(execution, request, emitted, drafts, err) : outcome;
}

static bool is_definite(int outcome)
{
    return outcome == STELE_OK || outcome == STELE_WRONG_REVISION ||
           outcome == STELE_CONDITION_FAILED || outcome == STELE_STREAM_DELETED ||
           outcome == STELE_E_ID_CONFLICT;
}

/* What came before cannot be answered by this store any more, however often it is asked. */
static bool is_hopeless(int outcome)
{
    return outcome == STELE_E_FENCED || outcome == STELE_E_CLOSED || outcome == STELE_E_FORKED;
}

/* Did the append check the very revision that the state ends with? */
static bool is_checked(const struct stele_kept *kept)
{
    return kept->state != NULL && !ends_hidden(kept);
}

/* The states go on with what was appended, or their next command reads. */
static void go_on(struct stele_execution *execution, int outcome,
                  const struct stele_request *request, const struct stele_append_result *result,
                  const struct stele_prepared *appended)
{
    const bool told = outcome == STELE_OK && appended != NULL && result->idempotent == 0;
    for (size_t i = 0; i < execution->held_count; i++) {
        struct stele_kept *kept = execution->held[i].kept;
        if (kept != NULL && told && is_checked(kept)) {
            stele_load__go_on(execution->runner, kept, appended, request->events,
                              result->position_last);
        } else if (kept != NULL) {
            kept->certain = false;
        }
    }
}

int stele_execution__ask(struct stele_execution *execution, uint64_t append_start_ns,
                         struct stele_error *err)
{
    struct stele_runner *runner = execution->runner;
    const struct stele_request *request = &execution->request;
    struct stele_append_result result = {.failed = 0};
    uint64_t pause_ns = ASK_NS_MIN;
    const uint64_t until_ns = append_start_ns + (uint64_t)runner->options.unknown_ms * 1000000;
    /* The same bytes with the same ids: what was stored the first time is found, not repeated. Only an
     * answer about the append itself ends the doubt. */
    int again = STELE_E_UNKNOWN;
    while (!is_definite(again) && !is_hopeless(again) && stele_command__ticks_ns() < until_ns) {
        stele_command__pause(pause_ns);
        pause_ns = pause_ns * 2 > ASK_NS_MAX ? ASK_NS_MAX : pause_ns * 2;
        stele_command__count(&runner->asked_again, 1);
        again =
            stele_append_many(runner->store, request->streams, request->streams_count,
                              request->conditions, request->conditions_count, NULL, &result, err);
    }
    const int outcome = is_definite(again) ? again : STELE_E_UNKNOWN;
    if (outcome == STELE_E_UNKNOWN) {
        (void)stele_fail(err, outcome, 0,
                         "command %s: nobody knows whether its events are stored; execute it again "
                         "with the same id and again = 1",
                         execution->command.type);
    }
    stele_execution__answered(execution, outcome, &result, NULL, append_start_ns);
    return outcome;
}

/* ---- Attempts ----------------------------------------------------------------------------- */

/* A stream whose last events cannot be seen is expected at the revision that it was told to have. What is
 * decided next is read after that was known, so nothing up to there is missed. */
static void note_hidden(struct stele_execution *execution, const struct stele_request *request,
                        const struct stele_append_result *result)
{
    struct stele_wanted wanted;
    if (result->failed >= request->streams_count) {
        return;
    }
    for (size_t i = 0; stele_decision_wanted(execution->decision, i, &wanted) == STELE_OK; i++) {
        if (wanted.stream != NULL &&
            strcmp(wanted.stream, request->streams[result->failed].stream) == 0) {
            struct stele_kept *kept = execution->held[i].kept;
            if (kept != NULL) {
                kept->hidden = result->revision_last;
            }
        }
    }
}

static void pause_before(struct stele_execution *execution, uint32_t attempt)
{
    if (attempt < PAUSE_AFTER) {
        return;
    }
    uint64_t bound = PAUSE_NS_MIN;
    for (uint32_t i = PAUSE_AFTER; i < attempt && bound < PAUSE_NS_MAX; i++) {
        bound *= 2;
    }
    /* Somewhere below the bound, so that those who have met do not meet again. */
    execution->noise = execution->noise * 6364136223846793005u + 1442695040888963407u;
    stele_command__pause(1 + (execution->noise >> 33) % bound);
}

int stele_execution__decide(struct stele_execution *execution, struct stele_error *err)
{
    execution->result.attempts++;
    const int outcome = decide(execution, err);
    return outcome == STELE_OK ? make_request(execution, &execution->request, err) : outcome;
}

void stele_execution__answered(struct stele_execution *execution, int outcome,
                               const struct stele_append_result *result,
                               const struct stele_prepared *appended, uint64_t append_start_ns)
{
    const struct stele_request *request = &execution->request;
    go_on(execution, outcome, request, result, appended);
    if (outcome == STELE_OK) {
        execution->result.append = *result;
        execution->result.events = request->events;
    } else if (outcome == STELE_WRONG_REVISION) {
        note_hidden(execution, request, result);
    }
    if (outcome != STELE_E_UNKNOWN) {
        stele_figures__append(execution->runner, request->streams[0].stream, outcome == STELE_OK,
                              stele_command__ticks_ns() - append_start_ns);
    }
}

static int append(struct stele_execution *execution, struct stele_error *err)
{
    struct stele_runner *runner = execution->runner;
    const struct stele_request *request = &execution->request;
    const uint64_t start_ns = stele_command__ticks_ns();
    struct stele_append_result result = {.failed = 0};
    struct stele_prepared *appended = NULL;
    int outcome = STELE_E_UNSUPPORTED;
    if (runner->watching) {
        outcome = stele_client_append_tell(runner->store, request->streams, request->streams_count,
                                           request->conditions, request->conditions_count,
                                           &appended, &result, err);
    }
    if (outcome == STELE_E_UNSUPPORTED) {
        outcome =
            stele_append_many(runner->store, request->streams, request->streams_count,
                              request->conditions, request->conditions_count, NULL, &result, err);
    }
    stele_execution__answered(execution, outcome, &result, appended, start_ns);
    stele_client_told(runner->store, appended);
    return outcome == STELE_E_UNKNOWN ? stele_execution__ask(execution, start_ns, err) : outcome;
}

int stele_execution__conflict(struct stele_execution *execution, int outcome,
                              struct stele_error *err)
{
    struct stele_runner *runner = execution->runner;
    stele_command__count(&runner->conflicts, 1);
    return execution->result.attempts < runner->options.attempts_max
               ? STELE_OK
               : stele_fail(err, outcome, 0,
                            "command %s: others were faster %u times in a row; nothing was done",
                            execution->command.type, execution->result.attempts);
}

static bool is_conflict(int outcome)
{
    return outcome == STELE_WRONG_REVISION || outcome == STELE_CONDITION_FAILED;
}

static int try_all(struct stele_execution *execution, struct stele_error *err)
{
    for (;;) {
        int outcome = stele_execution__decide(execution, err);
        if (outcome == STELE_OK && execution->request.events > 0) {
            outcome = append(execution, err);
        }
        if (!is_conflict(outcome)) {
            return outcome;
        }
        outcome = stele_execution__conflict(execution, outcome, err);
        if (outcome != STELE_OK) {
            return outcome;
        }
        pause_before(execution, execution->result.attempts);
        outcome = load(execution, true, err);
        if (outcome != STELE_OK) {
            return outcome;
        }
    }
}

int stele_execution__retry(struct stele_execution *execution, struct stele_error *err)
{
    pause_before(execution, execution->result.attempts);
    return try_all(execution, err);
}

/* Is the command's first event stored? An append of its id is answered with "that was stored before",
 * or with a revision that can never be right. */
static int ask_before(struct stele_execution *execution, struct stele_error *err)
{
    if (execution->command.stream == NULL) {
        return stele_fail(err, STELE_E_INVALID, 0,
                          "command %s: again needs the stream that its first event goes to",
                          execution->command.type);
    }
    struct stele_event_draft draft = {.type = "$again"};
    stele_decision_event_id(&execution->command, 0, draft.id);
    const struct stele_append streams[] = {
        {.stream = execution->command.stream,
         .expected = STELE_EXPECT_ANY,
         .events = &draft,
         .count = 1},
        {.stream = NOWHERE, .expected = STELE_EXPECT_EXISTS},
    };
    struct stele_append_result result = {.failed = 0};
    const int outcome =
        stele_append_many(execution->runner->store, streams, 2, NULL, 0, NULL, &result, err);
    if (outcome == STELE_OK) {
        execution->result.append = result;
        execution->result.repeated = 1;
    }
    return outcome == STELE_WRONG_REVISION ? STELE_NOT_FOUND : outcome;
}

int stele_execution__begin(struct stele_execution *execution, struct stele_runner *runner,
                           const struct stele_decider *decider, const struct stele_command *command,
                           const struct stele_origin *origin, struct stele_error *err)
{
    static const uint8_t none[16];
    *execution = (struct stele_execution){
        .runner = runner,
        .decider = decider,
        .parent = origin != NULL && origin->traceparent != NULL ? origin->traceparent : "",
        .start_us = stele_command__now_us(),
        .start_ns = stele_command__ticks_ns(),
    };
    stele_output_init(&execution->metadata, runner->alloc);
    if (command == NULL || command->struct_size != sizeof *command) {
        return stele_fail(err, STELE_E_INVALID, 0, "a command needs its struct_size");
    }
    execution->command = *command;
    if (memcmp(command->id, none, sizeof none) == 0) {
        stele_new_id(execution->command.id);
    }
    if (command->time_us == 0) {
        execution->command.time_us = execution->start_us;
    }
    execution->noise = stele_load_u64le(execution->command.id + 8);
    execution->memory = stele_memory_create_in(execution->runner->alloc, MEMORY_BLOCK_SIZE);
    if (execution->memory == NULL) {
        return fail_memory(execution, err);
    }
    const int outcome = stele_trace__metadata(origin, execution->command.id, execution->traceparent,
                                              &execution->metadata, err);
    return outcome == STELE_OK
               ? stele_decision_create(execution->memory, execution->decider, &execution->command,
                                       &execution->decision, err)
               : outcome;
}

void stele_execution__release(struct stele_execution *execution)
{
    for (size_t i = 0; i < execution->held_count; i++) {
        struct stele_held *held = &execution->held[i];
        if (held->kept != NULL) {
            stele_kept__give_back(execution->runner, held->kept);
            held->kept = NULL;
            held->state = NULL;
        }
        const int taken = stele_decision_supply(execution->decision, i, NULL, 0);
        STELE_ASSERT(taken == STELE_OK);
    }
    execution->held_above = 0;
}

void stele_execution__end(struct stele_execution *execution)
{
    if (execution->decision != NULL) {
        stele_execution__release(execution);
    }
    for (size_t i = 0; i < execution->held_count; i++) {
        stele_memory_destroy(execution->held[i].memory);
    }
    if (execution->runner != NULL) {
        stele_output_deinit(&execution->metadata);
    }
    stele_memory_destroy(execution->memory);
}

void stele_execution__tell(struct stele_execution *execution, int outcome,
                           const struct stele_error *err)
{
    struct stele_runner *runner = execution->runner;
    const uint64_t duration_ns = stele_command__ticks_ns() - execution->start_ns;
    const char *type = execution->command.type != NULL ? execution->command.type : "";
    stele_command__count(&runner->commands, 1);
    if (outcome == STELE_OK) {
        stele_command__count(&runner->commands_ok, 1);
        stele_command__count(&runner->events_appended, execution->result.events);
    } else if (outcome == STELE_REJECTED) {
        stele_command__count(&runner->commands_rejected, 1);
    }
    stele_figures__command(runner, type, outcome != STELE_OK, duration_ns);
    if (outcome == STELE_OK && execution->result.events > 0) {
        size_t count;
        const struct stele_emitted *events = stele_decision_events(execution->decision, &count);
        stele_figures__events(runner, events, count);
    }
    if (runner->options.on_command != NULL) {
        const struct stele_command_span span = {
            .command_type = type,
            .decider = execution->decider != NULL ? execution->decider->name : "",
            .stream = execution->command.stream,
            .id = execution->command.id,
            .outcome = outcome,
            .message = outcome != STELE_OK ? err->message : "",
            .start_us = execution->start_us,
            .duration_ns = duration_ns,
            .events_written = execution->result.events,
            .attempts = execution->result.attempts,
            .traceparent = execution->traceparent,
            .parent = execution->traceparent[0] != '\0' ? execution->parent : "",
        };
        runner->options.on_command(runner->options.context, &span);
    }
}

int stele_execution__run(struct stele_execution *execution, bool again, struct stele_error *err)
{
    int outcome = STELE_NOT_FOUND;
    if (again) {
        outcome = ask_before(execution, err);
    }
    return outcome == STELE_NOT_FOUND ? try_all(execution, err) : outcome;
}

int stele_runner_execute(struct stele_runner *runner, const struct stele_decider *decider,
                         const struct stele_command *command, const struct stele_origin *origin,
                         struct stele_command_result *out_result, struct stele_error *err)
{
    if (runner == NULL) {
        return stele_fail(err, STELE_E_INVALID, 0, "stele_runner_execute: an argument is NULL");
    }
    struct stele_error own = {.outcome = 0};
    struct stele_error *words = err != NULL ? err : &own;
    struct stele_execution execution;
    int outcome = stele_execution__begin(&execution, runner, decider, command, origin, words);
    if (outcome == STELE_OK) {
        outcome = stele_execution__run(&execution, origin != NULL && origin->again != 0, words);
    }
    stele_execution__tell(&execution, outcome, words);
    if (out_result != NULL) {
        *out_result = execution.result;
    }
    stele_execution__end(&execution);
    return outcome;
}
