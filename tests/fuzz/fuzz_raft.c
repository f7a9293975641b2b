/* Frames of Raft messages: any bytes are safe; what passes means the same when it is written anew.
 *
 * What stands in front of the messages (magic, checksum, nodes) is made to be right, so that the input
 * gets to them. The first byte of the input says how many groups there are. */
#include "base/checksum.h"
#include "lib/testalloc.h"
#include "raft/raft_internal.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define FROM 7
#define TO 3

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

static void append_entries(struct stele_buf *again, struct stele_alloc *alloc,
                           const struct stele_raft__received *received)
{
    struct stele_bytes entries = received->entries;
    struct stele_raft__received_entry entry;
    uint32_t count = 0;
    while (stele_raft__frame_next_entry(&entries, &entry)) {
        STELE_ASSERT(entry.term > 0);
        STELE_ASSERT(entry.term <= received->message.append_entries.term);
        if (entry.type == RAFT_CHANGE) {
            struct stele_raft__members members = {.index = 1};
            STELE_ASSERT(stele_raft__members_decode(entry.payload, &members));
            STELE_ASSERT(members.count > 0);
            STELE_ASSERT(members.count <= STELE_RAFT_NODES_MAX);
            struct raft_configuration configuration;
            STELE_ASSERT(stele_raft__members_export(&members, &configuration) == STELE_OK);
            STELE_ASSERT(configuration.n == members.count);
            raft_configuration_close(&configuration);
        }
        STELE_ASSERT(stele_raft__frame_entry(again, alloc, entry.term, entry.type, entry.payload) ==
                     STELE_OK);
        count++;
    }
    STELE_ASSERT(count == received->message.append_entries.n_entries);
}

/* A frame with the same messages. Bytes and bits without a meaning are not in it. */
static void write_anew(struct stele_bytes frame, uint32_t groups_count, struct stele_buf *again,
                       struct stele_alloc *alloc)
{
    STELE_ASSERT(stele_raft__frame_begin(again, alloc, FROM, TO) == STELE_OK);
    struct stele_raft__received received;
    uint32_t count = 0;
    size_t offset = 0;
    while (stele_raft__frame_next(frame, &offset, &received)) {
        STELE_ASSERT(received.group < groups_count);
        STELE_ASSERT(received.message.server_id == FROM);
        const size_t at = again->size;
        STELE_ASSERT(stele_raft__frame_message(again, alloc, received.group, &received.message,
                                               received.members, received.data) == STELE_OK);
        if (received.message.type == RAFT_APPEND_ENTRIES) {
            append_entries(again, alloc, &received);
            stele_raft__frame_close(again, at);
        }
        count++;
    }
    STELE_ASSERT(offset == frame.size || count == 0);
    stele_raft__frame_end(again, count);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static uint8_t bytes[65536 + STELE_RAFT__FRAME_HEADER_SIZE];
    if (size < 1 || size > 65536) {
        return 0;
    }
    const uint32_t groups_count = 1 + data[0] % 8;
    const char *why = NULL;
    (void)stele_raft__frame_is_valid((struct stele_bytes){data, size}, FROM, TO, groups_count,
                                     &why);
    STELE_ASSERT(why != NULL);

    const size_t frame_size = STELE_RAFT__FRAME_HEADER_SIZE + size - 1;
    struct stele_buf header = {0};
    struct testalloc alloc;
    testalloc_init(&alloc, 1);
    STELE_ASSERT(stele_raft__frame_begin(&header, &alloc.base, FROM, TO) == STELE_OK);
    memcpy(bytes, header.data, header.size);
    stele_buf_deinit(&header, &alloc.base);
    memcpy(bytes + STELE_RAFT__FRAME_HEADER_SIZE, data + 1, size - 1);
    const struct stele_bytes frame = {bytes, frame_size};
    stele_store_u32le(bytes + 12, count_messages(frame));
    stele_store_u32le(bytes + 4, stele_crc32c(stele_bytes_slice(frame, 8, frame_size - 8)));
    if (stele_raft__frame_is_valid(frame, FROM, TO, groups_count, &why)) {
        STELE_ASSERT(!stele_raft__frame_is_valid(frame, FROM + 1, TO, groups_count, &why));
        STELE_ASSERT(!stele_raft__frame_is_valid(frame, FROM, TO + 1, groups_count, &why));
        struct stele_buf again = {0};
        write_anew(frame, groups_count, &again, &alloc.base);
        const struct stele_bytes first = {again.data, again.size};
        STELE_ASSERT(again.size == frame_size);
        STELE_ASSERT(stele_raft__frame_is_valid(first, FROM, TO, groups_count, &why));
        struct stele_buf once_more = {0};
        write_anew(first, groups_count, &once_more, &alloc.base);
        STELE_ASSERT(
            stele_bytes_equal(first, (struct stele_bytes){once_more.data, once_more.size}));
        stele_buf_deinit(&again, &alloc.base);
        stele_buf_deinit(&once_more, &alloc.base);
    }
    STELE_ASSERT(alloc.bytes == 0);
    return 0;
}
