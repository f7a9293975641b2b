#include "grpc/call.h"

#include "base/status.h"
#include "grpc/grpc_internal.h"

#include <stdarg.h>
#include <stdio.h>

#define MESSAGE_TEXT_MAX 2048 /* Of a status. */
#define KEPT_UNZIPPED_MAX 65536
/* Texts of events become ten to thirty times smaller; this is for those that repeat themselves. */
#define UNZIPPED_TIMES_MAX 128
#define UNZIPPED_FREE (1u << 20)
#define TEXT(literal) ((struct stele_text){.data = (literal), .size = sizeof(literal) - 1})

/* ---- Looking at a call --------------------------------------------------------------------- */

void *stele_call_state(struct stele_call *call)
{
    return call->user;
}

struct stele_server *stele_call_server(struct stele_call *call)
{
    return call->grpc->server;
}

struct stele_loop *stele_call_loop(struct stele_call *call)
{
    return call->loop;
}

const struct stele_method *stele_call_method(const struct stele_call *call)
{
    return call->method;
}

const struct stele_principal *stele_call_principal(const struct stele_call *call)
{
    return call->principal;
}

bool stele_call_knows(const struct stele_call *call, enum stele_rpc rpc)
{
    return call->grpc->table.methods[rpc] != NULL;
}

struct stele_text stele_call_metadata(const struct stele_call *call, const char *name)
{
    if (call->exchange == NULL) {
        return (struct stele_text){0};
    }
    return stele_exchange_header(call->exchange, name);
}

bool stele_call_is_first(const struct stele_call *call)
{
    return call->exchange != NULL && stele_exchange_is_first(call->exchange);
}

const char *stele_call_peer(const struct stele_call *call)
{
    if (call->exchange == NULL) {
        return "";
    }
    return stele_http_conn_peer(stele_exchange_conn(call->exchange))->address;
}

int64_t stele_call_deadline_us(const struct stele_call *call)
{
    return call->deadline_us;
}

bool stele_call_is_over(const struct stele_call *call)
{
    return call->state == CALL_OVER;
}

/* ---- Life ---------------------------------------------------------------------------------- */

void stele_call_hold(struct stele_call *call)
{
    STELE_ASSERT(call->refs > 0);
    call->refs++;
}

void stele_call_release(struct stele_call *call)
{
    STELE_ASSERT(call->refs > 0);
    if (--call->refs > 0) {
        return;
    }
    STELE_ASSERT(call->state == CALL_OVER);
    STELE_ASSERT(call->exchange == NULL);
    struct stele_alloc *alloc = call->loop->alloc;
    if (call->principal != NULL) {
        stele_principal_unref(call->principal);
    }
    stele_buf_deinit(&call->in, alloc);
    stele_buf_deinit(&call->unzipped, alloc);
    stele_buf_deinit(&call->nowhere, alloc);
    stele_buf_deinit(&call->trailers, alloc);
    if (call->proof.size > 0) {
        explicit_bzero(call->proof.data, call->proof.size);
    }
    stele_buf_deinit(&call->proof, alloc);
    stele_release(alloc, call, call->size);
}

/* The memory that the messages take, to the user's quota; a little is free. */
static bool tell_kept(struct stele_call *call)
{
    const size_t free_size = 4096;
    size_t kept = call->state == CALL_OVER ? 0 : call->in.capacity + call->unzipped.capacity;
    kept = kept <= free_size ? 0 : kept;
    if (kept == call->kept) {
        return true;
    }
    if (!stele_quota_keep(stele_auth_quota(call->principal), call->kept, kept)) {
        return false;
    }
    call->kept = kept;
    return true;
}

/* From here on the method is told nothing more. */
static void end_call(struct stele_call *call, enum stele_grpc_code reason)
{
    STELE_ASSERT(call->state != CALL_OVER);
    const bool was_started = call->state == CALL_STARTED;
    call->state = CALL_OVER;
    call->loop->ops->timer_stop(call->loop, &call->timer);
    if (call->exchange != NULL && call->owed > 0) {
        /* What is still on its way is dropped, and must not keep the connection's window. */
        stele_exchange_consume(call->exchange, call->owed);
    }
    call->owed = 0;
    if (call->entered) {
        call->entered = false;
        const bool fits = tell_kept(call);
        STELE_ASSERT(fits); /* It is less. */
        stele_auth_leave(call->principal, stele_auth_rpc_rule(call->method->rpc));
    }
    if (was_started && call->method->closed != NULL) {
        call->method->closed(call, reason);
    }
}

/* ---- Answers ------------------------------------------------------------------------------- */

static const struct stele_http_header content_type = {
    .name = {.data = "content-type", .size = 12},
    .value = {.data = "application/grpc", .size = 16},
};

struct stele_buf *stele_call_message_begin(struct stele_call *call)
{
    STELE_ASSERT(call->message == NULL);
    struct stele_buf *buf = &call->nowhere;
    if (call->state != CALL_OVER && call->exchange != NULL) {
        if (!stele_exchange_has_responded(call->exchange)) {
            stele_exchange_respond(call->exchange, 200, &content_type, 1, false);
        }
        buf = stele_exchange_output(call->exchange);
        if (stele_buf_reserve(buf, call->loop->alloc, STELE_GRPC__PREFIX_SIZE) != STELE_OK) {
            buf = &call->nowhere;
        }
    }
    call->message = buf;
    call->message_at = buf->size;
    if (buf != &call->nowhere) {
        buf->size += STELE_GRPC__PREFIX_SIZE;
    }
    return buf;
}

void stele_call_message_cancel(struct stele_call *call)
{
    STELE_ASSERT(call->message != NULL);
    call->message->size = call->message_at;
    call->message = NULL;
}

void stele_call_message_end(struct stele_call *call)
{
    struct stele_buf *buf = call->message;
    STELE_ASSERT(buf != NULL);
    if (buf == &call->nowhere) {
        stele_call_message_cancel(call);
        if (call->state != CALL_OVER) {
            stele_call_finish(call, STELE_GRPC_RESOURCE_EXHAUSTED, "no memory for the answer");
        }
        return;
    }
    call->message = NULL;
    const size_t size = buf->size - call->message_at - STELE_GRPC__PREFIX_SIZE;
    STELE_ASSERT(size <= UINT32_MAX);
    uint8_t *prefix = buf->data + call->message_at;
    prefix[0] = 0;
    prefix[1] = (uint8_t)(size >> 24);
    prefix[2] = (uint8_t)(size >> 16);
    prefix[3] = (uint8_t)(size >> 8);
    prefix[4] = (uint8_t)size;
    stele_exchange_written(call->exchange);
}

void stele_call_send(struct stele_call *call, struct stele_bytes message)
{
    struct stele_buf *buf = stele_call_message_begin(call);
    if (stele_buf_append(buf, call->loop->alloc, message) != STELE_OK) {
        stele_call_message_cancel(call);
        stele_call_finish(call, STELE_GRPC_RESOURCE_EXHAUSTED, "no memory for the answer");
        return;
    }
    stele_call_message_end(call);
}

bool stele_call_is_full(const struct stele_call *call)
{
    return call->state == CALL_OVER || stele_exchange_is_full(call->exchange);
}

void stele_call_trailer(struct stele_call *call, const char *name, struct stele_bytes value)
{
    struct stele_alloc *alloc = call->loop->alloc;
    const size_t name_size = strlen(name);
    const size_t before = call->trailers.size;
    const bool binary = name_size > 4 && memcmp(name + name_size - 4, "-bin", 4) == 0;
    const struct stele_bytes zero = {.data = (const uint8_t *)"", .size = 1};
    const struct stele_bytes name_bytes = {.data = (const uint8_t *)name, .size = name_size + 1};
    if (stele_buf_append(&call->trailers, alloc, name_bytes) != STELE_OK ||
        (binary ? stele_grpc__put_base64(&call->trailers, alloc, value)
                : stele_grpc__put_text(&call->trailers, alloc, value, false)) != STELE_OK ||
        stele_buf_append(&call->trailers, alloc, zero) != STELE_OK) {
        /* A status without its decoration is better than none. */
        call->trailers.size = before;
    }
}

struct headers {
    struct stele_http_header list[STELE_GRPC__TRAILERS_MAX + 3];
    size_t count;
};

static void add_header(struct headers *headers, struct stele_text name, struct stele_text value)
{
    if (headers->count < STELE_COUNT_OF(headers->list)) {
        headers->list[headers->count++] = (struct stele_http_header){.name = name, .value = value};
    }
}

static void send_status(struct stele_exchange *exchange, enum stele_grpc_code code,
                        struct stele_text message, const struct stele_buf *trailers)
{
    struct headers headers = {.count = 0};
    const bool only = !stele_exchange_has_responded(exchange);
    char digits[12];
    if (only) {
        add_header(&headers, content_type.name, content_type.value);
    }
    const int size = snprintf(digits, sizeof digits, "%d", (int)code);
    add_header(&headers, TEXT("grpc-status"),
               (struct stele_text){.data = digits, .size = (size_t)size});
    if (message.size > 0) {
        add_header(&headers, TEXT("grpc-message"), message);
    }
    for (size_t at = 0; at < trailers->size;) {
        const char *name = (const char *)trailers->data + at;
        const size_t name_size = strlen(name);
        const char *value = name + name_size + 1;
        const size_t value_size = strlen(value);
        add_header(&headers, (struct stele_text){.data = name, .size = name_size},
                   (struct stele_text){.data = value, .size = value_size});
        at += name_size + value_size + 2;
    }
    if (only) {
        stele_exchange_respond(exchange, 200, headers.list, headers.count, true);
    } else {
        stele_exchange_finish(exchange, headers.list, headers.count);
    }
}

void stele_call_finish(struct stele_call *call, enum stele_grpc_code code, const char *message)
{
    STELE_ASSERT(call->message == NULL);
    if (call->state == CALL_OVER) {
        return;
    }
    /* Sending may end the exchange, and with it the last reference. */
    stele_call_hold(call);
    struct stele_alloc *alloc = call->loop->alloc;
    struct stele_buf text = {0};
    struct stele_bytes words = stele_bytes_of_text(message != NULL ? message : "");
    if (words.size > MESSAGE_TEXT_MAX) {
        words.size = MESSAGE_TEXT_MAX;
    }
    if (words.size > 0 && stele_grpc__put_text(&text, alloc, words, true) != STELE_OK) {
        text.size = 0;
    }
    /* First over, then told: sending may end the exchange at once, which must not look like a
     * client that went away. */
    end_call(call, code);
    if (call->exchange != NULL) {
        send_status(call->exchange, code,
                    (struct stele_text){.data = (const char *)text.data, .size = text.size},
                    &call->trailers);
    }
    stele_buf_deinit(&text, alloc);
    stele_call_release(call);
}

void stele_call_fail(struct stele_call *call, enum stele_grpc_code code, const char *format, ...)
{
    char message[MESSAGE_TEXT_MAX];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(message, sizeof message, format, args);
    va_end(args);
    stele_call_finish(call, code, message);
}

/* ---- Messages of the client ---------------------------------------------------------------- */

static bool may_deliver(const struct stele_call *call)
{
    return call->state == CALL_STARTED && !call->paused;
}

static void fail_memory(struct stele_call *call)
{
    stele_call_trailer(call, "grpc-retry-pushback-ms", stele_bytes_of_text("1000"));
    stele_call_finish(call, STELE_GRPC_RESOURCE_EXHAUSTED,
                      "Resource Exhausted: this user has too many requests on their way");
}

/* Each message of a stream is a request; who sends too many is taken in more slowly. */
static void count_message(struct stele_call *call)
{
    if (call->messages++ == 0) {
        return; /* The call was counted when it began. */
    }
    struct stele_quota *const quota = stele_auth_quota(call->principal);
    if (call->entered && quota->limits.requests_per_s > 0 && call->exchange != NULL) {
        const int64_t now_us = stele_loop_now_us(call->loop);
        const int64_t wait_us = stele_quota_pay_requests(quota, 1, now_us);
        if (wait_us > 0) {
            stele_exchange_hold(call->exchange, now_us + wait_us);
        }
    }
}

static void hand_out(struct stele_call *call, bool zipped, struct stele_bytes message)
{
    count_message(call);
    if (zipped) {
        if (call->coding == CODING_IDENTITY) {
            stele_call_finish(call, STELE_GRPC_INTERNAL,
                              "compressed message without grpc-encoding");
            return;
        }
        /* Unzipping takes the loop's time: what a few bytes may become is bounded by them as well. */
        const uint64_t fair = UNZIPPED_FREE + (uint64_t)message.size * UNZIPPED_TIMES_MAX;
        const size_t max = fair < call->message_max ? (size_t)fair : call->message_max;
        const int outcome =
            stele_grpc__unzip(call->coding, message, max, call->loop->alloc, &call->unzipped);
        if (outcome != STELE_OK) {
            const bool large = outcome == STELE_E_LIMIT;
            stele_call_fail(
                call,
                outcome == STELE_E_CORRUPT ? STELE_GRPC_INTERNAL : STELE_GRPC_RESOURCE_EXHAUSTED,
                large ? "Received message larger than max (%zu)" : "message cannot be decompressed",
                max);
            return;
        }
        if (!tell_kept(call)) {
            fail_memory(call);
            return;
        }
        message = (struct stele_bytes){.data = call->unzipped.data, .size = call->unzipped.size};
    }
    if (call->method->message != NULL) {
        call->method->message(call, message);
    }
    /* A few bytes that unzip to many must not stay as many for as long as the call is open. */
    if (call->unzipped.capacity > KEPT_UNZIPPED_MAX) {
        stele_buf_deinit(&call->unzipped, call->loop->alloc);
    }
}

/* Hands out the whole messages at the start of bytes, as far as they may be. Returns the number of
 * bytes that were done with. */
static size_t deliver(struct stele_call *call, struct stele_bytes bytes)
{
    size_t at = 0;
    while (may_deliver(call) && bytes.size - at >= STELE_GRPC__PREFIX_SIZE) {
        const uint8_t *prefix = bytes.data + at;
        const uint32_t size = (uint32_t)prefix[1] << 24 | (uint32_t)prefix[2] << 16 |
                              (uint32_t)prefix[3] << 8 | prefix[4];
        if (prefix[0] > 1) {
            stele_call_fail(call, STELE_GRPC_INTERNAL, "invalid compression flag %u", prefix[0]);
            break;
        }
        if (size > call->message_max) {
            stele_call_fail(call, STELE_GRPC_RESOURCE_EXHAUSTED,
                            "Received message larger than max (%u vs. %u)", size,
                            call->message_max);
            break;
        }
        if (bytes.size - at - STELE_GRPC__PREFIX_SIZE < size) {
            break;
        }
        at += STELE_GRPC__PREFIX_SIZE + (size_t)size;
        hand_out(call, prefix[0] == 1,
                 (struct stele_bytes){.data = prefix + STELE_GRPC__PREFIX_SIZE, .size = size});
    }
    return at;
}

/* Lets the client send as much again as was taken in. What waits for resume() is not taken in:
 * it stays in the window, which is thus the bound of what a paused call keeps. */
static void settle(struct stele_call *call)
{
    if (call->exchange == NULL || call->state == CALL_OVER) {
        return;
    }
    const size_t waiting = may_deliver(call) ? 0 : call->in.size - call->in_at;
    if (call->owed > waiting) {
        const size_t size = call->owed - waiting;
        call->owed = waiting;
        stele_exchange_consume(call->exchange, size);
    }
}

static void deliver_kept(struct stele_call *call)
{
    if (call->in_at < call->in.size) {
        const struct stele_bytes all = {.data = call->in.data, .size = call->in.size};
        call->in_at += deliver(call, stele_bytes_slice(all, call->in_at, all.size - call->in_at));
    }
    if (call->in_at == call->in.size) {
        call->in.size = 0;
        call->in_at = 0;
        if (call->in.capacity > 65536) {
            stele_buf_deinit(&call->in, call->loop->alloc);
        }
    } else if (call->in_at > call->in.size / 2) {
        memmove(call->in.data, call->in.data + call->in_at, call->in.size - call->in_at);
        call->in.size -= call->in_at;
        call->in_at = 0;
    }
}

static void keep(struct stele_call *call, struct stele_bytes bytes)
{
    if (bytes.size > 0 && call->state != CALL_OVER &&
        stele_buf_append(&call->in, call->loop->alloc, bytes) != STELE_OK) {
        stele_call_finish(call, STELE_GRPC_RESOURCE_EXHAUSTED, "no memory for the message");
    }
    if (call->state == CALL_STARTED && !tell_kept(call)) {
        fail_memory(call);
    }
}

static void tell_end(struct stele_call *call)
{
    if (!call->ended || call->half_closed || !may_deliver(call)) {
        return;
    }
    if (call->in_at < call->in.size) {
        stele_call_finish(call, STELE_GRPC_INTERNAL, "the last message was cut");
        return;
    }
    call->half_closed = true;
    if (call->method->half_closed != NULL) {
        call->method->half_closed(call);
    }
}

/* bytes: new ones, perhaps none. */
static void take_in(struct stele_call *call, struct stele_bytes bytes)
{
    call->owed += bytes.size;
    if (call->delivering) {
        keep(call, bytes);
        return;
    }
    stele_call_hold(call);
    call->delivering = true;
    if (call->in_at == call->in.size && bytes.size > 0) {
        const size_t done = deliver(call, bytes);
        keep(call, stele_bytes_slice(bytes, done, bytes.size - done));
    } else {
        keep(call, bytes);
        deliver_kept(call);
    }
    call->delivering = false;
    if (call->state == CALL_STARTED && !tell_kept(call)) {
        fail_memory(call);
    }
    settle(call);
    tell_end(call);
    stele_call_release(call);
}

void stele_call_pause(struct stele_call *call)
{
    call->paused = true;
}

void stele_call_resume(struct stele_call *call)
{
    if (call->paused) {
        call->paused = false;
        take_in(call, (struct stele_bytes){0});
    }
}

/* ---- Beginning ----------------------------------------------------------------------------- */

static void on_due(struct stele_timer *timer)
{
    struct stele_call *call =
        (struct stele_call *)((uint8_t *)timer - offsetof(struct stele_call, timer));
    stele_call_finish(call, STELE_GRPC_DEADLINE_EXCEEDED, "Deadline Exceeded");
}

static int64_t on_bytes(void *context, size_t bytes, int64_t now_us)
{
    const struct stele_call *call = context;
    return stele_quota_pay_bytes(stele_auth_quota(call->principal), bytes, now_us);
}

/* false: the user has asked for too much, and the call has ended. */
static bool enter(struct stele_call *call)
{
    int64_t retry_us = 0;
    const enum stele_rule rule = stele_auth_rpc_rule(call->method->rpc);
    const char *what =
        stele_auth_enter(call->principal, rule, stele_loop_now_us(call->loop), &retry_us);
    if (what == NULL) {
        call->entered = rule != STELE_RULE_ANYONE;
        if (call->entered && stele_auth_quota(call->principal)->limits.bytes_per_s > 0) {
            stele_exchange_set_meter(call->exchange, on_bytes, call);
        }
        return true;
    }
    /* github.com/grpc/proposal A6: clients that retry wait so long. */
    char text[24];
    (void)snprintf(text, sizeof text, "%lld", (long long)((retry_us + 999) / 1000));
    stele_call_trailer(call, "grpc-retry-pushback-ms", stele_bytes_of_text(text));
    stele_call_fail(call, STELE_GRPC_RESOURCE_EXHAUSTED,
                    "Resource Exhausted: %s; try again in %s ms", what, text);
    return false;
}

static void start(struct stele_call *call)
{
    if (call->method->admit != NULL) {
        call->method->admit(call);
    }
    if (call->state != CALL_ASKING) {
        return;
    }
    call->state = CALL_STARTED;
    if (call->method->start != NULL) {
        call->method->start(call);
    }
    take_in(call, (struct stele_bytes){0});
}

static void on_answer(struct stele_auth_question *question, int outcome,
                      struct stele_principal *principal)
{
    struct stele_call *call =
        (struct stele_call *)((uint8_t *)question - offsetof(struct stele_call, question));
    if (outcome == STELE_OK) {
        call->principal = principal;
    }
    if (call->state == CALL_ASKING) {
        if (outcome == STELE_E_OVERLOADED) {
            stele_call_finish(call, STELE_GRPC_UNAVAILABLE, "Server Is Too Busy");
        } else if (outcome == STELE_E_PERMISSION) {
            stele_call_finish(call, STELE_GRPC_UNAUTHENTICATED, "Unauthenticated");
        } else if (outcome != STELE_OK) {
            /* Nobody knows who is calling: not their fault, and worth another attempt. */
            stele_call_finish(call, STELE_GRPC_UNAVAILABLE, "Server Is Not Ready");
        } else if (!stele_auth_may_call(principal, stele_auth_rpc_rule(call->method->rpc))) {
            stele_call_trailer(call, "exception", stele_bytes_of_text("access-denied"));
            stele_call_finish(call, STELE_GRPC_PERMISSION_DENIED, "Access Denied");
        } else if (enter(call)) {
            start(call);
        }
    }
    stele_call_release(call);
}

/* The exchange may go while the question is on its way, and with it what its texts point to. */
static int copy_proof(struct stele_call *call, const struct stele_http_peer *peer,
                      struct stele_text authorization)
{
    struct stele_alloc *alloc = call->loop->alloc;
    const char *name = peer->client_cn != NULL ? peer->client_cn : "";
    const size_t name_size = strlen(name) + 1;
    const size_t address_size = strlen(peer->address) + 1;
    const size_t size = authorization.size + name_size + address_size;
    if (stele_buf_reserve(&call->proof, alloc, size) != STELE_OK) {
        return STELE_E_NO_MEMORY;
    }
    char *at = (char *)call->proof.data;
    STELE_ASSERT(at != NULL);
    memcpy(at, name, name_size);
    call->question.client_cn = peer->client_cn != NULL ? at : NULL;
    at += name_size;
    memcpy(at, peer->address, address_size);
    call->question.peer = at;
    at += address_size;
    if (authorization.data != NULL && authorization.size > 0) {
        memcpy(at, authorization.data, authorization.size);
    }
    call->question.authorization = (struct stele_text){
        .data = authorization.data != NULL ? at : NULL, .size = authorization.size};
    call->proof.size = size;
    return STELE_OK;
}

static void ask(struct stele_call *call)
{
    const struct stele_http_peer *peer = stele_http_conn_peer(stele_exchange_conn(call->exchange));
    const struct stele_text authorization = stele_exchange_header(call->exchange, "authorization");
    call->question.loop = call->loop;
    call->question.is_tls = peer->is_tls;
    call->question.on_answer = on_answer;
    call->question.peer = peer->address;
    if ((authorization.data != NULL || peer->client_cn != NULL) &&
        copy_proof(call, peer, authorization) != STELE_OK) {
        stele_call_finish(call, STELE_GRPC_RESOURCE_EXHAUSTED, "no memory");
        return;
    }
    stele_call_hold(call);
    stele_auth_ask(call->grpc->auth, &call->question);
}

static bool text_is(struct stele_text text, const char *want)
{
    return text.size == strlen(want) && memcmp(text.data, want, text.size) == 0;
}

static bool choose_coding(struct stele_call *call)
{
    const struct stele_text name = stele_exchange_header(call->exchange, "grpc-encoding");
    if (name.data == NULL || text_is(name, "identity")) {
        call->coding = CODING_IDENTITY;
    } else if (text_is(name, "gzip")) {
        call->coding = CODING_GZIP;
    } else if (text_is(name, "deflate")) {
        call->coding = CODING_DEFLATE;
    } else {
        stele_call_trailer(call, "grpc-accept-encoding",
                           stele_bytes_of_text("identity,deflate,gzip"));
        stele_call_finish(call, STELE_GRPC_UNIMPLEMENTED, "unknown grpc-encoding");
        return false;
    }
    return true;
}

static bool start_deadline(struct stele_call *call)
{
    const struct stele_text text = stele_exchange_header(call->exchange, "grpc-timeout");
    if (text.data == NULL) {
        return true;
    }
    const int64_t timeout_us = stele_grpc__timeout(text);
    if (timeout_us == INT64_MAX) {
        stele_call_finish(call, STELE_GRPC_INVALID_ARGUMENT, "grpc-timeout is malformed");
        return false;
    }
    call->deadline_us = stele_loop_now_us(call->loop) + timeout_us;
    call->timer.on_due = on_due;
    call->loop->ops->timer_start(call->loop, &call->timer, call->deadline_us);
    return true;
}

/* Without a call: what cannot be one. */
static void refuse(struct stele_exchange *exchange, enum stele_grpc_code code, const char *message)
{
    const struct stele_buf none = {0};
    send_status(exchange, code, (struct stele_text){.data = message, .size = strlen(message)},
                &none);
}

void stele_grpc_on_request(struct stele_grpc *grpc, struct stele_exchange *exchange)
{
    stele_exchange_set_user(exchange, NULL);
    const struct stele_text path = stele_exchange_path(exchange);
    const struct stele_method *method = stele_grpc__find(grpc, path);
    if (method == NULL || !text_is(stele_exchange_method(exchange), "POST")) {
        refuse(exchange, STELE_GRPC_UNIMPLEMENTED, "this server has no such method");
        return;
    }
    struct stele_loop *loop = stele_exchange_loop(exchange);
    const size_t size = sizeof(struct stele_call) + method->state_size;
    struct stele_call *call = stele_allocate_zeroed(loop->alloc, size);
    if (call == NULL) {
        refuse(exchange, STELE_GRPC_RESOURCE_EXHAUSTED, "no memory for the call");
        return;
    }
    call->grpc = grpc;
    call->loop = loop;
    call->exchange = exchange;
    call->method = method;
    call->deadline_us = INT64_MAX;
    call->size = size;
    call->refs = 1;
    call->message_max =
        method->message_max > 0 ? method->message_max : STELE_GRPC__MESSAGE_MAX_DEFAULT;
    call->state = CALL_ASKING;
    stele_exchange_set_user(exchange, call);
    stele_call_hold(call);
    if (choose_coding(call) && start_deadline(call)) {
        ask(call);
    }
    stele_call_release(call);
}

/* ---- What the exchange tells --------------------------------------------------------------- */

void stele_grpc_on_body(struct stele_grpc *grpc, struct stele_exchange *exchange,
                        struct stele_bytes bytes)
{
    (void)grpc;
    struct stele_call *call = stele_exchange_user(exchange);
    if (call == NULL || call->state == CALL_OVER) {
        stele_exchange_consume(exchange, bytes.size);
        return;
    }
    take_in(call, bytes);
}

void stele_grpc_on_end(struct stele_grpc *grpc, struct stele_exchange *exchange)
{
    (void)grpc;
    struct stele_call *call = stele_exchange_user(exchange);
    if (call != NULL && call->state != CALL_OVER) {
        call->ended = true;
        take_in(call, (struct stele_bytes){0});
    }
}

void stele_grpc_on_writable(struct stele_grpc *grpc, struct stele_exchange *exchange)
{
    (void)grpc;
    struct stele_call *call = stele_exchange_user(exchange);
    if (call != NULL && call->state == CALL_STARTED && call->method->writable != NULL) {
        stele_call_hold(call);
        call->method->writable(call);
        stele_call_release(call);
    }
}

void stele_grpc_on_close(struct stele_grpc *grpc, struct stele_exchange *exchange, bool finished)
{
    (void)grpc;
    (void)finished;
    struct stele_call *call = stele_exchange_user(exchange);
    if (call == NULL) {
        return;
    }
    stele_exchange_set_user(exchange, NULL);
    call->exchange = NULL;
    call->owed = 0;
    if (call->state != CALL_OVER) {
        end_call(call, STELE_GRPC_CANCELLED);
    }
    stele_call_release(call);
}
