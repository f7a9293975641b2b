/* Projections in effective order on an SQL database: two more books.
 *
 *     stele_streams  name, build, stream, events, latest_us
 *     stele_skipped  name, build, stream, position
 *
 * Both change in the transactions that change the read model. */
#include "io/linux.h"
#include "sinks/sql.h"

#include <string.h>

static struct stele_sinks_sql *sql_of(struct stele_sink *base)
{
    return (struct stele_sinks_sql *)(void *)base;
}

static int apply(struct stele_sink *base, uint32_t lane, const struct stele_event *event,
                 int64_t effective_us, uint64_t *out_culprit, struct stele_error *err)
{
    return stele_sinks__apply(sql_of(base), lane, event, effective_us, true, out_culprit, err);
}

static int undo(struct stele_sink *base, uint32_t lane, const char *stream, struct stele_error *err)
{
    struct stele_sinks_sql *const sink = sql_of(base);
    const struct stele_projection *const projection = sink->projection;
    struct stele_sinks_connection *const connection = &sink->lanes[lane];
    const struct stele_event event = {.stream = {.data = stream, .size = strlen(stream)}};
    int outcome = STELE_OK;
    if (projection->c.undo != NULL) {
        const struct stele_project_step step = {
            .handle = sink->driver->handle(connection->db), .suffix = sink->suffix, .replay = 1};
        return projection->c.undo(projection->c.context, &step, stream, err);
    }
    for (size_t i = 0; i < projection->sections_count; i++) {
        const struct stele_section *const section = &projection->sections[i];
        for (size_t j = 0; section->undo && j < section->count && outcome == STELE_OK; j++) {
            outcome = sink->driver->apply(
                connection->db, connection->statements[section->first + j], &event, 0, err);
        }
    }
    return outcome;
}

/* ---- Streams ---- */

struct stream_row {
    bool found;
    struct stele_sink_stream at;
};

static int64_t parse_signed(struct stele_text column)
{
    const bool minus = column.size > 0 && column.data[0] == '-';
    const struct stele_text digits = {.data = column.data + (minus ? 1 : 0),
                                      .size = column.size - (minus ? 1 : 0)};
    const uint64_t number = stele_sinks__parse(digits);
    return (int64_t)(minus ? 0 - number : number);
}

static int on_stream_row(void *context, const struct stele_text *columns, size_t count)
{
    struct stream_row *const row = context;
    (void)count;
    row->found = true;
    row->at.events = stele_sinks__parse(columns[0]);
    row->at.latest_us = parse_signed(columns[1]);
    return STELE_OK;
}

static int stream(struct stele_sink *base, uint32_t lane, const char *name,
                  struct stele_sink_stream *out_stream, struct stele_error *err)
{
    struct stele_sinks_sql *const sink = sql_of(base);
    const struct stele_sinks_value values[] = {stele_sinks_text(sink->projection->name),
                                               stele_sinks_number(sink->build),
                                               stele_sinks_text(name)};
    struct stream_row row = {.found = false};
    const int outcome = sink->driver->query(
        sink->lanes[lane].db,
        "SELECT events, latest_us FROM stele_streams WHERE name = ?1 AND build = ?2 AND "
        "stream = ?3",
        values, STELE_COUNT_OF(values), on_stream_row, &row, NULL, err);
    if (outcome == STELE_OK && row.found) {
        *out_stream = row.at;
    }
    return outcome == STELE_OK && !row.found ? STELE_NOT_FOUND : outcome;
}

static int keep_stream(struct stele_sink *base, uint32_t lane, const char *name,
                       const struct stele_sink_stream *at, struct stele_error *err)
{
    struct stele_sinks_sql *const sink = sql_of(base);
    const struct stele_sinks_value values[] = {
        stele_sinks_text(sink->projection->name), stele_sinks_number(sink->build),
        stele_sinks_text(name), stele_sinks_number(at->events),
        stele_sinks_number((uint64_t)at->latest_us)};
    return sink->driver->query(
        sink->lanes[lane].db,
        "INSERT INTO stele_streams (name, build, stream, events, latest_us) VALUES (?1, ?2, ?3, "
        "?4, ?5) ON CONFLICT (name, build, stream) DO UPDATE SET events = excluded.events, "
        "latest_us = excluded.latest_us",
        values, STELE_COUNT_OF(values), NULL, NULL, NULL, err);
}

/* ---- Skipped events ---- */

struct skipped_walk {
    stele_sink_position_callback on_position;
    void *context;
};

static int on_skipped_row(void *context, const struct stele_text *columns, size_t count)
{
    const struct skipped_walk *const walk = context;
    (void)count;
    return walk->on_position(walk->context, stele_sinks__parse(columns[0]));
}

static int skipped(struct stele_sink *base, uint32_t lane, const char *name,
                   stele_sink_position_callback on_position, void *context, struct stele_error *err)
{
    struct stele_sinks_sql *const sink = sql_of(base);
    const struct stele_sinks_value values[] = {stele_sinks_text(sink->projection->name),
                                               stele_sinks_number(sink->build),
                                               stele_sinks_text(name)};
    struct skipped_walk walk = {.on_position = on_position, .context = context};
    return sink->driver->query(
        sink->lanes[lane].db,
        "SELECT position FROM stele_skipped WHERE name = ?1 AND build = ?2 AND stream = ?3", values,
        STELE_COUNT_OF(values), on_skipped_row, &walk, NULL, err);
}

static int skip(struct stele_sink *base, const char *name, uint64_t position,
                struct stele_error *err)
{
    struct stele_sinks_sql *const sink = sql_of(base);
    const struct stele_sinks_value values[] = {
        stele_sinks_text(sink->projection->name), stele_sinks_number(sink->build),
        stele_sinks_text(name), stele_sinks_number(position)};
    return sink->driver->query(
        sink->lanes[0].db,
        "INSERT INTO stele_skipped (name, build, stream, position) VALUES (?1, ?2, ?3, ?4)", values,
        STELE_COUNT_OF(values), NULL, NULL, NULL, err);
}

const struct stele_sink_effective_ops stele_sinks__effective = {
    .apply = apply,
    .undo = undo,
    .stream = stream,
    .keep_stream = keep_stream,
    .skipped = skipped,
    .skip = skip,
};
