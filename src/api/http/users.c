/* Users over HTTP: made, changed, deleted. Passwords come in bodies, which are wiped.
 *
 *     POST   /api/users             {"login": …, "password": …, "full_name": …, "groups": […]}
 *     POST   /api/users/LOGIN       {"full_name": …, "groups": […]} | {"password": …} |
 *                                   {"disabled": true}: one of the three
 *     DELETE /api/users/LOGIN */
#include "api/http/web_internal.h"
#include "auth/password.h"

#include <jansson.h>
#include <stdio.h>

/* A change on its way: the texts are the JSON's. */
struct changing {
    struct stele_user_change change;
    struct stele_web__request *request;
    json_t *body;
    const char *groups[STELE_ROLES_MAX + 1];
    int status; /* Of the answer, if all is well. */
};

static void end(struct changing *changing)
{
    struct stele_web__request *const request = changing->request;
    json_decref(changing->body);
    stele_release(request->web->alloc, changing, sizeof *changing);
    stele_web__release(request);
}

static void on_done(struct stele_user_change *change, int outcome)
{
    struct changing *const changing = (struct changing *)change;
    struct stele_web__request *const request = changing->request;
    if (outcome == STELE_OK) {
        stele_web__answer(request, changing->status, "application/json",
                          stele_bytes_of_text("{\"status\":\"done\"}\n"));
    } else if (outcome == STELE_NOT_FOUND) {
        stele_web__refuse(request, 404, "not-found", "there is no such user");
    } else if (outcome == STELE_WRONG_REVISION) {
        stele_web__refuse(request, 409, "conflict", "%s", change->message);
    } else if (outcome == STELE_E_OVERLOADED) {
        stele_web__refuse(request, 503, "overloaded", "%s", change->message);
    } else {
        struct stele_error err = {.outcome = outcome};
        (void)snprintf(err.message, sizeof err.message, "%s", change->message);
        stele_web__fail(request, outcome, &err);
    }
    end(changing);
}

static void begin(struct changing *changing, enum stele_user_verb verb, const char *login)
{
    struct stele_web__request *const request = changing->request;
    const struct stele_principal *const principal = request->principal;
    changing->change.verb = verb;
    changing->change.login = login;
    changing->change.by = principal->all_rights ? "anybody (insecure)" : principal->name;
    changing->change.peer = request->peer;
    changing->change.loop = request->loop;
    changing->change.on_done = on_done;
    stele_auth_change_user(request->web->server->auth, &changing->change);
    /* Everything has been copied. */
    const json_t *const password = json_object_get(changing->body, "password");
    if (json_is_string(password)) {
        stele_password_wipe((void *)(uintptr_t)json_string_value(password),
                            json_string_length(password));
    }
    if (request->body.size > 0) {
        stele_password_wipe(request->body.data, request->body.size);
    }
}

/* NULL: refused already. The request is held until end(). */
static struct changing *make(struct stele_web__request *request, bool has_body)
{
    struct stele_alloc *const alloc = request->web->alloc;
    json_t *body = NULL;
    if (has_body) {
        body = json_loadb((const char *)request->body.data, request->body.size,
                          JSON_REJECT_DUPLICATES, NULL);
        if (!json_is_object(body)) {
            json_decref(body);
            stele_web__refuse(request, 400, "invalid", "the body has to be a JSON object");
            return NULL;
        }
    }
    struct changing *const changing = stele_allocate_zeroed(alloc, sizeof *changing);
    if (changing == NULL) {
        json_decref(body);
        stele_web__refuse(request, 503, "overloaded", "no memory");
        return NULL;
    }
    changing->request = request;
    changing->body = body;
    changing->status = 200;
    stele_web__hold(request);
    return changing;
}

static void refuse(struct changing *changing, const char *member, const char *what)
{
    stele_web__refuse(changing->request, 400, "invalid", "%s %s", member, what);
    end(changing);
}

/* false: it is there and is no text. Absent: NULL. */
static bool get_text(const struct changing *changing, const char *member, const char **out_text)
{
    const json_t *const value = json_object_get(changing->body, member);
    *out_text = json_string_value(value);
    return value == NULL || *out_text != NULL;
}

static bool get_groups(struct changing *changing)
{
    const json_t *const groups = json_object_get(changing->body, "groups");
    if (groups != NULL && !json_is_array(groups)) {
        return false;
    }
    /* One more than allowed is kept, so that it is refused with words. */
    for (size_t i = 0; i < json_array_size(groups) && i <= STELE_ROLES_MAX; i++) {
        changing->groups[i] = json_string_value(json_array_get(groups, i));
        if (changing->groups[i] == NULL) {
            return false;
        }
        changing->change.groups_count++;
    }
    changing->change.groups = changing->groups;
    return true;
}

/* A mistyped member would be a change that did not happen, in silence. */
static const char *unknown_member(const struct changing *changing)
{
    static const char *const known[] = {"login", "password", "full_name", "groups", "disabled"};
    const char *name = NULL;
    json_t *value = NULL;
    json_object_foreach(changing->body, name, value)
    {
        bool found = false;
        for (size_t i = 0; i < STELE_COUNT_OF(known); i++) {
            found = found || strcmp(name, known[i]) == 0;
        }
        if (!found) {
            return name;
        }
    }
    return NULL;
}

/* The members that more than one order has. false: refused. */
static bool take_members(struct changing *changing)
{
    const char *const unknown = unknown_member(changing);
    if (unknown != NULL) {
        refuse(changing, "there is a member", "that means nothing here");
        return false;
    }
    if (!get_text(changing, "full_name", &changing->change.full_name)) {
        refuse(changing, "full_name", "has to be a text");
        return false;
    }
    if (!get_groups(changing)) {
        refuse(changing, "groups", "has to be a list of texts");
        return false;
    }
    return true;
}

void stele_web__user_create(struct stele_web__request *request)
{
    struct changing *const changing = make(request, true);
    const char *login = NULL;
    if (changing == NULL || !take_members(changing)) {
        return;
    }
    if (!get_text(changing, "login", &login) || login == NULL) {
        refuse(changing, "login", "has to be a text");
        return;
    }
    if (!get_text(changing, "password", &changing->change.password) ||
        changing->change.password == NULL) {
        refuse(changing, "password", "has to be a text");
        return;
    }
    changing->status = 201;
    begin(changing, STELE_USER_CREATE, login);
}

void stele_web__user_change(struct stele_web__request *request)
{
    struct changing *const changing = make(request, true);
    if (changing == NULL || !take_members(changing)) {
        return;
    }
    const json_t *const disabled = json_object_get(changing->body, "disabled");
    const char *password = NULL;
    if (!get_text(changing, "password", &password)) {
        refuse(changing, "password", "has to be a text");
        return;
    }
    const bool about = json_object_get(changing->body, "full_name") != NULL ||
                       json_object_get(changing->body, "groups") != NULL;
    if ((password != NULL) + (disabled != NULL) + about != 1) {
        refuse(changing, "give one of", "password; disabled; full_name with groups");
    } else if (password != NULL) {
        changing->change.new_password = password;
        begin(changing, STELE_USER_RESET_PASSWORD, request->name);
    } else if (about) {
        begin(changing, STELE_USER_UPDATE, request->name);
    } else if (!json_is_boolean(disabled)) {
        refuse(changing, "disabled", "has to be true or false");
    } else {
        begin(changing, json_is_true(disabled) ? STELE_USER_DISABLE : STELE_USER_ENABLE,
              request->name);
    }
}

void stele_web__user_delete(struct stele_web__request *request)
{
    struct changing *const changing = make(request, false);
    if (changing != NULL) {
        begin(changing, STELE_USER_DELETE, request->name);
    }
}
