/* Events that a program makes, appended once however often they are asked for. */
#ifndef STELE_DECLARED_APPEND_H
#define STELE_DECLARED_APPEND_H

#include "base/compiler.h"

#include <stele/jq.h>
#include <stele/saga.h>

/* Runs a program on a JSON text. Each result is an event: {"stream", "type", "data", "metadata", "tags"}, the last
 * three may be missing. They are appended in one piece. Their ids follow from the call's key, so that the
 * same call again stores nothing more; causation: id of the event that they follow from.
 *
 * What a handler returns, with reply->reason set unless it is STELE_SAGA_DONE. */
STELE_MUST_USE
int stele_declared_append(struct stele *store, struct stele_jq *program, const char *json,
                          const struct stele_saga_call *call, const char *causation,
                          struct stele_saga_reply *reply);

#endif
