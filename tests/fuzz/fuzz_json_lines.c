/* JSON lines and CloudEvents: any line is refused with words, or is an event whose parts lie in
 * memory that can be read to their ends. */
#include "base/assert.h"
#include "cli/arena.h"
#include "cli/event.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct stele_cli_arena arena = {0};
    struct stele_cli_input input;
    struct stele_cli_mistake mistake = {.column = 0};
    const struct stele_text line = {.data = (const char *)data, .size = size};
    if (stele_cli_event_read(line, &arena, &input, &mistake)) {
        volatile uint8_t sum = 0; /* Touching every byte lets the sanitizer look. */
        const uint8_t *const bytes = input.draft.data;
        for (size_t i = 0; i < input.draft.data_size; i++) {
            sum = (uint8_t)(sum + bytes[i]);
        }
        for (size_t i = 0; i < input.draft.tags_count; i++) {
            STELE_ASSERT(strlen(input.draft.tags[i]) <= size);
        }
        STELE_ASSERT(input.stream == NULL || strlen(input.stream) <= size);
    } else {
        STELE_ASSERT(mistake.text[0] != '\0');
    }
    stele_cli_arena_free(&arena);
    return 0;
}
