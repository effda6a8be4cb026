/* SPDX-License-Identifier: MIT */
/*
 * New settings while the gateway serves: all of them, or none.  A thread of its own reads them and
 * the files that they name, since a mount that hangs would hold up the main thread, and with it
 * everybody.
 */
#include "config.h"

#include <errno.h>
#include <event2/event.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "auth/auth.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/signals.h"
#include "base/thread.h"
#include "conn/listener.h"
#include "conn/systemd.h"
#include "conn/tls_credentials.h"
#include "history/history.h"
#include "server/key_rollout.h"
#include "server/server_internal.h"

#define READ_SECONDS 10
#define READ_TEXT "10 seconds"
#define LAST_MS 1000

/* New settings, on their way to a worker. */
struct conf_update {
    struct worker *worker;
    const struct conf *conf; /* a reference: the next reload may come first */
};

static void apply_update(void *arg)
{
    struct conf_update *update = arg;

    worker_set_conf(update->worker, update->conf);
    conf_unref(update->conf);
    free(update);
}

static void send_updates(const struct server *server)
{
    for (unsigned i = 0; i < server->shared.services_n; i++) {
        struct conf_update *update = malloc(sizeof(*update));

        if (update == NULL)
            log_abort_without_memory("server");
        update->worker = server->shared.services[i].worker;
        update->conf = conf_ref(server->conf);
        server_post_to(update->worker, apply_update, update);
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

/* ---- reading, on a thread of its own ---- */

/* What a reload reads, between the main thread and the one that reads.  Until that has rung the
 * bell all but `running` and `before` is its own. */
struct reload {
    const struct server_source *source;
    const struct conf *running;
    struct tls_credentials *before; /* a reference; NULL without TLS */
    int bell_fd;
    pthread_t thread;
    struct conf *conf; /* NULL when it is refused */
    struct tls_credentials *tls;
    struct conf_error error;

    /* the main thread's */
    struct event *bell;
    struct event *timer;
    bool reads;
    bool late;   /* what comes of it counts no more */
    bool wanted; /* once more, when this one is over */
};

static int read_files(struct reload *reload)
{
    struct conf *conf = reload->source->load(reload->source->arg, &reload->error);

    if (conf == NULL)
        return -1;
    tell_restarts(reload->running, conf);
    if (fit_to_running(conf, reload->running, &reload->error) == 0 &&
        server_read_tls(conf, reload->before, &reload->tls, &reload->error) == 0) {
        reload->conf = conf;
        return 0;
    }
    conf_unref(conf);
    return -1;
}

static void *read_on_thread(void *arg)
{
    struct reload *reload = arg;
    uint64_t one = 1;

    thread_begin("bugle-reload", THREAD_LATER);
    read_files(reload);
    if (write(reload->bell_fd, &one, sizeof(one)) != sizeof(one))
        log_error("the main loop cannot be told of new settings");
    return NULL;
}

/* ---- main thread ---- */

static void apply_reload(struct server *server, struct reload *reload)
{
    const struct conf *conf = reload->conf, *before = server->conf;

    server->conf = conf;
    log_setup((enum log_level)conf->log.level, (enum log_format)conf->log.format);
    history_set_reserve(server->history, conf->history.disk_reserve);
    server->placements.conf = conf;
    listener_set_conf(server->listener, conf);
    send_updates(server);
    server_use_tls(server, reload->tls);
    if (server->key_rollout != NULL)
        key_rollout_reload(server->key_rollout, conf);
    reload->conf = NULL;
    reload->tls = NULL;
    conf_unref(before);
    log_info("settings reloaded");
}

static void refuse_reload(const char *why)
{
    log_error("reload refused, the old settings stay: %s", why);
}

static void drop_reload(struct reload *reload)
{
    conf_unref(reload->conf);
    tls_credentials_unref(reload->tls);
    tls_credentials_unref(reload->before);
    reload->conf = NULL;
    reload->tls = reload->before = NULL;
}

/* A service manager is told when it is over (sd_notify(3)), however it went. */
static void end_reload(struct server *server)
{
    struct reload *reload = server->reload;

    pthread_join(reload->thread, NULL);
    reload->reads = false;
    evtimer_del(reload->timer);
    if (!reload->late && !server->shared.draining) {
        if (reload->conf != NULL)
            apply_reload(server, reload);
        else
            refuse_reload(reload->error.text);
        systemd_notify("READY=1");
    }
    drop_reload(reload);
    if (reload->wanted)
        server_reload(server);
}

static void on_bell(evutil_socket_t fd, short what, void *arg)
{
    uint64_t rings;

    (void)what;
    if (read(fd, &rings, sizeof(rings)) == sizeof(rings))
        end_reload(arg);
}

static void on_late(evutil_socket_t fd, short what, void *arg)
{
    struct server *server = arg;

    (void)fd;
    (void)what;
    server->reload->late = true;
    refuse_reload("a file of settings, certificates or keys is not read after " READ_TEXT
                  ": does its file system answer?");
    systemd_notify("READY=1");
}

static int start_reload(struct server *server, struct reload *reload)
{
    struct timeval late = {.tv_sec = READ_SECONDS};
    sigset_t before;

    reload->running = server->conf;
    reload->before = server->tls != NULL ? tls_credentials_ref(server->tls) : NULL;
    reload->late = reload->wanted = false;
    signals_block(&before);
    int error = pthread_create(&reload->thread, NULL, read_on_thread, reload);
    signals_restore(&before);
    reload->reads = error == 0;
    if (error == 0)
        evtimer_add(reload->timer, &late);
    else
        drop_reload(reload);
    return error;
}

void server_reload(struct server *server)
{
    struct reload *reload = server->reload;

    if (reload->reads) {
        if (reload->late)
            refuse_reload("the one before still waits for its files");
        reload->wanted = true;
        return;
    }
    if (server->shared.draining)
        return;
    systemd_notify("RELOADING=1\nMONOTONIC_USEC=%lld", (long long)clock_mono_ns() / 1000);
    if (start_reload(server, reload) == 0)
        return;
    refuse_reload("no thread to read the files with");
    systemd_notify("READY=1");
}

int server_build_reload(struct server *server)
{
    struct reload *reload = calloc(1, sizeof(*reload));

    if (reload == NULL)
        return -1;
    server->reload = reload;
    reload->source = server->source;
    reload->bell_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (reload->bell_fd < 0)
        return -1;
    reload->bell = event_new(server->base, reload->bell_fd, EV_READ | EV_PERSIST, on_bell, server);
    reload->timer = evtimer_new(server->base, on_late, server);
    bool is_built = reload->bell != NULL && reload->timer != NULL;
    return is_built && event_add(reload->bell, NULL) == 0 ? 0 : -1;
}

/* Whether the thread has ended; its last act is the bell. */
static bool has_ended(struct reload *reload)
{
    struct pollfd bell = {.fd = reload->bell_fd, .events = POLLIN};
    int rings;

    do
        rings = poll(&bell, 1, LAST_MS);
    while (rings < 0 && errno == EINTR);
    return rings > 0 && pthread_join(reload->thread, NULL) == 0;
}

bool server_free_reload(struct server *server)
{
    struct reload *reload = server->reload;

    if (reload == NULL)
        return true;
    if (reload->reads && !has_ended(reload))
        return false;
    drop_reload(reload);
    if (reload->bell != NULL)
        event_free(reload->bell);
    if (reload->timer != NULL)
        event_free(reload->timer);
    if (reload->bell_fd >= 0)
        close(reload->bell_fd);
    free(reload);
    server->reload = NULL;
    return true;
}
