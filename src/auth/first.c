/* The first start: a store that never had a user "admin" gets the users admin and ops. Their
 * passwords are told once, when the users are durable, and kept nowhere.
 *
 * In a cluster every node has passwords at hand, and the one that leads stores its own; which node
 * that is (two may believe it) is decided by the store, as the streams must not exist. The others wait
 * until the users come to them. */
#include "auth/auth_internal.h"

#include <stdio.h>

#define RETRY_US ((int64_t)1000000)
#define AUDIT_METADATA "{\"$maxAge\":31536000}" /* A year. */

struct first_user {
    struct stele_user user;
    char password[STELE_PASSWORD_SIZE_MAX + 1];
    bool made;
    uint8_t created_id[16],
        listed_id[16]; /* The same for each attempt: the first may have worked. */
    struct stele_buf json;
    char stream[STELE_USER_STREAM_SIZE];
};

struct stele_auth__first_start {
    struct stele_task task;
    struct stele_timer timer;
    struct stele_appending appending;
    struct stele_auth *auth;
    struct stele_role_watch watch; /* In a cluster, like the next. */
    struct stele_linearizing linearizing;
    bool under_way; /* The task, an append, or linearizing. */
    bool was_asked; /* The users may be stored: only the store knows. */
    uint8_t audit_id[16];
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

/* STELE_OK: it was there once, also if it is deleted now. STELE_NO_STREAM: never. */
static int look_for(struct stele_auth *auth, const char *login, struct stele_error *err)
{
    char stream[STELE_USER_STREAM_SIZE];
    struct stele_stream_info info;
    stele_user_stream(login, stream);
    return auth->engine->ops->stream_info(auth->engine, stream, &info, err);
}

static bool is_in_cluster(const struct stele_auth *auth)
{
    return auth->options.cluster != NULL && !auth->options.cluster->is_alone;
}

static void stop_watching(struct stele_auth__first_start *first)
{
    struct stele_cluster *const cluster = first->auth->options.cluster;
    if (first->watch.on_role_changed != NULL) {
        cluster->ops->watch_stop(cluster, &first->watch);
        first->watch.on_role_changed = NULL;
    }
}

static void try_later(struct stele_auth__first_start *first)
{
    struct stele_loop *const loop = first->auth->loop;
    loop->ops->timer_start(loop, &first->timer, stele_loop_now_us(loop) + RETRY_US);
}

/* The users are there. */
static void finish(struct stele_auth__first_start *first)
{
    struct stele_auth *const auth = first->auth;
    stop_watching(first);
    auth->loop->ops->timer_stop(auth->loop, &first->timer);
    auth->first_start = NULL;
    release(first);
    stele_auth__set_ready(auth);
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
        try_later(first);
        return;
    }
    if (appending->outcome == STELE_OK) {
        tell(auth, first);
    }
    finish(first);
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
        memcpy(created[i].id, user->created_id, sizeof created[i].id);
        listed[i] = (struct stele_event_draft){.type = STELE_USER_TYPE_LISTED,
                                               .data = user->user.login,
                                               .data_size = strlen(user->user.login),
                                               .content_type = "text/plain"};
        memcpy(listed[i].id, user->listed_id, sizeof listed[i].id);
        streams[i] = (struct stele_append){.stream = user->stream,
                                           .expected = STELE_EXPECT_NO_STREAM,
                                           .events = &created[i],
                                           .count = 1};
    }
    struct stele_event_draft audit = {
        .type = "$metadata", .data = AUDIT_METADATA, .data_size = sizeof AUDIT_METADATA - 1};
    memcpy(audit.id, first->audit_id, sizeof audit.id);
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
        try_later(first);
    } else {
        first->was_asked = true;
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

static void on_linearized(struct stele_linearizing *linearizing);

/* In a cluster: is there something that can be done? */
static void look(struct stele_auth__first_start *first)
{
    struct stele_auth *const auth = first->auth;
    struct stele_cluster *const cluster = auth->options.cluster;
    if (first->under_way) {
        return;
    }
    if (first->was_asked) {
        append(first);
    } else if (look_for(auth, "admin", NULL) != STELE_NO_STREAM) {
        finish(first);
    } else if (cluster->ops->is_leader(cluster)) {
        /* What an earlier leader has stored may be on its way here. */
        first->under_way = true;
        first->linearizing.loop = auth->loop;
        first->linearizing.on_done = on_linearized;
        cluster->ops->linearize(cluster, &first->linearizing);
    }
}

static void on_linearized(struct stele_linearizing *linearizing)
{
    struct stele_auth__first_start *const first =
        (struct stele_auth__first_start *)((char *)linearizing -
                                           offsetof(struct stele_auth__first_start, linearizing));
    first->under_way = false;
    if (first->auth->gone) {
        release(first);
    } else if (linearizing->outcome != STELE_OK) {
        try_later(first);
    } else if (look_for(first->auth, "admin", NULL) != STELE_NO_STREAM) {
        finish(first);
    } else {
        append(first);
    }
}

static void on_role_changed(struct stele_role_watch *watch)
{
    look((struct stele_auth__first_start *)((char *)watch -
                                            offsetof(struct stele_auth__first_start, watch)));
}

void stele_auth__first_start_look(struct stele_auth *auth)
{
    if (auth->first_start != NULL && is_in_cluster(auth) && !auth->first_start->was_asked) {
        look(auth->first_start);
    }
}

static void on_retry(struct stele_timer *timer)
{
    struct stele_auth__first_start *const first =
        (struct stele_auth__first_start *)((char *)timer -
                                           offsetof(struct stele_auth__first_start, timer));
    if (is_in_cluster(first->auth)) {
        look(first);
    } else {
        append(first);
    }
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
    stele_auth__make_id(auth, user->created_id);
    stele_auth__make_id(auth, user->listed_id);
    return outcome;
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
    stele_auth__make_id(auth, first->audit_id);
    outcome = add_user(first, "admin", STELE_GROUP_ADMINS, options->admin_password, err);
    if (outcome == STELE_OK && look_for(auth, "ops", NULL) == STELE_NO_STREAM) {
        outcome = add_user(first, "ops", STELE_GROUP_OPS, options->ops_password, err);
    }
    if (outcome != STELE_OK) {
        release(first);
        return outcome;
    }
    auth->first_start = first;
    if (is_in_cluster(auth)) {
        struct stele_cluster *const cluster = auth->options.cluster;
        first->watch =
            (struct stele_role_watch){.loop = auth->loop, .on_role_changed = on_role_changed};
        cluster->ops->watch_start(cluster, &first->watch);
        try_later(first);
        return STELE_OK;
    }
    first->under_way = true;
    stele_loop_post(auth->loop, &first->task);
    return STELE_OK;
}

void stele_auth__first_start_end(struct stele_auth *auth)
{
    struct stele_auth__first_start *const first = auth->first_start;
    auth->first_start = NULL;
    if (first != NULL) {
        stop_watching(first);
    }
    if (first != NULL && !first->under_way) {
        auth->loop->ops->timer_stop(auth->loop, &first->timer);
        release(first);
    }
}
