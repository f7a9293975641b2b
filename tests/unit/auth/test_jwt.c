/* A token is accepted if, and only if, a key of the server signed just these bytes, and its claims
 * hold now and here.
 *
 * Method: the examples of RFC 7515; tokens signed here with fresh keys; then every attack that has a
 * name, and every bit of a good token. */
#include "auth/jwt.h"
#include "lib/check.h"
#include "lib/testalloc.h"

#include <openssl/ec.h>
#include <openssl/ecdsa.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <sodium.h>

#define NOW INT64_C(1800000000)
#define SECRET "0123456789abcdef0123456789abcdef"

static struct testalloc memory;

static const struct stele_jwt_rules plain_rules = {.now_s = NOW, .roles = "roles"};

static struct stele_jwt_keys *keys_of(const char *text)
{
    struct stele_jwt_keys *keys = NULL;
    struct stele_error err = {0};
    CHECK_OK(stele_jwt_keys_create(stele_bytes_of_text(text), &memory.base, &keys, &err), err);
    return keys;
}

static void base64url(const void *data, size_t size, char *text, size_t text_size)
{
    CHECK(sodium_bin2base64(text, text_size, data, size,
                            sodium_base64_VARIANT_URLSAFE_NO_PADDING) != NULL);
}

/* One JWK with the secret, and optionally a name. */
static struct stele_jwt_keys *secret_keys(const char *kid)
{
    char k[64];
    char json[256];
    testalloc_init(&memory, 1);
    base64url(SECRET, strlen(SECRET), k, sizeof k);
    (void)snprintf(json, sizeof json, "{\"kty\":\"oct\",\"k\":\"%s\"%s%s%s}", k,
                   kid != NULL ? ",\"kid\":\"" : "", kid != NULL ? kid : "",
                   kid != NULL ? "\"" : "");
    return keys_of(json);
}

/* header.payload, encoded; returns its size. */
static size_t join(const char *header, const char *payload, char *token, size_t token_size)
{
    base64url(header, strlen(header), token, token_size);
    const size_t at = strlen(token);
    token[at] = '.';
    base64url(payload, strlen(payload), token + at + 1, token_size - at - 1);
    return strlen(token);
}

static const char *sign_hs(const void *secret, size_t secret_size, const char *header,
                           const char *payload)
{
    static char token[16384];
    uint8_t mac[32];
    unsigned mac_size = 0;
    const size_t size = join(header, payload, token, sizeof token);
    CHECK(HMAC(EVP_sha256(), secret, (int)secret_size, (const unsigned char *)token, size, mac,
               &mac_size) != NULL);
    token[size] = '.';
    base64url(mac, sizeof mac, token + size + 1, sizeof token - size - 1);
    return token;
}

static const char *hs(const char *payload)
{
    return sign_hs(SECRET, strlen(SECRET), "{\"alg\":\"HS256\"}", payload);
}

static const char *sign_with(EVP_PKEY *key, bool is_ec, const char *header, const char *payload)
{
    static char token[16384];
    uint8_t signature[1024];
    size_t signature_size = sizeof signature;
    const size_t size = join(header, payload, token, sizeof token);
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    CHECK_EQ(EVP_DigestSignInit(context, NULL, EVP_sha256(), NULL, key), 1);
    CHECK_EQ(
        EVP_DigestSign(context, signature, &signature_size, (const unsigned char *)token, size), 1);
    EVP_MD_CTX_free(context);
    if (is_ec) {
        const unsigned char *at = signature;
        ECDSA_SIG *pair = d2i_ECDSA_SIG(NULL, &at, (long)signature_size);
        uint8_t raw[64];
        CHECK_EQ(BN_bn2binpad(ECDSA_SIG_get0_r(pair), raw, 32), 32);
        CHECK_EQ(BN_bn2binpad(ECDSA_SIG_get0_s(pair), raw + 32, 32), 32);
        ECDSA_SIG_free(pair);
        memcpy(signature, raw, sizeof raw);
        signature_size = sizeof raw;
    }
    token[size] = '.';
    base64url(signature, signature_size, token + size + 1, sizeof token - size - 1);
    return token;
}

static const char *pem_of(EVP_PKEY *key)
{
    static char pem[4096];
    BIO *bio = BIO_new(BIO_s_mem());
    CHECK_EQ(PEM_write_bio_PUBKEY(bio, key), 1);
    const int size = BIO_read(bio, pem, sizeof pem - 1);
    CHECK(size > 0);
    pem[size] = '\0';
    BIO_free(bio);
    return pem;
}

/* NULL: accepted; otherwise why not. */
static const char *why_not(const struct stele_jwt_keys *keys, const struct stele_jwt_rules *rules,
                           const char *token, size_t size, struct stele_jwt_claims *out_claims)
{
    const char *why = NULL;
    struct stele_jwt_claims claims;
    const int outcome =
        stele_jwt_verify(keys, rules, (struct stele_text){token, size}, &claims, &why);
    CHECK(outcome == STELE_OK || outcome == STELE_E_PERMISSION);
    CHECK_EQ(outcome == STELE_OK, why == NULL);
    if (outcome == STELE_OK && out_claims != NULL) {
        *out_claims = claims;
    }
    return why;
}

#define CHECK_ACCEPTED(keys, rules, token)                                                         \
    CHECK_TEXT_EQ(accepted_or_why(why_not(keys, rules, token, strlen(token), NULL)), "accepted")
#define CHECK_REFUSED(keys, rules, token, part)                                                    \
    CHECK_TEXT_HAS(accepted_or_why(why_not(keys, rules, token, strlen(token), NULL)), part)

static const char *accepted_or_why(const char *why)
{
    return why == NULL ? "accepted" : why;
}

/* ---- Examples of RFC 7515, appendix A ---- */

#define RFC_PAYLOAD                                                                                \
    "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnV"  \
    "lfQ"

/* They have no subject: that is what is found wrong once the signature has been found right. */
static void check_example(const char *keys_text, const char *token)
{
    const struct stele_jwt_rules rules = {.now_s = 1300819370, .issuer = "joe", .roles = "roles"};
    char damaged[2048];
    testalloc_init(&memory, 1);
    struct stele_jwt_keys *keys = keys_of(keys_text);
    CHECK_REFUSED(keys, &rules, token, "subject");
    (void)snprintf(damaged, sizeof damaged, "%s", token);
    char *payload = strchr(damaged, '.') + 1;
    payload[3] = payload[3] == 'p' ? 'q' : 'p';
    CHECK_REFUSED(keys, &rules, damaged, "signature is wrong");
    stele_jwt_keys_destroy(keys, &memory.base);
    CHECK_EQ(memory.bytes, 0);
}

TEST(the_hmac_example_of_the_rfc_verifies)
{
    check_example(
        "{\"kty\":\"oct\",\"k\":\"AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aK"
        "tMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow\"}",
        "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9." RFC_PAYLOAD
        ".dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk");
}

TEST(the_elliptic_example_of_the_rfc_verifies)
{
    check_example(
        "{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvR"
        "VEU\",\"y\":\"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0\"}",
        "eyJhbGciOiJFUzI1NiJ9." RFC_PAYLOAD
        ".DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg"
        "6NU1Q");
}

/* ---- Claims ---- */

TEST(claims_come_out_as_they_were_signed)
{
    struct stele_jwt_keys *keys = secret_keys(NULL);
    struct stele_jwt_claims claims;
    const char *token = hs("{\"sub\":\"ada\",\"exp\":1800000100,\"roles\":[\"$ops\",7,\"b\"]}");
    CHECK(why_not(keys, &plain_rules, token, strlen(token), &claims) == NULL);
    CHECK_TEXT_EQ(claims.subject, "ada");
    CHECK_EQ(claims.roles_count, 2);
    CHECK_TEXT_EQ(claims.roles[0], "$ops");
    CHECK_TEXT_EQ(claims.roles[1], "b");
    CHECK_EQ(claims.expires_s, 1800000100 + STELE_JWT_LEEWAY_S);
    token = hs("{\"sub\":\"ada\",\"exp\":1800000100.5,\"roles\":\"a  b $ops\"}");
    CHECK(why_not(keys, &plain_rules, token, strlen(token), &claims) == NULL);
    CHECK_EQ(claims.roles_count, 3);
    CHECK_TEXT_EQ(claims.roles[2], "$ops");
    const struct stele_jwt_rules groups = {.now_s = NOW, .roles = "groups"};
    token = hs("{\"sub\":\"ada\",\"exp\":1800000100,\"roles\":\"$admins\",\"groups\":[\"g\"]}");
    CHECK(why_not(keys, &groups, token, strlen(token), &claims) == NULL);
    CHECK_EQ(claims.roles_count, 1);
    CHECK_TEXT_EQ(claims.roles[0], "g");
    stele_jwt_keys_destroy(keys, &memory.base);
}

TEST(times_hold_within_the_leeway_and_not_beyond)
{
    struct stele_jwt_keys *keys = secret_keys(NULL);
    CHECK_ACCEPTED(keys, &plain_rules, hs("{\"sub\":\"a\",\"exp\":1799999971}"));
    CHECK_REFUSED(keys, &plain_rules, hs("{\"sub\":\"a\",\"exp\":1799999970}"), "expired");
    CHECK_REFUSED(keys, &plain_rules, hs("{\"sub\":\"a\"}"), "no time of expiry");
    CHECK_REFUSED(keys, &plain_rules, hs("{\"sub\":\"a\",\"exp\":\"1900000000\"}"), "no time");
    CHECK_REFUSED(keys, &plain_rules, hs("{\"sub\":\"a\",\"exp\":-1e300}"), "expired");
    CHECK_ACCEPTED(keys, &plain_rules, hs("{\"sub\":\"a\",\"exp\":1e300}"));
    CHECK_ACCEPTED(keys, &plain_rules, hs("{\"sub\":\"a\",\"exp\":1900000000,\"nbf\":1800000030}"));
    CHECK_REFUSED(keys, &plain_rules, hs("{\"sub\":\"a\",\"exp\":1900000000,\"nbf\":1800000031}"),
                  "not valid yet");
    CHECK_REFUSED(keys, &plain_rules, hs("{\"sub\":\"a\",\"exp\":1900000000,\"nbf\":\"x\"}"),
                  "no time");
    stele_jwt_keys_destroy(keys, &memory.base);
}

TEST(audience_and_issuer_have_to_be_the_configured_ones)
{
    struct stele_jwt_keys *keys = secret_keys(NULL);
    const struct stele_jwt_rules rules = {
        .now_s = NOW, .roles = "roles", .audience = "stele", .issuer = "https://id"};
#define REST "\"sub\":\"a\",\"exp\":1900000000"
    CHECK_ACCEPTED(keys, &rules, hs("{" REST ",\"aud\":\"stele\",\"iss\":\"https://id\"}"));
    CHECK_ACCEPTED(keys, &rules, hs("{" REST ",\"aud\":[\"x\",\"stele\"],\"iss\":\"https://id\"}"));
    CHECK_REFUSED(keys, &rules, hs("{" REST ",\"aud\":\"stele2\",\"iss\":\"https://id\"}"), "aud");
    CHECK_REFUSED(keys, &rules, hs("{" REST ",\"aud\":[],\"iss\":\"https://id\"}"), "audience");
    CHECK_REFUSED(keys, &rules, hs("{" REST ",\"iss\":\"https://id\"}"), "audience");
    CHECK_REFUSED(keys, &rules, hs("{" REST ",\"aud\":\"stele\",\"iss\":\"x\"}"), "issuer");
    CHECK_REFUSED(keys, &rules, hs("{" REST ",\"aud\":\"stele\"}"), "issuer");
    stele_jwt_keys_destroy(keys, &memory.base);
}

TEST(subjects_that_could_pass_for_a_group_are_refused)
{
    static const char *const bad[] = {
        "{\"sub\":\"$admins\",\"exp\":1900000000}", "{\"sub\":\"\",\"exp\":1900000000}",
        "{\"sub\":7,\"exp\":1900000000}",           "{\"exp\":1900000000}",
        "{\"sub\":\"a:b\",\"exp\":1900000000}",
    };
    struct stele_jwt_keys *keys = secret_keys(NULL);
    for (size_t i = 0; i < STELE_COUNT_OF(bad); i++) {
        CHECK_REFUSED(keys, &plain_rules, hs(bad[i]), "subject");
    }
    stele_jwt_keys_destroy(keys, &memory.base);
}

/* ---- Attacks ---- */

#define GOOD "{\"sub\":\"ada\",\"exp\":1900000000}"

TEST(no_algorithm_but_the_keys_own_is_accepted)
{
    static const char *const headers[] = {
        "{\"alg\":\"none\"}",
        "{\"alg\":\"None\"}",
        "{\"alg\":\"NONE\"}",
        "{\"alg\":\"\"}",
        "{}",
        "{\"alg\":null}",
        "{\"alg\":256}",
        "{\"alg\":\"HS384\"}",
        "{\"alg\":\"RS256\"}",
        "{\"alg\":\"ES256\"}",
        "{\"alg\":\"PS256\"}",
        "{\"alg\":\"hs256\"}",
    };
    struct stele_jwt_keys *keys = secret_keys(NULL);
    for (size_t i = 0; i < STELE_COUNT_OF(headers); i++) {
        char unsigned_token[512];
        CHECK(why_not(keys, &plain_rules, sign_hs(SECRET, 32, headers[i], GOOD),
                      strlen(sign_hs(SECRET, 32, headers[i], GOOD)), NULL) != NULL);
        const size_t size = join(headers[i], GOOD, unsigned_token, sizeof unsigned_token);
        (void)snprintf(unsigned_token + size, sizeof unsigned_token - size, ".");
        CHECK(why_not(keys, &plain_rules, unsigned_token, size + 1, NULL) != NULL);
        CHECK(why_not(keys, &plain_rules, unsigned_token, size, NULL) != NULL);
    }
    stele_jwt_keys_destroy(keys, &memory.base);
}

TEST(headers_that_ask_for_more_are_refused)
{
    struct stele_jwt_keys *keys = secret_keys("one");
    CHECK_ACCEPTED(keys, &plain_rules, sign_hs(SECRET, 32, "{\"alg\":\"HS256\"}", GOOD));
    CHECK_ACCEPTED(keys, &plain_rules,
                   sign_hs(SECRET, 32, "{\"alg\":\"HS256\",\"kid\":\"one\"}", GOOD));
    CHECK_REFUSED(keys, &plain_rules,
                  sign_hs(SECRET, 32, "{\"alg\":\"HS256\",\"kid\":\"two\"}", GOOD), "no key fits");
    CHECK_REFUSED(keys, &plain_rules, sign_hs(SECRET, 32, "{\"alg\":\"HS256\",\"kid\":1}", GOOD),
                  "name");
    CHECK_REFUSED(keys, &plain_rules,
                  sign_hs(SECRET, 32, "{\"alg\":\"HS256\",\"crit\":[\"x\"]}", GOOD), "critical");
    CHECK_REFUSED(keys, &plain_rules,
                  sign_hs(SECRET, 32, "{\"alg\":\"HS256\",\"alg\":\"HS256\"}", GOOD), "header");
    CHECK_REFUSED(keys, &plain_rules,
                  sign_hs(SECRET, 32, "{\"alg\":\"HS256\"}",
                          "{\"sub\":\"a\",\"sub\":\"admin\",\"exp\":1900000000}"),
                  "claims are malformed");
    stele_jwt_keys_destroy(keys, &memory.base);
}

TEST(a_public_key_is_no_secret_to_sign_with)
{
    testalloc_init(&memory, 1);
    EVP_PKEY *rsa = EVP_RSA_gen(2048);
    const char *const pem = pem_of(rsa);
    struct stele_jwt_keys *keys = keys_of(pem);
    CHECK_ACCEPTED(keys, &plain_rules, sign_with(rsa, false, "{\"alg\":\"RS256\"}", GOOD));
    CHECK_REFUSED(keys, &plain_rules, sign_hs(pem, strlen(pem), "{\"alg\":\"HS256\"}", GOOD),
                  "no key fits");
    CHECK_REFUSED(keys, &plain_rules, sign_hs(pem, strlen(pem), "{\"alg\":\"RS256\"}", GOOD),
                  "signature");
    EVP_PKEY *other = EVP_RSA_gen(2048);
    CHECK_REFUSED(keys, &plain_rules, sign_with(other, false, "{\"alg\":\"RS256\"}", GOOD),
                  "signature is wrong");
    EVP_PKEY_free(other);
    stele_jwt_keys_destroy(keys, &memory.base);
    EVP_PKEY_free(rsa);
}

TEST(elliptic_signatures_are_of_the_raw_form_and_not_zero)
{
    testalloc_init(&memory, 1);
    EVP_PKEY *ec = EVP_EC_gen("P-256");
    struct stele_jwt_keys *keys = keys_of(pem_of(ec));
    CHECK_ACCEPTED(keys, &plain_rules, sign_with(ec, true, "{\"alg\":\"ES256\"}", GOOD));
    CHECK_REFUSED(keys, &plain_rules, sign_with(ec, false, "{\"alg\":\"ES256\"}", GOOD),
                  "signature"); /* ASN.1 */
    /* CVE-2022-21449: r and s of zero verified everything in Java. */
    char token[512];
    const uint8_t zeros[64] = {0};
    const size_t size = join("{\"alg\":\"ES256\"}", GOOD, token, sizeof token);
    token[size] = '.';
    base64url(zeros, sizeof zeros, token + size + 1, sizeof token - size - 1);
    CHECK_REFUSED(keys, &plain_rules, token, "signature is wrong");
    stele_jwt_keys_destroy(keys, &memory.base);
    EVP_PKEY_free(ec);
}

TEST(every_changed_bit_and_every_other_length_is_refused)
{
    struct stele_jwt_keys *keys = secret_keys(NULL);
    char token[512];
    (void)snprintf(token, sizeof token, "%s", hs(GOOD));
    const size_t size = strlen(token);
    CHECK(why_not(keys, &plain_rules, token, size, NULL) == NULL);
    for (size_t i = 0; i < size; i++) {
        for (int bit = 0; bit < 8; bit++) {
            token[i] = (char)(token[i] ^ (1 << bit));
            CHECK(why_not(keys, &plain_rules, token, size, NULL) != NULL);
            token[i] = (char)(token[i] ^ (1 << bit));
        }
        CHECK(why_not(keys, &plain_rules, token, i, NULL) != NULL);
    }
    static const char *const tails[] = {"=", ".", ".x", " ", "A"};
    for (size_t i = 0; i < STELE_COUNT_OF(tails); i++) {
        (void)snprintf(token + size, sizeof token - size, "%s", tails[i]);
        CHECK(why_not(keys, &plain_rules, token, size + strlen(tails[i]), NULL) != NULL);
    }
    stele_jwt_keys_destroy(keys, &memory.base);
}

TEST(tokens_without_keys_and_huge_ones_are_refused)
{
    static char huge[STELE_JWT_SIZE_MAX + 2];
    memset(huge, 'A', sizeof huge - 1);
    struct stele_jwt_keys *keys = secret_keys(NULL);
    CHECK_REFUSED(NULL, &plain_rules, hs(GOOD), "no keys");
    CHECK_REFUSED(keys, &plain_rules, huge, "longer");
    stele_jwt_keys_destroy(keys, &memory.base);
}

/* ---- Keys ---- */

TEST(keys_that_are_too_weak_or_none_are_refused_without_being_shown)
{
    static const char *const bad[] = {
        "",
        "{",
        "{}",
        "{\"keys\":[]}",
        "{\"keys\":{}}",
        "{\"keys\":[7]}",
        "{\"kty\":\"oct\"}",
        "{\"kty\":\"oct\",\"k\":\"c2hvcnQ\"}",
        "{\"kty\":\"oct\",\"k\":\"not base64\"}",
        "{\"kty\":\"oct\",\"alg\":\"HS512\",\"k\":\"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\"}",
        "{\"kty\":\"RSA\",\"n\":\"AQAB\",\"e\":\"AQAB\"}",
        "{\"kty\":\"RSA\"}",
        "{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"AA\",\"y\":\"AA\"}",
        "{\"kty\":\"EC\",\"crv\":\"P-384\",\"x\":\"AA\",\"y\":\"AA\"}",
        ("{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU\","
         "\"y\":\"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU\"}"), /* Not on the curve. */
        "{\"kty\":\"OKP\"}",
        "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n",
        "-----BEGIN PRIVATE KEY-----\nc2VjcmV0\n-----END PRIVATE KEY-----\n",
        "no key at all",
    };
    for (size_t i = 0; i < STELE_COUNT_OF(bad); i++) {
        struct stele_jwt_keys *keys = NULL;
        struct stele_error err = {0};
        testalloc_init(&memory, 1);
        CHECK_OUTCOME(stele_jwt_keys_create(stele_bytes_of_text(bad[i]), &memory.base, &keys, &err),
                      STELE_E_INVALID, err);
        CHECK(err.message[0] != '\0');
        CHECK(strstr(err.message, "c2") == NULL);
        CHECK_EQ(memory.bytes, 0);
    }
    EVP_PKEY *weak = EVP_RSA_gen(1024);
    struct stele_jwt_keys *keys = NULL;
    struct stele_error err = {0};
    CHECK_EQ(stele_jwt_keys_create(stele_bytes_of_text(pem_of(weak)), &memory.base, &keys, &err),
             STELE_E_INVALID);
    CHECK_TEXT_HAS(err.message, "2048");
    EVP_PKEY_free(weak);
}

TEST(a_set_of_keys_is_searched_by_name)
{
    testalloc_init(&memory, 1);
    struct stele_jwt_keys *keys = keys_of(
        "{\"keys\":["
        "{\"kty\":\"oct\",\"kid\":\"old\",\"k\":\"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\"},"
        "{\"kty\":\"oct\",\"kid\":\"new\",\"k\":\"MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY\"},"
        "{\"kty\":\"RSA\",\"use\":\"enc\"}]}");
    CHECK_EQ(stele_jwt_keys_count(keys), 2);
    CHECK_ACCEPTED(keys, &plain_rules,
                   sign_hs(SECRET, 32, "{\"alg\":\"HS256\",\"kid\":\"new\"}", GOOD));
    CHECK_REFUSED(keys, &plain_rules,
                  sign_hs(SECRET, 32, "{\"alg\":\"HS256\",\"kid\":\"old\"}", GOOD),
                  "signature is wrong");
    stele_jwt_keys_destroy(keys, &memory.base);
}
