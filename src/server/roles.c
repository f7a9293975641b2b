#include "server/roles.h"

#include <stdatomic.h>

struct stele_roles_post {
    struct stele_roles_post *next;
    struct stele_loop *loop;
    struct stele_task task;
    _Atomic bool posted;
    struct stele_role_watch *first;     /* The loop's, like the next. */
    struct stele_role_watch *next_told; /* While they are told. */
};

static void run_told(struct stele_task *task)
{
    struct stele_roles_post *const post =
        (struct stele_roles_post *)(void *)((uint8_t *)task -
                                            offsetof(struct stele_roles_post, task));
    /* Before the watches look, so that what changes while they do is told again. */
    atomic_store(&post->posted, false);
    for (struct stele_role_watch *watch = post->first; watch != NULL; watch = post->next_told) {
        post->next_told = watch->next;
        watch->on_role_changed(watch);
    }
    post->next_told = NULL;
}

void stele_roles_init(struct stele_roles *roles, struct stele_alloc *alloc)
{
    *roles = (struct stele_roles){.alloc = alloc};
    (void)pthread_mutex_init(&roles->mutex, NULL);
}

void stele_roles_deinit(struct stele_roles *roles)
{
    while (roles->first != NULL) {
        struct stele_roles_post *const post = roles->first;
        STELE_ASSERT(post->first == NULL);
        roles->first = post->next;
        stele_release(roles->alloc, post, sizeof *post);
    }
    (void)pthread_mutex_destroy(&roles->mutex);
}

static struct stele_roles_post *find(struct stele_roles *roles, const struct stele_loop *loop)
{
    struct stele_roles_post *post = roles->first;
    while (post != NULL && post->loop != loop) {
        post = post->next;
    }
    return post;
}

void stele_roles_watch_start(struct stele_roles *roles, struct stele_role_watch *watch)
{
    (void)pthread_mutex_lock(&roles->mutex);
    struct stele_roles_post *post = find(roles, watch->loop);
    if (post == NULL) {
        post = stele_allocate_zeroed(roles->alloc, sizeof *post);
        STELE_ASSERT(post != NULL); /* A hundred bytes, once for each loop, at its start. */
        post->loop = watch->loop;
        post->task.run = run_told;
        post->next = roles->first;
        roles->first = post;
    }
    (void)pthread_mutex_unlock(&roles->mutex);
    watch->previous = NULL;
    watch->next = post->first;
    if (post->first != NULL) {
        post->first->previous = watch;
    }
    post->first = watch;
}

void stele_roles_watch_stop(struct stele_roles *roles, struct stele_role_watch *watch)
{
    (void)pthread_mutex_lock(&roles->mutex);
    struct stele_roles_post *const post = find(roles, watch->loop);
    (void)pthread_mutex_unlock(&roles->mutex);
    STELE_ASSERT(post != NULL);
    if (post->next_told == watch) {
        post->next_told = watch->next;
    }
    if (watch->next != NULL) {
        watch->next->previous = watch->previous;
    }
    if (watch->previous != NULL) {
        watch->previous->next = watch->next;
    } else {
        STELE_ASSERT(post->first == watch);
        post->first = watch->next;
    }
    watch->next = NULL;
    watch->previous = NULL;
}

void stele_roles_changed(struct stele_roles *roles)
{
    (void)pthread_mutex_lock(&roles->mutex);
    for (struct stele_roles_post *post = roles->first; post != NULL; post = post->next) {
        if (!atomic_exchange(&post->posted, true)) {
            stele_loop_post(post->loop, &post->task);
        }
    }
    (void)pthread_mutex_unlock(&roles->mutex);
}
