/* A record that was not written whole and unchanged is never taken for one that was, and every
 * field comes back.
 *
 * Method: small records, so that "every length" and "every bit" are cheap. */
#include "lib/check.h"
#include "lib/rng.h"
#include "log/record.h"

static const uint8_t id[16] = {0xa0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 0xaf};
static const uint8_t tags[] = {3, 'v', 'i', 'p', 0, 5, 'o', 'r', 'd', 'e', 'r'};

static struct stele_record_draft full_draft(void)
{
    return (struct stele_record_draft){
        .position = 0x1122334455667788,
        .revision = 41,
        .id = id,
        .created_us = -5,
        .stream = stele_bytes_of_text("order-7"),
        .type = stele_bytes_of_text("OrderPlaced"),
        .content_type = stele_bytes_of_text("text/plain"),
        .tags = {.data = tags, .size = sizeof tags},
        .tags_count = 3,
        .flags = STELE_RECORD_TOMBSTONE,
        .metadata = stele_bytes_of_text("{\"who\":\"me\"}"),
        .data = stele_bytes_of_text("twelve bytes"),
    };
}

#define ROOM 512

struct record {
    _Alignas(8) uint8_t bytes[ROOM];
    size_t size;
};

static struct record encode(const struct stele_record_draft *draft)
{
    struct record record;
    memset(&record, 0xee, sizeof record);
    record.size = stele_record_size(draft);
    CHECK(record.size <= ROOM);
    (void)stele_record_encode(record.bytes, draft);
    return record;
}

static int decode(const struct record *record, size_t size, struct stele_event *event)
{
    size_t out_size = 0;
    const struct stele_bytes bytes = {.data = record->bytes, .size = size};
    const int outcome = stele_record_decode(bytes, event, &out_size);
    if (outcome == STELE_OK) {
        CHECK_EQ(out_size, record->size);
    }
    return outcome;
}

static void check_is_full(const struct stele_event *event)
{
    CHECK_EQ(event->position, 0x1122334455667788);
    CHECK_EQ(event->revision, 41);
    CHECK_BYTES_EQ(event->id, id, sizeof id);
    CHECK_EQ(event->created_us, -5);
    CHECK_SLICE_EQ(event->stream, "order-7");
    CHECK_SLICE_EQ(event->type, "OrderPlaced");
    CHECK_SLICE_EQ(event->content_type, "text/plain");
    CHECK_EQ(event->metadata_size, 12);
    CHECK_BYTES_EQ(event->metadata, "{\"who\":\"me\"}", 12);
    CHECK_EQ(event->data_size, 12);
    CHECK_BYTES_EQ(event->data, "twelve bytes", 12);
    CHECK_EQ(event->tags_count, 3);
    CHECK_BYTES_EQ(event->tags, tags, sizeof tags);
    CHECK_EQ(event->flags, STELE_EVENT_TOMBSTONE);
}

TEST(every_field_comes_back)
{
    const struct stele_record_draft draft = full_draft();
    const struct record record = encode(&draft);
    struct stele_event event;
    CHECK_EQ(decode(&record, record.size, &event), STELE_OK);
    check_is_full(&event);
    CHECK_EQ(decode(&record, ROOM, &event), STELE_OK);

    size_t size = 0;
    const struct stele_bytes bytes = {.data = record.bytes, .size = ROOM};
    memset(&event, 0, sizeof event);
    CHECK_EQ(stele_record_decode_trusted(bytes, &event, &size), STELE_OK);
    check_is_full(&event);
    CHECK_EQ(size, record.size);
}

TEST(an_empty_record_is_its_header)
{
    const struct stele_record_draft draft = {.id = id};
    const struct record record = encode(&draft);
    CHECK_EQ(record.size, STELE_RECORD_HEADER_SIZE);
    struct stele_event event;
    CHECK_EQ(decode(&record, record.size, &event), STELE_OK);
    CHECK_EQ(event.stream.size, 0);
    CHECK_EQ(event.data_size, 0);
    CHECK_EQ(event.tags_count, 0);
    CHECK_EQ(event.flags, STELE_EVENT_JSON);
    CHECK_SLICE_EQ(event.content_type, "application/json");
}

TEST(json_takes_no_bytes_however_it_is_spelled)
{
    struct stele_record_draft draft = full_draft();
    draft.content_type = (struct stele_bytes){0};
    const struct record unsaid = encode(&draft);
    draft.content_type = stele_bytes_of_text("application/json");
    const struct record said = encode(&draft);
    CHECK_EQ(unsaid.size, said.size);
    CHECK_BYTES_EQ(unsaid.bytes, said.bytes, ROOM);
    draft.content_type = stele_bytes_of_text("application/jsonx");
    const struct record other = encode(&draft);
    struct stele_event event;
    CHECK_EQ(decode(&other, other.size, &event), STELE_OK);
    CHECK_SLICE_EQ(event.content_type, "application/jsonx");
    CHECK_EQ(event.flags & STELE_EVENT_JSON, 0);
}

TEST(sealing_later_gives_the_same_bytes)
{
    struct stele_record_draft draft = full_draft();
    const struct record at_once = encode(&draft);
    struct record in_steps;
    memset(&in_steps, 0xee, sizeof in_steps);
    in_steps.size = at_once.size;
    draft.position = 0;
    draft.revision = 0;
    const uint32_t body = stele_record_encode_body(in_steps.bytes, &draft);
    const uint32_t checksum = stele_record_seal(in_steps.bytes, body, 0x1122334455667788, 41);
    CHECK_EQ(checksum, stele_load_u32le(in_steps.bytes));
    CHECK_BYTES_EQ(in_steps.bytes, at_once.bytes, ROOM);
    /* Sealed for another place, it is another record, and still one. */
    (void)stele_record_seal(in_steps.bytes, body, 5, 6);
    struct stele_event event;
    CHECK_EQ(decode(&in_steps, in_steps.size, &event), STELE_OK);
    CHECK_EQ(event.position, 5);
    CHECK_EQ(event.revision, 6);
}

TEST(nothing_is_written_behind_the_record)
{
    struct stele_record_draft draft = full_draft();
    for (size_t size = 0; size < 12; size++) {
        draft.data.size = size;
        const struct record record = encode(&draft);
        CHECK_EQ(record.size % 8, 0);
        for (size_t at = record.size; at < ROOM; at++) {
            CHECK_EQ(record.bytes[at], 0xee);
        }
    }
}

TEST(every_torn_length_is_incomplete)
{
    const struct stele_record_draft draft = full_draft();
    const struct record record = encode(&draft);
    for (size_t size = 0; size < record.size; size++) {
        struct stele_event event;
        CHECK_EQ(decode(&record, size, &event), STELE_INCOMPLETE);
    }
}

TEST(every_flipped_bit_is_noticed)
{
    const struct stele_record_draft draft = full_draft();
    struct record record = encode(&draft);
    for (size_t bit = 0; bit < record.size * 8; bit++) {
        record.bytes[bit / 8] ^= (uint8_t)(1U << bit % 8);
        struct stele_event event;
        /* A size that has grown may say that bytes are missing; what it never does is pass. */
        CHECK(decode(&record, record.size, &event) != STELE_OK);
        CHECK(decode(&record, ROOM, &event) != STELE_OK);
        record.bytes[bit / 8] ^= (uint8_t)(1U << bit % 8);
    }
}

TEST(every_zeroed_range_is_noticed)
{
    const struct stele_record_draft draft = full_draft();
    const struct record whole = encode(&draft);
    for (size_t from = 0; from < whole.size; from += 4) {
        for (size_t to = from + 4; to <= whole.size; to += 4) {
            struct record record = whole;
            memset(record.bytes + from, 0, to - from);
            if (memcmp(record.bytes, whole.bytes, whole.size) == 0) {
                continue; /* Were zeros before. */
            }
            struct stele_event event;
            CHECK(decode(&record, record.size, &event) != STELE_OK);
        }
    }
}

TEST(bytes_that_nobody_wrote_are_safe_to_read)
{
    struct rng rng;
    rng_init(&rng, 5, 1);
    for (int round = 0; round < 200000; round++) {
        struct record record;
        const size_t size = (size_t)rng_below(&rng, 200);
        for (size_t at = 0; at < size; at++) {
            /* Small numbers make sizes that nearly add up. */
            record.bytes[at] = (uint8_t)(rng_one_in(&rng, 3) ? rng_below(&rng, 128) : 0);
        }
        if (size > 8 && rng_one_in(&rng, 2)) {
            stele_store_u32le(record.bytes + 4, (uint32_t)size / 8 * 8);
        }
        struct stele_event event = {0};
        size_t out_size = 0;
        const struct stele_bytes bytes = {.data = record.bytes, .size = size};
        CHECK(stele_record_decode(bytes, &event, &out_size) != STELE_OK);
        if (stele_record_decode_trusted(bytes, &event, &out_size) == STELE_OK) {
            CHECK(out_size <= size);
            const uint8_t *const end = (const uint8_t *)event.data + event.data_size;
            CHECK(end <= record.bytes + out_size);
        }
    }
}

TEST(tags_that_do_not_add_up_are_damage)
{
    struct stele_record_draft draft = full_draft();
    struct stele_event event;
    for (uint8_t count = 0; count < 8; count++) {
        draft.tags_count = count;
        const struct record record = encode(&draft);
        CHECK_EQ(decode(&record, record.size, &event), count == 3 ? STELE_OK : STELE_E_CORRUPT);
    }
}
