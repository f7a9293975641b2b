/* A client of HTTP/2 that costs less than what it measures: connections and gRPC calls by hand.
 *
 * Client and server share the processors of one machine, so what the client takes is missing in the
 * figures. Therefore: frames are built and read in place; of headers that come back nothing is
 * decoded (an answer that is missing is the error); one thread; one receive and one send a turn for
 * each connection; and while there is one connection alone it blocks in receiving, without epoll.
 *
 * It trusts its server: windows and frame sizes are those that Stele and etcd announce, and whatever
 * does not fit ends the program with words. */
#ifndef BENCH_LOAD_H2_H
#define BENCH_LOAD_H2_H

#include "base/bytes.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct h2_conn;

/* One call. Zero-initialise, set on_message, on_end and owner; stays where it is until on_end. */
struct h2_call {
    struct h2_conn *conn;
    uint32_t id;
    int64_t window; /* What the server still takes. */
    uint64_t consumed;
    uint8_t *partial; /* A message of which something is missing. */
    size_t partial_size, partial_capacity;
    /* size and data without the five bytes in front. The message is borrowed. */
    void (*on_message)(struct h2_call *call, const uint8_t *data, size_t size);
    void (*on_end)(struct h2_call *call); /* The server has ended it. May be NULL. */
    void *owner;
    uint64_t number; /* The owner's. */
};

struct h2_loop;

/* One for the program. authorization: the header's value for each call, or NULL. */
struct h2_loop *h2_loop_create(bool tls, const char *authorization);
void h2_loop_destroy(struct h2_loop *loop); /* With its connections. */
struct h2_conn *h2_connect(struct h2_loop *loop, uint16_t port);
/* Sends what was put, waits for something, reads it. false: nothing came in so many milliseconds
 * (-1: waits for ever). */
bool h2_turn(struct h2_loop *loop, int wait_ms);
/* When this turn's bytes came (bench_now_ns). */
uint64_t h2_received_ns(const struct h2_loop *loop);

/* Opens a call. Always the same path on one connection is cheapest: its headers are then remembered
 * by both sides, as every client does it. */
void h2_call_start(struct h2_conn *conn, struct h2_call *call, const char *path);
/* May a message of so many bytes go out now? */
bool h2_call_has_room(const struct h2_call *call, size_t size);
/* Whole gRPC messages, with the five bytes in front of each. end: the last ones. */
void h2_call_send(struct h2_call *call, const void *data, size_t size, bool end);
/* Puts the five bytes in front of a message of this size, which begins behind them. */
uint8_t *h2_put_prefix(uint8_t *to, size_t size);

/* Ends the program. */
__attribute__((noreturn, format(printf, 1, 2))) void h2_fail(const char *format, ...);

#endif
