#include "auth/limit.h"

#include "base/checksum.h"

#include <arpa/inet.h>
#include <stdio.h>

#define NEIGHBOURS 8

_Static_assert((STELE_LIMIT_PEERS & (STELE_LIMIT_PEERS - 1)) == 0, "places are masked");

int stele_limit_init(struct stele_limit *limit, struct stele_alloc *alloc, uint64_t seed,
                     uint32_t failures_max, uint32_t refill_seconds)
{
    limit->peers = stele_allocate_zeroed(alloc, STELE_LIMIT_PEERS * sizeof *limit->peers);
    limit->seed = seed;
    limit->refill_us = (int64_t)refill_seconds * 1000000;
    limit->burst_us = limit->refill_us * failures_max;
    return limit->peers == NULL ? STELE_E_NO_MEMORY : STELE_OK;
}

void stele_limit_deinit(struct stele_limit *limit, struct stele_alloc *alloc)
{
    stele_release(alloc, limit->peers, STELE_LIMIT_PEERS * sizeof *limit->peers);
    limit->peers = NULL;
}

/* The host of "host:port" and "[host]:port". An IPv6 address without brackets has several colons. */
static void host_of(const char *peer, char *host, size_t host_size)
{
    size_t size = strlen(peer);
    if (peer[0] == '[') {
        peer++;
        size = strcspn(peer, "]");
    } else if (strchr(peer, ':') != NULL && strchr(peer, ':') == strrchr(peer, ':')) {
        size = strcspn(peer, ":");
    }
    (void)snprintf(host, host_size, "%.*s", (int)(size < host_size ? size : host_size - 1), peer);
}

static void address_of(const char *peer, uint8_t address[16])
{
    char host[64];
    struct in_addr v4;
    host_of(peer == NULL ? "" : peer, host, sizeof host);
    memset(address, 0, 16);
    if (inet_pton(AF_INET, host, &v4) == 1) {
        address[10] = 0xff; /* ::ffff:a.b.c.d */
        address[11] = 0xff;
        memcpy(address + 12, &v4, 4);
    } else if (inet_pton(AF_INET6, host, address) == 1) {
        static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};
        if (memcmp(address, mapped, sizeof mapped) != 0) {
            memset(address + 8, 0, 8);
            address[15] = 1; /* Never all zeros, also for "::". */
        }
    } else {
        const uint64_t hash = stele_hash64(stele_bytes_of_text(host), 0);
        stele_store_u64le(address, hash);
        address[15] = 2;
    }
}

static size_t first_place(const struct stele_limit *limit, const uint8_t address[16])
{
    const struct stele_bytes bytes = {.data = address, .size = 16};
    return (size_t)stele_hash64(bytes, limit->seed) & (STELE_LIMIT_PEERS - 1);
}

static struct stele_limit_peer *find(const struct stele_limit *limit, const uint8_t address[16])
{
    const size_t first = first_place(limit, address);
    for (size_t i = 0; i < NEIGHBOURS; i++) {
        struct stele_limit_peer *const peer = &limit->peers[(first + i) & (STELE_LIMIT_PEERS - 1)];
        if (memcmp(peer->address, address, 16) == 0) {
            return peer;
        }
    }
    return NULL;
}

bool stele_limit_allows(const struct stele_limit *limit, const char *peer, int64_t now_us)
{
    uint8_t address[16];
    address_of(peer, address);
    const struct stele_limit_peer *const found = find(limit, address);
    return found == NULL || found->debt_us - now_us <= limit->burst_us - limit->refill_us;
}

bool stele_limit_same(const char *peer, const char *other)
{
    uint8_t address[16];
    uint8_t other_address[16];
    address_of(peer, address);
    address_of(other, other_address);
    return memcmp(address, other_address, sizeof address) == 0;
}

void stele_limit_failed(struct stele_limit *limit, const char *peer, int64_t now_us)
{
    uint8_t address[16];
    address_of(peer, address);
    struct stele_limit_peer *found = find(limit, address);
    if (found == NULL) {
        const size_t first = first_place(limit, address);
        found = &limit->peers[first];
        for (size_t i = 1; i < NEIGHBOURS; i++) {
            struct stele_limit_peer *const other =
                &limit->peers[(first + i) & (STELE_LIMIT_PEERS - 1)];
            if (other->debt_us < found->debt_us) {
                found = other;
            }
        }
        memcpy(found->address, address, 16);
        found->debt_us = 0;
    }
    const int64_t from = found->debt_us > now_us ? found->debt_us : now_us;
    found->debt_us = from + limit->refill_us;
    if (found->debt_us - now_us > limit->burst_us) {
        found->debt_us = now_us + limit->burst_us;
    }
}
