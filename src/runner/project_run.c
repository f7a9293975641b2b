/* A run: attaches the projection to its sink, runs the lanes, begins again when another build has
 * taken over. */
#include "io/linux.h"
#include "runner/run.h"

#include <string.h>

#define ATTACH_MAX 16 /* Builds that may take over, one after the other, during one run. */

/* ---- Lanes ---- */

static void *lane_main(void *context)
{
    stele_runner__work(context);
    return NULL;
}

static void set_up_lane(struct stele_run *run, struct stele_run_lane *lane, uint32_t index,
                        const uint64_t *bounds)
{
    lane->run = run;
    lane->index = index;
    lane->at = run->place.lane[index];
    lane->follow = bounds == NULL && run->options.follow != 0;
    lane->bound = bounds != NULL ? bounds[index] : lane->follow ? 0 : run->target;
    run->positions[index] = lane->at.position;
}

static int start_lane(struct stele_run_lane *lane, pthread_t *thread)
{
    const int error = pthread_create(thread, NULL, lane_main, lane);
    if (error != 0) {
        lane->outcome =
            stele_fail(&lane->err, STELE_E_NO_MEMORY, error,
                       "projection %s: no thread for another lane", lane->run->projection->name);
    }
    return error;
}

int stele_runner__run_lanes(struct stele_run *run, const uint64_t *bounds, struct stele_error *err)
{
    const uint32_t count = run->place.lanes;
    struct stele_alloc *const alloc = stele_linux_alloc();
    struct stele_run_lane *const lanes = stele_allocate_zeroed(alloc, count * sizeof *lanes);
    if (lanes == NULL) {
        return stele_fail(err, STELE_E_NO_MEMORY, 0, "projection %s: no memory",
                          run->projection->name);
    }
    uint32_t started = 1;
    for (uint32_t i = 0; i < count; i++) {
        set_up_lane(run, &lanes[i], i, bounds);
    }
    while (started < count && start_lane(&lanes[started], &lanes[started].thread) == 0) {
        started++;
    }
    if (started < count) {
        atomic_store(&run->stop, true);
    }
    /* Nothing is after position 0, and a bound of 0 would be none. */
    if (lanes[0].follow || lanes[0].bound > 0) {
        stele_runner__work(&lanes[0]);
    }
    for (uint32_t i = 1; i < started; i++) {
        (void)pthread_join(lanes[i].thread, NULL);
    }
    int outcome = STELE_OK;
    for (uint32_t i = 0; i < count; i++) {
        run->place.lane[i].position = lanes[i].at.position;
        /* A lane that looks for a new build says least about why others ended. */
        if (lanes[i].outcome != STELE_OK && (outcome == STELE_OK || outcome == STELE_NOT_FOUND)) {
            outcome = lanes[i].outcome;
            if (err != NULL) {
                *err = lanes[i].err;
            }
        }
    }
    stele_release(alloc, lanes, count * sizeof *lanes);
    return outcome;
}

/* ---- Runs ---- */

static int attach(struct stele_run *run, bool rebuild, struct stele_error *err)
{
    struct stele_stats stats;
    int outcome = stele_runner__effective_check(run->projection, run->sink, err);
    if (outcome == STELE_OK) {
        outcome = stele_stats(run->store, &stats, err);
    }
    if (outcome != STELE_OK) {
        return outcome;
    }
    const struct stele_sink_request request = {
        .projection = run->projection,
        .store_id = stats.store_id,
        .effects_after = run->options.effects_of_past != 0 ? 0 : stele_last_position(run->store),
        .lanes = run->options.lanes,
        .rebuild = rebuild,
    };
    outcome = run->sink->ops->attach(run->sink, &request, &run->place, err);
    if (outcome == STELE_OK) {
        run->progress.build = run->place.build;
    }
    return outcome;
}

/* Until the end that was asked for, through builds that take over. */
static int run_builds(struct stele_run *run, struct stele_error *err)
{
    bool rebuild = run->options.rebuild != 0;
    int outcome = STELE_NOT_FOUND;
    for (int i = 0; i < ATTACH_MAX && outcome == STELE_NOT_FOUND; i++) {
        outcome = attach(run, rebuild, err);
        if (outcome != STELE_OK) {
            return outcome;
        }
        if (run->place.building) {
            outcome = stele_runner__rebuild(run, err);
            rebuild = false;
            if (outcome == STELE_OK && run->options.follow != 0 && !atomic_load(&run->stop)) {
                outcome = STELE_NOT_FOUND; /* Now as a live one. */
            }
        } else {
            outcome = stele_runner__run_lanes(run, NULL, err);
        }
        run->sink->ops->detach(run->sink);
        if (outcome == STELE_NOT_FOUND) {
            atomic_store(&run->stop, false);
        }
    }
    return outcome != STELE_NOT_FOUND
               ? outcome
               : stele_fail(err, STELE_E_OVERLOADED, 0,
                            "projection %s: new builds take over all the time",
                            run->projection->name);
}

static int check_options(const struct stele_project_options *options, struct stele_error *err)
{
    if (options->struct_size != sizeof *options) {
        return stele_fail(err, STELE_E_INVALID, 0,
                          "run a projection: struct_size is not that of this library; use "
                          "STELE_PROJECT_OPTIONS_INIT");
    }
    if (options->lanes > STELE_PROJECT_LANES_MAX) {
        return stele_fail(err, STELE_E_LIMIT, 0,
                          "run a projection: %u lanes; at most %d are allowed", options->lanes,
                          STELE_PROJECT_LANES_MAX);
    }
    if (options->batch_max == 0 || options->linger_ms > 60000) {
        return stele_fail(err, STELE_E_INVALID, 0,
                          "run a projection: batch_max is from 1 on, linger_ms at most 60000");
    }
    if (options->as_of != 0 && (options->follow != 0 || options->rebuild != 0)) {
        return stele_fail(err, STELE_E_INVALID, 0,
                          "run a projection: as_of goes neither with follow nor with rebuild");
    }
    if (options->effective_until_us != 0 && (options->follow != 0 || options->rebuild != 0)) {
        return stele_fail(
            err, STELE_E_INVALID, 0,
            "run a projection: effective_until_us goes neither with follow nor with rebuild");
    }
    return STELE_OK;
}

int stele_project_run(struct stele *store, struct stele_projection *projection,
                      struct stele_sink *sink, const struct stele_project_options *options,
                      struct stele_project_progress *out_progress, struct stele_error *err)
{
    const struct stele_project_options defaults = STELE_PROJECT_OPTIONS_INIT;
    if (store == NULL || projection == NULL || sink == NULL) {
        return stele_fail(err, STELE_E_INVALID, 0, "run a projection: an argument is NULL");
    }
    options = options != NULL ? options : &defaults;
    int outcome = check_options(options, err);
    if (outcome != STELE_OK) {
        return outcome;
    }
    if (options->effective_until_us != 0 && !projection->effective) {
        return stele_fail(
            err, STELE_E_INVALID, 0,
            "%.80s: only a projection in effective order can be bounded by when events "
            "count; it says `@order effective`",
            projection->file);
    }
    struct stele_run run = {
        .store = store, .projection = projection, .sink = sink, .options = *options};
    run.target = stele_last_position(store);
    if (options->as_of != 0 && options->as_of < run.target) {
        run.target = options->as_of;
    }
    (void)pthread_mutex_init(&run.lock, NULL);
    run.told.name = projection->name;
    stele_runner__signal_begin(options->signal, &run.told);
    outcome = run_builds(&run, err);
    stele_runner__signal_end(options->signal, &run.told);
    (void)pthread_mutex_destroy(&run.lock);
    if (out_progress != NULL) {
        *out_progress = run.progress;
    }
    return outcome;
}
