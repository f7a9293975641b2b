/* What a principal may do to a stream.
 *
 * ACLs are read from the metadata when they are first asked for and kept, also "there is none", at
 * most STELE_AUTH__ACLS_MAX, the least recently used goes first. What is kept is right because every
 * question first takes in the metadata events that have become visible since the last one: one look
 * at the index for each commit under load, none when nothing was written. So there is no moment in
 * which a caller was told that an ACL is stored, and the old one still counts. */
#include "auth/auth_internal.h"
#include "base/checksum.h"

#define METADATA_TYPE "$metadata"
#define SETTINGS_STREAM "$settings"

static bool begins_with(struct stele_text name, const char *prefix)
{
    const size_t size = strlen(prefix);
    return name.size >= size && memcmp(name.data, prefix, size) == 0;
}

/* ---- The table ---- */

static void unlink_entry(struct stele_auth *auth, struct stele_auth__acl_entry *entry)
{
    *(entry->newer != NULL ? &entry->newer->older : &auth->acl_newest) = entry->older;
    *(entry->older != NULL ? &entry->older->newer : &auth->acl_oldest) = entry->newer;
}

static void link_newest(struct stele_auth *auth, struct stele_auth__acl_entry *entry)
{
    entry->newer = NULL;
    entry->older = auth->acl_newest;
    *(entry->older != NULL ? &entry->older->newer : &auth->acl_oldest) = entry;
    auth->acl_newest = entry;
}

static uint64_t hash_of(struct stele_text name)
{
    return stele_hash64((struct stele_bytes){.data = (const uint8_t *)name.data, .size = name.size},
                        0);
}

static struct stele_auth__acl_entry **place_of(struct stele_auth *auth, struct stele_text name,
                                               uint64_t hash)
{
    struct stele_auth__acl_entry **place = &auth->acl_buckets[hash & (STELE_AUTH__ACL_BUCKETS - 1)];
    while (*place != NULL && ((*place)->hash != hash || (*place)->name_size != name.size ||
                              memcmp((*place)->name, name.data, name.size) != 0)) {
        place = &(*place)->next;
    }
    return place;
}

static void remove_at(struct stele_auth *auth, struct stele_auth__acl_entry **place)
{
    struct stele_auth__acl_entry *const entry = *place;
    STELE_ASSERT(entry != NULL);
    *place = entry->next;
    unlink_entry(auth, entry);
    auth->acl_count--;
    stele_acl_free(entry->acl, auth->alloc);
    stele_release(auth->alloc, entry, sizeof *entry + entry->name_size);
}

static void remove_all(struct stele_auth *auth)
{
    while (auth->acl_oldest != NULL) {
        struct stele_auth__acl_entry *const entry = auth->acl_oldest;
        const struct stele_text name = {entry->name, entry->name_size};
        remove_at(auth, place_of(auth, name, entry->hash));
    }
}

/* Takes acl over, also when there is no memory (then NULL). */
static struct stele_auth__acl_entry *add(struct stele_auth *auth, struct stele_text name,
                                         uint64_t hash, struct stele_acl *take_acl)
{
    struct stele_auth__acl_entry *const entry =
        stele_allocate(auth->alloc, sizeof *entry + name.size);
    if (entry == NULL) {
        stele_acl_free(take_acl, auth->alloc);
        return NULL;
    }
    if (auth->acl_count == STELE_AUTH__ACLS_MAX) {
        struct stele_auth__acl_entry *const oldest = auth->acl_oldest;
        const struct stele_text old_name = {oldest->name, oldest->name_size};
        remove_at(auth, place_of(auth, old_name, oldest->hash));
    }
    struct stele_auth__acl_entry **const bucket =
        &auth->acl_buckets[hash & (STELE_AUTH__ACL_BUCKETS - 1)];
    *entry = (struct stele_auth__acl_entry){
        .next = *bucket, .hash = hash, .acl = take_acl, .name_size = (uint32_t)name.size};
    memcpy(entry->name, name.data, name.size);
    *bucket = entry;
    link_newest(auth, entry);
    auth->acl_count++;
    return entry;
}

void stele_auth__streams_deinit(struct stele_auth *auth)
{
    if (auth->acl_buckets != NULL) {
        remove_all(auth);
    }
    stele_release(auth->alloc, auth->acl_buckets,
                  STELE_AUTH__ACL_BUCKETS * sizeof(struct stele_auth__acl_entry *));
    stele_acl_free(auth->acl_users, auth->alloc);
    stele_acl_free(auth->acl_system, auth->alloc);
}

/* ---- Reading ACLs ---- */

/* STELE_OK with *out_acl NULL: no right is set. Anything else: nobody knows. */
static int load_acl(struct stele_auth *auth, const char *stream, struct stele_acl **out_acl)
{
    uint8_t small[4096];
    uint8_t *json = small;
    size_t capacity = sizeof small;
    size_t size = 0;
    const struct stele_engine_ops *const ops = auth->engine->ops;
    int outcome =
        ops->get_metadata(auth->engine, stream, (char *)json, capacity, &size, NULL, NULL);
    auth->counts.acl_loads++;
    while (outcome == STELE_OK && size > capacity && size <= STELE_AUTH__ACL_SIZE_MAX) {
        stele_release(auth->alloc, json == small ? NULL : json, capacity);
        capacity = size;
        json = stele_allocate(auth->alloc, capacity);
        if (json == NULL) {
            return STELE_E_NO_MEMORY;
        }
        outcome =
            ops->get_metadata(auth->engine, stream, (char *)json, capacity, &size, NULL, NULL);
    }
    if (outcome == STELE_NOT_FOUND || outcome == STELE_NO_STREAM) {
        *out_acl = NULL;
        outcome = STELE_OK;
    } else if (outcome == STELE_OK) {
        const size_t known = size <= capacity ? size : 0; /* Too large: as if malformed. */
        outcome = stele_acl_of_metadata((struct stele_bytes){.data = json, .size = known},
                                        auth->alloc, out_acl);
    }
    stele_release(auth->alloc, json == small ? NULL : json, capacity);
    return outcome;
}

static void remark_change(struct stele_auth *auth, struct stele_text stream, const char *what)
{
    char name[STELE_STREAM_NAME_SIZE_MAX + 1];
    const size_t size = stream.size < sizeof name ? stream.size : sizeof name - 1;
    if (auth->starting) {
        return;
    }
    memcpy(name, stream.data, size);
    name[size] = '\0';
    const struct stele_auth__remark remark = {
        .type = STELE_AUDIT_ACL_CHANGED, .stream = name, .what = what};
    stele_auth__audit_locked(auth, &remark);
}

static void load_settings(struct stele_auth *auth)
{
    struct stele_buf json = {.data = NULL};
    struct stele_acl *users = NULL;
    struct stele_acl *system = NULL;
    uint64_t revision = UINT64_MAX;
    int64_t created_us = 0;
    int outcome = stele_auth__read_last(auth, SETTINGS_STREAM, &json, &revision, &created_us, NULL);
    if (outcome == STELE_NOT_FOUND) {
        revision = UINT64_MAX;
        outcome = STELE_OK;
    } else if (outcome == STELE_OK) {
        outcome = stele_acl_of_settings((struct stele_bytes){.data = json.data, .size = json.size},
                                        auth->alloc, &users, &system);
    }
    stele_buf_deinit(&json, auth->alloc);
    if (outcome != STELE_OK) {
        return; /* The next question tries again; until then the old ones count. */
    }
    stele_acl_free(auth->acl_users, auth->alloc);
    stele_acl_free(auth->acl_system, auth->alloc);
    auth->acl_users = users;
    auth->acl_system = system;
    auth->settings_revision = revision;
    remark_change(auth, (struct stele_text){SETTINGS_STREAM, strlen(SETTINGS_STREAM)},
                  "the defaults");
    stele_auth__changed(auth);
}

/* ---- Taking in changes ---- */

static void on_metadata(struct stele_auth *auth, const struct stele_event *event)
{
    if (event->stream.size <= 2 || memcmp(event->stream.data, "$$", 2) != 0) {
        return;
    }
    const struct stele_text name = {event->stream.data + 2, event->stream.size - 2};
    const struct stele_bytes json = {.data = event->data, .size = event->data_size};
    struct stele_auth__acl_entry **const place = place_of(auth, name, hash_of(name));
    struct stele_acl *acl = NULL;
    const int outcome = stele_acl_of_metadata(json, auth->alloc, &acl);
    bool changed = true;
    if (*place != NULL) {
        changed = outcome != STELE_OK || !stele_acl_equal((*place)->acl, acl);
        if (changed) {
            remove_at(auth, place); /* Read again when it is asked for. */
        }
    } else if (outcome == STELE_OK) {
        /* The first metadata of a stream, without an ACL, changes no right. */
        changed = acl != NULL || event->revision > 0;
    }
    const bool has_list = acl != NULL;
    stele_acl_free(acl, auth->alloc);
    if (changed) {
        remark_change(auth, name, has_list ? "the stream's own list" : "back to the default");
        stele_auth__changed(auth);
    }
}

/* A user that was changed, by whatever way: by this module, by an append of an administrator, by an
 * import. What was proved about them counts no more. */
static void on_user(struct stele_auth *auth, const struct stele_event *event, const char *what)
{
    char login[STELE_LOGIN_SIZE_MAX + 1];
    const struct stele_text stream = event->stream;
    const size_t skip = strlen(STELE_USER_STREAM_PREFIX) + (begins_with(stream, "$$") ? 2 : 0);
    if (stream.size <= skip || stream.size - skip > STELE_LOGIN_SIZE_MAX) {
        return;
    }
    memcpy(login, stream.data + skip, stream.size - skip);
    login[stream.size - skip] = '\0';
    /* What was proved with this very revision, and is only taken in late, goes on. */
    stele_auth__forget_before(auth, login, what == NULL ? UINT64_MAX : event->revision);
    /* Which of a cluster's nodes was asked for it cannot be seen; the one that was has said it. */
    const bool is_alone = auth->options.cluster == NULL || auth->options.cluster->is_alone;
    if (what != NULL && is_alone && !stele_auth__is_own_id(auth, event->id)) {
        const struct stele_auth__remark remark = {
            .type = STELE_AUDIT_USER_CHANGED, .login = login, .what = what};
        stele_auth__audit_locked(auth, &remark);
    }
}

static void take_in(struct stele_auth *auth, const struct stele_event *event)
{
    if (begins_with(event->stream, STELE_USER_STREAM_PREFIX)) {
        on_user(auth, event, "written directly");
    } else if (begins_with(event->stream, "$$" STELE_USER_STREAM_PREFIX)) {
        on_user(auth, event,
                NULL); /* Perhaps deleted; on_metadata() says that there was a change. */
        on_metadata(auth, event);
    } else {
        on_metadata(auth, event);
    }
}

static int take_in_metadata(struct stele_auth *auth)
{
    static const char *const types[] = {METADATA_TYPE, STELE_USER_TYPE_CREATED,
                                        STELE_USER_TYPE_UPDATED, STELE_USER_TYPE_PASSWORD};
    const struct stele_engine_ops *const ops = auth->engine->ops;
    const struct stele_filter filter = {.types = types, .types_count = STELE_COUNT_OF(types)};
    struct stele_read_options options = STELE_READ_OPTIONS_INIT;
    options.from = auth->watched + 1;
    options.filter = &filter;
    struct stele_reading *reading = NULL;
    int outcome = ops->read_open(auth->engine, NULL, &options, &reading, NULL);
    if (outcome != STELE_OK) {
        return outcome;
    }
    const struct stele_event *events = NULL;
    size_t count = 0;
    while ((outcome = ops->read_next(reading, &events, &count, NULL)) == STELE_OK) {
        for (size_t i = 0; i < count; i++) {
            take_in(auth, &events[i]);
        }
    }
    ops->read_close(reading);
    return outcome == STELE_END ? STELE_OK : outcome;
}

static void take_in_settings(struct stele_auth *auth)
{
    struct stele_stream_info info = {.revision_last = 0};
    const int outcome = auth->engine->ops->stream_info(auth->engine, SETTINGS_STREAM, &info, NULL);
    const bool exists = outcome == STELE_OK && !info.deleted && !info.tombstoned;
    if ((exists ? info.revision_last : UINT64_MAX) != auth->settings_revision) {
        load_settings(auth);
    }
}

void stele_auth__begin_watching(struct stele_auth *auth)
{
    auth->watched = auth->engine->ops->last_position(auth->engine);
    auth->starting = true;
    take_in_settings(auth);
    auth->starting = false;
}

void stele_auth__catch_up(struct stele_auth *auth)
{
    const uint64_t last = auth->engine->ops->last_position(auth->engine);
    if (last == auth->watched) {
        return;
    }
    if (take_in_metadata(auth) != STELE_OK) {
        /* What was missed is unknown, so nothing that is kept can be trusted. Asked for again it is
         * read from the store, or denied if that fails, too. */
        remove_all(auth);
        stele_auth__changed(auth);
    }
    auth->watched = last;
    take_in_settings(auth);
}

/* ---- Answers ---- */

static bool is_text(struct stele_text name, const char *text)
{
    return name.size == strlen(text) && begins_with(name, text);
}

bool stele_auth_is_secret(struct stele_text stream)
{
    while (begins_with(stream, "$$")) {
        stream = (struct stele_text){stream.data + 2, stream.size - 2};
    }
    return begins_with(stream, STELE_USER_STREAM_PREFIX) || is_text(stream, STELE_USERS_STREAM) ||
           is_text(stream, STELE_USERS_NOTIFICATIONS_STREAM) || is_text(stream, SETTINGS_STREAM) ||
           is_text(stream, STELE_AUDIT_STREAM) || begins_with(stream, "$ce-$") ||
           begins_with(stream, "$et-$");
}

static enum stele_right right_of_metadata(enum stele_right right)
{
    return right == STELE_RIGHT_READ || right == STELE_RIGHT_META_READ ? STELE_RIGHT_META_READ
                                                                       : STELE_RIGHT_META_WRITE;
}

/* Neither the stream's own list nor the defaults in the store have a word about it. */
static bool built_in(struct stele_text stream, bool all_counts)
{
    return !begins_with(stream, "$") && all_counts;
}

static bool judge(struct stele_auth *auth, const struct stele_principal *principal,
                  struct stele_text stream, enum stele_right right, const struct stele_acl *acl)
{
    const bool all_counts = !principal->anonymous || auth->options.anonymous_streams;
    if (stele_acl_sets(acl, right)) {
        return stele_acl_allows(acl, right, principal, all_counts);
    }
    const struct stele_acl *const defaults =
        begins_with(stream, "$") ? auth->acl_system : auth->acl_users;
    if (stele_acl_sets(defaults, right) && !stele_auth_is_secret(stream)) {
        return stele_acl_allows(defaults, right, principal, all_counts);
    }
    return built_in(stream, all_counts);
}

static bool ask(struct stele_auth *auth, const struct stele_principal *principal,
                struct stele_text stream, enum stele_right right)
{
    stele_auth__catch_up(auth);
    const uint64_t hash = hash_of(stream);
    struct stele_auth__acl_entry *entry = *place_of(auth, stream, hash);
    if (entry == NULL) {
        char name[STELE_STREAM_NAME_SIZE_MAX + 1];
        struct stele_acl *acl = NULL;
        memcpy(name, stream.data, stream.size);
        name[stream.size] = '\0';
        if (load_acl(auth, name, &acl) != STELE_OK) {
            return false;
        }
        entry = add(auth, stream, hash, acl);
        if (entry == NULL) {
            return false;
        }
    } else if (entry != auth->acl_newest) {
        unlink_entry(auth, entry);
        link_newest(auth, entry);
    }
    return judge(auth, principal, stream, right, entry->acl);
}

bool stele_auth_may(struct stele_auth *auth, const struct stele_principal *principal,
                    struct stele_text stream, enum stele_right right)
{
    if (principal->all_rights) {
        return true;
    }
    if (__atomic_load_n(&principal->revoked, __ATOMIC_ACQUIRE) != 0) {
        return false;
    }
    if (principal->is_admin) {
        return true;
    }
    if (begins_with(stream, "$$")) {
        stream = (struct stele_text){stream.data + 2, stream.size - 2};
        right = right_of_metadata(right);
    }
    if (stream.size == 0 || stream.size > STELE_STREAM_NAME_SIZE_MAX ||
        memchr(stream.data, '\0', stream.size) != NULL) {
        return false;
    }
    stele_auth__lock(auth);
    const bool may = ask(auth, principal, stream, right);
    stele_auth__unlock(auth);
    return may;
}

uint64_t stele_auth_generation(const struct stele_auth *auth)
{
    return __atomic_load_n(&auth->generation, __ATOMIC_ACQUIRE);
}
