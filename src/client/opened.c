/* Reading with a keyring: events come out as they were appended, or say that they cannot. */
#include "base/text.h"
#include "client/keyring.h"
#include "keys/fields.h"

static const char field_begin[] = "{\"$sealed\":\"";
static const char field_end[] = "\"}";
static const char lost_metadata[] = "{\"$shredded\":true}";
static const char json_type[] = "application/json";

#define BEGIN_SIZE (sizeof field_begin - 1)
#define END_SIZE (sizeof field_end - 1)

static bool text_is(struct stele_text text, const char *wanted)
{
    return text.size == strlen(wanted) && memcmp(text.data, wanted, text.size) == 0;
}

static bool is_sealed(const struct stele_event *event)
{
    return event->content_type.size >= sizeof STELE_SEALED_TYPE - 1 &&
           (text_is(event->content_type, STELE_SEALED_TYPE) ||
            text_is(event->content_type, STELE_SEALED_JSON_TYPE));
}

int stele_client__opener_create(struct sealer *sealer, struct opener **out_opener,
                                struct stele_error *err)
{
    struct opener *opener = stele_allocate_zeroed(sealer->store->alloc, sizeof *opener);
    if (opener == NULL) {
        return stele_fail(err, STELE_E_NO_MEMORY, 0, "read: no memory");
    }
    opener->sealer = sealer;
    *out_opener = opener;
    return STELE_OK;
}

void stele_client__opener_destroy(struct opener *opener)
{
    if (opener == NULL) {
        return;
    }
    struct stele_alloc *alloc = opener->sealer->store->alloc;
    stele_arena_deinit(&opener->arena, alloc);
    stele_release(alloc, opener->events, opener->capacity * sizeof *opener->events);
    stele_release(alloc, opener, sizeof *opener);
}

void stele_client__opener_give(struct opener *opener, const struct stele_event *events,
                               size_t count)
{
    opener->raw = events;
    opener->raw_count = count;
    opener->raw_at = 0;
    opener->raw_first = 0;
}

/* ---- One event ---- */

struct opening {
    struct opener *opener;
    const struct stele_event *event;
    struct stele_envelope_place place;
    bool lost; /* Something of it was shredded. */
    struct stele_error *err;
};

static void *take(struct opening *opening, size_t size)
{
    void *memory = stele_arena_allocate(&opening->opener->arena,
                                        opening->opener->sealer->store->alloc, size > 0 ? size : 1);
    if (memory == NULL) {
        (void)stele_fail(opening->err, STELE_E_NO_MEMORY, 0, "read: no memory to open events");
    }
    return memory;
}

static int fail(struct opening *opening, int outcome, const char *what)
{
    const struct stele_event *event = opening->event;
    return stele_fail(opening->err, outcome, 0, "event %llu of stream %.*s (position %llu): %s",
                      (unsigned long long)event->revision,
                      event->stream.size > 200 ? 200 : (int)event->stream.size, event->stream.data,
                      (unsigned long long)event->position, what);
}

/* STELE_OK with *out_plain, whose data is NULL when the key was shredded. */
static int open_envelope(struct opening *opening, struct stele_bytes bytes, uint8_t part,
                         struct stele_envelope *envelope, struct stele_bytes *out_plain)
{
    uint8_t key[STELE_ENVELOPE_KEY_SIZE];
    enum keyring_find find = KEYRING_MISSING;
    int outcome = stele_envelope_decode(bytes, envelope);
    if (outcome == STELE_E_FORMAT) {
        return fail(opening, outcome, "a newer version has sealed it");
    }
    if (outcome != STELE_OK || envelope->part != part) {
        return fail(opening, STELE_E_CORRUPT, "what is sealed is no envelope of its place");
    }
    outcome = stele_client__keyring_key(opening->opener->sealer->keyring, envelope->key_id, key,
                                        &find, opening->err);
    if (outcome != STELE_OK) {
        return outcome;
    }
    if (find == KEYRING_MISSING) {
        return fail(opening, STELE_E_KEY,
                    "the keyring has no key for it, nor was it shredded: it is another keyring, or "
                    "one from before; restore the newest backup");
    }
    *out_plain = (struct stele_bytes){.data = NULL, .size = 0};
    if (find == KEYRING_ERASED) {
        opening->lost = true;
        return STELE_OK;
    }
    const size_t size = stele_envelope_plain_size(envelope);
    uint8_t *plain = take(opening, size);
    if (plain == NULL) {
        return STELE_E_NO_MEMORY;
    }
    if (!stele_envelope_open(envelope, &opening->place, key, plain)) {
        return fail(opening, STELE_E_CORRUPT,
                    "what is sealed does not open with its key: it was altered, or it belongs to "
                    "another stream, revision or event");
    }
    *out_plain = (struct stele_bytes){.data = plain, .size = size};
    return STELE_OK;
}

/* ---- Fields ---- */

static bool is_marked(void *context, struct stele_bytes path, struct stele_bytes value)
{
    (void)context;
    (void)path;
    return value.size > BEGIN_SIZE && memcmp(value.data, field_begin, BEGIN_SIZE) == 0;
}

/* What a value {"$sealed":"BASE64"} holds. */
static int unwrap(struct opening *opening, struct stele_bytes value, struct stele_bytes *out_bytes)
{
    if (value.size < BEGIN_SIZE + END_SIZE ||
        memcmp(value.data + value.size - END_SIZE, field_end, END_SIZE) != 0) {
        return fail(opening, STELE_E_CORRUPT, "what is sealed is no envelope");
    }
    const struct stele_bytes text =
        stele_bytes_slice(value, BEGIN_SIZE, value.size - BEGIN_SIZE - END_SIZE);
    uint8_t *bytes = take(opening, stele_base64_decoded_size_max(text.size));
    size_t size = 0;
    if (bytes == NULL) {
        return STELE_E_NO_MEMORY;
    }
    if (!stele_base64_decode(text, 0, bytes, &size)) {
        return fail(opening, STELE_E_CORRUPT, "what is sealed is no envelope");
    }
    *out_bytes = (struct stele_bytes){.data = bytes, .size = size};
    return STELE_OK;
}

static int open_field(void *context, struct stele_bytes path, struct stele_bytes value,
                      struct stele_buf *out)
{
    struct opening *opening = context;
    struct stele_envelope envelope;
    struct stele_bytes bytes = {.size = 0};
    struct stele_bytes plain = {.size = 0};
    int outcome = unwrap(opening, value, &bytes);
    if (outcome == STELE_OK) {
        opening->place.path = path;
        outcome = open_envelope(opening, bytes, STELE_ENVELOPE_FIELD, &envelope, &plain);
        opening->place.path = (struct stele_bytes){.size = 0};
    }
    if (outcome == STELE_OK) {
        if (plain.data == NULL) {
            plain = stele_bytes_of_text("null");
        }
        outcome = stele_buf_append(out, opening->opener->sealer->store->alloc, plain);
    }
    return outcome;
}

static int open_fields(struct opening *opening, struct stele_event *event)
{
    struct stele_alloc *alloc = opening->opener->sealer->store->alloc;
    const struct stele_fields_walk walk = {is_marked, open_field, NULL, opening};
    struct stele_buf out = {.size = 0};
    const struct stele_bytes data = {event->data, event->data_size};
    int outcome = stele_fields_walk(data, &walk, alloc, &out, opening->err);
    if (outcome == STELE_E_INVALID || outcome == STELE_E_LIMIT) {
        outcome = fail(opening, STELE_E_CORRUPT, "its data should be JSON with sealed fields");
    }
    uint8_t *copy = outcome == STELE_OK ? take(opening, out.size) : NULL;
    if (outcome == STELE_OK && copy == NULL) {
        outcome = STELE_E_NO_MEMORY;
    }
    if (outcome == STELE_OK) {
        if (out.size > 0) {
            memcpy(copy, out.data, out.size);
        }
        event->data = copy;
        event->data_size = out.size;
        event->content_type = (struct stele_text){json_type, sizeof json_type - 1};
        event->flags |= STELE_EVENT_JSON;
    }
    stele_buf_deinit(&out, alloc);
    return outcome;
}

static int open_data(struct opening *opening, struct stele_event *event)
{
    struct stele_envelope envelope;
    struct stele_bytes plain = {.size = 0};
    const struct stele_bytes data = {event->data, event->data_size};
    const int outcome = open_envelope(opening, data, STELE_ENVELOPE_DATA, &envelope, &plain);
    if (outcome != STELE_OK) {
        return outcome;
    }
    if (plain.data == NULL) {
        /* JSON that any reader of JSON takes for "nothing there". */
        event->data = "null";
        event->data_size = 4;
        event->content_type = (struct stele_text){json_type, sizeof json_type - 1};
    } else {
        event->data = plain.data;
        event->data_size = plain.size;
        event->content_type = (struct stele_text){(const char *)envelope.content_type.data,
                                                  envelope.content_type.size};
    }
    event->flags &= ~STELE_EVENT_JSON;
    event->flags |= text_is(event->content_type, json_type) ? STELE_EVENT_JSON : 0;
    return STELE_OK;
}

static int open_metadata(struct opening *opening, struct stele_event *event)
{
    const struct stele_bytes metadata = {event->metadata, event->metadata_size};
    struct stele_envelope envelope;
    struct stele_bytes bytes = {.size = 0};
    struct stele_bytes plain = {.size = 0};
    if (!is_marked(NULL, metadata, metadata)) {
        return STELE_OK;
    }
    int outcome = unwrap(opening, metadata, &bytes);
    if (outcome == STELE_OK) {
        outcome = open_envelope(opening, bytes, STELE_ENVELOPE_METADATA, &envelope, &plain);
    }
    if (outcome == STELE_OK) {
        event->metadata = plain.data != NULL ? (const void *)plain.data : lost_metadata;
        event->metadata_size = plain.data != NULL ? plain.size : sizeof lost_metadata - 1;
    }
    return outcome;
}

static int open_event(struct opener *opener, const struct stele_event *sealed,
                      struct stele_event *out_event, struct stele_error *err)
{
    struct opening opening = {
        .opener = opener,
        .event = sealed,
        .place = {.stream = {(const uint8_t *)sealed->stream.data, sealed->stream.size},
                  .revision = sealed->revision,
                  .event_id = sealed->id},
        .err = err,
    };
    struct stele_event event = *sealed;
    int outcome = text_is(sealed->content_type, STELE_SEALED_TYPE) ? open_data(&opening, &event)
                                                                   : open_fields(&opening, &event);
    if (outcome == STELE_OK) {
        outcome = open_metadata(&opening, &event);
    }
    if (outcome == STELE_OK) {
        event.flags |= opening.lost ? STELE_EVENT_SHREDDED : 0;
        *out_event = event;
    }
    return outcome;
}

/* ---- Batches ---- */

static int reserve(struct opener *opener, size_t count, struct stele_error *err)
{
    if (count <= opener->capacity) {
        return STELE_OK;
    }
    struct stele_alloc *alloc = opener->sealer->store->alloc;
    struct stele_event *events = stele_allocate(alloc, count * sizeof *events);
    if (events == NULL) {
        return stele_fail(err, STELE_E_NO_MEMORY, 0, "read: no memory to open events");
    }
    stele_release(alloc, opener->events, opener->capacity * sizeof *events);
    opener->events = events;
    opener->capacity = count;
    return STELE_OK;
}

int stele_client__opener_next(struct opener *opener, const struct stele_event **out_events,
                              size_t *out_count, struct stele_error *err)
{
    const struct stele_event *raw = opener->raw + opener->raw_at;
    const size_t left = opener->raw_count - opener->raw_at;
    size_t plain = 0;
    while (plain < left && !is_sealed(&raw[plain])) {
        plain++;
    }
    opener->raw_first = opener->raw_at;
    if (plain == left) {
        opener->raw_at = opener->raw_count;
        *out_events = raw;
        *out_count = left;
        return STELE_OK;
    }
    stele_arena_deinit(&opener->arena, opener->sealer->store->alloc);
    int outcome = reserve(opener, left, err);
    if (outcome == STELE_OK) {
        outcome = stele_client__sealer_look(opener->sealer, false, NULL, err);
    }
    if (outcome != STELE_OK) {
        return outcome;
    }
    size_t count = 0;
    struct stele_error ignored = {.message = ""};
    while (count < left && outcome == STELE_OK) {
        struct stele_error *words = count == 0 ? err : &ignored;
        if (is_sealed(&raw[count])) {
            outcome = open_event(opener, &raw[count], &opener->events[count], words);
        } else {
            opener->events[count] = raw[count];
        }
        count += outcome == STELE_OK ? 1 : 0;
    }
    if (count == 0) {
        /* The next call goes on behind it; what may pass is tried again. */
        opener->raw_at += outcome == STELE_E_NO_MEMORY ? 0 : 1;
        return outcome;
    }
    /* What failed is told by the next call, which tries it again. */
    opener->raw_at += count;
    *out_events = opener->events;
    *out_count = count;
    return STELE_OK;
}
