/* Making a runner, its options, and the calls that only look. */
#include "io/linux.h"
#include "runner/command_internal.h"

#include <errno.h>
#include <sys/stat.h>

#define SNAPSHOTS_KEPT_MAX 100u

static int check_options(const struct stele_runner_options *options, struct stele_error *err)
{
    if (options->struct_size != sizeof *options) {
        return stele_fail(err, STELE_E_INVALID, 0,
                          "runner: options need to be initialised with STELE_RUNNER_OPTIONS_INIT");
    }
    if (options->attempts_max == 0) {
        return stele_fail(err, STELE_E_INVALID, 0, "runner: attempts_max has to be at least 1");
    }
    if (options->snapshots_kept == 0 || options->snapshots_kept > SNAPSHOTS_KEPT_MAX) {
        return stele_fail(err, STELE_E_INVALID, 0,
                          "runner: snapshots_kept has to be 1 … %u, not %u", SNAPSHOTS_KEPT_MAX,
                          options->snapshots_kept);
    }
    if (options->snapshot_prefix != NULL && options->snapshot_prefix[0] == '\0') {
        return stele_fail(err, STELE_E_INVALID, 0,
                          "runner: with an empty snapshot_prefix snapshots would lie among streams "
                          "of other things");
    }
    return STELE_OK;
}

static int make_directory(const char *path, struct stele_error *err)
{
    struct stat info;
    if (mkdir(path, 0777) != 0 && errno != EEXIST) {
        return stele_fail(err, STELE_E_IO, errno,
                          "runner: the directory for snapshots, %s, cannot be made", path);
    }
    if (stat(path, &info) != 0 || !S_ISDIR(info.st_mode)) {
        return stele_fail(err, STELE_E_INVALID, 0, "runner: %s, for snapshots, is no directory",
                          path);
    }
    return STELE_OK;
}

static void release(struct stele_runner *runner)
{
    struct stele_alloc *alloc = runner->alloc;
    if (runner->prefix != NULL) {
        stele_release(alloc, runner->prefix, strlen(runner->prefix) + 1);
    }
    if (runner->directory != NULL) {
        stele_release(alloc, runner->directory, strlen(runner->directory) + 1);
    }
    stele_release(alloc, runner, sizeof *runner);
}

int stele_runner_create(struct stele *store, const struct stele_runner_options *options,
                        struct stele_runner **out_runner, struct stele_error *err)
{
    static const struct stele_runner_options defaults = STELE_RUNNER_OPTIONS_INIT;
    options = options != NULL ? options : &defaults;
    if (store == NULL || out_runner == NULL) {
        return stele_fail(err, STELE_E_INVALID, 0, "runner: it needs a store and a place");
    }
    int outcome = check_options(options, err);
    if (outcome == STELE_OK && options->snapshot_directory != NULL) {
        outcome = make_directory(options->snapshot_directory, err);
    }
    if (outcome != STELE_OK) {
        return outcome;
    }
    struct stele_alloc *alloc = stele_linux_alloc();
    struct stele_runner *runner = stele_allocate_zeroed(alloc, sizeof *runner);
    if (runner == NULL) {
        return stele_fail(err, STELE_E_NO_MEMORY, 0, "runner: no memory");
    }
    runner->alloc = alloc;
    runner->store = store;
    runner->options = *options;
    runner->prefix = stele_command__text(
        alloc, options->snapshot_prefix != NULL ? options->snapshot_prefix : "$snapshot-");
    if (options->snapshot_directory != NULL) {
        runner->directory = stele_command__text(alloc, options->snapshot_directory);
    }
    if (runner->prefix == NULL ||
        (options->snapshot_directory != NULL && runner->directory == NULL)) {
        release(runner);
        return stele_fail(err, STELE_E_NO_MEMORY, 0, "runner: no memory");
    }
    /* Where it is not possible every command reads what is new in its streams. */
    runner->watching = options->states_max > 0 && stele_client_watch(store, NULL) == STELE_OK;
    stele_kept__init(&runner->kept, options->states_max);
    stele_snapshot__init(&runner->snapshots);
    stele_submit__init(&runner->submissions);
    stele_figures__init(&runner->figures);
    *out_runner = runner;
    return STELE_OK;
}

void stele_runner_destroy(struct stele_runner *runner)
{
    if (runner == NULL) {
        return;
    }
    stele_submit__stop(runner);
    stele_snapshot__stop(runner);
    stele_kept__deinit(runner);
    stele_figures__deinit(runner);
    release(runner);
}

int stele_runner_load(struct stele_runner *runner, const struct stele_fold *fold,
                      const char *stream, uint64_t as_of, struct stele_memory *memory,
                      struct stele_state **out_state, struct stele_error *err)
{
    if (runner == NULL || fold == NULL || memory == NULL || out_state == NULL) {
        return stele_fail(err, STELE_E_INVALID, 0, "stele_runner_load: an argument is NULL");
    }
    struct stele_state *state;
    uint64_t snapshot_count;
    int64_t snapshot_us;
    struct stele_look look;
    const int outcome = stele_load__state(runner, fold, stream, as_of, memory, &state,
                                          &snapshot_count, &snapshot_us, &look, err);
    if (outcome != STELE_OK) {
        return outcome;
    }
    if (as_of == 0) {
        stele_snapshot__consider(runner, state, stream, &snapshot_count, &snapshot_us);
    }
    *out_state = state;
    return STELE_OK;
}

void stele_runner_stats(struct stele_runner *runner, struct stele_runner_stats *out_stats)
{
    if (runner == NULL || out_stats == NULL) {
        return;
    }
    *out_stats = (struct stele_runner_stats){
        .commands = runner->commands,
        .commands_ok = runner->commands_ok,
        .commands_rejected = runner->commands_rejected,
        .conflicts = runner->conflicts,
        .asked_again = runner->asked_again,
        .events_appended = runner->events_appended,
        .events_folded = runner->events_folded,
        .snapshots_written = runner->snapshots_written,
        .snapshots_used = runner->snapshots_used,
        .snapshots_unusable = runner->snapshots_unusable,
        .snapshots_failed = runner->snapshots_failed,
        .states_kept = stele_kept__count(&runner->kept),
        .states_current = runner->states_current,
    };
}
