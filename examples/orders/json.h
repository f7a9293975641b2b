/* What the deciders of this example read from JSON: names and amounts, checked. */
#ifndef ORDERS_JSON_H
#define ORDERS_JSON_H

#include <stele/es.h>

#include <stdbool.h>

#define NAME_SIZE_MAX 63
#define AMOUNT_MAX INT64_C(1000000000000)

/* 1 to 63 letters, digits, "-", "_", ".": fits into the name of a stream, an address, and JSON without
 * escapes. */
bool is_name(const char *text);

bool is_type(struct stele_text type, const char *name);

/* A name, an amount (1 to AMOUNT_MAX), and text without quotes, backslashes and control characters. false:
 * there is none of that name, or it is something else. */
bool json_name(struct stele_text json, const char *member, struct stele_memory *memory,
               const char **out_name);
bool json_amount(struct stele_text json, const char *member, int64_t *out_amount);
bool json_plain(struct stele_text json, const char *member, struct stele_memory *memory,
                const char **out_text);

static inline struct stele_text event_data(const struct stele_event *event)
{
    return (struct stele_text){.data = event->data, .size = event->data_size};
}

/* Emits an event whose data are printed. */
int emit(struct stele_decision *decision, const char *stream, const char *type, const char *format,
         ...) __attribute__((format(printf, 4, 5)));

#endif
