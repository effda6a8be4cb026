/* SPDX-License-Identifier: MIT */
/*
 * Fuzz target for X-Forwarded-For and Forwarded.  The first byte chooses the form; the rest is
 * header lines with line feeds between.  What the one pass finds is compared with a walk from
 * right to left over the list of all entries, as the header describes it.
 */
#include "wire/forwarded.h"

#include <arpa/inet.h>
#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define ENTRIES_MAX 512

static bool trusts(void *arg, const struct peer *peer)
{
    struct address_network network;

    (void)arg;
    return address_parse_network("10.0.0.0/8", &network) && address_in_network(peer, &network);
}

static struct peer proxy(void)
{
    struct peer peer;
    bool is_good = address_parse("10.0.0.1", 8, &peer);

    assert(is_good);
    return peer;
}

static bool same(const struct peer *one, const struct peer *other)
{
    return one->family == other->family && one->port == other->port &&
           memcmp(one->address, other->address, 16) == 0;
}

/* A line alone, whose answer is what its entries come to. */
static struct peer client_address_of(enum forwarded_form form, const char *line, size_t line_n,
                                     bool *ret_known)
{
    struct forwarded forwarded;
    struct peer peer = proxy();

    forwarded_begin(&forwarded, &peer, trusts, NULL);
    forwarded_add(&forwarded, form, line, line_n);
    *ret_known = forwarded.is_known;
    return *forwarded_client(&forwarded);
}

/* Where an entry ends, with quotes as RFC 9110 has them. */
static size_t entry_end(enum forwarded_form form, const char *line, size_t line_n)
{
    size_t at = 0;

    while (at < line_n && line[at] != ',') {
        if (form == FORWARDED_RFC_7239 && line[at] == '"') {
            at++;
            while (at < line_n && line[at] != '"')
                at += line[at] == '\\' ? 2 : 1;
        }
        at++;
    }
    return at < line_n ? at : line_n;
}

static size_t read_entries(enum forwarded_form form, const char *line, size_t line_n,
                           struct peer *entries, size_t entries_n)
{
    while (line_n > 0 && entries_n < ENTRIES_MAX) {
        size_t n = entry_end(form, line, line_n), taken = n + (n < line_n);
        bool known;
        struct peer peer = client_address_of(form, line, n, &known);

        if (known)
            entries[entries_n++] = peer;
        line += taken;
        line_n -= taken;
    }
    return entries_n;
}

/* The client as the header says it: right to left. */
static struct peer walk(const struct peer *entries, size_t entries_n)
{
    struct peer client = proxy();

    while (entries_n > 0 && trusts(NULL, &client))
        client = entries[--entries_n];
    return client;
}

/* Nothing of the input is in what is written but an address. */
static void check_text(const struct peer *peer)
{
    char text[PEER_TEXT_BYTES];

    assert(strlen(peer_text(peer, text)) < PEER_TEXT_BYTES);
    assert(strcmp(text, "unknown") == 0 || strspn(text, "0123456789abcdef.:[]") == strlen(text));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct peer entries[ENTRIES_MAX];
    enum forwarded_form form =
        size > 0 && data[0] == 'F' ? FORWARDED_RFC_7239 : FORWARDED_X_FORWARDED_FOR;
    const char *line = size > 0 ? (const char *)data + 1 : "";
    size_t rest_n = size > 0 ? size - 1 : 0, entries_n = 0;
    struct peer peer = proxy(), stranger = {.family = AF_INET, .address = {192, 0, 2, 1}};
    struct forwarded forwarded, unbelieved;

    forwarded_begin(&forwarded, &peer, trusts, NULL);
    forwarded_begin(&unbelieved, &stranger, trusts, NULL);
    while (rest_n > 0) {
        const char *end = memchr(line, '\n', rest_n);
        size_t line_n = end != NULL ? (size_t)(end - line) : rest_n;

        forwarded_add(&forwarded, form, line, line_n);
        forwarded_add(&unbelieved, form, line, line_n);
        entries_n = read_entries(form, line, line_n, entries, entries_n);
        line += line_n + (end != NULL);
        rest_n -= line_n + (end != NULL);
    }
    if (entries_n == ENTRIES_MAX)
        return 0;
    struct peer expected = walk(entries, entries_n);
    assert(same(forwarded_client(&forwarded), &expected));
    assert(same(forwarded_client(&unbelieved), &stranger));
    check_text(&expected);
    return 0;
}
