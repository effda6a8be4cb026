/* SPDX-License-Identifier: MIT */
/* X-Forwarded-For and Forwarded.  See forwarded.h. */
#include "config.h"
#include "wire/forwarded.h"

#include <string.h>
#include <strings.h>

#include "wire/span.h"

#define NODE_BYTES_MAX 64

/* ---- a node: an address, perhaps with a port ---- */

/* A port that is hidden (RFC 7239 6.3) is none. */
static bool parse_port(struct span text, uint16_t *ret_port)
{
    return (text.n > 1 && text.at[0] == '_') || span_port(text, ret_port);
}

/* "[2001:db8::1]" or "[2001:db8::1]:4711". */
static bool parse_bracketed(struct span node, struct peer *ret_peer)
{
    struct span rest = {node.at + 1, node.n - 1};
    struct span address = span_take_until(&rest, ']');

    if (address.n + 2 > node.n || memchr(address.at, ':', address.n) == NULL)
        return false;
    if (!address_parse(address.at, address.n, ret_peer))
        return false;
    if (rest.n == 0)
        return true;
    return rest.at[0] == ':' && parse_port((struct span){rest.at + 1, rest.n - 1}, &ret_peer->port);
}

static bool parse_node(struct span node, struct peer *ret_peer)
{
    struct span rest = node;

    if (node.n > 0 && node.at[0] == '[')
        return parse_bracketed(node, ret_peer);
    if (address_parse(node.at, node.n, ret_peer))
        return true;
    struct span address = span_take_until(&rest, ':');
    if (address.n == node.n)
        return false;
    return address_parse(address.at, address.n, ret_peer) && parse_port(rest, &ret_peer->port);
}

/* ---- Forwarded: elements of pairs, in which quotes may hide what parts them ---- */

/* Length of what stands before the next `separator` outside quotes.  Half a pair of quotes takes
 * all the rest: what a trusted proxy wrote cannot be told from the rest, so none of it is believed.
 */
static size_t find_separator(struct span text, char separator, bool *ret_half_quoted)
{
    bool quoted = false;

    *ret_half_quoted = false;
    for (size_t i = 0; i < text.n; i++) {
        if (text.at[i] == '"')
            quoted = !quoted;
        else if (quoted && text.at[i] == '\\')
            i++;
        else if (!quoted && text.at[i] == separator)
            return i;
    }
    *ret_half_quoted = quoted;
    return text.n;
}

static struct span take_unquoted(struct span *rest, char separator, bool *ret_half_quoted)
{
    struct span part = {rest->at, find_separator(*rest, separator, ret_half_quoted)};
    size_t taken = part.n + (part.n < rest->n);

    *rest = (struct span){rest->at + taken, rest->n - taken};
    return part;
}

/* Take the quotes off; the value itself when it has none.  False for half of a pair. */
static bool forwarded_unquote(struct span value, char to[NODE_BYTES_MAX], struct span *ret_value)
{
    size_t n = 0;

    *ret_value = value;
    if (value.n == 0 || value.at[0] != '"')
        return value.n == 0 || memchr(value.at, '"', value.n) == NULL;
    for (size_t i = 1; i < value.n; i++) {
        if (value.at[i] == '"') {
            *ret_value = (struct span){to, n};
            return i + 1 == value.n;
        }
        if (value.at[i] == '\\' && ++i == value.n)
            return false;
        if (n == NODE_BYTES_MAX)
            return false;
        to[n++] = value.at[i];
    }
    return false;
}

static bool parse_element(struct span element, struct peer *ret_peer)
{
    bool has_for = false, half_quoted = false;

    while (element.n > 0) {
        struct span value = span_trim(take_unquoted(&element, ';', &half_quoted));
        struct span name = span_take_until(&value, '=');
        char room[NODE_BYTES_MAX];

        if (name.n != 3 || strncasecmp(name.at, "for", 3) != 0)
            continue;
        if (has_for || !forwarded_unquote(value, room, &value) || !parse_node(value, ret_peer))
            return false;
        has_for = true;
    }
    return has_for && !half_quoted;
}

/* ---- the walk ---- */

void forwarded_begin(struct forwarded *forwarded, const struct peer *peer,
                     bool (*trusts)(void *arg, const struct peer *peer), void *arg)
{
    *forwarded = (struct forwarded){.trusts = trusts, .arg = arg, .peer = *peer};
    forwarded->believes = trusts(arg, peer);
}

/* The client is the first address from the right that is no trusted proxy.  Read from the left, it
 * is the last such address, or the very first one if all are trusted. */
static void step(struct forwarded *forwarded, enum forwarded_form form, struct span entry)
{
    struct peer peer = {0};
    bool named =
        form == FORWARDED_RFC_7239 ? parse_element(entry, &peer) : parse_node(entry, &peer);

    if (!named)
        peer = (struct peer){.family = PEER_UNKNOWN};
    if (forwarded->is_known && forwarded->trusts(forwarded->arg, &peer))
        return;
    forwarded->client = peer;
    forwarded->is_known = true;
}

void forwarded_add(struct forwarded *forwarded, enum forwarded_form form, const char *value,
                   size_t value_n)
{
    struct span rest = {value, value_n};
    bool half_quoted;

    while (forwarded->believes && rest.n > 0) {
        struct span entry =
            span_trim(form == FORWARDED_RFC_7239 ? take_unquoted(&rest, ',', &half_quoted)
                                                 : span_take_until(&rest, ','));

        if (entry.n > 0)
            step(forwarded, form, entry);
    }
}

const struct peer *forwarded_client(const struct forwarded *forwarded)
{
    return forwarded->is_known ? &forwarded->client : &forwarded->peer;
}
