/* Comparing replicas: what every node executed, as hashes that are equal on all of them.
 *
 * Executing is a function (docs/internals/cluster.md), so nodes that executed the same commands have to
 * have had the same outcomes. Each node keeps a running hash over stamp, bytes and outcome of every
 * command, which begins anew with every window of about a second of the stamps' time. Windows are
 * what makes it comparable: a node that was restarted, or that fetched events instead of executing
 * commands, has a whole hash again from the next window on.
 *
 *     window     │   w   │  w+1  │  w+2  │
 *     commands     x x x   x   x   x x       the newest one is open: its hash is that up to `through`
 *
 * Two nodes can be compared in a window that both have executed from its beginning, if both are
 * through with it, or both stand at the same command.
 *
 * Pure: no memory of its own, no clock. One thread at a time. */
#ifndef STELE_CLUSTER_HASHES_H
#define STELE_CLUSTER_HASHES_H

#include "base/bytes.h"
#include "base/compiler.h"

#include <stele/stele.h>

#define STELE_HASHES_WINDOW_BITS 32 /* Of a stamp: 1024 ms. */
#define STELE_HASHES_KEPT 256       /* Windows with commands in them that are remembered. */
#define STELE_HASHES_TOLD 16        /* Of them, told to others each time. */
#define STELE_HASHES_SIZE_MAX ((size_t)8 + 16 * (STELE_HASHES_TOLD + 1))

struct stele_hashes_row {
    uint64_t through; /* The last command that is in it; 0: none. */
    uint64_t hash;
};

struct stele_hashes {
    uint64_t
        from; /* Of what is at or below it, others or an earlier life may have executed some. */
    struct stele_hashes_row open;
    struct stele_hashes_row kept[STELE_HASHES_KEPT]; /* A ring, by their windows. */
    uint64_t kept_count;                             /* Ever. */
};

/* Some of what is at or below this stamp is not executed here, by this life: also how it begins. After a start that is
 * more than what the store ends with: what changed nothing is not seen there, and some of it is still in the WAL
 * and executed again, some of it not, because partitions are trimmed one by one. */
void stele_hashes_begin(struct stele_hashes *hashes, uint64_t stamp);
/* A command was executed; stamps grow. bytes_hash: of the command. */
void stele_hashes_add(struct stele_hashes *hashes, uint64_t stamp, uint64_t bytes_hash, int outcome,
                      const struct stele_append_result *result);

/* For another node. Returns the size. */
size_t stele_hashes_encode(const struct stele_hashes *hashes, uint8_t to[STELE_HASHES_SIZE_MAX]);

/* What is remembered about another node. All 0 in the beginning. */
struct stele_hashes_peer {
    uint64_t settled; /* Windows up to this one were compared, one by one, or cannot be any more. */
    uint64_t compared, differing; /* Windows. */
    uint64_t first;               /* Window that differed; meaningful if differing > 0. */
    struct stele_hashes_row last; /* The newest that differed, as that node has it. */
};

/* Compares what another node told. Any bytes are safe. Returns how many windows were found to differ
 * that were not known to. */
unsigned stele_hashes_compare(const struct stele_hashes *own, struct stele_bytes told,
                              struct stele_hashes_peer *peer);

/* Where a window begins, as a stamp. */
uint64_t stele_hashes_stamp(uint64_t window);
uint64_t stele_hashes_window(uint64_t stamp);

#endif
