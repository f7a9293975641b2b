/* Bounds of the core, in one place. The public ones are in stele/stele.h. */
#ifndef STELE_BASE_LIMITS_H
#define STELE_BASE_LIMITS_H

#include <stele/stele.h>

#define STELE_PARTITIONS_DEFAULT 128
#define STELE_SEGMENT_SIZE_MIN ((uint64_t)64 * 1024)
#define STELE_SEGMENT_SIZE_FIRST ((uint64_t)4 * 1024 * 1024)
#define STELE_SEGMENT_SIZE_MAX ((uint64_t)2 * 1024 * 1024 * 1024)
/* The format's own bound on one frame; an append of STELE_APPEND_SIZE_MAX fits with overhead. */
#define STELE_FRAME_SIZE_MAX ((uint64_t)96 * 1024 * 1024)
#define STELE_COMMITS_IN_FLIGHT_MAX 4

#endif
