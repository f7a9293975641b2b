#include "api/member/linear.h"

#include "api/server.h"

#include <strings.h>

bool stele_linear_is_asked(const struct stele_call *call, const char *header)
{
    const struct stele_text value = stele_call_metadata(call, header);
    return value.size == 4 && strncasecmp(value.data, "true", 4) == 0;
}

static void on_done(struct stele_linearizing *linearizing)
{
    struct stele_call *const call = ((struct stele_linear *)(void *)linearizing)->call;
    if (stele_call_is_over(call)) {
        /* The client went away. */
    } else if (linearizing->outcome == STELE_OK) {
        stele_call_resume(call);
    } else {
        stele_call_finish(call, STELE_GRPC_UNAVAILABLE, "Server Is Not Ready");
    }
    stele_call_release(call);
}

void stele_linear_begin(struct stele_linear *linear, struct stele_call *call)
{
    struct stele_cluster *const cluster = stele_call_server(call)->cluster;
    if (cluster->is_alone) {
        return;
    }
    linear->call = call;
    linear->linearizing.loop = stele_call_loop(call);
    linear->linearizing.on_done = on_done;
    stele_call_pause(call);
    stele_call_hold(call);
    cluster->ops->linearize(cluster, &linear->linearizing);
}
