/* Open addressing, at most half full. Nothing is ever taken out of it. */
#include "runner/text_set.h"

#include "base/checksum.h"
#include "base/status.h"

#include <string.h>

static struct stele_bytes bytes_of(struct stele_text text)
{
    return (struct stele_bytes){.data = (const uint8_t *)text.data, .size = text.size};
}

/* Where the text is, or where it would go. */
static size_t find(const struct stele_text *slots, size_t capacity, struct stele_text text)
{
    size_t at = stele_murmur3(bytes_of(text)) & (capacity - 1);
    while (slots[at].data != NULL && !stele_bytes_equal(bytes_of(slots[at]), bytes_of(text))) {
        at = (at + 1) & (capacity - 1);
    }
    return at;
}

bool stele_text_set_has(const struct stele_text_set *set, struct stele_text text)
{
    return set->count > 0 && set->slots[find(set->slots, set->capacity, text)].data != NULL;
}

static int grow(struct stele_text_set *set, struct stele_alloc *alloc)
{
    const size_t capacity = set->capacity == 0 ? 16 : set->capacity * 2;
    struct stele_text *const slots = stele_allocate_zeroed(alloc, capacity * sizeof *slots);
    if (slots == NULL) {
        return STELE_E_NO_MEMORY;
    }
    for (size_t i = 0; i < set->capacity; i++) {
        if (set->slots[i].data != NULL) {
            slots[find(slots, capacity, set->slots[i])] = set->slots[i];
        }
    }
    stele_release(alloc, set->slots, set->capacity * sizeof *slots);
    set->slots = slots;
    set->capacity = capacity;
    return STELE_OK;
}

int stele_text_set_add(struct stele_text_set *set, struct stele_alloc *alloc,
                       struct stele_text text)
{
    if (set->count * 2 >= set->capacity) {
        const int outcome = grow(set, alloc);
        if (outcome != STELE_OK) {
            return outcome;
        }
    }
    struct stele_text *const slot = &set->slots[find(set->slots, set->capacity, text)];
    if (slot->data != NULL) {
        return STELE_OK;
    }
    char *const copy = stele_arena_allocate(&set->arena, alloc, text.size + 1);
    if (copy == NULL) {
        return STELE_E_NO_MEMORY;
    }
    memcpy(copy, text.data, text.size);
    *slot = (struct stele_text){.data = copy, .size = text.size};
    set->count++;
    return STELE_OK;
}

void stele_text_set_deinit(struct stele_text_set *set, struct stele_alloc *alloc)
{
    stele_release(alloc, set->slots, set->capacity * sizeof *set->slots);
    stele_arena_deinit(&set->arena, alloc);
    memset(set, 0, sizeof *set);
}
