/* Upcasters: see <stele/es.h>. Inside of es only what folding needs beyond it. */
#ifndef STELE_ES_UPCAST_H
#define STELE_ES_UPCAST_H

#include "es/memory.h"

/* The member "version" of an event's metadata; 1 if there is none or it is no number above 0. */
uint32_t stele_upcast_version(const struct stele_event *event);

#endif
