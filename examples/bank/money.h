/* Money: whole numbers of the smallest unit of a currency. A sum of cents is exact, and a sum of
 * floating-point numbers is not. */
#ifndef BANK_MONEY_H
#define BANK_MONEY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MONEY_TEXT_SIZE 40

/* Digits behind the point (ISO 4217): 2 for EUR, 0 for JPY, 3 for KWD; -1: a currency that this bank
 * does not know. */
int money_digits(const char *currency, size_t size);

/* "120", "120.5", "120.50" into 12000 cents. false: no amount above 0 that has at most the currency's
 * digits and fits. */
bool money_parse(const char *text, const char *currency, int64_t *out_amount);

/* 12000 into "120.00 EUR". */
void money_format(int64_t amount, const char *currency, char text[MONEY_TEXT_SIZE]);

#endif
