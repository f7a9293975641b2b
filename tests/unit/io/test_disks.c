/* The disks in memory that other tests stand on do what io/io.h says.
 *
 * Method: the suite that every implementation has to pass, without any fault. */
#include "lib/check.h"
#include "lib/io_conformance.h"
#include "lib/memio.h"
#include "lib/simdisk.h"
#include "lib/testalloc.h"

TEST(the_disk_for_fault_sweeps_conforms)
{
    struct testalloc alloc;
    struct memio *disk = malloc(sizeof *disk); /* It holds its names, and is large. */
    CHECK(disk != NULL);
    testalloc_init(&alloc, 1);
    memio_init(disk, &alloc.base, 1);
    io_conformance(&disk->io);
    CHECK_EQ(disk->open_count, 0);
    memio_deinit(disk);
    free(disk);
    CHECK_EQ(alloc.bytes, 0);
}

TEST(the_disk_of_the_simulator_conforms)
{
    struct testalloc alloc;
    testalloc_init(&alloc, 1);
    for (uint64_t seed = 1; seed <= 3; seed++) {
        struct simdisk disk;
        simdisk_init(&disk, seed, &alloc.base);
        disk.now_us = INT64_C(1700000000000000); /* Its world says what time it is. */
        io_conformance(&disk.io);
        CHECK_EQ(disk.open_files, 0);
        simdisk_deinit(&disk);
    }
    CHECK_EQ(alloc.bytes, 0);
}
