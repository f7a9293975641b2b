#include "history.h"

#include <stdlib.h>
#include <string.h>

/* ---- Reading ----------------------------------------------------------------------------- */

static struct node *node_at(struct history *history, const char *id, size_t size)
{
    struct map_entry *const entry = map_at(&history->nodes, id, size);
    if (entry->value == NULL) {
        struct node *const node = example_alloc(sizeof *node);
        *node = (struct node){.id = example_copy(id, size)};
        entry->value = node;
    }
    return entry->value;
}

static void add_change(struct history *history, const struct parsed *parsed)
{
    struct node *const node = node_at(history, parsed->commit, strlen(parsed->commit));
    if (node->changes_count == node->changes_room) {
        node->changes_room = node->changes_room == 0 ? 4 : node->changes_room * 2;
        node->changes = example_realloc(node->changes, node->changes_room * sizeof *node->changes);
    }
    node->changes[node->changes_count++] = (struct path_change){
        .path = map_at(&history->tree, parsed->change.path, parsed->change.path_size),
        .before = parsed->change.before,
        .after = parsed->change.after,
    };
    history->changes_count++;
}

static void add_commit(struct history *history, const struct parsed *parsed,
                       const struct stele_event *event)
{
    struct node *const node = node_at(history, parsed->commit, strlen(parsed->commit));
    for (const char *at = parsed->parents; *at != '\0';) {
        const size_t size = strcspn(at, " ");
        if (node->parents_count++ == 0) {
            node->parent = node_at(history, at, size);
        }
        at += size + (at[size] == ' ' ? 1 : 0);
    }
    node->files = parsed->files;
    node->summary = example_copy(parsed->message, strcspn(parsed->message, "\n"));
    node->author = example_copy(parsed->author, strlen(parsed->author));
    node->committed_us = event->created_us;
    if ((history->count & (history->count + 1)) == 0) {
        history->order =
            example_realloc(history->order, (history->count + 1) * 2 * sizeof(struct node *));
    }
    history->order[history->count++] = node;
}

static int on_event(void *context, const struct stele_event *event)
{
    struct history *const history = context;
    struct parsed parsed;
    if (parse_event(event, &parsed)) {
        if (parsed.is_commit) {
            add_commit(history, &parsed, event);
        } else {
            add_change(history, &parsed);
        }
        parsed_free(&parsed);
    }
    return 0;
}

/* Parents come before children, so one pass is enough. */
static void verify_commits(struct history *history)
{
    for (size_t i = 0; i < history->count; i++) {
        struct node *const node = history->order[i];
        if (node->changes_count != node->files) {
            example_die("commit %s says that it changes %llu files, and there are events of %zu",
                        node->id, (unsigned long long)node->files, node->changes_count);
        }
        if (node->parent != NULL && !node->parent->whole) {
            example_die("commit %s stands before its parent %s", node->id, node->parent->id);
        }
        node->whole = true;
        node->depth = node->parent == NULL ? 0 : node->parent->depth + 1;
    }
}

void history_read(struct stele *store, struct history *out_history)
{
    *out_history = (struct history){.count = 0};
    example_each(store, NULL, NULL, on_event, out_history);
    verify_commits(out_history);
}

static void free_node(void *value)
{
    struct node *const node = value;
    free(node->id);
    free(node->summary);
    free(node->author);
    free(node->changes);
    free(node);
}

void history_free(struct history *history)
{
    map_free(&history->nodes, free_node);
    map_free(&history->tree, free);
    free(history->order);
    *history = (struct history){.count = 0};
}

struct node *history_find(const struct history *history, const char *id)
{
    if (history->count == 0) {
        example_die("the store has no commits");
    }
    if (id == NULL) {
        return history->order[history->count - 1];
    }
    struct node *found = NULL;
    for (size_t i = 0; i < history->count; i++) {
        if (strncmp(history->order[i]->id, id, strlen(id)) == 0) {
            if (found != NULL) {
                example_die("several commits begin with %s", id);
            }
            found = history->order[i];
        }
    }
    if (found == NULL) {
        example_die("the store has no commit %s; git rev-parse tells the id of a name", id);
    }
    return found;
}

/* ---- Trees ------------------------------------------------------------------------------- */

static const struct entry nothing = {.mode = 0};

/* Replaces what a path holds; what is there must be what the change says was there. */
static void replace(const struct node *node, struct map_entry *path, const struct entry *before,
                    const struct entry *after)
{
    const struct entry *const there = path->value == NULL ? &nothing : path->value;
    if (!entry_equal(there, before)) {
        example_die("commit %s changes %s, which holds something else by then", node->id,
                    path->key);
    }
    if (after->mode == 0) {
        free(path->value);
        path->value = NULL;
        return;
    }
    if (path->value == NULL) {
        path->value = example_alloc(sizeof *after);
    }
    *(struct entry *)path->value = *after;
}

static void go_up(struct history *history)
{
    const struct node *const node = history->at;
    for (size_t i = node->changes_count; i > 0; i--) {
        const struct path_change *const change = &node->changes[i - 1];
        replace(node, change->path, &change->after, &change->before);
    }
    history->at = node->parent;
}

static void go_down(struct history *history, struct node *node)
{
    for (size_t i = 0; i < node->changes_count; i++) {
        const struct path_change *const change = &node->changes[i];
        replace(node, change->path, &change->before, &change->after);
    }
    history->at = node;
}

void history_go_to(struct history *history, struct node *node)
{
    /* Up until the goal is below or here, noting the way down from there. */
    struct node **way = example_alloc((node->depth + 1) * sizeof *way);
    size_t steps = 0;
    struct node *goal = node;
    while (history->at != goal) {
        if (goal == NULL || (history->at != NULL && history->at->depth >= goal->depth)) {
            go_up(history);
        } else {
            way[steps++] = goal;
            goal = goal->parent;
        }
    }
    while (steps > 0) {
        go_down(history, way[--steps]);
    }
    free(way);
}

/* ---- The stream of commits --------------------------------------------------------------- */

static int take_stream(void *context, struct stele_text name, uint64_t count)
{
    struct text *const stream = context;
    (void)count;
    if (stream->size > 0) {
        example_die("the store has the commits of several repositories");
    }
    text_add(stream, name.data, name.size);
    return 0;
}

void history_stream(struct stele *store, struct text *out_stream)
{
    struct stele_error err = {0};
    text_add(out_stream, "", 0);
    example_check(
        stele_list(store, STELE_LIST_STREAMS, "commits-", NULL, 0, take_stream, out_stream, &err),
        &err, "list");
}
