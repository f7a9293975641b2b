#include "index/run.h"

#include "base/checksum.h"

/* ---- Opening ---- */

/* Header and footer: what must be right before any page can be judged. */
static int verify_frame(struct stele_index__run *run, const struct stele_index_options *options,
                        uint64_t from, uint64_t to, uint64_t size)
{
    const int outcome = stele_index__header_decode(run->data, size, &run->header, &run->layout);
    if (outcome != STELE_OK) {
        return outcome;
    }
    if (memcmp(run->header.store_id, options->store_id, sizeof options->store_id) != 0 ||
        run->header.seed_check != stele_index__seed_check(options->seed)) {
        return STELE_E_INVALID;
    }
    const struct stele_bytes footer = {
        .data = run->data + run->layout.offset[STELE_INDEX__FOOTER],
        .size = (size_t)run->layout.size[STELE_INDEX__FOOTER],
    };
    /* A file that was given another's name would put its events in the wrong place. */
    if (run->header.from != from || run->header.to != to ||
        stele_crc32c(footer) != run->header.footer_checksum) {
        return STELE_E_CORRUPT;
    }
    return STELE_OK;
}

static int map_run(struct stele_index__run *run, const struct stele_index_options *options,
                   uint64_t from, uint64_t to, struct stele_error *err)
{
    const struct stele_io_ops *ops = run->io->ops;
    uint64_t size = 0;
    int outcome = ops->size(run->file, &size, err);
    if (outcome != STELE_OK) {
        return outcome;
    }
    if (size < STELE_INDEX__PAGE) {
        return STELE_E_CORRUPT;
    }
    outcome = ops->map(run->file, size, &run->data, err);
    if (outcome != STELE_OK) {
        return outcome;
    }
    outcome = verify_frame(run, options, from, to, size);
    if (outcome != STELE_OK) {
        return outcome;
    }
    run->verified_size = (size_t)((stele_index__run_pages(run) + 63) / 64 * sizeof *run->verified);
    run->verified = stele_allocate_zeroed(run->io->alloc, run->verified_size);
    if (run->verified == NULL) {
        return stele_fail(err, STELE_E_NO_MEMORY, 0, "index run %s: no memory", run->name);
    }
    return STELE_OK;
}

static void destroy_run(struct stele_index__run *run)
{
    if (run->file != NULL) {
        run->io->ops->close(run->file);
    }
    stele_release(run->io->alloc, run->verified, run->verified_size);
    stele_release(run->io->alloc, run, sizeof *run);
}

int stele_index__run_open(struct stele_io *io, const struct stele_index_options *options,
                          uint64_t from, uint64_t to, struct stele_index__run **out_run,
                          struct stele_error *err)
{
    struct stele_index__run *run = stele_allocate_zeroed(io->alloc, sizeof *run);
    if (run == NULL) {
        return stele_fail(err, STELE_E_NO_MEMORY, 0, "index run: no memory");
    }
    run->io = io;
    run->refs = 1;
    stele_index__file_name(run->name, from, to, ".run");
    int outcome = io->ops->open(io, run->name, false, &run->file, err);
    if (outcome == STELE_OK) {
        outcome = map_run(run, options, from, to, err);
    }
    if (outcome != STELE_OK) {
        destroy_run(run);
        return outcome;
    }
    *out_run = run;
    return STELE_OK;
}

void stele_index__run_ref(struct stele_index__run *run)
{
    STELE_ASSERT(run->refs > 0);
    run->refs++;
}

void stele_index__run_unref(struct stele_index__run *run)
{
    STELE_ASSERT(run->refs > 0);
    if (--run->refs == 0) {
        destroy_run(run);
    }
}

/* ---- Pages ---- */

/* The checksum that a page should have, or none: the page that it stands on is damaged. */
static bool expected_checksum(const struct stele_index__run *run, uint64_t page,
                              uint32_t *out_checksum)
{
    const struct stele_index__layout *layout = &run->layout;
    if (page >= layout->pages) {
        /* A page of checksums: the footer, verified on opening, has its own. */
        *out_checksum = stele_load_u32le(run->data + layout->offset[STELE_INDEX__FOOTER] +
                                         (page - layout->pages) * 4);
        return true;
    }
    const uint64_t at = layout->offset[STELE_INDEX__CHECKSUMS] + page * 4;
    if (!stele_index__run_page_ok(run, at / STELE_INDEX__PAGE)) {
        return false;
    }
    *out_checksum = stele_load_u32le(run->data + at);
    return true;
}

uint64_t stele_index__run_pages(const struct stele_index__run *run)
{
    return run->layout.offset[STELE_INDEX__FOOTER] / STELE_INDEX__PAGE;
}

bool stele_index__run_page_recheck(const struct stele_index__run *run, uint64_t page)
{
    STELE_ASSERT(page > 0); /* The header has a checksum of its own. */
    uint32_t expected = 0;
    if (!expected_checksum(run, page, &expected)) {
        return false;
    }
    const struct stele_bytes bytes = {.data = run->data + page * STELE_INDEX__PAGE,
                                      .size = STELE_INDEX__PAGE};
    if (stele_crc32c(bytes) != expected) {
        return false;
    }
    __atomic_fetch_or(&run->verified[page / 64], (uint64_t)1 << page % 64, __ATOMIC_RELAXED);
    return true;
}

static bool is_verified(const struct stele_index__run *run, uint64_t page)
{
    const uint64_t word = __atomic_load_n(&run->verified[page / 64], __ATOMIC_RELAXED);
    return (word >> page % 64 & 1) != 0;
}

bool stele_index__run_page_ok(const struct stele_index__run *run, uint64_t page)
{
    return is_verified(run, page) || stele_index__run_page_recheck(run, page);
}

const uint8_t *stele_index__run_at(const struct stele_index__run *run,
                                   enum stele_index__section section, uint64_t offset,
                                   uint64_t size)
{
    STELE_ASSERT(offset <= run->layout.size[section]);
    STELE_ASSERT(size <= run->layout.size[section] - offset);
    const uint64_t at = run->layout.offset[section] + offset;
    if (size > 0) {
        const uint64_t last = (at + size - 1) / STELE_INDEX__PAGE;
        for (uint64_t page = at / STELE_INDEX__PAGE; page <= last; page++) {
            if (!stele_index__run_page_ok(run, page)) {
                return NULL;
            }
        }
    }
    return run->data + at;
}

/* ---- Keys ---- */

static int may_have(const struct stele_index__run *run, enum stele_index__section filter,
                    uint32_t blocks, uint64_t hash)
{
    if (blocks == 0) {
        return STELE_NOT_FOUND;
    }
    const uint64_t at =
        (uint64_t)stele_index__filter_block(hash, blocks) * STELE_INDEX__FILTER_BLOCK;
    const uint8_t *block = stele_index__run_at(run, filter, at, STELE_INDEX__FILTER_BLOCK);
    if (block == NULL) {
        return STELE_E_CORRUPT;
    }
    return stele_index__filter_has(block, hash) ? STELE_OK : STELE_NOT_FOUND;
}

/* Which of the count things in hash order can have this hash: *out_lo … *out_hi. */
static int bucket_range(const struct stele_index__run *run, enum stele_index__section directory,
                        uint32_t bits, uint64_t hash, uint64_t count, uint64_t *out_lo,
                        uint64_t *out_hi)
{
    const uint64_t at = (uint64_t)stele_index__bucket(hash, bits) * 4;
    const uint8_t *bytes = stele_index__run_at(run, directory, at, 8);
    if (bytes == NULL) {
        return STELE_E_CORRUPT;
    }
    *out_lo = stele_load_u32le(bytes);
    *out_hi = stele_load_u32le(bytes + 4);
    return *out_lo <= *out_hi && *out_hi <= count ? STELE_OK : STELE_E_CORRUPT;
}

/* The first in lo … hi of things of item_size, beginning with their hash, that is not below. */
static int hash_lower_bound(const struct stele_index__run *run, enum stele_index__section section,
                            uint64_t item_size, uint64_t hash, uint64_t lo, uint64_t hi,
                            uint64_t *out_number)
{
    while (lo < hi) {
        const uint64_t middle = lo + (hi - lo) / 2;
        const uint8_t *bytes = stele_index__run_at(run, section, middle * item_size, 8);
        if (bytes == NULL) {
            return STELE_E_CORRUPT;
        }
        if (stele_load_u64le(bytes) < hash) {
            lo = middle + 1;
        } else {
            hi = middle;
        }
    }
    *out_number = lo;
    return STELE_OK;
}

int stele_index__run_key(const struct stele_index__run *run, uint64_t number,
                         struct stele_index__key *out_key)
{
    STELE_ASSERT(number < run->header.keys);
    const uint8_t *bytes = stele_index__run_at(
        run, STELE_INDEX__KEYS, number * STELE_INDEX__KEY_SIZE, STELE_INDEX__KEY_SIZE);
    if (bytes == NULL) {
        return STELE_E_CORRUPT;
    }
    stele_index__key_decode(bytes, out_key);
    const struct stele_index__header *header = &run->header;
    if (out_key->name_offset > header->names_size ||
        out_key->name_size > header->names_size - out_key->name_offset ||
        out_key->postings > header->postings ||
        out_key->count > header->postings - out_key->postings ||
        out_key->first > UINT64_MAX - 1 - out_key->count || out_key->space >= STELE_SPACES) {
        return STELE_E_CORRUPT;
    }
    return STELE_OK;
}

int stele_index__run_name(const struct stele_index__run *run, const struct stele_index__key *key,
                          struct stele_bytes *out_name)
{
    const uint8_t *name =
        stele_index__run_at(run, STELE_INDEX__NAMES, key->name_offset, key->name_size);
    if (name == NULL) {
        return STELE_E_CORRUPT;
    }
    *out_name = (struct stele_bytes){.data = name, .size = key->name_size};
    return STELE_OK;
}

/* Two names with the same hash are told apart by their bytes. */
static int find_among_equal(const struct stele_index__run *run, const struct stele_index_key *key,
                            uint64_t number, uint64_t end, struct stele_index__key *out_key)
{
    for (; number < end; number++) {
        struct stele_index__key found;
        int outcome = stele_index__run_key(run, number, &found);
        if (outcome != STELE_OK) {
            return outcome;
        }
        if (found.hash != key->hash) {
            return STELE_NOT_FOUND;
        }
        if (found.space != key->space || found.name_size != key->name.size) {
            continue;
        }
        struct stele_bytes name;
        outcome = stele_index__run_name(run, &found, &name);
        if (outcome != STELE_OK) {
            return outcome;
        }
        if (stele_bytes_equal(name, key->name)) {
            *out_key = found;
            return STELE_OK;
        }
    }
    return STELE_NOT_FOUND;
}

int stele_index__run_find(const struct stele_index__run *run, const struct stele_index_key *key,
                          struct stele_index__key *out_key)
{
    int outcome = may_have(run, STELE_INDEX__KEY_FILTER, run->layout.key_blocks, key->hash);
    if (outcome != STELE_OK) {
        return outcome;
    }
    uint64_t lo = 0;
    uint64_t hi = 0;
    outcome = bucket_range(run, STELE_INDEX__KEY_DIRECTORY, run->layout.key_bits, key->hash,
                           run->header.keys, &lo, &hi);
    if (outcome != STELE_OK) {
        return outcome;
    }
    outcome =
        hash_lower_bound(run, STELE_INDEX__KEYS, STELE_INDEX__KEY_SIZE, key->hash, lo, hi, &lo);
    if (outcome != STELE_OK) {
        return outcome;
    }
    return find_among_equal(run, key, lo, hi, out_key);
}

/* ---- Places ---- */

int stele_index__run_places(const struct stele_index__run *run, const struct stele_index__key *key,
                            uint64_t skip, size_t count, uint64_t *places)
{
    STELE_ASSERT(skip <= key->count);
    STELE_ASSERT(count <= key->count - skip);
    const uint64_t step = run->layout.place_size;
    /* One more than asked for, if there is one: an ordinal whose event is gone has the place of
     * the next one that is not, so that postings never fall. */
    const uint64_t looked_at = count < key->count - skip ? count + 1 : count;
    const uint8_t *bytes = stele_index__run_at(run, STELE_INDEX__POSTINGS,
                                               (key->postings + skip) * step, looked_at * step);
    if (bytes == NULL) {
        return STELE_E_CORRUPT;
    }
    for (size_t i = 0; i < count; i++) {
        const uint64_t value = stele_index__place_load(run, bytes + i * step);
        if (!stele_index__place_of(run, value, &places[i])) {
            return STELE_E_CORRUPT;
        }
        if (i + 1 < looked_at && stele_index__place_load(run, bytes + (i + 1) * step) == value) {
            places[i] = UINT64_MAX;
        }
    }
    return STELE_OK;
}

/* The first of a key's postings from lo on that is at or above value; key->count if none. */
static int posting_lower_bound(const struct stele_index__run *run,
                               const struct stele_index__key *key, uint64_t lo, uint64_t value,
                               uint64_t *out_at)
{
    const uint64_t step = run->layout.place_size;
    uint64_t hi = key->count;
    while (lo < hi) {
        const uint64_t middle = lo + (hi - lo) / 2;
        const uint8_t *bytes =
            stele_index__run_at(run, STELE_INDEX__POSTINGS, (key->postings + middle) * step, step);
        if (bytes == NULL) {
            return STELE_E_CORRUPT;
        }
        if (stele_index__place_load(run, bytes) < value) {
            lo = middle + 1;
        } else {
            hi = middle;
        }
    }
    *out_at = lo;
    return STELE_OK;
}

int stele_index__run_lower_bound(const struct stele_index__run *run,
                                 const struct stele_index__key *key, uint64_t place,
                                 uint64_t *out_ordinal)
{
    const uint64_t from = run->header.from;
    const uint64_t value = place <= from ? 0 : (place - from + 7) / 8;
    uint64_t at = 0;
    int outcome = posting_lower_bound(run, key, 0, value, &at);
    if (outcome != STELE_OK) {
        return outcome;
    }
    if (at == key->count) {
        return STELE_NOT_FOUND;
    }
    /* Past the ordinals whose events are gone, to the event that they stand before. */
    const uint64_t step = run->layout.place_size;
    const uint8_t *bytes =
        stele_index__run_at(run, STELE_INDEX__POSTINGS, (key->postings + at) * step, step);
    if (bytes == NULL) {
        return STELE_E_CORRUPT;
    }
    const uint64_t found = stele_index__place_load(run, bytes);
    if (found < UINT64_MAX) {
        outcome = posting_lower_bound(run, key, at + 1, found + 1, &at);
        if (outcome != STELE_OK) {
            return outcome;
        }
        at--;
    }
    *out_ordinal = key->first + at;
    return STELE_OK;
}

/* ---- Ids ---- */

static int id_place(const struct stele_index__run *run, uint64_t number, uint64_t *out_place)
{
    const uint64_t step = run->layout.place_size;
    const uint8_t *bytes = stele_index__run_at(run, STELE_INDEX__ID_PLACES, number * step, step);
    if (bytes == NULL ||
        !stele_index__place_of(run, stele_index__place_load(run, bytes), out_place)) {
        return STELE_E_CORRUPT;
    }
    return STELE_OK;
}

int stele_index__run_ids(const struct stele_index__run *run, uint64_t hash, uint64_t *places,
                         size_t max, size_t *count)
{
    int outcome = may_have(run, STELE_INDEX__ID_FILTER, run->layout.id_blocks, hash);
    if (outcome != STELE_OK) {
        return outcome;
    }
    uint64_t lo = 0;
    uint64_t hi = 0;
    outcome = bucket_range(run, STELE_INDEX__ID_DIRECTORY, run->layout.id_bits, hash,
                           run->header.ids, &lo, &hi);
    if (outcome == STELE_OK) {
        outcome = hash_lower_bound(run, STELE_INDEX__IDS, 8, hash, lo, hi, &lo);
    }
    uint64_t end = lo;
    if (outcome == STELE_OK && hash < UINT64_MAX) {
        outcome = hash_lower_bound(run, STELE_INDEX__IDS, 8, hash + 1, lo, hi, &end);
    } else {
        end = hi;
    }
    /* Sorted by place among themselves; wanted is the newest first. */
    while (outcome == STELE_OK && end > lo && *count < max) {
        outcome = id_place(run, --end, &places[*count]);
        *count += outcome == STELE_OK;
    }
    return outcome;
}

/* ---- Order of names ---- */

int stele_index__run_in_order(const struct stele_index__run *run, uint64_t rank,
                              struct stele_index__key *out_key, struct stele_bytes *out_name)
{
    STELE_ASSERT(rank < run->header.keys);
    const uint8_t *bytes = stele_index__run_at(run, STELE_INDEX__ORDER, rank * 4, 4);
    if (bytes == NULL || stele_load_u32le(bytes) >= run->header.keys) {
        return STELE_E_CORRUPT;
    }
    const int outcome = stele_index__run_key(run, stele_load_u32le(bytes), out_key);
    if (outcome != STELE_OK) {
        return outcome;
    }
    return stele_index__run_name(run, out_key, out_name);
}

int stele_index__run_rank(const struct stele_index__run *run, uint8_t space,
                          struct stele_bytes name, uint64_t *out_rank)
{
    uint64_t lo = 0;
    uint64_t hi = run->header.keys;
    while (lo < hi) {
        const uint64_t middle = lo + (hi - lo) / 2;
        struct stele_index__key key;
        struct stele_bytes found;
        const int outcome = stele_index__run_in_order(run, middle, &key, &found);
        if (outcome != STELE_OK) {
            return outcome;
        }
        if (key.space < space || (key.space == space && stele_bytes_compare(found, name) < 0)) {
            lo = middle + 1;
        } else {
            hi = middle;
        }
    }
    *out_rank = lo;
    return STELE_OK;
}
