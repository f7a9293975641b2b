/* The configuration of a server: a file, the environment, flags, in that order of strength.
 *
 *     stele_config_create()
 *     stele_config_add_file()            may be left out
 *     stele_config_add_environment()
 *     stele_config_set()                 for each flag
 *     stele_config_text() …
 *
 * A key that does not exist is an error with a suggestion; so is a value that its kind does not
 * allow. Where each value comes from is remembered, for --print-config and for messages. */
#ifndef STELE_OPS_CONFIG_H
#define STELE_OPS_CONFIG_H

#include "base/alloc.h"
#include "base/status.h"
#include "ops/settings.h"

enum stele_setting_kind {
    STELE_SETTING_KIND_TEXT,
    STELE_SETTING_KIND_LIST,
    STELE_SETTING_KIND_NUMBER,
    STELE_SETTING_KIND_SIZE,
    STELE_SETTING_KIND_DURATION,
    STELE_SETTING_KIND_FLAG,
    STELE_SETTING_KIND_CHOICE,
    STELE_SETTING_KIND_SECRET,
};

/* A row of the table. */
struct stele_setting_row {
    const char *name;
    enum stele_setting_kind kind;
    const char *otherwise; /* The default. */
    uint64_t min, max;     /* Of NUMBER, SIZE and DURATION. */
    const char *argument;  /* NULL for a FLAG. */
    const char *help;
};
const struct stele_setting_row *stele_setting_row(enum stele_setting setting);
/* "STELE_TLS_KEY" for "tls-key"; variable has room for 64. */
void stele_config_variable(enum stele_setting setting, char variable[64]);

enum stele_config_source {
    STELE_CONFIG_DEFAULT,
    STELE_CONFIG_FILE,
    STELE_CONFIG_ENVIRONMENT,
    STELE_CONFIG_FLAG,
};

struct stele_config;

/* Everything at its default. */
STELE_MUST_USE
int stele_config_create(struct stele_alloc *alloc, struct stele_config **out_config);
/* Wipes secrets. NULL is fine. */
void stele_config_destroy(struct stele_config *config);

/* A YAML file: a mapping of names to values. STELE_OK; STELE_NOT_FOUND; STELE_E_PERMISSION;
 * STELE_E_IO; STELE_E_INVALID with file, line, what is wrong, and what may have been meant. */
STELE_MUST_USE
int stele_config_add_file(struct stele_config *config, const char *path, struct stele_error *err);
/* The same from memory; path is for messages. */
STELE_MUST_USE
int stele_config_add_yaml(struct stele_config *config, const char *path, struct stele_bytes yaml,
                          struct stele_error *err);

/* variables: "NAME=value" … NULL, as environ. Variables whose name begins with STELE_ and is none of
 * ours belong to others or are mistyped: on_unknown is told, with the nearest name or NULL. */
typedef void (*stele_config_unknown)(void *context, const char *variable, const char *nearest);
STELE_MUST_USE
int stele_config_add_environment(struct stele_config *config, const char *const *variables,
                                 stele_config_unknown on_unknown, void *context,
                                 struct stele_error *err);

/* A value from a flag. STELE_OK, STELE_E_INVALID. */
STELE_MUST_USE
int stele_config_set(struct stele_config *config, enum stele_setting setting, const char *value,
                     struct stele_error *err);

/* What is wrong with values together (a certificate without a key …). */
STELE_MUST_USE
int stele_config_check(const struct stele_config *config, struct stele_error *err);

/* Empty texts are NULL. Valid until the setting changes. */
const char *stele_config_text(const struct stele_config *config, enum stele_setting setting);
/* NUMBER; SIZE in bytes; DURATION in milliseconds. */
uint64_t stele_config_number(const struct stele_config *config, enum stele_setting setting);
bool stele_config_flag(const struct stele_config *config, enum stele_setting setting);
/* Item number index of a LIST, NULL past the last. */
const char *stele_config_item(const struct stele_config *config, enum stele_setting setting,
                              size_t index);
enum stele_config_source stele_config_source(const struct stele_config *config,
                                             enum stele_setting setting);

/* YAML that add_yaml() takes, with the source of each value in a comment; secrets only say whether
 * they are set. Appended to buf. */
STELE_MUST_USE
int stele_config_print(const struct stele_config *config, struct stele_buf *buf,
                       struct stele_error *err);

/* The table for people: a Markdown table, and the body of a section of a manual page. */
STELE_MUST_USE
int stele_config_document_markdown(struct stele_alloc *alloc, struct stele_buf *buf);
STELE_MUST_USE
int stele_config_document_man(struct stele_alloc *alloc, struct stele_buf *buf);

#endif
