/* Who a node is: the file "cluster/node" in the directory of its store. It is JSON, replaced as a whole. */
#ifndef STELE_SERVER_IDENTITY_H
#define STELE_SERVER_IDENTITY_H

#include "base/status.h"
#include "cluster/meta.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define STELE_IDENTITY_SEEDS_MAX 16

struct stele_identity {
    uint8_t cluster_id[16];
    uint8_t incarnation[16];
    uint64_t number; /* 0: not yet given. */
    bool founder;    /* The cluster began with this node. */
    char name[33], zone[33];
    char address[261];        /* "host:port" for other nodes, where it listens, too. */
    char client_address[261]; /* As it was told when joining. */
    char seeds[STELE_IDENTITY_SEEDS_MAX][261]; /* Of a node that joins. */
    size_t seeds_count;
    uint64_t replaces; /* The lost node whose place it takes; 0: none. */
    uint32_t partitions, partition_key;
    uint64_t starts;             /* How often it has been started. */
    struct stele_meta_past past; /* The last one is what it goes by. */
    uint64_t
        repairs; /* The number whose data are being set aside (repair.h), and until then nobody may serve it. */
    uint32_t replication_factor; /* That a founder begins with; 0: every node votes. */
};

/* STELE_NOT_FOUND: the store is no node's. STELE_E_CORRUPT: the file is no such file. STELE_E_FORMAT: it has a
 * version that this software does not know. */
int stele_identity_read(const char *store_path, struct stele_identity *out_identity,
                        struct stele_error *err);
/* Makes the directories that are missing; durable when it returns. */
int stele_identity_write(const char *store_path, const struct stele_identity *identity,
                         struct stele_error *err);
/* A file beside it, replaced as a whole; durable when it returns. */
int stele_identity_put(const char *store_path, const char *name, const void *data, size_t size,
                       struct stele_error *err);
/* STELE_NOT_FOUND: there is none. A file that is larger than size_max is STELE_E_CORRUPT. */
int stele_identity_get(const char *store_path, const char *name, void *data, size_t size_max,
                       size_t *out_size, struct stele_error *err);

#endif
