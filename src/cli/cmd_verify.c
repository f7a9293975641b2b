#include "cli/cli.h"
#include "cli/commands.h"
#include "cli/options.h"
#include "cli/out.h"
#include "cli/progress.h"
#include "cli/table.h"
#include "cli/text.h"

const struct stele_cli_command stele_cli_verify_command = {
    .name = "verify",
    .usage = "verify [--against DIGEST] [options]",
    .summary = "Read everything and check that it is what was written",
    .text =
        "Checks every checksum, the order of positions, that revisions have no gaps, the index\n"
        "against the log, and the chain of hashes. With --against, also that nothing before that\n"
        "digest was changed, by whatever means (`stele digest` makes one).\n"
        "\n"
        "Every damage is told with file and offset; the exit code is 4 then. Changes nothing and\n"
        "works beside a process that writes.",
    .examples = "stele verify\n"
                "stele verify --against \"$(cat digest-of-monday)\"\n"
                "stele verify --json",
    .run = stele_cli_verify,
};

struct verifying {
    struct stele_cli_progress progress;
    uint64_t damages;
};

static void on_damage(void *context, const struct stele_damage *damage)
{
    struct verifying *const verifying = context;
    verifying->damages++;
    stele_cli_progress_clear(&verifying->progress);
    if (stele_cli_globals.json) {
        stele_cli_out("{\"damage\":");
        stele_cli_out_json_text(stele_cli_text(damage->what));
        stele_cli_out(",\"file\":");
        stele_cli_out_json_text(stele_cli_text(damage->file));
        stele_cli_outf(",\"offset\":%llu,\"position\":\"%llu\"}\n",
                       (unsigned long long)damage->offset, (unsigned long long)damage->position);
        return;
    }
    stele_cli_out_colored(STELE_CLI_RED, "damage");
    stele_cli_out("  ");
    stele_cli_out_safe(stele_cli_text(damage->file), 0);
    stele_cli_outf(" at %llu: ", (unsigned long long)damage->offset);
    stele_cli_out_safe(stele_cli_text(damage->what), 0);
    if (damage->position > 0) {
        stele_cli_outf(" (position %llu)", (unsigned long long)damage->position);
    }
    stele_cli_out("\n");
    stele_cli_out_flush();
}

static int on_progress(void *context, uint64_t done, uint64_t total)
{
    struct verifying *const verifying = context;
    return stele_cli_on_progress(&verifying->progress, done, total);
}

static void out_result(const struct stele_verify_result *result)
{
    stele_cli_table_begin();
    stele_cli_table_number("events", result->events);
    stele_cli_table_number("frames", result->frames);
    stele_cli_table_size("bytes", result->bytes);
    stele_cli_table_number("index entries", result->index_entries);
    stele_cli_table_number("damages", result->damages);
    stele_cli_table_text("digest", result->digest);
    stele_cli_table_end();
}

static int verify(struct stele *store, const char *against)
{
    struct verifying verifying = {.damages = 0};
    struct stele_verify_options options = STELE_VERIFY_OPTIONS_INIT;
    struct stele_verify_result result = {.frames = 0};
    struct stele_error err = {0};
    options.against = against;
    options.on_damage = on_damage;
    options.on_progress = on_progress;
    options.context = &verifying;
    stele_cli_progress_init(&verifying.progress, "verify");
    const int outcome = stele_verify(store, &options, &result, &err);
    stele_cli_progress_clear(&verifying.progress);
    if (stele_cli_interrupted()) {
        return stele_cli_fail(STELE_CLI_INTERRUPTED, "interrupted",
                              "verify: interrupted; run it again to look at everything");
    }
    if (outcome != STELE_OK && outcome != STELE_E_CORRUPT) {
        return stele_cli_fail_outcome(outcome, &err, "verify");
    }
    out_result(&result);
    if (outcome == STELE_E_CORRUPT) {
        stele_cli_out_flush();
        return stele_cli_fail_outcome(outcome, &err, "verify");
    }
    if (!stele_cli_globals.json) {
        stele_cli_out_colored(STELE_CLI_GREEN, "everything is as it was written\n");
    }
    return STELE_CLI_OK;
}

int stele_cli_verify(int argc, char **argv)
{
    const char *against = NULL;
    size_t count = 0;
    const struct stele_cli_option options[] = {
        {"against", "DIGEST", "a digest that `stele digest` or `stele verify` gave earlier",
         STELE_CLI_TEXT, &against},
    };
    int code = stele_cli_parse(&stele_cli_verify_command, options, STELE_COUNT_OF(options), argc,
                               argv, NULL, 0, 0, &count);
    if (code != STELE_CLI_GO_ON) {
        return code;
    }
    struct stele *store = NULL;
    code = stele_cli_open(STELE_CLI_READ, &store);
    if (code != STELE_CLI_OK) {
        return code;
    }
    stele_cli_catch_interrupts();
    code = verify(store, against);
    return stele_cli_close(store, code);
}
