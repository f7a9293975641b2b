/* How fast a server answers, for what speaks gRPC: Stele by KurrentDB's protocol or its own, etcd, and
 * the bare echo (load-echo), which is the limit of HTTP/2. server-load --help. */
#include "workloads.h"

static int run(const struct load_options *options, const struct protocol *protocol,
               const char *workload)
{
    struct load_shape shape;
    if (load_shape_of(options, workload, &shape)) {
        return run_append(options, protocol, workload, shape);
    }
    static const struct {
        const char *name;
        int (*run)(const struct load_options *options, const struct protocol *protocol);
    } others[] = {
        {"fill", run_fill}, {"readall", run_readall}, {"readstream", run_readstream},
        {"live", run_live}, {"fan", run_fan},         {"idle", run_idle},
    };
    for (size_t i = 0; i < STELE_COUNT_OF(others) && protocol->put_read != NULL; i++) {
        if (strcmp(workload, others[i].name) == 0) {
            return others[i].run(options, protocol);
        }
    }
    (void)fprintf(stderr, "server-load: %s has no workload %s\n", options->program, workload);
    return 2;
}

int main(int argc, char **argv)
{
    struct load_options options;
    const int first = load_parse(&options, "stele", argc, argv);
    const struct protocol *const protocol = protocol_of(options.program);
    if (protocol == NULL) {
        (void)fprintf(stderr, "server-load: no program %s; --help lists them\n", options.program);
        return 2;
    }
    protocol_init(&options);
    int code = 0;
    for (int i = first; i < argc && code == 0; i++) {
        code = run(&options, protocol, argv[i]);
    }
    return code;
}
