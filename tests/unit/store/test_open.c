/* Two processes may make the same store at the same time: each finds either nothing or a store.
 *
 * Method: a disk on which the file that every store has is not there yet when it is looked for, and
 * everything is when the directory is listed. */
#include "world.h"

static const struct stele_io_ops *real;
static int not_there; /* In so many openings. */

static int late_open(struct stele_io *io, const char *name, bool writable,
                     struct stele_file **out_file, struct stele_error *err)
{
    if (strcmp(name, "stele.store") == 0 && not_there > 0) {
        not_there--;
        return STELE_NOT_FOUND;
    }
    return real->open(io, name, writable, out_file, err);
}

TEST(a_store_that_another_process_is_making_is_no_foreign_directory)
{
    struct world *world = world_create();
    world_open(world);
    CHECK_OK(world_append(world, "s", STELE_EXPECT_NO_STREAM, NULL), world->err);
    world_close(world);
    real = world->disk.io.ops;
    struct stele_io_ops ops = *real;
    ops.open = late_open;
    world->disk.io.ops = &ops;
    bool creates = true;
    not_there = 1;
    CHECK_OK(stele_store_look(&world->disk.io, &world->options, &creates, &world->err), world->err);
    CHECK(!creates);
    /* A directory that stays without it is somebody else's. */
    not_there = 1000;
    CHECK_OUTCOME(stele_store_look(&world->disk.io, &world->options, &creates, &world->err),
                  STELE_E_NOT_A_STORE, world->err);
    not_there = 0;
    world_open(world);
    world->disk.io.ops = real;
    world_destroy(world);
}
