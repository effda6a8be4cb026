/* SPDX-License-Identifier: MIT */
/* Certificates of the gateway as a whole: at the start, and new ones at a reload.  See
 * tls_credentials.h. */
#include "config.h"

#include <stdlib.h>

#include "base/log.h"
#include "conn/tls_credentials.h"
#include "server/server_internal.h"

static void take_over(struct server *server, struct tls_credentials *set)
{
    server->tls = set;
    stats_set(&server->stats, STATS_TLS_CERTIFICATE_EXPIRES, tls_credentials_expires_s(set));
    tls_credentials_warn(set);
}

int server_build_tls(struct server *server)
{
    struct conf_error error;
    struct tls_credentials *set;

    if (server_read_tls(server->conf, NULL, &set, &error) != 0)
        return server_fail(error.text);
    if (set == NULL)
        return 0;
    take_over(server, set);
    for (unsigned i = 0; i < server->shared.services_n; i++)
        cells_set_tls(server->shared.services[i].cells, tls_credentials_ref(set));
    return 0;
}

int server_read_tls(const struct conf *conf, const struct tls_credentials *before,
                    struct tls_credentials **ret_set, struct conf_error *ret_error)
{
    *ret_set = NULL;
    if (conf->tls.listen.items_n == 0)
        return 0;
    *ret_set = tls_credentials_new(conf, before, ret_error);
    return *ret_set != NULL ? 0 : -1;
}

/* ---- a reload ---- */

/* On its way to a worker. */
struct delivery {
    struct service *service;
    struct tls_credentials *set;
};

static void take_set(void *arg)
{
    struct delivery *delivery = arg;

    cells_set_tls(delivery->service->cells, delivery->set);
    free(delivery);
}

static void send_tls_update(struct service *service, struct tls_credentials *set)
{
    struct delivery *delivery = malloc(sizeof(*delivery));

    if (delivery == NULL)
        log_abort_without_memory("server");
    *delivery = (struct delivery){service, tls_credentials_ref(set)};
    server_post_to(service->worker, take_set, delivery);
}

void server_use_tls(struct server *server, struct tls_credentials *set)
{
    if (set == NULL)
        return;
    tls_credentials_unref(server->tls);
    take_over(server, set);
    for (unsigned i = 0; i < server->shared.services_n; i++)
        send_tls_update(&server->shared.services[i], set);
}
