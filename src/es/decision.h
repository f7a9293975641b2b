/* Of decisions, what the runner needs beyond <stele/es.h>. */
#ifndef STELE_ES_DECISION_H
#define STELE_ES_DECISION_H

#include <stele/es.h>

/* The id of the event number index (from 0) of a command: the same whenever the command is tried, so
 * that the store recognises what it has already. Untouched if the command has no id. */
void stele_decision_event_id(const struct stele_command *command, uint64_t index, uint8_t id[16]);

#endif
