/* The conditions of an append, from the options that describe them. */
#ifndef STELE_CLI_CONDITION_H
#define STELE_CLI_CONDITION_H

#include "cli/options.h"

#include <stele.h>

struct stele_cli_conditions {
    struct stele_cli_list types;
    struct stele_cli_list tags;
    const char *json; /* "[{"types": […], "tags": […]}, …]" */
    const char *after;
};

/* At most two: one from types and tags, one from json. What they point to lives as long as the
 * process. STELE_CLI_GO_ON, or an exit code after telling. */
int stele_cli_conditions(const struct stele_cli_command *command,
                         const struct stele_cli_conditions *conditions,
                         struct stele_condition out_conditions[2], size_t *out_count);

#endif
