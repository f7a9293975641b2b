/* A sink on an SQL database: transactions, checkpoints, parked events.
 *
 * The books are three tables beside the read models:
 *
 *     stele_builds   name, build, version, state (live, building), lanes, store, source
 *     stele_lanes    name, build, lane, position, effects_after, generation, events
 *     stele_parked   name, build, position, stream, revision, type, reason, attempts
 *
 * and two more for projections in effective order: see sql_effective.c.
 *
 * Every transaction that applies events ends with one UPDATE of its lane, under the condition that
 * position and generation are what they were when the lane read them. If another process has moved
 * them, nothing of the transaction stays. So no lock has to be held between transactions, and none can
 * be left behind by a process that was killed. */
#include "sinks/sql.h"

#include "io/linux.h"

#include <stdio.h>
#include <string.h>

static struct stele_sinks_sql *sql_of(struct stele_sink *base)
{
    return (struct stele_sinks_sql *)(void *)base;
}

/* ---- Transactions ---- */

struct lane_row {
    bool found;
    uint64_t position, effects_after, generation;
};

static int on_lane_row(void *context, const struct stele_text *columns, size_t count)
{
    (void)count;
    *(struct lane_row *)context = (struct lane_row){.found = true,
                                                    .position = stele_sinks__parse(columns[0]),
                                                    .effects_after = stele_sinks__parse(columns[1]),
                                                    .generation = stele_sinks__parse(columns[2])};
    return STELE_OK;
}

static int read_lane(struct stele_sinks_sql *sink, uint32_t lane, const char *lock,
                     struct lane_row *out_row, struct stele_error *err)
{
    const struct stele_sinks_value values[] = {
        stele_sinks_text(sink->projection->name),
        stele_sinks_number(sink->build),
        stele_sinks_number(lane),
    };
    char sql[200];
    *out_row = (struct lane_row){.found = false};
    (void)snprintf(
        sql, sizeof sql,
        "SELECT position, effects_after, generation FROM stele_lanes WHERE name = ?1 AND "
        "build = ?2 AND lane = ?3%s",
        lock);
    return sink->driver->query(sink->lanes[lane].db, sql, values, STELE_COUNT_OF(values),
                               on_lane_row, out_row, NULL, err);
}

/* Where a database locks rows, that of the lane comes first: a switch of builds that waited for it
 * behind rows of the read model would be a deadlock. */
static int begin(struct stele_sink *base, uint32_t lane, struct stele_error *err)
{
    struct stele_sinks_sql *const sink = sql_of(base);
    struct lane_row row = {.found = false};
    int outcome = sink->driver->begin(sink->lanes[lane].db, err);
    if (outcome == STELE_OK && sink->driver->for_update[0] != '\0') {
        outcome = read_lane(sink, lane, sink->driver->for_update, &row, err);
        if (outcome == STELE_OK && !row.found) {
            outcome = stele_fail(err, STELE_E_FENCED, 0, "projection %s: its build is gone",
                                 sink->projection->name);
        }
        if (outcome != STELE_OK) {
            sink->driver->rollback(sink->lanes[lane].db);
        }
    }
    return outcome;
}

static void rollback(struct stele_sink *base, uint32_t lane)
{
    struct stele_sinks_sql *const sink = sql_of(base);
    sink->driver->rollback(sink->lanes[lane].db);
}

static const struct stele_sinks_route *route_of(const struct stele_sinks_sql *sink,
                                                struct stele_text type)
{
    size_t low = 0;
    size_t high = sink->routes_count - 1;
    while (low < high) {
        const size_t middle = (low + high) / 2;
        const struct stele_text at = sink->routes[middle].type;
        const int order = at.size != type.size ? (at.size < type.size ? -1 : 1)
                                               : memcmp(at.data, type.data, type.size);
        if (order == 0) {
            return &sink->routes[middle];
        }
        if (order < 0) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return &sink->routes[sink->routes_count - 1];
}

static int apply_c(struct stele_sinks_sql *sink, uint32_t lane, const struct stele_event *event,
                   int64_t effective_us, bool replay, struct stele_error *err)
{
    const struct stele_project_step step = {.handle = sink->driver->handle(sink->lanes[lane].db),
                                            .suffix = sink->suffix,
                                            .replay = replay ? 1 : 0,
                                            .effective_us = effective_us};
    const struct stele_projection_options *const c = &sink->projection->c;
    return c->apply(c->context, &step, event, err);
}

int stele_sinks__apply(struct stele_sinks_sql *sink, uint32_t lane, const struct stele_event *event,
                       int64_t effective_us, bool replay, uint64_t *out_culprit,
                       struct stele_error *err)
{
    struct stele_sinks_connection *const connection = &sink->lanes[lane];
    if (sink->projection->c.apply != NULL) {
        const int outcome = apply_c(sink, lane, event, effective_us, replay, err);
        *out_culprit = event->position;
        return outcome;
    }
    const struct stele_sinks_route *const route = route_of(sink, event->type);
    for (size_t i = 0; i < route->count; i++) {
        if (replay && (route->statements[i] & STELE_SINKS_EFFECT) != 0) {
            continue;
        }
        const uint32_t number = route->statements[i] & ~STELE_SINKS_EFFECT;
        const int outcome = sink->driver->apply(connection->db, connection->statements[number],
                                                event, effective_us, err);
        if (outcome != STELE_OK) {
            *out_culprit = sink->driver->culprit(connection->db);
            return outcome;
        }
    }
    return STELE_OK;
}

static int apply(struct stele_sink *base, uint32_t lane, const struct stele_event *event,
                 bool replay, uint64_t *out_culprit, struct stele_error *err)
{
    return stele_sinks__apply(sql_of(base), lane, event, event->created_us, replay, out_culprit,
                              err);
}

static int commit(struct stele_sink *base, uint32_t lane, uint64_t from, uint64_t to,
                  uint64_t applied, uint64_t *out_culprit, struct stele_error *err)
{
    struct stele_sinks_sql *const sink = sql_of(base);
    struct stele_sinks_connection *const connection = &sink->lanes[lane];
    const struct stele_sinks_value values[] = {
        stele_sinks_number(to),
        stele_sinks_number(applied),
        stele_sinks_text(sink->projection->name),
        stele_sinks_number(sink->build),
        stele_sinks_number(lane),
        stele_sinks_number(from),
        stele_sinks_number(connection->generation),
    };
    uint64_t changes = 0;
    int outcome = sink->driver->query(
        connection->db,
        "UPDATE stele_lanes SET position = ?1, events = events + ?2 WHERE name = ?3 AND build = ?4 "
        "AND lane = ?5 AND position = ?6 AND generation = ?7",
        values, STELE_COUNT_OF(values), NULL, NULL, &changes, err);
    if (outcome == STELE_OK && changes != 1) {
        return stele_fail(err, STELE_E_FENCED, 0, "projection %s: another process has moved it",
                          sink->projection->name);
    }
    if (outcome == STELE_OK) {
        outcome = sink->driver->commit(connection->db, err);
    }
    if (outcome != STELE_OK) {
        *out_culprit = sink->driver->culprit(connection->db);
    }
    return outcome;
}

static int end(struct stele_sink *base, uint64_t *out_culprit, struct stele_error *err)
{
    struct stele_sinks_sql *const sink = sql_of(base);
    const int outcome = sink->driver->commit(sink->lanes[0].db, err);
    *out_culprit = outcome == STELE_OK ? 0 : sink->driver->culprit(sink->lanes[0].db);
    return outcome;
}

/* ---- Looking again ---- */

static int reload(struct stele_sink *base, uint32_t lane, struct stele_sink_lane *out_lane,
                  struct stele_error *err)
{
    struct stele_sinks_sql *const sink = sql_of(base);
    struct lane_row row;
    const int outcome = read_lane(sink, lane, "", &row, err);
    if (outcome != STELE_OK) {
        return outcome;
    }
    if (!row.found) {
        return stele_fail(err, STELE_NOT_FOUND, 0, "projection %s: build %llu is gone",
                          sink->projection->name, (unsigned long long)sink->build);
    }
    *out_lane =
        (struct stele_sink_lane){.position = row.position, .effects_after = row.effects_after};
    sink->lanes[lane].generation = row.generation;
    return STELE_OK;
}

struct streams_walk {
    stele_sink_stream_callback on_stream;
    void *context;
};

static int on_stream_row(void *context, const struct stele_text *columns, size_t count)
{
    const struct streams_walk *const walk = context;
    (void)count;
    return walk->on_stream(walk->context, columns[0]);
}

static int parked_streams(struct stele_sink *base, uint32_t lane,
                          stele_sink_stream_callback on_stream, void *context,
                          struct stele_error *err)
{
    struct stele_sinks_sql *const sink = sql_of(base);
    const struct stele_sinks_value values[] = {stele_sinks_text(sink->projection->name),
                                               stele_sinks_number(sink->build)};
    struct streams_walk walk = {.on_stream = on_stream, .context = context};
    return sink->driver->query(
        sink->lanes[lane].db,
        "SELECT DISTINCT stream FROM stele_parked WHERE name = ?1 AND build = ?2 ORDER BY stream",
        values, STELE_COUNT_OF(values), on_stream_row, &walk, NULL, err);
}

/* ---- Parked events ---- */

/* A text with its end, in memory that the caller releases. */
static char *terminated(struct stele_alloc *alloc, struct stele_text text)
{
    char *const copy = stele_allocate(alloc, text.size + 1);
    if (copy != NULL) {
        memcpy(copy, text.data, text.size);
        copy[text.size] = '\0';
    }
    return copy;
}

static int park(struct stele_sink *base, uint32_t lane, const struct stele_event *event,
                const char *reason, struct stele_error *err)
{
    struct stele_sinks_sql *const sink = sql_of(base);
    char *const stream = terminated(sink->alloc, event->stream);
    char *const type = terminated(sink->alloc, event->type);
    int outcome = STELE_E_NO_MEMORY;
    if (stream != NULL && type != NULL) {
        const struct stele_sinks_value values[] = {
            stele_sinks_text(sink->projection->name),
            stele_sinks_number(sink->build),
            stele_sinks_number(event->position),
            stele_sinks_text(stream),
            stele_sinks_number(event->revision),
            stele_sinks_text(type),
            stele_sinks_text(reason != NULL ? reason : ""),
            stele_sinks_number(reason != NULL ? 1 : 0),
        };
        outcome = sink->driver->query(
            sink->lanes[lane].db,
            "INSERT INTO stele_parked (name, build, position, stream, revision, type, reason, "
            "attempts) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
            values, STELE_COUNT_OF(values), NULL, NULL, NULL, err);
    }
    stele_release(sink->alloc, stream, event->stream.size + 1);
    stele_release(sink->alloc, type, event->type.size + 1);
    return outcome;
}

static int bump(struct stele_sink *base, struct stele_error *err)
{
    struct stele_sinks_sql *const sink = sql_of(base);
    const struct stele_sinks_value values[] = {stele_sinks_text(sink->projection->name),
                                               stele_sinks_number(sink->build)};
    uint64_t changes = 0;
    const int outcome = sink->driver->query(
        sink->lanes[0].db,
        "UPDATE stele_lanes SET generation = generation + 1 WHERE name = ?1 AND build = ?2", values,
        STELE_COUNT_OF(values), NULL, NULL, &changes, err);
    if (outcome == STELE_OK && changes == 0) {
        return stele_fail(err, STELE_E_FENCED, 0,
                          "projection %s: another build has taken over meanwhile; try again",
                          sink->projection->name);
    }
    return outcome;
}

static int on_position_row(void *context, const struct stele_text *columns, size_t count)
{
    (void)count;
    *(uint64_t *)context = stele_sinks__parse(columns[0]);
    return STELE_OK;
}

static int first_parked(struct stele_sink *base, const char *stream, uint64_t *out_position,
                        struct stele_error *err)
{
    struct stele_sinks_sql *const sink = sql_of(base);
    const struct stele_sinks_value values[] = {stele_sinks_text(sink->projection->name),
                                               stele_sinks_number(sink->build),
                                               stele_sinks_text(stream)};
    uint64_t position = 0;
    const int outcome = sink->driver->query(
        sink->lanes[0].db,
        "SELECT position FROM stele_parked WHERE name = ?1 AND build = ?2 AND stream = ?3 ORDER BY "
        "position LIMIT 1",
        values, STELE_COUNT_OF(values), on_position_row, &position, NULL, err);
    if (outcome == STELE_OK) {
        *out_position = position;
    }
    return outcome == STELE_OK && position == 0 ? STELE_NOT_FOUND : outcome;
}

static int unpark(struct stele_sink *base, uint64_t position, uint64_t applied,
                  struct stele_error *err)
{
    struct stele_sinks_sql *const sink = sql_of(base);
    const struct stele_sinks_value values[] = {stele_sinks_text(sink->projection->name),
                                               stele_sinks_number(sink->build),
                                               stele_sinks_number(position)};
    const struct stele_sinks_value counted[] = {stele_sinks_text(sink->projection->name),
                                                stele_sinks_number(sink->build),
                                                stele_sinks_number(applied)};
    int outcome = sink->driver->query(
        sink->lanes[0].db,
        "DELETE FROM stele_parked WHERE name = ?1 AND build = ?2 AND position = ?3", values,
        STELE_COUNT_OF(values), NULL, NULL, NULL, err);
    if (outcome == STELE_OK) {
        outcome = sink->driver->query(sink->lanes[0].db,
                                      "UPDATE stele_lanes SET events = events + ?3 WHERE name = ?1 "
                                      "AND build = ?2 AND lane = 0",
                                      counted, STELE_COUNT_OF(counted), NULL, NULL, NULL, err);
    }
    return outcome;
}

static int keep_parked(struct stele_sink *base, uint64_t position, const char *reason,
                       struct stele_error *err)
{
    struct stele_sinks_sql *const sink = sql_of(base);
    const struct stele_sinks_value values[] = {
        stele_sinks_text(sink->projection->name), stele_sinks_number(sink->build),
        stele_sinks_number(position), stele_sinks_text(reason)};
    return sink->driver->query(sink->lanes[0].db,
                               "UPDATE stele_parked SET reason = ?4, attempts = attempts + 1 WHERE "
                               "name = ?1 AND build = ?2 AND position = ?3",
                               values, STELE_COUNT_OF(values), NULL, NULL, NULL, err);
}

/* ---- Beside the live build ---- */

struct positions {
    uint64_t *out;
    size_t count;
};

static int on_live_row(void *context, const struct stele_text *columns, size_t count)
{
    struct positions *const positions = context;
    (void)count;
    if (positions->count < STELE_PROJECT_LANES_MAX) {
        positions->out[positions->count++] = stele_sinks__parse(columns[0]);
    }
    return STELE_OK;
}

static int live(struct stele_sink *base, bool lock, uint64_t *out_positions,
                struct stele_error *err)
{
    struct stele_sinks_sql *const sink = sql_of(base);
    const struct stele_sinks_value values[] = {stele_sinks_text(sink->projection->name)};
    struct positions positions = {.out = out_positions};
    char sql[300];
    (void)snprintf(
        sql, sizeof sql,
        "SELECT position FROM stele_lanes WHERE name = ?1 AND build = (SELECT build FROM "
        "stele_builds WHERE name = ?1 AND state = 'live') ORDER BY lane%s",
        lock ? sink->driver->for_update : "");
    const int outcome = sink->driver->query(sink->lanes[0].db, sql, values, STELE_COUNT_OF(values),
                                            on_live_row, &positions, NULL, err);
    if (outcome == STELE_OK && positions.count != sink->lanes_count) {
        return stele_fail(err, STELE_E_FENCED, 0,
                          "projection %s: the live build has other lanes now; begin again",
                          sink->projection->name);
    }
    return outcome;
}

/* ---- Opening and closing ---- */

static void close_sql(struct stele_sink *base)
{
    struct stele_sinks_sql *const sink = sql_of(base);
    stele_sinks__detach(base);
    if (sink->lanes[0].db != NULL) {
        sink->driver->disconnect(sink->lanes[0].db, sink->used);
    }
    stele_release(sink->alloc, sink->where, strlen(sink->where) + 1);
    stele_release(sink->alloc, sink, sizeof *sink);
}

static const struct stele_sink_ops sql_ops = {
    .effective = &stele_sinks__effective,
    .attach = stele_sinks__attach,
    .detach = stele_sinks__detach,
    .begin = begin,
    .apply = apply,
    .park = park,
    .commit = commit,
    .rollback = rollback,
    .reload = reload,
    .parked_streams = parked_streams,
    .live = live,
    .switch_over = stele_sinks__switch_over,
    .bump = bump,
    .first_parked = first_parked,
    .unpark = unpark,
    .keep_parked = keep_parked,
    .end = end,
    .list = stele_sinks__list,
    .parked = stele_sinks__parked,
    .position = stele_sinks__position,
    .drop = stele_sinks__drop,
    .close = close_sql,
};

int stele_sinks_open_sql(const struct stele_sinks_driver *driver, const char *where, uint32_t flags,
                         struct stele_sink **out_sink, struct stele_error *err)
{
    struct stele_alloc *const alloc = stele_linux_alloc();
    struct stele_sinks_sql *const sink = stele_allocate_zeroed(alloc, sizeof *sink);
    char *const copy = terminated(alloc, (struct stele_text){.data = where, .size = strlen(where)});
    int outcome = sink != NULL && copy != NULL
                      ? STELE_OK
                      : stele_fail(err, STELE_E_NO_MEMORY, 0, "open a sink: no memory");
    if (outcome == STELE_OK) {
        outcome = driver->connect(where, flags, &sink->lanes[0].db, err);
    }
    if (outcome != STELE_OK) {
        stele_release(alloc, copy, strlen(where) + 1);
        stele_release(alloc, sink, sizeof *sink);
        return outcome;
    }
    sink->base.ops = &sql_ops;
    sink->driver = driver;
    sink->alloc = alloc;
    sink->where = copy;
    sink->flags = flags;
    *out_sink = &sink->base;
    return STELE_OK;
}
