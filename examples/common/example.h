/* What the larger examples share: failing, text, names for ids, a map, and a sender that keeps
 * many appends under way. Nothing here knows more of Stele than its public interface. */
#ifndef EXAMPLE_H
#define EXAMPLE_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stele.h>
#include <sys/types.h>

/* ---- Failing ---------------------------------------------------------------------------- */

/* Says why on standard error and ends the process with exit code 1. */
__attribute__((noreturn, format(printf, 1, 2))) void example_die(const char *format, ...);

/* As above, for an outcome of the library other than STELE_OK. */
void example_check(int outcome, const struct stele_error *err, const char *what);

/* Memory, or the end: an example has nothing to save. */
void *example_alloc(size_t size);
void *example_realloc(void *memory, size_t size);
char *example_copy(const char *text, size_t size);

/* ---- Text that grows --------------------------------------------------------------------- */

struct text {
    char *data; /* Ends with a zero that size does not count. NULL until something was added. */
    size_t size;
    size_t room;
};

void text_add(struct text *text, const void *bytes, size_t size);
__attribute__((format(printf, 2, 3))) void text_addf(struct text *text, const char *format, ...);
/* A JSON string with its quotation marks. Bytes that are no UTF-8 become U+FFFD. */
void text_add_json(struct text *text, const char *bytes, size_t size);
void text_clear(struct text *text);
void text_free(struct text *text);

bool is_utf8(const char *bytes, size_t size);
/* May a stream be called this? UTF-8, no control characters, not too long. */
bool is_stream_name(const char *bytes, size_t size);

/* ---- Event ids --------------------------------------------------------------------------- */

/* The id that always belongs to these bytes: a UUID of version 5 (RFC 9562, section 5.5) in the
 * name space space. The same input twice gives the same events, and the store keeps them once. */
void example_id(const char *space, const void *bytes, size_t size, uint8_t id[16]);

/* SHA-1 in hexadecimal, for names that are too long or too odd. */
void example_sha1(const void *bytes, size_t size, char text[41]);

/* ---- A map from bytes to pointers -------------------------------------------------------- */

struct map_entry {
    char *key;
    size_t key_size;
    void *value; /* NULL at first. */
};

struct map {
    struct map_entry **slots;
    size_t slots_count;
    struct map_entry **entries; /* In the order in which they were added. */
    size_t count;
    size_t room;
};

/* The entry of the key; added if it is new. It stays where it is until map_free(). */
struct map_entry *map_at(struct map *map, const char *key, size_t key_size);
/* NULL if there is none. */
struct map_entry *map_find(const struct map *map, const char *key, size_t key_size);
/* Frees keys and entries, and the values where free_value is not NULL. */
void map_free(struct map *map, void (*free_value)(void *value));

/* ---- Sending ----------------------------------------------------------------------------- */

/* Appends that are under way together, so that the store can make many of them durable with one
 * sync. They are stored in the order in which they were sent. */
struct sender {
    struct stele *store;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    size_t under_way;
    size_t events_under_way;
    uint64_t events_stored; /* Were new. */
    uint64_t events_known;  /* Had been stored before; the store recognised their ids. */
    int outcome;            /* The first that was not STELE_OK. */
    char what[200];         /* What was sent when it happened. */
};

void sender_init(struct sender *sender, struct stele *store);
/* Starts an append, waiting for its turn when many are under way. When the streams[0].expected is
 * STELE_EXPECT_NO_STREAM and if_new is set, a stream that exists is fine and nothing is stored.
 * Dies if an earlier append has failed. */
void sender_send(struct sender *sender, const struct stele_append *streams, size_t streams_count,
                 bool if_new);
/* Waits for all of them. Dies if one has failed. */
void sender_finish(struct sender *sender);

/* ---- Reading ----------------------------------------------------------------------------- */

/* Opens a store that must exist, for reading beside whoever writes it. */
struct stele *example_open(const char *path);

/* Called for every event. Anything but 0 ends the reading. */
typedef int (*example_event)(void *context, const struct stele_event *event);

/* Hands out the events of a stream, or of the store when stream is NULL. options may be NULL.
 * A stream that was never written has no events. */
void example_each(struct stele *store, const char *stream, const struct stele_read_options *options,
                  example_event on_event, void *context);

/* ---- Other programs ---------------------------------------------------------------------- */

/* Runs a program (found in PATH; arguments end with NULL) and adds what it writes to its standard
 * output. Returns its exit code; 127 if there is no such program, 128 + the signal that ended it. */
int example_run(const char *const *arguments, struct text *out_output);

/* The same in pieces: begins it and returns the file descriptor of its output; then waits for it. */
int example_begin(const char *const *arguments, pid_t *out_pid);
int example_wait(pid_t pid);

/* ---- For people -------------------------------------------------------------------------- */

/* Escape sequences on a terminal, "" elsewhere (or with NO_COLOR set). */
struct paint {
    const char *bold, *dim, *red, *green, *yellow, *blue, *off;
};
const struct paint *paint(void);

/* "5,887". The buffer is the caller's. */
const char *number(uint64_t value, char buffer[32]);
/* "1.4 MiB" */
const char *bytes_number(uint64_t bytes, char buffer[32]);
/* "2026-11-21 05:01:33", local time. */
const char *when(int64_t time_us, char buffer[32]);
/* Reads "2026-11-21", "2026-11-21 05:01", "2026-11-21 05:01:33" (also with a T). A day alone means
 * its end. False if it is none of these. */
bool parse_when(const char *text, int64_t *out_time_us);
/* Seconds of a clock that only goes forward. */
double seconds_now(void);

#endif
