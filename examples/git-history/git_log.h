/* The commits of a repository as git tells them: parents before children, each with what it
 * changes compared with its first parent.
 *
 * What makes the changes exact:
 *  - -z: paths come as they are, whatever bytes they have in them.
 *  - --no-renames: a rename is a deletion and an addition, so that every change is about one path.
 *  - --diff-merges=first-parent: a merge has changes too, compared with the branch merged into.
 *  - --root: the first commit adds all of its files.
 *  - --no-replace-objects and the like: nothing in the configuration of the user or the repository
 *    may change the answer. */
#ifndef GIT_HISTORY_GIT_LOG_H
#define GIT_HISTORY_GIT_LOG_H

#include "../common/example.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What a path holds: a file, a symbolic link, a submodule (then id is a commit), or nothing. */
struct entry {
    unsigned mode; /* As in a tree: 0100644, 0100755, 0120000, 0160000; 0: nothing. */
    uint8_t id_size;
    uint8_t id[32];
};

struct change {
    char *path;
    size_t path_size;
    struct entry before;
    struct entry after;
};

struct commit {
    char id[65];
    char tree[65];
    char *parents; /* Ids with spaces between them, "" for a root. */
    char *author;
    char *email;
    char *message;      /* Without the empty lines at its end. */
    int64_t authored_s; /* Seconds since 1970. */
    int64_t committed_s;
    struct change *changes;
    size_t changes_count;
    size_t changes_room;
};

/* Called for every commit; borrowed until it returns. */
typedef void (*commit_callback)(void *context, const struct commit *commit);

/* Every commit that can be reached from the revision ("HEAD"). Dies if git fails. */
void git_log(const char *repository, const char *revision, commit_callback on_commit,
             void *context);

/* The name of the repository: of its top directory, or of a bare one without ".git". */
void git_name(const char *repository, struct text *out_name);

/* Is there a repository with at least one commit? */
bool git_has_commits(const char *repository, const char *revision);

/* Called for every line of git ls-tree -r: path and what it holds. */
typedef void (*tree_callback)(void *context, const char *path, size_t path_size,
                              const struct entry *entry);
void git_tree(const char *repository, const char *commit, tree_callback on_entry, void *context);

bool entry_equal(const struct entry *a, const struct entry *b);
/* "100644" and the id in hexadecimal; "" for nothing. */
void entry_mode_text(const struct entry *entry, char text[8]);
void entry_id_text(const struct entry *entry, char text[65]);
/* False if the text is none. */
bool entry_parse(const char *mode, const char *id, struct entry *out_entry);

#endif
