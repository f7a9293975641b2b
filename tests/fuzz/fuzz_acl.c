/* $acl, the defaults in $settings, and users: any bytes. What is malformed lets nobody in. */
#include "auth/acl.h"
#include "lib/testalloc.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void ask_all(const struct stele_acl *acl)
{
    const struct stele_principal nobody = {.anonymous = true};
    for (int right = 0; right < STELE_RIGHT_COUNT; right++) {
        if (stele_acl_sets(acl, (enum stele_right)right)) {
            STELE_ASSERT(!stele_acl_allows(acl, (enum stele_right)right, &nobody, false));
        }
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct testalloc alloc;
    const struct stele_bytes json = {.data = data, .size = size};
    struct stele_acl *acl = NULL;
    struct stele_acl *other = NULL;
    struct stele_user user = {.revision = 0};
    struct stele_buf again = {.data = NULL};
    testalloc_init(&alloc, 1);
    STELE_ASSERT(stele_acl_of_metadata(json, &alloc.base, &acl) == STELE_OK);
    ask_all(acl);
    STELE_ASSERT(stele_acl_equal(acl, acl));
    stele_acl_free(acl, &alloc.base);
    STELE_ASSERT(stele_acl_of_settings(json, &alloc.base, &acl, &other) == STELE_OK);
    ask_all(acl);
    ask_all(other);
    stele_acl_free(acl, &alloc.base);
    stele_acl_free(other, &alloc.base);
    if (stele_user_decode(json, &user, NULL) == STELE_OK) {
        STELE_ASSERT(user.groups_count <= STELE_ROLES_MAX);
        STELE_ASSERT(stele_user_encode(&user, &alloc.base, &again) == STELE_OK);
        struct stele_user twice = {.revision = 0};
        STELE_ASSERT(stele_user_decode((struct stele_bytes){again.data, again.size}, &twice,
                                       NULL) == STELE_OK);
        STELE_ASSERT(strcmp(twice.login, user.login) == 0);
        STELE_ASSERT(twice.disabled == user.disabled);
        stele_buf_deinit(&again, &alloc.base);
    }
    STELE_ASSERT(alloc.bytes == 0);
    return 0;
}
