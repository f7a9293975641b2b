/* Clients: one request after the other, asked of any node, asked again with the same ids of any other
 * node until its outcome is known. */
#include "world.h"

#include <stdlib.h>

static void on_begin(struct world *world, struct node *node, void *object, uint64_t number);

static void *grown(void *items, size_t count, size_t *capacity, size_t size)
{
    if (count == *capacity) {
        *capacity = *capacity * 2 + 256;
        items = realloc(items, *capacity * size);
        STELE_ASSERT(items != NULL);
    }
    return items;
}

/* ---- Finding an attempt again ---- */

static size_t bucket_of(uint64_t origin, uint64_t boot, uint64_t id)
{
    uint64_t state = origin * UINT64_C(0x9e3779b97f4a7c15) ^ boot * 31 ^ id;
    return rng_mix(&state) % ATTEMPT_BUCKETS;
}

void client_proposed(struct world *world, struct attempt *attempt)
{
    struct attempt **bucket =
        &world->buckets[bucket_of(attempt->origin, attempt->boot, attempt->id)];
    attempt->next = *bucket;
    *bucket = attempt;
}

struct attempt *client_find(struct world *world, uint64_t origin, uint64_t boot, uint64_t id)
{
    struct attempt *attempt = world->buckets[bucket_of(origin, boot, id)];
    while (attempt != NULL &&
           (attempt->origin != origin || attempt->boot != boot || attempt->id != id)) {
        attempt = attempt->next;
    }
    return attempt;
}

/* ---- Requests ---- */

/* Ids and times are fixed once, so that a repetition is one. */
static void fill_in(struct world *world, struct workload_request *request)
{
    static const uint8_t none[16] = {0};
    for (size_t i = 0; i < request->drafts_count; i++) {
        if (memcmp(request->drafts[i].id, none, sizeof none) == 0) {
            request->drafts[i].id[0] = 0xff;
            stele_store_u64le(request->drafts[i].id + 8, ++world->next_id);
        }
        if (request->drafts[i].created_us == 0) {
            request->drafts[i].created_us = (int64_t)(world->now_us + 1);
        }
    }
}

/* Deleting is one stream with one event that lends its id. */
static void add_id(struct world *world, struct workload_request *request)
{
    if (request->kind == WORKLOAD_APPEND) {
        return;
    }
    request->drafts[0] = (struct stele_event_draft){.type = "$", .id = {0xfe}};
    stele_store_u64le(request->drafts[0].id + 8, ++world->next_id);
    request->drafts_count = 1;
    request->streams[0].events = request->drafts;
    request->streams[0].count = 1;
    request->streams_count = 1;
}

static void on_attempt(struct world *world, struct node *ignored, void *object, uint64_t number)
{
    (void)ignored;
    (void)number;
    struct client *client = object;
    struct rng *rng = &world->rng_workload;
    struct node *node =
        client->node != NULL ? client->node : &world->nodes[rng_below(rng, world->nodes_count)];
    STELE_ASSERT(client->operation != NULL);
    STELE_ASSERT(client->attempt == NULL);
    client->tries++;
    if (!node->up || node->paused_until_us > world->now_us) {
        after(world, NULL, rng_exponential(rng, world->config.retry_us), on_attempt, client, NULL,
              0);
        return;
    }
    struct attempt *attempt = calloc(1, sizeof *attempt);
    STELE_ASSERT(attempt != NULL);
    attempt->client = client;
    attempt->operation = client->operation;
    world->attempts = grown(world->attempts, world->attempts_count, &world->attempts_capacity,
                            sizeof(struct attempt *));
    world->attempts[world->attempts_count++] = attempt;
    world->stats.attempts++;
    client->attempt = attempt;
    execute_ask(world, node, attempt);
}

static void begin(struct world *world, struct client *client)
{
    struct operation *operation = calloc(1, sizeof *operation);
    STELE_ASSERT(operation != NULL);
    operation->request = workload_request(&world->workload, &world->model);
    add_id(world, operation->request);
    fill_in(world, operation->request);
    if (operation->request->kind == WORKLOAD_APPEND) {
        workload_remember(&world->workload, operation->request);
    }
    world->operations = grown(world->operations, world->operations_count,
                              &world->operations_capacity, sizeof(struct operation *));
    world->operations[world->operations_count++] = operation;
    world->stats.operations++;
    client->operation = operation;
    client->begun_us = world->now_us;
    client->tries = 0;
    on_attempt(world, NULL, client, 0);
}

static void on_begin(struct world *world, struct node *node, void *object, uint64_t number)
{
    (void)node;
    (void)number;
    if (!world->stopping) {
        begin(world, object);
    }
}

void client_ask(struct world *world, struct node *node)
{
    struct client *client = &world->clients[0];
    STELE_ASSERT(world->stopping);
    STELE_ASSERT(client->operation == NULL);
    client->node = node;
    begin(world, client);
}

static void think(struct world *world, struct client *client)
{
    const uint64_t us = world->config.think_us;
    after(
        world, NULL,
        rng_exponential(&world->rng_workload, world->now_us < world->busy_until_us ? us / 20 : us),
        on_begin, client, NULL, 0);
}

void client_start(struct world *world)
{
    for (uint32_t i = 0; i < world->config.clients; i++) {
        world->clients[i].index = i;
        think(world, &world->clients[i]);
    }
}

/* ---- Answers ---- */

static void end(struct world *world, struct client *client)
{
    struct operation *operation = client->operation;
    workload_free(operation->request);
    operation->request = NULL;
    client->operation = NULL;
    think(world, client);
}

/* An earlier append was found: is there one, with these ids, at this position? */
static void check_repeated(struct world *world, const struct attempt *attempt,
                           const struct stele_append_result *result)
{
    const struct model *model = &world->model;
    for (uint32_t i = model->count; i > 0; i--) {
        const struct model_event *event = &model->events[i - 1];
        if (event->position == result->position_first) {
            for (size_t k = 0; k < attempt->operation->request->drafts_count; k++) {
                if (memcmp(event->id, attempt->operation->request->drafts[k].id, 16) == 0) {
                    return;
                }
            }
        }
    }
    fail(world, "an earlier append is said to be at %llu, and is not",
         (unsigned long long)result->position_first);
}

void client_told(struct world *world, struct attempt *attempt, int outcome,
                 const struct stele_append_result *result)
{
    struct client *client = attempt->client;
    STELE_ASSERT(client != NULL);
    STELE_ASSERT(client->attempt == attempt);
    attempt->client = NULL;
    free(attempt->bytes);
    attempt->bytes = NULL;
    client->attempt = NULL;
    trace(world, NULL, "told: client, outcome, id", client->index, (uint64_t)outcome, attempt->id);
    const bool again =
        outcome == STELE_E_UNKNOWN || outcome == STELE_E_OVERLOADED || outcome == STELE_STORE_STALE;
    if (again) {
        after(world, NULL, rng_exponential(&world->rng_workload, world->config.retry_us * 2 / 5),
              on_attempt, client, NULL, 0);
        return;
    }
    if (outcome == STELE_OK && result->idempotent != 0) {
        world->stats.repeated++;
        check_repeated(world, attempt, result);
    } else if (outcome == STELE_OK) {
        world->stats.appended++;
    } else {
        world->stats.refused++;
    }
    end(world, client);
}

bool client_is_idle(const struct world *world)
{
    for (uint32_t i = 0; i < world->config.clients; i++) {
        if (world->clients[i].operation != NULL) {
            return false;
        }
    }
    return true;
}

void client_free_all(struct world *world)
{
    for (size_t i = 0; i < world->attempts_count; i++) {
        free(world->attempts[i]->bytes);
        free(world->attempts[i]);
    }
    for (size_t i = 0; i < world->operations_count; i++) {
        workload_free(world->operations[i]->request);
        free(world->operations[i]);
    }
    free(world->attempts);
    free(world->operations);
}
