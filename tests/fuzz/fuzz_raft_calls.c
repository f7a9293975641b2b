/* A node that two others send frames to: whatever passes as a frame is safe, in any order and at any
 * time.
 *
 * The input is a list of frames, each behind four bytes: from whom and how much later it comes, and
 * its size. Checksums and nodes are made to be right. A turn may end with an error (others contradict
 * what was committed): then the node stops. */
#include "base/checksum.h"
#include "lib/memio.h"
#include "lib/testalloc.h"
#include "raft/raft_internal.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define NODE 1
#define INPUT_SIZE_MAX ((size_t)20000)

static void on_send(void *context, uint64_t node, struct stele_bytes frame)
{
    const char *why = NULL;
    (void)context;
    STELE_ASSERT(stele_raft__frame_is_valid(frame, NODE, node, 2, &why));
}

static void on_committed(void *context, uint32_t group, const struct stele_raft_entry *entry)
{
    uint64_t *const told = context;
    STELE_ASSERT(entry->index > told[group]);
    told[group] = entry->index;
}

static void on_changed(void *context, uint32_t group, const struct stele_raft_status *status)
{
    (void)context;
    (void)group;
    STELE_ASSERT(status->commit_index <= status->last_index || status->installing);
}

static void on_install(void *context, uint32_t group, uint64_t from, uint64_t index, uint64_t term,
                       struct stele_bytes data)
{
    (void)context;
    (void)group;
    (void)data;
    STELE_ASSERT(from != NODE);
    STELE_ASSERT(index > 0);
    STELE_ASSERT(term > 0);
}

static const struct stele_raft_env env = {
    .send = on_send, .committed = on_committed, .changed = on_changed, .install = on_install};

static uint32_t count_messages(struct stele_bytes frame)
{
    uint32_t count = 0;
    size_t at = STELE_RAFT__FRAME_HEADER_SIZE;
    while (frame.size - at >= 8 && stele_load_u32le(frame.data + at + 4) <= frame.size - at - 8) {
        at += 8 + stele_load_u32le(frame.data + at + 4);
        count++;
    }
    return count;
}

static void receive(struct stele_raft *raft, struct stele_alloc *alloc, uint64_t from,
                    const uint8_t *messages, size_t size)
{
    static uint8_t bytes[INPUT_SIZE_MAX + STELE_RAFT__FRAME_HEADER_SIZE];
    struct stele_buf header = {0};
    STELE_ASSERT(stele_raft__frame_begin(&header, alloc, from, NODE) == STELE_OK);
    memcpy(bytes, header.data, header.size);
    stele_buf_deinit(&header, alloc);
    memcpy(bytes + STELE_RAFT__FRAME_HEADER_SIZE, messages, size);
    const struct stele_bytes frame = {bytes, STELE_RAFT__FRAME_HEADER_SIZE + size};
    stele_store_u32le(bytes + 12, count_messages(frame));
    stele_store_u32le(bytes + 4, stele_crc32c(stele_bytes_slice(frame, 8, frame.size - 8)));
    (void)!stele_raft_receive(raft, from, frame, NULL);
}

static bool turn(struct stele_raft *raft, int64_t now_ms)
{
    if (stele_raft_turn(raft, now_ms, NULL) != STELE_OK) {
        return false;
    }
    stele_raft_check(raft);
    struct stele_wal_group group;
    while (stele_raft_take(raft, &group)) {
        stele_raft_done(
            raft, group.id,
            group.file->io->ops->write_durable(group.file, group.offset, group.bytes, NULL));
    }
    return true;
}

static void install(struct stele_raft *raft)
{
    for (uint32_t group = 0; group < 2; group++) {
        struct stele_raft_status status;
        stele_raft_status(raft, group, &status);
        if (status.installing && raft->groups[group].install_told) {
            (void)!stele_raft_installed(raft, group, NULL);
        }
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const uint64_t founders[] = {NODE, 2, 3};
    static struct memio disk;
    if (size > INPUT_SIZE_MAX) {
        return 0;
    }
    struct testalloc alloc;
    testalloc_init(&alloc, 1);
    memio_init(&disk, &alloc.base, 1);
    struct stele_raft_options options = stele_raft_options_default();
    options.groups_count = 2;
    options.node = NODE;
    options.seed = 5;
    options.wal.segment_size = 65536;
    options.founders = founders;
    options.founders_count = STELE_COUNT_OF(founders);
    struct stele_raft *raft = NULL;
    uint64_t told[2] = {0, 0};
    int64_t now_ms = 1000;
    STELE_ASSERT(stele_raft_open(&disk.io, &options, &env, told, now_ms, &raft, NULL) == STELE_OK);
    bool goes_on = true;
    while (goes_on && size >= 4) {
        const uint8_t how = data[0];
        const size_t wanted = stele_load_u16le(data + 2);
        data += 4;
        size -= 4;
        const size_t frame_size = wanted < size ? wanted : size;
        now_ms += (how >> 2) * 8;
        receive(raft, &alloc.base, 2 + (how & 1), data, frame_size);
        data += frame_size;
        size -= frame_size;
        goes_on = turn(raft, now_ms);
        if (goes_on && (how & 2) != 0) {
            install(raft);
        }
        goes_on = goes_on && turn(raft, now_ms);
    }
    stele_raft_close(raft);
    memio_deinit(&disk);
    STELE_ASSERT(alloc.bytes == 0);
    return 0;
}
