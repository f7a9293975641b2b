#include "check.h"

#include "../common/example.h"
#include "dpkg_status.h"
#include "packages.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct checker {
    struct packages packages;
    struct map actual; /* "name:arch" to struct dpkg_package. */
    int64_t log_begins_us;
    int64_t log_ends_us;
    uint64_t in_log;
    uint64_t equal;
    uint64_t equal_and_gone; /* Of those: not installed any more. */
    uint64_t different;
    uint64_t not_in_log;
    uint64_t not_in_log_old; /* Of those: unpacked before the log begins. */
};

static void on_fact(void *context, const struct stele_event *event, const struct fact *fact)
{
    struct checker *const checker = context;
    (void)event;
    if (fact->line[0] != '\0' && strcmp(fact->action, "found") != 0) {
        checker->log_begins_us =
            checker->log_begins_us == 0 ? fact->time_us : checker->log_begins_us;
        checker->log_ends_us = fact->time_us;
    }
    evolve(&checker->packages, fact);
}

/* A name without architecture stands for the package of that name, as long as no line names it with
 * its architecture. Such names are in logs from before dpkg 1.16.2, and in every log that
 * debootstrap began: it unpacks dpkg by hand and notes it without an architecture, until dpkg
 * installs itself properly. */
static const struct dpkg_package *find_actual(const struct checker *checker,
                                              const struct package *package)
{
    struct text key = {0};
    text_addf(&key, "%s:%s", package->name, package->arch);
    const struct map_entry *const entry = map_find(&checker->actual, key.data, key.size);
    text_free(&key);
    if (entry != NULL) {
        return entry->value;
    }
    for (size_t i = 0; package->arch[0] == '\0' && i < checker->actual.count; i++) {
        const struct dpkg_package *const other = checker->actual.entries[i]->value;
        if (strcmp(other->name, package->name) == 0) {
            const struct package *const named =
                packages_find(&checker->packages, other->name, other->arch);
            return named != NULL && named->in_log ? NULL : other;
        }
    }
    return NULL;
}

/* Somebody changed the package without a line in this log. Which of the ways it was can be told
 * from when dpkg last wrote the list of the package's files, and whether there is one. */
static void explain(const struct package *package, const struct dpkg_package *actual)
{
    char time[32];
    char last[32];
    (void)when(package->time_us, last);
    if (actual == NULL) {
        (void)printf("             dpkg does not know it any more: it was removed after %s by a "
                     "dpkg that wrote\n             no line here (another --log), or its files "
                     "were taken from a copy without it\n",
                     last);
        return;
    }
    if (actual->changed_us == 0) {
        (void)printf("             there is no list of its files to tell when it changed; the "
                     "last line is of %s\n",
                     last);
    } else if (actual->changed_us / 1000000 > package->time_us / 1000000) {
        (void)printf("             unpacked at %s, after its last line (%s), by a dpkg that\n"
                     "             wrote no line here: another --log, or an image put together "
                     "of layers\n",
                     when(actual->changed_us, time), last);
    } else {
        (void)printf("             unpacked at %s, before its last line (%s): the database\n"
                     "             of dpkg is older than the log, as after restoring a backup\n",
                     when(actual->changed_us, time), last);
    }
}

static void compare(struct checker *checker, const struct package *package)
{
    const struct dpkg_package *const actual = find_actual(checker, package);
    checker->in_log++;
    const char *const actual_state = actual == NULL ? "not-installed" : actual->state;
    const char *const actual_version =
        actual == NULL || strcmp(actual_state, "not-installed") == 0 ? "" : actual->version;
    if (strcmp(state_name(package->state), actual_state) == 0 &&
        strcmp(package->version, actual_version) == 0) {
        checker->equal++;
        checker->equal_and_gone += package->state == NOT_INSTALLED ? 1 : 0;
        return;
    }
    checker->different++;
    const struct paint *const p = paint();
    (void)printf("  %sdifferent%s  %s%s%s: the log says %s %s, dpkg says %s %s\n", p->red, p->off,
                 package->name, package->arch[0] == '\0' ? "" : ":", package->arch,
                 state_name(package->state), package->version, actual_state, actual_version);
    explain(package, actual);
}

static void index_actual(struct checker *checker, const struct dpkg_status *status)
{
    for (size_t i = 0; i < status->count; i++) {
        struct text key = {0};
        text_addf(&key, "%s:%s", status->packages[i].name, status->packages[i].arch);
        map_at(&checker->actual, key.data, key.size)->value = &status->packages[i];
        text_free(&key);
    }
}

static void count_not_in_log(struct checker *checker, const struct dpkg_status *status)
{
    for (size_t i = 0; i < status->count; i++) {
        const struct dpkg_package *const actual = &status->packages[i];
        const struct package *package =
            packages_find(&checker->packages, actual->name, actual->arch);
        if (package == NULL || !package->in_log) {
            package = packages_find(&checker->packages, actual->name, "");
        }
        if (package == NULL || !package->in_log) {
            checker->not_in_log++;
            checker->not_in_log_old += actual->changed_us < checker->log_begins_us ? 1 : 0;
        }
    }
}

static void tell(const struct checker *checker)
{
    const struct paint *const p = paint();
    char a[32];
    char b[32];
    (void)printf("  %s%s of %s packages in the log are as dpkg says%s",
                 checker->different == 0 ? p->green : p->red, number(checker->equal, a),
                 number(checker->in_log, b), p->off);
    if (checker->equal_and_gone > 0) {
        (void)printf(", %s of them removed", number(checker->equal_and_gone, a));
    }
    (void)printf("; %s%s differ%s\n", checker->different == 0 ? p->green : p->red,
                 number(checker->different, a), p->off);
    if (checker->not_in_log == 0) {
        return;
    }
    (void)printf("  %s packages are not in the log, so there is nothing to compare",
                 number(checker->not_in_log, a));
    if (checker->log_begins_us != 0) {
        (void)printf(":\n  %s were unpacked before it begins (%s)",
                     number(checker->not_in_log_old, a), when(checker->log_begins_us, b));
        if (checker->not_in_log_old < checker->not_in_log) {
            (void)printf(", %s later by a dpkg that wrote no line here",
                         number(checker->not_in_log - checker->not_in_log_old, a));
        }
    }
    (void)printf("\n");
}

bool check(const char *store_path, const char *admin_directory, const char *against)
{
    struct checker checker = {0};
    struct dpkg_status status = {0};
    if (against != NULL) {
        dpkg_status_read(&status, against);
    } else {
        dpkg_status_query(&status, admin_directory);
    }
    struct stele *const store = example_open(store_path);
    each_fact(store, NULL, NULL, on_fact, &checker);
    (void)stele_close(store);

    index_actual(&checker, &status);
    for (size_t i = 0; i < checker.packages.by_name.count; i++) {
        const struct package *const package = checker.packages.by_name.entries[i]->value;
        if (package->in_log) {
            compare(&checker, package);
        }
    }
    count_not_in_log(&checker, &status);
    tell(&checker);

    const bool equal = checker.different == 0;
    map_free(&checker.actual, NULL);
    packages_free(&checker.packages);
    dpkg_status_free(&status);
    return equal;
}
