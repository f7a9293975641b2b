/* Failing, tracing, and the checks that look at everything. */
#include "sim.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#define CHECK_STREAMS 12 /* Read by each heavy check. */

static void fold(struct sim *sim, uint64_t value)
{
    sim->hash = (sim->hash ^ value) * UINT64_C(0x9ddfea08eb382d69);
    sim->hash ^= sim->hash >> 31;
}

static void print_trace(const struct sim_trace *trace)
{
    printf("  %14.6f  %s  %lld %lld %lld\n", (double)trace->time / 1e6, trace->what,
           (long long)trace->a, (long long)trace->b, (long long)trace->c);
}

void sim_trace(struct sim *sim, const char *what, uint64_t a, uint64_t b, uint64_t c)
{
    struct sim_trace *trace = &sim->trace[sim->traced++ % SIM_TRACE_KEPT];
    *trace = (struct sim_trace){.time = sim->now_us, .what = what, .a = a, .b = b, .c = c};
    fold(sim, sim->now_us);
    fold(sim, a ^ b << 20 ^ c << 40);
    if (sim->tracing) {
        print_trace(trace);
        (void)fflush(stdout);
    }
}

_Noreturn void sim_fail(struct sim *sim, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    printf("\nFAILED: ");
    (void)vprintf(format, args);
    printf("\n");
    va_end(args);
    if (!sim->tracing) {
        printf("the last events of seed %llu:\n", (unsigned long long)sim->seed);
        const uint64_t kept = sim->traced < SIM_TRACE_KEPT ? sim->traced : SIM_TRACE_KEPT;
        for (uint64_t i = sim->traced - kept; i < sim->traced; i++) {
            print_trace(&sim->trace[i % SIM_TRACE_KEPT]);
        }
    }
    sim_config_print(&sim->config, &sim->workload);
    printf("seed %llu, life %llu, event %llu, simulated %.6f s\n", (unsigned long long)sim->seed,
           (unsigned long long)sim->life, (unsigned long long)sim->stats.events,
           (double)sim->now_us / 1e6);
    printf("damaged: log %d, index %d; scavenged %d, runs lost %llu, no memory %llu, disk errors "
           "%llu\n",
           sim->damaged_log, sim->damaged_index, sim->ever_scavenged,
           (unsigned long long)sim->stats.runs_lost, (unsigned long long)sim->alloc.failures,
           (unsigned long long)sim->disk.counts.errors);
    if (sim_guest.print != NULL) {
        sim_guest.print(sim);
    }
    printf("again: %s SEED=%llu%s --trace\n", sim_guest.command, (unsigned long long)sim->seed,
           sim->quick ? " --quick" : "");
    (void)fflush(stdout);
    exit(EXIT_FAILURE);
}

struct sim_mark sim_mark(const struct sim *sim)
{
    return (struct sim_mark){
        .errors = sim->disk.counts.errors,
        .no_space = sim->disk.counts.no_space,
        .failures = sim->alloc.failures,
    };
}

bool sim_is_excused(const struct sim *sim, struct sim_mark mark, int outcome)
{
    if (sim->disk.dead) {
        return outcome < 0;
    }
    switch (outcome) {
    case STELE_E_IO:
        return sim->disk.counts.errors > mark.errors;
    case STELE_E_NO_SPACE:
        return sim->disk.counts.no_space > mark.no_space;
    case STELE_E_NO_MEMORY:
        return sim->alloc.failures > mark.failures;
    case STELE_E_FENCED:
        return sim->store != NULL && stele_store_is_fenced(sim->store);
    case STELE_E_CORRUPT:
        return sim->damaged_log;
    default:
        return false;
    }
}

void sim_excuse(struct sim *sim, struct sim_mark mark, int outcome, const char *call,
                const struct stele_error *err)
{
    if (!sim_is_excused(sim, mark, outcome)) {
        sim_fail(sim, "%s ends with %s (%d) without a reason: %s", call,
                 stele_outcome_name(outcome), outcome, err->outcome == outcome ? err->message : "");
    }
}

/* ---- Listings ---- */

/* Goes on in the model's list to the name that the store gave (NULL: to its end). What is passed
 * over must be allowed to be missing: not durable, deleted, or forgotten with the index. */
static const struct model_listed *find_listed(struct sim *sim, const struct model_listed *list,
                                              size_t count, size_t *at, const char *prefix,
                                              const struct stele_text *name)
{
    for (; *at < count; ++*at) {
        const struct model_listed *want = &list[*at];
        if (strncmp(want->name, prefix, strlen(prefix)) != 0) {
            continue;
        }
        if (name != NULL && name->size == strlen(want->name) &&
            memcmp(name->data, want->name, name->size) == 0) {
            ++*at;
            return want;
        }
        if (want->visible > 0 && !want->deleted && !sim->counts_lost) {
            sim_fail(sim, "a listing with prefix \"%s\" lacks %s", prefix, want->name);
        }
    }
    return NULL;
}

static void check_list(struct sim *sim, int what)
{
    static const char *const prefixes[] = {"", "", "order", "$", "D", "tag:1"};
    const char *prefix = prefixes[rng_below(&sim->rng_schedule, STELE_COUNT_OF(prefixes))];
    struct stele_list *list = NULL;
    struct stele_error err = {.outcome = 0};
    const struct sim_mark mark = sim_mark(sim);
    int outcome = stele_list_begin(sim->store, what, prefix, NULL, sim_wall(sim), &list, &err);
    if (outcome == STELE_STORE_INDEX) {
        return;
    }
    size_t count = 0;
    size_t at = 0;
    struct model_listed *want = model_list(&sim->model, what, &count);
    while (outcome == STELE_OK) {
        struct stele_text name = {.data = NULL};
        uint64_t events = 0;
        outcome = stele_list_next(list, &name, &events, &err);
        if (outcome != STELE_OK) {
            break;
        }
        const struct model_listed *found = find_listed(sim, want, count, &at, prefix, &name);
        if (found == NULL) {
            sim_fail(sim, "a listing with prefix \"%s\" has %.*s, which should not be there",
                     prefix, (int)name.size, name.data);
        }
        if (found->tombstoned) {
            sim_fail(sim, "a listing with prefix \"%s\" has %s, which was tombstoned", prefix,
                     found->name);
        }
        if (!sim->counts_lost && (events < found->visible || events > found->staged)) {
            sim_fail(sim, "a listing says that %s has %llu events, not %llu to %llu", found->name,
                     (unsigned long long)events, (unsigned long long)found->visible,
                     (unsigned long long)found->staged);
        }
    }
    if (outcome == STELE_END) {
        (void)find_listed(sim, want, count, &at, prefix, NULL);
    } else if (!(outcome == STELE_E_CORRUPT && sim->damaged_index) && outcome != STELE_INCOMPLETE) {
        sim_excuse(sim, mark, outcome, "listing", &err);
    }
    free(want);
    stele_list_end(sim->store, list);
}

static void check_info(struct sim *sim, uint32_t stream)
{
    struct stele_stream_info info;
    struct stele_error err = {.outcome = 0};
    const struct model *model = &sim->model;
    const struct sim_mark mark = sim_mark(sim);
    const char *name = model->streams.names[stream];
    const int outcome = stele_store_stream_info(sim->store, name, sim_wall(sim), &info, &err);
    const uint64_t next = model_next(model, stream, false);
    const int want = next == 0 ? STELE_NO_STREAM : STELE_OK;
    if (outcome != want) {
        if (outcome < 0 || sim->damaged_log) {
            if (!sim->damaged_log) {
                sim_excuse(sim, mark, outcome, "stream info", &err);
            }
            return;
        }
        sim_fail(sim, "stream info of %s: %s", name, stele_outcome_name(outcome));
    }
    if (outcome != STELE_OK || sim->damaged_log) {
        return;
    }
    const struct model_stream *s = &model->stream_of[stream];
    const struct model_limits limits = model_limits(model, stream, false);
    const bool deleted = limits.truncate_before >= next;
    if (info.revision_last != next - 1 ||
        info.position_last != model->events[s->events[next - 1]].position ||
        info.partition != s->partition || (info.deleted != 0) != deleted ||
        (info.tombstoned != 0) != model_is_tombstoned(model, stream, false)) {
        sim_fail(sim,
                 "stream info of %s: last %llu at %llu, deleted %d, tombstoned %d, instead of last "
                 "%llu at %llu, deleted %d, tombstoned %d",
                 name, (unsigned long long)info.revision_last,
                 (unsigned long long)info.position_last, info.deleted, info.tombstoned,
                 (unsigned long long)next - 1,
                 (unsigned long long)model->events[s->events[next - 1]].position, deleted,
                 model_is_tombstoned(model, stream, false));
    }
}

static void check_metadata(struct sim *sim, uint32_t stream)
{
    struct stele_buf json = {.data = NULL};
    struct stele_error err = {.outcome = 0};
    uint64_t revision = 0;
    const struct sim_mark mark = sim_mark(sim);
    const char *name = sim->model.streams.names[stream];
    const struct model_limits want = model_limits(&sim->model, stream, false);
    const int outcome = stele_store_metadata(sim->store, name, &json, &revision, &err);
    if (outcome == STELE_OK) {
        if (!want.found || revision != want.revision) {
            sim_fail(sim, "metadata of %s: revision %llu", name, (unsigned long long)revision);
        }
    } else if (outcome == STELE_NOT_FOUND) {
        if (want.found && !sim->damaged_log) {
            sim_fail(sim, "metadata of %s is not found", name);
        }
    } else if (outcome != STELE_INCOMPLETE && outcome != STELE_STORE_INDEX) {
        sim_excuse(sim, mark, outcome, "metadata", &err);
    }
    stele_buf_deinit(&json, &sim->alloc.base);
}

void sim_check_all(struct sim *sim, uint32_t streams)
{
    if (sim->store == NULL) {
        return;
    }
    sim->stats.checks++;
    /* Faults would only make the checks give up. */
    const struct simdisk_faults faults = sim->disk.faults;
    const uint32_t one_in = sim->alloc.fail_one_in;
    const uint64_t die_after = sim->disk.die_after;
    sim->disk.faults = (struct simdisk_faults){.capacity = faults.capacity};
    sim->alloc.fail_one_in = 0;
    sim->disk.die_after = 0;
    sim_read_everything(sim, streams);
    for (int what = STELE_LIST_STREAMS; what <= STELE_LIST_TAGS; what++) {
        check_list(sim, what);
    }
    for (uint32_t i = 0; i < sim->model.streams.count && i < streams; i++) {
        const uint32_t stream = (uint32_t)rng_below(&sim->rng_schedule, sim->model.streams.count);
        check_info(sim, stream);
        check_metadata(sim, stream);
    }
    stele_store_check(sim->store);
    struct stele_stats stats;
    stele_store_stats(sim->store, &stats);
    if (stats.events != sim->model.count && !sim->ever_scavenged && sim->stats.rotten == 0) {
        sim_fail(sim, "the store counts %llu events, not %u", (unsigned long long)stats.events,
                 sim->model.count);
    }
    sim->disk.faults = faults;
    sim->alloc.fail_one_in = one_in;
    sim->disk.die_after = die_after;
}

void sim_check(struct sim *sim)
{
    if (sim->store == NULL) {
        return;
    }
    const struct model *model = &sim->model;
    const uint64_t last = model->visible == 0 ? 0 : model->events[model->visible - 1].position;
    if (stele_store_position(sim->store) != last) {
        sim_fail(sim, "the last visible position is %llu instead of %llu",
                 (unsigned long long)stele_store_position(sim->store), (unsigned long long)last);
    }
    /* Less often as the history grows, since each check reads all of it. */
    if (sim->stats.events >= sim->check_at) {
        sim->check_at =
            sim->stats.events + sim->config.check_every + 3 * (uint64_t)sim->model.count;
        sim_check_all(sim, CHECK_STREAMS);
    }
}
