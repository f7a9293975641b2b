/* What a running server says: one line for each thing that happened, with a time and a level.
 *
 *     2026-11-21T09:15:00.123Z warning login failed: ada peer=10.0.0.7:51820       on a terminal
 *     {"time":"2026-11-21T09:15:00.123Z","level":"warning","message":"…","peer":"…"}   in a pipe
 *
 * Names and texts of others get into messages. Whatever a terminal would obey, and whatever is no
 * UTF-8, comes out as an escape, so that nobody can forge a line or hide one. Each line is one
 * write(), at most STELE_OPS_LOG_LINE_MAX bytes. A flood is bounded: beyond a bucket of lines they
 * are counted, and the next line that is written says how many were left out. */
#ifndef STELE_OPS_LOG_H
#define STELE_OPS_LOG_H

#include "base/compiler.h"

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define STELE_OPS_LOG_LINE_MAX 4096 /* Up to this a pipe takes a line whole (PIPE_BUF). */

enum stele_ops_level {
    STELE_OPS_DEBUG,
    STELE_OPS_INFO,
    STELE_OPS_WARNING,
    STELE_OPS_ERROR,
};

struct stele_ops_log {
    int fd;
    bool json;
    enum stele_ops_level level; /* This and what is worse is written. */
    uint32_t lines_per_s;       /* A bucket of ten seconds' worth. 0: no bound. */
    int64_t (*wall_us)(void);   /* Tests put their own clock here. */
    pthread_mutex_t lock;
    int64_t debt_us;
    uint64_t left_out;
};

/* format: "auto", "text", "json"; level: "debug" … as in the settings. fd stays the caller's. */
void stele_ops_log_init(struct stele_ops_log *log, int fd, const char *format, const char *level);
void stele_ops_log_deinit(struct stele_ops_log *log);

/* A member beside the message. value NULL: left out. */
struct stele_ops_field {
    const char *name; /* Letters, digits, _. */
    const char *value;
};

/* Any thread. */
void stele_ops_log_write(struct stele_ops_log *log, enum stele_ops_level level, const char *message,
                         const struct stele_ops_field *fields, size_t fields_count);

#endif
