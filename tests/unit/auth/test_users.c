/* Who has proved who they are is that user, nobody else is, and it stops with the user's rights.
 *
 * Method: the whole module over a real store, on a loop whose time the test moves. */
#include "world.h"

TEST(the_first_start_makes_two_users_and_tells_their_passwords_once)
{
    struct world world;
    world_make(&world);
    struct stele_auth_options options = world_options(&world);
    options.admin_password = NULL;
    options.ops_password = NULL;
    world_open_auth(&world, &options);
    CHECK_EQ(world.passwords_count, 2);
    CHECK_EQ(strlen(world.passwords[0]), 24);
    struct stele_principal *principal = NULL;
    CHECK_EQ(login_as(&world, "admin", world.passwords[0], &principal), STELE_OK);
    CHECK_TEXT_EQ(principal->name, "admin");
    CHECK(principal->is_admin);
    CHECK(!principal->anonymous);
    stele_principal_unref(principal);
    CHECK_EQ(login_as(&world, "ops", world.passwords[1], &principal), STELE_OK);
    CHECK(principal->is_ops);
    CHECK(!principal->is_admin);
    stele_principal_unref(principal);
    CHECK(strstr(world.log, world.passwords[0]) == NULL);

    stele_auth_destroy(world.auth);
    world_open_auth(&world, &options);
    CHECK_EQ(world.passwords_count, 2);
    CHECK_EQ(login_as(&world, "admin", world.passwords[0], NULL), STELE_OK);
    world_remove(&world);
}

TEST(questions_before_the_first_users_are_stored_wait_for_them)
{
    struct world world;
    world_make(&world);
    const struct stele_auth_options options = world_options(&world);
    struct stele_error err = {0};
    CHECK_OK(stele_auth_create(world.engine, &world.loop, &options, &world.auth, &err), err);
    struct asking asking;
    ask_start(&world, &asking, basic("admin", "admin-password"), NULL, "10.0.0.1");
    CHECK(!asking.done);
    world_until(&world, &asking.done);
    CHECK_EQ(asking.outcome, STELE_OK);
    stele_principal_unref(asking.principal);
    CHECK_EQ(world.passwords_count, 0);
    world_remove(&world);
}

TEST(a_first_password_that_is_too_short_is_refused)
{
    struct world world;
    world_make(&world);
    struct stele_auth_options options = world_options(&world);
    struct stele_error err = {0};
    options.admin_password = "short";
    CHECK_OUTCOME(stele_auth_create(world.engine, &world.loop, &options, &world.auth, &err),
                  STELE_E_INVALID, err);
    CHECK(strstr(err.message, "short\"") == NULL);
    world.auth = NULL;
    world_remove(&world);
}

TEST(no_credentials_are_the_anonymous_caller_at_once)
{
    struct world world;
    world_make(&world);
    const struct stele_auth_options options = world_options(&world);
    world_open_auth(&world, &options);
    struct asking asking;
    ask_start(&world, &asking, NULL, NULL, "10.0.0.1");
    CHECK(asking.at_once);
    CHECK(asking.principal->anonymous);
    CHECK(!asking.principal->all_rights);
    stele_principal_unref(asking.principal);
    world_remove(&world);
}

TEST(insecure_makes_everybody_everything)
{
    struct world world;
    world_make(&world);
    struct stele_auth_options options = world_options(&world);
    options.insecure = true;
    world_open_auth(&world, &options);
    struct stele_stream_info info;
    CHECK_EQ(stele_stream_info(world.store, "$user-admin", &info, NULL), STELE_NO_STREAM);
    struct asking asking;
    ask_start(&world, &asking, "nonsense", NULL, "10.0.0.1");
    CHECK(asking.at_once);
    CHECK(asking.principal->all_rights);
    CHECK(may(&world, asking.principal, "$all", STELE_RIGHT_READ));
    stele_principal_unref(asking.principal);
    world_remove(&world);
}

TEST(a_known_proof_is_answered_at_once_until_it_expires)
{
    struct world world;
    world_make(&world);
    struct stele_auth_options options = world_options(&world);
    options.proof_seconds = 60;
    world_open_auth(&world, &options);
    CHECK_EQ(login_as(&world, "admin", "admin-password", NULL), STELE_OK);
    struct asking asking;
    ask_start(&world, &asking, basic("admin", "admin-password"), NULL, "10.0.0.1");
    CHECK(asking.at_once);
    stele_principal_unref(asking.principal);
    world_pass(&world, INT64_C(61000000));
    ask_start(&world, &asking, basic("admin", "admin-password"), NULL, "10.0.0.1");
    CHECK(!asking.at_once);
    world_until(&world, &asking.done);
    CHECK_EQ(asking.outcome, STELE_OK);
    stele_principal_unref(asking.principal);
    world_remove(&world);
}

TEST(malformed_credentials_are_refused)
{
    static const char *const headers[] = {
        "",       "Basic",          "Basic ",         "Basic !!!!",     "Basic YWRtaW4=",
        "Bearer", "Bearer ",        "Bearer a.b.c",   "Digest x=y",     "Basic OnBhc3N3b3Jk",
        "Basic",  "Basic JGFkOnB3", "Basic YTpiAGM=", "basicYTpiOmNj=", "Basic YWRtaW46YQ=",
    };
    struct world world;
    world_make(&world);
    struct stele_auth_options options = world_options(&world);
    options.failures_max = 1000;
    world_open_auth(&world, &options);
    for (size_t i = 0; i < STELE_COUNT_OF(headers); i++) {
        CHECK_EQ(ask_from(&world, headers[i], NULL, "10.0.0.1", NULL), STELE_E_PERMISSION);
    }
    world_remove(&world);
}

TEST(wrong_passwords_are_refused_then_limited_by_address)
{
    struct world world;
    world_make(&world);
    struct stele_auth_options options = world_options(&world);
    options.failures_max = 3;
    options.failures_refill_seconds = 10;
    world_open_auth(&world, &options);
    const char *const bad = "10.0.0.66:1234";
    for (int i = 0; i < 3; i++) {
        CHECK_EQ(ask_from(&world, basic("admin", "wrong-password"), NULL, bad, NULL),
                 STELE_E_PERMISSION);
    }
    /* The port is another, the address is not; the right password does not help, either. */
    CHECK_EQ(ask_from(&world, basic("admin", "admin-password"), NULL, "10.0.0.66:9", NULL),
             STELE_E_OVERLOADED);
    CHECK_EQ(ask_from(&world, basic("admin", "admin-password"), NULL, "10.0.0.67:9", NULL),
             STELE_OK);
    /* What is known already is not asked again. */
    CHECK_EQ(ask_from(&world, basic("admin", "admin-password"), NULL, bad, NULL), STELE_OK);
    world_pass(&world, INT64_C(10000000));
    CHECK_EQ(ask_from(&world, basic("ops", "ops-password"), NULL, bad, NULL), STELE_OK);
    struct stele_auth_counts counts;
    stele_auth_counts(world.auth, &counts);
    CHECK_EQ(counts.logins_failed, 3);
    CHECK_EQ(counts.logins_limited, 1);
    world_remove(&world);
}

TEST(a_user_that_does_not_exist_is_refused_like_a_wrong_password)
{
    struct world world;
    world_make(&world);
    const struct stele_auth_options options = world_options(&world);
    world_open_auth(&world, &options);
    CHECK_EQ(login_as(&world, "nobody", "wrong-password", NULL), STELE_E_PERMISSION);
    world_remove(&world);
}

TEST(users_are_created_changed_and_deleted)
{
    static const char *const groups[] = {"readers", "$ops"};
    struct world world;
    world_make(&world);
    const struct stele_auth_options options = world_options(&world);
    world_open_auth(&world, &options);
    CHECK_EQ(add_user(&world, "ada", "ada-password", "readers"), STELE_OK);
    CHECK_EQ(add_user(&world, "ada", "ada-password", NULL), STELE_WRONG_REVISION);
    struct stele_user user;
    struct stele_error err = {0};
    CHECK_OK(stele_auth_get_user(world.auth, "ada", &user, &err), err);
    CHECK_TEXT_EQ(user.login, "ada");
    CHECK_EQ(user.groups_count, 1);
    CHECK_EQ(user.hash[0], '\0');
    CHECK(!user.disabled);

    struct changing changing = {.change = {.verb = STELE_USER_UPDATE,
                                           .login = "ada",
                                           .full_name = "Ada L.",
                                           .groups = groups,
                                           .groups_count = 2}};
    CHECK_EQ(change_user(&world, &changing), STELE_OK);
    struct stele_principal *ada = NULL;
    CHECK_EQ(login_as(&world, "ada", "ada-password", &ada), STELE_OK);
    CHECK(ada->is_ops);
    CHECK_EQ(ada->groups_count, 2);

    changing.change = (struct stele_user_change){.verb = STELE_USER_DISABLE, .login = "ada"};
    CHECK_EQ(change_user(&world, &changing), STELE_OK);
    CHECK(!may(&world, ada, "orders-1", STELE_RIGHT_READ)); /* Still held, not any more good. */
    CHECK(!stele_auth_may_call(ada, STELE_RULE_OPS));
    stele_principal_unref(ada);
    CHECK_EQ(login_as(&world, "ada", "ada-password", NULL), STELE_E_PERMISSION);
    changing.change.verb = STELE_USER_ENABLE;
    CHECK_EQ(change_user(&world, &changing), STELE_OK);
    CHECK_EQ(login_as(&world, "ada", "ada-password", NULL), STELE_OK);

    changing.change.verb = STELE_USER_DELETE;
    CHECK_EQ(change_user(&world, &changing), STELE_OK);
    CHECK_EQ(login_as(&world, "ada", "ada-password", NULL), STELE_E_PERMISSION);
    CHECK_EQ(stele_auth_get_user(world.auth, "ada", &user, &err), STELE_NOT_FOUND);
    CHECK_EQ(change_user(&world, &changing), STELE_NOT_FOUND);
    CHECK_EQ(add_user(&world, "ada", "ada-password-2", NULL), STELE_OK);
    CHECK_EQ(login_as(&world, "ada", "ada-password-2", NULL), STELE_OK);
    world_remove(&world);
}

TEST(passwords_are_changed_by_who_knows_them_and_reset_by_others)
{
    struct world world;
    world_make(&world);
    struct stele_auth_options options = world_options(&world);
    options.failures_max = 100;
    world_open_auth(&world, &options);
    CHECK_EQ(add_user(&world, "ada", "ada-password", NULL), STELE_OK);
    CHECK_EQ(login_as(&world, "ada", "ada-password", NULL), STELE_OK);
    struct changing changing = {.change = {.verb = STELE_USER_CHANGE_PASSWORD,
                                           .login = "ada",
                                           .password = "not-that-one",
                                           .new_password = "new-password"}};
    CHECK_EQ(change_user(&world, &changing), STELE_E_PERMISSION);
    changing.change.password = "ada-password";
    CHECK_EQ(change_user(&world, &changing), STELE_OK);
    CHECK_EQ(login_as(&world, "ada", "ada-password", NULL), STELE_E_PERMISSION);
    CHECK_EQ(login_as(&world, "ada", "new-password", NULL), STELE_OK);
    changing.change = (struct stele_user_change){
        .verb = STELE_USER_RESET_PASSWORD, .login = "ada", .new_password = "third-password"};
    CHECK_EQ(change_user(&world, &changing), STELE_OK);
    CHECK_EQ(login_as(&world, "ada", "new-password", NULL), STELE_E_PERMISSION);
    CHECK_EQ(login_as(&world, "ada", "third-password", NULL), STELE_OK);
    changing.change.new_password = "short";
    CHECK_EQ(change_user(&world, &changing), STELE_E_INVALID);
    CHECK_TEXT_HAS(changing.change.message, "8 bytes");
    changing.change.login = "nobody";
    changing.change.new_password = "long-enough";
    CHECK_EQ(change_user(&world, &changing), STELE_NOT_FOUND);
    world_remove(&world);
}

TEST(a_user_that_somebody_else_changed_is_noticed_within_a_second)
{
    struct world world;
    world_make(&world);
    const struct stele_auth_options options = world_options(&world);
    world_open_auth(&world, &options);
    CHECK_EQ(add_user(&world, "ada", "ada-password", NULL), STELE_OK);
    struct stele_principal *ada = NULL;
    CHECK_EQ(login_as(&world, "ada", "ada-password", &ada), STELE_OK);
    put(&world, "$user-ada", "$UserUpdated",
        "{\"loginName\":\"ada\",\"hash\":\"\",\"disabled\":true,\"groups\":[]}");
    world_pass(&world, 1100000);
    CHECK_EQ(login_as(&world, "ada", "ada-password", NULL), STELE_E_PERMISSION);
    CHECK(!may(&world, ada, "orders-1", STELE_RIGHT_READ));
    stele_principal_unref(ada);
    /* What is no user, or says that it is another, lets nobody in. */
    put(&world, "$user-ada", "$UserUpdated", "{\"loginName\":\"admin\",\"hash\":\"x\"}");
    CHECK_EQ(login_as(&world, "ada", "ada-password", NULL), STELE_E_PERMISSION);
    put(&world, "$user-ada", "$UserUpdated", "[]");
    CHECK_EQ(login_as(&world, "ada", "ada-password", NULL), STELE_E_PERMISSION);
    world_remove(&world);
}

static size_t count_events(struct world *world, const char *stream, const char *part)
{
    struct stele_iterator *iterator = NULL;
    const struct stele_event *events = NULL;
    size_t count = 0;
    size_t found = 0;
    struct stele_error err = {0};
    if (stele_read_stream(world->store, stream, NULL, &iterator, &err) != STELE_OK) {
        return 0;
    }
    while (stele_iterator_next(iterator, &events, &count, &err) == STELE_OK) {
        for (size_t i = 0; i < count; i++) {
            found += memmem(events[i].data, events[i].data_size, part, strlen(part)) != NULL;
        }
    }
    stele_iterator_destroy(iterator);
    return found;
}

TEST(what_was_there_at_the_start_is_no_change)
{
    struct world world;
    world_make(&world);
    const struct stele_auth_options options = world_options(&world);
    world_open_auth(&world, &options);
    CHECK_EQ(add_user(&world, "ada", "password-of-ada", NULL), STELE_OK);
    put_metadata(&world, "stream", "{\"$acl\":{\"$r\":\"ada\"}}");
    put(&world, "$settings", "update", "{\"$userStreamAcl\":{\"$w\":\"ada\"}}");
    world_settle(&world);
    world_pass(&world, 1000000);
    world_settle(&world);
    const size_t before = count_events(&world, "$stele-audit", "");
    CHECK_EQ(count_events(&world, "$stele-audit", "own list"), 1);
    for (int i = 0; i < 3; i++) {
        stele_auth_destroy(world.auth);
        world_settle(&world);
        world_open_auth(&world, &options);
        struct stele_principal *ada = NULL;
        CHECK_EQ(login_as(&world, "ada", "password-of-ada", &ada), STELE_OK);
        CHECK(may(&world, ada, "stream", STELE_RIGHT_READ));
        CHECK(may(&world, ada, "other", STELE_RIGHT_WRITE));
        stele_principal_unref(ada);
        world_pass(&world, 1000000);
        world_settle(&world);
    }
    CHECK_EQ(count_events(&world, "$stele-audit", ""), before);
    world_remove(&world);
}

/* An append of an administrator, "stele user" through a server, an import: none of them asks src/auth. */
TEST(a_user_that_is_written_directly_is_revoked_at_once_and_audited)
{
    struct world world;
    world_make(&world);
    const struct stele_auth_options options = world_options(&world);
    world_open_auth(&world, &options);
    CHECK_EQ(add_user(&world, "ada", "password-of-ada", NULL), STELE_OK);
    struct stele_principal *ada = NULL;
    CHECK_EQ(login_as(&world, "ada", "password-of-ada", &ada), STELE_OK);
    world_settle(&world);
    /* What happened before she logged in, and is taken in only now, does not matter. */
    CHECK(may(&world, ada, "stream", STELE_RIGHT_READ));
    CHECK(may(&world, ada, "stream", STELE_RIGHT_READ));
    world_pass(&world, 1000000);
    world_settle(&world);
    CHECK_EQ(count_events(&world, "$stele-audit", "written directly"), 0);
    const uint64_t generation = stele_auth_generation(world.auth);
    put(&world, "$user-ada", "$UserUpdated",
        "{\"loginName\":\"ada\",\"disabled\":true,\"groups\":[]}");
    world_settle(&world);
    world_pass(&world, 20000); /* Nobody asks: what is live sees that something has changed. */
    CHECK(stele_auth_generation(world.auth) != generation);
    CHECK(!may(&world, ada, "stream", STELE_RIGHT_READ));
    CHECK(!stele_auth_may_call(ada, STELE_RULE_USER));
    stele_principal_unref(ada);
    CHECK_EQ(login_as(&world, "ada", "password-of-ada", NULL), STELE_E_PERMISSION);
    world_settle(&world);
    CHECK_EQ(count_events(&world, "$stele-audit", "written directly"), 1);
    world_remove(&world);
}

TEST(client_certificates_name_users)
{
    struct world world;
    world_make(&world);
    const struct stele_auth_options options = world_options(&world);
    world_open_auth(&world, &options);
    struct stele_principal *principal = NULL;
    CHECK_EQ(ask_from(&world, NULL, "ops", "10.0.0.1", &principal), STELE_OK);
    CHECK_TEXT_EQ(principal->name, "ops");
    CHECK(principal->is_ops);
    stele_principal_unref(principal);
    CHECK_EQ(ask_from(&world, NULL, "nobody", "10.0.0.1", NULL), STELE_E_PERMISSION);
    CHECK_EQ(ask_from(&world, NULL, "$admins", "10.0.0.1", NULL), STELE_E_PERMISSION);
    CHECK_EQ(ask_from(&world, NULL, "", "10.0.0.1", NULL), STELE_E_PERMISSION);
    struct changing changing = {.change = {.verb = STELE_USER_DISABLE, .login = "ops"}};
    CHECK_EQ(change_user(&world, &changing), STELE_OK);
    CHECK_EQ(ask_from(&world, NULL, "ops", "10.0.0.1", NULL), STELE_E_PERMISSION);
    world_remove(&world);
}

struct names {
    char text[256];
};

static int on_user(void *context, const struct stele_user *user)
{
    struct names *names = context;
    const size_t used = strlen(names->text);
    (void)snprintf(names->text + used, sizeof names->text - used, "%s ", user->login);
    return 0;
}

TEST(users_are_listed_in_order_without_deleted_ones)
{
    struct world world;
    world_make(&world);
    const struct stele_auth_options options = world_options(&world);
    world_open_auth(&world, &options);
    CHECK_EQ(add_user(&world, "zoe", "zoe-password", NULL), STELE_OK);
    CHECK_EQ(add_user(&world, "bob", "bob-password", NULL), STELE_OK);
    struct changing changing = {.change = {.verb = STELE_USER_DELETE, .login = "zoe"}};
    CHECK_EQ(change_user(&world, &changing), STELE_OK);
    struct names names = {""};
    struct stele_error err = {0};
    CHECK_OK(stele_auth_list_users(world.auth, NULL, on_user, &names, &err), err);
    CHECK_TEXT_EQ(names.text, "admin bob ops ");
    names.text[0] = '\0';
    CHECK_OK(stele_auth_list_users(world.auth, "bob", on_user, &names, &err), err);
    CHECK_TEXT_EQ(names.text, "ops ");
    world_remove(&world);
}

TEST(many_users_are_listed_page_by_page)
{
    struct world world;
    world_make(&world);
    const struct stele_auth_options options = world_options(&world);
    world_open_auth(&world, &options);
    for (int i = 0; i < 200; i++) {
        char stream[32];
        char json[64];
        (void)snprintf(stream, sizeof stream, "$user-u%03d", i);
        (void)snprintf(json, sizeof json, "{\"loginName\":\"u%03d\"}", i);
        put(&world, stream, "$UserCreated", json);
    }
    struct names names = {""};
    struct stele_error err = {0};
    CHECK_OK(stele_auth_list_users(world.auth, "u149", on_user, &names, &err), err);
    CHECK_EQ(strlen(names.text), 50 * 5);
    names.text[0] = '\0';
    CHECK_OK(stele_auth_list_users(world.auth, NULL, on_user, &names, &err), err);
    CHECK_EQ(strlen(names.text), sizeof names.text - 1); /* Cut, and all of them were told. */
    world_remove(&world);
}

TEST(connections_with_the_same_credentials_share_one_hash_on_the_thread)
{
    enum { CONNECTIONS = 200 };
    static struct asking askings[CONNECTIONS];
    struct world world;
    world_make(&world);
    struct stele_auth_options options = world_options(&world);
    options.hash_on_loop = false;
    options.password_memory = 0;
    options.password_passes = 0;
    world_open_auth(&world, &options);
    world_settle(&world);
    char header[128];
    (void)snprintf(header, sizeof header, "%.127s", basic("admin", "admin-password"));
    for (int i = 0; i < CONNECTIONS; i++) {
        ask_start(&world, &askings[i], header, NULL, "10.0.0.1");
    }
    for (int i = 0; i < CONNECTIONS; i++) {
        world_until(&world, &askings[i].done);
        CHECK_EQ(askings[i].outcome, STELE_OK);
        stele_principal_unref(askings[i].principal);
    }
    struct stele_auth_counts counts;
    stele_auth_counts(world.auth, &counts);
    CHECK_EQ(counts.logins_ok, 1);
    world_remove(&world);
}

TEST(a_full_queue_says_try_later)
{
    enum { CONNECTIONS = 40 };
    static struct asking askings[CONNECTIONS];
    static char headers[CONNECTIONS][128];
    struct world world;
    world_make(&world);
    struct stele_auth_options options = world_options(&world);
    options.hash_on_loop = false;
    options.password_memory = (uint64_t)19 * 1024 * 1024;
    options.questions_max = 4;
    options.failures_max = 1000;
    world_open_auth(&world, &options);
    world_settle(&world);
    size_t refused = 0;
    size_t wrong = 0;
    for (int i = 0; i < CONNECTIONS; i++) {
        char password[32];
        (void)snprintf(password, sizeof password, "wrong-%d", i);
        (void)snprintf(headers[i], sizeof headers[i], "%.127s", basic("admin", password));
        char peer[32];
        (void)snprintf(peer, sizeof peer, "10.0.0.%d", i);
        ask_start(&world, &askings[i], headers[i], NULL, peer);
    }
    for (int i = 0; i < CONNECTIONS; i++) {
        world_until(&world, &askings[i].done);
        refused += askings[i].outcome == STELE_E_OVERLOADED;
        wrong += askings[i].outcome == STELE_E_PERMISSION;
    }
    CHECK_EQ(refused + wrong, CONNECTIONS);
    CHECK(refused > 0);
    CHECK(wrong >= 4);
    world_remove(&world);
}

TEST(one_address_cannot_fill_the_queue_for_others)
{
    enum { GUESSES = 40 };
    static struct asking askings[GUESSES];
    static char headers[GUESSES][128];
    struct world world;
    world_make(&world);
    struct stele_auth_options options = world_options(&world);
    options.hash_on_loop = false;
    options.password_memory = (uint64_t)19 * 1024 * 1024;
    options.questions_max = 16;
    world_open_auth(&world, &options);
    world_settle(&world);
    for (int i = 0; i < GUESSES; i++) {
        char password[32];
        (void)snprintf(password, sizeof password, "guess-%d", i);
        (void)snprintf(headers[i], sizeof headers[i], "%.127s", basic("admin", password));
        ask_start(&world, &askings[i], headers[i], NULL, "10.0.0.1:1");
    }
    CHECK_EQ(ask_from(&world, basic("ops", "ops-password"), NULL, "10.0.0.2:1", NULL), STELE_OK);
    size_t hashed = 0;
    for (int i = 0; i < GUESSES; i++) {
        world_until(&world, &askings[i].done);
        hashed += askings[i].outcome == STELE_E_PERMISSION;
    }
    /* A quarter of the queue and what became free meanwhile. */
    CHECK(hashed >= 4);
    CHECK(hashed <= 12);
    world_remove(&world);
}

/* ---- What is written down ---- */

TEST(the_audit_stream_has_failures_and_changes_and_is_bounded)
{
    struct world world;
    world_make(&world);
    struct stele_auth_options options = world_options(&world);
    options.failures_max = 1000;
    options.audit_per_second = 10;
    world_open_auth(&world, &options);
    CHECK_EQ(add_user(&world, "ada", "ada-password", NULL), STELE_OK);
    CHECK_EQ(login_as(&world, "ada", "wrong-password", NULL), STELE_E_PERMISSION);
    CHECK_EQ(login_as(&world, "a password typed too early", "x", NULL), STELE_E_PERMISSION);
    world_settle(&world);
    CHECK_EQ(count_events(&world, "$stele-audit", "\"what\":\"created\""), 1);
    CHECK_EQ(count_events(&world, "$stele-audit", "wrong password"), 1);
    CHECK_EQ(count_events(&world, "$stele-audit", "10.0.0.1"), 2);
    CHECK_EQ(count_events(&world, "$stele-audit", "too early"), 0);
    for (int i = 0; i < 100; i++) {
        CHECK_EQ(login_as(&world, "ada", "wrong-password", NULL), STELE_E_PERMISSION);
    }
    world_settle(&world);
    CHECK(count_events(&world, "$stele-audit", "wrong password") <= 12);
    world_pass(&world, 5000000);
    CHECK_EQ(login_as(&world, "ada", "wrong-password", NULL), STELE_E_PERMISSION);
    world_settle(&world);
    CHECK_EQ(count_events(&world, "$stele-audit", "left_out"), 1);
    world_remove(&world);
}

/* ---- Secrets ---- */

#define CANARY "canary-Zx81qQ7"

static size_t count_in_files(const struct scratch *scratch, const char *part)
{
    size_t found = 0;
    DIR *directory = opendir(scratch->path);
    CHECK(directory != NULL);
    for (const struct dirent *entry; (entry = readdir(directory)) != NULL;) {
        char path[600];
        (void)snprintf(path, sizeof path, "%s/%s", scratch->path, entry->d_name);
        FILE *file = fopen(path, "rb");
        if (file == NULL) {
            continue;
        }
        static char bytes[8 * 1024 * 1024];
        const size_t size = fread(bytes, 1, sizeof bytes, file);
        found += memmem(bytes, size, part, strlen(part)) != NULL;
        (void)fclose(file);
    }
    (void)closedir(directory);
    return found;
}

TEST(secrets_are_in_no_log_message_event_or_file)
{
    struct world world;
    world_make(&world);
    struct stele_auth_options options = world_options(&world);
    options.admin_password = CANARY "-admin";
    options.failures_max = 1000;
    world_open_auth(&world, &options);
    struct stele_error err = {0};
    CHECK_EQ(login_as(&world, "admin", CANARY "-admin", NULL), STELE_OK);
    CHECK_EQ(login_as(&world, "admin", CANARY "-wrong", NULL), STELE_E_PERMISSION);
    CHECK_EQ(login_as(&world, "nobody", CANARY, NULL), STELE_E_PERMISSION);
    CHECK_EQ(ask_from(&world, "Bearer " CANARY ".x.y", NULL, "10.0.0.1", NULL), STELE_E_PERMISSION);
    CHECK_EQ(ask_from(&world, "Digest " CANARY, NULL, "10.0.0.1", NULL), STELE_E_PERMISSION);
    CHECK_EQ(add_user(&world, "ada", CANARY "-ada", NULL), STELE_OK);
    struct changing changing = {.change = {.verb = STELE_USER_CHANGE_PASSWORD,
                                           .login = "ada",
                                           .password = CANARY "-no",
                                           .new_password = CANARY "-new"}};
    CHECK_EQ(change_user(&world, &changing), STELE_E_PERMISSION);
    CHECK(strstr(changing.change.message, CANARY) == NULL);
    changing.change.password = CANARY "-ada";
    CHECK_EQ(change_user(&world, &changing), STELE_OK);
    const struct stele_bytes keys =
        stele_bytes_of_text("{\"keys\":[{\"kty\":\"oct\",\"k\":\"" CANARY "\"}]}");
    CHECK_EQ(stele_auth_set_jwt_keys(world.auth, keys, &err), STELE_E_INVALID);
    CHECK(strstr(err.message, CANARY) == NULL);
    world_settle(&world);
    CHECK(world.log[0] != '\0');
    CHECK(strstr(world.log, CANARY) == NULL);
    CHECK(count_in_files(&world.scratch, "$argon2id$") > 0); /* The search does find things. */
    CHECK_EQ(count_in_files(&world.scratch, CANARY), 0);
    world_remove(&world);
}
