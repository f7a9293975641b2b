/* Processors: what follows from each event is in the target once, whoever is killed when.
 *
 * Method: the source has events with numbers; the handler of number n emits n % 4 events, into streams that
 * depend on n. What has to be in the target is known beforehand, to the byte, and is held against it after
 * runs that were stopped, refused, killed, or raced by another one. */
#include "unit/client/fixture.h"

#include <stele/process.h>
#include <stele/route.h>

#include <time.h>

static char target_path[64];
static struct stele *target;

static void begin(void)
{
    fixture_begin();
    strcpy(target_path, "/tmp/stele-test-XXXXXX");
    CHECK(mkdtemp(target_path) != NULL);
    const struct stele_options options = fixture_options();
    CHECK_OK(stele_open(target_path, &options, &target, &err), err);
}

static void end(void)
{
    CHECK_EQ(stele_close(target), STELE_OK);
    (void)nftw(target_path, fixture_remove_one, 8, FTW_DEPTH | FTW_PHYS);
    fixture_end();
}

static void append_numbers(uint64_t first, uint64_t count)
{
    for (uint64_t n = first; n < first + count; n++) {
        char stream[32];
        char data[32];
        char metadata[64];
        (void)snprintf(stream, sizeof stream, "in-%llu", (unsigned long long)(n % 7));
        (void)snprintf(data, sizeof data, "{\"n\":%llu}", (unsigned long long)n);
        (void)snprintf(metadata, sizeof metadata, "{\"$correlationId\":\"c%llu\"}",
                       (unsigned long long)n);
        struct stele_event_draft draft = fixture_draft(n, data);
        draft.metadata = metadata;
        draft.metadata_size = strlen(metadata);
        CHECK_OK(stele_append(store, stream, STELE_EXPECT_ANY, &draft, 1, NULL, &err), err);
    }
}

static uint64_t number_of(const struct stele_event *event)
{
    int64_t n = -1;
    CHECK_EQ(stele_json_integer(event->data, event->data_size, "n", &n), STELE_OK);
    return (uint64_t)n;
}

/* ---- The handler ---- */

struct handler {
    uint64_t refused; /* This number, unless it is 0. */
    int outcome;
    uint64_t calls;
};

static int multiply(void *context, const struct stele_event *event, const void *state,
                    struct stele_process *process)
{
    struct handler *const handler = context;
    const uint64_t n = number_of(event);
    (void)state;
    handler->calls++;
    for (uint64_t k = 0; k < n % 4; k++) {
        char stream[32];
        char data[64];
        (void)snprintf(stream, sizeof stream, "out-%llu", (unsigned long long)((n + k) % 5));
        (void)snprintf(data, sizeof data, "{\"n\":%llu,\"k\":%llu}", (unsigned long long)n,
                       (unsigned long long)k);
        const struct stele_event_draft draft = {
            .type = "Multiplied", .data = data, .data_size = strlen(data)};
        CHECK_EQ(stele_process_emit(process, stream, &draft), STELE_OK);
    }
    if (n != 0 && n == handler->refused) {
        return handler->outcome == STELE_REJECTED ? stele_process_reject(process, "not %d", 7)
                                                  : handler->outcome;
    }
    return STELE_OK;
}

static struct handler handler;
static const struct stele_processor multiplier = {.struct_size = sizeof multiplier,
                                                  .name = "multiplier",
                                                  .context = &handler,
                                                  .handle = multiply};

/* In each stream of the target, what the numbers from 1 to last have led to, in order, and nothing else. */
static void check_target(uint64_t last)
{
    for (uint64_t s = 0; s < 5; s++) {
        char stream[32];
        (void)snprintf(stream, sizeof stream, "out-%llu", (unsigned long long)s);
        struct stele_read_options options = STELE_READ_OPTIONS_INIT;
        struct stele_iterator *iterator = NULL;
        const struct stele_event *events = NULL;
        size_t count = 0;
        size_t at = 0;
        const int opened = stele_read_stream(target, stream, &options, &iterator, &err);
        for (uint64_t n = 1; n <= last; n++) {
            for (uint64_t k = 0; k < n % 4; k++) {
                if ((n + k) % 5 != s) {
                    continue;
                }
                CHECK_OK(opened, err);
                if (at == count) {
                    CHECK_OK(stele_iterator_next(iterator, &events, &count, &err), err);
                    at = 0;
                }
                char data[64];
                (void)snprintf(data, sizeof data, "{\"n\":%llu,\"k\":%llu}", (unsigned long long)n,
                               (unsigned long long)k);
                CHECK_EQ(events[at].data_size, strlen(data));
                CHECK(memcmp(events[at].data, data, strlen(data)) == 0);
                at++;
            }
        }
        CHECK_EQ(at, count);
        if (opened == STELE_OK) {
            CHECK_EQ(stele_iterator_next(iterator, &events, &count, &err), STELE_END);
        }
        stele_iterator_destroy(iterator);
    }
}

static uint64_t emitted_by(uint64_t last)
{
    uint64_t sum = 0;
    for (uint64_t n = 1; n <= last; n++) {
        sum += n % 4;
    }
    return sum;
}

static void check_progress(const struct stele_processor_progress *progress, uint64_t last)
{
    CHECK_EQ(progress->handled, last);
    CHECK_EQ(progress->emitted, emitted_by(last));
}

TEST(what_follows_from_each_event_is_in_the_target_once)
{
    struct stele_processor_progress progress;
    begin();
    append_numbers(1, 500);
    handler = (struct handler){.refused = 0};
    CHECK_EQ(stele_processor_load(target, "multiplier", &progress, &err), STELE_NOT_FOUND);
    CHECK_OK(stele_processor_run(store, target, &multiplier, NULL, &progress, &err), err);
    check_progress(&progress, 500);
    check_target(500);
    CHECK_EQ(handler.calls, 500);
    /* Nothing new, nothing done; then what is new, alone. */
    CHECK_OK(stele_processor_run(store, target, &multiplier, NULL, &progress, &err), err);
    CHECK_EQ(handler.calls, 500);
    append_numbers(501, 100);
    CHECK_OK(stele_processor_run(store, target, &multiplier, NULL, &progress, &err), err);
    CHECK_EQ(handler.calls, 600);
    check_target(600);
    struct stele_processor_progress loaded;
    CHECK_OK(stele_processor_load(target, "multiplier", &loaded, &err), err);
    check_progress(&loaded, 600);
    CHECK_EQ(loaded.position, progress.position);
    end();
}

TEST(a_processor_that_lost_its_place_doubles_nothing)
{
    begin();
    append_numbers(1, 40);
    handler = (struct handler){.refused = 0};
    CHECK_OK(stele_processor_run(store, target, &multiplier, NULL, NULL, &err), err);
    CHECK_OK(stele_delete(target, "$processor-multiplier", STELE_EXPECT_ANY, NULL, &err), err);
    CHECK_EQ(stele_processor_run(store, target, &multiplier, NULL, NULL, &err),
             STELE_CONDITION_FAILED);
    CHECK_TEXT_HAS(err.message, "$processor-multiplier was deleted");
    check_target(40);
    end();
}

TEST(what_is_emitted_says_where_it_comes_from)
{
    begin();
    append_numbers(1, 1);
    handler = (struct handler){.refused = 0};
    CHECK_OK(stele_processor_run(store, target, &multiplier, NULL, NULL, &err), err);
    struct stele_read_options options = STELE_READ_OPTIONS_INIT;
    struct stele_iterator *iterator = NULL;
    const struct stele_event *events = NULL;
    size_t count = 0;
    uint8_t id[16];
    char cause[37];
    char metadata[256];
    CHECK_OK(stele_read_stream(target, "out-1", &options, &iterator, &err), err);
    CHECK_OK(stele_iterator_next(iterator, &events, &count, &err), err);
    (void)snprintf(metadata, sizeof metadata, "%.*s", (int)events[0].metadata_size,
                   (const char *)events[0].metadata);
    fixture_id(1, id);
    stele_id_to_text(id, cause);
    CHECK_TEXT_HAS(metadata, "\"$correlationId\":\"c1\"");
    CHECK_TEXT_HAS(metadata, cause);
    CHECK_TEXT_HAS(metadata, "\"$hops\":1");
    stele_iterator_destroy(iterator);
    end();
}

TEST(an_event_that_is_refused_ends_the_run_and_is_the_first_of_the_next)
{
    struct stele_processor_progress progress;
    begin();
    append_numbers(1, 50);
    const int outcomes[] = {STELE_REJECTED, STELE_E_IO, STELE_E_LIMIT};
    for (size_t i = 0; i < 3; i++) {
        handler = (struct handler){.refused = 10 * (i + 1) + 3, .outcome = outcomes[i]};
        CHECK_EQ(stele_processor_run(store, target, &multiplier, NULL, &progress, &err),
                 outcomes[i]);
        CHECK_TEXT_HAS(err.message, "multiplier");
        CHECK_TEXT_HAS(err.message, "revision");
        CHECK_TEXT_HAS(err.message,
                       outcomes[i] == STELE_REJECTED ? "not 7" : stele_outcome_name(outcomes[i]));
        check_progress(&progress, handler.refused - 1);
        check_target(handler.refused - 1);
    }
    handler = (struct handler){.refused = 0};
    CHECK_OK(stele_processor_run(store, target, &multiplier, NULL, &progress, &err), err);
    CHECK_EQ(handler.calls, 18);
    check_target(50);
    end();
}

/* ---- Many, and few at a time ---- */

static int emit_many(void *context, const struct stele_event *event, const void *state,
                     struct stele_process *process)
{
    (void)context;
    (void)state;
    for (uint64_t k = 0; k < number_of(event); k++) {
        char stream[32];
        (void)snprintf(stream, sizeof stream, "many-%llu", (unsigned long long)(k % 300));
        const struct stele_event_draft draft = {.type = "Many", .data = "{}", .data_size = 2};
        CHECK_EQ(stele_process_emit(process, stream, &draft), STELE_OK);
    }
    return STELE_OK;
}

TEST(appends_stay_within_what_an_append_may_hold)
{
    const struct stele_processor processor = {
        .struct_size = sizeof processor, .name = "many", .handle = emit_many};
    struct stele_processor_progress progress;
    struct stele_stats stats;
    begin();
    append_numbers(600, 8);
    append_numbers(3000, 1);
    CHECK_OK(stele_processor_run(store, target, &processor, NULL, &progress, &err), err);
    const uint64_t many = 600 + 601 + 602 + 603 + 604 + 605 + 606 + 607 + 3000;
    CHECK_EQ(progress.emitted, many);
    CHECK_EQ(progress.handled, 9);
    CHECK_OK(stele_stats(target, &stats, &err), err);
    /* And the places, and the metadata of the stream that has them. */
    CHECK(stats.events > many + 2);
    CHECK(stats.events < many + 12);
    end();
}

/* ---- States ---- */

struct sum {
    uint64_t sum;
    uint64_t events;
};

static int add(void *context, void *state, const struct stele_event *event, const void *fact,
               struct stele_memory *memory)
{
    struct sum *const sum = state;
    (void)context;
    (void)fact;
    (void)memory;
    sum->sum += number_of(event);
    sum->events++;
    return STELE_OK;
}

static int emit_sum(void *context, const struct stele_event *event, const void *state,
                    struct stele_process *process)
{
    const struct sum *const sum = state;
    const uint64_t n = number_of(event);
    struct handler *const it = context;
    CHECK_EQ(sum->sum, n * (n + 1) / 2);
    CHECK_EQ(sum->events, n);
    it->calls++;
    if (n == it->refused) {
        return it->outcome;
    }
    char data[64];
    (void)snprintf(data, sizeof data, "{\"n\":%llu,\"sum\":%llu}", (unsigned long long)n,
                   (unsigned long long)sum->sum);
    const struct stele_event_draft draft = {.type = "Sum", .data = data, .data_size = strlen(data)};
    return n % 10 == 0 ? stele_process_emit(process, "sums", &draft) : STELE_OK;
}

static void check_sums(uint64_t last)
{
    struct stele_read_options options = STELE_READ_OPTIONS_INIT;
    struct stele_iterator *iterator = NULL;
    const struct stele_event *events = NULL;
    size_t count = 0;
    uint64_t n = 0;
    CHECK_OK(stele_read_stream(target, "sums", &options, &iterator, &err), err);
    while (stele_iterator_next(iterator, &events, &count, &err) == STELE_OK) {
        for (size_t i = 0; i < count; i++) {
            n += 10;
            CHECK_EQ(number_of(&events[i]), n);
        }
    }
    CHECK_EQ(n, last / 10 * 10);
    stele_iterator_destroy(iterator);
}

TEST(a_state_is_kept_with_the_place_and_folded_again_after_a_change)
{
    struct stele_fold fold = {.struct_size = sizeof fold,
                              .name = "sum",
                              .version = 1,
                              .state_size = sizeof(struct sum),
                              .evolve = add};
    struct handler it = {.refused = 77, .outcome = STELE_E_IO};
    const struct stele_processor processor = {.struct_size = sizeof processor,
                                              .name = "summer",
                                              .context = &it,
                                              .handle = emit_sum,
                                              .fold = &fold};
    struct stele_processor_options options = STELE_PROCESSOR_OPTIONS_INIT;
    options.batch_max = 8;
    begin();
    append_numbers(1, 200);
    CHECK_EQ(stele_processor_run(store, target, &processor, &options, NULL, &err), STELE_E_IO);
    it.refused = 0;
    CHECK_OK(stele_processor_run(store, target, &processor, &options, NULL, &err), err);
    check_sums(200);
    const uint64_t calls = it.calls;
    append_numbers(201, 50);
    CHECK_OK(stele_processor_run(store, target, &processor, &options, NULL, &err), err);
    CHECK_EQ(it.calls, calls + 50);
    fold.version = 2;
    append_numbers(251, 50);
    CHECK_OK(stele_processor_run(store, target, &processor, &options, NULL, &err), err);
    CHECK_EQ(it.calls, calls + 100);
    check_sums(300);
    end();
}

/* ---- Two at once, and circles ---- */

static int run_another(void *context, const struct stele_processor_progress *progress)
{
    uint64_t *const calls = context;
    (void)progress;
    if ((*calls)++ == 0) {
        append_numbers(1001, 1);
        CHECK_OK(stele_processor_run(store, target, &multiplier, NULL, NULL, &err), err);
    }
    return 0;
}

TEST(of_two_runs_one_stops_and_nothing_is_there_twice)
{
    struct stele_processor_options options = STELE_PROCESSOR_OPTIONS_INIT;
    uint64_t calls = 0;
    options.batch_max = 100;
    options.on_progress = run_another;
    options.context = &calls;
    begin();
    append_numbers(1, 1000);
    handler = (struct handler){.refused = 0};
    CHECK_EQ(stele_processor_run(store, target, &multiplier, &options, NULL, &err),
             STELE_WRONG_REVISION);
    CHECK_TEXT_HAS(err.message, "another run");
    check_target(1001);
    end();
}

static int pass_back(void *context, const struct stele_event *event, const void *state,
                     struct stele_process *process)
{
    (void)context;
    (void)state;
    const struct stele_event_draft draft = {
        .type = "Again", .data = event->data, .data_size = event->data_size};
    return stele_process_emit(process, "circle", &draft);
}

TEST(a_processor_that_feeds_itself_is_noticed)
{
    const struct stele_processor processor = {
        .struct_size = sizeof processor, .name = "circle", .handle = pass_back};
    struct stele_processor_options options = STELE_PROCESSOR_OPTIONS_INIT;
    struct stele_stream_info info;
    options.follow = 1;
    options.hops_max = 20;
    begin();
    append_numbers(1, 1);
    CHECK_EQ(stele_processor_run(store, store, &processor, &options, NULL, &err), STELE_E_LIMIT);
    CHECK_TEXT_HAS(err.message, "circle");
    CHECK_OK(stele_stream_info(store, "circle", &info, &err), err);
    CHECK_EQ(info.revision_last, 19);
    end();
}

TEST(what_is_not_right_is_refused_with_words_and_changes_nothing)
{
    struct stele_processor processor = multiplier;
    struct stele_processor_options options = STELE_PROCESSOR_OPTIONS_INIT;
    char long_name[STELE_PROCESSOR_NAME_SIZE_MAX + 2];
    memset(long_name, 'a', sizeof long_name);
    long_name[sizeof long_name - 1] = '\0';
    begin();
    append_numbers(1, 3);
    handler = (struct handler){.refused = 0};
    processor.name = "";
    CHECK_EQ(stele_processor_run(store, target, &processor, NULL, NULL, &err), STELE_E_INVALID);
    processor.name = long_name;
    CHECK_EQ(stele_processor_run(store, target, &processor, NULL, NULL, &err), STELE_E_INVALID);
    processor = multiplier;
    options.batch_max = 0;
    CHECK_EQ(stele_processor_run(store, target, &processor, &options, NULL, &err), STELE_E_INVALID);
    CHECK_EQ(stele_last_position(target), 0);
    CHECK_OK(stele_processor_run(store, target, &multiplier, NULL, NULL, &err), err);
    /* The place is that of another store. */
    CHECK_EQ(stele_processor_run(target, target, &multiplier, NULL, NULL, &err),
             STELE_CONDITION_FAILED);
    CHECK_TEXT_HAS(err.message, "another name");
    check_target(3);
    end();
}

/* ---- Killed ---- */

static void sleep_us(long us)
{
    const struct timespec moment = {.tv_sec = 0, .tv_nsec = us * 1000};
    (void)nanosleep(&moment, NULL);
}

static int tell(void *context, const struct stele_processor_progress *progress)
{
    const int *const answers = context;
    return write(*answers, &progress->handled, sizeof progress->handled) < 0;
}

static void be_child(int answers)
{
    struct stele_processor_options options = STELE_PROCESSOR_OPTIONS_INIT;
    const struct stele_options opening = fixture_options();
    options.follow = 1;
    options.batch_max = 16;
    options.on_progress = tell;
    options.context = &answers;
    if (stele_open(fixture_path, &opening, &store, &err) == STELE_OK &&
        stele_open(target_path, &opening, &target, &err) == STELE_OK) {
        (void)stele_processor_run(store, target, &multiplier, &options, NULL, &err);
    }
    _exit(1);
}

TEST(a_processor_that_is_killed_at_any_moment_does_nothing_twice_and_leaves_nothing_out)
{
    FIXTURE_EMBEDDED_ONLY();
    begin();
    append_numbers(1, 3000);
    handler = (struct handler){.refused = 0};
    for (int round = 0; round < 12; round++) {
        int fds[2];
        uint64_t handled = 0;
        CHECK_EQ(stele_close(store), STELE_OK);
        CHECK_EQ(stele_close(target), STELE_OK);
        CHECK_EQ(pipe(fds), 0);
        (void)fflush(stdout);
        const pid_t child = fork();
        if (child == 0) {
            (void)close(fds[0]);
            be_child(fds[1]);
        }
        (void)close(fds[1]);
        CHECK_EQ(read(fds[0], &handled, sizeof handled), sizeof handled);
        sleep_us(round * 300);
        CHECK_EQ(kill(child, SIGKILL), 0);
        CHECK_EQ(waitpid(child, NULL, 0), child);
        while (read(fds[0], &handled, sizeof handled) == sizeof handled) {
        }
        (void)close(fds[0]);
        fixture_open_with(fixture_options());
        const struct stele_options options = fixture_options();
        CHECK_OK(stele_open(target_path, &options, &target, &err), err);
        struct stele_processor_progress progress;
        CHECK_OK(stele_processor_load(target, "multiplier", &progress, &err), err);
        CHECK(progress.handled >= handled);
        check_target(progress.handled);
    }
    CHECK_OK(stele_processor_run(store, target, &multiplier, NULL, NULL, &err), err);
    check_target(3000);
    end();
}

/* ---- Routes ---- */

TEST(rules_pass_events_on_to_other_stores_and_not_back)
{
    static const char *const targets[] = {"billing", "crm"};
    static const char *const masked[] = {"/n"};
    const struct stele_transform transform = {.struct_size = sizeof transform,
                                              .name = "hide",
                                              .masked = masked,
                                              .masked_count = 1,
                                              .mask = "?"};
    const struct stele_route rule = {.struct_size = sizeof rule,
                                     .pattern = "Happen*",
                                     .targets = targets,
                                     .targets_count = 2,
                                     .transform = "hide"};
    struct stele_memory *const memory = stele_memory_create();
    struct stele_routes *routes = NULL;
    CHECK_OK(stele_routes_create(memory, &rule, 1, &transform, 1, &routes, &err), err);
    struct stele_route_target there = {.struct_size = sizeof there,
                                       .routes = routes,
                                       .self = "crm",
                                       .target = "billing",
                                       .prefix = "crm."};
    struct stele_route_target back = {
        .struct_size = sizeof back, .routes = routes, .self = "billing", .target = "crm"};
    struct stele_processor processor = {.struct_size = sizeof processor,
                                        .name = "to-billing",
                                        .context = &there,
                                        .handle = stele_route_handle};
    struct stele_processor_progress progress;
    begin();
    append_numbers(1, 7);
    CHECK_OK(stele_processor_run(store, target, &processor, NULL, &progress, &err), err);
    CHECK_EQ(progress.emitted, 7);
    struct stele_read_options options = STELE_READ_OPTIONS_INIT;
    struct stele_iterator *iterator = NULL;
    const struct stele_event *events = NULL;
    size_t count = 0;
    CHECK_OK(stele_read_stream(target, "crm.in-3", &options, &iterator, &err), err);
    CHECK_OK(stele_iterator_next(iterator, &events, &count, &err), err);
    CHECK_EQ(count, 1);
    CHECK_EQ(events[0].data_size, strlen("{\"n\":\"?\"}"));
    CHECK(memcmp(events[0].data, "{\"n\":\"?\"}", events[0].data_size) == 0);
    stele_iterator_destroy(iterator);
    processor.name = "to-crm";
    processor.context = &back;
    CHECK_OK(stele_processor_run(target, store, &processor, NULL, &progress, &err), err);
    CHECK_EQ(progress.handled, 7);
    CHECK_EQ(progress.emitted, 0);
    there.self = NULL;
    processor.name = "wrong";
    processor.context = &there;
    CHECK_EQ(stele_processor_run(store, target, &processor, NULL, &progress, &err),
             STELE_E_INVALID);
    end();
    stele_memory_destroy(memory);
}
