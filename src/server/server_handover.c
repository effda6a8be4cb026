/* SPDX-License-Identifier: MIT */
/*
 * What the gateway as a whole does when it takes over from another one, and when another one takes
 * over from it.  The two halves of the protocol are handover_new.h and handover_old.h; the shape of
 * a start is in server_internal.h.
 */
#include "config.h"

#include <errno.h>
#include <event2/event.h>
#include <semaphore.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/signals.h"
#include "base/thread_pool.h"
#include "conn/listener.h"
#include "conn/systemd.h"
#include "handover/handover_new.h"
#include "handover/handover_old.h"
#include "handover/relay_host.h"
#include "history/history.h"
#include "history/store_path.h"
#include "server/server_internal.h"
#include "server/watchdog.h"

/* For what is under way when the other process is gone, and beyond the longest that a client may
 * keep its connection without a request. */
#define LEAVE_GRACE_MS 1500

extern char **environ;

/* ---- starting ---- */

static bool is_set(const struct server *server)
{
    return server->conf->server.handover[0] != '\0';
}

/* As store_text(), or where the file is to be if there is none yet.  NULL when out of memory. */
static char *name_store(const struct server *server)
{
    char *text = store_text(server->conf->history.store);
    char *path = text == NULL ? store_path(server->conf->history.store) : NULL;

    if (path != NULL && asprintf(&text, "sqlite:%s", path) < 0)
        text = NULL;
    free(path);
    return text;
}

static int begin_takeover(struct server *server)
{
    const struct conf *conf = server->conf;
    char *store = name_store(server);
    struct conf_error error = {.text = "out of memory"};
    int result = -1;

    if (!is_set(server))
        snprintf(error.text, sizeof(error.text), "--takeover needs server.handover");
    else if (store != NULL)
        result =
            handover_new_begin(conf->server.handover, store, (int)conf->server.handover_timeout_ms,
                               &server->inherited, &server->takeover, &error);
    free(store);
    if (result == 0 && server->takeover == NULL)
        log_info("no gateway listens at %s, so there is none to take over from: ordinary start",
                 conf->server.handover);
    return result == 0 ? 0 : server_fail(error.text);
}

int server_find_sockets(struct server *server)
{
    struct conf_error error;

    if (systemd_take(&server->inherited, &error) != 0)
        return server_fail(error.text);
    return server->source->takes_over ? begin_takeover(server) : 0;
}

int server_confirm(struct server *server)
{
    struct conf_error error;

    /* the old process takes its store back if this one dies before it serves */
    if (server->takeover == NULL)
        history_adopt(server->history);
    if (server->takeover == NULL ||
        handover_new_confirm(server->takeover, history_epoch(server->history),
                             hub_committed(server->hub), &error) == 0)
        return 0;
    return server_fail(error.text);
}

/* ---- the process before this one ---- */

static void end_host(struct server *server)
{
    relay_host_end(server->host);
    handover_link_close(server->host_link);
}

static void on_host_frame(void *arg, const struct handover_link_frame *frame)
{
    struct server *server = arg;

    if (relay_host_frame(server->host, frame))
        return;
    log_error("the old gateway broke the protocol, or memory ran out");
    end_host(server);
}

static void on_host_end(void *arg)
{
    struct server *server = arg;

    relay_host_end(server->host);
    log_info("the old gateway has exited");
}

static void serve_old_one(struct server *server)
{
    struct handover_link_hooks hooks = {.arg = server, .frame = on_host_frame, .end = on_host_end};

    server->host_link = handover_new_serve(server->takeover);
    if (server->host_link == NULL) {
        if (server->host != NULL)
            relay_host_end(server->host);
        return;
    }
    if (handover_link_attach(server->host_link, server->base, &hooks) != 0)
        end_host(server);
}

/* ---- the process after this one ---- */

static void stop_accepting(void *arg)
{
    struct server *server = arg;

    listener_pause(server->listener);
}

static void go_on(void *arg, int result)
{
    struct server *server = arg;

    stats_add(&server->stats, STATS_HANDOVERS_FAILED, 1);
    if (result == 0) {
        listener_resume(server->listener);
        log_info("this gateway goes on");
    } else {
        server->status = 1;
    }
    if (server->stop_wanted != 0 || result != 0)
        server_stop(server, result != 0 ? "without its store" : strsignal(server->stop_wanted));
}

static void gone(void *arg)
{
    struct server *server = arg;
    const struct conf *conf = server->conf;

    log_info("streams end within %lld ms, connections with their next answer",
             (long long)conf->drain.window_ms);
    watchdog_rest(server->watchdog);
    listener_leave(server->listener);
    server->shared.handed_over = true;
    server_drain(server, clock_mono_ms() + (int64_t)conf->drain.window_ms +
                             (int64_t)conf->limits.keepalive_timeout_ms + LEAVE_GRACE_MS);
}

static void end_streams(void *arg)
{
    struct worker_shutdown *shutdown = arg;

    streams_drain(shutdown->service->streams, clock_mono_ms(), 0, STREAM_END_HANDOVER);
}

static void unfed(void *arg)
{
    struct server *server = arg;

    log_warning("this gateway is far behind the one that serves: its streams end now");
    server_post_to_all(server, end_streams);
    if (server->host != NULL)
        relay_host_end_feed(server->host);
}

static void over(void *arg)
{
    struct server *server = arg;

    server_post_to_all(server, end_streams);
    server->drain_until_ms = clock_mono_ms() + LEAVE_GRACE_MS;
}

static int build_for_next(struct server *server)
{
    struct handover_old_hooks hooks = {server, stop_accepting, go_on, gone, unfed, over};
    struct conf_error error = {.text = "out of memory"};
    char *store = name_store(server);

    if (store != NULL)
        server->handover = handover_old_new(server->base, server->conf, store, server->hub,
                                            server->listener, &hooks, &error);
    free(store);
    return server->handover != NULL ? 0 : server_fail(error.text);
}

int server_build_handover(struct server *server)
{
    char left[200];

    /* where it would listen is for the settings to say: they hold what the operator has allowed */
    if (server->takeover == NULL &&
        inherited_sockets_left(&server->inherited, left, sizeof(left)) != NULL) {
        log_error("cannot start: the service manager's socket at %s is not in server.listen "
                  "or tls.listen",
                  left);
        return -1;
    }
    if (server->takeover != NULL && !handover_new_is_alone(server->takeover)) {
        server->host = relay_host_new(server->hub, handover_new_link(server->takeover));
        if (server->host == NULL)
            return server_fail("out of memory");
    }
    return is_set(server) ? build_for_next(server) : 0;
}

/* ---- serving ---- */

static void begin_watchdog(struct server *server)
{
    size_t workers_n = server->shared.services_n;
    int64_t granted_ms = systemd_watchdog_ms();

    server->watchdog = granted_ms > 0 ? watchdog_new(server->base, granted_ms, workers_n) : NULL;
    for (size_t i = 0; server->watchdog != NULL && i < workers_n; i++)
        watchdog_add(server->watchdog, server->shared.services[i].worker);
}

void server_begin(struct server *server)
{
    struct conf_error error;

    if (server->takeover != NULL)
        serve_old_one(server);
    inherited_sockets_clear(&server->inherited);
    if (server->handover != NULL && handover_old_open(server->handover, &error) != 0)
        log_error("no process can take over from this gateway: %s", error.text);
    begin_watchdog(server);
    systemd_notify("READY=1\nMAINPID=%d", (int)getpid());
}

/* ---- SIGUSR2 ---- */

struct spawning {
    struct thread_pool_task task;
    struct server *server;
    int error;
    sem_t done;
};

static void spawn_upgrade_child(struct thread_pool_task *task, bool stopping)
{
    struct spawning *spawning = (struct spawning *)task; /* its first member */
    const struct server_source *source = spawning->server->source;

    posix_spawnattr_t attributes;

    spawning->error = stopping ? ESHUTDOWN : posix_spawnattr_init(&attributes);
    if (spawning->error == 0) {
        spawning->error = signals_clean(&attributes);
        if (spawning->error == 0)
            spawning->error = posix_spawn(&spawning->server->upgrade_child, source->program, NULL,
                                          &attributes, source->upgrade_words, environ);
        posix_spawnattr_destroy(&attributes);
    }
    sem_post(&spawning->done);
}

/* By a thread of usual niceness: the new process would inherit what this one has, and add to it. */
static int start_upgrade_child(struct server *server)
{
    struct spawning spawning = {.task.run = spawn_upgrade_child, .server = server};

    sem_init(&spawning.done, 0, 0);
    thread_pool_give(server->readers, 0, &spawning.task);
    while (sem_wait(&spawning.done) != 0)
        continue;
    sem_destroy(&spawning.done);
    return spawning.error;
}

void server_upgrade(struct server *server)
{
    const struct server_source *source = server->source;

    if (server->handover == NULL || source->program == NULL) {
        log_warning("SIGUSR2: server.handover is not set, so no process can take over");
    } else if (server->upgrade_child != 0) {
        log_warning("SIGUSR2: process %d is taking over already", (int)server->upgrade_child);
    } else {
        /* what it finds there is about this process */
        unsetenv("WATCHDOG_PID");
        int error = start_upgrade_child(server);
        if (error != 0)
            server->upgrade_child = 0;
        if (error != 0)
            log_error("SIGUSR2: %s cannot be started: %s", source->program, strerror(error));
        else
            log_info("SIGUSR2: %s is process %d, which is to take over", source->program,
                     (int)server->upgrade_child);
    }
}

void server_reap(struct server *server)
{
    int status;

    if (server->upgrade_child == 0 ||
        waitpid(server->upgrade_child, &status, WNOHANG) != server->upgrade_child)
        return;
    if (WIFEXITED(status))
        log_warning("process %d ended with status %d", (int)server->upgrade_child,
                    WEXITSTATUS(status));
    else
        log_warning("process %d ended: %s", (int)server->upgrade_child,
                    strsignal(WTERMSIG(status)));
    server->upgrade_child = 0;
}

/* ---- ending ---- */

bool server_stop_waits(struct server *server, int number)
{
    if (!handover_old_is_under_way(server->handover))
        return false;
    if (server->stop_wanted != 0) {
        log_warning("a second signal: leaving at once");
        log_exit(0);
    }
    log_info("%s: the hand-over has to end first", strsignal(number));
    server->stop_wanted = number;
    return true;
}

/* The process before this one may still have clients whose publishes go through here, and streams
 * that hear what comes this way. */
bool server_host_is_busy(struct server *server)
{
    if (!server->shared.handed_over)
        return false;
    if (server->host_link != NULL && !handover_link_is_closed(server->host_link))
        return true;
    if (server->empty_n == server->shared.services_n) {
        server->empty_n = 0; /* said once */
        handover_old_want_no_feed(server->handover);
    }
    return false;
}

void server_free_handover(struct server *server)
{
    watchdog_free(server->watchdog);
    handover_new_free(server->takeover);
    if (server->host_link != NULL)
        handover_link_flush(server->host_link);
    handover_link_free(server->host_link);
    relay_host_free(server->host);
    handover_old_free(server->handover);
}
