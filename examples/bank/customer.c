#include "customer.h"

#include <stele/es.h>

#include <stdio.h>
#include <string.h>

#define MASTER_SIZE STELE_MASTER_KEY_SIZE

static int refuse(struct stele_error *err, const char *what, const char *name)
{
    (void)snprintf(err->message, sizeof err->message, "%s: %s", name, what);
    err->outcome = STELE_E_INVALID;
    return STELE_E_INVALID;
}

int customer_keyring(struct stele *store, const char *path, const char *master,
                     struct stele_keyring **out_keyring, struct stele_error *err)
{
    unsigned char key[MASTER_SIZE];
    FILE *const file = fopen(master, "rb");
    const size_t size = file != NULL ? fread(key, 1, sizeof key, file) : 0;
    if (file != NULL) {
        (void)fclose(file);
    }
    if (size != sizeof key) {
        return refuse(err, "this file should have the 32 bytes of the master key", master);
    }
    const struct stele_master opener = {.key = key};
    int outcome = stele_keyring_open(path, &opener, 0, out_keyring, err);
    if (outcome == STELE_NOT_FOUND) {
        outcome = stele_keyring_create(path, &opener, out_keyring, err);
    }
    explicit_bzero(key, sizeof key);
    if (outcome != STELE_OK) {
        return outcome;
    }
    outcome = stele_use_keyring(store, *out_keyring, NULL, err);
    if (outcome != STELE_OK) {
        stele_keyring_close(*out_keyring);
        *out_keyring = NULL;
    }
    return outcome;
}

static void stream_of(const char *customer, char stream[STELE_STREAM_NAME_SIZE_MAX + 1])
{
    (void)snprintf(stream, STELE_STREAM_NAME_SIZE_MAX + 1, "customer-%s", customer);
}

int customer_register(struct stele *store, const char *customer, const char *name, const char *mail,
                      struct stele_error *err)
{
    char stream[STELE_STREAM_NAME_SIZE_MAX + 1];
    char data[1024];
    if (strpbrk(name, "\"\\") != NULL || strpbrk(mail, "\"\\") != NULL ||
        strlen(name) + strlen(mail) > 900) {
        return refuse(err, "names and addresses are short, and without quotes", customer);
    }
    stream_of(customer, stream);
    const int size = snprintf(data, sizeof data, "{\"name\":\"%s\",\"mail\":\"%s\"}", name, mail);
    const struct stele_event_draft draft = {
        .type = "CustomerRegistered", .data = data, .data_size = (size_t)size};
    const struct stele_append append = {
        .stream = stream, .expected = STELE_EXPECT_NO_STREAM, .events = &draft, .count = 1};
    const char *const fields[] = {"/name", "/mail"};
    const struct stele_seal seal = {.subject = customer, .fields = fields, .fields_count = 2};
    const struct stele_seal *const seals[] = {&seal};
    return stele_append_sealed(store, &append, seals, 1, NULL, 0, NULL, NULL, err);
}

int customer_print(struct stele *store, const char *customer, struct stele_error *err)
{
    char stream[STELE_STREAM_NAME_SIZE_MAX + 1];
    stream_of(customer, stream);
    struct stele_iterator *iterator = NULL;
    const struct stele_event *events = NULL;
    size_t count = 0;
    int outcome = stele_read_stream(store, stream, NULL, &iterator, err);
    if (outcome != STELE_OK) {
        return outcome;
    }
    outcome = stele_iterator_next(iterator, &events, &count, err);
    if (outcome == STELE_OK) {
        (void)printf("%s  %.*s\n", customer, (int)events->data_size, (const char *)events->data);
    }
    stele_iterator_destroy(iterator);
    return outcome;
}
