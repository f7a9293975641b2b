/* The import in three steps:
 *
 *  1. Read all lines.
 *  2. For every package, find out from its first line what was there before the log began: who is
 *     upgraded from 1.0 must have had 1.0. That is an event too, PackageFound. It goes in with
 *     STELE_EXPECT_NO_STREAM, so that a log whose beginning was rotated away since the last import
 *     does not find again what the store knows better.
 *  3. Every line becomes an event, in the order of the log. */
#include "import.h"

#include "../common/example.h"
#include "dpkg_log.h"
#include "dpkg_status.h"
#include "packages.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The name space of the ids. */
#define ID_SPACE "dpkg-log"

static struct fact fact_of(const struct dpkg_line *line)
{
    struct fact fact = {.action = "other",
                        .package = line->package,
                        .arch = line->arch,
                        .state = "",
                        .version = line->version,
                        .previous = line->previous,
                        .becomes = "",
                        .line = line->text,
                        .time_us = line->time_us};
    switch (line->kind) {
    case DPKG_STARTUP:
        fact.action = "startup";
        break;
    case DPKG_CONFFILE:
        fact.action = "conffile";
        fact.state = line->state;
        break;
    case DPKG_STATUS:
        fact.action = "status";
        fact.state = line->state;
        break;
    case DPKG_ACTION:
        fact.action = line->state;
        break;
    case DPKG_OTHER:
        fact.package = "";
        fact.arch = "";
        fact.version = "";
        fact.previous = "";
        break;
    }
    return fact;
}

/* ---- Streams and ids --------------------------------------------------------------------- */

static void package_stream(const struct fact *fact, struct text *out_name)
{
    text_addf(out_name, fact->arch[0] == '\0' ? "package-%s" : "package-%s:%s", fact->package,
              fact->arch);
}

static void stream_of(const struct fact *fact, struct text *out_name)
{
    text_clear(out_name);
    if (strcmp(fact->action, "startup") == 0 || strcmp(fact->action, "other") == 0) {
        text_addf(out_name, "dpkg-runs");
    } else if (strcmp(fact->action, "conffile") == 0) {
        text_addf(out_name, "conffile-%s", fact->package);
        if (!is_stream_name(out_name->data, out_name->size)) {
            /* Paths may hold bytes that the name of a stream may not. */
            text_clear(out_name);
            text_addf(out_name, "conffile-unusual");
        }
    } else {
        package_stream(fact, out_name);
    }
}

static void id_of(const char *what, const struct dpkg_line *line, uint8_t id[16])
{
    struct text name = {0};
    text_addf(&name, "%s\n%s\n%zu", what, line->text, line->ordinal);
    example_id(ID_SPACE, name.data, name.size, id);
    text_free(&name);
}

static void send(struct sender *sender, const struct packages *packages, const struct fact *fact,
                 const uint8_t id[16], bool if_new)
{
    struct text stream = {0};
    struct text json = {0};
    stream_of(fact, &stream);
    fact_to_json(fact, &json);
    struct stele_event_draft draft = {.type = describe(packages, fact),
                                      .data = json.data,
                                      .data_size = json.size,
                                      .created_us = fact->time_us};
    memcpy(draft.id, id, sizeof draft.id);
    const struct stele_append append = {
        .stream = stream.data,
        .expected = if_new ? STELE_EXPECT_NO_STREAM : STELE_EXPECT_ANY,
        .events = &draft,
        .count = 1,
    };
    sender_send(sender, &append, 1, if_new);
    text_free(&stream);
    text_free(&json);
}

/* ---- What was there before --------------------------------------------------------------- */

/* What the first line about a package says of the time before it; "" if nothing. An action names
 * the version that it finds. A package whose first line is a trigger or a reconfiguration was
 * installed; one whose first line is any other status may have been anything. */
static const char *state_before(const struct dpkg_line *line)
{
    static const char *const before[][2] = {
        {"upgrade", "installed"},          {"remove", "installed"},
        {"disappear", "installed"},        {"trigproc", "triggers-pending"},
        {"configure", "unpacked"},         {"install", "config-files"},
        {"purge", "config-files"},         {"triggers-pending", "installed"},
        {"triggers-awaited", "installed"}, {"half-configured", "installed"},
    };
    const char *const version = line->kind == DPKG_ACTION ? line->previous : line->version;
    if (version[0] == '\0') {
        return "";
    }
    for (size_t i = 0; i < sizeof before / sizeof before[0]; i++) {
        if (strcmp(line->state, before[i][0]) == 0) {
            return before[i][1];
        }
    }
    return "";
}

/* Marks the package of the fact in seen; true if it was new. */
static bool first_of_package(struct map *seen, const struct fact *fact)
{
    struct text stream = {0};
    package_stream(fact, &stream);
    const size_t before = seen->count;
    (void)map_at(seen, stream.data, stream.size);
    text_free(&stream);
    return seen->count > before;
}

static void found_id(const struct fact *fact, uint8_t id[16])
{
    struct text name = {0};
    text_addf(&name, "found\n%s:%s\n%s", fact->package, fact->arch, fact->version);
    example_id(ID_SPACE, name.data, name.size, id);
    text_free(&name);
}

static void send_found(struct sender *sender, struct packages *packages, const struct fact *fact)
{
    uint8_t id[16];
    found_id(fact, id);
    send(sender, packages, fact, id, true);
    evolve(packages, fact);
}

static uint64_t find_in_log(const struct dpkg_log *log, struct sender *sender,
                            struct packages *packages, struct map *seen)
{
    uint64_t count = 0;
    for (size_t i = 0; i < log->count; i++) {
        const struct dpkg_line *const line = &log->lines[i];
        if (line->kind != DPKG_STATUS && line->kind != DPKG_ACTION) {
            continue;
        }
        struct fact fact = fact_of(line);
        if (!first_of_package(seen, &fact)) {
            continue;
        }
        fact.state = state_before(line);
        if (fact.state[0] == '\0') {
            continue;
        }
        fact.action = "found";
        fact.version = line->kind == DPKG_ACTION ? line->previous : line->version;
        fact.previous = "";
        fact.time_us = log->lines[0].time_us;
        send_found(sender, packages, &fact);
        count++;
    }
    return count;
}

/* What no line mentions, dpkg itself may know: when it was unpacked, and which version it is. */
static uint64_t find_in_dpkg(struct sender *sender, struct packages *packages, struct map *seen)
{
    struct dpkg_status status = {0};
    dpkg_status_query(&status, NULL);
    uint64_t count = 0;
    for (size_t i = 0; i < status.count; i++) {
        const struct dpkg_package *const package = &status.packages[i];
        const struct fact fact = {.action = "found",
                                  .package = package->name,
                                  .arch = package->arch,
                                  .state = package->state,
                                  .version = package->version,
                                  .previous = "",
                                  .becomes = "",
                                  .line = "",
                                  .time_us = package->changed_us};
        if (first_of_package(seen, &fact)) {
            send_found(sender, packages, &fact);
            count++;
        }
    }
    dpkg_status_free(&status);
    return count;
}

/* ---- The lines --------------------------------------------------------------------------- */

static void send_line(struct sender *sender, struct packages *packages,
                      const struct dpkg_line *line)
{
    uint8_t id[16];
    struct fact fact = fact_of(line);
    const struct package *const old = replaced_by(packages, &fact);
    if (old != NULL) {
        const struct fact replaced = {.action = "replaced",
                                      .package = old->name,
                                      .arch = old->arch,
                                      .state = "not-installed",
                                      .version = "",
                                      .previous = old->version,
                                      .becomes = fact.arch,
                                      .line = line->text,
                                      .time_us = line->time_us};
        id_of("replaced", line, id);
        send(sender, packages, &replaced, id, false);
        evolve(packages, &replaced);
    }
    id_of("line", line, id);
    fact.previous = version_before(packages, &fact);
    send(sender, packages, &fact, id, false);
    evolve(packages, &fact);
}

/* ---- All of it --------------------------------------------------------------------------- */

static int take_time_of_line(void *context, const struct stele_event *event)
{
    static const char found[] = "PackageFound";
    int64_t *const time_us = context;
    if (event->type.size == sizeof found - 1 &&
        memcmp(event->type.data, found, event->type.size) == 0) {
        return 0;
    }
    *time_us = event->created_us;
    return 1;
}

/* Events go in at the end. A log older than what is stored would stand after it, and every answer
 * would be wrong. */
static void refuse_older_log(struct stele *store, const struct dpkg_log *log)
{
    int64_t first_us = INT64_MAX;
    example_each(store, NULL, NULL, take_time_of_line, &first_us);
    if (first_us != INT64_MAX && log->lines[0].time_us < first_us) {
        char log_begins[32];
        char store_begins[32];
        example_die("the log begins at %s, before what is stored (%s); import it into another "
                    "store, together with the logs after it",
                    when(log->lines[0].time_us, log_begins), when(first_us, store_begins));
    }
}

static void tell(struct stele *store, const struct dpkg_log *log, const struct sender *sender,
                 uint64_t found, uint64_t found_in_dpkg, double seconds)
{
    const struct paint *const p = paint();
    char a[32];
    char b[32];
    struct stele_stats stats = {0};
    struct stele_error err = {0};
    example_check(stele_stats(store, &stats, &err), &err, "count");
    if (log->count > 0) {
        (void)printf("  read      %s lines of %zu log file%s, %s, %s", number(log->count, a),
                     log->files, log->files == 1 ? "" : "s", bytes_number(log->bytes, b), p->dim);
        (void)printf("%s …", when(log->lines[0].time_us, a));
        (void)printf(" %s%s\n", when(log->lines[log->count - 1].time_us, a), p->off);
    } else {
        (void)printf("  read      no log: this machine has kept none\n");
    }
    if (log->unreadable > 0) {
        (void)printf("  left out  %s lines that have no time in front\n",
                     number(log->unreadable, a));
    }
    if (found > 0) {
        (void)printf("  found     %s package%s that %s there before the log began\n",
                     number(found, a), found == 1 ? "" : "s", found == 1 ? "was" : "were");
    }
    if (found_in_dpkg > 0) {
        (void)printf("  asked     dpkg for %s packages that no line mentions\n",
                     number(found_in_dpkg, a));
    }
    (void)printf("  stored    %s%s events%s", p->bold, number(sender->events_stored, a), p->off);
    if (sender->events_known > 0) {
        (void)printf(", %s were there already", number(sender->events_known, a));
    }
    const uint64_t sent = sender->events_stored + sender->events_known;
    if (seconds > 0 && sent > 0) {
        (void)printf(" in %.2f s, %s a second", seconds,
                     number((uint64_t)((double)sent / seconds), a));
    }
    (void)printf("\n  store     %s events", number(stats.events, a));
    (void)printf(" in %s streams, %s of log\n", number(stats.streams, a),
                 bytes_number(stats.log_size, b));
}

void import(const char *store_path, char **logs, size_t logs_count)
{
    struct dpkg_log log = {0};
    for (size_t i = 0; i < logs_count; i++) {
        if (!dpkg_log_read(&log, logs[i])) {
            example_die("%s: there is no such file", logs[i]);
        }
    }
    if (logs_count == 0) {
        dpkg_log_read_all(&log, "/var/log");
    }

    struct stele *store = NULL;
    struct stele_error err = {0};
    example_check(stele_open(store_path, NULL, &store, &err), &err, store_path);
    if (log.count > 0) {
        refuse_older_log(store, &log);
    }

    const double begin = seconds_now();
    struct sender sender;
    struct packages packages = {0};
    struct map seen = {0};
    sender_init(&sender, store);
    const uint64_t found = find_in_log(&log, &sender, &packages, &seen);
    const uint64_t found_in_dpkg = logs_count == 0 ? find_in_dpkg(&sender, &packages, &seen) : 0;
    for (size_t i = 0; i < log.count; i++) {
        send_line(&sender, &packages, &log.lines[i]);
    }
    sender_finish(&sender);
    tell(store, &log, &sender, found, found_in_dpkg, seconds_now() - begin);

    map_free(&seen, NULL);
    packages_free(&packages);
    dpkg_log_free(&log);
    example_check(stele_close(store), NULL, "close the store");
}
