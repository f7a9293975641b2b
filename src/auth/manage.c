/* Changing users.
 *
 *     caller's loop      home loop                    worker           home loop     caller's loop
 *     change_user() ──▶  read the user, check  ─▶  verify, hash  ─▶  append  ─▶  on_done
 *
 * What is appended expects the revision that was read, so of two changes at the same time one loses
 * and says so. */
#include "auth/auth_internal.h"

#include <sodium.h>
#include <stdio.h>

#define MESSAGE_NO_USER "there is no such user"

struct manage {
    struct stele_auth__job job;
    struct stele_task task;
    struct stele_appending appending;
    struct stele_auth *auth;
    struct stele_user_change *change; /* The asker's; alive until its on_done. */
    enum stele_user_verb verb;
    struct stele_user about; /* login, full_name and groups that were asked for. */
    struct stele_user user;  /* As it is in the store, and then as it will be. */
    char password[STELE_PASSWORD_SIZE_MAX + 1];
    char new_password[STELE_PASSWORD_SIZE_MAX + 1];
    char by[STELE_LOGIN_SIZE_MAX + 1];
    char peer[64];
    int outcome;
};

static const char *const words[] = {
    [STELE_USER_CREATE] = "created",
    [STELE_USER_UPDATE] = "updated",
    [STELE_USER_DELETE] = "deleted",
    [STELE_USER_ENABLE] = "enabled",
    [STELE_USER_DISABLE] = "disabled",
    [STELE_USER_CHANGE_PASSWORD] = "changed the password",
    [STELE_USER_RESET_PASSWORD] = "password was set anew",
};

/* ---- The end ---- */

static void run_done(struct stele_task *task)
{
    struct stele_user_change *const change =
        (struct stele_user_change *)((char *)task - offsetof(struct stele_user_change, task));
    change->on_done(change, change->outcome);
}

static void finish(struct manage *manage, int outcome, const char *message)
{
    struct stele_auth *const auth = manage->auth;
    struct stele_user_change *const change = manage->change;
    change->outcome = outcome;
    if (message != change->message) {
        (void)snprintf(change->message, sizeof change->message, "%s", message);
    }
    stele_password_wipe(manage, sizeof *manage);
    stele_release(auth->alloc, manage, sizeof *manage);
    change->task.run = run_done;
    stele_loop_post(change->loop, &change->task);
    stele_auth__let_go(auth);
}

static void on_stored(struct stele_appending *appending)
{
    struct manage *const manage =
        (struct manage *)((char *)appending - offsetof(struct manage, appending));
    struct stele_auth *const auth = manage->auth;
    const int outcome = appending->outcome;
    if (outcome == STELE_OK && !auth->gone) {
        const struct stele_auth__remark remark = {.type = STELE_AUDIT_USER_CHANGED,
                                                  .login = manage->about.login,
                                                  .by = manage->by,
                                                  .peer = manage->peer,
                                                  .what = words[manage->verb]};
        stele_auth__lock(auth);
        stele_auth__forget_user(auth, manage->about.login);
        stele_auth__audit_locked(auth, &remark);
        stele_auth__unlock(auth);
    }
    const char *message = appending->err.message;
    if (outcome == STELE_WRONG_REVISION) {
        message = manage->verb == STELE_USER_CREATE ? "there is such a user already"
                                                    : "somebody else changed it at the same time";
    } else if (outcome == STELE_OK) {
        message = "";
    }
    finish(manage, outcome, message);
}

/* ---- Storing ---- */

static void tag_id(const struct stele_auth *auth, uint8_t id[16])
{
    _Static_assert(STELE_AUTH__PROOF_KEY_SIZE >= crypto_shorthash_KEYBYTES, "a key is in it");
    _Static_assert(crypto_shorthash_BYTES == 8, "the second half");
    id[6] = (uint8_t)(0x40 | (id[6] & 0x0f)); /* RFC 9562: version 4, */
    (void)crypto_shorthash(id + 8, id, 8, auth->proof_key);
    id[8] = (uint8_t)(0x80 | (id[8] & 0x3f)); /* variant 2. */
}

void stele_auth__make_id(struct stele_auth *auth, uint8_t id[16])
{
    auth->loop->ops->random(auth->loop, id, 8);
    tag_id(auth, id);
}

bool stele_auth__is_own_id(const struct stele_auth *auth, const uint8_t id[16])
{
    uint8_t own[16];
    memcpy(own, id, 8);
    tag_id(auth, own);
    return sodium_memcmp(own, id, sizeof own) == 0;
}

static int append(struct manage *manage, const struct stele_append *streams, size_t count,
                  struct stele_error *err)
{
    struct stele_auth *const auth = manage->auth;
    return auth->engine->ops->append(auth->engine, &manage->appending, streams, count, NULL, 0,
                                     err);
}

static int store_user(struct manage *manage, const struct stele_buf *json, struct stele_error *err)
{
    char stream[STELE_USER_STREAM_SIZE];
    const bool creates = manage->verb == STELE_USER_CREATE;
    const bool new_password =
        manage->verb == STELE_USER_CHANGE_PASSWORD || manage->verb == STELE_USER_RESET_PASSWORD;
    stele_user_stream(manage->about.login, stream);
    struct stele_event_draft user = {
        .type = creates ? STELE_USER_TYPE_CREATED
                        : (new_password ? STELE_USER_TYPE_PASSWORD : STELE_USER_TYPE_UPDATED),
        .data = json->data,
        .data_size = json->size};
    stele_auth__make_id(manage->auth, user.id);
    const struct stele_event_draft listed = {.type = STELE_USER_TYPE_LISTED,
                                             .data = manage->about.login,
                                             .data_size = strlen(manage->about.login),
                                             .content_type = "text/plain"};
    char told[STELE_LOGIN_SIZE_MAX * 6 + 32]; /* Every byte of a login may need an escape. */
    const struct stele_event_draft notification = {
        .type = STELE_USER_TYPE_PASSWORD,
        .data = told,
        .data_size = stele_user_encode_login(manage->about.login, told, sizeof told)};
    struct stele_append streams[2] = {
        {.stream = stream,
         .expected = creates ? STELE_EXPECT_NO_STREAM : manage->user.revision,
         .events = &user,
         .count = 1}};
    if (creates) {
        streams[1] = (struct stele_append){.stream = STELE_USERS_STREAM,
                                           .expected = STELE_EXPECT_ANY,
                                           .events = &listed,
                                           .count = 1};
    } else if (new_password) {
        streams[1] = (struct stele_append){.stream = STELE_USERS_NOTIFICATIONS_STREAM,
                                           .expected = STELE_EXPECT_ANY,
                                           .events = &notification,
                                           .count = 1};
    }
    return append(manage, streams, streams[1].stream != NULL ? 2 : 1, err);
}

static void store(struct manage *manage)
{
    struct stele_auth *const auth = manage->auth;
    struct stele_error err = {.outcome = STELE_OK, .message = ""};
    struct stele_buf json = {.data = NULL};
    int outcome = STELE_OK;
    manage->appending.loop = auth->loop;
    manage->appending.on_done = on_stored;
    if (manage->verb == STELE_USER_DELETE) {
        char stream[STELE_USER_STREAM_SIZE];
        stele_user_stream(manage->about.login, stream);
        outcome = auth->engine->ops->soft_delete(auth->engine, &manage->appending, stream,
                                                 manage->user.revision, &err);
    } else {
        outcome = stele_user_encode(&manage->user, auth->alloc, &json);
        if (outcome == STELE_OK) {
            outcome = store_user(manage, &json, &err);
        }
    }
    if (json.size > 0) {
        stele_password_wipe(json.data, json.size);
    }
    stele_buf_deinit(&json, auth->alloc);
    if (outcome != STELE_OK) {
        finish(manage, outcome, err.message);
    }
}

/* ---- Hashing ---- */

static void run_hashed(struct stele_task *task)
{
    struct manage *const manage = (struct manage *)((char *)task - offsetof(struct manage, task));
    if (manage->auth->gone) {
        finish(manage, STELE_E_CLOSED, "the server stops");
    } else if (manage->outcome == STELE_E_PERMISSION) {
        const struct stele_auth__remark remark = {.type = STELE_AUDIT_LOGIN_FAILED,
                                                  .login = manage->about.login,
                                                  .by = manage->by,
                                                  .peer = manage->peer,
                                                  .what = "wrong current password"};
        stele_auth__lock(manage->auth);
        stele_limit_failed(&manage->auth->limit, manage->peer,
                           stele_loop_now_us(manage->auth->loop));
        stele_auth__audit_locked(manage->auth, &remark);
        stele_auth__unlock(manage->auth);
        finish(manage, STELE_E_PERMISSION, "the current password is wrong");
    } else if (manage->outcome != STELE_OK) {
        finish(manage, manage->outcome, "no memory to hash a password with");
    } else {
        store(manage);
    }
}

static void hash(struct stele_auth__job *job)
{
    struct manage *const manage = (struct manage *)job;
    _Static_assert(offsetof(struct manage, job) == 0, "the job comes first");
    struct stele_auth *const auth = manage->auth;
    if (manage->verb == STELE_USER_CHANGE_PASSWORD &&
        !stele_password_verify(manage->password, manage->user.hash)) {
        manage->outcome = STELE_E_PERMISSION;
    } else {
        const char *const plain =
            manage->verb == STELE_USER_CREATE ? manage->password : manage->new_password;
        manage->outcome = stele_password_hash(plain, auth->options.password_memory,
                                              auth->options.password_passes, manage->user.hash);
    }
    manage->task.run = run_hashed;
    stele_loop_post(auth->loop, &manage->task);
}

static bool needs_hash(enum stele_user_verb verb)
{
    return verb == STELE_USER_CREATE || verb == STELE_USER_CHANGE_PASSWORD ||
           verb == STELE_USER_RESET_PASSWORD;
}

/* ---- The beginning ---- */

/* What the user will be, as far as no password is concerned. */
static void apply(struct manage *manage)
{
    struct stele_user *const user = &manage->user;
    if (manage->verb == STELE_USER_CREATE) {
        *user = manage->about;
    } else if (manage->verb == STELE_USER_UPDATE) {
        memcpy(user->full_name, manage->about.full_name, sizeof user->full_name);
        memcpy(user->groups, manage->about.groups, sizeof user->groups);
        user->groups_count = manage->about.groups_count;
    } else if (manage->verb == STELE_USER_ENABLE || manage->verb == STELE_USER_DISABLE) {
        user->disabled = manage->verb == STELE_USER_DISABLE;
    }
}

static void run_begin(struct stele_task *task)
{
    struct manage *const manage = (struct manage *)((char *)task - offsetof(struct manage, task));
    struct stele_auth *const auth = manage->auth;
    struct stele_error err = {.outcome = STELE_OK, .message = ""};
    if (auth->gone) {
        finish(manage, STELE_E_CLOSED, "the server stops");
        return;
    }
    if (manage->outcome != STELE_OK) {
        finish(manage, manage->outcome, manage->change->message);
        return;
    }
    const int outcome = stele_auth__read_user(auth, manage->about.login, &manage->user, &err);
    const bool creates = manage->verb == STELE_USER_CREATE;
    if (creates ? outcome != STELE_NOT_FOUND : outcome != STELE_OK) {
        const int told = creates && outcome == STELE_OK ? STELE_WRONG_REVISION : outcome;
        finish(manage, told,
               told == STELE_WRONG_REVISION
                   ? "there is such a user already"
                   : (told == STELE_NOT_FOUND ? MESSAGE_NO_USER : err.message));
        return;
    }
    apply(manage);
    if (!needs_hash(manage->verb)) {
        store(manage);
    } else {
        stele_auth__lock(auth);
        const bool allowed =
            manage->verb != STELE_USER_CHANGE_PASSWORD ||
            stele_limit_allows(&auth->limit, manage->peer, stele_loop_now_us(auth->loop));
        stele_auth__unlock(auth);
        manage->job.work = hash;
        if (!allowed || stele_auth__worker_do(auth, &manage->job) != STELE_OK) {
            finish(manage, STELE_E_OVERLOADED, "too many passwords are being checked; try later");
        }
    }
}

static int check(struct manage *manage, const struct stele_user_change *change,
                 struct stele_error *err)
{
    int outcome = stele_user_check_login(change->login, err);
    if (outcome == STELE_OK && change->verb == STELE_USER_CREATE) {
        outcome = stele_user_check_password(change->password, err);
    }
    if (outcome == STELE_OK &&
        (change->verb == STELE_USER_CHANGE_PASSWORD || change->verb == STELE_USER_RESET_PASSWORD)) {
        outcome = stele_user_check_password(change->new_password, err);
    }
    if (outcome == STELE_OK && change->password != NULL &&
        strlen(change->password) > STELE_PASSWORD_SIZE_MAX) {
        outcome = stele_fail(err, STELE_E_LIMIT, 0, "the password is too long");
    }
    if (outcome == STELE_OK) {
        outcome = stele_user_set_about(&manage->about, change->full_name, change->groups,
                                       change->groups_count, err);
    }
    return outcome;
}

static void copy(char *to, size_t size, const char *from)
{
    (void)snprintf(to, size, "%s", from == NULL ? "" : from);
}

void stele_auth_change_user(struct stele_auth *auth, struct stele_user_change *change)
{
    struct manage *const manage = stele_allocate_zeroed(auth->alloc, sizeof *manage);
    struct stele_error err = {.outcome = STELE_OK, .message = ""};
    change->message[0] = '\0';
    if (manage == NULL) {
        change->outcome = STELE_E_NO_MEMORY;
        copy(change->message, sizeof change->message, "no memory");
        change->task.run = run_done;
        stele_loop_post(change->loop, &change->task);
        return;
    }
    stele_auth__hold(auth);
    manage->auth = auth;
    manage->change = change;
    manage->verb = change->verb;
    manage->outcome = check(manage, change, &err);
    if (manage->outcome == STELE_OK) {
        copy(manage->about.login, sizeof manage->about.login, change->login);
        copy(manage->password, sizeof manage->password, change->password);
        copy(manage->new_password, sizeof manage->new_password, change->new_password);
    } else {
        copy(change->message, sizeof change->message, err.message);
        /* A login that cannot be one names no user. */
        if (change->verb != STELE_USER_CREATE &&
            stele_user_check_login(change->login, NULL) != STELE_OK) {
            manage->outcome = STELE_NOT_FOUND;
        }
    }
    copy(manage->by, sizeof manage->by, change->by);
    copy(manage->peer, sizeof manage->peer, change->peer);
    manage->task.run = run_begin;
    stele_loop_post(auth->loop, &manage->task);
}
