/* Opening the WAL: which files count, and up to where.
 *
 * Records are taken one by one, through all segments, up to the first that does not verify, at P.
 * What lies there is one of two things (Alagappan et al., Protocol-Aware Recovery for
 * Consensus-Based Storage, FAST 2018):
 *
 *     torn     a write that was never told to be durable: cut. P is the end
 *     damaged  it had been durable: the mark, a segment made later, or a record behind P says that
 *              the log was durable beyond P. Never cut
 *
 * Records behind P may be whole although P is torn, when several batches were in flight. Their
 * headers are zeroed, and segments behind that of P are removed: otherwise new records that come to
 * end where an old one begins would seem to be continued by it.
 *
 * Nothing is taken from the page cache that the disk does not have: after a failed sync the cache
 * may hold bytes that look written and are not. */
#include "raft/wal_internal.h"

#define CHUNK_SIZE ((size_t)1024 * 1024)
#define CHUNK_ALIGN ((size_t)4096)

/* Places stay far from where sums of them would overflow. */
#define PLACE_MAX (UINT64_MAX / 4)

struct opening {
    struct stele_wal *wal;
    stele_wal_record_callback on_record;
    void *context;
    struct stele_error *err;

    struct stele_buf numbers;   /* Of segments, uint64_t, ascending. */
    struct stele_buf spares;    /* Numbers of spares of the right size. */
    struct stele_buf leftovers; /* Names to be removed, each with its zero. */
    bool has_mark;
    struct stele_wal__mark mark; /* The most that any slot says. */
    uint8_t *chunk;

    const uint8_t *data; /* Of the segment that is looked at, its header included. */
    uint64_t claimed;    /* Everything below this place had been durable, … */
    const char *claim;   /* … says this. */
};

/* ---- Which files there are ---- */

static int add_number(struct opening *opening, struct stele_buf *numbers, uint64_t number)
{
    return stele_buf_append(numbers, opening->wal->alloc,
                            (struct stele_bytes){(const uint8_t *)&number, sizeof number});
}

static uint64_t number_at(const struct stele_buf *numbers, size_t index)
{
    uint64_t number = 0;
    memcpy(&number, numbers->data + index * sizeof number, sizeof number);
    return number;
}

static size_t number_count(const struct stele_buf *numbers)
{
    return numbers->size / sizeof(uint64_t);
}

static int add_leftover(struct opening *opening, const char *name)
{
    return stele_buf_append(&opening->leftovers, opening->wal->alloc,
                            (struct stele_bytes){(const uint8_t *)name, strlen(name) + 1});
}

static int on_name(void *context, const char *name, uint64_t size)
{
    struct opening *const opening = context;
    uint64_t number = 0;
    if (strcmp(name, STELE_WAL__MARK) == 0) {
        opening->has_mark = true;
        return STELE_OK;
    }
    if (stele_wal__parse_name(name, "wal", &number)) {
        return add_number(opening, &opening->numbers, number);
    }
    if (stele_wal__parse_name(name, "spare", &number) &&
        size == STELE_WAL__SEGMENT_HEADER + opening->wal->options.segment_size) {
        return add_number(opening, &opening->spares, number);
    }
    if (strcmp(name, STELE_WAL__MARK_NEW) == 0 || stele_wal__parse_name(name, "new", &number) ||
        stele_wal__parse_name(name, "spare", &number)) {
        return add_leftover(opening, name);
    }
    return STELE_OK; /* Somebody else's. */
}

static int list_files(struct opening *opening)
{
    struct stele_io *const io = opening->wal->io;
    const int outcome = io->ops->list(io, on_name, opening, opening->err);
    if (outcome == STELE_E_NO_MEMORY) {
        return stele_fail(opening->err, outcome, 0, "WAL: no memory");
    }
    return outcome;
}

static int remove_file(struct opening *opening, const char *name)
{
    struct stele_io *const io = opening->wal->io;
    struct stele_error words = {.outcome = STELE_OK};
    const int outcome = io->ops->remove(io, name, &words);
    if (outcome == STELE_OK || outcome == STELE_NOT_FOUND) {
        return STELE_OK; /* Which is no failure, so its words are nobody's. */
    }
    if (opening->err != NULL) {
        *opening->err = words;
    }
    return outcome;
}

static int remove_leftovers(struct opening *opening)
{
    int outcome = STELE_OK;
    size_t at = 0;
    while (outcome == STELE_OK && at < opening->leftovers.size) {
        const char *const name = (const char *)opening->leftovers.data + at;
        outcome = remove_file(opening, name);
        at += strlen(name) + 1;
    }
    return outcome;
}

/* ---- What the disk holds ---- */

static uint8_t *chunk_of(const struct opening *opening)
{
    return opening->chunk + (CHUNK_ALIGN - (uintptr_t)opening->chunk % CHUNK_ALIGN) % CHUNK_ALIGN;
}

/* The beginning of a file as the disk has it, into opening's chunk. */
static int read_start(struct opening *opening, struct stele_file *file, size_t size,
                      size_t *out_size)
{
    STELE_ASSERT(size <= CHUNK_SIZE);
    return file->io->ops->read(file, 0, chunk_of(opening), size, true, out_size, opening->err);
}

/* Opens a file and makes durable what a process that died has left of it in the cache, so that what
 * is taken from it stays. */
static int open_settled(struct opening *opening, const char *name, struct stele_file **out_file)
{
    struct stele_io *const io = opening->wal->io;
    struct stele_file *file = NULL;
    int outcome = io->ops->open(io, name, true, &file, opening->err);
    if (outcome != STELE_OK) {
        return outcome == STELE_NOT_FOUND ? STELE_E_IO : outcome;
    }
    outcome = io->ops->sync(file, opening->err);
    if (outcome != STELE_OK) {
        io->ops->close(file);
        return outcome;
    }
    io->ops->drop_cache(file);
    *out_file = file;
    return STELE_OK;
}

/* Maps a segment up to a place, and makes sure that the mapping shows what the disk holds. */
static int map_segment(struct opening *opening, const struct stele_wal__segment *segment,
                       uint64_t end)
{
    const struct stele_io_ops *const ops = opening->wal->io->ops;
    const uint64_t size = STELE_WAL__SEGMENT_HEADER + (segment->limit - segment->base);
    const uint64_t used = STELE_WAL__SEGMENT_HEADER + (end - segment->base);
    int outcome = ops->map(segment->file, size, &opening->data, opening->err);
    uint64_t at = 0;
    while (outcome == STELE_OK && at < used) {
        const size_t want = used - at < CHUNK_SIZE ? (size_t)(used - at) : CHUNK_SIZE;
        size_t got = 0;
        outcome =
            ops->read(segment->file, at, chunk_of(opening), CHUNK_SIZE, true, &got, opening->err);
        if (outcome == STELE_OK &&
            (got < want || memcmp(chunk_of(opening), opening->data + at, want) != 0)) {
            outcome = stele_fail(opening->err, STELE_E_IO, 0,
                                 "WAL, %s, offset %llu: the page cache does not show what the disk "
                                 "holds, as after a failed write; mount the file system anew",
                                 segment->file->name, (unsigned long long)at);
        }
        at += want;
    }
    return outcome;
}

/* ---- The mark ---- */

static int fail_owner(const struct opening *opening, const char *name)
{
    return stele_fail(opening->err, STELE_E_NOT_A_STORE, 0, "WAL, %s: another node's", name);
}

static int take_slot(struct opening *opening, const uint8_t *slot, bool *out_valid)
{
    struct stele_wal *const wal = opening->wal;
    struct stele_wal__mark mark;
    const int outcome = stele_wal__mark_decode(slot, &mark);
    if (outcome == STELE_E_FORMAT) {
        return stele_fail(opening->err, outcome, 0, "WAL, mark: written by a newer version");
    }
    if (outcome != STELE_OK) {
        return STELE_OK; /* Torn or rotten: the other one will do. */
    }
    if (memcmp(mark.owner_id, wal->options.owner_id, sizeof mark.owner_id) != 0) {
        return fail_owner(opening, STELE_WAL__MARK);
    }
    *out_valid = true;
    struct stele_wal__mark *const most = &opening->mark;
    most->durable = mark.durable > most->durable ? mark.durable : most->durable;
    most->start = mark.start > most->start ? mark.start : most->start;
    wal->mark_sequence = mark.sequence > wal->mark_sequence ? mark.sequence : wal->mark_sequence;
    return STELE_OK;
}

static int read_mark(struct opening *opening)
{
    struct stele_wal *const wal = opening->wal;
    int outcome = open_settled(opening, STELE_WAL__MARK, &wal->mark_file);
    size_t size = 0;
    if (outcome == STELE_OK) {
        outcome = read_start(opening, wal->mark_file, (size_t)STELE_WAL__MARK_SIZE, &size);
    }
    bool valid = false;
    for (size_t at = 0;
         outcome == STELE_OK && at < STELE_WAL__MARK_SIZE && size >= at + STELE_WAL__MARK_SLOT;
         at += STELE_WAL__MARK_STEP) {
        outcome = take_slot(opening, chunk_of(opening) + at, &valid);
    }
    if (outcome == STELE_OK && !valid) {
        outcome = stele_fail(opening->err, STELE_E_CORRUPT, 0, "WAL, mark: damaged");
    }
    opening->claimed = opening->mark.durable;
    opening->claim = STELE_WAL__MARK;
    return outcome;
}

/* Both slots, and then the name. */
static int make_mark(struct opening *opening)
{
    struct stele_wal *const wal = opening->wal;
    struct stele_io *const io = wal->io;
    int outcome = io->ops->create(io, STELE_WAL__MARK_NEW, STELE_WAL__MARK_SIZE, true,
                                  &wal->mark_file, opening->err);
    if (outcome != STELE_OK) {
        return outcome;
    }
    outcome = stele_wal__mark_write(wal, 1, opening->err);
    if (outcome == STELE_OK) {
        outcome = stele_wal__mark_write(wal, 1, opening->err);
    }
    io->ops->close(wal->mark_file);
    wal->mark_file = NULL;
    if (outcome == STELE_OK) {
        outcome = io->ops->rename(io, STELE_WAL__MARK_NEW, STELE_WAL__MARK, opening->err);
    }
    if (outcome == STELE_OK) {
        outcome = io->ops->sync_names(io, opening->err);
    }
    if (outcome == STELE_OK) {
        outcome = io->ops->open(io, STELE_WAL__MARK, true, &wal->mark_file, opening->err);
    }
    return outcome == STELE_NOT_FOUND ? STELE_E_IO : outcome;
}

/* ---- Segments ---- */

static int fail_header(const struct opening *opening, const char *name, const char *what)
{
    return stele_fail(opening->err, STELE_E_CORRUPT, 0, "WAL, %s, offset 0: %s", name, what);
}

/* Is the header that of the segment that its name, its file and the one before it promise? */
static int check_facts(const struct opening *opening, const struct stele_wal__facts *facts,
                       const char *name, uint64_t number, uint64_t file_size)
{
    const struct stele_wal *const wal = opening->wal;
    if (memcmp(facts->owner_id, wal->options.owner_id, sizeof facts->owner_id) != 0 ||
        facts->secret_check != stele_wal__secret_check(wal->options.secret)) {
        return fail_owner(opening, name);
    }
    if (facts->number != number) {
        return fail_header(opening, name, "this is another segment");
    }
    if (facts->base > PLACE_MAX || facts->base % STELE_WAL__ALIGN != 0 ||
        facts->capacity % STELE_WAL__ALIGN != 0 || facts->durable > facts->base) {
        return fail_header(opening, name, "the header makes no sense");
    }
    if (file_size < STELE_WAL__SEGMENT_HEADER ||
        facts->capacity > file_size - STELE_WAL__SEGMENT_HEADER) {
        return fail_header(opening, name, "the file is cut off");
    }
    if (wal->segments_count > 0) {
        const struct stele_wal__segment *const before = stele_wal__last(wal);
        if (facts->base < before->base || facts->base > before->limit || facts->salt != wal->salt) {
            return fail_header(opening, name, "it does not continue the segment before it");
        }
    }
    return STELE_OK;
}

static int open_segment(struct opening *opening, uint64_t number)
{
    struct stele_wal *const wal = opening->wal;
    if (stele_wal__segments_reserve(wal) != STELE_OK) {
        return stele_fail(opening->err, STELE_E_NO_MEMORY, 0, "WAL: no memory");
    }
    char name[STELE_FILE_NAME_MAX];
    stele_wal__name(name, number, "wal");
    struct stele_file *file = NULL;
    int outcome = open_settled(opening, name, &file);
    if (outcome != STELE_OK) {
        return outcome;
    }
    struct stele_wal__facts facts = {0};
    uint64_t file_size = 0;
    size_t size = 0;
    outcome = wal->io->ops->size(file, &file_size, opening->err);
    if (outcome == STELE_OK) {
        outcome = read_start(opening, file, (size_t)STELE_WAL__SEGMENT_HEADER, &size);
    }
    if (outcome == STELE_OK) {
        const int decoded = size < STELE_WAL__FACTS_SIZE
                                ? STELE_E_CORRUPT
                                : stele_wal__facts_decode(chunk_of(opening), &facts);
        if (decoded == STELE_E_FORMAT) {
            outcome =
                stele_fail(opening->err, decoded, 0, "WAL, %s: written by a newer version", name);
        } else if (decoded != STELE_OK) {
            outcome = fail_header(opening, name, "the header is damaged");
        } else {
            outcome = check_facts(opening, &facts, name, number, file_size);
        }
    }
    if (outcome != STELE_OK) {
        wal->io->ops->close(file);
        return outcome;
    }
    if (facts.durable > opening->claimed) {
        opening->claimed = facts.durable;
        opening->claim = "a later segment";
    }
    wal->salt = facts.salt;
    wal->segments[wal->segments_count++] = (struct stele_wal__segment){
        .number = number,
        .base = facts.base,
        .limit = facts.base + facts.capacity,
        .seed = stele_wal__seed(wal->options.secret ^ wal->salt, number),
        .file = file,
    };
    return STELE_OK;
}

/* Those from the mark's on, which have to be there without a gap. Older ones came back after a power
 * cut. */
static int open_segments(struct opening *opening)
{
    const size_t count = number_count(&opening->numbers);
    uint64_t expected = opening->mark.start;
    int outcome = STELE_OK;
    for (size_t index = 0; outcome == STELE_OK && index < count; index++) {
        const uint64_t number = number_at(&opening->numbers, index);
        char name[STELE_FILE_NAME_MAX];
        stele_wal__name(name, number, "wal");
        if (number < opening->mark.start) {
            outcome = add_leftover(opening, name);
            if (outcome != STELE_OK) {
                outcome = stele_fail(opening->err, outcome, 0, "WAL: no memory");
            }
        } else if (number != expected) {
            break;
        } else {
            outcome = open_segment(opening, number);
            expected++;
        }
    }
    const uint64_t last = count == 0 ? 0 : number_at(&opening->numbers, count - 1);
    if (outcome == STELE_OK && (expected == opening->mark.start || expected <= last)) {
        char name[STELE_FILE_NAME_MAX];
        stele_wal__name(name, expected, "wal");
        outcome = stele_fail(opening->err, STELE_E_CORRUPT, 0, "WAL: %s is missing", name);
    }
    return outcome;
}

/* ---- Records ---- */

/* The record at a place of the mapped segment, whole. */
static bool decode_record(const struct opening *opening, const struct stele_wal__segment *segment,
                          uint64_t place, uint64_t end, struct stele_wal__header *out_header,
                          struct stele_bytes *out_payload)
{
    if (end - place < STELE_WAL__RECORD_HEADER) {
        return false;
    }
    const uint8_t *const bytes =
        opening->data + STELE_WAL__SEGMENT_HEADER + (place - segment->base);
    if (!stele_wal__header_decode(bytes, segment->seed, place, out_header) ||
        stele_wal__record_size(out_header->size) > end - place) {
        return false;
    }
    *out_payload = (struct stele_bytes){bytes + STELE_WAL__RECORD_HEADER, out_header->size};
    return stele_wal__payload_is_intact(segment->seed, out_header, *out_payload);
}

/* Tells the records of the mapped segment; *out_place: the first that is none. */
static int take_records(struct opening *opening, const struct stele_wal__segment *segment,
                        uint64_t end, uint64_t *out_place)
{
    uint64_t place = segment->base;
    struct stele_wal__header header;
    struct stele_bytes payload;
    int outcome = STELE_OK;
    while (outcome == STELE_OK && place < end &&
           decode_record(opening, segment, place, end, &header, &payload)) {
        const struct stele_wal_record record = stele_wal__record_of(&header, payload);
        outcome = opening->on_record(opening->context, &record, place);
        place += stele_wal__record_size(header.size);
    }
    *out_place = place;
    return outcome;
}

/* Looks for headers in the mapped segment, from a place that need not be one. *out_end: behind the
 * last of them, or the place itself. */
static void search_headers(struct opening *opening, const struct stele_wal__segment *segment,
                           uint64_t place, uint64_t end, uint64_t *out_end)
{
    *out_end = place;
    while (place < end && end - place >= STELE_WAL__RECORD_HEADER) {
        struct stele_wal__header header;
        const uint8_t *const bytes =
            opening->data + STELE_WAL__SEGMENT_HEADER + (place - segment->base);
        if (stele_wal__header_decode(bytes, segment->seed, place, &header)) {
            *out_end = place + STELE_WAL__RECORD_HEADER;
            if (header.durable > opening->claimed) {
                opening->claimed = header.durable;
                opening->claim = "a later record";
            }
        }
        place += STELE_WAL__ALIGN;
    }
}

static uint64_t segment_end(const struct stele_wal *wal, size_t index)
{
    return index + 1 < wal->segments_count ? wal->segments[index + 1].base
                                           : wal->segments[index].limit;
}

static int zero(struct opening *opening, const struct stele_wal__segment *segment, uint64_t place,
                uint64_t end)
{
    const struct stele_io_ops *const ops = opening->wal->io->ops;
    if (place == end) {
        return STELE_OK;
    }
    memset(chunk_of(opening), 0, CHUNK_SIZE);
    int outcome = STELE_OK;
    while (outcome == STELE_OK && place < end) {
        const size_t size = end - place < CHUNK_SIZE ? (size_t)(end - place) : CHUNK_SIZE;
        outcome = ops->write(segment->file, STELE_WAL__SEGMENT_HEADER + (place - segment->base),
                             (struct stele_bytes){chunk_of(opening), size}, opening->err);
        place += size;
    }
    return outcome == STELE_OK ? ops->sync(segment->file, opening->err) : outcome;
}

/* The newest first, each durably, so that a power cut leaves no gap. */
static int remove_segments_behind(struct opening *opening, size_t index)
{
    struct stele_wal *const wal = opening->wal;
    int outcome = STELE_OK;
    while (outcome == STELE_OK && wal->segments_count > index + 1) {
        const struct stele_wal__segment *const segment = stele_wal__last(wal);
        char name[STELE_FILE_NAME_MAX];
        stele_wal__name(name, segment->number, "wal");
        wal->io->ops->close(segment->file);
        wal->segments_count--;
        outcome = remove_file(opening, name);
        if (outcome == STELE_OK) {
            outcome = wal->io->ops->sync_names(wal->io, opening->err);
        }
    }
    return outcome;
}

/* Nothing verifies at this place of the mapped segment: ends the log there, if that takes nothing
 * back that had been durable. */
static int cut(struct opening *opening, size_t index, uint64_t place)
{
    struct stele_wal *const wal = opening->wal;
    const struct stele_wal__segment *const segment = &wal->segments[index];
    /* All of the file, because it is going to be the last one. */
    uint64_t zero_end = place;
    int outcome = STELE_OK;
    if (index + 1 < wal->segments_count) {
        outcome = map_segment(opening, segment, segment->limit);
    }
    if (outcome != STELE_OK) {
        return outcome;
    }
    search_headers(opening, segment, place, segment->limit, &zero_end);
    for (size_t behind = index + 1; behind < wal->segments_count; behind++) {
        const uint64_t end = segment_end(wal, behind);
        outcome = map_segment(opening, &wal->segments[behind], end);
        if (outcome != STELE_OK) {
            return outcome;
        }
        uint64_t ignored = 0;
        search_headers(opening, &wal->segments[behind], wal->segments[behind].base, end, &ignored);
    }
    if (opening->claimed > place) {
        return stele_fail(
            opening->err, STELE_E_CORRUPT, 0,
            "WAL, %s, offset %llu: damaged; %s says that the log was durable beyond it",
            segment->file->name,
            (unsigned long long)(STELE_WAL__SEGMENT_HEADER + (place - segment->base)),
            opening->claim);
    }
    outcome = zero(opening, segment, place, zero_end);
    if (outcome == STELE_OK) {
        outcome = remove_segments_behind(opening, index);
    }
    return outcome;
}

static int recover(struct opening *opening)
{
    struct stele_wal *const wal = opening->wal;
    uint64_t place = 0;
    for (size_t index = 0; index < wal->segments_count; index++) {
        const struct stele_wal__segment *const segment = &wal->segments[index];
        const uint64_t end = segment_end(wal, index);
        int outcome = map_segment(opening, segment, end);
        if (outcome == STELE_OK) {
            outcome = take_records(opening, segment, end, &place);
        }
        if (outcome == STELE_OK && (place < end || index + 1 == wal->segments_count)) {
            outcome = cut(opening, index, place);
        }
        if (outcome != STELE_OK) {
            return outcome;
        }
    }
    wal->end = place;
    wal->durable = place;
    wal->said = opening->mark.durable;
    return STELE_OK;
}

/* ---- Spares ---- */

/* A file may have two names after a power cut that undid one of two renames: it is a spare only if
 * what it holds is older than all that counts. */
static bool is_spare(struct opening *opening, const char *name)
{
    struct stele_wal *const wal = opening->wal;
    struct stele_file *file = NULL;
    if (wal->io->ops->open(wal->io, name, false, &file, NULL) != STELE_OK) {
        return false;
    }
    size_t size = 0;
    struct stele_wal__facts facts;
    const bool is_old =
        read_start(opening, file, (size_t)STELE_WAL__SEGMENT_HEADER, &size) == STELE_OK &&
        size >= STELE_WAL__FACTS_SIZE &&
        stele_wal__facts_decode(chunk_of(opening), &facts) == STELE_OK &&
        facts.number < wal->segments[0].number;
    wal->io->ops->close(file);
    return is_old;
}

static int take_spares(struct opening *opening)
{
    struct stele_wal *const wal = opening->wal;
    for (size_t index = 0; index < number_count(&opening->spares); index++) {
        const uint64_t number = number_at(&opening->spares, index);
        char name[STELE_FILE_NAME_MAX];
        stele_wal__name(name, number, "spare");
        if (wal->spares_count < wal->options.spares_max && is_spare(opening, name)) {
            wal->spares[wal->spares_count++] = number;
        } else {
            const int outcome = remove_file(opening, name);
            if (outcome != STELE_OK) {
                return outcome;
            }
        }
    }
    return STELE_OK;
}

/* ---- All of it ---- */

/* A directory without mark: nothing was ever put. Its making may have ended behind the first
 * segment. */
static int begin(struct opening *opening)
{
    struct stele_wal *const wal = opening->wal;
    const size_t count = number_count(&opening->numbers);
    opening->mark.start = 1;
    wal->end = STELE_WAL__FIRST;
    wal->durable = STELE_WAL__FIRST;
    int outcome = STELE_OK;
    if (count == 0) {
        wal->io->ops->random(wal->io, &wal->salt, sizeof wal->salt);
        outcome = stele_wal__segment_make(wal, 0, opening->err);
    } else {
        outcome = open_segments(opening);
        if (outcome == STELE_OK) {
            const uint64_t end = segment_end(wal, 0);
            uint64_t found = 0;
            outcome = map_segment(opening, &wal->segments[0], end);
            if (outcome == STELE_OK) {
                search_headers(opening, &wal->segments[0], wal->segments[0].base, end, &found);
            }
            if (outcome == STELE_OK && (count > 1 || found > wal->segments[0].base)) {
                outcome = stele_fail(opening->err, STELE_E_CORRUPT, 0, "WAL: mark is missing");
            }
        }
    }
    return outcome == STELE_OK ? make_mark(opening) : outcome;
}

static int open_all(struct opening *opening)
{
    struct stele_wal *const wal = opening->wal;
    int outcome = list_files(opening);
    if (outcome == STELE_OK) {
        /* A process that was killed may have left names that only the cache knows. They are made
         * durable before anything rests on them. */
        outcome = wal->io->ops->sync_names(wal->io, opening->err);
    }
    if (outcome == STELE_OK) {
        if (opening->has_mark) {
            outcome = read_mark(opening);
            if (outcome == STELE_OK) {
                outcome = open_segments(opening);
            }
        } else {
            outcome = begin(opening);
        }
    }
    if (outcome == STELE_OK) {
        outcome = recover(opening);
    }
    if (outcome == STELE_OK) {
        outcome = remove_leftovers(opening);
    }
    if (outcome == STELE_OK) {
        outcome = take_spares(opening);
    }
    return outcome;
}

int stele_wal__open(struct stele_wal *wal, stele_wal_record_callback on_record, void *context,
                    struct stele_error *err)
{
    struct opening opening = {
        .wal = wal,
        .on_record = on_record,
        .context = context,
        .err = err,
        .claim = "",
    };
    int outcome = STELE_OK;
    opening.chunk = stele_allocate(wal->alloc, CHUNK_SIZE + CHUNK_ALIGN);
    if (opening.chunk == NULL) {
        outcome = stele_fail(err, STELE_E_NO_MEMORY, 0, "WAL: no memory");
    }
    if (outcome == STELE_OK && wal->options.spares_max > 0) {
        wal->spares =
            stele_allocate_zeroed(wal->alloc, wal->options.spares_max * sizeof *wal->spares);
        if (wal->spares == NULL) {
            outcome = stele_fail(err, STELE_E_NO_MEMORY, 0, "WAL: no memory");
        }
    }
    if (outcome == STELE_OK) {
        outcome = open_all(&opening);
    }
    stele_release(wal->alloc, opening.chunk, CHUNK_SIZE + CHUNK_ALIGN);
    stele_buf_deinit(&opening.numbers, wal->alloc);
    stele_buf_deinit(&opening.spares, wal->alloc);
    stele_buf_deinit(&opening.leftovers, wal->alloc);
    return outcome;
}
