/* The sink on Redis, as its parts see it.
 *
 *     {NAME}:stele     hash: store, live, building, builds (the highest number), and for build B the fields
 *                      B/version, B/source, B/position, B/effects, B/generation, B/events, B/nonce
 *     {NAME}:live      the number of the build that readers read
 *     {NAME}:B:KEY     the read model
 *     {NAME}:B!parked  zset, all scores 0: STREAM \1 position of 20 digits
 *     {NAME}:B!why     hash: position of 20 digits to stream \1 revision \1 type \1 attempts \1 reason
 *     {NAME}:dropped   set: builds whose keys are still to be removed
 *     stele:projections  set: NAME
 *
 * The braces keep all keys of a projection in one slot, should it ever be in a cluster. */
#ifndef STELE_SINKS_REDIS_H
#define STELE_SINKS_REDIS_H

#include "runner/sink.h"
#include "sinks/driver.h"
#include "sinks/redis_link.h"

#define STELE_SINKS_REDIS_BASE_SIZE (STELE_PROJECT_NAME_SIZE_MAX + 4)
#define STELE_SINKS_REDIS_NUMBER_SIZE 24
#define STELE_SINKS_REDIS_NONCE_SIZE 64

/* A transaction: the words of the script that will execute it. */
struct stele_sinks_redis_batch {
    struct stele_arena arena;
    struct stele_buf words; /* const char * each. */
    struct stele_buf sizes; /* size_t each. */
    size_t bytes, events;
    uint64_t applied; /* Of parked events. */
    bool bump, open;
};

struct stele_sinks_redis {
    struct stele_sink base;
    struct stele_alloc *alloc;
    struct stele_sinks_redis_link link;
    struct stele_sinks_redis_batch batch;
    char seed[STELE_SINKS_SEED_SIZE]; /* Nonces of this sink begin with it. */
    uint64_t nonces;

    /* While attached. */
    const struct stele_projection *projection;
    struct stele_buf script; /* With a zero behind it. */
    char sha[41];
    char prefix[STELE_SINKS_REDIS_BASE_SIZE]; /* "{NAME}:" */
    char books[STELE_SINKS_REDIS_BASE_SIZE + 8];
    char build[STELE_SINKS_REDIS_NUMBER_SIZE];
    char generation[STELE_SINKS_REDIS_NUMBER_SIZE];
};

extern const uint8_t stele_sinks__redis_begin[];
extern const size_t stele_sinks__redis_begin_size;
extern const uint8_t stele_sinks__redis_end[];
extern const size_t stele_sinks__redis_end_size;
extern const uint8_t stele_sinks__redis_attach[];
extern const size_t stele_sinks__redis_attach_size;

static inline struct stele_sinks_redis *stele_sinks__redis_of(struct stele_sink *base)
{
    return (struct stele_sinks_redis *)(void *)base;
}

/* The text of an answer's element; "" if there is none. */
const char *stele_sinks__redis_text(const redisReply *reply, size_t index);
uint64_t stele_sinks__redis_number(const char *text);

/* The script of a projection, from its sections. STELE_OK, STELE_E_NO_MEMORY */
int stele_sinks__redis_write_script(struct stele_sinks_redis *sink, struct stele_error *err);
/* Words of Redis or Lua with lines of the file in place of lines of the script. */
void stele_sinks__redis_name_lines(const struct stele_sinks_redis *sink, const char *words,
                                   char *out, size_t out_size);

int stele_sinks__redis_open_attached(struct stele_sink *base,
                                     const struct stele_sink_request *request,
                                     struct stele_sink_place *out_place, struct stele_error *err);
void stele_sinks__redis_detach(struct stele_sink *base);
/* Removes the keys of builds that were dropped; at once, or when their readers have had time. */
int stele_sinks__redis_clean(struct stele_sinks_redis *sink, const char *prefix, bool at_once,
                             struct stele_error *err);
int stele_sinks__redis_list(struct stele_sink *base, stele_project_callback on_projection,
                            void *context, struct stele_error *err);
int stele_sinks__redis_parked(struct stele_sink *base, const char *name,
                              stele_parked_callback on_parked, void *context,
                              struct stele_error *err);
int stele_sinks__redis_position(struct stele_sink *base, const char *name, uint64_t *out_position,
                                struct stele_error *err);
int stele_sinks__redis_drop(struct stele_sink *base, const struct stele_projection *projection,
                            struct stele_error *err);

#endif
