/* What is folded is the newest form of every event, in order, whatever the chains look like; a chain
 * always ends. */
#include "bank.h"
#include "lib/check.h"

#define SIZE sizeof(struct stele_upcaster)

struct seen {
    char text[1000];
    size_t size;
};

static int see(void *context, const struct stele_event *event, uint32_t version)
{
    struct seen *seen = context;
    seen->size += (size_t)snprintf(seen->text + seen->size, sizeof seen->text - seen->size,
                                   "%.*s/%u %.*s;", (int)event->type.size, event->type.data,
                                   version, (int)event->data_size, (const char *)event->data);
    CHECK_EQ(event->revision, 4);
    CHECK_EQ(event->position, 1004);
    CHECK_EQ(event->id[0], 5);
    return STELE_OK;
}

/* Applies count upcasters to one event at revision 4. */
static int apply(const struct stele_upcaster *upcasters, size_t count, const char *type,
                 const char *data, const char *metadata, struct seen *seen, struct stele_error *err)
{
    struct stele_memory *memory = stele_memory_create();
    struct stele_upcasters *all = NULL;
    const struct stele_event event = event_of(type, data, metadata, 4);
    *seen = (struct seen){.size = 0};
    int outcome = stele_upcasters_create(memory, upcasters, count, &all, err);
    if (outcome == STELE_OK) {
        outcome = stele_upcasters_apply(all, &event, memory, see, seen, err);
    }
    stele_memory_destroy(memory);
    return outcome;
}

static int emit_as(struct stele_upcast *upcast, const struct stele_event *event, const char *type,
                   uint32_t version)
{
    struct stele_event changed = *event;
    changed.type = (struct stele_text){type, strlen(type)};
    changed.revision = 77; /* Not believed. */
    changed.position = 78;
    changed.id[0] = 79;
    return stele_upcast_emit(upcast, &changed, version);
}

static int rename_to(void *context, const struct stele_event *event, struct stele_upcast *upcast)
{
    return emit_as(upcast, event, context, 0);
}

static int split(void *context, const struct stele_event *event, struct stele_upcast *upcast)
{
    (void)context;
    CHECK_EQ(emit_as(upcast, event, "A", 2), STELE_OK);
    CHECK_EQ(emit_as(upcast, event, "B", 0), STELE_OK);
    return emit_as(upcast, event, "A", 3);
}

static int drop(void *context, const struct stele_event *event, struct stele_upcast *upcast)
{
    (void)context, (void)event, (void)upcast;
    return STELE_OK;
}

static int refuse(void *context, const struct stele_event *event, struct stele_upcast *upcast)
{
    (void)context, (void)event, (void)upcast;
    return STELE_E_CORRUPT;
}

static char type_b[] = "B";
static char type_c[] = "C";
static char type_a[] = "A";

TEST(an_event_that_nobody_takes_is_handed_on)
{
    struct seen seen;
    CHECK_EQ(apply(NULL, 0, "A", "{}", "{}", &seen, NULL), STELE_OK);
    CHECK_TEXT_EQ(seen.text, "A/0 {};");
}

TEST(chains_form_by_themselves)
{
    const struct stele_upcaster chain[] = {
        {.struct_size = SIZE, .type = "B", .context = type_c, .upcast = rename_to},
        {.struct_size = SIZE, .type = "A", .context = type_b, .upcast = rename_to},
        {.struct_size = SIZE, .type = "C", .defaults = "{\"currency\":\"EUR\"}"},
    };
    struct seen seen;
    CHECK_EQ(apply(chain, 3, "A", "{\"n\":1}", "{}", &seen, NULL), STELE_OK);
    CHECK_TEXT_EQ(seen.text, "C/0 {\"n\":1,\"currency\":\"EUR\"};");
}

TEST(versions_come_from_the_metadata)
{
    const struct stele_upcaster chain[] = {
        {.struct_size = SIZE, .type = "A", .version = 2, .defaults = "{\"b\":2}"},
        {.struct_size = SIZE, .type = "A", .version = 1, .defaults = "{\"a\":1}"},
    };
    struct seen seen;
    CHECK_EQ(apply(chain, 2, "A", "{}", "{}", &seen, NULL), STELE_OK);
    CHECK_TEXT_EQ(seen.text, "A/3 {\"a\":1,\"b\":2};");
    CHECK_EQ(apply(chain, 2, "A", "{}", "{\"version\":2}", &seen, NULL), STELE_OK);
    CHECK_TEXT_EQ(seen.text, "A/3 {\"b\":2};");
    CHECK_EQ(apply(chain, 2, "A", "{}", "{\"version\":3}", &seen, NULL), STELE_OK);
    CHECK_TEXT_EQ(seen.text, "A/3 {};");
    CHECK_EQ(apply(chain, 2, "A", "{}", "no json", &seen, NULL), STELE_OK);
    CHECK_TEXT_EQ(seen.text, "A/3 {\"a\":1,\"b\":2};");
}

TEST(one_becomes_many_in_order_and_many_become_none)
{
    const struct stele_upcaster chain[] = {
        {.struct_size = SIZE, .type = "A", .version = 1, .upcast = split},
        {.struct_size = SIZE, .type = "A", .version = 2, .context = type_c, .upcast = rename_to},
        {.struct_size = SIZE, .type = "D", .upcast = drop},
    };
    struct seen seen;
    CHECK_EQ(apply(chain, 3, "A", "{}", "{}", &seen, NULL), STELE_OK);
    CHECK_TEXT_EQ(seen.text, "C/0 {};B/0 {};A/3 {};");
    CHECK_EQ(apply(chain, 3, "D", "{}", "{}", &seen, NULL), STELE_OK);
    CHECK_TEXT_EQ(seen.text, "");
}

TEST(a_circle_ends_in_words)
{
    const struct stele_upcaster circle[] = {
        {.struct_size = SIZE, .type = "A", .context = type_b, .upcast = rename_to},
        {.struct_size = SIZE, .type = "B", .context = type_a, .upcast = rename_to},
    };
    const struct stele_upcaster standing[] = {
        {.struct_size = SIZE, .type = "A", .context = type_a, .upcast = rename_to},
    };
    struct seen seen;
    struct stele_error err = {0};
    CHECK_EQ(apply(circle, 2, "A", "{}", "{}", &seen, &err), STELE_E_LIMIT);
    CHECK_TEXT_HAS(err.message, "in a circle");
    CHECK_EQ(apply(standing, 1, "A", "{}", "{}", &seen, &err), STELE_E_INVALID);
    CHECK_TEXT_HAS(err.message, "A at revision 4 of account-1");
}

TEST(what_an_upcaster_cannot_read_is_told_with_its_place)
{
    const struct stele_upcaster refusing[] = {
        {.struct_size = SIZE, .type = "A", .upcast = refuse},
        {.struct_size = SIZE, .type = "B", .defaults = "{\"a\":1}"},
    };
    struct seen seen;
    struct stele_error err = {0};
    CHECK_EQ(apply(refusing, 2, "A", "{}", "{}", &seen, &err), STELE_E_CORRUPT);
    CHECK_TEXT_HAS(err.message, "revision 4 of account-1");
    CHECK_EQ(apply(refusing, 2, "B", "[]", "{}", &seen, &err), STELE_E_INVALID);
    CHECK_TEXT_HAS(err.message, "no JSON object");
}

TEST(a_table_that_is_not_clear_is_refused)
{
    const struct stele_upcaster twice[] = {
        {.struct_size = SIZE, .type = "A", .version = 1, .upcast = drop},
        {.struct_size = SIZE, .type = "A", .version = 1, .upcast = split},
    };
    const struct stele_upcaster both[] = {
        {.struct_size = SIZE, .type = "A", .version = 0, .upcast = drop},
        {.struct_size = SIZE, .type = "A", .version = 1, .upcast = split},
    };
    const struct stele_upcaster none[] = {{.struct_size = SIZE, .type = "A"}};
    const struct stele_upcaster wrong[] = {
        {.struct_size = SIZE, .type = "A", .defaults = "{\"a\":1"}};
    struct seen seen;
    struct stele_error err = {0};
    CHECK_EQ(apply(twice, 2, "A", "{}", "{}", &seen, &err), STELE_E_INVALID);
    CHECK_TEXT_HAS(err.message, "two upcasters take version 1 of A");
    CHECK_EQ(apply(both, 2, "A", "{}", "{}", &seen, &err), STELE_E_INVALID);
    CHECK_EQ(apply(none, 1, "A", "{}", "{}", &seen, &err), STELE_E_INVALID);
    CHECK_EQ(apply(wrong, 1, "A", "{}", "{}", &seen, &err), STELE_E_INVALID);
    CHECK_TEXT_HAS(err.message, "no JSON object");
}

TEST(a_fold_sees_what_upcasters_made)
{
    struct stele_memory *memory = stele_memory_create();
    const struct stele_upcaster list[] = {
        {.struct_size = SIZE, .type = "Deposited", .defaults = "{\"amount\":5}"},
        {.struct_size = SIZE, .type = "Noise", .upcast = drop},
    };
    struct stele_upcasters *all = NULL;
    struct stele_state *state = NULL;
    struct stele_fold fold = account_fold;
    CHECK_EQ(stele_upcasters_create(memory, list, 2, &all, NULL), STELE_OK);
    fold.upcasters = all;
    CHECK_EQ(stele_state_create(memory, &fold, &state, NULL), STELE_OK);
    const struct stele_event events[] = {event_of("Deposited", "{}", "{}", 0),
                                         event_of("Noise", "{}", "{}", 1),
                                         event_of("Deposited", "{\"amount\":2}", "{}", 2)};
    CHECK_EQ(stele_state_apply(state, events, 3, NULL), STELE_OK);
    const struct account *account = stele_state_value(state);
    CHECK_EQ(account->balance, 7);
    CHECK_EQ(account->events, 2);
    CHECK_EQ(stele_state_count(state), 3);
    CHECK_EQ(stele_state_revision(state), 2);
    stele_memory_destroy(memory);
}
