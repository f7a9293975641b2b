/* stele bench: how fast a store is on this machine, on this disk. */
#include "cli/bench.h"
#include "cli/out.h"

#include <ftw.h>
#include <sys/stat.h>
#include <sys/vfs.h>

#define THREADS_MAX 1024u
#define IN_FLIGHT_MAX 65536u
#define STREAMS_MAX 100000000u
#define FILE_SYSTEM_TMPFS 0x01021994

static const struct bench_workload workloads[] = {
    {.name = "append1", .run = stele_cli_bench_append, .threads = 1, .batch = 1},
    {.name = "append8", .run = stele_cli_bench_append, .threads = 8, .batch = 1},
    {.name = "append64", .run = stele_cli_bench_append, .threads = 64, .batch = 1},
    {.name = "async64", .run = stele_cli_bench_async, .in_flight = 64, .batch = 1},
    {.name = "async1024", .run = stele_cli_bench_async, .in_flight = 1024, .batch = 1},
    {.name = "chain64", .run = stele_cli_bench_chain, .in_flight = 64, .batch = 1},
    {.name = "chain1024", .run = stele_cli_bench_chain, .in_flight = 1024, .batch = 1},
    {.name = "batch100", .run = stele_cli_bench_append, .threads = 1, .batch = 100},
    {.name = "batch100x16", .run = stele_cli_bench_async, .in_flight = 16, .batch = 100},
    {.name = "spread100",
     .run = stele_cli_bench_append,
     .threads = 1,
     .batch = 100,
     .spread = true},
    {.name = "spread100x16",
     .run = stele_cli_bench_async,
     .in_flight = 16,
     .batch = 100,
     .spread = true},
    {.name = "live", .run = stele_cli_bench_live},
    {.name = "mixed", .run = stele_cli_bench_mixed},
    {.name = "readstream", .run = stele_cli_bench_readstream},
    {.name = "fold10000", .run = stele_cli_bench_fold},
    {.name = "readall", .run = stele_cli_bench_readall},
    {.name = "open", .run = stele_cli_bench_reopen, .local = true},
    {.name = "memory", .run = stele_cli_bench_memory, .local = true},
    {.name = "growth",
     .run = stele_cli_bench_growth,
     .in_flight = 1024,
     .batch = 1,
     .by_name = true},
    {.name = "append", .run = stele_cli_bench_append, .by_name = true},
    {.name = "async", .run = stele_cli_bench_async, .by_name = true},
    {.name = "spread", .run = stele_cli_bench_async, .spread = true, .by_name = true},
};

static const char text[] =
    "An event has a random id, a type, and 200 bytes of JSON (--size), and goes to one of\n"
    "10,000 streams (--streams). Every append names the exact revision that it expects, and\n"
    "has ended when its events are on stable storage. What does not end as it should counts\n"
    "as an error, and then the exit code is 1.\n"
    "\n"
    "Workloads; without a name, all but the last four:\n"
    "  append1       1 thread, 1 event an append, waits for each\n"
    "  append8       8 threads, each as append1\n"
    "  append64      64 threads, each as append1\n"
    "  async64       1 thread, 64 appends of 1 event under way\n"
    "  async1024     1 thread, 1024 appends of 1 event under way\n"
    "  chain64       as async64, but the callback of an append starts the next one\n"
    "  chain1024     the same with 1024 under way\n"
    "  batch100      1 thread, 100 events of one stream an append, waits for each\n"
    "  batch100x16   1 thread, 16 appends of 100 events of one stream under way\n"
    "  spread100     as batch100, but the 100 events go to 100 streams\n"
    "  spread100x16  as batch100x16, but the 100 events go to 100 streams\n"
    "  live          from the call of an append until a subscriber holds the event\n"
    "  mixed         4 threads append, 2 read streams, 1 subscriber follows everything\n"
    "  readstream    reads random streams from start to end\n"
    "  fold10000     loads and folds a stream of 10,000 events: appended in a row, and\n"
    "                (fold10000/apart) lying among all others\n"
    "  readall       reads all events\n"
    "  open          opens the store after a clean stop, and after kill -9\n"
    "  memory        resident memory after opening, reading, appending\n"
    "  growth        the rate while a store grows to --events\n"
    "  append        as append1, with --threads and --batch\n"
    "  async         as async64, with --in-flight and --batch\n"
    "  spread        as spread100x16, with --in-flight and --batch\n"
    "\n"
    "Those that append make a store for themselves; readstream, fold10000, readall, open and\n"
    "memory share one that is filled with --events first. Stores are made in a directory of\n"
    "their own under $TMPDIR or /var/tmp, or in --store DIR, and removed in the end. With\n"
    "--store DIR --keep they stay, and the next run finds the filled store there.\n"
    "\n"
    "With --store stele://HOST the work goes over the network to a server. Its store is not\n"
    "emptied: each workload takes streams of new names (bench…-17), which stay there, and\n"
    "readall reads everything that the store has. open and memory need a store's files.\n"
    "\n"
    "The table: events/s and calls/s; the duration of a call that 50, 90, 99 and 99.9 % did\n"
    "not exceed, and the longest, in microseconds; processors kept busy by this program, and\n"
    "by others, which is noise: with much of it, compare nothing. --json prints one object a\n"
    "line, with the same figures unrounded.";

static const char examples[] =
    "stele bench append1 append64\n"
    "stele bench --seconds 20 --json async1024 >result.json\n"
    "stele bench --store /var/tmp/b --keep --events 10000000 --streams 100000 readstream readall\n"
    "stele bench --threads 32 --batch 10 append\n"
    "stele bench --store stele://localhost:2113 append1 async1024 live";

const struct stele_cli_command stele_cli_bench_command = {
    .name = "bench",
    .usage = "bench [WORKLOAD …] [options]",
    .summary = "Measure how fast a store is on this machine and this disk",
    .text = text,
    .examples = examples,
    .run = stele_cli_bench,
    .no_store = true,
};

/* ---- What the workloads need --------------------------------------------------------------------- */

static int remove_entry(const char *path, const struct stat *found, int kind, struct FTW *where)
{
    (void)found;
    (void)kind;
    (void)where;
    (void)remove(path);
    return 0;
}

void stele_cli_bench_remove(const char *path)
{
    (void)nftw(path, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
}

int stele_cli_bench_open(const struct bench *bench, const char *path, struct stele **out_store)
{
    struct stele_options options = STELE_OPTIONS_INIT;
    struct stele_error err = {0};
    options.partitions = (uint32_t)bench->partitions;
    const int outcome = stele_open(path, &options, out_store, &err);
    return outcome == STELE_OK ? STELE_CLI_OK
                               : stele_cli_fail_outcome(outcome, &err, "open the store");
}

void stele_cli_bench_take_category(struct bench *bench)
{
    uint64_t random = bench_seed();
    (void)snprintf(bench->category, sizeof bench->category, "bench%012" PRIx64 "-",
                   bench_random(&random) & UINT64_C(0xffffffffffff));
}

/* ---- The table ------------------------------------------------------------------------------------- */

/* Three or four digits, as many as a benchmark deserves: "812", "81.2k", "1.21M"; "-" where there
 * is nothing to say. */
static void out_count(double count)
{
    char digits[32];
    if (count <= 0) {
        (void)snprintf(digits, sizeof digits, "-");
    } else if (count >= 1e6) {
        (void)snprintf(digits, sizeof digits, "%.2fM", count / 1e6);
    } else if (count >= 1e4) {
        (void)snprintf(digits, sizeof digits, "%.1fk", count / 1e3);
    } else {
        (void)snprintf(digits, sizeof digits, "%.0f", count);
    }
    stele_cli_outf(" %9s", digits);
}

static void out_duration(double us)
{
    char digits[32];
    if (us <= 0) {
        (void)snprintf(digits, sizeof digits, "-");
    } else if (us >= 1e4) {
        (void)snprintf(digits, sizeof digits, "%.1fms", us / 1e3);
    } else {
        (void)snprintf(digits, sizeof digits, us >= 100 ? "%.0f" : "%.1f", us);
    }
    stele_cli_outf(" %8s", digits);
}

static void out_head(void)
{
    stele_cli_outf("%-15s %9s %9s %8s %8s %8s %8s %8s %5s %6s %6s\n", "workload", "events/s",
                   "calls/s", "p50 us", "p90", "p99", "p99.9", "max", "cpus", "others", "errors");
}

static void out_row(const struct bench_result *result)
{
    static const double shares[] = {0.5, 0.9, 0.99, 0.999};
    stele_cli_outf("%-15s", result->workload);
    out_count(bench_per_second(result->events, result->seconds));
    out_count(bench_per_second(result->operations, result->seconds));
    for (size_t i = 0; i < STELE_COUNT_OF(shares); i++) {
        out_duration(bench_us(bench_histogram_percentile(&result->latency, shares[i])));
    }
    out_duration(bench_us(result->latency.max));
    stele_cli_outf(" %5.2f %6.2f %6" PRIu64 "\n", bench_result_cpus(result),
                   bench_result_cpus_others(result), result->errors);
    for (uint32_t i = 0; i < result->extras_count; i++) {
        stele_cli_outf("    %-20s %.*f\n", result->extras[i].name,
                       result->extras[i].value >= 1000 ? 0 : 2, result->extras[i].value);
    }
}

void stele_cli_bench_report(struct bench *bench, const struct bench_result *result,
                            const struct stele_error *first_error)
{
    if (stele_cli_globals.json) {
        char line[4096];
        bench_result_json(result, line, sizeof line);
        stele_cli_out(line);
        stele_cli_out("\n");
    } else {
        if (!bench->headed) {
            out_head();
            bench->headed = true;
        }
        out_row(result);
    }
    stele_cli_out_flush();
    if (result->errors == 0) {
        return;
    }
    bench->failed = true;
    if (first_error != NULL && first_error->outcome != STELE_OK) {
        stele_cli_note("%s: the first error was %s: %s", result->workload,
                       stele_outcome_name(first_error->outcome), first_error->message);
    }
}

/* ---- Options ----------------------------------------------------------------------------------------- */

static int seconds_of(const char *option, const char *value, double *out_seconds)
{
    char *end = NULL;
    const double seconds = strtod(value, &end);
    if (end == value || *end != '\0' || !(seconds >= 0 && seconds <= 86400)) {
        return stele_cli_usage_error(&stele_cli_bench_command,
                                     "--%s: '%s' is no number of seconds from 0 to 86400", option,
                                     value);
    }
    *out_seconds = seconds;
    return STELE_CLI_GO_ON;
}

static int check_range(const char *option, uint64_t value, uint64_t least, uint64_t most)
{
    if (value >= least && value <= most) {
        return STELE_CLI_GO_ON;
    }
    return stele_cli_usage_error(&stele_cli_bench_command,
                                 "--%s: %" PRIu64 " is not from %" PRIu64 " to %" PRIu64, option,
                                 value, least, most);
}

static int check_options(const struct bench *bench)
{
    const struct {
        const char *option;
        uint64_t value, least, most;
    } ranges[] = {
        {"size", bench->size, BENCH_DATA_SIZE_MIN, STELE_EVENT_SIZE_MAX},
        {"events", bench->events, 1, UINT32_MAX},
        {"threads", bench->threads, 1, THREADS_MAX},
        {"in-flight", bench->in_flight, 1, IN_FLIGHT_MAX},
        {"batch", bench->batch, 1, STELE_CLI_BENCH_BATCH_MAX},
        {"fill-batch", bench->fill_batch, 1, STELE_CLI_BENCH_BATCH_MAX},
        {"partitions", bench->partitions, 1, 1024},
        {"streams", bench->streams_count, 64, STREAMS_MAX},
    };
    for (size_t i = 0; i < STELE_COUNT_OF(ranges); i++) {
        const int code =
            check_range(ranges[i].option, ranges[i].value, ranges[i].least, ranges[i].most);
        if (code != STELE_CLI_GO_ON) {
            return code;
        }
    }
    return STELE_CLI_GO_ON;
}

static const struct bench_workload *find_workload(const char *name)
{
    for (size_t i = 0; i < STELE_COUNT_OF(workloads); i++) {
        if (strcmp(workloads[i].name, name) == 0) {
            return &workloads[i];
        }
    }
    return NULL;
}

static const char *workload_name_at(const void *context, size_t i)
{
    (void)context;
    return i < STELE_COUNT_OF(workloads) ? workloads[i].name : NULL;
}

/* Streams have to be enough for the threads to have some each, and for a batch over several. */
static int choose(const struct bench *bench, const char *name,
                  const struct bench_workload **out_workload)
{
    const struct bench_workload *const workload = find_workload(name);
    if (workload == NULL) {
        const char *const near = stele_cli_suggest(name, workload_name_at, NULL);
        return stele_cli_usage_error(&stele_cli_bench_command,
                                     "there is no workload %s; did you mean %s?", name,
                                     near != NULL ? near : "append1");
    }
    const uint64_t threads = workload->threads != 0 ? workload->threads : bench->threads;
    const uint64_t batch = workload->batch != 0 ? workload->batch : bench->batch;
    const uint64_t least = workload->spread ? 2 * batch : threads;
    if (bench->streams_count < least) {
        return stele_cli_usage_error(&stele_cli_bench_command,
                                     "%s: needs at least %" PRIu64 " streams; give --streams", name,
                                     least);
    }
    if (workload->local && bench->remote != NULL) {
        return stele_cli_usage_error(&stele_cli_bench_command,
                                     "%s: needs the files of a store; give --store DIR", name);
    }
    *out_workload = workload;
    return STELE_CLI_GO_ON;
}

/* ---- The command --------------------------------------------------------------------------------------- */

static int make_directory(struct bench *bench)
{
    const char *const given = stele_cli_globals.store;
    if (given != NULL) {
        (void)snprintf(bench->directory, sizeof bench->directory, "%.3800s", given);
        bench->directory_is_ours = mkdir(given, 0755) == 0;
    } else {
        const char *const temporary = getenv("TMPDIR");
        (void)snprintf(bench->directory, sizeof bench->directory, "%.3800s/stele-bench-XXXXXX",
                       temporary != NULL && *temporary != '\0' ? temporary : "/var/tmp");
        bench->directory_is_ours = mkdtemp(bench->directory) != NULL;
    }
    struct statfs file_system;
    if (statfs(bench->directory, &file_system) != 0) {
        return stele_cli_fail(STELE_CLI_IO, "io",
                              "bench: cannot make the directory %s; choose another with --store",
                              bench->directory);
    }
    if (file_system.f_type == FILE_SYSTEM_TMPFS) {
        stele_cli_note("bench: %s is in memory, where nothing is durable; choose a directory on a "
                       "disk with --store",
                       bench->directory);
    }
    return STELE_CLI_OK;
}

static int run(struct bench *bench, const struct bench_workload *const *chosen, size_t count)
{
    int code = STELE_CLI_OK;
    for (size_t i = 0; i < count && code == STELE_CLI_OK; i++) {
        code = chosen[i]->run(bench, chosen[i]);
        if (code == STELE_CLI_OK && stele_cli_interrupted()) {
            code = STELE_CLI_INTERRUPTED;
        }
    }
    return code == STELE_CLI_OK && bench->failed ? STELE_CLI_FAILURE : code;
}

static int run_in_directory(struct bench *bench, const struct bench_workload *const *chosen,
                            size_t count)
{
    int code = bench->remote == NULL ? make_directory(bench) : STELE_CLI_OK;
    if (code == STELE_CLI_OK) {
        bench_pool_init(&bench->pool, bench->size);
        stele_cli_catch_interrupts();
        code = run(bench, chosen, count);
        bench_pool_deinit(&bench->pool);
    }
    if (!bench->keep && bench->directory_is_ours) {
        stele_cli_bench_remove(bench->directory);
    } else if (bench->keep && bench->remote == NULL) {
        stele_cli_note("bench: kept %s", bench->directory);
    }
    return code;
}

/* Without names: all that need not be asked for. */
static size_t take_all(const struct bench *bench, const char **names)
{
    size_t count = 0;
    for (size_t i = 0; i < STELE_COUNT_OF(workloads); i++) {
        if (!workloads[i].by_name && !(workloads[i].local && bench->remote != NULL)) {
            names[count++] = workloads[i].name;
        }
    }
    return count;
}

int stele_cli_bench(int argc, char **argv)
{
    struct bench *const bench = stele_cli_keep(sizeof *bench);
    *bench = (struct bench){.events = 1000000,
                            .streams_count = 10000,
                            .size = 200,
                            .threads = 8,
                            .in_flight = 256,
                            .batch = 1,
                            .fill_batch = 1,
                            .partitions = 128,
                            .category = "account-"};
    const char *seconds = "3";
    const char *warmup = "0.5";
    const struct stele_cli_option options[] = {
        {"seconds", "S", "how long each workload is measured (3)", STELE_CLI_TEXT, &seconds},
        {"warmup", "S", "how long it runs before that (0.5)", STELE_CLI_TEXT, &warmup},
        {"events", "N", "events of the filled store (1000000)", STELE_CLI_POSITIVE, &bench->events},
        {"streams", "N", "streams to append to and to read (10000)", STELE_CLI_POSITIVE,
         &bench->streams_count},
        {"size", "BYTES", "data of an event (200)", STELE_CLI_POSITIVE, &bench->size},
        {"zipf", NULL,
         "the k-th stream is chosen 1/k as often as the first,\n"
         "instead of all alike",
         STELE_CLI_FLAG, &bench->zipf},
        {"threads", "N", "of the workload append (8)", STELE_CLI_POSITIVE, &bench->threads},
        {"in-flight", "N", "of the workloads async and spread (256)", STELE_CLI_POSITIVE,
         &bench->in_flight},
        {"batch", "N", "events an append, in append, async and spread (1)", STELE_CLI_POSITIVE,
         &bench->batch},
        {"fill-batch", "N", "events an append while filling, each to another stream (1)",
         STELE_CLI_POSITIVE, &bench->fill_batch},
        {"partitions", "N", "of new stores (128)", STELE_CLI_POSITIVE, &bench->partitions},
        {"keep", NULL, "leave the stores where they are", STELE_CLI_FLAG, &bench->keep},
    };
    const size_t room = (size_t)argc + STELE_COUNT_OF(workloads);
    const char **const names = stele_cli_keep(room * sizeof *names);
    const struct bench_workload **const chosen = stele_cli_keep(room * sizeof *chosen);
    size_t count = 0;
    int code = stele_cli_parse(&stele_cli_bench_command, options, STELE_COUNT_OF(options), argc,
                               argv, names, 0, (size_t)argc, &count);
    if (code == STELE_CLI_GO_ON) {
        code = seconds_of("seconds", seconds, &bench->seconds);
    }
    if (code == STELE_CLI_GO_ON) {
        code = seconds_of("warmup", warmup, &bench->warmup);
    }
    if (code == STELE_CLI_GO_ON) {
        code = check_options(bench);
    }
    if (code == STELE_CLI_GO_ON && stele_cli_globals.store != NULL &&
        strstr(stele_cli_globals.store, "://") != NULL) {
        bench->remote = stele_cli_globals.store;
    }
    if (count == 0) {
        count = take_all(bench, names);
    }
    for (size_t i = 0; i < count && code == STELE_CLI_GO_ON; i++) {
        code = choose(bench, names[i], &chosen[i]);
    }
    return code == STELE_CLI_GO_ON ? run_in_directory(bench, chosen, count) : code;
}
