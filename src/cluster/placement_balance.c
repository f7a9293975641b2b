/* What is uneven is moved: single votes, chains of them where zones stand in the way, exchanges where partitions are
 * unlike.
 *
 * One number says how uneven a board is: the squares of all loads, of all kinds. Each step lowers it, so this ends, and
 * done again it does nothing. What helps one kind may harm the other one: but never so that some node is further from the
 * mean than the furthest was. Where partitions are unlike a step also has to be worth what it moves: otherwise loads that
 * change a little every second would be followed with moves for ever. */
#include "cluster/placement_internal.h"

/* What a step gains, in shares of what it moves times the mean load: at least one in so many. */
#define WORTH 200
#define WORTH_EXCHANGE 100 /* Two move, so that a little of one does. */
#define PAIRS_MAX                                                                                  \
    UINT32_C(10000000) /* That are looked at for exchanges, in one go: some tens of milliseconds. */

struct step {
    uint32_t row;
    size_t from, to;
};

static bool may_move(const struct board *board, uint32_t row, size_t from, size_t to)
{
    return (board->chosen[row] & bit(from)) != 0 &&
           fits(board, row, board->chosen[row] & ~bit(from), to) &&
           (board->chosen[row] & bit(to)) == 0;
}

static void move(struct board *board, uint32_t row, size_t from, size_t to)
{
    STELE_ASSERT(may_move(board, row, from, to));
    take(board, row, from);
    put(board, row, to);
    note(board, row, board->nodes[from]->number, to);
}

/* ---- What it is worth ---- */

/* By how much the squares of two loads fall if so much goes from one to the other; negative: they grow. */
static int64_t gain_of_kind(const struct board *board, unsigned kind, int64_t weight, size_t from,
                            size_t to)
{
    const int64_t gap = (int64_t)board->load[kind][from] - (int64_t)board->load[kind][to];
    return 2 * weight * (gap - weight);
}

static int64_t gain_of_step(const struct board *board, uint32_t row, size_t from, size_t to)
{
    int64_t gain = 0;
    for (unsigned kind = 0; kind < board->kinds; kind++) {
        gain += gain_of_kind(board, kind, board->weight[kind][row], from, to);
    }
    return gain;
}

/* How far from the mean a load is, in millionths or so of it. */
static uint64_t distance(const struct board *board, unsigned kind, uint64_t load)
{
    const uint64_t share = load * count(board->open);
    const uint64_t off =
        share > board->total[kind] ? share - board->total[kind] : board->total[kind] - share;
    return (off << 20) / board->total[kind];
}

/* Of the open node that is furthest from it. */
static uint64_t furthest(const struct board *board)
{
    uint64_t most = 0;
    for (unsigned kind = 0; kind < board->kinds && board->kinds > 1; kind++) {
        for (uint64_t rest = board->open; rest != 0; rest &= rest - 1) {
            const uint64_t off = distance(board, kind, board->load[kind][first(rest)]);
            most = off > most ? off : most;
        }
    }
    return most;
}

/* Would two nodes be no further from the mean than this, if so much of each kind went from one to the other? */
static bool stays_within(const struct board *board, uint64_t most, const int64_t weights[KINDS],
                         size_t from, size_t to)
{
    for (unsigned kind = 0; kind < board->kinds && board->kinds > 1; kind++) {
        const uint64_t left = (uint64_t)((int64_t)board->load[kind][from] - weights[kind]);
        const uint64_t after = (uint64_t)((int64_t)board->load[kind][to] + weights[kind]);
        if (distance(board, kind, left) > most || distance(board, kind, after) > most) {
            return false;
        }
    }
    return true;
}

/* moved: weight, of all kinds together. */
static bool is_worth(const struct board *board, int64_t gain, uint64_t moved, uint64_t worth)
{
    if (gain <= 0 || board->alike) {
        return gain > 0;
    }
    const uint64_t mean = board->total[0] / count(board->open);
    return (uint64_t)gain / moved >= mean / worth;
}

/* ---- Single moves ---- */

/* The best single move from a node, or to `only` if that is somewhere. */
static bool find_step(const struct board *board, size_t from, size_t only, struct step *out_step)
{
    const uint64_t most = furthest(board);
    int64_t best = 0;
    for (uint32_t row = 0; row < board->rows; row++) {
        if ((board->chosen[row] & bit(from)) == 0) {
            continue;
        }
        const int64_t weights[KINDS] = {board->weight[0][row], board->weight[1][row]};
        uint64_t targets = board->allowed[row] & ~board->chosen[row];
        targets &= only == NOWHERE ? UINT64_MAX : bit(only);
        for (; targets != 0; targets &= targets - 1) {
            const size_t to = first(targets);
            const int64_t gain = gain_of_step(board, row, from, to);
            if (gain > best && is_worth(board, gain, weight_of(board, row), WORTH) &&
                may_move(board, row, from, to) && stays_within(board, most, weights, from, to)) {
                best = gain;
                *out_step = (struct step){.row = row, .from = from, .to = to};
            }
        }
    }
    return best > 0;
}

static bool try_step(struct board *board, size_t from, size_t only)
{
    struct step step;
    if (!find_step(board, from, only, &step)) {
        return false;
    }
    move(board, step.row, step.from, step.to);
    return true;
}

/* ---- Chains ---- */

/* The row that could go from one node to another, with the weight that is nearest to what is wanted. */
static bool find_link(const struct board *board, size_t from, size_t to, uint64_t wanted,
                      uint32_t *out_row)
{
    uint64_t best = UINT64_MAX;
    for (uint32_t row = 0; row < board->rows; row++) {
        const uint64_t weight = weight_of(board, row);
        const uint64_t off = weight > wanted ? weight - wanted : wanted - weight;
        if (off < best && may_move(board, row, from, to)) {
            best = off;
            *out_row = row;
        }
    }
    return best != UINT64_MAX;
}

/* Squares of the loads: less is more even. */
static uint64_t unevenness(const struct board *board)
{
    uint64_t sum = 0;
    for (unsigned kind = 0; kind < board->kinds; kind++) {
        for (size_t i = 0; i < board->nodes_count; i++) {
            sum += board->load[kind][i] * board->load[kind][i];
        }
    }
    return sum;
}

/* The shortest chain of moves from a node to one that has clearly less (or to `only`): zones can forbid the direct way.
 * A shortest chain uses no row in a way that another of its steps forbids, because then there would be a shorter
 * one. Returns how many steps; 0: there is none. */
static size_t find_chain(const struct board *board, size_t from, size_t only,
                         struct step steps[STELE_PLACEMENT_NODES_MAX])
{
    size_t queue[STELE_PLACEMENT_NODES_MAX];
    struct step reached_by[STELE_PLACEMENT_NODES_MAX];
    uint64_t reached = bit(from);
    size_t queued = 1;
    queue[0] = from;
    for (size_t at = 0; at < queued; at++) {
        for (size_t to = 0; to < board->nodes_count; to++) {
            const size_t via = queue[at];
            uint32_t row = 0;
            const uint64_t gap = load_of(board, from) > load_of(board, to)
                                     ? load_of(board, from) - load_of(board, to)
                                     : 0;
            if ((reached & bit(to)) != 0 || !find_link(board, via, to, gap / 2, &row)) {
                continue;
            }
            reached |= bit(to);
            reached_by[to] = (struct step){.row = row, .from = via, .to = to};
            queue[queued++] = to;
            if (weight_of(board, row) >= gap || (only != NOWHERE && to != only)) {
                continue;
            }
            size_t length = 0;
            for (size_t node = to; node != from; node = reached_by[node].from) {
                steps[length++] = reached_by[node];
            }
            return length;
        }
    }
    return 0;
}

static uint64_t least_load(const struct board *board)
{
    uint64_t least = UINT64_MAX;
    for (uint64_t rest = board->open; rest != 0; rest &= rest - 1) {
        const uint64_t load = load_of(board, first(rest));
        least = load < least ? load : least;
    }
    return least;
}

/* Does a chain, its end first so that nobody has more than before meanwhile; or nothing, if it is not worth it. */
static bool try_chain(struct board *board, size_t from, size_t only)
{
    struct step steps[STELE_PLACEMENT_NODES_MAX];
    if (load_of(board, from) < least_load(board) + 2) {
        return false; /* Nothing could gain by it, and looking is dear. */
    }
    const size_t length = find_chain(board, from, only, steps);
    if (length == 0 || (board->moves != NULL && length > board->moves_max - board->moves_count)) {
        return false;
    }
    const uint64_t before = unevenness(board);
    const uint64_t most = furthest(board);
    const size_t moves_before = board->moves_count;
    uint64_t moved = 0;
    size_t gone = 0;
    while (gone < length && may_move(board, steps[gone].row, steps[gone].from, steps[gone].to)) {
        move(board, steps[gone].row, steps[gone].from, steps[gone].to);
        moved += weight_of(board, steps[gone].row);
        gone++;
    }
    if (gone == length && furthest(board) <= most &&
        is_worth(board, (int64_t)(before - unevenness(board)), moved, WORTH)) {
        return true;
    }
    while (gone-- > 0) {
        take(board, steps[gone].row, steps[gone].to);
        put(board, steps[gone].row, steps[gone].from);
    }
    board->moves_count = moves_before;
    return false;
}

/* ---- Exchanges ---- */

struct exchange {
    uint32_t row, against;
    size_t to;
};

static bool may_exchange(const struct board *board, size_t from, const struct exchange *exchange)
{
    return may_move(board, exchange->row, from, exchange->to) &&
           may_move(board, exchange->against, exchange->to, from);
}

/* The best exchange of one row against another between two nodes, if it is better than what there is. *pairs: how many more
 * may be looked at. */
static void find_exchange(const struct board *board, size_t from, size_t to,
                          struct exchange *out_exchange, int64_t *best, uint32_t *pairs)
{
    STELE_ASSERT(board->kinds <= KINDS);
    const uint64_t most = furthest(board);
    for (uint32_t row = 0; row < board->rows; row++) {
        if (*pairs < board->rows || !may_move(board, row, from, to)) {
            continue;
        }
        *pairs -= board->rows;
        for (uint32_t against = 0; against < board->rows; against++) {
            const int64_t weights[KINDS] = {
                (int64_t)board->weight[0][row] - board->weight[0][against],
                (int64_t)board->weight[1][row] - board->weight[1][against]};
            int64_t gain = 0;
            for (unsigned kind = 0; kind < board->kinds; kind++) {
                gain += gain_of_kind(board, kind, weights[kind], from, to);
            }
            const struct exchange exchange = {.row = row, .against = against, .to = to};
            if (gain > *best &&
                is_worth(board, gain, weight_of(board, row) + weight_of(board, against),
                         WORTH_EXCHANGE) &&
                may_exchange(board, from, &exchange) &&
                stays_within(board, most, weights, from, to)) {
                *best = gain;
                *out_exchange = exchange;
            }
        }
    }
}

/* Two for one another, where no single one may go: only unlike ones gain by it. */
static bool try_exchange(struct board *board, size_t from, uint32_t *pairs)
{
    struct exchange exchange = {.to = NOWHERE};
    int64_t best = 0;
    if (board->alike || (board->moves != NULL && board->moves_max - board->moves_count < 2)) {
        return false;
    }
    for (uint64_t rest = board->open & ~bit(from); rest != 0; rest &= rest - 1) {
        find_exchange(board, from, first(rest), &exchange, &best, pairs);
    }
    if (best > 0) {
        move(board, exchange.row, from, exchange.to);
        move(board, exchange.against, exchange.to, from);
    }
    return best > 0;
}

/* ---- All of them ---- */

/* Open nodes, the fullest first; equal ones by number. */
static size_t by_load(const struct board *board, unsigned kind,
                      size_t order[STELE_PLACEMENT_NODES_MAX])
{
    size_t size = 0;
    for (size_t node = 0; node < board->nodes_count; node++) {
        if ((board->open & bit(node)) == 0) {
            continue;
        }
        size_t place = size++;
        while (place > 0 && board->load[kind][order[place - 1]] < board->load[kind][node]) {
            order[place] = order[place - 1];
            place--;
        }
        order[place] = node;
    }
    return size;
}

/* Is this so many percent above, or below, the mean? Without division, which would round. */
static bool is_above(const struct board *board, unsigned kind, size_t node, uint32_t percent)
{
    return board->load[kind][node] * count(board->open) * 100 >
           board->total[kind] * (100 + (uint64_t)percent);
}

static bool is_below(const struct board *board, unsigned kind, size_t node, uint32_t percent)
{
    return percent < 100 && board->load[kind][node] * count(board->open) * 100 <
                                board->total[kind] * (100 - percent);
}

/* One step towards evenness in one kind. false: it is even enough, or there is none. */
static bool balance_once(struct board *board, unsigned kind, uint32_t percent, uint32_t *pairs)
{
    size_t order[STELE_PLACEMENT_NODES_MAX];
    const size_t size = by_load(board, kind, order);
    for (size_t i = 0; i < size && is_above(board, kind, order[i], percent); i++) {
        if (try_step(board, order[i], NOWHERE) || try_chain(board, order[i], NOWHERE)) {
            return true;
        }
    }
    for (size_t low = size; low-- > 0 && is_below(board, kind, order[low], percent);) {
        for (size_t high = 0; high < low; high++) {
            if (try_step(board, order[high], order[low])) {
                return true;
            }
        }
        if (try_chain(board, order[0], order[low])) {
            return true;
        }
    }
    for (size_t i = 0; i < size; i++) {
        const bool is_off =
            is_above(board, kind, order[i], percent) || is_below(board, kind, order[i], percent);
        if (is_off && try_exchange(board, order[i], pairs)) {
            return true;
        }
    }
    return false;
}

void stele_placement__balance(struct board *board, uint32_t percent)
{
    uint32_t pairs = PAIRS_MAX;
    bool goes_on = true;
    while (goes_on && !is_full(board)) {
        goes_on = balance_once(board, 0, percent, &pairs) ||
                  (board->kinds > 1 && balance_once(board, 1, percent, &pairs));
    }
}
