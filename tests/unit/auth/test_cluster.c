/* In a cluster the first users are stored once: by the node that leads, decided by the store, and its
 * passwords are the ones that are told.
 *
 * Method: two nodes with one store, each with its users and a cluster that the test makes say who
 * leads; also both at once. */
#include "auth/auth.h"
#include "lib/check.h"
#include "lib/fakecluster.h"
#include "lib/memengine.h"
#include "lib/miniloop.h"
#include "lib/testalloc.h"

struct node {
    struct fakecluster cluster;
    struct stele_auth *auth;
    size_t told;
    char passwords[2][64];
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

static void pass_time(struct world *world, int64_t us)
{
    run(world);
    miniloop_advance(&world->loop, us);
    run(world);
}

static void on_first_password(void *context, const char *login, const char *password)
{
    struct node *node = context;
    CHECK(node->told < 2);
    CHECK_TEXT_EQ(login, node->told == 0 ? "admin" : "ops");
    (void)snprintf(node->passwords[node->told++], 64, "%s", password);
}

static void start(struct world *world, struct node *node)
{
    struct stele_error err;
    const struct stele_auth_options options = {.cluster = &node->cluster.cluster,
                                               .hash_on_loop = true,
                                               .password_memory = 8192,
                                               .password_passes = 1,
                                               .on_first_password = on_first_password,
                                               .context = node};
    CHECK_OK(stele_auth_create(&world->mem->engine, &world->loop.loop, &options, &node->auth, &err),
             err);
    run(world);
}

static void init(struct world *world, uint64_t seed)
{
    *world = (struct world){.mem = NULL};
    testalloc_init(&world->alloc, seed);
    miniloop_init(&world->loop, &world->alloc.base, seed);
    world->mem = memengine_create(&world->loop.loop, &world->alloc.base, seed);
    for (int i = 0; i < 2; i++) {
        fakecluster_init(&world->nodes[i].cluster);
        start(world, &world->nodes[i]);
    }
}

static void deinit(struct world *world)
{
    run(world);
    for (int i = 0; i < 2; i++) {
        stele_auth_destroy(world->nodes[i].auth);
        CHECK(world->nodes[i].cluster.watches == NULL);
        fakecluster_linearize(&world->nodes[i].cluster);
    }
    run(world);
    memengine_destroy(world->mem);
    CHECK_EQ(world->alloc.bytes, 0);
}

struct question {
    struct stele_auth_question question;
    bool answered;
    int outcome;
    bool is_admin;
};

static void on_answer(struct stele_auth_question *asked, int outcome,
                      struct stele_principal *principal)
{
    struct question *question = (struct question *)(void *)asked;
    question->answered = true;
    question->outcome = outcome;
    question->is_admin = outcome == STELE_OK && principal->is_admin;
    if (outcome == STELE_OK) {
        stele_principal_unref(principal);
    }
}

/* admin:password of that node; whatever it is by then. */
static void ask(struct world *world, int node, struct question *question, const char *password)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    static char header[2][256];
    char plain[128];
    const size_t size = (size_t)snprintf(plain, sizeof plain, "admin:%s", password);
    char *to = header[node] + sprintf(header[node], "Basic ");
    for (size_t i = 0; i < size; i += 3) {
        const uint32_t bits = (uint32_t)(uint8_t)plain[i] << 16 |
                              (i + 1 < size ? (uint32_t)(uint8_t)plain[i + 1] << 8 : 0) |
                              (i + 2 < size ? (uint8_t)plain[i + 2] : 0);
        *to++ = digits[bits >> 18];
        *to++ = digits[bits >> 12 & 63];
        *to++ = i + 1 < size ? digits[bits >> 6 & 63] : '=';
        *to++ = i + 2 < size ? digits[bits & 63] : '=';
    }
    *question = (struct question){
        .question = {.loop = &world->loop.loop,
                     .authorization = {.data = header[node], .size = (size_t)(to - header[node])},
                     .peer = "127.0.0.1",
                     .is_tls = true,
                     .on_answer = on_answer}};
    stele_auth_ask(world->nodes[node].auth, &question->question);
    run(world);
}

static uint64_t count_of(struct world *world, const char *stream)
{
    struct stele_stream_info info;
    return world->mem->engine.ops->stream_info(&world->mem->engine, stream, &info, NULL) == STELE_OK
               ? info.revision_last + 1
               : 0;
}

/* ---- */

TEST(nobody_makes_users_until_somebody_leads_and_then_that_node_does_for_all)
{
    static struct world world;
    struct question waiting;
    struct question after;
    init(&world, 1);
    ask(&world, 0, &waiting, "guess");
    pass_time(&world, 5000000);
    CHECK(!waiting.answered);
    CHECK_EQ(count_of(&world, "$user-admin"), 0);
    fakecluster_lead(&world.nodes[1].cluster, 1);
    fakecluster_lead(&world.nodes[0].cluster, 0);
    pass_time(&world, 100000);
    CHECK_EQ(world.nodes[1].told, 2);
    CHECK_EQ(world.nodes[0].told, 0);
    CHECK_EQ(count_of(&world, "$user-admin"), 1);
    CHECK_EQ(count_of(&world, "$user-ops"), 1);
    CHECK_EQ(count_of(&world, "$users"), 2);
    CHECK(waiting.answered);
    CHECK_EQ(waiting.outcome, STELE_E_PERMISSION);
    for (int node = 0; node < 2; node++) {
        ask(&world, node, &after, world.nodes[1].passwords[0]);
        CHECK(after.answered);
        CHECK_EQ(after.outcome, STELE_OK);
        CHECK(after.is_admin);
    }
    deinit(&world);
}

TEST(of_two_nodes_that_believe_to_lead_one_makes_the_users_and_tells)
{
    for (uint64_t seed = 1; seed <= 20; seed++) {
        static struct world world;
        init(&world, seed);
        world.mem->hold = seed % 2 == 0; /* Both have looked before either has stored. */
        fakecluster_lead(&world.nodes[seed % 3 == 0].cluster, 1);
        if (seed % 5 > 1) {
            run(&world);
        }
        fakecluster_lead(&world.nodes[seed % 3 != 0].cluster, 1);
        run(&world);
        world.mem->hold = false;
        memengine_commit(world.mem);
        pass_time(&world, 2000000);
        CHECK_EQ(world.nodes[0].told + world.nodes[1].told, 2);
        CHECK(world.nodes[0].told != 1);
        CHECK_EQ(count_of(&world, "$user-admin"), 1);
        CHECK_EQ(count_of(&world, "$users"), 2);
        const int maker = world.nodes[0].told == 2 ? 0 : 1;
        struct question question;
        ask(&world, 1 - maker, &question, world.nodes[maker].passwords[0]);
        CHECK_EQ(question.outcome, STELE_OK);
        deinit(&world);
    }
}

TEST(a_leader_looks_after_it_has_seen_what_an_earlier_one_has_stored)
{
    static struct world world;
    init(&world, 3);
    world.nodes[0].cluster.hold_linearizing = true;
    fakecluster_lead(&world.nodes[0].cluster, 1);
    pass_time(&world, 3000000);
    CHECK_EQ(count_of(&world, "$user-admin"), 0);
    (void)memengine_put(world.mem, "$user-admin", "$UserCreated",
                        "{\"loginName\":\"admin\",\"fullName\":\"\",\"groups\":[\"$admins\"],"
                        "\"hash\":\"x\",\"salt\":\"\",\"disabled\":false}");
    fakecluster_linearize(&world.nodes[0].cluster);
    pass_time(&world, 3000000);
    CHECK_EQ(count_of(&world, "$user-admin"), 1);
    CHECK_EQ(world.nodes[0].told, 0);
    deinit(&world);
}

TEST(who_does_not_know_whether_the_users_were_stored_asks_again_and_tells_their_passwords)
{
    for (uint32_t failures = 1; failures <= 4; failures++) {
        static struct world world;
        init(&world, 4);
        world.mem->fail_appends = failures; /* Every other one is stored all the same. */
        fakecluster_lead(&world.nodes[0].cluster, 1);
        run(&world);
        fakecluster_lead(&world.nodes[0].cluster, 2); /* Also if it leads no more. */
        for (int i = 0; i < 8; i++) {
            pass_time(&world, 1000000);
        }
        CHECK_EQ(world.nodes[0].told, 2);
        CHECK_EQ(count_of(&world, "$user-admin"), 1);
        CHECK_EQ(count_of(&world, "$users"), 2);
        struct question question;
        ask(&world, 1, &question, world.nodes[0].passwords[0]);
        CHECK_EQ(question.outcome, STELE_OK);
        deinit(&world);
    }
}

TEST(it_can_end_at_any_moment)
{
    for (int when = 0; when < 3; when++) {
        static struct world world;
        init(&world, 5);
        if (when > 0) {
            world.nodes[0].cluster.hold_linearizing = when == 1;
            world.mem->hold = when == 2;
            fakecluster_lead(&world.nodes[0].cluster, 1);
            run(&world);
        }
        stele_auth_destroy(world.nodes[0].auth);
        world.nodes[0].auth = NULL;
        fakecluster_linearize(&world.nodes[0].cluster);
        world.mem->hold = false;
        memengine_commit(world.mem);
        run(&world);
        deinit(&world);
    }
}
