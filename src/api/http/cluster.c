/* The cluster: who is there, what state it is in, and changing it.
 *
 *     GET  /gossip          members, as KurrentDB's tools know them
 *     GET  /cluster         the cluster's own document
 *     POST /cluster/VERB    a change; verb and body go to the cluster, its answer comes back
 *
 * Also: how requests get to the leader, and reads that wait until they see what was acknowledged. */
#include "api/cluster.h"

#include "api/http/web_internal.h"

#include <stdio.h>
#include <time.h>

static struct stele_text text_of(const char *text)
{
    return (struct stele_text){.data = text, .size = strlen(text)};
}

static struct stele_cluster *cluster_of(const struct stele_web__request *request)
{
    return request->web->server->cluster;
}

/* ---- Members ---- */

static const char *state_name(enum stele_node_state state)
{
    switch (state) {
    case STELE_NODE_STARTING:
        return "Initializing";
    case STELE_NODE_CATCHING_UP:
        return "CatchingUp";
    case STELE_NODE_LEADERLESS:
        return "ReadOnlyLeaderless";
    case STELE_NODE_FOLLOWER:
        return "Follower";
    case STELE_NODE_LEADER:
        return "Leader";
    case STELE_NODE_DRAINING:
        return "ShuttingDown";
    case STELE_NODE_STOPPED:
        return "Shutdown";
    }
    return "Unknown";
}

/* RFC 3339, with microseconds. */
static void print_time(int64_t wall_us, char text[80])
{
    const time_t seconds = (time_t)(wall_us / 1000000);
    struct tm parts;
    if (gmtime_r(&seconds, &parts) == NULL) {
        (void)snprintf(text, 80, "1970-01-01T00:00:00.000000Z");
        return;
    }
    (void)snprintf(text, 80, "%04d-%02d-%02dT%02d:%02d:%02d.%06dZ", parts.tm_year + 1900,
                   parts.tm_mon + 1, parts.tm_mday, parts.tm_hour, parts.tm_min, parts.tm_sec,
                   (int)(wall_us % 1000000));
}

static bool put_member(struct stele_buf *body, const struct stele_web__request *request,
                       const struct stele_node_seen *node, bool is_this)
{
    struct stele_alloc *alloc = request->web->alloc;
    const long long position = (long long)node->position_executed;
    char id[37];
    char when[80];
    stele_id_to_text(node->instance_id, id);
    print_time(is_this ? request->loop->ops->wall_us(request->loop) : node->heard_wall_us, when);
    return stele_web__putf(body, alloc,
                           "{\"instanceId\":\"%s\",\"timeStamp\":\"%s\",\"state\":\"%s\","
                           "\"isAlive\":%s,\"lastCommitPosition\":%lld,\"writerCheckpoint\":%lld,"
                           "\"epochNumber\":%llu,\"nodePriority\":0,\"isReadOnlyReplica\":false,"
                           "\"esVersion\":\"%s\",\"httpEndPointPort\":%u,\"httpEndPointIp\":",
                           id, when, state_name(node->state), node->is_alive ? "true" : "false",
                           position, position, (unsigned long long)node->term,
                           node->version[0] == '\0' ? stele_version() : node->version,
                           node->port) &&
           stele_web__put_string(body, alloc, text_of(node->host)) &&
           stele_web__put(body, alloc, "}");
}

/* NULL: no memory, and refused. Released by the caller. */
static struct stele_cluster_view *take_view(struct stele_web__request *request)
{
    struct stele_cluster_view *view = stele_allocate(request->web->alloc, sizeof *view);
    if (view == NULL) {
        stele_web__refuse(request, 503, "no-memory", "no memory for the answer");
        return NULL;
    }
    cluster_of(request)->ops->view(cluster_of(request), view);
    return view;
}

void stele_web__gossip(struct stele_web__request *request)
{
    struct stele_alloc *alloc = request->web->alloc;
    struct stele_cluster_view *view = take_view(request);
    if (view == NULL) {
        return;
    }
    const struct stele_node_seen *self = &view->nodes[view->this_node];
    struct stele_buf body = {.data = NULL};
    bool fits = stele_web__put(&body, alloc, "{\"members\":[");
    for (size_t i = 0; fits && i < view->count; i++) {
        fits = (i == 0 || stele_web__put(&body, alloc, ",")) &&
               put_member(&body, request, &view->nodes[i], i == view->this_node);
    }
    fits = fits && stele_web__put(&body, alloc, "],\"serverIp\":") &&
           stele_web__put_string(&body, alloc, text_of(self->host)) &&
           stele_web__putf(&body, alloc, ",\"serverPort\":%u}\n", self->port);
    stele_release(alloc, view, sizeof *view);
    stele_web__answer_built(request, fits, "application/json", &body);
}

bool stele_web__put_self(struct stele_buf *body, struct stele_web__request *request)
{
    static const char *const names[] = {
        [STELE_NODE_STARTING] = "initializing", [STELE_NODE_CATCHING_UP] = "catchingup",
        [STELE_NODE_LEADERLESS] = "unknown",    [STELE_NODE_FOLLOWER] = "follower",
        [STELE_NODE_LEADER] = "leader",         [STELE_NODE_DRAINING] = "shuttingdown",
        [STELE_NODE_STOPPED] = "shutdown",
    };
    struct stele_alloc *alloc = request->web->alloc;
    struct stele_cluster_view *view = stele_allocate(alloc, sizeof *view);
    if (view == NULL) {
        return false;
    }
    cluster_of(request)->ops->view(cluster_of(request), view);
    const struct stele_node_seen *self = &view->nodes[view->this_node];
    bool fits = stele_web__putf(body, alloc, "\"state\":\"%s\"", names[self->state]);
    if (view->is_cluster) {
        char id[37];
        stele_id_to_text(view->cluster_id, id);
        fits =
            fits &&
            stele_web__putf(body, alloc, ",\"cluster\":{\"id\":\"%s\",\"node\":%llu,\"name\":", id,
                            (unsigned long long)self->number) &&
            stele_web__put_string(body, alloc, text_of(self->name)) &&
            stele_web__putf(body, alloc, ",\"role\":\"%s\",\"nodes\":%zu}", names[self->state],
                            view->count);
    }
    stele_release(alloc, view, sizeof *view);
    return fits;
}

const char *stele_web__node_status(struct stele_web__request *request)
{
    struct stele_cluster *cluster = cluster_of(request);
    struct stele_cluster_readiness readiness;
    if (cluster->ops->is_leader(cluster)) {
        return "Leader";
    }
    cluster->ops->readiness(cluster, &readiness);
    return readiness.is_ready ? "Follower" : "CatchingUp";
}

/* ---- The cluster's own document, and changes ---- */

static void refuse_alone(struct stele_web__request *request)
{
    stele_web__refuse(request, 404, "not-found",
                      "this server is not part of a cluster: it stands alone");
}

void stele_web__cluster(struct stele_web__request *request)
{
    struct stele_cluster *cluster = cluster_of(request);
    struct stele_buf body = {.data = NULL};
    const int outcome = cluster->ops->status_json(cluster, request->web->alloc, &body);
    if (outcome == STELE_NOT_FOUND) {
        refuse_alone(request);
    } else {
        stele_web__answer_built(request, outcome == STELE_OK, "application/json", &body);
        return;
    }
    stele_buf_deinit(&body, request->web->alloc);
}

struct commanding {
    struct stele_cluster_command command; /* First: on_done finds the rest. */
    struct stele_web__request *request;
};

static void on_done(struct stele_cluster_command *command)
{
    struct commanding *commanding = (struct commanding *)(void *)command;
    struct stele_web__request *request = commanding->request;
    struct stele_alloc *alloc = request->web->alloc;
    if (command->outcome == STELE_OK) {
        const bool empty = command->answer.size == 0;
        stele_web__answer(request, 200, "application/json",
                          empty ? stele_bytes_of_text("{}\n")
                                : (struct stele_bytes){.data = command->answer.data,
                                                       .size = command->answer.size});
    } else if (command->outcome == STELE_TIMED_OUT || command->outcome == STELE_E_UNKNOWN) {
        stele_web__refuse(request, 504, stele_outcome_name(command->outcome),
                          "%s; it may happen yet: look at GET /cluster",
                          command->err.message[0] == '\0' ? "no answer in time"
                                                          : command->err.message);
    } else {
        stele_web__fail(request, command->outcome, &command->err);
    }
    stele_buf_deinit(&command->answer, alloc);
    stele_release(alloc, commanding, sizeof *commanding);
    stele_web__release(request);
}

void stele_web__cluster_command(struct stele_web__request *request)
{
    struct stele_cluster *cluster = cluster_of(request);
    struct stele_alloc *alloc = request->web->alloc;
    const struct stele_buf *body = &request->body;
    if (cluster->is_alone) {
        refuse_alone(request);
        return;
    }
    if (body->size > STELE_CLUSTER_BODY_MAX ||
        (body->size > 0 && !stele_web__is_json(body->data, body->size))) {
        stele_web__refuse(request, 400, "invalid",
                          "the body is JSON of at most %d bytes, or nothing",
                          STELE_CLUSTER_BODY_MAX);
        return;
    }
    struct commanding *commanding = stele_allocate_zeroed(alloc, sizeof *commanding);
    if (commanding == NULL) {
        stele_web__refuse(request, 503, "no-memory", "no memory for the request");
        return;
    }
    struct stele_cluster_command *command = &commanding->command;
    if (strlen(request->name) >= sizeof command->verb) {
        stele_release(alloc, commanding, sizeof *commanding);
        stele_web__refuse(request, 404, "not-found", "the cluster knows no such change");
        return;
    }
    (void)snprintf(command->verb, sizeof command->verb, "%s", request->name);
    command->loop = request->loop;
    command->on_done = on_done;
    command->body = (struct stele_bytes){.data = body->data, .size = body->size};
    command->user = request->principal->name;
    command->alloc = alloc;
    commanding->request = request;
    stele_web__hold(request);
    cluster->ops->command(cluster, command);
}

/* ---- Where the leader is ---- */

void stele_web__refuse_elsewhere(struct stele_web__request *request, bool redirect)
{
    struct stele_cluster *cluster = cluster_of(request);
    struct stele_cluster_leader leader;
    if (request->exchange == NULL) {
        return;
    }
    if (cluster->ops->is_leader(cluster) || !cluster->ops->leader(cluster, &leader)) {
        stele_web__refuse(request, 503, "unavailable",
                          "no node leads at this moment; try again in a second");
        return;
    }
    const struct stele_http_peer *peer =
        stele_http_conn_peer(stele_exchange_conn(request->exchange));
    const struct stele_text path = stele_exchange_path(request->exchange);
    const size_t size = path.size + sizeof leader.host + 32;
    request->location = redirect ? stele_allocate(request->web->alloc, size) : NULL;
    if (request->location != NULL) {
        const bool is_number = strchr(leader.host, ':') != NULL;
        request->location_size = size;
        (void)snprintf(request->location, size, "%s://%s%s%s:%u%.*s",
                       peer->is_tls ? "https" : "http", is_number ? "[" : "", leader.host,
                       is_number ? "]" : "", leader.port, (int)path.size, path.data);
    }
    stele_web__refuse(request, request->location != NULL ? 307 : 421, "not-leader",
                      "ask the node that leads: %s:%u", leader.host, leader.port);
}

/* ---- Reads that wait ---- */

static void on_linearized(struct stele_linearizing *linearizing)
{
    struct stele_web__request *request =
        (struct stele_web__request *)((char *)linearizing -
                                      offsetof(struct stele_web__request, linearizing));
    if (request->exchange != NULL && linearizing->outcome == STELE_OK) {
        stele_web__handlers[request->route](request);
    } else {
        stele_web__refuse(request, 503, "unavailable",
                          "this node cannot find out what was acknowledged last: %s",
                          stele_outcome_name(linearizing->outcome));
    }
    stele_web__release(request);
}

bool stele_web__linearize(struct stele_web__request *request)
{
    struct stele_cluster *cluster = cluster_of(request);
    if (cluster->is_alone || !stele_web__query_flag(request, "linearizable") ||
        strcmp(stele_auth_route_method(request->route), "GET") != 0) {
        return false;
    }
    request->linearizing.loop = request->loop;
    request->linearizing.on_done = on_linearized;
    stele_web__hold(request);
    cluster->ops->linearize(cluster, &request->linearizing);
    return true;
}
