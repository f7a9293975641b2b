/* Nodes compare what they have executed, and find out what all of them know. */
#include "server/member_internal.h"

#include <stdio.h>

#define ASK_GATES_US 5000000

/* ---- Hashes of what was executed ---- */

void stele_member__send_hashes(struct stele_member *member)
{
    if ((member->meta->gates & STELE_META_FEATURE_HASHES) == 0 || member->replica == NULL) {
        return; /* A node that is older would not know what it is told. */
    }
    uint8_t bytes[STELE_HASHES_SIZE_MAX];
    (void)pthread_mutex_lock(&member->execute_lock);
    const size_t size = stele_hashes_encode(&member->hashes, bytes);
    (void)pthread_mutex_unlock(&member->execute_lock);
    const struct stele_bytes body = {.data = bytes, .size = size};
    for (size_t i = 0; i < member->meta->nodes_count; i++) {
        const uint64_t number = member->meta->nodes[i].number;
        if (number != member->identity.number) {
            /* What is lost is told again a moment later. */
            (void)stele_member__send(member, number, STELE_PEERS_CONTROL, STELE_MEMBER__HASHES,
                                     body);
        }
    }
}

/* Nodes that executed alike in this window, and otherwise than this one. */
static size_t count_alike(struct stele_member *member, const struct stele_hashes_row *row)
{
    size_t count = 0;
    for (size_t i = 0; i < member->meta->nodes_count; i++) {
        const struct stele_member__seen *seen =
            stele_member__seen_of(member, member->meta->nodes[i].number);
        count += seen != NULL && seen->hashes.differing > 0 &&
                         seen->hashes.last.through == row->through &&
                         seen->hashes.last.hash == row->hash
                     ? 1
                     : 0;
    }
    return count;
}

void stele_member__on_hashes(struct stele_member *member, uint64_t from, struct stele_bytes told)
{
    struct stele_member__seen *seen = stele_member__seen_of(member, from);
    if (seen == NULL || stele_meta_find(member->meta, from) == NULL) {
        return;
    }
    const bool is_first = seen->hashes.differing == 0;
    (void)pthread_mutex_lock(&member->execute_lock);
    const unsigned found = stele_hashes_compare(&member->hashes, told, &seen->hashes);
    (void)pthread_mutex_unlock(&member->execute_lock);
    if (found == 0) {
        return;
    }
    member->mismatches += found;
    const uint64_t stamp = stele_hashes_stamp(stele_hashes_window(seen->hashes.last.through));
    if (is_first) {
        stele_member__log(
            member, STELE_SERVER_ERROR,
            "node %llu has executed otherwise than this node since stamp %llu: one of "
            "the two stores is wrong; `stele cluster check` compares all",
            (unsigned long long)from, (unsigned long long)stamp);
    }
    const size_t alike = count_alike(member, &seen->hashes.last);
    if (2 * alike > member->meta->nodes_count) {
        stele_member__stop_part(member,
                                "a majority of the nodes executed otherwise since stamp %llu, so "
                                "that this node's store is wrong: stop it, then `stele cluster "
                                "repair` gets everything anew from the others",
                                (unsigned long long)stamp);
    }
}

/* ---- Gates ---- */

void stele_member__raise_gates(struct stele_member *member)
{
    const int64_t now_us = stele_member__now_us(member);
    const uint64_t common = stele_meta_common_features(member->meta) & STELE_META_FEATURES;
    if (member->meta_leader != member->identity.number || member->asks != NULL ||
        (common & ~member->meta->gates) == 0 || now_us - member->asked_gates_us < ASK_GATES_US) {
        return;
    }
    struct stele_meta_command *command = stele_allocate_zeroed(member->alloc, sizeof *command);
    if (command == NULL) {
        return; /* Again later. */
    }
    command->kind = STELE_META_GATE;
    command->features = common;
    struct stele_member__ask *ask = stele_member__ask_create(member, command);
    stele_release(member->alloc, command, sizeof *command);
    if (ask != NULL) {
        member->asked_gates_us = now_us;
        stele_member__ask(member, ask);
        stele_member__log(member, STELE_SERVER_INFO,
                          "all nodes know features %#llx: they are used from now on, and an older "
                          "version can take part no more",
                          (unsigned long long)(common & ~member->meta->gates));
    }
}
