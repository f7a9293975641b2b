/* Reads what `stele run` runs. */
#include "cli/run_file.h"

#include "cli/cli.h"
#include "cli/project.h"

#include <cyaml/cyaml.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FILE_SIZE_MAX (1024u * 1024u)
#define PROJECTIONS_MAX 1000u

/* As it stands in the file. */
struct projection {
    char *file;
    char *into;
    uint32_t lanes;
    uint32_t batch;
};
struct document {
    char *store;
    struct projection *projections;
    uint32_t projections_count;
};

static const cyaml_schema_field_t projection_fields[] = {
    CYAML_FIELD_STRING_PTR("file", CYAML_FLAG_POINTER, struct projection, file, 1, 4096),
    CYAML_FIELD_STRING_PTR("into", CYAML_FLAG_POINTER, struct projection, into, 1, 4000),
    CYAML_FIELD_UINT("lanes", CYAML_FLAG_OPTIONAL, struct projection, lanes),
    CYAML_FIELD_UINT("batch", CYAML_FLAG_OPTIONAL, struct projection, batch),
    CYAML_FIELD_END,
};
static const cyaml_schema_value_t projection_schema = {
    CYAML_VALUE_MAPPING(CYAML_FLAG_DEFAULT, struct projection, projection_fields),
};
static const cyaml_schema_field_t document_fields[] = {
    CYAML_FIELD_STRING_PTR("store", CYAML_FLAG_POINTER | CYAML_FLAG_OPTIONAL, struct document,
                           store, 1, 4096),
    CYAML_FIELD_SEQUENCE("projections", CYAML_FLAG_POINTER, struct document, projections,
                         &projection_schema, 1, PROJECTIONS_MAX),
    CYAML_FIELD_END,
};
static const cyaml_schema_value_t document_schema = {
    CYAML_VALUE_MAPPING(CYAML_FLAG_POINTER, struct document, document_fields),
};

/* What libcyaml says: what is wrong, then where, from the inside out. */
struct complaint {
    char words[300];
    unsigned line;
};

STELE_PRINTF(3, 0)
static void on_log(cyaml_log_t level, void *context, const char *format, va_list args)
{
    struct complaint *const complaint = context;
    char text[300];
    (void)level;
    (void)vsnprintf(text, sizeof text, format, args);
    text[strcspn(text, "\n")] = '\0';
    const char *const line = strstr(text, "(line: ");
    if (line != NULL && complaint->line == 0) {
        complaint->line = (unsigned)strtoul(line + 7, NULL, 10);
    }
    if (complaint->words[0] == '\0') {
        const char *const words = strncmp(text, "Load: ", 6) == 0 ? text + 6 : text;
        (void)snprintf(complaint->words, sizeof complaint->words, "%s", words);
    }
}

/* libcyaml knows where the key before an unexpected one is; this one is on its line or below. */
static void find_key(struct complaint *complaint, char *text, size_t size)
{
    static const char prefix[] = "Unexpected key: ";
    text[size] = '\0';
    if (strncmp(complaint->words, prefix, sizeof prefix - 1) != 0) {
        return;
    }
    const char *at = text;
    for (unsigned line = 1; line < complaint->line && at != NULL; line++) {
        at = strchr(at, '\n');
        at = at != NULL ? at + 1 : NULL;
    }
    const char *const found = at != NULL ? strstr(at, complaint->words + sizeof prefix - 1) : NULL;
    for (complaint->line = complaint->line == 0 ? 1 : complaint->line; found != NULL && at < found;
         at++) {
        complaint->line += *at == '\n' ? 1 : 0;
    }
}

static char *read_all(const char *path, size_t *out_size, int *out_code)
{
    FILE *const file = fopen(path, "rbe");
    if (file == NULL) {
        const int error = errno;
        *out_code = stele_cli_fail(error == ENOENT ? STELE_CLI_NOT_FOUND : STELE_CLI_IO,
                                   error == ENOENT ? "not-found" : "io", "%s: %s; check the path",
                                   path, strerror(error));
        return NULL;
    }
    char *const text = stele_cli_alloc(FILE_SIZE_MAX + 1);
    *out_size = fread(text, 1, FILE_SIZE_MAX + 1, file);
    const int failed = ferror(file);
    (void)fclose(file);
    if (failed != 0 || *out_size > FILE_SIZE_MAX) {
        *out_code = stele_cli_fail(failed != 0 ? STELE_CLI_IO : STELE_CLI_LIMIT,
                                   failed != 0 ? "io" : "limit", "%s: %s; check the path", path,
                                   failed != 0 ? "it cannot be read" : "more than 1 MiB");
        free(text);
        return NULL;
    }
    return text;
}

/* The path as seen from here. Addresses stay as they are. */
static const char *beside(const char *path, const char *name)
{
    const char *const slash = strrchr(path, '/');
    const size_t folder = slash == NULL || name[0] == '/' || strstr(name, "://") != NULL
                              ? 0
                              : (size_t)(slash - path) + 1;
    char *const whole = stele_cli_keep(folder + strlen(name) + 1);
    memcpy(whole, path, folder);
    memcpy(whole + folder, name, strlen(name) + 1);
    return whole;
}

static int check(const char *path, const struct document *document)
{
    for (uint32_t i = 0; i < document->projections_count; i++) {
        const struct projection *const projection = &document->projections[i];
        if (projection->lanes > STELE_PROJECT_LANES_MAX || projection->batch > 1000000) {
            return stele_cli_fail(STELE_CLI_INPUT, "invalid",
                                  "%s: %s: lanes are at most %d, batch is at most 1000000", path,
                                  projection->file, STELE_PROJECT_LANES_MAX);
        }
    }
    return STELE_CLI_OK;
}

static void take_over(const char *path, const struct document *document,
                      struct stele_cli_run_file *file)
{
    *file = (struct stele_cli_run_file){.count = document->projections_count};
    file->store = document->store != NULL ? beside(path, document->store) : NULL;
    file->entries = stele_cli_keep(file->count * sizeof *file->entries);
    for (size_t i = 0; i < file->count; i++) {
        const struct projection *const projection = &document->projections[i];
        file->entries[i] = (struct stele_cli_run_entry){
            .file = beside(path, projection->file),
            .into = beside(path, projection->into),
            .lanes = projection->lanes,
            .batch = projection->batch == 0 ? 8192 : projection->batch,
        };
    }
}

int stele_cli_run_file_load(const char *path, struct stele_cli_run_file *out_file)
{
    struct complaint complaint = {.line = 0};
    const cyaml_config_t config = {
        .log_fn = on_log, .log_ctx = &complaint, .mem_fn = cyaml_mem, .log_level = CYAML_LOG_ERROR};
    struct document *document = NULL;
    size_t size = 0;
    int code = STELE_CLI_OK;
    char *const text = read_all(path, &size, &code);
    if (text == NULL) {
        return code;
    }
    const cyaml_err_t result =
        cyaml_load_data((const uint8_t *)text, size, &config, &document_schema,
                        (cyaml_data_t **)(void *)&document, NULL);
    find_key(&complaint, text, size);
    free(text);
    if (result != CYAML_OK || document == NULL) {
        return stele_cli_fail(STELE_CLI_INPUT, "invalid", "%s:%u: %s; see `stele run --help`", path,
                              complaint.line > 0 ? complaint.line : 1,
                              complaint.words[0] != '\0' ? complaint.words
                              : result != CYAML_OK       ? cyaml_strerror(result)
                                                         : "there is nothing in it");
    }
    code = check(path, document);
    if (code == STELE_CLI_OK) {
        take_over(path, document, out_file);
    }
    (void)cyaml_free(&config, &document_schema, document, 0);
    return code;
}
