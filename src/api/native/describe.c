/* Looks things up in the descriptors of what the server speaks.
 *
 * They are read where they lie (google/protobuf/descriptor.proto), anew for each question: people and
 * their tools ask, a few times, and there are fifty kilobytes. They are our own, made by protoc: what
 * is malformed in them is only met as "not found". Only the names asked for are foreign. */
#include "api/native/native_internal.h"

/* Field numbers of descriptors. A name is always field 1. */
enum {
    SET_FILE = 1,
    FILE_PACKAGE = 2,
    FILE_DEPENDENCY = 3,
    FILE_MESSAGE = 4,
    FILE_ENUM = 5,
    FILE_SERVICE = 6,
    MESSAGE_FIELD = 2,
    MESSAGE_MESSAGE = 3,
    MESSAGE_ENUM = 4,
    ENUM_VALUE = 2,
    SERVICE_METHOD = 2,
};

static struct stele_bytes first_field(struct stele_bytes message, uint32_t number)
{
    struct stele_pb_reader reader = stele_pb_reader(message);
    struct stele_pb_field field;
    while (stele_pb_next(&reader, &field)) {
        if (field.number == number && field.wire == STELE_PB_BYTES) {
            return field.bytes;
        }
    }
    return (struct stele_bytes){.data = NULL};
}

static struct stele_bytes name_of(struct stele_bytes descriptor)
{
    return first_field(descriptor, 1);
}

/* Takes "name" or "name." from the front of a symbol. false: it begins with something else. */
static bool take_name(struct stele_bytes *symbol, struct stele_bytes name)
{
    if (symbol->size < name.size || name.size == 0 ||
        memcmp(symbol->data, name.data, name.size) != 0 ||
        (symbol->size > name.size && symbol->data[name.size] != '.')) {
        return false;
    }
    const size_t taken = name.size + (symbol->size > name.size);
    *symbol = stele_bytes_slice(*symbol, taken, symbol->size - taken);
    return true;
}

/* Does a descriptor have something of this name in its fields of that number? */
static bool has_named(struct stele_bytes descriptor, uint32_t number, struct stele_bytes name)
{
    struct stele_pb_reader reader = stele_pb_reader(descriptor);
    struct stele_pb_field field;
    while (stele_pb_next(&reader, &field)) {
        if (field.number == number && field.wire == STELE_PB_BYTES &&
            stele_bytes_equal(name_of(field.bytes), name)) {
            return true;
        }
    }
    return false;
}

enum kind { KIND_MESSAGE, KIND_ENUM, KIND_SERVICE, KIND_OTHER };

static enum kind kind_of(bool is_file, uint32_t number)
{
    if (number == (is_file ? (uint32_t)FILE_MESSAGE : (uint32_t)MESSAGE_MESSAGE)) {
        return KIND_MESSAGE;
    }
    if (number == (is_file ? (uint32_t)FILE_ENUM : (uint32_t)MESSAGE_ENUM)) {
        return KIND_ENUM;
    }
    return is_file && number == FILE_SERVICE ? KIND_SERVICE : KIND_OTHER;
}

/* Is the symbol defined in a file or a message? What is nested is walked down to by the symbol's own
 * parts, so the depth is bounded by our own descriptors. */
static bool defines(struct stele_bytes descriptor, bool is_file, struct stele_bytes symbol,
                    bool *is_message)
{
    struct stele_pb_reader reader = stele_pb_reader(descriptor);
    struct stele_pb_field field;
    while (stele_pb_next(&reader, &field)) {
        const enum kind kind =
            field.wire == STELE_PB_BYTES ? kind_of(is_file, field.number) : KIND_OTHER;
        if (kind == KIND_OTHER) {
            continue;
        }
        /* The values of an enum are named beside it, not inside of it. */
        if (kind == KIND_ENUM && has_named(field.bytes, ENUM_VALUE, symbol)) {
            return true;
        }
        struct stele_bytes rest = symbol;
        if (!take_name(&rest, name_of(field.bytes))) {
            continue;
        }
        if (rest.size == 0) {
            *is_message = kind == KIND_MESSAGE;
            return true;
        }
        if ((kind == KIND_SERVICE && has_named(field.bytes, SERVICE_METHOD, rest)) ||
            (kind == KIND_MESSAGE && (has_named(field.bytes, MESSAGE_FIELD, rest) ||
                                      defines(field.bytes, false, rest, is_message)))) {
            return true;
        }
    }
    return false;
}

static bool file_defines(struct stele_bytes file, struct stele_bytes symbol, bool *is_message)
{
    struct stele_bytes rest = symbol;
    *is_message = false;
    return take_name(&rest, first_field(file, FILE_PACKAGE)) && rest.size > 0 &&
           defines(file, true, rest, is_message);
}

static struct stele_pb_reader all_files(void)
{
    return stele_pb_reader((struct stele_bytes){.data = stele_native__descriptors,
                                                .size = stele_native__descriptors_size});
}

static struct stele_bytes find_named(struct stele_bytes name)
{
    struct stele_pb_reader reader = all_files();
    struct stele_pb_field field;
    while (stele_pb_next(&reader, &field)) {
        if (field.number == SET_FILE && stele_bytes_equal(name_of(field.bytes), name)) {
            return field.bytes;
        }
    }
    return (struct stele_bytes){.data = NULL};
}

static void add(struct stele_native__files *files, struct stele_bytes file)
{
    for (uint32_t i = 0; i < files->count; i++) {
        if (files->at[i].data == file.data) {
            return;
        }
    }
    if (file.size > 0 && files->count < STELE_NATIVE__FILES_MAX) {
        files->at[files->count++] = file;
    }
}

/* The list grows at its end while its beginning is worked off, until nothing new is imported. */
static void add_imports(struct stele_native__files *files)
{
    for (uint32_t i = 0; i < files->count; i++) {
        struct stele_pb_reader reader = stele_pb_reader(files->at[i]);
        struct stele_pb_field field;
        while (stele_pb_next(&reader, &field)) {
            if (field.number == FILE_DEPENDENCY && field.wire == STELE_PB_BYTES) {
                add(files, find_named(field.bytes));
            }
        }
    }
}

void stele_native__file_named(struct stele_bytes name, struct stele_native__files *files)
{
    files->count = 0;
    add(files, find_named(name));
    add_imports(files);
}

static struct stele_bytes find_symbol(struct stele_bytes symbol, bool *is_message)
{
    struct stele_pb_reader reader = all_files();
    struct stele_pb_field field;
    while (stele_pb_next(&reader, &field)) {
        if (field.number == SET_FILE && file_defines(field.bytes, symbol, is_message)) {
            return field.bytes;
        }
    }
    return (struct stele_bytes){.data = NULL};
}

void stele_native__file_with_symbol(struct stele_bytes symbol, struct stele_native__files *files)
{
    bool is_message;
    files->count = 0;
    add(files, find_symbol(symbol, &is_message));
    add_imports(files);
}

bool stele_native__is_message(struct stele_bytes name)
{
    bool is_message = false;
    return find_symbol(name, &is_message).size > 0 && is_message;
}

struct stele_bytes stele_native__service_of(enum stele_rpc rpc)
{
    const char *path = stele_auth_rpc_path(rpc) + 1;
    return (struct stele_bytes){.data = (const uint8_t *)path, .size = strcspn(path, "/")};
}
