/* Operations as bytes, for events. */
#include "es/crdt_internal.h"

static bool has_value(int action)
{
    return action == STELE_CRDT_ASSIGN || action == STELE_CRDT_INSERT || action == STELE_CRDT_ERASE;
}

size_t stele_crdt_ops_size(const struct stele_crdt_op *ops, size_t count)
{
    size_t size = 2;
    for (size_t i = 0; i < count; i++) {
        size += 3;
        for (size_t j = 0; j < ops[i].place.keys_count; j++) {
            size += 2 + ops[i].place.keys[j].size;
        }
        size += ops[i].action == STELE_CRDT_ADD ? 8 : 0;
        size += has_value(ops[i].action) ? 4 + ops[i].value.size : 0;
    }
    return size;
}

static uint8_t *put_text(uint8_t *to, struct stele_text text)
{
    if (text.size > 0) {
        memcpy(to, text.data, text.size);
    }
    return to + text.size;
}

static uint8_t *put_op(uint8_t *to, const struct stele_crdt_op *op)
{
    *to++ = (uint8_t)op->action;
    *to++ = (uint8_t)op->place.type;
    *to++ = (uint8_t)op->place.keys_count;
    for (size_t i = 0; i < op->place.keys_count; i++) {
        stele_store_u16le(to, (uint16_t)op->place.keys[i].size);
        to = put_text(to + 2, op->place.keys[i]);
    }
    if (op->action == STELE_CRDT_ADD) {
        stele_store_u64le(to, (uint64_t)op->amount);
        to += 8;
    }
    if (has_value(op->action)) {
        stele_store_u32le(to, (uint32_t)op->value.size);
        to = put_text(to + 4, op->value);
    }
    return to;
}

int stele_crdt_ops_encode(const struct stele_crdt_op *ops, size_t count, void *to, size_t capacity,
                          struct stele_error *err)
{
    if (count == 0 || count > STELE_CRDT_OPS_MAX) {
        return stele_fail(err, count == 0 ? STELE_E_INVALID : STELE_E_LIMIT, 0,
                          "operations: there are %zu, and 1 to %u are allowed", count,
                          STELE_CRDT_OPS_MAX);
    }
    for (size_t i = 0; i < count; i++) {
        const int outcome = stele_crdt__check_op(0, &ops[i], i, err);
        if (outcome != STELE_OK) {
            return outcome;
        }
    }
    const size_t size = stele_crdt_ops_size(ops, count);
    if (size > capacity) {
        return stele_fail(err, STELE_E_LIMIT, 0,
                          "operations: they take %zu bytes, and there is room for %zu", size,
                          capacity);
    }
    uint8_t *at = (uint8_t *)to;
    *at++ = STELE_CRDT_VERSION;
    *at++ = (uint8_t)count;
    for (size_t i = 0; i < count; i++) {
        at = put_op(at, &ops[i]);
    }
    STELE_ASSERT((size_t)(at - (uint8_t *)to) == size);
    return STELE_OK;
}

/* ---- Back ---- */

struct reader {
    const uint8_t *at;
    size_t left;
};

/* The next size bytes, or NULL if there are fewer. */
static const uint8_t *take(struct reader *reader, size_t size)
{
    if (reader->left < size) {
        return NULL;
    }
    const uint8_t *const taken = reader->at;
    reader->at += size;
    reader->left -= size;
    return taken;
}

static bool take_text(struct reader *reader, size_t size_size, struct stele_text *out)
{
    const uint8_t *const at = take(reader, size_size);
    if (at == NULL) {
        return false;
    }
    const size_t size = size_size == 2 ? stele_load_u16le(at) : stele_load_u32le(at);
    const uint8_t *const bytes = take(reader, size);
    *out = (struct stele_text){.data = (const char *)bytes, .size = size};
    return bytes != NULL;
}

static bool take_op(struct reader *reader, struct stele_crdt_op *op, struct stele_text *keys)
{
    const uint8_t *const head = take(reader, 3);
    if (head == NULL || head[2] > STELE_CRDT_KEYS_MAX) {
        return false;
    }
    *op = (struct stele_crdt_op){
        .action = head[0],
        .place = {.type = head[1], .keys = keys, .keys_count = head[2]},
    };
    for (size_t i = 0; i < op->place.keys_count; i++) {
        if (!take_text(reader, 2, &keys[i])) {
            return false;
        }
    }
    if (op->action == STELE_CRDT_ADD) {
        const uint8_t *const amount = take(reader, 8);
        if (amount == NULL) {
            return false;
        }
        op->amount = (int64_t)stele_load_u64le(amount);
    }
    return !has_value(op->action) || take_text(reader, 4, &op->value);
}

int stele_crdt_ops_decode(const void *bytes, size_t size, struct stele_crdt_ops *out,
                          struct stele_error *err)
{
    struct reader reader = {.at = (const uint8_t *)bytes, .left = size};
    const uint8_t *const head = take(&reader, 2);
    if (head == NULL) {
        return stele_fail(err, STELE_E_CORRUPT, 0, "operations: %zu bytes are too few", size);
    }
    if (head[0] != STELE_CRDT_VERSION) {
        return stele_fail(err, STELE_E_FORMAT, 0,
                          "operations: byte 0 says version %u, and only %d is known; if a newer "
                          "library wrote them, read them with that",
                          head[0], STELE_CRDT_VERSION);
    }
    if (head[1] == 0 || head[1] > STELE_CRDT_OPS_MAX) {
        return stele_fail(err, STELE_E_CORRUPT, 0,
                          "operations: byte 1 says %u, and 1 to %u are allowed", head[1],
                          STELE_CRDT_OPS_MAX);
    }
    out->count = head[1];
    for (size_t i = 0; i < out->count; i++) {
        if (!take_op(&reader, &out->ops[i], &out->keys[i * STELE_CRDT_KEYS_MAX])) {
            return stele_fail(err, STELE_E_CORRUPT, 0,
                              "operations: number %zu is cut off, or has too many names", i);
        }
        struct stele_error why = {.outcome = STELE_OK};
        if (stele_crdt__check_op(0, &out->ops[i], i, &why) != STELE_OK) {
            return stele_fail(err, STELE_E_CORRUPT, 0, "operations: %s", why.message);
        }
    }
    if (reader.left != 0) {
        return stele_fail(err, STELE_E_CORRUPT, 0, "operations: %zu bytes follow the last one",
                          reader.left);
    }
    return STELE_OK;
}
