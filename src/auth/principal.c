#include "auth/auth_internal.h"
#include "base/checksum.h"

#include <stdio.h>

/* ---- Quotas ---- */

static struct stele_auth__quota **quota_place(struct stele_auth *auth, const char *name)
{
    const struct stele_bytes bytes = {.data = (const uint8_t *)name, .size = strlen(name)};
    struct stele_auth__quota **place =
        &auth->quotas[stele_hash64(bytes, 0) & (STELE_AUTH__QUOTA_BUCKETS - 1)];
    while (*place != NULL && strcmp((*place)->name, name) != 0) {
        place = &(*place)->next;
    }
    return place;
}

/* With one more reference. */
static struct stele_auth__quota *take_quota(struct stele_auth *auth, const char *name)
{
    struct stele_auth__quota **const place = quota_place(auth, name);
    if (*place != NULL) {
        (void)__atomic_add_fetch(&(*place)->refs, 1, __ATOMIC_RELAXED);
        return *place;
    }
    struct stele_auth__quota *const quota = stele_allocate_zeroed(auth->alloc, sizeof *quota);
    if (quota == NULL) {
        return NULL;
    }
    quota->face.limits = auth->options.quota;
    quota->refs = 1;
    (void)snprintf(quota->name, sizeof quota->name, "%s", name);
    *place = quota;
    return quota;
}

/* auth: NULL, or under its lock. */
static void give_quota(struct stele_auth *auth, struct stele_auth__quota *quota,
                       struct stele_alloc *alloc)
{
    if (__atomic_sub_fetch(&quota->refs, 1, __ATOMIC_ACQ_REL) > 0) {
        return;
    }
    if (auth != NULL) {
        struct stele_auth__quota **const place = quota_place(auth, quota->name);
        STELE_ASSERT(*place == quota);
        *place = quota->next;
        auth->counts.quota_refused += quota->refused;
    }
    stele_release(alloc, quota, sizeof *quota);
}

static const struct stele_auth__principal *own_of(const struct stele_principal *principal)
{
    return (const struct stele_auth__principal *)principal;
}

struct stele_quota *stele_auth_quota(const struct stele_principal *principal)
{
    return &own_of(principal)->quota->face;
}

const char *stele_auth_enter(const struct stele_principal *principal, enum stele_rule rule,
                             int64_t now_us, int64_t *out_retry_us)
{
    /* What frees a call is not known; a second is a good time to look again. */
    const int64_t look_again_us = 1000000;
    struct stele_auth__quota *const own = own_of(principal)->quota;
    struct stele_quota *const quota = &own->face;
    const char *what = NULL;
    if (rule == STELE_RULE_ANYONE) {
        return NULL;
    }
    if (!stele_quota_call_begin(quota)) {
        *out_retry_us = look_again_us;
        what = "this user has too many calls under way";
    } else if ((*out_retry_us = stele_quota_owed(quota, now_us)) > 0) {
        stele_quota_call_end(quota);
        what = "this user has sent or received too many bytes";
    } else if ((*out_retry_us = stele_quota_request(quota, now_us)) > 0) {
        stele_quota_call_end(quota);
        what = "this user asks too often";
    }
    if (what != NULL) {
        (void)__atomic_add_fetch(&own->refused, 1, __ATOMIC_RELAXED);
    }
    return what;
}

void stele_auth_leave(const struct stele_principal *principal, enum stele_rule rule)
{
    if (rule != STELE_RULE_ANYONE) {
        stele_quota_call_end(stele_auth_quota(principal));
    }
}

/* ---- Principals ---- */

struct stele_principal *stele_auth__principal(struct stele_auth *auth, const char *name,
                                              const char *groups, size_t groups_count)
{
    STELE_ASSERT(groups_count <= STELE_ROLES_MAX);
    struct stele_auth__principal *const own = stele_allocate_zeroed(auth->alloc, sizeof *own);
    if (own == NULL) {
        return NULL;
    }
    own->quota = take_quota(auth, name);
    if (own->quota == NULL) {
        stele_release(auth->alloc, own, sizeof *own);
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
    own->user_revision = UINT64_MAX;
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
    give_quota(auth, own->quota, own->alloc);
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
        give_quota(NULL, own->quota, own->alloc);
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
    memset(auth->quotas, 0, sizeof auth->quotas); /* The principals have them. */
}
