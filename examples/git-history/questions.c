#include "questions.h"

#include "../common/example.h"
#include "history.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- Paths ------------------------------------------------------------------------------- */

/* As git does with core.quotePath: in quotation marks if there is anything unusual. */
static void print_path(const char *path, size_t size)
{
    bool plain = true;
    for (size_t i = 0; i < size; i++) {
        const unsigned char c = (unsigned char)path[i];
        plain = plain && c >= 0x20 && c < 0x7f && c != '"' && c != '\\';
    }
    if (plain) {
        (void)fwrite(path, 1, size, stdout);
        return;
    }
    static const char named[] = "\a\b\t\n\v\f\r\"\\";
    static const char names[] = "abtnvfr\"\\";
    (void)putchar('"');
    for (size_t i = 0; i < size; i++) {
        const unsigned char c = (unsigned char)path[i];
        const char *const found = c == 0 ? NULL : strchr(named, c);
        if (found != NULL) {
            (void)printf("\\%c", names[found - named]);
        } else if (c < 0x20 || c >= 0x7f) {
            (void)printf("\\%03o", c);
        } else {
            (void)putchar(c);
        }
    }
    (void)putchar('"');
}

/* ---- Trees ------------------------------------------------------------------------------- */

/* The order of git: that of the bytes of the whole path. */
static int by_path(const void *a, const void *b)
{
    const struct map_entry *const left = *(const struct map_entry *const *)a;
    const struct map_entry *const right = *(const struct map_entry *const *)b;
    const size_t size = left->key_size < right->key_size ? left->key_size : right->key_size;
    const int order = memcmp(left->key, right->key, size);
    if (order != 0) {
        return order;
    }
    return left->key_size < right->key_size ? -1 : left->key_size > right->key_size ? 1 : 0;
}

void ask_tree(const char *store_path, const char *commit, bool zeros)
{
    struct stele *const store = example_open(store_path);
    struct history history;
    history_read(store, &history);
    history_go_to(&history, history_find(&history, commit));
    qsort(history.tree.entries, history.tree.count, sizeof(struct map_entry *), by_path);
    for (size_t i = 0; i < history.tree.count; i++) {
        const struct map_entry *const path = history.tree.entries[i];
        if (path->value == NULL) {
            continue;
        }
        const struct entry *const entry = path->value;
        char mode[8];
        char id[65];
        entry_mode_text(entry, mode);
        entry_id_text(entry, id);
        (void)printf("%s %s %s\t", mode, entry->mode == 0160000 ? "commit" : "blob", id);
        if (zeros) {
            (void)fwrite(path->key, 1, path->key_size, stdout);
            (void)putchar('\0');
        } else {
            print_path(path->key, path->key_size);
            (void)putchar('\n');
        }
    }
    history_free(&history);
    (void)stele_close(store);
}

/* ---- One file ---------------------------------------------------------------------------- */

static int print_change(void *context, const struct stele_event *event)
{
    const struct paint *const p = paint();
    uint64_t *const count = context;
    struct parsed parsed;
    if (parse_event(event, &parsed)) {
        char time[32];
        char before[65];
        char after[65];
        entry_id_text(&parsed.change.before, before);
        entry_id_text(&parsed.change.after, after);
        (void)printf("  %s  %.10s  %-15.*s  %s%.10s -> %.10s%s\n", when(event->created_us, time),
                     parsed.commit, (int)event->type.size, event->type.data, p->dim,
                     before[0] == '\0' ? "nothing" : before, after[0] == '\0' ? "nothing" : after,
                     p->off);
        (*count)++;
        parsed_free(&parsed);
    }
    return 0;
}

void ask_file(const char *store_path, const char *path)
{
    struct stele *const store = example_open(store_path);
    struct text stream = {0};
    uint64_t count = 0;
    file_stream(path, strlen(path), &stream);
    example_each(store, stream.data, NULL, print_change, &count);
    if (count == 0) {
        example_die("no commit in the store changes %s", path);
    }
    text_free(&stream);
    (void)stele_close(store);
}

/* ---- Commits ----------------------------------------------------------------------------- */

void ask_commits(const char *store_path, size_t limit)
{
    const struct paint *const p = paint();
    struct stele *const store = example_open(store_path);
    struct history history;
    history_read(store, &history);
    const size_t first = limit == 0 || limit > history.count ? 0 : history.count - limit;
    for (size_t i = first; i < history.count; i++) {
        const struct node *const node = history.order[i];
        char time[32];
        (void)printf("  %s  %.10s  %s%4zu file%s%s  %s %s(%s)%s\n", when(node->committed_us, time),
                     node->id, p->dim, node->changes_count, node->changes_count == 1 ? " " : "s",
                     p->off, node->summary, p->dim, node->author, p->off);
    }
    history_free(&history);
    (void)stele_close(store);
}

/* ---- The busiest ------------------------------------------------------------------------- */

struct tally {
    char *name;
    uint64_t count;
};

struct tallies {
    struct tally *list;
    size_t count;
    size_t room;
};

static int take_tally(void *context, struct stele_text name, uint64_t count)
{
    struct tallies *const tallies = context;
    if (tallies->count == tallies->room) {
        tallies->room = tallies->room == 0 ? 256 : tallies->room * 2;
        tallies->list = example_realloc(tallies->list, tallies->room * sizeof *tallies->list);
    }
    tallies->list[tallies->count++] = (struct tally){example_copy(name.data, name.size), count};
    return 0;
}

static int most_first(const void *a, const void *b)
{
    const struct tally *const left = a;
    const struct tally *const right = b;
    if (left->count != right->count) {
        return left->count > right->count ? -1 : 1;
    }
    return strcmp(left->name, right->name);
}

void ask_busiest(const char *store_path, size_t limit)
{
    /* No event has to be read: the store knows how many each stream has. */
    struct stele *const store = example_open(store_path);
    struct stele_error err = {0};
    struct tallies tallies = {0};
    example_check(
        stele_list(store, STELE_LIST_STREAMS, "file-", NULL, 0, take_tally, &tallies, &err), &err,
        "list");
    if (tallies.count > 0) {
        qsort(tallies.list, tallies.count, sizeof *tallies.list, most_first);
    }
    for (size_t i = 0; i < tallies.count; i++) {
        if (limit == 0 || i < limit) {
            (void)printf("  %6llu changes  %s\n", (unsigned long long)tallies.list[i].count,
                         tallies.list[i].name + strlen("file-"));
        }
        free(tallies.list[i].name);
    }
    free(tallies.list);
    (void)stele_close(store);
}

/* ---- Is it true? ------------------------------------------------------------------------- */

struct comparison {
    const struct history *history;
    uint64_t entries; /* Of git, all commits together. */
    uint64_t matching;
    uint64_t here; /* Of this commit, that match. */
    uint64_t printed;
};

#define DIFFERENCES_PRINTED_MAX 20u

static void print_difference(struct comparison *comparison, const char *what, const char *path,
                             size_t path_size)
{
    if (comparison->printed++ < DIFFERENCES_PRINTED_MAX) {
        (void)printf("  %sdifferent%s  %.10s %s: ", paint()->red, paint()->off,
                     comparison->history->at->id, what);
        print_path(path, path_size);
        (void)printf("\n");
    }
}

static void on_entry(void *context, const char *path, size_t path_size, const struct entry *entry)
{
    struct comparison *const comparison = context;
    const struct map_entry *const there = map_find(&comparison->history->tree, path, path_size);
    comparison->entries++;
    if (there == NULL || there->value == NULL) {
        print_difference(comparison, "only git has", path, path_size);
    } else if (!entry_equal(there->value, entry)) {
        print_difference(comparison, "git has something else at", path, path_size);
    } else {
        comparison->matching++;
        comparison->here++;
    }
}

static uint64_t count_entries(const struct history *history)
{
    uint64_t count = 0;
    for (size_t i = 0; i < history->tree.count; i++) {
        count += history->tree.entries[i]->value == NULL ? 0 : 1;
    }
    return count;
}

/* True if the tree of the commit is that of git, path by path, and nothing more. */
static bool compare_tree(const char *repository, struct history *history, struct node *node,
                         struct comparison *comparison)
{
    const uint64_t entries_before = comparison->entries;
    history_go_to(history, node);
    comparison->here = 0;
    git_tree(repository, node->id, on_entry, comparison);
    const uint64_t replayed = count_entries(history);
    if (replayed != comparison->here) {
        (void)printf("  %sdifferent%s  %.10s: %llu paths more than git has\n", paint()->red,
                     paint()->off, node->id, (unsigned long long)(replayed - comparison->here));
    }
    return replayed == comparison->here && comparison->entries - entries_before == comparison->here;
}

bool check(const char *store_path, const char *repository, size_t count)
{
    const struct paint *const p = paint();
    struct stele *const store = example_open(store_path);
    struct history history;
    history_read(store, &history);
    (void)stele_close(store);
    (void)history_find(&history, NULL);

    size_t merges = 0;
    for (size_t i = 0; i < history.count; i++) {
        merges += history.order[i]->parents_count > 1 ? 1 : 0;
    }
    const size_t checks = count == 0 || count > history.count ? history.count : count;
    struct comparison comparison = {.history = &history};
    size_t equal = 0;
    for (size_t i = 0; i < checks; i++) {
        /* From the first to the last, both included. */
        const size_t at = checks == 1 ? history.count - 1 : i * (history.count - 1) / (checks - 1);
        equal += compare_tree(repository, &history, history.order[at], &comparison) ? 1 : 0;
    }
    char a[32];
    char b[32];
    (void)printf("  %s%s of %s trees are what git ls-tree -r says%s",
                 equal == checks ? p->green : p->red, number(equal, a), number(checks, b), p->off);
    (void)printf(", %s paths compared\n", number(comparison.entries, a));
    (void)printf("  chosen from %s commits", number(history.count, a));
    (void)printf(" (%s merges)", number(merges, a));
    (void)printf(" with %s changes\n", number(history.changes_count, a));
    history_free(&history);
    return equal == checks;
}
