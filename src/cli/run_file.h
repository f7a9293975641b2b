/* The file of `stele run`: YAML, read with libcyaml. */
#ifndef STELE_CLI_RUN_FILE_H
#define STELE_CLI_RUN_FILE_H

#include <stddef.h>
#include <stdint.h>

struct stele_cli_run_entry {
    const char *file; /* An SQL file. */
    const char *into; /* A database. */
    uint32_t lanes, batch;
};

/* Texts live as long as the process; paths are as seen from the working directory. */
struct stele_cli_run_file {
    const char *store; /* NULL: not said. */
    struct stele_cli_run_entry *entries;
    size_t count;
};

/* STELE_CLI_OK or, after telling file, line and what is wrong, an exit code. */
int stele_cli_run_file_load(const char *path, struct stele_cli_run_file *out_file);

#endif
