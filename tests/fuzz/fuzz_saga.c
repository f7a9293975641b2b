/* Events of a saga's stream: any bytes are an event or a refusal, and what was read can be written and is read as
 * the same. Folding them, in whatever order, ends in a state or a refusal that changes nothing.
 *
 * One event a line: a byte for its type, then its data. */
#include "runner/saga_internal.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Written and read again, it is the same event. */
static void write_again(const struct stele_saga_plan *plan, const struct saga_decoded *decoded)
{
    const struct saga_start start = {.id = "1", .input = {decoded->input, decoded->input_size}};
    const struct stele_saga_plan *const own = decoded->plan != NULL ? decoded->plan : plan;
    char *const text = stele_runner__saga_encode(own, &decoded->event, "r", &start);
    if (text == NULL) {
        return; /* Numbers and texts that JSON does not have come from nowhere else than memory. */
    }
    const char *const type = stele_saga_event_type(decoded->event.kind);
    const struct stele_event event = {
        .type = {type, strlen(type)}, .data = text, .data_size = strlen(text)};
    struct saga_decoded again;
    struct stele_error err = {.outcome = STELE_OK};
    const int outcome = stele_runner__saga_decode(own, &event, &again, &err);
    STELE_ASSERT(outcome == STELE_OK);
    STELE_ASSERT(again.event.kind == decoded->event.kind);
    STELE_ASSERT(again.event.step == decoded->event.step);
    STELE_ASSERT(again.event.attempt == decoded->event.attempt);
    STELE_ASSERT(again.event.at_us == decoded->event.at_us);
    STELE_ASSERT(again.plan == NULL || memcmp(again.plan, decoded->plan, sizeof *again.plan) == 0);
    stele_runner__saga_decoded_deinit(&again);
    free(text);
}

static void fold(const struct stele_saga_plan *plan, struct stele_saga *saga,
                 const struct stele_saga_event *event)
{
    struct stele_error err = {.outcome = STELE_OK};
    struct stele_saga before;
    memcpy(&before, saga, sizeof before);
    if (stele_saga_evolve(plan, saga, event, &err) != STELE_OK) {
        STELE_ASSERT(memcmp(&before, saga, sizeof before) == 0);
    }
    (void)stele_saga_due(plan, saga);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct stele_saga_plan *plan = NULL;
    struct stele_saga saga;
    memset(&saga, 0, sizeof saga);
    while (size > 0) {
        const uint8_t *const newline = memchr(data, '\n', size);
        const size_t line = newline != NULL ? (size_t)(newline - data) : size;
        const char *const type =
            stele_saga_event_type(line > 0 ? data[0] % STELE_SAGA_EVENT_KINDS : 0);
        const struct stele_event event = {.type = {type, strlen(type)},
                                          .data = line > 0 ? data + 1 : data,
                                          .data_size = line > 0 ? line - 1 : 0};
        struct saga_decoded decoded;
        struct stele_error err = {.outcome = STELE_OK};
        if (stele_runner__saga_decode(plan, &event, &decoded, &err) == STELE_OK) {
            if (decoded.plan == NULL || decoded.event.step == STELE_SAGA_NO_STEP) {
                write_again(plan, &decoded);
            }
            if (decoded.plan != NULL && plan == NULL) {
                plan = decoded.plan;
                decoded.plan = NULL;
            }
            if (plan != NULL) {
                fold(plan, &saga, &decoded.event);
            }
            stele_runner__saga_decoded_deinit(&decoded);
        }
        const size_t step = line + (newline != NULL ? 1 : 0);
        data += step;
        size -= step;
    }
    free(plan);
    return 0;
}
