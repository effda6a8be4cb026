/* SPDX-License-Identifier: MIT */
/* The old process's side of a hand-over.  See handover_old.h. */
#include "config.h"
#include "handover/handover_old.h"

#include <assert.h>
#include <errno.h>
#include <event2/event.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/log.h"
#include "conn/listener.h"
#include "handover/handover_link.h"
#include "handover/relay_client.h"
#include "history/history.h"

enum step { FREE, GREETED, OFFERED, LEAVING, AWAY, GOING, RETURNING, GONE, OVER };

struct handover_old {
    struct hub *hub;
    struct listener *listener;
    struct handover_old_hooks hooks;
    struct event_base *base;
    char *store;
    char *path;
    char *own_path; /* where the socket is until handover_old_open() */
    struct stat own_file;
    int fd;
    struct event *readable;
    struct event *timer; /* the step takes too long */
    int timeout_ms;
    struct log_valve stranger_valve;

    enum step step;
    struct handover_link *link; /* the other process; kept, closed, until the next one comes */
    pid_t pid;
    struct hub_change change;
    int change_fd; /* rung when the hub has made the change */
    struct event *changed;
    struct relay_client *relay;
};

/* ---- steps ---- */

/* Where each step may lead, a bit each. */
#define TO(step) (1U << (step))
static const unsigned next_steps[] = {
    [FREE] = TO(GREETED),
    [GREETED] = TO(OFFERED) | TO(FREE),
    [OFFERED] = TO(LEAVING) | TO(FREE),
    [LEAVING] = TO(AWAY) | TO(FREE),
    [AWAY] = TO(GOING) | TO(RETURNING),
    [GOING] = TO(GONE) | TO(RETURNING),
    [RETURNING] = TO(FREE),
    [GONE] = TO(OVER),
    [OVER] = 0,
};

static void move(struct handover_old *handover, enum step to)
{
    struct timeval wait = {.tv_sec = handover->timeout_ms / 1000,
                           .tv_usec = handover->timeout_ms % 1000 * 1000};

    assert((next_steps[handover->step] & TO(to)) != 0);
    handover->step = to;
    if (to == GREETED || to == OFFERED || to == AWAY)
        evtimer_add(handover->timer, &wait);
    else
        evtimer_del(handover->timer);
}

static void take_back(struct handover_old *handover)
{
    move(handover, RETURNING);
    hub_reclaim(handover->hub, &handover->change);
}

/* The other process is of no use any more, or never was. */
static void give_up(struct handover_old *handover)
{
    if (handover->step == GREETED || handover->step == OFFERED) {
        move(handover, FREE);
    } else if (handover->step == AWAY || handover->step == GOING) {
        take_back(handover);
    } else if (handover->step == GONE) {
        move(handover, OVER);
        relay_client_end(handover->relay);
        handover->hooks.over(handover->hooks.arg);
    }
    /* while LEAVING the hub is at it, and then there is nobody to go on with */
}

static void handover_old_refuse(struct handover_old *handover, const char *why)
{
    log_warning("no hand-over to process %d: %s", (int)handover->pid, why);
    handover_link_refuse(handover->link, why);
    handover_link_flush(handover->link);
    handover_link_close(handover->link);
    give_up(handover);
}

static void on_timeout(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    handover_old_refuse(arg, "it took longer than server.handover_timeout");
}

/* ---- what the other process says ---- */

static void offer(struct handover_old *handover)
{
    int fds[HANDOVER_LINK_SOCKETS_MAX];
    size_t fds_n = 0;
    struct pack pack = {0};
    const char *item;
    bool kept;

    while (fds_n < HANDOVER_LINK_SOCKETS_MAX &&
           (item = listener_socket(handover->listener, fds_n, &fds[fds_n], &kept)) != NULL) {
        pack_u32(&pack, kept);
        pack_text(&pack, item);
        fds_n++;
    }
    int result = handover_link_send_sockets(handover->link, HANDOVER_LINK_OFFER, &pack, fds, fds_n);
    pack_clear(&pack);
    move(handover, OFFERED);
    if (result != 0)
        handover_old_refuse(handover, strerror(-result));
}

static void on_hello(struct handover_old *handover, struct unpack *unpack)
{
    uint32_t version = unpack_u32(unpack);
    char *store = version == HANDOVER_LINK_VERSION ? unpack_text(unpack) : NULL;
    char why[300];

    if (version != HANDOVER_LINK_VERSION) {
        snprintf(why, sizeof(why),
                 "it speaks version %u of the hand-over, this gateway version %u: stop this one, "
                 "then start it",
                 version, HANDOVER_LINK_VERSION);
        handover_old_refuse(handover, why);
    } else if (store == NULL || strcmp(store, handover->store) != 0) {
        snprintf(why, sizeof(why), "its store is %.100s, and here it is %.100s",
                 store != NULL ? store : "not known", handover->store);
        handover_old_refuse(handover, why);
    } else {
        offer(handover);
    }
    free(store);
}

static void on_ready(struct handover_old *handover)
{
    log_info("process %d takes over: publishers wait until it has the store", (int)handover->pid);
    handover->hooks.stop_accepting(handover->hooks.arg);
    move(handover, LEAVING);
    hub_release(handover->hub, &handover->change);
}

static void say_released(struct handover_old *handover)
{
    struct pack pack = {0};

    pack_text(&pack, history_epoch(hub_history(handover->hub)));
    pack_u64(&pack, hub_committed(handover->hub));
    handover_link_send_pack(handover->link, HANDOVER_LINK_RELEASED, &pack);
}

/* It must have come upon what was left. */
static void on_opened(struct handover_old *handover, struct unpack *unpack)
{
    char *epoch = unpack_text(unpack);
    uint64_t newest = unpack_u64(unpack);

    if (epoch == NULL || strcmp(epoch, history_epoch(hub_history(handover->hub))) != 0 ||
        newest != hub_committed(handover->hub)) {
        handover_old_refuse(handover, "it opened another history");
    } else {
        move(handover, GOING);
        handover_link_send(handover->link, HANDOVER_LINK_GO, NULL, 0);
    }
    free(epoch);
}

/* Without memory for this, all that waits is answered with an error and the process leaves, as when
 * the other one had gone. */
static void on_serving(struct handover_old *handover)
{
    handover->relay = relay_client_new(handover->hub, handover->link);
    if (handover->relay == NULL)
        abort();
    move(handover, GONE);
    log_info("process %d serves from here on", (int)handover->pid);
    hub_forward(handover->hub, relay_client_relay(handover->relay));
    handover->hooks.gone(handover->hooks.arg);
}

static void on_refused(struct handover_old *handover, struct unpack *unpack)
{
    char *why = unpack_text(unpack);
    char shown[200];

    log_visible(shown, sizeof(shown), why != NULL ? why : "", why != NULL ? strlen(why) : 0);
    log_warning("process %d does not take over: %s", (int)handover->pid, shown);
    free(why);
    handover_link_close(handover->link);
    give_up(handover);
}

static void on_relay_frame(struct handover_old *handover, const struct handover_link_frame *frame)
{
    if (frame->type == HANDOVER_LINK_SERVING)
        return; /* said after its hub had spoken */
    if (frame->type == HANDOVER_LINK_FEED_END)
        handover->hooks.unfed(handover->hooks.arg);
    else if (!relay_client_frame(handover->relay, frame))
        handover_link_break(handover->link);
}

/* What comes of the other process's hub shows that it serves: the hub may be faster than the main
 * thread, which says so, above all beside a shared log, whose term is told at once. */
static bool is_of_hub(const struct handover_link_frame *frame)
{
    return frame->type == HANDOVER_LINK_BATCH || frame->type == HANDOVER_LINK_LINEAGE;
}

static void on_frame(void *arg, const struct handover_link_frame *frame)
{
    struct handover_old *handover = arg;
    struct unpack unpack = {.at = frame->bytes, .left = frame->n};

    if (handover->step == GOING && is_of_hub(frame))
        on_serving(handover);
    if (handover->step == GONE)
        on_relay_frame(handover, frame);
    else if (frame->type == HANDOVER_LINK_REFUSED)
        on_refused(handover, &unpack);
    else if (handover->step == GREETED && frame->type == HANDOVER_LINK_HELLO)
        on_hello(handover, &unpack);
    else if (handover->step == OFFERED && frame->type == HANDOVER_LINK_READY)
        on_ready(handover);
    else if (handover->step == AWAY && frame->type == HANDOVER_LINK_OPENED)
        on_opened(handover, &unpack);
    else if (handover->step == GOING && frame->type == HANDOVER_LINK_SERVING)
        on_serving(handover);
    else
        handover_old_refuse(handover, "it does not keep to the protocol");
}

static void on_end(void *arg)
{
    struct handover_old *handover = arg;

    if (handover->step == GONE)
        log_warning("process %d, which took over, is gone", (int)handover->pid);
    else
        log_warning("process %d left before it took over: going on", (int)handover->pid);
    give_up(handover);
}

/* ---- the hub's answers ---- */

static void on_change_made(struct hub_change *change)
{
    struct handover_old *handover =
        (struct handover_old *)((char *)change - offsetof(struct handover_old, change));
    uint64_t one = 1;

    if (write(handover->change_fd, &one, sizeof(one)) < 0)
        abort(); /* its counter was 0 */
}

static void on_left(struct handover_old *handover)
{
    if (handover->change.result != 0) {
        move(handover, FREE);
        if (!handover_link_is_closed(handover->link))
            handover_old_refuse(handover, strerror(-handover->change.result));
        handover->hooks.go_on(handover->hooks.arg, 0);
        return;
    }
    move(handover, AWAY);
    if (handover_link_is_closed(handover->link))
        take_back(handover);
    else
        say_released(handover);
}

static void on_changed(evutil_socket_t fd, short what, void *arg)
{
    struct handover_old *handover = arg;
    uint64_t count;

    (void)what;
    if (read(fd, &count, sizeof(count)) < 0)
        return;
    if (handover->step == LEAVING) {
        on_left(handover);
        return;
    }
    move(handover, FREE);
    handover->hooks.go_on(handover->hooks.arg, handover->change.result);
}

/* ---- who comes ---- */

static bool may_come(int fd, struct ucred *ret_peer)
{
    socklen_t n = sizeof(*ret_peer);

    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, ret_peer, &n) != 0)
        return false;
    return ret_peer->uid == geteuid() || ret_peer->uid == 0;
}

static void greet(struct handover_old *handover, struct handover_link *link, pid_t pid)
{
    struct handover_link_hooks hooks = {.arg = handover, .frame = on_frame, .end = on_end};

    handover_link_free(handover->link);
    handover->link = link;
    handover->pid = pid;
    move(handover, GREETED);
    if (handover_link_attach(link, handover->base, &hooks) != 0)
        handover_old_refuse(handover, "out of memory");
}

static void tell_stranger(struct handover_old *handover, uid_t uid)
{
    char more[LOG_SKIPPED_BYTES];
    unsigned long skipped;

    if (log_valve_open(&handover->stranger_valve, &skipped))
        log_warning("user %u may not take over%s", uid, log_skipped(more, skipped));
}

static void on_arrival(evutil_socket_t listen_fd, short what, void *arg)
{
    struct handover_old *handover = arg;
    struct ucred peer = {0};
    int fd = accept4(listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

    (void)what;
    if (fd < 0)
        return;
    if (!may_come(fd, &peer)) {
        tell_stranger(handover, peer.uid);
        close(fd);
        return;
    }
    struct handover_link *link = handover_link_new(fd);
    if (link == NULL)
        return;
    if (handover->step == FREE) {
        greet(handover, link, peer.pid);
    } else {
        handover_link_refuse(link, "a hand-over is under way or done already");
        handover_link_free(link);
    }
}

/* ---- life ---- */

/* Others than the owner must not even reach it. */
static int make_socket(struct handover_old *handover, struct conf_error *ret_error)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};

    if (strlen(handover->own_path) >= sizeof(address.sun_path))
        return conf_refuse(ret_error, -1, "server.handover %s is too long", handover->path);
    strcpy(address.sun_path, handover->own_path);
    unlink(handover->own_path);
    handover->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (handover->fd >= 0 && fchmod(handover->fd, 0600) == 0 &&
        bind(handover->fd, (const struct sockaddr *)(const void *)&address, sizeof(address)) == 0 &&
        stat(handover->own_path, &handover->own_file) == 0 && listen(handover->fd, 4) == 0)
        return 0;
    return conf_refuse(ret_error, -1, "server.handover %s: %s", handover->path, strerror(errno));
}

static int handover_old_build(struct handover_old *handover, const char *path, const char *store)
{
    handover->store = strdup(store);
    handover->path = strdup(path);
    if (asprintf(&handover->own_path, "%s.%d", path, (int)getpid()) < 0)
        handover->own_path = NULL;
    handover->change_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    handover->timer = evtimer_new(handover->base, on_timeout, handover);
    if (handover->store == NULL || handover->path == NULL || handover->own_path == NULL ||
        handover->change_fd < 0 || handover->timer == NULL)
        return -1;
    handover->changed =
        event_new(handover->base, handover->change_fd, EV_READ | EV_PERSIST, on_changed, handover);
    return handover->changed != NULL && event_add(handover->changed, NULL) == 0 ? 0 : -1;
}

struct handover_old *handover_old_new(struct event_base *base, const struct conf *conf,
                                      const char *store, struct hub *hub, struct listener *listener,
                                      const struct handover_old_hooks *hooks,
                                      struct conf_error *ret_error)
{
    struct handover_old *handover = calloc(1, sizeof(*handover));

    snprintf(ret_error->text, sizeof(ret_error->text), "out of memory");
    if (handover == NULL)
        return NULL;
    handover->hub = hub;
    handover->listener = listener;
    handover->hooks = *hooks;
    handover->base = base;
    handover->timeout_ms = (int)conf->server.handover_timeout_ms;
    handover->fd = handover->change_fd = -1;
    handover->change.done = on_change_made;
    if (handover_old_build(handover, conf->server.handover, store) == 0 &&
        make_socket(handover, ret_error) == 0)
        return handover;
    handover_old_free(handover);
    return NULL;
}

int handover_old_open(struct handover_old *handover, struct conf_error *ret_error)
{
    handover->readable =
        event_new(handover->base, handover->fd, EV_READ | EV_PERSIST, on_arrival, handover);
    if (handover->readable != NULL && event_add(handover->readable, NULL) == 0 &&
        rename(handover->own_path, handover->path) == 0)
        return 0;
    return conf_refuse(ret_error, -1, "server.handover %s: %s", handover->path, strerror(errno));
}

bool handover_old_is_under_way(const struct handover_old *handover)
{
    return handover != NULL && (handover->step == LEAVING || handover->step == AWAY ||
                                handover->step == GOING || handover->step == RETURNING);
}

void handover_old_want_no_feed(struct handover_old *handover)
{
    if (handover->step == GONE)
        handover_link_send(handover->link, HANDOVER_LINK_NO_FEED, NULL, 0);
}

/* The path may be another's by now. */
static void remove_file(struct handover_old *handover)
{
    struct stat there;

    if (stat(handover->path, &there) == 0 && there.st_ino == handover->own_file.st_ino &&
        there.st_dev == handover->own_file.st_dev)
        unlink(handover->path);
}

void handover_old_close(struct handover_old *handover)
{
    assert(!handover_old_is_under_way(handover));
    handover_link_free_event(&handover->readable);
    if (handover->fd >= 0) {
        close(handover->fd);
        remove_file(handover);
        handover->fd = -1;
    }
    if (handover->step == GREETED || handover->step == OFFERED)
        handover_old_refuse(handover, "the gateway is stopping");
    if (handover->step == GONE) {
        move(handover, OVER);
        relay_client_end(handover->relay);
        handover_link_close(handover->link);
    }
}

void handover_old_free(struct handover_old *handover)
{
    if (handover == NULL)
        return;
    if (handover->fd >= 0)
        close(handover->fd);
    if (handover->own_path != NULL && handover->readable == NULL)
        unlink(handover->own_path);
    handover_link_free(handover->link);
    relay_client_free(handover->relay);
    handover_link_free_event(&handover->readable);
    handover_link_free_event(&handover->timer);
    handover_link_free_event(&handover->changed);
    if (handover->change_fd >= 0)
        close(handover->change_fd);
    free(handover->store);
    free(handover->path);
    free(handover->own_path);
    free(handover);
}
