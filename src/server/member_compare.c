/* Questions about what is stored, whose answers have to be the same on every node.
 *
 *     digest   of a range of positions: how many events, and a hash over all that is equal by design.
 *              `stele cluster check --events` asks every node, and goes into smaller ranges where they
 *              differ. What scavenging may have removed is told from what must be there.
 *     cut      a position up to which everything is decided, the same on every node
 *
 * A digest reads the store on a thread of its own, a bounded piece of it. */
#include "server/member_internal.h"

#include <inttypes.h>
#include <stdio.h>

#define DIGESTS_MAX 4
#define EVENTS_MAX 100000
#define BYTES_MAX ((uint64_t)64 * 1024 * 1024)
#define LIST_MAX 256

/* ---- Digests ---- */

struct stele_member__digest {
    struct stele_member__digest *next;
    struct stele_member *member;
    struct stele_cluster_command *command;
    uint64_t after, through, events_max;
    json_t *list; /* NULL: not wanted. */
    struct stele_export_sum sum;
    pthread_t thread;
    bool has_ended; /* Under view_lock. */
};

/* May no scavenging have removed it? */
static bool is_kept(struct stele *store, const struct stele_event *event)
{
    char name[STELE_STREAM_NAME_SIZE_MAX + 1];
    struct stele_stream_info info;
    if (event->stream.size >= sizeof name) {
        return true;
    }
    memcpy(name, event->stream.data, event->stream.size);
    name[event->stream.size] = '\0';
    const int outcome = stele_stream_info(store, name, &info, NULL);
    if (outcome != STELE_OK) {
        return outcome != STELE_NO_STREAM;
    }
    /* The last one stays in any case. */
    const bool is_last = event->revision == info.revision_last;
    return is_last ||
           (info.deleted == 0 && info.tombstoned == 0 && event->revision >= info.revision_first);
}

static int on_event(void *context, const struct stele_event *event, uint64_t hash)
{
    struct stele_member__digest *digest = context;
    char text[17];
    (void)snprintf(text, sizeof text, "%016" PRIx64, hash);
    json_t *one =
        json_pack("{s:I,s:s,s:b,s:I,s:s%}", "position", (json_int_t)event->position, "hash", text,
                  "kept", is_kept(digest->member->store, event) ? 1 : 0, "revision",
                  (json_int_t)event->revision, "stream", event->stream.data, event->stream.size);
    return one == NULL || json_array_append_new(digest->list, one) != 0 ? STELE_E_NO_MEMORY
                                                                        : STELE_OK;
}

static void answer(struct stele_member__digest *digest, int outcome)
{
    struct stele_cluster_command *command = digest->command;
    if (outcome != STELE_OK) {
        json_decref(digest->list);
        stele_member__command_end(command, command->err.outcome == outcome
                                               ? outcome
                                               : stele_fail(&command->err, outcome, 0,
                                                            "digest: the store cannot be read"));
        return;
    }
    char text[17];
    (void)snprintf(text, sizeof text, "%016" PRIx64, digest->sum.hash);
    json_t *root = json_pack("{s:I,s:s,s:I,s:b}", "events", (json_int_t)digest->sum.events, "hash",
                             text, "through", (json_int_t)digest->sum.through, "complete",
                             digest->sum.complete ? 1 : 0);
    if (digest->list != NULL && root != NULL) {
        (void)json_object_set_new(root, "list", digest->list);
    }
    stele_member__command_answer(command, root);
}

static void *run_digest(void *context)
{
    struct stele_member__digest *digest = context;
    struct stele_member *member = digest->member;
    struct stele_error *err = &digest->command->err;
    struct stele_export *from = NULL;
    int outcome = stele_client_export_begin(member->store, 0, digest->after, &from, err);
    if (outcome == STELE_OK) {
        outcome =
            stele_export_sum(from, digest->through, digest->events_max, BYTES_MAX,
                             digest->list == NULL ? NULL : on_event, digest, &digest->sum, err);
        stele_client_export_end(member->store, from);
    }
    answer(digest, outcome);
    (void)pthread_mutex_lock(&member->view_lock);
    digest->has_ended = true;
    (void)pthread_mutex_unlock(&member->view_lock);
    return NULL;
}

static void release(struct stele_member *member, struct stele_member__digest *digest)
{
    (void)pthread_join(digest->thread, NULL);
    stele_release(member->alloc, digest, sizeof *digest);
}

/* Under view_lock. Those that have answered, and need only be joined. */
static struct stele_member__digest *take_ended(struct stele_member *member)
{
    struct stele_member__digest *ended = NULL;
    struct stele_member__digest **at = &member->digests;
    while (*at != NULL) {
        struct stele_member__digest *one = *at;
        if (one->has_ended) {
            *at = one->next;
            one->next = ended;
            ended = one;
            member->digests_count--;
        } else {
            at = &one->next;
        }
    }
    return ended;
}

static bool read_body(struct stele_cluster_command *command, struct stele_member__digest *digest)
{
    json_t *body = command->body.size == 0
                       ? NULL
                       : json_loadb((const char *)command->body.data, command->body.size, 0, NULL);
    const json_t *after = json_object_get(body, "after");
    const json_t *through = json_object_get(body, "through");
    const json_t *events = json_object_get(body, "events_max");
    const bool list = json_is_true(json_object_get(body, "list"));
    const bool good =
        json_is_integer(after) && json_integer_value(after) >= 0 && json_is_integer(through) &&
        json_integer_value(through) >= json_integer_value(after) &&
        (events == NULL || (json_is_integer(events) && json_integer_value(events) > 0));
    if (good) {
        const uint64_t most = list ? LIST_MAX : EVENTS_MAX;
        digest->after = (uint64_t)json_integer_value(after);
        digest->through = (uint64_t)json_integer_value(through);
        digest->events_max = events == NULL ? most : (uint64_t)json_integer_value(events);
        digest->events_max = digest->events_max > most ? most : digest->events_max;
        digest->list = list ? json_array() : NULL;
    }
    json_decref(body);
    return good;
}

void stele_member__digest(struct stele_member *member, struct stele_cluster_command *command)
{
    struct stele_member__digest *digest = stele_allocate_zeroed(member->alloc, sizeof *digest);
    if (digest == NULL || !read_body(command, digest)) {
        const int outcome = digest == NULL ? STELE_E_NO_MEMORY : STELE_E_INVALID;
        if (digest != NULL) {
            stele_release(member->alloc, digest, sizeof *digest);
        }
        stele_member__command_end(
            command, stele_fail(&command->err, outcome, 0,
                                "digest: give a range of positions: {\"after\": 0, \"through\": "
                                "9000}, and \"events_max\" or \"list\" if you like"));
        return;
    }
    digest->member = member;
    digest->command = command;
    (void)pthread_mutex_lock(&member->view_lock);
    struct stele_member__digest *ended = take_ended(member);
    const bool may = !member->digests_closed && member->digests_count < DIGESTS_MAX &&
                     pthread_create(&digest->thread, NULL, run_digest, digest) == 0;
    if (may) {
        digest->next = member->digests;
        member->digests = digest;
        member->digests_count++;
    }
    (void)pthread_mutex_unlock(&member->view_lock);
    if (!may) {
        json_decref(digest->list);
        stele_release(member->alloc, digest, sizeof *digest);
        stele_member__command_end(command, stele_fail(&command->err, STELE_E_OVERLOADED, 0,
                                                      "digest: %d of them are under way; try again",
                                                      DIGESTS_MAX));
    }
    while (ended != NULL) {
        struct stele_member__digest *next = ended->next;
        release(member, ended);
        ended = next;
    }
}

void stele_member__digests_end(struct stele_member *member)
{
    (void)pthread_mutex_lock(&member->view_lock);
    struct stele_member__digest *digests = member->digests;
    member->digests = NULL;
    member->digests_count = 0;
    member->digests_closed = true;
    (void)pthread_mutex_unlock(&member->view_lock);
    while (digests != NULL) {
        struct stele_member__digest *next = digests->next;
        release(member, digests);
        digests = next;
    }
}

/* ---- A cut ---- */

struct cutting {
    struct stele_linearizing linearizing; /* First. */
    struct stele_member *member;
    struct stele_cluster_command *command;
};

/* Up to which position of a partition the cut goes: a position tells its partition in its last bits, and
 * those that belong to one tick are in their order. */
static uint64_t of_partition(uint64_t cut, uint32_t partition)
{
    const uint64_t mask = (UINT64_C(1) << STELE_POSITION_PARTITION_BITS) - 1;
    const uint64_t same = (cut & ~mask) | partition;
    return same <= cut ? same : same - (mask + 1);
}

static void on_now(struct stele_linearizing *linearizing)
{
    struct cutting *cutting = (struct cutting *)linearizing;
    struct stele_member *member = cutting->member;
    struct stele_cluster_command *command = cutting->command;
    const int outcome = linearizing->outcome;
    stele_release(member->alloc, cutting, sizeof *cutting);
    if (outcome != STELE_OK) {
        stele_member__command_end(
            command, stele_fail(&command->err, STELE_CONDITION_FAILED, 0,
                                "cut: no majority says what was decided last; try again"));
        return;
    }
    struct stele_client_ordered ordered;
    stele_client_ordered(member->store, &ordered);
    const uint64_t cut = ordered.position_durable;
    json_t *positions = json_array();
    for (uint32_t p = 0; p < member->identity.partitions; p++) {
        const uint64_t position = cut == 0 ? 0 : of_partition(cut, p);
        (void)json_array_append_new(positions, json_integer((json_int_t)position));
    }
    json_t *nodes = json_array();
    for (size_t i = 0; i < member->meta->nodes_count; i++) {
        const uint64_t number = member->meta->nodes[i].number;
        const struct stele_member__seen *seen = stele_member__seen_of(member, number);
        if (number == member->identity.number || (seen != NULL && seen->position >= cut)) {
            (void)json_array_append_new(nodes, json_integer((json_int_t)number));
        }
    }
    stele_member__command_answer(command,
                                 json_pack("{s:I,s:I,s:I,s:I,s:o,s:o}", "position", (json_int_t)cut,
                                           "stamp", (json_int_t)ordered.stamp_durable, "time_us",
                                           (json_int_t)stele_order_time_us(cut), "table_version",
                                           (json_int_t)member->meta->version, "nodes", nodes,
                                           "partitions", positions));
}

void stele_member__cut(struct stele_member *member, struct stele_cluster_command *command)
{
    struct cutting *cutting = stele_allocate_zeroed(member->alloc, sizeof *cutting);
    if (cutting == NULL) {
        stele_member__command_end(command,
                                  stele_fail(&command->err, STELE_E_NO_MEMORY, 0, "no memory"));
        return;
    }
    cutting->member = member;
    cutting->command = command;
    cutting->linearizing.loop = member->base;
    cutting->linearizing.on_done = on_now;
    stele_member__ask_linearize(&member->cluster, &cutting->linearizing);
}
