#include "auth/credentials.h"

#include <sodium.h>
#include <strings.h>

enum stele_scheme stele_credentials_scheme(struct stele_text header, struct stele_text *out_rest)
{
    static const struct {
        const char *name;
        enum stele_scheme scheme;
    } schemes[] = {{"basic", STELE_SCHEME_BASIC}, {"bearer", STELE_SCHEME_BEARER}};

    const char *at = header.data;
    const char *end = header.data + header.size;
    while (end > at && (end[-1] == ' ' || end[-1] == '\t')) {
        end--;
    }
    for (size_t i = 0; i < STELE_COUNT_OF(schemes); i++) {
        const size_t size = strlen(schemes[i].name);
        if ((size_t)(end - at) > size && at[size] == ' ' &&
            strncasecmp(at, schemes[i].name, size) == 0) {
            const char *rest = at + size;
            while (rest < end && *rest == ' ') {
                rest++;
            }
            *out_rest = (struct stele_text){.data = rest, .size = (size_t)(end - rest)};
            return schemes[i].scheme;
        }
    }
    *out_rest = (struct stele_text){.data = at, .size = 0};
    return STELE_SCHEME_OTHER;
}

static int decode(struct stele_text encoded, char *plain, size_t plain_max, size_t *out_size)
{
    /* libsodium insists on padding or on none of it: clients send either. */
    size_t size = encoded.size;
    while (size > 0 && encoded.size - size < 2 && encoded.data[size - 1] == '=') {
        size--;
    }
    if (size != encoded.size && encoded.size % 4 != 0) {
        return STELE_E_INVALID;
    }
    return sodium_base642bin((unsigned char *)plain, plain_max, encoded.data, size, NULL, out_size,
                             NULL, sodium_base64_VARIANT_ORIGINAL_NO_PADDING) == 0
               ? STELE_OK
               : STELE_E_INVALID;
}

static int split(const char *plain, size_t size, struct stele_credentials *out)
{
    const char *const colon = memchr(plain, ':', size);
    if (colon == NULL || memchr(plain, '\0', size) != NULL) {
        return STELE_E_INVALID;
    }
    const size_t login_size = (size_t)(colon - plain);
    const size_t password_size = size - login_size - 1;
    if (login_size > STELE_LOGIN_SIZE_MAX || password_size > STELE_PASSWORD_SIZE_MAX) {
        return STELE_E_INVALID;
    }
    memcpy(out->login, plain, login_size);
    out->login[login_size] = '\0';
    memcpy(out->password, colon + 1, password_size);
    out->password[password_size] = '\0';
    return stele_user_check_login(out->login, NULL) == STELE_OK ? STELE_OK : STELE_E_INVALID;
}

int stele_credentials_basic(struct stele_text encoded, struct stele_credentials *out_credentials)
{
    char plain[STELE_LOGIN_SIZE_MAX + 1 + STELE_PASSWORD_SIZE_MAX + 1];
    size_t size = 0;
    int outcome = STELE_E_INVALID;
    if (encoded.size > 0 && encoded.size <= STELE_CREDENTIALS_SIZE_MAX) {
        outcome = decode(encoded, plain, sizeof plain, &size);
    }
    if (outcome == STELE_OK) {
        outcome = split(plain, size, out_credentials);
    }
    sodium_memzero(plain, sizeof plain);
    if (outcome != STELE_OK) {
        stele_credentials_wipe(out_credentials);
    }
    return outcome;
}

void stele_credentials_wipe(struct stele_credentials *credentials)
{
    sodium_memzero(credentials, sizeof *credentials);
}
