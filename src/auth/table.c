#include "auth/auth.h"

struct rpc {
    const char *path;
    enum stele_rule rule;
};

#define RPC(name, path, rule) [STELE_RPC_##name] = {path, STELE_RULE_##rule},
static const struct rpc rpcs[STELE_RPC_COUNT] = {STELE_RPC_TABLE(RPC)};
#undef RPC

struct route {
    const char *method;
    const char *path;
    enum stele_rule rule;
};

#define ROUTE(name, method, path, rule) [STELE_ROUTE_##name] = {method, path, STELE_RULE_##rule},
static const struct route routes[STELE_ROUTE_COUNT] = {STELE_ROUTE_TABLE(ROUTE)};
#undef ROUTE

enum stele_rule stele_auth_rpc_rule(enum stele_rpc rpc)
{
    STELE_ASSERT(rpc < STELE_RPC_COUNT);
    return rpcs[rpc].rule;
}

const char *stele_auth_rpc_path(enum stele_rpc rpc)
{
    STELE_ASSERT(rpc < STELE_RPC_COUNT);
    return rpcs[rpc].path;
}

enum stele_rule stele_auth_route_rule(enum stele_route route)
{
    STELE_ASSERT(route < STELE_ROUTE_COUNT);
    return routes[route].rule;
}

const char *stele_auth_route_method(enum stele_route route)
{
    STELE_ASSERT(route < STELE_ROUTE_COUNT);
    return routes[route].method;
}

const char *stele_auth_route_path(enum stele_route route)
{
    STELE_ASSERT(route < STELE_ROUTE_COUNT);
    return routes[route].path;
}

bool stele_auth_may_call(const struct stele_principal *principal, enum stele_rule rule)
{
    if (principal->all_rights) {
        return true;
    }
    if (__atomic_load_n(&principal->revoked, __ATOMIC_ACQUIRE) != 0) {
        return rule == STELE_RULE_ANYONE;
    }
    switch (rule) {
    case STELE_RULE_ANYONE:
    case STELE_RULE_STREAM: /* An ACL may be open to callers without a name. */
        return true;
    case STELE_RULE_USER:
        return !principal->anonymous;
    case STELE_RULE_OPS:
        return principal->is_ops || principal->is_admin;
    case STELE_RULE_ADMIN:
        return principal->is_admin;
    }
    return false;
}
