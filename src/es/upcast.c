/* Chains of upcasters.
 *
 * The table is sorted by (type, version), so what takes an event is one binary search away, and an
 * event that nobody takes costs that search and nothing else. A chain is followed depth first: what
 * an upcaster hands out is upcast to the end before what it handed out next, which keeps the order. */
#include "es/upcast.h"

#include "base/status.h"
#include "es/json.h"

#include <stdlib.h>

#define EMITTED_MAX 65536u

struct entry {
    struct stele_bytes type;
    uint32_t version;
    const struct stele_upcaster *upcaster;
    struct stele_bytes defaults;
};

struct stele_upcasters {
    size_t count;
    struct entry *entries;
};

struct made {
    struct stele_event event;
    uint32_t version;
};

struct stele_upcast {
    struct stele_memory *memory;
    const struct stele_event *from;
    struct made *made;
    size_t count;
    size_t capacity;
};

static struct stele_bytes bytes_of(struct stele_text text)
{
    return (struct stele_bytes){.data = (const uint8_t *)text.data, .size = text.size};
}

static int compare(const void *a, const void *b)
{
    const struct entry *left = a;
    const struct entry *right = b;
    const int order = stele_bytes_compare(left->type, right->type);
    return order != 0 ? order : (left->version > right->version) - (left->version < right->version);
}

/* ---- Making the table --------------------------------------------------------------------- */

static int make_entry(const struct stele_upcaster *upcaster, struct entry *entry,
                      struct stele_error *err)
{
    if (upcaster->struct_size < sizeof *upcaster || upcaster->type == NULL ||
        upcaster->type[0] == '\0') {
        return stele_fail(err, STELE_E_INVALID, 0,
                          "an upcaster needs its struct_size and the type that it takes");
    }
    if ((upcaster->upcast == NULL) == (upcaster->defaults == NULL)) {
        return stele_fail(err, STELE_E_INVALID, 0,
                          "the upcaster of %s needs either a function or defaults", upcaster->type);
    }
    *entry = (struct entry){.type = stele_bytes_of_text(upcaster->type),
                            .version = upcaster->version,
                            .upcaster = upcaster};
    if (upcaster->defaults == NULL) {
        return STELE_OK;
    }
    entry->defaults = stele_bytes_of_text(upcaster->defaults);
    struct stele_json_walk walk = {.json = entry->defaults};
    struct stele_bytes name;
    struct stele_bytes value;
    int outcome;
    do {
        outcome = stele_json_next(&walk, &name, &value);
    } while (outcome == STELE_OK);
    if (outcome != STELE_END) {
        return stele_fail(err, STELE_E_INVALID, 0, "the defaults for %s are no JSON object: %s",
                          upcaster->type, upcaster->defaults);
    }
    return STELE_OK;
}

static int check_entries(const struct entry *entries, size_t count, struct stele_error *err)
{
    for (size_t i = 1; i < count; i++) {
        const struct entry *one = &entries[i - 1];
        const struct entry *other = &entries[i];
        if (!stele_bytes_equal(one->type, other->type)) {
            continue;
        }
        if (one->version == other->version) {
            return stele_fail(err, STELE_E_INVALID, 0,
                              "two upcasters take version %u of %s: leave one of them out",
                              other->version, other->upcaster->type);
        }
        if (one->version == 0) {
            return stele_fail(err, STELE_E_INVALID, 0,
                              "one upcaster takes every %s and another one version %u of it: "
                              "give both a version",
                              other->upcaster->type, other->version);
        }
    }
    return STELE_OK;
}

int stele_upcasters_create(struct stele_memory *memory, const struct stele_upcaster *upcasters,
                           size_t count, struct stele_upcasters **out_upcasters,
                           struct stele_error *err)
{
    if (memory == NULL || (upcasters == NULL && count > 0) || out_upcasters == NULL) {
        return stele_fail(err, STELE_E_INVALID, 0, "stele_upcasters_create: an argument is NULL");
    }
    struct stele_upcasters *all = stele_memory_allocate(memory, sizeof *all);
    struct entry *entries = count <= SIZE_MAX / sizeof *entries / 2
                                ? stele_memory_allocate(memory, count * sizeof *entries)
                                : NULL;
    if (all == NULL || entries == NULL) {
        return stele_fail(err, STELE_E_NO_MEMORY, 0, "no memory for %zu upcasters", count);
    }
    for (size_t i = 0; i < count; i++) {
        const int outcome = make_entry(&upcasters[i], &entries[i], err);
        if (outcome != STELE_OK) {
            return outcome;
        }
    }
    qsort(entries, count, sizeof *entries, compare);
    const int outcome = check_entries(entries, count, err);
    if (outcome != STELE_OK) {
        return outcome;
    }
    *all = (struct stele_upcasters){.count = count, .entries = entries};
    *out_upcasters = all;
    return STELE_OK;
}

/* ---- Upcasting ---------------------------------------------------------------------------- */

uint32_t stele_upcast_version(const struct stele_event *event)
{
    int64_t version;
    const int outcome =
        stele_json_integer(event->metadata, event->metadata_size, "version", &version);
    return outcome == STELE_OK && version > 0 && version <= UINT32_MAX ? (uint32_t)version : 1;
}

/* *version: what is known of it, 0 for nothing; filled in where it is looked at. */
static const struct entry *find(const struct stele_upcasters *all, const struct stele_event *event,
                                uint32_t *version)
{
    const struct stele_bytes type = bytes_of(event->type);
    size_t low = 0;
    size_t high = all->count;
    while (low < high) {
        const size_t middle = low + (high - low) / 2;
        if (stele_bytes_compare(all->entries[middle].type, type) < 0) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    for (; low < all->count && stele_bytes_equal(all->entries[low].type, type); low++) {
        const struct entry *entry = &all->entries[low];
        if (entry->version == 0) {
            return entry;
        }
        if (*version == 0) {
            *version = stele_upcast_version(event);
        }
        if (entry->version == *version) {
            return entry;
        }
    }
    return NULL;
}

struct stele_memory *stele_upcast_memory(struct stele_upcast *upcast)
{
    if (upcast == NULL) {
        return NULL;
    }
    return upcast->memory;
}

int stele_upcast_emit(struct stele_upcast *upcast, const struct stele_event *event,
                      uint32_t version)
{
    if (upcast == NULL || event == NULL) {
        return STELE_E_INVALID;
    }
    if (upcast->count >= EMITTED_MAX) {
        return STELE_E_LIMIT;
    }
    struct made *made = stele_memory_grow(upcast->memory, upcast->made, &upcast->capacity,
                                          upcast->count + 1, sizeof *made);
    if (made == NULL) {
        return STELE_E_NO_MEMORY;
    }
    upcast->made = made;
    made += upcast->count++;
    made->event = *event;
    made->version = version;
    made->event.position = upcast->from->position;
    made->event.revision = upcast->from->revision;
    memcpy(made->event.id, upcast->from->id, sizeof made->event.id);
    return STELE_OK;
}

struct way {
    const struct stele_upcasters *all;
    struct stele_memory *memory;
    stele_upcast_callback on_event;
    void *context;
    struct stele_error *err;
};

static int fail_at(const struct way *way, int outcome, const struct stele_event *event,
                   const char *what)
{
    return stele_fail(way->err, outcome, 0, "the upcaster of %.*s at revision %llu of %.*s: %s",
                      (int)event->type.size, event->type.data, (unsigned long long)event->revision,
                      (int)event->stream.size, event->stream.data, what);
}

static int add_defaults(const struct way *way, const struct entry *entry,
                        const struct stele_event *event, struct stele_event *out)
{
    const struct stele_bytes data = {.data = event->data, .size = event->data_size};
    struct stele_output output;
    stele_output_init(&output, stele_memory_source(way->memory));
    int outcome = stele_json_add_missing(data, entry->defaults, &output);
    *out = *event;
    if (outcome == STELE_OK) {
        out->data = stele_memory_copy(way->memory, output.buf.data, output.buf.size);
        out->data_size = output.buf.size;
        outcome = out->data != NULL ? STELE_OK : STELE_E_NO_MEMORY;
    }
    stele_output_deinit(&output);
    if (outcome == STELE_E_INVALID) {
        return fail_at(way, outcome, event,
                       "the data are no JSON object that defaults could be "
                       "added to");
    }
    return outcome == STELE_OK ? STELE_OK : fail_at(way, outcome, event, "no memory");
}

/* The step has to lead somewhere else, or a chain would not end. */
static bool moves_on(const struct entry *entry, const struct made *made)
{
    if (!stele_bytes_equal(bytes_of(made->event.type), entry->type)) {
        return true;
    }
    return entry->version > 0 && made->version > entry->version;
}

static int step(const struct way *way, const struct stele_event *event, uint32_t version,
                unsigned depth)
{
    const struct entry *entry = find(way->all, event, &version);
    if (entry == NULL) {
        return way->on_event(way->context, event, version);
    }
    if (depth >= STELE_UPCAST_CHAIN_MAX) {
        return fail_at(way, STELE_E_LIMIT, event, "the chain is too long, or goes in a circle");
    }
    if (entry->upcaster->defaults != NULL) {
        struct stele_event filled;
        const int outcome = add_defaults(way, entry, event, &filled);
        if (outcome != STELE_OK) {
            return outcome;
        }
        return entry->version == 0 ? way->on_event(way->context, &filled, version)
                                   : step(way, &filled, entry->version + 1, depth + 1);
    }
    struct stele_upcast upcast = {.memory = way->memory, .from = event};
    int outcome = entry->upcaster->upcast(entry->upcaster->context, event, &upcast);
    if (outcome != STELE_OK) {
        return fail_at(way, outcome, event, "it could not read this event");
    }
    for (size_t i = 0; i < upcast.count && outcome == STELE_OK; i++) {
        if (!moves_on(entry, &upcast.made[i])) {
            return fail_at(way, STELE_E_INVALID, event,
                           "it handed out the same type without a higher version");
        }
        outcome = step(way, &upcast.made[i].event, upcast.made[i].version, depth + 1);
    }
    return outcome;
}

int stele_upcasters_apply(const struct stele_upcasters *upcasters, const struct stele_event *event,
                          struct stele_memory *memory, stele_upcast_callback on_event,
                          void *context, struct stele_error *err)
{
    if (upcasters == NULL || event == NULL || memory == NULL || on_event == NULL) {
        return stele_fail(err, STELE_E_INVALID, 0, "stele_upcasters_apply: an argument is NULL");
    }
    const struct way way = {
        .all = upcasters, .memory = memory, .on_event = on_event, .context = context, .err = err};
    return step(&way, event, 0, 0);
}
