/* SPDX-License-Identifier: MIT */
/* Certificates of the gateway as a whole: at the start, and new ones at a reload.  See tls.h. */
#include "config.h"

#include <stdlib.h>

#include "base/log.h"
#include "server/server_internal.h"
#include "conn/tls.h"

static void take_over(struct server *server, struct tls_set *set)
{
    server->tls = set;
    stats_set(&server->stats, STATS_TLS_CERTIFICATE_EXPIRES, tls_set_expires_s(set));
    tls_set_warn(set);
}

int server_build_tls(struct server *server)
{
    struct conf_error error;
    struct tls_set *set;

    if (server_read_tls(server->conf, NULL, &set, &error) != 0) {
        log_error("cannot start: %s", error.text);
        return -1;
    }
    if (set == NULL)
        return 0;
    take_over(server, set);
    for (unsigned i = 0; i < server->shared.services_n; i++)
        cells_set_tls(server->shared.services[i].cells, tls_set_ref(set));
    return 0;
}

int server_read_tls(const struct conf *conf, const struct tls_set *before, struct tls_set **ret_set,
                    struct conf_error *ret_error)
{
    *ret_set = NULL;
    if (conf->tls.listen.items_n == 0)
        return 0;
    *ret_set = tls_set_new(conf, before, ret_error);
    return *ret_set != NULL ? 0 : -1;
}

/* ---- a reload ---- */

/* On its way to a worker. */
struct delivery {
    struct service *service;
    struct tls_set *set;
};

static void take_set(void *arg)
{
    struct delivery *delivery = arg;

    cells_set_tls(delivery->service->cells, delivery->set);
    free(delivery);
}

static void deliver(struct service *service, struct tls_set *set)
{
    struct delivery *delivery = malloc(sizeof(*delivery));

    if (delivery == NULL)
        log_abort_without_memory("server");
    *delivery = (struct delivery){service, tls_set_ref(set)};
    server_post_to(service->worker, take_set, delivery);
}

void server_use_tls(struct server *server, struct tls_set *set)
{
    if (set == NULL)
        return;
    tls_set_unref(server->tls);
    take_over(server, set);
    for (unsigned i = 0; i < server->shared.services_n; i++)
        deliver(&server->shared.services[i], set);
}

void server_free_tls(struct server *server)
{
    tls_set_unref(server->tls);
    server->tls = NULL;
}
