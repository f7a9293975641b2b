/* One saga at work: read from its stream, and brought forward by what it is told. */
#include "runner/saga_internal.h"

#include <stdlib.h>

#define TRIES 8   /* Decisions that others may be faster with, one after the other. */
#define APPENDS 3 /* Of the same events, while nobody knows whether they were stored. */
#define RESTING_MAX 1000
#define LOOK_AGAIN_US 1000000 /* After an append that failed. */

void stele_runner__saga_problem(struct stele_saga_runner *runner, const char *id, const char *words)
{
    if (runner->options.on_problem != NULL) {
        runner->options.on_problem(runner->options.context, id, words);
    }
}

/* ---- Reading ------------------------------------------------------------------------------ */

static int keep_text(struct stele_saga_runner *runner, struct saga_text *to, const char *data,
                     size_t size, struct stele_error *err)
{
    char *copy = NULL;
    if (size > 0) {
        copy = stele_allocate(runner->alloc, size);
        if (copy == NULL) {
            return stele_fail(err, STELE_E_NO_MEMORY, 0, "no memory for a saga");
        }
        memcpy(copy, data, size);
    }
    stele_release(runner->alloc, to->data, to->size);
    *to = (struct saga_text){copy, size};
    return STELE_OK;
}

static bool is_same_retry(const struct stele_saga_retry *a, const struct stele_saga_retry *b)
{
    return a->attempts_max == b->attempts_max && a->backoff_ms == b->backoff_ms &&
           a->backoff_max_ms == b->backoff_max_ms;
}

static bool is_same_step(const struct stele_saga_plan_step *a, const struct stele_saga_plan_step *b)
{
    return strcmp(a->name, b->name) == 0 && a->after == b->after &&
           a->timeout_ms == b->timeout_ms && a->delay_ms == b->delay_ms &&
           is_same_retry(&a->retry, &b->retry) &&
           is_same_retry(&a->compensation_retry, &b->compensation_retry) &&
           a->compensates == b->compensates && a->on_failure == b->on_failure &&
           a->unknown == b->unknown;
}

static bool is_same_plan(const struct stele_saga_plan *a, const struct stele_saga_plan *b)
{
    bool same = strcmp(a->kind, b->kind) == 0 && a->deadline_ms == b->deadline_ms &&
                a->steps_count == b->steps_count;
    for (uint32_t i = 0; same && i < a->steps_count; i++) {
        same = is_same_step(&a->steps[i], &b->steps[i]);
    }
    return same;
}

static int keep_start(struct stele_saga_runner *runner, struct saga_entry *entry,
                      const struct saga_decoded *decoded, const struct stele_event *event,
                      struct stele_error *err)
{
    const int outcome = keep_text(runner, &entry->input, decoded->input, decoded->input_size, err);
    if (outcome != STELE_OK) {
        return outcome;
    }
    if (is_same_plan(decoded->plan, &runner->plan)) {
        entry->plan = &runner->plan;
    } else {
        /* It was started with another table, and ends by it. */
        entry->own_plan = stele_allocate(runner->alloc, sizeof *entry->own_plan);
        if (entry->own_plan == NULL) {
            return stele_fail(err, STELE_E_NO_MEMORY, 0, "no memory for a saga");
        }
        *entry->own_plan = *decoded->plan;
        entry->plan = entry->own_plan;
    }
    stele_runner__saga_metadata_member(event, "$correlationId", entry->correlation_id,
                                       sizeof entry->correlation_id);
    stele_runner__saga_metadata_member(event, "traceparent", entry->traceparent,
                                       sizeof entry->traceparent);
    return STELE_OK;
}

/* Every event of a saga comes through here, whether it was read or has just been stored. */
static int take_event(struct stele_saga_runner *runner, struct saga_entry *entry,
                      const struct stele_event *event, struct stele_error *err)
{
    if (event->revision < entry->revisions) {
        return STELE_OK;
    }
    struct saga_decoded decoded;
    int outcome = stele_runner__saga_decode(entry->plan, event, &decoded, err);
    if (outcome == STELE_OK) {
        if (event->revision != entry->revisions) {
            outcome = stele_fail(
                err, STELE_E_CORRUPT, 0, "events %llu to %llu of the saga's stream are not there",
                (unsigned long long)entry->revisions, (unsigned long long)event->revision - 1);
        } else if (decoded.plan != NULL && entry->plan == NULL) {
            outcome = keep_start(runner, entry, &decoded, event, err);
        }
        if (outcome == STELE_OK && decoded.event.kind == STELE_SAGA_EVENT_STEP_DONE) {
            outcome = keep_text(runner, &entry->results[decoded.event.step],
                                decoded.event.result.data, decoded.event.result.size, err);
        }
        if (outcome == STELE_OK) {
            outcome = entry->plan != NULL
                          ? stele_saga_evolve(entry->plan, &entry->saga, &decoded.event, err)
                          : stele_fail(err, STELE_E_CORRUPT, 0,
                                       "the saga's stream does not begin with SagaStarted");
        }
        stele_runner__saga_decoded_deinit(&decoded);
    } else if (outcome == STELE_NOT_FOUND) {
        outcome = STELE_OK; /* Somebody else's event in the saga's stream. It is passed by. */
    }
    if (outcome == STELE_OK) {
        entry->revisions = event->revision + 1;
        entry->position = event->position > entry->position ? event->position : entry->position;
        stele_id_to_text(event->id, entry->last_event_id);
    }
    return outcome;
}

struct reading {
    struct stele_saga_runner *runner;
    struct saga_entry *entry;
    struct stele_error *err;
};

static int on_read(void *context, const struct stele_event *event)
{
    struct reading *const reading = context;
    return take_event(reading->runner, reading->entry, event, reading->err);
}

int stele_runner__saga_catch_up(struct stele_saga_runner *runner, struct saga_entry *entry,
                                struct stele_error *err)
{
    struct stele_error own = {0};
    struct reading reading = {runner, entry, &own};
    const int outcome = runner->port->ops->read(runner->port, entry->stream, entry->revisions,
                                                on_read, &reading, &own);
    if (outcome == STELE_E_CORRUPT) {
        /* One saga that cannot be read keeps nobody from running the others. */
        entry->broken = true;
        stele_runner__saga_set_time(&runner->set, entry, STELE_SAGA_NEVER);
        stele_runner__saga_problem(runner, entry->id, own.message);
        return STELE_OK;
    }
    if (outcome != STELE_OK && err != NULL) {
        *err = own;
    }
    entry->stale = entry->stale && outcome != STELE_OK;
    return outcome;
}

/* ---- Appending ---------------------------------------------------------------------------- */

struct drafts {
    struct stele_event_draft events[STELE_SAGA_EVENTS_MAX];
    char *data[STELE_SAGA_EVENTS_MAX];
    char *metadata;
};

static int make_drafts(struct stele_saga_runner *runner, const struct saga_entry *entry,
                       const struct stele_saga_plan *plan, size_t count,
                       const struct saga_start *start, const char *causation, struct drafts *drafts)
{
    drafts->metadata =
        stele_runner__saga_metadata(entry->correlation_id, causation, entry->traceparent);
    bool whole = drafts->metadata != NULL;
    for (size_t i = 0; i < count; i++) {
        const struct stele_saga_event *const event = &runner->events[i];
        struct stele_event_draft *const draft = &drafts->events[i];
        memset(draft, 0, sizeof *draft);
        drafts->data[i] = stele_runner__saga_encode(plan, event, runner->name, start);
        whole = whole && drafts->data[i] != NULL;
        runner->port->ops->random(runner->port, draft->id, sizeof draft->id);
        draft->id[6] = (uint8_t)((draft->id[6] & 0x0f) | 0x40); /* RFC 9562, section 5.4. */
        draft->id[8] = (uint8_t)((draft->id[8] & 0x3f) | 0x80);
        draft->type = stele_saga_event_type(event->kind);
        draft->data = drafts->data[i];
        draft->data_size = drafts->data[i] != NULL ? strlen(drafts->data[i]) : 0;
        draft->metadata = drafts->metadata;
        draft->metadata_size = drafts->metadata != NULL ? strlen(drafts->metadata) : 0;
    }
    return whole ? STELE_OK : STELE_E_NO_MEMORY;
}

static int append(struct stele_saga_runner *runner, struct saga_entry *entry, size_t count,
                  const struct drafts *drafts, uint64_t *out_position, struct stele_error *err)
{
    const uint64_t expected = entry->revisions > 0 ? entry->revisions - 1 : STELE_EXPECT_NO_STREAM;
    int outcome = STELE_E_UNKNOWN;
    /* The same ids: what was stored already is not stored again. */
    for (int i = 0; i < APPENDS && outcome == STELE_E_UNKNOWN; i++) {
        outcome = runner->port->ops->append(runner->port, entry->stream, expected, drafts->events,
                                            count, out_position, err);
    }
    return outcome;
}

/* What was stored is folded in the form in which anybody else would read it. */
static int fold_drafts(struct stele_saga_runner *runner, struct saga_entry *entry, size_t count,
                       const struct drafts *drafts, uint64_t position, struct stele_error *err)
{
    for (size_t i = 0; i < count; i++) {
        const struct stele_event_draft *const draft = &drafts->events[i];
        struct stele_event event;
        memset(&event, 0, sizeof event);
        event.position = position;
        event.revision = entry->revisions;
        memcpy(event.id, draft->id, sizeof event.id);
        event.type = (struct stele_text){draft->type, strlen(draft->type)};
        event.data = draft->data;
        event.data_size = draft->data_size;
        event.metadata = draft->metadata;
        event.metadata_size = draft->metadata_size;
        const int outcome = take_event(runner, entry, &event, err);
        if (outcome != STELE_OK) {
            return outcome;
        }
        const struct stele_saga_event *const decided = &runner->events[i];
        if (decided->kind == STELE_SAGA_EVENT_STEP_REQUESTED ||
            decided->kind == STELE_SAGA_EVENT_COMPENSATION_REQUESTED) {
            entry->to_call |= UINT32_C(1) << decided->step;
        }
    }
    return STELE_OK;
}

static void count_events(struct stele_saga_runner *runner, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        const int kind = runner->events[i].kind;
        runner->stats.started += kind == STELE_SAGA_EVENT_STARTED;
        runner->stats.parked += kind == STELE_SAGA_EVENT_PARKED;
        runner->stats.ended +=
            kind == STELE_SAGA_EVENT_COMPLETED || kind == STELE_SAGA_EVENT_COMPENSATED;
    }
}

static int store(struct stele_saga_runner *runner, struct saga_entry *entry,
                 const struct stele_saga_plan *plan, size_t count, const struct saga_start *start,
                 const char *causation, struct stele_error *err)
{
    struct drafts drafts;
    memset(&drafts.data, 0, sizeof drafts.data);
    uint64_t position = 0;
    int outcome = make_drafts(runner, entry, plan, count, start, causation, &drafts);
    if (outcome != STELE_OK) {
        outcome = stele_fail(err, outcome, 0, "no memory for the events of a saga");
    } else {
        outcome = append(runner, entry, count, &drafts, &position, err);
    }
    if (outcome == STELE_OK) {
        count_events(runner, count);
        outcome = fold_drafts(runner, entry, count, &drafts, position, err);
        /* They are stored, so the stream knows more than the entry does. */
        entry->stale = entry->stale || outcome != STELE_OK;
    }
    for (size_t i = 0; i < count; i++) {
        free(drafts.data[i]);
    }
    free(drafts.metadata);
    return outcome;
}

/* ---- Feeding ------------------------------------------------------------------------------ */

static int queue_calls(struct stele_saga_runner *runner, struct saga_entry *entry,
                       struct stele_error *err)
{
    if (entry->to_call == 0 || entry->queued) {
        return STELE_OK;
    }
    if (runner->calls_count == runner->calls_capacity) {
        const size_t capacity = runner->calls_capacity > 0 ? runner->calls_capacity * 2 : 64;
        struct saga_entry **const calls = runner->alloc->reallocate(
            runner->alloc, runner->calls, runner->calls_capacity * sizeof(struct saga_entry *),
            capacity * sizeof(struct saga_entry *));
        if (calls == NULL) {
            return stele_fail(err, STELE_E_NO_MEMORY, 0, "no memory for the calls of a saga");
        }
        runner->calls = calls;
        runner->calls_capacity = capacity;
    }
    runner->calls[runner->calls_count++] = entry;
    entry->queued = true;
    return STELE_OK;
}

/* After its state has changed: its timer, calls that nobody waits for any more, and whether it may be
 * forgotten. */
static void settle(struct stele_saga_runner *runner, struct saga_entry *entry)
{
    for (uint32_t i = 0; entry->open != 0 && i < STELE_SAGA_STEPS_MAX; i++) {
        const struct stele_saga_step_state *const step = &entry->saga.steps[i];
        if ((entry->open & UINT32_C(1) << i) != 0 &&
            (!step->in_flight || entry->asked[i] != stele_runner__saga_call_code(step))) {
            stele_runner__saga_close_call(runner, entry, i, false);
        }
    }
    const bool rests = stele_runner__saga_may_rest(entry);
    stele_runner__saga_set_time(
        &runner->set, entry, rests ? STELE_SAGA_NEVER : stele_saga_due(entry->plan, &entry->saga));
    if (rests && !entry->resting) {
        entry->resting = true;
        entry->rest_next = NULL;
        *runner->rest_end = entry;
        runner->rest_end = &entry->rest_next;
        runner->resting_count++;
    }
}

static int feed_once(struct stele_saga_runner *runner, struct saga_entry *entry,
                     struct stele_saga_input *input, const struct saga_start *start,
                     const char *causation, struct stele_error *err)
{
    const struct stele_saga_plan *const plan = entry->plan != NULL ? entry->plan : &runner->plan;
    size_t count = 0;
    runner->port->ops->random(runner->port, &input->random, sizeof input->random);
    int outcome = stele_saga_decide(plan, &entry->saga, runner->port->ops->now_us(runner->port),
                                    input, runner->events, &count, err);
    if (outcome != STELE_OK || count == 0) {
        return outcome;
    }
    const char *const cause = causation[0] != '\0' ? causation : entry->last_event_id;
    outcome = store(runner, entry, plan, count, start, cause, err);
    if (outcome == STELE_WRONG_REVISION) {
        runner->stats.conflicts++;
        const int read = stele_runner__saga_catch_up(runner, entry, err);
        return read == STELE_OK ? STELE_WRONG_REVISION : read;
    }
    return outcome;
}

int stele_runner__saga_feed(struct stele_saga_runner *runner, struct saga_entry *entry,
                            struct stele_saga_input input, const struct saga_start *start,
                            const char *causation, struct stele_error *err)
{
    input.runner = runner->name_hash;
    int outcome = entry->stale ? stele_runner__saga_catch_up(runner, entry, err) : STELE_OK;
    if (outcome == STELE_OK) {
        outcome = STELE_WRONG_REVISION;
    }
    for (int i = 0; i < TRIES && outcome == STELE_WRONG_REVISION; i++) {
        if (entry->broken || (entry->plan == NULL && start == NULL)) {
            outcome = STELE_OK;
        } else {
            outcome = feed_once(runner, entry, &input, start, causation, err);
        }
    }
    const int queued = queue_calls(runner, entry, err);
    settle(runner, entry);
    if (outcome == STELE_OK) {
        return queued;
    }
    /* Whatever was decided may or may not be stored: that is read before anything else is decided,
     * and soon. */
    entry->stale = true;
    stele_runner__saga_set_time(&runner->set, entry,
                                runner->port->ops->now_us(runner->port) + LOOK_AGAIN_US);
    return outcome == STELE_WRONG_REVISION
               ? stele_fail(err, STELE_E_OVERLOADED, 0,
                            "saga %s: others were faster %d times in a row", entry->stream, TRIES)
               : outcome;
}

int stele_runner__saga_take_up(struct stele_saga_runner *runner, struct saga_entry *entry,
                               struct stele_error *err)
{
    int outcome = entry->stale ? stele_runner__saga_catch_up(runner, entry, err) : STELE_OK;
    for (uint32_t i = 0; outcome == STELE_OK && entry->plan != NULL && i < entry->plan->steps_count;
         i++) {
        const struct stele_saga_step_state *const step = &entry->saga.steps[i];
        const bool ours = step->in_flight && step->runner == runner->name_hash;
        const bool known = (entry->to_call & UINT32_C(1) << i) != 0 ||
                           entry->asked[i] == stele_runner__saga_call_code(step);
        if (!ours || known || entry->saga.state == STELE_SAGA_PARKED) {
            continue;
        }
        static const char WORDS[] = "the runner was interrupted";
        const struct stele_saga_input input = {.kind = STELE_SAGA_INPUT_ANSWER,
                                               .step = i,
                                               .compensation =
                                                   step->state == STELE_SAGA_STEP_COMPENSATING,
                                               .attempt = step->attempt,
                                               .answer = STELE_SAGA_INTERRUPTED,
                                               .reason = {WORDS, sizeof WORDS - 1}};
        outcome = stele_runner__saga_feed(runner, entry, input, NULL, "", err);
    }
    if (outcome == STELE_OK) {
        const struct stele_saga_input tick = {.kind = STELE_SAGA_INPUT_TICK};
        outcome = stele_runner__saga_feed(runner, entry, tick, NULL, "", err);
    }
    return outcome;
}

int stele_runner__saga_find(struct stele_saga_runner *runner, const char *id,
                            struct saga_entry **out_entry, struct stele_error *err)
{
    struct saga_entry *entry = stele_runner__saga_set_find(&runner->set, id);
    if (entry == NULL) {
        entry = stele_runner__saga_set_add(&runner->set, runner->plan.kind, id);
        if (entry == NULL) {
            return stele_fail(err, STELE_E_NO_MEMORY, 0, "no memory for one more saga");
        }
        const int outcome = stele_runner__saga_catch_up(runner, entry, err);
        if (outcome != STELE_OK || entry->revisions == 0) {
            stele_runner__saga_set_remove(&runner->set, entry);
            *out_entry = NULL;
            return outcome;
        }
        settle(runner, entry);
    }
    *out_entry = entry->plan != NULL && !entry->broken ? entry : NULL;
    return STELE_OK;
}

void stele_runner__saga_forget(struct stele_saga_runner *runner)
{
    struct saga_entry *entry = runner->rest_first;
    struct saga_entry *const last =
        entry != NULL ? (struct saga_entry *)((char *)runner->rest_end -
                                              offsetof(struct saga_entry, rest_next))
                      : NULL;
    bool more = entry != NULL;
    /* Its own events are still to come by, and are recognised as old news as long as it is here; if there
     * are too many like it, it is read once more then. */
    while (more && entry != NULL &&
           (entry->position <= runner->position || runner->resting_count > RESTING_MAX)) {
        more = entry != last;
        runner->rest_first = entry->rest_next;
        if (runner->rest_first == NULL) {
            runner->rest_end = &runner->rest_first;
        }
        entry->resting = false;
        runner->resting_count--;
        if (stele_runner__saga_may_rest(entry)) {
            if (entry->open == 0 && !entry->queued && !entry->stale) {
                stele_runner__saga_set_remove(&runner->set, entry);
            } else {
                settle(runner, entry); /* To the end of the line. */
            }
        }
        entry = runner->rest_first;
    }
}
