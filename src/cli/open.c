/* Opening and closing the store. */
#include "cli/cli.h"
#include "cli/keyring.h"
#include "cli/options.h"

#include <stdio.h>
#include <string.h>

static int open_with(const char *path, int create, int read_only, struct stele **out_store,
                     struct stele_error *err)
{
    struct stele_options options = STELE_OPTIONS_INIT;
    options.create = create;
    options.read_only = read_only;
    return stele_open(path, &options, out_store, err);
}

int stele_cli_open_plain(enum stele_cli_access access, struct stele **out_store)
{
    const char *const path = stele_cli_store_path();
    struct stele_error err = {0};
    int outcome = open_with(path, 0, access == STELE_CLI_READ, out_store, &err);
    if (outcome == STELE_E_NOT_A_STORE && strstr(path, "://") != NULL) {
        /* Nobody wants a directory of that name, and the message would show a password. */
        return stele_cli_fail(STELE_CLI_USAGE, "usage",
                              "%s is neither a directory nor an address: those begin with stele:// "
                              "or kurrentdb://",
                              stele_cli_store_shown());
    }
    if (outcome == STELE_E_NOT_A_STORE && access == STELE_CLI_CREATE) {
        /* Tried without create first, so that a mistyped path does not make a store in silence. */
        outcome = open_with(path, 1, 0, out_store, &err);
        if (outcome == STELE_OK) {
            stele_cli_note("created the store %s", path);
        }
    }
    if (outcome != STELE_OK) {
        char what[1100];
        (void)snprintf(what, sizeof what, "open %.1000s", stele_cli_store_shown());
        return stele_cli_fail_outcome(outcome, &err, what);
    }
    return STELE_CLI_OK;
}

int stele_cli_open(enum stele_cli_access access, struct stele **out_store)
{
    const struct stele_cli_keyring environment = {.path = NULL};
    const int code = stele_cli_open_plain(access, out_store);
    if (code != STELE_CLI_OK || !stele_cli_keyring_is_named()) {
        return code;
    }
    const int used = stele_cli_keyring_use(*out_store, &environment, access == STELE_CLI_READ);
    return used == STELE_CLI_OK ? STELE_CLI_OK : stele_cli_close(*out_store, used);
}

int stele_cli_close(struct stele *store, int code)
{
    const int outcome = stele_close(store);
    stele_cli_keyring_close();
    if (outcome != STELE_OK && code == STELE_CLI_OK) {
        return stele_cli_fail_outcome(outcome, NULL, "close the store");
    }
    return code;
}
