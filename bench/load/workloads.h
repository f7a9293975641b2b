/* The workloads of server-load. Each prints its result and returns the exit code. */
#ifndef BENCH_LOAD_WORKLOADS_H
#define BENCH_LOAD_WORKLOADS_H

#include "protocol.h"

int run_append(const struct load_options *options, const struct protocol *protocol,
               const char *workload, struct load_shape shape);
/* Appends --events events, a thousand under way. */
int run_fill(const struct load_options *options, const struct protocol *protocol);
int run_readall(const struct load_options *options, const struct protocol *protocol);
int run_readstream(const struct load_options *options, const struct protocol *protocol);
/* One subscriber of a stream; an append after each pause, so that everybody sleeps. */
int run_live(const struct load_options *options, const struct protocol *protocol);
/* --subscriptions of one stream. */
int run_fan(const struct load_options *options, const struct protocol *protocol);
/* --subscriptions of as many streams; then an event for every tenth. */
int run_idle(const struct load_options *options, const struct protocol *protocol);

#endif
