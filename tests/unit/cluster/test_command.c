/* A command means the same wherever its bytes are read, and bytes that are none are refused.
 *
 * Method: generated requests of every shape go through encode and decode, and every field is
 * compared; then one message at a time is cut at every length and changed at every byte. Bytes lie
 * in memory of exactly their size, so that a sanitizer sees the first that is read beyond. */
#include "cluster/command.h"
#include "lib/check.h"
#include "lib/rng.h"
#include "lib/testalloc.h"

#include <stdlib.h>

#define STREAMS_MAX 4
#define EVENTS_MAX 4
#define ITEMS_MAX 3
#define NAMES_MAX 3
#define NOW_US INT64_C(1700000000000000)

/* A request and everything it points to. */
struct request {
    struct stele_command command;
    struct stele_append streams[STREAMS_MAX];
    struct stele_event_draft events[STREAMS_MAX][EVENTS_MAX];
    struct stele_condition conditions[ITEMS_MAX];
    struct stele_query_item items[ITEMS_MAX][ITEMS_MAX];
    char texts[256][48];
    const char *lists[96][NAMES_MAX];
    size_t texts_count, lists_count;
    uint8_t data[64];
};

static void make_id(uint8_t id[16])
{
    memset(id, 0xab, 16);
}

static const char *text(struct request *r, struct rng *rng, size_t size_min)
{
    char *to = r->texts[r->texts_count++];
    const size_t size = rng_between(rng, size_min, sizeof r->texts[0] - 1);
    for (size_t i = 0; i < size; i++) {
        to[i] = (char)rng_between(rng, 1, 255);
    }
    to[size] = 0;
    return to;
}

static const char *const *texts(struct request *r, struct rng *rng, size_t count)
{
    const char **list = r->lists[r->lists_count++];
    for (size_t i = 0; i < count; i++) {
        list[i] = text(r, rng, 1);
    }
    return list;
}

static struct stele_event_draft event(struct request *r, struct rng *rng)
{
    struct stele_event_draft made = {.data = r->data,
                                     .data_size = rng_below(rng, sizeof r->data),
                                     .metadata = r->data,
                                     .metadata_size = rng_below(rng, 8),
                                     .tags_count = rng_below(rng, NAMES_MAX + 1)};
    if (rng_percent(rng, 80)) {
        made.id[rng_below(rng, sizeof made.id)] = (uint8_t)rng_between(rng, 1, 255);
    }
    made.created_us = rng_percent(rng, 50) ? 0 : (int64_t)rng_next(rng);
    made.type = text(r, rng, 1);
    made.content_type = rng_percent(rng, 50) ? NULL : text(r, rng, 1);
    made.tags = texts(r, rng, made.tags_count);
    return made;
}

static void add_stream(struct request *r, struct rng *rng, size_t index, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        r->events[index][i] = event(r, rng);
    }
    r->streams[index] = (struct stele_append){.stream = text(r, rng, 1),
                                              .expected = rng_next(rng),
                                              .events = r->events[index],
                                              .count = count};
}

static void add_condition(struct request *r, struct rng *rng, size_t index)
{
    const size_t count = rng_below(rng, ITEMS_MAX + 1);
    for (size_t i = 0; i < count; i++) {
        struct stele_query_item *item = &r->items[index][i];
        item->types_count = rng_below(rng, NAMES_MAX + 1);
        item->tags_count = rng_below(rng, NAMES_MAX + 1);
        item->types = texts(r, rng, item->types_count);
        item->tags = texts(r, rng, item->tags_count);
    }
    r->conditions[index] = (struct stele_condition){
        .items = r->items[index], .items_count = count, .after = rng_next(rng)};
}

static void generate(struct request *r, struct rng *rng)
{
    memset(r, 0, sizeof *r);
    for (size_t i = 0; i < sizeof r->data; i++) {
        r->data[i] = (uint8_t)rng_next(rng);
    }
    struct stele_command *c = &r->command;
    *c = (struct stele_command){.kind = (enum stele_command_kind)rng_between(
                                    rng, STELE_COMMAND_APPEND, STELE_COMMAND_NOTHING),
                                .seen = rng_next(rng),
                                .streams = r->streams,
                                .conditions = r->conditions,
                                .now_us = NOW_US,
                                .make_id = make_id};
    if (c->kind == STELE_COMMAND_APPEND) {
        c->streams_count = rng_between(rng, 1, STREAMS_MAX);
        c->conditions_count = rng_below(rng, ITEMS_MAX + 1);
    } else {
        c->streams_count = c->kind == STELE_COMMAND_NOTHING ? 0 : 1;
    }
    for (size_t i = 0; i < c->streams_count; i++) {
        add_stream(r, rng, i, c->kind == STELE_COMMAND_APPEND ? rng_below(rng, EVENTS_MAX + 1) : 1);
    }
    for (size_t i = 0; i < c->conditions_count; i++) {
        add_condition(r, rng, i);
    }
}

/* ---- Comparing ---- */

static bool same_texts(const char *const *a, const char *const *b, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (strcmp(a[i], b[i]) != 0) {
            return false;
        }
    }
    return true;
}

static bool same_blob(const void *a, size_t a_size, const void *b, size_t b_size)
{
    return stele_bytes_equal((struct stele_bytes){.data = a, .size = a_size},
                             (struct stele_bytes){.data = b, .size = b_size});
}

/* What encoding fills in: an id, a time, nothing for no content type. */
static bool same_event(const struct stele_event_draft *a, const struct stele_event_draft *b)
{
    static const uint8_t none[16] = {0};
    uint8_t id[16];
    memcpy(id, a->id, sizeof id);
    if (memcmp(id, none, sizeof id) == 0) {
        make_id(id);
    }
    const char *a_type = a->content_type == NULL ? "" : a->content_type;
    const char *b_type = b->content_type == NULL ? "" : b->content_type;
    return memcmp(id, b->id, sizeof id) == 0 &&
           (a->created_us == 0 ? NOW_US : a->created_us) == b->created_us &&
           same_blob(a->data, a->data_size, b->data, b->data_size) &&
           same_blob(a->metadata, a->metadata_size, b->metadata, b->metadata_size) &&
           strcmp(a->type, b->type) == 0 && strcmp(a_type, b_type) == 0 &&
           a->tags_count == b->tags_count && same_texts(a->tags, b->tags, a->tags_count);
}

static bool same_stream(const struct stele_append *a, const struct stele_append *b)
{
    if (a->expected != b->expected || a->count != b->count || strcmp(a->stream, b->stream) != 0) {
        return false;
    }
    for (size_t i = 0; i < a->count; i++) {
        if (!same_event(&a->events[i], &b->events[i])) {
            return false;
        }
    }
    return true;
}

static bool same_condition(const struct stele_condition *a, const struct stele_condition *b)
{
    if (a->after != b->after || a->items_count != b->items_count) {
        return false;
    }
    for (size_t i = 0; i < a->items_count; i++) {
        const struct stele_query_item *x = &a->items[i];
        const struct stele_query_item *y = &b->items[i];
        if (x->types_count != y->types_count || x->tags_count != y->tags_count ||
            !same_texts(x->types, y->types, x->types_count) ||
            !same_texts(x->tags, y->tags, x->tags_count)) {
            return false;
        }
    }
    return true;
}

static bool same_command(const struct stele_command *a, const struct stele_command *b)
{
    if (a->kind != b->kind || a->seen != b->seen || a->streams_count != b->streams_count ||
        a->conditions_count != b->conditions_count) {
        return false;
    }
    for (size_t i = 0; i < a->streams_count; i++) {
        if (!same_stream(&a->streams[i], &b->streams[i])) {
            return false;
        }
    }
    for (size_t i = 0; i < a->conditions_count; i++) {
        if (!same_condition(&a->conditions[i], &b->conditions[i])) {
            return false;
        }
    }
    return true;
}

/* ---- Bytes of exactly their size ---- */

static struct stele_bytes exact(struct stele_bytes bytes)
{
    uint8_t *copy = malloc(bytes.size > 0 ? bytes.size : 1);
    CHECK(copy != NULL);
    if (bytes.size > 0) {
        memcpy(copy, bytes.data, bytes.size);
    }
    return (struct stele_bytes){.data = copy, .size = bytes.size};
}

static void release(struct stele_bytes bytes)
{
    free((void *)(uintptr_t)bytes.data);
}

static struct stele_bytes encode(const struct stele_command *command, struct testalloc *alloc,
                                 struct stele_buf *out)
{
    struct stele_error err = {.outcome = 0};
    out->size = 0;
    CHECK_OK(stele_command_encode(command, &alloc->base, out, &err), err);
    return (struct stele_bytes){.data = out->data, .size = out->size};
}

/* Decodes, and what comes out must mean the same when it goes in again. */
static int decode_again(struct stele_bytes bytes, struct testalloc *alloc)
{
    const struct stele_bytes own = exact(bytes);
    struct stele_arena arena = {.block_size = 256};
    struct stele_error err = {.outcome = 0};
    struct stele_command command;
    const int outcome = stele_command_decode(own, &arena, &alloc->base, &command, &err);
    const struct stele_bytes first = stele_command_first_stream(own);
    CHECK(first.size <= own.size);
    if (outcome == STELE_OK) {
        CHECK(command.streams_count == 0
                  ? first.size == 0
                  : first.size == strlen(command.streams[0].stream) &&
                        memcmp(first.data, command.streams[0].stream, first.size) == 0);
        command.now_us = NOW_US;
        command.make_id = make_id;
        struct stele_buf buf = {.data = NULL};
        const struct stele_bytes again = encode(&command, alloc, &buf);
        struct stele_command twice;
        CHECK_OK(stele_command_decode(again, &arena, &alloc->base, &twice, &err), err);
        CHECK(same_command(&command, &twice));
        stele_buf_deinit(&buf, &alloc->base);
    } else {
        CHECK(outcome == STELE_E_INVALID || outcome == STELE_E_FORMAT);
        CHECK_EQ(err.outcome, outcome);
    }
    stele_arena_deinit(&arena, &alloc->base);
    release(own);
    return outcome;
}

TEST(what_is_decoded_is_what_was_encoded)
{
    struct testalloc alloc;
    testalloc_init(&alloc, 1);
    struct rng rng;
    rng_init(&rng, 1, 0);
    struct stele_buf buf = {.data = NULL};
    static struct request request;
    for (int i = 0; i < 3000; i++) {
        generate(&request, &rng);
        const struct stele_bytes bytes = exact(encode(&request.command, &alloc, &buf));
        struct stele_arena arena = {.block_size = 0};
        struct stele_error err = {.outcome = 0};
        struct stele_command decoded;
        CHECK_OK(stele_command_decode(bytes, &arena, &alloc.base, &decoded, &err), err);
        CHECK(same_command(&request.command, &decoded));
        const struct stele_bytes first = stele_command_first_stream(bytes);
        if (request.command.streams_count == 0) {
            CHECK_EQ(first.size, 0);
        } else {
            CHECK_SLICE_EQ(first, request.streams[0].stream);
        }
        stele_arena_deinit(&arena, &alloc.base);
        release(bytes);
    }
    stele_buf_deinit(&buf, &alloc.base);
    CHECK_EQ(alloc.bytes, 0);
}

TEST(what_is_encoded_again_is_the_same_bytes)
{
    struct testalloc alloc;
    testalloc_init(&alloc, 1);
    struct rng rng;
    rng_init(&rng, 2, 0);
    struct stele_buf buf = {.data = NULL};
    struct stele_buf again = {.data = NULL};
    static struct request request;
    for (int i = 0; i < 500; i++) {
        generate(&request, &rng);
        const struct stele_bytes bytes = encode(&request.command, &alloc, &buf);
        struct stele_arena arena = {.block_size = 0};
        struct stele_error err = {.outcome = 0};
        struct stele_command decoded;
        CHECK_OK(stele_command_decode(bytes, &arena, &alloc.base, &decoded, &err), err);
        CHECK(stele_bytes_equal(bytes, encode(&decoded, &alloc, &again)));
        stele_arena_deinit(&arena, &alloc.base);
    }
    stele_buf_deinit(&buf, &alloc.base);
    stele_buf_deinit(&again, &alloc.base);
    CHECK_EQ(alloc.bytes, 0);
}

TEST(every_cut_is_refused_and_so_is_what_goes_on)
{
    struct testalloc alloc;
    testalloc_init(&alloc, 1);
    struct rng rng;
    rng_init(&rng, 3, 0);
    struct stele_buf buf = {.data = NULL};
    static struct request request;
    for (int i = 0; i < 60; i++) {
        generate(&request, &rng);
        const struct stele_bytes bytes = encode(&request.command, &alloc, &buf);
        for (size_t size = 0; size < bytes.size; size++) {
            CHECK_EQ(decode_again(stele_bytes_slice(bytes, 0, size), &alloc), STELE_E_INVALID);
        }
        CHECK_EQ(stele_buf_append(&buf, &alloc.base, stele_bytes_of_text("x")), STELE_OK);
        const struct stele_bytes longer = {.data = buf.data, .size = buf.size};
        CHECK_EQ(decode_again(longer, &alloc), STELE_E_INVALID);
    }
    stele_buf_deinit(&buf, &alloc.base);
    CHECK_EQ(alloc.bytes, 0);
}

TEST(every_changed_byte_is_refused_or_means_something)
{
    struct testalloc alloc;
    testalloc_init(&alloc, 1);
    struct rng rng;
    rng_init(&rng, 4, 0);
    struct stele_buf buf = {.data = NULL};
    static struct request request;
    uint64_t refused = 0;
    for (int i = 0; i < 60; i++) {
        generate(&request, &rng);
        const struct stele_bytes bytes = encode(&request.command, &alloc, &buf);
        for (size_t at = 0; at < bytes.size; at++) {
            const uint8_t changes[] = {1, 0x80, 0xff, (uint8_t)rng_between(&rng, 1, 255)};
            for (size_t k = 0; k < sizeof changes; k++) {
                buf.data[at] ^= changes[k];
                refused += decode_again(bytes, &alloc) != STELE_OK;
                buf.data[at] ^= changes[k];
            }
        }
        CHECK_EQ(decode_again(bytes, &alloc), STELE_OK);
    }
    CHECK(refused > 1000);
    stele_buf_deinit(&buf, &alloc.base);
    CHECK_EQ(alloc.bytes, 0);
}

TEST(a_newer_version_is_told_from_nonsense)
{
    struct testalloc alloc;
    testalloc_init(&alloc, 1);
    uint8_t bytes[16] = {2, STELE_COMMAND_NOTHING};
    const struct stele_bytes command = {.data = bytes, .size = sizeof bytes};
    CHECK_EQ(decode_again(command, &alloc), STELE_E_FORMAT);
    bytes[0] = 0;
    CHECK_EQ(decode_again(command, &alloc), STELE_E_INVALID);
    bytes[0] = 1;
    CHECK_EQ(decode_again(command, &alloc), STELE_OK);
    bytes[1] = STELE_COMMAND_NOTHING + 1;
    CHECK_EQ(decode_again(command, &alloc), STELE_E_INVALID);
}

/* A count that promises more than the bytes can hold must not be believed. */
TEST(counts_are_bounded_by_the_bytes_that_are_there)
{
    struct testalloc alloc;
    testalloc_init(&alloc, 1);
    uint8_t bytes[64] = {1, STELE_COMMAND_APPEND, 0xff, 0xff, 0xff, 0xff};
    const struct stele_bytes command = {.data = bytes, .size = sizeof bytes};
    CHECK_EQ(decode_again(command, &alloc), STELE_E_INVALID);
    /* One stream with 2^32 - 1 events. */
    memset(bytes + 2, 0, sizeof bytes - 2);
    bytes[2] = 1;
    memset(bytes + 16 + 8, 0xff, 4);
    CHECK_EQ(decode_again(command, &alloc), STELE_E_INVALID);
    CHECK(alloc.bytes_max < 4096);
}

TEST(without_memory_nothing_is_encoded_or_decoded)
{
    struct testalloc alloc;
    testalloc_init(&alloc, 1);
    struct rng rng;
    static struct request request;
    struct stele_buf buf = {.data = NULL};
    rng_init(&rng, 6, 0);
    do {
        generate(&request, &rng);
    } while (request.command.streams_count < 3 || request.command.conditions_count < 2);
    const struct stele_bytes bytes = encode(&request.command, &alloc, &buf);
    struct stele_error err = {.outcome = 0};
    int outcome = STELE_E_NO_MEMORY;
    uint64_t tries = 0;
    for (; outcome == STELE_E_NO_MEMORY; tries++) {
        struct stele_arena arena = {.block_size = 64};
        struct stele_command command;
        alloc.fail_at = alloc.calls + 1 + tries;
        outcome = stele_command_decode(bytes, &arena, &alloc.base, &command, &err);
        stele_arena_deinit(&arena, &alloc.base);
    }
    CHECK_EQ(outcome, STELE_OK);
    CHECK(tries > 5);
    struct stele_buf other = {.data = NULL};
    alloc.fail_at = alloc.calls + 1;
    CHECK_OUTCOME(stele_command_encode(&request.command, &alloc.base, &other, &err),
                  STELE_E_NO_MEMORY, err);
    stele_buf_deinit(&buf, &alloc.base);
    CHECK_EQ(alloc.bytes, 0);
}

/* Names and lists have sizes of one and two bytes: what does not fit must not be cut off. */
TEST(what_does_not_fit_into_its_size_is_refused)
{
    struct testalloc alloc;
    testalloc_init(&alloc, 1);
    struct stele_buf buf = {.data = NULL};
    struct stele_error err = {.outcome = 0};
    static char name[65537];
    memset(name, 'a', sizeof name - 1);
    static const char *tags[256];
    for (size_t i = 0; i < STELE_COUNT_OF(tags); i++) {
        tags[i] = "t";
    }
    struct stele_event_draft draft = {.id = {1}, .type = "t", .created_us = 1};
    struct stele_append stream = {.stream = name, .events = &draft, .count = 1};
    const struct stele_command command = {
        .kind = STELE_COMMAND_APPEND, .streams = &stream, .streams_count = 1};
    CHECK_OUTCOME(stele_command_encode(&command, &alloc.base, &buf, &err), STELE_E_LIMIT, err);
    name[65535] = 0;
    CHECK_OK(stele_command_encode(&command, &alloc.base, &buf, &err), err);
    draft.tags = tags;
    draft.tags_count = 256;
    CHECK_OUTCOME(stele_command_encode(&command, &alloc.base, &buf, &err), STELE_E_LIMIT, err);
    draft.tags_count = 255;
    CHECK_OK(stele_command_encode(&command, &alloc.base, &buf, &err), err);
    stele_buf_deinit(&buf, &alloc.base);
    CHECK_EQ(alloc.bytes, 0);
}

TEST(entries_are_what_they_were)
{
    struct rng rng;
    rng_init(&rng, 7, 0);
    uint8_t bytes[STELE_ENTRY_HEADER_SIZE + 32];
    uint8_t body[32];
    for (int i = 0; i < 1000; i++) {
        for (size_t k = 0; k < sizeof body; k++) {
            body[k] = (uint8_t)rng_next(&rng);
        }
        struct stele_entry entry = {
            .kind = (enum stele_entry_kind)rng_between(&rng, STELE_ENTRY_COMMAND, STELE_ENTRY_META),
            .stamp = rng_next(&rng)};
        if (entry.kind != STELE_ENTRY_TICK) {
            entry.origin = rng_next(&rng);
            entry.boot = rng_next(&rng);
            entry.id = rng_next(&rng);
            entry.body =
                (struct stele_bytes){.data = body, .size = rng_below(&rng, sizeof body + 1)};
        }
        const size_t size = stele_entry_size(&entry);
        stele_entry_encode(&entry, bytes);
        const struct stele_bytes whole = exact((struct stele_bytes){.data = bytes, .size = size});
        struct stele_entry got;
        CHECK_EQ(stele_entry_decode(whole, &got), STELE_OK);
        CHECK_EQ(got.kind, entry.kind);
        CHECK_EQ(got.stamp, entry.stamp);
        CHECK_EQ(got.origin, entry.origin);
        CHECK_EQ(got.boot, entry.boot);
        CHECK_EQ(got.id, entry.id);
        CHECK(stele_bytes_equal(got.body, entry.body));
        const size_t least =
            entry.kind == STELE_ENTRY_TICK ? STELE_ENTRY_TICK_SIZE : STELE_ENTRY_HEADER_SIZE;
        for (size_t cut = 0; cut < least; cut++) {
            const struct stele_bytes part = exact(stele_bytes_slice(whole, 0, cut));
            CHECK_EQ(stele_entry_decode(part, &got), STELE_E_INVALID);
            release(part);
        }
        release(whole);
    }
}

TEST(entries_of_another_version_or_kind_are_refused)
{
    uint8_t bytes[STELE_ENTRY_HEADER_SIZE] = {1, STELE_ENTRY_TICK};
    struct stele_entry got;
    struct stele_bytes entry = {.data = bytes, .size = STELE_ENTRY_TICK_SIZE};
    CHECK_EQ(stele_entry_decode(entry, &got), STELE_OK);
    entry.size++;
    CHECK_EQ(stele_entry_decode(entry, &got), STELE_E_INVALID);
    entry.size = sizeof bytes;
    for (unsigned kind = 0; kind < 256; kind++) {
        bytes[1] = (uint8_t)kind;
        const bool known = kind == STELE_ENTRY_COMMAND || kind == STELE_ENTRY_META;
        CHECK_EQ(stele_entry_decode(entry, &got), known ? STELE_OK : STELE_E_INVALID);
    }
    bytes[1] = STELE_ENTRY_COMMAND;
    bytes[0] = 2;
    CHECK_EQ(stele_entry_decode(entry, &got), STELE_E_FORMAT);
    bytes[0] = 0;
    CHECK_EQ(stele_entry_decode(entry, &got), STELE_E_INVALID);
}
