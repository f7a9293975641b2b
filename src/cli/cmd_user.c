/* Users of a store, that no server has open (the first one, a lost password, a lock-out) or through its
 * server (--store stele://…, as an administrator). A user is an event of a stream: both ways read and
 * append these, and a server that runs takes notice (src/auth/streams.c). The password is hashed here
 * and does not travel. */
#include "auth/password.h"
#include "auth/user.h"
#include "cli/cli.h"
#include "cli/commands.h"
#include "cli/options.h"
#include "cli/out.h"
#include "io/linux.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <termios.h>
#include <unistd.h>

const struct stele_cli_command stele_cli_user_command = {
    .name = "user",
    .usage = "user list|add|passwd|delete|enable|disable [LOGIN] [options]",
    .summary = "Look after the users of a store",
    .text = "Works on a store that no server has open, or through its server as an administrator\n"
            "(STELE_STORE=stele://admin:PASSWORD@HOST:2113). A new password is asked for, or read\n"
            "from the first line of standard input when that is no terminal; with --random one is\n"
            "made and printed. Groups decide what a user may do: $admins everything, $ops what\n"
            "operating takes, others are names for the access lists of streams.",
    .examples = "stele user add ada --group readers --random\n"
                "stele user list\n"
                "stele user add eve --random && printf 'a new password' | stele user passwd eve\n"
                "stele user add eve --random && stele user disable eve",
    .run = stele_cli_user,
};

static const struct stele_cli_command *const self = &stele_cli_user_command;

struct edit {
    const char *login;
    const char *full_name;
    struct stele_cli_list groups;
    bool random;
    char password[STELE_PASSWORD_SIZE_MAX + 2];
};

/* ---- Passwords ---- */

static bool read_line(char *text, size_t size)
{
    size_t used = 0;
    for (;;) {
        char c = '\0';
        /* Not read() alone: Ctrl-C just before it would leave it waiting. */
        struct pollfd input = {.fd = STDIN_FILENO, .events = POLLIN};
        while (!stele_cli_interrupted() && poll(&input, 1, 100) == 0) {
        }
        if (stele_cli_interrupted()) {
            break;
        }
        const ssize_t got = read(STDIN_FILENO, &c, 1);
        if (got <= 0 || c == '\n') {
            break;
        }
        if (used < size - 1) {
            text[used++] = c;
        }
    }
    text[used] = '\0';
    return used > 0;
}

/* Quiet before the question is shown: whoever types at once is not shown, either. */
static void ask_on_terminal(const char *question, char *text, size_t size)
{
    struct termios old;
    const bool known = tcgetattr(STDIN_FILENO, &old) == 0;
    if (known) {
        struct termios quiet = old;
        quiet.c_lflag &= ~(tcflag_t)ECHO;
        (void)tcsetattr(STDIN_FILENO, TCSANOW, &quiet);
    }
    (void)fprintf(stderr, "%s", question);
    (void)fflush(stderr);
    (void)read_line(text, size);
    if (known) {
        (void)tcsetattr(STDIN_FILENO, TCSANOW, &old);
    }
    (void)fprintf(stderr, "\n");
}

static int make_password(struct edit *edit)
{
    uint8_t random[15];
    if (getrandom(random, sizeof random, 0) != (ssize_t)sizeof random) {
        return stele_cli_fail(STELE_CLI_IO, "io", "user: the system gives no random numbers");
    }
    stele_password_of_random(random, edit->password);
    stele_password_wipe(random, sizeof random);
    return STELE_CLI_GO_ON;
}

static int get_password(struct edit *edit)
{
    struct stele_error err = {0};
    if (edit->random) {
        return make_password(edit);
    }
    if (isatty(STDIN_FILENO) == 0) {
        (void)read_line(edit->password, sizeof edit->password);
    } else {
        char again[sizeof edit->password] = "";
        stele_cli_catch_interrupts(); /* So that the terminal is put right again. */
        ask_on_terminal("New password: ", edit->password, sizeof edit->password);
        if (!stele_cli_interrupted()) {
            ask_on_terminal("Once more: ", again, sizeof again);
        }
        if (stele_cli_interrupted()) {
            return STELE_CLI_INTERRUPTED;
        }
        const bool same = strcmp(edit->password, again) == 0;
        stele_password_wipe(again, sizeof again);
        if (!same) {
            return stele_cli_fail(STELE_CLI_INPUT, "input",
                                  "user: the two passwords differ; nothing was changed");
        }
    }
    if (stele_user_check_password(edit->password, &err) != STELE_OK) {
        return stele_cli_fail(STELE_CLI_INPUT, "input", "user: %s; choose another one",
                              err.message);
    }
    return STELE_CLI_GO_ON;
}

static int hash(struct edit *edit, struct stele_user *user)
{
    const int outcome = stele_password_hash(edit->password, STELE_PASSWORD_MEMORY,
                                            STELE_PASSWORD_PASSES, user->hash);
    return outcome == STELE_OK ? STELE_CLI_GO_ON
                               : stele_cli_fail_outcome(outcome, NULL, "hash the password");
}

/* ---- Reading ---- */

/* STELE_OK, STELE_NOT_FOUND (never made, or deleted), errors. */
static int load(struct stele *store, const char *login, struct stele_user *out_user,
                struct stele_error *err)
{
    char stream[STELE_USER_STREAM_SIZE];
    struct stele_read_options options = STELE_READ_OPTIONS_INIT;
    struct stele_iterator *iterator = NULL;
    const struct stele_event *events = NULL;
    size_t count = 0;
    options.from = STELE_FROM_END;
    options.backwards = 1;
    options.limit = 1;
    stele_user_stream(login, stream);
    int outcome = stele_read_stream(store, stream, &options, &iterator, err);
    if (outcome == STELE_OK) {
        outcome = stele_iterator_next(iterator, &events, &count, err);
    }
    if (outcome == STELE_OK) {
        const struct stele_bytes json = {.data = events[0].data, .size = events[0].data_size};
        *out_user =
            (struct stele_user){.revision = events[0].revision, .updated_us = events[0].created_us};
        outcome = stele_user_decode(json, out_user, err);
    }
    stele_iterator_destroy(iterator);
    return outcome == STELE_NO_STREAM || outcome == STELE_STREAM_DELETED || outcome == STELE_END
               ? STELE_NOT_FOUND
               : outcome;
}

static int fail_load(int outcome, const char *login, const struct stele_error *err)
{
    char what[STELE_LOGIN_SIZE_MAX + 16];
    if (outcome == STELE_NOT_FOUND) {
        return stele_cli_fail(STELE_CLI_NOT_FOUND, "not-found",
                              "user: there is no user %s; `stele user list` shows all", login);
    }
    (void)snprintf(what, sizeof what, "user %s", login);
    return stele_cli_fail_outcome(outcome, err, what);
}

/* ---- Listing ---- */

static void out_user_text(const struct stele_user *user)
{
    stele_cli_out_safe((struct stele_text){user->login, strlen(user->login)}, 0);
    stele_cli_out(user->disabled ? "  (disabled)" : "");
    for (uint32_t i = 0; i < user->groups_count; i++) {
        stele_cli_out(i == 0 ? "  " : " ");
        stele_cli_out_safe((struct stele_text){user->groups[i], strlen(user->groups[i])}, 0);
    }
    if (user->full_name[0] != '\0') {
        stele_cli_out("  ");
        stele_cli_out_safe((struct stele_text){user->full_name, strlen(user->full_name)}, 0);
    }
    stele_cli_out("\n");
}

static void out_json_string(const char *text)
{
    stele_cli_out_json_text((struct stele_text){text, strlen(text)});
}

static void out_user_json(const struct stele_user *user)
{
    stele_cli_out("{\"login\":");
    out_json_string(user->login);
    stele_cli_out(",\"full_name\":");
    out_json_string(user->full_name);
    stele_cli_out(",\"groups\":[");
    for (uint32_t i = 0; i < user->groups_count; i++) {
        stele_cli_out(i > 0 ? "," : "");
        out_json_string(user->groups[i]);
    }
    stele_cli_outf("],\"disabled\":%s}\n", user->disabled ? "true" : "false");
}

struct names {
    char (*logins)[STELE_LOGIN_SIZE_MAX + 1];
    size_t count, capacity;
};

static int on_stream(void *context, struct stele_text name, uint64_t count)
{
    (void)count;
    struct names *const names = context;
    const size_t prefix = strlen(STELE_USER_STREAM_PREFIX);
    if (name.size <= prefix || name.size - prefix > STELE_LOGIN_SIZE_MAX) {
        return 0;
    }
    if (names->count == names->capacity) {
        names->capacity = names->capacity == 0 ? 64 : names->capacity * 2;
        names->logins = stele_cli_realloc(names->logins, names->capacity * sizeof names->logins[0]);
    }
    char *const login = names->logins[names->count++];
    memcpy(login, name.data + prefix, name.size - prefix);
    login[name.size - prefix] = '\0';
    return 0;
}

static int list(void)
{
    struct stele *store = NULL;
    struct names names = {.logins = NULL};
    struct stele_error err = {0};
    int code = stele_cli_open(STELE_CLI_READ, &store);
    if (code != STELE_CLI_OK) {
        return code;
    }
    int outcome = stele_list(store, STELE_LIST_STREAMS, STELE_USER_STREAM_PREFIX, NULL, 0,
                             on_stream, &names, &err);
    for (size_t i = 0; i < names.count && outcome == STELE_OK; i++) {
        struct stele_user user;
        outcome = load(store, names.logins[i], &user, &err);
        if (outcome == STELE_OK && stele_cli_globals.json) {
            out_user_json(&user);
        } else if (outcome == STELE_OK) {
            out_user_text(&user);
        } else if (outcome == STELE_NOT_FOUND) {
            outcome = STELE_OK; /* Deleted. */
        }
    }
    free(names.logins);
    if (outcome != STELE_OK) {
        code = stele_cli_fail_outcome(outcome, &err, "list the users");
    }
    return stele_cli_close(store, code);
}

/* ---- Changing ---- */

static int store_user(struct stele *store, const struct stele_user *user, const char *type,
                      uint64_t expected)
{
    char stream[STELE_USER_STREAM_SIZE];
    struct stele_buf json = {.data = NULL};
    struct stele_alloc *const alloc = stele_linux_alloc();
    struct stele_error err = {0};
    stele_user_stream(user->login, stream);
    int outcome = stele_user_encode(user, alloc, &json);
    const struct stele_event_draft draft = {
        .type = type, .data = json.data, .data_size = json.size};
    const struct stele_event_draft listed = {.type = STELE_USER_TYPE_LISTED,
                                             .data = user->login,
                                             .data_size = strlen(user->login),
                                             .content_type = "text/plain"};
    const struct stele_append streams[] = {
        {.stream = stream, .expected = expected, .events = &draft, .count = 1},
        {.stream = STELE_USERS_STREAM, .expected = STELE_EXPECT_ANY, .events = &listed, .count = 1},
    };
    const bool creates = strcmp(type, STELE_USER_TYPE_CREATED) == 0;
    if (outcome == STELE_OK) {
        outcome = stele_append_many(store, streams, creates ? 2 : 1, NULL, 0, NULL, NULL, &err);
    }
    if (json.size > 0) {
        stele_password_wipe(json.data, json.size);
    }
    stele_buf_deinit(&json, alloc);
    return outcome == STELE_OK ? STELE_CLI_OK
                               : stele_cli_fail_outcome(outcome, &err, "store the user");
}

static void out_done(const struct edit *edit, const char *done)
{
    stele_cli_out_done();
    if (stele_cli_globals.json) {
        stele_cli_out("{\"login\":");
        out_json_string(edit->login);
        stele_cli_outf(",\"done\":\"%s\"", done);
        if (edit->random) {
            stele_cli_out(",\"password\":");
            out_json_string(edit->password);
        }
        stele_cli_out("}\n");
        return;
    }
    stele_cli_out_safe((struct stele_text){edit->login, strlen(edit->login)}, 0);
    stele_cli_outf(": %s\n", done);
    if (edit->random) {
        stele_cli_outf("password: %s\n", edit->password);
    }
}

static int add(struct stele *store, struct edit *edit)
{
    struct stele_user user = {.groups_count = 0};
    struct stele_error err = {0};
    const int found = load(store, edit->login, &user, &err);
    if (found == STELE_OK) {
        return stele_cli_fail(STELE_CLI_CONFLICT, "exists",
                              "user: there is a user %s already; `stele user passwd %s` changes "
                              "the password",
                              edit->login, edit->login);
    }
    if (found != STELE_NOT_FOUND) {
        return fail_load(found, edit->login, &err);
    }
    user = (struct stele_user){.groups_count = 0};
    (void)snprintf(user.login, sizeof user.login, "%s", edit->login);
    if (stele_user_set_about(&user, edit->full_name, edit->groups.items, edit->groups.count,
                             &err) != STELE_OK) {
        return stele_cli_usage_error(self, "%s", err.message);
    }
    const int code = hash(edit, &user);
    return code != STELE_CLI_GO_ON
               ? code
               : store_user(store, &user, STELE_USER_TYPE_CREATED, STELE_EXPECT_NO_STREAM);
}

static int passwd(struct stele *store, struct edit *edit)
{
    struct stele_user user;
    struct stele_error err = {0};
    const int outcome = load(store, edit->login, &user, &err);
    if (outcome != STELE_OK) {
        return fail_load(outcome, edit->login, &err);
    }
    const int code = hash(edit, &user);
    return code != STELE_CLI_GO_ON
               ? code
               : store_user(store, &user, STELE_USER_TYPE_PASSWORD, user.revision);
}

static int set_disabled(struct stele *store, struct edit *edit, bool disabled)
{
    struct stele_user user;
    struct stele_error err = {0};
    const int outcome = load(store, edit->login, &user, &err);
    if (outcome != STELE_OK) {
        return fail_load(outcome, edit->login, &err);
    }
    user.disabled = disabled;
    return store_user(store, &user, STELE_USER_TYPE_UPDATED, user.revision);
}

static int enable(struct stele *store, struct edit *edit)
{
    return set_disabled(store, edit, false);
}

static int disable(struct stele *store, struct edit *edit)
{
    return set_disabled(store, edit, true);
}

static int delete (struct stele *store, struct edit *edit)
{
    char stream[STELE_USER_STREAM_SIZE];
    struct stele_user user;
    struct stele_error err = {0};
    int outcome = load(store, edit->login, &user, &err);
    if (outcome != STELE_OK) {
        return fail_load(outcome, edit->login, &err);
    }
    stele_user_stream(edit->login, stream);
    outcome = stele_delete(store, stream, user.revision, NULL, &err);
    return outcome == STELE_OK ? STELE_CLI_OK
                               : stele_cli_fail_outcome(outcome, &err, "delete the user");
}

static const struct verb {
    const char *name;
    int (*run)(struct stele *store, struct edit *edit);
    const char *done;
    bool needs_password;
    bool takes_about; /* --group, --full-name */
} verbs[] = {
    {"add", add, "added", true, true},
    {"passwd", passwd, "has a new password", true, false},
    {"delete", delete, "deleted", false, false},
    {"enable", enable, "enabled", false, false},
    {"disable", disable, "disabled", false, false},
};

static const struct verb *find_verb(const char *name)
{
    for (size_t i = 0; i < STELE_COUNT_OF(verbs); i++) {
        if (strcmp(verbs[i].name, name) == 0) {
            return &verbs[i];
        }
    }
    return NULL;
}

static int run_verb(const struct verb *verb, struct edit *edit)
{
    struct stele *store = NULL;
    int code = verb->needs_password ? get_password(edit) : STELE_CLI_GO_ON;
    if (code == STELE_CLI_GO_ON) {
        code = stele_cli_open(verb->run == add ? STELE_CLI_CREATE : STELE_CLI_WRITE, &store);
    }
    if (code == STELE_CLI_OK) {
        code = stele_cli_close(store, verb->run(store, edit));
        if (code == STELE_CLI_OK) {
            out_done(edit, verb->done);
        }
    }
    return code;
}

int stele_cli_user(int argc, char **argv)
{
    struct edit edit = {.login = NULL};
    const char *arguments[2];
    size_t count = 0;
    const struct stele_cli_option options[] = {
        {"group", "NAME", "add: a group of the user; may be given several times", STELE_CLI_LIST,
         &edit.groups},
        {"full-name", "TEXT", "add: what people call the user", STELE_CLI_TEXT, &edit.full_name},
        {"random", NULL, "add, passwd: make the password and print it", STELE_CLI_FLAG,
         &edit.random},
    };
    int code = stele_cli_parse(self, options, STELE_COUNT_OF(options), argc, argv, arguments, 1, 2,
                               &count);
    if (code != STELE_CLI_GO_ON) {
        return code;
    }
    if (strcmp(arguments[0], "list") == 0) {
        return count == 1 ? list() : stele_cli_usage_error(self, "list takes no login");
    }
    const struct verb *const verb = find_verb(arguments[0]);
    if (verb == NULL) {
        return stele_cli_usage_error(
            self, "'%s' is none of list, add, passwd, delete, enable, disable", arguments[0]);
    }
    struct stele_error err = {0};
    if (count < 2 || stele_user_check_login(arguments[1], &err) != STELE_OK) {
        return stele_cli_usage_error(self, "%s", count < 2 ? "which login?" : err.message);
    }
    if (!verb->takes_about && (edit.groups.count > 0 || edit.full_name != NULL)) {
        return stele_cli_usage_error(self, "--group and --full-name belong to add");
    }
    if (!verb->needs_password && edit.random) {
        return stele_cli_usage_error(self, "--random belongs to add and passwd");
    }
    edit.login = arguments[1];
    code = run_verb(verb, &edit);
    stele_password_wipe(edit.password, sizeof edit.password);
    return code;
}
