/* Recorded events are written as protobuf-c writes them, byte for byte; and golden bytes say that both
 * do not change together.
 *
 * Method: events of many shapes (sizes around the borders of varints, zeros, both ids), encoded in
 * place and by generated code. */
#include "bench.h"
#include "lib/check.h"
#include "lib/rng.h"

static struct stele_alloc alloc;

static void *reallocate(struct stele_alloc *self, void *old, size_t old_size, size_t new_size)
{
    (void)self;
    (void)old_size;
    if (new_size == 0) {
        free(old);
        return NULL;
    }
    return realloc(old, new_size);
}

typedef EventStore__Client__Streams__ReadResp__ReadEvent__RecordedEvent Recorded;
typedef EventStore__Client__Streams__ReadResp__ReadEvent__RecordedEvent__MetadataEntry Entry;

struct model {
    Recorded event;
    EventStore__Client__UUID uuid;
    EventStore__Client__UUID__Structured structured;
    EventStore__Client__StreamIdentifier stream;
    Entry entries[3];
    Entry *list[3];
    char id[37], created[24], type[300], stream_name[1100];
};

static void fill_model(struct model *model, const struct stele_event *event, bool string)
{
    *model = (struct model){
        .event = EVENT_STORE__CLIENT__STREAMS__READ_RESP__READ_EVENT__RECORDED_EVENT__INIT,
        .uuid = EVENT_STORE__CLIENT__UUID__INIT,
        .structured = EVENT_STORE__CLIENT__UUID__STRUCTURED__INIT,
        .stream = EVENT_STORE__CLIENT__STREAM_IDENTIFIER__INIT,
    };
    model->uuid.value_case = string ? EVENT_STORE__CLIENT__UUID__VALUE_STRING
                                    : EVENT_STORE__CLIENT__UUID__VALUE_STRUCTURED;
    stele_id_to_text(event->id, model->id);
    if (string) {
        model->uuid.string = model->id;
    } else {
        model->uuid.structured = &model->structured;
        model->structured.most_significant_bits =
            (int64_t)__builtin_bswap64(stele_load_u64le(event->id));
        model->structured.least_significant_bits =
            (int64_t)__builtin_bswap64(stele_load_u64le(event->id + 8));
    }
    (void)snprintf(model->created, sizeof model->created, "%lld",
                   (long long)event->created_us * 10);
    (void)snprintf(model->type, sizeof model->type, "%.*s", (int)event->type.size,
                   event->type.data);
    const char *const texts[3][2] = {{"type", model->type},
                                     {"created", model->created},
                                     {"content-type", (event->flags & STELE_EVENT_JSON) != 0
                                                          ? "application/json"
                                                          : "application/octet-stream"}};
    for (size_t i = 0; i < 3; i++) {
        model->entries[i] = (Entry)
            EVENT_STORE__CLIENT__STREAMS__READ_RESP__READ_EVENT__RECORDED_EVENT__METADATA_ENTRY__INIT;
        model->entries[i].key = (char *)(uintptr_t)texts[i][0];
        model->entries[i].value = (char *)(uintptr_t)texts[i][1];
        model->list[i] = &model->entries[i];
    }
    model->stream.stream_name.data = (uint8_t *)(uintptr_t)event->stream.data;
    model->stream.stream_name.len = event->stream.size;
    model->event.id = &model->uuid;
    model->event.stream_identifier = &model->stream;
    model->event.stream_revision = event->revision;
    model->event.prepare_position = event->position;
    model->event.commit_position = event->position;
    model->event.n_metadata = 3;
    model->event.metadata = model->list;
    model->event.custom_metadata.data = (uint8_t *)(uintptr_t)event->metadata;
    model->event.custom_metadata.len = event->metadata_size;
    model->event.data.data = (uint8_t *)(uintptr_t)event->data;
    model->event.data.len = event->data_size;
}

static void compare(const struct stele_event *event, const struct stele_event *link, bool string)
{
    struct model models[2];
    ReadResp response = EVENT_STORE__CLIENT__STREAMS__READ_RESP__INIT;
    EventStore__Client__Streams__ReadResp__ReadEvent read =
        EVENT_STORE__CLIENT__STREAMS__READ_RESP__READ_EVENT__INIT;
    if (event != NULL) {
        fill_model(&models[0], event, string);
        read.event = &models[0].event;
    }
    if (link != NULL) {
        fill_model(&models[1], link, string);
        read.link = &models[1].event;
    }
    read.position_case =
        EVENT_STORE__CLIENT__STREAMS__READ_RESP__READ_EVENT__POSITION_COMMIT_POSITION;
    const struct stele_event *const original = link != NULL ? link : event;
    CHECK(original != NULL);
    read.commit_position = original->position;
    response.content_case = EVENT_STORE__CLIENT__STREAMS__READ_RESP__CONTENT_EVENT;
    response.event = &read;
    const size_t size = protobuf_c_message_get_packed_size(&response.base);
    uint8_t *want = malloc(size);
    CHECK(want != NULL);
    CHECK_EQ(protobuf_c_message_pack(&response.base, want), size);
    struct stele_buf got = {0};
    CHECK_EQ(stele_kurrent__put_read_event(&got, &alloc, event, link,
                                           string ? UUID_STRING : UUID_STRUCTURED),
             0);
    CHECK_EQ(got.size, size);
    CHECK_BYTES_EQ(got.data, want, size);
    stele_buf_deinit(&got, &alloc);
    free(want);
}

static uint64_t some_number(struct rng *rng)
{
    return rng_next(rng) >> rng_next(rng) % 64 >> 1;
}

static void make_event(struct rng *rng, struct stele_event *event)
{
    static char bytes[70000];
    static const size_t sizes[] = {0, 1, 5, 127, 128, 129, 16383, 16384, 65000};
    memset(bytes, 'x', sizeof bytes);
    *event = (struct stele_event){
        .position = some_number(rng) % STELE_POSITION_MAX,
        .revision = rng_next(rng) % 4 == 0 ? 0 : some_number(rng),
        .created_us = (int64_t)(some_number(rng) % 4000000000000000),
        .stream = {.data = bytes, .size = 1 + rng_next(rng) % 1026},
        .type = {.data = bytes, .size = 1 + rng_next(rng) % 255},
        .data = bytes,
        .data_size = sizes[rng_next(rng) % STELE_COUNT_OF(sizes)],
        .metadata = bytes,
        .metadata_size = sizes[rng_next(rng) % STELE_COUNT_OF(sizes)],
        .flags = rng_next(rng) % 2 == 0 ? STELE_EVENT_JSON : 0,
    };
    for (size_t i = 0; i < 16; i++) {
        event->id[i] = (uint8_t)(rng_next(rng) >> rng_next(rng) % 64);
    }
    if (rng_next(rng) % 8 == 0) {
        memset(event->id + 8 * (rng_next(rng) % 2), 0, 8);
    }
}

TEST(read_events_are_written_as_generated_code_writes_them)
{
    struct rng rng;
    alloc.reallocate = reallocate;
    rng_init(&rng, 1, 0);
    for (int i = 0; i < 2000; i++) {
        struct stele_event event;
        struct stele_event link;
        make_event(&rng, &event);
        make_event(&rng, &link);
        compare(&event, NULL, i % 2 == 0);
        compare(&event, &link, i % 3 == 0);
        compare(NULL, &link, i % 5 == 0);
    }
}

TEST(an_event_has_the_bytes_it_always_had)
{
    const struct stele_event event = {
        .position = 300,
        .revision = 5,
        .id = {0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 2},
        .created_us = 1700000000000000,
        .stream = {.data = "order-1", .size = 7},
        .type = {.data = "placed", .size = 6},
        .data = "{}",
        .data_size = 2,
        .metadata = "m",
        .metadata_size = 1,
        .flags = STELE_EVENT_JSON,
    };
    static const char golden[] = "\x0a\x77\x0a\x72"
                                 "\x0a\x06\x0a\x04\x08\x01\x10\x02"
                                 "\x12\x09\x1a\x07order-1"
                                 "\x18\x05\x20\xac\x02\x28\xac\x02"
                                 "\x32\x0e\x0a\x04type\x12\x06placed"
                                 "\x32\x1c\x0a\x07"
                                 "created\x12\x11"
                                 "17000000000000000"
                                 "\x32\x20\x0a\x0c"
                                 "content-type\x12\x10"
                                 "application/json"
                                 "\x3a\x01m\x42\x02{}"
                                 "\x18\xac\x02";
    struct stele_buf got = {0};
    alloc.reallocate = reallocate;
    CHECK_EQ(stele_kurrent__put_read_event(&got, &alloc, &event, NULL, UUID_STRUCTURED), 0);
    CHECK_EQ((uint8_t)golden[1], got.size - 2);
    CHECK_EQ(got.size, sizeof golden - 1);
    CHECK_BYTES_EQ(got.data, golden, sizeof golden - 1);
    stele_buf_deinit(&got, &alloc);
}

TEST(decimals_are_those_of_printf)
{
    struct rng rng;
    rng_init(&rng, 2, 0);
    for (int i = 0; i < 10000; i++) {
        const uint64_t value = i < 200 ? (uint64_t)i : rng_next(&rng) >> rng_next(&rng) % 64;
        char want[24];
        char got[24] = {0};
        (void)snprintf(want, sizeof want, "%llu", (unsigned long long)value);
        const uint32_t size = stele_kurrent__decimal(value, got);
        CHECK_EQ(size, strlen(want));
        CHECK_TEXT_EQ(got, want);
    }
    char most[24] = {0};
    CHECK_EQ(stele_kurrent__decimal(UINT64_MAX, most), 20);
    CHECK_TEXT_EQ(most, "18446744073709551615");
}
