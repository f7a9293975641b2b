/* What can be asked of the history. Every answer is made by replaying events. */
#ifndef GIT_HISTORY_QUESTIONS_H
#define GIT_HISTORY_QUESTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The tree of a commit (NULL: the last one stored), as git ls-tree -r prints it. zeros: lines end
 * with a zero and paths are not quoted, as with -z. */
void ask_tree(const char *store_path, const char *commit, bool zeros);

/* What happened to a file. */
void ask_file(const char *store_path, const char *path);

/* The last commits. 0: all. */
void ask_commits(const char *store_path, size_t limit);

/* The files with the most changes. 0: all. */
void ask_busiest(const char *store_path, size_t limit);

/* Compares the replayed trees of count commits, evenly spread (0: all), with git ls-tree -r. True
 * if they are equal. */
bool check(const char *store_path, const char *repository, size_t count);

#endif
