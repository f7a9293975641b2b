/* What the files of the saga machine share. The machine's contract is <stele/saga.h>. */
#ifndef STELE_ES_SAGA_INTERNAL_H
#define STELE_ES_SAGA_INTERNAL_H

#include "base/assert.h"
#include "base/compiler.h"
#include "base/status.h"

#include <stele/saga.h>

#include <stdbool.h>
#include <string.h>

/* Nobody will ask for it again by himself: a person has to. */
static inline bool stele_es__saga_is_held(const struct stele_saga_step_state *step)
{
    return !step->in_flight && step->due_us == STELE_SAGA_NEVER &&
           (step->state == STELE_SAGA_STEP_REQUESTED ||
            step->state == STELE_SAGA_STEP_COMPENSATING);
}

/* Has it something that may have to be undone? Its compensation is asked for unless the saga ends
 * well. */
static inline bool stele_es__saga_is_owed(const struct stele_saga_plan *plan,
                                          const struct stele_saga *saga, uint32_t index)
{
    const struct stele_saga_step_state *const step = &saga->steps[index];
    const struct stele_saga_plan_step *const planned = &plan->steps[index];
    if (!planned->compensates || step->skipped) {
        return false;
    }
    return step->state == STELE_SAGA_STEP_DONE ||
           (step->state == STELE_SAGA_STEP_FAILED && step->unknown &&
            planned->unknown == STELE_SAGA_UNKNOWN_UNDO);
}

/* When a waiting step is to be asked for: NEVER before its predecessors are done. */
int64_t stele_es__saga_turn(const struct stele_saga_plan *plan, const struct stele_saga *saga,
                            uint32_t index);

#endif
