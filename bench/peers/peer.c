/* Measures one database with the workloads that `stele bench` has, and prints the same lines. */
#include "peer.h"

#include <ftw.h>
#include <getopt.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <sys/stat.h>

#define BATCH_MAX 100u
#define PATH_SIZE 4096

static const char help[] =
    "A database as an event store, measured like `stele bench`.\n"
    "\n"
    "usage: peer-NAME [OPTIONS] WORKLOAD …\n"
    "\n"
    "workloads: append1 append8 append64 batch100 spread100 readstream readall\n"
    "\n"
    "  --store DIR    where databases go; the filled one is kept there for the next run\n"
    "  --seconds S    how long each workload is measured (2)\n"
    "  --warmup S     how long it runs before that (0.2)\n"
    "  --events N     events in the filled database (1000000)\n"
    "  --streams N    their streams, and those of appends (10000)\n"
    "  --size BYTES   data of an event (200)\n"
    "  --zipf         few streams get most events\n"
    "  --json         one line of JSON for each workload\n";

struct options {
    const char *store;
    double seconds;
    double warmup;
    uint64_t events;
    uint32_t streams;
    size_t size;
    bool zipf;
    bool json;
};

volatile uint64_t peer_sink;

static struct options options = {
    .store = ".", .seconds = 2, .warmup = 0.2, .events = 1000000, .streams = 10000, .size = 200};
static struct bench_pool pool;

void peer_die(const char *what, const char *format, ...)
{
    (void)fprintf(stderr, "peer-%s: %s: ", peer.name, what);
    va_list args;
    va_start(args, format);
    (void)vfprintf(stderr, format, args);
    va_end(args);
    (void)fputc('\n', stderr);
    exit(1);
}

/* ---- Appending ------------------------------------------------------------------------------ */

/* A thread that appends; it has the streams whose number modulo step is first. */
struct writer {
    pthread_t thread;
    uint32_t first, step;
    struct bench_streams streams;
    uint32_t *revisions; /* The next one of each stream. */
    uint32_t *batches;   /* With spread: the last batch that each stream was in. */
    uint32_t batch_now;
    uint64_t random;
    uint32_t batch;
    bool spread; /* Every event of a batch goes to another stream. */
    uint64_t measure_ns, end_ns;

    uint64_t events, errors, last_ns;
    struct bench_histogram latency;
};

static uint32_t pick(struct writer *writer)
{
    return bench_streams_pick(&writer->streams, &writer->random) * writer->step + writer->first;
}

/* A stream that this batch does not have yet, as one append of Stele names a stream once. */
static uint32_t pick_another(struct writer *writer)
{
    uint32_t stream = pick(writer);
    while (writer->batches[stream] == writer->batch_now) {
        stream = pick(writer);
    }
    writer->batches[stream] = writer->batch_now;
    return stream;
}

static void make_batch(struct writer *writer, struct peer_event *events)
{
    writer->batch_now++;
    uint32_t stream = pick(writer);
    for (uint32_t i = 0; i < writer->batch; i++) {
        if (writer->spread) {
            stream = pick_another(writer);
        }
        events[i] = (struct peer_event){.stream = stream,
                                        .revision = writer->revisions[stream]++,
                                        .data = bench_pool_pick(&pool, &writer->random),
                                        .data_size = pool.size};
        bench_random_id(&writer->random, events[i].id);
    }
}

static void *run_writer(void *context)
{
    struct writer *const writer = context;
    struct peer_event events[BATCH_MAX];
    uint64_t now = bench_now_ns();
    while (now < writer->end_ns) {
        make_batch(writer, events);
        const uint64_t begin = bench_now_ns();
        const bool stored = peer.append(events, writer->batch);
        now = bench_now_ns();
        if (begin < writer->measure_ns) {
            continue;
        }
        writer->errors += stored ? 0 : 1;
        writer->events += stored ? writer->batch : 0;
        bench_histogram_add(&writer->latency, now - begin);
        writer->last_ns = now;
    }
    return NULL;
}

static void init_writer(struct writer *writer, uint32_t first, uint32_t step, uint32_t batch,
                        bool spread)
{
    *writer = (struct writer){.first = first, .step = step, .batch = batch, .spread = spread};
    writer->random = bench_seed() + first * UINT64_C(7919);
    bench_streams_init(&writer->streams, options.streams / step, options.zipf);
    if (spread) {
        writer->batches = bench_alloc(options.streams, sizeof *writer->batches);
    }
}

static void deinit_writer(struct writer *writer)
{
    bench_streams_deinit(&writer->streams);
    free(writer->batches);
}

static int remove_entry(const char *path, const struct stat *found, int kind, struct FTW *where)
{
    (void)found;
    (void)kind;
    (void)where;
    return remove(path);
}

static void append_with(struct bench_result *result, uint32_t threads, uint32_t batch, bool spread)
{
    if (threads > 1 && !peer.many_writers) {
        peer_die(result->workload, "has one writer at a time");
    }
    char directory[PATH_SIZE];
    (void)snprintf(directory, sizeof directory, "%s/%s-XXXXXX", options.store, peer.name);
    if (mkdtemp(directory) == NULL) {
        peer_die(directory, "cannot be made");
    }
    peer.open(directory, true);

    uint32_t *const revisions = bench_alloc(options.streams, sizeof *revisions);
    struct writer *const writers = bench_alloc(threads, sizeof *writers);
    const uint64_t measure = bench_now_ns() + bench_ns(options.warmup);
    for (uint32_t i = 0; i < threads; i++) {
        init_writer(&writers[i], i, threads, batch, spread);
        writers[i].revisions = revisions;
        writers[i].measure_ns = measure;
        writers[i].end_ns = measure + bench_ns(options.seconds);
        if (pthread_create(&writers[i].thread, NULL, run_writer, &writers[i]) != 0) {
            peer_die(result->workload, "no more threads");
        }
    }
    bench_sleep_ns(bench_ns(options.warmup));
    result->before = bench_usage_now();
    uint64_t last = measure;
    for (uint32_t i = 0; i < threads; i++) {
        (void)pthread_join(writers[i].thread, NULL);
        bench_histogram_merge(&result->latency, &writers[i].latency);
        result->events += writers[i].events;
        result->errors += writers[i].errors;
        last = writers[i].last_ns > last ? writers[i].last_ns : last;
        deinit_writer(&writers[i]);
    }
    result->after = bench_usage_now();
    result->operations = result->latency.count;
    result->bytes = result->events * pool.size;
    result->seconds = (double)(last - measure) / 1e9;

    peer.close();
    free(writers);
    free(revisions);
    (void)nftw(directory, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
}

static void append1(struct bench_result *result)
{
    append_with(result, 1, 1, false);
}

static void append8(struct bench_result *result)
{
    append_with(result, 8, 1, false);
}

static void append64(struct bench_result *result)
{
    append_with(result, 64, 1, false);
}

static void batch100(struct bench_result *result)
{
    append_with(result, 1, 100, false);
}

static void spread100(struct bench_result *result)
{
    append_with(result, 1, 100, true);
}

/* ---- Reading -------------------------------------------------------------------------------- */

/* Fills a database with events in random streams, so that those of one stream lie apart. The last
 * thing made is a file that says that all of it is there. */
static void open_filled(void)
{
    char directory[PATH_SIZE];
    char mark[PATH_SIZE + 8];
    (void)snprintf(directory, sizeof directory, "%s/%s-%" PRIu64 "-%" PRIu32 "-%zu%s",
                   options.store, peer.name, options.events, options.streams, pool.size,
                   options.zipf ? "-zipf" : "");
    (void)snprintf(mark, sizeof mark, "%s/filled", directory);
    if (access(mark, F_OK) == 0) {
        peer.open(directory, true);
        return;
    }
    (void)nftw(directory, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
    (void)mkdir(directory, 0755);
    peer.open(directory, false);
    struct writer *const writer = bench_alloc(1, sizeof *writer);
    init_writer(writer, 0, 1, BATCH_MAX, true);
    writer->revisions = bench_alloc(options.streams, sizeof *writer->revisions);
    for (uint64_t left = options.events; left > 0; left -= writer->batch) {
        struct peer_event events[BATCH_MAX];
        writer->batch = left < BATCH_MAX ? (uint32_t)left : BATCH_MAX;
        make_batch(writer, events);
        if (!peer.append(events, writer->batch)) {
            peer_die("filling", "a revision is not the expected one");
        }
    }
    deinit_writer(writer);
    free(writer->revisions);
    free(writer);
    peer.close();
    sync();
    FILE *const file = fopen(mark, "we");
    if (file == NULL || fclose(file) != 0) {
        peer_die(mark, "cannot be written");
    }
    peer.open(directory, true);
}

static void measure_reads(struct bench_result *result, bool whole)
{
    open_filled();
    struct bench_streams streams;
    bench_streams_init(&streams, options.streams, options.zipf);
    uint64_t random = bench_seed();
    const uint64_t warm = bench_now_ns() + bench_ns(options.warmup);
    do {
        (void)(whole ? peer.read_all() : peer.read_stream(bench_streams_pick(&streams, &random)));
    } while (bench_now_ns() < warm);

    result->before = bench_usage_now();
    const uint64_t start = bench_now_ns();
    const uint64_t end = start + bench_ns(options.seconds);
    uint64_t now = start;
    while (now < end) {
        const uint64_t begin = now;
        const uint64_t count =
            whole ? peer.read_all() : peer.read_stream(bench_streams_pick(&streams, &random));
        now = bench_now_ns();
        result->errors += whole && count != options.events ? 1 : 0;
        result->events += count;
        bench_histogram_add(&result->latency, now - begin);
    }
    result->after = bench_usage_now();
    result->operations = result->latency.count;
    result->bytes = result->events * pool.size;
    result->seconds = (double)(now - start) / 1e9;
    bench_streams_deinit(&streams);
    peer.close();
}

static void readstream(struct bench_result *result)
{
    measure_reads(result, false);
}

static void readall(struct bench_result *result)
{
    measure_reads(result, true);
}

/* ---- The program ---------------------------------------------------------------------------- */

static const struct workload {
    const char *name;
    void (*run)(struct bench_result *result);
} workloads[] = {
    {"append1", append1},   {"append8", append8},     {"append64", append64},
    {"batch100", batch100}, {"spread100", spread100}, {"readstream", readstream},
    {"readall", readall},
};

static void run(const char *name)
{
    static struct bench_result result;
    for (size_t i = 0; i < STELE_COUNT_OF(workloads); i++) {
        if (strcmp(name, workloads[i].name) != 0) {
            continue;
        }
        result = (struct bench_result){.program = peer.name, .workload = workloads[i].name};
        workloads[i].run(&result);
        if (options.json) {
            char line[4096];
            bench_result_json(&result, line, sizeof line);
            (void)puts(line);
        } else {
            (void)printf("%-12s %10.0f events/s  p50 %.0f us  p99 %.0f us  %" PRIu64 " errors\n",
                         result.workload, bench_per_second(result.events, result.seconds),
                         bench_us(bench_histogram_percentile(&result.latency, 0.5)),
                         bench_us(bench_histogram_percentile(&result.latency, 0.99)),
                         result.errors);
        }
        (void)fflush(stdout);
        return;
    }
    peer_die(name, "no such workload; see --help");
}

static void parse(int argc, char **argv)
{
    static const struct option known[] = {
        {"store", required_argument, NULL, 'd'},   {"seconds", required_argument, NULL, 's'},
        {"warmup", required_argument, NULL, 'w'},  {"events", required_argument, NULL, 'e'},
        {"streams", required_argument, NULL, 'm'}, {"size", required_argument, NULL, 'z'},
        {"zipf", no_argument, NULL, 'Z'},          {"json", no_argument, NULL, 'j'},
        {"help", no_argument, NULL, 'h'},          {NULL, 0, NULL, 0},
    };
    int option;
    while ((option = getopt_long(argc, argv, "h", known, NULL)) != -1) {
        switch (option) {
        case 'd':
            options.store = optarg;
            break;
        case 's':
            options.seconds = strtod(optarg, NULL);
            break;
        case 'w':
            options.warmup = strtod(optarg, NULL);
            break;
        case 'e':
            options.events = strtoull(optarg, NULL, 10);
            break;
        case 'm':
            options.streams = (uint32_t)strtoul(optarg, NULL, 10);
            break;
        case 'z':
            options.size = strtoul(optarg, NULL, 10);
            break;
        case 'Z':
            options.zipf = true;
            break;
        case 'j':
            options.json = true;
            break;
        default:
            (void)fputs(help, option == 'h' ? stdout : stderr);
            exit(option == 'h' ? 0 : 2);
        }
    }
    if (options.streams < 2 * BATCH_MAX) {
        peer_die("--streams", "at least %u, for batches and threads to have enough to choose from",
                 2 * BATCH_MAX);
    }
}

int main(int argc, char **argv)
{
    parse(argc, argv);
    (void)mkdir(options.store, 0755);
    bench_pool_init(&pool, options.size);
    for (int i = optind; i < argc; i++) {
        run(argv[i]);
    }
    bench_pool_deinit(&pool);
    return 0;
}
