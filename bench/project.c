/* How far live read models are behind: one writer at a steady rate, projections that follow it, each
 * into an SQLite database of its own.
 *
 *     project [--kinds sql|c|rare|mixed] [--group N] [--linger MS] [--apart | --server STELE] [--json]
 *             DIRECTORY PROJECTIONS EVENTS_PER_SECOND SECONDS
 *
 * Writer and projections are one process; with --apart two, of which the second only reads the files; with
 * --server three: the store is served. The lag of an event is the time from when its append was told as
 * durable to the end of the transaction that has it in the read model. Projections keep up if at the end
 * none is behind by more than 50 ms and a hundredth of the run (one that falls behind steadily is),
 * and the writer was not slowed down. The directory must not exist. */
#include "project.h"

#include <fcntl.h>
#include <getopt.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>

#define GIVE_UP_S 60 /* So long after the writer projections are waited for. */

struct follower {
    const struct plan *plan;
    struct shared *shared;
    struct follower_state *state;
    struct stele *store;
    struct stele_projection *projection;
    struct stele_sink *sink;
    pthread_t thread;
    double cpu_s;
};

_Noreturn void project_die(struct shared *shared, const char *what, const struct stele_error *err)
{
    (void)fprintf(stderr, "project: %s: %s\n", what, err->message);
    atomic_store(&shared->failed, true);
    exit(1);
}

static double seconds_of(const struct rusage *usage)
{
    return (double)(usage->ru_utime.tv_sec + usage->ru_stime.tv_sec) +
           (double)(usage->ru_utime.tv_usec + usage->ru_stime.tv_usec) / 1e6;
}

double project_thread_cpu(void)
{
    struct rusage usage;
    (void)getrusage(RUSAGE_THREAD, &usage);
    return seconds_of(&usage);
}

/* ---- Projections ---- */

static int on_progress(void *context, const struct stele_project_progress *progress)
{
    struct follower *const follower = context;
    struct follower_state *const state = follower->state;
    struct shared *const shared = follower->shared;
    const size_t count = atomic_load(&shared->marks_count);
    const uint64_t now = bench_now_ns();
    size_t seen = atomic_load_explicit(&state->seen, memory_order_relaxed);
    const size_t before = seen;
    while (seen < count && shared->marks[seen].position <= progress->position) {
        const uint64_t at = shared->marks[seen++].at_ns;
        /* It may be in the read model before its writer is told. */
        bench_histogram_add(&state->lag, now > at ? now - at : 0);
    }
    atomic_store(&state->seen, seen);
    state->done_ns = seen > before ? now : state->done_ns;
    state->commits = progress->commits;
    state->parked = progress->parked;
    atomic_store(&state->ready, true);
    return (atomic_load(&shared->stop) && seen == count) || atomic_load(&shared->failed);
}

static void *follow(void *context)
{
    struct follower *const follower = context;
    struct stele_project_options options = STELE_PROJECT_OPTIONS_INIT;
    struct stele_error err = {0};
    options.follow = 1;
    options.linger_ms = follower->plan->linger_ms;
    options.on_progress = on_progress;
    options.context = follower;
    if (stele_project_run(follower->store, follower->projection, follower->sink, &options, NULL,
                          &err) != STELE_OK) {
        project_die(follower->shared, "follow", &err);
    }
    follower->cpu_s = project_thread_cpu();
    return NULL;
}

static void start(struct follower *follower, unsigned number)
{
    char path[600];
    struct stele_error err = {0};
    (void)snprintf(path, sizeof path, "%s/%u.db", follower->plan->directory, number);
    follower->projection =
        project_model(follower->shared, project_kind(follower->plan, number), number);
    if (stele_sink_open(path, STELE_SINK_CREATE, &follower->sink, &err) != STELE_OK ||
        pthread_create(&follower->thread, NULL, follow, follower) != 0) {
        project_die(follower->shared, "start", &err);
    }
}

static struct follower *start_all(const struct plan *plan, struct shared *shared,
                                  struct stele *store)
{
    struct follower *const followers = bench_alloc(plan->projections, sizeof *followers);
    for (unsigned i = 0; i < plan->projections; i++) {
        followers[i] = (struct follower){
            .plan = plan, .shared = shared, .state = &shared->followers[i], .store = store};
        start(&followers[i], i);
    }
    return followers;
}

static void join_all(const struct plan *plan, struct shared *shared, struct follower *followers)
{
    for (unsigned i = 0; i < plan->projections; i++) {
        (void)pthread_join(followers[i].thread, NULL);
        shared->followers_cpu_s += followers[i].cpu_s;
        stele_sink_close(followers[i].sink);
        stele_projection_destroy(followers[i].projection);
    }
    free(followers);
}

/* ---- Processes ---- */

static struct stele *open_store(struct shared *shared, const char *where, int read_only)
{
    struct stele_options options = STELE_OPTIONS_INIT;
    struct stele *store = NULL;
    struct stele_error err = {0};
    options.read_only = read_only;
    if (stele_open(where, &options, &store, &err) != STELE_OK) {
        project_die(shared, "open", &err);
    }
    return store;
}

static void wait_until_ready(const struct plan *plan, const struct shared *shared)
{
    for (unsigned i = 0; i < plan->projections; i++) {
        while (!atomic_load(&shared->followers[i].ready) && !atomic_load(&shared->failed)) {
            bench_sleep_ns(1000000);
        }
    }
}

static void wait_until_done(const struct plan *plan, struct shared *shared)
{
    const uint64_t until = bench_now_ns() + GIVE_UP_S * BENCH_NS_PER_S;
    const size_t count = atomic_load(&shared->marks_count);
    for (unsigned i = 0; i < plan->projections; i++) {
        while (atomic_load(&shared->followers[i].seen) < count && !atomic_load(&shared->failed)) {
            if (bench_now_ns() > until) {
                const struct stele_error err = {.message = "a projection never caught up"};
                project_die(shared, "wait", &err);
            }
            bench_sleep_ns(1000000);
        }
    }
}

/* Starts `stele serve` on a free port; its address is written into where. */
static pid_t serve(const struct plan *plan, struct shared *shared, const char *path, char *where,
                   size_t size)
{
    int ends[2];
    char line[400];
    const struct stele_error err = {.message = "the server did not start"};
    if (pipe(ends) != 0) {
        project_die(shared, "serve", &err);
    }
    const pid_t server = fork();
    if (server == 0) {
        const int null = open("/dev/null", O_WRONLY);
        (void)dup2(ends[1], STDOUT_FILENO);
        (void)dup2(null, STDERR_FILENO);
        (void)close(ends[0]);
        (void)execl(plan->server, "stele", "serve", "--insecure", "--store", path, "--listen",
                    "127.0.0.1:0", (char *)NULL);
        _exit(127);
    }
    (void)close(ends[1]);
    FILE *const told = fdopen(ends[0], "r");
    const char *found = NULL;
    while (told != NULL && found == NULL && fgets(line, sizeof line, told) != NULL) {
        found = strstr(line, "ready: ");
    }
    if (found == NULL) {
        project_die(shared, "serve", &err);
    }
    found += strlen("ready: ");
    (void)snprintf(where, size, "stele://%.*s", (int)strcspn(found, " \n"), found);
    return server;
}

static double end_child(pid_t child)
{
    struct rusage usage = {0};
    if (child > 0) {
        (void)wait4(child, NULL, 0, &usage);
    }
    return seconds_of(&usage);
}

/* The process of the projections, when they have one. */
static pid_t follow_apart(const struct plan *plan, struct shared *shared, const char *where)
{
    const pid_t child = fork();
    if (child != 0) {
        return child;
    }
    struct stele *const store = open_store(shared, where, plan->server == NULL);
    join_all(plan, shared, start_all(plan, shared, store));
    _exit(stele_close(store) == STELE_OK ? 0 : 1);
}

/* ---- The report ---- */

struct report {
    struct written written;
    struct bench_usage before, after;
    double cpu_s, followers_cpu_s, server_cpu_s; /* Of the processes, or of the threads. */
};

static double behind_s(const struct shared *shared, size_t behind, uint64_t ended_ns)
{
    const size_t count = atomic_load(&shared->marks_count);
    return behind == 0 ? 0 : (double)(ended_ns - shared->marks[count - behind].at_ns) / 1e9;
}

static void print_each(const struct plan *plan, const struct shared *shared,
                       const struct written *written)
{
    static const char *const names[] = {"SQL", "C", "rare"};
    (void)printf(
        "projection  behind at the end            lag p50     p99     max   transactions\n");
    for (unsigned i = 0; i < plan->projections; i++) {
        const struct follower_state *const state = &shared->followers[i];
        (void)printf("%3u %-5s %8zu events %8.3f s %8.2f %7.2f %7.1f ms %8" PRIu64 "\n", i,
                     names[project_kind(plan, i)], written->behind_end[i] * plan->group,
                     behind_s(shared, written->behind_end[i], written->ended_ns),
                     (double)bench_histogram_percentile(&state->lag, 0.5) / 1e6,
                     (double)bench_histogram_percentile(&state->lag, 0.99) / 1e6,
                     (double)state->lag.max / 1e6, state->commits);
    }
}

static void sum_up(const struct plan *plan, const struct shared *shared,
                   const struct report *report, struct bench_result *result)
{
    const struct written *const written = &report->written;
    size_t half = 0;
    size_t end = 0;
    uint64_t done_ns = written->ended_ns;
    uint64_t commits = 0;
    for (unsigned i = 0; i < plan->projections; i++) {
        const struct follower_state *const state = &shared->followers[i];
        half = written->behind_half[i] > half ? written->behind_half[i] : half;
        end = written->behind_end[i] > end ? written->behind_end[i] : end;
        done_ns = state->done_ns > done_ns ? state->done_ns : done_ns;
        commits += state->commits;
        result->errors += state->parked;
        bench_histogram_merge(&result->latency, &state->lag);
    }
    const size_t appends = atomic_load(&shared->marks_count);
    const double lag_s = behind_s(shared, end, written->ended_ns);
    const double rate = (double)appends * plan->group / written->seconds;
    result->program = "stele";
    result->workload = "project";
    result->operations = appends;
    result->events = (uint64_t)appends * plan->group;
    result->seconds = written->seconds;
    bench_result_add(result, "projections", plan->projections);
    bench_result_add(result, "behind_half_events", (double)half * plan->group);
    bench_result_add(result, "behind_end_events", (double)end * plan->group);
    bench_result_add(result, "behind_end_s", lag_s);
    bench_result_add(result, "done_after_s", (double)(done_ns - written->ended_ns) / 1e9);
    bench_result_add(result, "transactions_per_s", (double)commits / written->seconds);
    bench_result_add(result, "append_p99_ms",
                     (double)bench_histogram_percentile(&written->latency, 0.99) / 1e6);
    bench_result_add(result, "cpu_s_writer", report->cpu_s);
    bench_result_add(result, "cpu_s_projections", report->followers_cpu_s);
    bench_result_add(result, "cpu_s_server", report->server_cpu_s);
    bench_result_add(result, "keeps_up",
                     lag_s <= 0.05 + plan->seconds / 100 && rate >= 0.99 * plan->rate ? 1 : 0);
}

static double extra(const struct bench_result *result, const char *name)
{
    for (uint32_t i = 0; i < result->extras_count; i++) {
        if (strcmp(result->extras[i].name, name) == 0) {
            return result->extras[i].value;
        }
    }
    return 0;
}

static void print(const struct plan *plan, const struct shared *shared, const struct report *report)
{
    static struct bench_result result;
    char text[4096];
    sum_up(plan, shared, report, &result);
    /* Of all processes, as far as they are ours. */
    result.before = report->before;
    result.after = report->after;
    result.after.cpu_s =
        result.before.cpu_s + report->cpu_s + report->followers_cpu_s + report->server_cpu_s;
    if (plan->json) {
        bench_result_json(&result, text, sizeof text);
        (void)puts(text);
        return;
    }
    const double seconds = (double)(report->after.at_ns - report->before.at_ns) / 1e9;
    print_each(plan, shared, &report->written);
    (void)printf("written      %.0f events/s of %u for %.1f s, append p99 %.2f ms\n",
                 bench_per_second(result.events, result.seconds), plan->rate, result.seconds,
                 extra(&result, "append_p99_ms"));
    (void)printf("lag          p50 %.2f ms, p99 %.2f ms, max %.1f ms\n",
                 (double)bench_histogram_percentile(&result.latency, 0.5) / 1e6,
                 (double)bench_histogram_percentile(&result.latency, 0.99) / 1e6,
                 (double)result.latency.max / 1e6);
    (void)printf(
        "furthest     behind by %.0f events half-way, %.0f (%.3f s) at the end, done %.3f s "
        "later\n",
        extra(&result, "behind_half_events"), extra(&result, "behind_end_events"),
        extra(&result, "behind_end_s"), extra(&result, "done_after_s"));
    (void)printf("transactions %.0f/s\n", extra(&result, "transactions_per_s"));
    (void)printf("processors   %.2f %s, %.2f projections, %.2f server; %.2f others\n",
                 report->cpu_s / seconds, plan->apart ? "writer" : "writer and store",
                 report->followers_cpu_s / seconds, report->server_cpu_s / seconds,
                 bench_result_cpus_others(&result));
    (void)printf("keeps up     %s\n", extra(&result, "keeps_up") > 0 ? "yes" : "no");
}

/* ---- All of it ---- */

static void measure(const struct plan *plan, struct shared *shared, struct report *report)
{
    char path[600];
    char where[600];
    pid_t server = 0;
    pid_t child = 0;
    struct follower *followers = NULL;
    (void)snprintf(path, sizeof path, "%s/store", plan->directory);
    (void)snprintf(where, sizeof where, "%s", path);
    if (plan->server != NULL) {
        server = serve(plan, shared, path, where, sizeof where);
        child = follow_apart(plan, shared, where);
    } else if (plan->apart) {
        (void)stele_close(open_store(shared, where, 0));
        child = follow_apart(plan, shared, where);
    }
    struct stele *const store = open_store(shared, where, 0);
    if (child == 0) {
        followers = start_all(plan, shared, store);
    }
    wait_until_ready(plan, shared);
    report->before = bench_usage_now();
    project_write(plan, shared, store, &report->written);
    report->after = bench_usage_now();
    wait_until_done(plan, shared);
    atomic_store(&shared->stop, true);
    if (followers != NULL) {
        join_all(plan, shared, followers);
    }
    report->followers_cpu_s = child > 0 ? end_child(child) : shared->followers_cpu_s;
    report->cpu_s = report->after.cpu_s - report->before.cpu_s;
    report->cpu_s -= child > 0 ? 0 : report->followers_cpu_s;
    report->cpu_s = report->cpu_s > 0 ? report->cpu_s : 0;
    (void)stele_close(store);
    if (server > 0) {
        (void)kill(server, SIGTERM);
        report->server_cpu_s = end_child(server);
    }
}

static bool parse(int argc, char **argv, struct plan *plan)
{
    static const struct option options[] = {{"kinds", required_argument, NULL, 'k'},
                                            {"group", required_argument, NULL, 'g'},
                                            {"linger", required_argument, NULL, 'l'},
                                            {"apart", no_argument, NULL, 'a'},
                                            {"server", required_argument, NULL, 's'},
                                            {"json", no_argument, NULL, 'j'},
                                            {NULL, 0, NULL, 0}};
    int option;
    while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
        switch (option) {
        case 'k':
            plan->kinds = optarg;
            break;
        case 'g':
            plan->group = (unsigned)strtoul(optarg, NULL, 10);
            break;
        case 'l':
            plan->linger_ms = (unsigned)strtoul(optarg, NULL, 10);
            break;
        case 's':
            plan->server = optarg;
            plan->apart = true;
            break;
        case 'a':
            plan->apart = true;
            break;
        case 'j':
            plan->json = true;
            break;
        default:
            return false;
        }
    }
    if (argc - optind != 4) {
        return false;
    }
    plan->directory = argv[optind];
    plan->projections = (unsigned)strtoul(argv[optind + 1], NULL, 10);
    plan->rate = (unsigned)strtoul(argv[optind + 2], NULL, 10);
    plan->seconds = strtod(argv[optind + 3], NULL);
    return plan->projections > 0 && plan->projections <= PROJECTIONS_MAX && plan->rate > 0 &&
           plan->rate <= 200000 && plan->group > 0 && plan->group <= 1000 && plan->seconds > 0 &&
           plan->seconds <= 3600 && plan->rate * plan->seconds >= plan->group &&
           (strcmp(plan->kinds, "sql") == 0 || strcmp(plan->kinds, "c") == 0 ||
            strcmp(plan->kinds, "rare") == 0 || strcmp(plan->kinds, "mixed") == 0);
}

int main(int argc, char **argv)
{
    struct plan plan = {.kinds = "sql", .group = 1};
    static struct report report;
    if (!parse(argc, argv, &plan) || mkdir(plan.directory, 0700) != 0) {
        (void)fprintf(stderr,
                      "usage: project [--kinds sql|c|rare|mixed] [--group N] [--linger MS] "
                      "[--apart | --server STELE] [--json] DIRECTORY PROJECTIONS "
                      "EVENTS_PER_SECOND SECONDS\n"
                      "at most 200 projections, 200000 events/s, 3600 s; a new directory\n");
        return 2;
    }
    const size_t marks = (size_t)(plan.rate * plan.seconds / plan.group);
    struct shared *const shared = mmap(NULL, sizeof *shared + marks * sizeof *shared->marks,
                                       PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (shared == MAP_FAILED) {
        perror("project");
        return 1;
    }
    shared->marks_max = marks;
    struct stele_error err = {0};
    if (stele_sink_set_up_process(&err) != STELE_OK) {
        project_die(shared, "begin", &err);
    }
    measure(&plan, shared, &report);
    const bool failed = atomic_load(&shared->failed);
    if (!failed) {
        print(&plan, shared, &report);
    }
    return failed ? 1 : 0;
}
