/* Appends a long sequence of events of many streams, fast, in order, and repeatably.
 *
 * The order of the sequence is the order of the events in the store, also across streams. So one
 * append holds only events of one stream that follow each other, which may be few; to be fast all
 * the same, many appends are under way at once and share the disk's flushes.
 *
 * If an append fails while later ones are under way, none of the later events of that stream may be
 * stored, because a repetition would then store the failed ones behind them. So every append
 * expects the exact revision that the one before it leaves behind; it fails with it.
 *
 * One thread uses a pipeline. Memory is bounded by the constants in pipeline.c. */
#ifndef STELE_CLI_PIPELINE_H
#define STELE_CLI_PIPELINE_H

#include "cli/arena.h"
#include "cli/event.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stele.h>

struct stele_cli_pipeline;

struct stele_cli_pipeline_counts {
    uint64_t events; /* In the store now. */
    uint64_t known;  /* Of these, stored by an earlier run. */
    uint64_t tombstones;
    uint64_t streams;
    bool streams_exact; /* 0: there are more streams than were counted. */
    uint64_t line_last; /* Everything up to this line is in the store. */
};

/* run_max: events of one append at most. name is where the lines come from, for messages. */
struct stele_cli_pipeline *stele_cli_pipeline_create(struct stele *store, const char *name,
                                                     size_t run_max);
/* Waits for what is under way, whatever becomes of it. */
void stele_cli_pipeline_destroy(struct stele_cli_pipeline *pipeline);

/* Reads one line and takes it in. Tells what fails, which may be an earlier line's append; returns
 * an exit code. After a failure only destroy may follow. */
int stele_cli_pipeline_line(struct stele_cli_pipeline *pipeline, struct stele_text line,
                            uint64_t number);
/* Appends everything that was taken in; more may follow. Tells what fails; returns an exit code. */
int stele_cli_pipeline_finish(struct stele_cli_pipeline *pipeline);

struct stele_cli_pipeline_counts
stele_cli_pipeline_counts(const struct stele_cli_pipeline *pipeline);
/* Lines that had no id, of those taken in. */
uint64_t stele_cli_pipeline_without_id(const struct stele_cli_pipeline *pipeline);

#endif
