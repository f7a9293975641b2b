/* The events of a request that appends.
 *
 * POST /api/streams/NAME takes, by its content type:
 *   application/json                     one event, or a list: {"type":…,"data":…,"metadata":…,
 *                                        "id":…,"tags":[…],"content_type":…,"data_base64":…,"created":…}
 *   application/cloudevents+json         one CloudEvent 1.0, structured mode
 *   application/cloudevents-batch+json   a list of them
 *   anything with ce-type, ce-id, …      one CloudEvent, binary mode: the body is the data
 *   anything with stele-type             one event whose data is the body
 * cloud/cloud.h says what of a CloudEvent becomes what of an event. */
#ifndef STELE_WEB_DRAFTS_H
#define STELE_WEB_DRAFTS_H

#include "api/http/web_internal.h"

#include <jansson.h>

/* What an append is put together from; released when the engine has copied it. Parts of it point into
 * the request's body. */
struct stele_web__drafts {
    struct stele_event_draft *drafts;
    size_t count;
    json_t *json;
    json_t *kept; /* Lists of tags that stood in strings. */
    struct stele_arena arena;
    struct stele_alloc *alloc;
    const char *mistake; /* In the arena, or a literal; NULL: nothing is wrong. */
    size_t index;        /* Of the event that is wrong; SIZE_MAX: it is the body. */
};

void stele_web__drafts_init(struct stele_web__drafts *drafts, struct stele_alloc *alloc);
void stele_web__drafts_deinit(struct stele_web__drafts *drafts);

/* false: refuse the request with drafts->mistake, or, if that is NULL, as malformed. */
bool stele_web__drafts_take(struct stele_web__drafts *drafts, struct stele_web__request *request);
/* One event whose data is the body, and whose type and id stand somewhere else. id may be empty. */
bool stele_web__drafts_take_body(struct stele_web__drafts *drafts,
                                 struct stele_web__request *request, struct stele_text type,
                                 struct stele_text id);

#endif
