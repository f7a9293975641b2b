/* The parts that know neither store nor time: headers, limits, lists, users. */
#include "auth/acl.h"
#include "auth/credentials.h"
#include "auth/limit.h"
#include "auth/password.h"
#include "lib/check.h"
#include "lib/testalloc.h"

static struct testalloc memory;

static struct stele_text text(const char *data)
{
    return (struct stele_text){data, strlen(data)};
}

/* ---- Headers ---- */

TEST(schemes_are_read_in_any_case_with_blanks_around)
{
    struct stele_text rest;
    CHECK_EQ(stele_credentials_scheme(text("Basic abc"), &rest), STELE_SCHEME_BASIC);
    CHECK_SLICE_EQ(rest, "abc");
    CHECK_EQ(stele_credentials_scheme(text("bAsIc   abc \t"), &rest), STELE_SCHEME_BASIC);
    CHECK_SLICE_EQ(rest, "abc");
    CHECK_EQ(stele_credentials_scheme(text("BEARER a.b.c"), &rest), STELE_SCHEME_BEARER);
    CHECK_SLICE_EQ(rest, "a.b.c");
    CHECK_EQ(stele_credentials_scheme(text("Basicabc"), &rest), STELE_SCHEME_OTHER);
    CHECK_EQ(stele_credentials_scheme(text("Basic "), &rest), STELE_SCHEME_OTHER);
    CHECK_EQ(stele_credentials_scheme(text(""), &rest), STELE_SCHEME_OTHER);
}

/* RFC 7617, section 2 and 2.1: the second has a pound sign in UTF-8. */
TEST(basic_credentials_decode_as_the_rfc_says)
{
    struct stele_credentials credentials;
    CHECK_EQ(stele_credentials_basic(text("QWxhZGRpbjpvcGVuIHNlc2FtZQ=="), &credentials), 0);
    CHECK_TEXT_EQ(credentials.login, "Aladdin");
    CHECK_TEXT_EQ(credentials.password, "open sesame");
    CHECK_EQ(stele_credentials_basic(text("dGVzdDoxMjPCow=="), &credentials), 0);
    CHECK_TEXT_EQ(credentials.password, "123\xc2\xa3");
    CHECK_EQ(stele_credentials_basic(text("dGVzdDoxMjPCow"), &credentials), 0); /* No padding. */
    CHECK_EQ(stele_credentials_basic(text("YTpiOmM="), &credentials), 0);
    CHECK_TEXT_EQ(credentials.login, "a");
    CHECK_TEXT_EQ(credentials.password, "b:c");
    CHECK_EQ(stele_credentials_basic(text("YTo="), &credentials), 0);
    CHECK_TEXT_EQ(credentials.password, "");
}

TEST(basic_credentials_that_are_none_are_refused_and_wiped)
{
    static const char *const bad[] = {
        "",      "!",        "YTpi=",        "YTpiYw===", "YWJj", /* no colon */
        "OmE=",  "JGE6Yg==", "YQA6Yg==",     "YTpiAA==",  "YTpi\nYw==",
        "YTpi_", "YTpi-A==", "YTpiOg==YTpi", "=",
    };
    static const struct stele_credentials none;
    for (size_t i = 0; i < STELE_COUNT_OF(bad); i++) {
        struct stele_credentials credentials;
        memset(&credentials, 'x', sizeof credentials);
        CHECK_EQ(stele_credentials_basic(text(bad[i]), &credentials), STELE_E_INVALID);
        CHECK(memcmp(&credentials, &none, sizeof none) == 0);
    }
    static char huge[20000];
    memset(huge, 'A', sizeof huge - 1);
    struct stele_credentials credentials;
    CHECK_EQ(stele_credentials_basic(text(huge), &credentials), STELE_E_INVALID);
}

/* ---- Limits ---- */

TEST(an_address_is_limited_and_forgiven_with_time)
{
    testalloc_init(&memory, 1);
    struct stele_limit limit;
    CHECK_EQ(stele_limit_init(&limit, &memory.base, 7, 3, 10), STELE_OK);
    int64_t now = 5000000;
    for (int i = 0; i < 3; i++) {
        CHECK(stele_limit_allows(&limit, "1.2.3.4:1", now));
        stele_limit_failed(&limit, "1.2.3.4:1", now);
    }
    CHECK(!stele_limit_allows(&limit, "1.2.3.4:2", now));
    CHECK(!stele_limit_allows(&limit, "1.2.3.4", now));
    CHECK(!stele_limit_allows(&limit, "[::ffff:1.2.3.4]:5", now));
    CHECK(stele_limit_allows(&limit, "1.2.3.5", now));
    CHECK(stele_limit_allows(&limit, "1.2.3.4", now + 10000000));
    for (int i = 0; i < 1000; i++) {
        stele_limit_failed(&limit, "1.2.3.4", now);
    }
    CHECK(stele_limit_allows(&limit, "1.2.3.4", now + 10000000)); /* It does not grow for ever. */
    stele_limit_deinit(&limit, &memory.base);
    CHECK_EQ(memory.bytes, 0);
}

TEST(addresses_of_one_ipv6_network_count_together)
{
    testalloc_init(&memory, 1);
    struct stele_limit limit;
    CHECK_EQ(stele_limit_init(&limit, &memory.base, 7, 1, 10), STELE_OK);
    stele_limit_failed(&limit, "[2001:db8::1]:55", 1);
    CHECK(!stele_limit_allows(&limit, "2001:db8::2", 1));
    CHECK(stele_limit_allows(&limit, "2001:db8:0:1::2", 1));
    stele_limit_failed(&limit, "unix", 1);
    CHECK(!stele_limit_allows(&limit, "unix", 1));
    CHECK(stele_limit_allows(&limit, NULL, 1));
    stele_limit_deinit(&limit, &memory.base);
}

TEST(a_flood_of_addresses_forgets_only_the_nearly_forgiven)
{
    testalloc_init(&memory, 1);
    struct stele_limit limit;
    CHECK_EQ(stele_limit_init(&limit, &memory.base, 7, 10, 10), STELE_OK);
    for (int i = 0; i < 10; i++) {
        stele_limit_failed(&limit, "9.9.9.9", 1);
    }
    char peer[32];
    for (int i = 0; i < 100000; i++) {
        (void)snprintf(peer, sizeof peer, "10.%d.%d.%d", i >> 16, i >> 8 & 255, i & 255);
        stele_limit_failed(&limit, peer, 1);
    }
    CHECK(!stele_limit_allows(&limit, "9.9.9.9", 1));
    stele_limit_deinit(&limit, &memory.base);
}

/* ---- Lists ---- */

static struct stele_acl *acl_of(const char *json)
{
    struct stele_acl *acl = NULL;
    CHECK_EQ(stele_acl_of_metadata(stele_bytes_of_text(json), &memory.base, &acl), STELE_OK);
    return acl;
}

TEST(lists_without_rights_are_none)
{
    static const char *const none[] = {"{}", "{\"$acl\":{}}", "{\"$acl\":null}", "{\"a\":[1]}",
                                       "{\"$acl\":{\"$r\":null,\"$x\":\"y\"}}"};
    testalloc_init(&memory, 1);
    for (size_t i = 0; i < STELE_COUNT_OF(none); i++) {
        CHECK(acl_of(none[i]) == NULL);
    }
    CHECK_EQ(memory.bytes, 0);
}

TEST(lists_that_are_malformed_give_the_right_to_administrators_only)
{
    static const char *const bad[] = {"",
                                      "[",
                                      "[]",
                                      "7",
                                      "{\"$acl\":7}",
                                      "{\"$acl\":[\"$all\"]}",
                                      "{\"$acl\":{\"$r\":7}}",
                                      "{\"$acl\":{\"$r\":[7]}}",
                                      "{\"$acl\":{\"$r\":[\"$all\",7]}}",
                                      "{\"$acl\":{\"$r\":{\"a\":\"$all\"}}}",
                                      "{\"$acl\":{\"$r\":\"$all\"},\"$acl\":{}}",
                                      "{\"$acl\":{\"$r\":\"$all\\u0000\"}}"};
    const struct stele_principal ada = {.name = "ada"};
    testalloc_init(&memory, 1);
    for (size_t i = 0; i < STELE_COUNT_OF(bad); i++) {
        struct stele_acl *const acl = acl_of(bad[i]);
        CHECK(stele_acl_sets(acl, STELE_RIGHT_READ));
        CHECK(!stele_acl_allows(acl, STELE_RIGHT_READ, &ada, true));
        stele_acl_free(acl, &memory.base);
    }
    CHECK_EQ(memory.bytes, 0);
}

TEST(names_and_groups_match_whole_and_by_case)
{
    struct stele_principal ada = {.name = "ada", .groups_count = 1};
    (void)snprintf(ada.groups[0], sizeof ada.groups[0], "readers");
    testalloc_init(&memory, 1);
    struct stele_acl *const acl = acl_of("{\"$acl\":{\"$r\":[\"adam\",\"ad\",\"Ada\",\"\"],"
                                         "\"$w\":[\"x\",\"readers\"],\"$d\":\"ada\"}}");
    CHECK(!stele_acl_allows(acl, STELE_RIGHT_READ, &ada, true));
    CHECK(stele_acl_allows(acl, STELE_RIGHT_WRITE, &ada, true));
    CHECK(stele_acl_allows(acl, STELE_RIGHT_DELETE, &ada, false));
    CHECK(!stele_acl_sets(acl, STELE_RIGHT_META_READ));
    const struct stele_principal anonymous = {.anonymous = true};
    CHECK(!stele_acl_allows(acl, STELE_RIGHT_READ, &anonymous, true)); /* Though "" is listed. */
    stele_acl_free(acl, &memory.base);
}

TEST(reading_lists_survives_every_failing_allocation)
{
    struct stele_acl *acl = NULL;
    testalloc_init(&memory, 1);
    memory.fail_at = 1;
    CHECK_EQ(
        stele_acl_of_metadata(stele_bytes_of_text("{\"$acl\":{\"$r\":\"a\"}}"), &memory.base, &acl),
        STELE_E_NO_MEMORY);
    struct stele_acl *other = NULL;
    for (uint64_t at = 1; at <= 2; at++) {
        testalloc_init(&memory, 1);
        memory.fail_at = at;
        CHECK_EQ(stele_acl_of_settings(stele_bytes_of_text("{\"$userStreamAcl\":{\"$r\":\"a\"},"
                                                           "\"$systemStreamAcl\":{\"$r\":\"b\"}}"),
                                       &memory.base, &acl, &other),
                 STELE_E_NO_MEMORY);
        CHECK_EQ(memory.bytes, 0);
    }
}

/* ---- Users ---- */

TEST(users_come_back_as_they_were_encoded)
{
    static const char *const groups[] = {"$admins", "a \"quoted\" one"};
    struct stele_user user = {.disabled = true, .login = "ada", .hash = "$argon2id$x"};
    struct stele_user back = {.revision = 5};
    struct stele_buf json = {.data = NULL};
    struct stele_error err = {0};
    testalloc_init(&memory, 1);
    CHECK_OK(stele_user_set_about(&user, "Ada \xc3\x85", groups, 2, &err), err);
    CHECK_EQ(stele_user_encode(&user, &memory.base, &json), STELE_OK);
    CHECK_OK(stele_user_decode((struct stele_bytes){json.data, json.size}, &back, &err), err);
    CHECK_TEXT_EQ(back.login, "ada");
    CHECK_TEXT_EQ(back.full_name, user.full_name);
    CHECK_TEXT_EQ(back.groups[1], groups[1]);
    CHECK_EQ(back.groups_count, 2);
    CHECK_TEXT_EQ(back.hash, user.hash);
    CHECK(back.disabled);
    CHECK_EQ(back.revision, 5);
    stele_buf_deinit(&json, &memory.base);
}

TEST(logins_groups_and_passwords_have_bounds)
{
    static const char *const bad[] = {"", "$admins", "a:b", "a/b", "a\nb", "\xff", "a\x7f"};
    struct stele_error err = {0};
    struct stele_user user = {.groups_count = 0};
    char longest[STELE_PASSWORD_SIZE_MAX + 2];
    memset(longest, 'a', sizeof longest);
    longest[sizeof longest - 1] = '\0';
    for (size_t i = 0; i < STELE_COUNT_OF(bad); i++) {
        CHECK_EQ(stele_user_check_login(bad[i], &err), STELE_E_INVALID);
    }
    CHECK_EQ(stele_user_check_login(NULL, &err), STELE_E_INVALID);
    CHECK_EQ(stele_user_check_login(longest, &err), STELE_E_LIMIT);
    CHECK_EQ(stele_user_check_login("ada.lovelace@example.com", &err), STELE_OK);
    CHECK_EQ(stele_user_check_password(longest, &err), STELE_E_LIMIT);
    CHECK_EQ(stele_user_check_password("1234567", &err), STELE_E_INVALID);
    CHECK_EQ(stele_user_check_password(NULL, &err), STELE_E_INVALID);
    CHECK_EQ(stele_user_check_password("12345678", &err), STELE_OK);
    const char *groups[STELE_ROLES_MAX + 1];
    for (size_t i = 0; i <= STELE_ROLES_MAX; i++) {
        groups[i] = "g";
    }
    CHECK_EQ(stele_user_set_about(&user, NULL, groups, STELE_ROLES_MAX, &err), STELE_OK);
    CHECK_EQ(stele_user_set_about(&user, NULL, groups, STELE_ROLES_MAX + 1, &err), STELE_E_LIMIT);
    groups[0] = longest;
    CHECK_EQ(stele_user_set_about(&user, NULL, groups, 1, &err), STELE_E_LIMIT);
    groups[0] = "";
    CHECK_EQ(stele_user_set_about(&user, NULL, groups, 1, &err), STELE_E_INVALID);
    CHECK_EQ(stele_user_set_about(&user, longest, NULL, 0, &err), STELE_E_LIMIT);
}

/* ---- Passwords ---- */

TEST(a_hash_is_salted_and_fits_only_its_password)
{
    char a[STELE_PASSWORD_HASH_SIZE];
    char b[STELE_PASSWORD_HASH_SIZE];
    CHECK_EQ(stele_password_hash("secret", 8192, 1, a), STELE_OK);
    CHECK_EQ(stele_password_hash("secret", 8192, 1, b), STELE_OK);
    CHECK(strcmp(a, b) != 0);
    CHECK(strncmp(a, "$argon2id$", 10) == 0);
    CHECK(stele_password_verify("secret", a));
    CHECK(stele_password_verify("secret", b));
    CHECK(!stele_password_verify("Secret", a));
    CHECK(!stele_password_verify("", a));
}

TEST(hashes_from_elsewhere_cost_nothing)
{
    static const char *const bad[] = {
        "",
        "$argon2id$",
        "$argon2id$v=19$m=99999999,t=2,p=1$c2FsdHNhbHQ$aGFzaA",
        "$argon2id$v=19$m=1024,t=4000000000,p=1$c2FsdHNhbHQ$aGFzaA",
        "$argon2i$v=19$m=1024,t=3,p=1$c2FsdHNhbHQ$aGFzaA",
        "secret",
    };
    for (size_t i = 0; i < STELE_COUNT_OF(bad); i++) {
        char hash[STELE_PASSWORD_HASH_SIZE] = "";
        (void)snprintf(hash, sizeof hash, "%s", bad[i]);
        CHECK(!stele_password_verify("secret", hash));
    }
    char endless[STELE_PASSWORD_HASH_SIZE];
    memset(endless, '$', sizeof endless);
    CHECK(!stele_password_verify("secret", endless));
}
