/* Clients: each has one append under way at a time, thinks, and asks again.
 *
 * Every decision of the store is compared with the model's the moment it is made. What was staged
 * is added to the model then, and becomes visible with the log's durable place. An append whose
 * end the client does not learn (the process died) is repeated with the same ids: that must give
 * the first one's result if the first one is there, and do the work if it is not. */
#include "base/position.h"
#include "sim.h"

#include <stdio.h>
#include <stdlib.h>

static void on_think(struct sim *sim, void *object, uint64_t number);
static void ask(struct sim *sim, struct sim_client *client);

static void op_clear(struct sim_op *op)
{
    workload_free(op->request);
    *op = (struct sim_op){.state = SIM_OP_NONE};
}

static void think(struct sim *sim, struct sim_client *client)
{
    uint64_t pause = rng_exponential(&sim->rng_schedule, sim->config.think_us);
    /* Now and then a burst, for groups of many appends. */
    if (rng_percent(&sim->rng_schedule, 20)) {
        pause /= 1000;
    }
    sim_after(sim, pause, on_think, client, 0);
}

/* A guest's append is over. */
static void tell(struct sim *sim, struct sim_client *client, int outcome)
{
    struct sim_client **at = &sim->asked;
    while (*at != client) {
        at = &(*at)->next;
    }
    *at = client->next;
    stele_prepared_destroy(client->prepared);
    client->prepared = NULL;
    workload_free(client->op.request);
    client->op.request = NULL;
    client->on_told(sim, client, outcome);
}

/* The client is told. */
static void finish(struct sim *sim, struct sim_client *client, int outcome)
{
    struct sim_op *op = &client->op;
    sim_trace(sim, "told: client, outcome, idempotent", client->index, (uint64_t)outcome,
              (uint64_t)op->result.idempotent);
    if (outcome == STELE_OK) {
        if (op->append >= sim->model.appends_visible) {
            sim_fail(sim, "an append is acknowledged before its events are durable");
        }
        sim->stats.appends++;
        sim->stats.idempotent += op->result.idempotent != 0;
        if (client->on_told == NULL && rng_percent(&sim->rng_workload, 50)) {
            workload_remember(&sim->workload, op->request);
        }
    } else if (outcome > 0) {
        sim->stats.refused++;
    } else {
        sim->stats.errors++;
    }
    if (client->on_told != NULL) {
        tell(sim, client, outcome);
        return;
    }
    op_clear(op);
    think(sim, client);
}

/* ---- What the store decided against what the model says ---- */

static void fail_decision(struct sim *sim, const struct sim_op *op, int outcome,
                          const struct model_decision *decision, const char *what,
                          const struct stele_error *err)
{
    const struct stele_append *first = &op->request->streams[0];
    sim_fail(sim,
             "%s: the store says %s, the model %s (stream %s expected %lld, %zu streams, %zu "
             "events, %zu conditions; message: %s)",
             what, stele_outcome_name(outcome), stele_outcome_name(decision->outcome),
             first->stream, (long long)first->expected, op->request->streams_count,
             op->request->drafts_count, op->request->conditions_count, err->message);
}

static void check_idempotent(struct sim *sim, const struct sim_op *op,
                             const struct model_decision *decision, const struct stele_error *err)
{
    const struct stele_append_result *got = &op->result;
    const struct stele_append_result *want = &decision->result;
    if (got->idempotent != 1 || got->position_first != want->position_first ||
        got->position_last != want->position_last || got->revision_first != want->revision_first ||
        got->revision_last != want->revision_last) {
        fail_decision(sim, op, STELE_OK, decision, "the repeated append has another result", err);
    }
}

static void check_refusal(struct sim *sim, const struct sim_op *op, int outcome,
                          const struct model_decision *decision, const struct stele_error *err)
{
    const struct stele_append_result *got = &op->result;
    const struct stele_append_result *want = &decision->result;
    if ((outcome == STELE_WRONG_REVISION || outcome == STELE_STREAM_DELETED) &&
        got->failed != want->failed) {
        fail_decision(sim, op, outcome, decision, "another stream failed", err);
    }
    if (outcome == STELE_CONDITION_FAILED &&
        (got->failed < want->failed || got->failed > decision->failed_last ||
         got->failed >= op->request->conditions_count)) {
        fail_decision(sim, op, outcome, decision, "another condition failed", err);
    }
    if (outcome == STELE_WRONG_REVISION && got->revision_last != want->revision_last) {
        fail_decision(sim, op, outcome, decision, "the true revision is wrong", err);
    }
    if (outcome == STELE_CONDITION_FAILED &&
        !model_conflicts(&sim->model, &op->request->conditions[got->failed],
                         got->conflict_position)) {
        fail_decision(sim, op, outcome, decision, "the conflicting event does not match", err);
    }
}

static void check_new(struct sim *sim, const struct sim_op *op, uint32_t first,
                      const uint64_t *revisions_last, int64_t now_us)
{
    const struct model *model = &sim->model;
    const struct stele_append_result *got = &op->result;
    if (got->idempotent != 0 || strncmp(got->token, "s1-", 3) != 0) {
        sim_fail(sim, "the result of a new append is not filled in");
    }
    const uint64_t before = first == 0 ? 0 : model->events[first - 1].position;
    uint64_t position_first = 0;
    if (model->events[first].position <= before) {
        sim_fail(sim, "position %llu is not above %llu",
                 (unsigned long long)model->events[first].position, (unsigned long long)before);
    }
    if (stele_position_tick(model->events[first].position) < stele_tick_of_ms(now_us / 1000)) {
        sim_fail(sim, "position %llu lies before the clock",
                 (unsigned long long)model->events[first].position);
    }
    position_first = model->events[first].position;
    if (got->position_first != position_first ||
        got->position_last != model->events[model->count - 1].position) {
        sim_fail(sim, "the append's positions are %llu and %llu, not %llu and %llu",
                 (unsigned long long)got->position_first, (unsigned long long)got->position_last,
                 (unsigned long long)position_first,
                 (unsigned long long)model->events[model->count - 1].position);
    }
    bool told = false;
    for (size_t i = 0; i < op->request->streams_count; i++) {
        const struct stele_append *append = &op->request->streams[i];
        const uint64_t next = model_next(model, model_stream(model, append->stream), true);
        if (revisions_last[i] != (next == 0 ? STELE_EXPECT_NO_STREAM : next - 1)) {
            sim_fail(sim, "stream %s: last revision %llu instead of %llu", append->stream,
                     (unsigned long long)revisions_last[i], (unsigned long long)(next - 1));
        }
        if (append->count > 0 && !told) {
            told = true;
            if (got->revision_last != next - 1 || got->revision_first != next - append->count) {
                sim_fail(sim, "stream %s: revisions %llu to %llu instead of %llu to %llu",
                         append->stream, (unsigned long long)got->revision_first,
                         (unsigned long long)got->revision_last,
                         (unsigned long long)(next - append->count),
                         (unsigned long long)(next - 1));
            }
        }
    }
}

/* Waits for what the outcome rests on, or tells at once. */
static void settle(struct sim *sim, struct sim_client *client, int outcome)
{
    struct sim_op *op = &client->op;
    op->outcome = outcome;
    if (op->ticket.place > stele_store_durable(sim->store)) {
        op->state = SIM_OP_WAITING;
        sim_writer_kick(sim);
        return;
    }
    /* A refusal may rest on any of the events before it: it waits for all of them. */
    if (outcome != STELE_OK && sim->model.appends_visible < sim->model.appends_count) {
        sim_fail(sim, "an append is refused before the events are durable that it was refused for");
    }
    finish(sim, client, outcome);
}

static void accept(struct sim *sim, struct sim_client *client, const uint64_t *revisions_last,
                   int64_t stamp_us, int64_t now_us)
{
    struct sim_op *op = &client->op;
    const uint32_t first = sim->model.count;
    const uint64_t before =
        sim->model.appends_count == 0 ? 0 : sim->model.appends[sim->model.appends_count - 1].place;
    if (op->ticket.place <= before) {
        sim_fail(sim, "an append's place %llu is not above %llu",
                 (unsigned long long)op->ticket.place, (unsigned long long)before);
    }
    op->append =
        model_apply(&sim->model, op->request->streams, op->request->streams_count,
                    op->request->kind == WORKLOAD_TOMBSTONE, stamp_us, op->result.position_first,
                    op->ticket.place, stele_store_durable(sim->store));
    sim->stats.appended_events += sim->model.count - first;
    check_new(sim, op, first, revisions_last, now_us);
}

/* The store has decided: does the model agree? */
static void on_decision(struct sim *sim, struct sim_client *client, int outcome,
                        const struct model_decision *decision, const uint64_t *revisions_last,
                        int64_t stamp_us, int64_t now_us, const struct stele_error *err)
{
    struct sim_op *op = &client->op;
    sim_trace(sim, "decided: client, outcome, place", client->index, (uint64_t)outcome,
              outcome == STELE_OK ? op->ticket.place : 0);
    const uint32_t may = model_may_of(outcome, outcome == STELE_OK ? op->result.idempotent : 0);
    if ((decision->may & may) == 0) {
        fail_decision(sim, op, outcome, decision,
                      may == MODEL_MAY_REPEAT ? "taken for a repeated append"
                      : may == MODEL_MAY_APPEND && decision->outcome == STELE_OK
                          ? "a repeated append is taken for a new one"
                          : "decision",
                      err);
    }
    if (may == MODEL_MAY_APPEND) {
        accept(sim, client, revisions_last, stamp_us, now_us);
    } else if (may == MODEL_MAY_REPEAT) {
        check_idempotent(sim, op, decision, err);
        op->append = decision->earlier;
    } else if (decision->may == may || may == MODEL_MAY_FAIL_CONDITION) {
        check_refusal(sim, op, outcome, decision, err);
    }
    settle(sim, client, outcome);
}

static void on_again(struct sim *sim, void *object, uint64_t number)
{
    (void)number;
    ask(sim, object);
}

/* An error that says nothing about the request: it was not done, and is not repeated. */
static void on_error(struct sim *sim, struct sim_client *client, struct sim_mark mark, int outcome,
                     const struct stele_error *err)
{
    client->err = *err;
    if (outcome == STELE_E_FENCED && stele_store_is_fenced(sim->store)) {
        finish(sim, client, outcome);
        return;
    }
    sim_excuse(sim, mark, outcome, "append", err);
    finish(sim, client, outcome);
}

static bool is_decision(int outcome)
{
    return outcome == STELE_OK || outcome == STELE_WRONG_REVISION ||
           outcome == STELE_STREAM_DELETED || outcome == STELE_CONDITION_FAILED ||
           outcome == STELE_E_ID_CONFLICT;
}

static int prepare(struct sim *sim, struct sim_client *client, int64_t now_us,
                   struct stele_error *err)
{
    const struct workload_request *request = client->op.request;
    if (client->prepared == NULL) {
        const int outcome = stele_prepared_create(sim->store, &client->prepared, err);
        if (outcome != STELE_OK) {
            return outcome;
        }
    }
    if (request->kind == WORKLOAD_TOMBSTONE) {
        return stele_prepare_tombstone(client->prepared, request->streams[0].stream,
                                       request->streams[0].expected, now_us, err);
    }
    return stele_prepare(client->prepared, request->streams, request->streams_count,
                         request->conditions, request->conditions_count, now_us, err);
}

static void ask_append(struct sim *sim, struct sim_client *client)
{
    struct sim_op *op = &client->op;
    struct stele_error err = {.outcome = 0};
    struct model_decision decision;
    uint64_t *revisions_last = client->revisions_last;
    const struct sim_mark mark = sim_mark(sim);
    const int64_t stamp_us = sim_wall(sim);
    int outcome = prepare(sim, client, stamp_us, &err);
    if (outcome != STELE_OK) {
        on_error(sim, client, mark, outcome, &err);
        return;
    }
    model_decide(&sim->model, op->request->streams, op->request->streams_count,
                 op->request->conditions, op->request->conditions_count, &decision);
    op->ticket = (struct stele_ticket){.place = 0};
    const int64_t now_us = sim_wall(sim);
    outcome = stele_store_append(sim->store, client->prepared, now_us, &op->ticket, revisions_last,
                                 &op->result, &err);
    op->tries++;
    if (outcome == STELE_STORE_ROLL) {
        op->state = SIM_OP_ASKING;
        if (op->tries > 1000) {
            sim_fail(sim, "the log never gets room for an append");
        }
        sim_writer_roll(sim, op->ticket.roll_size);
    } else if (outcome == STELE_STORE_INDEX) {
        op->state = SIM_OP_ASKING;
        if (op->tries > 20000) {
            sim_fail(sim, "the index is never complete again");
        }
        sim_after(sim, sim->config.work_us, on_again, client, 0);
    } else if (is_decision(outcome)) {
        on_decision(sim, client, outcome, &decision, revisions_last, stamp_us, now_us, &err);
    } else {
        on_error(sim, client, mark, outcome, &err);
    }
}

/* Is "$tb" this in the compact JSON that the store composed? */
static bool truncates_before(struct stele_buf json, uint64_t before)
{
    char want[40];
    const int size = snprintf(want, sizeof want, "\"$tb\":%llu", (unsigned long long)before);
    const char *found = memmem(json.data, json.size, want, (size_t)size);
    return found != NULL && (found[size] == ',' || found[size] == '}');
}

/* A soft delete is an append of metadata that the store composes. Becomes that append. */
static void ask_delete(struct sim *sim, struct sim_client *client)
{
    struct sim_op *op = &client->op;
    const struct stele_append *target = &op->request->streams[0];
    struct stele_buf json = {.data = NULL};
    struct stele_error err = {.outcome = 0};
    uint64_t expected = 0;
    uint64_t want_before = 0;
    uint64_t want_expected = 0;
    const struct sim_mark mark = sim_mark(sim);
    const int want =
        model_delete(&sim->model, target->stream, target->expected, &want_before, &want_expected);
    const int outcome = stele_store_delete_metadata(sim->store, target->stream, target->expected,
                                                    &json, &expected, &op->result, &err);
    sim_trace(sim, "delete: client, outcome", client->index, (uint64_t)outcome, 0);
    if (outcome == STELE_INCOMPLETE || outcome == STELE_STORE_INDEX) {
        op->state = SIM_OP_ASKING;
        sim_after(sim, sim->config.work_us, on_again, client, 0);
        op->tries++;
    } else if (outcome < 0) {
        on_error(sim, client, mark, outcome, &err);
    } else if (outcome != want && want != STELE_NO_STREAM) {
        sim_fail(sim, "delete %s expecting %lld: %s instead of %s", target->stream,
                 (long long)target->expected, stele_outcome_name(outcome),
                 stele_outcome_name(want));
    } else if (outcome != STELE_OK) {
        finish(sim, client, outcome);
    } else {
        if (expected != want_expected) {
            sim_fail(sim, "delete %s: the metadata is said to be at %lld, not %lld", target->stream,
                     (long long)expected, (long long)want_expected);
        }
        if (!truncates_before(json, want_before)) {
            sim_fail(sim, "delete %s: the metadata is %.*s, not to truncate before %llu",
                     target->stream, (int)json.size, (const char *)json.data,
                     (unsigned long long)want_before);
        }
        struct workload_request *request =
            workload_metadata(&sim->workload, target->stream, expected, json.data, json.size);
        workload_free(op->request);
        op->request = request;
        ask_append(sim, client);
    }
    stele_buf_deinit(&json, &sim->alloc.base);
}

static void ask(struct sim *sim, struct sim_client *client)
{
    if (client->on_told == NULL && (sim->store == NULL || sim->going_down)) {
        client->op.state = SIM_OP_UNKNOWN; /* Waits for the next life, as one that died does. */
        return;
    }
    if (client->op.request->kind == WORKLOAD_DELETE) {
        ask_delete(sim, client);
    } else {
        ask_append(sim, client);
    }
}

static void on_think(struct sim *sim, void *object, uint64_t number)
{
    (void)number;
    struct sim_client *client = object;
    STELE_ASSERT(client->op.state == SIM_OP_NONE);
    if (sim->going_down || sim->calm) {
        return;
    }
    client->op = (struct sim_op){
        .state = SIM_OP_ASKING,
        .request = workload_request(&sim->workload, &sim->model),
        .begun_us = sim->now_us,
    };
    ask(sim, client);
}

void sim_client_start(struct sim *sim)
{
    for (uint32_t i = 0; i < sim->config.clients; i++) {
        struct sim_client *client = &sim->clients[i];
        client->index = i;
        if (client->op.state == SIM_OP_NONE) {
            think(sim, client);
        } else {
            STELE_ASSERT(client->op.state == SIM_OP_UNKNOWN);
            client->op.state = SIM_OP_ASKING;
            client->op.tries = 0;
            sim_after(sim, rng_exponential(&sim->rng_schedule, 50 * SIM_MS), on_again, client, 0);
        }
    }
}

static void on_rolled(struct sim *sim, struct sim_client *client, int outcome)
{
    struct sim_op *op = &client->op;
    if (op->state != SIM_OP_ASKING || op->ticket.roll_size == 0) {
        return;
    }
    op->ticket.roll_size = 0;
    if (outcome == STELE_OK) {
        sim_after(sim, 0, on_again, client, 0);
    } else {
        finish(sim, client, outcome); /* Definitely not done. */
    }
}

void sim_client_rolled(struct sim *sim, int outcome)
{
    /* Which of those that wait were waiting for room is known by their ticket. */
    for (uint32_t i = 0; i < sim->config.clients; i++) {
        on_rolled(sim, &sim->clients[i], outcome);
    }
    for (struct sim_client *client = sim->asked, *next = NULL; client != NULL; client = next) {
        next = client->next;
        on_rolled(sim, client, outcome);
    }
}

static void on_durable(struct sim *sim, struct sim_client *client)
{
    struct sim_op *op = &client->op;
    if (op->state != SIM_OP_WAITING) {
        return;
    }
    if (op->ticket.place <= stele_store_durable(sim->store)) {
        finish(sim, client, op->outcome);
    } else if (stele_store_is_fenced(sim->store)) {
        /* A refusal that rested on what may never have been; or an append of which nobody
         * knows, to be repeated when the store is open again. */
        op->state = SIM_OP_UNKNOWN;
        sim->stats.unknown += op->outcome == STELE_OK;
        if (client->on_told != NULL) {
            tell(sim, client, STELE_E_UNKNOWN);
        }
    }
}

void sim_client_durable(struct sim *sim)
{
    const bool fenced = stele_store_is_fenced(sim->store);
    for (uint32_t i = 0; i < sim->config.clients; i++) {
        on_durable(sim, &sim->clients[i]);
    }
    for (struct sim_client *client = sim->asked, *next = NULL; client != NULL; client = next) {
        next = client->next;
        on_durable(sim, client);
    }
    if (sim_guest.visible != NULL) {
        sim_guest.visible(sim);
    }
    if (fenced) {
        sim->stats.fenced++;
        sim_schedule_restart(sim, rng_exponential(&sim->rng_crash, SIM_SECOND));
    }
}

void sim_client_ask(struct sim *sim, struct sim_client *client, struct workload_request *request)
{
    struct sim_client **last = &sim->asked;
    while (*last != NULL) {
        last = &(*last)->next;
    }
    *last = client;
    client->next = NULL;
    client->op =
        (struct sim_op){.state = SIM_OP_ASKING, .request = request, .begun_us = sim->now_us};
    ask(sim, client);
}

void sim_client_forget_asked(struct sim *sim)
{
    while (sim->asked != NULL) {
        sim->stats.unknown += sim->asked->op.state == SIM_OP_WAITING;
        tell(sim, sim->asked, STELE_E_UNKNOWN);
    }
}

void sim_client_crashed(struct sim *sim)
{
    STELE_ASSERT(sim->asked == NULL);
    for (uint32_t i = 0; i < sim->config.clients; i++) {
        struct sim_client *client = &sim->clients[i];
        stele_prepared_destroy(client->prepared);
        client->prepared = NULL;
        if (client->op.state == SIM_OP_WAITING || client->op.state == SIM_OP_ASKING) {
            sim->stats.unknown += client->op.state == SIM_OP_WAITING;
            client->op.state = SIM_OP_UNKNOWN;
            client->op.ticket = (struct stele_ticket){.place = 0};
        }
        if (client->op.state == SIM_OP_UNKNOWN && rng_percent(&sim->rng_workload, 20)) {
            op_clear(&client->op); /* Gives up. */
        }
    }
}

bool sim_client_is_idle(const struct sim *sim)
{
    for (uint32_t i = 0; i < sim->config.clients; i++) {
        if (sim->clients[i].op.state != SIM_OP_NONE) {
            return false;
        }
    }
    return true;
}
