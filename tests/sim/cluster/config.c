/* What a run is like: first a coin for each kind of fault, then a rate on a logarithmic scale. */
#include "world.h"

#include <stdio.h>

static uint64_t often(struct rng *rng, uint32_t percent, uint64_t lo, uint64_t hi)
{
    const uint64_t rate = rng_log(rng, lo, hi);
    return rng_percent(rng, percent) ? rate : 0;
}

static void draw_faults(struct config *c, struct rng *rng)
{
    c->loss_one_in = (uint32_t)often(rng, 60, 5, 1000);
    c->twice_one_in = (uint32_t)often(rng, 50, 5, 1000);
    c->slow_one_in = (uint32_t)often(rng, 50, 5, 1000);
    c->break_us = often(rng, 60, 100 * MS, 20 * SECOND);
    c->partition_us = often(rng, 50, SECOND, 30 * SECOND);
    c->partition_for_us = rng_log(rng, 100 * MS, 20 * SECOND);
    c->crash_us = often(rng, 60, 500 * MS, 30 * SECOND);
    c->crash_all_us = often(rng, 20, 5 * SECOND, 60 * SECOND);
    c->downtime_us = rng_log(rng, 10 * MS, 10 * SECOND);
    c->kill_percent = (uint32_t)rng_below(rng, 101);
    c->loop_percent = rng_percent(rng, 30) ? 10 : 0;
    c->pause_us = often(rng, 40, SECOND, 30 * SECOND);
    c->pause_for_us = rng_log(rng, 100 * MS, 30 * SECOND);
    c->clock_us = often(rng, 40, 500 * MS, 30 * SECOND);
    c->stall_us = often(rng, 40, SECOND, 20 * SECOND);
    c->stall_for_us = rng_log(rng, 10 * MS, 5 * SECOND);
    c->full_us = often(rng, 15, 2 * SECOND, 60 * SECOND);
}

/* Lives of hours: slow in all, so that an hour costs little. Everything is drawn in heartbeats, faults as well; the
 * longest heartbeats make the longest lives. */
static void draw_hours(struct config *c, struct rng *rng)
{
    const uint64_t beat = rng_log(rng, 2 * SECOND, 30 * SECOND);
    c->duration_us = beat * rng_between(rng, 1000, 6000);
    c->heartbeat_ms = (uint32_t)(beat / MS);
    c->election_ms = 5 * c->heartbeat_ms;
    c->time_us = beat;
    c->healed_us = 3 * MINUTE + 200 * beat;
    c->idle_us = 10 * beat;
    c->think_us = rng_log(rng, 2 * beat, 600 * beat);
    c->give_up_us = rng_log(rng, 5 * beat, 100 * beat);
    c->resend_us = rng_log(rng, beat, 10 * beat);
    c->retry_us = rng_log(rng, beat / 10, 2 * beat);
    c->read_us = rng_log(rng, 2 * beat, 100 * beat);
    c->work_us = rng_log(rng, 2 * beat, 50 * beat);
    c->break_us = often(rng, 60, 10 * beat, 300 * beat);
    c->partition_us = often(rng, 50, 20 * beat, 1000 * beat);
    c->partition_for_us = rng_log(rng, beat, 100 * beat);
    c->crash_us = often(rng, 60, 10 * beat, 500 * beat);
    c->crash_all_us = often(rng, 20, 50 * beat, 1000 * beat);
    c->downtime_us = rng_log(rng, 10 * MS, 50 * beat);
    c->pause_us = often(rng, 40, 20 * beat, 1000 * beat);
    c->pause_for_us = rng_log(rng, beat, 30 * beat);
    c->pause_max_us = 60 * beat;
    c->clock_us = often(rng, 40, 10 * beat, 500 * beat);
    c->stall_us = often(rng, 40, 20 * beat, 1000 * beat);
    c->stall_for_us = rng_log(rng, 10 * MS, 5 * beat);
    c->full_us = often(rng, 15, 50 * beat, 1000 * beat);
    c->burst_us = often(rng, 70, 200 * beat, 2000 * beat);
    c->burst_for_us = beat * rng_between(rng, 10, 60);
    c->burst_every_us = rng_log(rng, beat / 4, 4 * beat);
}

void config_draw(struct world *world)
{
    static const uint32_t nodes[] = {1, 3, 3, 3, 3, 5};
    struct rng *rng = &world->rng_config;
    struct config *c = &world->config;
    /* One after the other: compilers may evaluate the parts of one initialiser in any order. */
    c->duration_us = world->run.quick ? rng_between(rng, 10 * SECOND, 40 * SECOND)
                                      : rng_between(rng, MINUTE, 10 * MINUTE);
    c->nodes = nodes[rng_below(rng, STELE_COUNT_OF(nodes))];
    c->partitions = (uint32_t)rng_between(rng, 1, PARTITIONS_MAX);
    c->clients = (uint32_t)rng_between(rng, 1, CLIENTS_MAX);
    c->think_us = rng_log(rng, MS, 500 * MS);
    c->execute_us = rng_log(rng, 10, 50 * MS);
    c->delay_us = rng_log(rng, 50, 20 * MS);
    c->latency_us = rng_log(rng, 50, 20 * MS);
    c->segment_size_wal = (uint64_t)64 * 1024 << rng_below(rng, 4);
    c->segment_size_store = (uint64_t)64 * 1024 << rng_below(rng, 4);
    c->index_memory = rng_log(rng, 4096, 1024 * 1024);
    c->cache_size = rng_log(rng, 4096, 4 * 1024 * 1024);
    c->give_up_us = rng_log(rng, 500 * MS, 20 * SECOND);
    c->resend_us = rng_log(rng, 50 * MS, 2 * SECOND);
    c->tick_us = rng_percent(rng, 50) ? 0 : rng_log(rng, 100, 20 * MS);
    c->sync_us = rng_percent(rng, 30) ? 0 : rng_log(rng, MS, SECOND);
    c->proposals_max = rng_percent(rng, 80) ? 1000 : 3;
    c->fetch_us = rng_log(rng, 100, 300 * MS);
    c->read_us = rng_log(rng, 100 * MS, 2 * SECOND);
    c->trailing = rng_percent(rng, 40) ? 1000000 : (uint32_t)rng_log(rng, 1, 256);
    c->wal_keep = rng_percent(rng, 50) ? UINT64_MAX : rng_log(rng, 65536, 1024 * 1024);
    const uint64_t round_ms = (4 * c->delay_us + 4 * c->latency_us) / 1000;
    c->heartbeat_ms = (uint32_t)(round_ms + rng_between(rng, 20, 100));
    c->election_ms = 5 * c->heartbeat_ms;
    draw_faults(c, rng);
    c->work_us = SECOND;
    c->time_us = 250 * MS;
    c->retry_us = 50 * MS;
    c->pause_max_us = 30 * SECOND;
    /* After the last fault, every request is answered, and every node has executed everything. */
    c->healed_us = 3 * MINUTE;
    c->idle_us = 20 * SECOND;
    if (!world->run.still) {
        struct rng last; /* So that what comes after it stays what it was with a seed. */
        rng_init(&last, world->seed, 8);
        c->damage_one_in = (uint32_t)often(&last, 40, 3, 100);
    }
    if (world->run.hours) {
        draw_hours(c, rng);
    }
    struct workload *workload = &world->workload;
    workload_init(workload, &world->rng_workload);
    workload->streams = (uint32_t)rng_log(rng, 2, 64);
    workload->batch = (uint32_t)rng_log(rng, 1, 16);
    workload->data_size = (uint32_t)rng_log(rng, 16, 1024);
    workload->tombstone_one_in = (uint32_t)often(rng, 50, 30, 300);
    workload->delete_one_in = (uint32_t)often(rng, 50, 10, 100);
    workload->metadata_one_in = (uint32_t)often(rng, 50, 10, 100);
    workload->multi_percent = rng_percent(rng, 50) ? (uint32_t)rng_below(rng, 60) : 0;
    workload->condition_percent = rng_percent(rng, 50) ? (uint32_t)rng_below(rng, 40) : 0;
    workload->retry_percent = rng_percent(rng, 50) ? (uint32_t)rng_below(rng, 30) : 0;
    workload->wrong_percent = (uint32_t)rng_below(rng, 30);
    workload->nameless_percent = 0;
    c->announce_us = rng_percent(rng, 50) ? 0 : rng_log(rng, 100, SECOND);
}

void config_print(const struct config *c)
{
    const struct {
        const char *name;
        uint64_t value;
    } lines[] = {
        {"nodes", c->nodes},
        {"partitions", c->partitions},
        {"clients", c->clients},
        {"think_us", c->think_us},
        {"execute_us", c->execute_us},
        {"delay_us", c->delay_us},
        {"latency_us", c->latency_us},
        {"election_ms", c->election_ms},
        {"heartbeat_ms", c->heartbeat_ms},
        {"trailing", c->trailing},
        {"wal_keep", c->wal_keep},
        {"give_up_us", c->give_up_us},
        {"resend_us", c->resend_us},
        {"tick_us", c->tick_us},
        {"announce_us", c->announce_us},
        {"sync_us", c->sync_us},
        {"proposals_max", c->proposals_max},
        {"loss_one_in", c->loss_one_in},
        {"twice_one_in", c->twice_one_in},
        {"slow_one_in", c->slow_one_in},
        {"break_us", c->break_us},
        {"partition_us", c->partition_us},
        {"partition_for_us", c->partition_for_us},
        {"crash_us", c->crash_us},
        {"crash_all_us", c->crash_all_us},
        {"downtime_us", c->downtime_us},
        {"kill_percent", c->kill_percent},
        {"loop_percent", c->loop_percent},
        {"pause_us", c->pause_us},
        {"pause_for_us", c->pause_for_us},
        {"clock_us", c->clock_us},
        {"stall_us", c->stall_us},
        {"stall_for_us", c->stall_for_us},
        {"full_us", c->full_us},
        {"fetch_us", c->fetch_us},
        {"damage_one_in", c->damage_one_in},
        {"duration_us", c->duration_us},
        {"burst_us", c->burst_us},
        {"burst_for_us", c->burst_for_us},
        {"burst_every_us", c->burst_every_us},
    };
    for (size_t i = 0; i < STELE_COUNT_OF(lines); i++) {
        printf("%s %llu%s", lines[i].name, (unsigned long long)lines[i].value,
               i % 6 == 5 || i + 1 == STELE_COUNT_OF(lines) ? "\n" : ", ");
    }
}
