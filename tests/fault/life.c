#define CHECK_NO_MAIN
#include "life.h"

#include <inttypes.h>

#define SEGMENT_SIZE ((uint64_t)64 * 1024)

static struct stele_error err;

/* ---- Driving the core, as libstele's runtime does, in one thread ---- */

static int commit(struct life *life)
{
    struct stele_log_group group;
    int outcome = STELE_OK;
    while (stele_store_take(life->store, &group)) {
        struct stele_io *io = &life->disk.io;
        outcome = io->ops->write_durable(group.file, group.offset, group.bytes, &err);
        stele_store_done(life->store, group.id, outcome);
    }
    return outcome;
}

static void work(struct life *life, bool closing)
{
    for (int i = 0; i < 50; i++) {
        struct stele_work *piece = NULL;
        life->disk.now_us += 2000000;
        if (stele_work_begin(life->store, life->disk.now_us, closing, &piece, &err) != STELE_OK) {
            return;
        }
        const int outcome = stele_work_run(piece, &err);
        const int ended = stele_work_end(life->store, piece, outcome, &err);
        stele_store_check(life->store);
        if (ended != STELE_OK) {
            return;
        }
    }
}

/* Decides, rolls if need be, commits. *out_staged: the decision was to store it. */
static int append(struct life *life, struct stele_prepared *prepared,
                  struct stele_append_result *result, bool *out_staged)
{
    *out_staged = false;
    for (int attempt = 0; attempt < 20; attempt++) {
        struct stele_ticket ticket = {.place = 0};
        int outcome = stele_store_append(life->store, prepared, life->disk.now_us, &ticket, NULL,
                                         result, &err);
        if (outcome == STELE_STORE_ROLL) {
            outcome = stele_store_roll(life->store, ticket.roll_size, &err);
            if (outcome != STELE_OK) {
                return outcome;
            }
            continue;
        }
        if (outcome == STELE_STORE_INDEX) {
            work(life, false);
            continue;
        }
        if (outcome != STELE_OK) {
            return outcome;
        }
        *out_staged = true;
        (void)commit(life);
        return stele_store_durable(life->store) >= ticket.place ? STELE_OK : STELE_E_UNKNOWN;
    }
    return STELE_E_OVERLOADED; /* The index cannot be filled under this fault. */
}

static int append_drafts(struct life *life, const struct stele_append *parts, size_t count,
                         struct stele_append_result *result)
{
    struct stele_prepared *prepared = NULL;
    bool staged = false;
    int outcome = stele_prepared_create(life->store, &prepared, &err);
    if (outcome == STELE_OK) {
        outcome = stele_prepare(prepared, parts, count, NULL, 0, life->disk.now_us, &err);
    }
    if (outcome == STELE_OK) {
        outcome = append(life, prepared, result, &staged);
    }
    stele_prepared_destroy(prepared);
    stele_store_check(life->store);
    return outcome;
}

static void name_of(size_t stream, char name[16])
{
    (void)snprintf(name, 16, "life-%zu", stream);
}

/* One append of events to one or two streams. */
static void append_events(struct life *life, size_t first, size_t streams, size_t each)
{
    char names[2][16];
    char data[2][4][220];
    struct stele_event_draft drafts[2][4];
    struct stele_append parts[2];
    uint64_t numbers[2][4];
    CHECK(streams <= 2 && each <= 4);
    for (size_t s = 0; s < streams; s++) {
        name_of((first + s) % LIFE_STREAMS, names[s]);
        for (size_t e = 0; e < each; e++) {
            numbers[s][e] = life->next_number++;
            (void)snprintf(data[s][e], sizeof data[s][e],
                           "{\"number\":%" PRIu64 ",\"fill\":\"%0150d\"}", numbers[s][e],
                           (int)numbers[s][e]);
            drafts[s][e] = (struct stele_event_draft){.type = e % 2 == 0 ? "Even" : "Odd",
                                                      .data = data[s][e],
                                                      .data_size = strlen(data[s][e])};
            memcpy(drafts[s][e].id, &numbers[s][e], sizeof numbers[s][e]);
            drafts[s][e].id[15] = 1;
        }
        const size_t index = (first + s) % LIFE_STREAMS;
        const uint64_t expected =
            life->kept_count[index] == 0 ? STELE_EXPECT_NO_STREAM : life->kept_count[index] - 1;
        parts[s] = (struct stele_append){
            .stream = names[s], .expected = expected, .events = drafts[s], .count = each};
    }
    struct stele_append_result result;
    const int outcome = append_drafts(life, parts, streams, &result);
    CHECK(outcome != STELE_WRONG_REVISION);
    for (size_t s = 0; s < streams; s++) {
        const size_t index = (first + s) % LIFE_STREAMS;
        for (size_t e = 0; e < each; e++) {
            if (outcome == STELE_OK) {
                life->kept[index][life->kept_count[index]++] = numbers[s][e];
                life->acknowledged++;
            } else if (outcome == STELE_E_UNKNOWN) {
                life->unknown[index][life->unknown_count[index]++] = numbers[s][e];
            }
        }
    }
    life->is_unknown = outcome == STELE_E_UNKNOWN;
    life->over = life->over || outcome == STELE_E_UNKNOWN || outcome == STELE_E_FENCED ||
                 stele_store_is_fenced(life->store);
}

/* Streams of which the limits hide a part; only their end is checked. */
static void append_plain(struct life *life, const char *stream, const char *type, const char *data)
{
    const struct stele_event_draft draft = {.type = type, .data = data, .data_size = strlen(data)};
    const struct stele_append part = {
        .stream = stream, .expected = STELE_EXPECT_ANY, .events = &draft, .count = 1};
    struct stele_append_result result;
    const int outcome = append_drafts(life, &part, 1, &result);
    life->over = life->over || outcome == STELE_E_UNKNOWN || stele_store_is_fenced(life->store);
}

static void scavenge(struct life *life)
{
    uint64_t base = 0;
    for (int i = 0; i < 100; i++) {
        struct stele_work *piece = NULL;
        int outcome = stele_scavenge_begin(life->store, base, life->compress, life->disk.now_us,
                                           NULL, NULL, &piece, &err);
        if (outcome != STELE_OK) {
            return;
        }
        outcome = stele_work_run(piece, &err);
        struct stele_log_pack_result packed;
        if (stele_scavenge_end(life->store, piece, outcome, &base, &packed, &err) != STELE_OK) {
            return;
        }
    }
}

/* ---- The life ---- */

void life_init(struct life *life, uint64_t seed, bool compress)
{
    memset(life, 0, sizeof *life);
    testalloc_init(&life->alloc, seed);
    memio_init(&life->disk, &life->alloc.base, seed);
    life->disk.now_us = INT64_C(1800000000000000);
    life->compress = compress;
    life->next_number = 1;
}

void life_deinit(struct life *life)
{
    stele_store_close(life->store);
    CHECK_EQ(life->disk.open_count, 0);
    CHECK_EQ(life->alloc.bytes, 0);
    memio_deinit(&life->disk);
}

void life_open(struct life *life)
{
    const struct stele_options public = STELE_OPTIONS_INIT;
    struct stele_store_options options = {.public = public, .live_end = UINT64_MAX};
    options.public.segment_size_max = SEGMENT_SIZE;
    options.public.index_memory = 16384;
    options.public.partitions = 4;
    options.public.compress = life->compress;
    life->store = NULL;
    const int outcome = stele_store_open(&life->disk.io, &options, &life->store, &err);
    life->over = outcome != STELE_OK;
    CHECK(outcome == STELE_OK || err.message[0] != '\0');
}

static void close_and_open(struct life *life)
{
    work(life, true);
    stele_store_close(life->store);
    life_open(life);
}

void life_run(struct life *life)
{
    life_open(life);
    for (size_t round = 0; round < 3 && !life->over; round++) {
        for (size_t i = 0; i < 60 && !life->over; i++) {
            append_events(life, i, i % 3 == 0 ? 2 : 1, 1 + i % 3);
            if (i % 10 == 3 && !life->over) {
                append_plain(life, "short", "Short", "{\"fill\":\"0123456789012345678901234567\"}");
            }
            if (i % 16 == 0 && !life->over) {
                work(life, false);
            }
        }
        if (!life->over) {
            append_plain(life, "$$short", "$metadata", "{\"$maxCount\":2}");
        }
        if (!life->over) {
            scavenge(life);
        }
        if (!life->over) {
            close_and_open(life);
        }
    }
}

/* ---- The check ---- */

static uint64_t number_of(const struct stele_event *event)
{
    uint64_t number = 0;
    memcpy(&number, event->id, sizeof number);
    return number;
}

static void check_stream(struct life *life, size_t stream, size_t *out_unknown)
{
    char name[16];
    name_of(stream, name);
    struct stele_read_options options = STELE_READ_OPTIONS_INIT;
    struct stele_read *read = NULL;
    const size_t kept = life->kept_count[stream];
    size_t at = 0;
    *out_unknown = 0;
    const int begun =
        stele_read_begin(life->store, name, &options, false, life->disk.now_us, &read, &err);
    if (begun == STELE_NO_STREAM) {
        CHECK_EQ(kept, 0);
        return;
    }
    CHECK_OK(begun, err);
    for (;;) {
        const struct stele_event *events = NULL;
        size_t count = 0;
        const int outcome = stele_read_next(read, &events, &count, &err);
        if (outcome == STELE_INCOMPLETE) {
            CHECK_OK(stele_read_refill(life->store, read, &err), err);
            continue;
        }
        if (outcome == STELE_END) {
            break;
        }
        CHECK_OK(outcome, err);
        for (size_t i = 0; i < count; i++, at++) {
            CHECK_EQ(events[i].revision, at);
            if (at < kept) {
                CHECK_EQ(number_of(&events[i]), life->kept[stream][at]);
            } else {
                CHECK(at - kept < life->unknown_count[stream]);
                CHECK_EQ(number_of(&events[i]), life->unknown[stream][at - kept]);
                ++*out_unknown;
            }
        }
    }
    stele_read_end(life->store, read);
    CHECK(at >= kept);
}

static void on_damage(void *context, const struct stele_damage *damage)
{
    (void)context;
    check_failed(__FILE__, __LINE__, "verify: %s, offset %" PRIu64 ", position %" PRIu64 ": %s",
                 damage->file, damage->offset, damage->position, damage->what);
}

static void check_verify(struct life *life)
{
    struct stele_verify *verify = NULL;
    CHECK_OK(stele_verify_begin(life->store, NULL, on_damage, NULL, false, &verify, &err), err);
    int outcome = STELE_OK;
    while (outcome == STELE_OK) {
        uint64_t done = 0;
        uint64_t total = 0;
        struct stele_verify_result result;
        outcome = stele_verify_step(verify, &done, &total, &result, &err);
    }
    CHECK_OUTCOME(outcome, STELE_END, err);
    stele_verify_end(life->store, verify);
}

void life_check(struct life *life)
{
    life_open(life);
    CHECK_OUTCOME(life->over ? err.outcome : STELE_OK, STELE_OK, err);
    size_t unknown_parts = 0;
    size_t whole_parts = 0;
    for (size_t stream = 0; stream < LIFE_STREAMS; stream++) {
        size_t unknown = 0;
        check_stream(life, stream, &unknown);
        CHECK(unknown == 0 || unknown == life->unknown_count[stream]);
        unknown_parts += life->unknown_count[stream] > 0 ? 1 : 0;
        whole_parts += unknown > 0 ? 1 : 0;
        for (size_t i = 0; i < unknown; i++) {
            life->kept[stream][life->kept_count[stream]++] = life->unknown[stream][i];
        }
    }
    CHECK(whole_parts == 0 || whole_parts == unknown_parts);
    check_verify(life);
    work(life, false);
    check_verify(life);
    append_events(life, 0, 2, 2);
    CHECK(!life->over);
    stele_store_close(life->store);
    life->store = NULL;
}
