/* SPDX-License-Identifier: MIT */
/*
 * Fuzz target for the PROXY protocol.  What is said of a part of the input must agree with what is
 * said of all of it, and a header that is taken is written anew and read to the same.
 */
#include "wire/proxy_protocol.h"

#include <arpa/inet.h>
#include <assert.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* On memory of its own, so that a sanitizer sees a read too far. */
static enum proxy_protocol_verdict read_part(const uint8_t *data, size_t size,
                                             struct proxy_protocol *ret_header)
{
    char *copy = malloc(size > 0 ? size : 1);

    assert(copy != NULL);
    if (size > 0)
        memcpy(copy, data, size);
    enum proxy_protocol_verdict verdict = proxy_protocol_read(copy, size, ret_header);
    free(copy);
    return verdict;
}

static void check_parts(const uint8_t *data, size_t size, enum proxy_protocol_verdict whole,
                        const struct proxy_protocol *header)
{
    enum proxy_protocol_verdict before = PROXY_PROTOCOL_MORE;
    size_t step = 1 + size / 200;

    for (size_t n = 0; n <= size; n += step) {
        struct proxy_protocol part;
        enum proxy_protocol_verdict verdict = read_part(data, n, &part);

        assert(before == PROXY_PROTOCOL_MORE || verdict == before);
        assert(verdict == PROXY_PROTOCOL_MORE || verdict == whole);
        if (verdict == PROXY_PROTOCOL_GOOD) {
            assert(part.header_bytes == header->header_bytes && part.header_bytes <= n);
            assert(memcmp(&part.client, &header->client, sizeof(part.client)) == 0);
        }
        before = verdict;
    }
}

static void check_again(const struct proxy_protocol *header)
{
    const struct peer *client = &header->client;
    char address[INET6_ADDRSTRLEN], line[128];
    struct proxy_protocol again;

    if (header->is_local || client->family == PEER_UNKNOWN)
        return;
    assert(inet_ntop(client->family, client->address, address, sizeof(address)) != NULL);
    int n = snprintf(line, sizeof(line), "PROXY TCP%d %s %s %u 1\r\n",
                     client->family == AF_INET6 ? 6 : 4, address, address, client->port);
    assert(proxy_protocol_read(line, (size_t)n, &again) == PROXY_PROTOCOL_GOOD);
    assert(memcmp(&again.client, client, sizeof(*client)) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct proxy_protocol header;
    enum proxy_protocol_verdict verdict = read_part(data, size, &header);

    if (verdict == PROXY_PROTOCOL_GOOD) {
        assert(header.header_bytes >= 15 && header.header_bytes <= PROXY_PROTOCOL_BYTES_MAX);
        check_again(&header);
    }
    check_parts(data, size, verdict, &header);
    return 0;
}
