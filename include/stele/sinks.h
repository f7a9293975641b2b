/* Places for read models: databases that a projection (<stele/project.h>) can keep up to date. In the
 * library stele-run. */
#ifndef STELE_SINKS_H
#define STELE_SINKS_H

#include <stele/project.h>

#ifdef __cplusplus
extern "C" {
#endif

#ifndef STELE_RUN_API
#define STELE_RUN_API __attribute__((visibility("default")))
#endif

#define STELE_SINK_CREATE 1u    /* SQLite: make the file if there is none. */
#define STELE_SINK_NEW 2u       /* SQLite: it is an error if the file is there already. */
#define STELE_SINK_READ_ONLY 4u /* For asking only: waiting, listing. */

/* Opens what `where` says:
 *
 *     postgresql://…, postgres://…   a PostgreSQL database, in the words of libpq
 *     redis://[[USER]:PASSWORD@]HOST[:PORT][/DATABASE], redis+unix://…/PATH[?db=DATABASE]
 *                                    a Redis server; takes projections in Lua
 *     elasticsearch+http://[USER:PASSWORD@]HOST:PORT[/PREFIX], elasticsearch+https://…[?ca=FILE]
 *                                    what speaks Elasticsearch's bulk protocol; takes projections in jq
 *     sqlite:PATH, or any other text an SQLite database in a file
 *
 * STELE_OK                *out_sink is set; release it with stele_sink_close().
 * STELE_NOT_FOUND         There is no such file.
 * STELE_CONDITION_FAILED  STELE_SINK_NEW, and there is one.
 * STELE_E_INVALID, STELE_E_IO, STELE_E_NO_MEMORY; the message has the database's words. */
STELE_RUN_API int stele_sink_open(const char *where, uint32_t flags, struct stele_sink **out_sink,
                                  struct stele_error *err);

/* For programs that run several projections into SQLite: tells SQLite not to count the memory of this process.
 * It counts under one lock, which every allocation of every connection takes; of 50 projections on two processors
 * that took two thirds of the time. sqlite3_memory_used() and the limits of SQLite's heap mean nothing
 * afterwards. Call it at the beginning, before there are threads and before anything uses SQLite. `stele run`
 * does.
 *
 * STELE_OK
 * STELE_CONDITION_FAILED  SQLite is in use already; nothing has changed, and everything works. */
STELE_RUN_API int stele_sink_set_up_process(struct stele_error *err);

#ifdef __cplusplus
}
#endif

#endif
