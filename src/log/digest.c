/* The hash chain over all frames as they were written, and the verification of everything that
 * comes with computing it. */
#include "log/log_internal.h"

#include <openssl/evp.h>

/* ---- SHA-256 ---- */

bool stele_log__sha_init(struct stele_log__sha *sha)
{
    /* Fetched once: doing it implicitly for each hash costs more than a short hash. */
    sha->algorithm = EVP_MD_fetch(NULL, "SHA256", NULL);
    sha->context = EVP_MD_CTX_new();
    if (sha->algorithm == NULL || sha->context == NULL) {
        stele_log__sha_deinit(sha);
        return false;
    }
    return true;
}

void stele_log__sha_deinit(struct stele_log__sha *sha)
{
    EVP_MD_CTX_free(sha->context);
    EVP_MD_free(sha->algorithm);
    *sha = (struct stele_log__sha){0};
}

bool stele_log__sha_frame(struct stele_log__sha *sha, struct stele_bytes header,
                          struct stele_bytes payload, uint8_t out_hash[32])
{
    return EVP_DigestInit_ex2(sha->context, sha->algorithm, NULL) == 1 &&
           EVP_DigestUpdate(sha->context, header.data, header.size) == 1 &&
           EVP_DigestUpdate(sha->context, payload.data, payload.size) == 1 &&
           EVP_DigestFinal_ex(sha->context, out_hash, NULL) == 1;
}

/* ---- The chain ---- */

/* Stands for an index that nobody knows, because of damage before. */
#define INDEX_UNKNOWN UINT64_MAX

struct verifier {
    struct stele_log_reader *reader;
    struct stele_log_chain *chain;
    uint64_t *indexes;
    uint32_t partitions;
    stele_log_event_callback on_event;
    stele_log_damage_callback on_damage;
    void *context;
    struct stele_log__sha sha;
    bool previous_is_known;
};

static void report(struct verifier *verifier)
{
    verifier->on_damage(verifier->context, &verifier->reader->damage);
}

static void report_at(struct verifier *verifier, const struct stele_log__spot *spot, uint64_t place,
                      const char *what)
{
    const uint64_t offset = spot->segment->packed ? 0
                                                  : verifier->reader->view->identity.header_size +
                                                        (place - spot->segment->base);
    (void)stele_log__damage(verifier->reader, spot->segment, offset, place, what);
    report(verifier);
}

/* What comes next cannot be compared with what came before. */
static void lose_track(struct verifier *verifier)
{
    verifier->previous_is_known = false;
    for (uint32_t index = 0; verifier->indexes != NULL && index < verifier->partitions; index++) {
        verifier->indexes[index] = INDEX_UNKNOWN;
    }
}

/* Each segment's header says again what came before it. */
static void check_header(struct verifier *verifier, const struct stele_log__spot *spot)
{
    const struct stele_log_chain *const chain = verifier->chain;
    struct stele_log__facts facts;
    const char *what = NULL;
    if (stele_log__segment_facts(verifier->reader->view, spot->segment, &facts, &what) !=
        STELE_OK) {
        return; /* Told when the walk arrived here. */
    }
    if (verifier->previous_is_known &&
        (facts.previous != chain->previous || facts.position_before != chain->position)) {
        report_at(verifier, spot, spot->segment->base,
                  "the header does not continue the segment before");
    }
}

static void check_order(struct verifier *verifier, const struct stele_log__spot *spot)
{
    const struct stele_log__loaded *const loaded = verifier->reader->loaded;
    const struct stele_frame *const frame = &loaded->frame;
    if (verifier->previous_is_known && frame->previous != verifier->chain->previous) {
        report_at(verifier, spot, frame->place, "the frame does not continue the one before");
    }
    if (frame->partition >= verifier->reader->view->identity.partitions) {
        report_at(verifier, spot, frame->place, "the frame is of a partition that does not exist");
        return;
    }
    /* Equal in the frames of one append; 0 where no command wrote it. */
    if (frame->term != 0 && (frame->term < verifier->chain->stamp ||
                             (frame->term == verifier->chain->stamp && frame->group_index == 0))) {
        report_at(verifier, spot, frame->place, "the stamp is not above the one before");
    }
    verifier->chain->stamp =
        frame->term > verifier->chain->stamp ? frame->term : verifier->chain->stamp;
    if (verifier->indexes == NULL || frame->partition >= verifier->partitions) {
        return;
    }
    uint64_t *const index = &verifier->indexes[frame->partition];
    if (*index != INDEX_UNKNOWN && frame->index != *index + 1) {
        report_at(verifier, spot, frame->place, "the index of the frame is not the next one");
    }
    *index = frame->index;
}

static int take_events(struct verifier *verifier, const struct stele_log__spot *spot)
{
    const struct stele_log__loaded *const loaded = verifier->reader->loaded;
    struct stele_log_chain *const chain = verifier->chain;
    for (size_t index = 0; index < loaded->spans_count; index++) {
        const struct stele_log__span *const span = &stele_log__loaded_spans(loaded)[index];
        struct stele_event event;
        size_t size = 0;
        const int decoded = stele_record_decode_trusted(
            stele_bytes_slice(loaded->bytes, span->offset, span->size), &event, &size);
        STELE_ASSERT(decoded == STELE_OK);
        if (event.position <= chain->position) {
            report_at(verifier, spot, span->place, "the position is not above the one before");
        }
        chain->position = event.position;
        chain->events++;
        if (verifier->on_event != NULL) {
            const int outcome =
                verifier->on_event(verifier->context, &loaded->frame, span->place, &event);
            if (outcome != STELE_OK) {
                return outcome;
            }
        }
    }
    return STELE_OK;
}

/* chain(n) = SHA-256(chain(n-1) || SHA-256(frame n)) */
static bool extend(struct verifier *verifier)
{
    const struct stele_log__loaded *const loaded = verifier->reader->loaded;
    struct stele_log_chain *const chain = verifier->chain;
    uint8_t hash[32];
    const struct stele_bytes header = {.data = loaded->header, .size = sizeof loaded->header};
    if (loaded->reduced) {
        memcpy(hash, loaded->hash, sizeof hash);
    } else if (!stele_log__sha_frame(&verifier->sha, header, loaded->bytes, hash)) {
        return false;
    }
    return stele_log__sha_frame(
        &verifier->sha, (struct stele_bytes){.data = chain->hash, .size = sizeof chain->hash},
        (struct stele_bytes){.data = hash, .size = sizeof hash}, chain->hash);
}

static int take_frame(struct verifier *verifier, const struct stele_log__spot *spot)
{
    const struct stele_log__loaded *const loaded = verifier->reader->loaded;
    struct stele_log_chain *const chain = verifier->chain;
    check_order(verifier, spot);
    if (!extend(verifier)) {
        return STELE_E_NO_MEMORY;
    }
    /* First, so that whoever is told of the events that are left knows that others are gone. */
    chain->scavenged += loaded->reduced ? 1 : 0;
    const int outcome = take_events(verifier, spot);
    chain->place = stele_log__frame_end(&loaded->frame);
    chain->frames++;
    chain->bytes += STELE_FRAME_HEADER_SIZE + loaded->bytes.size;
    chain->previous = loaded->frame.header_checksum;
    chain->begins_within = false;
    verifier->previous_is_known = true;
    return outcome;
}

/* Scavenging may have taken the last events of a segment: the next header knows their position. */
static void take_position(struct verifier *verifier, const struct stele_log__spot *spot)
{
    struct stele_log__facts facts;
    const char *what = NULL;
    if (stele_log__segment_facts(verifier->reader->view, spot->segment, &facts, &what) ==
            STELE_OK &&
        facts.position_before > verifier->chain->position) {
        verifier->chain->position = facts.position_before;
    }
}

static int extend_up_to(struct verifier *verifier, uint64_t limit, uint64_t max_bytes)
{
    struct stele_log_chain *const chain = verifier->chain;
    const uint64_t bytes_max =
        chain->bytes + max_bytes < max_bytes ? UINT64_MAX : chain->bytes + max_bytes;
    uint64_t arrived = STELE_LOG__NOWHERE;
    while (chain->place < limit && (chain->bytes < bytes_max || !verifier->previous_is_known)) {
        struct stele_log__spot spot;
        uint64_t resume = 0;
        int outcome = stele_log__enter(verifier->reader, chain->place, arrived, &spot);
        if (outcome == STELE_END) {
            return STELE_END;
        }
        if (outcome == STELE_E_CORRUPT) {
            report(verifier);
            lose_track(verifier);
            chain->place = spot.place;
            arrived = spot.place;
            continue;
        }
        chain->place = spot.place;
        if (chain->place >= limit) {
            return STELE_END;
        }
        if (chain->place == spot.segment->base) {
            take_position(verifier, &spot);
            check_header(verifier, &spot);
        }
        outcome = stele_log__load(verifier->reader, &spot, &resume);
        if (outcome == STELE_OK) {
            outcome = take_frame(verifier, &spot);
        } else if (outcome == STELE_E_CORRUPT) {
            report(verifier);
            lose_track(verifier);
            chain->bytes += resume - chain->place;
            chain->place = resume;
            outcome = STELE_OK;
        } else if (outcome == STELE_END) {
            chain->place = spot.end; /* Zeros to the end of a segment. */
            outcome = STELE_OK;
        }
        if (outcome != STELE_OK) {
            return outcome;
        }
    }
    return chain->place < limit ? STELE_OK : STELE_END;
}

int stele_log_chain_extend(struct stele_log_reader *reader, struct stele_log_chain *chain,
                           uint64_t limit, uint64_t max_bytes, uint64_t *indexes,
                           uint32_t partitions, stele_log_event_callback on_event,
                           stele_log_damage_callback on_damage, void *context,
                           struct stele_error *err)
{
    struct verifier verifier = {
        .reader = reader,
        .chain = chain,
        .indexes = indexes,
        .partitions = partitions,
        .on_event = on_event,
        .on_damage = on_damage,
        .context = context,
        .previous_is_known = !chain->begins_within,
    };
    if (!stele_log__sha_init(&verifier.sha)) {
        return stele_fail(err, STELE_E_NO_MEMORY, 0, "verifying: no memory");
    }
    int outcome = extend_up_to(&verifier, limit, max_bytes);
    if (outcome == STELE_E_NO_MEMORY) {
        outcome = stele_fail(err, outcome, 0, "verifying: no memory");
    }
    stele_log__sha_deinit(&verifier.sha);
    return outcome;
}
