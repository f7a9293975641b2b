#include "questions.h"

#include "../common/example.h"
#include "packages.h"
#include "version.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- Replaying --------------------------------------------------------------------------- */

struct replay {
    struct packages packages;
    int64_t up_to_us;
    uint64_t facts;
    int64_t log_begins_us; /* Time of the first line, 0 if there is none. */
};

static void on_fact(void *context, const struct stele_event *event, const struct fact *fact)
{
    struct replay *const replay = context;
    (void)event;
    const bool of_log = fact->line[0] != '\0' && strcmp(fact->action, "found") != 0;
    if (of_log && replay->log_begins_us == 0) {
        replay->log_begins_us = fact->time_us;
    }
    if (fact->time_us <= replay->up_to_us) {
        replay->facts++;
        evolve(&replay->packages, fact);
    }
}

/* A time is compared with the time of each event: imported events are younger than what they tell
 * of. A position needs no comparing: the store does not hand out what came after it. */
static void replay_up_to(struct stele *store, const struct up_to *up_to, struct replay *out_replay)
{
    *out_replay = (struct replay){.up_to_us = up_to->time_us};
    struct stele_read_options options = STELE_READ_OPTIONS_INIT;
    options.as_of = up_to->position;
    each_fact(store, NULL, &options, on_fact, out_replay);
}

static int by_name(const void *a, const void *b)
{
    const struct package *const left = *(const struct package *const *)a;
    const struct package *const right = *(const struct package *const *)b;
    const int order = strcmp(left->name, right->name);
    return order != 0 ? order : strcmp(left->arch, right->arch);
}

/* All packages in the order of their names; the caller frees it. */
static const struct package **sorted(const struct packages *packages)
{
    const size_t count = packages->by_name.count;
    const struct package **const list = example_alloc(count * sizeof *list);
    for (size_t i = 0; i < count; i++) {
        list[i] = packages->by_name.entries[i]->value;
    }
    if (count > 0) {
        qsort(list, count, sizeof *list, by_name);
    }
    return list;
}

static void print_name(const struct package *package, int width)
{
    char name[300];
    (void)snprintf(name, sizeof name, package->arch[0] == '\0' ? "%s" : "%s:%s", package->name,
                   package->arch);
    (void)printf("  %-*s", width, name);
}

/* ---- What was installed ------------------------------------------------------------------ */

static void explain_beginning(const struct replay *replay)
{
    char time[32];
    if (replay->log_begins_us > replay->up_to_us) {
        (void)printf("  %sThe log begins later, at %s; of the time before it, only what was still "
                     "there then is known.%s\n",
                     paint()->dim, when(replay->log_begins_us, time), paint()->off);
    }
}

void ask_installed(const char *store_path, const struct up_to *up_to, const char *pattern,
                   int brief)
{
    const struct paint *const p = paint();
    struct stele *const store = example_open(store_path);
    struct replay replay;
    replay_up_to(store, up_to, &replay);

    uint64_t installed = 0;
    uint64_t halfway = 0;
    const struct package **const list = sorted(&replay.packages);
    for (size_t i = 0; i < replay.packages.by_name.count; i++) {
        const struct package *const package = list[i];
        if (!is_there(package) || (pattern != NULL && strstr(package->name, pattern) == NULL)) {
            continue;
        }
        if (package->state == INSTALLED) {
            installed++;
        } else {
            halfway++;
        }
        if (!brief) {
            print_name(package, 44);
            (void)printf(" %s", package->version);
            if (package->state != INSTALLED) {
                (void)printf("  %s%s%s", p->yellow, state_name(package->state), p->off);
            }
            (void)printf("\n");
        }
    }
    char a[32];
    (void)printf("  %s%s package%s%s", p->bold, number(installed, a), installed == 1 ? "" : "s",
                 p->off);
    if (halfway > 0) {
        (void)printf(", and %s on the way", number(halfway, a));
    }
    (void)printf(" (%s), %sfrom %s events%s\n", up_to->words == NULL ? "now" : up_to->words, p->dim,
                 number(replay.facts, a), p->off);
    explain_beginning(&replay);
    free(list);
    packages_free(&replay.packages);
    (void)stele_close(store);
}

/* ---- The history of one package ---------------------------------------------------------- */

struct history {
    bool all;
    uint64_t shown;
    uint64_t hidden;
};

static bool is_step(const char *action, struct stele_text type)
{
    static const char *const steps[] = {"PackageHalfInstalled",   "PackageUnpacked",
                                        "PackageHalfConfigured",  "PackageTriggersAwaited",
                                        "PackageTriggersPending", "PackageConfigured"};
    if (strcmp(action, "status") != 0) {
        return strcmp(action, "found") != 0 && strcmp(action, "replaced") != 0;
    }
    for (size_t i = 0; i < sizeof steps / sizeof steps[0]; i++) {
        if (strlen(steps[i]) == type.size && memcmp(steps[i], type.data, type.size) == 0) {
            return true;
        }
    }
    return false;
}

static void show_event(void *context, const struct stele_event *event, const struct fact *fact)
{
    struct history *const history = context;
    if (!history->all && is_step(fact->action, event->type)) {
        history->hidden++;
        return;
    }
    const struct paint *const p = paint();
    char time[32];
    history->shown++;
    (void)printf("  %s  %-27.*s", when(event->created_us, time), (int)event->type.size,
                 event->type.data);
    if (fact->becomes[0] != '\0') {
        (void)printf(" %s now %s", fact->previous, fact->becomes);
    } else if (fact->previous[0] != '\0') {
        (void)printf(" %s %s->%s %s", fact->previous, p->dim, p->off,
                     fact->version[0] == '\0' ? "nothing" : fact->version);
    } else {
        (void)printf(" %s", fact->version);
    }
    (void)printf("  %s#%llu%s\n", p->dim, (unsigned long long)event->revision, p->off);
}

struct streams {
    const char *asked; /* "package-NAME" or "package-NAME:ARCH" */
    char **names;
    size_t count;
};

static int take_stream(void *context, struct stele_text name, uint64_t count)
{
    struct streams *const streams = context;
    (void)count;
    /* All architectures of the package, and not package-dpkg-dev when dpkg was asked for. */
    const size_t size = strlen(streams->asked);
    if (name.size > size && name.data[size] != ':') {
        return 0;
    }
    streams->names = example_realloc(streams->names, (streams->count + 1) * sizeof(char *));
    streams->names[streams->count++] = example_copy(name.data, name.size);
    return 0;
}

void ask_history(const char *store_path, const char *package, int all)
{
    const struct paint *const p = paint();
    struct stele *const store = example_open(store_path);
    struct stele_error err = {0};
    struct text prefix = {0};
    text_addf(&prefix, "package-%s", package);
    struct streams streams = {.asked = prefix.data};
    example_check(
        stele_list(store, STELE_LIST_STREAMS, prefix.data, NULL, 0, take_stream, &streams, &err),
        &err, "list");
    for (size_t i = 0; i < streams.count; i++) {
        struct history history = {.all = all != 0};
        (void)printf("  %s%s%s\n", p->bold, streams.names[i], p->off);
        each_fact(store, streams.names[i], NULL, show_event, &history);
        if (history.hidden > 0) {
            (void)printf("  %sand %llu smaller steps (--all)%s\n", p->dim,
                         (unsigned long long)history.hidden, p->off);
        }
        free(streams.names[i]);
    }
    if (streams.count == 0) {
        example_die("nothing is known of %s", package);
    }
    free(streams.names);
    text_free(&prefix);
    (void)stele_close(store);
}

/* ---- Sessions ---------------------------------------------------------------------------- */

#define PAUSE_US (INT64_C(600) * 1000000)

struct session {
    int64_t begin_us;
    int64_t end_us;
    uint64_t position; /* Of its last event. */
    uint64_t lines;
    uint64_t installed;
    uint64_t upgraded;
    uint64_t removed;
};

struct sessions {
    struct session *list;
    size_t count;
};

static bool type_is(const struct stele_event *event, const char *type)
{
    return event->type.size == strlen(type) && memcmp(event->type.data, type, strlen(type)) == 0;
}

static void count_session(void *context, const struct stele_event *event, const struct fact *fact)
{
    struct sessions *const sessions = context;
    if (strcmp(fact->action, "found") == 0) {
        return;
    }
    struct session *last = sessions->count == 0 ? NULL : &sessions->list[sessions->count - 1];
    if (last == NULL || fact->time_us > last->end_us + PAUSE_US) {
        sessions->list =
            example_realloc(sessions->list, (sessions->count + 1) * sizeof *sessions->list);
        last = &sessions->list[sessions->count++];
        *last = (struct session){.begin_us = fact->time_us, .end_us = fact->time_us};
    }
    if (fact->time_us > last->end_us) {
        last->end_us = fact->time_us;
    }
    last->lines++;
    last->position = event->position;
    last->installed += type_is(event, "PackageInstalled") ? 1 : 0;
    last->upgraded += type_is(event, "PackageUpgraded") ? 1 : 0;
    last->removed += type_is(event, "PackageRemoved") ? 1 : 0;
}

void ask_sessions(const char *store_path, size_t limit)
{
    const struct paint *const p = paint();
    struct stele *const store = example_open(store_path);
    struct sessions sessions = {0};
    each_fact(store, NULL, NULL, count_session, &sessions);
    const size_t first = limit == 0 || limit > sessions.count ? 0 : sessions.count - limit;
    (void)printf("  %s%-19s  %8s %9s %9s %8s %8s  %s%s\n", p->dim, "begins", "minutes", "installed",
                 "upgraded", "removed", "lines", "position at its end", p->off);
    for (size_t i = first; i < sessions.count; i++) {
        const struct session *const session = &sessions.list[i];
        char time[32];
        (void)printf("  %s  %8.1f %9llu %9llu %8llu %8llu  %llu\n", when(session->begin_us, time),
                     (double)(session->end_us - session->begin_us) / 60e6,
                     (unsigned long long)session->installed, (unsigned long long)session->upgraded,
                     (unsigned long long)session->removed, (unsigned long long)session->lines,
                     (unsigned long long)session->position);
    }
    free(sessions.list);
    (void)stele_close(store);
}

/* ---- What changed ------------------------------------------------------------------------ */

struct change {
    const char *kind;
    const char *colour;
    uint64_t count;
};

enum { ADDED, UPGRADED, DOWNGRADED, REMOVED, CHANGES };

/* -1: nothing changed. */
static int change_of(const struct package *before, const struct package *after)
{
    const bool was = before != NULL && is_there(before);
    const bool is_now = after != NULL && is_there(after);
    if (!was || !is_now) {
        return was ? REMOVED : is_now ? ADDED : -1;
    }
    const int order = version_compare(before->version, after->version);
    return order < 0 ? UPGRADED : order > 0 ? DOWNGRADED : -1;
}

static void print_change(const struct package *before, const struct package *after,
                         const struct change *change)
{
    const struct package *const any = after != NULL ? after : before;
    (void)printf("  %s%-10s%s", change->colour, change->kind, paint()->off);
    print_name(any, 40);
    if (before != NULL && is_there(before)) {
        (void)printf(" %s", before->version);
    }
    if (before != NULL && is_there(before) && after != NULL && is_there(after)) {
        (void)printf(" ->");
    }
    if (after != NULL && is_there(after)) {
        (void)printf(" %s", after->version);
    }
    (void)printf("\n");
}

/* The last session ends with the last line; the state before it is that of the second before it
 * began. */
static void last_session(struct stele *store, struct up_to *out_after, struct up_to *out_up_to)
{
    struct sessions sessions = {0};
    each_fact(store, NULL, NULL, count_session, &sessions);
    if (sessions.count == 0) {
        out_after->time_us = out_up_to->time_us;
        return;
    }
    out_after->time_us = sessions.list[sessions.count - 1].begin_us - 1;
    out_up_to->time_us = sessions.list[sessions.count - 1].end_us;
    free(sessions.list);
}

void ask_changes(const char *store_path, const struct up_to *after, const struct up_to *up_to,
                 int brief)
{
    const struct paint *const p = paint();
    struct change changes[CHANGES] = {[ADDED] = {"installed", p->green, 0},
                                      [UPGRADED] = {"upgraded", p->blue, 0},
                                      [DOWNGRADED] = {"downgraded", p->yellow, 0},
                                      [REMOVED] = {"removed", p->red, 0}};
    struct stele *const store = example_open(store_path);
    struct up_to from = *after;
    struct up_to to = *up_to;
    const bool session = after->words == NULL;
    if (session) {
        last_session(store, &from, &to);
    }
    struct replay before;
    struct replay now;
    replay_up_to(store, &from, &before);
    replay_up_to(store, &to, &now);
    /* Nobody leaves the map, so the later one knows every package of the earlier one. */
    const struct package **const list = sorted(&now.packages);
    uint64_t shown = 0;
    uint64_t total = 0;
    for (size_t i = 0; i < now.packages.by_name.count; i++) {
        const struct package *const old =
            packages_find(&before.packages, list[i]->name, list[i]->arch);
        const int kind = change_of(old, list[i]);
        if (kind < 0) {
            continue;
        }
        changes[kind].count++;
        total++;
        if (!brief || shown < 8) {
            print_change(old, list[i], &changes[kind]);
            shown++;
        }
    }
    if (total > shown) {
        (void)printf("  %sand %llu more (package-history changes)%s\n", p->dim,
                     (unsigned long long)(total - shown), p->off);
    }
    char a[32];
    char b[32];
    (void)printf("  %s%llu installed, %llu upgraded, %llu downgraded, %llu removed%s", p->bold,
                 (unsigned long long)changes[ADDED].count,
                 (unsigned long long)changes[UPGRADED].count,
                 (unsigned long long)changes[DOWNGRADED].count,
                 (unsigned long long)changes[REMOVED].count, p->off);
    if (session && from.time_us < to.time_us) {
        (void)printf(" (%s … %s)", when(from.time_us + 1, a), when(to.time_us, b) + 11);
    }
    (void)printf("\n");
    free(list);
    packages_free(&before.packages);
    packages_free(&now.packages);
    (void)stele_close(store);
}

/* ---- The busiest ------------------------------------------------------------------------- */

struct tally {
    const char *name;
    uint64_t versions;
    uint64_t events;
};

static void count_versions(void *context, const struct stele_event *event, const struct fact *fact)
{
    struct map *const map = context;
    if (fact->arch[0] == '\0' && fact->state[0] == '\0') {
        return;
    }
    struct text name = {0};
    text_addf(&name, "%s:%s", fact->package, fact->arch);
    struct map_entry *const entry = map_at(map, name.data, name.size);
    text_free(&name);
    if (entry->value == NULL) {
        struct tally *const tally = example_alloc(sizeof *tally);
        *tally = (struct tally){.name = entry->key};
        entry->value = tally;
    }
    struct tally *const tally = entry->value;
    tally->events++;
    if (type_is(event, "PackageInstalled") || type_is(event, "PackageUpgraded") ||
        type_is(event, "PackageDowngraded") || type_is(event, "PackageReinstalled")) {
        tally->versions++;
    }
}

static int busiest_first(const void *a, const void *b)
{
    const struct tally *const left = *(const struct tally *const *)a;
    const struct tally *const right = *(const struct tally *const *)b;
    if (left->versions != right->versions) {
        return left->versions > right->versions ? -1 : 1;
    }
    if (left->events != right->events) {
        return left->events > right->events ? -1 : 1;
    }
    return strcmp(left->name, right->name);
}

void ask_busiest(const char *store_path, size_t limit)
{
    struct stele *const store = example_open(store_path);
    struct map map = {0};
    const char *const categories[] = {"package"};
    const struct stele_filter filter = {.categories = categories, .categories_count = 1};
    struct stele_read_options options = STELE_READ_OPTIONS_INIT;
    options.filter = &filter;
    each_fact(store, NULL, &options, count_versions, &map);

    const struct tally **const list = example_alloc(map.count * sizeof *list);
    for (size_t i = 0; i < map.count; i++) {
        list[i] = map.entries[i]->value;
    }
    if (map.count > 0) {
        qsort(list, map.count, sizeof *list, busiest_first);
    }
    for (size_t i = 0; i < map.count && (limit == 0 || i < limit); i++) {
        (void)printf("  %-44s %4llu times installed or changed %s%6llu events%s\n", list[i]->name,
                     (unsigned long long)list[i]->versions, paint()->dim,
                     (unsigned long long)list[i]->events, paint()->off);
    }
    free(list);
    map_free(&map, free);
    (void)stele_close(store);
}
