/* Stream metadata: any bytes are refused with words, or are limits that make sense. */
#include "store/store_internal.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct stele_stream_limits limits = {.found = false};
    struct stele_error err = {.outcome = STELE_OK};
    const int checked = stele_metadata_check((const char *)data, size, &err);
    STELE_ASSERT(checked == STELE_OK || err.message[0] != '\0');
    if (size == 0) {
        return 0;
    }
    const int parsed =
        stele_store__limits_parse((struct stele_bytes){.data = data, .size = size}, &limits, &err);
    STELE_ASSERT(parsed == checked);
    if (parsed == STELE_OK) {
        STELE_ASSERT(limits.max_age_us >= 0);
        STELE_ASSERT(limits.max_count <= INT64_MAX);
        STELE_ASSERT(limits.truncate_before <= INT64_MAX);
        STELE_ASSERT(stele_store__first_revision(&limits, 10) >= limits.truncate_before);
    }
    return 0;
}
