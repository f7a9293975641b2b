/* The nodes that there are besides this one, as the owner says. */
#include "peers/peers_internal.h"

#include <stdio.h>

static struct stele_peers *peers_of_reaper(struct stele_timer *timer)
{
    return (struct stele_peers *)(void *)((uint8_t *)timer - offsetof(struct stele_peers, reaper));
}

struct stele_peers__node *stele_peers__node_find(const struct stele_peers *peers, uint64_t number)
{
    struct stele_peers__node *node = peers->nodes;
    while (node != NULL && node->number != number) {
        node = node->next;
    }
    return node;
}

struct stele_peers__way *stele_peers__way_find(const struct stele_peers *peers, uint64_t number,
                                               enum stele_peers_lane lane)
{
    STELE_ASSERT((unsigned)lane < STELE_PEERS_LANES);
    struct stele_peers__node *const node = stele_peers__node_find(peers, number);
    return node != NULL ? &node->ways[lane] : NULL;
}

void stele_peers__nodes_release(struct stele_peers *peers, struct stele_peers__node *node)
{
    while (node != NULL) {
        struct stele_peers__node *const next = node->next;
        stele_release(peers->alloc, node, sizeof *node);
        node = next;
    }
}

void stele_peers__on_reap(struct stele_timer *timer)
{
    struct stele_peers *const peers = peers_of_reaper(timer);
    stele_peers__conns_reap(peers, false);
    stele_peers__nodes_release(peers, peers->removed);
    peers->removed = NULL;
}

static void write_node(struct stele_peers__node *node, const struct stele_peers_node *from)
{
    (void)snprintf(node->name, sizeof node->name, "%s", from->name);
    (void)snprintf(node->target.host, sizeof node->target.host, "%s", from->host);
    node->target.port = from->port;
    stele_peers__target_deinit(&node->target);
    node->target.left = 0;
}

static struct stele_peers__node *new_node(struct stele_peers *peers,
                                          const struct stele_peers_node *from)
{
    struct stele_peers__node *const node = stele_allocate_zeroed(peers->alloc, sizeof *node);
    if (node == NULL) {
        return NULL;
    }
    node->peers = peers;
    node->number = from->number;
    node->target.peers = peers;
    node->target.on_resolved = stele_peers__node_resolved;
    write_node(node, from);
    for (int lane = 0; lane < STELE_PEERS_LANES; lane++) {
        stele_peers__way_init(&node->ways[lane], node, (enum stele_peers_lane)lane);
    }
    return node;
}

/* Without events. Somebody may be inside of it: it is released later. */
static void remove_node(struct stele_peers__node *node)
{
    struct stele_peers *const peers = node->peers;
    for (int lane = 0; lane < STELE_PEERS_LANES; lane++) {
        stele_peers__way_deinit(&node->ways[lane]);
        if (node->inbound[lane] != NULL) {
            stele_peers__conn_refuse(node->inbound[lane], STELE_PEERS_REMOVED_NODE,
                                     "the node is not in the table any more");
            node->inbound[lane] = NULL;
        }
    }
    stele_peers__target_deinit(&node->target);
    node->removed = true;
    node->next = peers->removed;
    peers->removed = node;
    stele_peers__timer(peers, &peers->reaper, 0);
}

bool stele_peers__is_host(const char *host)
{
    return stele_peers_host_is_valid(host, strlen(host));
}

static int check_table(const struct stele_peers_node *nodes, size_t count, struct stele_error *err)
{
    if (count > STELE_PEERS_NODES_MAX) {
        return stele_fail(err, STELE_E_LIMIT, 0, "cluster: %zu nodes, and %d are the most", count,
                          STELE_PEERS_NODES_MAX);
    }
    for (size_t i = 0; i < count; i++) {
        if (nodes[i].number == 0 || nodes[i].port == 0 ||
            !stele_peers_name_is_valid(nodes[i].name, strlen(nodes[i].name)) ||
            !stele_peers__is_host(nodes[i].host)) {
            return stele_fail(err, STELE_E_INVALID, 0,
                              "cluster: node %llu has no valid number, name, host and port",
                              (unsigned long long)nodes[i].number);
        }
        for (size_t j = 0; j < i; j++) {
            if (nodes[j].number == nodes[i].number) {
                return stele_fail(err, STELE_E_INVALID, 0, "cluster: node %llu is there twice",
                                  (unsigned long long)nodes[i].number);
            }
        }
    }
    return STELE_OK;
}

/* Those that are not there yet; false: no memory, and none of them is. */
static bool make_new(struct stele_peers *peers, const struct stele_peers_node *nodes, size_t count,
                     struct stele_peers__node **out_list)
{
    *out_list = NULL;
    for (size_t i = 0; i < count; i++) {
        if (nodes[i].number == peers->options.number ||
            stele_peers__node_find(peers, nodes[i].number) != NULL) {
            continue;
        }
        struct stele_peers__node *const node = new_node(peers, &nodes[i]);
        if (node == NULL) {
            stele_peers__nodes_release(peers, *out_list);
            return false;
        }
        node->next = *out_list;
        *out_list = node;
    }
    return true;
}

static void update_node(struct stele_peers__node *node, const struct stele_peers_node *from)
{
    const bool moved =
        strcmp(node->target.host, from->host) != 0 || node->target.port != from->port;
    node->kept = true;
    if (!moved) {
        (void)snprintf(node->name, sizeof node->name, "%s", from->name);
        return;
    }
    write_node(node, from);
    for (int lane = 0; lane < STELE_PEERS_LANES; lane++) {
        stele_peers__way_move(&node->ways[lane]);
    }
}

void stele_peers__nodes_remove_others(struct stele_peers *peers)
{
    struct stele_peers__node **link = &peers->nodes;
    while (*link != NULL) {
        struct stele_peers__node *const node = *link;
        if (node->kept) {
            node->kept = false;
            link = &node->next;
        } else {
            *link = node->next;
            remove_node(node);
        }
    }
}

int stele_peers_set(struct stele_peers *peers, const struct stele_peers_node *nodes, size_t count,
                    struct stele_error *err)
{
    struct stele_peers__node *fresh = NULL;
    const int outcome = check_table(nodes, count, err);
    if (outcome != STELE_OK) {
        return outcome;
    }
    if (!make_new(peers, nodes, count, &fresh)) {
        return stele_fail(err, STELE_E_NO_MEMORY, 0, "cluster: no memory for the table of nodes");
    }
    for (size_t i = 0; i < count; i++) {
        struct stele_peers__node *const node = stele_peers__node_find(peers, nodes[i].number);
        if (node != NULL) {
            update_node(node, &nodes[i]);
        }
    }
    stele_peers__nodes_remove_others(peers);
    while (fresh != NULL) {
        struct stele_peers__node *const node = fresh;
        fresh = node->next;
        node->next = peers->nodes;
        peers->nodes = node;
        for (int lane = 0; lane < STELE_PEERS_LANES; lane++) {
            stele_peers__way_kick(&node->ways[lane]);
        }
    }
    return STELE_OK;
}
