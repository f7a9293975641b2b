#include "cli/cli.h"
#include "cli/commands.h"
#include "cli/options.h"
#include "cli/out.h"
#include "cli/text.h"

const struct stele_cli_command stele_cli_digest_command = {
    .name = "digest",
    .usage = "digest [options]",
    .summary = "Print a digest of all history, to prove later that nothing was changed",
    .text = "Keep it where whoever could change the store cannot: `stele verify --against` then "
            "proves\n"
            "that everything before it is as it was.",
    .examples = "stele digest > digest-of-monday\n"
                "stele verify --against \"$(cat digest-of-monday)\"",
    .run = stele_cli_digest,
};

int stele_cli_digest(int argc, char **argv)
{
    size_t count = 0;
    int code = stele_cli_parse(&stele_cli_digest_command, NULL, 0, argc, argv, NULL, 0, 0, &count);
    if (code != STELE_CLI_GO_ON) {
        return code;
    }
    struct stele *store = NULL;
    code = stele_cli_open(STELE_CLI_READ, &store);
    if (code != STELE_CLI_OK) {
        return code;
    }
    char digest[STELE_DIGEST_SIZE];
    struct stele_error err = {0};
    const int outcome = stele_digest(store, digest, &err);
    if (outcome != STELE_OK) {
        code = stele_cli_fail_outcome(outcome, &err, "digest");
    } else if (stele_cli_globals.json) {
        stele_cli_out("{\"digest\":");
        stele_cli_out_json_text(stele_cli_text(digest));
        stele_cli_out("}\n");
    } else {
        stele_cli_out(digest);
        stele_cli_out("\n");
    }
    return stele_cli_close(store, code);
}
