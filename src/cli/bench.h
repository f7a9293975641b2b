/* `stele bench`: cmd_bench.c is the command (options, the list of workloads, what is printed),
 * bench_write.c, bench_async.c and bench_live.c are the workloads that append (bench_write.h says what
 * they share), bench_read.c those that need the filled store that bench_fill.c makes, bench_kit.h is the
 * measuring. Only the public interface of the library is used.
 *
 * A workload takes what it needs from struct bench, makes or opens its store, and gives every
 * result to stele_cli_bench_report(). It returns STELE_CLI_OK or, after telling why, an exit code;
 * operations that fail while it measures are counted in the result instead. */
#ifndef STELE_CLI_BENCH_H
#define STELE_CLI_BENCH_H

#include "cli/bench_kit.h"
#include "cli/cli.h"
#include "cli/commands.h"

#define STELE_CLI_BENCH_PATH_SIZE 4096
#define STELE_CLI_BENCH_BATCH_MAX 1000u

struct bench {
    /* Options. */
    double seconds;
    double warmup;
    uint64_t events;
    uint64_t streams_count;
    uint64_t size;
    uint64_t threads;
    uint64_t in_flight;
    uint64_t batch;
    uint64_t partitions;
    uint64_t fill_batch;
    bool zipf;
    bool keep;

    char directory[STELE_CLI_BENCH_PATH_SIZE]; /* Where stores go. */
    bool directory_is_ours;                    /* Made by this run: removed in the end. */
    /* The address of a server, or NULL. Its store is there and stays: a workload that needs an empty
     * one takes streams that nobody has, and those that need a filled one fill it once a run. */
    const char *remote;
    char category[BENCH_CATEGORY_SIZE_MAX + 1];        /* What the names of streams begin with. */
    char category_filled[BENCH_CATEGORY_SIZE_MAX + 1]; /* Those of the filled store; or "". */
    struct bench_pool pool;
    bool headed; /* The head of the table was printed. */
    bool failed; /* An operation that was measured failed. */
};

struct bench_workload {
    const char *name;
    int (*run)(struct bench *bench, const struct bench_workload *workload);
    uint32_t threads; /* 0: from the options, as the next two. */
    uint32_t in_flight;
    uint32_t batch;
    bool spread;  /* Each event of a batch goes to another stream. */
    bool by_name; /* Only runs when it is asked for. */
    bool local;   /* Opens or looks at the files of a store. */
};

/* ---- cmd_bench.c ---- */

/* Prints a result, and remembers whether it had errors. first_error may be NULL. */
void stele_cli_bench_report(struct bench *bench, const struct bench_result *result,
                            const struct stele_error *first_error);

/* Opens the store at path as the options say; tells why not. */
int stele_cli_bench_open(const struct bench *bench, const char *path, struct stele **out_store);

/* Streams that nobody else has, in a store that is not for this run alone. */
void stele_cli_bench_take_category(struct bench *bench);

/* Removes a directory and what is in it. */
void stele_cli_bench_remove(const char *path);

/* ---- bench_write.c ---- */

int stele_cli_bench_append(struct bench *bench, const struct bench_workload *workload);

/* ---- bench_async.c ---- */

int stele_cli_bench_async(struct bench *bench, const struct bench_workload *workload);
int stele_cli_bench_chain(struct bench *bench, const struct bench_workload *workload);
int stele_cli_bench_growth(struct bench *bench, const struct bench_workload *workload);

/* ---- bench_live.c ---- */

int stele_cli_bench_live(struct bench *bench, const struct bench_workload *workload);
int stele_cli_bench_mixed(struct bench *bench, const struct bench_workload *workload);

/* ---- bench_fill.c ---- */

/* The streams with two known shapes that a filled store has besides its others. */
#define STELE_CLI_BENCH_LEDGER_EVENTS 10000u
enum bench_ledger {
    BENCH_LEDGER_APART,    /* Its events lie among all others. */
    BENCH_LEDGER_TOGETHER, /* They were appended in a row. */
};
void stele_cli_bench_ledger_name(const struct bench *bench, enum bench_ledger ledger,
                                 char to[BENCH_STREAM_NAME_SIZE]);

/* Fills an empty store, or streams that nobody has: bench->events events in random streams, and the ledgers. */
int stele_cli_bench_fill(struct bench *bench, struct stele *store);

/* Appends without end, adding the events that were acknowledged to *acknowledged, until the time
 * end_ns has come. Returns the first outcome that was no success. */
int stele_cli_bench_append_until(struct bench *bench, struct stele *store, uint64_t end_ns,
                                 volatile uint64_t *acknowledged);

/* ---- bench_read.c ---- */

int stele_cli_bench_readstream(struct bench *bench, const struct bench_workload *workload);
int stele_cli_bench_fold(struct bench *bench, const struct bench_workload *workload);
int stele_cli_bench_readall(struct bench *bench, const struct bench_workload *workload);
int stele_cli_bench_reopen(struct bench *bench, const struct bench_workload *workload);
int stele_cli_bench_memory(struct bench *bench, const struct bench_workload *workload);

/* Reads a stream from its start and looks at each event's data; returns an outcome. */
int stele_cli_bench_read(struct stele *store, const char *stream, uint64_t *out_count,
                         struct stele_error *err);

#endif
