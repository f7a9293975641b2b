/* A group's log: for each index where its record lies in the WAL, and the newest payloads in memory.
 *
 * libraft keeps one record per term and no entries; those are here. The WAL is written once and in order, so
 * an entry at an index that exists takes back what was there, and nothing needs to be undone. */
#include "raft/raft_internal.h"

#define CAPACITY_FIRST 16

/* ---- Payloads in memory ---- */

struct stele_raft__payload *stele_raft__payload_create(struct stele_raft *raft,
                                                       struct stele_bytes bytes)
{
    struct stele_raft__payload *const payload =
        stele_allocate(raft->alloc, sizeof *payload + bytes.size);
    if (payload != NULL) {
        memset(payload, 0, sizeof *payload);
        payload->size = (uint32_t)bytes.size;
        if (bytes.size > 0) {
            memcpy(payload->data, bytes.data, bytes.size);
        }
    }
    return payload;
}

void stele_raft__payload_destroy(struct stele_raft *raft, struct stele_raft__payload *payload)
{
    if (payload != NULL) {
        stele_release(raft->alloc, payload, sizeof *payload + payload->size);
    }
}

static void unlink_payload(struct stele_raft *raft, struct stele_raft__payload *payload)
{
    *(payload->older != NULL ? &payload->older->newer : &raft->oldest) = payload->newer;
    *(payload->newer != NULL ? &payload->newer->older : &raft->newest) = payload->older;
    raft->cache_bytes -= sizeof *payload + payload->size;
}

static void drop_payload(struct stele_raft *raft, struct stele_raft__entry *entry)
{
    if (entry->payload != NULL) {
        unlink_payload(raft, entry->payload);
        stele_raft__payload_destroy(raft, entry->payload);
        entry->payload = NULL;
    }
}

void stele_raft__keep(struct stele_raft *raft, struct stele_raft__group *group, uint64_t index,
                      struct stele_raft__payload *take_payload)
{
    struct stele_raft__entry *const entry = stele_raft__at(group, index);
    STELE_ASSERT(entry->payload == NULL);
    STELE_ASSERT(entry->size == take_payload->size);
    take_payload->group = group->number;
    take_payload->index = index;
    take_payload->newer = NULL;
    take_payload->older = raft->newest;
    *(raft->newest != NULL ? &raft->newest->newer : &raft->oldest) = take_payload;
    raft->newest = take_payload;
    raft->cache_bytes += sizeof *take_payload + take_payload->size;
    entry->payload = take_payload;
}

/* Entries that are in no other place stay, and so does what came after them: that is rare and short. */
void stele_raft__evict(struct stele_raft *raft)
{
    while (raft->cache_bytes > raft->options.cache_size && raft->oldest != NULL) {
        const struct stele_raft__payload *const payload = raft->oldest;
        struct stele_raft__entry *const entry =
            stele_raft__at(&raft->groups[payload->group], payload->index);
        STELE_ASSERT(entry->payload == payload);
        if (entry->place == STELE_RAFT__UNPLACED) {
            return;
        }
        drop_payload(raft, entry);
    }
}

int stele_raft__payload(struct stele_raft *raft, struct stele_raft__group *group, uint64_t index,
                        struct stele_bytes *out_bytes, struct stele_error *err)
{
    const struct stele_raft__entry *const entry = stele_raft__at(group, index);
    if (entry->payload != NULL || entry->size == 0) {
        *out_bytes = entry->payload != NULL
                         ? (struct stele_bytes){entry->payload->data, entry->payload->size}
                         : (struct stele_bytes){NULL, 0};
        return STELE_OK;
    }
    struct stele_wal_record record;
    raft->scratch.size = 0;
    const int outcome = stele_wal_read(raft->wal, entry->place, &record, &raft->scratch, err);
    if (outcome != STELE_OK) {
        return outcome == STELE_NOT_FOUND
                   ? stele_fail(err, STELE_E_CORRUPT, 0, "group %u: entry %llu is not in the log",
                                group->number, (unsigned long long)index)
                   : outcome;
    }
    if (record.kind != STELE_WAL_ENTRY || record.group != group->number || record.index != index ||
        record.term != entry->term || raft->scratch.size != entry->size) {
        return stele_fail(err, STELE_E_CORRUPT, 0,
                          "group %u: what lies in the place of entry %llu is something else",
                          group->number, (unsigned long long)index);
    }
    *out_bytes = (struct stele_bytes){raft->scratch.data, raft->scratch.size};
    return STELE_OK;
}

/* ---- The index ---- */

uint64_t stele_raft__term_of(const struct stele_raft__group *group, uint64_t index)
{
    if (index >= group->first && index <= group->last) {
        return stele_raft__at(group, index)->term;
    }
    return index != 0 && index == group->snapshot.index ? group->snapshot.term : 0;
}

static int grow(struct stele_raft *raft, struct stele_raft__group *group)
{
    const uint64_t capacity = group->capacity == 0 ? CAPACITY_FIRST : group->capacity * 2;
    struct stele_raft__entry *const entries =
        stele_allocate(raft->alloc, (size_t)capacity * sizeof *entries);
    if (entries == NULL) {
        return STELE_E_NO_MEMORY;
    }
    for (uint64_t index = group->first; index <= group->last; index++) {
        entries[index & (capacity - 1)] = *stele_raft__at(group, index);
    }
    stele_release(raft->alloc, group->entries, (size_t)group->capacity * sizeof *entries);
    group->entries = entries;
    group->capacity = capacity;
    return STELE_OK;
}

int stele_raft__add(struct stele_raft *raft, struct stele_raft__group *group, uint64_t term,
                    uint8_t type, uint32_t size, uint64_t place)
{
    if (group->last + 1 - group->first == group->capacity) {
        const int outcome = grow(raft, group);
        if (outcome != STELE_OK) {
            return outcome;
        }
    }
    group->last++;
    *stele_raft__at(group, group->last) = (struct stele_raft__entry){
        .term = term, .place = place, .payload = NULL, .size = size, .type = type};
    group->size_average = (group->size_average * 15 + size) / 16;
    return STELE_OK;
}

void stele_raft__truncate(struct stele_raft *raft, struct stele_raft__group *group, uint64_t index)
{
    STELE_ASSERT(index >= group->first);
    while (group->last >= index) {
        drop_payload(raft, stele_raft__at(group, group->last));
        group->last--;
    }
    if (group->stored >= index) {
        group->stored = index - 1;
    }
    while (group->configs_count > 0 && group->configs[group->configs_count - 1].index >= index) {
        group->configs_count--;
    }
}

void stele_raft__forget(struct stele_raft *raft, struct stele_raft__group *group, uint64_t index)
{
    while (group->first <= index && group->first <= group->last) {
        drop_payload(raft, stele_raft__at(group, group->first));
        group->first++;
    }
    if (group->first <= index) {
        group->first = index + 1;
        group->last = index;
    }
    /* A burst's index is given back once it is over. */
    if (group->capacity > 1024 && group->last + 1 - group->first < group->capacity / 8) {
        const uint64_t capacity = group->capacity / 4;
        struct stele_raft__entry *const entries =
            stele_allocate(raft->alloc, (size_t)capacity * sizeof *entries);
        if (entries == NULL) {
            return;
        }
        for (uint64_t at = group->first; at <= group->last; at++) {
            entries[at & (capacity - 1)] = *stele_raft__at(group, at);
        }
        stele_release(raft->alloc, group->entries, (size_t)group->capacity * sizeof *entries);
        group->entries = entries;
        group->capacity = capacity;
    }
}

/* ---- Records ---- */

void stele_raft__pend(struct stele_raft *raft, struct stele_raft__group *group)
{
    if (!group->pending) {
        STELE_ASSERT(raft->pending_count < raft->options.groups_count);
        group->pending = true;
        raft->pending[raft->pending_count++] = group->number;
    }
}

/* No room is not the end: the record waits in memory, and nothing that rests on it is said meanwhile. */
static int put(struct stele_raft *raft, const struct stele_wal_record *record, uint64_t *out_place,
               struct stele_error *err)
{
    /* What comes later may not overtake what waits. */
    const int outcome =
        raft->stalled ? STELE_E_NO_SPACE : stele_wal_put(raft->wal, record, out_place, err);
    if (outcome == STELE_E_NO_SPACE) {
        *out_place = STELE_RAFT__UNPLACED;
        raft->stalled = true;
        return STELE_OK;
    }
    return outcome;
}

int stele_raft__put_hard(struct stele_raft *raft, struct stele_raft__group *group,
                         struct stele_error *err)
{
    const struct stele_wal_record record = {.kind = STELE_WAL_HARD,
                                            .group = (uint16_t)group->number,
                                            .index = group->vote,
                                            .term = group->term};
    group->hard_pending = true;
    stele_raft__pend(raft, group);
    return put(raft, &record, &group->hard_place, err);
}

int stele_raft__put_hard_again(struct stele_raft *raft, struct stele_raft__group *group,
                               struct stele_error *err)
{
    const bool was_pending = group->hard_pending;
    const uint64_t place = group->hard_place;
    const int outcome = stele_raft__put_hard(raft, group, err);
    group->hard_pending = was_pending;
    if (was_pending || group->hard_place == STELE_RAFT__UNPLACED) {
        /* Messages go on waiting for the first one. */
        group->hard_place = place;
    }
    return outcome;
}

int stele_raft__put_entry(struct stele_raft *raft, struct stele_raft__group *group, uint64_t index,
                          bool again, struct stele_error *err)
{
    struct stele_bytes payload;
    int outcome = stele_raft__payload(raft, group, index, &payload, err);
    if (outcome != STELE_OK) {
        return outcome;
    }
    struct stele_raft__entry *const entry = stele_raft__at(group, index);
    const struct stele_wal_record record = {
        .kind = STELE_WAL_ENTRY,
        .type = (uint8_t)(entry->type | (again ? STELE_RAFT__AGAIN : 0)),
        .group = (uint16_t)group->number,
        .index = index,
        .term = entry->term,
        .payload = payload};
    uint64_t place = 0;
    outcome = put(raft, &record, &place, err);
    if (outcome == STELE_OK && (!again || place != STELE_RAFT__UNPLACED)) {
        entry->place = place;
    }
    stele_raft__pend(raft, group);
    return outcome;
}

int stele_raft__put_snapshot(struct stele_raft *raft, struct stele_raft__group *group,
                             struct stele_raft__snapshot *snapshot, bool install,
                             struct stele_error *err)
{
    uint8_t members[STELE_RAFT__MEMBERS_SIZE_MAX];
    const size_t members_size = stele_raft__members_encode(&snapshot->members, members);
    uint8_t header[STELE_RAFT__SNAPSHOT_HEADER_SIZE] = {STELE_RAFT__SNAPSHOT_VERSION};
    header[1] = install ? STELE_RAFT__SNAPSHOT_INSTALL : 0;
    stele_store_u32le(header + 4, (uint32_t)members_size);
    stele_store_u64le(header + 8, snapshot->members.index);
    raft->scratch.size = 0;
    int outcome =
        stele_buf_append(&raft->scratch, raft->alloc, (struct stele_bytes){header, sizeof header});
    if (outcome == STELE_OK) {
        outcome = stele_buf_append(&raft->scratch, raft->alloc,
                                   (struct stele_bytes){members, members_size});
    }
    if (outcome == STELE_OK) {
        outcome = stele_buf_append(&raft->scratch, raft->alloc,
                                   (struct stele_bytes){snapshot->data.data, snapshot->data.size});
    }
    if (outcome != STELE_OK) {
        return outcome;
    }
    const struct stele_wal_record record = {.kind = STELE_WAL_SNAPSHOT,
                                            .group = (uint16_t)group->number,
                                            .index = snapshot->index,
                                            .term = snapshot->term,
                                            .payload = {raft->scratch.data, raft->scratch.size}};
    stele_raft__pend(raft, group);
    return put(raft, &record, &snapshot->place, err);
}

int stele_raft__put_stalled(struct stele_raft *raft, struct stele_error *err)
{
    raft->stalled = false;
    for (uint32_t i = 0; i < raft->options.groups_count && !raft->stalled; i++) {
        struct stele_raft__group *const group = &raft->groups[i];
        int outcome = STELE_OK;
        if (group->hard_pending && group->hard_place == STELE_RAFT__UNPLACED) {
            outcome = stele_raft__put_hard(raft, group, err);
        }
        for (uint64_t index = group->stored + 1; outcome == STELE_OK && index <= group->last;
             index++) {
            if (stele_raft__at(group, index)->place == STELE_RAFT__UNPLACED) {
                outcome = stele_raft__put_entry(raft, group, index, false, err);
            }
            if (raft->stalled) {
                break;
            }
        }
        if (outcome == STELE_OK && !raft->stalled && group->snapshot.index != 0 &&
            group->snapshot.place == STELE_RAFT__UNPLACED) {
            outcome = stele_raft__put_snapshot(raft, group, &group->snapshot, false, err);
        }
        if (outcome == STELE_OK && !raft->stalled && group->installed &&
            group->install.place == STELE_RAFT__UNPLACED) {
            outcome = stele_raft__put_snapshot(raft, group, &group->install, true, err);
        }
        if (outcome != STELE_OK) {
            return outcome;
        }
        stele_raft__touch(raft, group);
    }
    return STELE_OK;
}
