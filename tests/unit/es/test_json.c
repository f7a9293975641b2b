/* Members of JSON objects are found where they lie, and what is no object is never taken for one.
 *
 * Method: small objects with everything that could lead astray (strings with brackets, escapes,
 * nesting), then every prefix of one of them. */
#include "es/json.h"
#include "io/linux.h"
#include "lib/check.h"

static struct stele_bytes text(const char *json)
{
    return stele_bytes_of_text(json);
}

static int member(const char *json, const char *name, struct stele_text *out)
{
    return stele_json_member(json, strlen(json), name, out);
}

TEST(a_member_is_found_behind_whatever_stands_before_it)
{
    const char *json =
        " { \"a\" : [1,{\"x\":\"}]\"}] , \"b\\\"\":\"\\\\\", \"x\":{\"d\":0}, \"d\" : -12 } ";
    struct stele_text value;
    CHECK_EQ(member(json, "d", &value), STELE_OK);
    CHECK_EQ(value.size, 3);
    int64_t number = 0;
    CHECK_EQ(stele_json_integer(json, strlen(json), "d", &number), STELE_OK);
    CHECK_EQ(number, -12);
    CHECK_EQ(member(json, "x", &value), STELE_OK);
    CHECK(memcmp(value.data, "{\"d\":0}", 7) == 0);
    CHECK_EQ(member(json, "b\"", &value), STELE_OK);
    CHECK_EQ(member(json, "c", &value), STELE_NOT_FOUND);
}

TEST(every_prefix_of_an_object_is_none)
{
    const char *json = "{\"a\":[1,{\"x\":\"\\u00e9}]\"}],\"b\":true}";
    struct stele_text value;
    for (size_t size = 0; size < strlen(json); size++) {
        CHECK_EQ(stele_json_member(json, size, "nothing", &value), STELE_E_INVALID);
    }
    CHECK_EQ(member(json, "nothing", &value), STELE_NOT_FOUND);
}

TEST(what_is_no_object_is_refused)
{
    static const char *const wrong[] = {
        "[]",       "1",     "{\"a\":1,}", "{,}",         "{\"a\" 1}",
        "{\"a\":}", "{a:1}", "{\"a\":1}x", "{\"a\":1 2}", "{\"a\":\"\n\"}"};
    struct stele_text value;
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        CHECK_EQ(member(wrong[i], "z", &value), STELE_E_INVALID);
    }
    CHECK_EQ(stele_json_member(NULL, 0, "a", &value), STELE_E_INVALID);
}

TEST(integers_are_whole_and_fit)
{
    const char *json = "{\"max\":9223372036854775807,\"min\":-9223372036854775808,"
                       "\"over\":9223372036854775808,\"real\":1.5,\"zero\":-0,\"text\":\"1\","
                       "\"led\":01}";
    int64_t value = 7;
    CHECK_EQ(stele_json_integer(json, strlen(json), "max", &value), STELE_OK);
    CHECK(value == INT64_MAX);
    CHECK_EQ(stele_json_integer(json, strlen(json), "min", &value), STELE_OK);
    CHECK(value == INT64_MIN);
    CHECK_EQ(stele_json_integer(json, strlen(json), "zero", &value), STELE_OK);
    CHECK_EQ(value, 0);
    CHECK_EQ(stele_json_integer(json, strlen(json), "over", &value), STELE_E_INVALID);
    CHECK_EQ(stele_json_integer(json, strlen(json), "real", &value), STELE_E_INVALID);
    CHECK_EQ(stele_json_integer(json, strlen(json), "text", &value), STELE_E_INVALID);
    CHECK_EQ(stele_json_integer(json, strlen(json), "led", &value), STELE_E_INVALID);
}

TEST(strings_come_out_as_they_were_put_in)
{
    struct stele_memory *memory = stele_memory_create();
    static const char raw[] = "a\"b\\c\n\x01\t\xc3\xa9\xf0\x9f\x8e\xb5/";
    struct stele_output output;
    stele_output_init(&output, stele_linux_alloc());
    CHECK_EQ(stele_output_printf(&output, "{%s:", "\"t\""), STELE_OK);
    CHECK_EQ(stele_output_json_string(&output, raw, sizeof raw - 1), STELE_OK);
    CHECK_EQ(stele_output_write(&output, "}", 1), STELE_OK);
    struct stele_text out;
    CHECK_EQ(stele_json_string(output.buf.data, output.buf.size, "t", memory, &out), STELE_OK);
    CHECK_TEXT_EQ(out.data, raw);
    CHECK_EQ(out.size, sizeof raw - 1);
    stele_output_clear(&output);
    CHECK_EQ(stele_output_json_string(&output, "x\xff", 2), STELE_OK);
    CHECK_EQ(output.buf.size, 6);
    CHECK(memcmp(output.buf.data, "\"x\xef\xbf\xbd\"", 6) == 0);
    const char *pair = "{\"t\":\"\\ud83c\\udfb5\\u00E9\\/\"}";
    CHECK_EQ(stele_json_string(pair, strlen(pair), "t", memory, &out), STELE_OK);
    CHECK_TEXT_EQ(out.data, "\xf0\x9f\x8e\xb5\xc3\xa9/");
    static const char *const wrong[] = {"{\"t\":\"\\ud83c\"}", "{\"t\":\"\\udfb5\"}",
                                        "{\"t\":\"\\u12\"}", "{\"t\":\"\\x\"}", "{\"t\":1}"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        CHECK_EQ(stele_json_string(wrong[i], strlen(wrong[i]), "t", memory, &out), STELE_E_INVALID);
    }
    stele_output_deinit(&output);
    stele_memory_destroy(memory);
}

TEST(members_are_added_only_where_they_are_missing)
{
    static const struct {
        const char *json, *extra, *want;
    } cases[] = {
        {"{}", "{\"a\":1}", "{\"a\":1}"},
        {"", "{\"a\":1,\"b\":[]}", "{\"a\":1,\"b\":[]}"},
        {"{\"a\":2}", "{\"a\":1}", "{\"a\":2}"},
        {" {\"a\" : 2 } ", "{\"b\":{\"c\":1}}", " {\"a\" : 2,\"b\":{\"c\":1}}"},
        {"{\"\\u0061\":2}", "{\"a\":1}", "{\"\\u0061\":2}"},
    };
    struct stele_output output;
    stele_output_init(&output, stele_linux_alloc());
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        stele_output_clear(&output);
        CHECK_EQ(stele_json_add_missing(text(cases[i].json), text(cases[i].extra), &output),
                 STELE_OK);
        CHECK_EQ(stele_output_write(&output, "", 1), STELE_OK);
        CHECK_TEXT_EQ((const char *)output.buf.data, cases[i].want);
    }
    CHECK_EQ(stele_json_add_missing(text("[1]"), text("{\"a\":1}"), &output), STELE_E_INVALID);
    stele_output_deinit(&output);
}
