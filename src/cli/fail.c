/* How failures are told, and what the process does when the user says stop. */
#include "cli/cli.h"
#include "cli/text.h"

#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* One write, so that lines of several processes do not mix. A standard error that does not take
 * it leaves nobody to tell. */
static void write_error(const char *text, size_t size)
{
    const ssize_t written = write(STDERR_FILENO, text, size);
    (void)written;
}

static void write_line(const char *message)
{
    char line[4096] = "stele: ";
    size_t used = strlen(line);
    struct stele_text text = stele_cli_text(message);
    while (text.size > 0 && used + 16 < sizeof line) {
        char piece[12];
        size_t piece_size = 0;
        const size_t size = stele_cli_escape_piece(text, piece, &piece_size);
        memcpy(line + used, piece, piece_size);
        used += piece_size;
        text.data += size;
        text.size -= size;
    }
    line[used++] = '\n';
    write_error(line, used);
}

/* jansson refuses what is no UTF-8, and a message may quote such a thing. */
static json_t *json_text(const char *text)
{
    char safe[4096];
    size_t used = 0;
    struct stele_text rest = stele_cli_text(text);
    while (rest.size > 0 && used + 16 < sizeof safe) {
        uint32_t c = 0;
        size_t size = stele_utf8_decode(stele_cli_bytes(rest), &c);
        size_t piece_size = size;
        if (size == 0) {
            size = stele_cli_escape_piece(rest, safe + used, &piece_size);
        } else {
            memcpy(safe + used, rest.data, size);
        }
        used += piece_size;
        rest.data += size;
        rest.size -= size;
    }
    return json_stringn(safe, used);
}

static int say(json_t *take_details, int code, const char *name, const char *message)
{
    if (!stele_cli_globals.json) {
        json_decref(take_details);
        write_line(message);
        return code;
    }
    json_t *const failure = json_object();
    (void)json_object_set_new(failure, "error", json_string(name));
    (void)json_object_set_new(failure, "exit_code", json_integer(code));
    (void)json_object_set_new(failure, "message", json_text(message));
    if (take_details != NULL) {
        (void)json_object_update_missing(failure, take_details);
        json_decref(take_details);
    }
    char *line = json_dumps(failure, JSON_COMPACT | JSON_ENSURE_ASCII);
    json_decref(failure);
    if (line != NULL) {
        const size_t size = strlen(line);
        line = stele_cli_realloc(line, size + 1);
        line[size] = '\n';
        write_error(line, size + 1);
        free(line);
    }
    return code;
}

int stele_cli_fail(int code, const char *name, const char *format, ...)
{
    char message[2048];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(message, sizeof message, format, args);
    va_end(args);
    return say(NULL, code, name, message);
}

int stele_cli_fail_with(json_t *take_details, int code, const char *name, const char *format, ...)
{
    char message[2048];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(message, sizeof message, format, args);
    va_end(args);
    return say(take_details, code, name, message);
}

void stele_cli_note(const char *format, ...)
{
    char message[2048];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(message, sizeof message, format, args);
    va_end(args);
    if (!stele_cli_globals.json) {
        write_line(message);
    }
}

struct words {
    int outcome;
    int exit_code;
    const char *why;
    const char *next;
};

static const struct words all_words[] = {
    {STELE_END, STELE_CLI_FAILURE, "there is nothing more to read", "try again later"},
    {STELE_WRONG_REVISION, STELE_CLI_CONFLICT, "the stream is not at the expected revision",
     "read what was added, decide again, append again"},
    {STELE_NO_STREAM, STELE_CLI_NOT_FOUND, "there is no such stream, or it was deleted",
     "`stele streams` lists the streams"},
    {STELE_STREAM_DELETED, STELE_CLI_NOT_FOUND, "the stream was closed for ever by a tombstone",
     "use another name"},
    {STELE_CONDITION_FAILED, STELE_CLI_CONFLICT, "an event that the condition forbids exists",
     "read what was added, decide again, append again"},
    {STELE_TIMED_OUT, STELE_CLI_TIMED_OUT, "nothing came in time", "wait longer, or look again"},
    {STELE_INCOMPLETE, STELE_CLI_FAILURE, "more bytes are needed", "try again"},
    {STELE_NOT_FOUND, STELE_CLI_NOT_FOUND, "it does not exist", "check the name"},
    {STELE_E_INVALID, STELE_CLI_USAGE, "an argument is not allowed", "see `stele help`"},
    {STELE_E_LIMIT, STELE_CLI_LIMIT, "something is larger than it may be",
     "`stele help limits` has the limits"},
    {STELE_E_IO, STELE_CLI_IO, "the operating system reported an error",
     "look at the disk and the kernel's messages"},
    {STELE_E_NO_SPACE, STELE_CLI_NO_SPACE, "the disk is full", "make room and try again"},
    {STELE_E_NO_MEMORY, STELE_CLI_FAILURE, "memory ran out", "make room and try again"},
    {STELE_E_CORRUPT, STELE_CLI_DAMAGE, "stored bytes are not the bytes that were written",
     "`stele verify` tells what is damaged"},
    {STELE_E_LOCKED, STELE_CLI_LOCKED, "another process writes to this store",
     "end that process, or let it do the writing"},
    {STELE_E_NOT_A_STORE, STELE_CLI_NOT_FOUND, "the path is no store",
     "give the right one with --store or STELE_STORE"},
    {STELE_E_FORMAT, STELE_CLI_FORMAT, "a newer version of Stele wrote the store",
     "use that version"},
    {STELE_E_READ_ONLY, STELE_CLI_PERMISSION, "the store can only be read",
     "check the permissions and whether the disk is mounted for reading only"},
    {STELE_E_FORKED, STELE_CLI_FAILURE, "the store was opened before fork()", "open it again"},
    {STELE_E_FENCED, STELE_CLI_IO, "an earlier write failed, so nothing more is accepted",
     "look at the disk, then run the command again"},
    {STELE_E_OVERLOADED, STELE_CLI_FAILURE, "too much is under way", "try again later"},
    {STELE_E_UNKNOWN, STELE_CLI_UNKNOWN, "nobody knows whether it was stored",
     "repeat it with the same event ids: it is stored exactly once"},
    {STELE_E_ID_CONFLICT, STELE_CLI_ID_CONFLICT,
     "an event id was used before with different neighbours", "use new ids"},
    {STELE_E_PERMISSION, STELE_CLI_PERMISSION, "the operating system denies access",
     "check owner and permissions"},
    {STELE_E_UNSUPPORTED, STELE_CLI_FORMAT, "not possible on this store, system or file system",
     "see `stele help`"},
    {STELE_E_CLOSED, STELE_CLI_FAILURE, "the store is being closed", "open it again"},
    {STELE_E_KEY, STELE_CLI_PERMISSION, "a key is missing, shredded or not the right one",
     "see `stele keys --help`"},
};

static const struct words *words_of(int outcome)
{
    static const struct words other = {0, STELE_CLI_FAILURE, "it failed", "see `stele help`"};
    for (size_t i = 0; i < STELE_COUNT_OF(all_words); i++) {
        if (all_words[i].outcome == outcome) {
            return &all_words[i];
        }
    }
    return &other;
}

int stele_cli_exit_of(int outcome)
{
    return outcome == STELE_OK ? STELE_CLI_OK : words_of(outcome)->exit_code;
}

/* What to do about errors of the system that have an outcome in common with those of a disk. */
static const char *next_of_errno(const struct stele_error *err)
{
    switch (err->os_errno) {
    case EMFILE:
        return "raise the limit of open files of this process (`ulimit -n`)";
    case ENFILE:
        return "raise the limit of open files of this machine (sysctl fs.file-max)";
    default:
        return NULL;
    }
}

int stele_cli_fail_outcome(int outcome, const struct stele_error *err, const char *what)
{
    const struct words *const words = words_of(outcome);
    const bool has_words = err != NULL && err->outcome == outcome && err->message[0] != '\0';
    const char *const why = has_words ? err->message : words->why;
    /* Messages of the library that know what to do say so behind a semicolon. */
    const bool has_next = has_words && strchr(why, ';') != NULL;
    const char *const known = has_words ? next_of_errno(err) : NULL;
    return stele_cli_fail(words->exit_code, stele_outcome_name(outcome), "%s: %s%s%s", what, why,
                          has_next ? "" : "; ",
                          has_next        ? ""
                          : known != NULL ? known
                                          : words->next);
}

void *stele_cli_realloc(void *memory, size_t size)
{
    void *const moved = realloc(memory, size > 0 ? size : 1);
    if (moved == NULL) {
        static const char line[] =
            "stele: memory: there is none left; end something else and try again\n";
        write_error(line, sizeof line - 1);
        _exit(STELE_CLI_FAILURE);
    }
    return moved;
}

void *stele_cli_alloc(size_t size)
{
    return stele_cli_realloc(NULL, size);
}

/* A chain, so that nothing that lives as long as the process looks like a leak. */
struct kept {
    struct kept *next;
    _Alignas(max_align_t) char memory[];
};
static struct kept *kept_list;

void *stele_cli_keep(size_t size)
{
    struct kept *const kept = stele_cli_alloc(sizeof *kept + size);
    kept->next = kept_list;
    kept_list = kept;
    memset(kept->memory, 0, size);
    return kept->memory;
}

void stele_cli_keep_free(void)
{
    while (kept_list != NULL) {
        struct kept *const kept = kept_list;
        kept_list = kept->next;
        free(kept);
    }
}

/* Lock-free, so that a handler may set it; commands with threads look at it from each of them. */
static atomic_bool interrupted;
_Static_assert(ATOMIC_BOOL_LOCK_FREE == 2, "a handler of a signal may not wait");

static void on_interrupt(int signal_number)
{
    (void)signal_number;
    atomic_store(&interrupted, true);
}

void stele_cli_catch_interrupts(void)
{
    /* No SA_RESTART, because a read of standard input that waits must come back. SA_RESETHAND:
     * whoever presses Ctrl-C twice means it. */
    struct sigaction action = {.sa_handler = on_interrupt, .sa_flags = (int)SA_RESETHAND};
    (void)sigemptyset(&action.sa_mask);
    (void)sigaction(SIGINT, &action, NULL);
    (void)sigaction(SIGTERM, &action, NULL);
    (void)sigaction(SIGHUP, &action, NULL);
}

bool stele_cli_interrupted(void)
{
    return atomic_load(&interrupted);
}
