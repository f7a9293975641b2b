/* A read-only store beside a writer shows each event once, whatever the writer does to its files.
 *
 * Method: the writer scavenges before its index has reached the disk. A follower that opens now
 * finds less in the log than the writer's memory has; then the writer's runs appear, while the
 * follower is in the middle of reading a category. */
#include "store/store_internal.h"
#include "world.h"

#define STREAMS 5

/* Keeps the newest two of account-0 … */
static void limit_first_stream(struct world *world)
{
    static const char json[] = "{\"$maxCount\":2}";
    struct stele_event_draft draft = {
        .type = "$metadata", .data = json, .data_size = sizeof json - 1};
    draft.id[0] = 0xee;
    const struct stele_append append = {
        .stream = "$$account-0", .expected = STELE_EXPECT_ANY, .events = &draft, .count = 1};
    CHECK_OK(world_append_these(world, &append, NULL), world->err);
}

static void scavenge(struct world *world)
{
    uint64_t base = 0;
    uint64_t removed = 0;
    int outcome = STELE_OK;
    while (outcome == STELE_OK) {
        struct stele_work *work = NULL;
        struct stele_log_pack_result packed;
        outcome = stele_scavenge_begin(world->store, base, false, world->disk.now_us, NULL, NULL,
                                       &work, &world->err);
        if (outcome == STELE_OK) {
            outcome = stele_work_run(work, &world->err);
            outcome = stele_scavenge_end(world->store, work, outcome, &base, &packed, &world->err);
            CHECK_OK(outcome, world->err);
            removed += packed.events_removed;
        }
    }
    CHECK_EQ(outcome, STELE_NOT_FOUND);
    CHECK(removed > 0);
}

static void append_many(struct world *world, int from, int to)
{
    for (int i = from; i < to; i++) {
        char name[32];
        struct stele_append_result result;
        (void)snprintf(name, sizeof name, "account-%d", i % STREAMS);
        CHECK_OK(world_append(world, name, STELE_EXPECT_ANY, &result), world->err);
    }
}

/* Reads on until there is nothing more at the moment. Positions must grow. */
static void read_on(struct stele_store *store, struct stele_read *read, uint64_t *total,
                    uint64_t *position, bool once)
{
    int outcome = STELE_OK;
    while (outcome == STELE_OK) {
        const struct stele_event *events = NULL;
        size_t count = 0;
        struct stele_error err;
        outcome = stele_read_next(read, &events, &count, &err);
        if (outcome == STELE_INCOMPLETE) {
            CHECK_OK(stele_read_refill(store, read, &err), err);
            outcome = STELE_OK;
            continue;
        }
        for (size_t i = 0; outcome == STELE_OK && i < count; i++) {
            CHECK(events[i].position > *position);
            *position = events[i].position;
            ++*total;
        }
        if (once && count > 0) {
            return;
        }
    }
    CHECK_EQ(outcome, STELE_END);
}

TEST(a_category_is_read_whole_while_runs_replace_what_was_scavenged)
{
    for (int more = 0; more < 400; more += 40) {
        struct world *world = world_create();
        world->options.public.index_memory = 1024 * 1024; /* No runs before it is time. */
        world_open(world);
        append_many(world, 0, 700);
        limit_first_stream(world);
        append_many(world, 700, 900 + more);
        scavenge(world);

        struct stele_store_options options = world->options;
        options.read_only = true;
        options.live_end = stele_store_durable(world->store);
        struct stele_store *follower = NULL;
        CHECK_OK(stele_store_open(&world->disk.io, &options, &follower, &world->err), world->err);
        const struct stele_read_options from_start = STELE_READ_OPTIONS_INIT;
        struct stele_read *read = NULL;
        uint64_t total = 0;
        uint64_t position = 0;
        CHECK_OK(
            stele_read_begin(follower, "$ce-account", &from_start, true, 0, &read, &world->err),
            world->err);
        for (int i = 0; i <= more / 40; i++) {
            read_on(follower, read, &total, &position, true);
        }

        const uint32_t runs = stele_index_runs(world->store->index);
        world->store->options.public.index_memory = 16 * 1024; /* Memory becomes a run. */
        CHECK_EQ(world_work(world, false), STELE_OK);
        CHECK(stele_index_runs(world->store->index) > runs);
        append_many(world, 900 + more, 1400);
        CHECK_OK(stele_store_follow(follower, stele_store_durable(world->store), &world->err),
                 world->err);
        read_on(follower, read, &total, &position, false); /* What it saw when it began … */
        CHECK_OK(stele_read_refill(follower, read, &world->err), world->err);
        read_on(follower, read, &total, &position, false); /* … and what has come since. */
        int outcome = STELE_OK;
        const uint64_t in_follower = world_count(follower, "$ce-account", &outcome);
        CHECK_EQ(outcome, STELE_END);
        const uint64_t in_writer = world_count(world->store, "$ce-account", &outcome);
        CHECK_EQ(outcome, STELE_END);
        CHECK_EQ(in_follower, in_writer);
        CHECK_EQ(total, in_writer);
        stele_read_end(follower, read);
        stele_store_close(follower);
        world_destroy(world);
    }
}
