/* The console's files and the OpenAPI document, which the build embeds. */
#include "api/http/web_internal.h"

static bool text_is(struct stele_text text, const char *other)
{
    return text.size == strlen(other) && memcmp(text.data, other, text.size) == 0;
}

static struct stele_text text_of(const char *text)
{
    return (struct stele_text){.data = text, .size = strlen(text)};
}

static void send_file(struct stele_web__request *request, const struct stele_web__file *file)
{
    struct stele_exchange *exchange = request->exchange;
    const struct stele_text seen = stele_exchange_header(exchange, "if-none-match");
    const bool fresh = text_is(seen, file->etag);
    if (!fresh && stele_web__is_crowded(request, file->size)) {
        return;
    }
    /* Nothing but what this server sends is loaded or run. */
    const struct stele_http_header headers[] = {
        {.name = text_of("content-type"), .value = text_of(file->content_type)},
        {.name = text_of("etag"), .value = text_of(file->etag)},
        {.name = text_of("cache-control"), .value = text_of("no-cache")},
        {.name = text_of("content-security-policy"),
         .value = text_of("default-src 'none'; script-src 'self'; style-src 'self'; "
                          "img-src 'self'; connect-src 'self'; frame-ancestors 'none'; "
                          "base-uri 'none'; form-action 'none'; "
                          "require-trusted-types-for 'script'; trusted-types 'none'")},
        {.name = text_of("x-content-type-options"), .value = text_of("nosniff")},
        {.name = text_of("referrer-policy"), .value = text_of("no-referrer")},
    };
    atomic_fetch_add(&request->web->by_class[fresh ? 3 : 2], 1);
    if (fresh) {
        stele_exchange_respond(exchange, 304, headers, STELE_COUNT_OF(headers), true);
        return;
    }
    stele_exchange_respond(exchange, 200, headers, STELE_COUNT_OF(headers), false);
    if (stele_buf_append(stele_exchange_output(exchange), request->loop->alloc,
                         (struct stele_bytes){.data = file->data, .size = file->size}) !=
        STELE_OK) {
        stele_exchange_reset(exchange, 2);
        return;
    }
    stele_exchange_finish(exchange, NULL, 0);
}

static const struct stele_web__file *find_file(const char *path)
{
    for (size_t i = 0; i < stele_web__files_count; i++) {
        if (strcmp(stele_web__files[i].path, path) == 0) {
            return &stele_web__files[i];
        }
    }
    return NULL;
}

void stele_web__console(struct stele_web__request *request)
{
    const struct stele_web__file *file =
        find_file(request->name[0] == '\0' ? "index.html" : request->name);
    if (file == NULL) {
        stele_web__refuse(request, 404, "not-found", "there is no such path");
        return;
    }
    send_file(request, file);
}

void stele_web__openapi(struct stele_web__request *request)
{
    const struct stele_web__file *file = find_file("openapi.json");
    if (file == NULL) {
        stele_web__refuse(request, 404, "not-found", "there is no document");
        return;
    }
    send_file(request, file);
}
