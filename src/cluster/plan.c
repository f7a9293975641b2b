#include "cluster/plan.h"

#include "base/status.h"
#include "cluster/placement.h"

/* The nodes of the table, those in `open` as ones that take something. */
static void list_nodes(const struct stele_meta *meta, uint64_t open,
                       struct stele_placement_node nodes[STELE_META_NODES_MAX])
{
    for (size_t i = 0; i < meta->nodes_count; i++) {
        nodes[i] = (struct stele_placement_node){.number = meta->nodes[i].number,
                                                 .zone = meta->nodes[i].zone,
                                                 .open = (open >> i & 1) != 0};
    }
}

static uint64_t active_of(const struct stele_meta *meta)
{
    uint64_t active = 0;
    for (size_t i = 0; i < meta->nodes_count; i++) {
        active |= (uint64_t)(meta->nodes[i].state == STELE_META_ACTIVE) << i;
    }
    return active;
}

/* leaders: those that stay if they may, or NULL. May be the same as out_leaders. */
static int spread(struct stele_alloc *alloc, const struct stele_meta *meta, uint64_t open,
                  const uint64_t *leaders, uint32_t percent, uint64_t *out_leaders)
{
    struct stele_placement_node nodes[STELE_META_NODES_MAX];
    list_nodes(meta, open, nodes);
    const struct stele_placement placement = {.nodes = nodes,
                                              .nodes_count = meta->nodes_count,
                                              .partitions = meta->partitions,
                                              .replicas = 1};
    return stele_placement_leaders(alloc, &placement, NULL, leaders, percent, out_leaders);
}

static bool is_in(const struct stele_meta *meta, uint64_t nodes, uint64_t number)
{
    for (size_t i = 0; i < meta->nodes_count; i++) {
        if (meta->nodes[i].number == number) {
            return (nodes >> i & 1) != 0;
        }
    }
    return false;
}

int stele_plan_leaders(struct stele_alloc *alloc, const struct stele_meta *meta, uint64_t able,
                       uint64_t *out_leaders)
{
    const uint64_t active = active_of(meta);
    STELE_ASSERT(meta->version > 0);
    if ((active & able) == 0) {
        memset(out_leaders, 0, meta->partitions * sizeof out_leaders[0]);
        return STELE_OK;
    }
    int outcome = spread(alloc, meta, active, NULL, 0, out_leaders);
    for (uint32_t i = 0; i < meta->partitions && outcome == STELE_OK; i++) {
        out_leaders[i] = meta->leaders[i] != 0 ? meta->leaders[i] : out_leaders[i];
    }
    if (outcome == STELE_OK && (active & ~able) != 0) {
        /* Only what has lost its leader: evenness waits until they come back, or go for good. */
        outcome = spread(alloc, meta, active & able, out_leaders, 100, out_leaders);
    }
    for (uint32_t i = 0; i < meta->partitions && outcome == STELE_OK; i++) {
        if (meta->leaders[i] != 0 && is_in(meta, active & able, meta->leaders[i])) {
            out_leaders[i] = meta->leaders[i];
        }
    }
    return outcome;
}
