/* The sink on Elasticsearch, as its parts see it.
 *
 *     index NAME__B              the documents of build B; readers use the alias NAME
 *     index stele-projections    document NAME: {kind: "head", store, live, building, builds, drops}
 *                                document NAME.B: {kind: "build", version, source, position, effects,
 *                                generation, events, nonce, parked: […]}
 *
 * Positions are texts, because JSON's numbers are not safe beyond 53 bits. A document of the books is only
 * replaced under the sequence number that it was read with (if_seq_no, if_primary_term). */
#ifndef STELE_SINKS_ELASTIC_H
#define STELE_SINKS_ELASTIC_H

#include "runner/sink.h"
#include "sinks/driver.h"

#include <curl/curl.h>
#include <jansson.h>

#define STELE_ELASTIC_NAME_SIZE (STELE_PROJECT_NAME_SIZE_MAX + 32)
#define STELE_ELASTIC_BOOKS "stele-projections"

/* ---- The server ---- */

struct stele_sinks_elastic_link {
    struct stele_alloc *alloc;
    struct stele_arena arena; /* What the address says. */
    CURL *curl;
    struct curl_slist *headers;
    const char *url;   /* http://HOST:PORT/PREFIX, without a slash at its end. */
    const char *shown; /* The address without its password. */
    struct stele_buf answer;
    char words[CURL_ERROR_SIZE];
};

STELE_MUST_USE
int stele_sinks__elastic_open(struct stele_sinks_elastic_link *link, const char *address,
                              struct stele_error *err);
void stele_sinks__elastic_close(struct stele_sinks_elastic_link *link);

/* One request, made again for some seconds while the server is away or has too much to do. body NULL:
 * none. STELE_OK: there is an answer, *out_status is its status; *out_json (NULL if it is no JSON) is the
 * caller's. STELE_E_IO, STELE_E_OVERLOADED, STELE_E_PERMISSION, STELE_E_NO_MEMORY */
STELE_MUST_USE
int stele_sinks__elastic_ask(struct stele_sinks_elastic_link *link, const char *method,
                             const char *path, const char *body, size_t size, long *out_status,
                             json_t **out_json, struct stele_error *err);
/* Fails with what an answer says is wrong. */
int stele_sinks__elastic_refused(const struct stele_sinks_elastic_link *link, const char *what,
                                 long status, const json_t *answer, struct stele_error *err);
void stele_sinks__elastic_pause(unsigned ms);

/* ---- Documents ---- */

struct stele_sinks_elastic_docs;

/* Compiles the sections of a projection. STELE_E_INVALID: FILE:LINE: words. */
STELE_MUST_USE
int stele_sinks__elastic_docs_create(const struct stele_projection *projection,
                                     struct stele_sinks_elastic_docs **out_docs,
                                     struct stele_error *err);
void stele_sinks__elastic_docs_destroy(struct stele_sinks_elastic_docs *docs);
/* What @tables says, as the body that makes an index; free() it. */
STELE_MUST_USE
int stele_sinks__elastic_docs_setup(struct stele_sinks_elastic_docs *docs, char **out_body,
                                    struct stele_error *err);
/* Adds the lines of a bulk request for an event. *out_items counts them (an item is one or two lines).
 * STELE_E_INVALID: the event is refused; nothing was added. */
STELE_MUST_USE
int stele_sinks__elastic_docs_add(struct stele_sinks_elastic_docs *docs,
                                  const struct stele_event *event, bool replay, const char *index,
                                  struct stele_alloc *alloc, struct stele_buf *lines,
                                  size_t *out_items, struct stele_error *err);

/* ---- The sink ---- */

/* A document of the books. */
struct stele_sinks_elastic_book {
    char id[STELE_ELASTIC_NAME_SIZE];
    json_t *json;            /* NULL: it is not there. */
    json_int_t number, term; /* Of the version that json is. */
};

/* An item of a bulk request. */
struct stele_sinks_elastic_item {
    size_t begin, end; /* In the lines. */
    uint64_t position; /* Of its event. */
};

struct stele_sinks_elastic {
    struct stele_sink base;
    struct stele_alloc *alloc;
    struct stele_sinks_elastic_link link;
    uint32_t flags;
    char seed[STELE_SINKS_SEED_SIZE]; /* Nonces of this sink begin with it. */
    uint64_t nonces;

    /* While attached. */
    const struct stele_projection *projection;
    struct stele_sinks_elastic_docs *docs;
    struct stele_sinks_elastic_book head, build;
    uint64_t number;
    char index[STELE_ELASTIC_NAME_SIZE];

    /* The transaction. */
    struct stele_buf lines;
    struct stele_buf items; /* struct stele_sinks_elastic_item */
    json_t *changed;        /* A copy of build.json, as it will be. */
    uint64_t applied;       /* Of parked events. */
    size_t events;
};

static inline struct stele_sinks_elastic *stele_sinks__elastic_of(struct stele_sink *base)
{
    return (struct stele_sinks_elastic *)(void *)base;
}

/* ---- The books ---- */

/* Reads a document; json is NULL if it is not there. */
int stele_sinks__elastic_read(struct stele_sinks_elastic *sink, const char *id,
                              struct stele_sinks_elastic_book *book, struct stele_error *err);
/* Puts `take_json` in the place of what was read, under a new nonce. STELE_E_FENCED: somebody else has. */
int stele_sinks__elastic_write(struct stele_sinks_elastic *sink,
                               struct stele_sinks_elastic_book *book, json_t *take_json,
                               struct stele_error *err);
void stele_sinks__elastic_forget(struct stele_sinks_elastic_book *book);
uint64_t stele_sinks__elastic_number(const json_t *json, const char *name);
void stele_sinks__elastic_set(json_t *json, const char *name, uint64_t number);
/* Points the alias at the live build and removes indexes that were dropped. */
int stele_sinks__elastic_tidy(struct stele_sinks_elastic *sink, struct stele_error *err);

int stele_sinks__elastic_attach(struct stele_sink *base, const struct stele_sink_request *request,
                                struct stele_sink_place *out_place, struct stele_error *err);
void stele_sinks__elastic_detach(struct stele_sink *base);
int stele_sinks__elastic_list(struct stele_sink *base, stele_project_callback on_projection,
                              void *context, struct stele_error *err);
int stele_sinks__elastic_parked(struct stele_sink *base, const char *name,
                                stele_parked_callback on_parked, void *context,
                                struct stele_error *err);
int stele_sinks__elastic_position(struct stele_sink *base, const char *name, uint64_t *out_position,
                                  struct stele_error *err);
int stele_sinks__elastic_drop(struct stele_sink *base, const struct stele_projection *projection,
                              struct stele_error *err);

#endif
