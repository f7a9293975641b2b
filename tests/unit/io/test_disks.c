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

/* ---- What a power cut leaves of a durable write ---- */

static struct stele_error err;

static void put(struct stele_file *file, uint64_t offset, const char *text, bool durable)
{
    const struct stele_bytes bytes = stele_bytes_of_text(text);
    const struct stele_io_ops *ops = file->io->ops;
    CHECK_OK(durable ? ops->write_durable(file, offset, bytes, &err)
                     : ops->write(file, offset, bytes, &err),
             err);
}

/* In one sector of a file of several: something that stays volatile, something in part written
 * over durably, and the durable bytes, around which something follows. */
static void write_some_durably(struct stele_io *io)
{
    struct stele_file *file = NULL;
    CHECK_OK(io->ops->create(io, "file", 4096, false, &file, &err), err);
    CHECK_OK(io->ops->sync(file, &err), err);
    CHECK_OK(io->ops->sync_names(io, &err), err);
    put(file, 0, "volatile", false);
    put(file, 1020, "older, volatile", false);
    put(file, 1024, "durable", true);
    put(file, 2048, "later", false);
    io->ops->close(file);
}

static void check_kept(struct stele_io *io, bool all)
{
    struct stele_file *file = NULL;
    char got[4096];
    size_t size = 0;
    CHECK_OK(io->ops->open(io, "file", false, &file, &err), err);
    CHECK_OK(io->ops->read(file, 0, got, sizeof got, false, &size, &err), err);
    CHECK_EQ(size, sizeof got);
    CHECK_BYTES_EQ(got + 1024, "durable", 7);
    CHECK_BYTES_EQ(got, all ? "volatile" : "\0\0\0\0\0\0\0", 8);
    CHECK_BYTES_EQ(got + 2048, all ? "later" : "\0\0\0\0", 5);
    io->ops->close(file);
}

TEST(a_durable_write_is_there_after_a_power_cut_and_nothing_else_for_sure)
{
    struct testalloc alloc;
    testalloc_init(&alloc, 1);
    for (int all = 0; all <= 1; all++) {
        struct memio *disk = malloc(sizeof *disk);
        CHECK(disk != NULL);
        memio_init(disk, &alloc.base, 1);
        write_some_durably(&disk->io);
        memio_crash(disk, all != 0 ? MEMIO_KEEP_ALL : MEMIO_KEEP_NONE);
        check_kept(&disk->io, all != 0);
        memio_deinit(disk);
        free(disk);

        struct simdisk sim;
        simdisk_init(&sim, 1, &alloc.base);
        write_some_durably(&sim.io);
        simdisk_power_cut(&sim, all != 0 ? SIMDISK_KEEP_ALL : SIMDISK_KEEP_NOTHING);
        check_kept(&sim.io, all != 0);
        simdisk_deinit(&sim);
    }
    CHECK_EQ(alloc.bytes, 0);
}
