/* The life of one store: opened, killed, opened again, and in the end at peace.
 *
 * After each opening the store is asked what it has. That must be a prefix of what was appended,
 * whole appends only, with everything that was visible before and nothing that never reached the
 * disk; then the model is cut to it, and so every unknown outcome is resolved. */
#include "base/position.h"
#include "sim.h"

#include <stdio.h>
#include <stdlib.h>

#define FAILED_OPENINGS_MAX 6
#define CALM_US (20 * SIM_MINUTE)
#define CHECK_STREAMS 40

static void on_open(struct sim *sim, void *object, uint64_t number);

/* ---- Clock ---- */

int64_t sim_wall(const struct sim *sim)
{
    const uint64_t now = sim->frozen ? sim->frozen_at_us : sim->now_us;
    return sim->wall_us + (int64_t)now;
}

static void on_clock(struct sim *sim, void *object, uint64_t number)
{
    (void)object;
    (void)number;
    struct rng *rng = &sim->rng_crash;
    if (sim->calm) {
        return;
    }
    sim->stats.clock_jumps++;
    if (sim->config.clock_frozen && rng_percent(rng, 50)) {
        sim->frozen = !sim->frozen;
        sim->frozen_at_us = sim->now_us;
    } else {
        /* From milliseconds to a few years. */
        const int64_t jump = (int64_t)rng_log(rng, SIM_MS, 3 * 365 * 24 * SIM_HOUR);
        const int64_t wall = sim->wall_us + (rng_percent(rng, 50) ? jump : -jump);
        const int64_t year_us = (int64_t)(365 * 24 * SIM_HOUR);
        /* 1990 to 2080: positions end in 2089. */
        if (wall > 20 * year_us && wall < 110 * year_us) {
            sim->wall_us = wall;
        }
    }
    sim_trace(sim, "clock", (uint64_t)sim_wall(sim), sim->frozen, 0);
    sim_after_always(sim, rng_exponential(rng, sim->config.clock_us), on_clock, NULL, 0);
}

static void on_slow(struct sim *sim, void *object, uint64_t number)
{
    (void)object;
    (void)number;
    sim->slow_until_us = sim->now_us + rng_exponential(&sim->rng_crash, 5 * SIM_SECOND);
    sim_after_always(sim, rng_exponential(&sim->rng_crash, sim->config.slow_us), on_slow, NULL, 0);
}

/* Somebody notices the full disk now and then, and makes room. */
static void on_space(struct sim *sim, void *object, uint64_t number)
{
    (void)object;
    if (sim->disk.faults.capacity != 0 && sim->disk.counts.no_space > number) {
        sim->stats.full++;
        sim->disk.faults.capacity += sim->disk.faults.capacity / 4 + 1024 * 1024;
        sim_trace(sim, "more space", sim->disk.faults.capacity, 0, 0);
    }
    sim_after_always(sim, rng_exponential(&sim->rng_crash, SIM_MINUTE), on_space, NULL,
                     sim->disk.counts.no_space);
}

/* ---- Going down ---- */

static void tear_down(struct sim *sim)
{
    if (sim_guest.crashed != NULL) {
        sim_guest.crashed(sim);
    }
    sim_reader_crashed(sim);
    sim_work_crashed(sim);
    sim_client_crashed(sim);
    stele_store_close(sim->store);
    sim_writer_crashed(sim);
    sim->store = NULL;
    sim->going_down = false;
    sim->life++;
    if (sim->alloc.bytes != 0 || sim->alloc.blocks != 0) {
        sim_fail(sim, "the store is closed and %llu bytes in %llu blocks are not released",
                 (unsigned long long)sim->alloc.bytes, (unsigned long long)sim->alloc.blocks);
    }
    if (sim->disk.open_files != 0) {
        sim_fail(sim, "the store is closed and %llu files are open",
                 (unsigned long long)sim->disk.open_files);
    }
}

static void cut_power(struct sim *sim, bool power)
{
    if (power) {
        sim->stats.power_cuts++;
        simdisk_power_cut(&sim->disk, (enum simdisk_keep)rng_below(&sim->rng_crash, SIMDISK_KEEPS));
    } else {
        sim->stats.kills++;
        simdisk_restart(&sim->disk);
    }
    sim->disk.broken = false;
}

void sim_crash(struct sim *sim, bool power)
{
    sim->stats.crashes++;
    sim_trace(sim, "crash: power, staged, visible", power, sim->model.count, sim->model.visible);
    sim->disk.dead = true;
    if (sim->store != NULL) {
        tear_down(sim);
    }
    cut_power(sim, power);
    sim_after(sim, rng_exponential(&sim->rng_crash, sim->config.downtime_us), on_open, NULL, 0);
}

static bool draw_power(struct sim *sim)
{
    return !rng_percent(&sim->rng_crash, sim->config.kill_percent);
}

static void on_restart(struct sim *sim, void *object, uint64_t number)
{
    (void)object;
    (void)number;
    sim_crash(sim, draw_power(sim));
}

void sim_schedule_restart(struct sim *sim, uint64_t delay_us)
{
    if (!sim->going_down) {
        sim->going_down = true;
        sim_after(sim, delay_us, on_restart, NULL, 0);
    }
}

/* An orderly end: what is under way is finished first. */
static void on_closing(struct sim *sim, void *object, uint64_t number)
{
    bool waiting = sim_guest.closing != NULL && !sim_guest.closing(sim);
    waiting = waiting || !sim_writer_is_idle(sim);
    for (uint32_t i = 0; i < sim->config.clients; i++) {
        waiting = waiting || sim->clients[i].op.state == SIM_OP_WAITING;
    }
    if (waiting && !stele_store_is_fenced(sim->store)) {
        sim_writer_kick(sim);
        sim_after(sim, SIM_MS, on_closing, object, number);
        return;
    }
    if (!stele_store_is_fenced(sim->store)) {
        sim_work_close(sim);
    }
    const bool complete = !stele_store_is_fenced(sim->store) && !sim->disk.dead;
    if (complete && sim->model.visible != sim->model.count) {
        sim_fail(sim, "closing: %u of %u events are durable", sim->model.visible, sim->model.count);
    }
    sim->stats.clean++;
    sim_trace(sim, "closed: events, fenced", sim->model.count, !complete, 0);
    tear_down(sim);
    cut_power(sim, draw_power(sim));
    sim_after(sim, rng_exponential(&sim->rng_crash, sim->config.downtime_us), on_open, NULL, 0);
}

static void on_crash(struct sim *sim, void *object, uint64_t number)
{
    (void)object;
    (void)number;
    if (sim->calm) {
        return;
    }
    sim_after_always(sim, rng_exponential(&sim->rng_crash, sim->config.crash_us), on_crash, NULL,
                     0);
    if (sim->store == NULL || sim->going_down) {
        return;
    }
    if (rng_percent(&sim->rng_crash, sim->config.clean_percent)) {
        sim->going_down = true;
        on_closing(sim, NULL, 0);
    } else if (rng_percent(&sim->rng_crash, sim->config.in_call_percent)) {
        sim->disk.die_after = rng_log(&sim->rng_crash, 1, 64);
    } else {
        sim_crash(sim, draw_power(sim));
    }
}

/* ---- Damage while nobody looks ---- */

static bool has_suffix(const char *name, const char *suffix)
{
    const size_t size = strlen(name);
    const size_t suffix_size = strlen(suffix);
    return size >= suffix_size && strcmp(name + size - suffix_size, suffix) == 0;
}

static bool is_segment(const char *name)
{
    return (has_suffix(name, ".seg") || has_suffix(name, ".pak")) && strcmp(name, "spare.seg") != 0;
}

/* A file whose name a test accepts, or NULL. */
static const char *pick_file(struct sim *sim, bool (*accepts)(const char *name))
{
    const char *picked = NULL;
    uint64_t seen = 0;
    for (size_t i = 0; i < simdisk_files(&sim->disk); i++) {
        const char *name = simdisk_file_name(&sim->disk, i);
        if (accepts(name) && rng_below(&sim->rng_crash, ++seen) == 0) {
            picked = name;
        }
    }
    return picked;
}

static bool is_derived(const char *name)
{
    return has_suffix(name, ".run") || strcmp(name, "mark") == 0;
}

static bool is_run(const char *name)
{
    return has_suffix(name, ".run");
}

static bool is_log(const char *name)
{
    return is_segment(name) || strcmp(name, "stele.store") == 0;
}

static bool damage(struct sim *sim, const char *name, uint64_t bound)
{
    uint64_t size = 0;
    if (name == NULL || !simdisk_size(&sim->disk, name, &size) || size == 0) {
        return false;
    }
    size = size < bound ? size : bound;
    if (size == 0) {
        return false;
    }
    const uint64_t offset = rng_below(&sim->rng_crash, size);
    const enum simdisk_damage_kind kind =
        (enum simdisk_damage_kind)rng_below(&sim->rng_crash, SIMDISK_DAMAGES);
    const bool damaged = simdisk_damage(&sim->disk, name, offset, kind);
    sim_trace(sim, "rot: offset, kind, done", offset, kind, damaged);
    sim->stats.rotten += damaged;
    return damaged;
}

/* The last segment may be damaged only below a place that a later frame, in another sector, says to
 * have been durable: beyond, nobody can tell damage from a torn tail. This is the fault atlas of a
 * store that has one copy. */
static uint64_t damage_bound(struct sim *sim, const char *name)
{
    if (!is_segment(name)) {
        return UINT64_MAX;
    }
    const uint64_t base = strtoull(name, NULL, 16);
    for (size_t i = 0; i < simdisk_files(&sim->disk); i++) {
        const char *other = simdisk_file_name(&sim->disk, i);
        if (is_segment(other) && strtoull(other, NULL, 16) > base) {
            return UINT64_MAX;
        }
    }
    const uint32_t appends = sim->model.appends_visible;
    const uint64_t proven = appends == 0 ? 0 : sim->model.appends[appends - 1].durable;
    /* Places are offsets from the segment's base; its header may make the file a little longer. */
    return proven <= base ? 0 : (proven - base) & ~(uint64_t)(SIMDISK_SECTOR - 1);
}

static void damage_at_rest(struct sim *sim)
{
    struct rng *rng = &sim->rng_crash;
    if (sim->damaged_log && rng_percent(rng, 60)) {
        simdisk_heal(&sim->disk);
        sim->damaged_log = false;
        sim->damaged_index = false;
    }
    if (rng_percent(rng, sim->config.rot_index_percent)) {
        const char *name = pick_file(sim, is_derived);
        sim->damaged_index = damage(sim, name, UINT64_MAX) || sim->damaged_index;
    }
    if (rng_percent(rng, sim->config.lose_runs_percent)) {
        const char *name = pick_file(sim, is_run);
        if (name != NULL) {
            const struct stele_io_ops *ops = sim->disk.io.ops;
            const struct simdisk_faults faults = sim->disk.faults;
            sim->disk.faults = (struct simdisk_faults){.capacity = 0};
            char copy[STELE_FILE_NAME_MAX];
            memcpy(copy, name, strlen(name) + 1);
            (void)ops->remove(&sim->disk.io, copy, NULL);
            (void)ops->sync_names(&sim->disk.io, NULL);
            sim->disk.faults = faults;
            sim->stats.runs_lost++;
            sim_trace(sim, "run lost", 0, 0, 0);
        }
    }
    if (!sim->damaged_log && rng_percent(rng, sim->config.rot_log_percent)) {
        const char *name = pick_file(sim, is_log);
        if (name != NULL) {
            sim->damaged_log = damage(sim, name, damage_bound(sim, name));
        }
    }
}

/* ---- Opening ---- */

static struct stele_store_options store_options(const struct sim *sim, bool read_only)
{
    struct stele_store_options options = {.public = STELE_OPTIONS_INIT, .read_only = read_only};
    options.public.partitions = sim->config.partitions;
    options.public.partition_key = sim->config.partition_key;
    options.public.segment_size_max = sim->config.segment_size_max;
    options.public.index_memory = sim->config.index_memory;
    options.public.compress = sim->config.compress;
    options.public.scrub_days = sim->config.scrub_days;
    options.public.read_only = read_only;
    options.live_end = UINT64_MAX;
    return options;
}

/* Events that may be there: no group was ever made of the others. */
static uint32_t possible_events(const struct sim *sim)
{
    uint32_t events = sim->model.visible;
    for (uint32_t i = sim->model.appends_visible; i < sim->model.appends_count; i++) {
        if (sim->model.appends[i].place <= sim->taken_end) {
            events = sim->model.appends[i].first + sim->model.appends[i].count;
        }
    }
    return events;
}

/* The number of events of a store that says this is its last position. */
static uint32_t events_up_to(struct sim *sim, uint64_t position)
{
    for (uint32_t i = sim->model.count; i > 0; i--) {
        if (sim->model.events[i - 1].position == position) {
            return i;
        }
    }
    if (position != 0) {
        sim_fail(sim, "the store's last position %llu was never given out",
                 (unsigned long long)position);
    }
    return 0;
}

/* What does the store have? */
static uint32_t count_events(struct sim *sim, struct stele_store *store)
{
    const uint32_t events = events_up_to(sim, stele_store_position(store));
    const uint32_t from = rng_percent(&sim->rng_crash, 15) ? 0 : sim->model.visible;
    const uint32_t read = sim_read_tail(sim, store, from);
    if (read != UINT32_MAX && read > events) {
        sim_fail(sim, "reads give events up to %u, the last position is that of %u", read, events);
    }
    if (read != UINT32_MAX && read < events) {
        for (uint32_t i = read; i < events; i++) {
            if (!sim->model.events[i].optional) {
                sim_fail(sim, "reads give events up to %u, the last position is that of %u", read,
                         events);
            }
        }
    }
    if (events < sim->model.visible) {
        sim_fail(sim, "%u events were visible before, %u are there now", sim->model.visible,
                 events);
    }
    if (events > possible_events(sim)) {
        sim_fail(sim, "%u events were ever written, %u are there now", possible_events(sim),
                 events);
    }
    return events;
}

/* What a process that died left in the page cache must have been made durable before it counts. */
static void check_recovered_is_durable(struct sim *sim)
{
    for (size_t i = 0; i < simdisk_files(&sim->disk); i++) {
        const char *name = simdisk_file_name(&sim->disk, i);
        if (is_log(name) && !simdisk_is_settled(&sim->disk, name)) {
            sim_fail(sim, "D1: after opening, %s is not on the device as it is read", name);
        }
    }
}

static void look_read_only(struct sim *sim)
{
    const struct stele_store_options options = store_options(sim, true);
    struct stele_store *store = NULL;
    struct stele_error err = {.outcome = 0};
    const struct sim_mark mark = sim_mark(sim);
    sim->disk.read_only = true;
    const int outcome = stele_store_open(&sim->disk.io, &options, &store, &err);
    if (outcome == STELE_OK) {
        sim->stats.read_only++;
        (void)count_events(sim, store);
        stele_store_close(store);
    } else if (!(outcome == STELE_E_NOT_A_STORE && sim->stats.opens == 0)) {
        if (!sim->damaged_log && !(outcome == STELE_E_IO && simdisk_cache_lies(&sim->disk))) {
            sim_excuse(sim, mark, outcome, "opening read-only", &err);
        }
    }
    sim->disk.read_only = false;
    sim_trace(sim, "looked read-only: outcome", (uint64_t)outcome, 0, 0);
}

static void on_opened(struct sim *sim)
{
    bool whole = false;
    const struct simdisk_faults faults = sim->disk.faults;
    const uint32_t one_in = sim->alloc.fail_one_in;
    const uint64_t die_after = sim->disk.die_after;
    sim->disk.faults = (struct simdisk_faults){.capacity = faults.capacity};
    sim->alloc.fail_one_in = 0;
    sim->disk.die_after = 0;
    const uint32_t events = count_events(sim, sim->store);
    const uint32_t lost = sim->model.count - events;
    model_cut(&sim->model, events, &whole);
    if (!whole) {
        sim_fail(sim, "after opening, a part of an append is there: it ends with event %u", events);
    }
    sim->stats.unknown_there += events - sim->model.visible;
    /* What a scavenge took is not counted any more when the log is read again. */
    sim->counts_lost = sim->counts_lost || sim->ever_scavenged;
    sim->model.visible = events;
    sim->model.appends_visible = sim->model.appends_count;
    check_recovered_is_durable(sim);
    sim_trace(sim, "opened: events, lost, durable", events, lost, stele_store_durable(sim->store));
    sim->taken_end = stele_store_durable(sim->store);
    sim->disk.faults = faults;
    sim->alloc.fail_one_in = one_in;
    sim->disk.die_after = die_after;
    sim_client_start(sim);
    sim_reader_opened(sim);
    sim_work_opened(sim);
    if (sim_guest.opened != NULL) {
        sim_guest.opened(sim);
    }
}

static void on_open(struct sim *sim, void *object, uint64_t failed)
{
    (void)object;
    STELE_ASSERT(sim->store == NULL);
    const bool calm = sim->calm || failed >= FAILED_OPENINGS_MAX;
    const struct simdisk_faults faults = sim->disk.faults;
    const uint32_t one_in = sim->alloc.fail_one_in;
    if (calm) {
        sim->disk.faults = (struct simdisk_faults){.capacity = 0};
        sim->alloc.fail_one_in = 0;
    } else if (failed == 0) {
        damage_at_rest(sim);
    }
    if (rng_percent(&sim->rng_crash, sim->config.read_only_percent)) {
        look_read_only(sim);
    }
    if (!calm && rng_percent(&sim->rng_crash, sim->config.in_open_percent)) {
        sim->disk.die_after = rng_log(&sim->rng_crash, 1, 128);
    }
    const struct stele_store_options options = store_options(sim, false);
    struct stele_error err = {.outcome = 0};
    const struct sim_mark mark = sim_mark(sim);
    const int outcome = stele_store_open(&sim->disk.io, &options, &sim->store, &err);
    sim->disk.faults = faults;
    sim->alloc.fail_one_in = one_in;
    if (outcome == STELE_OK && !sim->disk.dead) {
        sim->stats.opens++;
        on_opened(sim);
        return;
    }
    bool lies = false;
    sim->stats.opens_failed++;
    sim_trace(sim, "opening failed: outcome, dead", (uint64_t)outcome, sim->disk.dead, 0);
    if (outcome == STELE_OK) {
        stele_store_close(sim->store);
        sim->store = NULL;
    } else if (outcome == STELE_E_IO && simdisk_cache_lies(&sim->disk)) {
        lies = true; /* After a failed sync: the message asks for mounting anew. */
    } else if (!sim->damaged_log) {
        sim_excuse(sim, mark, outcome, "opening", &err);
    }
    if (sim->alloc.bytes != 0 || sim->disk.open_files != 0) {
        sim_fail(sim, "opening failed and %llu bytes are not released, %llu files are open",
                 (unsigned long long)sim->alloc.bytes, (unsigned long long)sim->disk.open_files);
    }
    if (sim->damaged_log && !sim->disk.dead && rng_percent(&sim->rng_crash, 50)) {
        simdisk_heal(&sim->disk); /* From a backup, as the message says. */
        sim->damaged_log = false;
        sim->damaged_index = false;
    }
    sim->stats.in_open += sim->disk.dead;
    cut_power(sim, lies || draw_power(sim));
    sim_after(sim, rng_exponential(&sim->rng_crash, sim->config.downtime_us), on_open, NULL,
              failed + 1);
}

/* ---- A run ---- */

static bool handle_next(struct sim *sim)
{
    struct sim_event event;
    if (!sim_next_event(sim, &event)) {
        sim_fail(sim, "nothing is left to happen");
    }
    STELE_ASSERT(event.time >= sim->now_us);
    sim->now_us = event.time;
    sim->disk.now_us = sim_wall(sim);
    sim->stats.events++;
    event.handler(sim, event.object, event.number);
    if (sim->disk.dead) {
        sim->stats.in_call++;
        sim_crash(sim, draw_power(sim));
    }
    sim_check(sim);
    if (sim_guest.checked != NULL) {
        sim_guest.checked(sim);
    }
    return sim->until == 0 || sim->stats.events < sim->until;
}

static void start(struct sim *sim)
{
    const struct sim_config *config = &sim->config;
    sim_after_always(sim, 0, on_open, NULL, 0);
    if (config->crash_us != 0) {
        sim_after_always(sim, rng_exponential(&sim->rng_crash, config->crash_us), on_crash, NULL,
                         0);
    }
    if (config->clock_us != 0) {
        sim_after_always(sim, rng_exponential(&sim->rng_crash, config->clock_us), on_clock, NULL,
                         0);
    }
    if (config->slow_us != 0) {
        sim_after_always(sim, rng_exponential(&sim->rng_crash, config->slow_us), on_slow, NULL, 0);
    }
    sim_after_always(sim, SIM_MINUTE, on_space, NULL, 0);
}

static bool is_at_peace(const struct sim *sim)
{
    return sim->store != NULL && !sim->going_down && !stele_store_is_fenced(sim->store) &&
           sim_client_is_idle(sim) && sim_writer_is_idle(sim) && !sim->damaged_log &&
           (sim_guest.is_at_peace == NULL || sim_guest.is_at_peace(sim));
}

/* No more faults: everything that is pending has to end, every subscription to arrive. */
static void calm_down(struct sim *sim)
{
    sim->calm = true;
    sim->disk.faults = (struct simdisk_faults){.capacity = 0};
    sim->disk.broken = false;
    sim->disk.die_after = 0;
    sim->alloc.fail_one_in = 0;
    sim->slow_until_us = 0;
    simdisk_heal(&sim->disk);
    if (sim->damaged_log && sim->store != NULL && !sim->going_down) {
        sim_crash(sim, false);
    }
    sim->damaged_log = false;
    if (sim_guest.calm != NULL) {
        sim_guest.calm(sim);
    }
    const uint64_t end = sim->now_us + CALM_US;
    while (!is_at_peace(sim)) {
        if (sim->now_us > end) {
            sim_fail(sim, "without faults, what is pending does not end");
        }
        if (!handle_next(sim)) {
            return;
        }
    }
    const uint64_t settled = sim->now_us + 10 * SIM_SECOND;
    while (sim->now_us < settled && handle_next(sim)) {
    }
    for (size_t i = 0; i < SIM_READERS_MAX; i++) {
        struct sim_reader *reader = &sim->readers[i];
        if (reader->used && reader->read != NULL && reader->follows) {
            if (!model_read_at_end(&reader->model)) {
                sim_fail(sim, "a subscription to %s never got event %u",
                         reader->query.is_all ? "$all" : reader->query.stream,
                         reader->model.problem_event);
            }
            sim->stats.subscription_events += reader->events;
        }
    }
}

static void finish(struct sim *sim)
{
    if (sim->until != 0 && sim->stats.events >= sim->until) {
        printf("stopped before event %llu\n", (unsigned long long)sim->until);
        return;
    }
    sim_check_all(sim, CHECK_STREAMS);
    sim_work_drain(sim);
    sim_check_all(sim, CHECK_STREAMS);
    if (sim->verify == NULL) {
        sim_verify_now(sim);
    }
    sim->going_down = true;
    on_closing(sim, NULL, 0);
    while (sim->store == NULL) {
        (void)handle_next(sim);
    }
    sim_check_all(sim, CHECK_STREAMS);
    if (sim_guest.finish != NULL) {
        sim_guest.finish(sim);
    }
}

static void add_totals(struct sim *sim, struct sim_stats *totals)
{
    struct sim_stats *s = &sim->stats;
    s->disk_errors = sim->disk.counts.errors;
    s->disk_no_space = sim->disk.counts.no_space;
    s->sectors_lost = sim->disk.counts.sectors_lost;
    s->sectors_torn = sim->disk.counts.sectors_torn;
    s->names_lost = sim->disk.counts.names_lost;
    s->disk_calls = sim->disk.counts.calls;
    s->alloc_failures = sim->alloc.failures;
    s->simulated_us = sim->now_us;
    uint64_t *to = (uint64_t *)totals;
    const uint64_t *from = (const uint64_t *)s;
    for (size_t i = 0; i < sizeof *s / sizeof *to; i++) {
        to[i] += from[i];
    }
}

uint64_t sim_run(uint64_t seed, bool tracing, bool quick, uint64_t until, struct sim_stats *totals)
{
    struct sim *sim = calloc(1, sizeof *sim);
    STELE_ASSERT(sim != NULL);
    sim->seed = seed;
    sim->tracing = tracing;
    sim->quick = quick;
    sim->until = until;
    sim->life = 1;
    sim->wall_us = INT64_C(1750000000000000);
    rng_init(&sim->rng_config, seed, 10);
    rng_init(&sim->rng_workload, seed, 11);
    rng_init(&sim->rng_schedule, seed, 12);
    rng_init(&sim->rng_crash, seed, 13);
    workload_init(&sim->workload, &sim->rng_workload);
    sim_config_draw(&sim->config, &sim->workload, &sim->rng_config, quick);
    if (sim_guest.configure != NULL) {
        sim_guest.configure(sim, &sim->rng_config);
    }
    if (tracing) {
        sim_config_print(&sim->config, &sim->workload);
    }
    testalloc_init(&sim->alloc, seed);
    sim->alloc.fail_one_in = sim->config.alloc_one_in;
    simdisk_init(&sim->disk, seed, &sim->alloc.base);
    sim->disk.faults = sim->config.faults;
    model_init(&sim->model, sim->config.partitions, sim->config.partition_key);
    start(sim);
    if (sim_guest.start != NULL) {
        sim_guest.start(sim);
    }
    bool more = true;
    bool followed = false;
    while (more && sim->now_us < sim->config.duration_us) {
        more = handle_next(sim);
        if (!followed && sim->store != NULL) {
            followed = true;
            sim_reader_start(sim);
        }
    }
    if (more) {
        calm_down(sim);
        finish(sim);
    }
    if (sim->store != NULL) {
        tear_down(sim);
    }
    for (uint32_t i = 0; i < sim->config.clients; i++) {
        workload_free(sim->clients[i].op.request);
    }
    if (sim_guest.end != NULL) {
        sim_guest.end(sim);
    }
    add_totals(sim, totals);
    const uint64_t prefix = model_prefix_hash(&sim->model, sim->model.count);
    const uint64_t hash = (sim->hash ^ sim->disk.hash) * 31 + prefix;
    workload_deinit(&sim->workload);
    model_deinit(&sim->model);
    simdisk_deinit(&sim->disk);
    free(sim->queue.events);
    free(sim);
    return hash;
}
