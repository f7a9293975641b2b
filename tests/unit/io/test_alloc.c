/* The allocator counts what is out, also when several threads use it.
 *
 * Method: count by hand beside it. */
#include "io/linux.h"
#include "lib/check.h"

#include <pthread.h>

/* Sanitizers end the program where there is no memory, unless they are told otherwise.
 * NOLINTBEGIN(bugprone-reserved-identifier,cert-dcl37-c,cert-dcl51-cpp) */
__attribute__((visibility("default"))) const char *__asan_default_options(void);
const char *__asan_default_options(void)
{
    return "allocator_may_return_null=1";
}

__attribute__((visibility("default"))) const char *__tsan_default_options(void);
const char *__tsan_default_options(void)
{
    return "allocator_may_return_null=1";
}

/* NOLINTEND(bugprone-reserved-identifier,cert-dcl37-c,cert-dcl51-cpp) */

TEST(bytes_are_counted_through_growing_and_shrinking)
{
    struct stele_alloc *alloc = stele_linux_alloc_create();
    CHECK(alloc != NULL);
    uint8_t *a = stele_allocate(alloc, 100);
    CHECK_EQ(stele_linux_alloc_used(alloc), 100);
    uint8_t *b = stele_allocate_zeroed(alloc, 50);
    CHECK_EQ(stele_linux_alloc_used(alloc), 150);
    memset(a, 7, 100);
    a = alloc->reallocate(alloc, a, 100, 10000);
    CHECK_EQ(stele_linux_alloc_used(alloc), 10050);
    CHECK_EQ(a[99], 7);
    a = alloc->reallocate(alloc, a, 10000, 20);
    CHECK_EQ(stele_linux_alloc_used(alloc), 70);
    CHECK_EQ(a[19], 7);
    stele_release(alloc, a, 20);
    stele_release(alloc, b, 50);
    stele_release(alloc, NULL, 0);
    CHECK_EQ(stele_linux_alloc_used(alloc), 0);
    stele_linux_alloc_destroy(alloc);
}

TEST(memory_is_aligned_to_16)
{
    struct stele_alloc *alloc = stele_linux_alloc();
    for (size_t size = 1; size < 200; size++) {
        void *memory = stele_allocate(alloc, size);
        CHECK_EQ((uintptr_t)memory % 16, 0);
        stele_release(alloc, memory, size);
    }
}

TEST(what_cannot_be_had_is_null_and_not_counted)
{
    struct stele_alloc *alloc = stele_linux_alloc_create();
    uint8_t *memory = stele_allocate(alloc, 10);
    volatile size_t too_much = SIZE_MAX / 2; /* Volatile, or the compiler warns of it. */
    CHECK(alloc->reallocate(alloc, NULL, 0, too_much) == NULL);
    CHECK(alloc->reallocate(alloc, memory, 10, too_much) == NULL);
    memory[9] = 1; /* Still there. */
    CHECK_EQ(stele_linux_alloc_used(alloc), 10);
    stele_release(alloc, memory, 10);
    stele_linux_alloc_destroy(alloc);
}

TEST(counters_are_apart)
{
    struct stele_alloc *a = stele_linux_alloc_create();
    struct stele_alloc *b = stele_linux_alloc_create();
    void *memory = stele_allocate(a, 10);
    CHECK_EQ(stele_linux_alloc_used(b), 0);
    stele_release(a, memory, 10);
    stele_linux_alloc_destroy(a);
    stele_linux_alloc_destroy(b);
    stele_linux_alloc_destroy(NULL);
    CHECK(stele_linux_alloc() == stele_linux_alloc());
}

static void *allocate_and_release(void *context)
{
    struct stele_alloc *alloc = context;
    for (size_t i = 1; i <= 2000; i++) {
        void *memory = stele_allocate(alloc, i);
        memory = alloc->reallocate(alloc, memory, i, 2 * i);
        stele_release(alloc, memory, 2 * i);
    }
    return NULL;
}

TEST(threads_do_not_lose_bytes)
{
    struct stele_alloc *alloc = stele_linux_alloc_create();
    pthread_t threads[4];
    for (size_t i = 0; i < 4; i++) {
        CHECK_EQ(pthread_create(&threads[i], NULL, allocate_and_release, alloc), 0);
    }
    for (size_t i = 0; i < 4; i++) {
        CHECK_EQ(pthread_join(threads[i], NULL), 0);
    }
    CHECK_EQ(stele_linux_alloc_used(alloc), 0);
    stele_linux_alloc_destroy(alloc);
}
