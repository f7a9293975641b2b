#include "server/member_internal.h"

#include <stdarg.h>
#include <stdio.h>
#include <time.h>

#define SECOND_US 250000 /* How often the node looks after the cluster … */
#define BUSY_US 25000    /* … and while members of groups change. */
#define HAND_OVER_US 1000000

void stele_member__log(struct stele_member *member, enum stele_server_log level, const char *format,
                       ...)
{
    char text[512];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(text, sizeof text, format, args);
    va_end(args);
    if (member->config.on_log != NULL) {
        member->config.on_log(member->config.context, level, text);
    }
}

int64_t stele_member__now_us(struct stele_member *member)
{
    return stele_loop_now_us(member->base);
}

int stele_member__send(struct stele_member *member, uint64_t node, enum stele_peers_lane lane,
                       uint8_t kind, struct stele_bytes body)
{
    const uint8_t header[STELE_MEMBER__HEADER] = {kind, 1};
    const struct stele_bytes parts[] = {{.data = header, .size = sizeof header}, body};
    return stele_peers_send_parts(member->peers, node, lane, parts, body.size > 0 ? 2 : 1);
}

static void close_replica(struct stele_member *member);

void stele_member__stop_part(struct stele_member *member, const char *format, ...)
{
    if (member->stopped) {
        return;
    }
    va_list args;
    va_start(args, format);
    (void)vsnprintf(member->stopped_why, sizeof member->stopped_why, format, args);
    va_end(args);
    member->stopped = true;
    stele_member__log(member, STELE_SERVER_ERROR, "this node stops taking part in the cluster: %s",
                      member->stopped_why);
    (void)pthread_mutex_lock(&member->inbox_lock);
    member->closed = true;
    (void)pthread_mutex_unlock(&member->inbox_lock);
    stele_member__asks_end(member);
    close_replica(member);
    stele_member__view_refresh(member);
}

static void close_replica(struct stele_member *member)
{
    stele_member__writer_drain(member);
    stele_replica_close(member->replica); /* Gives everything up that clients wait for. */
    member->replica = NULL;
}

/* ---- Room -------------------------------------------------------------------------------------- */

bool stele_member__is_full(struct stele_member *member)
{
    return atomic_load(&member->log_full) || atomic_load(&member->store_full);
}

bool stele_member__is_full_there(struct stele_member *member, uint64_t number)
{
    const struct stele_member__seen *seen = stele_member__seen_of(member, number);
    return number == member->identity.number ? stele_member__is_full(member)
                                             : seen != NULL && seen->is_full;
}

/* A node whose disk is full gives away what it leads and takes nothing from clients, and goes on by itself. */
static void tell_full(struct stele_member *member)
{
    const bool is_full = stele_member__is_full(member);
    if (is_full == member->full_told) {
        return;
    }
    member->full_told = is_full;
    if (is_full) {
        stele_member__log(member, STELE_SERVER_ERROR,
                          "the disk is full: this node stores and leads nothing until there is "
                          "room; make some, it goes on by itself");
    } else {
        stele_member__log(member, STELE_SERVER_INFO, "there is room on the disk again");
    }
}

/* ---- A turn ----------------------------------------------------------------------------------- */

static void run_turn(struct stele_task *task)
{
    struct stele_member *member =
        (struct stele_member *)(void *)((uint8_t *)task - offsetof(struct stele_member, turn_task));
    member->turn_posted = false;
    if (member->replica == NULL) {
        return;
    }
    if (atomic_load(&member->failed) != STELE_OK) {
        stele_member__stop_part(member, "%s", member->failure.message);
        return;
    }
    struct stele_error err = {.outcome = STELE_OK};
    stele_replica_executed(member->replica, stele_member__executed(member));
    if (stele_replica_turn(member->replica, stele_member__now_us(member), &err) != STELE_OK) {
        stele_member__stop_part(member, "%s", err.message);
        return;
    }
    const bool was_full = atomic_load(&member->log_full);
    const bool is_full = stele_raft_is_full(stele_replica_raft(member->replica));
    if (is_full != was_full) {
        atomic_store(&member->log_full, is_full);
        /* At once, because what it leads stands still. */
        member->base->ops->timer_start(member->base, &member->second_timer,
                                       stele_member__now_us(member));
    }
    stele_member__writes_work(member);
    stele_member__asks_work(member);
    stele_member__fetch_work(member);
    member->base->ops->timer_start(member->base, &member->turn_timer,
                                   stele_replica_due_us(member->replica));
}

void stele_member__want_turn(struct stele_member *member)
{
    if (!member->turn_posted) {
        member->turn_posted = true;
        stele_loop_post(member->base, &member->turn_task);
    }
}

static void on_turn_due(struct stele_timer *timer)
{
    stele_member__want_turn(
        (struct stele_member *)(void *)((uint8_t *)timer -
                                        offsetof(struct stele_member, turn_timer)));
}

static void on_second(struct stele_timer *timer)
{
    struct stele_member *member =
        (struct stele_member *)(void *)((uint8_t *)timer -
                                        offsetof(struct stele_member, second_timer));
    tell_full(member);
    if (member->replica != NULL) {
        stele_member__load_work(member);
        stele_member__send_status(member);
        stele_member__look_after(member);
        stele_member__send_hashes(member);
    }
    stele_member__view_refresh(member);
    const int64_t next_us = member->busy ? BUSY_US : SECOND_US;
    member->base->ops->timer_start(member->base, timer, stele_member__now_us(member) + next_us);
    stele_member__want_turn(member);
}

/* ---- What the replica asks for ------------------------------------------------------------------ */

static int64_t wall_us(void *context)
{
    const struct stele_member *member = context;
    return member->base->ops->wall_us(member->base);
}

static void send_message(void *context, uint64_t node, struct stele_bytes message)
{
    struct stele_member *member = context;
    const int outcome = stele_peers_send(member->peers, node, STELE_PEERS_CONTROL, message);
    (void)outcome; /* What is lost is sent again. */
}

static void give_up(void *context, struct stele_proposal *own, int outcome, const char *words)
{
    (void)context;
    struct stele_member__request *request =
        (struct stele_member__request *)(void *)((uint8_t *)own -
                                                 offsetof(struct stele_member__request, proposal));
    const struct stele_append_result result = {.failed = 0};
    stele_member__answer(request, outcome, &result, words);
}

static void on_changed(void *context, uint32_t group)
{
    struct stele_member *member = context;
    const uint64_t leader = stele_replica_leader(member->replica, group);
    if (leader != 0 && leader != member->group_leaders[group]) {
        member->group_leaders[group] = leader;
        member->elections++;
        member->elected_us = stele_member__now_us(member);
    }
    if (group == stele_replica_meta_group(member->replica) && leader != member->meta_leader) {
        member->meta_leader = leader;
        stele_member__view_refresh(member);
    }
}

static const struct stele_replica_env replica_env = {
    .wall_us = wall_us,
    .send = send_message,
    .execute = stele_member__execute,
    .give_up = give_up,
    .fetch = stele_member__fetch,
    .meta = stele_member__on_meta,
    .meta_installed = stele_member__on_meta_installed,
    .changed = on_changed,
};

/* ---- Up --------------------------------------------------------------------------------------- */

static int open_replica(struct stele_member *member, struct stele_error *err)
{
    char path[4096];
    (void)snprintf(path, sizeof path, "%s/cluster/wal", member->config.store_path);
    int outcome = stele_linux_io_open(path, true, false, member->alloc, &member->wal_io, err);
    if (outcome != STELE_OK) {
        return outcome;
    }
    const uint64_t founder = member->identity.number;
    struct stele_replica_options options = stele_replica_options_default();
    memcpy(options.raft.wal.owner_id, member->identity.incarnation, 16);
    memcpy(&options.raft.wal.secret, member->identity.incarnation, sizeof options.raft.wal.secret);
    options.raft.node = member->identity.number;
    options.raft.founders = member->identity.founder ? &founder : NULL;
    options.raft.founders_count = member->identity.founder ? 1 : 0;
    options.raft.seed = member->boot;
    if (member->config.election_ms > 0) {
        options.raft.election_ms = member->config.election_ms;
    }
    if (member->config.heartbeat_ms > 0) {
        options.raft.heartbeat_ms = member->config.heartbeat_ms;
    }
    options.partitions = member->identity.partitions;
    options.boot = member->boot;
    struct stele_client_ordered ordered;
    stele_client_ordered(member->store, &ordered);
    options.executed = ordered.stamp_durable;
    options.catching_up = ordered.is_catching_up;
    atomic_store(&member->durable, options.executed);
    member->visible = options.executed;
    outcome = stele_replica_open(member->wal_io, &options, &replica_env, member,
                                 stele_member__now_us(member), &member->replica, err);
    if (outcome == STELE_OK) {
        struct stele_replica_counts counts;
        stele_replica_counts(member->replica, &counts);
        stele_hashes_begin(&member->hashes, counts.seen);
    }
    return outcome;
}

/* Counted durably before it says a word. What the table knows of earlier starts it has to know as well, so a copy of
 * this disk that is started again is noticed, however often it is started. */
static int count_start(struct stele_member *member, struct stele_error *err)
{
    struct stele_identity *identity = &member->identity;
    const struct stele_meta_node *own = stele_meta_find(member->meta, identity->number);
    if (own != NULL) {
        stele_meta_past_found(&identity->past, own->starts, own->boot);
    }
    identity->starts++;
    member->boot = identity->starts << 32 | (member->boot & UINT32_MAX);
    if (!stele_meta_past_add(&identity->past, identity->starts, member->boot)) {
        stele_member__log(
            member, STELE_SERVER_WARNING,
            "none of the last %d starts of this node has reached the cluster: it goes "
            "by the last one of them",
            STELE_META_PAST_MAX);
    }
    return stele_identity_write(member->config.store_path, identity, err);
}

int stele_member_create(const struct stele_member_config *config,
                        const struct stele_identity *identity, struct stele *store,
                        struct stele_engine *embedded, struct stele_alloc *alloc,
                        struct stele_member **out_member, struct stele_error *err)
{
    struct stele_member *member = stele_allocate_zeroed(alloc, sizeof *member);
    if (member == NULL) {
        return stele_fail(err, STELE_E_NO_MEMORY, 0, "cluster: no memory");
    }
    member->engine.ops = &stele_member__engine_ops;
    member->cluster.ops = &stele_member__cluster_ops;
    member->config = *config;
    member->identity = *identity;
    member->alloc = alloc;
    member->store = store;
    member->embedded = embedded;
    member->inbox_last = &member->inbox_first;
    member->execute_last = &member->execute_first;
    member->turn_task.run = run_turn;
    member->inbox_task.run = stele_member__run_inbox;
    member->turn_timer.on_due = on_turn_due;
    member->second_timer.on_due = on_second;
    member->next_ask = 1;
    member->next_fetch = 1;
    member->features = STELE_META_FEATURES & config->features;
    (void)snprintf(member->version, sizeof member->version, "%s", stele_version());
    (void)pthread_mutex_init(&member->inbox_lock, NULL);
    stele_member__writer_init(member);
    (void)pthread_mutex_init(&member->execute_lock, NULL);
    (void)pthread_cond_init(&member->execute_wanted, NULL);
    (void)pthread_cond_init(&member->execute_idle, NULL);
    (void)pthread_cond_init(&member->sync_wanted, NULL);
    (void)pthread_mutex_init(&member->view_lock, NULL);
    member->meta = stele_allocate_zeroed(alloc, sizeof *member->meta);
    member->group_leaders =
        stele_allocate_zeroed(alloc, (identity->partitions + 1) * sizeof(uint64_t));
    member->wanted_leaders = stele_allocate_zeroed(alloc, identity->partitions * sizeof(uint64_t));
    int outcome =
        member->meta == NULL || member->group_leaders == NULL || member->wanted_leaders == NULL
            ? STELE_E_NO_MEMORY
            : STELE_OK;
    if (outcome == STELE_OK) {
        stele_meta_init(member->meta);
        outcome = stele_linux_loop_create(alloc, &member->loop, err);
    }
    if (outcome == STELE_OK) {
        member->base = stele_linux_loop_base(member->loop);
        member->base->ops->random(member->base, &member->boot, sizeof member->boot);
        outcome = stele_member__view_create(member);
    }
    outcome = outcome == STELE_OK ? stele_member__load_create(member) : outcome;
    outcome = outcome == STELE_OK ? stele_member__table_read(member, err) : outcome;
    outcome = outcome == STELE_OK ? count_start(member, err) : outcome;
    outcome = outcome == STELE_OK ? stele_member__peers_create(member, err) : outcome;
    if (outcome == STELE_OK && member->meta->version > 0) {
        stele_member__peers_set(member);
    }
    outcome = outcome == STELE_OK ? open_replica(member, err) : outcome;
    if (outcome != STELE_OK) {
        stele_member_destroy(member);
        return outcome == STELE_E_NO_MEMORY ? stele_fail(err, outcome, 0, "cluster: no memory")
                                            : outcome;
    }
    *out_member = member;
    return STELE_OK;
}

static void *run_member(void *context)
{
    struct stele_member *member = context;
    stele_linux_loop_run(member->loop);
    return NULL;
}

int stele_member_start(struct stele_member *member, const char *client_address,
                       struct stele_error *err)
{
    const size_t size = strlen(client_address) + 1;
    member->client_address = stele_allocate(member->alloc, size);
    if (member->client_address == NULL) {
        return stele_fail(err, STELE_E_NO_MEMORY, 0, "cluster: no memory");
    }
    memcpy(member->client_address, client_address, size);
    stele_member__view_refresh(member);
    member->base->ops->timer_start(member->base, &member->second_timer,
                                   stele_member__now_us(member) + 1);
    int failed = stele_member__writer_start(member);
    failed = failed == 0 ? stele_member__executor_start(member) : failed;
    failed = failed == 0 ? pthread_create(&member->thread, NULL, run_member, member) : failed;
    member->has_thread = failed == 0;
    return failed == 0 ? STELE_OK
                       : stele_fail(err, STELE_E_NO_MEMORY, failed, "cluster: no more threads");
}

/* ---- Down ------------------------------------------------------------------------------------- */

/* A task that is waited for. */
struct waited {
    struct stele_task task;
    struct stele_member *member;
    pthread_mutex_t mutex;
    pthread_cond_t done;
    bool is_done;
    uint64_t led;
};

static void finish(struct waited *waited)
{
    (void)pthread_mutex_lock(&waited->mutex);
    waited->is_done = true;
    (void)pthread_cond_signal(&waited->done);
    (void)pthread_mutex_unlock(&waited->mutex);
}

static void run_hand_over(struct stele_task *task)
{
    struct waited *waited = (struct waited *)(void *)task;
    struct stele_member *member = waited->member;
    member->handing_over = true;
    waited->led = 0;
    if (member->replica != NULL) {
        stele_member__look_after(member);
        struct stele_raft_counts counts;
        stele_raft_counts(stele_replica_raft(member->replica), &counts);
        waited->led = counts.groups_led;
        stele_member__want_turn(member);
    }
    finish(waited);
}

static void run_end(struct stele_task *task)
{
    struct waited *waited = (struct waited *)(void *)task;
    struct stele_member *member = waited->member;
    (void)pthread_mutex_lock(&member->inbox_lock);
    member->closed = true;
    (void)pthread_mutex_unlock(&member->inbox_lock);
    stele_member__run_inbox(&member->inbox_task);
    stele_member__asks_end(member);
    stele_member__fetch_end(member);
    close_replica(member);
    stele_member__load_keep(member);
    member->base->ops->timer_stop(member->base, &member->turn_timer);
    member->base->ops->timer_stop(member->base, &member->second_timer);
    finish(waited);
}

static void do_and_wait(struct stele_member *member, struct waited *waited,
                        void (*run)(struct stele_task *task))
{
    waited->task = (struct stele_task){.run = run};
    waited->is_done = false;
    stele_loop_post(member->base, &waited->task);
    (void)pthread_mutex_lock(&waited->mutex);
    while (!waited->is_done) {
        (void)pthread_cond_wait(&waited->done, &waited->mutex);
    }
    (void)pthread_mutex_unlock(&waited->mutex);
}

void stele_member_stop(struct stele_member *member)
{
    if (member == NULL) {
        return;
    }
    stele_member__digests_end(member);
    if (member->has_thread) {
        struct waited waited = {
            .member = member, .mutex = PTHREAD_MUTEX_INITIALIZER, .done = PTHREAD_COND_INITIALIZER};
        for (int64_t waited_us = 0; waited_us < HAND_OVER_US; waited_us += 20000) {
            do_and_wait(member, &waited, run_hand_over);
            if (waited.led == 0) {
                break;
            }
            const struct timespec pause = {.tv_nsec = 20000000};
            (void)nanosleep(&pause, NULL);
        }
        do_and_wait(member, &waited, run_end);
        stele_linux_loop_stop(member->loop);
        (void)pthread_join(member->thread, NULL);
        member->has_thread = false;
        stele_member__fetch_release(member);
    }
    stele_member__writer_stop(member);
    stele_member__executor_stop(member);
}

void stele_member_destroy(struct stele_member *member)
{
    if (member == NULL) {
        return;
    }
    stele_member_stop(member);
    stele_replica_close(member->replica);
    stele_peers_destroy(member->peers);
    stele_linux_io_close(member->wal_io);
    stele_linux_loop_destroy(member->loop);
    stele_member__view_destroy(member);
    if (member->client_address != NULL) {
        stele_release(member->alloc, member->client_address, strlen(member->client_address) + 1);
    }
    stele_member__load_destroy(member);
    stele_release(member->alloc, member->meta, sizeof *member->meta);
    stele_release(member->alloc, member->group_leaders,
                  (member->identity.partitions + 1) * sizeof(uint64_t));
    stele_release(member->alloc, member->wanted_leaders,
                  member->identity.partitions * sizeof(uint64_t));
    (void)pthread_mutex_destroy(&member->inbox_lock);
    stele_member__writer_deinit(member);
    (void)pthread_mutex_destroy(&member->execute_lock);
    (void)pthread_cond_destroy(&member->execute_wanted);
    (void)pthread_cond_destroy(&member->execute_idle);
    (void)pthread_cond_destroy(&member->sync_wanted);
    (void)pthread_mutex_destroy(&member->view_lock);
    stele_release(member->alloc, member, sizeof *member);
}

struct stele_engine *stele_member_engine(struct stele_member *member)
{
    return &member->engine;
}

struct stele_cluster *stele_member_cluster(struct stele_member *member)
{
    return &member->cluster;
}

int stele_member_reload(struct stele_member *member, struct stele_error *err)
{
    return stele_peers_reload(member->peers, err);
}
