/* The keyring that the commands use, and where its master key comes from: a file, or a descriptor; never the
 * command line, which everybody on the machine can read. */
#ifndef STELE_CLI_KEYRING_H
#define STELE_CLI_KEYRING_H

#include "cli/options.h"

#include <stele/keys.h>

/* What options say; NULL: the environment (STELE_KEYRING, STELE_KEY_FILE, STELE_PASSPHRASE_FILE, STELE_KEY_FD). */
struct stele_cli_keyring {
    const char *path;
    const char *key_file;
    const char *passphrase_file;
};

#define STELE_CLI_KEYRING_OPTIONS(keyring)                                                         \
    {"keyring", "DIR", "the keyring's directory (default: $STELE_KEYRING)", STELE_CLI_TEXT,        \
     &(keyring)->path},                                                                            \
        {"key-file", "FILE", "its master key (default: $STELE_KEY_FILE)", STELE_CLI_TEXT,          \
         &(keyring)->key_file},                                                                    \
    {                                                                                              \
        "passphrase-file", "FILE",                                                                 \
            "its passphrase, the first line (default:\n$STELE_PASSPHRASE_FILE)", STELE_CLI_TEXT,   \
            &(keyring)->passphrase_file                                                            \
    }

/* A master key in memory. Wiped by stele_cli_master_wipe(). */
struct stele_cli_master {
    struct stele_master master;
    char bytes[1025];
};

/* Reads a master key (32 bytes, or 64 hexadecimal digits) or a passphrase. One of the files may be NULL; both: from
 * the environment. create: a key file that is not there is made. STELE_CLI_OK, or an exit code after telling. */
int stele_cli_master_read(const char *key_file, const char *passphrase_file, bool create,
                          struct stele_cli_master *out_master);
void stele_cli_master_wipe(struct stele_cli_master *master);

/* The keyring's directory, or NULL after telling that none was named. */
const char *stele_cli_keyring_path(const struct stele_cli_keyring *keyring);
/* Opens the keyring; it is closed by stele_cli_keyring_close(). */
int stele_cli_keyring_open(const struct stele_cli_keyring *keyring, bool read_only,
                           struct stele_keyring **out_keyring);
/* Lets the store use the keyring that the options or the environment name. */
int stele_cli_keyring_use(struct stele *store, const struct stele_cli_keyring *keyring,
                          bool read_only);
/* Does the environment name one? */
bool stele_cli_keyring_is_named(void);
/* After the store was closed. */
void stele_cli_keyring_close(void);

#endif
