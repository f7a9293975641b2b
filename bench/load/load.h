/* What the load programs share: options, the time of a run, the line of result. server-load speaks
 * HTTP/2 (Stele, etcd, the bare echo), load-redis and load-postgres speak to those. */
#ifndef BENCH_LOAD_LOAD_H
#define BENCH_LOAD_LOAD_H

#include "cli/bench_kit.h"

struct load_options {
    const char *program; /* Printed as such. */
    uint16_t port;
    bool tls;
    const char *authorization;
    double seconds, warmup;
    uint64_t events;
    uint32_t streams;
    uint32_t data_size;
    /* Of the workload "append": connections, appends of each under way, events of each append. */
    uint32_t connections, in_flight, batch;
    uint32_t subscriptions;
    long pid; /* Of the server; 0: its processor time is not looked at. */
    bool json;
};

/* A workload that appends, as names say: append64 is {1, 64, 1}. */
struct load_shape {
    uint32_t connections, in_flight, batch;
};

/* One run. */
struct load_run {
    const struct load_options *options;
    const char *workload;
    struct bench_result result;
    uint64_t begin_ns, end_ns; /* What began between them counts. */
    double server_cpu_s;
};

/* Ends the program with words on what is wrong; returns the first workload in argv. */
int load_parse(struct load_options *options, const char *program, int argc, char **argv);
/* false: the name is none of a workload that appends. */
bool load_shape_of(const struct load_options *options, const char *workload,
                   struct load_shape *out_shape);

/* Warms up, then measures: times from now. */
void load_begin(struct load_run *run, const struct load_options *options, const char *workload);
/* For what has no duration of its own, but a count. */
void load_begin_now(struct load_run *run, const struct load_options *options, const char *workload);
/* An operation that began at started_ns has ended. One that outlasted the whole run (a disk that stood
 * still) begins it anew: no run ends without a figure. */
static inline void load_done(struct load_run *run, uint64_t started_ns, uint64_t now_ns,
                             uint64_t events, bool good)
{
    if (!good) {
        run->result.errors++;
    } else if (started_ns >= run->begin_ns && now_ns <= run->end_ns) {
        run->result.operations++;
        run->result.events += events;
        bench_histogram_add(&run->result.latency, now_ns - started_ns);
    } else if (now_ns > run->end_ns && run->result.operations == 0) {
        run->end_ns = now_ns + (run->end_ns - run->begin_ns);
        run->begin_ns = now_ns;
    }
}
/* Takes what the machine did, at the end of the measured time. */
void load_end(struct load_run *run);
/* Prints; returns the exit code. */
int load_report(struct load_run *run);

/* What a program for one server can do; each returns an exit code. */
struct load_workloads {
    int (*append)(const struct load_options *options, const char *workload,
                  struct load_shape shape);
    int (*fill)(const struct load_options *options);
    int (*readall)(const struct load_options *options);
    int (*readstream)(const struct load_options *options);
    int (*live)(const struct load_options *options);
};
/* main() of such a program: runs what argv names, one after the other. */
int load_main(const char *program, const struct load_workloads *workloads, int argc, char **argv);

/* The order in which a store is filled: each stream gets events / streams events, in random places.
 * The same for every program. Release with free(). */
uint32_t *load_fill_order(const struct load_options *options);

/* Names: fill-7 of filled streams, and of this run's own. Returns the size. */
size_t load_name(char to[32], const char *prefix, uint64_t number);
/* Of this run's own streams; another one after each renewal, in every process. */
const char *load_run_prefix(void);
void load_renew_prefix(void);

#endif
