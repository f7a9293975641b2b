#include "cli/table.h"

#include "cli/cli.h"
#include "cli/out.h"
#include "cli/text.h"

#include <stdio.h>
#include <string.h>

static bool first;

void stele_cli_table_begin(void)
{
    first = true;
    stele_cli_out(stele_cli_globals.json ? "{" : "");
}

void stele_cli_table_end(void)
{
    stele_cli_out(stele_cli_globals.json ? "}\n" : "");
}

static void begin_value(const char *name)
{
    if (!stele_cli_globals.json) {
        stele_cli_out_color(STELE_CLI_DIM);
        stele_cli_outf("%-18s", name);
        stele_cli_out_color(STELE_CLI_PLAIN);
        return;
    }
    stele_cli_out(first ? "\"" : ",\"");
    for (const char *at = name; *at != '\0'; at++) {
        stele_cli_out_bytes(*at == ' ' ? "_" : at, 1);
    }
    stele_cli_out("\":");
    first = false;
}

static void end_value(void)
{
    stele_cli_out(stele_cli_globals.json ? "" : "\n");
}

void stele_cli_table_number(const char *name, uint64_t value)
{
    begin_value(name);
    stele_cli_outf("%llu", (unsigned long long)value);
    end_value();
}

void stele_cli_table_size(const char *name, uint64_t value)
{
    char text[STELE_CLI_SIZE_SIZE];
    stele_cli_size_format(value, text);
    begin_value(name);
    if (stele_cli_globals.json) {
        stele_cli_outf("%llu", (unsigned long long)value);
    } else {
        stele_cli_out(text);
    }
    end_value();
}

void stele_cli_table_position(const char *name, uint64_t value)
{
    char text[STELE_TIME_SIZE];
    begin_value(name);
    if (stele_cli_globals.json) {
        stele_cli_outf("\"%llu\"", (unsigned long long)value);
    } else if (value > 0 && stele_time_format(stele_position_time(value), 3, text)) {
        stele_cli_outf("%llu  (%.23sZ)", (unsigned long long)value, text);
    } else {
        stele_cli_outf("%llu", (unsigned long long)value);
    }
    end_value();
}

void stele_cli_table_text(const char *name, const char *value)
{
    begin_value(name);
    if (stele_cli_globals.json) {
        stele_cli_out_json_text(stele_cli_text(value));
    } else {
        stele_cli_out_safe(stele_cli_text(value), 0);
    }
    end_value();
}

void stele_cli_table_bool(const char *name, bool value)
{
    begin_value(name);
    if (stele_cli_globals.json) {
        stele_cli_out(value ? "true" : "false");
    } else {
        stele_cli_out(value ? "yes" : "no");
    }
    end_value();
}

void stele_cli_table_json(const char *name, struct stele_text json)
{
    begin_value(name);
    stele_cli_out_json_raw(json);
    end_value();
}
