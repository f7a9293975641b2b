/* git-history: a repository, kept as events. README.md tells more. */
#include "../common/example.h"
#include "import.h"
#include "questions.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char usage[] =
    "git-history COMMAND [ARGUMENT …] [OPTION …]\n"
    "\n"
    "  import REPOSITORY [REVISION]  all commits that can be reached from it (HEAD)\n"
    "  tree [COMMIT]                 the files of a commit, as git ls-tree -r prints them\n"
    "  file PATH                     what happened to a file\n"
    "  commits [COUNT]               the last commits\n"
    "  busiest [COUNT]               the files with the most changes\n"
    "  check REPOSITORY [COUNT]      replays so many commits (50; 0: all) and compares with git\n"
    "\n"
    "  --store PATH      the store; else $STELE_STORE, else ./stele-data\n"
    "  --name NAME       import: what the repository is called; else as its directory\n"
    "  --resend          import: send again what is stored, to see it recognised\n"
    "  -z                tree: as git ls-tree -z\n";

#define ARGUMENTS_MAX 2

struct request {
    const char *store;
    const char *name;
    bool resend;
    bool zeros;
    const char *arguments[ARGUMENTS_MAX];
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

static bool take_option(struct request *request, const char *word, const char *value)
{
    if (strcmp(word, "--store") == 0) {
        request->store = value;
    } else if (strcmp(word, "--name") == 0) {
        request->name = value;
    } else {
        return false;
    }
    return true;
}

static void parse(int argc, char **argv, struct request *out_request)
{
    const char *const environment = getenv("STELE_STORE");
    *out_request = (struct request){.store = environment == NULL ? "stele-data" : environment};
    for (int i = 0; i < argc; i++) {
        if (strcmp(argv[i], "--resend") == 0) {
            out_request->resend = true;
        } else if (strcmp(argv[i], "-z") == 0) {
            out_request->zeros = true;
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

/* The argument number index (from 0), or a mistake. */
static const char *need(const struct request *request, size_t index, const char *what)
{
    if (request->arguments_count <= index) {
        usage_error("missing: ", what);
    }
    return request->arguments[index];
}

static size_t count_at(const struct request *request, size_t index, size_t otherwise)
{
    return request->arguments_count <= index ? otherwise
                                             : (size_t)to_number(request->arguments[index]);
}

int main(int argc, char **argv)
{
    /* In a hook git says through its environment which repository is meant; here an argument
     * does. */
    (void)unsetenv("GIT_DIR");
    (void)unsetenv("GIT_WORK_TREE");
    (void)unsetenv("GIT_INDEX_FILE");

    const char *const command = argc < 2 ? "help" : argv[1];
    if (strcmp(command, "help") == 0 || strcmp(command, "--help") == 0) {
        (void)fputs(usage, stdout);
        return 0;
    }
    struct request request;
    parse(argc - 2, argv + 2, &request);
    if (strcmp(command, "import") == 0) {
        const char *const revision = request.arguments_count < 2 ? "HEAD" : request.arguments[1];
        import(request.store, need(&request, 0, "REPOSITORY"), revision, request.name,
               request.resend);
    } else if (strcmp(command, "tree") == 0) {
        ask_tree(request.store, request.arguments[0], request.zeros);
    } else if (strcmp(command, "file") == 0) {
        ask_file(request.store, need(&request, 0, "PATH"));
    } else if (strcmp(command, "commits") == 0) {
        ask_commits(request.store, count_at(&request, 0, 10));
    } else if (strcmp(command, "busiest") == 0) {
        ask_busiest(request.store, count_at(&request, 0, 10));
    } else if (strcmp(command, "check") == 0) {
        const char *const repository = need(&request, 0, "REPOSITORY");
        return check(request.store, repository, count_at(&request, 1, 50)) ? 0 : 1;
    } else {
        usage_error("unknown command: ", command);
    }
    return 0;
}
