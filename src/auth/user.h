/* A user as the store keeps it: the last event of the stream $user-<login>, as in KurrentDB.
 *
 *     {"loginName":"ada","fullName":"Ada","salt":"","hash":"$argon2id$…","disabled":false,
 *      "groups":["$ops"]}
 *
 * The hash is libsodium's text, which has its own salt and parameters; "salt" is there for readers
 * that expect it. Nothing here touches a store: who writes the events is auth.c in a server and
 * `stele user` on a store that no server has open. */
#ifndef STELE_AUTH_USER_H
#define STELE_AUTH_USER_H

#include "base/alloc.h"
#include "base/bytes.h"
#include "base/status.h"

#include <stele/stele.h>

#define STELE_LOGIN_SIZE_MAX 255
#define STELE_ROLES_MAX 16
#define STELE_ROLE_SIZE_MAX 63
#define STELE_FULL_NAME_SIZE_MAX 255
#define STELE_PASSWORD_SIZE_MIN 8
#define STELE_PASSWORD_SIZE_MAX 1024
#define STELE_PASSWORD_HASH_SIZE 128 /* crypto_pwhash_STRBYTES */

#define STELE_GROUP_ADMINS "$admins"
#define STELE_GROUP_OPS "$ops"

#define STELE_USER_STREAM_PREFIX "$user-"
#define STELE_USER_STREAM_SIZE (sizeof STELE_USER_STREAM_PREFIX + STELE_LOGIN_SIZE_MAX)
#define STELE_USERS_STREAM "$users"
#define STELE_USERS_NOTIFICATIONS_STREAM "$users-password-notifications"
#define STELE_USER_TYPE_LISTED "$User"
#define STELE_USER_TYPE_CREATED "$UserCreated"
#define STELE_USER_TYPE_UPDATED "$UserUpdated"
#define STELE_USER_TYPE_PASSWORD "$PasswordChanged"

struct stele_user {
    char login[STELE_LOGIN_SIZE_MAX + 1];
    char full_name[STELE_FULL_NAME_SIZE_MAX + 1];
    char groups[STELE_ROLES_MAX][STELE_ROLE_SIZE_MAX + 1];
    uint32_t groups_count;
    bool disabled;
    char hash[STELE_PASSWORD_HASH_SIZE];
    uint64_t revision;  /* Of its stream. */
    int64_t updated_us; /* When that event was created. */
};

/* A login: 1 to 255 bytes of UTF-8 without control characters, ':' (basic authentication cannot
 * carry it) and '/', not beginning with '$' (groups do). STELE_OK, STELE_E_INVALID, STELE_E_LIMIT. */
STELE_MUST_USE
int stele_user_check_login(const char *login, struct stele_error *err);
STELE_MUST_USE
int stele_user_check_password(const char *password, struct stele_error *err);
/* Sets full name and groups after checking them. full_name may be NULL. */
STELE_MUST_USE
int stele_user_set_about(struct stele_user *user, const char *full_name, const char *const *groups,
                         size_t groups_count, struct stele_error *err);

/* "$user-" + login; stream has room for STELE_USER_STREAM_SIZE. */
void stele_user_stream(const char *login, char *stream);

/* The event's data. STELE_OK, STELE_E_NO_MEMORY. */
STELE_MUST_USE
int stele_user_encode(const struct stele_user *user, struct stele_alloc *alloc,
                      struct stele_buf *out_json);
/* {"loginName":"…"} without a terminating zero; returns its size. size: 6 times the login, and 32. */
size_t stele_user_encode_login(const char *login, char *json, size_t size);
/* STELE_E_CORRUPT: these bytes are no user. revision and updated_us are not touched. */
STELE_MUST_USE
int stele_user_decode(struct stele_bytes json, struct stele_user *out_user,
                      struct stele_error *err);

#endif
