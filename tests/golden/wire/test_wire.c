/* What goes over the wire stays as it is, byte for byte: yesterday's clients talk to tomorrow's server.
 *
 * Method: *.txt has calls as they are told line by line, requests and answers in hexadecimal. They are
 * replayed in a server whose time and random numbers stand still, and all of what it says has to be
 * there, nothing else. That the bytes mean what stands beside them is judged by protoc (wire.py).
 *
 *     / the path of a call           . the client half-closes
 *     > a message of the client      x it goes away
 *     < a message of the server      ~ so many milliseconds pass
 *     = status, outcome and details
 *
 * With STELE_GOLDEN_OUT in the environment the lines as they are now go there, for wire.py. */
#include "api/kurrent/kurrent.h"
#include "api/native/native.h"
#include "client/remote.h"
#include "lib/check.h"
#include "lib/memserver.h"

#include <stdio.h>
#include <stdlib.h>

#define LINE_MAX_SIZE ((size_t)64 * 1024)

struct script {
    struct memserver server;
    struct stele_exchange exchange;
    bool open;
    FILE *file;
    FILE *out;
    char line[LINE_MAX_SIZE]; /* The next one that the file has of what is compared. */
};

/* The file's next line that the server's are compared with, or "". */
static const char *next_line(struct script *script)
{
    do {
        if (fgets(script->line, sizeof script->line, script->file) == NULL) {
            return "";
        }
        script->line[strcspn(script->line, "\n")] = '\0';
    } while (script->line[0] == '#' || script->line[0] == '|' || script->line[0] == '\0' ||
             (script->out != NULL && (script->line[0] == '<' || script->line[0] == '=')));
    return script->line;
}

static uint8_t nibble(char c)
{
    CHECK((c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'));
    return (uint8_t)(c <= '9' ? c - '0' : c - 'a' + 10);
}

static void send_hex(struct script *script, const char *hex)
{
    static uint8_t bytes[LINE_MAX_SIZE / 2];
    size_t size = 0;
    for (; hex[0] != '\0'; hex += 2) {
        bytes[size++] = (uint8_t)(nibble(hex[0]) << 4 | nibble(hex[1]));
    }
    memserver_send(&script->server, &script->exchange,
                   (struct stele_bytes){.data = bytes, .size = size});
}

/* Something that the server says. */
static void said(struct script *script, const char *text)
{
    if (script->out != NULL) {
        CHECK(fprintf(script->out, "%s\n", text) > 0);
    } else {
        CHECK_TEXT_EQ(text, next_line(script));
    }
}

static void say_messages(struct script *script)
{
    static char text[LINE_MAX_SIZE];
    struct stele_bytes message;
    while (fake_next(&script->exchange, &message)) {
        CHECK(2 * message.size + 3 < sizeof text);
        char *to = text + snprintf(text, sizeof text, "< ");
        for (size_t i = 0; i < message.size; i++) {
            to += snprintf(to, 3, "%02x", message.data[i]);
        }
        said(script, text);
    }
}

static void say_end(struct script *script)
{
    char text[1024];
    const char *names[] = {"stele-outcome", "exception", "grpc-status-details-bin"};
    int size = snprintf(text, sizeof text, "= %d", fake_status(&script->exchange));
    for (size_t i = 0; i < STELE_COUNT_OF(names); i++) {
        const char *value = fake_answer(&script->exchange, names[i]);
        if (value[0] != '\0') {
            size += snprintf(text + size, sizeof text - (size_t)size, " %s", value);
        }
    }
    said(script, text);
}

static void close_exchange(struct script *script)
{
    fake_close(script->server.grpc, &script->exchange);
    script->open = false;
    memserver_pass(&script->server, 0);
}

static void obey(struct script *script, const char *line)
{
    if (script->out != NULL) {
        CHECK(fprintf(script->out, "%s\n", line) > 0);
    }
    switch (line[0]) {
    case '/':
        CHECK(!script->open);
        memserver_call(&script->server, &script->exchange, line, "");
        script->open = true;
        return;
    case '>':
        send_hex(script, line + 2);
        break;
    case '~':
        memserver_pass(&script->server, strtoll(line + 2, NULL, 10) * 1000);
        break;
    case '.':
        memserver_end(&script->server, &script->exchange);
        say_messages(script);
        say_end(script);
        close_exchange(script);
        return;
    case 'x':
        close_exchange(script);
        return;
    default:
        CHECK_TEXT_EQ(line, "/, >, <, ., x, ~ or =");
    }
    say_messages(script);
}

static void replay(const char *name, void (*enter)(struct stele_grpc_table *table))
{
    static struct script script;
    char path[512];
    script = (struct script){.open = false};
    (void)snprintf(path, sizeof path, "%s/%s", GOLDEN_DIR, name);
    script.file = fopen(path, "r");
    CHECK(script.file != NULL);
    const char *out = getenv("STELE_GOLDEN_OUT");
    if (out != NULL) {
        (void)snprintf(path, sizeof path, "%s/%s", out, name);
        script.out = fopen(path, "w");
        CHECK(script.out != NULL);
    }
    memserver_open(&script.server, enter);
    for (const char *line; (line = next_line(&script))[0] != '\0';) {
        obey(&script, line);
    }
    CHECK(!script.open);
    memserver_close(&script.server);
    CHECK_EQ(fclose(script.file), 0);
    if (script.out != NULL) {
        CHECK_EQ(fclose(script.out), 0);
    }
}

static void enter_kurrent(struct stele_grpc_table *table)
{
    stele_kurrent_streams_register(table);
    stele_kurrent_v2_register(table);
    stele_kurrent_persistent_register(table);
}

TEST(the_native_service_says_what_it_always_said)
{
    replay("native.txt", stele_native_register);
}

TEST(the_services_of_kurrentdb_say_what_they_always_said)
{
    replay("kurrent.txt", enter_kurrent);
}

/* The first message of the client in the file. */
static void first_request(char *hex, size_t size)
{
    char path[512];
    (void)snprintf(path, sizeof path, "%s/native.txt", GOLDEN_DIR);
    FILE *file = fopen(path, "r");
    CHECK(file != NULL);
    do {
        CHECK(fgets(hex, (int)size, file) != NULL);
    } while (hex[0] != '>');
    hex[strcspn(hex, "\n")] = '\0';
    CHECK_EQ(fclose(file), 0);
}

/* The same append as there, from libstele's side. */
TEST(libstele_asks_a_server_with_the_same_bytes)
{
    static const uint8_t id[15] = {0x01, 0x23, 0x45, 0x67, 0x89, 0xab, 0x7d, 0xef,
                                   0x81, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd};
    static const char *const tags[] = {"x", "yy"}, *const types[] = {"Placed"},
                             *const zz[] = {"zz"}, *const q[] = {"q"};
    struct stele_event_draft drafts[] = {
        {.type = "Placed",
         .data = "{\"a\":1}",
         .data_size = 7,
         .metadata = "{\"m\":1}",
         .metadata_size = 7,
         .tags = tags,
         .tags_count = 2,
         .created_us = 1700000000000001},
        {.type = "Photo", .data = "\0\1\xff", .data_size = 3, .content_type = "image/png"},
        {.type = "Placed"},
    };
    for (uint8_t i = 0; i < 3; i++) {
        memcpy(drafts[i].id, id, sizeof id);
        drafts[i].id[15] = (uint8_t)(i + 1);
    }
    const struct stele_append streams[] = {
        {.stream = "order-1", .expected = STELE_EXPECT_NO_STREAM, .events = drafts, .count = 2},
        {.stream = "order-2", .expected = STELE_EXPECT_ANY, .events = drafts + 2, .count = 1},
    };
    const struct stele_query_item items[] = {
        {.types = types, .types_count = 1, .tags = zz, .tags_count = 1},
        {.tags = q, .tags_count = 1},
    };
    const struct stele_condition condition = {.items = items, .items_count = 2, .after = 5};
    static char want[LINE_MAX_SIZE], got[LINE_MAX_SIZE];
    struct testalloc alloc;
    testalloc_init(&alloc, 1);
    struct far far = {.alloc = &alloc.base};
    struct stele_buf out;
    struct stele_error err;
    CHECK_OK(stele_remote_encode_append(&far, 300, streams, 2, &condition, 1, &out, &err), err);
    char *to = got + snprintf(got, sizeof got, "> ");
    for (size_t i = 0; i < out.size; i++) {
        to += snprintf(to, 3, "%02x", out.data[i]);
    }
    stele_buf_deinit(&out, &alloc.base);
    first_request(want, sizeof want);
    CHECK_TEXT_EQ(got, want);
    CHECK_EQ(alloc.blocks, 0);
}
