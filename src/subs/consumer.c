/* Consumers: one half on the loop of the connection, one at home with the group. */
#include "subs/groups_internal.h"

/* Events on their way from home. */
struct news {
    struct stele_task task;
    struct stele_consumer *consumer;
    size_t count;
    struct {
        struct stele_group_event *event;
        uint32_t retries;
    } events[NEWS_MAX];
};

/* Acknowledgements on their way home. */
struct order {
    struct stele_task task;
    struct stele_consumer *consumer;
    size_t size; /* Of all of it. */
    bool is_ack;
    enum stele_group_nack action;
    size_t count;
    char reason[256];
    uint8_t ids[];
};

struct stele_consumer {
    struct stele_groups *groups;
    struct stele_loop *loop;
    struct stele_alloc *alloc;
    struct stele_consumer_callbacks callbacks;
    void *context;
    size_t size; /* Of all of it. */
    uint32_t buffer_size;
    const char *stream, *group, *from, *user, *connection_name; /* Behind the struct. */

    /* The loop's half. */
    bool stopped;

    /* Home's half. */
    struct hosted *hosted; /* NULL: not joined, or dropped. */
    struct stele_group_member *member;
    struct stele_consumer *next, *previous;
    struct news *outbox;
    bool short_of_memory; /* Something could not be sent: it is dropped. */
    int end;              /* Why on_end is called. */

    /* Each is posted once. */
    struct stele_task join, leave; /* To home. */
    struct stele_task confirmed, ended, gone;
};

#define CONSUMER_OF(task, member)                                                                  \
    ((struct stele_consumer *)((char *)(task)-offsetof(struct stele_consumer, member)))

/* ---- On the consumer's loop ---- */

static void run_confirmed(struct stele_task *task)
{
    struct stele_consumer *consumer = CONSUMER_OF(task, confirmed);
    if (!consumer->stopped) {
        consumer->callbacks.on_confirmed(consumer->context);
    }
}

static void run_ended(struct stele_task *task)
{
    struct stele_consumer *consumer = CONSUMER_OF(task, ended);
    if (!consumer->stopped) {
        consumer->callbacks.on_end(consumer->context, consumer->end);
    }
}

static void run_news(struct stele_task *task)
{
    struct news *news = (struct news *)((char *)task - offsetof(struct news, task));
    struct stele_consumer *consumer = news->consumer;
    for (size_t i = 0; i < news->count; i++) {
        if (!consumer->stopped) {
            consumer->callbacks.on_event(consumer->context, news->events[i].event,
                                         news->events[i].retries);
        }
        stele_group_event_unref(news->events[i].event);
    }
    stele_release(consumer->alloc, news, sizeof *news);
}

static void run_gone(struct stele_task *task)
{
    struct stele_consumer *consumer = CONSUMER_OF(task, gone);
    stele_release(consumer->alloc, consumer, consumer->size);
}

/* ---- At home ---- */

static void unlink_consumer(struct stele_consumer *consumer)
{
    struct hosted *hosted = consumer->hosted;
    if (consumer->previous != NULL) {
        consumer->previous->next = consumer->next;
    } else {
        hosted->consumers = consumer->next;
    }
    if (consumer->next != NULL) {
        consumer->next->previous = consumer->previous;
    }
    consumer->hosted = NULL;
}

static void send_outbox(struct stele_consumer *consumer)
{
    if (consumer->outbox != NULL) {
        stele_loop_post(consumer->loop, &consumer->outbox->task);
        consumer->outbox = NULL;
    }
}

/* Leaves the group. */
static void part(struct stele_consumer *consumer)
{
    struct hosted *hosted = consumer->hosted;
    send_outbox(consumer);
    unlink_consumer(consumer);
    stele_group_leave(hosted->machine, consumer->member);
    consumer->member = NULL;
}

static void end(struct stele_consumer *consumer, int outcome)
{
    consumer->end = outcome;
    consumer->ended.run = run_ended;
    stele_loop_post(consumer->loop, &consumer->ended);
}

static void run_join(struct stele_task *task)
{
    struct stele_consumer *consumer = CONSUMER_OF(task, join);
    struct stele_groups *groups = consumer->groups;
    int outcome = STELE_OK;
    if (stele_subs__hold(groups, task, &outcome)) {
        return;
    }
    if (outcome != STELE_OK) {
        end(consumer, outcome);
        return;
    }
    struct hosted *hosted = stele_subs__find(groups, consumer->stream, consumer->group);
    if (hosted == NULL || hosted->machine == NULL) {
        end(consumer, hosted == NULL ? STELE_NOT_FOUND : STELE_E_NO_MEMORY);
        return;
    }
    outcome = stele_group_join(hosted->machine, consumer->buffer_size, consumer, &consumer->member);
    if (outcome != STELE_OK) {
        end(consumer, outcome);
        return;
    }
    consumer->hosted = hosted;
    consumer->next = hosted->consumers;
    if (hosted->consumers != NULL) {
        hosted->consumers->previous = consumer;
    }
    hosted->consumers = consumer;
    consumer->confirmed.run = run_confirmed;
    stele_loop_post(consumer->loop, &consumer->confirmed);
    stele_subs__settle(hosted);
}

static void run_leave(struct stele_task *task)
{
    struct stele_consumer *consumer = CONSUMER_OF(task, leave);
    struct hosted *hosted = consumer->hosted;
    stele_subs__unhold(consumer->groups, &consumer->join);
    if (hosted != NULL) {
        part(consumer);
        stele_subs__settle(hosted);
    }
    consumer->gone.run = run_gone;
    stele_loop_post(consumer->loop, &consumer->gone); /* G7 */
}

static void run_order(struct stele_task *task)
{
    struct order *order = (struct order *)((char *)task - offsetof(struct order, task));
    struct stele_consumer *consumer = order->consumer;
    struct hosted *hosted = consumer->hosted;
    for (size_t i = 0; hosted != NULL && i < order->count; i++) {
        const uint8_t *id = order->ids + 16 * i;
        if (order->is_ack) {
            stele_group_ack(hosted->machine, consumer->member, id,
                            stele_loop_now_us(consumer->groups->loop));
        } else {
            stele_group_nack(hosted->machine, consumer->member, id, order->action, order->reason);
        }
    }
    stele_release(consumer->alloc, order, order->size);
    if (hosted != NULL) {
        stele_subs__settle(hosted);
    }
}

void stele_subs__consumer_deliver(struct stele_consumer *consumer, struct stele_group_event *event,
                                  uint32_t retries)
{
    if (consumer->outbox == NULL) {
        consumer->outbox = stele_allocate(consumer->alloc, sizeof *consumer->outbox);
        if (consumer->outbox == NULL) {
            consumer->short_of_memory = true;
            return;
        }
        consumer->outbox->task.run = run_news;
        consumer->outbox->consumer = consumer;
        consumer->outbox->count = 0;
    }
    struct news *news = consumer->outbox;
    stele_group_event_ref(event);
    news->events[news->count].event = event;
    news->events[news->count].retries = retries;
    news->count++;
    if (news->count == NEWS_MAX) {
        send_outbox(consumer);
    }
}

void stele_subs__consumers_flush(struct hosted *hosted)
{
    struct stele_consumer *consumer = hosted->consumers;
    while (consumer != NULL) {
        struct stele_consumer *next = consumer->next;
        send_outbox(consumer);
        if (consumer->short_of_memory) {
            part(consumer); /* It counts events that it will never see: better none than that. */
            end(consumer, STELE_E_NO_MEMORY);
        }
        consumer = next;
    }
}

void stele_subs__consumers_drop(struct hosted *hosted, int outcome)
{
    while (hosted->consumers != NULL) {
        struct stele_consumer *consumer = hosted->consumers;
        part(consumer);
        end(consumer, outcome);
    }
}

void stele_subs__consumer_info(const struct stele_consumer *consumer,
                               struct stele_group_consumer_info *out_info)
{
    out_info->from = consumer->from;
    out_info->user = consumer->user;
    out_info->connection_name = consumer->connection_name;
}

/* ---- The face: on the consumer's loop ---- */

static const char *put(char **at, const char *text)
{
    if (text == NULL) {
        return NULL;
    }
    const size_t size = strlen(text) + 1;
    char *to = *at;
    memcpy(to, text, size);
    *at += size;
    return to;
}

int stele_consumer_start(struct stele_groups *groups, struct stele_loop *loop,
                         const struct stele_consumer_options *options,
                         const struct stele_consumer_callbacks *callbacks, void *context,
                         struct stele_consumer **out_consumer, struct stele_error *err)
{
    const char *texts[] = {options->stream, options->group, options->from, options->user,
                           options->connection_name};
    size_t size = sizeof(struct stele_consumer);
    for (size_t i = 0; i < STELE_COUNT_OF(texts); i++) {
        size += texts[i] == NULL ? 0 : strlen(texts[i]) + 1;
    }
    struct stele_consumer *consumer = stele_allocate_zeroed(groups->alloc, size);
    if (consumer == NULL) {
        return stele_fail(err, STELE_E_NO_MEMORY, 0, "consumer: no memory");
    }
    char *at = (char *)(consumer + 1);
    consumer->groups = groups;
    consumer->loop = loop;
    consumer->alloc = groups->alloc;
    consumer->callbacks = *callbacks;
    consumer->context = context;
    consumer->size = size;
    consumer->buffer_size = options->buffer_size;
    consumer->stream = put(&at, options->stream);
    consumer->group = put(&at, options->group);
    consumer->from = put(&at, options->from);
    consumer->user = put(&at, options->user);
    consumer->connection_name = put(&at, options->connection_name);
    consumer->join.run = run_join;
    stele_loop_post(groups->loop, &consumer->join);
    *out_consumer = consumer;
    return STELE_OK;
}

static void send_order(struct stele_consumer *consumer, bool is_ack, enum stele_group_nack action,
                       struct stele_text reason, const uint8_t *ids, size_t count)
{
    const size_t size = sizeof(struct order) + 16 * count;
    struct order *order =
        count == 0 || consumer->stopped ? NULL : stele_allocate_zeroed(consumer->alloc, size);
    if (order == NULL) {
        return;
    }
    const size_t fits =
        reason.size < sizeof order->reason - 1 ? reason.size : sizeof order->reason - 1;
    order->task.run = run_order;
    order->consumer = consumer;
    order->size = size;
    order->is_ack = is_ack;
    order->action = action;
    order->count = count;
    if (fits > 0) {
        memcpy(order->reason, reason.data, fits);
    }
    memcpy(order->ids, ids, 16 * count);
    stele_loop_post(consumer->groups->loop, &order->task);
}

void stele_consumer_ack(struct stele_consumer *consumer, const uint8_t *ids, size_t count)
{
    const struct stele_text none = {.data = NULL};
    send_order(consumer, true, STELE_GROUP_NACK_UNKNOWN, none, ids, count);
}

void stele_consumer_nack(struct stele_consumer *consumer, const uint8_t *ids, size_t count,
                         enum stele_group_nack action, struct stele_text reason)
{
    send_order(consumer, false, action, reason, ids, count);
}

void stele_consumer_stop(struct stele_consumer *consumer)
{
    if (consumer == NULL || consumer->stopped) {
        return;
    }
    consumer->stopped = true;
    consumer->leave.run = run_leave;
    stele_loop_post(consumer->groups->loop, &consumer->leave);
}
