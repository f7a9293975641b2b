/* Included before every source file that clang-tidy looks at, and by nothing else.
 *
 * The analyzer sees one file at a time, so it cannot know that stele_fail() returns the outcome
 * that it was given, and would go on where a caller has long returned. This tells it. */
#ifndef STELE_TOOLS_ANALYSIS_H
#define STELE_TOOLS_ANALYSIS_H

#include "base/status.h"

#define stele_fail(err, outcome, ...) (stele_fail(err, outcome, __VA_ARGS__), (outcome))

#endif
