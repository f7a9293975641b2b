#include "base/status.h"
#include "grpc/grpc_internal.h"

static uint64_t hash_of(const char *text, size_t size)
{
    uint64_t hash = UINT64_C(0xcbf29ce484222325); /* FNV-1a; the texts are our own. */
    for (size_t i = 0; i < size; i++) {
        hash = (hash ^ (uint8_t)text[i]) * UINT64_C(0x100000001b3);
    }
    return hash ^ hash >> 32;
}

int stele_grpc_create(struct stele_server *server, struct stele_auth *auth,
                      const struct stele_grpc_table *table, struct stele_alloc *alloc,
                      struct stele_grpc **out_grpc)
{
    struct stele_grpc *grpc = stele_allocate_zeroed(alloc, sizeof *grpc);
    if (grpc == NULL) {
        return STELE_E_NO_MEMORY;
    }
    grpc->server = server;
    grpc->auth = auth;
    grpc->alloc = alloc;
    grpc->table = *table;
    for (int i = 0; i < STELE_RPC_COUNT; i++) {
        const struct stele_method *method = table->methods[i];
        STELE_ASSERT(method == NULL || method->rpc == (enum stele_rpc)i);
        const char *path = stele_auth_rpc_path((enum stele_rpc)i);
        size_t slot = hash_of(path, strlen(path)) % STELE_GRPC__SLOTS;
        while (grpc->slots[slot] != 0) {
            slot = (slot + 1) % STELE_GRPC__SLOTS;
        }
        grpc->slots[slot] = (uint16_t)(i + 1);
    }
    *out_grpc = grpc;
    return STELE_OK;
}

void stele_grpc_destroy(struct stele_grpc *grpc)
{
    if (grpc != NULL) {
        stele_release(grpc->alloc, grpc, sizeof *grpc);
    }
}

const struct stele_method *stele_grpc__find(const struct stele_grpc *grpc, struct stele_text path)
{
    size_t slot = hash_of(path.data, path.size) % STELE_GRPC__SLOTS;
    for (; grpc->slots[slot] != 0; slot = (slot + 1) % STELE_GRPC__SLOTS) {
        const int rpc = grpc->slots[slot] - 1;
        const char *known = stele_auth_rpc_path((enum stele_rpc)rpc);
        if (strlen(known) == path.size && memcmp(known, path.data, path.size) == 0) {
            return grpc->table.methods[rpc];
        }
    }
    return NULL;
}

bool stele_grpc_wants(const struct stele_exchange *exchange)
{
    static const char type[] = "application/grpc";
    const size_t size = sizeof type - 1;
    const struct stele_text value = stele_exchange_header(exchange, "content-type");
    if (value.data == NULL || value.size < size || memcmp(value.data, type, size) != 0) {
        return false;
    }
    /* "application/grpc-web" is another protocol. */
    return stele_exchange_is_h2(exchange) &&
           (value.size == size || value.data[size] == '+' || value.data[size] == ';');
}
