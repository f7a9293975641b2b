/* A keyring is read as it was written, or not at all; and writing it, whatever fails and whenever the power goes,
 * leaves the old one or the new one.
 *
 * Method: every bit and every length of a small file; every call of the disk fails, once and from then on; the
 * power is cut after every call, and what was not synced is kept, lost, or kept in part. */
#include "base/checksum.h"
#include "lib/memio.h"
#include "world.h"

static struct memio disk;

static int decode(const uint8_t *bytes, size_t size)
{
    struct stele_ring ring = {.alloc = &alloc.base};
    const int outcome = stele_ring_decode((struct stele_bytes){bytes, size}, &world_secret,
                                          &alloc.base, &ring, &err);
    if (outcome == STELE_OK) {
        stele_ring_deinit(&ring);
    }
    return outcome;
}

TEST(every_altered_bit_and_every_length_of_the_file_is_noticed)
{
    struct stele_ring ring;
    struct stele_ring_fresh fresh;
    struct stele_buf bytes = {.size = 0};
    world_ring(&ring);
    memset(&fresh, 1, sizeof fresh);
    CHECK_OK(stele_ring_encode(&ring, &fresh, &bytes, &err), err);
    for (size_t bit = 0; bit < bytes.size * 8; bit++) {
        bytes.data[bit / 8] ^= (uint8_t)(1u << (bit % 8));
        const int outcome = decode(bytes.data, bytes.size);
        CHECK(outcome == (bit / 8 < 12 ? STELE_E_FORMAT : STELE_E_CORRUPT));
        bytes.data[bit / 8] ^= (uint8_t)(1u << (bit % 8));
    }
    for (size_t size = 0; size < bytes.size; size++) {
        CHECK(decode(bytes.data, size) != STELE_OK);
    }
    CHECK_EQ(decode(bytes.data, bytes.size), STELE_OK);
    stele_buf_deinit(&bytes, &alloc.base);
    stele_ring_deinit(&ring);
    CHECK_EQ(alloc.blocks, 0);
}

/* What has a right checksum and is wrong is found by the encryption, or by what is in it. */
TEST(what_was_altered_by_somebody_who_makes_the_checksum_right_does_not_open)
{
    struct stele_ring ring;
    struct stele_ring_fresh fresh;
    struct stele_buf bytes = {.size = 0};
    world_ring(&ring);
    memset(&fresh, 1, sizeof fresh);
    CHECK_OK(stele_ring_encode(&ring, &fresh, &bytes, &err), err);
    for (size_t at = 16; at < bytes.size; at++) {
        bytes.data[at] ^= 1;
        const struct stele_bytes checked = {bytes.data + 16, bytes.size - 16};
        stele_store_u32le(bytes.data + 12, stele_crc32c(checked));
        const int outcome = decode(bytes.data, bytes.size);
        CHECK(outcome == STELE_E_KEY || outcome == STELE_E_CORRUPT || outcome == STELE_E_FORMAT);
        bytes.data[at] ^= 1;
    }
    stele_buf_deinit(&bytes, &alloc.base);
    stele_ring_deinit(&ring);
}

TEST(every_allocation_may_fail)
{
    for (uint64_t fail_at = 1;; fail_at++) {
        struct stele_ring ring;
        struct stele_ring read = {.alloc = &alloc.base};
        struct stele_ring_fresh fresh;
        struct stele_buf bytes = {.size = 0};
        world_ring(&ring);
        memset(&fresh, 1, sizeof fresh);
        alloc.calls = 0;
        alloc.fail_at = fail_at;
        int outcome = stele_ring_encode(&ring, &fresh, &bytes, &err);
        if (outcome == STELE_OK) {
            outcome = stele_ring_decode((struct stele_bytes){bytes.data, bytes.size}, &world_secret,
                                        &alloc.base, &read, &err);
        }
        alloc.fail_at = 0;
        stele_buf_deinit(&bytes, &alloc.base);
        stele_ring_deinit(&ring);
        stele_ring_deinit(&read);
        CHECK_EQ(alloc.blocks, 0);
        if (outcome == STELE_OK) {
            break;
        }
        CHECK_EQ(outcome, STELE_E_NO_MEMORY);
    }
}

TEST(thousands_of_subjects_are_found_and_truncating_takes_the_last_back)
{
    struct stele_ring ring;
    world_empty(&ring);
    for (uint32_t i = 0; i < 5000; i++) {
        char name[32];
        uint8_t random[48] = {0};
        (void)snprintf(name, sizeof name, "subject-%u", i);
        stele_store_u32le(random, i * 7919);
        stele_store_u32le(random + 4, i);
        CHECK_EQ(stele_ring_find(&ring, name) == NULL, 1);
        CHECK_OK(stele_ring_add(&ring, name, i, random, &err), err);
    }
    for (uint32_t i = 0; i < 5000; i++) {
        char name[32];
        (void)snprintf(name, sizeof name, "subject-%u", i);
        const struct stele_ring_entry *entry = stele_ring_find(&ring, name);
        CHECK(entry != NULL && entry == stele_ring_by_id(&ring, entry->id));
        CHECK_TEXT_EQ(entry->name, name);
    }
    stele_ring_truncate(&ring, 100);
    CHECK_EQ(ring.live, 100);
    CHECK(stele_ring_find(&ring, "subject-99") != NULL);
    CHECK(stele_ring_find(&ring, "subject-100") == NULL);
    stele_ring_deinit(&ring);
    CHECK_EQ(alloc.blocks, 0);
}

/* ---- On a disk ---- */

/* A disk with a keyring of ada and bob. */
static void begin_disk(void)
{
    struct stele_ring ring;
    bool replaced = false;
    world_empty(&ring);
    memio_init(&disk, &alloc.base, 1);
    world_add(&ring, "ada");
    world_add(&ring, "bob");
    CHECK_OK(stele_ring_save(&ring, &disk.io, &replaced, &err), err);
    stele_ring_deinit(&ring);
}

/* Loads, erases ada, saves. */
static int erase_ada(bool *out_replaced)
{
    struct stele_ring ring = {.alloc = &alloc.base};
    *out_replaced = false;
    int outcome = stele_ring_load(&disk.io, &world_secret, &alloc.base, &ring, &err);
    if (outcome != STELE_OK) {
        return outcome;
    }
    CHECK(stele_ring_erase(&ring, stele_ring_find(&ring, "ada")->id, 9));
    outcome = stele_ring_save(&ring, &disk.io, out_replaced, &err);
    stele_ring_deinit(&ring);
    return outcome;
}

/* Whole, with bob in it; is ada gone? */
static bool is_ada_erased(void)
{
    struct stele_ring ring = {.alloc = &alloc.base};
    CHECK_OK(stele_ring_load(&disk.io, &world_secret, &alloc.base, &ring, &err), err);
    CHECK_EQ(ring.count, 2);
    CHECK(!stele_ring_find(&ring, "bob")->is_erased);
    const bool erased = stele_ring_find(&ring, "ada")->is_erased;
    CHECK_EQ(ring.generation, erased ? 2 : 1);
    stele_ring_deinit(&ring);
    return erased;
}

TEST(every_call_of_the_disk_may_fail_and_the_file_is_the_old_or_the_new_one)
{
    for (int sticky = 0; sticky < 2; sticky++) {
        for (uint64_t fail_at = 1;; fail_at++) {
            bool replaced = false;
            begin_disk();
            disk.calls = 0;
            disk.fail_sticky = sticky != 0;
            disk.fail_at = fail_at;
            const int outcome = erase_ada(&replaced);
            disk.fail_at = 0;
            CHECK_EQ(disk.open_count, 0);
            CHECK(outcome == STELE_OK || !replaced ? is_ada_erased() == (outcome == STELE_OK)
                                                   : true);
            (void)is_ada_erased();
            /* And it can be done again. */
            if (!is_ada_erased()) {
                CHECK_OK(erase_ada(&replaced), err);
            }
            memio_deinit(&disk);
            CHECK_EQ(alloc.blocks, 0);
            if (outcome == STELE_OK && disk.failures == 0) {
                break;
            }
        }
    }
}

static void crash_after(uint64_t calls, int keep, bool *out_done)
{
    bool replaced = false;
    begin_disk();
    memio_crash(&disk, MEMIO_KEEP_NONE); /* What was saved is durable. */
    CHECK(!is_ada_erased());
    disk.calls = 0;
    disk.fail_sticky = true; /* The process dies: nothing that it would do later happens. */
    disk.fail_at = calls;
    const int outcome = erase_ada(&replaced);
    disk.fail_at = 0;
    memio_crash(&disk, keep);
    const bool erased = is_ada_erased();
    CHECK(outcome != STELE_OK || erased);
    CHECK(replaced || !erased);
    CHECK_OK(erased ? STELE_OK : erase_ada(&replaced), err);
    *out_done = outcome == STELE_OK;
    memio_deinit(&disk);
}

TEST(a_crash_at_any_moment_leaves_the_old_or_the_new_keyring)
{
    static const int keeps[] = {MEMIO_KEEP_NONE, MEMIO_KEEP_ALL, MEMIO_KEEP_RANDOM};
    for (size_t i = 0; i < 3; i++) {
        bool done = false;
        for (uint64_t calls = 1; !done; calls++) {
            crash_after(calls, keeps[i], &done);
        }
    }
}

TEST(what_was_said_to_be_saved_survives_and_no_old_file_keeps_its_bytes)
{
    bool replaced = false;
    begin_disk();
    struct memio_inode *before = memio_find(&disk, STELE_RING_FILE);
    struct stele_file *held = NULL; /* To look at it afterwards. */
    CHECK_OK(disk.io.ops->open(&disk.io, STELE_RING_FILE, false, &held, &err), err);
    CHECK_OK(erase_ada(&replaced), err);
    for (uint64_t i = 0; i < before->size; i++) {
        CHECK_EQ(before->cache[i], 0);
        CHECK_EQ(before->disk[i], 0);
    }
    disk.io.ops->close(held);
    memio_crash(&disk, MEMIO_KEEP_NONE);
    CHECK(is_ada_erased());
    memio_deinit(&disk);
}

TEST(what_a_crash_left_behind_of_a_new_file_is_overwritten_before_the_next_one)
{
    static const uint8_t left[2000] = {1, 2, 3};
    bool replaced = false;
    begin_disk();
    memio_put(&disk, STELE_RING_FILE_NEW, (struct stele_bytes){left, sizeof left});
    struct memio_inode *before = memio_find(&disk, STELE_RING_FILE_NEW);
    struct stele_file *held = NULL;
    CHECK_OK(disk.io.ops->open(&disk.io, STELE_RING_FILE_NEW, false, &held, &err), err);
    CHECK_OK(erase_ada(&replaced), err);
    for (uint64_t i = 0; i < sizeof left; i++) {
        CHECK_EQ(before->disk[i], 0);
    }
    disk.io.ops->close(held);
    CHECK(is_ada_erased());
    CHECK(memio_find(&disk, STELE_RING_FILE_NEW) == NULL);
    memio_deinit(&disk);
}
