/* Whatever happens around it, a follow's sequence is that of the naive list: nothing is skipped,
 * nothing comes twice, nothing out of order. The same holds for somebody who reconnects behind the
 * last event or checkpoint.
 *
 * Method: a random schedule of appends (of one event or several, to a few streams), of loop steps,
 * of starting, stopping, filling up and resuming follows of every kind, of reconnects, and of reads
 * that fail. Beside it a plain array of all events. Every follower keeps a hash of what it was
 * handed; at the end it must be caught up, and the hash is that of the array's matching part. `test_subs_follow_model` runs many seeds; SEED=n
 * runs one. */
#include "owner.h"

#define STREAMS 6
#define TYPES 3
#define FOLLOWS 24
#define EVENTS_MAX 20000

struct known {
    uint64_t position;
    uint64_t revision;
    uint32_t stream, type;
    uint64_t of_category, of_type; /* Ordinals. */
};

struct one {
    struct stele_follow *follow;
    uint32_t kind; /* 0: $all, 1: a stream, 2: a category, 3: a type. */
    uint32_t which;
    bool by_ordinal;
    uint32_t filter; /* 0: none; else a type number + 1. */
    uint64_t from;
    uint64_t next; /* Where it goes on when it reconnects. */
    uint64_t hash, count;
    uint64_t last;
    size_t room;
    bool full;
    bool lost;      /* Its follow has ended with an error: it reconnects. */
    bool caught_up; /* The last progress said so, or it was live since. */
};

struct model {
    struct world world;
    struct rng rng;
    struct known events[EVENTS_MAX];
    size_t count;
    uint64_t revisions[STREAMS];
    uint64_t categories[STREAMS], types[TYPES];
    struct one ones[FOLLOWS];
    uint64_t handed;
    uint64_t reconnects;
    uint64_t seed;
};

static const char *const streams[STREAMS] = {"a-1", "a-2", "b-1", "plain", "a-3", "c-{x}-1"};
static const uint32_t category_of[STREAMS] = {0, 0, 1, 2, 0, 3};
static const char *const categories[] = {"$ce-a", "$ce-b", "$ce-plain", "$ce-c"};
static const char *const types[TYPES] = {"One", "Two", "Three"};
static const char *const type_streams[TYPES] = {"$et-One", "$et-Two", "$et-Three"};

static uint64_t mix(uint64_t hash, uint64_t a, uint64_t b)
{
    uint64_t state = hash ^ a * UINT64_C(0x9e3779b97f4a7c15) ^ b * UINT64_C(0xc2b2ae3d27d4eb4f);
    return rng_mix(&state);
}

/* Does the follow want it, and as which number? */
static bool wants(const struct one *one, const struct known *known, uint64_t *out_number)
{
    uint64_t place = known->position;
    *out_number = 0;
    if (one->filter != 0 && known->type != one->filter - 1) {
        return false;
    }
    switch (one->kind) {
    case 0:
        break;
    case 1:
        if (known->stream != one->which) {
            return false;
        }
        place = known->revision;
        *out_number = place;
        break;
    case 2:
        if (category_of[known->stream] != one->which) {
            return false;
        }
        break;
    default:
        if (known->type != one->which) {
            return false;
        }
        break;
    }
    if (one->by_ordinal) {
        place = one->kind == 2 ? known->of_category : known->of_type;
        *out_number = place;
    }
    return place >= one->from;
}

static bool is_positional(const struct one *one)
{
    return one->kind != 1 && !one->by_ordinal;
}

static size_t on_events(void *context, const struct stele_event *events, size_t count,
                        uint64_t ordinal, struct stele_live *live)
{
    struct one *one = context;
    CHECK(live == NULL || count == 1);
    const size_t taken = count < one->room ? count : one->room;
    for (size_t i = 0; i < taken; i++) {
        CHECK(events[i].position > one->last);
        one->last = events[i].position;
        const uint64_t number = one->kind == 1    ? events[i].revision
                                : one->by_ordinal ? ordinal + i
                                                  : 0;
        one->hash = mix(one->hash, events[i].position, number);
        one->next = (is_positional(one) ? events[i].position : number) + 1;
        one->count++;
    }
    one->room -= taken;
    one->full = taken < count;
    one->caught_up = one->caught_up && !one->full;
    return taken;
}

static void on_progress(void *context, uint64_t position, uint64_t scanned, bool caught_up)
{
    struct one *one = context;
    (void)scanned;
    CHECK(!is_positional(one) || position >= one->last);
    one->caught_up = one->caught_up || caught_up;
    if (is_positional(one) && position >= one->next) {
        one->next = position + 1; /* A checkpoint. */
    }
}

static void on_end(void *context, int outcome, const struct stele_error *err)
{
    struct one *one = context;
    if (outcome != STELE_E_NO_MEMORY) {
        check_failed(__FILE__, __LINE__, "a follow ended with %d: %s", outcome, err->message);
    }
    stele_follow_stop(one->follow);
    one->follow = NULL;
    one->lost = true;
}

static const struct stele_follow_callbacks callbacks = {
    .on_events = on_events, .on_progress = on_progress, .on_end = on_end};

static void append_some(struct model *model)
{
    const uint32_t stream = (uint32_t)rng_below(&model->rng, STREAMS);
    const size_t count = rng_one_in(&model->rng, 4) ? rng_between(&model->rng, 2, 40) : 1;
    struct stele_event_draft drafts[40];
    uint32_t kinds[40];
    for (size_t i = 0; i < count; i++) {
        kinds[i] = (uint32_t)rng_below(&model->rng, TYPES);
        drafts[i] = (struct stele_event_draft){
            .type = types[kinds[i]], .data = "{\"a\":1}", .data_size = 7};
        const uint64_t id = ++model->world.mem->next_id;
        memcpy(drafts[i].id, &id, sizeof id);
        drafts[i].id[15] = 1;
    }
    struct stele_append_result result;
    CHECK_EQ(memengine_append(model->world.mem, streams[stream], STELE_EXPECT_ANY, drafts, count,
                              &result),
             STELE_OK);
    CHECK(model->count + count <= EVENTS_MAX);
    const uint64_t step =
        count > 1 ? (result.position_last - result.position_first) / (count - 1) : 0;
    for (size_t i = 0; i < count; i++) {
        model->events[model->count++] = (struct known){
            .position = result.position_first + step * i,
            .revision = model->revisions[stream]++,
            .stream = stream,
            .type = kinds[i],
            .of_category = model->categories[category_of[stream]]++,
            .of_type = model->types[kinds[i]]++,
        };
    }
    CHECK_EQ(result.revision_last + 1, model->revisions[stream]);
}

static void connect(struct model *model, struct one *one, uint64_t from);

static void start(struct model *model, struct one *one)
{
    struct rng *rng = &model->rng;
    *one = (struct one){.kind = (uint32_t)rng_below(rng, 4)};
    one->which = (uint32_t)rng_below(rng, one->kind == 1 ? STREAMS : one->kind == 2 ? 4 : TYPES);
    one->by_ordinal = one->kind >= 2 && rng_one_in(rng, 2);
    one->filter = rng_one_in(rng, 3) ? (uint32_t)rng_between(rng, 1, TYPES) : 0;
    one->room = rng_one_in(rng, 3) ? rng_below(rng, 200) : SIZE_MAX;
    uint64_t from = 0;
    if (rng_one_in(rng, 4)) {
        /* Only what comes: as the array stands. */
        from = UINT64_MAX;
        one->from = one->kind == 1 ? model->revisions[one->which]
                    : !one->by_ordinal
                        ? (model->count == 0 ? 0 : model->events[model->count - 1].position + 1)
                    : one->kind == 2 ? model->categories[one->which]
                                     : model->types[one->which];
    } else if (rng_one_in(rng, 2)) {
        const uint64_t bound = one->kind == 1 ? model->revisions[one->which] + 5 : model->count;
        from = one->kind == 1 || one->by_ordinal ? rng_below(rng, bound + 1)
               : model->count == 0
                   ? 0
                   : model->events[rng_below(rng, model->count)].position + rng_below(rng, 2);
        one->from = from;
    }
    one->next = one->from;
    connect(model, one, from);
}

/* Begins to follow at a place. */
static void connect(struct model *model, struct one *one, uint64_t from)
{
    struct rng *rng = &model->rng;
    const char *name = one->kind == 0   ? NULL
                       : one->kind == 1 ? streams[one->which]
                       : one->kind == 2 ? categories[one->which]
                                        : type_streams[one->which];
    const char *wanted[] = {types[one->filter == 0 ? 0 : one->filter - 1]};
    const struct stele_filter filter = {.types = wanted, .types_count = 1};
    const struct stele_follow_options options = {.stream = name,
                                                 .from = from,
                                                 .filter = one->filter != 0 ? &filter : NULL,
                                                 .scan_max = (uint32_t)rng_log(rng, 1, 2000),
                                                 .by_ordinal = one->by_ordinal};
    struct stele_error err;
    /* The end of ordinals is read, which fails here when the test wants reads to fail. */
    const uint32_t fail_reads = model->world.mem->fail_reads;
    model->world.mem->fail_reads = 0;
    CHECK_OK(stele_follow_start(model->world.hub, &options, &callbacks, one, &one->follow, &err),
             err);
    model->world.mem->fail_reads = fail_reads;
    one->lost = false;
    one->full = false;
    one->caught_up = false;
}

static void reconnect(struct model *model, struct one *one)
{
    if (one->follow != NULL && is_positional(one) && rng_one_in(&model->rng, 2)) {
        const uint64_t position = stele_follow_position(one->follow);
        /* What a full owner has not taken lies before it. */
        one->next = !one->full && stele_follow_is_live(one->follow) && position >= one->next
                        ? position + 1
                        : one->next;
    }
    stele_follow_stop(one->follow);
    one->follow = NULL;
    connect(model, one, one->next);
    model->reconnects++;
}

/* What it has is a beginning of what it should have; `whole`: all of it. */
static void compare(const struct model *model, const struct one *one, bool whole)
{
    uint64_t hash = 0;
    uint64_t count = 0;
    for (size_t i = 0; i < model->count && (whole || count < one->count); i++) {
        uint64_t number = 0;
        if (wants(one, &model->events[i], &number)) {
            hash = mix(hash, model->events[i].position, number);
            count++;
        }
    }
    if (count != one->count || hash != one->hash) {
        check_failed(__FILE__, __LINE__,
                     "SEED=%llu: a follow of kind %u, %u, by ordinal %d, filter %u, from %llu has "
                     "%llu events instead of %llu, or others",
                     (unsigned long long)model->seed, one->kind, one->which, one->by_ordinal,
                     one->filter, (unsigned long long)one->from, (unsigned long long)one->count,
                     (unsigned long long)count);
    }
}

static void stop(struct model *model, struct one *one)
{
    compare(model, one, false);
    model->handed += one->count;
    stele_follow_stop(one->follow);
    one->follow = NULL;
    one->lost = false;
}

static void disturb(struct model *model)
{
    struct rng *rng = &model->rng;
    struct one *one = &model->ones[rng_below(rng, FOLLOWS)];
    if (one->lost || (one->follow != NULL && rng_one_in(rng, 10))) {
        reconnect(model, one);
    } else if (one->follow == NULL) {
        start(model, one);
    } else if (rng_one_in(rng, 12)) {
        stop(model, one);
    } else if (one->full) {
        one->room = rng_one_in(rng, 2) ? SIZE_MAX : rng_below(rng, 300);
        one->full = false;
        stele_follow_resume(one->follow);
    } else {
        one->room = rng_one_in(rng, 2) ? SIZE_MAX : rng_below(rng, 50);
    }
}

static void settle(struct model *model)
{
    model->world.mem->fail_reads = 0;
    for (int round = 0; round < 3; round++) {
        for (size_t i = 0; i < FOLLOWS; i++) {
            struct one *one = &model->ones[i];
            one->room = SIZE_MAX;
            if (one->lost) {
                reconnect(model, one);
            } else if (one->follow != NULL && one->full) {
                one->full = false;
                stele_follow_resume(one->follow);
            }
        }
        miniloop_advance(&model->world.loop, 3000000);
    }
    for (size_t i = 0; i < FOLLOWS; i++) {
        if (model->ones[i].follow != NULL) {
            CHECK(model->ones[i].caught_up);
            CHECK(stele_follow_is_live(model->ones[i].follow));
            compare(model, &model->ones[i], true);
            stop(model, &model->ones[i]);
        }
    }
}

static uint64_t run(uint64_t seed, uint64_t steps)
{
    struct model *model = calloc(1, sizeof *model);
    CHECK(model != NULL);
    model->seed = seed;
    rng_init(&model->rng, seed, 0);
    world_init(&model->world, seed);
    const uint64_t append_percent = rng_between(&model->rng, 5, 60);
    for (uint64_t i = 0; i < steps && model->count + 40 < EVENTS_MAX; i++) {
        if (rng_percent(&model->rng, append_percent)) {
            append_some(model);
        } else if (rng_percent(&model->rng, 30)) {
            disturb(model);
        } else if (rng_one_in(&model->rng, 60)) {
            miniloop_advance(&model->world.loop, (int64_t)rng_below(&model->rng, 2000000));
        } else if (rng_one_in(&model->rng, 60)) {
            memengine_work(model->world.mem);
        } else if (rng_one_in(&model->rng, 100)) {
            model->world.mem->fail_reads = (uint32_t)rng_between(&model->rng, 1, 3);
        } else {
            (void)miniloop_step(&model->world.loop);
        }
    }
    settle(model);
    const uint64_t handed = model->handed;
    CHECK(model->reconnects > 0);
    world_deinit(&model->world);
    free(model);
    return handed;
}

TEST(a_follow_is_handed_exactly_what_the_naive_list_has)
{
    const char *given = getenv("SEED");
    const uint64_t first = given != NULL ? strtoull(given, NULL, 10) : 1;
    const uint64_t last = given != NULL ? first : 150;
    uint64_t handed = 0;
    for (uint64_t seed = first; seed <= last; seed++) {
        handed += run(seed, 2500);
    }
    CHECK(handed > 1000);
    (void)printf("# %llu events were handed out\n", (unsigned long long)handed);
}
