/* Builds: tables under numbered names, and the views that readers use.
 *
 * Databases change tables inside transactions, so a build is there with its row in the books or not at
 * all, and the views change hands in the transaction that drops the old tables. */
#include "base/hex.h"
#include "io/linux.h"
#include "sinks/sql.h"

#include <stdio.h>
#include <string.h>

void stele_sinks__suffix(uint64_t build, char suffix[STELE_SINKS_SUFFIX_SIZE])
{
    (void)snprintf(suffix, STELE_SINKS_SUFFIX_SIZE, "__%llu", (unsigned long long)build);
}

/* What the database says about a statement, with the place in the file. */
static int in_file(const struct stele_projection *projection, uint32_t line, int outcome,
                   struct stele_error *err)
{
    char words[sizeof err->message];
    if (err == NULL || outcome != STELE_E_INVALID) {
        return outcome;
    }
    (void)snprintf(words, sizeof words, "%s", err->message);
    return stele_fail(err, outcome, 0, "%.80s:%u: %.380s", projection->file, (unsigned)line, words);
}

/* ---- Tables ---- */

static int create_one(struct stele_sinks_sql *sink, const struct stele_projection *projection,
                      const struct stele_statement *statement, const char *suffix,
                      struct stele_error *err)
{
    struct stele_buf sql = {.data = NULL};
    size_t offset = SIZE_MAX;
    int outcome =
        stele_projection_render(statement, sink->driver->dialect, suffix, sink->alloc, &sql);
    if (outcome == STELE_OK) {
        outcome = sink->driver->execute(sink->lanes[0].db, (const char *)sql.data, &offset, err);
        outcome = in_file(projection,
                          offset == SIZE_MAX
                              ? statement->line
                              : stele_projection_line(statement, (const char *)sql.data, offset),
                          outcome, err);
    }
    stele_buf_deinit(&sql, sink->alloc);
    return outcome;
}

static int create_tables(struct stele_sinks_sql *sink, const struct stele_projection *projection,
                         const char *suffix, struct stele_error *err)
{
    int outcome = STELE_OK;
    if (projection->c.create != NULL) {
        const struct stele_project_step step = {.handle = sink->driver->handle(sink->lanes[0].db),
                                                .suffix = suffix};
        outcome = projection->c.create(projection->c.context, &step, err);
    }
    for (size_t i = 0; i < projection->tables_count && outcome == STELE_OK; i++) {
        outcome = create_one(sink, projection, &projection->tables[i], suffix, err);
    }
    return outcome;
}

/* "DROP VIEW IF EXISTS name" and the like. */
static int with_name(struct stele_sinks_sql *sink, const char *before, struct stele_text name,
                     const char *suffix, const char *after, struct stele_error *err)
{
    struct stele_buf sql = {.data = NULL};
    int outcome = stele_buf_append(&sql, sink->alloc, stele_bytes_of_text(before));
    if (outcome == STELE_OK) {
        outcome = stele_projection_render_name(name, suffix, sink->alloc, &sql);
    }
    if (outcome == STELE_OK) {
        const struct stele_bytes rest = {.data = (const uint8_t *)after, .size = strlen(after) + 1};
        outcome = stele_buf_append(&sql, sink->alloc, rest);
    }
    if (outcome == STELE_OK) {
        outcome = sink->driver->execute(sink->lanes[0].db, (const char *)sql.data, NULL, err);
    }
    stele_buf_deinit(&sql, sink->alloc);
    return outcome;
}

static bool has_view(const struct stele_created *created)
{
    return created->kind == STELE_CREATED_TABLE || created->kind == STELE_CREATED_VIEW;
}

static int make_view(struct stele_sinks_sql *sink, const struct stele_projection *projection,
                     const struct stele_created *created, const char *words, const char *suffix,
                     struct stele_error *err)
{
    struct stele_buf select = {.data = NULL};
    int outcome = stele_buf_append(&select, sink->alloc, stele_bytes_of_text(" AS SELECT * FROM "));
    if (outcome == STELE_OK) {
        outcome = stele_projection_render_name(created->name, suffix, sink->alloc, &select);
    }
    if (outcome == STELE_OK) {
        outcome = stele_buf_append(&select, sink->alloc,
                                   (struct stele_bytes){.data = (const uint8_t *)"", .size = 1});
    }
    if (outcome == STELE_OK) {
        outcome = with_name(sink, words, created->name, "", (const char *)select.data, err);
    }
    stele_buf_deinit(&select, sink->alloc);
    return in_file(projection, created->line, outcome, err);
}

static bool is_among(const struct stele_projection *projection, struct stele_text name)
{
    for (size_t i = 0; projection != NULL && i < projection->created_count; i++) {
        if (has_view(&projection->created[i]) && projection->created[i].name.size == name.size &&
            memcmp(projection->created[i].name.data, name.data, name.size) == 0) {
            return true;
        }
    }
    return false;
}

/* Other views may stand on one of ours, and rights may have been given on it: where the columns allow
 * it, the view stays and only looks elsewhere. */
static int replace_view(struct stele_sinks_sql *sink, const struct stele_projection *projection,
                        const struct stele_created *created, const char *suffix,
                        struct stele_error *err)
{
    void *const db = sink->lanes[0].db;
    if (sink->driver->replace_view != NULL) {
        int outcome = sink->driver->execute(db, "SAVEPOINT stele_view", NULL, err);
        if (outcome != STELE_OK) {
            return outcome;
        }
        outcome = make_view(sink, projection, created, sink->driver->replace_view, suffix, err);
        if (outcome != STELE_E_INVALID) {
            return outcome;
        }
        outcome = sink->driver->execute(db, "ROLLBACK TO SAVEPOINT stele_view", NULL, err);
        if (outcome != STELE_OK) {
            return outcome;
        }
    }
    const int outcome = with_name(sink, "DROP VIEW ", created->name, "", "", err);
    return outcome == STELE_OK ? make_view(sink, projection, created, "CREATE VIEW ", suffix, err)
                               : outcome;
}

int stele_sinks__make_views(struct stele_sinks_sql *sink, const struct stele_projection *projection,
                            const char *suffix, const struct stele_projection *old,
                            struct stele_error *err)
{
    int outcome = STELE_OK;
    for (size_t i = 0; old != NULL && i < old->created_count && outcome == STELE_OK; i++) {
        if (has_view(&old->created[i]) && !is_among(projection, old->created[i].name)) {
            outcome = with_name(sink, "DROP VIEW IF EXISTS ", old->created[i].name, "", "", err);
        }
    }
    for (size_t i = 0; i < projection->created_count && outcome == STELE_OK; i++) {
        const struct stele_created *const created = &projection->created[i];
        if (!has_view(created)) {
            continue;
        }
        outcome = is_among(old, created->name)
                      ? replace_view(sink, projection, created, suffix, err)
                      : make_view(sink, projection, created, "CREATE VIEW ", suffix, err);
    }
    return outcome;
}

/* ---- Builds ---- */

static int insert_rows(struct stele_sinks_sql *sink, const struct stele_sink_request *request,
                       uint64_t build, uint32_t lanes, bool live, struct stele_error *err)
{
    char store[33];
    stele_hex_encode(request->store_id, 16, store);
    const struct stele_projection *const projection = request->projection;
    const struct stele_sinks_value values[] = {
        stele_sinks_text(projection->name),
        stele_sinks_number(build),
        stele_sinks_number(projection->version),
        stele_sinks_text(live ? "live" : "building"),
        stele_sinks_number(lanes),
        stele_sinks_text(store),
        stele_sinks_text(projection->source.size > 0 ? projection->source.data : ""),
    };
    int outcome = sink->driver->query(
        sink->lanes[0].db,
        "INSERT INTO stele_builds (name, build, version, state, lanes, store, source) VALUES "
        "(?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        values, STELE_COUNT_OF(values), NULL, NULL, NULL, err);
    for (uint32_t i = 0; i < lanes && outcome == STELE_OK; i++) {
        const struct stele_sinks_value lane[] = {
            stele_sinks_text(projection->name),
            stele_sinks_number(build),
            stele_sinks_number(i),
            /* Everything that a rebuild sees has been seen before. */
            stele_sinks_number(live ? request->effects_after : (uint64_t)INT64_MAX),
        };
        outcome = sink->driver->query(
            sink->lanes[0].db,
            "INSERT INTO stele_lanes (name, build, lane, position, effects_after, generation, "
            "events) VALUES (?1, ?2, ?3, 0, ?4, 0, 0)",
            lane, STELE_COUNT_OF(lane), NULL, NULL, NULL, err);
    }
    return outcome;
}

int stele_sinks__create_build(struct stele_sinks_sql *sink,
                              const struct stele_sink_request *request, uint64_t build,
                              uint32_t lanes, bool live, struct stele_error *err)
{
    char suffix[STELE_SINKS_SUFFIX_SIZE];
    stele_sinks__suffix(build, suffix);
    int outcome = create_tables(sink, request->projection, suffix, err);
    if (outcome == STELE_OK && live) {
        outcome = stele_sinks__make_views(sink, request->projection, suffix, NULL, err);
    }
    return outcome == STELE_OK ? insert_rows(sink, request, build, lanes, live, err) : outcome;
}

int stele_sinks__drop_build(struct stele_sinks_sql *sink, const struct stele_projection *projection,
                            uint64_t build, struct stele_error *err)
{
    static const char *const books[] = {
        "DELETE FROM stele_builds WHERE name = ?1 AND build = ?2",
        "DELETE FROM stele_lanes WHERE name = ?1 AND build = ?2",
        "DELETE FROM stele_parked WHERE name = ?1 AND build = ?2",
        "DELETE FROM stele_streams WHERE name = ?1 AND build = ?2",
        "DELETE FROM stele_skipped WHERE name = ?1 AND build = ?2",
    };
    const struct stele_sinks_value values[] = {stele_sinks_text(projection->name),
                                               stele_sinks_number(build)};
    char suffix[STELE_SINKS_SUFFIX_SIZE];
    int outcome = STELE_OK;
    stele_sinks__suffix(build, suffix);
    for (size_t i = 0; i < STELE_COUNT_OF(books) && outcome == STELE_OK; i++) {
        outcome = sink->driver->query(sink->lanes[0].db, books[i], values, STELE_COUNT_OF(values),
                                      NULL, NULL, NULL, err);
    }
    /* What was made later may stand on what was made earlier. Indexes and triggers go with their
     * tables. */
    for (size_t i = projection->created_count; i > 0 && outcome == STELE_OK; i--) {
        const struct stele_created *const created = &projection->created[i - 1];
        if (has_view(created)) {
            outcome = with_name(sink,
                                created->kind == STELE_CREATED_TABLE ? "DROP TABLE IF EXISTS "
                                                                     : "DROP VIEW IF EXISTS ",
                                created->name, suffix, "", err);
        }
    }
    return outcome;
}

int stele_sinks__made_of(const struct stele_sinks_build *build,
                         const struct stele_projection *otherwise,
                         const struct stele_projection **out_projection, struct stele_error *err)
{
    struct stele_projection *parsed = NULL;
    if (build->source.size == 0) {
        *out_projection = otherwise;
        return STELE_OK;
    }
    const int outcome = stele_projection_parse("the database's own projection", build->source.data,
                                               build->source.size, &parsed, err);
    if (outcome == STELE_OK) {
        *out_projection = parsed;
    }
    return outcome;
}

void stele_sinks__release_made_of(const struct stele_projection *projection,
                                  const struct stele_projection *otherwise)
{
    if (projection != otherwise) {
        stele_projection_destroy((struct stele_projection *)(uintptr_t)projection);
    }
}

/* ---- The switch ---- */

static int take_over(struct stele_sinks_sql *sink, const struct stele_sinks_build *old,
                     const struct stele_projection *old_projection, struct stele_error *err)
{
    const struct stele_sinks_value values[] = {stele_sinks_text(sink->projection->name),
                                               stele_sinks_number(sink->build)};
    int outcome =
        stele_sinks__make_views(sink, sink->projection, sink->suffix, old_projection, err);
    if (outcome == STELE_OK) {
        outcome = stele_sinks__drop_build(sink, old_projection, old->build, err);
    }
    if (outcome == STELE_OK) {
        outcome = sink->driver->query(
            sink->lanes[0].db,
            "UPDATE stele_builds SET state = 'live' WHERE name = ?1 AND build = ?2", values,
            STELE_COUNT_OF(values), NULL, NULL, NULL, err);
    }
    return outcome;
}

static int move_lanes(struct stele_sinks_sql *sink, const uint64_t *positions, uint64_t applied,
                      struct stele_error *err)
{
    int outcome = STELE_OK;
    for (uint32_t i = 0; i < sink->lanes_count && outcome == STELE_OK; i++) {
        const struct stele_sinks_value values[] = {
            stele_sinks_text(sink->projection->name),
            stele_sinks_number(sink->build),
            stele_sinks_number(i),
            stele_sinks_number(positions[i]),
            stele_sinks_number(i == 0 ? applied : 0),
            stele_sinks_number(sink->lanes[i].generation),
        };
        uint64_t changes = 0;
        outcome = sink->driver->query(
            sink->lanes[0].db,
            "UPDATE stele_lanes SET position = ?4, effects_after = ?4, events = events + ?5, "
            "generation = generation + 1 WHERE name = ?1 AND build = ?2 AND lane = ?3 AND "
            "generation = ?6",
            values, STELE_COUNT_OF(values), NULL, NULL, &changes, err);
        if (outcome == STELE_OK && changes != 1) {
            return stele_fail(err, STELE_E_FENCED, 0,
                              "projection %s: another process works on the same rebuild",
                              sink->projection->name);
        }
    }
    return outcome;
}

int stele_sinks__switch_over(struct stele_sink *base, const uint64_t *positions, uint64_t applied,
                             struct stele_error *err)
{
    struct stele_sinks_sql *const sink = (struct stele_sinks_sql *)(void *)base;
    struct stele_arena arena = {.blocks = NULL};
    struct stele_sinks_build old = {.found = false};
    const struct stele_projection *old_projection = NULL;
    int outcome = stele_sinks__find(sink, sink->projection->name, "live", &arena, &old, err);
    if (outcome == STELE_OK && !old.found) {
        outcome = stele_fail(err, STELE_E_FENCED, 0, "projection %s: the live build is gone",
                             sink->projection->name);
    }
    if (outcome == STELE_OK) {
        outcome = move_lanes(sink, positions, applied, err);
    }
    if (outcome == STELE_OK) {
        outcome = stele_sinks__made_of(&old, sink->projection, &old_projection, err);
    }
    if (outcome == STELE_OK) {
        outcome = take_over(sink, &old, old_projection, err);
        stele_sinks__release_made_of(old_projection, sink->projection);
    }
    stele_arena_deinit(&arena, sink->alloc);
    return outcome == STELE_OK ? sink->driver->commit(sink->lanes[0].db, err) : outcome;
}

int stele_sinks__drop(struct stele_sink *base, const struct stele_projection *projection,
                      struct stele_error *err)
{
    struct stele_sinks_sql *const sink = (struct stele_sinks_sql *)(void *)base;
    static const char *const states[] = {"live", "building"};
    struct stele_arena arena = {.blocks = NULL};
    void *const db = sink->lanes[0].db;
    int outcome = stele_sinks__check_books(sink, err);
    bool found = false;
    if (outcome == STELE_OK) {
        outcome = sink->driver->begin(db, err);
    }
    if (outcome == STELE_OK) {
        outcome = stele_sinks__make_books(sink, err); /* An older release has made fewer. */
    }
    for (size_t i = 0; i < STELE_COUNT_OF(states) && outcome == STELE_OK; i++) {
        struct stele_sinks_build build = {.found = false};
        const struct stele_projection *made_of = NULL;
        outcome = stele_sinks__find(sink, projection->name, states[i], &arena, &build, err);
        if (outcome != STELE_OK || !build.found) {
            continue;
        }
        found = true;
        outcome = stele_sinks__made_of(&build, projection, &made_of, err);
        for (size_t j = 0; i == 0 && outcome == STELE_OK && j < made_of->created_count; j++) {
            if (has_view(&made_of->created[j])) {
                outcome =
                    with_name(sink, "DROP VIEW IF EXISTS ", made_of->created[j].name, "", "", err);
            }
        }
        if (outcome == STELE_OK) {
            outcome = stele_sinks__drop_build(sink, made_of, build.build, err);
        }
        stele_sinks__release_made_of(made_of, projection);
    }
    if (outcome == STELE_OK && !found) {
        outcome = stele_fail(err, STELE_NOT_FOUND, 0,
                             "%.200s: there is no projection %s in this database", sink->where,
                             projection->name);
    }
    if (outcome == STELE_OK) {
        outcome = sink->driver->commit(db, err);
    }
    if (outcome != STELE_OK) {
        sink->driver->rollback(db);
    }
    stele_arena_deinit(&arena, sink->alloc);
    return outcome;
}
