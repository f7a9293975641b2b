/* Reads that see everything which was acknowledged anywhere in the cluster before they were asked
 * for: their messages are taken in when this node has come so far. */
#ifndef STELE_API_MEMBER_LINEAR_H
#define STELE_API_MEMBER_LINEAR_H

#include "api/cluster.h"
#include "grpc/call.h"

/* Part of the state of a call, which it finds its way back to. */
struct stele_linear {
    struct stele_linearizing linearizing;
    struct stele_call *call;
};

/* In the method's start. Pauses the call; it goes on by itself, or fails with UNAVAILABLE. A server that
 * stands alone is always so far: nothing happens. */
void stele_linear_begin(struct stele_linear *linear, struct stele_call *call);

/* Does the call have this header, with the value "true" in whatever case? */
bool stele_linear_is_asked(const struct stele_call *call, const char *header);

#endif
