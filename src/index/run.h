/* One open run: a file mapped into memory, verified page by page as it is touched. */
#ifndef STELE_INDEX_RUN_H
#define STELE_INDEX_RUN_H

#include "index/format.h"

struct stele_index__run {
    struct stele_io *io;
    struct stele_file *file;
    const uint8_t *data;
    struct stele_index__header header;
    struct stele_index__layout layout;
    char name[STELE_FILE_NAME_MAX];
    /* One bit per page: its checksum has been seen to match. Several threads read a run through
     * their views; the bits are set and read with relaxed atomics, the only ones in this module.
     * Nothing depends on their order: the pages do not change, and a bit that is seen late costs
     * one more checksum. */
    uint64_t *verified;
    size_t verified_size;
    uint32_t refs; /* Views, the index, jobs. Changed under the index's exclusion. */
    bool busy;     /* A job is merging it. */
};

/* Opens and maps the run of this range; verifies header and footer.
 *
 * STELE_OK, STELE_NOT_FOUND, STELE_E_CORRUPT (damaged, or of a version that is not known),
 * STELE_E_INVALID (of another store), or what the seam failed with. refs is 1. */
STELE_MUST_USE
int stele_index__run_open(struct stele_io *io, const struct stele_index_options *options,
                          uint64_t from, uint64_t to, struct stele_index__run **out_run,
                          struct stele_error *err);
void stele_index__run_ref(struct stele_index__run *run);
void stele_index__run_unref(struct stele_index__run *run);

/* Verifies one page unless that was done before; false if it is damaged. */
bool stele_index__run_page_ok(const struct stele_index__run *run, uint64_t page);
/* Pages that have checksums, those of checksums included. */
uint64_t stele_index__run_pages(const struct stele_index__run *run);
/* Verifies one page, whether that was done before or not. */
bool stele_index__run_page_recheck(const struct stele_index__run *run, uint64_t page);

/* size bytes at an offset of a section, verified. NULL if damaged. The range must lie in the
 * section. */
const uint8_t *stele_index__run_at(const struct stele_index__run *run,
                                   enum stele_index__section section, uint64_t offset,
                                   uint64_t size);

/* The queries answer STELE_OK, STELE_NOT_FOUND, or STELE_E_CORRUPT. */

/* Finds a name. */
STELE_MUST_USE
int stele_index__run_find(const struct stele_index__run *run, const struct stele_index_key *key,
                          struct stele_index__key *out_key);
/* The number-th key, checked: its name and postings lie in the run. */
STELE_MUST_USE
int stele_index__run_key(const struct stele_index__run *run, uint64_t number,
                         struct stele_index__key *out_key);
STELE_MUST_USE
int stele_index__run_name(const struct stele_index__run *run, const struct stele_index__key *key,
                          struct stele_bytes *out_name);
/* Places of count ordinals from key->first + skip on; UINT64_MAX where the event is no more. */
STELE_MUST_USE
int stele_index__run_places(const struct stele_index__run *run, const struct stele_index__key *key,
                            uint64_t skip, size_t count, uint64_t *places);
/* The lowest ordinal whose place is at or above place. STELE_NOT_FOUND if all are below. */
STELE_MUST_USE
int stele_index__run_lower_bound(const struct stele_index__run *run,
                                 const struct stele_index__key *key, uint64_t place,
                                 uint64_t *out_ordinal);
/* Appends the places of an id's hash, newest first, up to max in total. */
STELE_MUST_USE
int stele_index__run_ids(const struct stele_index__run *run, uint64_t hash, uint64_t *places,
                         size_t max, size_t *count);
/* The number-th key in the order of (space, name), and its name. */
STELE_MUST_USE
int stele_index__run_in_order(const struct stele_index__run *run, uint64_t rank,
                              struct stele_index__key *out_key, struct stele_bytes *out_name);
/* The first rank whose (space, name) is at or above this one. */
STELE_MUST_USE
int stele_index__run_rank(const struct stele_index__run *run, uint8_t space,
                          struct stele_bytes name, uint64_t *out_rank);

/* A value of the postings or id places: units of 8 bytes from the run's start. */
static inline uint64_t stele_index__place_load(const struct stele_index__run *run,
                                               const uint8_t *from)
{
    return run->layout.place_size == 4 ? stele_load_u32le(from) : stele_load_u64le(from);
}
/* false if the value lies outside the run. */
static inline bool stele_index__place_of(const struct stele_index__run *run, uint64_t value,
                                         uint64_t *out_place)
{
    if (value >= (run->header.to - run->header.from + 7) / 8) {
        return false;
    }
    *out_place = run->header.from + value * 8;
    return true;
}

#endif
