/* What an Authorization header carries: RFC 7617 (Basic) and RFC 6750 (Bearer). Pure. */
#ifndef STELE_AUTH_CREDENTIALS_H
#define STELE_AUTH_CREDENTIALS_H

#include "auth/user.h"
#include "base/bytes.h"
#include "base/status.h"

#define STELE_CREDENTIALS_SIZE_MAX 16384 /* Of the header's value. Longer ones are refused. */

enum stele_scheme {
    STELE_SCHEME_BASIC,
    STELE_SCHEME_BEARER,
    STELE_SCHEME_OTHER,
};

/* The scheme, in any case, and what stands behind it without the blanks around it. */
enum stele_scheme stele_credentials_scheme(struct stele_text header, struct stele_text *out_rest);

struct stele_credentials {
    char login[STELE_LOGIN_SIZE_MAX + 1];
    char password[STELE_PASSWORD_SIZE_MAX + 1];
};

/* Decodes "base64(login:password)", with or without padding. The password may have colons.
 *
 * STELE_OK         Both are set. The caller wipes them: stele_credentials_wipe().
 * STELE_E_INVALID  Not base64, no colon, a zero byte, a login that cannot be one, too long. */
STELE_MUST_USE
int stele_credentials_basic(struct stele_text encoded, struct stele_credentials *out_credentials);
void stele_credentials_wipe(struct stele_credentials *credentials);

#endif
