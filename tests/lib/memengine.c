#define CHECK_NO_MAIN
#include "lib/memengine.h"

#include "lib/check.h"
#include "lib/storeread.h"

struct memengine_append {
    struct memengine_append *next;
    struct stele_appending *appending;
    uint64_t place;
    int outcome;
    struct stele_append_result result;
    struct stele_error err;
};

struct stele_reading {
    struct memengine *mem;
    struct stele_read *read;
    bool bounded;
};

static struct memengine *of(struct stele_engine *engine)
{
    return (struct memengine *)((char *)engine - offsetof(struct memengine, engine));
}

static int64_t now_of(struct memengine *mem)
{
    mem->disk.now_us += 10;
    return mem->disk.now_us;
}

/* ---- Making durable ---- */

static void write_groups(struct memengine *mem)
{
    struct stele_log_group group;
    while (stele_store_take(mem->store, &group)) {
        struct stele_error err;
        int outcome = mem->disk.io.ops->write(group.file, group.offset, group.bytes, &err);
        if (outcome == STELE_OK) {
            outcome = mem->disk.io.ops->sync(group.file, &err);
        }
        stele_store_done(mem->store, group.id, outcome);
    }
}

static void run_answer(struct stele_task *task)
{
    struct stele_appending *appending =
        (struct stele_appending *)((char *)task - offsetof(struct stele_appending, task));
    appending->on_done(appending);
}

static void answer(struct memengine_append *one)
{
    struct stele_appending *appending = one->appending;
    appending->outcome = one->outcome;
    appending->result = one->result;
    appending->err = one->err;
    appending->task.run = run_answer;
    stele_loop_post(appending->loop, &appending->task);
    free(one);
}

static void tell(struct memengine *mem)
{
    const uint64_t position = stele_store_position(mem->store);
    if (position == mem->told) {
        return;
    }
    mem->told = position;
    for (struct stele_watch *watch = mem->watches, *next = NULL; watch != NULL; watch = next) {
        next = watch->next;
        watch->on_visible(watch);
    }
}

void memengine_commit(struct memengine *mem)
{
    write_groups(mem);
    while (mem->first != NULL && stele_store_durable(mem->store) >= mem->first->place) {
        struct memengine_append *one = mem->first;
        mem->first = one->next;
        if (mem->first == NULL) {
            mem->last = &mem->first;
        }
        answer(one);
    }
    tell(mem);
}

static void run_commit(struct stele_task *task)
{
    struct memengine *mem = (struct memengine *)((char *)task - offsetof(struct memengine, commit));
    mem->posted = false;
    if (!mem->hold) {
        memengine_commit(mem);
    }
}

void memengine_work(struct memengine *mem)
{
    for (int i = 0; i < 1000; i++) {
        struct stele_work *work = NULL;
        struct stele_error err;
        mem->disk.now_us += INT64_C(2000000); /* Whatever waits has waited long enough. */
        if (stele_work_begin(mem->store, mem->disk.now_us, false, &work, &err) != STELE_OK) {
            return;
        }
        const int kind = stele_work_kind(work);
        const int outcome = stele_work_run(work, &err);
        CHECK_OK(stele_work_end(mem->store, work, outcome, &err), err);
        if (kind == STELE_WORK_MARK) {
            return; /* Comes again and again. */
        }
    }
}

/* ---- Appending ---- */

static int decide(struct memengine *mem, struct stele_prepared *prepared, uint64_t *revisions_last,
                  struct stele_append_result *result, struct stele_ticket *ticket,
                  struct stele_error *err)
{
    for (int tries = 0; tries < 100; tries++) {
        int outcome = stele_store_append(mem->store, prepared, now_of(mem), ticket, revisions_last,
                                         result, err);
        if (outcome == STELE_STORE_ROLL) {
            write_groups(mem);
            outcome = stele_store_roll(mem->store, ticket->roll_size, err);
            CHECK_OK(outcome, *err);
        } else if (outcome == STELE_STORE_INDEX) {
            memengine_work(mem);
        } else {
            return outcome;
        }
    }
    check_failed(__FILE__, __LINE__, "%s", "the store decides");
    return STELE_E_FENCED;
}

static void enqueue(struct memengine *mem, struct memengine_append *one)
{
    *mem->last = one;
    mem->last = &one->next;
    if (!mem->posted) {
        mem->posted = true;
        stele_loop_post(mem->loop, &mem->commit);
    }
}

/* Takes prepared over. */
static void submit(struct memengine *mem, struct stele_appending *appending,
                   struct stele_prepared *prepared)
{
    struct memengine_append *one = calloc(1, sizeof *one);
    CHECK(one != NULL);
    struct stele_error err = {.outcome = STELE_OK};
    struct stele_ticket ticket = {.place = 0};
    one->appending = appending;
    const bool unknown = mem->fail_appends > 0 || mem->lose_appends;
    const bool lost = mem->lose_appends || (unknown && mem->fail_appends % 2 == 0);
    mem->fail_appends -= mem->fail_appends > 0 ? 1 : 0;
    if (!lost) {
        one->outcome =
            decide(mem, prepared, appending->revisions_last, &one->result, &ticket, &err);
    }
    one->outcome = unknown ? STELE_E_UNKNOWN : one->outcome;
    stele_prepared_destroy(prepared);
    one->place = ticket.place;
    one->err = err;
    enqueue(mem, one);
}

static int append(struct stele_engine *engine, struct stele_appending *appending,
                  const struct stele_append *streams, size_t streams_count,
                  const struct stele_condition *conditions, size_t conditions_count,
                  struct stele_error *err)
{
    struct memengine *mem = of(engine);
    struct stele_prepared *prepared = NULL;
    int outcome = stele_prepared_create(mem->store, &prepared, err);
    if (outcome == STELE_OK) {
        outcome = stele_prepare(prepared, streams, streams_count, conditions, conditions_count,
                                now_of(mem), err);
    }
    if (outcome != STELE_OK) {
        stele_prepared_destroy(prepared);
        return outcome;
    }
    submit(mem, appending, prepared);
    return STELE_OK;
}

static int tombstone(struct stele_engine *engine, struct stele_appending *appending,
                     const char *stream, uint64_t expected, struct stele_error *err)
{
    struct memengine *mem = of(engine);
    struct stele_prepared *prepared = NULL;
    int outcome = stele_prepared_create(mem->store, &prepared, err);
    if (outcome == STELE_OK) {
        outcome = stele_prepare_tombstone(prepared, stream, expected, now_of(mem), err);
    }
    if (outcome != STELE_OK) {
        stele_prepared_destroy(prepared);
        return outcome;
    }
    submit(mem, appending, prepared);
    return STELE_OK;
}

static int soft_delete(struct stele_engine *engine, struct stele_appending *appending,
                       const char *stream, uint64_t expected, struct stele_error *err)
{
    struct memengine *mem = of(engine);
    char name[STELE_STREAM_NAME_SIZE_MAX + 3];
    (void)snprintf(name, sizeof name, "$$%s", stream);
    struct stele_buf json = {.data = NULL};
    uint64_t meta_expected = 0;
    struct stele_append_result result;
    int outcome = stele_store_delete_metadata(mem->store, stream, expected, &json, &meta_expected,
                                              &result, err);
    if (outcome == STELE_OK) {
        const struct stele_event_draft draft = {
            .type = "$metadata", .data = json.data, .data_size = json.size};
        const struct stele_append parts[] = {
            {.stream = name, .expected = meta_expected, .events = &draft, .count = 1},
            {.stream = stream, .expected = expected},
        };
        outcome = append(engine, appending, parts, 2, NULL, 0, err);
    } else if (outcome > 0) { /* Decided: that is told like every decision. */
        struct memengine_append *one = calloc(1, sizeof *one);
        CHECK(one != NULL);
        *one = (struct memengine_append){
            .appending = appending, .outcome = outcome, .result = result, .err = *err};
        enqueue(mem, one);
        outcome = STELE_OK;
    }
    stele_buf_deinit(&json, mem->alloc);
    return outcome;
}

/* ---- Reading ---- */

static int read_open(struct stele_engine *engine, const char *stream,
                     const struct stele_read_options *options, struct stele_reading **out_reading,
                     struct stele_error *err)
{
    struct memengine *mem = of(engine);
    if (mem->fail_reads > 0) {
        mem->fail_reads--;
        return stele_fail(err, STELE_E_NO_MEMORY, 0, "read: the test wants no memory");
    }
    struct stele_reading *reading = calloc(1, sizeof *reading);
    CHECK(reading != NULL);
    reading->mem = mem;
    reading->bounded = options->scan_max != 0;
    const int outcome =
        stele_read_begin(mem->store, stream, options, false, now_of(mem), &reading->read, err);
    if (outcome != STELE_OK) {
        free(reading);
        return outcome;
    }
    mem->opened++;
    mem->readings++;
    mem->readings_max = mem->readings > mem->readings_max ? mem->readings : mem->readings_max;
    *out_reading = reading;
    return STELE_OK;
}

static int read_next(struct stele_reading *reading, const struct stele_event **out_events,
                     size_t *out_count, struct stele_error *err)
{
    struct memengine *mem = reading->mem;
    if (mem->fail_reads > 0) {
        mem->fail_reads--;
        return stele_fail(err, STELE_E_NO_MEMORY, 0, "read: the test wants no memory");
    }
    return storeread_next(mem->store, reading->read, reading->bounded, out_events, out_count, err);
}

static uint64_t read_position(const struct stele_reading *reading)
{
    return stele_read_position(reading->read);
}

static uint64_t read_scanned(const struct stele_reading *reading)
{
    return stele_read_scanned(reading->read);
}

static uint64_t read_ordinal(const struct stele_reading *reading, size_t index)
{
    return stele_read_ordinal(reading->read, index);
}

static void read_close(struct stele_reading *reading)
{
    if (reading != NULL) {
        stele_read_end(reading->mem->store, reading->read);
        reading->mem->readings--;
        free(reading);
    }
}

static int stream_info(struct stele_engine *engine, const char *stream,
                       struct stele_stream_info *out_info, struct stele_error *err)
{
    return stele_store_stream_info(of(engine)->store, stream, now_of(of(engine)), out_info, err);
}

static int get_metadata(struct stele_engine *engine, const char *stream, char *buffer,
                        size_t buffer_size, size_t *out_size, uint64_t *out_revision,
                        struct stele_error *err)
{
    struct stele_buf json = {.data = NULL};
    uint64_t revision = 0;
    const int outcome = stele_store_metadata(of(engine)->store, stream, &json, &revision, err);
    if (outcome == STELE_OK) {
        const size_t fits = json.size < buffer_size ? json.size : buffer_size;
        if (fits > 0) {
            memcpy(buffer, json.data, fits);
        }
        *out_size = json.size;
        if (out_revision != NULL) {
            *out_revision = revision;
        }
    }
    stele_buf_deinit(&json, of(engine)->alloc);
    return outcome;
}

static int list(struct stele_engine *engine, int what, const char *prefix, const char *after,
                uint64_t limit, stele_name_callback on_name, void *context, struct stele_error *err)
{
    struct memengine *mem = of(engine);
    struct stele_list *list = NULL;
    int outcome = stele_list_begin(mem->store, what, prefix, after, now_of(mem), &list, err);
    if (outcome != STELE_OK) {
        return outcome;
    }
    for (uint64_t told = 0; limit == 0 || told < limit; told++) {
        struct stele_text name;
        uint64_t count = 0;
        outcome = stele_list_next(list, &name, &count, err);
        if (outcome != STELE_OK || on_name(context, name, count) != 0) {
            break;
        }
    }
    stele_list_end(mem->store, list);
    return outcome == STELE_END ? STELE_OK : outcome;
}

static uint64_t last_position(struct stele_engine *engine)
{
    return stele_store_position(of(engine)->store);
}

static int stats(struct stele_engine *engine, struct stele_stats *out_stats,
                 struct stele_error *err)
{
    (void)err;
    stele_store_stats(of(engine)->store, out_stats);
    return STELE_OK;
}

static void watch_start(struct stele_engine *engine, struct stele_watch *watch)
{
    struct memengine *mem = of(engine);
    watch->previous = NULL;
    watch->next = mem->watches;
    if (mem->watches != NULL) {
        mem->watches->previous = watch;
    }
    mem->watches = watch;
}

static void watch_stop(struct stele_engine *engine, struct stele_watch *watch)
{
    struct memengine *mem = of(engine);
    if (watch->previous != NULL) {
        watch->previous->next = watch->next;
    } else {
        CHECK(mem->watches == watch);
        mem->watches = watch->next;
    }
    if (watch->next != NULL) {
        watch->next->previous = watch->previous;
    }
}

/* ---- By hand ---- */

struct waiting {
    struct stele_appending appending;
    bool done;
};

static void on_done(struct stele_appending *appending)
{
    struct waiting *waiting =
        (struct waiting *)((char *)appending - offsetof(struct waiting, appending));
    waiting->done = true;
}

/* A loop that runs what is posted at once, so that the test's own loop is left alone. */
static void post_now(struct stele_loop *loop, struct stele_task *task)
{
    (void)loop;
    task->run(task);
}

static const struct stele_loop_ops now_ops = {.post = post_now};

static int finish(struct memengine *mem, struct waiting *waiting, int outcome,
                  struct stele_append_result *out_result)
{
    if (outcome != STELE_OK) {
        return outcome;
    }
    memengine_commit(mem);
    CHECK(waiting->done);
    if (out_result != NULL) {
        *out_result = waiting->appending.result;
    }
    return waiting->appending.outcome;
}

int memengine_append(struct memengine *mem, const char *stream, uint64_t expected,
                     const struct stele_event_draft *events, size_t count,
                     struct stele_append_result *out_result)
{
    struct stele_loop now = {.ops = &now_ops, .alloc = mem->alloc};
    struct waiting waiting = {.appending = {.loop = &now, .on_done = on_done}};
    const struct stele_append one = {
        .stream = stream, .expected = expected, .events = events, .count = count};
    struct stele_error err;
    return finish(mem, &waiting, append(&mem->engine, &waiting.appending, &one, 1, NULL, 0, &err),
                  out_result);
}

uint64_t memengine_put(struct memengine *mem, const char *stream, const char *type,
                       const char *data)
{
    struct stele_event_draft draft = {
        .type = type, .data = data, .data_size = data != NULL ? strlen(data) : 0};
    const uint64_t id = ++mem->next_id;
    memcpy(draft.id, &id, sizeof id);
    draft.id[15] = 0xaa;
    struct stele_append_result result;
    CHECK_EQ(memengine_append(mem, stream, STELE_EXPECT_ANY, &draft, 1, &result), STELE_OK);
    return result.position_last;
}

int memengine_tombstone(struct memengine *mem, const char *stream)
{
    struct stele_loop now = {.ops = &now_ops, .alloc = mem->alloc};
    struct waiting waiting = {.appending = {.loop = &now, .on_done = on_done}};
    struct stele_error err;
    return finish(mem, &waiting,
                  tombstone(&mem->engine, &waiting.appending, stream, STELE_EXPECT_ANY, &err),
                  NULL);
}

int memengine_delete(struct memengine *mem, const char *stream)
{
    struct stele_loop now = {.ops = &now_ops, .alloc = mem->alloc};
    struct waiting waiting = {.appending = {.loop = &now, .on_done = on_done}};
    struct stele_error err;
    return finish(mem, &waiting,
                  soft_delete(&mem->engine, &waiting.appending, stream, STELE_EXPECT_ANY, &err),
                  NULL);
}

int memengine_set_metadata(struct memengine *mem, const char *stream, const char *json)
{
    char name[STELE_STREAM_NAME_SIZE_MAX + 3];
    (void)snprintf(name, sizeof name, "$$%s", stream);
    const struct stele_event_draft draft = {
        .type = "$metadata", .data = json, .data_size = strlen(json)};
    return memengine_append(mem, name, STELE_EXPECT_ANY, &draft, 1, NULL);
}

/* ---- */

static const struct stele_engine_ops ops = {
    .append = append,
    .tombstone = tombstone,
    .soft_delete = soft_delete,
    .read_open = read_open,
    .read_next = read_next,
    .read_position = read_position,
    .read_scanned = read_scanned,
    .read_ordinal = read_ordinal,
    .read_close = read_close,
    .stream_info = stream_info,
    .get_metadata = get_metadata,
    .list = list,
    .last_position = last_position,
    .stats = stats,
    .watch_start = watch_start,
    .watch_stop = watch_stop,
};

static void open_store(struct memengine *mem)
{
    struct stele_error err;
    CHECK_OK(stele_store_open(&mem->disk.io, &mem->options, &mem->store, &err), err);
    mem->told = stele_store_position(mem->store);
}

static void forget(struct memengine *mem)
{
    for (struct memengine_append *one = mem->first, *next = NULL; one != NULL; one = next) {
        next = one->next;
        free(one);
    }
    mem->first = NULL;
    mem->last = &mem->first;
}

struct memengine *memengine_create(struct stele_loop *loop, struct stele_alloc *alloc,
                                   uint64_t seed)
{
    struct memengine *mem = calloc(1, sizeof *mem);
    CHECK(mem != NULL);
    mem->engine.ops = &ops;
    mem->loop = loop;
    mem->alloc = alloc;
    mem->last = &mem->first;
    mem->commit.run = run_commit;
    memio_init(&mem->disk, alloc, seed);
    mem->disk.now_us = INT64_C(1750000000000000);
    mem->options = (struct stele_store_options){.public = STELE_OPTIONS_INIT};
    mem->options.public.partitions = 4;
    mem->options.public.segment_size_max = 256 * 1024;
    mem->options.public.index_memory = 64 * 1024;
    mem->options.public.scrub_days = 0;
    mem->options.live_end = UINT64_MAX;
    open_store(mem);
    return mem;
}

void memengine_destroy(struct memengine *mem)
{
    CHECK_EQ(mem->readings, 0);
    CHECK(mem->watches == NULL);
    forget(mem);
    stele_store_close(mem->store);
    memio_kill(&mem->disk);
    memio_deinit(&mem->disk);
    free(mem);
}

void memengine_crash(struct memengine *mem, int keep)
{
    CHECK_EQ(mem->readings, 0);
    forget(mem);
    mem->watches = NULL;
    stele_store_close(mem->store);
    memio_crash(&mem->disk, keep);
    open_store(mem);
}
