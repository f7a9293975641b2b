/* A projection meets its database: the build is found or made, and every statement is prepared once.
 *
 * All of that happens in one transaction, so a mistake in the file leaves nothing behind. */
#include "base/hex.h"
#include "io/linux.h"
#include "sinks/sql.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct stele_sinks_sql *sql_of(struct stele_sink *base)
{
    return (struct stele_sinks_sql *)(void *)base;
}

/* ---- Statements ---- */

static int prepare_one(struct stele_sinks_sql *sink, uint32_t lane, size_t number,
                       struct stele_error *err)
{
    const struct stele_projection *const projection = sink->projection;
    const struct stele_statement *const statement = &projection->statements[number];
    struct stele_buf sql = {.data = NULL};
    size_t offset = SIZE_MAX;
    int outcome =
        stele_projection_render(statement, sink->driver->dialect, sink->suffix, sink->alloc, &sql);
    if (outcome == STELE_OK) {
        outcome = sink->driver->prepare(sink->lanes[lane].db, (const char *)sql.data, number,
                                        statement->params, &sink->lanes[lane].statements[number],
                                        &offset, err);
        if (outcome == STELE_E_INVALID && err != NULL) {
            char words[sizeof err->message];
            const uint32_t line =
                offset == SIZE_MAX
                    ? statement->line
                    : stele_projection_line(statement, (const char *)sql.data, offset);
            (void)snprintf(words, sizeof words, "%s", err->message);
            (void)stele_fail(err, outcome, 0, "%.80s:%u: %.380s", projection->file, (unsigned)line,
                             words);
        }
    }
    stele_buf_deinit(&sql, sink->alloc);
    return outcome;
}

int stele_sinks__prepare(struct stele_sinks_sql *sink, uint32_t lane, struct stele_error *err)
{
    const size_t count = sink->projection->statements_count;
    struct stele_sinks_connection *const connection = &sink->lanes[lane];
    if (count == 0) {
        return STELE_OK;
    }
    connection->statements =
        stele_allocate_zeroed(sink->alloc, count * sizeof *connection->statements);
    if (connection->statements == NULL) {
        return stele_fail(err, STELE_E_NO_MEMORY, 0, "prepare statements: no memory");
    }
    int outcome = STELE_OK;
    for (size_t i = 0; i < count && outcome == STELE_OK; i++) {
        outcome = prepare_one(sink, lane, i, err);
    }
    return outcome;
}

static int by_type(const void *a, const void *b)
{
    const struct stele_text x = ((const struct stele_sinks_route *)a)->type;
    const struct stele_text y = ((const struct stele_sinks_route *)b)->type;
    if (x.size != y.size) {
        return x.size < y.size ? -1 : 1;
    }
    return memcmp(x.data, y.data, x.size);
}

static int fill_route(struct stele_sinks_sql *sink, struct stele_sinks_route *route)
{
    const struct stele_projection *const projection = sink->projection;
    route->count = 0;
    route->statements = stele_arena_allocate(
        &sink->arena, sink->alloc, (projection->statements_count + 1) * sizeof *route->statements);
    if (route->statements == NULL) {
        return STELE_E_NO_MEMORY;
    }
    for (size_t i = 0; i < projection->sections_count; i++) {
        const struct stele_section *const section = &projection->sections[i];
        if (!stele_section_wants(section, route->type)) {
            continue;
        }
        for (size_t j = 0; j < section->count; j++) {
            route->statements[route->count++] =
                (uint32_t)(section->first + j) | (section->effect ? STELE_SINKS_EFFECT : 0);
        }
    }
    return STELE_OK;
}

int stele_sinks__make_routes(struct stele_sinks_sql *sink, struct stele_error *err)
{
    const struct stele_projection *const projection = sink->projection;
    size_t room = 1;
    for (size_t i = 0; i < projection->sections_count; i++) {
        room += projection->sections[i].types_count;
    }
    struct stele_sinks_route *const routes =
        stele_arena_allocate(&sink->arena, sink->alloc, room * sizeof *routes);
    size_t count = 0;
    for (size_t i = 0; routes != NULL && i < projection->sections_count; i++) {
        for (size_t j = 0; j < projection->sections[i].types_count; j++) {
            routes[count++].type = projection->sections[i].types[j];
        }
    }
    if (routes != NULL && count > 1) {
        qsort(routes, count, sizeof *routes, by_type);
    }
    size_t distinct = 0;
    for (size_t i = 0; routes != NULL && i < count; i++) {
        if (distinct == 0 || by_type(&routes[distinct - 1], &routes[i]) != 0) {
            routes[distinct++].type = routes[i].type;
        }
    }
    int outcome = routes != NULL ? STELE_OK : STELE_E_NO_MEMORY;
    if (routes != NULL) {
        routes[distinct++].type = (struct stele_text){.data = "", .size = 0};
    }
    for (size_t i = 0; i < distinct && outcome == STELE_OK; i++) {
        outcome = fill_route(sink, &routes[i]);
    }
    sink->routes = routes;
    sink->routes_count = distinct;
    return outcome == STELE_OK ? STELE_OK
                               : stele_fail(err, outcome, 0, "prepare statements: no memory");
}

/* ---- Which build ---- */

static int other_store(const struct stele_sinks_sql *sink, const char *name,
                       struct stele_error *err)
{
    return stele_fail(err, STELE_CONDITION_FAILED, 0,
                      "%.150s: projection %s was made of another store; use another database, or "
                      "drop it there first",
                      sink->where, name);
}

static int check_build(const struct stele_sinks_sql *sink, const struct stele_sink_request *request,
                       const struct stele_sinks_build *live, struct stele_error *err)
{
    const struct stele_projection *const projection = request->projection;
    char store[33];
    stele_hex_encode(request->store_id, 16, store);
    if (strcmp(store, live->store) != 0) {
        return other_store(sink, projection->name, err);
    }
    if (request->rebuild) {
        return STELE_OK;
    }
    if (live->version != projection->version) {
        return stele_fail(err, STELE_CONDITION_FAILED, 0,
                          "%.80s: this is version %llu of projection %s, the database has version "
                          "%llu; a rebuild makes the new one beside it and switches over",
                          projection->file, (unsigned long long)projection->version,
                          projection->name, (unsigned long long)live->version);
    }
    if (live->source.size != projection->source.size ||
        (live->source.size > 0 &&
         memcmp(live->source.data, projection->source.data, live->source.size) != 0)) {
        return stele_fail(
            err, STELE_CONDITION_FAILED, 0,
            "%.80s: the file was changed since version %llu of projection %s was made "
            "of it; raise @version and rebuild",
            projection->file, (unsigned long long)projection->version, projection->name);
    }
    return STELE_OK;
}

static int on_number(void *context, const struct stele_text *columns, size_t count)
{
    (void)count;
    *(uint64_t *)context = stele_sinks__parse(columns[0]);
    return STELE_OK;
}

static int next_build(struct stele_sinks_sql *sink, const char *name, uint64_t *out_build,
                      struct stele_error *err)
{
    const struct stele_sinks_value values[] = {stele_sinks_text(name)};
    uint64_t highest = 0;
    const int outcome = sink->driver->query(
        sink->lanes[0].db, "SELECT MAX(build) FROM stele_builds WHERE name = ?1", values,
        STELE_COUNT_OF(values), on_number, &highest, NULL, err);
    *out_build = highest + 1;
    return outcome;
}

/* Other lanes than before: only where all of them have come equally far does it not matter. */
static int change_lanes(struct stele_sinks_sql *sink, const struct stele_sink_request *request,
                        uint64_t build, struct stele_sink_place *place, struct stele_error *err)
{
    const char *const name = request->projection->name;
    for (uint32_t i = 1; i < place->lanes; i++) {
        if (place->lane[i].position != place->lane[0].position ||
            place->lane[i].effects_after != place->lane[0].effects_after) {
            return stele_fail(
                err, STELE_CONDITION_FAILED, 0,
                "projection %s: its %u lanes have not come equally far; run it once to "
                "the end with %u lanes, then with %u",
                name, place->lanes, place->lanes, request->lanes);
        }
    }
    char sql[400];
    const struct stele_sinks_value values[] = {stele_sinks_text(name), stele_sinks_number(build),
                                               stele_sinks_number(request->lanes)};
    int outcome = sink->driver->query(
        sink->lanes[0].db, "DELETE FROM stele_lanes WHERE name = ?1 AND build = ?2 AND lane >= ?3",
        values, STELE_COUNT_OF(values), NULL, NULL, NULL, err);
    for (uint32_t i = place->lanes; i < request->lanes && outcome == STELE_OK; i++) {
        (void)snprintf(sql, sizeof sql,
                       "INSERT INTO stele_lanes (name, build, lane, position, effects_after, "
                       "generation, events) SELECT name, build, %u, position, effects_after, 0, 0 "
                       "FROM stele_lanes WHERE name = ?1 AND build = ?2 AND lane = 0",
                       (unsigned)i);
        outcome = sink->driver->query(sink->lanes[0].db, sql, values, 2, NULL, NULL, NULL, err);
    }
    if (outcome == STELE_OK) {
        outcome = sink->driver->query(
            sink->lanes[0].db, "UPDATE stele_builds SET lanes = ?3 WHERE name = ?1 AND build = ?2",
            values, STELE_COUNT_OF(values), NULL, NULL, NULL, err);
    }
    if (outcome == STELE_OK) {
        /* Whoever runs with the old lanes must not commit any more. */
        outcome = sink->driver->query(sink->lanes[0].db,
                                      "UPDATE stele_lanes SET generation = generation + 1 WHERE "
                                      "name = ?1 AND build = ?2",
                                      values, 2, NULL, NULL, NULL, err);
    }
    return outcome == STELE_OK ? stele_sinks__lanes(sink, name, build, place, err) : outcome;
}

/* The build of a rebuild: one that was begun and can go on, or a new one. */
static int find_building(struct stele_sinks_sql *sink, const struct stele_sink_request *request,
                         const struct stele_sinks_build *live, uint64_t *out_build,
                         struct stele_error *err)
{
    const struct stele_projection *const projection = request->projection;
    struct stele_sinks_build building = {.found = false};
    const struct stele_projection *made_of = NULL;
    int outcome =
        stele_sinks__find(sink, projection->name, "building", &sink->arena, &building, err);
    if (outcome != STELE_OK) {
        return outcome;
    }
    if (building.found && building.version == projection->version &&
        building.lanes == live->lanes && building.source.size == projection->source.size &&
        building.source.size > 0 &&
        memcmp(building.source.data, projection->source.data, building.source.size) == 0) {
        *out_build = building.build;
        return STELE_OK;
    }
    outcome = next_build(sink, projection->name, out_build, err);
    if (outcome == STELE_OK && building.found) {
        outcome = stele_sinks__made_of(&building, projection, &made_of, err);
        if (outcome == STELE_OK) {
            outcome = stele_sinks__drop_build(sink, made_of, building.build, err);
            stele_sinks__release_made_of(made_of, projection);
        }
    }
    return outcome == STELE_OK
               ? stele_sinks__create_build(sink, request, *out_build, live->lanes, false, err)
               : outcome;
}

static int find_build(struct stele_sinks_sql *sink, const struct stele_sink_request *request,
                      struct stele_sink_place *place, struct stele_error *err)
{
    const struct stele_projection *const projection = request->projection;
    struct stele_sinks_build live = {.found = false};
    uint64_t build = 0;
    int outcome = stele_sinks__find(sink, projection->name, "live", &sink->arena, &live, err);
    if (outcome != STELE_OK) {
        return outcome;
    }
    if (!live.found) {
        if (request->must_exist) {
            return stele_fail(err, STELE_NOT_FOUND, 0,
                              "%.200s: there is no projection %s in this database", sink->where,
                              projection->name);
        }
        outcome = next_build(sink, projection->name, &build, err);
        if (outcome == STELE_OK) {
            outcome = stele_sinks__create_build(
                sink, request, build, request->lanes == 0 ? 1 : request->lanes, true, err);
        }
    } else {
        outcome = check_build(sink, request, &live, err);
        build = live.build;
        if (outcome == STELE_OK && request->rebuild) {
            outcome = find_building(sink, request, &live, &build, err);
            place->building = true;
        }
    }
    if (outcome == STELE_OK) {
        outcome = stele_sinks__lanes(sink, projection->name, build, place, err);
    }
    if (outcome == STELE_OK && !place->building && request->lanes != 0 &&
        request->lanes != place->lanes) {
        outcome = change_lanes(sink, request, build, place, err);
    }
    return outcome;
}

/* ---- Attaching ---- */

static int attach_first(struct stele_sinks_sql *sink, const struct stele_sink_request *request,
                        struct stele_sink_place *place, struct stele_error *err)
{
    int outcome = STELE_OK;
    if (sink->driver->lock_all != NULL) {
        outcome = sink->driver->query(sink->lanes[0].db, sink->driver->lock_all, NULL, 0, NULL,
                                      NULL, NULL, err);
    }
    if (outcome == STELE_OK) {
        outcome = stele_sinks__make_books(sink, err);
    }
    if (outcome == STELE_OK) {
        outcome = find_build(sink, request, place, err);
    }
    if (outcome != STELE_OK) {
        return outcome;
    }
    sink->build = place->build;
    sink->lanes_count = place->lanes;
    stele_sinks__suffix(place->build, sink->suffix);
    outcome = stele_sinks__make_routes(sink, err);
    return outcome == STELE_OK ? stele_sinks__prepare(sink, 0, err) : outcome;
}

static int attach_others(struct stele_sinks_sql *sink, struct stele_error *err)
{
    int outcome = STELE_OK;
    for (uint32_t i = 1; i < sink->lanes_count && outcome == STELE_OK; i++) {
        outcome = sink->driver->connect(sink->where, sink->flags, &sink->lanes[i].db, err);
        if (outcome == STELE_OK) {
            outcome = stele_sinks__prepare(sink, i, err);
        }
    }
    return outcome;
}

int stele_sinks__attach(struct stele_sink *base, const struct stele_sink_request *request,
                        struct stele_sink_place *out_place, struct stele_error *err)
{
    struct stele_sinks_sql *const sink = sql_of(base);
    void *const db = sink->lanes[0].db;
    struct stele_sink_place place = {.build = 0};
    STELE_ASSERT(sink->projection == NULL);
    if (request->projection->language != STELE_LANGUAGE_SQL) {
        return stele_fail(
            err, STELE_E_INVALID, 0,
            "%.80s:1: %s takes a projection in SQL; one in Lua goes into Redis, one in jq "
            "into Elasticsearch",
            request->projection->file, sink->driver->name);
    }
    if (request->lanes > sink->driver->lanes_max) {
        return stele_fail(err, STELE_E_LIMIT, 0,
                          "projection %s: %u lanes; %s has %u writer%s at a time",
                          request->projection->name, request->lanes, sink->driver->name,
                          sink->driver->lanes_max, sink->driver->lanes_max == 1 ? "" : "s");
    }
    int outcome = sink->driver->begin(db, err);
    if (outcome != STELE_OK) {
        return outcome;
    }
    sink->projection = request->projection;
    outcome = attach_first(sink, request, &place, err);
    if (outcome == STELE_OK) {
        outcome = sink->driver->commit(db, err);
    }
    if (outcome != STELE_OK) {
        stele_sinks__detach(base);
        sink->driver->rollback(db);
        return outcome;
    }
    sink->used = true;
    outcome = attach_others(sink, err);
    if (outcome != STELE_OK) {
        stele_sinks__detach(base);
        return outcome;
    }
    *out_place = place;
    return STELE_OK;
}

void stele_sinks__detach(struct stele_sink *base)
{
    struct stele_sinks_sql *const sink = sql_of(base);
    if (sink->projection == NULL) {
        return;
    }
    const size_t count = sink->projection->statements_count;
    for (uint32_t i = 0; i < STELE_PROJECT_LANES_MAX; i++) {
        struct stele_sinks_connection *const connection = &sink->lanes[i];
        for (size_t j = 0; connection->statements != NULL && j < count; j++) {
            if (connection->statements[j] != NULL) {
                sink->driver->release(connection->db, connection->statements[j]);
            }
        }
        stele_release(sink->alloc, connection->statements, count * sizeof *connection->statements);
        connection->statements = NULL;
        if (i > 0 && connection->db != NULL) {
            sink->driver->disconnect(connection->db, true);
            connection->db = NULL;
        }
    }
    stele_arena_deinit(&sink->arena, sink->alloc);
    sink->routes = NULL;
    sink->routes_count = 0;
    sink->projection = NULL;
}
