/* What the settings are, from flags, the environment and the file. */
#include "ops/config_internal.h"

#include <ctype.h>
#include <stdio.h>

#define ROW(name, text, kind, otherwise, min, max, argument, help)                                 \
    {text, STELE_SETTING_KIND_##kind, otherwise, min, max, argument, help},
const struct stele_setting_row stele_config__rows[STELE_SETTING_COUNT] = {STELE_SETTINGS(ROW)};
#undef ROW

const struct stele_setting_row *stele_setting_row(enum stele_setting setting)
{
    STELE_ASSERT(setting < STELE_SETTING_COUNT);
    return &stele_config__rows[setting];
}

void stele_config_variable(enum stele_setting setting, char variable[64])
{
    (void)snprintf(variable, 64, "STELE_%s", stele_config__rows[setting].name);
    for (char *at = variable; *at != '\0'; at++) {
        *at = (char)(*at == '-' ? '_' : toupper((unsigned char)*at));
    }
}

static void release(struct stele_config *config, struct config_value *value)
{
    if (value->text != NULL) {
        explicit_bzero(value->text, value->size);
        stele_release(config->alloc, value->text, value->size);
    }
}

int stele_config__put(struct stele_config *config, enum stele_setting setting,
                      enum stele_config_source source, const char *where,
                      struct config_candidate *candidate, struct stele_error *err)
{
    struct config_value *const value = &config->values[setting];
    const int outcome = stele_config__parse(&stele_config__rows[setting], where, candidate, err);
    if (outcome != STELE_OK) {
        return outcome;
    }
    char *const text = stele_allocate(config->alloc, candidate->size);
    if (text == NULL) {
        return stele_fail(err, STELE_E_NO_MEMORY, 0, "%s: no memory", where);
    }
    memcpy(text, candidate->text, candidate->size);
    release(config, value);
    *value = (struct config_value){.text = text,
                                   .size = candidate->size,
                                   .number = candidate->number,
                                   .flag = candidate->flag,
                                   .items = candidate->items,
                                   .source = source};
    return STELE_OK;
}

/* Commas become zeros; blanks around items go. Returns how many bytes are used. */
static size_t split(const char *text, char *items, size_t *out_count)
{
    size_t at = 0;
    *out_count = 0;
    for (;;) {
        text += strspn(text, " ,");
        if (*text == '\0' || *out_count == CONFIG_ITEMS_MAX) {
            return at;
        }
        size_t size = strcspn(text, ",");
        const size_t skip = size;
        while (size > 0 && text[size - 1] == ' ') {
            size--;
        }
        memcpy(items + at, text, size);
        items[at + size] = '\0';
        at += size + 1;
        text += skip;
        ++*out_count;
    }
}

int stele_config__put_text(struct stele_config *config, enum stele_setting setting,
                           enum stele_config_source source, const char *where, const char *text,
                           struct stele_error *err)
{
    char items[CONFIG_VALUE_SIZE_MAX];
    struct config_candidate candidate = {.text = text, .size = strlen(text) + 1};
    if (candidate.size > CONFIG_VALUE_SIZE_MAX) {
        return stele_fail(err, STELE_E_INVALID, 0, "%s: %s is longer than 4095 bytes", where,
                          stele_config__rows[setting].name);
    }
    if (stele_config__rows[setting].kind == STELE_SETTING_KIND_LIST) {
        candidate.text = items;
        candidate.size = split(text, items, &candidate.items);
        if (candidate.items == 0) {
            return stele_fail(err, STELE_E_INVALID, 0, "%s: %s has no items", where,
                              stele_config__rows[setting].name);
        }
    }
    return stele_config__put(config, setting, source, where, &candidate, err);
}

int stele_config_create(struct stele_alloc *alloc, struct stele_config **out_config)
{
    struct stele_config *const config = stele_allocate_zeroed(alloc, sizeof *config);
    int outcome = config == NULL ? STELE_E_NO_MEMORY : STELE_OK;
    if (config != NULL) {
        config->alloc = alloc;
    }
    for (int i = 0; i < STELE_SETTING_COUNT && outcome == STELE_OK; i++) {
        outcome = stele_config__put_text(config, (enum stele_setting)i, STELE_CONFIG_DEFAULT,
                                         "the default", stele_config__rows[i].otherwise, NULL);
        STELE_ASSERT(outcome != STELE_E_INVALID);
    }
    if (outcome != STELE_OK) {
        stele_config_destroy(config);
        return outcome;
    }
    *out_config = config;
    return STELE_OK;
}

void stele_config_destroy(struct stele_config *config)
{
    if (config == NULL) {
        return;
    }
    for (int i = 0; i < STELE_SETTING_COUNT; i++) {
        release(config, &config->values[i]);
    }
    stele_release(config->alloc, config, sizeof *config);
}

/* ---- Flags and the environment ---- */

int stele_config_set(struct stele_config *config, enum stele_setting setting, const char *value,
                     struct stele_error *err)
{
    return stele_config__put_text(config, setting, STELE_CONFIG_FLAG, "the command line", value,
                                  err);
}

/* Variables of the tools around, and of the client: no settings, and no mistakes. */
static bool is_other(const char *variable)
{
    static const char *const others[] = {"STELE_CONFIG", "STELE_LOGIN", "STELE_PASSWORD",
                                         "STELE_TOKEN"};
    for (size_t i = 0; i < STELE_COUNT_OF(others); i++) {
        if (strcmp(variable, others[i]) == 0) {
            return true;
        }
    }
    return false;
}

static int add_variable(struct stele_config *config, const char *variable, const char *value,
                        stele_config_unknown on_unknown, void *context, struct stele_error *err)
{
    char name[64];
    char where[128];
    size_t size = 0;
    for (const char *at = variable + strlen("STELE_"); *at != '\0' && size < sizeof name - 1;
         at++) {
        name[size++] = (char)(*at == '_' ? '-' : tolower((unsigned char)*at));
    }
    name[size] = '\0';
    const enum stele_setting setting = stele_config__find(name);
    if (setting == STELE_SETTING_COUNT) {
        const char *const nearest = stele_config__nearest_to(name);
        if (on_unknown != NULL && !is_other(variable)) {
            on_unknown(context, variable, nearest);
        }
        return STELE_OK;
    }
    (void)snprintf(where, sizeof where, "the environment, %s", variable);
    return stele_config__put_text(config, setting, STELE_CONFIG_ENVIRONMENT, where, value, err);
}

int stele_config_add_environment(struct stele_config *config, const char *const *variables,
                                 stele_config_unknown on_unknown, void *context,
                                 struct stele_error *err)
{
    int outcome = STELE_OK;
    for (; *variables != NULL && outcome == STELE_OK; variables++) {
        char variable[80];
        const size_t size = strcspn(*variables, "=");
        if (strncmp(*variables, "STELE_", 6) != 0 || (*variables)[size] == '\0' ||
            size >= sizeof variable) {
            continue;
        }
        memcpy(variable, *variables, size);
        variable[size] = '\0';
        outcome = add_variable(config, variable, *variables + size + 1, on_unknown, context, err);
    }
    return outcome;
}

/* ---- Together ---- */

int stele_config_check(const struct stele_config *config, struct stele_error *err)
{
    const char *const certificate = stele_config_text(config, STELE_SETTING_TLS_CERTIFICATE);
    const char *const key = stele_config_text(config, STELE_SETTING_TLS_KEY);
    const char *const ca = stele_config_text(config, STELE_SETTING_TLS_CLIENT_CA);
    if ((certificate == NULL) != (key == NULL)) {
        return stele_fail(err, STELE_E_INVALID, 0,
                          "tls-certificate and tls-key belong together: %s is missing",
                          certificate == NULL ? "tls-certificate" : "tls-key");
    }
    if (ca != NULL && certificate == NULL) {
        return stele_fail(err, STELE_E_INVALID, 0, "tls-client-ca needs tls-certificate");
    }
    if (stele_config_flag(config, STELE_SETTING_TLS_CLIENT_REQUIRED) && ca == NULL) {
        return stele_fail(err, STELE_E_INVALID, 0, "tls-client-required needs tls-client-ca");
    }
    if (stele_config_number(config, STELE_SETTING_EVENT_SIZE_MAX) >
        stele_config_number(config, STELE_SETTING_APPEND_SIZE_MAX)) {
        return stele_fail(err, STELE_E_INVALID, 0,
                          "event-size-max is above append-size-max: no such event could be stored");
    }
    return STELE_OK;
}

/* ---- Looking ---- */

const char *stele_config_text(const struct stele_config *config, enum stele_setting setting)
{
    const char *const text = config->values[setting].text;
    return text[0] == '\0' ? NULL : text;
}

uint64_t stele_config_number(const struct stele_config *config, enum stele_setting setting)
{
    const enum stele_setting_kind kind = stele_config__rows[setting].kind;
    STELE_ASSERT(kind == STELE_SETTING_KIND_NUMBER || kind == STELE_SETTING_KIND_SIZE ||
                 kind == STELE_SETTING_KIND_DURATION);
    return config->values[setting].number;
}

bool stele_config_flag(const struct stele_config *config, enum stele_setting setting)
{
    STELE_ASSERT(stele_config__rows[setting].kind == STELE_SETTING_KIND_FLAG);
    return config->values[setting].flag;
}

const char *stele_config_item(const struct stele_config *config, enum stele_setting setting,
                              size_t index)
{
    const struct config_value *const value = &config->values[setting];
    STELE_ASSERT(stele_config__rows[setting].kind == STELE_SETTING_KIND_LIST);
    const char *at = value->text;
    if (index >= value->items) {
        return NULL;
    }
    for (; index > 0; index--) {
        at += strlen(at) + 1;
    }
    return at;
}

enum stele_config_source stele_config_source(const struct stele_config *config,
                                             enum stele_setting setting)
{
    return config->values[setting].source;
}
