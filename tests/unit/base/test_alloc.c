/* Buffers and arenas keep what was put into them, give back all they took, and a failed allocation
 * changes nothing.
 *
 * Method: an allocator that moves every block, checks every size and fails the n-th call, for
 * n = 1, 2, … until nothing fails any more. */
#include "base/alloc.h"
#include "base/status.h"
#include "lib/check.h"
#include "lib/dies.h"
#include "lib/testalloc.h"

static struct stele_bytes bytes_of(const void *data, size_t size)
{
    return (struct stele_bytes){.data = data, .size = size};
}

TEST(zeroed_memory_is_zeroed)
{
    struct testalloc alloc;
    testalloc_init(&alloc, 1);
    for (size_t size = 1; size <= 100; size++) {
        uint8_t *memory = stele_allocate_zeroed(&alloc.base, size);
        for (size_t i = 0; i < size; i++) {
            CHECK_EQ(memory[i], 0);
        }
        stele_release(&alloc.base, memory, size);
    }
    alloc.fail_at = alloc.calls + 1;
    CHECK(stele_allocate_zeroed(&alloc.base, 8) == NULL);
    CHECK_EQ(alloc.bytes, 0);
}

TEST(releasing_nothing_is_fine)
{
    struct testalloc alloc;
    testalloc_init(&alloc, 1);
    stele_release(&alloc.base, NULL, 0);
    CHECK_EQ(alloc.calls, 0);
}

/* ---- Buffers ------------------------------------------------------------------------------ */

TEST(a_buffer_is_what_was_appended)
{
    struct testalloc alloc;
    testalloc_init(&alloc, 1);
    struct stele_buf buf = {0};
    uint8_t want[5050];
    size_t size = 0;
    for (size_t piece = 0; piece <= 100; piece++) {
        memset(want + size, (int)piece, piece);
        CHECK_EQ(stele_buf_append(&buf, &alloc.base, bytes_of(want + size, piece)), STELE_OK);
        size += piece;
        CHECK_EQ(buf.size, size);
        CHECK(buf.capacity >= buf.size);
        CHECK_BYTES_EQ(buf.data, want, size);
    }
    stele_buf_deinit(&buf, &alloc.base);
    CHECK(buf.data == NULL && buf.size == 0 && buf.capacity == 0);
    CHECK_EQ(alloc.bytes, 0);
}

TEST(appending_nothing_allocates_nothing)
{
    struct testalloc alloc;
    testalloc_init(&alloc, 1);
    struct stele_buf buf = {0};
    CHECK_EQ(stele_buf_append(&buf, &alloc.base, (struct stele_bytes){0}), STELE_OK);
    CHECK_EQ(stele_buf_reserve(&buf, &alloc.base, 0), STELE_OK);
    stele_buf_deinit(&buf, &alloc.base);
    CHECK_EQ(alloc.calls, 0);
}

TEST(reserved_room_is_used_without_allocating)
{
    struct testalloc alloc;
    testalloc_init(&alloc, 1);
    struct stele_buf buf = {0};
    CHECK_EQ(stele_buf_reserve(&buf, &alloc.base, 1000), STELE_OK);
    CHECK_EQ(buf.size, 0);
    for (int i = 0; i < 1000; i++) {
        CHECK_EQ(stele_buf_append(&buf, &alloc.base, bytes_of("x", 1)), STELE_OK);
    }
    CHECK_EQ(alloc.calls, 1);
    stele_buf_deinit(&buf, &alloc.base);
}

TEST(growing_byte_by_byte_takes_few_allocations)
{
    struct testalloc alloc;
    testalloc_init(&alloc, 1);
    struct stele_buf buf = {0};
    for (int i = 0; i < 100000; i++) {
        CHECK_EQ(stele_buf_append(&buf, &alloc.base, bytes_of("x", 1)), STELE_OK);
    }
    CHECK(alloc.calls <= 12);
    stele_buf_deinit(&buf, &alloc.base);
    CHECK_EQ(alloc.bytes, 0);
}

TEST(a_buffer_survives_any_failed_allocation_unchanged)
{
    bool failed = true;
    for (uint64_t n = 1; failed; n++) {
        struct testalloc alloc;
        testalloc_init(&alloc, 1);
        alloc.fail_at = n;
        struct stele_buf buf = {0};
        for (uint8_t i = 0; i < 100; i++) {
            uint8_t piece[23];
            memset(piece, i, sizeof piece);
            const struct stele_buf before = buf;
            if (stele_buf_append(&buf, &alloc.base, bytes_of(piece, sizeof piece)) != STELE_OK) {
                CHECK(buf.data == before.data);
                CHECK_EQ(buf.size, before.size);
                CHECK_EQ(buf.capacity, before.capacity);
                /* And the next one works. */
                CHECK_EQ(stele_buf_append(&buf, &alloc.base, bytes_of(piece, sizeof piece)),
                         STELE_OK);
            }
            for (size_t at = 0; at < buf.size; at++) {
                CHECK_EQ(buf.data[at], at / sizeof piece);
            }
        }
        failed = alloc.failures > 0;
        CHECK(failed || n > 1);
        stele_buf_deinit(&buf, &alloc.base);
        CHECK_EQ(alloc.bytes, 0);
    }
}

TEST(sizes_beyond_all_memory_are_no_memory)
{
    struct testalloc alloc;
    testalloc_init(&alloc, 1);
    struct stele_buf buf = {0};
    CHECK_EQ(stele_buf_append(&buf, &alloc.base, bytes_of("abc", 3)), STELE_OK);
    const uint64_t calls = alloc.calls;
    CHECK_EQ(stele_buf_reserve(&buf, &alloc.base, SIZE_MAX), STELE_E_NO_MEMORY);
    CHECK_EQ(stele_buf_reserve(&buf, &alloc.base, SIZE_MAX - 3), STELE_E_NO_MEMORY);
    CHECK_EQ(stele_buf_reserve(&buf, &alloc.base, SIZE_MAX / 2), STELE_E_NO_MEMORY);

    struct stele_arena arena = {0};
    CHECK(stele_arena_allocate(&arena, &alloc.base, SIZE_MAX) == NULL);
    CHECK(stele_arena_allocate(&arena, &alloc.base, SIZE_MAX - 7) == NULL);
    CHECK_EQ(alloc.calls, calls);
    CHECK_BYTES_EQ(buf.data, "abc", 3);
    stele_buf_deinit(&buf, &alloc.base);
}

TEST(a_buffer_does_not_eat_itself)
{
    struct testalloc alloc;
    testalloc_init(&alloc, 1);
    struct stele_buf buf = {0};
    CHECK_EQ(stele_buf_append(&buf, &alloc.base, bytes_of("abc", 3)), STELE_OK);
    CHECK_DIES((void)!stele_buf_append(&buf, &alloc.base, bytes_of(buf.data + 1, 2)));
    stele_buf_deinit(&buf, &alloc.base);
}

/* ---- Arenas ------------------------------------------------------------------------------- */

struct piece {
    uint8_t *data;
    size_t size;
    uint8_t fill;
};

/* What every piece of an arena has to be: aligned, apart from all others, unchanged. */
static void check_pieces(const struct piece *pieces, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        CHECK_EQ((uintptr_t)pieces[i].data % 8, 0);
        for (size_t at = 0; at < pieces[i].size; at++) {
            CHECK_EQ(pieces[i].data[at], pieces[i].fill);
        }
    }
}

static size_t fill_arena(struct stele_arena *arena, struct testalloc *alloc, struct piece *pieces,
                         size_t count, uint64_t seed)
{
    struct rng rng;
    rng_init(&rng, seed, 0);
    size_t made = 0;
    for (size_t i = 0; i < count; i++) {
        const size_t size = rng_one_in(&rng, 10) ? 0 : (size_t)rng_log(&rng, 1, 3000);
        uint8_t *data = stele_arena_allocate(arena, &alloc->base, size);
        if (data == NULL) {
            continue;
        }
        pieces[made] = (struct piece){data, size, (uint8_t)rng_next(&rng)};
        memset(data, pieces[made].fill, size);
        made++;
    }
    return made;
}

TEST(pieces_of_an_arena_are_aligned_and_apart)
{
    static const size_t BLOCK_SIZES[] = {0, 1, 7, 8, 100, 1024, 10000};
    for (size_t i = 0; i < STELE_COUNT_OF(BLOCK_SIZES); i++) {
        struct testalloc alloc;
        testalloc_init(&alloc, 1);
        struct stele_arena arena = {.block_size = BLOCK_SIZES[i]};
        struct piece pieces[300];
        CHECK_EQ(fill_arena(&arena, &alloc, pieces, 300, i + 1), 300);
        check_pieces(pieces, 300);
        CHECK_EQ(arena.allocated, alloc.bytes);
        stele_arena_deinit(&arena, &alloc.base);
        CHECK_EQ(alloc.bytes, 0);
        CHECK_EQ(arena.allocated, 0);
        CHECK_EQ(arena.block_size, BLOCK_SIZES[i]); /* It can be used again as it was. */
    }
}

TEST(an_arena_survives_any_failed_allocation)
{
    bool failed = true;
    for (uint64_t n = 1; failed; n++) {
        struct testalloc alloc;
        testalloc_init(&alloc, 1);
        alloc.fail_at = n;
        struct stele_arena arena = {.block_size = 2048};
        struct piece pieces[100];
        const size_t made = fill_arena(&arena, &alloc, pieces, 100, 7);
        CHECK_EQ(made, 100 - alloc.failures);
        check_pieces(pieces, made);
        CHECK_EQ(arena.allocated, alloc.bytes);
        failed = alloc.failures > 0;
        stele_arena_deinit(&arena, &alloc.base);
        CHECK_EQ(alloc.bytes, 0);
    }
}

TEST(large_pieces_do_not_waste_the_room_of_small_ones)
{
    struct testalloc alloc;
    testalloc_init(&alloc, 1);
    struct stele_arena arena = {.block_size = 4096};
    for (int i = 0; i < 32; i++) {
        CHECK(stele_arena_allocate(&arena, &alloc.base, 100) != NULL);
        CHECK(stele_arena_allocate(&arena, &alloc.base, 5000) != NULL);
    }
    CHECK_EQ(alloc.blocks, 32 + 1);
    stele_arena_deinit(&arena, &alloc.base);
}

TEST(even_nothing_has_an_address_of_its_own)
{
    struct testalloc alloc;
    testalloc_init(&alloc, 1);
    struct stele_arena arena = {0};
    const void *first = stele_arena_allocate(&arena, &alloc.base, 0);
    const void *second = stele_arena_allocate(&arena, &alloc.base, 0);
    CHECK(first != NULL);
    CHECK(second != NULL);
    CHECK(first != second);
    stele_arena_deinit(&arena, &alloc.base);
}

TEST(an_empty_arena_can_be_released)
{
    struct testalloc alloc;
    testalloc_init(&alloc, 1);
    struct stele_arena arena = {0};
    stele_arena_deinit(&arena, &alloc.base);
    CHECK_EQ(alloc.calls, 0);
}
