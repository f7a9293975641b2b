/* Messages of the protocols that server-load speaks over HTTP/2. */
#ifndef BENCH_LOAD_PROTOCOL_H
#define BENCH_LOAD_PROTOCOL_H

#include "h2.h"
#include "load.h"

#define EXPECT_NOTHING UINT64_MAX /* Any revision. */

/* An append that is to be made: count events of one stream. */
struct proposal {
    uint64_t number;        /* Comes back with the answer. */
    const char *stream;     /* Its name. */
    uint64_t events_before; /* The stream has so many, or EXPECT_NOTHING. */
    uint32_t count;
};

struct answer {
    uint64_t number;
    bool good;
};

/* What a message of a read brought. */
struct found {
    uint64_t events;
    bool bad;
};

struct protocol {
    const char *program;
    const char *append_path;
    bool append_is_unary; /* A call for each append, whose number is the call's. */
    /* A whole message at `to`, which has room for proposal_room(). Returns its end. */
    uint8_t *(*put_append)(uint8_t *to, const struct proposal *proposal);
    struct answer (*get_answer)(const uint8_t *data, size_t size);
    const char *read_path, *read_all_path, *subscribe_path;
    /* stream NULL: all events. */
    uint8_t *(*put_read)(uint8_t *to, const char *stream, uint64_t limit);
    /* From the stream's start. */
    uint8_t *(*put_subscribe)(uint8_t *to, const char *stream);
    struct found (*get_found)(const uint8_t *data, size_t size);
    struct found (*get_live)(const uint8_t *data, size_t size); /* NULL: as get_found. */
    /* The client does not end its half of the call. */
    bool subscription_stays_open, read_all_stays_open;
};

/* NULL: there is none of that name. */
const struct protocol *protocol_of(const char *program);
/* Events of which data is made. */
void protocol_init(const struct load_options *options);
size_t proposal_room(const struct load_options *options, uint32_t count);

#endif
