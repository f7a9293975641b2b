/* A line of the log is one line, says what it was told to, and cannot be forged.
 *
 * Method: lines read back from a pipe, with a clock of the test's. */
#include "lib/check.h"
#include "ops/log.h"

#include <jansson.h>
#include <unistd.h>

static int ends[2];
static struct stele_ops_log log_under_test;
static int64_t now_us;

static int64_t test_wall(void)
{
    return now_us;
}

static void begin(const char *format, const char *level)
{
    CHECK_EQ(pipe(ends), 0);
    stele_ops_log_init(&log_under_test, ends[1], format, level);
    log_under_test.wall_us = test_wall;
    now_us = INT64_C(1795252500123456);
}

static char *finish(void)
{
    static char text[65536];
    (void)close(ends[1]);
    size_t size = 0;
    ssize_t got = 0;
    while ((got = read(ends[0], text + size, sizeof text - 1 - size)) > 0) {
        size += (size_t)got;
    }
    text[size] = '\0';
    (void)close(ends[0]);
    stele_ops_log_deinit(&log_under_test);
    return text;
}

static void say(const char *message)
{
    stele_ops_log_write(&log_under_test, STELE_OPS_INFO, message, NULL, 0);
}

TEST(text_lines_have_time_level_message_and_fields)
{
    begin("text", "info");
    const struct stele_ops_field fields[] = {
        {"peer", "10.0.0.1:5"}, {"none", NULL}, {"who", "a b"}};
    stele_ops_log_write(&log_under_test, STELE_OPS_WARNING, "login failed: ada", fields, 3);
    stele_ops_log_write(&log_under_test, STELE_OPS_DEBUG, "not this", NULL, 0);
    CHECK_TEXT_EQ(finish(), "2026-11-21T09:15:00.123Z warning login failed: ada peer=10.0.0.1:5 "
                            "who=\"a b\"\n");
}

TEST(json_lines_are_json_whatever_is_in_them)
{
    begin("auto", "debug"); /* A pipe is no terminal. */
    char all[256];
    for (int i = 0; i < 255; i++) {
        all[i] = (char)(i + 1);
    }
    all[255] = '\0';
    const struct stele_ops_field field = {"field", all};
    stele_ops_log_write(&log_under_test, STELE_OPS_ERROR, all, &field, 1);
    say("\xe2\x80\xae reversed \xe2\x82\xac \xc2\x9b \xed\xa0\x80");
    char *text = finish();
    json_t *line = json_loadb(text, strcspn(text, "\n"), 0, NULL);
    CHECK(line != NULL);
    CHECK_TEXT_EQ(json_string_value(json_object_get(line, "level")), "error");
    CHECK_TEXT_HAS(json_string_value(json_object_get(line, "field")), "\\x07");
    json_decref(line);
    text += strcspn(text, "\n") + 1;
    line = json_loadb(text, strcspn(text, "\n"), 0, NULL);
    CHECK(line != NULL);
    CHECK_TEXT_EQ(json_string_value(json_object_get(line, "message")),
                  "\\xe2\\x80\\xae reversed \xe2\x82\xac \\xc2\\x9b \\xed\\xa0\\x80");
    json_decref(line);
}

TEST(nobody_forges_a_line_or_moves_a_cursor)
{
    begin("text", "info");
    say("a\nb\r\x1b[2Jc\x7f\t");
    CHECK_TEXT_EQ(finish(), "2026-11-21T09:15:00.123Z info a\\x0ab\\x0d\\x1b[2Jc\\x7f\\x09\n");
}

TEST(long_messages_are_cut_and_still_whole_lines)
{
    static char longest[10000];
    memset(longest, '"', sizeof longest - 1);
    static const char *const formats[] = {"text", "json"};
    for (size_t i = 0; i < 2; i++) {
        begin(formats[i], "info");
        const struct stele_ops_field field = {"field", longest};
        stele_ops_log_write(&log_under_test, STELE_OPS_INFO, longest, &field, 1);
        const char *text = finish();
        CHECK(strlen(text) <= STELE_OPS_LOG_LINE_MAX);
        CHECK_EQ(strcspn(text, "\n"), strlen(text) - 1);
        if (i == 1) {
            json_t *line = json_loads(text, 0, NULL);
            CHECK(line != NULL);
            json_decref(line);
        }
    }
}

TEST(a_flood_is_bounded_and_counted)
{
    begin("text", "info");
    log_under_test.lines_per_s = 2;
    for (int i = 0; i < 100; i++) {
        say("x");
    }
    stele_ops_log_write(&log_under_test, STELE_OPS_ERROR, "an error", NULL, 0);
    now_us += 1000000;
    say("later");
    const char *text = finish();
    size_t lines = 0;
    for (const char *at = text; (at = strchr(at, '\n')) != NULL; at++) {
        lines++;
    }
    CHECK_EQ(lines, 22);
    CHECK_TEXT_HAS(text, "an error lines_left_out=80\n");
    CHECK_TEXT_HAS(text, "later\n");
}
