/* JSON as it lies in bytes (RFC 8259): is it JSON, and where in it is a value?
 *
 * What a client sends as the data of an event is stored as it was sent. Reading it into numbers and
 * writing those again would turn 1.10 into 1.1000000000000001 and refuse 2^64. */
#include "api/http/web_internal.h"
#include "base/text.h"

#include <stdlib.h>

#define DEPTH_MAX 1024

struct scan {
    const uint8_t *at, *end;
};

static void skip_space(struct scan *scan)
{
    while (scan->at < scan->end &&
           (*scan->at == ' ' || *scan->at == '\t' || *scan->at == '\n' || *scan->at == '\r')) {
        scan->at++;
    }
}

static bool take(struct scan *scan, uint8_t c)
{
    const bool is = scan->at < scan->end && *scan->at == c;
    scan->at += is ? 1 : 0;
    return is;
}

static bool is_digit(const struct scan *scan)
{
    return scan->at < scan->end && *scan->at >= '0' && *scan->at <= '9';
}

static bool skip_digits(struct scan *scan)
{
    const bool any = is_digit(scan);
    while (is_digit(scan)) {
        scan->at++;
    }
    return any;
}

static bool skip_number(struct scan *scan)
{
    (void)take(scan, '-');
    if (!take(scan, '0') && !skip_digits(scan)) {
        return false;
    }
    if (take(scan, '.') && !skip_digits(scan)) {
        return false;
    }
    if (take(scan, 'e') || take(scan, 'E')) {
        (void)(take(scan, '+') || take(scan, '-'));
        return skip_digits(scan);
    }
    return true;
}

static bool is_hex(uint8_t c)
{
    return (c >= '0' && c <= '9') || ((c | 0x20) >= 'a' && (c | 0x20) <= 'f');
}

/* Behind a backslash. */
static bool skip_escape(struct scan *scan)
{
    if (scan->at == scan->end) {
        return false;
    }
    const uint8_t kind = *scan->at++;
    if (kind != 'u') {
        return kind != '\0' && strchr("\"\\/bfnrt", kind) != NULL;
    }
    for (int i = 0; i < 4; i++) {
        if (scan->at == scan->end || !is_hex(*scan->at)) {
            return false;
        }
        scan->at++;
    }
    return true;
}

static bool skip_string(struct scan *scan)
{
    if (!take(scan, '"')) {
        return false;
    }
    while (scan->at < scan->end && *scan->at >= 0x20) {
        const uint8_t c = *scan->at++;
        if (c == '"') {
            return true;
        }
        if (c == '\\' && !skip_escape(scan)) {
            return false;
        }
    }
    return false;
}

static bool skip_word(struct scan *scan, const char *word)
{
    const size_t size = strlen(word);
    const bool is = (size_t)(scan->end - scan->at) >= size && memcmp(scan->at, word, size) == 0;
    scan->at += is ? size : 0;
    return is;
}

static bool skip_scalar(struct scan *scan)
{
    return scan->at < scan->end && (*scan->at == '"'   ? skip_string(scan)
                                    : *scan->at == 't' ? skip_word(scan, "true")
                                    : *scan->at == 'f' ? skip_word(scan, "false")
                                    : *scan->at == 'n' ? skip_word(scan, "null")
                                                       : skip_number(scan));
}

static bool skip_name(struct scan *scan)
{
    skip_space(scan);
    if (!skip_string(scan)) {
        return false;
    }
    skip_space(scan);
    return take(scan, ':');
}

/* One value, without the space around it. A list instead of recursion: what is open, as bits. */
static bool skip_value(struct scan *scan)
{
    uint8_t is_object[DEPTH_MAX / 8] = {0};
    size_t depth = 0;
    for (;;) {
        skip_space(scan);
        const bool object = take(scan, '{');
        if (object || take(scan, '[')) {
            if (depth == DEPTH_MAX) {
                return false;
            }
            const uint8_t bit = (uint8_t)(1u << (depth % 8));
            is_object[depth / 8] =
                (uint8_t)(object ? is_object[depth / 8] | bit : is_object[depth / 8] & ~bit);
            depth++;
            skip_space(scan);
            if (!take(scan, object ? '}' : ']')) {
                if (object && !skip_name(scan)) {
                    return false;
                }
                continue;
            }
            depth--;
        } else if (!skip_scalar(scan)) {
            return false;
        }
        /* Behind a value: what it stands in goes on, or ends, perhaps with what that stands in. */
        for (;;) {
            if (depth == 0) {
                return true;
            }
            const bool in_object = (is_object[(depth - 1) / 8] >> ((depth - 1) % 8) & 1) != 0;
            skip_space(scan);
            if (take(scan, ',')) {
                if (in_object && !skip_name(scan)) {
                    return false;
                }
                break;
            }
            if (!take(scan, in_object ? '}' : ']')) {
                return false;
            }
            depth--;
        }
    }
}

bool stele_web__is_json(const void *data, size_t size)
{
    if (size == 0) {
        return false;
    }
    struct scan scan = {.at = data, .end = (const uint8_t *)data + size};
    if (!stele_utf8_is_valid((struct stele_bytes){.data = data, .size = size}) ||
        !skip_value(&scan)) {
        return false;
    }
    skip_space(&scan);
    return scan.at == scan.end;
}

static struct stele_bytes take_value(struct scan *scan)
{
    skip_space(scan);
    const uint8_t *begin = scan->at;
    const bool whole = skip_value(scan);
    return (struct stele_bytes){.data = begin, .size = whole ? (size_t)(scan->at - begin) : 0};
}

/* Is this, between its quotes, a name of ours? They have letters only, which may be spelt \u0061. */
static bool is_name(const uint8_t *key, const uint8_t *end, const char *name)
{
    for (; *name != '\0'; name++) {
        uint32_t c = key < end ? *key++ : 0;
        if (c == '\\' && *key == 'u') {
            char digits[5] = {0};
            memcpy(digits, key + 1, 4); /* It is right: they are there. */
            c = (uint32_t)strtoul(digits, NULL, 16);
            key += 5;
        }
        if (c != (uint8_t)*name) {
            return false;
        }
    }
    return key == end;
}

struct stele_bytes stele_web__json_member(struct stele_bytes object, const char *name)
{
    struct scan scan = {.at = object.data, .end = object.data + object.size};
    (void)take(&scan, '{');
    for (;;) {
        skip_space(&scan);
        const uint8_t *key = scan.at + 1;
        if (!skip_string(&scan)) {
            break;
        }
        const uint8_t *key_end = scan.at - 1;
        skip_space(&scan);
        (void)take(&scan, ':');
        const struct stele_bytes value = take_value(&scan);
        if (value.size == 0 || is_name(key, key_end, name)) {
            return value;
        }
        skip_space(&scan);
        if (!take(&scan, ',')) {
            break;
        }
    }
    return (struct stele_bytes){.data = NULL};
}

bool stele_web__json_next(struct stele_bytes *rest, struct stele_bytes *out_name,
                          struct stele_bytes *out_value)
{
    struct scan scan = {.at = rest->data, .end = rest->data + rest->size};
    skip_space(&scan);
    (void)(take(&scan, '{') || take(&scan, ','));
    skip_space(&scan);
    const uint8_t *begin = scan.at;
    if (!skip_string(&scan)) {
        return false;
    }
    *out_name = (struct stele_bytes){.data = begin, .size = (size_t)(scan.at - begin)};
    skip_space(&scan);
    (void)take(&scan, ':');
    *out_value = take_value(&scan);
    *rest = (struct stele_bytes){.data = scan.at, .size = (size_t)(scan.end - scan.at)};
    return out_value->size > 0;
}

struct stele_bytes stele_web__json_item(struct stele_bytes *rest)
{
    struct scan scan = {.at = rest->data, .end = rest->data + rest->size};
    skip_space(&scan);
    (void)(take(&scan, '[') || take(&scan, ','));
    const struct stele_bytes value = take_value(&scan);
    *rest = (struct stele_bytes){.data = scan.at, .size = (size_t)(scan.end - scan.at)};
    return value;
}
