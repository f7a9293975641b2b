/* Commands, tables and greetings of a cluster: any bytes are refused, or are exactly what would have been
 * written. The first byte chooses which. A command, also one that makes no sense, leaves a sound table. */
#include "base/checksum.h"
#include "base/status.h"
#include "cluster/meta.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static uint8_t again[STELE_META_SNAPSHOT_SIZE_MAX];
static struct stele_meta table;

static void try_commands(struct stele_bytes bytes)
{
    struct stele_meta_result result;
    struct stele_meta_command command;
    stele_meta_init(&table);
    while (bytes.size > 2) {
        const size_t wanted = stele_load_u16le(bytes.data);
        const size_t size = wanted < bytes.size - 2 ? wanted : bytes.size - 2;
        const struct stele_bytes entry = stele_bytes_slice(bytes, 2, size);
        bytes = stele_bytes_slice(bytes, 2 + size, bytes.size - 2 - size);
        if (stele_meta_command_decode(entry, &command) == STELE_OK) {
            STELE_ASSERT(stele_meta_command_encode(&command, again) == size);
            STELE_ASSERT(memcmp(again, entry.data, size) == 0);
            STELE_ASSERT(stele_meta_apply(&table, entry, &result) == STELE_OK);
            stele_meta_check(&table);
        }
    }
}

static void try_table(const uint8_t *data, size_t size)
{
    static uint8_t copy[STELE_META_SNAPSHOT_SIZE_MAX];
    if (size < 12 || size > sizeof(copy)) {
        return;
    }
    memcpy(copy, data, size);
    stele_store_u32le(copy + 8,
                      stele_crc32c((struct stele_bytes){.data = copy + 12, .size = size - 12}));
    if (stele_meta_decode((struct stele_bytes){.data = copy, .size = size}, &table) == STELE_OK) {
        STELE_ASSERT(stele_meta_encode(&table, again) == size);
        STELE_ASSERT(memcmp(again, copy, size) == 0);
    }
}

static void try_hello(struct stele_bytes bytes)
{
    struct stele_meta_hello hello;
    if (stele_meta_hello_decode(bytes, &hello) == STELE_OK) {
        STELE_ASSERT(stele_meta_hello_encode(&hello, again) == bytes.size);
        STELE_ASSERT(memcmp(again, bytes.data, bytes.size) == 0);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0) {
        return 0;
    }
    const struct stele_bytes rest = {.data = data + 1, .size = size - 1};
    switch (data[0] % 3) {
    case 0:
        try_commands(rest);
        break;
    case 1:
        try_table(rest.data, rest.size);
        break;
    default:
        try_hello(rest);
        break;
    }
    return 0;
}
