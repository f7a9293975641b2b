#include "cli/cli.h"
#include "cli/commands.h"
#include "cli/options.h"
#include "cli/out.h"
#include "cli/text.h"

#include <string.h>

const struct stele_cli_command stele_cli_streams_command = {
    .name = "streams",
    .usage = "streams [PREFIX] [options]",
    .summary = "List streams, categories, event types or tags",
    .text =
        "With the number of events ever appended, in byte order of the names. Streams that were\n"
        "deleted are left out. --after goes on behind a name, for listing in pieces.",
    .examples = "stele streams                        # all streams\n"
                "stele streams order- --limit 100\n"
                "stele streams --categories\n"
                "stele streams --types --json",
    .run = stele_cli_streams,
};

#define NAMES_BYTES_MAX ((size_t)64 * 1024) /* Kept back for aligning, at most. */

struct listing {
    size_t count;
    /* The first names are kept until it is known how wide the longest is: a size, the count, and
     * the bytes of each, one after the other. */
    char kept[NAMES_BYTES_MAX];
    size_t kept_size;
    size_t width;
    bool keeping;
};

struct kept_name {
    size_t size;
    uint64_t count;
};

static void out_name(const struct listing *listing, struct stele_text name, uint64_t count)
{
    if (stele_cli_globals.json) {
        stele_cli_out("{\"name\":");
        stele_cli_out_json_text(name);
        stele_cli_outf(",\"events\":%llu}\n", (unsigned long long)count);
        return;
    }
    stele_cli_out_safe(name, listing->width);
    stele_cli_out_color(STELE_CLI_DIM);
    stele_cli_outf("  %llu\n", (unsigned long long)count);
    stele_cli_out_color(STELE_CLI_PLAIN);
}

static void release_kept(struct listing *listing)
{
    size_t at = 0;
    listing->keeping = false;
    while (at < listing->kept_size) {
        struct kept_name kept;
        memcpy(&kept, listing->kept + at, sizeof kept);
        at += sizeof kept;
        out_name(listing, (struct stele_text){listing->kept + at, kept.size}, kept.count);
        at += kept.size;
    }
    listing->kept_size = 0;
}

static int on_name(void *context, struct stele_text name, uint64_t count)
{
    struct listing *const listing = context;
    const struct kept_name kept = {name.size, count};
    listing->count++;
    if (listing->keeping && listing->kept_size + sizeof kept + name.size > NAMES_BYTES_MAX) {
        release_kept(listing);
    }
    if (!listing->keeping) {
        out_name(listing, name, count);
        return !stele_cli_out_ok();
    }
    const size_t width = stele_cli_escaped_width(name);
    listing->width = width > listing->width && width <= 60 ? width : listing->width;
    memcpy(listing->kept + listing->kept_size, &kept, sizeof kept);
    memcpy(listing->kept + listing->kept_size + sizeof kept, name.data, name.size);
    listing->kept_size += sizeof kept + name.size;
    return 0;
}

static int list(int what, const char *prefix, const char *after, uint64_t limit)
{
    struct stele *store = NULL;
    int code = stele_cli_open(STELE_CLI_READ, &store);
    if (code != STELE_CLI_OK) {
        return code;
    }
    struct listing *const listing = stele_cli_keep(sizeof *listing);
    listing->keeping = !stele_cli_globals.json;
    struct stele_error err = {0};
    const int outcome = stele_list(store, what, prefix, after, limit, on_name, listing, &err);
    release_kept(listing);
    if (outcome != STELE_OK && outcome != STELE_END && stele_cli_out_ok()) {
        code = stele_cli_fail_outcome(outcome, &err, "list");
    }
    return stele_cli_close(store, code);
}

int stele_cli_streams(int argc, char **argv)
{
    const struct stele_cli_command *const command = &stele_cli_streams_command;
    bool categories = false;
    bool types = false;
    bool tags = false;
    const char *after = NULL;
    const char *prefix = "";
    uint64_t limit = 0;
    size_t count = 0;
    const struct stele_cli_option options[] = {
        {"categories", NULL, "categories instead of streams", STELE_CLI_FLAG, &categories},
        {"types", NULL, "event types instead of streams", STELE_CLI_FLAG, &types},
        {"tags", NULL, "tags instead of streams", STELE_CLI_FLAG, &tags},
        {"limit", "N", "at most so many names", STELE_CLI_POSITIVE, &limit},
        {"after", "NAME", "only names that come after this one", STELE_CLI_TEXT, &after},
    };
    int code = stele_cli_parse(command, options, STELE_COUNT_OF(options), argc, argv, &prefix, 0, 1,
                               &count);
    if (code == STELE_CLI_GO_ON && categories + types + tags > 1) {
        code =
            stele_cli_usage_error(command, "--categories, --types and --tags exclude each other");
    }
    if (code == STELE_CLI_GO_ON && *prefix != '\0') {
        code = stele_cli_check_name(command, "the prefix", prefix, STELE_STREAM_NAME_SIZE_MAX + 2);
    }
    if (code == STELE_CLI_GO_ON && after != NULL) {
        code = stele_cli_check_name(command, "--after", after, STELE_STREAM_NAME_SIZE_MAX + 2);
    }
    if (code != STELE_CLI_GO_ON) {
        return code;
    }
    const int what = categories ? STELE_LIST_CATEGORIES
                     : types    ? STELE_LIST_TYPES
                     : tags     ? STELE_LIST_TAGS
                                : STELE_LIST_STREAMS;
    return list(what, prefix, after, limit);
}
