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

#include "auth/table.h"
#include "base/alloc.h"
#include "base/bytes.h"
#include "base/status.h"
#include "io/loop.h"

#include <stele/stele.h>

#define STELE_LOGIN_SIZE_MAX 255
#define STELE_ROLES_MAX 16

/* A caller. Immutable, counted; name and groups are what ACLs are matched with. */
struct stele_principal {
    uint32_t refs; /* Atomic. */
    bool anonymous;
    bool all_rights; /* --insecure. */
    bool is_admin;   /* In $admins. */
    bool is_ops;     /* In $ops. */
    uint32_t groups_count;
    char name[STELE_LOGIN_SIZE_MAX + 1];
    char groups[STELE_ROLES_MAX][64];
};

struct stele_auth; /* Made by the server; any thread may use it. */

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
    void *module; /* The module's. */
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

enum stele_right {
    STELE_RIGHT_READ,
    STELE_RIGHT_WRITE,
    STELE_RIGHT_DELETE,
    STELE_RIGHT_META_READ,
    STELE_RIGHT_META_WRITE,
};

/* By the stream's $acl, else the default ACL of user or system streams ($settings); "$all" names
 * all events; a stream "$$x" asks for the metadata rights of x. Fast (cached); any thread.
 * generation: changes with every change of users and ACLs, so that live subscriptions know when to
 * ask again. */
bool stele_auth_may(struct stele_auth *auth, const struct stele_principal *principal,
                    struct stele_text stream, enum stele_right right);
uint64_t stele_auth_generation(const struct stele_auth *auth);

#endif
