/* A small aggregate that the tests of es share: an account whose events are JSON. */
#ifndef STELE_TESTS_UNIT_ES_BANK_H
#define STELE_TESTS_UNIT_ES_BANK_H

#include <stele/es.h>

#include <string.h>

struct account {
    int64_t balance;
    int64_t events;
    int64_t order; /* Digits of the amounts in the order in which they were folded. */
};

static inline int text_is(struct stele_text text, const char *what)
{
    return text.size == strlen(what) && memcmp(text.data, what, text.size) == 0;
}

static inline int account_evolve(void *context, void *state, const struct stele_event *event,
                                 const void *fact, struct stele_memory *memory)
{
    (void)context, (void)fact, (void)memory;
    struct account *account = state;
    int64_t amount = 0;
    if (text_is(event->type, "Broken")) {
        return STELE_E_CORRUPT;
    }
    (void)stele_json_integer(event->data, event->data_size, "amount", &amount);
    account->balance += text_is(event->type, "Withdrawn") ? -amount : amount;
    account->order = (int64_t)((uint64_t)account->order * 10 + (uint64_t)(amount % 10));
    account->events++;
    return STELE_OK;
}

static inline struct stele_event event_of(const char *type, const char *data, const char *metadata,
                                          uint64_t revision)
{
    struct stele_event event = {
        .position = 1000 + revision,
        .revision = revision,
        .created_us = (int64_t)(1000000 * (revision + 1)),
        .stream = {"account-1", 9},
        .type = {type, strlen(type)},
        .data = data,
        .data_size = strlen(data),
        .metadata = metadata,
        .metadata_size = strlen(metadata),
    };
    event.id[0] = (uint8_t)(revision + 1);
    return event;
}

static const struct stele_fold account_fold = {
    .struct_size = sizeof(struct stele_fold),
    .name = "account",
    .version = 1,
    .state_size = sizeof(struct account),
    .evolve = account_evolve,
};

#endif
