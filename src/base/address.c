/* SPDX-License-Identifier: MIT */
/* Addresses of peers.  See address.h. */
#include "config.h"
#include "base/address.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <string.h>

static unsigned bits_of(const struct peer *peer)
{
    return peer->family == AF_INET6 ? 128 : peer->family == AF_INET ? 32 : 0;
}

bool address_parse(const char *text, size_t text_n, struct peer *ret_peer)
{
    struct sockaddr_in6 v6 = {.sin6_family = AF_INET6};
    struct sockaddr_in v4 = {.sin_family = AF_INET};
    char copy[INET6_ADDRSTRLEN];

    if (text_n >= sizeof(copy) || memchr(text, '\0', text_n) != NULL)
        return false;
    memcpy(copy, text, text_n);
    copy[text_n] = '\0';
    if (inet_pton(AF_INET, copy, &v4.sin_addr) == 1)
        peer_from_sockaddr((const struct sockaddr *)(const void *)&v4, ret_peer);
    else if (inet_pton(AF_INET6, copy, &v6.sin6_addr) == 1)
        peer_from_sockaddr((const struct sockaddr *)(const void *)&v6, ret_peer);
    else
        return false;
    return true;
}

socklen_t address_to_sockaddr(const struct peer *peer, struct sockaddr_storage *ret_address)
{
    struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)(void *)ret_address;
    struct sockaddr_in *v4 = (struct sockaddr_in *)(void *)ret_address;

    memset(ret_address, 0, sizeof(*ret_address));
    if (peer->family == AF_INET6) {
        v6->sin6_family = AF_INET6;
        v6->sin6_port = htons(peer->port);
        memcpy(&v6->sin6_addr, peer->address, 16);
        return sizeof(*v6);
    }
    if (peer->family == AF_INET) {
        v4->sin_family = AF_INET;
        v4->sin_port = htons(peer->port);
        memcpy(&v4->sin_addr, peer->address, 4);
        return sizeof(*v4);
    }
    ret_address->ss_family = peer->family == 0 ? AF_UNIX : AF_UNSPEC;
    return sizeof(ret_address->ss_family);
}

size_t address_key(const struct peer *peer, uint8_t to[ADDRESS_KEY_BYTES])
{
    size_t n = peer->family == AF_INET6 ? 8 : peer->family == AF_INET ? 4 : 0;

    to[0] = (uint8_t)peer->family;
    memcpy(to + 1, peer->address, n);
    return 1 + n;
}

/* Digits only, at most three. */
static bool parse_bits(const char *text, unsigned most, unsigned *ret_bits)
{
    size_t digits_n = strspn(text, "0123456789");
    unsigned bits = 0;

    if (digits_n == 0 || digits_n > 3 || text[digits_n] != '\0')
        return false;
    for (size_t i = 0; i < digits_n; i++)
        bits = bits * 10 + (unsigned)(text[i] - '0');
    *ret_bits = bits;
    return bits <= most;
}

bool address_parse_network(const char *text, struct address_network *ret_network)
{
    const char *slash = strchr(text, '/');
    size_t address_n = slash != NULL ? (size_t)(slash - text) : strlen(text);

    memset(ret_network, 0, sizeof(*ret_network));
    if (strcmp(text, "unix") == 0)
        return true;
    if (!address_parse(text, address_n, &ret_network->base))
        return false;
    ret_network->bits = bits_of(&ret_network->base);
    return slash == NULL || parse_bits(slash + 1, ret_network->bits, &ret_network->bits);
}

bool address_is_network(const char *text)
{
    struct address_network network;

    return address_parse_network(text, &network);
}

bool address_in_network(const struct peer *peer, const struct address_network *network)
{
    unsigned bytes = network->bits / 8, rest = network->bits % 8;
    const uint8_t *base = network->base.address;

    if (peer->family != network->base.family || memcmp(peer->address, base, bytes) != 0)
        return false;
    return rest == 0 || (peer->address[bytes] ^ base[bytes]) >> (8 - rest) == 0;
}
