/* How far live read models are behind: one writer at a steady rate, projections that follow it in the
 * same process, each into an SQLite database of its own.
 *
 *     project DIRECTORY PROJECTIONS EVENTS_PER_SECOND SECONDS
 *
 * The lag of an event is the time from the end of its append to the end of the transaction that has it
 * in the read model. The directory must not exist. */
#include <stele/sinks.h>

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>

#define GROUPS_A_SECOND 200u /* Appends; each has its share of the events. */
#define PROJECTIONS_MAX 200u

static const char text[] =
    "-- @projection totals\n-- @version 1\n-- @category account\n-- @tables\nCREATE TABLE accounts "
    "(account TEXT PRIMARY KEY, cents INTEGER NOT NULL, entries INTEGER NOT NULL);\n-- @on "
    "Deposited\nINSERT INTO accounts (account, cents, entries) VALUES (:stream, :data ->> "
    "'$.cents', "
    "1) ON CONFLICT (account) DO UPDATE SET cents = accounts.cents + excluded.cents, entries = "
    "accounts.entries + 1;\n";

/* When the groups were durable. */
struct mark {
    uint64_t position;
    double time;
};

static struct mark *marks;
static atomic_size_t marks_count;
static atomic_bool stop;

struct follower {
    struct stele *store;
    struct stele_projection *projection;
    struct stele_sink *sink;
    size_t seen; /* Marks that are in the read model. */
    double *lags;
    pthread_t thread;
    int outcome;
    struct stele_error err;
};

static double now(void)
{
    struct timespec time;
    (void)clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

static int on_progress(void *context, const struct stele_project_progress *progress)
{
    struct follower *const follower = context;
    const size_t count = atomic_load(&marks_count);
    const double time = now();
    while (follower->seen < count && marks[follower->seen].position <= progress->position) {
        const double lag = time - marks[follower->seen].time;
        follower->lags[follower->seen++] = lag > 0 ? lag : 0;
    }
    return atomic_load(&stop) && follower->seen == count;
}

static void *follow(void *context)
{
    struct follower *const follower = context;
    struct stele_project_options options = STELE_PROJECT_OPTIONS_INIT;
    options.follow = 1;
    options.on_progress = on_progress;
    options.context = follower;
    follower->outcome = stele_project_run(follower->store, follower->projection, follower->sink,
                                          &options, NULL, &follower->err);
    return NULL;
}

static void die(const char *what, const struct stele_error *err)
{
    (void)fprintf(stderr, "project: %s: %s\n", what, err->message);
    exit(1);
}

static void start(struct follower *follower, struct stele *store, const char *directory, unsigned i,
                  size_t groups)
{
    char path[600];
    struct stele_error err = {0};
    (void)snprintf(path, sizeof path, "%s/%u.db", directory, i);
    follower->store = store;
    follower->lags = calloc(groups, sizeof *follower->lags);
    if (stele_projection_parse("bench", text, strlen(text), &follower->projection, &err) != 0 ||
        stele_sink_open(path, STELE_SINK_CREATE, &follower->sink, &err) != 0 ||
        pthread_create(&follower->thread, NULL, follow, follower) != 0) {
        die("start", &err);
    }
}

static void append_group(struct stele *store, unsigned count, unsigned *number)
{
    struct stele_event_draft drafts[1000];
    char stream[32];
    struct stele_append_result result;
    struct stele_error err = {0};
    static const char data[] =
        "{\"cents\":5,\"currency\":\"EUR\",\"note\":\"some words about it\"}";
    (void)snprintf(stream, sizeof stream, "account-%u", (*number)++ * 7919 % 10000);
    for (unsigned i = 0; i < count; i++) {
        drafts[i] = (struct stele_event_draft){
            .type = "Deposited", .data = data, .data_size = sizeof data - 1};
    }
    if (stele_append(store, stream, STELE_EXPECT_ANY, drafts, count, &result, &err) != 0) {
        die("append", &err);
    }
    const size_t at = atomic_load(&marks_count);
    marks[at] = (struct mark){.position = result.position_last, .time = now()};
    atomic_store(&marks_count, at + 1);
}

static void write_all(struct stele *store, unsigned rate, size_t groups)
{
    const double began = now();
    unsigned number = 0;
    for (size_t i = 0; i < groups; i++) {
        const double due = began + (double)i / GROUPS_A_SECOND;
        const double left = due - now();
        if (left > 0) {
            const struct timespec time = {.tv_nsec = (long)(left * 1e9)};
            (void)nanosleep(&time, NULL);
        }
        append_group(store, rate / GROUPS_A_SECOND, &number);
    }
    (void)printf("written    %.0f events/s\n",
                 (double)(rate / GROUPS_A_SECOND) * (double)groups / (now() - began));
}

static int by_value(const void *a, const void *b)
{
    const double x = *(const double *)a;
    const double y = *(const double *)b;
    return x < y ? -1 : x > y ? 1 : 0;
}

int main(int argc, char **argv)
{
    if (argc != 5) {
        (void)fprintf(stderr, "usage: project DIRECTORY PROJECTIONS EVENTS_PER_SECOND SECONDS\n");
        return 2;
    }
    const unsigned count = (unsigned)strtoul(argv[2], NULL, 10);
    const unsigned rate = (unsigned)strtoul(argv[3], NULL, 10);
    const size_t groups = strtoul(argv[4], NULL, 10) * GROUPS_A_SECOND;
    static struct follower followers[PROJECTIONS_MAX];
    struct stele *store = NULL;
    struct stele_error err = {0};
    char path[600];
    if (count == 0 || count > PROJECTIONS_MAX || rate < GROUPS_A_SECOND ||
        rate / GROUPS_A_SECOND > 1000 || groups == 0 || mkdir(argv[1], 0700) != 0) {
        (void)fprintf(stderr,
                      "project: 1 to 200 projections, 200 to 200000 events/s, a new directory\n");
        return 2;
    }
    (void)snprintf(path, sizeof path, "%s/store", argv[1]);
    if (stele_open(path, NULL, &store, &err) != STELE_OK) {
        die("open", &err);
    }
    marks = calloc(groups, sizeof *marks);
    for (unsigned i = 0; i < count; i++) {
        start(&followers[i], store, argv[1], i, groups);
    }
    write_all(store, rate, groups);
    const double ended = now();
    atomic_store(&stop, true);
    double *const all = calloc(groups * count, sizeof *all);
    for (unsigned i = 0; i < count; i++) {
        (void)pthread_join(followers[i].thread, NULL);
        if (followers[i].outcome != STELE_OK) {
            die("follow", &followers[i].err);
        }
        memcpy(all + i * groups, followers[i].lags, groups * sizeof *all);
        stele_sink_close(followers[i].sink);
        stele_projection_destroy(followers[i].projection);
        free(followers[i].lags);
    }
    const double behind = now() - ended;
    qsort(all, groups * count, sizeof *all, by_value);
    struct rusage usage;
    (void)getrusage(RUSAGE_SELF, &usage);
    (void)printf("lag        p50 %.2f ms  p99 %.2f ms  max %.2f ms\n",
                 all[groups * count / 2] * 1e3, all[groups * count * 99 / 100] * 1e3,
                 all[groups * count - 1] * 1e3);
    (void)printf("at the end the last one was done %.2f s after the writer; CPU %.1f s\n", behind,
                 (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
                     (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6);
    free(all);
    free(marks);
    return stele_close(store);
}
