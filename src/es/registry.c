/* What is known of types of events: a sorted table, and a schema where there is one. */
#include "base/status.h"
#include "es/memory.h"
#include "es/schema.h"

#include <stdlib.h>

struct entry {
    struct stele_bytes type;
    const struct stele_event_type *known;
    struct stele_schema *schema; /* NULL: anything goes. */
};

struct stele_registry {
    unsigned flags;
    size_t count;
    struct entry *entries;
};

static int compare(const void *a, const void *b)
{
    const struct entry *left = a;
    const struct entry *right = b;
    return stele_bytes_compare(left->type, right->type);
}

static int make_entry(struct stele_memory *memory, const struct stele_event_type *known,
                      struct entry *entry, struct stele_error *err)
{
    if (known->struct_size < sizeof *known || known->type == NULL || known->type[0] == '\0') {
        return stele_fail(err, STELE_E_INVALID, 0,
                          "an event type needs its struct_size and its type");
    }
    if (known->decode != NULL && known->fact_size == 0) {
        return stele_fail(err, STELE_E_INVALID, 0,
                          "event type %s has a decode, but its facts have no size", known->type);
    }
    *entry = (struct entry){.type = stele_bytes_of_text(known->type), .known = known};
    if (known->schema == NULL) {
        return STELE_OK;
    }
    struct stele_error inner = {0};
    const int outcome = stele_schema_create(memory, known->schema, &entry->schema, &inner);
    if (outcome != STELE_OK) {
        return stele_fail(err, outcome, 0, "the schema of %s: %s", known->type, inner.message);
    }
    return STELE_OK;
}

int stele_registry_create(struct stele_memory *memory, const struct stele_event_type *types,
                          size_t count, unsigned flags, struct stele_registry **out_registry,
                          struct stele_error *err)
{
    if (memory == NULL || (types == NULL && count > 0) || out_registry == NULL) {
        return stele_fail(err, STELE_E_INVALID, 0, "stele_registry_create: an argument is NULL");
    }
    struct stele_registry *registry = stele_memory_allocate(memory, sizeof *registry);
    struct entry *entries = count <= SIZE_MAX / sizeof *entries / 2
                                ? stele_memory_allocate(memory, count * sizeof *entries)
                                : NULL;
    if (registry == NULL || entries == NULL) {
        return stele_fail(err, STELE_E_NO_MEMORY, 0, "no memory for %zu event types", count);
    }
    for (size_t i = 0; i < count; i++) {
        const int outcome = make_entry(memory, &types[i], &entries[i], err);
        if (outcome != STELE_OK) {
            return outcome;
        }
    }
    qsort(entries, count, sizeof *entries, compare);
    for (size_t i = 1; i < count; i++) {
        if (stele_bytes_equal(entries[i - 1].type, entries[i].type)) {
            return stele_fail(err, STELE_E_INVALID, 0, "event type %s is named twice",
                              entries[i].known->type);
        }
    }
    *registry = (struct stele_registry){.flags = flags, .count = count, .entries = entries};
    *out_registry = registry;
    return STELE_OK;
}

static const struct entry *find(const struct stele_registry *registry, struct stele_bytes type)
{
    const struct entry wanted = {.type = type};
    return registry->count > 0
               ? bsearch(&wanted, registry->entries, registry->count, sizeof wanted, compare)
               : NULL;
}

const struct stele_event_type *stele_registry_find(const struct stele_registry *registry,
                                                   struct stele_text type)
{
    if (registry == NULL) {
        return NULL;
    }
    const struct entry *entry =
        find(registry, (struct stele_bytes){.data = (const uint8_t *)type.data, .size = type.size});
    return entry != NULL ? entry->known : NULL;
}

int stele_registry_check(const struct stele_registry *registry, const char *type, const void *data,
                         size_t data_size, struct stele_error *err)
{
    if (registry == NULL || type == NULL) {
        return stele_fail(err, STELE_E_INVALID, 0, "stele_registry_check: an argument is NULL");
    }
    const struct entry *entry = find(registry, stele_bytes_of_text(type));
    if (entry == NULL) {
        return (registry->flags & STELE_REGISTRY_STRICT) == 0
                   ? STELE_OK
                   : stele_fail(err, STELE_E_INVALID, 0,
                                "event type %s is not in the registry, which is strict: add it, or "
                                "correct its name",
                                type);
    }
    if (entry->schema == NULL) {
        return STELE_OK;
    }
    struct stele_error inner = {0};
    const int outcome = stele_schema_check(
        entry->schema, (struct stele_bytes){.data = data, .size = data_size}, &inner);
    return outcome == STELE_OK ? STELE_OK
                               : stele_fail(err, outcome, 0, "event %s: %s", type, inner.message);
}
