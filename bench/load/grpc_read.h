/* The part of load-grpc that is C++. */
#ifndef BENCH_LOAD_GRPC_READ_H
#define BENCH_LOAD_GRPC_READ_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Connects, reads at most so many events, counts them. 0: the call failed. */
int grpc_read_all(uint16_t port, uint64_t limit, uint64_t *out_events);

#ifdef __cplusplus
}
#endif

#endif
