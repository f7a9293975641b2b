#include "base/hex.h"
#include "base/text.h"
#include "cli/cli.h"
#include "cli/commands.h"
#include "cli/keyring.h"
#include "cli/lines.h"
#include "cli/options.h"
#include "cli/out.h"
#include "cli/text.h"

#include <string.h>

#define ARGUMENTS_MAX 1024

const struct stele_cli_command stele_cli_keys_command = {
    .name = "keys",
    .usage = "keys VERB [ARGUMENT] [options]",
    .summary = "Look after the keyring with which events are sealed",
    .text =
        "init            make a keyring, and the key file if it is not there\n"
        "list            data subjects and their keys\n"
        "add SUBJECT…    make keys for many subjects at once\n"
        "policy FILE     say which events are sealed, by type\n"
        "backup DIR      copy the keyring, encrypted as it is\n"
        "restore DIR     make the keyring from a backup; what was erased stays erased\n"
        "rewrap          encrypt it with another master key (--new-…)\n"
        "check           compare it with the erasure records of the store\n"
        "verify-erasure  verify the signatures of these records\n"
        "\n"
        "The master key is a file (32 bytes, or 64 hexadecimal digits), a passphrase in a file,\n"
        "or comes from the open descriptor that $STELE_KEY_FD names. Every command that opens a\n"
        "store uses the keyring that $STELE_KEYRING names.",
    .examples = "stele keys init --keyring ring --key-file master.key\n"
                "stele keys list\n"
                "stele keys add customer-1 customer-2\n"
                "stele keys policy policy.json\n"
                "stele keys backup ring.backup\n"
                "stele keys rewrap --new-key-file next.key\n"
                "stele keys check\n"
                "stele keys verify-erasure",
    .run = stele_cli_keys,
};

static const struct stele_cli_command *const self = &stele_cli_keys_command;

struct request {
    struct stele_cli_keyring keyring;
    const char *new_key_file;
    const char *new_passphrase_file;
    const char *public_key;
    const char *const *arguments; /* Behind the word. */
    size_t count;
};

static int told(int outcome, const struct stele_error *err, const char *what)
{
    return outcome == STELE_OK ? STELE_CLI_OK : stele_cli_fail_outcome(outcome, err, what);
}

static int out_info(struct stele_keyring *keyring)
{
    struct stele_keyring_info info;
    struct stele_error err = {0};
    char id[33];
    char public_key[65];
    const int outcome = stele_keyring_info(keyring, &info, &err);
    if (outcome != STELE_OK) {
        return stele_cli_fail_outcome(outcome, &err, "read the keyring");
    }
    stele_hex_encode(info.id, sizeof info.id, id);
    stele_hex_encode(info.public_key, sizeof info.public_key, public_key);
    stele_cli_outf(stele_cli_globals.json
                       ? "{\"keyring\":\"%s\",\"public_key\":\"%s\",\"generation\":\"%llu\","
                         "\"live\":%u,\"erased\":%u}\n"
                       : "keyring     %s\npublic key  %s\ngeneration  %llu\nsubjects    %u\n"
                         "erased      %u\n",
                   id, public_key, (unsigned long long)info.generation, info.live, info.erased);
    return STELE_CLI_OK;
}

static int run_init(const struct request *request)
{
    struct stele_cli_master master;
    struct stele_keyring *keyring = NULL;
    struct stele_error err = {0};
    const char *const path = stele_cli_keyring_path(&request->keyring);
    if (path == NULL) {
        return STELE_CLI_USAGE;
    }
    int code = stele_cli_master_read(request->keyring.key_file, request->keyring.passphrase_file,
                                     true, &master);
    if (code == STELE_CLI_OK) {
        code = told(stele_keyring_create(path, &master.master, &keyring, &err), &err,
                    "make the keyring");
    }
    stele_cli_master_wipe(&master);
    if (code == STELE_CLI_OK) {
        code = out_info(keyring);
    }
    stele_keyring_close(keyring);
    return code;
}

static int out_subject(void *context, const struct stele_subject *subject)
{
    char key[33];
    char at[STELE_TIME_SIZE] = "";
    (void)context;
    stele_hex_encode(subject->key_id, 16, key);
    const bool erased = subject->erased_us != 0;
    if (!stele_time_format(erased ? subject->erased_us : subject->created_us, 3, at)) {
        at[0] = '\0';
    }
    if (stele_cli_globals.json) {
        stele_cli_outf("{\"key\":\"%s\",\"%s\":\"%s\"", key, erased ? "erased" : "created", at);
        if (!erased) {
            stele_cli_out(",\"subject\":");
            stele_cli_out_json_text(subject->name);
        }
        stele_cli_out("}\n");
        return 0;
    }
    stele_cli_outf("%s  %s  %s  ", key, at, erased ? "erased" : "live  ");
    stele_cli_out_safe(erased ? stele_cli_text("-") : subject->name, 0);
    stele_cli_out("\n");
    return 0;
}

static int run_list(const struct request *request)
{
    struct stele_keyring *keyring = NULL;
    struct stele_error err = {0};
    const int code = stele_cli_keyring_open(&request->keyring, true, &keyring);
    return code != STELE_CLI_OK ? code
                                : told(stele_keyring_list(keyring, out_subject, NULL, &err), &err,
                                       "list the keyring");
}

static int run_add(const struct request *request)
{
    struct stele_keyring *keyring = NULL;
    struct stele_error err = {0};
    int code = stele_cli_keyring_open(&request->keyring, false, &keyring);
    if (code == STELE_CLI_OK) {
        code = told(stele_keyring_add(keyring, request->arguments, request->count, &err), &err,
                    "add subjects");
    }
    return code;
}

static int run_policy(const struct request *request)
{
    struct stele_keyring *keyring = NULL;
    struct stele_error err = {0};
    struct stele_text json;
    int code = stele_cli_read_file(request->arguments[0], (size_t)1024 * 1024, &json);
    if (code == STELE_CLI_OK) {
        code = stele_cli_keyring_open(&request->keyring, false, &keyring);
    }
    if (code == STELE_CLI_OK) {
        const int outcome = stele_keyring_save_policy(keyring, json.data, json.size, &err);
        code = outcome == STELE_E_INVALID
                   ? stele_cli_fail(STELE_CLI_INPUT, "input", "%s: %s; nothing was changed",
                                    request->arguments[0], err.message)
                   : told(outcome, &err, "write the policy");
    }
    return code;
}

static int run_backup(const struct request *request)
{
    struct stele_keyring *keyring = NULL;
    struct stele_error err = {0};
    int code = stele_cli_keyring_open(&request->keyring, false, &keyring);
    if (code == STELE_CLI_OK) {
        code = told(stele_keyring_backup(keyring, request->arguments[0], &err), &err,
                    "back up the keyring");
    }
    return code;
}

static int run_restore(const struct request *request)
{
    struct stele_cli_master master;
    struct stele_error err = {0};
    uint32_t erased = 0;
    const char *const path = stele_cli_keyring_path(&request->keyring);
    if (path == NULL) {
        return STELE_CLI_USAGE;
    }
    int code = stele_cli_master_read(request->keyring.key_file, request->keyring.passphrase_file,
                                     false, &master);
    if (code == STELE_CLI_OK) {
        code =
            told(stele_keyring_restore(path, request->arguments[0], &master.master, &erased, &err),
                 &err, "restore the keyring");
    }
    stele_cli_master_wipe(&master);
    if (code == STELE_CLI_OK && erased > 0) {
        stele_cli_note("%u keys of the backup had been erased since, and stay so", erased);
    }
    return code;
}

static int run_rewrap(const struct request *request)
{
    struct stele_keyring *keyring = NULL;
    struct stele_cli_master master;
    struct stele_error err = {0};
    if ((request->new_key_file == NULL) == (request->new_passphrase_file == NULL)) {
        return stele_cli_usage_error(self, "rewrap needs --new-key-file or --new-passphrase-file");
    }
    int code = stele_cli_keyring_open(&request->keyring, false, &keyring);
    if (code != STELE_CLI_OK) {
        return code;
    }
    code =
        stele_cli_master_read(request->new_key_file, request->new_passphrase_file, true, &master);
    if (code == STELE_CLI_OK) {
        code =
            told(stele_keyring_rewrap(keyring, &master.master, &err), &err, "rewrap the keyring");
    }
    stele_cli_master_wipe(&master);
    if (code == STELE_CLI_OK) {
        stele_cli_note(
            "the keyring has a new master key; copies from before open with the old one: "
            "destroy it, and back up anew");
    }
    return code;
}

static int run_check(const struct request *request)
{
    struct stele *store = NULL;
    struct stele_keyring *keyring = NULL;
    struct stele_error err = {0};
    uint32_t erased = 0;
    int code = stele_cli_open_plain(STELE_CLI_READ, &store);
    if (code != STELE_CLI_OK) {
        return code;
    }
    code = stele_cli_keyring_open(&request->keyring, false, &keyring);
    if (code == STELE_CLI_OK) {
        code = told(stele_use_keyring(store, keyring, &erased, &err), &err, "use the keyring");
    }
    if (code == STELE_CLI_OK) {
        stele_cli_note(erased == 0 ? "the keyring knows of every erasure of the store"
                                   : "the keyring was older than the store: %u keys erased again",
                       erased);
        code = out_info(keyring);
    }
    return stele_cli_close(store, code);
}

static int out_erasure(void *context, const struct stele_erasure *erasure)
{
    char key[33];
    (void)context;
    stele_hex_encode(erasure->key_id, 16, key);
    const char *const why = erasure->why == NULL ? "" : erasure->why;
    if (stele_cli_globals.json) {
        stele_cli_outf("{\"revision\":%llu,\"key\":\"%s\",\"valid\":%s,\"why\":\"%s\"}\n",
                       (unsigned long long)erasure->revision, key,
                       erasure->valid ? "true" : "false", why);
    } else {
        stele_cli_outf("%llu  %s  %s%s\n", (unsigned long long)erasure->revision, key,
                       erasure->valid ? "valid" : "not valid: ", why);
    }
    return 0;
}

static int read_public_key(const struct request *request, uint8_t public_key[32])
{
    struct stele_keyring *keyring = NULL;
    struct stele_keyring_info info;
    struct stele_error err = {0};
    if (request->public_key == NULL) {
        int code = stele_cli_keyring_open(&request->keyring, true, &keyring);
        if (code == STELE_CLI_OK) {
            code = told(stele_keyring_info(keyring, &info, &err), &err, "read the keyring");
        }
        if (code == STELE_CLI_OK) {
            memcpy(public_key, info.public_key, 32);
        }
        return code;
    }
    return stele_hex_decode(stele_bytes_of_text(request->public_key), public_key, 32)
               ? STELE_CLI_OK
               : stele_cli_usage_error(self, "--public-key: '%s' is not 64 hexadecimal digits",
                                       request->public_key);
}

static int run_verify(const struct request *request)
{
    struct stele *store = NULL;
    struct stele_error err = {0};
    uint8_t public_key[32];
    int code = read_public_key(request, public_key);
    if (code == STELE_CLI_OK) {
        code = stele_cli_open_plain(STELE_CLI_READ, &store);
    }
    if (code != STELE_CLI_OK) {
        return code;
    }
    code = told(stele_verify_erasures(store, public_key, out_erasure, NULL, &err), &err,
                "verify the erasure records");
    return stele_cli_close(store, code);
}

static const struct {
    const char *word;
    int (*run)(const struct request *request);
    size_t arguments_min;
    size_t arguments_max;
} actions[] = {
    {"init", run_init, 0, 0},
    {"list", run_list, 0, 0},
    {"add", run_add, 1, ARGUMENTS_MAX - 1},
    {"policy", run_policy, 1, 1},
    {"backup", run_backup, 1, 1},
    {"restore", run_restore, 1, 1},
    {"rewrap", run_rewrap, 0, 0},
    {"check", run_check, 0, 0},
    {"verify-erasure", run_verify, 0, 0},
};

int stele_cli_keys(int argc, char **argv)
{
    struct request request = {.count = 0};
    const char *arguments[ARGUMENTS_MAX];
    size_t count = 0;
    const struct stele_cli_option options[] = {
        STELE_CLI_KEYRING_OPTIONS(&request.keyring),
        {"new-key-file", "FILE", "rewrap: the new master key; made if it is not there",
         STELE_CLI_TEXT, &request.new_key_file},
        {"new-passphrase-file", "FILE", "rewrap: the new passphrase, the first line",
         STELE_CLI_TEXT, &request.new_passphrase_file},
        {"public-key", "HEX", "verify-erasure: the key of the signatures, without a keyring",
         STELE_CLI_TEXT, &request.public_key},
    };
    int code = stele_cli_parse(self, options, STELE_COUNT_OF(options), argc, argv, arguments, 1,
                               ARGUMENTS_MAX, &count);
    if (code != STELE_CLI_GO_ON) {
        return code;
    }
    request.arguments = arguments + 1;
    request.count = count - 1;
    for (size_t i = 0; i < STELE_COUNT_OF(actions); i++) {
        if (strcmp(actions[i].word, arguments[0]) != 0) {
            continue;
        }
        if (request.count < actions[i].arguments_min || request.count > actions[i].arguments_max) {
            return stele_cli_usage_error(self, "%s takes %s", arguments[0],
                                         actions[i].arguments_max == 0   ? "no argument"
                                         : actions[i].arguments_max == 1 ? "one argument"
                                                                         : "names of subjects");
        }
        code = actions[i].run(&request);
        stele_cli_keyring_close();
        return code;
    }
    return stele_cli_usage_error(self, "%s: there is no such thing to do", arguments[0]);
}
