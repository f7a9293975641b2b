/* Runs the server. */
#include "cli/cli.h"
#include "cli/commands.h"
#include "cli/options.h"
#include "cli/out.h"
#include "server/server.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

const struct stele_cli_command stele_cli_serve_command = {
    .name = "serve",
    .usage = "serve [options]",
    .summary = "Serve the store to clients over the network",
    .text =
        "Speaks gRPC (KurrentDB's clients, and our own service) and HTTP/1.1 on one port, with "
        "TLS\n"
        "or without. The store is made if there is none. Ctrl-C or SIGTERM ends it gracefully;\n"
        "SIGHUP reads the certificate again.",
    .examples = "stele serve --insecure\n"
                "stele serve --listen 0.0.0.0 --tls-certificate server.pem --tls-key server.key",
    .run = stele_cli_serve,
};

static const char *level_name(enum stele_server_log level)
{
    switch (level) {
    case STELE_SERVER_DEBUG:
        return "debug";
    case STELE_SERVER_INFO:
        return "info";
    case STELE_SERVER_WARNING:
        return "warning";
    case STELE_SERVER_ERROR:
        return "error";
    }
    return "error";
}

static void on_log(void *context, enum stele_server_log level, const char *message)
{
    (void)context;
    (void)fprintf(stderr, "stele: %s: %s\n", level_name(level), message);
}

static void on_ready(void *context, const char *addresses, bool tls)
{
    (void)context;
    (void)printf("stele is ready: %s (%s)\n", addresses, tls ? "TLS" : "plain text");
    (void)fflush(stdout);
}

static void on_first_password(void *context, const char *login, const char *password)
{
    (void)context;
    (void)printf("first password of %s: %s\n", login, password);
    (void)fflush(stdout);
}

int stele_cli_serve(int argc, char **argv)
{
    const struct stele_cli_command *const command = &stele_cli_serve_command;
    struct stele_server_config config = STELE_SERVER_CONFIG_INIT;
    uint64_t port = STELE_SERVER_PORT_DEFAULT;
    uint64_t threads = 0;
    const char *host = NULL;
    size_t count = 0;
    const struct stele_cli_option table[] = {
        {"listen", "HOST", "the address to listen on (default: localhost); 0.0.0.0 for every one",
         STELE_CLI_TEXT, &host},
        {"port", "N", "the port (default: 2113); 0: the system chooses", STELE_CLI_NUMBER, &port},
        {"insecure", NULL, "no users, no passwords, plain text", STELE_CLI_FLAG, &config.insecure},
        {"tls-certificate", "FILE", "PEM, with those between it and the root", STELE_CLI_TEXT,
         &config.tls_certificate},
        {"tls-key", "FILE", "its key", STELE_CLI_TEXT, &config.tls_key},
        {"threads", "N", "threads that serve connections", STELE_CLI_POSITIVE, &threads},
    };
    int code =
        stele_cli_parse(command, table, STELE_COUNT_OF(table), argc, argv, NULL, 0, 0, &count);
    if (code != STELE_CLI_GO_ON) {
        return code;
    }
    if (port > 65535) {
        return stele_cli_usage_error(command, "--port: '%llu' is above 65535",
                                     (unsigned long long)port);
    }
    config.store_path = stele_cli_store_path();
    config.threads = (uint32_t)(threads > 64 ? 64 : threads);
    config.addresses_count = 1;
    config.addresses[0].port = (uint16_t)port;
    (void)snprintf(config.addresses[0].host, sizeof config.addresses[0].host, "%s",
                   host != NULL ? host : "localhost");
    config.notify_socket = getenv("NOTIFY_SOCKET");
    config.on_log = on_log;
    config.on_ready = on_ready;
    config.on_first_password = on_first_password;
    struct stele_error err = {0};
    const int outcome = stele_server_run(&config, &err);
    return outcome == STELE_OK ? STELE_CLI_OK : stele_cli_fail_outcome(outcome, &err, "serve");
}
