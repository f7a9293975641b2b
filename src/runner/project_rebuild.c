/* A rebuild: a new build grows beside the live one and then takes its place.
 *
 * The new build never goes further than the live one has come, so readers do not go back in time at
 * the switch, and what has side effects has had them once: up to that place by the old build, behind
 * it by the new one. The last few events are applied while the live build cannot move, in the same
 * transaction as the switch. */
#include "runner/run.h"

#include <string.h>

/* The lock is taken when catching up took no longer than this, or after so many rounds. */
#define ROUND_SHORT_MS 500
#define ROUNDS_MAX 20
#define SWITCHES_MAX 10

static int run_to_live(struct stele_run *run, struct stele_error *err)
{
    uint64_t bounds[STELE_PROJECT_LANES_MAX];
    for (int round = 0; round < ROUNDS_MAX; round++) {
        const int64_t began = stele_runner__now_ms();
        int outcome = run->sink->ops->live(run->sink, false, bounds, err);
        if (outcome == STELE_OK) {
            outcome = stele_runner__run_lanes(run, bounds, err);
        }
        if (outcome != STELE_OK || atomic_load(&run->stop) ||
            stele_runner__now_ms() - began < ROUND_SHORT_MS) {
            return outcome;
        }
    }
    return STELE_OK;
}

static int catch_up_locked(struct stele_run *run, const uint64_t *bounds, uint64_t *out_applied,
                           struct stele_error *err)
{
    int outcome = STELE_OK;
    for (uint32_t i = 0; i < run->place.lanes && outcome == STELE_OK; i++) {
        struct stele_run_lane lane = {.run = run, .index = i, .at = run->place.lane[i]};
        outcome = stele_runner__apply_locked(&lane, bounds[i], out_applied, err);
    }
    return outcome;
}

static int switch_over(struct stele_run *run, struct stele_error *err)
{
    const struct stele_sink_ops *const ops = run->sink->ops;
    uint64_t bounds[STELE_PROJECT_LANES_MAX];
    uint64_t applied = 0;
    int outcome = ops->begin(run->sink, 0, err);
    if (outcome != STELE_OK) {
        return outcome;
    }
    outcome = ops->live(run->sink, true, bounds, err);
    if (outcome == STELE_OK) {
        outcome = catch_up_locked(run, bounds, &applied, err);
    }
    if (outcome == STELE_OK) {
        outcome = ops->switch_over(run->sink, bounds, applied, err);
    }
    if (outcome != STELE_OK) {
        ops->rollback(run->sink, 0);
        return outcome;
    }
    run->progress.events += applied;
    run->progress.commits++;
    run->progress.position = bounds[0];
    for (uint32_t i = 0; i < run->place.lanes; i++) {
        run->place.lane[i].position = bounds[i];
        run->progress.position =
            bounds[i] < run->progress.position ? bounds[i] : run->progress.position;
    }
    return STELE_OK;
}

int stele_runner__rebuild(struct stele_run *run, struct stele_error *err)
{
    int outcome = STELE_E_OVERLOADED;
    for (int i = 0; i < SWITCHES_MAX && outcome != STELE_OK; i++) {
        outcome = run_to_live(run, err);
        if (outcome != STELE_OK || atomic_load(&run->stop)) {
            return outcome;
        }
        outcome = switch_over(run, err);
        /* A refused event among the last few is parked by the lanes, which do one after the other. */
        if (outcome != STELE_OK && outcome != STELE_E_OVERLOADED && outcome != STELE_E_INVALID &&
            outcome != STELE_E_FENCED) {
            return outcome;
        }
    }
    return outcome;
}
