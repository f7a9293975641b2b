/* What services append to and read from: appends become commands, reads are the store's. */
#include "server/engine.h"
#include "server/member_internal.h"

#include <time.h>

static struct stele_member *member_of(struct stele_engine *engine)
{
    return (struct stele_member *)(void *)engine;
}

static int64_t monotonic_us(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

static int64_t wall_us(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_REALTIME, &now);
    return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

/* ---- Answers ---- */

static void run_done(struct stele_task *task)
{
    struct stele_appending *appending =
        (struct stele_appending *)(void *)((uint8_t *)task -
                                           offsetof(struct stele_appending, task));
    appending->on_done(appending);
}

static void count(struct stele_member *member, const struct stele_appending *appending)
{
    const int64_t took_us = appending->ended_us - appending->began_us;
    struct stele_member__numbers *numbers = &member->numbers;
    const int kind = appending->outcome == STELE_OK ? 0 : 1;
    size_t at = 0;
    while (at < STELE_ENGINE_BOUNDS && took_us > (int64_t)stele_engine_bound_us(at)) {
        at++;
    }
    atomic_fetch_add_explicit(&numbers->count[kind], 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&numbers->sum_us[kind], (uint64_t)took_us, memory_order_relaxed);
    atomic_fetch_add_explicit(&numbers->at_most[kind][at], 1, memory_order_relaxed);
    if (kind == 0) {
        atomic_fetch_add_explicit(&numbers->events, appending->events, memory_order_relaxed);
        atomic_fetch_add_explicit(&numbers->bytes, appending->bytes, memory_order_relaxed);
    }
}

static void run_linearized(struct stele_task *task)
{
    struct stele_linearizing *linearizing =
        (struct stele_linearizing *)(void *)((uint8_t *)task -
                                             offsetof(struct stele_linearizing, task));
    linearizing->on_done(linearizing);
}

static void release(struct stele_member__request *request)
{
    struct stele_member *member = request->member;
    stele_buf_deinit(&request->body, member->alloc);
    stele_release(member->alloc, request, sizeof *request);
    atomic_fetch_sub(&member->proposals, 1);
}

void stele_member__answer(struct stele_member__request *request, int outcome,
                          const struct stele_append_result *result, const char *words)
{
    struct stele_member *member = request->member;
    if (request->deed == STELE_MEMBER__LINEARIZE) {
        struct stele_linearizing *linearizing = request->linearizing;
        linearizing->outcome = outcome == STELE_OK ? STELE_OK : STELE_TIMED_OUT;
        linearizing->task.run = run_linearized;
        struct stele_loop *loop = linearizing->loop;
        release(request);
        stele_loop_post(loop, &linearizing->task);
        return;
    }
    struct stele_appending *appending = request->appending;
    appending->outcome = outcome;
    appending->result = *result;
    if (words != NULL) {
        (void)stele_fail(&appending->err, outcome, 0, "append: %s", words);
    }
    appending->ended_us = monotonic_us();
    appending->events = request->events;
    appending->bytes = request->bytes;
    appending->task.run = run_done;
    count(member, appending);
    struct stele_loop *loop = appending->loop;
    release(request);
    stele_loop_post(loop, &appending->task);
}

/* ---- The inbox ---- */

static int put_in(struct stele_member *member, struct stele_member__request *request,
                  struct stele_error *err)
{
    (void)pthread_mutex_lock(&member->inbox_lock);
    if (member->closed) {
        (void)pthread_mutex_unlock(&member->inbox_lock);
        return stele_fail(err, STELE_E_FENCED, 0,
                          "this node takes no part in the cluster (any more): ask another one");
    }
    *member->inbox_last = request;
    member->inbox_last = &request->next;
    const bool post = !member->inbox_posted;
    member->inbox_posted = true;
    (void)pthread_mutex_unlock(&member->inbox_lock);
    if (post) {
        stele_loop_post(member->base, &member->inbox_task);
    }
    return STELE_OK;
}

/* Nobody's own partition: any will do, best one that this node leads. */
static uint32_t group_for_nothing(struct stele_member *member)
{
    for (uint32_t i = 0; i < member->identity.partitions; i++) {
        if (stele_replica_leader(member->replica, i) == member->identity.number) {
            return i;
        }
    }
    return 0;
}

void stele_member__run_inbox(struct stele_task *task)
{
    struct stele_member *member =
        (struct stele_member *)(void *)((uint8_t *)task -
                                        offsetof(struct stele_member, inbox_task));
    (void)pthread_mutex_lock(&member->inbox_lock);
    struct stele_member__request *request = member->inbox_first;
    member->inbox_first = NULL;
    member->inbox_last = &member->inbox_first;
    member->inbox_posted = false;
    (void)pthread_mutex_unlock(&member->inbox_lock);
    while (request != NULL) {
        struct stele_member__request *next = request->next;
        struct stele_error err = {.outcome = STELE_OK};
        int outcome = STELE_E_FENCED;
        if (member->replica != NULL) {
            if (request->deed == STELE_MEMBER__LINEARIZE) {
                request->proposal.group = group_for_nothing(member);
            }
            outcome = stele_replica_propose(member->replica, &request->proposal,
                                            stele_member__now_us(member), &err);
        }
        if (outcome != STELE_OK) {
            const struct stele_append_result none = {.failed = 0};
            stele_member__answer(request, outcome, &none,
                                 member->replica == NULL ? "this node takes no part in the cluster"
                                                         : err.message);
        }
        request = next;
    }
    stele_member__run_commands(member);
    stele_member__want_turn(member);
}

/* ---- Appending ---- */

static void make_id(uint8_t id[16])
{
    stele_new_id(id);
}

static struct stele_member__request *create(struct stele_member *member)
{
    struct stele_member__request *request = stele_allocate_zeroed(member->alloc, sizeof *request);
    if (request != NULL) {
        request->member = member;
        atomic_fetch_add(&member->proposals, 1);
    }
    return request;
}

static int propose(struct stele_member *member, struct stele_member__request *request,
                   const struct stele_command *command, struct stele_error *err)
{
    int outcome = stele_command_encode(command, member->alloc, &request->body, err);
    if (outcome == STELE_OK) {
        request->proposal.bytes =
            (struct stele_bytes){.data = request->body.data, .size = request->body.size};
        outcome = put_in(member, request, err);
    }
    if (outcome != STELE_OK) {
        release(request);
    }
    return outcome;
}

static int give(struct stele_member *member, struct stele_appending *appending,
                struct stele_command *command, struct stele_error *err)
{
    /* The others would decide it, and this node could not tell how. */
    if (stele_member__is_full(member)) {
        return stele_fail(err, STELE_E_NO_SPACE, 0,
                          "append: the disk of this node is full; ask another one, or make room");
    }
    struct stele_member__request *request = create(member);
    if (request == NULL) {
        return stele_fail(err, STELE_E_NO_MEMORY, 0, "append: no memory");
    }
    command->now_us = wall_us();
    command->make_id = make_id;
    request->deed = STELE_MEMBER__APPEND;
    request->appending = appending;
    request->proposal.group = stele_client_partition(member->store, command->streams[0].stream);
    appending->began_us = monotonic_us();
    for (size_t i = 0; i < command->streams_count; i++) {
        const struct stele_append *stream = &command->streams[i];
        for (size_t k = 0; k < stream->count; k++) {
            request->events++;
            request->bytes += stream->events[k].data_size + stream->events[k].metadata_size;
        }
    }
    return propose(member, request, command, err);
}

/* The answer was known before: perhaps as soon as something is durable. */
static void on_looked(void *context, int outcome, const struct stele_append_result *result)
{
    struct stele_appending *appending = context;
    struct stele_member *member = appending->engine;
    appending->outcome = outcome;
    appending->result = *result;
    appending->ended_us = monotonic_us();
    appending->task.run = run_done;
    count(member, appending);
    struct stele_loop *loop = appending->loop;
    atomic_fetch_sub(&member->proposals, 1);
    stele_loop_post(loop, &appending->task);
}

static int append(struct stele_engine *engine, struct stele_appending *appending,
                  const struct stele_append *streams, size_t streams_count,
                  const struct stele_condition *conditions, size_t conditions_count,
                  struct stele_error *err)
{
    struct stele_member *member = member_of(engine);
    struct stele_command command = {.kind = STELE_COMMAND_APPEND,
                                    .streams = streams,
                                    .streams_count = streams_count,
                                    .conditions = conditions,
                                    .conditions_count = conditions_count};
    appending->engine = member;
    appending->began_us = monotonic_us();
    appending->events = 0;
    appending->bytes = 0;
    /* What was appended before is told at once, and what can never be; the command has to look only
     * at what came since. */
    atomic_fetch_add(&member->proposals, 1);
    const int outcome = stele_client_look_back(
        member->store, streams, streams_count, conditions, conditions_count, &command.seen,
        appending->revisions_last, &appending->err, on_looked, appending, err);
    if (outcome == STELE_OK) {
        stele_client_flush(member->store, false);
        return STELE_OK;
    }
    atomic_fetch_sub(&member->proposals, 1);
    return outcome == STELE_NOT_FOUND ? give(member, appending, &command, err) : outcome;
}

static int delete (struct stele_engine *engine, struct stele_appending *appending,
                   enum stele_command_kind kind, const char *stream, uint64_t expected,
                   struct stele_error *err)
{
    struct stele_member *member = member_of(engine);
    const struct stele_event_draft event = {.type = "$"};
    const struct stele_append one = {
        .stream = stream, .expected = expected, .events = &event, .count = 1};
    int outcome = stele_store_check_append(&one, 1, NULL, 0, err);
    if (outcome != STELE_OK) {
        return outcome;
    }
    struct stele_command command = {.kind = kind, .streams = &one, .streams_count = 1};
    command.seen = stele_last_position(member->store);
    return give(member, appending, &command, err);
}

static int tombstone(struct stele_engine *engine, struct stele_appending *appending,
                     const char *stream, uint64_t expected, struct stele_error *err)
{
    return delete (engine, appending, STELE_COMMAND_TOMBSTONE, stream, expected, err);
}

static int soft_delete(struct stele_engine *engine, struct stele_appending *appending,
                       const char *stream, uint64_t expected, struct stele_error *err)
{
    return delete (engine, appending, STELE_COMMAND_SOFT_DELETE, stream, expected, err);
}

void stele_member__ask_linearize(struct stele_cluster *cluster,
                                 struct stele_linearizing *linearizing)
{
    struct stele_member *member =
        (struct stele_member *)(void *)((uint8_t *)cluster -
                                        offsetof(struct stele_member, cluster));
    struct stele_member__request *request = create(member);
    const struct stele_command nothing = {.kind = STELE_COMMAND_NOTHING};
    int outcome = STELE_E_NO_MEMORY;
    if (request != NULL) {
        request->deed = STELE_MEMBER__LINEARIZE;
        request->linearizing = linearizing;
        /* From here on it may have been answered. */
        outcome = propose(member, request, &nothing, NULL);
    }
    if (outcome != STELE_OK) {
        linearizing->outcome = STELE_E_CLOSED;
        linearizing->task.run = run_linearized;
        stele_loop_post(linearizing->loop, &linearizing->task);
    }
}

/* ---- The rest is the store's ---- */

static int read_open(struct stele_engine *engine, const char *stream,
                     const struct stele_read_options *options, struct stele_reading **out_reading,
                     struct stele_error *err)
{
    struct stele_engine *embedded = member_of(engine)->embedded;
    return embedded->ops->read_open(embedded, stream, options, out_reading, err);
}

static int read_next(struct stele_reading *reading, const struct stele_event **out_events,
                     size_t *out_count, struct stele_error *err)
{
    return stele_engine_embedded->read_next(reading, out_events, out_count, err);
}

static uint64_t read_position(const struct stele_reading *reading)
{
    return stele_engine_embedded->read_position(reading);
}

static uint64_t read_scanned(const struct stele_reading *reading)
{
    return stele_engine_embedded->read_scanned(reading);
}

static uint64_t read_ordinal(const struct stele_reading *reading, size_t index)
{
    return stele_engine_embedded->read_ordinal(reading, index);
}

static void read_close(struct stele_reading *reading)
{
    stele_engine_embedded->read_close(reading);
}

static int stream_info(struct stele_engine *engine, const char *stream,
                       struct stele_stream_info *out_info, struct stele_error *err)
{
    return stele_stream_info(member_of(engine)->store, stream, out_info, err);
}

static int get_metadata(struct stele_engine *engine, const char *stream, char *buffer,
                        size_t buffer_size, size_t *out_size, uint64_t *out_revision,
                        struct stele_error *err)
{
    return stele_get_metadata(member_of(engine)->store, stream, buffer, buffer_size, out_size,
                              out_revision, err);
}

static int list(struct stele_engine *engine, int what, const char *prefix, const char *after,
                uint64_t limit, stele_name_callback on_name, void *context, struct stele_error *err)
{
    return stele_list(member_of(engine)->store, what, prefix, after, limit, on_name, context, err);
}

static uint64_t last_position(struct stele_engine *engine)
{
    return stele_last_position(member_of(engine)->store);
}

static int stats(struct stele_engine *engine, struct stele_stats *out_stats,
                 struct stele_error *err)
{
    const struct stele_member *member = member_of(engine);
    const int outcome = stele_stats(member->store, out_stats, err);
    if (outcome == STELE_OK) {
        /* To clients all nodes are one store. */
        memcpy(out_stats->store_id, member->identity.cluster_id, sizeof out_stats->store_id);
    }
    return outcome;
}

static void add_took(struct stele_engine_took *took, struct stele_member__numbers *numbers,
                     int kind)
{
    took->count += atomic_load_explicit(&numbers->count[kind], memory_order_relaxed);
    took->sum_us += atomic_load_explicit(&numbers->sum_us[kind], memory_order_relaxed);
    for (size_t i = 0; i <= STELE_ENGINE_BOUNDS; i++) {
        took->at_most[i] += atomic_load_explicit(&numbers->at_most[kind][i], memory_order_relaxed);
    }
}

static void counts(struct stele_engine *engine, struct stele_engine_counts *out_counts)
{
    struct stele_member *member = member_of(engine);
    member->embedded->ops->counts(member->embedded, out_counts);
    add_took(&out_counts->done, &member->numbers, 0);
    add_took(&out_counts->refused, &member->numbers, 1);
    out_counts->events_written +=
        atomic_load_explicit(&member->numbers.events, memory_order_relaxed);
    out_counts->bytes_written += atomic_load_explicit(&member->numbers.bytes, memory_order_relaxed);
}

static int chore(struct stele_engine *engine, struct stele_chore *chore, struct stele_error *err)
{
    struct stele_engine *embedded = member_of(engine)->embedded;
    return embedded->ops->chore(embedded, chore, err);
}

static void chore_forget(struct stele_engine *engine, struct stele_chore *chore)
{
    struct stele_engine *embedded = member_of(engine)->embedded;
    embedded->ops->chore_forget(embedded, chore);
}

static void watch_start(struct stele_engine *engine, struct stele_watch *watch)
{
    struct stele_engine *embedded = member_of(engine)->embedded;
    embedded->ops->watch_start(embedded, watch);
}

static void watch_stop(struct stele_engine *engine, struct stele_watch *watch)
{
    struct stele_engine *embedded = member_of(engine)->embedded;
    embedded->ops->watch_stop(embedded, watch);
}

const struct stele_engine_ops stele_member__engine_ops = {
    .append = append,
    .tombstone = tombstone,
    .soft_delete = soft_delete,
    .read_open = read_open,
    .read_next = read_next,
    .read_position = read_position,
    .read_scanned = read_scanned,
    .read_ordinal = read_ordinal,
    .read_close = read_close,
    .stream_info = stream_info,
    .get_metadata = get_metadata,
    .list = list,
    .last_position = last_position,
    .stats = stats,
    .counts = counts,
    .chore = chore,
    .chore_forget = chore_forget,
    .watch_start = watch_start,
    .watch_stop = watch_stop,
};
