#include "load.h"

#include <ctype.h>
#include <dirent.h>

/* ---- Options ----------------------------------------------------------------------------------- */

static __attribute__((noreturn)) void fail(const char *what, const char *value)
{
    (void)fprintf(stderr, "load: %s%s\n", what, value);
    exit(2);
}

static void print_usage(const char *program)
{
    (void)printf(
        "Usage: %s --port N [options] WORKLOAD…\n\n"
        "  --port N             the server's, on this machine\n"
        "  --program NAME       stele (KurrentDB's protocol), native, etcd, echo\n"
        "  --tls                with TLS; the certificate is not looked at\n"
        "  --authorization TEXT the header of each call\n"
        "  --seconds S          measured time of each workload (2)\n"
        "  --warmup S           before it (0.5)\n"
        "  --events N           of a filled store (1000000)\n"
        "  --streams N          that they lie in, and that are appended to (10000)\n"
        "  --data N             bytes of an event's data (200)\n"
        "  --connections N --in-flight N --batch N\n"
        "                       of the workload append (1, 1, 1)\n"
        "  --subscriptions N    of the workloads fan and idle (1000, 10000)\n"
        "  --pid PID            the server's, to print its processor time\n"
        "  --json               one object a line\n\n"
        "Workloads: fill append append1 append8 append64 conns64 batch100 batch100x16 stream100\n"
        "           readall readstream live fan idle\n",
        program);
}

static uint64_t number_of(const char *text, uint64_t most)
{
    char *end = NULL;
    const uint64_t value = strtoull(text, &end, 10);
    if (!isdigit((unsigned char)text[0]) || *end != '\0' || value > most) {
        fail("not a number that fits: ", text);
    }
    return value;
}

static double seconds_of(const char *text)
{
    char *end = NULL;
    const double value = strtod(text, &end);
    if (end == text || *end != '\0' || !(value >= 0) || value > 3600) {
        fail("not a time: ", text);
    }
    return value;
}

static void take_value(struct load_options *options, const char *name, const char *value)
{
    if (strcmp(name, "--port") == 0) {
        options->port = (uint16_t)number_of(value, 65535);
    } else if (strcmp(name, "--program") == 0) {
        options->program = value;
    } else if (strcmp(name, "--authorization") == 0) {
        options->authorization = value;
    } else if (strcmp(name, "--seconds") == 0) {
        options->seconds = seconds_of(value);
    } else if (strcmp(name, "--warmup") == 0) {
        options->warmup = seconds_of(value);
    } else if (strcmp(name, "--events") == 0) {
        options->events = number_of(value, UINT32_MAX);
    } else if (strcmp(name, "--streams") == 0) {
        options->streams = (uint32_t)number_of(value, UINT32_MAX);
    } else if (strcmp(name, "--data") == 0) {
        options->data_size = (uint32_t)number_of(value, 65536);
    } else if (strcmp(name, "--connections") == 0) {
        options->connections = (uint32_t)number_of(value, 1024);
    } else if (strcmp(name, "--in-flight") == 0) {
        options->in_flight = (uint32_t)number_of(value, 4096);
    } else if (strcmp(name, "--batch") == 0) {
        options->batch = (uint32_t)number_of(value, 1000);
    } else if (strcmp(name, "--subscriptions") == 0) {
        options->subscriptions = (uint32_t)number_of(value, 1000000);
    } else if (strcmp(name, "--pid") == 0) {
        options->pid = (long)number_of(value, INT32_MAX);
    } else {
        fail("no such option: ", name);
    }
}

int load_parse(struct load_options *options, const char *program, int argc, char **argv)
{
    *options = (struct load_options){.program = program,
                                     .seconds = 2,
                                     .warmup = 0.5,
                                     .events = 1000000,
                                     .streams = 10000,
                                     .data_size = 200,
                                     .connections = 1,
                                     .in_flight = 1,
                                     .batch = 1};
    int at = 1;
    for (; at < argc && strncmp(argv[at], "--", 2) == 0; at++) {
        if (strcmp(argv[at], "--tls") == 0) {
            options->tls = true;
        } else if (strcmp(argv[at], "--json") == 0) {
            options->json = true;
        } else if (strcmp(argv[at], "--help") == 0) {
            print_usage(argv[0]);
            exit(0);
        } else if (at + 1 < argc) {
            take_value(options, argv[at], argv[at + 1]);
            at++;
        } else {
            fail("no value: ", argv[at]);
        }
    }
    if (options->port == 0) {
        fail("--port is missing", "");
    }
    if (at == argc) {
        fail("no workload; --help lists them", "");
    }
    if (options->streams == 0 || options->connections == 0 || options->in_flight == 0 ||
        options->batch == 0) {
        fail("streams, connections, in-flight and batch begin at 1", "");
    }
    return at;
}

bool load_shape_of(const struct load_options *options, const char *workload,
                   struct load_shape *out_shape)
{
    static const struct {
        const char *name;
        struct load_shape shape;
    } all[] = {
        {"append1", {1, 1, 1}},      {"append8", {1, 8, 1}},    {"append64", {1, 64, 1}},
        {"conns64", {64, 1, 1}},     {"batch100", {1, 1, 100}}, {"batch100x16", {16, 1, 100}},
        {"stream100", {1, 32, 100}}, {"stream1", {1, 1024, 1}},
    };
    if (strcmp(workload, "append") == 0) {
        *out_shape = (struct load_shape){options->connections, options->in_flight, options->batch};
        return true;
    }
    for (size_t i = 0; i < STELE_COUNT_OF(all); i++) {
        if (strcmp(workload, all[i].name) == 0) {
            *out_shape = all[i].shape;
            return true;
        }
    }
    return false;
}

/* ---- The server's processor time ---------------------------------------------------------------- */

/* Ticks of one process, if it is the server or a child of it (PostgreSQL has one a connection). */
static uint64_t ticks_of(const char *process, long server)
{
    char path[64];
    char text[1024];
    (void)snprintf(path, sizeof path, "/proc/%.20s/stat", process);
    FILE *const file = fopen(path, "re");
    if (file == NULL) {
        return 0;
    }
    const size_t size = fread(text, 1, sizeof text - 1, file);
    (void)fclose(file);
    text[size] = '\0';
    const char *const state = strrchr(text, ')');
    long parent = 0;
    uint64_t user = 0;
    uint64_t system = 0;
    if (state == NULL ||
        sscanf(state + 1, " %*c %ld %*s %*s %*s %*s %*s %*s %*s %*s %*s %" SCNu64 " %" SCNu64,
               &parent, &user, &system) != 3) {
        return 0;
    }
    return parent == server || strtol(process, NULL, 10) == server ? user + system : 0;
}

static double server_cpu_s(const struct load_options *options)
{
    uint64_t ticks = 0;
    DIR *const processes = options->pid > 0 ? opendir("/proc") : NULL;
    if (processes == NULL) {
        return 0;
    }
    for (const struct dirent *entry = readdir(processes); entry != NULL;
         entry = readdir(processes)) {
        if (isdigit((unsigned char)entry->d_name[0])) {
            ticks += ticks_of(entry->d_name, options->pid);
        }
    }
    (void)closedir(processes);
    return (double)ticks / (double)sysconf(_SC_CLK_TCK);
}

/* ---- A run --------------------------------------------------------------------------------------- */

static void begin(struct load_run *run, const struct load_options *options, const char *workload)
{
    memset(run, 0, sizeof *run);
    run->options = options;
    run->workload = workload;
    run->result.program = options->program;
    run->result.workload = workload;
    run->result.before = bench_usage_now();
    run->server_cpu_s = server_cpu_s(options);
}

void load_begin(struct load_run *run, const struct load_options *options, const char *workload)
{
    begin(run, options, workload);
    run->begin_ns = bench_now_ns() + bench_ns(options->warmup);
    run->end_ns = run->begin_ns + bench_ns(options->seconds);
    run->result.seconds = options->seconds;
}

void load_begin_now(struct load_run *run, const struct load_options *options, const char *workload)
{
    begin(run, options, workload);
    run->begin_ns = bench_now_ns();
    run->end_ns = UINT64_MAX;
}

void load_end(struct load_run *run)
{
    if (run->end_ns == UINT64_MAX) {
        run->result.seconds = (double)(bench_now_ns() - run->begin_ns) / 1e9;
    }
    run->result.after = bench_usage_now();
    run->result.bytes = run->result.events * run->options->data_size;
    if (run->options->pid > 0) {
        const double seconds = (double)(run->result.after.at_ns - run->result.before.at_ns) / 1e9;
        bench_result_add(&run->result, "cpus_server",
                         (server_cpu_s(run->options) - run->server_cpu_s) / seconds);
    }
}

int load_report(struct load_run *run)
{
    const struct bench_result *const result = &run->result;
    if (run->options->json) {
        char text[8192];
        bench_result_json(result, text, sizeof text);
        (void)puts(text);
    } else {
        (void)printf("%-12s %-12s %10.0f events/s", result->program, result->workload,
                     bench_per_second(result->events, result->seconds));
        if (result->latency.count > 0) {
            (void)printf("  p50 %.0f us  p99 %.0f us",
                         bench_us(bench_histogram_percentile(&result->latency, 0.5)),
                         bench_us(bench_histogram_percentile(&result->latency, 0.99)));
        }
        (void)printf("  client %.2f cpus", bench_result_cpus(result));
        for (uint32_t i = 0; i < result->extras_count; i++) {
            (void)printf("  %s %.2f", result->extras[i].name, result->extras[i].value);
        }
        (void)puts("");
    }
    (void)fflush(stdout);
    if (result->errors > 0) {
        (void)fprintf(stderr, "load: %s: %" PRIu64 " operations did not end as they should\n",
                      run->workload, result->errors);
    }
    return result->errors > 0 ? 1 : 0;
}

int load_main(const char *program, const struct load_workloads *workloads, int argc, char **argv)
{
    struct load_options options;
    const struct {
        const char *name;
        int (*run)(const struct load_options *options);
    } others[] = {{"fill", workloads->fill},
                  {"readall", workloads->readall},
                  {"readstream", workloads->readstream},
                  {"live", workloads->live}};
    int code = 0;
    for (int i = load_parse(&options, program, argc, argv); i < argc && code == 0; i++) {
        struct load_shape shape;
        code = 2;
        if (load_shape_of(&options, argv[i], &shape)) {
            code = workloads->append(&options, argv[i], shape);
        }
        for (size_t j = 0; j < STELE_COUNT_OF(others); j++) {
            code = strcmp(argv[i], others[j].name) == 0 ? others[j].run(&options) : code;
        }
        if (code == 2) {
            (void)fprintf(stderr, "load-%s: no workload %s\n", program, argv[i]);
        }
    }
    return code;
}

/* ---- Names and order ---------------------------------------------------------------------------- */

uint32_t *load_fill_order(const struct load_options *options)
{
    const uint32_t count = (uint32_t)options->events;
    uint32_t *const order = bench_alloc(count, sizeof *order);
    uint64_t state = 777;
    for (uint32_t i = 0; i < count; i++) {
        order[i] = i % options->streams;
    }
    for (uint32_t i = count; i > 1; i--) {
        const uint32_t other = bench_random_below(&state, i);
        const uint32_t kept = order[i - 1];
        order[i - 1] = order[other];
        order[other] = kept;
    }
    return order;
}

size_t load_name(char to[32], const char *prefix, uint64_t number)
{
    char digits[20];
    size_t count = 0;
    do {
        digits[count++] = (char)('0' + number % 10);
        number /= 10;
    } while (number > 0);
    char *end = to;
    while (*prefix != '\0') {
        *end++ = *prefix++;
    }
    while (count > 0) {
        *end++ = digits[--count];
    }
    *end = '\0';
    return (size_t)(end - to);
}

static char run_prefix[12];

const char *load_run_prefix(void)
{
    return run_prefix;
}

void load_renew_prefix(void)
{
    (void)snprintf(run_prefix, sizeof run_prefix, "%08x-", (uint32_t)(bench_seed() >> 32));
}
