/* Is what the events say true? */
#ifndef PACKAGE_HISTORY_CHECK_H
#define PACKAGE_HISTORY_CHECK_H

#include <stdbool.h>

/* Replays all events and compares every package that the log mentions with what dpkg-query says:
 * whether it is there, its version, its state. Prints every difference with what explains it.
 *
 * admin_directory: another database of dpkg, or NULL. against: a file with what dpkg-query said, or
 * NULL. True if there is no difference. */
bool check(const char *store_path, const char *admin_directory, const char *against);

#endif
