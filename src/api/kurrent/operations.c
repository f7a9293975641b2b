/* Operations: scavenging, shutting down, and what only a cluster would need. */
#include "api/kurrent/cold.h"

#include <stdio.h>

/* ScavengeResp.ScavengeResult */
#define STARTED 0
#define IN_PROGRESS 1
#define STOPPED 2

static void answer_scavenge(struct stele_call *call, const char *id, uint64_t result)
{
    struct stele_kurrent__out out = {.alloc = stele_call_loop(call)->alloc};
    stele_kurrent__out_text(&out, 1, id);
    stele_kurrent__out_number(&out, 2, result);
    if (stele_kurrent__out_send(&out, call)) {
        stele_call_finish(call, STELE_GRPC_OK, "");
    }
    stele_kurrent__out_deinit(&out);
}

/* {1: options {1: …, 2: …}}: numbers, or a text as the first. */
struct options {
    int32_t numbers[3];
    struct stele_text text;
};

static bool get_options(struct stele_bytes message, struct options *out)
{
    struct stele_pb_reader reader = stele_pb_reader(message);
    struct stele_pb_field field;
    *out = (struct options){.text = {.data = "", .size = 0}};
    while (stele_pb_next(&reader, &field)) {
        if (field.number != 1 || field.wire != STELE_PB_BYTES) {
            continue;
        }
        struct stele_pb_reader inner = stele_pb_reader(field.bytes);
        struct stele_pb_field option;
        while (stele_pb_next(&inner, &option)) {
            if (option.number <= 2 && option.wire == STELE_PB_VARINT) {
                out->numbers[option.number] = (int32_t)option.value;
            } else if (option.number == 1 && option.wire == STELE_PB_BYTES) {
                out->text = stele_kurrent__text(option.bytes);
            }
        }
        if (inner.bad) {
            return false;
        }
    }
    return !reader.bad;
}

static void on_start_scavenge(struct stele_call *call, struct stele_bytes message)
{
    struct stele_server *server = stele_call_server(call);
    struct options options;
    char id[37] = "";
    if (!get_options(message, &options) || options.numbers[1] <= 0 || options.numbers[2] < 0) {
        stele_kurrent__fail_invalid(call, "thread_count must be positive and start_from_chunk must "
                                          "not be negative");
        return;
    }
    if (server->scavenge_start == NULL) {
        stele_call_finish(call, STELE_GRPC_UNIMPLEMENTED, "this server cannot scavenge");
        return;
    }
    const int outcome = server->scavenge_start(server, id);
    if (outcome == STELE_OK || outcome == STELE_E_OVERLOADED) {
        answer_scavenge(call, id, outcome == STELE_OK ? STARTED : IN_PROGRESS);
    } else {
        stele_kurrent__fail_outcome(call, outcome, "scavenging could not be started");
    }
}

static void on_stop_scavenge(struct stele_call *call, struct stele_bytes message)
{
    struct stele_server *server = stele_call_server(call);
    struct options options;
    char id[37] = "";
    if (!get_options(message, &options)) {
        stele_kurrent__fail_invalid(call, "the request is malformed");
        return;
    }
    if (options.text.size > 0 && options.text.size < sizeof id) {
        memcpy(id, options.text.data, options.text.size);
    }
    const int outcome = id[0] == '\0' || server->scavenge_stop == NULL
                            ? STELE_NOT_FOUND
                            : server->scavenge_stop(server, id);
    if (outcome == STELE_OK) {
        answer_scavenge(call, id, STOPPED);
    } else if (outcome == STELE_NOT_FOUND) {
        stele_call_trailer(call, "exception", stele_bytes_of_text("scavenge-not-found"));
        stele_call_trailer(call, "scavenge-id", stele_kurrent__bytes(options.text));
        stele_call_finish(call, STELE_GRPC_NOT_FOUND, "Scavenge id was invalid.");
    } else {
        stele_kurrent__fail_outcome(call, outcome, "scavenging could not be stopped");
    }
}

static void on_shutdown(struct stele_call *call, struct stele_bytes message)
{
    struct stele_server *server = stele_call_server(call);
    (void)message;
    stele_kurrent__answer_empty(call);
    if (server->shut_down != NULL) {
        server->shut_down(server); /* It lets answers out first. */
    }
}

/* Merging goes on by itself; a node alone has nobody to resign for and no rank among others. */
static void on_nothing(struct stele_call *call, struct stele_bytes message)
{
    (void)message;
    stele_kurrent__answer_empty(call);
}

/* ---- Restarting the persistent subscriptions ------------------------------------------------ */

struct restart {
    struct stele_groups_request request; /* First: on_restarted finds the rest. */
    struct stele_call *call;
    bool asked;
};

static void on_restarted(struct stele_groups_request *request)
{
    struct restart *restart = (struct restart *)(void *)request;
    struct stele_call *call = restart->call;
    if (!stele_call_is_over(call)) {
        if (request->outcome == STELE_OK) {
            stele_kurrent__answer_empty(call);
        } else if (request->outcome == STELE_GROUPS_ELSEWHERE) {
            stele_kurrent__fail_not_leader(call);
        } else {
            stele_kurrent__fail_outcome(call, request->outcome, request->err.message);
        }
    }
    stele_groups_request_deinit(request);
    stele_call_release(call);
}

static void on_restart(struct stele_call *call, struct stele_bytes message)
{
    struct restart *restart = stele_call_state(call);
    struct stele_groups *groups = stele_call_server(call)->groups;
    (void)message;
    if (restart->asked || groups == NULL) {
        stele_call_finish(call, STELE_GRPC_UNAVAILABLE, "Server Is Not Ready");
        return;
    }
    restart->asked = true;
    restart->call = call;
    restart->request.what = STELE_GROUPS_RESTART;
    restart->request.loop = stele_call_loop(call);
    restart->request.on_done = on_restarted;
    stele_call_hold(call);
    stele_groups_ask(groups, &restart->request);
}

static void on_start(struct stele_call *call)
{
    (void)call;
}

#define METHOD(name, handler)                                                                      \
    {                                                                                              \
        .rpc = STELE_RPC_KURRENT_OPERATIONS_##name, .admit = stele_kurrent__admit,                 \
        .start = on_start, .message = (handler),                                                   \
    }

static const struct stele_method methods[] = {
    METHOD(START_SCAVENGE, on_start_scavenge),
    METHOD(STOP_SCAVENGE, on_stop_scavenge),
    METHOD(SHUTDOWN, on_shutdown),
    METHOD(MERGE_INDEXES, on_nothing),
    METHOD(RESIGN_NODE, on_nothing),
    METHOD(SET_PRIORITY, on_nothing),
    {
        .rpc = STELE_RPC_KURRENT_OPERATIONS_RESTART_PS,
        .state_size = sizeof(struct restart),
        .admit = stele_kurrent__admit_leader,
        .start = on_start,
        .message = on_restart,
    },
};

void stele_kurrent_operations_register(struct stele_grpc_table *table)
{
    for (size_t i = 0; i < STELE_COUNT_OF(methods); i++) {
        table->methods[methods[i].rpc] = &methods[i];
    }
}
