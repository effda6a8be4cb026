/* SPDX-License-Identifier: MIT */
/* Which web pages may talk to the gateway.  See origin.h. */
#include "config.h"
#include "auth/origin.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define HOST_BYTES_MAX 64
#define HOST_NAME_ROOM 256

static const char *after_prefix(const char *text, const char *prefix)
{
    size_t prefix_n = strlen(prefix);

    return strncmp(text, prefix, prefix_n) == 0 ? text + prefix_n : NULL;
}

/* ":1" to ":65535", or nothing. */
static bool origin_is_port(const char *text)
{
    size_t digits_n = text[0] == ':' ? strspn(text + 1, "0123456789") : 0;

    if (text[0] == '\0')
        return true;
    if (digits_n < 1 || digits_n > 5 || text[1 + digits_n] != '\0')
        return false;
    long port = strtol(text + 1, NULL, 10);
    return port >= 1 && port <= 65535;
}

static bool is_loopback_host(const char *host)
{
    struct in_addr address;

    /* the one that nearly all say needs no parsing */
    if (strcmp(host, "127.0.0.1") == 0 || strcmp(host, "localhost") == 0 ||
        strcmp(host, "[::1]") == 0)
        return true;
    return inet_pton(AF_INET, host, &address) == 1 && (ntohl(address.s_addr) >> 24) == 127;
}

static bool is_loopback(const char *origin)
{
    const char *host = after_prefix(origin, "http://");
    char name[HOST_BYTES_MAX];

    if (host == NULL)
        host = after_prefix(origin, "https://");
    if (host == NULL)
        return false;
    size_t name_n = host[0] == '[' ? strcspn(host, "]") + 1 : strcspn(host, ":");
    if (name_n >= sizeof(name) || name_n > strlen(host))
        return false;
    memcpy(name, host, name_n);
    name[name_n] = '\0';
    return is_loopback_host(name) && origin_is_port(host + name_n);
}

/* The name of "name", "name:port" or "[address]:port" in small letters; false when it has no such
 * form. */
static bool split_host(const char *host, char name[HOST_NAME_ROOM])
{
    size_t name_n = host[0] == '[' ? strcspn(host, "]") + 1 : strcspn(host, ":");

    if (name_n >= HOST_NAME_ROOM || name_n > strlen(host) || !origin_is_port(host + name_n))
        return false;
    for (size_t i = 0; i < name_n; i++)
        name[i] = (char)(host[i] >= 'A' && host[i] <= 'Z' ? host[i] - 'A' + 'a' : host[i]);
    name[name_n] = '\0';
    return true;
}

bool origin_host_is_served(const char *host, const struct conf_list *list)
{
    char name[HOST_NAME_ROOM];

    if (host == NULL)
        return true;
    if (!split_host(host, name))
        return false;
    for (size_t i = 0; i < list->items_n; i++) {
        const char *item = list->items[i];

        if (strcmp(item, "loopback") == 0 ? is_loopback_host(name)
                                          : strcmp(item, name) == 0 || strcasecmp(item, host) == 0)
            return true;
    }
    return false;
}

enum origin_verdict origin_check(const char *origin, const struct conf_list *list)
{
    if (origin == NULL)
        return ORIGIN_ABSENT;
    for (size_t i = 0; i < list->items_n; i++) {
        bool is_word = strcmp(list->items[i], "loopback") == 0;

        if (is_word ? is_loopback(origin) : strcmp(list->items[i], origin) == 0)
            return ORIGIN_LISTED;
    }
    return ORIGIN_FOREIGN;
}

enum origin_verdict origin_judge(const char *origin, const struct conf_list *own,
                                 const struct conf_list *list)
{
    enum origin_verdict verdict = origin_check(origin, own);

    return verdict == ORIGIN_LISTED ? verdict : origin_check(origin, list);
}

void origin_write_lines(char to[ORIGIN_LINES_BYTES], const char *origin, bool has_cookie)
{
    static const char credentials[] = "Access-Control-Allow-Credentials: true\r\n";

    strcpy(to, "Vary: Origin\r\n");
    if (origin == NULL || strlen(origin) >= ORIGIN_BYTES_MAX)
        return;
    snprintf(to, ORIGIN_LINES_BYTES,
             "Vary: Origin\r\nAccess-Control-Allow-Origin: %s\r\n%s"
             "Access-Control-Expose-Headers: Retry-After\r\n",
             origin, has_cookie ? credentials : "");
}

static const char *line_behind(const char *text, const char *end)
{
    const char *line_end = memchr(text, '\n', (size_t)(end - text));

    return line_end != NULL ? line_end + 1 : end;
}

const char *origin_find(const char *text, size_t text_n, char to[ORIGIN_BYTES_MAX])
{
    static const char name[] = "Origin:";
    const char *end = text + text_n, *line = line_behind(text, end), *next;

    for (; line < end; line = next) {
        next = line_behind(line, end);
        if (next[-1] != '\n' || (size_t)(next - line) < sizeof(name) ||
            strncasecmp(line, name, sizeof(name) - 1) != 0)
            continue;
        const char *value = line + sizeof(name) - 1, *value_end = next - 1;
        while (value < value_end && strchr(" \t", *value) != NULL)
            value++;
        while (value < value_end && strchr(" \t\r", value_end[-1]) != NULL)
            value_end--;
        size_t n = (size_t)(value_end - value);
        if (n == 0 || n >= ORIGIN_BYTES_MAX)
            return NULL;
        memcpy(to, value, n);
        to[n] = '\0';
        return to;
    }
    return NULL;
}
