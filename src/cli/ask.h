/* One question over HTTP to a running server: what the library has no call for.
 *
 * The address is that of the store (stele://user:password@host:port,host2:port?…): the same hosts, TLS and
 * user as for everything else. One connection a question. */
#ifndef STELE_CLI_ASK_H
#define STELE_CLI_ASK_H

#include "cli/options.h"
#include "client/remote.h"

#include <jansson.h>

struct stele_cli_ask {
    struct far_address address;
};

/* From --store, which has to be an address. STELE_CLI_GO_ON, or after telling why not the exit code. */
int stele_cli_ask_init(struct stele_cli_ask *ask, const struct stele_cli_command *command);

/* Asks the first host that can be reached. body: JSON, or NULL. *out_json: an object or array, whatever the status was,
 * which the caller releases.
 *
 * STELE_OK; STELE_E_IO: nobody could be reached, or nothing of the kind came back, and nothing happened;
 * STELE_E_UNKNOWN: the question was sent, and no answer came. */
int stele_cli_ask(struct stele_cli_ask *ask, const char *method, const char *path, const char *body,
                  int *out_status, json_t **out_json, struct stele_error *err);

/* Tells what a status other than 200 means, with the server's words; returns the exit code. */
int stele_cli_ask_refused(const char *what, int status, const json_t *json);

#endif
