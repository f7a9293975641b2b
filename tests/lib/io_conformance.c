#include "lib/io_conformance.h"

#define CHECK_NO_MAIN
#include "lib/check.h"
#include "lib/rng.h"

static struct stele_error err; /* Where CHECK_OK finds the words. */

static const uint64_t SIZES[] = {0,    1,    7,     511,       512,       513,
                                 4095, 4096, 65537, 1U << 20U, 3U << 20U, (3U << 20U) + 5};

static struct stele_file *create(struct stele_io *io, const char *name, uint64_t size, bool prepare)
{
    struct stele_file *file = NULL;
    CHECK_OK(io->ops->create(io, name, size, prepare, &file, &err), err);
    CHECK(file != NULL);
    CHECK(file->io == io);
    CHECK_TEXT_EQ(file->name, name);
    return file;
}

static struct stele_file *open(struct stele_io *io, const char *name, bool writable)
{
    struct stele_file *file = NULL;
    CHECK_OK(io->ops->open(io, name, writable, &file, &err), err);
    CHECK(file != NULL);
    CHECK_TEXT_EQ(file->name, name);
    return file;
}

static uint64_t size_of(struct stele_file *file)
{
    uint64_t size = UINT64_MAX;
    CHECK_OK(file->io->ops->size(file, &size, &err), err);
    return size;
}

static void write(struct stele_file *file, uint64_t offset, const void *data, size_t size)
{
    const struct stele_bytes bytes = {.data = data, .size = size};
    CHECK_OK(file->io->ops->write(file, offset, bytes, &err), err);
}

static void write_durable(struct stele_file *file, uint64_t offset, const void *data, size_t size)
{
    const struct stele_bytes bytes = {.data = data, .size = size};
    CHECK_OK(file->io->ops->write_durable(file, offset, bytes, &err), err);
}

static void write_text(struct stele_file *file, uint64_t offset, const char *text)
{
    write(file, offset, text, strlen(text));
}

static size_t read(struct stele_file *file, uint64_t offset, void *buffer, size_t size, bool direct)
{
    size_t got = SIZE_MAX;
    CHECK_OK(file->io->ops->read(file, offset, buffer, size, direct, &got, &err), err);
    CHECK(got <= size);
    return got;
}

/* The file is exactly this text, however it is read. */
static void check_content(struct stele_file *file, const char *text)
{
    char got[256];
    const size_t size = strlen(text);
    CHECK_EQ(size_of(file), size);
    for (int direct = 0; direct <= 1; direct++) {
        memset(got, '?', sizeof got);
        CHECK_EQ(read(file, 0, got, sizeof got, direct != 0), size);
        CHECK_BYTES_EQ(got, text, size);
    }
}

static void close_and_remove(struct stele_file *file)
{
    struct stele_io *io = file->io;
    char name[STELE_FILE_NAME_MAX];
    memcpy(name, file->name, sizeof name);
    io->ops->close(file);
    CHECK_OK(io->ops->remove(io, name, &err), err);
}

/* ---- Files -------------------------------------------------------------------------------- */

static void a_new_file_is_zeros_of_the_given_size(struct stele_io *io)
{
    for (size_t i = 0; i < STELE_COUNT_OF(SIZES); i++) {
        for (int prepare = 0; prepare <= 1; prepare++) {
            struct stele_file *file = create(io, "new", SIZES[i], prepare != 0);
            CHECK_EQ(size_of(file), SIZES[i]);
            uint8_t piece[4099];
            uint64_t at = 0;
            while (at < SIZES[i]) {
                memset(piece, 0xee, sizeof piece);
                const size_t got = read(file, at, piece, sizeof piece, false);
                CHECK(got > 0);
                for (size_t j = 0; j < got; j++) {
                    CHECK_EQ(piece[j], 0);
                }
                at += got;
            }
            CHECK_EQ(at, SIZES[i]);
            close_and_remove(file);
        }
    }
}

static void creating_replaces_what_had_the_name(struct stele_io *io)
{
    for (int prepare = 0; prepare <= 1; prepare++) {
        struct stele_file *old = create(io, "same", 0, false);
        write_text(old, 0, "old content");
        struct stele_file *new = create(io, "same", 4, prepare != 0);
        char got[16];
        CHECK_EQ(read(new, 0, got, sizeof got, false), 4);
        CHECK_BYTES_EQ(got, "\0\0\0\0", 4);
        write_text(new, 0, "new!");
        check_content(old, "old content");
        io->ops->close(old);
        check_content(new, "new!");
        close_and_remove(new);
    }
}

static void what_does_not_exist_is_not_found(struct stele_io *io)
{
    struct stele_file *const untouched = (struct stele_file *)&err;
    struct stele_file *file = untouched;
    CHECK_OUTCOME(io->ops->open(io, "none", false, &file, &err), STELE_NOT_FOUND, err);
    CHECK_OUTCOME(io->ops->open(io, "none", true, &file, &err), STELE_NOT_FOUND, err);
    CHECK(file == untouched);
    CHECK_OUTCOME(io->ops->remove(io, "none", &err), STELE_NOT_FOUND, err);
    CHECK_OUTCOME(io->ops->rename(io, "none", "other", &err), STELE_NOT_FOUND, err);
    CHECK_EQ(io->ops->open(io, "none", false, &file, NULL), STELE_NOT_FOUND);
    CHECK_EQ(io->ops->remove(io, "none", NULL), STELE_NOT_FOUND);
    CHECK_EQ(io->ops->rename(io, "none", "other", NULL), STELE_NOT_FOUND);
}

static void content_outlives_closing(struct stele_io *io)
{
    struct stele_file *file = create(io, "kept", 0, false);
    write_text(file, 0, "kept content");
    CHECK_OK(io->ops->sync(file, &err), err);
    io->ops->close(file);
    CHECK_OK(io->ops->sync_names(io, &err), err);
    file = open(io, "kept", false);
    check_content(file, "kept content");
    close_and_remove(file);
}

static void two_openings_show_the_same_file(struct stele_io *io)
{
    struct stele_file *writer = create(io, "shared", 8, true);
    struct stele_file *reader = open(io, "shared", false);
    write_text(writer, 0, "12345678");
    check_content(reader, "12345678");
    struct stele_file *second = open(io, "shared", true);
    write_text(second, 4, "abcdefgh");
    check_content(reader, "1234abcdefgh");
    check_content(writer, "1234abcdefgh");
    io->ops->close(second);
    io->ops->close(writer);
    check_content(reader, "1234abcdefgh");
    close_and_remove(reader);
}

/* ---- Writing and reading ------------------------------------------------------------------ */

static void writing_behind_the_end_extends_with_zeros(struct stele_io *io)
{
    struct stele_file *file = create(io, "grown", 3, false);
    write_text(file, 10, "x");
    CHECK_EQ(size_of(file), 11);
    char got[16];
    CHECK_EQ(read(file, 0, got, sizeof got, false), 11);
    CHECK_BYTES_EQ(got, "\0\0\0\0\0\0\0\0\0\0x", 11);
    write(file, 5, "", 0);
    CHECK_EQ(size_of(file), 11);
    close_and_remove(file);
}

static void reading_at_the_end_is_short(struct stele_io *io)
{
    struct stele_file *file = create(io, "short", 0, false);
    write_text(file, 0, "0123456789");
    for (int direct = 0; direct <= 1; direct++) {
        for (uint64_t offset = 0; offset <= 12; offset++) {
            for (size_t size = 0; size <= 12; size++) {
                char got[16];
                memset(got, '?', sizeof got);
                const size_t left = offset < 10 ? (size_t)(10 - offset) : 0;
                const size_t want = size < left ? size : left;
                CHECK_EQ(read(file, offset, got, size, direct != 0), want);
                CHECK_BYTES_EQ(got, &"0123456789"[offset < 10 ? offset : 10], want);
                CHECK_EQ(got[want], '?');
            }
        }
        CHECK_EQ(read(file, UINT64_C(1) << 40, &(char[1]){0}, 1, direct != 0), 0);
    }
    close_and_remove(file);
}

/* Reads this range in a way, and compares it with the model. */
static void check_range(struct stele_file *file, const uint8_t *model, size_t model_size,
                        uint64_t offset, size_t size, bool direct)
{
    static uint8_t got[1 << 20];
    CHECK(size <= sizeof got);
    const size_t left = offset < model_size ? (size_t)(model_size - offset) : 0;
    const size_t want = size < left ? size : left;
    CHECK_EQ(read(file, offset, got, size, direct), want);
    CHECK_BYTES_EQ(got, model + offset, want);
}

static void any_mix_of_writes_and_reads_agrees_with_an_array(struct stele_io *io)
{
    enum { CAPACITY = 1 << 20 };
    static uint8_t model[CAPACITY];
    static uint8_t piece[CAPACITY];
    for (uint64_t seed = 1; seed <= 4; seed++) {
        struct rng rng;
        rng_init(&rng, seed, 0);
        memset(model, 0, sizeof model);
        size_t size = 5000 * (size_t)seed;
        struct stele_file *file = create(io, "mix", size, seed % 2 == 0);
        for (int step = 0; step < 150; step++) {
            const uint64_t offset = rng_below(&rng, rng_one_in(&rng, 4) ? CAPACITY / 2 : size + 1);
            const size_t most = CAPACITY - (size_t)offset;
            const size_t drawn = (size_t)rng_log(&rng, 1, CAPACITY / 4);
            const size_t count = drawn < most ? drawn : most;
            switch (rng_below(&rng, 9)) {
            case 0:
                CHECK_OK(io->ops->sync(file, &err), err);
                break;
            case 1:
                io->ops->drop_cache(file);
                break;
            case 2:
                check_range(file, model, size, offset, count, true);
                break;
            case 3:
            case 4:
                check_range(file, model, size, offset, count, false);
                break;
            case 5:
                memset(piece, (int)(step + 1), count);
                write_durable(file, offset, piece, count);
                memset(model + offset, (int)(step + 1), count);
                size = offset + count > size ? (size_t)offset + count : size;
                break;
            default:
                memset(piece, (int)(step + 1), count);
                write(file, offset, piece, count);
                memset(model + offset, (int)(step + 1), count);
                size = offset + count > size ? (size_t)offset + count : size;
                break;
            }
            CHECK_EQ(size_of(file), size);
        }
        check_range(file, model, size, 0, size, false);
        check_range(file, model, size, 0, size, true);
        close_and_remove(file);
    }
}

static void dropping_the_cache_loses_nothing(struct stele_io *io)
{
    struct stele_file *file = create(io, "dropped", 0, false);
    write_text(file, 0, "durable");
    CHECK_OK(io->ops->sync(file, &err), err);
    write_text(file, 7, " and not");
    io->ops->drop_cache(file);
    check_content(file, "durable and not");
    close_and_remove(file);
}

/* ---- Mapping ------------------------------------------------------------------------------ */

static void a_mapping_shows_what_is_written(struct stele_io *io)
{
    struct stele_file *file = create(io, "mapped", 10000, true);
    write_text(file, 0, "before");
    const uint8_t *data = NULL;
    CHECK_OK(io->ops->map(file, 10000, &data, &err), err);
    CHECK_BYTES_EQ(data, "before", 6);
    CHECK_EQ(data[9999], 0);
    write_text(file, 9990, "after now");
    CHECK_BYTES_EQ(data + 9990, "after now", 9);
    CHECK_OK(io->ops->sync(file, &err), err);
    CHECK_BYTES_EQ(data + 9990, "after now", 9);

    struct stele_file *other = open(io, "mapped", true);
    write_text(other, 5000, "from elsewhere");
    CHECK_BYTES_EQ(data + 5000, "from elsewhere", 14);
    io->ops->close(other);
    close_and_remove(file);
}

static void a_mapping_stays_where_it_is(struct stele_io *io)
{
    struct stele_file *file = create(io, "mapped", 10000, false);
    const uint8_t *first = NULL;
    const uint8_t *again = NULL;
    CHECK_OK(io->ops->map(file, 9000, &first, &err), err);
    for (uint64_t size = 1; size <= 9000; size += 999) {
        CHECK_OK(io->ops->map(file, size, &again, &err), err);
        CHECK(again == first);
    }
    close_and_remove(file);
}

static void a_file_that_is_only_read_can_be_mapped(struct stele_io *io)
{
    struct stele_file *file = create(io, "mapped", 0, false);
    write_text(file, 0, "content");
    io->ops->close(file);
    file = open(io, "mapped", false);
    const uint8_t *data = NULL;
    CHECK_OK(io->ops->map(file, 7, &data, &err), err);
    CHECK_BYTES_EQ(data, "content", 7);
    close_and_remove(file);
}

/* ---- Names -------------------------------------------------------------------------------- */

static void renaming_moves_a_file_and_replaces(struct stele_io *io)
{
    struct stele_file *from = create(io, "from", 0, false);
    write_text(from, 0, "moved");
    struct stele_file *to = create(io, "to", 0, false);
    write_text(to, 0, "replaced");
    CHECK_OK(io->ops->rename(io, "from", "to", &err), err);
    CHECK_OK(io->ops->sync_names(io, &err), err);

    struct stele_file *file = NULL;
    CHECK_OUTCOME(io->ops->open(io, "from", false, &file, &err), STELE_NOT_FOUND, err);
    file = open(io, "to", true);
    check_content(file, "moved");
    write_text(from, 5, " on"); /* It stays the same file by whatever name. */
    check_content(file, "moved on");
    check_content(to, "replaced");
    io->ops->close(from);
    io->ops->close(to);
    close_and_remove(file);
}

static void a_removed_file_lives_on_until_it_is_closed(struct stele_io *io)
{
    struct stele_file *file = create(io, "gone", 0, false);
    write_text(file, 0, "still here");
    const uint8_t *data = NULL;
    CHECK_OK(io->ops->map(file, 10, &data, &err), err);
    CHECK_OK(io->ops->remove(io, "gone", &err), err);
    CHECK_OUTCOME(io->ops->remove(io, "gone", &err), STELE_NOT_FOUND, err);
    CHECK_OK(io->ops->sync_names(io, &err), err);
    check_content(file, "still here");
    CHECK_BYTES_EQ(data, "still here", 10);

    struct stele_file *other = create(io, "gone", 0, false);
    write_text(other, 0, "another");
    check_content(file, "still here");
    io->ops->close(file);
    check_content(other, "another");
    close_and_remove(other);
}

struct listing {
    size_t count;
    char names[16][STELE_FILE_NAME_MAX];
    uint64_t sizes[16];
};

static int on_name(void *context, const char *name, uint64_t size)
{
    struct listing *listing = context;
    CHECK(listing->count < STELE_COUNT_OF(listing->names));
    CHECK(strlen(name) < STELE_FILE_NAME_MAX);
    memcpy(listing->names[listing->count], name, strlen(name) + 1);
    listing->sizes[listing->count++] = size;
    return STELE_OK;
}

static void listing_is_in_byte_order_with_sizes(struct stele_io *io)
{
    /* In byte order; made in another. A name may be 63 bytes. */
    static const char *const NAMES[] = {
        "-",       "0",  "00", "1",
        "A",       "Z",  "_",  "a",
        "a.tmp",   "aa", "b",  "zzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzz",
        "\xc3\xa9"};
    enum { COUNT = STELE_COUNT_OF(NAMES) };
    for (size_t i = 0; i < COUNT; i++) {
        const size_t made = i * 5 % COUNT;
        io->ops->close(create(io, NAMES[made], 100 * made, false));
    }
    struct listing listing = {0};
    CHECK_OK(io->ops->list(io, on_name, &listing, &err), err);
    CHECK_EQ(listing.count, COUNT);
    for (size_t i = 0; i < COUNT; i++) {
        CHECK_TEXT_EQ(listing.names[i], NAMES[i]);
        CHECK_EQ(listing.sizes[i], 100 * i);
        CHECK_OK(io->ops->remove(io, NAMES[i], &err), err);
    }
    listing.count = 0;
    CHECK_OK(io->ops->list(io, on_name, &listing, &err), err);
    CHECK_EQ(listing.count, 0);
}

static void errors_may_be_ignored(struct stele_io *io)
{
    struct stele_file *file = NULL;
    uint64_t size = 0;
    size_t got = 0;
    char buffer[4];
    const uint8_t *data = NULL;
    struct listing listing = {0};
    CHECK_EQ(io->ops->create(io, "a", 4, false, &file, NULL), STELE_OK);
    CHECK_EQ(io->ops->write(file, 0, stele_bytes_of_text("abcd"), NULL), STELE_OK);
    CHECK_EQ(io->ops->sync(file, NULL), STELE_OK);
    CHECK_EQ(io->ops->write_durable(file, 0, stele_bytes_of_text("abcd"), NULL), STELE_OK);
    CHECK_EQ(io->ops->size(file, &size, NULL), STELE_OK);
    CHECK_EQ(io->ops->read(file, 0, buffer, 4, true, &got, NULL), STELE_OK);
    CHECK_EQ(io->ops->map(file, 4, &data, NULL), STELE_OK);
    io->ops->close(file);
    CHECK_EQ(io->ops->rename(io, "a", "b", NULL), STELE_OK);
    CHECK_EQ(io->ops->sync_names(io, NULL), STELE_OK);
    CHECK_EQ(io->ops->list(io, on_name, &listing, NULL), STELE_OK);
    CHECK_EQ(io->ops->remove(io, "b", NULL), STELE_OK);
}

/* ---- Clock and random numbers ------------------------------------------------------------- */

static void there_is_a_time(struct stele_io *io)
{
    CHECK(io->ops->now_us(io) > 0);
}

static void random_bytes_are_all_written_and_differ(struct stele_io *io)
{
    uint8_t a[64];
    uint8_t b[64];
    io->ops->random(io, a, sizeof a);
    io->ops->random(io, b, sizeof b);
    CHECK(memcmp(a, b, sizeof a) != 0);
    /* Each byte is something else sooner or later, and none outside is touched. */
    for (size_t size = 0; size < 20; size++) {
        uint8_t seen[20] = {0};
        for (int i = 0; i < 20; i++) {
            memset(a, 0, sizeof a);
            io->ops->random(io, a, size);
            for (size_t at = 0; at < size; at++) {
                seen[at] |= a[at];
            }
            CHECK_EQ(a[size], 0);
        }
        for (size_t at = 0; at < size; at++) {
            CHECK(seen[at] != 0);
        }
    }
}

#define CASE(name)                                                                                 \
    {                                                                                              \
#name, name                                                                                \
    }
const struct io_conformance_case io_conformance_cases[] = {
    CASE(a_new_file_is_zeros_of_the_given_size),
    CASE(creating_replaces_what_had_the_name),
    CASE(what_does_not_exist_is_not_found),
    CASE(content_outlives_closing),
    CASE(two_openings_show_the_same_file),
    CASE(writing_behind_the_end_extends_with_zeros),
    CASE(reading_at_the_end_is_short),
    CASE(any_mix_of_writes_and_reads_agrees_with_an_array),
    CASE(dropping_the_cache_loses_nothing),
    CASE(a_mapping_shows_what_is_written),
    CASE(a_mapping_stays_where_it_is),
    CASE(a_file_that_is_only_read_can_be_mapped),
    CASE(renaming_moves_a_file_and_replaces),
    CASE(a_removed_file_lives_on_until_it_is_closed),
    CASE(listing_is_in_byte_order_with_sizes),
    CASE(errors_may_be_ignored),
    CASE(there_is_a_time),
    CASE(random_bytes_are_all_written_and_differ),
    {NULL, NULL},
};

void io_conformance(struct stele_io *io)
{
    for (const struct io_conformance_case *at = io_conformance_cases; at->claim != NULL; at++) {
        (void)printf("# %s\n", at->claim);
        (void)fflush(stdout);
        at->run(io);
        struct listing listing = {0};
        CHECK_OK(io->ops->list(io, on_name, &listing, &err), err);
        CHECK_EQ(listing.count, 0);
    }
}
