#include "auth/user.h"

#include "base/text.h"

#include <jansson.h>
#include <stdio.h>

static bool has_control_characters(const char *text)
{
    for (; *text != '\0'; text++) {
        const unsigned char c = (unsigned char)*text;
        if (c < 0x20 || c == 0x7f) {
            return true;
        }
    }
    return false;
}

int stele_user_check_login(const char *login, struct stele_error *err)
{
    if (login == NULL || login[0] == '\0') {
        return stele_fail(err, STELE_E_INVALID, 0, "the login is empty");
    }
    if (strlen(login) > STELE_LOGIN_SIZE_MAX) {
        return stele_fail(err, STELE_E_LIMIT, 0, "the login is longer than %d bytes",
                          STELE_LOGIN_SIZE_MAX);
    }
    if (login[0] == '$') {
        return stele_fail(err, STELE_E_INVALID, 0,
                          "a login does not begin with '$': groups of the server do");
    }
    if (strpbrk(login, ":/") != NULL || has_control_characters(login) ||
        !stele_utf8_is_valid(stele_bytes_of_text(login))) {
        return stele_fail(err, STELE_E_INVALID, 0,
                          "a login is UTF-8 without ':', '/' and control characters");
    }
    return STELE_OK;
}

int stele_user_check_password(const char *password, struct stele_error *err)
{
    const size_t size = password == NULL ? 0 : strlen(password);
    if (size < STELE_PASSWORD_SIZE_MIN) {
        return stele_fail(err, STELE_E_INVALID, 0, "the password is shorter than %d bytes",
                          STELE_PASSWORD_SIZE_MIN);
    }
    if (size > STELE_PASSWORD_SIZE_MAX) {
        return stele_fail(err, STELE_E_LIMIT, 0, "the password is longer than %d bytes",
                          STELE_PASSWORD_SIZE_MAX);
    }
    return STELE_OK;
}

static int check_group(const char *group, struct stele_error *err)
{
    if (group == NULL || group[0] == '\0') {
        return stele_fail(err, STELE_E_INVALID, 0, "a group's name is empty");
    }
    if (strlen(group) > STELE_ROLE_SIZE_MAX) {
        return stele_fail(err, STELE_E_LIMIT, 0, "a group's name is longer than %d bytes",
                          STELE_ROLE_SIZE_MAX);
    }
    if (has_control_characters(group) || !stele_utf8_is_valid(stele_bytes_of_text(group))) {
        return stele_fail(err, STELE_E_INVALID, 0,
                          "a group's name is UTF-8 without control characters");
    }
    return STELE_OK;
}

int stele_user_set_about(struct stele_user *user, const char *full_name, const char *const *groups,
                         size_t groups_count, struct stele_error *err)
{
    const char *const name = full_name == NULL ? "" : full_name;
    if (strlen(name) > STELE_FULL_NAME_SIZE_MAX) {
        return stele_fail(err, STELE_E_LIMIT, 0, "the full name is longer than %d bytes",
                          STELE_FULL_NAME_SIZE_MAX);
    }
    if (!stele_utf8_is_valid(stele_bytes_of_text(name))) {
        return stele_fail(err, STELE_E_INVALID, 0, "the full name is not UTF-8");
    }
    if (groups_count > STELE_ROLES_MAX) {
        return stele_fail(err, STELE_E_LIMIT, 0, "a user is in at most %d groups", STELE_ROLES_MAX);
    }
    for (size_t i = 0; i < groups_count; i++) {
        const int outcome = check_group(groups[i], err);
        if (outcome != STELE_OK) {
            return outcome;
        }
    }
    (void)snprintf(user->full_name, sizeof user->full_name, "%s", name);
    for (size_t i = 0; i < groups_count; i++) {
        (void)snprintf(user->groups[i], sizeof user->groups[i], "%s", groups[i]);
    }
    user->groups_count = (uint32_t)groups_count;
    return STELE_OK;
}

void stele_user_stream(const char *login, char *stream)
{
    (void)snprintf(stream, STELE_USER_STREAM_SIZE, STELE_USER_STREAM_PREFIX "%s", login);
}

int stele_user_encode(const struct stele_user *user, struct stele_alloc *alloc,
                      struct stele_buf *out_json)
{
    json_t *const groups = json_array();
    for (uint32_t i = 0; i < user->groups_count; i++) {
        (void)json_array_append_new(groups, json_string(user->groups[i]));
    }
    json_t *const object = json_pack("{s:s, s:s, s:s, s:s, s:b, s:o}", "loginName", user->login,
                                     "fullName", user->full_name, "salt", "", "hash", user->hash,
                                     "disabled", (int)user->disabled, "groups", groups);
    if (object == NULL) {
        return STELE_E_NO_MEMORY;
    }
    const size_t size = json_dumpb(object, NULL, 0, JSON_COMPACT);
    int outcome = stele_buf_reserve(out_json, alloc, size);
    if (outcome == STELE_OK) {
        (void)json_dumpb(object, (char *)out_json->data + out_json->size, size, JSON_COMPACT);
        out_json->size += size;
    }
    json_decref(object);
    return outcome;
}

size_t stele_user_encode_login(const char *login, char *json, size_t size)
{
    json_t *const object = json_pack("{s:s}", "loginName", login);
    const size_t used = object == NULL ? 0 : json_dumpb(object, json, size, JSON_COMPACT);
    json_decref(object);
    STELE_ASSERT(used <= size);
    return used;
}

/* false: it is there and is no text, or does not fit. */
static bool get_text(const json_t *object, const char *member, char *text, size_t text_size)
{
    const json_t *const value = json_object_get(object, member);
    const char *const found = json_string_value(value);
    text[0] = '\0';
    if (value == NULL || json_is_null(value)) {
        return true;
    }
    if (found == NULL || json_string_length(value) >= text_size ||
        strlen(found) != json_string_length(value)) {
        return false;
    }
    memcpy(text, found, json_string_length(value) + 1);
    return true;
}

static bool get_groups(const json_t *object, struct stele_user *user)
{
    const json_t *const groups = json_object_get(object, "groups");
    user->groups_count = 0;
    if (groups == NULL || json_is_null(groups)) {
        return true;
    }
    if (!json_is_array(groups) || json_array_size(groups) > STELE_ROLES_MAX) {
        return false;
    }
    for (size_t i = 0; i < json_array_size(groups); i++) {
        const json_t *const group = json_array_get(groups, i);
        const char *const name = json_string_value(group);
        if (name == NULL || strlen(name) != json_string_length(group) ||
            check_group(name, NULL) != STELE_OK) {
            return false;
        }
        (void)snprintf(user->groups[i], sizeof user->groups[i], "%s", name);
        user->groups_count++;
    }
    return true;
}

int stele_user_decode(struct stele_bytes json, struct stele_user *out_user, struct stele_error *err)
{
    struct stele_user user = *out_user;
    json_t *const object =
        json_loadb((const char *)json.data, json.size, JSON_REJECT_DUPLICATES, NULL);
    const json_t *const disabled = json_object_get(object, "disabled");
    /* Whether a user is disabled is not guessed: what is there and no boolean refuses them all. */
    const bool whole =
        json_is_object(object) && get_text(object, "loginName", user.login, sizeof user.login) &&
        get_text(object, "fullName", user.full_name, sizeof user.full_name) &&
        get_text(object, "hash", user.hash, sizeof user.hash) && get_groups(object, &user) &&
        (disabled == NULL || json_is_boolean(disabled)) &&
        stele_user_check_login(user.login, NULL) == STELE_OK;
    user.disabled = json_is_true(disabled);
    json_decref(object);
    if (!whole) {
        return stele_fail(err, STELE_E_CORRUPT, 0, "the event is no user");
    }
    *out_user = user;
    return STELE_OK;
}
