#include "peers/wire.h"

#include "base/checksum.h"

static const uint8_t magic[4] = {'S', 'P', 'F', '1'};
#define LAYOUT 1
#define CHECKED_SIZE 16

/* ---- Frames ---- */

static uint32_t size_max(uint8_t kind, uint32_t data_max)
{
    switch (kind) {
    case STELE_PEERS_HELLO:
    case STELE_PEERS_WELCOME:
        return STELE_PEERS_HELLO_SIZE_MAX;
    case STELE_PEERS_REFUSE:
        return STELE_PEERS_REFUSE_SIZE_MAX;
    case STELE_PEERS_REQUEST:
    case STELE_PEERS_ANSWER:
        return STELE_PEERS_JOIN_SIZE_MAX;
    case STELE_PEERS_DATA:
        return data_max;
    default:
        return sizeof(uint64_t);
    }
}

int stele_peers_frame_decode(struct stele_bytes bytes, uint32_t data_max,
                             struct stele_peers_frame *out_frame)
{
    /* As soon as it is known: who is not one of us is not waited for. */
    const size_t known = bytes.size < sizeof magic ? bytes.size : sizeof magic;
    if (known > 0 && memcmp(bytes.data, magic, known) != 0) {
        return STELE_E_FORMAT;
    }
    if (bytes.size < STELE_PEERS_HEADER_SIZE) {
        return STELE_INCOMPLETE;
    }
    if (stele_load_u32le(bytes.data + CHECKED_SIZE) !=
        stele_crc32c(stele_bytes_slice(bytes, 0, CHECKED_SIZE))) {
        return STELE_E_CORRUPT;
    }
    const struct stele_peers_frame frame = {
        .kind = bytes.data[5],
        .lane = bytes.data[6],
        .size = stele_load_u32le(bytes.data + 8),
        .checksum = stele_load_u32le(bytes.data + 12),
    };
    if (bytes.data[4] != LAYOUT || bytes.data[7] != 0 || frame.kind == 0 ||
        frame.kind >= STELE_PEERS_KINDS_END) {
        return STELE_E_FORMAT;
    }
    if (frame.size > size_max(frame.kind, data_max)) {
        return STELE_E_LIMIT;
    }
    *out_frame = frame;
    return STELE_OK;
}

void stele_peers_frame_encode(uint8_t to[STELE_PEERS_HEADER_SIZE], uint8_t kind, uint8_t lane,
                              const struct stele_bytes *parts, size_t count)
{
    uint32_t checksum = stele_crc32c((struct stele_bytes){.data = NULL, .size = 0});
    size_t size = 0;
    for (size_t i = 0; i < count; i++) {
        checksum = stele_crc32c_extend(checksum, parts[i]);
        size += parts[i].size;
    }
    STELE_ASSERT(size <= UINT32_MAX);
    memcpy(to, magic, sizeof magic);
    to[4] = LAYOUT;
    to[5] = kind;
    to[6] = lane;
    to[7] = 0;
    stele_store_u32le(to + 8, (uint32_t)size);
    stele_store_u32le(to + 12, checksum);
    stele_store_u32le(to + CHECKED_SIZE,
                      stele_crc32c((struct stele_bytes){.data = to, .size = CHECKED_SIZE}));
}

/* ---- Hello ---- */

bool stele_peers_host_is_valid(const char *host, size_t size)
{
    if (size == 0 || size > STELE_PEERS_HOST_MAX) {
        return false;
    }
    for (size_t i = 0; i < size; i++) {
        if (host[i] < '!' || host[i] > '~') {
            return false;
        }
    }
    /* To those who check certificates, ".com" is every name that ends so. */
    return host[0] != '.';
}

bool stele_peers_name_is_valid(const char *name, size_t size)
{
    _Static_assert(STELE_PEERS_NAME_MAX == STELE_PEERS_HOST_MAX, "checked alike");
    const char first = size > 0 ? name[0] : ' ';
    return stele_peers_host_is_valid(name, size) &&
           ((first >= '0' && first <= '9') || (first >= 'a' && first <= 'z') ||
            (first >= 'A' && first <= 'Z'));
}

/* Where the others find it, behind the name. */
static int decode_address(struct stele_bytes rest, struct stele_peers_hello *hello)
{
    if (rest.size < 3 || rest.size - 3 < rest.data[2]) {
        return STELE_E_INVALID;
    }
    const char *const host = (const char *)rest.data + 3;
    const size_t size = rest.data[2];
    hello->port = stele_load_u16le(rest.data);
    if (hello->port == 0 ? size != 0 : !stele_peers_host_is_valid(host, size)) {
        return STELE_E_INVALID;
    }
    memcpy(hello->host, host, size);
    return STELE_OK;
}

int stele_peers_hello_decode(struct stele_bytes payload, struct stele_peers_hello *out_hello)
{
    if (payload.size < STELE_PEERS_HELLO_SIZE) {
        return STELE_E_INVALID;
    }
    const uint8_t *const at = payload.data;
    const uint8_t lane = at[4];
    const size_t name_size = at[5];
    const char *const name = (const char *)at + STELE_PEERS_HELLO_SIZE;
    if (lane > STELE_PEERS_JOIN || payload.size - STELE_PEERS_HELLO_SIZE < name_size ||
        !stele_peers_name_is_valid(name, name_size)) {
        return STELE_E_INVALID;
    }
    struct stele_peers_hello hello = {
        .version_min = stele_load_u16le(at),
        .version_max = stele_load_u16le(at + 2),
        .lane = (enum stele_peers_lane)lane,
        .number = stele_load_u64le(at + 24),
        .boot = stele_load_u64le(at + 48),
        .attempt = stele_load_u64le(at + 56),
        .to = stele_load_u64le(at + 64),
        .window = stele_load_u32le(at + 72),
    };
    memcpy(hello.cluster_id, at + 8, 16);
    memcpy(hello.incarnation, at + 32, 16);
    memcpy(hello.name, name, name_size);
    const size_t end = STELE_PEERS_HELLO_SIZE + name_size;
    if (decode_address(stele_bytes_slice(payload, end, payload.size - end), &hello) != STELE_OK) {
        return STELE_E_INVALID;
    }
    *out_hello = hello;
    return STELE_OK;
}

size_t stele_peers_hello_encode(const struct stele_peers_hello *hello,
                                uint8_t to[STELE_PEERS_HELLO_SIZE_MAX])
{
    const size_t name_size = strlen(hello->name);
    STELE_ASSERT(name_size <= STELE_PEERS_NAME_MAX);
    memset(to, 0, STELE_PEERS_HELLO_SIZE);
    stele_store_u16le(to, hello->version_min);
    stele_store_u16le(to + 2, hello->version_max);
    to[4] = (uint8_t)hello->lane;
    to[5] = (uint8_t)name_size;
    memcpy(to + 8, hello->cluster_id, 16);
    stele_store_u64le(to + 24, hello->number);
    memcpy(to + 32, hello->incarnation, 16);
    stele_store_u64le(to + 48, hello->boot);
    stele_store_u64le(to + 56, hello->attempt);
    stele_store_u64le(to + 64, hello->to);
    stele_store_u32le(to + 72, hello->window);
    memcpy(to + STELE_PEERS_HELLO_SIZE, hello->name, name_size);
    uint8_t *const address = to + STELE_PEERS_HELLO_SIZE + name_size;
    const size_t host_size = hello->port != 0 ? strlen(hello->host) : 0;
    STELE_ASSERT(host_size <= STELE_PEERS_HOST_MAX);
    stele_store_u16le(address, hello->port);
    address[2] = (uint8_t)host_size;
    memcpy(address + 3, hello->host, host_size);
    return STELE_PEERS_HELLO_SIZE + name_size + 3 + host_size;
}

/* ---- Refusals ---- */

int stele_peers_refuse_decode(struct stele_bytes payload, uint16_t *out_code,
                              char words[STELE_PEERS_WORDS_MAX + 1])
{
    if (payload.size < 4) {
        return STELE_E_INVALID;
    }
    const size_t size = stele_load_u16le(payload.data + 2);
    if (size > payload.size - 4 || size > STELE_PEERS_WORDS_MAX) {
        return STELE_E_INVALID;
    }
    *out_code = stele_load_u16le(payload.data);
    for (size_t i = 0; i < size; i++) {
        const char c = (char)payload.data[4 + i];
        /* They end in a log, on a terminal. */
        words[i] = c >= ' ' && c <= '~' ? c : '?';
    }
    words[size] = '\0';
    return STELE_OK;
}

size_t stele_peers_refuse_encode(uint16_t code, const char *words,
                                 uint8_t to[STELE_PEERS_REFUSE_SIZE_MAX])
{
    size_t size = strlen(words);
    size = size > STELE_PEERS_WORDS_MAX ? STELE_PEERS_WORDS_MAX : size;
    stele_store_u16le(to, code);
    stele_store_u16le(to + 2, (uint16_t)size);
    memcpy(to + 4, words, size);
    return 4 + size;
}

const char *stele_peers_refusal_name(enum stele_peers_refusal refusal)
{
    static const char *const names[] = {
        "accept",        "wrong-cluster", "unknown-node", "removed-node", "wrong-incarnation",
        "wrong-version", "name-twice",    "wrong-node",   "wrong-name",   "stale",
        "not-now",       "malformed",     "too-large",    "damaged",      "not-allowed"};
    return (size_t)refusal < STELE_COUNT_OF(names) ? names[refusal] : "other";
}
