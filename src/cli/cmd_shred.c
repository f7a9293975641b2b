#include "base/hex.h"
#include "cli/cli.h"
#include "cli/commands.h"
#include "cli/keyring.h"
#include "cli/options.h"
#include "cli/out.h"
#include "cli/text.h"

const struct stele_cli_command stele_cli_shred_command = {
    .name = "shred",
    .usage = "shred SUBJECT [--anonymous] [options]",
    .summary = "Destroy the key of a data subject, so that what was sealed for it is lost",
    .text =
        "The key goes first; then the store gets a signed erasure record (stele-erasures) and a\n"
        "redaction event (stele-redactions), which projections follow. Repeat it when it fails "
        "in\n"
        "between. Nothing brings the data back, except a copy of the keyring from before "
        "together\n"
        "with its master key: destroy these (`stele keys rewrap`).",
    .examples = "stele shred customer-4711\n"
                "stele shred customer-4711 --anonymous    # the redaction event names the key only",
    .run = stele_cli_shred,
};

static void out_result(const char *subject, const struct stele_shred_result *result)
{
    char key[33];
    stele_hex_encode(result->key_id, 16, key);
    if (stele_cli_globals.json) {
        stele_cli_out("{\"subject\":");
        stele_cli_out_json_text(stele_cli_text(subject));
        stele_cli_outf(
            ",\"key\":\"%s\",\"erased_us\":%lld,\"erasure_position\":\"%llu\","
            "\"redaction_position\":\"%llu\",\"repeated\":%s}\n",
            key, (long long)result->erased_us, (unsigned long long)result->erasure_position,
            (unsigned long long)result->redaction_position, result->repeated ? "true" : "false");
        return;
    }
    stele_cli_out_safe(stele_cli_text(subject), 0);
    stele_cli_outf(": shredded%s, key %s, erasure record at position %llu\n",
                   result->repeated ? " before" : "", key,
                   (unsigned long long)result->erasure_position);
}

int stele_cli_shred(int argc, char **argv)
{
    const struct stele_cli_command *const command = &stele_cli_shred_command;
    struct stele_cli_keyring keyring = {.path = NULL};
    const char *subject = NULL;
    bool anonymous = false;
    size_t count = 0;
    const struct stele_cli_option options[] = {
        {"anonymous", NULL, "the redaction event does not name the subject", STELE_CLI_FLAG,
         &anonymous},
        STELE_CLI_KEYRING_OPTIONS(&keyring),
    };
    int code = stele_cli_parse(command, options, STELE_COUNT_OF(options), argc, argv, &subject, 1,
                               1, &count);
    if (code == STELE_CLI_GO_ON) {
        code = stele_cli_check_name(command, "the subject's name", subject, STELE_SUBJECT_SIZE_MAX);
    }
    if (code != STELE_CLI_GO_ON) {
        return code;
    }
    struct stele *store = NULL;
    code = stele_cli_open_plain(STELE_CLI_WRITE, &store);
    if (code != STELE_CLI_OK) {
        return code;
    }
    struct stele_shred_result result = {.repeated = 0};
    struct stele_error err = {0};
    code = stele_cli_keyring_use(store, &keyring, false);
    if (code == STELE_CLI_OK) {
        const int outcome = stele_shred(store, subject, anonymous ? 1 : 0, &result, &err);
        code = outcome == STELE_OK ? STELE_CLI_OK
                                   : stele_cli_fail_outcome(outcome, &err, "shred the subject");
    }
    if (code == STELE_CLI_OK) {
        stele_cli_out_done();
        out_result(subject, &result);
    }
    return stele_cli_close(store, code);
}
