#include "cli/keyring.h"

#include "base/hex.h"
#include "cli/cli.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

static struct stele_keyring *open_keyring;

static const char *or_environment(const char *value, const char *name)
{
    if (value != NULL) {
        return value;
    }
    const char *const found = getenv(name);
    return found != NULL && *found != '\0' ? found : NULL;
}

bool stele_cli_keyring_is_named(void)
{
    return or_environment(NULL, "STELE_KEYRING") != NULL;
}

/* ---- Master keys ---- */

void stele_cli_master_wipe(struct stele_cli_master *master)
{
    explicit_bzero(master, sizeof *master);
}

static int fail_file(const char *path, int number)
{
    return stele_cli_fail(number == ENOENT ? STELE_CLI_NOT_FOUND : STELE_CLI_IO, "io-error",
                          "master key: %s: %s; name it with --key-file or STELE_KEY_FILE", path,
                          strerror(number));
}

static int make_key(const char *path)
{
    uint8_t key[STELE_MASTER_KEY_SIZE];
    char text[2 * STELE_MASTER_KEY_SIZE + 2];
    if (getrandom(key, sizeof key, 0) != (ssize_t)sizeof key) {
        return stele_cli_fail(STELE_CLI_IO, "io-error", "the system gives no random numbers");
    }
    stele_hex_encode(key, sizeof key, text);
    text[sizeof text - 2] = '\n';
    const int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0) {
        return fail_file(path, errno);
    }
    const bool written =
        write(fd, text, sizeof text - 1) == (ssize_t)(sizeof text - 1) && syncfs(fd) == 0;
    const int number = errno;
    explicit_bzero(key, sizeof key);
    explicit_bzero(text, sizeof text);
    if (close(fd) != 0 || !written) {
        return fail_file(path, number);
    }
    stele_cli_note("made the master key %s; without it the keyring cannot be opened", path);
    return STELE_CLI_OK;
}

static size_t read_all(int fd, char *to, size_t room)
{
    size_t used = 0;
    while (used < room) {
        const ssize_t got = read(fd, to + used, room - used);
        if (got <= 0) {
            break;
        }
        used += (size_t)got;
    }
    return used;
}

static int take_key(struct stele_cli_master *master, size_t size, const char *where)
{
    uint8_t key[STELE_MASTER_KEY_SIZE];
    if (size != STELE_MASTER_KEY_SIZE) {
        while (size > 0 && strchr(" \t\r\n", master->bytes[size - 1]) != NULL) {
            size--;
        }
        const struct stele_bytes digits = {.data = (const uint8_t *)master->bytes, .size = size};
        if (!stele_hex_decode(digits, key, sizeof key)) {
            return stele_cli_fail(STELE_CLI_INPUT, "input",
                                  "master key: %s has neither 32 bytes nor 64 hexadecimal digits; "
                                  "`stele keys init --key-file FILE` makes one",
                                  where);
        }
        memcpy(master->bytes, key, sizeof key);
        explicit_bzero(key, sizeof key);
    }
    master->master.key = master->bytes;
    return STELE_CLI_OK;
}

static void take_passphrase(struct stele_cli_master *master, size_t size)
{
    const char *const end = memchr(master->bytes, '\n', size);
    master->master.passphrase = master->bytes;
    master->master.passphrase_size = end == NULL ? size : (size_t)(end - master->bytes);
}

static int read_descriptor(struct stele_cli_master *master, const char *number)
{
    char *end = NULL;
    const long fd = strtol(number, &end, 10);
    if (*number == '\0' || *end != '\0' || fd < 0 || fd > 65535) {
        return stele_cli_fail(STELE_CLI_USAGE, "usage",
                              "STELE_KEY_FD: '%s' is no number of a descriptor", number);
    }
    return take_key(master, read_all((int)fd, master->bytes, sizeof master->bytes - 1),
                    "the descriptor of STELE_KEY_FD");
}

int stele_cli_master_read(const char *key_file, const char *passphrase_file, bool create,
                          struct stele_cli_master *out_master)
{
    memset(out_master, 0, sizeof *out_master);
    if (key_file == NULL && passphrase_file == NULL) {
        passphrase_file = or_environment(NULL, "STELE_PASSPHRASE_FILE");
        key_file = or_environment(NULL, "STELE_KEY_FILE");
    }
    if (key_file != NULL && passphrase_file != NULL) {
        return stele_cli_fail(STELE_CLI_USAGE, "usage",
                              "master key: a key file and a passphrase file exclude each other");
    }
    if (key_file == NULL && passphrase_file == NULL) {
        const char *const number = or_environment(NULL, "STELE_KEY_FD");
        return number != NULL
                   ? read_descriptor(out_master, number)
                   : stele_cli_fail(STELE_CLI_USAGE, "usage",
                                    "master key: none was named; use --key-file, "
                                    "--passphrase-file, STELE_KEY_FILE, STELE_PASSPHRASE_FILE or "
                                    "STELE_KEY_FD");
    }
    const char *const path = key_file != NULL ? key_file : passphrase_file;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 && errno == ENOENT && create && key_file != NULL) {
        const int code = make_key(path);
        if (code != STELE_CLI_OK) {
            return code;
        }
        fd = open(path, O_RDONLY | O_CLOEXEC);
    }
    if (fd < 0) {
        return fail_file(path, errno);
    }
    const size_t size = read_all(fd, out_master->bytes, sizeof out_master->bytes - 1);
    (void)close(fd);
    if (key_file != NULL) {
        return take_key(out_master, size, path);
    }
    take_passphrase(out_master, size);
    return STELE_CLI_OK;
}

/* ---- Keyrings ---- */

const char *stele_cli_keyring_path(const struct stele_cli_keyring *keyring)
{
    const char *const path = or_environment(keyring->path, "STELE_KEYRING");
    if (path == NULL) {
        (void)stele_cli_fail(STELE_CLI_USAGE, "usage",
                             "keyring: none was named; use --keyring or STELE_KEYRING");
    }
    return path;
}

int stele_cli_keyring_open(const struct stele_cli_keyring *keyring, bool read_only,
                           struct stele_keyring **out_keyring)
{
    struct stele_cli_master master;
    struct stele_error err = {0};
    const char *const path = stele_cli_keyring_path(keyring);
    if (path == NULL) {
        return STELE_CLI_USAGE;
    }
    const int code =
        stele_cli_master_read(keyring->key_file, keyring->passphrase_file, false, &master);
    if (code != STELE_CLI_OK) {
        stele_cli_master_wipe(&master);
        return code;
    }
    const int outcome =
        stele_keyring_open(path, &master.master, read_only ? 1 : 0, &open_keyring, &err);
    stele_cli_master_wipe(&master);
    if (outcome != STELE_OK) {
        return stele_cli_fail_outcome(outcome, &err, "open the keyring");
    }
    *out_keyring = open_keyring;
    return STELE_CLI_OK;
}

int stele_cli_keyring_use(struct stele *store, const struct stele_cli_keyring *keyring,
                          bool read_only)
{
    struct stele_keyring *opened = NULL;
    struct stele_error err = {0};
    uint32_t erased = 0;
    const int code = stele_cli_keyring_open(keyring, read_only, &opened);
    if (code != STELE_CLI_OK) {
        return code;
    }
    const int outcome = stele_use_keyring(store, opened, &erased, &err);
    if (outcome != STELE_OK) {
        return stele_cli_fail_outcome(outcome, &err, "use the keyring");
    }
    if (erased > 0) {
        stele_cli_note("the keyring had %u keys of subjects that were shredded: it is older than "
                       "the erasure records of the store; they were erased again",
                       erased);
    }
    return STELE_CLI_OK;
}

void stele_cli_keyring_close(void)
{
    stele_keyring_close(open_keyring);
    open_keyring = NULL;
}
