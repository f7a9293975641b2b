/* What a run is like. Each kind of fault is left out of half of the runs: what is missing matters as much. */
#include "raft_sim.h"

#include <stdio.h>

static uint64_t maybe(struct rng *rng, uint64_t percent, uint64_t lo, uint64_t hi)
{
    return rng_percent(rng, percent) ? rng_log(rng, lo, hi) : 0;
}

static void draw_network(struct config *config, struct rng *rng)
{
    config->loss = rng_percent(rng, 60) ? (uint32_t)rng_between(rng, 1, 8) : 0;
    config->twice = rng_percent(rng, 50) ? (uint32_t)rng_between(rng, 1, 5) : 0;
    config->late = rng_percent(rng, 60) ? (uint32_t)rng_between(rng, 1, 6) : 0;
    config->delay_us = rng_log(rng, 200, 6000);
    config->late_us = rng_log(rng, 5000, 400000);
    config->reorder = rng_percent(rng, 50);
    config->damage = rng_percent(rng, 20) ? (uint32_t)rng_log(rng, 50, 5000) : 0;
    config->cut_us = maybe(rng, 70, 300000, 6000000);
}

static void draw_disk(struct config *config, struct rng *rng)
{
    config->disk_us = rng_log(rng, 50, 4000);
    config->stall = rng_percent(rng, 50) ? (uint32_t)rng_between(rng, 1, 4) : 0;
    config->full_us = maybe(rng, 20, 1000000, 8000000);
    if (rng_percent(rng, 30)) {
        config->disk.write_error = (uint32_t)maybe(rng, 50, 300, 20000);
        config->disk.sync_error = (uint32_t)maybe(rng, 50, 300, 20000);
        config->disk.name_error = (uint32_t)maybe(rng, 30, 100, 5000);
    }
    config->disk.writeback = (uint32_t)maybe(rng, 40, 10, 1000);
    config->alloc_one_in = (uint32_t)maybe(rng, 10, 5000, 500000);
}

static void draw_driver(struct config *config, struct rng *rng)
{
    struct stele_raft_options *const options = &config->options;
    *options = stele_raft_options_default();
    options->groups_count = config->groups;
    options->wal.segment_size = (uint64_t)64 * 1024;
    options->wal.spares_max = (uint32_t)rng_below(rng, 4);
    options->election_ms = rng_percent(rng, 80) ? 300 : 150;
    options->heartbeat_ms = options->election_ms / 5;
    options->entries_in_flight_max = (uint32_t)rng_log(rng, 4, 1024);
    options->message_size_max = rng_log(rng, 512, 1 << 20);
    options->cache_size = rng_percent(rng, 30) ? 0 : rng_log(rng, 1024, 1 << 22);
    options->trailing =
        rng_percent(rng, 50) ? (uint32_t)rng_below(rng, 12) : (uint32_t)rng_log(rng, 16, 4096);
    options->wal_keep = rng_log(rng, 16 << 10, 2 << 20);
}

void config_draw(struct sim *sim, bool quick)
{
    struct config *const config = &sim->config;
    struct rng rng;
    rng_init(&rng, sim->seed, 100);
    memset(config, 0, sizeof *config);
    const uint64_t shape = rng_below(&rng, 10);
    config->founders = shape < 1 ? 1 : shape < 7 ? 3 : 5;
    config->nodes = config->founders + (uint32_t)rng_below(&rng, 3);
    config->groups = (uint32_t)rng_between(&rng, 1, rng_percent(&rng, 70) ? 3 : GROUPS_MAX);
    config->faulty_us = rng_between(&rng, 5000000, quick ? 12000000 : 60000000);
    config->calm_us = 16000000;
    draw_network(config, &rng);
    draw_disk(config, &rng);
    draw_driver(config, &rng);
    config->crash_us = maybe(&rng, 70, 300000, 8000000);
    config->kill_percent = (uint32_t)rng_below(&rng, 80);
    config->in_call_percent = rng_percent(&rng, 50) ? (uint32_t)rng_below(&rng, 60) : 0;
    config->pause_us = maybe(&rng, 40, 1000000, 8000000);
    config->change_us = maybe(&rng, 70, 20000, 2000000);
    config->transfer_us = maybe(&rng, 50, 50000, 3000000);
    config->submit_us = rng_log(&rng, 3000, 100000);
    config->snapshot_us = maybe(&rng, 80, 10000, 2000000);
    config->trim_us = maybe(&rng, 80, 10000, 1000000);
    config->install_us = rng_log(&rng, 1000, 2000000);
    config->payload_max = (uint32_t)rng_log(&rng, 16, 8192);
    config->voters_min = (uint32_t)rng_between(&rng, 1, 3);
}

void config_print(const struct sim *sim)
{
    const struct config *const c = &sim->config;
#define N(member) (unsigned long long)c->member
    printf(
        "nodes %llu, founders %llu, groups %llu, faulty %llu us, loss %llu %%, twice %llu %%, late "
        "%llu %% (%llu us), delay %llu us, %sdamage 1 in %llu\n",
        N(nodes), N(founders), N(groups), N(faulty_us), N(loss), N(twice), N(late), N(late_us),
        N(delay_us), c->reorder ? "reordering, " : "", N(damage));
    printf(
        "mean us between: crashes %llu, cuts %llu, pauses %llu, changes %llu, transfers %llu, full "
        "disks %llu, submits %llu, snapshots %llu, trims %llu; installing %llu\n",
        N(crash_us), N(cut_us), N(pause_us), N(change_us), N(transfer_us), N(full_us), N(submit_us),
        N(snapshot_us), N(trim_us), N(install_us));
    printf("kills %llu %%, in calls %llu %%, no memory 1 in %llu, disk %llu us, stalls %llu %%, "
           "errors "
           "%llu %llu %llu, payload %llu, voters %llu, in flight %llu, message %llu, cache %llu, "
           "trailing %llu, keep %llu\n",
           N(kill_percent), N(in_call_percent), N(alloc_one_in), N(disk_us), N(stall),
           N(disk.write_error), N(disk.sync_error), N(disk.name_error), N(payload_max),
           N(voters_min), N(options.entries_in_flight_max), N(options.message_size_max),
           N(options.cache_size), N(options.trailing), N(options.wal_keep));
#undef N
}
