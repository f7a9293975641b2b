/* A store in a scratch directory, the server's engine over it, and a loop driven by hand whose time
 * moves only when a test says so. Completions come from the store's threads, so running the loop
 * waits for them. */
#ifndef STELE_TESTS_UNIT_AUTH_WORLD_H
#define STELE_TESTS_UNIT_AUTH_WORLD_H

#include "auth/auth.h"
#include "io/linux.h"
#include "lib/check.h"
#include "lib/scratch.h"
#include "server/engine.h"

#include <dirent.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define WORLD_WALL_US INT64_C(1800000000000000)

struct world {
    struct stele_loop loop;
    pthread_mutex_t lock;
    pthread_cond_t came;
    struct stele_task *first, **last;
    int64_t now_us;
    uint8_t random;
    struct stele_timer *timers[8];
    struct scratch scratch;
    struct stele *store;
    struct stele_engine *engine;
    struct stele_auth *auth;
    char log[65536]; /* Everything that was logged. */
    char passwords[2][64];
    size_t passwords_count;
};

static inline struct world *world_of(struct stele_loop *loop)
{
    return (struct world *)loop;
}

static inline void world_post(struct stele_loop *loop, struct stele_task *task)
{
    struct world *world = world_of(loop);
    pthread_mutex_lock(&world->lock);
    task->next = NULL;
    *world->last = task;
    world->last = &task->next;
    pthread_cond_signal(&world->came);
    pthread_mutex_unlock(&world->lock);
}

static inline void world_timer_stop(struct stele_loop *loop, struct stele_timer *timer)
{
    struct world *world = world_of(loop);
    for (size_t i = 0; i < 8; i++) {
        if (world->timers[i] == timer) {
            world->timers[i] = NULL;
        }
    }
}

static inline void world_timer_start(struct stele_loop *loop, struct stele_timer *timer,
                                     int64_t due_us)
{
    struct world *world = world_of(loop);
    world_timer_stop(loop, timer);
    timer->due_us = due_us;
    for (size_t i = 0; i < 8; i++) {
        if (world->timers[i] == NULL) {
            world->timers[i] = timer;
            return;
        }
    }
    CHECK(0 && "room for a timer");
}

static inline int64_t world_now(struct stele_loop *loop)
{
    return world_of(loop)->now_us;
}

static inline int64_t world_wall(struct stele_loop *loop)
{
    return WORLD_WALL_US + world_of(loop)->now_us;
}

static inline void world_random(struct stele_loop *loop, void *buffer, size_t size)
{
    for (size_t i = 0; i < size; i++) {
        ((uint8_t *)buffer)[i] = world_of(loop)->random++;
    }
}

static const struct stele_loop_ops world_ops = {
    .post = world_post,
    .timer_start = world_timer_start,
    .timer_stop = world_timer_stop,
    .now_us = world_now,
    .wall_us = world_wall,
    .random = world_random,
};

/* Runs one task; waits for it up to wait_ms. */
static inline bool world_step(struct world *world, int wait_ms)
{
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_nsec += (long)(wait_ms % 1000) * 1000000;
    until.tv_sec += wait_ms / 1000 + until.tv_nsec / 1000000000;
    until.tv_nsec %= 1000000000;
    pthread_mutex_lock(&world->lock);
    while (world->first == NULL &&
           pthread_cond_timedwait(&world->came, &world->lock, &until) == 0) {
    }
    struct stele_task *task = world->first;
    if (task != NULL) {
        world->first = task->next;
        if (world->first == NULL) {
            world->last = &world->first;
        }
    }
    pthread_mutex_unlock(&world->lock);
    if (task != NULL) {
        task->run(task);
    }
    return task != NULL;
}

/* Until *flag, or the end of the test. */
static inline void world_until(struct world *world, const bool *flag)
{
    while (!*flag) {
        CHECK(world_step(world, 300000));
    }
}

/* Does every other thread of this process wait for something that only it could do? The letter behind a thread's name
 * is S then: one that waits for a processor has R, one that waits for a disk has D. */
static inline bool world_others_rest(void)
{
    DIR *const tasks = opendir("/proc/self/task");
    bool rest = true;
    CHECK(tasks != NULL);
    for (const struct dirent *task = readdir(tasks); task != NULL; task = readdir(tasks)) {
        char path[300];
        char text[512];
        (void)snprintf(path, sizeof path, "/proc/self/task/%s/stat", task->d_name);
        FILE *const file = task->d_name[0] == '.' ? NULL : fopen(path, "r");
        if (file == NULL) {
            continue; /* It has ended. */
        }
        const size_t size = fread(text, 1, sizeof text - 1, file);
        (void)fclose(file);
        text[size] = '\0';
        const char *const name_end = strrchr(text, ')');
        const bool is_mine = strtol(task->d_name, NULL, 10) == (long)gettid();
        rest = rest && (is_mine || name_end == NULL || name_end[1] == '\0' || name_end[2] == 'S');
    }
    (void)closedir(tasks);
    return rest;
}

/* Whatever is posted, and what follows from it: until nothing has come for a while in which nobody was busy. */
static inline void world_settle(struct world *world)
{
    while (world_step(world, 100) || !world_others_rest()) {
    }
}

static inline void world_pass(struct world *world, int64_t us)
{
    world->now_us += us;
    for (size_t i = 0; i < 8; i++) {
        struct stele_timer *timer = world->timers[i];
        if (timer != NULL && timer->due_us <= world->now_us) {
            world->timers[i] = NULL;
            timer->on_due(timer);
        }
    }
}

static inline void world_on_log(void *context, enum stele_auth_log level, const char *message)
{
    struct world *world = context;
    (void)level;
    const size_t used = strlen(world->log);
    (void)snprintf(world->log + used, sizeof world->log - used, "%s\n", message);
}

static inline void world_on_password(void *context, const char *login, const char *password)
{
    struct world *world = context;
    CHECK(world->passwords_count < 2);
    CHECK_TEXT_EQ(login, world->passwords_count == 0 ? "admin" : "ops");
    (void)snprintf(world->passwords[world->passwords_count++], 64, "%s", password);
}

/* Cheap hashes, on the loop. */
static struct stele_auth_options world_options(struct world *world)
{
    return (struct stele_auth_options){
        .hash_on_loop = true,
        .password_memory = 8192,
        .password_passes = 1,
        .admin_password = "admin-password",
        .ops_password = "ops-password",
        .on_log = world_on_log,
        .on_first_password = world_on_password,
        .context = world,
    };
}

static inline void world_open_auth(struct world *world, const struct stele_auth_options *options)
{
    struct stele_error err = {0};
    CHECK_OK(stele_auth_create(world->engine, &world->loop, options, &world->auth, &err), err);
    world_settle(world);
}

static inline void world_make(struct world *world)
{
    struct stele_error err = {0};
    memset(world, 0, sizeof *world);
    world->loop = (struct stele_loop){.ops = &world_ops, .alloc = stele_linux_alloc()};
    pthread_mutex_init(&world->lock, NULL);
    pthread_cond_init(&world->came, NULL);
    world->last = &world->first;
    world->now_us = 1000000;
    scratch_make(&world->scratch);
    CHECK_OK(stele_open(world->scratch.path, NULL, &world->store, &err), err);
    CHECK_OK(stele_engine_create(world->store, world->loop.alloc, &world->engine, &err), err);
}

static inline void world_remove(struct world *world)
{
    world_settle(world);
    stele_auth_destroy(world->auth);
    world_settle(world);
    stele_engine_destroy(world->engine);
    CHECK_EQ(stele_close(world->store), STELE_OK);
    scratch_remove(&world->scratch);
}

/* ---- Asking ---- */

struct asking {
    struct stele_auth_question question;
    bool done;
    bool at_once;
    int outcome;
    struct stele_principal *principal;
};

static inline void asking_on_answer(struct stele_auth_question *question, int outcome,
                                    struct stele_principal *principal)
{
    struct asking *asking = (struct asking *)question;
    CHECK(!asking->done);
    asking->done = true;
    asking->outcome = outcome;
    asking->principal = principal;
}

static inline void ask_start(struct world *world, struct asking *asking, const char *authorization,
                             const char *client_cn, const char *peer)
{
    memset(asking, 0, sizeof *asking);
    asking->question.loop = &world->loop;
    asking->question.peer = peer;
    asking->question.client_cn = client_cn;
    asking->question.is_tls = true;
    asking->question.on_answer = asking_on_answer;
    if (authorization != NULL) {
        asking->question.authorization = (struct stele_text){authorization, strlen(authorization)};
    }
    stele_auth_ask(world->auth, &asking->question);
    asking->at_once = asking->done;
}

static inline int ask_from(struct world *world, const char *authorization, const char *client_cn,
                           const char *peer, struct stele_principal **out_principal)
{
    struct asking asking;
    ask_start(world, &asking, authorization, client_cn, peer);
    world_until(world, &asking.done);
    CHECK_EQ(asking.outcome == STELE_OK, asking.principal != NULL);
    if (out_principal != NULL) {
        *out_principal = asking.principal;
    } else {
        stele_principal_unref(asking.principal);
    }
    return asking.outcome;
}

static inline const char *basic(const char *login, const char *password)
{
    static char header[8192];
    static const char letters[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    char plain[4096];
    const size_t size = (size_t)snprintf(plain, sizeof plain, "%s:%s", login, password);
    size_t at = (size_t)snprintf(header, sizeof header, "Basic ");
    for (size_t i = 0; i < size; i += 3) {
        uint32_t bits = (uint32_t)(uint8_t)plain[i] << 16;
        bits |= i + 1 < size ? (uint32_t)(uint8_t)plain[i + 1] << 8 : 0;
        bits |= i + 2 < size ? (uint32_t)(uint8_t)plain[i + 2] : 0;
        header[at++] = letters[bits >> 18 & 63];
        header[at++] = letters[bits >> 12 & 63];
        header[at++] = i + 1 < size ? letters[bits >> 6 & 63] : '=';
        header[at++] = i + 2 < size ? letters[bits & 63] : '=';
    }
    header[at] = '\0';
    return header;
}

static inline int login_as(struct world *world, const char *login, const char *password,
                           struct stele_principal **out_principal)
{
    return ask_from(world, basic(login, password), NULL, "10.0.0.1:1000", out_principal);
}

/* ---- Changing users ---- */

struct changing {
    struct stele_user_change change;
    bool done;
    int outcome;
};

static inline void changing_on_done(struct stele_user_change *change, int outcome)
{
    struct changing *changing = (struct changing *)change;
    changing->done = true;
    changing->outcome = outcome;
}

static inline int change_user(struct world *world, struct changing *changing)
{
    changing->done = false;
    changing->change.loop = &world->loop;
    changing->change.on_done = changing_on_done;
    stele_auth_change_user(world->auth, &changing->change);
    CHECK(!changing->done);
    world_until(world, &changing->done);
    return changing->outcome;
}

static inline int add_user(struct world *world, const char *login, const char *password,
                           const char *group)
{
    const char *const groups[] = {group};
    struct changing changing = {.change = {.verb = STELE_USER_CREATE,
                                           .login = login,
                                           .password = password,
                                           .groups = groups,
                                           .groups_count = group == NULL ? 0 : 1,
                                           .by = "admin"}};
    return change_user(world, &changing);
}

/* ---- Writing ---- */

static inline void put(struct world *world, const char *stream, const char *type, const char *json)
{
    struct stele_error err = {0};
    const struct stele_event_draft draft = {.type = type, .data = json, .data_size = strlen(json)};
    CHECK_OK(stele_append(world->store, stream, STELE_EXPECT_ANY, &draft, 1, NULL, &err), err);
}

static inline void put_metadata(struct world *world, const char *stream, const char *json)
{
    struct stele_error err = {0};
    CHECK_OK(
        stele_set_metadata(world->store, stream, STELE_EXPECT_ANY, json, strlen(json), NULL, &err),
        err);
}

static inline bool may(struct world *world, const struct stele_principal *principal,
                       const char *stream, enum stele_right right)
{
    return stele_auth_may(world->auth, principal, (struct stele_text){stream, strlen(stream)},
                          right);
}

#endif
