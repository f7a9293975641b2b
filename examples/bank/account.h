/* An account: what its events mean, and which commands are allowed. Pure: nothing here knows of a
 * store, a clock or a file, and so all of it is tested without one (test_account.c).
 *
 * Events of a stream "account-…"; amounts are whole numbers of the currency's smallest unit:
 *
 *     AccountOpened     {"customer", "currency"}
 *     Deposited         {"amount"}
 *     Withdrawn         {"amount"}
 *     TransferSent      {"amount", "to"}
 *     TransferReceived  {"amount", "from"}
 *     EntryCorrected    {"entry", "amount", "was", "reason"}: the deposit or withdrawal that its
 *                       metadata name ("corrects") was of another amount
 *
 * An event's metadata may say from when it counts ("effective"), where that is not when it was stored. */
#ifndef BANK_ACCOUNT_H
#define BANK_ACCOUNT_H

#include <stele/es.h>

struct account {
    int64_t balance;
    int is_open;
    char currency[4];
};

/* The account as of what is stored: a correction counts from when it was made. Commands are decided
 * on this one: money that was paid out is gone, whenever it should have been. */
extern const struct stele_fold account_fold;

/* The account in effective order: a correction takes the place of what it corrects. */
extern const struct stele_fold account_history_fold;

/* Of the command types below; command->stream is the account. */
extern const struct stele_decider account_decider;

struct open_account { /* "Open" */
    const char *customer;
    const char *currency;
};

/* Amounts are text, as somebody typed it: what it means depends on the account's currency. */
struct entry { /* "Deposit", "Withdraw" */
    const char *amount;
    const char *effective; /* RFC 3339, or NULL: now. */
};

struct transfer { /* "Transfer": to another account, in one piece. */
    const char *to;
    const char *amount;
    const char *received; /* Between currencies: what arrives; NULL: the same amount. */
};

struct correction {     /* "Correct" */
    const char *entry;  /* "Deposited" or "Withdrawn". */
    const char *amount; /* What it should have been. */
    int64_t was;
    const char *event_id; /* Of the event that is corrected. */
    const char *reason;
};

#endif
