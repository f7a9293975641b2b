/* Requests of KurrentDB's clients: any bytes are taken apart or refused, and what is taken out of
 * them lies inside of them. The first byte chooses the message. */
#include "api/kurrent/kurrent_internal.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

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

static struct stele_bytes input;

static void check_inside(const void *data, size_t size)
{
    const uint8_t *at = data;
    STELE_ASSERT(size == 0 || (at >= input.data && at + size <= input.data + input.size));
}

static void read_options(void)
{
    struct stele_kurrent__read_options options;
    struct stele_kurrent__filter filter;
    if (!stele_kurrent__get_read(input, &options)) {
        return;
    }
    STELE_ASSERT(!(options.has_all && options.has_stream));
    check_inside(options.stream.data, options.stream.size);
    check_inside(options.filter.data, options.filter.size);
    if (options.has_filter && stele_kurrent__get_filter(options.filter, &filter)) {
        check_inside(filter.regex.data, filter.regex.size);
        check_inside(filter.expression.data, filter.expression.size);
        STELE_ASSERT(filter.prefixes <= filter.expression.size);
    }
}

static void propose(void)
{
    struct stele_alloc alloc = {.reallocate = reallocate};
    const struct stele_server server = {.append_size_max = 65536, .event_size_max = 4096};
    struct stele_kurrent__batch batch = {.size = 0};
    struct stele_pb_reader reader = stele_pb_reader(input);
    struct stele_pb_field field;
    bool copy = false;
    while (stele_pb_next(&reader, &field)) {
        struct stele_kurrent__proposed event;
        if (field.wire == STELE_PB_BYTES && stele_kurrent__get_proposed(field.bytes, &event)) {
            check_inside(event.data.data, event.data.size);
            check_inside(event.metadata.data, event.metadata.size);
            check_inside(event.type.data, event.type.size);
            (void)stele_kurrent__batch_add(&batch, &alloc, &server, &event, copy);
            copy = !copy;
        }
    }
    if (stele_kurrent__batch_count(&batch) > 0) {
        const struct stele_event_draft *drafts = stele_kurrent__batch_drafts(&batch, &alloc);
        STELE_ASSERT(drafts != NULL);
        volatile uint8_t sum = 0;
        for (size_t i = 0; i < stele_kurrent__batch_count(&batch); i++) {
            STELE_ASSERT(strlen(drafts[i].type) <= input.size);
            for (size_t k = 0; k < drafts[i].data_size; k++) {
                sum = (uint8_t)(sum + ((const uint8_t *)drafts[i].data)[k]);
            }
            for (size_t k = 0; k < drafts[i].metadata_size; k++) {
                sum = (uint8_t)(sum + ((const uint8_t *)drafts[i].metadata)[k]);
            }
        }
    }
    stele_kurrent__batch_deinit(&batch, &alloc);
}

static void write_event(void)
{
    struct stele_alloc alloc = {.reallocate = reallocate};
    struct stele_buf buf = {0};
    struct stele_event event = {
        .stream = {.data = (const char *)input.data, .size = input.size / 3},
        .type = {.data = (const char *)input.data, .size = input.size / 4},
        .data = input.data,
        .data_size = input.size,
        .metadata = input.data,
        .metadata_size = input.size / 2};
    if (input.size >= 32) {
        event.position = stele_load_u64le(input.data);
        event.revision = stele_load_u64le(input.data + 8);
        memcpy(event.id, input.data + 16, 16);
        event.created_us = (int64_t)(event.position >> 4);
        event.flags = input.data[31] & 3;
    }
    const int outcome =
        stele_kurrent__put_read_event(&buf, &alloc, &event, input.size % 2 == 0 ? NULL : &event,
                                      input.size % 3 == 0 ? UUID_STRING : UUID_STRUCTURED);
    STELE_ASSERT(outcome == STELE_OK);
    struct stele_pb_reader reader =
        stele_pb_reader((struct stele_bytes){.data = buf.data, .size = buf.size});
    struct stele_pb_field field;
    STELE_ASSERT(stele_pb_next(&reader, &field));
    STELE_ASSERT(field.number == 1);
    STELE_ASSERT(!stele_pb_next(&reader, &field));
    STELE_ASSERT(!reader.bad);
    stele_buf_deinit(&buf, &alloc);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint8_t id[16];
    uint64_t revision = 0;
    struct stele_text stream = {.data = NULL, .size = 0};
    if (size == 0) {
        return 0;
    }
    input = (struct stele_bytes){.data = data + 1, .size = size - 1};
    switch (data[0] % 5) {
    case 0:
        read_options();
        break;
    case 1:
        propose();
        break;
    case 2:
        write_event();
        break;
    case 3:
        (void)stele_kurrent__get_uuid(input, id);
        break;
    default:
        if (stele_kurrent__get_link(input, &revision, &stream)) {
            check_inside(stream.data, stream.size);
            STELE_ASSERT(stream.size > 0);
        }
        break;
    }
    return 0;
}
