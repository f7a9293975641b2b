/* Writing the WAL. One write at a time: what is staged meanwhile goes with the next one, because several small ones
 * one after the other take the disk as often. The write follows the turn that staged it, when what that turn had
 * to say has left: the other nodes write at the same time.
 *
 *     turn ──▶ sockets are flushed ──▶ write, here or by the writer thread ──▶ turn
 *
 * Here, on the member's own thread, because being woken twice takes as long as the disk does. A large write, or any
 * for a while after the disk was slow, is the writer's: elections must not wait for a disk. */
#include "server/member_internal.h"

#include <sched.h>
#include <time.h>

#define HERE_MAX ((size_t)64 * 1024)
#define SLOW_US INT64_C(5000)
#define ELSEWHERE_US INT64_C(1000000)
/* As long as a write and a bit: longer, and two writes would have been as fast. */
#define HOLD_US INT64_C(150)
#define CREDIT_MAX 16
#define TRY_AGAIN 64 /* Where holding has not paid, once in so many writes. */

static int64_t monotonic_us(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

/* ---- The writer ---- */

static void *run_writer(void *context)
{
    struct stele_member *member = context;
    (void)pthread_mutex_lock(&member->write_lock);
    for (;;) {
        if (member->write_stage != STELE_MEMBER__WRITE_GIVEN) {
            if (member->write_stop) {
                break;
            }
            (void)pthread_cond_wait(&member->write_wanted, &member->write_lock);
            continue;
        }
        const struct stele_wal_group group = member->write;
        (void)pthread_mutex_unlock(&member->write_lock);
        struct stele_error err = {.outcome = STELE_OK};
        const int64_t began_us = monotonic_us();
        const int outcome =
            group.file->io->ops->write_durable(group.file, group.offset, group.bytes, &err);
        const int64_t took_us = monotonic_us() - began_us;
        (void)pthread_mutex_lock(&member->write_lock);
        member->write_outcome = outcome;
        member->write_took_us = took_us;
        member->write_stage = STELE_MEMBER__WRITE_ENDED;
        (void)pthread_cond_broadcast(&member->write_idle);
        stele_loop_post(member->base, &member->written_task);
    }
    (void)pthread_mutex_unlock(&member->write_lock);
    return NULL;
}

static void run_written(struct stele_task *task)
{
    struct stele_member *member =
        (struct stele_member *)(void *)((uint8_t *)task -
                                        offsetof(struct stele_member, written_task));
    (void)pthread_mutex_lock(&member->write_lock);
    const bool ended = member->write_stage == STELE_MEMBER__WRITE_ENDED;
    const int outcome = member->write_outcome;
    if (ended && member->write.bytes.size <= HERE_MAX && member->write_took_us > SLOW_US) {
        /* Still slow: to try here once in a while would stop this node each time. */
        member->write_elsewhere_until_us = monotonic_us() + ELSEWHERE_US;
    }
    member->write_stage = ended ? STELE_MEMBER__WRITE_NONE : member->write_stage;
    (void)pthread_mutex_unlock(&member->write_lock);
    if (ended && member->replica != NULL) {
        stele_replica_done(member->replica, member->write.id, outcome);
    }
    stele_member__want_turn(member);
}

/* The bytes of groups are the WAL's: before it goes, nobody may hold them. */
void stele_member__writer_drain(struct stele_member *member)
{
    (void)pthread_mutex_lock(&member->write_lock);
    while (member->write_stage == STELE_MEMBER__WRITE_GIVEN && member->has_writer) {
        (void)pthread_cond_wait(&member->write_idle, &member->write_lock);
    }
    member->write_stage = STELE_MEMBER__WRITE_NONE; /* Nobody was told that it is durable. */
    (void)pthread_mutex_unlock(&member->write_lock);
}

/* ---- Who writes ---- */

static bool is_writing(struct stele_member *member)
{
    (void)pthread_mutex_lock(&member->write_lock);
    const bool is = member->write_stage != STELE_MEMBER__WRITE_NONE;
    (void)pthread_mutex_unlock(&member->write_lock);
    return is;
}

static void give(struct stele_member *member, const struct stele_wal_group *group)
{
    (void)pthread_mutex_lock(&member->write_lock);
    member->write = *group;
    member->write_stage = STELE_MEMBER__WRITE_GIVEN;
    (void)pthread_cond_signal(&member->write_wanted);
    (void)pthread_mutex_unlock(&member->write_lock);
}

static void write_here(struct stele_member *member, const struct stele_wal_group *group)
{
    struct stele_error err = {.outcome = STELE_OK};
    const int64_t began_us = monotonic_us();
    const int outcome =
        group->file->io->ops->write_durable(group->file, group->offset, group->bytes, &err);
    const int64_t ended_us = monotonic_us();
    if (ended_us - began_us > SLOW_US) {
        member->write_elsewhere_until_us = ended_us + ELSEWHERE_US;
    }
    stele_replica_done(member->replica, group->id, outcome);
}

/* A command of another node makes all leaders tick, and their ticks arrive while it would be written: each append would
 * take the disk twice, one write after the other. So the write waits a moment for them, while that pays. */
static bool holds(struct stele_member *member)
{
    if (member->replica == NULL || is_writing(member)) {
        member->write_since_us = 0;
        return false;
    }
    const bool expects = stele_replica_expects(member->replica);
    const int64_t now_us = monotonic_us();
    if (expects && member->write_since_us == 0 && member->hold_credit > 0) {
        member->write_since_us = now_us;
    }
    if (expects && member->write_since_us != 0 && now_us - member->write_since_us < HOLD_US) {
        return true;
    }
    if (member->write_since_us != 0) {
        member->hold_credit += expects ? -1 : member->hold_credit < CREDIT_MAX ? 1 : 0;
    } else if (expects && ++member->hold_skipped % TRY_AGAIN == 0) {
        member->hold_credit = 1;
    }
    member->write_since_us = 0;
    return false;
}

static void run_writes(struct stele_task *task)
{
    struct stele_member *member =
        (struct stele_member *)(void *)((uint8_t *)task -
                                        offsetof(struct stele_member, writes_task));
    if (holds(member)) {
        (void)sched_yield();
        stele_loop_post(member->base, &member->writes_task); /* The loop looks at its sockets. */
        return;
    }
    member->writes_posted = false;
    bool any = false;
    struct stele_wal_group group;
    while (member->replica != NULL && !is_writing(member) &&
           stele_replica_take(member->replica, &group)) {
        if (group.bytes.size > HERE_MAX || monotonic_us() < member->write_elsewhere_until_us) {
            give(member, &group);
        } else {
            write_here(member, &group);
            any = true;
        }
    }
    if (any) {
        stele_member__want_turn(member);
    }
}

void stele_member__writes_work(struct stele_member *member)
{
    if (!member->writes_posted && !is_writing(member)) {
        member->writes_posted = true;
        stele_loop_post(member->base, &member->writes_task);
    }
}

/* ---- Up and down ---- */

void stele_member__writer_init(struct stele_member *member)
{
    (void)pthread_mutex_init(&member->write_lock, NULL);
    (void)pthread_cond_init(&member->write_wanted, NULL);
    (void)pthread_cond_init(&member->write_idle, NULL);
    member->written_task.run = run_written;
    member->writes_task.run = run_writes;
    member->hold_credit = CREDIT_MAX;
}

void stele_member__writer_deinit(struct stele_member *member)
{
    (void)pthread_mutex_destroy(&member->write_lock);
    (void)pthread_cond_destroy(&member->write_wanted);
    (void)pthread_cond_destroy(&member->write_idle);
}

int stele_member__writer_start(struct stele_member *member)
{
    const int failed = pthread_create(&member->writer, NULL, run_writer, member);
    member->has_writer = failed == 0;
    return failed;
}

void stele_member__writer_stop(struct stele_member *member)
{
    if (!member->has_writer) {
        return;
    }
    (void)pthread_mutex_lock(&member->write_lock);
    member->write_stop = true;
    (void)pthread_cond_signal(&member->write_wanted);
    (void)pthread_mutex_unlock(&member->write_lock);
    (void)pthread_join(member->writer, NULL);
    member->has_writer = false;
}
