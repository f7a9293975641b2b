/* Every command's description. One place lists them all: cmd_help.c. */
#ifndef STELE_CLI_COMMANDS_H
#define STELE_CLI_COMMANDS_H

#include "cli/options.h"

extern const struct stele_cli_command stele_cli_append_command;
extern const struct stele_cli_command stele_cli_bench_command;
extern const struct stele_cli_command stele_cli_cluster_command;
extern const struct stele_cli_command stele_cli_delete_command;
extern const struct stele_cli_command stele_cli_digest_command;
extern const struct stele_cli_command stele_cli_export_command;
extern const struct stele_cli_command stele_cli_help_command;
extern const struct stele_cli_command stele_cli_import_command;
extern const struct stele_cli_command stele_cli_info_command;
extern const struct stele_cli_command stele_cli_keys_command;
extern const struct stele_cli_command stele_cli_meta_command;
extern const struct stele_cli_command stele_cli_project_command;
extern const struct stele_cli_command stele_cli_read_command;
extern const struct stele_cli_command stele_cli_run_command;
extern const struct stele_cli_command stele_cli_saga_command;
extern const struct stele_cli_command stele_cli_scavenge_command;
extern const struct stele_cli_command stele_cli_serve_command;
extern const struct stele_cli_command stele_cli_shred_command;
extern const struct stele_cli_command stele_cli_state_command;
extern const struct stele_cli_command stele_cli_streams_command;
extern const struct stele_cli_command stele_cli_tail_command;
extern const struct stele_cli_command stele_cli_user_command;
extern const struct stele_cli_command stele_cli_verify_command;
extern const struct stele_cli_command stele_cli_version_command;

/* Command number index, in the order of the overview; NULL past the last. */
const struct stele_cli_command *stele_cli_command_at(size_t index);
const struct stele_cli_command *stele_cli_find_command(const char *name);
/* The nearest command's name to a mistyped one, or NULL. */
const char *stele_cli_near_command(const char *name);

void stele_cli_out_overview(void);

#endif
