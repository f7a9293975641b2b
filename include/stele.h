/* The whole public interface of Stele. */
#include <stele/stele.h>
#include <stele/keys.h>
