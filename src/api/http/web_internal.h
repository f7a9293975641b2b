/* What the files of src/api/http share. */
#ifndef STELE_API_HTTP_WEB_INTERNAL_H
#define STELE_API_HTTP_WEB_INTERNAL_H

#include "api/cluster.h"
#include "api/http/web.h"
#include "subs/follow.h"

#include <stdatomic.h>

#define STELE_WEB__BODY_MAX ((size_t)STELE_APPEND_SIZE_MAX + (size_t)1024 * 1024)
#define STELE_WEB__PAGE_MAX 4096
#define STELE_WEB__VALUES_MAX 16                    /* Of one name in a query. */
#define STELE_WEB__PENDING_MAX ((size_t)256 * 1024) /* Of one connection. */

struct stele_web {
    struct stele_server *server;
    struct stele_alloc *alloc;
    _Atomic uint64_t requests;
    _Atomic uint64_t by_class[6]; /* Answers 1xx … 5xx; [0]: none. */
    _Atomic uint64_t tails;       /* Open now. */
    _Atomic uint64_t appended;    /* Events by this way. */
    _Atomic uint64_t read;
};

/* A request on its way. Freed when the exchange is closed and nothing holds it. */
struct stele_web__request {
    struct stele_auth_question question;
    struct stele_task task; /* A read's next piece. */
    struct stele_appending appending;
    struct stele_linearizing linearizing;
    struct stele_timer timer; /* A tail's heartbeat. */
    struct stele_web *web;
    struct stele_exchange *exchange; /* NULL: closed. */
    struct stele_loop *loop;
    uint32_t refs;
    enum stele_route route;
    struct stele_principal *principal;
    struct stele_buf body;
    bool body_ended;
    bool answered; /* Who is calling is known, or that it will not be. */
    bool allowed;
    bool entered;           /* It counts in the quota of its user. */
    uint32_t retry_after_s; /* Of a refusal; 0: not said. */
    char *location;         /* Of one that leads elsewhere; NULL: not said. */
    size_t location_size;
    size_t unconsumed; /* Bytes of the body that wait for the answer: strangers send one window. */
    size_t body_kept;  /* Bytes of the body that the quota knows of. */
    bool started;
    bool posted;

    char *authorization; /* A copy: the answer may come after the exchange has gone. */
    size_t authorization_size;
    char peer[80];
    char allow[64]; /* The methods of a path that was asked with another. */
    char *name;     /* What "*" of the route stands for, decoded; behind it nothing. */
    size_t name_size;
    struct stele_text query;

    /* Reads. */
    struct stele_reading *reading;
    const struct stele_event *events; /* At hand, until the next ones are. */
    size_t events_count, events_at;
    uint64_t left;
    bool first;
    bool backwards;
    uint64_t next_from;
    uint64_t last_position;
    bool cloudevents;

    /* Tails. */
    struct stele_follow *follow;
    bool stalled;
    bool is_stream;
    bool quiet;
    uint64_t generation; /* Of rights, when they were last looked at. */

    /* Appends. */
    uint64_t count;
};

typedef void (*stele_web__handler)(struct stele_web__request *request);

void stele_web__hold(struct stele_web__request *request);
void stele_web__release(struct stele_web__request *request);

/* ---- Answers ---- */
void stele_web__answer(struct stele_web__request *request, int status, const char *content_type,
                       struct stele_bytes body);
void stele_web__answer_buf(struct stele_web__request *request, int status, const char *content_type,
                           const struct stele_buf *body);
/* Whoever asks for much and takes nothing would have the server keep the answers. true: an answer of
 * this size has no room on its connection, and the request was refused. Reads and tails wait by
 * themselves, what is small is given all the same. */
bool stele_web__is_crowded(struct stele_web__request *request, size_t size);
/* With 200 and the body, or with 503 if there was no memory to build it. Releases the body. */
void stele_web__answer_built(struct stele_web__request *request, bool fits,
                             const char *content_type, struct stele_buf *body);
STELE_PRINTF(4, 5)
void stele_web__refuse(struct stele_web__request *request, int status, const char *error,
                       const char *format, ...);
/* By the outcome: 404, 409, 410, 413, 422, 503, … */
void stele_web__fail(struct stele_web__request *request, int outcome,
                     const struct stele_error *err);
/* What is read or tailed; data NULL: all events. */
struct stele_text stele_web__subject(const struct stele_web__request *request);
bool stele_web__may(struct stele_web__request *request, const char *stream, enum stele_right right);

/* ---- The cluster ---- */
/* The request is for the node that leads: says where that is, with 307 or with 421. */
void stele_web__refuse_elsewhere(struct stele_web__request *request, bool redirect);
/* true: the handler is called when this node has seen what was acknowledged before. */
bool stele_web__linearize(struct stele_web__request *request);
/* Members of /info about this node: its state, and the cluster if there is one. false: no memory. */
bool stele_web__put_self(struct stele_buf *body, struct stele_web__request *request);
/* As KurrentDB's metrics call it. */
const char *stele_web__node_status(struct stele_web__request *request);

/* ---- Requests ---- */
/* %XX, and '+' for a space in queries. Returns the size; SIZE_MAX: too long, or a zero byte. */
size_t stele_web__decode(struct stele_text from, bool plus, char *to, size_t room);
/* Whether the route takes all that the query holds. false: refused. */
bool stele_web__check_query(struct stele_web__request *request);
/* The decoded value of a member of the query in a buffer of the caller's; false: there is none. */
bool stele_web__query(const struct stele_web__request *request, const char *name, char *to,
                      size_t room);
/* A number of the query; `otherwise` if there is none. false: it is none (refused already). */
bool stele_web__query_number(struct stele_web__request *request, const char *name,
                             uint64_t otherwise, uint64_t *out);
/* "limit", 1 to STELE_WEB__PAGE_MAX. false: refused. */
bool stele_web__query_limit(struct stele_web__request *request, uint64_t otherwise, uint64_t *out);
bool stele_web__query_flag(const struct stele_web__request *request, const char *name);

/* ---- JSON ---- */
/* All append to a buffer; false: no memory. */
bool stele_web__put(struct stele_buf *buf, struct stele_alloc *alloc, const char *text);
STELE_PRINTF(3, 4)
bool stele_web__putf(struct stele_buf *buf, struct stele_alloc *alloc, const char *format, ...);
bool stele_web__put_string(struct stele_buf *buf, struct stele_alloc *alloc,
                           struct stele_text text); /* With quotes. */
bool stele_web__put_base64(struct stele_buf *buf, struct stele_alloc *alloc, const void *data,
                           size_t size);
bool stele_web__put_event(struct stele_buf *buf, struct stele_alloc *alloc,
                          const struct stele_event *event, bool cloudevents);
bool stele_web__is_json(const void *data, size_t size);
/* Of JSON that is known to be right. The value of a member as it stands there; data NULL: there is
 * none. */
struct stele_bytes stele_web__json_member(struct stele_bytes object, const char *name);
/* The next member of an object, its name with the quotes; *rest is the object at first. */
bool stele_web__json_next(struct stele_bytes *rest, struct stele_bytes *out_name,
                          struct stele_bytes *out_value);
/* The next value of a list; *rest is the list at first. A value alone is given, too. */
struct stele_bytes stele_web__json_item(struct stele_bytes *rest);

/* ---- Numbers ---- */
struct stele_web__usage { /* Of the process. */
    uint64_t resident;
    double cpu_seconds;
};
struct stele_web__usage stele_web__read_usage(void);
void stele_web__read_counts(const struct stele_web__request *request,
                            struct stele_engine_counts *out_counts);
/* Of all persistent subscription groups together. */
struct stele_web__groups_sum {
    uint64_t groups, consumers, in_flight, parked;
    uint64_t lag_events;
    double lag_seconds_max;
};
/* Calls on_sum on the request's loop, perhaps before it returns. */
void stele_web__sum_groups(struct stele_web__request *request,
                           void (*on_sum)(struct stele_web__request *request,
                                          const struct stele_web__groups_sum *sum));

/* ---- Routes ---- */
extern const stele_web__handler stele_web__handlers[STELE_ROUTE_COUNT];
void stele_web__live(struct stele_web__request *request);
void stele_web__ready(struct stele_web__request *request);
void stele_web__ping(struct stele_web__request *request);
void stele_web__info(struct stele_web__request *request);
void stele_web__info_options(struct stele_web__request *request);
void stele_web__stats(struct stele_web__request *request);
void stele_web__gossip(struct stele_web__request *request);
void stele_web__cluster(struct stele_web__request *request);
void stele_web__cluster_command(struct stele_web__request *request);
void stele_web__metrics(struct stele_web__request *request);
void stele_web__me(struct stele_web__request *request);
void stele_web__streams(struct stele_web__request *request);
void stele_web__categories(struct stele_web__request *request);
void stele_web__types(struct stele_web__request *request);
void stele_web__read_stream(struct stele_web__request *request);
void stele_web__read_all(struct stele_web__request *request);
void stele_web__append(struct stele_web__request *request);
void stele_web__kurrent_append(struct stele_web__request *request);
void stele_web__delete(struct stele_web__request *request);
void stele_web__meta_get(struct stele_web__request *request);
void stele_web__meta_set(struct stele_web__request *request);
void stele_web__tail(struct stele_web__request *request);
void stele_web__users(struct stele_web__request *request);
void stele_web__user_create(struct stele_web__request *request);
void stele_web__user_change(struct stele_web__request *request);
void stele_web__user_delete(struct stele_web__request *request);
void stele_web__groups(struct stele_web__request *request);
void stele_web__group_replay(struct stele_web__request *request);
void stele_web__kurrent_groups(struct stele_web__request *request);
void stele_web__kurrent_group_post(struct stele_web__request *request);
void stele_web__shutdown(struct stele_web__request *request);
void stele_web__scavenge(struct stele_web__request *request);
void stele_web__console(struct stele_web__request *request);
void stele_web__openapi(struct stele_web__request *request);
void stele_web__go_on_reading(struct stele_web__request *request);
void stele_web__go_on_tailing(struct stele_web__request *request);
void stele_web__stop_tailing(struct stele_web__request *request);

/* Files of the console, embedded by the build. */
struct stele_web__file {
    const char *path;
    const char *content_type;
    const uint8_t *data;
    size_t size;
    const char *etag;
};
extern const struct stele_web__file stele_web__files[];
extern const size_t stele_web__files_count;

#endif
