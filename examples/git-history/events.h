/* How a commit is said in events.
 *
 *     commits-NAME   CommitRecorded, one for each commit, with the number of its changes
 *     file-PATH      FileAdded, FileModified, FileModeChanged, FileTypeChanged, FileDeleted
 *
 * A path that cannot be the name of a stream (no UTF-8, control characters, too long) has the
 * stream "file-sha1:" and the SHA-1 of its bytes; a path that is no UTF-8 stands in the data as
 * "pathHex". All ids of events are made of the commit's id and the path. */
#ifndef GIT_HISTORY_EVENTS_H
#define GIT_HISTORY_EVENTS_H

#include "git_log.h"

void commits_stream(const char *repository_name, struct text *out_stream);
void file_stream(const char *path, size_t path_size, struct text *out_stream);

const char *change_type(const struct change *change);
void change_to_json(const struct commit *commit, const struct change *change,
                    struct text *out_json);
void change_id(const struct commit *commit, const struct change *change, uint8_t id[16]);

void commit_to_json(const struct commit *commit, struct text *out_json);
void commit_id(const struct commit *commit, uint8_t id[16]);

/* What an event says, parsed. Text is borrowed from parsed; free it with parsed_free(). */
struct parsed {
    void *json;
    bool is_commit; /* Else a change. */
    const char *commit;
    /* Of a commit: */
    const char *tree;
    const char *parents; /* With spaces between them. */
    const char *author;
    const char *message;
    uint64_t files;
    /* Of a change: */
    struct change change; /* The path is owned. */
};

/* False if the event is none of ours. */
bool parse_event(const struct stele_event *event, struct parsed *out_parsed);
void parsed_free(struct parsed *parsed);

#endif
