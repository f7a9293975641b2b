/* Every caller may do exactly what the table, the ACLs and the defaults say.
 *
 * Method: the matrix of every row of the authorization table by every kind of caller, and of every
 * kind of stream by every right and caller, against expectations written out here by hand; then the
 * ways in which ACLs change while they are cached. */
#include "world.h"

enum who { ANONYMOUS, USER, READER, OPS, ADMIN, REVOKED, INSECURE, WHO_COUNT };

static struct stele_principal make_principal(enum who who)
{
    struct stele_principal principal = {.refs = 1};
    const char *const group = who == READER ? "readers"
                              : who == OPS  ? "$ops"
                              : who == USER ? "others"
                                            : "$admins";
    principal.anonymous = who == ANONYMOUS || who == INSECURE;
    principal.all_rights = who == INSECURE;
    principal.revoked = who == REVOKED;
    principal.is_admin = who == ADMIN || who == REVOKED;
    principal.is_ops = who == OPS;
    if (!principal.anonymous) {
        (void)snprintf(principal.name, sizeof principal.name, "%s", who == USER ? "ada" : "x");
        (void)snprintf(principal.groups[0], sizeof principal.groups[0], "%s", group);
        principal.groups_count = 1;
    }
    return principal;
}

/* Who may call, written out: '1' for yes, in the order of enum who. */
static const char *const rules[] = {
    [STELE_RULE_ANYONE] = "1111111", [STELE_RULE_USER] = "0111101",
    [STELE_RULE_STREAM] = "1111101", [STELE_RULE_OPS] = "0001101",
    [STELE_RULE_ADMIN] = "0000101",
};

TEST(every_row_of_the_table_lets_in_exactly_who_its_rule_says)
{
    size_t checked = 0;
    for (int row = 0; row < STELE_RPC_COUNT + STELE_ROUTE_COUNT; row++) {
        const enum stele_rule rule =
            row < STELE_RPC_COUNT
                ? stele_auth_rpc_rule((enum stele_rpc)row)
                : stele_auth_route_rule((enum stele_route)(row - STELE_RPC_COUNT));
        CHECK(rule <= STELE_RULE_ADMIN);
        for (int who = 0; who < WHO_COUNT; who++) {
            const struct stele_principal principal = make_principal((enum who)who);
            CHECK_EQ(stele_auth_may_call(&principal, rule), rules[rule][who] == '1');
            checked++;
        }
    }
    CHECK(checked > 500);
}

TEST(paths_are_whole_and_no_two_rows_share_one)
{
    for (int i = 0; i < STELE_RPC_COUNT; i++) {
        const char *const path = stele_auth_rpc_path((enum stele_rpc)i);
        CHECK_EQ(path[0], '/');
        CHECK(strchr(path + 1, '/') != NULL);
        for (int k = 0; k < i; k++) {
            CHECK(strcmp(path, stele_auth_rpc_path((enum stele_rpc)k)) != 0);
        }
    }
    for (int i = 0; i < STELE_ROUTE_COUNT; i++) {
        for (int k = 0; k < i; k++) {
            CHECK(strcmp(stele_auth_route_path((enum stele_route)i),
                         stele_auth_route_path((enum stele_route)k)) != 0 ||
                  strcmp(stele_auth_route_method((enum stele_route)i),
                         stele_auth_route_method((enum stele_route)k)) != 0);
        }
    }
}

/* What changes something or shows somebody else's data is never open to callers without a name. */
TEST(rows_that_change_the_server_need_an_operator_or_an_administrator)
{
    static const char *const words[] = {"Create", "Update",  "Delete",   "Disable",  "Enable",
                                        "Reset",  "Restart", "Shutdown", "Scavenge", "Resign"};
    for (int i = 0; i < STELE_RPC_COUNT; i++) {
        const char *const path = stele_auth_rpc_path((enum stele_rpc)i);
        const enum stele_rule rule = stele_auth_rpc_rule((enum stele_rpc)i);
        if (strstr(path, ".streams.") != NULL) {
            continue;
        }
        for (size_t k = 0; k < sizeof words / sizeof words[0]; k++) {
            if (strstr(path, words[k]) != NULL) {
                CHECK(rule == STELE_RULE_OPS || rule == STELE_RULE_ADMIN);
            }
        }
        if (strstr(path, "users.Users") != NULL) {
            CHECK(rule == STELE_RULE_ADMIN || rule == STELE_RULE_USER);
        }
    }
}

/* ---- Streams ---- */

struct stream_case {
    const char *stream;
    /* '1' for yes, by right: read, write, delete, metadata read, metadata write; by caller. */
    const char *may[WHO_COUNT];
};

#define NOBODY_BUT_ADMINS                                                                          \
    {                                                                                              \
        "00000", "00000", "00000", "00000", "11111", "00000", "11111"                              \
    }
#define EVERYBODY_WITH_A_NAME                                                                      \
    {                                                                                              \
        "00000", "11111", "11111", "11111", "11111", "00000", "11111"                              \
    }

static const struct stream_case cases[] = {
    {"orders-1", EVERYBODY_WITH_A_NAME},
    {"never-written", EVERYBODY_WITH_A_NAME},
    {"empty-list", EVERYBODY_WITH_A_NAME},
    {"$all", NOBODY_BUT_ADMINS},
    {"$streams", NOBODY_BUT_ADMINS},
    {"$ce-orders", NOBODY_BUT_ADMINS},
    {"$et-OrderPlaced", NOBODY_BUT_ADMINS},
    {"$user-ada", NOBODY_BUT_ADMINS},
    {"$users", NOBODY_BUT_ADMINS},
    {"$settings", NOBODY_BUT_ADMINS},
    {"$stele-audit", NOBODY_BUT_ADMINS},
    {"$$$settings", NOBODY_BUT_ADMINS},
    {"$$$all", NOBODY_BUT_ADMINS},
    {"$$$$orders-1", NOBODY_BUT_ADMINS},
    {"", NOBODY_BUT_ADMINS},
    /* {"$r": "readers", "$w": ["ada"], "$d": [], "$mr": "$all"}; $mw is the default's */
    {"mixed", {"00000", "01011", "10011", "00011", "11111", "00000", "11111"}},
    /* As a stream of its own, metadata is read and written with the metadata rights. */
    {"$$mixed", {"00000", "11111", "11111", "11111", "11111", "00000", "11111"}},
    {"$$orders-1", EVERYBODY_WITH_A_NAME},
    /* {"$mr": "readers", "$mw": ["ada"]}: who may read its metadata may not write it, and the other
     * way round, by either way to them. */
    {"listed", {"00000", "11101", "11110", "11100", "11111", "00000", "11111"}},
    {"$$listed", {"00000", "01101", "10010", "00000", "11111", "00000", "11111"}},
    {"closed", NOBODY_BUT_ADMINS},
    {"$$closed", NOBODY_BUT_ADMINS},
    {"$opened", {"00000", "10000", "10000", "10000", "11111", "00000", "11111"}},
};

static void make_streams(struct world *world)
{
    put_metadata(world, "empty-list", "{\"$acl\":{},\"other\":1}");
    put_metadata(world, "mixed",
                 "{\"$acl\":{\"$r\":\"readers\",\"$w\":[\"ada\"],\"$d\":[],\"$mr\":\"$all\"}}");
    put_metadata(world, "listed", "{\"$acl\":{\"$mr\":\"readers\",\"$mw\":[\"ada\"]}}");
    put_metadata(world, "closed",
                 "{\"$acl\":{\"$r\":[],\"$w\":[],\"$d\":[],\"$mr\":[],\"$mw\":[]}}");
    put_metadata(world, "$opened", "{\"$acl\":{\"$r\":\"$all\"}}");
}

TEST(every_kind_of_stream_gives_every_caller_exactly_its_rights)
{
    struct world world;
    world_make(&world);
    const struct stele_auth_options options = world_options(&world);
    world_open_auth(&world, &options);
    make_streams(&world);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        for (int who = 0; who < WHO_COUNT; who++) {
            const struct stele_principal principal = make_principal((enum who)who);
            for (int right = 0; right < STELE_RIGHT_COUNT; right++) {
                const bool got = may(&world, &principal, cases[i].stream, (enum stele_right)right);
                if (got != (cases[i].may[who][right] == '1')) {
                    check_failed(__FILE__, __LINE__, "stream '%s', caller %d, right %d: %d",
                                 cases[i].stream, who, right, got);
                }
            }
        }
    }
    world_remove(&world);
}

TEST(default_lists_of_the_settings_stream_count_where_a_stream_has_none)
{
    struct world world;
    world_make(&world);
    const struct stele_auth_options options = world_options(&world);
    world_open_auth(&world, &options);
    const struct stele_principal ada = make_principal(USER);
    const struct stele_principal reader = make_principal(READER);
    CHECK(may(&world, &ada, "orders-1", STELE_RIGHT_READ));
    put(&world, "$settings", "$settings",
        "{\"$userStreamAcl\":{\"$r\":\"readers\",\"$w\":[\"$ops\"]},"
        "\"$systemStreamAcl\":{\"$r\":\"$all\",\"$mr\":\"$all\"}}");
    CHECK(!may(&world, &ada, "orders-1", STELE_RIGHT_READ));
    CHECK(may(&world, &reader, "orders-1", STELE_RIGHT_READ));
    CHECK(!may(&world, &reader, "orders-1", STELE_RIGHT_WRITE));
    CHECK(may(&world, &reader, "orders-1", STELE_RIGHT_DELETE)); /* Not set: built in. */
    CHECK(may(&world, &ada, "$ce-orders", STELE_RIGHT_READ));
    CHECK(may(&world, &ada, "$all", STELE_RIGHT_READ));
    CHECK(!may(&world, &ada, "$all", STELE_RIGHT_WRITE));
    static const char *const secret[] = {
        "$user-ada",    "$users",      "$settings",
        "$stele-audit", "$ce-$user",   "$et-$User",
        "$$$settings",  "$$$user-ada", "$users-password-notifications"};
    for (size_t i = 0; i < sizeof secret / sizeof secret[0]; i++) {
        CHECK(!may(&world, &ada, secret[i], STELE_RIGHT_READ));
        CHECK(stele_auth_is_secret((struct stele_text){secret[i], strlen(secret[i])}));
    }
    /* A stream's own list goes before the default. */
    put_metadata(&world, "orders-1", "{\"$acl\":{\"$r\":\"ada\"}}");
    CHECK(may(&world, &ada, "orders-1", STELE_RIGHT_READ));
    CHECK(!may(&world, &reader, "orders-1", STELE_RIGHT_READ));
    /* Settings that cannot be read close, they do not open. */
    put(&world, "$settings", "$settings", "[1]");
    CHECK(!may(&world, &reader, "orders-2", STELE_RIGHT_READ));
    put(&world, "$settings", "$settings", "{}");
    CHECK(may(&world, &reader, "orders-2", STELE_RIGHT_READ));
    /* Kept across a restart. */
    put(&world, "$settings", "$settings", "{\"$userStreamAcl\":{\"$r\":\"readers\"}}");
    stele_auth_destroy(world.auth);
    world_open_auth(&world, &options);
    CHECK(!may(&world, &ada, "orders-2", STELE_RIGHT_READ));
    world_remove(&world);
}

TEST(callers_without_a_name_get_what_all_may_if_the_server_says_so)
{
    struct world world;
    world_make(&world);
    struct stele_auth_options options = world_options(&world);
    options.anonymous_streams = true;
    world_open_auth(&world, &options);
    make_streams(&world);
    const struct stele_principal anonymous = make_principal(ANONYMOUS);
    CHECK(may(&world, &anonymous, "orders-1", STELE_RIGHT_READ));
    CHECK(may(&world, &anonymous, "$opened", STELE_RIGHT_READ));
    CHECK(!may(&world, &anonymous, "$opened", STELE_RIGHT_WRITE));
    CHECK(!may(&world, &anonymous, "mixed", STELE_RIGHT_READ));
    CHECK(!may(&world, &anonymous, "$all", STELE_RIGHT_READ));
    world_remove(&world);
}

TEST(an_acl_counts_from_the_moment_it_is_stored_and_moves_the_generation)
{
    struct world world;
    world_make(&world);
    const struct stele_auth_options options = world_options(&world);
    world_open_auth(&world, &options);
    world_settle(&world);
    const struct stele_principal ada = make_principal(USER);
    for (int i = 0; i < 20; i++) {
        put_metadata(&world, "orders-1", "{\"$acl\":{\"$r\":\"ada\"}}");
        CHECK(may(&world, &ada, "orders-1", STELE_RIGHT_READ));
        put_metadata(&world, "orders-1", "{\"$acl\":{\"$r\":\"bob\"}}");
        CHECK(!may(&world, &ada, "orders-1", STELE_RIGHT_READ));
    }
    const uint64_t before = stele_auth_generation(world.auth);
    put(&world, "orders-1", "OrderPlaced", "{}");
    put_metadata(&world, "orders-1", "{\"$acl\":{\"$r\":\"bob\"},\"$maxCount\":9}");
    put_metadata(&world, "orders-2", "{\"$maxCount\":9}");
    CHECK(!may(&world, &ada, "orders-1", STELE_RIGHT_READ));
    CHECK_EQ(stele_auth_generation(world.auth), before);
    /* Nobody asks: the watch finds it all the same. */
    put_metadata(&world, "orders-1", "{}");
    world_settle(&world);
    world_pass(&world, 1000000);
    CHECK(stele_auth_generation(world.auth) > before);
    world_remove(&world);
}

TEST(acls_are_kept_in_bounds_and_read_once)
{
    struct world world;
    world_make(&world);
    const struct stele_auth_options options = world_options(&world);
    world_open_auth(&world, &options);
    put_metadata(&world, "s-00000", "{\"$acl\":{\"$r\":\"bob\"}}");
    const struct stele_principal ada = make_principal(USER);
    char stream[16];
    for (int round = 0; round < 2; round++) {
        for (int i = 0; i < 20000; i++) {
            (void)snprintf(stream, sizeof stream, "s-%05d", i);
            CHECK_EQ(may(&world, &ada, stream, STELE_RIGHT_READ), i != 0);
        }
    }
    struct stele_auth_counts counts;
    stele_auth_counts(world.auth, &counts);
    CHECK_EQ(counts.acl_loads, 40000); /* A walk in a circle is what such a cache is worst at. */
    for (int i = 0; i < 1000; i++) {
        CHECK(may(&world, &ada, "s-19999", STELE_RIGHT_READ));
    }
    stele_auth_counts(world.auth, &counts);
    CHECK_EQ(counts.acl_loads, 40000);
    world_remove(&world);
}

TEST(names_that_are_none_are_closed)
{
    struct world world;
    world_make(&world);
    const struct stele_auth_options options = world_options(&world);
    world_open_auth(&world, &options);
    const struct stele_principal ada = make_principal(USER);
    char longest[STELE_STREAM_NAME_SIZE_MAX + 4];
    memset(longest, 'x', sizeof longest);
    struct stele_text name = {longest, STELE_STREAM_NAME_SIZE_MAX};
    CHECK(stele_auth_may(world.auth, &ada, name, STELE_RIGHT_READ));
    name.size++;
    CHECK(!stele_auth_may(world.auth, &ada, name, STELE_RIGHT_READ));
    CHECK(!stele_auth_may(world.auth, &ada, (struct stele_text){"a\0b", 3}, STELE_RIGHT_READ));
    CHECK(!stele_auth_may(world.auth, &ada, (struct stele_text){"$$", 2}, STELE_RIGHT_READ));
    world_remove(&world);
}
