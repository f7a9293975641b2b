/* The SQL sink, as its parts see it. */
#ifndef STELE_SINKS_SQL_H
#define STELE_SINKS_SQL_H

#include "runner/sink.h"
#include "sinks/driver.h"

#define STELE_SINKS_SUFFIX_SIZE 32

/* The connection of one lane. */
struct stele_sinks_connection {
    void *db;
    void **statements; /* As many as the projection has. */
    uint64_t generation;
};

/* What runs for a type of event. */
struct stele_sinks_route {
    struct stele_text type;
    uint32_t *statements; /* In the order of the file. Bit 31: a side effect. */
    size_t count;
};
#define STELE_SINKS_EFFECT (1u << 31)

struct stele_sinks_sql {
    struct stele_sink base;
    const struct stele_sinks_driver *driver;
    struct stele_alloc *alloc;
    char *where;
    uint32_t flags;
    bool used; /* Something was kept in it, or was there. */
    struct stele_sinks_connection lanes[STELE_PROJECT_LANES_MAX];

    /* While attached. */
    const struct stele_projection *projection;
    struct stele_arena arena;
    uint64_t build;
    uint32_t lanes_count;
    char suffix[STELE_SINKS_SUFFIX_SIZE];
    struct stele_sinks_route *routes; /* By type; the last one is for all others. */
    size_t routes_count;
};

/* A build, as it is in the database. */
struct stele_sinks_build {
    bool found;
    uint64_t build, version;
    uint32_t lanes;
    char store[33];
    struct stele_text source; /* In the arena that find was given. */
};

static inline struct stele_sinks_value stele_sinks_text(const char *text)
{
    return (struct stele_sinks_value){.text = text};
}
static inline struct stele_sinks_value stele_sinks_number(uint64_t number)
{
    return (struct stele_sinks_value){.number = (int64_t)number};
}
uint64_t stele_sinks__parse(struct stele_text column);

/* Makes the bookkeeping tables if they are not there. */
int stele_sinks__make_books(struct stele_sinks_sql *sink, struct stele_error *err);
/* STELE_NOT_FOUND: there are no bookkeeping tables. */
int stele_sinks__check_books(struct stele_sinks_sql *sink, struct stele_error *err);
/* The build in this state ("live", "building") and the highest number of any. */
int stele_sinks__find(struct stele_sinks_sql *sink, const char *name, const char *state,
                      struct stele_arena *arena, struct stele_sinks_build *out_build,
                      struct stele_error *err);
/* Fills the lanes of a place and, if the sink is attached to that build, their generations. */
int stele_sinks__lanes(struct stele_sinks_sql *sink, const char *name, uint64_t build,
                       struct stele_sink_place *place, struct stele_error *err);

/* Makes the tables of a build, and its rows in the books. */
int stele_sinks__create_build(struct stele_sinks_sql *sink,
                              const struct stele_sink_request *request, uint64_t build,
                              uint32_t lanes, bool live, struct stele_error *err);
/* Makes the views of the attached projection; old: those of a build that is dropped, or NULL. */
int stele_sinks__make_views(struct stele_sinks_sql *sink, const struct stele_projection *projection,
                            const char *suffix, const struct stele_projection *old,
                            struct stele_error *err);
/* Drops the tables of a build and forgets it. */
int stele_sinks__drop_build(struct stele_sinks_sql *sink, const struct stele_projection *projection,
                            uint64_t build, struct stele_error *err);
/* The projection that a build was made of: parsed from its source, or, for one in C, `otherwise`.
 * Released with stele_sinks__release_made_of(). */
int stele_sinks__made_of(const struct stele_sinks_build *build,
                         const struct stele_projection *otherwise,
                         const struct stele_projection **out_projection, struct stele_error *err);
void stele_sinks__release_made_of(const struct stele_projection *projection,
                                  const struct stele_projection *otherwise);
void stele_sinks__suffix(uint64_t build, char suffix[STELE_SINKS_SUFFIX_SIZE]);

/* What an event means, on a lane's connection. */
int stele_sinks__apply(struct stele_sinks_sql *sink, uint32_t lane, const struct stele_event *event,
                       int64_t effective_us, bool replay, uint64_t *out_culprit,
                       struct stele_error *err);
extern const struct stele_sink_effective_ops stele_sinks__effective;

/* Prepares the statements of the attached projection on a lane's connection. */
int stele_sinks__prepare(struct stele_sinks_sql *sink, uint32_t lane, struct stele_error *err);
int stele_sinks__make_routes(struct stele_sinks_sql *sink, struct stele_error *err);
int stele_sinks__attach(struct stele_sink *base, const struct stele_sink_request *request,
                        struct stele_sink_place *out_place, struct stele_error *err);
void stele_sinks__detach(struct stele_sink *base);
int stele_sinks__switch_over(struct stele_sink *base, const uint64_t *positions, uint64_t applied,
                             struct stele_error *err);

int stele_sinks__list(struct stele_sink *base, stele_project_callback on_projection, void *context,
                      struct stele_error *err);
int stele_sinks__parked(struct stele_sink *base, const char *name, stele_parked_callback on_parked,
                        void *context, struct stele_error *err);
int stele_sinks__position(struct stele_sink *base, const char *name, uint64_t *out_position,
                          struct stele_error *err);
int stele_sinks__drop(struct stele_sink *base, const struct stele_projection *projection,
                      struct stele_error *err);

#endif
