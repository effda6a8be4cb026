/* SPDX-License-Identifier: MIT */
/* New settings while the gateway serves: all of them, or none. */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>

#include "history.h"
#include "keys.h"
#include "listener.h"
#include "log.h"
#include "server_internal.h"

/* New settings, on their way to a worker. */
struct handover {
    struct worker *worker;
    const struct conf *conf;
};

static void take_conf(void *arg)
{
    struct handover *handover = arg;

    worker_set_conf(handover->worker, handover->conf);
    free(handover);
}

static void hand_over_conf(struct server *server)
{
    for (unsigned i = 0; i < server->shared.services_n; i++) {
        struct handover *handover = malloc(sizeof(*handover));

        if (handover == NULL)
            log_abort_without_memory("server");
        handover->worker = server->shared.services[i].worker;
        handover->conf = server->conf;
        server_post_to(handover->worker, take_conf, handover);
    }
}

static void tell_restarts(const struct conf *before, const struct conf *after)
{
    size_t index = 0;
    const char *name;

    while ((name = conf_next_restart(before, after, &index)) != NULL)
        log_warning("%s changed: it takes effect with a restart", name);
}

void server_reload(struct server *server)
{
    struct conf_error error;
    struct conf *conf = NULL;
    struct tls_set *tls = NULL;

    if (server->old_confs_n < RELOADS_MAX)
        conf = server->source->load(server->source->arg, &error);
    else
        snprintf(error.text, sizeof(error.text), "reloaded too often: restart");
    if (conf == NULL) {
        log_error("reload refused, the old settings stay: %s", error.text);
        return;
    }
    tell_restarts(server->conf, conf);
    snprintf(error.text, sizeof(error.text), "out of memory");
    if (conf_keep_restart(conf, server->conf) != 0 ||
        server_read_tls(server, conf, &tls, &error) != 0) {
        log_error("reload refused, the old settings stay: %s", error.text);
        conf_free(conf);
        return;
    }
    server->old_confs[server->old_confs_n++] = server->conf;
    server->conf = conf;
    log_setup((enum log_level)conf->log.level, (enum log_format)conf->log.format);
    history_set_reserve(server->history, conf->history.disk_reserve);
    server->arrivals.conf = conf;
    listener_set_conf(server->listener, conf);
    hand_over_conf(server);
    server_use_tls(server, tls);
    if (server->keys != NULL)
        keys_reload(server->keys, conf);
    log_info("settings reloaded");
}
