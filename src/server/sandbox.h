/* What a server gives up once it has started: nobody who takes it over through a client gets the
 * machine with it.
 *
 * Files (Landlock): the store and the directories of local sockets may be changed; certificates, keys
 * and what the system shows about itself may be read; nothing else exists. Called before the first
 * thread starts, because it holds for the calling thread and those that it starts.
 *
 * System calls (seccomp): a list of those that a server makes; others fail with EPERM. No programs are
 * started, no other process is looked into, no module loaded, nothing mounted. Called last; it holds
 * for all threads. */
#ifndef STELE_SERVER_SANDBOX_H
#define STELE_SERVER_SANDBOX_H

#include "base/status.h"

#include <stddef.h>

struct stele_sandbox_paths {
    const char *const *write; /* Directories. */
    size_t write_count;
    const char *const *read; /* Files and directories; those that are not there are passed over. */
    size_t read_count;
};

/* STELE_OK; STELE_E_UNSUPPORTED (the kernel has none of it: everything stays as it is, err says so);
 * STELE_E_IO. */
STELE_MUST_USE
int stele_sandbox_files(const struct stele_sandbox_paths *paths, struct stele_error *err);
STELE_MUST_USE
int stele_sandbox_calls(struct stele_error *err);

#endif
