/* What plans are made by: what each partition has and what is done with it (cluster/load.h), and who has room for more. */
#include "server/member_internal.h"

#include <stdio.h>
#include <sys/statvfs.h>

#define LOOK_US 1000000
#define KEEP_US                                                                                    \
    600000000 /* It is only an estimate: what a crash loses of it is spread over all partitions. */

int stele_member__load_create(struct stele_member *member)
{
    struct stele_member__load *const load = stele_allocate_zeroed(member->alloc, sizeof *load);
    uint8_t *const bytes = stele_allocate(member->alloc, STELE_LOAD_ENCODED_MAX);
    member->load = load;
    if (load != NULL) {
        stele_load_init(&load->seen, member->identity.partitions);
    }
    if (load != NULL && bytes != NULL) {
        size_t size = 0;
        struct stele_error err = {.outcome = STELE_OK};
        int outcome = stele_identity_get(member->config.store_path, "load", bytes,
                                         STELE_LOAD_ENCODED_MAX, &size, &err);
        const struct stele_bytes kept = {.data = bytes, .size = size};
        outcome = outcome == STELE_OK ? stele_load_decode(&load->seen, kept) : outcome;
        if (outcome != STELE_OK && outcome != STELE_NOT_FOUND) {
            stele_member__log(member, STELE_SERVER_WARNING,
                              "cluster/load cannot be read: partitions count as alike until more "
                              "is known");
        }
    }
    if (bytes != NULL) {
        stele_release(member->alloc, bytes, STELE_LOAD_ENCODED_MAX);
    }
    return load == NULL || bytes == NULL ? STELE_E_NO_MEMORY : STELE_OK;
}

void stele_member__load_destroy(struct stele_member *member)
{
    if (member->load != NULL) {
        stele_release(member->alloc, member->load, sizeof *member->load);
    }
}

void stele_member__load_keep(struct stele_member *member)
{
    uint8_t *const bytes = stele_allocate(member->alloc, STELE_LOAD_ENCODED_MAX);
    struct stele_error err = {.outcome = STELE_OK};
    if (bytes == NULL) {
        return; /* Later. */
    }
    const size_t size = stele_load_encode(&member->load->seen, bytes);
    if (stele_identity_put(member->config.store_path, "load", bytes, size, &err) != STELE_OK) {
        stele_member__log(member, STELE_SERVER_WARNING, "%s", err.message);
    }
    stele_release(member->alloc, bytes, STELE_LOAD_ENCODED_MAX);
}

/* ---- Room ---- */

static void look_at_disk(struct stele_member *member)
{
    struct statvfs disk;
    struct stele_stats stats;
    if (stele_stats(member->store, &stats, NULL) == STELE_OK) {
        member->load->stored = stats.log_size;
    }
    member->load->free = 0;
    if (statvfs(member->config.store_path, &disk) == 0) {
        /* 0 means that it is not known. */
        member->load->free = (uint64_t)disk.f_bavail * disk.f_frsize + 1;
    }
}

uint64_t stele_member__bytes_missing(struct stele_member *member, uint64_t number)
{
    const struct stele_member__seen *const seen = stele_member__seen_of(member, number);
    uint64_t most = 0;
    for (size_t i = 0; i < member->meta->nodes_count; i++) {
        const struct stele_member__seen *other =
            stele_member__seen_of(member, member->meta->nodes[i].number);
        most = other != NULL && other->stored > most ? other->stored : most;
    }
    const uint64_t stored = seen == NULL ? 0 : seen->stored;
    return most > stored ? most - stored : 0;
}

/* For what it has not got yet, since every node gets everything, and for what has to stay free. Who has said nothing so far
 * gets nothing so far; who does not know is believed to have room. */
static bool has_room(struct stele_member *member, uint64_t number)
{
    const struct stele_member__seen *const seen = stele_member__seen_of(member, number);
    const uint64_t needed =
        stele_plan_disk_reserve(member->meta) + stele_member__bytes_missing(member, number);
    return seen != NULL && seen->heard_us > 0 && !seen->is_full &&
           (seen->free == 0 || seen->free >= needed);
}

/* ---- Plans ---- */

static void look_at_weights(struct stele_member *member)
{
    struct stele_member__load *const load = member->load;
    load->plan = (struct stele_plan_load){.bytes = load->bytes, .rates = load->rates};
    stele_load_weights(&load->seen, load->stored, load->bytes, load->rates);
    for (size_t i = 0; i < member->meta->nodes_count; i++) {
        const bool takes = has_room(member, member->meta->nodes[i].number);
        load->plan.full |= takes ? 0 : UINT64_C(1) << i;
    }
}

const struct stele_plan_load *stele_member__plan_load(struct stele_member *member)
{
    look_at_weights(
        member); /* Nodes are bits by their place, and the table may be another one now. */
    return &member->load->plan;
}

void stele_member__load_work(struct stele_member *member)
{
    struct stele_member__load *const load = member->load;
    const int64_t now_us = stele_member__now_us(member);
    stele_load_tick(&load->seen, now_us);
    if (load->looked_us != 0 && now_us - load->looked_us < LOOK_US) {
        return;
    }
    load->looked_us = now_us;
    load->kept_us = load->kept_us == 0 ? now_us : load->kept_us;
    look_at_disk(member);
    const int outcome = stele_plan_imbalance(member->alloc, member->meta,
                                             stele_member__plan_load(member), &load->imbalance);
    (void)outcome; /* Without memory it is what it was. */
    if (now_us - load->kept_us >= KEEP_US) {
        load->kept_us = now_us;
        stele_member__load_keep(member);
    }
}

void stele_member__node_load(const struct stele_member *member, uint64_t number,
                             struct stele_member__node_load *out_load)
{
    const struct stele_load *const seen = &member->load->seen;
    *out_load = (struct stele_member__node_load){.votes = 0};
    for (uint32_t g = 0; g < member->identity.partitions; g++) {
        const bool votes = stele_meta_should_vote(member->meta, g, number);
        const bool leads =
            member->replica != NULL && stele_replica_leader(member->replica, g) == number;
        out_load->votes += votes ? 1 : 0;
        out_load->bytes += votes ? stele_load_bytes(seen, g, member->load->stored) : 0;
        out_load->rate += votes ? stele_load_rate(seen, g) : 0;
        out_load->appends_led += leads ? stele_load_appends(seen, g) : 0;
        out_load->rate_led += leads ? stele_load_rate(seen, g) : 0;
    }
}
