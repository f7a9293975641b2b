/* What clients say about persistent subscriptions, and what groups find in the store about
 * themselves: any bytes are refused or make sense, and nothing is left behind. The first byte chooses
 * the decoder. */
#include "api/kurrent/cold.h"
#include "subs/groups_internal.h"

#include <stdlib.h>

static uint64_t blocks;

static void *reallocate(struct stele_alloc *self, void *old, size_t old_size, size_t new_size)
{
    (void)self;
    (void)old_size;
    blocks -= old != NULL;
    if (new_size == 0) {
        free(old);
        return NULL;
    }
    blocks++;
    void *memory = realloc(old, new_size);
    STELE_ASSERT(memory != NULL);
    return memory;
}

static struct stele_alloc alloc = {.reallocate = reallocate};

static int on_config(void *context, struct group_config *config)
{
    (void)context;
    STELE_ASSERT(config->group != NULL && config->group[0] != '\0');
    STELE_ASSERT(config->settings.strategy <= STELE_GROUP_PINNED_BY_CORRELATION);
    stele_subs__config_deinit(&alloc, config);
    return STELE_OK;
}

static void try_filter(struct stele_bytes bytes)
{
    struct stele_arena arena = {.block_size = 256};
    struct stele_filter filter;
    if (stele_kurrent__get_group_filter(bytes, &arena, &alloc, &filter)) {
        STELE_ASSERT(filter.type_prefixes_count == 0 || filter.stream_prefixes_count == 0);
    }
    stele_arena_deinit(&arena, &alloc);
}

static void try_read(struct stele_bytes bytes)
{
    static struct stele_kurrent__ack ack;
    struct stele_kurrent__group_options options;
    const enum stele_kurrent__ps_message kind = stele_kurrent__get_ps_read(bytes, &options, &ack);
    if (kind == PS_ACK || kind == PS_NACK) {
        STELE_ASSERT(ack.count <= STELE_COUNT_OF(ack.ids));
        STELE_ASSERT(ack.action <= STELE_GROUP_NACK_STOP);
    }
}

static void try_checkpoint(struct stele_bytes bytes)
{
    uint64_t place = 0;
    if (!stele_subs__checkpoint_decode(bytes, &place)) {
        return;
    }
    char text[64];
    for (int is_all = 0; is_all < 2; is_all++) {
        uint64_t again = 0;
        const size_t size = stele_subs__checkpoint_encode(is_all == 1, place, text);
        STELE_ASSERT(stele_subs__checkpoint_decode(
            (struct stele_bytes){.data = (const uint8_t *)text, .size = size}, &again));
        STELE_ASSERT(again == place);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0) {
        return 0;
    }
    /* A copy of its own: reading behind the end is seen. */
    const size_t rest = size - 1;
    uint8_t *copy = malloc(rest == 0 ? 1 : rest);
    STELE_ASSERT(copy != NULL);
    memcpy(copy, data + 1, rest);
    const struct stele_bytes bytes = {.data = copy, .size = rest};
    struct stele_kurrent__group_options options;
    struct stele_text stream = {.size = 0};
    uint64_t revision = 0;
    switch (data[0] % 12) {
    case 8:
        try_read(bytes);
        break;
    case 9:
        try_filter(bytes);
        break;
    case 10:
        (void)!stele_subs__config_decode(&alloc, bytes, on_config, NULL, NULL);
        break;
    case 11:
        try_checkpoint(bytes);
        if (stele_subs__link_decode(bytes, &revision, &stream)) {
            STELE_ASSERT(stream.size > 0 && stream.size <= STELE_STREAM_NAME_SIZE_MAX + 2);
        }
        break;
    default:
        if (stele_kurrent__get_group_request((enum stele_groups_what)(data[0] % 12), bytes,
                                             &options)) {
            STELE_ASSERT(options.group.size <= rest);
        }
        break;
    }
    free(copy);
    STELE_ASSERT(blocks == 0);
    return 0;
}
