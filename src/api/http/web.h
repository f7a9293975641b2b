/* HTTP for people, scripts, load balancers, Prometheus and the console: routes of auth/table.h.
 *
 * Everything that is not gRPC comes here, over HTTP/1.1 or HTTP/2. The same shape as grpc/call.h's
 * HTTP side: the server hands over exchanges. Answers are JSON unless a route says otherwise; errors
 * are {"error": "<outcome>", "message": "…"} with a fitting status. docs/http.md, /openapi.json. */
#ifndef STELE_API_HTTP_WEB_H
#define STELE_API_HTTP_WEB_H

#include "api/server.h"
#include "http/http.h"

struct stele_web;

STELE_MUST_USE
int stele_web_create(struct stele_server *server, struct stele_web **out_web);
/* Every exchange must have been closed. NULL is fine. */
void stele_web_destroy(struct stele_web *web);
void stele_web_on_request(struct stele_web *web, struct stele_exchange *exchange);
void stele_web_on_body(struct stele_web *web, struct stele_exchange *exchange,
                       struct stele_bytes bytes);
void stele_web_on_end(struct stele_web *web, struct stele_exchange *exchange);
void stele_web_on_writable(struct stele_web *web, struct stele_exchange *exchange);
void stele_web_on_close(struct stele_web *web, struct stele_exchange *exchange, bool finished);

#endif
