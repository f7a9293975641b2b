/* Would io_uring make commits faster? Durable writes of groups of several sizes, some under way at
 * once, by the way that src/io goes (pwritev2 with RWF_DSYNC, one thread a write) and through io_uring
 * (the same flag, one thread, one ring). The file was written before, as segments are.
 *
 *     uring DIRECTORY [SECONDS]
 *
 * What src/io makes of it is in src/io/README.md. No library: a ring is three mappings. */
#include <errno.h>
#include <fcntl.h>
#include <linux/io_uring.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#define FILE_SIZE ((uint64_t)64 * 1024 * 1024)
#define DEPTH_MAX 4
#define SIZE_MAX_OF_GROUP ((size_t)256 * 1024)

static int file;
static uint8_t *group; /* What is written. */
static size_t group_size;
static _Atomic uint64_t next_offset;
static double seconds = 1.5;

static void die(const char *what)
{
    perror(what);
    exit(1);
}

static double now_s(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static uint64_t take_offset(void)
{
    return atomic_fetch_add(&next_offset, group_size) % (FILE_SIZE - SIZE_MAX_OF_GROUP);
}

/* ---- One thread for each write ---- */

static _Atomic int stop;

static void *write_on(void *context)
{
    uint64_t *const writes = context;
    while (atomic_load(&stop) == 0) {
        const struct iovec piece = {.iov_base = group, .iov_len = group_size};
        if (pwritev2(file, &piece, 1, (off_t)take_offset(), RWF_DSYNC) != (ssize_t)group_size) {
            die("pwritev2");
        }
        ++*writes;
    }
    return NULL;
}

static double by_threads(unsigned depth)
{
    pthread_t threads[DEPTH_MAX];
    uint64_t writes[DEPTH_MAX] = {0};
    atomic_store(&stop, 0);
    const double begin = now_s();
    for (unsigned i = 0; i < depth; i++) {
        if (pthread_create(&threads[i], NULL, write_on, &writes[i]) != 0) {
            die("pthread_create");
        }
    }
    (void)usleep((useconds_t)(seconds * 1e6));
    atomic_store(&stop, 1);
    uint64_t all = 0;
    for (unsigned i = 0; i < depth; i++) {
        (void)pthread_join(threads[i], NULL);
        all += writes[i];
    }
    return (double)all / (now_s() - begin);
}

/* ---- One ring ---- */

struct ring {
    int fd;
    _Atomic uint32_t *sq_tail, *cq_head, *cq_tail;
    uint32_t sq_mask, cq_mask;
    uint32_t *sq_array;
    struct io_uring_sqe *sqes;
    struct io_uring_cqe *cqes;
};

static void *map(int fd, size_t size, off_t offset)
{
    void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd, offset);
    if (memory == MAP_FAILED) {
        die("mmap of the ring");
    }
    return memory;
}

static int ring_open(struct ring *ring)
{
    struct io_uring_params params = {.flags = 0};
    ring->fd = (int)syscall(__NR_io_uring_setup, 8, &params);
    if (ring->fd < 0) {
        return -1;
    }
    uint8_t *const sq = map(ring->fd, params.sq_off.array + params.sq_entries * sizeof(uint32_t),
                            IORING_OFF_SQ_RING);
    uint8_t *const cq =
        map(ring->fd, params.cq_off.cqes + params.cq_entries * sizeof(struct io_uring_cqe),
            IORING_OFF_CQ_RING);
    ring->sqes =
        map(ring->fd, params.sq_entries * sizeof(struct io_uring_sqe), (off_t)IORING_OFF_SQES);
    ring->sq_tail = (_Atomic uint32_t *)(void *)(sq + params.sq_off.tail);
    ring->sq_mask = *(uint32_t *)(void *)(sq + params.sq_off.ring_mask);
    ring->sq_array = (uint32_t *)(void *)(sq + params.sq_off.array);
    ring->cq_head = (_Atomic uint32_t *)(void *)(cq + params.cq_off.head);
    ring->cq_tail = (_Atomic uint32_t *)(void *)(cq + params.cq_off.tail);
    ring->cq_mask = *(uint32_t *)(void *)(cq + params.cq_off.ring_mask);
    ring->cqes = (struct io_uring_cqe *)(void *)(cq + params.cq_off.cqes);
    return 0;
}

static void ring_write(struct ring *ring)
{
    const uint32_t tail = atomic_load(ring->sq_tail);
    const uint32_t index = tail & ring->sq_mask;
    ring->sqes[index] = (struct io_uring_sqe){
        .opcode = IORING_OP_WRITE,
        .fd = file,
        .addr = (uintptr_t)group,
        .len = (uint32_t)group_size,
        .off = take_offset(),
        .rw_flags = RWF_DSYNC,
    };
    ring->sq_array[index] = index;
    atomic_store(ring->sq_tail, tail + 1);
}

/* Submits and waits for at least one. Returns how many have ended. */
static unsigned ring_turn(struct ring *ring, unsigned submitted)
{
    if (syscall(__NR_io_uring_enter, ring->fd, submitted, 1, IORING_ENTER_GETEVENTS, NULL, 0) < 0) {
        die("io_uring_enter");
    }
    unsigned ended = 0;
    uint32_t head = atomic_load(ring->cq_head);
    while (head != atomic_load(ring->cq_tail)) {
        if (ring->cqes[head & ring->cq_mask].res != (int)group_size) {
            (void)fprintf(stderr, "io_uring: a write ended with %d\n",
                          ring->cqes[head & ring->cq_mask].res);
            exit(1);
        }
        head++;
        ended++;
    }
    atomic_store(ring->cq_head, head);
    return ended;
}

static double by_ring(struct ring *ring, unsigned depth)
{
    uint64_t writes = 0;
    unsigned under_way = 0;
    const double begin = now_s();
    while (under_way > 0 || now_s() - begin < seconds) {
        unsigned submitted = 0;
        for (; under_way < depth && now_s() - begin < seconds; under_way++, submitted++) {
            ring_write(ring);
        }
        const unsigned ended = ring_turn(ring, submitted);
        under_way -= ended;
        writes += ended;
    }
    return (double)writes / (now_s() - begin);
}

/* ---- All of it ---- */

static void make_file(const char *directory)
{
    char path[4096];
    (void)snprintf(path, sizeof path, "%s/uring.tmp", directory);
    file = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    group = calloc(1, SIZE_MAX_OF_GROUP);
    if (file < 0 || group == NULL) {
        die(path);
    }
    (void)unlink(path);
    for (uint64_t at = 0; at < FILE_SIZE; at += SIZE_MAX_OF_GROUP) {
        if (pwrite(file, group, SIZE_MAX_OF_GROUP, (off_t)at) != (ssize_t)SIZE_MAX_OF_GROUP) {
            die("pwrite");
        }
    }
    if (fdatasync(file) != 0) {
        die("fdatasync");
    }
}

int main(int argc, char **argv)
{
    static const size_t sizes[] = {400, 24000, 240000}; /* 1, 64, 640 events or so. */
    struct ring ring;
    if (argc < 2) {
        (void)fprintf(stderr, "usage: uring DIRECTORY [SECONDS]\n");
        return 2;
    }
    seconds = argc > 2 ? strtod(argv[2], NULL) : seconds;
    make_file(argv[1]);
    if (ring_open(&ring) != 0) {
        (void)printf("io_uring is not available here: %s\n", strerror(errno));
        return 0;
    }
    (void)printf("%8s %9s %12s %12s %7s\n", "bytes", "under way", "pwritev2/s", "io_uring/s",
                 "ratio");
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        for (unsigned depth = 1; depth <= DEPTH_MAX; depth *= 2) {
            group_size = sizes[i];
            double threads[3];
            double rings[3];
            for (int round = 0; round < 3; round++) { /* In turns: the disk has its moods. */
                threads[round] = by_threads(depth);
                rings[round] = by_ring(&ring, depth);
            }
            double best_threads = 0;
            double best_rings = 0;
            for (int round = 0; round < 3; round++) {
                best_threads = threads[round] > best_threads ? threads[round] : best_threads;
                best_rings = rings[round] > best_rings ? rings[round] : best_rings;
            }
            (void)printf("%8zu %9u %12.0f %12.0f %7.2f\n", group_size, depth, best_threads,
                         best_rings, best_rings / best_threads);
        }
    }
    return 0;
}
