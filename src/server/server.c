/* SPDX-License-Identifier: MIT */
/* The gateway as a whole: signals, and its life.  See server.h. */
#include "config.h"
#include "server/server.h"

#include <assert.h>
#include <event2/event.h>
#include <microhttpd.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "api/static_files.h"
#include "base/log.h"
#include "base/signals.h"
#include "base/thread.h"
#include "conn/listener.h"
#include "history/store_path.h"
#include "server/key_rollout.h"
#include "server/server_internal.h"

int server_fail(const char *what)
{
    log_error("cannot start: %s", what);
    return -1;
}

void server_post_to(struct worker *worker, void (*call)(void *arg), void *arg)
{
    if (worker_post(worker, call, arg) != 0)
        log_abort_without_memory("server");
}

/* ---- the libraries' own messages ---- */

static void on_message(int severity, const char *message)
{
    if (severity == EVENT_LOG_ERR)
        log_error("libevent: %s", message);
    else if (severity == EVENT_LOG_WARN)
        log_warning("libevent: %s", message);
}

/* Neither may go on after this. */
static void on_fatal(int error)
{
    log_error("libevent cannot go on (error %d): aborting", error);
    abort();
}

static void on_panic(void *arg, const char *file, unsigned line, const char *reason)
{
    (void)arg;
    log_error("libmicrohttpd cannot go on (%s:%u): %s: aborting", file, line,
              reason != NULL ? reason : "no reason told");
    abort();
}

/* Left alone they write to standard error, which may keep a thread waiting.  Before there are
 * threads. */
static void log_libraries(void)
{
    event_set_log_callback(on_message);
    event_set_fatal_callback(on_fatal);
    MHD_set_panic_func(on_panic, NULL);
}

/* ---- main thread: signals ---- */

static void stop_at(struct server *server, int number)
{
    if (server->shared.draining) {
        log_warning("a signal while draining: leaving at once");
        log_exit(server->status);
    }
    if (!server_stop_waits(server, number))
        server_stop(server, strsignal(number));
}

static void on_signal(evutil_socket_t number, short what, void *arg)
{
    (void)what;
    if (number == SIGHUP)
        server_reload(arg);
    else if (number == SIGUSR2)
        server_upgrade(arg);
    else if (number == SIGCHLD)
        server_reap(arg);
    else
        stop_at(arg, (int)number);
}

/* It only has to end the wait. */
static void on_look(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    (void)arg;
}

int server_build_signals(struct server *server)
{
    static const int wanted[] = {SIGTERM, SIGINT, SIGQUIT, SIGXCPU, SIGHUP, SIGUSR2, SIGCHLD};

    static_assert(sizeof(wanted) / sizeof(wanted[0]) == SERVER_SIGNALS, "one event a signal");
    for (size_t i = 0; i < SERVER_SIGNALS; i++) {
        server->signals[i] = evsignal_new(server->base, wanted[i], on_signal, server);
        if (server->signals[i] == NULL || event_add(server->signals[i], NULL) != 0)
            return server_fail("signals");
    }
    signals_ready();
    server->look_timer = evtimer_new(server->base, on_look, server);
    return server->look_timer != NULL ? 0 : server_fail("out of memory");
}

/* ---- life ---- */

/* Signals are the main thread's alone. */
static int start_threads(struct server *server)
{
    sigset_t before;

    signals_block(&before);
    int result = hub_start(server->hub);
    for (unsigned i = 0; result == 0 && i < server->shared.services_n; i++)
        result = worker_start(server->shared.services[i].worker);
    signals_restore(&before);
    if (result == 0)
        return 0;
    server_fail("threads");
    log_exit(1); /* those that did start still use all there is to free */
}

static void announce(const struct server *server)
{
    char *store = store_text(server->conf->history.store), foreign[256];
    size_t foreign_n = conf_foreign_variables(foreign, sizeof(foreign));
    const char *url;

    if (foreign_n > 0)
        log_warning(
            "the environment has %zu variables that begin with BUGLE_ and are no settings: %s",
            foreign_n, foreign);
    for (size_t i = 0; (url = listener_url(server->listener, i)) != NULL; i++)
        log_info("listening on %s", url);
    server_announce_cluster(server);
    if (static_files_count(server->shared.static_files) == 0)
        log_warning("no page at /: name its folder with --www");
    log_info("bugle " PACKAGE_VERSION " is ready: %u workers, up to %zu streams, store %s",
             server->shared.services_n, server->shared.streams_max,
             store != NULL ? store : server->conf->history.store);
    free(store);
}

/* Before there are threads, since it forks. */
static int try_library(struct server *server)
{
    char why[256];

    if (mhd_probe(server->conf->tls.listen.items_n > 0, &server->quirks, why, sizeof(why)) != 0)
        return server_fail(why);
    if (server->quirks.without[0] != '\0')
        log_warning("libmicrohttpd %s: %s", server->quirks.version, server->quirks.without);
    return 0;
}

int server_run(struct conf *conf, const struct server_source *source)
{
    struct server *server = calloc(1, sizeof(*server));
    int status = 1;

    if (server == NULL) {
        conf_unref(conf);
        return 1;
    }
    server->conf = conf;
    server->source = source;
    log_setup((enum log_level)conf->log.level, (enum log_format)conf->log.format);
    log_libraries();
    if (try_library(server) != 0)
        ; /* it has said why */
    else if (log_begin() != 0)
        server_fail("no thread for the log");
    else if (server_build(server) == 0 && server_confirm(server) == 0 &&
             start_threads(server) == 0) {
        server_begin(server);
        if (server->key_rollout != NULL)
            key_rollout_start(server->key_rollout, server->conf);
        announce(server);
        thread_begin("bugle", THREAD_ACCEPTS);
        event_base_dispatch(server->base);
        server_stop_threads(server);
        /* from here on no signal is handled; its default action would change the exit status */
        signals_block(NULL);
        log_info("stopped");
        status = server->status;
    }
    server_free(server);
    log_end();
    return status;
}
