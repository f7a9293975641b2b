/* What readers of a store must see: lists of names, filters, reads forward and backward. */
#include "model_internal.h"

#include <regex.h>
#include <stdlib.h>

/* ---- Listing ---- */

static void count_one(const struct model *model, uint32_t event, struct model_listed *listed)
{
    listed->staged++;
    listed->visible += event < model->visible;
}

static void count_events(const struct model *model, int what, struct model_listed *list)
{
    for (uint32_t i = 0; i < model->count; i++) {
        const struct model_event *event = &model->events[i];
        if (what == STELE_LIST_STREAMS) {
            count_one(model, i, &list[event->stream]);
        } else if (what == STELE_LIST_CATEGORIES) {
            count_one(model, i, &list[model->stream_of[event->stream].category]);
        } else if (what == STELE_LIST_TYPES) {
            count_one(model, i, &list[event->type]);
        }
        for (uint32_t t = 0; what == STELE_LIST_TAGS && t < event->tags_count; t++) {
            count_one(model, i, &list[event->tags[t]]);
        }
    }
}

static int compare_listed(const void *a, const void *b)
{
    return strcmp(((const struct model_listed *)a)->name, ((const struct model_listed *)b)->name);
}

struct model_listed *model_list(const struct model *model, int what, size_t *out_count)
{
    const struct model_names *const spaces[] = {
        [STELE_LIST_STREAMS] = &model->streams,
        [STELE_LIST_CATEGORIES] = &model->categories,
        [STELE_LIST_TYPES] = &model->types,
        [STELE_LIST_TAGS] = &model->tags,
    };
    const struct model_names *names = spaces[what];
    struct model_listed *list = calloc(names->count + 1, sizeof *list);
    STELE_ASSERT(list != NULL);
    for (uint32_t i = 0; i < names->count; i++) {
        list[i].name = names->names[i];
        if (what == STELE_LIST_STREAMS) {
            list[i].deleted =
                model__is_hidden(model, i, false) || model_is_tombstoned(model, i, false) ||
                model__is_hidden(model, i, true) || model_is_tombstoned(model, i, true);
            list[i].tombstoned = model_is_tombstoned(model, i, false);
        }
    }
    count_events(model, what, list);
    qsort(list, names->count, sizeof *list, compare_listed);
    *out_count = names->count;
    return list;
}

/* ---- Filters ---- */

static bool regex_matches(const char *pattern, const char *name)
{
    regex_t regex;
    if (pattern == NULL) {
        return true;
    }
    const int compiled = regcomp(&regex, pattern, REG_EXTENDED | REG_NOSUB);
    STELE_ASSERT(compiled == 0);
    const bool matches = regexec(&regex, name, 0, NULL, 0) == 0;
    regfree(&regex);
    return matches;
}

bool model_filter_matches(const struct model *model, const struct stele_filter *filter,
                          uint32_t index)
{
    if (filter == NULL) {
        return true;
    }
    const struct model_event *event = &model->events[index];
    const char *type = model->types.names[event->type];
    const char *stream = model->streams.names[event->stream];
    const char *category = model->categories.names[model->stream_of[event->stream].category];
    for (size_t i = 0; i < filter->tags_count; i++) {
        if (!model__has_tag(model, event, filter->tags[i])) {
            return false;
        }
    }
    return !(filter->exclude_system && (type[0] == '$' || stream[0] == '$')) &&
           model__is_one_of(filter->types, filter->types_count, type) &&
           model__has_one_prefix(filter->type_prefixes, filter->type_prefixes_count, type) &&
           model__is_one_of(filter->streams, filter->streams_count, stream) &&
           model__has_one_prefix(filter->stream_prefixes, filter->stream_prefixes_count, stream) &&
           model__is_one_of(filter->categories, filter->categories_count, category) &&
           regex_matches(filter->type_regex, type) && regex_matches(filter->stream_regex, stream);
}

/* ---- Reading ---- */

static uint32_t find_name(struct model_reader *reader)
{
    switch (reader->kind) {
    case MODEL_STREAM:
        return model__name_find(&reader->model->streams, reader->text);
    case MODEL_CATEGORY:
        return model__name_find(&reader->model->categories, reader->text);
    case MODEL_TYPE:
        return model__name_find(&reader->model->types, reader->text);
    default:
        return 0;
    }
}

/* Visible events under the reader's name. */
static uint64_t visible_next(const struct model_reader *reader)
{
    if (reader->kind == MODEL_STREAM) {
        return model_next(reader->model, reader->name, false);
    }
    for (uint32_t i = 0; i < reader->model->visible; i++) {
        const struct model_event *event = &reader->model->events[i];
        if (reader->kind == MODEL_ALL ||
            (reader->kind == MODEL_TYPE && event->type == reader->name) ||
            (reader->kind == MODEL_CATEGORY &&
             reader->model->stream_of[event->stream].category == reader->name)) {
            return 1; /* More than none is all that matters. */
        }
    }
    return 0;
}

static uint64_t end_position(const struct model *model)
{
    return model->visible == 0 ? 0 : model->events[model->visible - 1].position;
}

/* The first event at or after a position, or their number. */
static uint32_t lower_bound(const struct model *model, uint64_t position)
{
    uint32_t lo = 0;
    uint32_t hi = model->count;
    while (lo < hi) {
        const uint32_t middle = lo + (hi - lo) / 2;
        if (model->events[middle].position < position) {
            lo = middle + 1;
        } else {
            hi = middle;
        }
    }
    return lo;
}

static void place_stream_reader(struct model_reader *reader, uint64_t next, int64_t now_us)
{
    const struct model_limits limits = model_limits(reader->model, reader->name, false);
    if (!reader->options.ignore_limits) {
        reader->revision_min = limits.truncate_before;
        if (limits.max_count > 0 && next > limits.max_count &&
            next - limits.max_count > reader->revision_min) {
            reader->revision_min = next - limits.max_count;
        }
        if (limits.max_age_us > 0) {
            reader->created_min = now_us - limits.max_age_us;
        }
    }
    const uint64_t from = reader->options.from;
    if (reader->options.backwards) {
        reader->next = (uint32_t)(from < next ? from + 1 : next);
    } else {
        reader->next = (uint32_t)(from == STELE_FROM_END ? next
                                  : from < UINT32_MAX    ? from
                                                         : UINT32_MAX - 1);
    }
}

static void place_reader(struct model_reader *reader)
{
    const uint64_t from = reader->options.from;
    const struct model *model = reader->model;
    if (reader->options.backwards) {
        const uint32_t at = from == UINT64_MAX ? model->count : lower_bound(model, from + 1);
        reader->next = at < model->visible ? at : model->visible;
    } else if (from == STELE_FROM_END) {
        reader->options.from = end_position(model) + 1;
        reader->next = model->visible;
    } else {
        reader->next = lower_bound(model, from);
    }
}

int model_read_begin(struct model_reader *reader, struct model *model, const char *stream,
                     const struct stele_read_options *options, bool wait, int64_t now_us)
{
    *reader = (struct model_reader){
        .model = model,
        .options = *options,
        .created_min = INT64_MIN,
        .visible = model->visible,
    };
    const char *text = stream;
    if (stream == NULL || strcmp(stream, "$all") == 0) {
        reader->kind = MODEL_ALL;
        text = "";
    } else if (strncmp(stream, "$ce-", 4) == 0) {
        reader->kind = MODEL_CATEGORY;
        text = stream + 4;
    } else if (strncmp(stream, "$et-", 4) == 0) {
        reader->kind = MODEL_TYPE;
        text = stream + 4;
    } else {
        reader->kind = MODEL_STREAM;
    }
    reader->text = model__copied(text, strlen(text));
    reader->name = find_name(reader);
    const uint64_t next = reader->name == MODEL_NONE ? 0 : visible_next(reader);
    int outcome = STELE_OK;
    if (reader->kind == MODEL_STREAM && !options->ignore_limits &&
        model_is_tombstoned(model, reader->name, false)) {
        outcome = STELE_STREAM_DELETED;
    } else if (reader->kind != MODEL_ALL && !wait) {
        const bool hidden = reader->kind == MODEL_STREAM && !options->ignore_limits &&
                            model_limits(model, reader->name, false).truncate_before >= next;
        outcome = next == 0 || hidden ? STELE_NO_STREAM : STELE_OK;
    }
    if (outcome != STELE_OK) {
        free(reader->text);
        reader->text = NULL;
        return outcome;
    }
    if (reader->kind == MODEL_STREAM) {
        place_stream_reader(reader, next, now_us);
    } else {
        place_reader(reader);
    }
    return STELE_OK;
}

void model_read_refill(struct model_reader *reader)
{
    if (!reader->options.backwards) {
        reader->visible = reader->model->visible;
    }
}

void model_read_end(struct model_reader *reader)
{
    free(reader->text);
    reader->text = NULL;
}

static bool is_wanted(const struct model_reader *reader, uint32_t index)
{
    const struct model *model = reader->model;
    const struct model_event *event = &model->events[index];
    const struct stele_read_options *options = &reader->options;
    if (options->as_of != 0 && event->position > options->as_of) {
        return false;
    }
    if (reader->kind == MODEL_STREAM) {
        if (event->revision < reader->revision_min || event->created_us < reader->created_min) {
            return false;
        }
    } else if ((reader->kind == MODEL_TYPE && event->type != reader->name) ||
               (reader->kind == MODEL_CATEGORY &&
                model->stream_of[event->stream].category != reader->name)) {
        return false;
    }
    return model_filter_matches(model, options->filter, index);
}

/* The event at the candidate, MODEL_NONE past the last one that is visible to this reader. */
static uint32_t candidate(struct model_reader *reader)
{
    uint32_t at = reader->next;
    if (reader->name == MODEL_NONE) {
        reader->name = find_name(reader);
        if (reader->name == MODEL_NONE) {
            return MODEL_NONE;
        }
    }
    if (reader->options.backwards) {
        if (at == 0) {
            return MODEL_NONE;
        }
        at--;
    }
    if (reader->kind == MODEL_STREAM) {
        const struct model_stream *s = &reader->model->stream_of[reader->name];
        if (at >= s->count) {
            return MODEL_NONE;
        }
        at = s->events[at];
    }
    return at < reader->visible ? at : MODEL_NONE;
}

static void advance(struct model_reader *reader)
{
    if (reader->options.backwards) {
        reader->next--;
    } else {
        reader->next++;
    }
}

static bool problem(struct model_reader *reader, const char *words, uint32_t event)
{
    reader->problem = words;
    reader->problem_event = event;
    return false;
}

bool model_read_event(struct model_reader *reader, const struct stele_event *event)
{
    if (reader->options.limit != 0 && reader->handed_out == reader->options.limit) {
        return problem(reader, "more events than the limit", MODEL_NONE);
    }
    for (;;) {
        const uint32_t index = candidate(reader);
        if (index == MODEL_NONE) {
            return problem(reader, "an event where there should be none", MODEL_NONE);
        }
        advance(reader);
        if (!is_wanted(reader, index)) {
            continue;
        }
        const struct model_event *expected = &reader->model->events[index];
        if (expected->position != event->position) {
            if (expected->optional || reader->damaged) {
                continue;
            }
            return problem(reader, "an event was skipped", index);
        }
        const char *difference = model_compare(reader->model, index, event);
        if (difference != NULL) {
            return problem(reader, difference, index);
        }
        reader->handed_out++;
        reader->position_last = event->position;
        reader->revision_last = event->revision;
        reader->damaged = false;
        return true;
    }
}

bool model_read_at_end(struct model_reader *reader)
{
    if (reader->options.limit != 0 && reader->handed_out == reader->options.limit) {
        return true;
    }
    for (uint32_t index = candidate(reader); index != MODEL_NONE; index = candidate(reader)) {
        advance(reader);
        if (is_wanted(reader, index) && !reader->model->events[index].optional &&
            !reader->damaged) {
            return problem(reader, "the end came before this event", index);
        }
    }
    return true;
}

bool model_read_passed(struct model_reader *reader, uint64_t position)
{
    if (reader->options.limit != 0 && reader->handed_out == reader->options.limit) {
        return true;
    }
    for (uint32_t index = candidate(reader);
         index != MODEL_NONE && reader->model->events[index].position <= position;
         index = candidate(reader)) {
        if (is_wanted(reader, index) && !reader->model->events[index].optional &&
            !reader->damaged) {
            return problem(reader, "the read says that it has passed this event", index);
        }
        advance(reader);
    }
    return true;
}

static bool text_equals(struct stele_text text, const char *expected)
{
    return text.size == strlen(expected) && memcmp(text.data, expected, text.size) == 0;
}

const char *model_compare(struct model *model, uint32_t index, const struct stele_event *event)
{
    struct model_event *expected = &model->events[index];
    if (!expected->id_known) {
        memcpy(expected->id, event->id, 16);
        expected->id_known = true;
    }
    if (event->position != expected->position) {
        return "the position differs";
    }
    if (event->revision != expected->revision) {
        return "the revision differs";
    }
    if (memcmp(event->id, expected->id, 16) != 0) {
        return "the id differs";
    }
    if (event->created_us != expected->created_us) {
        return "the time differs";
    }
    if (!text_equals(event->stream, model->streams.names[expected->stream])) {
        return "the stream differs";
    }
    if (!text_equals(event->type, model->types.names[expected->type])) {
        return "the type differs";
    }
    if (!text_equals(event->content_type, expected->content_type)) {
        return "the content type differs";
    }
    if (event->flags != expected->flags) {
        return "the flags differ";
    }
    if (event->data_size != expected->data_size ||
        (event->data_size > 0 && memcmp(event->data, expected->data, event->data_size) != 0)) {
        return "the data differs";
    }
    if (event->metadata_size != expected->metadata_size ||
        (event->metadata_size > 0 &&
         memcmp(event->metadata, expected->metadata, event->metadata_size) != 0)) {
        return "the metadata differs";
    }
    if (event->tags_count != expected->tags_count) {
        return "the number of tags differs";
    }
    const uint8_t *tag = event->tags;
    for (uint32_t i = 0; i < event->tags_count; i++) {
        const struct stele_text text = {.data = (const char *)tag + 1, .size = tag[0]};
        if (!text_equals(text, model->tags.names[expected->tags[i]])) {
            return "a tag differs";
        }
        tag += 1 + tag[0];
    }
    return NULL;
}
