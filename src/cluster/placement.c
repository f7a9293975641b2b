#include "cluster/placement.h"

#include "base/checksum.h"
#include "base/status.h"
#include "cluster/placement_internal.h"

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

/* Of one kind: shares of WEIGHT_TOTAL. NULL: all alike. */
static void scale_weights(const struct board *board, const uint64_t *from, uint32_t *to)
{
    uint64_t most = 0;
    for (uint32_t i = 0; i < board->rows && from != NULL; i++) {
        most = from[i] > most ? from[i] : most;
    }
    unsigned shift = 0;
    while (most >> shift > WEIGHT_TOTAL) { /* 1024 of these times WEIGHT_TOTAL fit. */
        shift++;
    }
    uint64_t sum = 0;
    for (uint32_t i = 0; i < board->rows && from != NULL; i++) {
        sum += from[i] >> shift;
    }
    for (uint32_t i = 0; i < board->rows; i++) {
        const uint64_t weight = sum == 0 ? 1 : (from[i] >> shift) * WEIGHT_TOTAL / sum;
        /* What costs nothing today is spread as well: it may not stay so. */
        to[i] = weight == 0 ? 1 : (uint32_t)weight;
    }
}

static bool is_alike(const struct board *board, unsigned kind)
{
    for (uint32_t i = 1; i < board->rows; i++) {
        if (board->weight[kind][i] != board->weight[kind][0]) {
            return false;
        }
    }
    return true;
}

static void board_weights(struct board *board, const struct stele_placement *placement)
{
    scale_weights(board, placement->bytes == NULL ? placement->rates : placement->bytes,
                  board->weight[0]);
    scale_weights(board, placement->rates, board->weight[1]);
    const bool both = placement->bytes != NULL && placement->rates != NULL;
    board->alike = is_alike(board, 0) && (!both || is_alike(board, 1));
    board->kinds = both && !board->alike ? KINDS : 1;
    for (uint32_t i = 0; i < board->rows; i++) {
        const unsigned allowed = count(board->allowed[i]);
        board->weight[0][i] = board->alike ? 1 : board->weight[0][i];
        for (unsigned kind = 0; kind < board->kinds; kind++) {
            board->total[kind] += board->weight[kind][i] *
                                  (uint64_t)(allowed < board->width ? allowed : board->width);
        }
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
    const uint64_t mean =
        (board->total[0] + (board->kinds > 1 ? board->total[1] : 0)) / count(board->open);
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
        if (load_of(board, node) + weight_of(board, row) <= mean) {
            return node;
        }
        if (second == NOWHERE && load_of(board, node) <= mean) {
            second = node;
        }
        if (least == NOWHERE || load_of(board, node) < load_of(board, least)) {
            least = node;
        }
    }
    return second != NOWHERE ? second : least;
}

static unsigned width_of(const struct board *board, uint32_t row)
{
    const unsigned allowed = count(board->has_full ? board->open : board->allowed[row]);
    return allowed < board->width ? allowed : board->width;
}

/* Of a row with too many in one zone: the fullest node of that zone. NOWHERE: there is none too many. */
static size_t one_too_many(const struct board *board, uint32_t row)
{
    size_t fullest = NOWHERE;
    const unsigned cap = has_free_zone(board, row, board->chosen[row]) ? 1 : board->cap;
    for (uint64_t rest = board->chosen[row]; rest != 0; rest &= rest - 1) {
        const size_t node = first(rest);
        if (count(board->chosen[row] & board->zone[node]) > cap &&
            (fullest == NOWHERE || load_of(board, node) > load_of(board, fullest))) {
            fullest = node;
        }
    }
    return fullest;
}

/* lost: nodes of the row that are known, but may not stay: where a move comes from, if somebody asks. */
static void fill_row(struct board *board, uint32_t row, uint64_t lost)
{
    while (!is_full(board) && count(board->chosen[row]) < width_of(board, row)) {
        size_t node = choose(board, row);
        STELE_ASSERT(node != NOWHERE || board->has_full); /* The cap leaves room for a whole row. */
        if (node == NOWHERE && lost != 0) {
            put(board, row, first(lost)); /* Better who should go than nobody. */
            lost &= lost - 1;
            continue;
        }
        if (node == NOWHERE) {
            board->allowed[row] = board->open; /* And better without room. */
            node = choose(board, row);
            STELE_ASSERT(node != NOWHERE);
        }
        put(board, row, node);
        note(board, row, lost == 0 ? 0 : board->nodes[first(lost)]->number, node);
        lost &= lost - 1;
    }
    for (size_t from = one_too_many(board, row); from != NOWHERE && !is_full(board);
         from = one_too_many(board, row)) {
        take(board, row, from);
        const size_t node = choose(board, row);
        STELE_ASSERT(node != NOWHERE || board->has_full);
        if (node == NOWHERE || node == from) {
            put(board, row, from);
            return;
        }
        put(board, row, node);
        note(board, row, board->nodes[from]->number, node);
    }
}

/* Nodes without room keep what they have, and get what nobody else could take. table: as in fill(). */
static void close_full(struct board *board, const uint64_t *table, size_t width)
{
    uint64_t full = 0;
    for (size_t i = 0; i < board->nodes_count; i++) {
        full |= board->nodes[i]->full ? bit(i) : 0;
    }
    board->has_full = full != 0;
    for (uint32_t i = 0; i < board->rows && full != 0; i++) {
        const uint64_t has = table == NULL ? 0 : ranks_of(board, table + i * width, width);
        board->allowed[i] &= ~full | has;
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
    stele_placement__balance(leaders, percent);
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
    close_full(board, table, placement->replicas);
    fill(board, table, placement->replicas);
    stele_placement__balance(board, percent);
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
    stele_placement__balance(board, percent);
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
    close_full(board, table, placement->replicas);
    fill(board, table, placement->replicas);
    const size_t forced = board->moves_count;
    if (*running || stele_placement_imbalance(placement, table) >= STELE_PLACEMENT_BEGIN) {
        stele_placement__balance(board, STELE_PLACEMENT_END);
        *running = is_full(board) || board->moves_count > forced;
    }
    *out_count = board->moves_count;
    board_destroy(alloc, board);
    return STELE_OK;
}

/* weights: NULL: all alike. */
static uint32_t imbalance_in(const struct stele_placement *placement, const uint64_t *weights,
                             const uint64_t *table)
{
    uint64_t loads[STELE_PLACEMENT_NODES_MAX] = {0};
    uint64_t total = 0;
    uint64_t open = 0;
    uint64_t scale = 0;
    for (uint32_t i = 0; i < placement->partitions && weights != NULL; i++) {
        scale |= weights[i];
    }
    const unsigned shift =
        scale >> 36 == 0 ? 0 : 28; /* 2^36 * 1024 * 64 * 64 * 100 would not fit. */
    for (uint32_t i = 0; i < placement->partitions; i++) {
        const uint64_t weight = weights == NULL ? 1 : weights[i] >> shift;
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

uint32_t stele_placement_imbalance(const struct stele_placement *placement, const uint64_t *table)
{
    const bool has_both = placement->bytes != NULL && placement->rates != NULL;
    const uint32_t one = imbalance_in(
        placement, placement->bytes == NULL ? placement->rates : placement->bytes, table);
    const uint32_t other = has_both ? imbalance_in(placement, placement->rates, table) : 0;
    return one > other ? one : other;
}
