/* JSON Web Tokens: RFC 7515 (compact form), 7517 (keys), 7518 (HS256, RS256, ES256), 7519 (claims),
 * read with RFC 8725 (best current practices) in hand:
 *
 *  - the key decides the algorithm, and the header must agree: "none", and an HMAC made with a
 *    public RSA key as its secret, have no key here;
 *  - everything is verified before a claim is looked at;
 *  - "crit", members twice, base64 that is not canonical are refused;
 *  - "exp" and "sub" have to be there.
 *
 * Pure: keys and time come from the caller. */
#ifndef STELE_AUTH_JWT_H
#define STELE_AUTH_JWT_H

#include "auth/user.h"
#include "base/alloc.h"
#include "base/bytes.h"
#include "base/status.h"

#define STELE_JWT_SIZE_MAX 8192
#define STELE_JWT_KEYS_MAX 16
#define STELE_JWT_LEEWAY_S 30 /* Clocks of issuer and server may differ so much. */

struct stele_jwt_keys;

/* A JWK set ({"keys": […]}), one JWK, or PEM: public keys and certificates, one after the other.
 * HMAC secrets ("kty": "oct") have at least 32 bytes, RSA keys at least 2048 bits, EC keys are on
 * P-256. A key for encryption ("use": "enc") is passed over.
 *
 * STELE_OK, STELE_E_NO_MEMORY, STELE_E_INVALID (the message never has a key in it). */
STELE_MUST_USE
int stele_jwt_keys_create(struct stele_bytes text, struct stele_alloc *alloc,
                          struct stele_jwt_keys **out_keys, struct stele_error *err);
void stele_jwt_keys_destroy(struct stele_jwt_keys *keys, struct stele_alloc *alloc);
size_t stele_jwt_keys_count(const struct stele_jwt_keys *keys);

struct stele_jwt_rules {
    int64_t now_s;        /* Since 1970. */
    const char *audience; /* NULL: not looked at. */
    const char *issuer;   /* The same. */
    const char *roles;    /* Name of the claim: a list of names, or names with blanks between. */
};

struct stele_jwt_claims {
    char subject[STELE_LOGIN_SIZE_MAX + 1];
    char roles[STELE_ROLES_MAX][STELE_ROLE_SIZE_MAX + 1];
    uint32_t roles_count; /* Roles too long, or too many, are left out: fewer rights. */
    int64_t expires_s;    /* With the leeway. */
};

/* STELE_OK, STELE_E_PERMISSION. *out_why, a constant text, says why not: for logs, not for the
 * caller. Never has anything of the token in it. */
STELE_MUST_USE
int stele_jwt_verify(const struct stele_jwt_keys *keys, const struct stele_jwt_rules *rules,
                     struct stele_text token, struct stele_jwt_claims *out_claims,
                     const char **out_why);

#endif
