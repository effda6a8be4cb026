/* SPDX-License-Identifier: MIT */
/* Who counts against which limit.  See admission.h. */
#include "config.h"
#include "conn/admission.h"

#include <assert.h>
#include <stdlib.h>

#include "base/address.h"
#include "conn/tally.h"

struct admission {
    struct tally *connections; /* by address */
    struct tally *streams;
    struct tally *users; /* streams by user */
    size_t proxies_n;
    struct address_network proxies[];
};

struct admission *admission_new(const struct conf *conf)
{
    const struct conf_list *proxies = &conf->server.trusted_proxies;
    struct admission *admission =
        calloc(1, sizeof(*admission) + proxies->items_n * sizeof(struct address_network));

    if (admission == NULL)
        return NULL;
    for (size_t i = 0; i < proxies->items_n; i++) {
        bool is_good = address_parse_network(proxies->items[i], &admission->proxies[i]);
        assert(is_good);
    }
    admission->proxies_n = proxies->items_n;
    admission->connections = tally_new();
    admission->streams = tally_new();
    admission->users = tally_new();
    if (admission->connections != NULL && admission->streams != NULL && admission->users != NULL)
        return admission;
    admission_free(admission);
    return NULL;
}

void admission_free(struct admission *admission)
{
    if (admission == NULL)
        return;
    tally_free(admission->connections);
    tally_free(admission->streams);
    tally_free(admission->users);
    free(admission);
}

bool admission_trusts(const struct admission *admission, const struct peer *peer)
{
    for (size_t i = 0; i < admission->proxies_n; i++)
        if (address_in_network(peer, &admission->proxies[i]))
            return true;
    return false;
}

static bool counts(const struct admission *admission, const struct peer *peer)
{
    return !peer_is_loopback(peer) && !admission_trusts(admission, peer);
}

static size_t most_of(uint64_t limit)
{
    return limit > 0 && limit < SIZE_MAX ? (size_t)limit : SIZE_MAX;
}

bool admission_add_connection(struct admission *admission, const struct peer *peer, uint64_t most)
{
    uint8_t key[ADDRESS_KEY_BYTES];

    if (!counts(admission, peer))
        return true;
    return tally_enter(admission->connections, key, address_key(peer, key), most_of(most)) != NULL;
}

void admission_drop_connection(struct admission *admission, const struct peer *peer)
{
    uint8_t key[ADDRESS_KEY_BYTES];

    if (counts(admission, peer))
        tally_leave_key(admission->connections, key, address_key(peer, key));
}

enum admission_verdict admission_take_seat(struct admission *admission, const struct peer *client,
                                           const char *user, size_t user_n,
                                           const struct admission_limits *limits,
                                           struct admission_seat *ret_seat)
{
    struct admission_seat seat = {0};
    uint8_t key[ADDRESS_KEY_BYTES];

    if (counts(admission, client)) {
        seat.address = tally_enter(admission->streams, key, address_key(client, key),
                                   most_of(limits->streams_per_address));
        if (seat.address == NULL)
            return ADMISSION_ADDRESS_FULL;
    }
    if (user != NULL) {
        seat.user = tally_enter(admission->users, user, user_n, most_of(limits->streams_per_user));
        if (seat.user == NULL) {
            admission_leave_seat(admission, &seat);
            return ADMISSION_USER_FULL;
        }
    }
    *ret_seat = seat;
    return ADMISSION_GRANTED;
}

void admission_leave_seat(struct admission *admission, struct admission_seat *seat)
{
    if (seat->address != NULL)
        tally_leave(admission->streams, seat->address);
    if (seat->user != NULL)
        tally_leave(admission->users, seat->user);
    *seat = (struct admission_seat){0};
}
