/* The hub: reads the end of $all once for all live follows of its loop, and finds those that an
 * event concerns by its names, so that what an event costs grows with those who get it and not with
 * those who wait.
 *
 * The hub reads only while somebody is live. The first follow to go live sets its position. */
#include "base/checksum.h"
#include "subs/subs_internal.h"

#define BUCKETS_MIN 16

/* ---- Topics ---- */

static uint64_t hash_of(const struct stele_hub *hub, uint8_t kind, struct stele_bytes name)
{
    return stele_hash64(name, hub->seed + kind);
}

static struct topic *find_topic(const struct stele_hub *hub, uint8_t kind, struct stele_bytes name)
{
    if (hub->buckets_count == 0) {
        return NULL;
    }
    const uint64_t hash = hash_of(hub, kind, name);
    struct topic *topic = hub->buckets[hash & (hub->buckets_count - 1)];
    while (topic != NULL &&
           (topic->hash != hash || topic->kind != kind || topic->name_size != name.size ||
            memcmp(topic->name, name.data, name.size) != 0)) {
        topic = topic->next;
    }
    return topic;
}

/* Without memory the table stays as it is: slower, as right. */
static void grow_buckets(struct stele_hub *hub)
{
    const size_t count = hub->buckets_count == 0 ? BUCKETS_MIN : hub->buckets_count * 2;
    struct topic **buckets = stele_allocate_zeroed(hub->alloc, count * sizeof *buckets);
    if (buckets == NULL) {
        return;
    }
    for (size_t i = 0; i < hub->buckets_count; i++) {
        for (struct topic *topic = hub->buckets[i], *next = NULL; topic != NULL; topic = next) {
            next = topic->next;
            struct topic **bucket = &buckets[topic->hash & (count - 1)];
            topic->next = *bucket;
            *bucket = topic;
        }
    }
    stele_release(hub->alloc, hub->buckets, hub->buckets_count * sizeof *hub->buckets);
    hub->buckets = buckets;
    hub->buckets_count = count;
}

static struct topic *make_topic(struct stele_hub *hub, uint8_t kind, struct stele_bytes name)
{
    struct topic *topic = find_topic(hub, kind, name);
    if (topic != NULL) {
        return topic;
    }
    if (hub->topics >= hub->buckets_count) {
        grow_buckets(hub);
    }
    topic = hub->buckets_count == 0 ? NULL
                                    : stele_allocate_zeroed(hub->alloc, sizeof *topic + name.size);
    if (topic == NULL) {
        return NULL;
    }
    topic->kind = kind;
    topic->hash = hash_of(hub, kind, name);
    topic->name_size = (uint16_t)name.size;
    memcpy(topic->name, name.data, name.size);
    struct topic **bucket = &hub->buckets[topic->hash & (hub->buckets_count - 1)];
    topic->next = *bucket;
    *bucket = topic;
    hub->topics++;
    return topic;
}

static void drop_topic_if_empty(struct stele_hub *hub, struct topic *topic)
{
    if (topic->follows.first != NULL || topic->walked) {
        return;
    }
    struct topic **at = &hub->buckets[topic->hash & (hub->buckets_count - 1)];
    while (*at != topic) {
        at = &(*at)->next;
    }
    *at = topic->next;
    hub->topics--;
    stele_release(hub->alloc, topic, sizeof *topic + topic->name_size);
}

/* The name that the index lists: of "$ce-account" the category "account". */
static struct stele_bytes topic_name(const struct stele_follow *follow)
{
    const size_t prefix = follow->kind == OF_STREAM ? 0 : 4;
    return (struct stele_bytes){.data = (const uint8_t *)follow->name + prefix,
                                .size = follow->name_size - prefix};
}

/* ---- Going live ---- */

static void on_visible(struct stele_watch *watch);

static void start_watching(struct stele_hub *hub, uint64_t position)
{
    hub->watching = true;
    hub->position = position;
    hub->watch.on_visible = on_visible;
    hub->watch.loop = hub->loop;
    hub->engine->ops->watch_start(hub->engine, &hub->watch);
    if (hub->engine->ops->last_position(hub->engine) > position) {
        stele_subs__wake(hub); /* It came before we watched. */
    }
}

int stele_subs__attach(struct stele_follow *follow)
{
    struct stele_hub *hub = follow->hub;
    STELE_ASSERT(!hub->watching || follow->seen >= hub->position);
    struct follow_list *list = &hub->all;
    if (follow->kind != OF_ALL) {
        follow->topic = make_topic(hub, follow->kind, topic_name(follow));
        if (follow->topic == NULL) {
            return STELE_E_NO_MEMORY;
        }
        list = &follow->topic->follows;
    }
    stele_subs__append(list, follow);
    follow->state = LIVE;
    hub->live++;
    hub->kinds[follow->kind]++;
    if (!hub->watching) {
        start_watching(hub, follow->seen);
    }
    return STELE_OK;
}

static void forget_arriving(struct stele_follow *follow)
{
    struct stele_follow **at = &follow->hub->arriving;
    while (*at != follow) {
        at = &(*at)->next_arriving;
    }
    *at = follow->next_arriving;
    follow->next_arriving = NULL;
    follow->arrives_at = 0;
}

/* Those that the hub has taken to where the end was when they came. */
static void tell_arrived(struct stele_hub *hub)
{
    struct stele_follow *follow = hub->arriving;
    while (follow != NULL) {
        if (follow->arrives_at > hub->position) {
            follow = follow->next_arriving;
            continue;
        }
        forget_arriving(follow);
        follow->seen = hub->position > follow->seen ? hub->position : follow->seen;
        stele_subs__arrived(follow);
        follow = hub->arriving; /* From the front: the callback may have stopped any. */
    }
}

void stele_subs__detach(struct stele_follow *follow)
{
    struct stele_hub *hub = follow->hub;
    STELE_ASSERT(follow->state == LIVE);
    if (follow->arrives_at != 0) {
        forget_arriving(follow);
    }
    if (hub->cursor == follow) {
        hub->cursor = follow->next;
    }
    struct topic *topic = follow->topic;
    stele_subs__remove(topic != NULL ? &topic->follows : &hub->all, follow);
    follow->topic = NULL;
    if (topic != NULL) {
        drop_topic_if_empty(hub, topic);
    }
    STELE_ASSERT(hub->live > 0);
    hub->live--;
    hub->kinds[follow->kind]--;
    if (hub->live == 0) {
        stele_subs__wake(hub); /* To stop watching, outside of whatever is going on. */
    }
}

/* ---- Reading for all ---- */

static void close_reading(struct stele_hub *hub)
{
    if (hub->reading != NULL) {
        hub->engine->ops->read_close(hub->reading);
        hub->reading = NULL;
    }
    hub->batch_count = 0;
    hub->batch_at = 0;
}

static void walk(struct stele_hub *hub, const struct follow_list *list,
                 const struct stele_event *event, size_t *deliveries)
{
    struct stele_follow *follow = list->first;
    while (follow != NULL) {
        hub->cursor = follow->next;
        stele_subs__deliver(follow, event);
        follow = hub->cursor;
        (*deliveries)++;
    }
}

static void walk_topic(struct stele_hub *hub, uint8_t kind, struct stele_text name,
                       const struct stele_event *event, size_t *deliveries)
{
    const struct stele_bytes bytes = {.data = (const uint8_t *)name.data, .size = name.size};
    struct topic *topic = hub->kinds[kind] == 0 ? NULL : find_topic(hub, kind, bytes);
    if (topic != NULL) {
        topic->walked = true;
        walk(hub, &topic->follows, event, deliveries);
        topic->walked = false;
        drop_topic_if_empty(hub, topic);
    }
}

static struct stele_text category_of(struct stele_text stream)
{
    const struct stele_bytes category = stele_filter_category(
        (struct stele_bytes){.data = (const uint8_t *)stream.data, .size = stream.size});
    return (struct stele_text){.data = (const char *)category.data, .size = category.size};
}

static size_t deliver(struct stele_hub *hub, const struct stele_event *event)
{
    size_t deliveries = 0;
    memset(hub->event.encoded, 0, sizeof hub->event.encoded);
    walk(hub, &hub->all, event, &deliveries);
    walk_topic(hub, OF_STREAM, event->stream, event, &deliveries);
    if (hub->kinds[OF_CATEGORY] > 0) {
        walk_topic(hub, OF_CATEGORY, category_of(event->stream), event, &deliveries);
    }
    walk_topic(hub, OF_TYPE, event->type, event, &deliveries);
    if (hub->arena.blocks != NULL) {
        stele_arena_deinit(&hub->arena, hub->alloc);
    }
    return deliveries;
}

/* Damage in the log: each live follow reads for itself and meets it or does not, as its name has
 * it; the hub goes on behind it. */
static void send_away(struct follow_list *list)
{
    while (list->first != NULL) {
        struct stele_follow *follow = list->first;
        const bool last = follow->next == NULL;
        stele_subs__detach(follow); /* With the last one a topic's list is gone. */
        follow->behind = true;
        stele_subs__queue(follow);
        if (last) {
            return;
        }
    }
}

static void send_all_away(struct stele_hub *hub)
{
    send_away(&hub->all);
    for (size_t i = 0; i < hub->buckets_count; i++) {
        while (hub->buckets[i] != NULL) {
            send_away(&hub->buckets[i]->follows);
        }
    }
}

static int open_reading(struct stele_hub *hub)
{
    struct stele_read_options options = STELE_READ_OPTIONS_INIT;
    options.from = hub->position + 1;
    return hub->engine->ops->read_open(hub->engine, NULL, &options, &hub->reading, NULL);
}

/* The next batch. STELE_OK, STELE_END, or an error that may pass. */
static int next_batch(struct stele_hub *hub)
{
    const struct stele_engine_ops *ops = hub->engine->ops;
    int outcome = STELE_OK;
    if (hub->reading == NULL) {
        outcome = ops->last_position(hub->engine) > hub->position ? open_reading(hub) : STELE_END;
    }
    if (outcome != STELE_OK) {
        return outcome;
    }
    hub->batch_at = 0;
    hub->batch_count = 0;
    outcome = ops->read_next(hub->reading, &hub->batch, &hub->batch_count, NULL);
    if (outcome == STELE_OK || outcome == STELE_E_CORRUPT) {
        hub->read_at_us = stele_loop_now_us(hub->loop);
        stele_subs__keep(hub);
    }
    if (outcome != STELE_OK) {
        hub->batch_count = 0;
    }
    return outcome;
}

/* Everything that the reading has handed out was delivered. */
static void advance(struct stele_hub *hub)
{
    if (hub->reading == NULL) {
        return;
    }
    const uint64_t position = hub->engine->ops->read_position(hub->reading);
    hub->position = position > hub->position ? position : hub->position;
}

/* A bounded amount. true: there is more. */
static bool hand_out(struct stele_hub *hub)
{
    size_t work = 0;
    while (work < DELIVERIES_A_TURN && hub->live > 0) {
        if (hub->batch_at < hub->batch_count) {
            const struct stele_event *event = &hub->batch[hub->batch_at];
            work += 1 + deliver(hub, event);
            hub->position = event->position > hub->position ? event->position : hub->position;
            hub->batch_at++;
            continue;
        }
        const int outcome = next_batch(hub);
        if (outcome == STELE_END) {
            advance(hub);
            return false;
        }
        if (outcome == STELE_E_CORRUPT) {
            advance(hub);
            send_all_away(hub);
        } else if (outcome != STELE_OK) {
            close_reading(hub);
            stele_subs__keep(hub); /* Memory or a file was short: the timer tries again. */
            return false;
        }
        work++;
    }
    return hub->live > 0;
}

static bool dispatch(struct stele_hub *hub)
{
    const bool more = hand_out(hub);
    tell_arrived(hub);
    return more;
}

/* ---- Turns ---- */

static void stop_if_idle(struct stele_hub *hub)
{
    if (hub->live == 0 && hub->watching) {
        hub->watching = false;
        hub->engine->ops->watch_stop(hub->engine, &hub->watch);
        close_reading(hub);
    }
}

/* Everybody in the queue gets one piece before anybody gets another. */
static void catch_up(struct stele_hub *hub)
{
    for (int i = 0; i < PIECES_A_TURN && hub->queue.first != NULL; i++) {
        struct stele_follow *follow = hub->queue.first;
        stele_subs__remove(&hub->queue, follow);
        stele_subs__piece(follow);
    }
}

static void release(struct stele_hub *hub)
{
    stele_arena_deinit(&hub->arena, hub->alloc);
    stele_release(hub->alloc, hub->buckets, hub->buckets_count * sizeof *hub->buckets);
    stele_release(hub->alloc, hub, sizeof *hub);
}

static void turn(struct stele_task *task)
{
    struct stele_hub *hub = (struct stele_hub *)((char *)task - offsetof(struct stele_hub, task));
    hub->posted = false;
    if (hub->over) {
        release(hub);
        return;
    }
    STELE_ASSERT(!hub->running);
    hub->running = true;
    const bool more = hub->watching && dispatch(hub);
    catch_up(hub);
    stop_if_idle(hub);
    hub->running = false;
    if (more || hub->queue.first != NULL) {
        stele_subs__wake(hub);
    }
}

static void on_visible(struct stele_watch *watch)
{
    struct stele_hub *hub = (struct stele_hub *)((char *)watch - offsetof(struct stele_hub, watch));
    if (hub->running || hub->posted) {
        stele_subs__wake(hub);
        return;
    }
    /* At once: an event that has become visible waits for nobody who is catching up. */
    hub->running = true;
    const bool more = dispatch(hub);
    stop_if_idle(hub);
    hub->running = false;
    if (more) {
        stele_subs__wake(hub);
    }
}

void stele_subs__wake(struct stele_hub *hub)
{
    if (!hub->posted) {
        hub->posted = true;
        stele_loop_post(hub->loop, &hub->task);
    }
}

/* ---- What is idle is closed ---- */

static void on_due(struct stele_timer *timer)
{
    struct stele_hub *hub = (struct stele_hub *)((char *)timer - offsetof(struct stele_hub, timer));
    hub->timer_started = false;
    const int64_t now_us = stele_loop_now_us(hub->loop);
    while (hub->kept.first != NULL && now_us - hub->kept.first->full_at_us >= IDLE_US) {
        struct stele_follow *follow = hub->kept.first;
        stele_subs__remove(&hub->kept, follow);
        stele_subs__close_reading(follow);
    }
    const bool between = hub->batch_at == hub->batch_count;
    if (hub->reading != NULL && between && now_us - hub->read_at_us >= IDLE_US) {
        close_reading(hub);
    }
    if (hub->watching && hub->engine->ops->last_position(hub->engine) > hub->position) {
        stele_subs__wake(hub); /* An error has passed, perhaps. */
    }
    if (hub->kept.first != NULL || hub->reading != NULL) {
        stele_subs__keep(hub);
    }
}

void stele_subs__keep(struct stele_hub *hub)
{
    if (!hub->timer_started) {
        hub->timer_started = true;
        hub->timer.on_due = on_due;
        const int64_t after = hub->reading == NULL && hub->kept.first == NULL ? RETRY_US : IDLE_US;
        hub->loop->ops->timer_start(hub->loop, &hub->timer, stele_loop_now_us(hub->loop) + after);
    }
}

/* ---- */

int stele_hub_create(struct stele_engine *engine, struct stele_loop *loop,
                     struct stele_hub **out_hub)
{
    struct stele_hub *hub = stele_allocate_zeroed(loop->alloc, sizeof *hub);
    if (hub == NULL) {
        return STELE_E_NO_MEMORY;
    }
    hub->engine = engine;
    hub->loop = loop;
    hub->alloc = loop->alloc;
    hub->task.run = turn;
    hub->arena.block_size = 16384;
    hub->event.arena = &hub->arena;
    loop->ops->random(loop, &hub->seed, sizeof hub->seed);
    *out_hub = hub;
    return STELE_OK;
}

void stele_hub_destroy(struct stele_hub *hub)
{
    if (hub == NULL) {
        return;
    }
    STELE_ASSERT(hub->follows == 0);
    STELE_ASSERT(!hub->running);
    stop_if_idle(hub);
    hub->loop->ops->timer_stop(hub->loop, &hub->timer);
    hub->over = true;
    if (!hub->posted) {
        release(hub);
    }
}
