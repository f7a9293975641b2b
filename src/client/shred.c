/* A store's use of a keyring, erasure records, and shredding. */
#include "base/hex.h"
#include "client/keyring.h"

#include <stdio.h>
#include <time.h>

#define LOOK_EVERY_US ((int64_t)1000000)
#define RECORDS_AT_ONCE 256

/* ---- Erasure records ---- */

static bool decode(const struct stele_event *event, struct stele_erasure_record *out_record)
{
    return stele_erasure_decode((struct stele_bytes){event->data, event->data_size}, out_record);
}

static bool is_record(const struct stele_event *event)
{
    return event->type.size == sizeof STELE_ERASURE_TYPE - 1 &&
           memcmp(event->type.data, STELE_ERASURE_TYPE, event->type.size) == 0;
}

/* Also what a soft delete hides: forgetting must not be forgotten. */
static int begin_records(struct stele *store, uint64_t from, struct stele_iterator **out_iterator,
                         struct stele_error *err)
{
    struct stele_read_options options = STELE_READ_OPTIONS_INIT;
    options.from = from;
    options.ignore_limits = 1;
    return stele_client__read_plain(store, STELE_ERASURES_STREAM, &options, out_iterator, err);
}

/* Under the sealer's lock. */
static int look(struct sealer *sealer, uint32_t *erased, struct stele_error *err)
{
    struct stele_iterator *iterator = NULL;
    int outcome = begin_records(sealer->store, sealer->next, &iterator, err);
    if (outcome == STELE_NO_STREAM) {
        return STELE_OK;
    }
    while (outcome == STELE_OK) {
        struct stele_erasure_record records[RECORDS_AT_ONCE];
        const struct stele_event *events = NULL;
        size_t events_count = 0;
        size_t count = 0;
        outcome = stele_iterator_next(iterator, &events, &events_count, err);
        for (size_t i = 0; outcome == STELE_OK && i < events_count; i++) {
            count += is_record(&events[i]) && decode(&events[i], &records[count]) ? 1 : 0;
            if (count == RECORDS_AT_ONCE || i + 1 == events_count) {
                outcome =
                    stele_client__keyring_condemn(sealer->keyring, records, count, erased, err);
                count = 0;
            }
            if (outcome == STELE_OK) {
                sealer->next = events[i].revision + 1;
            }
        }
    }
    stele_iterator_destroy(iterator);
    return outcome == STELE_END ? STELE_OK : outcome;
}

static int64_t monotonic_us(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

int stele_client__sealer_look(struct sealer *sealer, bool now, uint32_t *out_erased,
                              struct stele_error *err)
{
    uint32_t erased = 0;
    int outcome = STELE_OK;
    (void)pthread_mutex_lock(&sealer->lock);
    const int64_t at = monotonic_us();
    if (now || at - sealer->looked_at_us >= LOOK_EVERY_US) {
        outcome = look(sealer, &erased, err);
        sealer->looked_at_us = outcome == STELE_OK ? at : sealer->looked_at_us;
    }
    (void)pthread_mutex_unlock(&sealer->lock);
    if (out_erased != NULL) {
        *out_erased = erased;
    }
    return outcome;
}

int stele_verify_erasures(struct stele *store, const uint8_t public_key[STELE_PUBLIC_KEY_SIZE],
                          stele_erasure_callback on_erasure, void *context, struct stele_error *err)
{
    struct stele_iterator *iterator = NULL;
    uint64_t bad = 0;
    bool stopped = false;
    int outcome = stele_client__enter(store, err);
    if (outcome == STELE_OK) {
        outcome = begin_records(store, 0, &iterator, err);
    }
    if (outcome == STELE_NO_STREAM) {
        return STELE_OK;
    }
    while (outcome == STELE_OK && !stopped) {
        const struct stele_event *events = NULL;
        size_t count = 0;
        outcome = stele_iterator_next(iterator, &events, &count, err);
        for (size_t i = 0; outcome == STELE_OK && i < count && !stopped; i++) {
            struct stele_erasure_record record = {.erased_us = 0};
            const bool decoded = is_record(&events[i]) && decode(&events[i], &record);
            struct stele_erasure erasure = {
                .position = events[i].position,
                .revision = events[i].revision,
                .erased_us = record.erased_us,
            };
            memcpy(erasure.keyring_id, record.keyring_id, 16);
            memcpy(erasure.key_id, record.key_id, 16);
            if (!decoded) {
                erasure.why = "it is no erasure record";
            } else if (memcmp(record.public_key, public_key, 32) != 0) {
                erasure.why = "it is signed by another key";
            } else if (!stele_erasure_is_valid(&record, public_key)) {
                erasure.why = "its signature is wrong";
            }
            erasure.valid = erasure.why == NULL ? 1 : 0;
            bad += erasure.valid ? 0 : 1;
            stopped = on_erasure != NULL && on_erasure(context, &erasure) != 0;
        }
    }
    stele_iterator_destroy(iterator);
    if (outcome != STELE_OK && outcome != STELE_END) {
        return outcome;
    }
    return bad == 0
               ? STELE_OK
               : stele_fail(err, STELE_E_CORRUPT, 0,
                            "%llu of the erasure records are not valid; they count for nothing",
                            (unsigned long long)bad);
}

/* ---- Using a keyring ---- */

void stele_client__sealer_destroy(struct sealer *sealer)
{
    if (sealer != NULL) {
        (void)pthread_mutex_destroy(&sealer->lock);
        stele_release(stele_linux_alloc(), sealer, sizeof *sealer);
    }
}

int stele_use_keyring(struct stele *store, struct stele_keyring *keyring, uint32_t *out_erased,
                      struct stele_error *err)
{
    uint32_t erased = 0;
    int outcome = stele_client__enter(store, err);
    if (outcome != STELE_OK) {
        return outcome;
    }
    struct sealer *sealer = NULL;
    if (keyring != NULL) {
        sealer =
            stele_allocate_zeroed(stele_linux_alloc(), sizeof *sealer); /* Outlives the store. */
        if (sealer == NULL) {
            return stele_fail(err, STELE_E_NO_MEMORY, 0, "keyring: no memory");
        }
        sealer->store = store;
        sealer->keyring = keyring;
        (void)pthread_mutex_init(&sealer->lock, NULL);
        outcome = stele_client__sealer_look(sealer, true, &erased, err);
        if (outcome != STELE_OK) {
            stele_client__sealer_destroy(sealer);
            return outcome;
        }
    }
    stele_client__sealer_destroy(store->sealer);
    store->sealer = sealer;
    if (out_erased != NULL) {
        *out_erased = erased;
    }
    return STELE_OK;
}

/* ---- Shredding ---- */

static size_t put_escaped(char *to, const char *text)
{
    size_t at = 0;
    for (; *text != '\0'; text++) {
        const unsigned char c = (unsigned char)*text;
        if (c < 0x20 || c == '"' || c == '\\') {
            at += (size_t)snprintf(to + at, 8, "\\u%04x", c);
        } else {
            to[at++] = (char)c;
        }
    }
    return at;
}

static size_t put_redaction(const struct stele_erasure_record *record, const char *subject,
                            int anonymous, char *to, size_t size)
{
    char key[33];
    char name[STELE_SUBJECT_SIZE_MAX * 6 + 1];
    stele_hex_encode(record->key_id, 16, key);
    name[put_escaped(name, subject)] = '\0';
    return (size_t)(anonymous ? snprintf(to, size, "{\"key\":\"%s\",\"erased_us\":%lld}", key,
                                         (long long)record->erased_us)
                              : snprintf(to, size,
                                         "{\"subject\":\"%s\",\"key\":\"%s\",\"erased_us\":%lld}",
                                         name, key, (long long)record->erased_us));
}

static int append_one(struct stele *store, const char *stream, const char *type,
                      const struct stele_erasure_record *record, uint8_t which, const char *data,
                      size_t size, uint64_t *out_position, struct stele_error *err)
{
    struct stele_event_draft draft = {
        .type = type, .data = data, .data_size = size, .created_us = record->erased_us};
    const struct stele_append one = {
        .stream = stream, .expected = STELE_EXPECT_ANY, .events = &draft, .count = 1};
    struct stele_append_result result = {.position_last = 0};
    struct stele_error words = {.outcome = STELE_OK};
    stele_erasure_event_id(record->key_id, which, draft.id);
    const int outcome = stele_client__append_plain(store, &one, 1, NULL, 0, NULL, &result, &words);
    if (outcome != STELE_OK) {
        return stele_fail(err, outcome, words.os_errno,
                          "the key was destroyed, but the %s event is not known to be stored: "
                          "%.250s; shred the subject once more",
                          type, words.message);
    }
    *out_position = result.position_last;
    return STELE_OK;
}

int stele_shred(struct stele *store, const char *subject, int anonymous,
                struct stele_shred_result *out_result, struct stele_error *err)
{
    struct stele_erasure_record record;
    struct stele_shred_result result = {.erased_us = 0};
    char text[STELE_ERASURE_SIZE_MAX + STELE_SUBJECT_SIZE_MAX * 6];
    bool repeated = false;
    int outcome = stele_client__enter(store, err);
    if (outcome != STELE_OK) {
        return outcome;
    }
    if (store->sealer == NULL) {
        return stele_fail(err, STELE_E_KEY, 0, "shred: the store uses no keyring");
    }
    if (!stele_ring_is_name(subject)) {
        return stele_fail(err, STELE_E_INVALID, 0,
                          "the name of a data subject has to be 1 to %d bytes of UTF-8",
                          STELE_SUBJECT_SIZE_MAX);
    }
    if (store->read_only) {
        /* Before the key is gone, and nobody can be told. */
        return stele_fail(err, STELE_E_READ_ONLY, 0, "the store was opened for reading only");
    }
    outcome = stele_client__keyring_shred(store->sealer->keyring, subject, &record, &repeated, err);
    if (outcome != STELE_OK) {
        return outcome;
    }
    size_t size = stele_erasure_encode(&record, text);
    outcome = append_one(store, STELE_ERASURES_STREAM, STELE_ERASURE_TYPE, &record,
                         STELE_ERASURE_RECORD, text, size, &result.erasure_position, err);
    if (outcome == STELE_OK) {
        size = put_redaction(&record, subject, anonymous, text, sizeof text);
        outcome = append_one(store, STELE_REDACTIONS_STREAM, STELE_ERASURE_REDACTION_TYPE, &record,
                             STELE_ERASURE_REDACTION, text, size, &result.redaction_position, err);
    }
    if (outcome == STELE_OK && out_result != NULL) {
        memcpy(result.key_id, record.key_id, 16);
        result.erased_us = record.erased_us;
        result.repeated = repeated ? 1 : 0;
        *out_result = result;
    }
    return outcome;
}
