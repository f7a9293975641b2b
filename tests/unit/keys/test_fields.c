/* Fields of JSON are found by what they mean, replaced in place, and nothing else changes.
 *
 * Method: texts with all that JSON allows, and every prefix and every altered byte of them. */
#include "keys/envelope.h"
#include "keys/erasure.h"
#include "keys/fields.h"
#include "lib/check.h"
#include "lib/testalloc.h"

#include <sodium.h>

static struct testalloc alloc;
static struct stele_error err;
static const char *wanted;

static bool matches(void *context, struct stele_bytes path, struct stele_bytes value)
{
    (void)context;
    CHECK(value.size <= 4096);
    return stele_fields_path_matches(stele_bytes_of_text(wanted), path);
}

static int star_out(void *context, struct stele_bytes path, struct stele_bytes value,
                    struct stele_buf *out)
{
    (void)context;
    (void)path;
    (void)value;
    return stele_buf_append(out, &alloc.base, stele_bytes_of_text("*"));
}

static int walk(const char *json, size_t size, char *to)
{
    const struct stele_fields_walk how = {matches, star_out, NULL, NULL};
    struct stele_buf out = {.size = 0};
    testalloc_init(&alloc, 1);
    const int outcome = stele_fields_walk((struct stele_bytes){(const uint8_t *)json, size}, &how,
                                          &alloc.base, &out, &err);
    if (outcome == STELE_OK && out.size > 0) {
        memcpy(to, out.data, out.size);
    }
    to[outcome == STELE_OK ? out.size : 0] = '\0';
    stele_buf_deinit(&out, &alloc.base);
    CHECK_EQ(alloc.blocks, 0);
    return outcome;
}

static void check_walk(const char *pattern, const char *json, const char *want)
{
    char got[4096];
    wanted = pattern;
    CHECK_OK(walk(json, strlen(json), got), err);
    CHECK_TEXT_EQ(got, want);
}

TEST(a_pattern_finds_what_it_means)
{
    check_walk("/a", "{\"a\":1}", "{\"a\":*}");
    check_walk("/a", " { \"a\" : [1,{\"a\":2}] , \"b\":2 } ", " { \"a\" : * , \"b\":2 } ");
    check_walk("/a", "{\"\\u0061\":1,\"a\":2}", "{\"\\u0061\":*,\"a\":*}");
    check_walk("/a/b", "{\"a\":{\"b\":\"x\\\"y\"},\"b\":1}", "{\"a\":{\"b\":*},\"b\":1}");
    check_walk("/a/1", "{\"a\":[1,2,3]}", "{\"a\":[1,*,3]}");
    check_walk("/a/*", "{\"a\":[1,[2],{}]}", "{\"a\":[*,*,*]}");
    check_walk("/*/x", "[{\"x\":-1.5e+7},{\"y\":2}]", "[{\"x\":*},{\"y\":2}]");
    check_walk("/a~1b~0c", "{\"a/b~c\":true}", "{\"a/b~c\":*}");
    check_walk("/\xc3\xa4", "{\"\\u00e4\":1,\"\xc3\xa4\":2}", "{\"\\u00e4\":*,\"\xc3\xa4\":*}");
    check_walk("/\xf0\x9f\x98\x80", "{\"\\ud83d\\ude00\":1}", "{\"\\ud83d\\ude00\":*}");
    check_walk("/a", "{\"aa\":1,\"b\":{\"a\":1}}", "{\"aa\":1,\"b\":{\"a\":1}}");
    check_walk("/a", "7", "7");
    check_walk("/", "{\"\":1}", "{\"\":*}");
}

TEST(what_is_no_json_is_refused)
{
    static const char *const bad[] = {"",        "{",       "}",         "{\"a\"}",  "{\"a\":}",
                                      "{a:1}",   "[1,]",    "[1 2]",     "01",       "1.",
                                      "1e",      "-",       "+1",        "tru",      "nul",
                                      "\"\\x\"", "\"\\u12", "\"\x01\"",  "\"\xff\"", "{\"a\":1}{}",
                                      "[\"a]",   "{,}",     "{\"a\":1,", "1 1",      "\"\\u12g4\""};
    char got[4096];
    wanted = "/a";
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        CHECK_OUTCOME(walk(bad[i], strlen(bad[i]), got), STELE_E_INVALID, err);
        CHECK_TEXT_HAS(err.message, "no JSON");
    }
}

TEST(depth_and_paths_are_bounded)
{
    char json[4096];
    char got[4096];
    wanted = "/a";
    memset(json, '[', 64);
    memset(json + 64, ']', 64);
    CHECK_OK(walk(json, 128, got), err);
    memset(json, '[', 65);
    memset(json + 65, ']', 65);
    CHECK_OUTCOME(walk(json, 130, got), STELE_E_LIMIT, err);
    const int size = snprintf(json, sizeof json, "{\"%0*d\":1}", 600, 0);
    CHECK_OUTCOME(walk(json, (size_t)size, got), STELE_E_LIMIT, err);
}

TEST(every_prefix_and_every_altered_byte_is_safe)
{
    static const char json[] =
        "{\"a\":{\"b\":[1,-2.5e3,\"x\\u00e4\\n\",true,false,null,{}]},\"c\":\"\xc3\xa4\"}";
    char got[4096];
    char altered[sizeof json];
    wanted = "/a/b/*";
    for (size_t size = 0; size < sizeof json - 1; size++) {
        CHECK_EQ(walk(json, size, got), STELE_E_INVALID);
    }
    for (size_t at = 0; at < sizeof json - 1; at++) {
        for (int c = 0; c < 256; c++) {
            memcpy(altered, json, sizeof json);
            altered[at] = (char)c;
            const int outcome = walk(altered, sizeof json - 1, got);
            CHECK(outcome == STELE_OK || outcome == STELE_E_INVALID);
        }
    }
}

TEST(pointers_are_told_from_other_texts)
{
    static const char *const good[] = {"/a", "/a/b", "/*", "/a~0", "/a~1b", "//"};
    static const char *const bad[] = {"", "/", "a", "/a~", "/a~2", "/\xff"};
    for (size_t i = 0; i < 6; i++) {
        CHECK(stele_fields_is_pointer(stele_bytes_of_text(good[i])));
        CHECK(!stele_fields_is_pointer(stele_bytes_of_text(bad[i])));
    }
}

/* ---- Envelopes ---- */

static const uint8_t key_id[16] = {1};
static const uint8_t key[32] = {2};
static const uint8_t nonce[24] = {3};
static const uint8_t event_id[16] = {4};
static const uint8_t other_id[16] = {5};

static bool opens(const uint8_t *bytes, size_t size, const struct stele_envelope_place *place,
                  const uint8_t *with)
{
    struct stele_envelope envelope;
    uint8_t plain[512];
    if (stele_envelope_decode((struct stele_bytes){bytes, size}, &envelope) != STELE_OK) {
        return false;
    }
    return stele_envelope_open(&envelope, place, with, plain);
}

TEST(an_envelope_opens_with_its_key_at_its_place_and_whole)
{
    static const uint8_t other_key[32] = {9};
    uint8_t bytes[512];
    const struct stele_bytes type = stele_bytes_of_text("text/plain");
    const struct stele_bytes plain = stele_bytes_of_text("a secret");
    const struct stele_bytes none = {NULL, 0};
    const struct stele_envelope_place place = {stele_bytes_of_text("s"), 3, event_id, none};
    const size_t size = stele_envelope_size(type.size, plain.size);
    CHECK(sodium_init() >= 0);
    stele_envelope_seal(&place, STELE_ENVELOPE_DATA, key_id, key, nonce, type, plain, bytes);
    CHECK(opens(bytes, size, &place, key));
    CHECK(!opens(bytes, size, &place, other_key));
    struct stele_envelope_place moved = place;
    moved.stream = stele_bytes_of_text("t");
    CHECK(!opens(bytes, size, &moved, key));
    moved = place;
    moved.revision = 4;
    CHECK(!opens(bytes, size, &moved, key));
    moved = place;
    moved.event_id = other_id;
    CHECK(!opens(bytes, size, &moved, key));
    moved = place;
    moved.path = stele_bytes_of_text("/a");
    CHECK(!opens(bytes, size, &moved, key));
    for (size_t bit = 0; bit < size * 8; bit++) {
        bytes[bit / 8] ^= (uint8_t)(1u << (bit % 8));
        CHECK(!opens(bytes, size, &place, key));
        bytes[bit / 8] ^= (uint8_t)(1u << (bit % 8));
    }
    for (size_t cut = 0; cut < size; cut++) {
        CHECK(!opens(bytes, cut, &place, key));
    }
    CHECK(opens(bytes, size, &place, key));
}

/* ---- Erasure records ---- */

TEST(an_erasure_record_is_read_in_one_spelling_and_signed_in_every_part)
{
    struct stele_erasure_record record = {.erased_us = 1700000000000000};
    struct stele_erasure_record read;
    char text[STELE_ERASURE_SIZE_MAX];
    CHECK(sodium_init() >= 0);
    memset(record.subject_hash, 3, 32);
    stele_erasure_sign(&record, key);
    uint8_t public_key[32];
    memcpy(public_key, record.public_key, 32);
    const size_t size = stele_erasure_encode(&record, text);
    size_t decoded = 0;
    for (size_t at = 0; at < size; at++) {
        const char old = text[at];
        for (int c = '\0'; c < 128; c++) {
            text[at] = (char)c;
            const bool good =
                stele_erasure_decode((struct stele_bytes){(const uint8_t *)text, size}, &read);
            decoded += good ? 1 : 0;
            CHECK(!good || stele_erasure_is_valid(&read, public_key) == (c == old));
        }
        text[at] = old;
        CHECK(!stele_erasure_decode((struct stele_bytes){(const uint8_t *)text, at}, &read));
    }
    CHECK(decoded > size);
}
