/* How commands, tables and greetings look as bytes. Little-endian; a text is its size in two bytes and
 * itself.
 *
 *     command   1 layout = 1   1 kind   2 zero   8 if_version, then by kind:
 *               number      8                                   all but FOUND, JOIN, GATE, SET, PREFER
 *               cluster     16 id  4 format  4 partitions  4 key          FOUND, JOIN, REPLACE
 *               node        16 incarnation  name  zone  cluster address  client address  version
 *                           8 features  8 starts  8 boot                  … and UPDATE, START
 *               past        1 count  { 8 starts  8 boot }                 START
 *               alive       1 count  8 each                               REMOVE, REPLACE
 *               features    8                                             GATE
 *               setting     key  value                                    SET
 *               leaders     2 count  8 each                               PREFER
 *               voters      2 count  1 width  of each: so many places     PLACE
 *
 *     table     4 "STmt"   4 layout       4 CRC-32C of the rest   8 version, and if that is not 0:
 *               cluster   8 next number  8 gates  8 version of the leaders
 *               1 nodes    { 8 number  1 state  node }
 *               2 removed  { 8 number  16 incarnation  name }
 *               1 settings { key  value }
 *               1 for each partition: 0, or 1 + which node in the list above leads it
 *               and in layout 2, which it is as soon as voters were placed:
 *               8 version of the voters  1 width  { width times: as above, who votes }
 *
 *     greeting  4 "SThi"   4 layout   cluster  8 number  16 incarnation  8 features  8 starts  8 boot
 *               8 table version  8 durable  version
 *               and in layout 2, which nodes of the first version do not know:
 *               past, of one start at least
 *
 * A byte more or less than that is damage. The checksum is there because a table lives long and moves
 * far; what it says is looked at all the same, because whoever wants to do harm can compute one. */
#include "base/checksum.h"
#include "base/status.h"
#include "cluster/meta_internal.h"

#define LAYOUT 1
#define LAYOUT_VOTERS 2
#define LAYOUT_PAST 2
#define TABLE_MAGIC UINT32_C(0x746d5453) /* "STmt" */
#define HELLO_MAGIC UINT32_C(0x69685453) /* "SThi" */
#define TABLE_HEAD 12

/* ---- Sizes ---- */

#define CLUSTER_SIZE ((size_t)16 + 3 * 4)
#define NODE_SIZE_MAX                                                                              \
    ((size_t)16 + 5 * 2 + 2 * STELE_META_NAME_MAX + 2 * STELE_META_ADDRESS_MAX +                   \
     STELE_META_VERSION_MAX + 3 * 8)
#define PAST_SIZE_MAX ((size_t)1 + 16 * STELE_META_PAST_MAX)
#define SETTING_SIZE_MAX ((size_t)2 * 2 + STELE_META_KEY_MAX + STELE_META_VALUE_MAX)

_Static_assert(TABLE_HEAD + 8 + CLUSTER_SIZE + 3 * 8 + 1 +
                       STELE_META_NODES_MAX * (9 + NODE_SIZE_MAX) + 2 +
                       STELE_META_REMOVED_MAX * (8 + 16 + 2 + STELE_META_NAME_MAX) + 1 +
                       STELE_META_SETTINGS_MAX * SETTING_SIZE_MAX +
                       STELE_PARTITIONS_MAX * (1 + STELE_META_REPLICAS_MAX) + 9 <=
                   STELE_META_SNAPSHOT_SIZE_MAX,
               "the fullest table fits into a snapshot");
_Static_assert(12 + 8 + CLUSTER_SIZE + NODE_SIZE_MAX + 1 + 8 * STELE_META_NODES_MAX <=
                   STELE_META_COMMAND_SIZE_MAX,
               "the longest REPLACE fits into a command");
_Static_assert(12 + 2 + 8 * STELE_PARTITIONS_MAX <= STELE_META_COMMAND_SIZE_MAX,
               "the longest PREFER fits into a command");
_Static_assert(12 + 3 + STELE_META_REPLICAS_MAX * STELE_PARTITIONS_MAX <=
                   STELE_META_COMMAND_SIZE_MAX,
               "the longest PLACE fits into a command");
_Static_assert(8 + CLUSTER_SIZE + 7 * 8 + 16 + 2 + STELE_META_VERSION_MAX + PAST_SIZE_MAX <=
                   STELE_META_HELLO_SIZE_MAX,
               "the longest greeting fits");
_Static_assert(STELE_META_NODES_MAX < 255, "a place in the list of nodes fits into a byte");

/* ---- Writing ---- */

static uint8_t *put_u8(uint8_t *to, uint64_t value)
{
    STELE_ASSERT(value <= UINT8_MAX);
    *to = (uint8_t)value;
    return to + 1;
}

static uint8_t *put_u16(uint8_t *to, uint64_t value)
{
    STELE_ASSERT(value <= UINT16_MAX);
    stele_store_u16le(to, (uint16_t)value);
    return to + 2;
}

static uint8_t *put_u32(uint8_t *to, uint32_t value)
{
    stele_store_u32le(to, value);
    return to + 4;
}

static uint8_t *put_u64(uint8_t *to, uint64_t value)
{
    stele_store_u64le(to, value);
    return to + 8;
}

static uint8_t *put_id(uint8_t *to, const uint8_t id[STELE_META_ID_SIZE])
{
    memcpy(to, id, STELE_META_ID_SIZE);
    return to + STELE_META_ID_SIZE;
}

/* room: of the array that the text is in. */
static uint8_t *put_text(uint8_t *to, const char *text, size_t room)
{
    const size_t size = strnlen(text, room);
    STELE_ASSERT(size < room);
    to = put_u16(to, size);
    memcpy(to, text, size);
    return to + size;
}

static uint8_t *put_cluster(uint8_t *to, const uint8_t id[STELE_META_ID_SIZE], uint32_t format,
                            uint32_t partitions, uint32_t partition_key)
{
    to = put_id(to, id);
    to = put_u32(to, format);
    to = put_u32(to, partitions);
    return put_u32(to, partition_key);
}

static uint8_t *put_node(uint8_t *to, const struct stele_meta_node *node)
{
    to = put_id(to, node->incarnation);
    to = put_text(to, node->name, sizeof(node->name));
    to = put_text(to, node->zone, sizeof(node->zone));
    to = put_text(to, node->cluster_address, sizeof(node->cluster_address));
    to = put_text(to, node->client_address, sizeof(node->client_address));
    to = put_text(to, node->version, sizeof(node->version));
    to = put_u64(to, node->features);
    to = put_u64(to, node->starts);
    return put_u64(to, node->boot);
}

static uint8_t *put_past(uint8_t *to, const struct stele_meta_past *past)
{
    STELE_ASSERT(past->count > 0);
    STELE_ASSERT(past->count <= STELE_META_PAST_MAX);
    to = put_u8(to, past->count);
    for (size_t i = 0; i < past->count; i++) {
        to = put_u64(to, past->starts[i].starts);
        to = put_u64(to, past->starts[i].boot);
    }
    return to;
}

/* As wide as the widest row. */
static uint8_t *put_places(uint8_t *to, uint32_t partitions,
                           const uint8_t voters[STELE_PARTITIONS_MAX][STELE_META_REPLICAS_MAX])
{
    size_t width = 0;
    STELE_ASSERT(partitions <= STELE_PARTITIONS_MAX);
    for (uint32_t i = 0; i < partitions; i++) {
        for (size_t k = width; k < STELE_META_REPLICAS_MAX; k++) {
            width = voters[i][k] != 0 ? k + 1 : width;
        }
    }
    to = put_u16(to, partitions);
    to = put_u8(to, width);
    for (uint32_t i = 0; i < partitions; i++) {
        memcpy(to, voters[i], width);
        to += width;
    }
    return to;
}

static uint8_t *put_setting(uint8_t *to, const struct stele_meta_setting *setting)
{
    to = put_text(to, setting->key, sizeof(setting->key));
    return put_text(to, setting->value, sizeof(setting->value));
}

/* ---- Reading: after the first fault nothing is read any more, and everything is 0 ---- */

struct reader {
    const uint8_t *at;
    size_t left;
    bool bad;
};

static const uint8_t *get(struct reader *reader, size_t size)
{
    if (reader->bad || reader->left < size) {
        reader->bad = true;
        return NULL;
    }
    const uint8_t *const at = reader->at;
    reader->at += size;
    reader->left -= size;
    return at;
}

static uint8_t get_u8(struct reader *reader)
{
    const uint8_t *const at = get(reader, 1);
    return at == NULL ? 0 : *at;
}

static uint16_t get_u16(struct reader *reader)
{
    const uint8_t *const at = get(reader, 2);
    return at == NULL ? 0 : stele_load_u16le(at);
}

static uint32_t get_u32(struct reader *reader)
{
    const uint8_t *const at = get(reader, 4);
    return at == NULL ? 0 : stele_load_u32le(at);
}

static uint64_t get_u64(struct reader *reader)
{
    const uint8_t *const at = get(reader, 8);
    return at == NULL ? 0 : stele_load_u64le(at);
}

static void get_id(struct reader *reader, uint8_t id[STELE_META_ID_SIZE])
{
    const uint8_t *const at = get(reader, STELE_META_ID_SIZE);
    if (at != NULL) {
        memcpy(id, at, STELE_META_ID_SIZE);
    }
}

static void get_text(struct reader *reader, char *text, size_t room)
{
    const size_t size = get_u16(reader);
    const uint8_t *const at = get(reader, size);
    if (at == NULL || size >= room || memchr(at, '\0', size) != NULL) {
        reader->bad = true;
        return;
    }
    memcpy(text, at, size);
    text[size] = '\0';
}

/* A count that is in its bounds, or the fault. */
static size_t get_count(struct reader *reader, size_t count, size_t count_max)
{
    if (count > count_max) {
        reader->bad = true;
        return 0;
    }
    return count;
}

static void get_cluster(struct reader *reader, uint8_t id[STELE_META_ID_SIZE], uint32_t *format,
                        uint32_t *partitions, uint32_t *partition_key)
{
    get_id(reader, id);
    *format = get_u32(reader);
    *partitions = get_u32(reader);
    *partition_key = get_u32(reader);
}

static void get_node(struct reader *reader, struct stele_meta_node *node)
{
    get_id(reader, node->incarnation);
    get_text(reader, node->name, sizeof(node->name));
    get_text(reader, node->zone, sizeof(node->zone));
    get_text(reader, node->cluster_address, sizeof(node->cluster_address));
    get_text(reader, node->client_address, sizeof(node->client_address));
    get_text(reader, node->version, sizeof(node->version));
    node->features = get_u64(reader);
    node->starts = get_u64(reader);
    node->boot = get_u64(reader);
}

/* Of who was started last under these numbers. */
static void get_past(struct reader *reader, uint64_t starts, uint64_t boot,
                     struct stele_meta_past *past)
{
    past->count = get_count(reader, get_u8(reader), STELE_META_PAST_MAX);
    uint64_t before = 0;
    for (size_t i = 0; i < past->count; i++) {
        past->starts[i].starts = get_u64(reader);
        past->starts[i].boot = get_u64(reader);
        reader->bad = reader->bad || past->starts[i].starts <= before;
        before = past->starts[i].starts;
    }
    reader->bad = reader->bad || past->count == 0 || before != starts ||
                  past->starts[past->count - 1].boot != boot;
}

static void get_setting(struct reader *reader, struct stele_meta_setting *setting)
{
    get_text(reader, setting->key, sizeof(setting->key));
    get_text(reader, setting->value, sizeof(setting->value));
}

/* ---- Commands ---- */

#define HAS_NUMBER 1U
#define HAS_CLUSTER 2U
#define HAS_NODE 4U
#define HAS_ALIVE 8U
#define HAS_FEATURES 16U
#define HAS_SETTING 32U
#define HAS_LEADERS 64U
#define HAS_VOTERS 128U
#define HAS_PAST 256U

/* What a command consists of, in the order of these bits; 0: there is no such kind. */
static unsigned parts_of(unsigned kind)
{
    static const uint16_t parts[] = {
        [STELE_META_FOUND] = HAS_CLUSTER | HAS_NODE,
        [STELE_META_JOIN] = HAS_CLUSTER | HAS_NODE,
        [STELE_META_ACTIVATE] = HAS_NUMBER,
        [STELE_META_DRAIN] = HAS_NUMBER,
        [STELE_META_UNDRAIN] = HAS_NUMBER,
        [STELE_META_REMOVE] = HAS_NUMBER | HAS_ALIVE,
        [STELE_META_REPLACE] = HAS_NUMBER | HAS_CLUSTER | HAS_NODE | HAS_ALIVE,
        [STELE_META_UPDATE] = HAS_NUMBER | HAS_NODE,
        [STELE_META_GATE] = HAS_FEATURES,
        [STELE_META_SET] = HAS_SETTING,
        [STELE_META_PREFER] = HAS_LEADERS,
        [STELE_META_PLACE] = HAS_VOTERS,
        [STELE_META_START] = HAS_NUMBER | HAS_NODE | HAS_PAST,
    };
    return kind < STELE_COUNT_OF(parts) ? parts[kind] : 0;
}

size_t stele_meta_command_encode(const struct stele_meta_command *command,
                                 uint8_t to[STELE_META_COMMAND_SIZE_MAX])
{
    const unsigned parts = parts_of(command->kind);
    STELE_ASSERT(parts != 0);
    uint8_t *at = put_u8(to, LAYOUT);
    at = put_u8(at, command->kind);
    at = put_u16(at, 0);
    at = put_u64(at, command->if_version);
    if ((parts & HAS_NUMBER) != 0) {
        at = put_u64(at, command->number);
    }
    if ((parts & HAS_CLUSTER) != 0) {
        at = put_cluster(at, command->cluster_id, command->format, command->partitions,
                         command->partition_key);
    }
    if ((parts & HAS_NODE) != 0) {
        at = put_node(at, &command->node);
    }
    if ((parts & HAS_ALIVE) != 0) {
        STELE_ASSERT(command->alive_count <= STELE_META_NODES_MAX);
        at = put_u8(at, command->alive_count);
        for (size_t i = 0; i < command->alive_count; i++) {
            at = put_u64(at, command->alive[i]);
        }
    }
    if ((parts & HAS_FEATURES) != 0) {
        at = put_u64(at, command->features);
    }
    if ((parts & HAS_SETTING) != 0) {
        at = put_setting(at, &command->setting);
    }
    if ((parts & HAS_LEADERS) != 0) {
        STELE_ASSERT(command->partitions <= STELE_PARTITIONS_MAX);
        at = put_u16(at, command->partitions);
        for (uint32_t i = 0; i < command->partitions; i++) {
            at = put_u64(at, command->leaders[i]);
        }
    }
    if ((parts & HAS_VOTERS) != 0) {
        at = put_places(at, command->partitions, command->voters);
    }
    if ((parts & HAS_PAST) != 0) {
        at = put_past(at, &command->past);
    }
    STELE_ASSERT((size_t)(at - to) <= STELE_META_COMMAND_SIZE_MAX);
    return (size_t)(at - to);
}

static void get_places(struct reader *reader, uint32_t *partitions,
                       uint8_t voters[STELE_PARTITIONS_MAX][STELE_META_REPLICAS_MAX])
{
    *partitions = (uint32_t)get_count(reader, get_u16(reader), STELE_PARTITIONS_MAX);
    const size_t width = get_count(reader, get_u8(reader), STELE_META_REPLICAS_MAX);
    bool full = width == 0;
    for (uint32_t i = 0; i < *partitions; i++) {
        for (size_t k = 0; k < width; k++) {
            voters[i][k] = get_u8(reader);
        }
        full = full || voters[i][width - 1] != 0;
    }
    reader->bad = reader->bad || !full; /* One spelling of each. */
}

static void get_parts(struct reader *reader, unsigned parts, struct stele_meta_command *command)
{
    if ((parts & HAS_NUMBER) != 0) {
        command->number = get_u64(reader);
    }
    if ((parts & HAS_CLUSTER) != 0) {
        get_cluster(reader, command->cluster_id, &command->format, &command->partitions,
                    &command->partition_key);
    }
    if ((parts & HAS_NODE) != 0) {
        get_node(reader, &command->node);
    }
    if ((parts & HAS_ALIVE) != 0) {
        command->alive_count = get_count(reader, get_u8(reader), STELE_META_NODES_MAX);
        for (size_t i = 0; i < command->alive_count; i++) {
            command->alive[i] = get_u64(reader);
        }
    }
    if ((parts & HAS_FEATURES) != 0) {
        command->features = get_u64(reader);
    }
    if ((parts & HAS_SETTING) != 0) {
        get_setting(reader, &command->setting);
    }
    if ((parts & HAS_LEADERS) != 0) {
        command->partitions = (uint32_t)get_count(reader, get_u16(reader), STELE_PARTITIONS_MAX);
        for (uint32_t i = 0; i < command->partitions; i++) {
            command->leaders[i] = get_u64(reader);
        }
    }
    if ((parts & HAS_VOTERS) != 0) {
        get_places(reader, &command->partitions, command->voters);
    }
    if ((parts & HAS_PAST) != 0) {
        get_past(reader, command->node.starts, command->node.boot, &command->past);
    }
}

int stele_meta_command_decode(struct stele_bytes bytes, struct stele_meta_command *out_command)
{
    struct reader reader = {.at = bytes.data, .left = bytes.size};
    const uint8_t layout = get_u8(&reader);
    const uint8_t kind = get_u8(&reader);
    const uint16_t zero = get_u16(&reader);
    if (reader.bad || layout == 0 || kind == 0) {
        return STELE_E_CORRUPT;
    }
    const unsigned parts = parts_of(kind);
    if (layout > LAYOUT || parts == 0) {
        return STELE_E_FORMAT;
    }
    memset(out_command, 0, sizeof(*out_command));
    out_command->kind = (enum stele_meta_kind)kind;
    out_command->if_version = get_u64(&reader);
    get_parts(&reader, parts, out_command);
    return reader.bad || reader.left > 0 || zero != 0 ? STELE_E_CORRUPT : STELE_OK;
}

/* ---- Tables ---- */

static uint8_t *put_leaders(uint8_t *to, const struct stele_meta *meta)
{
    for (uint32_t i = 0; i < meta->partitions; i++) {
        const struct stele_meta_node *const node = stele_meta_find(meta, meta->leaders[i]);
        to = put_u8(to, node == NULL ? 0 : (uint64_t)(node - meta->nodes) + 1);
    }
    return to;
}

static uint8_t place_of(const struct stele_meta *meta, uint64_t number)
{
    const struct stele_meta_node *const node = stele_meta_find(meta, number);
    STELE_ASSERT(node != NULL);
    return (uint8_t)(node - meta->nodes + 1);
}

static size_t width_of(const struct stele_meta *meta)
{
    size_t width = 0;
    for (uint32_t i = 0; i < meta->partitions; i++) {
        const size_t count = stele_meta_voters_count(meta, i);
        width = count > width ? count : width;
    }
    return width;
}

static uint8_t *put_voters(uint8_t *to, const struct stele_meta *meta)
{
    const size_t width = width_of(meta);
    to = put_u64(to, meta->voters_version);
    to = put_u8(to, width);
    for (uint32_t i = 0; i < meta->partitions; i++) {
        for (size_t k = 0; k < width; k++) {
            to = put_u8(to, meta->voters[i][k] == 0 ? 0 : place_of(meta, meta->voters[i][k]));
        }
    }
    return to;
}

static uint8_t *put_body(uint8_t *to, const struct stele_meta *meta)
{
    to = put_cluster(to, meta->cluster_id, meta->format, meta->partitions, meta->partition_key);
    to = put_u64(to, meta->next_number);
    to = put_u64(to, meta->gates);
    to = put_u64(to, meta->leaders_version);
    to = put_u8(to, meta->nodes_count);
    for (size_t i = 0; i < meta->nodes_count; i++) {
        to = put_u64(to, meta->nodes[i].number);
        to = put_u8(to, meta->nodes[i].state);
        to = put_node(to, &meta->nodes[i]);
    }
    to = put_u16(to, meta->removed_count);
    for (size_t i = 0; i < meta->removed_count; i++) {
        to = put_u64(to, meta->removed[i].number);
        to = put_id(to, meta->removed[i].incarnation);
        to = put_text(to, meta->removed[i].name, sizeof(meta->removed[i].name));
    }
    to = put_u8(to, meta->settings_count);
    for (size_t i = 0; i < meta->settings_count; i++) {
        to = put_setting(to, &meta->settings[i]);
    }
    to = put_leaders(to, meta);
    return meta->voters_version == 0 ? to : put_voters(to, meta);
}

size_t stele_meta_encode(const struct stele_meta *meta, uint8_t to[STELE_META_SNAPSHOT_SIZE_MAX])
{
    stele_meta_check(meta);
    uint8_t *at = put_u64(to + TABLE_HEAD, meta->version);
    if (meta->version != 0) {
        at = put_body(at, meta);
    }
    const size_t size = (size_t)(at - to);
    STELE_ASSERT(size <= STELE_META_SNAPSHOT_SIZE_MAX);
    stele_store_u32le(to, TABLE_MAGIC);
    stele_store_u32le(to + 4, meta->voters_version == 0 ? LAYOUT : LAYOUT_VOTERS);
    stele_store_u32le(to + 8, stele_crc32c((struct stele_bytes){.data = to + TABLE_HEAD,
                                                                .size = size - TABLE_HEAD}));
    return size;
}

static void get_leaders(struct reader *reader, struct stele_meta *meta)
{
    if (meta->partitions > STELE_PARTITIONS_MAX) {
        reader->bad = true;
        return;
    }
    for (uint32_t i = 0; i < meta->partitions; i++) {
        const size_t place = get_count(reader, get_u8(reader), meta->nodes_count);
        meta->leaders[i] = place == 0 ? 0 : meta->nodes[place - 1].number;
    }
}

static void get_voters(struct reader *reader, struct stele_meta *meta)
{
    meta->voters_version = get_u64(reader);
    const size_t width = get_count(reader, get_u8(reader), STELE_META_REPLICAS_MAX);
    if (reader->bad || meta->voters_version == 0) {
        reader->bad = true;
        return;
    }
    for (uint32_t i = 0; i < meta->partitions; i++) {
        bool ended = false;
        for (size_t k = 0; k < width; k++) {
            const size_t place = get_count(reader, get_u8(reader), meta->nodes_count);
            reader->bad = reader->bad || (ended && place != 0);
            ended = place == 0;
            meta->voters[i][k] = place == 0 ? 0 : meta->nodes[place - 1].number;
        }
    }
    reader->bad = reader->bad || width != width_of(meta); /* One spelling of each table. */
}

static void get_body(struct reader *reader, struct stele_meta *meta, uint32_t layout)
{
    get_cluster(reader, meta->cluster_id, &meta->format, &meta->partitions, &meta->partition_key);
    meta->next_number = get_u64(reader);
    meta->gates = get_u64(reader);
    meta->leaders_version = get_u64(reader);
    meta->nodes_count = get_count(reader, get_u8(reader), STELE_META_NODES_MAX);
    for (size_t i = 0; i < meta->nodes_count; i++) {
        meta->nodes[i].number = get_u64(reader);
        const uint8_t state = get_u8(reader);
        reader->bad = reader->bad || state < STELE_META_JOINING || state > STELE_META_DRAINING;
        meta->nodes[i].state = (enum stele_meta_state)state;
        get_node(reader, &meta->nodes[i]);
    }
    meta->removed_count = get_count(reader, get_u16(reader), STELE_META_REMOVED_MAX);
    for (size_t i = 0; i < meta->removed_count; i++) {
        meta->removed[i].number = get_u64(reader);
        get_id(reader, meta->removed[i].incarnation);
        get_text(reader, meta->removed[i].name, sizeof(meta->removed[i].name));
    }
    meta->settings_count = get_count(reader, get_u8(reader), STELE_META_SETTINGS_MAX);
    for (size_t i = 0; i < meta->settings_count; i++) {
        get_setting(reader, &meta->settings[i]);
    }
    get_leaders(reader, meta);
    if (layout >= LAYOUT_VOTERS && !reader->bad) {
        get_voters(reader, meta);
    }
}

int stele_meta_decode(struct stele_bytes bytes, struct stele_meta *out_meta)
{
    struct reader reader = {.at = bytes.data, .left = bytes.size};
    const uint32_t magic = get_u32(&reader);
    const uint32_t layout = get_u32(&reader);
    const uint32_t crc = get_u32(&reader);
    if (reader.bad || magic != TABLE_MAGIC || layout == 0) {
        return STELE_E_CORRUPT;
    }
    if (layout > LAYOUT_VOTERS) {
        return STELE_E_FORMAT;
    }
    if (stele_crc32c((struct stele_bytes){.data = reader.at, .size = reader.left}) != crc) {
        return STELE_E_CORRUPT;
    }
    stele_meta_init(out_meta);
    out_meta->version = get_u64(&reader);
    reader.bad = reader.bad || (out_meta->version == 0 && layout != LAYOUT);
    if (out_meta->version != 0) {
        get_body(&reader, out_meta, layout);
    }
    if (reader.bad || reader.left > 0) {
        return STELE_E_CORRUPT;
    }
    return stele_meta__fault(out_meta) == NULL ? STELE_OK : STELE_E_CORRUPT;
}

/* ---- Greetings ---- */

size_t stele_meta_hello_encode(const struct stele_meta_hello *hello,
                               uint8_t to[STELE_META_HELLO_SIZE_MAX])
{
    uint8_t *at = put_u32(to, HELLO_MAGIC);
    at = put_u32(at, hello->past.count == 0 ? LAYOUT : LAYOUT_PAST);
    at = put_cluster(at, hello->cluster_id, hello->format, hello->partitions, hello->partition_key);
    at = put_u64(at, hello->number);
    at = put_id(at, hello->incarnation);
    at = put_u64(at, hello->features);
    at = put_u64(at, hello->starts);
    at = put_u64(at, hello->boot);
    at = put_u64(at, hello->table_version);
    at = put_u64(at, hello->durable);
    at = put_text(at, hello->version, sizeof(hello->version));
    at = hello->past.count == 0 ? at : put_past(at, &hello->past);
    return (size_t)(at - to);
}

int stele_meta_hello_decode(struct stele_bytes bytes, struct stele_meta_hello *out_hello)
{
    struct reader reader = {.at = bytes.data, .left = bytes.size};
    struct stele_meta_hello hello = {.number = 0};
    const uint32_t magic = get_u32(&reader);
    const uint32_t layout = get_u32(&reader);
    if (reader.bad || magic != HELLO_MAGIC || layout == 0) {
        return STELE_E_CORRUPT;
    }
    if (layout > LAYOUT_PAST) {
        return STELE_E_FORMAT;
    }
    get_cluster(&reader, hello.cluster_id, &hello.format, &hello.partitions, &hello.partition_key);
    hello.number = get_u64(&reader);
    get_id(&reader, hello.incarnation);
    hello.features = get_u64(&reader);
    hello.starts = get_u64(&reader);
    hello.boot = get_u64(&reader);
    hello.table_version = get_u64(&reader);
    hello.durable = get_u64(&reader);
    get_text(&reader, hello.version, sizeof(hello.version));
    if (layout == LAYOUT_PAST) {
        get_past(&reader, hello.starts, hello.boot, &hello.past);
    }
    if (reader.bad || reader.left > 0 || !stele_meta__is_plain(hello.version)) {
        return STELE_E_CORRUPT;
    }
    *out_hello = hello;
    return STELE_OK;
}
