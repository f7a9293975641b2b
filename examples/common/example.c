#include "example.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* ---- Failing ---------------------------------------------------------------------------- */

void example_die(const char *format, ...)
{
    va_list arguments;
    (void)fflush(stdout);
    (void)fputs("error: ", stderr);
    va_start(arguments, format);
    (void)vfprintf(stderr, format, arguments);
    va_end(arguments);
    (void)fputc('\n', stderr);
    exit(1);
}

void example_check(int outcome, const struct stele_error *err, const char *what)
{
    if (outcome != STELE_OK) {
        const char *const words =
            err != NULL && err->message[0] != '\0' ? err->message : "no words";
        example_die("%s: %s (%s)", what, stele_outcome_name(outcome), words);
    }
}

void *example_alloc(size_t size)
{
    return example_realloc(NULL, size);
}

void *example_realloc(void *memory, size_t size)
{
    void *const larger = realloc(memory, size == 0 ? 1 : size);
    if (larger == NULL) {
        example_die("no memory for %zu bytes", size);
    }
    return larger;
}

char *example_copy(const char *text, size_t size)
{
    char *const copy = example_alloc(size + 1);
    if (size > 0) {
        memcpy(copy, text, size);
    }
    copy[size] = '\0';
    return copy;
}

/* ---- Text that grows --------------------------------------------------------------------- */

static void text_reserve(struct text *text, size_t more)
{
    const size_t need = text->size + more + 1;
    if (need > text->room) {
        text->room = need * 2 < 256 ? 256 : need * 2;
        text->data = example_realloc(text->data, text->room);
    }
}

void text_add(struct text *text, const void *bytes, size_t size)
{
    text_reserve(text, size);
    if (size > 0) {
        memcpy(text->data + text->size, bytes, size);
    }
    text->size += size;
    text->data[text->size] = '\0';
}

void text_addf(struct text *text, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    const int size = vsnprintf(NULL, 0, format, arguments);
    va_end(arguments);
    if (size < 0) {
        example_die("cannot format \"%s\"", format);
    }
    text_reserve(text, (size_t)size);
    va_start(arguments, format);
    (void)vsnprintf(text->data + text->size, (size_t)size + 1, format, arguments);
    va_end(arguments);
    text->size += (size_t)size;
}

/* The number of bytes of the UTF-8 character that begins here, 0 if none does. RFC 3629. */
static size_t utf8_size(const unsigned char *bytes, size_t size)
{
    static const unsigned char first_min[] = {0xc2, 0xe0, 0xf0};
    static const unsigned char first_max[] = {0xdf, 0xef, 0xf4};
    if (bytes[0] < 0x80) {
        return 1;
    }
    for (size_t more = 1; more <= 3; more++) {
        if (bytes[0] < first_min[more - 1] || bytes[0] > first_max[more - 1]) {
            continue;
        }
        if (size <= more) {
            return 0;
        }
        for (size_t i = 1; i <= more; i++) {
            if ((bytes[i] & 0xc0) != 0x80) {
                return 0;
            }
        }
        /* Longer than needed, half of a surrogate pair, past U+10FFFF. */
        const bool wrong =
            (bytes[0] == 0xe0 && bytes[1] < 0xa0) || (bytes[0] == 0xed && bytes[1] > 0x9f) ||
            (bytes[0] == 0xf0 && bytes[1] < 0x90) || (bytes[0] == 0xf4 && bytes[1] > 0x8f);
        return wrong ? 0 : more + 1;
    }
    return 0;
}

bool is_utf8(const char *bytes, size_t size)
{
    for (size_t i = 0; i < size;) {
        const size_t step = utf8_size((const unsigned char *)bytes + i, size - i);
        if (step == 0) {
            return false;
        }
        i += step;
    }
    return true;
}

bool is_stream_name(const char *bytes, size_t size)
{
    const unsigned char *const name = (const unsigned char *)bytes;
    for (size_t i = 0; i < size;) {
        const size_t step = utf8_size(name + i, size - i);
        /* U+0080 to U+009F are control characters, too. */
        if (step == 0 || name[i] < 0x20 || name[i] == 0x7f ||
            (name[i] == 0xc2 && name[i + 1] < 0xa0)) {
            return false;
        }
        i += step;
    }
    return size > 0 && size <= STELE_STREAM_NAME_SIZE_MAX;
}

void text_add_json(struct text *text, const char *bytes, size_t size)
{
    text_add(text, "\"", 1);
    for (size_t i = 0; i < size;) {
        const unsigned char byte = (unsigned char)bytes[i];
        const size_t step = utf8_size((const unsigned char *)bytes + i, size - i);
        if (step == 0) {
            text_add(text, "\xef\xbf\xbd", 3);
            i++;
            continue;
        }
        if (byte == '"' || byte == '\\') {
            text_addf(text, "\\%c", byte);
        } else if (byte == '\n') {
            text_add(text, "\\n", 2);
        } else if (byte < 0x20) {
            text_addf(text, "\\u%04x", byte);
        } else {
            text_add(text, bytes + i, step);
        }
        i += step;
    }
    text_add(text, "\"", 1);
}

void text_clear(struct text *text)
{
    text->size = 0;
    if (text->data != NULL) {
        text->data[0] = '\0';
    }
}

void text_free(struct text *text)
{
    free(text->data);
    *text = (struct text){0};
}

/* ---- Event ids --------------------------------------------------------------------------- */

/* The name space of URLs, RFC 9562, section 6.6. */
static const uint8_t url_space[16] = {0x6b, 0xa7, 0xb8, 0x11, 0x9d, 0xad, 0x11, 0xd1,
                                      0x80, 0xb4, 0x00, 0xc0, 0x4f, 0xd4, 0x30, 0xc8};

/* SHA-1 of prefix and bytes, one after the other. */
static void sha1(const void *prefix, size_t prefix_size, const void *bytes, size_t size,
                 unsigned char out_digest[20])
{
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned digest_size = 0;
    EVP_MD_CTX *const hash = EVP_MD_CTX_new();
    if (hash == NULL || EVP_DigestInit_ex(hash, EVP_sha1(), NULL) != 1 ||
        EVP_DigestUpdate(hash, prefix, prefix_size) != 1 ||
        EVP_DigestUpdate(hash, bytes, size) != 1 ||
        EVP_DigestFinal_ex(hash, digest, &digest_size) != 1 || digest_size != 20) {
        example_die("libcrypto cannot compute SHA-1");
    }
    EVP_MD_CTX_free(hash);
    memcpy(out_digest, digest, 20);
}

void example_sha1(const void *bytes, size_t size, char text[41])
{
    unsigned char digest[20];
    sha1("", 0, bytes, size, digest);
    for (size_t i = 0; i < sizeof digest; i++) {
        (void)snprintf(text + i * 2, 3, "%02x", digest[i]);
    }
}

static void name_id(const uint8_t space[16], const void *bytes, size_t size, uint8_t id[16])
{
    unsigned char digest[20];
    sha1(space, 16, bytes, size, digest);
    memcpy(id, digest, 16);
    id[6] = (uint8_t)((id[6] & 0x0f) | 0x50); /* version 5 */
    id[8] = (uint8_t)((id[8] & 0x3f) | 0x80); /* the variant of the RFC */
}

void example_id(const char *space, const void *bytes, size_t size, uint8_t id[16])
{
    uint8_t space_id[16];
    name_id(url_space, space, strlen(space), space_id);
    name_id(space_id, bytes, size, id);
}

/* ---- A map from bytes to pointers -------------------------------------------------------- */

/* FNV-1a, 64 bits. */
static uint64_t hash_of(const char *key, size_t key_size)
{
    uint64_t hash = 14695981039346656037u;
    for (size_t i = 0; i < key_size; i++) {
        hash = (hash ^ (unsigned char)key[i]) * 1099511628211u;
    }
    return hash ^ (hash >> 32);
}

/* The slot that holds the key, or the empty one where it belongs. */
static struct map_entry **slot_of(const struct map *map, const char *key, size_t key_size)
{
    size_t i = (size_t)hash_of(key, key_size) & (map->slots_count - 1);
    while (map->slots[i] != NULL) {
        const struct map_entry *const entry = map->slots[i];
        if (entry->key_size == key_size && memcmp(entry->key, key, key_size) == 0) {
            break;
        }
        i = (i + 1) & (map->slots_count - 1);
    }
    return &map->slots[i];
}

static void map_grow(struct map *map)
{
    map->room = map->room == 0 ? 32 : map->room * 2;
    map->entries = example_realloc(map->entries, map->room * sizeof *map->entries);
    map->slots_count = map->room * 2;
    free(map->slots);
    map->slots = example_alloc(map->slots_count * sizeof *map->slots);
    for (size_t i = 0; i < map->slots_count; i++) {
        map->slots[i] = NULL;
    }
    for (size_t i = 0; i < map->count; i++) {
        *slot_of(map, map->entries[i]->key, map->entries[i]->key_size) = map->entries[i];
    }
}

struct map_entry *map_at(struct map *map, const char *key, size_t key_size)
{
    if (map->count == map->room) {
        map_grow(map);
    }
    struct map_entry **const slot = slot_of(map, key, key_size);
    if (*slot == NULL) {
        struct map_entry *const entry = example_alloc(sizeof *entry);
        *entry = (struct map_entry){.key = example_copy(key, key_size), .key_size = key_size};
        map->entries[map->count++] = entry;
        *slot = entry;
    }
    return *slot;
}

struct map_entry *map_find(const struct map *map, const char *key, size_t key_size)
{
    return map->count == 0 ? NULL : *slot_of(map, key, key_size);
}

void map_free(struct map *map, void (*free_value)(void *value))
{
    for (size_t i = 0; i < map->count; i++) {
        if (free_value != NULL) {
            free_value(map->entries[i]->value);
        }
        free(map->entries[i]->key);
        free(map->entries[i]);
    }
    free(map->entries);
    free(map->slots);
    *map = (struct map){0};
}

/* ---- Sending ----------------------------------------------------------------------------- */

/* More would not make it faster: one sync takes far fewer with it. The library copies what is under
 * way, so large appends count by their events. */
#define UNDER_WAY_MAX 4096u
#define EVENTS_UNDER_WAY_MAX 16384u

struct sent {
    struct sender *sender;
    size_t events_count;
    bool if_new;
    char stream[120]; /* For the message, its beginning. */
};

void sender_init(struct sender *sender, struct stele *store)
{
    *sender = (struct sender){.store = store, .outcome = STELE_OK};
    (void)pthread_mutex_init(&sender->lock, NULL);
    (void)pthread_cond_init(&sender->changed, NULL);
}

/* On a thread of the library. */
static void on_sent(void *context, int outcome, const struct stele_append_result *result)
{
    struct sent *const sent = context;
    struct sender *const sender = sent->sender;
    (void)pthread_mutex_lock(&sender->lock);
    if (outcome == STELE_OK && result->idempotent) {
        sender->events_known += sent->events_count;
    } else if (outcome == STELE_OK) {
        sender->events_stored += sent->events_count;
    } else if (outcome == STELE_WRONG_REVISION && sent->if_new) {
        sender->events_known += sent->events_count;
    } else if (sender->outcome == STELE_OK) {
        sender->outcome = outcome;
        memcpy(sender->what, sent->stream, sizeof sent->stream);
    }
    sender->under_way--;
    sender->events_under_way -= sent->events_count;
    (void)pthread_cond_signal(&sender->changed);
    (void)pthread_mutex_unlock(&sender->lock);
    free(sent);
}

/* Returns with the lock held. */
static void wait_until(struct sender *sender, size_t under_way_max)
{
    (void)pthread_mutex_lock(&sender->lock);
    while (sender->under_way > under_way_max ||
           (sender->events_under_way > EVENTS_UNDER_WAY_MAX && sender->under_way > 0)) {
        (void)pthread_cond_wait(&sender->changed, &sender->lock);
    }
    if (sender->outcome != STELE_OK) {
        /* The others may still be under way, and the store must not vanish under them. */
        while (sender->under_way > 0) {
            (void)pthread_cond_wait(&sender->changed, &sender->lock);
        }
        (void)pthread_mutex_unlock(&sender->lock);
        (void)stele_close(sender->store);
        example_die("append to %s: %s; what came before it is stored, and the import can be "
                    "started again",
                    sender->what, stele_outcome_name(sender->outcome));
    }
}

void sender_send(struct sender *sender, const struct stele_append *streams, size_t streams_count,
                 bool if_new)
{
    struct sent *const sent = example_alloc(sizeof *sent);
    *sent = (struct sent){.sender = sender, .if_new = if_new};
    for (size_t i = 0; i < streams_count; i++) {
        sent->events_count += streams[i].count;
    }
    (void)snprintf(sent->stream, sizeof sent->stream, "%s", streams[0].stream);

    wait_until(sender, UNDER_WAY_MAX - 1);
    sender->under_way++;
    sender->events_under_way += sent->events_count;
    (void)pthread_mutex_unlock(&sender->lock);

    struct stele_error err = {0};
    const int outcome =
        stele_append_async(sender->store, streams, streams_count, NULL, 0, on_sent, sent, &err);
    if (outcome == STELE_OK) {
        return;
    }
    /* It was refused at the door, so nobody calls on_sent() for it. */
    (void)pthread_mutex_lock(&sender->lock);
    sender->under_way--;
    sender->events_under_way -= sent->events_count;
    (void)pthread_mutex_unlock(&sender->lock);
    char what[200];
    (void)snprintf(what, sizeof what, "append to %s", sent->stream);
    free(sent);
    wait_until(sender, 0);
    (void)pthread_mutex_unlock(&sender->lock);
    (void)stele_close(sender->store);
    example_check(outcome, &err, what);
}

void sender_finish(struct sender *sender)
{
    wait_until(sender, 0);
    (void)pthread_mutex_unlock(&sender->lock);
    (void)pthread_cond_destroy(&sender->changed);
    (void)pthread_mutex_destroy(&sender->lock);
}

/* ---- Reading ----------------------------------------------------------------------------- */

struct stele *example_open(const char *path)
{
    struct stele_options options = STELE_OPTIONS_INIT;
    options.create = 0;
    options.read_only = 1;
    struct stele *store = NULL;
    struct stele_error err = {0};
    const int outcome = stele_open(path, &options, &store, &err);
    if (outcome == STELE_E_NOT_A_STORE) {
        example_die("there is no store at %s; import something first", path);
    }
    example_check(outcome, &err, path);
    return store;
}

void example_each(struct stele *store, const char *stream, const struct stele_read_options *options,
                  example_event on_event, void *context)
{
    struct stele_iterator *iterator = NULL;
    struct stele_error err = {0};
    const char *const what = stream == NULL ? "read everything" : stream;
    int outcome = stream == NULL ? stele_read_all(store, options, &iterator, &err)
                                 : stele_read_stream(store, stream, options, &iterator, &err);
    if (outcome == STELE_NO_STREAM) {
        return;
    }
    example_check(outcome, &err, what);
    int stop = 0;
    while (!stop) {
        const struct stele_event *events = NULL;
        size_t count = 0;
        outcome = stele_iterator_next(iterator, &events, &count, &err);
        if (outcome == STELE_END) {
            break;
        }
        example_check(outcome, &err, what);
        for (size_t i = 0; i < count && !stop; i++) {
            stop = on_event(context, &events[i]);
        }
    }
    stele_iterator_destroy(iterator);
}

/* ---- Other programs ---------------------------------------------------------------------- */

int example_begin(const char *const *arguments, pid_t *out_pid)
{
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0) {
        example_die("pipe: %s", strerror(errno));
    }
    const pid_t pid = fork();
    if (pid < 0) {
        example_die("fork: %s", strerror(errno));
    }
    if (pid == 0) {
        if (dup2(ends[1], STDOUT_FILENO) >= 0) {
            /* execvp() is older than const: it changes nothing. */
            (void)execvp(arguments[0], (char *const *)(uintptr_t)arguments);
        }
        _exit(127);
    }
    (void)close(ends[1]);
    *out_pid = pid;
    return ends[0];
}

int example_wait(pid_t pid)
{
    int status = 0;
    while (waitpid(pid, &status, 0) < 0) {
        if (errno != EINTR) {
            example_die("wait: %s", strerror(errno));
        }
    }
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

int example_run(const char *const *arguments, struct text *out_output)
{
    pid_t pid = 0;
    const int output = example_begin(arguments, &pid);
    char buffer[16384];
    ssize_t size = 0;
    while ((size = read(output, buffer, sizeof buffer)) > 0 || (size < 0 && errno == EINTR)) {
        text_add(out_output, buffer, size < 0 ? 0 : (size_t)size);
    }
    (void)close(output);
    return example_wait(pid);
}

/* ---- For people -------------------------------------------------------------------------- */

const struct paint *paint(void)
{
    static const struct paint colours = {"\033[1m",  "\033[2m",  "\033[31m", "\033[32m",
                                         "\033[33m", "\033[34m", "\033[0m"};
    static const struct paint plain = {"", "", "", "", "", "", ""};
    const char *const no_color = getenv("NO_COLOR");
    const bool wanted = no_color == NULL || no_color[0] == '\0';
    return wanted && isatty(STDOUT_FILENO) ? &colours : &plain;
}

const char *number(uint64_t value, char buffer[32])
{
    char digits[24];
    const int size = snprintf(digits, sizeof digits, "%llu", (unsigned long long)value);
    size_t at = 0;
    for (int i = 0; i < size; i++) {
        if (i > 0 && (size - i) % 3 == 0) {
            buffer[at++] = ',';
        }
        buffer[at++] = digits[i];
    }
    buffer[at] = '\0';
    return buffer;
}

const char *bytes_number(uint64_t bytes, char buffer[32])
{
    static const char *const units[] = {"bytes", "KiB", "MiB", "GiB", "TiB"};
    double value = (double)bytes;
    size_t unit = 0;
    while (value >= 1024 && unit < 4) {
        value /= 1024;
        unit++;
    }
    (void)snprintf(buffer, 32, unit == 0 ? "%.0f %s" : "%.1f %s", value, units[unit]);
    return buffer;
}

const char *when(int64_t time_us, char buffer[32])
{
    const time_t seconds = (time_t)(time_us / 1000000);
    struct tm parts;
    if (localtime_r(&seconds, &parts) == NULL || strftime(buffer, 32, "%F %T", &parts) == 0) {
        (void)snprintf(buffer, 32, "%lld", (long long)time_us);
    }
    return buffer;
}

bool parse_when(const char *text, int64_t *out_time_us)
{
    struct tm parts = {.tm_isdst = -1};
    const char *const rest = strptime(text, "%Y-%m-%d", &parts);
    if (rest == NULL) {
        return false;
    }
    int64_t fraction_us = 999999; /* To the end of what was not said. */
    if (*rest == '\0') {
        parts.tm_hour = 23;
        parts.tm_min = 59;
        parts.tm_sec = 59;
    } else {
        if (*rest != ' ' && *rest != 'T') {
            return false;
        }
        const char *end = strptime(rest + 1, "%H:%M:%S", &parts);
        if (end == NULL) {
            end = strptime(rest + 1, "%H:%M", &parts);
            parts.tm_sec = 59;
        }
        if (end == NULL || *end != '\0') {
            return false;
        }
    }
    const time_t seconds = mktime(&parts);
    *out_time_us = (int64_t)seconds * 1000000 + fraction_us;
    return true;
}

double seconds_now(void)
{
    struct timespec now = {0};
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}
