/* The metadata of a stream, in memory of any size it has. */
#ifndef STELE_CLI_METADATA_H
#define STELE_CLI_METADATA_H

#include <stele.h>

/* As stele_get_metadata(); *out_json lies in memory that main() releases, with a zero behind it. */
int stele_cli_get_metadata(struct stele *store, const char *stream, struct stele_text *out_json,
                           uint64_t *out_revision, struct stele_error *err);

#endif
