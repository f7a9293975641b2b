/* The history as the store tells it: all commits, and the tree of any of them.
 *
 * A commit says what it changes compared with its first parent, so first parents make a forest,
 * and the tree of a commit is all changes on the way down to it. Every change has what was there
 * before, so the way can be gone upwards too: one tree in memory is led from commit to commit. */
#ifndef GIT_HISTORY_HISTORY_H
#define GIT_HISTORY_HISTORY_H

#include "events.h"

struct path_change {
    struct map_entry *path;
    struct entry before;
    struct entry after;
};

struct node {
    char *id;
    char *summary; /* First line of its message. */
    char *author;
    int64_t committed_us;
    struct node *parent; /* The first one; NULL for a root. */
    size_t depth;        /* Number of first parents above it. */
    size_t parents_count;
    uint64_t files; /* Number of changes that its CommitRecorded announces. */
    bool whole;     /* Its CommitRecorded and all of its changes are there. */
    struct path_change *changes;
    size_t changes_count;
    size_t changes_room;
};

struct history {
    struct map nodes;    /* Commit id to struct node. */
    struct node **order; /* Whole commits, in the order of the store. */
    size_t count;
    uint64_t changes_count;
    struct map tree; /* Path to struct entry: the tree of at. No entry is mode 0. */
    struct node *at; /* NULL: the empty tree. */
};

/* Reads it. A commit counts when its CommitRecorded and all of its changes are there, in whatever
 * order: the events of one append have none that matters. A commit without CommitRecorded is left
 * out; an import was cut off between its parts. */
void history_read(struct stele *store, struct history *out_history);
void history_free(struct history *history);

/* The commit whose id begins so; NULL text: the last one stored. Dies if there is none or several. */
struct node *history_find(const struct history *history, const char *id);

/* Makes history->tree the tree of the commit. */
void history_go_to(struct history *history, struct node *node);

/* The one stream of commits in the store, "" if there is none; dies if there are several. */
void history_stream(struct stele *store, struct text *out_stream);

#endif
