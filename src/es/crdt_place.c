/* Where in a state something stands, as a path of bytes; and which operations may go there. */
#include "es/crdt_internal.h"

#define KEY_OVERHEAD 3 /* Size before, type behind. */

static const char *type_name(int type)
{
    static const char *const names[] = {"nothing", "counter", "lww", "mv", "set", "map"};
    return type >= 0 && type <= STELE_CRDT_MAP ? names[type] : "unknown type";
}

static size_t put_key(uint8_t *to, struct stele_text key, int type)
{
    STELE_ASSERT(key.size <= STELE_CRDT_KEY_SIZE_MAX);
    to[0] = (uint8_t)(key.size >> 8);
    to[1] = (uint8_t)key.size;
    if (key.size > 0) {
        memcpy(to + 2, key.data, key.size);
    }
    if (type == 0) {
        return 2 + key.size;
    }
    to[2 + key.size] = (uint8_t)type;
    return KEY_OVERHEAD + key.size;
}

void stele_crdt__path_of(const struct stele_crdt_place *place, struct stele_crdt__path *out_path)
{
    STELE_ASSERT(place->keys_count <= STELE_CRDT_KEYS_MAX);
    out_path->size = 0;
    for (size_t i = 0; i < place->keys_count; i++) {
        const int type = i + 1 < place->keys_count ? STELE_CRDT_MAP : place->type;
        out_path->size += put_key(out_path->bytes + out_path->size, place->keys[i], type);
    }
    STELE_ASSERT(out_path->size <= sizeof out_path->bytes);
}

size_t stele_crdt__path_key(struct stele_bytes path, struct stele_text *out_key, int *out_type)
{
    if (path.size < KEY_OVERHEAD) {
        return 0;
    }
    const size_t size = (size_t)path.data[0] << 8 | path.data[1];
    if (size > STELE_CRDT_KEY_SIZE_MAX || path.size < KEY_OVERHEAD + size ||
        !stele_crdt__is_type(path.data[2 + size])) {
        return 0;
    }
    *out_key = (struct stele_text){.data = (const char *)path.data + 2, .size = size};
    *out_type = path.data[2 + size];
    return KEY_OVERHEAD + size;
}

bool stele_crdt__place_fits(int root_type, const struct stele_crdt_place *place)
{
    if (place->keys_count == 0) {
        return place->type == root_type;
    }
    if (root_type != STELE_CRDT_MAP || place->keys_count > STELE_CRDT_KEYS_MAX) {
        return false;
    }
    for (size_t i = 0; i < place->keys_count; i++) {
        if (place->keys[i].size > STELE_CRDT_KEY_SIZE_MAX) {
            return false;
        }
    }
    return stele_crdt__is_type(place->type);
}

/* ---- Operations ---- */

static bool action_fits(int action, int type)
{
    switch (action) {
    case STELE_CRDT_ADD:
        return type == STELE_CRDT_COUNTER;
    case STELE_CRDT_ASSIGN:
        return type == STELE_CRDT_LWW || type == STELE_CRDT_MV;
    case STELE_CRDT_INSERT:
    case STELE_CRDT_ERASE:
        return type == STELE_CRDT_SET;
    case STELE_CRDT_CLEAR:
        return true;
    default:
        return false;
    }
}

static int check_sizes(const struct stele_crdt_op *op, size_t index, struct stele_error *err)
{
    if (op->place.keys_count > STELE_CRDT_KEYS_MAX) {
        return stele_fail(err, STELE_E_LIMIT, 0, "operation %zu: %zu names; at most %u are allowed",
                          index, op->place.keys_count, STELE_CRDT_KEYS_MAX);
    }
    for (size_t i = 0; i < op->place.keys_count; i++) {
        if (op->place.keys[i].size > STELE_CRDT_KEY_SIZE_MAX) {
            return stele_fail(err, STELE_E_LIMIT, 0,
                              "operation %zu: a name of %zu bytes; at most %u are allowed", index,
                              op->place.keys[i].size, STELE_CRDT_KEY_SIZE_MAX);
        }
    }
    const bool is_element = op->action == STELE_CRDT_INSERT || op->action == STELE_CRDT_ERASE;
    const size_t most = is_element ? STELE_CRDT_ELEMENT_SIZE_MAX : STELE_CRDT_VALUE_SIZE_MAX;
    if ((is_element || op->action == STELE_CRDT_ASSIGN) && op->value.size > most) {
        return stele_fail(err, STELE_E_LIMIT, 0,
                          "operation %zu: a value of %zu bytes; at most %zu are allowed", index,
                          op->value.size, most);
    }
    return STELE_OK;
}

int stele_crdt__check_op(int root_type, const struct stele_crdt_op *op, size_t index,
                         struct stele_error *err)
{
    const int type = op->place.type;
    /* Nothing of a type is a place as well: everything under a name. */
    const bool is_any = type == 0 && op->action == STELE_CRDT_CLEAR && op->place.keys_count > 0;
    if (!is_any && !stele_crdt__is_type(type)) {
        return stele_fail(err, STELE_E_INVALID, 0, "operation %zu: there is no type %d", index,
                          type);
    }
    if (!action_fits(op->action, type)) {
        return stele_fail(err, STELE_E_INVALID, 0, "operation %zu: action %d is not one of a %s",
                          index, op->action, type_name(type));
    }
    if (op->action == STELE_CRDT_CLEAR && type == STELE_CRDT_COUNTER && op->place.keys_count == 0) {
        return stele_fail(err, STELE_E_INVALID, 0,
                          "operation %zu: a counter that stands alone is not cleared; subtract its "
                          "value, or keep it in a map",
                          index);
    }
    if (root_type != 0 && op->place.keys_count == 0 && type != root_type) {
        return stele_fail(err, STELE_E_INVALID, 0,
                          "operation %zu: it is for a %s, and the state is a %s", index,
                          type_name(type), type_name(root_type));
    }
    if (root_type != 0 && op->place.keys_count > 0 && root_type != STELE_CRDT_MAP) {
        return stele_fail(err, STELE_E_INVALID, 0,
                          "operation %zu: it names a place in a map, and the state is a %s", index,
                          type_name(root_type));
    }
    return check_sizes(op, index, err);
}

/* ---- Records ---- */

/* Sets *out_type to the type that the path leads to, and *out_path to what is left of it. */
static int follow(uint8_t root_type, struct stele_bytes *path, int *out_type,
                  struct stele_error *err)
{
    *out_type = root_type;
    for (size_t keys = 0; *out_type == STELE_CRDT_MAP; keys++) {
        struct stele_text key;
        const size_t size = stele_crdt__path_key(*path, &key, out_type);
        if (size == 0 || keys == STELE_CRDT_KEYS_MAX) {
            return stele_fail(err, STELE_E_CORRUPT, 0, "its path is none");
        }
        *path = stele_bytes_slice(*path, size, path->size - size);
    }
    return STELE_OK;
}

int stele_crdt__check_record(uint8_t type, const struct stele_dots_record *record,
                             struct stele_error *err)
{
    if (!stele_crdt__is_type(type)) {
        return stele_fail(err, STELE_E_CORRUPT, 0, "there is no type %u", type);
    }
    struct stele_bytes path = record->path;
    int leaf = 0;
    const int outcome = follow(type, &path, &leaf, err);
    if (outcome != STELE_OK) {
        return outcome;
    }
    const size_t size = record->payload.size;
    const bool payload_fits =
        leaf == STELE_CRDT_COUNTER ? size == STELE_CRDT__COUNTER_SIZE
        : leaf == STELE_CRDT_LWW   ? size >= STELE_CRDT__POSITION_SIZE &&
                                       size - STELE_CRDT__POSITION_SIZE <= STELE_CRDT_VALUE_SIZE_MAX
        : leaf == STELE_CRDT_MV ? size <= STELE_CRDT_VALUE_SIZE_MAX
                                : size == 0;
    const size_t path_max = leaf == STELE_CRDT_SET ? STELE_CRDT_ELEMENT_SIZE_MAX : 0;
    if (!payload_fits || path.size > path_max) {
        return stele_fail(err, STELE_E_CORRUPT, 0, "it is not shaped as one of a %s is",
                          type_name(leaf));
    }
    return STELE_OK;
}
