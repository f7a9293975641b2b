/* Keyrings and shredding: data about a person that can be forgotten although events never change.
 *
 * Payloads, or marked fields of JSON payloads, are encrypted ("sealed") with a key of the data subject before
 * they are appended, and decrypted when they are read, in this library: embedded stores and servers
 * alike keep sealed bytes only. stele_shred() destroys the key. See docs/shredding.md.
 *
 * Read these first:
 *  - The keyring is as precious as the store: without it sealed events are lost. Back it up, apart
 *    from the store's backups, and for as short a time as you can.
 *  - Stream names, event types, tags, ids, times and sizes are not sealed. Neither is the subject's name in
 *    the redaction event: use a pseudonym.
 *  - A process that has a keyring open may use it from any thread; several processes may share it. */
#ifndef STELE_KEYS_H
#define STELE_KEYS_H

#include <stele/stele.h>

#ifdef __cplusplus
extern "C" {
#endif

#define STELE_SUBJECT_SIZE_MAX 255 /* bytes of UTF-8 */
#define STELE_SUBJECTS_MAX 1000000u
#define STELE_MASTER_KEY_SIZE 32
#define STELE_PUBLIC_KEY_SIZE 32

/* Content types of sealed events as they are stored: a whole payload, marked fields. */
#define STELE_SEALED_TYPE "application/vnd.stele.sealed"
#define STELE_SEALED_JSON_TYPE "application/vnd.stele.sealed+json"

/* The streams that shredding appends to. */
#define STELE_ERASURES_STREAM "stele-erasures"
#define STELE_REDACTIONS_STREAM "stele-redactions"

/* ---- Keyrings ---------------------------------------------------------------------------- */

struct stele_keyring; /* An open keyring. */

/* What opens a keyring: 32 random bytes, or a passphrase (Argon2id, 64 MiB, three passes). Set one of
 * the two. Borrowed for the call. */
struct stele_master {
    const void *key; /* STELE_MASTER_KEY_SIZE bytes. */
    const char *passphrase;
    size_t passphrase_size; /* 8 .. 1024 */
};

/* Makes a keyring in a new directory, for its owner alone, and opens it.
 * STELE_OK, STELE_E_INVALID, STELE_E_PERMISSION, STELE_E_IO, STELE_E_NO_SPACE, … */
STELE_API int stele_keyring_create(const char *path, const struct stele_master *master,
                                   struct stele_keyring **out_keyring, struct stele_error *err);

/* Opens a keyring. read_only: nothing is written; subjects must be there already.
 *
 * STELE_NOT_FOUND  There is none.
 * STELE_E_KEY      The master key is not its own.
 * STELE_E_CORRUPT  The file is damaged. Restore a backup.
 * STELE_E_FORMAT   It is no keyring, or one of a newer version. */
STELE_API int stele_keyring_open(const char *path, const struct stele_master *master, int read_only,
                                 struct stele_keyring **out_keyring, struct stele_error *err);

/* No store may use it any more. NULL is fine. */
STELE_API void stele_keyring_close(struct stele_keyring *keyring);

struct stele_keyring_info {
    uint8_t id[16];
    uint8_t public_key[STELE_PUBLIC_KEY_SIZE]; /* Ed25519: verifies erasure records. */
    uint64_t generation;                       /* Grows with every change. */
    int64_t written_us;
    uint32_t live;   /* Subjects with a key. */
    uint32_t erased; /* Keys that were destroyed. */
    int passphrase;  /* 1: opened by a passphrase. */
};
STELE_API int stele_keyring_info(struct stele_keyring *keyring, struct stele_keyring_info *out_info,
                                 struct stele_error *err);

struct stele_subject {
    struct stele_text name; /* Empty when erased: it is forgotten, too. */
    uint8_t key_id[16];
    int64_t created_us;
    int64_t erased_us; /* 0: its key is there. */
};
/* Anything but 0 returned ends the list. It must not call the library. */
typedef int (*stele_subject_callback)(void *context, const struct stele_subject *subject);
STELE_API int stele_keyring_list(struct stele_keyring *keyring, stele_subject_callback on_subject,
                                 void *context, struct stele_error *err);

/* Makes keys for those of the subjects that have none, in one write. Appending does so by itself.
 * STELE_E_KEY: one of them was shredded, and nothing was added. */
STELE_API int stele_keyring_add(struct stele_keyring *keyring, const char *const *subjects,
                                size_t count, struct stele_error *err);

/* Encrypts the keyring with another master key from now on. Copies of the file from before open with the old
 * one only: destroy that, and they are worthless. */
STELE_API int stele_keyring_rewrap(struct stele_keyring *keyring, const struct stele_master *master,
                                   struct stele_error *err);

/* Writes a copy of the keyring, encrypted as it is, into the directory path, which is made if it is
 * missing. It is a keyring itself, and what stele_keyring_restore() takes. */
STELE_API int stele_keyring_backup(struct stele_keyring *keyring, const char *path,
                                   struct stele_error *err);

/* Makes the keyring in path from a backup. If there is a keyring already it has to be the same one, opened
 * by the same master key, or damaged: keys that it had erased stay erased, and those that only it has are
 * kept. *out_erased, if not NULL: how many keys of the backup were erased so. */
STELE_API int stele_keyring_restore(const char *path, const char *backup,
                                    const struct stele_master *master, uint32_t *out_erased,
                                    struct stele_error *err);

/* ---- What is sealed, and for whom --------------------------------------------------------- */

/* A policy: a JSON object that says which events are sealed, by type.
 *
 *     {"seal": [
 *         {"types": ["CustomerRegistered"], "subject": "/customer", "fields": ["/name", "/email"]},
 *         {"types": ["Note*"], "subject": "$stream", "metadata": true}
 *     ]}
 *
 * subject: a JSON pointer to a string or an integer in the data, or "$stream", the event's stream. fields:
 * JSON pointers, in which "*" stands for any one name or index; fields that an event has not are skipped.
 * Without fields the whole payload is sealed. An event that the policy is about and that has no
 * subject is refused. The first rule that names the type counts; "*" at its end stands for anything.
 *
 * STELE_OK: it replaces the one before. STELE_E_INVALID: what is wrong, and nothing was changed. The file
 * "policy.json" in the keyring's directory is taken when a keyring is opened. */
STELE_API int stele_keyring_set_policy(struct stele_keyring *keyring, const char *json, size_t size,
                                       struct stele_error *err);
/* The same, and writes the file. */
STELE_API int stele_keyring_save_policy(struct stele_keyring *keyring, const char *json,
                                        size_t size, struct stele_error *err);

/* From now on appends through the handle are sealed as the policy says, and reads and subscriptions that begin
 * are opened. The erasure records of the store are read, and keys that they name are erased from the
 * keyring: *out_erased, if not NULL, says how many it still had. Call it before any other thread uses the
 * handle; the keyring must be closed after the store. NULL: no keyring any more. */
STELE_API int stele_use_keyring(struct stele *store, struct stele_keyring *keyring,
                                uint32_t *out_erased, struct stele_error *err);

/* How one draft is sealed, whatever the policy says. */
struct stele_seal {
    const char *subject;       /* NULL: not sealed. */
    const char *const *fields; /* JSON pointers as in a policy. */
    size_t fields_count;       /* 0: the whole payload. */
    int metadata;              /* 1: the metadata, too. */
};

/* As stele_append_many(), with one seal for each draft: seals[i][j] belongs to streams[i].events[j]; seals[i]
 * may be NULL, and the policy counts then. Not for streams that begin with "$".
 *
 * STELE_E_KEY      No keyring is in use, the subject was shredded, or it is new and the keyring is read-only.
 * STELE_E_INVALID  Also: the data is no JSON and has marked fields, or it has a member "$sealed".
 * STELE_E_LIMIT, and everything that stele_append_many() returns. */
STELE_API int stele_append_sealed(struct stele *store, const struct stele_append *streams,
                                  const struct stele_seal *const *seals, size_t streams_count,
                                  const struct stele_condition *conditions, size_t conditions_count,
                                  uint64_t *revisions_last, struct stele_append_result *out_result,
                                  struct stele_error *err);

/* ---- Shredding ---------------------------------------------------------------------------- */

struct stele_shred_result {
    uint8_t key_id[16];
    int64_t erased_us;
    uint64_t erasure_position;   /* Of the erasure record. */
    uint64_t redaction_position; /* Of the redaction event. */
    int repeated;                /* 1: the key had been destroyed before. */
};

/* Destroys the subject's key, then appends the signed erasure record and the redaction event. When it
 * fails after the key was destroyed the message says so; repeat it. anonymous: the redaction event does
 * not name the subject, only its key's id. The store must use the keyring.
 *
 * STELE_OK, STELE_NOT_FOUND (the keyring never had the subject), STELE_E_KEY, STELE_E_READ_ONLY, and what
 * appending and writing files can end with. */
STELE_API int stele_shred(struct stele *store, const char *subject, int anonymous,
                          struct stele_shred_result *out_result, struct stele_error *err);

struct stele_erasure {
    uint64_t position;
    uint64_t revision;
    uint8_t keyring_id[16];
    uint8_t key_id[16];
    int64_t erased_us;
    int valid;       /* 1: signed by the public key asked about. */
    const char *why; /* What is wrong when it is not valid, else NULL. */
};
/* Anything but 0 returned ends it. */
typedef int (*stele_erasure_callback)(void *context, const struct stele_erasure *erasure);

/* Reads all erasure records of the store and verifies their signatures. STELE_OK: all are valid;
 * STELE_E_CORRUPT: at least one is not. No keyring is needed. */
STELE_API int stele_verify_erasures(struct stele *store,
                                    const uint8_t public_key[STELE_PUBLIC_KEY_SIZE],
                                    stele_erasure_callback on_erasure, void *context,
                                    struct stele_error *err);

#ifdef __cplusplus
}
#endif

#endif
