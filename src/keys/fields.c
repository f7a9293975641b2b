#include "keys/fields.h"

#include "base/text.h"
#include "keys/envelope.h"

#include <stdio.h>

struct scan {
    struct stele_bytes json;
    size_t at;
    size_t copied; /* What lies before it is in out. */
    uint32_t depth;
    char path[STELE_ENVELOPE_PATH_SIZE_MAX];
    size_t path_size;
    bool quiet; /* Within a value that is replaced as a whole. */
    const struct stele_fields_walk *walk;
    struct stele_alloc *alloc;
    struct stele_buf *out;
    struct stele_buf name; /* The name that was read last. */
    struct stele_error *err;
};

static int fail(struct scan *scan, const char *what)
{
    return stele_fail(scan->err, STELE_E_INVALID, 0, "the data is no JSON: %s at byte %zu", what,
                      scan->at);
}

static void skip_space(struct scan *scan)
{
    while (scan->at < scan->json.size) {
        const uint8_t c = scan->json.data[scan->at];
        if (c != ' ' && c != '\t' && c != '\n' && c != '\r') {
            break;
        }
        scan->at++;
    }
}

static int peek(const struct scan *scan)
{
    return scan->at < scan->json.size ? scan->json.data[scan->at] : -1;
}

static bool take(struct scan *scan, int c)
{
    if (peek(scan) != c) {
        return false;
    }
    scan->at++;
    return true;
}

/* ---- Strings ---- */

static bool read_hex4(struct stele_bytes text, size_t at, uint32_t *out)
{
    *out = 0;
    if (text.size - at < 4) {
        return false;
    }
    for (size_t i = 0; i < 4; i++) {
        const int value = stele_hex_value((char)text.data[at + i]);
        if (value < 0) {
            return false;
        }
        *out = *out << 4 | (uint32_t)value;
    }
    return true;
}

/* The character that an escape at `at` (behind the backslash) stands for; returns the bytes it takes,
 * 0 for none. A surrogate without its half stands for U+FFFD: such a text is not lost, and it cannot be a
 * name that a policy has. */
static size_t read_escape(struct stele_bytes text, size_t at, uint32_t *out_code_point)
{
    static const char from[] = "\"\\/bfnrt";
    static const char to[] = "\"\\/\b\f\n\r\t";
    if (at >= text.size) {
        return 0;
    }
    if (text.data[at] != 'u') {
        const char *found = text.data[at] == 0 ? NULL : strchr(from, text.data[at]);
        *out_code_point = found == NULL ? 0 : (uint32_t)to[found - from];
        return found == NULL ? 0 : 1;
    }
    uint32_t low = 0;
    if (!read_hex4(text, at + 1, out_code_point)) {
        return 0;
    }
    const uint32_t high = *out_code_point;
    if (high >= 0xd800 && high <= 0xdfff) {
        *out_code_point = 0xfffd;
        if (high <= 0xdbff && text.size - at >= 11 && text.data[at + 5] == '\\' &&
            text.data[at + 6] == 'u' && read_hex4(text, at + 7, &low) && low >= 0xdc00 &&
            low <= 0xdfff) {
            *out_code_point = 0x10000 + ((high - 0xd800) << 10) + (low - 0xdc00);
            return 11;
        }
    }
    return 5;
}

/* Reads a string from its opening quote on. to, if not NULL, gets what it stands for. */
static int read_string(struct scan *scan, struct stele_buf *to)
{
    if (!take(scan, '"')) {
        return fail(scan, "a string was expected");
    }
    while (scan->at < scan->json.size) {
        const uint8_t c = scan->json.data[scan->at];
        uint8_t utf8[4];
        uint32_t code_point = 0;
        size_t size = 1;
        if (c == '"') {
            scan->at++;
            return STELE_OK;
        }
        if (c == '\\') {
            size = read_escape(scan->json, scan->at + 1, &code_point);
            if (size == 0) {
                return fail(scan, "a wrong escape");
            }
            size++;
        } else if (c < 0x20) {
            return fail(scan, "a control character in a string");
        } else {
            size = stele_utf8_decode(
                stele_bytes_slice(scan->json, scan->at, scan->json.size - scan->at), &code_point);
            if (size == 0) {
                return fail(scan, "no UTF-8");
            }
        }
        if (to != NULL) {
            const struct stele_bytes piece = {utf8, stele_utf8_encode(code_point, utf8)};
            const int outcome = stele_buf_append(to, scan->alloc, piece);
            if (outcome != STELE_OK) {
                return stele_fail(scan->err, outcome, 0, "no memory for the fields of the data");
            }
        }
        scan->at += size;
    }
    return fail(scan, "a string without an end");
}

static bool is_digit(int c)
{
    return c >= '0' && c <= '9';
}

static int read_number(struct scan *scan)
{
    (void)take(scan, '-');
    if (!is_digit(peek(scan))) {
        return fail(scan, "a value was expected");
    }
    if (!take(scan, '0')) {
        while (is_digit(peek(scan))) {
            scan->at++;
        }
    }
    if (take(scan, '.')) {
        if (!is_digit(peek(scan))) {
            return fail(scan, "a digit was expected");
        }
        while (is_digit(peek(scan))) {
            scan->at++;
        }
    }
    if (take(scan, 'e') || take(scan, 'E')) {
        (void)(take(scan, '+') || take(scan, '-'));
        if (!is_digit(peek(scan))) {
            return fail(scan, "a digit was expected");
        }
        while (is_digit(peek(scan))) {
            scan->at++;
        }
    }
    return STELE_OK;
}

static int read_word(struct scan *scan, const char *word)
{
    for (size_t i = 0; word[i] != '\0'; i++) {
        if (!take(scan, word[i])) {
            return fail(scan, "a value was expected");
        }
    }
    return STELE_OK;
}

/* ---- Paths ---- */

static int push(struct scan *scan, struct stele_bytes name)
{
    size_t at = scan->path_size;
    if (scan->quiet) {
        return STELE_OK;
    }
    /* Each character takes at most two. */
    if (name.size > sizeof scan->path || sizeof scan->path - at < 2 * name.size + 1) {
        return stele_fail(scan->err, STELE_E_LIMIT, 0,
                          "the path of a field in the data is longer than %zu bytes",
                          sizeof scan->path);
    }
    scan->path[at++] = '/';
    for (size_t i = 0; i < name.size; i++) {
        const uint8_t c = name.data[i];
        if (c == '~' || c == '/') {
            scan->path[at++] = '~';
            scan->path[at++] = c == '~' ? '0' : '1';
        } else {
            scan->path[at++] = (char)c;
        }
    }
    scan->path_size = at;
    return STELE_OK;
}

static struct stele_bytes path_of(const struct scan *scan)
{
    return (struct stele_bytes){(const uint8_t *)scan->path, scan->path_size};
}

/* ---- Values ---- */

static int read_value(struct scan *scan);

static int read_member(struct scan *scan)
{
    const size_t path_size = scan->path_size;
    skip_space(scan);
    scan->name.size = 0;
    int outcome = read_string(scan, scan->quiet ? NULL : &scan->name);
    const struct stele_bytes name = {scan->name.data, scan->name.size};
    if (outcome == STELE_OK && !scan->quiet && scan->walk->name != NULL) {
        outcome = scan->walk->name(scan->walk->context, name);
    }
    if (outcome == STELE_OK) {
        outcome = push(scan, name);
    }
    if (outcome == STELE_OK) {
        skip_space(scan);
        outcome = take(scan, ':') ? read_value(scan) : fail(scan, "a colon was expected");
    }
    scan->path_size = path_size;
    return outcome;
}

static int read_element(struct scan *scan, size_t index)
{
    const size_t path_size = scan->path_size;
    char number[24];
    const int size = snprintf(number, sizeof number, "%zu", index);
    int outcome = push(scan, (struct stele_bytes){(const uint8_t *)number, (size_t)size});
    if (outcome == STELE_OK) {
        outcome = read_value(scan);
    }
    scan->path_size = path_size;
    return outcome;
}

static int read_items(struct scan *scan, bool is_object)
{
    const int end = is_object ? '}' : ']';
    if (++scan->depth > STELE_FIELDS_DEPTH_MAX) {
        return stele_fail(scan->err, STELE_E_LIMIT, 0, "the data is nested deeper than %d levels",
                          STELE_FIELDS_DEPTH_MAX);
    }
    scan->at++;
    skip_space(scan);
    bool done = take(scan, end);
    for (size_t index = 0; !done; index++) {
        const int outcome = is_object ? read_member(scan) : read_element(scan, index);
        if (outcome != STELE_OK) {
            return outcome;
        }
        skip_space(scan);
        done = take(scan, end);
        if (!done && !take(scan, ',')) {
            return fail(scan, "a comma was expected");
        }
    }
    scan->depth--;
    return STELE_OK;
}

static int skip_value(struct scan *scan)
{
    switch (peek(scan)) {
    case '{':
        return read_items(scan, true);
    case '[':
        return read_items(scan, false);
    case '"':
        return read_string(scan, NULL);
    case 't':
        return read_word(scan, "true");
    case 'f':
        return read_word(scan, "false");
    case 'n':
        return read_word(scan, "null");
    default:
        return read_number(scan);
    }
}

static int copy_until(struct scan *scan, size_t end)
{
    const int outcome = stele_buf_append(
        scan->out, scan->alloc, stele_bytes_slice(scan->json, scan->copied, end - scan->copied));
    scan->copied = end;
    return outcome == STELE_OK
               ? outcome
               : stele_fail(scan->err, outcome, 0, "no memory for the fields of the data");
}

static int replace_value(struct scan *scan)
{
    const size_t begin = scan->at;
    scan->quiet = true;
    int outcome = skip_value(scan);
    scan->quiet = false;
    if (outcome == STELE_OK) {
        outcome = copy_until(scan, begin);
    }
    if (outcome == STELE_OK) {
        scan->copied = scan->at;
        outcome =
            scan->walk->replace(scan->walk->context, path_of(scan),
                                stele_bytes_slice(scan->json, begin, scan->at - begin), scan->out);
    }
    return outcome;
}

static int read_value(struct scan *scan)
{
    skip_space(scan);
    const struct stele_bytes rest =
        stele_bytes_slice(scan->json, scan->at, scan->json.size - scan->at);
    if (!scan->quiet && scan->walk->match(scan->walk->context, path_of(scan), rest)) {
        return replace_value(scan);
    }
    return skip_value(scan);
}

int stele_fields_walk(struct stele_bytes json, const struct stele_fields_walk *walk,
                      struct stele_alloc *alloc, struct stele_buf *out, struct stele_error *err)
{
    STELE_UNINITIALIZED struct scan scan;
    scan.json = json;
    scan.at = 0;
    scan.copied = 0;
    scan.depth = 0;
    scan.path_size = 0;
    scan.quiet = false;
    scan.walk = walk;
    scan.alloc = alloc;
    scan.out = out;
    scan.name = (struct stele_buf){.size = 0};
    scan.err = err;
    int outcome = read_value(&scan);
    if (outcome == STELE_OK) {
        skip_space(&scan);
        outcome = scan.at == json.size ? copy_until(&scan, json.size)
                                       : fail(&scan, "more than one value");
    }
    stele_buf_deinit(&scan.name, alloc);
    return outcome;
}

/* ---- Patterns ---- */

static struct stele_bytes component(struct stele_bytes path, size_t at)
{
    size_t end = at;
    while (end < path.size && path.data[end] != '/') {
        end++;
    }
    return stele_bytes_slice(path, at, end - at);
}

bool stele_fields_path_matches(struct stele_bytes pattern, struct stele_bytes path)
{
    size_t at = 0;
    size_t in_path = 0;
    while (at < pattern.size && in_path < path.size) {
        const struct stele_bytes want = component(pattern, at + 1);
        const struct stele_bytes have = component(path, in_path + 1);
        const bool any = want.size == 1 && want.data[0] == '*';
        if (!any && !stele_bytes_equal(want, have)) {
            return false;
        }
        at += 1 + want.size;
        in_path += 1 + have.size;
    }
    return at == pattern.size && in_path == path.size;
}

bool stele_fields_is_pointer(struct stele_bytes pattern)
{
    if (pattern.size < 2 || pattern.size > STELE_ENVELOPE_PATH_SIZE_MAX || pattern.data[0] != '/' ||
        !stele_utf8_is_valid(pattern)) {
        return false;
    }
    for (size_t i = 0; i < pattern.size; i++) {
        const bool escapes = pattern.data[i] == '~';
        const int next = i + 1 < pattern.size ? pattern.data[i + 1] : -1;
        if (escapes && next != '0' && next != '1') {
            return false;
        }
    }
    return true;
}

bool stele_fields_text(struct stele_bytes value, struct stele_alloc *alloc, struct stele_buf *out)
{
    struct scan scan = {.json = value, .alloc = alloc};
    if (value.size > 0 && value.data[0] == '"') {
        return read_string(&scan, out) == STELE_OK;
    }
    for (size_t i = 0; i < value.size; i++) {
        if (!is_digit(value.data[i]) && !(i == 0 && value.data[0] == '-')) {
            return false;
        }
    }
    return value.size > 0 && stele_buf_append(out, alloc, value) == STELE_OK;
}
