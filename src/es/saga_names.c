/* How the states and events of sagas are called, and the keys of their requests. */
#include "base/bytes.h"
#include "base/checksum.h"
#include "es/saga_internal.h"

#include <stdio.h>

static const char *const EVENT_TYPES[STELE_SAGA_EVENT_KINDS] = {
    [STELE_SAGA_EVENT_STARTED] = "SagaStarted",
    [STELE_SAGA_EVENT_STEP_REQUESTED] = "SagaStepRequested",
    [STELE_SAGA_EVENT_STEP_DONE] = "SagaStepDone",
    [STELE_SAGA_EVENT_STEP_RETRY] = "SagaStepWillRetry",
    [STELE_SAGA_EVENT_STEP_FAILED] = "SagaStepFailed",
    [STELE_SAGA_EVENT_COMPENSATING] = "SagaCompensating",
    [STELE_SAGA_EVENT_COMPENSATION_REQUESTED] = "SagaCompensationRequested",
    [STELE_SAGA_EVENT_COMPENSATION_RETRY] = "SagaCompensationWillRetry",
    [STELE_SAGA_EVENT_STEP_COMPENSATED] = "SagaStepCompensated",
    [STELE_SAGA_EVENT_PARKED] = "SagaParked",
    [STELE_SAGA_EVENT_RESUMED] = "SagaResumed",
    [STELE_SAGA_EVENT_STEP_RETRIED] = "SagaStepRetried",
    [STELE_SAGA_EVENT_STEP_SKIPPED] = "SagaStepSkipped",
    [STELE_SAGA_EVENT_CANCELLED] = "SagaCancelled",
    [STELE_SAGA_EVENT_ABANDONED] = "SagaAbandoned",
    [STELE_SAGA_EVENT_COMPLETED] = "SagaCompleted",
    [STELE_SAGA_EVENT_COMPENSATED] = "SagaCompensated",
};

static const char *const STATES[] = {
    [STELE_SAGA_NONE] = "none",
    [STELE_SAGA_RUNNING] = "running",
    [STELE_SAGA_COMPENSATING] = "compensating",
    [STELE_SAGA_PARKED] = "parked",
    [STELE_SAGA_COMPLETED] = "completed",
    [STELE_SAGA_COMPENSATED] = "compensated",
    [STELE_SAGA_ABANDONED] = "abandoned",
};

static const char *const STEP_STATES[] = {
    [STELE_SAGA_STEP_WAITING] = "waiting",
    [STELE_SAGA_STEP_REQUESTED] = "requested",
    [STELE_SAGA_STEP_DONE] = "done",
    [STELE_SAGA_STEP_FAILED] = "failed",
    [STELE_SAGA_STEP_COMPENSATING] = "compensating",
    [STELE_SAGA_STEP_COMPENSATED] = "compensated",
};

const char *stele_saga_event_type(int kind)
{
    return kind > 0 && kind < STELE_SAGA_EVENT_KINDS ? EVENT_TYPES[kind] : "";
}

int stele_saga_event_kind(struct stele_text type)
{
    for (int kind = 1; kind < STELE_SAGA_EVENT_KINDS; kind++) {
        if (strlen(EVENT_TYPES[kind]) == type.size &&
            memcmp(EVENT_TYPES[kind], type.data, type.size) == 0) {
            return kind;
        }
    }
    return 0;
}

const char *stele_saga_state_name(int state)
{
    return state >= 0 && state < (int)STELE_COUNT_OF(STATES) ? STATES[state] : "";
}

const char *stele_saga_step_state_name(int state)
{
    return state >= 0 && state < (int)STELE_COUNT_OF(STEP_STATES) ? STEP_STATES[state] : "";
}

size_t stele_saga_key(const char *kind, const char *id, const char *step, int compensation,
                      char text[STELE_SAGA_KEY_SIZE_MAX])
{
    if (text == NULL) {
        return 0;
    }
    _Static_assert(2 * STELE_SAGA_NAME_SIZE_MAX + STELE_SAGA_ID_SIZE_MAX + sizeof "///undo" <=
                       STELE_SAGA_KEY_SIZE_MAX,
                   "the longest names fit");
    const int size = snprintf(text, STELE_SAGA_KEY_SIZE_MAX, "%s/%s/%s%s", kind, id, step,
                              compensation ? "/undo" : "");
    STELE_ASSERT(size > 0);
    STELE_ASSERT((size_t)size < STELE_SAGA_KEY_SIZE_MAX);
    return (size_t)size;
}

void stele_saga_event_id(const char *key, uint32_t number, uint8_t id[16])
{
    if (key == NULL || id == NULL) {
        return;
    }
    const struct stele_bytes bytes = stele_bytes_of_text(key);
    stele_store_u64le(id, stele_hash64(bytes, (uint64_t)number << 1));
    stele_store_u64le(id + 8, stele_hash64(bytes, ((uint64_t)number << 1) + 1));
    /* RFC 9562, section 5.8: version 8 is for ids that are made in a way of one's own. */
    id[6] = (uint8_t)((id[6] & 0x0f) | 0x80);
    id[8] = (uint8_t)((id[8] & 0x3f) | 0x80);
}
