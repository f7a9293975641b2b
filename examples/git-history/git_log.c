#include "git_log.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- Entries ----------------------------------------------------------------------------- */

bool entry_equal(const struct entry *a, const struct entry *b)
{
    return a->mode == b->mode && a->id_size == b->id_size && memcmp(a->id, b->id, a->id_size) == 0;
}

void entry_mode_text(const struct entry *entry, char text[8])
{
    (void)snprintf(text, 8, entry->mode == 0 ? "%.0o" : "%06o", entry->mode & 0777777u);
}

void entry_id_text(const struct entry *entry, char text[65])
{
    text[0] = '\0';
    for (size_t i = 0; i < entry->id_size; i++) {
        (void)snprintf(text + i * 2, 3, "%02x", entry->id[i]);
    }
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

bool entry_parse(const char *mode, const char *id, struct entry *out_entry)
{
    char *end = NULL;
    *out_entry = (struct entry){.mode = (unsigned)strtoul(mode, &end, 8)};
    if (*end != '\0') {
        return false;
    }
    if (out_entry->mode == 0) {
        return true; /* Nothing: the id is all zeros. */
    }
    const size_t size = strlen(id);
    if (size != 40 && size != 64) {
        return false;
    }
    out_entry->id_size = (uint8_t)(size / 2);
    for (size_t i = 0; i < size / 2; i++) {
        const int high = hex_digit(id[i * 2]);
        const int low = hex_digit(id[i * 2 + 1]);
        if (high < 0 || low < 0) {
            return false;
        }
        out_entry->id[i] = (uint8_t)(high * 16 + low);
    }
    return true;
}

/* ---- Running git ------------------------------------------------------------------------- */

#define GIT_ARGUMENTS_MAX 32

struct git {
    pid_t pid;
    FILE *output;
    const char *what;
};

static void git_arguments(const char *repository, const char *const *arguments,
                          const char *out_all[GIT_ARGUMENTS_MAX])
{
    static const char *const first[] = {"--no-replace-objects", "--no-pager", "-c",
                                        "i18n.logOutputEncoding=UTF-8"};
    size_t count = 0;
    out_all[count++] = "git";
    out_all[count++] = "-C";
    out_all[count++] = repository;
    for (size_t i = 0; i < sizeof first / sizeof first[0]; i++) {
        out_all[count++] = first[i];
    }
    while (*arguments != NULL && count + 1 < GIT_ARGUMENTS_MAX) {
        out_all[count++] = *arguments++;
    }
    out_all[count] = NULL;
}

static void git_begin(struct git *out_git, const char *repository, const char *const *arguments)
{
    const char *all[GIT_ARGUMENTS_MAX];
    git_arguments(repository, arguments, all);
    out_git->what = arguments[0];
    const int output = example_begin(all, &out_git->pid);
    out_git->output = fdopen(output, "r");
    if (out_git->output == NULL) {
        example_die("cannot read from git");
    }
}

static void git_end(struct git *git)
{
    (void)fclose(git->output);
    const int code = example_wait(git->pid);
    if (code != 0) {
        example_die("git %s ended with exit code %d%s", git->what, code,
                    code == 127 ? ": is git installed?" : "");
    }
}

/* Reads up to the next zero, which is left out. False at the end. */
static bool next_token(struct git *git, char **buffer, size_t *room, size_t *out_size)
{
    const ssize_t size = getdelim(buffer, room, '\0', git->output);
    if (size <= 0) {
        return false;
    }
    *out_size = (size_t)size - ((*buffer)[size - 1] == '\0' ? 1 : 0);
    return true;
}

/* ---- The log ----------------------------------------------------------------------------- */

#define FIELDS 8

static void commit_clear(struct commit *commit)
{
    for (size_t i = 0; i < commit->changes_count; i++) {
        free(commit->changes[i].path);
    }
    free(commit->parents);
    free(commit->author);
    free(commit->email);
    free(commit->message);
    *commit = (struct commit){.changes = commit->changes, .changes_room = commit->changes_room};
}

static void take_id(const char *text, char out_id[65])
{
    const size_t size = strlen(text);
    if (size != 40 && size != 64) {
        example_die("git said \"%.80s\" where the id of an object was to come", text);
    }
    memcpy(out_id, text, size + 1);
}

static char *take_message(const char *text)
{
    size_t size = strlen(text);
    while (size > 0 && text[size - 1] == '\n') {
        size--;
    }
    return example_copy(text, size);
}

/* The first field was read already and stands in token. */
static void read_fields(struct git *git, char **token, size_t *room, struct commit *commit)
{
    take_id(*token + 1, commit->id);
    for (int field = 1; field < FIELDS; field++) {
        size_t size = 0;
        if (!next_token(git, token, room, &size)) {
            example_die("git log ended in the middle of commit %s", commit->id);
        }
        switch (field) {
        case 1:
            commit->parents = example_copy(*token, size);
            break;
        case 2:
            take_id(*token, commit->tree);
            break;
        case 3:
            commit->author = example_copy(*token, size);
            break;
        case 4:
            commit->email = example_copy(*token, size);
            break;
        case 5:
            commit->authored_s = strtoll(*token, NULL, 10);
            break;
        case 6:
            commit->committed_s = strtoll(*token, NULL, 10);
            break;
        default:
            commit->message = take_message(*token);
            break;
        }
    }
}

/* ":100644 100755 0123… 4567… M", then the path. */
static void read_change(struct git *git, char *meta, struct commit *commit)
{
    char *words[5] = {NULL};
    char *rest = NULL;
    for (size_t i = 0; i < 5; i++) {
        words[i] = strtok_r(i == 0 ? meta + 1 : NULL, " ", &rest);
        if (words[i] == NULL) {
            example_die("git said something unexpected about a change of commit %s", commit->id);
        }
    }
    if (commit->changes_count == commit->changes_room) {
        commit->changes_room = commit->changes_room == 0 ? 64 : commit->changes_room * 2;
        commit->changes =
            example_realloc(commit->changes, commit->changes_room * sizeof *commit->changes);
    }
    struct change *const change = &commit->changes[commit->changes_count];
    if (!entry_parse(words[0], words[2], &change->before) ||
        !entry_parse(words[1], words[3], &change->after)) {
        example_die("git said something unexpected about a change of commit %s", commit->id);
    }
    change->path = NULL;
    size_t room = 0;
    if (!next_token(git, &change->path, &room, &change->path_size)) {
        example_die("git log ended in the middle of commit %s", commit->id);
    }
    commit->changes_count++;
}

void git_log(const char *repository, const char *revision, commit_callback on_commit, void *context)
{
    /* A commit begins with 0x01. Its fields end with zeros, and so does each half of a change. */
    const char *const arguments[] = {
        "log",
        "--raw",
        "-z",
        "--no-abbrev",
        "--no-renames",
        "--root",
        "--diff-merges=first-parent",
        "--topo-order",
        "--reverse",
        "--no-color",
        "--no-notes",
        "--no-show-signature",
        "--no-ext-diff",
        "--no-relative",
        "--ignore-submodules=none",
        "-O/dev/null",
        "--format=tformat:%x01%H%x00%P%x00%T%x00%an%x00%ae%x00%at%x00%ct%x00%B%x00",
        "--end-of-options",
        revision,
        "--",
        NULL};
    struct git git;
    struct commit commit = {.changes = NULL};
    char *token = NULL;
    size_t room = 0;
    size_t size = 0;
    git_begin(&git, repository, arguments);
    while (next_token(&git, &token, &room, &size)) {
        /* A line feed stands before the first change of a commit, and an empty token after its
         * fields. */
        char *const text = token[0] == '\n' ? token + 1 : token;
        if (text[0] == ':' && commit.id[0] != '\0') {
            read_change(&git, text, &commit);
        } else if (text[0] == '\001') {
            if (commit.id[0] != '\0') {
                on_commit(context, &commit);
            }
            commit_clear(&commit);
            read_fields(&git, &token, &room, &commit);
        } else if (text[0] != '\0') {
            example_die("git log said something unexpected after commit %s", commit.id);
        }
    }
    if (commit.id[0] != '\0') {
        on_commit(context, &commit);
    }
    commit_clear(&commit);
    free(commit.changes);
    free(token);
    git_end(&git);
}

/* ---- Other questions --------------------------------------------------------------------- */

void git_name(const char *repository, struct text *out_name)
{
    /* Where the objects of all work trees are: ".git" in the top directory, or the bare
     * repository itself. */
    const char *const arguments[] = {"rev-parse", "--path-format=absolute", "--git-common-dir",
                                     NULL};
    const char *all[GIT_ARGUMENTS_MAX];
    git_arguments(repository, arguments, all);
    struct text output = {0};
    if (example_run(all, &output) != 0 || output.size < 2) {
        example_die("%s is in no git repository", repository);
    }
    output.data[output.size - 1] = '\0';
    char *const last = strrchr(output.data, '/');
    if (last != NULL && strcmp(last, "/.git") == 0) {
        *last = '\0';
    }
    const char *const slash = strrchr(output.data, '/');
    const char *const name = slash == NULL ? output.data : slash + 1;
    size_t size = strlen(name);
    if (size > 4 && strcmp(name + size - 4, ".git") == 0) {
        size -= 4;
    }
    text_add(out_name, size == 0 ? "repository" : name, size == 0 ? 10 : size);
    text_free(&output);
}

bool git_has_commits(const char *repository, const char *revision)
{
    const char *const arguments[] = {"rev-parse",        "--quiet", "--verify",
                                     "--end-of-options", revision,  NULL};
    const char *all[GIT_ARGUMENTS_MAX];
    git_arguments(repository, arguments, all);
    struct text output = {0};
    const int code = example_run(all, &output);
    text_free(&output);
    return code == 0;
}

void git_tree(const char *repository, const char *commit, tree_callback on_entry, void *context)
{
    const char *const arguments[] = {"ls-tree", "-r", "-z", "--full-tree", commit, NULL};
    struct git git;
    char *token = NULL;
    size_t room = 0;
    size_t size = 0;
    git_begin(&git, repository, arguments);
    while (next_token(&git, &token, &room, &size)) {
        /* "100644 blob 0123…\tpath" */
        char *const tab = memchr(token, '\t', size);
        char *const space = memchr(token, ' ', size);
        char *const id = space == NULL ? NULL : strchr(space + 1, ' ');
        if (tab == NULL || id == NULL) {
            example_die("git ls-tree said something unexpected");
        }
        *tab = '\0';
        *space = '\0';
        struct entry entry;
        if (!entry_parse(token, id + 1, &entry)) {
            example_die("git ls-tree said something unexpected");
        }
        on_entry(context, tab + 1, size - (size_t)(tab + 1 - token), &entry);
    }
    free(token);
    git_end(&git);
}
