/* Whatever bytes come, a frame is taken as a whole and as it was meant, or not at all.
 *
 * Method: a frame with one message of each kind; every length, every bit; and every byte set to every value with the
 * checksum made right again, as somebody would who means harm: reading what passes must stay within the bytes. */
#include "base/checksum.h"
#include "lib/check.h"
#include "lib/testalloc.h"
#include "raft/raft_internal.h"

static struct testalloc alloc;

static struct stele_buf example(void)
{
    struct stele_raft__members members = {.count = 2, .nodes = {1, 12}, .roles = {RAFT_VOTER, 0}};
    uint8_t bytes[STELE_RAFT__MEMBERS_SIZE_MAX];
    const struct stele_bytes encoded = {bytes, stele_raft__members_encode(&members, bytes)};
    const struct stele_bytes none = {NULL, 0};
    struct stele_buf frame = {NULL, 0, 0};
    testalloc_init(&alloc, 1);
    CHECK_EQ(stele_raft__frame_begin(&frame, &alloc.base, 3, 4), STELE_OK);
    const struct raft_message messages[] = {
        {.type = RAFT_REQUEST_VOTE, .request_vote = {2, 5, 3, 10, 4, true, false}},
        {.type = RAFT_REQUEST_VOTE_RESULT, .request_vote_result = {2, 5, true, true, 1, 7}},
        {.type = RAFT_APPEND_ENTRIES_RESULT, .append_entries_result = {2, 5, 0, 9, 1, 7}},
        {.type = RAFT_TIMEOUT_NOW, .timeout_now = {0, 5, 9, 4}},
    };
    for (size_t i = 0; i < STELE_COUNT_OF(messages); i++) {
        CHECK_EQ(stele_raft__frame_message(&frame, &alloc.base, 1, &messages[i], none, none),
                 STELE_OK);
    }
    struct raft_message install = {.type = RAFT_INSTALL_SNAPSHOT};
    install.install_snapshot.term = 5;
    install.install_snapshot.last_index = 9;
    install.install_snapshot.last_term = 4;
    install.install_snapshot.conf_index = 1;
    CHECK_EQ(stele_raft__frame_message(&frame, &alloc.base, 0, &install, encoded,
                                       stele_bytes_of_text("data")),
             STELE_OK);
    struct raft_message append = {.type = RAFT_APPEND_ENTRIES};
    append.append_entries.term = 5;
    append.append_entries.prev_log_index = 9;
    append.append_entries.prev_log_term = 4;
    append.append_entries.n_entries = 2;
    const size_t offset = frame.size;
    CHECK_EQ(stele_raft__frame_message(&frame, &alloc.base, 2, &append, none, none), STELE_OK);
    CHECK_EQ(stele_raft__frame_entry(&frame, &alloc.base, 4, RAFT_COMMAND,
                                     stele_bytes_of_text("payload")),
             STELE_OK);
    CHECK_EQ(stele_raft__frame_entry(&frame, &alloc.base, 5, RAFT_CHANGE, encoded), STELE_OK);
    stele_raft__frame_close(&frame, offset);
    stele_raft__frame_end(&frame, 6);
    return frame;
}

static bool is_valid(const uint8_t *data, size_t size)
{
    const char *why = NULL;
    return stele_raft__frame_is_valid((struct stele_bytes){data, size}, 3, 4, 3, &why);
}

/* Reads all that passed, and touches every byte of it. */
static unsigned read_all(const uint8_t *data, size_t size)
{
    struct stele_raft__received received;
    struct stele_raft__received_entry entry;
    size_t offset = 0;
    unsigned sum = 0;
    while (stele_raft__frame_next((struct stele_bytes){data, size}, &offset, &received)) {
        sum += received.group;
        while (stele_raft__frame_next_entry(&received.entries, &entry)) {
            sum += stele_crc32c(entry.payload) + entry.type;
        }
        sum += stele_crc32c(received.members) + stele_crc32c(received.data);
    }
    return sum;
}

TEST(a_frame_says_what_was_put_into_it)
{
    struct stele_buf frame = example();
    CHECK(is_valid(frame.data, frame.size));
    struct stele_raft__received received;
    size_t offset = 0;
    unsigned count = 0;
    while (
        stele_raft__frame_next((struct stele_bytes){frame.data, frame.size}, &offset, &received)) {
        count++;
        if (received.message.type == RAFT_REQUEST_VOTE_RESULT) {
            CHECK_EQ(received.message.request_vote_result.version, 2);
            CHECK(received.message.request_vote_result.pre_vote);
        } else if (received.message.type == RAFT_INSTALL_SNAPSHOT) {
            CHECK_EQ(received.data.size, 4);
        }
    }
    CHECK_EQ(count, 6);
    const char *why = NULL;
    const struct stele_bytes bytes = {frame.data, frame.size};
    CHECK(!stele_raft__frame_is_valid(bytes, 2, 4, 3, &why));
    CHECK(!stele_raft__frame_is_valid(bytes, 3, 5, 3, &why));
    CHECK(!stele_raft__frame_is_valid(bytes, 3, 4, 2, &why));
    stele_buf_deinit(&frame, &alloc.base);
}

TEST(every_torn_or_damaged_frame_is_refused)
{
    struct stele_buf frame = example();
    for (size_t size = 0; size < frame.size; size++) {
        uint8_t *const torn = malloc(size + 1);
        CHECK(torn != NULL);
        memcpy(torn, frame.data, size);
        CHECK(!is_valid(torn, size));
        free(torn);
    }
    for (size_t bit = 0; bit < frame.size * 8; bit++) {
        frame.data[bit / 8] ^= (uint8_t)(1 << bit % 8);
        CHECK(!is_valid(frame.data, frame.size));
        frame.data[bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
    stele_buf_deinit(&frame, &alloc.base);
}

TEST(a_forged_frame_is_read_within_its_bytes)
{
    struct stele_buf frame = example();
    unsigned passed = 0;
    for (size_t at = 8; at < frame.size; at++) {
        const uint8_t before = frame.data[at];
        for (unsigned value = 0; value < 256; value++) {
            frame.data[at] = (uint8_t)value;
            /* A copy of exactly its size, so that a sanitizer sees one byte too many. */
            uint8_t *const copy = malloc(frame.size);
            CHECK(copy != NULL);
            memcpy(copy, frame.data, frame.size);
            stele_store_u32le(copy + 4,
                              stele_crc32c((struct stele_bytes){copy + 8, frame.size - 8}));
            if (is_valid(copy, frame.size)) {
                passed += read_all(copy, frame.size) != 0;
            }
            free(copy);
        }
        frame.data[at] = before;
    }
    CHECK(passed > 0);
    stele_buf_deinit(&frame, &alloc.base);
}
