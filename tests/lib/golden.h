/* Bytes that are kept for ever: GOLDEN_DIR/NAME.hex holds them, 32 to a line, runs of zeros as
 * "zeros N". STELE_GOLDEN=write in the environment writes the files anew. */
#ifndef STELE_TESTS_LIB_GOLDEN_H
#define STELE_TESTS_LIB_GOLDEN_H

#include "lib/check.h"

#include <stdbool.h>

static inline bool golden_is_written(void)
{
    const char *const mode = getenv("STELE_GOLDEN");
    return mode != NULL && strcmp(mode, "write") == 0;
}

static inline void golden_path(char *path, size_t size, const char *name)
{
    const int length = snprintf(path, size, "%s/%s.hex", GOLDEN_DIR, name);
    CHECK(length > 0 && (size_t)length < size);
}

static inline void write_golden(const char *path, const uint8_t *bytes, size_t size)
{
    FILE *const file = fopen(path, "w");
    CHECK(file != NULL);
    size_t at = 0;
    while (at < size) {
        size_t zeros = 0;
        while (at + zeros < size && bytes[at + zeros] == 0) {
            zeros++;
        }
        if (zeros >= 32) {
            (void)fprintf(file, "zeros %zu\n", zeros);
            at += zeros;
            continue;
        }
        for (size_t column = 0; column < 32 && at < size; column++) {
            (void)fprintf(file, "%02x", bytes[at++]);
        }
        (void)fprintf(file, "\n");
    }
    CHECK_EQ(fclose(file), 0);
}

static inline size_t read_golden(const char *path, uint8_t *bytes, size_t capacity)
{
    FILE *const file = fopen(path, "r");
    CHECK(file != NULL);
    char line[128];
    size_t size = 0;
    while (fgets(line, sizeof line, file) != NULL) {
        size_t zeros = 0;
        if (sscanf(line, "zeros %zu", &zeros) == 1) {
            CHECK(size + zeros <= capacity);
            memset(bytes + size, 0, zeros);
            size += zeros;
            continue;
        }
        for (const char *digits = line; digits[0] != '\n' && digits[0] != '\0'; digits += 2) {
            unsigned value = 0;
            CHECK_EQ(sscanf(digits, "%2x", &value), 1);
            CHECK(size < capacity);
            bytes[size++] = (uint8_t)value;
        }
    }
    (void)fclose(file);
    return size;
}

static inline void check_golden(const char *name, const uint8_t *bytes, size_t size)
{
    char path[512];
    golden_path(path, sizeof path, name);
    if (golden_is_written()) {
        write_golden(path, bytes, size);
    }
    uint8_t *const want = malloc(size + 65536);
    CHECK(want != NULL);
    CHECK_EQ(read_golden(path, want, size + 65536), size);
    CHECK_BYTES_EQ(bytes, want, size);
    free(want);
}

#endif
