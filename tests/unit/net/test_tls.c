/* TLS: what one side writes the other reads, however the bytes are cut; who is not who they claim to
 * be is refused; old protocols are refused; certificates change without a restart.
 *
 * Method: a client and a server in memory, with certificates made on the spot. */
#include "lib/certificates.h"
#include "lib/check.h"
#include "lib/testalloc.h"
#include "net/tls.h"

#include <openssl/ssl.h>

static struct testalloc alloc;
static void make_files(void)
{
    if (ca == NULL) {
        make_authority();
        make_pair("server", "localhost", "DNS:localhost", 2);
        make_pair("alice", "alice", "DNS:localhost", 3);
    }
}

/* ---- Two ends --------------------------------------------------------------------------------- */

struct end {
    struct stele_tls *tls;
    struct stele_buf plain; /* What it read. */
    bool open;
};

static struct stele_tls_context *server_context, *client_context;
static struct end server, client;

static void on_plain(void *user, struct stele_bytes plain)
{
    struct end *const end = user;
    CHECK_EQ(stele_buf_append(&end->plain, &alloc.base, plain), STELE_OK);
}

static void deliver(struct end *to, struct stele_buf *wire, size_t step)
{
    for (size_t at = 0; at < wire->size; at += step) {
        const size_t size = wire->size - at < step ? wire->size - at : step;
        /* A copy that is gone afterwards: the machine must keep what it still needs. */
        uint8_t *const copy = malloc(size);
        CHECK(copy != NULL);
        memcpy(copy, wire->data + at, size);
        to->open = stele_tls_feed(to->tls, (struct stele_bytes){.data = copy, .size = size},
                                  on_plain, to) &&
                   to->open;
        free(copy);
    }
    wire->size = 0;
}

static void to_and_fro(size_t step)
{
    struct stele_buf wire = {.data = NULL};
    for (int i = 0; i < 20; i++) {
        stele_tls_take(client.tls, &wire);
        deliver(&server, &wire, step);
        stele_tls_take(server.tls, &wire);
        deliver(&client, &wire, step);
    }
    stele_buf_deinit(&wire, &alloc.base);
}

static void open_ends(const struct stele_tls_files *files, const char *certificate, const char *key,
                      const char *host, size_t step)
{
    struct stele_error err = {0};
    make_files();
    testalloc_init(&alloc, 1);
    memset(&server, 0, sizeof server);
    memset(&client, 0, sizeof client);
    server.open = true;
    client.open = true;
    CHECK_OK(stele_tls_context_create(files, &server_context, &err), err);
    CHECK_OK(stele_tls_context_create_client(path("ca.pem"), true, certificate, key,
                                             &client_context, &err),
             err);
    CHECK_EQ(stele_tls_create(server_context, NULL, &alloc.base, &server.tls), STELE_OK);
    CHECK_EQ(stele_tls_create(client_context, host, &alloc.base, &client.tls), STELE_OK);
    CHECK(stele_tls_start(client.tls));
    to_and_fro(step);
}

static void close_ends(void)
{
    stele_tls_destroy(server.tls);
    stele_tls_destroy(client.tls);
    stele_buf_deinit(&server.plain, &alloc.base);
    stele_buf_deinit(&client.plain, &alloc.base);
    stele_tls_context_destroy(server_context);
    stele_tls_context_destroy(client_context);
    CHECK_EQ(alloc.bytes, 0);
}

static struct stele_tls_files usual(void)
{
    make_files();
    return (struct stele_tls_files){.certificate = path("server.pem"), .key = path("server.key")};
}

TEST(what_is_written_is_read_however_it_is_cut)
{
    static const size_t steps[] = {1, 7, 1000, 16384, 1 << 20};
    for (size_t s = 0; s < sizeof steps / sizeof steps[0]; s++) {
        const struct stele_tls_files files = usual();
        open_ends(&files, NULL, NULL, "localhost", steps[s]);
        CHECK(stele_tls_is_ready(server.tls));
        CHECK(stele_tls_is_ready(client.tls));
        CHECK(stele_tls_peer_cn(server.tls) == NULL);
        CHECK_TEXT_EQ(stele_tls_peer_cn(client.tls), "localhost");
        struct stele_buf wire = {.data = NULL};
        static uint8_t data[100000];
        for (size_t i = 0; i < sizeof data; i++) {
            data[i] = (uint8_t)(i * 13 + i / 777);
        }
        const struct stele_bytes plain = {.data = data, .size = sizeof data};
        CHECK(stele_tls_write(server.tls, plain, &wire));
        CHECK(wire.size > sizeof data);
        CHECK(wire.size < sizeof data + 1000);
        deliver(&client, &wire, steps[s]);
        CHECK_EQ(client.plain.size, sizeof data);
        CHECK_BYTES_EQ(client.plain.data, data, sizeof data);
        CHECK(stele_tls_write(client.tls, stele_bytes_of_text("and back"), &wire));
        deliver(&server, &wire, steps[s]);
        CHECK_EQ(server.plain.size, 8);
        stele_tls_close(server.tls, &wire);
        CHECK(wire.size > 0);
        CHECK(client.open);
        deliver(&client, &wire, steps[s]);
        CHECK(!client.open);
        stele_buf_deinit(&wire, &alloc.base);
        close_ends();
    }
}

TEST(a_client_certificate_names_its_owner)
{
    struct stele_tls_files files = usual();
    files.client_ca = path("ca.pem");
    files.client_required = true;
    open_ends(&files, path("alice.pem"), path("alice.key"), "localhost", 1000);
    CHECK(stele_tls_is_ready(server.tls));
    CHECK_TEXT_EQ(stele_tls_peer_cn(server.tls), "alice");
    close_ends();
    /* Without one, where it is required. */
    open_ends(&files, NULL, NULL, "localhost", 1000);
    CHECK(!stele_tls_is_ready(server.tls));
    CHECK(!server.open);
    CHECK_TEXT_HAS(stele_tls_failure(server.tls), "peer did not return a certificate");
    close_ends();
    files.client_required = false;
    open_ends(&files, NULL, NULL, "localhost", 1000);
    CHECK(stele_tls_is_ready(server.tls));
    CHECK(stele_tls_peer_cn(server.tls) == NULL);
    close_ends();
}

TEST(a_server_with_another_name_is_refused)
{
    const struct stele_tls_files files = usual();
    open_ends(&files, NULL, NULL, "example.org", 1000);
    CHECK(!client.open);
    CHECK(!stele_tls_is_ready(client.tls));
    CHECK_TEXT_HAS(stele_tls_failure(client.tls), "certificate verify failed");
    close_ends();
}

TEST(what_is_no_tls_is_refused)
{
    const struct stele_tls_files files = usual();
    open_ends(&files, NULL, NULL, "localhost", 1000);
    struct end other = {.open = true};
    CHECK_EQ(stele_tls_create(server_context, NULL, &alloc.base, &other.tls), STELE_OK);
    CHECK(!stele_tls_feed(other.tls, stele_bytes_of_text("GET / HTTP/1.1\r\nHost: a\r\n\r\n"),
                          on_plain, &other));
    CHECK_EQ(other.plain.size, 0);
    CHECK(!stele_tls_feed(other.tls, stele_bytes_of_text("more"), on_plain, &other));
    stele_tls_destroy(other.tls);
    close_ends();
}

TEST(damage_on_the_wire_ends_the_connection)
{
    const struct stele_tls_files files = usual();
    open_ends(&files, NULL, NULL, "localhost", 1000);
    struct stele_buf wire = {.data = NULL};
    CHECK(stele_tls_write(client.tls, stele_bytes_of_text("pay 10"), &wire));
    wire.data[wire.size - 3] ^= 1;
    deliver(&server, &wire, 1000);
    CHECK(!server.open);
    CHECK_EQ(server.plain.size, 0);
    stele_buf_deinit(&wire, &alloc.base);
    close_ends();
}

TEST(tls_1_1_and_weak_ciphers_are_refused)
{
    static const struct {
        int version;
        const char *ciphers;
        bool accepted;
    } offers[] = {{TLS1_VERSION, NULL, false},
                  {TLS1_1_VERSION, NULL, false},
                  {TLS1_2_VERSION, "AES128-GCM-SHA256", false},
                  {TLS1_2_VERSION, "ECDHE-ECDSA-AES128-SHA", false},
                  {TLS1_2_VERSION, "ECDHE-ECDSA-AES128-GCM-SHA256", true},
                  {TLS1_3_VERSION, NULL, true}};
    const struct stele_tls_files files = usual();
    for (size_t i = 0; i < sizeof offers / sizeof offers[0]; i++) {
        open_ends(&files, NULL, NULL, "localhost", 1000);
        struct end other = {.open = true};
        CHECK_EQ(stele_tls_create(server_context, NULL, &alloc.base, &other.tls), STELE_OK);
        SSL_CTX *const context = SSL_CTX_new(TLS_client_method());
        SSL_CTX_set_security_level(context, 0);
        (void)SSL_CTX_set_min_proto_version(context, offers[i].version);
        (void)SSL_CTX_set_max_proto_version(context, offers[i].version);
        CHECK(offers[i].ciphers == NULL ||
              SSL_CTX_set_cipher_list(context, offers[i].ciphers) == 1);
        SSL *const ssl = SSL_new(context);
        BIO *const in = BIO_new(BIO_s_mem());
        BIO *const out = BIO_new(BIO_s_mem());
        SSL_set_bio(ssl, in, out);
        SSL_set_connect_state(ssl);
        for (int round = 0; round < 10; round++) {
            (void)SSL_do_handshake(ssl);
            char *data = NULL;
            const long size = BIO_get_mem_data(out, &data);
            if (size > 0) {
                (void)stele_tls_feed(
                    other.tls,
                    (struct stele_bytes){.data = (const uint8_t *)data, .size = (size_t)size},
                    on_plain, &other);
                (void)BIO_reset(out);
            }
            struct stele_buf wire = {.data = NULL};
            stele_tls_take(other.tls, &wire);
            if (wire.size > 0) {
                CHECK_EQ(BIO_write(in, wire.data, (int)wire.size), (int)wire.size);
            }
            stele_buf_deinit(&wire, &alloc.base);
        }
        CHECK_EQ(stele_tls_is_ready(other.tls), offers[i].accepted);
        SSL_free(ssl);
        SSL_CTX_free(context);
        stele_tls_destroy(other.tls);
        close_ends();
    }
}

TEST(a_peer_is_who_its_certificate_says_and_nobody_else)
{
    static const struct {
        const char *cn, *names, *asked;
        bool is;
    } cases[] = {
        {"node-1", "DNS:localhost", "node-1", true},
        {"node-1", "DNS:localhost", "localhost", true},
        {"node-1", "DNS:localhost", "node-2", false},
        {"node-1", "DNS:localhost", "node-", false},
        {"node-1", "DNS:localhost", "", false},
        {"a.example.org", "DNS:localhost", ".example.org", false},
        {"x", "DNS:a.example.org,IP:10.0.0.1,IP:::1", "10.0.0.1", true},
        {"x", "DNS:a.example.org,IP:10.0.0.1,IP:::1", "::1", true},
        {"x", "DNS:a.example.org,IP:10.0.0.1,IP:::1", "10.0.0.2", false},
        {"x", "DNS:*.example.org", "a.example.org", true},
        {"x", "DNS:*.example.org", "example.org", false},
        {"x", "DNS:n*.example.org", "node.example.org", false},
    };
    struct stele_tls_files files;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        files = usual();
        files.client_ca = path("ca.pem");
        files.client_required = true;
        make_pair("moving", cases[i].cn, cases[i].names, 20);
        open_ends(&files, path("moving.pem"), path("moving.key"), "localhost", 1000);
        CHECK(stele_tls_is_ready(server.tls));
        CHECK_EQ(stele_tls_peer_is(server.tls, cases[i].asked), cases[i].is);
        CHECK(stele_tls_peer_is(client.tls, "localhost"));
        close_ends();
    }
    /* Whoever shows none is nobody. */
    files = usual();
    files.client_ca = path("ca.pem");
    open_ends(&files, NULL, NULL, "localhost", 1000);
    CHECK(stele_tls_is_ready(server.tls));
    CHECK(!stele_tls_peer_is(server.tls, "x"));
    close_ends();
}

TEST(files_that_do_not_fit_are_refused_in_words)
{
    struct stele_error err = {0};
    struct stele_tls_files files = usual();
    struct stele_tls_context *context = NULL;
    files.key = path("alice.key");
    CHECK_EQ(stele_tls_context_create(&files, &context, &err), STELE_E_INVALID);
    CHECK_TEXT_HAS(err.message, "key");
    files = usual();
    files.certificate = path("nothing.pem");
    CHECK_EQ(stele_tls_context_create(&files, &context, &err), STELE_E_INVALID);
    CHECK_TEXT_HAS(err.message, "nothing.pem");
}

TEST(a_new_certificate_serves_new_connections_and_a_bad_one_none)
{
    struct stele_error err = {0};
    make_files();
    make_pair("moving", "before", "DNS:localhost", 10);
    const struct stele_tls_files files = {.certificate = path("moving.pem"),
                                          .key = path("moving.key")};
    open_ends(&files, NULL, NULL, "localhost", 1000);
    CHECK_TEXT_EQ(stele_tls_peer_cn(client.tls), "before");
    make_pair("moving", "after", "DNS:localhost", 11);
    CHECK_OK(stele_tls_context_reload(server_context, &err), err);
    /* The old connection goes on. */
    struct stele_buf wire = {.data = NULL};
    CHECK(stele_tls_write(client.tls, stele_bytes_of_text("still"), &wire));
    deliver(&server, &wire, 1000);
    CHECK_EQ(server.plain.size, 5);
    stele_buf_deinit(&wire, &alloc.base);
    for (int i = 0; i < 2; i++) {
        stele_tls_destroy(server.tls);
        stele_tls_destroy(client.tls);
        CHECK_EQ(stele_tls_create(server_context, NULL, &alloc.base, &server.tls), STELE_OK);
        CHECK_EQ(stele_tls_create(client_context, "localhost", &alloc.base, &client.tls), STELE_OK);
        CHECK(stele_tls_start(client.tls));
        to_and_fro(1000);
        CHECK_TEXT_EQ(stele_tls_peer_cn(client.tls), "after");
        save("moving.key", NULL, NULL);
        CHECK_EQ(stele_tls_context_reload(server_context, &err), STELE_E_INVALID);
    }
    close_ends();
}

TEST(nothing_is_left_in_the_folder)
{
    static const char *const names[] = {"server.pem", "server.key", "alice.pem",
                                        "alice.key",  "moving.pem", "moving.key"};
    make_files();
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        (void)unlink(path(names[i]));
    }
    drop_authority();
}
