/* SPDX-License-Identifier: MIT */
/* Limits per client.  See client_quota.h. */
#include "config.h"
#include "conn/client_quota.h"

#include <assert.h>
#include <stdlib.h>

#include "base/address.h"
#include "conn/keyed_count.h"

struct client_quota {
    struct keyed_count *connections; /* by address */
    struct keyed_count *streams;
    struct keyed_count *users; /* streams by user */
    size_t proxies_n;
    struct address_network proxies[];
};

struct client_quota *client_quota_new(const struct conf *conf)
{
    const struct conf_list *proxies = &conf->server.trusted_proxies;
    struct client_quota *quota =
        calloc(1, sizeof(*quota) + proxies->items_n * sizeof(struct address_network));

    if (quota == NULL)
        return NULL;
    for (size_t i = 0; i < proxies->items_n; i++) {
        bool is_good = address_parse_network(proxies->items[i], &quota->proxies[i]);
        assert(is_good);
    }
    quota->proxies_n = proxies->items_n;
    quota->connections = keyed_count_new();
    quota->streams = keyed_count_new();
    quota->users = keyed_count_new();
    if (quota->connections != NULL && quota->streams != NULL && quota->users != NULL)
        return quota;
    client_quota_free(quota);
    return NULL;
}

void client_quota_free(struct client_quota *quota)
{
    if (quota == NULL)
        return;
    keyed_count_free(quota->connections);
    keyed_count_free(quota->streams);
    keyed_count_free(quota->users);
    free(quota);
}

bool client_quota_trusts(const struct client_quota *quota, const struct peer *peer)
{
    for (size_t i = 0; i < quota->proxies_n; i++)
        if (address_in_network(peer, &quota->proxies[i]))
            return true;
    return false;
}

static bool counts(const struct client_quota *quota, const struct peer *peer)
{
    return !peer_is_loopback(peer) && !client_quota_trusts(quota, peer);
}

static size_t most_of(uint64_t limit)
{
    return limit > 0 && limit < SIZE_MAX ? (size_t)limit : SIZE_MAX;
}

bool client_quota_add_connection(struct client_quota *quota, const struct peer *peer, uint64_t most)
{
    uint8_t key[ADDRESS_KEY_BYTES];

    if (!counts(quota, peer))
        return true;
    return keyed_count_enter(quota->connections, key, address_key(peer, key), most_of(most)) !=
           NULL;
}

void client_quota_drop_connection(struct client_quota *quota, const struct peer *peer)
{
    uint8_t key[ADDRESS_KEY_BYTES];

    if (counts(quota, peer))
        keyed_count_leave_key(quota->connections, key, address_key(peer, key));
}

enum client_quota_verdict client_quota_enter(struct client_quota *quota, const struct peer *client,
                                             const char *user, size_t user_n,
                                             const struct client_quota_limits *limits,
                                             struct client_quota_entry *ret_entry)
{
    struct client_quota_entry entry = {0};
    uint8_t key[ADDRESS_KEY_BYTES];

    if (counts(quota, client)) {
        entry.address = keyed_count_enter(quota->streams, key, address_key(client, key),
                                          most_of(limits->streams_per_address));
        if (entry.address == NULL)
            return CLIENT_QUOTA_ADDRESS_FULL;
    }
    if (user != NULL) {
        entry.user =
            keyed_count_enter(quota->users, user, user_n, most_of(limits->streams_per_user));
        if (entry.user == NULL) {
            client_quota_leave(quota, &entry);
            return CLIENT_QUOTA_USER_FULL;
        }
    }
    *ret_entry = entry;
    return CLIENT_QUOTA_GRANTED;
}

void client_quota_leave(struct client_quota *quota, struct client_quota_entry *entry)
{
    if (entry->address != NULL)
        keyed_count_leave(quota->streams, entry->address);
    if (entry->user != NULL)
        keyed_count_leave(quota->users, entry->user);
    *entry = (struct client_quota_entry){0};
}
