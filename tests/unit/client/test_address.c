/* Connection strings mean what they say, and what they do not say is refused in words, before anything
 * is connected to.
 *
 * Method: tables of what is right and what is wrong; then the whole of opening with them. */
#include "client/remote.h"
#include "lib/check.h"

#include <stdio.h>
#include <stele.h>

static struct stele_error err;
static struct far_address address;

static void check_host(uint32_t index, const char *host, uint16_t port)
{
    CHECK(index < address.hosts_count);
    CHECK_TEXT_EQ(address.hosts[index].host, host);
    CHECK_EQ(address.hosts[index].port, port);
}

TEST(each_scheme_names_hosts_ports_and_a_default)
{
    static const char *const schemes[] = {"stele", "kurrentdb", "kurrent", "kdb", "esdb"};
    for (size_t i = 0; i < STELE_COUNT_OF(schemes); i++) {
        for (int discover = 0; discover < 2; discover++) {
            char text[200];
            (void)snprintf(text, sizeof text, "%s%s://one,two:1,[::1]:65535,[fe80::2]/", schemes[i],
                           discover ? "+discover" : "");
            CHECK(stele_remote_is_address(text));
            CHECK_OK(stele_remote_parse(text, &address, &err), err);
            CHECK_EQ(address.hosts_count, 4);
            check_host(0, "one", 2113);
            check_host(1, "two", 1);
            check_host(2, "::1", 65535);
            check_host(3, "fe80::2", 2113);
            CHECK(address.tls);
            CHECK(address.verify);
        }
    }
    CHECK(!stele_remote_is_address("/data"));
    CHECK(!stele_remote_is_address("stele:/x"));
    CHECK(!stele_remote_is_address("steles://x"));
    CHECK(!stele_remote_is_address(""));
    CHECK(!stele_remote_is_address(NULL));
}

TEST(only_our_own_scheme_speaks_plainly_to_this_machine)
{
    static const struct {
        const char *text;
        bool tls;
    } cases[] = {
        {"stele://localhost", false},
        {"stele://127.0.0.1:1", false},
        {"stele://[::1]", false},
        {"stele://example.org", true},
        {"kurrentdb://localhost", true},
        {"kurrentdb://localhost?tls=false", false},
        {"stele://localhost?tls=true", true},
        {"stele://localhost/?TLS=TRUE", true},
        {"stele://127.evil.example?x=", true},
    };
    for (size_t i = 0; i + 1 < STELE_COUNT_OF(cases); i++) {
        CHECK_OK(stele_remote_parse(cases[i].text, &address, &err), err);
        CHECK_EQ(address.tls, cases[i].tls);
    }
}

TEST(credentials_and_options_are_decoded)
{
    CHECK_OK(stele_remote_parse("stele://us%40er:p%3Aw%2F%3F:x@h:1/"
                                "?tls=true&tlsVerifyCert=false&tlsCAFile=a%20b&userCertFile=c"
                                "&userKeyFile=k&token=t&defaultDeadline=5&keepAliveInterval=-1"
                                "&keepAliveTimeout=86400000&nodePreference=leader&connectionName=x",
                                &address, &err),
             err);
    CHECK_TEXT_EQ(address.user, "us@er");
    CHECK_TEXT_EQ(address.password, "p:w/?:x");
    CHECK_TEXT_EQ(address.ca_file, "a b");
    CHECK_TEXT_EQ(address.cert_file, "c");
    CHECK_TEXT_EQ(address.key_file, "k");
    CHECK_TEXT_EQ(address.token, "t");
    CHECK_EQ(address.tls, true);
    CHECK_EQ(address.verify, false);
    CHECK_EQ(address.timeout_ms, 5);
    CHECK_EQ(address.keepalive_ms, 0);
    CHECK_EQ(address.keepalive_timeout_ms, 86400000);
}

/* Each is refused, by the parser and by opening, with words that do not have the password. */
static void refuse(const char *text)
{
    struct stele *store = NULL;
    err.message[0] = '\0';
    int outcome = stele_remote_parse(text, &address, &err);
    if (outcome == STELE_OK) {
        printf("# taken: %.100s\n", text);
    }
    CHECK(outcome == STELE_E_INVALID || outcome == STELE_E_LIMIT);
    CHECK(err.message[0] != '\0');
    CHECK(strstr(err.message, "secret") == NULL);
    err.message[0] = '\0';
    outcome = stele_open(text, NULL, &store, &err);
    CHECK(outcome == STELE_E_INVALID || outcome == STELE_E_LIMIT);
    CHECK(store == NULL);
    CHECK(err.message[0] != '\0');
    CHECK(strstr(err.message, "secret") == NULL);
    CHECK(stele_open(text, NULL, &store, NULL) == outcome);
}

TEST(what_is_malformed_is_refused_in_words)
{
    static const char *const behind[] = {
        "",
        ":1",
        "h:",
        "h:0",
        "h:65536",
        "h:-1",
        "h:1x",
        "h:1:2",
        "h:99999999999",
        "h,",
        ",h",
        "a,b,,c",
        "[::1",
        "[]",
        "[::1]x",
        "[::1]:",
        "[::1]:0",
        "::1",
        "@",
        "user@",
        "h?",
        "h?x",
        "h?tls",
        "h?tls=",
        "h?tls=1",
        "h?tls=yes",
        "h?timeout=",
        "h?timeout=x",
        "h?timeout=-2",
        "h?timeout=1.5",
        "h?timeout=86400001",
        "h?unknown=1",
        "h?=1",
        "h?&",
        "h?tls=true&&",
        "h/path",
        "h/path?tls=true",
        "h//",
        "%00",
        "h%00x",

        "a,a,a,a,a,a,a,a,a",
        "u:secret%00@h",

        "u:secret/more@h",
        "u:secret?more@h",
        "u:secret@h:x",
        "u:secret@h?timeout=x",
    };
    static const char *const schemes[] = {"stele://", "kurrentdb://", "esdb+discover://"};
    char text[256];
    for (size_t i = 0; i < STELE_COUNT_OF(behind); i++) {
        for (size_t s = 0; s < STELE_COUNT_OF(schemes); s++) {
            (void)snprintf(text, sizeof text, "%s%s", schemes[s], behind[i]);
            if (strcmp(behind[i], "h?") == 0) { /* No options at all are fine. */
                CHECK_OK(stele_remote_parse(text, &address, &err), err);
                continue;
            }
            refuse(text);
        }
    }
}

TEST(what_is_too_long_is_refused)
{
    static const char *const forms[] = {
        "stele://%s",
        "stele://[%s]",
        "stele://%s@h",
        "stele://u:%s@h",
        "stele://h?token=%s",
        "stele://h?tlsCAFile=%s",
        "stele://h?userCertFile=%s",
        "stele://h?timeout=%s",
        "stele://h?%s=1",
        "stele://h?%s",
        "stele://h:%s",
    };
    static char text[40000], filling[32001];
    memset(filling, '1', sizeof filling - 1);
    for (size_t i = 0; i < STELE_COUNT_OF(forms); i++) {
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
        (void)snprintf(text, sizeof text, forms[i], filling);
#pragma GCC diagnostic pop
        refuse(text);
    }
}

TEST(nobody_at_the_address_is_told_in_time)
{
    static const char *const texts[] = {
        "stele://127.0.0.1:1?timeout=200",
        "kurrentdb://127.0.0.1:1,127.0.0.1:2?tls=false&timeout=200",
        "esdb+discover://u:secret@127.0.0.1:1?tls=true&timeout=200",
        "stele://127.0.0.1:1?tls=true&tlsCAFile=/nonexistent&timeout=200",
        "stele://no.such.host.invalid:1?timeout=200",
    };
    for (size_t i = 0; i < STELE_COUNT_OF(texts); i++) {
        struct stele *store = NULL;
        err.message[0] = '\0';
        const int outcome = stele_open(texts[i], NULL, &store, &err);
        CHECK(outcome < 0);
        CHECK(store == NULL);
        CHECK(err.message[0] != '\0');
        CHECK(strstr(err.message, "secret") == NULL);
    }
}
