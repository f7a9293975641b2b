/* In a cluster groups are at work on one node, the one that leads: they come when it has seen what was
 * acknowledged, go when it leads no more, and lose nothing on the way.
 *
 * Method: two nodes with one store (what a cluster's stores are, but for delays), each with its groups
 * and a cluster that the test makes say who leads; also both at once, as may be for a moment. */
#include "lib/check.h"
#include "lib/fakecluster.h"
#include "lib/memengine.h"
#include "lib/miniloop.h"
#include "lib/testalloc.h"
#include "subs/groups.h"

struct node {
    struct fakecluster cluster;
    struct stele_hub *hub;
    struct stele_groups *groups;
};

struct world {
    struct testalloc alloc;
    struct miniloop loop;
    struct memengine *mem;
    struct node nodes[2];
};

static void run(struct world *world)
{
    while (world->loop.first != NULL) {
        miniloop_run(&world->loop);
    }
}

static void pass_time(struct world *world, int seconds)
{
    for (int i = 0; i < seconds; i++) {
        miniloop_advance(&world->loop, 1000000);
        run(world);
    }
}

static void start(struct world *world, struct node *node)
{
    struct stele_error err;
    CHECK_EQ(stele_hub_create(&world->mem->engine, &world->loop.loop, &node->hub), STELE_OK);
    CHECK_OK(stele_groups_create(&world->mem->engine, &node->cluster.cluster, node->hub,
                                 &world->loop.loop, &world->alloc.base, &node->groups, &err),
             err);
    run(world);
}

static void init(struct world *world, uint64_t seed)
{
    testalloc_init(&world->alloc, seed);
    miniloop_init(&world->loop, &world->alloc.base, seed);
    world->mem = memengine_create(&world->loop.loop, &world->alloc.base, seed);
    for (int i = 0; i < 2; i++) {
        fakecluster_init(&world->nodes[i].cluster);
        start(world, &world->nodes[i]);
    }
}

static bool stopped;

static void on_stopped(struct stele_task *task)
{
    (void)task;
    stopped = true;
}

static void stop(struct world *world, struct node *node)
{
    struct stele_task task = {.run = on_stopped};
    stopped = false;
    stele_groups_stop(node->groups, &task);
    fakecluster_linearize(&node->cluster);
    run(world);
    CHECK(stopped);
    stele_groups_destroy(node->groups);
    stele_hub_destroy(node->hub);
    CHECK(node->cluster.watches == NULL);
    run(world);
}

static void deinit(struct world *world)
{
    stop(world, &world->nodes[0]);
    stop(world, &world->nodes[1]);
    memengine_destroy(world->mem);
    CHECK_EQ(world->alloc.bytes, 0);
}

/* Which of the two leads; -1: none, 2: both believe it. */
static void lead(struct world *world, int which)
{
    /* Who stops is told first, as it would be most of the time. */
    for (int pass = 0; pass < 2; pass++) {
        for (int i = 0; i < 2; i++) {
            const bool leads = which == i || which == 2;
            if (leads == (pass == 1)) {
                fakecluster_lead(&world->nodes[i].cluster, leads ? 1 : which < 0 ? 3 : 0);
            }
        }
    }
    run(world);
}

/* ---- Asking ---- */

static struct stele_group_settings defaults(void)
{
    return (struct stele_group_settings){.strategy = STELE_GROUP_ROUND_ROBIN,
                                         .max_retry_count = 1000, /* Nothing is parked. */
                                         .min_checkpoint_count = 1,
                                         .max_checkpoint_count = 20,
                                         .live_buffer_size = 50,
                                         .history_buffer_size = 50,
                                         .read_batch_size = 10,
                                         .checkpoint_after_us = 1000000};
}

struct question {
    struct stele_groups_request request;
    bool answered;
};

static void on_done(struct stele_groups_request *request)
{
    ((struct question *)(void *)request)->answered = true;
}

static void begin(struct world *world, int node, struct question *question,
                  enum stele_groups_what what, const char *stream, const char *group)
{
    *question = (struct question){.request = {.what = what,
                                              .stream = stream,
                                              .group = group,
                                              .user = "admin",
                                              .settings = defaults(),
                                              .stop_at = UINT64_MAX,
                                              .loop = &world->loop.loop,
                                              .on_done = on_done}};
    stele_groups_ask(world->nodes[node].groups, &question->request);
    run(world);
}

static int end(struct question *question)
{
    CHECK(question->answered);
    stele_groups_request_deinit(&question->request);
    return question->request.outcome;
}

static int ask(struct world *world, int node, enum stele_groups_what what, const char *stream,
               const char *group)
{
    struct question question;
    begin(world, node, &question, what, stream, group);
    return end(&question);
}

/* ---- Consuming ---- */

struct consumer {
    struct stele_consumer *handle;
    bool confirmed, auto_ack;
    int ended;
    size_t count;
    uint8_t ids[256][16];
    uint64_t revisions[256];
};

static void on_confirmed(void *context)
{
    ((struct consumer *)context)->confirmed = true;
}

static void on_event(void *context, struct stele_group_event *event, uint32_t retries)
{
    struct consumer *consumer = context;
    (void)retries;
    CHECK(consumer->count < 256);
    memcpy(consumer->ids[consumer->count], stele_group_event_id(event), 16);
    consumer->revisions[consumer->count++] = event->event.revision;
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

static void consume(struct world *world, int node, struct consumer *consumer, bool auto_ack)
{
    struct stele_error err;
    const struct stele_consumer_options options = {
        .stream = "s", .group = "g", .from = "x", .user = "me", .buffer_size = 10};
    *consumer = (struct consumer){.auto_ack = auto_ack};
    CHECK_OK(stele_consumer_start(world->nodes[node].groups, &world->loop.loop, &options,
                                  &callbacks, consumer, &consumer->handle, &err),
             err);
    run(world);
}

static void leave(struct world *world, struct consumer *consumer)
{
    stele_consumer_stop(consumer->handle);
    consumer->handle = NULL;
    run(world);
}

static void put_many(struct world *world, int count)
{
    for (int i = 0; i < count; i++) {
        (void)memengine_put(world->mem, "s", "Happened", "{}");
    }
    run(world);
}

/* Events that groups have written, of whatever kind. */
static uint64_t written(struct world *world)
{
    static const char *const streams[] = {"$persistentSubscriptionConfig",
                                          "$persistentsubscription-s::g-checkpoint",
                                          "$persistentsubscription-s::g-parked"};
    uint64_t count = 0;
    for (size_t i = 0; i < sizeof streams / sizeof streams[0]; i++) {
        struct stele_stream_info info;
        struct stele_engine *engine = &world->mem->engine;
        if (engine->ops->stream_info(engine, streams[i], &info, NULL) == STELE_OK) {
            count += info.revision_last + 1;
        }
    }
    return count;
}

/* ---- */

TEST(without_leadership_everything_is_elsewhere_and_nothing_is_written)
{
    static struct world world;
    struct consumer consumer;
    init(&world, 1);
    lead(&world, 0);
    CHECK_EQ(ask(&world, 1, STELE_GROUPS_CREATE, "s", "g"), STELE_GROUPS_ELSEWHERE);
    CHECK_EQ(ask(&world, 1, STELE_GROUPS_LIST, NULL, NULL), STELE_GROUPS_ELSEWHERE);
    CHECK_EQ(ask(&world, 1, STELE_GROUPS_RESTART, NULL, NULL), STELE_GROUPS_ELSEWHERE);
    consume(&world, 1, &consumer, false);
    CHECK(!consumer.confirmed);
    CHECK_EQ(consumer.ended, STELE_GROUPS_ELSEWHERE);
    CHECK_EQ(written(&world), 0);
    CHECK_EQ(ask(&world, 0, STELE_GROUPS_CREATE, "s", "g"), STELE_OK);
    CHECK_EQ(ask(&world, 1, STELE_GROUPS_INFO, "s", "g"), STELE_GROUPS_ELSEWHERE);
    CHECK_EQ(ask(&world, 0, STELE_GROUPS_INFO, "s", "g"), STELE_OK);
    deinit(&world);
}

TEST(the_next_leader_goes_on_where_the_last_one_has_written_that_it_was)
{
    static struct world world;
    struct consumer a;
    struct consumer b;
    init(&world, 2);
    lead(&world, 0);
    CHECK_EQ(ask(&world, 0, STELE_GROUPS_CREATE, "s", "g"), STELE_OK);
    consume(&world, 0, &a, false);
    put_many(&world, 8);
    CHECK_EQ(a.count, 8);
    stele_consumer_ack(a.handle, a.ids[0], 5);
    run(&world);
    pass_time(&world, 2); /* The checkpoint. */
    stele_consumer_ack(a.handle, a.ids[5], 1);
    run(&world);
    const uint64_t before = written(&world);
    lead(&world, 1);
    CHECK_EQ(a.ended, STELE_GROUPS_ELSEWHERE);
    CHECK_EQ(written(&world), before); /* No last checkpoint: another node may have written one. */
    pass_time(&world, 5);
    CHECK_EQ(written(&world), before);
    consume(&world, 1, &b, true);
    CHECK(b.confirmed);
    CHECK_EQ(b.count, 3); /* Acknowledged, and not written down: once more. */
    CHECK_EQ(b.revisions[0], 5);
    put_many(&world, 2);
    CHECK_EQ(b.count, 5);
    CHECK_EQ(b.revisions[4], 9);
    leave(&world, &b);
    deinit(&world);
}

TEST(a_new_leader_takes_over_when_it_has_seen_what_was_acknowledged_and_who_asks_meanwhile_waits)
{
    static struct world world;
    struct consumer consumer;
    struct consumer early;
    struct question question;
    init(&world, 3);
    lead(&world, 0);
    CHECK_EQ(ask(&world, 0, STELE_GROUPS_CREATE, "s", "g"), STELE_OK);
    world.nodes[1].cluster.hold_linearizing = true;
    lead(&world, 1);
    begin(&world, 1, &question, STELE_GROUPS_INFO, "s", "g");
    consume(&world, 1, &consumer, true);
    consume(&world, 1, &early, true);
    CHECK(!question.answered);
    CHECK(!consumer.confirmed);
    leave(&world, &early); /* Before it was let in. */
    struct question now;
    now = (struct question){.request = {.what = STELE_GROUPS_LIST,
                                        .all_streams = true,
                                        .at_once = true,
                                        .loop = &world.loop.loop,
                                        .on_done = on_done}};
    stele_groups_ask(world.nodes[1].groups, &now.request);
    run(&world);
    CHECK_EQ(end(&now), STELE_GROUPS_ELSEWHERE);
    put_many(&world, 3);
    world.nodes[1].cluster.hold_linearizing = false;
    fakecluster_linearize(&world.nodes[1].cluster);
    run(&world);
    CHECK_EQ(end(&question), STELE_OK);
    CHECK(consumer.confirmed);
    CHECK_EQ(consumer.count, 3);
    CHECK_EQ(early.ended, 0);
    leave(&world, &consumer);
    deinit(&world);
}

TEST(what_was_seen_in_an_earlier_time_of_leading_does_not_count)
{
    static struct world world;
    struct question question;
    init(&world, 4);
    world.nodes[0].cluster.hold_linearizing = true;
    lead(&world, 0);
    begin(&world, 0, &question, STELE_GROUPS_LIST, "s", NULL);
    lead(&world, 1);
    CHECK_EQ(end(&question), STELE_GROUPS_ELSEWHERE);
    CHECK_EQ(ask(&world, 1, STELE_GROUPS_CREATE, "s", "g"), STELE_OK);
    lead(&world, 0);
    begin(&world, 0, &question, STELE_GROUPS_LIST, "s", NULL);
    CHECK_EQ(world.nodes[0].cluster.linearized, 1); /* Still the first one. */
    fakecluster_linearize(&world.nodes[0].cluster);
    run(&world);
    CHECK_EQ(world.nodes[0].cluster.linearized, 2);
    CHECK(!question.answered);
    fakecluster_linearize(&world.nodes[0].cluster);
    run(&world);
    CHECK_EQ(end(&question), STELE_OK);
    deinit(&world);
}

TEST(taking_over_that_fails_is_refused_and_tried_again)
{
    static struct world world;
    init(&world, 5);
    world.nodes[0].cluster.linearize_outcome = STELE_TIMED_OUT;
    lead(&world, 0);
    CHECK_EQ(ask(&world, 0, STELE_GROUPS_CREATE, "s", "g"), STELE_E_OVERLOADED);
    world.nodes[0].cluster.linearize_outcome = STELE_OK;
    pass_time(&world, 1);
    CHECK_EQ(ask(&world, 0, STELE_GROUPS_CREATE, "s", "g"), STELE_OK);
    lead(&world, -1);
    (void)memengine_put(world.mem, "$persistentSubscriptionConfig", "$PersistentConfig", "[7");
    lead(&world, 0);
    CHECK_EQ(ask(&world, 0, STELE_GROUPS_INFO, "s", "g"), STELE_E_CORRUPT);
    pass_time(&world, 1);
    CHECK_EQ(ask(&world, 0, STELE_GROUPS_INFO, "s", "g"), STELE_E_CORRUPT);
    (void)memengine_put(world.mem, "$persistentSubscriptionConfig", "$PersistentConfig",
                        "{\"entries\":[]}");
    pass_time(&world, 1);
    CHECK_EQ(ask(&world, 0, STELE_GROUPS_INFO, "s", "g"), STELE_NOT_FOUND);
    deinit(&world);
}

TEST(a_change_that_was_on_its_way_when_leadership_went_is_answered_with_what_became_of_it)
{
    static const enum stele_groups_what changes[] = {STELE_GROUPS_CREATE, STELE_GROUPS_UPDATE,
                                                     STELE_GROUPS_DELETE};
    for (size_t i = 0; i < 3; i++) {
        for (int failing = 0; failing < 2; failing++) {
            static struct world world;
            struct question under_way;
            struct question waiting;
            init(&world, 6);
            lead(&world, 0);
            const bool creates = changes[i] == STELE_GROUPS_CREATE;
            if (!creates) {
                CHECK_EQ(ask(&world, 0, STELE_GROUPS_CREATE, "s", "g"), STELE_OK);
            }
            world.mem->hold = true;
            world.mem->lose_appends = failing == 1;
            begin(&world, 0, &under_way, changes[i], "s", "g");
            begin(&world, 0, &waiting, STELE_GROUPS_CREATE, "s", "h");
            CHECK(!under_way.answered);
            lead(&world, -1);
            CHECK_EQ(end(&waiting), STELE_GROUPS_ELSEWHERE);
            CHECK(!under_way.answered);
            world.mem->hold = false;
            memengine_commit(world.mem);
            run(&world);
            world.mem->lose_appends = false;
            CHECK_EQ(end(&under_way), failing == 1 ? STELE_E_UNKNOWN : STELE_OK);
            lead(&world, 1);
            const bool gone =
                changes[i] == STELE_GROUPS_DELETE ? failing == 0 : creates && failing == 1;
            CHECK_EQ(ask(&world, 1, STELE_GROUPS_INFO, "s", "g"),
                     gone ? STELE_NOT_FOUND : STELE_OK);
            deinit(&world);
        }
    }
}

TEST(of_two_nodes_that_believe_to_lead_neither_takes_back_what_the_other_has_changed)
{
    static struct world world;
    init(&world, 7);
    lead(&world, 2);
    CHECK_EQ(ask(&world, 0, STELE_GROUPS_CREATE, "s", "g"), STELE_OK);
    CHECK_EQ(ask(&world, 1, STELE_GROUPS_CREATE, "s", "h"), STELE_OK);
    CHECK_EQ(ask(&world, 1, STELE_GROUPS_CREATE, "s", "g"), STELE_GROUPS_EXISTS);
    CHECK_EQ(ask(&world, 0, STELE_GROUPS_UPDATE, "s", "g"), STELE_OK);
    CHECK_EQ(ask(&world, 0, STELE_GROUPS_DELETE, "s", "h"), STELE_OK);
    CHECK_EQ(ask(&world, 1, STELE_GROUPS_UPDATE, "s", "h"), STELE_NOT_FOUND);
    CHECK_EQ(ask(&world, 1, STELE_GROUPS_CREATE, "s", "i"), STELE_OK);
    lead(&world, 1);
    CHECK_EQ(ask(&world, 1, STELE_GROUPS_INFO, "s", "g"), STELE_OK);
    CHECK_EQ(ask(&world, 1, STELE_GROUPS_INFO, "s", "h"), STELE_NOT_FOUND);
    CHECK_EQ(ask(&world, 1, STELE_GROUPS_INFO, "s", "i"), STELE_OK);
    deinit(&world);
}

TEST(a_leader_finds_within_a_second_what_an_earlier_one_has_written_late)
{
    static struct world world;
    init(&world, 8);
    lead(&world, 2);
    CHECK_EQ(ask(&world, 0, STELE_GROUPS_CREATE, "s", "g"), STELE_OK);
    lead(&world, 1);
    pass_time(&world, 2);
    CHECK_EQ(ask(&world, 1, STELE_GROUPS_INFO, "s", "g"), STELE_OK);
    deinit(&world);
}

TEST(a_role_that_was_not_told_of_yet_is_noticed_by_whoever_asks)
{
    static struct world world;
    struct consumer consumer;
    init(&world, 9);
    lead(&world, 0);
    CHECK_EQ(ask(&world, 0, STELE_GROUPS_CREATE, "s", "g"), STELE_OK);
    consume(&world, 0, &consumer, true);
    world.nodes[0].cluster.leads = false;
    CHECK_EQ(ask(&world, 0, STELE_GROUPS_INFO, "s", "g"), STELE_GROUPS_ELSEWHERE);
    CHECK_EQ(consumer.ended, STELE_GROUPS_ELSEWHERE);
    world.nodes[0].cluster.leads = true;
    CHECK_EQ(ask(&world, 0, STELE_GROUPS_INFO, "s", "g"), STELE_OK);
    deinit(&world);
}

TEST(stopping_while_taking_over_waits_for_what_was_asked_and_answers_who_waits)
{
    static struct world world;
    struct consumer consumer;
    struct question question;
    init(&world, 10);
    world.nodes[0].cluster.hold_linearizing = true;
    lead(&world, 0);
    begin(&world, 0, &question, STELE_GROUPS_LIST, "s", NULL);
    consume(&world, 0, &consumer, true);
    deinit(&world);
    CHECK_EQ(question.request.outcome, STELE_E_CLOSED);
    CHECK(question.answered);
    CHECK_EQ(consumer.ended, STELE_E_CLOSED);
}

/* However leadership goes to and fro, every event is acknowledged in the end, and what is handed out
 * again is only what no checkpoint covers. */
TEST(no_event_is_lost_however_often_leadership_changes)
{
    for (uint64_t seed = 1; seed <= 40; seed++) {
        static struct world world;
        static bool acked[256];
        struct consumer consumers[2] = {{.count = 0}, {.count = 0}};
        struct rng rng;
        uint64_t events = 0;
        memset(acked, 0, sizeof acked);
        rng_init(&rng, seed, 0);
        init(&world, seed);
        lead(&world, 0);
        CHECK_EQ(ask(&world, 0, STELE_GROUPS_CREATE, "s", "g"), STELE_OK);
        for (int step = 0; step < 200; step++) {
            const int node = (int)rng_below(&rng, 2);
            struct consumer *consumer = &consumers[node];
            switch (rng_below(&rng, 8)) {
            case 0:
                lead(&world, (int)rng_below(&rng, 4) - 1);
                break;
            case 1:
            case 2:
                if (events < 100) {
                    put_many(&world, 1);
                    events++;
                }
                break;
            case 3:
                if (consumer->handle == NULL) {
                    consume(&world, node, consumer, false);
                }
                break;
            case 4:
                pass_time(&world, 1);
                break;
            case 5:
                if (consumer->handle != NULL) {
                    leave(&world, consumer);
                }
                break;
            default:
                for (size_t i = 0; i < consumer->count && consumer->handle != NULL; i++) {
                    acked[consumer->revisions[i]] = true;
                    stele_consumer_ack(consumer->handle, consumer->ids[i], 1);
                }
                consumer->count = 0;
                run(&world);
                break;
            }
        }
        for (int i = 0; i < 2; i++) {
            leave(&world, &consumers[i]);
        }
        lead(&world, 1);
        pass_time(&world, 5);
        struct consumer last;
        consume(&world, 1, &last, true);
        pass_time(&world, 20);
        for (size_t i = 0; i < last.count; i++) {
            acked[last.revisions[i]] = true;
        }
        for (uint64_t i = 0; i < events; i++) {
            CHECK(acked[i]);
        }
        leave(&world, &last);
        deinit(&world);
    }
}
