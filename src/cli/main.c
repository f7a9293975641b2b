/* stele: finds the command and runs it. */
#include "cli/cli.h"
#include "cli/commands.h"
#include "cli/out.h"

#include <signal.h>
#include <string.h>
#include <sys/resource.h>

/* Failures are told as JSON from the first one on, also those of parsing the options. */
static bool wants_json(int argc, char **argv)
{
    for (int i = 1; i < argc && strcmp(argv[i], "--") != 0; i++) {
        if (strcmp(argv[i], "--json") == 0) {
            return true;
        }
    }
    return false;
}

static int no_command(const char *name)
{
    const char *const near = stele_cli_near_command(name);
    if (near != NULL) {
        return stele_cli_fail(STELE_CLI_USAGE, "usage",
                              "%s: there is no such command; did you mean %s? See `stele help`",
                              name, near);
    }
    return stele_cli_fail(STELE_CLI_USAGE, "usage",
                          "%s: there is no such command; see `stele help`", name);
}

/* Options before the command: --store, --json, --help, --version. The place of the command, or 0
 * with *out_code set. */
static int skip_globals(int argc, char **argv, int *out_code)
{
    int at = 1;
    for (; at < argc && argv[at][0] == '-'; at++) {
        const char *const word = argv[at];
        if (strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0) {
            stele_cli_out_overview();
            *out_code = STELE_CLI_OK;
            return 0;
        }
        if (strcmp(word, "--version") == 0 || strcmp(word, "-V") == 0) {
            char name[] = "version";
            char *version_argv[] = {name, NULL};
            *out_code = stele_cli_version(1, version_argv);
            return 0;
        }
        if (strncmp(word, "--store=", 8) == 0) {
            stele_cli_globals.store = word + 8;
        } else if ((strcmp(word, "--store") == 0 || strcmp(word, "-s") == 0) && at + 1 < argc) {
            stele_cli_globals.store = argv[++at];
        } else if (strcmp(word, "--json") != 0) {
            *out_code = stele_cli_fail(STELE_CLI_USAGE, "usage",
                                       "%s: there is no such option before a command; `stele help` "
                                       "lists what there is",
                                       word);
            return 0;
        }
    }
    if (at == argc) {
        stele_cli_out_overview();
        *out_code = STELE_CLI_USAGE;
        return 0;
    }
    return at;
}

static int run(int argc, char **argv)
{
    int code = STELE_CLI_OK;
    const int at = skip_globals(argc, argv, &code);
    if (at == 0) {
        return code;
    }
    const struct stele_cli_command *const command = stele_cli_find_command(argv[at]);
    if (command == NULL) {
        return no_command(argv[at]);
    }
    return command->run(argc - at, argv + at);
}

/* A store holds one file open for each segment, and a server one for each connection. The soft limit
 * of open files is as low as it is for select(), which nobody here uses. */
static void raise_file_limit(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < limit.rlim_max) {
        limit.rlim_cur = limit.rlim_max;
        (void)setrlimit(RLIMIT_NOFILE, &limit);
    }
}

int main(int argc, char **argv)
{
    raise_file_limit();
    /* A reader that goes away is noticed by the write that fails, and the store is closed before
     * the process ends. */
    const struct sigaction ignore = {.sa_handler = SIG_IGN};
    (void)sigaction(SIGPIPE, &ignore, NULL);
    stele_cli_globals.json = wants_json(argc, argv);
    stele_cli_out_init();
    const int code = stele_cli_out_finish(run(argc, argv));
    stele_cli_keep_free();
    return code;
}
