/* The file as a whole, projections, and what sagas and reactions share. */
#include "declared/file.h"

#include "base/compiler.h"

#include <stele/project.h>

#include <stdlib.h>
#include <string.h>

int stele_declared__no_memory(const struct stele_declared_file *file, struct stele_error *err)
{
    return stele_fail(err, STELE_E_NO_MEMORY, 0, "%s: no memory", file->path);
}

static void *take(struct stele_declared_file *file, size_t size)
{
    void *const memory = stele_memory_allocate(file->memory, size > 0 ? size : 1);
    if (memory != NULL) {
        memset(memory, 0, size);
    }
    return memory;
}

const char *stele_declared__beside(struct stele_declared_file *file, const char *name)
{
    const char *const slash = strrchr(file->path, '/');
    const size_t folder = slash == NULL || name[0] == '/' || strstr(name, "://") != NULL
                              ? 0
                              : (size_t)(slash - file->path) + 1;
    char *const whole = take(file, folder + strlen(name) + 1);
    if (whole != NULL) {
        memcpy(whole, file->path, folder);
        memcpy(whole + folder, name, strlen(name) + 1);
    }
    return whole;
}

int stele_declared__texts(struct stele_declared_file *file, const struct stele_yaml_list *list,
                          const char ***out_texts, struct stele_error *err)
{
    const char **const texts = take(file, list->count * sizeof(const char *));
    if (texts == NULL) {
        return stele_declared__no_memory(file, err);
    }
    for (size_t i = 0; i < list->count; i++) {
        texts[i] = stele_yaml_text(&file->yaml, list, i);
    }
    *out_texts = texts;
    return STELE_OK;
}

/* ---- Programs ------------------------------------------------------------------------------ */

/* Empty lines in front give each line of the program the number that it has in the file. */
static int compile(struct stele_declared_file *file, const yaml_node_t *node, const char *program,
                   struct stele_jq **out_jq, struct stele_error *err)
{
    const bool block = node->data.scalar.style == YAML_LITERAL_SCALAR_STYLE ||
                       node->data.scalar.style == YAML_FOLDED_SCALAR_STYLE;
    const size_t lines = stele_yaml_line(node) - (block ? 0 : 1);
    const size_t size = strlen(program);
    char *const whole = malloc(lines + size + 1);
    if (whole == NULL) {
        return stele_declared__no_memory(file, err);
    }
    memset(whole, '\n', lines);
    memcpy(whole + lines, program, size + 1);
    const int outcome = stele_jq_create(file->path, whole, out_jq, err);
    free(whole);
    return outcome;
}

static int open_program(struct stele_declared_file *file, const yaml_node_t *node,
                        struct stele_jq **out_jq, struct stele_error *err)
{
    const char *name = NULL;
    const struct stele_yaml_field fields[] = {
        {"file", STELE_YAML_TEXT, &name, true, NULL},
    };
    const int outcome = stele_yaml_map(&file->yaml, node, "a program", fields, 1, err);
    if (outcome != STELE_OK) {
        return outcome;
    }
    const char *const path = stele_declared__beside(file, name);
    struct stele_error inner = {0};
    if (path == NULL) {
        return stele_declared__no_memory(file, err);
    }
    const int opened = stele_jq_open(path, out_jq, &inner);
    if (opened == STELE_NOT_FOUND || opened == STELE_E_IO) {
        return stele_fail(err, opened, 0, "%s:%u: %s", file->path, stele_yaml_line(node),
                          inner.message);
    }
    return opened == STELE_OK ? STELE_OK : stele_fail(err, opened, 0, "%s", inner.message);
}

static int keep_program(struct stele_declared_file *file, struct stele_jq *take_jq,
                        struct stele_error *err)
{
    struct stele_jq **const more =
        realloc(file->programs, (file->programs_count + 1) * sizeof(struct stele_jq *));
    if (more == NULL) {
        stele_jq_destroy(take_jq);
        return stele_declared__no_memory(file, err);
    }
    file->programs = more;
    file->programs[file->programs_count++] = take_jq;
    return STELE_OK;
}

int stele_declared__identity(struct stele_declared_file *file, struct stele_jq **out_jq,
                             struct stele_error *err)
{
    const int outcome = stele_jq_create(file->path, ".", out_jq, err);
    return outcome == STELE_OK ? keep_program(file, *out_jq, err) : outcome;
}

int stele_declared__program(struct stele_declared_file *file, const yaml_node_t *node,
                            struct stele_jq **out_jq, struct stele_error *err)
{
    if (node == NULL) {
        return STELE_OK;
    }
    const char *const program = stele_yaml_scalar(node);
    const int outcome = program != NULL ? compile(file, node, program, out_jq, err)
                                        : open_program(file, node, out_jq, err);
    return outcome == STELE_OK ? keep_program(file, *out_jq, err) : outcome;
}

/* ---- Projections --------------------------------------------------------------------------- */

static int read_projection(struct stele_declared_file *file, const yaml_node_t *node,
                           struct stele_declared_projection *out_projection,
                           struct stele_error *err)
{
    struct stele_declared_projection projection = {.batch = 8192};
    const struct stele_yaml_field fields[] = {
        {"file", STELE_YAML_TEXT, &projection.file, true, NULL},
        {"into", STELE_YAML_TEXT, &projection.into, true, NULL},
        {"lanes", STELE_YAML_NUMBER, &projection.lanes, false, NULL},
        {"batch", STELE_YAML_NUMBER, &projection.batch, false, NULL},
    };
    const int outcome =
        stele_yaml_map(&file->yaml, node, "a projection", fields, STELE_COUNT_OF(fields), err);
    if (outcome != STELE_OK) {
        return outcome;
    }
    if (projection.lanes > STELE_PROJECT_LANES_MAX || projection.batch > 1000000) {
        return stele_yaml_fail(&file->yaml, node, err,
                               "%.60s: lanes are at most %d, batch is at most 1000000",
                               projection.file, STELE_PROJECT_LANES_MAX);
    }
    projection.batch = projection.batch == 0 ? 8192 : projection.batch;
    projection.file = stele_declared__beside(file, projection.file);
    projection.into = stele_declared__beside(file, projection.into);
    if (projection.file == NULL || projection.into == NULL) {
        return stele_declared__no_memory(file, err);
    }
    *out_projection = projection;
    return STELE_OK;
}

static int read_projections(struct stele_declared_file *file, const yaml_node_t *node,
                            struct stele_error *err)
{
    size_t count = 0;
    int outcome =
        stele_yaml_items(&file->yaml, node, "projections", STELE_DECLARED_MAX, &count, err);
    if (outcome != STELE_OK) {
        return outcome;
    }
    file->projections = take(file, count * sizeof *file->projections);
    if (file->projections == NULL) {
        return stele_declared__no_memory(file, err);
    }
    for (size_t i = 0; i < count && outcome == STELE_OK; i++) {
        outcome = read_projection(file, stele_yaml_item(&file->yaml, node, i),
                                  &file->projections[file->projections_count], err);
        file->projections_count += outcome == STELE_OK ? 1 : 0;
    }
    return outcome;
}

/* ---- Sagas and reactions ------------------------------------------------------------------- */

static int check_names(struct stele_declared_file *file, size_t index, const yaml_node_t *node,
                       struct stele_error *err)
{
    for (size_t i = 0; i < index; i++) {
        if (strcmp(file->sagas[i].table.kind, file->sagas[index].table.kind) == 0) {
            return stele_yaml_fail(&file->yaml, node, err,
                                   "%s is the name of the one in line %u already; sagas and "
                                   "reactions share their names",
                                   file->sagas[index].table.kind, file->sagas[i].line);
        }
    }
    return STELE_OK;
}

static int read_sagas(struct stele_declared_file *file, const yaml_node_t *node, bool reaction,
                      struct stele_error *err)
{
    size_t count = 0;
    if (node == NULL) {
        return STELE_OK;
    }
    int outcome = stele_yaml_items(&file->yaml, node, reaction ? "reactions" : "sagas",
                                   STELE_DECLARED_MAX, &count, err);
    if (outcome != STELE_OK) {
        return outcome;
    }
    struct stele_declared_saga *const all = take(file, (file->sagas_count + count) * sizeof *all);
    if (all == NULL) {
        return stele_declared__no_memory(file, err);
    }
    if (file->sagas_count > 0) {
        memcpy(all, file->sagas, file->sagas_count * sizeof *all);
    }
    for (size_t i = 0; i < file->sagas_count; i++) {
        all[i].table.steps = all[i].steps;
    }
    file->sagas = all;
    for (size_t i = 0; i < count && outcome == STELE_OK; i++) {
        const yaml_node_t *const item = stele_yaml_item(&file->yaml, node, i);
        outcome = stele_declared__saga(file, item, reaction, &all[file->sagas_count], err);
        if (outcome == STELE_OK) {
            outcome = check_names(file, file->sagas_count, item, err);
            file->sagas_count++;
        }
    }
    return outcome;
}

/* ---- The file ------------------------------------------------------------------------------ */

static int read_document(struct stele_declared_file *file, struct stele_error *err)
{
    const yaml_node_t *projections = NULL;
    const yaml_node_t *sagas = NULL;
    const yaml_node_t *reactions = NULL;
    const char *store = NULL;
    const struct stele_yaml_field fields[] = {
        {"store", STELE_YAML_TEXT, &store, false, NULL},
        {"name", STELE_YAML_TEXT, &file->name, false, NULL},
        {"metrics", STELE_YAML_TEXT, &file->metrics, false, NULL},
        {"projections", STELE_YAML_NODE, &projections, false, NULL},
        {"sagas", STELE_YAML_NODE, &sagas, false, NULL},
        {"reactions", STELE_YAML_NODE, &reactions, false, NULL},
    };
    const yaml_node_t *const root = yaml_document_get_root_node(&file->yaml.document);
    int outcome =
        stele_yaml_map(&file->yaml, root, "the file", fields, STELE_COUNT_OF(fields), err);
    if (outcome == STELE_OK && projections == NULL && sagas == NULL && reactions == NULL) {
        outcome = stele_yaml_fail(&file->yaml, root, err,
                                  "it declares no projections, no sagas and no reactions");
    }
    if (outcome == STELE_OK && projections != NULL) {
        outcome = read_projections(file, projections, err);
    }
    if (outcome == STELE_OK) {
        outcome = read_sagas(file, sagas, false, err);
    }
    if (outcome == STELE_OK) {
        outcome = read_sagas(file, reactions, true, err);
    }
    if (outcome == STELE_OK && store != NULL) {
        file->store = stele_declared__beside(file, store);
        outcome = file->store != NULL ? STELE_OK : stele_declared__no_memory(file, err);
    }
    return outcome;
}

int stele_declared_read(const char *path, const void *text, size_t size,
                        stele_declared_variable variable, struct stele_declared_file **out_file,
                        struct stele_error *err)
{
    struct stele_memory *const memory = stele_memory_create();
    struct stele_declared_file *const file =
        memory != NULL ? stele_memory_allocate(memory, sizeof *file) : NULL;
    char *const copy = file != NULL ? stele_memory_copy(memory, path, strlen(path)) : NULL;
    if (copy == NULL) {
        stele_memory_destroy(memory);
        return stele_fail(err, STELE_E_NO_MEMORY, 0, "%s: no memory", path);
    }
    *file = (struct stele_declared_file){.path = copy, .memory = memory, .variable = variable};
    int outcome = stele_yaml_init(&file->yaml, copy, text, size, err);
    if (outcome != STELE_OK) {
        stele_memory_destroy(memory);
        return outcome;
    }
    outcome = read_document(file, err);
    if (outcome != STELE_OK) {
        stele_declared_destroy(file);
        return outcome;
    }
    *out_file = file;
    return STELE_OK;
}

void stele_declared_destroy(struct stele_declared_file *file)
{
    if (file != NULL) {
        for (size_t i = 0; i < file->programs_count; i++) {
            stele_jq_destroy(file->programs[i]);
        }
        free(file->programs);
        stele_yaml_deinit(&file->yaml);
        stele_memory_destroy(file->memory);
    }
}
