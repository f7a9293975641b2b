/* What nodes say to each other: any bytes are safe, what is taken for a frame has the checksum and the size of
 * one, and what is taken for a hello or a refusal is what encoding it again gives. */
#include "base/assert.h"
#include "base/checksum.h"
#include "peers/wire.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define DATA_MAX 5000

static void fuzz_frame(struct stele_bytes bytes)
{
    struct stele_peers_frame frame;
    const int outcome = stele_peers_frame_decode(bytes, DATA_MAX, &frame);
    if (outcome != STELE_OK) {
        /* With right checksums it may be one. */
        uint8_t copy[STELE_PEERS_HEADER_SIZE];
        if (bytes.size < sizeof copy) {
            return;
        }
        memcpy(copy, bytes.data, sizeof copy);
        memcpy(copy, "SPF1\1", 5);
        stele_store_u32le(copy + 16, stele_crc32c((struct stele_bytes){.data = copy, .size = 16}));
        const struct stele_bytes header = {.data = copy, .size = sizeof copy};
        const int again = stele_peers_frame_decode(header, DATA_MAX, &frame);
        STELE_ASSERT(again == STELE_OK || again == STELE_E_LIMIT || again == STELE_E_FORMAT);
        if (again != STELE_OK) {
            return;
        }
    }
    STELE_ASSERT(frame.kind > 0);
    STELE_ASSERT(frame.kind < STELE_PEERS_KINDS_END);
    STELE_ASSERT(frame.size <= STELE_PEERS_JOIN_SIZE_MAX);
    STELE_ASSERT(frame.kind != STELE_PEERS_DATA || frame.size <= DATA_MAX);
    STELE_ASSERT(frame.kind != STELE_PEERS_PING || frame.size <= 8);
}

static void fuzz_hello(struct stele_bytes bytes)
{
    struct stele_peers_hello hello;
    uint8_t again[STELE_PEERS_HELLO_SIZE_MAX];
    if (stele_peers_hello_decode(bytes, &hello) != STELE_OK) {
        return;
    }
    STELE_ASSERT(stele_peers_name_is_valid(hello.name, strlen(hello.name)));
    const size_t size = stele_peers_hello_encode(&hello, again);
    STELE_ASSERT(size <= bytes.size);
    /* But for the two bytes that nobody looks at. */
    STELE_ASSERT(memcmp(again, bytes.data, 6) == 0);
    STELE_ASSERT(memcmp(again + 8, bytes.data + 8, size - 8) == 0);
}

static void fuzz_refusal(struct stele_bytes bytes)
{
    char words[STELE_PEERS_WORDS_MAX + 1];
    uint8_t again[STELE_PEERS_REFUSE_SIZE_MAX];
    uint16_t code = 0;
    if (stele_peers_refuse_decode(bytes, &code, words) != STELE_OK) {
        return;
    }
    for (const char *c = words; *c != '\0'; c++) {
        STELE_ASSERT(*c >= ' ');
        STELE_ASSERT(*c <= '~');
    }
    STELE_ASSERT(stele_peers_refuse_encode(code, words, again) <= bytes.size);
    STELE_ASSERT(stele_peers_refusal_name((enum stele_peers_refusal)code) != NULL);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const struct stele_bytes bytes = {.data = data, .size = size};
    fuzz_frame(bytes);
    fuzz_hello(bytes);
    fuzz_refusal(bytes);
    return 0;
}
