#include "money.h"

#include <string.h>

static const struct {
    char code[4];
    int digits;
} currencies[] = {
    {"CHF", 2}, {"EUR", 2}, {"GBP", 2}, {"JPY", 0}, {"KWD", 3}, {"USD", 2},
};

int money_digits(const char *currency, size_t size)
{
    for (size_t i = 0; i < sizeof currencies / sizeof currencies[0]; i++) {
        if (size == 3 && memcmp(currencies[i].code, currency, 3) == 0) {
            return currencies[i].digits;
        }
    }
    return -1;
}

bool money_parse(const char *text, const char *currency, int64_t *out_amount)
{
    const int digits = money_digits(currency, strlen(currency));
    int64_t amount = 0;
    int behind = -1; /* Digits behind the point so far; -1: before it. */
    if (digits < 0 || text[0] == '\0' || text[0] == '.') {
        return false;
    }
    for (const char *at = text; *at != '\0'; at++) {
        if (*at == '.' && behind < 0 && at[1] != '\0') {
            behind = 0;
            continue;
        }
        if (*at < '0' || *at > '9' || behind == digits || amount > (INT64_MAX - 9) / 10) {
            return false;
        }
        amount = amount * 10 + (*at - '0');
        behind += behind >= 0;
    }
    for (int i = behind < 0 ? 0 : behind; i < digits; i++) {
        if (amount > INT64_MAX / 10) {
            return false;
        }
        amount *= 10;
    }
    *out_amount = amount;
    return amount > 0;
}

void money_format(int64_t amount, const char *currency, char text[MONEY_TEXT_SIZE])
{
    const int digits = money_digits(currency, strlen(currency));
    uint64_t left = amount < 0 ? -(uint64_t)amount : (uint64_t)amount;
    char reversed[32];
    int size = 0;
    for (int i = 0; left > 0 || i <= digits; i++) {
        if (i == digits && digits > 0) {
            reversed[size++] = '.';
        }
        reversed[size++] = (char)('0' + left % 10);
        left /= 10;
    }
    if (amount < 0) {
        reversed[size++] = '-';
    }
    for (int i = 0; i < size; i++) {
        text[i] = reversed[size - 1 - i];
    }
    text[size] = ' ';
    memcpy(text + size + 1, currency, 3);
    text[size + 4] = '\0';
}
