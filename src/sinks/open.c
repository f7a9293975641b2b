/* Opening a sink: which database a place is in. */
#include "sinks/driver.h"

#include <stele/sinks.h>

#include <stdio.h>
#include <string.h>
#include <sys/random.h>

int stele_sink_open(const char *where, uint32_t flags, struct stele_sink **out_sink,
                    struct stele_error *err)
{
    if (where == NULL || where[0] == '\0' || out_sink == NULL) {
        return stele_fail(err, STELE_E_INVALID, 0, "open a sink: it has no name");
    }
    if (strlen(where) > 4000) {
        return stele_fail(err, STELE_E_LIMIT, 0, "open a sink: its name has more than 4000 bytes");
    }
    const bool postgres =
        strncmp(where, "postgresql://", 13) == 0 || strncmp(where, "postgres://", 11) == 0;
    if (strncmp(where, "redis://", 8) == 0 || strncmp(where, "redis+unix://", 13) == 0) {
        return stele_sinks_open_redis(where, flags, out_sink, err);
    }
    if (strncmp(where, "elasticsearch+http://", 21) == 0 ||
        strncmp(where, "elasticsearch+https://", 22) == 0) {
        return stele_sinks_open_elastic(where, flags, out_sink, err);
    }
    if (!postgres && strstr(where, "://") != NULL) {
        return stele_fail(err, STELE_E_INVALID, 0,
                          "open a sink: addresses of databases begin with postgresql://, redis://, "
                          "redis+unix:// or elasticsearch+https://; everything else is a file");
    }
    return stele_sinks_open_sql(postgres ? &stele_sinks_postgres : &stele_sinks_sqlite, where,
                                flags, out_sink, err);
}

int stele_sinks_seed(char to[STELE_SINKS_SEED_SIZE], struct stele_error *err)
{
    uint64_t random[2] = {0, 0};
    if (getrandom(random, sizeof random, 0) != (ssize_t)sizeof random) {
        return stele_fail(err, STELE_E_IO, 0, "open a sink: no random numbers");
    }
    (void)snprintf(to, STELE_SINKS_SEED_SIZE, "%016llx%016llx", (unsigned long long)random[0],
                   (unsigned long long)random[1]);
    return STELE_OK;
}
