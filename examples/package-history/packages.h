/* What happened to packages, and what follows from it: the domain of this example.
 *
 * A fact is what one event says. describe() gives it the name of what happened, which depends on
 * what happened before; evolve() makes the next state of all packages from it. The import uses
 * both; every answer is evolve() over the events that the question is about. */
#ifndef PACKAGE_HISTORY_PACKAGES_H
#define PACKAGE_HISTORY_PACKAGES_H

#include "../common/example.h"

#include <stdbool.h>
#include <stdint.h>

/* As in dpkg(1), "Package states", from less to more. */
enum package_state {
    NOT_INSTALLED,
    CONFIG_FILES,
    HALF_INSTALLED,
    UNPACKED,
    HALF_CONFIGURED,
    TRIGGERS_AWAITED,
    TRIGGERS_PENDING,
    INSTALLED,
    PACKAGE_STATES,
};

const char *state_name(enum package_state state);
/* PACKAGE_STATES if it is none. */
enum package_state state_named(const char *name);

/* What one event says. All text is borrowed, "" where there is nothing. */
struct fact {
    /* "status", "found" and "replaced" change the state of a package; an action of dpkg's log
     * ("install", "upgrade", …) only announces; the rest ("startup", "conffile", "other") is
     * about no package. */
    const char *action;
    const char *package;
    const char *arch;
    const char *state;
    const char *version;
    const char *previous; /* The version before. */
    const char *becomes;  /* Of "replaced": the architecture that the package goes on under. */
    const char *line;     /* Of the log. */
    int64_t time_us;
};

struct package {
    char *name;
    char *arch;
    enum package_state state;
    char *version;   /* "" when not installed. */
    char *settled;   /* The version that was last installed for good, "" if none. */
    uint64_t events; /* How many facts there were about it. */
    int64_t time_us; /* Of the last fact. */
    bool in_log;     /* A line of the log speaks of it. */
    /* What dpkg has announced and not yet brought to an end, "" when nothing. */
    char *doing;
    char *from;
    char *to;
};

struct packages {
    struct map by_name;        /* "name:arch" to struct package. */
    struct package *unpacking; /* dpkg unpacks one package at a time. */
};

/* NULL if nothing is known of it. */
const struct package *packages_find(const struct packages *packages, const char *name,
                                    const char *arch);

/* The type of the event for a fact: "PackageUpgraded". Constant text. */
const char *describe(const struct packages *packages, const struct fact *fact);

/* The version that a package had before this fact changed it, "" if it does not or had none. */
const char *version_before(const struct packages *packages, const struct fact *fact);

/* The package that disappears because this fact brings it back under another architecture, or
 * NULL. It needs an event of its own ("replaced"), before the one of the fact. */
const struct package *replaced_by(const struct packages *packages, const struct fact *fact);

void evolve(struct packages *packages, const struct fact *fact);

void packages_free(struct packages *packages);

/* Is it there to be used, or at least half? */
bool is_there(const struct package *package);

/* A fact as the data of an event, and back. */
void fact_to_json(const struct fact *fact, struct text *out_json);

/* Calls on_fact for every event that says a fact, in the order of the store. */
typedef void (*fact_callback)(void *context, const struct stele_event *event,
                              const struct fact *fact);
void each_fact(struct stele *store, const char *stream, const struct stele_read_options *options,
               fact_callback on_fact, void *context);

#endif
