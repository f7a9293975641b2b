#include "version.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

/* A part of a version: from begin, size bytes. */
struct part {
    const char *begin;
    size_t size;
};

static int is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static int is_letter(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

/* The byte at i, or 0 past the end. */
static char at(struct part part, size_t i)
{
    return i < part.size ? part.begin[i] : '\0';
}

/* A tilde comes before the end, the end (and digits) before letters, letters before the rest. */
static int weight(char c)
{
    if (c == '~') {
        return -1;
    }
    if (c == '\0' || is_digit(c)) {
        return 0;
    }
    return is_letter(c) ? (unsigned char)c : (unsigned char)c + 256;
}

static int compare_parts(struct part a, struct part b)
{
    size_t i = 0;
    size_t k = 0;
    while (i < a.size || k < b.size) {
        while ((i < a.size && !is_digit(at(a, i))) || (k < b.size && !is_digit(at(b, k)))) {
            const int difference = weight(at(a, i)) - weight(at(b, k));
            if (difference != 0) {
                return difference;
            }
            i++;
            k++;
        }
        while (at(a, i) == '0') {
            i++;
        }
        while (at(b, k) == '0') {
            k++;
        }
        /* Of two numbers the longer one is greater; else the first digit that differs decides. */
        int difference = 0;
        while (is_digit(at(a, i)) && is_digit(at(b, k))) {
            if (difference == 0) {
                difference = at(a, i) - at(b, k);
            }
            i++;
            k++;
        }
        if (is_digit(at(a, i))) {
            return 1;
        }
        if (is_digit(at(b, k))) {
            return -1;
        }
        if (difference != 0) {
            return difference;
        }
    }
    return 0;
}

/* [epoch:]upstream[-revision] */
static void split(const char *version, unsigned long *out_epoch, struct part *out_upstream,
                  struct part *out_revision)
{
    const char *const colon = strchr(version, ':');
    *out_epoch = colon == NULL ? 0 : strtoul(version, NULL, 10);
    const char *const rest = colon == NULL ? version : colon + 1;
    const char *const dash = strrchr(rest, '-');
    const size_t size = strlen(rest);
    const size_t upstream_size = dash == NULL ? size : (size_t)(dash - rest);
    *out_upstream = (struct part){rest, upstream_size};
    *out_revision =
        dash == NULL ? (struct part){"", 0} : (struct part){dash + 1, size - upstream_size - 1};
}

int version_compare(const char *a, const char *b)
{
    unsigned long epoch_a = 0;
    unsigned long epoch_b = 0;
    struct part upstream_a, upstream_b, revision_a, revision_b;
    split(a, &epoch_a, &upstream_a, &revision_a);
    split(b, &epoch_b, &upstream_b, &revision_b);
    if (epoch_a != epoch_b) {
        return epoch_a < epoch_b ? -1 : 1;
    }
    const int difference = compare_parts(upstream_a, upstream_b);
    return difference != 0 ? difference : compare_parts(revision_a, revision_b);
}
