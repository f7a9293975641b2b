/* The rest over the network: streams, metadata, deletes, and looking after a store. */
#include "client/remote.h"
#include "pb/pb.h"

static struct stele_bytes bytes_of(const struct far_message *message)
{
    return (struct stele_bytes){.data = message->data, .size = message->size};
}

static int finish_request(struct far_writer *writer, struct stele_error *err)
{
    return writer->failed ? stele_fail(err, STELE_E_NO_MEMORY, 0, "no memory for a request")
                          : STELE_OK;
}

/* Sends what was written and waits for one answer; releases what was written. */
static int ask(struct far *far, const char *path, struct far_writer *writer, bool harmless,
               struct far_message **out_message, struct stele_error *err)
{
    int outcome = finish_request(writer, err);
    if (outcome == STELE_OK) {
        outcome = stele_remote_ask(far, path, &writer->buf, harmless, out_message, err);
    }
    stele_buf_deinit(&writer->buf, far->alloc);
    return outcome;
}

static int check_name(const char *stream, struct stele_error *err)
{
    const size_t size = stream == NULL ? 0 : strnlen(stream, STELE_STREAM_NAME_SIZE_MAX + 3);
    if (size == 0) {
        return stele_fail(err, STELE_E_INVALID, 0, "the stream's name is %s",
                          stream == NULL ? "NULL" : "empty");
    }
    return size <= STELE_STREAM_NAME_SIZE_MAX + 2
               ? STELE_OK
               : stele_fail(err, STELE_E_LIMIT, 0, "the stream's name is longer than %d bytes",
                            STELE_STREAM_NAME_SIZE_MAX);
}

/* ---- Streams ---- */

#define STREAMS "/stele.v1.EventStore/Streams"

int stele_remote_stream_info(struct far *far, const char *stream,
                             struct stele_stream_info *out_info, struct stele_error *err)
{
    int outcome = check_name(stream, err);
    if (outcome != STELE_OK) {
        return outcome;
    }
    struct far_writer writer = {.alloc = far->alloc};
    struct far_message *message = NULL;
    stele_remote_put_text(&writer, 5, stream);
    outcome = ask(far, STREAMS, &writer, true, &message, err);
    if (outcome != STELE_OK) {
        return outcome;
    }
    struct stele_stream_info info = {.revision_first = 0};
    struct stele_pb_reader reader = stele_pb_reader(bytes_of(message));
    struct stele_pb_field field;
    while (stele_pb_next(&reader, &field)) {
        if (field.number != 2 || field.wire != STELE_PB_BYTES) {
            continue;
        }
        struct stele_pb_reader inner = stele_pb_reader(field.bytes);
        struct stele_pb_field value;
        while (stele_pb_next(&inner, &value)) {
            switch (value.number) {
            case 1:
                info.revision_first = value.value;
                break;
            case 2:
                info.revision_last = value.value;
                break;
            case 3:
                info.position_last = value.value;
                break;
            case 4:
                info.partition = (uint32_t)value.value;
                break;
            case 5:
                info.deleted = value.value != 0;
                break;
            case 6:
                info.tombstoned = value.value != 0;
                break;
            default:
                break;
            }
        }
    }
    stele_remote_message_release(far, message);
    *out_info = info;
    return STELE_OK;
}

/* Tells the names of one message; STELE_E_CLOSED: the callback wants no more. */
static int tell_names(const struct far_message *message, stele_name_callback on_name, void *context)
{
    struct stele_pb_reader reader = stele_pb_reader(bytes_of(message));
    struct stele_pb_field field;
    while (stele_pb_next(&reader, &field)) {
        if (field.number != 1 || field.wire != STELE_PB_BYTES) {
            continue;
        }
        struct stele_text name = {.data = ""};
        uint64_t count = 0;
        struct stele_pb_reader inner = stele_pb_reader(field.bytes);
        struct stele_pb_field value;
        while (stele_pb_next(&inner, &value)) {
            if (value.number == 1 && value.wire == STELE_PB_BYTES) {
                name = (struct stele_text){.data = (const char *)value.bytes.data,
                                           .size = value.bytes.size};
            } else if (value.number == 2) {
                count = value.value;
            }
        }
        if (on_name(context, name, count) != 0) {
            return STELE_E_CLOSED;
        }
    }
    return STELE_OK;
}

int stele_remote_list(struct far *far, int what, const char *prefix, const char *after,
                      uint64_t limit, stele_name_callback on_name, void *context,
                      struct stele_error *err)
{
    if (on_name == NULL || what < STELE_LIST_STREAMS || what > STELE_LIST_TAGS) {
        return stele_fail(err, STELE_E_INVALID, 0, "list: %s",
                          on_name == NULL ? "the callback is NULL" : "there is no such kind");
    }
    struct far_writer writer = {.alloc = far->alloc};
    stele_remote_put_number(&writer, 1, (uint64_t)what);
    stele_remote_put_text(&writer, 2, prefix);
    stele_remote_put_text(&writer, 3, after);
    stele_remote_put_number(&writer, 4, limit);
    int outcome = finish_request(&writer, err);
    struct far_call *call = NULL;
    if (outcome == STELE_OK) {
        call = stele_remote_call_start(far, STREAMS, writer.buf, false, err);
        outcome = call == NULL ? STELE_E_NO_MEMORY : STELE_OK;
    }
    while (outcome == STELE_OK) {
        struct far_message *message = NULL;
        outcome = stele_remote_call_next(call, far->address.timeout_ms, &message, err);
        if (outcome == STELE_OK) {
            outcome = tell_names(message, on_name, context);
            stele_remote_message_release(far, message);
        }
    }
    stele_remote_call_destroy(call);
    return outcome == STELE_END || outcome == STELE_E_CLOSED ? STELE_OK
           : outcome == STELE_TIMED_OUT                      ? STELE_E_IO
                                                             : outcome;
}

/* ---- Metadata and deletes ---- */

#define META "/stele.v1.EventStore/Meta"

/* The AppendResponse inside of a MetaResponse. */
static int take_result(const struct far_message *message, struct stele_append_result *out_result,
                       struct stele_error *err)
{
    struct stele_pb_reader reader = stele_pb_reader(bytes_of(message));
    struct stele_pb_field field;
    while (stele_pb_next(&reader, &field)) {
        struct far_answer answer;
        if (field.number != 4 || field.wire != STELE_PB_BYTES ||
            !stele_remote_decode_answer(field.bytes, &answer)) {
            continue;
        }
        if (out_result != NULL && answer.outcome >= 0) {
            *out_result = answer.result;
        }
        return answer.outcome == STELE_OK
                   ? STELE_OK
                   : stele_fail(err, answer.outcome, 0, "%s", answer.message);
    }
    return stele_fail(err, STELE_E_IO, 0, "the server's answer is malformed");
}

static int change(struct far *far, struct far_writer *writer,
                  struct stele_append_result *out_result, struct stele_error *err)
{
    struct far_message *message = NULL;
    int outcome = ask(far, META, writer, false, &message, err);
    if (outcome == STELE_OK) {
        outcome = take_result(message, out_result, err);
        stele_remote_message_release(far, message);
    }
    return outcome;
}

int stele_remote_set_metadata(struct far *far, const char *stream, uint64_t expected,
                              const char *json, size_t json_size,
                              struct stele_append_result *out_result, struct stele_error *err)
{
    const int outcome = check_name(stream, err);
    if (outcome != STELE_OK) {
        return outcome;
    }
    if (strncmp(stream, "$$", 2) == 0) {
        return stele_fail(err, STELE_E_INVALID, 0, "%s is metadata itself and has none", stream);
    }
    struct far_writer writer = {.alloc = far->alloc};
    stele_remote_put_text(&writer, 1, stream);
    stele_remote_put_bytes(&writer, 3, json, json_size);
    stele_remote_put_expected(&writer, 6, 7, expected);
    return change(far, &writer, out_result, err);
}

int stele_remote_delete(struct far *far, const char *stream, uint64_t expected, bool tombstone,
                        struct stele_append_result *out_result, struct stele_error *err)
{
    const int outcome = check_name(stream, err);
    if (outcome != STELE_OK) {
        return outcome;
    }
    struct far_writer writer = {.alloc = far->alloc};
    stele_remote_put_text(&writer, 1, stream);
    stele_remote_put_number(&writer, tombstone ? 5 : 4, 1);
    stele_remote_put_expected(&writer, 6, 7, expected);
    return change(far, &writer, out_result, err);
}

int stele_remote_get_metadata(struct far *far, const char *stream, char *buffer, size_t buffer_size,
                              size_t *out_size, uint64_t *out_revision, struct stele_error *err)
{
    int outcome = check_name(stream, err);
    if (outcome != STELE_OK) {
        return outcome;
    }
    struct far_writer writer = {.alloc = far->alloc};
    struct far_message *message = NULL;
    stele_remote_put_text(&writer, 1, stream);
    stele_remote_put_number(&writer, 2, 1);
    outcome = ask(far, META, &writer, true, &message, err);
    if (outcome != STELE_OK) {
        return outcome;
    }
    bool found = false;
    struct stele_bytes json = {.data = NULL};
    uint64_t revision = 0;
    struct stele_pb_reader reader = stele_pb_reader(bytes_of(message));
    struct stele_pb_field field;
    while (stele_pb_next(&reader, &field)) {
        found = found || (field.number == 1 && field.value != 0);
        json = field.number == 2 ? field.bytes : json;
        revision = field.number == 3 ? field.value : revision;
    }
    if (found) {
        const size_t fits = json.size < buffer_size ? json.size : buffer_size;
        if (fits > 0) {
            memcpy(buffer, json.data, fits);
        }
        *out_size = json.size;
        if (out_revision != NULL) {
            *out_revision = revision;
        }
    }
    stele_remote_message_release(far, message);
    return found ? STELE_OK
                 : stele_fail(err, STELE_NOT_FOUND, 0, "stream %s has no metadata", stream);
}

/* ---- Looking after a store ---- */

#define ADMIN "/stele.v1.EventStore/Admin"

int stele_remote_stats(struct far *far, struct stele_stats *out_stats, struct stele_error *err)
{
    struct far_writer writer = {.alloc = far->alloc};
    struct far_message *message = NULL;
    stele_remote_put_number(&writer, 1, 1);
    const int outcome = ask(far, ADMIN, &writer, true, &message, err);
    if (outcome != STELE_OK) {
        return outcome;
    }
    struct stele_stats stats = {.events = 0};
    uint64_t small[6] = {0};
    const struct {
        uint32_t number;
        uint64_t *to;
    } numbers[] = {
        {2, &stats.events},    {3, &stats.position_last}, {4, &stats.log_size},
        {5, &stats.disk_size}, {6, &stats.index_size},    {7, &small[0]},
        {8, &small[1]},        {9, &stats.index_behind},  {10, &stats.memory},
        {11, &small[2]},       {12, &small[3]},           {13, &stats.damage},
        {14, &stats.streams},
    };
    struct stele_pb_reader reader = stele_pb_reader(bytes_of(message));
    struct stele_pb_field field;
    while (stele_pb_next(&reader, &field)) {
        struct stele_pb_reader inner = stele_pb_reader(field.bytes);
        struct stele_pb_field value;
        while (field.number == 1 && field.wire == STELE_PB_BYTES && stele_pb_next(&inner, &value)) {
            if (value.number == 1 && value.bytes.size == sizeof stats.store_id) {
                memcpy(stats.store_id, value.bytes.data, sizeof stats.store_id);
            }
            for (size_t i = 0; i < STELE_COUNT_OF(numbers); i++) {
                if (value.number == numbers[i].number) {
                    *numbers[i].to = value.value;
                }
            }
        }
    }
    stats.segments = (uint32_t)small[0];
    stats.index_runs = (uint32_t)small[1];
    stats.partitions = (uint32_t)small[2];
    stats.fenced = small[3] != 0;
    stele_remote_message_release(far, message);
    *out_stats = stats;
    return STELE_OK;
}

/* What a chore's messages are told to. */
struct chore {
    stele_progress_callback on_progress;
    stele_damage_callback on_damage;
    void *context;
    struct stele_scavenge_result scavenged;
    struct stele_verify_result verified;
    char digest[STELE_DIGEST_SIZE];
};

static void copy_text(char *to, size_t room, struct stele_bytes from)
{
    const size_t size = from.size < room - 1 ? from.size : room - 1;
    if (size > 0) {
        memcpy(to, from.data, size);
    }
    to[size] = '\0';
}

/* The numbers of a message of up to eight fields, by field number. */
static void take_numbers(struct stele_bytes message, uint64_t numbers[8])
{
    struct stele_pb_reader reader = stele_pb_reader(message);
    struct stele_pb_field field;
    memset(numbers, 0, 8 * sizeof *numbers);
    while (stele_pb_next(&reader, &field)) {
        if (field.number < 8 && field.wire == STELE_PB_VARINT) {
            numbers[field.number] = field.value;
        }
    }
}

static struct stele_bytes find_bytes(struct stele_bytes message, uint32_t number)
{
    struct stele_pb_reader reader = stele_pb_reader(message);
    struct stele_pb_field field;
    struct stele_bytes found = {.data = NULL};
    while (stele_pb_next(&reader, &field)) {
        found = field.number == number && field.wire == STELE_PB_BYTES ? field.bytes : found;
    }
    return found;
}

static void tell_damage(struct chore *chore, struct stele_bytes message)
{
    uint64_t numbers[8];
    char file[256];
    char what[640];
    take_numbers(message, numbers);
    copy_text(file, sizeof file, find_bytes(message, 1));
    copy_text(what, sizeof what, find_bytes(message, 4));
    if (chore->on_damage != NULL) {
        const struct stele_damage damage = {
            .file = file, .offset = numbers[2], .position = numbers[3], .what = what};
        chore->on_damage(chore->context, &damage);
    }
}

static int take_chore(struct chore *chore, const struct far_message *message,
                      struct stele_error *err)
{
    struct stele_pb_reader reader = stele_pb_reader(bytes_of(message));
    struct stele_pb_field field;
    uint64_t n[8];
    while (stele_pb_next(&reader, &field)) {
        if (field.wire != STELE_PB_BYTES) {
            continue;
        }
        take_numbers(field.bytes, n);
        switch (field.number) {
        case 2:
            if (chore->on_progress != NULL && chore->on_progress(chore->context, n[1], n[2]) != 0) {
                return stele_fail(err, STELE_E_CLOSED, 0, "stopped by its caller");
            }
            break;
        case 3:
            chore->scavenged = (struct stele_scavenge_result){.segments = n[1],
                                                              .segments_rewritten = n[2],
                                                              .events_removed = n[3],
                                                              .bytes_before = n[4],
                                                              .bytes_after = n[5]};
            break;
        case 4:
            tell_damage(chore, field.bytes);
            break;
        case 5:
            chore->verified = (struct stele_verify_result){.frames = n[1],
                                                           .events = n[2],
                                                           .bytes = n[3],
                                                           .index_entries = n[4],
                                                           .damages = n[5]};
            copy_text(chore->verified.digest, sizeof chore->verified.digest,
                      find_bytes(field.bytes, 6));
            break;
        case 6:
            copy_text(chore->digest, sizeof chore->digest, field.bytes);
            break;
        default:
            break;
        }
    }
    return STELE_OK;
}

static int run_chore(struct far *far, struct far_writer *writer, struct chore *chore,
                     struct stele_error *err)
{
    int outcome = finish_request(writer, err);
    struct far_call *call = NULL;
    if (outcome == STELE_OK) {
        call = stele_remote_call_start(far, ADMIN, writer->buf, false, err);
        outcome = call == NULL ? STELE_E_NO_MEMORY : STELE_OK;
    } else {
        stele_buf_deinit(&writer->buf, far->alloc);
    }
    while (outcome == STELE_OK) {
        struct far_message *message = NULL;
        outcome = stele_remote_call_next(call, -1, &message, err);
        if (outcome == STELE_OK) {
            outcome = take_chore(chore, message, err);
            stele_remote_message_release(far, message);
        }
    }
    stele_remote_call_destroy(call);
    return outcome == STELE_END ? STELE_OK : outcome;
}

int stele_remote_scavenge(struct far *far, const struct stele_scavenge_options *options,
                          struct stele_scavenge_result *out_result, struct stele_error *err)
{
    struct far_writer writer = {.alloc = far->alloc};
    struct far_writer inner = {.alloc = far->alloc};
    struct chore chore = {.on_progress = options == NULL ? NULL : options->on_progress,
                          .context = options == NULL ? NULL : options->context};
    stele_remote_put_number(&inner, 1, options == NULL ? 0 : options->bytes_per_second);
    stele_remote_put_bytes(&writer, 2, inner.buf.data, inner.buf.size);
    stele_buf_deinit(&inner.buf, far->alloc);
    const int outcome = run_chore(far, &writer, &chore, err);
    if (out_result != NULL) {
        *out_result = chore.scavenged;
    }
    return outcome;
}

int stele_remote_verify(struct far *far, const struct stele_verify_options *options,
                        struct stele_verify_result *out_result, struct stele_error *err)
{
    const struct stele_verify_options defaults = STELE_VERIFY_OPTIONS_INIT;
    options = options == NULL ? &defaults : options;
    if (options->against != NULL && options->against[0] == '\0') {
        return stele_fail(err, STELE_E_INVALID, 0, "verify: the digest is empty");
    }
    struct far_writer writer = {.alloc = far->alloc};
    struct far_writer inner = {.alloc = far->alloc};
    struct chore chore = {.on_progress = options->on_progress,
                          .on_damage = options->on_damage,
                          .context = options->context};
    stele_remote_put_text(&inner, 1, options->against);
    stele_remote_put_bytes(&writer, 3, inner.buf.data, inner.buf.size);
    stele_buf_deinit(&inner.buf, far->alloc);
    const int outcome = run_chore(far, &writer, &chore, err);
    if (outcome != STELE_OK) {
        return outcome;
    }
    if (out_result != NULL) {
        *out_result = chore.verified;
    }
    return chore.verified.damages == 0
               ? STELE_OK
               : stele_fail(err, STELE_E_CORRUPT, 0, "verify found %llu damaged places",
                            (unsigned long long)chore.verified.damages);
}

int stele_remote_digest(struct far *far, char digest[STELE_DIGEST_SIZE], struct stele_error *err)
{
    struct far_writer writer = {.alloc = far->alloc};
    struct chore chore = {.on_progress = NULL};
    stele_remote_put_number(&writer, 4, 1);
    const int outcome = run_chore(far, &writer, &chore, err);
    if (outcome == STELE_OK) {
        memcpy(digest, chore.digest, STELE_DIGEST_SIZE);
    }
    return outcome;
}
