/* Who is calling, and may they?
 *
 * Users live in the store as KurrentDB keeps them ($user-<login>, $users); passwords as Argon2id
 * (libsodium). A caller proves who they are by HTTP basic authentication, a bearer token (JWT: HS256,
 * RS256, ES256) or a client certificate. Checking a password takes tens of milliseconds of CPU on
 * purpose, so it runs on a thread of its own; a proof that was checked is remembered for a while
 * (as a keyed hash), so that only the first call of a connection waits.
 *
 * `--insecure` makes everybody STELE_PRINCIPAL_ANYTHING. Without TLS the official clients send no
 * credentials. */
#ifndef STELE_AUTH_AUTH_H
#define STELE_AUTH_AUTH_H

#include "api/cluster.h"
#include "api/engine.h"
#include "auth/quota.h"
#include "auth/table.h"
#include "auth/user.h"
#include "base/alloc.h"
#include "base/bytes.h"
#include "base/status.h"
#include "io/loop.h"

#include <stele/stele.h>

/* A caller. Immutable but for revoked, counted; name and groups are what ACLs are matched with. */
struct stele_principal {
    uint32_t refs;    /* Atomic. */
    uint32_t revoked; /* Atomic. 1: the user was changed since; stele_auth_may() says no. */
    bool anonymous;
    bool all_rights; /* --insecure. */
    bool is_admin;   /* In $admins. */
    bool is_ops;     /* In $ops. */
    uint32_t groups_count;
    char name[STELE_LOGIN_SIZE_MAX + 1];
    char groups[STELE_ROLES_MAX][STELE_ROLE_SIZE_MAX + 1];
};

struct stele_auth; /* Made by the server; any thread may use it. */

/* ---- Making it ---- */

enum stele_auth_log {
    STELE_AUTH_LOG_INFO,
    STELE_AUTH_LOG_WARNING,
    STELE_AUTH_LOG_ERROR,
};

/* Zero means the default everywhere. Texts and bytes are copied. */
struct stele_auth_options {
    struct stele_cluster *cluster;    /* NULL: a server that stands alone. */
    bool insecure;                    /* Everybody may do everything. */
    bool anonymous_streams;           /* "$all" in an ACL stands for callers without a name, too. */
    bool hash_on_loop;                /* No thread: passwords are hashed where the question is asked
                                   * (simulator, tests). */
    const char *admin_password;       /* Of the first start; NULL: one is made and told. */
    const char *ops_password;         /* The same. */
    struct stele_bytes jwt_keys;      /* A JWK set or PEM; none: bearer tokens are refused. */
    const char *jwt_audience;         /* "aud" must have it; NULL: not looked at. */
    const char *jwt_issuer;           /* "iss" must be it; NULL: not looked at. */
    const char *jwt_roles;            /* The claim that lists roles; default "roles". */
    uint64_t password_memory;         /* Bytes of Argon2id; default 19 MiB. */
    uint32_t password_passes;         /* Default 2. */
    uint32_t proof_seconds;           /* How long a checked proof is remembered; default 300. */
    uint32_t questions_max;           /* Passwords waiting to be hashed; default 64. */
    uint32_t failures_max;            /* Wrong passwords in a row from one address; default 10. */
    uint32_t failures_refill_seconds; /* One more is allowed every so many; default 6. */
    uint32_t audit_per_second;        /* Most events written to $stele-audit; default 50. */
    struct stele_quota_limits quota; /* Of each user, and of all callers without a name together. */
    /* The first password of a user that the first start makes. Once, on the loop, when it is
     * durable. password is wiped afterwards. */
    void (*on_first_password)(void *context, const char *login, const char *password);
    void (*on_log)(void *context, enum stele_auth_log level, const char *message); /* Any thread. */
    void *context;
};

/* loop: where the module's own appends are answered, and the store is watched. The engine's reads
 * are made on whatever thread asks.
 *
 * STELE_OK, STELE_E_INVALID (jwt_keys: err says what is wrong with them), STELE_E_NO_MEMORY,
 * what reading ended with. */
STELE_MUST_USE
int stele_auth_create(struct stele_engine *engine, struct stele_loop *loop,
                      const struct stele_auth_options *options, struct stele_auth **out_auth,
                      struct stele_error *err);
/* On the loop's thread; no question may be under way. Principals may outlive it. NULL is fine. */
void stele_auth_destroy(struct stele_auth *auth);

/* Keys to check bearer tokens with, anew; tokens that were accepted are checked again. */
STELE_MUST_USE
int stele_auth_set_jwt_keys(struct stele_auth *auth, struct stele_bytes keys,
                            struct stele_error *err);

/* ---- Who ---- */

/* A question on its way. Embedded in what asks; authorization and client_cn are borrowed until
 * on_answer. */
struct stele_auth_question {
    struct stele_task task;          /* The module's. */
    struct stele_loop *loop;         /* Where on_answer is to be called. */
    struct stele_text authorization; /* The header's value, or data NULL. */
    const char *client_cn;           /* Of a verified client certificate, or NULL. */
    const char *peer;                /* Address, for rate limits and the audit stream. */
    bool is_tls;
    /* STELE_OK: principal holds a reference that the asker releases. STELE_E_PERMISSION: the
     * credentials are wrong. STELE_E_OVERLOADED: too many wrong ones from there; try later. */
    void (*on_answer)(struct stele_auth_question *question, int outcome,
                      struct stele_principal *principal);
    struct stele_auth_question *next; /* The module's, like the rest. */
    void *module;
    struct stele_principal *principal;
    int outcome;
};

/* Calls on_answer before it returns if it knows the answer; otherwise later, on the loop's thread.
 * No credentials at all: OK and the anonymous principal. */
void stele_auth_ask(struct stele_auth *auth, struct stele_auth_question *question);
void stele_principal_ref(struct stele_principal *principal);
void stele_principal_unref(struct stele_principal *principal);

/* ---- May they? ---- */

bool stele_auth_may_call(const struct stele_principal *principal, enum stele_rule rule);
enum stele_rule stele_auth_rpc_rule(enum stele_rpc rpc);
const char *stele_auth_rpc_path(enum stele_rpc rpc); /* "/package.Service/Method" */
enum stele_rule stele_auth_route_rule(enum stele_route route);
const char *stele_auth_route_method(enum stele_route route); /* "GET" */
const char *stele_auth_route_path(enum stele_route route);   /* "*" at the end: any rest. */

/* ---- How much may they? ---- */

/* A call or request of this principal begins, which was allowed to call. NULL: it may go on, and
 * stele_auth_leave() ends it. Otherwise: what there was too much of, in words, and *out_retry_us is
 * when it may be tried again. What anybody may call is not counted, nor ended: health checks. */
const char *stele_auth_enter(const struct stele_principal *principal, enum stele_rule rule,
                             int64_t now_us, int64_t *out_retry_us);
void stele_auth_leave(const struct stele_principal *principal, enum stele_rule rule);
/* The principal's; lives as long as they do. */
struct stele_quota *stele_auth_quota(const struct stele_principal *principal);

enum stele_right {
    STELE_RIGHT_READ,
    STELE_RIGHT_WRITE,
    STELE_RIGHT_DELETE,
    STELE_RIGHT_META_READ,
    STELE_RIGHT_META_WRITE,
    STELE_RIGHT_COUNT,
};

/* By the stream's $acl, else the default ACL of user or system streams ($settings); "$all" names
 * all events; a stream "$$x" asks for the metadata rights of x. Fast (cached); any thread.
 * generation: changes with every change of users and ACLs, so that live subscriptions know when to
 * ask again. */
bool stele_auth_may(struct stele_auth *auth, const struct stele_principal *principal,
                    struct stele_text stream, enum stele_right right);
uint64_t stele_auth_generation(const struct stele_auth *auth);
/* Users, their hashes, settings and the audit stream, and views of system streams: default ACLs do
 * not open them. Whoever hands out $all or a view to somebody who is no administrator leaves events
 * of such streams out, unless stele_auth_may() says yes for that very stream. */
bool stele_auth_is_secret(struct stele_text stream);
/* Is an event of this stream to be left out for this caller, wherever it was found? */
static inline bool stele_auth_hides(struct stele_auth *auth,
                                    const struct stele_principal *principal,
                                    struct stele_text stream)
{
    return stream.size > 0 && stream.data[0] == '$' && !principal->all_rights &&
           !principal->is_admin && stele_auth_is_secret(stream) &&
           !stele_auth_may(auth, principal, stream, STELE_RIGHT_READ);
}
/* The same for what a read or subscription of `subject` finds (data NULL: $all). The right to a view
 * ($ce-…, $et-…) is none to the streams in it: the events of those that the caller may not read are
 * left out. The right to $all is the right to all. */
static inline bool stele_auth_hides_in(struct stele_auth *auth,
                                       const struct stele_principal *principal,
                                       struct stele_text subject, struct stele_text stream)
{
    const bool is_view =
        subject.size > 4 && subject.data[0] == '$' &&
        (memcmp(subject.data, "$ce-", 4) == 0 || memcmp(subject.data, "$et-", 4) == 0);
    return stele_auth_hides(auth, principal, stream) ||
           (is_view && !principal->all_rights && !principal->is_admin &&
            !stele_auth_may(auth, principal, stream, STELE_RIGHT_READ));
}

/* ---- Users ---- */

enum stele_user_verb {
    STELE_USER_CREATE,          /* login, full_name, password, groups */
    STELE_USER_UPDATE,          /* login, full_name, groups; password is left alone */
    STELE_USER_DELETE,          /* login */
    STELE_USER_ENABLE,          /* login */
    STELE_USER_DISABLE,         /* login */
    STELE_USER_CHANGE_PASSWORD, /* login, password (the current one), new_password */
    STELE_USER_RESET_PASSWORD,  /* login, new_password */
};

/* A change of a user on its way. Embedded in what asks and alive until on_done; the texts are
 * borrowed until stele_auth_change_user() returns. Whether the caller may do this at all is the
 * caller's business (stele_auth_may_call(); a user may change their own password). */
struct stele_user_change {
    enum stele_user_verb verb;
    const char *login;
    const char *full_name; /* NULL: "". */
    const char *const *groups;
    size_t groups_count;
    const char *password;
    const char *new_password;
    const char *by;   /* Who does this, for the audit stream; NULL: the server itself. */
    const char *peer; /* The same. */
    struct stele_loop *loop;
    /* STELE_OK: durable, and what was remembered of the user is forgotten.
     * STELE_NOT_FOUND: no such user. STELE_WRONG_REVISION: it exists already (create), or somebody
     * else changed it at the same time. STELE_E_PERMISSION: the current password is wrong.
     * STELE_E_INVALID, STELE_E_LIMIT: message says what is not allowed. Others: as an append. */
    void (*on_done)(struct stele_user_change *change, int outcome);
    char message[496];
    void *module; /* The module's, like the rest. */
    struct stele_task task;
    int outcome;
};

/* on_done is called later, on the loop; never before this returns. */
void stele_auth_change_user(struct stele_auth *auth, struct stele_user_change *change);

/* STELE_OK, STELE_NOT_FOUND, what reading ended with. out_user->hash is wiped. */
STELE_MUST_USE
int stele_auth_get_user(struct stele_auth *auth, const char *login, struct stele_user *out_user,
                        struct stele_error *err);
/* Logins in byte order after `after` (NULL: from the first). Anything but 0 returned ends it. */
typedef int (*stele_user_callback)(void *context, const struct stele_user *user);
int stele_auth_list_users(struct stele_auth *auth, const char *after, stele_user_callback on_user,
                          void *context, struct stele_error *err);

/* ---- Looking at it ---- */

struct stele_auth_counts {
    uint64_t logins_ok;      /* Proofs that were checked and right. */
    uint64_t logins_failed;  /* … and wrong. */
    uint64_t logins_limited; /* Refused unchecked: too many wrong ones, or a full queue. */
    uint64_t proofs_known;   /* Answered from memory. */
    uint64_t audit_dropped;  /* Events not written to $stele-audit, over the bound. */
    uint64_t acl_loads;      /* ACLs read from the store. */
    uint64_t quota_refused;  /* Calls and requests refused because of a user's quota. */
};
void stele_auth_counts(struct stele_auth *auth, struct stele_auth_counts *out_counts);

#endif
