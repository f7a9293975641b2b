/* A server without a network: the services of src/api/kurrent on a store of its own, called through
 * exchanges that are buffers. Messages are made and read by protobuf-c, so that both sides do not
 * share a mistake. */
#ifndef STELE_TESTS_UNIT_KURRENT_BENCH_H
#define STELE_TESTS_UNIT_KURRENT_BENCH_H

#include "api/kurrent/kurrent_internal.h"
#include "api/member/alone.h"
#include "lib/fakegrpc.h"
#include "lib/scratch.h"
#include "messages.h"

#define STREAMS "/event_store.client.streams.Streams/"
#define V2 "/kurrentdb.protocol.v2.streams.StreamsService/"

typedef EventStore__Client__Streams__ReadReq ReadReq;
typedef EventStore__Client__Streams__ReadReq__Options ReadOptions;
typedef EventStore__Client__Streams__ReadResp ReadResp;
typedef EventStore__Client__Streams__AppendReq AppendReq;
typedef EventStore__Client__Streams__AppendResp AppendResp;
typedef EventStore__Client__Streams__BatchAppendReq BatchReq;
typedef EventStore__Client__Streams__BatchAppendResp BatchResp;
typedef EventStore__Client__Streams__DeleteReq DeleteReq;
typedef EventStore__Client__Streams__DeleteResp DeleteResp;

struct bench {
    struct scratch scratch;
    struct stele *store;
    struct stele_alloc alloc; /* Of the engine; its threads use it, too. */
    struct bench_alloc {
        struct stele_alloc base;
        uint64_t calls, fail_at, failures, blocks; /* fail_at 0: none. */
    } of_loop;
    struct fake_loop loop;
    struct stele_auth auth;
    struct stele_engine *engine;
    struct stele_hubs hubs;
    struct stele_server server;
    struct stele_alone alone;
    struct stele_grpc *grpc;
};

void bench_open(struct bench *bench);
void bench_close(struct bench *bench);

/* ---- Calls ---- */
void bench_call(struct bench *bench, struct stele_exchange *exchange, const char *path,
                const char *user);
void bench_send(struct bench *bench, struct stele_exchange *exchange, const void *message);
void bench_end(struct bench *bench, struct stele_exchange *exchange);
/* Waits for the status. */
int bench_status(struct bench *bench, struct stele_exchange *exchange);
/* The next message, waited for; NULL: the call ended. Released by bench_free(). */
void *bench_next(struct bench *bench, struct stele_exchange *exchange,
                 const ProtobufCMessageDescriptor *descriptor);
void bench_free(void *message);
#define NEXT_READ(bench, exchange)                                                                 \
    ((ReadResp *)bench_next(bench, exchange, &event_store__client__streams__read_resp__descriptor))
/* Runs what there is to run. Says that nothing more will come unless something happens. */
void bench_rest(struct bench *bench);

/* ---- Streams, the short way ---- */
/* Appends events with the ids number, number + 1 … of type "type-<i>", data {"n":i} and metadata
 * {"m":i}; expected: STELE_EXPECT_… or a revision. The answer has to be a success; returns the
 * position. */
uint64_t bench_append(struct bench *bench, const char *stream, uint64_t expected, uint32_t number,
                      uint32_t count);
/* The same, whatever the answer: grpc-status, and *out_response unless it is not 0. */
int bench_try_append(struct bench *bench, const char *stream, uint64_t expected, uint32_t number,
                     uint32_t count, AppendResp **out_response);
/* One event of that type, with these contents. */
uint64_t bench_append_one(struct bench *bench, const char *stream, uint32_t number,
                          const char *type, const char *data, const char *metadata, bool json);
/* Delete or Tombstone; the exchange is left open, so that its trailers can be looked at. */
int bench_delete(struct bench *bench, struct stele_exchange *exchange, const char *method,
                 const char *stream, uint64_t expected);
/* The id of event number n. */
void bench_id(uint32_t number, uint8_t id[16]);

/* A request to read, with its options in one place. stream NULL: $all. */
struct bench_read {
    ReadReq request;
    ReadOptions options;
    EventStore__Client__Streams__ReadReq__Options__StreamOptions stream;
    EventStore__Client__Streams__ReadReq__Options__AllOptions all;
    EventStore__Client__Streams__ReadReq__Options__Position position;
    EventStore__Client__StreamIdentifier identifier;
    EventStore__Client__Streams__ReadReq__Options__SubscriptionOptions subscription;
    EventStore__Client__Streams__ReadReq__Options__UUIDOption uuid;
    EventStore__Client__Streams__ReadReq__Options__ControlOption control;
    EventStore__Client__Streams__ReadReq__Options__FilterOptions filter;
    EventStore__Client__Streams__ReadReq__Options__FilterOptions__Expression expression;
    EventStore__Client__Empty empty;
    char *prefixes[4];
};
void bench_read(struct bench_read *read, const char *stream);
void bench_read_from(struct bench_read *read, uint64_t revision_or_position);
void bench_read_from_end(struct bench_read *read);
void bench_read_backwards(struct bench_read *read);
void bench_read_filter(struct bench_read *read, bool by_stream, const char *regex,
                       const char *prefix);
void bench_read_subscribe(struct bench_read *read);
/* Sends it and says what came, in words: "0@a 1@a end(0)". Links: "0@x->1@a" or "0@x->". */
const char *bench_said(struct bench *bench, struct bench_read *read, const char *user);
/* The next message of a subscription in the same words; waits for it. */
const char *bench_told(struct bench *bench, struct stele_exchange *exchange);

#endif
