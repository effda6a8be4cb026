/* SPDX-License-Identifier: MIT */
/* The PROXY protocol.  See proxy_protocol.h. */
#include "config.h"
#include "wire/proxy_protocol.h"

#include <netinet/in.h>
#include <string.h>

#include "base/address.h"
#include "wire/span.h"

#define V1_BYTES_MAX 107
#define V2_FIXED_BYTES 16
#define V2_INET_BYTES 12 /* two addresses and two ports */
#define V2_INET6_BYTES 36

static const char v1_start[] = {'P', 'R', 'O', 'X', 'Y', ' '};
static const char v2_start[] = {'\r', '\n', '\r', '\n', '\0', '\r', '\n', 'Q', 'U', 'I', 'T', '\n'};

static size_t proxy_protocol_least(size_t one, size_t other)
{
    return one < other ? one : other;
}

/* ---- version 1: a line of text, its words apart by single blanks ---- */

static bool take_address(struct span *line, uint16_t family, struct peer *ret_peer)
{
    struct span word = span_take_until(line, ' ');
    bool is_v6 = word.n > 0 && memchr(word.at, ':', word.n) != NULL;

    return is_v6 == (family == AF_INET6) && address_parse(word.at, word.n, ret_peer);
}

static bool take_port(struct span *line, uint16_t *ret_port)
{
    struct span word = span_take_until(line, ' ');

    return (word.n < 2 || word.at[0] != '0') && span_port(word, ret_port);
}

/* "TCP4 192.0.2.1 198.51.100.1 4711 443", and what follows UNKNOWN is of no interest. */
static bool proxy_protocol_read_line(struct span line, struct peer *ret_client)
{
    struct span word = span_take_until(&line, ' ');
    uint16_t family = span_is(word, "TCP6") ? AF_INET6 : AF_INET;
    struct peer own;

    if (span_is(word, "UNKNOWN")) {
        *ret_client = (struct peer){.family = PEER_UNKNOWN};
        return true;
    }
    if (family == AF_INET && !span_is(word, "TCP4"))
        return false;
    return take_address(&line, family, ret_client) && take_address(&line, family, &own) &&
           take_port(&line, &ret_client->port) && take_port(&line, &own.port) && line.n == 0;
}

static enum proxy_protocol_verdict read_v1(const char *text, size_t text_n,
                                           struct proxy_protocol *ret_header)
{
    size_t seen_n = proxy_protocol_least(text_n, V1_BYTES_MAX);
    const char *end = memchr(text, '\n', seen_n);
    struct proxy_protocol header = {0};

    if (end == NULL)
        return seen_n < V1_BYTES_MAX ? PROXY_PROTOCOL_MORE : PROXY_PROTOCOL_BAD;
    if (end[-1] != '\r' || end[-2] == ' ') /* it has what it starts with, which is longer */
        return PROXY_PROTOCOL_BAD;
    struct span line = {text + sizeof(v1_start), (size_t)(end - 1 - text) - sizeof(v1_start)};
    if (!proxy_protocol_read_line(line, &header.client))
        return PROXY_PROTOCOL_BAD;
    header.header_bytes = (size_t)(end + 1 - text);
    *ret_header = header;
    return PROXY_PROTOCOL_GOOD;
}

/* ---- version 2: bytes ---- */

enum { V2_LOCAL = 0x20, V2_PROXY = 0x21 };
enum { FAMILY_UNSPEC, FAMILY_INET, FAMILY_INET6, FAMILY_UNIX };

static unsigned byte_at(const char *text, size_t at)
{
    return (unsigned char)text[at];
}

static struct peer read_inet(const char *addresses)
{
    struct peer client = {.family = AF_INET};

    memcpy(client.address, addresses, 4);
    client.port = (uint16_t)(byte_at(addresses, 8) << 8 | byte_at(addresses, 9));
    return client;
}

/* By way of a sockaddr, which makes IPv4 of an address that is IPv4 in the clothes of IPv6. */
static struct peer read_inet6(const char *addresses)
{
    struct sockaddr_in6 address = {.sin6_family = AF_INET6};
    struct peer client;

    memcpy(&address.sin6_addr, addresses, 16);
    memcpy(&address.sin6_port, addresses + 32, 2);
    peer_from_sockaddr((const struct sockaddr *)(const void *)&address, &client);
    return client;
}

/* `family` has the address family in its high half and in its low one whether it is a stream. */
static bool read_addresses(const char *addresses, size_t addresses_n, unsigned family,
                           struct peer *ret_client)
{
    bool names = family >> 4 != FAMILY_UNSPEC && (family & 0xF) != 0;

    *ret_client = (struct peer){.family = PEER_UNKNOWN};
    if (family >> 4 > FAMILY_UNIX || (family & 0xF) > 2)
        return false;
    if (!names || family >> 4 == FAMILY_UNIX)
        return true;
    bool is_v6 = family >> 4 == FAMILY_INET6;
    if (addresses_n < (is_v6 ? V2_INET6_BYTES : V2_INET_BYTES))
        return false;
    *ret_client = is_v6 ? read_inet6(addresses) : read_inet(addresses);
    return true;
}

static enum proxy_protocol_verdict read_v2(const char *text, size_t text_n,
                                           struct proxy_protocol *ret_header)
{
    struct proxy_protocol header = {0};

    if (text_n > 12 && byte_at(text, 12) != V2_LOCAL && byte_at(text, 12) != V2_PROXY)
        return PROXY_PROTOCOL_BAD;
    if (text_n < V2_FIXED_BYTES)
        return PROXY_PROTOCOL_MORE;
    size_t rest_n = byte_at(text, 14) << 8 | byte_at(text, 15);
    header.header_bytes = V2_FIXED_BYTES + rest_n;
    if (header.header_bytes > PROXY_PROTOCOL_BYTES_MAX)
        return PROXY_PROTOCOL_BAD;
    if (text_n < header.header_bytes)
        return PROXY_PROTOCOL_MORE;
    header.is_local = byte_at(text, 12) == V2_LOCAL;
    if (!header.is_local &&
        !read_addresses(text + V2_FIXED_BYTES, rest_n, byte_at(text, 13), &header.client))
        return PROXY_PROTOCOL_BAD;
    *ret_header = header;
    return PROXY_PROTOCOL_GOOD;
}

enum proxy_protocol_verdict proxy_protocol_read(const char *text, size_t text_n,
                                                struct proxy_protocol *ret_header)
{
    if (text_n == 0)
        return PROXY_PROTOCOL_MORE;
    if (memcmp(text, v2_start, proxy_protocol_least(text_n, sizeof(v2_start))) == 0)
        return read_v2(text, text_n, ret_header);
    if (memcmp(text, v1_start, proxy_protocol_least(text_n, sizeof(v1_start))) == 0)
        return read_v1(text, text_n, ret_header);
    return PROXY_PROTOCOL_BAD;
}
