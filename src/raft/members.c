/* Configurations: who is a member of a group, as bytes and as libraft wants it; changing them.
 *
 * The bytes are libraft's own, because an entry that changes members is the one kind that it looks into:
 *
 *     version 1 (1), count (8), and of each: number (8), address with its zero, role (1); zeros up to a multiple of 8
 *
 * An address is the number in decimal: how a node is reached is none of Raft's business. */
#include "raft/raft_internal.h"

#include <stdio.h>

#define ENCODING 1

void stele_raft__address(uint64_t node, char to[STELE_RAFT__ADDRESS_SIZE])
{
    (void)snprintf(to, STELE_RAFT__ADDRESS_SIZE, "%llu", (unsigned long long)node);
}

int stele_raft__members_role(const struct stele_raft__members *members, uint64_t node)
{
    for (uint32_t i = 0; i < members->count; i++) {
        if (members->nodes[i] == node) {
            return members->roles[i];
        }
    }
    return -1;
}

uint32_t stele_raft__members_voters(const struct stele_raft__members *members)
{
    uint32_t voters = 0;
    for (uint32_t i = 0; i < members->count; i++) {
        voters += members->roles[i] == RAFT_VOTER;
    }
    return voters;
}

size_t stele_raft__members_encode(const struct stele_raft__members *members,
                                  uint8_t to[STELE_RAFT__MEMBERS_SIZE_MAX])
{
    STELE_ASSERT(members->count <= STELE_RAFT_NODES_MAX);
    size_t size = 0;
    to[size++] = ENCODING;
    stele_store_u64le(to + size, members->count);
    size += 8;
    for (uint32_t i = 0; i < members->count; i++) {
        char address[STELE_RAFT__ADDRESS_SIZE];
        stele_raft__address(members->nodes[i], address);
        stele_store_u64le(to + size, members->nodes[i]);
        size += 8;
        memcpy(to + size, address, strlen(address) + 1);
        size += strlen(address) + 1;
        to[size++] = members->roles[i];
    }
    while (size % 8 != 0) {
        to[size++] = 0;
    }
    STELE_ASSERT(size <= STELE_RAFT__MEMBERS_SIZE_MAX);
    return size;
}

/* Reads what is there, and then asks whether it would have been written so: that leaves one spelling of each
 * configuration, and no byte unlooked at. */
bool stele_raft__members_decode(struct stele_bytes bytes, struct stele_raft__members *out_members)
{
    if (bytes.size < 9 || bytes.size > STELE_RAFT__MEMBERS_SIZE_MAX || bytes.data[0] != ENCODING) {
        return false;
    }
    const uint64_t count = stele_load_u64le(bytes.data + 1);
    if (count == 0 || count > STELE_RAFT_NODES_MAX) {
        return false;
    }
    struct stele_raft__members members = {.index = out_members->index, .count = 0};
    size_t at = 9;
    for (uint64_t i = 0; i < count; i++) {
        if (bytes.size - at < 8) {
            return false;
        }
        const uint64_t node = stele_load_u64le(bytes.data + at);
        at += 8;
        char address[STELE_RAFT__ADDRESS_SIZE];
        stele_raft__address(node, address);
        const size_t length = strlen(address) + 1;
        if (node == 0 || stele_raft__members_role(&members, node) >= 0 ||
            bytes.size - at < length + 1) {
            return false;
        }
        at += length;
        const uint8_t role = bytes.data[at++];
        if (role != RAFT_VOTER && role != RAFT_STANDBY) {
            return false;
        }
        members.nodes[members.count] = node;
        members.roles[members.count] = role;
        members.count++;
    }
    uint8_t again[STELE_RAFT__MEMBERS_SIZE_MAX];
    const struct stele_bytes same = {again, stele_raft__members_encode(&members, again)};
    if (!stele_bytes_equal(bytes, same)) {
        return false;
    }
    *out_members = members;
    return true;
}

int stele_raft__members_export(const struct stele_raft__members *members,
                               struct raft_configuration *out_configuration)
{
    struct raft_configuration configuration;
    raft_configuration_init(&configuration);
    for (uint32_t i = 0; i < members->count; i++) {
        char address[STELE_RAFT__ADDRESS_SIZE];
        stele_raft__address(members->nodes[i], address);
        if (raft_configuration_add(&configuration, members->nodes[i], address, members->roles[i]) !=
            0) {
            raft_configuration_close(&configuration);
            return STELE_E_NO_MEMORY;
        }
    }
    *out_configuration = configuration;
    return STELE_OK;
}

/* ---- Of a group ---- */

const struct stele_raft__members *stele_raft__members_at(const struct stele_raft__group *group,
                                                         uint64_t index)
{
    for (uint32_t i = group->configs_count; i > 0; i--) {
        if (group->configs[i - 1].index <= index) {
            return &group->configs[i - 1];
        }
    }
    return group->snapshot.members.count > 0 ? &group->snapshot.members : NULL;
}

int stele_raft__members_push(struct stele_raft *raft, struct stele_raft__group *group,
                             uint64_t index, struct stele_bytes bytes)
{
    if (group->configs_count == group->configs_capacity) {
        const uint32_t capacity = group->configs_capacity + 4;
        struct stele_raft__members *const grown = raft->alloc->reallocate(
            raft->alloc, group->configs, group->configs_capacity * sizeof *grown,
            capacity * sizeof *grown);
        if (grown == NULL) {
            return STELE_E_NO_MEMORY;
        }
        group->configs = grown;
        group->configs_capacity = capacity;
    }
    struct stele_raft__members *const members = &group->configs[group->configs_count];
    members->index = index;
    if (!stele_raft__members_decode(bytes, members)) {
        return STELE_E_CORRUPT;
    }
    STELE_ASSERT(group->configs_count == 0 ||
                 group->configs[group->configs_count - 1].index < index);
    group->configs_count++;
    return STELE_OK;
}

static const struct stele_raft__members *newest(const struct stele_raft__group *group)
{
    return stele_raft__members_at(group, UINT64_MAX);
}

size_t stele_raft_members(const struct stele_raft *raft, uint32_t group_number,
                          uint64_t nodes[STELE_RAFT_NODES_MAX],
                          enum stele_raft_member members[STELE_RAFT_NODES_MAX])
{
    STELE_ASSERT(group_number < raft->options.groups_count);
    const struct stele_raft__members *const all = newest(&raft->groups[group_number]);
    if (all == NULL) {
        return 0;
    }
    for (uint32_t i = 0; i < all->count; i++) {
        nodes[i] = all->nodes[i];
        members[i] = all->roles[i] == RAFT_VOTER ? STELE_RAFT_VOTER : STELE_RAFT_STANDBY;
    }
    return all->count;
}

/* ---- Changing ---- */

static uint64_t match_of(const struct stele_raft__group *group, uint64_t node)
{
    raft_index match = 0;
    return raft_match_index(&group->raft, node, &match) == 0 ? match : 0;
}

uint64_t stele_raft_match(const struct stele_raft *raft, uint32_t group_number, uint64_t node)
{
    STELE_ASSERT(group_number < raft->options.groups_count);
    return match_of(&raft->groups[group_number], node);
}

static bool has_been_heard(const struct stele_raft *raft, uint64_t node)
{
    if (node == raft->options.node) {
        return true;
    }
    for (size_t i = 0; i < STELE_RAFT_NODES_MAX; i++) {
        if (raft->peers[i].node == node) {
            return raft->peers[i].heard_ms + (int64_t)raft->options.election_ms > raft->now_ms;
        }
    }
    return false;
}

/* Since which index a node has been a voter without a break, as far as the log goes back; 0: since before that. */
static uint64_t voter_since(const struct stele_raft__group *group, uint64_t node)
{
    uint64_t since = 0;
    for (uint32_t i = group->configs_count; i > 0; i--) {
        if (stele_raft__members_role(&group->configs[i - 1], node) != RAFT_VOTER) {
            return since;
        }
        since = group->configs[i - 1].index;
    }
    const bool is_old = group->snapshot.members.count == 0 ||
                        stele_raft__members_role(&group->snapshot.members, node) == RAFT_VOTER;
    return is_old ? 0 : since;
}

/* May the configuration be changed at this moment, as regards the other members?
 *
 * D3: An entry of the own term has to be committed first: otherwise two leaders may each commit a configuration that
 * the other does not know, without a common voter (Ongaro, "bug in single-server membership changes", 2015).
 *
 * D6: A node that does not know yet that it is a voter refuses its vote. So all voters have to know it of
 * themselves, but for the one that is to go: otherwise there may be nobody who can be elected. */
static bool may_change(const struct stele_raft__group *group, uint64_t self, uint64_t node)
{
    const uint64_t commit = raft_commit_index(&group->raft);
    const struct stele_raft__members *const members = newest(group);
    if (stele_raft__term_of(group, commit) != raft_current_term(&group->raft) ||
        members->index > group->told || group->raft.configuration_uncommitted_index != 0 ||
        group->raft.leader_state.promotee_id != 0 || group->change_wanted) {
        return false;
    }
    for (uint32_t i = 0; i < members->count; i++) {
        const uint64_t other = members->nodes[i];
        if (members->roles[i] == RAFT_VOTER && other != self && other != node &&
            match_of(group, other) < voter_since(group, other)) {
            return false;
        }
    }
    return true;
}

/* Could the voters elect and commit right away, as far as is known? */
static bool would_work(const struct stele_raft *raft, const struct stele_raft__members *members)
{
    uint32_t alive = 0;
    for (uint32_t i = 0; i < members->count; i++) {
        alive += members->roles[i] == RAFT_VOTER && has_been_heard(raft, members->nodes[i]);
    }
    return alive > stele_raft__members_voters(members) / 2;
}

static void set_role(struct stele_raft__members *members, uint64_t node,
                     enum stele_raft_member member)
{
    uint32_t at = 0;
    while (at < members->count && members->nodes[at] != node) {
        at++;
    }
    if (member == STELE_RAFT_NONE) {
        for (; at + 1 < members->count; at++) {
            members->nodes[at] = members->nodes[at + 1];
            members->roles[at] = members->roles[at + 1];
        }
        members->count--;
        return;
    }
    if (at == members->count) {
        members->count++;
    }
    members->nodes[at] = node;
    members->roles[at] = member == STELE_RAFT_VOTER ? RAFT_VOTER : RAFT_STANDBY;
}

/* Has a standby the log well enough to count? Not libraft's catching up in rounds: a round ends there only when a new
 * entry is acknowledged, so that nobody would ever be promoted in an idle group. */
static int catch_up(const struct stele_raft *raft, const struct stele_raft__group *group,
                    uint64_t node)
{
    const uint64_t match = match_of(group, node);
    return match > 0 && has_been_heard(raft, node) &&
                   group->last - match <= raft->options.entries_in_flight_max / 4
               ? STELE_OK
               : STELE_INCOMPLETE;
}

int stele_raft_configure(struct stele_raft *raft, uint32_t group_number, uint64_t node,
                         enum stele_raft_member member, struct stele_error *err)
{
    STELE_ASSERT(group_number < raft->options.groups_count);
    struct stele_raft__group *const group = &raft->groups[group_number];
    if (group->raft.state != RAFT_LEADER || raft_transferee(&group->raft) != 0) {
        return STELE_NOT_FOUND;
    }
    const struct stele_raft__members *const members = newest(group);
    STELE_ASSERT(members != NULL);
    const int role = stele_raft__members_role(members, node);
    const int wanted = member == STELE_RAFT_VOTER     ? RAFT_VOTER
                       : member == STELE_RAFT_STANDBY ? RAFT_STANDBY
                                                      : -1;
    if (role == wanted) {
        return STELE_OK;
    }
    if (node == 0 || (wanted == -1 && members->count == 1)) {
        return stele_fail(err, STELE_E_INVALID, 0, "group %u: cannot be left without a voter",
                          group_number);
    }
    if (role == RAFT_VOTER && stele_raft__members_voters(members) == 1) {
        return stele_fail(err, STELE_E_INVALID, 0, "group %u: node %llu is its only voter",
                          group_number, (unsigned long long)node);
    }
    if (role < 0 && members->count == STELE_RAFT_NODES_MAX) {
        return stele_fail(err, STELE_E_INVALID, 0, "group %u: has %u members already", group_number,
                          STELE_RAFT_NODES_MAX);
    }
    if (!may_change(group, raft->options.node, node)) {
        return STELE_INCOMPLETE;
    }
    if (node == raft->options.node) {
        /* A leader outside of its own configuration is a state that need not exist: the next one does it. */
        const int outcome = stele_raft_transfer(raft, group_number, 0, err);
        return outcome == STELE_OK ? STELE_INCOMPLETE : outcome;
    }
    if (wanted == RAFT_VOTER && role < 0) {
        /* As a standby it gets the log without counting; then it may count. */
        const int outcome = stele_raft_configure(raft, group_number, node, STELE_RAFT_STANDBY, err);
        return outcome == STELE_OK ? STELE_INCOMPLETE : outcome;
    }
    if (wanted == RAFT_VOTER) {
        const int outcome = catch_up(raft, group, node);
        if (outcome != STELE_OK) {
            return outcome;
        }
    }
    /* D15: A voter that is to be a standby goes first. Otherwise it might be the only one that has the entry which
     * says so: nobody else could be elected, having less, and it would not stand. */
    const bool is_demoted = role == RAFT_VOTER && member == STELE_RAFT_STANDBY;
    struct stele_raft__members changed = *members;
    set_role(&changed, node, is_demoted ? STELE_RAFT_NONE : member);
    if (!would_work(raft, &changed)) {
        return STELE_INCOMPLETE;
    }
    uint8_t bytes[STELE_RAFT__MEMBERS_SIZE_MAX];
    const size_t size = stele_raft__members_encode(&changed, bytes);
    const int outcome = stele_raft__submit_put(raft, group, raft_current_term(&group->raft),
                                               RAFT_CHANGE, (struct stele_bytes){bytes, size});
    group->change_wanted = outcome == STELE_OK;
    return outcome == STELE_OK && is_demoted ? STELE_INCOMPLETE : outcome;
}

int stele_raft_transfer(struct stele_raft *raft, uint32_t group_number, uint64_t to,
                        struct stele_error *err)
{
    STELE_ASSERT(group_number < raft->options.groups_count);
    struct stele_raft__group *const group = &raft->groups[group_number];
    if (group->raft.state != RAFT_LEADER) {
        return STELE_NOT_FOUND;
    }
    const struct stele_raft__members *const members = newest(group);
    if (to == raft->options.node || raft_transferee(&group->raft) != 0) {
        return to == raft_transferee(&group->raft) || to == raft->options.node ? STELE_OK
                                                                               : STELE_INCOMPLETE;
    }
    if (to != 0 && stele_raft__members_role(members, to) != RAFT_VOTER) {
        return stele_fail(err, STELE_E_INVALID, 0, "group %u: node %llu is no voter", group_number,
                          (unsigned long long)to);
    }
    if (to == 0 && stele_raft__members_voters(members) == 1) {
        return stele_fail(err, STELE_E_INVALID, 0, "group %u: there is no other voter",
                          group_number);
    }
    uint64_t best = 0;
    for (uint32_t i = 0; i < members->count; i++) {
        const uint64_t node = members->nodes[i];
        if (members->roles[i] == RAFT_VOTER && node != raft->options.node &&
            (to == 0 || to == node) && has_been_heard(raft, node) &&
            (best == 0 || match_of(group, node) > match_of(group, best))) {
            best = node;
        }
    }
    if (best == 0) {
        return STELE_INCOMPLETE;
    }
    group->transfer_wanted = true;
    group->transfer_to = best;
    stele_raft__touch(raft, group);
    return STELE_OK;
}
