#include "api/kurrent/cold.h"

static uint8_t *reserve(struct stele_kurrent__out *out, size_t size)
{
    if (out->failed || stele_buf_reserve(&out->buf, out->alloc, size) != STELE_OK) {
        out->failed = true;
        return NULL;
    }
    return out->buf.data + out->buf.size;
}

static void written(struct stele_kurrent__out *out, const uint8_t *end)
{
    out->buf.size = (size_t)(end - out->buf.data);
}

void stele_kurrent__out_number_always(struct stele_kurrent__out *out, uint32_t field,
                                      uint64_t value)
{
    uint8_t *to = reserve(out, 20);
    if (to != NULL) {
        written(out, stele_pb_put_u64(to, field, value));
    }
}

void stele_kurrent__out_number(struct stele_kurrent__out *out, uint32_t field, uint64_t value)
{
    if (value != 0) {
        stele_kurrent__out_number_always(out, field, value);
    }
}

void stele_kurrent__out_bytes(struct stele_kurrent__out *out, uint32_t field, const void *data,
                              size_t size)
{
    uint8_t *to = reserve(out, size + 20);
    if (to != NULL) {
        written(out, stele_pb_put_bytes(to, field, size == 0 ? "" : data, size));
    }
}

void stele_kurrent__out_text(struct stele_kurrent__out *out, uint32_t field, const char *text)
{
    if (text != NULL && text[0] != '\0') {
        stele_kurrent__out_bytes(out, field, text, strlen(text));
    }
}

void stele_kurrent__out_float(struct stele_kurrent__out *out, uint32_t field, float value)
{
    uint32_t bits = 0;
    memcpy(&bits, &value, sizeof bits);
    uint8_t *to = bits == 0 ? NULL : reserve(out, 20);
    if (to != NULL) {
        to = stele_pb_put_tag(to, field, STELE_PB_FIXED32);
        stele_store_u32le(to, bits);
        written(out, to + 4);
    }
}

/* The length stands in four bytes, padded: any reader takes that (and none of these is hot). */
#define LENGTH_SIZE 4

size_t stele_kurrent__out_begin(struct stele_kurrent__out *out, uint32_t field)
{
    uint8_t *to = reserve(out, 20);
    if (to == NULL) {
        return 0;
    }
    to = stele_pb_put_tag(to, field, STELE_PB_BYTES) + LENGTH_SIZE;
    written(out, to);
    return out->buf.size;
}

void stele_kurrent__out_end(struct stele_kurrent__out *out, size_t mark)
{
    if (out->failed) {
        return;
    }
    STELE_ASSERT(mark >= LENGTH_SIZE && mark <= out->buf.size);
    size_t size = out->buf.size - mark;
    if (size >= (size_t)1 << (7 * LENGTH_SIZE)) {
        out->failed = true;
        return;
    }
    uint8_t *to = out->buf.data + mark - LENGTH_SIZE;
    for (int i = 0; i < LENGTH_SIZE; i++) {
        to[i] = (uint8_t)((size & 0x7f) | (i < LENGTH_SIZE - 1 ? 0x80 : 0));
        size >>= 7;
    }
}

bool stele_kurrent__out_send(struct stele_kurrent__out *out, struct stele_call *call)
{
    const bool whole = !out->failed;
    if (whole) {
        stele_call_send(call, (struct stele_bytes){.data = out->buf.data, .size = out->buf.size});
    } else {
        stele_kurrent__fail_outcome(call, STELE_E_NO_MEMORY, "");
    }
    out->buf.size = 0;
    return whole;
}

void stele_kurrent__out_deinit(struct stele_kurrent__out *out)
{
    stele_buf_deinit(&out->buf, out->alloc);
}

void stele_kurrent__answer_empty(struct stele_call *call)
{
    stele_call_send(call, (struct stele_bytes){.data = (const uint8_t *)"", .size = 0});
    stele_call_finish(call, STELE_GRPC_OK, "");
}

char *stele_kurrent__copy_text(struct stele_arena *arena, struct stele_alloc *alloc,
                               struct stele_text text)
{
    char *copy = stele_arena_allocate(arena, alloc, text.size + 1);
    if (copy != NULL) {
        memcpy(copy, text.data, text.size);
        copy[text.size] = '\0';
    }
    return copy;
}
