/* Nobody uses the store but the simulator's own clients and readers. */
#include "sim.h"

const struct sim_guest sim_guest = {.command = "./dev sim"};
