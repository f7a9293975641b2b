/* A runner that dies at any moment, and is started again, brings every saga to the same kind of end: whole
 * or undone, each attempt asked for once, each timer fired once.
 *
 * Method: a store in memory, a clock that jumps, participants that know the truth. Everything that a
 * runner does to the outside (an append, a read, a call) is one operation. First a run in peace counts
 * them; then a run for each operation, which kills the runner before or after it; then runs with two
 * runners and many deaths. What participants say hangs on the key and the attempt alone, so that runs of
 * one seed differ by the deaths only. */
#include "lib/check.h"
#include "lib/rng.h"
#include "lib/testalloc.h"
#include "runner/saga_internal.h"

#define SECOND INT64_C(1000000)
#define EVENTS_MAX 4096
#define MESSAGES_MAX 256
#define SAGAS 3
#define RUNNERS 2
#define TURNS_MAX 20000

/* ---- The table ----------------------------------------------------------------------------- */

enum { ORDER, PAYMENT, STOCK, WAIT, SHIPPING, STEPS };

static const struct stele_saga_step TABLE_STEPS[STEPS] = {
    [ORDER] = {.name = "order",
               .compensation = "CancelOrder",
               .timeout_ms = 2000,
               .retry = {3, 500, 2000},
               .compensation_retry = {4, 500, 2000}},
    [PAYMENT] = {.name = "payment",
                 .after = "order",
                 .compensation = "Refund",
                 .timeout_ms = 3000,
                 .retry = {3, 500, 2000},
                 .compensation_retry = {4, 500, 2000}},
    [STOCK] = {.name = "stock",
               .after = "order",
               .success = "StockReserved",
               .failure = "StockRefused",
               .compensation = "ReleaseStock",
               .compensated = "StockReleased",
               .timeout_ms = 4000,
               .retry = {3, 500, 2000},
               .compensation_retry = {4, 500, 2000}},
    [WAIT] = {.name = "wait", .after = "stock", .delay_ms = 60000, .timeout_ms = 1000},
    [SHIPPING] = {.name = "shipping",
                  .after = "payment wait",
                  .compensation = "CancelShipping",
                  .timeout_ms = 2000,
                  .retry = {2, 500, 2000},
                  .compensation_retry = {4, 500, 2000}},
};
static const struct stele_saga_table TABLE = {"order", TABLE_STEPS, STEPS, 0};
static const char *const TRIGGERS[] = {"OrderPlaced"};

/* ---- The world ----------------------------------------------------------------------------- */

struct stored {
    char stream[64];
    char type[32];
    char *data;
    char *metadata;
    uint8_t id[16];
    uint64_t revision;
    int64_t at_us;
};

enum { PLACE_ORDER, ANSWER_EVENT, ANSWER_LATER };

struct message {
    int64_t at_us;
    int kind;
    int saga, step;
    int compensation;
    uint32_t attempt;
    int answer;
    uint32_t process; /* Whose call it answers: nobody listens after its death. */
};

struct participant {
    bool done, undone, refused;
    uint32_t times_done;
};

struct world;
struct process {
    struct saga_port port;
    struct world *world;
    struct testalloc alloc;
    struct stele_saga_runner *runner;
    char name[32];
    uint32_t number; /* Of its lives. */
    bool dead;
};

struct world {
    uint64_t seed;
    struct rng rng; /* For ids and jitter. */
    int64_t now_us;
    struct stored events[EVENTS_MAX];
    size_t events_count;
    struct message messages[MESSAGES_MAX];
    size_t messages_count;
    struct participant participants[SAGAS][STEPS];
    struct process processes[RUNNERS];
    size_t processes_count;
    uint64_t operations;
    uint64_t kill_at; /* Operation, 0: none. */
    bool kill_after;  /* Its effect is there, its answer is not. */
    uint32_t kill_one_in;
    uint32_t fail_one_in; /* Appends that go wrong, and nobody dies of it. */
    bool first_stays_dead;
    uint32_t deaths;
    uint32_t calls, calls_lives;
    uint8_t called[SAGAS][STEPS][2][64]; /* By attempt. */
    bool unkind;                         /* Participants refuse, forget and are late. */
};

static struct world *world_of(struct saga_port *port)
{
    return ((struct process *)port)->world;
}

/* Every operation begins with this: true, if the process is dead by now. */
static bool dies_before(struct saga_port *port, bool *out_after)
{
    struct process *const p = (struct process *)port;
    struct world *const w = p->world;
    *out_after = false;
    if (p->dead) {
        return true;
    }
    w->operations++;
    const bool now =
        w->operations == w->kill_at || (w->kill_one_in != 0 && rng_one_in(&w->rng, w->kill_one_in));
    if (!now) {
        return false;
    }
    w->deaths++;
    p->dead = true;
    *out_after = w->kill_one_in != 0 ? rng_one_in(&w->rng, 2) : w->kill_after;
    return !*out_after;
}

static uint64_t last_revision(const struct world *w, const char *stream)
{
    for (size_t i = w->events_count; i-- > 0;) {
        if (strcmp(w->events[i].stream, stream) == 0) {
            return w->events[i].revision;
        }
    }
    return STELE_EXPECT_NO_STREAM;
}

static char *copy_of(const void *data, size_t size)
{
    char *const copy = malloc(size + 1);
    CHECK(copy != NULL);
    if (size > 0) {
        memcpy(copy, data, size);
    }
    copy[size] = '\0';
    return copy;
}

static void put(struct world *w, const char *stream, const struct stele_event_draft *draft)
{
    CHECK(w->events_count < EVENTS_MAX);
    struct stored *const e = &w->events[w->events_count];
    const uint64_t last = last_revision(w, stream);
    (void)snprintf(e->stream, sizeof e->stream, "%s", stream);
    (void)snprintf(e->type, sizeof e->type, "%s", draft->type);
    e->data = copy_of(draft->data, draft->data_size);
    e->metadata = copy_of(draft->metadata, draft->metadata_size);
    memcpy(e->id, draft->id, sizeof e->id);
    e->revision = last == STELE_EXPECT_NO_STREAM ? 0 : last + 1;
    e->at_us = w->now_us;
    w->events_count++;
}

static struct stele_event view(const struct world *w, size_t index)
{
    const struct stored *const e = &w->events[index];
    struct stele_event event;
    memset(&event, 0, sizeof event);
    event.position = index + 1;
    event.revision = e->revision;
    memcpy(event.id, e->id, sizeof event.id);
    event.stream = (struct stele_text){e->stream, strlen(e->stream)};
    event.type = (struct stele_text){e->type, strlen(e->type)};
    event.data = e->data;
    event.data_size = strlen(e->data);
    event.metadata = e->metadata;
    event.metadata_size = strlen(e->metadata);
    return event;
}

/* ---- The port ------------------------------------------------------------------------------ */

static bool is_stored(const struct world *w, const struct stele_event_draft *draft)
{
    for (size_t i = w->events_count; i-- > 0;) {
        if (memcmp(w->events[i].id, draft->id, sizeof draft->id) == 0) {
            return true;
        }
    }
    return false;
}

static int sim_append(struct saga_port *port, const char *stream, uint64_t expected,
                      const struct stele_event_draft *events, size_t count, uint64_t *out_position,
                      struct stele_error *err)
{
    struct world *const w = world_of(port);
    bool after = false;
    if (dies_before(port, &after)) {
        return stele_fail(err, STELE_E_CLOSED, 0, "dead");
    }
    if (is_stored(w, events)) {
        *out_position = w->events_count;
        return after ? STELE_E_CLOSED : STELE_OK; /* The same again. */
    }
    const uint64_t last = last_revision(w, stream);
    if (w->fail_one_in != 0 && rng_one_in(&w->rng, w->fail_one_in)) {
        return stele_fail(err, rng_one_in(&w->rng, 2) ? STELE_E_UNKNOWN : STELE_E_NO_SPACE, 0,
                          "bad luck");
    }
    if (expected != STELE_EXPECT_ANY && expected != last) {
        return after ? STELE_E_CLOSED : STELE_WRONG_REVISION;
    }
    for (size_t i = 0; i < count; i++) {
        put(w, stream, &events[i]);
    }
    *out_position = w->events_count;
    if (w->fail_one_in != 0 && rng_one_in(&w->rng, w->fail_one_in)) {
        /* Stored, and the same append will not be told so either. */
        return stele_fail(err, rng_one_in(&w->rng, 2) ? STELE_E_UNKNOWN : STELE_E_FENCED, 0,
                          "bad luck");
    }
    return after ? STELE_E_CLOSED : STELE_OK;
}

static int sim_read(struct saga_port *port, const char *stream, uint64_t from,
                    saga_on_event on_event, void *context, struct stele_error *err)
{
    struct world *const w = world_of(port);
    bool after = false;
    int outcome = dies_before(port, &after) ? STELE_E_CLOSED : STELE_OK;
    (void)err;
    const size_t count = w->events_count;
    for (size_t i = 0; i < count && outcome == STELE_OK; i++) {
        if (strcmp(w->events[i].stream, stream) == 0 && w->events[i].revision >= from) {
            const struct stele_event event = view(w, i);
            outcome = on_event(context, &event);
        }
    }
    return after ? STELE_E_CLOSED : outcome;
}

static int sim_read_last(struct saga_port *port, const char *stream, saga_on_event on_event,
                         void *context, struct stele_error *err)
{
    const uint64_t last = last_revision(world_of(port), stream);
    return last == STELE_EXPECT_NO_STREAM ? STELE_OK
                                          : sim_read(port, stream, last, on_event, context, err);
}

static int sim_follow(struct saga_port *port, const char *const *types, size_t types_count,
                      uint64_t *position, saga_on_event on_event, void *context,
                      struct stele_error *err)
{
    struct world *const w = world_of(port);
    (void)err;
    int outcome = ((struct process *)port)->dead ? STELE_E_CLOSED : STELE_OK;
    for (int batch = 0; batch < 5 && outcome == STELE_OK; batch++) {
        if (*position >= w->events_count) {
            return STELE_END;
        }
        const struct stele_event event = view(w, (size_t)*position);
        for (size_t i = 0; i < types_count; i++) {
            if (strcmp(types[i], event.type.data) == 0) {
                outcome = on_event(context, &event);
                break;
            }
        }
        *position += outcome == STELE_OK;
    }
    return outcome;
}

static int sim_list(struct saga_port *port, const char *prefix, stele_name_callback on_name,
                    void *context, struct stele_error *err)
{
    struct world *const w = world_of(port);
    (void)err;
    for (size_t i = 0; i < w->events_count; i++) {
        const struct stored *const e = &w->events[i];
        if (e->revision == 0 && strncmp(e->stream, prefix, strlen(prefix)) == 0) {
            (void)on_name(context, (struct stele_text){e->stream, strlen(e->stream)}, 1);
        }
    }
    return ((struct process *)port)->dead ? STELE_E_CLOSED : STELE_OK;
}

static void sim_keep_newest(struct saga_port *port, const char *stream)
{
    (void)port;
    (void)stream;
}

static uint64_t sim_last_position(struct saga_port *port)
{
    return world_of(port)->events_count;
}

static int64_t sim_now_us(struct saga_port *port)
{
    return world_of(port)->now_us;
}

static void sim_random(struct saga_port *port, void *buffer, size_t size)
{
    for (size_t i = 0; i < size; i++) {
        ((uint8_t *)buffer)[i] = (uint8_t)rng_next(&world_of(port)->rng);
    }
}

static void sim_wait(struct saga_port *port, uint64_t after, int timeout_ms)
{
    (void)port;
    (void)after;
    (void)timeout_ms;
}

static void sim_destroy(struct saga_port *port)
{
    (void)port;
}

static const struct saga_port_ops OPS = {sim_append, sim_read,        sim_read_last,     sim_follow,
                                         sim_list,   sim_keep_newest, sim_last_position, sim_now_us,
                                         sim_random, sim_wait,        sim_destroy};

/* ---- Participants -------------------------------------------------------------------------- */

static void send(struct world *w, struct message message)
{
    CHECK(w->messages_count < MESSAGES_MAX);
    w->messages[w->messages_count++] = message;
}

/* The same for the same request, whoever asks and however often. */
static uint64_t way_of(const struct world *w, int saga, int step, int compensation,
                       uint32_t attempt)
{
    if (compensation && attempt > 2) {
        return 9; /* None is parked here. */
    }
    uint64_t state = w->seed * 1000003 + (uint64_t)saga * 1009 + (uint64_t)step * 101 +
                     (uint64_t)compensation * 11 + (attempt < 3 ? attempt : 0) * 7919;
    return rng_mix(&state) % 16;
}

/* 3 ways out of 16 are bad for requests, and most of them for the first attempts only, so that ends of
 * both kinds are common. */
static int take_request(struct world *w, struct participant *p, uint64_t way)
{
    (void)w;
    if (p->refused || p->undone) {
        return STELE_SAGA_REFUSED;
    }
    if (!p->done && way == 1) {
        p->refused = true;
        return STELE_SAGA_REFUSED;
    }
    if (!p->done && way == 2) {
        return STELE_SAGA_NOT_DONE;
    }
    if (!p->done && way == 3) {
        return STELE_SAGA_LATER; /* It is never heard of again. */
    }
    p->times_done += !p->done;
    p->done = true;
    return way == 4 ? STELE_SAGA_UNKNOWN : STELE_SAGA_DONE;
}

static int take_compensation(struct participant *p, uint64_t way)
{
    if (way == 1) {
        return STELE_SAGA_NOT_DONE;
    }
    if (way == 2) {
        return STELE_SAGA_LATER;
    }
    p->undone = true;
    return way == 3 ? STELE_SAGA_UNKNOWN : STELE_SAGA_DONE;
}

/* The event without which the call must not be made. */
static void check_asked_for(const struct world *w, const struct stele_saga_call *call)
{
    char stream[64];
    char step[80];
    char attempt[40];
    (void)snprintf(stream, sizeof stream, "saga.order-%s", call->id);
    (void)snprintf(step, sizeof step, "\"step\":\"%s\"", call->step);
    (void)snprintf(attempt, sizeof attempt, "\"attempt\":%u,", call->attempt);
    const char *const type = call->compensation ? "SagaCompensationRequested" : "SagaStepRequested";
    size_t found = 0;
    for (size_t i = 0; i < w->events_count; i++) {
        const struct stored *const e = &w->events[i];
        found += strcmp(e->stream, stream) == 0 && strcmp(e->type, type) == 0 &&
                 strstr(e->data, step) != NULL && strstr(e->data, attempt) != NULL;
    }
    CHECK_EQ(found, 1);
}

static int handle(void *context, const struct stele_saga_call *call, struct stele_saga_reply *reply)
{
    struct process *const p = context;
    struct world *const w = p->world;
    int step = 0;
    while (strcmp(TABLE_STEPS[step].name, call->step) != 0) {
        step++;
    }
    const int saga = atoi(call->id);
    check_asked_for(w, call);
    CHECK_EQ(call->input.size, strlen("{\"items\":3}"));
    CHECK(call->attempt < 64);
    CHECK_EQ(w->called[saga][step][call->compensation][call->attempt]++, 0);
    w->calls++;
    bool after = false;
    if (dies_before(&p->port, &after)) {
        return STELE_SAGA_UNKNOWN;
    }
    const uint64_t way = w->unkind ? way_of(w, saga, step, call->compensation, call->attempt) : 9;
    struct participant *const participant = &w->participants[saga][step];
    const int answer = call->compensation ? take_compensation(participant, way)
                                          : take_request(w, participant, way);
    const bool by_event = step == STOCK;
    struct message message = {.at_us = w->now_us + (way > 12 ? 5 * SECOND : SECOND / 10),
                              .kind = by_event ? ANSWER_EVENT : ANSWER_LATER,
                              .saga = saga,
                              .step = step,
                              .compensation = call->compensation,
                              .attempt = call->attempt,
                              .answer = answer,
                              .process = p->number};
    if (by_event) {
        /* Events are not lost. */
        if (answer == STELE_SAGA_DONE || answer == STELE_SAGA_REFUSED) {
            send(w, message);
        }
        return STELE_SAGA_DONE;
    }
    if (way % 2 == 1 && answer != STELE_SAGA_LATER) {
        send(w, message);
        return STELE_SAGA_LATER;
    }
    (void)snprintf(reply->reason, sizeof reply->reason, "way %u", (unsigned)way);
    reply->result = (struct stele_text){"{\"n\":1}", 7};
    return answer;
}

static void deliver(struct world *w, const struct message *m)
{
    struct stele_event_draft draft;
    char stream[64];
    memset(&draft, 0, sizeof draft);
    for (size_t i = 0; i < sizeof draft.id; i++) {
        draft.id[i] = (uint8_t)rng_next(&w->rng);
    }
    if (m->kind == PLACE_ORDER) {
        (void)snprintf(stream, sizeof stream, "shop-%d", m->saga);
        draft.type = "OrderPlaced";
        draft.data = "{\"items\":3}";
        draft.data_size = strlen(draft.data);
        put(w, stream, &draft);
        draft.id[0] ^= 1;
        put(w, stream, &draft); /* Told twice: a saga starts once. */
    } else if (m->kind == ANSWER_EVENT) {
        (void)snprintf(stream, sizeof stream, "stock-%d", m->saga);
        draft.type = m->compensation                   ? "StockReleased"
                     : m->answer == STELE_SAGA_REFUSED ? "StockRefused"
                                                       : "StockReserved";
        put(w, stream, &draft);
    } else {
        for (size_t i = 0; i < w->processes_count; i++) {
            struct process *const p = &w->processes[i];
            if (p->runner != NULL && !p->dead && p->number == m->process) {
                char id[8];
                char key[STELE_SAGA_KEY_SIZE_MAX];
                (void)snprintf(id, sizeof id, "%d", m->saga);
                (void)stele_saga_key("order", id, TABLE_STEPS[m->step].name, m->compensation, key);
                CHECK_EQ(stele_saga_runner_answer(p->runner, key, m->attempt, m->answer, NULL),
                         STELE_OK);
            }
        }
    }
}

/* ---- A life -------------------------------------------------------------------------------- */

static void bury(struct process *p)
{
    stele_saga_runner_destroy(p->runner);
    p->runner = NULL;
    CHECK_EQ(p->alloc.blocks, 0);
}

static bool bear(struct world *w, struct process *p)
{
    p->world = w;
    p->port.ops = &OPS;
    p->dead = false;
    p->number = ++w->calls_lives;
    testalloc_init(&p->alloc, 1);
    struct stele_saga_runner_options options = STELE_SAGA_RUNNER_OPTIONS_INIT;
    options.name = p->name;
    options.checkpoint_events = 7;
    options.breaker.calls_min = 1000;
    static struct stele_saga_definition definitions[RUNNERS];
    struct stele_saga_definition *const definition = &definitions[p - w->processes];
    *definition = (struct stele_saga_definition){&TABLE, TRIGGERS, 1, NULL, handle, p, NULL};
    struct stele_error err = {0};
    const int outcome =
        stele_runner__saga_create(&p->port, &p->alloc.base, definition, &options, &p->runner, &err);
    if (outcome != STELE_OK) {
        CHECK(p->dead || w->fail_one_in != 0);
        CHECK_EQ(p->alloc.blocks, 0);
        p->runner = NULL;
        return false;
    }
    return true;
}

static void turn_until_idle(struct world *w)
{
    bool idle = false;
    for (int turn = 0; !idle; turn++) {
        CHECK(turn < 1000);
        idle = true;
        for (size_t i = 0; i < w->processes_count; i++) {
            struct process *const p = &w->processes[i];
            if (i == 0 && w->first_stays_dead && p->dead) {
                if (p->runner != NULL) {
                    bury(p);
                }
                continue;
            }
            if (p->runner == NULL || p->dead) {
                if (p->runner != NULL) {
                    bury(p);
                }
                (void)bear(w, p);
                idle = false;
                continue;
            }
            int64_t due_us = 0;
            struct stele_error err = {0};
            const size_t before = w->events_count;
            const int outcome = stele_saga_runner_turn(p->runner, &due_us, &err);
            CHECK(outcome == STELE_OK || p->dead || w->fail_one_in != 0);
            idle = idle && !p->dead && outcome == STELE_OK && due_us > w->now_us &&
                   before == w->events_count;
        }
    }
}

static int64_t next_time(struct world *w, size_t *out_message)
{
    int64_t at_us = STELE_SAGA_NEVER;
    *out_message = w->messages_count;
    for (size_t i = 0; i < w->processes_count; i++) {
        int64_t due_us = 0;
        struct process *const p = &w->processes[i];
        if (p->runner != NULL && p->runner->set.heap_count > 0) {
            due_us = p->runner->set.heap[0]->due_us;
            at_us = due_us < at_us ? due_us : at_us;
        }
    }
    for (size_t i = 0; i < w->messages_count; i++) {
        if (w->messages[i].at_us <= at_us) {
            at_us = w->messages[i].at_us;
            *out_message = i;
        }
    }
    return at_us;
}

/* ---- The end ------------------------------------------------------------------------------- */

struct judging {
    struct stele_saga_plan plan;
    bool has_plan;
    struct stele_saga saga;
    uint32_t attempts[STEPS][2];
    int64_t stock_done_at_us;
};

static void judge_event(const struct world *w, struct judging *j, const struct stele_event *event)
{
    struct saga_decoded decoded;
    struct stele_error err = {0};
    CHECK_OK(stele_runner__saga_decode(j->has_plan ? &j->plan : NULL, event, &decoded, &err), err);
    if (decoded.plan != NULL) {
        j->plan = *decoded.plan;
        j->has_plan = true;
    }
    const struct stele_saga_event *const e = &decoded.event;
    CHECK_OK(stele_saga_evolve(&j->plan, &j->saga, e, &err), err);
    const bool compensation = e->kind == STELE_SAGA_EVENT_COMPENSATION_REQUESTED;
    if (e->kind == STELE_SAGA_EVENT_STEP_REQUESTED || compensation) {
        /* A timer that fired twice would leave two. */
        CHECK_EQ(e->attempt, ++j->attempts[e->step][compensation]);
    }
    if (e->kind == STELE_SAGA_EVENT_STEP_DONE && e->step == STOCK) {
        j->stock_done_at_us = e->at_us;
    }
    if (e->kind == STELE_SAGA_EVENT_STEP_REQUESTED && e->step == WAIT && e->attempt == 1) {
        /* To the microsecond, unless the store made it wait. */
        const int64_t late_us = e->at_us - j->stock_done_at_us - 60 * SECOND;
        CHECK(late_us == 0 || (late_us > 0 && w->fail_one_in != 0));
    }
    stele_runner__saga_decoded_deinit(&decoded);
}

static int judge(const struct world *w, int saga)
{
    struct judging j;
    memset(&j, 0, sizeof j);
    char stream[64];
    (void)snprintf(stream, sizeof stream, "saga.order-%d", saga);
    for (size_t i = 0; i < w->events_count; i++) {
        if (strcmp(w->events[i].stream, stream) == 0) {
            const struct stele_event event = view(w, i);
            judge_event(w, &j, &event);
        }
    }
    CHECK(j.saga.state == STELE_SAGA_COMPLETED || j.saga.state == STELE_SAGA_COMPENSATED);
    for (int i = 0; i < STEPS; i++) {
        const struct participant *const p = &w->participants[saga][i];
        CHECK(p->times_done <= 1);
        if (j.saga.state == STELE_SAGA_COMPLETED) {
            CHECK(p->done);
            CHECK(!p->undone);
        } else if (TABLE_STEPS[i].compensation != NULL) {
            CHECK(!p->done || p->undone);
        }
        for (int compensation = 0; compensation < 2; compensation++) {
            for (uint32_t attempt = 1; attempt < 64; attempt++) {
                CHECK(!w->called[saga][i][compensation][attempt] ||
                      attempt <= j.attempts[i][compensation]);
            }
        }
    }
    return j.saga.state;
}

static void run_world(struct world *w, int ends[STELE_SAGA_ABANDONED + 1])
{
    rng_init(&w->rng, w->seed, 1);
    w->now_us = 1000 * SECOND;
    for (size_t i = 0; i < w->processes_count; i++) {
        (void)snprintf(w->processes[i].name, sizeof w->processes[i].name, "runner%zu", i);
    }
    turn_until_idle(w); /* Before the first event: a kind begins with those to come. */
    for (int i = 0; i < SAGAS; i++) {
        send(w, (struct message){.at_us = w->now_us + i * 300000, .kind = PLACE_ORDER, .saga = i});
    }
    for (int turn = 0;; turn++) {
        CHECK(turn < TURNS_MAX);
        size_t which = 0;
        const int64_t at_us = next_time(w, &which);
        if (at_us == STELE_SAGA_NEVER) {
            break;
        }
        w->now_us = at_us > w->now_us ? at_us : w->now_us;
        if (which < w->messages_count) {
            const struct message message = w->messages[which];
            w->messages[which] = w->messages[--w->messages_count];
            deliver(w, &message);
        }
        turn_until_idle(w);
    }
    for (int i = 0; i < SAGAS; i++) {
        ends[judge(w, i)]++;
    }
    for (size_t i = 0; i < w->processes_count; i++) {
        if (w->processes[i].runner != NULL) {
            CHECK_EQ(w->processes[i].runner->set.count, 0); /* Nothing is remembered for ever. */
            bury(&w->processes[i]);
        }
    }
    for (size_t i = 0; i < w->events_count; i++) {
        free(w->events[i].data);
        free(w->events[i].metadata);
    }
}

static struct world world; /* Large. */

static struct world *fresh(uint64_t seed, size_t processes)
{
    memset(&world, 0, sizeof world);
    world.seed = seed;
    world.processes_count = processes;
    world.unkind = true;
    return &world;
}

TEST(kind_participants_bring_every_saga_to_its_good_end)
{
    int ends[STELE_SAGA_ABANDONED + 1] = {0};
    struct world *const w = fresh(1, 1);
    w->unkind = false;
    run_world(w, ends);
    CHECK_EQ(ends[STELE_SAGA_COMPLETED], SAGAS);
    CHECK_EQ(w->calls, SAGAS * STEPS);
}

TEST(unkind_participants_bring_some_sagas_to_each_end)
{
    int ends[STELE_SAGA_ABANDONED + 1] = {0};
    for (uint64_t seed = 0; seed < 100; seed++) {
        run_world(fresh(seed, 1), ends);
    }
    CHECK(ends[STELE_SAGA_COMPLETED] > 50);
    CHECK(ends[STELE_SAGA_COMPENSATED] > 50);
}

TEST(a_death_at_any_operation_changes_no_end)
{
    int ends[STELE_SAGA_ABANDONED + 1] = {0};
    uint32_t deaths = 0;
    for (uint64_t seed = 0; seed < 6; seed++) {
        run_world(fresh(seed, 1), ends);
        const uint64_t operations = world.operations;
        for (uint64_t at = 1; at <= operations; at++) {
            for (int after = 0; after < 2; after++) {
                struct world *const w = fresh(seed, 1);
                w->kill_at = at;
                w->kill_after = after;
                run_world(w, ends);
                deaths += w->deaths;
            }
        }
    }
    CHECK(deaths > 500);
}

TEST(many_deaths_change_no_end)
{
    int ends[STELE_SAGA_ABANDONED + 1] = {0};
    for (uint64_t seed = 0; seed < 150; seed++) {
        struct world *const w = fresh(seed, 1);
        w->kill_one_in = 12;
        run_world(w, ends);
    }
}

TEST(two_runners_never_ask_for_the_same_attempt)
{
    int ends[STELE_SAGA_ABANDONED + 1] = {0};
    for (uint64_t seed = 0; seed < 150; seed++) {
        struct world *const w = fresh(seed, 2);
        w->kill_one_in = seed % 2 == 0 ? 0 : 20;
        run_world(w, ends);
    }
}

TEST(appends_that_fail_or_of_which_nobody_knows_change_no_end)
{
    int ends[STELE_SAGA_ABANDONED + 1] = {0};
    for (uint64_t seed = 0; seed < 150; seed++) {
        struct world *const w = fresh(seed, 1 + seed % 2);
        w->fail_one_in = 4;
        w->kill_one_in = seed % 3 == 0 ? 20 : 0;
        run_world(w, ends);
    }
}

TEST(another_runner_goes_on_with_what_one_left_behind_for_ever)
{
    int ends[STELE_SAGA_ABANDONED + 1] = {0};
    for (uint64_t seed = 0; seed < 150; seed++) {
        struct world *const w = fresh(seed, 2);
        w->first_stays_dead = true;
        w->kill_at = 5 + seed;
        run_world(w, ends);
    }
}
