/* The whole public interface of libstele. */
#include <stele/clock.h>
#include <stele/crdt.h>
#include <stele/es.h>
#include <stele/keys.h>
#include <stele/project.h>
#include <stele/run.h>
#include <stele/saga.h>
#include <stele/stele.h>
#include <stele/testing.h>
#include <stele/versions.h>
