/* The measuring kit of `stele bench`, bench/rawlog.c and bench/peers: events and streams, clocks,
 * histograms, what else the machine was doing, and the one line of JSON that all of them print.
 *
 * One kit, because two programs that make their events or take their percentiles differently
 * cannot be compared. Header only, because the peers are small programs that link nothing of ours.
 *
 * Nothing here is shared between threads: each thread has its own random numbers and histogram,
 * and histograms are added up at the end. */
#ifndef STELE_CLI_BENCH_KIT_H
#define STELE_CLI_BENCH_KIT_H

#include "base/compiler.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#define BENCH_NS_PER_S UINT64_C(1000000000)

static inline uint64_t bench_now_ns(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * BENCH_NS_PER_S + (uint64_t)now.tv_nsec;
}

static inline uint64_t bench_ns(double seconds)
{
    return (uint64_t)(seconds * 1e9);
}

static inline void bench_sleep_ns(uint64_t ns)
{
    const struct timespec pause = {(time_t)(ns / BENCH_NS_PER_S), (long)(ns % BENCH_NS_PER_S)};
    (void)nanosleep(&pause, NULL);
}

/* Memory that is there, or the end: a benchmark that cannot get its memory measures nothing. */
static inline void *bench_alloc(size_t count, size_t size)
{
    void *const memory = calloc(count > 0 ? count : 1, size);
    if (memory == NULL) {
        (void)fputs("bench: memory ran out; use fewer streams or events\n", stderr);
        exit(1);
    }
    return memory;
}

/* ---- Random numbers: SplitMix64 (Steele, Lea, Flood 2014) ---------------------------------- */

static inline uint64_t bench_random(uint64_t *state)
{
    *state += UINT64_C(0x9E3779B97F4A7C15);
    uint64_t z = *state;
    z = (z ^ (z >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94D049BB133111EB);
    return z ^ (z >> 31);
}

/* A number below bound, without a division (Lemire 2019, without the last bit of fairness). */
static inline uint32_t bench_random_below(uint64_t *state, uint32_t bound)
{
    return (uint32_t)(((bench_random(state) >> 32) * (uint64_t)bound) >> 32);
}

/* Different in every run: the same ids twice would be the same append twice, and answered from
 * what is stored. */
static inline uint64_t bench_seed(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_REALTIME, &now);
    uint64_t seed = (uint64_t)now.tv_sec * BENCH_NS_PER_S + (uint64_t)now.tv_nsec;
    seed ^= (uint64_t)getpid() << 40;
    return bench_random(&seed);
}

/* A random id with the version and variant of a UUID version 4. */
static inline void bench_random_id(uint64_t *state, uint8_t id[16])
{
    const uint64_t high = bench_random(state);
    const uint64_t low = bench_random(state);
    memcpy(id, &high, 8);
    memcpy(id + 8, &low, 8);
    id[6] = (uint8_t)((id[6] & 0x0fu) | 0x40u);
    id[8] = (uint8_t)((id[8] & 0x3fu) | 0x80u);
}

/* ---- Which stream ---------------------------------------------------------------------------
 *
 * Uniform, or zipf with exponent 1: the k-th stream is taken 1/k times as often as the first. The
 * table holds, per stream, the share of all choices that fall on it or a lower one, scaled to
 * 32 bits, which is finer than the rarest stream of a million needs (1 in 14 million). */

struct bench_streams {
    uint32_t count;
    uint32_t *shares; /* NULL: uniform. */
};

static inline void bench_streams_init(struct bench_streams *streams, uint32_t count, bool zipf)
{
    streams->count = count;
    streams->shares = NULL;
    if (!zipf) {
        return;
    }
    streams->shares = bench_alloc(count, sizeof *streams->shares);
    double total = 0;
    for (uint32_t i = 0; i < count; i++) {
        total += 1.0 / ((double)i + 1.0);
    }
    double sum = 0;
    for (uint32_t i = 0; i < count; i++) {
        sum += 1.0 / ((double)i + 1.0);
        streams->shares[i] = (uint32_t)(sum / total * 4294967295.0);
    }
    streams->shares[count - 1] = UINT32_MAX;
}

static inline void bench_streams_deinit(struct bench_streams *streams)
{
    free(streams->shares);
    streams->shares = NULL;
}

static inline uint32_t bench_streams_pick(const struct bench_streams *streams, uint64_t *state)
{
    if (streams->shares == NULL) {
        return bench_random_below(state, streams->count);
    }
    const uint32_t wanted = (uint32_t)(bench_random(state) >> 32);
    uint32_t low = 0;
    uint32_t high = streams->count - 1;
    while (low < high) {
        const uint32_t middle = low + (high - low) / 2;
        if (streams->shares[middle] < wanted) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

#define BENCH_STREAM_NAME_SIZE 32
#define BENCH_CATEGORY_SIZE_MAX 20 /* Leaves room for ten digits and the zero. */

/* "account-17" for the category "account-" of at most BENCH_CATEGORY_SIZE_MAX bytes; returns the
 * size without the zero. Written by hand because snprintf() would be a tenth of what an append
 * costs. */
static inline size_t bench_stream_name_in(char to[BENCH_STREAM_NAME_SIZE], const char *category,
                                          uint32_t stream)
{
    const size_t category_size = strlen(category);
    memcpy(to, category, category_size);
    char digits[10];
    size_t count = 0;
    do {
        digits[count++] = (char)('0' + stream % 10);
        stream /= 10;
    } while (stream > 0);
    char *end = to + category_size;
    while (count > 0) {
        *end++ = digits[--count];
    }
    *end = '\0';
    return (size_t)(end - to);
}

static inline size_t bench_stream_name(char to[BENCH_STREAM_NAME_SIZE], uint32_t stream)
{
    return bench_stream_name_in(to, "account-", stream);
}

/* ---- Events ---------------------------------------------------------------------------------
 *
 * JSON with a number in it that a fold can add up. They are made beforehand and taken in turn from
 * a pool that fits a cache, as an event that an application has just made would. */

#define BENCH_POOL_COUNT 1024u
#define BENCH_DATA_SIZE_MIN 80u
#define BENCH_TYPE "OrderPlaced"

struct bench_pool {
    char *data; /* BENCH_POOL_COUNT times size bytes. */
    size_t size;
};

static inline void bench_pool_init(struct bench_pool *pool, size_t size)
{
    static const char letters[] =
        "abcdefghijklmnopqrstuvwxyz0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ-_";
    uint64_t state = 42;
    pool->size = size < BENCH_DATA_SIZE_MIN ? BENCH_DATA_SIZE_MIN : size;
    pool->data = bench_alloc(BENCH_POOL_COUNT, pool->size);
    for (uint32_t i = 0; i < BENCH_POOL_COUNT; i++) {
        char head[BENCH_DATA_SIZE_MIN];
        const int head_size =
            snprintf(head, sizeof head,
                     "{\"order\":\"%016" PRIx64 "\",\"amount\":%07u,"
                     "\"currency\":\"EUR\",\"note\":\"",
                     bench_random(&state), 1000000u + bench_random_below(&state, 8999999));
        char *const data = pool->data + i * pool->size;
        memcpy(data, head, (size_t)head_size);
        for (size_t at = (size_t)head_size; at < pool->size - 2; at++) {
            data[at] = letters[bench_random(&state) & 63];
        }
        memcpy(data + pool->size - 2, "\"}", 2);
    }
}

static inline void bench_pool_deinit(struct bench_pool *pool)
{
    free(pool->data);
    pool->data = NULL;
}

static inline const char *bench_pool_pick(const struct bench_pool *pool, uint64_t *state)
{
    return pool->data + (bench_random(state) % BENCH_POOL_COUNT) * pool->size;
}

/* ---- Histogram of durations -------------------------------------------------------------------
 *
 * Buckets as in HdrHistogram: each doubling is cut into 64 equal parts, so a percentile is at most
 * 1/64 too high. Below 64 ns a bucket is one nanosecond.
 *
 *     value     0 … 63   64 … 127   128 … 255   256 … 511   …
 *     bucket    0 … 63   64 … 127   128 … 191   192 … 255   … */

#define BENCH_PARTS 64u
#define BENCH_PARTS_BITS 6u
#define BENCH_BUCKETS ((64u - BENCH_PARTS_BITS + 1u) * BENCH_PARTS)

struct bench_histogram {
    uint64_t count;
    uint64_t max;
    uint64_t buckets[BENCH_BUCKETS];
};

static inline uint32_t bench_histogram_bucket(uint64_t value)
{
    if (value < BENCH_PARTS) {
        return (uint32_t)value;
    }
    const uint32_t shift = 63u - (uint32_t)__builtin_clzll(value) - BENCH_PARTS_BITS;
    return shift * BENCH_PARTS + (uint32_t)(value >> shift);
}

/* The greatest value of a bucket. */
static inline uint64_t bench_histogram_top(uint32_t bucket)
{
    if (bucket < 2 * BENCH_PARTS) {
        return bucket;
    }
    const uint32_t shift = bucket / BENCH_PARTS - 1;
    const uint64_t part = bucket % BENCH_PARTS + BENCH_PARTS;
    return ((part + 1) << shift) - 1;
}

static inline void bench_histogram_add(struct bench_histogram *histogram, uint64_t value)
{
    histogram->count++;
    histogram->buckets[bench_histogram_bucket(value)]++;
    if (value > histogram->max) {
        histogram->max = value;
    }
}

static inline void bench_histogram_merge(struct bench_histogram *into,
                                         const struct bench_histogram *from)
{
    into->count += from->count;
    into->max = from->max > into->max ? from->max : into->max;
    for (uint32_t i = 0; i < BENCH_BUCKETS; i++) {
        into->buckets[i] += from->buckets[i];
    }
}

/* The value that a share (0 … 1) of all values does not exceed. */
static inline uint64_t bench_histogram_percentile(const struct bench_histogram *histogram,
                                                  double share)
{
    uint64_t wanted = (uint64_t)(share * (double)histogram->count + 0.5);
    wanted = wanted < 1 ? 1 : wanted;
    uint64_t seen = 0;
    for (uint32_t i = 0; i < BENCH_BUCKETS; i++) {
        seen += histogram->buckets[i];
        if (seen >= wanted) {
            const uint64_t top = bench_histogram_top(i);
            return top < histogram->max ? top : histogram->max;
        }
    }
    return histogram->max;
}

/* ---- What the machine was doing meanwhile ---------------------------------------------------- */

struct bench_usage {
    uint64_t at_ns;
    double cpu_s;      /* Of this process, user and system. */
    double machine_s;  /* Busy seconds of all processors, ours included. */
    double stolen_s;   /* Taken by the hypervisor. */
    uint64_t written;  /* Bytes this process caused to be written to storage. */
    uint64_t switches; /* Times one of our threads went to sleep. */
};

/* The number after a name in a file of /proc, 0 if there is none. */
static inline uint64_t bench_proc_number(const char *path, const char *name)
{
    char text[4096];
    FILE *const file = fopen(path, "re");
    if (file == NULL) {
        return 0;
    }
    const size_t size = fread(text, 1, sizeof text - 1, file);
    (void)fclose(file);
    text[size] = '\0';
    const char *const found = strstr(text, name);
    return found == NULL ? 0 : strtoull(found + strlen(name), NULL, 10);
}

static inline void bench_usage_machine(double *out_busy_s, double *out_stolen_s)
{
    char text[512] = "";
    FILE *const file = fopen("/proc/stat", "re");
    if (file != NULL) {
        (void)!fgets(text, sizeof text, file);
        (void)fclose(file);
    }
    /* cpu user nice system idle iowait irq softirq steal */
    uint64_t fields[8] = {0};
    char *at = text + (strncmp(text, "cpu ", 4) == 0 ? 4 : 0);
    for (size_t i = 0; i < STELE_COUNT_OF(fields) && *at != '\0'; i++) {
        fields[i] = strtoull(at, &at, 10);
    }
    const double ticks = (double)sysconf(_SC_CLK_TCK);
    *out_busy_s = (double)(fields[0] + fields[1] + fields[2] + fields[5] + fields[6]) / ticks;
    *out_stolen_s = (double)fields[7] / ticks;
}

static inline struct bench_usage bench_usage_now(void)
{
    struct bench_usage usage = {.at_ns = bench_now_ns()};
    struct rusage own;
    (void)getrusage(RUSAGE_SELF, &own);
    usage.cpu_s = (double)(own.ru_utime.tv_sec + own.ru_stime.tv_sec) +
                  (double)(own.ru_utime.tv_usec + own.ru_stime.tv_usec) / 1e6;
    usage.switches = (uint64_t)own.ru_nvcsw;
    bench_usage_machine(&usage.machine_s, &usage.stolen_s);
    usage.written = bench_proc_number("/proc/self/io", "\nwrite_bytes: ");
    return usage;
}

/* ---- A result ----------------------------------------------------------------------------------- */

#define BENCH_EXTRAS_MAX 20u

struct bench_extra {
    const char *name; /* With its unit: "open_clean_ms". */
    double value;
};

struct bench_result {
    const char *program; /* "stele", "rawlog", "lmdb" … */
    const char *workload;
    uint64_t operations; /* Calls that were waited for: appends, reads of a stream … */
    uint64_t events;
    uint64_t bytes;  /* Of event data. */
    uint64_t errors; /* Operations that did not end as they should. */
    double seconds;
    struct bench_usage before, after;
    struct bench_histogram latency; /* Of operations, nanoseconds. Empty: not measured. */
    struct bench_extra extras[BENCH_EXTRAS_MAX];
    uint32_t extras_count;
};

static inline void bench_result_add(struct bench_result *result, const char *name, double value)
{
    if (result->extras_count < BENCH_EXTRAS_MAX) {
        result->extras[result->extras_count++] = (struct bench_extra){name, value};
    }
}

static inline double bench_per_second(uint64_t count, double seconds)
{
    return seconds > 0 ? (double)count / seconds : 0;
}

static inline double bench_result_cpus(const struct bench_result *result)
{
    const double seconds = (double)(result->after.at_ns - result->before.at_ns) / 1e9;
    return seconds > 0 ? (result->after.cpu_s - result->before.cpu_s) / seconds : 0;
}

/* Processors kept busy by others: the noise. */
static inline double bench_result_cpus_others(const struct bench_result *result)
{
    const double seconds = (double)(result->after.at_ns - result->before.at_ns) / 1e9;
    const double machine = result->after.machine_s - result->before.machine_s;
    const double own = result->after.cpu_s - result->before.cpu_s;
    return seconds > 0 && machine > own ? (machine - own) / seconds : 0;
}

static inline double bench_us(uint64_t ns)
{
    return (double)ns / 1e3;
}

/* One line, an object, without the line's end. text has at least 4096 bytes. */
static inline void bench_result_json(const struct bench_result *result, char *text, size_t size)
{
    size_t used = 0;
#define BENCH_PUT(...)                                                                             \
    do {                                                                                           \
        const int put = snprintf(text + used, size - used, __VA_ARGS__);                           \
        used += put > 0 && (size_t)put < size - used ? (size_t)put : 0;                            \
    } while (0)
    BENCH_PUT("{\"program\":\"%s\",\"workload\":\"%s\",\"events_per_s\":%.0f,"
              "\"operations_per_s\":%.1f,\"events\":%" PRIu64 ",\"operations\":%" PRIu64
              ",\"errors\":%" PRIu64 ",\"seconds\":%.4f,\"data_bytes\":%" PRIu64,
              result->program, result->workload, bench_per_second(result->events, result->seconds),
              bench_per_second(result->operations, result->seconds), result->events,
              result->operations, result->errors, result->seconds, result->bytes);
    if (result->latency.count > 0) {
        static const struct {
            const char *name;
            double share;
        } all[] = {{"p50", 0.5}, {"p90", 0.9}, {"p99", 0.99}, {"p99_9", 0.999}};
        for (size_t i = 0; i < STELE_COUNT_OF(all); i++) {
            BENCH_PUT(",\"%s_us\":%.1f", all[i].name,
                      bench_us(bench_histogram_percentile(&result->latency, all[i].share)));
        }
        BENCH_PUT(",\"max_us\":%.1f", bench_us(result->latency.max));
    }
    BENCH_PUT(",\"cpu_s\":%.3f,\"cpus\":%.2f,\"cpus_others\":%.2f,\"stolen_s\":%.2f,"
              "\"written_bytes\":%" PRIu64 ",\"switches\":%" PRIu64,
              result->after.cpu_s - result->before.cpu_s, bench_result_cpus(result),
              bench_result_cpus_others(result), result->after.stolen_s - result->before.stolen_s,
              result->after.written - result->before.written,
              result->after.switches - result->before.switches);
    for (uint32_t i = 0; i < result->extras_count; i++) {
        BENCH_PUT(",\"%s\":%.3f", result->extras[i].name, result->extras[i].value);
    }
    BENCH_PUT("}");
#undef BENCH_PUT
}

#endif
