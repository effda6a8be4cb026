/* SPDX-License-Identifier: MIT */
/*
 * The option table and what is made from its rows: defaults, assignments from anywhere, help and
 * the printed settings.  src/conf_load.c reads files and the environment, src/conf_value.c knows
 * how values are written.
 */
#include "config.h"

#include "conf.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "address.h"
#include "conf_internal.h"
#include "conf_value.h"
#include "log.h"
#include "machine.h"
#include "topic.h"

/* The installed folder of the page; a program that is not meant to be installed has none. */
#ifndef BUGLE_WWWDIR
#define BUGLE_WWWDIR ""
#endif

#define NUMBER_TEXT_MAX 32
#define GIVEN_TEXT_MAX 160

#define HISTORY_BYTES_ON_DISK (UINT64_C(1) << 30)
#define HISTORY_BYTES_IN_MEMORY (UINT64_C(64) << 20)
#define HISTORY_BYTES_LEAST (UINT64_C(64) << 10)
#define RING_BYTES (UINT64_C(32) << 20)
/* Defaults are less where memory is: these shares of it. */
#define HISTORY_MEMORY_SHARE 4
#define RING_MEMORY_SHARE 4
/* What rings and a store in memory leave for the rest: the program, which needs about 12 MiB,
 * SQLite's caches, about 18, and connections. */
#define MEMORY_LEAST (UINT64_C(64) << 20)
#define REST_LEAST (UINT64_C(32) << 20)
#define REST_SHARE 4

enum reload { RESTART, RELOAD };

struct row {
    const char *name;
    enum conf_type type;
    size_t offset;
    const char *fallback; /* the default; like min and max as an operator would write it */
    enum reload reload;
    const char *sentence;
    const char *min; /* numbers: the range, ends included */
    const char *max;
    bool (*fits)(const char *value); /* text and the items of a list */
    bool is_secret;                  /* never printed */
    const char *const *choices;      /* choice: by the enum's value, then NULL */
    const char *form;                /* all but numbers: completes "expected ..." */
};

static bool is_store(const char *value)
{
    const char *path = value + strlen("sqlite:");

    if (strcmp(value, "memory:") == 0 || strcmp(value, "sqlite:") == 0)
        return true;
    return strncmp(value, "sqlite:", strlen("sqlite:")) == 0 && path[strspn(path, " ")] != '\0';
}

static bool is_handover(const char *value)
{
    return value[0] == '\0' || value[0] == '/';
}

static bool is_anything(const char *value)
{
    (void)value;
    return true;
}

/* What is wrong with keys is told where they are read, without showing them (auth_check_conf()). */
static bool is_key(const char *value)
{
    return strchr(value, ':') != NULL;
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

static const char *const auth_modes[] = {
    [CONF_AUTH_NONE] = "none", [CONF_AUTH_TOKEN] = "token", NULL};
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
#define SECRETS(row_name, member, row_fits, row_form, ...)                                         \
    {                                                                                              \
        .name = row_name, .type = CONF_LIST, .offset = AT(member, struct conf_list),               \
        .fallback = "", .fits = row_fits, .is_secret = true, .form = row_form,                     \
        ROW_END(__VA_ARGS__)                                                                       \
    }
#define CHOICE(row_name, member, row_default, row_choices, row_form, ...)                          \
    {                                                                                              \
        .name = row_name, .type = CONF_CHOICE, .offset = AT(member, int), .fallback = row_default, \
        .choices = row_choices, .form = row_form, ROW_END(__VA_ARGS__)                             \
    }

static const struct row rows[] = {
    LIST("server.listen", server.listen, "127.0.0.1:8080", conf_value_is_listen,
         "ADDR:PORT, localhost:PORT, *:PORT, [ADDR6]:PORT or unix:/PATH", RESTART,
         "Where to accept connections."),
    COUNT("server.workers", server.workers, "0", "0", "256", RESTART,
          "Threads that serve connections; 0 is one for each core."),
    TEXT("server.www", server.www, BUGLE_WWWDIR, is_anything, "a folder", RESTART,
         "Folder of the page served at /; empty serves none."),
    LIST("server.hosts", server.hosts, "", conf_value_is_host,
         "HOST, HOST:PORT (lower case) or loopback", RELOAD,
         "Names that requests may call the gateway by; empty: any, or only loopback ones."),
    LIST("server.trusted_proxies", server.trusted_proxies, "", address_is_network,
         "ADDR, ADDR/BITS or unix", RESTART,
         "Proxies that are believed when they say who their client is."),
    CHOICE("server.forwarded_header", server.forwarded_header, "x-forwarded-for",
           forwarded_headers, "x-forwarded-for or forwarded", RESTART,
           "The header by which trusted proxies name their client."),
    LIST("server.proxy_protocol", server.proxy_protocol, "", conf_value_is_listen,
         "items of server.listen", RESTART,
         "Where every connection begins with a PROXY header, of a trusted proxy."),
    TEXT("server.handover", server.handover, "", is_handover, "a path that begins with /", RESTART,
         "Unix socket by which another gateway can take over; empty has none."),
    DURATION("server.handover_timeout", server.handover_timeout_ms, "10s", "100ms", "10m", RESTART,
             "How long publishers wait for a gateway that takes over and does not come to it."),

    DURATION("stream.heartbeat", stream.heartbeat_ms, "15s", "3s", "60s", RELOAD,
             "Silence on a stream after which a heartbeat is sent."),
    DURATION("stream.stall_timeout", stream.stall_timeout_ms, "30s", "1s", "1h", RESTART,
             "How long a reader may take no byte at all before its stream is closed."),
    DURATION("stream.vanish_timeout", stream.vanish_timeout_ms, "18s", "1s", "1h", RELOAD,
             "How long nothing of a reader may answer what is sent before its stream is closed."),
    DURATION("stream.retry", stream.retry_ms, "3s", "1s", "3600s", RELOAD,
             "Centre of the reconnection delay told to clients: each gets 2/3 to twice that."),
    DURATION("stream.flush_tick", stream.flush_tick_ms, "5ms", "1ms", "100ms", RELOAD,
             "The longest that events wait under load to be sent together."),
    COUNT("stream.ring_events", stream.ring_events, "65536", "64", "16777216", RESTART,
          "Recent events that each worker keeps at hand."),
    BYTES("stream.ring_bytes", stream.ring_bytes, "0", "0", "64G", RESTART,
          "Bytes of recent events that each worker keeps at hand; 0 is 32M, or 1/4 of the memory."),
    COUNT("stream.replay_pages", stream.replay_pages, "256", "1", "65536", RESTART,
          "Pages of the history, of 32 KiB, that replays hold in each worker at once."),

    TEXT("history.store", history.store, "sqlite:", is_store, "memory:, sqlite: or sqlite:PATH",
         RESTART,
         "Where events are kept for replay; sqlite: is history.db in the state directory."),
    DURATION("history.max_age", history.max_age_ms, "24h", "1s", "3650d", RESTART,
             "Age at which an event is forgotten."),
    COUNT("history.max_events", history.max_events, "1000000", "1", "1000000000", RESTART,
          "Events that are kept; the oldest go first."),
    BYTES("history.max_bytes", history.max_bytes, "0", "0", "1024G", RESTART,
          "Bytes of events kept; 0 is 1G on disk, and in memory 64M or 1/4 of limits.memory."),
    BYTES("history.disk_reserve", history.disk_reserve, "256M", "0", "1048576G", RELOAD,
          "Room on the disk that is left free; without it a publish is answered 507."),
    DURATION("history.idempotency_window", history.idempotency_window_ms, "24h", "1s", "3650d",
             RESTART, "How long an idempotency key is remembered."),
    COUNT("history.idempotency_keys", history.idempotency_keys, "1000000", "1", "1000000000",
          RESTART, "Idempotency keys that are remembered; the oldest go first."),

    BYTES("limits.memory", limits.memory, "0", "0", "1024G", RESTART,
          "Memory of the whole process; 0 is half of what the machine or the cgroup allows."),
    COUNT("limits.connections", limits.connections, "0", "0", "10000000", RELOAD,
          "Connections open at once; 0 is what the limit on descriptors allows."),
    COUNT("limits.connections_per_address", limits.connections_per_address, "512", "0", "10000000",
          RELOAD, "Connections from one address; 0 is no limit."),
    COUNT("limits.accept_rate", limits.accept_rate, "0", "0", "1000000", RELOAD,
          "Connections accepted a second, the others wait; 0 is no limit."),
    COUNT("limits.streams_per_address", limits.streams_per_address, "256", "0", "10000000", RELOAD,
          "Streams of clients at one address; 0 is no limit."),
    COUNT("limits.streams_per_user", limits.streams_per_user, "16", "0", "10000000", RELOAD,
          "Streams of one user; 0 is no limit."),
    COUNT("limits.streams", limits.streams, "0", "0", "10000000", RESTART,
          "Streams open at once; 0 is what the limit on descriptors allows."),
    BYTES("limits.event_bytes", limits.event_bytes, "64K", "1", "16M", RELOAD,
          "Size of one event."),
    BYTES("limits.body_bytes", limits.body_bytes, "1M", "1", "64M", RELOAD,
          "Size of a request body."),
    BYTES("limits.header_bytes", limits.header_bytes, "16K", "1K", "24K", RESTART,
          "Size of a request head, request line included."),
    COUNT("limits.header_count", limits.header_count, "64", "1", "1000", RELOAD,
          "Header fields of a request."),
    BYTES("limits.url_bytes", limits.url_bytes, "4K", "256", "16K", RELOAD,
          "Size of a request target, query included."),
    COUNT("limits.json_depth", limits.json_depth, "64", "8", "512", RELOAD,
          "Nesting of JSON in a published event."),
    DURATION("limits.header_timeout", limits.header_timeout_ms, "10s", "100ms", "1h", RELOAD,
             "Time to send a whole request head."),
    DURATION("limits.body_timeout", limits.body_timeout_ms, "15s", "100ms", "1h", RELOAD,
             "Time to send a whole request body."),
    BYTES("limits.body_rate", limits.body_rate, "1K", "0", "1G", RELOAD,
          "Bytes a second below which a request body comes too slowly; 0 takes any."),
    BYTES("limits.answer_rate", limits.answer_rate, "1K", "0", "1G", RELOAD,
          "Bytes a second below which an answer is taken too slowly; 0 allows any."),
    DURATION("limits.keepalive_timeout", limits.keepalive_timeout_ms, "75s", "1s", "24h", RELOAD,
             "How long a connection may rest between two requests."),
    BYTES("limits.queue_bytes", limits.queue_bytes, "64M", "64K", "64G", RESTART,
          "Bytes of events that may wait for their commit; beyond it a publish is answered 503."),
    DURATION("limits.queue_age", limits.queue_age_ms, "1s", "10ms", "1h", RESTART,
             "How long an event may wait for its commit; beyond it a publish is answered 503."),
    COUNT("limits.tickets", limits.tickets, "200000", "1", "100000000", RELOAD,
          "Tickets in use at once; beyond it one that is new is answered 503."),
    DURATION("limits.queue_wait", limits.queue_wait_ms, "30ms", "0s", "1h", RESTART,
             "How long events may have to wait at the pace of the latest commits; 0 for any time."),
    COUNT("limits.history_requests", limits.history_requests, "32", "1", "10000", RELOAD,
          "Requests for /api/history under way at once; beyond it one is answered 503."),
    COUNT("limits.evictions", limits.evictions, "1000", "1", "10000", RESTART,
          "Evicted streams that /api/evictions remembers; the oldest go first."),

    DURATION("drain.window", drain.window_ms, "5s", "0s", "600s", RELOAD,
             "Time over which an orderly stop spreads the ends of the streams."),

    CHOICE("auth.mode", auth.mode, "none", auth_modes, "none or token", RESTART,
           "Whether callers must prove who they are."),
    LIST("auth.origins", auth.origins, "loopback", conf_value_is_origin,
         "SCHEME://HOST, SCHEME://HOST:PORT (lower case, no path) or loopback", RELOAD,
         "Origins of web pages that may read, publish and manage."),
    SECRETS("auth.jwt_key", auth.jwt_key, is_key, "ALG:SECRET or ALG:@FILE", RELOAD,
            "Keys that may vouch for signed tokens, each for one algorithm."),
    TEXT("auth.jwks", auth.jwks, "", conf_value_is_key_set,
         "the path of a file, https://URL, or http://URL on a loopback address", RELOAD,
         "A key set with more such keys, read again and again; empty: none."),
    DURATION("auth.jwks_refresh", auth.jwks_refresh_ms, "10m", "10s", "7d", RELOAD,
             "How often auth.jwks is read again."),
    TEXT("auth.audience", auth.audience, "", is_anything, "a text", RELOAD,
         "What the aud of a token must name; empty: tokens must have none."),
    TEXT("auth.issuer", auth.issuer, "", is_anything, "a text", RELOAD,
         "What the iss of a token must be; empty: anything."),
    SECRETS("auth.api_key", auth.api_key, is_key, "NAME:RIGHTS:HASH, made by `bugle token hash`",
            RELOAD, "Keys for backends, as salted hashes."),
    LIST("auth.anonymous", auth.anonymous, "", is_pattern, "patterns", RELOAD,
         "Topics that may be read without a token."),
    TEXT("auth.cookie", auth.cookie, "", is_cookie_name, "the name of a cookie", RELOAD,
         "Cookie in which browsers bring their token; empty: none."),
    CHOICE("auth.query_token", auth.query_token, "off", switches, "off or on", RELOAD,
           "Whether a stream may bring its token in the URL, as access_token."),
    COUNT("auth.cached_tokens", auth.cached_tokens, "10000", "0", "10000000", RELOAD,
          "Tokens that each worker remembers as verified."),
    DURATION("auth.ticket_life", auth.ticket_life_ms, "24h", "1m", "30d", RELOAD,
             "How long after a ticket was made its stream may go on and come back."),

    CHOICE("log.level", log.level, "info", log_levels, "error, warning, info or debug", RELOAD,
           "The least important lines to write."),
    CHOICE("log.format", log.format, "text", log_formats, "text or json", RELOAD,
           "Lines for people, or JSON objects for a collector."),
};

#define ROWS_N (sizeof rows / sizeof *rows)

static void *target_of(struct conf *conf, const struct row *row)
{
    return (char *)conf + row->offset;
}

static const void *value_of(const struct conf *conf, const struct row *row)
{
    return (const char *)conf + row->offset;
}

static bool is_number(const struct row *row)
{
    return row->type == CONF_DURATION || row->type == CONF_BYTES || row->type == CONF_COUNT;
}

static const struct row *find_row(const char *name)
{
    for (size_t i = 0; i < ROWS_N; i++)
        if (strcmp(rows[i].name, name) == 0)
            return &rows[i];
    return NULL;
}

const char *conf_name_at(size_t index)
{
    return index < ROWS_N ? rows[index].name : NULL;
}

int conf_refuse(struct conf_error *ret_error, int error, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(ret_error->text, sizeof ret_error->text, format, arguments);
    va_end(arguments);
    return error;
}

/* Forgetting the section, or taking the wrong one, is as near as one letter. */
static size_t name_distance(const char *name, const char *known)
{
    const char *key = strrchr(name, '.');
    if (strcmp(key ? key + 1 : name, strchr(known, '.') + 1) == 0)
        return 1;
    return conf_value_distance(name, known);
}

const char *conf_nearest(const char *name)
{
    const char *nearest = NULL;
    size_t best = CONF_NEAR_ENOUGH + 1;
    for (size_t i = 0; i < ROWS_N; i++) {
        size_t distance = name_distance(name, rows[i].name);
        if (distance < best) {
            best = distance;
            nearest = rows[i].name;
        }
    }
    return nearest;
}

static int refuse_name(const char *source, const char *name, struct conf_error *ret_error)
{
    char shown[GIVEN_TEXT_MAX];
    const char *nearest = conf_nearest(name);
    log_visible(shown, sizeof shown, name, strlen(name));
    if (!nearest)
        return conf_refuse(ret_error, -EINVAL, "%s: there is no setting \"%s\"", source, shown);
    return conf_refuse(ret_error, -EINVAL, "%s: there is no setting \"%s\"; did you mean %s?",
                       source, shown, nearest);
}

static const char *kind_of(enum conf_type type)
{
    if (type == CONF_DURATION)
        return "a duration";
    return type == CONF_BYTES ? "a size" : "a whole number";
}

/* What a row takes, for the end of a sentence. */
static char *describe(const struct row *row, char *to, size_t to_n)
{
    if (is_number(row))
        snprintf(to, to_n, "%s from %s to %s", kind_of(row->type), row->min, row->max);
    else
        snprintf(to, to_n, "%s", row->form);
    return to;
}

static int refuse_value(const char *source, const struct row *row, const char *value,
                        struct conf_error *ret_error)
{
    char shown[GIVEN_TEXT_MAX];
    char expected[GIVEN_TEXT_MAX];
    if (row->is_secret)
        return conf_refuse(ret_error, -EINVAL, "%s: %s has an item of another form, expected %s",
                           source, row->name, describe(row, expected, sizeof expected));
    log_visible(shown, sizeof shown, value, strlen(value));
    return conf_refuse(ret_error, -EINVAL, "%s: %s is \"%s\", expected %s", source, row->name,
                       shown, describe(row, expected, sizeof expected));
}

static int set_number(struct conf *conf, const struct row *row, const char *value)
{
    uint64_t number, min, max;
    bool has_range = conf_value_number(row->type, row->min, &min) &&
                     conf_value_number(row->type, row->max, &max);
    assert(has_range);
    if (!conf_value_number(row->type, value, &number) || number < min || number > max)
        return -EINVAL;
    *(uint64_t *)target_of(conf, row) = number;
    return 0;
}

static int set_text(struct conf *conf, const struct row *row, const char *value)
{
    if (!row->fits(value))
        return -EINVAL;

    char *copy = strdup(value);
    if (!copy)
        return -ENOMEM;
    char **target = target_of(conf, row);
    free(*target);
    *target = copy;
    return 0;
}

static int set_choice(struct conf *conf, const struct row *row, const char *value)
{
    for (int i = 0; row->choices[i]; i++) {
        if (strcmp(row->choices[i], value) == 0) {
            *(int *)target_of(conf, row) = i;
            return 0;
        }
    }
    return -EINVAL;
}

static int set_row(struct conf *conf, const struct row *row, const char *value)
{
    if (!conf_value_is_clean(value))
        return -EINVAL;
    switch (row->type) {
    case CONF_DURATION:
    case CONF_BYTES:
    case CONF_COUNT:
        return set_number(conf, row, value);
    case CONF_TEXT:
        return set_text(conf, row, value);
    case CONF_LIST:
        return conf_value_list_add(target_of(conf, row), value, row->fits);
    case CONF_CHOICE:
        return set_choice(conf, row, value);
    }
    return -EINVAL;
}

int conf_set_as(struct conf *conf, const char *source, const char *name, const char *value,
                struct conf_error *ret_error)
{
    const struct row *row = find_row(name);
    if (!row)
        return refuse_name(source, name, ret_error);

    int error = set_row(conf, row, value);
    if (error == -EINVAL)
        return refuse_value(source, row, value, ret_error);
    if (error)
        return conf_refuse(ret_error, error, "%s: %s: out of memory", source, row->name);
    if (row->offset == AT(auth.mode, int))
        conf->auth.mode_written = true;
    return 0;
}

int conf_set(struct conf *conf, const char *assignment, struct conf_error *ret_error)
{
    char shown[GIVEN_TEXT_MAX];
    const char *equals = strchr(assignment, '=');
    if (!equals) {
        log_visible(shown, sizeof shown, assignment, strlen(assignment));
        return conf_refuse(ret_error, -EINVAL, "--set: expected section.key=value, given \"%s\"",
                           shown);
    }

    char *name = strndup(assignment, (size_t)(equals - assignment));
    if (!name)
        return conf_refuse(ret_error, -ENOMEM, "--set: out of memory");
    int error = conf_set_as(conf, "--set", name, equals + 1, ret_error);
    free(name);
    return error;
}

void conf_begin_source(struct conf *conf)
{
    for (size_t i = 0; i < ROWS_N; i++) {
        if (rows[i].type == CONF_LIST) {
            struct conf_list *list = target_of(conf, &rows[i]);
            list->inherited = true;
        }
    }
}

struct conf *conf_new(void)
{
    struct conf *conf = calloc(1, sizeof *conf);
    if (!conf)
        return NULL;
    for (size_t i = 0; i < ROWS_N; i++) {
        int error = set_row(conf, &rows[i], rows[i].fallback);
        assert(error != -EINVAL); /* a default must fit its own row */
        if (error) {
            conf_free(conf);
            return NULL;
        }
    }
    conf_begin_source(conf);
    return conf;
}

void conf_free(struct conf *conf)
{
    if (!conf)
        return;
    for (size_t i = 0; i < ROWS_N; i++) {
        if (rows[i].type == CONF_TEXT)
            free(*(char **)target_of(conf, &rows[i]));
        if (rows[i].type == CONF_LIST)
            conf_value_list_clear(target_of(conf, &rows[i]));
    }
    free(conf);
}

static const char *first_open_listener(const struct conf *conf)
{
    for (size_t i = 0; i < conf->server.listen.items_n; i++)
        if (!conf_value_is_loopback(conf->server.listen.items[i]))
            return conf->server.listen.items[i];
    return NULL;
}

bool conf_is_loopback_only(const struct conf *conf)
{
    return first_open_listener(conf) == NULL;
}

bool conf_serves_any_host(const struct conf *conf)
{
    if (conf->auth.mode != CONF_AUTH_NONE || !conf_is_loopback_only(conf))
        return true;
    for (size_t i = 0; i < conf->server.listen.items_n; i++)
        if (strncmp(conf->server.listen.items[i], "unix:", strlen("unix:")) == 0)
            return true;
    return false;
}

static int check_open_listeners(const struct conf *conf, struct conf_error *ret_error)
{
    const char *open = first_open_listener(conf);
    if (!open || conf->auth.mode != CONF_AUTH_NONE || conf->auth.mode_written)
        return 0;
    return conf_refuse(ret_error, -EINVAL,
                       "server.listen: others can reach %s, and without authentication all of them "
                       "may publish and read: listen on 127.0.0.1, [::1] or unix:/PATH, set "
                       "auth.mode = token, or accept it by writing auth.mode = none",
                       open);
}

static bool is_in_memory(const struct conf *conf)
{
    return strcmp(conf->history.store, "memory:") == 0;
}

static uint64_t least(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

uint64_t conf_history_bytes(const struct conf *conf)
{
    if (conf->history.max_bytes > 0)
        return conf->history.max_bytes;
    return is_in_memory(conf)
               ? least(HISTORY_BYTES_IN_MEMORY, conf_memory_bytes(conf) / HISTORY_MEMORY_SHARE)
               : HISTORY_BYTES_ON_DISK;
}

uint64_t conf_ring_bytes(const struct conf *conf)
{
    if (conf->stream.ring_bytes > 0)
        return conf->stream.ring_bytes;
    return least(RING_BYTES, conf_memory_bytes(conf) / RING_MEMORY_SHARE);
}

uint64_t conf_memory_bytes(const struct conf *conf)
{
    uint64_t half;

    if (conf->limits.memory > 0)
        return conf->limits.memory;
    half = machine_memory_bytes("") / 2;
    return half > MEMORY_LEAST ? half : MEMORY_LEAST;
}

uint64_t conf_shared_bytes(const struct conf *conf)
{
    return conf_ring_bytes(conf) + (is_in_memory(conf) ? conf_history_bytes(conf) : 0);
}

/* 0 stands for itself, so the range of the row cannot tell this. */
static int check_least(const char *name, uint64_t given, uint64_t min, const char *min_text,
                       struct conf_error *ret_error)
{
    char text[NUMBER_TEXT_MAX];

    if (given == 0 || given >= min)
        return 0;
    conf_value_number_text(CONF_BYTES, given, text, sizeof text);
    return conf_refuse(ret_error, -EINVAL, "%s is %s, expected 0 or at least %s", name, text,
                       min_text);
}

static int check_leasts(const struct conf *conf, struct conf_error *ret_error)
{
    int error = check_least("history.max_bytes", conf->history.max_bytes, HISTORY_BYTES_LEAST,
                            "64K", ret_error);
    if (!error)
        error = check_least("stream.ring_bytes", conf->stream.ring_bytes, HISTORY_BYTES_LEAST,
                            "64K", ret_error);
    return error
               ? error
               : check_least("limits.memory", conf->limits.memory, MEMORY_LEAST, "64M", ret_error);
}

/* What rings and store may fill must leave room for everything else. */
static int check_memory(const struct conf *conf, struct conf_error *ret_error)
{
    char ring[NUMBER_TEXT_MAX], history[NUMBER_TEXT_MAX], memory[NUMBER_TEXT_MAX];
    char most[NUMBER_TEXT_MAX];
    uint64_t bytes = conf_memory_bytes(conf);
    uint64_t rest = bytes / REST_SHARE > REST_LEAST ? bytes / REST_SHARE : REST_LEAST;

    if (conf_shared_bytes(conf) <= bytes - rest)
        return 0;
    conf_value_number_text(CONF_BYTES, bytes - rest, most, sizeof most);
    conf_value_number_text(CONF_BYTES, conf_ring_bytes(conf), ring, sizeof ring);
    conf_value_number_text(CONF_BYTES, conf_history_bytes(conf), history, sizeof history);
    conf_value_number_text(CONF_BYTES, conf_memory_bytes(conf), memory, sizeof memory);
    if (!is_in_memory(conf))
        return conf_refuse(ret_error, -EINVAL,
                           "stream.ring_bytes is %s, expected at most %s, since limits.memory is "
                           "%s",
                           ring, most, memory);
    return conf_refuse(ret_error, -EINVAL,
                       "stream.ring_bytes is %s and history.max_bytes, in memory, %s: expected "
                       "together at most %s, since limits.memory is %s",
                       ring, history, most, memory);
}

/* An event that passes one limit must find room behind it. */
static int check_rooms(const struct conf *conf, struct conf_error *ret_error)
{
    const struct {
        const char *small_name;
        uint64_t small;
        const char *large_name;
        uint64_t large;
    } pairs[] = {
        {"limits.event_bytes", conf->limits.event_bytes, "stream.ring_bytes",
         conf_ring_bytes(conf)},
        {"limits.event_bytes", conf->limits.event_bytes, "history.max_bytes",
         conf_history_bytes(conf)},
        {"limits.event_bytes", conf->limits.event_bytes, "limits.queue_bytes",
         conf->limits.queue_bytes},
        {"limits.url_bytes", conf->limits.url_bytes, "limits.header_bytes",
         conf->limits.header_bytes},
    };
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++) {
        char small[NUMBER_TEXT_MAX];
        char large[NUMBER_TEXT_MAX];
        if (pairs[i].small <= pairs[i].large)
            continue;
        conf_value_number_text(CONF_BYTES, pairs[i].small, small, sizeof small);
        conf_value_number_text(CONF_BYTES, pairs[i].large, large, sizeof large);
        return conf_refuse(ret_error, -EINVAL, "%s is %s, expected at most %s, which is %s",
                           pairs[i].small_name, small, pairs[i].large_name, large);
    }
    return 0;
}

static bool has_item(const struct conf_list *list, const char *wanted)
{
    for (size_t i = 0; i < list->items_n; i++)
        if (strcmp(list->items[i], wanted) == 0)
            return true;
    return false;
}

static int check_proxy_protocol(const struct conf *conf, struct conf_error *ret_error)
{
    const struct conf_list *items = &conf->server.proxy_protocol;

    for (size_t i = 0; i < items->items_n; i++)
        if (!has_item(&conf->server.listen, items->items[i]))
            return conf_refuse(ret_error, -EINVAL,
                               "server.proxy_protocol has %s, expected an item of server.listen",
                               items->items[i]);
    if (items->items_n > 0 && conf->server.trusted_proxies.items_n == 0)
        return conf_refuse(ret_error, -EINVAL,
                           "server.proxy_protocol: PROXY headers are taken of trusted proxies "
                           "only: name them in server.trusted_proxies");
    return 0;
}

int conf_check(const struct conf *conf, struct conf_error *ret_error)
{
    if (conf->server.listen.items_n == 0)
        return conf_refuse(ret_error, -EINVAL, "server.listen is empty, expected an address");
    if (conf->server.handover[0] != '\0' && strcmp(conf->history.store, "memory:") == 0)
        return conf_refuse(ret_error, -EINVAL,
                           "server.handover is set, but history.store is memory:, which ends with "
                           "its process: a hand-over needs sqlite:");
    int error = check_open_listeners(conf, ret_error);
    if (!error)
        error = check_leasts(conf, ret_error);
    if (!error)
        error = check_memory(conf, ret_error);
    if (!error)
        error = check_proxy_protocol(conf, ret_error);
    return error ? error : check_rooms(conf, ret_error);
}

/* What stands before the secret, and how many there are, is enough to check a file by. */
static void print_secrets(const struct conf_list *list, FILE *to)
{
    for (size_t i = 0; i < list->items_n; i++)
        fprintf(to, "%s%.*s:(not shown)", i > 0 ? ", " : "", (int)strcspn(list->items[i], ":"),
                list->items[i]);
}

static void print_list(const struct conf_list *list, FILE *to)
{
    for (size_t i = 0; i < list->items_n; i++)
        fprintf(to, "%s%s", i > 0 ? ", " : "", list->items[i]);
}

static void print_value(const struct conf *conf, const struct row *row, FILE *to)
{
    char text[NUMBER_TEXT_MAX];
    const void *value = value_of(conf, row);
    if (is_number(row))
        fputs(conf_value_number_text(row->type, *(const uint64_t *)value, text, sizeof text), to);
    else if (row->is_secret)
        print_secrets(value, to);
    else if (row->type == CONF_LIST)
        print_list(value, to);
    else if (row->type == CONF_CHOICE)
        fputs(row->choices[*(const int *)value], to);
    else
        fputs(*(char *const *)value, to);
}

void conf_print(const struct conf *conf, FILE *to)
{
    for (size_t i = 0; i < ROWS_N; i++) {
        fprintf(to, "%s = ", rows[i].name);
        print_value(conf, &rows[i], to);
        fputc('\n', to);
    }
}

void conf_print_help(FILE *to)
{
    for (size_t i = 0; i < ROWS_N; i++) {
        char expected[GIVEN_TEXT_MAX];
        const struct row *row = &rows[i];
        fprintf(to, "%s = %s\n", row->name, row->fallback);
        fprintf(to, "    %s\n", row->sentence);
        fprintf(to, "    Takes %s%s.  %s\n\n", row->type == CONF_LIST ? "a list of " : "",
                describe(row, expected, sizeof expected),
                row->reload == RELOAD ? "Reloads." : "Needs a restart.");
    }
}

static bool is_same_list(const struct conf_list *one, const struct conf_list *other)
{
    if (one->items_n != other->items_n)
        return false;
    for (size_t i = 0; i < one->items_n; i++)
        if (strcmp(one->items[i], other->items[i]) != 0)
            return false;
    return true;
}

static bool is_same(const struct row *row, const void *one, const void *other)
{
    if (is_number(row))
        return *(const uint64_t *)one == *(const uint64_t *)other;
    if (row->type == CONF_LIST)
        return is_same_list(one, other);
    if (row->type == CONF_CHOICE)
        return *(const int *)one == *(const int *)other;
    return strcmp(*(char *const *)one, *(char *const *)other) == 0;
}

const char *conf_next_restart(const struct conf *before, const struct conf *after, size_t *index)
{
    while (*index < ROWS_N) {
        const struct row *row = &rows[(*index)++];
        if (row->reload == RESTART && !is_same(row, value_of(before, row), value_of(after, row)))
            return row->name;
    }
    return NULL;
}

static int copy_list(struct conf_list *to, const struct conf_list *from)
{
    int error = 0;

    conf_value_list_clear(to);
    for (size_t i = 0; error == 0 && i < from->items_n; i++)
        error = conf_value_list_add(to, from->items[i], is_anything);
    return error;
}

static int copy_row(struct conf *to, const struct conf *from, const struct row *row)
{
    char *text;

    switch (row->type) {
    case CONF_DURATION:
    case CONF_BYTES:
    case CONF_COUNT:
        *(uint64_t *)target_of(to, row) = *(const uint64_t *)value_of(from, row);
        return 0;
    case CONF_CHOICE:
        *(int *)target_of(to, row) = *(const int *)value_of(from, row);
        return 0;
    case CONF_TEXT:
        text = strdup(*(char *const *)value_of(from, row));
        if (!text)
            return -ENOMEM;
        free(*(char **)target_of(to, row));
        *(char **)target_of(to, row) = text;
        return 0;
    case CONF_LIST:
        return copy_list(target_of(to, row), value_of(from, row));
    }
    return -EINVAL;
}

int conf_keep_restart(struct conf *after, const struct conf *before)
{
    int error = 0;

    for (size_t i = 0; error == 0 && i < ROWS_N; i++)
        if (rows[i].reload == RESTART)
            error = copy_row(after, before, &rows[i]);
    return error;
}
