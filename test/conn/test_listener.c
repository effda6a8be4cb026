/* SPDX-License-Identifier: MIT */
/* The listener on real sockets: what it opens and refuses, when it accepts, pauses and closes. */
#include "config.h"
#include "conn/listener.h"

#include <setjmp.h>
#include <arpa/inet.h>
#include <errno.h>
#include <event2/event.h>
#include <netinet/in.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>
#include <cmocka.h>

#define CLIENTS 24

struct bench {
    struct event_base *base;
    struct conf conf;
    struct stats stats;
    struct inherited_sockets inherited;
    struct listener *listener;
    struct conf_error error;
    char folder[64], path[96], item[128];

    /* of the sink */
    bool is_unwanted;
    enum listener_room room;
    int fds[CLIENTS];
    size_t fds_n;
    struct listener_layers layers;
    sa_family_t family;
};

static bool on_wants(void *arg)
{
    return !((struct bench *)arg)->is_unwanted;
}

static enum listener_room on_take(void *arg, int fd, const struct sockaddr *address,
                                  socklen_t address_n, struct listener_layers layers)
{
    struct bench *bench = arg;

    (void)address_n;
    if (bench->room == LISTENER_NO_ROOM) {
        close(fd);
        return bench->room;
    }
    assert_true(bench->fds_n < CLIENTS);
    bench->fds[bench->fds_n++] = fd;
    bench->layers = layers;
    bench->family = address->sa_family;
    return bench->room;
}

static char any_port[] = "127.0.0.1:0", no_mode[] = "";

static int build(void **state)
{
    struct bench *bench = calloc(1, sizeof(*bench));

    bench->base = event_base_new();
    bench->conf.server.socket_mode = no_mode;
    strcpy(bench->folder, "/tmp/bugle-test-XXXXXX");
    assert_non_null(mkdtemp(bench->folder));
    snprintf(bench->path, sizeof(bench->path), "%s/socket", bench->folder);
    snprintf(bench->item, sizeof(bench->item), "unix:%s", bench->path);
    *state = bench;
    return 0;
}

static int tear_down(void **state)
{
    struct bench *bench = *state;

    listener_free(bench->listener);
    for (size_t i = 0; i < bench->fds_n; i++)
        close(bench->fds[i]);
    inherited_sockets_clear(&bench->inherited);
    event_base_free(bench->base);
    unlink(bench->path);
    rmdir(bench->folder);
    free(bench);
    return 0;
}

/* Returns whether it listens on this, which is good as long as the listener. */
static bool listens(struct bench *bench, char **item)
{
    struct listener_sink sink = {.wants = on_wants, .take = on_take, .arg = bench};

    bench->conf.server.listen = (struct conf_list){.items = item, .items_n = 1};
    bench->listener = listener_new(bench->base, &bench->conf, &sink, &bench->stats,
                                   &bench->inherited, &bench->error);
    return bench->listener != NULL;
}

static void turn(struct bench *bench)
{
    event_base_loop(bench->base, EVLOOP_NONBLOCK | EVLOOP_ONCE);
}

/* A turn in which time passes, if need be. */
static void wait_for(struct bench *bench, size_t fds_n)
{
    for (int i = 0; i < 500 && bench->fds_n < fds_n; i++) {
        turn(bench);
        usleep(1000);
    }
    assert_int_equal(bench->fds_n, fds_n);
}

static int connect_unix(struct bench *bench)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    strcpy(address.sun_path, bench->path);
    if (connect(fd, (struct sockaddr *)(void *)&address, sizeof(address)) == 0)
        return fd;
    close(fd);
    return -1;
}

static void an_address_has_a_url_with_its_port(void **state)
{
    struct bench *bench = *state;
    char *item = any_port;
    int port, fd;
    bool kept;

    assert_true(listens(bench, &item));
    assert_int_equal(listener_count(bench->listener), 1);
    assert_int_equal(sscanf(listener_url(bench->listener, 0), "http://127.0.0.1:%d/", &port), 1);
    assert_true(port > 0);
    assert_null(listener_url(bench->listener, 1));
    assert_string_equal(listener_socket(bench->listener, 0, &fd, &kept), any_port);
    assert_true(fd >= 0 && !kept);
    assert_null(listener_socket(bench->listener, 1, &fd, &kept));
}

static void mistakes_are_told_to_the_operator(void **state)
{
    struct bench *bench = *state;
    char *item = any_port;
    char taken[64], told[128];
    int port;

    assert_true(listens(bench, &item));
    sscanf(listener_url(bench->listener, 0), "http://127.0.0.1:%d/", &port);
    struct listener *first = bench->listener;
    snprintf(taken, sizeof(taken), "127.0.0.1:%d", port);
    snprintf(told, sizeof(told), "cannot listen on %s: %s", taken, strerror(EADDRINUSE));
    item = taken;
    assert_false(listens(bench, &item));
    assert_memory_equal(bench->error.text, told, strlen(told));
    assert_non_null(strstr(bench->error.text, "--listen 127.0.0.1:"));
    listener_free(first);
    item = (char[]){"unix:/nowhere/at/all"};
    assert_false(listens(bench, &item));
    assert_non_null(strstr(bench->error.text, strerror(ENOENT)));
    snprintf(bench->item, sizeof(bench->item), "unix:/%0110d", 0);
    item = bench->item;
    assert_false(listens(bench, &item));
    assert_non_null(strstr(bench->error.text, strerror(ENAMETOOLONG)));
}

static void connections_reach_the_sink(void **state)
{
    struct bench *bench = *state;
    char *item = bench->item;
    int clients[CLIENTS];

    assert_true(listens(bench, &item));
    for (size_t i = 0; i < CLIENTS; i++)
        clients[i] = connect_unix(bench);
    turn(bench);
    assert_true(bench->fds_n > 0 && bench->fds_n <= 16); /* others have their turn */
    wait_for(bench, CLIENTS);
    assert_int_equal(bench->family, AF_UNIX);
    assert_false(bench->layers.tls || bench->layers.proxied);
    assert_int_equal(stats_get(&bench->stats, STATS_CONNECTIONS_ACCEPTED), CLIENTS);
    assert_int_equal(stats_get(&bench->stats, STATS_ACCEPT_PAUSES), 0);
    for (size_t i = 0; i < CLIENTS; i++)
        close(clients[i]);
}

static void a_listed_address_is_proxied(void **state)
{
    struct bench *bench = *state;
    char *item = bench->item;

    bench->conf.server.proxy_protocol = (struct conf_list){.items = &item, .items_n = 1};
    assert_true(listens(bench, &item));
    int client = connect_unix(bench);
    wait_for(bench, 1);
    assert_true(bench->layers.proxied && !bench->layers.tls);
    close(client);
}

/* It stays in the kernel's queue until the sink wants more. */
static void what_is_not_wanted_waits(void **state)
{
    struct bench *bench = *state;
    char *item = bench->item;

    assert_true(listens(bench, &item));
    bench->is_unwanted = true;
    int client = connect_unix(bench);
    turn(bench);
    assert_int_equal(bench->fds_n, 0);
    assert_int_equal(stats_get(&bench->stats, STATS_ACCEPT_PAUSES), 1);
    bench->is_unwanted = false;
    wait_for(bench, 1);
    close(client);
}

static void it_pauses_when_descriptors_run_short(void **state)
{
    struct bench *bench = *state;
    char *item = bench->item;
    int clients[3];

    assert_true(listens(bench, &item));
    for (size_t i = 0; i < 3; i++)
        clients[i] = connect_unix(bench);
    bench->room = LISTENER_TIGHT; /* one, and a moment for others to go */
    turn(bench);
    assert_int_equal(bench->fds_n, 1);
    bench->room = LISTENER_NO_ROOM; /* closed by the sink */
    for (int i = 0; i < 500 && stats_get(&bench->stats, STATS_CONNECTIONS_ACCEPTED) < 3; i++) {
        turn(bench);
        usleep(1000);
    }
    assert_int_equal(bench->fds_n, 1);
    assert_int_equal(stats_get(&bench->stats, STATS_CONNECTIONS_ACCEPTED), 3);
    assert_true(stats_get(&bench->stats, STATS_ACCEPT_PAUSES) >= 2);
    for (size_t i = 0; i < 3; i++)
        close(clients[i]);
}

static void a_rate_is_kept(void **state)
{
    struct bench *bench = *state;
    char *item = bench->item;
    int clients[8];

    bench->conf.limits.accept_rate = 2;
    assert_true(listens(bench, &item));
    for (size_t i = 0; i < 8; i++)
        clients[i] = connect_unix(bench);
    for (int i = 0; i < 5; i++)
        turn(bench);
    assert_true(bench->fds_n < 8);
    assert_true(stats_get(&bench->stats, STATS_ACCEPT_WAITS) > 0);
    struct conf faster = bench->conf;
    faster.limits.accept_rate = 0;
    listener_set_conf(bench->listener, &faster);
    wait_for(bench, 8);
    for (size_t i = 0; i < 8; i++)
        close(clients[i]);
}

static void a_pause_leaves_what_waits(void **state)
{
    struct bench *bench = *state;
    char *item = bench->item;

    assert_true(listens(bench, &item));
    listener_pause(bench->listener);
    int client = connect_unix(bench);
    assert_true(client >= 0);
    turn(bench);
    assert_int_equal(bench->fds_n, 0);
    listener_resume(bench->listener);
    wait_for(bench, 1);
    close(client);
}

/* Closing resets none that has connected; leaving keeps them for the next process, and the path. */
static void closing_accepts_what_waits_and_leaving_does_not(void **state)
{
    struct bench *bench = *state;
    char *item = bench->item;
    struct stat info;

    assert_true(listens(bench, &item));
    int client = connect_unix(bench);
    listener_leave(bench->listener);
    assert_int_equal(bench->fds_n, 0);
    assert_int_equal(stat(bench->path, &info), 0);
    listener_free(bench->listener);
    close(client);
    assert_true(listens(bench, &item)); /* the stale path is not in the way */
    client = connect_unix(bench);
    listener_close(bench->listener);
    assert_int_equal(bench->fds_n, 1);
    assert_int_equal(connect_unix(bench), -1);
    assert_int_equal(stat(bench->path, &info), -1);
    close(client);
}

static void a_path_has_the_mode_that_is_set(void **state)
{
    struct bench *bench = *state;
    char *item = bench->item;
    struct stat info;

    bench->conf.server.socket_mode = (char[]){"0620"};
    assert_true(listens(bench, &item));
    assert_int_equal(stat(bench->path, &info), 0);
    assert_int_equal(info.st_mode & 0777, 0620);
}

/* What stands in the way and is no socket is not ours to remove. */
static void a_file_in_the_way_stays(void **state)
{
    struct bench *bench = *state;
    char *item = bench->item;
    FILE *file = fopen(bench->path, "w");
    struct stat info;

    fclose(file);
    assert_false(listens(bench, &item));
    assert_int_equal(stat(bench->path, &info), 0);
}

static void an_inherited_socket_is_served_and_stays_open(void **state)
{
    struct bench *bench = *state;
    char *item = bench->item;
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), served;
    struct stat info;
    bool kept;

    strcpy(address.sun_path, bench->path);
    assert_int_equal(bind(fd, (struct sockaddr *)(void *)&address, sizeof(address)), 0);
    assert_int_equal(listen(fd, 8), 0);
    assert_int_equal(inherited_sockets_add(&bench->inherited, fd, NULL, true), 0);
    assert_true(listens(bench, &item));
    listener_socket(bench->listener, 0, &served, &kept);
    assert_true(served == fd && kept);
    int client = connect_unix(bench);
    wait_for(bench, 2); /* one was the look whether the path is stale */
    close(client);
    client = connect_unix(bench);
    listener_close(bench->listener);
    assert_int_equal(bench->fds_n, 2); /* the next process has the other one */
    assert_int_equal(stat(bench->path, &info), 0);
    close(client);
}

#define CASE(test) cmocka_unit_test_setup_teardown(test, build, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(an_address_has_a_url_with_its_port),
        CASE(mistakes_are_told_to_the_operator),
        CASE(connections_reach_the_sink),
        CASE(a_listed_address_is_proxied),
        CASE(what_is_not_wanted_waits),
        CASE(it_pauses_when_descriptors_run_short),
        CASE(a_rate_is_kept),
        CASE(a_pause_leaves_what_waits),
        CASE(closing_accepts_what_waits_and_leaving_does_not),
        CASE(a_path_has_the_mode_that_is_set),
        CASE(a_file_in_the_way_stays),
        CASE(an_inherited_socket_is_served_and_stays_open),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
