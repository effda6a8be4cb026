/* SPDX-License-Identifier: MIT */
/* Templates of requests, and where they are sent. */
#include "config.h"
#include "bench/bench_template.h"

#include "cli/cli_common.h"

#include <errno.h>
#include <netdb.h>
#include <string.h>

static const char *const place_names[BENCH_PLACES] = {
    [BENCH_PLACE_TOPIC] = "{topic}",
    [BENCH_PLACE_DATA] = "{data}",
    [BENCH_PLACE_SEQ] = "{seq}",
};

static enum bench_place bench_template_place_at(const char *text)
{
    for (int place = 0; place < BENCH_PLACES; place++)
        if (strncmp(text, place_names[place], strlen(place_names[place])) == 0)
            return (enum bench_place)place;
    return BENCH_PLACES;
}

static int bench_template_refuse(const char *text, const char *why)
{
    cli_fail("bench", "%s: %s", text, why);
    return -EINVAL;
}

int bench_template_compile(struct bench_template *template, const char *text)
{
    template->parts_n = 0;
    const char *begin = text;
    for (const char *at = text;; at++) {
        enum bench_place place = bench_template_place_at(at);

        if (*at && place == BENCH_PLACES)
            continue;
        if (template->parts_n == BENCH_TEMPLATE_PARTS)
            return bench_template_refuse(text, "too many places to fill in");
        size_t i = template->parts_n++;
        template->parts[i].text = begin;
        template->parts[i].text_n = (size_t)(at - begin);
        template->parts[i].place = place;
        if (!*at)
            return 0;
        begin = at + strlen(place_names[place]);
        at = begin - 1;
    }
}

bool bench_template_names(const struct bench_template *template, enum bench_place place)
{
    for (size_t i = 0; i < template->parts_n; i++)
        if (template->parts[i].place == place)
            return true;
    return false;
}

size_t bench_template_bytes(const struct bench_template *template,
                            const struct bench_values *values)
{
    size_t bytes = 0;

    for (size_t i = 0; i < template->parts_n; i++) {
        bytes += template->parts[i].text_n;
        if (template->parts[i].place < BENCH_PLACES)
            bytes += values->at[template->parts[i].place].text_n;
    }
    return bytes;
}

char *bench_template_write(const struct bench_template *template, char *to,
                           const struct bench_values *values)
{
    for (size_t i = 0; i < template->parts_n; i++) {
        enum bench_place place = template->parts[i].place;

        to = mempcpy(to, template->parts[i].text, template->parts[i].text_n);
        if (place < BENCH_PLACES)
            to = mempcpy(to, values->at[place].text, values->at[place].text_n);
    }
    return to;
}

/* Part "host:port", "[v6]:port" or either without the port.  Host and port are cut out of
 * `parts`, a copy that is changed. */
static bool part_authority(char *parts, const char *default_port, const char **ret_host,
                           const char **ret_port)
{
    char *colon;

    *ret_host = parts;
    if (*parts == '[') {
        char *bracket = strchr(parts, ']');

        if (bracket == NULL)
            return false;
        *bracket = '\0';
        *ret_host = parts + 1;
        colon = bracket + 1;
        if (*colon && *colon != ':')
            return false;
    } else {
        colon = strchrnul(parts, ':');
    }
    *ret_port = *colon ? colon + 1 : default_port;
    *colon = '\0';
    return **ret_host && **ret_port;
}

static int bench_template_resolve(struct bench_url *url, const char *host, const char *port,
                                  const char *text)
{
    const struct addrinfo wish = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};
    struct addrinfo *found;
    int rc = getaddrinfo(host, port, &wish, &found);

    if (rc != 0)
        return bench_template_refuse(text, gai_strerror(rc));
    memcpy(&url->address, found->ai_addr, found->ai_addrlen);
    url->address_n = found->ai_addrlen;
    freeaddrinfo(found);
    return 0;
}

int bench_url_resolve(struct bench_url *url, const char *text)
{
    static const char *const schemes[] = {"http://", "ws://", "https://", "wss://"};
    size_t i = 0;

    while (i < 4 && strncmp(text, schemes[i], strlen(schemes[i])) != 0)
        i++;
    if (i == 4)
        return bench_template_refuse(text, "only http:, ws:, https: and wss: can be measured");
    url->is_tls = i >= 2;
    const char *authority = text + strlen(schemes[i]);
    size_t authority_n = strcspn(authority, "/?");
    if (authority_n >= sizeof(url->authority))
        return bench_template_refuse(text, "the host is too long");
    memcpy(url->authority, authority, authority_n);
    url->authority[authority_n] = '\0';
    url->path = authority + authority_n;
    if (*url->path == '\0')
        url->path = "/";
    else if (*url->path != '/')
        return bench_template_refuse(text, "a path must begin with /");
    char parts[sizeof(url->authority)];
    memcpy(parts, url->authority, authority_n + 1);
    const char *host, *port;
    if (!part_authority(parts, url->is_tls ? "443" : "80", &host, &port))
        return bench_template_refuse(text, "no host and port");
    return bench_template_resolve(url, host, port, text);
}
