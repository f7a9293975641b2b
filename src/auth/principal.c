#include "auth/auth_internal.h"

#include <stdio.h>

struct stele_principal *stele_auth__principal(struct stele_auth *auth, const char *name,
                                              const char *groups, size_t groups_count)
{
    STELE_ASSERT(groups_count <= STELE_ROLES_MAX);
    struct stele_auth__principal *const own = stele_allocate_zeroed(auth->alloc, sizeof *own);
    if (own == NULL) {
        return NULL;
    }
    struct stele_principal *const principal = &own->face;
    principal->refs = 1;
    (void)snprintf(principal->name, sizeof principal->name, "%s", name);
    principal->anonymous = name[0] == '\0';
    for (size_t i = 0; i < groups_count; i++) {
        const char *const group = groups + i * sizeof principal->groups[i];
        memcpy(principal->groups[i], group, sizeof principal->groups[i]);
        principal->is_admin |= strcmp(group, STELE_GROUP_ADMINS) == 0;
        principal->is_ops |= strcmp(group, STELE_GROUP_OPS) == 0;
    }
    principal->groups_count = (uint32_t)groups_count;
    own->alloc = auth->alloc;
    own->auth = auth;
    own->next = auth->principals;
    if (own->next != NULL) {
        own->next->previous = own;
    }
    auth->principals = own;
    return principal;
}

void stele_principal_ref(struct stele_principal *principal)
{
    (void)__atomic_add_fetch(&principal->refs, 1, __ATOMIC_RELAXED);
}

static void unlink_and_free(struct stele_auth *auth, struct stele_auth__principal *own)
{
    *(own->previous != NULL ? &own->previous->next : &auth->principals) = own->next;
    if (own->next != NULL) {
        own->next->previous = own->previous;
    }
    stele_release(own->alloc, own, sizeof *own);
}

static bool is_last(struct stele_principal *principal)
{
    return __atomic_sub_fetch(&principal->refs, 1, __ATOMIC_ACQ_REL) == 0;
}

void stele_principal_unref(struct stele_principal *principal)
{
    if (principal == NULL || !is_last(principal)) {
        return;
    }
    struct stele_auth__principal *const own = (struct stele_auth__principal *)principal;
    struct stele_auth *const auth = __atomic_load_n(&own->auth, __ATOMIC_ACQUIRE);
    if (auth == NULL) {
        stele_release(own->alloc, own, sizeof *own);
        return;
    }
    stele_auth__lock(auth);
    unlink_and_free(auth, own);
    stele_auth__unlock(auth);
}

void stele_auth__principal_drop(struct stele_auth *auth, struct stele_principal *principal)
{
    if (principal != NULL && is_last(principal)) {
        unlink_and_free(auth, (struct stele_auth__principal *)principal);
    }
}

void stele_auth__principals_orphan(struct stele_auth *auth)
{
    for (struct stele_auth__principal *own = auth->principals; own != NULL; own = own->next) {
        __atomic_store_n(&own->auth, NULL, __ATOMIC_RELEASE);
    }
}
