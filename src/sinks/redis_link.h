/* One connection to a Redis server, made again when it is lost.
 *
 * Everything that is sent through it may be sent twice: commands ask only, or are scripts that notice
 * what they have done already. Used by one thread at a time. */
#ifndef STELE_SINKS_REDIS_LINK_H
#define STELE_SINKS_REDIS_LINK_H

#include "base/alloc.h"
#include "base/status.h"

#include <stele/stele.h>

#include <hiredis/hiredis.h>

struct stele_sinks_redis_link {
    struct stele_alloc *alloc;
    struct stele_arena arena; /* What the address says. */
    const char *host;         /* NULL: path is a socket's. */
    const char *path;
    int port;
    const char *user, *password; /* NULL: none. */
    uint32_t database;
    const char *shown; /* The address without its password. */
    redisContext *context;
};

/* Takes the address apart and connects.
 *
 *     redis://[[USER]:PASSWORD@]HOST[:PORT][/DATABASE]
 *     redis+unix://[[USER]:PASSWORD@]/PATH[?db=DATABASE]
 *
 * STELE_OK, STELE_E_INVALID, STELE_E_IO, STELE_E_PERMISSION, STELE_E_NO_MEMORY; release it whatever
 * the outcome. */
STELE_MUST_USE
int stele_sinks_redis_link_open(struct stele_sinks_redis_link *link, const char *address,
                                struct stele_error *err);
void stele_sinks_redis_link_close(struct stele_sinks_redis_link *link);

/* One command and its answer, which freeReplyObject() releases. A connection that is lost is made again
 * for some seconds, and the command sent again.
 *
 * STELE_OK          *out_reply is set, and is no error.
 * STELE_E_INVALID   The server answers with an error that is about the command: err has its words.
 * STELE_NOT_FOUND   It does not know the script (NOSCRIPT).
 * STELE_E_NO_SPACE  OOM.
 * STELE_E_READ_ONLY READONLY: it is a replica.
 * STELE_E_IO, STELE_E_PERMISSION, STELE_E_OVERLOADED, STELE_E_NO_MEMORY */
STELE_MUST_USE
int stele_sinks_redis_ask(struct stele_sinks_redis_link *link, size_t count,
                          const char *const *words, const size_t *sizes, redisReply **out_reply,
                          struct stele_error *err);
/* The same for texts that end with a zero; the list ends with NULL. At most 16. */
STELE_MUST_USE
int stele_sinks_redis_tell(struct stele_sinks_redis_link *link, const char *const *words,
                           redisReply **out_reply, struct stele_error *err);

#endif
