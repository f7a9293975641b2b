/* Snapshots, and letting go of the WAL.
 *
 * A snapshot costs nothing: it is the owner's word that everything up to an index has its effect elsewhere. The entries
 * stay for followers that lag, as long as the WAL is short. What makes it long is that all groups share it: an idle
 * group's term, vote and last entries lie where they were written, and would hold everything behind them. So they are
 * put again at the end before the beginning goes. */
#include "raft/raft_internal.h"

/* What the record of an entry takes besides its payload, roughly. */
#define RECORD_SIZE 64

static void drop_configs(struct stele_raft__group *group)
{
    uint32_t count = 0;
    while (count < group->configs_count &&
           group->configs[count].index <= group->snapshot.members.index) {
        count++;
    }
    group->configs_count -= count;
    if (count > 0 && group->configs_count > 0) {
        memmove(group->configs, group->configs + count,
                group->configs_count * sizeof *group->configs);
    }
}

int stele_raft_snapshot(struct stele_raft *raft, uint32_t group_number, uint64_t index,
                        struct stele_bytes data, struct stele_error *err)
{
    STELE_ASSERT(group_number < raft->options.groups_count);
    STELE_ASSERT(!raft->turning);
    STELE_ASSERT(data.size <= STELE_RAFT_SNAPSHOT_SIZE_MAX);
    struct stele_raft__group *const group = &raft->groups[group_number];
    if (raft->failed != STELE_OK) {
        return raft->failed;
    }
    if (group->installing || index <= group->snapshot.index) {
        return STELE_OK;
    }
    STELE_ASSERT(index <= group->told);
    struct stele_buf kept = {NULL, 0, 0};
    int outcome = stele_buf_append(&kept, raft->alloc, data);
    if (outcome != STELE_OK) {
        return outcome;
    }
    const struct stele_raft__members members = *stele_raft__members_at(group, index);
    const uint64_t term = stele_raft__term_of(group, index);
    outcome = stele_raft__step_snapshot(raft, group, index, raft->options.trailing, err);
    if (outcome != STELE_OK) {
        stele_buf_deinit(&kept, raft->alloc);
        raft->failed = outcome;
        return outcome;
    }
    stele_buf_deinit(&group->snapshot.data, raft->alloc);
    group->snapshot = (struct stele_raft__snapshot){
        .index = index, .term = term, .members = members, .data = kept};
    drop_configs(group);
    outcome = stele_raft__put_snapshot(raft, group, &group->snapshot, false, err);
    raft->failed = outcome;
    return outcome;
}

int stele_raft_installed(struct stele_raft *raft, uint32_t group_number, struct stele_error *err)
{
    STELE_ASSERT(group_number < raft->options.groups_count);
    STELE_ASSERT(!raft->turning);
    struct stele_raft__group *const group = &raft->groups[group_number];
    STELE_ASSERT(group->install_told);
    if (raft->failed != STELE_OK) {
        return raft->failed;
    }
    if (!group->installing || group->installed) {
        return STELE_OK;
    }
    group->installed = true;
    const int outcome = stele_raft__put_snapshot(raft, group, &group->install, true, err);
    raft->failed = outcome;
    return outcome;
}

/* ---- Trimming ---- */

/* Up to where may the WAL go? As far as asked, unless that means writing much again: then the groups whose owner lags
 * hold it. */
static uint64_t find_limit(const struct stele_raft *raft, uint64_t wanted)
{
    uint64_t limit = wanted;
    uint64_t budget = raft->options.wal_keep / 4;
    for (uint32_t i = 0; i < raft->options.groups_count; i++) {
        const struct stele_raft__group *const group = &raft->groups[i];
        if (group->installing && group->install_floor < limit) {
            limit = group->install_floor;
        }
        if (group->installed && group->install.place < limit) {
            limit = group->install.place;
        }
        uint64_t index = group->snapshot.index + 1;
        index = index < group->first ? group->first : index;
        uint64_t size = 0;
        uint64_t lowest = limit;
        for (; index <= group->last; index++) {
            const struct stele_raft__entry *const entry = stele_raft__at(group, index);
            size += entry->size + RECORD_SIZE;
            lowest = entry->place < lowest ? entry->place : lowest;
        }
        if (lowest < limit && size > budget) {
            limit = lowest;
        } else if (lowest < limit) {
            budget -= size;
        }
    }
    return limit;
}

/* Lets go of entries up to index, which the snapshot covers. libraft does so only when it takes another snapshot than
 * the last one: so it takes the one before, and then that one again. */
static int drop_entries(struct stele_raft *raft, struct stele_raft__group *group, uint64_t index,
                        struct stele_error *err)
{
    const uint64_t snapshot = group->snapshot.index;
    STELE_ASSERT(index <= snapshot);
    STELE_ASSERT(index >= group->first);
    if (snapshot - 1 < group->first) {
        return STELE_OK;
    }
    const uint64_t before = index < snapshot ? index : snapshot - 1;
    int outcome = stele_raft__step_snapshot(raft, group, snapshot - 1, snapshot - 1 - before, err);
    if (outcome == STELE_OK) {
        outcome = stele_raft__step_snapshot(raft, group, snapshot, snapshot - index, err);
    }
    return outcome;
}

/* Places grow along a log, unless the last attempt to put it again was cut short, by a full disk or a crash. What it did
 * put would begin the log anew for whoever recovers without what was there before (recover.c), and so would take the
 * rest along: nothing may go until all of it has been put again. */
static bool reaches_below(const struct stele_raft__group *group, uint64_t limit)
{
    uint64_t before = 0;
    for (uint64_t index = group->first; index <= group->last; index++) {
        const uint64_t place = stele_raft__at(group, index)->place;
        if (place < limit || place < before) {
            return true;
        }
        before = place;
    }
    return false;
}

static int put_again(struct stele_raft *raft, struct stele_raft__group *group, uint64_t limit,
                     struct stele_error *err)
{
    int outcome = STELE_OK;
    if (group->term > 0 && group->hard_place < limit) {
        outcome = stele_raft__put_hard_again(raft, group, err);
    }
    if (outcome == STELE_OK && group->snapshot.index != 0 && group->snapshot.place < limit) {
        outcome = stele_raft__put_snapshot(raft, group, &group->snapshot, false, err);
    }
    if (outcome != STELE_OK || group->installing) {
        return outcome;
    }
    uint64_t covered = group->first - 1;
    while (covered < group->last && covered < group->snapshot.index &&
           stele_raft__at(group, covered + 1)->place < limit) {
        covered++;
    }
    if (covered >= group->first) {
        outcome = drop_entries(raft, group, covered, err);
    }
    if (outcome != STELE_OK || !reaches_below(group, limit)) {
        return outcome;
    }
    for (uint64_t index = group->first; outcome == STELE_OK && index <= group->last; index++) {
        outcome = stele_raft__put_entry(raft, group, index, true, err);
    }
    return outcome;
}

int stele_raft_trim(struct stele_raft *raft, struct stele_error *err)
{
    STELE_ASSERT(!raft->turning);
    if (raft->failed != STELE_OK) {
        return raft->failed;
    }
    const uint64_t end = stele_wal_end(raft->wal);
    if (raft->trimming || raft->stalled ||
        end - stele_wal_start(raft->wal) <= raft->options.wal_keep) {
        return STELE_OK;
    }
    const uint64_t limit = find_limit(raft, end - raft->options.wal_keep);
    if (limit <= stele_wal_start(raft->wal)) {
        return STELE_OK;
    }
    for (uint32_t i = 0; i < raft->options.groups_count; i++) {
        const int outcome = put_again(raft, &raft->groups[i], limit, err);
        if (outcome != STELE_OK) {
            raft->failed = outcome;
            return outcome;
        }
        if (raft->stalled) {
            return STELE_OK; /* Nothing may go before all of it is there. */
        }
    }
    raft->trimming = true;
    raft->trim_after = stele_wal_end(raft->wal);
    raft->trim_to = limit;
    return STELE_OK;
}

int stele_raft__trim_go_on(struct stele_raft *raft, struct stele_error *err)
{
    if (!raft->trimming || raft->durable < raft->trim_after) {
        return STELE_OK;
    }
    raft->trimming = false;
    return stele_wal_trim(raft->wal, raft->trim_to, err);
}
