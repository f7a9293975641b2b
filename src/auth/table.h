/* The authorization table: one row for every RPC and every HTTP route there is. Who has no row does
 * not exist: methods and routes are indexed by these names, so a missing row does not compile.
 *
 *     row(NAME, path, rule)        an RPC: STELE_RPC_NAME
 *     row(NAME, method, path, rule)  an HTTP route: STELE_ROUTE_NAME; "*" at the end: any rest
 *
 * Rules (enum stele_rule): who may call at all. What depends on the stream named in the request is
 * checked by the service with stele_auth_may() (rule STREAM says that it does). */
#ifndef STELE_AUTH_TABLE_H
#define STELE_AUTH_TABLE_H

/* clang-format off */
#define KURRENT_(service) "/event_store.client." service "/"

#define STELE_RPC_TABLE(row) \
    row(KURRENT_FEATURES,              KURRENT_("server_features.ServerFeatures") "GetSupportedMethods", ANYONE) \
    row(KURRENT_GOSSIP_READ,           KURRENT_("gossip.Gossip") "Read",                       ANYONE) \
    row(KURRENT_STREAMS_READ,          KURRENT_("streams.Streams") "Read",                     STREAM) \
    row(KURRENT_STREAMS_APPEND,        KURRENT_("streams.Streams") "Append",                   STREAM) \
    row(KURRENT_STREAMS_BATCH_APPEND,  KURRENT_("streams.Streams") "BatchAppend",              STREAM) \
    row(KURRENT_STREAMS_DELETE,        KURRENT_("streams.Streams") "Delete",                   STREAM) \
    row(KURRENT_STREAMS_TOMBSTONE,     KURRENT_("streams.Streams") "Tombstone",                STREAM) \
    row(KURRENT_V2_APPEND_SESSION,     "/kurrentdb.protocol.v2.streams.StreamsService/AppendSession", STREAM) \
    row(KURRENT_V2_APPEND_RECORDS,     "/kurrentdb.protocol.v2.streams.StreamsService/AppendRecords", STREAM) \
    row(KURRENT_PS_CREATE,             KURRENT_("persistent_subscriptions.PersistentSubscriptions") "Create",           OPS) \
    row(KURRENT_PS_UPDATE,             KURRENT_("persistent_subscriptions.PersistentSubscriptions") "Update",           OPS) \
    row(KURRENT_PS_DELETE,             KURRENT_("persistent_subscriptions.PersistentSubscriptions") "Delete",           OPS) \
    row(KURRENT_PS_READ,               KURRENT_("persistent_subscriptions.PersistentSubscriptions") "Read",             STREAM) \
    row(KURRENT_PS_GET_INFO,           KURRENT_("persistent_subscriptions.PersistentSubscriptions") "GetInfo",          USER) \
    row(KURRENT_PS_REPLAY_PARKED,      KURRENT_("persistent_subscriptions.PersistentSubscriptions") "ReplayParked",     OPS) \
    row(KURRENT_PS_TRUNCATE_PARKED,    KURRENT_("persistent_subscriptions.PersistentSubscriptions") "TruncateParked",   OPS) \
    row(KURRENT_PS_LIST,               KURRENT_("persistent_subscriptions.PersistentSubscriptions") "List",             USER) \
    row(KURRENT_PS_RESTART_SUBSYSTEM,  KURRENT_("persistent_subscriptions.PersistentSubscriptions") "RestartSubsystem", OPS) \
    row(KURRENT_PROJECTIONS_CREATE,    KURRENT_("projections.Projections") "Create",           OPS) \
    row(KURRENT_PROJECTIONS_UPDATE,    KURRENT_("projections.Projections") "Update",           OPS) \
    row(KURRENT_PROJECTIONS_DELETE,    KURRENT_("projections.Projections") "Delete",           OPS) \
    row(KURRENT_PROJECTIONS_STATISTICS, KURRENT_("projections.Projections") "Statistics",      USER) \
    row(KURRENT_PROJECTIONS_DISABLE,   KURRENT_("projections.Projections") "Disable",          OPS) \
    row(KURRENT_PROJECTIONS_ENABLE,    KURRENT_("projections.Projections") "Enable",           OPS) \
    row(KURRENT_PROJECTIONS_RESET,     KURRENT_("projections.Projections") "Reset",            OPS) \
    row(KURRENT_PROJECTIONS_STATE,     KURRENT_("projections.Projections") "State",            USER) \
    row(KURRENT_PROJECTIONS_RESULT,    KURRENT_("projections.Projections") "Result",           USER) \
    row(KURRENT_PROJECTIONS_RESTART,   KURRENT_("projections.Projections") "RestartSubsystem", OPS) \
    row(KURRENT_USERS_CREATE,          KURRENT_("users.Users") "Create",                       ADMIN) \
    row(KURRENT_USERS_UPDATE,          KURRENT_("users.Users") "Update",                       ADMIN) \
    row(KURRENT_USERS_DELETE,          KURRENT_("users.Users") "Delete",                       ADMIN) \
    row(KURRENT_USERS_DISABLE,         KURRENT_("users.Users") "Disable",                      ADMIN) \
    row(KURRENT_USERS_ENABLE,          KURRENT_("users.Users") "Enable",                       ADMIN) \
    row(KURRENT_USERS_DETAILS,         KURRENT_("users.Users") "Details",                      USER) \
    row(KURRENT_USERS_CHANGE_PASSWORD, KURRENT_("users.Users") "ChangePassword",               USER) \
    row(KURRENT_USERS_RESET_PASSWORD,  KURRENT_("users.Users") "ResetPassword",                ADMIN) \
    row(KURRENT_OPERATIONS_START_SCAVENGE, KURRENT_("operations.Operations") "StartScavenge",  OPS) \
    row(KURRENT_OPERATIONS_STOP_SCAVENGE,  KURRENT_("operations.Operations") "StopScavenge",   OPS) \
    row(KURRENT_OPERATIONS_SHUTDOWN,       KURRENT_("operations.Operations") "Shutdown",       OPS) \
    row(KURRENT_OPERATIONS_MERGE_INDEXES,  KURRENT_("operations.Operations") "MergeIndexes",   OPS) \
    row(KURRENT_OPERATIONS_RESIGN_NODE,    KURRENT_("operations.Operations") "ResignNode",     OPS) \
    row(KURRENT_OPERATIONS_SET_PRIORITY,   KURRENT_("operations.Operations") "SetNodePriority", OPS) \
    row(KURRENT_OPERATIONS_RESTART_PS,     KURRENT_("operations.Operations") "RestartPersistentSubscriptions", OPS) \
    row(KURRENT_MONITORING_STATS,      KURRENT_("monitoring.Monitoring") "Stats",              OPS) \
    row(NATIVE_APPEND_EVENTS,          "/stele.v1.EventStore/AppendEvents",                    STREAM) \
    row(NATIVE_APPEND,                 "/stele.v1.EventStore/Append",                          STREAM) \
    row(NATIVE_SUBSCRIBE_TO_STREAM,    "/stele.v1.EventStore/SubscribeToStream",               STREAM) \
    row(NATIVE_SUBSCRIBE_TO_ALL,       "/stele.v1.EventStore/SubscribeToAll",                  STREAM) \
    row(NATIVE_READ,                   "/stele.v1.EventStore/Read",                            STREAM) \
    row(NATIVE_READ_MANY,              "/stele.v1.EventStore/ReadMany",                        STREAM) \
    row(NATIVE_CONDITIONS,             "/stele.v1.EventStore/Conditions",                      STREAM) \
    row(NATIVE_STREAMS,                "/stele.v1.EventStore/Streams",                         STREAM) \
    row(NATIVE_META,                   "/stele.v1.EventStore/Meta",                            STREAM) \
    row(NATIVE_GROUPS,                 "/stele.v1.EventStore/Groups",                          USER) \
    row(NATIVE_CHANGE_GROUP,           "/stele.v1.EventStore/ChangeGroup",                     OPS) \
    row(NATIVE_CONSUME,                "/stele.v1.EventStore/Consume",                         STREAM) \
    row(NATIVE_ADMIN,                  "/stele.v1.EventStore/Admin",                           OPS) \
    row(HEALTH_CHECK,                  "/grpc.health.v1.Health/Check",                         ANYONE) \
    row(HEALTH_WATCH,                  "/grpc.health.v1.Health/Watch",                         ANYONE) \
    row(REFLECTION_V1,                 "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo", USER) \
    row(REFLECTION_V1ALPHA,            "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo", USER)

#define STELE_ROUTE_TABLE(row) \
    row(LIVE,            "GET",    "/health/live",                 ANYONE) \
    row(READY,           "GET",    "/health/ready",                ANYONE) \
    row(PING,            "GET",    "/ping",                        ANYONE) \
    row(INFO,            "GET",    "/info",                        ANYONE) \
    row(INFO_OPTIONS,    "GET",    "/info/options",                OPS) \
    row(STATS,           "GET",    "/stats",                       USER) \
    row(GOSSIP,          "GET",    "/gossip",                      ANYONE) \
    row(CLUSTER,         "GET",    "/cluster",                     USER) \
    row(CLUSTER_COMMAND, "POST",   "/cluster/*",                   ADMIN) \
    row(METRICS,         "GET",    "/metrics",                     USER) \
    row(OPENAPI,         "GET",    "/openapi.json",                ANYONE) \
    row(STREAMS,         "GET",    "/api/streams",                 USER) \
    row(STREAM_READ,     "GET",    "/api/streams/*",               STREAM) \
    row(STREAM_APPEND,   "POST",   "/api/streams/*",               STREAM) \
    row(STREAM_DELETE,   "DELETE", "/api/streams/*",               STREAM) \
    row(META_GET,        "GET",    "/api/meta/*",                  STREAM) \
    row(META_SET,        "PUT",    "/api/meta/*",                  STREAM) \
    row(ALL_READ,        "GET",    "/api/all",                     STREAM) \
    row(TAIL_STREAM,     "GET",    "/api/tail/*",                  STREAM) \
    row(TAIL_ALL,        "GET",    "/api/tail",                    STREAM) \
    row(CATEGORIES,      "GET",    "/api/categories",              USER) \
    row(TYPES,           "GET",    "/api/types",                   USER) \
    row(GROUPS,          "GET",    "/api/groups",                  USER) \
    row(GROUP_REPLAY,    "POST",   "/api/groups/replay",           OPS) \
    row(USERS,           "GET",    "/api/users",                   ADMIN) \
    row(USER_CREATE,     "POST",   "/api/users",                   ADMIN) \
    row(USER_CHANGE,     "POST",   "/api/users/*",                 ADMIN) \
    row(USER_DELETE,     "DELETE", "/api/users/*",                 ADMIN) \
    row(ME,              "GET",    "/api/me",                      ANYONE) \
    row(KURRENT_APPEND,  "POST",   "/streams/*",                   STREAM) \
    row(KURRENT_READ,    "GET",    "/streams/*",                   STREAM) \
    row(KURRENT_PS_LIST, "GET",    "/subscriptions",               USER) \
    row(KURRENT_PS,      "GET",    "/subscriptions/*",             USER) \
    row(KURRENT_PS_POST, "POST",   "/subscriptions/*",             OPS) \
    row(ADMIN_SHUTDOWN,  "POST",   "/admin/shutdown",              OPS) \
    row(ADMIN_SCAVENGE,  "POST",   "/admin/scavenge",              OPS) \
    row(CONSOLE,         "GET",    "/*",                           ANYONE)
/* clang-format on */

/* Who may call at all. */
enum stele_rule {
    STELE_RULE_ANYONE, /* Also without credentials. */
    STELE_RULE_USER,   /* Whoever has proved who they are. */
    STELE_RULE_STREAM, /* The service asks stele_auth_may() about the streams of the request. */
    STELE_RULE_OPS,    /* Members of $ops or $admins. */
    STELE_RULE_ADMIN,  /* Members of $admins. */
};

#define STELE_RPC_NAME_(name, path, rule) STELE_RPC_##name,
enum stele_rpc { STELE_RPC_TABLE(STELE_RPC_NAME_) STELE_RPC_COUNT };
#undef STELE_RPC_NAME_

#define STELE_ROUTE_NAME_(name, method, path, rule) STELE_ROUTE_##name,
enum stele_route { STELE_ROUTE_TABLE(STELE_ROUTE_NAME_) STELE_ROUTE_COUNT };
#undef STELE_ROUTE_NAME_

#endif
