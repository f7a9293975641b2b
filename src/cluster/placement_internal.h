/* Shared by placement.c (rows are filled, tables read and written) and placement_balance.c (what is uneven is moved).
 * Nobody else includes it. */
#ifndef STELE_CLUSTER_PLACEMENT_INTERNAL_H
#define STELE_CLUSTER_PLACEMENT_INTERNAL_H

#include "base/status.h"
#include "cluster/placement.h"

/* What partitions are unlike in. Where they are not, there is one kind, and each weighs 1. */
#define KINDS 2
/* Of one kind, all partitions together; so that kinds compare, and squares of loads fit into 64 bits. */
#define WEIGHT_TOTAL (UINT64_C(1) << 24)
#define POINTS_MAX ((size_t)STELE_PLACEMENT_NODES_MAX * STELE_PLACEMENT_VIRTUAL)
#define NOWHERE SIZE_MAX

struct point {
    uint32_t hash;
    uint8_t node;
};

/* Nodes are bits here, by their rank among the numbers. */
struct board {
    size_t nodes_count;
    const struct stele_placement_node *nodes[STELE_PLACEMENT_NODES_MAX]; /* By number. */
    uint64_t zone[STELE_PLACEMENT_NODES_MAX]; /* Who is in the same one, itself included. */
    uint64_t open;
    uint32_t rows;
    unsigned width; /* Nodes that a row should have, where so many are allowed. */
    unsigned cap;   /* Of one zone in a row. */
    unsigned kinds; /* 1 … KINDS */
    bool alike;     /* All partitions weigh the same. */
    bool has_full;  /* Some node has no room. */
    uint64_t load[KINDS][STELE_PLACEMENT_NODES_MAX];
    uint64_t total[KINDS]; /* Of all loads, when every row is full. */
    uint32_t weight[KINDS][STELE_PARTITIONS_MAX];
    uint64_t chosen[STELE_PARTITIONS_MAX];
    uint64_t allowed[STELE_PARTITIONS_MAX];
    size_t points_count;
    struct point points[POINTS_MAX];
    /* What was moved, if the caller wants to know it. */
    struct stele_placement_move *moves;
    size_t moves_count, moves_max;
};

static inline uint64_t bit(size_t node)
{
    STELE_ASSERT(node < STELE_PLACEMENT_NODES_MAX);
    return UINT64_C(1) << node;
}

static inline unsigned count(uint64_t nodes)
{
    return (unsigned)__builtin_popcountll(nodes);
}

static inline size_t first(uint64_t nodes)
{
    return (size_t)__builtin_ctzll(nodes);
}

/* Of all kinds together. */
static inline uint64_t load_of(const struct board *board, size_t node)
{
    return board->load[0][node] + (board->kinds > 1 ? board->load[1][node] : 0);
}

static inline uint64_t weight_of(const struct board *board, uint32_t row)
{
    return board->weight[0][row] + (board->kinds > 1 ? (uint64_t)board->weight[1][row] : 0);
}

static inline void put(struct board *board, uint32_t row, size_t node)
{
    STELE_ASSERT((board->chosen[row] & bit(node)) == 0);
    board->chosen[row] |= bit(node);
    for (unsigned kind = 0; kind < board->kinds; kind++) {
        board->load[kind][node] += board->weight[kind][row];
    }
}

static inline void take(struct board *board, uint32_t row, size_t node)
{
    STELE_ASSERT((board->chosen[row] & bit(node)) != 0);
    board->chosen[row] &= ~bit(node);
    for (unsigned kind = 0; kind < board->kinds; kind++) {
        board->load[kind][node] -= board->weight[kind][row];
    }
}

/* Is there a zone that the row could have and has nobody of? */
static inline bool has_free_zone(const struct board *board, uint32_t row, uint64_t others)
{
    for (uint64_t rest = board->allowed[row] & ~others; rest != 0; rest &= rest - 1) {
        if ((board->zone[first(rest)] & others) == 0) {
            return true;
        }
    }
    return false;
}

/* May the row have this node as well, if it had those? */
static inline bool fits(const struct board *board, uint32_t row, uint64_t others, size_t node)
{
    const uint64_t together = others & board->zone[node];
    return (board->allowed[row] & bit(node)) != 0 && (others & bit(node)) == 0 &&
           count(together) < board->cap && (together == 0 || !has_free_zone(board, row, others));
}

static inline bool is_full(const struct board *board)
{
    return board->moves != NULL && board->moves_count == board->moves_max;
}

static inline void note(struct board *board, uint32_t row, uint64_t from, size_t to)
{
    if (board->moves != NULL) {
        STELE_ASSERT(board->moves_count < board->moves_max);
        board->moves[board->moves_count++] = (struct stele_placement_move){
            .partition = row, .from = from, .to = board->nodes[to]->number};
    }
}

/* ---- placement_balance.c ---- */

/* Moves what makes the board more even, until no open node is further from the mean than this, or nothing that is worth
 * its move is left. */
void stele_placement__balance(struct board *board, uint32_t percent);

#endif
