/* The executor: gives commands to the store in their order, on a thread of its own, because the store may
 * have to wait (for a new segment, for an index that is being rebuilt) and elections must not. */
#include "base/checksum.h"
#include "server/member_internal.h"

#include <stdio.h>
#include <time.h>

#define SYNC_EVERY_NS 100000000

/* A command that was staged; its memory is the command's own from then on. */
struct executing {
    struct stele_member *member;
    struct stele_member__request *own;
    uint64_t stamp;
    uint64_t hash; /* Of the command. */
};

/* Readers that wait for what was staged before they asked. */
static struct stele_member__request *take_readers(struct stele_member *member, uint64_t stamp)
{
    struct stele_member__request *taken = NULL;
    struct stele_member__request **last = &taken;
    struct stele_member__request **at = &member->readers;
    while (*at != NULL) {
        struct stele_member__request *reader = *at;
        if (reader->after > stamp) {
            at = &reader->next;
            continue;
        }
        *at = reader->next;
        reader->next = NULL;
        *last = reader;
        last = &reader->next;
    }
    return taken;
}

static void answer_readers(struct stele_member__request *reader, int outcome)
{
    const struct stele_append_result none = {.failed = 0};
    while (reader != NULL) {
        struct stele_member__request *next = reader->next;
        stele_member__answer(reader, outcome, &none, NULL);
        reader = next;
    }
}

/* Under the lock. Commands up to this stamp have left in the store what they leave, where it can be read. */
static void note_visible(struct stele_member *member, uint64_t stamp)
{
    member->visible = stamp > member->visible ? stamp : member->visible;
    if (member->sync_idle) {
        member->sync_idle = false;
        (void)pthread_cond_signal(&member->sync_wanted);
    }
}

static void note_written(struct stele_member *member, uint64_t stamp, uint64_t hash, int outcome,
                         const struct stele_append_result *result)
{
    /* Completions come in the order of staging, one after the other. */
    (void)pthread_mutex_lock(&member->execute_lock);
    stele_hashes_add(&member->hashes, stamp, hash, outcome, result);
    note_visible(member, stamp);
    struct stele_member__request *readers = take_readers(member, stamp);
    if (--member->outstanding == 0) {
        (void)pthread_cond_broadcast(&member->execute_idle);
    }
    (void)pthread_mutex_unlock(&member->execute_lock);
    answer_readers(readers, STELE_OK);
}

static void fail(struct stele_member *member, int outcome, const struct stele_error *err)
{
    (void)pthread_mutex_lock(&member->execute_lock);
    if (atomic_load(&member->failed) == STELE_OK) {
        (void)stele_fail(&member->failure, outcome, err->os_errno,
                         "the store cannot execute what was decided: %s", err->message);
        atomic_store(&member->failed, outcome);
    }
    struct stele_member__request *readers = take_readers(member, UINT64_MAX);
    (void)pthread_cond_broadcast(&member->execute_idle);
    (void)pthread_mutex_unlock(&member->execute_lock);
    answer_readers(readers, STELE_E_CLOSED);
}

static void not_outstanding(struct stele_member *member)
{
    (void)pthread_mutex_lock(&member->execute_lock);
    member->outstanding--;
    (void)pthread_cond_broadcast(&member->execute_idle);
    (void)pthread_mutex_unlock(&member->execute_lock);
}

static void on_executed(void *context, int outcome, const struct stele_append_result *result)
{
    struct executing *executing = context;
    struct stele_member *member = executing->member;
    struct stele_member__request *own = executing->own;
    const uint64_t stamp = executing->stamp;
    const uint64_t hash = executing->hash;
    stele_release(member->alloc, executing, sizeof *executing);
    if (outcome == STELE_E_UNKNOWN || outcome == STELE_E_FENCED) {
        const struct stele_error err = {.outcome = outcome,
                                        .message = "a write to the store failed"};
        fail(member, outcome, &err);
        not_outstanding(member);
        if (own != NULL) {
            /* The others execute it all the same. */
            stele_member__answer(own, STELE_E_UNKNOWN, result,
                                 "this node cannot tell: its disk failed");
        }
        return;
    }
    if (own != NULL) {
        if (outcome == STELE_STORE_STALE) {
            stele_member__answer(own, STELE_E_OVERLOADED, result,
                                 "it was under way for so long that it has to be asked again");
        } else {
            stele_member__answer(own, outcome, result, NULL);
        }
    }
    note_written(member, stamp, hash, outcome, result);
}

/* ---- One command ---- */

static void end_nothing(struct stele_member *member, struct stele_member__request *own)
{
    if (own == NULL) {
        return;
    }
    (void)pthread_mutex_lock(&member->execute_lock);
    const bool wait = member->outstanding > 0;
    if (wait) {
        own->after = member->staged;
        own->next = member->readers;
        member->readers = own;
    }
    (void)pthread_mutex_unlock(&member->execute_lock);
    if (!wait) {
        own->next = NULL;
        answer_readers(own, STELE_OK);
    }
}

static int translate(const struct stele_command *from, uint64_t stamp,
                     struct stele_client_command *to)
{
    *to = (struct stele_client_command){
        .order = {.stamp = stamp, .seen = from->seen},
        .streams = from->streams,
        .streams_count = from->streams_count,
        .conditions = from->conditions,
        .conditions_count = from->conditions_count,
    };
    switch (from->kind) {
    case STELE_COMMAND_APPEND:
        to->kind = STELE_CLIENT_APPEND;
        return STELE_OK;
    case STELE_COMMAND_TOMBSTONE:
        to->kind = STELE_CLIENT_TOMBSTONE;
        break;
    case STELE_COMMAND_SOFT_DELETE:
        to->kind = STELE_CLIENT_DELETE;
        break;
    case STELE_COMMAND_NOTHING:
    default:
        return STELE_E_INVALID;
    }
    memcpy(to->id, from->streams[0].events[0].id, sizeof to->id);
    return STELE_OK;
}

static int stage(struct stele_member *member, struct executing *executing,
                 const struct stele_command *command, struct stele_error *err)
{
    struct stele_client_command client;
    struct stele_appending *appending = executing->own == NULL ? NULL : executing->own->appending;
    struct stele_append first;
    int outcome =
        command->streams == NULL ? STELE_E_INVALID : translate(command, executing->stamp, &client);
    if (outcome != STELE_OK) {
        return stele_fail(err, outcome, 0, "a command of a kind that is not known");
    }
    if (client.kind != STELE_CLIENT_APPEND) {
        first = command->streams[0];
        first.events = NULL;
        first.count = 0;
        client.streams = &first;
    }
    return stele_client_execute_stage(
        member->store, &client, appending == NULL ? NULL : appending->revisions_last,
        appending == NULL ? NULL : &appending->err, on_executed, executing, err);
}

/* The node waits with a full disk until there is room: it must not go on without this one. */
static bool may_wait(struct stele_member *member, int outcome)
{
    if (outcome != STELE_E_NO_SPACE && outcome != STELE_E_NO_MEMORY &&
        outcome != STELE_E_OVERLOADED) {
        return false;
    }
    (void)pthread_mutex_lock(&member->execute_lock);
    const bool stop = member->execute_stop;
    (void)pthread_mutex_unlock(&member->execute_lock);
    atomic_store(&member->store_full, outcome == STELE_E_NO_SPACE);
    const struct timespec pause = {.tv_nsec = outcome == STELE_E_NO_SPACE ? 200000000 : 1000000};
    stele_client_flush(member->store, false);
    (void)nanosleep(&pause, NULL);
    return !stop;
}

static void execute(struct stele_member *member, struct stele_ordered *ordered,
                    struct stele_arena *arena)
{
    struct stele_member__request *own = NULL;
    if (ordered->own != NULL) {
        own = (struct stele_member__request *)(void *)((uint8_t *)ordered->own -
                                                       offsetof(struct stele_member__request,
                                                                proposal));
    }
    struct stele_command command;
    struct stele_error err = {.outcome = STELE_OK};
    const struct stele_bytes bytes = {.data = ordered->bytes, .size = ordered->size};
    int outcome = stele_command_decode(bytes, arena, member->alloc, &command, &err);
    if (outcome == STELE_OK && command.kind == STELE_COMMAND_NOTHING) {
        end_nothing(member, own);
        return;
    }
    struct executing *executing = stele_allocate(member->alloc, sizeof *executing);
    if (executing == NULL && outcome == STELE_OK) {
        outcome = stele_fail(&err, STELE_E_NO_MEMORY, 0, "no memory");
    }
    if (executing != NULL && outcome != STELE_OK) {
        stele_release(member->alloc, executing, sizeof *executing);
    } else if (executing != NULL) {
        *executing = (struct executing){.member = member,
                                        .own = own,
                                        .stamp = ordered->stamp,
                                        .hash = stele_hash64(bytes, ordered->stamp)};
        (void)pthread_mutex_lock(&member->execute_lock);
        member->outstanding++;
        member->staged = ordered->stamp;
        (void)pthread_mutex_unlock(&member->execute_lock);
        do {
            outcome = stage(member, executing, &command, &err);
        } while (outcome != STELE_OK && may_wait(member, outcome));
        atomic_store(&member->store_full, false);
        if (outcome != STELE_OK) {
            not_outstanding(member);
            stele_release(member->alloc, executing, sizeof *executing);
        }
    }
    if (outcome != STELE_OK) {
        fail(member, outcome, &err);
        if (own != NULL) {
            const struct stele_append_result none = {.failed = 0};
            stele_member__answer(own, STELE_E_UNKNOWN, &none,
                                 "this node cannot tell: its store cannot execute it");
        }
    }
}

/* What comes after a failure is not executed here, and nobody is told that it was. */
static void drop(struct stele_member *member, struct stele_ordered *ordered)
{
    if (ordered->own != NULL) {
        struct stele_member__request *own =
            (struct stele_member__request *)(void *)((uint8_t *)ordered->own -
                                                     offsetof(struct stele_member__request,
                                                              proposal));
        const struct stele_append_result none = {.failed = 0};
        stele_member__answer(own, STELE_E_UNKNOWN, &none, "this node has stopped executing");
    }
    stele_ordered_release(member->alloc, ordered);
}

/* ---- The thread ---- */

static void *run_executor(void *context)
{
    struct stele_member *member = context;
    (void)pthread_mutex_lock(&member->execute_lock);
    for (;;) {
        struct stele_ordered *ordered = member->execute_first;
        if (ordered == NULL) {
            member->execute_busy = false;
            (void)pthread_cond_broadcast(&member->execute_idle);
            if (member->execute_stop) {
                break;
            }
            (void)pthread_cond_wait(&member->execute_wanted, &member->execute_lock);
            continue;
        }
        member->execute_busy = true;
        member->execute_first = NULL;
        member->execute_last = &member->execute_first;
        (void)pthread_mutex_unlock(&member->execute_lock);
        while (ordered != NULL) {
            struct stele_ordered *next = ordered->next;
            if (atomic_load(&member->failed) != STELE_OK) {
                drop(member, ordered);
            } else {
                struct stele_arena arena = {.block_size = 4096};
                execute(member, ordered, &arena);
                stele_arena_deinit(&arena, member->alloc);
                stele_ordered_release(member->alloc, ordered);
            }
            ordered = next;
        }
        stele_client_execute_flush(member->store);
        (void)pthread_mutex_lock(&member->execute_lock);
    }
    (void)pthread_mutex_unlock(&member->execute_lock);
    return NULL;
}

/* ---- Syncing ---- */

/* What was executed is answered when it can be read; that it survives a power cut is the WAL's to say, which a
 * majority has synced. So the store is synced now and then, and only then may the WAL forget (K7). */
static void *run_syncer(void *context)
{
    struct stele_member *member = context;
    (void)pthread_mutex_lock(&member->execute_lock);
    while (!member->sync_stop) {
        const uint64_t stamp = member->visible;
        if (stamp <= atomic_load(&member->durable) || atomic_load(&member->failed) != STELE_OK) {
            member->sync_idle = true;
            (void)pthread_cond_wait(&member->sync_wanted, &member->execute_lock);
            continue;
        }
        (void)pthread_mutex_unlock(&member->execute_lock);
        struct stele_error err = {.outcome = STELE_OK};
        const int outcome = stele_client_sync(member->store, &err);
        if (outcome != STELE_OK) {
            fail(member, outcome, &err);
        }
        (void)pthread_mutex_lock(&member->execute_lock);
        if (outcome == STELE_OK && stamp > atomic_load(&member->durable)) {
            atomic_store(&member->durable, stamp);
        }
        struct timespec until;
        (void)clock_gettime(CLOCK_REALTIME, &until);
        until.tv_nsec += SYNC_EVERY_NS;
        until.tv_sec += until.tv_nsec / 1000000000;
        until.tv_nsec %= 1000000000;
        if (!member->sync_stop) {
            (void)pthread_cond_timedwait(&member->sync_wanted, &member->execute_lock, &until);
        }
    }
    (void)pthread_mutex_unlock(&member->execute_lock);
    return NULL;
}

void stele_member__execute(void *context, struct stele_ordered *command)
{
    struct stele_member *member = context;
    stele_load_add(&member->load->seen, stele_position_partition(command->stamp), command->size);
    command->next = NULL;
    (void)pthread_mutex_lock(&member->execute_lock);
    member->given = command->stamp;
    *member->execute_last = command;
    member->execute_last = &command->next;
    if (!member->execute_busy) {
        member->execute_busy = true;
        (void)pthread_cond_signal(&member->execute_wanted);
    }
    (void)pthread_mutex_unlock(&member->execute_lock);
}

uint64_t stele_member__executed(struct stele_member *member)
{
    (void)pthread_mutex_lock(&member->execute_lock);
    const bool idle = member->execute_first == NULL && !member->execute_busy &&
                      member->outstanding == 0 && member->given > member->visible;
    if (idle && atomic_load(&member->failed) == STELE_OK) {
        note_visible(member, member->given); /* The last ones changed nothing. */
    }
    const uint64_t durable = atomic_load(&member->durable);
    (void)pthread_mutex_unlock(&member->execute_lock);
    return durable;
}

void stele_member__executor_at(struct stele_member *member, uint64_t stamp)
{
    (void)pthread_mutex_lock(&member->execute_lock);
    if (stamp > atomic_load(&member->durable)) {
        atomic_store(&member->durable, stamp);
    }
    member->visible = stamp > member->visible ? stamp : member->visible;
    member->given = stamp > member->given ? stamp : member->given;
    stele_hashes_begin(&member->hashes, stamp);
    (void)pthread_mutex_unlock(&member->execute_lock);
}

void stele_member__executor_drain(struct stele_member *member)
{
    (void)pthread_mutex_lock(&member->execute_lock);
    while (member->execute_first != NULL || member->execute_busy ||
           (member->outstanding > 0 && atomic_load(&member->failed) == STELE_OK)) {
        (void)pthread_cond_wait(&member->execute_idle, &member->execute_lock);
    }
    (void)pthread_mutex_unlock(&member->execute_lock);
}

int stele_member__executor_start(struct stele_member *member)
{
    int failed = pthread_create(&member->executor, NULL, run_executor, member);
    member->has_executor = failed == 0;
    failed = failed == 0 ? pthread_create(&member->syncer, NULL, run_syncer, member) : failed;
    member->has_syncer = failed == 0;
    return failed;
}

void stele_member__executor_stop(struct stele_member *member)
{
    if (!member->has_executor) {
        return;
    }
    (void)pthread_mutex_lock(&member->execute_lock);
    member->execute_stop = true;
    (void)pthread_cond_signal(&member->execute_wanted);
    (void)pthread_mutex_unlock(&member->execute_lock);
    (void)pthread_join(member->executor, NULL);
    member->has_executor = false;
    /* Completions that are on their way name this member. */
    (void)pthread_mutex_lock(&member->execute_lock);
    while (member->outstanding > 0 && atomic_load(&member->failed) == STELE_OK) {
        (void)pthread_cond_wait(&member->execute_idle, &member->execute_lock);
    }
    member->sync_stop = true;
    (void)pthread_cond_signal(&member->sync_wanted);
    (void)pthread_mutex_unlock(&member->execute_lock);
    if (member->has_syncer) {
        (void)pthread_join(member->syncer, NULL);
        member->has_syncer = false;
    }
}
