/* SPDX-License-Identifier: MIT */
/* Text to values and back: what the option table needs and no setting in particular. */
#include "config.h"

#include "conf/conf_value.h"

#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>

/* Beyond this a double, as JSON readers use, no longer holds every whole number. */
#define NUMBER_MAX (UINT64_C(1) << 53)
#define UNIX_PREFIX "unix:"

struct unit {
    const char *name;
    uint64_t factor;
};

/* Largest first, for writing; the one without a name is what a bare number means. */
static const struct unit durations[] = {
    {"d", 86400000}, {"h", 3600000}, {"m", 60000}, {"s", 1000}, {"ms", 1}, {"", 1000}, {NULL, 0},
};
static const struct unit sizes[] = {
    {"G", 1 << 30}, {"M", 1 << 20}, {"K", 1 << 10}, {"", 1}, {NULL, 0},
};
static const struct unit plain[] = {{"", 1}, {NULL, 0}};

static const struct unit *units_of(enum conf_type type)
{
    assert(type == CONF_DURATION || type == CONF_BYTES || type == CONF_COUNT);
    if (type == CONF_DURATION)
        return durations;
    return type == CONF_BYTES ? sizes : plain;
}

/* Read digits; `*ret_end` is what follows.  False without a digit or beyond NUMBER_MAX. */
static bool parse_digits(const char *text, uint64_t *ret_number, const char **ret_end)
{
    uint64_t number = 0;
    const char *at = text;
    for (; *at >= '0' && *at <= '9'; at++) {
        number = number * 10 + (uint64_t)(*at - '0');
        if (number > NUMBER_MAX)
            return false;
    }
    if (at == text)
        return false;
    *ret_number = number;
    *ret_end = at;
    return true;
}

bool conf_value_number(enum conf_type type, const char *text, uint64_t *ret_number)
{
    uint64_t number;
    const char *suffix;
    if (!parse_digits(text, &number, &suffix))
        return false;

    const struct unit *unit = units_of(type);
    while (unit->name && strcmp(unit->name, suffix) != 0)
        unit++;
    if (!unit->name || number > NUMBER_MAX / unit->factor)
        return false;
    *ret_number = number * unit->factor;
    return true;
}

char *conf_value_number_text(enum conf_type type, uint64_t number, char *to, size_t to_n)
{
    const struct unit *unit = units_of(type);
    while (number % unit->factor != 0)
        unit++;
    if (number == 0)
        snprintf(to, to_n, "0");
    else
        snprintf(to, to_n, "%" PRIu64 "%s", number / unit->factor, unit->name);
    return to;
}

bool conf_parse_duration_ms(const char *text, uint64_t *ret_ms)
{
    return conf_value_number(CONF_DURATION, text, ret_ms);
}

bool conf_parse_bytes(const char *text, uint64_t *ret_bytes)
{
    return conf_value_number(CONF_BYTES, text, ret_bytes);
}

bool conf_value_is_clean(const char *text)
{
    for (; *text; text++)
        if ((unsigned char)*text < 0x20 || *text == 0x7f)
            return false;
    return true;
}

static bool is_port(const char *text)
{
    uint64_t port;
    const char *end;
    return parse_digits(text, &port, &end) && *end == '\0' && port <= 65535;
}

/* Part HOST:PORT, the brackets of an IPv6 address taken off; false for anything else. */
static bool split_listen(const char *item, char *ret_host, size_t host_room, bool *ret_v6)
{
    const char *colon = strrchr(item, ':');
    if (!colon || !is_port(colon + 1))
        return false;

    size_t host_n = (size_t)(colon - item);
    bool v6 = host_n >= 2 && item[0] == '[' && item[host_n - 1] == ']';
    if (v6) {
        item++;
        host_n -= 2;
    }
    if (host_n >= host_room)
        return false;
    memcpy(ret_host, item, host_n);
    ret_host[host_n] = '\0';
    *ret_v6 = v6;
    return true;
}

static bool is_unix_path(const char *path)
{
    return path[0] == '/' && path[1] && strlen(path) < sizeof((struct sockaddr_un *)0)->sun_path;
}

bool conf_value_is_listen(const char *item)
{
    char host[INET6_ADDRSTRLEN];
    struct in6_addr address;
    bool v6;
    if (strncmp(item, UNIX_PREFIX, strlen(UNIX_PREFIX)) == 0)
        return is_unix_path(item + strlen(UNIX_PREFIX));
    if (!split_listen(item, host, sizeof host, &v6))
        return false;
    if (v6)
        return inet_pton(AF_INET6, host, &address) == 1;
    return strcmp(host, "*") == 0 || strcmp(host, "localhost") == 0 ||
           inet_pton(AF_INET, host, &address) == 1;
}

bool conf_value_is_tls_listen(const char *item)
{
    return strncmp(item, UNIX_PREFIX, strlen(UNIX_PREFIX)) != 0 && conf_value_is_listen(item);
}

bool conf_value_is_loopback(const char *item)
{
    char host[INET6_ADDRSTRLEN];
    struct in_addr v4;
    struct in6_addr v6;
    bool is_v6;
    if (strncmp(item, UNIX_PREFIX, strlen(UNIX_PREFIX)) == 0)
        return true;
    if (!split_listen(item, host, sizeof host, &is_v6))
        return false;
    if (is_v6)
        return inet_pton(AF_INET6, host, &v6) == 1 && IN6_IS_ADDR_LOOPBACK(&v6);
    if (strcmp(host, "localhost") == 0)
        return true;
    return inet_pton(AF_INET, host, &v4) == 1 && ntohl(v4.s_addr) >> 24 == IN_LOOPBACKNET;
}

/* As a browser sends it: RFC 6454 section 6.2, lower case, no path. */
bool conf_value_is_origin(const char *item)
{
    if (strcmp(item, "loopback") == 0)
        return true;

    size_t scheme_n = strspn(item, "abcdefghijklmnopqrstuvwxyz0123456789+-.");
    if (scheme_n == 0 || strncmp(item + scheme_n, "://", 3) != 0)
        return false;

    const char *host = item + scheme_n + 3;
    size_t host_n = strspn(host, "abcdefghijklmnopqrstuvwxyz0123456789-._[]:");
    return host_n > 0 && host[0] != ':' && host[host_n] == '\0';
}

bool conf_value_is_host(const char *item)
{
    size_t n = strspn(item, "abcdefghijklmnopqrstuvwxyz0123456789-._[]:");

    return n > 0 && item[0] != ':' && item[n] == '\0';
}

static bool begins(const char *text, const char *prefix)
{
    return strncmp(text, prefix, strlen(prefix)) == 0;
}

/* An answer that is changed on its way lets others sign tokens: without TLS only this machine. */
static bool is_plain_loopback(const char *url)
{
    static const char *const hosts[] = {"http://127.0.0.1", "http://localhost", "http://[::1]"};

    for (size_t i = 0; i < sizeof hosts / sizeof hosts[0]; i++) {
        const char *rest = url + strlen(hosts[i]);
        if (begins(url, hosts[i]) && (*rest == ':' || *rest == '/'))
            return strchr(url, '@') == NULL;
    }
    return false;
}

bool conf_value_is_key_set(const char *text)
{
    return text[0] == '\0' || text[0] == '/' || (begins(text, "https://") && text[8] != '\0') ||
           is_plain_loopback(text);
}

void conf_value_list_clear(struct conf_list *list)
{
    for (size_t i = 0; i < list->items_n; i++)
        free(list->items[i]);
    free(list->items);
    list->items = NULL;
    list->items_n = 0;
}

static int append_item(struct conf_list *list, const char *text, size_t text_n)
{
    char **items = reallocarray(list->items, list->items_n + 1, sizeof *items);
    if (!items)
        return -ENOMEM;
    list->items = items;

    char *item = strndup(text, text_n);
    if (!item)
        return -ENOMEM;
    items[list->items_n++] = item;
    return 0;
}

static int append_fitting(struct conf_list *list, const char *text, size_t text_n,
                          bool (*fits)(const char *item))
{
    int error = append_item(list, text, text_n);
    if (error)
        return error;
    return fits(list->items[list->items_n - 1]) ? 0 : -EINVAL;
}

int conf_value_list_add(struct conf_list *list, const char *text, bool (*fits)(const char *item))
{
    if (list->inherited)
        conf_value_list_clear(list);
    list->inherited = false;
    if (*text == '\0')
        return 0;

    for (;;) {
        text += strspn(text, " ");
        size_t field_n = strcspn(text, ",");
        size_t item_n = field_n;
        while (item_n > 0 && text[item_n - 1] == ' ')
            item_n--;
        int error = append_fitting(list, text, item_n, fits);
        if (error || text[field_n] == '\0')
            return error;
        text += field_n + 1;
    }
}
