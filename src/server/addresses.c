/* Where the server listens. */
#include "server/server_internal.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <strings.h>
#include <sys/un.h>
#include <unistd.h>

#define UNIX_PREFIX "unix:"

static int keep(struct stele_server__process *process, const struct sockaddr *address,
                socklen_t size, struct stele_error *err)
{
    if (process->resolved_count == STELE_SERVER__RESOLVED_MAX) {
        return stele_fail(err, STELE_E_LIMIT, 0, "more than %d addresses to listen on",
                          STELE_SERVER__RESOLVED_MAX);
    }
    struct stele_server__resolved *const resolved = &process->resolved[process->resolved_count++];
    memcpy(&resolved->address, address, size);
    resolved->size = size;
    return STELE_OK;
}

static int resolve_unix(struct stele_server__process *process, const char *path,
                        struct stele_error *err)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof address.sun_path) {
        return stele_fail(err, STELE_E_INVALID, 0, "listen on unix:%.100s…: the path is too long",
                          path);
    }
    (void)snprintf(address.sun_path, sizeof address.sun_path, "%s", path);
    /* What a server that was killed left behind. Who opened the store is alone with it. */
    (void)unlink(path);
    return keep(process, (const struct sockaddr *)&address, sizeof address, err);
}

static bool is_loopback(const struct sockaddr *address)
{
    if (address->sa_family == AF_INET) {
        const struct sockaddr_in *const in = (const struct sockaddr_in *)(const void *)address;
        return ntohl(in->sin_addr.s_addr) >> 24 == 127;
    }
    if (address->sa_family == AF_INET6) {
        const struct sockaddr_in6 *const in = (const struct sockaddr_in6 *)(const void *)address;
        return IN6_IS_ADDR_LOOPBACK(&in->sin6_addr);
    }
    return true;
}

static int resolve_name(struct stele_server__process *process,
                        const struct stele_server_address *wanted, struct stele_error *err)
{
    const struct addrinfo hints = {.ai_family = AF_UNSPEC,
                                   .ai_socktype = SOCK_STREAM,
                                   .ai_flags = AI_PASSIVE | AI_NUMERICSERV};
    char port[8];
    (void)snprintf(port, sizeof port, "%u", wanted->port);
    struct addrinfo *found = NULL;
    int result = getaddrinfo(wanted->host[0] != 0 ? wanted->host : NULL, port, &hints, &found);
    if (result != 0 && strcasecmp(wanted->host, "localhost") == 0) {
        /* A system without /etc/hosts; what it means is fixed (RFC 6761, section 6.3). */
        result = getaddrinfo("127.0.0.1", port, &hints, &found);
    }
    if (result != 0) {
        return stele_fail(err, STELE_E_INVALID, 0, "listen on %.200s: %s", wanted->host,
                          gai_strerror(result));
    }
    int outcome = STELE_OK;
    for (const struct addrinfo *a = found; a != NULL && outcome == STELE_OK; a = a->ai_next) {
        if (process->config->tls_certificate == NULL && !process->config->insecure &&
            !is_loopback(a->ai_addr)) {
            outcome =
                stele_fail(err, STELE_E_INVALID, 0,
                           "listen on %.200s: plain text would show passwords and data to the "
                           "network; give a TLS certificate, or say insecure",
                           wanted->host[0] != 0 ? wanted->host : "every address");
        } else {
            outcome = keep(process, a->ai_addr, a->ai_addrlen, err);
        }
    }
    freeaddrinfo(found);
    return outcome;
}

int stele_server__resolve(struct stele_server__process *process, struct stele_error *err)
{
    static const struct stele_server_address usual = {.host = "localhost",
                                                      .port = STELE_SERVER_PORT_DEFAULT};
    const struct stele_server_config *const config = process->config;
    const bool given = config->addresses_count > 0;
    const size_t count = given ? config->addresses_count : 1;
    STELE_ASSERT(count <= STELE_SERVER_ADDRESSES_MAX);
    const size_t prefix = sizeof UNIX_PREFIX - 1;
    for (size_t i = 0; i < count; i++) {
        const struct stele_server_address *const wanted = given ? &config->addresses[i] : &usual;
        const int outcome = strncmp(wanted->host, UNIX_PREFIX, prefix) == 0
                                ? resolve_unix(process, wanted->host + prefix, err)
                                : resolve_name(process, wanted, err);
        if (outcome != STELE_OK) {
            return outcome;
        }
    }
    return STELE_OK;
}

static uint16_t *port_of(struct stele_server__resolved *resolved)
{
    if (resolved->address.ss_family == AF_INET) {
        return &((struct sockaddr_in *)(void *)&resolved->address)->sin_port;
    }
    if (resolved->address.ss_family == AF_INET6) {
        return &((struct sockaddr_in6 *)(void *)&resolved->address)->sin6_port;
    }
    return NULL;
}

static void note_address(struct stele_server__process *process,
                         const struct stele_server__resolved *resolved)
{
    const size_t used = strlen(process->addresses);
    char text[128];
    if (resolved->address.ss_family == AF_UNIX) {
        (void)snprintf(text, sizeof text, "unix:%s",
                       ((const struct sockaddr_un *)(const void *)&resolved->address)->sun_path);
    } else {
        stele_socket_address_text((const struct sockaddr *)&resolved->address, text, sizeof text);
    }
    (void)snprintf(process->addresses + used, sizeof process->addresses - used, "%s%s",
                   used > 0 ? " " : "", text);
}

/* IPv6 may be turned off although "localhost" has it; that alone is no reason not to start. */
static bool may_be_missing(const struct stele_server__process *process,
                           const struct stele_server__resolved *resolved,
                           const struct stele_error *err)
{
    return process->resolved_count > 1 && resolved->address.ss_family == AF_INET6 &&
           (err->os_errno == EADDRNOTAVAIL || err->os_errno == EAFNOSUPPORT);
}

static int listen_all(struct stele_server__process *process,
                      struct stele_server__resolved *resolved, struct stele_error *err)
{
    const struct sockaddr *const address = (const struct sockaddr *)&resolved->address;
    uint16_t *const port = port_of(resolved);
    /* One port for all addresses, also if the system chooses it. */
    if (port != NULL && *port == 0) {
        *port = htons(process->server.advertised_port);
    }
    if (port != NULL && *port != 0) {
        const int outcome = stele_listener_probe(address, resolved->size, err);
        if (outcome != STELE_OK) {
            return outcome;
        }
    }
    /* A local socket cannot be shared: the first loop has it alone. */
    const uint32_t count = port != NULL ? process->workers_count : 1;
    for (uint32_t i = 0; i < count; i++) {
        uint16_t bound = 0;
        const int outcome =
            stele_net_listen(process->workers[i].net, address, resolved->size, &bound, err);
        if (outcome != STELE_OK) {
            return outcome;
        }
        if (port != NULL) {
            *port = htons(bound);
            process->server.advertised_port = bound;
        }
    }
    note_address(process, resolved);
    return STELE_OK;
}

int stele_server__listen(struct stele_server__process *process, struct stele_error *err)
{
    struct stele_error own = {.outcome = STELE_OK};
    struct stele_error *const told = err != NULL ? err : &own;
    for (size_t i = 0; i < process->resolved_count; i++) {
        const int outcome = listen_all(process, &process->resolved[i], told);
        if (outcome != STELE_OK && !may_be_missing(process, &process->resolved[i], told)) {
            return outcome;
        }
    }
    return STELE_OK;
}
