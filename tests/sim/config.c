/* What a run is like: the swarm. */
#include "sim.h"

#include <stdio.h>

static bool coin(struct rng *rng)
{
    return rng_percent(rng, 50);
}

static uint32_t sometimes(struct rng *rng, uint64_t percent, uint64_t lo, uint64_t hi)
{
    return rng_percent(rng, percent) ? (uint32_t)rng_log(rng, lo, hi) : 0;
}

static void draw_store(struct sim_config *config, struct rng *rng)
{
    static const uint32_t partitions[] = {1, 2, 7, 128, 1024};
    config->partitions = partitions[rng_below(rng, STELE_COUNT_OF(partitions))];
    config->partition_key = coin(rng) ? STELE_KEY_STREAM : STELE_KEY_CATEGORY;
    config->segment_size_max = rng_log(rng, 64 * 1024, 256 * 1024) & ~UINT64_C(4095);
    config->index_memory = rng_log(rng, 4096, 128 * 1024);
    config->compress = rng_percent(rng, 30);
    config->scrub_days = coin(rng) ? 0 : (uint32_t)rng_between(rng, 1, 7);
}

static void draw_clients(struct sim_config *config, struct workload *workload, struct rng *rng)
{
    config->clients = (uint32_t)rng_between(rng, 1, SIM_CLIENTS_MAX);
    config->think_us = rng_log(rng, 500 * SIM_MS, 60 * SIM_SECOND);
    config->read_us = rng_log(rng, 2 * SIM_SECOND, 120 * SIM_SECOND);
    config->subscriptions = (uint32_t)rng_below(rng, 5);
    config->scavenge_us = coin(rng) ? 0 : rng_log(rng, 20 * SIM_SECOND, 10 * SIM_MINUTE);
    config->verify_us = coin(rng) ? 0 : rng_log(rng, 30 * SIM_SECOND, 10 * SIM_MINUTE);
    config->work_us = rng_log(rng, 10 * SIM_MS, 20 * SIM_SECOND);
    config->follow_us = coin(rng) ? 0 : rng_log(rng, SIM_SECOND, SIM_MINUTE);
    workload->streams = (uint32_t)rng_log(rng, 2, 200);
    workload->types = (uint32_t)rng_log(rng, 1, 24);
    workload->tags = (uint32_t)rng_log(rng, 1, 40);
    workload->data_size = (uint32_t)rng_log(rng, 8, 2000);
    workload->batch = (uint32_t)rng_log(rng, 1, 12);
    workload->large_one_in = sometimes(rng, 30, 30, 1000);
    workload->large_size = (uint32_t)rng_log(rng, 4096, 200000);
    workload->tombstone_one_in = sometimes(rng, 60, 50, 3000);
    workload->delete_one_in = sometimes(rng, 60, 15, 1000);
    workload->metadata_one_in = sometimes(rng, 70, 10, 300);
    workload->multi_percent = (uint32_t)rng_below(rng, 40);
    workload->condition_percent = (uint32_t)rng_below(rng, 40);
    workload->retry_percent = (uint32_t)rng_below(rng, 20);
    workload->nameless_percent = (uint32_t)rng_below(rng, 5);
    workload->wrong_percent = (uint32_t)rng_below(rng, 25);
}

static void draw_disk(struct sim_config *config, struct rng *rng)
{
    config->latency_us = rng_log(rng, 100, 300 * SIM_MS);
    config->group_delay_us = coin(rng) ? 0 : rng_log(rng, 10, 20 * SIM_MS);
    config->groups_in_flight = (uint32_t)rng_between(rng, 1, STELE_COMMITS_IN_FLIGHT_MAX);
    config->slow_us = coin(rng) ? 0 : rng_log(rng, 10 * SIM_SECOND, 10 * SIM_MINUTE);
    struct simdisk_faults *faults = &config->faults;
    *faults = (struct simdisk_faults){.writeback = sometimes(rng, 60, 10, 1000)};
    if (coin(rng)) {
        faults->write_error = sometimes(rng, 40, 300, 30000);
        faults->sync_error = sometimes(rng, 60, 300, 30000);
        faults->read_error = sometimes(rng, 40, 300, 30000);
        faults->map_error = sometimes(rng, 30, 100, 3000);
        faults->name_error = sometimes(rng, 40, 100, 3000);
        faults->sticky = sometimes(rng, 30, 1, 8);
    }
    faults->no_space = sometimes(rng, 15, 500, 20000);
    faults->capacity = rng_percent(rng, 15) ? rng_log(rng, 512 * 1024, 8 * 1024 * 1024) : 0;
}

static void draw_disasters(struct sim_config *config, struct rng *rng)
{
    config->crash_us = rng_percent(rng, 80) ? rng_log(rng, 5 * SIM_SECOND, 10 * SIM_MINUTE) : 0;
    config->kill_percent = coin(rng) ? 0 : (uint32_t)rng_below(rng, 80);
    config->in_call_percent = coin(rng) ? 0 : (uint32_t)rng_below(rng, 80);
    config->clean_percent = coin(rng) ? 0 : (uint32_t)rng_below(rng, 60);
    config->in_open_percent = coin(rng) ? 0 : (uint32_t)rng_below(rng, 40);
    config->downtime_us = rng_log(rng, 20 * SIM_MS, 30 * SIM_SECOND);
    config->alloc_one_in = sometimes(rng, 25, 1000, 200000);
    config->clock_us = coin(rng) ? 0 : rng_log(rng, 5 * SIM_SECOND, 10 * SIM_MINUTE);
    config->clock_frozen = rng_percent(rng, 10);
    config->rot_index_percent = rng_percent(rng, 25) ? (uint32_t)rng_between(rng, 5, 60) : 0;
    config->lose_runs_percent = rng_percent(rng, 25) ? (uint32_t)rng_between(rng, 5, 60) : 0;
    config->rot_log_percent = rng_percent(rng, 20) ? (uint32_t)rng_between(rng, 5, 60) : 0;
    config->read_only_percent = coin(rng) ? 0 : (uint32_t)rng_between(rng, 5, 60);
}

void sim_config_draw(struct sim_config *config, struct workload *workload, struct rng *rng,
                     bool quick)
{
    *config = (struct sim_config){.duration_us = 0};
    config->duration_us = quick ? rng_between(rng, SIM_MINUTE, 3 * SIM_MINUTE)
                                : rng_between(rng, 10 * SIM_MINUTE, 60 * SIM_MINUTE);
    draw_store(config, rng);
    draw_clients(config, workload, rng);
    draw_disk(config, rng);
    draw_disasters(config, rng);
    config->check_every = (uint32_t)rng_log(rng, 200, 5000);
}

void sim_config_print(const struct sim_config *config, const struct workload *workload)
{
    const struct simdisk_faults *f = &config->faults;
    printf("  time: %llu s, clients %u, think %llu ms, reads every %llu ms, subscriptions %u\n",
           (unsigned long long)(config->duration_us / SIM_SECOND), config->clients,
           (unsigned long long)(config->think_us / SIM_MS),
           (unsigned long long)(config->read_us / SIM_MS), config->subscriptions);
    printf(
        "  store: partitions %u by %s, segments %llu, index memory %llu, compress %d, scrub %u\n",
        config->partitions, config->partition_key == STELE_KEY_STREAM ? "stream" : "category",
        (unsigned long long)config->segment_size_max, (unsigned long long)config->index_memory,
        config->compress, config->scrub_days);
    printf("  work every %llu ms, scavenge %llu s, verify %llu s, follow %llu s\n",
           (unsigned long long)(config->work_us / SIM_MS),
           (unsigned long long)(config->scavenge_us / SIM_SECOND),
           (unsigned long long)(config->verify_us / SIM_SECOND),
           (unsigned long long)(config->follow_us / SIM_SECOND));
    printf("  requests: streams %u, types %u, tags %u, data %u, large 1/%u of %u, batch %u, multi "
           "%u%%, conditions %u%%, repeated %u%%, wrong %u%%, tombstones 1/%u, deletes 1/%u, "
           "metadata 1/%u\n",
           workload->streams, workload->types, workload->tags, workload->data_size,
           workload->large_one_in, workload->large_size, workload->batch, workload->multi_percent,
           workload->condition_percent, workload->retry_percent, workload->wrong_percent,
           workload->tombstone_one_in, workload->delete_one_in, workload->metadata_one_in);
    printf("  disk: latency %llu us, group delay %llu us, in flight %u, slow every %llu s, errors "
           "1/n: write %u, sync %u, read %u, map %u, names %u, sticky %u, full %u, capacity %llu\n",
           (unsigned long long)config->latency_us, (unsigned long long)config->group_delay_us,
           config->groups_in_flight, (unsigned long long)(config->slow_us / SIM_SECOND),
           f->write_error, f->sync_error, f->read_error, f->map_error, f->name_error, f->sticky,
           f->no_space, (unsigned long long)f->capacity);
    printf("  crash every %llu s (kill %u%%, in a call %u%%, clean %u%%, opening %u%%), down %llu "
           "ms, no memory 1/%u, clock %llu s%s\n",
           (unsigned long long)(config->crash_us / SIM_SECOND), config->kill_percent,
           config->in_call_percent, config->clean_percent, config->in_open_percent,
           (unsigned long long)(config->downtime_us / SIM_MS), config->alloc_one_in,
           (unsigned long long)(config->clock_us / SIM_SECOND),
           config->clock_frozen ? ", freezes" : "");
    printf("  at rest: index rots %u%%, runs lost %u%%, log rots %u%%, read-only %u%%; heavy check "
           "every %u\n",
           config->rot_index_percent, config->lose_runs_percent, config->rot_log_percent,
           config->read_only_percent, config->check_every);
}
