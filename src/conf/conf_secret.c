/* SPDX-License-Identifier: MIT */
/* Secrets that stand in files, keys as text, and the host's name for a node without one. */
#include "config.h"

#include "conf/conf.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/base64url.h"
#include "base/file_read.h"
#include "base/log.h"
#include "conf/conf_value.h"

#define FILE_BYTES_MAX 4096
#define SHOWN_BYTES 128

/* ---- files ---- */

/* Without the end of its last line, as an editor leaves it. */
static size_t line_length(const char *text, size_t text_n)
{
    if (text_n > 0 && text[text_n - 1] == '\n')
        text_n--;
    if (text_n > 0 && text[text_n - 1] == '\r')
        text_n--;
    return text_n;
}

static int refuse_file(const char *name, const char *path, const char *what,
                       struct conf_error *ret_error)
{
    char shown[SHOWN_BYTES];

    log_visible(shown, sizeof shown, path, strlen(path));
    return conf_refuse(ret_error, -EINVAL, "%s: %s %s", name, shown, what);
}

/* Give the line that a file has. */
static int take_line(char *bytes, size_t bytes_n, char **ret_line, const char **ret_what)
{
    size_t line_n = line_length(bytes, bytes_n);

    *ret_what = NULL;
    bytes[line_n] = '\0';
    if (line_n == 0)
        *ret_what = "is empty";
    else if (strlen(bytes) != line_n || !conf_value_is_clean(bytes))
        *ret_what = "has more than one line, or bytes that are no text";
    if (*ret_what != NULL)
        return -EINVAL;
    *ret_line = strdup(bytes);
    return *ret_line != NULL ? 0 : -ENOMEM;
}

/* Replace "@FILE" by what the file has; other texts stay. */
static int read_secret(char **text, const char *name, struct conf_error *ret_error)
{
    char *bytes, *line, cannot[SHOWN_BYTES];
    const char *path = *text + 1, *what = cannot;
    size_t bytes_n;
    int result;

    if (**text != '@')
        return 0;
    result = file_read(path, FILE_BYTES_MAX, &bytes, &bytes_n);
    if (result == 0) {
        result = take_line(bytes, bytes_n, &line, &what);
        explicit_bzero(bytes, bytes_n);
        free(bytes);
    } else {
        snprintf(cannot, sizeof cannot, "cannot be read: %s", file_read_text(result));
    }
    if (result == -ENOMEM)
        return conf_refuse(ret_error, -ENOMEM, "out of memory");
    if (result != 0)
        return refuse_file(name, path, what, ret_error);
    free(*text);
    *text = line;
    return 0;
}

/* ---- keys of tickets ---- */

static int hex_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static bool read_hex(const char *item, unsigned char *to, size_t bytes_n)
{
    for (size_t i = 0; i < bytes_n; i++) {
        int high = hex_value(item[2 * i]), low = hex_value(item[2 * i + 1]);

        if (high < 0 || low < 0)
            return false;
        to[i] = (unsigned char)(high << 4 | low);
    }
    return true;
}

bool conf_ticket_key(const char *item, unsigned char to[CONF_TICKET_KEY_BYTES])
{
    size_t item_n = strlen(item), n;

    if (item_n == 2 * CONF_TICKET_KEY_BYTES)
        return read_hex(item, to, CONF_TICKET_KEY_BYTES);
    return item_n == BASE64URL_TEXT_ROOM(CONF_TICKET_KEY_BYTES) - 1 &&
           base64url_decode(item, item_n, to, &n);
}

static int read_ticket_keys(struct conf_list *items, struct conf_error *ret_error)
{
    unsigned char key[CONF_TICKET_KEY_BYTES];
    int result = 0;

    for (size_t i = 0; result == 0 && i < items->items_n; i++) {
        result = read_secret(&items->items[i], "auth.ticket_key", ret_error);
        if (result == 0 && !conf_ticket_key(items->items[i], key))
            result = conf_refuse(ret_error, -EINVAL,
                                 "auth.ticket_key, item %zu: the file does not have 32 bytes in "
                                 "hex or base64url; `openssl rand -hex 32` makes some",
                                 i + 1);
    }
    explicit_bzero(key, sizeof key);
    return result;
}

/* ---- the name of a node ---- */

static bool is_of_a_name(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' ||
           c == '_' || c == '-';
}

static int name_node(struct conf *conf, struct conf_error *ret_error)
{
    char name[HOST_NAME_MAX + 1] = "";
    char *node;

    if (conf->cluster.node[0] != '\0')
        return 0;
    gethostname(name, sizeof name - 1);
    if (name[0] == '\0')
        return conf_refuse(ret_error, -EINVAL,
                           "cluster.node is empty, and this host has no name: set it");
    for (char *at = name; *at; at++)
        if (!is_of_a_name(*at))
            *at = '-';
    node = strndup(name, CONF_NODE_BYTES - 1);
    if (node == NULL)
        return conf_refuse(ret_error, -ENOMEM, "out of memory");
    free(conf->cluster.node);
    conf->cluster.node = node;
    return 0;
}

int conf_read_secrets(struct conf *conf, struct conf_error *ret_error)
{
    int result = read_ticket_keys(&conf->auth.ticket_key, ret_error);

    if (result != 0 || conf->cluster.log[0] == '\0')
        return result;
    result = read_secret(&conf->cluster.password, "cluster.password", ret_error);
    return result == 0 ? name_node(conf, ret_error) : result;
}
