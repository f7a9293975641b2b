#include "index/merge.h"

#include "index/index_internal.h"
#include "index/run_write.h"

/* ---- What to merge ---- */

/* Above this many runs a lookup costs more than a merge of unlike sizes. */
#define RUNS_MAX 32

struct choice {
    uint64_t size;
    uint32_t first;
    uint32_t count;
};

static bool can_join(const struct stele_index_view *view, uint32_t first, uint32_t i)
{
    return !view->runs[i]->busy &&
           (i == first || view->runs[i - 1]->header.to == view->runs[i]->header.from);
}

/* Looks at the sets that begin with one run. A set is good if its largest member is at most a
 * third of it: then every byte lands in a run three times as large each time it is written, and
 * is written as often as the logarithm of the total tells. */
static void look_from(const struct stele_index_view *view, uint32_t first, bool any_sizes,
                      struct choice *best)
{
    uint64_t total = 0;
    uint64_t largest = 0;
    uint64_t events = 0;
    for (uint32_t i = first; i < view->count && i - first < STELE_INDEX__FAN_IN_MAX; i++) {
        if (!can_join(view, first, i)) {
            return;
        }
        const struct stele_index__run *run = view->runs[i];
        const uint64_t size = run->layout.file_size;
        total += size;
        largest = size > largest ? size : largest;
        events += run->header.ids + run->header.keys;
        const uint32_t count = i - first + 1;
        const bool good = count >= STELE_INDEX__FAN_IN_MIN && events < STELE_INDEX__EVENTS_MAX &&
                          (any_sizes || largest <= total / 3);
        /* The cheapest; of the same cost per run, the longer. */
        if (good && (best->count == 0 || total / count < best->size / best->count)) {
            *best = (struct choice){.size = total, .first = first, .count = count};
        }
    }
}

uint32_t stele_index__merge_pick(const struct stele_index_view *view, uint32_t *out_first)
{
    struct choice best = {.count = 0};
    for (uint32_t first = 0; first < view->count; first++) {
        look_from(view, first, false, &best);
    }
    for (uint32_t first = 0; best.count == 0 && view->count > RUNS_MAX && first < view->count;
         first++) {
        look_from(view, first, true, &best);
    }
    *out_first = best.first;
    return best.count;
}

/* ---- Merging ---- */

/* One of the runs, with a place in its keys, in its ids, or in its order of names. */
struct input {
    struct stele_index__run *run;
    uint64_t at;
    uint64_t count;
    struct stele_index__key key;
    struct stele_bytes name;
    uint64_t hash; /* Of the id at `at`. */
    uint64_t place;
    uint32_t *numbers; /* Number of each of its keys in the merged run. */
};

struct merge {
    struct stele_alloc *alloc;
    const struct stele_index__target *target;
    struct input inputs[STELE_INDEX__FAN_IN_MAX];
    uint32_t count;
    struct stele_index__run *damaged;
    struct stele_error *err;
};

/* The members of a name's group: which inputs have it, and what it is in the merged run. */
struct group {
    uint32_t members; /* Bit i: input i. */
    uint32_t lowest;  /* One of them. */
    struct stele_index__key key;
};

static int damage(struct merge *merge, struct stele_index__run *run, const char *what)
{
    merge->damaged = run;
    return stele_fail(merge->err, STELE_E_CORRUPT, 0, "index run %s: %s; it is built again",
                      run->name, what);
}

/* Pages may have rotted since they were first verified. They are all read now anyway, and what is
 * copied from them gets a fresh checksum. */
static int verify_inputs(struct merge *merge)
{
    for (uint32_t i = 0; i < merge->count; i++) {
        struct stele_index__run *run = merge->inputs[i].run;
        const uint64_t pages = stele_index__run_pages(run);
        for (uint64_t page = 1; page < pages; page++) {
            if (!stele_index__run_page_recheck(run, page)) {
                return damage(merge, run, "a page is damaged");
            }
        }
    }
    return STELE_OK;
}

static void rewind_inputs(struct merge *merge, bool ids)
{
    for (uint32_t i = 0; i < merge->count; i++) {
        struct input *input = &merge->inputs[i];
        input->at = 0;
        input->count = ids ? input->run->header.ids : input->run->header.keys;
    }
}

/* ---- Keys ---- */

static int load_key(struct merge *merge, struct input *input)
{
    if (input->at == input->count) {
        return STELE_OK;
    }
    const uint64_t previous = input->at == 0 ? 0 : input->key.hash;
    int outcome = stele_index__run_key(input->run, input->at, &input->key);
    if (outcome == STELE_OK) {
        outcome = stele_index__run_name(input->run, &input->key, &input->name);
    }
    if (outcome != STELE_OK || input->key.hash < previous) {
        return damage(merge, input->run, "keys are damaged");
    }
    return STELE_OK;
}

static int load_keys(struct merge *merge)
{
    rewind_inputs(merge, false);
    for (uint32_t i = 0; i < merge->count; i++) {
        const int outcome = load_key(merge, &merge->inputs[i]);
        if (outcome != STELE_OK) {
            return outcome;
        }
    }
    return STELE_OK;
}

static int compare_keys(const struct input *a, const struct input *b)
{
    return stele_index__key_compare(a->key.hash, a->key.space, a->name, b->key.hash, b->key.space,
                                    b->name);
}

/* What one name is in the merged run: from the oldest member with events to the newest. */
static int join_members(struct merge *merge, struct group *group)
{
    struct stele_index__key joined = merge->inputs[group->lowest].key;
    uint64_t first = 0;
    uint64_t end = 0;
    bool has_events = false;
    joined.flags = 0;
    for (uint32_t i = 0; i < merge->count; i++) {
        if ((group->members >> i & 1) == 0) {
            continue;
        }
        const struct stele_index__key *key = &merge->inputs[i].key;
        joined.flags |= key->flags;
        joined.first = key->first;
        if (key->count == 0) {
            continue;
        }
        if (has_events && key->first < end) {
            return damage(merge, merge->inputs[i].run, "ordinals overlap");
        }
        first = has_events ? first : key->first;
        end = key->first + key->count;
        has_events = true;
    }
    joined.first = has_events ? first : joined.first;
    if (end - first > (merge->target->to - merge->target->from) / 8 || end - first > UINT32_MAX) {
        return damage(merge, merge->inputs[group->lowest].run, "more ordinals than events");
    }
    joined.count = (uint32_t)(end - first);
    group->key = joined;
    return STELE_OK;
}

/* The lowest keys of all inputs, if they are one name. STELE_END after the last. */
static int next_group(struct merge *merge, struct group *out_group)
{
    struct group group = {.members = 0};
    for (uint32_t i = 0; i < merge->count; i++) {
        if (merge->inputs[i].at == merge->inputs[i].count) {
            continue;
        }
        const int order =
            group.members == 0 ? -1 : compare_keys(&merge->inputs[i], &merge->inputs[group.lowest]);
        if (order < 0) {
            group = (struct group){.members = 1u << i, .lowest = i};
        } else if (order == 0) {
            group.members |= 1u << i;
        }
    }
    if (group.members == 0) {
        return STELE_END;
    }
    *out_group = group;
    return join_members(merge, out_group);
}

static int advance_group(struct merge *merge, const struct group *group)
{
    for (uint32_t i = 0; i < merge->count; i++) {
        if ((group->members >> i & 1) != 0) {
            merge->inputs[i].at++;
            const int outcome = load_key(merge, &merge->inputs[i]);
            if (outcome != STELE_OK) {
                return outcome;
            }
        }
    }
    return STELE_OK;
}

static int count_all(struct merge *merge, struct stele_index__header *header)
{
    int outcome = load_keys(merge);
    while (outcome == STELE_OK) {
        struct group group;
        outcome = next_group(merge, &group);
        if (outcome != STELE_OK) {
            break;
        }
        header->keys++;
        header->names_size += group.key.name_size;
        header->postings += group.key.count;
        header->names_first[group.key.space] += group.key.first == 0 && group.key.count > 0;
        outcome = advance_group(merge, &group);
    }
    for (uint32_t i = 0; i < merge->count; i++) {
        header->ids += merge->inputs[i].run->header.ids;
    }
    return outcome == STELE_END ? STELE_OK : outcome;
}

/* ---- Postings ---- */

static int write_member(struct merge *merge, struct stele_index__writer *writer,
                        const struct input *input, uint64_t *ordinal)
{
    const struct stele_index__run *run = input->run;
    const struct stele_index__key *key = &input->key;
    const uint64_t step = run->layout.place_size;
    const uint8_t *bytes = stele_index__run_at(run, STELE_INDEX__POSTINGS, key->postings * step,
                                               (uint64_t)key->count * step);
    if (bytes == NULL) {
        return damage(merge, input->run, "postings are damaged");
    }
    for (uint64_t i = 0; i < key->count; i++) {
        uint64_t place = 0;
        if (!stele_index__place_of(run, stele_index__place_load(run, bytes + i * step), &place)) {
            return damage(merge, input->run, "a posting lies outside");
        }
        /* Ordinals that no run has any more stand before the next one that one has. */
        for (; *ordinal <= key->first + i; (*ordinal)++) {
            stele_index__writer_posting(writer, place);
        }
    }
    return STELE_OK;
}

static int write_group(struct merge *merge, struct stele_index__writer *writer, struct group *group)
{
    const uint32_t number = (uint32_t)writer->keys_count;
    stele_index__writer_key(writer, &group->key, merge->inputs[group->lowest].name);
    uint64_t ordinal = group->key.first;
    for (uint32_t i = 0; i < merge->count; i++) {
        if ((group->members >> i & 1) != 0) {
            const struct input *input = &merge->inputs[i];
            input->numbers[input->at] = number;
            const int outcome = write_member(merge, writer, input, &ordinal);
            if (outcome != STELE_OK) {
                return outcome;
            }
        }
    }
    return writer->outcome;
}

static int write_keys(struct merge *merge, struct stele_index__writer *writer)
{
    int outcome = load_keys(merge);
    while (outcome == STELE_OK) {
        struct group group;
        outcome = next_group(merge, &group);
        if (outcome == STELE_OK) {
            outcome = write_group(merge, writer, &group);
        }
        if (outcome == STELE_OK) {
            outcome = advance_group(merge, &group);
        }
    }
    return outcome == STELE_END ? STELE_OK : outcome;
}

/* ---- Ids ---- */

static int load_id(struct merge *merge, struct input *input)
{
    if (input->at == input->count) {
        return STELE_OK;
    }
    const struct stele_index__run *run = input->run;
    const uint64_t previous = input->at == 0 ? 0 : input->hash;
    const uint64_t step = run->layout.place_size;
    const uint8_t *hash = stele_index__run_at(run, STELE_INDEX__IDS, input->at * 8, 8);
    const uint8_t *place = stele_index__run_at(run, STELE_INDEX__ID_PLACES, input->at * step, step);
    if (hash == NULL || place == NULL) {
        return damage(merge, input->run, "ids are damaged");
    }
    input->hash = stele_load_u64le(hash);
    if (input->hash < previous ||
        !stele_index__place_of(run, stele_index__place_load(run, place), &input->place)) {
        return damage(merge, input->run, "ids are not in order");
    }
    return STELE_OK;
}

/* The input with the lowest id; of the same, the oldest, whose places are lower. */
static struct input *lowest_id(struct merge *merge)
{
    struct input *lowest = NULL;
    for (uint32_t i = 0; i < merge->count; i++) {
        struct input *input = &merge->inputs[i];
        if (input->at < input->count && (lowest == NULL || input->hash < lowest->hash)) {
            lowest = input;
        }
    }
    return lowest;
}

static int write_ids(struct merge *merge, struct stele_index__writer *writer)
{
    rewind_inputs(merge, true);
    int outcome = STELE_OK;
    for (uint32_t i = 0; i < merge->count && outcome == STELE_OK; i++) {
        outcome = load_id(merge, &merge->inputs[i]);
    }
    while (outcome == STELE_OK) {
        struct input *input = lowest_id(merge);
        if (input == NULL) {
            break;
        }
        stele_index__writer_id(writer, input->hash, input->place);
        input->at++;
        outcome = writer->outcome == STELE_OK ? load_id(merge, input) : writer->outcome;
    }
    return outcome;
}

/* ---- Order of names ---- */

static int load_rank(struct merge *merge, struct input *input)
{
    if (input->at == input->count) {
        return STELE_OK;
    }
    if (stele_index__run_in_order(input->run, input->at, &input->key, &input->name) != STELE_OK) {
        return damage(merge, input->run, "the order of names is damaged");
    }
    return STELE_OK;
}

static int compare_names(const struct input *a, const struct input *b)
{
    if (a->key.space != b->key.space) {
        return a->key.space < b->key.space ? -1 : 1;
    }
    return stele_bytes_compare(a->name, b->name);
}

/* Writes the lowest name and takes it from all inputs that have it. */
static int write_lowest_name(struct merge *merge, struct stele_index__writer *writer)
{
    uint32_t members = 0;
    uint32_t lowest = 0;
    for (uint32_t i = 0; i < merge->count; i++) {
        if (merge->inputs[i].at == merge->inputs[i].count) {
            continue;
        }
        const int order =
            members == 0 ? -1 : compare_names(&merge->inputs[i], &merge->inputs[lowest]);
        if (order < 0) {
            members = 1u << i;
            lowest = i;
        } else if (order == 0) {
            members |= 1u << i;
        }
    }
    if (members == 0) {
        return STELE_END;
    }
    const struct input *input = &merge->inputs[lowest];
    const uint8_t *number = stele_index__run_at(input->run, STELE_INDEX__ORDER, input->at * 4, 4);
    STELE_ASSERT(number != NULL); /* load_rank() has read it. */
    stele_index__writer_order(writer, input->numbers[stele_load_u32le(number)]);
    for (uint32_t i = 0; i < merge->count; i++) {
        if ((members >> i & 1) != 0) {
            merge->inputs[i].at++;
            const int outcome = load_rank(merge, &merge->inputs[i]);
            if (outcome != STELE_OK) {
                return outcome;
            }
        }
    }
    return writer->outcome;
}

static int write_order(struct merge *merge, struct stele_index__writer *writer)
{
    rewind_inputs(merge, false);
    int outcome = STELE_OK;
    for (uint32_t i = 0; i < merge->count && outcome == STELE_OK; i++) {
        outcome = load_rank(merge, &merge->inputs[i]);
    }
    while (outcome == STELE_OK) {
        outcome = write_lowest_name(merge, writer);
    }
    return outcome == STELE_END ? STELE_OK : outcome;
}

/* ---- All of it ---- */

static bool numbers_create(struct merge *merge)
{
    for (uint32_t i = 0; i < merge->count; i++) {
        struct input *input = &merge->inputs[i];
        const size_t size = (size_t)(input->run->header.keys + 1) * sizeof *input->numbers;
        input->numbers = stele_allocate_zeroed(merge->alloc, size);
        if (input->numbers == NULL) {
            return false;
        }
    }
    return true;
}

static void numbers_destroy(struct merge *merge)
{
    for (uint32_t i = 0; i < merge->count; i++) {
        struct input *input = &merge->inputs[i];
        stele_release(merge->alloc, input->numbers,
                      (size_t)(input->run->header.keys + 1) * sizeof *input->numbers);
    }
}

static int write_all(struct merge *merge)
{
    struct stele_index__header header = stele_index__target_header(merge->target);
    int outcome = count_all(merge, &header);
    if (outcome != STELE_OK) {
        return outcome;
    }
    struct stele_index__writer writer;
    outcome =
        stele_index__writer_begin(&writer, merge->target->io, &header, merge->target->on_bytes,
                                  merge->target->context, merge->err);
    if (outcome != STELE_OK) {
        return outcome;
    }
    outcome = write_keys(merge, &writer);
    if (outcome == STELE_OK) {
        outcome = write_ids(merge, &writer);
    }
    if (outcome == STELE_OK) {
        outcome = write_order(merge, &writer);
    }
    if (writer.outcome == STELE_OK) {
        writer.outcome = outcome;
    }
    return stele_index__writer_end(&writer);
}

int stele_index__merge(struct stele_index__run *const *runs, uint32_t count,
                       const struct stele_index__target *target,
                       struct stele_index__run **out_damaged, struct stele_error *err)
{
    STELE_ASSERT(count > 0);
    STELE_ASSERT(count <= STELE_INDEX__FAN_IN_MAX);
    struct merge merge = {.alloc = target->io->alloc, .target = target, .count = count, .err = err};
    for (uint32_t i = 0; i < count; i++) {
        merge.inputs[i].run = runs[i];
    }
    int outcome = verify_inputs(&merge);
    if (outcome == STELE_OK && !numbers_create(&merge)) {
        outcome = stele_fail(err, STELE_E_NO_MEMORY, 0, "index: no memory to merge runs");
    }
    if (outcome == STELE_OK) {
        outcome = write_all(&merge);
    }
    numbers_destroy(&merge);
    if (merge.damaged != NULL) {
        *out_damaged = merge.damaged;
    }
    return outcome;
}
