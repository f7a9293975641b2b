/* Who may speak to this node. The table is the witness: a number stands for one incarnation of one disk
 * (K8), and what a node promised when it voted and acknowledged holds only as long as its disk still knows. */
#include "cluster/meta_internal.h"

#include <stele/stele.h>

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

STELE_PRINTF(3, 4)
static enum stele_meta_outcome refuse(char words[STELE_META_WORDS_SIZE],
                                      enum stele_meta_outcome outcome, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    (void)vsnprintf(words, STELE_META_WORDS_SIZE, format, args);
    va_end(args);
    return outcome;
}

/* Is it of this cluster, and could it understand it? */
static enum stele_meta_outcome judge_kind(const struct stele_meta *meta,
                                          const struct stele_meta_hello *hello,
                                          char words[STELE_META_WORDS_SIZE])
{
    if (!stele_meta__same_id(hello->cluster_id, meta->cluster_id)) {
        return refuse(words, STELE_META_WRONG_CLUSTER,
                      "this node is in another cluster; one of the two has a wrong address for the "
                      "other");
    }
    if (hello->format != meta->format) {
        const bool older = hello->format < meta->format;
        return refuse(words, older ? STELE_META_OLDER_FORMAT : STELE_META_NEWER_FORMAT,
                      "your software (%s) speaks format %" PRIu32 " of clusters, this cluster "
                      "%" PRIu32 "; install the version that the other nodes run",
                      hello->version, hello->format, meta->format);
    }
    if (hello->partitions != meta->partitions || hello->partition_key != meta->partition_key) {
        return refuse(
            words, STELE_META_OTHER_PARTITIONS,
            "your store has %" PRIu32 " partitions by %s, this cluster's stores have "
            "%" PRIu32 " by %s: it is another store than the one that joined",
            hello->partitions, hello->partition_key == STELE_KEY_STREAM ? "stream" : "category",
            meta->partitions, meta->partition_key == STELE_KEY_STREAM ? "stream" : "category");
    }
    if ((hello->features & meta->gates) != meta->gates) {
        return refuse(words, STELE_META_SOFTWARE_TOO_OLD,
                      "your software (%s) is too old: the cluster already uses what it does not "
                      "know (features %#" PRIx64 "); install the version that the other nodes run",
                      hello->version, meta->gates & ~hello->features);
    }
    return STELE_META_DONE;
}

/* ---- Starts ---- */

bool stele_meta_past_add(struct stele_meta_past *past, uint64_t starts, uint64_t boot)
{
    STELE_ASSERT(past->count == 0 || past->starts[past->count - 1].starts < starts);
    if (past->count == STELE_META_PAST_MAX) {
        return false;
    }
    past->starts[past->count++] = (struct stele_meta_start){.starts = starts, .boot = boot};
    return true;
}

/* NULL: none has this count. */
static const struct stele_meta_start *find_start(const struct stele_meta_past *past,
                                                 uint64_t starts)
{
    for (size_t i = 0; i < past->count; i++) {
        if (past->starts[i].starts == starts) {
            return &past->starts[i];
        }
    }
    return NULL;
}

void stele_meta_past_found(struct stele_meta_past *past, uint64_t starts, uint64_t boot)
{
    const struct stele_meta_start *const found = find_start(past, starts);
    if (found == NULL || found->boot != boot) {
        return; /* An older table's, or of another disk: others will say so. */
    }
    past->count -= (size_t)(found - past->starts);
    memmove(&past->starts[0], found, past->count * sizeof(past->starts[0]));
}

bool stele_meta_past_may_have(const struct stele_meta_past *past, uint64_t starts, uint64_t boot)
{
    /* What is older than everything that it knows may have been forgotten. */
    if (past->count == 0 || starts < past->starts[0].starts) {
        return true;
    }
    const struct stele_meta_start *const found = find_start(past, starts);
    return found != NULL && found->boot == boot;
}

/* Are its data the newest that this node was known to have, and is it the only one that has them? */
static enum stele_meta_outcome judge_time(const struct stele_meta_node *node,
                                          const struct stele_meta_hello *hello,
                                          const struct stele_meta_seen *seen,
                                          char words[STELE_META_WORDS_SIZE])
{
    const bool seen_later = seen->starts > node->starts;
    const uint64_t starts = seen_later ? seen->starts : node->starts;
    const uint64_t boot = seen_later ? seen->boot : node->boot;
    if (hello->starts < starts) {
        return refuse(
            words, STELE_META_ROLLED_BACK,
            "node %" PRIu64 " \"%s\" has been started %" PRIu64 " times, your data say "
            "%" PRIu64 ": they are from an earlier time (a restored copy?), or a copy runs "
            "elsewhere; with these data the node must not go on: stele cluster replace %s",
            node->number, node->name, starts, hello->starts, node->name);
    }
    if (hello->starts == starts && hello->boot != boot) {
        return refuse(words, STELE_META_CLONED,
                      "another process runs with the data of node %" PRIu64
                      " \"%s\": stop the one that uses a copy, and let it begin with an empty "
                      "directory",
                      node->number, node->name);
    }
    if (!stele_meta_past_may_have(&hello->past, node->starts, node->boot) ||
        !stele_meta_past_may_have(&hello->past, seen->starts, seen->boot)) {
        return refuse(
            words, STELE_META_ROLLED_BACK,
            "node %" PRIu64 " \"%s\" was started once (number %" PRIu64 ") without your data "
            "knowing of it: they are from an earlier time (a restored copy?), or a copy runs "
            "elsewhere; with these data the node must not go on: stele cluster replace %s",
            node->number, node->name, starts, node->name);
    }
    if (hello->durable < seen->durable) {
        return refuse(words, STELE_META_ROLLED_BACK,
                      "the log of node %" PRIu64 " \"%s\" ended at %" PRIu64 " before and ends at "
                      "%" PRIu64 " now: the disk has lost what it had promised to keep (a restored "
                      "copy, a cache without power?); stele cluster replace %s",
                      node->number, node->name, seen->durable, hello->durable, node->name);
    }
    return STELE_META_DONE;
}

/* A number that this node's table does not have. */
static enum stele_meta_outcome judge_stranger(const struct stele_meta *meta,
                                              const struct stele_meta_hello *hello,
                                              char words[STELE_META_WORDS_SIZE])
{
    if (hello->number != 0 && hello->number < meta->next_number) {
        const struct stele_meta_removed *const gone = stele_meta__find_removed(meta, hello->number);
        return refuse(words, STELE_META_REMOVED,
                      "node %" PRIu64 "%s%s%s was removed from this cluster for good; to take part "
                      "again, begin with an empty directory and join",
                      hello->number, gone != NULL ? " \"" : "", gone != NULL ? gone->name : "",
                      gone != NULL ? "\"" : "");
    }
    /* Who was away for long has an old table, and gets the new one only from those that joined meanwhile. */
    if (hello->number != 0 && hello->table_version > meta->version) {
        return STELE_META_DONE;
    }
    return refuse(words, STELE_META_UNKNOWN_NODE,
                  "this cluster has never given out number %" PRIu64 "; join first", hello->number);
}

enum stele_meta_outcome stele_meta_judge_hello(const struct stele_meta *meta, uint64_t self,
                                               const struct stele_meta_hello *hello,
                                               const struct stele_meta_seen *seen,
                                               char words[STELE_META_WORDS_SIZE])
{
    static const struct stele_meta_seen nothing;
    words[0] = '\0';
    if (meta->version == 0) {
        return refuse(words, STELE_META_NOT_FOUNDED, "this node is in no cluster yet");
    }
    const enum stele_meta_outcome outcome = judge_kind(meta, hello, words);
    if (outcome != STELE_META_DONE) {
        return outcome;
    }
    if (hello->number == self) {
        return refuse(words, STELE_META_CLONED,
                      "this is node %" PRIu64 " itself: you use a copy of its data, or have its "
                      "address for another node's",
                      self);
    }
    const struct stele_meta_node *const node = stele_meta_find(meta, hello->number);
    if (node == NULL) {
        return judge_stranger(meta, hello, words);
    }
    if (!stele_meta__same_id(node->incarnation, hello->incarnation)) {
        return refuse(words, STELE_META_WIPED,
                      "node %" PRIu64
                      " \"%s\" has other data than it was given its number for: its "
                      "disk was wiped or exchanged; stele cluster replace %s",
                      node->number, node->name, node->name);
    }
    const enum stele_meta_outcome time =
        judge_time(node, hello, seen == NULL ? &nothing : seen, words);
    const bool tells = hello->past.count > 0 || (meta->gates & STELE_META_FEATURE_PAST) == 0;
    return time != STELE_META_DONE || tells
               ? time
               : refuse(words, STELE_META_STALE, "greet again, with the starts that you know of");
}

void stele_meta_seen_add(struct stele_meta_seen *seen, const struct stele_meta_hello *hello)
{
    if (hello->starts >= seen->starts) {
        seen->starts = hello->starts;
        seen->boot = hello->boot;
    }
    if (hello->durable > seen->durable) {
        seen->durable = hello->durable;
    }
}
