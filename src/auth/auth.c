#include "auth/auth_internal.h"

#include <sodium.h>
#include <stdarg.h>
#include <stdio.h>

#define WATCH_DELAY_US ((int64_t)20000)

void stele_auth__log(struct stele_auth *auth, enum stele_auth_log level, const char *format, ...)
{
    char message[512];
    va_list args;
    if (auth->options.on_log == NULL) {
        return;
    }
    va_start(args, format);
    (void)vsnprintf(message, sizeof message, format, args);
    va_end(args);
    auth->options.on_log(auth->options.context, level, message);
}

/* ---- Holding ---- */

void stele_auth__hold(struct stele_auth *auth)
{
    stele_auth__lock(auth);
    auth->holders++;
    stele_auth__unlock(auth);
}

void stele_auth__let_go(struct stele_auth *auth)
{
    stele_auth__lock(auth);
    const bool is_last = --auth->holders == 0;
    stele_auth__unlock(auth);
    if (is_last) {
        (void)pthread_cond_destroy(&auth->work_came);
        (void)pthread_mutex_destroy(&auth->lock);
        stele_release(auth->alloc, auth, sizeof *auth);
    }
}

/* ---- Watching ---- */

/* Live subscriptions compare generations. While something is written all the time, looking every
 * 20 ms is enough for them; whoever asks stele_auth_may() looks for themselves. */
static void on_watch_due(struct stele_timer *timer)
{
    struct stele_auth *const auth =
        (struct stele_auth *)((char *)timer - offsetof(struct stele_auth, watch_timer));
    stele_auth__lock(auth);
    auth->watch_timer_on = false;
    stele_auth__catch_up(auth);
    stele_auth__unlock(auth);
    stele_auth__first_start_look(auth);
}

static void on_visible(struct stele_watch *watch)
{
    struct stele_auth *const auth =
        (struct stele_auth *)((char *)watch - offsetof(struct stele_auth, watch));
    if (!auth->watch_timer_on) {
        auth->watch_timer_on = true;
        auth->loop->ops->timer_start(auth->loop, &auth->watch_timer,
                                     stele_loop_now_us(auth->loop) + WATCH_DELAY_US);
    }
}

static void watch(struct stele_auth *auth)
{
    auth->watch.on_visible = on_visible;
    auth->watch.loop = auth->loop;
    auth->watch_timer.on_due = on_watch_due;
    auth->engine->ops->watch_start(auth->engine, &auth->watch);
    auth->watching = true;
}

/* ---- Making it ---- */

static uint32_t or_default(uint32_t value, uint32_t otherwise)
{
    return value == 0 ? otherwise : value;
}

static const char *keep_text(const char *text, char *copy, size_t size)
{
    if (text == NULL || text[0] == '\0') {
        return NULL;
    }
    (void)snprintf(copy, size, "%s", text);
    return copy;
}

static void set_options(struct stele_auth *auth, const struct stele_auth_options *given)
{
    struct stele_auth_options *const options = &auth->options;
    *options = *given;
    options->admin_password = NULL;
    options->ops_password = NULL;
    options->jwt_keys = (struct stele_bytes){.data = NULL, .size = 0};
    options->jwt_audience =
        keep_text(given->jwt_audience, auth->jwt_audience, sizeof auth->jwt_audience);
    options->jwt_issuer = keep_text(given->jwt_issuer, auth->jwt_issuer, sizeof auth->jwt_issuer);
    options->jwt_roles = keep_text(given->jwt_roles == NULL ? "roles" : given->jwt_roles,
                                   auth->jwt_roles, sizeof auth->jwt_roles);
    if (options->password_memory == 0) {
        options->password_memory = STELE_PASSWORD_MEMORY;
    }
    options->password_passes = or_default(given->password_passes, STELE_PASSWORD_PASSES);
    options->proof_seconds = or_default(given->proof_seconds, 300);
    options->questions_max = or_default(given->questions_max, 64);
    options->failures_max = or_default(given->failures_max, 10);
    options->failures_refill_seconds = or_default(given->failures_refill_seconds, 6);
    options->audit_per_second = or_default(given->audit_per_second, 50);
}

static int make_tables(struct stele_auth *auth)
{
    uint64_t seed = 0;
    auth->loop->ops->random(auth->loop, &seed, sizeof seed);
    auth->loop->ops->random(auth->loop, auth->proof_key, sizeof auth->proof_key);
    auth->proofs = stele_allocate_zeroed(auth->alloc, STELE_AUTH__PROOFS * sizeof *auth->proofs);
    auth->acl_buckets = stele_allocate_zeroed(
        auth->alloc, STELE_AUTH__ACL_BUCKETS * sizeof(struct stele_auth__acl_entry *));
    auth->anonymous = stele_auth__principal(auth, "", NULL, 0);
    auth->anything = stele_auth__principal(auth, "", NULL, 0);
    const int outcome =
        stele_limit_init(&auth->limit, auth->alloc, seed, auth->options.failures_max,
                         auth->options.failures_refill_seconds);
    if (auth->proofs == NULL || auth->acl_buckets == NULL || auth->anonymous == NULL ||
        auth->anything == NULL || outcome != STELE_OK) {
        return STELE_E_NO_MEMORY;
    }
    auth->anything->all_rights = true;
    auth->settings_revision = UINT64_MAX;
    return STELE_OK;
}

static int start(struct stele_auth *auth, const struct stele_auth_options *options,
                 struct stele_error *err)
{
    int outcome = STELE_OK;
    if (options->jwt_keys.size > 0) {
        outcome = stele_jwt_keys_create(options->jwt_keys, auth->alloc, &auth->jwt_keys, err);
    }
    if (outcome != STELE_OK || options->insecure) {
        auth->ready = true;
        return outcome;
    }
    stele_auth__lock(auth);
    stele_auth__begin_watching(auth);
    stele_auth__unlock(auth);
    outcome = stele_auth__first_start(auth, options, err);
    if (outcome == STELE_OK) {
        watch(auth);
    }
    return outcome;
}

int stele_auth_create(struct stele_engine *engine, struct stele_loop *loop,
                      const struct stele_auth_options *options, struct stele_auth **out_auth,
                      struct stele_error *err)
{
    if (sodium_init() < 0) {
        return stele_fail(err, STELE_E_UNSUPPORTED, 0, "libsodium cannot be used here");
    }
    struct stele_auth *const auth = stele_allocate_zeroed(loop->alloc, sizeof *auth);
    if (auth == NULL) {
        return stele_fail(err, STELE_E_NO_MEMORY, 0, "users: no memory");
    }
    auth->alloc = loop->alloc;
    auth->engine = engine;
    auth->loop = loop;
    auth->holders = 1;
    (void)pthread_mutex_init(&auth->lock, NULL);
    (void)pthread_cond_init(&auth->work_came, NULL);
    set_options(auth, options);
    int outcome = make_tables(auth);
    if (outcome == STELE_OK) {
        outcome = stele_auth__worker_start(auth);
    }
    if (outcome != STELE_OK) {
        (void)stele_fail(err, outcome, 0, "users: no memory or no thread");
    } else {
        outcome = start(auth, options, err);
    }
    if (outcome != STELE_OK) {
        stele_auth_destroy(auth);
        return outcome;
    }
    *out_auth = auth;
    return STELE_OK;
}

void stele_auth_destroy(struct stele_auth *auth)
{
    if (auth == NULL) {
        return;
    }
    stele_auth__worker_stop(auth);
    if (auth->watching) {
        auth->engine->ops->watch_stop(auth->engine, &auth->watch);
        auth->loop->ops->timer_stop(auth->loop, &auth->watch_timer);
    }
    stele_auth__first_start_end(auth);
    stele_auth__lock(auth);
    auth->gone = true;
    if (auth->proofs != NULL) {
        stele_auth__forget_proofs(auth);
    }
    stele_auth__principal_drop(auth, auth->anonymous);
    stele_auth__principal_drop(auth, auth->anything);
    stele_auth__principals_orphan(auth);
    stele_auth__streams_deinit(auth);
    stele_auth__unlock(auth);
    stele_release(auth->alloc, auth->proofs, STELE_AUTH__PROOFS * sizeof *auth->proofs);
    stele_limit_deinit(&auth->limit, auth->alloc);
    stele_jwt_keys_destroy(auth->jwt_keys, auth->alloc);
    sodium_memzero(auth->proof_key, sizeof auth->proof_key);
    stele_auth__let_go(auth);
}

int stele_auth_set_jwt_keys(struct stele_auth *auth, struct stele_bytes keys,
                            struct stele_error *err)
{
    struct stele_jwt_keys *new_keys = NULL;
    if (keys.size > 0) {
        const int outcome = stele_jwt_keys_create(keys, auth->alloc, &new_keys, err);
        if (outcome != STELE_OK) {
            return outcome;
        }
    }
    stele_auth__lock(auth);
    struct stele_jwt_keys *const old_keys = auth->jwt_keys;
    auth->jwt_keys = new_keys;
    stele_auth__forget_proofs(auth);
    stele_auth__changed(auth);
    stele_auth__unlock(auth);
    stele_jwt_keys_destroy(old_keys, auth->alloc);
    return STELE_OK;
}

void stele_auth_counts(struct stele_auth *auth, struct stele_auth_counts *out_counts)
{
    stele_auth__lock(auth);
    *out_counts = auth->counts;
    for (size_t i = 0; i < STELE_AUTH__QUOTA_BUCKETS; i++) {
        for (struct stele_auth__quota *quota = auth->quotas[i]; quota != NULL;
             quota = quota->next) {
            out_counts->quota_refused += __atomic_load_n(&quota->refused, __ATOMIC_RELAXED);
        }
    }
    stele_auth__unlock(auth);
}
