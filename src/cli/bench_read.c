/* The workloads of `stele bench` that need a filled store, which they share: it is made by the
 * first of them, or was kept from an earlier run.
 *
 * Its events lie in random order of streams, so that those of one stream are far apart, as they
 * are when many streams live at the same time. */
#include "cli/bench.h"

#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>

#define OPENINGS 5u
#define MIB (1024.0 * 1024.0)

/* Where a byte of each event goes, so that no compiler can leave the reading out. */
static volatile uint64_t sink;

/* ---- The filled store --------------------------------------------------------------------------- */

static void filled_path(const struct bench *bench, char path[STELE_CLI_BENCH_PATH_SIZE])
{
    (void)snprintf(path, STELE_CLI_BENCH_PATH_SIZE,
                   "%.3900s/stele-%" PRIu64 "-%" PRIu64 "-%zu-fill%" PRIu64 "%s", bench->directory,
                   bench->events, bench->streams_count, bench->pool.size, bench->fill_batch,
                   bench->zipf ? "-zipf" : "");
}

static int fill(struct bench *bench, const char *path)
{
    struct stele *store = NULL;
    int code = stele_cli_bench_open(bench, path, &store);
    if (code != STELE_CLI_OK) {
        return code;
    }
    code = stele_cli_bench_fill(bench, store);
    const int outcome = stele_close(store);
    if (outcome != STELE_OK && code == STELE_CLI_OK) {
        code = stele_cli_fail_outcome(outcome, NULL, "close the filled store");
    }
    return code;
}

/* In a child, so that the memory that filling took does not count as that of what is measured. Its
 * greatest resident memory, without mapped files, goes to *out_anonymous_mib. */
static int fill_in_child(struct bench *bench, const char *path, double *out_anonymous_mib)
{
    const pid_t child = fork();
    if (child < 0) {
        return stele_cli_fail(STELE_CLI_FAILURE, "child", "the system gives no child to fill with");
    }
    if (child == 0) {
        _exit(fill(bench, path));
    }
    char process[64];
    int status = 0;
    (void)snprintf(process, sizeof process, "/proc/%d/status", (int)child);
    while (waitpid(child, &status, WNOHANG) == 0) {
        const uint64_t kib = bench_proc_number(process, "\nRssAnon:");
        const double mib = (double)kib / 1024.0;
        *out_anonymous_mib = mib > *out_anonymous_mib ? mib : *out_anonymous_mib;
        bench_sleep_ns(10000000);
    }
    return WIFEXITED(status) ? WEXITSTATUS(status) : STELE_CLI_FAILURE;
}

/* Makes sure that the filled store is there; its path is written to path. It gets its final name
 * when it is complete, because half a store would be measured as a fast one. *out_filling_mib stays
 * as it is if nothing had to be filled. */
static int ensure_filled(struct bench *bench, char path[STELE_CLI_BENCH_PATH_SIZE],
                         double *out_filling_mib)
{
    filled_path(bench, path);
    if (access(path, F_OK) == 0) {
        return STELE_CLI_OK;
    }
    char unfinished[STELE_CLI_BENCH_PATH_SIZE];
    (void)snprintf(unfinished, sizeof unfinished, "%.3900s/filling-XXXXXX", bench->directory);
    if (mkdtemp(unfinished) == NULL) {
        return stele_cli_fail(STELE_CLI_IO, "io",
                              "cannot make a directory in %s; choose another with --store",
                              bench->directory);
    }
    const uint64_t start = bench_now_ns();
    const int code = fill_in_child(bench, unfinished, out_filling_mib);
    if (code != STELE_CLI_OK || rename(unfinished, path) != 0) {
        stele_cli_bench_remove(unfinished);
        return code != STELE_CLI_OK
                   ? code
                   : stele_cli_fail(STELE_CLI_IO, "io", "cannot rename %s to %s", unfinished, path);
    }
    if (bench->events >= 1000000) {
        stele_cli_note("filled a store with %" PRIu64 " events in %.1f s", bench->events,
                       (double)(bench_now_ns() - start) / 1e9);
    }
    return STELE_CLI_OK;
}

static int open_filled_remote(struct bench *bench, struct stele **out_store)
{
    int code = stele_cli_bench_open(bench, bench->remote, out_store);
    if (code == STELE_CLI_OK && bench->category_filled[0] == '\0') {
        stele_cli_bench_take_category(bench);
        memcpy(bench->category_filled, bench->category, sizeof bench->category);
        code = stele_cli_bench_fill(bench, *out_store);
    }
    memcpy(bench->category, bench->category_filled, sizeof bench->category);
    if (code != STELE_CLI_OK && *out_store != NULL) {
        (void)stele_close(*out_store);
    }
    return code;
}

static int open_filled(struct bench *bench, struct stele **out_store)
{
    if (bench->remote != NULL) {
        return open_filled_remote(bench, out_store);
    }
    char path[STELE_CLI_BENCH_PATH_SIZE];
    double filling_mib = 0;
    const int code = ensure_filled(bench, path, &filling_mib);
    return code == STELE_CLI_OK ? stele_cli_bench_open(bench, path, out_store) : code;
}

static int close_filled(struct stele *store, int code)
{
    const int outcome = stele_close(store);
    if (outcome != STELE_OK && code == STELE_CLI_OK) {
        return stele_cli_fail_outcome(outcome, NULL, "close the filled store");
    }
    return code;
}

/* ---- Reading -------------------------------------------------------------------------------------- */

/* Takes all that an iterator has. look gets each run of events. */
static int drain(struct stele_iterator *iterator,
                 void (*look)(void *context, const struct stele_event *events, size_t count),
                 void *context, uint64_t *out_count, struct stele_error *err)
{
    uint64_t total = 0;
    const struct stele_event *events = NULL;
    size_t count = 0;
    int outcome = stele_iterator_next(iterator, &events, &count, err);
    while (outcome == STELE_OK) {
        look(context, events, count);
        total += count;
        outcome = stele_iterator_next(iterator, &events, &count, err);
    }
    stele_iterator_destroy(iterator);
    *out_count = total;
    return outcome == STELE_END ? STELE_OK : outcome;
}

static void touch(void *context, const struct stele_event *events, size_t count)
{
    uint64_t *const sum = context;
    for (size_t i = 0; i < count; i++) {
        *sum += *(const unsigned char *)events[i].data;
    }
}

int stele_cli_bench_read(struct stele *store, const char *stream, uint64_t *out_count,
                         struct stele_error *err)
{
    struct stele_read_options options = STELE_READ_OPTIONS_INIT;
    struct stele_iterator *iterator = NULL;
    uint64_t sum = 0;
    int outcome = stele_read_stream(store, stream, &options, &iterator, err);
    if (outcome == STELE_OK) {
        outcome = drain(iterator, touch, &sum, out_count, err);
    }
    sink += sum;
    return outcome;
}

static int read_all(struct stele *store, uint64_t *out_count, struct stele_error *err)
{
    struct stele_read_options options = STELE_READ_OPTIONS_INIT;
    struct stele_iterator *iterator = NULL;
    uint64_t sum = 0;
    int outcome = stele_read_all(store, &options, &iterator, err);
    if (outcome == STELE_OK) {
        outcome = drain(iterator, touch, &sum, out_count, err);
    }
    sink += sum;
    return outcome;
}

/* What a read is repeated with. */
struct reading {
    struct stele *store;
    struct bench_streams streams;
    uint64_t random;
    uint64_t expected;    /* Events of every read; 0: not known. */
    const char *category; /* What names of streams begin with. */
    const char *ledger;
};

typedef int (*read_once)(struct reading *reading, uint64_t *out_count, struct stele_error *err);

/* Reads for the time to warm up, then for the time to measure. */
static void repeat(struct bench *bench, struct reading *reading, read_once once,
                   const char *workload)
{
    struct bench_result *const result = bench_alloc(1, sizeof *result);
    struct stele_error first_error = {0};
    struct stele_error err = {0};
    uint64_t count = 0;
    result->program = "stele";
    result->workload = workload;
    const uint64_t warm = bench_now_ns() + bench_ns(bench->warmup);
    do {
        (void)once(reading, &count, &err);
    } while (bench_now_ns() < warm && !stele_cli_interrupted());

    result->before = bench_usage_now();
    const uint64_t start = bench_now_ns();
    const uint64_t end = start + bench_ns(bench->seconds);
    uint64_t now = start;
    while (now < end && !stele_cli_interrupted()) {
        const uint64_t begin = now;
        const int outcome = once(reading, &count, &err);
        now = bench_now_ns();
        if (outcome != STELE_OK) {
            first_error = result->errors == 0 ? err : first_error;
            first_error.outcome = outcome;
            result->errors++;
            continue;
        }
        result->errors += reading->expected != 0 && count != reading->expected ? 1 : 0;
        result->events += count;
        bench_histogram_add(&result->latency, now - begin);
    }
    result->after = bench_usage_now();
    result->operations = result->latency.count;
    result->bytes = result->events * bench->pool.size;
    result->seconds = (double)(now - start) / 1e9;
    stele_cli_bench_report(bench, result, &first_error);
    free(result);
}

static int read_any_stream(struct reading *reading, uint64_t *out_count, struct stele_error *err)
{
    char name[BENCH_STREAM_NAME_SIZE];
    (void)bench_stream_name_in(name, reading->category,
                               bench_streams_pick(&reading->streams, &reading->random));
    const int outcome = stele_cli_bench_read(reading->store, name, out_count, err);
    if (outcome == STELE_NO_STREAM) {
        /* With few events, chance has left some streams without any. */
        *out_count = 0;
        return STELE_OK;
    }
    return outcome;
}

int stele_cli_bench_readstream(struct bench *bench, const struct bench_workload *workload)
{
    struct reading reading = {.random = bench_seed(), .category = bench->category};
    const int code = open_filled(bench, &reading.store);
    if (code != STELE_CLI_OK) {
        return code;
    }
    bench_streams_init(&reading.streams, (uint32_t)bench->streams_count, bench->zipf);
    repeat(bench, &reading, read_any_stream, workload->name);
    bench_streams_deinit(&reading.streams);
    return close_filled(reading.store, STELE_CLI_OK);
}

static int read_everything(struct reading *reading, uint64_t *out_count, struct stele_error *err)
{
    return read_all(reading->store, out_count, err);
}

int stele_cli_bench_readall(struct bench *bench, const struct bench_workload *workload)
{
    struct reading reading = {0};
    const int code = open_filled(bench, &reading.store);
    if (code != STELE_CLI_OK) {
        return code;
    }
    struct stele_stats stats = {0};
    (void)stele_stats(reading.store, &stats, NULL);
    reading.expected = bench->remote == NULL ? stats.events : 0; /* Others may append meanwhile. */
    repeat(bench, &reading, read_everything, workload->name);
    return close_filled(reading.store, STELE_CLI_OK);
}

/* ---- Folding --------------------------------------------------------------------------------------- */

/* What the fold makes of a stream: an account, as far as it needs one. */
struct account {
    uint64_t orders;
    uint64_t amount;
    uint64_t amount_max;
};

static uint64_t amount_in(const char *data, size_t size)
{
    static const char member[] = "\"amount\":";
    const char *const end = data + size;
    const char *at = memmem(data, size, member, sizeof member - 1);
    uint64_t amount = 0;
    if (at == NULL) {
        return 0;
    }
    for (at += sizeof member - 1; at < end && *at >= '0' && *at <= '9'; at++) {
        amount = amount * 10 + (uint64_t)(*at - '0');
    }
    return amount;
}

static void evolve(void *context, const struct stele_event *events, size_t count)
{
    struct account *const account = context;
    for (size_t i = 0; i < count; i++) {
        const uint64_t amount = amount_in(events[i].data, events[i].data_size);
        account->orders++;
        account->amount += amount;
        account->amount_max = amount > account->amount_max ? amount : account->amount_max;
    }
}

static int fold_ledger(struct reading *reading, uint64_t *out_count, struct stele_error *err)
{
    struct stele_read_options options = STELE_READ_OPTIONS_INIT;
    struct stele_iterator *iterator = NULL;
    struct account account = {0};
    int outcome = stele_read_stream(reading->store, reading->ledger, &options, &iterator, err);
    if (outcome == STELE_OK) {
        outcome = drain(iterator, evolve, &account, out_count, err);
    }
    sink += account.amount;
    return outcome;
}

int stele_cli_bench_fold(struct bench *bench, const struct bench_workload *workload)
{
    struct reading reading = {.expected = bench->events < STELE_CLI_BENCH_LEDGER_EVENTS
                                              ? bench->events
                                              : STELE_CLI_BENCH_LEDGER_EVENTS};
    const int code = open_filled(bench, &reading.store);
    if (code != STELE_CLI_OK) {
        return code;
    }
    char name[64];
    char ledger[BENCH_STREAM_NAME_SIZE];
    stele_cli_bench_ledger_name(bench, BENCH_LEDGER_TOGETHER, ledger);
    reading.ledger = ledger;
    repeat(bench, &reading, fold_ledger, workload->name);
    (void)snprintf(name, sizeof name, "%s/apart", workload->name);
    stele_cli_bench_ledger_name(bench, BENCH_LEDGER_APART, ledger);
    repeat(bench, &reading, fold_ledger, name);
    return close_filled(reading.store, STELE_CLI_OK);
}

/* ---- Opening ---------------------------------------------------------------------------------------- */

/* What the child that gets killed tells its parent. */
struct shared {
    volatile uint64_t acknowledged;
    volatile int failed;
};

/* Opens the store and takes the time; the first read afterwards counts as well, as far as opening
 * has put work off to it. */
static int open_timed(struct bench *bench, const char *path, struct bench_histogram *openings,
                      struct bench_histogram *first_reads, struct stele **out_store)
{
    const uint64_t begin = bench_now_ns();
    const int code = stele_cli_bench_open(bench, path, out_store);
    const uint64_t opened = bench_now_ns();
    if (code != STELE_CLI_OK) {
        return code;
    }
    char name[BENCH_STREAM_NAME_SIZE];
    uint64_t count = 0;
    (void)bench_stream_name_in(name, bench->category, 0);
    (void)stele_cli_bench_read(*out_store, name, &count, NULL);
    bench_histogram_add(openings, opened - begin);
    bench_histogram_add(first_reads, bench_now_ns() - opened);
    return STELE_CLI_OK;
}

static void report_openings(struct bench *bench, struct bench_result *result,
                            const struct bench_histogram *first_reads, uint64_t errors)
{
    result->after = bench_usage_now();
    result->operations = result->latency.count;
    result->errors = errors;
    result->seconds = (double)(result->after.at_ns - result->before.at_ns) / 1e9;
    bench_result_add(result, "open_p50_ms",
                     bench_us(bench_histogram_percentile(&result->latency, 0.5)) / 1e3);
    bench_result_add(result, "open_max_ms", bench_us(result->latency.max) / 1e3);
    bench_result_add(result, "first_read_p50_us",
                     bench_us(bench_histogram_percentile(first_reads, 0.5)));
    stele_cli_bench_report(bench, result, NULL);
}

static int open_after_stop(struct bench *bench, const char *path, struct bench_result *result)
{
    struct bench_histogram *const first_reads = bench_alloc(1, sizeof *first_reads);
    int code = STELE_CLI_OK;
    *result = (struct bench_result){
        .program = "stele", .workload = "open/stopped", .before = bench_usage_now()};
    for (uint32_t i = 0; i < OPENINGS && code == STELE_CLI_OK; i++) {
        struct stele *store = NULL;
        code = open_timed(bench, path, &result->latency, first_reads, &store);
        if (code == STELE_CLI_OK) {
            code = close_filled(store, code);
        }
    }
    if (code == STELE_CLI_OK) {
        report_openings(bench, result, first_reads, 0);
    }
    free(first_reads);
    return code;
}

__attribute__((noreturn)) static void append_until_killed(struct bench *bench, const char *path,
                                                          struct shared *shared)
{
    struct stele *store = NULL;
    if (stele_cli_bench_open(bench, path, &store) != STELE_CLI_OK ||
        stele_cli_bench_append_until(bench, store, UINT64_MAX, &shared->acknowledged) != STELE_OK) {
        shared->failed = 1;
    }
    _exit(1);
}

/* Lets a child append for some time and kills it; false: it could not append. */
static bool kill_one(struct bench *bench, const char *path, struct shared *shared, uint64_t ns)
{
    shared->acknowledged = 0;
    shared->failed = 0;
    const pid_t child = fork();
    if (child < 0) {
        return false;
    }
    if (child == 0) {
        append_until_killed(bench, path, shared);
    }
    const uint64_t patience = bench_now_ns() + 60 * BENCH_NS_PER_S;
    while (shared->acknowledged == 0 && shared->failed == 0 && bench_now_ns() < patience) {
        bench_sleep_ns(1000000);
    }
    bench_sleep_ns(ns);
    (void)kill(child, SIGKILL);
    int status = 0;
    (void)waitpid(child, &status, 0);
    return WIFSIGNALED(status) && shared->acknowledged > 0;
}

static int open_after_kill(struct bench *bench, const char *path, struct bench_result *result)
{
    struct shared *const shared =
        mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (shared == MAP_FAILED) {
        return stele_cli_fail(STELE_CLI_FAILURE, "memory", "no memory to share with a child");
    }
    struct bench_histogram *const first_reads = bench_alloc(1, sizeof *first_reads);
    struct stele *store = NULL;
    struct stele_stats before = {0};
    uint64_t random = bench_seed();
    uint64_t errors = 0;
    int code = stele_cli_bench_open(bench, path, &store);
    for (uint32_t i = 0; i < OPENINGS && code == STELE_CLI_OK; i++) {
        (void)stele_stats(store, &before, NULL);
        code = close_filled(store, code);
        if (i == 0) {
            *result = (struct bench_result){
                .program = "stele", .workload = "open/killed", .before = bench_usage_now()};
        }
        /* At any moment between two flushes of the index. */
        const uint64_t ns = bench_random(&random) % bench_ns(bench->seconds / OPENINGS) + 1;
        if (code == STELE_CLI_OK && !kill_one(bench, path, shared, ns)) {
            code = stele_cli_fail(STELE_CLI_FAILURE, "child", "the child could not append");
        }
        store = NULL;
        if (code == STELE_CLI_OK) {
            code = open_timed(bench, path, &result->latency, first_reads, &store);
        }
        struct stele_stats after = {0};
        if (code == STELE_CLI_OK) {
            (void)stele_stats(store, &after, NULL);
            errors += after.events < before.events + shared->acknowledged ? 1 : 0;
        }
    }
    if (code == STELE_CLI_OK) {
        report_openings(bench, result, first_reads, errors);
    }
    if (store != NULL) {
        code = close_filled(store, code);
    }
    free(first_reads);
    (void)munmap(shared, sizeof *shared);
    return code;
}

int stele_cli_bench_reopen(struct bench *bench, const struct bench_workload *workload)
{
    char path[STELE_CLI_BENCH_PATH_SIZE];
    double filling_mib = 0;
    (void)workload;
    int code = ensure_filled(bench, path, &filling_mib);
    if (code != STELE_CLI_OK) {
        return code;
    }
    struct bench_result *const result = bench_alloc(1, sizeof *result);
    code = open_after_stop(bench, path, result);
    if (code == STELE_CLI_OK) {
        code = open_after_kill(bench, path, result);
    }
    free(result);
    return code;
}

/* ---- Memory ------------------------------------------------------------------------------------------ */

/* Resident memory in MiB: what only this process has, and with the pages of files that it shares
 * with the page cache. */
struct resident {
    double anonymous;
    double all;
};

static struct resident resident_now(void)
{
    return (struct resident){
        .anonymous = (double)bench_proc_number("/proc/self/status", "\nRssAnon:") / 1024.0,
        .all = (double)bench_proc_number("/proc/self/status", "\nVmRSS:") / 1024.0,
    };
}

static void read_for(struct bench *bench, struct stele *store)
{
    struct reading reading = {.store = store, .random = bench_seed(), .category = bench->category};
    bench_streams_init(&reading.streams, (uint32_t)bench->streams_count, bench->zipf);
    const uint64_t end = bench_now_ns() + bench_ns(bench->seconds / 2);
    while (bench_now_ns() < end && !stele_cli_interrupted()) {
        uint64_t count = 0;
        (void)read_any_stream(&reading, &count, NULL);
    }
    bench_streams_deinit(&reading.streams);
}

int stele_cli_bench_memory(struct bench *bench, const struct bench_workload *workload)
{
    char path[STELE_CLI_BENCH_PATH_SIZE];
    struct stele *store = NULL;
    double filling_mib = 0;
    int code = ensure_filled(bench, path, &filling_mib);
    const struct resident before = resident_now();
    if (code == STELE_CLI_OK) {
        code = stele_cli_bench_open(bench, path, &store);
    }
    if (code != STELE_CLI_OK) {
        return code;
    }
    struct bench_result *const result = bench_alloc(1, sizeof *result);
    result->program = "stele";
    result->workload = workload->name;
    result->before = bench_usage_now();
    const struct resident opened = resident_now();
    read_for(bench, store);
    const struct resident read = resident_now();
    volatile uint64_t acknowledged = 0;
    const int outcome = stele_cli_bench_append_until(
        bench, store, bench_now_ns() + bench_ns(bench->seconds / 2), &acknowledged);
    const struct resident appended = resident_now();
    struct stele_stats stats = {0};
    (void)stele_stats(store, &stats, NULL);
    result->after = bench_usage_now();
    result->errors = outcome == STELE_OK ? 0 : 1;
    result->seconds = (double)(result->after.at_ns - result->before.at_ns) / 1e9;
    bench_result_add(result, "filling_anon_mib", filling_mib);
    bench_result_add(result, "before_anon_mib", before.anonymous);
    bench_result_add(result, "before_rss_mib", before.all);
    bench_result_add(result, "opened_anon_mib", opened.anonymous);
    bench_result_add(result, "opened_rss_mib", opened.all);
    bench_result_add(result, "read_anon_mib", read.anonymous);
    bench_result_add(result, "read_rss_mib", read.all);
    bench_result_add(result, "appended_anon_mib", appended.anonymous);
    bench_result_add(result, "appended_rss_mib", appended.all);
    bench_result_add(result, "store_memory_mib", (double)stats.memory / MIB);
    bench_result_add(result, "index_mib", (double)stats.index_size / MIB);
    bench_result_add(result, "log_mib", (double)stats.log_size / MIB);
    bench_result_add(result, "disk_mib", (double)stats.disk_size / MIB);
    bench_result_add(result, "index_runs", (double)stats.index_runs);
    bench_result_add(result, "stored_events", (double)stats.events);
    bench_result_add(result, "stored_streams", (double)stats.streams);
    stele_cli_bench_report(bench, result, NULL);
    free(result);
    return close_filled(store, code);
}
