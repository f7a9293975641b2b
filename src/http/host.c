/* Whom a request was meant for. */
#include "http/http.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <strings.h>

/* "host", "host:port", "[::1]:port" without the port; without the dot that ends a full name. */
static struct stele_text host_of(struct stele_text authority)
{
    const char *const bracket = authority.size > 0 && authority.data[0] == '['
                                    ? memchr(authority.data, ']', authority.size)
                                    : NULL;
    const size_t from = bracket == NULL ? 0 : (size_t)(bracket - authority.data);
    const char *const colon =
        authority.size == 0 ? NULL : memchr(authority.data + from, ':', authority.size - from);
    if (colon != NULL) {
        authority.size = (size_t)(colon - authority.data);
    }
    if (authority.size > 1 && authority.data[authority.size - 1] == '.') {
        authority.size--;
    }
    return authority;
}

static bool is_number(struct stele_text host)
{
    char text[INET6_ADDRSTRLEN];
    uint8_t address[16];
    const bool is_6 = host.size >= 2 && host.data[0] == '[' && host.data[host.size - 1] == ']';
    const size_t skip = is_6 ? 1 : 0;
    if (host.size == 0 || host.size - 2 * skip >= sizeof text) {
        return false;
    }
    (void)snprintf(text, sizeof text, "%.*s", (int)(host.size - 2 * skip), host.data + skip);
    return inet_pton(is_6 ? AF_INET6 : AF_INET, text, address) == 1;
}

static bool ends_with(struct stele_text host, const char *end)
{
    const size_t size = strlen(end);
    return host.size >= size && strncasecmp(host.data + host.size - size, end, size) == 0;
}

bool stele_http_host_is(struct stele_text authority, const char *name)
{
    const struct stele_text host = host_of(authority);
    return host.size == strlen(name) && ends_with(host, name);
}

bool stele_http_host_is_plain(struct stele_text authority)
{
    const struct stele_text host = host_of(authority);
    return is_number(host) || stele_http_host_is(authority, "localhost") ||
           ends_with(host, ".localhost");
}
