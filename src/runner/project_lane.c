/* One lane of a run: reads, applies, commits, parks.
 *
 * Batches are natural: a transaction takes what is there, up to a bound, and while it is committed the
 * next events gather. The iterator is the only place in the store; whatever goes wrong inside a
 * transaction, the lane rolls back and begins again behind the checkpoint with a new iterator.
 *
 * An event that the read model refuses spoils its whole transaction. The lane then does the same again,
 * commits what lies before that event, and takes the event alone: if it is refused again it is
 * parked, and its stream with it. */
#include "base/checksum.h"
#include "io/linux.h"
#include "runner/run.h"

#include <string.h>
#include <time.h>

#define SCAN_MAX 8192u        /* Events looked at between two looks at the clock. */
#define POLL_MS 200           /* So often a waiting lane asks whether to stop. */
#define CHECKPOINT_IDLE_MS 20 /* A checkpoint that only passes other events waits so long. */
#define CHECKPOINT_BUSY_MS 1000
#define FAILURES_MAX 12

int64_t stele_runner__now_ms(void)
{
    struct timespec now = {0};
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

void stele_runner__pause(unsigned ms)
{
    const struct timespec time = {.tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * 1000000};
    (void)nanosleep(&time, NULL);
}

bool stele_runner__is_of_lane(const struct stele_run_lane *lane, struct stele_text stream)
{
    const uint32_t lanes = lane->run->place.lanes;
    const struct stele_bytes name = {.data = (const uint8_t *)stream.data, .size = stream.size};
    return lanes == 1 || stele_murmur3(name) % lanes == lane->index;
}

/* ---- Reading ---- */

static int begin_reading(struct stele_run_lane *lane)
{
    struct stele_read_options options = STELE_READ_OPTIONS_INIT;
    stele_iterator_destroy(lane->iterator);
    lane->iterator = NULL;
    options.from = lane->at.position == 0 ? 0 : lane->at.position + 1;
    options.as_of = lane->bound;
    options.filter = &lane->run->projection->filter;
    options.scan_max = SCAN_MAX;
    return stele_read_all(lane->run->store, &options, &lane->iterator, &lane->err);
}

static int on_parked_stream(void *context, struct stele_text stream)
{
    struct stele_run_lane *const lane = context;
    return stele_text_set_add(&lane->parked, stele_linux_alloc(), stream);
}

static int load_parked(struct stele_run_lane *lane)
{
    stele_text_set_deinit(&lane->parked, stele_linux_alloc());
    return lane->run->sink->ops->parked_streams(lane->run->sink, lane->index, on_parked_stream,
                                                lane, &lane->err);
}

/* ---- Transactions ---- */

static int begin(struct stele_run_lane *lane)
{
    if (lane->open) {
        return STELE_OK;
    }
    const int outcome = lane->run->sink->ops->begin(lane->run->sink, lane->index, &lane->err);
    if (outcome == STELE_OK) {
        lane->open = true;
        lane->applied = lane->parked_now = lane->parked_streams_now = 0;
        lane->begun_ms = stele_runner__now_ms();
    }
    return outcome;
}

static void give_up(struct stele_run_lane *lane)
{
    if (lane->open) {
        lane->run->sink->ops->rollback(lane->run->sink, lane->index);
        lane->open = false;
    }
    stele_runner__effective_forget(&lane->effective);
}

/* Back to the checkpoint. Streams that the transaction parked are not parked any more. */
static int start_again(struct stele_run_lane *lane)
{
    give_up(lane);
    const int outcome = load_parked(lane);
    return outcome == STELE_OK ? begin_reading(lane) : outcome;
}

static int on_fenced(struct stele_run_lane *lane)
{
    give_up(lane);
    const int outcome =
        lane->run->sink->ops->reload(lane->run->sink, lane->index, &lane->at, &lane->err);
    return outcome == STELE_OK ? start_again(lane) : outcome;
}

/* Something in a transaction ended with this outcome. STELE_OK: the lane goes on. */
static int recover(struct stele_run_lane *lane, int outcome, uint64_t culprit, uint64_t last)
{
    if (outcome == STELE_E_FENCED) {
        return on_fenced(lane);
    }
    if (outcome == STELE_E_OVERLOADED && ++lane->failures <= FAILURES_MAX) {
        give_up(lane);
        stele_runner__pause(1u << (lane->failures < 9 ? lane->failures : 9));
        return start_again(lane);
    }
    if (outcome != STELE_E_INVALID) {
        give_up(lane);
        return outcome;
    }
    const uint64_t from = culprit != 0 ? culprit : lane->at.position + 1;
    const uint64_t until = culprit != 0 ? culprit : last;
    if (from == lane->careful_from && until == lane->careful_until) {
        give_up(lane); /* It was refused alone, and parking it as well: not the event is wrong. */
        return outcome;
    }
    lane->careful_from = from;
    lane->careful_until = until;
    return start_again(lane);
}

bool stele_runner__tell(struct stele_run_lane *lane)
{
    struct stele_run *const run = lane->run;
    int ends = 0;
    (void)pthread_mutex_lock(&run->lock);
    run->positions[lane->index] = lane->at.position;
    run->progress.position = lane->at.position;
    for (uint32_t i = 0; i < run->place.lanes; i++) {
        if (run->positions[i] < run->progress.position) {
            run->progress.position = run->positions[i];
        }
    }
    stele_runner__signal_tell(run->options.signal, &run->told, run->progress.position);
    if (run->options.on_progress != NULL) {
        ends = run->options.on_progress(run->options.context, &run->progress);
    }
    (void)pthread_mutex_unlock(&run->lock);
    if (ends != 0) {
        atomic_store(&run->stop, true);
    }
    return !atomic_load(&run->stop);
}

/* Ends the transaction with the checkpoint at `to`. */
static int commit(struct stele_run_lane *lane, uint64_t to, uint64_t *out_culprit)
{
    struct stele_run *const run = lane->run;
    int outcome = stele_runner__effective_finish(run, &lane->effective, lane->index, &lane->err);
    if (outcome == STELE_OK) {
        outcome = run->sink->ops->commit(run->sink, lane->index, lane->at.position, to,
                                         lane->applied, out_culprit, &lane->err);
    }
    if (outcome != STELE_OK) {
        /* In effective order an early event may be refused because of a late one. */
        *out_culprit = run->projection->effective ? 0 : *out_culprit;
        return outcome;
    }
    stele_runner__effective_forget(&lane->effective);
    lane->open = false;
    lane->failures = 0;
    lane->at.position = to;
    lane->committed_ms = stele_runner__now_ms();
    (void)pthread_mutex_lock(&run->lock);
    run->progress.events += lane->applied;
    run->progress.parked += lane->parked_now;
    run->progress.commits++;
    run->parked_streams += lane->parked_streams_now;
    const bool too_many = run->parked_streams > run->options.parked_max;
    (void)pthread_mutex_unlock(&run->lock);
    if (too_many) {
        return stele_fail(
            &lane->err, STELE_E_LIMIT, 0,
            "projection %s: %u streams were parked by this run; look at `stele project "
            "park list` whether it is the projection that is wrong",
            run->projection->name, run->options.parked_max);
    }
    (void)stele_runner__tell(lane);
    return STELE_OK;
}

static int commit_or_recover(struct stele_run_lane *lane, uint64_t to)
{
    uint64_t culprit = 0;
    const int outcome = commit(lane, to, &culprit);
    return outcome == STELE_OK ? STELE_OK : recover(lane, outcome, culprit, to);
}

/* ---- Events ---- */

static int park(struct stele_run_lane *lane, const struct stele_event *event, const char *reason)
{
    const int outcome =
        lane->run->sink->ops->park(lane->run->sink, lane->index, event, reason, &lane->err);
    if (outcome != STELE_OK) {
        return outcome;
    }
    lane->parked_now++;
    lane->parked_streams_now += reason != NULL ? 1 : 0;
    return reason != NULL ? stele_text_set_add(&lane->parked, stele_linux_alloc(), event->stream)
                          : STELE_OK;
}

static int apply(struct stele_run_lane *lane, const struct stele_event *event,
                 uint64_t *out_culprit)
{
    if (stele_text_set_has(&lane->parked, event->stream)) {
        return park(lane, event, NULL);
    }
    const int outcome = lane->run->projection->effective
                            ? stele_runner__effective_take(lane->run, &lane->effective, lane->index,
                                                           event, out_culprit, &lane->err)
                            : lane->run->sink->ops->apply(lane->run->sink, lane->index, event,
                                                          event->position <= lane->at.effects_after,
                                                          out_culprit, &lane->err);
    lane->applied += outcome == STELE_OK ? 1 : 0;
    return outcome;
}

/* The event in a transaction of its own; if that is refused it is parked. */
static int apply_alone(struct stele_run_lane *lane, const struct stele_event *event)
{
    uint64_t culprit = 0;
    int outcome = apply(lane, event, &culprit);
    if (outcome == STELE_OK) {
        outcome = commit(lane, event->position, &culprit);
    }
    if (outcome != STELE_E_INVALID) {
        return outcome;
    }
    struct stele_error reason = lane->err;
    give_up(lane);
    outcome = begin(lane);
    if (outcome == STELE_OK) {
        outcome = park(lane, event, reason.message);
    }
    return outcome == STELE_OK ? commit(lane, event->position, &culprit) : outcome;
}

static bool is_careful(const struct stele_run_lane *lane, const struct stele_event *event)
{
    return event->position >= lane->careful_from && event->position <= lane->careful_until;
}

static bool is_full(const struct stele_run_lane *lane)
{
    const struct stele_sink *const sink = lane->run->sink;
    return lane->applied + lane->parked_now >= lane->run->options.batch_max ||
           (sink->ops->is_full != NULL && sink->ops->is_full(sink, lane->index));
}

/* One event, with a transaction around it. *out_again: the iterator is a new one. */
static int on_event(struct stele_run_lane *lane, const struct stele_event *event, bool *out_again)
{
    uint64_t culprit = 0;
    int outcome = STELE_OK;
    *out_again = false;
    if (!stele_runner__is_of_lane(lane, event->stream)) {
        return STELE_OK;
    }
    const bool careful = is_careful(lane, event);
    if (careful && lane->open && lane->applied + lane->parked_now > 0) {
        outcome = commit(lane, event->position - 1, &culprit);
    }
    if (outcome == STELE_OK) {
        outcome = begin(lane);
    }
    if (outcome == STELE_OK) {
        outcome = careful ? apply_alone(lane, event) : apply(lane, event, &culprit);
    }
    if (outcome == STELE_OK && lane->open && is_full(lane)) {
        outcome = commit(lane, event->position, &culprit);
    }
    if (outcome != STELE_OK) {
        *out_again = true;
        return recover(lane, outcome, culprit, event->position);
    }
    return STELE_OK;
}

static int on_events(struct stele_run_lane *lane, const struct stele_event *events, size_t count)
{
    bool again = false;
    int outcome = STELE_OK;
    for (size_t i = 0; i < count && outcome == STELE_OK && !again; i++) {
        outcome = on_event(lane, &events[i], &again);
    }
    return outcome;
}

/* ---- The end of what there is ---- */

static int commit_empty(struct stele_run_lane *lane, uint64_t to)
{
    const int outcome = begin(lane);
    return outcome == STELE_OK ? commit_or_recover(lane, to) : recover(lane, outcome, 0, to);
}

static int wait_for_events(struct stele_run_lane *lane, uint64_t after, int timeout_ms)
{
    const int outcome = stele_wait(lane->run->store, after, timeout_ms, &lane->err);
    return outcome == STELE_TIMED_OUT ? STELE_OK : outcome;
}

/* Nothing more at this moment. *out_done: and that is all that was asked for. */
static int on_end(struct stele_run_lane *lane, bool *out_done)
{
    const uint64_t seen = stele_iterator_position(lane->iterator);
    const uint64_t to = lane->bound > seen ? lane->bound : seen;
    const int64_t now = stele_runner__now_ms();
    if (lane->open) {
        const int64_t left = lane->begun_ms + lane->run->options.linger_ms - now;
        if (lane->follow && left > 0) {
            return wait_for_events(lane, seen, (int)left);
        }
        return commit_or_recover(lane, lane->follow ? seen : to);
    }
    if (!lane->follow) {
        *out_done = true;
        return to > lane->at.position ? commit_empty(lane, to) : STELE_OK;
    }
    if (seen > lane->at.position) {
        const int64_t left = lane->committed_ms + CHECKPOINT_IDLE_MS - now;
        return left <= 0 ? commit_empty(lane, seen) : wait_for_events(lane, seen, (int)left);
    }
    (void)stele_runner__tell(lane);
    return wait_for_events(lane, seen, POLL_MS);
}

static int on_nothing_found(struct stele_run_lane *lane)
{
    const int64_t since = stele_runner__now_ms() - lane->committed_ms;
    if (since < (lane->open ? CHECKPOINT_IDLE_MS : CHECKPOINT_BUSY_MS)) {
        return STELE_OK;
    }
    const uint64_t seen = stele_iterator_position(lane->iterator);
    if (lane->open) {
        return commit_or_recover(lane, seen);
    }
    return seen > lane->at.position ? commit_empty(lane, seen) : STELE_OK;
}

static int work_once(struct stele_run_lane *lane, bool *out_done)
{
    const struct stele_event *events = NULL;
    size_t count = 0;
    const int outcome = stele_iterator_next(lane->iterator, &events, &count, &lane->err);
    if (outcome == STELE_END) {
        return on_end(lane, out_done);
    }
    if (outcome != STELE_OK) {
        return outcome;
    }
    return count > 0 ? on_events(lane, events, count) : on_nothing_found(lane);
}

void stele_runner__work(struct stele_run_lane *lane)
{
    bool done = false;
    lane->committed_ms = stele_runner__now_ms();
    int outcome = load_parked(lane);
    if (outcome == STELE_OK) {
        outcome = begin_reading(lane);
    }
    while (outcome == STELE_OK && !done && !atomic_load(&lane->run->stop)) {
        outcome = work_once(lane, &done);
    }
    give_up(lane);
    stele_iterator_destroy(lane->iterator);
    lane->iterator = NULL;
    stele_text_set_deinit(&lane->parked, stele_linux_alloc());
    stele_runner__effective_deinit(&lane->effective);
    lane->outcome = outcome;
    if (outcome != STELE_OK) {
        atomic_store(&lane->run->stop, true);
    }
}

int stele_runner__apply_locked(struct stele_run_lane *lane, uint64_t bound, uint64_t *out_applied,
                               struct stele_error *err)
{
    struct stele_sink *const sink = lane->run->sink;
    uint64_t culprit = 0;
    lane->bound = bound;
    int outcome = load_parked(lane);
    if (outcome == STELE_OK && lane->at.position < bound) {
        outcome = begin_reading(lane);
    }
    while (outcome == STELE_OK && lane->iterator != NULL) {
        const struct stele_event *events = NULL;
        size_t count = 0;
        outcome = stele_iterator_next(lane->iterator, &events, &count, &lane->err);
        for (size_t i = 0; outcome == STELE_OK && i < count; i++) {
            if (!stele_runner__is_of_lane(lane, events[i].stream)) {
                continue;
            }
            /* Everything is done on the connection that holds the lock. */
            if (stele_text_set_has(&lane->parked, events[i].stream)) {
                outcome = sink->ops->park(sink, 0, &events[i], NULL, &lane->err);
            } else {
                outcome = lane->run->projection->effective
                              ? stele_runner__effective_take(lane->run, &lane->effective, 0,
                                                             &events[i], &culprit, &lane->err)
                              : sink->ops->apply(sink, 0, &events[i], true, &culprit, &lane->err);
                (*out_applied)++;
            }
        }
    }
    if (outcome == STELE_OK || outcome == STELE_END) {
        outcome = stele_runner__effective_finish(lane->run, &lane->effective, 0, &lane->err);
    }
    stele_runner__effective_deinit(&lane->effective);
    stele_iterator_destroy(lane->iterator);
    lane->iterator = NULL;
    stele_text_set_deinit(&lane->parked, stele_linux_alloc());
    if (outcome != STELE_END && outcome != STELE_OK && err != NULL) {
        *err = lane->err;
    }
    return outcome == STELE_END ? STELE_OK : outcome;
}
