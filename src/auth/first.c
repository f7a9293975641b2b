/* The first start: a store that never had a user "admin" gets the users admin and ops. Their
 * passwords are told once, when the users are durable, and kept nowhere. */
#include "auth/auth_internal.h"

#include <stdio.h>

#define RETRY_US ((int64_t)1000000)
#define AUDIT_METADATA "{\"$maxAge\":31536000}" /* A year. */

struct first_user {
    struct stele_user user;
    char password[STELE_PASSWORD_SIZE_MAX + 1];
    bool made;
    struct stele_buf json;
    char stream[STELE_USER_STREAM_SIZE];
};

struct stele_auth__first_start {
    struct stele_task task;
    struct stele_timer timer;
    struct stele_appending appending;
    struct stele_auth *auth;
    bool under_way;
    size_t count;
    struct first_user users[2];
};

static void release(struct stele_auth__first_start *first)
{
    struct stele_auth *const auth = first->auth;
    for (size_t i = 0; i < first->count; i++) {
        struct stele_buf *const json = &first->users[i].json;
        if (json->size > 0) {
            stele_password_wipe(json->data, json->size);
        }
        stele_buf_deinit(json, auth->alloc);
    }
    stele_password_wipe(first, sizeof *first);
    stele_release(auth->alloc, first, sizeof *first);
    stele_auth__let_go(auth);
}

static void tell(struct stele_auth *auth, const struct stele_auth__first_start *first)
{
    for (size_t i = 0; i < first->count; i++) {
        const struct first_user *const user = &first->users[i];
        if (user->made && auth->options.on_first_password != NULL) {
            auth->options.on_first_password(auth->options.context, user->user.login,
                                            user->password);
        }
    }
}

static void on_done(struct stele_appending *appending)
{
    struct stele_auth__first_start *const first =
        (struct stele_auth__first_start *)((char *)appending -
                                           offsetof(struct stele_auth__first_start, appending));
    struct stele_auth *const auth = first->auth;
    first->under_way = false;
    if (auth->gone) {
        release(first);
        return;
    }
    if (appending->outcome != STELE_OK && appending->outcome != STELE_WRONG_REVISION) {
        stele_auth__log(auth, STELE_AUTH_LOG_ERROR, "the first users could not be stored: %.200s",
                        appending->err.message);
        auth->loop->ops->timer_start(auth->loop, &first->timer,
                                     stele_loop_now_us(auth->loop) + RETRY_US);
        return;
    }
    if (appending->outcome == STELE_OK) {
        tell(auth, first);
    }
    auth->first_start = NULL;
    release(first);
    stele_auth__set_ready(auth);
}

static void append(struct stele_auth__first_start *first)
{
    struct stele_auth *const auth = first->auth;
    struct stele_event_draft created[2];
    struct stele_event_draft listed[2];
    struct stele_append streams[4];
    for (size_t i = 0; i < first->count; i++) {
        const struct first_user *const user = &first->users[i];
        created[i] = (struct stele_event_draft){
            .type = STELE_USER_TYPE_CREATED, .data = user->json.data, .data_size = user->json.size};
        stele_auth__make_id(first->auth, created[i].id);
        listed[i] = (struct stele_event_draft){.type = STELE_USER_TYPE_LISTED,
                                               .data = user->user.login,
                                               .data_size = strlen(user->user.login),
                                               .content_type = "text/plain"};
        streams[i] = (struct stele_append){.stream = user->stream,
                                           .expected = STELE_EXPECT_NO_STREAM,
                                           .events = &created[i],
                                           .count = 1};
    }
    const struct stele_event_draft audit = {
        .type = "$metadata", .data = AUDIT_METADATA, .data_size = sizeof AUDIT_METADATA - 1};
    size_t count = first->count;
    streams[count] = (struct stele_append){.stream = STELE_USERS_STREAM,
                                           .expected = STELE_EXPECT_ANY,
                                           .events = listed,
                                           .count = first->count};
    count++;
    streams[count] = (struct stele_append){.stream = "$$" STELE_AUDIT_STREAM,
                                           .expected = STELE_EXPECT_ANY,
                                           .events = &audit,
                                           .count = 1};
    count++;
    struct stele_error err = {.outcome = STELE_OK};
    first->appending.loop = auth->loop;
    first->appending.on_done = on_done;
    const int outcome =
        auth->engine->ops->append(auth->engine, &first->appending, streams, count, NULL, 0, &err);
    first->under_way = outcome == STELE_OK;
    if (outcome != STELE_OK) {
        stele_auth__log(auth, STELE_AUTH_LOG_ERROR, "the first users could not be stored: %.200s",
                        err.message);
        auth->loop->ops->timer_start(auth->loop, &first->timer,
                                     stele_loop_now_us(auth->loop) + RETRY_US);
    }
}

static void on_task(struct stele_task *task)
{
    struct stele_auth__first_start *const first = (struct stele_auth__first_start *)task;
    first->under_way = false;
    if (first->auth->gone) {
        release(first);
        return;
    }
    append(first);
}

static void on_retry(struct stele_timer *timer)
{
    append((struct stele_auth__first_start *)((char *)timer -
                                              offsetof(struct stele_auth__first_start, timer)));
}

static int add_user(struct stele_auth__first_start *first, const char *login, const char *group,
                    const char *password, struct stele_error *err)
{
    struct stele_auth *const auth = first->auth;
    struct first_user *const user = &first->users[first->count];
    const char *const groups[] = {group};
    int outcome = STELE_OK;
    user->made = password == NULL;
    if (user->made) {
        uint8_t random[15];
        auth->loop->ops->random(auth->loop, random, sizeof random);
        stele_password_of_random(random, user->password);
        stele_password_wipe(random, sizeof random);
    } else {
        outcome = stele_user_check_password(password, err);
        if (outcome == STELE_OK) {
            (void)snprintf(user->password, sizeof user->password, "%s", password);
        }
    }
    (void)snprintf(user->user.login, sizeof user->user.login, "%s", login);
    if (outcome == STELE_OK) {
        outcome = stele_user_set_about(&user->user, "", groups, 1, err);
    }
    if (outcome == STELE_OK) {
        outcome = stele_password_hash(user->password, auth->options.password_memory,
                                      auth->options.password_passes, user->user.hash);
    }
    first->count++; /* From here on release() looks after it. */
    if (outcome == STELE_OK) {
        outcome = stele_user_encode(&user->user, auth->alloc, &user->json);
    }
    stele_user_stream(login, user->stream);
    return outcome;
}

/* STELE_OK: it was there once, also if it is deleted now. STELE_NO_STREAM: never. */
static int look_for(struct stele_auth *auth, const char *login, struct stele_error *err)
{
    char stream[STELE_USER_STREAM_SIZE];
    struct stele_stream_info info;
    stele_user_stream(login, stream);
    return auth->engine->ops->stream_info(auth->engine, stream, &info, err);
}

int stele_auth__first_start(struct stele_auth *auth, const struct stele_auth_options *options,
                            struct stele_error *err)
{
    int outcome = look_for(auth, "admin", err);
    if (outcome != STELE_NO_STREAM) {
        auth->ready = true;
        return outcome == STELE_STREAM_DELETED ? STELE_OK : outcome;
    }
    struct stele_auth__first_start *const first = stele_allocate_zeroed(auth->alloc, sizeof *first);
    if (first == NULL) {
        return stele_fail(err, STELE_E_NO_MEMORY, 0, "first start: no memory");
    }
    stele_auth__hold(auth);
    first->auth = auth;
    first->task.run = on_task;
    first->timer.on_due = on_retry;
    outcome = add_user(first, "admin", STELE_GROUP_ADMINS, options->admin_password, err);
    if (outcome == STELE_OK && look_for(auth, "ops", NULL) == STELE_NO_STREAM) {
        outcome = add_user(first, "ops", STELE_GROUP_OPS, options->ops_password, err);
    }
    if (outcome != STELE_OK) {
        release(first);
        return outcome;
    }
    auth->first_start = first;
    first->under_way = true;
    stele_loop_post(auth->loop, &first->task);
    return STELE_OK;
}

void stele_auth__first_start_end(struct stele_auth *auth)
{
    struct stele_auth__first_start *const first = auth->first_start;
    auth->first_start = NULL;
    if (first != NULL && !first->under_way) {
        auth->loop->ops->timer_stop(auth->loop, &first->timer);
        release(first);
    }
}
