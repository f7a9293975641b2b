/* What dpkg says is installed now: the truth that the replay is compared with. */
#ifndef PACKAGE_HISTORY_DPKG_STATUS_H
#define PACKAGE_HISTORY_DPKG_STATUS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct dpkg_package {
    const char *name;
    const char *arch;
    const char *version;
    const char *state;
    int64_t changed_us; /* When its list of files was last written: when it was unpacked. */
};

struct dpkg_status {
    struct dpkg_package *packages;
    size_t count;
    char *text; /* What they point into. */
};

/* Asks dpkg-query, of this machine or of another database (--admindir). */
void dpkg_status_query(struct dpkg_status *out_status, const char *admin_directory);

/* Reads what dpkg-query would have said from a file: lines "name:arch version state". */
void dpkg_status_read(struct dpkg_status *out_status, const char *path);

void dpkg_status_free(struct dpkg_status *status);

#endif
