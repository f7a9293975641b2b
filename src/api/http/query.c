/* What stands behind the "?" of a request.
 *
 * A value that a handler could not take, or a name that it does not look for, must not look as if it
 * were not there: ?expect=… would be no condition any more, ?typ=… no filter. So the whole query is
 * judged before a handler is called, and what is not understood is refused. Paths that are KurrentDB's
 * are more lenient, because its clients and tools send what only its own server knows. */
#include "api/http/web_internal.h"
#include "base/text.h"

size_t stele_web__decode(struct stele_text from, bool plus, char *to, size_t room)
{
    const struct stele_bytes bytes = {.data = (const uint8_t *)from.data, .size = from.size};
    size_t size = 0;
    if (!stele_percent_decode(bytes, plus, (uint8_t *)to, room - 1, &size) ||
        memchr(to, '\0', size) != NULL) {
        return SIZE_MAX;
    }
    to[size] = '\0';
    return size;
}

/* One "name=value" of a query, and what comes behind it. false: there is none any more. */
static bool next_pair(struct stele_text *rest, struct stele_text *out_name,
                      struct stele_text *out_value)
{
    while (rest->size > 0 && *rest->data == '&') {
        *rest = (struct stele_text){.data = rest->data + 1, .size = rest->size - 1};
    }
    if (rest->size == 0) {
        return false;
    }
    const char *const end = memchr(rest->data, '&', rest->size);
    const size_t size = end == NULL ? rest->size : (size_t)(end - rest->data);
    const char *const sign = memchr(rest->data, '=', size);
    const size_t name_size = sign == NULL ? size : (size_t)(sign - rest->data);
    const size_t skip = sign == NULL ? size : name_size + 1;
    *out_name = (struct stele_text){.data = rest->data, .size = name_size};
    *out_value = (struct stele_text){.data = rest->data + skip, .size = size - skip};
    *rest = (struct stele_text){.data = rest->data + size, .size = rest->size - size};
    return true;
}

bool stele_web__query(const struct stele_web__request *request, const char *name, char *to,
                      size_t room)
{
    const size_t name_size = strlen(name);
    struct stele_text rest = request->query;
    struct stele_text found;
    struct stele_text value;
    while (next_pair(&rest, &found, &value)) {
        if (found.size == name_size && memcmp(found.data, name, name_size) == 0) {
            return stele_web__decode(value, true, to, room) != SIZE_MAX;
        }
    }
    return false;
}

bool stele_web__query_number(struct stele_web__request *request, const char *name,
                             uint64_t otherwise, uint64_t *out)
{
    char text[64]; /* More than stele_web__check_query() lets through. */
    *out = otherwise;
    if (!stele_web__query(request, name, text, sizeof text)) {
        return true;
    }
    uint64_t number = 0;
    bool fits = text[0] != '\0';
    for (const char *c = text; *c != '\0' && fits; c++) {
        const uint64_t digit = (uint64_t)(*c - '0');
        fits = *c >= '0' && *c <= '9' && number <= (UINT64_MAX - digit) / 10;
        number = number * 10 + digit;
    }
    *out = number;
    if (!fits) {
        stele_web__refuse(request, 400, "invalid", "%s is a whole number", name);
    }
    return fits;
}

bool stele_web__query_limit(struct stele_web__request *request, uint64_t otherwise, uint64_t *out)
{
    if (!stele_web__query_number(request, "limit", otherwise, out)) {
        return false;
    }
    if (*out == 0 || *out > STELE_WEB__PAGE_MAX) {
        stele_web__refuse(request, 400, "invalid", "limit is 1 to %d", STELE_WEB__PAGE_MAX);
        return false;
    }
    return true;
}

bool stele_web__query_flag(const struct stele_web__request *request, const char *name)
{
    char text[8];
    return stele_web__query(request, name, text, sizeof text) && strcmp(text, "false") != 0 &&
           strcmp(text, "0") != 0;
}

/* ---- What the query may hold ---- */

enum parameter_kind { TEXT, FLAG };
static const struct parameter {
    const char *name;
    enum parameter_kind kind;
    size_t size_max;
} parameters[] = {
    {"after", TEXT, STELE_STREAM_NAME_SIZE_MAX + 2},
    {"as_of", TEXT, 47},
    {"backwards", FLAG, 7},
    {"category", TEXT, STELE_STREAM_NAME_SIZE_MAX + 2},
    {"cloudevents", FLAG, 7},
    {"expect", TEXT, 31},
    {"from", TEXT, 31},
    {"group", TEXT, STELE_STREAM_NAME_SIZE_MAX + 2},
    {"include_system_events", FLAG, 7},
    {"limit", TEXT, 31},
    {"linearizable", FLAG, 7},
    {"liveCode", TEXT, 31},
    {"prefix", TEXT, STELE_STREAM_NAME_SIZE_MAX + 2},
    {"stopAt", TEXT, 31},
    {"stream", TEXT, STELE_STREAM_NAME_SIZE_MAX + 2},
    {"tag", TEXT, STELE_STREAM_NAME_SIZE_MAX + 2},
    {"tombstone", FLAG, 7},
    {"type", TEXT, STELE_TYPE_SIZE_MAX},
};

/* false: refused. */
static bool check_value(struct stele_web__request *request, const struct parameter *parameter,
                        struct stele_text given)
{
    char value[STELE_STREAM_NAME_SIZE_MAX + 3];
    _Static_assert(STELE_TYPE_SIZE_MAX < sizeof value, "every value has room");
    const size_t size = stele_web__decode(given, true, value, parameter->size_max + 1);
    if (size == SIZE_MAX ||
        !stele_utf8_is_valid((struct stele_bytes){.data = (uint8_t *)value, .size = size})) {
        stele_web__refuse(request, 400, "invalid",
                          "%s is text of at most %zu bytes in UTF-8, without zeros",
                          parameter->name, parameter->size_max);
        return false;
    }
    if (parameter->kind == FLAG && size > 0 && strcmp(value, "true") != 0 &&
        strcmp(value, "false") != 0 && strcmp(value, "1") != 0 && strcmp(value, "0") != 0) {
        stele_web__refuse(request, 400, "invalid", "%s is true or false", parameter->name);
        return false;
    }
    return true;
}

_Static_assert(STELE_WEB__VALUES_MAX == 16, "the words of check_name() say so");

/* What the routes of /api look for. A name with "*" may come several times. */
static const struct route_names {
    enum stele_route route;
    const char *names; /* Separated by spaces. */
} takes[] = {
    {STELE_ROUTE_STREAMS, "prefix after limit"},
    {STELE_ROUTE_CATEGORIES, "prefix after limit"},
    {STELE_ROUTE_TYPES, "prefix after limit"},
    {STELE_ROUTE_STREAM_READ, "from limit backwards as_of type* prefix* category* tag* cloudevents "
                              "include_system_events linearizable"},
    {STELE_ROUTE_ALL_READ, "from limit backwards as_of type* prefix* category* tag* cloudevents "
                           "include_system_events linearizable"},
    {STELE_ROUTE_STREAM_APPEND, "expect"},
    {STELE_ROUTE_STREAM_DELETE, "expect tombstone"},
    {STELE_ROUTE_META_GET, "linearizable"},
    {STELE_ROUTE_META_SET, "expect"},
    {STELE_ROUTE_TAIL_STREAM, "from cloudevents"},
    {STELE_ROUTE_TAIL_ALL, "from type prefix include_system_events cloudevents"},
    {STELE_ROUTE_GROUPS, ""},
    {STELE_ROUTE_GROUP_REPLAY, "stream group"},
    {STELE_ROUTE_USERS, ""},
    {STELE_ROUTE_USER_CREATE, ""},
    {STELE_ROUTE_USER_CHANGE, ""},
    {STELE_ROUTE_USER_DELETE, ""},
    {STELE_ROUTE_ME, ""},
};

/* NULL: the route takes whatever comes. */
static const char *names_of(enum stele_route route)
{
    for (size_t i = 0; i < STELE_COUNT_OF(takes); i++) {
        if (takes[i].route == route) {
            return takes[i].names;
        }
    }
    return NULL;
}

/* How often a name of the list may come: 0, 1, or STELE_WEB__VALUES_MAX. */
static size_t times_of(const char *names, struct stele_text name)
{
    while (*names != '\0') {
        const size_t size = strcspn(names, " ");
        const bool many = names[size - 1] == '*';
        const size_t name_size = size - (many ? 1 : 0);
        if (name.size == name_size && memcmp(names, name.data, name_size) == 0) {
            return many ? STELE_WEB__VALUES_MAX : 1;
        }
        names += size;
        names += strspn(names, " ");
    }
    return 0;
}

static bool is_same(struct stele_text a, struct stele_text b)
{
    return a.size == b.size && memcmp(a.data, b.data, a.size) == 0;
}

static size_t count_of(struct stele_text query, struct stele_text wanted)
{
    struct stele_text name;
    struct stele_text value;
    size_t count = 0;
    while (next_pair(&query, &name, &value)) {
        count += is_same(name, wanted) ? 1 : 0;
    }
    return count;
}

static void refuse_name(struct stele_web__request *request, const char *names,
                        struct stele_text name)
{
    char asked[65];
    char list[256];
    size_t at = 0;
    for (size_t i = 0; i < name.size && at < sizeof asked - 1; i++) {
        asked[at++] = (char)(name.data[i] > ' ' && name.data[i] < 0x7f ? name.data[i] : '?');
    }
    asked[at] = '\0';
    at = 0;
    for (const char *c = names; *c != '\0' && at < sizeof list - 2; c++) {
        if (*c == ' ') {
            list[at++] = ',';
        }
        if (*c != '*') {
            list[at++] = *c;
        }
    }
    list[at] = '\0';
    stele_web__refuse(request, 400, "invalid", "there is no parameter %s here; this path takes %s",
                      asked, at == 0 ? "none" : list);
}

/* false: refused. */
static bool check_name(struct stele_web__request *request, const char *names,
                       struct stele_text name)
{
    const size_t times = times_of(names, name);
    if (times == 0) {
        refuse_name(request, names, name);
        return false;
    }
    if (count_of(request->query, name) > times) {
        stele_web__refuse(request, 400, "invalid", "%.*s may be there %s", (int)name.size,
                          name.data, times == 1 ? "once" : "16 times at most");
        return false;
    }
    return true;
}

bool stele_web__check_query(struct stele_web__request *request)
{
    const char *const names = names_of(request->route);
    struct stele_text rest = request->query;
    struct stele_text name;
    struct stele_text value;
    while (next_pair(&rest, &name, &value)) {
        if (names != NULL && !check_name(request, names, name)) {
            return false;
        }
        for (size_t i = 0; i < STELE_COUNT_OF(parameters); i++) {
            const struct stele_text known = {.data = parameters[i].name,
                                             .size = strlen(parameters[i].name)};
            if (is_same(name, known) && !check_value(request, &parameters[i], value)) {
                return false;
            }
        }
    }
    return true;
}
