/* Where commands come from and what their events say of it: correlation and causation as KurrentDB
 * names them, and W3C Trace Context (https://www.w3.org/TR/trace-context/). */
#include "base/text.h"
#include "runner/command_internal.h"

#include <stdio.h>

#define TRACE_ID_AT 3
#define SPAN_ID_AT 36
#define FLAGS_AT 53
#define TRACESTATE_SIZE_MAX 512u

static bool is_hex(const char *text, size_t size)
{
    bool zeros = true;
    for (size_t i = 0; i < size; i++) {
        const bool lower = text[i] >= 'a' && text[i] <= 'f';
        if (!lower && (text[i] < '0' || text[i] > '9')) {
            return false;
        }
        zeros = zeros && text[i] == '0';
    }
    /* Of ids only; versions and flags have two digits and may be zero. */
    return size == 2 || !zeros;
}

/* Section 3.2: version, trace id, span id, flags. Later versions may go on behind the flags. */
static bool is_traceparent(const char *text)
{
    const size_t size = strnlen(text, 512);
    if (size < STELE_TRACEPARENT_SIZE - 1 || text[2] != '-' || text[SPAN_ID_AT - 1] != '-' ||
        text[FLAGS_AT - 1] != '-' || !is_hex(text, 2) || !is_hex(text + TRACE_ID_AT, 32) ||
        !is_hex(text + SPAN_ID_AT, 16) || !is_hex(text + FLAGS_AT, 2)) {
        return false;
    }
    if (memcmp(text, "ff", 2) == 0) {
        return false;
    }
    return memcmp(text, "00", 2) == 0 ? size == STELE_TRACEPARENT_SIZE - 1
                                      : text[FLAGS_AT + 2] == '\0' || text[FLAGS_AT + 2] == '-';
}

/* The same trace, and a span of its own. */
static void make_traceparent(const char *parent, char traceparent[STELE_TRACEPARENT_SIZE])
{
    uint8_t id[16];
    uint64_t span;
    do {
        /* Its last bytes are random. */
        stele_new_id(id);
        span = stele_load_u64le(id + 8);
    } while (span == 0);
    (void)snprintf(traceparent, STELE_TRACEPARENT_SIZE, "00-%.32s-%016llx-%.2s",
                   parent + TRACE_ID_AT, (unsigned long long)span, parent + FLAGS_AT);
}

static void write_member(struct stele_output *output, const char *name, const char *value)
{
    (void)stele_output_printf(output, "%s\"%s\":", output->buf.size > 1 ? "," : "", name);
    (void)stele_output_json_string(output, value, strlen(value));
}

static int add_metadata(const char *metadata, struct stele_output *output, struct stele_error *err)
{
    struct stele_output both;
    stele_output_init(&both, output->alloc);
    const struct stele_bytes own = {.data = output->buf.data, .size = output->buf.size};
    const int outcome = stele_json_add_missing(own, stele_bytes_of_text(metadata), &both);
    if (outcome == STELE_OK) {
        const struct stele_buf buf = output->buf;
        output->buf = both.buf;
        both.buf = buf;
    }
    stele_output_deinit(&both);
    return outcome == STELE_OK
               ? STELE_OK
               : stele_fail(err, outcome, 0,
                            "the metadata of the command's origin are no JSON object");
}

int stele_trace__metadata(const struct stele_origin *origin, const uint8_t command_id[16],
                          char traceparent[STELE_TRACEPARENT_SIZE], struct stele_output *output,
                          struct stele_error *err)
{
    static const struct stele_origin nowhere = {.struct_size = sizeof nowhere};
    char id[37];
    origin = origin != NULL ? origin : &nowhere;
    if (origin->struct_size != sizeof *origin) {
        return stele_fail(err, STELE_E_INVALID, 0, "the origin of a command needs its struct_size");
    }
    stele_id_to_text(command_id, id);
    traceparent[0] = '\0';
    (void)stele_output_write(output, "{", 1);
    write_member(output, "$correlationId",
                 origin->correlation_id != NULL ? origin->correlation_id : id);
    write_member(output, "$causationId", origin->causation_id != NULL ? origin->causation_id : id);
    if (origin->traceparent != NULL && is_traceparent(origin->traceparent)) {
        make_traceparent(origin->traceparent, traceparent);
        write_member(output, "traceparent", traceparent);
        if (origin->tracestate != NULL && origin->tracestate[0] != '\0' &&
            strnlen(origin->tracestate, TRACESTATE_SIZE_MAX + 1) <= TRACESTATE_SIZE_MAX) {
            write_member(output, "tracestate", origin->tracestate);
        }
    }
    (void)stele_output_write(output, "}", 1);
    if (output->failed != STELE_OK) {
        return stele_fail(err, output->failed, 0, "no memory for the metadata of a command");
    }
    return origin->metadata != NULL ? add_metadata(origin->metadata, output, err) : STELE_OK;
}

static int member_of(const struct stele_event *event, const char *name, struct stele_memory *memory,
                     const char **out_text)
{
    struct stele_text text;
    const int outcome =
        stele_json_string(event->metadata, event->metadata_size, name, memory, &text);
    if (outcome == STELE_OK) {
        *out_text = text.data;
    }
    return outcome == STELE_E_NO_MEMORY ? outcome : STELE_OK;
}

int stele_origin_of_event(const struct stele_event *event, struct stele_memory *memory,
                          struct stele_origin *out_origin)
{
    if (event == NULL || memory == NULL || out_origin == NULL) {
        return STELE_E_INVALID;
    }
    struct stele_origin origin = {.struct_size = sizeof origin};
    char *id = stele_memory_allocate(memory, 37);
    if (id == NULL || member_of(event, "$correlationId", memory, &origin.correlation_id) != 0 ||
        member_of(event, "traceparent", memory, &origin.traceparent) != 0 ||
        member_of(event, "tracestate", memory, &origin.tracestate) != 0) {
        return STELE_E_NO_MEMORY;
    }
    stele_id_to_text(event->id, id);
    origin.causation_id = id;
    /* An event that nobody correlated begins a conversation. */
    origin.correlation_id = origin.correlation_id != NULL ? origin.correlation_id : id;
    *out_origin = origin;
    return STELE_OK;
}
