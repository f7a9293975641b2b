/* What nodes say to each other: all messages of all groups of one turn for one peer, in one frame.
 *
 *     offset  size  field
 *          0     4  magic      "SRF1"
 *          4     4  checksum   CRC-32C of everything behind it
 *          8     2  version    1
 *         10     2  zero
 *         12     4  count      of messages
 *         16     8  from, 24: to   numbers of nodes: what was meant for an earlier incarnation is not heard
 *         32        messages: type (1), libraft's version of it (1), group (2), size of the body (4), body
 *
 * The versions travel because libraft tells by them what a sender could have known; without them stale pre-votes
 * count as votes. All numbers are little-endian. A frame is looked through as a whole before any of it counts, because
 * what libraft takes for granted it does not check. */
#include "base/checksum.h"
#include "raft/raft_internal.h"

#define MAGIC 0x31465253u
#define VERSION 1
#define MESSAGE_HEADER_SIZE 8
#define ENTRY_HEADER_SIZE 16
#define APPEND_HEADER_SIZE 40
#define INSTALL_HEADER_SIZE 40

#define VOTE_DISRUPT 1u
#define VOTE_PRE 2u
#define VOTE_GRANTED 1u

/* ---- Writing ---- */

static int reserve(struct stele_buf *frame, struct stele_alloc *alloc, size_t size, uint8_t **out)
{
    const int outcome = stele_buf_reserve(frame, alloc, size);
    if (outcome != STELE_OK) {
        return outcome;
    }
    *out = frame->data + frame->size;
    memset(*out, 0, size);
    frame->size += size;
    return STELE_OK;
}

int stele_raft__frame_begin(struct stele_buf *frame, struct stele_alloc *alloc, uint64_t from,
                            uint64_t to)
{
    STELE_ASSERT(frame->size == 0);
    uint8_t *bytes = NULL;
    const int outcome = reserve(frame, alloc, STELE_RAFT__FRAME_HEADER_SIZE, &bytes);
    if (outcome == STELE_OK) {
        stele_store_u32le(bytes, MAGIC);
        stele_store_u16le(bytes + 8, VERSION);
        stele_store_u64le(bytes + 16, from);
        stele_store_u64le(bytes + 24, to);
    }
    return outcome;
}

void stele_raft__frame_end(struct stele_buf *frame, uint32_t count)
{
    stele_store_u32le(frame->data + 12, count);
    const struct stele_bytes all = {.data = frame->data, .size = frame->size};
    stele_store_u32le(frame->data + 4, stele_crc32c(stele_bytes_slice(all, 8, all.size - 8)));
}

static size_t body_size(uint8_t type)
{
    switch (type) {
    case RAFT_APPEND_ENTRIES:
        return APPEND_HEADER_SIZE;
    case RAFT_APPEND_ENTRIES_RESULT:
        return 32;
    case RAFT_REQUEST_VOTE:
        return 40;
    case RAFT_REQUEST_VOTE_RESULT:
        return 16;
    case RAFT_INSTALL_SNAPSHOT:
        return INSTALL_HEADER_SIZE;
    case RAFT_TIMEOUT_NOW:
        return 24;
    default:
        return 0;
    }
}

static uint8_t put_body(uint8_t *to, const struct raft_message *message)
{
    switch (message->type) {
    case RAFT_APPEND_ENTRIES: {
        const struct raft_append_entries *const it = &message->append_entries;
        stele_store_u64le(to, it->term);
        stele_store_u64le(to + 8, it->prev_log_index);
        stele_store_u64le(to + 16, it->prev_log_term);
        stele_store_u64le(to + 24, it->leader_commit);
        stele_store_u32le(to + 32, it->n_entries);
        return it->version;
    }
    case RAFT_APPEND_ENTRIES_RESULT: {
        const struct raft_append_entries_result *const it = &message->append_entries_result;
        stele_store_u64le(to, it->term);
        stele_store_u64le(to + 8, it->rejected);
        stele_store_u64le(to + 16, it->last_log_index);
        stele_store_u16le(to + 24, it->features);
        stele_store_u16le(to + 26, it->capacity);
        return it->version;
    }
    case RAFT_REQUEST_VOTE: {
        const struct raft_request_vote *const it = &message->request_vote;
        stele_store_u64le(to, it->term);
        stele_store_u64le(to + 8, it->candidate_id);
        stele_store_u64le(to + 16, it->last_log_index);
        stele_store_u64le(to + 24, it->last_log_term);
        to[32] = (uint8_t)((it->disrupt_leader ? VOTE_DISRUPT : 0) | (it->pre_vote ? VOTE_PRE : 0));
        return it->version;
    }
    case RAFT_REQUEST_VOTE_RESULT: {
        const struct raft_request_vote_result *const it = &message->request_vote_result;
        stele_store_u64le(to, it->term);
        stele_store_u16le(to + 8, it->features);
        stele_store_u16le(to + 10, it->capacity);
        to[12] = (uint8_t)((it->vote_granted ? VOTE_GRANTED : 0) | (it->pre_vote ? VOTE_PRE : 0));
        return it->version;
    }
    case RAFT_INSTALL_SNAPSHOT: {
        const struct raft_install_snapshot *const it = &message->install_snapshot;
        stele_store_u64le(to, it->term);
        stele_store_u64le(to + 8, it->last_index);
        stele_store_u64le(to + 16, it->last_term);
        stele_store_u64le(to + 24, it->conf_index);
        return it->version;
    }
    case RAFT_TIMEOUT_NOW: {
        const struct raft_timeout_now *const it = &message->timeout_now;
        stele_store_u64le(to, it->term);
        stele_store_u64le(to + 8, it->last_log_index);
        stele_store_u64le(to + 16, it->last_log_term);
        return it->version;
    }
    default:
        STELE_ASSERT(false);
        return 0;
    }
}

int stele_raft__frame_message(struct stele_buf *frame, struct stele_alloc *alloc, uint32_t group,
                              const struct raft_message *message, struct stele_bytes members,
                              struct stele_bytes data)
{
    const size_t size = body_size((uint8_t)message->type);
    STELE_ASSERT(size > 0);
    const size_t offset = frame->size;
    uint8_t *bytes = NULL;
    const int outcome =
        reserve(frame, alloc, MESSAGE_HEADER_SIZE + size + members.size + data.size, &bytes);
    if (outcome != STELE_OK) {
        return outcome;
    }
    bytes[0] = (uint8_t)message->type;
    stele_store_u16le(bytes + 2, (uint16_t)group);
    uint8_t *const body = bytes + MESSAGE_HEADER_SIZE;
    bytes[1] = put_body(body, message);
    if (message->type == RAFT_INSTALL_SNAPSHOT) {
        stele_store_u32le(body + 32, (uint32_t)members.size);
        stele_store_u32le(body + 36, (uint32_t)data.size);
        if (members.size > 0) {
            memcpy(body + size, members.data, members.size);
        }
        if (data.size > 0) {
            memcpy(body + size + members.size, data.data, data.size);
        }
    }
    stele_raft__frame_close(frame, offset);
    return STELE_OK;
}

int stele_raft__frame_entry(struct stele_buf *frame, struct stele_alloc *alloc, uint64_t term,
                            uint8_t type, struct stele_bytes payload)
{
    const int outcome = stele_buf_reserve(frame, alloc, ENTRY_HEADER_SIZE + payload.size);
    if (outcome != STELE_OK) {
        return outcome;
    }
    uint8_t *const bytes = frame->data + frame->size;
    memset(bytes, 0, ENTRY_HEADER_SIZE);
    stele_store_u64le(bytes, term);
    stele_store_u32le(bytes + 8, (uint32_t)payload.size);
    bytes[12] = type;
    if (payload.size > 0) {
        memcpy(bytes + ENTRY_HEADER_SIZE, payload.data, payload.size);
    }
    frame->size += ENTRY_HEADER_SIZE + payload.size;
    return STELE_OK;
}

void stele_raft__frame_close(struct stele_buf *frame, size_t offset)
{
    stele_store_u32le(frame->data + offset + 4,
                      (uint32_t)(frame->size - offset - MESSAGE_HEADER_SIZE));
}

/* ---- Reading ---- */

bool stele_raft__frame_next_entry(struct stele_bytes *entries,
                                  struct stele_raft__received_entry *out_entry)
{
    if (entries->size < ENTRY_HEADER_SIZE) {
        return false;
    }
    const uint32_t size = stele_load_u32le(entries->data + 8);
    if (size > entries->size - ENTRY_HEADER_SIZE) {
        return false;
    }
    out_entry->term = stele_load_u64le(entries->data);
    out_entry->type = entries->data[12];
    out_entry->payload = stele_bytes_slice(*entries, ENTRY_HEADER_SIZE, size);
    *entries = stele_bytes_slice(*entries, ENTRY_HEADER_SIZE + size,
                                 entries->size - ENTRY_HEADER_SIZE - size);
    return true;
}

/* The body has the size of its type at least. */
static void take_body(struct stele_bytes body, uint8_t version, struct stele_raft__received *out)
{
    const uint8_t *const from = body.data;
    struct raft_message *const message = &out->message;
    switch (message->type) {
    case RAFT_APPEND_ENTRIES:
        message->append_entries = (struct raft_append_entries){
            .version = version,
            .term = stele_load_u64le(from),
            .prev_log_index = stele_load_u64le(from + 8),
            .prev_log_term = stele_load_u64le(from + 16),
            .leader_commit = stele_load_u64le(from + 24),
            .n_entries = stele_load_u32le(from + 32),
        };
        out->entries = stele_bytes_slice(body, APPEND_HEADER_SIZE, body.size - APPEND_HEADER_SIZE);
        break;
    case RAFT_APPEND_ENTRIES_RESULT:
        message->append_entries_result = (struct raft_append_entries_result){
            .version = version,
            .term = stele_load_u64le(from),
            .rejected = stele_load_u64le(from + 8),
            .last_log_index = stele_load_u64le(from + 16),
            .features = stele_load_u16le(from + 24),
            .capacity = stele_load_u16le(from + 26),
        };
        break;
    case RAFT_REQUEST_VOTE:
        message->request_vote = (struct raft_request_vote){
            .version = version,
            .term = stele_load_u64le(from),
            .candidate_id = stele_load_u64le(from + 8),
            .last_log_index = stele_load_u64le(from + 16),
            .last_log_term = stele_load_u64le(from + 24),
            .disrupt_leader = (from[32] & VOTE_DISRUPT) != 0,
            .pre_vote = (from[32] & VOTE_PRE) != 0,
        };
        break;
    case RAFT_REQUEST_VOTE_RESULT:
        message->request_vote_result = (struct raft_request_vote_result){
            .version = version,
            .term = stele_load_u64le(from),
            .features = stele_load_u16le(from + 8),
            .capacity = stele_load_u16le(from + 10),
            .vote_granted = (from[12] & VOTE_GRANTED) != 0,
            .pre_vote = (from[12] & VOTE_PRE) != 0,
        };
        break;
    case RAFT_INSTALL_SNAPSHOT: {
        message->install_snapshot = (struct raft_install_snapshot){
            .version = version,
            .term = stele_load_u64le(from),
            .last_index = stele_load_u64le(from + 8),
            .last_term = stele_load_u64le(from + 16),
            .conf_index = stele_load_u64le(from + 24),
        };
        const uint32_t members_size = stele_load_u32le(from + 32);
        out->members = stele_bytes_slice(body, INSTALL_HEADER_SIZE, members_size);
        out->data = stele_bytes_slice(body, INSTALL_HEADER_SIZE + members_size,
                                      body.size - INSTALL_HEADER_SIZE - members_size);
        break;
    }
    case RAFT_TIMEOUT_NOW:
        message->timeout_now = (struct raft_timeout_now){
            .version = version,
            .term = stele_load_u64le(from),
            .last_log_index = stele_load_u64le(from + 8),
            .last_log_term = stele_load_u64le(from + 16),
        };
        break;
    default:
        STELE_ASSERT(false);
    }
}

bool stele_raft__frame_next(struct stele_bytes frame, size_t *offset,
                            struct stele_raft__received *out_received)
{
    const size_t at = *offset == 0 ? STELE_RAFT__FRAME_HEADER_SIZE : *offset;
    if (at >= frame.size) {
        return false;
    }
    const uint8_t *const header = frame.data + at;
    const uint32_t size = stele_load_u32le(header + 4);
    memset(out_received, 0, sizeof *out_received);
    out_received->group = stele_load_u16le(header + 2);
    out_received->message.type = (enum raft_message_type)header[0];
    out_received->message.server_id = stele_load_u64le(frame.data + 16);
    take_body(stele_bytes_slice(frame, at + MESSAGE_HEADER_SIZE, size), header[1], out_received);
    *offset = at + MESSAGE_HEADER_SIZE + size;
    return true;
}

/* ---- Checking ---- */

/* Terms along a log never fall, and an index without a term is none. */
static bool is_append_sound(const struct stele_raft__received *received)
{
    const struct raft_append_entries *const it = &received->message.append_entries;
    if ((it->prev_log_index == 0) != (it->prev_log_term == 0) || it->prev_log_term > it->term ||
        it->prev_log_index > UINT64_MAX / 2 || it->leader_commit > UINT64_MAX / 2) {
        return false;
    }
    struct stele_bytes entries = received->entries;
    uint64_t term = it->prev_log_term;
    for (uint32_t i = 0; i < it->n_entries; i++) {
        struct stele_raft__received_entry entry;
        struct stele_raft__members members;
        if (!stele_raft__frame_next_entry(&entries, &entry) || entry.term == 0 ||
            entry.term < term || entry.term > it->term ||
            entry.payload.size > STELE_RAFT__PAYLOAD_SIZE_MAX) {
            return false;
        }
        term = entry.term;
        if (entry.type != RAFT_COMMAND && entry.type != RAFT_BARRIER &&
            (entry.type != RAFT_CHANGE || !stele_raft__members_decode(entry.payload, &members))) {
            return false;
        }
    }
    return entries.size == 0;
}

static bool is_sound(const struct stele_raft__received *received, uint64_t from)
{
    const struct raft_message *const message = &received->message;
    struct stele_raft__members members;
    switch (message->type) {
    case RAFT_APPEND_ENTRIES:
        return message->append_entries.term > 0 && is_append_sound(received);
    case RAFT_APPEND_ENTRIES_RESULT:
        return message->append_entries_result.last_log_index <= UINT64_MAX / 2;
    case RAFT_REQUEST_VOTE:
        return message->request_vote.term > 0 && message->request_vote.candidate_id == from;
    case RAFT_REQUEST_VOTE_RESULT:
        return true;
    case RAFT_INSTALL_SNAPSHOT: {
        const struct raft_install_snapshot *const it = &message->install_snapshot;
        return it->last_index > 0 && it->last_index <= UINT64_MAX / 2 && it->last_term > 0 &&
               it->last_term <= it->term && it->conf_index > 0 &&
               it->conf_index <= it->last_index &&
               received->data.size <= STELE_RAFT_SNAPSHOT_SIZE_MAX &&
               stele_raft__members_decode(received->members, &members);
    }
    case RAFT_TIMEOUT_NOW:
        return message->timeout_now.term > 0;
    default:
        return false;
    }
}

/* Is there a whole message at offset, by the sizes that it states? */
static bool is_whole(struct stele_bytes frame, size_t offset, uint32_t groups_count)
{
    if (frame.size - offset < MESSAGE_HEADER_SIZE) {
        return false;
    }
    const uint8_t *const header = frame.data + offset;
    const size_t least = body_size(header[0]);
    const uint32_t size = stele_load_u32le(header + 4);
    if (least == 0 || size < least || size > frame.size - offset - MESSAGE_HEADER_SIZE ||
        stele_load_u16le(header + 2) >= groups_count) {
        return false;
    }
    if (header[0] == RAFT_INSTALL_SNAPSHOT) {
        const uint8_t *const body = header + MESSAGE_HEADER_SIZE;
        return (uint64_t)stele_load_u32le(body + 32) + stele_load_u32le(body + 36) ==
               (uint64_t)size - INSTALL_HEADER_SIZE;
    }
    return header[0] == RAFT_APPEND_ENTRIES || size == least;
}

bool stele_raft__frame_is_valid(struct stele_bytes frame, uint64_t from, uint64_t to,
                                uint32_t groups_count, const char **out_why)
{
    *out_why = "is too short or not a frame of Raft messages";
    if (frame.size < STELE_RAFT__FRAME_HEADER_SIZE || stele_load_u32le(frame.data) != MAGIC) {
        return false;
    }
    *out_why = "is of another version";
    if (stele_load_u16le(frame.data + 8) != VERSION) {
        return false;
    }
    *out_why = "does not match its checksum";
    if (stele_load_u32le(frame.data + 4) !=
        stele_crc32c(stele_bytes_slice(frame, 8, frame.size - 8))) {
        return false;
    }
    *out_why = "is not from or not for this node";
    if (stele_load_u64le(frame.data + 16) != from || stele_load_u64le(frame.data + 24) != to) {
        return false;
    }
    *out_why = "holds a message that nobody would send";
    size_t offset = STELE_RAFT__FRAME_HEADER_SIZE;
    uint32_t count = 0;
    while (offset < frame.size) {
        struct stele_raft__received received;
        if (!is_whole(frame, offset, groups_count) ||
            !stele_raft__frame_next(frame, &offset, &received) || !is_sound(&received, from)) {
            return false;
        }
        count++;
    }
    return count == stele_load_u32le(frame.data + 12);
}
