/* bank: accounts in a store. docs/tutorial-bank.md goes through it.
 *
 * The rules are in account.c; this file turns a command line into a command, has it executed, and
 * prints what the account then is. */
#include "account.h"
#include "customer.h"
#include "money.h"

#include <stele/run.h>
#include <stele/stele.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define EXIT_REJECTED 1
#define EXIT_FAILED 2
#define HOURS_OF_MONTH (30 * 24)

static const char usage[] =
    "bank [--store PATH] [--keyring PATH --master FILE] COMMAND\n"
    "\n"
    "  open ACCOUNT CUSTOMER CURRENCY\n"
    "  deposit ACCOUNT AMOUNT [--on DATE]\n"
    "  withdraw ACCOUNT AMOUNT [--on DATE]\n"
    "  transfer ACCOUNT ACCOUNT AMOUNT [--received AMOUNT]\n"
    "  correct ACCOUNT REVISION AMOUNT REASON\n"
    "  balance ACCOUNT [--until DATE] [--known TIME]\n"
    "  register CUSTOMER NAME MAIL\n"
    "  customer CUSTOMER\n"
    "  forget CUSTOMER\n"
    "\n"
    "Accounts are named account-…; DATE is 2026-03-31, TIME is 2026-03-31T15:00:00Z. --on says "
    "from\n"
    "when an entry counts. --until leaves out what counts later, --known what was stored later.\n"
    "Exit code: 0 done, 1 refused, 2 failed.\n";

struct bank {
    struct stele *store;
    struct stele_runner *runner;
    struct stele_memory *memory;
    const char *words[8];
    size_t count;
    struct stele_keyring *keyring;
    const char *path, *keyring_path, *master, *on, *received, *until, *known;
};

static _Noreturn void fail(const char *what, const char *message)
{
    (void)fprintf(stderr, "bank: %s%s%s\n", what, message[0] != '\0' ? ": " : "", message);
    exit(EXIT_FAILED);
}

static void check(int outcome, const struct stele_error *err, const char *what)
{
    if (outcome != STELE_OK) {
        fail(what, err->message);
    }
}

/* ---- Command lines ---- */

static void parse(struct bank *bank, int argc, char **argv)
{
    const struct {
        const char *name;
        const char **value;
    } options[] = {{"--store", &bank->path},        {"--keyring", &bank->keyring_path},
                   {"--master", &bank->master},     {"--on", &bank->on},
                   {"--received", &bank->received}, {"--until", &bank->until},
                   {"--known", &bank->known}};
    const size_t options_count = sizeof options / sizeof options[0];
    for (int i = 1; i < argc; i++) {
        size_t option = 0;
        while (option < options_count && strcmp(argv[i], options[option].name) != 0) {
            option++;
        }
        if (option < options_count && i + 1 < argc) {
            *options[option].value = argv[++i];
        } else if (option < options_count || strncmp(argv[i], "--", 2) == 0 ||
                   bank->count == sizeof bank->words / sizeof bank->words[0]) {
            (void)fputs(usage, stderr);
            exit(EXIT_FAILED);
        } else {
            bank->words[bank->count++] = argv[i];
        }
    }
}

/* Microseconds since 1970 of "2026-03-31" (its first moment) or "2026-03-31T15:00:00[.250]Z". */
static int64_t parse_time(const char *text)
{
    struct tm tm = {.tm_mday = 0};
    const char *rest = strptime(text, "%Y-%m-%d", &tm);
    int64_t fraction_us = 0;
    if (rest != NULL && *rest == 'T') {
        rest = strptime(rest, "T%H:%M:%S", &tm);
        if (rest != NULL && *rest == '.') {
            for (int64_t unit = 100000; *++rest >= '0' && *rest <= '9'; unit /= 10) {
                fraction_us += (*rest - '0') * unit;
            }
        }
        rest = rest != NULL && *rest == 'Z' ? rest + 1 : NULL;
    }
    if (rest == NULL || *rest != '\0') {
        fail(text, "neither a date (2026-03-31) nor a time (2026-03-31T15:00:00Z)");
    }
    return (int64_t)timegm(&tm) * 1000000 + fraction_us;
}

/* The last moment of a day. */
static int64_t parse_day_end(const char *text)
{
    return strchr(text, 'T') != NULL ? parse_time(text) : parse_time(text) + 86400000000 - 1;
}

/* ---- Executing ---- */

static const struct account *load(struct bank *bank, const char *stream)
{
    struct stele_state *state = NULL;
    struct stele_error err;
    check(stele_runner_load(bank->runner, &account_fold, stream, 0, bank->memory, &state, &err),
          &err, stream);
    return stele_state_value(state);
}

static void print_balance(const char *stream, int64_t balance, const char *currency)
{
    char text[MONEY_TEXT_SIZE];
    money_format(balance, currency, text);
    (void)printf("%s  %s\n", stream, text);
}

/* Executes, and prints the accounts that it was about. Returns the exit code. */
static int execute(struct bank *bank, const char *type, const void *data, size_t size,
                   const char *other)
{
    const char *const stream = bank->words[1];
    const struct stele_command command = {
        .struct_size = sizeof command,
        .type = type,
        .data = data,
        .data_size = size,
        .stream = stream,
    };
    struct stele_error err;
    const int outcome =
        stele_runner_execute(bank->runner, &account_decider, &command, NULL, NULL, &err);
    if (outcome == STELE_REJECTED) {
        (void)fprintf(stderr, "bank: refused: %s\n", err.message);
        return EXIT_REJECTED;
    }
    check(outcome, &err, type);
    const char *const streams[] = {stream, other};
    for (size_t i = 0; i < 2 && streams[i] != NULL; i++) {
        const struct account *const account = load(bank, streams[i]);
        print_balance(streams[i], account->balance, account->currency);
    }
    return EXIT_SUCCESS;
}

static int run_open(struct bank *bank)
{
    const struct open_account open = {.customer = bank->words[2], .currency = bank->words[3]};
    if (strncmp(bank->words[1], "account-", 8) != 0) {
        fail(bank->words[1], "the name of an account begins with \"account-\"");
    }
    return execute(bank, "Open", &open, sizeof open, NULL);
}

static int run_entry(struct bank *bank, const char *type)
{
    char effective[64];
    struct entry entry = {.amount = bank->words[2]};
    if (bank->on != NULL) {
        (void)parse_time(bank->on);
        (void)snprintf(effective, sizeof effective, "%s%s", bank->on,
                       strchr(bank->on, 'T') != NULL ? "" : "T00:00:00Z");
        entry.effective = effective;
    }
    return execute(bank, type, &entry, sizeof entry, NULL);
}

static int run_deposit(struct bank *bank)
{
    return run_entry(bank, "Deposit");
}

static int run_withdraw(struct bank *bank)
{
    return run_entry(bank, "Withdraw");
}

static int run_transfer(struct bank *bank)
{
    const struct transfer transfer = {
        .to = bank->words[2], .amount = bank->words[3], .received = bank->received};
    return execute(bank, "Transfer", &transfer, sizeof transfer, transfer.to);
}

/* ---- Corrections ---- */

/* What stands in the place of an entry now: itself, or the last correction of it. */
struct entry_found {
    char id[37];
    char entry[16];
    int64_t amount;
    int is_found;
};

static int is(struct stele_text text, const char *other)
{
    return text.size == strlen(other) && memcmp(text.data, other, text.size) == 0;
}

static void look_at(struct bank *bank, const struct stele_event *event, uint64_t revision,
                    struct entry_found *found)
{
    struct stele_text text;
    const int is_entry = is(event->type, "Deposited") || is(event->type, "Withdrawn");
    if (event->revision == revision && is_entry) {
        (void)snprintf(found->entry, sizeof found->entry, "%.*s", (int)event->type.size,
                       event->type.data);
        found->is_found = 1;
    } else if (!found->is_found || !is(event->type, "EntryCorrected") ||
               stele_json_string(event->metadata, event->metadata_size, "corrects", bank->memory,
                                 &text) != STELE_OK ||
               strcmp(text.data, found->id) != 0) {
        return;
    }
    stele_id_to_text(event->id, found->id);
    (void)stele_json_integer(event->data, event->data_size, "amount", &found->amount);
}

static struct entry_found find_entry(struct bank *bank, const char *stream, uint64_t revision)
{
    struct entry_found found = {.is_found = 0};
    struct stele_iterator *iterator = NULL;
    struct stele_error err;
    int outcome = stele_read_stream(bank->store, stream, NULL, &iterator, &err);
    while (outcome == STELE_OK) {
        const struct stele_event *events = NULL;
        size_t count = 0;
        outcome = stele_iterator_next(iterator, &events, &count, &err);
        for (size_t i = 0; outcome == STELE_OK && i < count; i++) {
            look_at(bank, &events[i], revision, &found);
        }
    }
    stele_iterator_destroy(iterator);
    if (outcome != STELE_END && outcome != STELE_NO_STREAM) {
        check(outcome, &err, stream);
    }
    return found;
}

static int run_correct(struct bank *bank)
{
    char *rest = NULL;
    const uint64_t revision = strtoull(bank->words[2], &rest, 10);
    const struct entry_found found = find_entry(bank, bank->words[1], revision);
    if (*rest != '\0' || !found.is_found) {
        (void)fprintf(stderr, "bank: refused: revision %s of %s is no deposit and no withdrawal\n",
                      bank->words[2], bank->words[1]);
        return EXIT_REJECTED;
    }
    const struct correction correction = {
        .entry = found.entry,
        .amount = bank->words[3],
        .was = found.amount,
        .event_id = found.id,
        .reason = bank->words[4],
    };
    return execute(bank, "Correct", &correction, sizeof correction, NULL);
}

/* ---- Balances ---- */

static int run_balance(struct bank *bank)
{
    const char *const stream = bank->words[1];
    const struct account *const now = load(bank, stream);
    if (!now->is_open) {
        (void)fprintf(stderr, "bank: refused: %s is not open\n", stream);
        return EXIT_REJECTED;
    }
    if (bank->until == NULL && bank->known == NULL) {
        print_balance(stream, now->balance, now->currency);
        return EXIT_SUCCESS;
    }
    const uint64_t known_at =
        bank->known != NULL ? stele_position_at(parse_day_end(bank->known)) : 0;
    const int64_t until_us = bank->until != NULL ? parse_day_end(bank->until) : 0;
    struct stele_state *state = NULL;
    struct stele_error err;
    check(stele_runner_load_effective(bank->runner, &account_history_fold, stream, known_at,
                                      until_us, bank->memory, &state, &err),
          &err, stream);
    const struct account *const then = stele_state_value(state);
    print_balance(stream, then->balance, now->currency);
    return EXIT_SUCCESS;
}

/* ---- Customers ---- */

static int refused(const struct stele_error *err)
{
    (void)fprintf(stderr, "bank: refused: %s\n", err->message);
    return EXIT_REJECTED;
}

static int run_register(struct bank *bank)
{
    struct stele_error err;
    const int outcome =
        customer_register(bank->store, bank->words[1], bank->words[2], bank->words[3], &err);
    if (outcome == STELE_WRONG_REVISION || outcome == STELE_E_KEY || outcome == STELE_E_INVALID) {
        return refused(&err);
    }
    check(outcome, &err, bank->words[1]);
    check(customer_print(bank->store, bank->words[1], &err), &err, bank->words[1]);
    return EXIT_SUCCESS;
}

static int run_customer(struct bank *bank)
{
    struct stele_error err;
    check(customer_print(bank->store, bank->words[1], &err), &err, bank->words[1]);
    return EXIT_SUCCESS;
}

static int run_forget(struct bank *bank)
{
    struct stele_error err;
    const int outcome = stele_shred(bank->store, bank->words[1], 0, NULL, &err);
    if (outcome == STELE_NOT_FOUND) {
        return refused(&err);
    }
    check(outcome, &err, bank->words[1]);
    (void)printf("%s  forgotten\n", bank->words[1]);
    return EXIT_SUCCESS;
}

static const struct {
    const char *name;
    size_t words;
    int (*run)(struct bank *bank);
} commands[] = {
    {"open", 4, run_open},         {"deposit", 3, run_deposit},   {"withdraw", 3, run_withdraw},
    {"transfer", 4, run_transfer}, {"correct", 5, run_correct},   {"balance", 2, run_balance},
    {"register", 4, run_register}, {"customer", 2, run_customer}, {"forget", 2, run_forget},
};

static int run(struct bank *bank)
{
    for (size_t i = 0; i < sizeof commands / sizeof commands[0]; i++) {
        if (bank->count == commands[i].words && strcmp(bank->words[0], commands[i].name) == 0) {
            return commands[i].run(bank);
        }
    }
    (void)fputs(usage, stderr);
    return EXIT_FAILED;
}

int main(int argc, char **argv)
{
    struct bank bank = {.path = "stele-data"};
    struct stele_error err;
    parse(&bank, argc, argv);
    check(stele_open(bank.path, NULL, &bank.store, &err), &err, bank.path);
    if (bank.keyring_path != NULL) {
        check(customer_keyring(bank.store, bank.keyring_path,
                               bank.master != NULL ? bank.master : "master.key", &bank.keyring,
                               &err),
              &err, bank.keyring_path);
    }
    /* A snapshot of every account that changed, once a month. */
    struct stele_runner_options options = STELE_RUNNER_OPTIONS_INIT;
    options.snapshot_hours = HOURS_OF_MONTH;
    check(stele_runner_create(bank.store, &options, &bank.runner, &err), &err, bank.path);
    bank.memory = stele_memory_create();
    if (bank.memory == NULL) {
        fail("no memory", "");
    }
    const int code = run(&bank);
    stele_memory_destroy(bank.memory);
    stele_runner_destroy(bank.runner);
    (void)stele_close(bank.store);
    stele_keyring_close(bank.keyring);
    return code;
}
