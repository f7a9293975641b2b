/* Opens a store after a disturbance and holds it against what was noted.
 *
 *     judge STORE NOTES SEEN [beside] [whole]
 *
 *  1. An acknowledged event is there, where its acknowledgement said, with the bytes it was given.
 *  2. A refused one is not.
 *  3. No event is there twice.
 *  4. Of an append, all events are there or none.
 *  5. Positions grow; revisions of a stream go up by one, from 0 where nothing may be missing;
 *     reading stream by stream gives the same events as reading all.
 *  6. stele_verify() is content, also with the digest of an earlier day.
 *  7. What a follower saw (SEEN, if it exists) is what is there, from the beginning, in order.
 *
 * beside: first look through a store opened for reading only, which has to see the same.
 * whole: wait until the follower has seen everything. */
#define CHECK_NO_MAIN
#include "lib/check.h"
#include "stress.h"

#include <unistd.h>

#define CATCH_UP_MS 20000

/* One append: a place in an open hash table, empty while kept and noted are 0. */
struct entry {
    struct stress_id name; /* index and kind are 0. */
    bool noted, stored, refused;
    uint16_t trash;
    uint64_t position_first, position_last;
    uint64_t found; /* A bit for each of its events. */
};
_Static_assert(STRESS_PARTS_MAX *STRESS_EVENTS_MAX <= 64, "found has a bit for each event");

struct stream {
    char name[STRESS_NAME_SIZE];
    enum stress_kind kind;
    uint64_t count, revision_last, position_last;
};
#define STREAMS_MAX 64

struct judge {
    struct entry *table;
    size_t table_size, table_used;
    struct stream streams[STREAMS_MAX];
    size_t streams_count;
    struct stress_seen *kept; /* In the order of the store. */
    size_t kept_count, kept_room;
    uint64_t stored;
};

/* ---- Appends by name ---- */

static struct entry *slot_of(struct entry *table, size_t size, const struct stress_id *name)
{
    uint64_t state = (uint64_t)name->round << 40 ^ (uint64_t)name->thread << 32 ^ name->sequence;
    size_t at = (size_t)rng_mix(&state) & (size - 1);
    while ((table[at].noted || table[at].found != 0) &&
           (table[at].name.round != name->round || table[at].name.thread != name->thread ||
            table[at].name.sequence != name->sequence)) {
        at = (at + 1) & (size - 1);
    }
    return &table[at];
}

static struct entry *entry_of(struct judge *judge, const struct stress_id *name)
{
    if (judge->table_used * 2 >= judge->table_size) {
        const size_t size = judge->table_size == 0 ? 4096 : judge->table_size * 2;
        struct entry *table = calloc(size, sizeof *table);
        CHECK(table != NULL);
        for (size_t i = 0; i < judge->table_size; i++) {
            if (judge->table[i].noted || judge->table[i].found != 0) {
                *slot_of(table, size, &judge->table[i].name) = judge->table[i];
            }
        }
        free(judge->table);
        judge->table = table;
        judge->table_size = size;
    }
    struct entry *entry = slot_of(judge->table, judge->table_size, name);
    if (!entry->noted && entry->found == 0) {
        entry->name = *name;
        judge->table_used++;
    }
    return entry;
}

static void load_notes(struct judge *judge, const char *path)
{
    FILE *file = fopen(path, "rb");
    struct stress_note line;
    while (file != NULL && fread(&line, sizeof line, 1, file) == 1) {
        struct entry *entry = entry_of(judge, &line.name);
        entry->noted = true;
        entry->name.kept = line.name.kept;
        if (line.kind == STRESS_STORED) {
            /* Sent again, it has to end where it ended before. */
            CHECK(!entry->stored || entry->position_first == line.position_first);
            CHECK(!entry->stored || entry->position_last == line.position_last);
            judge->stored += entry->stored ? 0 : 1;
            entry->stored = true;
            entry->trash = line.trash;
            entry->position_first = line.position_first;
            entry->position_last = line.position_last;
        } else {
            entry->refused = line.kind == STRESS_REFUSED;
        }
    }
    if (file != NULL) {
        (void)fclose(file);
    }
}

/* ---- Reading all of it ---- */

static struct stream *stream_of(struct judge *judge, struct stele_text name, enum stress_kind kind)
{
    for (size_t i = 0; i < judge->streams_count; i++) {
        struct stream *stream = &judge->streams[i];
        if (strlen(stream->name) == name.size && memcmp(stream->name, name.data, name.size) == 0) {
            return stream;
        }
    }
    CHECK(judge->streams_count < STREAMS_MAX && name.size < STRESS_NAME_SIZE);
    struct stream *stream = &judge->streams[judge->streams_count++];
    memset(stream, 0, sizeof *stream);
    memcpy(stream->name, name.data, name.size);
    stream->kind = kind;
    return stream;
}

static void check_content(const struct stele_event *event, const struct stress_id *id)
{
    static uint8_t payload[STRESS_PAYLOAD_MAX];
    const size_t size = stress_payload(id, payload);
    CHECK_EQ(event->data_size, size);
    CHECK_BYTES_EQ(event->data, payload, size);
}

static void add_kept(struct judge *judge, const struct stress_seen *kept)
{
    if (judge->kept_count == judge->kept_room) {
        judge->kept_room = judge->kept_room == 0 ? 4096 : judge->kept_room * 2;
        judge->kept = realloc(judge->kept, judge->kept_room * sizeof *judge->kept);
        CHECK(judge->kept != NULL);
    }
    judge->kept[judge->kept_count++] = *kept;
}

static void add_event(struct judge *judge, const struct stele_event *event)
{
    if (event->stream.data[0] == '$') {
        return;
    }
    struct stress_seen seen = {.position = event->position};
    memcpy(&seen.id, event->id, sizeof seen.id);
    struct stream *stream = stream_of(judge, event->stream, (enum stress_kind)seen.id.kind);
    if (stream->kind == STRESS_IS_KEPT) {
        CHECK_EQ(event->revision, stream->count);
        add_kept(judge, &seen);
    } else {
        CHECK(stream->count == 0 || event->revision > stream->revision_last);
    }
    stream->count++;
    stream->revision_last = event->revision;
    stream->position_last = event->position;
    check_content(event, &seen.id);

    struct stress_id name = seen.id;
    name.index = 0;
    name.kind = 0;
    struct entry *entry = entry_of(judge, &name);
    if (entry->found >> seen.id.index & 1U) {
        check_failed(__FILE__, __LINE__, "event %u/%u/%u/%u is there twice, again at %ju",
                     name.round, name.thread, name.sequence, seen.id.index,
                     (uintmax_t)event->position);
    }
    if (entry->stored) {
        CHECK(event->position >= entry->position_first);
        CHECK(event->position <= entry->position_last);
    }
    entry->found |= UINT64_C(1) << seen.id.index;
}

static void read_everything(struct judge *judge, struct stele *store)
{
    struct stele_read_options options = STELE_READ_OPTIONS_INIT;
    struct stele_error err = {.outcome = STELE_OK};
    struct stele_iterator *iterator;
    const struct stele_event *events;
    size_t count;
    uint64_t position = 0;
    options.ignore_limits = 1;
    CHECK_OK(stele_read_all(store, &options, &iterator, &err), err);
    int outcome;
    while ((outcome = stele_iterator_next(iterator, &events, &count, &err)) == STELE_OK) {
        for (size_t i = 0; i < count; i++) {
            CHECK(events[i].position > position);
            position = events[i].position;
            add_event(judge, &events[i]);
        }
    }
    CHECK_OUTCOME(outcome, STELE_END, err);
    stele_iterator_destroy(iterator);
}

/* ---- Judging ---- */

static void check_appends(const struct judge *judge)
{
    for (size_t i = 0; i < judge->table_size; i++) {
        const struct entry *entry = &judge->table[i];
        const struct stress_id *name = &entry->name;
        if (!entry->noted && entry->found == 0) {
            continue;
        }
        const uint64_t all = (UINT64_C(1) << name->kept) - 1;
        const uint64_t found = entry->found & all;
        const char *wrong = NULL;
        if (found != 0 && found != all) {
            wrong = "is there in part";
        } else if (entry->stored && found != all) {
            wrong = "was acknowledged and is not there";
        } else if (entry->refused && !entry->stored && entry->found != 0) {
            wrong = "was refused and is there";
        }
        if (wrong != NULL) {
            check_failed(__FILE__, __LINE__, "append %u/%u/%u (round/thread/sequence; at %ju) %s",
                         name->round, name->thread, name->sequence,
                         (uintmax_t)entry->position_first, wrong);
        }
    }
}

/* The last events of a trash stream are kept too: nothing newer was acknowledged than what is
 * there. */
static void check_trash(struct judge *judge)
{
    for (size_t i = 0; i < judge->table_size; i++) {
        const struct entry *entry = &judge->table[i];
        if (!entry->stored || entry->trash == 0) {
            continue;
        }
        char name[STRESS_NAME_SIZE];
        const int size = snprintf(name, sizeof name, "trash-%d", entry->trash - 1);
        const struct stele_text text = {name, (size_t)size};
        const struct stream *stream = stream_of(judge, text, STRESS_IS_TRASH);
        CHECK(stream->position_last >= entry->position_first);
    }
}

/* The way through the index gives what the way through the log gave. */
static void check_streams(const struct judge *judge, struct stele *store)
{
    for (size_t i = 0; i < judge->streams_count; i++) {
        const struct stream *stream = &judge->streams[i];
        struct stele_read_options options = STELE_READ_OPTIONS_INIT;
        struct stele_error err = {.outcome = STELE_OK};
        struct stele_iterator *iterator = NULL;
        const struct stele_event *events;
        size_t count;
        uint64_t read = 0;
        uint64_t revision = 0;
        options.ignore_limits = 1;
        int outcome = stele_read_stream(store, stream->name, &options, &iterator, &err);
        if (outcome == STELE_NO_STREAM && stream->kind == STRESS_IS_GONE) {
            continue;
        }
        CHECK_OK(outcome, err);
        while ((outcome = stele_iterator_next(iterator, &events, &count, &err)) == STELE_OK) {
            CHECK(read == 0 || events[0].revision > revision);
            read += count;
            revision = events[count - 1].revision;
        }
        CHECK_OUTCOME(outcome, STELE_END, err);
        stele_iterator_destroy(iterator);
        if (read != stream->count || revision != stream->revision_last) {
            check_failed(__FILE__, __LINE__, "%s: %ju events up to %ju; in $all %ju up to %ju",
                         stream->name, (uintmax_t)read, (uintmax_t)revision,
                         (uintmax_t)stream->count, (uintmax_t)stream->revision_last);
        }
    }
}

static void on_damage(void *context, const struct stele_damage *damage)
{
    (void)context;
    (void)fprintf(stderr, "damage: %s at %ju: %s\n", damage->file, (uintmax_t)damage->offset,
                  damage->what);
}

static void check_verify(struct stele *store, const char *notes)
{
    char path[512];
    char digest[STELE_DIGEST_SIZE] = "";
    (void)snprintf(path, sizeof path, "%s.digest", notes);
    FILE *file = fopen(path, "r");
    if (file != NULL) {
        CHECK(fgets(digest, sizeof digest, file) != NULL);
        (void)fclose(file);
    }
    struct stele_verify_options options = STELE_VERIFY_OPTIONS_INIT;
    struct stele_verify_result result;
    struct stele_error err = {.outcome = STELE_OK};
    options.against = digest[0] != '\0' ? digest : NULL;
    options.on_damage = on_damage;
    CHECK_OK(stele_verify(store, &options, &result, &err), err);
    file = fopen(path, "w");
    CHECK(file != NULL && fputs(result.digest, file) >= 0 && fclose(file) == 0);
}

static size_t check_seen(const struct judge *judge, const char *path)
{
    FILE *file = fopen(path, "rb");
    struct stress_seen seen;
    size_t at = 0;
    while (file != NULL && fread(&seen, sizeof seen, 1, file) == 1) {
        if (at == judge->kept_count || memcmp(&seen, &judge->kept[at], sizeof seen) != 0) {
            check_failed(__FILE__, __LINE__,
                         "the follower saw %u/%u/%u/%u at %ju, number %zu of %zu, where %ju is",
                         seen.id.round, seen.id.thread, seen.id.sequence, seen.id.index,
                         (uintmax_t)seen.position, at, judge->kept_count,
                         (uintmax_t)(at < judge->kept_count ? judge->kept[at].position : 0));
        }
        at++;
    }
    if (file != NULL) {
        (void)fclose(file);
    }
    return at;
}

static struct stele *open_store(const char *path, int read_only)
{
    struct stele_options options = STELE_OPTIONS_INIT;
    struct stele_error err = {.outcome = STELE_OK};
    struct stele *store;
    options.read_only = read_only;
    options.segment_size_max = (uint64_t)64 * 1024;
    options.index_memory = 16384;
    const int outcome = stele_open(path, &options, &store, &err);
    if (outcome == STELE_E_NOT_A_STORE && read_only) {
        return NULL; /* The writer had no time to make one. */
    }
    CHECK_OK(outcome, err);
    return store;
}

static void judge_everything(struct judge *judge, struct stele *store, const char *notes)
{
    load_notes(judge, notes);
    read_everything(judge, store);
    check_appends(judge);
    check_trash(judge);
    check_streams(judge, store);
}

int main(int argc, char **argv)
{
    CHECK(argc >= 4);
    bool beside = false;
    bool whole = false;
    for (int i = 4; i < argc; i++) {
        beside = beside || strcmp(argv[i], "beside") == 0;
        whole = whole || strcmp(argv[i], "whole") == 0;
    }
    struct judge first = {.stored = 0};
    struct judge judge = {.stored = 0};
    struct stele *store = beside ? open_store(argv[1], 1) : NULL;
    beside = store != NULL;
    if (beside) {
        judge_everything(&first, store, argv[2]);
        CHECK(stele_close(store) == STELE_OK);
    }
    store = open_store(argv[1], 0);
    judge_everything(&judge, store, argv[2]);
    check_verify(store, argv[2]);
    if (beside) {
        CHECK_EQ(first.kept_count, judge.kept_count);
        CHECK_BYTES_EQ(first.kept, judge.kept, judge.kept_count * sizeof *judge.kept);
    }
    size_t seen = check_seen(&judge, argv[3]);
    for (int ms = 0; whole && seen < judge.kept_count && ms < CATCH_UP_MS; ms += 20) {
        (void)usleep(20000);
        seen = check_seen(&judge, argv[3]);
    }
    CHECK(!whole || seen == judge.kept_count);
    CHECK(stele_close(store) == STELE_OK);
    (void)printf("%ju acknowledged, %zu events kept, %zu seen\n", (uintmax_t)judge.stored,
                 judge.kept_count, seen);
    free(first.table);
    free(first.kept);
    free(judge.table);
    free(judge.kept);
    return EXIT_SUCCESS;
}
