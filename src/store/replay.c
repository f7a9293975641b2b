/* Appending what another store has appended, as it is: the same positions, revisions, times and ids.
 *
 * Decoding takes nothing on trust and needs no lock. Applying goes group by group: first whether it
 * continues this store, which changes nothing; then the room; then the bytes.
 *
 * A store that scavenged may have removed anything but the last event of each stream, by rules of a
 * later time than that of the events being copied. So in the middle of a copy the store is in no state
 * that any node was ever in, and commands are refused until an export has been copied to its end. The
 * file "fetch" remembers it: it is there from before the first copied append until all of them are
 * durable. */
#include "store/store_internal.h"

#define MARK_NAME "fetch"
#define MARK_SIZE 8

struct replay_event {
    size_t offset; /* In the chunk. */
    uint32_t size;
    uint32_t checksum;
    uint32_t tags_count;
    bool tombstone;
    uint64_t position;
    uint64_t revision;
    uint64_t id_hash;
    struct stele_index_key stream, category, type;
    size_t tags_first;
    /* While applying: */
    struct stele_index_entry *stream_entry, *category_entry, *type_entry;
    uint64_t next_before; /* Of the stream's entry. */
};

struct replay_group {
    struct stele_store__group group;
    size_t events_first;
    size_t tags_first, tags_count;
};

struct stele_replay {
    const struct stele_store *store;
    struct stele_alloc *alloc;
    struct stele_bytes chunk; /* Borrowed. */
    struct replay_group *groups;
    size_t groups_count, groups_capacity, groups_done;
    struct replay_event *events;
    size_t events_count, events_capacity;
    struct stele_index_key *tags;
    struct stele_index_entry **tag_entries;
    size_t tags_count, tags_capacity, tag_entries_capacity;
};

int stele_replay_create(const struct stele_store *store, struct stele_replay **out_replay,
                        struct stele_error *err)
{
    struct stele_replay *replay = stele_allocate_zeroed(store->alloc, sizeof *replay);
    if (replay == NULL) {
        return stele_fail(err, STELE_E_NO_MEMORY, 0, "replay: no memory");
    }
    replay->store = store;
    replay->alloc = store->alloc;
    *out_replay = replay;
    return STELE_OK;
}

void stele_replay_destroy(struct stele_replay *replay)
{
    if (replay == NULL) {
        return;
    }
    struct stele_alloc *alloc = replay->alloc;
    stele_release(alloc, replay->groups, replay->groups_capacity * sizeof *replay->groups);
    stele_release(alloc, replay->events, replay->events_capacity * sizeof *replay->events);
    stele_release(alloc, replay->tags, replay->tags_capacity * sizeof *replay->tags);
    stele_release(alloc, replay->tag_entries,
                  replay->tag_entries_capacity * sizeof *replay->tag_entries);
    stele_release(alloc, replay, sizeof *replay);
}

/* ---- Decoding (no lock) ---- */

static int fail_chunk(struct stele_error *err, const char *what)
{
    return stele_fail(err, STELE_E_CORRUPT, 0, "replay: %s", what);
}

static bool name_is_sound(struct stele_bytes name, size_t size_max)
{
    return name.size > 0 && name.size <= size_max && stele_store__text_is_clean(name);
}

/* Names, sizes and flags that stele_prepare() would never have let in. */
static bool event_is_sound(const struct stele_event *event)
{
    const struct stele_bytes stream = stele_store__bytes(event->stream);
    const struct stele_bytes type = stele_store__bytes(event->type);
    const bool meta = stele_store__is_metastream(stream);
    const bool closes = (event->flags & STELE_EVENT_TOMBSTONE) != 0;
    struct stele_stream_limits limits;
    if (!name_is_sound(stream, STELE_STREAM_NAME_SIZE_MAX + (meta ? 2 : 0)) ||
        !name_is_sound(type, STELE_TYPE_SIZE_MAX) || event->tags_count > STELE_TAGS_MAX ||
        event->revision > STELE_REVISION_MAX || event->position > STELE_POSITION_MAX ||
        stele_bytes_equal(type, stele_bytes_of_text("$tombstone")) != closes) {
        return false;
    }
    /* Decisions rest on metadata, so it must be what parses. */
    return !meta || stele_store__limits_parse(
                        (struct stele_bytes){.data = event->data, .size = event->data_size},
                        &limits, NULL) == STELE_OK;
}

static int add_tags(struct stele_replay *replay, const struct stele_event *event,
                    struct stele_error *err)
{
    const size_t count = replay->tags_count + event->tags_count;
    if (stele_store__grow(replay->alloc, (void **)&replay->tags, &replay->tags_capacity,
                          sizeof *replay->tags, count) != STELE_OK) {
        return stele_fail(err, STELE_E_NO_MEMORY, 0, "replay: no memory");
    }
    const uint8_t *tag = event->tags;
    for (uint32_t i = 0; i < event->tags_count; i++) {
        const struct stele_bytes name = {.data = tag + 1, .size = tag[0]};
        if (!name_is_sound(name, STELE_TAG_SIZE_MAX)) {
            return fail_chunk(err, "an event's tag is none");
        }
        replay->tags[replay->tags_count++] =
            stele_index_key(replay->store->superblock.seed, STELE_SPACE_TAG, name);
        tag += 1 + tag[0];
    }
    return STELE_OK;
}

static int add_event(struct stele_replay *replay, struct stele_bytes rest, uint16_t partition,
                     uint64_t stamp, size_t *out_size, struct stele_error *err)
{
    const struct stele_superblock *superblock = &replay->store->superblock;
    struct stele_event event;
    if (stele_record_decode(rest, &event, out_size) != STELE_OK || !event_is_sound(&event)) {
        return fail_chunk(err, "an event is damaged");
    }
    const struct stele_bytes stream = stele_store__bytes(event.stream);
    if (stele_position_partition(event.position) != partition ||
        stele_store__partition(replay->store, stream) != partition) {
        return fail_chunk(err, "an event is of another partition: the stores' settings differ");
    }
    if (stele_position_tick(event.position) < stele_position_tick(stamp)) {
        return fail_chunk(err, "an event's position is below its stamp");
    }
    if (stele_store__grow(replay->alloc, (void **)&replay->events, &replay->events_capacity,
                          sizeof *replay->events, replay->events_count + 1) != STELE_OK) {
        return stele_fail(err, STELE_E_NO_MEMORY, 0, "replay: no memory");
    }
    struct replay_event *to = &replay->events[replay->events_count++];
    *to = (struct replay_event){
        .offset = (size_t)(rest.data - replay->chunk.data),
        .size = (uint32_t)*out_size,
        .checksum = stele_load_u32le(rest.data),
        .tags_count = event.tags_count,
        .tombstone = (event.flags & STELE_EVENT_TOMBSTONE) != 0,
        .position = event.position,
        .revision = event.revision,
        .id_hash = stele_index_id_hash(superblock->seed, event.id),
        .stream = stele_index_key(superblock->seed, STELE_SPACE_STREAM, stream),
        .category =
            stele_index_key(superblock->seed, STELE_SPACE_CATEGORY, stele_store__category(stream)),
        .type = stele_index_key(superblock->seed, STELE_SPACE_TYPE, stele_store__bytes(event.type)),
        .tags_first = replay->tags_count,
    };
    return add_tags(replay, &event, err);
}

static int add_frame(struct stele_replay *replay, struct stele_bytes records, uint16_t partition,
                     uint64_t stamp, struct stele_error *err)
{
    int outcome = partition < replay->store->superblock.partitions
                      ? STELE_OK
                      : fail_chunk(err, "a frame's partition does not exist");
    while (outcome == STELE_OK && records.size > 0) {
        size_t size = 0;
        outcome = add_event(replay, records, partition, stamp, &size, err);
        if (outcome == STELE_OK) {
            records = stele_bytes_slice(records, size, records.size - size);
        }
    }
    return outcome;
}

static int add_group(struct stele_replay *replay, const struct stele_store__group *group,
                     struct stele_error *err)
{
    if (stele_store__grow(replay->alloc, (void **)&replay->groups, &replay->groups_capacity,
                          sizeof *replay->groups, replay->groups_count + 1) != STELE_OK) {
        return stele_fail(err, STELE_E_NO_MEMORY, 0, "replay: no memory");
    }
    const size_t events_first = replay->events_count;
    const size_t tags_first = replay->tags_count;
    size_t at = 0;
    for (uint32_t i = 0; i < group->frames; i++) {
        uint16_t partition = 0;
        uint32_t size = 0;
        stele_store__group_frame(group, i, &partition, &size);
        const int outcome = add_frame(replay, stele_bytes_slice(group->records, at, size),
                                      partition, group->stamp, err);
        if (outcome != STELE_OK) {
            return outcome;
        }
        at += size;
    }
    if (replay->events_count - events_first != group->events) {
        return fail_chunk(err, "a group has another number of events than it says");
    }
    replay->groups[replay->groups_count++] =
        (struct replay_group){.group = *group,
                              .events_first = events_first,
                              .tags_first = tags_first,
                              .tags_count = replay->tags_count - tags_first};
    return STELE_OK;
}

int stele_replay_decode(struct stele_replay *replay, struct stele_bytes chunk,
                        struct stele_error *err)
{
    replay->chunk = chunk;
    replay->groups_count = 0;
    replay->groups_done = 0;
    replay->events_count = 0;
    replay->tags_count = 0;
    int outcome = STELE_OK;
    struct stele_bytes rest = chunk;
    while (outcome == STELE_OK && rest.size > 0) {
        struct stele_store__group group;
        outcome = stele_store__group_decode(rest, &group) == STELE_OK
                      ? add_group(replay, &group, err)
                      : fail_chunk(err, "a group is damaged");
        if (outcome == STELE_OK) {
            rest = stele_bytes_slice(rest, group.size, rest.size - group.size);
        }
    }
    if (outcome == STELE_OK &&
        stele_store__grow(replay->alloc, (void **)&replay->tag_entries,
                          &replay->tag_entries_capacity, sizeof *replay->tag_entries,
                          replay->tags_count) != STELE_OK) {
        outcome = stele_fail(err, STELE_E_NO_MEMORY, 0, "replay: no memory");
    }
    if (outcome != STELE_OK) {
        replay->groups_count = 0;
    }
    return outcome;
}

void stele_replay_sizes(const struct stele_replay *replay, uint64_t sizes[STELE_PARTITIONS_MAX])
{
    for (size_t i = 0; i < replay->groups_count; i++) {
        const struct stele_store__group *const group = &replay->groups[i].group;
        sizes[stele_position_partition(group->stamp)] += group->size;
    }
}

/* ---- Applying (under the lock) ---- */

static int load_entries(struct stele_store *store, struct stele_replay *replay,
                        const struct replay_group *group, struct stele_error *err)
{
    int outcome = stele_index_reserve(store->index, group->group.events,
                                      3 * (size_t)group->group.events + group->tags_count);
    struct replay_event *events = &replay->events[group->events_first];
    for (uint32_t i = 0; i < group->group.events && outcome == STELE_OK; i++) {
        outcome = stele_index_entry(store->index, &events[i].stream, &events[i].stream_entry, err);
        if (outcome == STELE_OK) {
            outcome = stele_index_entry(store->index, &events[i].category,
                                        &events[i].category_entry, err);
        }
        if (outcome == STELE_OK) {
            outcome = stele_index_entry(store->index, &events[i].type, &events[i].type_entry, err);
        }
    }
    for (size_t i = 0; i < group->tags_count && outcome == STELE_OK; i++) {
        outcome = stele_index_entry(store->index, &replay->tags[group->tags_first + i],
                                    &replay->tag_entries[group->tags_first + i], err);
    }
    return outcome == STELE_E_CORRUPT ? STELE_INCOMPLETE : outcome;
}

/* Would every event continue its stream and the log? Walks through the group as if it were added,
 * and back. */
static bool continues(const struct stele_store *store, struct stele_replay *replay,
                      const struct replay_group *group)
{
    struct replay_event *events = &replay->events[group->events_first];
    const uint64_t stamp = group->group.stamp;
    uint64_t position = stele_log_position(store->log);
    bool sound = stamp == 0 || stamp > stele_log_stamp(store->log);
    uint32_t walked = 0;
    while (sound && walked < group->group.events) {
        struct replay_event *event = &events[walked];
        struct stele_index_entry *stream = event->stream_entry;
        sound = event->position > position && event->revision >= stream->next &&
                (stream->flags & STELE_INDEX_TOMBSTONED) == 0;
        if (sound) {
            event->next_before = stream->next;
            stream->next = event->tombstone ? UINT64_MAX : event->revision + 1;
            position = event->position;
            walked++;
        }
    }
    while (walked > 0) {
        walked--;
        events[walked].stream_entry->next = events[walked].next_before;
    }
    return sound;
}

static uint32_t frames_left(const struct stele_store__group *group)
{
    uint32_t left = 0;
    for (uint32_t i = 0; i < group->frames; i++) {
        uint16_t partition = 0;
        uint32_t size = 0;
        stele_store__group_frame(group, i, &partition, &size);
        left += size > 0 ? 1 : 0;
    }
    return left;
}

/* Where putting stands. */
struct putting {
    uint8_t *bytes;
    uint64_t place;
    struct replay_event *event;
};

static void put_frame(struct stele_store *store, struct stele_replay *replay,
                      struct stele_frame *frame, struct putting *at)
{
    const uint8_t *records = replay->chunk.data + at->event->offset;
    uint8_t *header = at->bytes;
    memcpy(header + STELE_FRAME_HEADER_SIZE, records, frame->size);
    at->place += STELE_FRAME_HEADER_SIZE;
    uint64_t left = frame->size;
    while (left > 0) {
        const struct replay_event *event = at->event++;
        /* Ahead: what was between has been scavenged. */
        event->stream_entry->next = event->revision;
        if (event->tombstone) {
            stele_index_mark(event->stream_entry, STELE_INDEX_TOMBSTONED);
        }
        stele_index_add(store->index, at->place, event->id_hash, event->stream_entry,
                        event->category_entry, event->type_entry,
                        event->tags_count == 0 ? NULL : replay->tag_entries + event->tags_first,
                        event->tags_count);
        frame->payload_checksum = stele_frame_extend(frame->payload_checksum, event->checksum);
        frame->count++;
        at->place += event->size;
        left -= event->size;
    }
    stele_log_put_frame(store->log, header, frame);
    at->bytes += STELE_FRAME_HEADER_SIZE + frame->size;
}

static int put_group(struct stele_store *store, struct stele_replay *replay,
                     const struct replay_group *group, struct stele_ticket *out_ticket,
                     struct stele_error *err)
{
    const uint32_t frames = frames_left(&group->group);
    const uint64_t size = group->group.records.size + (uint64_t)frames * STELE_FRAME_HEADER_SIZE;
    struct putting at = {.event = &replay->events[group->events_first]};
    const int outcome = stele_log_reserve(store->log, size, &at.bytes, &at.place);
    if (outcome == STELE_INCOMPLETE) {
        out_ticket->roll_size = size;
        return STELE_STORE_ROLL;
    }
    if (outcome != STELE_OK) {
        return stele_fail(err, outcome, 0, "replay: the log cannot take %llu bytes",
                          (unsigned long long)size);
    }
    const uint64_t end = at.place + size;
    uint16_t index = 0;
    for (uint32_t i = 0; i < group->group.frames; i++) {
        struct stele_frame frame = {.kind = STELE_FRAME_EVENTS,
                                    .group_index = index,
                                    .group_count = (uint16_t)frames,
                                    .term = group->group.stamp};
        stele_store__group_frame(&group->group, i, &frame.partition, &frame.size);
        if (frame.size > 0) {
            put_frame(store, replay, &frame, &at);
            index++;
        }
    }
    STELE_ASSERT(at.place == end);
    const uint64_t position = at.event[-1].position;
    stele_log_commit(store->log, position, group->group.events);
    if (store->clock.tick < stele_position_tick(position)) {
        store->clock.tick = stele_position_tick(position);
    }
    out_ticket->place = end;
    return STELE_OK;
}

int stele_store_replay(struct stele_store *store, struct stele_replay *replay,
                       struct stele_ticket *out_ticket, struct stele_error *err)
{
    STELE_ASSERT(replay->store == store);
    if (replay->groups_done == replay->groups_count) {
        return STELE_END;
    }
    int outcome = stele_store__check_writable(store, err);
    if (outcome == STELE_OK && !store->superblock.ordered) {
        outcome = stele_fail(err, STELE_E_UNSUPPORTED, 0, "the store is no node's of a cluster");
    }
    if (outcome != STELE_OK) {
        return outcome;
    }
    const struct replay_group *group = &replay->groups[replay->groups_done];
    outcome = store->index_ready ? load_entries(store, replay, group, err) : STELE_INCOMPLETE;
    if (outcome != STELE_OK) {
        return outcome == STELE_INCOMPLETE ? STELE_STORE_INDEX : outcome;
    }
    if (!continues(store, replay, group)) {
        return fail_chunk(err, "what was sent does not continue this store; it cannot have been a "
                               "copy of the other one");
    }
    outcome = put_group(store, replay, group, out_ticket, err);
    replay->groups_done += outcome == STELE_OK ? 1 : 0;
    return outcome;
}

/* ---- Being incomplete ---- */

int stele_store__load_copying(struct stele_store *store, struct stele_error *err)
{
    struct stele_file *file = NULL;
    const int outcome = store->io->ops->open(store->io, MARK_NAME, false, &file, err);
    if (outcome == STELE_OK) {
        store->io->ops->close(file);
        store->copying = true;
    }
    return outcome == STELE_NOT_FOUND ? STELE_OK : outcome;
}

int stele_replay_begin(struct stele_store *store, struct stele_error *err)
{
    struct stele_io *io = store->io;
    int outcome = stele_store__check_writable(store, err);
    if (outcome == STELE_OK && !store->superblock.ordered) {
        outcome = stele_fail(err, STELE_E_UNSUPPORTED, 0, "the store is no node's of a cluster");
    }
    if (outcome != STELE_OK || store->copying) {
        return outcome;
    }
    if (!store->superblock.copied) {
        struct stele_superblock superblock = store->superblock;
        superblock.copied = true;
        outcome = stele_store__superblock_write(io, &superblock, err);
        store->superblock.copied = outcome == STELE_OK;
    }
    /* Its name is all that counts. */
    struct stele_file *file = NULL;
    if (outcome == STELE_OK) {
        outcome = io->ops->create(io, MARK_NAME, MARK_SIZE, true, &file, err);
    }
    if (outcome == STELE_OK) {
        io->ops->close(file);
        outcome = io->ops->sync_names(io, err);
    }
    if (outcome == STELE_OK) {
        store->copying = true;
        store->copying_from = stele_log_position(store->log);
    }
    return outcome;
}

int stele_replay_end(struct stele_store *store, bool complete, struct stele_error *err)
{
    STELE_ASSERT(stele_log_durable(store->log) == stele_log_end(store->log) ||
                 stele_log_is_fenced(store->log));
    /* Nothing was copied since the beginning, when the store was whole: then it still is. */
    const bool untouched =
        store->copying_from != 0 && store->copying_from == stele_log_position(store->log);
    if (!store->copying || (!complete && !untouched) || stele_log_is_fenced(store->log)) {
        return STELE_OK;
    }
    int outcome = stele_log_sync(store->log, err);
    if (outcome == STELE_OK) {
        outcome = store->io->ops->remove(store->io, MARK_NAME, err);
    }
    if (outcome == STELE_OK || outcome == STELE_NOT_FOUND) {
        outcome = store->io->ops->sync_names(store->io, err);
    }
    store->copying = outcome != STELE_OK;
    return outcome;
}

bool stele_store_is_catching_up(const struct stele_store *store)
{
    return store->copying;
}
