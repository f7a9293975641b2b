/* The rules of accounts, as stories: given these events, when this is asked for, then this happens. */
#include "account.h"
#include "money.h"

#include <stele/testing.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct stele_testing *story;

static void begin(void)
{
    story = stele_testing_create();
    if (story == NULL) {
        abort();
    }
    stele_testing_given(story, "account-1", "AccountOpened",
                        "{\"customer\":\"c-7\",\"currency\":\"EUR\"}");
    stele_testing_given(story, "account-1", "Deposited", "{\"amount\":12050}");
}

static void end(const char *claim)
{
    static int number;
    STELE_TESTING_CHECK(story);
    stele_testing_destroy(story);
    (void)printf("ok %d - %s\n", ++number, claim);
}

static void when(const char *type, const char *stream, const void *data, size_t size)
{
    const struct stele_command command = {
        .struct_size = sizeof command,
        .type = type,
        .stream = stream,
        .data = data,
        .data_size = size,
    };
    stele_testing_when(story, &account_decider, &command);
}

static void withdraw(const char *amount)
{
    const struct entry entry = {.amount = amount};
    when("Withdraw", "account-1", &entry, sizeof entry);
}

static void transfer(const char *to, const char *amount, const char *received)
{
    const struct transfer transfer = {.to = to, .amount = amount, .received = received};
    when("Transfer", "account-1", &transfer, sizeof transfer);
}

static void test_entries(void)
{
    begin();
    withdraw("20.50");
    stele_testing_then(story, "account-1", "Withdrawn", "{\"amount\":2050}");
    STELE_TESTING_CHECK(story);
    withdraw("100.01");
    stele_testing_then_rejected(story, "has only 100.00 EUR");
    STELE_TESTING_CHECK(story);
    withdraw("1.001");
    stele_testing_then_rejected(story, "\"1.001\" is no amount of EUR");
    end("what is not there is not paid out");
}

static void test_opening(void)
{
    begin();
    const struct open_account again = {.customer = "c-8", .currency = "USD"};
    when("Open", "account-1", &again, sizeof again);
    stele_testing_then_rejected(story, "open already");
    STELE_TESTING_CHECK(story);
    const struct open_account odd = {.customer = "c-8", .currency = "XYZ"};
    when("Open", "account-2", &odd, sizeof odd);
    stele_testing_then_rejected(story, "no accounts in \"XYZ\"");
    STELE_TESTING_CHECK(story);
    const struct open_account fine = {.customer = "c-\"8\"", .currency = "JPY"};
    when("Open", "account-2", &fine, sizeof fine);
    stele_testing_then(story, "account-2", "AccountOpened",
                       "{\"customer\":\"c-\\\"8\\\"\",\"currency\":\"JPY\"}");
    end("an account is opened once, in a currency of the bank");
}

static void test_transfers(void)
{
    begin();
    transfer("account-2", "20", NULL);
    stele_testing_then_rejected(story, "account-2 is not open");
    STELE_TESTING_CHECK(story);
    stele_testing_given(story, "account-2", "AccountOpened",
                        "{\"customer\":\"c-8\",\"currency\":\"EUR\"}");
    stele_testing_given(story, "account-3", "AccountOpened",
                        "{\"customer\":\"c-8\",\"currency\":\"JPY\"}");
    transfer("account-2", "20", NULL);
    stele_testing_then(story, "account-1", "TransferSent",
                       "{\"amount\":2000,\"to\":\"account-2\"}");
    stele_testing_then(story, "account-2", "TransferReceived",
                       "{\"amount\":2000,\"from\":\"account-1\"}");
    STELE_TESTING_CHECK(story);
    transfer("account-3", "20", NULL);
    stele_testing_then_rejected(story, "say what arrives");
    STELE_TESTING_CHECK(story);
    transfer("account-3", "20", "3300");
    stele_testing_then(story, "account-1", "TransferSent",
                       "{\"amount\":2000,\"to\":\"account-3\"}");
    stele_testing_then(story, "account-3", "TransferReceived",
                       "{\"amount\":3300,\"from\":\"account-1\"}");
    STELE_TESTING_CHECK(story);
    transfer("account-2", "100", NULL);
    stele_testing_then_rejected(story, "has only 80.50 EUR");
    STELE_TESTING_CHECK(story);
    transfer("account-1", "1", NULL);
    stele_testing_then_rejected(story, "the same account");
    end("a transfer is in both accounts, or in none");
}

static void test_corrections(void)
{
    begin();
    const struct correction correction = {
        .entry = "Deposited",
        .amount = "150",
        .was = 12050,
        .event_id = "00000000-0000-7000-8000-000000000002",
        .reason = "typing error",
    };
    when("Correct", "account-1", &correction, sizeof correction);
    stele_testing_then(story, "account-1", "EntryCorrected",
                       "{\"entry\":\"Deposited\",\"amount\":15000,\"was\":12050,"
                       "\"reason\":\"typing error\"}");
    STELE_TESTING_CHECK(story);
    withdraw("150.01");
    stele_testing_then_rejected(story, "has only 150.00 EUR");
    end("a correction counts from when it was made");
}

static void test_amounts(void)
{
    static const struct {
        const char *text, *currency;
        int64_t amount; /* 0: none. */
    } cases[] = {
        {"1", "EUR", 100},
        {"1.5", "EUR", 150},
        {"0.01", "EUR", 1},
        {"1.234", "KWD", 1234},
        {"7", "JPY", 7},
        {"7.0", "JPY", 0},
        {"0", "EUR", 0},
        {"-1", "EUR", 0},
        {"1.", "EUR", 0},
        {".5", "EUR", 0},
        {"1.005", "EUR", 0},
        {"1,5", "EUR", 0},
        {"", "EUR", 0},
        {"1e3", "EUR", 0},
        {"1.2.3", "EUR", 0},
        {"1", "ABC", 0},
        {"99999999999999999999", "EUR", 0},
        {"92233720368547758", "EUR", 9223372036854775800},
        {"922337203685477580", "EUR", 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        int64_t amount = 0;
        if (money_parse(cases[i].text, cases[i].currency, &amount) != (cases[i].amount != 0) ||
            amount * (cases[i].amount != 0) != cases[i].amount) {
            (void)fprintf(stderr, "%s %s\n", cases[i].text, cases[i].currency);
            abort();
        }
    }
    char text[MONEY_TEXT_SIZE];
    money_format(-5, "EUR", text);
    if (strcmp(text, "-0.05 EUR") != 0) {
        abort();
    }
    money_format(INT64_MIN, "KWD", text);
    if (strcmp(text, "-9223372036854775.808 KWD") != 0) {
        abort();
    }
    money_format(1650, "JPY", text);
    if (strcmp(text, "1650 JPY") != 0) {
        abort();
    }
    (void)printf("ok 5 - amounts are read and written exactly\n");
}

int main(void)
{
    test_entries();
    test_opening();
    test_transfers();
    test_corrections();
    test_amounts();
    (void)printf("1..5\n");
    return 0;
}
