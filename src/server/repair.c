/* A node whose store is damaged begins anew, under a new number: it is lost as far as the cluster is concerned,
 * and another one with the same name and address takes its place. That is what a number stands for (K8), and
 * why nothing here has to know what was damaged.
 *
 *     cluster/node says who it will be, and what is being set aside     (from here on it is not served)
 *     everything else goes into cluster/damaged-NUMBER
 *     cluster/node says who it will be
 *
 * Each step can be repeated, so one that was cut off is gone on with. */
#include "server/repair.h"

#include "cluster/meta.h"
#include "io/linux.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>

#define PATH_SIZE 4400
#define TABLE_SIZE_MAX (8 + STELE_META_SNAPSHOT_SIZE_MAX)

static void add_seed(struct stele_identity *identity, const char *address)
{
    if (identity->seeds_count < STELE_IDENTITY_SEEDS_MAX) {
        (void)snprintf(identity->seeds[identity->seeds_count++], sizeof identity->seeds[0], "%s",
                       address);
    }
}

/* The other nodes that it knew last. Without a table: whom it once joined through. */
static void find_seeds(const char *store_path, struct stele_identity *identity)
{
    struct stele_meta *meta = malloc(sizeof *meta);
    uint8_t *bytes = malloc(TABLE_SIZE_MAX);
    size_t size = 0;
    if (meta != NULL && bytes != NULL &&
        stele_identity_get(store_path, "table", bytes, TABLE_SIZE_MAX, &size, NULL) == STELE_OK &&
        size > 8 &&
        stele_meta_decode((struct stele_bytes){.data = bytes + 8, .size = size - 8}, meta) ==
            STELE_OK) {
        identity->seeds_count = 0;
        for (size_t i = 0; i < meta->nodes_count; i++) {
            if (meta->nodes[i].number != identity->number) {
                add_seed(identity, meta->nodes[i].cluster_address);
            }
        }
    }
    free(bytes);
    free(meta);
}

int stele_repair_plan(const char *store_path, const char *const *seeds, size_t seeds_count,
                      struct stele_identity *out_identity, struct stele_error *err)
{
    struct stele_identity identity;
    const int outcome = stele_identity_read(store_path, &identity, err);
    if (outcome != STELE_OK) {
        return outcome == STELE_NOT_FOUND
                   ? stele_fail(err, outcome, 0, "%.300s is the store of no node of a cluster",
                                store_path)
                   : outcome;
    }
    if (identity.repairs == 0 && identity.number == 0) {
        return stele_fail(err, STELE_E_INVALID, 0,
                          "node %s has not joined yet: there is nothing to repair", identity.name);
    }
    if (identity.repairs == 0) {
        find_seeds(store_path, &identity);
        identity.repairs = identity.number;
        identity.replaces = identity.number;
        identity.number = 0;
        identity.founder = false;
        identity.starts = 0;
        identity.past.count = 0;
        if (getrandom(identity.incarnation, sizeof identity.incarnation, 0) !=
            (ssize_t)sizeof identity.incarnation) {
            return stele_fail(err, STELE_E_IO, errno, "the system gives no random numbers");
        }
    }
    if (seeds_count > 0) {
        identity.seeds_count = 0;
    }
    for (size_t i = 0; i < seeds_count; i++) {
        add_seed(&identity, seeds[i]);
    }
    if (identity.seeds_count == 0) {
        return stele_fail(err, STELE_CONDITION_FAILED, 0,
                          "node %s knows no other node that it could get its events from; name one "
                          "with --seed HOST:PORT, if there is one",
                          identity.name);
    }
    *out_identity = identity;
    return STELE_OK;
}

/* ---- Setting aside ---- */

/* What errno says. */
static int fail_at(const char *path, const char *what, struct stele_error *err)
{
    const int failed = errno;
    char reason[128];
    return stele_fail(err, STELE_E_IO, failed, "%.300s %s: %s", path, what,
                      strerror_r(failed, reason, sizeof reason));
}

static int move_all(const char *from, const char *to, const char *const *stay, size_t stay_count,
                    struct stele_error *err)
{
    DIR *const directory = opendir(from);
    int outcome = STELE_OK;
    if (directory == NULL) {
        return fail_at(from, "cannot be opened", err);
    }
    const struct dirent *entry = NULL;
    while (outcome == STELE_OK && (entry = readdir(directory)) != NULL) {
        char old[PATH_SIZE + 256];
        char new[PATH_SIZE + 256];
        bool stays = strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0;
        for (size_t i = 0; i < stay_count; i++) {
            stays = stays || strncmp(entry->d_name, stay[i], strlen(stay[i])) == 0;
        }
        const bool fits =
            (size_t)snprintf(old, sizeof old, "%s/%s", from, entry->d_name) < sizeof old &&
            (size_t)snprintf(new, sizeof new, "%s/%s", to, entry->d_name) < sizeof new;
        errno = ENAMETOOLONG; /* Of a path that does not fit; rename() says why otherwise. */
        if (!stays && (!fits || rename(old, new) != 0)) {
            outcome = fail_at(old, "cannot be set aside", err);
        }
    }
    (void)closedir(directory);
    return outcome;
}

static int sync_directory(const char *path, struct stele_error *err)
{
    struct stele_io *io = NULL;
    int outcome = stele_linux_io_open(path, false, false, stele_linux_alloc(), &io, err);
    if (outcome == STELE_OK) {
        outcome = io->ops->sync_names(io, err);
        stele_linux_io_close(io);
    }
    return outcome;
}

static int make_directory(const char *path, struct stele_error *err)
{
    return mkdir(path, 0700) == 0 || errno == EEXIST ? STELE_OK
                                                     : fail_at(path, "cannot be made", err);
}

static int set_aside(const char *store_path, uint64_t number, struct stele_error *err)
{
    char cluster[PATH_SIZE];
    char aside[PATH_SIZE + 64];
    char inner[PATH_SIZE + 128];
    static const char *const keep_outer[] = {"cluster"};
    static const char *const keep_inner[] = {"node", "damaged-"};
    if (snprintf(cluster, sizeof cluster, "%s/cluster", store_path) >= 4096) {
        return stele_fail(err, STELE_E_INVALID, 0, "the path of the store is too long");
    }
    (void)snprintf(aside, sizeof aside, "%s/damaged-%llu", cluster, (unsigned long long)number);
    (void)snprintf(inner, sizeof inner, "%s/cluster", aside);
    int outcome = make_directory(aside, err);
    outcome = outcome == STELE_OK ? make_directory(inner, err) : outcome;
    outcome = outcome == STELE_OK ? move_all(store_path, aside, keep_outer, 1, err) : outcome;
    outcome = outcome == STELE_OK ? move_all(cluster, inner, keep_inner, 2, err) : outcome;
    outcome = outcome == STELE_OK ? sync_directory(inner, err) : outcome;
    outcome = outcome == STELE_OK ? sync_directory(aside, err) : outcome;
    outcome = outcome == STELE_OK ? sync_directory(cluster, err) : outcome;
    return outcome == STELE_OK ? sync_directory(store_path, err) : outcome;
}

int stele_repair(const char *store_path, const struct stele_identity *planned,
                 struct stele_error *err)
{
    struct stele_identity identity = *planned;
    struct stele_io *io = NULL;
    STELE_ASSERT(identity.repairs != 0);
    STELE_ASSERT(identity.number == 0);
    int outcome = stele_linux_io_open(store_path, false, false, stele_linux_alloc(), &io, err);
    if (outcome != STELE_OK) {
        return outcome;
    }
    /* Nobody serves it meanwhile. The lock is that of the file, wherever it is moved to; and who comes
     * later sees what has begun. */
    outcome = stele_linux_io_lock(io, err);
    outcome = outcome == STELE_OK ? stele_identity_write(store_path, &identity, err) : outcome;
    outcome = outcome == STELE_OK ? set_aside(store_path, identity.repairs, err) : outcome;
    identity.repairs = 0;
    outcome = outcome == STELE_OK ? stele_identity_write(store_path, &identity, err) : outcome;
    stele_linux_io_close(io);
    return outcome;
}
