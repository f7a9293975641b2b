#include "events.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ID_SPACE "git-history"

/* Longer messages are cut: an event is a poor place for a book. */
#define MESSAGE_SIZE_MAX 65536u

/* ---- Streams and ids --------------------------------------------------------------------- */

void commits_stream(const char *repository_name, struct text *out_stream)
{
    text_clear(out_stream);
    text_addf(out_stream, "commits-%s", repository_name);
}

void file_stream(const char *path, size_t path_size, struct text *out_stream)
{
    text_clear(out_stream);
    text_addf(out_stream, "file-");
    text_add(out_stream, path, path_size);
    if (is_stream_name(out_stream->data, out_stream->size)) {
        return;
    }
    char sha1[41];
    example_sha1(path, path_size, sha1);
    text_clear(out_stream);
    text_addf(out_stream, "file-sha1:%s", sha1);
}

void change_id(const struct commit *commit, const struct change *change, uint8_t id[16])
{
    struct text name = {0};
    text_addf(&name, "%s:", commit->id);
    text_add(&name, change->path, change->path_size);
    example_id(ID_SPACE, name.data, name.size, id);
    text_free(&name);
}

void commit_id(const struct commit *commit, uint8_t id[16])
{
    example_id(ID_SPACE, commit->id, strlen(commit->id), id);
}

/* ---- Writing ----------------------------------------------------------------------------- */

const char *change_type(const struct change *change)
{
    const unsigned before = change->before.mode & 0170000u;
    const unsigned after = change->after.mode & 0170000u;
    if (change->before.mode == 0) {
        return "FileAdded";
    }
    if (change->after.mode == 0) {
        return "FileDeleted";
    }
    if (before != after) {
        return "FileTypeChanged"; /* File, symbolic link, submodule. */
    }
    return change->before.mode != change->after.mode &&
                   memcmp(change->before.id, change->after.id, change->after.id_size) == 0
               ? "FileModeChanged"
               : "FileModified";
}

static void add_entry(struct text *json, const char *prefix, const struct entry *entry)
{
    if (entry->mode == 0) {
        return;
    }
    char mode[8];
    char id[65];
    entry_mode_text(entry, mode);
    entry_id_text(entry, id);
    text_addf(json, ",\"%sMode\":\"%s\",\"%sId\":\"%s\"", prefix, mode, prefix, id);
}

void change_to_json(const struct commit *commit, const struct change *change, struct text *out_json)
{
    text_clear(out_json);
    text_addf(out_json, "{\"commit\":\"%s\"", commit->id);
    if (is_utf8(change->path, change->path_size)) {
        text_addf(out_json, ",\"path\":");
        text_add_json(out_json, change->path, change->path_size);
    } else {
        text_addf(out_json, ",\"pathHex\":\"");
        for (size_t i = 0; i < change->path_size; i++) {
            text_addf(out_json, "%02x", (unsigned char)change->path[i]);
        }
        text_addf(out_json, "\"");
    }
    add_entry(out_json, "new", &change->after);
    add_entry(out_json, "old", &change->before);
    text_addf(out_json, "}");
}

static void add_member(struct text *json, const char *name, const char *value, size_t size_max)
{
    const size_t size = strlen(value);
    text_addf(json, ",\"%s\":", name);
    text_add_json(json, value, size < size_max ? size : size_max);
}

void commit_to_json(const struct commit *commit, struct text *out_json)
{
    text_clear(out_json);
    text_addf(out_json, "{\"commit\":\"%s\",\"tree\":\"%s\",\"parents\":\"%s\"", commit->id,
              commit->tree, commit->parents);
    add_member(out_json, "author", commit->author, MESSAGE_SIZE_MAX);
    add_member(out_json, "email", commit->email, MESSAGE_SIZE_MAX);
    text_addf(out_json, ",\"authored\":%lld,\"committed\":%lld,\"files\":%zu",
              (long long)commit->authored_s, (long long)commit->committed_s, commit->changes_count);
    add_member(out_json, "message", commit->message, MESSAGE_SIZE_MAX);
    text_addf(out_json, "}");
}

/* ---- Reading ----------------------------------------------------------------------------- */

static const char *member(const json_t *json, const char *name)
{
    const char *const value = json_string_value(json_object_get(json, name));
    return value == NULL ? "" : value;
}

static bool parse_path(const json_t *json, struct change *change)
{
    const json_t *const path = json_object_get(json, "path");
    if (path != NULL) {
        change->path_size = json_string_length(path);
        change->path = example_copy(member(json, "path"), change->path_size);
        return change->path_size > 0;
    }
    const char *const hex = member(json, "pathHex");
    change->path_size = strlen(hex) / 2;
    change->path = example_copy(hex, change->path_size);
    for (size_t i = 0; i < change->path_size; i++) {
        const char digits[3] = {hex[i * 2], hex[i * 2 + 1], '\0'};
        change->path[i] = (char)(unsigned char)strtoul(digits, NULL, 16);
    }
    return change->path_size > 0;
}

static bool parse_change(const json_t *json, struct change *change)
{
    return parse_path(json, change) &&
           entry_parse(member(json, "oldMode"), member(json, "oldId"), &change->before) &&
           entry_parse(member(json, "newMode"), member(json, "newId"), &change->after);
}

static bool begins_with(struct stele_text text, const char *prefix)
{
    const size_t size = strlen(prefix);
    return text.size >= size && memcmp(text.data, prefix, size) == 0;
}

bool parse_event(const struct stele_event *event, struct parsed *out_parsed)
{
    const bool is_commit = begins_with(event->type, "CommitRecorded");
    if (!is_commit && !begins_with(event->type, "File")) {
        return false;
    }
    json_t *const json = json_loadb(event->data, event->data_size, 0, NULL);
    *out_parsed =
        (struct parsed){.json = json,
                        .is_commit = is_commit,
                        .commit = member(json, "commit"),
                        .tree = member(json, "tree"),
                        .parents = member(json, "parents"),
                        .author = member(json, "author"),
                        .message = member(json, "message"),
                        .files = (uint64_t)json_integer_value(json_object_get(json, "files"))};
    if (out_parsed->commit[0] == '\0' || (!is_commit && !parse_change(json, &out_parsed->change))) {
        parsed_free(out_parsed);
        return false;
    }
    return true;
}

void parsed_free(struct parsed *parsed)
{
    free(parsed->change.path);
    json_decref(parsed->json);
    *parsed = (struct parsed){.json = NULL};
}
