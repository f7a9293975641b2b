/* package-history: what dpkg did on this machine, kept as events. README.md tells more. */
#include "../common/example.h"
#include "check.h"
#include "import.h"
#include "questions.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char usage[] =
    "package-history COMMAND [ARGUMENT …] [OPTION …]\n"
    "\n"
    "  import [LOG …]          the logs, oldest first; none: those in /var/log\n"
    "  installed [TEXT]        packages that are installed, or were: --at, --as-of\n"
    "  history NAME[:ARCH]     what happened to a package; --all: every step\n"
    "  changes                 in the last session, or --from TIME --at TIME\n"
    "  sessions [COUNT]        when dpkg was at work\n"
    "  busiest [COUNT]         the packages that changed most\n"
    "  check                   compares the replay with dpkg-query\n"
    "\n"
    "  --store PATH     the store; else $STELE_STORE, else ./stele-data\n"
    "  --at TIME        as it was then: \"2026-05-20\", \"2026-05-20 12:00\"\n"
    "  --as-of POSITION as it was at this position of the store\n"
    "  --from TIME      what changed after this time\n"
    "  --brief          only the numbers (installed), only the first ones (changes)\n"
    "  --admindir DIR   check: compare with this database of dpkg, not /var/lib/dpkg\n"
    "  --against FILE   check: compare with what dpkg-query said, \"name:arch version state\"\n";

#define ARGUMENTS_MAX 64

struct request {
    const char *store;
    const char *admin_directory;
    const char *against;
    struct up_to from;
    struct up_to up_to;
    int all;
    int brief;
    char *arguments[ARGUMENTS_MAX];
    size_t arguments_count;
};

__attribute__((noreturn)) static void usage_error(const char *what, const char *word)
{
    (void)fprintf(stderr, "error: %s%s\n\n%s", what, word, usage);
    exit(2);
}

static uint64_t to_number(const char *word)
{
    char *end = NULL;
    errno = 0;
    const unsigned long long value = strtoull(word, &end, 10);
    if (word[0] < '0' || word[0] > '9' || *end != '\0' || errno != 0) {
        usage_error("not a number: ", word);
    }
    return value;
}

static void to_time(const char *word, struct up_to *out_up_to)
{
    if (!parse_when(word, &out_up_to->time_us)) {
        usage_error("not a time: ", word);
    }
    out_up_to->words = word;
}

/* Takes an option with its value; false if word is none. */
static bool take_option(struct request *request, const char *word, const char *value)
{
    if (strcmp(word, "--store") == 0) {
        request->store = value;
    } else if (strcmp(word, "--admindir") == 0) {
        request->admin_directory = value;
    } else if (strcmp(word, "--against") == 0) {
        request->against = value;
    } else if (strcmp(word, "--at") == 0) {
        to_time(value, &request->up_to);
    } else if (strcmp(word, "--from") == 0) {
        to_time(value, &request->from);
    } else if (strcmp(word, "--as-of") == 0) {
        request->up_to.position = to_number(value);
        request->up_to.words = "at that position";
    } else {
        return false;
    }
    return true;
}

static void parse(int argc, char **argv, struct request *out_request)
{
    const char *const environment = getenv("STELE_STORE");
    *out_request = (struct request){.store = environment == NULL ? "stele-data" : environment,
                                    .from = {.time_us = INT64_MAX},
                                    .up_to = {.time_us = INT64_MAX}};
    for (int i = 0; i < argc; i++) {
        if (strcmp(argv[i], "--all") == 0) {
            out_request->all = 1;
        } else if (strcmp(argv[i], "--brief") == 0) {
            out_request->brief = 1;
        } else if (strncmp(argv[i], "--", 2) == 0) {
            if (i + 1 == argc) {
                usage_error("unknown, or without its value: ", argv[i]);
            }
            if (!take_option(out_request, argv[i], argv[i + 1])) {
                usage_error("unknown option: ", argv[i]);
            }
            i++;
        } else if (out_request->arguments_count == ARGUMENTS_MAX) {
            usage_error("too many arguments, from here on: ", argv[i]);
        } else {
            out_request->arguments[out_request->arguments_count++] = argv[i];
        }
    }
}

static void at_most(const struct request *request, size_t count)
{
    if (request->arguments_count > count) {
        usage_error("too many arguments: ", request->arguments[count]);
    }
}

static size_t count_argument(const struct request *request, size_t otherwise)
{
    at_most(request, 1);
    return request->arguments_count == 0 ? otherwise : (size_t)to_number(request->arguments[0]);
}

int main(int argc, char **argv)
{
    const char *const command = argc < 2 ? "help" : argv[1];
    if (strcmp(command, "help") == 0 || strcmp(command, "--help") == 0) {
        (void)fputs(usage, stdout);
        return 0;
    }
    struct request request;
    parse(argc - 2, argv + 2, &request);
    if (strcmp(command, "import") == 0) {
        import(request.store, request.arguments, request.arguments_count);
    } else if (strcmp(command, "installed") == 0) {
        at_most(&request, 1);
        ask_installed(request.store, &request.up_to, request.arguments[0], request.brief);
    } else if (strcmp(command, "history") == 0) {
        at_most(&request, 1);
        if (request.arguments_count == 0) {
            usage_error("of which package?", "");
        }
        ask_history(request.store, request.arguments[0], request.all);
    } else if (strcmp(command, "changes") == 0) {
        at_most(&request, 0);
        ask_changes(request.store, &request.from, &request.up_to, request.brief);
    } else if (strcmp(command, "sessions") == 0) {
        ask_sessions(request.store, count_argument(&request, 0));
    } else if (strcmp(command, "busiest") == 0) {
        ask_busiest(request.store, count_argument(&request, 10));
    } else if (strcmp(command, "check") == 0) {
        at_most(&request, 0);
        return check(request.store, request.admin_directory, request.against) ? 0 : 1;
    } else {
        usage_error("unknown command: ", command);
    }
    return 0;
}
