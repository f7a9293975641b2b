/* What each partition has and what is done with it, as one node has seen it: bytes, and appends and bytes a second as moving
 * averages over five minutes.
 *
 *     every command that is executed ──▶ add() ──▶ tick() once in a while ──▶ weights() ──▶ placement
 *
 * Every node executes every command, so every node knows all of it by itself: nothing is reported, nothing stands in a
 * log, and a new leader of the cluster plans with what it has seen. What nodes know may differ a little; only the one that
 * leads the cluster plans by it, and what it decides stands in the table.
 *
 * Bytes are counted as they come and never taken away: what scavenging or an older version left behind is spread over all
 * partitions in proportion, by the size that the store really has.
 *
 * Pure: time comes in, and it may stand still; one thread at a time.
 *
 * Invariants: L1 an average is never above the highest rate of one interval in it. L2 before AGE_MIN_MS of it, no rate is
 * told, because the first seconds after a start say little. L3 weights are never 0, and small differences
 * between small partitions vanish beside STELE_LOAD_FLOOR_…. */
#ifndef STELE_CLUSTER_LOAD_H
#define STELE_CLUSTER_LOAD_H

#include "base/bytes.h"
#include "base/compiler.h"
#include "base/position.h"

#define STELE_LOAD_WINDOW_MS 300000 /* Of the averages. */
#define STELE_LOAD_AGE_MIN_MS 60000 /* From when on they are told. */
#define STELE_LOAD_APPEND_COST 1024 /* An append costs as much as so many bytes more of it. */
/* What each partition counts for beside what it has: what is small is not worth moving. */
#define STELE_LOAD_FLOOR_BYTES (UINT64_C(16) << 20)
#define STELE_LOAD_FLOOR_RATE (UINT64_C(64) << 10) /* Bytes a second. */
#define STELE_LOAD_ENCODED_MAX (16 + 8 * (size_t)STELE_PARTITIONS_MAX)

struct stele_load_partition {
    uint64_t bytes;                 /* Ever seen. */
    uint64_t appends, size;         /* Since the last tick. */
    uint64_t appends_avg, size_avg; /* A second, in 16ths. */
};

/* About 40 KiB. */
struct stele_load {
    uint32_t partitions;
    int64_t began_us, ticked_us; /* 0: there was no tick yet. */
    struct stele_load_partition of[STELE_PARTITIONS_MAX];
};

void stele_load_init(struct stele_load *load, uint32_t partitions);
/* One command of a partition. */
void stele_load_add(struct stele_load *load, uint32_t partition, uint64_t bytes);
/* Bytes that came without being executed here now: no rate. */
void stele_load_copied(struct stele_load *load, uint32_t partition, uint64_t bytes);
/* now_us: monotonic. Does nothing if less than a second has passed. */
void stele_load_tick(struct stele_load *load, int64_t now_us);

/* Appends, and bytes, a second; 0 as long as nobody knows (L2). */
uint64_t stele_load_appends(const struct stele_load *load, uint32_t partition);
uint64_t stele_load_rate(const struct stele_load *load, uint32_t partition);
/* What the partition is of a store of this size (0: not known). */
uint64_t stele_load_bytes(const struct stele_load *load, uint32_t partition, uint64_t stored);

/* What placement weighs: two rows of as many numbers as there are partitions. */
void stele_load_weights(const struct stele_load *load, uint64_t stored, uint64_t *out_bytes,
                        uint64_t *out_rates);

/* The bytes that were seen, for the next start:
 *
 *     offset size
 *          0    1  version: 1
 *          1    7  0
 *          8    4  partitions
 *         12    4  CRC-32C of what follows
 *         16       8 for each partition
 *
 * Returns the size. */
size_t stele_load_encode(const struct stele_load *load, uint8_t to[STELE_LOAD_ENCODED_MAX]);
/* Into a load that was just initialised. Any bytes are safe. STELE_OK, STELE_E_CORRUPT (also of another number of
 * partitions): nothing is changed. */
STELE_MUST_USE
int stele_load_decode(struct stele_load *load, struct stele_bytes bytes);

#endif
