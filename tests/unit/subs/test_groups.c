/* Groups keep what they promise in the store: configuration, checkpoints and parked events outlast
 * crashes, and after a crash every event that was not acknowledged or parked comes again.
 *
 * Method: the real store core in memory, home and consumers on two loops that are stepped by hand.
 * The model cuts the power at random moments and starts again from what the disk has. */
#include "api/member/alone.h"
#include "lib/check.h"
#include "lib/memengine.h"
#include "lib/miniloop.h"
#include "lib/testalloc.h"
#include "subs/groups.h"

struct world {
    struct testalloc alloc;
    struct stele_alone alone;
    struct stele_cluster *cluster; /* The one above, unless a test has another. */
    struct miniloop home, away;
    struct memengine *mem;
    struct stele_hub *hub;
    struct stele_groups *groups;
};

static void run(struct world *world)
{
    while (world->home.first != NULL || world->away.first != NULL) {
        miniloop_run(&world->home);
        miniloop_run(&world->away);
    }
}

static void pass_time(struct world *world, int seconds)
{
    for (int i = 0; i < seconds; i++) {
        miniloop_advance(&world->home, 1000000);
        miniloop_advance(&world->away, 1000000);
        run(world);
    }
}

static void start_groups(struct world *world)
{
    struct stele_error err;
    CHECK_EQ(stele_hub_create(&world->mem->engine, &world->home.loop, &world->hub), STELE_OK);
    CHECK_OK(stele_groups_create(&world->mem->engine, world->cluster, world->hub, &world->home.loop,
                                 &world->alloc.base, &world->groups, &err),
             err);
}

static void world_init(struct world *world, uint64_t seed)
{
    testalloc_init(&world->alloc, seed);
    stele_alone_init(&world->alone, NULL);
    world->cluster = &world->alone.cluster;
    miniloop_init(&world->home, &world->alloc.base, seed);
    miniloop_init(&world->away, &world->alloc.base, seed + 1);
    world->mem = memengine_create(&world->home.loop, &world->alloc.base, seed);
    start_groups(world);
}

static bool stopped;

static void on_stopped(struct stele_task *task)
{
    (void)task;
    stopped = true;
}

static void stop_groups(struct world *world)
{
    struct stele_task task = {.run = on_stopped};
    stopped = false;
    stele_groups_stop(world->groups, &task);
    run(world);
    CHECK(stopped);
    stele_groups_destroy(world->groups);
    stele_hub_destroy(world->hub);
    run(world);
}

static void world_deinit(struct world *world)
{
    stop_groups(world);
    memengine_destroy(world->mem);
    CHECK_EQ(world->alloc.bytes, 0);
}

static void restart(struct world *world)
{
    stop_groups(world);
    start_groups(world);
}

/* ---- Asking ---- */

static struct stele_group_settings defaults(void)
{
    return (struct stele_group_settings){.strategy = STELE_GROUP_ROUND_ROBIN,
                                         .max_retry_count = 2,
                                         .min_checkpoint_count = 1,
                                         .max_checkpoint_count = 20,
                                         .live_buffer_size = 50,
                                         .history_buffer_size = 50,
                                         .read_batch_size = 10,
                                         .message_timeout_us = 3000000,
                                         .checkpoint_after_us = 1000000};
}

static bool answered;

static void on_done(struct stele_groups_request *request)
{
    (void)request;
    answered = true;
}

static int ask(struct world *world, struct stele_groups_request *request)
{
    request->loop = &world->away.loop;
    request->on_done = on_done;
    answered = false;
    stele_groups_ask(world->groups, request);
    run(world);
    CHECK(answered);
    return request->outcome;
}

static int change(struct world *world, enum stele_groups_what what, const char *stream,
                  const char *group, const struct stele_group_settings *settings)
{
    struct stele_groups_request request = {
        .what = what, .stream = stream, .group = group, .user = "admin", .stop_at = UINT64_MAX};
    if (settings != NULL) {
        request.settings = *settings;
    }
    const int outcome = ask(world, &request);
    stele_groups_request_deinit(&request);
    return outcome;
}

static struct stele_group_info info(struct world *world, const char *stream, const char *group)
{
    struct stele_groups_request request = {
        .what = STELE_GROUPS_INFO, .stream = stream, .group = group};
    CHECK_EQ(ask(world, &request), STELE_OK);
    CHECK_EQ(request.infos_count, 1);
    const struct stele_group_info found = request.infos[0];
    stele_groups_request_deinit(&request);
    return found; /* Its texts are gone; its numbers are not. */
}

/* ---- Consuming ---- */

struct consumer {
    struct stele_consumer *handle;
    bool confirmed;
    int ended;
    bool auto_ack;
    size_t count;
    struct {
        uint8_t id[16];
        uint64_t revision;
        uint64_t link_revision;
        uint32_t retries;
        bool has_event, has_link;
        char stream[64];
    } got[20000];
};

static void on_confirmed(void *context)
{
    struct consumer *consumer = context;
    CHECK(!consumer->confirmed);
    consumer->confirmed = true;
}

static void on_event(void *context, struct stele_group_event *event, uint32_t retries)
{
    struct consumer *consumer = context;
    CHECK(consumer->confirmed);
    CHECK(consumer->count < 20000);
    memcpy(consumer->got[consumer->count].id, stele_group_event_id(event), 16);
    const struct stele_event *source =
        event->event.type.data != NULL ? &event->event : &event->link;
    consumer->got[consumer->count].revision = source->revision;
    consumer->got[consumer->count].link_revision = event->link.revision;
    consumer->got[consumer->count].retries = retries;
    consumer->got[consumer->count].has_event = event->event.type.data != NULL;
    consumer->got[consumer->count].has_link = event->link.type.data != NULL;
    (void)snprintf(consumer->got[consumer->count].stream, 64, "%.*s", (int)source->stream.size,
                   source->stream.data);
    consumer->count++;
    if (consumer->auto_ack) {
        stele_consumer_ack(consumer->handle, stele_group_event_id(event), 1);
    }
}

static void on_end(void *context, int outcome)
{
    struct consumer *consumer = context;
    consumer->ended = outcome;
    stele_consumer_stop(consumer->handle);
    consumer->handle = NULL;
}

static const struct stele_consumer_callbacks callbacks = {
    .on_confirmed = on_confirmed, .on_event = on_event, .on_end = on_end};

static struct consumer *consume(struct world *world, const char *stream, const char *group,
                                uint32_t buffer_size)
{
    struct consumer *consumer = calloc(1, sizeof *consumer);
    struct stele_error err;
    const struct stele_consumer_options options = {.stream = stream,
                                                   .group = group,
                                                   .from = "127.0.0.1:1",
                                                   .user = "me",
                                                   .connection_name = "c",
                                                   .buffer_size = buffer_size};
    CHECK_OK(stele_consumer_start(world->groups, &world->away.loop, &options, &callbacks, consumer,
                                  &consumer->handle, &err),
             err);
    return consumer;
}

static void stop(struct world *world, struct consumer *consumer)
{
    stele_consumer_stop(consumer->handle);
    consumer->handle = NULL;
    run(world);
    free(consumer);
}

static void put_many(struct world *world, const char *stream, int count)
{
    for (int i = 0; i < count; i++) {
        (void)memengine_put(world->mem, stream, "Happened", "{}");
    }
}

/* ---- */

TEST(a_group_is_made_once_changed_and_deleted)
{
    struct world world;
    world_init(&world, 1);
    struct stele_group_settings settings = defaults();
    CHECK_EQ(change(&world, STELE_GROUPS_UPDATE, "s", "g", &settings), STELE_NOT_FOUND);
    CHECK_EQ(change(&world, STELE_GROUPS_CREATE, "s", "g", &settings), STELE_OK);
    CHECK_EQ(change(&world, STELE_GROUPS_CREATE, "s", "g", &settings), STELE_GROUPS_EXISTS);
    CHECK_EQ(change(&world, STELE_GROUPS_CREATE, NULL, "g", &settings), STELE_OK);
    settings.history_buffer_size = settings.read_batch_size;
    CHECK_EQ(change(&world, STELE_GROUPS_CREATE, "t", "g", &settings), STELE_E_INVALID);
    settings = defaults();
    settings.max_retry_count = 9;
    CHECK_EQ(change(&world, STELE_GROUPS_UPDATE, "s", "g", &settings), STELE_OK);
    CHECK_EQ(info(&world, "s", "g").settings.max_retry_count, 9);
    CHECK_EQ(change(&world, STELE_GROUPS_DELETE, "s", "g", NULL), STELE_OK);
    CHECK_EQ(change(&world, STELE_GROUPS_DELETE, "s", "g", NULL), STELE_NOT_FOUND);
    CHECK_EQ(change(&world, STELE_GROUPS_CREATE, "s", "g", &settings), STELE_OK);
    world_deinit(&world);
}

TEST(a_new_group_knows_nothing_of_an_older_one_of_its_name_whose_streams_were_left_behind)
{
    struct world world;
    world_init(&world, 4);
    const struct stele_group_settings settings = defaults();
    put_many(&world, "s", 9);
    (void)memengine_put(world.mem, "$persistentsubscription-s::g-checkpoint",
                        "$SubscriptionCheckpoint", "\"5\"");
    (void)memengine_put(world.mem, "$persistentsubscription-s::g-parked", "$>", "2@s");
    CHECK_EQ(change(&world, STELE_GROUPS_CREATE, "s", "g", &settings), STELE_OK);
    CHECK_EQ(info(&world, "s", "g").parked, 0);
    struct consumer *consumer = consume(&world, "s", "g", 10);
    run(&world);
    CHECK_EQ(consumer->count, 9);
    stop(&world, consumer);
    restart(&world); /* Nor is that forgotten. */
    consumer = consume(&world, "s", "g", 10);
    run(&world);
    CHECK_EQ(consumer->count, 9);
    CHECK_EQ(consumer->got[0].revision, 0);
    CHECK_EQ(info(&world, "s", "g").parked, 0);
    stop(&world, consumer);
    world_deinit(&world);
}

TEST(a_group_whose_configuration_is_not_durable_yet_is_not_started_by_the_clock)
{
    struct world world;
    world_init(&world, 3);
    const struct stele_group_settings settings = defaults();
    CHECK_EQ(change(&world, STELE_GROUPS_CREATE, "a-1", "first", &settings), STELE_OK);
    struct stele_groups_request request = {.what = STELE_GROUPS_CREATE,
                                           .stream = "a-1",
                                           .group = "second",
                                           .user = "admin",
                                           .settings = settings,
                                           .loop = &world.away.loop,
                                           .on_done = on_done};
    answered = false;
    world.mem->hold = true;
    stele_groups_ask(world.groups, &request);
    run(&world);
    pass_time(&world, 3); /* The first group's clock ticks for all. */
    CHECK(!answered);
    world.mem->hold = false;
    memengine_commit(world.mem);
    run(&world);
    CHECK(answered);
    CHECK_EQ(request.outcome, STELE_OK);
    stele_groups_request_deinit(&request);
    struct consumer *consumer = consume(&world, "a-1", "second", 10);
    consumer->auto_ack = true;
    run(&world);
    for (int i = 0; i < 5; i++) {
        (void)memengine_put(world.mem, "a-1", "Happened", "{}");
        run(&world);
    }
    CHECK_EQ(consumer->count, 5);
    stop(&world, consumer);
    world_deinit(&world);
}

TEST(events_reach_consumers_and_what_is_acked_does_not_come_again)
{
    struct world world;
    world_init(&world, 2);
    const struct stele_group_settings settings = defaults();
    put_many(&world, "s", 30);
    CHECK_EQ(change(&world, STELE_GROUPS_CREATE, "s", "g", &settings), STELE_OK);
    struct consumer *a = consume(&world, "s", "g", 10);
    run(&world);
    CHECK(a->confirmed);
    CHECK_EQ(a->count, 10);
    a->auto_ack = true;
    for (int i = 0; i < 10; i++) {
        stele_consumer_ack(a->handle, a->got[i].id, 1);
    }
    run(&world);
    CHECK_EQ(a->count, 30);
    put_many(&world, "s", 5);
    run(&world);
    CHECK_EQ(a->count, 35);
    pass_time(&world, 3);
    CHECK_EQ(info(&world, "s", "g").stats.last_checkpoint, 34);
    stop(&world, a);
    restart(&world);
    put_many(&world, "s", 1);
    a = consume(&world, "s", "g", 10);
    run(&world);
    CHECK_EQ(a->count, 1);
    CHECK_EQ(a->got[0].revision, 35);
    stop(&world, a);
    world_deinit(&world);
}

TEST(a_group_is_started_once_even_if_storing_it_takes_long)
{
    struct world world;
    world_init(&world, 21);
    const struct stele_group_settings settings = defaults();
    CHECK_EQ(change(&world, STELE_GROUPS_CREATE, "other", "g", &settings), STELE_OK);
    struct stele_groups_request request = {.what = STELE_GROUPS_CREATE,
                                           .stream = "s",
                                           .group = "g",
                                           .user = "admin",
                                           .settings = settings,
                                           .stop_at = UINT64_MAX,
                                           .loop = &world.away.loop,
                                           .on_done = on_done};
    world.mem->hold = true;
    answered = false;
    stele_groups_ask(world.groups, &request);
    run(&world);
    /* The clock that looks after groups ticks meanwhile. */
    pass_time(&world, 5);
    CHECK(!answered);
    world.mem->hold = false;
    memengine_commit(world.mem);
    run(&world);
    CHECK(answered);
    CHECK_EQ(request.outcome, STELE_OK);
    stele_groups_request_deinit(&request);
    struct consumer *a = consume(&world, "s", "g", 10);
    put_many(&world, "s", 3);
    run(&world);
    CHECK_EQ(a->count, 3);
    stop(&world, a);
    world_deinit(&world);
}

TEST(the_end_is_the_moment_of_creating_also_after_a_restart)
{
    struct world world;
    world_init(&world, 3);
    struct stele_group_settings settings = defaults();
    settings.start = UINT64_MAX;
    put_many(&world, "s", 3);
    put_many(&world, "ce-1", 3);
    CHECK_EQ(change(&world, STELE_GROUPS_CREATE, "s", "g", &settings), STELE_OK);
    CHECK_EQ(change(&world, STELE_GROUPS_CREATE, "$ce-ce", "g", &settings), STELE_OK);
    CHECK_EQ(change(&world, STELE_GROUPS_CREATE, NULL, "g", &settings), STELE_OK);
    put_many(&world, "s", 1);
    put_many(&world, "ce-1", 1);
    restart(&world);
    struct consumer *stream = consume(&world, "s", "g", 10);
    struct consumer *category = consume(&world, "$ce-ce", "g", 10);
    struct consumer *all = consume(&world, NULL, "g", 100);
    run(&world);
    CHECK_EQ(stream->count, 1);
    CHECK_EQ(stream->got[0].revision, 3);
    CHECK_EQ(category->count, 1);
    CHECK(all->count >= 2);
    stop(&world, stream);
    stop(&world, category);
    stop(&world, all);
    world_deinit(&world);
}

TEST(links_are_resolved_when_asked_for_and_categories_are_links)
{
    struct world world;
    world_init(&world, 4);
    struct stele_group_settings settings = defaults();
    put_many(&world, "s-1", 3);
    (void)memengine_put(world.mem, "links", "$>", "2@s-1");
    (void)memengine_put(world.mem, "links", "$>", "77@s-1");
    CHECK_EQ(change(&world, STELE_GROUPS_CREATE, "links", "plain", &settings), STELE_OK);
    CHECK_EQ(change(&world, STELE_GROUPS_CREATE, "$ce-s", "plain", &settings), STELE_OK);
    settings.resolve_links = true;
    CHECK_EQ(change(&world, STELE_GROUPS_CREATE, "links", "resolved", &settings), STELE_OK);
    CHECK_EQ(change(&world, STELE_GROUPS_CREATE, "$ce-s", "resolved", &settings), STELE_OK);
    struct consumer *plain = consume(&world, "links", "plain", 10);
    struct consumer *resolved = consume(&world, "links", "resolved", 10);
    struct consumer *category = consume(&world, "$ce-s", "plain", 10);
    struct consumer *originals = consume(&world, "$ce-s", "resolved", 10);
    run(&world);
    CHECK_EQ(plain->count, 2);
    CHECK(plain->got[0].has_event && !plain->got[0].has_link);
    CHECK_TEXT_EQ(plain->got[0].stream, "links");
    CHECK_EQ(resolved->count, 2);
    CHECK(resolved->got[0].has_event && resolved->got[0].has_link);
    CHECK_EQ(resolved->got[0].revision, 2);
    CHECK_TEXT_EQ(resolved->got[0].stream, "s-1");
    CHECK(!resolved->got[1].has_event && resolved->got[1].has_link);
    CHECK_EQ(category->count, 3);
    CHECK_TEXT_EQ(category->got[0].stream, "$ce-s");
    CHECK_EQ(category->got[2].revision, 2);
    CHECK_EQ(originals->count, 3);
    CHECK_TEXT_EQ(originals->got[0].stream, "s-1");
    CHECK_EQ(originals->got[2].link_revision, 2);
    /* They are acknowledged by the id of the link. */
    originals->auto_ack = true;
    for (int i = 0; i < 3; i++) {
        stele_consumer_ack(originals->handle, originals->got[i].id, 1);
    }
    run(&world);
    CHECK_EQ(info(&world, "$ce-s", "resolved").stats.in_flight, 0);
    stop(&world, plain);
    stop(&world, resolved);
    stop(&world, category);
    stop(&world, originals);
    world_deinit(&world);
}

TEST(parked_events_are_replayed_and_forgotten_when_consumers_are_done)
{
    struct world world;
    world_init(&world, 5);
    const struct stele_group_settings settings = defaults();
    const struct stele_text why = {.data = "why", .size = 3};
    put_many(&world, "s", 5);
    CHECK_EQ(change(&world, STELE_GROUPS_CREATE, "s", "g", &settings), STELE_OK);
    struct consumer *a = consume(&world, "s", "g", 10);
    run(&world);
    for (int i = 0; i < 5; i++) {
        stele_consumer_nack(a->handle, a->got[i].id, 1, STELE_GROUP_NACK_PARK, why);
    }
    run(&world);
    CHECK_EQ(info(&world, "s", "g").parked, 5);
    restart(&world);
    CHECK_EQ(a->ended, STELE_E_CLOSED);
    CHECK_EQ(info(&world, "s", "g").parked, 5);
    stop(&world, a);
    /* Two of them. */
    struct stele_groups_request request = {
        .what = STELE_GROUPS_REPLAY, .stream = "s", .group = "g", .stop_at = 2};
    CHECK_EQ(ask(&world, &request), STELE_OK);
    CHECK_EQ(info(&world, "s", "g").parked, 3);
    a = consume(&world, "s", "g", 10);
    run(&world);
    CHECK_EQ(a->count, 2);
    CHECK_EQ(a->got[0].revision, 0);
    CHECK_TEXT_EQ(a->got[0].stream, "s");
    /* Not done with: a restart leaves them parked. */
    stop(&world, a);
    restart(&world);
    CHECK_EQ(info(&world, "s", "g").parked, 5);
    CHECK_EQ(change(&world, STELE_GROUPS_REPLAY, "s", "g", NULL), STELE_OK);
    a = consume(&world, "s", "g", 10);
    a->auto_ack = true;
    run(&world);
    CHECK_EQ(a->count, 5);
    pass_time(&world, 2);
    stop(&world, a);
    restart(&world);
    CHECK_EQ(info(&world, "s", "g").parked, 0);
    world_deinit(&world);
}

TEST(parked_events_can_be_forgotten_at_once)
{
    struct world world;
    world_init(&world, 6);
    const struct stele_group_settings settings = defaults();
    const struct stele_text why = {.data = "why", .size = 3};
    put_many(&world, "s", 5);
    CHECK_EQ(change(&world, STELE_GROUPS_CREATE, "s", "g", &settings), STELE_OK);
    struct consumer *a = consume(&world, "s", "g", 10);
    run(&world);
    for (int i = 0; i < 5; i++) {
        stele_consumer_nack(a->handle, a->got[i].id, 1, STELE_GROUP_NACK_PARK, why);
    }
    run(&world);
    struct stele_groups_request request = {
        .what = STELE_GROUPS_TRUNCATE, .stream = "s", .group = "g", .stop_at = 2};
    CHECK_EQ(ask(&world, &request), STELE_OK);
    CHECK_EQ(info(&world, "s", "g").parked, 3);
    CHECK_EQ(change(&world, STELE_GROUPS_TRUNCATE, "s", "g", NULL), STELE_OK);
    CHECK_EQ(info(&world, "s", "g").parked, 0);
    stop(&world, a);
    restart(&world);
    CHECK_EQ(info(&world, "s", "g").parked, 0);
    world_deinit(&world);
}

TEST(consumers_are_dropped_by_update_delete_restart_and_told_why)
{
    struct world world;
    world_init(&world, 7);
    const struct stele_group_settings settings = defaults();
    CHECK_EQ(change(&world, STELE_GROUPS_CREATE, "s", "g", &settings), STELE_OK);
    static const enum stele_groups_what what[] = {STELE_GROUPS_UPDATE, STELE_GROUPS_RESTART,
                                                  STELE_GROUPS_DELETE};
    for (size_t i = 0; i < 3; i++) {
        struct consumer *a = consume(&world, "s", "g", 10);
        run(&world);
        CHECK(a->confirmed);
        CHECK_EQ(change(&world, what[i], "s", "g", &settings), STELE_OK);
        CHECK_EQ(a->ended, STELE_E_CLOSED);
        stop(&world, a);
    }
    struct consumer *none = consume(&world, "s", "g", 10);
    run(&world);
    CHECK_EQ(none->ended, STELE_NOT_FOUND);
    stop(&world, none);
    world_deinit(&world);
}

TEST(an_update_keeps_what_is_done)
{
    struct world world;
    world_init(&world, 8);
    struct stele_group_settings settings = defaults();
    put_many(&world, "s", 6);
    CHECK_EQ(change(&world, STELE_GROUPS_CREATE, "s", "g", &settings), STELE_OK);
    struct consumer *a = consume(&world, "s", "g", 4);
    run(&world);
    for (int i = 0; i < 3; i++) {
        stele_consumer_ack(a->handle, a->got[i].id, 1);
    }
    run(&world);
    CHECK_EQ(change(&world, STELE_GROUPS_UPDATE, "s", "g", &settings), STELE_OK);
    stop(&world, a);
    a = consume(&world, "s", "g", 10);
    run(&world);
    CHECK_EQ(a->count, 3);
    CHECK_EQ(a->got[0].revision, 3);
    stop(&world, a);
    world_deinit(&world);
}

TEST(a_filter_is_kept_over_updates_and_restarts)
{
    struct world world;
    world_init(&world, 9);
    const char *prefixes[] = {"Wanted"};
    const struct stele_filter filter = {.type_prefixes = prefixes, .type_prefixes_count = 1};
    struct stele_groups_request request = {
        .what = STELE_GROUPS_CREATE, .group = "g", .filter = &filter, .settings = defaults()};
    CHECK_EQ(ask(&world, &request), STELE_OK);
    const struct stele_group_settings settings = defaults();
    CHECK_EQ(change(&world, STELE_GROUPS_UPDATE, NULL, "g", &settings), STELE_OK);
    restart(&world);
    struct consumer *a = consume(&world, NULL, "g", 10);
    a->auto_ack = true;
    (void)memengine_put(world.mem, "s", "Other", "{}");
    (void)memengine_put(world.mem, "s", "WantedThing", "{}");
    run(&world);
    CHECK_EQ(a->count, 1);
    CHECK_EQ(a->got[0].revision, 1);
    stop(&world, a);
    world_deinit(&world);
}

TEST(what_is_no_utf8_cannot_be_kept_and_is_refused)
{
    struct world world;
    world_init(&world, 9);
    const struct stele_group_settings settings = defaults();
    CHECK_EQ(change(&world, STELE_GROUPS_CREATE, "s\xcd", "g", &settings), STELE_E_INVALID);
    CHECK_EQ(change(&world, STELE_GROUPS_CREATE, "s", "g\xff", &settings), STELE_E_INVALID);
    const char *names[] = {"good", "\xc3("};
    const struct stele_filter filters[] = {
        {.types = names, .types_count = 2},
        {.type_prefixes = names, .type_prefixes_count = 2},
        {.streams = names, .streams_count = 2},
        {.stream_prefixes = names, .stream_prefixes_count = 2},
        {.categories = names, .categories_count = 2},
        {.tags = names, .tags_count = 2},
        {.type_regex = names[1]},
        {.stream_regex = names[1]},
    };
    for (size_t i = 0; i < STELE_COUNT_OF(filters); i++) {
        struct stele_groups_request request = {
            .what = STELE_GROUPS_CREATE, .group = "g", .filter = &filters[i], .settings = settings};
        CHECK_EQ(ask(&world, &request), STELE_E_INVALID);
    }
    CHECK_EQ(change(&world, STELE_GROUPS_CREATE, "caf\xc3\xa9", "g", &settings), STELE_OK);
    world_deinit(&world);
}

TEST(a_group_of_all_does_not_feed_on_itself)
{
    struct world world;
    world_init(&world, 10);
    struct stele_group_settings settings = defaults();
    settings.max_checkpoint_count = 1;
    CHECK_EQ(change(&world, STELE_GROUPS_CREATE, NULL, "g", &settings), STELE_OK);
    struct consumer *a = consume(&world, NULL, "g", 10);
    a->auto_ack = true;
    put_many(&world, "s", 10);
    pass_time(&world, 5);
    const uint64_t last = world.mem->engine.ops->last_position(&world.mem->engine);
    pass_time(&world, 20);
    CHECK_EQ(world.mem->engine.ops->last_position(&world.mem->engine), last);
    stop(&world, a);
    world_deinit(&world);
}

TEST(a_list_has_all_groups_or_those_of_one_stream)
{
    struct world world;
    world_init(&world, 11);
    const struct stele_group_settings settings = defaults();
    struct stele_groups_request request = {.what = STELE_GROUPS_LIST, .all_streams = true};
    CHECK_EQ(ask(&world, &request), STELE_OK);
    CHECK_EQ(request.infos_count, 0);
    CHECK_EQ(change(&world, STELE_GROUPS_CREATE, "s", "one", &settings), STELE_OK);
    CHECK_EQ(change(&world, STELE_GROUPS_CREATE, "s", "two", &settings), STELE_OK);
    CHECK_EQ(change(&world, STELE_GROUPS_CREATE, "t", "one", &settings), STELE_OK);
    struct consumer *a = consume(&world, "s", "two", 10);
    run(&world);
    request = (struct stele_groups_request){.what = STELE_GROUPS_LIST, .all_streams = true};
    CHECK_EQ(ask(&world, &request), STELE_OK);
    CHECK_EQ(request.infos_count, 3);
    CHECK_TEXT_EQ(request.infos[0].group, "one");
    CHECK_TEXT_EQ(request.infos[1].group, "two");
    CHECK_EQ(request.infos[1].consumers_count, 1);
    CHECK_TEXT_EQ(request.infos[1].consumers[0].connection_name, "c");
    CHECK_TEXT_EQ(request.infos[2].stream, "t");
    stele_groups_request_deinit(&request);
    request = (struct stele_groups_request){.what = STELE_GROUPS_LIST, .stream = "s"};
    CHECK_EQ(ask(&world, &request), STELE_OK);
    CHECK_EQ(request.infos_count, 2);
    stele_groups_request_deinit(&request);
    request = (struct stele_groups_request){.what = STELE_GROUPS_LIST, .stream = "none"};
    CHECK_EQ(ask(&world, &request), STELE_NOT_FOUND);
    stele_groups_request_deinit(&request);
    stop(&world, a);
    world_deinit(&world);
}

TEST(appends_of_unknown_outcome_lose_nothing)
{
    struct world world;
    world_init(&world, 12);
    const struct stele_group_settings settings = defaults();
    const struct stele_text why = {.data = "why", .size = 3};
    put_many(&world, "s", 4);
    CHECK_EQ(change(&world, STELE_GROUPS_CREATE, "s", "g", &settings), STELE_OK);
    struct consumer *a = consume(&world, "s", "g", 10);
    run(&world);
    world.mem->fail_appends = 8;
    for (int i = 0; i < 4; i++) {
        stele_consumer_nack(a->handle, a->got[i].id, 1, STELE_GROUP_NACK_PARK, why);
    }
    run(&world);
    CHECK_EQ(a->count, 8); /* Perhaps parked: perhaps not, so they come again. */
    world.mem->fail_appends = 0;
    a->auto_ack = true;
    for (size_t i = 4; i < 8; i++) {
        stele_consumer_ack(a->handle, a->got[i].id, 1);
    }
    run(&world);
    world.mem->fail_appends = 1;
    CHECK_EQ(change(&world, STELE_GROUPS_CREATE, "s", "other", &settings), STELE_E_UNKNOWN);
    world.mem->fail_appends = 1;
    CHECK_EQ(change(&world, STELE_GROUPS_DELETE, "s", "g", NULL), STELE_E_UNKNOWN);
    CHECK_EQ(info(&world, "s", "g").stats.in_flight, 0);
    stop(&world, a);
    world_deinit(&world);
}

TEST(damaged_configuration_and_checkpoints_are_refused_not_guessed)
{
    static const char *const configs[] = {
        "no json",
        "{\"entries\":7}",
        "{\"entries\":[{\"stream\":\"\",\"group\":\"g\"}]}",
        "{\"entries\":[{\"stream\":\"s\",\"group\":\"g\"},{\"group\":\"h\"}]}",
        "{\"entries\":[{\"stream\":\"s\",\"group\":\"bad\"}]}",
    };
    for (size_t i = 0; i < sizeof configs / sizeof configs[0]; i++) {
        struct world world;
        struct stele_error err;
        world_init(&world, 20);
        (void)memengine_put(world.mem, "$persistentsubscription-s::bad-checkpoint",
                            "$SubscriptionCheckpoint", "\"twelve\"");
        (void)memengine_put(world.mem, "$persistentSubscriptionConfig", "$PersistentConfig",
                            configs[i]);
        struct stele_groups *groups = NULL;
        CHECK_OUTCOME(stele_groups_create(&world.mem->engine, world.cluster, world.hub,
                                          &world.home.loop, &world.alloc.base, &groups, &err),
                      STELE_E_CORRUPT, err);
        CHECK(groups == NULL);
        world_deinit(&world);
    }
}

TEST(a_configuration_of_kurrentdb_is_understood)
{
    struct world world;
    world_init(&world, 21);
    (void)memengine_put(
        world.mem, "$persistentSubscriptionConfig", "$PersistentConfig",
        "{\"version\":\"2\",\"updated\":\"2024-01-01T00:00:00Z\",\"updatedBy\":\"admin\","
        "\"entries\":["
        "{\"stream\":\"s\",\"group\":\"g\",\"resolveLinkTos\":true,\"extraStatistics\":false,"
        "\"messageTimeout\":10000,\"startPosition\":\"1\",\"maxRetryCount\":500,\"liveBufferSize\":"
        "400,"
        "\"historyBufferSize\":300,\"readBatchSize\":10,\"preferRoundRobin\":false,"
        "\"checkPointAfter\":1000,\"minCheckPointCount\":0,\"maxCheckPointCount\":500,"
        "\"maxSubscriberCount\":3,\"namedConsumerStrategy\":\"Pinned\"}]}");
    (void)memengine_put(world.mem, "$persistentsubscription-s::g-checkpoint",
                        "$SubscriptionCheckpoint", "\"2\"");
    put_many(&world, "s", 5);
    restart(&world);
    const struct stele_group_info found = info(&world, "s", "g");
    CHECK_EQ(found.settings.strategy, STELE_GROUP_PINNED);
    CHECK(found.settings.resolve_links);
    CHECK_EQ(found.settings.message_timeout_us, 10000000);
    CHECK_EQ(found.settings.max_subscriber_count, 3);
    CHECK_EQ(found.start, 1);
    CHECK_EQ(found.stats.last_checkpoint, 2);
    struct consumer *a = consume(&world, "s", "g", 10);
    run(&world);
    CHECK_EQ(a->count, 2);
    CHECK_EQ(a->got[0].revision, 3);
    stop(&world, a);
    world_deinit(&world);
}

/* A group, a consumer who parks, rejects and acknowledges, a replay. One allocation fails. */
static bool live_with_failure(uint64_t n)
{
    struct world world;
    world_init(&world, 30);
    const struct stele_group_settings settings = defaults();
    const struct stele_text why = {.data = "why", .size = 3};
    put_many(&world, "s-1", 5);
    (void)memengine_put(world.mem, "links", "$>", "1@s-1");
    world.alloc.fail_at = world.alloc.calls + n;
    int outcome = change(&world, STELE_GROUPS_CREATE, "links", "g", &settings);
    CHECK(outcome == STELE_OK || outcome == STELE_E_NO_MEMORY);
    outcome = change(&world, STELE_GROUPS_CREATE, "s-1", "g", &settings);
    CHECK(outcome == STELE_OK || outcome == STELE_E_NO_MEMORY);
    struct consumer *a = calloc(1, sizeof *a);
    struct stele_error err;
    const struct stele_consumer_options options = {
        .stream = "s-1", .group = "g", .from = "x", .buffer_size = 3};
    if (stele_consumer_start(world.groups, &world.away.loop, &options, &callbacks, a, &a->handle,
                             &err) == STELE_OK) {
        run(&world);
        for (size_t i = 0; i < a->count && a->handle != NULL; i++) {
            stele_consumer_nack(a->handle, a->got[i].id, 1,
                                i == 0 ? STELE_GROUP_NACK_PARK : STELE_GROUP_NACK_RETRY, why);
            run(&world);
        }
        pass_time(&world, 1);
    }
    (void)change(&world, STELE_GROUPS_REPLAY, "s-1", "g", NULL);
    struct stele_groups_request request = {.what = STELE_GROUPS_LIST, .all_streams = true};
    outcome = ask(&world, &request);
    CHECK(outcome == STELE_OK || outcome == STELE_E_NO_MEMORY);
    stele_groups_request_deinit(&request);
    const bool failed = world.alloc.failures > 0;
    /* From now on there is memory. */
    world.alloc.fail_at = 0;
    outcome = change(&world, STELE_GROUPS_CREATE, "s-1", "g", &settings);
    CHECK(outcome == STELE_OK || outcome == STELE_GROUPS_EXISTS);
    stop(&world, a);
    a = consume(&world, "s-1", "g", 10);
    a->auto_ack = true;
    pass_time(&world, 3);
    (void)change(&world, STELE_GROUPS_REPLAY, "s-1", "g", NULL);
    pass_time(&world, 3);
    bool seen[5] = {false};
    for (size_t i = 0; i < a->count; i++) {
        seen[a->got[i].revision] = true;
    }
    for (size_t i = 0; i < 5; i++) {
        if (!seen[i]) {
            check_failed(__FILE__, __LINE__, "allocation %llu failed: event %zu was lost",
                         (unsigned long long)n, i);
        }
    }
    stop(&world, a);
    world_deinit(&world);
    return failed;
}

TEST(whichever_allocation_fails_nothing_is_lost_or_leaked)
{
    uint64_t n = 1;
    while (live_with_failure(n)) {
        n++;
        CHECK(n < 100000);
    }
    (void)printf("# %llu allocations failed\n", (unsigned long long)(n - 1));
}

/* ---- Crashes ---- */

struct life {
    struct world world;
    struct rng rng;
    struct consumer *consumers[3];
    bool finished[20000]; /* By revision: acknowledged or parked, as the group knows for sure. */
    int appended;
};

static void act(struct life *life)
{
    struct world *world = &life->world;
    struct rng *rng = &life->rng;
    const size_t index = rng_below(rng, 3);
    struct consumer **at = &life->consumers[index];
    switch (rng_below(rng, 10)) {
    case 0:
        if (*at == NULL) {
            *at = consume(world, "s", "g", (uint32_t)rng_between(rng, 1, 15));
        } else if (rng_one_in(rng, 4)) {
            stele_consumer_stop((*at)->handle);
            (*at)->handle = NULL;
            run(world);
            free(*at);
            *at = NULL;
        }
        break;
    case 1:
    case 2:
        put_many(world, "s", 1);
        life->appended++;
        break;
    case 3:
        pass_time(world, 1);
        break;
    case 4:
    case 5:
    case 6:
        if (*at != NULL && (*at)->handle != NULL && (*at)->count > 0) {
            const size_t which =
                (*at)->count - 1 - rng_below(rng, (*at)->count < 10 ? (*at)->count : 10);
            if (rng_one_in(rng, 6)) {
                const struct stele_text why = {.data = "x", .size = 1};
                stele_consumer_nack((*at)->handle, (*at)->got[which].id, 1,
                                    (enum stele_group_nack)rng_below(rng, 3), why);
            } else {
                stele_consumer_ack((*at)->handle, (*at)->got[which].id, 1);
                life->finished[(*at)->got[which].revision] = true;
            }
        }
        break;
    default:
        (void)miniloop_step(&world->home);
        (void)miniloop_step(&world->away);
        break;
    }
}

/* What is parked counts as finished: nobody has forgotten it. */
static void add_parked(struct life *life)
{
    struct stele_engine *engine = &life->world.mem->engine;
    const struct stele_read_options options = STELE_READ_OPTIONS_INIT;
    struct stele_reading *reading = NULL;
    struct stele_error err;
    if (engine->ops->read_open(engine, "$persistentsubscription-s::g-parked", &options, &reading,
                               &err) != STELE_OK) {
        return;
    }
    const struct stele_event *events = NULL;
    size_t count = 0;
    while (engine->ops->read_next(reading, &events, &count, &err) == STELE_OK) {
        for (size_t i = 0; i < count; i++) {
            life->finished[strtoull(events[i].data, NULL, 10)] = true;
        }
    }
    engine->ops->read_close(reading);
}

static void crash(struct life *life)
{
    struct world *world = &life->world;
    /* The process is gone: its memory is let go of in the orderly way, but whatever it would still
     * write is lost. */
    world->mem->lose_appends = true;
    for (size_t i = 0; i < 3; i++) {
        if (life->consumers[i] != NULL) {
            stele_consumer_stop(life->consumers[i]->handle);
            life->consumers[i]->handle = NULL;
        }
    }
    stop_groups(world);
    world->mem->lose_appends = false;
    memengine_crash(world->mem, MEMIO_KEEP_RANDOM);
    for (size_t i = 0; i < 3; i++) {
        free(life->consumers[i]);
        life->consumers[i] = NULL;
    }
    start_groups(world);
}

static void live(uint64_t seed)
{
    struct life *life = calloc(1, sizeof *life);
    CHECK(life != NULL);
    rng_init(&life->rng, seed, 3);
    world_init(&life->world, seed);
    struct stele_group_settings settings = defaults();
    settings.strategy = (enum stele_group_strategy)rng_below(&life->rng, 4);
    settings.max_checkpoint_count = (int32_t)rng_between(&life->rng, 1, 30);
    CHECK_EQ(change(&life->world, STELE_GROUPS_CREATE, "s", "g", &settings), STELE_OK);
    for (int lives = 0; lives < 4; lives++) {
        for (int i = 0; i < 400; i++) {
            act(life);
        }
        crash(life);
    }
    /* One who behaves is handed everything that is not finished. */
    struct consumer *last = consume(&life->world, "s", "g", 20);
    last->auto_ack = true;
    for (int i = 0; i < 20; i++) {
        pass_time(&life->world, 1);
    }
    for (size_t i = 0; i < last->count; i++) {
        life->finished[last->got[i].revision] = true;
    }
    add_parked(life);
    for (int i = 0; i < life->appended; i++) {
        if (!life->finished[i]) {
            check_failed(__FILE__, __LINE__, "seed %llu: event %d of %d was lost",
                         (unsigned long long)seed, i, life->appended);
        }
    }
    const struct stele_group_info end = info(&life->world, "s", "g");
    CHECK_EQ(end.stats.in_flight + end.stats.waiting + end.stats.retrying, 0);
    stop(&life->world, last);
    world_deinit(&life->world);
    free(life);
}

TEST(after_crashes_every_event_was_acked_parked_or_comes_again)
{
    for (uint64_t seed = 1; seed <= 25; seed++) {
        live(seed);
    }
}
