/* A configuration says what was meant, or why it cannot be.
 *
 * Method: values of every kind at and beyond their bounds; every mistake somebody makes in a file;
 * and the printed configuration read back. */
#include "lib/check.h"
#include "lib/testalloc.h"
#include "ops/config.h"

static struct testalloc memory;
static struct stele_error err;

static struct stele_config *make(void)
{
    struct stele_config *config = NULL;
    testalloc_init(&memory, 1);
    CHECK_EQ(stele_config_create(&memory.base, &config), STELE_OK);
    return config;
}

static void end(struct stele_config *config)
{
    stele_config_destroy(config);
    CHECK_EQ(memory.bytes, 0);
}

static int add(struct stele_config *config, const char *yaml)
{
    err = (struct stele_error){.outcome = 0};
    return stele_config_add_yaml(config, "stele.yaml", stele_bytes_of_text(yaml), &err);
}

TEST(defaults_are_what_the_table_says)
{
    struct stele_config *config = make();
    CHECK_TEXT_EQ(stele_config_text(config, STELE_SETTING_STORE), "stele-data");
    CHECK_EQ(stele_config_number(config, STELE_SETTING_PORT), 2113);
    CHECK_EQ(stele_config_number(config, STELE_SETTING_EVENT_SIZE_MAX), 16u << 20);
    CHECK_EQ(stele_config_number(config, STELE_SETTING_SCRUB_PERIOD), 7u * 86400000u);
    CHECK(!stele_config_flag(config, STELE_SETTING_INSECURE));
    CHECK(stele_config_text(config, STELE_SETTING_TLS_KEY) == NULL);
    CHECK_TEXT_EQ(stele_config_item(config, STELE_SETTING_LISTEN, 0), "localhost");
    CHECK(stele_config_item(config, STELE_SETTING_LISTEN, 1) == NULL);
    CHECK_OK(stele_config_check(config, &err), err);
    end(config);
}

TEST(a_file_sets_values_of_every_kind)
{
    struct stele_config *config = make();
    CHECK_OK(add(config, "# a comment\n"
                         "store: /var/lib/stele\n"
                         "listen: [0.0.0.0, \"[::1]:2114\", unix:/run/stele/stele.sock]\n"
                         "port: 2115\n"
                         "append-size-max: 8 MiB\n"
                         "event_size_max: 4MB\n"
                         "drain-timeout: 1500ms\n"
                         "insecure: yes\n"
                         "log-format: json\n"
                         "admin-password: 'secret: #1'\n"),
             err);
    CHECK_TEXT_EQ(stele_config_text(config, STELE_SETTING_STORE), "/var/lib/stele");
    CHECK_TEXT_EQ(stele_config_item(config, STELE_SETTING_LISTEN, 1), "[::1]:2114");
    CHECK_TEXT_EQ(stele_config_item(config, STELE_SETTING_LISTEN, 2), "unix:/run/stele/stele.sock");
    CHECK_EQ(stele_config_number(config, STELE_SETTING_PORT), 2115);
    CHECK_EQ(stele_config_number(config, STELE_SETTING_APPEND_SIZE_MAX), 8u << 20);
    CHECK_EQ(stele_config_number(config, STELE_SETTING_EVENT_SIZE_MAX), 4000000);
    CHECK_EQ(stele_config_number(config, STELE_SETTING_DRAIN_TIMEOUT), 1500);
    CHECK(stele_config_flag(config, STELE_SETTING_INSECURE));
    CHECK_TEXT_EQ(stele_config_text(config, STELE_SETTING_ADMIN_PASSWORD), "secret: #1");
    CHECK_EQ(stele_config_source(config, STELE_SETTING_PORT), STELE_CONFIG_FILE);
    end(config);
}

TEST(an_empty_file_sets_nothing)
{
    static const char *const empty[] = {"", "# nothing\n", "---\n", "\n\n", "{}\n"};
    for (size_t i = 0; i < STELE_COUNT_OF(empty); i++) {
        struct stele_config *config = make();
        CHECK_OK(add(config, empty[i]), err);
        end(config);
    }
}

TEST(mistakes_in_a_file_are_told_with_line_and_advice)
{
    static const struct {
        const char *yaml, *part;
    } bad[] = {
        {"prot: 1\n", "line 1: there is no setting 'prot'; did you mean 'port'?"},
        {"port: 1\n\nlog_levle: info\n", "line 3: there is no setting 'log_levle'; did you mean "
                                         "'log-level'?"},
        {"certificate: x\n", "did you mean 'tls-certificate'?"},
        {"zzzzzzz: 1\n", "there is no setting 'zzzzzzz'"},
        {"port: 1\nport: 2\n", "line 2: port is set twice"},
        {"port: high\n", "port is 'high', but has to be a whole number"},
        {"port: 65536\n", "port has to be from 0 to 65535"},
        {"port: -1\n", "a whole number"},
        {"port: 99999999999999999999\n", "a whole number"},
        {"port: [1]\n", "line 1: port has to be a whole number"},
        {"port: {a: 1}\n", "line 1: port has to be"},
        {"event-size-max: 17MiB\n", "event-size-max has to be from 1KiB to 16MiB"},
        {"event-size-max: 1 zib\n", "a size like"},
        {"event-size-max: 99999999999GiB\n", "a size like"},
        {"drain-timeout: 10\n", "a duration like"},
        {"insecure: maybe\n", "true or false"},
        {"log-level: loud\n", "has to be one of debug|info|warning|error"},
        {"listen: []\n", "has no items"},
        {"listen: [{a: b}]\n", "no text"},
        {"- a\n- b\n", "name: value"},
        {"just a text\n", "name: value"},
        {"port: 1\n---\nport: 2\n", "name: value"},
        {"listen: [1\n", "this is no YAML"},
        {"\tport: 1\n", "this is no YAML"},
        {"[1]: 2\n", "has to be a text"},
        {"port: *x\n", "has to be a whole number"},
        {"a: &a [*a]\n", "no setting 'a'"},
    };
    for (size_t i = 0; i < STELE_COUNT_OF(bad); i++) {
        struct stele_config *config = make();
        CHECK_OUTCOME(add(config, bad[i].yaml), STELE_E_INVALID, err);
        CHECK_TEXT_HAS(err.message, "stele.yaml");
        CHECK_TEXT_HAS(err.message, bad[i].part);
        end(config);
    }
}

static void on_unknown(void *context, const char *variable, const char *nearest)
{
    char *said = context;
    const size_t used = strlen(said);
    (void)snprintf(said + used, 256 - used, "%s %s;", variable, nearest != NULL ? nearest : "-");
}

TEST(flags_go_before_the_environment_and_that_before_the_file)
{
    static const char *const variables[] = {
        "HOME=/x",  "STELE_PORT=2",         "STELE_THREADS=2", "STELE_PROT=9",
        "STELE_X=", "STELE_LISTEN=a, b ,c", "STELE_CONFIG=y",  NULL};
    char said[256] = "";
    struct stele_config *config = make();
    CHECK_OK(add(config, "port: 1\nthreads: 1\ncalls-max: 1\n"), err);
    CHECK_OK(stele_config_add_environment(config, variables, on_unknown, said, &err), err);
    CHECK_OK(stele_config_set(config, STELE_SETTING_PORT, "3", &err), err);
    CHECK_EQ(stele_config_number(config, STELE_SETTING_PORT), 3);
    CHECK_EQ(stele_config_number(config, STELE_SETTING_THREADS), 2);
    CHECK_EQ(stele_config_number(config, STELE_SETTING_CALLS_MAX), 1);
    CHECK_TEXT_EQ(said, "STELE_PROT port;STELE_X -;");
    CHECK_TEXT_EQ(stele_config_item(config, STELE_SETTING_LISTEN, 1), "b");
    CHECK_TEXT_EQ(stele_config_item(config, STELE_SETTING_LISTEN, 2), "c");
    CHECK_EQ(stele_config_source(config, STELE_SETTING_PORT), STELE_CONFIG_FLAG);
    CHECK_EQ(stele_config_source(config, STELE_SETTING_THREADS), STELE_CONFIG_ENVIRONMENT);
    CHECK_EQ(stele_config_source(config, STELE_SETTING_STORE), STELE_CONFIG_DEFAULT);
    end(config);
}

TEST(a_variable_that_kubernetes_sets_is_explained)
{
    static const char *const variables[] = {"STELE_PORT=tcp://10.0.0.1:2113", NULL};
    struct stele_config *config = make();
    CHECK_EQ(stele_config_add_environment(config, variables, NULL, NULL, &err), STELE_E_INVALID);
    CHECK_TEXT_HAS(err.message, "STELE_PORT");
    CHECK_TEXT_HAS(err.message, "enableServiceLinks");
    end(config);
}

TEST(every_setting_has_a_variable_and_a_default_of_its_kind)
{
    char variable[64];
    for (int i = 0; i < STELE_SETTING_COUNT; i++) {
        const struct stele_setting_row *row = stele_setting_row((enum stele_setting)i);
        stele_config_variable((enum stele_setting)i, variable);
        CHECK(strncmp(variable, "STELE_", 6) == 0);
        CHECK_EQ(strlen(variable), strlen(row->name) + 6);
        CHECK_EQ(row->argument == NULL, row->kind == STELE_SETTING_KIND_FLAG);
        CHECK(row->help[0] != '\0');
        for (int k = 0; k < i; k++) {
            CHECK(strcmp(row->name, stele_setting_row((enum stele_setting)k)->name) != 0);
        }
    }
    stele_config_variable(STELE_SETTING_TLS_CLIENT_CA, variable);
    CHECK_TEXT_EQ(variable, "STELE_TLS_CLIENT_CA");
}

TEST(values_that_do_not_go_together_are_refused)
{
    static const struct {
        const char *yaml, *part;
    } bad[] = {
        {"tls-key: k\n", "tls-certificate is missing"},
        {"tls-certificate: c\n", "tls-key is missing"},
        {"tls-client-ca: c\n", "needs tls-certificate"},
        {"tls-client-required: true\n", "needs tls-client-ca"},
        {"append-size-max: 1MiB\n", "event-size-max is above"},
    };
    for (size_t i = 0; i < STELE_COUNT_OF(bad); i++) {
        struct stele_config *config = make();
        CHECK_OK(add(config, bad[i].yaml), err);
        CHECK_EQ(stele_config_check(config, &err), STELE_E_INVALID);
        CHECK_TEXT_HAS(err.message, bad[i].part);
        end(config);
    }
}

static char *print(struct stele_config *config)
{
    static char text[32768];
    struct stele_buf buf = {.data = NULL};
    CHECK_OK(stele_config_print(config, &buf, &err), err);
    CHECK(buf.size < sizeof text);
    memcpy(text, buf.data, buf.size);
    text[buf.size] = '\0';
    stele_buf_deinit(&buf, &memory.base);
    return text;
}

TEST(what_is_printed_is_read_back_and_shows_no_secret)
{
    static const char *const variables[] = {"STELE_ADMIN_PASSWORD=canary-7Hk2", "STELE_PORT=7",
                                            NULL};
    static char first[32768];
    struct stele_config *config = make();
    CHECK_OK(add(config, "jwt-issuer: \"a \\\"b\\\" \\\\ # c\\n\\x07 \xc3\xa4\"\n"
                         "listen: [a, 'b, c']\nops-password: canary-7Hk3\n"),
             err);
    CHECK_OK(stele_config_add_environment(config, variables, NULL, NULL, &err), err);
    CHECK_OK(stele_config_set(config, STELE_SETTING_INSECURE, "true", &err), err);
    (void)snprintf(first, sizeof first, "%s", print(config));
    CHECK(strstr(first, "canary") == NULL);
    CHECK_TEXT_HAS(first, "# admin-password: (hidden)  # environment, STELE_ADMIN_PASSWORD\n");
    CHECK_TEXT_HAS(first, "port: 7  # environment, STELE_PORT\n");
    CHECK_TEXT_HAS(first, "insecure: true  # command line, --insecure\n");
    CHECK_TEXT_HAS(first, "  # stele.yaml, line 2\n");
    CHECK_TEXT_HAS(first, "threads: 0  # default\n");
    end(config);
    config = make();
    CHECK_OK(add(config, first), err);
    CHECK_EQ(stele_config_number(config, STELE_SETTING_PORT), 7);
    CHECK_TEXT_EQ(stele_config_text(config, STELE_SETTING_JWT_ISSUER),
                  "a \"b\" \\ # c\n\x07 \xc3\xa4");
    CHECK_TEXT_EQ(stele_config_item(config, STELE_SETTING_LISTEN, 1), "b, c");
    end(config);
}

TEST(no_secret_is_in_a_message)
{
    struct stele_config *config = make();
    static char yaml[8192] = "admin-password: ";
    memset(yaml + 16, 'Q', 5000);
    CHECK_EQ(add(config, yaml), STELE_E_INVALID);
    CHECK(strstr(err.message, "QQ") == NULL);
    CHECK_EQ(add(config, "ops-password: [QQ]\n"), STELE_E_INVALID);
    CHECK(strstr(err.message, "QQ") == NULL);
    end(config);
}

TEST(every_failing_allocation_is_told)
{
    for (uint64_t at = 1;; at++) {
        struct stele_config *config = NULL;
        testalloc_init(&memory, 1);
        memory.fail_at = at;
        int outcome = stele_config_create(&memory.base, &config);
        if (outcome == STELE_OK) {
            outcome = add(config, "port: 1\nlisten: [a]\n");
        }
        stele_config_destroy(config);
        CHECK_EQ(memory.bytes, 0);
        if (memory.failures == 0) {
            CHECK_EQ(outcome, STELE_OK);
            break;
        }
        CHECK_EQ(outcome, STELE_E_NO_MEMORY);
    }
}
