/* The file "mark": how far the log is known to have been durable. Two slots are written in turn, so
 * that a torn write leaves the other one.
 *
 *     offset  size  field (of each slot of 512 bytes)
 *          0     4  checksum   CRC-32C of the store's secret, then of bytes 4 … 511
 *          4     4  version    1
 *          8     8  magic      "STELMARK"
 *         16     8  sequence   1, 2, …; slot = sequence mod 2
 *         24     8  durable    everything below this place was durable
 *         32     4  previous   header_checksum of the last frame below it
 *         36   476  zeros
 *
 * Without it recovery cannot tell that the last acknowledged frames of a log rotted from their
 * never having been written: no later frame speaks for them. */
#include "base/checksum.h"
#include "log/log_internal.h"

#define CHECKSUM_AT 0
#define VERSION_AT 4
#define MAGIC_AT 8
#define SEQUENCE_AT 16
#define DURABLE_AT 24
#define PREVIOUS_AT 32

#define VERSION 1
#define SLOTS 2

static const uint8_t magic[8] = {'S', 'T', 'E', 'L', 'M', 'A', 'R', 'K'};

static uint32_t checksum_of(const uint8_t *slot, uint32_t seed)
{
    return stele_crc32c_extend(
        seed, (struct stele_bytes){.data = slot + VERSION_AT,
                                   .size = STELE_LOG__MARK_SLOT_SIZE - VERSION_AT});
}

void stele_log__mark_encode(uint8_t *buffer, uint32_t seed, const struct stele_log__mark *mark)
{
    memset(buffer, 0, STELE_LOG__MARK_SLOT_SIZE);
    stele_store_u32le(buffer + VERSION_AT, VERSION);
    memcpy(buffer + MAGIC_AT, magic, sizeof magic);
    stele_store_u64le(buffer + SEQUENCE_AT, mark->sequence);
    stele_store_u64le(buffer + DURABLE_AT, mark->durable);
    stele_store_u32le(buffer + PREVIOUS_AT, mark->checksum);
    stele_store_u32le(buffer + CHECKSUM_AT, checksum_of(buffer, seed));
}

void stele_log__mark_decode(struct stele_bytes bytes, uint32_t seed,
                            struct stele_log__mark *out_mark)
{
    *out_mark = (struct stele_log__mark){0};
    for (size_t at = 0; bytes.size - at >= STELE_LOG__MARK_SLOT_SIZE;
         at += STELE_LOG__MARK_SLOT_SIZE) {
        const uint8_t *const slot = bytes.data + at;
        const uint64_t sequence = stele_load_u64le(slot + SEQUENCE_AT);
        if (stele_load_u32le(slot + CHECKSUM_AT) == checksum_of(slot, seed) &&
            stele_load_u32le(slot + VERSION_AT) == VERSION &&
            memcmp(slot + MAGIC_AT, magic, sizeof magic) == 0 && sequence > out_mark->sequence) {
            out_mark->sequence = sequence;
            out_mark->durable = stele_load_u64le(slot + DURABLE_AT);
            out_mark->checksum = stele_load_u32le(slot + PREVIOUS_AT);
        }
    }
}

/* STELE_NOT_FOUND is no failure, so its words are nobody's. */
static int open_mark(struct stele_io *io, bool writable, struct stele_file **out_file,
                     struct stele_error *err)
{
    struct stele_error words = {.outcome = STELE_OK};
    const int outcome = io->ops->open(io, STELE_LOG__MARK, writable, out_file, &words);
    if (outcome != STELE_OK && outcome != STELE_NOT_FOUND && err != NULL) {
        *err = words;
    }
    return outcome;
}

int stele_log__mark_read(struct stele_io *io, uint32_t seed, struct stele_log__mark *out_mark,
                         struct stele_error *err)
{
    *out_mark = (struct stele_log__mark){0};
    struct stele_file *file = NULL;
    int outcome = open_mark(io, false, &file, err);
    if (outcome == STELE_NOT_FOUND) {
        return STELE_OK;
    }
    if (outcome != STELE_OK) {
        return outcome;
    }
    uint8_t bytes[SLOTS * STELE_LOG__MARK_SLOT_SIZE];
    size_t size = 0;
    outcome = io->ops->read(file, 0, bytes, sizeof bytes, true, &size, err);
    io->ops->close(file);
    if (outcome == STELE_OK) {
        stele_log__mark_decode((struct stele_bytes){.data = bytes, .size = size}, seed, out_mark);
    }
    return outcome;
}

void stele_log_get_mark(struct stele_log *log, struct stele_log_mark *out_mark)
{
    log->mark_sequence++;
    const struct stele_log__mark mark = {
        .sequence = log->mark_sequence,
        .durable = log->synced,
        .checksum = log->checksum_synced,
    };
    stele_log__mark_encode(out_mark->bytes, log->identity.seed, &mark);
    out_mark->slot_offset = mark.sequence % SLOTS * STELE_LOG__MARK_SLOT_SIZE;
}

_Static_assert(sizeof((struct stele_log_mark *)0)->bytes == STELE_LOG__MARK_SLOT_SIZE,
               "the face and the format agree on the size of a slot");

int stele_log_put_mark(struct stele_io *io, const struct stele_log_mark *mark,
                       struct stele_error *err)
{
    struct stele_file *file = NULL;
    bool created = false;
    int outcome = open_mark(io, true, &file, err);
    if (outcome == STELE_NOT_FOUND) {
        created = true;
        outcome = io->ops->create(io, STELE_LOG__MARK, SLOTS * STELE_LOG__MARK_SLOT_SIZE, true,
                                  &file, err);
    }
    if (outcome != STELE_OK) {
        return outcome;
    }
    const struct stele_bytes bytes = {.data = mark->bytes, .size = sizeof mark->bytes};
    outcome = io->ops->write(file, mark->slot_offset, bytes, err);
    if (outcome == STELE_OK) {
        outcome = io->ops->sync(file, err);
    }
    io->ops->close(file);
    if (outcome == STELE_OK && created) {
        outcome = io->ops->sync_names(io, err);
    }
    return outcome;
}
