#include "server/identity.h"

#include "io/linux.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define PATH_SIZE 4096
#define FILE_SIZE_MAX 65536

void stele_identity_hex(const uint8_t id[16], char text[33])
{
    static const char digits[] = "0123456789abcdef";
    for (size_t i = 0; i < 16; i++) {
        text[2 * i] = digits[id[i] >> 4];
        text[2 * i + 1] = digits[id[i] & 15];
    }
    text[32] = 0;
}

static int digit_of(char c)
{
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

bool stele_identity_unhex(const char *text, uint8_t id[16])
{
    if (text == NULL || strlen(text) != 32) {
        return false;
    }
    for (size_t i = 0; i < 16; i++) {
        const int high = digit_of(text[2 * i]);
        const int low = digit_of(text[2 * i + 1]);
        if (high < 0 || low < 0) {
            return false;
        }
        id[i] = (uint8_t)(high << 4 | low);
    }
    return true;
}

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

static bool parse(const json_t *from, struct stele_identity *to)
{
    char cluster[33];
    char incarnation[33];
    uint64_t version = 0;
    uint64_t partitions = 0;
    uint64_t key = 0;
    *to = (struct stele_identity){.number = 0};
    const json_t *seeds = json_object_get(from, "seeds");
    const bool good =
        get_number(from, "version", 1, &version) && version == 1 &&
        get_text(from, "cluster", cluster, sizeof cluster) &&
        stele_identity_unhex(cluster, to->cluster_id) &&
        get_text(from, "incarnation", incarnation, sizeof incarnation) &&
        stele_identity_unhex(incarnation, to->incarnation) &&
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
    to->founder = json_is_true(json_object_get(from, "founder"));
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
    const bool good = json != NULL && parse(json, out_identity);
    json_decref(json);
    if (outcome != STELE_OK) {
        return outcome;
    }
    return good ? STELE_OK
                : stele_fail(err, STELE_E_CORRUPT, 0,
                             "%.300s/cluster/node does not say who this node is; take the node "
                             "out of the cluster, and let a new store join in its place",
                             store_path);
}

/* ---- Writing ---- */

static json_t *render(const struct stele_identity *identity)
{
    char cluster[33];
    char incarnation[33];
    stele_identity_hex(identity->cluster_id, cluster);
    stele_identity_hex(identity->incarnation, incarnation);
    json_t *seeds = json_array();
    for (size_t i = 0; i < identity->seeds_count; i++) {
        (void)json_array_append_new(seeds, json_string(identity->seeds[i]));
    }
    return json_pack(
        "{s:i, s:s, s:s, s:I, s:b, s:s, s:s, s:s, s:s, s:o, s:I, s:i, s:i, s:I}", "version", 1,
        "cluster", cluster, "incarnation", incarnation, "number", (json_int_t)identity->number,
        "founder", (int)identity->founder, "name", identity->name, "zone", identity->zone,
        "address", identity->address, "client-address", identity->client_address, "seeds", seeds,
        "replaces", (json_int_t)identity->replaces, "partitions", (int)identity->partitions,
        "partition-key", (int)identity->partition_key, "starts", (json_int_t)identity->starts);
}

static int sync_directory(const char *path, struct stele_error *err)
{
    const int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    const bool good = fd >= 0 && fsync(fd) == 0;
    const int failed = errno;
    if (fd >= 0) {
        (void)close(fd);
    }
    return good ? STELE_OK
                : stele_fail(err, STELE_E_IO, failed, "%.300s: cannot be made durable", path);
}

static int make_directory(const char *path, struct stele_error *err)
{
    if (mkdir(path, 0700) != 0 && errno != EEXIST) {
        return stele_fail(err, errno == EACCES ? STELE_E_PERMISSION : STELE_E_IO, errno,
                          "%.300s: cannot be made", path);
    }
    return STELE_OK;
}

static int write_file(const char *path, const void *data, size_t size, struct stele_error *err)
{
    const int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    const bool good = fd >= 0 && write(fd, data, size) == (ssize_t)size && fsync(fd) == 0;
    const int failed = errno;
    if (fd >= 0) {
        (void)close(fd);
    }
    return good ? STELE_OK
                : stele_fail(err, failed == ENOSPC ? STELE_E_NO_SPACE : STELE_E_IO, failed,
                             "%.300s: cannot be written", path);
}

int stele_identity_put(const char *store_path, const char *name, const void *data, size_t size,
                       struct stele_error *err)
{
    char directory[PATH_SIZE];
    char path[PATH_SIZE + 16];
    char temporary[PATH_SIZE + 16];
    if (!path_of(store_path, "cluster", directory) || strlen(name) > 8) {
        return stele_fail(err, STELE_E_INVALID, 0, "the path of the store is too long");
    }
    (void)snprintf(path, sizeof path, "%s/%s", directory, name);
    (void)snprintf(temporary, sizeof temporary, "%s/%s.tmp", directory, name);
    int outcome = make_directory(store_path, err);
    outcome = outcome == STELE_OK ? make_directory(directory, err) : outcome;
    outcome = outcome == STELE_OK ? write_file(temporary, data, size, err) : outcome;
    if (outcome == STELE_OK && rename(temporary, path) != 0) {
        outcome = stele_fail(err, STELE_E_IO, errno, "%.300s: cannot be replaced", path);
    }
    outcome = outcome == STELE_OK ? sync_directory(directory, err) : outcome;
    return outcome == STELE_OK ? sync_directory(store_path, err) : outcome;
}

int stele_identity_get(const char *store_path, const char *name, void *data, size_t size_max,
                       size_t *out_size, struct stele_error *err)
{
    char directory[PATH_SIZE];
    char path[PATH_SIZE + 16];
    if (!path_of(store_path, "cluster", directory) || strlen(name) > 8) {
        return stele_fail(err, STELE_E_INVALID, 0, "the path of the store is too long");
    }
    (void)snprintf(path, sizeof path, "%s/%s", directory, name);
    FILE *file = fopen(path, "rbe");
    if (file == NULL) {
        return errno == ENOENT || errno == ENOTDIR
                   ? STELE_NOT_FOUND
                   : stele_fail(err, STELE_E_IO, errno, "%.300s cannot be opened", path);
    }
    *out_size = fread(data, 1, size_max, file);
    const bool good = ferror(file) == 0;
    const bool whole = fgetc(file) == EOF;
    (void)fclose(file);
    if (!good) {
        return stele_fail(err, STELE_E_IO, EIO, "%.300s cannot be read", path);
    }
    return whole ? STELE_OK
                 : stele_fail(err, STELE_E_CORRUPT, 0, "%.300s is larger than it can be", path);
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
