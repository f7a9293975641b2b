#include "auth/jwt.h"

#include <jansson.h>
#include <openssl/bio.h>
#include <openssl/core_names.h>
#include <openssl/ecdsa.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/param_build.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <sodium.h>
#include <stdio.h>

enum algorithm {
    HS256,
    RS256,
    ES256,
    ALGORITHM_NONE,
};

static const char *const algorithm_names[] = {
    [HS256] = "HS256", [RS256] = "RS256", [ES256] = "ES256"};

#define KID_SIZE_MAX 127
#define SECRET_SIZE_MIN 32
#define SECRET_SIZE_MAX 512
#define P256_SIZE 32
#define RSA_BITS_MIN 2048
#define RSA_BITS_MAX 8192 /* Larger ones take long on purpose. */

struct key {
    enum algorithm algorithm;
    char kid[KID_SIZE_MAX + 1]; /* Empty: it has none. */
    EVP_PKEY *public;           /* Not of HS256. */
    size_t secret_size;
    uint8_t secret[SECRET_SIZE_MAX];
};

struct stele_jwt_keys {
    size_t count;
    struct key keys[STELE_JWT_KEYS_MAX];
};

/* ---- Base64url ---- */

/* Strict: no padding, no other characters, no bits left over that are not zero. libsodium takes
 * some bytes above 127 for letters, so those are looked at first. */
static bool decode(struct stele_text text, uint8_t *plain, size_t plain_max, size_t *out_size)
{
    for (size_t i = 0; i < text.size; i++) {
        if ((unsigned char)text.data[i] > 127) {
            return false;
        }
    }
    return sodium_base642bin(plain, plain_max, text.data, text.size, NULL, out_size, NULL,
                             sodium_base64_VARIANT_URLSAFE_NO_PADDING) == 0;
}

/* ---- Keys ---- */

static int fail_key(struct stele_error *err, size_t index, const char *what)
{
    ERR_clear_error();
    return stele_fail(err, STELE_E_INVALID, 0, "key %zu for bearer tokens: %s", index + 1, what);
}

static int adopt_public(struct stele_jwt_keys *keys, EVP_PKEY *take_public, const char *kid,
                        struct stele_error *err)
{
    const size_t index = keys->count;
    const char *why = NULL;
    struct key *const key = &keys->keys[index];
    if (EVP_PKEY_is_a(take_public, "RSA")) {
        key->algorithm = RS256;
        const int bits = EVP_PKEY_get_bits(take_public);
        if (bits < RSA_BITS_MIN || bits > RSA_BITS_MAX) {
            why = "an RSA key has 2048 to 8192 bits";
        }
    } else if (EVP_PKEY_is_a(take_public, "EC")) {
        char group[32] = "";
        key->algorithm = ES256;
        if (EVP_PKEY_get_group_name(take_public, group, sizeof group, NULL) != 1 ||
            strcmp(group, "prime256v1") != 0) {
            why = "an EC key is on the curve P-256";
        }
    } else {
        why = "it is neither RSA nor EC";
    }
    if (why != NULL) {
        EVP_PKEY_free(take_public);
        return fail_key(err, index, why);
    }
    key->public = take_public;
    (void)snprintf(key->kid, sizeof key->kid, "%s", kid);
    keys->count++;
    return STELE_OK;
}

static bool get_base64(const json_t *jwk, const char *member, uint8_t *plain, size_t plain_max,
                       size_t *out_size)
{
    const json_t *const value = json_object_get(jwk, member);
    return json_is_string(value) &&
           decode((struct stele_text){.data = json_string_value(value),
                                      .size = json_string_length(value)},
                  plain, plain_max, out_size) &&
           *out_size > 0;
}

static EVP_PKEY *public_of_params(const char *type, OSSL_PARAM_BLD *build)
{
    EVP_PKEY *public = NULL;
    OSSL_PARAM *const params = OSSL_PARAM_BLD_to_param(build);
    EVP_PKEY_CTX *const context = EVP_PKEY_CTX_new_from_name(NULL, type, NULL);
    if (params == NULL || context == NULL || EVP_PKEY_fromdata_init(context) != 1 ||
        EVP_PKEY_fromdata(context, &public, EVP_PKEY_PUBLIC_KEY, params) != 1) {
        public = NULL;
    }
    EVP_PKEY_CTX_free(context);
    OSSL_PARAM_free(params);
    return public;
}

static EVP_PKEY *rsa_of_jwk(const json_t *jwk)
{
    uint8_t n[RSA_BITS_MAX / 8 + 1];
    uint8_t e[8];
    size_t n_size = 0;
    size_t e_size = 0;
    if (!get_base64(jwk, "n", n, sizeof n, &n_size) ||
        !get_base64(jwk, "e", e, sizeof e, &e_size)) {
        return NULL;
    }
    BIGNUM *const modulus = BN_bin2bn(n, (int)n_size, NULL);
    BIGNUM *const exponent = BN_bin2bn(e, (int)e_size, NULL);
    OSSL_PARAM_BLD *const build = OSSL_PARAM_BLD_new();
    EVP_PKEY *public = NULL;
    if (modulus != NULL && exponent != NULL && build != NULL &&
        OSSL_PARAM_BLD_push_BN(build, OSSL_PKEY_PARAM_RSA_N, modulus) == 1 &&
        OSSL_PARAM_BLD_push_BN(build, OSSL_PKEY_PARAM_RSA_E, exponent) == 1) {
        public = public_of_params("RSA", build);
    }
    OSSL_PARAM_BLD_free(build);
    BN_free(exponent);
    BN_free(modulus);
    return public;
}

static EVP_PKEY *ec_of_jwk(const json_t *jwk)
{
    uint8_t point[1 + 2 * P256_SIZE] = {4}; /* Uncompressed: SEC 1, section 2.3.3. */
    size_t x_size = 0;
    size_t y_size = 0;
    const char *const curve = json_string_value(json_object_get(jwk, "crv"));
    if (curve == NULL || strcmp(curve, "P-256") != 0 ||
        !get_base64(jwk, "x", point + 1, P256_SIZE, &x_size) ||
        !get_base64(jwk, "y", point + 1 + P256_SIZE, P256_SIZE, &y_size) || x_size != P256_SIZE ||
        y_size != P256_SIZE) {
        return NULL;
    }
    OSSL_PARAM_BLD *const build = OSSL_PARAM_BLD_new();
    EVP_PKEY *public = NULL;
    if (build != NULL &&
        OSSL_PARAM_BLD_push_utf8_string(build, OSSL_PKEY_PARAM_GROUP_NAME, "prime256v1", 0) == 1 &&
        OSSL_PARAM_BLD_push_octet_string(build, OSSL_PKEY_PARAM_PUB_KEY, point, sizeof point) ==
            1) {
        public = public_of_params("EC", build);
    }
    OSSL_PARAM_BLD_free(build);
    return public;
}

static int add_secret(struct stele_jwt_keys *keys, const json_t *jwk, const char *kid,
                      struct stele_error *err)
{
    struct key *const key = &keys->keys[keys->count];
    if (!get_base64(jwk, "k", key->secret, sizeof key->secret, &key->secret_size)) {
        return fail_key(err, keys->count, "\"k\" is not base64url, or too long");
    }
    if (key->secret_size < SECRET_SIZE_MIN) {
        return fail_key(err, keys->count, "a secret has at least 32 bytes");
    }
    key->algorithm = HS256;
    (void)snprintf(key->kid, sizeof key->kid, "%s", kid);
    keys->count++;
    return STELE_OK;
}

static bool agrees(const json_t *jwk, const char *name)
{
    const json_t *const value = json_object_get(jwk, "alg");
    return value == NULL || (json_is_string(value) && strcmp(json_string_value(value), name) == 0);
}

static int add_jwk(struct stele_jwt_keys *keys, const json_t *jwk, struct stele_error *err)
{
    const char *const type = json_string_value(json_object_get(jwk, "kty"));
    const char *const use = json_string_value(json_object_get(jwk, "use"));
    const json_t *const kid_value = json_object_get(jwk, "kid");
    const char *const kid = kid_value == NULL ? "" : json_string_value(kid_value);
    if (type == NULL) {
        return fail_key(err, keys->count, "it has no \"kty\"");
    }
    if (use != NULL && strcmp(use, "sig") != 0) {
        return STELE_OK;
    }
    if (kid == NULL || strlen(kid) > KID_SIZE_MAX) {
        return fail_key(err, keys->count, "\"kid\" is no text, or longer than 127 bytes");
    }
    if (keys->count == STELE_JWT_KEYS_MAX) {
        return fail_key(err, keys->count, "at most 16 keys are kept");
    }
    if (strcmp(type, "oct") == 0) {
        return agrees(jwk, "HS256") ? add_secret(keys, jwk, kid, err)
                                    : fail_key(err, keys->count, "\"alg\" is not HS256");
    }
    EVP_PKEY *public = NULL;
    if (strcmp(type, "RSA") == 0 && agrees(jwk, "RS256")) {
        public = rsa_of_jwk(jwk);
    } else if (strcmp(type, "EC") == 0 && agrees(jwk, "ES256")) {
        public = ec_of_jwk(jwk);
    } else {
        return fail_key(err, keys->count, "only RS256, ES256 and HS256 are understood");
    }
    return public == NULL ? fail_key(err, keys->count, "its numbers are missing or no key")
                          : adopt_public(keys, public, kid, err);
}

static int add_jwks(struct stele_jwt_keys *keys, struct stele_bytes text, struct stele_error *err)
{
    json_error_t error;
    json_t *const object =
        json_loadb((const char *)text.data, text.size, JSON_REJECT_DUPLICATES, &error);
    if (!json_is_object(object)) {
        json_decref(object);
        return stele_fail(err, STELE_E_INVALID, 0, "keys for bearer tokens: line %d is no JSON",
                          error.line);
    }
    const json_t *const list = json_object_get(object, "keys");
    int outcome = STELE_OK;
    if (list == NULL) {
        outcome = add_jwk(keys, object, err);
    }
    for (size_t i = 0; i < json_array_size(list) && outcome == STELE_OK; i++) {
        outcome = add_jwk(keys, json_array_get(list, i), err);
    }
    json_decref(object);
    return outcome;
}

static EVP_PKEY *public_of_pem(const char *name, const uint8_t *data, long size)
{
    const unsigned char *at = data;
    if (strcmp(name, PEM_STRING_PUBLIC) == 0) {
        return d2i_PUBKEY(NULL, &at, size);
    }
    if (strcmp(name, PEM_STRING_X509) == 0) {
        X509 *const certificate = d2i_X509(NULL, &at, size);
        EVP_PKEY *const public = certificate == NULL ? NULL : X509_get_pubkey(certificate);
        X509_free(certificate);
        return public;
    }
    return NULL;
}

static int add_pem(struct stele_jwt_keys *keys, struct stele_bytes text, struct stele_error *err)
{
    BIO *const bio = BIO_new_mem_buf(text.data, (int)text.size);
    int outcome = bio == NULL ? STELE_E_NO_MEMORY : STELE_OK;
    char *name = NULL;
    char *header = NULL;
    unsigned char *data = NULL;
    long size = 0;
    while (outcome == STELE_OK && PEM_read_bio(bio, &name, &header, &data, &size) == 1) {
        EVP_PKEY *const public = public_of_pem(name, data, size);
        if (public == NULL) {
            outcome = fail_key(err, keys->count, "PEM: it is no public key and no certificate");
        } else if (keys->count == STELE_JWT_KEYS_MAX) {
            EVP_PKEY_free(public);
            outcome = fail_key(err, keys->count, "at most 16 keys are kept");
        } else {
            outcome = adopt_public(keys, public, "", err);
        }
        OPENSSL_free(name);
        OPENSSL_free(header);
        OPENSSL_clear_free(data, (size_t)size);
    }
    ERR_clear_error();
    BIO_free(bio);
    return outcome;
}

int stele_jwt_keys_create(struct stele_bytes text, struct stele_alloc *alloc,
                          struct stele_jwt_keys **out_keys, struct stele_error *err)
{
    if (text.size > 1024 * 1024) {
        return stele_fail(err, STELE_E_INVALID, 0, "keys for bearer tokens: longer than 1 MiB");
    }
    struct stele_jwt_keys *const keys = stele_allocate_zeroed(alloc, sizeof *keys);
    if (keys == NULL) {
        return stele_fail(err, STELE_E_NO_MEMORY, 0, "keys for bearer tokens: no memory");
    }
    size_t blank = 0;
    while (blank < text.size && strchr(" \t\r\n", text.data[blank]) != NULL &&
           text.data[blank] != '\0') {
        blank++;
    }
    const bool is_json = blank < text.size && text.data[blank] == '{';
    int outcome = is_json ? add_jwks(keys, text, err) : add_pem(keys, text, err);
    if (outcome == STELE_OK && keys->count == 0) {
        outcome = stele_fail(err, STELE_E_INVALID, 0, "keys for bearer tokens: there are none");
    }
    if (outcome != STELE_OK) {
        stele_jwt_keys_destroy(keys, alloc);
        return outcome;
    }
    *out_keys = keys;
    return STELE_OK;
}

void stele_jwt_keys_destroy(struct stele_jwt_keys *keys, struct stele_alloc *alloc)
{
    if (keys == NULL) {
        return;
    }
    for (size_t i = 0; i < keys->count; i++) {
        EVP_PKEY_free(keys->keys[i].public);
    }
    sodium_memzero(keys, sizeof *keys);
    stele_release(alloc, keys, sizeof *keys);
}

size_t stele_jwt_keys_count(const struct stele_jwt_keys *keys)
{
    return keys == NULL ? 0 : keys->count;
}

/* ---- Signatures ---- */

static bool verify_secret(const struct key *key, struct stele_text signed_text,
                          struct stele_bytes signature)
{
    uint8_t expected[EVP_MAX_MD_SIZE];
    unsigned expected_size = 0;
    const bool made = HMAC(EVP_sha256(), key->secret, (int)key->secret_size,
                           (const unsigned char *)signed_text.data, signed_text.size, expected,
                           &expected_size) != NULL;
    const bool same = made && signature.size == expected_size &&
                      sodium_memcmp(expected, signature.data, expected_size) == 0;
    sodium_memzero(expected, sizeof expected);
    return same;
}

/* RFC 7518, section 3.4: r and s, 32 bytes each; OpenSSL wants them as ASN.1. */
static int der_of_pair(struct stele_bytes pair, uint8_t **out_der)
{
    if (pair.size != 2 * P256_SIZE) {
        return -1;
    }
    ECDSA_SIG *const sig = ECDSA_SIG_new();
    BIGNUM *const r = BN_bin2bn(pair.data, P256_SIZE, NULL);
    BIGNUM *const s = BN_bin2bn(pair.data + P256_SIZE, P256_SIZE, NULL);
    int size = -1;
    if (sig != NULL && r != NULL && s != NULL && ECDSA_SIG_set0(sig, r, s) == 1) {
        size = i2d_ECDSA_SIG(sig, out_der);
    } else {
        BN_free(r);
        BN_free(s);
    }
    ECDSA_SIG_free(sig);
    return size;
}

static bool verify_digest(EVP_PKEY *public, struct stele_text signed_text, const uint8_t *signature,
                          size_t signature_size)
{
    EVP_MD_CTX *const context = EVP_MD_CTX_new();
    const bool good =
        context != NULL && EVP_DigestVerifyInit(context, NULL, EVP_sha256(), NULL, public) == 1 &&
        EVP_DigestVerify(context, signature, signature_size,
                         (const unsigned char *)signed_text.data, signed_text.size) == 1;
    EVP_MD_CTX_free(context);
    ERR_clear_error();
    return good;
}

static bool verify_with(const struct key *key, struct stele_text signed_text,
                        struct stele_bytes signature)
{
    if (key->algorithm == HS256) {
        return verify_secret(key, signed_text, signature);
    }
    if (key->algorithm == RS256) {
        return verify_digest(key->public, signed_text, signature.data, signature.size);
    }
    uint8_t *der = NULL;
    const int size = der_of_pair(signature, &der);
    const bool good = size > 0 && verify_digest(key->public, signed_text, der, (size_t)size);
    OPENSSL_free(der);
    return good;
}

/* ---- Tokens ---- */

struct token {
    struct stele_text header, payload, signature; /* Still encoded. */
    struct stele_text signed_text;
};

static bool split(struct stele_text text, struct token *out)
{
    const char *const end = text.data + text.size;
    const char *const first = memchr(text.data, '.', text.size);
    const char *const second =
        first == NULL ? NULL : memchr(first + 1, '.', (size_t)(end - first - 1));
    if (second == NULL) {
        return false;
    }
    out->header = (struct stele_text){text.data, (size_t)(first - text.data)};
    out->payload = (struct stele_text){first + 1, (size_t)(second - first - 1)};
    out->signature = (struct stele_text){second + 1, (size_t)(end - second - 1)};
    out->signed_text = (struct stele_text){text.data, (size_t)(second - text.data)};
    return true;
}

/* An object of the token, or NULL. plain has room for STELE_JWT_SIZE_MAX. */
static json_t *load(struct stele_text encoded, uint8_t *plain)
{
    size_t size = 0;
    if (!decode(encoded, plain, STELE_JWT_SIZE_MAX, &size)) {
        return NULL;
    }
    json_t *const object = json_loadb((const char *)plain, size, JSON_REJECT_DUPLICATES, NULL);
    if (!json_is_object(object)) {
        json_decref(object);
        return NULL;
    }
    return object;
}

static enum algorithm algorithm_of(const json_t *header)
{
    const char *const name = json_string_value(json_object_get(header, "alg"));
    for (int i = 0; name != NULL && i < ALGORITHM_NONE; i++) {
        if (strcmp(name, algorithm_names[i]) == 0) {
            return (enum algorithm)i;
        }
    }
    return ALGORITHM_NONE;
}

/* By the key's name if the token names one; a key without a name (PEM) is tried for every token. */
static bool key_fits(const struct key *key, enum algorithm algorithm, const char *kid)
{
    return key->algorithm == algorithm &&
           (kid == NULL || key->kid[0] == '\0' || strcmp(key->kid, kid) == 0);
}

static const char *verify_signature(const struct stele_jwt_keys *keys, const struct token *token,
                                    const json_t *header)
{
    const enum algorithm algorithm = algorithm_of(header);
    const json_t *const kid_value = json_object_get(header, "kid");
    const char *const kid = json_string_value(kid_value);
    uint8_t plain[RSA_BITS_MAX / 8];
    struct stele_bytes signature = {.data = plain, .size = 0};
    if (algorithm == ALGORITHM_NONE) {
        return "its algorithm is not one of HS256, RS256, ES256";
    }
    if (json_object_get(header, "crit") != NULL) {
        return "it has critical extensions";
    }
    if (kid_value != NULL && kid == NULL) {
        return "its key's name is no text";
    }
    if (!decode(token->signature, plain, sizeof plain, &signature.size)) {
        return "its signature is malformed";
    }
    bool any = false;
    for (size_t i = 0; i < keys->count; i++) {
        if (key_fits(&keys->keys[i], algorithm, kid)) {
            any = true;
            if (verify_with(&keys->keys[i], token->signed_text, signature)) {
                return NULL;
            }
        }
    }
    return any ? "its signature is wrong" : "no key fits it";
}

static bool has_audience(const json_t *claims, const char *audience)
{
    const json_t *const value = json_object_get(claims, "aud");
    if (json_is_string(value)) {
        return strcmp(json_string_value(value), audience) == 0;
    }
    for (size_t i = 0; i < json_array_size(value); i++) {
        const char *const one = json_string_value(json_array_get(value, i));
        if (one != NULL && strcmp(one, audience) == 0) {
            return true;
        }
    }
    return false;
}

/* A NumericDate may have a fraction. Far ones are cut, so that adding the leeway is safe. */
static bool get_time(const json_t *claims, const char *name, int64_t *out_s)
{
    const json_t *const value = json_object_get(claims, name);
    if (!json_is_number(value)) {
        return false;
    }
    const double seconds = json_number_value(value);
    const double max = 1e15;
    *out_s = seconds > max ? (int64_t)max : (seconds < -max ? -(int64_t)max : (int64_t)seconds);
    return true;
}

static const char *check_times(const json_t *claims, int64_t now_s, int64_t *out_expires_s)
{
    int64_t time_s = 0;
    if (!get_time(claims, "exp", &time_s)) {
        return "it has no time of expiry";
    }
    *out_expires_s = time_s + STELE_JWT_LEEWAY_S;
    if (now_s >= *out_expires_s) {
        return "it has expired";
    }
    if (json_object_get(claims, "nbf") != NULL) {
        if (!get_time(claims, "nbf", &time_s)) {
            return "its beginning is no time";
        }
        if (now_s < time_s - STELE_JWT_LEEWAY_S) {
            return "it is not valid yet";
        }
    }
    return NULL;
}

static void add_role(struct stele_jwt_claims *claims, const char *name, size_t size)
{
    if (size == 0 || size > STELE_ROLE_SIZE_MAX || claims->roles_count == STELE_ROLES_MAX) {
        return;
    }
    char *const role = claims->roles[claims->roles_count++];
    memcpy(role, name, size);
    role[size] = '\0';
}

static void get_roles(const json_t *value, struct stele_jwt_claims *claims)
{
    for (size_t i = 0; i < json_array_size(value); i++) {
        const json_t *const role = json_array_get(value, i);
        if (json_is_string(role)) {
            add_role(claims, json_string_value(role), json_string_length(role));
        }
    }
    const char *names = json_is_string(value) ? json_string_value(value) : "";
    while (*names != '\0') {
        const size_t size = strcspn(names, " ");
        add_role(claims, names, size);
        names += size + (names[size] == ' ');
    }
}

static const char *read_claims(const json_t *claims, const struct stele_jwt_rules *rules,
                               struct stele_jwt_claims *out)
{
    const char *const why = check_times(claims, rules->now_s, &out->expires_s);
    if (why != NULL) {
        return why;
    }
    if (rules->audience != NULL && !has_audience(claims, rules->audience)) {
        return "it is for another audience";
    }
    const char *const issuer = json_string_value(json_object_get(claims, "iss"));
    if (rules->issuer != NULL && (issuer == NULL || strcmp(issuer, rules->issuer) != 0)) {
        return "it is from another issuer";
    }
    const char *const subject = json_string_value(json_object_get(claims, "sub"));
    if (stele_user_check_login(subject, NULL) != STELE_OK) {
        return "its subject is missing or cannot be a login";
    }
    (void)snprintf(out->subject, sizeof out->subject, "%s", subject);
    get_roles(json_object_get(claims, rules->roles), out);
    return NULL;
}

static const char *verify(const struct stele_jwt_keys *keys, const struct stele_jwt_rules *rules,
                          struct stele_text text, uint8_t *plain, struct stele_jwt_claims *out)
{
    struct token token;
    if (keys == NULL || keys->count == 0) {
        return "there are no keys to check tokens with";
    }
    if (text.size > STELE_JWT_SIZE_MAX) {
        return "it is longer than 8 KiB";
    }
    if (!split(text, &token)) {
        return "it has not three parts";
    }
    json_t *const header = load(token.header, plain);
    const char *why =
        header == NULL ? "its header is malformed" : verify_signature(keys, &token, header);
    json_decref(header);
    if (why != NULL) {
        return why;
    }
    json_t *const claims = load(token.payload, plain);
    why = claims == NULL ? "its claims are malformed" : read_claims(claims, rules, out);
    json_decref(claims);
    return why;
}

int stele_jwt_verify(const struct stele_jwt_keys *keys, const struct stele_jwt_rules *rules,
                     struct stele_text token, struct stele_jwt_claims *out_claims,
                     const char **out_why)
{
    uint8_t plain[STELE_JWT_SIZE_MAX];
    struct stele_jwt_claims claims = {.roles_count = 0};
    const char *const why = verify(keys, rules, token, plain, &claims);
    sodium_memzero(plain, sizeof plain);
    if (why != NULL) {
        *out_why = why;
        return STELE_E_PERMISSION;
    }
    *out_claims = claims;
    return STELE_OK;
}
