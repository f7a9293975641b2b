#include "es/fold.h"

#include "base/checksum.h"
#include "base/status.h"

#define SCRATCH_MAX ((size_t)256 * 1024) /* Bytes of short-lived memory that are kept on. */

/* ---- Folds -------------------------------------------------------------------------------- */

int stele_fold_check(const struct stele_fold *fold, struct stele_error *err)
{
    const char *lacks = NULL;
    if (fold == NULL || fold->struct_size < sizeof *fold) {
        return stele_fail(err, STELE_E_INVALID, 0, "a fold needs its struct_size");
    }
    if (fold->name == NULL || fold->name[0] == '\0') {
        lacks = "a name";
    } else if (fold->state_size == 0) {
        lacks = "the size of its state";
    } else if (fold->evolve == NULL) {
        lacks = "evolve";
    } else if ((fold->encode == NULL) != (fold->decode == NULL)) {
        lacks = "both of encode and decode, or none of them";
    }
    if (lacks != NULL) {
        return stele_fail(err, STELE_E_INVALID, 0, "the fold %s needs %s",
                          fold->name != NULL ? fold->name : "without a name", lacks);
    }
    return STELE_OK;
}

uint64_t stele_fold_fingerprint(const struct stele_fold *fold)
{
    if (fold == NULL || fold->name == NULL) {
        return 0;
    }
    uint8_t numbers[16];
    stele_store_u64le(numbers, fold->version);
    stele_store_u64le(numbers + 8, fold->state_size);
    uint64_t hash = stele_hash64(stele_bytes_of_text(fold->name), 1);
    hash = stele_hash64((struct stele_bytes){.data = numbers, .size = sizeof numbers}, hash);
    return stele_hash64(stele_bytes_of_text(fold->shape != NULL ? fold->shape : ""), hash);
}

/* ---- States ------------------------------------------------------------------------------- */

static void release_encoded(void *output)
{
    stele_output_deinit(output);
}

static int create_zeroed(struct stele_memory *memory, const struct stele_fold *fold,
                         struct stele_state **out_state, struct stele_error *err)
{
    const int outcome = stele_fold_check(fold, err);
    if (outcome != STELE_OK) {
        return outcome;
    }
    struct stele_state *state = stele_memory_allocate_zeroed(memory, sizeof *state);
    void *value = state != NULL ? stele_memory_allocate_zeroed(memory, fold->state_size) : NULL;
    if (value == NULL) {
        return stele_fail(err, STELE_E_NO_MEMORY, 0, "no memory for a state of %s", fold->name);
    }
    state->fold = fold;
    state->memory = memory;
    state->value = value;
    state->revision = STELE_EXPECT_NO_STREAM;
    stele_output_init(&state->encoded, stele_memory_source(memory));
    if (stele_memory_keep(memory, release_encoded, &state->encoded) != STELE_OK) {
        return stele_fail(err, STELE_E_NO_MEMORY, 0, "no memory for a state of %s", fold->name);
    }
    *out_state = state;
    return STELE_OK;
}

int stele_state_create(struct stele_memory *memory, const struct stele_fold *fold,
                       struct stele_state **out_state, struct stele_error *err)
{
    if (memory == NULL || out_state == NULL) {
        return stele_fail(err, STELE_E_INVALID, 0, "stele_state_create: an argument is NULL");
    }
    struct stele_state *state;
    int outcome = create_zeroed(memory, fold, &state, err);
    if (outcome == STELE_OK && fold->initial != NULL) {
        outcome = fold->initial(fold->context, state->value, memory);
        if (outcome != STELE_OK) {
            return stele_fail(err, outcome, 0, "the initial state of %s: %s", fold->name,
                              stele_outcome_name(outcome));
        }
    }
    if (outcome == STELE_OK) {
        *out_state = state;
    }
    return outcome;
}

const void *stele_state_value(const struct stele_state *state)
{
    if (state == NULL) {
        return NULL;
    }
    return state->failed == STELE_OK ? state->value : NULL;
}

uint64_t stele_state_count(const struct stele_state *state)
{
    if (state == NULL) {
        return 0;
    }
    return state->count;
}

uint64_t stele_state_revision(const struct stele_state *state)
{
    if (state == NULL) {
        return STELE_EXPECT_NO_STREAM;
    }
    return state->revision;
}

uint64_t stele_state_position(const struct stele_state *state)
{
    if (state == NULL) {
        return 0;
    }
    return state->position;
}

const struct stele_fold *stele_state_fold(const struct stele_state *state)
{
    if (state == NULL) {
        return NULL;
    }
    return state->fold;
}

/* ---- Folding ------------------------------------------------------------------------------ */

static int fail_event(const struct stele_state *state, const struct stele_event *event, int outcome,
                      const char *what, struct stele_error *err)
{
    return stele_fail(err, outcome, 0, "fold %s: %s %.*s at revision %llu of %.*s: %s",
                      state->fold->name, what, (int)event->type.size, event->type.data,
                      (unsigned long long)event->revision, (int)event->stream.size,
                      event->stream.data, stele_outcome_name(outcome));
}

/* The struct that the registry's codec makes of the event; NULL if it has none. */
static int make_fact(struct stele_state *state, const struct stele_event *event, void **out_fact)
{
    *out_fact = NULL;
    const struct stele_event_type *type = stele_registry_find(state->fold->registry, event->type);
    if (type == NULL || type->decode == NULL) {
        return STELE_OK;
    }
    void *fact = stele_memory_allocate_zeroed(state->scratch, type->fact_size);
    if (fact == NULL) {
        return STELE_E_NO_MEMORY;
    }
    *out_fact = fact;
    return type->decode(type->context, event, fact, state->scratch);
}

struct folding {
    struct stele_state *state;
    struct stele_error *err;
};

static int fold_upcast(void *context, const struct stele_event *event, uint32_t version)
{
    (void)version;
    const struct folding *folding = context;
    struct stele_state *state = folding->state;
    const struct stele_fold *fold = state->fold;
    void *fact = NULL;
    if (fold->registry != NULL) {
        const int outcome = make_fact(state, event, &fact);
        if (outcome != STELE_OK) {
            return fail_event(state, event, outcome, "decoding", folding->err);
        }
    }
    const int outcome = fold->evolve(fold->context, state->value, event, fact, state->memory);
    return outcome == STELE_OK ? STELE_OK
                               : fail_event(state, event, outcome, "evolving by", folding->err);
}

int stele_state__fold_one(struct stele_state *state, const struct stele_event *event,
                          struct stele_error *err)
{
    struct folding folding = {.state = state, .err = err};
    if (state->scratch == NULL) {
        state->scratch = stele_memory_child(state->memory);
        if (state->scratch == NULL) {
            return stele_fail(err, STELE_E_NO_MEMORY, 0, "fold %s: no memory", state->fold->name);
        }
    } else if (stele_memory_size(state->scratch) > SCRATCH_MAX) {
        stele_memory_reset(state->scratch);
    }
    return state->fold->upcasters == NULL
               ? fold_upcast(&folding, event, 0)
               : stele_upcasters_apply(state->fold->upcasters, event, state->scratch, fold_upcast,
                                       &folding, err);
}

static int apply_plain(struct stele_state *state, const struct stele_event *events, size_t count,
                       struct stele_error *err)
{
    const struct stele_fold *fold = state->fold;
    for (size_t i = 0; i < count; i++) {
        const int outcome =
            fold->evolve(fold->context, state->value, &events[i], NULL, state->memory);
        if (outcome != STELE_OK) {
            return fail_event(state, &events[i], outcome, "evolving by", err);
        }
    }
    return STELE_OK;
}

static int apply_each(struct stele_state *state, const struct stele_event *events, size_t count,
                      struct stele_error *err)
{
    for (size_t i = 0; i < count; i++) {
        const int outcome = stele_state__fold_one(state, &events[i], err);
        if (outcome != STELE_OK) {
            return outcome;
        }
    }
    return STELE_OK;
}

int stele_state_apply(struct stele_state *state, const struct stele_event *events, size_t count,
                      struct stele_error *err)
{
    if (state == NULL || (events == NULL && count > 0)) {
        return stele_fail(err, STELE_E_INVALID, 0, "stele_state_apply: an argument is NULL");
    }
    if (state->failed != STELE_OK) {
        return stele_fail(err, state->failed, 0,
                          "fold %s: the state is of no use since folding failed; make a new one",
                          state->fold->name);
    }
    if (count == 0) {
        return STELE_OK;
    }
    /* Most folds have neither upcasters nor codecs, and their loop is a call an event. */
    const bool plain = state->fold->upcasters == NULL && state->fold->registry == NULL;
    const int outcome =
        plain ? apply_plain(state, events, count, err) : apply_each(state, events, count, err);
    if (outcome != STELE_OK) {
        state->failed = outcome;
        return outcome;
    }
    state->count += count;
    state->revision = events[count - 1].revision;
    state->position = events[count - 1].position;
    if (state->scratch != NULL) {
        stele_memory_reset(state->scratch);
    }
    return STELE_OK;
}

/* ---- Snapshots ---------------------------------------------------------------------------- */

int stele_state_encode(struct stele_state *state, struct stele_text *out_data,
                       struct stele_error *err)
{
    if (state == NULL || out_data == NULL) {
        return stele_fail(err, STELE_E_INVALID, 0, "stele_state_encode: an argument is NULL");
    }
    const struct stele_fold *fold = state->fold;
    if (state->failed != STELE_OK) {
        return stele_fail(err, state->failed, 0,
                          "fold %s: a state whose folding failed is not "
                          "encoded",
                          fold->name);
    }
    if (fold->encode == NULL) {
        *out_data = (struct stele_text){.data = state->value, .size = fold->state_size};
        return STELE_OK;
    }
    stele_output_clear(&state->encoded);
    int outcome = fold->encode(fold->context, state->value, &state->encoded);
    outcome = outcome != STELE_OK ? outcome : state->encoded.failed;
    if (outcome != STELE_OK) {
        return stele_fail(err, outcome, 0, "fold %s: encoding the state: %s", fold->name,
                          stele_outcome_name(outcome));
    }
    *out_data = (struct stele_text){.data = (const char *)state->encoded.buf.data,
                                    .size = state->encoded.buf.size};
    return STELE_OK;
}

int stele_state_decode(struct stele_memory *memory, const struct stele_fold *fold, const void *data,
                       size_t size, uint64_t count, uint64_t revision, uint64_t position,
                       struct stele_state **out_state, struct stele_error *err)
{
    if (memory == NULL) {
        return stele_fail(err, STELE_E_INVALID, 0, "stele_state_decode: an argument is NULL");
    }
    struct stele_state *state;
    int outcome = create_zeroed(memory, fold, &state, err);
    if (outcome != STELE_OK) {
        return outcome;
    }
    if (fold->decode != NULL) {
        outcome = fold->decode(fold->context, state->value, data, size, memory);
    } else if (size == fold->state_size) {
        memcpy(state->value, data, size);
    } else {
        outcome = STELE_E_FORMAT;
    }
    if (outcome != STELE_OK) {
        return stele_fail(err, outcome, 0, "fold %s: decoding a state of %zu bytes: %s", fold->name,
                          size, stele_outcome_name(outcome));
    }
    state->count = count;
    state->revision = revision;
    state->position = position;
    *out_state = state;
    return STELE_OK;
}
