#include "auth/auth_internal.h"

static int fail_missing(struct stele_error *err, const char *stream)
{
    return stele_fail(err, STELE_NOT_FOUND, 0, "%s has no events", stream);
}

int stele_auth__read_last(struct stele_auth *auth, const char *stream, struct stele_buf *buf,
                          uint64_t *out_revision, int64_t *out_created_us, struct stele_error *err)
{
    const struct stele_engine_ops *const ops = auth->engine->ops;
    struct stele_read_options options = STELE_READ_OPTIONS_INIT;
    options.from = STELE_FROM_END;
    options.backwards = 1;
    options.limit = 1;
    struct stele_reading *reading = NULL;
    int outcome = ops->read_open(auth->engine, stream, &options, &reading, err);
    if (outcome == STELE_NO_STREAM || outcome == STELE_STREAM_DELETED) {
        return fail_missing(err, stream);
    }
    if (outcome != STELE_OK) {
        return outcome;
    }
    const struct stele_event *events = NULL;
    size_t count = 0;
    do {
        outcome = ops->read_next(reading, &events, &count, err);
    } while (outcome == STELE_OK && count == 0);
    if (outcome == STELE_OK) {
        *out_revision = events[0].revision;
        *out_created_us = events[0].created_us;
        outcome = stele_buf_append(
            buf, auth->alloc,
            (struct stele_bytes){.data = events[0].data, .size = events[0].data_size});
    } else if (outcome == STELE_END || outcome == STELE_NO_STREAM ||
               outcome == STELE_STREAM_DELETED) {
        outcome = fail_missing(err, stream);
    }
    ops->read_close(reading);
    return outcome;
}

int stele_auth__read_user(struct stele_auth *auth, const char *login, struct stele_user *out_user,
                          struct stele_error *err)
{
    char stream[STELE_USER_STREAM_SIZE];
    struct stele_buf json = {.data = NULL};
    struct stele_user user = {.revision = 0};
    stele_user_stream(login, stream);
    int outcome = stele_auth__read_last(auth, stream, &json, &user.revision, &user.updated_us, err);
    if (outcome == STELE_OK) {
        outcome = stele_user_decode((struct stele_bytes){.data = json.data, .size = json.size},
                                    &user, err);
    }
    if (outcome == STELE_OK && strcmp(user.login, login) != 0) {
        outcome = stele_fail(err, STELE_E_CORRUPT, 0, "%s holds another user", stream);
    }
    if (json.size > 0) {
        stele_password_wipe(json.data, json.size);
    }
    stele_buf_deinit(&json, auth->alloc);
    if (outcome == STELE_OK) {
        *out_user = user;
    }
    stele_password_wipe(user.hash, sizeof user.hash);
    return outcome;
}

int stele_auth_get_user(struct stele_auth *auth, const char *login, struct stele_user *out_user,
                        struct stele_error *err)
{
    if (stele_user_check_login(login, NULL) != STELE_OK) {
        return stele_fail(err, STELE_NOT_FOUND, 0, "there is no such user");
    }
    const int outcome = stele_auth__read_user(auth, login, out_user, err);
    if (outcome == STELE_OK) {
        stele_password_wipe(out_user->hash, sizeof out_user->hash);
    }
    return outcome;
}

struct listing {
    struct stele_auth *auth;
    stele_user_callback on_user;
    void *context;
    struct stele_error *err;
    int outcome;
};

static int on_stream(void *context, struct stele_text name, uint64_t count)
{
    (void)count;
    struct listing *const listing = context;
    const size_t prefix = sizeof STELE_USER_STREAM_PREFIX - 1;
    char login[STELE_LOGIN_SIZE_MAX + 1];
    if (name.size <= prefix || name.size - prefix > STELE_LOGIN_SIZE_MAX) {
        return 0;
    }
    memcpy(login, name.data + prefix, name.size - prefix);
    login[name.size - prefix] = '\0';
    struct stele_user user;
    const int outcome = stele_auth_get_user(listing->auth, login, &user, listing->err);
    if (outcome == STELE_OK) {
        return listing->on_user(listing->context, &user);
    }
    /* Deleted, or the stream is somebody else's. */
    if (outcome == STELE_NOT_FOUND || outcome == STELE_E_CORRUPT) {
        return 0;
    }
    listing->outcome = outcome;
    return 1;
}

/* Names are taken in pages, and users read between them: an engine may hold a lock while it
 * lists. */
#define PAGE 64

struct page {
    char names[PAGE][STELE_USER_STREAM_SIZE];
    size_t count;
};

static int on_page_name(void *context, struct stele_text name, uint64_t count)
{
    (void)count;
    struct page *const page = context;
    if (name.size < sizeof page->names[0]) {
        memcpy(page->names[page->count], name.data, name.size);
        page->names[page->count][name.size] = '\0';
        page->count++;
    }
    return page->count == PAGE;
}

int stele_auth_list_users(struct stele_auth *auth, const char *after, stele_user_callback on_user,
                          void *context, struct stele_error *err)
{
    struct listing listing = {
        .auth = auth, .on_user = on_user, .context = context, .err = err, .outcome = STELE_OK};
    char from[STELE_USER_STREAM_SIZE];
    stele_user_stream(after == NULL || strlen(after) > STELE_LOGIN_SIZE_MAX ? "" : after, from);
    struct page *const page = stele_allocate(auth->alloc, sizeof *page);
    if (page == NULL) {
        return stele_fail(err, STELE_E_NO_MEMORY, 0, "users: no memory");
    }
    int outcome = STELE_OK;
    int stop = 0;
    do {
        page->count = 0;
        outcome =
            auth->engine->ops->list(auth->engine, STELE_LIST_STREAMS, STELE_USER_STREAM_PREFIX,
                                    from, 0, on_page_name, page, err);
        for (size_t i = 0; i < page->count && outcome == STELE_OK && stop == 0; i++) {
            stop =
                on_stream(&listing, (struct stele_text){page->names[i], strlen(page->names[i])}, 0);
        }
        if (page->count > 0) {
            memcpy(from, page->names[page->count - 1], sizeof from);
        }
    } while (page->count == PAGE && outcome == STELE_OK && stop == 0);
    stele_release(auth->alloc, page, sizeof *page);
    return outcome == STELE_OK ? listing.outcome : outcome;
}
