/* Every setting of the server, once. The flags of `stele serve`, the keys of the file, the names in
 * the environment, --help, --print-config, the manual page and docs/configuration.md all come from
 * this table, or are tested against it.
 *
 *     row(NAME, "name", KIND, "default", min, max, "ARGUMENT", "help")
 *
 * The name is the key in the file; --name the flag; STELE_NAME, with _ for -, the variable. Kinds:
 *
 *     TEXT      any text
 *     LIST      texts: a list in the file; separated by commas elsewhere
 *     NUMBER    digits; min and max bound it
 *     SIZE      bytes: 4096, 64KiB, 16MiB, 1GiB (1024), 64kB, 16MB, 1GB (1000); bounded in bytes
 *     DURATION  500ms, 10s, 5m, 1h, 7d; always with a unit; bounded in milliseconds
 *     FLAG      true or false; --name alone means true
 *     CHOICE    one of the words in ARGUMENT, between bars
 *     SECRET    text that is never shown, and has no flag: others see a command line */
#ifndef STELE_OPS_SETTINGS_H
#define STELE_OPS_SETTINGS_H

#define STELE_SETTINGS_MS_MAX 315360000000u /* Ten years. */

/* clang-format off */
#define STELE_SETTINGS(row) \
    row(STORE, "store", TEXT, "stele-data", 0, 0, "PATH", \
        "the store's directory") \
    row(LISTEN, "listen", LIST, "localhost", 0, 0, "ADDRESS", \
        "where to listen: HOST, HOST:PORT, [V6]:PORT, unix:/PATH; 0.0.0.0 for every address") \
    row(PORT, "port", NUMBER, "2113", 0, 65535, "N", \
        "the port of addresses that name none; 0: the system chooses") \
    row(ADVERTISE_HOST, "advertise-host", TEXT, "", 0, 0, "HOST", \
        "what clients are told to connect to; empty: the first address") \
    row(ADVERTISE_PORT, "advertise-port", NUMBER, "0", 0, 65535, "N", \
        "the port that clients are told; 0: the one in use") \
    row(INSECURE, "insecure", FLAG, "false", 0, 0, NULL, \
        "no users, no passwords, plain text on every address: for trying out") \
    row(TLS_CERTIFICATE, "tls-certificate", TEXT, "", 0, 0, "FILE", \
        "the server's certificate in PEM, with those between it and the root; SIGHUP reads it again") \
    row(TLS_KEY, "tls-key", TEXT, "", 0, 0, "FILE", \
        "its private key in PEM") \
    row(TLS_CLIENT_CA, "tls-client-ca", TEXT, "", 0, 0, "FILE", \
        "who may sign clients' certificates; the common name of one is the login") \
    row(TLS_CLIENT_REQUIRED, "tls-client-required", FLAG, "false", 0, 0, NULL, \
        "clients without a certificate are refused") \
    row(CLUSTER_CERTIFICATE, "cluster-certificate", TEXT, "", 0, 0, "FILE", \
        "the certificate by which other nodes know this one, in PEM; SIGHUP reads it again") \
    row(CLUSTER_KEY, "cluster-key", TEXT, "", 0, 0, "FILE", \
        "its private key in PEM") \
    row(CLUSTER_CA, "cluster-ca", TEXT, "", 0, 0, "FILE", \
        "who signs the certificates of the cluster's nodes, and nobody else's") \
    row(CLUSTER_ELECTION, "cluster-election", DURATION, "300ms", 50, 60000, "TIME", \
        "how long nothing is heard of a leader before another node wants to lead") \
    row(CLUSTER_HEARTBEAT, "cluster-heartbeat", DURATION, "60ms", 10, 10000, "TIME", \
        "how often a leader is heard of when there is nothing else to say") \
    row(CLUSTER_LISTEN, "cluster-listen", TEXT, "", 0, 0, "HOST:PORT", \
        "where to listen for other nodes; empty: at the address that they are told") \
    row(CLUSTER_FEATURES, "cluster-features", NUMBER, "64", 0, 64, "N", \
        "how many of the newer features of clusters are taken as known: fewer while an upgrade may be undone") \
    row(ADMIN_PASSWORD, "admin-password", SECRET, "", 0, 0, "PASSWORD", \
        "of the user admin, at the first start; empty: one is made and printed once") \
    row(OPS_PASSWORD, "ops-password", SECRET, "", 0, 0, "PASSWORD", \
        "of the user ops, at the first start; empty: one is made and printed once") \
    row(ANONYMOUS_STREAMS, "anonymous-streams", FLAG, "false", 0, 0, NULL, \
        "\"$all\" in an access list stands for callers without credentials, too") \
    row(JWT_KEYS, "jwt-keys", TEXT, "", 0, 0, "FILE", \
        "keys that sign bearer tokens: a JWK set, or PEM; empty: no tokens; SIGHUP reads it again") \
    row(JWT_AUDIENCE, "jwt-audience", TEXT, "", 0, 0, "TEXT", \
        "what \"aud\" of a token has to have; empty: not looked at") \
    row(JWT_ISSUER, "jwt-issuer", TEXT, "", 0, 0, "TEXT", \
        "what \"iss\" of a token has to be; empty: not looked at") \
    row(JWT_ROLES, "jwt-roles", TEXT, "roles", 0, 0, "NAME", \
        "the claim of a token that lists its groups") \
    row(PASSWORD_MEMORY, "password-memory", SIZE, "19MiB", 8192, 1073741824, "SIZE", \
        "memory that hashing one password takes") \
    row(PASSWORD_PASSES, "password-passes", NUMBER, "2", 1, 10, "N", \
        "how often hashing a password goes through it") \
    row(LOGIN_LIFETIME, "login-lifetime", DURATION, "5m", 1000, 86400000, "TIME", \
        "how long checked credentials are remembered") \
    row(LOGIN_FAILURES_MAX, "login-failures-max", NUMBER, "10", 1, 1000000, "N", \
        "wrong passwords in a row from one address before it has to wait") \
    row(LOGIN_FAILURES_REFILL, "login-failures-refill", DURATION, "6s", 1000, 86400000, "TIME", \
        "after this time one more is allowed") \
    row(AUDIT_RATE, "audit-rate", NUMBER, "50", 1, 100000, "N", \
        "most events a second in the stream $stele-audit; others are counted") \
    row(USER_REQUESTS_MAX, "user-requests-max", NUMBER, "0", 0, 1000000000, "N", \
        "requests a second of one user, a second's worth at once; 0: not bounded") \
    row(USER_BYTES_MAX, "user-bytes-max", SIZE, "0", 0, 1099511627776, "SIZE", \
        "bytes a second of one user's requests and answers; 0: not bounded") \
    row(USER_CALLS_MAX, "user-calls-max", NUMBER, "20000", 0, 100000000, "N", \
        "calls and subscriptions of one user at once; 0: not bounded") \
    row(USER_MEMORY, "user-memory", SIZE, "256MiB", 0, 1099511627776, "SIZE", \
        "of one user's requests that are not whole yet; 0: not bounded") \
    row(OUTPUT_MEMORY, "output-memory", SIZE, "256MiB", 1048576, 1099511627776, "SIZE", \
        "answers that clients do not take; above it each call keeps little") \
    row(THREADS, "threads", NUMBER, "0", 0, 64, "N", \
        "threads that serve connections; 0: one less than there are processors") \
    row(CONNECTIONS_MAX, "connections-max", NUMBER, "10000", 1, 1000000, "N", \
        "connections at once") \
    row(CALLS_MAX, "calls-max", NUMBER, "1024", 1, 1000000, "N", \
        "calls at once on one connection") \
    row(HEADER_SIZE_MAX, "header-size-max", SIZE, "64KiB", 1024, 1048576, "SIZE", \
        "all headers of one request") \
    row(HANDSHAKE_TIMEOUT, "handshake-timeout", DURATION, "10s", 100, 600000, "TIME", \
        "from a connection's first byte until TLS is agreed") \
    row(HEADER_TIMEOUT, "header-timeout", DURATION, "10s", 100, 600000, "TIME", \
        "until the headers of a request are whole") \
    row(IDLE_TIMEOUT, "idle-timeout", DURATION, "0s", 0, 86400000, "TIME", \
        "a connection without a call is closed after this; 0s: never") \
    row(KEEPALIVE_INTERVAL, "keepalive-interval", DURATION, "10s", 1000, 86400000, "TIME", \
        "silence after which a client is asked whether it is still there") \
    row(KEEPALIVE_TIMEOUT, "keepalive-timeout", DURATION, "10s", 1000, 86400000, "TIME", \
        "without an answer for so long it is taken for gone") \
    row(DRAIN_TIMEOUT, "drain-timeout", DURATION, "10s", 0, 600000, "TIME", \
        "at the end: how long calls that are under way may take") \
    row(APPEND_SIZE_MAX, "append-size-max", SIZE, "64MiB", 1024, 67108864, "SIZE", \
        "one append with all of its events") \
    row(EVENT_SIZE_MAX, "event-size-max", SIZE, "16MiB", 1024, 16777216, "SIZE", \
        "data and metadata of one event") \
    row(PARTITIONS, "partitions", NUMBER, "128", 1, 1024, "N", \
        "of a store that is made: into how many streams are divided, for ever") \
    row(SEGMENT_SIZE_MAX, "segment-size-max", SIZE, "64MiB", 65536, 2147483648, "SIZE", \
        "one file of the log") \
    row(INDEX_MEMORY, "index-memory", SIZE, "48MiB", 1048576, 17179869184, "SIZE", \
        "events in memory before their index is written to disk") \
    row(COMPRESS, "compress", FLAG, "false", 0, 0, NULL, \
        "files of the log that are full are compressed") \
    row(SCRUB_PERIOD, "scrub-period", DURATION, "7d", 0, STELE_SETTINGS_MS_MAX, "TIME", \
        "every stored byte is checked once in so many days; 0s: never") \
    row(LOG_LEVEL, "log-level", CHOICE, "info", 0, 0, "debug|info|warning|error", \
        "what is logged: this and what is worse") \
    row(LOG_FORMAT, "log-format", CHOICE, "auto", 0, 0, "auto|text|json", \
        "auto: text on a terminal, JSON elsewhere") \
    row(NO_SANDBOX, "no-sandbox", FLAG, "false", 0, 0, NULL, \
        "do without the filter of system calls and the bounds of file access")
/* clang-format on */

#define STELE_SETTINGS_NAME_(name, text, kind, otherwise, min, max, argument, help)                \
    STELE_SETTING_##name,
enum stele_setting { STELE_SETTINGS(STELE_SETTINGS_NAME_) STELE_SETTING_COUNT };
#undef STELE_SETTINGS_NAME_

#endif
