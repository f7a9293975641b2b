/* Commands and entries of a cluster: whatever comes in, reading it ends, and what is understood means
 * the same when it is written and read again. The first byte chooses between the two. */
#include "base/alloc.h"
#include "cluster/command.h"
#include "lib/testalloc.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void make_id(uint8_t id[16])
{
    memset(id, 1, 16);
}

static void read_entry(struct stele_bytes bytes)
{
    struct stele_entry entry;
    if (stele_entry_decode(bytes, &entry) != STELE_OK) {
        return;
    }
    STELE_ASSERT(stele_entry_size(&entry) == bytes.size);
    static uint8_t again[65536];
    struct stele_entry twice;
    stele_entry_encode(&entry, again);
    const struct stele_bytes written = {.data = again, .size = bytes.size};
    STELE_ASSERT(stele_entry_decode(written, &twice) == STELE_OK);
    STELE_ASSERT(twice.kind == entry.kind && twice.stamp == entry.stamp);
    STELE_ASSERT(stele_bytes_equal(twice.body, entry.body));
}

static void read_command(struct stele_bytes bytes, struct stele_alloc *alloc)
{
    struct stele_arena arena = {.block_size = 0};
    struct stele_command command;
    struct stele_error err;
    const struct stele_bytes first = stele_command_first_stream(bytes);
    STELE_ASSERT(first.size <= bytes.size);
    if (stele_command_decode(bytes, &arena, alloc, &command, &err) == STELE_OK) {
        struct stele_buf buf = {.data = NULL};
        struct stele_buf again = {.data = NULL};
        struct stele_command twice;
        command.now_us = 1;
        command.make_id = make_id;
        STELE_ASSERT(stele_command_encode(&command, alloc, &buf, &err) == STELE_OK);
        const struct stele_bytes written = {.data = buf.data, .size = buf.size};
        STELE_ASSERT(stele_command_decode(written, &arena, alloc, &twice, &err) == STELE_OK);
        STELE_ASSERT(stele_command_encode(&twice, alloc, &again, &err) == STELE_OK);
        STELE_ASSERT(stele_bytes_equal(
            written, (struct stele_bytes){.data = again.data, .size = again.size}));
        stele_buf_deinit(&buf, alloc);
        stele_buf_deinit(&again, alloc);
    }
    stele_arena_deinit(&arena, alloc);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0 || size > 65536) {
        return 0;
    }
    struct testalloc alloc;
    testalloc_init(&alloc, 1);
    const struct stele_bytes bytes = {.data = data + 1, .size = size - 1};
    if (data[0] % 2 == 0) {
        read_entry(bytes);
    } else {
        read_command(bytes, &alloc.base);
    }
    STELE_ASSERT(alloc.bytes == 0);
    return 0;
}
