/* Appends from several threads, as fast as it can, until it is killed, told to stop (SIGTERM), done,
 * or refused; notes every append that was acknowledged.
 *
 *     writer STORE NOTES ROUND [NAME=NUMBER …]
 *
 * segment=, memory=, compress=   options of the store
 * appends=N                      each thread ends after so many
 * fenced=1                       reads have to work always; at the end a fenced store has to refuse
 *                                appends
 * retry=ROUND                    first sends the last appends of that round again
 *
 * Ends with 0 when it was told to stop or is done; 10 when the store said that its disk is ill. */
#define CHECK_NO_MAIN
#include "lib/check.h"
#include "stress.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdatomic.h>
#include <time.h>
#include <unistd.h>

#define WINDOW 32 /* Asynchronous appends under way. */
#define RETRIED_BEFORE 4
#define DISK_IS_ILL 10

static struct stele *store;
static const char *notes_path;
static int notes;
static uint32_t this_round;
static uint32_t appends_max = UINT32_MAX;
static bool reads_work; /* The disk fails writes and syncs only. */
static atomic_bool stopping;
static atomic_bool ill;

static void on_term(int number)
{
    (void)number;
    atomic_store(&stopping, true);
}

static bool goes_on(void)
{
    return !atomic_load(&stopping) && !atomic_load(&ill);
}

static void note(const struct stress_plan *plan, enum stress_note_kind kind,
                 const struct stele_append_result *result)
{
    struct stress_note line = {
        .name = plan->name, .kind = (uint16_t)kind, .trash = plan->trash, .reserved = 0};
    if (kind == STRESS_STORED) {
        line.position_first = result->position_first;
        line.position_last = result->position_last;
    }
    CHECK(write(notes, &line, sizeof line) == (ssize_t)sizeof line);
}

/* Is this what calls end with when the disk fails? A file system that has been shut down turns
 * read-only at times. */
static bool is_of_disk(int outcome)
{
    return outcome == STELE_E_UNKNOWN || outcome == STELE_E_FENCED || outcome == STELE_E_IO ||
           outcome == STELE_E_NO_SPACE || outcome == STELE_E_READ_ONLY;
}

/* What a dying disk ends is fine; anything else has to work. */
static void expect_ok(int outcome, const char *what)
{
    if (outcome != STELE_OK && outcome != STELE_NO_STREAM && !is_of_disk(outcome)) {
        check_failed(__FILE__, __LINE__, "%s: %s", what, stele_outcome_name(outcome));
    }
    if (outcome < 0) {
        atomic_store(&ill, true);
    }
}

/* Notes what an append ended with. A disk that fails may end everything that is under way, but never
 * with an outcome that is about something else. */
static void conclude(const struct stress_plan *plan, int outcome,
                     const struct stele_append_result *result, const char *message)
{
    if (outcome == STELE_OK) {
        note(plan, STRESS_STORED, result);
        return;
    }
    /* Those that were sent off behind a refused one expected it. */
    const bool follows = outcome == STELE_WRONG_REVISION && atomic_load(&ill);
    if (!is_of_disk(outcome) && !follows) {
        check_failed(__FILE__, __LINE__, "append %u/%u/%u to %s: %s: %s", plan->name.round,
                     plan->name.thread, plan->name.sequence, plan->parts[0].stream,
                     stele_outcome_name(outcome), message);
    }
    if (outcome != STELE_E_UNKNOWN) {
        note(plan, STRESS_REFUSED, NULL);
    }
    if (!atomic_exchange(&ill, true)) {
        (void)fprintf(stderr, "first refusal: %s: %s\n", stele_outcome_name(outcome), message);
    }
}

/* ---- A request, from its plan ---- */

struct request {
    struct stress_plan plan;
    struct stele_append appends[STRESS_PARTS_MAX];
    struct stele_event_draft drafts[STRESS_PARTS_MAX * STRESS_EVENTS_MAX];
    uint8_t payloads[STRESS_PARTS_MAX * STRESS_EVENTS_MAX][STRESS_PAYLOAD_MAX];
};

/* Revisions that the next append expects of the thread's own streams; NULL: no expectation. */
static void build(struct request *request, const uint64_t *expected)
{
    static const char *const tags[] = {"even", "odd"};
    const struct stress_plan *plan = &request->plan;
    uint16_t index = 0;
    for (size_t i = 0; i < plan->parts_count; i++) {
        const struct stress_part *part = &plan->parts[i];
        request->appends[i] = (struct stele_append){
            .stream = part->stream,
            .expected = part->own >= 0 && expected != NULL ? expected[part->own] : STELE_EXPECT_ANY,
            .events = &request->drafts[index],
            .count = part->count,
        };
        for (size_t j = 0; j < part->count; j++, index++) {
            struct stress_id id = plan->name;
            id.index = index;
            id.kind = (uint16_t)part->kind;
            struct stele_event_draft *draft = &request->drafts[index];
            *draft = (struct stele_event_draft){
                .type = part->kind == STRESS_IS_KEPT ? "Kept" : "Hidden",
                .data = request->payloads[index],
                .data_size = stress_payload(&id, request->payloads[index]),
                .content_type = "application/octet-stream",
                .tags = &tags[index % 2],
                .tags_count = index % 3 == 0 ? 1 : 0,
            };
            memcpy(draft->id, &id, sizeof id);
        }
    }
}

/* Once the append has been taken up, its successor expects more. */
static void advance(const struct stress_plan *plan, uint64_t *expected)
{
    for (size_t i = 0; i < plan->parts_count; i++) {
        const struct stress_part *part = &plan->parts[i];
        if (part->own >= 0) {
            uint64_t *next = &expected[part->own];
            *next = *next == STELE_EXPECT_NO_STREAM ? part->count - 1 : *next + part->count;
        }
    }
}

static void ask_revisions(uint16_t thread, uint64_t *expected)
{
    for (size_t i = 0; i < STRESS_OWN; i++) {
        char name[STRESS_NAME_SIZE];
        struct stele_stream_info info;
        (void)snprintf(name, sizeof name, "own%u-%zu", thread, i);
        const int outcome = stele_stream_info(store, name, &info, NULL);
        expect_ok(outcome, "ask for a revision");
        expected[i] = outcome == STELE_OK ? info.revision_last : STELE_EXPECT_NO_STREAM;
    }
}

/* ---- Threads ---- */

static void *run_sync(void *context)
{
    const uint16_t thread = (uint16_t)(uintptr_t)context;
    struct request *request = malloc(sizeof *request);
    uint64_t expected[STRESS_OWN];
    CHECK(request != NULL);
    ask_revisions(thread, expected);
    for (uint32_t sequence = 0; sequence < appends_max && goes_on(); sequence++) {
        struct stele_append_result result;
        struct stele_error err = {.outcome = STELE_OK};
        stress_make_plan(this_round, thread, sequence, &request->plan);
        build(request, expected);
        const int outcome = stele_append_many(store, request->appends, request->plan.parts_count,
                                              NULL, 0, NULL, &result, &err);
        conclude(&request->plan, outcome, &result, err.message);
        advance(&request->plan, expected);
    }
    free(request);
    return NULL;
}

static sem_t window;

static void on_appended(void *context, int outcome, const struct stele_append_result *result)
{
    struct stress_plan *plan = context;
    conclude(plan, outcome, result, "asynchronous");
    free(plan);
    CHECK(sem_post(&window) == 0);
}

static void *run_async(void *context)
{
    const uint16_t thread = (uint16_t)(uintptr_t)context;
    struct request *request = malloc(sizeof *request);
    uint64_t expected[STRESS_OWN];
    CHECK(request != NULL);
    ask_revisions(thread, expected);
    for (uint32_t sequence = 0; sequence < appends_max && goes_on(); sequence++) {
        while (sem_wait(&window) != 0) {
        }
        struct stele_error err = {.outcome = STELE_OK};
        stress_make_plan(this_round, thread, sequence, &request->plan);
        build(request, expected);
        struct stress_plan *plan = malloc(sizeof *plan);
        CHECK(plan != NULL);
        *plan = request->plan;
        CHECK_OK(stele_append_async(store, request->appends, plan->parts_count, NULL, 0,
                                    on_appended, plan, &err),
                 err);
        advance(&request->plan, expected);
    }
    for (int i = 0; i < WINDOW; i++) {
        while (sem_wait(&window) != 0) {
        }
    }
    free(request);
    return NULL;
}

/* The digest is kept beside the notes; the judge verifies the store against it. */
static void keep_digest(void)
{
    char digest[STELE_DIGEST_SIZE];
    char path[512];
    char fresh[520];
    struct stele_error err;
    const int outcome = stele_digest(store, digest, &err);
    if (outcome != STELE_OK) {
        expect_ok(outcome, "digest");
        return;
    }
    (void)snprintf(path, sizeof path, "%s.digest", notes_path);
    (void)snprintf(fresh, sizeof fresh, "%s.new", path);
    FILE *file = fopen(fresh, "w");
    CHECK(file != NULL && fputs(digest, file) >= 0 && fclose(file) == 0);
    CHECK(rename(fresh, path) == 0);
}

static int read_some(struct rng *rng)
{
    char name[STRESS_NAME_SIZE];
    struct stele_iterator *iterator = NULL;
    struct stele_error err = {.outcome = STELE_OK};
    (void)snprintf(name, sizeof name, "shared-%u", (unsigned)rng_below(rng, STRESS_SHARED));
    int outcome = stele_read_stream(store, name, NULL, &iterator, &err);
    CHECK(!reads_work || outcome == STELE_OK || outcome == STELE_NO_STREAM);
    uint64_t next = 0;
    while (outcome == STELE_OK) {
        const struct stele_event *events;
        size_t count;
        outcome = stele_iterator_next(iterator, &events, &count, &err);
        CHECK(!reads_work || outcome == STELE_OK || outcome == STELE_END);
        for (size_t i = 0; outcome == STELE_OK && i < count; i++) {
            CHECK_EQ(events[i].revision, next++);
        }
    }
    stele_iterator_destroy(iterator);
    return outcome == STELE_END ? STELE_OK : outcome;
}

static void *run_keeper(void *context)
{
    struct rng rng;
    rng_init(&rng, this_round, (uintptr_t)context);
    while (goes_on()) {
        expect_ok(stele_scavenge(store, NULL, NULL, NULL), "scavenge");
        if (rng_one_in(&rng, 4)) {
            keep_digest();
        }
        if (rng_one_in(&rng, 8)) {
            expect_ok(stele_delete(store, rng_one_in(&rng, 2) ? "gone-0" : "gone-1",
                                   STELE_EXPECT_ANY, NULL, NULL),
                      "delete");
        }
        expect_ok(read_some(&rng), "read");
        (void)usleep((useconds_t)rng_between(&rng, 1000, 20000));
    }
    return NULL;
}

/* ---- Sending again ---- */

/* The last append of each thread that was acknowledged in that round. */
static void find_last(uint32_t round, uint32_t last[STRESS_THREADS])
{
    struct stress_note line;
    memset(last, 0, STRESS_THREADS * sizeof *last);
    for (off_t at = 0; pread(notes, &line, sizeof line, at) == (ssize_t)sizeof line;
         at += (off_t)sizeof line) {
        if (line.name.round == round && line.kind == STRESS_STORED &&
            line.name.sequence > last[line.name.thread]) {
            last[line.name.thread] = line.name.sequence;
        }
    }
}

static void retry(uint32_t round)
{
    struct request *request = malloc(sizeof *request);
    uint32_t last[STRESS_THREADS];
    CHECK(request != NULL);
    find_last(round, last);
    for (uint16_t thread = 0; thread < STRESS_THREADS; thread++) {
        const uint32_t first = last[thread] < RETRIED_BEFORE ? 0 : last[thread] - RETRIED_BEFORE;
        const uint32_t under_way = thread + 1 < STRESS_THREADS ? 1 : WINDOW;
        for (uint32_t at = first; at <= last[thread] + under_way && goes_on(); at++) {
            struct stele_append_result result;
            struct stele_error err = {.outcome = STELE_OK};
            stress_make_plan(round, thread, at, &request->plan);
            if (request->plan.has_hidden) {
                continue; /* Its hidden half may be reclaimed: no longer the same append. */
            }
            build(request, NULL);
            note(&request->plan, STRESS_AGAIN, NULL);
            const int outcome = stele_append_many(
                store, request->appends, request->plan.parts_count, NULL, 0, NULL, &result, &err);
            conclude(&request->plan, outcome, &result, err.message);
        }
    }
    free(request);
}

/* ---- All of it ---- */

static void keep_few_of_trash(void)
{
    char json[32];
    const int size = snprintf(json, sizeof json, "{\"$maxCount\":%d}", STRESS_TRASH_KEPT);
    for (int i = 0; i < STRESS_TRASH; i++) {
        char name[STRESS_NAME_SIZE];
        (void)snprintf(name, sizeof name, "trash-%d", i);
        const int outcome =
            stele_set_metadata(store, name, STELE_EXPECT_NO_STREAM, json, (size_t)size, NULL, NULL);
        if (outcome != STELE_WRONG_REVISION) {
            expect_ok(outcome, "set metadata");
        }
    }
}

static void work(void)
{
    pthread_t threads[STRESS_THREADS];
    pthread_t keeper;
    CHECK(sem_init(&window, 0, WINDOW) == 0);
    for (uintptr_t i = 0; i < STRESS_THREADS; i++) {
        CHECK(pthread_create(&threads[i], NULL, i + 1 < STRESS_THREADS ? run_sync : run_async,
                             (void *)i) == 0);
    }
    CHECK(pthread_create(&keeper, NULL, run_keeper, NULL) == 0);
    for (size_t i = 0; i < STRESS_THREADS; i++) {
        (void)pthread_join(threads[i], NULL);
    }
    atomic_store(&stopping, true);
    (void)pthread_join(keeper, NULL);
}

/* Even if the disk is well again: what it lost is known to nobody. */
static void check_fenced(void)
{
    const struct stele_event_draft draft = {.type = "Late"};
    struct stele_stats stats;
    struct rng rng;
    struct stele_error err = {.outcome = STELE_OK};
    CHECK_OK(stele_stats(store, &stats, &err), err);
    if (!stats.fenced) {
        return;
    }
    CHECK_OUTCOME(stele_append(store, "late", STELE_EXPECT_ANY, &draft, 1, NULL, &err),
                  STELE_E_FENCED, err);
    rng_init(&rng, this_round, 0);
    (void)read_some(&rng);
}

int main(int argc, char **argv)
{
    struct stele_options options = STELE_OPTIONS_INIT;
    struct stele_error err = {.outcome = STELE_OK};
    long retried = -1;
    CHECK(argc >= 4);
    notes_path = argv[2];
    this_round = (uint32_t)strtoul(argv[3], NULL, 10);
    options.segment_size_max = (uint64_t)64 * 1024;
    options.index_memory = 16384;
    for (int i = 4; i < argc; i++) {
        const char *value = strchr(argv[i], '=');
        CHECK(value != NULL);
        const long number = strtol(value + 1, NULL, 10);
        switch (argv[i][0]) {
        case 's':
            options.segment_size_max = (uint64_t)number;
            break;
        case 'm':
            options.index_memory = (uint64_t)number;
            break;
        case 'c':
            options.compress = (int)number;
            break;
        case 'a':
            appends_max = (uint32_t)number;
            break;
        case 'f':
            reads_work = number != 0;
            break;
        case 'r':
            retried = number;
            break;
        default:
            check_failed(__FILE__, __LINE__, "unknown option %s", argv[i]);
        }
    }
    CHECK(signal(SIGTERM, on_term) != SIG_ERR);
    notes = open(notes_path, O_RDWR | O_CREAT | O_APPEND, 0644);
    CHECK(notes >= 0);
    const int outcome = stele_open(argv[1], &options, &store, &err);
    if (is_of_disk(outcome)) {
        return DISK_IS_ILL;
    }
    CHECK_OK(outcome, err);
    keep_few_of_trash();
    if (retried >= 0) {
        retry((uint32_t)retried);
    }
    if (goes_on()) {
        work();
    }
    if (reads_work) {
        check_fenced();
    }
    /* The last writes may be the ones that the disk fails. */
    const int closed = stele_close(store);
    CHECK(closed == STELE_OK || is_of_disk(closed) || atomic_load(&ill));
    return atomic_load(&ill) || closed != STELE_OK ? DISK_IS_ILL : EXIT_SUCCESS;
}
