#include "server/server.h"

#include "api/http/web.h"
#include "client/client.h"
#include "io/linux.h"
#include "net/tls.h"
#include "server/engine.h"
#include "server/server_internal.h"
#if defined(STELE_WITH_CLUSTER)
#include "server/member.h"
#endif
#include "subs/follow.h"
#include "subs/groups.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

void stele_server__log(const struct stele_server__process *process, enum stele_server_log level,
                       const char *format, ...)
{
    char text[512];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(text, sizeof text, format, args);
    va_end(args);
    if (process->config->on_log != NULL) {
        process->config->on_log(process->config->context, level, text);
    }
}

/* ---- systemd ---------------------------------------------------------------------------------- */

/* sd_notify(3), which is one datagram. */
static void notify(const struct stele_server__process *process, const char *state)
{
    const char *const path = process->config->notify_socket;
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    if (path == NULL || (path[0] != '/' && path[0] != '@') ||
        strlen(path) >= sizeof address.sun_path) {
        return;
    }
    const size_t size = strlen(path);
    memcpy(address.sun_path, path, size);
    if (path[0] == '@') {
        address.sun_path[0] = 0; /* The abstract namespace. */
    }
    const int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd >= 0) {
        (void)sendto(fd, state, strlen(state), MSG_NOSIGNAL, (const struct sockaddr *)&address,
                     (socklen_t)(offsetof(struct sockaddr_un, sun_path) + size));
        (void)close(fd);
    }
}

/* ---- Up ----------------------------------------------------------------------------------------- */

static struct stele_server__process *process_of(struct stele_server *server)
{
    return (struct stele_server__process *)(void *)server;
}

static void shut_down(struct stele_server *server)
{
    const uint64_t one = 1;
    const ssize_t written = write(process_of(server)->stop_fd, &one, sizeof one);
    (void)written;
}

static int open_signals(struct stele_server__process *process, struct stele_error *err)
{
    sigset_t signals;
    (void)sigemptyset(&signals);
    (void)sigaddset(&signals, SIGINT);
    (void)sigaddset(&signals, SIGTERM);
    (void)sigaddset(&signals, SIGHUP);
    (void)pthread_sigmask(SIG_BLOCK, &signals, NULL);
    process->signal_fd = signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK);
    process->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (process->signal_fd < 0 || process->stop_fd < 0) {
        return stele_fail(err, STELE_E_IO, errno, "server: no more files can be opened");
    }
    return STELE_OK;
}

static int open_tls(struct stele_server__process *process, struct stele_error *err)
{
    const struct stele_server_config *const config = process->config;
    if (config->tls_certificate == NULL) {
        return STELE_OK;
    }
    const struct stele_tls_files files = {.certificate = config->tls_certificate,
                                          .key = config->tls_key,
                                          .client_ca = config->tls_client_ca,
                                          .client_required = config->tls_client_required};
    return stele_tls_context_create(&files, &process->gate.tls, err);
}

#if defined(STELE_WITH_CLUSTER)

static void on_member_log(void *context, enum stele_server_log level, const char *message)
{
    stele_server__log(context, level, "cluster: %s", message);
}

/* Is the store one of a cluster's node, and does the node have its number? */
static int open_identity(struct stele_server__process *process, struct stele_error *err)
{
    const int outcome = stele_identity_read(process->config->store_path, &process->identity, err);
    process->is_node = outcome == STELE_OK;
    if (process->is_node && process->identity.repairs != 0) {
        return stele_fail(err, STELE_CONDITION_FAILED, 0,
                          "a repair of node %s was begun and not finished: stele cluster repair "
                          "--yes --store %.300s",
                          process->identity.name, process->config->store_path);
    }
    return outcome == STELE_NOT_FOUND ? STELE_OK : outcome;
}

static struct stele_member_config member_config(struct stele_server__process *process)
{
    const struct stele_server_config *const config = process->config;
    return (struct stele_member_config){
        .store_path = config->store_path,
        .tls_certificate = config->cluster_certificate,
        .tls_key = config->cluster_key,
        .tls_ca = config->cluster_ca,
        .insecure = config->insecure,
        .election_ms = config->cluster_election_ms,
        .heartbeat_ms = config->cluster_heartbeat_ms,
        .listen = config->cluster_listen,
        .features = config->cluster_features >= 64 ? UINT64_MAX
                                                   : (UINT64_C(1) << config->cluster_features) - 1,
        .context = process,
        .on_log = on_member_log};
}

static int join_cluster(struct stele_server__process *process, struct stele_error *err)
{
    const struct stele_member_config member = member_config(process);
    return !process->is_node || process->identity.number != 0
               ? STELE_OK
               : stele_member_join(&member, &process->identity, process->server.alloc, err);
}

static int open_node_store(struct stele_server__process *process, struct stele_error *err)
{
    struct stele_options options = STELE_OPTIONS_INIT;
    if (process->config->store_options != NULL) {
        options = *process->config->store_options;
    }
    options.create = 1;
    options.partitions = process->identity.partitions;
    options.partition_key = process->identity.partition_key;
    return stele_client_open_ordered(process->config->store_path, &options, &process->store, err);
}

static int open_member(struct stele_server__process *process, struct stele_error *err)
{
    const struct stele_member_config member = member_config(process);
    const int outcome =
        stele_member_create(&member, &process->identity, process->store, process->embedded,
                            process->server.alloc, &process->member, err);
    if (outcome == STELE_OK) {
        process->server.engine = stele_member_engine(process->member);
        process->server.cluster = stele_member_cluster(process->member);
    }
    return outcome;
}

static int start_member(struct stele_server__process *process, struct stele_error *err)
{
    char address[STELE_CLUSTER_HOST_SIZE + 16];
    const char *const host = process->server.advertised_host;
    const bool is_v6 = strchr(host, ':') != NULL;
    (void)snprintf(address, sizeof address, "%s%s%s:%u", is_v6 ? "[" : "", host, is_v6 ? "]" : "",
                   (unsigned)process->server.advertised_port);
    return process->member == NULL ? STELE_OK : stele_member_start(process->member, address, err);
}

#else

static int open_identity(struct stele_server__process *process, struct stele_error *err)
{
    const int outcome = stele_identity_read(process->config->store_path, &process->identity, err);
    return outcome == STELE_NOT_FOUND
               ? STELE_OK
               : stele_fail(err, STELE_E_UNSUPPORTED, 0,
                            "this store is that of a cluster's node, and this program was built "
                            "without clusters: libraft 0.22.1 was not there");
}

static int join_cluster(struct stele_server__process *process, struct stele_error *err)
{
    (void)process;
    (void)err;
    return STELE_OK;
}

static int open_node_store(struct stele_server__process *process, struct stele_error *err)
{
    (void)process;
    return stele_fail(err, STELE_E_UNSUPPORTED, 0, "built without clusters");
}

static int open_member(struct stele_server__process *process, struct stele_error *err)
{
    return open_node_store(process, err);
}

static int start_member(struct stele_server__process *process, struct stele_error *err)
{
    (void)process;
    (void)err;
    return STELE_OK;
}

#endif

static int open_store(struct stele_server__process *process, struct stele_error *err)
{
    const struct stele_server_config *const config = process->config;
    int outcome = process->is_node
                      ? open_node_store(process, err)
                      : stele_open(config->store_path, config->store_options, &process->store, err);
    if (outcome != STELE_OK) {
        return outcome;
    }
    struct stele_stats stats = {.events = 0};
    outcome = stele_stats(process->store, &stats, err);
    memcpy(process->server.store_id,
           process->is_node ? process->identity.cluster_id : stats.store_id,
           sizeof process->server.store_id);
    if (outcome == STELE_OK) {
        outcome =
            stele_engine_create(process->store, process->server.alloc, &process->embedded, err);
    }
    process->server.engine = process->embedded;
    return outcome == STELE_OK && process->is_node ? open_member(process, err) : outcome;
}

static void on_first_password(void *context, const char *login, const char *password)
{
    const struct stele_server__process *const process = context;
    if (process->config->on_first_password != NULL) {
        process->config->on_first_password(process->config->context, login, password);
    }
}

static void on_auth_log(void *context, enum stele_auth_log level, const char *message)
{
    static const enum stele_server_log levels[] = {[STELE_AUTH_LOG_INFO] = STELE_SERVER_INFO,
                                                   [STELE_AUTH_LOG_WARNING] = STELE_SERVER_WARNING,
                                                   [STELE_AUTH_LOG_ERROR] = STELE_SERVER_ERROR};
    stele_server__log(context, levels[level], "%s", message);
}

/* A configuration that cannot be read makes the groups unavailable, not the server. */
static int open_groups(struct stele_server__process *process, struct stele_error *err)
{
    struct stele_server *const server = &process->server;
    const int outcome = stele_groups_create(server->engine, server->cluster,
                                            stele_hub_of(server->hubs, server->home), server->home,
                                            server->alloc, &server->groups, err);
    if (outcome != STELE_E_CORRUPT) {
        return outcome;
    }
    stele_server__log(process, STELE_SERVER_ERROR, "there are no persistent subscriptions: %s",
                      err == NULL ? "damage" : err->message);
    return STELE_OK;
}

/* Whole, into a buffer that the caller wipes and releases. */
static int read_jwt_keys(const struct stele_server__process *process, struct stele_buf *buf,
                         struct stele_error *err)
{
    enum { SIZE_MAX_KEYS = 1 << 20 };
    const char *const path = process->config->jwt_keys;
    FILE *const file = fopen(path, "rbe");
    if (file == NULL) {
        return stele_fail(err, STELE_E_IO, errno, "jwt-keys: %.300s cannot be opened", path);
    }
    int outcome = stele_buf_reserve(buf, process->server.alloc, SIZE_MAX_KEYS);
    if (outcome == STELE_OK) {
        buf->size = fread(buf->data, 1, SIZE_MAX_KEYS, file);
        if (ferror(file) != 0 || buf->size == 0) {
            outcome = stele_fail(err, STELE_E_IO, errno,
                                 "jwt-keys: %.300s cannot be read, or is "
                                 "empty",
                                 path);
        }
    }
    (void)fclose(file);
    return outcome;
}

static void release_keys(const struct stele_server__process *process, struct stele_buf *buf)
{
    if (buf->size > 0) {
        explicit_bzero(buf->data, buf->size);
    }
    stele_buf_deinit(buf, process->server.alloc);
}

static int open_auth(struct stele_server__process *process, struct stele_error *err)
{
    const struct stele_server_config *const config = process->config;
    struct stele_auth_options options = config->auth;
    struct stele_buf keys = {.data = NULL};
    int outcome = config->jwt_keys == NULL ? STELE_OK : read_jwt_keys(process, &keys, err);
    options.cluster = process->server.cluster;
    options.insecure = config->insecure;
    options.jwt_keys = (struct stele_bytes){.data = keys.data, .size = keys.size};
    options.on_first_password = on_first_password;
    options.on_log = on_auth_log;
    options.context = process;
    if (outcome == STELE_OK) {
        outcome = stele_auth_create(process->server.engine, process->server.home, &options,
                                    &process->server.auth, err);
    }
    release_keys(process, &keys);
    return outcome;
}

static int open_services(struct stele_server__process *process, struct stele_error *err)
{
    int outcome = open_auth(process, err);
    outcome = outcome == STELE_OK ? open_groups(process, err) : outcome;
    if (outcome != STELE_OK) {
        return outcome;
    }
    process->server.started_wall_us = process->server.home->ops->wall_us(process->server.home);
    struct stele_grpc_table table = {.methods = {NULL}};
    stele_server__register(&table);
    if (stele_grpc_create(&process->server, process->server.auth, &table, process->server.alloc,
                          &process->grpc) != STELE_OK ||
        stele_web_create(&process->server, &process->web) != STELE_OK) {
        return stele_fail(err, STELE_E_NO_MEMORY, 0, "server: no memory");
    }
    return STELE_OK;
}

static void set_advertised(struct stele_server__process *process)
{
    const struct stele_server_config *const config = process->config;
    char *const host = process->server.advertised_host;
    const size_t size = sizeof process->server.advertised_host;
    if (config->advertised_port != 0) {
        process->server.advertised_port = config->advertised_port;
    }
    if (config->advertised_host != NULL) {
        (void)snprintf(host, size, "%s", config->advertised_host);
        return;
    }
    const char *const first = config->addresses_count > 0 ? config->addresses[0].host : "localhost";
    const bool is_any = first[0] == 0 || strcmp(first, "0.0.0.0") == 0 || strcmp(first, "::") == 0;
    (void)snprintf(host, size, "%s", first);
    if (is_any && gethostname(host, size) != 0) {
        (void)snprintf(host, size, "localhost");
    }
    host[size - 1] = 0;
}

static void set_names(struct stele_server__process *process)
{
    const struct stele_server_config *const config = process->config;
    struct stele_server *const server = &process->server;
    _Static_assert(STELE_SERVER_NAMES_MAX == STELE_SERVER_ADDRESSES_MAX + 2, "room for all");
    for (size_t i = 0; i < config->addresses_count; i++) {
        server->names[server->names_count++] = config->addresses[i].host;
    }
    server->names[server->names_count++] = server->advertised_host;
    if (gethostname(process->machine, sizeof process->machine - 1) == 0) {
        server->names[server->names_count++] = process->machine;
    }
}

static int start(struct stele_server__process *process, struct stele_error *err)
{
    int outcome = open_signals(process, err);
    outcome = outcome == STELE_OK ? stele_server__resolve(process, err) : outcome;
    outcome = outcome == STELE_OK ? open_tls(process, err) : outcome;
    outcome = outcome == STELE_OK ? open_identity(process, err) : outcome;
    outcome = outcome == STELE_OK ? join_cluster(process, err) : outcome;
    if (outcome == STELE_OK) {
        stele_server__confine_files(process);
    }
    outcome = outcome == STELE_OK ? open_store(process, err) : outcome;
    outcome = outcome == STELE_OK ? stele_server__workers_create(process, err) : outcome;
    outcome = outcome == STELE_OK ? open_services(process, err) : outcome;
    /* Last of what can fail: who can connect is served. */
    outcome = outcome == STELE_OK ? stele_server__listen(process, err) : outcome;
    if (outcome == STELE_OK) {
        set_advertised(process);
        set_names(process);
        outcome = stele_server__workers_start(process, err);
    }
    outcome = outcome == STELE_OK ? start_member(process, err) : outcome;
    if (outcome == STELE_OK) {
        stele_server__confine_calls(process);
    }
    return outcome;
}

/* ---- Running ------------------------------------------------------------------------------------ */

static void reload_keys(struct stele_server__process *process)
{
    struct stele_error err = {.outcome = STELE_OK};
    struct stele_buf keys = {.data = NULL};
    int outcome = read_jwt_keys(process, &keys, &err);
    if (outcome == STELE_OK) {
        const struct stele_bytes text = {.data = keys.data, .size = keys.size};
        outcome = stele_auth_set_jwt_keys(process->server.auth, text, &err);
    }
    release_keys(process, &keys);
    if (outcome == STELE_OK) {
        stele_server__log(process, STELE_SERVER_INFO, "the keys of bearer tokens were read again");
    } else {
        stele_server__log(process, STELE_SERVER_ERROR,
                          "the keys of bearer tokens were not read again, the old ones stay: %s",
                          err.message);
    }
}

static void reload(struct stele_server__process *process)
{
    struct stele_error err = {.outcome = STELE_OK};
    if (process->config->jwt_keys != NULL) {
        reload_keys(process);
    }
#if defined(STELE_WITH_CLUSTER)
    if (process->member != NULL && stele_member_reload(process->member, &err) != STELE_OK) {
        stele_server__log(process, STELE_SERVER_ERROR,
                          "the certificate between nodes was not read again, the old one stays: %s",
                          err.message);
    }
#endif
    if (process->gate.tls == NULL) {
        return;
    }
    if (stele_tls_context_reload(process->gate.tls, &err) == STELE_OK) {
        stele_server__log(process, STELE_SERVER_INFO, "the TLS certificate was read again");
    } else {
        stele_server__log(process, STELE_SERVER_ERROR,
                          "the TLS certificate was not read again, the old one stays: %s",
                          err.message);
    }
}

/* Until the server is to end. */
static void wait_for_end(struct stele_server__process *process)
{
    for (;;) {
        struct pollfd fds[] = {{.fd = process->signal_fd, .events = POLLIN},
                               {.fd = process->stop_fd, .events = POLLIN}};
        if (poll(fds, 2, -1) < 0) {
            continue;
        }
        struct signalfd_siginfo info = {.ssi_signo = 0};
        if (fds[0].revents != 0 &&
            read(process->signal_fd, &info, sizeof info) == (ssize_t)sizeof info) {
            if (info.ssi_signo != SIGHUP) {
                stele_server__log(process, STELE_SERVER_INFO, "ending: signal %u", info.ssi_signo);
                return;
            }
            reload(process);
        }
        if (fds[1].revents != 0) {
            stele_server__log(process, STELE_SERVER_INFO, "ending: asked to");
            return;
        }
    }
}

/* ---- Down --------------------------------------------------------------------------------------- */

static void close_worker(struct stele_server__worker *worker)
{
    stele_net_destroy(worker->net);
    worker->net = NULL;
}

/* What the groups still write down is waited for. */
struct groups_stop {
    struct stele_task task;
    struct stele_groups *groups;
    pthread_mutex_t mutex;
    pthread_cond_t done;
    bool is_done;
};

static void on_groups_stopped(struct stele_task *task)
{
    struct groups_stop *const stop =
        (struct groups_stop *)(void *)((uint8_t *)task - offsetof(struct groups_stop, task));
    (void)pthread_mutex_lock(&stop->mutex);
    stop->is_done = true;
    (void)pthread_cond_signal(&stop->done);
    (void)pthread_mutex_unlock(&stop->mutex);
}

static void run_groups_stop(struct stele_task *task)
{
    struct groups_stop *const stop =
        (struct groups_stop *)(void *)((uint8_t *)task - offsetof(struct groups_stop, task));
    stop->task.run = on_groups_stopped;
    stele_groups_stop(stop->groups, &stop->task);
}

static void stop_groups(struct stele_server__process *process)
{
    struct groups_stop stop = {.task = {.run = run_groups_stop},
                               .groups = process->server.groups,
                               .mutex = PTHREAD_MUTEX_INITIALIZER,
                               .done = PTHREAD_COND_INITIALIZER};
    if (stop.groups == NULL || !process->workers[0].has_thread) {
        return; /* Nothing ran, so nothing is under way. */
    }
    stele_loop_post(process->server.home, &stop.task);
    (void)pthread_mutex_lock(&stop.mutex);
    while (!stop.is_done) {
        (void)pthread_cond_wait(&stop.done, &stop.mutex);
    }
    (void)pthread_mutex_unlock(&stop.mutex);
    (void)pthread_mutex_destroy(&stop.mutex);
    (void)pthread_cond_destroy(&stop.done);
}

static void close_services(struct stele_server__worker *worker)
{
    if (worker == &worker->process->workers[0]) {
        stele_groups_destroy(worker->process->server.groups);
        worker->process->server.groups = NULL;
    }
    stele_hub_destroy(worker->hub);
    worker->hub = NULL;
    if (worker == &worker->process->workers[0]) {
        stele_auth_destroy(worker->process->server.auth);
    }
}

static void no_work(struct stele_server__worker *worker)
{
    (void)worker;
}

/* Appends that nobody waits for any more are answered all the same, while there are loops for it: the
 * store has to write them anyway before it can be closed, and their answers lead through the engine. */
static void wait_for_engine(struct stele_server__process *process)
{
    if (process->embedded == NULL || !process->workers[0].has_thread) {
        return; /* Nothing ran, so nothing was asked for. */
    }
#if defined(STELE_WITH_CLUSTER)
    stele_member_stop(process->member);
#endif
    while (stele_engine_wind_down(process->embedded) > 0) {
        const struct timespec pause = {.tv_nsec = 1000000};
        (void)nanosleep(&pause, NULL);
    }
}

/* From the outside to the inside: connections, services, what they asked the engine for, threads,
 * engine, store, and the loops' memory. */
static int stop(struct stele_server__process *process, struct stele_error *err)
{
    stele_server__workers_do(process, close_worker);
    stele_server__workers_do(process, no_work); /* What they posted about their end. */
    stop_groups(process);
    stele_server__scavenge_deinit(process);
    stele_server__workers_do(process, close_services);
    wait_for_engine(process);
    stele_server__workers_do(process, no_work);
    stele_server__workers_stop(process);
#if defined(STELE_WITH_CLUSTER)
    stele_member_destroy(process->member);
#endif
    stele_engine_destroy(process->embedded);
    const int outcome = stele_close(process->store);
    stele_server__workers_destroy(process);
    stele_grpc_destroy(process->grpc);
    stele_web_destroy(process->web);
    stele_tls_context_destroy(process->gate.tls);
    if (process->signal_fd >= 0) {
        (void)close(process->signal_fd);
    }
    if (process->stop_fd >= 0) {
        (void)close(process->stop_fd);
    }
    return outcome == STELE_OK
               ? STELE_OK
               : stele_fail(err, outcome, 0, "closing the store: the last write failed");
}

int stele_server_run(const struct stele_server_config *config, struct stele_error *err)
{
    struct stele_alloc *const alloc = stele_linux_alloc();
    struct stele_server__process *const process = stele_allocate_zeroed(alloc, sizeof *process);
    if (process == NULL) {
        return stele_fail(err, STELE_E_NO_MEMORY, 0, "server: no memory");
    }
    process->config = config;
    process->signal_fd = -1;
    process->stop_fd = -1;
    process->gate.limits = config->http;
    process->gate.memory.output_max = config->output_memory;
    process->gate.limits.memory = &process->gate.memory;
    process->gate.connections_max = config->connections_max;
    process->gate.handshake_ms = config->handshake_ms;
    process->server.alloc = alloc;
    process->server.gate = &process->gate;
    process->server.insecure = config->insecure;
    process->server.settings = config->settings;
    process->server.append_size_max = config->append_size_max;
    process->server.event_size_max = config->event_size_max;
    process->server.shut_down = shut_down;
    stele_alone_init(&process->alone, &process->server);
    process->server.cluster = &process->alone.cluster;
    stele_new_id(process->server.instance_id);
    /* Version 4, as KurrentDB has it: clients refuse gossip with versions that are younger than they. */
    process->server.instance_id[6] = (uint8_t)(0x40 | (process->server.instance_id[6] & 0x0f));
    stele_server__scavenge_init(process);
    int outcome = start(process, err);
    if (outcome == STELE_OK) {
        if (config->on_ready != NULL) {
            config->on_ready(config->context, process->addresses, process->gate.tls != NULL);
        }
        notify(process, "READY=1");
        wait_for_end(process);
        notify(process, "STOPPING=1");
        stele_server__workers_drain(process);
        outcome = stop(process, err);
    } else {
        (void)stop(process, NULL);
    }
    stele_release(alloc, process, sizeof *process);
    return outcome;
}
