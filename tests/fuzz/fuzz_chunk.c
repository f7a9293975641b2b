/* Chunks of a copy: whatever comes in, reading it ends, and what is taken is a store that verifies.
 *
 * The first byte says whether the checksums of the heads and of the records are made right first: then
 * it is not they that keep anything out. */
#include "lib/memio.h"
#include "lib/testalloc.h"
#include "store/store_internal.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void seal_records(uint8_t *bytes, size_t size)
{
    size_t at = 0;
    while (size - at >= STELE_RECORD_HEADER_SIZE) {
        uint8_t *record = bytes + at;
        const uint32_t record_size = stele_load_u32le(record + 4);
        if (record_size < STELE_RECORD_HEADER_SIZE || record_size > size - at) {
            break;
        }
        uint32_t checksum =
            stele_crc32c((struct stele_bytes){.data = record + 64, .size = record_size - 64});
        checksum =
            stele_crc32c_extend(checksum, (struct stele_bytes){.data = record + 4, .size = 60});
        stele_store_u32le(record, checksum);
        at += record_size;
    }
}

static void seal(uint8_t *bytes, size_t size)
{
    size_t at = 0;
    while (size - at >= STELE_STORE__GROUP_HEAD_SIZE) {
        uint8_t *group = bytes + at;
        const uint32_t group_size = stele_load_u32le(group + 4);
        const size_t head = stele_store__group_head_size(stele_load_u16le(group + 20));
        if (group_size < head || group_size > size - at) {
            break;
        }
        stele_store_u32le(group,
                          stele_crc32c((struct stele_bytes){.data = group + 4, .size = head - 4}));
        seal_records(group + head, group_size - head);
        at += group_size;
    }
}

static void commit(struct stele_store *store, struct memio *disk)
{
    struct stele_log_group group;
    while (stele_store_take(store, &group)) {
        STELE_ASSERT(disk->io.ops->write(group.file, group.offset, group.bytes, NULL) == STELE_OK);
        STELE_ASSERT(disk->io.ops->sync(group.file, NULL) == STELE_OK);
        stele_store_done(store, group.id, STELE_OK);
    }
}

static void on_damage(void *context, const struct stele_damage *damage)
{
    (void)context;
    (void)damage;
    STELE_ASSERT(false);
}

static void verify(struct stele_store *store)
{
    struct stele_verify *verify = NULL;
    struct stele_verify_result result;
    uint64_t done = 0;
    uint64_t total = 0;
    int outcome = stele_verify_begin(store, NULL, on_damage, NULL, false, &verify, NULL);
    while (outcome == STELE_OK) {
        outcome = stele_verify_step(verify, &done, &total, &result, NULL);
    }
    STELE_ASSERT(outcome == STELE_END);
    stele_verify_end(store, verify);
}

static void take(struct stele_store *store, struct memio *disk, struct stele_bytes chunk)
{
    struct stele_replay *replay = NULL;
    int outcome = stele_replay_begin(store, NULL);
    STELE_ASSERT(outcome == STELE_OK);
    outcome = stele_replay_create(store, &replay, NULL);
    STELE_ASSERT(outcome == STELE_OK);
    outcome = stele_replay_decode(replay, chunk, NULL);
    bool taken = false;
    while (outcome == STELE_OK) {
        struct stele_ticket ticket;
        outcome = stele_store_replay(store, replay, &ticket, NULL);
        taken = taken || outcome == STELE_OK;
        if (outcome == STELE_STORE_ROLL) {
            commit(store, disk);
            outcome = stele_store_roll(store, ticket.roll_size, NULL);
        }
    }
    STELE_ASSERT(outcome == STELE_END || outcome == STELE_E_CORRUPT);
    stele_replay_destroy(replay);
    commit(store, disk);
    stele_store_check(store);
    if (taken) {
        verify(store);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static uint8_t copy[65536];
    if (size < 2 || size > sizeof copy) {
        return 0;
    }
    memcpy(copy, data + 1, size - 1);
    if (data[0] % 4 != 0) {
        seal(copy, size - 1);
    }
    struct testalloc alloc;
    struct memio disk;
    struct stele_store *store = NULL;
    struct stele_store_options options = {
        .public = STELE_OPTIONS_INIT, .ordered = true, .live_end = UINT64_MAX};
    options.public.partitions = 1;
    options.public.segment_size_max = STELE_SEGMENT_SIZE_MIN;
    testalloc_init(&alloc, 1);
    memio_init(&disk, &alloc.base, 1);
    STELE_ASSERT(stele_store_open(&disk.io, &options, &store, NULL) == STELE_OK);
    take(store, &disk, (struct stele_bytes){.data = copy, .size = size - 1});
    stele_store_close(store);
    /* What was taken is there again. */
    STELE_ASSERT(stele_store_open(&disk.io, &options, &store, NULL) == STELE_OK);
    stele_store_close(store);
    memio_deinit(&disk);
    STELE_ASSERT(alloc.bytes == 0);
    return 0;
}
