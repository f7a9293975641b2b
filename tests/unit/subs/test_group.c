/* A group finishes every event once it was acknowledged, skipped or parked, and never otherwise; and
 * each strategy hands events to whom it says.
 *
 * Method: the machine alone, its effects written down. At the end a model: random pushes, joins,
 * leaves, acks, nacks, timeouts; the invariants are checked after every step, and when all consumers
 * behave in the end every event was acknowledged, skipped or parked, and the checkpoint has passed
 * it. */
#include "lib/check.h"
#include "lib/rng.h"
#include "lib/testalloc.h"
#include "subs/group.h"

#define SECOND INT64_C(1000000)

struct delivery {
    uint64_t place;
    uint32_t retries;
    uint8_t id[16];
};

struct consumer {
    struct stele_group_member *member;
    struct delivery held[256]; /* Handed out and not given back, oldest first. */
    size_t count;
    uint64_t handed;
};

#define EVENTS_MAX 4096

struct bench {
    struct testalloc alloc;
    struct stele_group *group;
    struct consumer consumers[8];
    struct {
        struct stele_group_entry *entry;
        uint64_t place;
        char reason[128];
    } parking[256];
    size_t parking_count;
    uint64_t parked[EVENTS_MAX];
    size_t parked_count;
    uint64_t checkpoint;
    bool checkpointing;
    size_t rooms;
    size_t replayed;
    bool refuse_to_park;
    int64_t now_us;
    uint64_t pushed;
};

static void on_deliver(void *context, void *member_context, struct stele_group_event *event,
                       uint32_t retries)
{
    (void)context;
    struct consumer *consumer = member_context;
    CHECK(consumer->count < 256);
    struct delivery *delivery = &consumer->held[consumer->count++];
    delivery->place = event->place;
    delivery->retries = retries;
    memcpy(delivery->id, stele_group_event_id(event), 16);
    consumer->handed++;
}

static bool on_park(void *context, struct stele_group_entry *entry,
                    const struct stele_group_event *event, const char *reason)
{
    struct bench *bench = context;
    if (bench->refuse_to_park) {
        return false;
    }
    CHECK(bench->parking_count < 256);
    bench->parking[bench->parking_count].entry = entry;
    bench->parking[bench->parking_count].place = event->place;
    (void)snprintf(bench->parking[bench->parking_count].reason, 128, "%s", reason);
    bench->parking_count++;
    return true;
}

static void on_checkpoint(void *context, uint64_t place)
{
    struct bench *bench = context;
    CHECK(!bench->checkpointing);
    CHECK(bench->checkpoint == STELE_GROUP_NO_PLACE || place > bench->checkpoint);
    bench->checkpointing = true;
    bench->checkpoint = place;
}

static void on_replayed(void *context, uint64_t parked_number)
{
    (void)parked_number;
    ((struct bench *)context)->replayed++;
}

static void on_has_room(void *context)
{
    ((struct bench *)context)->rooms++;
}

static const struct stele_group_effects effects = {.deliver = on_deliver,
                                                   .park = on_park,
                                                   .checkpoint = on_checkpoint,
                                                   .replayed = on_replayed,
                                                   .has_room = on_has_room};

static struct stele_group_settings settings_of(enum stele_group_strategy strategy)
{
    return (struct stele_group_settings){.strategy = strategy,
                                         .max_retry_count = 3,
                                         .min_checkpoint_count = 2,
                                         .max_checkpoint_count = 50,
                                         .live_buffer_size = 100,
                                         .history_buffer_size = 100,
                                         .read_batch_size = 10,
                                         .message_timeout_us = 5 * SECOND,
                                         .checkpoint_after_us = SECOND};
}

static void begin(struct bench *bench, const struct stele_group_settings *settings)
{
    memset(bench, 0, sizeof *bench);
    testalloc_init(&bench->alloc, 1);
    bench->checkpoint = STELE_GROUP_NO_PLACE;
    bench->now_us = 100 * SECOND;
    CHECK_EQ(stele_group_create(&bench->alloc.base, settings, STELE_GROUP_NO_PLACE, 7, &effects,
                                bench, bench->now_us, &bench->group),
             STELE_OK);
}

static void finish(struct bench *bench)
{
    stele_group_check(bench->group);
    stele_group_destroy(bench->group);
    CHECK_EQ(bench->alloc.bytes, 0);
}

static void push(struct bench *bench, const char *stream, const char *metadata)
{
    const uint64_t place = bench->pushed++;
    struct stele_event event = {.position = 1000 + place,
                                .revision = place,
                                .stream = {.data = stream, .size = strlen(stream)},
                                .type = {.data = "T", .size = 1},
                                .content_type = {.data = "application/json", .size = 16},
                                .metadata = metadata,
                                .metadata_size = metadata == NULL ? 0 : strlen(metadata)};
    memcpy(event.id, &bench->pushed, 8);
    struct stele_group_event *made =
        stele_group_event_create(&bench->alloc.base, &event, NULL, place);
    CHECK(made != NULL);
    CHECK_EQ(stele_group_push(bench->group, made), STELE_OK);
    stele_group_dispatch(bench->group, bench->now_us);
    stele_group_check(bench->group);
}

static void join(struct bench *bench, size_t index, uint32_t capacity)
{
    bench->consumers[index].count = 0;
    CHECK_EQ(stele_group_join(bench->group, capacity, &bench->consumers[index],
                              &bench->consumers[index].member),
             STELE_OK);
    stele_group_dispatch(bench->group, bench->now_us);
}

static void leave(struct bench *bench, size_t index)
{
    stele_group_leave(bench->group, bench->consumers[index].member);
    bench->consumers[index].member = NULL;
    bench->consumers[index].count = 0;
    stele_group_dispatch(bench->group, bench->now_us);
    stele_group_check(bench->group);
}

static struct delivery give_back(struct bench *bench, size_t index, size_t at)
{
    struct consumer *consumer = &bench->consumers[index];
    CHECK(at < consumer->count);
    const struct delivery delivery = consumer->held[at];
    consumer->count--;
    memmove(&consumer->held[at], &consumer->held[at + 1],
            (consumer->count - at) * sizeof consumer->held[0]);
    return delivery;
}

static uint64_t ack(struct bench *bench, size_t index, size_t at)
{
    const struct delivery delivery = give_back(bench, index, at);
    stele_group_ack(bench->group, bench->consumers[index].member, delivery.id, bench->now_us);
    stele_group_dispatch(bench->group, bench->now_us);
    stele_group_check(bench->group);
    return delivery.place;
}

static void nack(struct bench *bench, size_t index, size_t at, enum stele_group_nack action)
{
    const struct delivery delivery = give_back(bench, index, at);
    stele_group_nack(bench->group, bench->consumers[index].member, delivery.id, action, "because");
    stele_group_dispatch(bench->group, bench->now_us);
    stele_group_check(bench->group);
}

static void tick(struct bench *bench)
{
    bench->now_us += SECOND;
    stele_group_tick(bench->group, bench->now_us);
    stele_group_check(bench->group);
}

static void answer_parking(struct bench *bench, bool stored)
{
    for (size_t i = 0; i < bench->parking_count; i++) {
        if (stored) {
            bench->parked[bench->parked_count++] = bench->parking[i].place;
        }
        stele_group_parked(bench->group, bench->parking[i].entry, stored);
    }
    bench->parking_count = 0;
    stele_group_dispatch(bench->group, bench->now_us);
    stele_group_check(bench->group);
}

static void answer_checkpoint(struct bench *bench)
{
    if (bench->checkpointing) {
        bench->checkpointing = false;
        stele_group_checkpointed(bench->group, bench->checkpoint, true, bench->now_us);
    }
}

TEST(a_consumer_has_at_most_what_it_asked_for)
{
    struct bench bench;
    const struct stele_group_settings settings = settings_of(STELE_GROUP_ROUND_ROBIN);
    begin(&bench, &settings);
    join(&bench, 0, 3);
    for (int i = 0; i < 10; i++) {
        push(&bench, "a", NULL);
    }
    CHECK_EQ(bench.consumers[0].count, 3);
    CHECK_EQ(ack(&bench, 0, 1), 1);
    CHECK_EQ(bench.consumers[0].count, 3);
    CHECK_EQ(bench.consumers[0].held[2].place, 3);
    finish(&bench);
}

TEST(round_robin_takes_turns_and_dispatch_to_single_fills_the_first)
{
    struct bench bench;
    struct stele_group_settings settings = settings_of(STELE_GROUP_ROUND_ROBIN);
    begin(&bench, &settings);
    join(&bench, 0, 10);
    join(&bench, 1, 10);
    join(&bench, 2, 1);
    for (int i = 0; i < 9; i++) {
        push(&bench, "a", NULL);
    }
    CHECK_EQ(bench.consumers[0].count, 4);
    CHECK_EQ(bench.consumers[1].count, 4);
    CHECK_EQ(bench.consumers[2].count, 1);
    finish(&bench);

    settings = settings_of(STELE_GROUP_DISPATCH_TO_SINGLE);
    begin(&bench, &settings);
    join(&bench, 0, 4);
    join(&bench, 1, 4);
    for (int i = 0; i < 6; i++) {
        push(&bench, "a", NULL);
    }
    CHECK_EQ(bench.consumers[0].count, 4);
    CHECK_EQ(bench.consumers[1].count, 2);
    finish(&bench);
}

TEST(a_retried_event_comes_at_once_with_its_count_and_is_parked_in_the_end)
{
    struct bench bench;
    const struct stele_group_settings settings = settings_of(STELE_GROUP_ROUND_ROBIN);
    begin(&bench, &settings);
    join(&bench, 0, 1);
    push(&bench, "a", NULL);
    push(&bench, "a", NULL);
    for (uint32_t i = 0; i < 3; i++) {
        CHECK_EQ(bench.consumers[0].held[0].retries, i);
        nack(&bench, 0, 0, i == 0 ? STELE_GROUP_NACK_UNKNOWN : STELE_GROUP_NACK_RETRY);
        CHECK_EQ(bench.consumers[0].held[0].place, 0);
    }
    nack(&bench, 0, 0, STELE_GROUP_NACK_RETRY);
    CHECK_EQ(bench.parking_count, 1);
    CHECK_TEXT_EQ(bench.parking[0].reason, "Reached retry count of 3");
    CHECK_EQ(bench.consumers[0].held[0].place, 1);
    answer_parking(&bench, true);
    finish(&bench);
}

TEST(nack_park_says_why_skip_is_done_with_it_and_stop_does_nothing)
{
    struct bench bench;
    const struct stele_group_settings settings = settings_of(STELE_GROUP_ROUND_ROBIN);
    struct stele_group_stats stats;
    begin(&bench, &settings);
    join(&bench, 0, 10);
    for (int i = 0; i < 3; i++) {
        push(&bench, "a", NULL);
    }
    nack(&bench, 0, 0, STELE_GROUP_NACK_PARK);
    CHECK_TEXT_EQ(bench.parking[0].reason, "Client explicitly NAK'ed message.\nbecause");
    nack(&bench, 0, 0, STELE_GROUP_NACK_SKIP);
    nack(&bench, 0, 0, STELE_GROUP_NACK_STOP);
    stele_group_stats(bench.group, &stats);
    CHECK_EQ(stats.in_flight, 1);
    CHECK_EQ(stats.parking, 1);
    /* Not stored: the consumers get it again. */
    answer_parking(&bench, false);
    CHECK_EQ(bench.consumers[0].count, 1);
    CHECK_EQ(bench.consumers[0].held[0].place, 0);
    CHECK_EQ(bench.consumers[0].held[0].retries, 1);
    /* Cannot even be asked for. */
    bench.refuse_to_park = true;
    nack(&bench, 0, 0, STELE_GROUP_NACK_PARK);
    CHECK_EQ(bench.consumers[0].held[0].place, 0);
    CHECK_EQ(bench.consumers[0].held[0].retries, 2);
    finish(&bench);
}

TEST(a_late_nack_of_what_comes_again_anyway_does_not_count)
{
    struct bench bench;
    const struct stele_group_settings settings = settings_of(STELE_GROUP_ROUND_ROBIN);
    begin(&bench, &settings);
    join(&bench, 0, 1);
    join(&bench, 1, 1);
    push(&bench, "a", NULL);
    push(&bench, "a", NULL);
    const struct delivery first = bench.consumers[0].held[0];
    leave(&bench, 0);
    bench.refuse_to_park = true;
    stele_group_nack(bench.group, bench.consumers[1].member, first.id, STELE_GROUP_NACK_PARK,
                     "late");
    stele_group_check(bench.group);
    (void)ack(&bench, 1, 0);
    CHECK_EQ(bench.consumers[1].held[0].place, first.place);
    CHECK_EQ(bench.consumers[1].held[0].retries, 1);
    finish(&bench);
}

TEST(what_times_out_is_retried_on_a_tick_and_a_late_ack_still_counts)
{
    struct bench bench;
    const struct stele_group_settings settings = settings_of(STELE_GROUP_ROUND_ROBIN);
    struct stele_group_stats stats;
    begin(&bench, &settings);
    join(&bench, 0, 1);
    push(&bench, "a", NULL);
    for (int i = 0; i < 4; i++) {
        tick(&bench);
    }
    CHECK_EQ(bench.consumers[0].count, 1);
    const struct delivery first = bench.consumers[0].held[0];
    bench.now_us += SECOND - 1;
    stele_group_tick(bench.group, bench.now_us);
    CHECK_EQ(bench.consumers[0].count, 1);
    tick(&bench);
    CHECK_EQ(bench.consumers[0].count, 2);
    CHECK_EQ(bench.consumers[0].held[1].retries, 1);
    stele_group_ack(bench.group, bench.consumers[0].member, first.id, bench.now_us);
    stele_group_stats(bench.group, &stats);
    CHECK_EQ(stats.in_flight, 0);
    finish(&bench);
}

TEST(what_a_leaving_consumer_had_goes_back_to_the_front_in_order)
{
    struct bench bench;
    const struct stele_group_settings settings = settings_of(STELE_GROUP_DISPATCH_TO_SINGLE);
    begin(&bench, &settings);
    join(&bench, 0, 5);
    for (int i = 0; i < 8; i++) {
        push(&bench, "a", NULL);
    }
    (void)ack(&bench, 0, 2); /* Leaves 0, 1, 3, 4, 5 there. */
    leave(&bench, 0);
    join(&bench, 1, 8);
    static const uint64_t want[] = {0, 1, 3, 4, 5, 6, 7};
    CHECK_EQ(bench.consumers[1].count, 7);
    for (size_t i = 0; i < 7; i++) {
        CHECK_EQ(bench.consumers[1].held[i].place, want[i]);
        CHECK_EQ(bench.consumers[1].held[i].retries, want[i] <= 5 ? 1 : 0);
    }
    finish(&bench);
}

TEST(a_checkpoint_never_passes_what_is_unfinished)
{
    struct bench bench;
    const struct stele_group_settings settings = settings_of(STELE_GROUP_ROUND_ROBIN);
    begin(&bench, &settings);
    join(&bench, 0, 10);
    for (int i = 0; i < 6; i++) {
        push(&bench, "a", NULL);
    }
    for (int i = 0; i < 3; i++) {
        (void)ack(&bench, 0, 1);
    }
    tick(&bench);
    tick(&bench);
    CHECK(!bench.checkpointing); /* 0 is not finished: there is nothing to write. */
    (void)ack(&bench, 0, 0);
    tick(&bench);
    CHECK(bench.checkpointing);
    CHECK_EQ(bench.checkpoint, 3);
    answer_checkpoint(&bench);
    /* One is too few, until it is flushed. */
    (void)ack(&bench, 0, 0);
    tick(&bench);
    tick(&bench);
    CHECK(!bench.checkpointing);
    stele_group_flush(bench.group);
    CHECK_EQ(bench.checkpoint, 4);
    finish(&bench);
}

TEST(the_maximum_count_writes_a_checkpoint_without_waiting)
{
    struct bench bench;
    struct stele_group_settings settings = settings_of(STELE_GROUP_ROUND_ROBIN);
    settings.max_checkpoint_count = 4;
    begin(&bench, &settings);
    join(&bench, 0, 10);
    for (int i = 0; i < 4; i++) {
        push(&bench, "a", NULL);
        (void)ack(&bench, 0, 0);
        CHECK_EQ(bench.checkpointing, i == 3);
    }
    CHECK_EQ(bench.checkpoint, 3);
    finish(&bench);
}

TEST(what_is_finished_while_a_checkpoint_is_written_is_in_the_next_one)
{
    struct bench bench;
    struct stele_group_settings settings = settings_of(STELE_GROUP_ROUND_ROBIN);
    settings.min_checkpoint_count = 1;
    settings.max_checkpoint_count = 1;
    begin(&bench, &settings);
    join(&bench, 0, 10);
    for (int i = 0; i < 3; i++) {
        push(&bench, "a", NULL);
        (void)ack(&bench, 0, 0);
    }
    CHECK_EQ(bench.checkpoint, 0);
    answer_checkpoint(&bench);
    tick(&bench);
    tick(&bench);
    tick(&bench);
    CHECK(bench.checkpointing);
    CHECK_EQ(bench.checkpoint, 2);
    finish(&bench);
}

TEST(the_maximum_reached_while_a_checkpoint_is_stored_writes_the_next_at_once)
{
    struct bench bench;
    struct stele_group_settings settings = settings_of(STELE_GROUP_ROUND_ROBIN);
    settings.max_checkpoint_count = 1;
    begin(&bench, &settings);
    join(&bench, 0, 10);
    push(&bench, "a", NULL);
    push(&bench, "a", NULL);
    (void)ack(&bench, 0, 0);
    CHECK_EQ(bench.checkpoint, 0);
    CHECK(bench.checkpointing);
    (void)ack(&bench, 0, 0);
    answer_checkpoint(&bench);
    CHECK(!bench.checkpointing);
    tick(&bench);
    CHECK(bench.checkpointing);
    CHECK_EQ(bench.checkpoint, 1);
    finish(&bench);
}

TEST(what_a_filter_passes_over_moves_the_checkpoint)
{
    struct bench bench;
    struct stele_group_settings settings = settings_of(STELE_GROUP_ROUND_ROBIN);
    begin(&bench, &settings);
    stele_group_passed(bench.group, 1000, 5);
    tick(&bench);
    tick(&bench);
    CHECK_EQ(bench.checkpoint, 1000);
    finish(&bench);
}

TEST(pinned_keeps_a_stream_at_one_consumer_and_in_order)
{
    struct bench bench;
    const struct stele_group_settings settings = settings_of(STELE_GROUP_PINNED);
    char name[16];
    begin(&bench, &settings);
    join(&bench, 0, 200);
    join(&bench, 1, 200);
    for (int i = 0; i < 90; i++) {
        (void)snprintf(name, sizeof name, "s-%d", i % 30);
        push(&bench, name, NULL);
    }
    CHECK(bench.consumers[0].count > 20);
    CHECK(bench.consumers[1].count > 20);
    int at[30];
    for (int i = 0; i < 30; i++) {
        at[i] = -1;
    }
    for (int c = 0; c < 2; c++) {
        uint64_t last = 0;
        for (size_t i = 0; i < bench.consumers[c].count; i++) {
            const uint64_t place = bench.consumers[c].held[i].place;
            CHECK(i == 0 || place > last);
            last = place;
            CHECK(at[place % 30] == -1 || at[place % 30] == c);
            at[place % 30] = c;
        }
    }
    /* A third one joins: nothing of a key that is in flight goes to it. */
    join(&bench, 2, 200);
    push(&bench, "s-0", NULL);
    CHECK(bench.consumers[2].count == 0);
    finish(&bench);
}

TEST(pinned_by_correlation_goes_by_the_metadata_and_else_by_the_stream)
{
    struct bench bench;
    const struct stele_group_settings settings = settings_of(STELE_GROUP_PINNED_BY_CORRELATION);
    char name[16];
    begin(&bench, &settings);
    for (size_t i = 0; i < 4; i++) {
        join(&bench, i, 100);
    }
    for (int i = 0; i < 20; i++) {
        (void)snprintf(name, sizeof name, "s-%d", i);
        push(&bench, name, "{\"$correlationId\":\"one\"}");
    }
    size_t with = 0;
    for (size_t i = 0; i < 4; i++) {
        with += bench.consumers[i].count > 0;
    }
    CHECK_EQ(with, 1);
    for (int i = 0; i < 20; i++) {
        (void)snprintf(name, sizeof name, "s-%d", i);
        push(&bench, name, i % 2 == 0 ? "no json" : NULL);
    }
    with = 0;
    for (size_t i = 0; i < 4; i++) {
        with += bench.consumers[i].count > 0;
    }
    CHECK(with > 1);
    finish(&bench);
}

TEST(the_buffer_is_bounded_and_room_is_told)
{
    struct bench bench;
    const struct stele_group_settings settings = settings_of(STELE_GROUP_ROUND_ROBIN);
    begin(&bench, &settings);
    while (stele_group_room(bench.group) > 0) {
        push(&bench, "a", NULL);
    }
    CHECK_EQ(bench.pushed, 100);
    CHECK_EQ(bench.rooms, 0);
    join(&bench, 0, 60);
    CHECK_EQ(bench.rooms, 1);
    CHECK_EQ(stele_group_room(bench.group), 60);
    finish(&bench);
}

TEST(more_consumers_than_allowed_are_refused)
{
    struct bench bench;
    struct stele_group_settings settings = settings_of(STELE_GROUP_ROUND_ROBIN);
    settings.max_subscriber_count = 1;
    begin(&bench, &settings);
    join(&bench, 0, 1);
    struct stele_group_member *member = NULL;
    CHECK_EQ(stele_group_join(bench.group, 1, NULL, &member), STELE_E_LIMIT);
    leave(&bench, 0);
    join(&bench, 1, 1);
    finish(&bench);
}

TEST(replayed_events_go_first_and_tell_when_they_are_done)
{
    struct bench bench;
    const struct stele_group_settings settings = settings_of(STELE_GROUP_ROUND_ROBIN);
    begin(&bench, &settings);
    push(&bench, "a", NULL);
    struct stele_event event = {.stream = {.data = "b", .size = 1},
                                .type = {.data = "T", .size = 1},
                                .id = {9, 9, 9},
                                .content_type = {.data = "x", .size = 1}};
    struct stele_group_event *made =
        stele_group_event_create(&bench.alloc.base, &event, NULL, STELE_GROUP_NO_PLACE);
    CHECK_EQ(stele_group_replay(bench.group, made, 17), STELE_OK);
    join(&bench, 0, 1);
    CHECK_EQ(bench.consumers[0].held[0].id[0], 9);
    (void)ack(&bench, 0, 0);
    CHECK_EQ(bench.replayed, 1);
    CHECK_EQ(bench.consumers[0].held[0].place, 0);
    finish(&bench);
}

TEST(measurements_are_made_when_they_are_asked_for)
{
    struct bench bench;
    struct stele_group_settings settings = settings_of(STELE_GROUP_ROUND_ROBIN);
    settings.extra_statistics = true;
    begin(&bench, &settings);
    join(&bench, 0, 10);
    for (int i = 1; i <= 5; i++) {
        push(&bench, "a", NULL);
        bench.now_us += i * 1000;
        (void)ack(&bench, 0, 0);
    }
    struct stele_group_member_stats stats;
    CHECK(stele_group_member_stats(bench.group, 0, &stats));
    CHECK(!stele_group_member_stats(bench.group, 1, &stats));
    CHECK(stele_group_member_stats(bench.group, 0, &stats));
    CHECK_EQ(stats.measured, 5);
    CHECK_EQ(stats.measurements[0], 3);
    CHECK_EQ(stats.measurements[1], 3);
    CHECK_EQ(stats.measurements[2], 1);
    CHECK_EQ(stats.measurements[13], 5);
    finish(&bench);
}

/* ---- The model ---- */

static const char *const keys[] = {"k-0", "k-1", "k-2", "k-3", "k-4", "k-5", "k-6"};

/* G4, seen from outside: of one key only one consumer holds events. */
static void check_keys(const struct bench *bench)
{
    int holder[7] = {-1, -1, -1, -1, -1, -1, -1};
    for (int c = 0; c < 8; c++) {
        for (size_t i = 0; i < bench->consumers[c].count; i++) {
            const uint64_t key = bench->consumers[c].held[i].place % 7;
            CHECK(holder[key] == -1 || holder[key] == c);
            holder[key] = c;
        }
    }
}

static void step(struct bench *bench, struct rng *rng, bool *done, bool pinned)
{
    const size_t index = rng_below(rng, 8);
    struct consumer *consumer = &bench->consumers[index];
    switch (rng_below(rng, 12)) {
    case 0:
        if (consumer->member == NULL) {
            join(bench, index, (uint32_t)rng_between(rng, 1, 20));
        }
        break;
    case 1:
        if (consumer->member != NULL && rng_one_in(rng, 3)) {
            leave(bench, index);
        }
        break;
    case 2:
    case 3:
    case 4:
        if (stele_group_room(bench->group) > 0 && bench->pushed < EVENTS_MAX) {
            push(bench, keys[bench->pushed % 7], NULL);
        }
        break;
    case 5:
        if (consumer->count > 0) {
            const size_t at = rng_below(rng, consumer->count);
            const enum stele_group_nack action = (enum stele_group_nack)rng_below(rng, 4);
            if (action == STELE_GROUP_NACK_SKIP) {
                done[consumer->held[at].place] = true;
            }
            nack(bench, index, at, action);
        }
        break;
    case 6:
        if (bench->parking_count > 0) {
            answer_parking(bench, rng_percent(rng, 80));
        }
        break;
    case 7:
        if (!pinned &&
            rng_one_in(rng, 10)) { /* What times out is held no more, and we cannot tell. */
            tick(bench);
        }
        break;
    case 8:
        answer_checkpoint(bench);
        break;
    default:
        if (consumer->count > 0) {
            done[ack(bench, index, rng_below(rng, consumer->count))] = true;
        }
        break;
    }
    if (pinned) {
        check_keys(bench);
    }
}

static void run_model(uint64_t seed, enum stele_group_strategy strategy)
{
    struct bench *bench = calloc(1, sizeof *bench);
    bool *done = calloc(EVENTS_MAX, sizeof *done);
    CHECK(bench != NULL && done != NULL);
    struct rng rng;
    rng_init(&rng, seed, 0);
    struct stele_group_settings settings = settings_of(strategy);
    settings.max_retry_count = (int32_t)rng_below(&rng, 6);
    settings.message_timeout_us = rng_one_in(&rng, 2) ? 0 : 3 * SECOND;
    settings.history_buffer_size = settings.live_buffer_size = (int32_t)rng_between(&rng, 1, 60);
    const bool pinned = strategy >= STELE_GROUP_PINNED;
    begin(bench, &settings);
    for (int i = 0; i < 3000; i++) {
        step(bench, &rng, done, pinned);
    }
    /* From now on everybody behaves: all events come to an end. */
    for (size_t i = 0; i < 8; i++) {
        if (bench->consumers[i].member != NULL) {
            leave(bench, i);
        }
    }
    join(bench, 0, 10);
    for (int round = 0;
         round < 20000 && (bench->consumers[0].count > 0 || bench->parking_count > 0); round++) {
        answer_parking(bench, true);
        if (bench->consumers[0].count > 0) {
            done[ack(bench, 0, 0)] = true;
        }
    }
    for (size_t i = 0; i < bench->parked_count; i++) {
        done[bench->parked[i]] = true;
    }
    for (uint64_t i = 0; i < bench->pushed; i++) {
        if (!done[i]) {
            check_failed(__FILE__, __LINE__, "seed %llu: event %llu of %llu was lost",
                         (unsigned long long)seed, (unsigned long long)i,
                         (unsigned long long)bench->pushed);
        }
    }
    answer_checkpoint(bench);
    stele_group_flush(bench->group);
    answer_checkpoint(bench);
    CHECK(bench->pushed == 0 || bench->checkpoint == bench->pushed - 1);
    finish(bench);
    free(bench);
    free(done);
}

TEST(no_event_is_lost_whatever_consumers_do)
{
    for (uint64_t seed = 1; seed <= 60; seed++) {
        run_model(seed, (enum stele_group_strategy)(seed % 4));
    }
}
