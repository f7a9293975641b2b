/* The simulator's server: everything of src/ between a socket's bytes and the store, its network and
 * its clients, on the same virtual time, disk and crashes as the rest of the simulator.
 *
 *     guest     what a run is like, the hooks of ../sim.h, totals
 *     engine    struct stele_engine on the simulated store; each append is the model's business, too
 *     host      the server's life: up, orderly down, dead in the middle of anything
 *     net       links: two pipes that carry bytes in pieces, late, or not any more
 *     peer      a client's end: HTTP/2 on nghttp2, gRPC messages, reconnecting
 *     message   what goes into messages, and comes out
 *     truth     what a subscriber has to be told: the model's order, filtered
 *     follower  catch-up subscriptions of both services
 *     appender  appends that are repeated until their outcome is known
 *     group     persistent subscriptions and their consumers
 *
 * Nothing of the server is replaced but sockets, threads and the clock: its loops' tasks and timers
 * are steps that other events come between. */
#ifndef STELE_TESTS_SIM_SERVER_SERVER_H
#define STELE_TESTS_SIM_SERVER_SERVER_H

#include "api/member/alone.h"
#include "api/server.h"
#include "grpc/call.h"
#include "http/http.h"
#include "lib/simloop.h"
#include "pb/pb.h"
#include "sim/sim.h"
#include "subs/groups.h"

#define SRV_LOOPS_MAX 3
#define SRV_PEERS_MAX 40
#define SRV_LINKS_MAX 96
#define SRV_FOLLOWERS_MAX 12
#define SRV_APPENDERS_MAX 6
#define SRV_GROUPS_MAX 4
#define SRV_CONSUMERS_MAX 4 /* Of one group. */
#define SRV_HELD_MAX 32     /* Events that a consumer has not answered. */

struct srv;
struct srv_link;
struct srv_peer;
struct srv_call;

/* ---- guest.c ---- */

struct srv_config {
    uint32_t loops;
    uint64_t turn_us; /* Mean between two steps of a loop. */
    struct stele_http_limits limits;
    uint32_t alloc_one_in; /* Of the server's own memory. */
    /* The network. Means; 0: never. */
    uint64_t delay_us;
    uint32_t piece_max;    /* Bytes that arrive together. */
    uint32_t tiny_percent; /* Of pieces: a few bytes. */
    uint32_t pipe_size;
    uint64_t reset_us;
    uint32_t half_open_percent; /* Of resets: nobody is told. */
    uint64_t stall_us;          /* A link carries nothing for a while. */
    /* Clients. */
    uint32_t appenders, followers, groups;
    uint64_t think_us;
    uint32_t slow_percent; /* Of followers. */
    uint32_t window_min, window_max;
    uint64_t leave_us;                   /* Followers and consumers go and come back. */
    uint32_t hang_percent, nack_percent; /* Of a consumer's events. */
    uint64_t replay_us;
};

enum srv_count {
    SRV_LINKS,
    SRV_RESETS,
    SRV_HALF_OPEN,
    SRV_STALLS,
    SRV_BYTES,
    SRV_PIECES,
    SRV_APPENDS,
    SRV_REPEATED,
    SRV_REFUSED,
    SRV_SUBSCRIPTIONS,
    SRV_EVENTS,
    SRV_CHECKPOINTS,
    SRV_RESUMED_AT_CHECKPOINT,
    SRV_CAUGHT_UP,
    SRV_CONSUMERS,
    SRV_GROUP_EVENTS,
    SRV_REDELIVERED,
    SRV_ACKED,
    SRV_NACKED,
    SRV_PARKED,
    SRV_REPLAYS,
    SRV_DRAINS,
    SRV_NO_MEMORY,
    SRV_COUNTS
};
_Static_assert(SRV_COUNTS <= SIM_GUEST_COUNTS, "counts have a place");

/* ---- engine.c ---- */

struct srv_engine {
    struct stele_engine base;
    struct sim *sim;
    struct srv *srv;
    bool dying; /* Answers nothing any more. */
    uint32_t readings, appends;
    struct srv_station {
        struct srv_engine *engine;
        struct stele_loop *loop;
        struct stele_task task;
        bool posted;
        struct stele_watch *first, *next_told;
    } stations[SRV_LOOPS_MAX];
};

void srv_engine_init(struct srv_engine *engine, struct sim *sim);
void srv_engine_visible(struct srv_engine *engine);

/* ---- host.c ---- */

enum srv_closing { SRV_OPEN, SRV_DRAINING, SRV_TOLD, SRV_STOPPING, SRV_DOWN };

struct srv_host {
    bool up;
    enum srv_closing closing;
    uint64_t closing_us;
    bool groups_stopped;
    struct stele_task stopped;
    struct testalloc alloc;
    struct srv_engine engine;
    struct simloop loops[SRV_LOOPS_MAX];
    /* The step that is scheduled: what it is for, UINT64_MAX if there is none. */
    uint64_t turn_due_us[SRV_LOOPS_MAX], turn_number[SRV_LOOPS_MAX], turns;
    struct stele_hubs hubs;
    struct stele_server server;
    struct stele_alone alone;
    struct stele_grpc *grpc;
    struct stele_http_events events;
};

void srv_host_up(struct sim *sim);
/* Dead, or after an orderly end: nothing is left. */
void srv_host_down(struct sim *sim);
/* One step of an orderly end; true: it has come. */
bool srv_host_close(struct sim *sim);
/* After whatever may have given the loops something to do. */
void srv_host_wake(struct sim *sim);
void srv_host_check(struct sim *sim);
/* The time of a loop is that of the simulation while something of it runs. */
struct simloop *srv_host_enter(struct sim *sim, uint32_t loop);

/* ---- net.c ---- */

struct srv_pipe {
    uint8_t *bytes;
    size_t size, capacity;
    bool carrying;
    bool ended; /* No more comes behind these. */
};

struct srv_link {
    bool used;
    uint32_t number;
    uint32_t loop;
    bool cut; /* Carries nothing any more. */
    uint64_t stalled_until_us;
    struct srv_pipe up, down;     /* To the server, to the client. */
    struct stele_http_conn *conn; /* NULL: the server's end is closed. */
    bool flushing;
    struct srv_peer *peer; /* NULL: the client's end is closed. */
};

/* Connects, sooner or later or not at all: srv_peer_connected(), srv_peer_lost(). NULL: no room. */
struct srv_link *srv_link_open(struct sim *sim, struct srv_peer *peer);
/* The client hangs up. */
void srv_link_close(struct sim *sim, struct srv_link *link);
/* The client has bytes: how many fit? */
size_t srv_link_room(const struct sim *sim, const struct srv_link *link);
void srv_link_send(struct sim *sim, struct srv_link *link, struct stele_bytes bytes);
/* The server's ends are gone at once. */
void srv_net_server_died(struct sim *sim);
/* The server's end has something to send. */
void srv_link_flush(struct sim *sim, struct srv_link *link);
/* The last of the server's ends has gone. */
bool srv_net_is_empty(const struct sim *sim);
void srv_net_start(struct sim *sim);
void srv_net_end(struct sim *sim);

/* ---- peer.c ---- */

/* One call of a client. Embedded in an actor; zero means none. */
struct srv_call {
    struct srv_peer *peer; /* NULL: no call. */
    struct srv_call *next; /* Of the peer's. */
    int32_t id;
    bool slow;        /* Messages are taken by srv_call_next() only. */
    bool ended;       /* The server has. */
    int status;       /* grpc-status, -1: none came. */
    char outcome[32]; /* The trailer "stele-outcome". */
    uint8_t *in;
    size_t in_size, in_capacity, in_whole; /* in_whole: bytes of whole messages. */
    size_t owed;                           /* Bytes whose room in the window was not given back. */
    uint8_t *out;
    size_t out_size, out_at, out_capacity;
    bool out_end, deferred;
    void *owner;
    void (*on_message)(struct sim *sim, struct srv_call *call, struct stele_bytes message);
    /* Once, unless it was cancelled before. */
    void (*on_end)(struct sim *sim, struct srv_call *call);
};

struct srv_peer {
    bool used;
    uint32_t number;
    uint32_t window;
    struct srv_link *link;
    bool connected;
    bool again; /* A new connection is scheduled. */
    bool told_goaway;
    struct nghttp2_session *session;
    struct srv_call *calls;
    void *actor;
    void (*on_connected)(struct sim *sim, void *actor);
    bool in_callback, drop;
    void *user;
};

struct srv_peer *srv_peer_create(struct sim *sim, uint32_t window, void *actor,
                                 void (*on_connected)(struct sim *sim, void *actor));
void srv_peer_destroy(struct sim *sim, struct srv_peer *peer);
/* From the network. */
void srv_peer_connected(struct sim *sim, struct srv_peer *peer);
void srv_peer_lost(struct sim *sim, struct srv_peer *peer);
void srv_peer_feed(struct sim *sim, struct srv_peer *peer, struct stele_bytes bytes);
void srv_peer_flush(struct sim *sim, struct srv_peer *peer);
/* false: not connected. The fields before `owner` are set by this. */
bool srv_call_start(struct sim *sim, struct srv_peer *peer, struct srv_call *call,
                    const char *path);
void srv_call_send(struct sim *sim, struct srv_call *call, struct stele_bytes message, bool end);
void srv_call_cancel(struct sim *sim, struct srv_call *call);
/* Of a slow one: hands one message to on_message. false: there is none. */
bool srv_call_next(struct sim *sim, struct srv_call *call);
static inline bool srv_call_is_on(const struct srv_call *call)
{
    return call->peer != NULL;
}
/* Hangs up and comes again. */
void srv_peer_drop(struct sim *sim, struct srv_peer *peer);

/* ---- message.c ---- */

/* A message that is being made; bounded, so that nothing has to be released. */
struct srv_message {
    size_t size;
    uint8_t bytes[65536];
};

void srv_put_u64(struct srv_message *message, uint32_t field, uint64_t value);
void srv_put_bytes(struct srv_message *message, uint32_t field, const void *data, size_t size);
void srv_put_text(struct srv_message *message, uint32_t field, const char *text);
size_t srv_put_begin(struct srv_message *message, uint32_t field);
void srv_put_end(struct srv_message *message, size_t mark);
/* event_store.client.StreamIdentifier, UUID as fields. */
void srv_put_stream(struct srv_message *message, uint32_t field, const char *name);
void srv_put_uuid(struct srv_message *message, uint32_t field, const uint8_t id[16]);
struct stele_bytes srv_message(const struct srv_message *message);
/* The first such field of a message; false: none. */
bool srv_get(struct stele_bytes message, uint32_t number, struct stele_pb_field *out_field);
uint64_t srv_get_u64(struct stele_bytes message, uint32_t number);
bool srv_get_uuid(struct stele_bytes message, uint8_t id[16]);
/* google.protobuf.Timestamp, in microseconds. */
uint64_t srv_get_timestamp(struct stele_bytes message);

/* An event as it came. Borrowed. */
struct srv_event {
    uint64_t position, revision;
    uint8_t id[16];
    struct stele_bytes stream, type, data;
    bool tombstone; /* Its revision is not told. */
};
/* RecordedEvent of streams and of persistent subscriptions; stele.v1.Event. */
bool srv_get_recorded(struct stele_bytes message, struct srv_event *out_event);
bool srv_get_native(struct stele_bytes message, struct srv_event *out_event);

/* ---- truth.c ---- */

enum srv_kind { SRV_ALL, SRV_STREAM, SRV_CATEGORY, SRV_TYPE };

/* What somebody wants. */
struct srv_want {
    enum srv_kind kind;
    bool hides;    /* The bookkeeping of groups that read everything is left out of $all. */
    char name[64]; /* Of the stream, category or type. */
    struct stele_filter filter;
    bool filtered;
    char text[64];
    const char *texts[1];
};

/* The index of an event in the model, which it must equal. */
uint32_t srv_truth_find(struct sim *sim, const struct srv_event *event, const char *who);
bool srv_truth_wants(const struct sim *sim, const struct srv_want *want, uint32_t index);
/* May it be missing in what a subscriber is told? */
bool srv_truth_may_lack(const struct sim *sim, const struct srv_want *want, uint32_t index);
/* The first event from `from` on that a subscriber must be told, below `end`; end: none. */
uint32_t srv_truth_next(const struct sim *sim, const struct srv_want *want, uint32_t from,
                        uint32_t end);
/* The first index with a greater position; of a stream: with a greater revision. */
uint32_t srv_truth_after_position(const struct sim *sim, uint64_t position);
uint64_t srv_truth_hash(uint64_t hash, const struct sim *sim, uint32_t index);
uint64_t srv_event_hash(uint64_t hash, const struct srv_event *event);
/* Of the server's clock: since when the event can be seen. */
uint64_t srv_truth_visible_us(const struct sim *sim, uint32_t index);
void srv_truth_visible(struct sim *sim);

/* ---- follower.c ---- */

struct srv_follower {
    uint32_t number;
    struct srv_want want;
    bool native;
    bool slow;
    bool by_checkpoint; /* Goes on at checkpoints only. */
    bool reading;       /* Slow: the next read is scheduled. */
    uint32_t credits, credits_left;
    struct srv_peer *peer;
    struct srv_call call;
    bool confirmed, caught_up;
    uint64_t started_us;
    bool again;
    bool closed; /* The stream is tombstoned: there is nothing to follow any more. */
    /* How far. */
    uint32_t at; /* Everything wanted before it was told. */
    bool has_place;
    uint64_t place; /* Goes on after this revision or position. */
    uint64_t events;
    uint64_t hash_told, hash_true;
};

void srv_follower_start(struct sim *sim, struct srv_follower *follower, uint32_t number);
bool srv_follower_is_at_peace(const struct sim *sim, const struct srv_follower *follower);
void srv_follower_end(struct sim *sim, struct srv_follower *follower);

/* ---- appender.c ---- */

enum srv_way { SRV_APPEND, SRV_BATCH, SRV_NATIVE, SRV_STREAMING, SRV_WAYS };

#define SRV_BATCH_MAX 6

struct srv_appender {
    uint32_t number;
    struct srv_peer *peer;
    struct srv_call call;
    bool busy;
    bool sent; /* In this call. */
    uint32_t tries;
    enum srv_way way;
    char stream[64];
    uint64_t expected;
    uint32_t count;
    uint8_t ids[SRV_BATCH_MAX][16];
    char types[SRV_BATCH_MAX][24];
    char data[SRV_BATCH_MAX][2048];
    char metadata[SRV_BATCH_MAX][64];
    uint64_t correlation;
    uint64_t patience; /* The number of the call that is waited for. */
};

void srv_appender_start(struct sim *sim, struct srv_appender *appender, uint32_t number);
void srv_appender_end(struct sim *sim, struct srv_appender *appender);
/* None of what was refused is there. */
void srv_appender_check_refused(struct sim *sim);

/* ---- group.c ---- */

struct srv_group;

struct srv_consumer {
    struct srv_group *group;
    uint32_t number;
    struct srv_peer *peer;
    struct srv_call call;
    bool confirmed, again;
    uint32_t buffer_size;
    struct srv_held {
        bool used;
        uint64_t number; /* None is given twice. */
        uint32_t index;  /* Of the model. */
        uint8_t id[16];
    } held[SRV_HELD_MAX];
    uint32_t held_count;
    /* Pinned: the last first delivery of each stream in this call. */
    uint32_t *last_of_stream;
    uint32_t last_capacity;
};

/* What became of an event that a group wants. */
struct srv_answered {
    uint64_t life; /* Of the process that it was handed out in last; 0: never. */
    bool done;     /* Acknowledged, or skipped on request. */
};

struct srv_group {
    uint32_t number;
    char name[24];
    struct srv_want want;
    uint32_t strategy;
    int32_t max_retries;
    uint32_t timeout_ms; /* 0: none. */
    bool created, asked_replay, replays;
    struct srv_peer *peer; /* Who makes it and asks for replays. */
    struct srv_call call;
    bool again;
    struct srv_consumer consumers[SRV_CONSUMERS_MAX];
    uint32_t consumers_count;
    uint32_t done_to;            /* Every event before was answered for, or need not be. */
    struct srv_answered *states; /* Of each event of the model. */
    uint32_t states_capacity;
};

void srv_group_start(struct sim *sim, struct srv_group *group, uint32_t number);
void srv_group_calm(struct sim *sim, struct srv_group *group);
bool srv_group_is_at_peace(const struct sim *sim, struct srv_group *group);
/* Of one that is not at peace: why. */
void srv_group_print(const struct sim *sim, struct srv_group *group);
void srv_group_check_done(struct sim *sim, struct srv_group *group);
void srv_group_end(struct sim *sim, struct srv_group *group);

/* ---- All of it ---- */

struct srv {
    struct srv_config config;
    struct rng rng_net, rng_clients;
    struct srv_host host;
    struct srv_link links[SRV_LINKS_MAX];
    struct srv_peer peers[SRV_PEERS_MAX];
    struct srv_follower followers[SRV_FOLLOWERS_MAX];
    struct srv_appender appenders[SRV_APPENDERS_MAX];
    struct srv_group groups[SRV_GROUPS_MAX];
    uint64_t next_id, held_numbers;
    uint32_t links_made;
    uint64_t *visible_us; /* Of each event of the model. */
    uint32_t visible_count, visible_capacity;
    uint8_t (*refused)[16];
    size_t refused_count, refused_capacity;
    size_t event_size_max;      /* Of all that were appended. */
    struct srv_message message; /* For whoever makes one. */
};

static inline struct srv *srv_of(const struct sim *sim)
{
    return sim->guest;
}

static inline void srv_count(struct sim *sim, enum srv_count what, uint64_t count)
{
    sim->stats.guest[what] += count;
}

/* The server's wall clock: steady, so that what it stamps can be compared with what was when. */
#define SRV_WALL_US UINT64_C(1750000000000000)
#define SRV_LOOP_START_US 1000000

static inline uint64_t srv_now_wall_us(const struct sim *sim)
{
    return SRV_WALL_US + SRV_LOOP_START_US + sim->now_us;
}

#endif
