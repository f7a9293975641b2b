/* The inside of src/auth.
 *
 * One lock guards everything that changes. It is never held while a callback runs, something is
 * appended or a password is hashed; engine reads are made under it where the answer goes into a
 * table that the lock guards. */
#ifndef STELE_AUTH_AUTH_INTERNAL_H
#define STELE_AUTH_AUTH_INTERNAL_H

#include "auth/acl.h"
#include "auth/auth.h"
#include "auth/credentials.h"
#include "auth/jwt.h"
#include "auth/limit.h"
#include "auth/password.h"

#include <pthread.h>

#define STELE_AUTH__PROOFS 1024u
#define STELE_AUTH__QUOTA_BUCKETS 256u
#define STELE_AUTH__PROOF_KEY_SIZE 32
#define STELE_AUTH__ACLS_MAX 16384u
#define STELE_AUTH__ACL_BUCKETS 16384u
#define STELE_AUTH__ACL_SIZE_MAX                                                                   \
    ((size_t)1024 * 1024)           /* Of metadata. Larger: administrators only. */
#define STELE_AUTH__AUDITS_MAX 256u /* Events for the audit stream under way. */
#define STELE_AUDIT_STREAM "$stele-audit"

/* ---- Quotas: one for each name that a principal has ---- */

struct stele_auth__quota {
    struct stele_quota face;
    struct stele_auth__quota *next;
    uint32_t refs;    /* Atomic. Principals. */
    uint64_t refused; /* Atomic. Not in the counts yet. */
    char name[STELE_LOGIN_SIZE_MAX + 1];
};

/* ---- Principals ---- */

/* Every principal is in the list of its module, so that a change of its user can revoke it, also
 * when only a live subscription still holds it. */
struct stele_auth__principal {
    struct stele_principal face;
    struct stele_alloc *alloc;
    struct stele_auth *auth; /* Atomic; NULL once the module is gone. */
    struct stele_auth__principal *next, *previous;
    struct stele_auth__quota *quota;
    uint64_t
        user_revision; /* Of the user's stream when it was made; UINT64_MAX: there is no user. */
};

/* With one reference; NULL: no memory. Under the lock. groups: the first of an array of names as a
 * user has it. */
struct stele_principal *stele_auth__principal(struct stele_auth *auth, const char *name,
                                              const char *groups, size_t groups_count);
static inline void stele_auth__set_revision(struct stele_principal *principal, uint64_t revision)
{
    ((struct stele_auth__principal *)principal)->user_revision = revision;
}
/* Releases a reference. Under the lock, where stele_principal_unref() must not be called. */
void stele_auth__principal_drop(struct stele_auth *auth, struct stele_principal *principal);
/* The module goes; whoever still holds a principal keeps it. */
void stele_auth__principals_orphan(struct stele_auth *auth);

/* ---- Proofs: credentials that were checked, as a keyed hash ---- */

struct stele_auth__proof {
    uint8_t key[STELE_AUTH__PROOF_KEY_SIZE]; /* All zeros: free. */
    struct stele_principal *principal;
    int64_t expires_us; /* On the loops' clock. */
    int64_t checked_us; /* When the user's revision was last compared. */
    uint64_t revision;  /* Of the user's stream; UINT64_MAX: a token, no user in the store. */
};

/* ---- Work that takes long ---- */

struct stele_auth__job {
    struct stele_auth__job *next;
    void (*work)(struct stele_auth__job *job); /* On the thread of the module. */
};

/* ---- ACLs ---- */

struct stele_auth__acl_entry {
    struct stele_auth__acl_entry *next; /* In its bucket. */
    struct stele_auth__acl_entry *newer, *older;
    uint64_t hash;
    struct stele_acl *acl; /* NULL: no right is set. */
    uint32_t name_size;
    char name[];
};

struct stele_auth__verification;

struct stele_auth {
    struct stele_alloc *alloc;
    struct stele_engine *engine;
    struct stele_loop *loop;
    struct stele_auth_options options; /* Its texts are those below; passwords are NULL. */
    char jwt_audience[256], jwt_issuer[256], jwt_roles[64];
    uint64_t generation; /* Atomic. */

    pthread_mutex_t lock;
    struct stele_auth_counts counts;

    struct stele_auth__principal *principals;
    struct stele_auth__quota *quotas[STELE_AUTH__QUOTA_BUCKETS];
    struct stele_principal *anonymous, *anything;
    struct stele_auth__proof *proofs;
    uint8_t proof_key[STELE_AUTH__PROOF_KEY_SIZE];
    struct stele_limit limit;
    struct stele_jwt_keys *jwt_keys;
    uint64_t users_epoch;                           /* Grows when a user is changed here. */
    struct stele_auth__verification *verifications; /* Under way; same credentials share one. */

    bool ready; /* The first users are in the store. */
    struct stele_auth_question *waiting;
    struct stele_auth__first_start *first_start;

    pthread_t thread;
    bool has_thread, stopping;
    pthread_cond_t work_came;
    struct stele_auth__job *jobs_first, **jobs_last;
    uint32_t jobs_count;

    struct stele_auth__acl_entry **acl_buckets;
    struct stele_auth__acl_entry *acl_newest, *acl_oldest;
    uint32_t acl_count;
    struct stele_acl *acl_users, *acl_system; /* The defaults of $settings. */
    uint64_t settings_revision;               /* UINT64_MAX: there are none. */
    uint64_t watched; /* Position up to which changes of metadata and users have been seen. */
    bool starting;    /* What is found is no change. */

    struct stele_watch watch;
    struct stele_timer watch_timer;
    bool watching, watch_timer_on;

    bool gone;        /* Destroyed; holders only let go. Set under the lock, on the home loop. */
    uint32_t holders; /* What needs the struct, beyond stele_auth_destroy() if need be. */
    uint32_t audits;  /* Under way; each is a holder. */
    uint64_t audits_lost;
    int64_t audit_debt_us; /* On the home loop: a token bucket. */
};

static inline void stele_auth__lock(struct stele_auth *auth)
{
    (void)pthread_mutex_lock(&auth->lock);
}

static inline void stele_auth__unlock(struct stele_auth *auth)
{
    (void)pthread_mutex_unlock(&auth->lock);
}

static inline void stele_auth__changed(struct stele_auth *auth)
{
    (void)__atomic_add_fetch(&auth->generation, 1, __ATOMIC_ACQ_REL);
}

STELE_PRINTF(3, 4)
void stele_auth__log(struct stele_auth *auth, enum stele_auth_log level, const char *format, ...);

/* worker.c: STELE_OK, STELE_E_OVERLOADED (the queue is full; job->work will not be called). Not
 * under the lock. With hash_on_loop the work is done before this returns. */
STELE_MUST_USE
int stele_auth__worker_start(struct stele_auth *auth);
void stele_auth__worker_stop(struct stele_auth *auth);
STELE_MUST_USE
int stele_auth__worker_do(struct stele_auth *auth, struct stele_auth__job *job);

/* reading.c. The last event's data, appended to buf. STELE_OK, STELE_NOT_FOUND, errors. */
STELE_MUST_USE
int stele_auth__read_last(struct stele_auth *auth, const char *stream, struct stele_buf *buf,
                          uint64_t *out_revision, int64_t *out_created_us, struct stele_error *err);
/* With its hash. */
STELE_MUST_USE
int stele_auth__read_user(struct stele_auth *auth, const char *login, struct stele_user *out_user,
                          struct stele_error *err);

/* ask.c. Under the lock: forgets what was proved about a user and revokes their principals. */
void stele_auth__forget_user(struct stele_auth *auth, const char *login);
/* The same for what was proved before that revision of the user. */
void stele_auth__forget_before(struct stele_auth *auth, const char *login, uint64_t revision);
void stele_auth__forget_proofs(struct stele_auth *auth);
/* Answers those who waited for the first start. Not under the lock. */
void stele_auth__set_ready(struct stele_auth *auth);

/* manage.c. Ids of events by which this module changes users: who reads them can tell that it was this
 * module, and nobody else can make one. */
void stele_auth__make_id(struct stele_auth *auth, uint8_t id[16]);
bool stele_auth__is_own_id(const struct stele_auth *auth, const uint8_t id[16]);

/* streams.c. Under the lock. */
void stele_auth__streams_deinit(struct stele_auth *auth);
/* From here on changes are looked for; what is there is read when it is asked for. */
void stele_auth__begin_watching(struct stele_auth *auth);
/* Takes in what has changed since: metadata with ACLs, default ACLs. Fast when nothing did. */
void stele_auth__catch_up(struct stele_auth *auth);

/* first.c: users admin and ops in a store that never had one. On the loop's thread. */
STELE_MUST_USE
int stele_auth__first_start(struct stele_auth *auth, const struct stele_auth_options *options,
                            struct stele_error *err);
/* Something new has become visible: another node may have stored them. */
void stele_auth__first_start_look(struct stele_auth *auth);
void stele_auth__first_start_end(struct stele_auth *auth);

/* audit.c. Any thread. What is NULL is left out. */
#define STELE_AUDIT_LOGIN_FAILED "$LoginFailed"
#define STELE_AUDIT_USER_CHANGED "$UserChanged"
#define STELE_AUDIT_ACL_CHANGED "$AclChanged"
struct stele_auth__remark {
    const char *type;
    const char *login, *stream, *peer, *by, *what;
};
void stele_auth__audit(struct stele_auth *auth, const struct stele_auth__remark *remark);
void stele_auth__audit_locked(struct stele_auth *auth, const struct stele_auth__remark *remark);

/* auth.c. What is under way holds the struct; who lets go last frees it. Not under the lock. */
void stele_auth__hold(struct stele_auth *auth);
void stele_auth__let_go(struct stele_auth *auth);

#endif
