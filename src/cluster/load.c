#include "cluster/load.h"

#include "base/checksum.h"
#include "base/status.h"

#define TICK_US 1000000
#define FINE 16 /* Of one append, or byte, a second. */
/* In one interval: more is not counted, so that what follows fits into 64 bits. */
#define SAMPLE_MAX (UINT64_C(1) << 31)
_Static_assert(SAMPLE_MAX *FINE * 1000 / 1000 * STELE_LOAD_WINDOW_MS < UINT64_MAX / 2,
               "an average times its window fits");
#define HEADER 16

void stele_load_init(struct stele_load *load, uint32_t partitions)
{
    STELE_ASSERT(partitions >= 1);
    STELE_ASSERT(partitions <= STELE_PARTITIONS_MAX);
    memset(load, 0, sizeof *load);
    load->partitions = partitions;
}

void stele_load_copied(struct stele_load *load, uint32_t partition, uint64_t bytes)
{
    STELE_ASSERT(partition < load->partitions);
    struct stele_load_partition *const of = &load->of[partition];
    of->bytes += bytes < UINT64_MAX - of->bytes ? bytes : UINT64_MAX - of->bytes;
}

void stele_load_add(struct stele_load *load, uint32_t partition, uint64_t bytes)
{
    stele_load_copied(load, partition, bytes);
    struct stele_load_partition *const of = &load->of[partition];
    of->appends += of->appends < SAMPLE_MAX ? 1 : 0;
    of->size += of->size < SAMPLE_MAX && bytes < SAMPLE_MAX ? bytes : 0;
}

/* A plain mean as long as the window is not full, then one that forgets what is older than it. */
static uint64_t average(uint64_t before, uint64_t sample, uint64_t passed_ms, uint64_t window_ms)
{
    const uint64_t now = (sample < SAMPLE_MAX ? sample : SAMPLE_MAX) * FINE * 1000 / passed_ms;
    const uint64_t part = passed_ms < window_ms ? passed_ms : window_ms;
    return (before * (window_ms - part) + now * part) / window_ms;
}

void stele_load_tick(struct stele_load *load, int64_t now_us)
{
    if (load->ticked_us == 0) {
        load->began_us = now_us;
        load->ticked_us = now_us;
    }
    if (now_us - load->ticked_us < TICK_US) {
        return;
    }
    const uint64_t passed_ms = (uint64_t)(now_us - load->ticked_us) / 1000;
    const uint64_t age_ms = (uint64_t)(now_us - load->began_us) / 1000;
    const uint64_t window_ms = age_ms < STELE_LOAD_WINDOW_MS ? age_ms : STELE_LOAD_WINDOW_MS;
    STELE_ASSERT(passed_ms <= age_ms);
    for (uint32_t i = 0; i < load->partitions; i++) {
        struct stele_load_partition *const of = &load->of[i];
        of->appends_avg = average(of->appends_avg, of->appends, passed_ms, window_ms);
        of->size_avg = average(of->size_avg, of->size, passed_ms, window_ms);
        of->appends = 0;
        of->size = 0;
    }
    load->ticked_us = now_us;
}

static bool is_known(const struct stele_load *load)
{
    return load->ticked_us - load->began_us >= (int64_t)STELE_LOAD_AGE_MIN_MS * 1000;
}

uint64_t stele_load_appends(const struct stele_load *load, uint32_t partition)
{
    STELE_ASSERT(partition < load->partitions);
    return is_known(load) ? load->of[partition].appends_avg / FINE : 0;
}

uint64_t stele_load_rate(const struct stele_load *load, uint32_t partition)
{
    STELE_ASSERT(partition < load->partitions);
    return is_known(load) ? load->of[partition].size_avg / FINE : 0;
}

/* part / whole of a number. Loses the lowest bits of large ones, and never overflows. */
static uint64_t share_of(uint64_t number, uint64_t part, uint64_t whole)
{
    while (part >> 31 != 0 || whole >> 31 != 0) {
        part >>= 1;
        whole >>= 1;
    }
    if (whole == 0) {
        return 0;
    }
    const uint64_t high = number / whole * part; /* At most the number: part is within the whole. */
    return high + number % whole * part / whole;
}

static uint64_t sum_of(const struct stele_load *load)
{
    uint64_t sum = 0;
    for (uint32_t i = 0; i < load->partitions; i++) {
        const uint64_t bytes = load->of[i].bytes;
        sum += bytes < UINT64_MAX - sum ? bytes : UINT64_MAX - sum;
    }
    return sum;
}

static uint64_t bytes_of(const struct stele_load *load, uint32_t partition, uint64_t sum,
                         uint64_t stored)
{
    const uint64_t seen = load->of[partition].bytes;
    if (stored == 0) {
        return seen;
    }
    return stored >= sum ? seen + (stored - sum) / load->partitions : share_of(stored, seen, sum);
}

uint64_t stele_load_bytes(const struct stele_load *load, uint32_t partition, uint64_t stored)
{
    STELE_ASSERT(partition < load->partitions);
    return bytes_of(load, partition, sum_of(load), stored);
}

void stele_load_weights(const struct stele_load *load, uint64_t stored, uint64_t *out_bytes,
                        uint64_t *out_rates)
{
    const uint64_t sum = sum_of(load);
    for (uint32_t i = 0; i < load->partitions; i++) {
        out_bytes[i] = bytes_of(load, i, sum, stored) + STELE_LOAD_FLOOR_BYTES;
        out_rates[i] = stele_load_rate(load, i) +
                       stele_load_appends(load, i) * STELE_LOAD_APPEND_COST + STELE_LOAD_FLOOR_RATE;
    }
}

/* ---- Bytes ---- */

size_t stele_load_encode(const struct stele_load *load, uint8_t to[STELE_LOAD_ENCODED_MAX])
{
    const size_t size = HEADER + 8 * (size_t)load->partitions;
    memset(to, 0, HEADER);
    to[0] = 1;
    stele_store_u32le(to + 8, load->partitions);
    for (uint32_t i = 0; i < load->partitions; i++) {
        stele_store_u64le(to + HEADER + 8 * (size_t)i, load->of[i].bytes);
    }
    stele_store_u32le(
        to + 12, stele_crc32c((struct stele_bytes){.data = to + HEADER, .size = size - HEADER}));
    return size;
}

int stele_load_decode(struct stele_load *load, struct stele_bytes bytes)
{
    if (bytes.size != HEADER + 8 * (size_t)load->partitions || bytes.data[0] != 1 ||
        stele_load_u32le(bytes.data + 8) != load->partitions ||
        stele_load_u32le(bytes.data + 12) !=
            stele_crc32c(stele_bytes_slice(bytes, HEADER, bytes.size - HEADER))) {
        return STELE_E_CORRUPT;
    }
    for (uint32_t i = 0; i < load->partitions; i++) {
        load->of[i].bytes = stele_load_u64le(bytes.data + HEADER + 8 * (size_t)i);
    }
    return STELE_OK;
}
