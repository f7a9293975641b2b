/* The cluster of a server that stands alone: one node, which leads for ever. */
#ifndef STELE_API_MEMBER_ALONE_H
#define STELE_API_MEMBER_ALONE_H

#include "api/cluster.h"

struct stele_server;

struct stele_alone {
    struct stele_cluster cluster;
    const struct stele_server *server;
};

/* Asks the server for its addresses when it is asked itself; NULL: it has none. Embedded, like the
 * server; nothing has to be undone. */
void stele_alone_init(struct stele_alone *alone, const struct stele_server *server);

#endif
