/* Role watches (api/cluster.h) for a cluster whose thread is none of the loops': who watches on which
 * loop, and how they are told.
 *
 *     any thread: stele_roles_changed() ──▶ one task for each loop ──▶ its watches, on that loop
 *
 * A loop's task is posted once until it has run, and asks nobody what has changed: watches do. */
#ifndef STELE_SERVER_ROLES_H
#define STELE_SERVER_ROLES_H

#include "api/cluster.h"

#include <pthread.h>

struct stele_roles_post; /* One loop's. */

struct stele_roles {
    struct stele_alloc *alloc;
    pthread_mutex_t mutex; /* The list of posts. */
    struct stele_roles_post *first;
};

void stele_roles_init(struct stele_roles *roles, struct stele_alloc *alloc);
/* The loops have ended, the watches have stopped. */
void stele_roles_deinit(struct stele_roles *roles);

/* As the functions of struct stele_cluster_ops: on the watch's loop. */
void stele_roles_watch_start(struct stele_roles *roles, struct stele_role_watch *watch);
void stele_roles_watch_stop(struct stele_roles *roles, struct stele_role_watch *watch);
/* Any thread, after what is_leader() and leader() answer was set. */
void stele_roles_changed(struct stele_roles *roles);

#endif
