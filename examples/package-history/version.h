/* The order of Debian's version numbers. */
#ifndef PACKAGE_HISTORY_VERSION_H
#define PACKAGE_HISTORY_VERSION_H

/* Less than, equal to, or greater than 0, as dpkg --compare-versions sees it: deb-version(7). */
int version_compare(const char *a, const char *b);

#endif
