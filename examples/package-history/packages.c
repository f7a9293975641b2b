#include "packages.h"

#include "version.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- States ------------------------------------------------------------------------------ */

static const char *const state_names[PACKAGE_STATES] = {
    [NOT_INSTALLED] = "not-installed",       [CONFIG_FILES] = "config-files",
    [HALF_INSTALLED] = "half-installed",     [UNPACKED] = "unpacked",
    [HALF_CONFIGURED] = "half-configured",   [TRIGGERS_AWAITED] = "triggers-awaited",
    [TRIGGERS_PENDING] = "triggers-pending", [INSTALLED] = "installed",
};

const char *state_name(enum package_state state)
{
    return state_names[state];
}

enum package_state state_named(const char *name)
{
    for (enum package_state state = NOT_INSTALLED; state < PACKAGE_STATES; state++) {
        if (strcmp(name, state_names[state]) == 0) {
            return state;
        }
    }
    return PACKAGE_STATES;
}

bool is_there(const struct package *package)
{
    return package->state >= UNPACKED;
}

/* ---- Packages ---------------------------------------------------------------------------- */

static void key_of(const char *name, const char *arch, struct text *out_key)
{
    text_addf(out_key, "%s:%s", name, arch);
}

static void set(char **field, const char *value)
{
    char *const copy = example_copy(value, strlen(value));
    free(*field);
    *field = copy;
}

static struct package *package_at(struct packages *packages, const char *name, const char *arch)
{
    struct text key = {0};
    key_of(name, arch, &key);
    struct map_entry *const entry = map_at(&packages->by_name, key.data, key.size);
    text_free(&key);
    if (entry->value == NULL) {
        struct package *const package = example_alloc(sizeof *package);
        *package = (struct package){.state = NOT_INSTALLED};
        set(&package->name, name);
        set(&package->arch, arch);
        set(&package->version, "");
        set(&package->settled, "");
        set(&package->doing, "");
        set(&package->from, "");
        set(&package->to, "");
        entry->value = package;
    }
    return entry->value;
}

const struct package *packages_find(const struct packages *packages, const char *name,
                                    const char *arch)
{
    struct text key = {0};
    key_of(name, arch, &key);
    const struct map_entry *const entry = map_find(&packages->by_name, key.data, key.size);
    text_free(&key);
    return entry == NULL ? NULL : entry->value;
}

static void package_free(void *value)
{
    struct package *const package = value;
    free(package->name);
    free(package->arch);
    free(package->version);
    free(package->settled);
    free(package->doing);
    free(package->from);
    free(package->to);
    free(package);
}

void packages_free(struct packages *packages)
{
    map_free(&packages->by_name, package_free);
    packages->unpacking = NULL;
}

/* ---- What happened ----------------------------------------------------------------------- */

static bool is(const char *a, const char *b)
{
    return strcmp(a, b) == 0;
}

struct name_of {
    const char *what;
    const char *type;
};

static const struct name_of announcements[] = {
    {"install", "InstallStarted"},     {"upgrade", "UpgradeStarted"},
    {"configure", "ConfigureStarted"}, {"trigproc", "TriggersStarted"},
    {"remove", "RemoveStarted"},       {"purge", "PurgeStarted"},
    {"disappear", "DisappearStarted"}, {"startup", "DpkgStarted"},
    {"found", "PackageFound"},         {"replaced", "PackageArchitectureChanged"},
    {"other", "LineNotUnderstood"},
};

static const struct name_of steps[] = {
    {"half-installed", "PackageHalfInstalled"},     {"unpacked", "PackageUnpacked"},
    {"half-configured", "PackageHalfConfigured"},   {"triggers-awaited", "PackageTriggersAwaited"},
    {"triggers-pending", "PackageTriggersPending"},
};

static const char *type_in(const struct name_of *names, size_t count, const char *what)
{
    for (size_t i = 0; i < count; i++) {
        if (is(names[i].what, what)) {
            return names[i].type;
        }
    }
    return NULL;
}

/* dpkg says "installed" at the end of very different things; what it had announced tells which. */
static const char *describe_installed(const struct package *package, const struct fact *fact)
{
    if (is(package->doing, "remove")) {
        return "PackageRemoveAborted";
    }
    const bool upgrade = is(package->doing, "upgrade");
    if (!upgrade && !is(package->doing, "install")) {
        return "PackageConfigured";
    }
    if (!is(fact->version, package->to)) {
        return "PackageUpgradeAborted";
    }
    if (!upgrade) {
        return "PackageInstalled";
    }
    const int order = version_compare(package->from, package->to);
    return order < 0 ? "PackageUpgraded" : order > 0 ? "PackageDowngraded" : "PackageReinstalled";
}

static const char *describe_status(const struct packages *packages, const struct fact *fact)
{
    static const struct package unknown = {.doing = NULL};
    const struct package *package = packages_find(packages, fact->package, fact->arch);
    if (package == NULL) {
        package = &unknown;
    }
    const char *const doing = package->doing == NULL ? "" : package->doing;
    switch (state_named(fact->state)) {
    case INSTALLED:
        return package == &unknown ? "PackageConfigured" : describe_installed(package, fact);
    case CONFIG_FILES:
        return is(doing, "install") ? "PackageInstallAborted" : "PackageRemoved";
    case NOT_INSTALLED:
        return is(doing, "install")     ? "PackageInstallAborted"
               : is(doing, "disappear") ? "PackageDisappeared"
                                        : "PackagePurged";
    case HALF_INSTALLED:
    case UNPACKED:
    case HALF_CONFIGURED:
    case TRIGGERS_AWAITED:
    case TRIGGERS_PENDING:
    case PACKAGE_STATES:
        break;
    }
    const char *const type = type_in(steps, sizeof steps / sizeof steps[0], fact->state);
    return type == NULL ? "LineNotUnderstood" : type;
}

const char *describe(const struct packages *packages, const struct fact *fact)
{
    if (is(fact->action, "status")) {
        return describe_status(packages, fact);
    }
    if (is(fact->action, "conffile")) {
        return is(fact->state, "keep") ? "ConffileKept" : "ConffileInstalled";
    }
    const char *const type =
        type_in(announcements, sizeof announcements / sizeof announcements[0], fact->action);
    return type == NULL ? "LineNotUnderstood" : type;
}

const char *version_before(const struct packages *packages, const struct fact *fact)
{
    const struct package *const package =
        is(fact->action, "status") ? packages_find(packages, fact->package, fact->arch) : NULL;
    if (package == NULL) {
        return fact->previous;
    }
    if (is(fact->state, "not-installed")) {
        return package->version;
    }
    const bool upgraded = is(fact->state, "installed") && is(package->doing, "upgrade") &&
                          is(fact->version, package->to);
    return upgraded ? package->from : "";
}

const struct package *replaced_by(const struct packages *packages, const struct fact *fact)
{
    const struct package *const old = packages->unpacking;
    const bool replaces = old != NULL && is(fact->action, "status") &&
                          is(fact->state, "unpacked") && is(fact->package, old->name) &&
                          !is(fact->arch, old->arch) && is(fact->version, old->to);
    return replaces ? old : NULL;
}

/* ---- What follows from it ---------------------------------------------------------------- */

static void end_what_was_announced(struct package *package)
{
    set(&package->doing, "");
    set(&package->from, "");
    set(&package->to, "");
}

static void evolve_announcement(struct package *package, const struct fact *fact)
{
    /* Configuring and triggers are steps on the way of an installation, not its end. */
    if (is(fact->action, "configure") || is(fact->action, "trigproc")) {
        return;
    }
    set(&package->doing, fact->action);
    set(&package->from, fact->previous);
    set(&package->to, fact->version);
}

static void evolve_status(struct packages *packages, struct package *package,
                          const struct fact *fact)
{
    const enum package_state state = state_named(fact->state);
    if (state == PACKAGE_STATES) {
        return;
    }
    package->state = state;
    set(&package->version, fact->version);
    if (packages->unpacking == package) {
        packages->unpacking = NULL;
    }
    if (state == HALF_INSTALLED && package->to[0] != '\0') {
        packages->unpacking = package;
    }
    if (state == INSTALLED) {
        set(&package->settled, fact->version);
        end_what_was_announced(package);
    } else if (state == NOT_INSTALLED) {
        set(&package->settled, "");
        end_what_was_announced(package);
    } else if (state == CONFIG_FILES && is(package->doing, "install")) {
        end_what_was_announced(package);
    }
}

/* A package goes on under another architecture: what was announced for the old one is now true of
 * the new one. */
static void evolve_replaced(struct packages *packages, const struct fact *fact)
{
    struct package *const old = package_at(packages, fact->package, fact->arch);
    struct package *const young = package_at(packages, fact->package, fact->becomes);
    set(&young->doing, old->doing);
    set(&young->from, old->from);
    set(&young->to, old->to);
    set(&young->settled, old->settled);
    old->state = NOT_INSTALLED;
    old->events++;
    old->time_us = fact->time_us;
    set(&old->version, "");
    set(&old->settled, "");
    end_what_was_announced(old);
    packages->unpacking = NULL;
}

void evolve(struct packages *packages, const struct fact *fact)
{
    if (is(fact->action, "startup") || is(fact->action, "conffile") || is(fact->action, "other")) {
        return;
    }
    if (is(fact->action, "replaced")) {
        evolve_replaced(packages, fact);
        return;
    }
    struct package *const package = package_at(packages, fact->package, fact->arch);
    package->events++;
    package->time_us = fact->time_us;
    if (fact->line[0] != '\0') {
        package->in_log = true;
    }
    if (is(fact->action, "status")) {
        evolve_status(packages, package, fact);
    } else if (is(fact->action, "found")) {
        const enum package_state state = state_named(fact->state);
        package->state = state == PACKAGE_STATES ? NOT_INSTALLED : state;
        set(&package->version, fact->version);
        set(&package->settled, package->state == INSTALLED ? fact->version : "");
    } else {
        evolve_announcement(package, fact);
    }
}

/* ---- Events ------------------------------------------------------------------------------ */

static void add_member(struct text *json, const char *name, const char *value)
{
    if (value[0] != '\0') {
        text_addf(json, "%s\"%s\":", json->size == 1 ? "" : ",", name);
        text_add_json(json, value, strlen(value));
    }
}

void fact_to_json(const struct fact *fact, struct text *out_json)
{
    text_clear(out_json);
    text_add(out_json, "{", 1);
    add_member(out_json, "action", fact->action);
    add_member(out_json, "package", fact->package);
    add_member(out_json, "arch", fact->arch);
    add_member(out_json, "state", fact->state);
    add_member(out_json, "version", fact->version);
    add_member(out_json, "previous", fact->previous);
    add_member(out_json, "becomes", fact->becomes);
    add_member(out_json, "line", fact->line);
    text_add(out_json, "}", 1);
}

static const char *member(const json_t *object, const char *name)
{
    const char *const value = json_string_value(json_object_get(object, name));
    return value == NULL ? "" : value;
}

struct each {
    fact_callback on_fact;
    void *context;
};

static int on_event(void *context, const struct stele_event *event)
{
    const struct each *const each = context;
    json_error_t error;
    json_t *const data = json_loadb(event->data, event->data_size, 0, &error);
    const struct fact fact = {.action = member(data, "action"),
                              .package = member(data, "package"),
                              .arch = member(data, "arch"),
                              .state = member(data, "state"),
                              .version = member(data, "version"),
                              .previous = member(data, "previous"),
                              .becomes = member(data, "becomes"),
                              .line = member(data, "line"),
                              .time_us = event->created_us};
    if (fact.action[0] != '\0') {
        each->on_fact(each->context, event, &fact);
    }
    json_decref(data);
    return 0;
}

void each_fact(struct stele *store, const char *stream, const struct stele_read_options *options,
               fact_callback on_fact, void *context)
{
    struct each each = {on_fact, context};
    example_each(store, stream, options, on_event, &each);
}
