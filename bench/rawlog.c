/* What the disk allows: a log that does only what every durable event log has to do.
 *
 * A frame of events with a CRC-32C, one pwrite() into a file that was written before, one
 * fdatasync(), again. No streams, no revisions, no index, no threads: what a store loses against
 * this is the price of being a store. With `read`, the same frames are read back from memory
 * mapped pages and their checksums compared: what the processor allows a reader. */
#include "cli/bench_kit.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <isa-l.h>
#include <sys/mman.h>
#include <sys/stat.h>

#define FILE_SIZE ((size_t)256 * 1024 * 1024)
#define FILE_PIECE ((size_t)1024 * 1024)
#define BATCH_MAX 10000u
#define STREAMS 10000u

static const char help[] =
    "rawlog: what the disk allows a durable log, and the processor its reader\n"
    "\n"
    "usage: rawlog [OPTIONS] BATCH … | read\n"
    "\n"
    "BATCH events make a frame; each frame is written and synced before the next one.\n"
    "\n"
    "  --store DIR    where the file goes, which is kept for the next run\n"
    "  --seconds S    how long each batch size is measured (2)\n"
    "  --warmup S     how long it runs before that (0.2)\n"
    "  --size BYTES   data of an event (200)\n"
    "  --json         one line of JSON for each batch size\n";

struct options {
    const char *store;
    double seconds;
    double warmup;
    size_t size;
    bool json;
};

/* In front of every frame; events follow, each with its size, so that a reader can walk. */
struct frame_head {
    uint32_t size;     /* Bytes after the head. */
    uint32_t checksum; /* Of those bytes. */
    uint64_t place;    /* Where the frame is, so that a misplaced one is noticed. */
};

struct event_head {
    uint32_t size; /* Bytes of the whole event, with this head. */
    uint32_t stream;
    uint64_t revision;
    uint64_t position;
    uint8_t id[16];
};

struct log {
    int fd;
    uint8_t *buffer;
    struct bench_pool pool;
    uint64_t random;
    uint64_t position;
    uint64_t offset;
    uint64_t *revisions;
};

/* Where a byte of each event goes, so that no compiler can leave the reading out. */
static volatile uint64_t sink;

static void die(const char *what)
{
    char why[128] = "";
    (void)fprintf(stderr, "rawlog: %s: %s\n", what, strerror_r(errno, why, sizeof why));
    exit(1);
}

/* Written once from end to end: overwriting needs no change of the file's size or extents, and so
 * a sync has only the data to wait for. */
static int open_written_file(const char *path)
{
    const int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    if (fd < 0) {
        die(path);
    }
    struct stat found;
    if (fstat(fd, &found) != 0) {
        die(path);
    }
    if ((size_t)found.st_size == FILE_SIZE) {
        return fd;
    }
    uint8_t *const zeros = bench_alloc(1, FILE_PIECE);
    for (size_t at = 0; at < FILE_SIZE; at += FILE_PIECE) {
        if (pwrite(fd, zeros, FILE_PIECE, (off_t)at) != (ssize_t)FILE_PIECE) {
            die("writing the file for the first time");
        }
    }
    free(zeros);
    if (fsync(fd) != 0) {
        die("syncing the file for the first time");
    }
    return fd;
}

static size_t put_event(struct log *log, uint8_t *to)
{
    const uint32_t stream = bench_random_below(&log->random, STREAMS);
    char name[BENCH_STREAM_NAME_SIZE];
    const size_t name_size = bench_stream_name(name, stream);
    struct event_head head = {
        .stream = stream, .revision = log->revisions[stream]++, .position = log->position++};
    bench_random_id(&log->random, head.id);
    uint8_t *at = to + sizeof head;
    memcpy(at, name, name_size);
    at += name_size;
    memcpy(at, BENCH_TYPE, sizeof BENCH_TYPE - 1);
    at += sizeof BENCH_TYPE - 1;
    memcpy(at, bench_pool_pick(&log->pool, &log->random), log->pool.size);
    at += log->pool.size;
    const size_t size = ((size_t)(at - to) + 7) & ~(size_t)7;
    memset(at, 0, (size_t)(to + size - at));
    head.size = (uint32_t)size;
    memcpy(to, &head, sizeof head);
    return size;
}

/* Not inlined: ISA-L declares the size as an int, but goes by the whole register. The upper half
 * of a size_t parameter is zero; of an int that was just loaded it may be anything. */
__attribute__((noinline)) static uint32_t checksum(const uint8_t *bytes, size_t size)
{
    /* ISA-L's declaration lacks a const. */
    return crc32_iscsi((unsigned char *)(uintptr_t)bytes, (int)size, 0xffffffffu) ^ 0xffffffffu;
}

static size_t put_frame(struct log *log, uint32_t batch)
{
    size_t size = sizeof(struct frame_head);
    for (uint32_t i = 0; i < batch; i++) {
        size += put_event(log, log->buffer + size);
    }
    if (log->offset + size > FILE_SIZE) {
        log->offset = 0;
    }
    struct frame_head head = {.size = (uint32_t)(size - sizeof head), .place = log->offset};
    head.checksum = checksum(log->buffer + sizeof head, head.size);
    memcpy(log->buffer, &head, sizeof head);
    return size;
}

static void commit(struct log *log, uint32_t batch)
{
    const size_t size = put_frame(log, batch);
    if (pwrite(log->fd, log->buffer, size, (off_t)log->offset) != (ssize_t)size) {
        die("write");
    }
    if (fdatasync(log->fd) != 0) {
        die("fdatasync");
    }
    log->offset += size;
}

static void print_result(const struct options *options, const struct bench_result *result)
{
    if (options->json) {
        char line[4096];
        bench_result_json(result, line, sizeof line);
        (void)puts(line);
        (void)fflush(stdout);
        return;
    }
    (void)printf("%-12s %10.0f events/s  p50 %.0f us  p99 %.0f us\n", result->workload,
                 bench_per_second(result->events, result->seconds),
                 bench_us(bench_histogram_percentile(&result->latency, 0.5)),
                 bench_us(bench_histogram_percentile(&result->latency, 0.99)));
}

static void measure_appends(struct log *log, const struct options *options, uint32_t batch)
{
    static struct bench_result result;
    char workload[32];
    (void)snprintf(workload, sizeof workload, "rawlog%u", batch);
    result = (struct bench_result){.program = "rawlog", .workload = workload};

    const uint64_t warm = bench_now_ns() + bench_ns(options->warmup);
    while (bench_now_ns() < warm) {
        commit(log, batch);
    }
    result.before = bench_usage_now();
    const uint64_t start = bench_now_ns();
    const uint64_t end = start + bench_ns(options->seconds);
    uint64_t now = start;
    while (now < end) {
        const uint64_t begin = now;
        commit(log, batch);
        now = bench_now_ns();
        bench_histogram_add(&result.latency, now - begin);
    }
    result.after = bench_usage_now();
    result.operations = result.latency.count;
    result.events = result.operations * batch;
    result.bytes = result.events * log->pool.size;
    result.seconds = (double)(now - start) / 1e9;
    print_result(options, &result);
}

/* Fills the file with frames of one event, as single appends leave it; returns its size. */
static size_t fill(struct log *log)
{
    log->offset = 0;
    while (log->offset + FILE_PIECE < FILE_SIZE) {
        const size_t size = put_frame(log, 1);
        if (pwrite(log->fd, log->buffer, size, (off_t)log->offset) != (ssize_t)size) {
            die("write");
        }
        log->offset += size;
    }
    return log->offset;
}

static uint64_t read_frames(const uint8_t *bytes, size_t size, uint64_t *out_sum)
{
    uint64_t frames = 0;
    size_t at = 0;
    while (at < size) {
        struct frame_head head;
        memcpy(&head, bytes + at, sizeof head);
        const uint8_t *const payload = bytes + at + sizeof head;
        if (checksum(payload, head.size) != head.checksum) {
            errno = EIO;
            die("checksum");
        }
        *out_sum += payload[sizeof(struct event_head) + 32];
        at += sizeof head + head.size;
        frames++;
    }
    return frames;
}

static void measure_reading(struct log *log, const struct options *options)
{
    static struct bench_result result;
    result = (struct bench_result){.program = "rawlog", .workload = "rawread"};
    const size_t size = fill(log);
    const uint8_t *const bytes =
        mmap(NULL, FILE_SIZE, PROT_READ, MAP_SHARED | MAP_POPULATE, log->fd, 0);
    if (bytes == MAP_FAILED) {
        die("mmap");
    }
    uint64_t sum = 0;
    result.before = bench_usage_now();
    const uint64_t start = bench_now_ns();
    uint64_t now = start;
    while (now < start + bench_ns(options->seconds)) {
        const uint64_t begin = now;
        result.events += read_frames(bytes, size, &sum);
        now = bench_now_ns();
        bench_histogram_add(&result.latency, now - begin);
    }
    sink = sum;
    result.after = bench_usage_now();
    result.operations = result.latency.count;
    result.bytes = result.events * log->pool.size;
    result.seconds = (double)(now - start) / 1e9;
    print_result(options, &result);
    (void)munmap((void *)(uintptr_t)bytes, FILE_SIZE);
}

static struct options parse(int argc, char **argv)
{
    struct options options = {.store = ".", .seconds = 2, .warmup = 0.2, .size = 200};
    static const struct option known[] = {
        {"store", required_argument, NULL, 'd'},
        {"seconds", required_argument, NULL, 's'},
        {"warmup", required_argument, NULL, 'w'},
        {"size", required_argument, NULL, 'z'},
        {"json", no_argument, NULL, 'j'},
        {"help", no_argument, NULL, 'h'},
        {NULL, 0, NULL, 0},
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
        case 'z':
            options.size = strtoul(optarg, NULL, 10);
            break;
        case 'j':
            options.json = true;
            break;
        default:
            (void)fputs(help, option == 'h' ? stdout : stderr);
            exit(option == 'h' ? 0 : 2);
        }
    }
    return options;
}

int main(int argc, char **argv)
{
    const struct options options = parse(argc, argv);
    (void)mkdir(options.store, 0755);
    char path[4096];
    (void)snprintf(path, sizeof path, "%s/rawlog.dat", options.store);

    struct log log = {.fd = open_written_file(path), .random = bench_seed()};
    bench_pool_init(&log.pool, options.size);
    log.revisions = bench_alloc(STREAMS, sizeof *log.revisions);
    const size_t event_size =
        sizeof(struct event_head) + BENCH_STREAM_NAME_SIZE + log.pool.size + 32;
    log.buffer = bench_alloc(BATCH_MAX, event_size);

    for (int i = optind; i < argc; i++) {
        if (strcmp(argv[i], "read") == 0) {
            measure_reading(&log, &options);
            continue;
        }
        const unsigned long batch = strtoul(argv[i], NULL, 10);
        if (batch < 1 || batch > BATCH_MAX || batch * event_size > FILE_SIZE) {
            (void)fprintf(stderr, "rawlog: a batch of %s does not fit; use 1 to %u\n", argv[i],
                          BATCH_MAX);
            return 2;
        }
        measure_appends(&log, &options, (uint32_t)batch);
    }

    free(log.buffer);
    free(log.revisions);
    bench_pool_deinit(&log.pool);
    (void)close(log.fd);
    return 0;
}
