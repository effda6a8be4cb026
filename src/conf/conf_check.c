/* SPDX-License-Identifier: MIT */
/* What no single setting can tell: what they come to together, and whether they fit each other. */
#include "config.h"

#include "conf/conf.h"

#include <errno.h>
#include <string.h>

#include "base/machine.h"
#include "conf/conf_internal.h"
#include "conf/conf_value.h"

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

bool conf_list_has(const struct conf_list *list, const char *wanted)
{
    for (size_t i = 0; i < list->items_n; i++)
        if (strcmp(list->items[i], wanted) == 0)
            return true;
    return false;
}

bool conf_list_has_all(const struct conf_list *list, const struct conf_list *wanted)
{
    for (size_t i = 0; i < wanted->items_n; i++)
        if (!conf_list_has(list, wanted->items[i]))
            return false;
    return true;
}

static const char *first_open(const struct conf_list *items)
{
    for (size_t i = 0; i < items->items_n; i++)
        if (!conf_value_is_loopback(items->items[i]))
            return items->items[i];
    return NULL;
}

static const char *first_open_listener(const struct conf *conf)
{
    const char *plain = first_open(&conf->server.listen);

    return plain ? plain : first_open(&conf->tls.listen);
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
                       "%s: others can reach %s, and without authentication all of them "
                       "may publish and read: listen on 127.0.0.1, [::1] or unix:/PATH, set "
                       "auth.mode = token, or accept it by writing auth.mode = none",
                       conf_list_has(&conf->server.listen, open) ? "server.listen" : "tls.listen",
                       open);
}

/* What counts with auth.mode=token alone.  An operator who writes one of these and no mode would
 * take the gateway for guarded. */
static const char *first_of_tokens(const struct conf *conf)
{
    const struct {
        const char *name;
        bool is_set;
    } rows[] = {
        {"auth.jwt_key", conf->auth.jwt_key.items_n > 0},
        {"auth.jwks", conf->auth.jwks[0] != '\0'},
        {"auth.api_key", conf->auth.api_key.items_n > 0},
        {"auth.cookie", conf->auth.cookie[0] != '\0'},
        {"auth.anonymous", conf->auth.anonymous.items_n > 0},
        {"auth.private", conf->auth.private.items_n > 0},
        {"auth.audience", conf->auth.audience[0] != '\0'},
        {"auth.issuer", conf->auth.issuer[0] != '\0'},
    };

    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (rows[i].is_set)
            return rows[i].name;
    return NULL;
}

static int check_mode(const struct conf *conf, struct conf_error *ret_error)
{
    const char *name = conf->auth.mode_written ? NULL : first_of_tokens(conf);

    if (name == NULL)
        return 0;
    return conf_refuse(ret_error, -EINVAL,
                       "%s is set, but auth.mode is not, and without it everybody may publish and "
                       "read: write auth.mode = token to have %s count, or auth.mode = none if "
                       "that is meant",
                       name, name);
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
    char text[CONF_NUMBER_TEXT_MAX];

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
    char ring[CONF_NUMBER_TEXT_MAX], history[CONF_NUMBER_TEXT_MAX], memory[CONF_NUMBER_TEXT_MAX];
    char most[CONF_NUMBER_TEXT_MAX];
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
        char small[CONF_NUMBER_TEXT_MAX];
        char large[CONF_NUMBER_TEXT_MAX];
        if (pairs[i].small <= pairs[i].large)
            continue;
        conf_value_number_text(CONF_BYTES, pairs[i].small, small, sizeof small);
        conf_value_number_text(CONF_BYTES, pairs[i].large, large, sizeof large);
        return conf_refuse(ret_error, -EINVAL, "%s is %s, expected at most %s, which is %s",
                           pairs[i].small_name, small, pairs[i].large_name, large);
    }
    return 0;
}

static int check_proxy_protocol(const struct conf *conf, struct conf_error *ret_error)
{
    const struct conf_list *items = &conf->server.proxy_protocol;

    for (size_t i = 0; i < items->items_n; i++)
        if (!conf_list_has(&conf->server.listen, items->items[i]) &&
            !conf_list_has(&conf->tls.listen, items->items[i]))
            return conf_refuse(ret_error, -EINVAL,
                               "server.proxy_protocol has %s, expected an item of server.listen or "
                               "tls.listen",
                               items->items[i]);
    if (items->items_n > 0 && conf->server.trusted_proxies.items_n == 0)
        return conf_refuse(ret_error, -EINVAL,
                           "server.proxy_protocol: PROXY headers are taken of trusted proxies "
                           "only: name them in server.trusted_proxies");
    return 0;
}

static int check_tls(const struct conf *conf, struct conf_error *ret_error)
{
    size_t certificates_n = conf->tls.certificate.items_n, keys_n = conf->tls.key.items_n;

    for (size_t i = 0; i < conf->tls.listen.items_n; i++)
        if (conf_list_has(&conf->server.listen, conf->tls.listen.items[i]))
            return conf_refuse(ret_error, -EINVAL,
                               "tls.listen has %s, which server.listen has too: each needs an "
                               "address of its own",
                               conf->tls.listen.items[i]);
    if (conf->tls.listen.items_n > 0 && certificates_n == 0)
        return conf_refuse(ret_error, -EINVAL,
                           "tls.listen is set, but there is no certificate: name its files in "
                           "tls.certificate and tls.key");
    if (certificates_n != keys_n)
        return conf_refuse(ret_error, -EINVAL,
                           "tls.certificate names %zu files and tls.key %zu: expected a key for "
                           "each certificate",
                           certificates_n, keys_n);
    return 0;
}

/* In milliseconds, of which the larger one must have room for the other. */
static int check_span(const char *small_name, uint64_t small, const char *large_name,
                      uint64_t large, unsigned times, struct conf_error *ret_error)
{
    char small_text[CONF_NUMBER_TEXT_MAX], large_text[CONF_NUMBER_TEXT_MAX];

    if (large >= small * times)
        return 0;
    conf_value_number_text(CONF_DURATION, small, small_text, sizeof small_text);
    conf_value_number_text(CONF_DURATION, large, large_text, sizeof large_text);
    return conf_refuse(ret_error, -EINVAL, "%s is %s, expected at least %s%s, which is %s",
                       large_name, large_text, times > 1 ? "twice " : "", small_name, small_text);
}

static int check_cluster(const struct conf *conf, struct conf_error *ret_error)
{
    int error;

    if (conf->cluster.log[0] == '\0')
        return 0;
    if (conf->cluster.promise == CONF_PROMISE_REPLICATED && conf->cluster.replicas == 0)
        return conf_refuse(ret_error, -EINVAL,
                           "cluster.promise is replicated, but cluster.replicas is 0: set it to "
                           "the number of replicas that may be promoted");
    if (conf->cluster.promise != CONF_PROMISE_REPLICATED && conf->cluster.replicas > 0)
        return conf_refuse(ret_error, -EINVAL,
                           "cluster.replicas is set, but cluster.promise is not replicated, so "
                           "nothing would wait for them: set that, or cluster.replicas = 0");
    if (conf->auth.mode == CONF_AUTH_TOKEN && conf->auth.ticket_key.items_n == 0)
        return conf_refuse(ret_error, -EINVAL,
                           "cluster.log and auth.mode = token are set, but there is no "
                           "auth.ticket_key, with which all gateways make and take tickets: make "
                           "one with `openssl rand -hex 32` and give it to each of them");
    /* a lease is renewed five times while it lasts, and one answer may be late */
    error = check_span("cluster.timeout", conf->cluster.timeout_ms, "cluster.lease",
                       conf->cluster.lease_ms, 2, ret_error);
    return error ? error
                 : check_span("cluster.timeout", conf->cluster.timeout_ms, "cluster.answer_timeout",
                              conf->cluster.answer_timeout_ms, 1, ret_error);
}

int conf_check(const struct conf *conf, struct conf_error *ret_error)
{
    static int (*const checks[])(const struct conf *, struct conf_error *) = {
        check_mode, check_open_listeners, check_leasts, check_memory, check_proxy_protocol,
        check_tls,  check_rooms,          check_cluster};
    int error = 0;

    if (conf->server.listen.items_n == 0 && conf->tls.listen.items_n == 0)
        return conf_refuse(ret_error, -EINVAL, "server.listen is empty, expected an address");
    if (conf->server.handover[0] != '\0' && strcmp(conf->history.store, "memory:") == 0)
        return conf_refuse(ret_error, -EINVAL,
                           "server.handover is set, but history.store is memory:, which ends with "
                           "its process: a hand-over needs sqlite:");
    for (size_t i = 0; error == 0 && i < sizeof checks / sizeof *checks; i++)
        error = checks[i](conf, ret_error);
    return error;
}
