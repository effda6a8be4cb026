/* SPDX-License-Identifier: MIT */
/* The acceptor.  See listener.h. */
#include "config.h"
#include "conn/listener.h"

#include <arpa/inet.h>
#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/thread.h"
#include "base/token_bucket.h"

#define ACCEPTS_A_WAKE 16
#define MOMENT_MS 10
#define PAUSE_MIN_MS 50
#define PAUSE_MAX_MS 250
/* A client that stops reading must not fill the kernel: this much may wait unsent before a socket
 * counts as full, and this much may be held for it in all. */
#define NOTSENT_LOWAT_BYTES 16384
#define SEND_BUFFER_BYTES 65536
#define USER_TIMEOUT_BEYOND_STALL_MS 10000

struct listen_socket {
    struct listener *listener;
    int fd;
    struct listener_layers layers;
    struct event *event;
    char name[160]; /* by which a process that takes over knows the socket */
    bool kept;      /* by a service manager, when this process is gone */
    char *unix_path;
    char url[160];
};

struct listener {
    struct event_base *base;
    const struct conf *conf;
    struct listener_sink sink;
    struct stats *stats;
    struct inherited_sockets *inherited;
    struct event *pause_timer;
    long pause_ms;
    struct token_bucket rate;
    enum listener_room room; /* the least that the sink found in this wake */
    int spare_fd;
    struct log_valve valve;
    size_t sockets_n;
    struct listen_socket sockets[];
};

/* ---- accepting ---- */

static void stop_accepting(struct listener *listener)
{
    for (size_t i = 0; i < listener->sockets_n; i++) {
        if (listener->sockets[i].event != NULL) /* else closed while the last ones are drained */
            event_del(listener->sockets[i].event);
    }
}

/* Returns false when the kernel or the loop has no memory for it now. */
static bool start_accepting(struct listener *listener)
{
    bool all = true;

    for (size_t i = 0; i < listener->sockets_n; i++) {
        struct event *event = listener->sockets[i].event;

        all = (event == NULL || event_add(event, NULL) == 0) && all;
    }
    return all;
}

static void on_pause_over(evutil_socket_t fd, short what, void *arg);

/* A loop without memory for a timer goes on at once. */
static void pause_for(struct listener *listener, int64_t ms)
{
    struct timeval wait = {.tv_sec = ms / 1000, .tv_usec = ms % 1000 * 1000};

    stop_accepting(listener);
    if (evtimer_add(listener->pause_timer, &wait) != 0)
        event_active(listener->pause_timer, EV_TIMEOUT, 0);
}

/* Without a free descriptor the loop would spin on a listener that stays readable. */
static void pause_accepting(struct listener *listener)
{
    listener->pause_ms = listener->pause_ms == 0                 ? PAUSE_MIN_MS
                         : listener->pause_ms * 2 < PAUSE_MAX_MS ? listener->pause_ms * 2
                                                                 : PAUSE_MAX_MS;
    stats_add(listener->stats, STATS_ACCEPT_PAUSES, 1);
    pause_for(listener, listener->pause_ms);
}

static void on_pause_over(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    if (!start_accepting(arg))
        pause_accepting(arg);
}

static int open_spare(void)
{
    return open("/dev/null", O_RDONLY | O_CLOEXEC);
}

/* A waiting client is closed at once, instead of hanging until its own timeout. */
static void shed_one(struct listener *listener, int listen_fd)
{
    char more[LOG_SKIPPED_BYTES];
    unsigned long skipped;

    if (listener->spare_fd >= 0) {
        close(listener->spare_fd);
        int fd = accept4(listen_fd, NULL, NULL, SOCK_CLOEXEC);
        if (fd >= 0) {
            close(fd);
            stats_add(listener->stats, STATS_CONNECTIONS_SHED, 1);
        }
    }
    listener->spare_fd = open_spare();
    if (log_valve_open(&listener->valve, &skipped))
        log_warning("out of descriptors: accepting pauses%s", log_skipped(more, skipped));
}

static bool is_passing(int error)
{
    return error == ECONNABORTED || error == EINTR || error == EPROTO || error == EPERM;
}

/* Accept one.  Returns whether there may be more. */
static bool accept_one(struct listen_socket *sock)
{
    struct listener *listener = sock->listener;
    struct sockaddr_storage address = {0};
    socklen_t address_n = sizeof(address);
    int fd = accept4(sock->fd, (struct sockaddr *)(void *)&address, &address_n,
                     SOCK_NONBLOCK | SOCK_CLOEXEC);

    if (fd >= 0) {
        listener->pause_ms = 0;
        stats_add(listener->stats, STATS_CONNECTIONS_ACCEPTED, 1);
        enum listener_room room = listener->sink.take(
            listener->sink.arg, fd, (struct sockaddr *)(void *)&address, address_n, sock->layers);
        if (room > listener->room)
            listener->room = room;
        return true;
    }
    if (errno == EAGAIN)
        return false;
    if (is_passing(errno))
        return true;
    shed_one(listener, sock->fd);
    pause_accepting(listener);
    return false;
}

/* Connections beyond the rate wait in the kernel's queue. */
static bool is_in_time(struct listener *listener)
{
    uint64_t rate = listener->conf->limits.accept_rate;
    int64_t now_ms = rate > 0 ? clock_mono_ms() : 0;

    if (token_bucket_take(&listener->rate, rate, now_ms))
        return true;
    stats_add(listener->stats, STATS_ACCEPT_WAITS, 1);
    pause_for(listener, token_bucket_wait_ms(&listener->rate, rate, now_ms));
    return false;
}

/* Waiting in the kernel's queue is better for a client than being closed, so when descriptors are
 * tight, connections wait until the workers have closed others. */
static void accept_some(struct listen_socket *sock)
{
    struct listener *listener = sock->listener;

    for (int i = 0; i < ACCEPTS_A_WAKE; i++) {
        if (!listener->sink.wants(listener->sink.arg)) {
            listener->room = LISTENER_TIGHT;
            return;
        }
        if (!is_in_time(listener) || !accept_one(sock) || listener->room == LISTENER_TIGHT)
            return;
    }
}

/* Clients that were closed may come back at once: a pause after some of them bounds the work. */
static void listener_on_connection(evutil_socket_t fd, short what, void *arg)
{
    struct listen_socket *sock = arg;
    struct listener *listener = sock->listener;

    (void)fd;
    (void)what;
    listener->room = LISTENER_ROOM;
    accept_some(sock);
    thread_make_way();
    if (listener->room == LISTENER_ROOM || evtimer_pending(listener->pause_timer, NULL))
        return;
    stats_add(listener->stats, STATS_ACCEPT_PAUSES, 1);
    pause_for(listener, listener->room == LISTENER_TIGHT ? MOMENT_MS : PAUSE_MIN_MS);
}

/* ---- opening ---- */

static void set_socket_options(const struct listener *listener, int fd)
{
    int on = 1, lowat = NOTSENT_LOWAT_BYTES, buffer = SEND_BUFFER_BYTES;
    int user_timeout_ms =
        (int)listener->conf->stream.stall_timeout_ms + USER_TIMEOUT_BEYOND_STALL_MS;

    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
    setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &buffer, sizeof(buffer));
    setsockopt(fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, &lowat, sizeof(lowat));
    setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &user_timeout_ms, sizeof(user_timeout_ms));
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
}

/* Set before listen(), so that no client connects under the mode that the umask gave the file. */
static int set_socket_mode(const struct listen_socket *sock, const struct sockaddr *address)
{
    const char *text = sock->listener->conf->server.socket_mode;

    if (address->sa_family != AF_UNIX || text[0] == '\0')
        return 0;
    return chmod(((const struct sockaddr_un *)(const void *)address)->sun_path,
                 (mode_t)strtoul(text, NULL, 8));
}

/* Open the address, unless somebody else has and gave it to us. */
static int open_socket(struct listen_socket *sock, const struct sockaddr *address,
                       socklen_t address_n)
{
    sock->fd = inherited_sockets_take(sock->listener->inherited, sock->name, address, address_n,
                                      &sock->kept);
    if (sock->fd >= 0) {
        set_socket_options(sock->listener, sock->fd);
        return sock->kept || set_socket_mode(sock, address) == 0 ? 0 : -errno;
    }
    sock->fd = socket(address->sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (sock->fd < 0)
        return -errno;
    set_socket_options(sock->listener, sock->fd);
    if (address->sa_family == AF_INET6)
        setsockopt(sock->fd, IPPROTO_IPV6, IPV6_V6ONLY, &(int){1}, sizeof(int));
    if (bind(sock->fd, address, address_n) != 0 || set_socket_mode(sock, address) != 0 ||
        listen(sock->fd, SOMAXCONN) != 0)
        return -errno;
    return 0;
}

/* Remove the socket file of a process that has gone; any other file is not ours to remove. */
static void remove_stale(const struct sockaddr_un *address)
{
    struct stat info;

    if (lstat(address->sun_path, &info) != 0 || !S_ISSOCK(info.st_mode))
        return;
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return;
    if (connect(fd, (const struct sockaddr *)(const void *)address, sizeof(*address)) != 0 &&
        errno == ECONNREFUSED)
        unlink(address->sun_path);
    close(fd);
}

static int open_unix(struct listen_socket *sock, const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};

    if (strlen(path) >= sizeof(address.sun_path))
        return -ENAMETOOLONG;
    strcpy(address.sun_path, path);
    remove_stale(&address);
    int result =
        open_socket(sock, (const struct sockaddr *)(const void *)&address, sizeof(address));
    if (result != 0)
        return result;
    sock->unix_path = strdup(path);
    snprintf(sock->url, sizeof(sock->url), "unix:%s", path);
    return 0;
}

/* Split ADDR:PORT or [ADDR6]:PORT, whose form the configuration has checked. */
static int resolve(const char *item, struct addrinfo **ret_addresses)
{
    struct addrinfo hints = {.ai_family = AF_UNSPEC,
                             .ai_socktype = SOCK_STREAM,
                             .ai_flags = AI_PASSIVE | AI_NUMERICSERV};
    const char *colon = strrchr(item, ':');
    size_t host_n = colon != NULL ? (size_t)(colon - item) : 0;
    char host[128];

    if (colon == NULL || host_n >= sizeof(host))
        return -EINVAL;
    memcpy(host, item, host_n);
    host[host_n] = '\0';
    char *name = host;
    if (host[0] == '[' && host_n > 2 && host[host_n - 1] == ']') {
        host[host_n - 1] = '\0';
        name = host + 1;
    }
    if (strcmp(name, "localhost") == 0)
        name = strcpy(host, "127.0.0.1");
    if (strcmp(name, "*") == 0)
        name = strcpy(host, "0.0.0.0");
    return getaddrinfo(name, colon + 1, &hints, ret_addresses) == 0 ? 0 : -EADDRNOTAVAIL;
}

static void write_url(struct listen_socket *sock)
{
    struct sockaddr_storage address;
    socklen_t address_n = sizeof(address);
    char host[INET6_ADDRSTRLEN], port[8];
    const char *scheme = sock->layers.tls ? "https" : "http";

    getsockname(sock->fd, (struct sockaddr *)(void *)&address, &address_n);
    getnameinfo((struct sockaddr *)(void *)&address, address_n, host, sizeof(host), port,
                sizeof(port), NI_NUMERICHOST | NI_NUMERICSERV);
    snprintf(sock->url, sizeof(sock->url),
             address.ss_family == AF_INET6 ? "%s://[%s]:%s/" : "%s://%s:%s/", scheme, host, port);
}

static int open_tcp(struct listen_socket *sock, const char *item)
{
    struct addrinfo *addresses;
    int result = resolve(item, &addresses);

    if (result != 0)
        return result;
    result = open_socket(sock, addresses->ai_addr, addresses->ai_addrlen);
    freeaddrinfo(addresses);
    if (result == 0)
        write_url(sock);
    return result;
}

static bool is_proxied(const struct conf *conf, const char *item)
{
    const struct conf_list *list = &conf->server.proxy_protocol;

    for (size_t i = 0; i < list->items_n; i++)
        if (strcmp(list->items[i], item) == 0)
            return true;
    return false;
}

static int open_listen_socket(struct listener *listener, const char *item, bool tls)
{
    struct listen_socket *sock = &listener->sockets[listener->sockets_n++];
    bool is_unix = strncmp(item, "unix:", 5) == 0;

    sock->listener = listener;
    sock->fd = -1;
    sock->layers = (struct listener_layers){is_proxied(listener->conf, item), tls};
    snprintf(sock->name, sizeof(sock->name), "%s%s", tls ? "tls:" : "", item);
    int result = is_unix ? open_unix(sock, item + 5) : open_tcp(sock, item);
    if (result != 0)
        return result;
    sock->event =
        event_new(listener->base, sock->fd, EV_READ | EV_PERSIST, listener_on_connection, sock);
    return sock->event != NULL && event_add(sock->event, NULL) == 0 ? 0 : -ENOMEM;
}

/* What to do about a plain address in use.  Nothing for other errors and for paths. */
static void hint_at_another(const char *item, int error, char *to, size_t to_n)
{
    const char *colon = strrchr(item, ':');
    long port = colon != NULL ? strtol(colon + 1, NULL, 10) : 0;

    if (error == EADDRINUSE && port > 0)
        snprintf(to, to_n, "; choose another with --listen %.*s:%ld", (int)(colon - item), item,
                 port < 65535 ? port + 1 : port - 1);
}

static int open_listen_sockets(struct listener *listener, const struct conf_list *items, bool tls,
                               struct conf_error *ret_error)
{
    for (size_t i = 0; i < items->items_n; i++) {
        int result = open_listen_socket(listener, items->items[i], tls);

        if (result == 0)
            continue;
        char hint[128] = "";
        if (!tls)
            hint_at_another(items->items[i], -result, hint, sizeof(hint));
        snprintf(ret_error->text, sizeof(ret_error->text), "cannot listen on %s: %s%s",
                 items->items[i], strerror(-result), hint);
        return result;
    }
    return 0;
}

struct listener *listener_new(struct event_base *base, const struct conf *conf,
                              const struct listener_sink *sink, struct stats *stats,
                              struct inherited_sockets *inherited, struct conf_error *ret_error)
{
    size_t sockets_n = conf->server.listen.items_n + conf->tls.listen.items_n;
    struct listener *listener =
        calloc(1, sizeof(*listener) + sockets_n * sizeof(struct listen_socket));

    if (listener == NULL) {
        snprintf(ret_error->text, sizeof(ret_error->text), "out of memory");
        return NULL;
    }
    listener->base = base;
    listener->conf = conf;
    listener->sink = *sink;
    listener->stats = stats;
    listener->inherited = inherited;
    listener->spare_fd = open_spare();
    listener->pause_timer = evtimer_new(base, on_pause_over, listener);
    if (listener->pause_timer == NULL)
        snprintf(ret_error->text, sizeof(ret_error->text), "out of memory");
    else if (open_listen_sockets(listener, &conf->server.listen, false, ret_error) == 0 &&
             open_listen_sockets(listener, &conf->tls.listen, true, ret_error) == 0)
        return listener;
    listener_free(listener);
    return NULL;
}

void listener_set_conf(struct listener *listener, const struct conf *conf)
{
    listener->conf = conf;
}

static void close_listen_socket(struct listen_socket *sock, bool for_good)
{
    if (sock->fd < 0)
        return;
    /* closing would reset the connections that wait in the kernel's queue */
    while (for_good && sock->event != NULL && accept_one(sock))
        ;
    if (sock->event != NULL)
        event_free(sock->event);
    close(sock->fd);
    sock->fd = -1;
    sock->event = NULL;
    if (for_good && sock->unix_path != NULL)
        unlink(sock->unix_path);
}

void listener_close(struct listener *listener)
{
    for (size_t i = 0; i < listener->sockets_n; i++)
        close_listen_socket(&listener->sockets[i], !listener->sockets[i].kept);
    evtimer_del(listener->pause_timer);
}

void listener_leave(struct listener *listener)
{
    for (size_t i = 0; i < listener->sockets_n; i++)
        close_listen_socket(&listener->sockets[i], false);
    evtimer_del(listener->pause_timer);
}

void listener_pause(struct listener *listener)
{
    stop_accepting(listener);
    evtimer_del(listener->pause_timer);
}

void listener_resume(struct listener *listener)
{
    on_pause_over(-1, EV_TIMEOUT, listener);
}

const char *listener_socket(const struct listener *listener, size_t index, int *ret_fd,
                            bool *ret_kept)
{
    if (index >= listener->sockets_n)
        return NULL;
    *ret_fd = listener->sockets[index].fd;
    *ret_kept = listener->sockets[index].kept;
    return listener->sockets[index].name;
}

void listener_free(struct listener *listener)
{
    if (listener == NULL)
        return;
    listener_close(listener);
    for (size_t i = 0; i < listener->sockets_n; i++)
        free(listener->sockets[i].unix_path);
    if (listener->pause_timer != NULL)
        event_free(listener->pause_timer);
    if (listener->spare_fd >= 0)
        close(listener->spare_fd);
    free(listener);
}

const char *listener_url(const struct listener *listener, size_t index)
{
    return index < listener->sockets_n ? listener->sockets[index].url : NULL;
}

size_t listener_count(const struct listener *listener)
{
    return listener->sockets_n;
}
