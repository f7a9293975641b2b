/* Certificates for tests, made on the spot in a folder of their own. */
#ifndef STELE_TESTS_LIB_CERTIFICATES_H
#define STELE_TESTS_LIB_CERTIFICATES_H

#include "check.h"

#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <unistd.h>

static char folder[32];
static EVP_PKEY *ca_key;
static X509 *ca;

static const char *path(const char *name)
{
    static char paths[8][128];
    static int next;
    char *const to = paths[next++ % 8];
    (void)snprintf(to, sizeof paths[0], "%s/%s", folder, name);
    return to;
}

static void save(const char *name, EVP_PKEY *key, X509 *certificate)
{
    FILE *file = fopen(path(name), "w");
    CHECK(file != NULL);
    if (key != NULL) {
        CHECK_EQ(PEM_write_PrivateKey(file, key, NULL, NULL, 0, NULL, NULL), 1);
    }
    if (certificate != NULL) {
        CHECK_EQ(PEM_write_X509(file, certificate), 1);
    }
    CHECK_EQ(fclose(file), 0);
}

static X509 *make_certificate(EVP_PKEY *key, const char *cn, long serial, EVP_PKEY *signer,
                              X509 *issuer, const char *names)
{
    X509 *const certificate = X509_new();
    CHECK(certificate != NULL);
    (void)X509_set_version(certificate, 2);
    (void)ASN1_INTEGER_set(X509_get_serialNumber(certificate), serial);
    (void)X509_gmtime_adj(X509_getm_notBefore(certificate), -60);
    (void)X509_gmtime_adj(X509_getm_notAfter(certificate), 3600);
    (void)X509_set_pubkey(certificate, key);
    X509_NAME *const name = X509_get_subject_name(certificate);
    (void)X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, (const unsigned char *)cn, -1, -1,
                                     0);
    X509 *const by = issuer != NULL ? issuer : certificate;
    (void)X509_set_issuer_name(certificate, X509_get_subject_name(by));
    X509V3_CTX context;
    X509V3_set_ctx(&context, by, certificate, NULL, NULL, 0);
    X509_EXTENSION *const extension =
        issuer == NULL
            ? X509V3_EXT_conf_nid(NULL, &context, NID_basic_constraints, "critical,CA:TRUE")
            : X509V3_EXT_conf_nid(NULL, &context, NID_subject_alt_name, names);
    CHECK_EQ(X509_add_ext(certificate, extension, -1), 1);
    X509_EXTENSION_free(extension);
    CHECK(X509_sign(certificate, signer != NULL ? signer : key, EVP_sha256()) > 0);
    return certificate;
}

/* NAME.pem and NAME.key, of the authority that there is now; names: "DNS:a,IP:10.0.0.1". */
static void make_pair(const char *name, const char *cn, const char *names, long serial)
{
    char file[64];
    EVP_PKEY *const key = EVP_EC_gen("P-256");
    X509 *const certificate = make_certificate(key, cn, serial, ca_key, ca, names);
    (void)snprintf(file, sizeof file, "%s.key", name);
    save(file, key, NULL);
    (void)snprintf(file, sizeof file, "%s.pem", name);
    save(file, NULL, certificate);
    X509_free(certificate);
    EVP_PKEY_free(key);
}

/* The folder, and ca.pem in it. Also another authority, instead of the one before. */
static void make_authority(void)
{
    if (ca == NULL) {
        (void)snprintf(folder, sizeof folder, "/tmp/stele-tls-XXXXXX");
        CHECK(mkdtemp(folder) != NULL);
    }
    X509_free(ca);
    EVP_PKEY_free(ca_key);
    ca_key = EVP_EC_gen("P-256");
    ca = make_certificate(ca_key, "authority", 1, NULL, NULL, NULL);
    save("ca.pem", NULL, ca);
}

/* Everything else in the folder must be gone. */
static void drop_authority(void)
{
    (void)unlink(path("ca.pem"));
    CHECK_EQ(rmdir(folder), 0);
    X509_free(ca);
    EVP_PKEY_free(ca_key);
    ca = NULL;
    ca_key = NULL;
}

#endif
