/* Connection strings. KurrentDB's are understood too, so that a client can be moved by changing its
 * scheme; options that mean nothing to libstele are accepted and ignored. */
#include "base/text.h"
#include "client/remote.h"

#include <stdio.h>
#include <strings.h>

#define PORT_DEFAULT 2113

static const char *const schemes[] = {"stele", "kurrentdb", "kurrent", "kdb", "esdb"};

/* The rest behind "scheme://" or "scheme+discover://"; NULL: no such scheme. */
static const char *behind_scheme(const char *text, bool *out_is_stele)
{
    for (size_t i = 0; i < STELE_COUNT_OF(schemes); i++) {
        const size_t size = strlen(schemes[i]);
        if (strncmp(text, schemes[i], size) != 0) {
            continue;
        }
        const char *rest = text + size;
        if (strncmp(rest, "+discover", 9) == 0) {
            rest += 9;
        }
        if (strncmp(rest, "://", 3) == 0) {
            *out_is_stele = i == 0;
            return rest + 3;
        }
    }
    return NULL;
}

bool stele_remote_is_address(const char *text)
{
    bool is_stele;
    return text != NULL && behind_scheme(text, &is_stele) != NULL;
}

/* Copies with %XX decoded. false: too long, or a zero byte. */
static bool copy_decoded(char *to, size_t room, const char *from, size_t size)
{
    const struct stele_bytes bytes = {.data = (const uint8_t *)from, .size = size};
    size_t decoded = 0;
    if (!stele_percent_decode(bytes, false, (uint8_t *)to, room - 1, &decoded) ||
        memchr(to, '\0', decoded) != NULL) {
        return false;
    }
    to[decoded] = '\0';
    return true;
}

static bool parse_number(const char *text, size_t size, uint64_t max, uint64_t *out)
{
    uint64_t number = 0;
    if (size == 0 || size > 10) {
        return false;
    }
    for (size_t i = 0; i < size; i++) {
        if (text[i] < '0' || text[i] > '9') {
            return false;
        }
        number = number * 10 + (uint64_t)(text[i] - '0');
    }
    *out = number;
    return number <= max;
}

static int parse_host(const char *text, size_t size, struct far_text *host, struct stele_error *err)
{
    const char *name = text;
    size_t name_size = size;
    const char *port = NULL;
    if (size > 0 && text[0] == '[') {
        const char *end = memchr(text, ']', size);
        if (end == NULL) {
            return stele_fail(err, STELE_E_INVALID, 0, "address: \"%.*s\" has no ']'", (int)size,
                              text);
        }
        name = text + 1;
        name_size = (size_t)(end - name);
        port = end + 1 < text + size ? end + 2 : NULL;
        if (port != NULL && end[1] != ':') {
            return stele_fail(err, STELE_E_INVALID, 0,
                              "address: behind ']' in \"%.*s\" comes a port or nothing", (int)size,
                              text);
        }
    } else {
        const char *colon = memchr(text, ':', size);
        name_size = colon == NULL ? size : (size_t)(colon - text);
        port = colon == NULL ? NULL : colon + 1;
    }
    uint64_t number = PORT_DEFAULT;
    if (port != NULL &&
        (!parse_number(port, (size_t)(text + size - port), 65535, &number) || number == 0)) {
        return stele_fail(err, STELE_E_INVALID, 0, "address: the port in \"%.*s\" is none",
                          (int)size, text);
    }
    if (name_size == 0 || !copy_decoded(host->host, sizeof host->host, name, name_size)) {
        return stele_fail(err, STELE_E_INVALID, 0, "address: a host's name is missing or too long");
    }
    host->port = (uint16_t)number;
    return STELE_OK;
}

static int parse_hosts(const char *text, size_t size, struct far_address *address,
                       struct stele_error *err)
{
    size_t at = 0;
    while (at <= size) {
        const char *comma = memchr(text + at, ',', size - at);
        const size_t end = comma == NULL ? size : (size_t)(comma - text);
        if (address->hosts_count == FAR_HOSTS_MAX) {
            return stele_fail(err, STELE_E_LIMIT, 0, "address: more than %d hosts", FAR_HOSTS_MAX);
        }
        const int outcome =
            parse_host(text + at, end - at, &address->hosts[address->hosts_count++], err);
        if (outcome != STELE_OK) {
            return outcome;
        }
        at = end + 1;
    }
    return STELE_OK;
}

static bool name_is(const char *name, size_t size, const char *wanted)
{
    return size == strlen(wanted) && strncasecmp(name, wanted, size) == 0;
}

static int parse_option(const char *name, size_t name_size, const char *value, size_t value_size,
                        struct far_address *address, struct stele_error *err)
{
    const bool is_true = name_is(value, value_size, "true");
    uint64_t number = 0;
    bool fits = true;
    const struct {
        const char *name;
        char *to;
        size_t room;
    } texts[] = {
        {"tlsCAFile", address->ca_file, sizeof address->ca_file},
        {"userCertFile", address->cert_file, sizeof address->cert_file},
        {"userKeyFile", address->key_file, sizeof address->key_file},
        {"token", address->token, sizeof address->token},
    };
    for (size_t i = 0; i < STELE_COUNT_OF(texts); i++) {
        if (name_is(name, name_size, texts[i].name)) {
            fits = copy_decoded(texts[i].to, texts[i].room, value, value_size);
            return fits ? STELE_OK
                        : stele_fail(err, STELE_E_LIMIT, 0, "address: %s is too long",
                                     texts[i].name);
        }
    }
    if (name_is(name, name_size, "tls") || name_is(name, name_size, "tlsVerifyCert")) {
        if (!is_true && !name_is(value, value_size, "false")) {
            return stele_fail(err, STELE_E_INVALID, 0, "address: %.*s is \"true\" or \"false\"",
                              (int)name_size, name);
        }
        *(name_is(name, name_size, "tls") ? &address->tls : &address->verify) = is_true;
        return STELE_OK;
    }
    const struct {
        const char *name;
        uint32_t *to;
    } numbers[] = {
        {"timeout", &address->timeout_ms},
        {"defaultDeadline", &address->timeout_ms},
        {"keepAliveInterval", &address->keepalive_ms},
        {"keepAliveTimeout", &address->keepalive_timeout_ms},
    };
    for (size_t i = 0; i < STELE_COUNT_OF(numbers); i++) {
        if (name_is(name, name_size, numbers[i].name)) {
            if (name_is(value, value_size, "-1")) {
                *numbers[i].to = 0;
                return STELE_OK;
            }
            fits = parse_number(value, value_size, 86400000, &number);
            *numbers[i].to = (uint32_t)number;
            return fits ? STELE_OK
                        : stele_fail(err, STELE_E_INVALID, 0,
                                     "address: %s is a number of milliseconds", numbers[i].name);
        }
    }
    static const char *const ignored[] = {"nodePreference",       "maxDiscoverAttempts",
                                          "discoveryInterval",    "gossipTimeout",
                                          "throwOnAppendFailure", "connectionName"};
    for (size_t i = 0; i < STELE_COUNT_OF(ignored); i++) {
        if (name_is(name, name_size, ignored[i])) {
            return STELE_OK;
        }
    }
    return stele_fail(err, STELE_E_INVALID, 0, "address: there is no option \"%.*s\"",
                      (int)name_size, name);
}

static int parse_options(const char *text, struct far_address *address, struct stele_error *err)
{
    while (*text != '\0') {
        const size_t size = strcspn(text, "&");
        const char *equals = memchr(text, '=', size);
        if (equals == NULL) {
            return stele_fail(err, STELE_E_INVALID, 0, "address: \"%.*s\" has no value", (int)size,
                              text);
        }
        const int outcome = parse_option(text, (size_t)(equals - text), equals + 1,
                                         size - (size_t)(equals + 1 - text), address, err);
        if (outcome != STELE_OK) {
            return outcome;
        }
        text += size + (text[size] == '&' ? 1 : 0);
    }
    return STELE_OK;
}

static bool is_loopback(const char *host)
{
    return strcmp(host, "localhost") == 0 || strncmp(host, "127.", 4) == 0 ||
           strcmp(host, "::1") == 0;
}

static int parse(const char *text, struct far_address *address, struct stele_error *err)
{
    bool is_stele = false;
    const char *rest = behind_scheme(text, &is_stele);
    *address = (struct far_address){
        .verify = true, .timeout_ms = 10000, .keepalive_ms = 10000, .keepalive_timeout_ms = 10000};
    if (rest == NULL) {
        return stele_fail(err, STELE_E_INVALID, 0, "address: it begins with \"stele://\"");
    }
    const size_t size = strcspn(rest, "/?");
    const char *at = NULL;
    for (size_t i = 0; i < size; i++) {
        at = rest[i] == '@' ? rest + i : at;
    }
    const char *hosts = at == NULL ? rest : at + 1;
    if (at != NULL) {
        const char *colon = memchr(rest, ':', (size_t)(at - rest));
        const char *end = colon == NULL ? at : colon;
        const char *password = colon == NULL ? at : colon + 1;
        if (!copy_decoded(address->user, sizeof address->user, rest, (size_t)(end - rest)) ||
            !copy_decoded(address->password, sizeof address->password, password,
                          (size_t)(at - password))) {
            return stele_fail(err, STELE_E_LIMIT, 0, "address: user or password is too long");
        }
    }
    int outcome = parse_hosts(hosts, size - (size_t)(hosts - rest), address, err);
    if (outcome != STELE_OK) {
        return outcome;
    }
    /* A server on this machine speaks plainly by default; every other one does not. */
    address->tls = !is_stele || !is_loopback(address->hosts[0].host);
    rest += size;
    rest += *rest == '/' ? 1 : 0;
    if (*rest == '?') {
        return parse_options(rest + 1, address, err);
    }
    return *rest == '\0'
               ? STELE_OK
               : stele_fail(err, STELE_E_INVALID, 0, "address: \"%.60s\" is too much", rest);
}

int stele_remote_parse(const char *text, struct far_address *address, struct stele_error *err)
{
    const int outcome = parse(text, address, err);
    const char *const at = strchr(text, '@');
    const char *const slashes = strstr(text, "://");
    /* What was taken for a host may be half a password. */
    if (outcome != STELE_OK && at != NULL && slashes != NULL &&
        strcspn(slashes + 3, "/?") < (size_t)(at - slashes - 3)) {
        return stele_fail(
            err, outcome, 0,
            "address: it is malformed; '/' is written %%2F and '?' %%3F in a password");
    }
    return outcome;
}
