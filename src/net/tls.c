#include "net/tls.h"

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#define PLAIN_MAX 16384
#define CN_SIZE 256
#define PATH_SIZE 4096

struct stele_tls_context {
    pthread_mutex_t mutex; /* Of ssl: reload() replaces it. */
    SSL_CTX *ssl;
    BIO_METHOD *method;
    bool is_client;
    bool verify;
    bool client_required;
    bool has_certificate;
    bool has_ca;
    char certificate[PATH_SIZE];
    char key[PATH_SIZE];
    char ca[PATH_SIZE];
};

struct stele_tls {
    struct stele_alloc *alloc;
    SSL *ssl;
    BIO_METHOD *method;       /* Its own: it may outlive the context. */
    struct stele_bytes input; /* What feed() was given and OpenSSL has not taken yet. */
    struct stele_buf waiting; /* What OpenSSL said outside of write(). */
    struct stele_buf *sink;   /* Where it writes to now. */
    bool ready;
    bool failed;
    bool ended;
    bool has_cn;
    char cn[CN_SIZE];
    char failure[160];
};

/* ---- Bytes between OpenSSL and us ------------------------------------------------------------- */

static int bio_read(BIO *bio, char *data, int size)
{
    struct stele_tls *const tls = BIO_get_data(bio);
    BIO_clear_retry_flags(bio);
    if (tls->input.size == 0 || size <= 0) {
        BIO_set_retry_read(bio);
        return -1;
    }
    const size_t count = tls->input.size < (size_t)size ? tls->input.size : (size_t)size;
    memcpy(data, tls->input.data, count);
    tls->input = stele_bytes_slice(tls->input, count, tls->input.size - count);
    return (int)count;
}

static int bio_write(BIO *bio, const char *data, int size)
{
    struct stele_tls *const tls = BIO_get_data(bio);
    BIO_clear_retry_flags(bio);
    const struct stele_bytes bytes = {.data = (const uint8_t *)data,
                                      .size = size > 0 ? (size_t)size : 0};
    return stele_buf_append(tls->sink, tls->alloc, bytes) == STELE_OK ? size : -1;
}

static long bio_ctrl(BIO *bio, int command, long number, void *pointer)
{
    (void)bio;
    (void)number;
    (void)pointer;
    return command == BIO_CTRL_FLUSH ? 1 : 0;
}

static BIO_METHOD *make_method(void)
{
    BIO_METHOD *const method = BIO_meth_new(BIO_TYPE_SOURCE_SINK | 120, "stele");
    if (method != NULL) {
        (void)BIO_meth_set_read(method, bio_read);
        (void)BIO_meth_set_write(method, bio_write);
        (void)BIO_meth_set_ctrl(method, bio_ctrl);
    }
    return method;
}

/* ---- Contexts --------------------------------------------------------------------------------- */

/* Why OpenSSL could not take a file of a certificate or a key, for people: its own "system lib" is a file
 * that cannot be read, its "PEM lib" one in which there is no such thing. */
static const char *last_error(char *text, size_t size)
{
    const unsigned long first = ERR_peek_error();
    const unsigned long code = ERR_peek_last_error();
    const char *reason = ERR_reason_error_string(code);
    char words[128];
    if (ERR_SYSTEM_ERROR(first)) {
        /* The GNU variant, which returns the words. */
        reason = strerror_r(ERR_GET_REASON(first), words, sizeof words);
    } else if (ERR_GET_REASON(code) == ERR_R_PEM_LIB) {
        reason = "nothing of the kind, in PEM and without a passphrase, is in it";
    } else if (ERR_GET_LIB(code) == ERR_LIB_X509 &&
               ERR_GET_REASON(code) == X509_R_KEY_VALUES_MISMATCH) {
        reason = "it is not that of the certificate";
    }
    (void)snprintf(text, size, "%s", reason != NULL ? reason : "unknown reason");
    ERR_clear_error();
    return text;
}

/* OpenSSL's own asks at the terminal, and a server would wait there. */
static int no_passphrase(char *buffer, int size, int for_writing, void *user)
{
    (void)buffer;
    (void)size;
    (void)for_writing;
    (void)user;
    return -1;
}

/* The client's wishes in their order; "h2" before "http/1.1" is ours. */
static int choose_protocol(SSL *ssl, const unsigned char **out, unsigned char *out_size,
                           const unsigned char *offered, unsigned int offered_size, void *user)
{
    (void)ssl;
    (void)user;
    static const unsigned char ours[] = "\x02h2\x08http/1.1";
    unsigned char *chosen = NULL;
    if (SSL_select_next_proto(&chosen, out_size, ours, sizeof ours - 1, offered, offered_size) !=
        OPENSSL_NPN_NEGOTIATED) {
        return SSL_TLSEXT_ERR_ALERT_FATAL; /* RFC 7301 section 3.2. */
    }
    *out = chosen;
    return SSL_TLSEXT_ERR_OK;
}

static bool set_common(SSL_CTX *ssl)
{
    static const char ciphers[] =
        "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES256-GCM-SHA384:"
        "ECDHE-RSA-AES256-GCM-SHA384:ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305";
    /* All three are strong; the first one is the fastest. */
    static const char suites[] =
        "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256";
    (void)SSL_CTX_set_options(ssl, SSL_OP_NO_COMPRESSION | SSL_OP_NO_RENEGOTIATION |
                                       SSL_OP_NO_TICKET | SSL_OP_CIPHER_SERVER_PREFERENCE |
                                       SSL_OP_PRIORITIZE_CHACHA | SSL_OP_IGNORE_UNEXPECTED_EOF);
    (void)SSL_CTX_set_mode(ssl, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ENABLE_PARTIAL_WRITE);
    (void)SSL_CTX_set_session_cache_mode(ssl, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_read_ahead(ssl, 1);
    SSL_CTX_set_default_passwd_cb(ssl, no_passphrase);
    char groups[] = "X25519:P-256:P-384"; /* OpenSSL's macro takes no constant. */
    return SSL_CTX_set_min_proto_version(ssl, TLS1_2_VERSION) == 1 &&
           SSL_CTX_set_num_tickets(ssl, 0) == 1 && SSL_CTX_set_ciphersuites(ssl, suites) == 1 &&
           SSL_CTX_set_cipher_list(ssl, ciphers) == 1 && SSL_CTX_set1_groups_list(ssl, groups) == 1;
}

static int set_certificate(const struct stele_tls_context *context, SSL_CTX *ssl,
                           struct stele_error *err)
{
    char why[128];
    if (SSL_CTX_use_certificate_chain_file(ssl, context->certificate) != 1) {
        return stele_fail(err, STELE_E_INVALID, 0, "TLS certificate %.200s: %s",
                          context->certificate, last_error(why, sizeof why));
    }
    if (SSL_CTX_use_PrivateKey_file(ssl, context->key, SSL_FILETYPE_PEM) != 1) {
        return stele_fail(err, STELE_E_INVALID, 0, "TLS key %.200s: %s", context->key,
                          last_error(why, sizeof why));
    }
    if (SSL_CTX_check_private_key(ssl) != 1) {
        return stele_fail(err, STELE_E_INVALID, 0, "TLS key %.200s is not that of %.200s",
                          context->key, context->certificate);
    }
    return STELE_OK;
}

static int set_trust(const struct stele_tls_context *context, SSL_CTX *ssl, struct stele_error *err)
{
    char why[128];
    if (context->has_ca && SSL_CTX_load_verify_locations(ssl, context->ca, NULL) != 1) {
        return stele_fail(err, STELE_E_INVALID, 0, "TLS authority %.200s: %s", context->ca,
                          last_error(why, sizeof why));
    }
    if (context->is_client) {
        if (!context->has_ca) {
            (void)SSL_CTX_set_default_verify_paths(ssl);
        }
        SSL_CTX_set_verify(ssl, context->verify ? SSL_VERIFY_PEER : SSL_VERIFY_NONE, NULL);
        (void)SSL_CTX_set_alpn_protos(ssl, (const unsigned char *)"\x02h2", 3);
        return STELE_OK;
    }
    SSL_CTX_set_alpn_select_cb(ssl, choose_protocol, NULL);
    if (context->has_ca) {
        SSL_CTX_set_client_CA_list(ssl, SSL_load_client_CA_file(context->ca));
        SSL_CTX_set_verify(
            ssl, SSL_VERIFY_PEER | (context->client_required ? SSL_VERIFY_FAIL_IF_NO_PEER_CERT : 0),
            NULL);
    }
    return STELE_OK;
}

static int load(const struct stele_tls_context *context, SSL_CTX **out_ssl, struct stele_error *err)
{
    ERR_clear_error();
    SSL_CTX *const ssl =
        SSL_CTX_new(context->is_client ? TLS_client_method() : TLS_server_method());
    int outcome = ssl != NULL && set_common(ssl)
                      ? STELE_OK
                      : stele_fail(err, STELE_E_NO_MEMORY, 0, "TLS: no memory");
    if (outcome == STELE_OK && context->has_certificate) {
        outcome = set_certificate(context, ssl, err);
    }
    if (outcome == STELE_OK) {
        outcome = set_trust(context, ssl, err);
    }
    if (outcome != STELE_OK) {
        SSL_CTX_free(ssl);
        ERR_clear_error();
        return outcome;
    }
    *out_ssl = ssl;
    return STELE_OK;
}

static bool keep_path(char to[PATH_SIZE], const char *path)
{
    return path != NULL && (size_t)snprintf(to, PATH_SIZE, "%s", path) < PATH_SIZE;
}

static int create(struct stele_tls_context *context, struct stele_tls_context **out_context,
                  struct stele_error *err)
{
    (void)pthread_mutex_init(&context->mutex, NULL);
    const int outcome = load(context, &context->ssl, err);
    if (outcome != STELE_OK) {
        stele_tls_context_destroy(context);
        return outcome;
    }
    *out_context = context;
    return STELE_OK;
}

int stele_tls_context_create(const struct stele_tls_files *files,
                             struct stele_tls_context **out_context, struct stele_error *err)
{
    struct stele_tls_context *const context = calloc(1, sizeof *context);
    if (context == NULL) {
        return stele_fail(err, STELE_E_NO_MEMORY, 0, "TLS: no memory");
    }
    if (!keep_path(context->certificate, files->certificate) ||
        !keep_path(context->key, files->key)) {
        free(context);
        return stele_fail(err, STELE_E_INVALID, 0, "TLS needs a certificate and its key");
    }
    context->has_certificate = true;
    context->has_ca = keep_path(context->ca, files->client_ca);
    context->client_required = files->client_required;
    return create(context, out_context, err);
}

int stele_tls_context_create_client(const char *ca, bool verify, const char *certificate,
                                    const char *key, struct stele_tls_context **out_context,
                                    struct stele_error *err)
{
    struct stele_tls_context *const context = calloc(1, sizeof *context);
    if (context == NULL) {
        return stele_fail(err, STELE_E_NO_MEMORY, 0, "TLS: no memory");
    }
    context->is_client = true;
    context->verify = verify;
    context->has_ca = keep_path(context->ca, ca);
    context->has_certificate =
        keep_path(context->certificate, certificate) && keep_path(context->key, key);
    return create(context, out_context, err);
}

int stele_tls_context_reload(struct stele_tls_context *context, struct stele_error *err)
{
    SSL_CTX *fresh = NULL;
    const int outcome = load(context, &fresh, err);
    if (outcome != STELE_OK) {
        return outcome;
    }
    (void)pthread_mutex_lock(&context->mutex);
    SSL_CTX *const old = context->ssl;
    context->ssl = fresh;
    (void)pthread_mutex_unlock(&context->mutex);
    SSL_CTX_free(old); /* Counted: machines hold it. */
    return STELE_OK;
}

int64_t stele_tls_context_expires(struct stele_tls_context *context)
{
    struct tm end = {.tm_year = 0};
    (void)pthread_mutex_lock(&context->mutex);
    const X509 *const certificate = SSL_CTX_get0_certificate(context->ssl);
    const bool known =
        certificate != NULL && ASN1_TIME_to_tm(X509_get0_notAfter(certificate), &end) == 1;
    (void)pthread_mutex_unlock(&context->mutex);
    return known ? (int64_t)timegm(&end) : INT64_MAX;
}

void stele_tls_context_destroy(struct stele_tls_context *context)
{
    if (context == NULL) {
        return;
    }
    SSL_CTX_free(context->ssl);
    (void)pthread_mutex_destroy(&context->mutex);
    free(context);
}

/* ---- Machines --------------------------------------------------------------------------------- */

static bool attach(struct stele_tls *tls, struct stele_tls_context *context, const char *host)
{
    (void)pthread_mutex_lock(&context->mutex);
    tls->ssl = SSL_new(context->ssl);
    (void)pthread_mutex_unlock(&context->mutex);
    tls->method = make_method();
    BIO *const bio = tls->method != NULL ? BIO_new(tls->method) : NULL;
    if (tls->ssl == NULL || bio == NULL) {
        BIO_free(bio);
        return false;
    }
    BIO_set_data(bio, tls);
    BIO_set_init(bio, 1);
    SSL_set_bio(tls->ssl, bio, bio);
    if (!context->is_client) {
        SSL_set_accept_state(tls->ssl);
        return true;
    }
    SSL_set_connect_state(tls->ssl);
    if (host == NULL) {
        return true;
    }
    if (X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(tls->ssl), host) == 1) {
        return true; /* An address has no SNI (RFC 6066, section 3). */
    }
    char name[TLSEXT_MAXLEN_host_name + 1]; /* OpenSSL's macro takes no constant. */
    (void)snprintf(name, sizeof name, "%s", host);
    return SSL_set_tlsext_host_name(tls->ssl, name) == 1 && SSL_set1_host(tls->ssl, host) == 1;
}

int stele_tls_create(struct stele_tls_context *context, const char *host, struct stele_alloc *alloc,
                     struct stele_tls **out_tls)
{
    struct stele_tls *const tls = stele_allocate_zeroed(alloc, sizeof *tls);
    if (tls == NULL) {
        return STELE_E_NO_MEMORY;
    }
    tls->alloc = alloc;
    tls->sink = &tls->waiting;
    if (!attach(tls, context, host)) {
        stele_tls_destroy(tls);
        return STELE_E_NO_MEMORY;
    }
    *out_tls = tls;
    return STELE_OK;
}

void stele_tls_destroy(struct stele_tls *tls)
{
    if (tls == NULL) {
        return;
    }
    SSL_free(tls->ssl);
    BIO_meth_free(tls->method);
    stele_buf_deinit(&tls->waiting, tls->alloc);
    stele_release(tls->alloc, tls, sizeof *tls);
}

static void note_peer(struct stele_tls *tls)
{
    X509 *const certificate = SSL_get1_peer_certificate(tls->ssl);
    if (certificate == NULL) {
        return;
    }
    if (SSL_get_verify_result(tls->ssl) == X509_V_OK) {
        const int size = X509_NAME_get_text_by_NID(X509_get_subject_name(certificate),
                                                   NID_commonName, tls->cn, CN_SIZE);
        /* Longer ones are cut, and a zero inside would hide the rest: both would be somebody
         * else. */
        tls->has_cn = size > 0 && size < CN_SIZE - 1 && strlen(tls->cn) == (size_t)size;
    }
    X509_free(certificate);
}

/* What a call of OpenSSL that did not succeed means. true: it wants more bytes, all is well. */
static bool wants_more(struct stele_tls *tls, int result)
{
    const int error = SSL_get_error(tls->ssl, result);
    if (error == SSL_ERROR_WANT_READ) {
        return true;
    }
    tls->failed = error != SSL_ERROR_ZERO_RETURN;
    tls->ended = true;
    if (tls->failed) {
        char why[96];
        const long verified = SSL_get_verify_result(tls->ssl);
        (void)last_error(why, sizeof why);
        (void)snprintf(tls->failure, sizeof tls->failure, "%s%s%s", why,
                       verified == X509_V_OK ? "" : ": ",
                       verified == X509_V_OK ? "" : X509_verify_cert_error_string(verified));
    }
    return false;
}

static bool shake_hands(struct stele_tls *tls)
{
    if (tls->ready) {
        return true;
    }
    const int result = SSL_do_handshake(tls->ssl);
    if (result != 1) {
        (void)wants_more(tls, result);
        return false;
    }
    tls->ready = true;
    note_peer(tls);
    return true;
}

bool stele_tls_start(struct stele_tls *tls)
{
    ERR_clear_error();
    (void)shake_hands(tls);
    return !tls->ended;
}

bool stele_tls_feed(struct stele_tls *tls, struct stele_bytes wire, stele_tls_on_plain on_plain,
                    void *user)
{
    STELE_UNINITIALIZED uint8_t plain[PLAIN_MAX];
    if (tls->ended) {
        return false;
    }
    ERR_clear_error();
    tls->input = wire;
    while (shake_hands(tls)) {
        const int size = SSL_read(tls->ssl, plain, sizeof plain);
        if (size <= 0) {
            (void)wants_more(tls, size);
            break;
        }
        on_plain(user, (struct stele_bytes){.data = plain, .size = (size_t)size});
    }
    /* OpenSSL stops only when it has taken everything, or for good. */
    STELE_ASSERT(tls->input.size == 0 || tls->ended);
    tls->input = (struct stele_bytes){.data = NULL, .size = 0};
    return !tls->ended;
}

bool stele_tls_write(struct stele_tls *tls, struct stele_bytes plain, struct stele_buf *out)
{
    STELE_ASSERT(tls->ready);
    if (tls->failed) {
        return false;
    }
    stele_tls_take(tls, out);
    ERR_clear_error();
    tls->sink = out;
    while (plain.size > 0) {
        const int wanted = plain.size > PLAIN_MAX ? PLAIN_MAX : (int)plain.size;
        const int size = SSL_write(tls->ssl, plain.data, wanted);
        if (size <= 0) {
            tls->failed = true;
            tls->ended = true;
            break;
        }
        plain = stele_bytes_slice(plain, (size_t)size, plain.size - (size_t)size);
    }
    tls->sink = &tls->waiting;
    return !tls->failed;
}

void stele_tls_take(struct stele_tls *tls, struct stele_buf *out)
{
    if (tls->waiting.size == 0) {
        return;
    }
    const struct stele_bytes bytes = {.data = tls->waiting.data, .size = tls->waiting.size};
    if (stele_buf_append(out, tls->alloc, bytes) != STELE_OK) {
        tls->failed = true;
        tls->ended = true;
    }
    stele_buf_deinit(&tls->waiting, tls->alloc); /* After the handshake it is hardly ever used. */
}

bool stele_tls_is_ready(const struct stele_tls *tls)
{
    return tls->ready;
}

bool stele_tls_speaks_h2(const struct stele_tls *tls)
{
    const unsigned char *protocol = NULL;
    unsigned size = 0;
    SSL_get0_alpn_selected(tls->ssl, &protocol, &size);
    return size == 2 && memcmp(protocol, "h2", 2) == 0;
}

bool stele_tls_has_output(const struct stele_tls *tls)
{
    return tls->waiting.size > 0;
}

void stele_tls_close(struct stele_tls *tls, struct stele_buf *out)
{
    stele_tls_take(tls, out);
    if (tls->ready && !tls->failed) {
        ERR_clear_error();
        tls->sink = out;
        (void)SSL_shutdown(tls->ssl);
        tls->sink = &tls->waiting;
    }
}

const char *stele_tls_peer_cn(const struct stele_tls *tls)
{
    return tls->has_cn ? tls->cn : NULL;
}

bool stele_tls_peer_is(const struct stele_tls *tls, const char *name)
{
    X509 *const certificate = SSL_get0_peer_certificate(tls->ssl);
    /* To OpenSSL, ".com" is every name that ends so. */
    if (!tls->ready || certificate == NULL || name[0] == '.' || name[0] == '\0' ||
        SSL_get_verify_result(tls->ssl) != X509_V_OK) {
        return false;
    }
    /* Servers hardly have the common name alone any more; nodes do. */
    const unsigned flags =
        X509_CHECK_FLAG_ALWAYS_CHECK_SUBJECT | X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS;
    return X509_check_ip_asc(certificate, name, 0) == 1 ||
           X509_check_host(certificate, name, 0, flags, NULL) == 1;
}

const char *stele_tls_failure(const struct stele_tls *tls)
{
    return tls->failure;
}
