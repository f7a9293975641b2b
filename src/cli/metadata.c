#include "cli/metadata.h"

#include "cli/cli.h"

int stele_cli_get_metadata(struct stele *store, const char *stream, struct stele_text *out_json,
                           uint64_t *out_revision, struct stele_error *err)
{
    size_t room = 4096;
    for (;;) {
        size_t size = 0;
        char *const buffer = stele_cli_keep(room + 1);
        const int outcome =
            stele_get_metadata(store, stream, buffer, room, &size, out_revision, err);
        if (outcome != STELE_OK) {
            return outcome;
        }
        if (size <= room) {
            *out_json = (struct stele_text){buffer, size};
            return STELE_OK;
        }
        room = size; /* It may have grown again when it is asked for the second time. */
    }
}
