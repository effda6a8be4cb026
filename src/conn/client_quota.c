/* SPDX-License-Identifier: MIT */
/* Who counts against which limit.  See client_quota.h. */
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
    struct client_quota *admission =
        calloc(1, sizeof(*admission) + proxies->items_n * sizeof(struct address_network));

    if (admission == NULL)
        return NULL;
    for (size_t i = 0; i < proxies->items_n; i++) {
        bool is_good = address_parse_network(proxies->items[i], &admission->proxies[i]);
        assert(is_good);
    }
    admission->proxies_n = proxies->items_n;
    admission->connections = keyed_count_new();
    admission->streams = keyed_count_new();
    admission->users = keyed_count_new();
    if (admission->connections != NULL && admission->streams != NULL && admission->users != NULL)
        return admission;
    client_quota_free(admission);
    return NULL;
}

void client_quota_free(struct client_quota *admission)
{
    if (admission == NULL)
        return;
    keyed_count_free(admission->connections);
    keyed_count_free(admission->streams);
    keyed_count_free(admission->users);
    free(admission);
}

bool client_quota_trusts(const struct client_quota *admission, const struct peer *peer)
{
    for (size_t i = 0; i < admission->proxies_n; i++)
        if (address_in_network(peer, &admission->proxies[i]))
            return true;
    return false;
}

static bool counts(const struct client_quota *admission, const struct peer *peer)
{
    return !peer_is_loopback(peer) && !client_quota_trusts(admission, peer);
}

static size_t most_of(uint64_t limit)
{
    return limit > 0 && limit < SIZE_MAX ? (size_t)limit : SIZE_MAX;
}

bool client_quota_add_connection(struct client_quota *admission, const struct peer *peer,
                                 uint64_t most)
{
    uint8_t key[ADDRESS_KEY_BYTES];

    if (!counts(admission, peer))
        return true;
    return keyed_count_enter(admission->connections, key, address_key(peer, key), most_of(most)) !=
           NULL;
}

void client_quota_drop_connection(struct client_quota *admission, const struct peer *peer)
{
    uint8_t key[ADDRESS_KEY_BYTES];

    if (counts(admission, peer))
        keyed_count_leave_key(admission->connections, key, address_key(peer, key));
}

enum client_quota_verdict client_quota_enter(struct client_quota *admission,
                                             const struct peer *client, const char *user,
                                             size_t user_n,
                                             const struct client_quota_limits *limits,
                                             struct client_quota_entry *ret_seat)
{
    struct client_quota_entry seat = {0};
    uint8_t key[ADDRESS_KEY_BYTES];

    if (counts(admission, client)) {
        seat.address = keyed_count_enter(admission->streams, key, address_key(client, key),
                                         most_of(limits->streams_per_address));
        if (seat.address == NULL)
            return CLIENT_QUOTA_ADDRESS_FULL;
    }
    if (user != NULL) {
        seat.user =
            keyed_count_enter(admission->users, user, user_n, most_of(limits->streams_per_user));
        if (seat.user == NULL) {
            client_quota_leave(admission, &seat);
            return CLIENT_QUOTA_USER_FULL;
        }
    }
    *ret_seat = seat;
    return CLIENT_QUOTA_GRANTED;
}

void client_quota_leave(struct client_quota *admission, struct client_quota_entry *seat)
{
    if (seat->address != NULL)
        keyed_count_leave(admission->streams, seat->address);
    if (seat->user != NULL)
        keyed_count_leave(admission->users, seat->user);
    *seat = (struct client_quota_entry){0};
}
