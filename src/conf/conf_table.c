/* SPDX-License-Identifier: MIT */
/* The option table: a row for each setting, by kind, name, default, range and one sentence. */
#include "config.h"

#include "conf/conf.h"

#include <string.h>

#include "base/address.h"
#include "base/log.h"
#include "conf/conf_internal.h"
#include "conf/conf_value.h"
#include "event/topic.h"

/* The installed folder of the page; a program that is not meant to be installed has none. */
#ifndef BUGLE_WWWDIR
#define BUGLE_WWWDIR ""
#endif

/* What GnuTLS takes for NORMAL but for versions before TLS 1.2, keys that one captured private key
 * opens afterwards, and ciphers without authenticated encryption. */
#define TLS_PRIORITY "NORMAL:-VERS-ALL:+VERS-TLS1.3:+VERS-TLS1.2:-RSA:-AES-128-CBC:-AES-256-CBC"

static bool is_store(const char *value)
{
    const char *path = value + strlen("sqlite:");

    if (strcmp(value, "memory:") == 0 || strcmp(value, "sqlite:") == 0)
        return true;
    return strncmp(value, "sqlite:", strlen("sqlite:")) == 0 && path[strspn(path, " ")] != '\0';
}

/* Nothing, or three octal digits behind a 0. */
static bool is_socket_mode(const char *value)
{
    size_t n = strlen(value);

    return n == 0 || (n == 4 && value[0] == '0' && strspn(value, "01234567") == n);
}

static bool is_handover(const char *value)
{
    return value[0] == '\0' || value[0] == '/';
}

bool conf_fits_any(const char *value)
{
    (void)value;
    return true;
}

/* What is wrong with keys is told where they are read, without showing them (auth_check_conf()). */
static bool is_key(const char *value)
{
    return strchr(value, ':') != NULL;
}

/* What else is wrong is told where it is read (conf_read_secrets()). */
static bool is_ticket_key(const char *value)
{
    unsigned char key[CONF_TICKET_KEY_BYTES];
    bool fits = (value[0] == '@' && value[1] != '\0') || conf_ticket_key(value, key);

    explicit_bzero(key, sizeof key);
    return fits;
}

/* What else is wrong is told where it is parsed (cluster_conf_check()). */
static bool is_log(const char *value)
{
    static const char *const schemes[] = {"redis://", "rediss://", "redis+sentinel://"};

    for (size_t i = 0; i < sizeof schemes / sizeof *schemes; i++)
        if (strncmp(value, schemes[i], strlen(schemes[i])) == 0)
            return true;
    return value[0] == '\0';
}

/* It stands in commands of the server, where blanks part words. */
static bool is_user(const char *value)
{
    return strchr(value, ' ') == NULL;
}

static bool has_only(const char *value, const char *bytes, size_t max)
{
    size_t n = strspn(value, bytes);

    return value[n] == '\0' && n <= max;
}

#define NAME_BYTES "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-"
#define PREFIX_BYTES_MAX 64

static bool is_node(const char *value)
{
    return has_only(value, NAME_BYTES, CONF_NODE_BYTES - 1);
}

/* It stands between braces in the names of keys, and in patterns of rights. */
static bool is_prefix(const char *value)
{
    return value[0] != '\0' && has_only(value, NAME_BYTES ":/", PREFIX_BYTES_MAX);
}

static bool is_pattern(const char *value)
{
    return topic_check_pattern(value, strlen(value)) == TOPIC_OK;
}

/* A token (RFC 9110 section 5.6.2), as the name of a cookie must be. */
static bool is_cookie_name(const char *value)
{
    return value[strspn(value, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
                               "!#$%&'*+-.^_`|~")] == '\0';
}

#define HEADER_NAME_BYTES_MAX 64

/* A token too, but not the one that stands for all headers. */
static bool is_header_name(const char *value)
{
    return value[0] != '\0' && strlen(value) <= HEADER_NAME_BYTES_MAX && strcmp(value, "*") != 0 &&
           is_cookie_name(value);
}

static const char *const auth_modes[] = {
    [CONF_AUTH_NONE] = "none", [CONF_AUTH_TOKEN] = "token", NULL};
static const char *const promises[] = {[CONF_PROMISE_MEMORY] = "memory",
                                       [CONF_PROMISE_DISK] = "disk",
                                       [CONF_PROMISE_REPLICATED] = "replicated",
                                       NULL};
static const char *const assumptions[] = {"", "disk", NULL};
static const char *const switches[] = {"off", "on", NULL};
static const char *const forwarded_headers[] = {
    [CONF_X_FORWARDED_FOR] = "x-forwarded-for", [CONF_FORWARDED] = "forwarded", NULL};
static const char *const log_levels[] = {[LOG_LEVEL_ERROR] = "error",
                                         [LOG_LEVEL_WARNING] = "warning",
                                         [LOG_LEVEL_INFO] = "info",
                                         [LOG_LEVEL_DEBUG] = "debug",
                                         NULL};
static const char *const log_formats[] = {
    [LOG_FORMAT_TEXT] = "text", [LOG_FORMAT_JSON] = "json", NULL};

/* The place of a member, which must have the type that the row's kind stores. */
#define AT(member, stored)                                                                         \
    (offsetof(struct conf, member) +                                                               \
     0 * sizeof(char[__builtin_types_compatible_p(__typeof__(((struct conf *)0)->member), stored)  \
                         ? 1                                                                       \
                         : -1]))

#define ROW_NUMBER(row_type, row_name, member, row_default, row_min, row_max, ...)                 \
    {                                                                                              \
        .name = row_name, .type = row_type, .offset = AT(member, uint64_t),                        \
        .fallback = row_default, .min = row_min, .max = row_max, ROW_END(__VA_ARGS__)              \
    }
#define ROW_END(row_reload, row_sentence) .reload = row_reload, .sentence = row_sentence
#define DURATION(...) ROW_NUMBER(CONF_DURATION, __VA_ARGS__)
#define BYTES(...) ROW_NUMBER(CONF_BYTES, __VA_ARGS__)
#define COUNT(...) ROW_NUMBER(CONF_COUNT, __VA_ARGS__)
#define TEXT(row_name, member, row_default, row_fits, row_form, ...)                               \
    {                                                                                              \
        .name = row_name, .type = CONF_TEXT, .offset = AT(member, char *),                         \
        .fallback = row_default, .fits = row_fits, .form = row_form, ROW_END(__VA_ARGS__)          \
    }
#define LIST(row_name, member, row_default, row_fits, row_form, ...)                               \
    {                                                                                              \
        .name = row_name, .type = CONF_LIST, .offset = AT(member, struct conf_list),               \
        .fallback = row_default, .fits = row_fits, .form = row_form, ROW_END(__VA_ARGS__)          \
    }
#define SECRETS(row_name, member, row_fits, row_secrecy, row_form, ...)                            \
    {                                                                                              \
        .name = row_name, .type = CONF_LIST, .offset = AT(member, struct conf_list),               \
        .fallback = "", .fits = row_fits, .secrecy = row_secrecy, .form = row_form,                \
        ROW_END(__VA_ARGS__)                                                                       \
    }
#define SECRET(row_name, member, row_fits, row_secrecy, row_form, ...)                             \
    {                                                                                              \
        .name = row_name, .type = CONF_TEXT, .offset = AT(member, char *), .fallback = "",         \
        .fits = row_fits, .secrecy = row_secrecy, .form = row_form, ROW_END(__VA_ARGS__)           \
    }
#define CHOICE(row_name, member, row_default, row_choices, row_form, ...)                          \
    {                                                                                              \
        .name = row_name, .type = CONF_CHOICE, .offset = AT(member, int), .fallback = row_default, \
        .choices = row_choices, .form = row_form, ROW_END(__VA_ARGS__)                             \
    }

static const struct conf_row rows[] = {
    LIST("server.listen", server.listen, "127.0.0.1:8080", conf_value_is_listen,
         "ADDR:PORT, localhost:PORT, *:PORT, [ADDR6]:PORT or unix:/PATH", CONF_RESTART,
         "Where to accept connections."),
    COUNT("server.workers", server.workers, "0", "0", "256", CONF_RESTART,
          "Threads that serve connections; 0 is one for each core."),
    TEXT("server.www", server.www, BUGLE_WWWDIR, conf_fits_any, "a folder", CONF_RESTART,
         "Folder of the page served at /; empty serves none."),
    LIST("server.hosts", server.hosts, "", conf_value_is_host,
         "HOST, HOST:PORT (lower case) or loopback", CONF_RELOAD,
         "Host names that requests may use; empty: any, or only loopback ones."),
    LIST("server.trusted_proxies", server.trusted_proxies, "", address_is_network,
         "ADDR, ADDR/BITS or unix", CONF_RESTART,
         "Proxies that the gateway trusts to name their client."),
    CHOICE("server.forwarded_header", server.forwarded_header, "x-forwarded-for", forwarded_headers,
           "x-forwarded-for or forwarded", CONF_RESTART,
           "The header by which trusted proxies name their client."),
    LIST("server.proxy_protocol", server.proxy_protocol, "", conf_value_is_listen,
         "items of server.listen", CONF_RESTART,
         "Listeners on which each connection begins with a PROXY header of a trusted proxy."),
    TEXT("server.socket_mode", server.socket_mode, "", is_socket_mode, "octal, as 0660",
         CONF_RESTART, "Permissions of unix sockets in listen; empty leaves them to the umask."),
    TEXT("server.handover", server.handover, "", is_handover, "a path that begins with /",
         CONF_RESTART, "Unix socket by which another gateway can take over; empty: none."),
    DURATION("server.handover_timeout", server.handover_timeout_ms, "10s", "100ms", "10m",
             CONF_RESTART,
             "How long publishers wait for a gateway that takes over and does not finish."),

    DURATION("stream.heartbeat", stream.heartbeat_ms, "15s", "3s", "60s", CONF_RELOAD,
             "Silence on a stream after which a heartbeat is sent."),
    DURATION("stream.stall_timeout", stream.stall_timeout_ms, "30s", "1s", "1h", CONF_RESTART,
             "How long a reader may take no byte at all before its stream is closed."),
    DURATION("stream.vanish_timeout", stream.vanish_timeout_ms, "18s", "1s", "1h", CONF_RELOAD,
             "How long a reader may acknowledge nothing that is sent before its stream is closed."),
    DURATION("stream.retry", stream.retry_ms, "3s", "1s", "3600s", CONF_RELOAD,
             "Centre of the reconnection delay told to clients: each gets 2/3 to twice that."),
    DURATION("stream.flush_tick", stream.flush_tick_ms, "5ms", "1ms", "100ms", CONF_RELOAD,
             "The longest that events wait under load to be sent together."),
    COUNT("stream.ring_events", stream.ring_events, "65536", "64", "16777216", CONF_RESTART,
          "Recent events that each worker keeps at hand."),
    BYTES("stream.ring_bytes", stream.ring_bytes, "0", "0", "64G", CONF_RESTART,
          "Bytes of recent events that each worker keeps at hand; 0 is 32M, or 1/4 of the memory."),
    COUNT("stream.replay_pages", stream.replay_pages, "256", "1", "65536", CONF_RESTART,
          "Pages of the history, of 32 KiB, that replays hold in each worker at once."),

    CHOICE("websocket.publish", websocket.publish, "on", switches, "off or on", CONF_RELOAD,
           "Whether clients may publish over their WebSockets, where they have the right to."),
    CHOICE("websocket.deflate", websocket.deflate, "off", switches, "off or on", CONF_RELOAD,
           "Whether messages are compressed for clients that offer permessage-deflate."),
    BYTES("websocket.deflate_from", websocket.deflate_from, "512", "64", "64K", CONF_RELOAD,
          "Size from which on a message is compressed."),

    TEXT("history.store", history.store, "sqlite:", is_store, "memory:, sqlite: or sqlite:PATH",
         CONF_RESTART,
         "Where events are kept for replay; sqlite: is history.db in the state directory."),
    DURATION("history.max_age", history.max_age_ms, "24h", "1s", "3650d", CONF_RESTART,
             "Age at which an event is deleted."),
    COUNT("history.max_events", history.max_events, "1000000", "1", "1000000000", CONF_RESTART,
          "Events that are kept; the oldest go first."),
    BYTES("history.max_bytes", history.max_bytes, "0", "0", "1024G", CONF_RESTART,
          "Bytes of events kept; 0 is 1G on disk, and in memory 64M or 1/4 of limits.memory."),
    BYTES("history.disk_reserve", history.disk_reserve, "256M", "0", "1048576G", CONF_RELOAD,
          "Room on the disk that is left free; without it a publish is answered 507."),
    DURATION("history.idempotency_window", history.idempotency_window_ms, "24h", "1s", "3650d",
             CONF_RESTART, "How long an idempotency key is remembered."),
    COUNT("history.idempotency_keys", history.idempotency_keys, "1000000", "1", "1000000000",
          CONF_RESTART, "Idempotency keys that are remembered; the oldest go first."),

    BYTES("limits.memory", limits.memory, "0", "0", "1024G", CONF_RESTART,
          "Memory of the whole process; 0 is half of what the machine or the cgroup allows."),
    COUNT("limits.connections", limits.connections, "0", "0", "10000000", CONF_RELOAD,
          "Connections open at once; 0 is what the limit on descriptors allows."),
    COUNT("limits.connections_per_address", limits.connections_per_address, "512", "0", "10000000",
          CONF_RELOAD, "Connections from one address; 0 is no limit."),
    COUNT("limits.accept_rate", limits.accept_rate, "0", "0", "1000000", CONF_RELOAD,
          "Connections accepted a second, the others wait; 0 is no limit."),
    COUNT("limits.streams_per_address", limits.streams_per_address, "256", "0", "10000000",
          CONF_RELOAD, "Streams of clients at one address; 0 is no limit."),
    COUNT("limits.streams_per_user", limits.streams_per_user, "16", "0", "10000000", CONF_RELOAD,
          "Streams of one user; 0 is no limit."),
    COUNT("limits.streams", limits.streams, "0", "0", "10000000", CONF_RESTART,
          "Streams open at once; 0 is what the limit on descriptors allows."),
    BYTES("limits.event_bytes", limits.event_bytes, "64K", "1", "16M", CONF_RELOAD,
          "Size of one event."),
    BYTES("limits.body_bytes", limits.body_bytes, "1M", "1", "64M", CONF_RELOAD,
          "Size of a request body."),
    BYTES("limits.message_bytes", limits.message_bytes, "128K", "1K", "16M", CONF_RELOAD,
          "Size of a message from a WebSocket client, of all its fragments together."),
    COUNT("limits.message_rate", limits.message_rate, "50", "0", "1000000", CONF_RELOAD,
          "Messages a second from one WebSocket, twice as many at once; 0 is no limit."),
    BYTES("limits.header_bytes", limits.header_bytes, "16K", "1K", "24K", CONF_RESTART,
          "Size of a request head, request line included."),
    COUNT("limits.header_count", limits.header_count, "64", "1", "1000", CONF_RELOAD,
          "Header fields of a request."),
    BYTES("limits.url_bytes", limits.url_bytes, "4K", "256", "16K", CONF_RELOAD,
          "Size of a request target, query included."),
    COUNT("limits.json_depth", limits.json_depth, "64", "8", "512", CONF_RELOAD,
          "Nesting of JSON in a published event."),
    DURATION("limits.header_timeout", limits.header_timeout_ms, "10s", "100ms", "1h", CONF_RELOAD,
             "Time to send a whole request head."),
    DURATION("limits.body_timeout", limits.body_timeout_ms, "15s", "100ms", "1h", CONF_RELOAD,
             "Time to send a whole request body."),
    BYTES("limits.body_rate", limits.body_rate, "1K", "0", "1G", CONF_RELOAD,
          "Bytes a second below which a request body comes too slowly; 0 takes any."),
    BYTES("limits.answer_rate", limits.answer_rate, "1K", "0", "1G", CONF_RELOAD,
          "Bytes a second below which an answer is taken too slowly; 0 allows any."),
    DURATION("limits.keepalive_timeout", limits.keepalive_timeout_ms, "75s", "1s", "24h",
             CONF_RELOAD, "How long a connection may be idle between two requests."),
    BYTES("limits.queue_bytes", limits.queue_bytes, "64M", "64K", "64G", CONF_RESTART,
          "Bytes of events that may wait for their commit; beyond it a publish is answered 503."),
    DURATION("limits.queue_age", limits.queue_age_ms, "1s", "10ms", "1h", CONF_RESTART,
             "How long an event may wait for its commit; beyond it a publish is answered 503."),
    COUNT("limits.tickets", limits.tickets, "200000", "1", "100000000", CONF_RELOAD,
          "Tickets that were used and are remembered; beyond it the oldest are forgotten."),
    COUNT("limits.tickets_per_user", limits.tickets_per_user, "256", "0", "10000000", CONF_RELOAD,
          "The same for one user; beyond it a new one may be answered 429; 0 is no limit."),
    COUNT("limits.tickets_per_key", limits.tickets_per_key, "100000", "0", "100000000", CONF_RELOAD,
          "The same for one key that they were made with."),
    COUNT("limits.forged_tokens", limits.forged_tokens, "50", "0", "1000000", CONF_RELOAD,
          "Forged tokens of one address that each worker verifies in a second; 0 is no limit."),
    DURATION("limits.queue_wait", limits.queue_wait_ms, "30ms", "0s", "1h", CONF_RESTART,
             "How long events may have to wait at the pace of the latest commits; 0 is no limit."),
    COUNT("limits.history_requests", limits.history_requests, "32", "1", "10000", CONF_RELOAD,
          "Requests for /api/history under way at once; beyond it one is answered 503."),
    COUNT("limits.evictions", limits.evictions, "1000", "1", "10000", CONF_RESTART,
          "Evicted streams that /api/evictions remembers; the oldest go first."),

    DURATION("drain.window", drain.window_ms, "5s", "0s", "600s", CONF_RELOAD,
             "Time over which an orderly stop spreads the ends of the streams."),

    CHOICE("auth.mode", auth.mode, "none", auth_modes, "none or token", CONF_RESTART,
           "Whether callers must authenticate."),
    LIST("auth.origins", auth.origins, "loopback", conf_value_is_origin,
         "SCHEME://HOST, SCHEME://HOST:PORT (lower case, no path) or loopback", CONF_RELOAD,
         "Origins of web pages that may read, publish and manage."),
    LIST("auth.allow_headers", auth.allow_headers, "", is_header_name, "names of headers",
         CONF_RELOAD, "Request headers that their pages may send besides the usual ones."),
    SECRETS("auth.jwt_key", auth.jwt_key, is_key, CONF_LABELLED, "ALG:SECRET or ALG:@FILE",
            CONF_RELOAD, "Keys that tokens may be signed with, each for one algorithm."),
    TEXT("auth.jwks", auth.jwks, "", conf_value_is_key_set,
         "the path of a file, https://URL, or http://URL on a loopback address", CONF_RELOAD,
         "A key set with more such keys, read at intervals; empty: none."),
    DURATION("auth.jwks_refresh", auth.jwks_refresh_ms, "10m", "10s", "7d", CONF_RELOAD,
             "How often auth.jwks is read again."),
    TEXT("auth.audience", auth.audience, "", conf_fits_any, "a text", CONF_RELOAD,
         "Name that the aud of a token must contain; empty: tokens must have no aud."),
    TEXT("auth.issuer", auth.issuer, "", conf_fits_any, "a text", CONF_RELOAD,
         "Required iss of a token; empty: any."),
    SECRETS("auth.api_key", auth.api_key, is_key, CONF_LABELLED,
            "NAME:RIGHTS:HASH, made by `bugle token hash`", CONF_RELOAD,
            "Keys for backends, as salted hashes."),
    LIST("auth.anonymous", auth.anonymous, "", is_pattern, "patterns", CONF_RELOAD,
         "Topics that may be read without a token."),
    LIST("auth.private", auth.private, "", is_pattern, "patterns", CONF_RELOAD,
         "Topics that need a token although auth.anonymous covers them."),
    TEXT("auth.cookie", auth.cookie, "", is_cookie_name, "the name of a cookie", CONF_RELOAD,
         "Cookie in which browsers send their token; empty: none."),
    CHOICE("auth.query_token", auth.query_token, "off", switches, "off or on", CONF_RELOAD,
           "Whether a stream may carry its token in the URL, as access_token."),
    COUNT("auth.cached_tokens", auth.cached_tokens, "10000", "0", "10000000", CONF_RELOAD,
          "Tokens that each worker remembers as verified."),
    DURATION("auth.ticket_life", auth.ticket_life_ms, "24h", "1m", "30d", CONF_RELOAD,
             "How long after a ticket was made its stream may go on and come back."),
    SECRETS("auth.ticket_key", auth.ticket_key, is_ticket_key, CONF_HIDDEN,
            "KEY or @FILE, 32 bytes in hex or base64url", CONF_RELOAD,
            "Keys of tickets that all gateways at cluster.log take; the first makes them."),

    LIST("tls.listen", tls.listen, "", conf_value_is_tls_listen,
         "ADDR:PORT, localhost:PORT, *:PORT or [ADDR6]:PORT", CONF_RESTART,
         "Where to accept connections that speak TLS, beside server.listen."),
    LIST("tls.certificate", tls.certificate, "", conf_fits_any, "paths", CONF_RELOAD,
         "Files of certificates in PEM form, each with the chain behind it."),
    LIST("tls.key", tls.key, "", conf_fits_any, "paths", CONF_RELOAD,
         "Files of their private keys in PEM form, in the same order."),
    TEXT("tls.priority", tls.priority, TLS_PRIORITY, conf_fits_any, "a priority string of GnuTLS",
         CONF_RELOAD, "Versions and algorithms that may be used; no version before TLS 1.2."),
    DURATION("tls.handshake_timeout", tls.handshake_timeout_ms, "5s", "100ms", "1h", CONF_RELOAD,
             "Time for a whole handshake, which counts for limits.header_timeout too."),

    SECRET("cluster.log", cluster.log, is_log, CONF_IN_URL,
           "redis://HOST:PORT, rediss://HOST:PORT or redis+sentinel://HOST:PORT,HOST:PORT/NAME",
           CONF_RESTART, "The log by which several gateways share one history; empty: none."),
    TEXT("cluster.user", cluster.user, "", is_user, "a name without blanks", CONF_RESTART,
         "User of the log's server; empty: its default user."),
    SECRET("cluster.password", cluster.password, conf_fits_any, CONF_HIDDEN, "a text or @FILE",
           CONF_RESTART, "Password of that user; empty: none."),
    TEXT("cluster.prefix", cluster.prefix, "bugle", is_prefix,
         "up to 64 letters, digits and any of .:/_-", CONF_RESTART,
         "What the names of all keys of the log begin with, in braces."),
    TEXT("cluster.node", cluster.node, "", is_node, "up to 64 letters, digits and any of ._-",
         CONF_RESTART, "Name of this gateway among those at the log; empty: the host's name."),
    CHOICE("cluster.promise", cluster.promise, "memory", promises, "memory, disk or replicated",
           CONF_RESTART, "What the log has done with an event when its publish is answered 201."),
    COUNT("cluster.replicas", cluster.replicas, "0", "0", "16", CONF_RESTART,
          "Replicas that must have it with cluster.promise=replicated: all that may be promoted."),
    BYTES("cluster.log_bytes", cluster.log_bytes, "256M", "64K", "1024G", CONF_RESTART,
          "Bytes of events that the log keeps for gateways that were away."),
    DURATION("cluster.log_age", cluster.log_age_ms, "24h", "1s", "3650d", CONF_RESTART,
             "Age at which the log drops an event."),
    DURATION("cluster.timeout", cluster.timeout_ms, "2s", "100ms", "60s", CONF_RESTART,
             "How long the log's server may take for an answer."),
    DURATION("cluster.answer_timeout", cluster.answer_timeout_ms, "10s", "100ms", "10m",
             CONF_RESTART,
             "How long a publish waits to learn whether the log has it, when the server is lost."),
    DURATION("cluster.lease", cluster.lease_ms, "10s", "1s", "10m", CONF_RESTART,
             "How long a gateway that is gone counts as one of those at the log."),
    DURATION("cluster.ask_timeout", cluster.ask_timeout_ms, "1s", "10ms", "60s", CONF_RESTART,
             "How long a request that needs all gateways waits for their answers."),
    CHOICE("cluster.assume", cluster.assume, "", assumptions, "nothing or disk", CONF_RESTART,
           "A promise that the server keeps although it does not let us look."),
    TEXT("cluster.ca", cluster.ca, "", conf_fits_any, "the path of a file", CONF_RESTART,
         "Certificates that are trusted for rediss://, in PEM form; empty: the system's."),

    CHOICE("log.level", log.level, "info", log_levels, "error, warning, info or debug", CONF_RELOAD,
           "The least important lines to write."),
    CHOICE("log.format", log.format, "text", log_formats, "text or json", CONF_RELOAD,
           "Lines for people, or JSON objects for a collector."),
};

#define ROWS_N (sizeof rows / sizeof *rows)

const struct conf_row *conf_row_at(size_t index)
{
    return index < ROWS_N ? &rows[index] : NULL;
}
