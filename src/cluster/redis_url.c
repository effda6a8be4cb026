/* SPDX-License-Identifier: MIT */
/* Where the shared log is.  See redis_url.h. */
#include "config.h"
#include "cluster/redis_url.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/bytes.h"
#include "conf/conf.h"

#define PORT_PLAIN 6379
#define PORT_SENTINEL 26379
#define DB_MAX 65535

/* A stretch of the text. */
struct part {
    const char *at;
    size_t n;
};

static int url_refuse(struct conf_error *ret_error, const char *what)
{
    return conf_refuse(ret_error, -EINVAL,
                       "cluster.log %s; it is redis://HOST:PORT, rediss://HOST:PORT or "
                       "redis+sentinel://HOST:PORT,HOST:PORT/NAME",
                       what);
}

/* Digits only.  Returns whether it is a number up to `max`. */
static bool url_number(struct part part, unsigned max, unsigned *ret_number)
{
    unsigned number = 0;

    if (part.n == 0 || part.n > 5)
        return false;
    for (size_t i = 0; i < part.n; i++) {
        if (part.at[i] < '0' || part.at[i] > '9')
            return false;
        number = number * 10 + (unsigned)(part.at[i] - '0');
    }
    *ret_number = number;
    return number <= max;
}

static int hex_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Resolve %XX.  Returns whether it fits and is sound; a NUL is not. */
static bool url_decode(struct part part, char to[REDIS_NAME_BYTES])
{
    size_t n = 0;

    for (size_t i = 0; i < part.n; i++) {
        char c = part.at[i];

        if (c == '%') {
            int high = i + 2 < part.n ? hex_value(part.at[i + 1]) : -1;
            int low = high >= 0 ? hex_value(part.at[i + 2]) : -1;

            if (low < 0 || high + low == 0)
                return false;
            c = (char)(high << 4 | low);
            i += 2;
        }
        if (n == REDIS_NAME_BYTES - 1)
            return false;
        to[n++] = c;
    }
    to[n] = '\0';
    return true;
}

/* ---- a place ---- */

static bool is_host_byte(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' ||
           c == '-' || c == '_';
}

static const char *host_is_wrong(const struct redis_place *place, bool in_brackets)
{
    struct in6_addr address;

    if (place->host[0] == '\0')
        return "is missing";
    if (in_brackets)
        return inet_pton(AF_INET6, place->host, &address) == 1 ? NULL : "is no IPv6 address";
    for (const char *at = place->host; *at != '\0'; at++)
        if (!is_host_byte(*at))
            return *at == ':' ? "is an IPv6 address without brackets"
                              : "has a character that no name has";
    return NULL;
}

const char *redis_place_parse(const char *text, size_t text_n, uint16_t port,
                              struct redis_place *ret_place)
{
    bool in_brackets = text_n > 0 && text[0] == '[';
    const char *end = in_brackets ? memchr(text, ']', text_n) : NULL;
    const char *host = in_brackets ? text + 1 : text;
    size_t left = end != NULL ? text_n - (size_t)(end - text) : text_n;
    const char *colon = memrchr(end != NULL ? end : text, ':', left);
    unsigned number = port;

    if (in_brackets && end == NULL)
        return "has a bracket that is not closed";
    if (in_brackets && end + 1 != text + text_n && end + 1 != colon)
        return "has something between the bracket and the port";
    if (colon != NULL) {
        struct part digits = {colon + 1, text_n - (size_t)(colon + 1 - text)};

        if (!url_number(digits, UINT16_MAX, &number) || number == 0)
            return "has a port that is no number from 1 to 65535";
    }
    if (number == 0)
        return "has no port";
    if (!in_brackets)
        end = colon != NULL ? colon : text + text_n;
    if ((size_t)(end - host) >= sizeof(ret_place->host))
        return "is too long";
    if (memchr(host, '\0', (size_t)(end - host)) != NULL)
        return "has a character that no name has";
    memcpy(ret_place->host, host, (size_t)(end - host));
    ret_place->host[end - host] = '\0';
    ret_place->port = (uint16_t)number;
    return host_is_wrong(ret_place, in_brackets);
}

bool redis_place_equal(const struct redis_place *one, const struct redis_place *other)
{
    return one->port == other->port && strcmp(one->host, other->host) == 0;
}

const char *redis_place_text(const struct redis_place *place, char to[REDIS_PLACE_TEXT_BYTES])
{
    snprintf(to, REDIS_PLACE_TEXT_BYTES, strchr(place->host, ':') != NULL ? "[%s]:%u" : "%s:%u",
             place->host, place->port);
    return to;
}

/* ---- the whole ---- */

static bool take_scheme(struct part *rest, const char *scheme)
{
    size_t scheme_n = strlen(scheme);

    if (rest->n < scheme_n || memcmp(rest->at, scheme, scheme_n) != 0)
        return false;
    rest->at += scheme_n;
    rest->n -= scheme_n;
    return true;
}

/* The text before a mark that is taken away with it.  Returns whether there is one. */
static bool take_before(struct part *rest, const char *mark, struct part *ret_before)
{
    if (mark == NULL)
        return false;
    *ret_before = (struct part){rest->at, (size_t)(mark - rest->at)};
    rest->n -= ret_before->n + 1;
    rest->at = mark + 1;
    return true;
}

static const char *take_user(struct part *rest, struct redis_url *url)
{
    struct part both, user;

    if (!take_before(rest, memrchr(rest->at, '@', rest->n), &both))
        return NULL;
    if (!take_before(&both, memchr(both.at, ':', both.n), &user))
        return "has no colon between user and password";
    if (!url_decode(user, url->user))
        return "has a user that is too long or has a bad %XX";
    if (!url_decode(both, url->password))
        return "has a password that is too long or has a bad %XX";
    return url->password[0] != '\0' ? NULL : "has an empty password before the @";
}

static const char *take_end(struct part end, bool has_end, struct redis_url *url)
{
    if (url->is_sentinel) {
        if (!has_end || end.n == 0)
            return "does not end in /NAME, the name by which Sentinel knows the master";
        if (memchr(end.at, '/', end.n) != NULL || !url_decode(end, url->master))
            return "has a NAME that is too long or has a slash or a bad %XX";
        return NULL;
    }
    if (has_end && end.n > 0 && !url_number(end, DB_MAX, &url->db))
        return "has something behind the slash that is no number of a database";
    return NULL;
}

static int take_places(struct part rest, struct redis_url *url, struct conf_error *ret_error)
{
    uint16_t port = url->is_sentinel ? PORT_SENTINEL : PORT_PLAIN;
    bool has_more;

    do {
        struct part one = rest;
        const char *wrong;
        char text[128];

        has_more = take_before(&rest, memchr(rest.at, ',', rest.n), &one);
        if (url->places_n == REDIS_URL_PLACES_MAX)
            return url_refuse(ret_error, "has more than 16 hosts");
        wrong = redis_place_parse(one.at, one.n, port, &url->places[url->places_n++]);
        if (wrong != NULL) {
            snprintf(text, sizeof(text), "is malformed: host %zu %s", url->places_n, wrong);
            return url_refuse(ret_error, text);
        }
    } while (has_more);
    if (url->places_n > 1 && !url->is_sentinel)
        return url_refuse(ret_error, "names several hosts, which only redis+sentinel:// can");
    return 0;
}

int redis_url_parse(const char *text, struct redis_url *ret_url, struct conf_error *ret_error)
{
    struct part rest = {text, strlen(text)}, places;
    const char *wrong;

    memset(ret_url, 0, sizeof(*ret_url));
    ret_url->is_tls = take_scheme(&rest, "rediss://");
    ret_url->is_sentinel = !ret_url->is_tls && take_scheme(&rest, "redis+sentinel://");
    if (!ret_url->is_tls && !ret_url->is_sentinel && !take_scheme(&rest, "redis://"))
        return url_refuse(ret_error, "has another scheme");
    wrong = take_user(&rest, ret_url);
    if (wrong != NULL)
        return url_refuse(ret_error, wrong);
    bool has_end = take_before(&rest, memchr(rest.at, '/', rest.n), &places);
    if (!has_end)
        places = rest;
    wrong = take_end(rest, has_end, ret_url);
    if (wrong != NULL)
        return url_refuse(ret_error, wrong);
    return take_places(places, ret_url, ret_error);
}
