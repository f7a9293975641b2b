/* A sink whose n-th call kills the process or fails, before or after it was done. One for a process,
 * which is to be a fork of the test's. */
#ifndef STELE_TESTS_SINKS_FAULTS_H
#define STELE_TESTS_SINKS_FAULTS_H

#include "runner/sink.h"

#include <signal.h>
#include <unistd.h>

enum fault { KILL_BEFORE, KILL_AFTER, FAIL_BEFORE, FAIL_AFTER, FAULTS };

static struct fault_plan {
    enum fault fault;
    unsigned left; /* Calls until it happens; 0: it has, or never will. */
    bool happened;
    const struct stele_sink_ops *real;
    struct stele_sink_ops bad;
    struct stele_sink_effective_ops bad_effective;
} fault_state;

static inline bool is_due(void)
{
    if (fault_state.left == 0 || --fault_state.left > 0) {
        return false;
    }
    fault_state.happened = true;
    return true;
}

/* Around every call that changes something: what happens before it, and after it. */
#define WITH_FAULT(call, err)                                                                      \
    do {                                                                                           \
        const bool due = is_due();                                                                 \
        if (due && fault_state.fault == KILL_BEFORE) {                                             \
            (void)kill(getpid(), SIGKILL);                                                         \
        }                                                                                          \
        if (due && fault_state.fault == FAIL_BEFORE) {                                             \
            return stele_fail(err, STELE_E_IO, 0, "planned");                                      \
        }                                                                                          \
        const int outcome = (call);                                                                \
        if (due && fault_state.fault == KILL_AFTER) {                                              \
            (void)kill(getpid(), SIGKILL);                                                         \
        }                                                                                          \
        return due ? stele_fail(err, STELE_E_IO, 0, "planned") : outcome;                          \
    } while (0)

static inline int bad_attach(struct stele_sink *sink, const struct stele_sink_request *request,
                             struct stele_sink_place *place, struct stele_error *err)
{
    const bool due = is_due();
    if (due && fault_state.fault == KILL_BEFORE) {
        (void)kill(getpid(), SIGKILL);
    }
    if (due && fault_state.fault >= FAIL_BEFORE) {
        return stele_fail(err, STELE_E_IO, 0, "planned");
    }
    const int outcome = fault_state.real->attach(sink, request, place, err);
    if (due) {
        (void)kill(getpid(), SIGKILL);
    }
    return outcome;
}

static inline int bad_begin(struct stele_sink *sink, uint32_t lane, struct stele_error *err)
{
    const bool due = is_due();
    if (due && fault_state.fault >= FAIL_BEFORE) {
        return stele_fail(err, STELE_E_IO, 0, "planned");
    }
    if (due) {
        (void)kill(getpid(), SIGKILL);
    }
    return fault_state.real->begin(sink, lane, err);
}

static inline int bad_apply(struct stele_sink *sink, uint32_t lane, const struct stele_event *event,
                            bool replay, uint64_t *culprit, struct stele_error *err)
{
    WITH_FAULT(fault_state.real->apply(sink, lane, event, replay, culprit, err), err);
}

static inline int bad_park(struct stele_sink *sink, uint32_t lane, const struct stele_event *event,
                           const char *reason, struct stele_error *err)
{
    WITH_FAULT(fault_state.real->park(sink, lane, event, reason, err), err);
}

static inline int bad_commit(struct stele_sink *sink, uint32_t lane, uint64_t from, uint64_t to,
                             uint64_t applied, uint64_t *culprit, struct stele_error *err)
{
    WITH_FAULT(fault_state.real->commit(sink, lane, from, to, applied, culprit, err), err);
}

static inline int bad_switch(struct stele_sink *sink, const uint64_t *positions, uint64_t applied,
                             struct stele_error *err)
{
    WITH_FAULT(fault_state.real->switch_over(sink, positions, applied, err), err);
}

/* ---- In effective order ---- */

static inline int bad_effective_apply(struct stele_sink *sink, uint32_t lane,
                                      const struct stele_event *event, int64_t effective_us,
                                      uint64_t *culprit, struct stele_error *err)
{
    WITH_FAULT(fault_state.real->effective->apply(sink, lane, event, effective_us, culprit, err),
               err);
}

static inline int bad_undo(struct stele_sink *sink, uint32_t lane, const char *stream,
                           struct stele_error *err)
{
    WITH_FAULT(fault_state.real->effective->undo(sink, lane, stream, err), err);
}

static inline int bad_stream(struct stele_sink *sink, uint32_t lane, const char *stream,
                             struct stele_sink_stream *out_stream, struct stele_error *err)
{
    WITH_FAULT(fault_state.real->effective->stream(sink, lane, stream, out_stream, err), err);
}

static inline int bad_keep_stream(struct stele_sink *sink, uint32_t lane, const char *stream,
                                  const struct stele_sink_stream *at, struct stele_error *err)
{
    WITH_FAULT(fault_state.real->effective->keep_stream(sink, lane, stream, at, err), err);
}

static inline int bad_skipped(struct stele_sink *sink, uint32_t lane, const char *stream,
                              stele_sink_position_callback on_position, void *context,
                              struct stele_error *err)
{
    WITH_FAULT(fault_state.real->effective->skipped(sink, lane, stream, on_position, context, err),
               err);
}

/* From now on the n-th call goes wrong. */
static inline void fault_plan(struct stele_sink *sink, enum fault fault, unsigned n)
{
    fault_state.fault = fault;
    fault_state.left = n;
    fault_state.real = sink->ops;
    fault_state.bad = *sink->ops;
    fault_state.bad.attach = bad_attach;
    fault_state.bad.begin = bad_begin;
    fault_state.bad.apply = bad_apply;
    fault_state.bad.park = bad_park;
    fault_state.bad.commit = bad_commit;
    fault_state.bad.switch_over = bad_switch;
    if (sink->ops->effective != NULL) {
        fault_state.bad_effective = *sink->ops->effective;
        fault_state.bad_effective.apply = bad_effective_apply;
        fault_state.bad_effective.undo = bad_undo;
        fault_state.bad_effective.stream = bad_stream;
        fault_state.bad_effective.keep_stream = bad_keep_stream;
        fault_state.bad_effective.skipped = bad_skipped;
        fault_state.bad.effective = &fault_state.bad_effective;
    }
    sink->ops = &fault_state.bad;
}

static inline void fault_unplan(struct stele_sink *sink)
{
    sink->ops = fault_state.real;
}

#endif
