/* A process that was set up for many projections has no lock that all of them take: SQLite counts no memory.
 *
 * Method: a program of its own, since it is about the whole process. What SQLite has counted after a projection has
 * run is 0; what was run is in the read model all the same. */
#include "lib/check.h"

#include <stele/sinks.h>

#include <sqlite3.h>
#include <string.h>

TEST(a_process_that_is_set_up_counts_no_memory_of_sqlite)
{
    struct stele_error err = {0};
    CHECK_EQ(stele_sink_set_up_process(&err), STELE_OK);
    sqlite3 *sqlite = NULL;
    CHECK_EQ(sqlite3_open(":memory:", &sqlite), SQLITE_OK);
    CHECK_EQ(sqlite3_exec(sqlite, "CREATE TABLE a (b); INSERT INTO a VALUES (1)", NULL, NULL, NULL),
             SQLITE_OK);
    CHECK_EQ(sqlite3_memory_used(), 0);
    CHECK_EQ(stele_sink_set_up_process(&err), STELE_CONDITION_FAILED);
    CHECK(strstr(err.message, "in use already") != NULL);
    CHECK_EQ(sqlite3_close(sqlite), SQLITE_OK);
}
