/* Copies of events that outlive what they were read from. */
#include "subs/group.h"

#include <stdatomic.h>

static size_t tags_size(const struct stele_event *event)
{
    size_t size = 0;
    for (uint32_t i = 0; i < event->tags_count; i++) {
        size += 1 + (size_t)event->tags[size];
    }
    return size;
}

static size_t size_of(const struct stele_event *event)
{
    return event == NULL ? 0
                         : event->stream.size + event->type.size + event->content_type.size +
                               event->data_size + event->metadata_size + tags_size(event);
}

static uint8_t *put(uint8_t *to, const void *data, size_t size)
{
    if (size > 0) {
        memcpy(to, data, size);
    }
    return to + size;
}

static uint8_t *copy_text(uint8_t *to, struct stele_text *text)
{
    const char *data = (const char *)to;
    to = put(to, text->data, text->size);
    text->data = data;
    return to;
}

static uint8_t *copy(uint8_t *to, const struct stele_event *from, struct stele_event *out)
{
    *out = *from;
    to = copy_text(to, &out->stream);
    to = copy_text(to, &out->type);
    to = copy_text(to, &out->content_type);
    out->data = to;
    to = put(to, from->data, from->data_size);
    out->metadata = to;
    to = put(to, from->metadata, from->metadata_size);
    out->tags = to;
    return put(to, from->tags, tags_size(from));
}

struct stele_group_event *stele_group_event_create(struct stele_alloc *alloc,
                                                   const struct stele_event *event,
                                                   const struct stele_event *link, uint64_t place)
{
    STELE_ASSERT(event != NULL || link != NULL);
    const size_t size = sizeof(struct stele_group_event) + size_of(event) + size_of(link);
    struct stele_group_event *made = stele_allocate(alloc, size);
    if (made == NULL) {
        return NULL;
    }
    memset(made, 0, sizeof *made);
    atomic_init(&made->refs, 1);
    made->alloc = alloc;
    made->size = size;
    made->place = place;
    uint8_t *to = (uint8_t *)(made + 1);
    if (event != NULL) {
        to = copy(to, event, &made->event);
    }
    if (link != NULL) {
        to = copy(to, link, &made->link);
    }
    STELE_ASSERT(to == (uint8_t *)made + size);
    return made;
}

void stele_group_event_ref(struct stele_group_event *event)
{
    (void)atomic_fetch_add_explicit(&event->refs, 1, memory_order_relaxed);
}

void stele_group_event_unref(struct stele_group_event *event)
{
    if (event != NULL && atomic_fetch_sub_explicit(&event->refs, 1, memory_order_acq_rel) == 1) {
        stele_release(event->alloc, event, event->size);
    }
}

const uint8_t *stele_group_event_id(const struct stele_group_event *event)
{
    return event->link.type.data != NULL ? event->link.id : event->event.id;
}
