#include "cloud/cloud.h"

#include "base/text.h"

#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>

#define INTEGER_MAX 2147483648.0 /* CloudEvents 1.0, section 3.1: integers have 32 bits. */

bool stele_cloud_is_mapped(const char *name)
{
    static const char *const mapped[] = {
        "specversion",     "source",   "id",          "type",           "time",
        "datacontenttype", "data",     "data_base64", "tags",           "metadata",
        "revision",        "position", "tombstone",   "metadatabase64", "stream",
    };
    for (size_t i = 0; i < STELE_COUNT_OF(mapped); i++) {
        if (strcmp(name, mapped[i]) == 0) {
            return true;
        }
    }
    return false;
}

bool stele_cloud_stream(const char *source, char *to)
{
    const struct stele_bytes encoded = stele_bytes_of_text(source);
    size_t used = 0;
    const bool fits = stele_percent_decode(encoded, false, (uint8_t *)to, encoded.size, &used);
    to[used] = '\0';
    return fits && strlen(to) == used && stele_utf8_is_valid(stele_bytes_of_text(to));
}

void stele_cloud_source(struct stele_text stream,
                        void (*put)(void *context, const char *text, size_t size), void *context)
{
    static const char allowed[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~:/?#@!$&'()*+,;=";
    static const char digits[] = "0123456789ABCDEF";
    for (size_t i = 0; i < stream.size; i++) {
        const uint8_t byte = (uint8_t)stream.data[i];
        if (byte != '\0' && strchr(allowed, byte) != NULL) {
            put(context, &stream.data[i], 1);
        } else {
            const char encoded[] = {'%', digits[byte >> 4], digits[byte & 15]};
            put(context, encoded, sizeof encoded);
        }
    }
}

static bool is_uuid(const char *id, uint8_t out[16])
{
    /* All zeros ask the library to make one, which is not what somebody who wrote them meant. */
    static const uint8_t zeros[16];
    return stele_id_from_text(id, out) == STELE_OK && memcmp(out, zeros, sizeof zeros) != 0;
}

static bool digest_of(const char *source, const char *id, uint8_t digest[EVP_MAX_MD_SIZE])
{
    /* Version 5 of "cloudevents.io" in the DNS namespace. */
    static const uint8_t namespace_id[16] = {0x3b, 0x3b, 0xdb, 0x45, 0x2e, 0xdc, 0x5a, 0xa7,
                                             0x89, 0x3b, 0xb2, 0x60, 0x4f, 0x33, 0xab, 0x20};
    EVP_MD_CTX *const context = EVP_MD_CTX_new();
    /* The zero behind the source keeps the two apart. */
    const bool done = context != NULL && EVP_DigestInit_ex(context, EVP_sha1(), NULL) == 1 &&
                      EVP_DigestUpdate(context, namespace_id, sizeof namespace_id) == 1 &&
                      EVP_DigestUpdate(context, source, strlen(source) + 1) == 1 &&
                      EVP_DigestUpdate(context, id, strlen(id)) == 1 &&
                      EVP_DigestFinal_ex(context, digest, NULL) == 1;
    EVP_MD_CTX_free(context);
    return done;
}

int stele_cloud_id(const char *source, const char *id, uint8_t out[16])
{
    if (is_uuid(id, out)) {
        return STELE_OK;
    }
    uint8_t digest[EVP_MAX_MD_SIZE] = {0};
    if (!digest_of(source, id, digest)) {
        return STELE_E_UNSUPPORTED;
    }
    memcpy(out, digest, 16);
    out[6] = (uint8_t)((digest[6] & 0x0f) | 0x50);
    out[8] = (uint8_t)((digest[8] & 0x3f) | 0x80);
    return STELE_OK;
}

/* Names of attributes consist of lower-case letters and digits (CloudEvents 1.0, section 3.1);
 * values are strings, whole numbers or booleans. */
static const char *mistake_in(const char *name, const json_t *value)
{
    if (*name == '\0' || strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789") != strlen(name)) {
        return "is no name of a CloudEvents attribute; use a-z and 0-9";
    }
    if (json_is_object(value) || json_is_array(value)) {
        return "is an object or a list; CloudEvents allow strings, whole numbers and booleans";
    }
    const double number = json_number_value(value);
    if (json_is_number(value) &&
        !(number >= -INTEGER_MAX && number < INTEGER_MAX && number == (double)(json_int_t)number)) {
        return "is no whole number of 32 bits; CloudEvents know no others, write it as a string";
    }
    return NULL;
}

/* false: no memory. */
static bool keep_one(json_t *kept, const char *name, const json_t *value)
{
    json_t *const copy = json_is_real(value) ? json_integer((json_int_t)json_real_value(value))
                                             : json_deep_copy(value);
    return json_object_set_new(kept, name, copy) == 0;
}

/* What has a place, but not one that it can be made of again. */
static bool keep_names(json_t *kept, const json_t *attributes, const char *stream)
{
    const json_t *const id = json_object_get(attributes, "id");
    const json_t *const source = json_object_get(attributes, "source");
    uint8_t uuid[16];
    if (json_is_string(id) && !is_uuid(json_string_value(id), uuid) && !keep_one(kept, "id", id)) {
        return false;
    }
    if (!json_is_string(source)) {
        return true;
    }
    char *const named = malloc(json_string_length(source) + 1);
    if (named == NULL) {
        return false;
    }
    const bool same =
        stele_cloud_stream(json_string_value(source), named) && strcmp(named, stream) == 0;
    free(named);
    return same || keep_one(kept, "source", source);
}

static int keep(json_t *kept, const json_t *attributes, const char *stream, const char **out_name,
                const char **out_why)
{
    const char *name = NULL;
    json_t *value = NULL;
    if (kept == NULL || !keep_names(kept, attributes, stream)) {
        return STELE_E_NO_MEMORY;
    }
    json_object_foreach((json_t *)(uintptr_t)attributes, name, value)
    {
        if (stele_cloud_is_mapped(name) || json_is_null(value)) {
            continue;
        }
        *out_name = name;
        *out_why = mistake_in(name, value);
        if (*out_why != NULL) {
            return STELE_E_INVALID;
        }
        if (!keep_one(kept, name, value)) {
            return STELE_E_NO_MEMORY;
        }
    }
    return STELE_OK;
}

int stele_cloud_keep(const json_t *attributes, const char *stream, char **out_metadata,
                     const char **out_name, const char **out_why)
{
    json_t *const kept = json_object();
    *out_metadata = NULL;
    int outcome = keep(kept, attributes, stream, out_name, out_why);
    if (outcome == STELE_OK && json_object_size(kept) > 0) {
        json_t *const metadata = json_pack("{s:O}", STELE_CLOUD_MEMBER, kept);
        *out_metadata = metadata == NULL ? NULL : json_dumps(metadata, JSON_COMPACT);
        outcome = *out_metadata == NULL ? STELE_E_NO_MEMORY : STELE_OK;
        json_decref(metadata);
    }
    json_decref(kept);
    return outcome;
}

json_t *stele_cloud_kept(const void *metadata, size_t size, bool *out_only)
{
    json_t *const all = size > 0 ? json_loadb(metadata, size, JSON_ALLOW_NUL, NULL) : NULL;
    json_t *const kept = json_incref(json_object_get(all, STELE_CLOUD_MEMBER));
    *out_only = json_is_object(kept) && json_object_size(all) == 1;
    json_decref(all);
    if (!json_is_object(kept)) {
        json_decref(kept);
        return NULL;
    }
    return kept;
}
