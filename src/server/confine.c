/* Which files this server's configuration makes it need: see sandbox.h for what happens to others. */
#include "server/sandbox.h"
#include "server/server_internal.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#define PATHS_MAX 40

struct places {
    char texts[PATHS_MAX][PATH_MAX];
    const char *paths[PATHS_MAX];
    size_t count;
};

static void add_text(struct places *places, const char *path, size_t size)
{
    if (places->count == PATHS_MAX || size >= PATH_MAX) {
        return;
    }
    char *const text = places->texts[places->count];
    memcpy(text, path, size);
    text[size] = '\0';
    places->paths[places->count++] = text;
}

static void add_parent(struct places *places, const char *path)
{
    const char *const slash = strrchr(path, '/');
    if (slash == NULL) {
        add_text(places, ".", 1);
    } else {
        add_text(places, path, slash == path ? 1 : (size_t)(slash - path));
    }
}

/* The directory, because whoever renews a certificate puts a new file into it; and where a link
 * leads, because that may be another one. */
static void add_file(struct places *places, const char *path)
{
    char real[PATH_MAX];
    if (path == NULL) {
        return;
    }
    add_parent(places, path);
    if (realpath(path, real) != NULL) {
        add_parent(places, real);
    }
}

/* The rules name what is there, so a store that is to be made needs its directory now. What goes
 * wrong is told by whoever opens the store. */
static void make_directory(const char *path)
{
    char text[PATH_MAX];
    if ((size_t)snprintf(text, sizeof text, "%s", path) >= sizeof text) {
        return;
    }
    for (char *at = text + 1; *at != '\0'; at++) {
        if (*at == '/') {
            *at = '\0';
            (void)mkdir(text, 0777);
            *at = '/';
        }
    }
    (void)mkdir(text, 0700);
}

void stele_server__confine_files(struct stele_server__process *process)
{
    /* The system's own: threads load libgcc at their end, OpenSSL its configuration. */
    static const char *const system_paths[] = {
        "/proc",
        "/sys/devices/system",
        "/sys/fs/cgroup",
        "/etc/ssl",
        "/usr/lib",
        "/lib",
        "/lib64",
        "/etc/ld.so.cache",
        "/usr/share/zoneinfo",
        "/etc/localtime",
        "/dev/urandom",
    };
    const struct stele_server_config *const config = process->config;
    struct stele_alloc *const alloc = process->server.alloc;
    struct stele_error err = {.outcome = STELE_OK};
    struct places *const places = stele_allocate_zeroed(alloc, 2 * sizeof *places);
    if (!config->sandbox || places == NULL) {
        stele_release(alloc, places, 2 * sizeof *places);
        return;
    }
    struct places *const write = &places[0];
    struct places *const read = &places[1];
    make_directory(config->store_path);
    add_text(write, config->store_path, strlen(config->store_path));
    for (size_t i = 0; i < config->addresses_count; i++) {
        if (strncmp(config->addresses[i].host, "unix:", 5) == 0) {
            add_parent(write, config->addresses[i].host + 5);
        }
    }
    add_file(read, config->tls_certificate);
    add_file(read, config->tls_key);
    add_file(read, config->tls_client_ca);
    add_file(read, config->jwt_keys);
    add_file(read, config->cluster_certificate);
    add_file(read, config->cluster_key);
    add_file(read, config->cluster_ca);
    if (process->is_node) {
        static const char *const names[] = {"/etc/hosts", "/etc/resolv.conf", "/etc/nsswitch.conf",
                                            "/etc/host.conf", "/etc/gai.conf"};
        for (size_t i = 0; i < STELE_COUNT_OF(names); i++) {
            add_text(read, names[i], strlen(names[i]));
        }
    }
    for (size_t i = 0; i < STELE_COUNT_OF(system_paths); i++) {
        add_text(read, system_paths[i], strlen(system_paths[i]));
    }
    const struct stele_sandbox_paths paths = {.write = write->paths,
                                              .write_count = write->count,
                                              .read = read->paths,
                                              .read_count = read->count};
    if (stele_sandbox_files(&paths, &err) != STELE_OK) {
        stele_server__log(process, STELE_SERVER_WARNING, "without bounds of file access: %s",
                          err.message);
    }
    stele_release(alloc, places, 2 * sizeof *places);
}

void stele_server__confine_calls(struct stele_server__process *process)
{
    struct stele_error err = {.outcome = STELE_OK};
    if (process->config->sandbox && stele_sandbox_calls(&err) != STELE_OK) {
        stele_server__log(process, STELE_SERVER_WARNING, "without a filter of system calls: %s",
                          err.message);
    }
}
