/* SPDX-License-Identifier: MIT */
/* The client of a request. See client_address.h. */
#include "config.h"
#include "http/client_address.h"

#include <microhttpd.h>
#include <string.h>

#include "http/service.h"
#include "wire/forwarded.h"

struct walk {
    struct forwarded forwarded;
    enum forwarded_form form;
};

static void client_address_see(void *arg, const char *value)
{
    struct walk *walk = arg;

    forwarded_add(&walk->forwarded, walk->form, value, strlen(value));
}

static bool client_address_trusts(void *arg, const struct peer *peer)
{
    return client_quota_trusts(arg, peer);
}

void client_address_of(const struct request *request, struct peer *ret_client)
{
    const struct service *service = request->service;
    const struct conf *conf = service->context->conf;
    bool is_rfc_7239 = conf->server.forwarded_header == CONF_FORWARDED;
    struct walk walk = {
        .form = is_rfc_7239 ? FORWARDED_RFC_7239 : FORWARDED_X_FORWARDED_FOR,
    };
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(request->connection, MHD_CONNECTION_INFO_CLIENT_ADDRESS);
    struct peer peer;

    peer_from_sockaddr(info != NULL ? info->client_addr : NULL, &peer);
    forwarded_begin(&walk.forwarded, &peer, client_address_trusts, service->shared->client_quota);
    if (walk.forwarded.believes)
        request_each_header(request, is_rfc_7239 ? "Forwarded" : "X-Forwarded-For",
                            client_address_see, &walk);
    *ret_client = *forwarded_client(&walk.forwarded);
}
