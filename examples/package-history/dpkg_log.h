/* The log that dpkg keeps of what it does, one line for each step. dpkg(1), "Log file":
 *
 *     2026-11-21 05:01:33 startup archives unpack
 *     2026-11-21 05:01:33 install curl:amd64 <none> 7.88.1-10
 *     2026-11-21 05:01:33 status half-installed curl:amd64 7.88.1-10
 *     2026-11-21 05:01:33 conffile /etc/curlrc keep
 *
 * What its manual does not say:
 *  - Times are local times, without a zone.
 *  - An action (install, upgrade, configure, trigproc, remove, purge, disappear) is announced
 *    before it is tried; a status says what is true from now on. Only the status counts.
 *  - "upgrade" is also said of a downgrade and of a reinstallation.
 *  - A package without conffiles goes from config-files to not-installed at once, without "purge".
 *  - A package that changes its architecture (amd64 to all) is announced under its old one and
 *    turns up as unpacked under its new one; no line says that the old one is gone.
 *  - Before dpkg 1.16.2 names came without their architecture. One still does: debootstrap notes the
 *    dpkg that it unpacks by hand without one, so a fresh system's log has "upgrade dpkg …" and then
 *    "status unpacked dpkg:amd64 …". */
#ifndef PACKAGE_HISTORY_DPKG_LOG_H
#define PACKAGE_HISTORY_DPKG_LOG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum dpkg_kind {
    DPKG_STARTUP,  /* package: archives or packages; version: the command */
    DPKG_STATUS,   /* state, package, arch, version */
    DPKG_ACTION,   /* state: which; package, arch; previous: installed before; version: coming */
    DPKG_CONFFILE, /* package: the file's path; state: install or keep */
    DPKG_OTHER,    /* Nothing that dpkg writes. */
};

struct dpkg_line {
    int64_t time_us;  /* Microseconds since 1970. */
    const char *text; /* The whole line. */
    size_t ordinal;   /* How many equal lines came before it. */
    enum dpkg_kind kind;
    const char *state;
    const char *package;
    const char *arch;     /* "" if the line has none. */
    const char *version;  /* "" for "<none>". */
    const char *previous; /* "" for "<none>". */
};

struct dpkg_log {
    struct dpkg_line *lines;
    size_t count;
    size_t room;
    size_t unreadable; /* Lines with no time in front: left out. */
    uint64_t bytes;    /* Of text, unpacked. */
    size_t files;
    char **texts; /* What the lines point into. */
};

/* Adds a log, also one that gzip has packed. Older logs go in first. A last line without an end is
 * left for the next time: dpkg is writing it. False if there is no such file. */
bool dpkg_log_read(struct dpkg_log *log, const char *path);

/* Adds dpkg.log and its rotated ones (dpkg.log.1, dpkg.log.2.gz, …) of a directory, oldest first. */
void dpkg_log_read_all(struct dpkg_log *log, const char *directory);

void dpkg_log_free(struct dpkg_log *log);

#endif
