/* Background work, scavenging and verifying: begin, run and end are events of their own, so that
 * appends, reads, crashes and each other come in between. */
#include "sim.h"

static struct sim_work *free_work(struct sim *sim)
{
    for (size_t i = 0; i < SIM_WORKS_MAX; i++) {
        if (!sim->works[i].used) {
            return &sim->works[i];
        }
    }
    return NULL;
}

/* May work say that it met damage? */
static bool is_damage(const struct sim *sim, int outcome)
{
    return outcome == STELE_E_CORRUPT && (sim->damaged_log || sim->damaged_index);
}

static uint64_t pause_us(struct sim *sim)
{
    return rng_exponential(&sim->rng_schedule, sim->config.latency_us * 4);
}

static void end_scavenge(struct sim *sim, struct sim_work *slot, struct sim_mark mark)
{
    struct stele_error err = {.outcome = 0};
    struct stele_log_pack_result packed;
    const int outcome = stele_scavenge_end(sim->store, slot->work, slot->outcome,
                                           &sim->scavenge_base, &packed, &err);
    slot->used = false;
    sim->stats.packed += packed.changed;
    sim_trace(sim, "scavenge step: outcome, removed, base", (uint64_t)outcome,
              packed.events_removed, packed.base);
    if (outcome != STELE_OK) {
        sim->scavenging = false;
        if (slot->outcome == STELE_OK && !is_damage(sim, outcome)) {
            sim_excuse(sim, mark, outcome, "the end of a scavenge step", &err);
        }
    }
}

static void on_work_end(struct sim *sim, void *object, uint64_t number)
{
    (void)number;
    struct sim_work *slot = object;
    struct stele_error err = {.outcome = 0};
    const struct sim_mark mark = sim_mark(sim);
    if (slot->scavenge) {
        end_scavenge(sim, slot, mark);
        return;
    }
    const int kind = stele_work_kind(slot->work);
    const int outcome = stele_work_end(sim->store, slot->work, slot->outcome, &err);
    slot->used = false;
    sim->stats.works[kind]++;
    sim_trace(sim, "work ended: kind, outcome, outcome of run", (uint64_t)kind, (uint64_t)outcome,
              (uint64_t)slot->outcome);
    if (outcome != STELE_OK && slot->outcome == STELE_OK && !is_damage(sim, outcome)) {
        sim_excuse(sim, mark, outcome, "the end of background work", &err);
    }
}

static void on_work_run(struct sim *sim, void *object, uint64_t number)
{
    struct sim_work *slot = object;
    struct stele_error err = {.outcome = 0};
    const struct sim_mark mark = sim_mark(sim);
    slot->outcome = stele_work_run(slot->work, &err);
    slot->ran = true;
    sim_trace(sim, "work ran: kind, outcome", (uint64_t)stele_work_kind(slot->work),
              (uint64_t)slot->outcome, 0);
    if (slot->outcome != STELE_OK && !is_damage(sim, slot->outcome)) {
        sim_excuse(sim, mark, slot->outcome, "background work", &err);
    }
    sim_after(sim, pause_us(sim), on_work_end, slot, number);
}

/* STELE_OK: something was begun. */
static int begin_work(struct sim *sim, bool closing, struct sim_work **out_slot)
{
    struct sim_work *slot = free_work(sim);
    struct stele_error err = {.outcome = 0};
    if (slot == NULL) {
        return STELE_NOT_FOUND;
    }
    struct stele_work *work = NULL;
    const struct sim_mark mark = sim_mark(sim);
    const int outcome = stele_work_begin(sim->store, sim_wall(sim), closing, &work, &err);
    if (outcome == STELE_NOT_FOUND) {
        return outcome;
    }
    if (outcome != STELE_OK) {
        sim_excuse(sim, mark, outcome, "beginning background work", &err);
        return outcome;
    }
    *slot = (struct sim_work){.used = true, .work = work};
    sim_trace(sim, "work begun: kind", (uint64_t)stele_work_kind(work), 0, 0);
    *out_slot = slot;
    return STELE_OK;
}

static void on_tick(struct sim *sim, void *object, uint64_t number)
{
    (void)object;
    struct sim_work *slot = NULL;
    if (sim->going_down) {
        return;
    }
    if (begin_work(sim, false, &slot) == STELE_OK) {
        sim_after(sim, pause_us(sim), on_work_run, slot, number);
    }
    sim_after(sim, rng_exponential(&sim->rng_schedule, sim->config.work_us), on_tick, NULL, 0);
}

/* ---- Scavenging ---- */

static void on_scavenge_step(struct sim *sim, void *object, uint64_t number)
{
    (void)object;
    struct stele_error err = {.outcome = 0};
    if (!sim->scavenging || sim->going_down) {
        sim->scavenging = false;
        return;
    }
    struct sim_work *slot = free_work(sim);
    for (size_t i = 0; i < SIM_WORKS_MAX; i++) {
        if (sim->works[i].used && sim->works[i].scavenge) {
            slot = NULL; /* One step at a time. */
        }
    }
    if (slot != NULL) {
        const struct sim_mark mark = sim_mark(sim);
        struct stele_work *work = NULL;
        model_scavenge(&sim->model, sim_wall(sim));
        sim->ever_scavenged = true;
        const int outcome = stele_scavenge_begin(sim->store, sim->scavenge_base,
                                                 rng_percent(&sim->rng_workload, 50), sim_wall(sim),
                                                 NULL, NULL, &work, &err);
        if (outcome == STELE_OK) {
            *slot = (struct sim_work){.used = true, .scavenge = true, .work = work};
            sim_after(sim, pause_us(sim), on_work_run, slot, number);
        } else if (outcome == STELE_NOT_FOUND) {
            sim->scavenging = false;
            sim->stats.scavenges++;
            sim_trace(sim, "scavenged", 0, 0, 0);
            return;
        } else if (outcome != STELE_STORE_INDEX && outcome != STELE_E_OVERLOADED) {
            sim->scavenging = false;
            if (!is_damage(sim, outcome)) {
                sim_excuse(sim, mark, outcome, "beginning to scavenge", &err);
            }
            return;
        }
    }
    sim_after(sim, pause_us(sim) + SIM_MS, on_scavenge_step, NULL, number);
}

static void on_scavenge(struct sim *sim, void *object, uint64_t number)
{
    if (sim->going_down) {
        return;
    }
    if (!sim->scavenging) {
        sim->scavenging = true;
        sim->scavenge_base = 0;
        on_scavenge_step(sim, object, number);
    }
    sim_after(sim, rng_exponential(&sim->rng_schedule, sim->config.scavenge_us), on_scavenge, NULL,
              0);
}

/* ---- Verifying ---- */

static void on_damage(void *context, const struct stele_damage *damage)
{
    struct sim *sim = context;
    if (!sim->damaged_log && !sim->damaged_index) {
        sim_fail(sim, "verify finds damage where there is none: %s, offset %llu, position %llu: %s",
                 damage->file, (unsigned long long)damage->offset,
                 (unsigned long long)damage->position, damage->what);
    }
}

static void end_verify(struct sim *sim)
{
    stele_verify_end(sim->store, sim->verify);
    sim->verify = NULL;
}

static void on_verified(struct sim *sim, const struct stele_verify_result *result)
{
    sim_trace(sim, "verified: events, frames, damages", result->events, result->frames,
              result->damages);
    if (!sim->damaged_log && !sim->damaged_index && result->damages != 0) {
        sim_fail(sim, "verify counts %llu damages", (unsigned long long)result->damages);
    }
    if (sim->verify_digest) {
        sim->stats.digests++;
        const uint32_t at = sim->digests_count < SIM_DIGESTS_MAX
                                ? sim->digests_count++
                                : (uint32_t)rng_below(&sim->rng_workload, SIM_DIGESTS_MAX);
        memcpy(sim->digests[at], result->digest, STELE_DIGEST_SIZE);
    } else {
        sim->stats.verifies++;
    }
}

/* One step; false: it has ended. */
static bool verify_step(struct sim *sim)
{
    struct stele_verify_result result;
    struct stele_error err = {.outcome = 0};
    uint64_t done = 0;
    uint64_t total = 0;
    const struct sim_mark mark = sim_mark(sim);
    const int outcome = stele_verify_step(sim->verify, &done, &total, &result, &err);
    if (outcome == STELE_OK) {
        return true;
    }
    if (outcome == STELE_END) {
        on_verified(sim, &result);
    } else if (!is_damage(sim, outcome)) {
        sim_excuse(sim, mark, outcome, "verify", &err);
    }
    end_verify(sim);
    return false;
}

static bool begin_verify(struct sim *sim, bool digest_only)
{
    struct stele_error err = {.outcome = 0};
    const struct sim_mark mark = sim_mark(sim);
    /* A digest that was taken while the log was damaged is of what was found then. */
    const bool against = !digest_only && sim->digests_count > 0 && !sim->damaged_log;
    const char *digest =
        against ? sim->digests[rng_below(&sim->rng_workload, sim->digests_count)] : NULL;
    sim->verify_digest = digest_only;
    const int outcome =
        stele_verify_begin(sim->store, digest, on_damage, sim, digest_only, &sim->verify, &err);
    if (outcome != STELE_OK) {
        sim->verify = NULL;
        sim_excuse(sim, mark, outcome, "beginning to verify", &err);
    }
    return outcome == STELE_OK;
}

static void on_verify_step(struct sim *sim, void *object, uint64_t number)
{
    if (sim->verify != NULL && !sim->going_down && verify_step(sim)) {
        sim_after(sim, pause_us(sim), on_verify_step, object, number);
    }
}

static void on_verify(struct sim *sim, void *object, uint64_t number)
{
    if (sim->going_down) {
        return;
    }
    const bool digest_only = rng_percent(&sim->rng_workload, 40);
    if (sim->verify == NULL && !(digest_only && sim->damaged_log) &&
        begin_verify(sim, digest_only)) {
        sim_after(sim, pause_us(sim), on_verify_step, object, number);
    }
    sim_after(sim, rng_exponential(&sim->rng_schedule, sim->config.verify_us), on_verify, NULL, 0);
}

void sim_verify_now(struct sim *sim)
{
    if (sim->verify == NULL && begin_verify(sim, false)) {
        while (verify_step(sim)) {
        }
    }
}

/* ---- A read-only store beside the writer ---- */

static void close_follower(struct sim *sim)
{
    stele_store_close(sim->follower);
    sim->follower = NULL;
}

static int open_follower(struct sim *sim, struct stele_error *err)
{
    struct stele_store_options options = {.public = STELE_OPTIONS_INIT, .read_only = true};
    options.public.read_only = 1;
    options.live_end = stele_store_durable(sim->store);
    return stele_store_open(&sim->disk.io, &options, &sim->follower, err);
}

static void on_follow(struct sim *sim, void *object, uint64_t number)
{
    struct stele_error err = {.outcome = 0};
    if (sim->going_down) {
        return;
    }
    const struct sim_mark mark = sim_mark(sim);
    int outcome = STELE_OK;
    if (sim->follower == NULL) {
        outcome = open_follower(sim, &err);
    } else {
        outcome = stele_store_follow(sim->follower, stele_store_durable(sim->store), &err);
    }
    if (outcome != STELE_OK) {
        if (!is_damage(sim, outcome)) {
            sim_excuse(sim, mark, outcome, "following the writer", &err);
        }
        close_follower(sim);
    } else {
        sim->stats.follows++;
        struct workload_query query;
        workload_query(&sim->workload, &sim->model, false, &query);
        sim_read_query(sim, sim->follower, &query);
        if (rng_one_in(&sim->rng_schedule, 8)) {
            close_follower(sim);
        }
    }
    sim_after(sim, rng_exponential(&sim->rng_schedule, sim->config.follow_us), on_follow, object,
              number);
}

/* ---- Life ---- */

static void begin_after(struct sim *sim, uint64_t mean, sim_handler handler)
{
    if (mean != 0) {
        sim_after(sim, rng_exponential(&sim->rng_schedule, mean), handler, NULL, 0);
    }
}

void sim_work_opened(struct sim *sim)
{
    begin_after(sim, sim->config.work_us, on_tick);
    begin_after(sim, sim->config.scavenge_us, on_scavenge);
    begin_after(sim, sim->config.verify_us, on_verify);
    begin_after(sim, sim->config.follow_us, on_follow);
}

/* Ends what is under way. */
static void settle_works(struct sim *sim, bool finish)
{
    for (size_t i = 0; i < SIM_WORKS_MAX; i++) {
        struct sim_work *slot = &sim->works[i];
        if (!slot->used) {
            continue;
        }
        if (!slot->ran) {
            slot->outcome = finish ? stele_work_run(slot->work, NULL) : STELE_E_CLOSED;
        } else if (!finish && rng_percent(&sim->rng_crash, 50)) {
            slot->outcome = STELE_E_CLOSED; /* Otherwise installing begins on a dead disk. */
        }
        if (slot->scavenge) {
            struct stele_log_pack_result packed;
            (void)!stele_scavenge_end(sim->store, slot->work, slot->outcome, &sim->scavenge_base,
                                      &packed, NULL);
        } else {
            (void)!stele_work_end(sim->store, slot->work, slot->outcome, NULL);
        }
        slot->used = false;
    }
}

void sim_work_crashed(struct sim *sim)
{
    settle_works(sim, false);
    if (sim->verify != NULL) {
        end_verify(sim);
    }
    if (sim->follower != NULL) {
        close_follower(sim);
    }
    sim->scavenging = false;
}

void sim_work_drain(struct sim *sim)
{
    for (int i = 0;; i++) {
        struct sim_work *slot = NULL;
        if (begin_work(sim, false, &slot) != STELE_OK) {
            return;
        }
        if (i > 10000) {
            sim_fail(sim, "there is no end of background work (the last is of kind %d)",
                     stele_work_kind(slot->work));
        }
        on_work_run(sim, slot, 0);
        on_work_end(sim, slot, 0);
    }
}

void sim_work_close(struct sim *sim)
{
    struct sim_work *slot = NULL;
    settle_works(sim, true);
    for (int i = 0; begin_work(sim, true, &slot) == STELE_OK; i++) {
        if (i > 100) {
            sim_fail(sim, "there is no end of the work before closing (the last is of kind %d)",
                     stele_work_kind(slot->work));
        }
        on_work_run(sim, slot, 0);
        on_work_end(sim, slot, 0);
    }
}
