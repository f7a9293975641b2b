#include "account.h"

#include "money.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

/* ---- What events mean ---- */

static bool is(struct stele_text text, const char *other)
{
    return text.size == strlen(other) && memcmp(text.data, other, text.size) == 0;
}

/* Of a stored event: the sum is that of a history in which no balance ever passed int64_t, because
 * deciding did not allow it. */
static int64_t amount_of(const struct stele_event *event, const char *name)
{
    int64_t amount = 0;
    (void)stele_json_integer(event->data, event->data_size, name, &amount);
    return amount;
}

static int open_it(struct account *account, const struct stele_event *event,
                   struct stele_memory *memory)
{
    struct stele_text currency;
    const int outcome =
        stele_json_string(event->data, event->data_size, "currency", memory, &currency);
    if (outcome != STELE_OK || currency.size != 3) {
        return STELE_E_CORRUPT;
    }
    memcpy(account->currency, currency.data, 4);
    account->is_open = 1;
    return STELE_OK;
}

/* is_history: corrections stand in the place of what they correct. */
static int correct_it(struct account *account, const struct stele_event *event, bool is_history,
                      struct stele_memory *memory)
{
    struct stele_text entry;
    if (stele_json_string(event->data, event->data_size, "entry", memory, &entry) != STELE_OK) {
        return STELE_E_CORRUPT;
    }
    const int64_t before = is_history ? 0 : amount_of(event, "was");
    const int64_t change = amount_of(event, "amount") - before;
    account->balance += is(entry, "Withdrawn") ? -change : change;
    return STELE_OK;
}

static int evolve(void *context, void *state, const struct stele_event *event, const void *fact,
                  struct stele_memory *memory)
{
    struct account *const account = state;
    (void)fact;
    if (is(event->type, "AccountOpened")) {
        return open_it(account, event, memory);
    }
    if (is(event->type, "EntryCorrected")) {
        return correct_it(account, event, context != NULL, memory);
    }
    if (is(event->type, "Deposited") || is(event->type, "TransferReceived")) {
        account->balance += amount_of(event, "amount");
    } else if (is(event->type, "Withdrawn") || is(event->type, "TransferSent")) {
        account->balance -= amount_of(event, "amount");
    }
    return STELE_OK;
}

const struct stele_fold account_fold = {
    .struct_size = sizeof(struct stele_fold),
    .name = "account",
    .version = 1,
    .state_size = sizeof(struct account),
    .evolve = evolve,
};

static char is_history[] = "yes";

const struct stele_fold account_history_fold = {
    .struct_size = sizeof(struct stele_fold),
    .name = "account-history",
    .version = 1,
    .state_size = sizeof(struct account),
    .context = is_history,
    .evolve = evolve,
};

/* ---- Which commands are allowed ---- */

static int emit(struct stele_decision *decision, const char *stream, const char *type,
                struct stele_text data, struct stele_text metadata)
{
    const struct stele_event_draft draft = {
        .type = type,
        .data = data.data,
        .data_size = data.size,
        .metadata = metadata.size > 0 ? metadata.data : NULL,
        .metadata_size = metadata.size,
    };
    return stele_decision_emit(decision, stream, &draft);
}

/* A member of an object that is being written, "name":"value", quoted as JSON wants it. Names and
 * values are those of command lines: short. */
struct json {
    char text[2048];
    size_t size;
};

static void add(struct json *json, const char *bytes, size_t size)
{
    if (size < sizeof json->text - json->size) {
        memcpy(json->text + json->size, bytes, size);
        json->size += size;
    }
}

static void add_name(struct json *json, const char *name)
{
    add(json, json->size == 0 ? "{\"" : ",\"", 2);
    add(json, name, strlen(name));
    add(json, "\":", 2);
}

static void add_text(struct json *json, const char *name, const char *value)
{
    add_name(json, name);
    add(json, "\"", 1);
    for (const char *at = value; *at != '\0'; at++) {
        char escape[8];
        if (*at == '"' || *at == '\\' || (unsigned char)*at < 0x20) {
            const int size = snprintf(escape, sizeof escape, "\\u%04x", (unsigned char)*at);
            add(json, escape, (size_t)size);
        } else {
            add(json, at, 1);
        }
    }
    add(json, "\"", 1);
}

static void add_amount(struct json *json, const char *name, int64_t amount)
{
    char text[24];
    const int size = snprintf(text, sizeof text, "%lld", (long long)amount);
    add_name(json, name);
    add(json, text, (size_t)size);
}

static struct stele_text end(struct json *json)
{
    add(json, "}", 1);
    return (struct stele_text){.data = json->text, .size = json->size};
}

static const struct stele_text no_metadata = {.data = NULL, .size = 0};

/* Reads an amount in the account's currency. STELE_OK, or a rejection. */
static int read_amount(struct stele_decision *decision, const struct account *account,
                       const char *text, int64_t *out_amount)
{
    if (money_parse(text, account->currency, out_amount)) {
        return STELE_OK;
    }
    return stele_decision_reject(decision, "\"%s\" is no amount of %s", text, account->currency);
}

static int reject_overdraft(struct stele_decision *decision, const struct account *account,
                            const char *stream)
{
    char text[MONEY_TEXT_SIZE];
    money_format(account->balance, account->currency, text);
    return stele_decision_reject(decision, "%s has only %s", stream, text);
}

static int decide_open(const struct stele_command *command, struct stele_decision *decision,
                       const struct account *account)
{
    const struct open_account *const open = command->data;
    if (account->is_open) {
        return stele_decision_reject(decision, "%s is open already", command->stream);
    }
    if (money_digits(open->currency, strlen(open->currency)) < 0) {
        return stele_decision_reject(decision, "this bank has no accounts in \"%s\"",
                                     open->currency);
    }
    struct json data = {.size = 0};
    add_text(&data, "customer", open->customer);
    add_text(&data, "currency", open->currency);
    return emit(decision, command->stream, "AccountOpened", end(&data), no_metadata);
}

static int decide_entry(const struct stele_command *command, struct stele_decision *decision,
                        const struct account *account)
{
    const struct entry *const entry = command->data;
    const bool is_withdrawal = strcmp(command->type, "Withdraw") == 0;
    int64_t amount = 0;
    const int outcome = read_amount(decision, account, entry->amount, &amount);
    if (outcome != STELE_OK) {
        return outcome;
    }
    if (is_withdrawal && amount > account->balance) {
        return reject_overdraft(decision, account, command->stream);
    }
    if (!is_withdrawal && amount > INT64_MAX - account->balance) {
        return stele_decision_reject(decision, "nobody has so much money");
    }
    struct json data = {.size = 0};
    struct json metadata = {.size = 0};
    add_amount(&data, "amount", amount);
    if (entry->effective != NULL) {
        add_text(&metadata, "effective", entry->effective);
    }
    return emit(decision, command->stream, is_withdrawal ? "Withdrawn" : "Deposited", end(&data),
                entry->effective != NULL ? end(&metadata) : no_metadata);
}

static int decide_transfer(const struct stele_command *command, struct stele_decision *decision,
                           const struct account *account)
{
    const struct transfer *const transfer = command->data;
    if (strcmp(transfer->to, command->stream) == 0) {
        return stele_decision_reject(decision, "from and to are the same account");
    }
    const struct account *const other = stele_decision_state(decision, transfer->to, &account_fold);
    if (other == NULL) {
        return STELE_INCOMPLETE;
    }
    if (!other->is_open) {
        return stele_decision_reject(decision, "%s is not open", transfer->to);
    }
    if (transfer->received == NULL && strcmp(account->currency, other->currency) != 0) {
        return stele_decision_reject(decision, "%s is in %s and %s in %s: say what arrives",
                                     command->stream, account->currency, transfer->to,
                                     other->currency);
    }
    int64_t sent = 0;
    int64_t received = 0;
    int outcome = read_amount(decision, account, transfer->amount, &sent);
    if (outcome == STELE_OK) {
        outcome = read_amount(decision, other,
                              transfer->received != NULL ? transfer->received : transfer->amount,
                              &received);
    }
    if (outcome != STELE_OK) {
        return outcome;
    }
    if (sent > account->balance) {
        return reject_overdraft(decision, account, command->stream);
    }
    if (received > INT64_MAX - other->balance) {
        return stele_decision_reject(decision, "nobody has so much money");
    }
    struct json out = {.size = 0};
    struct json in = {.size = 0};
    add_amount(&out, "amount", sent);
    add_text(&out, "to", transfer->to);
    add_amount(&in, "amount", received);
    add_text(&in, "from", command->stream);
    outcome = emit(decision, command->stream, "TransferSent", end(&out), no_metadata);
    return outcome != STELE_OK
               ? outcome
               : emit(decision, transfer->to, "TransferReceived", end(&in), no_metadata);
}

static int decide_correction(const struct stele_command *command, struct stele_decision *decision,
                             const struct account *account)
{
    const struct correction *const correction = command->data;
    int64_t amount = 0;
    const int outcome = read_amount(decision, account, correction->amount, &amount);
    if (outcome != STELE_OK) {
        return outcome;
    }
    const int64_t change = amount - correction->was;
    const bool is_withdrawal = strcmp(correction->entry, "Withdrawn") == 0;
    if (account->balance + (is_withdrawal ? -change : change) < 0) {
        return reject_overdraft(decision, account, command->stream);
    }
    struct json data = {.size = 0};
    struct json metadata = {.size = 0};
    add_text(&data, "entry", correction->entry);
    add_amount(&data, "amount", amount);
    add_amount(&data, "was", correction->was);
    add_text(&data, "reason", correction->reason);
    add_text(&metadata, "corrects", correction->event_id);
    return emit(decision, command->stream, "EntryCorrected", end(&data), end(&metadata));
}

static int decide(void *context, const struct stele_command *command,
                  struct stele_decision *decision)
{
    (void)context;
    const struct account *const account =
        stele_decision_state(decision, command->stream, &account_fold);
    if (account == NULL) {
        return STELE_INCOMPLETE;
    }
    if (strcmp(command->type, "Open") == 0) {
        return decide_open(command, decision, account);
    }
    if (!account->is_open) {
        return stele_decision_reject(decision, "%s is not open", command->stream);
    }
    if (strcmp(command->type, "Transfer") == 0) {
        return decide_transfer(command, decision, account);
    }
    return strcmp(command->type, "Correct") == 0 ? decide_correction(command, decision, account)
                                                 : decide_entry(command, decision, account);
}

const struct stele_decider account_decider = {
    .struct_size = sizeof(struct stele_decider),
    .name = "account",
    .fold = &account_fold,
    .decide = decide,
};
