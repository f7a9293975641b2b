#include "server/identity.h"

#include "base/hex.h"
#include "io/linux.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define VERSION 1 /* Of the file. */
#define PATH_SIZE 4096
#define FILE_SIZE_MAX 65536

static bool path_of(const char *store_path, const char *name, char path[PATH_SIZE])
{
    const int size = snprintf(path, PATH_SIZE, "%s/%s", store_path, name);
    return size > 0 && size < PATH_SIZE;
}

/* ---- Reading ---- */

static bool get_text(const json_t *from, const char *key, char *to, size_t size)
{
    const char *text = json_string_value(json_object_get(from, key));
    if (text == NULL || strlen(text) >= size) {
        return false;
    }
    (void)snprintf(to, size, "%s", text);
    return true;
}

static bool get_number(const json_t *from, const char *key, uint64_t max, uint64_t *to)
{
    const json_t *number = json_object_get(from, key);
    if (!json_is_integer(number) || json_integer_value(number) < 0 ||
        (uint64_t)json_integer_value(number) > max) {
        return false;
    }
    *to = (uint64_t)json_integer_value(number);
    return true;
}

/* Older files have none: then nothing is known of earlier starts. */
static bool get_past(const json_t *from, struct stele_meta_past *to)
{
    const json_t *list = json_object_get(from, "past");
    if (list == NULL) {
        return true;
    }
    if (!json_is_array(list) || json_array_size(list) > STELE_META_PAST_MAX) {
        return false;
    }
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *one = json_array_get(list, i);
        const json_int_t starts = json_integer_value(json_object_get(one, "starts"));
        const json_int_t boot = json_integer_value(json_object_get(one, "boot"));
        const uint64_t before = to->count == 0 ? 0 : to->starts[to->count - 1].starts;
        if (starts <= 0 || boot <= 0 || (uint64_t)starts <= before) {
            return false;
        }
        (void)stele_meta_past_add(to, (uint64_t)starts, (uint64_t)boot);
    }
    return true;
}

static bool parse(const json_t *from, struct stele_identity *to)
{
    char cluster[33];
    char incarnation[33];
    uint64_t partitions = 0;
    uint64_t key = 0;
    *to = (struct stele_identity){.number = 0};
    const json_t *seeds = json_object_get(from, "seeds");
    const bool good =
        get_text(from, "cluster", cluster, sizeof cluster) &&
        stele_hex_decode(stele_bytes_of_text(cluster), to->cluster_id, 16) &&
        get_text(from, "incarnation", incarnation, sizeof incarnation) &&
        stele_hex_decode(stele_bytes_of_text(incarnation), to->incarnation, 16) &&
        get_number(from, "number", INT64_MAX, &to->number) &&
        get_text(from, "name", to->name, sizeof to->name) &&
        get_text(from, "zone", to->zone, sizeof to->zone) &&
        get_text(from, "address", to->address, sizeof to->address) &&
        get_text(from, "client-address", to->client_address, sizeof to->client_address) &&
        get_number(from, "replaces", INT64_MAX, &to->replaces) &&
        get_number(from, "partitions", 1024, &partitions) &&
        get_number(from, "partition-key", 1, &key) &&
        get_number(from, "starts", INT64_MAX, &to->starts) && json_is_array(seeds) &&
        json_array_size(seeds) <= STELE_IDENTITY_SEEDS_MAX;
    if (!good) {
        return false;
    }
    uint64_t factor = 0; /* Older files have none. */
    (void)get_number(from, "replication-factor", 7, &factor);
    to->replication_factor = (uint32_t)factor;
    to->founder = json_is_true(json_object_get(from, "founder"));
    /* Older ones have no such thing. */
    if (json_object_get(from, "repairs") != NULL &&
        !get_number(from, "repairs", INT64_MAX, &to->repairs)) {
        return false;
    }
    if (!get_past(from, &to->past)) {
        return false;
    }
    to->partitions = (uint32_t)partitions;
    to->partition_key = (uint32_t)key;
    for (size_t i = 0; i < json_array_size(seeds); i++) {
        const char *seed = json_string_value(json_array_get(seeds, i));
        if (seed == NULL || strlen(seed) >= sizeof to->seeds[0]) {
            return false;
        }
        (void)snprintf(to->seeds[to->seeds_count++], sizeof to->seeds[0], "%s", seed);
    }
    return true;
}

int stele_identity_read(const char *store_path, struct stele_identity *out_identity,
                        struct stele_error *err)
{
    size_t size = 0;
    char *text = malloc(FILE_SIZE_MAX);
    if (text == NULL) {
        return stele_fail(err, STELE_E_NO_MEMORY, 0, "no memory");
    }
    const int outcome = stele_identity_get(store_path, "node", text, FILE_SIZE_MAX, &size, err);
    json_t *json = outcome == STELE_OK ? json_loadb(text, size, 0, NULL) : NULL;
    free(text);
    uint64_t version = 0;
    const bool told = json != NULL && get_number(json, "version", INT64_MAX, &version);
    const bool good = told && version == VERSION && parse(json, out_identity);
    json_decref(json);
    if (outcome != STELE_OK) {
        return outcome;
    }
    if (told && version != VERSION) {
        return stele_fail(err, STELE_E_FORMAT, 0,
                          "%.300s/cluster/node has version %" PRIu64 ", this software knows "
                          "version %d: run the version of the software that this node ran last",
                          store_path, version, VERSION);
    }
    return good ? STELE_OK
                : stele_fail(err, STELE_E_CORRUPT, 0,
                             "%.300s/cluster/node does not say who this node is; take the node "
                             "out of the cluster, and let a new store join in its place",
                             store_path);
}

/* ---- Writing ---- */

static json_t *render_past(const struct stele_meta_past *past)
{
    json_t *list = json_array();
    for (size_t i = 0; i < past->count; i++) {
        (void)json_array_append_new(list, json_pack("{s:I, s:I}", "starts",
                                                    (json_int_t)past->starts[i].starts, "boot",
                                                    (json_int_t)past->starts[i].boot));
    }
    return list;
}

static json_t *render(const struct stele_identity *identity)
{
    char cluster[33];
    char incarnation[33];
    stele_hex_encode(identity->cluster_id, 16, cluster);
    stele_hex_encode(identity->incarnation, 16, incarnation);
    json_t *seeds = json_array();
    for (size_t i = 0; i < identity->seeds_count; i++) {
        (void)json_array_append_new(seeds, json_string(identity->seeds[i]));
    }
    json_t *json = json_pack(
        "{s:i, s:s, s:s, s:I, s:b, s:s, s:s, s:s, s:s, s:o, s:I, s:i, s:i, s:I, s:i}", "version",
        VERSION, "cluster", cluster, "incarnation", incarnation, "number",
        (json_int_t)identity->number, "founder", (int)identity->founder, "name", identity->name,
        "zone", identity->zone, "address", identity->address, "client-address",
        identity->client_address, "seeds", seeds, "replaces", (json_int_t)identity->replaces,
        "partitions", (int)identity->partitions, "partition-key", (int)identity->partition_key,
        "starts", (json_int_t)identity->starts, "replication-factor",
        (int)identity->replication_factor);
    if (json != NULL) {
        (void)json_object_set_new(json, "past", render_past(&identity->past));
    }
    if (json != NULL && identity->repairs != 0) {
        (void)json_object_set_new(json, "repairs", json_integer((json_int_t)identity->repairs));
    }
    return json;
}

static int open_directory(const char *store_path, bool create, struct stele_io **out_io,
                          struct stele_error *err)
{
    char path[PATH_SIZE];
    if (!path_of(store_path, "cluster", path)) {
        return stele_fail(err, STELE_E_INVALID, 0, "the path of the store is too long");
    }
    return stele_linux_io_open(path, create, !create, stele_linux_alloc(), out_io, err);
}

static int replace(struct stele_io *io, const char *name, const char *temporary,
                   struct stele_bytes bytes, struct stele_error *err)
{
    struct stele_file *file = NULL;
    int outcome = io->ops->create(io, temporary, bytes.size, false, &file, err);
    if (outcome == STELE_OK) {
        outcome = io->ops->write(file, 0, bytes, err);
        outcome = outcome == STELE_OK ? io->ops->sync(file, err) : outcome;
        io->ops->close(file);
    }
    outcome = outcome == STELE_OK ? io->ops->rename(io, temporary, name, err) : outcome;
    return outcome == STELE_OK ? io->ops->sync_names(io, err) : outcome;
}

int stele_identity_put(const char *store_path, const char *name, const void *data, size_t size,
                       struct stele_error *err)
{
    char temporary[STELE_FILE_NAME_MAX];
    struct stele_io *io = NULL;
    STELE_ASSERT(size > 0);
    const int outcome = open_directory(store_path, true, &io, err);
    if (outcome != STELE_OK) {
        return outcome;
    }
    (void)snprintf(temporary, sizeof temporary, "%s.tmp", name);
    const struct stele_bytes bytes = {.data = data, .size = size};
    const int replaced = replace(io, name, temporary, bytes, err);
    stele_linux_io_close(io);
    return replaced;
}

static int read_whole(struct stele_io *io, const char *name, void *data, size_t size_max,
                      size_t *out_size, struct stele_error *err)
{
    struct stele_file *file = NULL;
    uint64_t size = 0;
    int outcome = io->ops->open(io, name, false, &file, err);
    if (outcome != STELE_OK) {
        return outcome;
    }
    outcome = io->ops->size(file, &size, err);
    if (outcome == STELE_OK && size > size_max) {
        outcome =
            stele_fail(err, STELE_E_CORRUPT, 0, "cluster/%s has %llu bytes, at most %zu are right",
                       name, (unsigned long long)size, size_max);
    }
    if (outcome == STELE_OK) {
        outcome = io->ops->read(file, 0, data, (size_t)size, false, out_size, err);
    }
    io->ops->close(file);
    return outcome;
}

int stele_identity_get(const char *store_path, const char *name, void *data, size_t size_max,
                       size_t *out_size, struct stele_error *err)
{
    struct stele_io *io = NULL;
    int outcome = open_directory(store_path, false, &io, err);
    if (outcome == STELE_E_NOT_A_STORE) {
        return STELE_NOT_FOUND; /* Some file that is called so: no node's, whatever else it is. */
    }
    if (outcome == STELE_OK) {
        outcome = read_whole(io, name, data, size_max, out_size, err);
        stele_linux_io_close(io);
    }
    return outcome;
}

int stele_identity_write(const char *store_path, const struct stele_identity *identity,
                         struct stele_error *err)
{
    json_t *json = render(identity);
    char *text = json == NULL ? NULL : json_dumps(json, JSON_INDENT(2));
    json_decref(json);
    if (text == NULL) {
        return stele_fail(err, STELE_E_NO_MEMORY, 0, "no memory");
    }
    const int outcome = stele_identity_put(store_path, "node", text, strlen(text), err);
    free(text);
    return outcome;
}
