/* A follow's own half: catching up with readings, and what it does with a live event. */
#include "subs/subs_internal.h"

/* ---- Lists ---- */

void stele_subs__append(struct follow_list *list, struct stele_follow *follow)
{
    follow->next = NULL;
    follow->previous = list->last;
    if (list->last != NULL) {
        list->last->next = follow;
    } else {
        list->first = follow;
    }
    list->last = follow;
}

void stele_subs__remove(struct follow_list *list, struct stele_follow *follow)
{
    if (follow->previous != NULL) {
        follow->previous->next = follow->next;
    } else {
        STELE_ASSERT(list->first == follow);
        list->first = follow->next;
    }
    if (follow->next != NULL) {
        follow->next->previous = follow->previous;
    } else {
        STELE_ASSERT(list->last == follow);
        list->last = follow->previous;
    }
    follow->next = NULL;
    follow->previous = NULL;
}

void stele_subs__queue(struct stele_follow *follow)
{
    follow->state = CATCHING_UP;
    stele_subs__append(&follow->hub->queue, follow);
    stele_subs__wake(follow->hub);
}

void stele_subs__close_reading(struct stele_follow *follow)
{
    if (follow->reading != NULL) {
        follow->hub->engine->ops->read_close(follow->reading);
        follow->reading = NULL;
        STELE_ASSERT(follow->hub->readings > 0);
        follow->hub->readings--;
    }
    follow->batch = NULL;
    follow->batch_count = 0;
    follow->batch_at = 0;
}

static bool is_queued(const struct stele_follow *follow)
{
    const struct follow_list *queue = &follow->hub->queue;
    return follow->previous != NULL || follow->next != NULL || queue->first == follow;
}

void stele_subs__unlink(struct stele_follow *follow)
{
    if (follow->state == LIVE) {
        stele_subs__detach(follow);
    } else if (follow->state == CATCHING_UP && is_queued(follow)) {
        stele_subs__remove(&follow->hub->queue, follow);
    } else if (follow->state == FULL && follow->reading != NULL) {
        stele_subs__remove(&follow->hub->kept, follow);
    }
    stele_subs__close_reading(follow);
}

/* ---- Ends ---- */

static void release(struct stele_follow *follow)
{
    struct stele_hub *hub = follow->hub;
    STELE_ASSERT(hub->follows > 0);
    hub->follows--;
    stele_subs__want_destroy(hub->alloc, follow->want);
    stele_release(hub->alloc, follow, sizeof *follow + follow->name_size + 1);
}

/* Around every callback. false: the follow was stopped in it, and is gone. */
static bool after_callback(struct stele_follow *follow)
{
    follow->busy = false;
    if (follow->stopped) {
        release(follow);
        return false;
    }
    return true;
}

static void end(struct stele_follow *follow, int outcome, const struct stele_error *err)
{
    stele_subs__unlink(follow);
    follow->state = ENDED;
    follow->busy = true;
    follow->callbacks.on_end(follow->context, outcome, err);
    (void)after_callback(follow);
}

static void end_of_memory(struct stele_follow *follow)
{
    struct stele_error err;
    const int outcome = stele_fail(&err, STELE_E_NO_MEMORY, 0, "follow: no memory");
    end(follow, outcome, &err);
}

static void end_of_stream(struct stele_follow *follow)
{
    struct stele_error err;
    const int outcome =
        stele_fail(&err, STELE_STREAM_DELETED, 0, "stream %s was tombstoned", follow->name);
    end(follow, outcome, &err);
}

/* ---- Places ---- */

/* The place of an event in what is followed. */
static uint64_t place_of(const struct stele_follow *follow, const struct stele_event *event,
                         uint64_t ordinal)
{
    if (follow->kind == OF_STREAM) {
        return event->revision;
    }
    return follow->by_ordinal ? ordinal : event->position;
}

static bool is_positional(const struct stele_follow *follow)
{
    return follow->kind != OF_STREAM && !follow->by_ordinal;
}

/* Positional readings are told the filter, because they can say how far they have looked. The
 * others cannot (their position is no revision), so we look ourselves. */
static bool filters_itself(const struct stele_follow *follow)
{
    return follow->want != NULL && !is_positional(follow);
}

/* STELE_E_NO_MEMORY: it cannot be told. Passing the event over then would be skipping it. */
static int judge(const struct stele_follow *follow, const struct stele_event *event,
                 bool *out_wanted)
{
    *out_wanted = true;
    return follow->want == NULL ? STELE_OK
                                : stele_filter_matches(follow->want->program, event, out_wanted);
}

static int judge_read(const struct stele_follow *follow, const struct stele_event *event,
                      bool *out_wanted)
{
    *out_wanted = true;
    return filters_itself(follow) ? judge(follow, event, out_wanted) : STELE_OK;
}

static bool is_its_tombstone(const struct stele_follow *follow, const struct stele_event *event)
{
    return follow->kind == OF_STREAM && (event->flags & STELE_EVENT_TOMBSTONE) != 0;
}

static uint64_t ordinal_at(const struct stele_follow *follow, size_t at)
{
    return follow->by_ordinal ? follow->hub->engine->ops->read_ordinal(follow->reading, at)
                              : follow->batch[at].revision;
}

/* ---- Full owners ---- */

/* Goes on at follow->from when it is resumed. A reading that has events left is kept for a while, if
 * there is room: the owner of a fast reader is full again and again. */
static void become_full(struct stele_follow *follow)
{
    struct stele_hub *hub = follow->hub;
    follow->behind = true;
    follow->state = FULL;
    if (follow->reading != NULL && hub->readings > READINGS_MAX) {
        stele_subs__close_reading(follow);
    }
    if (follow->reading != NULL) {
        follow->full_at_us = stele_loop_now_us(hub->loop);
        stele_subs__append(&hub->kept, follow);
        stele_subs__keep(hub);
    }
}

void stele_follow_resume(struct stele_follow *follow)
{
    STELE_ASSERT(!follow->busy);
    if (follow->state != FULL) {
        return;
    }
    if (follow->reading != NULL) {
        stele_subs__remove(&follow->hub->kept, follow);
    }
    stele_subs__queue(follow);
}

/* ---- Catching up ---- */

/* The next run of the batch that is handed out in one call: wanted, and of consecutive ordinals. */
static int run_at(const struct stele_follow *follow, size_t at, size_t *out_count)
{
    if (is_positional(follow) || (follow->want == NULL && !follow->by_ordinal)) {
        *out_count = follow->batch_count - at;
        return STELE_OK;
    }
    size_t count = 0;
    int outcome = STELE_OK;
    while (
        at + count < follow->batch_count &&
        (!follow->by_ordinal || ordinal_at(follow, at + count) == ordinal_at(follow, at) + count)) {
        bool wanted = true;
        outcome = judge_read(follow, &follow->batch[at + count], &wanted);
        if (outcome != STELE_OK || !wanted) {
            break;
        }
        count++;
    }
    *out_count = count;
    return count > 0 ? STELE_OK : outcome; /* What was found before is handed out first. */
}

/* Moves on past `count` events of the batch. */
static void pass(struct stele_follow *follow, size_t count)
{
    if (count == 0) {
        return;
    }
    const size_t last = follow->batch_at + count - 1;
    follow->from = place_of(follow, &follow->batch[last], ordinal_at(follow, last)) + 1;
    follow->last_at = follow->batch[last].position;
    follow->batch_at += count;
}

enum handed { ALL_TAKEN, NOT_ALL_TAKEN, GONE };

/* Hands out what is left of the batch. GONE: the follow ended or was stopped. */
static enum handed hand_out(struct stele_follow *follow)
{
    while (follow->batch_at < follow->batch_count) {
        const size_t at = follow->batch_at;
        size_t count = 0;
        if (run_at(follow, at, &count) != STELE_OK) {
            end_of_memory(follow);
            return GONE;
        }
        if (count == 0) {
            const bool closed = is_its_tombstone(follow, &follow->batch[at]);
            pass(follow, 1);
            if (closed) {
                end_of_stream(follow);
                return GONE;
            }
            continue;
        }
        const bool closes = is_its_tombstone(follow, &follow->batch[at + count - 1]);
        follow->busy = true;
        const size_t taken = follow->callbacks.on_events(follow->context, &follow->batch[at], count,
                                                         ordinal_at(follow, at), NULL);
        if (!after_callback(follow)) {
            return GONE;
        }
        STELE_ASSERT(taken <= count);
        pass(follow, taken);
        if (taken < count) {
            return NOT_ALL_TAKEN;
        }
        if (closes) {
            end_of_stream(follow);
            return GONE;
        }
    }
    return ALL_TAKEN;
}

static bool tell_progress(struct stele_follow *follow, bool caught_up)
{
    const uint64_t scanned = follow->scanned;
    follow->scanned = 0;
    follow->busy = true;
    follow->callbacks.on_progress(follow->context, follow->seen, scanned, caught_up);
    return after_callback(follow);
}

/* Everything up to follow->seen was handed out, and there is no more. */
static void on_reached_end(struct stele_follow *follow)
{
    struct stele_hub *hub = follow->hub;
    follow->subscribed = true;
    if (hub->watching && follow->seen < hub->position) {
        stele_subs__queue(follow); /* What the reading saw is older than where the hub is. */
        return;
    }
    stele_subs__close_reading(follow);
    if (is_positional(follow) && follow->from <= follow->seen) {
        follow->from = follow->seen + 1;
    }
    /* The ordinal of the next event is known only if one was handed out since it was live: before
     * that, events with higher ordinals may have been scavenged. */
    follow->ordinal_known = follow->live_at > 0 && follow->last_at > follow->live_at;
    if (stele_subs__attach(follow) != STELE_OK) {
        end_of_memory(follow);
        return;
    }
    follow->live_at = follow->seen;
    if (!follow->behind) {
        return;
    }
    /* The reading's end is that of when it looked last. What has come since the hub hands out, and
     * then the end is reached. */
    const uint64_t last = hub->engine->ops->last_position(hub->engine);
    if (follow->seen >= last) {
        stele_subs__arrived(follow);
    } else {
        follow->arrives_at = last;
        follow->next_arriving = hub->arriving;
        hub->arriving = follow;
    }
}

void stele_subs__arrived(struct stele_follow *follow)
{
    follow->behind = false;
    (void)tell_progress(follow, true);
}

static int open_reading(struct stele_follow *follow, bool ignore_limits, struct stele_error *err)
{
    struct stele_hub *hub = follow->hub;
    struct stele_read_options options = STELE_READ_OPTIONS_INIT;
    options.from = follow->from;
    options.by_ordinal = follow->by_ordinal ? 1 : 0;
    options.scan_max = follow->scan_max;
    options.ignore_limits = ignore_limits ? 1 : 0;
    options.filter = follow->want != NULL && is_positional(follow) ? &follow->want->filter : NULL;
    const char *name = follow->kind == OF_ALL ? NULL : follow->name;
    const int outcome =
        hub->engine->ops->read_open(hub->engine, name, &options, &follow->reading, err);
    if (outcome == STELE_OK) {
        hub->readings++;
        follow->scanned_by_reading = 0;
    }
    return outcome;
}

static void count_scanned(struct stele_follow *follow)
{
    const uint64_t scanned = follow->hub->engine->ops->read_scanned(follow->reading);
    follow->scanned += scanned - follow->scanned_by_reading;
    follow->scanned_by_reading = scanned;
}

/* How far the reading has looked. One that was just opened may have looked at less than the one
 * before it. */
static void look(struct stele_follow *follow)
{
    const uint64_t position = follow->hub->engine->ops->read_position(follow->reading);
    follow->seen = position > follow->seen ? position : follow->seen;
    follow->seen = follow->last_at > follow->seen ? follow->last_at : follow->seen;
}

/* The stream was tombstoned while the follow was behind. Everything before the tombstone is hidden;
 * the tombstone itself is what a follower that was there before is told. */
static void hand_out_tombstone(struct stele_follow *follow)
{
    struct stele_error err;
    int outcome = follow->subscribed ? open_reading(follow, true, &err) : STELE_END;
    for (;;) {
        if (outcome == STELE_OK) {
            outcome = follow->hub->engine->ops->read_next(follow->reading, &follow->batch,
                                                          &follow->batch_count, &err);
        }
        follow->batch_at = 0;
        if (outcome != STELE_OK) {
            follow->batch_count = 0;
            end_of_stream(follow);
            return;
        }
        while (follow->batch_at < follow->batch_count) {
            if (is_its_tombstone(follow, &follow->batch[follow->batch_at])) {
                const enum handed handed = hand_out(follow);
                if (handed == NOT_ALL_TAKEN) {
                    stele_subs__close_reading(follow);
                    become_full(follow);
                }
                return; /* hand_out() ends it behind a tombstone. */
            }
            pass(follow, 1);
        }
    }
}

static void on_open_failed(struct stele_follow *follow, int outcome, uint64_t visible,
                           const struct stele_error *err)
{
    if (outcome == STELE_NO_STREAM) {
        /* At that position at least, there was nothing of it. */
        follow->seen = visible > follow->seen ? visible : follow->seen;
        on_reached_end(follow);
    } else if (outcome == STELE_STREAM_DELETED) {
        hand_out_tombstone(follow);
    } else {
        end(follow, outcome, err);
    }
}

/* Hands out what the reading has given, and goes to where that leads. */
static void on_batch(struct stele_follow *follow)
{
    struct stele_hub *hub = follow->hub;
    const enum handed handed = hand_out(follow);
    if (handed == GONE) {
        return;
    }
    if (handed == NOT_ALL_TAKEN) {
        become_full(follow);
        return;
    }
    look(follow);
    if (is_positional(follow) && follow->from <= follow->seen) {
        follow->from = follow->seen + 1;
    }
    if (hub->readings > READINGS_MAX) {
        stele_subs__close_reading(follow);
    }
    follow->state = CATCHING_UP;
    stele_subs__queue(follow); /* Before the callback, which may stop it. */
    (void)tell_progress(follow, false);
}

void stele_subs__piece(struct stele_follow *follow)
{
    struct stele_hub *hub = follow->hub;
    struct stele_error err = {.outcome = STELE_OK};
    if (follow->batch_at < follow->batch_count) {
        on_batch(follow);
        return;
    }
    if (follow->reading == NULL) {
        const uint64_t visible = hub->engine->ops->last_position(hub->engine);
        const int opened = open_reading(follow, false, &err);
        if (opened != STELE_OK) {
            on_open_failed(follow, opened, visible, &err);
            return;
        }
        follow->subscribed = true;
    }
    follow->batch_at = 0;
    follow->batch_count = 0;
    const int outcome =
        hub->engine->ops->read_next(follow->reading, &follow->batch, &follow->batch_count, &err);
    count_scanned(follow);
    if (outcome == STELE_OK) {
        on_batch(follow);
        return;
    }
    follow->batch_count = 0;
    if (outcome == STELE_END) {
        look(follow);
        on_reached_end(follow);
    } else {
        end(follow, outcome, &err);
    }
}

/* ---- Live ---- */

/* Leaves the live ones; from is where it goes on. */
static void fall_behind(struct stele_follow *follow, uint64_t from)
{
    follow->from = from;
    follow->behind = true;
    stele_subs__detach(follow);
    follow->state = CATCHING_UP;
}

static void on_not_wanted(struct stele_follow *follow, const struct stele_event *event,
                          uint64_t place)
{
    follow->from = place + 1;
    follow->last_at = event->position;
    follow->scanned++;
    if (is_its_tombstone(follow, event)) {
        end_of_stream(follow);
    } else if (follow->scanned >= follow->scan_max) {
        follow->seen = event->position;
        (void)tell_progress(follow, false);
    }
}

void stele_subs__deliver(struct stele_follow *follow, const struct stele_event *event)
{
    if (event->position <= follow->seen) {
        return;
    }
    if (follow->by_ordinal && !follow->ordinal_known) {
        const bool behind = follow->behind;
        fall_behind(follow, follow->from);
        follow->behind = behind; /* Its owner was not slow: nothing new to be told at the end. */
        stele_subs__queue(follow);
        return;
    }
    const uint64_t place = place_of(follow, event, follow->from);
    if (place < follow->from) {
        return;
    }
    bool wanted = true;
    if (judge(follow, event, &wanted) != STELE_OK) {
        end_of_memory(follow);
        return;
    }
    if (!wanted) {
        on_not_wanted(follow, event, place);
        return;
    }
    follow->busy = true;
    const size_t taken = follow->callbacks.on_events(follow->context, event, 1,
                                                     follow->by_ordinal ? place : event->revision,
                                                     &follow->hub->event);
    if (!after_callback(follow)) {
        return;
    }
    if (taken == 0) {
        fall_behind(follow, place);
        become_full(follow);
        return;
    }
    follow->from = place + 1;
    follow->last_at = event->position;
    if (is_its_tombstone(follow, event)) {
        end_of_stream(follow);
        return;
    }
    follow->scanned++;
    if (follow->scanned >= follow->scan_max && follow->want != NULL) {
        follow->seen = event->position;
        (void)tell_progress(follow, false);
    }
}

/* ---- The face ---- */

static enum follow_kind kind_of(const char *stream)
{
    if (stream == NULL || strcmp(stream, "$all") == 0) {
        return OF_ALL;
    }
    if (strncmp(stream, "$ce-", 4) == 0 && stream[4] != '\0') {
        return OF_CATEGORY;
    }
    return strncmp(stream, "$et-", 4) == 0 && stream[4] != '\0' ? OF_TYPE : OF_STREAM;
}

/* One more than the ordinal of the last event there is. */
static int end_of_ordinals(struct stele_engine *engine, const char *name, uint64_t *out_from,
                           struct stele_error *err)
{
    const struct stele_engine_ops *ops = engine->ops;
    struct stele_read_options options = STELE_READ_OPTIONS_INIT;
    options.from = STELE_FROM_END;
    options.backwards = 1;
    options.by_ordinal = 1;
    options.limit = 1;
    struct stele_reading *reading = NULL;
    *out_from = 0;
    int outcome = ops->read_open(engine, name, &options, &reading, err);
    if (outcome == STELE_NO_STREAM) {
        return STELE_OK;
    }
    if (outcome != STELE_OK) {
        return outcome;
    }
    const struct stele_event *events = NULL;
    size_t count = 0;
    outcome = ops->read_next(reading, &events, &count, err);
    if (outcome == STELE_OK && count > 0) {
        *out_from = ops->read_ordinal(reading, 0) + 1;
    }
    ops->read_close(reading);
    return outcome == STELE_END ? STELE_OK : outcome;
}

/* out_closed: the stream is tombstoned. */
static int find_end(struct stele_engine *engine, const char *name, enum follow_kind kind,
                    bool by_ordinal, uint64_t *out_from, bool *out_closed, struct stele_error *err)
{
    *out_closed = false;
    if (kind != OF_STREAM) {
        *out_from = engine->ops->last_position(engine) + 1;
        return by_ordinal ? end_of_ordinals(engine, name, out_from, err) : STELE_OK;
    }
    struct stele_stream_info info;
    const int outcome = engine->ops->stream_info(engine, name, &info, err);
    *out_from = outcome == STELE_OK ? info.revision_last + 1 : 0;
    *out_closed = outcome == STELE_OK && info.tombstoned != 0;
    return outcome == STELE_NO_STREAM ? STELE_OK : outcome;
}

int stele_follow_end(struct stele_engine *engine, const char *stream, int by_ordinal,
                     uint64_t *out_from, struct stele_error *err)
{
    const enum follow_kind kind = kind_of(stream);
    bool closed = false;
    return find_end(engine, stream, kind,
                    by_ordinal != 0 && (kind == OF_CATEGORY || kind == OF_TYPE), out_from, &closed,
                    err);
}

int stele_follow_start(struct stele_hub *hub, const struct stele_follow_options *options,
                       const struct stele_follow_callbacks *callbacks, void *context,
                       struct stele_follow **out_follow, struct stele_error *err)
{
    const enum follow_kind kind = kind_of(options->stream);
    const size_t name_size =
        kind == OF_ALL ? 0 : strnlen(options->stream, STELE_STREAM_NAME_SIZE_MAX + 3);
    if ((kind != OF_ALL && name_size == 0) || name_size > STELE_STREAM_NAME_SIZE_MAX + 2) {
        return stele_fail(err, name_size == 0 ? STELE_E_INVALID : STELE_E_LIMIT, 0,
                          "the stream's name is %s", name_size == 0 ? "empty" : "too long");
    }
    struct stele_follow *follow = stele_allocate_zeroed(hub->alloc, sizeof *follow + name_size + 1);
    if (follow == NULL) {
        return stele_fail(err, STELE_E_NO_MEMORY, 0, "follow: no memory");
    }
    follow->hub = hub;
    follow->callbacks = *callbacks;
    follow->context = context;
    follow->kind = (uint8_t)kind;
    follow->state = CATCHING_UP;
    follow->by_ordinal = options->by_ordinal != 0 && (kind == OF_CATEGORY || kind == OF_TYPE);
    follow->behind = true;
    follow->from = options->from;
    follow->scan_max = options->scan_max == 0 ? SCAN_MAX_DEFAULT : options->scan_max;
    follow->name_size = (uint16_t)name_size;
    if (name_size > 0) {
        memcpy(follow->name, options->stream, name_size);
    }
    hub->follows++;
    int outcome = STELE_OK;
    if (options->filter != NULL) {
        outcome = stele_subs__want_create(hub->alloc, options->filter, &follow->want, err);
    }
    if (outcome == STELE_OK && options->from == UINT64_MAX) {
        /* Decided when the follow is made: what its owner does next may append. */
        bool closed = false;
        outcome = find_end(hub->engine, follow->name, kind, follow->by_ordinal, &follow->from,
                           &closed, err);
        follow->subscribed = !closed;
    }
    if (outcome != STELE_OK) {
        release(follow);
        return outcome;
    }
    if (is_positional(follow) && follow->from > 0) {
        /* What lies before is not wanted; a place that is not reached yet was not seen. */
        const uint64_t last = hub->engine->ops->last_position(hub->engine);
        follow->seen = follow->from - 1 < last ? follow->from - 1 : last;
    }
    stele_subs__queue(follow);
    *out_follow = follow;
    return STELE_OK;
}

void stele_follow_stop(struct stele_follow *follow)
{
    if (follow == NULL || follow->stopped) {
        return;
    }
    stele_subs__unlink(follow);
    follow->state = ENDED;
    if (follow->busy) {
        follow->stopped = true;
        return;
    }
    release(follow);
}

bool stele_follow_is_live(const struct stele_follow *follow)
{
    return follow->state == LIVE;
}

uint64_t stele_follow_position(const struct stele_follow *follow)
{
    const uint64_t hub_at = follow->state == LIVE ? follow->hub->position : 0;
    return hub_at > follow->seen ? hub_at : follow->seen;
}
