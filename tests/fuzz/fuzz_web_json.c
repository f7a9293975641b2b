/* JSON of requests: what jansson takes is JSON to us, too, and then every piece of it lies inside the
 * bytes, is JSON itself, and is found by its name. */
#include "api/http/web_internal.h"

#include <jansson.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_piece(struct stele_bytes whole, struct stele_bytes piece)
{
    STELE_ASSERT(piece.data >= whole.data);
    STELE_ASSERT(piece.data + piece.size <= whole.data + whole.size);
    STELE_ASSERT(stele_web__is_json(piece.data, piece.size));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    /* Below that depth cannot differ: jansson goes deeper than we do. And it takes a zero for an end. */
    if (size > 1024 || memchr(data, 0, size) != NULL) {
        return 0;
    }
    const struct stele_bytes whole = {.data = data, .size = size};
    json_t *value = json_loadb(
        (const char *)data, size,
        JSON_DECODE_ANY | JSON_DECODE_INT_AS_REAL | JSON_ALLOW_NUL | JSON_REJECT_DUPLICATES, NULL);
    const bool is = stele_web__is_json(data, size);
    STELE_ASSERT(value == NULL || is);
    if (value != NULL && !json_is_array(value)) {
        struct stele_bytes rest = whole;
        const struct stele_bytes alone = stele_web__json_item(&rest);
        check_piece(whole, alone);
        const char *const names[] = {"data", "metadata"};
        for (size_t i = 0; i < STELE_COUNT_OF(names) && json_is_object(value); i++) {
            const struct stele_bytes member = stele_web__json_member(alone, names[i]);
            STELE_ASSERT((member.data != NULL) == (json_object_get(value, names[i]) != NULL));
            if (member.data != NULL) {
                check_piece(alone, member);
            }
        }
    }
    struct stele_bytes rest = whole;
    for (size_t i = 0; json_is_array(value) && i < json_array_size(value); i++) {
        const struct stele_bytes item = stele_web__json_item(&rest);
        check_piece(whole, item);
        STELE_ASSERT((item.data[0] == '{') == json_is_object(json_array_get(value, i)));
    }
    json_decref(value);
    return 0;
}
