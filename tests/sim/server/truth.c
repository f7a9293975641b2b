/* What a subscriber has to be told: the model's visible events in the order of the log, filtered.
 *
 * Visible is final: what was durable once stays, in this order, whatever crashes. So an event that a
 * subscriber is told is looked up by its position, and everything that it wants before must have
 * been told, unless the rules allow that it is missing: scavenged, or hidden by the stream's own
 * limits. */
#include "server.h"

#include <stdlib.h>

static bool equals(struct stele_bytes bytes, const char *text)
{
    return bytes.size == strlen(text) && memcmp(bytes.data, text, bytes.size) == 0;
}

uint32_t srv_truth_after_position(const struct sim *sim, uint64_t position)
{
    uint32_t low = 0;
    uint32_t high = sim->model.count;
    while (low < high) {
        const uint32_t middle = low + (high - low) / 2;
        if (sim->model.events[middle].position <= position) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

uint32_t srv_truth_find(struct sim *sim, const struct srv_event *event, const char *who)
{
    const struct model *model = &sim->model;
    const uint32_t after = srv_truth_after_position(sim, event->position);
    const struct model_event *found = after == 0 ? NULL : &model->events[after - 1];
    if (found == NULL || found->position != event->position) {
        sim_fail(sim, "%s is told of an event at %llu that was never appended", who,
                 (unsigned long long)event->position);
    }
    if (after > model->visible) {
        sim_fail(sim, "%s is told of the event at %llu before it is durable", who,
                 (unsigned long long)event->position);
    }
    const bool same =
        equals(event->stream, model->streams.names[found->stream]) &&
        (event->tombstone /* It has a revision and a type of its own in this protocol. */
             ? model_is_tombstoned(model, found->stream, false)
             : event->revision == found->revision &&
                   equals(event->type, model->types.names[found->type])) &&
        (!found->id_known || memcmp(event->id, found->id, 16) == 0) &&
        event->data.size == found->data_size &&
        (found->data_size == 0 || memcmp(event->data.data, found->data, found->data_size) == 0);
    if (!same) {
        sim_fail(sim, "%s is told of the event at %llu, but not as it was appended: %.*s %.*s", who,
                 (unsigned long long)event->position, (int)event->stream.size,
                 (const char *)event->stream.data, (int)event->type.size,
                 (const char *)event->type.data);
    }
    return after - 1;
}

bool srv_truth_wants(const struct sim *sim, const struct srv_want *want, uint32_t index)
{
    static const char hidden[] = "$persistentsubscription-$all::";
    const struct model *model = &sim->model;
    const struct model_event *event = &model->events[index];
    const char *stream = model->streams.names[event->stream];
    switch (want->kind) {
    case SRV_ALL:
        if (want->hides && strlen(stream) > sizeof hidden &&
            strncmp(stream, hidden, sizeof hidden - 1) == 0) {
            return false;
        }
        return !want->filtered || model_filter_matches(model, &want->filter, index);
    case SRV_STREAM:
        return strcmp(stream, want->name) == 0;
    case SRV_CATEGORY:
        return strcmp(model->categories.names[model->stream_of[event->stream].category],
                      want->name) == 0;
    default:
        return strcmp(model->types.names[event->type], want->name) == 0;
    }
}

bool srv_truth_may_lack(const struct sim *sim, const struct srv_want *want, uint32_t index)
{
    const struct model *model = &sim->model;
    const struct model_event *event = &model->events[index];
    if (event->optional) {
        return true;
    }
    if (want->kind != SRV_STREAM) {
        return false;
    }
    /* Without the bytes of its limits it is hidden as a whole. */
    const struct model_limits limits = model_limits(model, event->stream, true);
    return event->revision < limits.truncate_before || limits.max_count != 0 ||
           limits.max_age_us != 0 || model_is_tombstoned(model, event->stream, true);
}

uint32_t srv_truth_next(const struct sim *sim, const struct srv_want *want, uint32_t from,
                        uint32_t end)
{
    for (uint32_t i = from; i < end; i++) {
        if (srv_truth_wants(sim, want, i) && !srv_truth_may_lack(sim, want, i)) {
            return i;
        }
    }
    return end;
}

/* ---- Hashes ---- */

static uint64_t fold(uint64_t hash, uint64_t value)
{
    hash = (hash ^ value) * UINT64_C(0x9ddfea08eb382d69);
    return hash ^ hash >> 31;
}

static uint64_t fold_bytes(uint64_t hash, const void *data, size_t size)
{
    const uint8_t *at = data;
    for (size_t i = 0; i < size; i++) {
        hash = (hash ^ at[i]) * UINT64_C(0x100000001b3);
    }
    return fold(hash, size);
}

uint64_t srv_truth_hash(uint64_t hash, const struct sim *sim, uint32_t index)
{
    const struct model_event *event = &sim->model.events[index];
    hash = fold(hash, event->position);
    return fold_bytes(hash, event->data, event->data_size);
}

uint64_t srv_event_hash(uint64_t hash, const struct srv_event *event)
{
    hash = fold(hash, event->position);
    return fold_bytes(hash, event->data.data, event->data.size);
}

/* ---- Since when ---- */

void srv_truth_visible(struct sim *sim)
{
    struct srv *srv = srv_of(sim);
    const uint32_t visible = sim->model.visible;
    if (visible > srv->visible_capacity) {
        srv->visible_capacity = visible * 2;
        srv->visible_us = realloc(srv->visible_us, srv->visible_capacity * sizeof *srv->visible_us);
        STELE_ASSERT(srv->visible_us != NULL);
    }
    while (srv->visible_count < visible) {
        srv->visible_us[srv->visible_count++] = srv_now_wall_us(sim);
    }
}

uint64_t srv_truth_visible_us(const struct sim *sim, uint32_t index)
{
    const struct srv *srv = srv_of(sim);
    return index < srv->visible_count ? srv->visible_us[index] : UINT64_MAX;
}
