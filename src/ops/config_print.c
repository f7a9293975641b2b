/* The configuration for people to read: what holds and where it comes from; what there is. */
#include "base/text.h"
#include "ops/config_internal.h"

#include <stdio.h>

struct printer {
    struct stele_alloc *alloc;
    struct stele_buf *buf;
    int outcome;
};

static void out_bytes(struct printer *printer, const char *bytes, size_t size)
{
    if (printer->outcome == STELE_OK) {
        printer->outcome =
            stele_buf_append(printer->buf, printer->alloc,
                             (struct stele_bytes){.data = (const uint8_t *)bytes, .size = size});
    }
}

static void out(struct printer *printer, const char *text)
{
    out_bytes(printer, text, strlen(text));
}

/* What YAML 1.1 takes for the end of a line, or does not take at all, and what ends the scalar. */
static bool needs_escape(uint32_t point)
{
    return point < 0x20 || point == '"' || point == '\\' || (point >= 0x7f && point < 0xa0) ||
           point == 0x2028 || point == 0x2029 || point == 0xfeff || point == 0xfffe ||
           point == 0xffff;
}

/* A double-quoted scalar: any UTF-8 comes back as it was. */
static void out_quoted(struct printer *printer, const char *text)
{
    out(printer, "\"");
    for (size_t size = 0; *text != '\0'; text += size) {
        uint32_t point = 0;
        char escape[16];
        size = stele_utf8_decode(stele_bytes_of_text(text), &point);
        if (size > 0 && !needs_escape(point)) {
            out_bytes(printer, text, size);
            continue;
        }
        (void)snprintf(escape, sizeof escape, "\\u%04x",
                       size > 0 ? point : (unsigned)(unsigned char)*text);
        out(printer, escape);
        size = size > 0 ? size : 1;
    }
    out(printer, "\"");
}

static void out_value(struct printer *printer, const struct stele_config *config,
                      enum stele_setting setting)
{
    const struct config_value *const value = &config->values[setting];
    switch (stele_config__rows[setting].kind) {
    case STELE_SETTING_KIND_FLAG:
        out(printer, value->flag ? "true" : "false");
        break;
    case STELE_SETTING_KIND_LIST:
        out(printer, "[");
        for (size_t i = 0; i < value->items; i++) {
            out(printer, i > 0 ? ", " : "");
            out_quoted(printer, stele_config_item(config, setting, i));
        }
        out(printer, "]");
        break;
    case STELE_SETTING_KIND_TEXT:
        out_quoted(printer, value->text);
        break;
    case STELE_SETTING_KIND_NUMBER:
    case STELE_SETTING_KIND_SIZE:
    case STELE_SETTING_KIND_DURATION:
    case STELE_SETTING_KIND_CHOICE:
        out(printer, value->text);
        break;
    case STELE_SETTING_KIND_SECRET:
        break;
    }
}

static void out_source(struct printer *printer, const struct stele_config *config,
                       enum stele_setting setting)
{
    const struct config_value *const value = &config->values[setting];
    char text[640] = "default";
    char variable[64];
    if (value->source == STELE_CONFIG_FILE) {
        (void)snprintf(text, sizeof text, "%s, line %u", config->path, value->line);
    } else if (value->source == STELE_CONFIG_ENVIRONMENT) {
        stele_config_variable(setting, variable);
        (void)snprintf(text, sizeof text, "environment, %s", variable);
    } else if (value->source == STELE_CONFIG_FLAG) {
        (void)snprintf(text, sizeof text, "command line, --%s", stele_config__rows[setting].name);
    }
    out(printer, "  # ");
    for (char *at = text; *at != '\0'; at++) {
        *at = (char)((unsigned char)*at < 0x20 ? '?' : *at); /* A comment is one line. */
    }
    out(printer, text);
    out(printer, "\n");
}

int stele_config_print(const struct stele_config *config, struct stele_buf *buf,
                       struct stele_error *err)
{
    struct printer printer = {.alloc = config->alloc, .buf = buf, .outcome = STELE_OK};
    for (int i = 0; i < STELE_SETTING_COUNT; i++) {
        const enum stele_setting setting = (enum stele_setting)i;
        const bool is_secret = stele_config__rows[i].kind == STELE_SETTING_KIND_SECRET;
        out(&printer, is_secret ? "# " : "");
        out(&printer, stele_config__rows[i].name);
        out(&printer, ": ");
        if (is_secret) {
            out(&printer, stele_config_text(config, setting) != NULL ? "(hidden)" : "(not set)");
        }
        out_value(&printer, config, setting);
        out_source(&printer, config, setting);
    }
    return printer.outcome == STELE_OK
               ? STELE_OK
               : stele_fail(err, printer.outcome, 0, "print the configuration: no memory");
}

/* ---- Documents ---- */

static const char *value_form(const struct stele_setting_row *row)
{
    return row->argument != NULL ? row->argument : "true|false";
}

int stele_config_document_markdown(struct stele_alloc *alloc, struct stele_buf *buf)
{
    struct printer printer = {.alloc = alloc, .buf = buf, .outcome = STELE_OK};
    out(&printer, "| setting | value | default | what it is |\n|---|---|---|---|\n");
    for (size_t i = 0; i < STELE_SETTING_COUNT; i++) {
        const struct stele_setting_row *const row = &stele_config__rows[i];
        out(&printer, "| `");
        out(&printer, row->name);
        out(&printer, "` | ");
        for (const char *at = value_form(row); *at != '\0'; at++) {
            out(&printer, *at == '|' ? "\\" : "");
            out_bytes(&printer, at, 1);
        }
        out(&printer, " | ");
        if (row->otherwise[0] != '\0') {
            out(&printer, "`");
            out(&printer, row->otherwise);
            out(&printer, "`");
        }
        out(&printer, " | ");
        out(&printer, row->help);
        out(&printer, row->kind == STELE_SETTING_KIND_SECRET ? " (no flag)" : "");
        out(&printer, " |\n");
    }
    return printer.outcome;
}

/* roff: a hyphen that is a minus, a backslash, and a dot or quote at the start of a line. */
static void out_roff(struct printer *printer, const char *text)
{
    for (; *text != '\0'; text++) {
        if (*text == '-') {
            out(printer, "\\-");
        } else if (*text == '\\') {
            out(printer, "\\e");
        } else {
            out_bytes(printer, text, 1);
        }
    }
}

int stele_config_document_man(struct stele_alloc *alloc, struct stele_buf *buf)
{
    struct printer printer = {.alloc = alloc, .buf = buf, .outcome = STELE_OK};
    for (size_t i = 0; i < STELE_SETTING_COUNT; i++) {
        const struct stele_setting_row *const row = &stele_config__rows[i];
        out(&printer, ".TP\n");
        out(&printer, row->argument != NULL ? ".BI " : ".B ");
        if (row->kind != STELE_SETTING_KIND_SECRET) {
            out(&printer, "\\-\\-");
        }
        out_roff(&printer, row->name);
        if (row->argument != NULL) {
            out(&printer, " \" ");
            out_roff(&printer, row->argument);
            out(&printer, "\"");
        }
        out(&printer, "\n\\&");
        out_roff(&printer, row->help);
        if (row->otherwise[0] != '\0') {
            out(&printer, " (default: ");
            out_roff(&printer, row->otherwise);
            out(&printer, ")");
        }
        if (row->kind == STELE_SETTING_KIND_SECRET) {
            out(&printer, "; in the file or the environment only");
        }
        out(&printer, "\n");
    }
    return printer.outcome;
}
