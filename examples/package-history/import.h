/* From the log into the store. */
#ifndef PACKAGE_HISTORY_IMPORT_H
#define PACKAGE_HISTORY_IMPORT_H

#include <stddef.h>

/* Imports the logs, oldest first, and tells what it did. No logs: those in /var/log, and what dpkg
 * itself knows of packages that they do not mention.
 *
 * Importing again stores what is new and nothing twice: the id of an event is made of its line. */
void import(const char *store_path, char **logs, size_t logs_count);

#endif
