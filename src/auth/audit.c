/* The stream $stele-audit: who failed to log in, who changed users. Best effort and bounded: a flood
 * of wrong passwords must not become a flood of events. What was left out is counted in the next
 * event that is written.
 *
 *     {"login":"ada","peer":"10.0.0.7:51820","by":"admin","what":"wrong password","left_out":12} */
#include "auth/auth_internal.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

struct audit {
    struct stele_task task;
    struct stele_appending appending;
    struct stele_auth *auth;
    char type[40];
    char *json; /* jansson's. */
    char line[400];
    bool is_failure;
};

static void finish(struct audit *audit)
{
    struct stele_auth *const auth = audit->auth;
    free(audit->json);
    stele_release(auth->alloc, audit, sizeof *audit);
    stele_auth__lock(auth);
    auth->audits--;
    stele_auth__unlock(auth);
    stele_auth__let_go(auth);
}

static void on_done(struct stele_appending *appending)
{
    finish((struct audit *)((char *)appending - offsetof(struct audit, appending)));
}

/* A token bucket on the loop's clock that holds one second's worth. */
static bool within_rate(struct stele_auth *auth)
{
    const int64_t now_us = stele_loop_now_us(auth->loop);
    const int64_t each_us = 1000000 / auth->options.audit_per_second;
    const int64_t debt_us = auth->audit_debt_us > now_us ? auth->audit_debt_us : now_us;
    if (debt_us - now_us > 1000000 - each_us) {
        return false;
    }
    auth->audit_debt_us = debt_us + each_us;
    return true;
}

static void run(struct stele_task *task)
{
    struct audit *const audit = (struct audit *)task;
    struct stele_auth *const auth = audit->auth;
    if (auth->gone) {
        finish(audit);
        return;
    }
    if (!within_rate(auth)) {
        stele_auth__lock(auth);
        auth->counts.audit_dropped++;
        auth->audits_lost++;
        stele_auth__unlock(auth);
        finish(audit);
        return;
    }
    stele_auth__log(auth, audit->is_failure ? STELE_AUTH_LOG_WARNING : STELE_AUTH_LOG_INFO, "%s",
                    audit->line);
    const struct stele_event_draft draft = {
        .type = audit->type, .data = audit->json, .data_size = strlen(audit->json)};
    const struct stele_append append = {
        .stream = STELE_AUDIT_STREAM, .expected = STELE_EXPECT_ANY, .events = &draft, .count = 1};
    audit->appending.loop = auth->loop;
    audit->appending.on_done = on_done;
    if (auth->engine->ops->append(auth->engine, &audit->appending, &append, 1, NULL, 0, NULL) !=
        STELE_OK) {
        finish(audit);
    }
}

static void set(json_t *object, const char *member, const char *value)
{
    if (value != NULL && value[0] != '\0') {
        (void)json_object_set_new(object, member, json_string(value)); /* Not UTF-8: left out. */
    }
}

static char *encode(const struct stele_auth__remark *remark, uint64_t lost)
{
    json_t *const object = json_object();
    set(object, "login", remark->login);
    set(object, "stream", remark->stream);
    set(object, "peer", remark->peer);
    set(object, "by", remark->by);
    set(object, "what", remark->what);
    if (lost > 0) {
        (void)json_object_set_new(object, "left_out", json_integer((json_int_t)lost));
    }
    char *const json = json_dumps(object, JSON_COMPACT);
    json_decref(object);
    return json;
}

/* Counts one under way. false: too many are. */
static bool take_place(struct stele_auth *auth, uint64_t *out_lost)
{
    const bool room = auth->audits < STELE_AUTH__AUDITS_MAX && !auth->gone;
    if (room) {
        auth->audits++;
        *out_lost = auth->audits_lost;
        auth->audits_lost = 0;
    } else {
        auth->counts.audit_dropped++;
        auth->audits_lost++;
    }
    return room;
}

static const char *words_of(const struct stele_auth__remark *remark)
{
    if (strcmp(remark->type, STELE_AUDIT_LOGIN_FAILED) == 0) {
        return "login failed";
    }
    return strcmp(remark->type, STELE_AUDIT_ACL_CHANGED) == 0 ? "rights changed" : "user changed";
}

static void describe(struct audit *audit, const struct stele_auth__remark *remark)
{
    const char *const whom = remark->login != NULL ? remark->login : remark->stream;
    (void)snprintf(audit->type, sizeof audit->type, "%s", remark->type);
    (void)snprintf(audit->line, sizeof audit->line, "%s%s%s%s%s%s%s: %s", words_of(remark),
                   whom != NULL ? ": " : "", whom != NULL ? whom : "",
                   remark->by != NULL ? " by " : "", remark->by != NULL ? remark->by : "",
                   remark->peer != NULL ? " from " : "", remark->peer != NULL ? remark->peer : "",
                   remark->what);
    audit->is_failure = strcmp(remark->type, STELE_AUDIT_LOGIN_FAILED) == 0;
}

void stele_auth__audit_locked(struct stele_auth *auth, const struct stele_auth__remark *remark)
{
    uint64_t lost = 0;
    if (!take_place(auth, &lost)) {
        return;
    }
    struct audit *const audit = stele_allocate_zeroed(auth->alloc, sizeof *audit);
    char *const json = audit == NULL ? NULL : encode(remark, lost);
    if (json == NULL) {
        stele_release(auth->alloc, audit, sizeof *audit);
        auth->audits--;
        return;
    }
    audit->auth = auth;
    audit->json = json;
    describe(audit, remark);
    auth->holders++;
    audit->task.run = run;
    stele_loop_post(auth->loop, &audit->task);
}

void stele_auth__audit(struct stele_auth *auth, const struct stele_auth__remark *remark)
{
    stele_auth__lock(auth);
    stele_auth__audit_locked(auth, remark);
    stele_auth__unlock(auth);
}
