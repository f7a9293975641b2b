/* Commands that are submitted: one thread keeps many of them under way.
 *
 *     submit ──▶ decide ──▶ append, asynchronously ──▶ answered ──▶ callback
 *                  │                                     │
 *                  ▼ would have to read, or to wait      ▼ conflict, or unknown
 *                  └────────────▶ a worker ◀─────────────┘
 *
 * What a command usually needs is in memory, so it is decided on the thread that submits it, and ends
 * on the one that commits. Neither must wait: whatever may is left to workers, which are started when
 * they are needed. A command that lies in their queue holds no state. So whoever waits for a state
 * waits for a command that a worker is at, or for one whose append is under way, and those end. */
#include "runner/execution.h"

#define SUBMITTED_MAX 65536u

#define JOB_DECIDE 1 /* Loads, decides, and appends asynchronously. */
#define JOB_RETRY 2  /* After a conflict, all of it by the worker. */
#define JOB_ASK 3    /* After an append that nobody knows about. */
#define JOB_RUN 4    /* From the start, all of it by the worker. */
#define JOB_END 5    /* It has ended; the callback is not called from inside of submit. */

struct submitted {
    struct stele_execution execution; /* First: the append's callback gets it. */
    struct submitted *next;
    int job;
    int outcome; /* Of JOB_END. */
    bool again;
    uint64_t append_start_ns;
    struct stele_prepared *prepared;
    struct stele_error words; /* Of the append, then of the command. */
    stele_command_callback callback;
    void *context;
};

/* ---- Ends --------------------------------------------------------------------------------- */

static void finish(struct submitted *submitted, int outcome)
{
    struct stele_runner *runner = submitted->execution.runner;
    stele_execution__tell(&submitted->execution, outcome, &submitted->words);
    /* Before the callback, which may submit the next command on the same streams. */
    stele_execution__release(&submitted->execution);
    submitted->callback(submitted->context, outcome, &submitted->execution.result,
                        &submitted->words);
    stele_execution__end(&submitted->execution);
    stele_release(runner->alloc, submitted, sizeof *submitted);
    struct stele_submissions *all = &runner->submissions;
    (void)pthread_mutex_lock(&all->lock);
    STELE_ASSERT(all->under_way > 0);
    if (--all->under_way == 0) {
        (void)pthread_cond_broadcast(&all->changed);
    }
    (void)pthread_mutex_unlock(&all->lock);
}

/* ---- The workers' queue ------------------------------------------------------------------- */

static void *run_worker(void *context);

/* Under the lock. Without any worker nobody would ever take it. */
static bool have_worker(struct stele_runner *runner)
{
    struct stele_submissions *all = &runner->submissions;
    if (all->idle == 0 && all->workers_count < STELE_SUBMIT_WORKERS_MAX &&
        pthread_create(&all->workers[all->workers_count], NULL, run_worker, runner) == 0) {
        all->workers_count++;
    }
    return all->workers_count > 0;
}

static void leave_to_worker(struct submitted *submitted, int job)
{
    struct stele_runner *runner = submitted->execution.runner;
    struct stele_submissions *all = &runner->submissions;
    stele_execution__release(&submitted->execution);
    submitted->job = job;
    submitted->next = NULL;
    (void)pthread_mutex_lock(&all->lock);
    *all->last = submitted;
    all->last = &submitted->next;
    if (all->idle > 0) {
        (void)pthread_cond_signal(&all->queued);
    }
    (void)have_worker(runner);
    (void)pthread_mutex_unlock(&all->lock);
}

/* ---- One attempt -------------------------------------------------------------------------- */

static void on_conflict(struct submitted *submitted, int outcome)
{
    outcome = stele_execution__conflict(&submitted->execution, outcome, &submitted->words);
    submitted->outcome = outcome;
    leave_to_worker(submitted, outcome == STELE_OK ? JOB_RETRY : JOB_END);
}

static void on_appended(void *context, int outcome, const struct stele_append_result *result)
{
    struct submitted *submitted = context;
    struct stele_execution *execution = &submitted->execution;
    stele_execution__answered(execution, outcome, result, submitted->prepared,
                              submitted->append_start_ns);
    stele_client_told(execution->runner->store, submitted->prepared);
    submitted->prepared = NULL;
    if (outcome == STELE_E_UNKNOWN) {
        leave_to_worker(submitted, JOB_ASK);
        return;
    }
    if (outcome == STELE_WRONG_REVISION || outcome == STELE_CONDITION_FAILED) {
        on_conflict(submitted, outcome);
        return;
    }
    finish(submitted, outcome);
}

/* Decides and appends. Whatever comes of it, it is not to be touched afterwards. */
static void attempt(struct submitted *submitted)
{
    struct stele_execution *execution = &submitted->execution;
    int outcome = stele_execution__decide(execution, &submitted->words);
    if (outcome == STELE_EXECUTION_WAITS) {
        execution->result.attempts--; /* Nothing was tried. */
        leave_to_worker(submitted, JOB_DECIDE);
        return;
    }
    const struct stele_request *request = &execution->request;
    if (outcome == STELE_OK && request->events > 0) {
        submitted->append_start_ns = stele_command__ticks_ns();
        outcome = stele_client_append_tell_async(
            execution->runner->store, request->streams, request->streams_count, request->conditions,
            request->conditions_count, &submitted->prepared, &submitted->words, on_appended,
            submitted, &submitted->words);
        if (outcome == STELE_OK) {
            return; /* Perhaps it has ended already. */
        }
        if (outcome == STELE_E_UNSUPPORTED) {
            execution->result.attempts--;
            leave_to_worker(submitted, JOB_RETRY);
            return;
        }
    }
    if (outcome == STELE_WRONG_REVISION) {
        on_conflict(submitted, outcome); /* Read twice, by two folds, and changed in between. */
    } else if (execution->never_waits) {
        submitted->outcome = outcome;
        leave_to_worker(submitted, JOB_END);
    } else {
        finish(submitted, outcome);
    }
}

/* ---- Workers ------------------------------------------------------------------------------ */

static void do_job(struct submitted *submitted)
{
    struct stele_execution *execution = &submitted->execution;
    struct stele_error *err = &submitted->words;
    execution->never_waits = false;
    if (submitted->job == JOB_DECIDE) {
        attempt(submitted);
        return;
    }
    int outcome = submitted->outcome;
    if (submitted->job == JOB_RUN) {
        outcome = stele_execution__run(execution, submitted->again, err);
    } else if (submitted->job == JOB_RETRY) {
        outcome = stele_execution__retry(execution, err);
    } else if (submitted->job == JOB_ASK) {
        outcome = stele_execution__ask(execution, submitted->append_start_ns, err);
        if (outcome == STELE_WRONG_REVISION || outcome == STELE_CONDITION_FAILED) {
            outcome = stele_execution__conflict(execution, outcome, err);
            outcome = outcome == STELE_OK ? stele_execution__retry(execution, err) : outcome;
        }
    }
    finish(submitted, outcome);
}

static void *run_worker(void *context)
{
    struct stele_runner *runner = context;
    struct stele_submissions *all = &runner->submissions;
    (void)pthread_mutex_lock(&all->lock);
    for (;;) {
        struct submitted *submitted = all->first;
        if (submitted != NULL) {
            all->first = submitted->next;
            all->last = all->first == NULL ? &all->first : all->last;
            (void)pthread_mutex_unlock(&all->lock);
            do_job(submitted);
            (void)pthread_mutex_lock(&all->lock);
            continue;
        }
        if (all->closing) {
            break;
        }
        all->idle++;
        (void)pthread_cond_wait(&all->queued, &all->lock);
        all->idle--;
    }
    (void)pthread_mutex_unlock(&all->lock);
    return NULL;
}

void stele_submit__init(struct stele_submissions *all)
{
    (void)pthread_mutex_init(&all->lock, NULL);
    (void)pthread_cond_init(&all->queued, NULL);
    (void)pthread_cond_init(&all->changed, NULL);
    all->last = &all->first;
}

void stele_submit__stop(struct stele_runner *runner)
{
    struct stele_submissions *all = &runner->submissions;
    (void)pthread_mutex_lock(&all->lock);
    while (all->under_way > 0) {
        (void)pthread_cond_wait(&all->changed, &all->lock);
    }
    STELE_ASSERT(all->first == NULL);
    all->closing = true;
    (void)pthread_cond_broadcast(&all->queued);
    (void)pthread_mutex_unlock(&all->lock);
    for (uint32_t i = 0; i < all->workers_count; i++) {
        (void)pthread_join(all->workers[i], NULL);
    }
    (void)pthread_cond_destroy(&all->changed);
    (void)pthread_cond_destroy(&all->queued);
    (void)pthread_mutex_destroy(&all->lock);
}

/* ---- Submitting --------------------------------------------------------------------------- */

/* Room for one more, and a worker that can take it if need be. */
static int reserve(struct stele_runner *runner, struct stele_error *err)
{
    struct stele_submissions *all = &runner->submissions;
    int outcome = STELE_OK;
    (void)pthread_mutex_lock(&all->lock);
    if (all->under_way >= SUBMITTED_MAX) {
        outcome = stele_fail(err, STELE_E_OVERLOADED, 0,
                             "%u commands are under way; wait for some to end", SUBMITTED_MAX);
    } else if (all->workers_count == 0 && !have_worker(runner)) {
        outcome = stele_fail(err, STELE_E_NO_MEMORY, 0, "no thread for commands that have to wait");
    } else {
        all->under_way++;
    }
    (void)pthread_mutex_unlock(&all->lock);
    return outcome;
}

static void unreserve(struct stele_runner *runner)
{
    struct stele_submissions *all = &runner->submissions;
    (void)pthread_mutex_lock(&all->lock);
    if (--all->under_way == 0) {
        (void)pthread_cond_broadcast(&all->changed);
    }
    (void)pthread_mutex_unlock(&all->lock);
}

int stele_runner_submit(struct stele_runner *runner, const struct stele_decider *decider,
                        const struct stele_command *command, const struct stele_origin *origin,
                        stele_command_callback callback, void *context, struct stele_error *err)
{
    if (runner == NULL) {
        return stele_fail(err, STELE_E_INVALID, 0, "stele_runner_submit: an argument is NULL");
    }
    if (callback == NULL) {
        return stele_fail(err, STELE_E_INVALID, 0, "a command is submitted with a callback");
    }
    int outcome = reserve(runner, err);
    if (outcome != STELE_OK) {
        return outcome;
    }
    struct submitted *submitted = stele_allocate_zeroed(runner->alloc, sizeof *submitted);
    if (submitted == NULL) {
        unreserve(runner);
        return stele_fail(err, STELE_E_NO_MEMORY, 0, "no memory for a command");
    }
    submitted->callback = callback;
    submitted->context = context;
    submitted->again = origin != NULL && origin->again != 0;
    outcome = stele_execution__begin(&submitted->execution, runner, decider, command, origin, err);
    if (outcome != STELE_OK) {
        stele_execution__end(&submitted->execution);
        stele_release(runner->alloc, submitted, sizeof *submitted);
        unreserve(runner);
        return outcome;
    }
    if (!runner->watching || submitted->again) {
        leave_to_worker(submitted, JOB_RUN);
        return STELE_OK;
    }
    submitted->execution.never_waits = true;
    attempt(submitted);
    return STELE_OK;
}
