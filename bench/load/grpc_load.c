/* What a client gets that is made with the usual library, gRPC's own for C++. The same options and line of
 * result as server-load.
 *
 *     load-grpc --port N --events N readall */
#include "grpc_read.h"
#include "load.h"

int main(int argc, char **argv)
{
    struct load_options options;
    struct load_run run;
    const int first = load_parse(&options, "grpc", argc, argv);
    if (strcmp(argv[first], "readall") != 0) {
        (void)fputs("load-grpc: there is readall\n", stderr);
        return 2;
    }
    load_begin_now(&run, &options, "readall");
    run.result.operations = 1;
    const int good = grpc_read_all(options.port, options.events, &run.result.events);
    run.result.errors = good != 0 && run.result.events == options.events ? 0 : 1;
    load_end(&run);
    return load_report(&run);
}
