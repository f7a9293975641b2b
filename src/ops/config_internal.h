/* Inside the files of config.h. */
#ifndef STELE_OPS_CONFIG_INTERNAL_H
#define STELE_OPS_CONFIG_INTERNAL_H

#include "ops/config.h"

#define CONFIG_VALUE_SIZE_MAX ((size_t)4096) /* With the zeros. */
#define CONFIG_ITEMS_MAX 16

/* What a setting is, and who said so. */
struct config_value {
    char *text; /* CONFIG_VALUE_SIZE_MAX at most; the items of a list end with a zero each. */
    size_t size;
    uint64_t number;
    bool flag;
    size_t items;
    enum stele_config_source source;
    unsigned line; /* In the file. */
};

struct stele_config {
    struct stele_alloc *alloc;
    struct config_value values[STELE_SETTING_COUNT];
    char path[512]; /* Of the file. */
};

/* ---- config.c ---- */

extern const struct stele_setting_row stele_config__rows[STELE_SETTING_COUNT];

/* A value that is checked, before it takes its place. */
struct config_candidate {
    const char *text;
    size_t size; /* With the zeros of a list's items. */
    uint64_t number;
    bool flag;
    size_t items;
};

/* Both set what the setting is; where: who says so, for messages. STELE_OK; STELE_E_INVALID: it stays
 * what it was; STELE_E_NO_MEMORY. */
int stele_config__put(struct stele_config *config, enum stele_setting setting,
                      enum stele_config_source source, const char *where,
                      struct config_candidate *candidate, struct stele_error *err);
/* The items of a list stand between commas. */
int stele_config__put_text(struct stele_config *config, enum stele_setting setting,
                           enum stele_config_source source, const char *where, const char *text,
                           struct stele_error *err);

/* ---- config_value.c ---- */

/* The name that was probably meant: few letters differ, or one begins with the other. Or NULL. */
const char *stele_config__nearest_to(const char *name);
/* STELE_SETTING_COUNT: there is none of that name. Files may have _ for -. */
enum stele_setting stele_config__find(const char *name);
/* What a value has to look like, for messages. */
const char *stele_config__form_of(enum stele_setting_kind kind);
/* Fills the rest of a candidate from its text. STELE_OK or STELE_E_INVALID. */
int stele_config__parse(const struct stele_setting_row *row, const char *where,
                        struct config_candidate *candidate, struct stele_error *err);

#endif
