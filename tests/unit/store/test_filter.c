/* A read with a filter never skips an event because memory ran out: it says so, and goes on where
 * it was when it is asked again.
 *
 * Method: fail each allocation of a read in turn, ask again after each failure, and count. The
 * regular expression is one that needs more memory for long names than it was given at first. */
#include "world.h"

static void append_types(struct world *world, int count)
{
    char long_type[201];
    memset(long_type, 'a', 200);
    long_type[200] = '\0';
    for (int i = 0; i < count; i++) {
        struct stele_event_draft draft = {.type = i % 3 == 0 ? long_type : "other",
                                          .data = "x",
                                          .data_size = 1,
                                          .content_type = "x/y"};
        const uint64_t id = (uint64_t)i + 1;
        memcpy(draft.id, &id, sizeof id);
        const struct stele_append append = {
            .stream = "account-1", .expected = STELE_EXPECT_ANY, .events = &draft, .count = 1};
        CHECK_OK(world_append_these(world, &append, NULL), world->err);
    }
}

/* Reads all, asking again after each lack of memory. */
static int count_matches(struct world *world, const char *name, bool backwards)
{
    const struct stele_filter filter = {.type_regex = "^(a|b)*$"};
    struct stele_read_options options = STELE_READ_OPTIONS_INIT;
    options.filter = &filter;
    options.backwards = backwards;
    options.from = backwards ? STELE_FROM_END : STELE_FROM_START;
    struct stele_read *read = NULL;
    int outcome = STELE_E_NO_MEMORY;
    for (int tries = 0; outcome == STELE_E_NO_MEMORY && tries < 3; tries++) {
        outcome = stele_read_begin(world->store, name, &options, false, 0, &read, &world->err);
    }
    CHECK_OK(outcome, world->err);
    int total = 0;
    uint64_t before = backwards ? UINT64_MAX : 0;
    for (int tries = 0; outcome != STELE_END; tries++) {
        const struct stele_event *events = NULL;
        size_t count = 0;
        CHECK(tries < 1000);
        outcome = stele_read_next(read, &events, &count, &world->err);
        if (outcome == STELE_INCOMPLETE) {
            CHECK_OK(stele_read_refill(world->store, read, &world->err), world->err);
        } else if (outcome != STELE_END && outcome != STELE_E_NO_MEMORY) {
            CHECK_OK(outcome, world->err);
        }
        for (size_t i = 0; outcome == STELE_OK && i < count; i++) {
            CHECK(backwards ? events[i].position < before : events[i].position > before);
            before = events[i].position;
            total++;
        }
    }
    stele_read_end(world->store, read);
    return total;
}

TEST(no_event_is_skipped_for_lack_of_memory)
{
    struct world *world = world_create();
    world_open(world);
    append_types(world, 300);
    static const char *const names[] = {NULL, "$ce-account", "account-1"};
    for (size_t i = 0; i < 2 * STELE_COUNT_OF(names); i++) {
        uint64_t failed = 1;
        uint64_t swept = 0;
        for (uint64_t n = 1; failed > 0; n++) {
            world->alloc.failures = 0;
            world->alloc.fail_at = world->alloc.calls + n;
            CHECK_EQ(count_matches(world, names[i / 2], i % 2 == 1), 100);
            world->alloc.fail_at = 0;
            failed = world->alloc.failures;
            swept += failed;
        }
        CHECK(swept > 5);
    }
    world_destroy(world);
}
