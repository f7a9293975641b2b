/* Connection strings: any text is refused in words or names hosts, and no words give a password away. */
#include "client/remote.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void is_text(const char *text, size_t room)
{
    STELE_ASSERT(memchr(text, '\0', room) != NULL);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct far_address address;
    struct stele_error err;
    char *text = malloc(size + 1); /* Of its own, so that reading behind it is noticed. */
    STELE_ASSERT(text != NULL);
    if (size > 0) {
        memcpy(text, data, size);
    }
    text[size] = '\0';
    (void)stele_remote_is_address(text);
    const int outcome = stele_remote_parse(text, &address, &err);
    if (outcome == STELE_OK) {
        STELE_ASSERT(stele_remote_is_address(text));
        STELE_ASSERT(address.hosts_count >= 1 && address.hosts_count <= FAR_HOSTS_MAX);
        for (uint32_t i = 0; i < address.hosts_count; i++) {
            is_text(address.hosts[i].host, sizeof address.hosts[i].host);
            STELE_ASSERT(address.hosts[i].host[0] != '\0');
            STELE_ASSERT(address.hosts[i].port != 0);
        }
        is_text(address.user, sizeof address.user);
        is_text(address.password, sizeof address.password);
        is_text(address.token, sizeof address.token);
        is_text(address.ca_file, sizeof address.ca_file);
        STELE_ASSERT(address.timeout_ms <= 86400000);
    } else {
        STELE_ASSERT(outcome == STELE_E_INVALID || outcome == STELE_E_LIMIT);
        STELE_ASSERT(err.message[0] != '\0');
        /* A password stands in front of the hosts; said again behind them it is none. */
        const char *begin = strstr(text, "://");
        const char *secret = begin == NULL ? NULL : strstr(begin, "S3CR3T@");
        const bool is_password = secret != NULL && strstr(secret + 1, "S3CR3T") == NULL &&
                                 secret < begin + 3 + strcspn(begin + 3, "/?");
        STELE_ASSERT(!is_password || strstr(err.message, "S3CR3T") == NULL);
    }
    free(text);
    return 0;
}
