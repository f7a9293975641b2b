/* Plain sockets and TLS alike are OpenSSL's BIOs here: blocking, with timeouts, one connection a question.
 * What comes back is small and read to its end. */
#include "cli/ask.h"

#include "base/text.h"
#include "cli/cli.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>
#include <sys/socket.h>
#include <sys/time.h>

#define CONNECT_S 5
#define ANSWER_S 20
#define ANSWER_SIZE_MAX ((size_t)4 * 1024 * 1024)

int stele_cli_ask_init(struct stele_cli_ask *ask, const struct stele_cli_command *command)
{
    struct stele_error err = {.outcome = STELE_OK};
    const char *const path = stele_cli_store_path();
    if (!stele_remote_is_address(path)) {
        return stele_cli_usage_error(
            command, "a running server of the cluster is asked: --store "
                     "stele://admin:PASSWORD@HOST:2113, or the same in STELE_STORE");
    }
    if (stele_remote_parse(path, &ask->address, &err) != STELE_OK) {
        return stele_cli_usage_error(command, "%s", err.message);
    }
    return STELE_CLI_GO_ON;
}

/* ---- Connections ---- */

static int fail_tls(struct stele_error *err, const char *what)
{
    char words[160] = "";
    ERR_error_string_n(ERR_get_error(), words, sizeof words);
    return stele_fail(err, STELE_E_IO, 0, "%s: %s", what, words);
}

static int make_trust(const struct far_address *address, SSL_CTX **out_trust,
                      struct stele_error *err)
{
    SSL_CTX *const trust = SSL_CTX_new(TLS_client_method());
    if (trust == NULL) {
        return fail_tls(err, "TLS");
    }
    bool good = SSL_CTX_set_min_proto_version(trust, TLS1_2_VERSION) == 1;
    if (address->verify) {
        SSL_CTX_set_verify(trust, SSL_VERIFY_PEER, NULL);
        good = good && (address->ca_file[0] == '\0'
                            ? SSL_CTX_set_default_verify_paths(trust)
                            : SSL_CTX_load_verify_locations(trust, address->ca_file, NULL)) == 1;
    }
    if (address->cert_file[0] != '\0') {
        good = good && SSL_CTX_use_certificate_chain_file(trust, address->cert_file) == 1 &&
               SSL_CTX_use_PrivateKey_file(trust, address->key_file, SSL_FILETYPE_PEM) == 1;
    }
    if (!good) {
        SSL_CTX_free(trust);
        return fail_tls(err, "the files for TLS");
    }
    *out_trust = trust;
    return STELE_OK;
}

/* From now on reading and writing wait, but not for ever. */
static bool make_patient(BIO *wire)
{
    const struct timeval limit = {.tv_sec = ANSWER_S};
    int fd = -1;
    if (BIO_get_fd(wire, &fd) < 0) {
        return false;
    }
    const int flags = fcntl(fd, F_GETFL);
    return flags >= 0 && fcntl(fd, F_SETFL, flags & ~O_NONBLOCK) == 0 &&
           setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit) == 0 &&
           setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit) == 0;
}

static int connect_wire(const struct far_text *host, BIO **out_wire, struct stele_error *err)
{
    char port[8];
    char name[sizeof host->host + 2];
    const bool is_number = strchr(host->host, ':') != NULL;
    (void)snprintf(port, sizeof port, "%u", host->port);
    (void)snprintf(name, sizeof name, is_number ? "[%s]" : "%s", host->host);
    BIO *const wire = BIO_new(BIO_s_connect());
    if (wire == NULL || BIO_set_conn_hostname(wire, name) != 1 ||
        BIO_set_conn_port(wire, port) != 1 || BIO_do_connect_retry(wire, CONNECT_S, 0) != 1 ||
        !make_patient(wire)) {
        const int os_errno = errno;
        BIO_free_all(wire);
        ERR_clear_error();
        return stele_fail(err, STELE_E_IO, os_errno, "%s port %s cannot be reached", name, port);
    }
    *out_wire = wire;
    return STELE_OK;
}

/* Takes wire over. */
static int add_tls(const struct far_address *address, const char *host, BIO *wire,
                   BIO **out_connection, struct stele_error *err)
{
    SSL_CTX *trust = NULL;
    SSL *tls = NULL;
    char name[sizeof address->hosts[0].host]; /* OpenSSL's macro wants to be able to write to it. */
    (void)snprintf(name, sizeof name, "%s", host);
    const int outcome = make_trust(address, &trust, err);
    if (outcome != STELE_OK) {
        BIO_free_all(wire);
        return outcome;
    }
    BIO *const layer = BIO_new_ssl(trust, 1);
    SSL_CTX_free(trust); /* The layer has its own share. */
    if (layer == NULL || BIO_get_ssl(layer, &tls) != 1) {
        BIO_free_all(wire);
        BIO_free_all(layer);
        return fail_tls(err, "TLS");
    }
    BIO *const connection = BIO_push(layer, wire);
    if (SSL_set1_host(tls, host) != 1 || SSL_set_tlsext_host_name(tls, name) != 1 ||
        BIO_do_handshake(connection) != 1) {
        const long verdict = SSL_get_verify_result(tls);
        const int failed =
            verdict == X509_V_OK
                ? fail_tls(err, host)
                : stele_fail(err, STELE_E_IO, 0, "%s: its certificate is not to be trusted: %s",
                             host, X509_verify_cert_error_string(verdict));
        BIO_free_all(connection);
        ERR_clear_error();
        return failed;
    }
    *out_connection = connection;
    return STELE_OK;
}

static int open_connection(const struct far_address *address, uint32_t host, BIO **out_connection,
                           struct stele_error *err)
{
    BIO *wire = NULL;
    const int outcome = connect_wire(&address->hosts[host], &wire, err);
    if (outcome != STELE_OK || !address->tls) {
        *out_connection = wire;
        return outcome;
    }
    return add_tls(address, address->hosts[host].host, wire, out_connection, err);
}

/* ---- Questions ---- */

static char *print(const char *format, ...) __attribute__((format(printf, 1, 2)));
static char *print(const char *format, ...)
{
    va_list args;
    char *text = NULL;
    va_start(args, format);
    const int size = vasprintf(&text, format, args);
    va_end(args);
    return size < 0 ? NULL : text;
}

/* "Basic …", "Bearer …" with the line's end, or "". */
static char *make_authorization(const struct far_address *address)
{
    if (address->token[0] != '\0') {
        return print("Authorization: Bearer %s\r\n", address->token);
    }
    if (address->user[0] == '\0') {
        return print("%s", "");
    }
    char plain[sizeof address->user + sizeof address->password + 1];
    const int size = snprintf(plain, sizeof plain, "%s:%s", address->user, address->password);
    const struct stele_bytes bytes = {.data = (const uint8_t *)plain, .size = (size_t)size};
    const size_t encoded_size = stele_base64_size(bytes.size);
    char *const encoded = stele_cli_alloc(encoded_size);
    stele_base64_encode(bytes, encoded);
    char *const line = print("Authorization: Basic %.*s\r\n", (int)encoded_size, encoded);
    free(encoded);
    return line;
}

static char *make_question(const struct far_address *address, uint32_t host, const char *method,
                           const char *path, const char *body)
{
    char *const authorization = make_authorization(address);
    if (authorization == NULL) {
        return NULL;
    }
    char *const text = print(
        "%s %s HTTP/1.1\r\nHost: %s:%u\r\n%sAccept: application/json\r\n"
        "Content-Type: application/json\r\nContent-Length: %zu\r\nConnection: close\r\n\r\n%s",
        method, path, address->hosts[host].host, address->hosts[host].port, authorization,
        body == NULL ? (size_t)0 : strlen(body), body == NULL ? "" : body);
    free(authorization);
    return text;
}

static bool write_all(BIO *connection, const char *text)
{
    size_t left = strlen(text);
    while (left > 0) {
        const int written = BIO_write(connection, text, (int)left);
        if (written <= 0) {
            return false;
        }
        text += written;
        left -= (size_t)written;
    }
    return true;
}

/* The value of a header of an answer, or NULL. */
static const char *header(const char *head, const char *name)
{
    const size_t size = strlen(name);
    for (const char *line = strstr(head, "\r\n"); line != NULL; line = strstr(line + 2, "\r\n")) {
        if (strncasecmp(line + 2, name, size) == 0 && line[2 + size] == ':') {
            return line + 2 + size + 1 + strspn(line + 2 + size + 1, " ");
        }
    }
    return NULL;
}

/* Is the answer whole? *out_body: where its body begins; NULL: its head is not whole. */
static bool is_whole(char *answer, size_t size, char **out_body, size_t *out_body_size)
{
    char *const end = strstr(answer, "\r\n\r\n");
    *out_body = NULL;
    if (end == NULL) {
        return false;
    }
    end[2] = '\0'; /* Headers end here, for header(). */
    const char *const length = header(answer, "content-length");
    const size_t wanted = length == NULL ? 0 : (size_t)strtoull(length, NULL, 10);
    end[2] = '\r';
    *out_body = end + 4;
    *out_body_size = wanted;
    return length != NULL && size - (size_t)(end + 4 - answer) >= wanted;
}

/* Reads one answer; *out_answer ends with a zero and is the caller's. */
static bool read_answer(BIO *connection, char **out_answer, char **out_body, size_t *out_body_size)
{
    size_t size = 0;
    size_t room = 16384;
    char *answer = stele_cli_alloc(room + 1);
    bool whole = false;
    while (!whole && size < ANSWER_SIZE_MAX) {
        if (size == room) {
            room *= 2;
            answer = stele_cli_realloc(answer, room + 1);
        }
        const int got = BIO_read(connection, answer + size, (int)(room - size));
        if (got <= 0) {
            break;
        }
        size += (size_t)got;
        answer[size] = '\0';
        whole = is_whole(answer, size, out_body, out_body_size);
    }
    if (!whole) {
        free(answer);
        return false;
    }
    *out_answer = answer;
    return true;
}

static int understand(const char *answer, const char *body, size_t size, int *out_status,
                      json_t **out_json, struct stele_error *err)
{
    static const char version[] = "HTTP/1.1 ";
    json_error_t error;
    if (strncmp(answer, version, sizeof version - 1) != 0) {
        return stele_fail(err, STELE_E_IO, 0, "what answered is no HTTP server");
    }
    const int status = (int)strtol(answer + sizeof version - 1, NULL, 10);
    json_t *const json = json_loadb(body, size, 0, &error);
    if (json == NULL && status == 200) {
        return stele_fail(err, STELE_E_IO, 0, "what answered is no server of Stele");
    }
    *out_status = status;
    *out_json = json == NULL ? json_object() : json;
    return STELE_OK;
}

int stele_cli_ask(struct stele_cli_ask *ask, const char *method, const char *path, const char *body,
                  int *out_status, json_t **out_json, struct stele_error *err)
{
    int outcome = STELE_E_IO;
    BIO *connection = NULL;
    uint32_t host = 0;
    while (host < ask->address.hosts_count) {
        outcome = open_connection(&ask->address, host, &connection, err);
        if (outcome == STELE_OK) {
            break;
        }
        host++;
    }
    if (outcome != STELE_OK) {
        return outcome;
    }
    char *answer = NULL;
    char *answer_body = NULL;
    size_t size = 0;
    char *const question = make_question(&ask->address, host, method, path, body);
    if (question == NULL) {
        outcome = stele_fail(err, STELE_E_NO_MEMORY, 0, "no memory");
    } else if (!write_all(connection, question) ||
               !read_answer(connection, &answer, &answer_body, &size)) {
        const bool changes = strcmp(method, "GET") != 0;
        outcome =
            stele_fail(err, changes ? STELE_E_UNKNOWN : STELE_E_IO, 0, "%s port %u gave no answer",
                       ask->address.hosts[host].host, ask->address.hosts[host].port);
    } else {
        outcome = understand(answer, answer_body, size, out_status, out_json, err);
    }
    free(question);
    free(answer);
    BIO_free_all(connection);
    return outcome;
}

int stele_cli_ask_refused(const char *what, int status, const json_t *json)
{
    static const struct {
        int status, code;
    } codes[] = {
        {400, STELE_CLI_INPUT},     {401, STELE_CLI_PERMISSION}, {403, STELE_CLI_PERMISSION},
        {404, STELE_CLI_NOT_FOUND}, {409, STELE_CLI_CONFLICT},   {412, STELE_CLI_CONFLICT},
        {413, STELE_CLI_LIMIT},     {504, STELE_CLI_UNKNOWN},    {507, STELE_CLI_NO_SPACE},
    };
    const char *const error = json_string_value(json_object_get(json, "error"));
    const char *const message = json_string_value(json_object_get(json, "message"));
    int code = STELE_CLI_FAILURE;
    for (size_t i = 0; i < STELE_COUNT_OF(codes); i++) {
        code = codes[i].status == status ? codes[i].code : code;
    }
    if (message == NULL) {
        return stele_cli_fail(code, error == NULL ? "refused" : error,
                              "%s: the server answers with status %d", what, status);
    }
    return stele_cli_fail(code, error == NULL ? "refused" : error, "%s: %s", what, message);
}
