/* Who is calling.
 *
 *     header ─▶ keyed hash ─▶ known proof ─────────────────────────────▶ principal, at once
 *                    └─▶ basic: address not limited ─▶ worker: Argon2id ─▶ proof ─▶ principal
 *                    └─▶ bearer: signature and claims ─────────────────▶ proof ─▶ principal
 *
 * Many connections that begin with the same credentials share one verification. A user that does
 * not exist costs as much time as one that does. */
#include "auth/auth_internal.h"

#include <sodium.h>
#include <stdio.h>

#define RECHECK_US ((int64_t)1000000) /* How often a known proof looks at the user's revision. */
#define WAYS 4u
#define NO_USER UINT64_MAX /* A proof's revision: there is no user in the store behind it. */

_Static_assert((STELE_AUTH__PROOFS & (STELE_AUTH__PROOFS - 1)) == 0, "places are masked");

/* One password on its way to the worker. */
struct stele_auth__verification {
    struct stele_auth__job job;
    struct stele_auth *auth;
    struct stele_auth__verification *next;
    struct stele_auth_question *waiting;
    uint8_t key[STELE_AUTH__PROOF_KEY_SIZE];
    uint64_t users_epoch;
    struct stele_credentials credentials;
    struct stele_user user;
    bool exists;
    int64_t asked_us;
    char peer[64];
};

/* ---- Proofs ---- */

static void drop_proof(struct stele_auth *auth, struct stele_auth__proof *proof)
{
    stele_auth__principal_drop(auth, proof->principal);
    sodium_memzero(proof, sizeof *proof);
}

static struct stele_auth__proof *ways_of(struct stele_auth *auth, const uint8_t *key)
{
    const uint64_t place = stele_load_u64le(key) & (STELE_AUTH__PROOFS / WAYS - 1);
    return &auth->proofs[place * WAYS];
}

/* The comparison takes the same time for every guess: how far one agrees must not show. */
static struct stele_auth__proof *find_proof(struct stele_auth *auth, const uint8_t *key)
{
    struct stele_auth__proof *const ways = ways_of(auth, key);
    struct stele_auth__proof *found = NULL;
    for (size_t i = 0; i < WAYS; i++) {
        if (ways[i].principal != NULL &&
            sodium_memcmp(ways[i].key, key, STELE_AUTH__PROOF_KEY_SIZE) == 0) {
            found = &ways[i];
        }
    }
    return found;
}

/* The proof holds a reference of its own. */
static void remember(struct stele_auth *auth, const struct stele_auth__proof *proof)
{
    struct stele_auth__proof *place = find_proof(auth, proof->key);
    struct stele_auth__proof *const ways = ways_of(auth, proof->key);
    for (size_t i = 0; i < WAYS && place == NULL; i++) {
        place = ways[i].principal == NULL ? &ways[i] : NULL;
    }
    if (place == NULL) {
        place = &ways[0];
        for (size_t i = 1; i < WAYS; i++) {
            place = ways[i].expires_us < place->expires_us ? &ways[i] : place;
        }
    }
    stele_principal_ref(proof->principal);
    if (place->principal != NULL) {
        drop_proof(auth, place);
    }
    *place = *proof;
}

static bool is_before(uint64_t proved, uint64_t revision)
{
    return revision == NO_USER || (proved != NO_USER && proved < revision);
}

/* revision NO_USER: whatever was proved. */
void stele_auth__forget_before(struct stele_auth *auth, const char *login, uint64_t revision)
{
    for (size_t i = 0; i < STELE_AUTH__PROOFS; i++) {
        struct stele_auth__proof *const proof = &auth->proofs[i];
        if (proof->principal != NULL && strcmp(proof->principal->name, login) == 0 &&
            is_before(proof->revision, revision)) {
            drop_proof(auth, proof);
        }
    }
    for (struct stele_auth__principal *own = auth->principals; own != NULL; own = own->next) {
        if (strcmp(own->face.name, login) == 0 && is_before(own->user_revision, revision)) {
            __atomic_store_n(&own->face.revoked, 1, __ATOMIC_RELEASE);
        }
    }
    auth->users_epoch++;
    stele_auth__changed(auth);
}

void stele_auth__forget_user(struct stele_auth *auth, const char *login)
{
    stele_auth__forget_before(auth, login, NO_USER);
}

void stele_auth__forget_proofs(struct stele_auth *auth)
{
    for (size_t i = 0; i < STELE_AUTH__PROOFS; i++) {
        if (auth->proofs[i].principal != NULL) {
            drop_proof(auth, &auth->proofs[i]);
        }
    }
}

static void hash_key(const struct stele_auth *auth, char kind, struct stele_text text, uint8_t *key)
{
    crypto_generichash_state state;
    (void)crypto_generichash_init(&state, auth->proof_key, sizeof auth->proof_key,
                                  STELE_AUTH__PROOF_KEY_SIZE);
    (void)crypto_generichash_update(&state, (const unsigned char *)&kind, 1);
    (void)crypto_generichash_update(&state, (const unsigned char *)text.data, text.size);
    (void)crypto_generichash_final(&state, key, STELE_AUTH__PROOF_KEY_SIZE);
    sodium_memzero(&state, sizeof state);
}

/* Whether the user is still what they were, looked up once in a while: changes that this server
 * makes are told at once, others (a restored backup, an event appended by hand) are found here. */
static bool is_current(struct stele_auth *auth, struct stele_auth__proof *proof, int64_t now_us)
{
    if (proof->revision == NO_USER || now_us - proof->checked_us < RECHECK_US) {
        return true;
    }
    char stream[STELE_USER_STREAM_SIZE];
    struct stele_stream_info info = {.revision_last = 0};
    stele_user_stream(proof->principal->name, stream);
    const int outcome = auth->engine->ops->stream_info(auth->engine, stream, &info, NULL);
    proof->checked_us = now_us;
    return outcome == STELE_OK && !info.deleted && !info.tombstoned &&
           info.revision_last == proof->revision;
}

/* A reference, or NULL. */
static struct stele_principal *known(struct stele_auth *auth, const uint8_t *key, int64_t now_us)
{
    struct stele_principal *principal = NULL;
    stele_auth__lock(auth);
    if (auth->ready) {
        stele_auth__catch_up(auth); /* Users that were changed, by whatever way. */
    }
    struct stele_auth__proof *const proof = find_proof(auth, key);
    if (proof != NULL && now_us >= proof->expires_us) {
        drop_proof(auth, proof);
    } else if (proof != NULL && !is_current(auth, proof, now_us)) {
        char login[STELE_LOGIN_SIZE_MAX + 1];
        (void)snprintf(login, sizeof login, "%s", proof->principal->name);
        stele_auth__forget_user(auth, login);
    } else if (proof != NULL) {
        principal = proof->principal;
        stele_principal_ref(principal);
        auth->counts.proofs_known++;
    }
    stele_auth__unlock(auth);
    return principal;
}

/* ---- Answers ---- */

static void answer(struct stele_auth_question *question, int outcome,
                   struct stele_principal *principal)
{
    question->on_answer(question, outcome, principal);
}

static void run_answer(struct stele_task *task)
{
    struct stele_auth_question *const question = (struct stele_auth_question *)task;
    _Static_assert(offsetof(struct stele_auth_question, task) == 0, "the task comes first");
    if (question->outcome == STELE_INCOMPLETE) {
        stele_auth_ask(question->module, question);
        return;
    }
    answer(question, question->outcome, question->principal);
}

/* Later, on the question's loop. STELE_INCOMPLETE: ask again. */
static void answer_later(struct stele_auth_question *question, int outcome,
                         struct stele_principal *principal)
{
    question->outcome = outcome;
    question->principal = principal;
    question->task.run = run_answer;
    stele_loop_post(question->loop, &question->task);
}

void stele_auth__set_ready(struct stele_auth *auth)
{
    stele_auth__lock(auth);
    auth->ready = true;
    struct stele_auth_question *question = auth->waiting;
    auth->waiting = NULL;
    stele_auth__unlock(auth);
    while (question != NULL) {
        struct stele_auth_question *const next = question->next;
        answer_later(question, STELE_INCOMPLETE, NULL);
        question = next;
    }
}

static void refuse(struct stele_auth *auth, struct stele_auth_question *question, const char *login,
                   const char *why)
{
    const struct stele_auth__remark remark = {
        .type = STELE_AUDIT_LOGIN_FAILED, .login = login, .peer = question->peer, .what = why};
    stele_auth__lock(auth);
    auth->counts.logins_failed++;
    stele_limit_failed(&auth->limit, question->peer, stele_loop_now_us(question->loop));
    stele_auth__unlock(auth);
    stele_auth__audit(auth, &remark);
    answer(question, STELE_E_PERMISSION, NULL);
}

static void refuse_unchecked(struct stele_auth *auth, struct stele_auth_question *question)
{
    stele_auth__lock(auth);
    auth->counts.logins_limited++;
    stele_auth__unlock(auth);
    answer(question, STELE_E_OVERLOADED, NULL);
}

static bool is_limited(struct stele_auth *auth, const struct stele_auth_question *question)
{
    stele_auth__lock(auth);
    const bool allowed =
        stele_limit_allows(&auth->limit, question->peer, stele_loop_now_us(question->loop));
    stele_auth__unlock(auth);
    return !allowed;
}

/* ---- Passwords ---- */

static void free_verification(struct stele_auth__verification *verification)
{
    struct stele_auth *const auth = verification->auth;
    sodium_memzero(verification, sizeof *verification);
    stele_release(auth->alloc, verification, sizeof *verification);
}

static void take_out(struct stele_auth *auth, const struct stele_auth__verification *verification)
{
    struct stele_auth__verification **at = &auth->verifications;
    while (*at != verification) {
        at = &(*at)->next;
    }
    *at = verification->next;
}

/* Under the lock. The outcome for everybody who waits, and a reference if it is STELE_OK. */
static int conclude(struct stele_auth__verification *verification, bool matches,
                    struct stele_principal **out_principal)
{
    struct stele_auth *const auth = verification->auth;
    const struct stele_user *const user = &verification->user;
    if (!verification->exists || !matches || user->disabled) {
        auth->counts.logins_failed++;
        stele_limit_failed(&auth->limit, verification->peer, verification->asked_us);
        return STELE_E_PERMISSION;
    }
    /* Changed while the password was being checked: everybody asks again. */
    if (verification->users_epoch != auth->users_epoch) {
        return STELE_INCOMPLETE;
    }
    struct stele_auth__proof proof = {
        .principal = stele_auth__principal(auth, user->login, user->groups[0], user->groups_count),
        .expires_us = verification->asked_us + (int64_t)auth->options.proof_seconds * 1000000,
        .checked_us = verification->asked_us,
        .revision = user->revision,
    };
    if (proof.principal == NULL) {
        return STELE_E_OVERLOADED;
    }
    stele_auth__set_revision(proof.principal, user->revision);
    memcpy(proof.key, verification->key, sizeof proof.key);
    remember(auth, &proof);
    auth->counts.logins_ok++;
    *out_principal = proof.principal;
    return STELE_OK;
}

/* Where there is no such user, or one that was imported with a hash of another kind, a hash is made of the password and thrown away: that takes as long. */
static bool check_password(const struct stele_auth__verification *verification)
{
    const struct stele_auth_options *const options = &verification->auth->options;
    const char *const password = verification->credentials.password;
    if (verification->exists && stele_password_is_hash(verification->user.hash)) {
        return stele_password_verify(password, verification->user.hash);
    }
    char hash[STELE_PASSWORD_HASH_SIZE];
    const int outcome =
        stele_password_hash(password, options->password_memory, options->password_passes, hash);
    (void)outcome;
    stele_password_wipe(hash, sizeof hash);
    return false;
}

static void verify_password(struct stele_auth__job *job)
{
    struct stele_auth__verification *const verification = (struct stele_auth__verification *)job;
    _Static_assert(offsetof(struct stele_auth__verification, job) == 0, "the job comes first");
    struct stele_auth *const auth = verification->auth;
    const bool matches = check_password(verification);
    struct stele_principal *principal = NULL;
    stele_auth__lock(auth);
    take_out(auth, verification);
    const int outcome = conclude(verification, matches, &principal);
    struct stele_auth_question *question = verification->waiting;
    stele_auth__unlock(auth);
    if (outcome == STELE_E_PERMISSION) {
        /* What somebody types where a login belongs may be a password: only logins that exist are
         * written down. */
        const struct stele_auth__remark remark = {
            .type = STELE_AUDIT_LOGIN_FAILED,
            .login = verification->exists ? verification->user.login : NULL,
            .peer = verification->peer,
            .what = !verification->exists ? "there is no such user"
                                          : (matches ? "the user is disabled" : "wrong password")};
        stele_auth__audit(auth, &remark);
    }
    while (question != NULL) {
        struct stele_auth_question *const next = question->next;
        if (principal != NULL) {
            stele_principal_ref(principal);
        }
        answer_later(question, outcome, principal);
        question = next;
    }
    stele_principal_unref(principal);
    free_verification(verification);
}

/* true: the same credentials are being checked, and the question waits for that. */
static bool join(struct stele_auth *auth, struct stele_auth_question *question, const uint8_t *key)
{
    stele_auth__lock(auth);
    struct stele_auth__verification *at = auth->verifications;
    while (at != NULL && sodium_memcmp(at->key, key, sizeof at->key) != 0) {
        at = at->next;
    }
    if (at != NULL) {
        question->next = at->waiting;
        at->waiting = question;
    }
    stele_auth__unlock(auth);
    return at != NULL;
}

/* Nobody but this thread knows the verification yet, unless another thread joined meanwhile. */
static void give_up(struct stele_auth *auth, struct stele_auth__verification *verification)
{
    stele_auth__lock(auth);
    take_out(auth, verification);
    struct stele_auth_question *question = verification->waiting;
    auth->counts.logins_limited++;
    stele_auth__unlock(auth);
    while (question != NULL) {
        struct stele_auth_question *const next = question->next;
        answer_later(question, STELE_E_OVERLOADED, NULL);
        question = next;
    }
    free_verification(verification);
}

/* One address may fill a quarter of the queue: others want to log in, too. What is waiting has not
 * been found wrong yet, so the count of failures does not bound it. */
static bool has_place(struct stele_auth *auth, const struct stele_auth_question *question)
{
    const char *const peer = question->peer == NULL ? "" : question->peer;
    uint32_t waiting = 0;
    stele_auth__lock(auth);
    for (const struct stele_auth__verification *v = auth->verifications; v != NULL; v = v->next) {
        waiting += stele_limit_same(v->peer, peer);
    }
    stele_auth__unlock(auth);
    return waiting < (auth->options.questions_max + 3) / 4;
}

static void ask_basic(struct stele_auth *auth, struct stele_auth_question *question,
                      struct stele_text encoded, const uint8_t *key)
{
    if (join(auth, question, key)) {
        return;
    }
    if (is_limited(auth, question) || !has_place(auth, question)) {
        refuse_unchecked(auth, question);
        return;
    }
    struct stele_auth__verification *const verification =
        stele_allocate_zeroed(auth->alloc, sizeof *verification);
    if (verification == NULL) {
        refuse_unchecked(auth, question);
        return;
    }
    verification->auth = auth;
    if (stele_credentials_basic(encoded, &verification->credentials) != STELE_OK) {
        free_verification(verification);
        refuse(auth, question, NULL, "the credentials are malformed");
        return;
    }
    stele_auth__lock(auth);
    verification->users_epoch = auth->users_epoch;
    stele_auth__unlock(auth);
    const int outcome =
        stele_auth__read_user(auth, verification->credentials.login, &verification->user, NULL);
    if (outcome != STELE_OK && outcome != STELE_NOT_FOUND && outcome != STELE_E_CORRUPT) {
        free_verification(verification);
        refuse_unchecked(auth, question);
        return;
    }
    verification->job.work = verify_password;
    verification->exists = outcome == STELE_OK;
    verification->asked_us = stele_loop_now_us(question->loop);
    (void)snprintf(verification->peer, sizeof verification->peer, "%s",
                   question->peer == NULL ? "" : question->peer);
    memcpy(verification->key, key, sizeof verification->key);
    question->next = NULL;
    verification->waiting = question;
    stele_auth__lock(auth);
    verification->next = auth->verifications;
    auth->verifications = verification;
    stele_auth__unlock(auth);
    if (stele_auth__worker_do(auth, &verification->job) != STELE_OK) {
        give_up(auth, verification);
    }
}

/* ---- Tokens and certificates ---- */

static int64_t min_us(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* A token names people that the store need not know. Its proof ends with it. */
static const char *check_token(struct stele_auth *auth, const struct stele_auth_question *question,
                               struct stele_text token, const uint8_t *key,
                               struct stele_principal **out_principal)
{
    struct stele_loop *const loop = question->loop;
    const struct stele_jwt_rules rules = {
        .now_s = loop->ops->wall_us(loop) / 1000000,
        .audience = auth->options.jwt_audience,
        .issuer = auth->options.jwt_issuer,
        .roles = auth->options.jwt_roles,
    };
    struct stele_jwt_claims claims;
    const char *why = NULL;
    /* The keys may be exchanged while a token is checked: under the lock, some 50 µs. */
    stele_auth__lock(auth);
    if (stele_jwt_verify(auth->jwt_keys, &rules, token, &claims, &why) == STELE_OK) {
        const int64_t now_us = stele_loop_now_us(loop);
        struct stele_auth__proof proof = {
            .principal =
                stele_auth__principal(auth, claims.subject, claims.roles[0], claims.roles_count),
            .expires_us = min_us(now_us + (int64_t)auth->options.proof_seconds * 1000000,
                                 now_us + (claims.expires_s - rules.now_s) * 1000000),
            .revision = NO_USER,
        };
        if (proof.principal == NULL) {
            why = "there is no memory";
        } else {
            memcpy(proof.key, key, sizeof proof.key);
            remember(auth, &proof);
            auth->counts.logins_ok++;
            *out_principal = proof.principal;
        }
    }
    stele_auth__unlock(auth);
    return why;
}

static void ask_bearer(struct stele_auth *auth, struct stele_auth_question *question,
                       struct stele_text token, const uint8_t *key)
{
    if (is_limited(auth, question)) {
        refuse_unchecked(auth, question);
        return;
    }
    struct stele_principal *principal = NULL;
    const char *const why = check_token(auth, question, token, key, &principal);
    if (why != NULL) {
        refuse(auth, question, NULL, why);
        return;
    }
    answer(question, STELE_OK, principal);
}

static void ask_certificate(struct stele_auth *auth, struct stele_auth_question *question,
                            const uint8_t *key)
{
    struct stele_user user;
    stele_auth__lock(auth);
    const uint64_t epoch = auth->users_epoch;
    stele_auth__unlock(auth);
    const int outcome = stele_user_check_login(question->client_cn, NULL) != STELE_OK
                            ? STELE_NOT_FOUND
                            : stele_auth__read_user(auth, question->client_cn, &user, NULL);
    if (outcome != STELE_OK || user.disabled) {
        refuse(auth, question, outcome == STELE_OK ? user.login : NULL,
               outcome == STELE_OK ? "the user is disabled"
                                   : "the client certificate names no user");
        return;
    }
    stele_password_wipe(user.hash, sizeof user.hash);
    const int64_t now_us = stele_loop_now_us(question->loop);
    stele_auth__lock(auth);
    struct stele_auth__proof proof = {
        .principal = stele_auth__principal(auth, user.login, user.groups[0], user.groups_count),
        .expires_us = now_us + (int64_t)auth->options.proof_seconds * 1000000,
        .checked_us = now_us,
        .revision = user.revision,
    };
    if (proof.principal != NULL) {
        stele_auth__set_revision(proof.principal, user.revision);
    }
    if (proof.principal != NULL && epoch == auth->users_epoch) {
        memcpy(proof.key, key, sizeof proof.key);
        remember(auth, &proof);
    }
    auth->counts.logins_ok++;
    stele_auth__unlock(auth);
    if (proof.principal == NULL) {
        refuse_unchecked(auth, question);
        return;
    }
    answer(question, STELE_OK, proof.principal);
}

/* ---- Asking ---- */

static bool wait_until_ready(struct stele_auth *auth, struct stele_auth_question *question)
{
    stele_auth__lock(auth);
    const bool ready = auth->ready;
    if (!ready) {
        question->next = auth->waiting;
        auth->waiting = question;
    }
    stele_auth__unlock(auth);
    return !ready;
}

static void answer_constant(struct stele_auth_question *question, struct stele_principal *principal)
{
    stele_principal_ref(principal);
    answer(question, STELE_OK, principal);
}

void stele_auth_ask(struct stele_auth *auth, struct stele_auth_question *question)
{
    question->module = auth;
    if (auth->options.insecure) {
        answer_constant(question, auth->anything);
        return;
    }
    const bool by_header = question->authorization.data != NULL;
    if (!by_header && question->client_cn == NULL) {
        answer_constant(question, auth->anonymous);
        return;
    }
    if (by_header && question->authorization.size > STELE_CREDENTIALS_SIZE_MAX) {
        refuse(auth, question, NULL, "the credentials are too long");
        return;
    }
    struct stele_text rest = {NULL, 0};
    const enum stele_scheme scheme =
        by_header ? stele_credentials_scheme(question->authorization, &rest) : STELE_SCHEME_OTHER;
    if (by_header && scheme == STELE_SCHEME_OTHER) {
        refuse(auth, question, NULL, "the credentials are neither Basic nor Bearer");
        return;
    }
    const struct stele_text text =
        by_header ? question->authorization
                  : (struct stele_text){question->client_cn, strlen(question->client_cn)};
    uint8_t key[STELE_AUTH__PROOF_KEY_SIZE];
    hash_key(auth, by_header ? 'h' : 'c', text, key);
    struct stele_principal *const principal = known(auth, key, stele_loop_now_us(question->loop));
    if (principal != NULL) {
        answer(question, STELE_OK, principal);
        return;
    }
    if (wait_until_ready(auth, question)) {
        return;
    }
    if (!by_header) {
        ask_certificate(auth, question, key);
    } else if (scheme == STELE_SCHEME_BASIC) {
        ask_basic(auth, question, rest, key);
    } else {
        ask_bearer(auth, question, rest, key);
    }
}
