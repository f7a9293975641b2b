#include "cluster/placement.h"

#include "base/checksum.h"
#include "base/status.h"

/* Sums of weights times replicas stay below this, so that their squares fit into 64 bits. */
#define LOAD_MAX (UINT64_C(1) << 31)
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
    uint64_t load[STELE_PLACEMENT_NODES_MAX];
    uint64_t total; /* Of all loads, when every row is full. */
    uint64_t chosen[STELE_PARTITIONS_MAX];
    uint64_t allowed[STELE_PARTITIONS_MAX];
    uint32_t weight[STELE_PARTITIONS_MAX];
    size_t points_count;
    struct point points[POINTS_MAX];
    /* What was moved, if the caller wants to know it. */
    struct stele_placement_move *moves;
    size_t moves_count, moves_max;
};

static uint64_t bit(size_t node)
{
    STELE_ASSERT(node < STELE_PLACEMENT_NODES_MAX);
    return UINT64_C(1) << node;
}

static unsigned count(uint64_t nodes)
{
    return (unsigned)__builtin_popcountll(nodes);
}

static size_t first(uint64_t nodes)
{
    return (size_t)__builtin_ctzll(nodes);
}

/* ---- Setting up ---- */

static void board_nodes(struct board *board, const struct stele_placement *placement)
{
    STELE_ASSERT(placement->nodes_count <= STELE_PLACEMENT_NODES_MAX);
    board->nodes_count = placement->nodes_count;
    for (size_t i = 0; i < placement->nodes_count; i++) {
        size_t place = i;
        while (place > 0 && board->nodes[place - 1]->number > placement->nodes[i].number) {
            board->nodes[place] = board->nodes[place - 1];
            place--;
        }
        board->nodes[place] = &placement->nodes[i];
    }
    for (size_t i = 0; i < board->nodes_count; i++) {
        const struct stele_placement_node *const node = board->nodes[i];
        STELE_ASSERT(node->number > (i == 0 ? 0 : board->nodes[i - 1]->number));
        board->open |= node->open ? bit(i) : 0;
        board->zone[i] = bit(i);
        for (size_t j = 0; j < i && node->zone != NULL && node->zone[0] != '\0'; j++) {
            if (board->nodes[j]->zone != NULL && strcmp(board->nodes[j]->zone, node->zone) == 0) {
                board->zone[i] |= bit(j);
                board->zone[j] |= bit(i);
            }
        }
    }
}

/* The least that the fullest zone of a row can have, if the row has `width` of these nodes. */
static unsigned cap_of(const struct board *board, uint64_t nodes, unsigned width)
{
    unsigned cap = 0;
    unsigned room = 0;
    while (room < width) {
        cap++;
        room = 0;
        for (uint64_t rest = nodes; rest != 0;) {
            const uint64_t zone = board->zone[first(rest)] & rest;
            room += count(zone) < cap ? count(zone) : cap;
            rest &= ~zone;
        }
    }
    return cap;
}

static void board_weights(struct board *board, const struct stele_placement *placement)
{
    uint64_t most = 1;
    for (uint32_t i = 0; i < board->rows && placement->weights != NULL; i++) {
        most = placement->weights[i] > most ? placement->weights[i] : most;
    }
    const uint64_t weight_max = LOAD_MAX / board->rows / STELE_PLACEMENT_NODES_MAX;
    unsigned shift = 0;
    while (most >> shift > weight_max) {
        shift++;
    }
    for (uint32_t i = 0; i < board->rows; i++) {
        const uint64_t weight = placement->weights == NULL ? 1 : placement->weights[i] >> shift;
        /* What costs nothing today is spread as well: it may not stay so. */
        board->weight[i] = weight == 0 ? 1 : (uint32_t)weight;
        const unsigned allowed = count(board->allowed[i]);
        board->total +=
            board->weight[i] * (uint64_t)(allowed < board->width ? allowed : board->width);
    }
}

static bool point_is_before(const struct point *a, const struct point *b)
{
    return a->hash != b->hash ? a->hash < b->hash : a->node < b->node;
}

/* Heapsort: no memory, and no input makes it slow. */
static void sift(struct point *points, size_t from, size_t size)
{
    for (size_t child = 2 * from + 1; child < size; child = 2 * from + 1) {
        if (child + 1 < size && point_is_before(&points[child], &points[child + 1])) {
            child++;
        }
        if (!point_is_before(&points[from], &points[child])) {
            return;
        }
        const struct point swapped = points[from];
        points[from] = points[child];
        points[child] = swapped;
        from = child;
    }
}

static void sort_points(struct point *points, size_t size)
{
    for (size_t i = size / 2; i-- > 0;) {
        sift(points, i, size);
    }
    for (size_t end = size; end-- > 1;) {
        const struct point swapped = points[0];
        points[0] = points[end];
        points[end] = swapped;
        sift(points, 0, end);
    }
}

static void board_ring(struct board *board)
{
    for (size_t i = 0; i < board->nodes_count; i++) {
        for (uint32_t k = 0; k < STELE_PLACEMENT_VIRTUAL; k++) {
            uint8_t key[12];
            stele_store_u64le(key, board->nodes[i]->number);
            stele_store_u32le(key + 8, k);
            const struct stele_bytes bytes = {.data = key, .size = sizeof(key)};
            board->points[board->points_count++] =
                (struct point){.hash = stele_murmur3(bytes), .node = (uint8_t)i};
        }
    }
    sort_points(board->points, board->points_count);
}

static size_t rank_of(const struct board *board, uint64_t number)
{
    for (size_t i = 0; i < board->nodes_count; i++) {
        if (board->nodes[i]->number == number) {
            return i;
        }
    }
    return NOWHERE;
}

static uint64_t ranks_of(const struct board *board, const uint64_t *numbers, size_t size)
{
    uint64_t nodes = 0;
    for (size_t i = 0; i < size; i++) {
        const size_t rank = numbers[i] == 0 ? NOWHERE : rank_of(board, numbers[i]);
        nodes |= rank == NOWHERE ? 0 : bit(rank);
    }
    return nodes;
}

/* rows: of what may be chosen from, `placement->replicas` wide; NULL: from all open nodes. */
static struct board *board_create(struct stele_alloc *alloc,
                                  const struct stele_placement *placement, unsigned width,
                                  const uint64_t *rows)
{
    STELE_ASSERT(placement->partitions >= 1);
    STELE_ASSERT(placement->partitions <= STELE_PARTITIONS_MAX);
    struct board *const board = stele_allocate_zeroed(alloc, sizeof(*board));
    if (board == NULL) {
        return NULL;
    }
    board->rows = placement->partitions;
    board_nodes(board, placement);
    const unsigned open = count(board->open);
    board->width = width < open ? width : open;
    board->cap = rows == NULL ? cap_of(board, board->open, board->width) : board->width;
    for (uint32_t i = 0; i < board->rows; i++) {
        board->allowed[i] = rows == NULL ? board->open
                                         : ranks_of(board, rows + (size_t)i * placement->replicas,
                                                    placement->replicas) &
                                               board->open;
    }
    board_weights(board, placement);
    board_ring(board);
    return board;
}

static void board_destroy(struct stele_alloc *alloc, struct board *board)
{
    stele_release(alloc, board, sizeof(*board));
}

/* ---- Moving ---- */

static void put(struct board *board, uint32_t row, size_t node)
{
    STELE_ASSERT((board->chosen[row] & bit(node)) == 0);
    board->chosen[row] |= bit(node);
    board->load[node] += board->weight[row];
}

static void take(struct board *board, uint32_t row, size_t node)
{
    STELE_ASSERT((board->chosen[row] & bit(node)) != 0);
    board->chosen[row] &= ~bit(node);
    board->load[node] -= board->weight[row];
}

/* May the row have this node as well, if it had those? */
static bool fits(const struct board *board, uint32_t row, uint64_t others, size_t node)
{
    return (board->allowed[row] & bit(node)) != 0 && (others & bit(node)) == 0 &&
           count(others & board->zone[node]) < board->cap;
}

static bool may_move(const struct board *board, uint32_t row, size_t from, size_t to)
{
    return (board->chosen[row] & bit(from)) != 0 &&
           fits(board, row, board->chosen[row] & ~bit(from), to) &&
           (board->chosen[row] & bit(to)) == 0;
}

static bool is_full(const struct board *board)
{
    return board->moves != NULL && board->moves_count == board->moves_max;
}

static void note(struct board *board, uint32_t row, uint64_t from, size_t to)
{
    if (board->moves != NULL) {
        STELE_ASSERT(board->moves_count < board->moves_max);
        board->moves[board->moves_count++] = (struct stele_placement_move){
            .partition = row, .from = from, .to = board->nodes[to]->number};
    }
}

static void move(struct board *board, uint32_t row, size_t from, size_t to)
{
    STELE_ASSERT(may_move(board, row, from, to));
    take(board, row, from);
    put(board, row, to);
    note(board, row, board->nodes[from]->number, to);
}

/* ---- Filling: what is missing, from the ring ---- */

static size_t ring_begin(const struct board *board, uint32_t row)
{
    uint8_t key[4];
    stele_store_u32le(key, row);
    const uint32_t hash = stele_murmur3((struct stele_bytes){.data = key, .size = sizeof(key)});
    size_t low = 0;
    size_t high = board->points_count;
    while (low < high) {
        const size_t middle = low + (high - low) / 2;
        if (board->points[middle].hash < hash) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

/* Who gets a replica of the row: the first on the ring that does not get above the mean by it, else the first that is
 * not above it yet, else the one with the least. */
static size_t choose(const struct board *board, uint32_t row)
{
    const size_t begin = ring_begin(board, row);
    const uint64_t mean = board->total / count(board->open);
    uint64_t met = 0;
    size_t second = NOWHERE;
    size_t least = NOWHERE;
    for (size_t i = 0; i < board->points_count && met != board->allowed[row]; i++) {
        const size_t node = board->points[(begin + i) % board->points_count].node;
        if ((met & bit(node)) != 0 || (board->allowed[row] & bit(node)) == 0) {
            continue;
        }
        met |= bit(node);
        if (!fits(board, row, board->chosen[row], node)) {
            continue;
        }
        if (board->load[node] + board->weight[row] <= mean) {
            return node;
        }
        if (second == NOWHERE && board->load[node] <= mean) {
            second = node;
        }
        if (least == NOWHERE || board->load[node] < board->load[least]) {
            least = node;
        }
    }
    return second != NOWHERE ? second : least;
}

static unsigned width_of(const struct board *board, uint32_t row)
{
    const unsigned allowed = count(board->allowed[row]);
    return allowed < board->width ? allowed : board->width;
}

/* Of a row with too many in one zone: the fullest node of that zone. NOWHERE: there is none too many. */
static size_t one_too_many(const struct board *board, uint32_t row)
{
    size_t fullest = NOWHERE;
    for (uint64_t rest = board->chosen[row]; rest != 0; rest &= rest - 1) {
        const size_t node = first(rest);
        if (count(board->chosen[row] & board->zone[node]) > board->cap &&
            (fullest == NOWHERE || board->load[node] > board->load[fullest])) {
            fullest = node;
        }
    }
    return fullest;
}

/* lost: nodes of the row that are known, but may not stay: where a move comes from, if somebody asks. */
static void fill_row(struct board *board, uint32_t row, uint64_t lost)
{
    while (!is_full(board) && count(board->chosen[row]) < width_of(board, row)) {
        const size_t node = choose(board, row);
        STELE_ASSERT(node != NOWHERE); /* The cap leaves room for a whole row. */
        put(board, row, node);
        note(board, row, lost == 0 ? 0 : board->nodes[first(lost)]->number, node);
        lost &= lost - 1;
    }
    for (size_t from = one_too_many(board, row); from != NOWHERE && !is_full(board);
         from = one_too_many(board, row)) {
        take(board, row, from);
        const size_t node = choose(board, row);
        STELE_ASSERT(node != NOWHERE);
        put(board, row, node);
        note(board, row, board->nodes[from]->number, node);
    }
}

/* Takes over what may stay of a table, and fills the rest. table: width numbers in a row; NULL: nothing. */
static void fill(struct board *board, const uint64_t *table, size_t width)
{
    uint64_t lost[STELE_PARTITIONS_MAX] = {0};
    for (uint32_t i = 0; i < board->rows && table != NULL; i++) {
        const uint64_t there = ranks_of(board, table + i * width, width);
        uint64_t stays = there & board->allowed[i];
        while (count(stays) > board->width) { /* There were more replicas once. */
            stays &= ~bit(63 - (size_t)__builtin_clzll(stays));
        }
        lost[i] = there & ~board->allowed[i];
        for (; stays != 0; stays &= stays - 1) {
            put(board, i, first(stays));
        }
    }
    for (uint32_t i = 0; i < board->rows; i++) {
        fill_row(board, i, lost[i]);
    }
}

/* ---- Balancing ---- */

struct step {
    uint32_t row;
    size_t from, to;
};

/* The best single move from a node, or to `only` if that is somewhere: both end up as near to each other as can be. */
static bool find_step(const struct board *board, size_t from, size_t only, struct step *out_step)
{
    uint64_t best = UINT64_MAX;
    uint64_t best_after = UINT64_MAX;
    for (uint32_t row = 0; row < board->rows; row++) {
        if ((board->chosen[row] & bit(from)) == 0) {
            continue;
        }
        const uint64_t weight = board->weight[row];
        uint64_t targets = board->allowed[row] & ~board->chosen[row];
        targets &= only == NOWHERE ? UINT64_MAX : bit(only);
        for (; targets != 0; targets &= targets - 1) {
            const size_t to = first(targets);
            const uint64_t after = board->load[to] + weight;
            const uint64_t left = board->load[from] - weight;
            const uint64_t worse = after > left ? after : left;
            const bool better = worse != best ? worse < best : after < best_after;
            if (after < board->load[from] && better && may_move(board, row, from, to)) {
                best = worse;
                best_after = after;
                *out_step = (struct step){.row = row, .from = from, .to = to};
            }
        }
    }
    return best != UINT64_MAX;
}

/* The row that could go from one node to another, with the weight that is nearest to what is wanted. */
static bool find_link(const struct board *board, size_t from, size_t to, uint64_t wanted,
                      uint32_t *out_row)
{
    uint64_t best = UINT64_MAX;
    for (uint32_t row = 0; row < board->rows; row++) {
        const uint64_t weight = board->weight[row];
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
    for (size_t i = 0; i < board->nodes_count; i++) {
        sum += board->load[i] * board->load[i];
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
            const uint64_t gap =
                board->load[from] > board->load[to] ? board->load[from] - board->load[to] : 0;
            if ((reached & bit(to)) != 0 || !find_link(board, via, to, gap / 2, &row)) {
                continue;
            }
            reached |= bit(to);
            reached_by[to] = (struct step){.row = row, .from = via, .to = to};
            queue[queued++] = to;
            if (board->weight[row] >= gap || (only != NOWHERE && to != only)) {
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
        const uint64_t load = board->load[first(rest)];
        least = load < least ? load : least;
    }
    return least;
}

/* Does a chain, its end first so that nobody has more than before meanwhile; or nothing, if it gains nothing. */
static bool try_chain(struct board *board, size_t from, size_t only)
{
    struct step steps[STELE_PLACEMENT_NODES_MAX];
    if (board->load[from] < least_load(board) + 2) {
        return false; /* Nothing could gain by it, and looking is dear. */
    }
    const size_t length = find_chain(board, from, only, steps);
    if (length == 0 || (board->moves != NULL && length > board->moves_max - board->moves_count)) {
        return false;
    }
    const uint64_t before = unevenness(board);
    const size_t moves_before = board->moves_count;
    size_t gone = 0;
    while (gone < length && may_move(board, steps[gone].row, steps[gone].from, steps[gone].to)) {
        move(board, steps[gone].row, steps[gone].from, steps[gone].to);
        gone++;
    }
    if (gone == length && unevenness(board) < before) {
        return true;
    }
    while (gone-- > 0) {
        take(board, steps[gone].row, steps[gone].to);
        put(board, steps[gone].row, steps[gone].from);
    }
    board->moves_count = moves_before;
    return false;
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

/* Open nodes, the fullest first; equal ones by number. */
static size_t by_load(const struct board *board, size_t order[STELE_PLACEMENT_NODES_MAX])
{
    size_t size = 0;
    for (size_t node = 0; node < board->nodes_count; node++) {
        if ((board->open & bit(node)) == 0) {
            continue;
        }
        size_t place = size++;
        while (place > 0 && board->load[order[place - 1]] < board->load[node]) {
            order[place] = order[place - 1];
            place--;
        }
        order[place] = node;
    }
    return size;
}

/* Is this so many percent above, or below, the mean? Without division, which would round. */
static bool is_above(const struct board *board, size_t node, uint32_t percent)
{
    return board->load[node] * count(board->open) * 100 > board->total * (100 + percent);
}

static bool is_below(const struct board *board, size_t node, uint32_t percent)
{
    return board->load[node] * count(board->open) * 100 < board->total * (100 - percent);
}

/* One step towards evenness. false: it is even enough, or there is none. */
static bool balance_once(struct board *board, uint32_t percent)
{
    size_t order[STELE_PLACEMENT_NODES_MAX];
    const size_t size = by_load(board, order);
    for (size_t i = 0; i < size && is_above(board, order[i], percent); i++) {
        if (try_step(board, order[i], NOWHERE) || try_chain(board, order[i], NOWHERE)) {
            return true;
        }
    }
    for (size_t low = size; low-- > 0 && is_below(board, order[low], percent);) {
        for (size_t high = 0; high < low; high++) {
            if (try_step(board, order[high], order[low])) {
                return true;
            }
        }
        if (try_chain(board, order[0], order[low])) {
            return true;
        }
    }
    return false;
}

static void balance(struct board *board, uint32_t percent)
{
    while (!is_full(board) && balance_once(board, percent)) {
    }
}

/* ---- Face ---- */

/* Rows as tables have them. leaders: one of each row. */
static void write_table(const struct board *board, const struct stele_placement *placement,
                        const struct board *leaders, uint64_t *out_table)
{
    for (uint32_t i = 0; i < board->rows; i++) {
        uint64_t *const row = out_table + (size_t)i * placement->replicas;
        size_t at = 0;
        const uint64_t leader = leaders->chosen[i];
        if (leader != 0) {
            row[at++] = board->nodes[first(leader)]->number;
        }
        for (uint64_t rest = board->chosen[i] & ~leader; rest != 0; rest &= rest - 1) {
            row[at++] = board->nodes[first(rest)]->number;
        }
        memset(row + at, 0, (placement->replicas - at) * sizeof(row[0]));
    }
}

/* The leaders of rows that a board has chosen; those of the table stay if they may. */
static int lead(struct stele_alloc *alloc, const struct stele_placement *placement,
                const struct board *board, const uint64_t *table, uint32_t percent,
                struct board **out_leaders)
{
    struct board *const leaders = board_create(alloc, placement, 1, NULL);
    if (leaders == NULL) {
        return STELE_E_NO_MEMORY;
    }
    for (uint32_t i = 0; i < board->rows; i++) {
        leaders->allowed[i] = board->chosen[i];
        const size_t rank =
            table == NULL ? NOWHERE : rank_of(board, table[(size_t)i * placement->replicas]);
        if (rank != NOWHERE && (board->chosen[i] & bit(rank)) != 0) {
            put(leaders, i, rank);
        }
    }
    fill(leaders, NULL, 0);
    balance(leaders, percent);
    *out_leaders = leaders;
    return STELE_OK;
}

static int make_table(struct stele_alloc *alloc, const struct stele_placement *placement,
                      const uint64_t *table, uint32_t percent, uint64_t *out_table)
{
    struct board *const board = board_create(alloc, placement, placement->replicas, NULL);
    struct board *leaders = NULL;
    if (board == NULL) {
        return STELE_E_NO_MEMORY;
    }
    fill(board, table, placement->replicas);
    balance(board, percent);
    const int outcome = lead(alloc, placement, board, table, percent, &leaders);
    if (outcome == STELE_OK) {
        write_table(board, placement, leaders, out_table);
        board_destroy(alloc, leaders);
    }
    board_destroy(alloc, board);
    return outcome;
}

int stele_placement_spread(struct stele_alloc *alloc, const struct stele_placement *placement,
                           uint64_t *out_table)
{
    return make_table(alloc, placement, NULL, 0, out_table);
}

int stele_placement_adjust(struct stele_alloc *alloc, const struct stele_placement *placement,
                           const uint64_t *table, uint32_t percent, uint64_t *out_table)
{
    return make_table(alloc, placement, table, percent, out_table);
}

int stele_placement_leaders(struct stele_alloc *alloc, const struct stele_placement *placement,
                            const uint64_t *replicas, const uint64_t *leaders, uint32_t percent,
                            uint64_t *out_leaders)
{
    struct board *const board = board_create(alloc, placement, 1, replicas);
    if (board == NULL) {
        return STELE_E_NO_MEMORY;
    }
    fill(board, leaders, 1);
    balance(board, percent);
    for (uint32_t i = 0; i < board->rows; i++) {
        out_leaders[i] = board->chosen[i] == 0 ? 0 : board->nodes[first(board->chosen[i])]->number;
    }
    board_destroy(alloc, board);
    return STELE_OK;
}

int stele_placement_plan(struct stele_alloc *alloc, const struct stele_placement *placement,
                         const uint64_t *table, bool *running,
                         struct stele_placement_move out_moves[STELE_PLACEMENT_MOVES_MAX],
                         size_t *out_count)
{
    struct board *const board = board_create(alloc, placement, placement->replicas, NULL);
    if (board == NULL) {
        return STELE_E_NO_MEMORY;
    }
    board->moves = out_moves;
    board->moves_max = STELE_PLACEMENT_MOVES_MAX;
    fill(board, table, placement->replicas);
    const size_t forced = board->moves_count;
    if (*running || stele_placement_imbalance(placement, table) >= STELE_PLACEMENT_BEGIN) {
        balance(board, STELE_PLACEMENT_END);
        *running = is_full(board) || board->moves_count > forced;
    }
    *out_count = board->moves_count;
    board_destroy(alloc, board);
    return STELE_OK;
}

uint32_t stele_placement_imbalance(const struct stele_placement *placement, const uint64_t *table)
{
    uint64_t loads[STELE_PLACEMENT_NODES_MAX] = {0};
    uint64_t total = 0;
    uint64_t open = 0;
    uint64_t scale = 0;
    for (uint32_t i = 0; i < placement->partitions && placement->weights != NULL; i++) {
        scale |= placement->weights[i];
    }
    const unsigned shift =
        scale >> 36 == 0 ? 0 : 28; /* 2^36 * 1024 * 64 * 64 * 100 would not fit. */
    for (uint32_t i = 0; i < placement->partitions; i++) {
        const uint64_t weight = placement->weights == NULL ? 1 : placement->weights[i] >> shift;
        for (size_t k = 0; k < placement->replicas; k++) {
            for (size_t n = 0; n < placement->nodes_count; n++) {
                const bool is_here =
                    placement->nodes[n].open &&
                    placement->nodes[n].number == table[(size_t)i * placement->replicas + k];
                loads[n] += is_here ? weight : 0;
                total += is_here ? weight : 0;
            }
        }
    }
    for (size_t n = 0; n < placement->nodes_count; n++) {
        open += placement->nodes[n].open;
    }
    uint64_t worst = 0;
    for (size_t n = 0; n < placement->nodes_count && total > 0; n++) {
        const uint64_t share = loads[n] * open;
        const uint64_t off = share > total ? share - total : total - share;
        if (placement->nodes[n].open) {
            const uint64_t percent = off / total * 100 + (off % total * 100 + total - 1) / total;
            worst = percent > worst ? percent : worst;
        }
    }
    return (uint32_t)worst;
}
