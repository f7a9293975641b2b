/* Outcomes inside the library are those of the public interface: one list, plain ints. */
#ifndef STELE_BASE_STATUS_H
#define STELE_BASE_STATUS_H

#include "base/compiler.h"

#include <stele/outcome.h>

/* Fills *err, if err is not NULL, and returns outcome, so that a failing branch is one line. */
STELE_PRINTF(4, 5)
int stele_fail(struct stele_error *err, int outcome, int os_errno, const char *format, ...);

#endif
