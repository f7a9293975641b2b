/* The thread that hashes passwords: one, so that a flood of logins takes at most one core from the
 * rest, with a queue that is bounded. */
#include "auth/auth_internal.h"

static void *run(void *context)
{
    struct stele_auth *const auth = context;
    stele_auth__lock(auth);
    for (;;) {
        struct stele_auth__job *const job = auth->jobs_first;
        if (job == NULL && auth->stopping) {
            break;
        }
        if (job == NULL) {
            (void)pthread_cond_wait(&auth->work_came, &auth->lock);
            continue;
        }
        auth->jobs_first = job->next;
        if (auth->jobs_first == NULL) {
            auth->jobs_last = &auth->jobs_first;
        }
        auth->jobs_count--;
        stele_auth__unlock(auth);
        job->work(job);
        stele_auth__lock(auth);
    }
    stele_auth__unlock(auth);
    return NULL;
}

int stele_auth__worker_start(struct stele_auth *auth)
{
    auth->jobs_last = &auth->jobs_first;
    if (auth->options.hash_on_loop) {
        return STELE_OK;
    }
    auth->has_thread = pthread_create(&auth->thread, NULL, run, auth) == 0;
    return auth->has_thread ? STELE_OK : STELE_E_NO_MEMORY;
}

void stele_auth__worker_stop(struct stele_auth *auth)
{
    if (!auth->has_thread) {
        return;
    }
    stele_auth__lock(auth);
    auth->stopping = true;
    (void)pthread_cond_signal(&auth->work_came);
    stele_auth__unlock(auth);
    (void)pthread_join(auth->thread, NULL);
    auth->has_thread = false;
}

int stele_auth__worker_do(struct stele_auth *auth, struct stele_auth__job *job)
{
    if (auth->options.hash_on_loop) {
        job->work(job);
        return STELE_OK;
    }
    stele_auth__lock(auth);
    const bool full = auth->stopping || auth->jobs_count >= auth->options.questions_max;
    if (!full) {
        job->next = NULL;
        *auth->jobs_last = job;
        auth->jobs_last = &job->next;
        auth->jobs_count++;
        (void)pthread_cond_signal(&auth->work_came);
    }
    stele_auth__unlock(auth);
    return full ? STELE_E_OVERLOADED : STELE_OK;
}
