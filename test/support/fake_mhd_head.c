/* SPDX-License-Identifier: MIT */
/* Headers and queries of the stand-in for libmicrohttpd.  See fake_mhd.h. */
#include "config.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "fake_mhd_internal.h"

void *fake_mhd_must(void *memory)
{
    if (memory == NULL)
        abort();
    return memory;
}

/* ---- pairs ---- */

void fake_mhd_add_pair(struct fake_mhd_pairs *pairs, const char *name, size_t name_n,
                       const char *value, size_t value_n)
{
    struct fake_mhd_pair *pair = &pairs->list[pairs->n++];

    assert(pairs->n <= FAKE_MHD_PAIRS_MAX);
    pair->name = fake_mhd_must(malloc(name_n + 1));
    memcpy(pair->name, name, name_n);
    pair->name[name_n] = '\0';
    pair->name_n = name_n;
    pair->value = NULL;
    pair->value_n = value_n;
    if (value == NULL)
        return;
    pair->value = fake_mhd_must(malloc(value_n + 1));
    memcpy(pair->value, value, value_n);
    pair->value[value_n] = '\0';
}

void fake_mhd_free_pair(struct fake_mhd_pair *pair)
{
    free(pair->name);
    free(pair->value);
}

void fake_mhd_free_pairs(struct fake_mhd_pairs *pairs)
{
    for (size_t i = 0; i < pairs->n; i++)
        fake_mhd_free_pair(&pairs->list[i]);
    pairs->n = 0;
}

const struct fake_mhd_pair *fake_mhd_find_pair(const struct fake_mhd_pairs *pairs, const char *name,
                                               size_t name_n)
{
    for (size_t i = 0; i < pairs->n; i++)
        if (pairs->list[i].name_n == name_n && strncasecmp(pairs->list[i].name, name, name_n) == 0)
            return &pairs->list[i];
    return NULL;
}

static const struct fake_mhd_pairs *pairs_of(struct MHD_Connection *connection,
                                             enum MHD_ValueKind kind)
{
    assert(connection->daemon != NULL);
    assert(kind == MHD_HEADER_KIND || kind == MHD_GET_ARGUMENT_KIND);
    return kind == MHD_HEADER_KIND ? &connection->headers : &connection->query;
}

int MHD_get_connection_values(struct MHD_Connection *connection, enum MHD_ValueKind kind,
                              MHD_KeyValueIterator iterator, void *iterator_cls)
{
    const struct fake_mhd_pairs *pairs = pairs_of(connection, kind);

    for (size_t i = 0; i < pairs->n; i++)
        if (iterator(iterator_cls, kind, pairs->list[i].name, pairs->list[i].value) != MHD_YES)
            return (int)i + 1;
    return (int)pairs->n;
}

int MHD_get_connection_values_n(struct MHD_Connection *connection, enum MHD_ValueKind kind,
                                MHD_KeyValueIteratorN iterator, void *iterator_cls)
{
    const struct fake_mhd_pairs *pairs = pairs_of(connection, kind);

    for (size_t i = 0; i < pairs->n; i++) {
        const struct fake_mhd_pair *pair = &pairs->list[i];

        if (iterator(iterator_cls, kind, pair->name, pair->name_n, pair->value, pair->value_n) !=
            MHD_YES)
            return (int)i + 1;
    }
    return (int)pairs->n;
}

const char *MHD_lookup_connection_value(struct MHD_Connection *connection, enum MHD_ValueKind kind,
                                        const char *key)
{
    const struct fake_mhd_pair *pair =
        fake_mhd_find_pair(pairs_of(connection, kind), key, strlen(key));

    return pair != NULL ? pair->value : NULL;
}

enum MHD_Result MHD_lookup_connection_value_n(struct MHD_Connection *connection,
                                              enum MHD_ValueKind kind, const char *key,
                                              size_t key_size, const char **value_ptr,
                                              size_t *value_size_ptr)
{
    const struct fake_mhd_pair *pair =
        fake_mhd_find_pair(pairs_of(connection, kind), key, key_size);

    if (pair == NULL)
        return MHD_NO;
    *value_ptr = pair->value;
    *value_size_ptr = pair->value_n;
    return MHD_YES;
}

/* ---- a head ---- */

static int hex_of(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* In place, as the library does it: what is no code stays.  Returns the new length. */
static size_t decode(char *text, bool plus_is_blank)
{
    char *to = text;

    for (const char *from = text; *from != '\0'; from++) {
        int high = from[0] == '%' ? hex_of(from[1]) : -1;
        int low = high >= 0 ? hex_of(from[2]) : -1;

        if (low >= 0)
            from += 2;
        *to++ = low >= 0 ? (char)(high * 16 + low) : plus_is_blank && *from == '+' ? ' ' : *from;
    }
    *to = '\0';
    return (size_t)(to - text);
}

static void parse_query(struct MHD_Connection *connection, char *query)
{
    char *next;

    for (; query != NULL; query = next) {
        next = strchr(query, '&');
        if (next != NULL)
            *next++ = '\0';
        char *value = strchr(query, '=');
        if (value != NULL)
            *value++ = '\0';
        size_t value_n = value != NULL ? decode(value, true) : 0;
        size_t name_n = decode(query, true);
        fake_mhd_add_pair(&connection->query, query, name_n, value, value_n);
    }
}

static void parse_headers(struct MHD_Connection *connection, char *line)
{
    char *next;

    for (; line != NULL && *line != '\0'; line = next) {
        next = strstr(line, "\r\n");
        assert(next != NULL);
        *next = '\0';
        next += 2;
        char *value = strchr(line, ':');
        assert(value != NULL);
        size_t name_n = (size_t)(value - line);
        value++;
        value += strspn(value, " \t");
        fake_mhd_add_pair(&connection->headers, line, name_n, value, strlen(value));
    }
}

static bool announces_body(const struct MHD_Connection *connection)
{
    const struct fake_mhd_pair *length =
        fake_mhd_find_pair(&connection->headers, "Content-Length", 14);

    return fake_mhd_find_pair(&connection->headers, "Transfer-Encoding", 17) != NULL ||
           (length != NULL && strtoull(length->value, NULL, 10) > 0);
}

void fake_mhd_read_head(struct MHD_Connection *connection, const char *head)
{
    connection->head = fake_mhd_must(strdup(head));
    char *rest = strstr(connection->head, "\r\n");
    assert(rest != NULL);
    *rest = '\0';
    char *target = strchr(connection->head, ' ');
    assert(target != NULL);
    *target++ = '\0';
    char *version = strchr(target, ' ');
    assert(version != NULL);
    *version++ = '\0';
    connection->method = connection->head;
    connection->version = version;
    parse_headers(connection, rest + 2);
    char *query = strchr(target, '?');
    if (query != NULL)
        *query++ = '\0';
    connection->url = fake_mhd_must(strdup(target));
    decode(connection->url, false);
    parse_query(connection, query);
    connection->has_body = announces_body(connection);
}
