/* Appending with a keyring: what is about a person is encrypted before the request is made.
 *
 * The revision of each event is in what its envelope is bound to, so it has to be known before the store decides.
 * With an exact expectation it is. Otherwise:
 *
 *     1. where is the stream?     (stele_stream_info)
 *     2. was it appended before?  (only if the caller gave ids: the request under a condition that cannot hold)
 *     3. seal for the next revision, append with that exact expectation; wrong: again from 1
 *
 * If 3 succeeds nothing was appended to the stream since 1, so what 2 said still held. */
#include "base/text.h"
#include "client/keyring.h"
#include "keys/fields.h"

#include <sodium.h>

#define TRIES_MAX 64

static const char mark_begin[] = "{\"$sealed\":\"";
static const char mark_end[] = "\"}";
static const char json_type[] = "application/json";

/* How one draft is sealed. */
struct plan {
    const char *subject; /* NULL: it is not. */
    const char *const *fields;
    size_t fields_count;
    bool metadata;
    uint8_t key_id[16];
    uint8_t key[STELE_ENVELOPE_KEY_SIZE];
};

/* One stream of the request. */
struct part {
    struct stele_event_draft *drafts; /* As given, with ids. NULL: nothing of it is sealed. */
    struct stele_event_draft *sealed; /* What is appended. */
    struct plan *plans;
    uint64_t revision; /* Of the first draft. */
    bool has_ids;      /* The caller gave ids. */
    bool loose;        /* The expectation was made exact here. */
};

struct sealing {
    struct stele *store;
    struct stele_keyring *keyring;
    const struct stele_append *streams;
    size_t streams_count;
    struct stele_append *exact; /* What is appended. */
    struct part *parts;
    size_t sealed_count;       /* Drafts. */
    struct stele_arena plans;  /* Until the end. */
    struct stele_arena pieces; /* Of one try. */
    struct stele_error *err;
};

static int no_memory(struct sealing *sealing)
{
    return stele_fail(sealing->err, STELE_E_NO_MEMORY, 0, "append: no memory to seal events");
}

static void *take_zeroed(struct sealing *sealing, size_t size)
{
    void *memory =
        stele_arena_allocate(&sealing->plans, sealing->store->alloc, size > 0 ? size : 1);
    if (memory != NULL) {
        memset(memory, 0, size > 0 ? size : 1);
    }
    return memory;
}

/* ---- Who and what ---- */

static bool is_sealed_already(const struct stele_event_draft *draft)
{
    return draft->content_type != NULL &&
           (strcmp(draft->content_type, STELE_SEALED_TYPE) == 0 ||
            strcmp(draft->content_type, STELE_SEALED_JSON_TYPE) == 0);
}

static int plan_by_seal(struct sealing *sealing, const struct stele_seal *seal, const char *stream,
                        struct plan *plan)
{
    if (stream[0] == '$') {
        return stele_fail(sealing->err, STELE_E_INVALID, 0,
                          "stream %.200s: what is in system streams cannot be sealed", stream);
    }
    if (!stele_ring_is_name(seal->subject)) {
        return stele_fail(sealing->err, STELE_E_INVALID, 0,
                          "the name of a data subject has to be 1 to %d bytes of UTF-8",
                          STELE_SUBJECT_SIZE_MAX);
    }
    for (size_t i = 0; i < seal->fields_count; i++) {
        if (seal->fields[i] == NULL ||
            !stele_fields_is_pointer(stele_bytes_of_text(seal->fields[i]))) {
            return stele_fail(sealing->err, STELE_E_INVALID, 0,
                              "the field '%.200s' to seal is no JSON pointer like /name",
                              seal->fields[i] == NULL ? "" : seal->fields[i]);
        }
    }
    plan->subject = seal->subject;
    plan->fields = seal->fields;
    plan->fields_count = seal->fields_count;
    plan->metadata = seal->metadata != 0;
    return STELE_OK;
}

static int plan_by_policy(struct sealing *sealing, const struct stele_event_draft *draft,
                          const char *stream, struct plan *plan)
{
    struct stele_alloc *alloc = sealing->store->alloc;
    const struct stele_policy_rule *rule =
        stream[0] == '$' ? NULL : stele_client__keyring_rule(sealing->keyring, draft->type);
    if (rule == NULL) {
        return STELE_OK;
    }
    struct stele_buf name = {.size = 0};
    const struct stele_bytes data = {draft->data, draft->data_size};
    int outcome =
        stele_policy_subject(rule, stele_bytes_of_text(draft->type), stele_bytes_of_text(stream),
                             data, alloc, &name, sealing->err);
    char *copy = outcome == STELE_OK ? take_zeroed(sealing, name.size + 1) : NULL;
    if (outcome == STELE_OK && copy == NULL) {
        outcome = no_memory(sealing);
    }
    if (outcome == STELE_OK) {
        if (name.size > 0) {
            memcpy(copy, name.data, name.size);
        }
        if (!stele_ring_is_name(copy) || strlen(copy) != name.size) {
            outcome = stele_fail(sealing->err, STELE_E_INVALID, 0,
                                 "the policy finds a subject for %.100s whose name is empty, "
                                 "longer than %d bytes, or no UTF-8; nothing was appended",
                                 draft->type, STELE_SUBJECT_SIZE_MAX);
        }
    }
    stele_buf_deinit(&name, alloc);
    plan->subject = copy;
    plan->fields = rule->fields;
    plan->fields_count = rule->fields_count;
    plan->metadata = rule->metadata;
    return outcome;
}

static int plan_draft(struct sealing *sealing, const struct stele_append *stream, size_t index,
                      const struct stele_seal *seals, struct plan *plan)
{
    const struct stele_event_draft *draft = &stream->events[index];
    if (stream->stream == NULL || draft->type == NULL || is_sealed_already(draft)) {
        return STELE_OK; /* Refused later, or sealed by somebody else. */
    }
    if (seals != NULL) {
        return seals[index].subject == NULL
                   ? STELE_OK
                   : plan_by_seal(sealing, &seals[index], stream->stream, plan);
    }
    return plan_by_policy(sealing, draft, stream->stream, plan);
}

static bool is_zero_id(const uint8_t id[16])
{
    static const uint8_t zero[16];
    return memcmp(id, zero, 16) == 0;
}

static int plan_stream(struct sealing *sealing, size_t index, const struct stele_seal *seals)
{
    const struct stele_append *stream = &sealing->streams[index];
    struct part *part = &sealing->parts[index];
    if (stream->count > STELE_APPEND_EVENTS_MAX || (stream->count > 0 && stream->events == NULL)) {
        return STELE_OK; /* Refused when it is appended. */
    }
    struct plan *plans = take_zeroed(sealing, stream->count * sizeof *plans);
    if (plans == NULL) {
        return no_memory(sealing);
    }
    size_t sealed = 0;
    for (size_t i = 0; i < stream->count; i++) {
        const int outcome = plan_draft(sealing, stream, i, seals, &plans[i]);
        if (outcome != STELE_OK) {
            return outcome;
        }
        sealed += plans[i].subject != NULL ? 1 : 0;
    }
    if (sealed == 0) {
        return STELE_OK;
    }
    part->plans = plans;
    part->drafts = take_zeroed(sealing, stream->count * sizeof *part->drafts);
    part->sealed = take_zeroed(sealing, stream->count * sizeof *part->sealed);
    if (part->drafts == NULL || part->sealed == NULL) {
        return no_memory(sealing);
    }
    for (size_t i = 0; i < stream->count; i++) {
        part->drafts[i] = stream->events[i];
        /* The id is a part of what an envelope is bound to. */
        if (is_zero_id(part->drafts[i].id)) {
            stele_new_id(part->drafts[i].id);
        } else {
            part->has_ids = true;
        }
    }
    sealing->sealed_count += sealed;
    return STELE_OK;
}

/* All new subjects get their keys in one write. */
static int get_keys(struct sealing *sealing)
{
    const char **missing = take_zeroed(sealing, sealing->sealed_count * sizeof *missing);
    if (missing == NULL) {
        return no_memory(sealing);
    }
    for (int round = 0; round < 2; round++) {
        size_t count = 0;
        for (size_t i = 0; i < sealing->streams_count; i++) {
            const struct part *part = &sealing->parts[i];
            for (size_t j = 0; part->plans != NULL && j < sealing->streams[i].count; j++) {
                struct plan *plan = &part->plans[j];
                if (plan->subject == NULL) {
                    continue;
                }
                const int outcome = stele_client__keyring_subject(
                    sealing->keyring, plan->subject, plan->key_id, plan->key, sealing->err);
                if (outcome != STELE_OK && outcome != STELE_NOT_FOUND) {
                    return outcome;
                }
                if (outcome == STELE_NOT_FOUND) {
                    missing[count++] = plan->subject;
                }
            }
        }
        if (count == 0) {
            return STELE_OK;
        }
        if (round == 0) {
            const int outcome = stele_keyring_add(sealing->keyring, missing, count, sealing->err);
            if (outcome != STELE_OK) {
                return outcome == STELE_E_READ_ONLY
                           ? stele_fail(sealing->err, STELE_E_KEY, 0,
                                        "the subject is new, and the keyring was opened for "
                                        "reading only; nothing was appended")
                           : outcome;
            }
        }
    }
    return stele_fail(sealing->err, STELE_E_KEY, 0,
                      "a key that was just made is gone; was the keyring replaced?");
}

/* ---- Where ---- */

/* Makes the expectation of one stream exact. *out_ask: only the store itself can refuse this one. */
static int locate(struct sealing *sealing, size_t index, bool *out_ask)
{
    const struct stele_append *stream = &sealing->streams[index];
    struct part *part = &sealing->parts[index];
    const uint64_t expected = stream->expected;
    sealing->exact[index].expected = expected;
    if (expected <= STELE_REVISION_MAX) {
        part->revision = expected + 1;
        return STELE_OK;
    }
    struct stele_stream_info info = {.revision_last = 0};
    const int outcome = stele_stream_info(sealing->store, stream->stream, &info, sealing->err);
    const bool none = outcome == STELE_NO_STREAM;
    if (outcome != STELE_OK && !none) {
        return outcome;
    }
    part->revision = none ? 0 : info.revision_last + 1;
    if (expected == STELE_EXPECT_ANY || expected == STELE_EXPECT_EXISTS) {
        part->loose = true;
        /* A stream without events has none of these; and in a store without any the question would be
         * an append. */
        *out_ask = *out_ask || (part->has_ids && !none);
        if (expected == STELE_EXPECT_EXISTS && (none || info.deleted)) {
            *out_ask = true;
        }
        sealing->exact[index].expected = none ? STELE_EXPECT_NO_STREAM : info.revision_last;
    } else if (!none && info.deleted) {
        part->loose = true;
        sealing->exact[index].expected = info.revision_last;
    } else {
        part->revision = 0; /* If there is one, the store refuses it, or knows these ids. */
    }
    return STELE_OK;
}

/* STELE_CONDITION_FAILED: it is new. Anything else is the answer. */
static int ask(struct sealing *sealing, uint64_t *revisions_last,
               struct stele_append_result *out_result)
{
    const struct stele_query_item anything = {.types = NULL};
    const struct stele_condition never = {.items = &anything, .items_count = 1, .after = 0};
    struct stele_append *streams = take_zeroed(sealing, sealing->streams_count * sizeof *streams);
    if (streams == NULL) {
        return no_memory(sealing);
    }
    for (size_t i = 0; i < sealing->streams_count; i++) {
        streams[i] = sealing->streams[i];
        if (sealing->parts[i].drafts != NULL) {
            /* Its ids count, its data must not leave this process: nothing is stored all the same. */
            for (size_t j = 0; j < streams[i].count; j++) {
                sealing->parts[i].sealed[j] = sealing->parts[i].drafts[j];
                sealing->parts[i].sealed[j].data = NULL;
                sealing->parts[i].sealed[j].data_size = 0;
                sealing->parts[i].sealed[j].metadata = NULL;
                sealing->parts[i].sealed[j].metadata_size = 0;
            }
            streams[i].events = sealing->parts[i].sealed;
        }
    }
    return stele_client__append_plain(sealing->store, streams, sealing->streams_count, &never, 1,
                                      revisions_last, out_result, sealing->err);
}

/* ---- Sealing ---- */

static void *take_piece(struct sealing *sealing, size_t size)
{
    return stele_arena_allocate(&sealing->pieces, sealing->store->alloc, size > 0 ? size : 1);
}

struct sealed_draft {
    struct sealing *sealing;
    const struct plan *plan;
    struct stele_envelope_place place;
};

static void put_envelope(const struct sealed_draft *draft, uint8_t part,
                         struct stele_bytes content_type, struct stele_bytes plain, uint8_t *to)
{
    uint8_t nonce[STELE_ENVELOPE_NONCE_SIZE];
    struct stele_io *io = draft->sealing->keyring->io;
    io->ops->random(io, nonce, sizeof nonce);
    stele_envelope_seal(&draft->place, part, draft->plan->key_id, draft->plan->key, nonce,
                        content_type, plain, to);
}

/* Appends {"$sealed":"BASE64"} to out. */
static int put_mark(const struct sealed_draft *draft, uint8_t part, struct stele_bytes plain,
                    struct stele_buf *out)
{
    struct stele_alloc *alloc = draft->sealing->store->alloc;
    const struct stele_bytes none = {.data = NULL, .size = 0};
    const size_t size = stele_envelope_size(0, plain.size);
    const size_t text_size = stele_base64_size(size);
    const size_t whole = sizeof mark_begin - 1 + text_size + sizeof mark_end - 1;
    uint8_t *envelope = take_piece(draft->sealing, size);
    if (envelope == NULL || stele_buf_reserve(out, alloc, whole) != STELE_OK) {
        return no_memory(draft->sealing);
    }
    put_envelope(draft, part, none, plain, envelope);
    uint8_t *to = out->data + out->size;
    memcpy(to, mark_begin, sizeof mark_begin - 1);
    to += sizeof mark_begin - 1;
    stele_base64_encode((struct stele_bytes){envelope, size}, (char *)to);
    memcpy(to + text_size, mark_end, sizeof mark_end - 1);
    out->size += whole;
    return STELE_OK;
}

static bool is_field(void *context, struct stele_bytes path, struct stele_bytes value)
{
    const struct sealed_draft *draft = context;
    (void)value;
    for (size_t i = 0; i < draft->plan->fields_count; i++) {
        if (stele_fields_path_matches(stele_bytes_of_text(draft->plan->fields[i]), path)) {
            return true;
        }
    }
    return false;
}

static int seal_field(void *context, struct stele_bytes path, struct stele_bytes value,
                      struct stele_buf *out)
{
    struct sealed_draft *draft = context;
    draft->place.path = path;
    const int outcome = put_mark(draft, STELE_ENVELOPE_FIELD, value, out);
    draft->place.path = (struct stele_bytes){.size = 0};
    return outcome;
}

static int check_name(void *context, struct stele_bytes name)
{
    const struct sealed_draft *draft = context;
    return stele_bytes_equal(name, stele_bytes_of_text("$sealed"))
               ? stele_fail(draft->sealing->err, STELE_E_INVALID, 0,
                            "the data has a member \"$sealed\", which is what sealed fields look "
                            "like; rename it")
               : STELE_OK;
}

static int move(struct sealing *sealing, struct stele_buf *from, const void **out_data,
                size_t *out_size)
{
    uint8_t *copy = take_piece(sealing, from->size);
    if (copy == NULL) {
        return no_memory(sealing);
    }
    if (from->size > 0) {
        memcpy(copy, from->data, from->size);
    }
    *out_data = copy;
    *out_size = from->size;
    return STELE_OK;
}

static int seal_fields(struct sealed_draft *draft, struct stele_event_draft *event)
{
    struct sealing *sealing = draft->sealing;
    const struct stele_fields_walk walk = {is_field, seal_field, check_name, draft};
    struct stele_buf out = {.size = 0};
    if (event->content_type != NULL && strcmp(event->content_type, json_type) != 0) {
        return stele_fail(sealing->err, STELE_E_INVALID, 0,
                          "fields can be sealed in application/json only, and this is %.100s; seal "
                          "the whole payload",
                          event->content_type);
    }
    const struct stele_bytes data = {event->data, event->data_size};
    int outcome = stele_fields_walk(data, &walk, sealing->store->alloc, &out, sealing->err);
    if (outcome == STELE_OK) {
        outcome = move(sealing, &out, &event->data, &event->data_size);
    }
    event->content_type = STELE_SEALED_JSON_TYPE;
    stele_buf_deinit(&out, sealing->store->alloc);
    return outcome;
}

static int seal_data(struct sealed_draft *draft, struct stele_event_draft *event)
{
    const struct stele_bytes content_type =
        stele_bytes_of_text(event->content_type != NULL ? event->content_type : json_type);
    if (content_type.size > STELE_CONTENT_TYPE_SIZE_MAX) {
        return STELE_OK; /* Refused as it is. */
    }
    const struct stele_bytes plain = {event->data, event->data == NULL ? 0 : event->data_size};
    const size_t size = stele_envelope_size(content_type.size, plain.size);
    uint8_t *envelope = take_piece(draft->sealing, size);
    if (envelope == NULL) {
        return no_memory(draft->sealing);
    }
    put_envelope(draft, STELE_ENVELOPE_DATA, content_type, plain, envelope);
    event->data = envelope;
    event->data_size = size;
    event->content_type = STELE_SEALED_TYPE;
    return STELE_OK;
}

static int seal_metadata(struct sealed_draft *draft, struct stele_event_draft *event)
{
    struct stele_buf out = {.size = 0};
    const struct stele_bytes plain = {event->metadata, event->metadata_size};
    if (!draft->plan->metadata || event->metadata == NULL || event->metadata_size == 0) {
        return STELE_OK;
    }
    int outcome = put_mark(draft, STELE_ENVELOPE_METADATA, plain, &out);
    if (outcome == STELE_OK) {
        outcome = move(draft->sealing, &out, &event->metadata, &event->metadata_size);
    }
    stele_buf_deinit(&out, draft->sealing->store->alloc);
    return outcome;
}

static int seal_stream(struct sealing *sealing, size_t index)
{
    const struct stele_append *stream = &sealing->streams[index];
    struct part *part = &sealing->parts[index];
    int outcome = STELE_OK;
    for (size_t i = 0; i < stream->count && outcome == STELE_OK; i++) {
        struct stele_event_draft *event = &part->sealed[i];
        *event = part->drafts[i];
        if (part->plans[i].subject == NULL) {
            continue;
        }
        struct sealed_draft draft = {
            .sealing = sealing,
            .plan = &part->plans[i],
            .place = {.stream = stele_bytes_of_text(stream->stream),
                      .revision = part->revision + i,
                      .event_id = event->id},
        };
        if (draft.place.stream.size > STELE_STREAM_NAME_SIZE_MAX) {
            continue; /* Refused for its name. */
        }
        outcome =
            part->plans[i].fields_count > 0 ? seal_fields(&draft, event) : seal_data(&draft, event);
        if (outcome == STELE_OK) {
            outcome = seal_metadata(&draft, event);
        }
    }
    sealing->exact[index].events = part->sealed;
    return outcome;
}

/* ---- Appending ---- */

static int prepare(struct sealing *sealing, const struct stele_seal *const *seals)
{
    const size_t count = sealing->streams_count;
    sealing->parts = take_zeroed(sealing, count * sizeof *sealing->parts);
    sealing->exact = take_zeroed(sealing, count * sizeof *sealing->exact);
    if (sealing->parts == NULL || sealing->exact == NULL) {
        return no_memory(sealing);
    }
    int outcome = STELE_OK;
    for (size_t i = 0; i < count && outcome == STELE_OK; i++) {
        sealing->exact[i] = sealing->streams[i];
        outcome = plan_stream(sealing, i, seals == NULL ? NULL : seals[i]);
    }
    if (outcome == STELE_OK && sealing->sealed_count > 0) {
        outcome = stele_client__sealer_look(sealing->store->sealer, false, NULL, sealing->err);
    }
    return outcome == STELE_OK && sealing->sealed_count > 0 ? get_keys(sealing) : outcome;
}

/* Finds where everything stands and seals it for there. *out_ask as for locate(). */
static int seal_all(struct sealing *sealing, bool asynchronous, bool *out_ask)
{
    *out_ask = false;
    stele_arena_deinit(&sealing->pieces, sealing->store->alloc);
    for (size_t i = 0; i < sealing->streams_count; i++) {
        if (sealing->parts[i].drafts == NULL) {
            continue;
        }
        int outcome = locate(sealing, i, out_ask);
        if (outcome == STELE_OK && asynchronous && sealing->parts[i].loose) {
            outcome = stele_fail(sealing->err, STELE_E_INVALID, 0,
                                 "stream %.200s: an asynchronous append of sealed events needs an "
                                 "exact expected revision",
                                 sealing->streams[i].stream);
        }
        if (outcome != STELE_OK) {
            return outcome;
        }
    }
    return STELE_OK;
}

static int seal_pieces(struct sealing *sealing)
{
    int outcome = STELE_OK;
    for (size_t i = 0; i < sealing->streams_count && outcome == STELE_OK; i++) {
        if (sealing->parts[i].drafts != NULL) {
            outcome = seal_stream(sealing, i);
        }
    }
    return outcome;
}

static int append(struct sealing *sealing, const struct stele_condition *conditions,
                  size_t conditions_count, uint64_t *revisions_last,
                  struct stele_append_result *out_result)
{
    for (int i = 0; i < TRIES_MAX; i++) {
        struct stele_append_result result = {.failed = 0};
        bool must_ask = false;
        int outcome = seal_all(sealing, false, &must_ask);
        if (outcome == STELE_OK && must_ask) {
            outcome = ask(sealing, revisions_last, &result);
            if (outcome != STELE_CONDITION_FAILED) {
                *out_result = result;
                return outcome;
            }
            outcome = STELE_OK;
        }
        if (outcome == STELE_OK) {
            outcome = seal_pieces(sealing);
        }
        if (outcome != STELE_OK) {
            return outcome;
        }
        outcome = stele_client__append_plain(sealing->store, sealing->exact, sealing->streams_count,
                                             conditions, conditions_count, revisions_last, &result,
                                             sealing->err);
        if (outcome != STELE_WRONG_REVISION || !sealing->parts[result.failed].loose) {
            *out_result = result;
            return outcome;
        }
    }
    return stele_fail(sealing->err, STELE_E_OVERLOADED, 0,
                      "append: others append to the stream so often that sealing for its next "
                      "revision came too late %d times; try again",
                      TRIES_MAX);
}

static int append_async(struct sealing *sealing, const struct stele_condition *conditions,
                        size_t conditions_count, stele_append_callback callback, void *context)
{
    bool must_ask = false;
    int outcome = seal_all(sealing, true, &must_ask);
    if (outcome == STELE_OK) {
        outcome = seal_pieces(sealing);
    }
    return outcome == STELE_OK
               ? stele_client__append_plain_async(sealing->store, sealing->exact,
                                                  sealing->streams_count, conditions,
                                                  conditions_count, callback, context, sealing->err)
               : outcome;
}

static void wipe(struct sealing *sealing)
{
    for (size_t i = 0; i < sealing->streams_count && sealing->parts != NULL; i++) {
        if (sealing->parts[i].plans != NULL) {
            sodium_memzero(sealing->parts[i].plans,
                           sealing->streams[i].count * sizeof *sealing->parts[i].plans);
        }
    }
    stele_arena_deinit(&sealing->plans, sealing->store->alloc);
    stele_arena_deinit(&sealing->pieces, sealing->store->alloc);
}

int stele_client__append_sealed(struct stele *store, const struct stele_append *streams,
                                const struct stele_seal *const *seals, size_t streams_count,
                                const struct stele_condition *conditions, size_t conditions_count,
                                uint64_t *revisions_last, struct stele_append_result *out_result,
                                stele_append_callback callback, void *context,
                                struct stele_error *err)
{
    struct stele_append_result result = {.failed = 0};
    struct sealing sealing = {
        .store = store,
        .keyring = store->sealer->keyring,
        .streams = streams,
        .streams_count = streams_count,
        .err = err,
    };
    int outcome = STELE_OK;
    if (streams != NULL && streams_count <= STELE_APPEND_STREAMS_MAX) {
        outcome = prepare(&sealing, seals);
    }
    if (outcome == STELE_OK && sealing.sealed_count == 0) {
        wipe(&sealing);
        return callback != NULL
                   ? stele_client__append_plain_async(store, streams, streams_count, conditions,
                                                      conditions_count, callback, context, err)
                   : stele_client__append_plain(store, streams, streams_count, conditions,
                                                conditions_count, revisions_last, out_result, err);
    }
    if (outcome == STELE_OK) {
        outcome = callback != NULL
                      ? append_async(&sealing, conditions, conditions_count, callback, context)
                      : append(&sealing, conditions, conditions_count, revisions_last, &result);
        if (out_result != NULL && outcome >= 0) {
            *out_result = result;
        }
    }
    wipe(&sealing);
    return outcome;
}

int stele_append_sealed(struct stele *store, const struct stele_append *streams,
                        const struct stele_seal *const *seals, size_t streams_count,
                        const struct stele_condition *conditions, size_t conditions_count,
                        uint64_t *revisions_last, struct stele_append_result *out_result,
                        struct stele_error *err)
{
    const int outcome = stele_client__enter(store, err);
    if (outcome != STELE_OK) {
        return outcome;
    }
    if (store->sealer == NULL) {
        return stele_fail(
            err, STELE_E_KEY, 0,
            "append: the store uses no keyring (stele_use_keyring), so nothing can be "
            "sealed; nothing was appended");
    }
    return stele_client__append_sealed(store, streams, seals, streams_count, conditions,
                                       conditions_count, revisions_last, out_result, NULL, NULL,
                                       err);
}
