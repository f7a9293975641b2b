#include "auth/password.h"

#include <sodium.h>
#include <stdlib.h>

#define MEMORY_KIB_MAX (256UL * 1024)
#define PASSES_MAX 10UL

int stele_password_hash(const char *password, uint64_t memory, uint32_t passes,
                        char hash[STELE_PASSWORD_HASH_SIZE])
{
    _Static_assert(STELE_PASSWORD_HASH_SIZE == crypto_pwhash_argon2id_STRBYTES, "room for a hash");
    return crypto_pwhash_argon2id_str(hash, password, strlen(password), passes, memory) == 0
               ? STELE_OK
               : STELE_E_NO_MEMORY;
}

/* "$argon2id$v=19$m=19456,t=2,p=1$salt$hash" */
static bool has_fair_costs(const char *hash)
{
    const char *const costs = strstr(hash, "$m=");
    if (strncmp(hash, crypto_pwhash_argon2id_STRPREFIX, strlen(crypto_pwhash_argon2id_STRPREFIX)) !=
            0 ||
        costs == NULL) {
        return false;
    }
    char *end = NULL;
    const unsigned long memory_kib = strtoul(costs + 3, &end, 10);
    if (strncmp(end, ",t=", 3) != 0) {
        return false;
    }
    const unsigned long passes = strtoul(end + 3, &end, 10);
    return memory_kib <= MEMORY_KIB_MAX && passes <= PASSES_MAX;
}

bool stele_password_is_hash(const char hash[STELE_PASSWORD_HASH_SIZE])
{
    return memchr(hash, '\0', STELE_PASSWORD_HASH_SIZE) != NULL && has_fair_costs(hash);
}

bool stele_password_verify(const char *password, const char hash[STELE_PASSWORD_HASH_SIZE])
{
    return stele_password_is_hash(hash) &&
           crypto_pwhash_argon2id_str_verify(hash, password, strlen(password)) == 0;
}

void stele_password_of_random(const uint8_t random[15], char password[STELE_PASSWORD_FIRST_SIZE])
{
    static const char letters[] = "abcdefghijkmnpqrstuvwxyz23456789";
    _Static_assert(sizeof letters == 33, "five bits choose one");
    uint32_t bits = 0;
    uint32_t have = 0;
    size_t at = 0;
    for (size_t i = 0; i < 15; i++) {
        bits = bits << 8 | random[i];
        for (have += 8; have >= 5; have -= 5) {
            password[at++] = letters[bits >> (have - 5) & 31];
        }
    }
    password[at] = '\0';
    STELE_ASSERT(at == STELE_PASSWORD_FIRST_SIZE - 1);
}

void stele_password_wipe(void *secret, size_t size)
{
    sodium_memzero(secret, size);
}
