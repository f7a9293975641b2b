#define CHECK_NO_MAIN
#include "lib/fakegrpc.h"

#include "lib/check.h"

#include <time.h>

/* ---- The loop ------------------------------------------------------------------------------- */

static struct fake_loop *loop_of(struct stele_loop *loop)
{
    return (struct fake_loop *)((char *)loop - offsetof(struct fake_loop, loop));
}

static void post(struct stele_loop *loop, struct stele_task *task)
{
    struct fake_loop *fake = loop_of(loop);
    CHECK(pthread_mutex_lock(&fake->lock) == 0);
    task->next = NULL;
    *fake->last = task;
    fake->last = &task->next;
    CHECK(pthread_cond_signal(&fake->posted) == 0);
    CHECK(pthread_mutex_unlock(&fake->lock) == 0);
}

static void timer_stop(struct stele_loop *loop, struct stele_timer *timer)
{
    if (timer->place > 0) {
        loop_of(loop)->timers[timer->place - 1] = NULL;
        timer->place = 0;
    }
}

static void timer_start(struct stele_loop *loop, struct stele_timer *timer, int64_t due_us)
{
    struct fake_loop *fake = loop_of(loop);
    timer_stop(loop, timer);
    timer->due_us = due_us;
    for (size_t i = 0; i < FAKE_TIMERS; i++) {
        if (fake->timers[i] == NULL) {
            fake->timers[i] = timer;
            timer->place = i + 1;
            return;
        }
    }
    CHECK(0 && "room for another timer");
}

static int64_t now_us(struct stele_loop *loop)
{
    return loop_of(loop)->now_us;
}

static int64_t wall_us(struct stele_loop *loop)
{
    return INT64_C(1700000000000000) + loop_of(loop)->now_us;
}

static void random_bytes(struct stele_loop *loop, void *buffer, size_t size)
{
    struct fake_loop *fake = loop_of(loop);
    uint8_t *to = buffer;
    for (size_t i = 0; i < size; i++) {
        fake->random = fake->random * UINT64_C(6364136223846793005) + 1442695040888963407u;
        to[i] = (uint8_t)(fake->random >> 56);
    }
}

static const struct stele_loop_ops ops = {
    .post = post,
    .timer_start = timer_start,
    .timer_stop = timer_stop,
    .now_us = now_us,
    .wall_us = wall_us,
    .random = random_bytes,
};

void fake_loop_init(struct fake_loop *fake, struct stele_alloc *alloc)
{
    *fake = (struct fake_loop){.loop = {.ops = &ops, .alloc = alloc}, .now_us = 1000000};
    fake->last = &fake->first;
    CHECK(pthread_mutex_init(&fake->lock, NULL) == 0);
    CHECK(pthread_cond_init(&fake->posted, NULL) == 0);
}

void fake_loop_deinit(struct fake_loop *fake)
{
    CHECK(fake->first == NULL);
    for (size_t i = 0; i < FAKE_TIMERS; i++) {
        CHECK(fake->timers[i] == NULL);
    }
    CHECK(pthread_cond_destroy(&fake->posted) == 0);
    CHECK(pthread_mutex_destroy(&fake->lock) == 0);
}

static struct stele_task *take_task(struct fake_loop *fake)
{
    CHECK(pthread_mutex_lock(&fake->lock) == 0);
    struct stele_task *task = fake->first;
    if (task != NULL) {
        fake->first = task->next;
        if (fake->first == NULL) {
            fake->last = &fake->first;
        }
    }
    CHECK(pthread_mutex_unlock(&fake->lock) == 0);
    return task;
}

size_t fake_loop_run(struct fake_loop *fake)
{
    size_t count = 0;
    struct stele_task *task;
    while ((task = take_task(fake)) != NULL) {
        task->run(task);
        count++;
    }
    return count;
}

size_t fake_loop_wait_for(struct fake_loop *fake, unsigned seconds)
{
    struct timespec until;
    CHECK(clock_gettime(CLOCK_REALTIME, &until) == 0);
    until.tv_sec += seconds;
    CHECK(pthread_mutex_lock(&fake->lock) == 0);
    while (fake->first == NULL && pthread_cond_timedwait(&fake->posted, &fake->lock, &until) == 0) {
    }
    CHECK(pthread_mutex_unlock(&fake->lock) == 0);
    return fake_loop_run(fake);
}

size_t fake_loop_wait(struct fake_loop *fake)
{
    return fake_loop_wait_for(fake, 300);
}

void fake_loop_advance(struct fake_loop *fake, int64_t us)
{
    const int64_t until = fake->now_us + us;
    for (;;) {
        struct stele_timer *next = NULL;
        for (size_t i = 0; i < FAKE_TIMERS; i++) {
            struct stele_timer *timer = fake->timers[i];
            if (timer != NULL && timer->due_us <= until &&
                (next == NULL || timer->due_us < next->due_us)) {
                next = timer;
            }
        }
        if (next == NULL) {
            break;
        }
        fake->now_us = next->due_us > fake->now_us ? next->due_us : fake->now_us;
        timer_stop(&fake->loop, next);
        next->on_due(next);
        (void)fake_loop_run(fake);
    }
    fake->now_us = until;
}

/* ---- Exchanges ------------------------------------------------------------------------------ */

struct stele_http_conn {
    struct stele_http_peer peer;
};

static struct stele_http_conn the_conn = {
    .peer = {.address = "127.0.0.1:51234", .is_loopback = true}};

static struct stele_text text_of(const char *text)
{
    return (struct stele_text){.data = text, .size = strlen(text)};
}

struct stele_text stele_exchange_method(const struct stele_exchange *exchange)
{
    return exchange->method;
}

struct stele_text stele_exchange_path(const struct stele_exchange *exchange)
{
    return exchange->path;
}

struct stele_text stele_exchange_header(const struct stele_exchange *exchange, const char *name)
{
    for (size_t i = 0; i < exchange->headers_count; i++) {
        const struct stele_text known = exchange->headers[i].name;
        if (known.size == strlen(name) && memcmp(known.data, name, known.size) == 0) {
            return exchange->headers[i].value;
        }
    }
    return (struct stele_text){0};
}

bool stele_exchange_is_h2(const struct stele_exchange *exchange)
{
    (void)exchange;
    return true;
}

struct stele_http_conn *stele_exchange_conn(const struct stele_exchange *exchange)
{
    (void)exchange;
    return &the_conn;
}

const struct stele_http_peer *stele_http_conn_peer(const struct stele_http_conn *conn)
{
    return &conn->peer;
}

struct stele_loop *stele_exchange_loop(const struct stele_exchange *exchange)
{
    return &exchange->loop->loop;
}

void *stele_exchange_user(const struct stele_exchange *exchange)
{
    return exchange->user;
}

void stele_exchange_set_user(struct stele_exchange *exchange, void *user)
{
    exchange->user = user;
}

void stele_exchange_consume(struct stele_exchange *exchange, size_t size)
{
    exchange->consumed += size;
    CHECK(exchange->consumed <= exchange->received);
}

static void note(struct stele_exchange *exchange, const struct stele_http_header *headers,
                 size_t count)
{
    for (size_t i = 0; i < count; i++) {
        const size_t size = strlen(exchange->response);
        const int more = snprintf(exchange->response + size, sizeof exchange->response - size,
                                  "%.*s: %.*s\n", (int)headers[i].name.size, headers[i].name.data,
                                  (int)headers[i].value.size, headers[i].value.data);
        CHECK(more > 0);
        CHECK((size_t)more < sizeof exchange->response - size);
    }
}

void stele_exchange_respond(struct stele_exchange *exchange, int status,
                            const struct stele_http_header *headers, size_t count, bool end)
{
    CHECK(!exchange->over);
    CHECK_EQ(exchange->status, 0);
    exchange->status = status;
    exchange->ended = end;
    note(exchange, headers, count);
}

bool stele_exchange_has_responded(const struct stele_exchange *exchange)
{
    return exchange->status != 0;
}

struct stele_buf *stele_exchange_output(struct stele_exchange *exchange)
{
    CHECK(!exchange->over);
    CHECK(exchange->status != 0);
    CHECK(!exchange->ended);
    return &exchange->output;
}

void stele_exchange_written(struct stele_exchange *exchange)
{
    if (exchange->full_at > 0 && exchange->output.size - exchange->read_at > exchange->full_at) {
        exchange->full = true;
    }
}

bool stele_exchange_is_full(const struct stele_exchange *exchange)
{
    return exchange->full;
}

void stele_exchange_finish(struct stele_exchange *exchange,
                           const struct stele_http_header *trailers, size_t count)
{
    CHECK(exchange->status != 0);
    CHECK(!exchange->ended);
    exchange->ended = true;
    note(exchange, trailers, count);
}

bool stele_exchange_is_first(const struct stele_exchange *exchange)
{
    (void)exchange;
    return true;
}

void stele_exchange_set_meter(struct stele_exchange *exchange, stele_exchange_meter meter,
                              void *context)
{
    exchange->meter = meter;
    exchange->meter_context = context;
}

void stele_exchange_hold(struct stele_exchange *exchange, int64_t due_us)
{
    exchange->held_until_us = due_us;
}

void stele_exchange_reset(struct stele_exchange *exchange, uint32_t h2_error)
{
    exchange->reset = h2_error;
}

void fake_request(struct stele_exchange *exchange, struct fake_loop *loop, const char *path,
                  const char *user)
{
    *exchange = (struct stele_exchange){.loop = loop};
    exchange->method = text_of("POST");
    exchange->path = text_of(path);
    fake_header(exchange, "content-type", "application/grpc");
    fake_header(exchange, "te", "trailers");
    if (user != NULL && user[0] != '\0') {
        fake_header(exchange, "authorization", user);
    }
}

void fake_header(struct stele_exchange *exchange, const char *name, const char *value)
{
    CHECK(exchange->headers_count < sizeof exchange->headers / sizeof exchange->headers[0]);
    exchange->headers[exchange->headers_count++] =
        (struct stele_http_header){.name = text_of(name), .value = text_of(value)};
}

void fake_send(struct stele_grpc *grpc, struct stele_exchange *exchange, const void *message,
               size_t size)
{
    uint8_t *whole = malloc(size + 5);
    CHECK(whole != NULL);
    whole[0] = 0;
    whole[1] = (uint8_t)(size >> 24);
    whole[2] = (uint8_t)(size >> 16);
    whole[3] = (uint8_t)(size >> 8);
    whole[4] = (uint8_t)size;
    if (size > 0) {
        memcpy(whole + 5, message, size);
    }
    exchange->received += size + 5;
    stele_grpc_on_body(grpc, exchange, (struct stele_bytes){.data = whole, .size = size + 5});
    free(whole);
}

bool fake_next(struct stele_exchange *exchange, struct stele_bytes *out_message)
{
    if (exchange->read_at == exchange->output.size) {
        return false;
    }
    CHECK(exchange->output.size - exchange->read_at >= 5);
    const uint8_t *prefix = exchange->output.data + exchange->read_at;
    CHECK_EQ(prefix[0], 0);
    const size_t size = (size_t)prefix[1] << 24 | (size_t)prefix[2] << 16 | (size_t)prefix[3] << 8 |
                        (size_t)prefix[4];
    CHECK(exchange->output.size - exchange->read_at >= 5 + size);
    *out_message = (struct stele_bytes){.data = prefix + 5, .size = size};
    exchange->read_at += 5 + size;
    return true;
}

const char *fake_answer(const struct stele_exchange *exchange, const char *name)
{
    static char value[4096];
    const size_t size = strlen(name);
    for (const char *line = exchange->response; *line != '\0'; line = strchr(line, '\n') + 1) {
        if (strncmp(line, name, size) == 0 && strncmp(line + size, ": ", 2) == 0) {
            (void)snprintf(value, sizeof value, "%s", line + size + 2);
            *strchr(value, '\n') = '\0';
            return value;
        }
    }
    return "";
}

int fake_status(const struct stele_exchange *exchange)
{
    const char *text = fake_answer(exchange, "grpc-status");
    return !exchange->ended || text[0] == '\0' ? -1 : (int)strtol(text, NULL, 10);
}

void fake_close(struct stele_grpc *grpc, struct stele_exchange *exchange)
{
    if (!exchange->over) {
        exchange->over = true;
        stele_grpc_on_close(grpc, exchange, exchange->ended);
        CHECK(exchange->user == NULL);
    }
    stele_buf_deinit(&exchange->output, exchange->loop->loop.alloc);
}

/* ---- Callers -------------------------------------------------------------------------------- */

#ifndef FAKE_AUTH_ASIDE /* For tests that link the real src/auth. */

static void answer(struct stele_auth_question *question)
{
    const struct stele_text proof = question->authorization;
    const struct stele_auth *auth = question->module;
    struct stele_alloc *alloc = question->loop->alloc;
    if (proof.data != NULL && strncmp(proof.data, "wrong", proof.size) == 0) {
        question->on_answer(question, STELE_E_PERMISSION, NULL);
        return;
    }
    if (proof.data != NULL && strncmp(proof.data, "busy", proof.size) == 0) {
        question->on_answer(question, STELE_E_OVERLOADED, NULL);
        return;
    }
    /* The allocator stands in front of it, for unref, and the module. */
    struct stele_alloc **memory = stele_allocate_zeroed(alloc, 16 + sizeof(struct stele_principal));
    if (memory == NULL) {
        question->on_answer(question, STELE_E_NO_MEMORY, NULL);
        return;
    }
    memory[0] = alloc;
    memory[1] = (void *)(uintptr_t)auth;
    struct stele_principal *principal = (struct stele_principal *)(void *)((char *)memory + 16);
    principal->refs = 1;
    if (proof.data == NULL) {
        principal->anonymous = true;
        principal->all_rights = !auth->anonymous_is_nobody;
    } else {
        CHECK(proof.size < sizeof principal->name);
        memcpy(principal->name, proof.data, proof.size);
        principal->is_admin = strcmp(principal->name, "admin") == 0;
        principal->is_ops = strcmp(principal->name, "ops") == 0;
    }
    question->on_answer(question, STELE_OK, principal);
}

static void answer_later(struct stele_task *task)
{
    answer((struct stele_auth_question *)(void *)((char *)task -
                                                  offsetof(struct stele_auth_question, task)));
}

void stele_auth_ask(struct stele_auth *auth, struct stele_auth_question *question)
{
    const struct stele_text proof = question->authorization;
    question->module = auth;
    if (proof.data != NULL && proof.size == 4 && memcmp(proof.data, "slow", 4) == 0) {
        question->task.run = answer_later;
        stele_loop_post(question->loop, &question->task);
        return;
    }
    answer(question);
}

void stele_principal_ref(struct stele_principal *principal)
{
    principal->refs++;
}

void stele_principal_unref(struct stele_principal *principal)
{
    if (--principal->refs == 0) {
        struct stele_alloc **memory = (struct stele_alloc **)(void *)((char *)principal - 16);
        stele_release(memory[0], memory, 16 + sizeof *principal);
    }
}

struct stele_quota *stele_auth_quota(const struct stele_principal *principal)
{
    struct stele_auth **module =
        (struct stele_auth **)(uintptr_t)((const char *)principal - sizeof(void *));
    return &(*module)->quota;
}

const char *stele_auth_enter(const struct stele_principal *principal, enum stele_rule rule,
                             int64_t now_us, int64_t *out_retry_us)
{
    if (rule == STELE_RULE_ANYONE) {
        return NULL;
    }
    *out_retry_us = stele_quota_request(stele_auth_quota(principal), now_us);
    return *out_retry_us == 0 && stele_quota_call_begin(stele_auth_quota(principal)) ? NULL
                                                                                     : "too much";
}

void stele_auth_leave(const struct stele_principal *principal, enum stele_rule rule)
{
    if (rule != STELE_RULE_ANYONE) {
        stele_quota_call_end(stele_auth_quota(principal));
    }
}

bool stele_auth_may_call(const struct stele_principal *principal, enum stele_rule rule)
{
    switch (rule) {
    case STELE_RULE_ANYONE:
    case STELE_RULE_STREAM:
        return true;
    case STELE_RULE_USER:
        return principal->all_rights || !principal->anonymous;
    case STELE_RULE_OPS:
        return principal->all_rights || principal->is_ops || principal->is_admin;
    case STELE_RULE_ADMIN:
        return principal->all_rights || principal->is_admin;
    }
    return false;
}

static const struct {
    const char *path;
    enum stele_rule rule;
} rpcs[] = {
#define ROW(name, path, rule) {path, STELE_RULE_##rule},
    STELE_RPC_TABLE(ROW)
#undef ROW
};

enum stele_rule stele_auth_rpc_rule(enum stele_rpc rpc)
{
    return rpcs[rpc].rule;
}

const char *stele_auth_rpc_path(enum stele_rpc rpc)
{
    return rpcs[rpc].path;
}

bool stele_auth_may(struct stele_auth *auth, const struct stele_principal *principal,
                    struct stele_text stream, enum stele_right right)
{
    (void)right;
    if (principal->is_admin || principal->all_rights) {
        return true;
    }
    if (auth->closed != NULL && stream.size == strlen(auth->closed) &&
        memcmp(stream.data, auth->closed, stream.size) == 0) {
        return false;
    }
    return (stream.size < 6 || memcmp(stream.data, "secret", 6) != 0) &&
           !stele_auth_is_secret(stream);
}

bool stele_auth_is_secret(struct stele_text stream)
{
    return stream.size > 6 && memcmp(stream.data, "$user-", 6) == 0;
}

uint64_t stele_auth_generation(const struct stele_auth *auth)
{
    return auth->generation;
}

#endif
