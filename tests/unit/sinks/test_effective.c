/* A projection in effective order: whatever was stored late, corrected or cancelled, and whatever happens
 * to the process, the read model is what a fold in effective order from scratch gives.
 *
 * Method: random histories beside a naive model, which puts every event into a list at the place where it
 * counts, begins anew for each comparison, and knows nothing of batches. The read model holds for every
 * event what the fold had come to (a chain in which order matters), so equal is right. */
#include "base/text.h"
#include "unit/sinks/faults.h"
#include "unit/sinks/world.h"

#include <stele/es.h>

#include <inttypes.h>
#include <sys/wait.h>

#define STREAMS 4
#define EVENTS_MAX 400
#define DAY_US (INT64_C(86400) * 1000000)
#define BEGIN_US (INT64_C(1767225600) * 1000000) /* 2026-01-01 */

struct entry {
    unsigned account;
    uint8_t id[16];
    int64_t n;
    int64_t effective_us; /* 0: not said. */
    int64_t created_us;
    int corrects, cancels; /* An entry of the list, -1: none. */
    uint64_t position;
};

struct history {
    struct world world;
    struct entry entries[EVENTS_MAX];
    unsigned count;
    uint64_t ids;
};

static void id_text(const uint8_t id[16], char text[37])
{
    stele_id_to_text(id, text);
}

/* ---- The model ---- */

struct slot {
    int64_t at_us;
    int what; /* -1: cancelled. */
};

/* Which slot an entry is in, -1 for none. Corrections may be corrected. */
static int slot_of(const int *slots_of, const struct history *history, int target, unsigned account)
{
    return target >= 0 && history->entries[target].account == account ? slots_of[target] : -1;
}

static size_t model_slots(const struct history *history, unsigned account, uint64_t known,
                          struct slot *slots, unsigned *order)
{
    static int slots_of[EVENTS_MAX];
    size_t count = 0;
    for (unsigned i = 0; i < history->count; i++) {
        const struct entry *const entry = &history->entries[i];
        slots_of[i] = -1;
        if (entry->account != account || entry->position > known) {
            continue;
        }
        const int target = entry->corrects >= 0 ? entry->corrects : entry->cancels;
        const int slot = slot_of(slots_of, history, target, account);
        if (slot >= 0) {
            slots_of[i] = slot;
            slots[slot].what = entry->cancels >= 0 ? -1 : (int)i;
            if (entry->cancels < 0 && entry->effective_us != 0) {
                slots[slot].at_us = entry->effective_us;
            }
        } else if (entry->cancels < 0) {
            slots_of[i] = (int)count;
            slots[count].at_us = entry->effective_us != 0 ? entry->effective_us : entry->created_us;
            slots[count++].what = (int)i;
        }
    }
    for (size_t i = 0; i < count; i++) {
        order[i] = (unsigned)i;
    }
    for (size_t i = 1; i < count; i++) {
        for (size_t j = i; j > 0 && slots[order[j]].at_us < slots[order[j - 1]].at_us; j--) {
            const unsigned swap = order[j];
            order[j] = order[j - 1];
            order[j - 1] = swap;
        }
    }
    return count;
}

static char *model(const struct history *history, uint64_t known, int64_t until_us)
{
    static struct slot slots[EVENTS_MAX];
    static unsigned order[EVENTS_MAX];
    char *const text = calloc(EVENTS_MAX, 150);
    CHECK(text != NULL);
    size_t size = 0;
    for (unsigned account = 0; account < STREAMS; account++) {
        const size_t count = model_slots(history, account, known, slots, order);
        int64_t chain = 7;
        unsigned line = 0;
        for (size_t i = 0; i < count; i++) {
            const struct slot *const slot = &slots[order[i]];
            if (slot->what < 0 || (until_us != 0 && slot->at_us > until_us)) {
                continue;
            }
            const struct entry *const entry = &history->entries[slot->what];
            char id[37];
            char at[40];
            id_text(entry->id, id);
            CHECK(stele_time_format(slot->at_us, 6, at));
            chain = (chain * 31 + entry->n) % 1000003;
            size += (size_t)snprintf(text + size, 150, "account-%u|%u|%s|%s|%lld\n", account,
                                     ++line, id, at, (long long)chain);
        }
    }
    return text;
}

/* ---- The projection ---- */

#define CHAIN_SQL(version, n, at)                                                                  \
    "-- @projection chains\n-- @version " version                                                  \
    "\n-- @order effective\n-- @category account\n-- @tables\nCREATE TABLE chains (account TEXT "  \
    "PRIMARY KEY, line BIGINT NOT NULL, chain BIGINT NOT NULL CHECK (chain >= 0));\nCREATE TABLE " \
    "links (account TEXT, line BIGINT, event TEXT, at TEXT, chain BIGINT, PRIMARY KEY (account, "  \
    "line));\n-- @undo\nDELETE FROM links WHERE account = :stream;\nDELETE FROM chains WHERE "     \
    "account = :stream;\n-- @on Entered, Corrected\nINSERT INTO chains VALUES (:stream, 0, 7) ON " \
    "CONFLICT (account) DO NOTHING;\nUPDATE chains SET line = line + 1, chain = (chain * 31 + " n  \
    ") % 1000003 WHERE account = :stream;\nINSERT INTO links SELECT :stream, line, :id, " at       \
    ", chain FROM chains WHERE account = :stream;\n"

#define AT_POSTGRES "to_char(:effective AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')"

static struct stele_projection *chains(unsigned version)
{
    const char *const one = world_postgres() != NULL
                                ? CHAIN_SQL("1", "(:data->>'n')::bigint", AT_POSTGRES)
                                : CHAIN_SQL("1", "(:data->>'$.n')", ":effective");
    const char *const two = world_postgres() != NULL
                                ? CHAIN_SQL("2", "(:data->>'n')::bigint", AT_POSTGRES)
                                : CHAIN_SQL("2", "(:data->>'$.n')", ":effective");
    return world_parse("chains.sql", version == 1 ? one : two);
}

static struct stele_project_progress run_of(struct history *history, unsigned version,
                                            const struct stele_project_options *options)
{
    struct stele_project_progress progress = {0};
    struct stele_error err = {0};
    struct stele_projection *const projection = chains(version);
    struct stele_sink *const sink = world_sink(&history->world);
    CHECK_OK(stele_project_run(history->world.store, projection, sink, options, &progress, &err),
             err);
    stele_sink_close(sink);
    stele_projection_destroy(projection);
    return progress;
}

static char *links(const struct history *history)
{
    return world_ask(&history->world, "SELECT account, line, event, at, chain FROM links ORDER BY "
                                      "account, line");
}

static void check(const struct history *history, uint64_t known, int64_t until_us)
{
    char *const got = links(history);
    char *const want = model(history, known, until_us);
    CHECK_TEXT_EQ(got, want);
    free(got);
    free(want);
}

/* ---- Histories ---- */

static void open_history(struct history *history, uint64_t seed)
{
    memset(history, 0, sizeof *history);
    world_open(&history->world, seed);
    history->ids = seed << 32;
}

static struct entry *append(struct history *history, unsigned account, const char *type, int64_t n,
                            int64_t effective_us, int corrects, int cancels)
{
    struct entry *const entry = &history->entries[history->count++];
    struct stele_append_result result = {.failed = 0};
    struct stele_error err = {0};
    char stream[32];
    char data[64];
    char metadata[160] = "{";
    char at[40] = "";
    char id[37];
    CHECK(history->count <= EVENTS_MAX);
    *entry = (struct entry){.account = account,
                            .n = n,
                            .effective_us = effective_us,
                            .corrects = corrects,
                            .cancels = cancels};
    history->ids++;
    memcpy(entry->id, &history->ids, sizeof history->ids);
    entry->id[15] = 1;
    /* Time goes on in even steps, so that runs are the same whenever they run. */
    entry->created_us = BEGIN_US + (int64_t)history->count * DAY_US;
    size_t size = 1;
    if (effective_us != 0) {
        CHECK(stele_time_format(effective_us, 6, at));
        size +=
            (size_t)snprintf(metadata + size, sizeof metadata - size, "\"effective\":\"%s\"", at);
    }
    const int target = corrects >= 0 ? corrects : cancels;
    if (target >= 0) {
        id_text(history->entries[target].id, id);
        size += (size_t)snprintf(metadata + size, sizeof metadata - size, "%s\"%s\":\"%s\"",
                                 size > 1 ? "," : "", corrects >= 0 ? "corrects" : "cancels", id);
    }
    (void)snprintf(metadata + size, sizeof metadata - size, "}");
    (void)snprintf(stream, sizeof stream, "account-%u", account);
    (void)snprintf(data, sizeof data, "{\"n\":%lld}", (long long)n);
    struct stele_event_draft draft = {.type = type,
                                      .data = data,
                                      .data_size = strlen(data),
                                      .metadata = metadata,
                                      .metadata_size = strlen(metadata),
                                      .created_us = entry->created_us};
    memcpy(draft.id, entry->id, sizeof draft.id);
    CHECK_OK(stele_append(history->world.store, stream, STELE_EXPECT_ANY, &draft, 1, &result, &err),
             err);
    entry->position = result.position_last;
    return entry;
}

/* Mostly in order; some late, some corrections (of corrections, of other streams' events, of what is not
 * there any more), some cancellations. */
static void append_some(struct history *history, unsigned count)
{
    struct rng *const rng = &history->world.rng;
    for (unsigned i = 0; i < count; i++) {
        const unsigned account = (unsigned)rng_below(rng, STREAMS);
        const int64_t n = (int64_t)rng_below(rng, 1000);
        const int64_t at_us = BEGIN_US + (int64_t)rng_below(rng, 60) * DAY_US;
        const uint64_t kind = history->count == 0 ? 0 : rng_below(rng, 10);
        const int any = history->count == 0 ? -1 : (int)rng_below(rng, history->count);
        if (kind < 5) {
            (void)append(history, account, "Entered", n, 0, -1, -1);
        } else if (kind < 7) {
            (void)append(history, account, "Entered", n, at_us, -1, -1);
        } else if (kind < 9) {
            const unsigned of = rng_one_in(rng, 8) ? account : history->entries[any].account;
            (void)append(history, of, "Corrected", n, rng_one_in(rng, 2) ? at_us : 0, any, -1);
        } else {
            (void)append(history, history->entries[any].account, "Cancelled", 0, 0, -1, any);
        }
    }
}

TEST(a_read_model_is_what_a_fold_in_effective_order_gives)
{
    for (uint64_t seed = 1; seed <= 4; seed++) {
        struct history history;
        open_history(&history, seed);
        unsigned events = 0;
        for (unsigned round = 0; round < 8; round++) {
            struct stele_project_options options = STELE_PROJECT_OPTIONS_INIT;
            const unsigned count = (unsigned)rng_below(&history.world.rng, 45);
            options.batch_max = 1 + (uint32_t)rng_below(&history.world.rng, 30);
            append_some(&history, count);
            const struct stele_project_progress progress = run_of(&history, 1, &options);
            CHECK_EQ(progress.events, count);
            CHECK_EQ(progress.parked, 0);
            events += count;
            check(&history, UINT64_MAX, 0);
        }
        char *const counted = world_ask(&history.world, "SELECT SUM(events) FROM stele_lanes");
        CHECK_EQ(strtoul(counted, NULL, 10), events);
        free(counted);
        struct stele_project_options options = STELE_PROJECT_OPTIONS_INIT;
        options.rebuild = 1;
        (void)run_of(&history, 2, &options);
        check(&history, UINT64_MAX, 0);
        append_some(&history, 10);
        (void)run_of(&history, 2, NULL);
        check(&history, UINT64_MAX, 0);
        world_close(&history.world);
    }
}

TEST(both_times_can_be_asked_about)
{
    struct history history;
    open_history(&history, 11);
    append_some(&history, 80);
    for (unsigned i = 0; i < 12; i++) {
        struct stele_project_options options = STELE_PROJECT_OPTIONS_INIT;
        const unsigned at = (unsigned)rng_below(&history.world.rng, history.count);
        options.batch_max = 1 + i * 7;
        options.as_of = i % 3 == 0 ? 0 : history.entries[at].position;
        options.effective_until_us =
            i % 2 == 0 ? BEGIN_US + (int64_t)rng_below(&history.world.rng, 90) * DAY_US : 0;
        char name[20];
        (void)snprintf(name, sizeof name, "past%u", i);
        world_fresh_db(&history.world, name);
        (void)run_of(&history, 1, &options);
        check(&history, options.as_of == 0 ? UINT64_MAX : options.as_of,
              options.effective_until_us);
    }
    world_close(&history.world);
}

TEST(lanes_keep_streams_whole)
{
    struct history history;
    if (world_postgres() == NULL) {
        return; /* SQLite has one. */
    }
    open_history(&history, 12);
    for (unsigned round = 0; round < 4; round++) {
        struct stele_project_options options = STELE_PROJECT_OPTIONS_INIT;
        options.lanes = 3;
        options.batch_max = 9;
        append_some(&history, 40);
        (void)run_of(&history, 1, &options);
        check(&history, UINT64_MAX, 0);
    }
    struct stele_project_options options = STELE_PROJECT_OPTIONS_INIT;
    options.rebuild = 1;
    (void)run_of(&history, 2, &options);
    check(&history, UINT64_MAX, 0);
    world_close(&history.world);
}

/* ---- Killed ---- */

static void run_badly(const struct history *history, bool rebuild, enum fault fault, unsigned n)
{
    struct stele_options open_options = STELE_OPTIONS_INIT;
    struct stele_project_options options = STELE_PROJECT_OPTIONS_INIT;
    struct stele_error err = {0};
    struct stele *store = NULL;
    open_options.read_only = 1;
    if (stele_open(history->world.store_path, &open_options, &store, &err) != STELE_OK) {
        _exit(3);
    }
    struct stele_projection *const projection = chains(rebuild ? 2 : 1);
    struct stele_sink *const sink = world_sink(&history->world);
    fault_plan(sink, fault, n);
    options.batch_max = 4;
    options.rebuild = rebuild ? 1 : 0;
    const int outcome = stele_project_run(store, projection, sink, &options, NULL, &err);
    fault_unplan(sink);
    stele_sink_close(sink);
    stele_projection_destroy(projection);
    (void)stele_close(store);
    if (!fault_state.happened) {
        _exit(outcome == STELE_OK ? 0 : 4);
    }
    _exit(outcome == STELE_E_IO ? 1 : 5);
}

static bool ends_well(const struct history *history, bool rebuild, enum fault fault, unsigned n)
{
    (void)fflush(stdout);
    const pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        run_badly(history, rebuild, fault, n);
    }
    int status = 0;
    CHECK_EQ(waitpid(child, &status, 0), child);
    const bool killed = WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL;
    CHECK(killed || (WIFEXITED(status) && WEXITSTATUS(status) <= 1));
    return !killed && WEXITSTATUS(status) == 0;
}

static void sweep(bool rebuild)
{
    struct history history;
    open_history(&history, 21);
    append_some(&history, 11);
    /* On a server each try takes a good part of a second; a rebuild is twice the work. */
    const unsigned step = world_postgres() != NULL ? 9 : rebuild ? 4 : 2;
    for (int fault = 0; fault < FAULTS; fault++) {
        bool well = false;
        for (unsigned n = 1 + (unsigned)fault % step; !well; n += step) {
            world_fresh_db(&history.world, "model");
            if (rebuild) {
                (void)run_of(&history, 1, NULL);
            }
            well = ends_well(&history, rebuild, (enum fault)fault, n);
            CHECK(!well || n > 25);
            struct stele_project_options options = STELE_PROJECT_OPTIONS_INIT;
            options.rebuild = rebuild ? 1 : 0;
            if (!well) {
                (void)run_of(&history, rebuild ? 2 : 1, &options);
            }
            check(&history, UINT64_MAX, 0);
            char *const counted = world_ask(
                &history.world, "SELECT events FROM stele_lanes WHERE build = (SELECT MAX(build) "
                                "FROM stele_builds)");
            CHECK_EQ(strtoul(counted, NULL, 10), 11);
            free(counted);
        }
    }
    world_close(&history.world);
}

TEST(killed_or_failing_at_any_call_it_is_as_if_nothing_had_happened)
{
    sweep(false);
}

TEST(a_rebuild_killed_or_failing_at_any_call_is_one_whole_build)
{
    sweep(true);
}

/* ---- What is refused ---- */

static struct stele_project_retried retry(struct history *history, const char *stream, int skip)
{
    struct stele_project_retried retried = {0};
    struct stele_error err = {0};
    struct stele_projection *const projection = chains(1);
    struct stele_sink *const sink = world_sink(&history->world);
    CHECK_OK(
        stele_project_retry(history->world.store, projection, sink, stream, skip, &retried, &err),
        err);
    stele_sink_close(sink);
    stele_projection_destroy(projection);
    return retried;
}

/* The model without an entry: one that belongs to no stream. */
static void leave_out(struct history *history, unsigned entry)
{
    history->entries[entry].account = STREAMS;
}

TEST(what_says_badly_when_it_counts_is_parked_and_the_skipped_never_comes_back)
{
    struct history history;
    open_history(&history, 31);
    (void)append(&history, 0, "Entered", 1, BEGIN_US + 9 * DAY_US, -1, -1);
    world_append(&history.world, "account-1", "Entered", "{\"n\":1}");
    static const char *const bad[] = {"{\"effective\":\"soon\"}", "{\"corrects\":7}",
                                      "{\"cancels\":\"x\"}"};
    for (unsigned i = 0; i < 3; i++) {
        const struct stele_event_draft draft = {.type = "Entered",
                                                .data = "{\"n\":1}",
                                                .data_size = 7,
                                                .metadata = bad[i],
                                                .metadata_size = strlen(bad[i])};
        struct stele_error err = {0};
        CHECK_OK(
            stele_append(history.world.store, "account-0", STELE_EXPECT_ANY, &draft, 1, NULL, &err),
            err);
    }
    (void)append(&history, 0, "Entered", 2, BEGIN_US, -1, -1);
    struct stele_project_progress progress = run_of(&history, 1, NULL);
    CHECK_EQ(progress.events, 2);
    CHECK_EQ(progress.parked, 4);
    world_check_parked(&history.world, "account-0@1 Entered 1 refused\naccount-0@2 Entered 0 "
                                       "waits\naccount-0@3 Entered 0 waits\naccount-0@4 Entered "
                                       "0 waits\n");
    struct stele_project_retried retried = retry(&history, "account-0", 0);
    CHECK_EQ(retried.left, 4);
    for (unsigned i = 0; i < 3; i++) {
        retried = retry(&history, "account-0", 1);
        CHECK_EQ(retried.skipped, 1);
    }
    /* The last one comes before the first, and was folded anew without those in between. */
    CHECK_EQ(retried.applied, 1);
    CHECK_EQ(retried.left, 0);
    world_check(&history.world,
                "SELECT line, chain FROM links WHERE account = 'account-0' ORDER BY line",
                "1|219\n2|6790\n");
    /* And so it goes on. */
    (void)append(&history, 0, "Entered", 3, BEGIN_US - DAY_US, -1, -1);
    progress = run_of(&history, 1, NULL);
    CHECK_EQ(progress.parked, 0);
    world_check(&history.world, "SELECT count(*) FROM links WHERE account = 'account-0'", "3\n");
    world_close(&history.world);
}

TEST(an_event_that_makes_an_earlier_one_be_refused_is_the_one_that_is_parked)
{
    struct history history;
    open_history(&history, 32);
    (void)append(&history, 0, "Entered", 5, BEGIN_US + DAY_US, -1, -1);
    (void)append(&history, 1, "Entered", 6, 0, -1, -1);
    /* 7 * 31 - 300 is below 0, which the table refuses; alone, after the others, it would be above. */
    (void)append(&history, 0, "Entered", -300, BEGIN_US, -1, -1);
    (void)append(&history, 1, "Entered", 7, BEGIN_US, -1, -1);
    const struct stele_project_progress progress = run_of(&history, 1, NULL);
    CHECK_EQ(progress.events, 3);
    CHECK_EQ(progress.parked, 1);
    world_check_parked(&history.world, "account-0@1 Entered 1 refused\n");
    leave_out(&history, 2);
    check(&history, UINT64_MAX, 0);
    const struct stele_project_retried retried = retry(&history, "account-0", 0);
    CHECK_EQ(retried.left, 1);
    check(&history, UINT64_MAX, 0);
    world_close(&history.world);
}

TEST(what_limits_hide_is_folded_and_what_was_scavenged_is_not_forgotten_in_silence)
{
    struct history history;
    struct stele_error err = {0};
    static const char limits[] = "{\"$maxCount\":1}";
    open_history(&history, 33);
    append_some(&history, 30);
    (void)append(&history, 0, "Entered", 5, BEGIN_US, -1, -1);
    (void)run_of(&history, 1, NULL);
    CHECK_OK(stele_set_metadata(history.world.store, "account-0", STELE_EXPECT_ANY, limits,
                                sizeof limits - 1, NULL, &err),
             err);
    (void)append(&history, 0, "Entered", 6, BEGIN_US, -1, -1);
    struct stele_project_progress progress = run_of(&history, 1, NULL);
    CHECK_EQ(progress.parked, 0);
    check(&history, UINT64_MAX, 0);
    /* Scavenged is what the books count and the store does not have. */
    void *db = NULL;
    CHECK_OK(history.world.driver->connect(history.world.db, 0, &db, &err), err);
    CHECK_OK(history.world.driver->execute(
                 db, "UPDATE stele_streams SET events = events + 2 WHERE stream = 'account-0'",
                 NULL, &err),
             err);
    history.world.driver->disconnect(db, true);
    (void)append(&history, 0, "Entered", 7, BEGIN_US, -1, -1);
    progress = run_of(&history, 1, NULL);
    CHECK_EQ(progress.parked, 1);
    leave_out(&history, history.count - 1);
    check(&history, UINT64_MAX, 0);
    world_close(&history.world);
}

TEST(a_database_of_an_older_release_gets_the_books_that_it_lacks)
{
    static const char *const drops[] = {"DROP TABLE stele_streams", "DROP TABLE stele_skipped"};
    struct world world;
    struct stele_error err = {0};
    world_open(&world, 34);
    world_append_some(&world, 10);
    for (unsigned round = 0; round < 2; round++) {
        (void)world_run(&world, 1, NULL);
        void *db = NULL;
        CHECK_OK(world.driver->connect(world.db, 0, &db, &err), err);
        for (unsigned i = 0; i < 2; i++) {
            CHECK_OK(world.driver->execute(db, drops[i], NULL, &err), err);
        }
        world.driver->disconnect(db, true);
    }
    struct stele_projection *const projection = world_totals(1);
    struct stele_sink *const sink = world_sink(&world);
    CHECK_OK(stele_project_drop(sink, projection, &err), err);
    stele_sink_close(sink);
    stele_projection_destroy(projection);
    world_check_builds(&world, "");
    world_close(&world);
}

/* ---- Bad input ---- */

TEST(a_bound_of_effective_time_belongs_to_effective_order)
{
    struct history history;
    struct stele_error err = {0};
    struct stele_project_options options = STELE_PROJECT_OPTIONS_INIT;
    open_history(&history, 41);
    struct stele_sink *const sink = world_sink(&history.world);
    struct stele_projection *const plain = world_totals(1);
    struct stele_projection *const projection = chains(1);
    options.effective_until_us = BEGIN_US;
    CHECK_OUTCOME(stele_project_run(history.world.store, plain, sink, &options, NULL, &err),
                  STELE_E_INVALID, err);
    CHECK_TEXT_HAS(err.message, "only a projection in effective order");
    options.follow = 1;
    CHECK_OUTCOME(stele_project_run(history.world.store, projection, sink, &options, NULL, &err),
                  STELE_E_INVALID, err);
    CHECK_TEXT_HAS(err.message, "effective_until_us goes neither with follow nor with rebuild");
    /* A place that has no such thing says so, and is not touched. */
    struct stele_sink_ops without = *sink->ops;
    const struct stele_sink_ops *const real = sink->ops;
    without.effective = NULL;
    sink->ops = &without;
    CHECK_OUTCOME(stele_project_run(history.world.store, projection, sink, NULL, NULL, &err),
                  STELE_E_INVALID, err);
    CHECK_TEXT_HAS(err.message, "goes into SQLite or PostgreSQL");
    CHECK_OUTCOME(stele_project_retry(history.world.store, projection, sink, NULL, 0, NULL, &err),
                  STELE_E_INVALID, err);
    sink->ops = real;
    stele_sink_close(sink);
    stele_projection_destroy(plain);
    stele_projection_destroy(projection);
    world_close(&history.world);
}

/* ---- In C ---- */

/* The same read model from callbacks. The handle is the database's; the driver stands in for it, so that
 * one callback serves both. */
struct in_c {
    struct world *world;
    int64_t chain[STREAMS];
    int64_t last_us[STREAMS];
    unsigned undone;
};

static unsigned account_of(struct stele_text stream)
{
    return (unsigned)(stream.data[stream.size - 1] - '0');
}

static int apply_in_c(void *context, const struct stele_project_step *step,
                      const struct stele_event *event, struct stele_error *err)
{
    struct in_c *const c = context;
    int64_t n = 0;
    (void)err;
    CHECK(step->handle != NULL);
    CHECK_EQ(step->replay, 1);
    const unsigned account = account_of(event->stream);
    CHECK(step->effective_us >= c->last_us[account]);
    CHECK(sscanf(event->data, "{\"n\":%" SCNd64, &n) == 1);
    c->last_us[account] = step->effective_us;
    c->chain[account] = (c->chain[account] * 31 + n) % 1000003;
    return STELE_OK;
}

static int undo_in_c(void *context, const struct stele_project_step *step, const char *stream,
                     struct stele_error *err)
{
    struct in_c *const c = context;
    const struct stele_text name = {.data = stream, .size = strlen(stream)};
    (void)err;
    CHECK(step->suffix[0] == '_');
    c->chain[account_of(name)] = 7;
    c->last_us[account_of(name)] = INT64_MIN;
    c->undone++;
    return STELE_OK;
}

/* Everything counts in reverse. */
static int reverse(void *context, const struct stele_event *event, struct stele_effective *out)
{
    (void)context;
    out->effective_us = BEGIN_US + 1000 * DAY_US - (int64_t)event->revision * DAY_US;
    return STELE_OK;
}

TEST(a_projection_in_c_folds_in_the_order_that_its_callback_says)
{
    struct history history;
    struct stele_error err = {0};
    open_history(&history, 51);
    struct in_c c = {.world = &history.world};
    static const char *const categories[] = {"account"};
    static const char *const types[] = {"Entered"};
    struct stele_filter filter = {.categories = categories, .categories_count = 1};
    struct stele_projection_options options = STELE_PROJECTION_OPTIONS_INIT;
    struct stele_projection *projection = NULL;
    for (unsigned i = 0; i < STREAMS; i++) {
        c.chain[i] = 7;
        c.last_us[i] = INT64_MIN;
    }
    options.name = "in-c";
    options.filter = &filter;
    options.apply = apply_in_c;
    options.context = &c;
    options.undo = undo_in_c;
    CHECK_OUTCOME(stele_projection_create(&options, &projection, &err), STELE_E_INVALID, err);
    options.effective_order = 1;
    options.undo = NULL;
    CHECK_OUTCOME(stele_projection_create(&options, &projection, &err), STELE_E_INVALID, err);
    options.undo = undo_in_c;
    filter.types = types;
    filter.types_count = 1;
    CHECK_OUTCOME(stele_projection_create(&options, &projection, &err), STELE_E_INVALID, err);
    filter.types_count = 0;
    options.effective = reverse;
    CHECK_OK(stele_projection_create(&options, &projection, &err), err);
    for (unsigned i = 0; i < 5; i++) {
        (void)append(&history, 2, "Entered", i, 0, -1, -1);
    }
    struct stele_sink *const sink = world_sink(&history.world);
    CHECK_OK(stele_project_run(history.world.store, projection, sink, NULL, NULL, &err), err);
    int64_t want = 7;
    for (int64_t n = 4; n >= 0; n--) {
        want = (want * 31 + n) % 1000003;
    }
    CHECK_EQ(c.chain[2], want);
    CHECK_EQ(c.undone, 1);
    stele_sink_close(sink);
    stele_projection_destroy(projection);
    world_close(&history.world);
}
