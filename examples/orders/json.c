#include "json.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

bool is_name(const char *text)
{
    static const char allowed[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.";
    const size_t size = strlen(text);
    return size >= 1 && size <= NAME_SIZE_MAX && strspn(text, allowed) == size;
}

bool is_type(struct stele_text type, const char *name)
{
    return type.size == strlen(name) && memcmp(type.data, name, type.size) == 0;
}

static bool json_text(struct stele_text json, const char *member, struct stele_memory *memory,
                      const char **out_text)
{
    struct stele_text text;
    if (stele_json_string(json.data, json.size, member, memory, &text) != STELE_OK) {
        return false;
    }
    *out_text = text.data;
    return strlen(text.data) == text.size;
}

bool json_name(struct stele_text json, const char *member, struct stele_memory *memory,
               const char **out_name)
{
    return json_text(json, member, memory, out_name) && is_name(*out_name);
}

bool json_amount(struct stele_text json, const char *member, int64_t *out_amount)
{
    return stele_json_integer(json.data, json.size, member, out_amount) == STELE_OK &&
           *out_amount >= 1 && *out_amount <= AMOUNT_MAX;
}

bool json_plain(struct stele_text json, const char *member, struct stele_memory *memory,
                const char **out_text)
{
    if (!json_text(json, member, memory, out_text) || strlen(*out_text) > NAME_SIZE_MAX) {
        return false;
    }
    for (const char *at = *out_text; *at != '\0'; at++) {
        if (*at == '"' || *at == '\\' || (unsigned char)*at < 0x20) {
            return false;
        }
    }
    return true;
}

int emit(struct stele_decision *decision, const char *stream, const char *type, const char *format,
         ...)
{
    char data[1024];
    va_list arguments;
    va_start(arguments, format);
    const int size = vsnprintf(data, sizeof data, format, arguments);
    va_end(arguments);
    if (size < 0 || (size_t)size >= sizeof data) {
        return STELE_E_LIMIT;
    }
    return stele_decision_emit_data(decision, stream, type, data, (size_t)size);
}
