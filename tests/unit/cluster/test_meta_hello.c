/* Who may speak to a node is told from its table and the greeting: no copy and no disk of an earlier time is let in.
 *
 * Method: small stories, each of a table and of greetings that it has to judge. */
#include "meta_story.h"

static struct stele_meta_hello hello_of(uint64_t number, uint64_t incarnation)
{
    struct stele_meta_hello hello = {
        .number = number,
        .format = STELE_META_FORMAT,
        .partitions = PARTITIONS,
        .partition_key = STELE_KEY_STREAM,
        .features = 3,
        .starts = 1,
        .boot = 100 + incarnation,
        .version = "0.1.0",
    };
    id_of(hello.cluster_id, 7);
    id_of(hello.incarnation, incarnation);
    return hello;
}

static char words[STELE_META_WORDS_SIZE];

static void greeted(const struct stele_meta_hello *hello, const struct stele_meta_seen *seen,
                    enum stele_meta_outcome outcome, const char *part)
{
    const enum stele_meta_outcome got = stele_meta_judge_hello(&table, 1, hello, seen, words);
    if (got != outcome) {
        check_failed(__FILE__, __LINE__, "got %s, want %s: %s", stele_meta_outcome_name(got),
                     stele_meta_outcome_name(outcome), words);
    }
    CHECK_EQ(words[0] == '\0', outcome == STELE_META_DONE);
    CHECK_TEXT_HAS(words, part);
    uint8_t bytes[STELE_META_HELLO_SIZE_MAX];
    const size_t size = stele_meta_hello_encode(hello, bytes);
    struct stele_meta_hello read;
    CHECK_EQ(stele_meta_hello_decode((struct stele_bytes){bytes, size}, &read), STELE_OK);
    CHECK_EQ(stele_meta_judge_hello(&table, 1, &read, seen, words), outcome);
    for (size_t cut = 0; cut < size; cut++) {
        CHECK_EQ(stele_meta_hello_decode((struct stele_bytes){bytes, cut}, &read), STELE_E_CORRUPT);
    }
}

TEST(a_greeting_is_judged_by_the_table)
{
    stele_meta_init(&table);
    struct stele_meta_hello hello = hello_of(2, 2);
    greeted(&hello, NULL, STELE_META_NOT_FOUNDED, "no cluster");
    found_three();
    greeted(&hello, NULL, STELE_META_DONE, "");
    hello = hello_of(2, 9);
    greeted(&hello, NULL, STELE_META_WIPED, "stele cluster replace b");
    hello = hello_of(1, 1);
    greeted(&hello, NULL, STELE_META_CLONED, "itself");
    hello = hello_of(2, 2);
    id_of(hello.cluster_id, 8);
    greeted(&hello, NULL, STELE_META_WRONG_CLUSTER, "another cluster");
    hello = hello_of(2, 2);
    hello.partitions = 9;
    greeted(&hello, NULL, STELE_META_OTHER_PARTITIONS, "9 partitions");
    hello = hello_of(2, 2);
    hello.format = 0;
    greeted(&hello, NULL, STELE_META_OLDER_FORMAT, "format 0");
    hello.format = 2;
    greeted(&hello, NULL, STELE_META_NEWER_FORMAT, "format 2");
    struct stele_meta_command *const command = command_of(STELE_META_GATE);
    command->features = 2;
    done(command);
    hello = hello_of(2, 2);
    hello.features = 1;
    greeted(&hello, NULL, STELE_META_SOFTWARE_TOO_OLD, "features 0x2");
    hello = hello_of(3, 3);
    done(about(STELE_META_REMOVE, 3));
    greeted(&hello, NULL, STELE_META_REMOVED, "\"c\" was removed");
    hello = hello_of(0, 3);
    greeted(&hello, NULL, STELE_META_UNKNOWN_NODE, "join first");
}

TEST(who_was_away_lets_in_who_joined_meanwhile)
{
    found_three();
    struct stele_meta_hello hello = hello_of(9, 9);
    hello.table_version = table.version;
    greeted(&hello, NULL, STELE_META_UNKNOWN_NODE, "never given out");
    hello.table_version++;
    greeted(&hello, NULL, STELE_META_DONE, "");
}

TEST(a_disk_of_an_earlier_time_is_recognised)
{
    found_three();
    done(update(2, "b", 2, 5, 50));
    struct stele_meta_hello hello = hello_of(2, 2);
    struct stele_meta_seen seen = {0};
    hello.starts = 4;
    greeted(&hello, NULL, STELE_META_ROLLED_BACK, "started 5 times, your data say 4");
    hello.starts = 5;
    hello.boot = 51;
    greeted(&hello, NULL, STELE_META_CLONED, "another process");
    hello.boot = 50;
    hello.durable = 1000;
    greeted(&hello, NULL, STELE_META_DONE, "");
    stele_meta_seen_add(&seen, &hello);
    /* The table does not know of the next start yet; who has heard of it does. */
    hello.starts = 6;
    hello.boot = 60;
    hello.durable = 1001;
    greeted(&hello, &seen, STELE_META_DONE, "");
    stele_meta_seen_add(&seen, &hello);
    hello.boot = 61;
    greeted(&hello, &seen, STELE_META_CLONED, "another process");
    hello.starts = 5;
    hello.boot = 50;
    greeted(&hello, &seen, STELE_META_ROLLED_BACK, "started 6 times");
    /* Restored from a copy that was made while it ran: the starts cannot tell, the log can. */
    hello.starts = 7;
    hello.boot = 70;
    hello.durable = 1000;
    greeted(&hello, &seen, STELE_META_ROLLED_BACK, "ended at 1001 before");
    hello.durable = 1001;
    greeted(&hello, &seen, STELE_META_DONE, "");
}

TEST(a_disk_of_an_earlier_time_is_recognised_however_often_it_is_started)
{
    found_three();
    done(update(2, "b", 2, 5, 50));
    struct stele_meta_hello hello = hello_of(2, 2);
    struct stele_meta_seen seen = {0};
    hello.past.count = 2;
    hello.past.starts[0] = (struct stele_meta_start){.starts = 4, .boot = 40};
    hello.past.starts[1] = (struct stele_meta_start){.starts = 6, .boot = 60};
    hello.starts = 6;
    hello.boot = 60;
    greeted(&hello, NULL, STELE_META_ROLLED_BACK, "(number 5) without your data knowing of it");
    hello.past.starts[0] = (struct stele_meta_start){.starts = 5, .boot = 51};
    greeted(&hello, NULL, STELE_META_ROLLED_BACK, "stele cluster replace b");
    hello.past.starts[0].boot = 50;
    greeted(&hello, NULL, STELE_META_DONE, "");
    stele_meta_seen_add(&seen, &hello);
    /* What a peer has heard of counts as what the table has. */
    hello.past.starts[1] = (struct stele_meta_start){.starts = 7, .boot = 70};
    hello.starts = 7;
    hello.boot = 70;
    greeted(&hello, NULL, STELE_META_DONE, "");
    greeted(&hello, &seen, STELE_META_ROLLED_BACK, "(number 6) without your data knowing of it");
    /* A peer whose table is older than what this disk has forgotten cannot tell. */
    hello.past.starts[0] = (struct stele_meta_start){.starts = 6, .boot = 60};
    greeted(&hello, &seen, STELE_META_DONE, "");
}

TEST(once_everybody_tells_of_earlier_starts_who_does_not_has_to_greet_again)
{
    found_three();
    raise_past();
    struct stele_meta_hello hello = hello_of(2, 2);
    hello.features = STELE_META_FEATURES;
    hello.starts = 9;
    hello.boot = 90;
    greeted(&hello, NULL, STELE_META_STALE, "greet again");
    hello.past.count = 1;
    hello.past.starts[0] = (struct stele_meta_start){.starts = 9, .boot = 90};
    greeted(&hello, NULL, STELE_META_DONE, ""); /* Of a disk that an older version has used. */
    uint8_t bytes[STELE_META_HELLO_SIZE_MAX];
    const size_t size = stele_meta_hello_encode(&hello, bytes);
    struct stele_meta_hello read;
    bytes[size - 1] ^= 1; /* It has to end with this start. */
    CHECK_EQ(stele_meta_hello_decode((struct stele_bytes){bytes, size}, &read), STELE_E_CORRUPT);
}
