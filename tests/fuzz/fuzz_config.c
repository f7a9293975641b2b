/* A configuration file: any bytes are refused with words, or set values within their bounds that are
 * printed and read back as the same. */
#include "lib/testalloc.h"
#include "ops/config.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_values(const struct stele_config *config)
{
    for (int i = 0; i < STELE_SETTING_COUNT; i++) {
        const enum stele_setting setting = (enum stele_setting)i;
        const struct stele_setting_row *row = stele_setting_row(setting);
        if (row->kind == STELE_SETTING_KIND_NUMBER || row->kind == STELE_SETTING_KIND_SIZE ||
            row->kind == STELE_SETTING_KIND_DURATION) {
            STELE_ASSERT(stele_config_number(config, setting) >= row->min);
            STELE_ASSERT(stele_config_number(config, setting) <= row->max);
        } else if (row->kind == STELE_SETTING_KIND_LIST) {
            STELE_ASSERT(stele_config_item(config, setting, 0) != NULL);
        }
    }
}

static void check_printed(struct testalloc *alloc, const struct stele_config *config)
{
    struct stele_config *again = NULL;
    struct stele_buf first = {.data = NULL};
    struct stele_error err = {.outcome = STELE_OK};
    STELE_ASSERT(stele_config_print(config, &first, &err) == STELE_OK);
    STELE_ASSERT(stele_config_create(&alloc->base, &again) == STELE_OK);
    const struct stele_bytes text = {.data = first.data, .size = first.size};
    STELE_ASSERT(stele_config_add_yaml(again, "printed", text, &err) == STELE_OK);
    for (int i = 0; i < STELE_SETTING_COUNT; i++) {
        const enum stele_setting setting = (enum stele_setting)i;
        const char *const a = stele_config_text(config, setting);
        const char *const b = stele_config_text(again, setting);
        const enum stele_setting_kind kind = stele_setting_row(setting)->kind;
        if (kind == STELE_SETTING_KIND_TEXT) {
            STELE_ASSERT((a == NULL) == (b == NULL));
            STELE_ASSERT(a == NULL || strcmp(a, b) == 0);
        }
    }
    stele_buf_deinit(&first, &alloc->base);
    stele_config_destroy(again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct testalloc alloc;
    struct stele_config *config = NULL;
    struct stele_error err = {.outcome = STELE_OK};
    testalloc_init(&alloc, 1);
    STELE_ASSERT(stele_config_create(&alloc.base, &config) == STELE_OK);
    const struct stele_bytes yaml = {.data = data, .size = size};
    const int outcome = stele_config_add_yaml(config, "fuzz.yaml", yaml, &err);
    STELE_ASSERT(outcome == STELE_OK || (outcome == STELE_E_INVALID && err.message[0] != '\0'));
    check_values(config);
    if (outcome == STELE_OK) {
        check_printed(&alloc, config);
    }
    stele_config_destroy(config);
    STELE_ASSERT(alloc.bytes == 0);
    return 0;
}
