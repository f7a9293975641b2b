/* What a state says: sums, values, elements, names. */
#include "es/crdt_internal.h"

/* The records of a place: those whose path is, or begins with, that of the place. */
struct view {
    struct stele_dots dots;
    struct stele_crdt__path path;
    size_t cursor;
};

static bool view_open(struct view *view, const struct stele_crdt *crdt,
                      const struct stele_crdt_place *place, size_t cursor)
{
    view->dots = stele_crdt__dots(crdt);
    view->cursor = cursor;
    if (!stele_crdt__place_fits(stele_dots_type(&view->dots), place)) {
        return false;
    }
    stele_crdt__path_of(place, &view->path);
    return true;
}

/* *out_rest is what follows the place's path. */
static bool view_next(struct view *view, struct stele_dots_record *out_record,
                      struct stele_bytes *out_rest)
{
    const struct stele_bytes path = {.data = view->path.bytes, .size = view->path.size};
    while (stele_dots_next(&view->dots, &view->cursor, out_record)) {
        if (stele_bytes_has_prefix(out_record->path, path)) {
            *out_rest =
                stele_bytes_slice(out_record->path, path.size, out_record->path.size - path.size);
            return true;
        }
    }
    return false;
}

int stele_crdt_counter(const struct stele_crdt *crdt, const struct stele_crdt_place *place,
                       int64_t *out_value)
{
    struct view view;
    if (place->type != STELE_CRDT_COUNTER || !view_open(&view, crdt, place, 0)) {
        return STELE_E_INVALID;
    }
    __extension__ typedef __int128 wide;
    wide sum = 0;
    struct stele_dots_record record;
    struct stele_bytes rest;
    while (view_next(&view, &record, &rest)) {
        const uint64_t added = stele_load_u64le(record.payload.data);
        const uint64_t subtracted = stele_load_u64le(record.payload.data + 8);
        if (added == UINT64_MAX || subtracted == UINT64_MAX) {
            return STELE_E_LIMIT; /* Where sums stop. */
        }
        sum += (wide)added - (wide)subtracted;
    }
    if (sum > INT64_MAX || sum < INT64_MIN) {
        return STELE_E_LIMIT;
    }
    *out_value = (int64_t)sum;
    return STELE_OK;
}

static struct stele_text text_of(struct stele_bytes bytes)
{
    return (struct stele_text){.data = (const char *)bytes.data, .size = bytes.size};
}

/* Is a's write the last one of the two? */
static bool is_later(const struct stele_dots_record *a, const struct stele_dots_record *b)
{
    const uint64_t one = stele_load_u64le(a->payload.data);
    const uint64_t two = stele_load_u64le(b->payload.data);
    if (one != two) {
        return one > two;
    }
    return a->node != b->node ? a->node > b->node : a->time > b->time;
}

static int last_written(struct view *view, struct stele_text *out_value)
{
    struct stele_dots_record best;
    struct stele_dots_record record;
    struct stele_bytes rest;
    if (!view_next(view, &best, &rest)) {
        return STELE_NOT_FOUND;
    }
    while (view_next(view, &record, &rest)) {
        if (is_later(&record, &best)) {
            best = record;
        }
    }
    *out_value = text_of(stele_bytes_slice(best.payload, STELE_CRDT__POSITION_SIZE,
                                           best.payload.size - STELE_CRDT__POSITION_SIZE));
    return STELE_OK;
}

int stele_crdt_register(const struct stele_crdt *crdt, const struct stele_crdt_place *place,
                        size_t index, struct stele_text *out_value)
{
    struct view view;
    if ((place->type != STELE_CRDT_LWW && place->type != STELE_CRDT_MV) ||
        !view_open(&view, crdt, place, 0)) {
        return STELE_E_INVALID;
    }
    if (place->type == STELE_CRDT_LWW) {
        return index == 0 ? last_written(&view, out_value) : STELE_NOT_FOUND;
    }
    struct stele_dots_record record;
    struct stele_bytes rest;
    for (size_t i = 0; view_next(&view, &record, &rest); i++) {
        if (i == index) {
            *out_value = text_of(record.payload);
            return STELE_OK;
        }
    }
    return STELE_NOT_FOUND;
}

int stele_crdt_element(const struct stele_crdt *crdt, const struct stele_crdt_place *place,
                       size_t *cursor, struct stele_text *out_element)
{
    struct view view;
    if (place->type != STELE_CRDT_SET || !view_open(&view, crdt, place, *cursor)) {
        return STELE_E_INVALID;
    }
    struct stele_dots_record record;
    struct stele_bytes rest;
    if (!view_next(&view, &record, &rest)) {
        return STELE_END;
    }
    /* Several may have inserted it: one element, and the cursor goes behind all of its records. */
    *cursor = view.cursor;
    struct stele_dots_record other;
    while (stele_dots_next(&view.dots, &view.cursor, &other) &&
           stele_bytes_equal(other.path, record.path)) {
        *cursor = view.cursor;
    }
    *out_element = text_of(rest);
    return STELE_OK;
}

int stele_crdt_has(const struct stele_crdt *crdt, const struct stele_crdt_place *place,
                   struct stele_text element)
{
    struct view view;
    if (place->type != STELE_CRDT_SET || !view_open(&view, crdt, place, 0)) {
        return 0;
    }
    const struct stele_bytes wanted = {.data = (const uint8_t *)element.data, .size = element.size};
    struct stele_dots_record record;
    struct stele_bytes rest;
    while (view_next(&view, &record, &rest)) {
        if (stele_bytes_equal(rest, wanted)) {
            return 1;
        }
    }
    return 0;
}

int stele_crdt_key(const struct stele_crdt *crdt, const struct stele_crdt_place *place,
                   size_t *cursor, struct stele_text *out_key, int *out_type)
{
    struct view view;
    if (place->type != STELE_CRDT_MAP || !view_open(&view, crdt, place, *cursor)) {
        return STELE_E_INVALID;
    }
    struct stele_dots_record record;
    struct stele_bytes rest;
    if (!view_next(&view, &record, &rest)) {
        return STELE_END;
    }
    const size_t used = stele_crdt__path_key(rest, out_key, out_type);
    STELE_ASSERT(used > 0);
    const struct stele_bytes whole = stele_bytes_slice(record.path, 0, view.path.size + used);
    *cursor = view.cursor;
    struct stele_dots_record other;
    while (stele_dots_next(&view.dots, &view.cursor, &other) &&
           stele_bytes_has_prefix(other.path, whole)) {
        *cursor = view.cursor;
    }
    return STELE_OK;
}
