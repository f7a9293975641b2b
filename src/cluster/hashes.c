#include "cluster/hashes.h"

#include "base/assert.h"
#include "base/checksum.h"

/*     offset  size  field
 *          0     4  rows of windows that it is through with
 *          4     4  1: one more row follows, of the open window
 *          8     …  rows: through (8), hash (8) */
#define ROW_SIZE 16
#define HEAD_SIZE 8

uint64_t stele_hashes_window(uint64_t stamp)
{
    return stamp >> STELE_HASHES_WINDOW_BITS;
}

uint64_t stele_hashes_stamp(uint64_t window)
{
    return window << STELE_HASHES_WINDOW_BITS;
}

void stele_hashes_begin(struct stele_hashes *hashes, uint64_t stamp)
{
    const uint64_t from = stamp > hashes->from ? stamp : hashes->from;
    *hashes = (struct stele_hashes){.from = from};
}

static bool is_whole(const struct stele_hashes *hashes, uint64_t window)
{
    return window > stele_hashes_window(hashes->from);
}

void stele_hashes_add(struct stele_hashes *hashes, uint64_t stamp, uint64_t bytes_hash, int outcome,
                      const struct stele_append_result *result)
{
    struct stele_hashes_row *const open = &hashes->open;
    const uint64_t window = stele_hashes_window(stamp);
    STELE_ASSERT(stamp > open->through);
    if (open->through != 0 && stele_hashes_window(open->through) != window) {
        if (is_whole(hashes, stele_hashes_window(open->through))) {
            hashes->kept[hashes->kept_count++ % STELE_HASHES_KEPT] = *open;
        }
        open->hash = 0;
    }
    /* Everything that follows from the command and the store, and nothing of this machine. */
    const uint64_t facts[] = {
        stamp,
        bytes_hash,
        (uint64_t)(int64_t)outcome,
        (uint64_t)(result->idempotent != 0),
        result->position_first,
        result->position_last,
        result->revision_first,
        result->revision_last,
        (uint64_t)result->failed,
        result->conflict_position,
    };
    uint8_t bytes[sizeof facts];
    for (size_t i = 0; i < sizeof facts / sizeof facts[0]; i++) {
        stele_store_u64le(bytes + 8 * i, facts[i]);
    }
    open->hash =
        stele_hash64((struct stele_bytes){.data = bytes, .size = sizeof bytes}, open->hash);
    open->through = stamp;
}

static void put_row(uint8_t *to, const struct stele_hashes_row *row)
{
    stele_store_u64le(to, row->through);
    stele_store_u64le(to + 8, row->hash);
}

size_t stele_hashes_encode(const struct stele_hashes *hashes, uint8_t to[STELE_HASHES_SIZE_MAX])
{
    const uint64_t count =
        hashes->kept_count < STELE_HASHES_TOLD ? hashes->kept_count : STELE_HASHES_TOLD;
    const struct stele_hashes_row *const open = &hashes->open;
    const bool tells_open =
        open->through != 0 && is_whole(hashes, stele_hashes_window(open->through));
    size_t size = HEAD_SIZE;
    stele_store_u32le(to, (uint32_t)count);
    stele_store_u32le(to + 4, tells_open ? 1 : 0);
    for (uint64_t i = hashes->kept_count - count; i < hashes->kept_count; i++) {
        put_row(to + size, &hashes->kept[i % STELE_HASHES_KEPT]);
        size += ROW_SIZE;
    }
    if (tells_open) {
        put_row(to + size, open);
        size += ROW_SIZE;
    }
    return size;
}

/* The own row of a window, and whether it is complete. NULL: nothing to compare with. */
static const struct stele_hashes_row *find(const struct stele_hashes *hashes, uint64_t window,
                                           bool *out_closed)
{
    const struct stele_hashes_row *const open = &hashes->open;
    if (open->through != 0 && stele_hashes_window(open->through) == window) {
        *out_closed = false;
        return is_whole(hashes, window) ? open : NULL;
    }
    const uint64_t count =
        hashes->kept_count < STELE_HASHES_KEPT ? hashes->kept_count : STELE_HASHES_KEPT;
    for (uint64_t i = 1; i <= count; i++) {
        const struct stele_hashes_row *const row =
            &hashes->kept[(hashes->kept_count - i) % STELE_HASHES_KEPT];
        if (stele_hashes_window(row->through) == window) {
            *out_closed = true;
            return row;
        }
    }
    return NULL;
}

static unsigned differ(struct stele_hashes_peer *peer, uint64_t window,
                       const struct stele_hashes_row *row)
{
    peer->settled = window;
    peer->compared++;
    peer->first = peer->differing == 0 ? window : peer->first;
    peer->differing++;
    peer->last = *row;
    return 1;
}

static unsigned compare_row(const struct stele_hashes *own, const struct stele_hashes_row *row,
                            bool closed, struct stele_hashes_peer *peer)
{
    const uint64_t window = stele_hashes_window(row->through);
    bool own_closed = false;
    if (row->through == 0 || window <= peer->settled) {
        return 0;
    }
    const struct stele_hashes_row *const mine = find(own, window, &own_closed);
    const bool same_place = mine != NULL && mine->through == row->through;
    if (mine == NULL || (!same_place && !(closed && own_closed))) {
        return 0;
    }
    if (!same_place || mine->hash != row->hash) {
        return differ(peer, window, row);
    }
    if (closed && own_closed) {
        peer->settled = window;
        peer->compared++;
    }
    return 0;
}

unsigned stele_hashes_compare(const struct stele_hashes *own, struct stele_bytes told,
                              struct stele_hashes_peer *peer)
{
    if (told.size < HEAD_SIZE) {
        return 0;
    }
    const uint32_t count = stele_load_u32le(told.data);
    const uint32_t open = stele_load_u32le(told.data + 4);
    if (count > STELE_HASHES_TOLD || open > 1 ||
        told.size != HEAD_SIZE + (size_t)ROW_SIZE * (count + open)) {
        return 0;
    }
    unsigned found = 0;
    for (uint32_t i = 0; i < count + open; i++) {
        const uint8_t *const at = told.data + HEAD_SIZE + (size_t)ROW_SIZE * i;
        const struct stele_hashes_row row = {.through = stele_load_u64le(at),
                                             .hash = stele_load_u64le(at + 8)};
        found += compare_row(own, &row, i < count, peer);
    }
    return found;
}
