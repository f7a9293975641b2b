/* A name that somebody else's name server could say anything about is never taken for one of this
 * machine, however it is spelled.
 *
 * Method: spellings, each with what it is. */
#include "http/http.h"
#include "lib/check.h"

static struct stele_text text(const char *of)
{
    return (struct stele_text){.data = of, .size = strlen(of)};
}

TEST(numbers_and_localhost_are_plain)
{
    static const char *const plain[] = {
        "localhost",
        "LOCALHOST:80",
        "localhost.",
        "localhost.:2113",
        "a.localhost",
        "a.b.localhost",
        "127.0.0.1",
        "1.2.3.4:1",
        "0.0.0.0",
        "[::1]",
        "[::1]:2113",
        "[fe80::1]",
        "[::ffff:127.0.0.1]:1",
    };
    for (size_t i = 0; i < sizeof plain / sizeof *plain; i++) {
        printf("# %s\n", plain[i]);
        CHECK(stele_http_host_is_plain(text(plain[i])));
    }
}

TEST(all_else_is_not_plain)
{
    static const char *const others[] = {
        "",
        ".",
        ":",
        ":80",
        "evil.example",
        "evil.example:80",
        "localhost.evil.example",
        "localhost..",
        "notlocalhost",
        "127.0.0.1.evil.example",
        "127.0.0.1@evil.example",
        "evil.example:localhost",
        "127.1",
        "2130706433",
        "1.2.3.4.5",
        "::1",
        "[",
        "[]",
        "[]:80",
        "[::1",
        "[evil.example]",
        "[127.0.0.1]",
        "[::1]evil.example",
        "[::1].evil.example:80",
        "[fe80::1%25eth0]",
        "1111:1111:1111:1111:1111:1111:1111:1111:1111:1111:1111:1111",
        "[1111:1111:1111:1111:1111:1111:1111:1111:1111:1111:1111:1111]",
    };
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        printf("# %s\n", others[i]);
        CHECK(!stele_http_host_is_plain(text(others[i])));
    }
    CHECK(!stele_http_host_is_plain((struct stele_text){.data = NULL}));
}

TEST(a_name_is_itself_and_no_part_of_another)
{
    CHECK(stele_http_host_is(text("store.example"), "store.example"));
    CHECK(stele_http_host_is(text("Store.EXAMPLE.:2113"), "store.example"));
    CHECK(stele_http_host_is(text("[::1]:2113"), "[::1]"));
    CHECK(!stele_http_host_is(text("store.example.evil.example"), "store.example"));
    CHECK(!stele_http_host_is(text("a.store.example"), "store.example"));
    CHECK(!stele_http_host_is(text("store.exampl"), "store.example"));
    CHECK(!stele_http_host_is(text("evil.example:store.example"), "store.example"));
    CHECK(!stele_http_host_is(text(""), "store.example"));
}
