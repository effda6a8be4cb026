/* SPDX-License-Identifier: MIT */
/* New settings while the gateway serves: all of them, or none. */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "auth.h"
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

/* What needs a restart stays as it runs, auth.mode above all, and what is new must fit that.
 * Returns 0 or -errno with `error`. */
static int fit_to_running(struct conf *conf, const struct conf *running, struct conf_error *error)
{
    bool mode_stays = conf->auth.mode != running->auth.mode;
    size_t n;

    snprintf(error->text, sizeof(error->text), "out of memory");
    int result = conf_keep_restart(conf, running);
    if (result == 0)
        result = conf_check(conf, error);
    if (result == 0)
        result = auth_check_conf(conf, error);
    if (result != 0 && mode_stays) {
        n = strlen(error->text);
        snprintf(error->text + n, sizeof(error->text) - n,
                 "; auth.mode stays %s until a restart: keep what it needs, or restart",
                 running->auth.mode == CONF_AUTH_TOKEN ? "token" : "none");
    }
    return result;
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
    if (fit_to_running(conf, server->conf, &error) != 0 ||
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
