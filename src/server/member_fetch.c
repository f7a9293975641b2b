/* Catching up with what others have executed: the newest appends of another node's store, copied.
 *
 *     this node                          the other one
 *     drain the executor
 *     FETCH after (stamp, position) ───▶ an export of what is durable there
 *                    ◀─── APPENDS ─────  as many chunks as there are credits
 *     append, MORE ────────────────────▶
 *                    ◀─── FETCHED ─────  everything up to this stamp
 *     durable: the replica goes on behind it
 *
 * Both sides read and append on a thread of their own; messages go over the lane BULK. */
#include "server/member_internal.h"

#include <stdio.h>
#include <time.h>

#define CREDITS 8
#define CHUNK_SIZE ((size_t)256 * 1024)
#define EXPORTS_MAX 4
#define SILENT_US 5000000
#define AGAIN_US 500000
#define NO_ROOM_US 10000000
#define FETCH_SIZE 32   /* id, stamp, position, credits */
#define MORE_SIZE 16    /* id, credits */
#define FETCHED_SIZE 24 /* id, through, outcome */

struct chunk {
    struct chunk *next;
    size_t size;
    uint8_t bytes[];
};

/* ---- This node fetches ---- */

struct stele_member__fetch {
    struct stele_member *member;
    uint64_t id, from, target;
    bool asked, ended; /* ended: by FETCHED, a failure, or the end of this node. */
    int64_t heard_us;
    uint64_t through;
    pthread_t thread;
    bool has_thread;
    struct stele_task task; /* The thread's, to the member thread. */
    pthread_mutex_t lock;
    pthread_cond_t wanted, pause;
    struct chunk *first, **last;
    bool no_more; /* FETCHED has come, or it is given up. */
    bool complete, stop;
    /* Told by the thread. */
    bool ready, done, task_posted;
    uint32_t appended; /* Since the last MORE. */
    uint64_t stamp, position;
    int outcome;
    struct stele_error err;
    uint64_t rate;         /* Bytes a second: others need the disks and processors, too. */
    struct timespec go_on; /* Not before this. The thread's, as the next. */
    uint64_t sizes[STELE_PARTITIONS_MAX]; /* Of what was copied. The thread's, until it is done. */
};

static void tell(struct stele_member__fetch *fetch)
{
    if (!fetch->task_posted) {
        fetch->task_posted = true;
        stele_loop_post(fetch->member->base, &fetch->task);
    }
}

/* Under the lock: waits as long as a chunk may take at this rate, since the last one began. */
static void pace(struct stele_member__fetch *fetch, size_t size)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_REALTIME, &now);
    if (fetch->go_on.tv_sec > now.tv_sec + 1) {
        fetch->go_on = now; /* The clock was set back. */
    }
    const bool is_late = now.tv_sec > fetch->go_on.tv_sec ||
                         (now.tv_sec == fetch->go_on.tv_sec && now.tv_nsec >= fetch->go_on.tv_nsec);
    while (!is_late && !fetch->stop &&
           pthread_cond_timedwait(&fetch->pause, &fetch->lock, &fetch->go_on) == 0) {
    }
    struct timespec *const next = &fetch->go_on;
    *next = is_late ? now : *next;
    const uint64_t ns = (uint64_t)size * 1000000000 / fetch->rate;
    next->tv_nsec += (long)(ns < 900000000 ? ns : 900000000);
    next->tv_sec += next->tv_nsec / 1000000000;
    next->tv_nsec %= 1000000000;
}

static int append_chunks(struct stele_member__fetch *fetch, struct stele_client_copy *copy)
{
    struct stele_alloc *alloc = fetch->member->alloc;
    int outcome = STELE_OK;
    (void)pthread_mutex_lock(&fetch->lock);
    for (;;) {
        struct chunk *chunk = fetch->first;
        if (chunk == NULL && !fetch->no_more && !fetch->stop) {
            (void)pthread_cond_wait(&fetch->wanted, &fetch->lock);
            continue;
        }
        if (chunk == NULL) {
            break;
        }
        fetch->first = chunk->next;
        fetch->last = fetch->first == NULL ? &fetch->first : fetch->last;
        if (!fetch->stop && outcome == STELE_OK) {
            pace(fetch, chunk->size);
        }
        const bool skip = fetch->stop || outcome != STELE_OK;
        (void)pthread_mutex_unlock(&fetch->lock);
        if (!skip) {
            const struct stele_bytes bytes = {.data = chunk->bytes, .size = chunk->size};
            outcome = stele_client_copy_append(copy, bytes, &fetch->err);
            if (outcome == STELE_OK) {
                stele_client_copy_sizes(copy, fetch->sizes);
            }
        }
        stele_release(alloc, chunk, sizeof *chunk + chunk->size);
        (void)pthread_mutex_lock(&fetch->lock);
        fetch->appended++;
        tell(fetch);
        if (outcome != STELE_OK) {
            fetch->stop = true;
        }
    }
    (void)pthread_mutex_unlock(&fetch->lock);
    return outcome;
}

static void *run_fetch(void *context)
{
    struct stele_member__fetch *fetch = context;
    struct stele_member *member = fetch->member;
    struct stele_client_copy *copy = NULL;
    stele_member__executor_drain(member);
    int outcome = stele_client_copy_begin(member->store, &copy, &fetch->err);
    if (outcome == STELE_OK) {
        struct stele_client_ordered ordered;
        stele_client_ordered(member->store, &ordered);
        (void)pthread_mutex_lock(&fetch->lock);
        fetch->stamp = ordered.stamp_durable;
        fetch->position = ordered.position_durable;
        fetch->ready = true;
        tell(fetch);
        (void)pthread_mutex_unlock(&fetch->lock);
        outcome = append_chunks(fetch, copy);
        const bool complete = outcome == STELE_OK && fetch->complete && !fetch->stop;
        const int ended = stele_client_copy_end(copy, complete, &fetch->err);
        outcome = outcome == STELE_OK ? ended : outcome;
        outcome = outcome == STELE_OK && !complete ? STELE_INCOMPLETE : outcome;
    }
    (void)pthread_mutex_lock(&fetch->lock);
    fetch->outcome = outcome;
    fetch->done = true;
    tell(fetch);
    (void)pthread_mutex_unlock(&fetch->lock);
    return NULL;
}

static void send_more(struct stele_member__fetch *fetch, uint32_t credits)
{
    uint8_t bytes[MORE_SIZE] = {0};
    stele_store_u64le(bytes, fetch->id);
    stele_store_u32le(bytes + 8, credits);
    const struct stele_bytes body = {.data = bytes, .size = sizeof bytes};
    (void)stele_member__send(fetch->member, fetch->from, STELE_PEERS_BULK, STELE_MEMBER__MORE,
                             body);
}

static void send_fetch(struct stele_member__fetch *fetch)
{
    uint8_t bytes[FETCH_SIZE] = {0};
    stele_store_u64le(bytes, fetch->id);
    stele_store_u64le(bytes + 8, fetch->stamp);
    stele_store_u64le(bytes + 16, fetch->position);
    stele_store_u32le(bytes + 24, CREDITS);
    const struct stele_bytes body = {.data = bytes, .size = sizeof bytes};
    if (stele_member__send(fetch->member, fetch->from, STELE_PEERS_BULK, STELE_MEMBER__FETCH,
                           body) == STELE_OK) {
        fetch->asked = true;
        fetch->heard_us = stele_member__now_us(fetch->member);
    }
}

static void release(struct stele_member__fetch *fetch)
{
    struct stele_member *member = fetch->member;
    if (fetch->has_thread) {
        (void)pthread_join(fetch->thread, NULL);
    }
    while (fetch->first != NULL) {
        struct chunk *next = fetch->first->next;
        stele_release(member->alloc, fetch->first, sizeof *fetch->first + fetch->first->size);
        fetch->first = next;
    }
    (void)pthread_mutex_destroy(&fetch->lock);
    (void)pthread_cond_destroy(&fetch->wanted);
    (void)pthread_cond_destroy(&fetch->pause);
    stele_release(member->alloc, fetch, sizeof *fetch);
}

static void give_up(struct stele_member__fetch *fetch)
{
    (void)pthread_mutex_lock(&fetch->lock);
    fetch->stop = true;
    fetch->no_more = true;
    (void)pthread_cond_signal(&fetch->wanted);
    (void)pthread_cond_signal(&fetch->pause);
    (void)pthread_mutex_unlock(&fetch->lock);
}

static void on_told(struct stele_task *task)
{
    struct stele_member__fetch *fetch =
        (struct stele_member__fetch *)(void *)((uint8_t *)task -
                                               offsetof(struct stele_member__fetch, task));
    struct stele_member *member = fetch->member;
    (void)pthread_mutex_lock(&fetch->lock);
    fetch->task_posted = false;
    const bool ready = fetch->ready;
    const bool done = fetch->done;
    const uint32_t appended = fetch->appended;
    fetch->appended = 0;
    (void)pthread_mutex_unlock(&fetch->lock);
    if (done) {
        const int outcome = fetch->outcome;
        const uint64_t through = fetch->through;
        if (outcome == STELE_OK) {
            stele_member__log(member, STELE_SERVER_INFO,
                              "caught up with what node %llu has executed",
                              (unsigned long long)fetch->from);
        } else if (!member->stopped && outcome != STELE_INCOMPLETE) {
            stele_member__log(member, STELE_SERVER_WARNING, "catching up failed: %s",
                              fetch->err.message);
        }
        for (uint32_t i = 0; i < member->identity.partitions; i++) {
            stele_load_copied(&member->load->seen, i, fetch->sizes[i]);
        }
        member->fetch = NULL;
        member->fetch_again_us = stele_member__now_us(member) + AGAIN_US;
        release(fetch);
        if (member->replica != NULL) {
            if (outcome == STELE_OK) {
                member->installs++;
                stele_member__executor_at(member, through);
                stele_replica_fetched(member->replica, through);
            }
            stele_member__want_turn(member);
        }
        return;
    }
    if (ready && !fetch->asked) {
        send_fetch(fetch);
    } else if (appended > 0) {
        fetch->heard_us = stele_member__now_us(member);
        send_more(fetch, appended);
    }
}

static void begin(struct stele_member *member, uint64_t from, uint64_t stamp)
{
    struct stele_member__fetch *fetch = stele_allocate_zeroed(member->alloc, sizeof *fetch);
    if (fetch == NULL) {
        return; /* Again later. */
    }
    fetch->member = member;
    fetch->id = member->next_fetch++;
    fetch->from = from;
    fetch->target = stamp;
    fetch->rate = stele_plan_copy_rate(member->meta);
    fetch->last = &fetch->first;
    fetch->task.run = on_told;
    fetch->heard_us = stele_member__now_us(member);
    (void)pthread_mutex_init(&fetch->lock, NULL);
    (void)pthread_cond_init(&fetch->wanted, NULL);
    (void)pthread_cond_init(&fetch->pause, NULL);
    if (pthread_create(&fetch->thread, NULL, run_fetch, fetch) != 0) {
        release(fetch);
        return;
    }
    fetch->has_thread = true;
    member->fetch = fetch;
    stele_member__log(member, STELE_SERVER_INFO, "catching up with node %llu",
                      (unsigned long long)from);
}

/* Somebody who lives, and another one each time. */
static uint64_t another(struct stele_member *member)
{
    const size_t count = member->meta->nodes_count;
    for (size_t i = 0; i < count; i++) {
        member->fetch_turn = (member->fetch_turn + 1) % count;
        const uint64_t number = member->meta->nodes[member->fetch_turn].number;
        if (number != member->identity.number && stele_member__is_alive(member, number)) {
            return number;
        }
    }
    return 0;
}

void stele_member__fetch(void *context, uint64_t from, uint64_t stamp)
{
    struct stele_member *member = context;
    member->fetch_from = from;
    member->fetch_stamp = stamp;
    member->fetch_wanted = true;
}

/* A disk that would fill up on the way would help nobody: it waits, and says why. */
static bool has_room(struct stele_member *member, int64_t now_us)
{
    const uint64_t needed = stele_member__bytes_missing(member, member->identity.number);
    if (member->load->free == 0 || member->load->free > needed) {
        return true;
    }
    member->fetch_again_us = now_us + NO_ROOM_US;
    stele_member__log(member, STELE_SERVER_ERROR,
                      "catching up waits: the disk has %llu MiB free, and %llu MiB are needed; "
                      "make room, it goes on by itself",
                      (unsigned long long)(member->load->free >> 20),
                      (unsigned long long)(needed >> 20));
    return false;
}

void stele_member__fetch_work(struct stele_member *member)
{
    const int64_t now_us = stele_member__now_us(member);
    struct stele_replica_counts counts;
    stele_replica_counts(member->replica, &counts);
    member->fetch_wanted = member->fetch_wanted && counts.fetching;
    if (member->fetch != NULL) {
        if (!member->fetch->asked && member->fetch->ready) {
            send_fetch(member->fetch);
        }
        if (now_us - member->fetch->heard_us > SILENT_US && !member->fetch->ended) {
            member->fetch->ended = true;
            give_up(member->fetch);
        }
        return;
    }
    if (member->fetch_wanted && now_us >= member->fetch_again_us) {
        const uint64_t from =
            stele_member__is_alive(member, member->fetch_from) && member->fetch_from != 0
                ? member->fetch_from
                : another(member);
        member->fetch_from = 0; /* Should it fail, somebody else is asked. */
        if (from != 0 && has_room(member, now_us)) {
            begin(member, from, member->fetch_stamp);
        }
    }
}

static void on_appends(struct stele_member *member, uint64_t from, struct stele_bytes body)
{
    struct stele_member__fetch *fetch = member->fetch;
    if (fetch == NULL || body.size < 8 || stele_load_u64le(body.data) != fetch->id ||
        fetch->from != from || fetch->ended) {
        return;
    }
    fetch->heard_us = stele_member__now_us(member);
    struct chunk *chunk = stele_allocate(member->alloc, sizeof *chunk + body.size - 8);
    if (chunk == NULL) {
        fetch->ended = true;
        give_up(fetch);
        return;
    }
    *chunk = (struct chunk){.size = body.size - 8};
    memcpy(chunk->bytes, body.data + 8, chunk->size);
    (void)pthread_mutex_lock(&fetch->lock);
    *fetch->last = chunk;
    fetch->last = &chunk->next;
    (void)pthread_cond_signal(&fetch->wanted);
    (void)pthread_mutex_unlock(&fetch->lock);
}

static void on_fetched(struct stele_member *member, uint64_t from, struct stele_bytes body)
{
    struct stele_member__fetch *fetch = member->fetch;
    if (fetch == NULL || body.size != FETCHED_SIZE || stele_load_u64le(body.data) != fetch->id ||
        fetch->from != from || fetch->ended) {
        return;
    }
    fetch->ended = true;
    const int outcome = (int)stele_load_u32le(body.data + 16);
    (void)pthread_mutex_lock(&fetch->lock);
    fetch->through = stele_load_u64le(body.data + 8);
    fetch->complete = outcome == STELE_OK;
    fetch->no_more = true;
    (void)pthread_cond_signal(&fetch->wanted);
    (void)pthread_mutex_unlock(&fetch->lock);
}

/* ---- Others fetch from this node ---- */

struct stele_member__export {
    struct stele_member__export *next;
    struct stele_member *member;
    uint64_t node, id;
    uint64_t stamp, position;
    uint64_t through;
    pthread_t thread;
    bool has_thread;
    struct stele_task task;
    pthread_mutex_t lock;
    pthread_cond_t wanted;
    uint32_t credits;
    bool stop;
    /* Told by the thread. */
    struct stele_bytes chunk; /* Until it is taken. */
    bool has_chunk, done, task_posted;
    int outcome;
};

static void tell_export(struct stele_member__export *export)
{
    if (!export->task_posted) {
        export->task_posted = true;
        stele_loop_post(export->member->base, &export->task);
    }
}

/* Hands one chunk over, and waits until it is on its way. false: to stop. */
static bool hand_over(struct stele_member__export *export, struct stele_bytes chunk)
{
    (void)pthread_mutex_lock(&export->lock);
    while (export->credits == 0 && !export->stop) {
        (void)pthread_cond_wait(&export->wanted, &export->lock);
    }
    if (!export->stop) {
        export->credits--;
        export->chunk = chunk;
        export->has_chunk = true;
        tell_export(export);
    }
    while (export->has_chunk && !export->stop) {
        (void)pthread_cond_wait(&export->wanted, &export->lock);
    }
    const bool go_on = !export->stop;
    (void)pthread_mutex_unlock(&export->lock);
    return go_on;
}

static void *run_export(void *context)
{
    struct stele_member__export *export = context;
    struct stele_member *member = export->member;
    struct stele_export *from = NULL;
    struct stele_error err = {.outcome = STELE_OK};
    int outcome =
        stele_client_export_begin(member->store, export->stamp, export->position, &from, &err);
    if (outcome == STELE_OK) {
        const uint64_t last = stele_export_stamp(from);
        export->through = last > export->through ? last : export->through;
        struct stele_bytes chunk = {.data = NULL};
        bool go_on = true;
        while (go_on && (outcome = stele_export_next(from, CHUNK_SIZE, &chunk, &err)) == STELE_OK) {
            go_on = hand_over(export, chunk);
        }
        outcome = outcome == STELE_END  ? STELE_OK
                  : outcome == STELE_OK ? STELE_INCOMPLETE
                                        : outcome;
        stele_client_export_end(member->store, from);
    }
    (void)pthread_mutex_lock(&export->lock);
    export->outcome = outcome;
    export->done = true;
    tell_export(export);
    (void)pthread_mutex_unlock(&export->lock);
    return NULL;
}

static void release_export(struct stele_member__export *export)
{
    struct stele_member *member = export->member;
    struct stele_member__export **at = &member->exports;
    while (*at != NULL && *at != export) {
        at = &(*at)->next;
    }
    if (*at == export) {
        *at = export->next;
    }
    if (export->has_thread) {
        (void)pthread_join(export->thread, NULL);
    }
    (void)pthread_mutex_destroy(&export->lock);
    (void)pthread_cond_destroy(&export->wanted);
    stele_release(member->alloc, export, sizeof *export);
}

static void stop_export(struct stele_member__export *export)
{
    (void)pthread_mutex_lock(&export->lock);
    export->stop = true;
    (void)pthread_cond_signal(&export->wanted);
    (void)pthread_mutex_unlock(&export->lock);
}

static void send_chunk(struct stele_member__export *export)
{
    struct stele_member *member = export->member;
    const uint8_t header[STELE_MEMBER__HEADER] = {STELE_MEMBER__APPENDS, 1};
    uint8_t id[8];
    stele_store_u64le(id, export->id);
    const struct stele_bytes parts[] = {
        {.data = header, .size = sizeof header}, {.data = id, .size = sizeof id}, export->chunk};
    const int outcome =
        stele_peers_send_parts(member->peers, export->node, STELE_PEERS_BULK, parts, 3);
    if (outcome == STELE_E_OVERLOADED) {
        return; /* on_room() */
    }
    (void)pthread_mutex_lock(&export->lock);
    export->has_chunk = false;
    export->stop = export->stop || outcome != STELE_OK;
    (void)pthread_cond_signal(&export->wanted);
    (void)pthread_mutex_unlock(&export->lock);
}

static void on_export_told(struct stele_task *task)
{
    struct stele_member__export *export =
        (struct stele_member__export *)(void *)((uint8_t *)task -
                                                offsetof(struct stele_member__export, task));
    struct stele_member *member = export->member;
    (void)pthread_mutex_lock(&export->lock);
    export->task_posted = false;
    const bool has_chunk = export->has_chunk;
    const bool done = export->done;
    (void)pthread_mutex_unlock(&export->lock);
    if (done) {
        uint8_t bytes[FETCHED_SIZE] = {0};
        stele_store_u64le(bytes, export->id);
        stele_store_u64le(bytes + 8, export->through);
        stele_store_u32le(bytes + 16, (uint32_t) export->outcome);
        const struct stele_bytes body = {.data = bytes, .size = sizeof bytes};
        /* Lost, or no room: who fetches hears nothing for a while, and asks again. */
        (void)stele_member__send(member, export->node, STELE_PEERS_BULK, STELE_MEMBER__FETCHED,
                                 body);
        release_export(export);
    } else if (has_chunk) {
        send_chunk(export);
    }
}

static void on_fetch(struct stele_member *member, uint64_t from, struct stele_bytes body)
{
    if (body.size != FETCH_SIZE) {
        return;
    }
    size_t count = 0;
    for (struct stele_member__export *old = member->exports; old != NULL; old = old->next) {
        count++;
        if (old->node == from) {
            stop_export(old); /* It asks anew. */
        }
    }
    struct stele_member__export *export =
        count >= EXPORTS_MAX ? NULL : stele_allocate_zeroed(member->alloc, sizeof *export);
    if (export == NULL) {
        return;
    }
    struct stele_replica_counts counts;
    stele_replica_counts(member->replica, &counts);
    export->member = member;
    export->node = from;
    export->id = stele_load_u64le(body.data);
    export->stamp = stele_load_u64le(body.data + 8);
    export->position = stele_load_u64le(body.data + 16);
    export->credits = stele_load_u32le(body.data + 24);
    export->through = counts.durable;
    export->task.run = on_export_told;
    (void)pthread_mutex_init(&export->lock, NULL);
    (void)pthread_cond_init(&export->wanted, NULL);
    export->next = member->exports;
    member->exports = export;
    if (pthread_create(&export->thread, NULL, run_export, export) != 0) {
        release_export(export);
        return;
    }
    export->has_thread = true;
}

static void on_more(struct stele_member *member, uint64_t from, struct stele_bytes body)
{
    if (body.size != MORE_SIZE) {
        return;
    }
    for (struct stele_member__export *export = member->exports; export != NULL;
         export = export->next) {
        if (export->node == from && export->id == stele_load_u64le(body.data)) {
            (void)pthread_mutex_lock(&export->lock);
            export->credits += stele_load_u32le(body.data + 8) & 0xff;
            (void)pthread_cond_signal(&export->wanted);
            (void)pthread_mutex_unlock(&export->lock);
        }
    }
}

void stele_member__on_room(struct stele_member *member, uint64_t node)
{
    for (struct stele_member__export *export = member->exports; export != NULL;
         export = export->next) {
        (void)pthread_mutex_lock(&export->lock);
        const bool waits = export->node == node && export->has_chunk;
        (void)pthread_mutex_unlock(&export->lock);
        if (waits) {
            send_chunk(export);
        }
    }
}

/* ---- Both ---- */

void stele_member__on_bulk(struct stele_member *member, uint64_t from, struct stele_bytes message)
{
    const struct stele_bytes body =
        stele_bytes_slice(message, STELE_MEMBER__HEADER, message.size - STELE_MEMBER__HEADER);
    switch (message.data[0]) {
    case STELE_MEMBER__FETCH:
        on_fetch(member, from, body);
        break;
    case STELE_MEMBER__MORE:
        on_more(member, from, body);
        break;
    case STELE_MEMBER__APPENDS:
        on_appends(member, from, body);
        break;
    case STELE_MEMBER__FETCHED:
        on_fetched(member, from, body);
        break;
    default:
        break;
    }
}

void stele_member__fetch_end(struct stele_member *member)
{
    if (member->fetch != NULL) {
        give_up(member->fetch);
    }
    for (struct stele_member__export *export = member->exports; export != NULL;
         export = export->next) {
        stop_export(export);
    }
}

void stele_member__fetch_release(struct stele_member *member)
{
    if (member->fetch != NULL) {
        release(member->fetch);
        member->fetch = NULL;
    }
    while (member->exports != NULL) {
        release_export(member->exports);
    }
}
