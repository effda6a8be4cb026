/* SPDX-License-Identifier: MIT */
/* Who sent a request.  See client.h. */
#include "config.h"
#include "client.h"

#include <microhttpd.h>
#include <string.h>
#include <strings.h>

#include "forwarded.h"
#include "service.h"

struct walk {
    struct forwarded forwarded;
    enum forwarded_form form;
    const char *name;
};

static enum MHD_Result see_header(void *cls, enum MHD_ValueKind kind, const char *key,
                                  const char *value)
{
    struct walk *walk = cls;

    (void)kind;
    if (value != NULL && strcasecmp(key, walk->name) == 0)
        forwarded_add(&walk->forwarded, walk->form, value, strlen(value));
    return MHD_YES;
}

static bool trusts(void *arg, const struct peer *peer)
{
    return admission_trusts(arg, peer);
}

static void peer_of(const struct request *request, struct peer *ret_peer)
{
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(request->connection, MHD_CONNECTION_INFO_CLIENT_ADDRESS);

    peer_from_sockaddr(info != NULL ? info->client_addr : NULL, ret_peer);
}

void client_of(const struct request *request, struct peer *ret_client)
{
    const struct service *service = request->service;
    const struct conf *conf = worker_conf(service->worker);
    bool is_rfc_7239 = conf->server.forwarded_header == CONF_FORWARDED;
    struct walk walk = {
        .form = is_rfc_7239 ? FORWARDED_RFC_7239 : FORWARDED_X_FORWARDED_FOR,
        .name = is_rfc_7239 ? "Forwarded" : "X-Forwarded-For",
    };
    struct peer peer;

    peer_of(request, &peer);
    forwarded_begin(&walk.forwarded, &peer, trusts, service->shared->admission);
    if (walk.forwarded.believes)
        MHD_get_connection_values(request->connection, MHD_HEADER_KIND, see_header, &walk);
    *ret_client = *forwarded_client(&walk.forwarded);
}
