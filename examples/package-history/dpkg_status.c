#include "dpkg_status.h"

#include "../common/example.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Cuts the next word off; "" at the end of the line. */
static char *next_word(char **rest)
{
    char *const word = *rest;
    const size_t size = strcspn(word, " \n");
    *rest = word + size;
    if (word[size] != '\0') {
        word[size] = '\0';
        (*rest)++;
    }
    return word;
}

/* Takes the text over. */
static void parse(char *take_text, struct dpkg_status *out_status)
{
    size_t lines = 0;
    for (const char *at = take_text; (at = strchr(at, '\n')) != NULL; at++) {
        lines++;
    }
    out_status->text = take_text;
    out_status->packages = example_alloc((lines + 1) * sizeof *out_status->packages);
    out_status->count = 0;
    char *line = take_text;
    for (size_t i = 0; i < lines; i++) {
        char *const next = strchr(line, '\n') + 1;
        next[-1] = '\0';
        char *const name = next_word(&line);
        char *const colon = strchr(name, ':');
        if (colon != NULL) {
            *colon = '\0';
        }
        struct dpkg_package *const package = &out_status->packages[out_status->count];
        package->name = name;
        package->arch = colon == NULL ? "" : colon + 1;
        package->version = next_word(&line);
        package->state = next_word(&line);
        package->changed_us = (int64_t)strtoll(line, NULL, 10) * 1000000;
        out_status->count += package->state[0] == '\0' ? 0 : 1;
        line = next;
    }
}

void dpkg_status_query(struct dpkg_status *out_status, const char *admin_directory)
{
    struct text option = {0};
    const char *arguments[6] = {"dpkg-query"};
    size_t count = 1;
    if (admin_directory != NULL) {
        text_addf(&option, "--admindir=%s", admin_directory);
        arguments[count++] = option.data;
    }
    arguments[count++] = "-W";
    arguments[count++] = "-f=${Package}:${Architecture} ${Version} ${db:Status-Status} "
                         "${db-fsys:Last-Modified}\n";
    struct text output = {0};
    const int code = example_run(arguments, &output);
    /* dpkg-query also fails when there is no package at all. */
    if (code == 127) {
        example_die("there is no dpkg-query here: this example is for Debian and its relatives");
    }
    parse(output.data == NULL ? example_copy("", 0) : output.data, out_status);
    text_free(&option);
}

void dpkg_status_read(struct dpkg_status *out_status, const char *path)
{
    FILE *const file = fopen(path, "re");
    if (file == NULL) {
        example_die("%s: %s", path, strerror(errno));
    }
    struct text text = {0};
    char buffer[4096];
    size_t size = 0;
    while ((size = fread(buffer, 1, sizeof buffer, file)) > 0) {
        text_add(&text, buffer, size);
    }
    (void)fclose(file);
    parse(text.data == NULL ? example_copy("", 0) : text.data, out_status);
}

void dpkg_status_free(struct dpkg_status *status)
{
    free(status->packages);
    free(status->text);
    *status = (struct dpkg_status){0};
}
