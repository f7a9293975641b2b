/* From a repository into the store. */
#ifndef GIT_HISTORY_IMPORT_H
#define GIT_HISTORY_IMPORT_H

#include <stdbool.h>

/* Imports every commit that can be reached from the revision and is not in the store yet, each in
 * one atomic append. A commit with more files than one append may have streams is split; its
 * CommitRecorded is in the last part, so it counts only when all parts are there.
 *
 * resend: sends all commits, as a client does that never got the answers; the store recognises
 * them. name: of the repository; NULL: its directory. */
void import(const char *store_path, const char *repository, const char *revision, const char *name,
            bool resend);

#endif
