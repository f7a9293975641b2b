/* The WAL while it is open: staging records, handing them out in batches, becoming durable, reading. */
#include "raft/wal_internal.h"

/* A buffer that one huge record has made larger than this is given back afterwards. */
#define BUFFER_KEPT_MAX ((size_t)8 * 1024 * 1024)
#define BATCHES_KEPT_MAX (STELE_WAL__IN_FLIGHT_MAX + 2)
/* Most records are smaller, so one read gets header and payload. */
#define READ_SIZE ((size_t)4096)

/* ---- Facts ---- */

uint64_t stele_wal_durable(const struct stele_wal *wal)
{
    return wal->durable;
}

uint64_t stele_wal_end(const struct stele_wal *wal)
{
    return wal->end;
}

uint64_t stele_wal_start(const struct stele_wal *wal)
{
    return wal->segments[0].base;
}

uint64_t stele_wal_size(const struct stele_wal *wal)
{
    return wal->end - stele_wal_start(wal);
}

bool stele_wal_is_fenced(const struct stele_wal *wal)
{
    return wal->fenced;
}

/* ---- Batches ---- */

static void batch_release(struct stele_wal *wal, struct stele_wal__batch *batch)
{
    stele_buf_deinit(&batch->bytes, wal->alloc);
    stele_release(wal->alloc, batch, sizeof *batch);
}

static void batches_release(struct stele_wal *wal, struct stele_wal__batch *batch)
{
    while (batch != NULL) {
        struct stele_wal__batch *const next = batch->next;
        batch_release(wal, batch);
        batch = next;
    }
}

static void batch_recycle(struct stele_wal *wal, struct stele_wal__batch *batch)
{
    size_t kept = 0;
    for (const struct stele_wal__batch *at = wal->free; at != NULL; at = at->next) {
        kept++;
    }
    if (kept == BATCHES_KEPT_MAX) {
        batch_release(wal, batch);
        return;
    }
    if (batch->bytes.capacity > BUFFER_KEPT_MAX) {
        stele_buf_deinit(&batch->bytes, wal->alloc);
    }
    batch->bytes.size = 0;
    batch->next = wal->free;
    wal->free = batch;
}

static struct stele_wal__batch *batch_create(struct stele_wal *wal)
{
    struct stele_wal__batch *batch = wal->free;
    if (batch != NULL) {
        wal->free = batch->next;
    } else {
        batch = stele_allocate_zeroed(wal->alloc, sizeof *batch);
    }
    return batch;
}

static void batch_begin(struct stele_wal *wal, struct stele_wal__batch *batch)
{
    const struct stele_wal__segment *const segment = stele_wal__last(wal);
    STELE_ASSERT(batch->bytes.size == 0);
    batch->next = NULL;
    batch->id = 0;
    batch->finished = false;
    batch->place = wal->end;
    batch->segment_base = segment->base;
    batch->file = segment->file;
    if (wal->last != NULL) {
        wal->last->next = batch;
    } else {
        wal->first = batch;
    }
    wal->last = batch;
}

static bool is_gathering(const struct stele_wal *wal)
{
    return wal->last != NULL && wal->last->id == 0 && wal->last->file == stele_wal__last(wal)->file;
}

/* The oldest that was not taken; NULL: none. */
static struct stele_wal__batch *batch_next(const struct stele_wal *wal)
{
    struct stele_wal__batch *batch = wal->first;
    while (batch != NULL && batch->id != 0) {
        batch = batch->next;
    }
    return batch;
}

/* ---- Putting ---- */

/* A batch with room for size more bytes, in the last segment. */
static int batch_reserve(struct stele_wal *wal, uint64_t size, struct stele_wal__batch **out_batch)
{
    const bool is_new = !is_gathering(wal);
    struct stele_wal__batch *const batch = is_new ? batch_create(wal) : wal->last;
    if (batch == NULL) {
        return STELE_E_NO_MEMORY;
    }
    const int outcome = stele_buf_reserve(&batch->bytes, wal->alloc, (size_t)size);
    if (outcome != STELE_OK) {
        if (is_new) {
            batch_recycle(wal, batch);
        }
        return outcome;
    }
    if (is_new) {
        batch_begin(wal, batch);
    }
    *out_batch = batch;
    return STELE_OK;
}

int stele_wal_put(struct stele_wal *wal, const struct stele_wal_record *record, uint64_t *out_place,
                  struct stele_error *err)
{
    STELE_ASSERT(record->kind >= STELE_WAL_ENTRY);
    STELE_ASSERT(record->kind <= STELE_WAL_NOTE);
    STELE_ASSERT(record->payload.size <= STELE_WAL_PAYLOAD_MAX);
    if (wal->fenced) {
        return stele_fail(err, STELE_E_FENCED, 0, "WAL: a write failed; reopen it");
    }
    const uint64_t size = stele_wal__record_size(record->payload.size);
    if (stele_wal__last(wal)->limit - wal->end < size) {
        const int outcome = stele_wal__segment_make(wal, size, err);
        if (outcome != STELE_OK) {
            return outcome;
        }
    }
    const struct stele_wal__segment *const segment = stele_wal__last(wal);
    STELE_ASSERT(wal->end >= segment->base);
    STELE_ASSERT(segment->limit - wal->end >= size);
    struct stele_wal__batch *batch = NULL;
    const int outcome = batch_reserve(wal, size, &batch);
    if (outcome != STELE_OK) {
        return stele_fail(err, outcome, 0, "WAL: no memory");
    }
    STELE_ASSERT(batch->place + batch->bytes.size == wal->end);
    uint8_t *const to = batch->bytes.data + batch->bytes.size;
    const size_t used = (size_t)STELE_WAL__RECORD_HEADER + record->payload.size;
    stele_wal__header_encode(to, segment->seed, wal->end, wal->durable, record);
    if (record->payload.size > 0) {
        memcpy(to + STELE_WAL__RECORD_HEADER, record->payload.data, record->payload.size);
    }
    memset(to + used, 0, (size_t)size - used);
    batch->bytes.size += (size_t)size;
    *out_place = wal->end;
    wal->end += size;
    return STELE_OK;
}

/* ---- Group commit ---- */

static bool mark_is_due(const struct stele_wal *wal)
{
    return wal->mark_wanted && wal->mark_id == 0 && wal->said < wal->durable;
}

bool stele_wal_has_staged(const struct stele_wal *wal)
{
    return !wal->fenced && (batch_next(wal) != NULL || mark_is_due(wal));
}

void stele_wal_mark(struct stele_wal *wal)
{
    const uint64_t said = wal->mark_id != 0 ? wal->mark_said : wal->said;
    wal->mark_wanted = wal->mark_wanted || said < wal->end;
}

static void take_mark(struct stele_wal *wal, struct stele_wal_group *out_group)
{
    uint64_t offset = 0;
    stele_wal__mark_next(wal, wal->segments[0].number, wal->mark_bytes, &offset);
    wal->mark_wanted = false;
    wal->mark_said = wal->durable;
    wal->mark_id = wal->next_id++;
    *out_group = (struct stele_wal_group){
        .id = wal->mark_id,
        .file = wal->mark_file,
        .offset = offset,
        .bytes = {.data = wal->mark_bytes, .size = sizeof wal->mark_bytes},
    };
}

bool stele_wal_take(struct stele_wal *wal, struct stele_wal_group *out_group)
{
    const size_t out = wal->taken + (wal->mark_id != 0 ? 1 : 0);
    if (wal->fenced || out == STELE_WAL__IN_FLIGHT_MAX) {
        return false;
    }
    struct stele_wal__batch *const batch = batch_next(wal);
    if (batch == NULL) {
        const bool is_due = mark_is_due(wal);
        if (is_due) {
            take_mark(wal, out_group);
        }
        return is_due;
    }
    STELE_ASSERT(batch->bytes.size > 0);
    batch->id = wal->next_id++;
    wal->taken++;
    *out_group = (struct stele_wal_group){
        .id = batch->id,
        .file = batch->file,
        .offset = STELE_WAL__SEGMENT_HEADER + (batch->place - batch->segment_base),
        .bytes = {.data = batch->bytes.data, .size = batch->bytes.size},
    };
    return true;
}

/* The oldest batch is durable. */
static void retire(struct stele_wal *wal)
{
    struct stele_wal__batch *const batch = wal->first;
    STELE_ASSERT(batch->finished);
    STELE_ASSERT(batch->place == wal->durable);
    STELE_ASSERT(wal->taken > 0);
    wal->durable += batch->bytes.size;
    wal->first = batch->next;
    if (wal->first == NULL) {
        wal->last = NULL;
    }
    wal->taken--;
    batch_recycle(wal, batch);
}

void stele_wal_done(struct stele_wal *wal, uint64_t id, int outcome)
{
    STELE_ASSERT(id != 0);
    wal->fenced = wal->fenced || outcome != STELE_OK;
    if (id == wal->mark_id) {
        wal->mark_id = 0;
        wal->said = outcome == STELE_OK ? wal->mark_said : wal->said;
        return;
    }
    struct stele_wal__batch *batch = wal->first;
    STELE_ASSERT(batch != NULL);
    while (batch->id != id) {
        batch = batch->next;
        STELE_ASSERT(batch != NULL);
    }
    STELE_ASSERT(!batch->finished);
    batch->finished = true;
    /* A batch behind one that failed may have been synced: it still never counts, because what
     * lies before it may not be there. So nothing is retired any more. */
    while (!wal->fenced && wal->first != NULL && wal->first->finished) {
        retire(wal);
    }
}

/* ---- Reading ---- */

static size_t segment_of(const struct stele_wal *wal, uint64_t place)
{
    size_t low = 0;
    size_t high = wal->segments_count; /* The segment is in [low, high). */
    while (high - low > 1) {
        const size_t middle = low + (high - low) / 2;
        if (wal->segments[middle].base <= place) {
            low = middle;
        } else {
            high = middle;
        }
    }
    return low;
}

static int fail_damage(const struct stele_wal__segment *segment, uint64_t place,
                       struct stele_error *err)
{
    return stele_fail(err, STELE_E_CORRUPT, 0, "WAL, %s, offset %llu: the record is damaged",
                      segment->file->name,
                      (unsigned long long)(STELE_WAL__SEGMENT_HEADER + place - segment->base));
}

/* From the record's first bytes, and the rest of the file. Appends to *out_payload, also on failure. */
static int read_from(const struct stele_wal *wal, const struct stele_wal__segment *segment,
                     struct stele_bytes bytes, uint64_t place, uint64_t end,
                     struct stele_wal__header *out_header, struct stele_buf *out_payload,
                     struct stele_error *err)
{
    const uint64_t room = end - place;
    if (bytes.size < STELE_WAL__RECORD_HEADER ||
        !stele_wal__header_decode(bytes.data, segment->seed, place, out_header) ||
        out_header->size > room - STELE_WAL__RECORD_HEADER) {
        return fail_damage(segment, place, err);
    }
    const size_t size = out_header->size;
    const size_t have = bytes.size - (size_t)STELE_WAL__RECORD_HEADER;
    const size_t first = size < have ? size : have;
    int outcome = stele_buf_reserve(out_payload, wal->alloc, size);
    if (outcome != STELE_OK) {
        return stele_fail(err, outcome, 0, "WAL: no memory");
    }
    uint8_t *const to = size > 0 ? out_payload->data + out_payload->size : NULL;
    if (first > 0) {
        memcpy(to, bytes.data + STELE_WAL__RECORD_HEADER, first);
    }
    if (size > first) {
        size_t got = 0;
        outcome = wal->io->ops->read(segment->file,
                                     STELE_WAL__SEGMENT_HEADER + (place - segment->base) +
                                         STELE_WAL__RECORD_HEADER + first,
                                     to + first, size - first, false, &got, err);
        if (outcome == STELE_OK && got < size - first) {
            outcome = fail_damage(segment, place, err);
        }
    }
    out_payload->size += size;
    if (outcome == STELE_OK &&
        !stele_wal__payload_is_intact(segment->seed, out_header,
                                      (struct stele_bytes){.data = to, .size = size})) {
        outcome = fail_damage(segment, place, err);
    }
    return outcome;
}

static int read_file(const struct stele_wal *wal, uint64_t place, uint64_t end,
                     struct stele_wal__header *out_header, struct stele_buf *out_payload,
                     struct stele_error *err)
{
    STELE_UNINITIALIZED uint8_t buffer[READ_SIZE];
    const size_t index = segment_of(wal, place);
    const struct stele_wal__segment *const segment = &wal->segments[index];
    if (index + 1 < wal->segments_count) {
        end = wal->segments[index + 1].base;
    }
    const size_t want = end - place < READ_SIZE ? (size_t)(end - place) : READ_SIZE;
    size_t got = 0;
    const int outcome =
        wal->io->ops->read(segment->file, STELE_WAL__SEGMENT_HEADER + (place - segment->base),
                           buffer, want, false, &got, err);
    if (outcome != STELE_OK) {
        return outcome;
    }
    return read_from(wal, segment, (struct stele_bytes){.data = buffer, .size = got}, place, end,
                     out_header, out_payload, err);
}

int stele_wal_read(struct stele_wal *wal, uint64_t place, struct stele_wal_record *out_record,
                   struct stele_buf *out_payload, struct stele_error *err)
{
    STELE_ASSERT(place < wal->end);
    if (place < stele_wal_start(wal)) {
        return STELE_NOT_FOUND;
    }
    const size_t size_before = out_payload->size;
    struct stele_wal__header header;
    int outcome = STELE_OK;
    if (place < wal->durable) {
        outcome = read_file(wal, place, wal->durable, &header, out_payload, err);
    } else {
        const struct stele_wal__batch *batch = wal->first;
        while (place - batch->place >= batch->bytes.size) {
            batch = batch->next;
        }
        const size_t offset = (size_t)(place - batch->place);
        const uint64_t end = batch->place + batch->bytes.size;
        const struct stele_bytes bytes =
            stele_bytes_slice((struct stele_bytes){batch->bytes.data, batch->bytes.size}, offset,
                              batch->bytes.size - offset);
        outcome = read_from(wal, &wal->segments[segment_of(wal, batch->place)], bytes, place, end,
                            &header, out_payload, err);
    }
    if (outcome != STELE_OK) {
        out_payload->size = size_before;
        return outcome;
    }
    *out_record = stele_wal__record_of(
        &header,
        (struct stele_bytes){.data = header.size > 0 ? out_payload->data + size_before : NULL,
                             .size = header.size});
    return STELE_OK;
}

/* ---- Opening, closing, checking ---- */

int stele_wal_open(struct stele_io *io, const struct stele_wal_options *options,
                   stele_wal_record_callback on_record, void *context, struct stele_wal **out_wal,
                   struct stele_error *err)
{
    STELE_ASSERT(options->segment_size >= STELE_WAL_SEGMENT_SIZE_MIN);
    STELE_ASSERT(options->segment_size <= STELE_WAL_SEGMENT_SIZE_MAX);
    STELE_ASSERT(options->spares_max <= STELE_WAL__SPARES_MAX);
    struct stele_wal *const wal = stele_allocate_zeroed(io->alloc, sizeof *wal);
    if (wal == NULL) {
        return stele_fail(err, STELE_E_NO_MEMORY, 0, "WAL: no memory");
    }
    wal->io = io;
    wal->alloc = io->alloc;
    wal->options = *options;
    wal->next_id = 1;
    const int outcome = stele_wal__open(wal, on_record, context, err);
    if (outcome != STELE_OK) {
        stele_wal_close(wal);
        return outcome;
    }
    *out_wal = wal;
    return STELE_OK;
}

void stele_wal_close(struct stele_wal *wal)
{
    if (wal == NULL) {
        return;
    }
    batches_release(wal, wal->first);
    batches_release(wal, wal->free);
    for (size_t index = 0; index < wal->segments_count; index++) {
        wal->io->ops->close(wal->segments[index].file);
    }
    if (wal->mark_file != NULL) {
        wal->io->ops->close(wal->mark_file);
    }
    stele_release(wal->alloc, wal->segments, wal->segments_capacity * sizeof *wal->segments);
    stele_release(wal->alloc, wal->spares, wal->options.spares_max * sizeof *wal->spares);
    stele_release(wal->alloc, wal, sizeof *wal);
}

void stele_wal_check(const struct stele_wal *wal)
{
    STELE_ASSERT(wal->durable <= wal->end);
    STELE_ASSERT(wal->said <= wal->durable);
    STELE_ASSERT(wal->spares_count <= wal->options.spares_max);
    STELE_ASSERT(wal->segments_count > 0);
    for (size_t index = 0; index < wal->segments_count; index++) {
        const struct stele_wal__segment *const segment = &wal->segments[index];
        STELE_ASSERT(segment->file != NULL);
        STELE_ASSERT(segment->base % STELE_WAL__ALIGN == 0);
        if (index > 0) {
            STELE_ASSERT(segment->number == segment[-1].number + 1);
            STELE_ASSERT(segment->base >= segment[-1].base);
            STELE_ASSERT(segment->base <= segment[-1].limit);
        }
    }
    STELE_ASSERT(wal->end >= stele_wal__last(wal)->base);
    STELE_ASSERT(wal->end <= stele_wal__last(wal)->limit);
    uint64_t place = wal->durable;
    size_t taken = 0;
    bool is_taken = true;
    for (const struct stele_wal__batch *batch = wal->first; batch != NULL; batch = batch->next) {
        STELE_ASSERT(batch->place == place);
        STELE_ASSERT(batch->bytes.size > 0);
        STELE_ASSERT(is_taken || batch->id == 0);
        STELE_ASSERT(batch->next != NULL || batch == wal->last);
        is_taken = batch->id != 0;
        taken += is_taken ? 1 : 0;
        place += batch->bytes.size;
    }
    STELE_ASSERT(place == wal->end);
    STELE_ASSERT(taken == wal->taken);
    STELE_ASSERT(taken <= STELE_WAL__IN_FLIGHT_MAX);
}
