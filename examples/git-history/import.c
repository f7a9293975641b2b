#include "import.h"

#include "../common/example.h"
#include "events.h"
#include "git_log.h"
#include "history.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* One stream of an append is that of the commits. */
#define FILES_OF_APPEND_MAX (STELE_APPEND_STREAMS_MAX - 1)

struct importer {
    struct stele *store;
    struct sender sender;
    struct text commits; /* The stream's name. */
    struct map known;    /* Ids of commits that are in the store. */
    struct map streams;  /* Stream to uint64_t: its expected revision. */
    bool fresh;          /* Nothing of the store counts: expect that no stream exists. */
    bool resend;
    uint64_t commits_known;
    uint64_t commits_sent;
    uint64_t split;
};

/* ---- What is there already --------------------------------------------------------------- */

static int take_commit(void *context, const struct stele_event *event)
{
    struct importer *const importer = context;
    struct parsed parsed;
    if (parse_event(event, &parsed)) {
        (void)map_at(&importer->known, parsed.commit, strlen(parsed.commit));
        parsed_free(&parsed);
    }
    return 0;
}

/* Two repositories in one store would write to the same streams of files. */
static void refuse_other_repository(struct importer *importer)
{
    struct text stream = {0};
    history_stream(importer->store, &stream);
    if (stream.size > 0 && strcmp(stream.data, importer->commits.data) != 0) {
        example_die("the store has the history of %s; give this repository a store of its own",
                    stream.data + strlen("commits-"));
    }
    text_free(&stream);
}

/* ---- Expected revisions ------------------------------------------------------------------ */

struct last_event {
    const uint8_t *id;
    uint64_t expected;
};

static int take_last(void *context, const struct stele_event *event)
{
    struct last_event *const last = context;
    /* The event that is about to be sent is there: an import was cut off between two parts of its
     * commit. The append is the same again only if it expects what it expected then. */
    if (memcmp(event->id, last->id, 16) != 0) {
        last->expected = event->revision;
    } else if (event->revision > 0) {
        last->expected = event->revision - 1;
    }
    return 1;
}

/* Asks the store once for every stream; then counts. */
static uint64_t expect_next(struct importer *importer, const struct text *stream,
                            const uint8_t id[16])
{
    struct map_entry *const entry = map_at(&importer->streams, stream->data, stream->size);
    uint64_t *const revision =
        entry->value == NULL ? example_alloc(sizeof *revision) : entry->value;
    if (entry->value == NULL) {
        struct last_event last = {.id = id, .expected = STELE_EXPECT_NO_STREAM};
        if (!importer->fresh) {
            struct stele_read_options options = STELE_READ_OPTIONS_INIT;
            options.backwards = 1;
            options.from = STELE_FROM_END;
            options.limit = 1;
            example_each(importer->store, stream->data, &options, take_last, &last);
        }
        *revision = last.expected;
        entry->value = revision;
    }
    const uint64_t expected = *revision;
    *revision = expected == STELE_EXPECT_NO_STREAM ? 0 : expected + 1;
    return expected;
}

/* ---- Sending ----------------------------------------------------------------------------- */

struct draft {
    struct text stream;
    struct text json;
    struct stele_event_draft event;
};

static void draft_free(struct draft *draft)
{
    text_free(&draft->stream);
    text_free(&draft->json);
}

static void draft_finish(struct importer *importer, struct draft *draft, const char *type,
                         const struct commit *commit, struct stele_append *out_append)
{
    /* 1970-01-01 itself would mean "now". */
    const int64_t created_us = commit->committed_s * 1000000;
    draft->event.type = type;
    draft->event.data = draft->json.data;
    draft->event.data_size = draft->json.size;
    draft->event.created_us = created_us == 0 ? 1 : created_us;
    *out_append = (struct stele_append){
        .stream = draft->stream.data,
        .expected = expect_next(importer, &draft->stream, draft->event.id),
        .events = &draft->event,
        .count = 1,
    };
}

/* Sends some of the changes of a commit, and with the last of them the commit itself. */
static void send_part(struct importer *importer, const struct commit *commit, size_t first,
                      size_t count, bool last)
{
    const size_t drafts_count = count + (last ? 1 : 0);
    struct draft *const drafts = example_alloc(drafts_count * sizeof *drafts);
    struct stele_append *const appends = example_alloc(drafts_count * sizeof *appends);
    for (size_t i = 0; i < count; i++) {
        const struct change *const change = &commit->changes[first + i];
        drafts[i] = (struct draft){.stream = {0}};
        file_stream(change->path, change->path_size, &drafts[i].stream);
        change_to_json(commit, change, &drafts[i].json);
        change_id(commit, change, drafts[i].event.id);
        draft_finish(importer, &drafts[i], change_type(change), commit, &appends[i]);
    }
    if (last) {
        drafts[count] = (struct draft){.stream = {0}};
        text_add(&drafts[count].stream, importer->commits.data, importer->commits.size);
        commit_to_json(commit, &drafts[count].json);
        commit_id(commit, drafts[count].event.id);
        draft_finish(importer, &drafts[count], "CommitRecorded", commit, &appends[count]);
    }
    sender_send(&importer->sender, appends, drafts_count, false);
    for (size_t i = 0; i < drafts_count; i++) {
        draft_free(&drafts[i]);
    }
    free(drafts);
    free(appends);
}

static void on_commit(void *context, const struct commit *commit)
{
    struct importer *const importer = context;
    if (map_find(&importer->known, commit->id, strlen(commit->id)) != NULL) {
        importer->commits_known++;
        if (!importer->resend) {
            return;
        }
    }
    importer->commits_sent++;
    size_t first = 0;
    while (commit->changes_count - first > FILES_OF_APPEND_MAX) {
        send_part(importer, commit, first, FILES_OF_APPEND_MAX, false);
        first += FILES_OF_APPEND_MAX;
        importer->split += first == FILES_OF_APPEND_MAX ? 1 : 0;
    }
    send_part(importer, commit, first, commit->changes_count - first, true);
}

/* ---- All of it --------------------------------------------------------------------------- */

static void tell(const struct importer *importer, const char *name, double seconds)
{
    const struct paint *const p = paint();
    char a[32];
    char b[32];
    struct stele_stats stats = {0};
    struct stele_error err = {0};
    example_check(stele_stats(importer->store, &stats, &err), &err, "count");
    (void)printf("  read      %s commits of %s",
                 number(importer->resend ? importer->commits_sent
                                         : importer->commits_known + importer->commits_sent,
                        a),
                 name);
    if (importer->commits_known > 0) {
        (void)printf(", %s were there already", number(importer->commits_known, a));
    }
    if (importer->split > 0) {
        (void)printf(", %s in parts", number(importer->split, a));
    }
    (void)printf("\n  stored    %s%s events%s", p->bold, number(importer->sender.events_stored, a),
                 p->off);
    if (importer->sender.events_known > 0) {
        (void)printf(", %s recognised", number(importer->sender.events_known, a));
    }
    if (seconds > 0 && importer->commits_sent > 0) {
        (void)printf(" in %.2f s, %s commits a second", seconds,
                     number((uint64_t)((double)importer->commits_sent / seconds), a));
    }
    (void)printf("\n  store     %s events", number(stats.events, a));
    (void)printf(" in %s streams, %s of log\n", number(stats.streams, a),
                 bytes_number(stats.log_size, b));
}

void import(const char *store_path, const char *repository, const char *revision, const char *name,
            bool resend)
{
    struct importer importer = {.resend = resend};
    struct text repository_name = {0};
    if (name == NULL) {
        git_name(repository, &repository_name);
    } else {
        text_add(&repository_name, name, strlen(name));
    }
    if (!git_has_commits(repository, revision)) {
        example_die("%s has no commit %s", repository, revision);
    }
    commits_stream(repository_name.data, &importer.commits);
    if (!is_stream_name(importer.commits.data, importer.commits.size)) {
        example_die("a stream cannot be called after this repository; use --name");
    }

    struct stele_error err = {0};
    struct stele_stats stats = {0};
    example_check(stele_open(store_path, NULL, &importer.store, &err), &err, store_path);
    example_check(stele_stats(importer.store, &stats, &err), &err, "count");
    refuse_other_repository(&importer);
    example_each(importer.store, importer.commits.data, NULL, take_commit, &importer);
    importer.fresh = resend || stats.events == 0;

    const double begin = seconds_now();
    sender_init(&importer.sender, importer.store);
    git_log(repository, revision, on_commit, &importer);
    sender_finish(&importer.sender);
    tell(&importer, repository_name.data, seconds_now() - begin);

    map_free(&importer.known, NULL);
    map_free(&importer.streams, free);
    text_free(&importer.commits);
    text_free(&repository_name);
    example_check(stele_close(importer.store), NULL, "close the store");
}
