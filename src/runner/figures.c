/* Counters and histograms of commands, in Prometheus' text format. Labels come from the caller's
 * types and categories, so their number is bounded: what does not fit any more counts as "other". */
#include "base/checksum.h"
#include "runner/command_internal.h"

#include <stdio.h>

/* Upper bounds of the buckets in microseconds; the last bucket has none. */
static const uint32_t bounds_us[STELE_FIGURES_BUCKETS - 1] = {
    25,    50,    100,    250,    500,    1000,    2500,    5000,    10000,   25000,
    50000, 75000, 100000, 250000, 500000, 1000000, 2500000, 5000000, 10000000};

void stele_figures__init(struct stele_figures *figures)
{
    (void)pthread_mutex_init(&figures->lock, NULL);
}

static void release_table(struct stele_runner *runner, struct stele_figures_table *table)
{
    for (size_t i = 0; i < table->count; i++) {
        stele_release(runner->alloc, table->rows[i].name, strlen(table->rows[i].name) + 1);
    }
    stele_release(runner->alloc, table->rows,
                  table->rows != NULL ? STELE_FIGURES_NAMES_MAX * sizeof *table->rows : 0);
}

void stele_figures__deinit(struct stele_runner *runner)
{
    release_table(runner, &runner->figures.commands);
    release_table(runner, &runner->figures.events);
    release_table(runner, &runner->figures.appends[0]);
    release_table(runner, &runner->figures.appends[1]);
    (void)pthread_mutex_destroy(&runner->figures.lock);
}

/* NULL when there is no memory: then it is not counted. */
static struct stele_figures_row *row_of(struct stele_runner *runner,
                                        struct stele_figures_table *table, const char *name,
                                        size_t size)
{
    if (table->rows == NULL) {
        table->rows = stele_allocate(runner->alloc, STELE_FIGURES_NAMES_MAX * sizeof *table->rows);
        if (table->rows == NULL) {
            return NULL;
        }
    }
    const struct stele_bytes wanted = {.data = (const uint8_t *)name, .size = size};
    const size_t places = STELE_COUNT_OF(table->index);
    size_t at = stele_hash64(wanted, 0) % places;
    for (; table->index[at] != 0; at = (at + 1) % places) {
        struct stele_figures_row *row = &table->rows[table->index[at] - 1];
        if (strlen(row->name) == size && memcmp(row->name, name, size) == 0) {
            return row;
        }
    }
    /* The last row is kept for all that have no room. */
    if (table->count >= STELE_FIGURES_NAMES_MAX - 1 && strcmp(name, "other") != 0) {
        return row_of(runner, table, "other", strlen("other"));
    }
    char *copy = stele_allocate(runner->alloc, size + 1);
    if (copy == NULL) {
        return NULL;
    }
    memcpy(copy, name, size);
    copy[size] = '\0';
    struct stele_figures_row *row = &table->rows[table->count++];
    *row = (struct stele_figures_row){.name = copy};
    table->index[at] = (uint32_t)table->count;
    return row;
}

static void add(struct stele_figures_row *row, uint64_t duration_ns)
{
    size_t bucket = 0;
    while (bucket < STELE_COUNT_OF(bounds_us) && duration_ns > bounds_us[bucket] * 1000ull) {
        bucket++;
    }
    row->buckets[bucket]++;
    row->total++;
    row->sum_ns += duration_ns;
}

void stele_figures__command(struct stele_runner *runner, const char *type, bool failed,
                            uint64_t duration_ns)
{
    struct stele_figures *figures = &runner->figures;
    (void)pthread_mutex_lock(&figures->lock);
    struct stele_figures_row *row = row_of(runner, &figures->commands, type, strlen(type));
    if (row != NULL) {
        add(row, duration_ns);
        row->errors += failed ? 1 : 0;
    }
    (void)pthread_mutex_unlock(&figures->lock);
}

void stele_figures__events(struct stele_runner *runner, const struct stele_emitted *events,
                           size_t count)
{
    struct stele_figures *figures = &runner->figures;
    (void)pthread_mutex_lock(&figures->lock);
    for (size_t i = 0; i < count; i++) {
        const char *type = events[i].draft.type;
        struct stele_figures_row *row = row_of(runner, &figures->events, type, strlen(type));
        if (row != NULL) {
            row->total++;
        }
    }
    (void)pthread_mutex_unlock(&figures->lock);
}

void stele_figures__append(struct stele_runner *runner, const char *stream, bool done,
                           uint64_t duration_ns)
{
    /* A label a stream would be one an aggregate: millions. The category says enough. */
    const char *dash = strchr(stream, '-');
    const size_t size = dash != NULL ? (size_t)(dash - stream) : strlen(stream);
    struct stele_figures *figures = &runner->figures;
    (void)pthread_mutex_lock(&figures->lock);
    struct stele_figures_row *row = row_of(runner, &figures->appends[done ? 1 : 0], stream, size);
    if (row != NULL) {
        add(row, duration_ns);
    }
    (void)pthread_mutex_unlock(&figures->lock);
}

/* ---- Text --------------------------------------------------------------------------------- */

static void write_head(struct stele_output *output, const char *name, const char *kind,
                       const char *help)
{
    (void)stele_output_printf(output, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, kind);
}

/* The opening of a sample with its label, escaped as the format has it. */
static void write_labels(struct stele_output *output, const char *name, const char *label,
                         const char *value)
{
    (void)stele_output_printf(output, "%s{%s=\"", name, label);
    for (; *value != '\0'; value++) {
        if (*value == '\n') {
            (void)stele_output_write(output, "\\n", 2);
            continue;
        }
        if (*value == '"' || *value == '\\') {
            (void)stele_output_write(output, "\\", 1);
        }
        (void)stele_output_write(output, value, 1);
    }
    (void)stele_output_write(output, "\"", 1);
}

static void write_counters(struct stele_output *output, const struct stele_figures_table *table,
                           const char *name, const char *label, bool errors)
{
    for (size_t i = 0; i < table->count; i++) {
        const struct stele_figures_row *row = &table->rows[i];
        write_labels(output, name, label, row->name);
        (void)stele_output_printf(output, "} %llu\n",
                                  (unsigned long long)(errors ? row->errors : row->total));
    }
}

/* unit: of the values, in microseconds. further: more labels, or "". */
static void write_histogram(struct stele_output *output, const struct stele_figures_table *table,
                            const char *name, const char *label, const char *further, double unit)
{
    char full[100];
    for (size_t i = 0; i < table->count; i++) {
        const struct stele_figures_row *row = &table->rows[i];
        uint64_t sum = 0;
        (void)snprintf(full, sizeof full, "%s_bucket", name);
        for (size_t bucket = 0; bucket < STELE_FIGURES_BUCKETS; bucket++) {
            sum += row->buckets[bucket];
            write_labels(output, full, label, row->name);
            if (bucket < STELE_COUNT_OF(bounds_us)) {
                (void)stele_output_printf(output, "%s,le=\"%g\"} %llu\n", further,
                                          bounds_us[bucket] / unit, (unsigned long long)sum);
            } else {
                (void)stele_output_printf(output, "%s,le=\"+Inf\"} %llu\n", further,
                                          (unsigned long long)sum);
            }
        }
        (void)snprintf(full, sizeof full, "%s_sum", name);
        write_labels(output, full, label, row->name);
        (void)stele_output_printf(output, "%s} %.9g\n", further,
                                  (double)row->sum_ns / 1000.0 / unit);
        (void)snprintf(full, sizeof full, "%s_count", name);
        write_labels(output, full, label, row->name);
        (void)stele_output_printf(output, "%s} %llu\n", further, (unsigned long long)row->total);
    }
}

static void write_tables(struct stele_output *output, const struct stele_figures *figures)
{
    write_head(output, "eventcore_commands_total", "counter", "Commands that ended, however.");
    write_counters(output, &figures->commands, "eventcore_commands_total", "command_type", false);
    write_head(output, "eventcore_command_errors_total", "counter",
               "Commands that ended with anything but success, rejections included.");
    write_counters(output, &figures->commands, "eventcore_command_errors_total", "command_type",
                   true);
    write_head(output, "eventcore_command_duration_seconds", "histogram",
               "From the call to its end.");
    write_histogram(output, &figures->commands, "eventcore_command_duration_seconds",
                    "command_type", "", 1000000.0);
    write_head(output, "eventcore_events_published_total", "counter", "Events appended.");
    write_counters(output, &figures->events, "eventcore_events_published_total", "event_type",
                   false);
    write_head(output, "eventstore_append_duration", "histogram",
               "Milliseconds of an append, by category of its first stream.");
    write_histogram(output, &figures->appends[1], "eventstore_append_duration", "stream",
                    ",success=\"true\"", 1000.0);
    write_histogram(output, &figures->appends[0], "eventstore_append_duration", "stream",
                    ",success=\"false\"", 1000.0);
    write_head(output, "eventstore_append_success_total", "counter", "Appends that were stored.");
    write_counters(output, &figures->appends[1], "eventstore_append_success_total", "stream",
                   false);
    write_head(output, "eventstore_append_failure_total", "counter", "Appends that were not.");
    write_counters(output, &figures->appends[0], "eventstore_append_failure_total", "stream",
                   false);
}

static void write_stats(struct stele_output *output, struct stele_runner *runner)
{
    struct stele_runner_stats stats;
    stele_runner_stats(runner, &stats);
    const struct {
        const char *name, *kind, *help;
        uint64_t value;
    } rows[] = {
        {"stele_command_conflicts_total", "counter", "Appends that were decided again.",
         stats.conflicts},
        {"stele_command_asked_again_total", "counter",
         "Appends with an unknown outcome, sent again.", stats.asked_again},
        {"stele_command_events_folded_total", "counter", "Events read and folded into states.",
         stats.events_folded},
        {"stele_snapshots_written_total", "counter", "Snapshots written.", stats.snapshots_written},
        {"stele_snapshots_used_total", "counter", "States that began from a snapshot.",
         stats.snapshots_used},
        {"stele_snapshots_unusable_total", "counter", "Snapshots of another version, or damaged.",
         stats.snapshots_unusable},
        {"stele_snapshots_failed_total", "counter", "Snapshots that could not be written.",
         stats.snapshots_failed},
        {"stele_command_states", "gauge", "States kept between commands.", stats.states_kept},
    };
    for (size_t i = 0; i < STELE_COUNT_OF(rows); i++) {
        write_head(output, rows[i].name, rows[i].kind, rows[i].help);
        (void)stele_output_printf(output, "%s %llu\n", rows[i].name,
                                  (unsigned long long)rows[i].value);
    }
}

int stele_runner_metrics(struct stele_runner *runner, char *buffer, size_t buffer_size,
                         size_t *out_size)
{
    if (runner == NULL || (buffer == NULL && buffer_size > 0) || out_size == NULL) {
        return STELE_E_INVALID;
    }
    struct stele_output output;
    stele_output_init(&output, runner->alloc);
    write_stats(&output, runner);
    (void)pthread_mutex_lock(&runner->figures.lock);
    write_tables(&output, &runner->figures);
    (void)pthread_mutex_unlock(&runner->figures.lock);
    const int outcome = output.failed;
    if (outcome == STELE_OK) {
        const size_t fits = output.buf.size < buffer_size ? output.buf.size : buffer_size;
        if (fits > 0) {
            memcpy(buffer, output.buf.data, fits);
        }
        *out_size = output.buf.size;
    }
    stele_output_deinit(&output);
    return outcome;
}
