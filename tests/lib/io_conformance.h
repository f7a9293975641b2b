/* What every implementation of io/io.h has to do, as tests over a struct stele_io.
 *
 * Each case begins with a store without files, leaves one behind, and needs nothing but the
 * contract. What faults do is each implementation's own affair and tested there. */
#ifndef STELE_TESTS_LIB_IO_CONFORMANCE_H
#define STELE_TESTS_LIB_IO_CONFORMANCE_H

#include "io/io.h"

struct io_conformance_case {
    const char *claim;
    void (*run)(struct stele_io *io);
};

/* The last one has no claim. */
extern const struct io_conformance_case io_conformance_cases[];

/* Runs all of them on a store without files, one after the other; says which, as TAP comments. */
void io_conformance(struct stele_io *io);

#endif
