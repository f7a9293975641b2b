#include "es/json.h"

#include "base/text.h"

#define DEPTH_MAX 512
#define NAME_SIZE_MAX 256 /* Names with escapes are compared only up to this size. */

static bool is_space(uint8_t byte)
{
    return byte == ' ' || byte == '\t' || byte == '\n' || byte == '\r';
}

static size_t skip_space(struct stele_bytes json, size_t at)
{
    while (at < json.size && is_space(json.data[at])) {
        at++;
    }
    return at;
}

/* Both return where what they skip has ended, or 0: it does not end, or is none. */
static size_t skip_string(struct stele_bytes json, size_t at)
{
    if (at >= json.size || json.data[at] != '"') {
        return 0;
    }
    for (at++; at < json.size; at++) {
        const uint8_t byte = json.data[at];
        if (byte == '"') {
            return at + 1;
        }
        if (byte < 0x20) {
            return 0;
        }
        if (byte == '\\') {
            at++;
        }
    }
    return 0;
}

static size_t skip_word(struct stele_bytes json, size_t at)
{
    const size_t from = at;
    while (at < json.size && !is_space(json.data[at]) &&
           strchr(",:[]{}\"", json.data[at]) == NULL) {
        at++;
    }
    return at > from ? at : 0;
}

/* Brackets are counted, not matched in kind: whoever wants to know whether a value is right parses
 * it. Here it only matters where it ends. */
static size_t skip_value(struct stele_bytes json, size_t at)
{
    size_t depth = 0;
    do {
        at = skip_space(json, at);
        if (at >= json.size) {
            return 0;
        }
        const uint8_t byte = json.data[at];
        if (byte == '{' || byte == '[') {
            depth++;
            at++;
        } else if (byte == '}' || byte == ']') {
            if (depth == 0) {
                return 0;
            }
            depth--;
            at++;
        } else if (byte == '"') {
            at = skip_string(json, at);
        } else if (depth > 0 && (byte == ',' || byte == ':')) {
            at++;
        } else {
            at = skip_word(json, at);
        }
        if (at == 0 || depth > DEPTH_MAX) {
            return 0;
        }
    } while (depth > 0);
    return at;
}

int stele_json_next(struct stele_json_walk *walk, struct stele_bytes *out_name,
                    struct stele_bytes *out_value)
{
    const struct stele_bytes json = walk->json;
    size_t at = skip_space(json, walk->at);
    if (at >= json.size) {
        return STELE_E_INVALID;
    }
    if (!walk->begun) {
        if (json.data[at] != '{') {
            return STELE_E_INVALID;
        }
        at = skip_space(json, at + 1);
    } else if (json.data[at] == ',') {
        at = skip_space(json, at + 1);
        if (at < json.size && json.data[at] == '}') {
            return STELE_E_INVALID;
        }
    } else if (json.data[at] != '}') {
        return STELE_E_INVALID;
    }
    walk->begun = true;
    if (at < json.size && json.data[at] == '}') {
        walk->at = at;
        return skip_space(json, at + 1) == json.size ? STELE_END : STELE_E_INVALID;
    }
    const size_t name_end = skip_string(json, at);
    if (name_end == 0) {
        return STELE_E_INVALID;
    }
    const struct stele_bytes name = stele_bytes_slice(json, at + 1, name_end - at - 2);
    at = skip_space(json, name_end);
    if (at >= json.size || json.data[at] != ':') {
        return STELE_E_INVALID;
    }
    at = skip_space(json, at + 1);
    const size_t end = skip_value(json, at);
    if (end == 0) {
        return STELE_E_INVALID;
    }
    *out_name = name;
    *out_value = stele_bytes_slice(json, at, end - at);
    walk->at = end;
    return STELE_OK;
}

/* ---- Strings ------------------------------------------------------------------------------ */

static bool hex4(struct stele_bytes text, size_t at, uint32_t *out)
{
    if (text.size - at < 4) {
        return false;
    }
    uint32_t value = 0;
    for (size_t i = 0; i < 4; i++) {
        const int digit = stele_hex_value((char)text.data[at + i]);
        if (digit < 0) {
            return false;
        }
        value = value << 4 | (uint32_t)digit;
    }
    *out = value;
    return true;
}

/* What stands behind \u at text[at], two of them for a surrogate pair. Returns where it ends; 0: no. */
static size_t unescape_u(struct stele_bytes text, size_t at, uint32_t *out)
{
    if (!hex4(text, at, out)) {
        return 0;
    }
    at += 4;
    if (*out < 0xd800 || *out > 0xdfff) {
        return at;
    }
    uint32_t low;
    if (*out > 0xdbff || text.size - at < 6 || text.data[at] != '\\' || text.data[at + 1] != 'u' ||
        !hex4(text, at + 2, &low) || low < 0xdc00 || low > 0xdfff) {
        return 0;
    }
    *out = 0x10000 + ((*out - 0xd800) << 10) + (low - 0xdc00);
    return at + 6;
}

/* text stands between quotes; to has room for as many bytes as it has. */
static bool unescape(struct stele_bytes text, uint8_t *to, size_t *out_size)
{
    static const char short_forms[] = "\"\"\\\\//b\bf\fn\nr\rt\t";
    size_t size = 0;
    for (size_t at = 0; at < text.size;) {
        if (text.data[at] != '\\') {
            to[size++] = text.data[at++];
            continue;
        }
        if (++at >= text.size) {
            return false;
        }
        const uint8_t form = text.data[at++];
        if (form == 'u') {
            uint32_t code_point;
            at = unescape_u(text, at, &code_point);
            if (at == 0) {
                return false;
            }
            size += stele_utf8_encode(code_point, to + size);
            continue;
        }
        size_t i = 0;
        while (i + 1 < sizeof short_forms && (uint8_t)short_forms[i] != form) {
            i += 2;
        }
        if (i + 1 >= sizeof short_forms) {
            return false;
        }
        to[size++] = (uint8_t)short_forms[i + 1];
    }
    *out_size = size;
    return true;
}

static bool name_is(struct stele_bytes raw, struct stele_bytes name)
{
    if (stele_bytes_equal(raw, name)) {
        return true;
    }
    uint8_t plain[NAME_SIZE_MAX];
    size_t size;
    return raw.size <= sizeof plain && raw.size > name.size &&
           memchr(raw.data, '\\', raw.size) != NULL && unescape(raw, plain, &size) &&
           stele_bytes_equal((struct stele_bytes){.data = plain, .size = size}, name);
}

/* ---- Members ------------------------------------------------------------------------------ */

static int find(struct stele_bytes json, struct stele_bytes name, struct stele_bytes *out_value)
{
    struct stele_json_walk walk = {.json = json};
    struct stele_bytes at_name;
    struct stele_bytes value;
    int outcome;
    while ((outcome = stele_json_next(&walk, &at_name, &value)) == STELE_OK) {
        if (name_is(at_name, name)) {
            *out_value = value;
            return STELE_OK;
        }
    }
    return outcome == STELE_END ? STELE_NOT_FOUND : outcome;
}

int stele_json_member(const void *json, size_t size, const char *name, struct stele_text *out_value)
{
    if (name == NULL) {
        return STELE_E_INVALID;
    }
    struct stele_bytes value;
    const int outcome = find((struct stele_bytes){.data = json, .size = json != NULL ? size : 0},
                             stele_bytes_of_text(name), &value);
    if (outcome == STELE_OK) {
        *out_value = (struct stele_text){.data = (const char *)value.data, .size = value.size};
    }
    return outcome;
}

int stele_json_integer(const void *json, size_t size, const char *name, int64_t *out)
{
    if (name == NULL) {
        return STELE_E_INVALID;
    }
    struct stele_text text;
    const int outcome = stele_json_member(json, size, name, &text);
    if (outcome != STELE_OK) {
        return outcome;
    }
    const bool negative = text.data[0] == '-';
    size_t at = negative ? 1 : 0;
    if (at == text.size || (text.data[at] == '0' && text.size > at + 1)) {
        return STELE_E_INVALID;
    }
    uint64_t value = 0;
    const uint64_t bound = (uint64_t)INT64_MAX + (negative ? 1 : 0);
    for (; at < text.size; at++) {
        const uint64_t digit = (uint64_t)(uint8_t)text.data[at] - '0';
        if (digit > 9 || value > (bound - digit) / 10) {
            return STELE_E_INVALID;
        }
        value = value * 10 + digit;
    }
    *out = negative ? (int64_t)(0 - value) : (int64_t)value;
    return STELE_OK;
}

int stele_json_string(const void *json, size_t size, const char *name, struct stele_memory *memory,
                      struct stele_text *out)
{
    if (name == NULL) {
        return STELE_E_INVALID;
    }
    struct stele_text text;
    const int outcome = stele_json_member(json, size, name, &text);
    if (outcome != STELE_OK) {
        return outcome;
    }
    if (text.size < 2 || text.data[0] != '"') {
        return STELE_E_INVALID;
    }
    uint8_t *plain = stele_memory_allocate(memory, text.size);
    if (plain == NULL) {
        return STELE_E_NO_MEMORY;
    }
    size_t plain_size;
    const struct stele_bytes raw = {.data = (const uint8_t *)text.data + 1, .size = text.size - 2};
    if (!unescape(raw, plain, &plain_size)) {
        return STELE_E_INVALID;
    }
    plain[plain_size] = 0;
    *out = (struct stele_text){.data = (const char *)plain, .size = plain_size};
    return STELE_OK;
}

/* ---- Adding ------------------------------------------------------------------------------- */

/* The bytes up to the closing bracket, without space before it; members: how many there are. */
static int open_end(struct stele_bytes json, struct stele_bytes *out_open, size_t *out_members)
{
    struct stele_json_walk walk = {.json = json};
    struct stele_bytes name;
    struct stele_bytes value;
    int outcome;
    size_t members = 0;
    size_t end = 0;
    while ((outcome = stele_json_next(&walk, &name, &value)) == STELE_OK) {
        members++;
        end = walk.at;
    }
    if (outcome != STELE_END) {
        return outcome;
    }
    *out_open = stele_bytes_slice(json, 0, members > 0 ? end : walk.at);
    *out_members = members;
    return STELE_OK;
}

int stele_json_add_missing(struct stele_bytes json, struct stele_bytes extra,
                           struct stele_output *output)
{
    static const uint8_t empty[] = "{}";
    if (json.size == 0) {
        json = (struct stele_bytes){.data = empty, .size = 2};
    }
    struct stele_bytes open;
    size_t members;
    int outcome = open_end(json, &open, &members);
    if (outcome != STELE_OK) {
        return outcome;
    }
    (void)stele_output_write(output, open.data, open.size);
    struct stele_json_walk walk = {.json = extra};
    struct stele_bytes name;
    struct stele_bytes value;
    while ((outcome = stele_json_next(&walk, &name, &value)) == STELE_OK) {
        struct stele_bytes there;
        uint8_t plain[NAME_SIZE_MAX];
        size_t size = 0;
        if (name.size > sizeof plain || !unescape(name, plain, &size)) {
            return STELE_E_INVALID;
        }
        if (find(json, (struct stele_bytes){.data = plain, .size = size}, &there) == STELE_OK) {
            continue;
        }
        (void)stele_output_write(output, ",\"", members > 0 ? 1 : 0);
        (void)stele_output_write(output, "\"", 1);
        (void)stele_output_write(output, name.data, name.size);
        (void)stele_output_write(output, "\":", 2);
        (void)stele_output_write(output, value.data, value.size);
        members++;
    }
    if (outcome != STELE_END) {
        return outcome;
    }
    return stele_output_write(output, "}", 1);
}

int stele_json_set(struct stele_bytes json, const char *name, struct stele_bytes value,
                   struct stele_output *output)
{
    static const uint8_t empty[] = "{}";
    const struct stele_bytes wanted = stele_bytes_of_text(name);
    struct stele_json_walk walk = {
        .json = json.size > 0 ? json : (struct stele_bytes){.data = empty, .size = 2}};
    struct stele_bytes at_name;
    struct stele_bytes old;
    int outcome;
    (void)stele_output_write(output, "{", 1);
    while ((outcome = stele_json_next(&walk, &at_name, &old)) == STELE_OK) {
        if (!name_is(at_name, wanted)) {
            (void)stele_output_write(output, "\"", 1);
            (void)stele_output_write(output, at_name.data, at_name.size);
            (void)stele_output_write(output, "\":", 2);
            (void)stele_output_write(output, old.data, old.size);
            (void)stele_output_write(output, ",", 1);
        }
    }
    if (outcome != STELE_END) {
        return outcome;
    }
    (void)stele_output_json_string(output, name, wanted.size);
    (void)stele_output_write(output, ":", 1);
    (void)stele_output_write(output, value.data, value.size);
    return stele_output_write(output, "}", 1);
}
