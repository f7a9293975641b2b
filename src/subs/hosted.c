/* A group at work: feeds the machine from a follow, does what it asks for with appends. */
#include "base/checksum.h"
#include "subs/groups_internal.h"

#include <stdio.h>
#include <stdlib.h>

#define REPLAY_BATCH 20
/* Looked-at events of which a filter wanted none count as this many fewer finished ones. */
#define SCANNED_AS_FINISHED 100

static int64_t now_of(const struct hosted *hosted)
{
    return stele_loop_now_us(hosted->groups->loop);
}

static bool is_all(const struct hosted *hosted)
{
    return hosted->config.stream == NULL;
}

/* ---- Appends that are under way ---- */

void stele_subs__unpend_groups(struct stele_groups *groups)
{
    STELE_ASSERT(groups->pending > 0);
    groups->pending--;
    if (groups->pending == 0 && groups->on_idle != NULL) {
        stele_loop_post(groups->loop, groups->on_idle);
        groups->on_idle = NULL;
    }
}

static void release_hosted(struct hosted *hosted)
{
    struct stele_alloc *alloc = hosted->groups->alloc;
    stele_subs__config_deinit(alloc, &hosted->config);
    stele_release(alloc, hosted->checkpoint_stream, NAME_MAX_);
    stele_release(alloc, hosted->parked_stream, NAME_MAX_);
    stele_release(alloc, hosted, sizeof *hosted);
}

void stele_subs__pend(struct hosted *hosted)
{
    hosted->pending++;
    hosted->groups->pending++;
}

void stele_subs__unpend(struct hosted *hosted)
{
    struct stele_groups *groups = hosted->groups;
    STELE_ASSERT(hosted->pending > 0);
    hosted->pending--;
    if (hosted->pending == 0 && hosted->removed) {
        release_hosted(hosted);
    }
    stele_subs__unpend_groups(groups);
}

static void random_id(const struct hosted *hosted, uint8_t id[16])
{
    struct stele_loop *loop = hosted->groups->loop;
    loop->ops->random(loop, id, 16);
    id[6] = (uint8_t)((id[6] & 0x0f) | 0x40);
    id[8] = (uint8_t)((id[8] & 0x3f) | 0x80);
}

/* One event, and in the same append metadata of the stream, if not NULL. */
static int append(struct hosted *hosted, struct stele_appending *appending,
                  void (*on_done)(struct stele_appending *appending), const char *stream,
                  struct stele_event_draft *draft, const char *metadata)
{
    struct stele_engine *engine = hosted->groups->engine;
    char metastream[NAME_MAX_ + 2];
    (void)snprintf(metastream, sizeof metastream, "$$%s", stream);
    struct stele_event_draft meta = {.type = "$metadata",
                                     .data = metadata,
                                     .data_size = metadata == NULL ? 0 : strlen(metadata)};
    random_id(hosted, meta.id);
    random_id(hosted, draft->id);
    const struct stele_append parts[] = {
        {.stream = stream, .expected = STELE_EXPECT_ANY, .events = draft, .count = 1},
        {.stream = metastream, .expected = STELE_EXPECT_ANY, .events = &meta, .count = 1},
    };
    appending->loop = hosted->groups->loop;
    appending->on_done = on_done;
    appending->revisions_last = NULL;
    const int outcome =
        engine->ops->append(engine, appending, parts, metadata == NULL ? 1 : 2, NULL, 0, NULL);
    if (outcome == STELE_OK) {
        stele_subs__pend(hosted);
    }
    return outcome;
}

/* ---- Checkpoints ---- */

static void on_checkpoint_done(struct stele_appending *appending)
{
    struct hosted *hosted =
        (struct hosted *)((char *)appending - offsetof(struct hosted, checkpoint));
    if (appending->outcome == STELE_OK) {
        hosted->has_checkpoint_stream = true;
    }
    if (hosted->machine != NULL && hosted->generation == hosted->checkpoint_generation) {
        stele_group_checkpointed(hosted->machine, hosted->checkpoint_place,
                                 appending->outcome == STELE_OK, now_of(hosted));
    }
    stele_subs__unpend(hosted);
}

static void checkpoint_failed(struct stele_task *task)
{
    struct stele_appending *appending =
        (struct stele_appending *)((char *)task - offsetof(struct stele_appending, task));
    on_checkpoint_done(appending);
}

static void on_checkpoint(void *context, uint64_t place)
{
    struct hosted *hosted = context;
    char text[64];
    struct stele_event_draft draft = {.type = "$SubscriptionCheckpoint", .data = text};
    draft.data_size = stele_subs__checkpoint_encode(is_all(hosted), place, text);
    hosted->checkpoint_place = place;
    hosted->checkpoint_generation = hosted->generation;
    const int outcome =
        append(hosted, &hosted->checkpoint, on_checkpoint_done, hosted->checkpoint_stream, &draft,
               hosted->has_checkpoint_stream ? NULL : "{\"$maxCount\":2}");
    if (outcome != STELE_OK) {
        stele_subs__pend(hosted); /* The machine is told later: it is asking right now. */
        hosted->checkpoint.outcome = outcome;
        hosted->checkpoint.task.run = checkpoint_failed;
        stele_loop_post(hosted->groups->loop, &hosted->checkpoint.task);
    }
}

/* ---- Parking ---- */

struct parking {
    struct stele_appending appending;
    struct hosted *hosted;
    struct stele_group_entry *entry;
    uint32_t generation;
};

static void on_parked(struct stele_appending *appending)
{
    struct parking *parking =
        (struct parking *)((char *)appending - offsetof(struct parking, appending));
    struct hosted *hosted = parking->hosted;
    const bool stored = appending->outcome == STELE_OK;
    if (stored && appending->result.revision_last + 1 > hosted->parked_next) {
        hosted->parked_next = appending->result.revision_last + 1;
    }
    if (hosted->machine != NULL && hosted->generation == parking->generation) {
        stele_group_parked(hosted->machine, parking->entry, stored);
        stele_subs__settle(hosted);
    }
    stele_release(hosted->groups->alloc, parking, sizeof *parking);
    stele_subs__unpend(hosted);
}

static bool on_park(void *context, struct stele_group_entry *entry,
                    const struct stele_group_event *event, const char *reason)
{
    struct hosted *hosted = context;
    struct stele_groups *groups = hosted->groups;
    const struct stele_event *original =
        event->event.type.data != NULL ? &event->event : &event->link;
    struct parking *parking = stele_allocate_zeroed(groups->alloc, sizeof *parking);
    char *metadata =
        stele_subs__parked_encode(groups->loop->ops->wall_us(groups->loop), reason, event->place);
    char data[STELE_STREAM_NAME_SIZE_MAX + 32];
    const int size =
        snprintf(data, sizeof data, "%llu@%.*s", (unsigned long long)original->revision,
                 (int)original->stream.size, original->stream.data);
    STELE_ASSERT(size > 0 && (size_t)size < sizeof data);
    int outcome = STELE_E_NO_MEMORY;
    if (parking != NULL && metadata != NULL) {
        struct stele_event_draft draft = {.type = "$>",
                                          .data = data,
                                          .data_size = (size_t)size,
                                          .metadata = metadata,
                                          .metadata_size = strlen(metadata),
                                          .content_type = "application/octet-stream"};
        parking->hosted = hosted;
        parking->entry = entry;
        parking->generation = hosted->generation;
        hosted->parked_requests++;
        outcome =
            append(hosted, &parking->appending, on_parked, hosted->parked_stream, &draft, NULL);
    }
    free(metadata);
    if (outcome != STELE_OK) {
        stele_release(groups->alloc, parking, sizeof *parking);
    }
    return outcome == STELE_OK;
}

/* ---- The machine's other effects ---- */

static void on_deliver(void *context, void *member_context, struct stele_group_event *event,
                       uint32_t retries)
{
    (void)context;
    stele_subs__consumer_deliver(member_context, event, retries);
}

static void on_has_room(void *context)
{
    ((struct hosted *)context)->resume = true;
}

static void on_replayed(void *context, uint64_t parked_number)
{
    struct hosted *hosted = context;
    (void)parked_number;
    STELE_ASSERT(hosted->replays > 0);
    hosted->replays--;
}

static const struct stele_group_effects effects = {
    .deliver = on_deliver,
    .park = on_park,
    .checkpoint = on_checkpoint,
    .replayed = on_replayed,
    .has_room = on_has_room,
};

/* ---- Feeding ---- */

/* Is it worth trying again? What is damaged, deleted or no name at all stays so: the link goes out
 * without what it points to. */
static bool may_pass(int outcome)
{
    return outcome == STELE_E_NO_MEMORY || outcome == STELE_E_IO || outcome == STELE_E_CLOSED ||
           outcome == STELE_E_OVERLOADED;
}

/* The event that a link names, as a copy. STELE_OK: *out_made, NULL if it is not there (any more).
 * Otherwise it could not be found out now. */
static int read_target(struct hosted *hosted, const struct stele_event *link, uint64_t place,
                       struct stele_group_event **out_made)
{
    struct stele_engine *engine = hosted->groups->engine;
    uint64_t revision = 0;
    struct stele_text stream;
    const struct stele_bytes data = {.data = link->data, .size = link->data_size};
    *out_made = NULL;
    if (!stele_subs__link_decode(data, &revision, &stream)) {
        return STELE_OK;
    }
    char name[STELE_STREAM_NAME_SIZE_MAX + 3];
    memcpy(name, stream.data, stream.size);
    name[stream.size] = '\0';
    struct stele_read_options options = STELE_READ_OPTIONS_INIT;
    options.from = revision;
    options.limit = 1;
    struct stele_reading *reading = NULL;
    int outcome = engine->ops->read_open(engine, name, &options, &reading, NULL);
    if (outcome != STELE_OK) {
        return may_pass(outcome) ? outcome : STELE_OK;
    }
    const struct stele_event *events = NULL;
    size_t count = 0;
    outcome = engine->ops->read_next(reading, &events, &count, NULL);
    if (outcome == STELE_OK && count > 0 && events[0].revision == revision) {
        *out_made = stele_group_event_create(hosted->groups->alloc, &events[0], link, place);
        outcome = *out_made != NULL ? STELE_OK : STELE_E_NO_MEMORY;
    }
    engine->ops->read_close(reading);
    return may_pass(outcome) ? outcome : STELE_OK;
}

/* The link that a projection would have written for an event of a category or type. */
static void make_link(const struct hosted *hosted, const struct stele_event *event,
                      uint64_t ordinal, struct stele_event *out_link,
                      char data[STELE_STREAM_NAME_SIZE_MAX + 32])
{
    const int size =
        snprintf(data, STELE_STREAM_NAME_SIZE_MAX + 32, "%llu@%.*s",
                 (unsigned long long)event->revision, (int)event->stream.size, event->stream.data);
    *out_link = (struct stele_event){
        .position = event->position,
        .revision = ordinal,
        .created_us = event->created_us,
        .stream = {.data = hosted->config.stream, .size = strlen(hosted->config.stream)},
        .type = {.data = "$>", .size = 2},
        .content_type = {.data = "application/octet-stream", .size = 24},
        .data = data,
        .data_size = (size_t)size,
    };
    /* The same for the same link, and no other's. RFC 9562: version 8 is for whatever one likes. */
    const uint64_t first =
        stele_hash64((struct stele_bytes){.data = event->id, .size = 16}, ordinal);
    const uint64_t second =
        stele_hash64(stele_bytes_of_text(hosted->config.stream), first ^ ordinal);
    stele_store_u64le(out_link->id, first);
    stele_store_u64le(out_link->id + 8, second);
    out_link->id[6] = (uint8_t)((out_link->id[6] & 0x0f) | 0x80);
    out_link->id[8] = (uint8_t)((out_link->id[8] & 0x3f) | 0x80);
}

static bool is_link(const struct stele_event *event)
{
    return event->type.size == 2 && memcmp(event->type.data, "$>", 2) == 0;
}

/* NULL: no memory, or what a link points to cannot be read now. */
static struct stele_group_event *make_event(struct hosted *hosted, const struct stele_event *event,
                                            uint64_t ordinal)
{
    struct stele_alloc *alloc = hosted->groups->alloc;
    const bool resolve = hosted->config.settings.resolve_links;
    if (hosted->by_ordinal) {
        char data[STELE_STREAM_NAME_SIZE_MAX + 32];
        struct stele_event link;
        make_link(hosted, event, ordinal, &link, data);
        return resolve ? stele_group_event_create(alloc, event, &link, ordinal)
                       : stele_group_event_create(alloc, &link, NULL, ordinal);
    }
    const uint64_t place = is_all(hosted) ? event->position : event->revision;
    if (resolve && is_link(event)) {
        struct stele_group_event *made = NULL;
        const int outcome = read_target(hosted, event, place, &made);
        return made != NULL || outcome != STELE_OK
                   ? made
                   : stele_group_event_create(alloc, NULL, event, place);
    }
    return stele_group_event_create(alloc, event, NULL, place);
}

/* What the groups of $all write down themselves would keep them busy for ever. */
static bool is_own(const struct hosted *hosted, const struct stele_event *event)
{
    static const char prefix[] = "$persistentsubscription-$all::";
    const char *name = event->stream.data;
    size_t size = event->stream.size;
    if (!is_all(hosted) || size == 0 || name[0] != '$') {
        return false;
    }
    if (size > 2 && name[1] == '$') {
        name += 2;
        size -= 2;
    }
    return size > sizeof prefix && memcmp(name, prefix, sizeof prefix - 1) == 0;
}

/* false: no room, or no memory. */
static bool feed(struct hosted *hosted, const struct stele_event *event, uint64_t ordinal)
{
    if (is_own(hosted, event)) {
        stele_group_passed(hosted->machine, event->position, 0);
        return true;
    }
    if (stele_group_room(hosted->machine) == 0) {
        stele_group_dispatch(hosted->machine, now_of(hosted));
        if (stele_group_room(hosted->machine) == 0) {
            return false;
        }
    }
    struct stele_group_event *made = make_event(hosted, event, ordinal);
    if (made == NULL) {
        return false;
    }
    if (stele_group_push(hosted->machine, made) != STELE_OK) {
        stele_group_event_unref(made);
        return false;
    }
    return true;
}

static size_t on_events(void *context, const struct stele_event *events, size_t count,
                        uint64_t ordinal, struct stele_live *live)
{
    struct hosted *hosted = context;
    (void)live;
    size_t taken = 0;
    while (taken < count && feed(hosted, &events[taken], ordinal + taken)) {
        taken++;
    }
    stele_group_dispatch(hosted->machine, now_of(hosted));
    stele_subs__consumers_flush(hosted);
    return taken;
}

static void on_progress(void *context, uint64_t position, uint64_t scanned, bool caught_up)
{
    struct hosted *hosted = context;
    (void)caught_up;
    if (is_all(hosted)) {
        stele_group_passed(hosted->machine, position, scanned / SCANNED_AS_FINISHED);
    }
}

static void on_end(void *context, int outcome, const struct stele_error *err)
{
    struct hosted *hosted = context;
    (void)err;
    stele_follow_stop(hosted->follow);
    hosted->follow = NULL;
    /* What failed is tried again with the next tick; of a tombstoned stream nothing comes. */
    hosted->following_ended = outcome == STELE_STREAM_DELETED;
}

static const struct stele_follow_callbacks follow_callbacks = {
    .on_events = on_events, .on_progress = on_progress, .on_end = on_end};

static int start_following(struct hosted *hosted, struct stele_error *err)
{
    struct stele_group_stats stats;
    stele_group_stats(hosted->machine, &stats);
    const struct stele_follow_options options = {
        .stream = hosted->config.stream,
        .from =
            stats.last_known == STELE_GROUP_NO_PLACE ? hosted->config.from : stats.last_known + 1,
        .filter = hosted->config.want == NULL ? NULL : &hosted->config.want->filter,
        .by_ordinal = hosted->by_ordinal ? 1 : 0,
    };
    return stele_follow_start(hosted->groups->hub, &options, &follow_callbacks, hosted,
                              &hosted->follow, err);
}

/* ---- Parked events ---- */

uint64_t stele_subs__parked_count(const struct hosted *hosted)
{
    const uint64_t from =
        hosted->replay_next > hosted->parked_first ? hosted->replay_next : hosted->parked_first;
    return hosted->parked_next > from ? hosted->parked_next - from : 0;
}

struct truncation {
    struct stele_appending appending;
    struct hosted *hosted;
    uint64_t to;
};

static void on_truncated(struct stele_appending *appending)
{
    struct truncation *truncation =
        (struct truncation *)((char *)appending - offsetof(struct truncation, appending));
    struct hosted *hosted = truncation->hosted;
    hosted->truncating = false;
    if (appending->outcome == STELE_OK && truncation->to > hosted->parked_first) {
        hosted->parked_first = truncation->to;
    }
    stele_release(hosted->groups->alloc, truncation, sizeof *truncation);
    stele_subs__unpend(hosted);
}

/* Hides what lies before `to`. If it fails, the next tick tries again. */
static void hide_parked(struct hosted *hosted, uint64_t to)
{
    struct stele_engine *engine = hosted->groups->engine;
    if (hosted->truncating || to <= hosted->parked_first) {
        return;
    }
    struct truncation *truncation =
        stele_allocate_zeroed(hosted->groups->alloc, sizeof *truncation);
    if (truncation == NULL) {
        return;
    }
    char name[NAME_MAX_ + 2];
    char json[64];
    (void)snprintf(name, sizeof name, "$$%s", hosted->parked_stream);
    const int size = snprintf(json, sizeof json, "{\"$tb\":%llu}", (unsigned long long)to);
    struct stele_event_draft draft = {.type = "$metadata", .data = json, .data_size = (size_t)size};
    random_id(hosted, draft.id);
    const struct stele_append one = {
        .stream = name, .expected = STELE_EXPECT_ANY, .events = &draft, .count = 1};
    truncation->hosted = hosted;
    truncation->to = to;
    truncation->appending.loop = hosted->groups->loop;
    truncation->appending.on_done = on_truncated;
    if (engine->ops->append(engine, &truncation->appending, &one, 1, NULL, 0, NULL) != STELE_OK) {
        stele_release(hosted->groups->alloc, truncation, sizeof *truncation);
        return;
    }
    hosted->truncating = true;
    stele_subs__pend(hosted);
}

/* Puts some more parked events into the machine. */
static void replay_some(struct hosted *hosted)
{
    struct stele_engine *engine = hosted->groups->engine;
    struct stele_read_options options = STELE_READ_OPTIONS_INIT;
    options.from = hosted->replay_next;
    options.limit = REPLAY_BATCH;
    struct stele_reading *reading = NULL;
    int outcome = engine->ops->read_open(engine, hosted->parked_stream, &options, &reading, NULL);
    const struct stele_event *events = NULL;
    size_t count = 0;
    if (outcome == STELE_OK) {
        outcome = engine->ops->read_next(reading, &events, &count, NULL);
    }
    if (outcome == STELE_END || outcome == STELE_NO_STREAM || outcome == STELE_STREAM_DELETED) {
        hosted->replay_next = hosted->replay_stop;
    }
    for (size_t i = 0; outcome == STELE_OK && i < count; i++) {
        if (events[i].revision >= hosted->replay_stop) {
            hosted->replay_next = hosted->replay_stop;
            break;
        }
        struct stele_group_event *made = NULL;
        if (read_target(hosted, &events[i], STELE_GROUP_NO_PLACE, &made) != STELE_OK) {
            break; /* It is tried again. */
        }
        if (made != NULL) {
            if (stele_group_replay(hosted->machine, made, events[i].revision) != STELE_OK) {
                stele_group_event_unref(made);
                break;
            }
            hosted->replays++;
            hosted->parked_replays++;
        }
        hosted->replay_next = events[i].revision + 1;
    }
    if (reading != NULL) {
        engine->ops->read_close(reading);
    }
}

static void pump_replay(struct hosted *hosted)
{
    if (hosted->replay_next < hosted->replay_stop && hosted->replays < REPLAYS_MAX) {
        replay_some(hosted);
    }
    if (hosted->replay_stop > hosted->parked_first && hosted->replay_next == hosted->replay_stop &&
        hosted->replays == 0) {
        hide_parked(hosted, hosted->replay_stop); /* G6 */
    }
}

void stele_subs__replay(struct hosted *hosted, uint64_t stop_at)
{
    const uint64_t stop = stop_at < hosted->parked_next ? stop_at : hosted->parked_next;
    if (hosted->replay_next < hosted->parked_first) {
        hosted->replay_next = hosted->parked_first;
        hosted->replay_stop = hosted->parked_first;
    }
    hosted->replay_stop = stop > hosted->replay_stop ? stop : hosted->replay_stop;
    stele_subs__settle(hosted);
}

void stele_subs__truncate(struct hosted *hosted, uint64_t stop_at)
{
    const uint64_t stop = stop_at < hosted->parked_next ? stop_at : hosted->parked_next;
    hosted->replay_next = hosted->replay_next > stop ? hosted->replay_next : stop;
    hosted->replay_stop =
        hosted->replay_stop > hosted->replay_next ? hosted->replay_stop : hosted->replay_next;
    if (hosted->replays == 0) {
        hide_parked(hosted, stop);
    } /* Otherwise when those that are being replayed are done. */
}

/* ---- */

void stele_subs__settle(struct hosted *hosted)
{
    if (hosted->machine == NULL) {
        return;
    }
    pump_replay(hosted);
    stele_group_dispatch(hosted->machine, now_of(hosted));
    stele_subs__consumers_flush(hosted);
    if (hosted->resume && hosted->follow != NULL) {
        stele_follow_resume(hosted->follow);
    }
    hosted->resume = false;
}

void stele_subs__hosted_tick(struct hosted *hosted)
{
    if (hosted->machine == NULL && !hosted->removed && !hosted->unborn) {
        (void)!stele_subs__hosted_start(hosted, NULL); /* It failed when the group was made. */
    }
    if (hosted->machine == NULL) {
        return;
    }
    stele_group_tick(hosted->machine, now_of(hosted));
    if (hosted->follow == NULL && !hosted->following_ended) {
        (void)start_following(hosted, NULL);
    }
    /* Whatever memory was short for may work now. */
    hosted->resume = hosted->resume || stele_group_room(hosted->machine) > 0;
    stele_subs__settle(hosted);
}

static char *make_name(const struct hosted *hosted, const char *suffix)
{
    char *name = stele_allocate_zeroed(hosted->groups->alloc, NAME_MAX_);
    if (name != NULL) {
        (void)snprintf(name, NAME_MAX_, "$persistentsubscription-%s::%s-%s",
                       is_all(hosted) ? "$all" : hosted->config.stream, hosted->config.group,
                       suffix);
    }
    return name;
}

int stele_subs__host(struct stele_groups *groups, struct group_config *take_config,
                     struct hosted **out_hosted, struct stele_error *err)
{
    struct hosted *hosted = stele_allocate_zeroed(groups->alloc, sizeof *hosted);
    if (hosted == NULL) {
        stele_subs__config_deinit(groups->alloc, take_config);
        return stele_fail(err, STELE_E_NO_MEMORY, 0, "group: no memory");
    }
    hosted->groups = groups;
    hosted->config = *take_config;
    const char *stream = hosted->config.stream;
    hosted->by_ordinal = stream != NULL &&
                         (strncmp(stream, "$ce-", 4) == 0 || strncmp(stream, "$et-", 4) == 0) &&
                         stream[4] != '\0';
    hosted->checkpoint_stream = make_name(hosted, "checkpoint");
    hosted->parked_stream = make_name(hosted, "parked");
    if (hosted->checkpoint_stream == NULL || hosted->parked_stream == NULL) {
        release_hosted(hosted);
        return stele_fail(err, STELE_E_NO_MEMORY, 0, "group: no memory");
    }
    *out_hosted = hosted;
    return STELE_OK;
}

/* The newest checkpoint; STELE_GROUP_NO_PLACE: none. */
static int load_checkpoint(struct hosted *hosted, uint64_t *out_place, struct stele_error *err)
{
    struct stele_engine *engine = hosted->groups->engine;
    struct stele_read_options options = STELE_READ_OPTIONS_INIT;
    options.from = STELE_FROM_END;
    options.backwards = 1;
    options.limit = 1;
    struct stele_reading *reading = NULL;
    *out_place = STELE_GROUP_NO_PLACE;
    int outcome =
        engine->ops->read_open(engine, hosted->checkpoint_stream, &options, &reading, err);
    if (outcome == STELE_NO_STREAM || outcome == STELE_STREAM_DELETED) {
        return STELE_OK;
    }
    if (outcome != STELE_OK) {
        return outcome;
    }
    hosted->has_checkpoint_stream = true;
    const struct stele_event *events = NULL;
    size_t count = 0;
    outcome = engine->ops->read_next(reading, &events, &count, err);
    if (outcome == STELE_OK && count > 0) {
        const struct stele_bytes data = {.data = events[0].data, .size = events[0].data_size};
        if (!stele_subs__checkpoint_decode(data, out_place)) {
            outcome = stele_fail(err, STELE_E_CORRUPT, 0, "the newest event of %.300s is no place",
                                 hosted->checkpoint_stream);
        }
    }
    engine->ops->read_close(reading);
    return outcome == STELE_END ? STELE_OK : outcome;
}

static int load_parked(struct hosted *hosted, struct stele_error *err)
{
    struct stele_engine *engine = hosted->groups->engine;
    struct stele_stream_info info;
    const int outcome = engine->ops->stream_info(engine, hosted->parked_stream, &info, err);
    if (outcome == STELE_OK) {
        hosted->parked_next = info.revision_last + 1;
        const bool none = info.deleted != 0 || info.revision_first > hosted->parked_next;
        hosted->parked_first = none ? hosted->parked_next : info.revision_first;
    }
    return outcome == STELE_NO_STREAM ? STELE_OK : outcome;
}

int stele_subs__hosted_start(struct hosted *hosted, struct stele_error *err)
{
    uint64_t checkpoint = STELE_GROUP_NO_PLACE;
    int outcome = load_checkpoint(hosted, &checkpoint, err);
    if (outcome == STELE_OK) {
        outcome = load_parked(hosted, err);
    }
    if (outcome != STELE_OK) {
        return outcome;
    }
    hosted->started_us = now_of(hosted);
    return stele_subs__hosted_run(hosted, checkpoint, err);
}

int stele_subs__hosted_run(struct hosted *hosted, uint64_t checkpoint, struct stele_error *err)
{
    struct stele_groups *groups = hosted->groups;
    STELE_ASSERT(hosted->machine == NULL);
    STELE_ASSERT(hosted->follow == NULL);
    hosted->generation++;
    hosted->following_ended = false;
    const int outcome =
        stele_group_create(groups->alloc, &hosted->config.settings, checkpoint, groups->seed,
                           &effects, hosted, now_of(hosted), &hosted->machine);
    return outcome == STELE_OK ? start_following(hosted, err)
                               : stele_fail(err, outcome, 0, "group: no memory");
}

void stele_subs__hosted_stop(struct hosted *hosted, int outcome)
{
    stele_subs__consumers_drop(hosted, outcome);
    stele_follow_stop(hosted->follow);
    hosted->follow = NULL;
    if (hosted->machine != NULL) {
        struct stele_group_stats stats;
        stele_group_stats(hosted->machine, &stats);
        hosted->total_before += stats.total;
    }
    stele_group_destroy(hosted->machine);
    hosted->machine = NULL;
    hosted->generation++;
    /* What was being replayed is still parked. */
    hosted->replays = 0;
    hosted->replay_next = 0;
    hosted->replay_stop = 0;
}

void stele_subs__hosted_remove(struct hosted *hosted)
{
    struct hosted **at = &hosted->groups->first;
    while (*at != hosted) {
        at = &(*at)->next;
    }
    *at = hosted->next;
    hosted->removed = true;
    if (hosted->pending == 0) {
        release_hosted(hosted);
    }
}

/* ---- Deleting what a group has left in the store ---- */

struct deletion {
    struct stele_appending appending;
    struct hosted *hosted;
};

static void on_deleted(struct stele_appending *appending)
{
    struct deletion *deletion =
        (struct deletion *)((char *)appending - offsetof(struct deletion, appending));
    struct hosted *hosted = deletion->hosted;
    stele_release(hosted->groups->alloc, deletion, sizeof *deletion);
    stele_subs__unpend(hosted);
}

static void delete_stream(struct hosted *hosted, const char *stream)
{
    struct stele_engine *engine = hosted->groups->engine;
    struct stele_stream_info info;
    if (engine->ops->stream_info(engine, stream, &info, NULL) != STELE_OK) {
        return;
    }
    struct deletion *deletion = stele_allocate_zeroed(hosted->groups->alloc, sizeof *deletion);
    if (deletion == NULL) {
        return;
    }
    deletion->hosted = hosted;
    deletion->appending.loop = hosted->groups->loop;
    deletion->appending.on_done = on_deleted;
    if (engine->ops->soft_delete(engine, &deletion->appending, stream, STELE_EXPECT_ANY, NULL) !=
        STELE_OK) {
        stele_release(hosted->groups->alloc, deletion, sizeof *deletion);
        return;
    }
    stele_subs__pend(hosted);
}

void stele_subs__hosted_forget(struct hosted *hosted)
{
    delete_stream(hosted, hosted->checkpoint_stream);
    delete_stream(hosted, hosted->parked_stream);
}
