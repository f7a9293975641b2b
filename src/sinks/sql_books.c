/* The books of an SQL sink: made, read, shown. */
#include "io/linux.h"
#include "sinks/sql.h"

#include <stdio.h>
#include <string.h>

static struct stele_sinks_sql *sql_of(struct stele_sink *base)
{
    return (struct stele_sinks_sql *)(void *)base;
}

uint64_t stele_sinks__parse(struct stele_text column)
{
    uint64_t number = 0;
    for (size_t i = 0; i < column.size && column.data[i] >= '0' && column.data[i] <= '9'; i++) {
        number = number * 10 + (uint64_t)(column.data[i] - '0');
    }
    return number;
}

int stele_sinks__make_books(struct stele_sinks_sql *sink, struct stele_error *err)
{
    static const char *const tables[] = {
        "CREATE TABLE IF NOT EXISTS stele_builds (name TEXT NOT NULL, build BIGINT NOT NULL, "
        "version BIGINT NOT NULL, state TEXT NOT NULL, lanes BIGINT NOT NULL, store TEXT NOT NULL, "
        "source TEXT NOT NULL, PRIMARY KEY (name, build))",
        "CREATE TABLE IF NOT EXISTS stele_lanes (name TEXT NOT NULL, build BIGINT NOT NULL, lane "
        "BIGINT NOT NULL, position BIGINT NOT NULL, effects_after BIGINT NOT NULL, generation "
        "BIGINT "
        "NOT NULL, events BIGINT NOT NULL, PRIMARY KEY (name, build, lane))",
        "CREATE TABLE IF NOT EXISTS stele_parked (name TEXT NOT NULL, build BIGINT NOT NULL, "
        "position BIGINT NOT NULL, stream TEXT NOT NULL, revision BIGINT NOT NULL, type TEXT NOT "
        "NULL, reason TEXT NOT NULL, attempts BIGINT NOT NULL, PRIMARY KEY (name, build, "
        "position))",
        ("CREATE TABLE IF NOT EXISTS stele_streams (name TEXT NOT NULL, build BIGINT NOT NULL, "
         "stream TEXT NOT NULL, events BIGINT NOT NULL, latest_us BIGINT NOT NULL, PRIMARY KEY "
         "(name, build, stream))"),
        ("CREATE TABLE IF NOT EXISTS stele_skipped (name TEXT NOT NULL, build BIGINT NOT NULL, "
         "stream TEXT NOT NULL, position BIGINT NOT NULL, PRIMARY KEY (name, build, position))"),
    };
    int outcome = STELE_OK;
    for (size_t i = 0; i < STELE_COUNT_OF(tables) && outcome == STELE_OK; i++) {
        outcome = sink->driver->execute(sink->lanes[0].db, tables[i], NULL, err);
    }
    return outcome;
}

static int on_any_row(void *context, const struct stele_text *columns, size_t count)
{
    (void)columns;
    (void)count;
    *(bool *)context = true;
    return STELE_OK;
}

int stele_sinks__check_books(struct stele_sinks_sql *sink, struct stele_error *err)
{
    bool found = false;
    const int outcome = sink->driver->query(sink->lanes[0].db, sink->driver->has_tables, NULL, 0,
                                            on_any_row, &found, NULL, err);
    if (outcome == STELE_OK && !found) {
        return stele_fail(err, STELE_NOT_FOUND, 0,
                          "%.200s: there are no projections in this database", sink->where);
    }
    return outcome;
}

/* ---- Builds ---- */

struct find {
    struct stele_sinks_build build;
    struct stele_arena *arena;
    struct stele_alloc *alloc;
};

static int on_build(void *context, const struct stele_text *columns, size_t count)
{
    struct find *const find = context;
    struct stele_sinks_build *const build = &find->build;
    (void)count;
    char *const source = stele_arena_allocate(find->arena, find->alloc, columns[4].size + 1);
    if (source == NULL) {
        return STELE_E_NO_MEMORY;
    }
    memcpy(source, columns[4].data, columns[4].size);
    source[columns[4].size] = '\0';
    build->found = true;
    build->build = stele_sinks__parse(columns[0]);
    build->version = stele_sinks__parse(columns[1]);
    build->lanes = (uint32_t)stele_sinks__parse(columns[2]);
    (void)snprintf(build->store, sizeof build->store, "%.*s", (int)columns[3].size,
                   columns[3].data);
    build->source = (struct stele_text){.data = source, .size = columns[4].size};
    return STELE_OK;
}

int stele_sinks__find(struct stele_sinks_sql *sink, const char *name, const char *state,
                      struct stele_arena *arena, struct stele_sinks_build *out_build,
                      struct stele_error *err)
{
    const struct stele_sinks_value values[] = {stele_sinks_text(name), stele_sinks_text(state)};
    struct find find = {.arena = arena, .alloc = sink->alloc};
    const int outcome =
        sink->driver->query(sink->lanes[0].db,
                            "SELECT build, version, lanes, store, source FROM stele_builds WHERE "
                            "name = ?1 AND state = ?2",
                            values, STELE_COUNT_OF(values), on_build, &find, NULL, err);
    if (outcome == STELE_OK) {
        *out_build = find.build;
    }
    return outcome;
}

/* ---- Lanes ---- */

struct lanes {
    struct stele_sinks_sql *sink;
    struct stele_sink_place *place;
    uint32_t count;
};

static int on_lane(void *context, const struct stele_text *columns, size_t count)
{
    struct lanes *const lanes = context;
    (void)count;
    if (lanes->count < STELE_PROJECT_LANES_MAX) {
        lanes->place->lane[lanes->count] =
            (struct stele_sink_lane){.position = stele_sinks__parse(columns[0]),
                                     .effects_after = stele_sinks__parse(columns[1])};
        lanes->sink->lanes[lanes->count].generation = stele_sinks__parse(columns[2]);
        lanes->count++;
    }
    return STELE_OK;
}

int stele_sinks__lanes(struct stele_sinks_sql *sink, const char *name, uint64_t build,
                       struct stele_sink_place *place, struct stele_error *err)
{
    const struct stele_sinks_value values[] = {stele_sinks_text(name), stele_sinks_number(build)};
    struct lanes lanes = {.sink = sink, .place = place};
    const int outcome =
        sink->driver->query(sink->lanes[0].db,
                            "SELECT position, effects_after, generation FROM stele_lanes WHERE "
                            "name = ?1 AND build = ?2 "
                            "ORDER BY lane",
                            values, STELE_COUNT_OF(values), on_lane, &lanes, NULL, err);
    place->lanes = lanes.count;
    place->build = build;
    if (outcome == STELE_OK && lanes.count == 0) {
        return stele_fail(err, STELE_E_CORRUPT, 0, "projection %s: build %llu has no lanes", name,
                          (unsigned long long)build);
    }
    return outcome;
}

/* ---- Shown ---- */

/* Texts of a row with an end, for callbacks. */
struct row_texts {
    struct stele_arena arena;
    struct stele_alloc *alloc;
};

static const char *row_text(struct row_texts *texts, struct stele_text column)
{
    char *const copy = stele_arena_allocate(&texts->arena, texts->alloc, column.size + 1);
    if (copy == NULL) {
        return "";
    }
    memcpy(copy, column.data, column.size);
    copy[column.size] = '\0';
    return copy;
}

struct list_walk {
    struct stele_alloc *alloc;
    stele_project_callback on_projection;
    stele_parked_callback on_parked;
    void *context;
};

static int on_listed(void *context, const struct stele_text *columns, size_t count)
{
    const struct list_walk *const walk = context;
    struct row_texts texts = {.alloc = walk->alloc};
    (void)count;
    const struct stele_project_info info = {
        .name = row_text(&texts, columns[0]),
        .build = stele_sinks__parse(columns[1]),
        .version = stele_sinks__parse(columns[2]),
        .building = columns[3].size != 4, /* "live" */
        .lanes = (uint32_t)stele_sinks__parse(columns[4]),
        .source = row_text(&texts, columns[5]),
        .position = stele_sinks__parse(columns[6]),
        .events = stele_sinks__parse(columns[7]),
        .parked = stele_sinks__parse(columns[8]),
    };
    const int ends = walk->on_projection(walk->context, &info);
    stele_arena_deinit(&texts.arena, texts.alloc);
    return ends != 0 ? STELE_END : STELE_OK;
}

int stele_sinks__list(struct stele_sink *base, stele_project_callback on_projection, void *context,
                      struct stele_error *err)
{
    struct stele_sinks_sql *const sink = sql_of(base);
    struct list_walk walk = {
        .alloc = sink->alloc, .on_projection = on_projection, .context = context};
    int outcome = stele_sinks__check_books(sink, err);
    if (outcome == STELE_OK) {
        outcome = sink->driver->query(
            sink->lanes[0].db,
            "SELECT b.name, b.build, b.version, b.state, b.lanes, b.source, "
            "(SELECT MIN(position) FROM stele_lanes l WHERE l.name = b.name AND l.build = "
            "b.build), "
            "(SELECT SUM(events) FROM stele_lanes l WHERE l.name = b.name AND l.build = b.build), "
            "(SELECT COUNT(*) FROM stele_parked p WHERE p.name = b.name AND p.build = b.build) "
            "FROM stele_builds b ORDER BY b.name, b.build",
            NULL, 0, on_listed, &walk, NULL, err);
    }
    return outcome == STELE_NOT_FOUND || outcome == STELE_END ? STELE_OK : outcome;
}

static int on_parked_row(void *context, const struct stele_text *columns, size_t count)
{
    const struct list_walk *const walk = context;
    struct row_texts texts = {.alloc = walk->alloc};
    (void)count;
    const struct stele_project_parked parked = {
        .name = row_text(&texts, columns[0]),
        .position = stele_sinks__parse(columns[1]),
        .stream = row_text(&texts, columns[2]),
        .revision = stele_sinks__parse(columns[3]),
        .type = row_text(&texts, columns[4]),
        .reason = row_text(&texts, columns[5]),
        .attempts = stele_sinks__parse(columns[6]),
    };
    const int ends = walk->on_parked(walk->context, &parked);
    stele_arena_deinit(&texts.arena, texts.alloc);
    return ends != 0 ? STELE_END : STELE_OK;
}

int stele_sinks__parked(struct stele_sink *base, const char *name, stele_parked_callback on_parked,
                        void *context, struct stele_error *err)
{
    struct stele_sinks_sql *const sink = sql_of(base);
    const struct stele_sinks_value values[] = {stele_sinks_text(name != NULL ? name : "")};
    struct list_walk walk = {.alloc = sink->alloc, .on_parked = on_parked, .context = context};
    int outcome = stele_sinks__check_books(sink, err);
    if (outcome == STELE_OK) {
        outcome = sink->driver->query(
            sink->lanes[0].db,
            "SELECT p.name, p.position, p.stream, p.revision, p.type, p.reason, p.attempts FROM "
            "stele_parked p JOIN stele_builds b ON b.name = p.name AND b.build = p.build WHERE "
            "b.state = 'live' AND (?1 = '' OR p.name = ?1) ORDER BY p.name, p.stream, p.position",
            values, STELE_COUNT_OF(values), on_parked_row, &walk, NULL, err);
    }
    return outcome == STELE_NOT_FOUND || outcome == STELE_END ? STELE_OK : outcome;
}

struct lowest {
    uint64_t position;
    bool found;
};

static int on_lowest(void *context, const struct stele_text *columns, size_t count)
{
    (void)count;
    *(struct lowest *)context =
        (struct lowest){.position = stele_sinks__parse(columns[0]), .found = columns[0].size > 0};
    return STELE_OK;
}

int stele_sinks__position(struct stele_sink *base, const char *name, uint64_t *out_position,
                          struct stele_error *err)
{
    struct stele_sinks_sql *const sink = sql_of(base);
    const struct stele_sinks_value values[] = {stele_sinks_text(name)};
    struct lowest lowest = {.found = false};
    int outcome = stele_sinks__check_books(sink, err);
    if (outcome == STELE_OK) {
        outcome = sink->driver->query(
            sink->lanes[0].db,
            "SELECT MIN(position) FROM stele_lanes WHERE name = ?1 AND build = (SELECT build FROM "
            "stele_builds WHERE name = ?1 AND state = 'live')",
            values, STELE_COUNT_OF(values), on_lowest, &lowest, NULL, err);
    }
    if (outcome == STELE_OK && !lowest.found) {
        return stele_fail(err, STELE_NOT_FOUND, 0,
                          "%.200s: there is no projection %s in this database", sink->where, name);
    }
    *out_position = lowest.position;
    return outcome;
}
