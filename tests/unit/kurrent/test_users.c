/* The Users service does what its callers may ask for, and fails as clients expect.
 *
 * Method: the service and the real src/auth on a store of their own; messages are made and read by
 * protobuf-c. */
#include "api/kurrent/kurrent_internal.h"
#include "api/member/alone.h"
#include "io/linux.h"
#include "lib/check.h"
#include "lib/fakegrpc.h"
#include "lib/scratch.h"
#include "messages.h"
#include "server/engine.h"

#define USERS "/event_store.client.users.Users/"
#define ADMIN "Basic YWRtaW46YWRtaW4tcGFzc3dvcmQ=" /* admin:admin-password */
#define OPS "Basic b3BzOm9wcy1wYXNzd29yZA=="       /* ops:ops-password */
#define ADA "Basic YWRhOmFkYS1wYXNzd29yZA=="       /* ada:ada-password */

struct world {
    struct scratch scratch;
    struct stele *store;
    struct stele_engine *engine;
    struct fake_loop loop;
    struct stele_auth *auth;
    struct stele_server server;
    struct stele_alone alone;
    struct stele_grpc *grpc;
};

static void rest(struct world *world)
{
    while (fake_loop_run(&world->loop) > 0) {
    }
}

static void open_world(struct world *world)
{
    struct stele_error err;
    const struct stele_auth_options options = {.hash_on_loop = true,
                                               .password_memory = 8192,
                                               .password_passes = 1,
                                               .admin_password = "admin-password",
                                               .ops_password = "ops-password"};
    *world = (struct world){.store = NULL};
    scratch_make(&world->scratch);
    fake_loop_init(&world->loop, stele_linux_alloc());
    CHECK_OK(stele_open(world->scratch.path, NULL, &world->store, &err), err);
    CHECK_OK(stele_engine_create(world->store, world->loop.loop.alloc, &world->engine, &err), err);
    CHECK_OK(stele_auth_create(world->engine, &world->loop.loop, &options, &world->auth, &err),
             err);
    world->server = (struct stele_server){.alloc = world->loop.loop.alloc,
                                          .engine = world->engine,
                                          .auth = world->auth,
                                          .home = &world->loop.loop,
                                          .cluster = &world->alone.cluster};
    stele_alone_init(&world->alone, &world->server);
    struct stele_grpc_table table = {.methods = {NULL}};
    stele_kurrent_users_register(&table);
    CHECK_EQ(stele_grpc_create(&world->server, world->auth, &table, world->loop.loop.alloc,
                               &world->grpc),
             0);
}

static void close_world(struct world *world)
{
    /* Audits may still be on their way. */
    while (fake_loop_wait_for(&world->loop, 1) > 0) {
    }
    stele_grpc_destroy(world->grpc);
    stele_auth_destroy(world->auth);
    while (stele_engine_wind_down(world->engine) > 0) {
        (void)fake_loop_wait(&world->loop);
    }
    rest(world);
    stele_engine_destroy(world->engine);
    CHECK_EQ(stele_close(world->store), 0);
    fake_loop_deinit(&world->loop);
    scratch_remove(&world->scratch);
}

static void pack_and_send(struct world *world, struct stele_exchange *exchange, const void *message)
{
    uint8_t bytes[8192];
    CHECK(protobuf_c_message_get_packed_size(message) <= sizeof bytes);
    const size_t size = protobuf_c_message_pack(message, bytes);
    fake_send(world->grpc, exchange, bytes, size);
}

/* Waits for the end of a call: who is calling may have to be read from the store first. */
static int status_of(struct world *world, struct stele_exchange *exchange)
{
    rest(world);
    for (int i = 0; fake_status(exchange) < 0; i++) {
        CHECK(i < 1000);
        (void)fake_loop_wait(&world->loop);
    }
    return fake_status(exchange);
}

/* The status; the answers stay in the exchange. */
static int call(struct world *world, struct stele_exchange *exchange, const char *method,
                const char *who, const void *message)
{
    char path[128];
    (void)snprintf(path, sizeof path, USERS "%s", method);
    fake_request(exchange, &world->loop, path, who);
    stele_grpc_on_request(world->grpc, exchange);
    pack_and_send(world, exchange, message);
    stele_grpc_on_end(world->grpc, exchange);
    return status_of(world, exchange);
}

static char *mutable(const char *text)
{
    return (char *)(uintptr_t)text; /* protobuf-c does not write to what it packs. */
}

static struct stele_exchange exchange; /* Of the last call. */
static bool exchange_open;

static int answered(struct world *world, const char *method, const char *who, const void *message)
{
    if (exchange_open) {
        fake_close(world->grpc, &exchange);
    }
    exchange_open = true;
    return call(world, &exchange, method, who, message);
}

static void close_last(struct world *world)
{
    fake_close(world->grpc, &exchange);
    exchange_open = false;
    close_world(world);
}

static int create(struct world *world, const char *who, const char *login, const char *password,
                  const char *group)
{
    EventStore__Client__Users__CreateReq__Options options =
        EVENT_STORE__CLIENT__USERS__CREATE_REQ__OPTIONS__INIT;
    EventStore__Client__Users__CreateReq request = EVENT_STORE__CLIENT__USERS__CREATE_REQ__INIT;
    char *groups[] = {mutable(group)};
    options.login_name = mutable(login);
    options.password = mutable(password);
    options.full_name = mutable("Full Name");
    options.groups = groups;
    options.n_groups = group == NULL ? 0 : 1;
    request.options = &options;
    return answered(world, "Create", who, &request);
}

/* Delete, Enable, Disable and Details have the same shape. */
static int by_login(struct world *world, const char *method, const char *who, const char *login)
{
    EventStore__Client__Users__DeleteReq__Options options =
        EVENT_STORE__CLIENT__USERS__DELETE_REQ__OPTIONS__INIT;
    EventStore__Client__Users__DeleteReq request = EVENT_STORE__CLIENT__USERS__DELETE_REQ__INIT;
    options.login_name = mutable(login);
    request.options = &options;
    return answered(world, method, who, &request);
}

static int change_password(struct world *world, const char *who, const char *login,
                           const char *current, const char *new_password)
{
    EventStore__Client__Users__ChangePasswordReq__Options options =
        EVENT_STORE__CLIENT__USERS__CHANGE_PASSWORD_REQ__OPTIONS__INIT;
    EventStore__Client__Users__ChangePasswordReq request =
        EVENT_STORE__CLIENT__USERS__CHANGE_PASSWORD_REQ__INIT;
    options.login_name = mutable(login);
    options.current_password = mutable(current);
    options.new_password = mutable(new_password);
    request.options = &options;
    return answered(world, "ChangePassword", who, &request);
}

static int reset_password(struct world *world, const char *who, const char *login,
                          const char *new_password)
{
    EventStore__Client__Users__ResetPasswordReq__Options options =
        EVENT_STORE__CLIENT__USERS__RESET_PASSWORD_REQ__OPTIONS__INIT;
    EventStore__Client__Users__ResetPasswordReq request =
        EVENT_STORE__CLIENT__USERS__RESET_PASSWORD_REQ__INIT;
    options.login_name = mutable(login);
    options.new_password = mutable(new_password);
    request.options = &options;
    return answered(world, "ResetPassword", who, &request);
}

/* The next details of the last answer; NULL: none. */
static EventStore__Client__Users__DetailsResp *next_details(void)
{
    struct stele_bytes bytes;
    if (!fake_next(&exchange, &bytes)) {
        return NULL;
    }
    return event_store__client__users__details_resp__unpack(NULL, bytes.size, bytes.data);
}

static void free_details(EventStore__Client__Users__DetailsResp *details)
{
    event_store__client__users__details_resp__free_unpacked(details, NULL);
}

static void check_answer(int status, int want, const char *message, const char *exception)
{
    CHECK_EQ(status, want);
    CHECK_TEXT_EQ(fake_answer(&exchange, "grpc-message"), message);
    CHECK_TEXT_EQ(fake_answer(&exchange, "exception"), exception);
}

TEST(a_created_user_is_shown_with_everything_but_the_password)
{
    struct world world;
    open_world(&world);
    check_answer(create(&world, ADMIN, "ada", "ada-password", "readers"), 0, "", "");
    CHECK_EQ(by_login(&world, "Details", ADMIN, "ada"), 0);
    EventStore__Client__Users__DetailsResp *details = next_details();
    CHECK(details != NULL);
    CHECK_TEXT_EQ(details->user_details->login_name, "ada");
    CHECK_TEXT_EQ(details->user_details->full_name, "Full Name");
    CHECK_EQ(details->user_details->n_groups, 1);
    CHECK_TEXT_EQ(details->user_details->groups[0], "readers");
    CHECK(!details->user_details->disabled);
    CHECK(details->user_details->last_updated->ticks_since_epoch > INT64_C(17000000000000000));
    free_details(details);
    CHECK(next_details() == NULL);
    close_last(&world);
}

TEST(failures_have_the_texts_and_trailers_of_the_protocol)
{
    struct world world;
    open_world(&world);
    CHECK_EQ(create(&world, ADMIN, "ada", "ada-password", NULL), 0);
    check_answer(create(&world, ADMIN, "ada", "ada-password", NULL), 9, "Conflict.",
                 "user-conflict");
    CHECK_TEXT_EQ(fake_answer(&exchange, "login-name"), "ada");
    check_answer(by_login(&world, "Delete", ADMIN, "bob"), 5, "User 'bob' is not found.",
                 "user-not-found");
    CHECK_TEXT_EQ(fake_answer(&exchange, "login-name"), "bob");
    check_answer(by_login(&world, "Details", ADMIN, "bob"), 5, "User 'bob' is not found.",
                 "user-not-found");
    check_answer(by_login(&world, "Enable", ADMIN, ""), 5, "User '' is not found.",
                 "user-not-found");
    CHECK_EQ(create(&world, ADMIN, "eve", "short", NULL), 3);
    CHECK_EQ(create(&world, ADMIN, "$admins", "long-enough", NULL), 3);
    check_answer(reset_password(&world, ADMIN, "bob", "long-enough"), 5, "User 'bob' is not found.",
                 "user-not-found");
    check_answer(change_password(&world, ADA, "ada", "wrong", "long-enough"), 7, "Access Denied",
                 "access-denied");
    CHECK_EQ(by_login(&world, "Details", "Basic YWRhOnh4eHh4eHh4", "ada"), 16);
    close_last(&world);
}

TEST(only_administrators_change_others)
{
    struct world world;
    open_world(&world);
    CHECK_EQ(create(&world, ADMIN, "ada", "ada-password", NULL), 0);
    static const char *const callers[] = {NULL, OPS, ADA};
    for (size_t i = 0; i < STELE_COUNT_OF(callers); i++) {
        CHECK(create(&world, callers[i], "eve", "eve-password", "$admins") != 0);
        CHECK(by_login(&world, "Delete", callers[i], "ops") != 0);
        CHECK(by_login(&world, "Disable", callers[i], "ops") != 0);
        CHECK(by_login(&world, "Enable", callers[i], "ops") != 0);
        CHECK(reset_password(&world, callers[i], "admin", "long-enough") != 0);
        CHECK(change_password(&world, callers[i], "admin", "admin-password", "long-enough") != 0);
    }
    CHECK_EQ(by_login(&world, "Details", ADMIN, "eve"), 5);
    CHECK_EQ(by_login(&world, "Details", ADA, "ada"), 0);
    CHECK_EQ(by_login(&world, "Details", ADA, "ops"), 7);
    CHECK_EQ(by_login(&world, "Details", ADA, ""), 7);
    CHECK_EQ(by_login(&world, "Details", OPS, ""), 0);
    CHECK_EQ(by_login(&world, "Details", NULL, ""), 7);
    close_last(&world);
}

TEST(passwords_are_changed_by_their_owner)
{
    struct world world;
    open_world(&world);
    CHECK_EQ(create(&world, ADMIN, "ada", "ada-password", NULL), 0);
    CHECK_EQ(change_password(&world, ADA, "ada", "ada-password", "next-password"), 0);
    CHECK_EQ(by_login(&world, "Details", ADA, "ada"), 16);
    CHECK_EQ(reset_password(&world, ADMIN, "ada", "ada-password"), 0);
    CHECK_EQ(by_login(&world, "Details", ADA, "ada"), 0);
    CHECK_EQ(by_login(&world, "Disable", ADMIN, "ada"), 0);
    CHECK_EQ(by_login(&world, "Details", ADA, "ada"), 16);
    CHECK_EQ(by_login(&world, "Enable", ADMIN, "ada"), 0);
    CHECK_EQ(by_login(&world, "Details", ADA, "ada"), 0);
    CHECK_EQ(by_login(&world, "Delete", ADMIN, "ada"), 0);
    CHECK_EQ(by_login(&world, "Details", ADA, "ada"), 16);
    close_last(&world);
}

TEST(all_users_are_listed_also_through_a_narrow_window)
{
    struct world world;
    open_world(&world);
    CHECK_EQ(create(&world, ADMIN, "ada", "ada-password", NULL), 0);
    CHECK_EQ(by_login(&world, "Details", ADMIN, ""), 0);
    static const char *const logins[] = {"ada", "admin", "ops"};
    for (size_t i = 0; i < STELE_COUNT_OF(logins); i++) {
        EventStore__Client__Users__DetailsResp *details = next_details();
        CHECK(details != NULL);
        CHECK_TEXT_EQ(details->user_details->login_name, logins[i]);
        free_details(details);
    }
    CHECK(next_details() == NULL);
    close_last(&world);
}

TEST(bytes_that_are_no_request_are_refused)
{
    static const struct {
        const char *bytes;
        size_t size;
    } bad[] = {{"\x08\x01", 2},
               {"\x0a\x05", 2},
               {"\x0a\x02\x08\x01", 4},
               {"\x0a\x03\x0a\x01\0", 5},
               {"\xff", 1}};
    struct world world;
    open_world(&world);
    for (size_t i = 0; i < STELE_COUNT_OF(bad); i++) {
        struct stele_exchange request;
        fake_request(&request, &world.loop, USERS "Create", ADMIN);
        stele_grpc_on_request(world.grpc, &request);
        fake_send(world.grpc, &request, bad[i].bytes, bad[i].size);
        CHECK_EQ(status_of(&world, &request), 3);
        fake_close(world.grpc, &request);
    }
    close_world(&world);
}
