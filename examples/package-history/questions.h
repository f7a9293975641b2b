/* What can be asked. Every answer is made by replaying events. */
#ifndef PACKAGE_HISTORY_QUESTIONS_H
#define PACKAGE_HISTORY_QUESTIONS_H

#include <stddef.h>
#include <stdint.h>

/* Which part of the history: up to a time, up to a position of the store, or all of it. */
struct up_to {
    int64_t time_us;   /* INT64_MAX: no bound. */
    uint64_t position; /* 0: no bound. */
    const char *words; /* As the user said it, NULL: "now". */
};

/* Packages that were installed then. pattern: only names that contain it, NULL for all; brief: only
 * how many. */
void ask_installed(const char *store_path, const struct up_to *up_to, const char *pattern,
                   int brief);

/* What happened to one package, "NAME" or "NAME:ARCH". all: also the small steps. */
void ask_history(const char *store_path, const char *package, int all);

/* When dpkg was at work, in sessions: work without a pause of ten minutes. */
void ask_sessions(const char *store_path, size_t limit);

/* What was installed, upgraded, removed between two times; or in the last session. */
void ask_changes(const char *store_path, const struct up_to *after, const struct up_to *up_to,
                 int brief);

/* The packages that got the most new versions. */
void ask_busiest(const char *store_path, size_t limit);

#endif
