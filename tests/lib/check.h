/* A test program in one header: TEST() registers itself, main() speaks TAP.
 *
 *     TEST(claim_in_words) { CHECK_EQ(got, want); }
 *
 * The program runs every test in the order of the file, or those whose name contains its first
 * argument. A claim that fails ends the program: what comes after it would be about broken state.
 *
 * A file that wants the claims but is no program of its own defines CHECK_NO_MAIN first. */
#ifndef STELE_TESTS_LIB_CHECK_H
#define STELE_TESTS_LIB_CHECK_H

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- Failing ------------------------------------------------------------------------------ */

__attribute__((format(printf, 3, 4))) __attribute__((noreturn)) static inline void
check_failed(const char *file, int line, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    (void)printf("Bail out! %s:%d: ", file, line);
    (void)vprintf(format, args);
    (void)printf("\n");
    va_end(args);
    (void)fflush(stdout);
    abort(); /* Stops where the debugger can see why. */
}

static inline void check_eq(const char *file, int line, const char *what, uintmax_t got,
                            uintmax_t want)
{
    if (got != want) {
        /* Outcomes are small negative numbers, sizes and positions are easier to read in hex. */
        check_failed(file, line, "%s: got %jd (%#jx), want %jd (%#jx)", what, (intmax_t)got, got,
                     (intmax_t)want, want);
    }
}

static inline void check_text_eq(const char *file, int line, const char *what, const char *got,
                                 const char *want)
{
    if (got == NULL || want == NULL || strcmp(got, want) != 0) {
        check_failed(file, line, "%s: got \"%s\", want \"%s\"", what, got != NULL ? got : "(null)",
                     want != NULL ? want : "(null)");
    }
}

static inline void check_text_has(const char *file, int line, const char *what, const char *text,
                                  const char *part)
{
    if (text == NULL || strstr(text, part) == NULL) {
        check_failed(file, line, "%s: no \"%s\" in \"%s\"", what, part,
                     text != NULL ? text : "(null)");
    }
}

static inline void check_bytes_eq(const char *file, int line, const char *what, const void *got,
                                  const void *want, size_t size)
{
    const unsigned char *a = (const unsigned char *)got;
    const unsigned char *b = (const unsigned char *)want;
    for (size_t i = 0; i < size; i++) {
        if (a[i] != b[i]) {
            check_failed(file, line, "%s: byte %zu of %zu: got 0x%02x, want 0x%02x", what, i, size,
                         a[i], b[i]);
        }
    }
}

/* ---- Claims ------------------------------------------------------------------------------- */

/* One macro per shape of claim, so that nobody has to remember that memcmp() and strcmp() return 0
 * when all is well. */
#define CHECK(condition)                                                                           \
    ((condition) ? (void)0 : check_failed(__FILE__, __LINE__, "%s", #condition))
#define CHECK_EQ(got, want)                                                                        \
    check_eq(__FILE__, __LINE__, #got " == " #want, (uintmax_t)(got), (uintmax_t)(want))
#define CHECK_BYTES_EQ(got, want, size)                                                            \
    check_bytes_eq(__FILE__, __LINE__, #got " == " #want, (got), (want), (size))
#define CHECK_TEXT_EQ(got, want) check_text_eq(__FILE__, __LINE__, #got " == " #want, (got), (want))
#define CHECK_TEXT_HAS(text, part) check_text_has(__FILE__, __LINE__, #text, (text), (part))

/* A pair of pointer and size, as in struct stele_bytes and struct stele_text. */
#define CHECK_SLICE_EQ(slice, text)                                                                \
    do {                                                                                           \
        check_eq(__FILE__, __LINE__, #slice ".size", (slice).size, strlen(text));                  \
        check_bytes_eq(__FILE__, __LINE__, #slice, (slice).data, (text), (slice).size);            \
    } while (0)

/* What a call returned; err is the struct stele_error that it was given. On failure the words in
 * it are printed, which mostly say at once what is wrong. */
#define CHECK_OUTCOME(call, want, err)                                                             \
    do {                                                                                           \
        const int check_want = (want);                                                             \
        const int check_got = (call);                                                              \
        if (check_got != check_want) {                                                             \
            check_failed(__FILE__, __LINE__, "%s: got %d, want %d; last message: %.*s", #call,     \
                         check_got, check_want, (int)sizeof((err).message), (err).message);        \
        }                                                                                          \
    } while (0)
#define CHECK_OK(call, err) CHECK_OUTCOME(call, 0, err)

/* ---- Running ------------------------------------------------------------------------------ */

#ifndef CHECK_NO_MAIN

struct check_test {
    const char *name;
    void (*run)(void);
    struct check_test *next;
};

static struct check_test *check_first;
static struct check_test **check_last = &check_first;

#define TEST(test_name)                                                                            \
    static void test_name(void);                                                                   \
    static struct check_test test_name##_entry = {#test_name, test_name, NULL};                    \
    __attribute__((constructor)) static void test_name##_register(void)                            \
    {                                                                                              \
        *check_last = &test_name##_entry;                                                          \
        check_last = &test_name##_entry.next;                                                      \
    }                                                                                              \
    static void test_name(void)

int main(int argc, char **argv)
{
    const char *part = argc > 1 ? argv[1] : "";
    int count = 0;
    for (struct check_test *test = check_first; test != NULL; test = test->next) {
        if (strstr(test->name, part) == NULL) {
            continue;
        }
        test->run();
        (void)printf("ok %d - %s\n", ++count, test->name);
        (void)fflush(stdout); /* So that the last line names the one before a hang. */
    }
    (void)printf("1..%d\n", count);
    if (count == 0) {
        (void)fprintf(stderr, "no test's name contains \"%s\"\n", part);
    }
    return count > 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

#endif

#endif
