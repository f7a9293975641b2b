/* Two processors: one locks accounts after three failed logins, one passes events on to another store.
 *
 *     processor lock STORE           events lead to events of the same store
 *     processor pass STORE TARGET    events go where rules say, without what others may not see
 *
 * Run them as often as you like, kill them when you like: each event counts once. */
#include <stele/process.h>
#include <stele/route.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- What is remembered of logins: failures in a row, by account ---- */

#define ACCOUNTS_MAX 100

struct logins {
    struct {
        char stream[64];
        int failures;
    } account[ACCOUNTS_MAX];
    int count;
};

static int *failures_of(struct logins *logins, struct stele_text stream)
{
    int i;
    for (i = 0; i < logins->count; i++) {
        if (strlen(logins->account[i].stream) == stream.size &&
            memcmp(logins->account[i].stream, stream.data, stream.size) == 0) {
            return &logins->account[i].failures;
        }
    }
    if (logins->count == ACCOUNTS_MAX || stream.size >= sizeof logins->account[0].stream) {
        return NULL;
    }
    memcpy(logins->account[logins->count].stream, stream.data, stream.size);
    return &logins->account[logins->count++].failures;
}

static int is_type(const struct stele_event *event, const char *type)
{
    return event->type.size == strlen(type) &&
           memcmp(event->type.data, type, event->type.size) == 0;
}

static int remember(void *context, void *state, const struct stele_event *event, const void *fact,
                    struct stele_memory *memory)
{
    int *failures = failures_of(state, event->stream);
    (void)context;
    (void)fact;
    (void)memory;
    if (failures == NULL) {
        return STELE_E_LIMIT;
    }
    *failures = is_type(event, "LoginFailed") ? *failures + 1 : 0;
    return STELE_OK;
}

static const struct stele_fold logins_fold = {sizeof(struct stele_fold),
                                              "logins",
                                              1,
                                              NULL,
                                              sizeof(struct logins),
                                              NULL,
                                              NULL,
                                              remember,
                                              NULL,
                                              NULL,
                                              NULL,
                                              NULL,
                                              NULL};

/* ---- The handler: with the event counted already ---- */

static int lock(void *context, const struct stele_event *event, const void *state,
                struct stele_process *process)
{
    struct logins logins = *(const struct logins *)state;
    const int *failures = failures_of(&logins, event->stream);
    struct stele_event_draft locked;
    (void)context;
    if (failures == NULL || *failures != 3) {
        return STELE_OK;
    }
    memset(&locked, 0, sizeof locked);
    locked.type = "AccountLocked";
    locked.data = "{\"after\":3}";
    locked.data_size = strlen("{\"after\":3}");
    return stele_process_emit(
        process,
        stele_memory_copy(stele_process_memory(process), event->stream.data, event->stream.size),
        &locked);
}

static int run_lock(struct stele *store, struct stele_error *err)
{
    static const char *const types[] = {"LoginFailed", "LoggedIn"};
    struct stele_processor_progress progress;
    struct stele_processor processor;
    struct stele_filter filter;
    int outcome;
    memset(&filter, 0, sizeof filter);
    filter.types = types;
    filter.types_count = 2;
    memset(&processor, 0, sizeof processor);
    processor.struct_size = sizeof processor;
    processor.name = "lock";
    processor.handle = lock;
    processor.filter = &filter;
    processor.fold = &logins_fold;
    outcome = stele_processor_run(store, store, &processor, NULL, &progress, err);
    printf("%llu logins looked at, %llu accounts locked\n", (unsigned long long)progress.handled,
           (unsigned long long)progress.emitted);
    return outcome;
}

/* ---- Rules: who gets which events, and as what ---- */

static const char *const to_billing[] = {"billing"};
static const char *const private_values[] = {"/email", "/address"};

static const struct stele_transform transforms[] = {{sizeof(struct stele_transform), "customer",
                                                     "CustomerRegistered", private_values, 2, NULL,
                                                     0, "***", NULL, NULL}};
static const struct stele_route rules[] = {
    {sizeof(struct stele_route), NULL, "UserRegistered", to_billing, 1, "customer"},
    {sizeof(struct stele_route), NULL, "Account*", to_billing, 1, NULL},
};

static int run_pass(struct stele *store, struct stele *target, struct stele_error *err)
{
    struct stele_memory *memory = stele_memory_create();
    struct stele_processor_progress progress;
    struct stele_processor processor;
    struct stele_route_target billing;
    struct stele_routes *routes = NULL;
    int outcome = stele_routes_create(memory, rules, 2, transforms, 1, &routes, err);
    memset(&billing, 0, sizeof billing);
    billing.struct_size = sizeof billing;
    billing.routes = routes;
    billing.self = "crm";
    billing.target = "billing";
    billing.prefix = "crm.";
    memset(&processor, 0, sizeof processor);
    processor.struct_size = sizeof processor;
    processor.name = "crm-to-billing";
    processor.context = &billing;
    processor.handle = stele_route_handle;
    if (outcome == STELE_OK) {
        outcome = stele_processor_run(store, target, &processor, NULL, &progress, err);
        printf("%llu events looked at, %llu passed on\n", (unsigned long long)progress.handled,
               (unsigned long long)progress.emitted);
    }
    stele_memory_destroy(memory);
    return outcome;
}

int main(int argc, char **argv)
{
    struct stele *store = NULL;
    struct stele *target = NULL;
    struct stele_error err;
    int outcome;
    const int is_pass = argc == 4 && strcmp(argv[1], "pass") == 0;
    if (!is_pass && (argc != 3 || strcmp(argv[1], "lock") != 0)) {
        fprintf(stderr, "usage: processor lock STORE\n       processor pass STORE TARGET\n");
        return 2;
    }
    outcome = stele_open(argv[2], NULL, &store, &err);
    if (outcome == STELE_OK && is_pass) {
        outcome = stele_open(argv[3], NULL, &target, &err);
    }
    if (outcome == STELE_OK) {
        outcome = is_pass ? run_pass(store, target, &err) : run_lock(store, &err);
    }
    if (outcome != STELE_OK) {
        fprintf(stderr, "processor: %s\n", err.message);
    }
    stele_close(target);
    stele_close(store);
    return outcome == STELE_OK ? 0 : 1;
}
