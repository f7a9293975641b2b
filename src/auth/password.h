/* Passwords: Argon2id (RFC 9106) by libsodium, in its text form, which carries salt and costs. */
#ifndef STELE_AUTH_PASSWORD_H
#define STELE_AUTH_PASSWORD_H

#include "auth/user.h"

/* OWASP's first choice for Argon2id: 19 MiB and two passes, some 20 to 40 ms. */
#define STELE_PASSWORD_MEMORY ((uint64_t)19 * 1024 * 1024)
#define STELE_PASSWORD_PASSES 2

#define STELE_PASSWORD_FIRST_SIZE 25 /* Of a made password, with its zero: 120 bits. */

/* Takes as long as it costs. STELE_OK, STELE_E_NO_MEMORY. */
STELE_MUST_USE
int stele_password_hash(const char *password, uint64_t memory, uint32_t passes,
                        char hash[STELE_PASSWORD_HASH_SIZE]);

/* Whether the password is that of the hash. Only Argon2id with costs that a server would choose is
 * looked at: a hash from elsewhere must not cost a gigabyte. */
/* Could stele_password_verify() say yes to any password? false: it costs nothing to ask. */
bool stele_password_is_hash(const char hash[STELE_PASSWORD_HASH_SIZE]);
bool stele_password_verify(const char *password, const char hash[STELE_PASSWORD_HASH_SIZE]);

/* 24 letters and digits that cannot be mistaken for each other, from 15 random bytes. */
void stele_password_of_random(const uint8_t random[15], char password[STELE_PASSWORD_FIRST_SIZE]);
void stele_password_wipe(void *secret, size_t size);

#endif
