/* Users: who may log in. The table lets administrators call what changes users; everybody with a name
 * may look at themselves and change their own password, which is decided here. */
#include "api/kurrent/kurrent_internal.h"
#include "auth/password.h"

#include <stdio.h>

#define PASSWORD_ROOM (STELE_PASSWORD_SIZE_MAX + 2) /* One more than allowed: too long shows. */

struct users_call {
    struct stele_call *call;
    struct stele_user_change change;
    bool started;
    char login[STELE_LOGIN_SIZE_MAX + 2];
    char full_name[STELE_FULL_NAME_SIZE_MAX + 2];
    char groups[STELE_ROLES_MAX + 1][STELE_ROLE_SIZE_MAX + 2];
    const char *group_names[STELE_ROLES_MAX + 1];
    size_t groups_count;
    char first[PASSWORD_ROOM], second[PASSWORD_ROOM];
    bool listing;
    char after[STELE_LOGIN_SIZE_MAX + 1]; /* Of a listing: the last login that was sent. */
    bool after_any;
};

static struct users_call *users_of(struct stele_call *call)
{
    return stele_call_state(call);
}

/* ---- Answers ---- */

/* SPEC(kurrent/errors): user-not-found and user-conflict are told by trailer. */
static void fail_user(struct stele_call *call, const char *exception, const char *login)
{
    stele_call_trailer(call, "exception", stele_bytes_of_text(exception));
    stele_call_trailer(call, "login-name", stele_bytes_of_text(login));
}

static void fail_missing(struct stele_call *call, const char *login)
{
    fail_user(call, "user-not-found", login);
    stele_call_fail(call, STELE_GRPC_NOT_FOUND, "User '%s' is not found.", login);
}

static void fail_conflict(struct stele_call *call, const struct users_call *users)
{
    fail_user(call, "user-conflict", users->login);
    if (users->change.verb == STELE_USER_CREATE) {
        stele_call_finish(call, STELE_GRPC_FAILED_PRECONDITION, "Conflict.");
    } else {
        stele_call_finish(call, STELE_GRPC_DEADLINE_EXCEEDED, "Try again.");
    }
}

static void on_done(struct stele_user_change *change, int outcome)
{
    struct stele_call *call = change->module;
    struct users_call *users = users_of(call);
    if (stele_call_is_over(call)) {
        /* Nobody waits for the answer any more. */
    } else if (outcome == STELE_OK) {
        stele_call_send(call, (struct stele_bytes){.data = NULL, .size = 0});
        stele_call_finish(call, STELE_GRPC_OK, "");
    } else if (outcome == STELE_NOT_FOUND) {
        fail_missing(call, users->login);
    } else if (outcome == STELE_WRONG_REVISION) {
        fail_conflict(call, users);
    } else if (outcome == STELE_E_PERMISSION) {
        stele_kurrent__fail_access(call);
    } else {
        stele_kurrent__fail_outcome(call, outcome, change->message);
    }
    stele_call_release(call);
}

/* ---- Requests ---- */

/* Copies what fits; one byte more than is allowed does, so that too long is found later. */
static bool copy(struct stele_bytes from, char *to, size_t size)
{
    if (from.size > 0 && memchr(from.data, '\0', from.size) != NULL) {
        return false;
    }
    const size_t fits = from.size < size ? from.size : size - 1;
    if (fits > 0) {
        memcpy(to, from.data, fits);
    }
    to[fits] = '\0';
    return true;
}

static bool take_group(struct users_call *users, struct stele_bytes name)
{
    if (users->groups_count > STELE_ROLES_MAX) {
        return true; /* One more than allowed are there already. */
    }
    char *group = users->groups[users->groups_count];
    users->group_names[users->groups_count++] = group;
    return copy(name, group, sizeof users->groups[0]);
}

/* CreateReq.Options and its siblings: field 1 is always the login; what 2 to 4 are depends. */
static bool take_options(struct users_call *users, enum stele_rpc rpc, struct stele_bytes message)
{
    struct stele_pb_reader reader = stele_pb_reader(message);
    struct stele_pb_field field;
    const bool about =
        rpc == STELE_RPC_KURRENT_USERS_CREATE || rpc == STELE_RPC_KURRENT_USERS_UPDATE;
    bool good = true;
    while (stele_pb_next(&reader, &field) && good) {
        if (field.number > 4) {
            continue;
        }
        if (field.wire != STELE_PB_BYTES) {
            return false;
        }
        if (field.number == 1) {
            good = copy(field.bytes, users->login, sizeof users->login);
        } else if (field.number == 2) {
            good = copy(field.bytes, users->first, sizeof users->first);
        } else if (field.number == 3 && about) {
            good = copy(field.bytes, users->full_name, sizeof users->full_name);
        } else if (field.number == 3) {
            good = copy(field.bytes, users->second, sizeof users->second);
        } else if (about) {
            good = take_group(users, field.bytes);
        }
    }
    return good && !reader.bad;
}

static bool take_request(struct users_call *users, enum stele_rpc rpc, struct stele_bytes message)
{
    struct stele_pb_reader reader = stele_pb_reader(message);
    struct stele_pb_field field;
    while (stele_pb_next(&reader, &field)) {
        if (field.number == 1 &&
            (field.wire != STELE_PB_BYTES || !take_options(users, rpc, field.bytes))) {
            return false;
        }
    }
    return !reader.bad;
}

static enum stele_user_verb verb_of(enum stele_rpc rpc)
{
    switch (rpc) {
    case STELE_RPC_KURRENT_USERS_CREATE:
        return STELE_USER_CREATE;
    case STELE_RPC_KURRENT_USERS_UPDATE:
        return STELE_USER_UPDATE;
    case STELE_RPC_KURRENT_USERS_DELETE:
        return STELE_USER_DELETE;
    case STELE_RPC_KURRENT_USERS_ENABLE:
        return STELE_USER_ENABLE;
    case STELE_RPC_KURRENT_USERS_DISABLE:
        return STELE_USER_DISABLE;
    case STELE_RPC_KURRENT_USERS_CHANGE_PASSWORD:
        return STELE_USER_CHANGE_PASSWORD;
    default:
        return STELE_USER_RESET_PASSWORD;
    }
}

static bool is_self(const struct stele_principal *principal, const char *login)
{
    return !principal->anonymous && strcmp(principal->name, login) == 0;
}

static void begin(struct users_call *users, enum stele_rpc rpc)
{
    struct stele_call *call = users->call;
    const struct stele_principal *principal = stele_call_principal(call);
    struct stele_user_change *change = &users->change;
    if (rpc == STELE_RPC_KURRENT_USERS_CHANGE_PASSWORD && !is_self(principal, users->login) &&
        !stele_auth_may_call(principal, STELE_RULE_ADMIN)) {
        stele_kurrent__fail_access(call);
        return;
    }
    *change = (struct stele_user_change){
        .verb = verb_of(rpc),
        .login = users->login,
        .full_name = users->full_name,
        .groups = users->group_names,
        .groups_count = users->groups_count,
        .password = users->first,
        .new_password =
            rpc == STELE_RPC_KURRENT_USERS_CHANGE_PASSWORD ? users->second : users->first,
        .by = principal->all_rights ? "anybody (insecure)" : principal->name,
        .peer = stele_call_peer(call),
        .loop = stele_call_loop(call),
        .on_done = on_done,
        .module = call,
    };
    stele_call_hold(call);
    stele_auth_change_user(stele_call_server(call)->auth, change);
    /* The other side has copied them. */
    stele_password_wipe(users->first, sizeof users->first);
    stele_password_wipe(users->second, sizeof users->second);
}

/* ---- Details ---- */

#define TICKS_PER_US 10 /* "100 ns since 1970" */

static size_t text_size(uint32_t field, const char *text)
{
    return text[0] == '\0' ? 0 : stele_pb_size_bytes(field, strlen(text));
}

static uint8_t *put_text(uint8_t *to, uint32_t field, const char *text)
{
    return text[0] == '\0' ? to : stele_pb_put_bytes(to, field, text, strlen(text));
}

static size_t details_size(const struct stele_user *user, size_t *out_time_size)
{
    const uint64_t ticks = (uint64_t)user->updated_us * TICKS_PER_US;
    *out_time_size = stele_pb_size_varint(1, ticks);
    size_t size = text_size(1, user->login) + text_size(2, user->full_name) +
                  stele_pb_size_bytes(4, *out_time_size) +
                  (user->disabled ? stele_pb_size_varint(5, 1) : 0);
    for (uint32_t i = 0; i < user->groups_count; i++) {
        size += stele_pb_size_bytes(3, strlen(user->groups[i]));
    }
    return size;
}

/* DetailsResp. false: no memory. */
static bool send_details(struct stele_call *call, const struct stele_user *user)
{
    size_t time_size = 0;
    const size_t size = details_size(user, &time_size);
    struct stele_buf *buf = stele_call_message_begin(call);
    if (stele_buf_reserve(buf, stele_call_loop(call)->alloc, stele_pb_size_bytes(1, size)) !=
        STELE_OK) {
        stele_call_message_cancel(call);
        return false;
    }
    uint8_t *const from = buf->data + buf->size;
    uint8_t *to = stele_pb_put_message(from, 1, size);
    to = put_text(to, 1, user->login);
    to = put_text(to, 2, user->full_name);
    for (uint32_t i = 0; i < user->groups_count; i++) {
        to = stele_pb_put_bytes(to, 3, user->groups[i], strlen(user->groups[i]));
    }
    to = stele_pb_put_message(to, 4, time_size);
    to = stele_pb_put_u64(to, 1, (uint64_t)user->updated_us * TICKS_PER_US);
    if (user->disabled) {
        to = stele_pb_put_u64(to, 5, 1);
    }
    STELE_ASSERT((size_t)(to - from) == stele_pb_size_bytes(1, size));
    buf->size += (size_t)(to - from);
    stele_call_message_end(call);
    return true;
}

static int on_user(void *context, const struct stele_user *user)
{
    struct users_call *users = context;
    (void)snprintf(users->after, sizeof users->after, "%s", user->login);
    users->after_any = true;
    return !send_details(users->call, user) || stele_call_is_over(users->call) ||
           stele_call_is_full(users->call);
}

/* Sends as many as fit; on_writable goes on behind the last one. */
static void list(struct users_call *users)
{
    struct stele_call *call = users->call;
    struct stele_error err = {.outcome = STELE_OK};
    stele_call_hold(call);
    const int outcome =
        stele_auth_list_users(stele_call_server(call)->auth, users->after_any ? users->after : NULL,
                              on_user, users, &err);
    if (stele_call_is_over(call)) {
        users->listing = false;
    } else if (outcome != STELE_OK) {
        users->listing = false;
        stele_kurrent__fail_outcome(call, outcome, err.message);
    } else if (!stele_call_is_full(call)) {
        users->listing = false;
        stele_call_finish(call, STELE_GRPC_OK, "");
    }
    stele_call_release(call);
}

static void details(struct users_call *users)
{
    struct stele_call *call = users->call;
    const struct stele_principal *principal = stele_call_principal(call);
    if (!is_self(principal, users->login) && !stele_auth_may_call(principal, STELE_RULE_OPS)) {
        stele_kurrent__fail_access(call);
        return;
    }
    if (users->login[0] == '\0') {
        users->listing = true;
        list(users);
        return;
    }
    struct stele_user user;
    struct stele_error err = {.outcome = STELE_OK};
    const int outcome =
        stele_auth_get_user(stele_call_server(call)->auth, users->login, &user, &err);
    if (outcome == STELE_NOT_FOUND) {
        fail_missing(call, users->login);
    } else if (outcome != STELE_OK || !send_details(call, &user)) {
        stele_kurrent__fail_outcome(call, outcome == STELE_OK ? STELE_E_NO_MEMORY : outcome,
                                    err.message);
    } else {
        stele_call_finish(call, STELE_GRPC_OK, "");
    }
}

/* ---- The methods ---- */

static void on_start(struct stele_call *call)
{
    users_of(call)->call = call;
}

static void on_message(struct stele_call *call, struct stele_bytes message)
{
    struct users_call *users = users_of(call);
    const enum stele_rpc rpc = stele_call_method(call)->rpc;
    if (users->started || !take_request(users, rpc, message)) {
        stele_kurrent__fail_invalid(call, users->started ? "only one request is expected"
                                                         : "the request is malformed");
        return;
    }
    users->started = true;
    if (rpc == STELE_RPC_KURRENT_USERS_DETAILS) {
        details(users);
    } else {
        begin(users, rpc);
    }
}

static void on_half_closed(struct stele_call *call)
{
    if (!users_of(call)->started) {
        stele_kurrent__fail_invalid(call, "the request is missing");
    }
}

static void on_writable(struct stele_call *call)
{
    if (users_of(call)->listing) {
        list(users_of(call));
    }
}

static void on_closed(struct stele_call *call, enum stele_grpc_code reason)
{
    (void)reason;
    struct users_call *users = users_of(call);
    stele_password_wipe(users->first, sizeof users->first);
    stele_password_wipe(users->second, sizeof users->second);
}

#define METHOD(name)                                                                               \
    {                                                                                              \
        .rpc = STELE_RPC_KURRENT_USERS_##name, .state_size = sizeof(struct users_call),            \
        .message_max = 64 * 1024, .admit = stele_kurrent__admit, .start = on_start,                \
        .message = on_message, .half_closed = on_half_closed, .writable = on_writable,             \
        .closed = on_closed,                                                                       \
    }

void stele_kurrent_users_register(struct stele_grpc_table *table)
{
    static const struct stele_method methods[] = {
        METHOD(CREATE), METHOD(UPDATE),  METHOD(DELETE),          METHOD(DISABLE),
        METHOD(ENABLE), METHOD(DETAILS), METHOD(CHANGE_PASSWORD), METHOD(RESET_PASSWORD),
    };
    for (size_t i = 0; i < STELE_COUNT_OF(methods); i++) {
        table->methods[methods[i].rpc] = &methods[i];
    }
}
