/* Runs the server. Its options are the settings of src/ops/settings.h, each of which is also a key of
 * the configuration file and a variable. */
#include "cli/cli.h"
#include "cli/commands.h"
#include "cli/options.h"
#include "cli/out.h"
#include "io/linux.h"
#include "ops/config.h"
#include "ops/log.h"
#include "server/server.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

const struct stele_cli_command stele_cli_serve_command = {
    .name = "serve",
    .usage = "serve [options]",
    .summary = "Serve the store to clients over the network",
    .text = "Speaks gRPC (KurrentDB's clients, and Stele's own service) and HTTP/1.1 on one port,\n"
            "with TLS or without. The store is made if there is none; the first start makes the\n"
            "users admin and ops and prints their passwords once. Ctrl-C or SIGTERM ends it\n"
            "gracefully; SIGHUP reads certificates and keys again.\n"
            "\n"
            "Each setting is also a key of the file (tls-key: server.key) and a variable\n"
            "(STELE_TLS_KEY). Flags go before variables, variables before the file. Secrets have\n"
            "no flag, because others can see a command line: admin-password, ops-password.",
    .examples = "stele serve --insecure --print-config\n"
                "stele serve --listen 0.0.0.0 --tls-certificate server.pem --tls-key server.key "
                "--print-config",
    .run = stele_cli_serve,
};

/* ---- Options ---- */

#define OTHERS 2 /* --config, --print-config */

struct serve {
    struct stele_cli_option options[STELE_SETTING_COUNT + OTHERS];
    size_t options_count;
    char help[STELE_SETTING_COUNT][512];
    const char *texts[STELE_SETTING_COUNT];
    bool flags[STELE_SETTING_COUNT];
    const char *file;
    bool print;
    struct stele_config *config;
    struct stele_ops_log log;
    char addresses[512];
    char jwt_keys[512];
};

/* A hard line break where the help would become too wide. */
static void wrap(char *text)
{
    enum { WIDTH = 66 };
    size_t column = 0;
    char *blank = NULL;
    for (char *at = text; *at != '\0'; at++) {
        blank = *at == ' ' ? at : blank;
        if (column >= WIDTH && blank != NULL) {
            *blank = '\n';
            column = (size_t)(at - blank);
            blank = NULL;
        } else {
            column++;
        }
    }
}

static void add_setting(struct serve *serve, enum stele_setting setting)
{
    const struct stele_setting_row *const row = stele_setting_row(setting);
    char variable[64];
    if (row->kind == STELE_SETTING_KIND_SECRET || setting == STELE_SETTING_STORE) {
        return; /* --store is an option of every command. */
    }
    stele_config_variable(setting, variable);
    (void)snprintf(serve->help[setting], sizeof serve->help[setting], "%s%s%s [%s]", row->help,
                   row->otherwise[0] != '\0' ? "; default: " : "", row->otherwise, variable);
    wrap(serve->help[setting]);
    const bool is_flag = row->kind == STELE_SETTING_KIND_FLAG;
    serve->options[serve->options_count++] = (struct stele_cli_option){
        .name = row->name,
        .argument = row->argument,
        .help = serve->help[setting],
        .kind = is_flag ? STELE_CLI_FLAG : STELE_CLI_TEXT,
        .target = is_flag ? (void *)&serve->flags[setting] : (void *)&serve->texts[setting],
    };
}

static void make_options(struct serve *serve)
{
    serve->options[serve->options_count++] = (struct stele_cli_option){
        "config", "FILE", "a YAML file of settings [STELE_CONFIG]", STELE_CLI_TEXT, &serve->file};
    serve->options[serve->options_count++] = (struct stele_cli_option){
        "print-config", NULL, "show every setting with its value and where that comes from; end",
        STELE_CLI_FLAG, &serve->print};
    for (int i = 0; i < STELE_SETTING_COUNT; i++) {
        add_setting(serve, (enum stele_setting)i);
    }
}

/* ---- Configuration ---- */

static void on_unknown(void *context, const char *variable, const char *nearest)
{
    (void)context;
    char name[64] = "";
    for (int i = 0; nearest != NULL && i < STELE_SETTING_COUNT; i++) {
        if (strcmp(stele_setting_row((enum stele_setting)i)->name, nearest) == 0) {
            stele_config_variable((enum stele_setting)i, name);
        }
    }
    stele_cli_note("%s is set, but no setting%s%s%s", variable,
                   nearest != NULL ? "; did you mean " : "", name, nearest != NULL ? "?" : "");
}

static int read_config(struct serve *serve, struct stele_error *err)
{
    int outcome = stele_config_create(stele_linux_alloc(), &serve->config);
    const char *const file = serve->file != NULL ? serve->file : getenv("STELE_CONFIG");
    if (outcome == STELE_OK && file != NULL && file[0] != '\0') {
        outcome = stele_config_add_file(serve->config, file, err);
    }
    if (outcome == STELE_OK) {
        outcome = stele_config_add_environment(serve->config, (const char *const *)environ,
                                               on_unknown, NULL, err);
    }
    if (outcome == STELE_OK && stele_cli_globals.store != NULL) {
        outcome =
            stele_config_set(serve->config, STELE_SETTING_STORE, stele_cli_globals.store, err);
    }
    for (int i = 0; i < STELE_SETTING_COUNT && outcome == STELE_OK; i++) {
        const char *const text = serve->flags[i] ? "true" : serve->texts[i];
        if (text != NULL) {
            outcome = stele_config_set(serve->config, (enum stele_setting)i, text, err);
        }
    }
    return outcome == STELE_OK ? stele_config_check(serve->config, err) : outcome;
}

/* Whoever may look at the process sees its environment for as long as it lives. The configuration has
 * copies. */
static void wipe_environment(void)
{
    for (int i = 0; i < STELE_SETTING_COUNT; i++) {
        const enum stele_setting setting = (enum stele_setting)i;
        char variable[64];
        if (stele_setting_row(setting)->kind != STELE_SETTING_KIND_SECRET) {
            continue;
        }
        stele_config_variable(setting, variable);
        char *const value = getenv(variable);
        if (value != NULL) {
            explicit_bzero(value, strlen(value));
        }
    }
}

static int print_config(const struct serve *serve)
{
    struct stele_alloc *const alloc = stele_linux_alloc();
    struct stele_buf buf = {.data = NULL};
    struct stele_error err = {0};
    const int outcome = stele_config_print(serve->config, &buf, &err);
    if (outcome == STELE_OK) {
        stele_cli_out_bytes((const char *)buf.data, buf.size);
    }
    stele_buf_deinit(&buf, alloc);
    return outcome == STELE_OK ? STELE_CLI_OK
                               : stele_cli_fail_outcome(outcome, &err, "print the configuration");
}

/* HOST, HOST:PORT, [V6]:PORT, a V6 without brackets and port, unix:/PATH. */
static int parse_address(const char *text, uint16_t otherwise, struct stele_server_address *out)
{
    const char *const bracket = text[0] == '[' ? strchr(text, ']') : NULL;
    const char *const colon = strrchr(text, ':');
    const bool is_unix = strncmp(text, "unix:", 5) == 0;
    const bool has_port =
        !is_unix && colon != NULL &&
        (bracket != NULL ? colon == bracket + 1 : text[0] != '[' && strchr(text, ':') == colon);
    size_t size = has_port ? (size_t)(colon - text) : strlen(text);
    if (bracket != NULL) {
        if (!has_port && bracket[1] != '\0') {
            return STELE_E_INVALID;
        }
        text++;
        size = (size_t)(bracket - text);
    }
    out->port = is_unix ? 0 : otherwise;
    if (has_port) {
        char *end = NULL;
        const unsigned long port = strtoul(colon + 1, &end, 10);
        if (end == colon + 1 || *end != '\0' || port > 65535) {
            return STELE_E_INVALID;
        }
        out->port = (uint16_t)port;
    }
    if (size >= sizeof out->host) {
        return STELE_E_INVALID;
    }
    memcpy(out->host, text, size);
    out->host[size] = '\0';
    return STELE_OK;
}

static uint32_t number(const struct stele_config *config, enum stele_setting setting)
{
    const uint64_t value = stele_config_number(config, setting);
    return value > UINT32_MAX ? UINT32_MAX : (uint32_t)value;
}

static void set_limits(const struct stele_config *from, struct stele_server_config *config)
{
    config->threads = number(from, STELE_SETTING_THREADS);
    config->connections_max = number(from, STELE_SETTING_CONNECTIONS_MAX);
    config->handshake_ms = number(from, STELE_SETTING_HANDSHAKE_TIMEOUT);
    config->drain_ms = number(from, STELE_SETTING_DRAIN_TIMEOUT);
    config->http.exchanges_max = number(from, STELE_SETTING_CALLS_MAX);
    config->http.header_size_max = number(from, STELE_SETTING_HEADER_SIZE_MAX);
    config->http.headers_ms = number(from, STELE_SETTING_HEADER_TIMEOUT);
    config->http.idle_ms = number(from, STELE_SETTING_IDLE_TIMEOUT);
    config->http.keepalive_ms = number(from, STELE_SETTING_KEEPALIVE_INTERVAL);
    config->http.keepalive_timeout_ms = number(from, STELE_SETTING_KEEPALIVE_TIMEOUT);
    config->output_memory = stele_config_number(from, STELE_SETTING_OUTPUT_MEMORY);
    config->append_size_max = number(from, STELE_SETTING_APPEND_SIZE_MAX);
    config->event_size_max = number(from, STELE_SETTING_EVENT_SIZE_MAX);
}

static void set_auth(const struct stele_config *from, struct stele_server_config *config)
{
    struct stele_auth_options *const auth = &config->auth;
    config->insecure = stele_config_flag(from, STELE_SETTING_INSECURE);
    config->jwt_keys = stele_config_text(from, STELE_SETTING_JWT_KEYS);
    auth->admin_password = stele_config_text(from, STELE_SETTING_ADMIN_PASSWORD);
    auth->ops_password = stele_config_text(from, STELE_SETTING_OPS_PASSWORD);
    auth->anonymous_streams = stele_config_flag(from, STELE_SETTING_ANONYMOUS_STREAMS);
    auth->jwt_audience = stele_config_text(from, STELE_SETTING_JWT_AUDIENCE);
    auth->jwt_issuer = stele_config_text(from, STELE_SETTING_JWT_ISSUER);
    auth->jwt_roles = stele_config_text(from, STELE_SETTING_JWT_ROLES);
    auth->password_memory = stele_config_number(from, STELE_SETTING_PASSWORD_MEMORY);
    auth->password_passes = number(from, STELE_SETTING_PASSWORD_PASSES);
    auth->proof_seconds = number(from, STELE_SETTING_LOGIN_LIFETIME) / 1000;
    auth->failures_max = number(from, STELE_SETTING_LOGIN_FAILURES_MAX);
    auth->failures_refill_seconds = number(from, STELE_SETTING_LOGIN_FAILURES_REFILL) / 1000;
    auth->audit_per_second = number(from, STELE_SETTING_AUDIT_RATE);
    auth->quota.requests_per_s = stele_config_number(from, STELE_SETTING_USER_REQUESTS_MAX);
    auth->quota.bytes_per_s = stele_config_number(from, STELE_SETTING_USER_BYTES_MAX);
    auth->quota.calls = number(from, STELE_SETTING_USER_CALLS_MAX);
    auth->quota.memory = stele_config_number(from, STELE_SETTING_USER_MEMORY);
}

static void set_store(const struct stele_config *from, struct stele_options *options,
                      struct stele_server_config *config)
{
    config->store_path = stele_config_text(from, STELE_SETTING_STORE);
    config->store_options = options;
    options->partitions = number(from, STELE_SETTING_PARTITIONS);
    options->segment_size_max = stele_config_number(from, STELE_SETTING_SEGMENT_SIZE_MAX);
    options->index_memory = stele_config_number(from, STELE_SETTING_INDEX_MEMORY);
    options->event_size_max = number(from, STELE_SETTING_EVENT_SIZE_MAX);
    options->compress = stele_config_flag(from, STELE_SETTING_COMPRESS) ? 1 : 0;
    /* Whole days; less than one is one. */
    const uint64_t day_ms = 86400000;
    options->scrub_days =
        (uint32_t)((stele_config_number(from, STELE_SETTING_SCRUB_PERIOD) + day_ms - 1) / day_ms);
}

static int set_addresses(const struct stele_config *from, struct stele_server_config *config)
{
    const uint16_t port = (uint16_t)number(from, STELE_SETTING_PORT);
    const char *item = NULL;
    config->advertised_host = stele_config_text(from, STELE_SETTING_ADVERTISE_HOST);
    config->advertised_port = (uint16_t)number(from, STELE_SETTING_ADVERTISE_PORT);
    config->tls_certificate = stele_config_text(from, STELE_SETTING_TLS_CERTIFICATE);
    config->tls_key = stele_config_text(from, STELE_SETTING_TLS_KEY);
    config->tls_client_ca = stele_config_text(from, STELE_SETTING_TLS_CLIENT_CA);
    config->cluster_certificate = stele_config_text(from, STELE_SETTING_CLUSTER_CERTIFICATE);
    config->cluster_key = stele_config_text(from, STELE_SETTING_CLUSTER_KEY);
    config->cluster_ca = stele_config_text(from, STELE_SETTING_CLUSTER_CA);
    config->cluster_election_ms =
        (uint32_t)stele_config_number(from, STELE_SETTING_CLUSTER_ELECTION);
    config->cluster_heartbeat_ms =
        (uint32_t)stele_config_number(from, STELE_SETTING_CLUSTER_HEARTBEAT);
    config->cluster_listen = stele_config_text(from, STELE_SETTING_CLUSTER_LISTEN);
    config->cluster_features = (uint32_t)number(from, STELE_SETTING_CLUSTER_FEATURES);
    config->tls_client_required = stele_config_flag(from, STELE_SETTING_TLS_CLIENT_REQUIRED);
    config->addresses_count = 0;
    for (size_t i = 0; (item = stele_config_item(from, STELE_SETTING_LISTEN, i)) != NULL; i++) {
        if (i == STELE_SERVER_ADDRESSES_MAX) {
            return stele_cli_usage_error(&stele_cli_serve_command,
                                         "listen: at most %d addresses are taken",
                                         STELE_SERVER_ADDRESSES_MAX);
        }
        if (parse_address(item, port, &config->addresses[i]) != STELE_OK) {
            return stele_cli_usage_error(&stele_cli_serve_command,
                                         "listen: '%s' is none of HOST, HOST:PORT, [V6]:PORT, "
                                         "unix:/PATH",
                                         item);
        }
        config->addresses_count++;
    }
    return STELE_CLI_GO_ON;
}

/* ---- Running ---- */

static void on_log(void *context, enum stele_server_log level, const char *message)
{
    static const enum stele_ops_level levels[] = {
        [STELE_SERVER_DEBUG] = STELE_OPS_DEBUG,
        [STELE_SERVER_INFO] = STELE_OPS_INFO,
        [STELE_SERVER_WARNING] = STELE_OPS_WARNING,
        [STELE_SERVER_ERROR] = STELE_OPS_ERROR,
    };
    struct serve *const serve = context;
    stele_ops_log_write(&serve->log, levels[level], message, NULL, 0);
}

static void on_ready(void *context, const char *addresses, bool tls)
{
    struct serve *const serve = context;
    char message[600];
    (void)snprintf(message, sizeof message, "ready: %s (%s)", addresses,
                   tls ? "TLS" : "plain text");
    stele_ops_log_write(&serve->log, STELE_OPS_INFO, message, NULL, 0);
    (void)printf("stele is ready: %s (%s)\n", addresses, tls ? "TLS" : "plain text");
    (void)fflush(stdout);
}

/* On standard output, never in the log. */
static void on_first_password(void *context, const char *login, const char *password)
{
    (void)context;
    (void)printf("first password of %s: %s\n", login, password);
    (void)fflush(stdout);
}

static int run(struct serve *serve)
{
    const struct stele_config *const from = serve->config;
    struct stele_server_config config = STELE_SERVER_CONFIG_INIT;
    struct stele_options options = STELE_OPTIONS_INIT;
    struct stele_error err = {0};
    const int code = set_addresses(from, &config);
    if (code != STELE_CLI_GO_ON) {
        return code;
    }
    set_limits(from, &config);
    set_auth(from, &config);
    set_store(from, &options, &config);
    config.sandbox = !stele_config_flag(from, STELE_SETTING_NO_SANDBOX);
    config.notify_socket = getenv("NOTIFY_SOCKET");
    config.settings = from;
    config.context = serve;
    config.on_log = on_log;
    config.on_ready = on_ready;
    config.on_first_password = on_first_password;
    stele_ops_log_init(&serve->log, STDERR_FILENO,
                       stele_config_text(from, STELE_SETTING_LOG_FORMAT),
                       stele_config_text(from, STELE_SETTING_LOG_LEVEL));
    const int outcome = stele_server_run(&config, &err);
    stele_ops_log_deinit(&serve->log);
    return outcome == STELE_OK ? STELE_CLI_OK : stele_cli_fail_outcome(outcome, &err, "serve");
}

int stele_cli_serve(int argc, char **argv)
{
    struct serve *const serve = stele_cli_keep(sizeof *serve);
    memset(serve, 0, sizeof *serve);
    make_options(serve);
    size_t count = 0;
    int code = stele_cli_parse(&stele_cli_serve_command, serve->options, serve->options_count, argc,
                               argv, NULL, 0, 0, &count);
    if (code != STELE_CLI_GO_ON) {
        return code;
    }
    struct stele_error err = {0};
    const int outcome = read_config(serve, &err);
    wipe_environment();
    if (outcome == STELE_E_INVALID) {
        code = stele_cli_fail(STELE_CLI_USAGE, "usage", "serve: %s", err.message);
    } else if (outcome != STELE_OK) {
        code = stele_cli_fail_outcome(outcome, &err, "serve");
    } else {
        code = serve->print ? print_config(serve) : run(serve);
    }
    stele_config_destroy(serve->config);
    return code;
}
