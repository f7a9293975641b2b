/* Every outcome has a name of its own, and the words of an error reach whoever asked for them.
 *
 * Method: sweep over all numbers near the outcomes, rather than list those that we remember. */
#include "base/status.h"
#include "lib/check.h"
#include "lib/dies.h"

#define OUTCOMES 29 /* In stele/outcome.h: 0 … 8 and -1 … -19. */

TEST(every_outcome_has_a_name_of_its_own_and_nothing_else_has)
{
    int named = 0;
    for (int a = -1000; a <= 1000; a++) {
        const char *name = stele_outcome_name(a);
        CHECK(name != NULL && *name != '\0');
        if (strcmp(name, "other") == 0) {
            continue;
        }
        named++;
        for (int b = -1000; b < a; b++) {
            CHECK(strcmp(name, stele_outcome_name(b)) != 0);
        }
    }
    CHECK_EQ(named, OUTCOMES);
    CHECK_TEXT_EQ(stele_outcome_name(STELE_REJECTED + 1), "other");
    CHECK_TEXT_EQ(stele_outcome_name(STELE_E_KEY - 1), "other");
}

TEST(names_are_words_with_dashes)
{
    for (int outcome = -50; outcome <= 50; outcome++) {
        const char *name = stele_outcome_name(outcome);
        CHECK_EQ(strspn(name, "abcdefghijklmnopqrstuvwxyz-"), strlen(name));
    }
    CHECK_TEXT_EQ(stele_outcome_name(STELE_OK), "ok");
    CHECK_TEXT_EQ(stele_outcome_name(STELE_WRONG_REVISION), "wrong-revision");
    CHECK_TEXT_EQ(stele_outcome_name(STELE_E_IO), "io-error");
    CHECK_TEXT_EQ(stele_outcome_name(STELE_E_UNKNOWN), "unknown");
}

TEST(fail_fills_the_error_and_returns_the_outcome)
{
    struct stele_error err = {0};
    CHECK_EQ(stele_fail(&err, STELE_E_IO, 5, "file %s: %d", "a", 7), STELE_E_IO);
    CHECK_EQ(err.outcome, STELE_E_IO);
    CHECK_EQ(err.os_errno, 5);
    CHECK_TEXT_EQ(err.message, "file a: 7");
}

TEST(fail_without_an_error_only_returns_the_outcome)
{
    CHECK_EQ(stele_fail(NULL, STELE_E_CORRUPT, 0, "%s", "nobody listens"), STELE_E_CORRUPT);
}

TEST(a_message_of_any_size_stays_in_its_bounds)
{
    struct stele_error err;
    char text[2 * sizeof err.message];
    for (size_t size = 0; size < sizeof text; size++) {
        memset(&err, 0x5a, sizeof err);
        memset(text, 'x', size);
        text[size] = '\0';
        CHECK_EQ(stele_fail(&err, STELE_E_INVALID, 0, "%s", text), STELE_E_INVALID);
        const size_t want = size < sizeof err.message ? size : sizeof err.message - 1;
        CHECK_EQ(strlen(err.message), want);
        CHECK_EQ(strspn(err.message, "x"), want);
    }
}

TEST(context_can_be_put_around_a_message_in_place)
{
    struct stele_error err;
    (void)stele_fail(&err, STELE_E_IO, 5, "writing: no luck");
    (void)stele_fail(&err, STELE_E_IO, err.os_errno, "segment 7: %s (again)", err.message);
    CHECK_TEXT_EQ(err.message, "segment 7: writing: no luck (again)");
    CHECK_EQ(err.os_errno, 5);
}

TEST(success_is_not_a_failure)
{
    CHECK_DIES((void)stele_fail(NULL, STELE_OK, 0, "%s", "fine"));
}
