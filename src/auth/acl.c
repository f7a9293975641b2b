#include "auth/acl.h"

#include <jansson.h>

static const char *const members[STELE_RIGHT_COUNT] = {
    [STELE_RIGHT_READ] = "$r",       [STELE_RIGHT_WRITE] = "$w",       [STELE_RIGHT_DELETE] = "$d",
    [STELE_RIGHT_META_READ] = "$mr", [STELE_RIGHT_META_WRITE] = "$mw",
};

static bool is_name(const json_t *value)
{
    return json_is_string(value) && strlen(json_string_value(value)) == json_string_length(value);
}

static bool is_well_formed(const json_t *who)
{
    if (is_name(who)) {
        return true;
    }
    if (!json_is_array(who) || json_array_size(who) > STELE_ACL_NAMES_MAX) {
        return false;
    }
    for (size_t i = 0; i < json_array_size(who); i++) {
        if (!is_name(json_array_get(who, i))) {
            return false;
        }
    }
    return true;
}

/* Bytes of the names of one right with their zeros. Malformed: none, so nobody but administrators. */
static size_t names_size(const json_t *who)
{
    if (who == NULL || !is_well_formed(who)) {
        return 0;
    }
    if (json_is_string(who)) {
        return json_string_length(who) + 1;
    }
    size_t size = 0;
    for (size_t i = 0; i < json_array_size(who); i++) {
        size += json_string_length(json_array_get(who, i)) + 1;
    }
    return size;
}

static size_t add_name(struct stele_acl *acl, size_t at, const json_t *name)
{
    const size_t size = json_string_length(name) + 1;
    memcpy(acl->names + at, json_string_value(name), size);
    return at + size;
}

static int make(const json_t *object, bool is_malformed, struct stele_alloc *alloc,
                struct stele_acl **out_acl)
{
    size_t size = sizeof(struct stele_acl);
    bool any = is_malformed;
    for (int right = 0; right < STELE_RIGHT_COUNT; right++) {
        const json_t *const who = json_object_get(object, members[right]);
        size += names_size(who);
        any = any || (who != NULL && !json_is_null(who));
    }
    *out_acl = NULL;
    if (!any) {
        return STELE_OK;
    }
    struct stele_acl *const acl = stele_allocate_zeroed(alloc, size);
    if (acl == NULL) {
        return STELE_E_NO_MEMORY;
    }
    acl->size = size;
    size_t at = 0;
    for (int right = 0; right < STELE_RIGHT_COUNT; right++) {
        const json_t *const who = json_object_get(object, members[right]);
        acl->rights[right].is_set = is_malformed || (who != NULL && !json_is_null(who));
        acl->rights[right].names_from = (uint32_t)at;
        if (who == NULL || !is_well_formed(who)) {
            continue;
        }
        acl->rights[right].count = json_is_string(who) ? 1 : (uint32_t)json_array_size(who);
        if (json_is_string(who)) {
            at = add_name(acl, at, who);
        }
        for (size_t i = 0; i < json_array_size(who); i++) {
            at = add_name(acl, at, json_array_get(who, i));
        }
    }
    STELE_ASSERT(sizeof *acl + at == size);
    *out_acl = acl;
    return STELE_OK;
}

/* A member that is absent or null sets nothing; one that is no object is malformed. */
static int make_of_member(const json_t *object, const char *member, struct stele_alloc *alloc,
                          struct stele_acl **out_acl)
{
    const json_t *const value = json_object_get(object, member);
    const bool is_malformed = !json_is_object(object) ||
                              (value != NULL && !json_is_null(value) && !json_is_object(value));
    return make(value, is_malformed, alloc, out_acl);
}

static json_t *load(struct stele_bytes json)
{
    return json_loadb((const char *)json.data, json.size, JSON_REJECT_DUPLICATES, NULL);
}

int stele_acl_of_metadata(struct stele_bytes json, struct stele_alloc *alloc,
                          struct stele_acl **out_acl)
{
    json_t *const object = load(json);
    const int outcome = make_of_member(object, "$acl", alloc, out_acl);
    json_decref(object);
    return outcome;
}

int stele_acl_of_settings(struct stele_bytes json, struct stele_alloc *alloc,
                          struct stele_acl **out_user, struct stele_acl **out_system)
{
    json_t *const object = load(json);
    int outcome = make_of_member(object, "$userStreamAcl", alloc, out_user);
    if (outcome == STELE_OK) {
        outcome = make_of_member(object, "$systemStreamAcl", alloc, out_system);
        if (outcome != STELE_OK) {
            stele_acl_free(*out_user, alloc);
        }
    }
    json_decref(object);
    return outcome;
}

void stele_acl_free(struct stele_acl *acl, struct stele_alloc *alloc)
{
    if (acl != NULL) {
        stele_release(alloc, acl, acl->size);
    }
}

bool stele_acl_sets(const struct stele_acl *acl, enum stele_right right)
{
    return acl != NULL && acl->rights[right].is_set;
}

static bool is_group_of(const struct stele_principal *principal, const char *name)
{
    for (uint32_t i = 0; i < principal->groups_count; i++) {
        if (strcmp(principal->groups[i], name) == 0) {
            return true;
        }
    }
    return false;
}

bool stele_acl_allows(const struct stele_acl *acl, enum stele_right right,
                      const struct stele_principal *principal, bool all_counts)
{
    STELE_ASSERT(stele_acl_sets(acl, right));
    const char *name = acl->names + acl->rights[right].names_from;
    for (uint32_t i = 0; i < acl->rights[right].count; i++) {
        if (strcmp(name, "$all") == 0 && all_counts) {
            return true;
        }
        if (!principal->anonymous &&
            (strcmp(name, principal->name) == 0 || is_group_of(principal, name))) {
            return true;
        }
        name += strlen(name) + 1;
    }
    return false;
}

bool stele_acl_equal(const struct stele_acl *a, const struct stele_acl *b)
{
    if (a == NULL || b == NULL) {
        return a == b;
    }
    if (a->size != b->size) {
        return false;
    }
    for (int right = 0; right < STELE_RIGHT_COUNT; right++) {
        if (a->rights[right].is_set != b->rights[right].is_set ||
            a->rights[right].count != b->rights[right].count ||
            a->rights[right].names_from != b->rights[right].names_from) {
            return false;
        }
    }
    return memcmp(a->names, b->names, a->size - sizeof *a) == 0;
}
