#include "cli/cli.h"
#include "cli/commands.h"
#include "cli/options.h"
#include "cli/out.h"

const struct stele_cli_command stele_cli_version_command = {
    .name = "version",
    .usage = "version [--json]",
    .summary = "Show the version",
    .examples = "stele version\n"
                "stele version --json",
    .run = stele_cli_version,
    .no_store = true,
};

int stele_cli_version(int argc, char **argv)
{
    size_t count = 0;
    const int code =
        stele_cli_parse(&stele_cli_version_command, NULL, 0, argc, argv, NULL, 0, 0, &count);
    if (code != STELE_CLI_GO_ON) {
        return code;
    }
    if (stele_cli_globals.json) {
        stele_cli_outf("{\"version\":\"%s\",\"cloudevents\":\"1.0\"}\n", stele_version());
    } else {
        stele_cli_outf("stele %s\n", stele_version());
    }
    return STELE_CLI_OK;
}
