/* Verifying: everything that was written, read again, and compared with everything else.
 *
 * The log proves itself (checksums, places, the chain). The index is compared with the log: each
 * event must be found under its stream and revision at its place, which together with dense
 * revisions says that the index neither lacks nor invents anything. */
#include "base/hex.h"
#include "store/store_internal.h"

#include <stdio.h>

#define STEP_SIZE ((uint64_t)8 * 1024 * 1024)
#define DIGEST_PREFIX "stele1:"

/* The next revision of each stream, as far as the log has told. */
struct stream_state {
    uint64_t hash;
    uint64_t next;
    bool used;
};

struct against {
    bool given, met;
    uint64_t place, position;
    uint8_t hash[32];
};

struct stele_verify {
    struct stele_alloc *alloc;
    uint64_t seed;
    uint32_t partitions;
    bool digest_only;
    bool copied; /* What is missing may have been scavenged elsewhere. */
    bool index_checked;
    bool index_ready;
    struct stele_log_reader reader;
    struct stele_index_view *view;
    uint64_t runs_end;
    struct stele_log_chain chain;
    uint64_t start, end;
    uint64_t *indexes;
    struct against against;
    stele_damage_callback on_damage;
    void *context;
    struct stele_verify_result result;
    struct stream_state *streams; /* Open addressing. */
    size_t streams_used, streams_capacity;
    uint64_t scavenged_before;
    int failure; /* Of a callback: no memory. */
    struct stele_log_damage noted;
    bool has_noted;
};

static void tell(struct stele_verify *verify, const char *file, uint64_t offset, uint64_t position,
                 const char *what)
{
    verify->result.damages++;
    const struct stele_damage damage = {
        .file = file, .offset = offset, .position = position, .what = what};
    if (verify->on_damage != NULL) {
        verify->on_damage(verify->context, &damage);
    }
}

static void on_log_damage(void *context, const struct stele_log_damage *damage)
{
    struct stele_verify *verify = context;
    verify->noted = *damage;
    verify->has_noted = true;
    tell(verify, damage->file, damage->offset, 0, damage->what);
}

static void on_index_damage(void *context, const char *file, uint64_t offset, const char *what)
{
    tell(context, file, offset, 0, what);
}

/* ---- Streams ---- */

static struct stream_state *find_slot(struct stream_state *streams, size_t capacity, uint64_t hash)
{
    size_t at = (size_t)hash & (capacity - 1);
    while (streams[at].used && streams[at].hash != hash) {
        at = (at + 1) & (capacity - 1);
    }
    return &streams[at];
}

static int grow_streams(struct stele_verify *verify)
{
    if (verify->streams_used * 2 < verify->streams_capacity) {
        return STELE_OK;
    }
    const size_t capacity = verify->streams_capacity == 0 ? 1024 : verify->streams_capacity * 2;
    struct stream_state *moved = stele_allocate_zeroed(verify->alloc, capacity * sizeof *moved);
    if (moved == NULL) {
        return STELE_E_NO_MEMORY;
    }
    for (size_t i = 0; i < verify->streams_capacity; i++) {
        if (verify->streams[i].used) {
            *find_slot(moved, capacity, verify->streams[i].hash) = verify->streams[i];
        }
    }
    stele_release(verify->alloc, verify->streams,
                  verify->streams_capacity * sizeof *verify->streams);
    verify->streams = moved;
    verify->streams_capacity = capacity;
    return STELE_OK;
}

/* Two streams whose names have the same 64-bit hash would be told as damage: 1 in 4 billion at a
 * hundred thousand streams. The index itself compares names. */
static int check_revision(struct stele_verify *verify, const struct stele_index_key *key,
                          const struct stele_event *event)
{
    const int outcome = grow_streams(verify);
    if (outcome != STELE_OK) {
        return outcome;
    }
    struct stream_state *state = find_slot(verify->streams, verify->streams_capacity, key->hash);
    if (!state->used) {
        *state = (struct stream_state){.hash = key->hash, .used = true};
        verify->streams_used++;
    }
    if (event->revision < state->next) {
        tell(verify, "log", 0, event->position, "a revision of a stream stands in the log twice");
    } else if (event->revision > state->next && verify->chain.scavenged == 0 && !verify->copied &&
               verify->result.damages == 0) {
        tell(verify, "log", 0, event->position,
             "a revision of a stream is missing before this event");
    }
    state->next = event->revision + 1;
    return STELE_OK;
}

static void check_index(struct stele_verify *verify, const struct stele_index_key *key,
                        uint64_t place, const struct stele_event *event)
{
    uint64_t found = UINT64_MAX;
    size_t count = 0;
    const char *damaged = NULL;
    const int outcome =
        stele_index_view_places(verify->view, key, event->revision, 1, &found, &count, &damaged);
    if (outcome == STELE_INCOMPLETE || outcome == STELE_E_CORRUPT) {
        return; /* A hole is being filled; damage of a run is told by its own check. */
    }
    verify->result.index_entries++;
    if (count != 1 || found != place) {
        tell(verify, "index", 0, event->position, "the index does not lead to this event");
    }
}

static int on_event(void *context, const struct stele_frame *frame, uint64_t place,
                    const struct stele_event *event)
{
    (void)frame;
    struct stele_verify *verify = context;
    verify->result.events++;
    const struct stele_index_key key =
        stele_index_key(verify->seed, STELE_SPACE_STREAM, stele_store__bytes(event->stream));
    const int outcome = check_revision(verify, &key, event);
    if (outcome == STELE_OK && place < verify->runs_end) {
        check_index(verify, &key, place, event);
    }
    verify->failure = outcome;
    return outcome;
}

/* ---- Digests ---- */

static void encode_digest(const struct stele_log_chain *chain, char digest[STELE_DIGEST_SIZE])
{
    const int at = snprintf(digest, STELE_DIGEST_SIZE,
                            DIGEST_PREFIX "%016llx:%016llx:", (unsigned long long)chain->place,
                            (unsigned long long)chain->position);
    STELE_ASSERT((size_t)at + 2 * sizeof chain->hash < STELE_DIGEST_SIZE);
    stele_hex_encode(chain->hash, sizeof chain->hash, digest + at);
}

static bool parse_hex(const char *text, size_t digits, uint64_t *out)
{
    *out = 0;
    for (size_t i = 0; i < digits; i++) {
        const char c = text[i];
        const int digit = c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
        if (digit < 0) {
            return false;
        }
        *out = *out << 4 | (uint64_t)digit;
    }
    return true;
}

static int decode_digest(const char *text, struct against *out, struct stele_error *err)
{
    const size_t prefix = strlen(DIGEST_PREFIX);
    bool sound = strnlen(text, STELE_DIGEST_SIZE) == prefix + 16 + 1 + 16 + 1 + 64 &&
                 strncmp(text, DIGEST_PREFIX, prefix) == 0 && text[prefix + 16] == ':' &&
                 text[prefix + 33] == ':' && parse_hex(text + prefix, 16, &out->place) &&
                 parse_hex(text + prefix + 17, 16, &out->position);
    for (size_t i = 0; sound && i < sizeof out->hash; i++) {
        uint64_t byte = 0;
        sound = parse_hex(text + prefix + 34 + 2 * i, 2, &byte);
        out->hash[i] = (uint8_t)byte;
    }
    out->given = true;
    return sound ? STELE_OK
                 : stele_fail(err, STELE_E_INVALID, 0,
                              "the digest is not of the form stele1:<place>:<position>:<SHA-256>");
}

/* ---- begin, step, end ---- */

void stele_verify_end(struct stele_store *store, struct stele_verify *verify)
{
    if (verify == NULL) {
        return;
    }
    if (verify->has_noted) {
        stele_store__note_damage(store, &verify->noted);
    }
    struct stele_log_view *view = verify->reader.view;
    stele_log_reader_deinit(&verify->reader);
    stele_log_view_release(view);
    stele_index_view_release(verify->view);
    stele_release(verify->alloc, verify->indexes, verify->partitions * sizeof *verify->indexes);
    stele_release(verify->alloc, verify->streams,
                  verify->streams_capacity * sizeof *verify->streams);
    stele_release(verify->alloc, verify, sizeof *verify);
}

int stele_verify_begin(struct stele_store *store, const char *against,
                       stele_damage_callback on_damage, void *context, bool digest_only,
                       struct stele_verify **out_verify, struct stele_error *err)
{
    struct against parsed = {.given = false};
    if (against != NULL) {
        const int outcome = decode_digest(against, &parsed, err);
        if (outcome != STELE_OK) {
            return outcome;
        }
    }
    struct stele_verify *verify = stele_allocate_zeroed(store->alloc, sizeof *verify);
    const uint32_t partitions = store->superblock.partitions;
    uint64_t *indexes = stele_allocate_zeroed(store->alloc, partitions * sizeof *indexes);
    if (verify == NULL || indexes == NULL) {
        stele_release(store->alloc, verify, sizeof *verify);
        stele_release(store->alloc, indexes, partitions * sizeof *indexes);
        return stele_fail(err, STELE_E_NO_MEMORY, 0, "verify: no memory");
    }
    *verify = (struct stele_verify){
        .alloc = store->alloc,
        .seed = store->superblock.seed,
        .partitions = partitions,
        .digest_only = digest_only,
        .copied = store->superblock.copied,
        .view = stele_index_view_acquire(store->index),
        .runs_end = stele_index_runs_end(store->index),
        .chain = {.place = stele_log_start(store->log)},
        .start = stele_log_start(store->log),
        .end = stele_log_durable(store->log),
        .indexes = indexes,
        .against = parsed,
        .on_damage = on_damage,
        .context = context,
    };
    stele_log_reader_init(&verify->reader, stele_log_view_acquire(store->log), store->alloc,
                          verify->end);
    *out_verify = verify;
    return STELE_OK;
}

static void compare_digest(struct stele_verify *verify)
{
    struct against *against = &verify->against;
    if (!against->given || against->met || verify->chain.place < against->place) {
        return;
    }
    against->met = true;
    if (verify->chain.place != against->place ||
        memcmp(verify->chain.hash, against->hash, sizeof against->hash) != 0) {
        tell(verify, "log", 0, against->position,
             "the history up to here is not the one that the digest was made of");
    }
}

static int check_runs(struct stele_verify *verify, struct stele_error *err)
{
    uint64_t entries = 0;
    verify->index_checked = true;
    const int outcome = stele_index_verify(verify->view, on_index_damage, verify, &entries, err);
    return outcome == STELE_E_CORRUPT ? STELE_OK : outcome;
}

static int finish(struct stele_verify *verify, struct stele_verify_result *out_result)
{
    if (verify->against.given && !verify->against.met) {
        tell(verify, "log", 0, verify->against.position,
             "the history ends before the place that the digest was made at");
    }
    verify->result.frames = verify->chain.frames;
    verify->result.bytes = verify->chain.bytes;
    encode_digest(&verify->chain, verify->result.digest);
    *out_result = verify->result;
    return STELE_END;
}

int stele_verify_step(struct stele_verify *verify, uint64_t *out_done, uint64_t *out_total,
                      struct stele_verify_result *out_result, struct stele_error *err)
{
    *out_total = verify->end - verify->start;
    *out_done = verify->chain.place - verify->start;
    if (!verify->index_checked && !verify->digest_only) {
        return check_runs(verify, err);
    }
    /* The chain stops where the digest was made, to be compared there. */
    const bool to_digest = verify->against.given && !verify->against.met;
    const uint64_t limit =
        to_digest && verify->against.place < verify->end ? verify->against.place : verify->end;
    int outcome = stele_log_chain_extend(
        &verify->reader, &verify->chain, limit, STEP_SIZE, verify->indexes, verify->partitions,
        verify->digest_only ? NULL : on_event, on_log_damage, verify, err);
    if (outcome == STELE_END) {
        compare_digest(verify);
        outcome = limit == verify->end ? finish(verify, out_result) : STELE_OK;
    }
    *out_done = verify->chain.place - verify->start;
    return outcome;
}
