/* Each edge of a follow's states does what src/subs/README.md says of it.
 *
 * Method: a store in memory, a loop that is stepped by hand, one owner for each claim. The sequences
 * under random schedules are in test_follow_model.c. */
#include "owner.h"

static uint64_t put(struct world *world, const char *stream)
{
    return memengine_put(world->mem, stream, "Happened", "{}");
}

static void put_many(struct world *world, const char *stream, int count)
{
    for (int i = 0; i < count; i++) {
        (void)put(world, stream);
    }
}

TEST(what_there_is_comes_first_then_what_comes)
{
    struct world world;
    struct owner owner;
    world_init(&world, 1);
    put_many(&world, "a-1", 600);
    owner_start(&owner, world.hub, &(struct stele_follow_options){.stream = "a-1"});
    miniloop_run(&world.loop);
    CHECK_EQ(owner.count, 600);
    CHECK_EQ(owner.caught_up, 1);
    CHECK_EQ(owner.caught_up_at, 600);
    CHECK(stele_follow_is_live(owner.follow));
    miniloop_advance(&world.loop, 3000000);
    CHECK_EQ(world.mem->readings, 0); /* No reading while it waits. */
    put_many(&world, "b-1", 3);
    put_many(&world, "a-1", 2);
    miniloop_run(&world.loop);
    CHECK_EQ(owner.count, 602);
    CHECK_EQ(owner.live_events, 2);
    CHECK_EQ(owner.caught_up, 1);
    for (size_t i = 0; i < owner.count; i++) {
        CHECK_EQ(owner.positions[2 * i + 1], i);
    }
    CHECK_EQ(stele_follow_position(owner.follow),
             world.mem->engine.ops->last_position(&world.mem->engine));
    owner_deinit(&owner);
    world_deinit(&world);
}

TEST(from_is_inclusive_for_revisions_positions_and_ordinals)
{
    struct world world;
    struct owner stream, all, category, ordinal;
    world_init(&world, 2);
    put_many(&world, "a-1", 4);
    const uint64_t fifth = put(&world, "a-2");
    put_many(&world, "a-1", 4);
    owner_start(&stream, world.hub, &(struct stele_follow_options){.stream = "a-1", .from = 6});
    owner_start(&all, world.hub, &(struct stele_follow_options){.from = fifth});
    owner_start(&category, world.hub,
                &(struct stele_follow_options){.stream = "$ce-a", .from = fifth});
    owner_start(&ordinal, world.hub,
                &(struct stele_follow_options){.stream = "$ce-a", .from = 7, .by_ordinal = 1});
    miniloop_run(&world.loop);
    CHECK_EQ(stream.count, 2);
    CHECK_EQ(stream.positions[1], 6);
    CHECK_EQ(all.count, 5);
    CHECK_EQ(all.positions[0], fifth);
    CHECK_EQ(category.count, 5);
    CHECK_EQ(category.positions[0], fifth);
    CHECK_EQ(ordinal.count, 2);
    CHECK_EQ(ordinal.positions[1], 7);
    owner_deinit(&stream);
    owner_deinit(&all);
    owner_deinit(&category);
    owner_deinit(&ordinal);
    world_deinit(&world);
}

TEST(a_place_that_is_not_reached_yet_is_waited_for)
{
    struct world world;
    struct owner stream, ordinal;
    world_init(&world, 3);
    put_many(&world, "a-1", 2);
    owner_start(&stream, world.hub, &(struct stele_follow_options){.stream = "a-1", .from = 4});
    owner_start(
        &ordinal, world.hub,
        &(struct stele_follow_options){.stream = "$et-Happened", .from = 4, .by_ordinal = 1});
    miniloop_run(&world.loop);
    for (int i = 0; i < 4; i++) {
        put_many(&world, "a-1", 1);
        miniloop_run(&world.loop);
    }
    CHECK_EQ(stream.count, 2);
    CHECK_EQ(stream.positions[1], 4);
    CHECK_EQ(ordinal.count, 2);
    CHECK_EQ(ordinal.positions[1], 4);
    CHECK_EQ(ordinal.positions[3], 5);
    owner_deinit(&stream);
    owner_deinit(&ordinal);
    world_deinit(&world);
}

TEST(only_what_comes_begins_at_the_moment_of_starting)
{
    struct world world;
    struct owner owners[5];
    static const char *const names[] = {NULL, "a-1", "$ce-a", "$et-Happened", "$ce-a"};
    world_init(&world, 4);
    put_many(&world, "a-1", 5);
    for (size_t i = 0; i < 5; i++) {
        owner_start(&owners[i], world.hub,
                    &(struct stele_follow_options){
                        .stream = names[i], .from = UINT64_MAX, .by_ordinal = i == 4});
    }
    /* Before any of them had a turn. */
    const uint64_t next = put(&world, "a-1");
    miniloop_run(&world.loop);
    put_many(&world, "a-1", 1);
    miniloop_run(&world.loop);
    for (size_t i = 0; i < 5; i++) {
        CHECK_EQ(owners[i].count, 2);
        CHECK_EQ(owners[i].positions[0], next);
        CHECK_EQ(owners[i].caught_up, 1);
    }
    CHECK_EQ(owners[1].positions[1], 5);
    CHECK_EQ(owners[4].positions[1], 5);
    for (size_t i = 0; i < 5; i++) {
        owner_deinit(&owners[i]);
    }
    world_deinit(&world);
}

TEST(a_stream_that_does_not_exist_is_waited_for)
{
    struct world world;
    struct owner owner, category;
    world_init(&world, 5);
    put_many(&world, "b-1", 1);
    owner_start(&owner, world.hub, &(struct stele_follow_options){.stream = "a-1"});
    owner_start(&category, world.hub, &(struct stele_follow_options){.stream = "$ce-a"});
    miniloop_run(&world.loop);
    CHECK_EQ(owner.caught_up, 1);
    CHECK(stele_follow_is_live(owner.follow));
    put_many(&world, "a-1", 2);
    miniloop_run(&world.loop);
    CHECK_EQ(owner.count, 2);
    CHECK_EQ(category.count, 2);
    owner_deinit(&owner);
    owner_deinit(&category);
    world_deinit(&world);
}

TEST(a_soft_deleted_stream_is_followed_on_when_it_comes_back)
{
    struct world world;
    struct owner before, after;
    world_init(&world, 6);
    put_many(&world, "a-1", 3);
    owner_start(&before, world.hub, &(struct stele_follow_options){.stream = "a-1"});
    miniloop_run(&world.loop);
    CHECK_EQ(memengine_delete(world.mem, "a-1"), STELE_OK);
    owner_start(&after, world.hub, &(struct stele_follow_options){.stream = "a-1"});
    miniloop_run(&world.loop);
    CHECK_EQ(after.count, 0);
    put_many(&world, "a-1", 1);
    miniloop_run(&world.loop);
    CHECK_EQ(before.count, 4);
    CHECK_EQ(after.count, 1);
    CHECK_EQ(after.positions[1], 3);
    owner_deinit(&before);
    owner_deinit(&after);
    world_deinit(&world);
}

TEST(a_tombstone_is_the_last_event_of_those_who_were_there)
{
    struct world world;
    struct owner live, full, late, filtered;
    world_init(&world, 7);
    put_many(&world, "a-1", 3);
    const char *types[] = {"Happened"};
    const struct stele_filter filter = {.types = types, .types_count = 1};
    owner_start(&live, world.hub, &(struct stele_follow_options){.stream = "a-1"});
    owner_start(&full, world.hub, &(struct stele_follow_options){.stream = "a-1"});
    owner_start(&filtered, world.hub,
                &(struct stele_follow_options){.stream = "a-1", .filter = &filter});
    full.room = 2;
    miniloop_run(&world.loop);
    CHECK_EQ(memengine_tombstone(world.mem, "a-1"), STELE_OK);
    owner_start(&late, world.hub, &(struct stele_follow_options){.stream = "a-1"});
    miniloop_run(&world.loop);
    CHECK_EQ(live.ended, STELE_STREAM_DELETED);
    CHECK_EQ(live.count, 4);
    CHECK(live.tombstone);
    CHECK_TEXT_EQ(live.message, "stream a-1 was tombstoned");
    CHECK_EQ(filtered.ended, STELE_STREAM_DELETED);
    CHECK_EQ(filtered.count, 3);
    CHECK_EQ(late.ended, STELE_STREAM_DELETED);
    CHECK_EQ(late.count, 0);
    /* What it had not read yet is hidden now, but for the tombstone. */
    miniloop_advance(&world.loop, 3000000);
    CHECK_EQ(full.ended, 0);
    full.room = 1;
    stele_follow_resume(full.follow);
    miniloop_run(&world.loop);
    CHECK_EQ(full.ended, STELE_STREAM_DELETED);
    CHECK_EQ(full.count, 3);
    CHECK(full.tombstone);
    owner_deinit(&live);
    owner_deinit(&full);
    owner_deinit(&late);
    owner_deinit(&filtered);
    world_deinit(&world);
}

TEST(only_what_comes_of_a_tombstoned_stream_is_its_end)
{
    struct world world;
    struct owner owner, waits;
    world_init(&world, 8);
    put_many(&world, "a-1", 3);
    CHECK_EQ(memengine_tombstone(world.mem, "a-1"), STELE_OK);
    owner_start(&owner, world.hub,
                &(struct stele_follow_options){.stream = "a-1", .from = UINT64_MAX});
    owner_start(&waits, world.hub,
                &(struct stele_follow_options){.stream = "a-2", .from = UINT64_MAX});
    CHECK_EQ(memengine_tombstone(world.mem, "a-2"), STELE_OK);
    miniloop_run(&world.loop);
    CHECK_EQ(owner.ended, STELE_STREAM_DELETED);
    CHECK_EQ(owner.count, 0);
    CHECK_EQ(waits.ended, STELE_STREAM_DELETED);
    CHECK_EQ(waits.count, 1);
    owner_deinit(&owner);
    owner_deinit(&waits);
    world_deinit(&world);
}

TEST(a_full_owner_gets_the_rest_after_resuming)
{
    struct world world;
    struct owner owner;
    world_init(&world, 9);
    put_many(&world, "a-1", 10);
    owner_start(&owner, world.hub, &(struct stele_follow_options){.stream = "a-1"});
    owner.room = 4;
    miniloop_run(&world.loop);
    CHECK_EQ(owner.count, 4);
    CHECK_EQ(world.mem->readings, 1);
    put_many(&world, "a-1", 1);
    owner.room = 7;
    stele_follow_resume(owner.follow);
    miniloop_run(&world.loop);
    CHECK_EQ(owner.count, 11);
    CHECK_EQ(owner.caught_up, 1);
    /* Live, and full. */
    put_many(&world, "a-1", 2);
    miniloop_run(&world.loop);
    CHECK_EQ(owner.count, 11);
    CHECK(!stele_follow_is_live(owner.follow));
    CHECK_EQ(world.mem->readings, 0); /* Nobody is live: the hub reads no more. */
    owner.room = 100;
    stele_follow_resume(owner.follow);
    miniloop_run(&world.loop);
    CHECK_EQ(owner.count, 13);
    CHECK_EQ(owner.caught_up, 2);
    for (size_t i = 0; i < owner.count; i++) {
        CHECK_EQ(owner.positions[2 * i + 1], i);
    }
    owner_deinit(&owner);
    world_deinit(&world);
}

TEST(a_reading_of_a_full_owner_is_closed_after_a_while)
{
    struct world world;
    struct owner owner;
    world_init(&world, 10);
    put_many(&world, "a-1", 10);
    owner_start(&owner, world.hub, &(struct stele_follow_options){.stream = "a-1"});
    owner.room = 4;
    miniloop_run(&world.loop);
    CHECK_EQ(world.mem->readings, 1);
    miniloop_advance(&world.loop, 2100000);
    CHECK_EQ(world.mem->readings, 0);
    owner.room = 100;
    stele_follow_resume(owner.follow);
    miniloop_run(&world.loop);
    CHECK_EQ(owner.count, 10);
    owner_deinit(&owner);
    world_deinit(&world);
}

TEST(a_filter_that_matches_nothing_makes_progress_all_the_same)
{
    struct world world;
    struct owner owner;
    world_init(&world, 11);
    const char *prefixes[] = {"Never"};
    const struct stele_filter filter = {.type_prefixes = prefixes, .type_prefixes_count = 1};
    put_many(&world, "a-1", 1000);
    owner_start(&owner, world.hub,
                &(struct stele_follow_options){.filter = &filter, .scan_max = 100});
    miniloop_run(&world.loop);
    CHECK_EQ(owner.count, 0);
    CHECK_EQ(owner.caught_up, 1);
    CHECK_EQ(owner.scanned, 1000);
    CHECK(owner.scanned_max <= 100);
    CHECK_EQ(owner.progress, world.mem->engine.ops->last_position(&world.mem->engine));
    const uint64_t calls = owner.progress_calls;
    put_many(&world, "a-1", 250);
    miniloop_run(&world.loop);
    CHECK_EQ(owner.progress_calls, calls + 2);
    CHECK_EQ(owner.scanned, 1200);
    CHECK_EQ(owner.scanned_max, 100);
    CHECK_EQ(stele_follow_position(owner.follow),
             world.mem->engine.ops->last_position(&world.mem->engine));
    owner_deinit(&owner);
    world_deinit(&world);
}

TEST(a_filter_is_asked_of_live_events_too)
{
    struct world world;
    struct owner all, stream, category;
    world_init(&world, 12);
    const struct stele_filter filter = {.type_regex = "^Go"};
    owner_start(&all, world.hub, &(struct stele_follow_options){.filter = &filter});
    owner_start(&stream, world.hub,
                &(struct stele_follow_options){.stream = "a-1", .filter = &filter});
    owner_start(
        &category, world.hub,
        &(struct stele_follow_options){.stream = "$ce-a", .filter = &filter, .by_ordinal = 1});
    for (int i = 0; i < 20; i++) {
        (void)memengine_put(world.mem, "a-1", i % 2 == 0 ? "Gone" : "Came", "{}");
        if (i % 3 == 0) {
            miniloop_run(&world.loop);
        }
    }
    miniloop_run(&world.loop);
    CHECK_EQ(all.count, 10);
    CHECK_EQ(stream.count, 10);
    CHECK_EQ(category.count, 10);
    for (size_t i = 0; i < 10; i++) {
        CHECK_EQ(stream.positions[2 * i + 1], 2 * i);
        CHECK_EQ(category.positions[2 * i + 1], 2 * i);
    }
    owner_deinit(&all);
    owner_deinit(&stream);
    owner_deinit(&category);
    world_deinit(&world);
}

TEST(a_follow_may_stop_itself_and_others_in_its_callback)
{
    struct world world;
    struct owner a, b, c;
    for (int when = 0; when < 2; when++) {
        world_init(&world, 13);
        put_many(&world, "a-1", 1);
        owner_start(&a, world.hub, &(struct stele_follow_options){.stream = "a-1"});
        owner_start(&b, world.hub, &(struct stele_follow_options){.stream = "a-1"});
        owner_start(&c, world.hub, &(struct stele_follow_options){.stream = "a-1"});
        if (when == 1) {
            miniloop_run(&world.loop); /* All are live. */
            put_many(&world, "a-1", 1);
        }
        a.stop_in_event = true;
        a.stop_other = &b;
        put_many(&world, "a-1", 1);
        miniloop_run(&world.loop);
        CHECK(a.follow == NULL);
        CHECK(b.follow == NULL);
        CHECK_EQ(c.count, when == 1 ? 3 : 2);
        owner_deinit(&a);
        owner_deinit(&b);
        owner_deinit(&c);
        world_deinit(&world);
    }
}

TEST(one_that_is_far_behind_does_not_keep_the_others_waiting)
{
    struct world world;
    struct owner *far = calloc(40, sizeof *far);
    struct owner near;
    world_init(&world, 14);
    put_many(&world, "a-1", 3000);
    put_many(&world, "b-1", 1);
    for (int i = 0; i < 40; i++) {
        owner_start(&far[i], world.hub, &(struct stele_follow_options){.stream = "a-1"});
    }
    owner_start(&near, world.hub, &(struct stele_follow_options){.stream = "b-1"});
    /* One round of the queue is enough for the one, not for any of the forty. */
    size_t rounds = 0;
    while (near.count == 0) {
        CHECK(miniloop_step(&world.loop));
        rounds++;
    }
    CHECK(rounds <= 41 / 8 + 2); /* One of them is the store's. */
    for (int i = 0; i < 40; i++) {
        CHECK(far[i].count <= 512); /* The turn goes on behind it. */
    }
    CHECK(world.mem->readings <= 64);
    miniloop_run(&world.loop);
    for (int i = 0; i < 40; i++) {
        CHECK_EQ(far[i].count, 3000);
        owner_deinit(&far[i]);
    }
    owner_deinit(&near);
    free(far);
    world_deinit(&world);
}

TEST(readings_are_bounded_however_many_are_behind)
{
    struct world world;
    struct owner *owners = calloc(300, sizeof *owners);
    world_init(&world, 15);
    put_many(&world, "a-1", 600);
    for (int i = 0; i < 300; i++) {
        owner_start(&owners[i], world.hub, &(struct stele_follow_options){.stream = "a-1"});
        owners[i].room = 10;
    }
    miniloop_run(&world.loop);
    CHECK(world.mem->readings_max <= 66);
    for (int i = 0; i < 300; i++) {
        CHECK_EQ(owners[i].count, 10);
        owners[i].room = SIZE_MAX;
        stele_follow_resume(owners[i].follow);
    }
    miniloop_run(&world.loop);
    CHECK(world.mem->readings_max <= 66);
    for (int i = 0; i < 300; i++) {
        CHECK_EQ(owners[i].count, 600);
        owner_deinit(&owners[i]);
    }
    free(owners);
    world_deinit(&world);
}

TEST(ten_thousand_that_wait_cost_a_few_hundred_bytes_each)
{
    struct world world;
    struct owner *owners = calloc(10000, sizeof *owners);
    world_init(&world, 16);
    put_many(&world, "a-1", 1);
    const uint64_t before = world.alloc.bytes;
    char name[32];
    for (int i = 0; i < 10000; i++) {
        (void)snprintf(name, sizeof name, "order-%d", i % 5000);
        owner_start(&owners[i], world.hub, &(struct stele_follow_options){.stream = name});
    }
    miniloop_run(&world.loop);
    miniloop_advance(&world.loop, 3000000);
    CHECK((world.alloc.bytes - before) / 10000 < 500);
    CHECK_EQ(world.mem->readings, 0);
    put_many(&world, "order-77", 1);
    miniloop_run(&world.loop);
    size_t told = 0;
    for (int i = 0; i < 10000; i++) {
        told += owners[i].count;
        owner_deinit(&owners[i]);
    }
    CHECK_EQ(told, 2);
    free(owners);
    world_deinit(&world);
}

TEST(a_thousand_followers_of_one_stream_share_one_reading)
{
    struct world world;
    struct owner *owners = calloc(1000, sizeof *owners);
    world_init(&world, 17);
    for (int i = 0; i < 1000; i++) {
        owner_start(&owners[i], world.hub, &(struct stele_follow_options){.stream = "a-1"});
    }
    miniloop_run(&world.loop);
    const uint64_t opened = world.mem->opened;
    put_many(&world, "a-1", 50);
    miniloop_run(&world.loop);
    CHECK_EQ(world.mem->opened, opened + 1);
    for (int i = 0; i < 1000; i++) {
        CHECK_EQ(owners[i].live_events, 50);
        owner_deinit(&owners[i]);
    }
    free(owners);
    world_deinit(&world);
}

TEST(an_error_of_the_hub_passes_and_nothing_is_lost)
{
    struct world world;
    struct owner owner;
    world_init(&world, 18);
    owner_start(&owner, world.hub, &(struct stele_follow_options){.stream = "a-1"});
    miniloop_run(&world.loop);
    world.mem->fail_reads = 12;
    put_many(&world, "a-1", 5);
    miniloop_run(&world.loop);
    CHECK_EQ(owner.count, 0);
    miniloop_advance(&world.loop, 5000000);
    CHECK_EQ(owner.count, 5);
    owner_deinit(&owner);
    world_deinit(&world);
}

TEST(an_error_of_a_followers_own_reading_is_its_end)
{
    struct world world;
    struct owner owner;
    world_init(&world, 19);
    put_many(&world, "a-1", 5);
    owner_start(&owner, world.hub, &(struct stele_follow_options){.stream = "a-1"});
    world.mem->fail_reads = 1;
    miniloop_run(&world.loop);
    CHECK_EQ(owner.ended, STELE_E_NO_MEMORY);
    owner_deinit(&owner);
    world_deinit(&world);
}

TEST(names_and_filters_are_checked_at_the_start)
{
    struct world world;
    world_init(&world, 20);
    struct stele_error err;
    struct stele_follow *follow = NULL;
    struct owner owner = {.room = 1};
    struct stele_follow_options options = {.stream = ""};
    CHECK_OUTCOME(stele_follow_start(world.hub, &options, &owner_callbacks, &owner, &follow, &err),
                  STELE_E_INVALID, err);
    char name[2000];
    memset(name, 'x', sizeof name);
    name[sizeof name - 1] = '\0';
    options.stream = name;
    CHECK_OUTCOME(stele_follow_start(world.hub, &options, &owner_callbacks, &owner, &follow, &err),
                  STELE_E_LIMIT, err);
    const struct stele_filter filter = {.type_regex = "("};
    options = (struct stele_follow_options){.filter = &filter};
    CHECK_OUTCOME(stele_follow_start(world.hub, &options, &owner_callbacks, &owner, &follow, &err),
                  STELE_E_INVALID, err);
    world_deinit(&world);
}

/* So many steps of the loop, then more events come, then all there is to do. */
static bool catches_up_after(const char *name, int steps)
{
    struct world world;
    struct owner owner, other;
    world_init(&world, 23);
    put_many(&world, "a-1", 6000);
    owner_start(&owner, world.hub, &(struct stele_follow_options){.stream = name});
    bool more = true;
    for (int i = 0; i < steps && more; i++) {
        more = miniloop_step(&world.loop);
    }
    const bool before = owner.caught_up > 0;
    /* Not told to the hub at once, but by its next turn. */
    owner_start(&other, world.hub, &(struct stele_follow_options){.stream = "b-1"});
    put_many(&world, "a-1", 100);
    miniloop_run(&world.loop);
    CHECK_EQ(owner.count, 6100);
    CHECK_EQ(owner.caught_up, 1);
    CHECK_EQ(owner.caught_up_at, before ? 6000 : 6100);
    owner_deinit(&owner);
    owner_deinit(&other);
    world_deinit(&world);
    return more;
}

TEST(caught_up_is_told_when_there_is_nothing_more_at_that_moment)
{
    static const char *const names[] = {NULL, "a-1", "$ce-a"};
    for (size_t i = 0; i < STELE_COUNT_OF(names); i++) {
        int steps = 0;
        while (catches_up_after(names[i], steps)) {
            steps++;
        }
        CHECK(steps > 2);
    }
}

TEST(a_follow_that_is_stopped_before_it_has_arrived_is_forgotten)
{
    struct world world;
    struct owner owners[3];
    world_init(&world, 24);
    put_many(&world, "a-1", 6000);
    for (size_t i = 0; i < 3; i++) {
        owner_start(&owners[i], world.hub, &(struct stele_follow_options){.stream = "a-1"});
    }
    while (!stele_follow_is_live(owners[2].follow)) {
        put_many(&world, "a-1", 1); /* Between any two turns something comes. */
        CHECK(miniloop_step(&world.loop));
    }
    owner_stop(&owners[1]);
    miniloop_run(&world.loop);
    CHECK_EQ(owners[0].caught_up, 1);
    CHECK_EQ(owners[2].caught_up, 1);
    CHECK_EQ(owners[0].count, owners[2].count);
    for (size_t i = 0; i < 3; i++) {
        owner_deinit(&owners[i]);
    }
    world_deinit(&world);
}

/* A live follow with a regular expression that needs memory for a long type, and one failing
 * allocation (sticky: all from it on) between the event's becoming visible and its delivery. */
static bool is_short_of_memory(const char *name, uint64_t n, bool sticky)
{
    struct world world;
    struct owner owner, other;
    const struct stele_filter filter = {.type_regex = "^(a|b)*$"};
    char long_type[201];
    memset(long_type, 'a', 200);
    long_type[200] = '\0';
    world_init(&world, 22);
    put_many(&world, "a-1", 2);
    owner_start(&owner, world.hub,
                &(struct stele_follow_options){.stream = name, .filter = &filter});
    miniloop_run(&world.loop);
    CHECK(stele_follow_is_live(owner.follow));
    /* The hub has something to do already, so it delivers in its next turn and not before put()
     * returns. */
    owner_start(&other, world.hub, &(struct stele_follow_options){.stream = "b-1"});
    (void)memengine_put(world.mem, "a-1", long_type, "{}");
    CHECK_EQ(owner.count, 0);
    world.alloc.fail_at = world.alloc.calls + n;
    world.alloc.fail_sticky = sticky;
    miniloop_run(&world.loop);
    world.alloc.fail_at = 0;
    miniloop_advance(&world.loop, 5000000);
    CHECK_EQ(owner.count, owner.ended == STELE_OK ? 1 : 0);
    CHECK(owner.ended == STELE_OK || owner.ended == STELE_E_NO_MEMORY);
    const bool failed = world.alloc.failures > 0;
    owner_deinit(&owner);
    owner_deinit(&other);
    world_deinit(&world);
    return failed;
}

TEST(a_live_event_is_handed_out_or_the_follow_ends_when_its_filter_has_no_memory)
{
    static const char *const names[] = {NULL, "a-1", "$ce-a"};
    for (size_t i = 0; i < 2 * STELE_COUNT_OF(names); i++) {
        uint64_t n = 1;
        while (is_short_of_memory(names[i / 2], n, i % 2 == 1)) {
            n++;
        }
        CHECK(n > 1);
    }
}

TEST(without_memory_a_start_fails_or_the_follow_ends_and_nothing_leaks)
{
    const char *types[] = {"Happened", "Other"};
    const char *prefixes[] = {"H"};
    const struct stele_filter filter = {
        .types = types, .types_count = 2, .type_prefixes = prefixes, .type_prefixes_count = 1};
    bool failed = true;
    for (uint64_t n = 1; failed; n++) {
        struct world world;
        world_init(&world, 21);
        put_many(&world, "a-1", 3);
        struct owner owner = {.room = SIZE_MAX};
        struct stele_error err;
        const struct stele_follow_options options = {.stream = "a-1", .filter = &filter};
        world.alloc.fail_at = world.alloc.calls + n;
        const int outcome =
            stele_follow_start(world.hub, &options, &owner_callbacks, &owner, &owner.follow, &err);
        CHECK(outcome == STELE_OK || outcome == STELE_E_NO_MEMORY);
        miniloop_run(&world.loop);
        CHECK(outcome != STELE_OK || owner.count == 3 || owner.ended == STELE_E_NO_MEMORY);
        failed = world.alloc.failures > 0;
        CHECK(n < 1000);
        owner_deinit(&owner);
        world_deinit(&world);
    }
}
