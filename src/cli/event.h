/* Events as text: for people, as JSON lines, as CloudEvents, as bare data; and back.
 *
 * docs/json-lines.md describes both JSON forms. Data and metadata that are JSON are copied byte by
 * byte in both directions, never taken apart and put together again, because that would change
 * numbers, repeated members and white space. */
#ifndef STELE_CLI_EVENT_H
#define STELE_CLI_EVENT_H

#include "cli/arena.h"

#include <jansson.h>
#include <stdbool.h>
#include <stele.h>

/* ---- Out ---- */

enum stele_cli_form {
    STELE_CLI_HUMAN,       /* One line each. */
    STELE_CLI_LONG,        /* Several lines each, everything. */
    STELE_CLI_JSON,        /* JSON lines. */
    STELE_CLI_EXPORT,      /* JSON lines from which import makes the same bytes again. */
    STELE_CLI_CLOUDEVENTS, /* CloudEvents 1.0, JSON event format, one a line. */
    STELE_CLI_RAW,         /* The data alone, as it is, with nothing between. */
};

struct stele_cli_columns {
    bool all; /* Several streams: show positions and names. */
    size_t name_width;
    size_t type_width;
};

/* columns keeps how wide the columns have become; only the forms for people look at it. */
void stele_cli_event_out(const struct stele_event *event, enum stele_cli_form form,
                         struct stele_cli_columns *columns);
/* The widths that a run of events needs, before its first one is shown. */
void stele_cli_columns_fit(struct stele_cli_columns *columns, const struct stele_event *events,
                           size_t count);

void stele_cli_event_out_cloudevents(const struct stele_event *event);

/* application/json, and what ends in +json (RFC 6839); parameters do not matter. */
bool stele_cli_is_json_type(struct stele_text content_type);
/* Text that a JSON string can carry: text/… and XML. */
bool stele_cli_is_text_type(struct stele_text content_type);
bool stele_cli_json_valid(struct stele_text json);

/* ---- In ---- */

/* An event that came in as text. Everything lies in the arena it was read with. */
struct stele_cli_input {
    const char *stream; /* NULL: the line named none. */
    struct stele_event_draft draft;
    bool has_id;
    bool tombstone; /* Not an event to append: closes the stream. */
};

struct stele_cli_mistake {
    char text[256]; /* "what: why; what to do" without file and line. */
    int column;     /* In the line, from 1; 0: the line as a whole. */
};

/* Reads a line: a JSON line, or a CloudEvent, which is known by its member "specversion".
 * false: *out_mistake says why not. */
bool stele_cli_event_read(struct stele_text line, struct stele_cli_arena *arena,
                          struct stele_cli_input *out_input, struct stele_cli_mistake *out_mistake);

/* Tells the mistake with file and line; returns the exit code. */
int stele_cli_bad_line(const char *name, uint64_t number, const struct stele_cli_mistake *mistake);
/* Nothing but white space. */
bool stele_cli_is_blank(struct stele_text line);

/* The parts of reading that both forms share. */

struct stele_cli_reader {
    struct stele_text line;
    json_t *object;
    struct stele_cli_arena *arena;
    struct stele_cli_input *input;
    struct stele_cli_mistake *mistake;
};

__attribute__((format(printf, 2, 3))) bool stele_cli_reader_fail(struct stele_cli_reader *reader,
                                                                 const char *format, ...);
/* Copies a string member that must be a string without zeros; *out stays as it is when there is no
 * such member. */
bool stele_cli_reader_text(struct stele_cli_reader *reader, const char *member, const char **out);
/* "data" or "data_base64" (names as given) into *out_data, by the content type: JSON as it stands
 * in the line, a string as text. */
bool stele_cli_reader_data(struct stele_cli_reader *reader, const char *member,
                           const char *base64_member, const char *content_type,
                           const void **out_data, size_t *out_size);
bool stele_cli_reader_tags(struct stele_cli_reader *reader, const json_t *tags);
/* A UUID other than all zeros. */
bool stele_cli_id_parse(const char *text, uint8_t id[16]);
bool stele_cli_reader_time(struct stele_cli_reader *reader, const char *member);
bool stele_cli_event_read_cloudevent(struct stele_cli_reader *reader);

/* The bytes of a member's value in the text of a valid JSON object; size 0: it has none. The
 * last one counts if there are several, as in the parser. */
struct stele_text stele_cli_json_member(struct stele_text object, const char *name);

#endif
